"""Pictures without a model: regions of train pictures for a sentence's mentions, before a blurred one.

Mentions are found by those of the train split: words that are labelled at least as often as not. For each there is a
region of a train picture whose post mentions it, or else another mention of its type; a sentence without a known
mention gets regions of similar posts. Posts with similar words come first. A region is a box if train has boxes,
otherwise the part with the most edges. Posts with the sentence's own text or picture are ignored, so that a train
sentence gets the same picture as an unseen one.
"""

import functools
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import regex

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.image.composition import (
    Opened,
    backdrop,
    calm_slots,
    compose,
    cover,
    draw_slots,
    open_reduced,
)
from hf_mner_aug.models.image.engine import POST_ID, Refused
from hf_mner_aug.posts.lexicon import entity_key
from hf_mner_aug.posts.pictures import Source, image_digest
from hf_mner_aug.posts.scripts import GOES_ON, STARTS
from hf_mner_aug.posts.texts import normalise_text, text_key
from hf_mner_aug.schema import Box
from hf_mner_aug.storage.posts import StoredPosts, open_posts
from hf_mner_aug.values import Range, check_ranges

if TYPE_CHECKING:
    import PIL.Image

ALIKE = 3  # the most similar posts, among which is drawn
MOST = 4  # regions in one picture
_ONE_BY_ONE = r"[\u3040-\u30ff\u3400-\u9fff]"  # Chinese and Japanese
_WORD = regex.compile(rf"{_ONE_BY_ONE}\p{{M}}*+|[[{STARTS}]--{_ONE_BY_ONE}][[{GOES_ON}]--{_ONE_BY_ONE}]*+", regex.V1)

Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Collage:
    """Composes a picture for a sentence from the pictures of train posts.

    Args:
        posts: the digest of the train posts (``storage.posts``), which the method names among its files.
        size: default side of a picture in pixels; larger pictures are composed at this size and scaled up.
    """

    name: ClassVar[str] = "collage"
    source: ClassVar[Source] = "compositeCapture"
    restyles: ClassVar[bool] = False

    posts: str
    size: Annotated[int, Range(32)] = 512

    def __post_init__(self) -> None:
        check_ranges(self, self.name)

    def generate(
        self,
        sentences: Sequence[str],
        draws: Sequence[Draw],
        *,
        sizes: Sequence[tuple[int, int]] | None = None,
        originals: "Sequence[PIL.Image.Image | None] | None" = None,
    ) -> "list[PIL.Image.Image | Refused]":
        """Return a picture for each sentence; if there is an original, the regions go into its calmest corners.

        ``info["made_of"]`` of a picture has the ids of the train posts that it shows. The post in an original's
        ``info["post_id"]`` is not used. The reason ``no_region``: no other train post with a picture has a word of the
        sentence.

        Raises:
            NotFitted: the train posts are not on this machine.
        """
        from PIL import Image

        known = _knowledge(self.posts)
        made: list[PIL.Image.Image | Refused] = []
        for i, (sentence, draw) in enumerate(zip(sentences, draws, strict=True)):
            original = originals[i] if originals is not None else None
            size = sizes[i] if sizes is not None else original.size if original else (self.size, self.size)
            scale = min(1.0, self.size / max(size))
            smaller = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
            post_id = original.info.get(POST_ID) if original is not None else None
            collage = _collage(GroundedSentence(sentence, known, post_id), draw, smaller, original)
            if collage is None:
                made.append(Refused("no_region", "no other train post with a picture has a word of the sentence"))
            else:
                made.append(collage if scale == 1 else collage.resize(size, Image.Resampling.BICUBIC))
        return made


def _collage(
    reading: "GroundedSentence", draw: Draw, size: tuple[int, int], original: "PIL.Image.Image | None"
) -> "PIL.Image.Image | None":
    """Return the picture for a sentence, or None if train has nothing for it."""
    posts, images = reading.known.posts, draw.sub("images")
    shown: dict[Region, Opened] = {}
    for choice in reading.choices(draw.sub("regions")):
        # A picture chosen for one mention also shows the others of its post.
        if len(shown) == MOST or not shown.keys().isdisjoint(choice.named):
            continue
        rows = {region.row for region in shown}
        others = (region for region in choice.others if region.row not in rows)
        shown.update(_open_first([*choice.named, *others], posts, images, max(size)))
    if not shown:
        shown = _open_first(reading.alike(draw.sub("alike")), posts, images, max(size))
    if not shown:
        return None
    if original is not None:
        scene = cover(original, size)
        slots = calm_slots(scene, len(shown))
        behind = {}
    else:
        rows = {region.row for region in shown}
        regions = [region for region in reading.alike(draw.sub("scene")) if region.row not in rows]
        behind = _open_first(regions, posts, images, max(size) // 4) or shown
        scene = backdrop(next(iter(behind.values())).picture, size)
        slots = draw_slots(len(shown), draw.sub("slots"))
    collage = compose(scene, list(shown.values()), slots)
    collage.info["made_of"] = sorted({posts.ids[region.row] for region in [*shown, *list(behind)[:1]]})
    return collage


# ---------------------------------------------------------------- train posts


class Region(NamedTuple):
    """A part of a train post's picture: its boxes in pixels, or the best part if there are none."""

    row: int
    boxes: tuple[Box, ...]


class Label(NamedTuple):
    """A mention of a type in a train post; ``region`` is None if no picture shows it."""

    row: int
    type: str
    region: Region | None


class Choice(NamedTuple):
    """The regions that may show a mention, best first: of posts that mention it, and of other posts."""

    named: list[Region]
    others: list[Region]


@dataclass(frozen=True)
class Occurrences:
    """The places where train labels some words, and the rows that have them without a label."""

    labels: list[Label] = field(default_factory=list)
    unlabelled: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Knowledge:
    """An index of the train posts; ``weights`` are TF-IDF of words and word pairs [n_posts, n_terms]."""

    posts: StoredPosts
    rows_of_text: Mapping[str, list[int]]
    n_entities: list[int]  # of each row
    relatives: list[set[int]]  # of each row: those with a picture of its own
    mentions: Mapping[Words, Occurrences]
    longest: int
    types: Mapping[str, list[Region]]
    regions: list[Region]  # of each row with a picture: all that its boxes hold
    vectorizer: Any
    weights: Any


def words_of(text: str) -> list[str]:
    """Return the words of a text, casefolded, without URLs and punctuation."""
    found: list[str] = _WORD.findall(normalise_text(text))
    return found


def longest_matches(words: Sequence[str], known: Mapping[Words, Any], longest: int) -> list[Words]:
    """Return the known sequences in the words, from the left, the longest at each place; they do not overlap."""
    found = []
    i = 0
    while i < len(words):
        candidates = (tuple(words[i:end]) for end in range(min(i + longest, len(words)), i, -1))
        match = next((candidate for candidate in candidates if candidate in known), None)
        if match:
            found.append(match)
        i += len(match or "-")
    return found


@functools.lru_cache(maxsize=4)
def _knowledge(digest: str) -> Knowledge:
    """Return the index of the train posts stored under a digest."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    posts = open_posts(digest)
    texts: list[list[str]] = []
    entities = []
    digests: list[set[str | None]] = []
    rows_of_text, rows_of_image = defaultdict(list), defaultdict(set)
    for row, post in enumerate(posts):
        texts.append(words_of(" ".join(post.tokens)))
        entities.append([(e, tuple(words_of(" ".join(post.tokens[e.start : e.end])))) for e in post.entities])
        digests.append({image_digest(image) for image in post.images} - {None})
        rows_of_text[text_key(post.tokens)].append(row)
        for name in digests[-1]:
            rows_of_image[name].add(row)

    boxed = any(entity.boxes for found in entities for entity, _ in found)
    mentions: dict[Words, Occurrences] = defaultdict(Occurrences)
    types: dict[str, list[Region]] = defaultdict(list)
    regions = []
    for row, found in enumerate(entities):
        if digests[row]:
            regions.append(Region(row, tuple(box for entity, _ in found for box in entity.boxes)))
        for entity, words in found:
            # If train has boxes, an entity without one is not in the picture.
            region = Region(row, entity.boxes) if digests[row] and (entity.boxes or not boxed) else None
            if region:
                types[entity_key(entity)].append(region)
            if words:
                mentions[words].labels.append(Label(row, entity_key(entity), region))
    longest = max(map(len, mentions), default=0)
    for row, text in enumerate(texts):
        for match in set(longest_matches(text, mentions, longest)):
            if all(label.row != row for label in mentions[match].labels):
                mentions[match].unlabelled.append(row)

    vectorizer = TfidfVectorizer(analyzer=_terms, sublinear_tf=True)
    weights = vectorizer.fit_transform(texts) if any(texts) else None
    relatives = [set[int]().union(*(rows_of_image[name] for name in names)) for names in digests]
    return Knowledge(
        posts, rows_of_text, list(map(len, entities)), relatives, mentions, longest, types, regions, vectorizer, weights
    )


def _terms(words: Sequence[str]) -> list[str]:
    """Return the words and the pairs of neighbours."""
    return [*words, *map(" ".join, itertools.pairwise(words))]


class GroundedSentence:
    """A sentence and the train posts that match it, without the rows of its own text and picture."""

    def __init__(self, sentence: str, known: Knowledge, post_id: str | None = None) -> None:
        self.known = known
        self.words = words_of(sentence)
        own = set(known.rows_of_text.get(text_key(sentence), ()))
        if post_id in known.posts.ids:
            own.add(known.posts.ids.index(post_id))
        self.own = own.union(*(known.relatives[row] for row in own))
        self.likeness = [0.0] * len(known.posts)
        if known.weights is not None:
            # Rounded, so that the order does not depend on the last bit of a sum.
            product = known.weights @ known.vectorizer.transform([self.words]).T
            self.likeness = product.toarray()[:, 0].round(6).tolist()

    def choices(self, draw: Draw) -> Iterator[Choice]:
        """Yield the regions that may show each mention known from train."""
        for words in dict.fromkeys(longest_matches(self.words, self.known.mentions, self.known.longest)):
            mention = self.known.mentions[words]
            labels = [label for label in mention.labels if label.row not in self.own]
            if len(labels) < max(1, sum(row not in self.own for row in mention.unlabelled)):
                continue
            kind = Counter(label.type for label in labels).most_common(1)[0][0]
            named = self._best([label.region for label in labels if label.region], draw.sub("named", *words))
            others = self._best(self.known.types.get(kind, []), draw.sub("others", *words))
            yield Choice(named, others)

    def alike(self, draw: Draw) -> list[Region]:
        """Return the regions of posts that share words with the sentence."""
        return [region for region in self._best(self.known.regions, draw) if self.likeness[region.row] > 0]

    def _fit(self, region: Region) -> float:
        """Return how well a region fits: a picture without boxes may show any of its post's mentions."""
        return self.likeness[region.row] / (1 if region.boxes else max(1, self.known.n_entities[region.row]))

    def _best(self, regions: Iterable[Region], draw: Draw) -> list[Region]:
        """Return the regions of the most similar posts, the first few in random order, then some of other posts."""
        there = [region for region in regions if region.row not in self.own]
        alike = [region for region in there if self.likeness[region.row] > 0]
        alike = sorted(alike, key=lambda region: (-self._fit(region), region))[: 5 * ALIKE]
        unlike = [region for region in there if self.likeness[region.row] <= 0]
        return [*draw.shuffled(alike[:ALIKE]), *alike[ALIKE:], *draw.sample(unlike, ALIKE)]


def _open_first(regions: Iterable[Region], posts: StoredPosts, draw: Draw, side: int) -> dict[Region, Opened]:
    """Return the first region whose picture can be opened, if any."""
    for region in regions:
        images = posts[region.row].images
        try:
            return {region: open_reduced(images[0] if region.boxes else draw.choice(images), region.boxes, side)}
        except DataError:
            continue
    return {}
