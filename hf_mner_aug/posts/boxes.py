"""Boxes of entities in the posts that are made of other posts."""

import math
from collections import defaultdict
from dataclasses import replace
from typing import TypeVar

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.posts.pictures import open_image
from hf_mner_aug.schema import Box, Post

T = TypeVar("T")

LEAST_IOU = 0.7  # of a jittered box with the one it is made of
TRIES = 20  # halvings of the noise, before a box stays as it is


def jitter_boxes(made: T, share: float, draw: Draw) -> T | Post:
    """Return a post whose boxes are moved by Gaussian noise, inside its first picture; without a picture they stay.

    Args:
        made: a post with boxes in pixels of its first picture; what a method makes in place of one is returned.
        share: the standard deviation of each side's move, as a share of the box's width or height; 0 moves nothing.
        draw: of the post; each box has a stream of its own.
    """
    if not share or not isinstance(made, Post) or not made.images or not any(entity.boxes for entity in made.entities):
        return made
    post, draw = made, draw.sub("jitter")
    try:
        size = open_image(post.images[0]).size
    except DataError:  # then nothing says where the picture ends
        return post
    entities = []
    for i, entity in enumerate(post.entities):
        boxes = tuple(jitter_box(box, size, share, draw.sub(i, j)) for j, box in enumerate(entity.boxes))
        entities.append(replace(entity, boxes=boxes))
    return replace(post, entities=tuple(entities))


def jitter_box(box: Box, size: tuple[int, int], share: float, draw: Draw) -> Box:
    """Return a box (x1, y1, x2, y2) with its sides moved by noise that is halved until enough of the box is shared.

    It is then inside the picture, and overlaps the original with an IoU of more than ``LEAST_IOU``. A box that is not
    inside the picture, or has no area, stays as it is.

    Args:
        box: in pixels.
        size: width and height of the picture.
        share: the standard deviation of each side's move, as a share of the box's width or height.
        draw: of the noise.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    limits = (size[0], size[1], size[0], size[1])
    if min(width, height) <= 0 or any(not 0 <= side <= limit for side, limit in zip(box, limits, strict=True)):
        return box
    noise = [gaussian(draw) * share * length for length in (width, height, width, height)]
    for _ in range(TRIES):
        moved = [min(max(side + by, 0.0), float(limit)) for side, by, limit in zip(box, noise, limits, strict=True)]
        if iou((moved[0], moved[1], moved[2], moved[3]), box) > LEAST_IOU:
            return moved[0], moved[1], moved[2], moved[3]
        noise = [by / 2 for by in noise]
    return box


def gaussian(draw: Draw) -> float:
    """Return a number of the standard normal distribution (Box & Muller 1958)."""
    first, second = draw.uniforms(2)
    return math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)


def iou(box: Box, other: Box) -> float:
    """Return the intersection over union of two boxes (x1, y1, x2, y2); 0 if they share no area."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(box) + _area(other) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def carry_boxes(post: Post, gold: Post, scale: tuple[float, float] | None = (1.0, 1.0)) -> Post:
    """Return a made post with the gold post's boxes, each on the entity of the same words (GMDA, section 3.4).

    If the same words occur twice, the first mention gets the first one's boxes, and so on; other entities have none.

    Args:
        post: made of ``gold``.
        gold: with boxes in pixels of its picture.
        scale: width and height of the made post's picture relative to the gold post's; None if it shows something
            else: then no entity has boxes.
    """
    waiting: dict[tuple[str, ...], list[tuple[Box, ...]]] = defaultdict(list)
    for entity in gold.entities:
        waiting[tuple(gold.tokens[entity.start : entity.end])].append(entity.boxes)
    entities = []
    for entity in post.entities:
        found = waiting[tuple(post.tokens[entity.start : entity.end])]
        boxes = found.pop(0) if len(found) > 1 else found[0] if found else ()
        x, y = scale or (0, 0)
        scaled = tuple((x1 * x, y1 * y, x2 * x, y2 * y) for x1, y1, x2, y2 in boxes) if scale else ()
        entities.append(replace(entity, boxes=scaled))
    return replace(post, entities=tuple(entities))


def without_stale_boxes(before: Post, after: Post) -> Post:
    """Return the post without the boxes of entities that no longer have the words the boxes were drawn for."""
    entities = []
    for old, new in zip(before.entities, after.entities, strict=True):
        same = sorted(before.tokens[old.start : old.end]) == sorted(after.tokens[new.start : new.end])
        entities.append(new if same else replace(new, boxes=()))
    return replace(after, entities=tuple(entities))
