"""Doccano: JSON Lines of sequence labelling, in the layouts of all its versions.

An export has a text (``text``; ``data`` in 1.5), the user's meta data as further fields (in ``meta`` before 1.5), and
spans as one of:

- ``label``, and ``labels`` before 1.5: ``[[start, end, "PER"]]``;
- ``entities``, of projects with relations: ``[{"label", "start_offset", "end_offset"}]``; of intent detection:
  ``[[start, end, "City"]]``;
- ``annotations`` before 1.0: ``[{"label": 10, "start_offset", "end_offset", "user": 1}]``, with numbers of labels
  (``--types 10=LOC``).

Offsets count UTF-16 units, as the browser does (issue 2290 of doccano/doccano). Source: ``backend/data_export`` of the
package doccano 1.8.4, and the test data of doccano-transformer. Relations are left out and counted. A text without any
of these fields is left out, counted as unlabelled; an empty list says that it has no entity. Of several annotators of a
text, the first in the file is taken.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated, Marked
from hf_mner_aug.readers.spans.json_records import annotated_records, list_of, mark, object_of, spelt, text_of
from hf_mner_aug.readers.spans.tool_fields import Columns, checked_columns, own_id, own_pictures

_SPANS = ("label", "labels", "entities", "annotations")


def read_doccano(
    path: Path, columns: Columns = MappingProxyType({}), encoding: str = "utf-8"
) -> Iterator[Annotated | BadLine]:
    """Yield the texts of an export.

    Raises:
        UnknownName: ``columns`` names a field that is none of ``tool_fields.NAMES``.
        DataError: no record could be read.
    """
    named = checked_columns(columns)
    yield from annotated_records(path, lambda record, line: _annotated(object_of(record), line, named), encoding)


def _annotated(record: Mapping[str, Any], line: int, columns: Mapping[str, str]) -> Annotated | BadLine:
    text = text_of(record, columns.get("text", "text"), "data")
    field = columns.get("spans") or next((name for name in _SPANS if record.get(name) is not None), None)
    if field is None:
        return BadLine(line, f"expected spans in {' or '.join(_SPANS)}, found none", "unlabelled")
    spans, notes = list_of(record, field), []
    here = own_id(record, columns) or f"line {line}"
    if list_of(record, "relations"):
        notes.append(("left_relations", here))
    users = dict.fromkeys(str(span.get("user")) for span in spans if isinstance(span, dict))
    if len(users) > 1:
        first = next(iter(users))
        spans = [span for span in spans if isinstance(span, dict) and str(span.get("user")) == first]
        notes.append(("other_annotations", f"{here}: user {first[:60]} of {len(users)}"))
    return Annotated(
        own_id(record, columns),
        line,
        text,
        [_span(span) for span in spans],
        own_pictures(record, columns),
        notes=notes,
    )


def _span(span: Any) -> Marked:
    if isinstance(span, dict):
        return mark(span.get("start_offset"), span.get("end_offset"), span.get("label"))
    if not isinstance(span, list) or len(span) != 3:
        raise DataError(f"expected a span [start, end, type], found {spelt(span)}: a class of a text is no entity")
    return mark(*span)
