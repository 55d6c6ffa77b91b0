"""Tokenise foreign text like a set's own: handles and hashtags whole or split off, or by characters."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import regex

from hf_mner_aug.posts.scripts import SIGN, WORD, is_one_sign, sign_ranges, signs_of, starts_word
from hf_mner_aug.schema import Post

Style = Literal["whole", "split", "characters"]
HEADS = ("#", "@")
_WHOLE = "https?://\\S+|www\\.\\S+|[@#]%(word)s|%(word)s(?:-%(word)s)*|\\.\\.\\.|%(sign)s"
_SPLIT = "https?://\\S+|www\\.\\S+|\\d+\\.\\d+|%(word)s|%(sign)s"
_ANY = {"word": WORD, "sign": SIGN}
_ASCII = {"word": r"\w+", "sign": "[!-~]"}  # the same for ASCII text, with ``re``, which is faster
_WHOLE_WORDS, _WHOLE_ASCII = regex.compile(_WHOLE % _ANY, regex.V1), re.compile(_WHOLE % _ASCII, re.ASCII)
_SPLIT_WORDS, _SPLIT_ASCII = regex.compile(_SPLIT % _ANY, regex.V1), re.compile(_SPLIT % _ASCII, re.ASCII)


class StyleCounts:
    """Counts of the words of texts from which their style is known."""

    def __init__(self) -> None:
        self._lone = self._marked = self._single = self._total = 0

    def add(self, tokens: Iterable[str]) -> None:
        """Count the words of a text."""
        for word in tokens:
            self._lone += word in HEADS
            self._marked += len(word) > 1 and word[0] in HEADS
            self._single += is_one_sign(word)
            self._total += 1

    @property
    def style(self) -> Style:
        """The style of the texts counted."""
        if self._single > 0.8 * self._total:
            return "characters"
        return "split" if self._lone > self._marked else "whole"


def word_style(posts: Iterable[Post]) -> Style:
    """Return how a set tokenises texts: handles ``whole`` or ``split`` off their ``@``, or ``characters``."""
    counts = StyleCounts()
    for post in posts:
        counts.add(post.tokens)
    return counts.style


def split_words(text: str, style: Style) -> list[str]:
    """Return the words of a raw text, tokenised in a set's style."""
    if style == "characters":
        return signs_of(text)
    found: list[str] = _pattern(text, style).findall(text)
    return found


def word_ranges(text: str, style: Style) -> list[tuple[int, int]]:
    """Return where in a raw text its words are (start, end), as ``split_words`` gives them."""
    if style == "characters":
        return sign_ranges(text)
    return [match.span() for match in _pattern(text, style).finditer(text)]


def _pattern(text: str, style: Style) -> Any:
    """Return what finds the words of a text in a style other than characters."""
    if text.isascii():
        return _WHOLE_ASCII if style == "whole" else _SPLIT_ASCII
    return _WHOLE_WORDS if style == "whole" else _SPLIT_WORDS


def restyle(tokens: Sequence[str], style: Style) -> list[str]:
    """Return another set's words [n_words] with handles and hashtags in the style of this one."""
    if style == "characters":
        return list(tokens)
    found: list[str] = []
    for word in tokens:
        if style == "split" and word[0] in HEADS and not is_one_sign(word):
            found += [word[0], word[1:]]
        elif style == "whole" and found and found[-1] in HEADS and starts_word(word):
            found[-1] += word
        else:
            found.append(word)
    return found
