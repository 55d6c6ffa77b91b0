"""Packages of an optional extra, imported where they are needed."""

import importlib
import pickle
from types import ModuleType

from hf_mner_aug.exceptions import MissingExtra

# Raised by libraries for a folder or id that is not a model, or a pickle of weights that contains other objects.
UNUSABLE_MODEL = (OSError, ValueError, pickle.UnpicklingError)


def need(module: str, *, extra: str) -> ModuleType:
    """Return the imported module.

    Raises:
        MissingExtra: it is not installed; the message gives the pip command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise MissingExtra(f"{module} is not installed: pip install 'hf-mner-aug[{extra}]'") from error
