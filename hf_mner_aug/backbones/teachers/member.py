"""A member of a teacher, and its opinion of a text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hf_mner_aug.backbones import ScoredSpan
from hf_mner_aug.schema import Post
from hf_mner_aug.transform import Reject
from hf_mner_aug.untrusted.hosts import Host

if TYPE_CHECKING:
    import numpy as np


class Opinion(NamedTuple):
    """A member's labels of a text.

    Args:
        spans: its entities.
        outside: how sure it is of the words outside them: the least probability of one.
        tags: the BIO tags whose probabilities it gives; empty if it gives none.
        probabilities: of each word's tags [n_words, n_tags].
    """

    spans: tuple[ScoredSpan, ...]
    outside: float = 1.0
    tags: tuple[str, ...] = ()
    probabilities: "np.ndarray | None" = None


class Member(Protocol):
    """One of a teacher's models, as its spec describes it; ``fit`` stores what it learns."""

    @property
    def name(self) -> str:
        """Its name in provenance and on the card."""
        ...

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The hosts that texts are sent to, by the parameter that names them; none for a backbone."""
        ...

    def fit(self, train: Sequence[Post], validation: Sequence[Post], seed: int) -> str:
        """Return the digest of an artifact with what it learns from train; validation only selects."""
        ...

    def label(
        self, digest: str, texts: Sequence[Sequence[str]], *, types: Sequence[str], run: str
    ) -> list[Opinion | Reject]:
        """Return its opinion of each text [n_words], or why it has none.

        Args:
            digest: the result of ``fit``.
            texts: lists of words.
            types: the entity types of the set.
            run: the name under which calls of an endpoint are counted.
        """
        ...
