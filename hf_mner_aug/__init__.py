"""hf_mner_aug."""
__version__ = "0.1.0"
