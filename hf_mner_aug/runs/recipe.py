"""The inputs of a config: a source, a subset of it, a method and its parameters, hashed by their content."""

import dataclasses
import hashlib
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.methods import METHODS, check_renamed, installed, method_class, with_new_names
from hf_mner_aug.models.device import find_device, find_dtype
from hf_mner_aug.outside import is_class_name, name_of, named_by_recipe, named_by_user
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.transform import Method, parameter_fields
from hf_mner_aug.transform.costs import allow_hosts
from hf_mner_aug.transform.naming import by_content, used
from hf_mner_aug.transform.source_code import source_digest
from hf_mner_aug.untrusted.names import RESERVED, check_digest, is_name
from hf_mner_aug.untrusted.shapes import checked, read_yaml
from hf_mner_aug.values import Positive, Share, check_ranges, convert_values, parse_spec

_COMMIT = re.compile(r"@[0-9a-f]{40}(?![0-9a-f])")
NOTHING: Mapping[str, Any] = MappingProxyType({})
SHARED = ("seed", "copies", "artifact", "keep")  # fields of every method, which are a recipe's own


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the rows of an augmented config.

    The fingerprint covers all fields but ``source``: the place of the data does not matter. Ids, where given,
    name the gold posts of train and validation; else ``fraction`` of both is drawn with ``subset_seed``. ``keep`` names
    columns that made posts have from their gold posts (``columns.unknown``); ``columns`` are the source's names for
    columns of ours (``map_columns``). ``code`` is the class of a method outside this package (``outside``), and
    ``code_digest`` the sha256 of its source.
    """

    method: str
    code: str = ""
    code_digest: str = ""
    version: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    copies: int = 1
    artifact: str | None = None
    keep: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    fraction: Share = 1.0
    subset_seed: int = 0
    ids_train: tuple[str, ...] | None = None
    ids_validation: tuple[str, ...] | None = None
    config: str = ""
    preset: str = "embedded"
    models: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "float32"
    part_size: Positive = 250
    source_fingerprint: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("ids_train", "ids_validation"):
            ids = getattr(self, name)
            if ids is not None:
                object.__setattr__(self, name, tuple(sorted(set(ids))))
        object.__setattr__(self, "keep", tuple(sorted(set(self.keep))))
        check_ranges(self)
        if self.config and (not is_name(self.config) or self.config in RESERVED):
            raise UsageError(
                f"config name {self.config!r}: the Hub takes letters, digits, '_', '.' and '-', no dot first, "
                f"and not {' or '.join(map(repr, RESERVED))}"
            )
        if self.artifact is not None:
            check_digest(self.artifact, "artifact of a recipe")

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON-like data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Recipe":
        """Return the recipe written by ``to_dict`` or by hand.

        Raises:
            UnknownName: a key is not a field of a recipe.
            DataError: a value has another type than its field.
        """
        check_keys(data)
        recipe: Recipe = checked(data, cls, "recipe")
        return recipe

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        preset: str | None = None,
        params: Mapping[str, Any] = NOTHING,
        **instead: Any,
    ) -> "Recipe":
        """Return the recipe of a YAML file or of a config's augmentation.json, every parameter spelled out.

        Args:
            path: the file.
            preset: whose parameters replace those of the file.
            params: parameters that replace both, typed or as text.
            instead: fields that replace those of the file; ``method`` may be a class, ``package.module:Class``.

        Raises:
            UnknownName: there is no such key, method, preset or parameter.
            DataError: the file cannot be read, or a value has another type than its field.
            UsageError: no method is named, or a value is out of range.
        """
        data, where = read_yaml(Path(path), dict[str, Any]), str(path)
        if "recipe" in data:
            review = data.get("review")
            where = f"{path}: recipe"
            data = checked(data["recipe"], dict[str, Any], where)
            if isinstance(params_of_file := data.get("params"), dict):
                data["params"] = with_new_names(str(data.get("method")), params_of_file)
            if isinstance(review, dict):  # a review is not made again, only the config that was reviewed
                data["config"] = review.get("of", "")
        check_keys(data, where)
        return _complete({**data, **_chosen(instead)}, where, preset, params)

    @classmethod
    def of(cls, *, preset: str | None = None, params: Mapping[str, Any] = NOTHING, **chosen: Any) -> "Recipe":
        """Return the recipe of the fields that a user chose; arguments and errors as of ``from_file``."""
        return _complete(_chosen(chosen), "recipe", preset, params)

    @property
    def fingerprint(self) -> str:
        """The sha256 of the recipe's canonical JSON, without ``source`` and empty optional fields."""
        optional = ("keep", "columns", "code", "code_digest")
        left_out = {"source", *(name for name in optional if not getattr(self, name))}
        data = {name: value for name, value in self.to_dict().items() if name not in left_out}
        return hashlib.sha256(canonical_json(data).encode()).hexdigest()

    def method_class(self) -> type[Method]:
        """Return the class of the method.

        Raises:
            UnknownName: there is no such method.
            CodeNotAllowed: it is a class outside this package that the user has not allowed.
            UsageError: its name or source differs from the recipe's.
        """
        if not self.code:
            return method_class(self.method)
        offer = installed().get(self.method)
        cls = method_class(self.method) if offer and offer.spec == self.code else named_by_recipe(self.code)
        if cls.name != self.method or source_digest(cls) != self.code_digest:
            raise UsageError(
                f"the recipe is for {self.method} as {self.code} was ({self.code_digest[:12]}), now that is {cls.name} "
                f"({source_digest(cls)[:12]}): make the config again with today's code"
            )
        return cls

    def build(self) -> Method:
        """Return the method of this recipe with its parameters; hosts among these still need the user's permission.

        A recipe of an earlier version may have former names of parameters, and keeps its fingerprint.

        Raises:
            UnknownName: there is no such method or parameter.
            UsageError: a value is out of range, or the recipe was made for another version of the method.
        """
        cls = self.method_class()
        if self.version != cls.version:
            raise UsageError(
                f"the recipe is for version {self.version} of {self.method}, installed is version {cls.version}: make "
                "the config again"
            )
        params = parse_params(cls, with_new_names(self.method, self.params))
        shared: dict[str, Any] = {name: getattr(self, name) for name in SHARED}
        return cls(**shared, from_recipe=True, **params)


def check_keys(data: Mapping[str, Any], where: str = "a recipe") -> None:
    """Raise UnknownName unless every key is a field of a recipe."""
    known = [f.name for f in fields(Recipe)]
    for name in data:
        if name not in known:
            raise UnknownName(f"key of {where}", str(name), known)


def _chosen(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a user chose, with the name and digest of a class of another package."""
    if "method" not in fields:
        return dict(fields)
    code = fields["method"]
    if not is_class_name(code):
        return {**fields, "code": "", "code_digest": ""}
    named = named_by_user(code)
    return {**fields, "method": named.name, "code": code, "code_digest": source_digest(named)}


def _complete(data: Mapping[str, Any], where: str, preset: str | None, params: Mapping[str, Any]) -> Recipe:
    """Return a recipe with every parameter of its method, so that equal choices have one fingerprint."""
    if "method" not in data:
        raise UsageError("name a method with --method, or a recipe with --recipe")
    named = {name: data[name] for name in ("method", "code", "code_digest") if name in data}
    method = checked(named, Recipe, where).method_class()
    shared = {name: method.__dataclass_fields__[name].default for name in ("copies", "seed")}
    recipe: Recipe = checked({"version": method.version, **shared, **data}, Recipe, where)
    given = parse_params(method, recipe.params, f"{where}: ")
    given |= (preset_params(method, preset) if preset else {}) | parse_params(method, params)
    kept = recipe.to_dict()
    for name in ("method", "code", "code_digest", "version", "params", *SHARED, "models", "preset", "device", "dtype"):
        kept.pop(name)
    built = replace(recipe, params=given).build()
    if preset and (lacking := _lacking(built, preset)):
        raise UsageError(f"{built.name}: --preset {preset} cannot have {lacking}")
    return recipe_for(built, **kept)


def recipe_for(method: Method, **chosen: Any) -> Recipe:
    """Return the recipe of a method with its models pinned; ``chosen`` are the fields that the method does not have."""
    allow_hosts(method)
    method = by_content(method.pinned())
    device, dtype = computed_on(method)
    cls = type(method)
    code = _code_of(cls)
    return Recipe(
        code=code,
        code_digest=source_digest(cls) if code else "",
        models={model.role: model.id for model in method.models},
        preset=_preset_of(method),
        device=device,
        dtype=dtype,
        method=method.name,
        version=method.version,
        params=_plain(method.params),
        seed=method.seed,
        copies=method.copies,
        artifact=method.artifact,
        keep=method.keep,
        **chosen,
    )


def computed_on(method: Method) -> tuple[str, str]:
    """Return the kind of device and the dtype that torch computes with; ``cpu`` and ``float32`` without torch.

    Where models differ, each role has its own: ``images=bfloat16,matching=float32``.
    """
    devices, dtypes = {}, {}
    for value in used(method):
        if value.computing:
            device = find_device(value.computing.device)
            asked = getattr(method, "dtype", value.computing.dtype) if value.role == "text" else value.computing.dtype
            devices[value.role] = device.partition(":")[0]
            dtypes[value.role] = find_dtype(asked, device)
    return _by_role(devices, "cpu"), _by_role(dtypes, "float32")


def _by_role(values: Mapping[str, str], without: str) -> str:
    """Return the value of all roles, or where they differ each with its role; another one without any."""
    different = {*values.values()}
    if len(different) > 1:
        return ",".join(f"{role}={value}" for role, value in values.items())
    return different.pop() if different else without


def _code_of(cls: type[Method]) -> str:
    """Return the name of a method's class outside this package; empty for our own methods.

    Raises:
        UsageError: another method has the class's name.
    """
    try:
        known = method_class(cls.name)
    except UnknownName:
        return name_of(cls)
    offer = installed().get(cls.name)
    if known is not cls:
        raise UsageError(f"{cls.__name__} has the name of {offer or cls.name}: give your class a name of its own")
    return offer.spec if offer else ""


def named_method(spec: str) -> Method:
    """Return the method that a user names: ``lsms``, ``rmda:corpus=corpus.db,copies=5`` or ``package.module:Class``.

    Raises:
        UnknownName: there is no such method or parameter.
        UsageError: a parameter is not NAME=VALUE, or its value does not convert or is out of range; no such class.
    """
    if spec.partition(":")[0] not in METHODS and is_class_name(spec):
        return named_by_user(spec)()
    name, params = parse_spec(spec, lambda name: parameters(method_class(name)) | {"copies": int}, "parameter")
    cls = method_class(name)
    copies = {"copies": params.pop("copies")} if "copies" in params else {}
    return cls(**parse_params(cls, params), **convert_values(copies, {"copies": int}, name, "parameter"))


def _preset_of(method: Method) -> str:
    """Return the preset of a method's parameters: its name, ``embedded`` without any model, otherwise ``own``."""
    for name, params in method.presets.items():
        if not _lacking(method, name) and all(
            _COMMIT.sub("", str(getattr(method, key))) == str(value) for key, value in params.items()
        ):
            return name
    return "own" if method.models else "embedded"


def _lacking(method: Method, preset: str) -> str:
    """Return the parameters that a preset needs and a method has by default, and what to do; empty without any."""
    needs: Mapping[str, str] = getattr(method, "needs", {}).get(preset, {})
    defaults = {field.name: field.default for field in parameter_fields(type(method))}
    return "; ".join(
        f"{name}={defaults[name]}: {said}" for name, said in needs.items() if getattr(method, name) == defaults[name]
    )


def preset_params(cls: type[Method], preset: str) -> dict[str, Any]:
    """Return the parameters that a preset sets.

    Raises:
        UnknownName: the method has no such preset.
    """
    if preset != "embedded" and preset not in cls.presets:
        raise UnknownName(f"preset of {cls.name}", preset, {"embedded", *cls.presets})
    return dict(cls.presets.get(preset, {}))


def parse_params(cls: type[Method], params: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return parameters of a method with the types of its fields; text, as typed on a command line, is converted.

    Raises:
        UnknownName: the method has no such parameter; the message gives the valid ones.
        UsageError: a value does not convert, or a parameter has been renamed.
    """
    check_renamed(cls.name, params, where)
    return convert_values(params, parameters(cls), where + cls.name, "parameter")


def parameters(cls: type[Method]) -> dict[str, Any]:
    """Return the types of a method's parameters, without the fields that a recipe has itself."""
    own = {field.name for field in parameter_fields(cls)}
    return {name: kind for name, kind in typing.get_type_hints(cls).items() if name in own}


def _plain(value: Any) -> Any:
    """Return parameters as JSON keeps them, so that a recipe read back is equal."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
