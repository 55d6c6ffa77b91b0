"""Labels on foreign text: where a post's mentions occur in another text, and whether they can be trusted there.

RMDA (``methods.rmda``) finds posts by the entities of a gold post. Here the gold labels are projected onto them
(``project_labels``, ``project_relation``) and checked against detectors (``keep``, ``support``) and train (``Known``).
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.backbones.splits import BOUNDARY
from hf_mner_aug.models.search import HEADS, Hit
from hf_mner_aug.models.words import sentence
from hf_mner_aug.posts.texts import normalise_unicode, text_key
from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.storage.posts import open_posts
from hf_mner_aug.transform import Reject

Words = tuple[str, ...]


class QueryMention(NamedTuple):
    """A labelled string: its words, its entity with type, fine type and boxes."""

    words: Words
    entity: Entity


def mentions_of(post: Post) -> list[QueryMention]:
    """Return the mentions that a post's query searches for: its entities, or head and tail."""
    if post.relation is None:
        return [QueryMention(tuple(post.tokens[e.start : e.end]), e) for e in post.entities]
    return [
        QueryMention(tuple(post.tokens[slice(*span)]), Entity(*span, ""))
        for span in (post.relation.head, post.relation.tail)
    ]


# ---------------------------------------------------------------- labels on foreign text


def bare_words(words: Sequence[str]) -> Words:
    """Return words in NFC without a leading ``#`` or ``@``; leading words that are only such a sign are left out."""
    stripped = [normalise_unicode("NFC", word.lstrip("#@") or word) for word in words]
    first = next((i for i, word in enumerate(stripped) if word not in HEADS), len(stripped))
    return tuple(stripped[first:])


def project_labels(tokens: Sequence[str], mentions: Iterable[QueryMention]) -> tuple[Entity, ...]:
    """Return the entities that mentions have in another text (tokens: [n_words]), in order.

    Words are compared casefolded, in NFC and without ``#`` and ``@`` before them; longer mentions first, every
    occurrence, none over another. The first of two mentions of the same words decides the type.
    """
    held = [_folded(word) for word in tokens]
    wanted: dict[Words, Entity] = {}
    for mention in mentions:
        wanted.setdefault(_folded_all(bare_words(mention.words)), mention.entity)
    taken: set[int] = set()
    found = []
    for words in sorted(filter(None, wanted), key=len, reverse=True):
        for start in _occurrences(held, words):
            span = range(start, start + len(words))
            if taken.isdisjoint(span):
                taken.update(span)
                found.append(replace(wanted[words], start=start, end=span.stop))
    return tuple(sorted(found, key=lambda entity: entity.start))


def project_relation(
    tokens: Sequence[str], head: Sequence[str], tail: Sequence[str]
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the first places of head and tail in another text that do not overlap, or None unless both occur.

    Words are compared as in ``project_labels``; the longer of the two is placed first.
    """
    held = [_folded(word) for word in tokens]
    sides = [_folded_all(bare_words(words)) for words in (head, tail)]
    placed: dict[int, tuple[int, int]] = {}
    for side in sorted((0, 1), key=lambda i: -len(sides[i])):
        words = sides[side]
        for start in _occurrences(held, words) if words else ():
            span = (start, start + len(words))
            if all(span[1] <= other[0] or other[1] <= span[0] for other in placed.values()):
                placed[side] = span
                break
    return (placed[0], placed[1]) if len(placed) == 2 else None


def _folded(word: str) -> str:
    return normalise_unicode("NFC", (word.lstrip("#@") or word).casefold())


def _folded_all(words: Iterable[str]) -> Words:
    return tuple(normalise_unicode("NFC", word.casefold()) for word in words)


def _occurrences(held: Sequence[str], words: Words) -> Iterator[int]:
    """Yield the starts of a sequence of words."""
    for start in range(len(held) - len(words) + 1):
        if held[start] == words[0] and tuple(held[start : start + len(words)]) == words:
            yield start


# ---------------------------------------------------------------- filters


def keep(tokens: Sequence[str], detected: Iterable[tuple[int, int]], entities: Collection[str]) -> Reject | None:
    """Return a Reject if a detector found an entity that is not in the query; otherwise None (section 3.4).

    Args:
        tokens: [n_words] of the retrieved post.
        detected: the spans that the detector found there.
        entities: those of the query, each one string; case, ``#`` and ``@`` are ignored.
    """
    asked = {tuple(map(_folded, bare_words(entity.split()))) for entity in entities}
    for start, end in detected:
        if tuple(map(_folded, bare_words(tokens[start:end]))) not in asked:
            return Reject("other_entity", " ".join(tokens[start:end]))
    return None


def support(entity: Entity, detected: Sequence[Collection[tuple[int, int, str]]]) -> float:
    """Return the share of detectors that found an entity, with its type if they predict types."""
    named = {(entity.start, entity.end, kind) for kind in (entity.type, BOUNDARY)}
    return sum(not named.isdisjoint(spans) for spans in detected) / len(detected)


# ---------------------------------------------------------------- knowledge of train


@dataclass(frozen=True)
class Known:
    """Knowledge of train: the labels of its texts, counts of its mentions and their labels, its lower-case words."""

    labels: Mapping[str, Counter[Any]]
    written: Mapping[Words, int]
    labelled: Mapping[Words, Counter[str]]
    ordinary: Collection[str]
    texts: Sequence[str]

    @classmethod
    def of(cls, posts: Sequence[Post]) -> "Known":
        """Return the knowledge of posts."""
        labels: dict[str, Counter[Any]] = defaultdict(Counter)
        labelled: dict[Words, Counter[str]] = defaultdict(Counter)
        texts: list[Sequence[str]] = []
        for post in posts:
            texts.append(list(map(_folded, post.tokens)))
            labels[text_key(post.tokens)].update(labels_of(post))
            for entity in post.entities:
                labelled[mention_key(post.tokens, entity)][entity.type] += 1
        starting: dict[str, list[Words]] = defaultdict(list)
        for words in filter(None, labelled):
            starting[words[0]].append(words)
        written: Counter[Words] = Counter()
        for text in texts:
            for i, word in enumerate(text):
                written.update(words for words in starting.get(word, ()) if tuple(text[i : i + len(words)]) == words)
        joined = [" ".join(post.tokens) for post in posts]
        return cls(labels, written, labelled, filters.ordinary_forms(posts), joined)

    @functools.cached_property
    def similarity(self) -> sentence.Similarity:
        """The cosine of TF-IDF vectors with weights from train."""
        return sentence.TfidfSimilarity(self.texts)

    def contradicts(self, post: Post) -> bool:
        """Return whether train has the text of a post with other labels."""
        known = self.labels.get(text_key(post.tokens))
        if known is None:
            return False
        found = labels_of(post)
        if post.relation is None:
            return Counter(found) != known
        pairs = {label[:2]: label[2] for label in known}
        return any(pairs.get(label[:2], label[2]) != label[2] for label in found)

    def consistency(self, words: Words, kind: str) -> float:
        """Return the share of a mention's occurrences in train that have a type; 1 if there are none."""
        n = self.written.get(words, 0)
        return self.labelled[words][kind] / n if n and words in self.labelled else 1.0


def labels_of(post: Post) -> list[Any]:
    """Return the labels of a post by text, independent of tokenisation."""
    if post.relation is None:
        return [(text_key(post.tokens[e.start : e.end]), e.type) for e in post.entities]
    head, tail = (text_key(post.tokens[slice(*span)]) for span in (post.relation.head, post.relation.tail))
    return [(head, tail, post.relation.type)]


def mention_key(tokens: Sequence[str], entity: Entity) -> Words:
    """Return the key by which mentions are compared: words casefolded, in NFC, without ``#`` and ``@``."""
    return _folded_all(bare_words(tokens[entity.start : entity.end]))


def judge(
    found: Post, detected: Sequence[set[tuple[int, int, str]]], agreement: float, supported: float
) -> Reject | None:
    """Return why the detectors reject a post, or None."""
    asked = [" ".join(found.tokens[e.start : e.end]) for e in found.entities]
    refused = [keep(found.tokens, sorted(span[:2] for span in spans), asked) for spans in detected]
    others = [reject for reject in refused if reject]
    if others and 1 - len(others) / len(detected) < agreement:
        return others[0]
    for entity in found.entities:
        if support(entity, detected) < supported:
            return Reject("doubtful_mention", " ".join(found.tokens[entity.start : entity.end]))
    return None


def score(found: Post, detected: Sequence[set[tuple[int, int, str]]], weight: Any) -> dict[str, float]:
    """Return the score of a post that is its weight, of those that its detectors give."""
    if weight == "agreement":
        asked = [" ".join(found.tokens[e.start : e.end]) for e in found.entities]
        others = sum(keep(found.tokens, sorted(s[:2] for s in spans), asked) is not None for spans in detected)
        return {"agreement": round(1 - others / len(detected), 2)}
    if weight == "support":
        return {"support": round(min(support(entity, detected) for entity in found.entities), 2)}
    return {}


@functools.lru_cache(maxsize=4)
def known_of(posts: str) -> Known:
    """Return what train says of labels, from the digest of its posts."""
    return Known.of(open_posts(posts))


def same_post(hit: Hit, post: Post) -> bool:
    """Return whether a hit has the id or the text of a post."""
    return hit.id == post.id or text_key(hit.text) == text_key(post.tokens)
