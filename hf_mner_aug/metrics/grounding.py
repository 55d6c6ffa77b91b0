"""Precision, recall and F1 of grounded entities (GMNER), and of the two subtasks.

Yu et al. 2023, Grounded Multimodal Named Entity Recognition on Social Media. An entity is correct if words, type and
region are: its box overlaps one of the gold boxes with an IoU above 0.5, or neither entity has a box. MNER ignores the
region, EEG (entity extraction and grounding) the type.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.metrics.spans import Score, Scores, add_up, check_posts
from hf_mner_aug.posts.boxes import iou as iou
from hf_mner_aug.schema import Box, Entity

IOU = 0.5


@dataclass(frozen=True, slots=True)
class GroundedScores:
    """The scores of words, type and region (gmner), of words and type (mner), of words and region (eeg)."""

    gmner: Scores
    mner: Scores
    eeg: Score

    def to_dict(self) -> dict[str, Any]:
        """Return the GMNER scores by name, and the others under ``mner`` and ``eeg``."""
        return {**self.gmner.to_dict(), "mner": self.mner.to_dict(), "eeg": self.eeg.to_dict()}


def score_grounded(predictions: Sequence[Iterable[Entity]], references: Sequence[Iterable[Entity]]) -> GroundedScores:
    """Return the scores of predicted entities ``[n_posts][n_entities]``, each with one box or none, against gold ones.

    Raises:
        DataError: the numbers of posts differ, a box is not four finite numbers, or a predicted entity has several.
    """
    check_posts(predictions, references)
    found, gold = _checked(predictions, "predictions"), _checked(references, "references")
    for i, post in enumerate(found):
        for entity in post:
            if len(entity.boxes) > 1:
                where = f"predictions[{i}]: the entity [{entity.start}, {entity.end}) {entity.type}"
                raise DataError(f"{where} has {len(entity.boxes)} boxes: give the best one, or none")
    return GroundedScores(
        gmner=_score(found, gold, lambda e: Entity(e.start, e.end, e.type, boxes=e.boxes)),
        mner=_score(found, gold, lambda e: Entity(e.start, e.end, e.type)),
        eeg=_score(found, gold, lambda e: Entity(e.start, e.end, "", boxes=e.boxes)).micro,
    )


def same_region(predicted: Sequence[Box], gold: Sequence[Box]) -> bool:
    """Return whether a predicted box overlaps a gold one with an IoU above 0.5, or both sides have none."""
    if not predicted or not gold:
        return not predicted and not gold
    return max(iou(predicted[0], box) for box in gold) > IOU


def check_boxes(entity: Entity, where: str) -> None:
    """Check that each box of an entity is four finite numbers; ``where`` begins the message.

    Raises:
        DataError: it is not.
    """
    for box in entity.boxes:
        if len(box) != 4 or not all(math.isfinite(value) for value in box):
            told = f"{where}: the entity [{entity.start}, {entity.end}) {entity.type}"
            raise DataError(f"{told} has the box {box}: expected four finite numbers x1, y1, x2, y2")


def read_entities(posts: Sequence[Sequence[Mapping[str, Any]]], side: str) -> list[list[Entity]]:
    """Return the entities of rows of the column ``entities``: start, end, type, boxes (a list, or None).

    Raises:
        DataError: an entity lacks its start, end or type; the message begins with ``side``, the name of the posts.
    """
    entities: list[list[Entity]] = []
    for i, post in enumerate(posts):
        for row in post:
            if None in (row["start"], row["end"], row["type"]):
                raise DataError(f"{side}[{i}]: expected an entity with start, end and type, found {dict(row)}")
        boxes = [tuple(tuple(box) for box in row["boxes"] or ()) for row in post]
        entities.append(
            [Entity(row["start"], row["end"], row["type"], boxes=b) for row, b in zip(post, boxes, strict=True)]
        )
    return entities


def _score(
    predictions: Sequence[Sequence[Entity]], references: Sequence[Sequence[Entity]], view: Callable[[Entity], Entity]
) -> Scores:
    """Return the scores of entities reduced by ``view``; equal ones of a post count once, as in a set."""
    correct: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    support: Counter[str] = Counter()
    for found, gold in zip(predictions, references, strict=True):
        left = list(dict.fromkeys(view(entity) for entity in gold))
        support.update(entity.type for entity in left)
        for entity in dict.fromkeys(view(entity) for entity in found):
            predicted[entity.type] += 1
            match = next((other for other in left if _same(entity, other)), None)
            if match is not None:
                # Each gold entity matches once.
                left.remove(match)
                correct[entity.type] += 1
    return add_up(correct, predicted, support)


def _same(predicted: Entity, gold: Entity) -> bool:
    return (predicted.start, predicted.end, predicted.type) == (gold.start, gold.end, gold.type) and same_region(
        predicted.boxes, gold.boxes
    )


def _checked(posts: Sequence[Iterable[Entity]], side: str) -> list[list[Entity]]:
    """Return the posts, with each box checked to be four finite numbers."""
    checked = [list(post) for post in posts]
    for i, post in enumerate(checked):
        for entity in post:
            check_boxes(entity, f"{side}[{i}]")
    return checked
