"""Engines that make a picture for a sentence, by name: collage, diffusers, style transfer."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models import device
from hf_mner_aug.models.device import named_model, pinned_model, pinned_name, split_model
from hf_mner_aug.models.image.engine import COLLAGE, STYLE, ImageEngine
from hf_mner_aug.storage.pinned_files import checked_file, pinned_file, pinned_path, split_pin
from hf_mner_aug.values import ByContent, Computing, Named

CHECKED = {"stable-diffusion-v1-5/stable-diffusion-v1-5"}


def named_engine(images: str, where: str) -> str:
    """Return an image engine's name with the content of its file or folder instead of the path; raises UsageError."""
    if images.startswith(STYLE):
        return STYLE + pinned_path(images.removeprefix(STYLE), where)
    return pinned_name(images, where)


def named_models(images: str) -> tuple[Named, ...]:
    """Return the model of an image engine; collages have none, and a style draws nothing that the original lacks."""
    checked = images.startswith(STYLE) or has_safety_checker(images)
    return tuple(named._replace(checked=checked) for named in named_model(split_variant(images)[0]))


def split_variant(images: str) -> tuple[str, str | None]:
    """Return the model and the variant of an engine, as ``device.split_variant``; a style has none."""
    return (images, None) if images.startswith(STYLE) else device.split_variant(images)


def computing(images: str) -> Computing | None:
    """Return where an image engine computes: only diffusers take torch."""
    return None if images == COLLAGE or images.startswith(STYLE) else Computing(dtype="auto")


ImageEngineName = Annotated[  # a parameter that ``open_engine`` takes
    str, ByContent(named_engine, lambda images: pinned_engine(images), named_models, computing, split_variant)
]


def open_engine(images: str, *, posts: str, **options: Any) -> ImageEngine:
    """Return the image engine of ``collage``, ``style:FILE``, or an id or folder of diffusers.

    The id may have ``@REVISION``, and it or the folder ``#VARIANT`` of its files.

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

        name = images.removeprefix(STYLE)
        file, digest = checked_file(name, f"image_model {STYLE}"), split_pin(name)[1]
        strength = options.get("strength")
        return Style(file=file, digest=digest, **({} if strength is None else {"strength": strength}))
    from hf_mner_aug.models.image.diffusers import Diffusers

    model, revision, variant = split_model(images)
    return Diffusers(model=model, revision=revision, variant=variant, **options)


def engine_of(method: Any, **options: Any) -> ImageEngine:
    """Return the engine of a fitted method's parameters ``image_model``, ``steps``, ``guidance`` and ``nsfw_model``."""
    return open_engine(
        method.image_model,
        posts=method.learned["files"]["posts"],
        steps=method.steps,
        guidance=method.guidance,
        nsfw_model=checked_file(method.nsfw_model, "nsfw_model ") or None,
        **options,
    )


def pinned_engine(images: str) -> str:
    """Return the name of an image engine with the current commit of its id, or the digest of its file or folder.

    Raises as ``pinned_model``, and UsageError if there is no such file.
    """
    if images.startswith(STYLE):
        return STYLE + pinned_file(images.removeprefix(STYLE), f"image_model {STYLE}")
    if images == COLLAGE:
        return images
    return pinned_model(named_engine(images, "image_model "))


def has_safety_checker(model: str) -> bool:
    """Return whether a model, named as ``open_engine`` takes it, has a safety checker: a known id, or a folder here."""
    model, _ = split_variant(model)
    if split_pin(model)[1]:
        with contextlib.suppress(UsageError):  # the folder is on another machine
            return (Path(checked_file(model, "")) / "safety_checker").is_dir()
        return False
    return model.partition("@")[0] in CHECKED or (Path(model) / "safety_checker").is_dir()
