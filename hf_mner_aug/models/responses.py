"""Recorded answers: one file for each request, under its digest, so that nothing is paid twice and runs replay.

Answers are data: nothing here or later executes or renders them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_mner_aug import artifacts
from hf_mner_aug.errors import Corrupt
from hf_mner_aug.models.budget import Usage
from hf_mner_aug.schema import canonical_json


@dataclass(frozen=True)
class Record:
    """An answer as it came, before it is judged.

    ``answer`` holds ``text``, ``refusal`` and ``finish_reason`` of a chat, ``image`` in base64, or ``results`` and
    ``credits`` of a search.
    """

    digest: str
    kind: str
    model: str
    answered_by: str | None
    answer: Mapping[str, Any]
    usage: Usage


def request_digest(kind: str, model: str, body: Mapping[str, Any], seed: int) -> str:
    """Return the SHA-256 of a request: of what is asked and of whom, not of host, key or time."""
    asked = {"body": body, "kind": kind, "model": model, "seed": seed}
    return hashlib.sha256(canonical_json(asked).encode("utf-8", "surrogatepass")).hexdigest()


def record_path(folder: Path, digest: str) -> Path:
    """Return where a request's answer is recorded."""
    return folder / digest[:2] / f"{digest}.json"


def read_record(path: Path) -> Record | None:
    """Return a recorded answer, or None where there is none.

    Raises:
        Corrupt: the file is not what ``write_record`` wrote under this name.
    """
    try:
        found = json.loads(path.read_bytes())
        record = Record(**{**found, "usage": Usage(**found["usage"])})
        if record.digest != path.stem or not isinstance(record.answer, dict):
            raise ValueError(record.digest)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Corrupt(f"{path} is damaged: delete it and run again") from error
    return record


def write_record(path: Path, record: Record) -> None:
    """Record an answer; the file is either whole or not there."""
    # ASCII, since an answer may hold half a surrogate pair, which UTF-8 cannot write.
    artifacts.write_atomically(path, json.dumps(asdict(record), sort_keys=True, indent=1).encode())
