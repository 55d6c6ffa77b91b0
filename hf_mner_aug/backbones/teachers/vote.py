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
    """Return a member's confidence in a span, whether it finds the span or not.

    It is the least of the probabilities that the span begins at its first word, that each further word goes on, and
    that the word after it does not. A member that gives no probabilities has the confidence of the span that it finds,
    and 0 in others.
    """
    if opinion.probabilities is None:
        return next((scored.confidence for scored in opinion.spans if scored[:3] == span), 0.0)
    begins, goes_on = (_column(opinion, f"{prefix}-{span.type}") for prefix in "BI")
    before = begins[span.start - 1] + goes_on[span.start - 1] if span.start else 0.0
    first = begins[span.start] + goes_on[span.start] * (1 - before)  # an I- after another word begins a span, too
    after = goes_on[span.end] if span.end < len(goes_on) else 0.0
    return float(max(0, min(1.0, first, *goes_on[span.start + 1 : span.end], 1 - after)))


def _column(opinion: Opinion, tag: str) -> list[float]:
    """Return the probability of a tag for each word [n_words]; zeros for a tag that the member does not know."""
    assert opinion.probabilities is not None
    if tag not in opinion.tags:
        return [0.0] * len(opinion.probabilities)
    found: list[float] = opinion.probabilities[:, opinion.tags.index(tag)].tolist()
    return found
