"""Prodigy: JSON Lines of ``prodigy db-out``, of the recipes ``ner.manual``, ``ner.correct``, ``ner.teach``, ``review``.

``{"text", "tokens": [{"text", "start", "end", "id", "ws"}], "spans": [{"start", "end", "token_start", "token_end",
"label"}], "_input_hash", "_task_hash", "_view_id", "_is_binary", "answer", "image", "meta"}``. Source: prodi.gy/docs,
"Annotation interfaces", and the exports in explosion/projects. Offsets are code points. ``tokens`` are the words.

Only accepted answers are taken, and texts with spans but no answer; rejected and ignored ones are left out and counted.
Where an input was accepted several times, the last answer in the file is taken and the others are counted; but binary
answers (``_is_binary``, or the view ``ner``) ask for one span each: those of one input are put together, and what was
not asked is O. Relations are left out and counted; areas of pictures, which are spans without offsets, are left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated, Marked
from hf_mner_aug.readers.spans.json_records import (
    annotated_records,
    json_records,
    mark,
    object_of,
    objects_of,
    offset_of,
    text_of,
)
from hf_mner_aug.readers.spans.tool_fields import IDS, Columns, checked_columns, own_id, own_pictures


@dataclass
class _Answers:
    """The accepted answers to inputs, by the inputs' hashes: the line of the last, and the spans of binary ones."""

    lines: dict[Any, int] = field(default_factory=dict)
    spans: dict[Any, list[Marked]] = field(default_factory=dict)


def read_prodigy(
    path: Path, columns: Columns = MappingProxyType({}), encoding: str = "utf-8"
) -> Iterator[Annotated | BadLine]:
    """Yield the texts of an export.

    Raises:
        UnknownName: ``columns`` names a field that is none of ``tool_fields.NAMES``.
        DataError: no record could be read.
    """
    named = checked_columns(columns)
    answers = _answers(path, named, encoding)
    yield from annotated_records(
        path, lambda record, line: _annotated(object_of(record), line, named, answers), encoding
    )


def _answers(path: Path, columns: Mapping[str, str], encoding: str) -> _Answers:
    answers = _Answers()
    for found in json_records(path, encoding):
        if isinstance(found, BadLine) or not isinstance(found[1], dict) or not _is_accepted(found[1]):
            continue
        line, record = found
        if (key := _input_of(record)) is not None:
            answers.lines[key] = line
            if _is_binary(record):
                try:
                    answers.spans.setdefault(key, []).extend(_spans(record, columns))
                except DataError:
                    continue  # told when the record itself is read
    return answers


def _annotated(
    record: Mapping[str, Any], line: int, columns: Mapping[str, str], answers: _Answers
) -> Annotated | BadLine | None:
    if not _is_accepted(record):
        return BadLine(line, f"answer {str(record['answer'])[:20]}", "rejected")
    if "answer" not in record and columns.get("spans", "spans") not in record:
        return BadLine(line, "a task without an answer", "unlabelled")
    spans = _spans(record, columns)
    key = _input_of(record)
    if key is not None and (last := answers.lines[key]) != line:
        return None if _is_binary(record) else BadLine(line, f"answered again on line {last}", "other_annotations")
    here = own_id(record, columns, (*IDS, *(f"meta.{name}" for name in IDS)))
    tokens = objects_of(record, "tokens")
    return Annotated(
        here,
        line,
        text_of(record, columns.get("text", "text")),
        answers.spans[key] if key is not None and _is_binary(record) else spans,
        own_pictures(record, columns),
        [(offset_of(token.get("start")), offset_of(token.get("end"))) for token in tokens] if tokens else None,
        [("left_relations", here or f"line {line}")] if record.get("relations") else [],
    )


def _is_accepted(record: Mapping[str, Any]) -> bool:
    return record.get("answer") in (None, "accept")


def _is_binary(record: Mapping[str, Any]) -> bool:
    return record.get("_is_binary") is True or record.get("_view_id") == "ner"


def _input_of(record: Mapping[str, Any]) -> int | str | None:
    key = record.get("_input_hash")
    return key if isinstance(key, int | str) else None


def _spans(record: Mapping[str, Any], columns: Mapping[str, str]) -> list[Marked]:
    """Return the spans of a text; those of pictures have no offsets."""
    found = objects_of(record, columns.get("spans", "spans"))
    return [
        mark(span["start"], span.get("end"), span.get("label"), span.get("text")) for span in found if "start" in span
    ]
