"""Values typed on a command line or in YAML, as the types of a dataclass's fields."""

import re
import types
import typing
from typing import Any


def convert_value(value: Any, kind: Any) -> Any:
    """Return a value as a field's type.

    Commas part the items of a tuple, but for those before ``NAME=``: ``crf,umt:steps=300,epochs=2`` are two.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or value == "none":
            return None
        return convert_value(value, next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        items = re.split(r",(?!\w+=)", value) if isinstance(value, str) else value
        return tuple(convert_value(item, arguments[0]) for item in items)
    if kind is bool and isinstance(value, str):
        if value.lower() not in ("true", "false"):
            raise ValueError(value)
        return value.lower() == "true"
    if kind in (int, float, str) and not isinstance(value, bool):
        return kind(value)
    return value


def spell_type(kind: Any) -> str:
    """Return a type as a message names it."""
    return kind.__name__ if isinstance(kind, type) else str(kind)
