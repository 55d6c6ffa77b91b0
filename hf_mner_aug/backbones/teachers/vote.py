"""The labels of several members as one: spans that at least half of them find, with the mean of their confidences."""

from collections.abc import Sequence
from typing import NamedTuple

from hf_mner_aug.backbones import ScoredSpan
from hf_mner_aug.backbones.teachers.member import Opinion
from hf_mner_aug.schema import Span

MAJORITY = 0.5  # the least share of members that must find a span


class Labels(NamedTuple):
    """A teacher's labels of a text.

    Args:
        spans: sorted, without overlap; a confidence is the mean of the members' (``confidence``).
        agreement: for each span the share of members that find it with its type.
        outside: the confidence and the agreement that the text has no entity.
        teacher: the names of its members.
    """

    spans: tuple[ScoredSpan, ...]
    agreement: tuple[float, ...]
    outside: tuple[float, float] = (1.0, 1.0)
    teacher: str = ""


def vote(opinions: Sequence[Opinion], teacher: str) -> Labels:
    """Return the labels of a text by its members' opinions; of spans that overlap the surest counts."""
    found = [{Span(*span[:3]) for span in opinion.spans} for opinion in opinions]
    shares = {span: sum(span in spans for spans in found) / len(found) for spans in found for span in spans}
    scored = {
        span: sum(confidence(opinion, span) for opinion in opinions) / len(opinions)
        for span, share in shares.items()
        if share >= MAJORITY
    }
    kept: list[Span] = []
    for span in sorted(scored, key=lambda span: (-shares[span], -scored[span], span)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    kept.sort()
    outside = sum(opinion.outside for opinion in opinions) / len(opinions)
    return Labels(
        tuple(ScoredSpan(*span, scored[span]) for span in kept),
        tuple(shares[span] for span in kept),
        (outside, sum(not spans for spans in found) / len(found)),
        teacher,
    )


def confidence(opinion: Opinion, span: Span) -> float:
    """Return a member's confidence in a span: the least probability of its words' tags; 0 if it does not find it."""
    return next((scored.confidence for scored in opinion.spans if scored[:3] == span), 0.0)
