"""Checked posts to train on and to predict, and the score of predictions against gold posts."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_mner_aug.backbones import Prediction, ScoredSpan
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.metrics.spans import Score, score_spans
from hf_mner_aug.schema import IMAGE_COLUMNS, Codec, Post, Relation, bio_to_spans, row_images, spans_to_bio
from hf_mner_aug.transform import iterate_posts, iterate_rows
from hf_mner_aug.transform.weights import read_weight

BOUNDARY = "ENTITY"  # the one type of boundary detection
COLUMNS = {"type": "ner_tags", "fine type": "fine_tags", "relation": "relation"}  # of each kind of label


@dataclass(frozen=True, slots=True)
class Splits:
    """The posts with words of a train and a validation split, their labels, and the weights of train's posts."""

    train: list[Post]
    validation: list[Post]
    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None  # of train's posts; None if all weigh the same


def entity_splits(
    train: Any,
    validation: Any,
    *,
    boundary: bool = False,
    types: str = "coarse",
    images: bool = False,
    weight: str | None = None,
) -> Splits:
    """Return splits for entity recognition; with ``boundary`` all entities have the type ``ENTITY``.

    With ``types="fine"`` the type of an entity is its fine one; a warning counts entities without, which are left out.
    Pictures are read with ``images``, the weights of train's posts from the column ``weight``.

    Raises:
        UsageError: a split is empty or has other columns, train has no entity, validation has other types, or fine
            types are asked for and there are none, or ``boundary`` too.
        DataError: a weight is not a number from 0 to 10.
    """
    if boundary and types == "fine":
        raise UsageError("boundary=true finds entities without their types: leave out types=fine")
    splits = _splits(train, validation, kind_of(types), boundary=boundary, images=images, weight=weight)
    if not any(post.entities for post in splits.train):
        raise UsageError(f"train: none of its {len(splits.train)} posts has an entity: there is nothing to learn")
    return splits


def kind_of(types: str) -> str:
    """Return the kind of label that the setting ``types`` asks for."""
    return "fine type" if types == "fine" else "type"


def as_fine(posts: Sequence[Post]) -> list[Post]:
    """Return posts with their entities' fine types as types, without the entities that have none."""
    return [
        replace(post, entities=tuple(replace(e, type=e.fine) for e in post.entities if e.fine is not None))
        for post in posts
    ]


def relation_splits(train: Any, validation: Any, *, images: bool = False, weight: str | None = None) -> Splits:
    """Return splits for relation extraction; pictures are read with ``images``, weights as by ``entity_splits``.

    Raises:
        UsageError: a split is empty or has other columns, or validation has other relations.
        DataError: a post has no relation, or a weight is not a number from 0 to 10.
    """
    return _splits(train, validation, "relation", images=images, weight=weight)


def read_weights(train: Any, column: str) -> tuple[float, ...]:
    """Return the weight of each post with words of a dataset; null, as in gold posts, is 1.

    Raises:
        UsageError: there is no such column, or every weight is 0.
        DataError: a weight is not a number from 0 to 10.
    """
    features = getattr(train, "features", None) or {}
    if column not in features:
        found = ", ".join(features) or "a list of posts"
        raise UsageError(f"weight={column}: expected a column {column} of train, found {found}")
    weights = []
    for row in iterate_rows(train, list(dict.fromkeys(["id", "tokens", column]))):
        weight = read_weight(row[column], row["id"], column)
        if row["tokens"]:
            weights.append(weight)
    if not any(weights):
        raise UsageError(f"weight={column}: the weight of every train post is 0: there is nothing to learn")
    return tuple(weights)


def unlabelled(data: Any, kind: str, labels: Sequence[str], *, images: bool = False) -> list[Post]:
    """Return the posts to predict, without entities; with head and tail where ``kind`` is ``"relation"``.

    Pictures are read with ``images``.

    Raises:
        UsageError: a needed column is missing, or the dataset has labels that the model does not know.
        DataError: a post has no head and tail.
    """
    if not hasattr(data, "features"):
        posts = [replace(post, entities=()) for post in _listed(data, "dataset")]
        if kind == "relation":
            for post in posts:
                _relation(post)
        return posts
    needed = ["id", "tokens"] + (["head", "tail"] if kind == "relation" else [])
    features = data.features or {}
    missing = [name for name in needed if name not in features]
    if missing:
        raise UsageError(f"expected the columns {', '.join(needed)}, found {', '.join(features) or 'none'}")
    column = COLUMNS[kind]
    if column in features and labels:
        unknown = set(_label_names(Codec(features), kind)) - set(labels)
        if unknown:
            raise UsageError(
                f"the dataset has the {kind}s {', '.join(sorted(unknown))}, this model knows only {', '.join(labels)}: "
                f"load a model of these {kind}s, or leave the gold out with ds.remove_columns({column!r})"
            )
    pictures = next((name for name in IMAGE_COLUMNS if images and name in features), None)
    posts = []
    for row in iterate_rows(data, [*needed, pictures] if pictures else needed):
        relation = None
        if kind == "relation":
            head, tail = ((row[side]["start"], row[side]["end"]) for side in ("head", "tail"))
            relation = Relation(head, tail, "")
        posts.append(Post(row["id"], row["tokens"], images=row_images(row, pictures), relation=relation))
    return posts


def bio_tags(post: Post) -> list[str]:
    """Return a post's BIO tags [n_words]."""
    return spans_to_bio(post.plain_spans(), len(post.tokens))


def read_prediction(post: Post, tags: Sequence[str], probabilities: Sequence[float]) -> Prediction:
    """Return the prediction of tags and their probabilities [n_words]; an orphan ``I-`` opens a span."""
    spans = [ScoredSpan(*span, min(probabilities[span.start : span.end])) for span in bio_to_spans(tags)]
    return Prediction(post.id, tuple(spans), tuple(probabilities))


def entity_score(predictions: Sequence[Prediction], posts: Iterable[Post]) -> Score:
    """Return the strict micro score of predicted spans against the posts' entities."""
    found = [prediction.plain_spans() for prediction in predictions]
    return score_spans(found, [post.plain_spans() for post in posts]).micro


def relation_score(predictions: Sequence[Prediction], posts: Iterable[Post], *, none: str = "None") -> Score:
    """Return the micro score of predicted relations; pairs without a relation (``none``) do not count."""
    predicted = [prediction.relation.type if prediction.relation else none for prediction in predictions]
    gold = [_relation(post).type for post in posts]
    correct = sum(p == g != none for p, g in zip(predicted, gold, strict=True))
    return Score(correct, sum(p != none for p in predicted), sum(g != none for g in gold))


def _splits(
    train: Any, validation: Any, kind: str, *, boundary: bool = False, images: bool = False, weight: str | None = None
) -> Splits:
    train_posts, labels = _labelled(train, "train", kind, images)
    validation_posts: list[Post] = []
    if validation is not None:
        validation_posts, other = _labelled(validation, "validation", kind, images)
        if not hasattr(train, "features"):
            labels = tuple(sorted({*labels, *other}))
        unknown = () if boundary else sorted(set(other) - set(labels))
        if unknown:
            raise UsageError(
                f"validation has the {kind}s {', '.join(unknown)}, train knows only {', '.join(labels) or 'none'}: "
                "give both one list with hf_mner_aug.columns.labels.same_labels(splits)"
            )
    if boundary:
        train_posts, validation_posts = (
            [_collapsed(post) for post in posts] for posts in (train_posts, validation_posts)
        )
        labels = (BOUNDARY,)
    seen = {label for post in train_posts for label in _labels(post, kind)}
    unseen = Counter(label for post in validation_posts for label in _labels(post, kind) if label not in seen)
    if unseen:
        counts = ", ".join(f"{n} × {label}" for label, n in sorted(unseen.items()))
        warnings.warn(f"validation has labels that no train post has, so they will be missed: {counts}", stacklevel=4)
    weights = read_weights(train, weight) if weight else None
    return Splits(train_posts, validation_posts, labels, weights)


def _labelled(data: Any, split: str, kind: str, images: bool) -> tuple[list[Post], tuple[str, ...]]:
    """Return a split's posts that have words, and its labels: those of the features, or else of the posts."""
    if hasattr(data, "features"):
        if data.features is None:
            raise UsageError(f"{split}: its features are unknown: pass features= when you make or map it")
        codec = Codec(data.features)
        labels = _label_names(codec, kind)
        if not labels:
            advice = ": leave out types=fine" if kind == "fine type" else ""
            raise UsageError(f"{split}: expected a column {COLUMNS[kind]}, found {', '.join(data.features)}{advice}")
        posts = list(iterate_posts(data, codec, images=images))
    else:
        posts = _listed(data, split)
        labels = tuple(sorted({label for post in posts for label in _labels(post, kind)}))
    posts = [post for post in posts if post.tokens]
    if not posts:
        raise UsageError(f"{split} has no posts with words: expected at least one")
    return (_fine(posts, split) if kind == "fine type" else posts), labels


def _listed(data: Any, split: str) -> list[Post]:
    """Return a list of posts, checked."""
    if isinstance(data, Mapping):
        raise UsageError(f"{split}: expected one split, found a dict of {', '.join(data)}: pass ds[{split!r}]")
    posts = list(data) if isinstance(data, Iterable) else [data]
    for post in posts:
        if not isinstance(post, Post):
            raise UsageError(f"{split}: expected a dataset or a list of posts, found {type(post).__name__}")
    return posts


def _labels(post: Post, kind: str) -> Iterator[str]:
    if kind == "relation":
        yield _relation(post).type
    elif kind == "fine type":
        yield from (entity.fine for entity in post.entities if entity.fine is not None)
    else:
        yield from (entity.type for entity in post.entities)


def _label_names(codec: Codec, kind: str) -> tuple[str, ...]:
    return {"type": codec.types, "fine type": codec.fine_types, "relation": tuple(codec.relation_names)}[kind]


def _fine(posts: Sequence[Post], split: str) -> list[Post]:
    """Return posts with fine types as types; a warning counts entities without."""
    n_entities = sum(len(post.entities) for post in posts)
    found = as_fine(posts)
    n_lost = n_entities - sum(len(post.entities) for post in found)
    if n_lost and n_lost == n_entities:
        raise UsageError(f"{split}: none of its {n_entities} entities has a fine type: leave out types=fine")
    if n_lost:
        warnings.warn(
            f"{split}: {n_lost} of {n_entities} entities have no fine type, and count as words outside entities",
            stacklevel=6,
        )
    return found


def _relation(post: Post) -> Relation:
    if post.relation is None:
        raise DataError(f"post {post.id}: expected a head and a tail, found no relation")
    return post.relation


def _collapsed(post: Post) -> Post:
    return replace(post, entities=tuple(replace(entity, type=BOUNDARY) for entity in post.entities))
