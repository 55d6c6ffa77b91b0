"""Patterns and posts without a language model: cues that distinguish a cluster, and train's own words recombined.

A pattern is a sum of cues, each weighted by its log-odds among the members against the outsiders. A new post has the
words before a mention from one failure of the pattern, the words after it from another, and between them a mention of
the right type and a similar form from train, or from a list of names; some of its other entities are replaced by others
of their type.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

from hf_mner_aug.draw import Draw
from hf_mner_aug.metrics.spans import PlainSpan
from hf_mner_aug.models.patterns.cues import all_cues, mention_shape, spell_cue
from hf_mner_aug.models.patterns.engine import Draft, Pattern, Question, WriteRequest, what_all_get_wrong
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.posts.lexicon import mention_counts, repeat_by_count
from hf_mner_aug.posts.listed_mentions import LISTED, Names
from hf_mner_aug.schema import Post

SWAPPED = 0.5  # share of the other entities that change
FIRST_CUES = 2  # of a first pattern; each critique doubles them
NAMED = 3  # cues in a pattern's name
TRIES = 20  # names of a list that are drawn for one of the right form
Words = tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """The engine without a model.

    Args:
        mentions: those of train by type and shape, repeated by count.
        names: those of a list.
        share: the chance that a new mention comes from the list.
    """

    name: ClassVar[str] = "rules"

    mentions: Mapping[str, Mapping[Words, Sequence[Words]]] = field(default_factory=dict)
    names: Names | None = None
    share: float = 0.0

    @classmethod
    def of(cls, posts: Iterable[Post]) -> Self:
        """Return the engine with the mentions of posts."""
        found: dict[str, dict[Words, list[Words]]] = {}
        for kind, counts in mention_counts(posts).items():
            for words in repeat_by_count(counts):
                found.setdefault(kind, {}).setdefault(mention_shape(words), []).append(tuple(words))
        return cls(found)

    @property
    def identity(self) -> str:
        """The engine's name and version."""
        return "rules 1"

    def induce(
        self, members: Sequence[Failure], outsiders: Sequence[Failure], critiques: Sequence[str], draw: Draw
    ) -> Pattern | Unwritten:
        """Return the cues that distinguish members, twice as many after each critique."""
        weights = weigh_cues(members, outsiders)
        if not weights:
            return Unwritten("no_cue", "no cue is more frequent in members than in outsiders")
        cues = dict(list(weights.items())[: FIRST_CUES << len(critiques)])
        least = best_threshold([score(cues, f) for f in members], [score(cues, f) for f in outsiders])
        told = ", ".join(map(spell_cue, _different(cues)[:NAMED]))
        wrong = what_all_get_wrong(members)
        return Pattern(
            name=told,
            trigger=f"a mention {', '.join(map(spell_cue, cues))}",
            why=f"{wrong}: other mentions where it is are not like this",
            how=f"write a post with a mention {told}",
            cues=cues,
            least=least,
        )

    def matches(self, questions: Sequence[Question]) -> list[list[bool]]:
        """Return whether the weights of each failure's cues reach the pattern's minimum sum."""
        return [[score(pattern.cues, f) >= pattern.least for f in failures] for pattern, failures in questions]

    def write(self, requests: Sequence[WriteRequest]) -> list[Draft | Unwritten]:
        """Return posts made of the words around a failure and its exemplars, with another mention.

        Without patterns the failure's own post gets any mention of the same type. After a draft that did not match the
        pattern, the failure's own words are kept around the mention.
        """
        return [self._write(request) for request in requests]

    def _write(self, request: WriteRequest) -> Draft | Unwritten:
        failure, patterns, draw = request.failure, request.patterns, request.draw
        last = request.critiques[-1:]
        alone = not patterns or any(critique.startswith(("off_pattern", "inconsistent")) for critique in last)
        alike = [e for e in request.exemplars if has_clear_focus(e) and e.confusion[0] == failure.confusion[0]]
        hosts = [failure] if alone else [failure, *alike]
        if not has_clear_focus(failure):
            return Unwritten("no_place", f"{failure.text}: inside another entity")
        left = draw.sub("left").choice(hosts)
        # A wrong border often depends on the word beyond it.
        right = left if alone or left.kind in ("boundary", "both") else draw.sub("right").choice(hosts)
        stream = draw.sub("focus")
        kind = key_at(left) if left.gold else ""
        listed = self._listed(left, left.words, kind, bool(patterns), stream.sub("listed")) if kind else None
        focus = listed or self._focus(left, hosts, bool(patterns), stream)
        if focus is None:
            return Unwritten("no_mention", f"train has no other mention like {left.text}")
        pieces = Pieces()
        self._copy(pieces, left, 0, left.words[0], draw.sub("before"))
        pieces.listed += [" ".join(listed)] if listed else []
        at = len(pieces.tokens)
        if left.gold:
            pieces.entities.append((at, at + len(focus), kind))
        pieces.tokens += focus
        self._copy(pieces, right, right.words[1], len(right.tokens), draw.sub("after"))
        made_of = dict.fromkeys([left.post, right.post])
        text = " ".join(pieces.tokens)
        details = {LISTED: pieces.listed} if pieces.listed else {}
        where = (at, at + len(focus))
        return Draft(tuple(pieces.tokens), tuple(pieces.entities), where, text, tuple(made_of), details)

    def _listed(self, host: Failure, where: tuple[int, int], kind: str, alike: bool, draw: Draw) -> Words | None:
        """Return a listed name for a host's mention of a type, with ``alike`` of the same shape, or None."""
        start, end = where
        own = host.tokens[start:end]
        if self.names is None or draw.random() >= self.share:
            return None
        for n in range(TRIES):
            words = self.names.instead_of(host.tokens, start, end, kind, draw.sub(n))
            if words is None:
                return None
            same = not alike or mention_shape(words) == mention_shape(own)
            if same and words != own and _fits(words, host.tokens[:start]):
                return words
        return None

    def _focus(self, host: Failure, hosts: Sequence[Failure], alike: bool, draw: Draw) -> Words | None:
        """Return new words for a host's focus: not its own, and with ``alike`` of the same shape."""
        start, end = host.words
        own = host.tokens[start:end]
        if host.gold is None:
            found = [other.tokens[slice(*other.words)] for other in hosts]
        else:
            found = self._mentions(key_at(host), own, alike)
        found = [words for words in found if words != own and _fits(words, host.tokens[:start])]
        if found:
            return draw.choice(found)
        return own if len(hosts) > 1 or host.gold is None else None

    def _mentions(self, kind: str, own: Words, alike: bool) -> list[Words]:
        by_shape = self.mentions.get(kind, {})
        if alike:
            return list(by_shape.get(mention_shape(own), ()))
        return [words for found in by_shape.values() for words in found]

    def _copy(self, pieces: "Pieces", host: Failure, start: int, end: int, draw: Draw) -> None:
        """Append a host's words ``[start, end)``, with some of their entities replaced by others of their type."""
        inside = [entity for entity in host.entities if start <= entity[0] and entity[1] <= end]
        swapped = {e[0] for e in draw.sub("swapped").subset(inside, SWAPPED)}
        at = start
        for first, last, kind in inside:
            pieces.tokens += host.tokens[at:first]
            own = host.tokens[first:last]
            others = [w for w in self._mentions(kind, own, True) if w != own and _fits(w, host.tokens[:first])]
            listed = (
                self._listed(host, (first, last), kind, True, draw.sub(first, "listed")) if first in swapped else None
            )
            words = listed or (draw.sub(first).choice(others) if first in swapped and others else own)
            pieces.listed += [" ".join(listed)] if listed else []
            pieces.entities.append((len(pieces.tokens), len(pieces.tokens) + len(words), kind))
            pieces.tokens += words
            at = last
        pieces.tokens += host.tokens[at:end]


@dataclass
class Pieces:
    """A post in progress."""

    tokens: list[str] = field(default_factory=list)
    entities: list[PlainSpan] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)


def has_clear_focus(failure: Failure) -> bool:
    """Return whether a failure's words are exactly one entity, or touch none if the failure is spurious."""
    start, end = failure.words
    touched = [span for span in failure.entities if span[0] < end and start < span[1]]
    return [span[:2] for span in touched] == ([(start, end)] if failure.gold else [])


def key_at(failure: Failure) -> str:
    """Return the type of a failure's entity, with its fine type if it has one."""
    return next(kind for start, end, kind in failure.entities if (start, end) == failure.words)


def _fits(words: Words, before: Sequence[str]) -> bool:
    """Return whether a mention can follow some words: it must suit ``a`` or ``an``, and not repeat ``the``."""
    last = before[-1].casefold() if before else ""
    if last in ("a", "an"):
        return (words[0][:1].casefold() in "aeiou") == (last == "an")
    return not (last == "the" and words[0].casefold() == "the")


# ---------------------------------------------------------------- patterns


def weigh_cues(members: Sequence[Failure], outsiders: Sequence[Failure]) -> dict[str, float]:
    """Return the cues that are more frequent in members, with their log-odds, the most informative first.

    Among equal ones cues of borders and shapes come first, then those of nearby words.
    """
    inside = Counter(cue for failure in members for cue in all_cues(failure))
    outside = Counter(cue for failure in outsiders for cue in all_cues(failure))
    told = []
    for rank, (cue, count) in enumerate(inside.items()):
        p = (count + 0.5) / (len(members) + 1)
        q = (outside[cue] + 0.5) / (len(outsiders) + 1)
        weight = math.log(p / (1 - p)) - math.log(q / (1 - q))
        if weight > 0 and (count > 1 or len(members) == 1):
            told.append((-(p - q) * weight, rank, cue, round(weight, 4)))
    return {cue: weight for _, _, cue, weight in sorted(told)}


def _different(cues: Iterable[str]) -> list[str]:
    """Return the first cue about each word, since a nearby word is also a word of the post."""
    first: dict[str, str] = {}
    for cue in cues:
        kind, _, word = cue.partition("=")
        first.setdefault(word if kind in ("before", "after", "near", "post") else cue, cue)
    return list(first.values())


def score(cues: Mapping[str, float], failure: Failure) -> float:
    """Return the sum of the weights of a failure's cues."""
    return round(sum(cues.get(cue, 0.0) for cue in all_cues(failure)), 4)


def best_threshold(inside: Sequence[float], outside: Sequence[float]) -> float:
    """Return the threshold with the best balanced accuracy, the lowest of equals.

    Without outsiders it is the members' lowest score above 0.
    """

    def accuracy(least: float) -> float:
        hits = sum(score >= least for score in inside) / len(inside)
        return hits + (sum(score < least for score in outside) / len(outside) if outside else 0.0)

    candidates = sorted({score for score in inside if score > 0})
    return max(candidates, key=accuracy) if candidates else math.inf
