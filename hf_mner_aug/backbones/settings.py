"""Backbones by name and NAME=VALUE settings, as on the command line."""

import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

from hf_mner_aug.backbones import Backbone, backbone_class
from hf_mner_aug.values import convert_values, parse_spec


def parse_backbone(spec: str, settings: Iterable[str] = ()) -> Backbone:
    """Return the backbone of ``crf`` or ``token_classifier:encoder=DIR,steps=300``, with more NAME=VALUE settings.

    A field that is a dataclass itself (``training``) is set through the names of its own fields.

    Raises:
        UnknownName: there is no such backbone or setting.
        UsageError: a setting is not NAME=VALUE, or its value does not convert or is out of range.
    """
    name, chosen = read_spec(spec, settings)
    backbone = backbone_class(name)()
    for outer, kind in _settable(type(backbone)).items():
        if is_dataclass(kind):
            inner = {key: chosen.pop(key) for key in _settable(kind) if key in chosen}
            chosen[outer] = replace(getattr(backbone, outer), **inner)
    return replace(backbone, **chosen)


def read_spec(spec: str, settings: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings of a backbone's spec; raises as ``parse_backbone``."""
    name, chosen = parse_spec(spec, lambda name: _flat(backbone_class(name)), more=settings)
    return name, convert_values(chosen, _flat(backbone_class(name)), name, "setting")


def _flat(cls: Any) -> dict[str, Any]:
    """Return the settings of a backbone with their types; a field that is a dataclass is replaced by its fields."""
    kinds: dict[str, Any] = {}
    for name, kind in _settable(cls).items():
        kinds.update(_settable(kind) if is_dataclass(kind) else {name: kind})
    return kinds


def settings_of(backbone: Backbone) -> dict[str, Any]:
    """Return a backbone's settings without its seed, as plain data."""
    found: dict[str, Any] = {}
    for name in _settable(type(backbone)):
        value = getattr(backbone, name)
        found.update(asdict(value) if is_dataclass(value) and not isinstance(value, type) else {name: value})
    return found


def _settable(cls: Any) -> Mapping[str, Any]:
    """Return the fields that a user sets, with their types: not the results of training, nor the seed."""
    kinds = typing.get_type_hints(cls)
    return {field.name: kinds[field.name] for field in fields(cls) if field.repr and field.name != "seed"}
