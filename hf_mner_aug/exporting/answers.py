"""What people decided on posts: the records of a file that Label Studio or Doccano exported after a review.

The files are read as ``convert`` reads them (``readers.spans``). A post is found by the field ``post_id`` that
``export`` gave it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated, Marked
from hf_mner_aug.readers.spans.doccano import read_doccano
from hf_mner_aug.readers.spans.json_records import json_records
from hf_mner_aug.readers.spans.label_studio import read_label_studio
from hf_mner_aug.readers.spans.offsets import Unit

State = Literal["labelled", "rejected", "untouched"]
READERS = {"Label Studio": read_label_studio, "Doccano": read_doccano}
OWN_UNITS: Mapping[str, Unit] = {"Label Studio": "chars", "Doccano": "utf16"}
OTHERS = "other_annotations"


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

    A record without a post is an untouched one of its own.

    Raises:
        UsageError: there is no such file, it is neither tool's, or no record has a ``post_id``.
        DataError: a record cannot be read, or two decide on one post differently.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file: name the file that the tool exported")
    tool = _tool_of(path)
    found = {record.line: record for record in READERS[tool](path)}
    answers: dict[str, Answer] = {}
    nameless: dict[str, Answer] = {}
    several: set[str] = set()
    for number, name, is_several in _names(path):
        record = found.get(number)
        if name is None:
            here = f"record {number}, which has no post_id"
            nameless[here] = Answer(here, number, "untouched")
            continue
        if is_several or (isinstance(record, BadLine) and record.counter == OTHERS):
            several.add(name)
        if isinstance(record, BadLine) and record.counter == OTHERS:
            continue
        if record is not None:
            answer = _answer(name, record, reject, path)
            other = answers.setdefault(name, answer)
            if replace(other, record=number) != answer:
                raise DataError(
                    f"{path}: records {other.record} and {number} decide differently on post {name}: keep one"
                )
    if not answers:
        raise UsageError(
            f"{path}: none of {len(found)} records has a post_id, which hf-mner-aug export gives each post: "
            "review a file that it wrote"
        )
    return tool, {name: replace(answer, several=name in several) for name, answer in answers.items()} | nameless


def _tool_of(path: Path) -> str:
    """Return the tool that wrote a file, by its first record.

    Raises:
        UsageError: it is neither tool's.
        DataError: it is not JSON.
    """
    first = next(islice(json_records(path), 1), None)
    if isinstance(first, BadLine):
        raise DataError(f"{path}: line {first.line}: {first.reason}: expected what Label Studio or Doccano exported")
    if first is None:
        raise UsageError(f"{path} holds no record: name the file that the tool exported")
    record = first[1]
    if isinstance(record, Mapping) and (isinstance(record.get("data"), Mapping) or "annotator" in record):
        return "Label Studio"
    if isinstance(record, Mapping) and isinstance(record.get("text"), str):
        return "Doccano"
    there = ", ".join(map(str, record))[:100] if isinstance(record, Mapping) else str(record)[:60]
    raise UsageError(
        f"{path}: expected an export of Label Studio (JSON) or of Doccano (JSONL), found a record of {there!a}"
    )


def _names(path: Path) -> Iterator[tuple[int, str | None, bool]]:
    """Yield the number of each record, the id of its post, if any, and whether several people annotated it.

    Raises:
        DataError: a line is not JSON, as the last one of a file that was cut.
    """
    for found in json_records(path):
        if isinstance(found, BadLine):
            raise DataError(f"{path}: line {found.line}: {found.reason}: export it again")
        number, record = found
        fields = record.get("data", record) if isinstance(record, Mapping) else None
        name = fields.get("post_id") if isinstance(fields, Mapping) else None
        made = record.get("annotations") if isinstance(record, Mapping) else None
        given = [one for one in made if isinstance(one, Mapping)] if isinstance(made, list) else []
        yield number, name if isinstance(name, str) else None, sum(not one.get("was_cancelled") for one in given) > 1


def _answer(name: str, record: Annotated | BadLine, reject: str, path: Path) -> Answer:
    """Return the decision of a record.

    Raises:
        DataError: it could not be read.
    """
    if isinstance(record, BadLine):
        if record.counter == "bad_lines":
            raise DataError(f"{path}: record {record.line}: {record.reason}: export it again")
        return Answer(name, record.line, "rejected" if record.counter == "rejected" else "untouched")
    rejected = any(span.type == reject for span in record.spans)
    state: State = "rejected" if rejected else "labelled"
    return Answer(name, record.line, state, record.text, () if rejected else tuple(record.spans))
