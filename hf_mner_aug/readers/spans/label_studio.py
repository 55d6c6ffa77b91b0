"""Label Studio: the exports JSON and JSON-MIN.

JSON is an array of tasks ``{"id", "data": {"text", "image", …}, "annotations": [{"result": [{"type": "labels", "value":
{"start", "end", "text", "labels": ["PER"]}}], "was_cancelled", "ground_truth", "updated_at"}], "predictions"}``;
``annotations`` were ``completions`` before 1.0. JSON-MIN has an object for each annotation: the fields of ``data``,
the regions of each control tag under its name, ``annotation_id`` and ``annotator``. Source: ``converter.py`` of the
packages label-studio-sdk 2.1.2 and label-studio-converter 0.0.59 and its test data, labelstud.io/guide/task_format.
Offsets are those of the browser; the surface texts tell the unit.

Of a task's annotations, cancelled ones (skipped tasks) are left out; of several, the ground truth is taken, else the
latest, and the others are counted. A task of cancelled annotations only is counted as rejected, and so is one with the
choice ``Reject`` of the control ``verdict``, which ``export`` offers; one without annotations is counted as unlabelled,
since predictions are no annotations. An annotation without regions says that its text has no entity. Other choices,
areas of pictures and text fields are left out, relations are counted. A region with several labels is several spans.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated, Marked
from hf_mner_aug.readers.spans.json_records import (
    annotated_records,
    json_records,
    list_of,
    mark,
    object_of,
    objects_of,
    spelt,
    text_of,
)
from hf_mner_aug.readers.spans.tool_fields import Columns, checked_columns, own_id, own_pictures

VERDICT, REJECTED = "verdict", "Reject"  # the choice by which a post is rejected
_LOCAL = "/data/local-files/?d="
_LABELS = ("labels", "hypertextlabels")  # control tags that mark text
_ANNOTATIONS = ("annotations", "completions")
_OWN = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time", "id", "agreement")  # of JSON-MIN


def read_label_studio(
    path: Path, columns: Columns = MappingProxyType({}), encoding: str = "utf-8"
) -> Iterator[Annotated | BadLine]:
    """Yield the texts of an export.

    Raises:
        UnknownName: ``columns`` names a field that is none of ``tool_fields.NAMES``.
        DataError: the file is not JSON, or no record could be read.
    """
    named = checked_columns(columns)
    latest = _latest(path, named, encoding)

    def build(record: Any, number: int) -> Annotated | BadLine:
        object_of(record)
        if "data" in record:
            return _of_task(record, number, named)
        return _of_annotation(record, number, named, latest)

    yield from annotated_records(path, build, encoding)


def _of_task(task: Mapping[str, Any], number: int, columns: Mapping[str, str]) -> Annotated | BadLine:
    data = object_of(task["data"], "'data' with an object")
    made = [annotation for name in _ANNOTATIONS for annotation in objects_of(task, name)]
    if not made:
        return BadLine(number, "a task without annotations", "unlabelled")
    kept = [annotation for annotation in made if not (annotation.get("was_cancelled") or annotation.get("skipped"))]
    if not kept:
        return BadLine(number, "a task that was skipped", "rejected")
    _, taken = max(enumerate(kept), key=lambda pair: (pair[1].get("ground_truth") is True, _time(pair[1]), pair[0]))
    here = own_id(data, columns) or own_id(task, {})
    results = objects_of(taken, "result")
    if any(result.get("from_name") == VERDICT and _rejects(result.get("value")) for result in results):
        return BadLine(number, "a task that was rejected", "rejected")
    notes = [("other_annotations", f"task {here or number}")] * (len(kept) - 1)
    if any(result.get("type") == "relation" for result in results):
        notes.append(("left_relations", f"task {here or number}"))
    regions = [_region(result) for result in results if isinstance(result.get("value"), dict)]
    spans = _spans(regions)
    text = _text(data, columns, spans)
    return Annotated(here, number, text, _in(text, spans), _pictures(data, columns), notes=notes)


def _of_annotation(
    record: Mapping[str, Any], number: int, columns: Mapping[str, str], latest: Mapping[str, tuple[str, int]]
) -> Annotated | BadLine:
    """Return the text of an annotation of JSON-MIN."""
    if record.get("annotation_id") is None and not any(isinstance(value, list) for value in record.values()):
        return BadLine(number, "a task without annotations", "unlabelled")
    here = own_id(record, columns)
    if here is not None and (taken := latest.get(here, ("", number))[1]) != number:
        return BadLine(number, f"task {here}: the annotation in record {taken} is later", "other_annotations")
    if _rejects({"choices": record.get(VERDICT)}):
        return BadLine(number, "a task that was rejected", "rejected")
    fields = [value for value in record.values() if isinstance(value, list)]
    spans = _spans([item for value in fields for item in value if isinstance(item, dict)])
    own = {name: value for name, value in record.items() if name not in _OWN}
    text = _text(own, columns, spans)
    return Annotated(here, number, text, _in(text, spans), _pictures(own, columns))


def _rejects(value: Any) -> bool:
    """Return whether the value of a control is the choice to reject a post; JSON-MIN writes one choice as text."""
    chosen = value.get("choices") if isinstance(value, dict) else None
    return REJECTED in (chosen if isinstance(chosen, list) else [chosen])


def _latest(path: Path, columns: Mapping[str, str], encoding: str) -> dict[str, tuple[str, int]]:
    """Return the time and the number of the latest annotation of each task of JSON-MIN."""
    latest: dict[str, tuple[str, int]] = {}
    for found in json_records(path, encoding):
        if isinstance(found, BadLine) or not isinstance(found[1], dict):
            continue
        number, record = found
        if "data" in record:
            return {}
        key = own_id(record, columns)
        if key is not None:
            latest[key] = max(latest.get(key, ("", 0)), (_time(record), number))
    return latest


def _time(annotation: Mapping[str, Any]) -> str:
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _region(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the value of a result; a region that lost its label in the editor has none of them."""
    return {str(result["type"]): [], **result["value"]} if result.get("type") in _LABELS else result["value"]


def _spans(regions: Sequence[Mapping[str, Any]]) -> list[Marked]:
    """Return the spans of the regions that mark a text.

    Raises:
        DataError: a region has no label, or no offsets.
    """
    spans = []
    for region in regions:
        field = next((name for name in _LABELS if name in region), None)
        if field is None or "start" not in region:
            continue
        # In a HyperText, start and end are paths in its HTML, beside the offsets in its text.
        place = region["globalOffsets"] if isinstance(region.get("globalOffsets"), dict) else region
        if not (named := list_of(region, field)):
            where = f"[{spelt(place.get('start'))}, {spelt(place.get('end'))})"
            raise DataError(f"expected a label of the region {where}, found none: label it or delete it")
        spans += [mark(place.get("start"), place.get("end"), label, region.get("text")) for label in named]
    return spans


def _in(text: str, spans: Sequence[Marked]) -> list[Marked]:
    """Return spans with their surface texts as a text has them."""
    return [span if span.text is None else span._replace(text=_surface(span.text, text)) for span in spans]


def _surface(found: str, text: str) -> str:
    r"""Return a surface text as a text has it: some versions write the end of a line as ``\n``."""
    return found if found in text else found.replace("\\n", "\n")


def _text(data: Mapping[str, Any], columns: Mapping[str, str], spans: Sequence[Marked]) -> str:
    """Return the text that was annotated: in the field that the user names, in ``text``, or in the only one of words.

    Raises:
        DataError: there is none, or there are several.
    """
    if "text" in columns or isinstance(data.get("text"), str):
        return text_of(data, columns.get("text", "text"))
    texts = {name: value for name, value in data.items() if isinstance(value, str) and not _is_link(value)}
    marked = [span.text for span in spans if span.text]
    fitting = [name for name, value in texts.items() if all(_surface(text, value) in value for text in marked)]
    if len(fitting) != 1:
        names = ", ".join(map(ascii, data))[:200] or "none"
        raise DataError(f"expected the text in 'text', found the fields {names}: name it with --columns text=FIELD")
    return texts[fitting[0]]


def _pictures(data: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the pictures of a task; those that Label Studio serves from a folder are paths in it."""
    found = own_pictures(data, columns)
    return found and tuple(unquote(name.partition(_LOCAL)[2]) if _LOCAL in name else name for name in found)


def _is_link(value: str) -> bool:
    return "://" in value[:12] or (value.startswith("/") and not value[:200].strip().count(" "))
