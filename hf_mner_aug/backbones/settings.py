"""Backbones by name and NAME=VALUE settings, as on the command line."""

import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Annotated, Any, TypeVar

from hf_mner_aug.backbones import Backbone, backbone_class
from hf_mner_aug.storage.pinned_files import checked_file
from hf_mner_aug.values import LATER, ByContent, by_content_of, convert_values, parse_spec

T = TypeVar("T", bound=Backbone)


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


def pinned_spec(spec: str, where: str) -> str:
    """Return a backbone's spec that names files and folders by their content; one without any as it is.

    Raises:
        UnknownName: there is no such backbone or setting.
        UsageError: a file cannot be read, or a setting is not NAME=VALUE.
    """
    if not spec:
        return spec
    kinds: dict[str, Any] = {}
    name, chosen = parse_spec(spec, lambda name: _flat(backbone_class(name)))
    for kind in (cls := backbone_class(name), *filter(is_dataclass, _settable(cls).values())):
        kinds |= typing.get_type_hints(kind, include_extras=True)
    marks = {key: mark for key in chosen if (mark := by_content_of(kinds[key]))}
    named = {key: mark.pinned(chosen[key], f"{where}{key}=") for key, mark in marks.items()}
    if all(chosen[key] == value for key, value in named.items()):
        return spec
    return f"{name}:" + ",".join(f'{key}="{v}"' if "," in v else f"{key}={v}" for key, v in {**chosen, **named}.items())


BackboneSpec = Annotated[str, ByContent(pinned_spec)]  # a parameter: ``crf`` or ``token_classifier:encoder=DIR``


def fit_named(backbone: T, train: Any, validation: Any = None) -> T:
    """Return a fitted copy of a backbone whose files and folders may be named by their content, as the copy's are.

    Raises:
        UsageError: a file or folder is not known here, or has changed; else as the backbone's ``fit``.
    """
    fitted = _with_paths(backbone).fit(train, validation)
    return replace(fitted, **{name: getattr(backbone, name) for name in _naming(type(backbone))})


def _with_paths(settings: Any) -> Any:
    """Return settings whose files and folders are named by their paths on this machine."""
    found = {}
    for name in _naming(type(settings)):
        value = getattr(settings, name)
        found[name] = checked_file(value, f"{name} ") if isinstance(value, str) else value and _with_paths(value)
    return replace(settings, **found)


def _naming(cls: Any) -> list[str]:
    """Return the names of the settings that may name files, and of dataclasses of settings."""
    kinds = typing.get_type_hints(cls, include_extras=True)
    return [name for name in _settable(cls) if by_content_of(kinds[name]) or is_dataclass(kinds[name])]


def _flat(cls: Any) -> dict[str, Any]:
    """Return the settings of a backbone with their types; a field that is a dataclass is replaced by its fields."""
    kinds: dict[str, Any] = {}
    for name, kind in _settable(cls).items():
        kinds.update(_settable(kind) if is_dataclass(kind) else {name: kind})
    return kinds


def settings_of(backbone: Backbone) -> dict[str, Any]:
    """Return a backbone's settings without its seed, as plain data; those that came ``later`` only if they are set."""
    found: dict[str, Any] = {}
    declared = type(backbone).__dataclass_fields__
    for name in _settable(type(backbone)):
        value = getattr(backbone, name)
        if LATER in declared[name].metadata and value == declared[name].default:
            continue
        found.update(asdict(value) if is_dataclass(value) and not isinstance(value, type) else {name: value})
    return found


def _settable(cls: Any) -> Mapping[str, Any]:
    """Return the fields that a user sets, with their types: not the results of training, nor the seed."""
    kinds = typing.get_type_hints(cls)
    return {field.name: kinds[field.name] for field in fields(cls) if field.repr and field.name != "seed"}
