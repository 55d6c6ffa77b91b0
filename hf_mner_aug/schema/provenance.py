"""The origin of a made row: in its id, and in its column ``provenance``."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from hf_mner_aug.untrusted.shapes import parse_json

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
NUMBERED = re.compile(r"(.+)~[0-9]+", re.DOTALL)  # an id that convert numbered, since an earlier post has the same one
MADE = re.compile(r"\+([^+~]+)(?:~([0-9]{1,9}))?\.[0-9]+")  # the suffix of a made post's id


class Before(TypedDict):
    """The row that a made post replaced, if that row was itself made."""

    method: str
    provenance: "Provenance"


class Provenance(TypedDict):
    """The column ``provenance`` of a made row: its parameters, the method's notes, and what reviewers decided on it."""

    params: NotRequired[Mapping[str, Any]]
    details: NotRequired["Details"]
    of: NotRequired[Before]
    review: NotRequired["Decision"]


class Decision(TypedDict):
    """What reviewers decided on a row, ``accepted`` or ``corrected``, and before: its labels, an earlier decision."""

    verdict: str
    before: NotRequired[Sequence[tuple[int, int, str]]]
    earlier: NotRequired["Decision"]


class Details(TypedDict):
    """The notes of a method on a row that others read: the retrieved post, and counts of masked items by kind."""

    post_id: NotRequired[str]
    licence: NotRequired[str | None]
    masked: NotRequired[Mapping[str, int]]


def read_provenance(text: str | None, where: str) -> dict[str, Any]:
    """Return the content of a row's ``provenance``, which is empty for a gold row.

    Raises:
        DataError: it is not JSON, or has another shape.
    """
    found: dict[str, Any] | None
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not _is_provenance(found):  # a million rows are read: the full check runs only if something is wrong
        found = parse_json(text or "{}", Provenance, f"{where}: provenance", halves=True)
    assert found is not None
    return found


def raw_id(name: str) -> str:
    """Return the id of a post in its raw file: 12 of 12~2, which ``convert`` numbered, and of 12~2+eda.0 made of it."""
    if "~" not in name and "+" not in name:
        return name
    while found := made_by(name):
        name = name[: found.start()]
    while found := NUMBERED.fullmatch(name):
        name = found[1]
    return name


def made_by(name: str) -> re.Match[str] | None:
    """Return the suffix of a made post's id as a match of ``MADE``, or None for another id."""
    return MADE.fullmatch(name, max(0, name.rfind("+")))


def canonical_json(value: Any) -> str:
    """Return JSON that is the same for equal values: sorted keys, no spaces, no NaN."""
    return _CANONICAL.encode(value)


def _is_provenance(found: Any) -> bool:
    while isinstance(found, dict) and "review" not in found:
        details, before = found.get("details", {}), found.get("of")
        if not isinstance(details, dict) or not isinstance(found.get("params", {}), dict):
            return False
        if "post_id" in details or "masked" in details or "licence" in details:
            masked, licence = details.get("masked", {}), details.get("licence")
            if not isinstance(masked, dict) or not all(type(count) is int for count in masked.values()):
                return False
            if not isinstance(details.get("post_id", ""), str) or not isinstance(licence, str | None):
                return False
        if before is None:
            return "of" not in found
        if not isinstance(before, dict) or not isinstance(before.get("method"), str):
            return False
        found = before.get("provenance")
    return False
