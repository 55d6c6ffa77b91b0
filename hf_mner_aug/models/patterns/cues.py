"""Cues of a failure: the shape of its mention, the words around it, the style of its post."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.posts.lexicon import is_link
from hf_mner_aug.schema import Post

NEAR = 3  # words on each side that are a mention's context
RARE = 3  # posts that must have a word for it to be a cue
NOTHING = "nothing"
SHAPE, CONTEXT, POST = "shape", "context", "post"
BORDER = 2.0  # weight of a wrong border
WEIGHTS = {SHAPE: 1.0, CONTEXT: 1.0, POST: 0.4}


def word_case(word: str) -> str:
    """Return how a word is written: ``lower``, ``capital``, ``capitals``, ``mixed``, ``number`` or ``sign``."""
    letters = [c for c in word if c.isalpha()]
    if not letters:
        return "number" if any(map(str.isdigit, word)) else "sign"
    if all(c.islower() for c in letters):
        return "lower"
    if len(letters) > 1 and all(c.isupper() for c in letters):
        return "capitals"
    rest = letters[1:]
    return "capital" if letters[0].isupper() and all(c.islower() for c in rest) else "mixed"


def mention_shape(words: Sequence[str]) -> tuple[str, ...]:
    """Return the shape of a mention: leading sign, case of each word, ``the``."""
    marks = []
    for word in words:
        head = word[0] if word[:1] in ("#", "@") and len(word) > 1 else ""
        marks.append(head + ("the" if word.casefold() == "the" else word_case(word)))
    return tuple(marks)


def cues_of(failure: Failure) -> dict[str, tuple[str, ...]]:
    """Return the cues of a failure by block: the mention's ``shape``, its ``context`` and the ``post``.

    A prediction contributes cues where its borders differ from gold.
    """
    tokens = failure.tokens
    start, end = failure.words
    words = tokens[start:end]
    shape: list[str] = []
    if failure.gold and failure.predicted:
        inside = set(range(failure.predicted[0], failure.predicted[1]))
        shape += [f"leaves out={tokens[i].casefold()}" for i in (start, end - 1) if i not in inside]
        beyond = [i for i in (failure.predicted[0], failure.predicted[1] - 1) if not start <= i < end]
        shape += [f"takes in={tokens[i].casefold()}" for i in beyond]
    shape += _shape_cues(words)
    context = [f"before={_said(tokens[start - 1])}" if start else f"before={NOTHING}"]
    context.append(f"after={_said(tokens[end])}" if end < len(tokens) else f"after={NOTHING}")
    near = [*tokens[max(0, start - NEAR) : start], *tokens[end : end + NEAR]]
    context += [f"near={_said(word)}" for word in near if any(map(str.isalnum, word))]
    marks = {_said(word) for i, word in enumerate(tokens) if not start <= i < end and any(map(str.isalnum, word))}
    post = [f"post={mark}" for mark in sorted(marks)]
    if all(word_case(word) in ("lower", "number", "sign") for word in tokens if not _marked(word)):
        post.append("post in lower case")
    return {SHAPE: tuple(dict.fromkeys(shape)), CONTEXT: tuple(dict.fromkeys(context)), POST: tuple(post)}


def spell_cue(cue: str) -> str:
    """Return a cue in words: ``before=to`` gives ``after 'to'``."""
    kind, _, what = cue.partition("=")
    spoken = {
        "before": "at the start" if what == NOTHING else f"after '{what}'",
        "after": "at the end" if what == NOTHING else f"before '{what}'",
        "near": f"near '{what}'",
        "post": f"in a post with '{what}'",
        "written": f"written {what}",
        "words": f"of {what} word{'s' * (what != '1')}",
        "starts with": f"that starts with '{what}'",
        "leaves out": f"whose '{what}' is left out",
        "takes in": f"that takes '{what}' in",
    }
    return spoken.get(kind, cue)


def all_cues(failure: Failure) -> list[str]:
    """Return the cues of a failure, of all blocks."""
    return [cue for cues in cues_of(failure).values() for cue in cues]


def _shape_cues(words: Sequence[str]) -> list[str]:
    """Return the cues of a mention's own words."""
    cues = [f"written={'-'.join(sorted(set(mention_shape(words))))}", f"words={min(len(words), 4)}"]
    return [*cues, f"starts with={words[0].casefold()}"] if len(words) > 1 else cues


def _said(word: str) -> str:
    """Return a word as in a cue: handles, hashtags and links are replaced by their kind."""
    if is_link(word):
        return "URL"
    if _marked(word):
        return f"{word[0]}…"
    return "number" if word.isdigit() else word.casefold()


def _marked(word: str) -> bool:
    return is_link(word) or (len(word) > 1 and word[0] in "@#")


@dataclass(frozen=True)
class Space:
    """The weights of cues: the number of posts that have a word, and of mentions that have a shape.

    Cues that all have say little. Words that stand in fewer than three posts are no cues.
    """

    words: Mapping[str, float]
    shapes: Mapping[str, float]

    @classmethod
    def of(cls, posts: Iterable[Post]) -> "Space":
        """Return the space of posts; failures that come later change nothing in it."""
        words: Counter[str] = Counter()
        shapes: Counter[str] = Counter()
        n_posts = n_mentions = 0
        for post in posts:
            n_posts += 1
            words.update({_said(word) for word in post.tokens})
            for entity in post.entities:
                n_mentions += 1
                shapes.update(_shape_cues(post.tokens[entity.start : entity.end]))
        frequent = {word: count for word, count in words.items() if count >= RARE}
        return cls(_rarity(frequent, n_posts), _rarity(shapes, n_mentions))

    def vector(self, failure: Failure) -> dict[str, float]:
        """Return a failure's vector, sparse, of length one: blocks of cues, each cue weighted by how rare it is."""
        found: dict[str, float] = {}
        for block, cues in cues_of(failure).items():
            weights = {cue: self._weight(cue) for cue in cues}
            # Words are many, so their block has a length; a shape that all mentions have must count for little.
            length = 1.0 if block == SHAPE else math.sqrt(sum(weight**2 for weight in weights.values())) or 1.0
            found |= {cue: WEIGHTS[block] * weight / length for cue, weight in weights.items() if weight}
        length = math.sqrt(sum(weight**2 for weight in found.values())) or 1.0
        return {cue: round(weight / length, 6) for cue, weight in found.items()}

    def _weight(self, cue: str) -> float:
        kind, _, word = cue.partition("=")
        if kind in ("before", "after", "near", "post") and word != NOTHING:
            return self.words.get(word, 0.0)
        return BORDER if kind in ("leaves out", "takes in") else self.shapes.get(cue, 1.0)


def _rarity(counts: Mapping[str, int], total: int) -> dict[str, float]:
    """Return the information of each count, from 0 (all have it) to nearly 1."""
    return {
        name: round(math.log((1 + total) / (1 + count)) / math.log(1 + total), 6)
        for name, count in sorted(counts.items())
    }
