"""Where bytes are kept: artifacts, posts, Parquet, picture files, shared stores, locks, and fingerprints over them."""
