"""What a study measures: entities, grounded ones, or relations; all as labelled spans, so that all else is one.

The span of a relation reaches from the first word of its head or tail to the last one of the other. Both are given, so
it is right if its relation is. Posts without a relation have no span: a relation found there is spurious, and a
relation that is not found is missed, as in micro-F1 without the label of no relation.

The span of a grounded entity has a fourth part, where its region is. That of a predicted one is compared with the gold
entity of the same words, so equal spans have the same words, type and region.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hf_mner_aug.backbones import Backbone, Prediction, grounds, task_of, types_of
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.metrics.grounding import check_boxes, same_region
from hf_mner_aug.metrics.span_errors import KINDS, NOTHING, REGION
from hf_mner_aug.metrics.spans import GroundedSpan, Labelled, PlainSpan, score_spans
from hf_mner_aug.schema import Box, Codec, Post, raw_id

if TYPE_CHECKING:
    from datasets import Features

NONE = "None"  # the label of no relation, unless a backbone names another
SHUFFLED, BOXES_SHUFFLED = "shuffled", "boxes_shuffled"  # negative controls: gold posts with other labels, other boxes
SHOWN, HIDDEN, ELSEWHERE = "in the image", "not in the image", "elsewhere in the image"
View = Callable[[Labelled], Labelled]


class Task(Protocol):
    """The labels that are measured, and their words in reports.

    Attributes:
        backbone: the one that a study takes by default.
        controls: the negative controls.
        entity: one of the things that are found.
        entities: several of them.
        nothing: what a missed one is predicted as, in a table of confusions.
        errors: the kinds of errors that there may be.
        views: parts of a label that are scored alone, by the name of their score.
    """

    backbone: ClassVar[str]
    controls: ClassVar[tuple[str, ...]]
    entity: ClassVar[str]
    entities: ClassVar[str]
    nothing: ClassVar[str]
    errors: ClassVar[tuple[str, ...]]
    views: ClassVar[Mapping[str, View]]

    @property
    def name(self) -> str:
        """The name that reports have."""
        ...

    @property
    def column(self) -> str:
        """The column that the control ``shuffled`` shuffles."""
        ...

    @property
    def shuffles(self) -> str:
        """The words for what the controls shuffle."""
        ...

    @property
    def kind(self) -> str:
        """The word for a label of them."""
        ...

    @property
    def kinds(self) -> str:
        """The words for several labels, and whose they are."""
        ...

    @property
    def f1(self) -> str:
        """The name of the score."""
        ...

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

    def gold(self, post: Post) -> Sequence[Labelled]:
        """Return the labelled spans of a post."""
        ...

    def found(self, post: Post, prediction: Prediction) -> Sequence[Labelled]:
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
    """Entities with their types, by span F1; with ``types="fine"`` these are the fine ones."""

    backbone: ClassVar[str] = "crf"
    controls: ClassVar[tuple[str, ...]] = (SHUFFLED,)
    entity: ClassVar[str] = "entity"
    entities: ClassVar[str] = "entities"
    nothing: ClassVar[str] = NOTHING
    errors: ClassVar[tuple[str, ...]] = KINDS
    views: ClassVar[Mapping[str, View]] = MappingProxyType({})

    types: str = "coarse"

    name = property(lambda self: "fine_entities" if self.fine else "entities")
    column = property(lambda self: "fine_tags" if self.fine else "ner_tags")
    kind = property(lambda self: "fine type" if self.fine else "type")
    kinds = property(lambda self: "fine entity types" if self.fine else "entity types")
    shuffles = property(lambda self: self.kinds)
    f1 = property(lambda self: "span F1 of fine types" if self.fine else "span F1")

    @property
    def fine(self) -> bool:
        """Whether types are fine ones."""
        return self.types == "fine"

    @property
    def counting(self) -> str:
        """How the score counts, as a note of a report."""
        told = (
            "Scores are strict span scores, micro-averaged. Predictions are valid BIO (an orphan I- opens a span), so "
            "the orphan policies promote and drop agree on them."
        )
        return f"{told} Types are the fine ones; an entity without does not count." if self.fine else told

    def labels(self, features: "Features") -> tuple[str, ...]:
        """Return the types of entities."""
        codec = Codec(features)
        return codec.fine_types if self.fine else codec.types

    def absent(self, features: "Features") -> str:
        """Return nothing: words outside entities are O in every set."""
        return ""

    def gold(self, post: Post) -> list[PlainSpan]:
        """Return the entities of a post."""
        if self.fine:
            return [(e.start, e.end, e.fine) for e in post.entities if e.fine is not None]
        return post.plain_spans()

    def found(self, post: Post, prediction: Prediction) -> list[PlainSpan]:
        """Return the predicted entities."""
        return prediction.plain_spans()

    def shuffled(self, posts: Sequence[Post], draw: Draw) -> list[Post]:
        """Return the posts with their entities' types shuffled over all of them."""
        if self.fine:
            fine = draw.shuffled([e.fine for post in posts for e in post.entities if e.fine is not None])
            return [
                replace(post, entities=tuple(replace(e, fine=e.fine and fine.pop()) for e in post.entities))
                for post in posts
            ]
        kinds = draw.shuffled([entity.type for post in posts for entity in post.entities])
        return [
            replace(post, entities=tuple(replace(entity, type=kinds.pop()) for entity in post.entities))
            for post in posts
        ]

    def groups(self, posts: Iterable[Post]) -> None:
        """Return None: each post is drawn alone."""
        return


@dataclass(frozen=True)
class Grounded:
    """Entities with their types and regions, by the F1 of the three together (Yu et al. 2023); see ``grounding``."""

    backbone: ClassVar[str] = "h_index"
    controls: ClassVar[tuple[str, ...]] = (SHUFFLED, BOXES_SHUFFLED)
    entity: ClassVar[str] = "entity"
    entities: ClassVar[str] = "entities"
    nothing: ClassVar[str] = NOTHING
    errors: ClassVar[tuple[str, ...]] = (*KINDS, REGION)
    views: ClassVar[Mapping[str, View]] = MappingProxyType(
        {"MNER": lambda span: (span[0], span[1], span[2]), "EEG": lambda span: (span[0], span[1], "", span[-1])}
    )

    words: Entities = Entities()

    name = property(lambda self: f"grounded_{self.words.name}")
    column = property(lambda self: self.words.column)
    kind = property(lambda self: self.words.kind)
    kinds = property(lambda self: self.words.kinds)
    shuffles = property(lambda self: f"{self.words.kinds} or boxes")
    f1 = property(lambda self: "FMNERG F1" if self.words.fine else "GMNER F1")

    @property
    def counting(self) -> str:
        """How the score counts, as a note of a report."""
        return (
            f"Scores are micro-averaged over entities whose words, {self.kind} and region are right: the predicted box "
            "overlaps a gold one with an IoU above 0.5, or neither side has a box. MNER ignores the region, EEG the "
            f"{self.kind}. Gold boxes that no proposed region covers count: they cannot be found. boxes_shuffled "
            "exchanges the boxes of entities, those without included, between posts with a picture, in proportion to "
            "its size."
        )

    def labels(self, features: "Features") -> tuple[str, ...]:
        """Return the types of entities, if the set has boxes."""
        return self.words.labels(features) if Codec(features).boxed else ()

    def absent(self, features: "Features") -> str:
        """Return nothing, as of entities."""
        return self.words.absent(features)

    def gold(self, post: Post) -> list[GroundedSpan]:
        """Return the entities of a post, with whether they are in the image.

        Raises:
            DataError: a box is not four finite numbers.
        """
        regions = {}
        for entity in post.entities:
            check_boxes(entity, f"post {post.id}")
            regions[entity.start, entity.end] = SHOWN if entity.boxes else HIDDEN
        return [(*span, regions[span[:2]]) for span in self.words.gold(post)]

    def found(self, post: Post, prediction: Prediction) -> list[GroundedSpan]:
        """Return the predicted entities, in the image where a gold box of the same words is; raises as ``gold``."""
        self.gold(post)
        boxes = {(entity.start, entity.end): entity.boxes for entity in post.entities}
        return [
            (e.start, e.end, e.type, _region(e.boxes, boxes.get((e.start, e.end), ()))) for e in prediction.entities()
        ]

    def shuffled(self, posts: Sequence[Post], draw: Draw) -> list[Post]:
        """Return the posts with their entities' types shuffled over all of them."""
        return self.words.shuffled(posts, draw)

    def groups(self, posts: Iterable[Post]) -> None:
        """Return None: each post is drawn alone."""
        return


def exchange_boxes(posts: Sequence[Post], sizes: Sequence[tuple[int, int] | None], draw: Draw) -> list[Post]:
    """Return posts with their entities' boxes exchanged at random, also with those of entities without.

    Boxes are scaled from the picture that they are of to the new one.

    Args:
        posts: [n_posts].
        sizes: width and height of each post's first picture; boxes of posts without stay [n_posts].
        draw: the random numbers.
    """
    pictured = [(post, size) for post, size in zip(posts, sizes, strict=True) if size]
    drawn = draw.shuffled(
        [[_scaled(box, 1 / w, 1 / h) for box in e.boxes] for p, (w, h) in pictured for e in p.entities]
    )
    exchanged = []
    for post, size in zip(posts, sizes, strict=True):
        if size:
            entities = (replace(e, boxes=tuple(_scaled(box, *size) for box in drawn.pop())) for e in post.entities)
            post = replace(post, entities=tuple(entities))
        exchanged.append(post)
    return exchanged


@dataclass(frozen=True)
class Relations:
    """The relation of head and tail, by micro-F1; ``none`` is the label of pairs without one."""

    name: ClassVar[str] = "relations"
    backbone: ClassVar[str] = "relation_features"
    controls: ClassVar[tuple[str, ...]] = (SHUFFLED,)
    column: ClassVar[str] = "relation"
    shuffles: ClassVar[str] = "relations"
    entity: ClassVar[str] = "relation"
    entities: ClassVar[str] = "relations"
    kind: ClassVar[str] = "relation"
    kinds: ClassVar[str] = "relations"
    nothing: ClassVar[str] = "no relation"
    f1: ClassVar[str] = "relation F1"
    errors: ClassVar[tuple[str, ...]] = ("missed", "spurious", "type")
    views: ClassVar[Mapping[str, View]] = MappingProxyType({})

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


ENTITIES, FINE = Entities(), Entities("fine")
TASKS: Mapping[str, Task] = {
    task.name: task for task in (ENTITIES, Relations(), FINE, Grounded(ENTITIES), Grounded(FINE))
}


def task_in(data: Mapping[str, Any]) -> Task:
    """Return what was measured, by the data of a report: those of entities do not say it."""
    return TASKS[data.get("task", ENTITIES.name)]


def choose_task(sets: Mapping[str, "Features"], backbones: Sequence[Backbone] = ()) -> Task:
    """Return what backbones predict, or what sets have if none is given: of both, their entities.

    Entities are grounded ones if each backbone grounds them and each set has boxes. A warning tells if a set has fine
    types and the backbones read coarse ones.

    Args:
        sets: features by the name of their config or set.
        backbones: those that a study trains.

    Raises:
        UsageError: a set has none of it, or the backbones predict different things.
    """
    codecs = {name: Codec(features) for name, features in sets.items()}
    grounded = all(codec.boxed for codec in codecs.values()) and all(map(grounds, backbones))
    tasks = {_task_of(backbone, grounded) for backbone in backbones}
    if len(tasks) > 1:
        told = ", ".join(f"{backbone.name} {_task_of(backbone, False).name}" for backbone in backbones)
        raise UsageError(f"backbones that predict different things cannot be compared: {told}")
    first = next(iter(sets.values()))
    has = [task for task in TASKS.values() if task.labels(first)]
    chosen = tasks.pop() if tasks else has[0] if has else ENTITIES
    for name, features in sets.items():
        fine = codecs[name].fine_types
        if chosen.column == FINE.column and not fine:
            raise UsageError(
                f"{name} has no fine types (expected a column {FINE.column}), and {backbones[0].name} reads them with "
                "these settings: leave out types=fine"
            )
        if backbones and chosen.column == ENTITIES.column and fine:
            warnings.warn(
                f"{name} has {len(fine)} fine types, and this study scores its {len(codecs[name].types)} coarse ones: "
                "types=fine, a setting of the backbone, scores the fine ones",
                stacklevel=3,
            )
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


def viewed(view: View, spans: Sequence[Iterable[Labelled]]) -> list[list[Labelled]]:
    """Return the parts of the labelled spans of posts that a view takes ``[n_posts][n_spans]``."""
    return [[*map(view, post)] for post in spans]


def found_in(task: Task, predictions: Sequence[Prediction], posts: Iterable[Post]) -> list[Sequence[Labelled]]:
    """Return the labelled spans predicted for each post."""
    return [task.found(post, prediction) for post, prediction in zip(posts, predictions, strict=True)]


# ---------------------------------------------------------------- inside


def _task_of(backbone: Backbone, grounded: bool) -> Task:
    if task_of(backbone) == Relations.name:
        return Relations(getattr(backbone, "none", NONE))
    words = Entities(types_of(backbone))
    return Grounded(words) if grounded else words


def _region(predicted: Sequence[Box], gold: Sequence[Box]) -> str:
    if not predicted:
        return HIDDEN
    return SHOWN if same_region(predicted, gold) else ELSEWHERE


def _scaled(box: Box, width: float, height: float) -> Box:
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height
