"""The filter of section 3.5: backbones fitted on train must find exactly the entities of a made post.

Words and types are compared, fine types with the others. A backbone that reads pictures learns from those of train and
is shown the made ones, as the paper's base models are. Boxes are compared if asked for, with a backbone that grounds
entities (``h_index``, ``tiger``): an entity with the words of one of the gold post's has its box, or none, and must be
found there; what a new entity shows is not known. Names of a user's list are not asked about.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.metrics.grounding import same_region
from hf_mner_aug.metrics.spans import PlainSpan
from hf_mner_aug.posts.lexicon import entity_key
from hf_mner_aug.posts.listed_mentions import LISTED, listed_words
from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.transform import Reject


def reads_pictures(spec: str) -> bool:
    """Return whether a backbone reads pictures with its settings."""
    return parse_backbone(spec).reads_images


def grounds(spec: str) -> bool:
    """Return whether a backbone gives entities boxes with its settings."""
    backbone = parse_backbone(spec)
    return backbone.reads_images and getattr(backbone, "grounds", False)


def as_learned(posts: Iterable[Post], *, pictures: bool) -> Iterable[Post]:
    """Yield posts as backbones learn from them: fine types are part of the types, boxes and perhaps pictures left."""
    return (replace(post, entities=_keyed(post), images=post.images if pictures else ()) for post in posts)


def checked(
    spec: str,
    digests: Sequence[str],
    posts: Mapping[int, Post],
    agreement: float,
    *,
    scored: bool,
    pictures: bool,
    golds: Mapping[int, Post] = MappingProxyType({}),
) -> dict[int, Post | Reject]:
    """Return made posts, or a Reject ``inconsistent`` where too few backbones find exactly their entities.

    Args:
        spec: the backbones' spec.
        digests: of the fitted backbones.
        posts: the posts, by index.
        agreement: the share of the backbones that must agree.
        scored: note the share that does in the details of a post.
        pictures: show the posts' pictures to the backbones.
        golds: the posts that these are made of, by index, if boxes are to be compared.
    """
    asked = [Post(str(i), post.tokens, images=post.images if pictures else ()) for i, post in posts.items()]
    predictions = filters.predict_in(spec, digests, asked) if golds else None
    spans_of = filters.spans_in(predictions) if predictions else filters.detect_in(spec, digests, asked)
    made: dict[int, Post | Reject] = {}
    for n, ((i, post), found) in enumerate(zip(posts.items(), spans_of, strict=True)):
        spans = [(entity.start, entity.end) for entity in post.entities]
        sure = listed_words(post.tokens, spans, post.details.get(LISTED, ()))
        entities, detected = filters.except_sure(_keyed(post), found, sure)
        refused, share = filters.check_labels(post.tokens, entities, detected, agreement), 0.0
        if not refused:
            others = [find_elsewhere(one.entities(), post, golds[i]) for one in predictions[n]] if predictions else []
            share = share_in_place(entities, detected, others)
            if share < agreement:
                other = next(filter(None, others))
                refused = Reject("inconsistent", f"found {' '.join(post.tokens[other.start : other.end])} elsewhere")
        made[i] = refused or (_scored(post, share) if scored else post)
    return made


def share_in_place(
    entities: Sequence[Entity], detected: Sequence[Sequence[PlainSpan]], elsewhere: Sequence[Entity | None]
) -> float:
    """Return the share of backbones that find exactly a post's entities, and none of them elsewhere in the picture.

    Args:
        entities: those of the post.
        detected: the typed spans that each backbone found.
        elsewhere: an entity that it found in another region; empty if regions are not compared.
    """
    disagreeing = sum(
        filters.share_agreeing(entities, [spans]) < 1 or other is not None
        for spans, other in itertools.zip_longest(detected, elsewhere)
    )
    return 1 - disagreeing / len(detected)


def find_elsewhere(found: Iterable[Entity], post: Post, gold: Post) -> Entity | None:
    """Return the first entity of a made post that a backbone finds in another region than it has, or None.

    Compared are entities with the words of one of the gold post's, which got its boxes or its being in no region, where
    both posts have a picture. Regions are the same as in the score (``metrics.grounding.same_region``).
    """
    if not (post.images and gold.images):
        return None
    known = {tuple(gold.tokens[entity.start : entity.end]) for entity in gold.entities}
    boxes = {(entity.start, entity.end): entity.boxes for entity in found}
    for entity in post.entities:
        place = entity.start, entity.end
        compared = tuple(post.tokens[entity.start : entity.end]) in known and place in boxes
        if compared and not same_region(boxes[place], entity.boxes):
            return entity
    return None


def _keyed(post: Post) -> tuple[Entity, ...]:
    return tuple(replace(e, type=entity_key(e), fine=None) if e.fine else e for e in post.entities)


def _scored(post: Post, share: float) -> Post:
    return replace(post, details={**post.details, "agreement": round(share, 2)})
