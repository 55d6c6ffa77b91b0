"""What a study measures: entities, or the relation of each post; both as labelled spans, so that all else is one.

The span of a relation reaches from the first word of its head or tail to the last one of the other. Both are given, so
it is right if its relation is. Posts without a relation have no span: a relation found there is spurious, and a
relation that is not found is missed, as in micro-F1 without the label of no relation.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hf_mner_aug.backbones import Backbone, Prediction, task_of
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.metrics.span_errors import KINDS, NOTHING
from hf_mner_aug.metrics.spans import PlainSpan, score_spans
from hf_mner_aug.schema import Codec, Post, raw_id

if TYPE_CHECKING:
    from datasets import Features

NONE = "None"  # the label of no relation, unless a backbone names another


class Task(Protocol):
    """The labels that are measured, and their words in reports.

    Attributes:
        name: as backbones have it.
        backbone: the one that a study takes by default.
        column: the column that the negative control shuffles.
        entity: one of the things that are found.
        entities: several of them.
        kind: what a label of them is.
        kinds: several labels, with the word that says whose.
        nothing: what a missed one is predicted as, in a table of confusions.
        f1: the score.
        errors: the kinds of errors that there may be.
        counting: how the score counts, as a note of a report.
    """

    name: ClassVar[str]
    backbone: ClassVar[str]
    column: ClassVar[str]
    entity: ClassVar[str]
    entities: ClassVar[str]
    kind: ClassVar[str]
    kinds: ClassVar[str]
    nothing: ClassVar[str]
    f1: ClassVar[str]
    errors: ClassVar[tuple[str, ...]]

    @property
    def counting(self) -> str:
        """How the score counts, as a note of a report."""
        ...

    def labels(self, features: "Features") -> tuple[str, ...]:
        """Return the labels that count; none if a set has others only."""
        ...

    def absent(self, features: "Features") -> str:
        """Return the note that a set lacks the label of nothing; empty if it does not."""
        ...

    def gold(self, post: Post) -> list[PlainSpan]:
        """Return the labelled spans of a post."""
        ...

    def found(self, post: Post, prediction: Prediction) -> list[PlainSpan]:
        """Return the labelled spans that are predicted for a post."""
        ...

    def shuffled(self, posts: Sequence[Post], draw: Draw) -> list[Post]:
        """Return the posts with their labels exchanged at random."""
        ...

    def groups(self, posts: Iterable[Post]) -> list[str] | None:
        """Return the names of groups of posts that a bootstrap draws together; None if each post is one."""
        ...


@dataclass(frozen=True)
class Entities:
    """Entities with their types, by span F1."""

    name: ClassVar[str] = "entities"
    backbone: ClassVar[str] = "crf"
    column: ClassVar[str] = "ner_tags"
    entity: ClassVar[str] = "entity"
    entities: ClassVar[str] = "entities"
    kind: ClassVar[str] = "type"
    kinds: ClassVar[str] = "entity types"
    nothing: ClassVar[str] = NOTHING
    f1: ClassVar[str] = "span F1"
    errors: ClassVar[tuple[str, ...]] = KINDS
    counting: ClassVar[str] = (
        "Scores are strict span scores, micro-averaged. Predictions are valid BIO (an orphan I- opens a span), so the "
        "orphan policies promote and drop agree on them."
    )

    def labels(self, features: "Features") -> tuple[str, ...]:
        """Return the types of entities."""
        return Codec(features).types

    def absent(self, features: "Features") -> str:
        """Return nothing: words outside entities are O in every set."""
        return ""

    def gold(self, post: Post) -> list[PlainSpan]:
        """Return the entities of a post."""
        return post.plain_spans()

    def found(self, post: Post, prediction: Prediction) -> list[PlainSpan]:
        """Return the predicted entities."""
        return prediction.plain_spans()

    def shuffled(self, posts: Sequence[Post], draw: Draw) -> list[Post]:
        """Return the posts with their entities' types shuffled over all of them."""
        kinds = draw.shuffled([entity.type for post in posts for entity in post.entities])
        return [
            replace(post, entities=tuple(replace(entity, type=kinds.pop()) for entity in post.entities))
            for post in posts
        ]

    def groups(self, posts: Iterable[Post]) -> None:
        """Return None: each post is drawn alone."""
        return


@dataclass(frozen=True)
class Relations:
    """The relation of head and tail, by micro-F1; ``none`` is the label of pairs without one."""

    name: ClassVar[str] = "relations"
    backbone: ClassVar[str] = "relation_features"
    column: ClassVar[str] = "relation"
    entity: ClassVar[str] = "relation"
    entities: ClassVar[str] = "relations"
    kind: ClassVar[str] = "relation"
    kinds: ClassVar[str] = "relations"
    nothing: ClassVar[str] = "no relation"
    f1: ClassVar[str] = "relation F1"
    errors: ClassVar[tuple[str, ...]] = ("missed", "spurious", "type")

    none: str = NONE

    @property
    def counting(self) -> str:
        """How the score counts, as a note of a report."""
        return (
            f"Scores are micro-averaged over relations without {self.none}, which counts neither as predicted nor as "
            "gold. The bootstrap draws tweets, with all of the relations that they have."
        )

    def labels(self, features: "Features") -> tuple[str, ...]:
        """Return the relations without the label of no relation."""
        return tuple(name for name in Codec(features).relation_names if name != self.none)

    def absent(self, features: "Features") -> str:
        """Return a note if no label of a set is that of no relation."""
        if self.none in Codec(features).relation_names:
            return ""
        return f"No relation is called {self.none}, so all of them count; none=NAME names the label of no relation."

    def gold(self, post: Post) -> list[PlainSpan]:
        """Return the relation of a post as a span; none where there is no relation."""
        return self._span(post, post.relation.type if post.relation else self.none)

    def found(self, post: Post, prediction: Prediction) -> list[PlainSpan]:
        """Return the predicted relation as a span; none where no relation is predicted."""
        return self._span(post, prediction.relation.type if prediction.relation else self.none)

    def shuffled(self, posts: Sequence[Post], draw: Draw) -> list[Post]:
        """Return the posts with their relations shuffled over all of them, the label of no relation included."""
        kinds = draw.shuffled([post.relation.type for post in posts if post.relation])
        return [
            replace(post, relation=replace(post.relation, type=kinds.pop())) if post.relation else post
            for post in posts
        ]

    def groups(self, posts: Iterable[Post]) -> list[str]:
        """Return the tweet of each post: ``convert`` numbers the relations of one, as 12, 12~2, 12~3."""
        return [raw_id(post.id) for post in posts]

    def _span(self, post: Post, kind: str) -> list[PlainSpan]:
        if kind == self.none or post.relation is None:
            return []
        (start, end), (other_start, other_end) = post.relation.head, post.relation.tail
        return [(min(start, other_start), max(end, other_end), kind)]


ENTITIES = Entities()
TASKS: Mapping[str, Task] = {task.name: task for task in (ENTITIES, Relations())}


def task_in(data: Mapping[str, Any]) -> Task:
    """Return what was measured, by the data of a report: those of entities do not say it."""
    return TASKS[data.get("task", ENTITIES.name)]


def choose_task(sets: Mapping[str, "Features"], backbones: Sequence[Backbone] = ()) -> Task:
    """Return what backbones predict, or what sets have if none is given: of both, their entities.

    Args:
        sets: features by the name of their config or set.
        backbones: those that a study trains.

    Raises:
        UsageError: a set has none of it, or the backbones predict different things.
    """
    tasks = {_task_of(backbone) for backbone in backbones}
    if len(tasks) > 1:
        told = ", ".join(f"{backbone.name} {task_of(backbone)}" for backbone in backbones)
        raise UsageError(f"backbones that predict different things cannot be compared: {told}")
    first = next(iter(sets.values()))
    has = [task for task in TASKS.values() if task.labels(first)]
    chosen = tasks.pop() if tasks else has[0] if has else ENTITIES
    for name, features in sets.items():
        if not chosen.labels(features):
            others = [task for task in TASKS.values() if task.labels(features)]
            found = f"{others[0].entities} and no {chosen.entities}" if others else f"no {chosen.entities}"
            advice = f": take a backbone for {others[0].entities}, as {others[0].backbone}" if others else ""
            who = f"{backbones[0].name} finds" if backbones else "this study measures"
            raise UsageError(f"{name} has {found}, and {who} {chosen.entities}{advice}")
    return chosen


def f1_of(task: Task, predictions: Sequence[Prediction], posts: Iterable[Post]) -> float:
    """Return the F1 of predictions for posts."""
    posts = list(posts)
    return score_spans(found_in(task, predictions, posts), [task.gold(post) for post in posts]).micro.f1


def found_in(task: Task, predictions: Sequence[Prediction], posts: Iterable[Post]) -> list[list[PlainSpan]]:
    """Return the labelled spans predicted for each post."""
    return [task.found(post, prediction) for post, prediction in zip(posts, predictions, strict=True)]


# ---------------------------------------------------------------- inside


def _task_of(backbone: Backbone) -> Task:
    if task_of(backbone) == Relations.name:
        return Relations(getattr(backbone, "none", NONE))
    return ENTITIES
