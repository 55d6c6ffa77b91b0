"""MixGen: two posts as one, their texts one after the other and their pictures laid over each other.

Hao et al. 2023 (WACV workshops). The partner is drawn evenly from the train split, never the post itself nor one of the
same text. The post's words and entities come first; its picture counts ``weight``, the partner's, resized to it, the
rest: so the post's boxes stay and the partner's are scaled. Deviates: pictures are whole, the paper's are cropped; the
post stays in the set. Of several pictures the first is mixed with the first, and so on; one without a counterpart stays
as it is. Where only one post has pictures, the boxes of the other go; where neither has, all boxes stay, each in pixels
of the picture it was drawn on. A relation is the post's, still true of its head and tail; the partner's is left out.
Rejects: no_partner, unreadable_image
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.posts.boxes import jitter_boxes
from hf_mner_aug.posts.pictures import TAKEN, mix_images, open_rgb, write_picture
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.reasons import UNREADABLE_IMAGE, Reason
from hf_mner_aug.schema import EncodedImage, Entity, Post
from hf_mner_aug.storage.posts import open_posts, save_posts
from hf_mner_aug.transform import Content, Facts, Method, Reject
from hf_mner_aug.transform.weights import Weight
from hf_mner_aug.values import BelowOne, Probability, later

if TYPE_CHECKING:
    import PIL.Image

TRIES = 100
Scale = tuple[float, float]  # of widths and of heights


def draw_partner(post: Post, train: Sequence[Post], draw: Draw) -> Post | None:
    """Return a post of another id and text (see ``texts.text_key``), or None if ``TRIES`` draws gave none."""
    text = text_key(post.tokens)
    for _ in range(TRIES if train else 0):
        other = train[draw.integer(len(train))]
        if other.id != post.id and text_key(other.tokens) != text:
            return other
    return None


def mix_posts(first: Post, second: Post, weight: float) -> tuple[list[EncodedImage], Scale | None]:
    """Return the pictures of two posts, mixed pair by pair, and the scale of the second's boxes (None: no pair).

    Raises:
        DataError: a picture cannot be decoded; the message names its post.
    """
    mixed: list[EncodedImage] = []
    scale = None
    for image, other in zip(first.images, second.images, strict=False):
        below, above = _open(first, image), _open(second, other)
        scale = scale or (below.width / above.width, below.height / above.height)  # boxes are those of the first
        mixed.append(write_picture(mix_images(below, above, weight), "compositeCapture", like=image))
    return [*mixed, *first.images[len(mixed) :], *second.images[len(mixed) :]], scale


def moved(entity: Entity, words: int, scale: Scale) -> Entity:
    """Return an entity moved to the right by a number of words, its boxes scaled from the top left corner."""
    x, y = scale
    boxes = tuple((x1 * x, y1 * y, x2 * x, y2 * y) for x1, y1, x2, y2 in entity.boxes)
    return replace(entity, start=entity.start + words, end=entity.end + words, boxes=boxes)


@dataclass(frozen=True, kw_only=True)
class MixGen(Method):
    """Join each post with another of the train split.

    Args:
        weight: the share of the post's own picture in the mix (the paper's λ).
        post_weight: what `weight` is in other methods: the weight of made posts in training, a number from 0 to 10.
        jitter: the standard deviation of noise that moves the sides of boxes, as a share of the box's width or height;
            boxes stay inside the picture and overlap those before with an IoU above 0.7.
    """

    name: ClassVar[str] = "mixgen"
    rejects: ClassVar[Mapping[str, Reason]] = {
        "no_partner": Reason("train has no post of another text", "fit on a train split with several texts"),
        **UNREADABLE_IMAGE,
    }
    weighs: ClassVar[str] = "post_weight"
    reads_images: ClassVar[bool] = True
    facts: ClassVar[Facts] = Facts(
        does="joins the words of two posts and lays their pictures over each other",
        paper="Hao et al. 2023, https://arxiv.org/abs/2206.08358",
        learns="the train split's posts, with their pictures",
        images=f"mixed pair by pair and marked as composite, {TAKEN}; one without a counterpart kept, byte for byte",
        boxes="kept, the partner's scaled to the mixed picture",
        embedded="no model",
        paper_uses="no model either, but image-caption pairs",
    )

    weight: Probability = 0.5
    post_weight: Weight = later(None)
    jitter: BelowOne = later(0.0)

    @property
    def content(self) -> Content:
        """The partner's words come second."""
        return Content(joined=True)

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that users of the rows must know."""
        mixed = "A mixed picture shows two at once, each fainter: what looks for objects or faces may find none."
        if self.artifact is None or not self._codec().boxed:
            return (mixed,)
        boxes = (
            "Where a made post has no picture, boxes are in pixels of the pictures that they were drawn on: the source "
            "post's, or that of the post which provenance names as post_id."
        )
        return mixed, boxes

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the digest of the train posts, stored with their pictures."""
        return {"files": {"posts": save_posts(train)}}

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return each post joined with its partner."""
        train = open_posts(self.learned["files"]["posts"])
        return [
            jitter_boxes(self._join(post, draw_partner(post, train, draw)), self.jitter, draw)
            for post, draw in zip(posts, draws, strict=True)
        ]

    def _join(self, post: Post, partner: Post | None) -> Post | Reject:
        if partner is None:
            return Reject("no_partner", f"none of {TRIES} posts drawn from train has another text")
        try:
            images, scale = mix_posts(post, partner, self.weight)
        except DataError as error:
            return Reject("unreadable_image", str(error))
        own, others = post.entities, partner.entities
        if post.images and not partner.images:
            others = _without_boxes(others)
        elif partner.images and not post.images:
            own = _without_boxes(own)
        entities = [*own, *(moved(entity, len(post.tokens), scale or (1, 1)) for entity in others)]
        details: dict[str, Any] = {"post_id": partner.id}
        if scale:
            details |= {"lambda": self.weight, "synthetic": True}
        tokens = [*post.tokens, *partner.tokens]
        origins = [*range(len(post.tokens)), *((partner.id, i) for i in range(len(partner.tokens)))]
        return Post(post.id, tokens, tuple(entities), tuple(images), post.relation, details, origins)


def _without_boxes(entities: Iterable[Entity]) -> tuple[Entity, ...]:
    return tuple(replace(entity, boxes=()) for entity in entities)


def _open(post: Post, image: EncodedImage) -> "PIL.Image.Image":
    try:
        return open_rgb(image)
    except DataError as error:
        raise DataError(f"post {post.id}: {error}") from error
