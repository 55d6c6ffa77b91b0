"""Tables of papers as manifests, and the runs that reproduce them."""
