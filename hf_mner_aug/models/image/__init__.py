"""Engines that make a picture for a sentence, by name: collage, diffusers, style transfer."""

from pathlib import Path
from typing import Any

from hf_mner_aug.models.device import model_licence, pinned_model, split_revision
from hf_mner_aug.models.image.engine import COLLAGE, STYLE, ImageEngine
from hf_mner_aug.storage.pinned_files import pinned_file, split_pin
from hf_mner_aug.transform import Model

CHECKED = {"stable-diffusion-v1-5/stable-diffusion-v1-5"}


def open_engine(images: str, *, posts: str, **options: Any) -> ImageEngine:
    """Return the image engine of ``collage``, ``style:FILE``, or an id (with ``@revision``) or folder of diffusers.

    Args:
        images: its name.
        posts: the digest of the train posts (``storage.posts``), for a collage.
        options: of ``Diffusers``.
    """
    if images == COLLAGE:
        from hf_mner_aug.models.image.collage import Collage

        return Collage(posts=posts)
    if images.startswith(STYLE):
        from hf_mner_aug.models.image.style import Style

        file, digest = split_pin(images.removeprefix(STYLE))
        strength = options.get("strength")
        return Style(file=file, digest=digest, **({} if strength is None else {"strength": strength}))
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
    """Return the name of an image engine with the current commit of its id, or the digest of its file.

    Raises as ``pinned_model``, and UsageError if there is no such file.
    """
    if images.startswith(STYLE):
        return STYLE + pinned_file(images.removeprefix(STYLE), f"image_model {STYLE}")
    return images if images == COLLAGE else pinned_model(images)


def engine_models(images: str, nsfw_model: str = "") -> tuple[Model, ...]:
    """Return the model of an image engine for the card; collages have none."""
    if images == COLLAGE:
        return ()
    if images.startswith(STYLE):  # it draws nothing that the original does not show
        return (Model(role="images", id=images, license=model_licence(images), checked=True),)
    name = images.partition("@")[0]
    checked = bool(nsfw_model) or has_safety_checker(name)
    return (Model(role="images", id=images, license=model_licence(name), checked=checked),)


def has_safety_checker(model: str) -> bool:
    """Return whether a model is known to have a safety checker, or a folder holds one."""
    return model in CHECKED or (Path(model) / "safety_checker").is_dir()
