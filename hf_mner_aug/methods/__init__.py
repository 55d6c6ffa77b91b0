"""The table of methods, and those that installed packages offer: the only place that knows them all."""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.installed import Offer, offers
from hf_mner_aug.outside import offered
from hf_mner_aug.transform import Method

METHODS = {
    "amia": "AMIA",
    "daga": "DAGA",
    "eda": "EDA",
    "gmda": "GMDA",
    "llm_da": "LLMDA",
    "lsms": "LSMS",
    "melm": "MELM",
    "memory_hard": "MemoryHard",
    "mixgen": "MixGen",
    "rmda": "RMDA",
}
# Parameters that had other names before.
RENAMED = {
    "amia": {"images": "image_model"},
    "gmda": {"consistency": "detector"},
    "memory_hard": {"teachers": "detectors"},
}


def check_renamed(name: str, params: Iterable[str], where: str = "") -> None:
    """Check that no parameter of a method has a former name.

    Raises:
        UsageError: a parameter has; the message gives the new name.
    """
    for old, new in RENAMED.get(name, {}).items():
        if old in params:
            raise UsageError(f"{where}{name}: {old}: renamed to {new}")


def with_new_names(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters that an earlier version wrote into a recipe, by the names that they have today."""
    return {RENAMED.get(name, {}).get(param, param): value for param, value in params.items()}


def method_class(name: str) -> type[Method]:
    """Return a method's class by its name.

    Raises:
        UnknownName: there is no such method; the message gives the nearest.
        UsageError: the package that offers it cannot be imported, or offers something else.
    """
    if name not in METHODS:
        others = installed()
        if name not in others:
            raise UnknownName("method", name, [*METHODS, *others])
        return offered(others[name])
    found: type[Method] = getattr(importlib.import_module(f"hf_mner_aug.methods.{name}"), METHODS[name])
    return found


def installed() -> dict[str, Offer]:
    """Return the methods that installed packages offer, by name, except for names in the table."""
    return offers("methods", METHODS)
