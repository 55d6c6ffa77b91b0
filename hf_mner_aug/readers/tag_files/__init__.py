"""Files of words and their tags: in columns, as CoNLL-2003 and CoNLL-U, or in lists of JSON."""
