"""Tags and words of a post: BIO to spans and back, orphans, faults of words."""

import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from hf_mner_aug.exceptions import DataError

Orphans = Literal["promote", "drop", "error"]
ORPHANS: tuple[Orphans, ...] = ("promote", "drop", "error")
_BLANK = " \t\r\n\v\f"


class Words(Protocol):
    """Words ``[start, end)`` of a post."""

    @property
    def start(self) -> int:
        """The first word."""

    @property
    def end(self) -> int:
        """The word behind the last one."""


_W = TypeVar("_W", bound=Words)


class Span(NamedTuple):
    """Words ``[start, end)`` of a post, with the type that tags give them."""

    start: int
    end: int
    type: str


def split_tag(tag: str) -> tuple[str, str]:
    """Return a tag's prefix and type: ``B-PER`` gives ``("B", "PER")`` and ``O`` gives ``("O", "")``.

    Raises:
        DataError: the tag is neither ``O`` nor ``B-`` or ``I-`` and a type, or the type begins or ends with a blank or
            an invisible character.
    """
    if tag == "O":
        return "O", ""
    prefix, _, kind = tag.partition("-")
    if prefix not in ("B", "I") or not kind:
        raise DataError(f"tag {tag!r} is not BIO: expected O, B-TYPE or I-TYPE")
    if kind != kind.strip() or not (kind[0] + kind[-1]).isprintable():
        raise DataError(f"tag {tag!r} has a blank at an edge of its type: expected O, B-TYPE or I-TYPE")
    return prefix, kind


_split_known = functools.lru_cache(maxsize=1024)(split_tag)  # a set has few distinct tags


def repair_orphans(tags: Sequence[str], orphans: Orphans = "promote") -> tuple[list[str], int]:
    """Return valid BIO tags and the number of orphans: ``I-`` tags that do not follow ``B-`` or ``I-`` of their type.

    ``promote`` turns an orphan into ``B-`` (seqeval's default reading); ``drop`` turns it, and the ``I-`` that continue
    it, into ``O`` (seqeval's strict IOB2 reading).

    Raises:
        DataError: there is an orphan and ``orphans="error"``, or a tag is not BIO.
    """
    repaired: list[str] = []
    count = 0
    raw_before = before = ""
    for i, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        if prefix == "I" and raw_before != kind:
            count += 1
            if orphans == "error":
                raise DataError(f"word {i}: {tag} follows no B-{kind} or I-{kind}")
        if prefix == "I" and before != kind:
            tag = f"B-{kind}" if orphans == "promote" else "O"
        repaired.append(tag)
        raw_before = kind
        before = "" if tag == "O" else kind
    return repaired, count


def bio_to_spans(tags: Sequence[str], orphans: Orphans = "promote") -> list[Span]:
    """Return the spans of BIO tags ``[n_words]``, in order.

    The same as of the tags that ``repair_orphans`` returns, several times faster.

    Raises:
        DataError: there is an orphan and ``orphans="error"``, or a tag is not BIO.
    """
    spans: list[Span] = []
    start, end, kind = 0, 0, ""
    for i, tag in enumerate(tags):
        if tag == "O":
            continue
        prefix, this = _split_known(tag)
        if prefix == "I":
            if this == kind and i == end:
                end += 1
                continue
            if orphans == "error":
                raise DataError(f"word {i}: {tag} follows no B-{this} or I-{this}")
            if orphans == "drop":
                continue
        if kind:
            spans.append(Span(start, end, kind))
        start, end, kind = i, i + 1, this
    if kind:
        spans.append(Span(start, end, kind))
    return spans


def spans_to_bio(spans: Iterable[tuple[int, int, str]], n_words: int) -> list[str]:
    """Return BIO tags ``[n_words]`` for ``(start, end, type)`` spans.

    Raises:
        DataError: a span is empty, outside the words, or overlaps another.
    """
    tags = ["O"] * n_words
    for start, end, kind in spans:
        if not 0 <= start < end <= n_words:
            raise DataError(f"span [{start}, {end}) {kind} does not fit {n_words} words")
        if any(tag != "O" for tag in tags[start:end]):
            raise DataError(f"span [{start}, {end}) {kind} overlaps another")
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return tags


def outermost(spans: Iterable[_W], order: Callable[[_W], Any] = attrgetter("start")) -> tuple[list[_W], list[_W]]:
    """Return the spans to keep, the longest of those that share a word, from left to right; and the others.

    Of spans with as many words the first by ``order`` is kept.
    """
    kept: list[_W] = []
    lost: list[_W] = []
    taken: set[int] = set()
    for span in sorted(spans, key=lambda span: (span.start - span.end, order(span))):
        if span.start in taken or span.end - 1 in taken:  # a shorter one that shares a word begins or ends there
            lost.append(span)
        else:
            kept.append(span)
            taken.update(range(span.start, span.end))
    return sorted(kept, key=attrgetter("start")), lost


def bio_names(types: Sequence[str]) -> list[str]:
    """Return the tag names of some types: O, B-PER, I-PER, …."""
    return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI")]


def word_faults(tokens: Sequence[str | None] | None) -> Iterator[str]:
    """Yield the faults of a post's words [n_words]: there are none, or one is null, not text, empty or blank.

    Converting, fitting, mapping and validating share this check. A no-break space and a lone joiner are words:
    Twitter-2015 and Twitter-2017 have them.
    """
    if not tokens:
        yield "there are no tokens"
    for i, token in enumerate(tokens or ()):
        if not isinstance(token, str) or not token.strip(_BLANK):
            yield f"word {i} is {token!r}"


def are_words(tokens: Sequence[Any]) -> bool:
    """Return whether words [n_words] certainly have no fault, by a quick test that rejects some good ones."""
    try:
        return bool(tokens) and all(map(str.strip, tokens))
    except TypeError:
        return False


def similar_types(types: Mapping[str, int]) -> str:
    """Return which types differ only in case, signs or width, with their mention counts, or an empty text."""
    alike: dict[str, list[str]] = defaultdict(list)
    for kind in types:
        alike[re.sub(r"[-_./\s]", "", unicodedata.normalize("NFKC", kind).casefold()) or kind].append(kind)
    said, asked = [], []
    for kinds in alike.values():
        if len(kinds) > 1:
            most, *others = sorted(kinds, key=lambda kind: (-types[kind], not kind.isupper(), kind))
            said.append(", ".join(f"{kind} ({types[kind]})" for kind in (most, *others)))
            asked += [f"{kind}={most}" for kind in others]
    if not said:
        return ""
    return (
        f"types that differ only in case or signs, with their mentions: {'; '.join(said)}: they stay different types; "
        f"--types {','.join(asked)} makes them one"
    )
