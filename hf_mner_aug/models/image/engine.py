"""The protocol of every engine that makes pictures, and the conditions of a collage.

An engine gets the sentence, the draw and, if the method starts from it, the original picture, but no tags, entities or
boxes: methods also remake pictures of validation and test, which must not depend on labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.posts.pictures import Source

if TYPE_CHECKING:
    import PIL.Image

COLLAGE = "collage"
STYLE = "style:"  # before the file of a network that restyles originals
FEWEST = 5  # different train pictures that a collage needs: the most that one shows
POST_ID = "post_id"  # key of an original's ``info`` for its post, which the new picture must not show


@dataclass(frozen=True, slots=True)
class Refused:
    """No picture, and the reason: ``unsafe_image``, ``black_image``, ``no_region`` or ``no_original``."""

    reason: str
    detail: str = ""


class ImageEngine(Protocol):
    """Makes a picture for each sentence; it depends only on the arguments for that sentence.

    One that ``restyles`` needs an original, and reads nothing of the sentence.
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    restyles: ClassVar[bool]

    def generate(
        self,
        sentences: Sequence[str],
        draws: Sequence[Draw],
        *,
        sizes: Sequence[tuple[int, int]] | None = None,
        originals: "Sequence[PIL.Image.Image | None] | None" = None,
    ) -> "list[PIL.Image.Image | Refused]":
        """Return an RGB picture for each sentence, or why there is none.

        Args:
            sentences: as in the posts; the engine cleans them and puts them into its prompt.
            draws: one for each sentence.
            sizes: width and height of each picture in pixels; by default the engine's own.
            originals: RGB pictures to start from, None for a sentence without one.
        """


def check_sources(images: str, pictures: int, instead: str) -> None:
    """Raise UsageError if train has too few different pictures for collages: with fewer, all of them look alike."""
    if images == COLLAGE and pictures < FEWEST:
        raise UsageError(
            f"collages are made of train's pictures: expected at least {FEWEST} different ones, found {pictures}: "
            f"give the folder that holds them (--images DIR), or {instead}"
        )


def check_fill(images: str, fill_missing: bool, instead: str) -> None:
    """Raise UsageError if an engine is to fill posts without a picture that cannot.

    Many collages would show the same train pictures, and a network of style transfer needs an original.
    """
    if fill_missing and images.startswith(STYLE):
        raise UsageError(
            "fill_missing=true needs a model that draws: style transfer has no picture to start from: "
            f"name a diffusers pipeline with {instead}"
        )
    if fill_missing and images == COLLAGE:
        raise UsageError(
            "fill_missing=true needs a model that draws: collages would show the same train pictures in many posts: "
            f"name a diffusers pipeline with {instead}"
        )


def check_from_text(images: str, method: str) -> None:
    """Raise UsageError if an engine that restyles originals is to make pictures of the text alone."""
    if images.startswith(STYLE):
        raise UsageError(
            f"{method} makes pictures of the text alone, and style transfer restyles an original: "
            "name a diffusers pipeline with image_model=, or leave it out"
        )
