"""The protocol of every engine that embeds texts and pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.schema import EncodedImage

if TYPE_CHECKING:
    import numpy as np


class TooFewPairs(UsageError):
    """A split has too few pairs of text and picture, or too few words, to learn from."""

    reason = "too_few_pairs"


class PairEncoder(Protocol):
    """Encodes texts and pictures as comparable vectors: float32, of length one."""

    def encode_text(self, texts: Sequence[str]) -> "np.ndarray":
        """Return the vectors [n, dim] of texts normalised by ``normalise_text``."""

    def encode_image(self, images: Sequence[EncodedImage]) -> "np.ndarray":
        """Return the vectors [n, dim] of encoded pictures; the row of one that cannot be read is NaN."""

    def count_cut(self, texts: Sequence[str]) -> int:
        """Return how many texts exceed its length limit."""
