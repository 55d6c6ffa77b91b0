"""Parameters that name files: fitted methods, recipes and rows have their content instead (``values.ByContent``)."""

import typing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from hf_mner_aug.values import ByContent, by_content_of

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
        each = value if isinstance(value, tuple) else (value,)
        named = tuple(mark.pinned(one, f"{name} ") if one else one for one in each)
        if named != each:
            found[name] = named if isinstance(value, tuple) else named[0]
    return replace(method, **found) if found else method
