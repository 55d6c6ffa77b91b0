"""Values typed on a command line or in YAML, as the types of a dataclass's fields."""

import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.untrusted.printable import excerpt


def convert_value(value: Any, kind: Any) -> Any:
    """Return a value as a field's type.

    Commas part the items of a tuple, but for those before ``NAME=``: ``crf,umt:steps=300,epochs=2`` are two.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value == "none"):
            return None
        return convert_value(value, next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        items = re.split(r",(?!\w+=)", value) if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ValueError(value)
        return tuple(convert_value(item, arguments[0]) for item in items)
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise ValueError(value)
        return value
    if kind in (int, float, str):
        return _scalar(value, kind)
    if origin is typing.Literal and not isinstance(value, str | int | float):
        raise ValueError(value)
    return value


def _scalar(value: Any, kind: type[int] | type[float] | type[str]) -> int | float | str:
    """Return a number or text as another kind of it; nothing is lost, and a number is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(value)
    found = kind(value)
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(value)
    if kind is int and isinstance(value, float) and found != value:
        raise ValueError(value)
    return found


def parse_settings(text: str, kinds: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return settings written as ``delay=0.5,sites=a,b`` with the types that some fields have.

    Raises:
        UnknownName: there is no such field.
        UsageError: one is not NAME=VALUE, or does not convert.
    """
    typed = {}
    for setting in filter(None, re.split(r",(?=\s*\w+=)", text.strip(" ,"))):
        name, equals, value = setting.strip().partition("=")
        if not equals:
            raise UsageError(f"{where}: expected NAME=VALUE, found {setting!r}")
        typed[name] = value
    return convert_values(typed, kinds, where, "setting")


def convert_values(values: Mapping[str, Any], kinds: Mapping[str, Any], where: str, what: str) -> dict[str, Any]:
    """Return values as the types of the fields that they are for; ``what`` they are, and ``where``, messages say.

    Raises:
        UnknownName: there is no such field.
        UsageError: a value does not convert.
    """
    converted = {}
    for name, value in values.items():
        if name not in kinds:
            raise UnknownName(f"{what} of {where}", name, kinds)
        try:
            converted[name] = convert_value(value, kinds[name])
        except (ValueError, OverflowError) as error:
            found = excerpt(repr(value), 80)
            raise UsageError(f"{where}: {name}={found} is no {spell_type(kinds[name])}") from error
    return converted


def spell_type(kind: Any) -> str:
    """Return a type as a message names it."""
    return kind.__name__ if isinstance(kind, type) else str(kind)
