"""The names of the code that a page mentions, and whether they are there."""

import importlib
import re

_NAMED = re.compile(r"`(hf_mner_aug(?:\.\w+)+)`")


def names(text: str) -> list[str]:
    """Return the dotted names of this package in a page, in order."""
    return list(dict.fromkeys(_NAMED.findall(text)))


def missing(text: str) -> list[str]:
    """Return those names that lead to no module, class or function."""
    return [name for name in names(text) if not _exists(name)]


def _exists(name: str) -> bool:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return _leads(found, parts[cut:])
    return False


def _leads(found: object, rest: list[str]) -> bool:
    for part in rest:
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True
