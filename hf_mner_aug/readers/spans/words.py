"""The words of a text as ranges ``(start, end)`` of its characters: no sign but blanks is lost."""

import functools
import re
from collections.abc import Callable, Iterable

from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.need import need
from hf_mner_aug.posts.tokenising import word_ranges

Range = tuple[int, int]
Tokeniser = Callable[[str], Iterable[Range]]
TOKENISERS = ("whitespace", "tweet", "char", "spacy:MODEL")
_SOLID = re.compile(r"\S+")
_LANGUAGE = re.compile(r"[a-z]{2,3}")


def tokeniser(name: str) -> Tokeniser:
    """Return what splits a text into words.

    Args:
        name: ``whitespace``; ``tweet`` (handles, hashtags and URLs are words, punctuation is split off); ``char`` (each
            sign is a word); ``spacy:MODEL``, a pipeline of spaCy or the code of a language, as ``spacy:de``.

    Raises:
        UnknownName: there is no such tokeniser.
        MissingExtra: spaCy is not installed.
        UsageError: spaCy has no such model or language.
    """
    if name.startswith("spacy:"):
        return _spacy(name.removeprefix("spacy:"))
    if name == "whitespace":
        return _solid
    if name in ("tweet", "char"):
        return functools.partial(word_ranges, style="whole" if name == "tweet" else "characters")
    raise UnknownName("tokeniser", name, TOKENISERS)


def _solid(text: str) -> list[Range]:
    return [match.span() for match in _SOLID.finditer(text)]


@functools.cache
def _spacy(model: str) -> Tokeniser:
    spacy = need("spacy", extra="formats")
    try:
        pipeline = spacy.blank(model) if _LANGUAGE.fullmatch(model) else spacy.load(model)
    except (OSError, ValueError, ImportError) as error:  # no such folder or package; one of its own packages is missing
        raise UsageError(
            f"spacy:{model}: spaCy cannot open it ({str(error).splitlines()[0][:200]}): name an installed pipeline or "
            "a language, as spacy:en"
        ) from error
    return lambda text: [(token.idx, token.idx + len(token.text)) for token in pipeline.make_doc(text)]


def whole(text: str, ranges: Iterable[Range]) -> list[Range]:
    """Return a text's words with every sign of it but blanks.

    Signs between two words belong to the word before if they touch it, else to the one behind if they touch that, else
    they are a word. Blanks at the edges of words, and words of blanks only, are left out.

    Raises:
        DataError: two words overlap, or one lies outside of the text.
    """
    words: list[Range] = []
    at = 0
    for start, end in ranges:
        if not at <= start <= end <= len(text):
            raise DataError(f"the word [{start}, {end}) overlaps another or lies outside of the text")
        if start > at and text[at:start] != " ":
            start = _between(text, at, start, words)
        at = end
        start, end = trimmed(text, start, end)
        if start < end:
            words.append((start, end))
    if at < len(text):
        last = _between(text, at, len(text), words)
        if last < len(text):
            words.append((last, len(text)))
    return words


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a range without the blanks at its edges."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _between(text: str, start: int, end: int, words: list[Range]) -> int:
    """Add the signs between two words, and return where the second one starts then."""
    for match in () if text[start:end].isspace() else _SOLID.finditer(text, start, end):
        if words and words[-1][1] == match.start():
            words[-1] = (words[-1][0], match.end())
        elif match.end() == end:
            return match.start()
        else:
            words.append(match.span())
    return end
