"""The spans of a review on the words that a post had when it was exported."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.exporting.answers import Answer
from hf_mner_aug.exporting.layout import lay_out
from hf_mner_aug.readers.spans.annotated import Marked
from hf_mner_aug.readers.spans.offsets import UNITS, Places, Unit
from hf_mner_aug.readers.spans.words import trimmed
from hf_mner_aug.schema import outermost

_OF_TOOLS: tuple[Unit, ...] = ("chars", "utf16")


SNAPPED = "labels that began or ended inside a word, and are on whole words now"


class Placed(NamedTuple):
    """Words ``[start, end)`` with their label; ``whole`` if the span begins and ends where words do."""

    start: int
    end: int
    label: str
    whole: bool


def labels_of(
    answer: Answer, tokens: Sequence[str], joiner: str, unit: Unit, note: Callable[[str, str], None], fate: str
) -> list[Placed] | None:
    """Return the labels of a decision on the words of its post, the longest of those that share a word.

    None stands for a decision that does not fit the post.

    Args:
        answer: the decision.
        tokens: the words.
        joiner: between words.
        unit: of the decision's offsets.
        note: is told each thing that was found, and the post.
        fate: of a post whose decision does not fit, as ``count as untouched``.
    """
    if answer.text != lay_out(tokens, joiner)[0]:
        note(f"posts whose text differs, which {fate}", answer.post_id)
        return None
    try:
        placed = place(tokens, joiner, answer.spans, unit)
    except DataError as error:
        note(f"posts whose labels cannot be placed, which {fate}", f"{answer.post_id} ({error})")
        return None
    kept, lost = outermost(dict.fromkeys(placed))
    for one in placed:
        if not one.whole:
            note(SNAPPED, answer.post_id)
    for _ in lost:
        note("labels that share a word with a longer one, and are left out", answer.post_id)
    return kept


def place(tokens: Sequence[str], joiner: str, spans: Iterable[Marked], unit: Unit) -> list[Placed]:
    """Return the spans on the words that they touch; one of blanks only, which marks nothing, is left out.

    Raises:
        DataError: a span does not fit the text, or its surface text is another one.
    """
    text, ranges = lay_out(tokens, joiner)
    places = Places(text, unit)
    starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
    found = []
    for marked in spans:
        start, end = places.span(marked)
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        whole = first < last and (starts[first], ends[last - 1]) == (start, end)
        if not whole:  # without the blanks at its edges, which are easily marked too
            start, end = trimmed(text, start, end)
            first, last = bisect_right(ends, start), bisect_left(starts, end)
            if start == end or first >= last:
                continue
            whole = (starts[first], ends[last - 1]) == (start, end)
        found.append(Placed(first, last, marked.type, whole))
    return found


def unit_of(texts: Iterable[tuple[Sequence[str], Sequence[Marked]]], joiner: str, own: Unit) -> tuple[Unit, str]:
    """Return the unit in which most spans begin and end where words do, and what to say if it is not the tool's own.

    Only texts in which the units differ tell: those with emoji and the like.

    Args:
        texts: words and spans of each post.
        joiner: between words.
        own: the tool's own unit, which is taken where nothing tells.
    """
    fits: Counter[Unit] = Counter()
    telling = 0
    for tokens, spans in texts:
        if all(max(word) <= "\uffff" for word in tokens):
            continue
        for marked in spans:
            fitting = [unit for unit in _OF_TOOLS if _fits(tokens, joiner, marked, unit)]
            if len(fitting) == 1:
                telling += 1
                fits.update(fitting)
    best = max(fits, key=lambda unit: (fits[unit], unit == own), default=own)
    if best == own:
        return own, ""
    return best, f"offsets count {UNITS[best]}: {fits[best]} of {telling} labels that tell are on whole words then"


def _fits(tokens: Sequence[str], joiner: str, marked: Marked, unit: Unit) -> bool:
    try:
        placed = place(tokens, joiner, [marked], unit)
    except DataError:
        return False
    return bool(placed) and placed[0].whole
