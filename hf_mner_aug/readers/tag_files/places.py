"""The option ``--columns`` of files of words and tags: which column, or field, has what."""

from collections.abc import Mapping
from typing import NamedTuple

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.values import parse_pairs

MAX_COLUMNS = 100
_OURS = {
    "tokens": ("tokens", "token", "words", "word", "form", "forms", "text"),
    "ner_tags": ("ner_tags", "ner", "tags", "tag", "labels", "label"),
    "fine_tags": ("fine_tags", "fine"),
}
_NAMES = {spelt: ours for ours, spellings in _OURS.items() for spelt in spellings}
_UNREAD = frozenset({"-", "_", "", "x", "pos", "chunk", "lemma"})
_FORM = "word,-,-,ner, or tokens=1,ner_tags=4, for fields of JSON their names, as tokens=words,ner_tags=labels"


class Places(NamedTuple):
    """The positions, from 0, of the word, its tag and its fine tag in a line; negative ones count from its end."""

    word: int
    tag: int
    fine: int | None = None

    def least(self) -> int:
        """Return the least number of columns of a line that has all of them."""
        places = [place for place in self if place is not None]
        return max(0, *(place + 1 for place in places)) + max(0, *(-place for place in places))


def parse_places(text: str | None) -> dict[str, str | int]:
    """Return ``tokens=1,ner_tags=4`` or ``word,-,-,ner`` as a dict: a position, from 1, or a name for each of ours.

    Raises:
        UsageError: the text is neither.
    """
    if not text or "=" in text:
        return dict(parse_pairs(text, "--columns", _FORM))
    found: dict[str, str | int] = {}
    for place, name in enumerate((part.strip().casefold() for part in text.split(",")), 1):
        ours = _NAMES.get(name)
        if (ours is None and name not in _UNREAD) or ours in found:
            known = ", ".join(spelt for spellings in _OURS.values() for spelt in spellings)
            raise UsageError(f"--columns {text}: {name!r} at place {place}: expected once each of {known}, or -")
        if ours is not None:
            found[ours] = place
    return found


def as_places(columns: Mapping[str, str | int]) -> Places:
    """Return positions of columns, from 0.

    Raises:
        UsageError: they are not positions, from 1 or from -1 backwards, of ``tokens``, ``ner_tags`` and optionally
            ``fine_tags``.
    """
    names = ("tokens", "ner_tags", "fine_tags")[: max(2, len(columns))]
    places = [str(columns.get(name, "")) for name in names]
    if {*columns} - {*names} or not all(_is_place(place) for place in places):
        raise UsageError(
            f"--columns {spelt(columns)}: expected positions from 1, as tokens=1,ner_tags=3, optionally fine_tags=4"
        )
    return Places(*(int(place) - (place[0] != "-") for place in places))


def _is_place(text: str) -> bool:
    digits = text.removeprefix("-")
    return len(digits) < 4 and digits.isdecimal() and 0 < int(digits) <= MAX_COLUMNS


def spelt(columns: Mapping[str, object]) -> str:
    """Return columns as in the option."""
    return ",".join(f"{name}={place}" for name, place in columns.items())


def in_order(columns: Mapping[str, str], n_columns: int) -> str:
    """Return positions, from 1, as a list of the option: ``word,-,-,ner``."""
    names = {columns["tokens"]: "word", columns["ner_tags"]: "ner"}
    if "fine_tags" in columns:
        names[columns["fine_tags"]] = "fine"
    return ",".join(names.get(str(place), "-") for place in range(1, n_columns + 1))
