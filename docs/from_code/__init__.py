"""Parts of the documentation that are read from the code, as Markdown."""
