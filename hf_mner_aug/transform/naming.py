"""Parameters that name files and models, by their marks (``values.ByContent``).

Fitted methods, recipes and rows have the content of files instead; recipes have the commits of models as well, and the
card names the models of every parameter in use.
"""

import typing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hf_mner_aug.values import ByContent, Computing, Named, by_content_of

if TYPE_CHECKING:
    from hf_mner_aug.transform import Method

M = TypeVar("M", bound="Method")


def marks_of(cls: type["Method"]) -> dict[str, ByContent]:
    """Return the marks of a class's parameters, by name."""
    kinds = typing.get_type_hints(cls, include_extras=True)
    return {name: mark for name, kind in kinds.items() if (mark := by_content_of(kind))}


def by_content(method: M) -> M:
    """Return a copy that names files and folders of this machine by their content, never by their path.

    Raises:
        UsageError: one cannot be read.
    """
    found: dict[str, Any] = {}
    for name, mark in marks_of(type(method)).items():
        value = getattr(method, name)
        named = tuple(mark.pinned(one, f"{name} ") if one else one for one in _each(value))
        if named != _each(value):
            found[name] = named if isinstance(value, tuple) else named[0]
    return replace(method, **found) if found else method


def at_commits(method: M) -> M:
    """Return a copy that names the models of the Hub that it uses by their commits, everything else by content.

    Raises:
        UsageError: a file cannot be read; there is no such model, or the Hub cannot be reached and the cache has none.
    """
    named = by_content(method)
    marks = marks_of(type(method))
    found: dict[str, Any] = {}
    for name in method._uses:
        value = getattr(named, name)
        each = tuple(marks[name].committed(one) if one else one for one in _each(value))
        if each != _each(value):
            found[name] = each if isinstance(value, tuple) else each[0]
    return replace(named, **found) if found else named


class Used(NamedTuple):
    """A value of a parameter in use: what its models do, the models, and where torch computes for it."""

    role: str
    models: tuple[Named, ...]
    computing: Computing | None


def used(method: "Method") -> list[Used]:
    """Return the values of the parameters that a method uses; of several in one parameter each.

    A number tells apart those that would have the role of other models.
    """
    marks, found = marks_of(type(method)), []
    for name, role in method._uses.items():
        values = [value for value in dict.fromkeys(_each(getattr(method, name))) if value]
        for n, value in enumerate(values, 1):
            numbered = f"{role} {n}" if len(values) > 1 else role
            found.append(Used(numbered, tuple(marks[name].models(value)), marks[name].computing(value)))
    return found


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
