"""Posts and the columns they live in.

Methods see a ``Post``, never columns, so that writing BIO, shifting spans and keeping boxes happen only here.
Spans are 0-based with an exclusive end. Images stay encoded (``{"bytes": …, "path": …}``) until a method needs pixels.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NotRequired, TypedDict

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.untrusted.shapes import parse_json

if TYPE_CHECKING:
    from datasets import Features

Box = tuple[float, float, float, float]
Origin = int | tuple[str, int] | None  # see Post.origins
EncodedImage = Mapping[str, Any]
Orphans = Literal["promote", "drop", "error"]
ORPHANS: tuple[Orphans, ...] = ("promote", "drop", "error")
FOUR_TYPES = ("PER", "LOC", "ORG", "MISC")
_BLANK = " \t\r\n\v\f"
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
IMAGE_COLUMNS = ("image", "images")
COLUMNS = ("id", "tokens", "ner_tags", "fine_tags", "image", "images", "entities", "head", "tail", "relation")
AUGMENTED = ("source_id", "method", "provenance")
NUMBERED = re.compile(r"(.+)~[0-9]+", re.DOTALL)  # an id that convert numbered, since an earlier post has the same one
MADE = re.compile(r"\+([^+~]+)(?:~([0-9]{1,9}))?\.[0-9]+")  # the suffix of a made post's id


def raw_id(name: str) -> str:
    """Return the id of a post in its raw file: 12 of 12~2, which ``convert`` numbered, and of 12~2+eda.0 made of it."""
    while found := made_by(name):
        name = name[: found.start()]
    while found := NUMBERED.fullmatch(name):
        name = found[1]
    return name


def made_by(name: str) -> re.Match[str] | None:
    """Return the suffix of a made post's id as a match of ``MADE``, or None for another id."""
    return MADE.fullmatch(name, max(0, name.rfind("+")))


class Span(NamedTuple):
    """Words ``[start, end)`` of a post, with the type that tags give them."""

    start: int
    end: int
    type: str


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


# ---------------------------------------------------------------- tags and spans


def split_tag(tag: str) -> tuple[str, str]:
    """Return a tag's prefix and type: ``B-PER`` gives ``("B", "PER")`` and ``O`` gives ``("O", "")``.

    Raises:
        DataError: the tag is neither ``O`` nor ``B-`` or ``I-`` and a type, or the type begins or ends with a blank or
            an invisible character.
    """
    if tag == "O":
        return "O", ""
    prefix, _, kind = tag.partition("-")
    if prefix not in ("B", "I") or not kind:
        raise DataError(f"tag {tag!r} is not BIO: expected O, B-TYPE or I-TYPE")
    if kind != kind.strip() or not (kind[0] + kind[-1]).isprintable():
        raise DataError(f"tag {tag!r} has a blank at an edge of its type: expected O, B-TYPE or I-TYPE")
    return prefix, kind


_split_known = functools.lru_cache(maxsize=1024)(split_tag)  # a set has few distinct tags


# ---------------------------------------------------------------- words


def word_faults(tokens: Sequence[str | None] | None) -> Iterator[str]:
    """Yield the faults of a post's words [n_words]: there are none, or one is null, not text, empty or blank.

    Converting, fitting, mapping and validating share this check. A no-break space and a lone joiner are words:
    Twitter-2015 and Twitter-2017 have them.
    """
    if not tokens:
        yield "there are no tokens"
    for i, token in enumerate(tokens or ()):
        if not isinstance(token, str) or not token.strip(_BLANK):
            yield f"word {i} is {token!r}"


def _are_words(tokens: Sequence[Any]) -> bool:
    """Return whether words [n_words] certainly have no fault, by a quick test that rejects some good ones."""
    try:
        return bool(tokens) and all(map(str.strip, tokens))
    except TypeError:
        return False


def repair_orphans(tags: Sequence[str], orphans: Orphans = "promote") -> tuple[list[str], int]:
    """Return valid BIO tags and the number of orphans: ``I-`` tags that do not follow ``B-`` or ``I-`` of their type.

    ``promote`` turns an orphan into ``B-`` (seqeval's default reading); ``drop`` turns it, and the ``I-`` that continue
    it, into ``O`` (seqeval's strict IOB2 reading).

    Raises:
        DataError: there is an orphan and ``orphans="error"``, or a tag is not BIO.
    """
    repaired: list[str] = []
    count = 0
    raw_before = before = ""
    for i, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        if prefix == "I" and raw_before != kind:
            count += 1
            if orphans == "error":
                raise DataError(f"word {i}: {tag} follows no B-{kind} or I-{kind}")
        if prefix == "I" and before != kind:
            tag = f"B-{kind}" if orphans == "promote" else "O"
        repaired.append(tag)
        raw_before = kind
        before = "" if tag == "O" else kind
    return repaired, count


def bio_to_spans(tags: Sequence[str], orphans: Orphans = "promote") -> list[Span]:
    """Return the spans of BIO tags ``[n_words]``, in order.

    The same as of the tags that ``repair_orphans`` returns, several times faster.

    Raises:
        DataError: there is an orphan and ``orphans="error"``, or a tag is not BIO.
    """
    spans: list[Span] = []
    start, end, kind = 0, 0, ""
    for i, tag in enumerate(tags):
        if tag == "O":
            continue
        prefix, this = _split_known(tag)
        if prefix == "I":
            if this == kind and i == end:
                end += 1
                continue
            if orphans == "error":
                raise DataError(f"word {i}: {tag} follows no B-{this} or I-{this}")
            if orphans == "drop":
                continue
        if kind:
            spans.append(Span(start, end, kind))
        start, end, kind = i, i + 1, this
    if kind:
        spans.append(Span(start, end, kind))
    return spans


def spans_to_bio(spans: Iterable[tuple[int, int, str]], n_words: int) -> list[str]:
    """Return BIO tags ``[n_words]`` for ``(start, end, type)`` spans.

    Raises:
        DataError: a span is empty, outside the words, or overlaps another.
    """
    tags = ["O"] * n_words
    for start, end, kind in spans:
        if not 0 <= start < end <= n_words:
            raise DataError(f"span [{start}, {end}) {kind} does not fit {n_words} words")
        if any(tag != "O" for tag in tags[start:end]):
            raise DataError(f"span [{start}, {end}) {kind} overlaps another")
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return tags


# ---------------------------------------------------------------- columns


def mner_features(
    types: Sequence[str] = FOUR_TYPES,
    *,
    images: Literal["one", "many", "none"] = "one",
    boxes: bool = False,
    fine_types: Sequence[str] = (),
    relations: Sequence[str] = (),
) -> "Features":
    """Return the columns of a set: MNER by default, GMNER with ``boxes``, FMNERG with ``fine_types`` too.

    MRE is ``types=(), relations=…``. Images stay encoded when rows are read through ``Image(decode=False)``.
    """
    from datasets import ClassLabel, Features, Image, List, Value

    columns: dict[str, Any] = {"id": Value("string"), "tokens": List(Value("string"))}
    if types:
        columns["ner_tags"] = List(ClassLabel(names=bio_names(types)))
    if fine_types:
        columns["fine_tags"] = List(ClassLabel(names=bio_names(fine_types)))
    if images == "one":
        columns["image"] = Image()
    elif images == "many":
        columns["images"] = List(Image())
    if boxes:
        span = {"start": Value("int32"), "end": Value("int32"), "type": Value("string")}
        columns["entities"] = List({**span, "boxes": List(List(Value("float32")))})
    if relations:
        columns["head"] = {"start": Value("int32"), "end": Value("int32")}
        columns["tail"] = {"start": Value("int32"), "end": Value("int32")}
        columns["relation"] = ClassLabel(names=list(relations))
    return Features(columns)


def bio_names(types: Sequence[str]) -> list[str]:
    """Return the tag names of some types: O, B-PER, I-PER, …."""
    return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI")]


def in_order(types: Iterable[str]) -> tuple[str, ...]:
    """Return types in a fixed order, the usual four first."""
    return tuple(sorted(types, key=lambda kind: (FOUR_TYPES.index(kind) if kind in FOUR_TYPES else 4, kind)))


def augmented_features(features: "Features", columns: Mapping[str, str] = MappingProxyType({})) -> "Features":
    """Return the columns of an augmented config: those of its source, ``source_id``, ``method``, ``provenance``.

    ``columns`` are those that a method adds, with their dtypes.
    """
    from datasets import Features, Value

    added = {**dict.fromkeys(AUGMENTED, "string"), **columns}
    return Features({**features, **{name: Value(dtype) for name, dtype in added.items()}})


def column_faults(features: "Features") -> dict[str, str]:
    """Return the fault of each known column that has a wrong type; unknown columns may have any type."""
    faults = {}
    for name, expected in _column_kinds().items():
        if name not in features:
            continue
        found = _kind(features[name])
        if found not in (expected, expected.replace("Image", _ENCODED)):
            faults[name] = f"column {name}: expected {expected}, found {found}"
        elif name == "relation" and not all(isinstance(kind, str) for kind in features[name].names or ()):
            faults[name] = f"column {name}: expected ClassLabel names that are text, found {features[name].names}"
    return faults


@functools.cache
def _column_kinds() -> dict[str, str]:
    """Return the types of the columns that sets have, by name."""
    many, boxed = mner_features(images="many"), mner_features(boxes=True, fine_types=("X",), relations=("X",))
    return {name: _kind(feature) for name, feature in {**many, **boxed}.items()}


_ENCODED = "{bytes: binary, path: string}"  # an image's storage


_CASTS = {
    "id": "Value('string')",
    "tokens": "List(Value('string'))",
    "ner_tags": "List(ClassLabel(names=['O', 'B-PER', 'I-PER', …]))",
    "fine_tags": "List(ClassLabel(names=['O', 'B-actor', 'I-actor', …]))",
    "image": "Image()",
    "images": "List(Image())",
    "relation": "ClassLabel(names=['None', …])",
}


def mend_column(name: str, feature: Any) -> str:
    """Return the advice that gives a column its type: numbers alone do not tell the label names."""
    found = _kind(feature)
    mapped = f"columns={{{name!r}: {name!r}}} (--columns {name}={name})"
    if name not in _CASTS:
        fields = [re.findall(r"\b(\w+):", kind) for kind in (found, _column_kinds()[name])]
        return f"pass {mapped}" if fields[0] == fields[1] else "give it these fields with ds.map"
    cast = f"cast it with ds.cast_column({name!r}, {_CASTS[name]})"
    return cast if "ClassLabel" in _CASTS[name] and "int" in found else f"{cast}, or pass {mapped}"


def _kind(feature: Any) -> str:
    """Return a feature's type without details that make no difference here: bits, lengths, label names."""
    if isinstance(feature, dict):
        return "{" + ", ".join(f"{name}: {_kind(feature[name])}" for name in sorted(feature)) + "}"
    if hasattr(feature, "feature"):
        return f"List({_kind(feature.feature)})"
    if type(feature).__name__ != "Value":
        return type(feature).__name__
    return str(feature.dtype.removeprefix("large_").rstrip("0123456789"))


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
            )
        self.tag_names = tag_names(features, "ner_tags")
        self.fine_names = tag_names(features, "fine_tags")
        for name, fault in column_faults(features).items():
            raise UsageError(f"{fault}: {mend_column(name, features[name])}")
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
        if not _are_words(tokens) and (fault := next(word_faults(tokens), None)):
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


class Before(TypedDict):
    """The row that a made post replaced, if that row was itself made."""

    method: str
    provenance: "Provenance"


class Provenance(TypedDict):
    """The column ``provenance`` of a made row: the parameters that it was made with, and the method's notes."""

    params: NotRequired[Mapping[str, Any]]
    details: NotRequired["Details"]
    of: NotRequired[Before]


class Details(TypedDict):
    """The notes of a method on a row that others read: the retrieved post, and counts of masked items by kind."""

    post_id: NotRequired[str]
    licence: NotRequired[str | None]
    masked: NotRequired[Mapping[str, int]]


def read_provenance(text: str | None, where: str) -> dict[str, Any]:
    """Return the content of a row's ``provenance``, which is empty for a gold row.

    Raises:
        DataError: it is not JSON, or has another shape.
    """
    found: dict[str, Any] | None
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not _is_provenance(found):  # a million rows are read: the full check runs only if something is wrong
        found = parse_json(text or "{}", Provenance, f"{where}: provenance", halves=True)
    assert found is not None
    return found


def _is_provenance(found: Any) -> bool:
    while isinstance(found, dict):
        details, before = found.get("details", {}), found.get("of")
        if not isinstance(details, dict) or not isinstance(found.get("params", {}), dict):
            return False
        if "post_id" in details or "masked" in details or "licence" in details:
            masked, licence = details.get("masked", {}), details.get("licence")
            if not isinstance(masked, dict) or not all(type(count) is int for count in masked.values()):
                return False
            if not isinstance(details.get("post_id", ""), str) or not isinstance(licence, str | None):
                return False
        if before is None:
            return "of" not in found
        if not isinstance(before, dict) or not isinstance(before.get("method"), str):
            return False
        found = before.get("provenance")
    return False


def canonical_json(value: Any) -> str:
    """Return JSON that is the same for equal values: sorted keys, no spaces, no NaN."""
    return _CANONICAL.encode(value)


def tag_names(features: "Features", column: str) -> list[str]:
    """Return the tag names of a column, or an empty list if it is absent."""
    if column not in features:
        return []
    label = getattr(features[column], "feature", None)
    names = getattr(label, "names", None)
    if not names:
        raise UsageError(
            f"column {column}: expected List(ClassLabel(names=['O', 'B-PER', 'I-PER', …])), found {features[column]}: "
            f"{mend_column(column, features[column])}"
        )
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"column {column}: expected ClassLabel names that are text, found {names}")
    try:
        kinds = [split_tag(name) for name in names]
    except DataError as error:
        raise UsageError(f"column {column}: {error}; the ClassLabel names must be BIO tags") from error
    missing = {f"{prefix}-{kind}" for _, kind in kinds if kind for prefix in "BI"} - set(names)
    if "O" not in names or missing:
        raise UsageError(f"column {column}: the ClassLabel names lack {', '.join(sorted(missing)) or 'O'}")
    return list(names)


_OTHER_NAMES = {
    "id": ("img_id", "image_id", "tweet_id", "post_id", "guid", "idx", "index"),
    "tokens": ("words", "token", "word", "sentence", "text"),
    "ner_tags": ("labels", "tags", "ner", "ner_labels", "bio_tags", "ner_tag", "label"),
}


def other_names(features: Mapping[str, Any]) -> str:
    """Return the advice to map columns that a set has under other common names, or an empty text."""
    found = {
        ours: name
        for ours, others in _OTHER_NAMES.items()
        for name in reversed(others)
        if ours not in features and name in features and hasattr(features[name], "feature") == (ours != "id")
    }
    typed = ",".join(f"{ours}={theirs}" for ours, theirs in found.items())
    return f", or pass columns={found} (--columns {typed})" if found else ""


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
