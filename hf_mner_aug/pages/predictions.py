"""Predictions of a saved backbone as one HTML page: each post as it is labelled and as it was predicted, with boxes.

The page requests nothing, as that of a config (``pages.config``). Text of posts and names of types are escaped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.backbones import Backbone, Prediction, task_of, types_of
from hf_mner_aug.backbones.packed import load_folder
from hf_mner_aug.backbones.splits import COLUMNS, as_fine, kind_of
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.metrics.grounding import same_region
from hf_mner_aug.pages import fill
from hf_mner_aug.pages.config import spread, write_page
from hf_mner_aug.pages.posts import Album, Side
from hf_mner_aug.schema import Codec, Entity, Post
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.places import local_name
from hf_mner_aug.sources.splits import named_splits

if TYPE_CHECKING:
    from datasets import Dataset

RIGHT = "right"


@dataclass(frozen=True)
class Half:
    """A post with its gold labels or with the predicted ones, and what is said of each of its entities."""

    side: Side
    verdicts: Mapping[tuple[int, int, str], str]
    relation: str = ""

    def verdict(self, entity: Entity) -> str:
        """Return what is said of an entity: ``right``, or what is wrong with it."""
        return self.verdicts[entity.start, entity.end, entity.type]

    def right(self, entity: Entity) -> bool:
        """Return whether an entity is right."""
        return self.verdict(entity) == RIGHT


@dataclass(frozen=True)
class Row:
    """A post with its labels beside the prediction; ``unmapped`` counts the parts of an answer that were left out."""

    id: str
    gold: Half
    predicted: Half
    unmapped: int = 0


class Said(NamedTuple):
    """A kept prediction of a post: entities without boxes, or a relation; ``misplaced`` ones have a wrong region."""

    entities: tuple[Entity, ...] = ()
    relation: str | None = None
    misplaced: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The content of the page: ``total`` is the number of posts in the split, ``rows`` are those shown."""

    backbone: str
    source: str
    split: str
    total: int
    rows: Sequence[Row]
    types: Sequence[str]
    pictured: bool
    grounded: bool
    relations: bool

    @property
    def counted(self) -> str:
        """The caption of the counts."""
        return f"{'Relations' if self.relations else 'Entities'} of the posts shown"

    @property
    def counts(self) -> dict[str, int]:
        """The number of predicted entities that are right and wrong, and of gold ones that were not found."""
        if self.relations:
            found = [row.predicted.relation for row in self.rows]
            return {RIGHT: found.count(RIGHT), "wrong": len(found) - found.count(RIGHT)}
        found = [verdict for row in self.rows for verdict in row.predicted.verdicts.values()]
        gold = [verdict for row in self.rows for verdict in row.gold.verdicts.values()]
        right = found.count(RIGHT)
        return {"predicted, right": right, "predicted, wrong": len(found) - right, "gold, not found": len(gold) - right}

    @property
    def note(self) -> str:
        """A sentence on what counts as right."""
        if self.relations:
            return "A relation is right if it is the gold one."
        if self.grounded:
            return "Right: the words, the type, and a box that overlaps a gold one by more than half (IoU), or no box."
        return "Right: the words and the type."

    def to_html(self) -> str:
        """Return the page."""
        return fill("predictions.html.jinja", types=self.types, sheet=self)


def show_predictions(source: Any, model: str | Path, *, out: str | Path | None = None, **chosen: Any) -> Path:
    """Write the page of a saved backbone's predictions, and return its path.

    Args:
        source: a set: a folder or Hub id, with ``:CONFIG`` for a config of several; or its splits.
        model: the folder of a saved backbone.
        out: the page to write (default: ``predictions.html`` in this folder).
        chosen: ``split``, whose posts are predicted (test); ``posts``, how many of them (20); ``images``, a further
            folder that pictures named by the set may be read from.

    Raises:
        UsageError: ``out`` cannot be written, or as ``read_predictions``.
    """
    path = Path("predictions.html" if out is None else out)
    return write_page(path, lambda: read_predictions(source, model, **chosen).to_html())


def read_predictions(
    source: Any, model: str | Path, *, split: str = "test", posts: int = 20, images: str | Path | None = None
) -> Predictions:
    """Return the content of the page; only the posts shown are predicted.

    Raises:
        UsageError: there is no such set or split, the split is empty or has no labels of this kind, the folder holds
            no backbone, or ``posts`` is below 1.
        DataError: a row does not fit its columns.
    """
    if posts < 1:
        raise UsageError(f"expected at least 1 post, found {posts}")
    backbone = load_folder(Path(model))
    named = isinstance(source, str | Path)
    splits = load_source(str(source), images=images) if named else named_splits(source)
    if split not in splits:
        raise UnknownName("split", split, splits)
    data = splits[split]
    relations, fine = task_of(backbone) == "relations", types_of(backbone) == "fine"
    codec = Codec(data.features)
    column = COLUMNS["relation" if relations else kind_of(types_of(backbone))]
    if column not in data.features or not len(data):
        found = ", ".join(data.features) if len(data) else "no post"
        raise UsageError(f"{split}: expected posts with the column {column}, which {backbone.name} predicts: {found}")
    rows = data.select(spread(range(len(data)), posts))
    predictions = backbone.predict(rows)
    album = Album(len(rows))
    grounded = _boxed(rows) and any(prediction.boxes for prediction in predictions)
    shown = [
        _row(post, prediction, backbone, album, grounded)
        for post, prediction in zip(_posts(rows, codec), predictions, strict=True)
    ]
    entities = [e for row in shown for half in (row.gold, row.predicted) for e in half.side.post.entities]
    return Predictions(
        backbone=backbone.name,
        source=(local_name(str(source)) or str(source)) if named else "splits",
        split=split,
        total=len(data),
        rows=shown,
        types=list(
            dict.fromkeys([*(codec.fine_types if fine else codec.types), *(entity.type for entity in entities)])
        ),
        pictured=codec.image_column is not None,
        grounded=grounded,
        relations=relations,
    )


def read_said(
    rows: "Dataset",
    said: Sequence[Said],
    *,
    backbone: str,
    source: str,
    split: str,
    total: int,
    relations: bool,
    grounded: bool,
    fine: bool,
) -> Predictions:
    """Return the content of the page of predictions that were kept [n_posts]; no model is loaded.

    Args:
        rows: the posts that are shown.
        said: what was predicted for each.
        backbone: what predicted them, for the heading.
        source: the name of the set.
        split: the split that the posts are of.
        total: the number of its posts.
        relations: the predictions are relations.
        grounded: those of entities are right only with the right region.
        fine: they have fine types.
    """
    codec, album = Codec(rows.features), Album(len(rows))
    shown = [
        _beside(_finely(post) if fine else post, one.entities, one.relation, album, _unless(one.misplaced))
        for post, one in zip(_posts(rows, codec), said, strict=True)
    ]
    entities = [e for row in shown for half in (row.gold, row.predicted) for e in half.side.post.entities]
    types = [*(codec.fine_types if fine else codec.types), *(entity.type for entity in entities)]
    return Predictions(
        backbone=backbone,
        source=source,
        split=split,
        total=total,
        rows=shown,
        types=list(dict.fromkeys(types)),
        pictured=codec.image_column is not None,
        grounded=grounded,
        relations=relations,
    )


def _posts(rows: "Dataset", codec: Codec) -> list[Post]:
    table = rows.select_columns(list(codec.columns)).with_format("arrow")[:]
    return [codec.to_post(row) for row in table.to_pylist()]


def _boxed(rows: "Dataset") -> bool:
    """Return whether a set has boxes."""
    return "entities" in rows.features


def _row(post: Post, prediction: Prediction, backbone: Backbone, album: Album, grounded: bool) -> Row:
    """Return a post beside its prediction, with what is right and what is wrong."""
    found = tuple(prediction.entities())
    if types_of(backbone) == "fine":
        post = _finely(post)
    if backbone.boundary:  # entities without types
        post = replace(
            post, entities=tuple(replace(e, type=found[0].type if found else "entity") for e in post.entities)
        )
    relation = prediction.relation.type if prediction.relation is not None else None
    row = _beside(post, found, relation, album, _same_boxes if grounded else _anywhere)
    return replace(row, unmapped=prediction.unmapped)


def _beside(
    post: Post, found: tuple[Entity, ...], relation: str | None, album: Album, agree: Callable[[Entity, Entity], bool]
) -> Row:
    """Return a post beside entities or a relation that were predicted; ``agree`` compares the regions of two."""
    named = post.relation
    if relation is not None and named is not None:
        named = replace(named, type=relation)
    predicted = replace(post, entities=found, relation=named)
    same = "" if named is None else RIGHT if named == post.relation else "wrong"
    return Row(
        post.id,
        Half(Side.of(post, album), _verdicts(post.entities, found, "missed", agree)),
        Half(Side.of(predicted, album), _verdicts(found, post.entities, "no entity", agree), same),
    )


def _finely(post: Post) -> Post:
    """Return a post whose entities have their fine types as types."""
    (post,) = as_fine([post])
    return replace(post, entities=tuple(replace(e, fine=None) for e in post.entities))


def _anywhere(entity: Entity, other: Entity) -> bool:
    return True


def _unless(misplaced: frozenset[tuple[int, int]]) -> Callable[[Entity, Entity], bool]:
    return lambda entity, other: (entity.start, entity.end) not in misplaced


def _verdicts(
    entities: Sequence[Entity], others: Sequence[Entity], nothing: str, agree: Callable[[Entity, Entity], bool]
) -> dict[tuple[int, int, str], str]:
    """Return what is said of each entity of one side, compared with the other: ``nothing`` where no word is shared."""
    said = {}
    for entity in entities:
        same = next((o for o in others if (o.start, o.end) == (entity.start, entity.end)), None)
        if same is None:
            shared = any(o.start < entity.end and entity.start < o.end for o in others)
            verdict = "other words" if shared else nothing
        elif same.type != entity.type:
            verdict = "other type"
        elif not agree(entity, same):
            verdict = "other box"
        else:
            verdict = RIGHT
        said[entity.start, entity.end, entity.type] = verdict
    return said


def _same_boxes(entity: Entity, other: Entity) -> bool:
    """Return whether boxes of two entities agree, whichever of them is the predicted one."""
    return same_region(entity.boxes[:1], other.boxes) or same_region(other.boxes[:1], entity.boxes)
