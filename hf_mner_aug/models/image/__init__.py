"""Engines that make a picture for a sentence: collage, diffusers."""
