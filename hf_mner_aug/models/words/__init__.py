"""Word vectors and sentence similarity."""
