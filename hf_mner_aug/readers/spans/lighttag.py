"""LightTag: JSON with examples and their annotations.

Since 2019 ``{"examples": [{"example_id", "content", "metadata", "seen_by", "annotations": [{"start", "end", "tag",
"value", "correct", "annotated_by"}]}]}``; before, the same below ``dataset``, with ``id``; in LightTag's own data sets,
an array of such examples. Source: ``lighttag/type_definitions`` and test data of LightTag/lighttag-convertors, and
``example_data`` of LightTag/user_guide.

Spans of all annotators of an example are taken, each once; where they disagree, spans share words, and the longest is
kept and the others counted (``--nested``). A span that a reviewer found wrong (``"correct": false``) is left out and
counted. An example that nobody has seen (``"seen_by": []``) and that has no span is left out as unlabelled.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated
from hf_mner_aug.readers.spans.json_records import (
    annotated_records,
    mark,
    object_of,
    objects_of,
    text_of,
)
from hf_mner_aug.readers.spans.tool_fields import IDS, Columns, checked_columns, own_id, own_pictures

_INSIDE = ("examples", "dataset")


def read_lighttag(
    path: Path, columns: Columns = MappingProxyType({}), encoding: str = "utf-8"
) -> Iterator[Annotated | BadLine]:
    """Yield the texts of an export.

    Raises:
        UnknownName: ``columns`` names a field that is none of ``tool_fields.NAMES``.
        DataError: the file is not JSON, or no record could be read.
    """
    named = checked_columns(columns)
    yield from annotated_records(
        path, lambda record, line: _annotated(object_of(record), line, named), encoding, inside=_INSIDE
    )


def _annotated(record: Mapping[str, Any], line: int, columns: Mapping[str, str]) -> Annotated | BadLine:
    text = text_of(record, columns.get("text", "content"))
    found = objects_of(record, columns.get("spans", "annotations"))
    if not found and record.get("seen_by") == []:
        return BadLine(line, "nobody has seen it", "unlabelled")
    here = own_id(record, columns, (*IDS, "example_id"))
    spans, notes = [], []
    for span in found:
        if span.get("correct") is False:
            notes.append(("rejected_spans", f"{here or f'record {line}'} {str(span.get('value'))[:60]!a}"))
        else:
            spans.append(mark(span.get("start"), span.get("end"), span.get("tag"), span.get("value")))
    return Annotated(here, line, text, spans, own_pictures(record, columns), notes=notes)
