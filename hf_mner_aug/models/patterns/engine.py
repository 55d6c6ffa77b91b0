"""What names a pattern of failures and writes posts that test it: a language model, or rules."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

from hf_mner_aug.draw import Draw
from hf_mner_aug.metrics.spans import PlainSpan
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.text.engine import Unwritten


@dataclass(frozen=True, slots=True)
class Pattern:
    """Why some failures are one: a name, when it happens, why the model fails then, how to write a post that tests it.

    ``cues`` (weights by cue) and ``least``, their least sum, say in numbers which failures are of the pattern, where
    the engine that named it can.
    """

    name: str
    trigger: str
    why: str
    how: str
    cues: Mapping[str, float] = field(default_factory=dict)
    least: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the pattern as JSON-like data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Draft:
    """A post as an engine wrote it.

    ``focus`` are the words ``[start, end)`` that the pattern is about: one of ``entities``, or words without a label
    where the failure is a spurious one. ``made_of`` names the posts that words were taken from.
    """

    tokens: tuple[str, ...]
    entities: tuple[PlainSpan, ...]
    focus: tuple[int, int]
    image_prompt: str = ""
    made_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """A post to be written that tests a failure's pattern.

    Args:
        failure: the one to repair.
        patterns: its patterns from the leaf to the root; none to work from the failure alone.
        exemplars: other failures of the pattern.
        critiques: ``reason: detail`` of each filter that the drafts before failed, the latest last.
        draw: the request's randomness.
    """

    failure: Failure
    patterns: Sequence[Pattern]
    exemplars: Sequence[Failure]
    critiques: Sequence[str]
    draw: Draw


Question = tuple[Pattern, Sequence[Failure]]


class PatternEngine(Protocol):
    """Names patterns and writes posts; what is asked, and nothing that is asked beside it, decides an answer."""

    name: ClassVar[str]

    @property
    def identity(self) -> str:
        """All that answers depend on beside the arguments: a version, a model with its revision, its prompts."""
        ...

    def induce(
        self, members: Sequence[Failure], outsiders: Sequence[Failure], critiques: Sequence[str], draw: Draw
    ) -> Pattern | Unwritten:
        """Return the pattern that members have in common and outsiders have not.

        Args:
            members: failures of one cluster.
            outsiders: failures of the same error and confusion that are in other clusters.
            critiques: what was wrong with the patterns given before, the latest last.
            draw: the call's randomness.
        """
        ...

    def matches(self, questions: Sequence[Question]) -> list[list[bool]]:
        """Say of each failure of each question whether it is of the question's pattern [n_questions][n_failures]."""
        ...

    def write(self, requests: Sequence[WriteRequest]) -> list[Draft | Unwritten]:
        """Return a new post for each request, or why there is none."""
        ...


def what_goes_wrong(kind: str, gold: str, predicted: str) -> str:
    """Return an error and its confusion in words."""
    return {
        "missed": f"{gold} is missed",
        "spurious": f"{predicted} is seen where there is none",
        "boundary": f"the borders of {gold} are wrong",
        "type": f"{gold} is taken for {predicted}",
        "both": f"{gold} is taken for {predicted} with other borders",
    }[kind]


def as_failure(draft: Draft, failure: Failure) -> Failure:
    """Return a draft as the failure it is to provoke: the same error, at its focus."""
    start, end = draft.focus
    old_start, old_end = failure.words
    predicted = failure.predicted
    if predicted is not None:
        first = min(max(0, start + predicted[0] - old_start), len(draft.tokens) - 1)
        last = max(first + 1, min(len(draft.tokens), end + predicted[1] - old_end))
        predicted = (first, last, predicted[2])
    gold = (start, end, failure.gold[2]) if failure.gold else None
    return Failure("", draft.tokens, draft.entities, failure.kind, gold, predicted)
