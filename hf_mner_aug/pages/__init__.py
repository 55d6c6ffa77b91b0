"""HTML pages: of a config, and of memory_hard's memory."""
