"""Files of JSON: one record a line, one array of records, or objects behind each other."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.lines import MARK, BadLine, lines
from hf_mner_aug.readers.spans.annotated import Annotated, Marked

CHUNK = 1 << 20  # characters
_NEAR = 16  # a value cut by the end of a chunk fails at most so many characters before it, unless it fails in a text
_SOLID = re.compile(r"[^ \t\r\n]|\Z")

Build = Callable[[Any, int], Annotated | BadLine | None]


def json_records(
    path: Path, encoding: str = "utf-8", *, inside: Sequence[str] = ()
) -> Iterator[tuple[int, Any] | BadLine]:
    """Yield the records of a file with their line, or their number in an array; BadLine for a line that is not JSON.

    One record is in memory at a time. A byte that is no text is half a character in it.

    Args:
        path: the file.
        encoding: of the file.
        inside: the fields of an object that hold its records, in an array or in a further such object.

    Raises:
        DataError: an array, or an object over several lines, is not JSON: what is behind the fault would be lost.
    """
    if _is_lines(path, encoding, inside):
        yield from _lines(path, encoding)
        return
    with path.open(encoding=encoding, errors=MARK, newline="") as file:
        text, count = _Text(file), 0
        try:
            for count, record in enumerate(_records(text, inside), 1):
                yield count, record
        except DataError as error:
            raise DataError(f"not JSON behind record {count}: {error} ({path})") from error


def annotated_records(
    path: Path, build: Build, encoding: str = "utf-8", *, inside: Sequence[str] = ()
) -> Iterator[Annotated | BadLine]:
    """Yield what ``build`` makes of each record of a file and its number; as ``built`` of ``json_records``."""
    return built(json_records(path, encoding, inside=inside), build)


def built(records: Iterable[tuple[int, Any] | BadLine], build: Build) -> Iterator[Annotated | BadLine]:
    """Yield what ``build`` makes of records and their numbers; a DataError that it raises is a bad line.

    ``build`` returns a ``BadLine`` of another counter for a record that is left out on purpose, as a rejected one, and
    None for one that is part of another.
    """
    for record in records:
        found = record if isinstance(record, BadLine) else _built(build, *record)
        if found is not None:
            yield found


def _built(build: Build, number: int, record: Any) -> Annotated | BadLine | None:
    try:
        return build(record, number)
    except DataError as error:
        return BadLine(number, str(error))


def _is_lines(path: Path, encoding: str, inside: Sequence[str]) -> bool:
    """Return whether a file is JSON Lines: one of its first two lines is an object, or an array of a text and more.

    An array of records begins with a bracket and no text, and an object of records has a field ``inside``.
    """
    with path.open(encoding=encoding, errors=MARK) as file:
        heads = filter(str.strip, iter(lambda: file.readline(CHUNK), ""))
        texts = [next(heads, "").removeprefix("\ufeff").strip() for _ in range(2)]
    if texts[0].startswith("[") and not texts[0][1:].lstrip().startswith('"'):
        return False
    found = [_decoded(text, 1) for text in texts if text[:1] in ("{", "[")]
    has_records = any(isinstance(record, dict) and not record.keys().isdisjoint(inside) for record in found)
    return not has_records and any(isinstance(record, dict | list) for record in found)


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, Any] | BadLine]:
    for number, line in lines(path, encoding):
        if isinstance(line, BadLine):
            yield line
        elif line.strip():
            found = _decoded(line, number)
            yield found if isinstance(found, BadLine) else (number, found)


def _decoded(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except RecursionError:
        return BadLine(number, "not JSON: nested too deeply")
    except ValueError as error:  # also for a number of thousands of digits
        return BadLine(number, f"not JSON ({error})")


def _records(text: "_Text", inside: Sequence[str]) -> Iterator[Any]:
    """Yield the items of an array, or objects one after another.

    Raises:
        DataError: they are not JSON.
    """
    if text.skips("["):
        yield from _items(text)
    while text.sign():
        yield from _members(text, inside)


def _items(text: "_Text") -> Iterator[Any]:
    """Yield the items of an array, behind its bracket."""
    while not text.skips("]"):
        yield text.value()
        if not text.skips(",") and text.sign() != "]":
            raise DataError(f"expected a comma or ']', found {text.sign()!a}")


def _members(text: "_Text", inside: Sequence[str]) -> Iterator[Any]:
    """Yield the records in an object, or the object itself if it has none of the fields ``inside``."""
    if not inside or not text.skips("{"):
        yield text.value()
        return
    members, has_records = {}, False
    while not text.skips("}"):
        name = text.value()
        if not isinstance(name, str) or not text.skips(":"):
            raise DataError(f"expected a field and a colon, found {text.sign()!a}")
        if name in inside and text.sign() in ("[", "{"):
            has_records = True
            others = [field for field in inside if field != name]  # so that it is not nested without end
            yield from _items(text) if text.skips("[") else _members(text, others)
        else:
            members[name] = text.value()
        if not text.skips(",") and text.sign() != "}":
            raise DataError(f"expected a comma or '}}', found {text.sign()!a}")
    if not has_records:
        yield members


class _Text:
    """JSON values in a file, read in chunks."""

    def __init__(self, file: TextIO) -> None:
        self._chunks = iter(lambda: file.read(CHUNK), "")
        self._text, self._at = next(self._chunks, "").removeprefix("\ufeff"), 0
        self._decode = json.JSONDecoder().raw_decode

    def sign(self) -> str:
        """Return the next sign that is no blank, "" at the end of the file."""
        while True:
            self._at = _SOLID.search(self._text, self._at).start()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._grow(1):
                return self._text[self._at : self._at + 1]

    def skips(self, sign: str) -> bool:
        """Step over the next sign if it is this one, and return whether it is."""
        found = self.sign() == sign
        self._at += found
        return found

    def value(self) -> Any:
        """Return the next value.

        Raises:
            DataError: it is not JSON.
        """
        self.sign()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _NEAR
                if not cut or not self._grow((len(self._text) - self._at) // CHUNK + 1):
                    around = self._text[max(self._at, error.pos - 30) : error.pos + 30]
                    raise DataError(f"{error.msg} near {around!a}") from error
            except ValueError as error:  # a number of thousands of digits
                raise DataError(str(error)[:100]) from error
            except RecursionError as error:
                raise DataError("nested too deeply") from error
            else:
                self._at = end
                return value

    def _grow(self, n_chunks: int) -> bool:
        """Read on, and return whether there was more."""
        more = "".join(islice(self._chunks, n_chunks))
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


# ---------------------------------------------------------------- values of a record


def field_of(record: Any, name: str) -> Any:
    """Return a field of a record, also one of a record in it, as ``data.text``; None if it has none."""
    if isinstance(record, Mapping) and name in record:
        return record[name]
    outer, dot, inner = name.partition(".")
    return field_of(record[outer], inner) if dot and isinstance(record, Mapping) and outer in record else None


def id_of(value: Any) -> str | None:
    """Return an id that is a text or a whole number as text, None if there is none.

    Raises:
        DataError: it is another value.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"expected an id, a text or a whole number, found {spelt(value)}")
    return str(value)


def pictures_of(value: Any) -> tuple[str, ...]:
    """Return the names, paths or URLs of pictures, given as one text or a list of them, or none.

    Raises:
        DataError: it is another value.
    """
    names = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list) or not all(name is None or isinstance(name, str) for name in names):
        raise DataError(f"expected the name of a picture or a list of names, found {spelt(value)}")
    return tuple(name for name in names if name and name.strip())


def offset_of(value: Any) -> int:
    """Return an offset, given as a whole number, also as 3.0 or as text.

    Raises:
        DataError: it is another value.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"expected an offset, a whole number, found {spelt(value)}")
    return value


def text_of(record: Mapping[str, Any], *names: str) -> str:
    """Return the text in the first of some fields that a record has.

    Raises:
        DataError: it is no text, or the record has none of the fields.
    """
    name = next((name for name in names if field_of(record, name) is not None), None)
    if name is None:
        raise DataError(f"expected {' or '.join(map(repr, names))}, found {', '.join(map(ascii, record))[:100]}")
    found = field_of(record, name)
    if not isinstance(found, str):
        raise DataError(f"expected {name!r} with a text, found {spelt(found)}")
    return found


def list_of(record: Mapping[str, Any], name: str) -> list[Any]:
    """Return the list in a field, an empty one if there is none or it is null.

    Raises:
        DataError: it is no list.
    """
    found = field_of(record, name)
    if found is not None and not isinstance(found, list):
        raise DataError(f"expected {name!r} with a list, found {spelt(found)}")
    return found or []


def objects_of(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the list of objects in a field, an empty one if there is none or it is null.

    Raises:
        DataError: it is no list of objects.
    """
    return [object_of(item, f"{name!r} with objects") for item in list_of(record, name)]


def object_of(value: Any, what: str = "an object") -> Mapping[str, Any]:
    """Return a value that is an object.

    Raises:
        DataError: it is none.
    """
    if not isinstance(value, dict):
        raise DataError(f"expected {what}, found {spelt(value)}")
    return value


def mark(start: Any, end: Any, kind: Any, text: Any = None) -> Marked:
    """Return a span; its type may be a number.

    Raises:
        DataError: its offsets are no whole numbers, or it has no type.
    """
    if (name := id_of(kind)) is None:
        raise DataError(f"expected a type of the span [{spelt(start)}, {spelt(end)}), found none")
    return Marked(offset_of(start), offset_of(end), name, text if isinstance(text, str) else None)


def spelt(value: Any) -> str:
    """Return a JSON value for an error: a text or a number, cut, or what it is."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return ascii(value[:60] if isinstance(value, str) else value)[:80]
