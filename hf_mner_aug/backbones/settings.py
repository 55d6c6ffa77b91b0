"""Backbones by name and NAME=VALUE settings, as on the command line."""

import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Annotated, Any, TypeVar

from hf_mner_aug.backbones import Backbone, backbone_class, types_of
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import named_model, pinned_model
from hf_mner_aug.models.vision.objects import CROPS
from hf_mner_aug.storage.pinned_files import checked_file
from hf_mner_aug.values import LATER, ByContent, Computing, Named, by_content_of, convert_values, parse_spec

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
    return _spelled(name, {**chosen, **named})


def committed_spec(spec: str) -> str:
    """Return a backbone's spec with the commits of the models that it takes from the Hub, its defaults among them.

    Raises as ``parse_backbone`` and ``resolved_revision``.
    """
    models = _models(spec)
    named = {name: pinned_model(value) for name, value in models.items()}
    changed = {name: value for name, value in named.items() if value != models[name]}
    if not changed:
        return spec
    name, chosen = parse_spec(spec, lambda name: _flat(backbone_class(name)))
    return _spelled(name, {**chosen, **changed})


def spec_models(spec: str) -> list[Named]:
    """Return the models that a backbone takes: its encoder, and where it reads pictures its tower and detector."""
    found = [(name, named) for name, value in _models(spec).items() for named in named_model(value)]
    return [named._replace(part="" if name == "encoder" else name) for name, named in found]


def spec_computing(spec: str) -> Computing | None:
    """Return where a backbone computes; None without torch."""
    settings = settings_of(parse_backbone(spec)) if spec else {}
    return Computing(settings["device"]) if "device" in settings else None


def _models(spec: str) -> dict[str, str]:
    """Return the settings of a backbone that name models which it uses, without those of a folder that it goes on."""
    if not spec:
        return {}
    backbone = parse_backbone(spec)
    kinds: dict[str, Any] = {}
    for kind in (type(backbone), *filter(is_dataclass, _settable(type(backbone)).values())):
        kinds |= typing.get_type_hints(kind, include_extras=True)
    settings = settings_of(backbone)
    names = [name for name in settings if (mark := by_content_of(kinds[name])) and mark.committed is pinned_model]
    names = [name for name in names if name == "encoder" or backbone.reads_images]
    read = settings.get("pretrained") and settings.get("regions", CROPS) == CROPS  # other regions have features
    return {name: settings[name] for name in names if name != "tower" or read}


def _spelled(name: str, settings: Mapping[str, str]) -> str:
    return f"{name}:" + ",".join(f'{key}="{v}"' if "," in v else f"{key}={v}" for key, v in settings.items())


# A parameter: ``crf`` or ``token_classifier:encoder=DIR``.
BackboneSpec = Annotated[str, ByContent(pinned_spec, committed_spec, spec_models, spec_computing)]


def fit_named(backbone: T, train: Any, validation: Any = None) -> T:
    """Return a fitted copy of a backbone whose files and folders may be named by their content, as the copy's are.

    Raises:
        UsageError: a file or folder is not known here, or has changed, or the backbone predicts fine types; else as
            its ``fit``.
    """
    if types_of(backbone) == "fine":
        raise UsageError(f"{backbone.name}: a method compares coarse types: leave out types=fine")
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
