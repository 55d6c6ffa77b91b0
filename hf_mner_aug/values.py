"""Values typed on a command line or in YAML, as the types of a dataclass's fields."""

import contextlib
import math
import operator
import re
import shlex
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from typing import Annotated, Any, NamedTuple

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.untrusted.printable import excerpt


class Range(NamedTuple):
    """The range of a field's numbers, as part of its type: ``Annotated[float, Range(0, 1, "[)")]``.

    ``ends`` tells for each bound whether it belongs to the range.
    """

    least: float
    most: float = math.inf
    ends: str = "[]"

    def has(self, value: float) -> bool:
        """Return whether a number is in the range; NaN is in none."""
        low, high = (operator.le if end in "[]" else operator.lt for end in self.ends)
        return low(self.least, value) and high(value, self.most)

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"{'at least' if self.ends[0] == '[' else 'more than'} {self.least:g}"
        return f"in {self.ends[0]}{self.least:g}, {self.most:g}{self.ends[1]}"


Positive = Annotated[int, Range(1)]
Count = Annotated[int, Range(0)]
Amount = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1)]
Share = Annotated[float, Range(0, 1, "(]")]
Rate = Annotated[float, Range(0, 1, "()")]
BelowOne = Annotated[float, Range(0, 1, "[)")]


class Named(NamedTuple):
    """A model that a value of a parameter names.

    Attributes:
        id: on the Hub, with ``@COMMIT``, or the name and content of a folder: ``NAME@SHA256``.
        part: what it does where there are several, as ``tower``; empty for the main one.
        license: in the Hub's spelling.
        checked: false if it makes pictures without a safety checker.
    """

    id: str
    part: str = ""
    license: str = "other"
    checked: bool = True


class Computing(NamedTuple):
    """Where torch computes for a value of a parameter: the device and the dtype asked for, both perhaps ``auto``."""

    device: str = "auto"
    dtype: str = "float32"


class ByContent(NamedTuple):
    """The mark, in its type, of a parameter that may name files or models.

    Attributes:
        pinned: returns a value that names files and folders by their content; it takes the value and the words that a
            message begins with, and raises UsageError.
        committed: returns a value that names models of the Hub by ``ID@COMMIT``.
        models: returns the models that a value names, those that a backbone takes by default among them.
        computing: returns where torch computes for a value; None without torch.
        check: raises UsageError for a value that no file or model can have.
    """

    pinned: Callable[[str, str], str]
    committed: Callable[[str], str] = str
    models: Callable[[str], Iterable[Named]] = lambda value: ()
    computing: Callable[[str], Computing | None] = lambda value: None
    check: Callable[[str], object] = lambda value: None


def by_content_of(kind: Any) -> ByContent | None:
    """Return the mark of a type, or of a type that it consists of (``tuple[LocalFile, ...]``); None without one."""
    marks = (mark for mark in getattr(kind, "__metadata__", ()) if isinstance(mark, ByContent))
    return next(marks, None) or next(filter(None, map(by_content_of, typing.get_args(kind))), None)


LATER = "later"  # the metadata of a field that ``later`` makes


def later(default: Any) -> Any:
    """Declare the default of a parameter that a class got after its first version.

    While the parameter has it, ``Method.params`` leaves it out, so recipes and rows made before stay as they are.
    """
    return field(default=default, metadata={LATER: True})


def check_ranges(settings: Any, where: str = "") -> None:
    """Check the fields of a dataclass against their types: numbers against a ``Range``, names against a ``Literal``.

    Names of files and models are checked as ``ByContent`` says.

    None is in every range and every ``Literal``; a tuple of a ``Literal`` has at least one item. ``where`` names the
    dataclass in messages.

    Raises:
        UnknownName: a value is none of its ``Literal``.
        UsageError: a number is out of its range, a tuple of names is empty, or the name of a model cannot be read.
    """
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        for allowed in getattr(setting.type, "__metadata__", ()):
            if isinstance(allowed, Range) and value is not None and not allowed.has(value):
                raise UsageError(f"{where}{': ' * bool(where)}{setting.name} must be {allowed}, found {value}")
            if isinstance(allowed, ByContent) and isinstance(value, str):
                allowed.check(value)
        if value is not None and (choices := _choices(setting.type)):
            _check_choice(setting.name, value, choices, where)


def _check_choice(name: str, value: Any, choices: tuple[str, ...], where: str) -> None:
    if value == ():
        raise UsageError(f"{where}{': ' * bool(where)}{name} must be some of {', '.join(choices)}")
    kind, items = (f"value of {name}", value) if isinstance(value, tuple) else (name, (value,))
    for item in items:
        if item not in choices:
            raise UnknownName(kind, str(item), choices)


def _choices(kind: Any) -> tuple[str, ...]:
    """Return the values of a type's ``Literal``, alone or in an optional or a tuple; none of other types."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return arguments
    return next(filter(None, map(_choices, arguments)), ())


_NAMED = re.compile(r"\b\w+=")
_BETWEEN = re.compile(rf",(?!\s*{_NAMED.pattern})")


def convert_value(value: Any, kind: Any) -> Any:
    """Return a value as a field's type.

    Commas separate the items of a tuple, except before ``NAME=``: ``crf,umt:steps=300,epochs=2`` are two. Of several
    types the first that takes the value counts: ``float | str`` makes a number of ``0.5``.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or (value == "none" and value not in _choices(kind)):
            return None
        *kinds, last = (argument for argument in arguments if argument is not type(None))
        for each in kinds:
            with contextlib.suppress(ValueError, OverflowError):
                return convert_value(value, each)
        return convert_value(value, last)
    if origin is tuple:
        items = [*filter(None, map(str.strip, _BETWEEN.split(value)))] if isinstance(value, str) else value
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


def parse_spec(
    spec: str, kinds_of: Callable[[str], Mapping[str, Any]], what: str = "setting", more: Iterable[str] = ()
) -> tuple[str, dict[str, str]]:
    """Return the name and the settings, as text, of ``NAME:key=value,…``.

    Args:
        spec: after the colon, settings as ``parse_settings`` takes them.
        kinds_of: returns the types of a name's settings.
        what: the word for a setting in messages.
        more: further settings, each NAME=VALUE.

    Raises:
        UnknownName: as ``kinds_of``.
        UsageError: a setting is not NAME=VALUE.
    """
    name, _, inline = spec.partition(":")
    return name, _split(inline, kinds_of(name), name, what) | parse_each(more, f"{name}: {what}")


def parse_settings(text: str, kinds: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return settings written as ``delay=0.5,sites=a,b``, converted to the types of their fields.

    A list continues after a comma if no ``NAME=`` follows. Double quotes keep commas in a value:
    ``target="crf:iterations=50,c1=1",seeds=3``.

    Raises:
        UnknownName: there is no such field.
        UsageError: a setting is not NAME=VALUE, or does not convert.
    """
    return convert_values(_split(text, kinds, where, "setting"), kinds, where, "setting")


def parse_each(settings: Iterable[str], where: str) -> dict[str, str]:
    """Return settings, each NAME=VALUE, as text by name; ``where`` comes before a setting in messages.

    Raises:
        UsageError: a setting is not NAME=VALUE.
    """
    found = {}
    for setting in settings:
        name, equals, found[name] = setting.partition("=")
        if not equals:
            raise UsageError(f"{where} {setting}: expected NAME=VALUE")
    return found


def parse_pairs(text: str | None, option: str, form: str) -> dict[str, str]:
    """Return ``a=b,c=d`` as a mapping; messages name the ``option`` and the ``form`` expected, as ``OLD=NEW,…``.

    Raises:
        UsageError: a part is not NAME=NAME.
    """
    pairs = [part.strip().partition("=") for part in (text or "").split(",") if part.strip()]
    if text and (not pairs or not all(left and right for left, _, right in pairs)):
        raise UsageError(f"{option} {text}: expected {form}")
    return {left: right for left, _, right in pairs}


def _split(text: str, kinds: Mapping[str, Any], where: str, what: str) -> dict[str, str]:
    """Return settings separated by commas as text by name; see ``parse_settings``."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace, lexer.quotes, lexer.escape, lexer.commenters, lexer.whitespace_split = ",", '"', "", "", True
    try:
        parts = [part.strip() for part in lexer if part.strip()]
    except ValueError as error:
        raise UsageError(f"{where}: a double quote without its second in {excerpt(text, 80)}") from error
    found: dict[str, str] = {}
    name = ""
    for part in parts:
        goes_on = name and (name not in kinds or _is_list(kinds[name]))
        if _NAMED.match(part) or ("=" in part and not goes_on):
            name, _, found[name] = part.partition("=")
        elif goes_on:
            found[name] += f",{part}"
        else:
            raise UsageError(f"{what} {part!r} of {where}: expected NAME=VALUE, NAME one of {', '.join(kinds)}")
    return found


def _is_list(kind: Any) -> bool:
    """Return whether a field's type is a tuple, or may be one."""
    return typing.get_origin(kind) is tuple or any(map(_is_list, typing.get_args(kind)))


def convert_values(values: Mapping[str, Any], kinds: Mapping[str, Any], where: str, what: str) -> dict[str, Any]:
    """Return values converted to the types of their fields; messages name their place and kind, ``where`` and ``what``.

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
            raise UsageError(f"{where}: {name}={found} is not a valid {spell_type(kinds[name])}") from error
    return converted


_PLAIN: dict[Any, str] = {str: "text", bool: "bool (true or false)", types.NoneType: "none", Any: "value"}


def spell_type(kind: Any) -> str:
    """Return a type in plain words, as a message names it: ``float or none``, ``list of swap, delete``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return spell_type(arguments[0])
    if origin is typing.Literal:
        return f"{'choice of ' * (len(arguments) > 1)}{', '.join(map(str, arguments))}"
    if origin in (typing.Union, types.UnionType):
        *first, last = dict.fromkeys(map(spell_type, arguments))
        return f"{', '.join(first)} or {last}" if first else last
    if origin is tuple:
        return f"list of {spell_type(arguments[0]).removeprefix('choice of ')}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping"
    return _PLAIN.get(kind) or str(getattr(kind, "__name__", kind))
