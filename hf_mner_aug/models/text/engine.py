"""The protocol of every engine that writes labelled texts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from hf_mner_aug.draw import Draw
from hf_mner_aug.schema import EncodedImage, Origin, Post


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """A request for a text: the instruction, the post's first picture, and the gold post.

    A fine-tuned model reads ``instruction`` and ``image`` only, one behind an endpoint the entities of ``post``.
    Engines without a language model also use its words, and ``copy``, the number of the text among those for the post.
    A ``free`` request asks for entities of the model's own: those of ``post`` do not count.
    """

    instruction: str
    image: EncodedImage | None
    post: Post
    copy: int = 0
    free: bool = False


@dataclass(frozen=True, slots=True)
class Unwritten:
    """No text, and the reason."""

    reason: str
    detail: str = ""


class Composed(str):
    """A labelled text made of train posts, with their ids; ``origins`` as in ``Post``."""

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
    """Writes a text for each request; it depends only on that request and its draw."""

    name: ClassVar[str]

    def generate(self, requests: Sequence[TextRequest], draws: Sequence[Draw]) -> list[str | Unwritten]:
        """Return a linearised text for each request, or why there is none.

        Args:
            requests: see ``TextRequest``.
            draws: one for each request.
        """
