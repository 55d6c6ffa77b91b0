"""A text and its spans, as a tool writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Offsets = Literal["auto", "chars", "utf16", "bytes"]
Misaligned = Literal["snap", "refuse"]
Nested = Literal["outermost", "refuse"]


class Marked(NamedTuple):
    """A span of a text in the units of its file, end exclusive; ``text`` is its surface text, if the file gives it."""

    start: int
    end: int
    type: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Annotated:
    """A text as in its file; ``line`` is that of the file, from 1, or the number of the record.

    ``id`` is None if the file gives none: it is made of the file's name and ``line``. ``pictures`` are names, paths or
    URLs, none of them if empty; None if the file names no pictures: they are found by id. ``words`` are the tool's own
    words as ranges of code points, if it gives them. ``notes`` are as in ``RawPost``.
    """

    id: str | None
    line: int
    text: str
    spans: Sequence[Marked]
    pictures: Sequence[str] | None = None
    words: Sequence[tuple[int, int]] | None = None
    notes: Sequence[tuple[str, str]] = ()
