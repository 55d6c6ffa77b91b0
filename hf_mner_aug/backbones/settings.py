"""Backbones by name and NAME=VALUE settings, as typed on a command line."""

import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

from hf_mner_aug.backbones import backbone_class
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.values import convert_value, spell_type


def parse_backbone(spec: str, settings: Iterable[str] = ()) -> Any:
    """Return the backbone of ``crf`` or ``token_classifier:encoder=DIR,steps=300``, with more NAME=VALUE settings.

    A field that is a dataclass itself (``training``) is set through the names of its own fields.

    Raises:
        UnknownName: there is no such backbone or setting.
        UsageError: a setting is not NAME=VALUE, or its value does not convert or is out of range.
    """
    name, _, inline = spec.partition(":")
    cls: Any = backbone_class(name)
    kinds = _settable(cls)
    nested = {inner: outer for outer, kind in kinds.items() if is_dataclass(kind) for inner in _settable(kind)}
    known = [name for name in kinds if name not in nested.values()] + [*nested]
    chosen: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for setting in [*filter(None, inline.split(",")), *settings]:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"setting {setting!r} of {name}: expected NAME=VALUE, NAME one of {', '.join(known)}")
        if key not in known:
            raise UnknownName(f"setting of {name}", key, known)
        kind = _settable(kinds[nested[key]])[key] if key in nested else kinds[key]
        try:
            converted = convert_value(value, kind)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{name}: {key}={value!r} is no {spell_type(kind)}") from error
        (parts.setdefault(nested[key], {}) if key in nested else chosen)[key] = converted
    backbone = cls(**chosen)
    return replace(backbone, **{outer: replace(getattr(backbone, outer), **inner) for outer, inner in parts.items()})


def settings_of(backbone: Any) -> dict[str, Any]:
    """Return a backbone's settings but its seed, as plain data."""
    found: dict[str, Any] = {}
    for name in _settable(type(backbone)):
        value = getattr(backbone, name)
        found.update(asdict(value) if is_dataclass(value) and not isinstance(value, type) else {name: value})
    return found


def _settable(cls: Any) -> Mapping[str, Any]:
    """Return the fields that a user sets, with their types: what training leaves is not shown, the seed is drawn."""
    kinds = typing.get_type_hints(cls)
    return {field.name: kinds[field.name] for field in fields(cls) if field.repr and field.name != "seed"}
