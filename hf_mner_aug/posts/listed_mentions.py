"""Names of a list as mentions of a set: cut into words and cased as the set writes them, drawn by weight.

A listed name takes the form of the mention that it replaces: in lower case, in capitals, as a hashtag. Mentions with
handles or links are not replaced, since a made-up one may be somebody's.
"""

import itertools
import unicodedata
from bisect import bisect
from collections import deque
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hf_mner_aug.draw import Draw
from hf_mner_aug.posts.lexicon import entity_key, is_link
from hf_mner_aug.posts.name_lists import ListedName
from hf_mner_aug.posts.tokenising import HEADS, Style, StyleCounts, restyle, split_words
from hf_mner_aug.schema import Entity, Post, respell

Case = Literal["lower", "upper", "mixed"]
LISTED = "listed"  # in the details of a made post: the names of the list that it has
ONE_CASE = 0.99  # share of a set's words with letters that are in one case, if it is in that case
SHOUTED = 5  # letters of a word in capitals that is no abbreviation: ``OBAMA``, but not ``NATO``

Words = tuple[str, ...]


def name_key(name: str) -> str:
    """Return the letters and digits of a name as names are compared: ``#StephenCurry`` is ``Stephen Curry``."""
    return "".join(filter(_is_spelling, name.casefold()))


def _is_spelling(sign: str) -> bool:
    """Return whether a sign is a letter, a digit, or a mark on one, such as the vowels of Hindi."""
    return sign.isalnum() or unicodedata.category(sign)[0] == "M"


class Writing:
    """How a set writes: the style of its words, their case, the types of its entities; counted while it is iterated."""

    def __init__(self) -> None:
        self._style = StyleCounts()
        self._cased = self._lower = self._upper = 0
        self.keys: set[str] = set()

    @classmethod
    def of(cls, posts: Iterable[Post]) -> "Writing":
        """Return how posts are written."""
        writing = cls()
        deque(writing.counting(posts), maxlen=0)
        return writing

    def counting(self, posts: Iterable[Post]) -> Iterator[Post]:
        """Yield the posts, and count them."""
        for post in posts:
            self._style.add(post.tokens)
            for word in post.tokens:
                if not is_link(word) and word[:1] not in HEADS and word != "RT" and word.lower() != word.upper():
                    self._cased += 1
                    self._lower += word == word.lower()
                    self._upper += word == word.upper()
            self.keys.update(map(entity_key, post.entities))
            yield post

    @property
    def style(self) -> Style:
        """How the set cuts texts into words."""
        return self._style.style

    @property
    def case(self) -> Case:
        """The case of the set's words, ``mixed`` if they are in both, or in none."""
        if not self._cased:
            return "mixed"
        if self._lower >= ONE_CASE * self._cased:
            return "lower"
        return "upper" if self._upper >= ONE_CASE * self._cased else "mixed"


def fit_names(names: Iterable[ListedName], writing: Writing) -> dict[str, Any]:
    """Return names as a set writes them, by type, each with its weight, as JSON-like data for ``Names.of``.

    Marks of hashtags are left off; handles and links, and names with one, are left out.
    """
    found: dict[str, dict[str, float]] = {}
    for name in names:
        words = as_set_writes(name.text, writing.style, writing.case)
        if words and not has_address(name.words) and not has_address(words):
            of_type = found.setdefault(name.type, {})
            text = " ".join(words)
            of_type[text] = of_type.get(text, 0.0) + name.weight
    return {"names": {kind: sorted(of_type.items()) for kind, of_type in found.items()}, "style": writing.style}


def as_set_writes(name: str, style: Style, case: Case = "mixed") -> list[str]:
    """Return the words of a name as a set writes them, without ``#`` or ``@`` before them."""
    name = {"lower": name.lower, "upper": name.upper, "mixed": name.strip}[case]()
    words = restyle(split_words(name.lstrip("#@ "), style), style)
    return words if any(map(str.isalnum, "".join(words))) else []


def has_address(words: Sequence[str]) -> bool:
    """Return whether some words have a handle, whole or split, or a link."""
    return "@" in words[:-1] or any((word[0] == "@" and len(word) > 1) or is_link(word) for word in words)


@dataclass(frozen=True)
class Names:
    """Names as a set writes them, by type, with the sums of their weights up to each, and the style of its words."""

    texts: Mapping[str, Sequence[str]]
    ends: Mapping[str, Sequence[float]]
    style: Style

    @classmethod
    def of(cls, fitted: Mapping[str, Any]) -> "Names":
        """Return the names that ``fit_names`` returned."""
        found = fitted["names"]
        return cls(
            {kind: [text for text, _ in names] for kind, names in found.items()},
            {kind: list(itertools.accumulate(weight for _, weight in names)) for kind, names in found.items()},
            fitted["style"],
        )

    def draw(self, kind: str, draw: Draw) -> str:
        """Return a name of a type that has some, drawn by weight."""
        ends = self.ends[kind]
        return self.texts[kind][min(bisect(ends, draw.random() * ends[-1]), len(ends) - 1)]

    def instead(self, post: Post, entities: Iterable[Entity], share: float, draw: Draw) -> dict[int, Words]:
        """Return names for a post's entities, each with probability ``share``, by the first word of the entity."""
        found: dict[int, Words] = {}
        for entity in entities:
            stream = draw.sub(entity.start)
            if stream.random() < share:
                words = self.instead_of(post.tokens, entity.start, entity.end, entity_key(entity), stream)
                found |= {entity.start: words} if words else {}
        return found

    def instead_of(self, tokens: Sequence[str], start: int, end: int, kind: str, draw: Draw) -> Words | None:
        """Return the words of a drawn name in the form of a mention of a text.

        None if the list has no name of its type, or the mention has a handle or a link.

        Args:
            tokens: [n_words].
            start: of the mention.
            end: exclusive.
            kind: its type, with its fine type if it has one.
            draw: the randomness.
        """
        if kind not in self.texts or not can_be_replaced(tokens, start, end):
            return None
        return in_form_of(tokens, start, end, self.draw(kind, draw), self.style)


def can_be_replaced(tokens: Sequence[str], start: int, end: int) -> bool:
    """Return whether the words ``[start, end)`` are no handle and have none, and no link."""
    return _head(tokens, start) != "@" and not has_address(tokens[start:end])


def in_form_of(tokens: Sequence[str], start: int, end: int, name: str, style: Style) -> Words:
    """Return the words of a name in the case of those that it replaces, as one hashtag where they are."""
    own, before = tokens[start:end], tokens[start - 1] if start else ""
    head, words = _head(tokens, start), tuple(_in_case_of(own, name).split(" "))
    if not head:
        return words
    tag = "".join(sign for word in words for sign in word if _is_spelling(sign) or sign == "_")
    return (tag if head == before else head + tag,) if style != "characters" else words


def _head(tokens: Sequence[str], start: int) -> str:
    """Return the ``#`` or ``@`` of a mention that begins at a word, or before it; empty for none."""
    first, before = tokens[start], tokens[start - 1] if start else ""
    return first[0] if first[0] in HEADS and len(first) > 1 else before if before in HEADS else ""


def _in_case_of(own: Sequence[str], name: str) -> str:
    """Return a name in the case of a mention's words, if that is lower case, or capitals in a longer word."""
    written = " ".join(own)
    if written.lower() != written.upper():
        if written == written.lower():
            return name.lower()
        if written == written.upper() and max(sum(map(str.isalpha, word)) for word in own) >= SHOUTED:
            return name.upper()
    return name


def as_details(listed: Mapping[int, Words], edits: Container[int]) -> dict[str, list[str]]:
    """Return the details of a post with listed names, by first word, at those of the edits: the names in order."""
    names = [" ".join(listed[start]) for start in sorted(listed) if start in edits]
    return {LISTED: names} if names else {}


def listed_details(names: Iterable[str], tokens: Sequence[str], entities: Iterable[Entity]) -> dict[str, list[str]]:
    """Return the details of a text with listed names: those that are mentions of it."""
    there = {" ".join(tokens[entity.start : entity.end]) for entity in entities}
    listed = [name for name in names if name in there]
    return {LISTED: listed} if listed else {}


def swap(post: Post, listed: Mapping[int, Words]) -> Post:
    """Return a post with listed names in the place of its entities that begin at these words.

    A ``the`` before them goes, unless it has a label: whether a name has one is not known.
    """
    edits: dict[int, Sequence[str]] = {}
    outside = {*post.outside()}
    for entity in post.entities:
        if entity.start in listed:
            edits |= {i: [] for i in range(entity.start, entity.end)} | {entity.start: listed[entity.start]}
            before = entity.start - 1
            if before in outside and post.tokens[before].casefold() == "the":
                edits[before] = []
    return respell(post, edits, details={**post.details, **as_details(listed, edits)}) if edits else post


def listed_words(tokens: Sequence[str], spans: Iterable[tuple[int, int]], listed: Collection[str]) -> set[int]:
    """Return the indices of the words of those spans that are listed names, as the details of a post have them."""
    return {i for start, end in spans if " ".join(tokens[start:end]) in listed for i in range(start, end)}
