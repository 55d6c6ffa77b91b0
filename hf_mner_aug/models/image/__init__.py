"""Engines that make a picture for a sentence, by name: collage, diffusers."""

from pathlib import Path
from typing import Any

from hf_mner_aug.models.device import model_licence, pinned_model, split_revision
from hf_mner_aug.models.image.engine import COLLAGE, ImageEngine
from hf_mner_aug.transform import Model

CHECKED = {"stable-diffusion-v1-5/stable-diffusion-v1-5"}


def open_engine(images: str, *, posts: str, **options: Any) -> ImageEngine:
    """Return the image engine of ``collage``, or of an id (with ``@revision``) or folder of a diffusers pipeline.

    Args:
        images: its name.
        posts: the digest of the train posts (``storage.posts``), for a collage.
        options: of ``Diffusers``.
    """
    if images == COLLAGE:
        from hf_mner_aug.models.image.collage import Collage

        return Collage(posts=posts)
    from hf_mner_aug.models.image.diffusers import Diffusers

    model, revision = split_revision(images)
    return Diffusers(model=model, revision=revision, **options)


def engine_of(method: Any, **options: Any) -> ImageEngine:
    """Return the engine of a fitted method's parameters ``image_model``, ``steps``, ``guidance`` and ``nsfw_model``."""
    return open_engine(
        method.image_model,
        posts=method.learned["files"]["posts"],
        steps=method.steps,
        guidance=method.guidance,
        nsfw_model=method.nsfw_model or None,
        **options,
    )


def pinned_engine(images: str) -> str:
    """Return the name of an image engine with the current commit of its id; raises as ``pinned_model``."""
    return images if images == COLLAGE else pinned_model(images)


def engine_models(images: str, nsfw_model: str = "") -> tuple[Model, ...]:
    """Return the model of an image engine for the card; collages have none."""
    if images == COLLAGE:
        return ()
    name = images.partition("@")[0]
    checked = bool(nsfw_model) or has_safety_checker(name)
    return (Model(role="images", id=images, license=model_licence(name), checked=checked),)


def has_safety_checker(model: str) -> bool:
    """Return whether a model is known to have a safety checker, or a folder holds one."""
    return model in CHECKED or (Path(model) / "safety_checker").is_dir()
