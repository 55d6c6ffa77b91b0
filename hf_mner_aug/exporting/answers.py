"""What people decided on posts: the records of a file that Label Studio or Doccano exported after a review.

A post is found by the field ``post_id`` that ``export`` gave it. Label Studio: the export JSON, or JSON-MIN; of several
annotations of a task the ground truth counts, else the latest, and a skipped task is rejected. Doccano: the export
JSONL of a project of sequence labelling.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.exporting.label_studio import LABEL, REJECTED, TEXT, VERDICT
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Marked
from hf_mner_aug.readers.spans.generic import spans_of
from hf_mner_aug.readers.spans.json_records import json_records, offset_of

State = Literal["labelled", "rejected", "untouched"]
_SPANS = ("label", "labels", "entities")


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision on a post: the text that was shown, and the spans that it has now, in the tool's units."""

    post_id: str
    record: int
    state: State
    text: str = ""
    spans: tuple[Marked, ...] = ()
    several: bool = False  # annotations, of which this is one


def read_answers(path: Path, reject: str) -> tuple[str, dict[str, Answer]]:
    """Return the tool that wrote a file, and its decisions by post; ``reject`` is the label of posts to reject.

    Raises:
        UsageError: there is no such file, it is neither tool's, or no record has a ``post_id``.
        DataError: a record cannot be read, or two decide on one post differently.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file: name the file that the tool exported")
    answers: dict[str, Answer] = {}
    tool, n_records = "", 0
    for number, record in _records(path):
        n_records += 1
        tool = tool or _tool_of(record, f"{path}: record {number}")
        answer = _answer(record, number, tool, reject, str(path))
        if answer is None:
            continue
        other = answers.setdefault(answer.post_id, answer)
        if (other.state, other.text, other.spans) != (answer.state, answer.text, answer.spans):
            if tool == "Label Studio" and "data" not in record:  # JSON-MIN: one record for each annotation
                answers[answer.post_id] = _later(other, answer)
                continue
            raise DataError(
                f"{path}: records {other.record} and {number} decide differently on post {answer.post_id}: keep one"
            )
    if not answers:
        raise UsageError(
            f"{path}: none of {n_records} records has a post_id, which hf-mner-aug export gives each post: "
            "review a file that it wrote"
        )
    return tool, answers


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for found in json_records(path):
        if isinstance(found, BadLine):
            raise DataError(f"{path}: record {found.line}: {found.reason}: export it again")
        number, record = found
        if not isinstance(record, Mapping):
            raise DataError(f"{path}: record {number}: expected an object, found {str(record)[:60]!a}")
        yield number, record


def _tool_of(record: Mapping[str, Any], where: str) -> str:
    if isinstance(record.get("data"), Mapping) or "annotation_id" in record or "annotator" in record:
        return "Label Studio"
    if isinstance(record.get("text"), str) and any(name in record for name in _SPANS):
        return "Doccano"
    there = ", ".join(map(str, record))[:100]
    raise UsageError(
        f"{where}: expected an export of Label Studio (JSON) or of Doccano (JSONL), found the fields {there!a}"
    )


def _answer(record: Mapping[str, Any], number: int, tool: str, reject: str, path: str) -> Answer | None:
    """Return the decision of a record, or None if it is of a post that ``export`` did not write."""
    try:
        if tool == "Doccano":
            answer = _of_doccano(record, number)
        elif isinstance(record.get("data"), Mapping):
            answer = _of_task(record, number)
        else:
            answer = _of_annotation(record, number)
    except DataError as error:
        raise DataError(f"{path}: record {number}: {error}") from error
    if answer is not None and any(span.type == reject for span in answer.spans):
        return Answer(answer.post_id, number, "rejected", answer.text)
    return answer


# ---------------------------------------------------------------- Doccano


def _of_doccano(record: Mapping[str, Any], number: int) -> Answer | None:
    name, text = record.get("post_id"), record.get("text")
    spans = next((record[field] for field in _SPANS if isinstance(record.get(field), list)), None)
    if not isinstance(name, str):
        return None
    if not isinstance(text, str) or spans is None:
        raise DataError(f"expected a text and its labels, found {str(record)[:60]!a}")
    return Answer(name, number, "labelled", text, tuple(marked for span in spans for marked in spans_of(span)))


# ---------------------------------------------------------------- Label Studio


def _of_task(task: Mapping[str, Any], number: int) -> Answer | None:
    data = task["data"]
    name, text = data.get("post_id"), data.get(TEXT)
    if not isinstance(name, str):
        return None
    if not isinstance(text, str):
        raise DataError(f"expected a text, found {str(text)[:60]!a}")
    made = task.get("annotations") or []
    if not isinstance(made, list) or not all(isinstance(annotation, Mapping) for annotation in made):
        raise DataError(f"expected a list of annotations, found {str(made)[:60]!a}")
    kept = [annotation for annotation in made if not annotation.get("was_cancelled")]
    if not kept:
        return Answer(name, number, "rejected" if made else "untouched", text)
    _, taken = max(enumerate(kept), key=lambda pair: (pair[1].get("ground_truth") is True, _time(pair[1]), pair[0]))
    results = taken.get("result") or []
    if not isinstance(results, list) or not all(isinstance(result, Mapping) for result in results):
        raise DataError(f"expected a list of results, found {str(results)[:60]!a}")
    values = [(result.get("from_name"), result.get("value")) for result in results]
    state: State = "labelled"
    if any(control == VERDICT and _is_rejected(value) for control, value in values):
        state = "rejected"
    spans = [marked for _, value in values for marked in _marked(value)]
    return Answer(name, number, state, text, tuple(spans), several=len(kept) > 1)


def _of_annotation(record: Mapping[str, Any], number: int) -> Answer | None:
    """Return the decision of a record of JSON-MIN."""
    name, text, regions = record.get("post_id"), record.get(TEXT), record.get(LABEL) or []
    if not isinstance(name, str):
        return None
    if not isinstance(text, str) or not isinstance(regions, list):
        raise DataError(f"expected a text and its labels, found {str(record)[:60]!a}")
    state: State = "rejected" if _is_rejected({"choices": record.get(VERDICT)}) else "labelled"
    if record.get("annotation_id") is None and LABEL not in record and VERDICT not in record:
        state = "untouched"
    return Answer(name, number, state, text, tuple(marked for value in regions for marked in _marked(value)))


def _later(one: Answer, other: Answer) -> Answer:
    last = max(one, other, key=lambda answer: answer.record)
    return Answer(last.post_id, last.record, last.state, last.text, last.spans, several=True)


def _is_rejected(value: Any) -> bool:
    chosen = value.get("choices") if isinstance(value, Mapping) else None
    return REJECTED in (chosen if isinstance(chosen, list) else [chosen])


def _marked(value: Any) -> Iterator[Marked]:
    """Yield the spans of a region of text; other regions, as choices, have none."""
    if not isinstance(value, Mapping) or not isinstance(value.get("labels"), list) or "start" not in value:
        return
    surface = value.get("text") if isinstance(value.get("text"), str) else None
    for label in value["labels"]:
        if not isinstance(label, str):
            raise DataError(f"expected the name of a label, found {str(label)[:60]!a}")
        yield Marked(offset_of(value["start"]), offset_of(value.get("end")), label, surface)


def _time(annotation: Mapping[str, Any]) -> str:
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")
