"""Texts with spans become posts of words and BIO tags."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, get_args

from hf_mner_aug.exceptions import DataError, UnknownName
from hf_mner_aug.posts.texts import MAX_WORDS, too_long
from hf_mner_aug.readers.formats import RawPost, encodes
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans import words
from hf_mner_aug.readers.spans.annotated import Annotated, Misaligned, Nested, Offsets
from hf_mner_aug.readers.spans.offsets import Places, Unit
from hf_mner_aug.readers.spans.words import Range, Tokeniser, trimmed, whole
from hf_mner_aug.schema import outermost, spans_to_bio, split_tag

TOKENISER = "tweet"
MAX_NAME = 2_000  # characters of a picture's URL: a data: URL holds the picture itself, which is not read
_DEFAULT = words.tokeniser(TOKENISER)


class _Mention(NamedTuple):
    """Words ``[start, end)`` of a post, the characters ``[first, last)`` that are marked, and their type."""

    start: int
    end: int
    first: int
    last: int
    type: str


def posts_of(
    annotated: Iterable[Annotated | BadLine],
    *,
    name: str = "post",
    tokeniser: str | None = None,
    misaligned: Misaligned = "snap",
    nested: Nested = "outermost",
    offsets: Offsets = "auto",
) -> Iterator[RawPost | BadLine]:
    """Yield a post for each text: a label is on all words that its span touches, and on no others.

    A post is left out, with its line, if one of its spans cannot be placed: reversed, outside of the text, or with
    another surface text than there is at its offsets. Its entity would be O otherwise, and teach that a name is none.
    A span without a letter, empty or of blanks, marks nothing: it is left out and counted, and so are blanks at the
    edges of others.

    Args:
        annotated: the texts.
        name: of the file, for the ids of texts without one.
        tokeniser: as ``words.tokeniser``; None is the words of the tool where it gives them, else ``tweet``.
        misaligned: a span that starts or ends inside a word is extended to the whole word and counted (``snap``), or
            its post is left out (``refuse``).
        nested: of spans that share a word the longest is kept and the others are counted (``outermost``), or their
            post is left out (``refuse``).
        offsets: the unit of the offsets: ``chars``, ``utf16`` or ``bytes``; ``auto`` is ``chars`` here, since only a
            whole file tells.

    Raises:
        UnknownName: an option has another value.
        MissingExtra: the tokeniser needs a package that is not installed.
    """
    for option, value, kinds in (
        ("misaligned", misaligned, Misaligned),
        ("nested", nested, Nested),
        ("offsets", offsets, Offsets),
    ):
        if value not in get_args(kinds):
            raise UnknownName(option, str(value), get_args(kinds))
    unit: Unit = "chars" if offsets == "auto" else offsets
    split = None if tokeniser is None else words.tokeniser(tokeniser)
    return _posts(annotated, name, split, misaligned, nested, unit)


def _posts(
    annotated: Iterable[Annotated | BadLine],
    name: str,
    split: Tokeniser | None,
    misaligned: Misaligned,
    nested: Nested,
    unit: Unit,
) -> Iterator[RawPost | BadLine]:
    for found in annotated:
        if isinstance(found, BadLine):
            yield found
            continue
        post_id = f"{name}-{found.line}" if found.id is None else found.id
        try:
            yield _post(found, post_id, split, misaligned, nested, unit)
        except DataError as error:
            yield BadLine(found.line, f"post {post_id[:100]!a}: {error}: it is left out")


def _post(
    found: Annotated, post_id: str, split: Tokeniser | None, misaligned: Misaligned, nested: Nested, unit: Unit
) -> RawPost:
    """Return the post of a text.

    Raises:
        DataError: it exceeds the limits of a post, a span cannot be placed, or is refused.
    """
    text = found.text
    _check_texts(found, post_id)
    ranges = whole(text, found.words if split is None and found.words is not None else (split or _DEFAULT)(text))
    tokens = [text[start:end] for start, end in ranges]
    if excess := too_long(tokens):
        raise DataError(f"expected a post, found {excess}")
    mentions, n_empty = _mentions(found, ranges, unit)
    snapped = [m for m in mentions if (ranges[m.start][0], ranges[m.end - 1][1]) != (m.first, m.last)]
    if snapped and misaligned == "refuse":
        raise DataError(f"{_spelt(text, snapped[0])} starts or ends inside of a word")
    kept, lost = outermost(mentions, lambda m: (m.first - m.last, m.first))
    if lost and nested == "refuse":
        raise DataError(f"{_spelt(text, lost[0])} shares a word with another span")
    notes = [("empty_spans", post_id)] * n_empty
    left = {*lost}
    notes += [("snapped", f"{post_id} {_widened(text, ranges, m)}") for m in snapped if m not in left]
    notes += [("nested_spans", f"{post_id} {_spelt(text, mention)}") for mention in lost]
    tags = spans_to_bio([(m.start, m.end, m.type) for m in kept], len(tokens))
    pictures = (post_id,) if found.pictures is None else tuple(name[:MAX_NAME] for name in found.pictures)
    lines = [found.line] * len(tokens)
    return RawPost(post_id, found.line, pictures, tokens, tags, lines=lines, notes=(*found.notes, *notes))


def _check_texts(found: Annotated, post_id: str) -> None:
    """Raise DataError for a text that is too long or has too many spans, an empty id, and what is not Unicode."""
    if excess := too_long(found.text):
        raise DataError(f"expected a post, found {excess}")
    if len(found.spans) > MAX_WORDS:
        raise DataError(f"expected at most {MAX_WORDS:,} spans, found {len(found.spans):,}")
    if not post_id.strip():
        raise DataError("expected an id, found none")
    texts = (found.text, post_id, *(found.pictures or ()))
    if wrong := next((text for text in texts if not encodes(text)), None):
        raise DataError(f"{wrong[:60]!a} has half of a character")


def _mentions(found: Annotated, ranges: Sequence[Range], unit: Unit) -> tuple[list[_Mention], int]:
    """Return the spans of a text with their words, and how many have no letter.

    Raises:
        DataError: a span cannot be placed, or its type is none.
    """
    places = Places(found.text, unit)
    starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
    mentions: dict[_Mention, None] = {}
    n_empty = 0
    for marked in found.spans:
        first, last = trimmed(found.text, *places.span(marked))
        if first == last:
            n_empty += 1
            continue
        start, end = bisect_right(ends, first), bisect_left(starts, last)
        mentions[_Mention(start, end, first, last, _type(marked.type))] = None
    return list(mentions), n_empty


def _type(found: str) -> str:
    kind = found.strip()
    if not encodes(kind):
        raise DataError(f"the type {found[:60]!a} has half of a character")
    return split_tag(f"B-{kind}")[1]


def _spelt(text: str, mention: _Mention) -> str:
    return f"{mention.type[:60]} {text[mention.first : mention.last][:60]!r}"


def _widened(text: str, ranges: Sequence[Range], mention: _Mention) -> str:
    return f"{_spelt(text, mention)} is {text[ranges[mention.start][0] : ranges[mention.end - 1][1]][:60]!r}"
