"""A tiny vision tower trained on a train split's pictures, for machines without pretrained weights.

Trained together with a text encoder, a tower without pretrained weights hardly learns: the encoder memorises the words
of train first. Trained on pictures alone before that, it replaces the ImageNet weights of the papers.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_mner_aug.backbones import fitting, splits
from hf_mner_aug.backbones.bert_resnet_crf import BertResNetCRF
from hf_mner_aug.backbones.encoder import TINY
from hf_mner_aug.backbones.training import Check, Training
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import quiet
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.schema import Entity, Post

LESSONS = Training(epochs=30, batch_size=32, learning_rate=1e-3, head_learning_rate=3e-3)


def teach_tower(
    folder: str | Path,
    train: Any,
    validation: Any = None,
    *,
    image_size: int = 64,
    training: Training = LESSONS,
    seed: int = 0,
) -> tuple[Check, ...]:
    """Train a tiny tower to predict the type of a post's entities from its pictures alone, and save it.

    A backbone loads it with ``tower=FOLDER`` and the same ``image_size`` (pixels). Splits are datasets or lists of
    posts; posts without a picture, or with entities of several types, are not used. The state with the best span F1
    on validation is kept (without validation, the last); the scores are returned.

    Raises:
        MissingExtra: torch or transformers is not installed.
        UsageError: no post of train has a picture and entities of one type; a split is empty or has other columns, or
            there is no such GPU.
    """
    data = splits.entity_splits(train, validation, images=True)
    lessons = wordless(data.train)
    if not lessons:
        raise UsageError(f"train: none of its {len(data.train)} posts has a picture and entities of one type")
    backbone = BertResNetCRF(
        encoder=TINY,
        vision=Vision(tower=TINY, freeze_vision=False, image_size=image_size),
        training=training,
        seed=seed,
    )
    fitted = fitting.fitted_of(backbone.fit(lessons, wordless(data.validation) or None))
    with quiet():
        fitted.net.tower.body.save_pretrained(folder)
    return fitted.history


def wordless(posts: Sequence[Post]) -> list[Post]:
    """Return the posts that have pictures and entities of one type, each as one unknown word of that type."""
    one_type = [post for post in posts if post.images and len({entity.type for entity in post.entities}) == 1]
    return [replace(post, tokens=["?"], entities=(Entity(0, 1, post.entities[0].type),)) for post in one_type]
