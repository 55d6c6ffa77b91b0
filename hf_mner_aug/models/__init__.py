"""Engines that generate, encode or search for the methods, and the client of the endpoints behind some of them."""
