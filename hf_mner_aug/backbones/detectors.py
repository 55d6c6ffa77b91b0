"""Checks of made and retrieved posts: their length, detectors of entities, capitalised words."""

import heapq
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_mner_aug.backbones import Prediction
from hf_mner_aug.backbones.packed import pack, unpack
from hf_mner_aug.backbones.settings import fit_named, parse_backbone
from hf_mner_aug.draw import Draw
from hf_mner_aug.metrics.spans import PlainSpan
from hf_mner_aug.posts.lexicon import is_link
from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.transform import Reject

MOST = 20_000  # posts that a method's backbones are trained on: more than the published sets have

# ---------------------------------------------------------------- length


def check_length(tokens: Sequence[str], least: int, most: int = 0) -> Reject | None:
    """Return a Reject ``word_count`` for a text with too few or too many words; ``most=0`` is no limit."""
    if len(tokens) < least or (most and len(tokens) > most):
        return Reject("word_count", f"{len(tokens)} words")
    return None


# ---------------------------------------------------------------- detectors


@dataclass(frozen=True)
class Sample:
    """Posts that backbones are trained on, and the number of posts that they were sampled from."""

    posts: list[Post]
    total: int

    @property
    def sizes(self) -> dict[str, list[int]]:
        """The sizes of sample and set, as a method stores them; empty if the sample is the whole set."""
        return {"sample": [len(self.posts), self.total]} if len(self.posts) < self.total else {}


def sample_posts(posts: Iterable[Post], seed: int) -> Sample:
    """Return at most ``MOST`` posts in their order, chosen by seed and ids alone; the posts are iterated once.

    A warning tells if some were left out.
    """
    total = 0

    def keyed() -> Iterable[tuple[int, int, Post]]:
        nonlocal total
        for post in posts:
            yield Draw(f"sample\0{seed}\0{post.id}".encode("utf-8", "surrogatepass")).seed(), total, post
            total += 1

    chosen = heapq.nsmallest(MOST, keyed())
    sample = Sample([post for _, _, post in sorted(chosen, key=lambda found: found[1])], total)
    for told in told_sample(sample.sizes, "backbones learn from"):
        warnings.warn(told, stacklevel=3)
    return sample


def told_sample(learned: Mapping[str, Any], what: str = "The detectors learned from") -> tuple[str, ...]:
    """Return a sentence on the size of a ``Sample`` of train; empty if it is the whole split."""
    if "sample" not in learned:
        return ()
    n_posts, total = learned["sample"]
    return (f"{what} {n_posts:,} of {total:,} posts.",)


def fit_detectors(train: Sequence[Post], spec: str, members: int, seed: int) -> dict[str, str]:
    """Return the digests of backbones fitted on train, by name: the first on all posts, each other one on a bag.

    A bag (Breiman 1996) has as many posts as train, drawn with replacement.

    Args:
        train: posts with entities.
        spec: a backbone, as ``crf:iterations=50``.
        members: the number of backbones.
        seed: of the bags and the backbones.

    Raises:
        UnknownName: there is no such backbone or setting.
        UsageError: no post has an entity.
    """
    digests = {}
    for member in range(members):
        bag = bag_of(train, Draw(f"detector\0{seed}\0{member}".encode())) if member else train
        backbone = replace(parse_backbone(spec), seed=seed + member)
        digests[f"detector-{member}"] = pack(fit_named(backbone, bag))
    return digests


def bag_of(train: Sequence[Post], draw: Draw) -> Sequence[Post]:
    """Return as many posts, drawn with replacement (Breiman 1996); all of train if none of them has an entity."""
    bag = [draw.choice(train) for _ in train]
    return bag if any(post.entities for post in bag) else train


def detector_digests(files: Mapping[str, str], members: int) -> tuple[str, ...]:
    """Return the digests of fitted detectors among a method's files."""
    return tuple(files[f"detector-{member}"] for member in range(members))


def detect(spec: str, digests: Sequence[str], texts: Sequence[Sequence[str]]) -> list[list[list[PlainSpan]]]:
    """Return the spans that each detector finds in each text, with their types ``[n_texts][n_detectors][n_spans]``."""
    return detect_in(spec, digests, [Post(str(i), list(tokens)) for i, tokens in enumerate(texts)])


def detect_in(spec: str, digests: Sequence[str], posts: Sequence[Post]) -> list[list[list[PlainSpan]]]:
    """Return the spans that each detector finds in each post, as ``detect``; posts may have pictures."""
    return spans_in(predict_in(spec, digests, posts))


def predict_in(spec: str, digests: Sequence[str], posts: Sequence[Post]) -> list[tuple[Prediction, ...]]:
    """Return the prediction of each detector for each post ``[n_posts][n_detectors]``."""
    name = spec.partition(":")[0]
    return list(zip(*(unpack(name, digest).predict(posts) for digest in digests), strict=True))


def spans_in(predictions: Sequence[Sequence[Prediction]]) -> list[list[list[PlainSpan]]]:
    """Return the spans of predictions with their types ``[n_posts][n_detectors][n_spans]``."""
    return [[prediction.plain_spans() for prediction in of_post] for of_post in predictions]


def check_labels(
    tokens: Sequence[str],
    entities: Sequence[Entity],
    detected: Sequence[Sequence[tuple[int, int, str]]],
    agreement: float = 1.0,
) -> Reject | None:
    """Return a Reject ``inconsistent`` if too few detectors find exactly a post's entities (GMDA, section 3.5).

    Args:
        tokens: [n_words].
        entities: the entities of the post.
        detected: the typed spans that each detector found.
        agreement: the share of detectors that must agree.
    """
    if share_agreeing(entities, detected) >= agreement:
        return None
    told = {(entity.start, entity.end, entity.type) for entity in entities}
    others = [set(spans) for spans in detected if set(spans) != told]
    start, end, kind = min(told ^ others[0])
    found = "found" if (start, end, kind) in others[0] else "missed"
    return Reject("inconsistent", f"{found} {' '.join(tokens[start:end])} as {kind}")


def share_agreeing(entities: Sequence[Entity], detected: Sequence[Sequence[tuple[int, int, str]]]) -> float:
    """Return the share of detectors that find exactly a post's entities."""
    told = {(entity.start, entity.end, entity.type) for entity in entities}
    return 1 - sum(set(spans) != told for spans in detected) / len(detected)


def except_sure(
    entities: Sequence[Entity], detected: Sequence[Sequence[PlainSpan]], sure: set[int]
) -> tuple[tuple[Entity, ...], list[list[PlainSpan]]]:
    """Return entities and detected spans without those that have a word whose label is certain, by its index."""
    kept = tuple(entity for entity in entities if sure.isdisjoint(range(entity.start, entity.end)))
    return kept, [[span for span in spans if sure.isdisjoint(range(*span[:2]))] for spans in detected]


# ---------------------------------------------------------------- names by their capitals


def ordinary_forms(posts: Iterable[Post], at_least: int = 2) -> set[str]:
    """Return the words that occur in lower case outside entities at least so often: capitalised, they are no names."""
    counts = Counter(post.tokens[i] for post in posts for i in post.outside() if post.tokens[i].islower())
    return {word for word, n in counts.items() if n >= at_least}


def capitalised_words(tokens: Sequence[str], inside: Collection[int], ordinary: Collection[str]) -> list[int]:
    """Return the indices of capitalised words that may be names: not ``inside``, and not known in lower case.

    Handles, hashtags, URLs, ``I`` and ``RT`` do not count.
    """
    found = []
    for i, word in enumerate(tokens):
        marked = word[:1] in ("@", "#") or (i > 0 and tokens[i - 1] in ("@", "#"))
        if i in inside or marked or is_link(word) or word in ("I", "RT"):
            continue
        if word[:1].isupper() and word.casefold() not in ordinary:
            found.append(i)
    return found
