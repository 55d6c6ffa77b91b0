"""Strict precision, recall and F1 of spans: a predicted entity is correct if a gold one has its words and type.

``score_tags`` reads BIO tags and equals seqeval: its default mode with ``orphans="promote"``, its strict IOB2 mode with
``orphans="drop"``. ``score_spans`` takes the spans themselves. A division by zero gives 0.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError, UnknownName
from hf_mner_aug.schema import ORPHANS, Orphans, Span, bio_to_spans

if TYPE_CHECKING:
    import numpy as np

PlainSpan = tuple[int, int, str]
GroundedSpan = tuple[int, int, str, str]  # with where the region is
Labelled = PlainSpan | GroundedSpan
Spans = Iterable[Labelled]


@dataclass(frozen=True, slots=True)
class Score:
    """The numbers of correct, predicted and gold entities (support)."""

    correct: int
    predicted: int
    support: int

    @property
    def precision(self) -> float:
        """The share of predicted entities that are correct."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """The share of gold entities that were found."""
        return self.correct / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.correct / (self.predicted + self.support) if self.correct else 0.0

    def to_dict(self) -> dict[str, float]:
        """Return the scores and counts by name."""
        names = ("precision", "recall", "f1", "support", "predicted", "correct")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Scores:
    """The score of each type, and of all entities together."""

    micro: Score
    per_type: Mapping[str, Score]

    def to_dict(self) -> dict[str, Any]:
        """Return the micro scores and counts by name, and those of each type under ``per_type``."""
        return {**self.micro.to_dict(), "per_type": {kind: score.to_dict() for kind, score in self.per_type.items()}}


def score_tags(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], *, orphans: Orphans = "promote"
) -> Scores:
    """Return the scores of predicted BIO tags ``[n_posts][n_words]`` against gold ones.

    Raises:
        DataError: the numbers of posts or of tags differ, a tag is not BIO, or there is an orphan and
            ``orphans="error"``.
        UnknownName: there is no such orphan policy.
    """
    if orphans not in ORPHANS:
        raise UnknownName("orphan policy", orphans, ORPHANS)
    check_posts(predictions, references)
    for i, (found, gold) in enumerate(zip(predictions, references, strict=True)):
        if len(found) != len(gold):
            raise DataError(
                f"sequence {i}: {len(found)} predicted tags for {len(gold)} gold tags: give one tag per word"
            )
    return score_spans(
        _read_all(predictions, "predictions", orphans),
        _read_all(references, "references", orphans),
    )


def score_spans(predictions: Sequence[Spans], references: Sequence[Spans]) -> Scores:
    """Return the scores of predicted ``(start, end, type)`` spans ``[n_posts][n_spans]`` against gold ones.

    Where spans have more than these, all of it has to be equal.

    Raises:
        DataError: the numbers of posts differ.
    """
    pairs = _pairs(predictions, references)
    correct = Counter(span[2] for found, gold in pairs for span in found & gold)
    predicted = Counter(span[2] for found, _ in pairs for span in found)
    support = Counter(span[2] for _, gold in pairs for span in gold)
    return add_up(correct, predicted, support)


def post_counts(predictions: Sequence[Spans], references: Sequence[Spans]) -> "np.ndarray":
    """Return the counts that a bootstrap over posts resamples: correct, predicted and gold spans [n_posts, 3].

    Raises:
        DataError: the numbers of posts differ.
    """
    import numpy as np

    pairs = _pairs(predictions, references)
    counts = [(len(found & gold), len(found), len(gold)) for found, gold in pairs]
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def add_up(correct: Mapping[str, int], predicted: Mapping[str, int], support: Mapping[str, int]) -> Scores:
    """Return the scores from the counts by type."""
    kinds = sorted(predicted.keys() | support.keys())
    per_type = {kind: Score(correct.get(kind, 0), predicted.get(kind, 0), support.get(kind, 0)) for kind in kinds}
    return Scores(Score(sum(correct.values()), sum(predicted.values()), sum(support.values())), per_type)


def check_posts(predictions: Sequence[Any], references: Sequence[Any]) -> None:
    """Check that every gold post has a prediction.

    Raises:
        DataError: the numbers of posts differ.
    """
    if len(predictions) != len(references):
        raise DataError(
            f"{len(predictions)} predicted posts for {len(references)} gold posts: a post without entities counts too"
        )


def _pairs(predictions: Sequence[Spans], references: Sequence[Spans]) -> list[tuple[set[Labelled], set[Labelled]]]:
    """Return the predicted and the gold spans of each post as sets."""
    check_posts(predictions, references)
    return [(set(found), set(gold)) for found, gold in zip(predictions, references, strict=True)]


def _read_all(sequences: Sequence[Sequence[str]], side: str, orphans: Orphans) -> list[list[Span]]:
    """Return the spans of each sequence of tags; an error names the sequence."""
    spans: list[list[Span]] = []
    for i, tags in enumerate(sequences):
        try:
            spans.append(bio_to_spans(tags, orphans))
        except DataError as error:
            raise DataError(f"{side}[{i}]: {error}") from error
    return spans
