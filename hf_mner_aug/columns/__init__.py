"""The columns of a dataset: renamed, labels by name, those that a method does not know, validated rows."""
