"""Cut text from outside into words as a set's own texts are: handles and hashtags whole, split off, or characters."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from hf_mner_aug.schema import Post

Style = Literal["whole", "split", "characters"]
HEADS = ("#", "@")
_WHOLE = re.compile(r"https?://\S+|www\.\S+|[@#]\w+|\w+(?:-\w+)*|\.\.\.|[^\w\s]")
_SPLIT = re.compile(r"https?://\S+|www\.\S+|\d+\.\d+|\w+|[^\w\s]")


def word_style(posts: Iterable[Post]) -> Style:
    """Return how a set cuts texts into words: handles ``whole`` or ``split`` off their ``@``, or ``characters``."""
    lone = marked = single = total = 0
    for post in posts:
        for word in post.tokens:
            lone += word in HEADS
            marked += len(word) > 1 and word[0] in HEADS
            single += len(word) == 1
            total += 1
    if single > 0.8 * total:
        return "characters"
    return "split" if lone > marked else "whole"


def split_words(text: str, style: Style) -> list[str]:
    """Return the words of a raw text, cut as a set's are."""
    if style == "characters":
        return [sign for sign in text if not sign.isspace()]
    return (_WHOLE if style == "whole" else _SPLIT).findall(text)


def restyle(tokens: Sequence[str], style: Style) -> list[str]:
    """Return another set's words [n_words] with handles and hashtags as this one has them."""
    if style == "characters":
        return list(tokens)
    found: list[str] = []
    for word in tokens:
        if style == "split" and len(word) > 1 and word[0] in HEADS:
            found += [word[0], word[1:]]
        elif style == "whole" and found and found[-1] in HEADS and word[0].isalnum():
            found[-1] += word
        else:
            found.append(word)
    return found
