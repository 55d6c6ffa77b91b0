"""Posts and the columns they live in.

Methods see a ``Post``, never columns, so that writing BIO, shifting spans and keeping boxes happen only here.
Spans are 0-based with an exclusive end. Images stay encoded (``{"bytes": …, "path": …}``) until a method needs pixels.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.schema.features import AUGMENTED as AUGMENTED
from hf_mner_aug.schema.features import COLUMNS, IMAGE_COLUMNS, repair_advice
from hf_mner_aug.schema.features import FOUR_TYPES as FOUR_TYPES
from hf_mner_aug.schema.features import augmented_features as augmented_features
from hf_mner_aug.schema.features import column_faults as column_faults
from hf_mner_aug.schema.features import in_order as in_order
from hf_mner_aug.schema.features import mner_features as mner_features
from hf_mner_aug.schema.features import other_names as other_names
from hf_mner_aug.schema.features import tag_names as tag_names
from hf_mner_aug.schema.provenance import MADE as MADE
from hf_mner_aug.schema.provenance import NUMBERED as NUMBERED
from hf_mner_aug.schema.provenance import Before as Before
from hf_mner_aug.schema.provenance import Details as Details
from hf_mner_aug.schema.provenance import Provenance as Provenance
from hf_mner_aug.schema.provenance import canonical_json as canonical_json
from hf_mner_aug.schema.provenance import made_by as made_by
from hf_mner_aug.schema.provenance import raw_id as raw_id
from hf_mner_aug.schema.provenance import read_provenance as read_provenance
from hf_mner_aug.schema.tags import ORPHANS as ORPHANS
from hf_mner_aug.schema.tags import Orphans, are_words
from hf_mner_aug.schema.tags import Span as Span
from hf_mner_aug.schema.tags import bio_names as bio_names
from hf_mner_aug.schema.tags import bio_to_spans as bio_to_spans
from hf_mner_aug.schema.tags import outermost as outermost
from hf_mner_aug.schema.tags import repair_orphans as repair_orphans
from hf_mner_aug.schema.tags import similar_types as similar_types
from hf_mner_aug.schema.tags import spans_to_bio as spans_to_bio
from hf_mner_aug.schema.tags import split_tag as split_tag
from hf_mner_aug.schema.tags import word_faults as word_faults

if TYPE_CHECKING:
    from datasets import Features

Box = tuple[float, float, float, float]
Origin = int | tuple[str, int] | None  # see Post.origins
EncodedImage = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entity:
    """A mention: words ``[start, end)``, its type, its fine type (FMNERG), its boxes in pixels ``(x1, y1, x2, y2)``."""

    start: int
    end: int
    type: str
    fine: str | None = None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation between the words of ``head`` and of ``tail``, both ``(start, end)``."""

    head: tuple[int, int]
    tail: tuple[int, int]
    type: str


@dataclass(frozen=True, slots=True)
class Post:
    """A tweet with its entities (sorted, not overlapping) and pictures.

    ``details`` are a method's notes on a post it made (scores, the chosen operation, a url); they go to the
    ``provenance`` column. ``origins`` gives the source of each word [n_words] of such a post, if known: its index in
    the post that it is made from, the id of another train post and the index there, or None for a new word. The values
    of other columns are re-aligned with the words by it (``columns.unknown``).
    """

    id: str
    tokens: Sequence[str]
    entities: tuple[Entity, ...] = ()
    images: tuple[EncodedImage, ...] = ()
    relation: Relation | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    origins: Sequence[Origin] | None = field(default=None, compare=False, repr=False)

    def protected(self) -> list[tuple[int, int]]:
        """Return the spans whose words carry a label: entities, and a relation's head and tail."""
        spans = [(entity.start, entity.end) for entity in self.entities]
        if self.relation is not None:
            spans += [self.relation.head, self.relation.tail]
        return spans

    def plain_spans(self) -> list[tuple[int, int, str]]:
        """Return the entities as ``(start, end, type)``, as the metrics take them."""
        return [(entity.start, entity.end, entity.type) for entity in self.entities]

    def outside(self) -> list[int]:
        """Return the indices of words that carry no label."""
        spans = self.protected()
        if not spans:
            return list(range(len(self.tokens)))
        inside = {i for start, end in spans for i in range(start, end)}
        return [i for i in range(len(self.tokens)) if i not in inside]


class Codec:
    """Converts the rows of one set to posts and back, given its features.

    Raises:
        UsageError: the features are not those of an MNER or MRE set.
    """

    def __init__(self, features: "Features") -> None:
        self.features = features
        if "id" not in features or "tokens" not in features:
            found = ", ".join(features) or "none"
            raise UsageError(
                f"expected the columns id and tokens, found {found}: rename them with ds.rename_column"
                f"{other_names(features)}, or add ids with ds.add_column('id', [str(i) for i in range(len(ds))])"
                f"{'; texts with spans become words by hf-mner-aug convert, or from_spans' * ('text' in features)}"
            )
        self.tag_names = tag_names(features, "ner_tags")
        self.fine_names = tag_names(features, "fine_tags")
        for name, fault in column_faults(features).items():
            raise UsageError(f"{fault}: {repair_advice(name, features[name])}")
        self.relation_names: list[str] = list(features["relation"].names or ()) if "relation" in features else []
        if not self.tag_names and not self.relation_names:
            raise UsageError(
                f"expected a column ner_tags or relation, found {', '.join(features)}: rename it with "
                f"ds.rename_column{other_names(features)}"
            )
        self.types = _types(self.tag_names)
        self.fine_types = _types(self.fine_names)
        self.boxed = "entities" in features
        self.image_column = next((name for name in IMAGE_COLUMNS if name in features), None)
        unread = {name for name in IMAGE_COLUMNS if name != self.image_column}
        unread |= set() if self.relation_names else {"head", "tail", "relation"}
        self.columns = [name for name in features if name in COLUMNS and name not in unread]
        self._tags = [split_tag(name) for name in self.tag_names]
        self._fine = [split_tag(name) for name in self.fine_names]
        self._tag_ids = {name: i for i, name in enumerate(self.tag_names)}
        self._fine_ids = {name: i for i, name in enumerate(self.fine_names)}
        self._relation_ids = {name: i for i, name in enumerate(self.relation_names)}
        self._pairs = {kind: (self._tag_ids[f"B-{kind}"], self._tag_ids[f"I-{kind}"]) for kind in self.types}
        self._plain = not (self.boxed or self.fine_names or self.relation_names)

    def to_post(self, row: Mapping[str, Any]) -> Post:
        """Return a row as a post.

        Raises:
            DataError: there is no id, words have ``word_faults``, tags and words differ in number, a tag is unknown or
                an orphan, or a span does not fit.
        """
        where, tokens = row["id"], row["tokens"]
        if not isinstance(where, str) or not where or tokens is None or isinstance(tokens, str):
            raise DataError(f"post {where!r}: id must be a string that is not empty, and tokens a list of words")
        if not are_words(tokens) and (fault := next(word_faults(tokens), None)):
            raise DataError(
                f"post {where}: {fault}, expected words that are not blank: correct the row or leave it out"
            )
        entities: tuple[Entity, ...] = ()
        if self.tag_names:
            entities = tuple([Entity(*span) for span in _decode(row["ner_tags"], self._tags, tokens, where)])
        relation = None
        if not self._plain:
            if self.fine_names:
                fine = {span[:2]: span.type for span in _decode(row["fine_tags"], self._fine, tokens, where)}
                entities = tuple(replace(e, fine=fine.get((e.start, e.end))) for e in entities)
            if self.boxed:
                entities = _with_boxes(entities, row["entities"] or [], where)
            if self.relation_names:
                relation = self._to_relation(row, len(tokens))
        return Post(where, tokens, entities, row_images(row, self.image_column), relation)

    def lost_fine_spans(self, row: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return the spans of a row's fine tags that are no entities by its tags: ``to_post`` loses their types."""
        if not (self.fine_names and self.tag_names):
            return []
        tags, fine = (
            {span[:2] for span in _decode(row[column], table, row["tokens"], row["id"])}
            for column, table in (("ner_tags", self._tags), ("fine_tags", self._fine))
        )
        return sorted(fine - tags)

    def to_row(self, post: Post) -> dict[str, Any]:
        """Return a post as a row of this set's columns (without those of ``AUGMENTED``).

        Raises:
            DataError: a span does not fit its words or overlaps another, or a type is not one of the set's.
        """
        n_words = len(post.tokens)
        row: dict[str, Any] = {"id": post.id, "tokens": post.tokens}
        if self.tag_names:
            row["ner_tags"] = self._encode(post, n_words)
        if not self._plain:
            if self.fine_names:
                spans = [(e.start, e.end, e.fine) for e in post.entities if e.fine is not None]
                row["fine_tags"] = _lookup(spans_to_bio(spans, n_words), self._fine_ids, post.id)
            if self.boxed:
                row["entities"] = [
                    {"start": e.start, "end": e.end, "type": e.type, "boxes": [list(box) for box in e.boxes]}
                    for e in post.entities
                ]
            if self.relation_names:
                if post.relation is None:
                    raise DataError(f"post {post.id}: expected a relation, found none")
                row["head"] = dict(zip(("start", "end"), post.relation.head, strict=True))
                row["tail"] = dict(zip(("start", "end"), post.relation.tail, strict=True))
                row["relation"] = _lookup([post.relation.type], self._relation_ids, post.id)[0]
        if self.image_column == "image":
            row["image"] = post.images[0] if post.images else None
        elif self.image_column == "images":
            row["images"] = list(post.images)
        return row

    def _encode(self, post: Post, n_words: int) -> list[int]:
        """Return the tag ids [n_words] of a post's entities."""
        tags = [self._tag_ids["O"]] * n_words
        end = 0
        for entity in post.entities:
            if not end <= entity.start < entity.end <= n_words:
                # The slow path finds the broken rule; unsorted entities are no fault.
                ordered = sorted((e.start, e.end, e.type) for e in post.entities)
                try:
                    return _lookup(spans_to_bio(ordered, n_words), self._tag_ids, post.id)
                except DataError as error:
                    raise DataError(f"post {post.id}: {error}") from error
            if entity.type not in self._pairs:
                raise DataError(f"post {post.id}: type {entity.type!r} is not one of {', '.join(self.types)}")
            first, inner = self._pairs[entity.type]
            tags[entity.start] = first
            end = entity.end
            for i in range(entity.start + 1, end):
                tags[i] = inner
        return tags

    def _to_relation(self, row: Mapping[str, Any], n_words: int) -> Relation:
        sides = [row[side] or {"start": None, "end": None} for side in ("head", "tail")]
        head, tail = ((side["start"], side["end"]) for side in sides)
        for start, end in (head, tail):
            if start is None or end is None or not 0 <= start < end <= n_words:
                raise DataError(f"post {row['id']}: span [{start}, {end}) does not fit {n_words} words")
        kind = row["relation"]
        if kind is None or not 0 <= kind < len(self.relation_names):
            raise DataError(f"post {row['id']}: relation {kind}, but there are only {len(self.relation_names)} names")
        return Relation(head, tail, self.relation_names[kind])


def row_images(row: Mapping[str, Any], column: str | None) -> tuple[EncodedImage, ...]:
    """Return the pictures in a row's column ``image`` or ``images``."""
    if column is None:
        return ()
    found = row[column] if column == "images" else [row[column]]
    return tuple(image for image in found or () if image is not None)


def to_post(row: Mapping[str, Any], features: "Features") -> Post:
    """Return a row as a post; for many rows, make one ``Codec`` and call its ``to_post``."""
    return Codec(features).to_post(row)


def to_row(post: Post, features: "Features") -> dict[str, Any]:
    """Return a post as a row; for many posts, make one ``Codec`` and call its ``to_row``."""
    return Codec(features).to_row(post)


def respell(
    post: Post,
    edits: Mapping[int, Sequence[str]],
    details: Mapping[str, Any] | None = None,
    moved: Mapping[int, Sequence[int]] = MappingProxyType({}),
) -> Post:
    """Return the post with the words at some indices each replaced by none, one or more words.

    Spans follow their words. This one function serves replacing, inserting (the word and more), deleting (no word)
    and reordering. ``moved`` gives, for an index, the former indices of its new words; without it, the first new word
    that equals the old one keeps its origin, and the others are new.

    Raises:
        DataError: an entity, head or tail would be left without words.
    """
    tokens, entities, relation = list(post.tokens), post.entities, post.relation
    before = list(range(len(tokens)) if post.origins is None else post.origins)
    origins = list(before)
    shifts = []
    for i in sorted(edits, reverse=True):  # from the right, so that the indices to the left stay valid
        origins[i : i + 1] = [before[j] for j in moved[i]] if i in moved else _same_word(edits[i], tokens[i], before[i])
        tokens[i : i + 1] = edits[i]
        if len(edits[i]) != 1:
            shifts.append((i, len(edits[i]) - 1))
    if shifts:

        def shifted(start: int, end: int) -> tuple[int, int]:
            first, last = start, end
            for i, shift in shifts:
                if i < end:
                    last += shift
                    if i < start:
                        first += shift
            if first == last:
                raise DataError(f"post {post.id}: the words [{start}, {end}) would vanish with their label")
            return first, last

        first_shift = shifts[-1][0]
        entities = tuple(
            [e if e.end <= first_shift else Entity(*shifted(e.start, e.end), e.type, e.fine, e.boxes) for e in entities]
        )
        if relation is not None:
            relation = Relation(shifted(*relation.head), shifted(*relation.tail), relation.type)
    return Post(post.id, tokens, entities, post.images, relation, post.details if details is None else details, origins)


def _same_word(words: Sequence[str], word: str, origin: Origin) -> list[Origin]:
    """Return the origins of the words [n] that replace one word: the first equal word keeps its origin."""
    origins: list[Origin] = [None] * len(words)
    if word in words:
        origins[list(words).index(word)] = origin
    return origins


def _types(names: Sequence[str]) -> tuple[str, ...]:
    """Return the types of tag names, in their order."""
    return tuple(dict.fromkeys(name[2:] for name in names if name != "O"))


def _decode(
    tags: Sequence[int] | None, table: Sequence[tuple[str, str]], tokens: Sequence[str], where: str
) -> list[Span]:
    """Return the spans of tag ids [n_words]."""
    if tags is None or len(tags) != len(tokens):
        raise DataError(f"post {where}: {0 if tags is None else len(tags)} tags for {len(tokens)} tokens")
    spans: list[Span] = []
    start, kind = -1, ""
    for i, tag in enumerate(tags):
        if tag is None or not 0 <= tag < len(table):
            raise DataError(f"post {where}: word {i} has tag id {tag}, but there are only {len(table)} tag names")
        prefix, this = table[tag]
        if prefix == "I":
            if this == kind:
                continue
            raise DataError(
                f"post {where}: word {i} ({tokens[i]!r}) is I-{this} but follows no B-{this}: "
                "repair the set with schema.repair_dataset(ds, orphans='promote')"
            )
        if kind:
            spans.append(Span(start, i, kind))
        start, kind = i, this
    if kind:
        spans.append(Span(start, len(tags), kind))
    return spans


def _with_boxes(entities: tuple[Entity, ...], rows: Sequence[Mapping[str, Any]], where: str) -> tuple[Entity, ...]:
    """Return the entities with the boxes of the ``entities`` column, which must name the same spans as the tags."""
    if None in rows:
        raise DataError(f"post {where}: the column entities holds a null")
    boxes = {(row["start"], row["end"]): row["boxes"] for row in rows}
    if any(None in (start, end) for start, end in boxes) or any(None in (found or ()) for found in boxes.values()):
        raise DataError(f"post {where}: the column entities holds a null start, end or box")
    if any(None in box for found in boxes.values() for box in found or ()):
        raise DataError(f"post {where}: the column entities has a box with a null")
    if boxes.keys() - {(e.start, e.end) for e in entities}:
        extra = sorted(boxes.keys() - {(e.start, e.end) for e in entities})[0]
        raise DataError(f"post {where}: the column entities has the span {extra}, the tags do not")
    return tuple(replace(e, boxes=tuple(tuple(box) for box in boxes.get((e.start, e.end)) or ())) for e in entities)


def _lookup(names: Sequence[str], ids: Mapping[str, int], where: str) -> list[int]:
    try:
        return [ids[name] for name in names]
    except KeyError as error:
        raise DataError(f"post {where}: label {error.args[0]!r} is not one of {', '.join(ids)}") from error


def repair_dataset(dataset: Any, orphans: Orphans = "promote") -> Any:
    """Return the dataset (or dict of splits) with valid BIO in ``ner_tags``; see ``repair_orphans``."""
    features = next(iter(dataset.values())).features if hasattr(dataset, "values") else dataset.features
    names = tag_names(features, "ner_tags")
    ids = {name: i for i, name in enumerate(names)}

    def repair(rows: Sequence[Sequence[int]]) -> dict[str, list[list[int]]]:
        fixed = [repair_orphans([names[tag] for tag in tags], orphans)[0] for tags in rows]
        return {"ner_tags": [[ids[tag] for tag in tags] for tags in fixed]}

    return dataset.map(repair, batched=True, input_columns=["ner_tags"], features=features)


@functools.lru_cache(maxsize=64)
def codec_of(features_json: str) -> Codec:
    """Return the codec of features written with ``json.dumps(features.to_dict())``."""
    from datasets import Features

    return Codec(Features.from_dict(json.loads(features_json)))
