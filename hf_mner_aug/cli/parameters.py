"""Explanations of parameters: the lines below ``Args:`` in the docstrings of the dataclasses that hold them."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

# Fields that no user sets.
INSIDE = ("artifact", "from_recipe")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as shown to users; ``explained`` is empty if no docstring has it."""

    name: str
    default: Any
    explained: str


def parameters_of(cls: type, *more: type) -> list[Parameter]:
    """Return the parameters of a dataclass of settings and of those nested in it, in the order of its fields.

    ``more`` are classes whose docstrings explain shared parameters.
    """
    explained: dict[str, str] = {}
    for known in (*reversed(more), *reversed(cls.__mro__[:-1])):
        explained |= read_args(known.__doc__ or "")
    kinds = get_type_hints(cls)
    found = []
    for field in fields(cls):
        kind = kinds[field.name]
        if is_dataclass(kind) and isinstance(kind, type):
            found += parameters_of(kind)
        elif field.repr and field.name not in INSIDE:
            default = None if field.default is MISSING else field.default
            found.append(Parameter(field.name, default, explained.get(field.name, "")))
    return found


def read_args(docstring: str) -> Mapping[str, str]:
    """Return the entries below a docstring's ``Args:``, by name, each as one line."""
    return {name: re.sub(r"\s+", " ", text).strip() for name, text in _args(inspect.cleandoc(docstring))}


def _args(text: str) -> Iterator[tuple[str, str]]:
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    if section:
        yield from re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section[1], re.MULTILINE)
