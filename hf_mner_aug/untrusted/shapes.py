"""Untrusted JSON and YAML, checked against declared types; a mismatch is reported in one line.

A shape is a dataclass, a TypedDict (further keys are allowed), or a type such as ``Mapping[str, int]``,
``tuple[str, ...]``, ``tuple[int, int]``, ``float | None``, ``Literal["a", "b"]``; ``Any`` is any JSON. Text is Unicode
without lone surrogates, numbers are finite, and nothing is nested deeper than ``DEEPEST``.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.untrusted.printable import excerpt

DEEPEST = 64
LONGEST_YAML = 4_000_000  # characters, which PyYAML reads in half a minute
LARGEST = 2**63 - 1  # the largest whole number that Parquet, SQLite and most readers of JSON take
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "nothing"}


class _Misfit(Exception):
    """A value does not fit its shape: where, what was expected and what was found, or the fault in other words."""

    def __init__(self, place: tuple[str, ...], expected: str = "", found: str = "", *, fault: str = "") -> None:
        told = fault or f"expected {expected}, found {found}"
        super().__init__(f"{'.'.join(place)}: " * bool(place) + told)


def read_json(path: Path, shape: Any, **told: Any) -> Any:
    """Return the value in a JSON file; raises as ``parse_json``, and FileNotFoundError."""
    return parse_json(path.read_bytes(), shape, str(path), **told)


def parse_json(
    data: bytes | str,
    shape: Any,
    where: str,
    *,
    error: type[UsageError] = DataError,
    advice: str = "",
    halves: bool = False,
) -> Any:
    """Return a JSON value checked against its shape, with dataclasses built.

    ``advice`` says what to do if it does not fit; with ``halves``, text may contain lone surrogates.

    Raises:
        UsageError: (of type ``error``) it is not valid JSON or does not fit.
    """
    try:
        value = json.loads(data)
    except ValueError as fault:
        raise error(_line(where, f"expected JSON, found malformed text ({excerpt(str(fault), 80)})", advice)) from fault
    except RecursionError as fault:
        raise error(_line(where, "expected JSON, found a value nested too deep", advice)) from fault
    return checked(value, shape, where, error=error, advice=advice, halves=halves)


def read_yaml(path: Path, shape: Any) -> Any:
    """Return the value in a hand-written YAML or JSON file.

    Raises:
        UsageError: the file cannot be read.
        DataError: it is not valid YAML, has aliases (a few lines of them can exhaust any memory), or does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise UsageError(f"{path}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}: expected UTF-8 text, found the byte {fault.object[fault.start]:#04x}") from fault
    if path.suffix == ".json":
        return parse_json(text, shape, str(path))
    return checked(parse_yaml(text, str(path)), shape, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text; raises as ``read_yaml``."""
    import yaml

    if len(text) > LONGEST_YAML:
        raise DataError(f"{where}: expected at most {LONGEST_YAML:,} characters of YAML, found {len(text):,}")
    try:
        return yaml.load(text, _bounded_loader(where))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        place = f" at line {mark.line + 1}" if mark else ""
        raise DataError(
            f"{where}: expected YAML, found malformed text{place} ({excerpt(str(fault.problem), 80)})"
        ) from fault
    except (yaml.YAMLError, ValueError, OverflowError) as fault:  # an impossible date, a number of thousands of digits
        raise DataError(f"{where}: expected YAML, found malformed text ({excerpt(str(fault), 80)})") from fault


def _bounded_loader(where: str) -> type:
    """Return a loader that raises DataError at the first alias, and at the first list or mapping nested too deep."""
    import yaml

    class Bounded(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise DataError(f"{where}: expected YAML without aliases, found one: write out what it stands for")
            if self.depth == DEEPEST and self.check_event(yaml.CollectionStartEvent):  # its time is quadratic in depth
                raise DataError(f"{where}: expected YAML of at most {DEEPEST} levels, found more")
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    return Bounded


def checked(
    value: Any,
    shape: Any,
    where: str,
    *,
    error: type[UsageError] = DataError,
    advice: str = "",
    halves: bool = False,
) -> Any:
    """Return JSON-like data checked against its shape, with dataclasses built from mappings.

    Raises:
        UsageError: (of type ``error``) it does not fit.
    """
    try:
        return _Check(halves).value(value, shape, ())
    except _Misfit as misfit:
        raise error(_line(where, str(misfit), advice)) from None


def fields_of(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields."""
    kinds = typing.get_type_hints(cls)
    return {field.name: kinds[field.name] for field in dataclasses.fields(cls) if field.init}


def _line(where: str, told: str, advice: str) -> str:
    return f"{where}: {told}" + (f": {advice}" if advice else "")


@dataclasses.dataclass(frozen=True)
class _Check:
    """Checks values; with ``halves``, text may contain lone surrogates."""

    halves: bool

    def value(self, value: Any, shape: Any, place: tuple[str, ...]) -> Any:
        origin, arguments = typing.get_origin(shape), typing.get_args(shape)
        if shape is Any:
            return self.json(value, place)
        if origin in (typing.Union, types.UnionType):
            return self.one_of(value, arguments, place)
        if origin is typing.Literal:
            if not isinstance(value, str | int) or value not in arguments:
                raise _Misfit(place, _spell(shape), _found(value))
            return value
        if origin in (typing.Required, typing.NotRequired):
            return self.value(value, arguments[0], place)
        if dataclasses.is_dataclass(shape) or typing.is_typeddict(shape):
            return self.record(value, typing.cast(type, shape), place)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            if not isinstance(value, Mapping):
                raise _Misfit(place, "a mapping", _found(value))
            return {self.key(key, place): self.value(item, arguments[1], (*place, key)) for key, item in value.items()}
        if isinstance(origin, type) and issubclass(origin, Sequence):
            return self.items(value, origin, arguments, place)
        if isinstance(value, dict | list):
            raise _Misfit(place, _spell(shape), _found(value))
        return self.scalar(value, shape, place)

    def one_of(self, value: Any, shapes: Sequence[Any], place: tuple[str, ...]) -> Any:
        """Return a value checked against the first of several shapes that it fits."""
        if value is None and type(None) in shapes:
            return None
        others = [shape for shape in shapes if shape is not type(None)]
        for shape in others[:-1]:
            try:
                return self.value(value, shape, place)
            except _Misfit:
                continue
        return self.value(value, others[-1], place)

    def record(self, value: Any, shape: type, place: tuple[str, ...]) -> Any:
        """Return a mapping checked against a TypedDict, or as a dataclass."""
        if not isinstance(value, Mapping):
            raise _Misfit(place, "a mapping", _found(value))
        for key in value:
            self.key(key, place)
        typed = typing.is_typeddict(shape)
        kinds = typing.get_type_hints(shape, include_extras=True) if typed else fields_of(shape)
        if typed:
            needed = shape.__required_keys__  # type: ignore[attr-defined]
        else:
            needed = {
                field.name
                for field in dataclasses.fields(shape)
                if field.init and field.default is field.default_factory is dataclasses.MISSING
            }
        for key in kinds:
            if key in needed and key not in value:
                raise _Misfit(place, f"the key {key}", excerpt(", ".join(value), 80).rstrip(", ") or "no key")
        other = [key for key in value if key not in kinds]
        if other and not typed:
            raise _Misfit(place, f"only the keys {', '.join(kinds)}", excerpt(repr(other[0]), 40))
        found = {key: self.value(value[key], kind, (*place, key)) for key, kind in kinds.items() if key in value}
        if typed:
            return {**found, **{key: self.json(value[key], (*place, key)) for key in other}}
        try:
            return shape(**found)
        except UsageError as fault:  # the dataclass itself rejects the value
            raise _Misfit(place, fault=str(fault)) from fault

    def items(self, value: Any, origin: type, arguments: Sequence[Any], place: tuple[str, ...]) -> Any:
        """Return the checked items of a list, as a tuple if the shape is one."""
        if not isinstance(value, list | tuple):
            raise _Misfit(place, "a list", _found(value))
        if origin is tuple and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                raise _Misfit(place, f"a list of {len(arguments)}", f"one of {len(value)}")
            shapes = arguments
        else:
            shapes = [arguments[0]] * len(value)
        pairs = enumerate(zip(value, shapes, strict=True))
        items = [self.value(item, shape, (*place, str(i))) for i, (item, shape) in pairs]
        return tuple(items) if origin is tuple else items

    def scalar(self, value: Any, shape: Any, place: tuple[str, ...]) -> Any:
        fits = isinstance(value, shape) or (shape is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and shape is not bool):
            raise _Misfit(place, _spell(shape), _found(value))
        self.json(value, place)
        return float(value) if shape is float else value

    def json(self, value: Any, place: tuple[str, ...]) -> Any:
        """Return a value, checked to be valid JSON."""
        if len(place) > DEEPEST:
            raise _Misfit(place[:3], f"at most {DEEPEST} levels", "more")
        if isinstance(value, str):
            try:
                value.encode("utf-8", "surrogatepass" if self.halves else "strict")
            except UnicodeEncodeError:
                raise _Misfit(place, "text", "a lone surrogate") from None
        elif isinstance(value, Mapping):
            return {self.key(key, place): self.json(item, (*place, key)) for key, item in value.items()}
        elif isinstance(value, list | tuple):
            return [self.json(item, (*place, str(i))) for i, item in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            raise _Misfit(place, "a finite number", str(value))
        elif isinstance(value, int) and not -LARGEST - 1 <= value <= LARGEST:
            raise _Misfit(place, "a whole number of at most 64 bits", "a larger one")
        elif value is not None and not isinstance(value, bool | int | float):
            raise _Misfit(place, "a JSON value", f"a {type(value).__name__}")
        return value

    def key(self, key: Any, place: tuple[str, ...]) -> str:
        if not isinstance(key, str):
            raise _Misfit(place, "text keys", _found(key))
        name: str = self.json(key, place)
        return name


def _spell(shape: Any) -> str:
    if typing.get_origin(shape) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(shape)))
    return _WORDS.get(shape, getattr(shape, "__name__", str(shape)))


def _found(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a larger number"
    return excerpt(repr(value), 60)
