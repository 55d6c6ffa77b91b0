"""Data augmentation for multimodal named entity recognition, native to Hugging Face Datasets.

Every method is a frozen dataclass that is itself the function given to ``Dataset.map``. Names are imported when first
used, so that ``import hf_mner_aug`` costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "AMIA": "methods.amia",
    "EDA": "methods.eda",
    "GMDA": "methods.gmda",
    "LSMS": "methods.lsms",
    "MemoryHard": "methods.memory_hard",
    "MixGen": "methods.mixgen",
    "RMDA": "methods.rmda",
    "Recipe": "recipe",
    "augment": "ledger",
    "embed_pictures": "picture_columns",
    "load_sample": "sample",
    "publish": "repo_folder",
    "push": "hub",
    "validate": "validation",
    "verify": "hub",
    "withdraw": "hub",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hf_mner_aug' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hf_mner_aug.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
