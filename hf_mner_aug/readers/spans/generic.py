"""JSON with a text and its spans in each record, in any of the usual shapes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated, Marked
from hf_mner_aug.readers.spans.json_records import field_of, id_of, json_records, offset_of, pictures_of
from hf_mner_aug.readers.spans.tool_fields import IMAGES, checked_columns

# The names of fields to look for, in this order; ``columns`` gives another one.
FIELDS: dict[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "content", "body", "data"),
    "spans": ("spans", "entities", "label", "labels", "annotations", "ner"),
    "id": ("id", "post_id", "tweet_id", "guid"),
    "images": IMAGES,
    "start": ("start", "start_offset", "begin", "start_char", "from"),
    "end": ("end", "end_offset", "stop", "end_char", "to"),
    "range": ("pos", "span", "offsets", "indices", "range"),
    "type": ("type", "label", "tag", "entity_type", "entity_group", "entity", "labels"),
    "surface": ("text", "surface", "mention", "value"),
}
_MISSING = object()
Fields = Mapping[str, Sequence[str]]


def read_spans(
    path: Path, columns: Mapping[str, str | int] = MappingProxyType({}), encoding: str = "utf-8"
) -> Iterator[Annotated | BadLine]:
    """Yield the texts of a file of JSON Lines, or of a JSON array.

    A span is ``[start, end, type]``, ``[start, end, type, text]``, ``[type, start, end]`` or an object, with its start
    and end in two fields or as a pair in one. A record without any field of spans is left out, since nobody may have
    looked for entities in it.

    Args:
        path: the file.
        columns: the file's name for some of ``FIELDS``, as ``{"text": "body"}``; ``data.body`` is a field in a field.
        encoding: of the file.

    Raises:
        UnknownName: there is no such field to name.
    """
    fields = fields_of(columns)
    for found in json_records(path, encoding):
        if isinstance(found, BadLine):
            yield found
            continue
        try:
            yield annotated_of(found[1], found[0], fields)
        except DataError as error:
            yield BadLine(found[0], str(error))


def fields_of(columns: Mapping[str, str | int]) -> Fields:
    """Return the names of fields to look for; raises as ``read_spans``."""
    return {**FIELDS, **{ours: (theirs,) for ours, theirs in checked_columns(columns, FIELDS).items()}}


def annotated_of(record: Any, line: int, fields: Fields) -> Annotated:
    """Return the text of a record with its spans.

    Raises:
        DataError: it has no text, or no field of spans, or they have none of the usual shapes.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"expected an object with a text and its spans, found {str(record)[:60]!a}")
    text, marked = _first(record, fields["text"]), _first(record, fields["spans"])
    if not isinstance(text, str):
        raise _absent("text", "a text", text, record, fields)
    if isinstance(marked, str) and marked.lstrip().startswith(("[", "{")):
        marked = _json(marked)
    if isinstance(marked, Mapping) and len(marked) == 1:  # {"entities": […]}
        marked = next(iter(marked.values()))
    elif isinstance(marked, Mapping) and all(isinstance(values, list) for values in marked.values()):
        marked = [dict(zip(marked, values, strict=False)) for values in zip(*marked.values(), strict=False)]
    if marked is not None and not isinstance(marked, list | tuple):
        raise _absent("spans", "a list of spans", marked, record, fields)
    pictures = _first(record, fields["images"])
    return Annotated(
        id_of(None if (found := _first(record, fields["id"])) is _MISSING else found),
        line,
        text,
        [span for found in marked or () for span in spans_of(found, fields)],
        None if pictures is _MISSING else pictures_of(pictures),
    )


def spans_of(found: Any, fields: Fields = MappingProxyType(FIELDS)) -> list[Marked]:
    """Return a span in one of the usual shapes; several if it has several types.

    Raises:
        DataError: it has none of them.
    """
    surface: Any = None
    if isinstance(found, Mapping):
        start, end, kind = (_first(found, fields[name]) for name in ("start", "end", "type"))
        surface = _first(found, fields["surface"])
        if start is _MISSING and isinstance(pair := _first(found, fields["range"]), list) and len(pair) == 2:
            start, end = pair
    elif isinstance(found, list | tuple) and len(found) == 3 and not _is_number(found[0]):
        kind, start, end = found
    elif isinstance(found, list | tuple) and len(found) in (3, 4):
        start, end, kind, *rest = found
        surface = rest[0] if rest else None
    else:
        raise DataError(f"expected a span as [start, end, type] or an object, found {str(found)[:60]!a}")
    kinds = kind if isinstance(kind, list) else [kind]
    if _MISSING in (start, end) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise DataError(f"expected a span with start, end and type, found {str(found)[:100]!a}")
    text = surface if isinstance(surface, str) else None
    return [Marked(offset_of(start), offset_of(end), kind, text) for kind in kinds]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and value.isdecimal())


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected a list of spans, found {text[:60]!a}, not JSON") from error


def _first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the first of some fields that a record has."""
    for name in names:
        if name in record:
            return record[name]
        if "." in name and (found := field_of(record, name)) is not None:
            return found
    return _MISSING


def _absent(name: str, what: str, found: Any, record: Mapping[str, Any], fields: Fields) -> DataError:
    there = ", ".join(map(str, record))[:100]
    if found is _MISSING:
        return DataError(f"expected {what} in {' or '.join(fields[name])}, found {there!a}: --columns {name}=FIELD")
    return DataError(f"expected {what}, found {str(found)[:60]!a}: --columns {name}=FIELD names another field")
