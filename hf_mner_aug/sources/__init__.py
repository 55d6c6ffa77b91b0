"""Datasets as their user names them: a folder, a file, or an id on the Hub."""
