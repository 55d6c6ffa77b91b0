"""The filter of section 3.5: backbones fitted on train must find exactly the entities of a made post.

A backbone that reads pictures learns from those of train and is shown the made ones, as the paper's base models are;
fine types are learned and compared with the others. Names of a user's list are not asked about.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.metrics.spans import PlainSpan
from hf_mner_aug.posts.lexicon import entity_key
from hf_mner_aug.posts.listed_mentions import LISTED, listed_words
from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.transform import Reject


def reads_pictures(spec: str) -> bool:
    """Return whether a backbone reads pictures with its settings."""
    return parse_backbone(spec).reads_images


def as_learned(posts: Iterable[Post], *, pictures: bool) -> Iterable[Post]:
    """Yield posts as backbones learn from them: fine types are part of the types, boxes and perhaps pictures left."""
    return (replace(post, entities=_keyed(post), images=post.images if pictures else ()) for post in posts)


def checked(
    spec: str, digests: Sequence[str], posts: Mapping[int, Post], agreement: float, *, scored: bool, pictures: bool
) -> dict[int, Post | Reject]:
    """Return made posts, or a Reject ``inconsistent`` where too few backbones find exactly their entities.

    Args:
        spec: the backbones' spec.
        digests: of the fitted backbones.
        posts: the posts, by index.
        agreement: the share of the backbones that must agree.
        scored: note the share that does in the details of a post.
        pictures: show the posts' pictures to the backbones.
    """
    asked = [Post(str(i), post.tokens, images=post.images if pictures else ()) for i, post in posts.items()]
    made: dict[int, Post | Reject] = {}
    for (i, post), found in zip(posts.items(), filters.detect_in(spec, digests, asked), strict=True):
        spans = [(entity.start, entity.end) for entity in post.entities]
        sure = listed_words(post.tokens, spans, post.details.get(LISTED, ()))
        entities, detected = filters.except_sure(_keyed(post), found, sure)
        refused = filters.check_labels(post.tokens, entities, detected, agreement)
        made[i] = refused or (_scored(post, entities, detected) if scored else post)
    return made


def _keyed(post: Post) -> tuple[Entity, ...]:
    return tuple(replace(e, type=entity_key(e), fine=None) if e.fine else e for e in post.entities)


def _scored(post: Post, entities: Sequence[Entity], detected: Sequence[Sequence[PlainSpan]]) -> Post:
    share = round(filters.share_agreeing(entities, detected), 2)
    return replace(post, details={**post.details, "agreement": share})
