"""Boxes of entities in the posts that are made of other posts."""

from collections import defaultdict
from dataclasses import replace

from hf_mner_aug.schema import Box, Post


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
