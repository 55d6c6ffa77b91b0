"""Recorded answers: one file per request, named by its digest, so that nothing is paid twice and runs can be replayed.

Answers are data: nothing here or later executes or renders them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, get_args

from hf_mner_aug.exceptions import Corrupt
from hf_mner_aug.models.endpoint.budget import Usage
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.shapes import checked, read_json

Form = Literal["json_schema", "json_object", "prompt"]  # in which JSON of a schema is requested
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True)
class Record:
    """An answer as received, before it is judged.

    ``answer`` holds ``text``, ``refusal`` and ``finish_reason`` of a chat, ``image`` in base64, or ``results`` and
    ``credits`` of a search. ``form`` is how a schema was sent; the digest does not depend on it.
    """

    digest: str
    kind: str
    model: str
    answered_by: str | None
    answer: Mapping[str, Any]
    usage: Usage
    form: Form = "json_schema"


class ChatAnswer(TypedDict):
    """The content of a chat's answer."""

    text: str | None
    refusal: str | None
    finish_reason: str | None


class ImageAnswer(TypedDict):
    """The content of an image's answer, in base64."""

    image: str


class SearchResult(TypedDict):
    """One result of a search."""

    link: str
    title: NotRequired[str]
    snippet: NotRequired[str]


class SearchAnswer(TypedDict):
    """The content of a search's answer."""

    results: list[SearchResult]
    credits: int


ANSWERS = {"chat": ChatAnswer, "image": ImageAnswer, "search": SearchAnswer}


def request_digest(kind: str, model: str, body: Mapping[str, Any], seed: int) -> str:
    """Return the SHA-256 of a request: its content and model, without host, key or time."""
    asked = {"body": body, "kind": kind, "model": model, "seed": seed}
    return hashlib.sha256(canonical_json(asked).encode("utf-8", "surrogatepass")).hexdigest()


def record_path(folder: Path, digest: str) -> Path:
    """Return the path under which a request's answer is recorded."""
    return folder / digest[:2] / f"{digest}.json"


def read_record(path: Path) -> Record | None:
    """Return a recorded answer, or None if there is none.

    Raises:
        Corrupt: the file is not what ``write_record`` wrote under this name.
    """
    advice = "delete it and run again"
    try:
        record: Record = read_json(path, Record, error=Corrupt, advice=advice, halves=True)
    except FileNotFoundError:
        return None
    if record.digest != path.stem:
        raise Corrupt(f"{path}: digest: expected the file's own name, found {record.digest[:80]!r}: {advice}")
    shape = ANSWERS.get(record.kind, Any)
    checked(record.answer, shape, f"{path}: answer", error=Corrupt, advice=advice, halves=True)
    return record


def write_record(path: Path, record: Record) -> None:
    """Record an answer atomically."""
    fields = {name: value for name, value in asdict(record).items() if (name, value) != ("form", FORMS[0])}
    # ASCII, since an answer may contain a lone surrogate, which UTF-8 cannot encode.
    artifacts.write_atomically(path, json.dumps(fields, sort_keys=True, indent=1).encode())
