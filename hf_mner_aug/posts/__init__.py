"""What the words and pictures of a post are: scripts, tokens, lexicon, masking, duplicates, pictures."""
