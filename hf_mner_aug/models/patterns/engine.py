"""The protocol of every engine that names patterns of failures and writes posts that test them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

from hf_mner_aug.draw import Draw
from hf_mner_aug.metrics.spans import PlainSpan
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.schema import EncodedImage


@dataclass(frozen=True, slots=True)
class Pattern:
    """What some failures have in common: a name, its trigger, why the model fails, how to write a post that tests it.

    ``cues`` (weights by cue) and ``least``, their minimum sum, decide which failures match the pattern, if the engine
    that named it gives them.
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
    """A post as an engine wrote or found it.

    ``focus`` are the words ``[start, end)`` that the pattern is about: one of ``entities``, or words without a label
    for a spurious failure. ``made_of`` has the ids of the posts that words were taken from. A post that was found has
    its origin and what is known of its labels in ``details``, and its pictures.
    """

    tokens: tuple[str, ...]
    entities: tuple[PlainSpan, ...]
    focus: tuple[int, int]
    image_prompt: str = ""
    made_of: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[EncodedImage, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """A post to be written that tests a failure's pattern.

    Args:
        failure: the one to repair.
        patterns: its patterns from the leaf to the root; empty to work from the failure alone.
        exemplars: other failures of the pattern.
        critiques: ``reason: detail`` of each filter that earlier drafts failed, the latest last.
        draw: the request's randomness.
        image: the picture of the failure's post, if the writer is to see it.
    """

    failure: Failure
    patterns: Sequence[Pattern]
    exemplars: Sequence[Failure]
    critiques: Sequence[str]
    draw: Draw
    image: EncodedImage | None = None


Question = tuple[Pattern, Sequence[Failure]]


class PatternEngine(Protocol):
    """Names patterns and writes posts; an answer depends on its own question only, not on others asked with it."""

    name: ClassVar[str]

    @property
    def identity(self) -> str:
        """Everything besides the arguments that answers depend on: a version, or a model with its prompts."""
        ...

    def induce(
        self, members: Sequence[Failure], outsiders: Sequence[Failure], critiques: Sequence[str], draw: Draw
    ) -> Pattern | Unwritten:
        """Return a pattern that members have in common and outsiders do not.

        Args:
            members: failures of one cluster.
            outsiders: failures of the same error and confusion that are in other clusters.
            critiques: of the patterns given before, the latest last.
            draw: the call's randomness.
        """
        ...

    def matches(self, questions: Sequence[Question]) -> list[list[bool]]:
        """Return whether each failure matches its question's pattern [n_questions][n_failures]."""
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


def what_all_get_wrong(failures: Sequence[Failure], name: Callable[[str], str] = str) -> str:
    """Return in words the error and confusion that failures share, or the error alone; ``name`` spells types."""
    first = failures[0]
    if all((other.kind, other.confusion) == (first.kind, first.confusion) for other in failures):
        return what_goes_wrong(first.kind, *map(name, first.confusion))
    return class_title(first.kind)


def class_title(kind: str) -> str:
    """Return an error in words, whatever the types."""
    return what_goes_wrong(kind, "an entity", "an entity" if kind == "spurious" else "another type")


def as_failure(draft: Draft, failure: Failure) -> Failure:
    """Return a draft as the failure that it should provoke: the same error, at its focus."""
    start, end = draft.focus
    old_start, old_end = failure.words
    predicted = failure.predicted
    if predicted is not None:
        first = min(max(0, start + predicted[0] - old_start), len(draft.tokens) - 1)
        last = max(first + 1, min(len(draft.tokens), end + predicted[1] - old_end))
        predicted = (first, last, predicted[2])
    gold = (start, end, failure.gold[2]) if failure.gold else None
    return Failure("", draft.tokens, draft.entities, failure.kind, gold, predicted)
