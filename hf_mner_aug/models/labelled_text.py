"""Labelled texts for posts: what every text engine of GMDA is.

A text stands for a post: its words, and before each word of an entity its tag, as ``methods.gmda.linearize`` writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from hf_mner_aug.draw import Draw
from hf_mner_aug.schema import EncodedImage, Post


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """A text to be written: what a model is told, the post's first picture, and the gold post it is asked for.

    A model reads ``instruction`` and ``image`` only; ``post`` is for engines that know no language.
    """

    instruction: str
    image: EncodedImage | None
    post: Post


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A text that is not to be had, and why."""

    reason: str
    detail: str = ""


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

    def models(self) -> dict[str, str]:
        """Return the models that write, each with its revision, for the recipe."""
