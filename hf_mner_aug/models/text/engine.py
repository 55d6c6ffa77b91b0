"""The protocol of every engine that writes labelled texts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from hf_mner_aug.draw import Draw
from hf_mner_aug.schema import EncodedImage, Origin, Post


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """A text to be written: what a model is told, the post's first picture, and the gold post it is asked for.

    A model that was fine-tuned reads ``instruction`` and ``image`` only, one behind an endpoint the entities of
    ``post``; its words are for engines that know no language, and so is ``copy``: how many texts for the post come
    before this one.
    """

    instruction: str
    image: EncodedImage | None
    post: Post
    copy: int = 0


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A text that is not to be had, and why."""

    reason: str
    detail: str = ""


class Composed(str):
    """A labelled text made of train posts, whose ids it names; ``origins`` as those of a ``Post``."""

    __slots__ = ("made_of", "origins")
    made_of: tuple[str, ...]
    origins: Sequence[Origin] | None

    def __new__(cls, text: str, made_of: Collection[str], origins: Sequence[Origin] | None = None) -> Self:
        """Return the text with the ids, sorted."""
        composed = super().__new__(cls, text)
        composed.made_of = tuple(sorted(made_of))
        composed.origins = origins
        return composed


class TextEngine(Protocol):
    """Writes a text for each request; what it writes for one depends on nothing but that one's request and draw."""

    name: ClassVar[str]

    def generate(
        self, requests: Sequence[TextRequest], draws: Sequence[Draw], *, rank: int | None = None
    ) -> list[str | Unwritten]:
        """Return a linearised text for each request, or why there is none.

        Args:
            requests: see ``TextRequest``.
            draws: one for each request.
            rank: the number of this process among several, for the choice of a GPU.
        """
