"""The words and pictures of posts: scripts, tokens, lexicon, masking, duplicates, pictures."""
