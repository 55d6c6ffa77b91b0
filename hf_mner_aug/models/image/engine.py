"""What every image engine is, and what a collage needs.

An engine is told the sentence, the draw and, where a method starts from it, the original picture: no tags, no entities,
no boxes. Methods remake pictures of validation and test too, so anything else would let labels into them.
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
FEWEST = 5  # different train pictures that a collage needs: so many it may show, of other posts
POST_ID = "post_id"  # under which an original's ``info`` names its post, which then is no source of the new picture


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture that is not to be had, and why: ``unsafe_image``, ``black_image`` or ``no_region``."""

    reason: str
    detail: str = ""


class ImageEngine(Protocol):
    """Makes a picture for each sentence; what it makes for one depends on nothing but that one's arguments."""

    name: ClassVar[str]
    source: ClassVar[Source]

    def generate(
        self,
        sentences: Sequence[str],
        draws: Sequence[Draw],
        *,
        sizes: Sequence[tuple[int, int]] | None = None,
        originals: "Sequence[PIL.Image.Image | None] | None" = None,
        rank: int | None = None,
    ) -> "list[PIL.Image.Image | Refused]":
        """Return an RGB picture for each sentence, or why there is none.

        Args:
            sentences: as they stand in the posts: the engine strips them and puts them into its prompt.
            draws: one for each sentence.
            sizes: width and height of each picture in pixels; without them the engine's own.
            originals: RGB pictures to start from, None where there is none.
            rank: the number of this process among several, for the choice of a GPU.
        """


def check_sources(images: str, pictures: int, instead: str) -> None:
    """See that a collage has train pictures enough: with fewer, all that it makes looks alike.

    Args:
        images: the name of the engine.
        pictures: how many different pictures train has.
        instead: what to do without a collage, for the message.

    Raises:
        UsageError: the engine is ``collage`` and there are fewer than ``FEWEST``.
    """
    if images == COLLAGE and pictures < FEWEST:
        raise UsageError(
            f"collages are made of train's pictures: expected at least {FEWEST} different ones, found {pictures}: "
            f"give the folder that holds them (--images DIR), or {instead}"
        )


def check_fill(images: str, fill_missing: bool, instead: str) -> None:
    """Raise UsageError where a collage is to fill posts without a picture: many would show the same train pictures."""
    if fill_missing and images == COLLAGE:
        raise UsageError(
            "fill_missing=true needs a model that draws: a collage would put the same train pictures into many posts: "
            f"name a diffusers pipeline with {instead}"
        )
