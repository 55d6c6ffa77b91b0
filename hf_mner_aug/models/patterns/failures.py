"""A failure of a backbone on a post, which pattern engines explain and write posts for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hf_mner_aug.exceptions import Corrupt
from hf_mner_aug.metrics.span_errors import NOTHING
from hf_mner_aug.metrics.spans import PlainSpan
from hf_mner_aug.untrusted.shapes import checked


@dataclass(frozen=True, slots=True)
class Failure:
    """An entity or span that a backbone gets wrong, with its post.

    ``entities`` are the post's gold spans, with fine types if it has any; ``share`` is the share of seeds with this
    error; ``confidence`` the mean probability of the prediction; ``similarity`` the cosine of the post's text and
    picture, if known.
    """

    post: str
    tokens: tuple[str, ...]
    entities: tuple[PlainSpan, ...]
    kind: str
    gold: PlainSpan | None
    predicted: PlainSpan | None
    confidence: float = 0.0
    share: float = 1.0
    similarity: float | None = None

    @property
    def words(self) -> tuple[int, int]:
        """The span of the entity, or of the prediction if there is no entity."""
        span = self.gold or self.predicted
        assert span is not None
        return span[:2]

    @property
    def confusion(self) -> tuple[str, str]:
        """The type of the entity and the type predicted, ``O`` for none."""
        return (self.gold or (0, 0, NOTHING))[2], (self.predicted or (0, 0, NOTHING))[2]

    @property
    def id(self) -> str:
        """The failure's name: its post and words, with ``-`` if gold has no entity."""
        start, end = self.words
        return f"{self.post}:{start}-{end}{'' if self.gold else '-'}"

    @property
    def text(self) -> str:
        """The words of the failure."""
        start, end = self.words
        return " ".join(self.tokens[start:end])

    def to_dict(self) -> dict[str, Any]:
        """Return the failure as JSON-like data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Failure":
        """Return the failure of ``to_dict``."""
        failure: Failure = checked(data, cls, "a failure", error=Corrupt, halves=True)
        span = failure.gold or failure.predicted
        if span is None or not 0 <= span[0] < span[1] <= len(failure.tokens):
            raise Corrupt(f"a failure of post {failure.post}: expected the span of some of its words, found {span}")
        return failure
