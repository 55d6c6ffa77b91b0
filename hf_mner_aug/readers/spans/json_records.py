"""Files of JSON: one record a line, or one array of records."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.lines import MARK, BadLine, lines, whole_text

_DECODER = json.JSONDecoder()
_BLANK = " \t\r\n"
_START = 1 << 16  # characters


def json_records(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, Any] | BadLine]:
    """Yield the records of a file with their line, or their number in an array; BadLine for what is not JSON."""
    if _is_array(path, encoding):
        yield from _items(whole_text(path, encoding))
        return
    for number, line in lines(path, encoding):
        if isinstance(line, BadLine):
            yield line
        elif line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:  # also for a number of thousands of digits
                yield BadLine(number, _why(error))


def _is_array(path: Path, encoding: str) -> bool:
    """Return whether a file is one array, and not one array a line."""
    with path.open(encoding=encoding, errors=MARK) as file:
        if not file.read(_START).lstrip(f"\ufeff{_BLANK}").startswith("["):
            return False
    solid = (line for _, line in lines(path, encoding) if isinstance(line, BadLine) or line.strip())
    first, second = next(solid), next(solid, None)
    return second is None or isinstance(first, BadLine) or not _is_json(first)


def _items(text: str) -> Iterator[tuple[int, Any] | BadLine]:
    """Yield the items of an array one by one, so that they need not be in memory together."""
    at, number = _behind(text, text.index("[") + 1), 0
    while text[at : at + 1] not in ("]", ""):
        number += 1
        try:
            item, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            yield BadLine(number, f"{_why(error)}: nothing behind it can be read")
            return
        yield number, item
        at = _behind(text, at)
        if text[at : at + 1] == ",":
            at = _behind(text, at + 1)
        elif text[at : at + 1] != "]":
            yield BadLine(number + 1, f"not JSON: expected a comma, found {text[at : at + 60]!a}")
            return


def _behind(text: str, at: int) -> int:
    """Return the place of the next sign that is no blank."""
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _why(error: Exception) -> str:
    return "not JSON: nested too deeply" if isinstance(error, RecursionError) else f"not JSON ({error})"


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
        raise DataError(f"expected an id, a text or a whole number, found {str(value)[:60]!a}")
    return str(value)


def pictures_of(value: Any) -> tuple[str, ...]:
    """Return the names, paths or URLs of pictures, given as one text or a list of them, or none.

    Raises:
        DataError: it is another value.
    """
    names = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list) or not all(name is None or isinstance(name, str) for name in names):
        raise DataError(f"expected the name of a picture or a list of names, found {str(value)[:60]!a}")
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
        raise DataError(f"expected an offset, a whole number, found {str(value)[:60]!a}")
    return value
