"""Offsets counted in code points, in UTF-16 units (as JavaScript does) or in bytes of UTF-8."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Literal, NamedTuple

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.spans.annotated import Marked

Unit = Literal["chars", "utf16", "bytes"]
UNITS: dict[Unit, str] = {"chars": "characters", "utf16": "UTF-16 units", "bytes": "bytes"}


class Places:
    """The offsets of a text in a unit, as places between its characters."""

    def __init__(self, text: str, unit: Unit) -> None:
        self.text, self.unit = text, unit
        self._places: Mapping[int, int] | None = None
        if (unit == "bytes" and not text.isascii()) or (unit == "utf16" and max(text, default="") > "\uffff"):
            widths = (
                len(sign.encode("utf-8", "surrogatepass")) if unit == "bytes" else 1 + (sign > "\uffff")
                for sign in text
            )
            self._places = {offset: i for i, offset in enumerate(accumulate(widths, initial=0))}

    def span(self, marked: Marked) -> tuple[int, int]:
        """Return the characters ``[start, end)`` of a span.

        Raises:
            DataError: it is reversed, outside of the text or inside a character, or its surface text is another one.
        """
        start, end = self.range(marked)
        if start is None or end is None:
            size = f"{len(self.text) if self._places is None else max(self._places)} {UNITS[self.unit]}"
            raise DataError(f"{_spelt(marked)} does not fit the text of {size}")
        if start > end:
            raise DataError(f"{_spelt(marked)} ends before it starts")
        found = self.text[start:end]
        if marked.text is not None and found != marked.text and found.split() != marked.text.split():
            raise DataError(f"{_spelt(marked)} is {marked.text[:60]!a} in the file, but {found[:60]!a} in the text")
        return start, end

    def range(self, marked: Marked) -> "tuple[int | None, int | None]":
        """Return the start and end of a span, None for one that is outside of the text or inside a character."""
        return self._place(marked.start), self._place(marked.end)

    def fits(self, marked: Marked) -> bool:
        """Return whether a span can be placed, and has its surface text there."""
        try:
            self.span(marked)
        except DataError:
            return False
        return True

    def is_at_words(self, marked: Marked) -> bool:
        """Return whether a span can be placed, and begins and ends with a letter or a digit that begins or ends a word.

        A span in the wrong unit is shifted, and seldom does both.
        """
        start, end = self.range(marked)
        if start is None or end is None or start >= end:
            return False
        text = self.text
        begins = text[start].isalnum() and not (start > 0 and text[start - 1].isalnum())
        return begins and text[end - 1].isalnum() and not text[end : end + 1].isalnum()

    def _place(self, offset: int) -> int | None:
        if self._places is not None:
            return self._places.get(offset)
        return offset if 0 <= offset <= len(self.text) else None


def _spelt(marked: Marked) -> str:
    return f"the span [{marked.start}, {marked.end}) {marked.type[:60]!a}"


class Fit(NamedTuple):
    """The units that a span fits; whether its surface text tells so, and whether it is behind emoji or the like."""

    units: tuple[Unit, ...]
    told: bool
    behind_emoji: bool


def units_that_fit(text: str, spans: Iterable[Marked]) -> Iterator[Fit]:
    """Yield the units that each span fits which they place differently.

    A span fits where it has its surface text; one without surface text, where it begins and ends with words.
    """
    if text.isascii():
        return
    places = [Places(text, unit) for unit in UNITS]
    for marked in spans:
        chars, utf16, others = (there.range(marked) for there in places)
        if chars == utf16 == others:
            continue
        fits = Places.is_at_words if marked.text is None else Places.fits
        units = tuple(there.unit for there in places if fits(there, marked))
        yield Fit(units, marked.text is not None, chars != utf16)
