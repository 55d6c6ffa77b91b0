"""The table of methods: the only place that knows them all."""

import importlib

from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.transform import Method

METHODS = {
    "amia": "AMIA",
    "eda": "EDA",
    "gmda": "GMDA",
    "lsms": "LSMS",
    "memory_hard": "MemoryHard",
    "mixgen": "MixGen",
    "rmda": "RMDA",
}


def method_class(name: str) -> type[Method]:
    """Return a method's class by its name.

    Raises:
        UnknownName: there is no such method; the message gives the nearest.
    """
    if name not in METHODS:
        raise UnknownName("method", name, METHODS)
    found: type[Method] = getattr(importlib.import_module(f"hf_mner_aug.methods.{name}"), METHODS[name])
    return found
