"""The columns of a dataset: renaming, labels by name, columns unknown to a method, validation of rows."""
