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
FEWEST = 5  # different train pictures that a collage needs: the most that one shows
POST_ID = "post_id"  # key of an original's ``info`` for its post, which the new picture must not show


@dataclass(frozen=True, slots=True)
class Refused:
    """No picture, and the reason: ``unsafe_image``, ``black_image`` or ``no_region``."""

    reason: str
    detail: str = ""


class ImageEngine(Protocol):
    """Makes a picture for each sentence; it depends only on the arguments for that sentence."""

    name: ClassVar[str]
    source: ClassVar[Source]

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
    """Raise UsageError if a collage is to fill posts without a picture: many would show the same train pictures."""
    if fill_missing and images == COLLAGE:
        raise UsageError(
            "fill_missing=true needs a model that draws: collages would show the same train pictures in many posts: "
            f"name a diffusers pipeline with {instead}"
        )
