"""Every problem of a dataset, with its row.

Rows are read as Arrow stores them, so a row that cannot become a ``Post`` is still checked completely. Each image is
decoded once, a batch at a time.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hf_mner_aug.columns.labels import disagreements, renumbered
from hf_mner_aug.columns.unknown import word_columns
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.pictures import open_image
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.progress import watch_rows
from hf_mner_aug.schema import (
    COLUMNS,
    EncodedImage,
    Span,
    bio_to_spans,
    column_faults,
    other_names,
    repair_advice,
    tag_names,
    word_faults,
)
from hf_mner_aug.storage.picture_columns import ADVICE, is_named_only
from hf_mner_aug.storage.picture_files import NOWHERE, Allowed, FileRefused, read_picture_file

if TYPE_CHECKING:
    from datasets import Dataset, Features

ERRORS = {
    "bad_column": "the column is absent or of another type: rename or cast it, or map it with --columns OURS=THEIRS",
    "labels_renumbered": "a label has one number in all splits: number them alike with labels.same_labels(splits)",
    "missing_id": "every row needs an id",
    "duplicate_id": "ids must differ, over all splits",
    "empty_tokens": "a post needs words, and none may be empty or blank; a no-break space or a lone joiner is a word",
    "length_mismatch": "there must be as many tags as tokens, and as many values in a list that has one for each word",
    "unknown_tag": "the tag id is not one of the ClassLabel's",
    "bad_bio": "an I- must follow a B- or I- of its type: repair with schema.repair_dataset(ds, orphans='promote')",
    "unknown_relation": "the relation is not one of the ClassLabel's",
    "span_outside_words": "a span [start, end) must have at least one word and lie inside the post",
    "entities_disagree": "the column entities must have the same spans and types as the tags",
    "box_not_four_numbers": "a box is x1, y1, x2, y2",
    "box_reversed": "a box must have x1 < x2 and y1 < y2",
    "box_outside_image": "boxes are in pixels of the image: scale them if it was resized",
    "unreadable_image": "replace the image, or set it to null",
    "refused_image": f"the data names a file that is not read: {ADVICE}, or embed it",
}
WARNINGS = {
    "labels_differ": "a split lacks labels of another, or has more: labels.same_labels(splits) gives all one list",
    "missing_image": "the row has no image",
    "entity_not_listed": "the tags have a span that the column entities lacks: it has no boxes",
    "fine_tags_disagree": "the span of a fine tag is not a span of the tags: it is ignored",
    "duplicate_text": "a post of another split has the same text: it leaks from one to the other",
}

_EDGE = 0.5  # pixels by which scaling may push a box over the edge
_SAMPLE = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a dataset; ``row`` is None if it concerns a whole column."""

    kind: str
    severity: Literal["error", "warning"]
    split: str
    row: int | None
    id: str | None
    detail: str

    def __str__(self) -> str:
        where = self.split if self.row is None else f"{self.split} row {self.row}"
        return f"{where}: {self.detail}" if self.id is None else f"{where}, post {self.id}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of ``validate``: the problems in the order of the rows, and the number of rows of each split.

    ``viewer`` are the problems of a folder's files that concern only the Hub's viewer.
    """

    problems: tuple[Problem, ...]
    n_rows: Mapping[str, int]
    viewer: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there are no errors; there may be warnings."""
        return all(problem.severity != "error" for problem in self.problems)

    def counts(self) -> dict[str, int]:
        """Return the number of problems of each kind that occurs, errors first."""
        found = Counter(problem.kind for problem in self.problems)
        return {kind: found[kind] for kind in (*ERRORS, *WARNINGS) if found[kind]}

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the problems as plain data."""
        return [asdict(problem) for problem in (*self.problems, *self.viewer)]

    def table(self, limit: int = _SAMPLE) -> str:
        """Return the problems by kind, at most ``limit`` of each, as text for the terminal."""
        counts = self.counts()
        n_errors = sum(counts.get(kind, 0) for kind in ERRORS)
        rows = ", ".join(f"{split} {n}" for split, n in self.n_rows.items())
        total = sum(self.n_rows.values())
        lines = [f"{n_errors} errors and {len(self.problems) - n_errors} warnings in {total} rows ({rows})"]
        for kind, count in counts.items():
            severity, advice = ("error", ERRORS[kind]) if kind in ERRORS else ("warning", WARNINGS[kind])
            lines.append(f"\n{severity} {kind}: {count} ({advice})")
            shown = [problem for problem in self.problems if problem.kind == kind][:limit]
            lines += [f"  {problem}" for problem in shown]
            if count > len(shown):
                lines.append(f"  and {count - len(shown)} more")
        return "\n".join([*lines, *(f"viewer: {problem}" for problem in self.viewer)])

    def __str__(self) -> str:
        return self.table()


class _Fault(NamedTuple):
    kind: str
    detail: str


# An image's width and height, or its fault, or None if it is absent or was not checked.
_Size = tuple[int, int] | _Fault | None
_GONE = ("not_there", "not_a_picture", "unreadable")  # reasons that concern the file itself


class _Row(NamedTuple):
    """The usable columns of a row, its images and their sizes."""

    columns: Mapping[str, Any]
    images: Sequence[EncodedImage | None]
    sizes: Sequence[_Size]


def validate(
    dataset: "Dataset | Mapping[str, Dataset]",
    *,
    images: bool = True,
    allowed: Allowed = NOWHERE,
    trust_image_paths: bool = False,
) -> Validation:
    """Return every problem of a dataset or of a dict of splits.

    The kinds of problems are the keys of ``ERRORS`` and ``WARNINGS``.

    Args:
        dataset: a dataset or a dict of splits.
        images: decode pictures.
        allowed: the folders in which picture files that rows name may be read.
        trust_image_paths: read such files from anywhere.
    """
    allowed = replace(allowed, anywhere=allowed.anywhere or trust_image_paths)
    splits = dataset if isinstance(dataset, Mapping) else {str(dataset.split or "all"): dataset}
    problems: list[Problem] = []
    ids: dict[str, str] = {}
    texts: dict[str, tuple[str, str]] = {}

    def note(split: str, row: int | None, name: str | None, fault: _Fault) -> None:
        severity: Literal["error", "warning"] = "error" if fault.kind in ERRORS else "warning"
        problems.append(Problem(fault.kind, severity, split, row, name, fault.detail))

    by_word = _word_columns(splits.values())
    first_split = "train" if "train" in splits else next(iter(splits), "")
    for split, rows in splits.items():
        checks = _Columns(rows.features, by_word)
        for fault in (*checks.faults, *_label_faults(splits[first_split].features, rows.features, first_split)):
            note(split, None, None, fault)
        for i, row in enumerate(_read(rows, checks, allowed if images else None)):
            name, where = row.columns.get("id"), f"{split} row {i}"
            if "id" in checks.usable:
                if not name:
                    note(split, i, None, _Fault("missing_id", f"the id is {name!r}"))
                elif ids.setdefault(name, where) != where:
                    note(split, i, name, _Fault("duplicate_id", f"{ids[name]} has this id too"))
            for fault in _row_faults(row, checks):
                note(split, i, name, fault)
            key = text_key([token or "" for token in row.columns.get("tokens") or ()])
            first = texts.setdefault(key, (split, f"{where}, post {name}")) if key else (split, "")
            if first[0] != split:
                note(split, i, name, _Fault("duplicate_text", f"the text of {first[1]}"))
    return Validation(tuple(problems), {split: rows.num_rows for split, rows in splits.items()})


def _label_faults(features: "Features", others: "Features", split: str) -> Iterator[_Fault]:
    """Yield the faults of columns whose labels differ from those of another split."""
    for column, names, found in disagreements(features, others):
        if said := renumbered(names, found):
            yield _Fault("labels_renumbered", f"column {column}: {said}: the first is that of {split}")
        else:
            lacking, more = ([n for n in a if n not in b] for a, b in ((names, found), (found, names)))
            said = "; ".join(f"{what} {', '.join(n)}" for what, n in (("lacks", lacking), ("has", more)) if n)
            yield _Fault("labels_differ", f"column {column}: {said}, unlike {split}")


def _word_columns(splits: "Iterable[Dataset]") -> list[str]:
    """Return the columns, except those of every set, with a value for each word in most rows of all splits."""
    sound = [rows for rows in splits if "tokens" in rows.features and not column_faults(rows.features).get("tokens")]
    names = dict.fromkeys(name for rows in sound for name in rows.features if name not in COLUMNS)
    having = {name: [rows for rows in sound if name in rows.features] for name in names}
    return [name for name, rows in having.items() if word_columns(rows, rows[0].features, [name])]


class _Columns:
    """The columns that can be checked row by row, and the faults of the others."""

    def __init__(self, features: "Features", by_word: Sequence[str]) -> None:
        self.faults: list[_Fault] = []
        self.by_word = [name for name in by_word if name in features]
        self.usable: list[str] = []
        self.tag_names: dict[str, list[str]] = {}
        self.n_relations = 0
        wrong = column_faults(features)
        for name, fault in wrong.items():
            self._fault(f"{fault}: {repair_advice(name, features[name])}")
        for name in COLUMNS:
            if name not in features or name in wrong:
                continue
            if name in ("ner_tags", "fine_tags"):
                try:
                    self.tag_names[name] = tag_names(features, name)
                except UsageError as error:
                    self._fault(str(error))
                    continue
            elif name == "relation":
                self.n_relations = features[name].num_classes
            self.usable.append(name)
        for name in ("id", "tokens"):
            if name not in features:
                self._fault(f"expected a column {name}, found {', '.join(features)}{other_names(features)}")
        if "ner_tags" not in features and "relation" not in features:
            self._fault(f"expected a column ner_tags or relation, found {', '.join(features)}{other_names(features)}")

    def _fault(self, detail: str) -> None:
        self.faults.append(_Fault("bad_column", detail))


def _read(dataset: "Dataset", columns: _Columns, allowed: Allowed | None) -> Iterator[_Row]:
    """Yield the rows; without ``allowed``, no picture is decoded."""
    if not columns.usable:
        return
    pictures = any(name in columns.usable for name in ("image", "images"))
    dataset = dataset.select_columns([*columns.usable, *columns.by_word])
    tables = dataset.with_format("arrow").iter(batch_size=64 if pictures else 1000)
    with ThreadPoolExecutor() as pool:
        for table in watch_rows(tables, f"reads {dataset.split or 'all'}", dataset.num_rows):
            rows = table.to_pylist()
            encoded = [[row["image"]] if "image" in row else row.get("images") or [] for row in rows]
            pictures_here = chain.from_iterable(encoded)
            sizes = repeat(None) if allowed is None else pool.map(partial(_size, allowed=allowed), pictures_here)
            for row, own in zip(rows, encoded, strict=True):
                yield _Row(row, own, list(islice(sizes, len(own))))


def _size(image: EncodedImage | None, allowed: Allowed) -> _Size:
    if image is None or _is_missing(image):
        return None
    try:
        if is_named_only(image):
            image = {"bytes": read_picture_file(image["path"], allowed), "path": None}
        return open_image(image).size
    except FileRefused as error:
        return _Fault("unreadable_image" if error.reason in _GONE else "refused_image", f"the image {error}")
    except DataError as error:
        return _Fault("unreadable_image", str(error))


def _is_missing(image: EncodedImage | None) -> bool:
    return image is None or (image["bytes"] is None and image["path"] is None)


# ---------------------------------------------------------------- one row


def _row_faults(row: _Row, columns: _Columns) -> Iterator[_Fault]:
    """Yield the faults of a row by itself."""
    yield from _image_faults(row, columns)
    values = row.columns
    if "tokens" not in values:
        return
    tokens: list[str | None] = values["tokens"] or []
    for fault in word_faults(tokens):
        yield _Fault("empty_tokens", fault)
    spans: dict[str, list[Span] | None] = {}
    for name, names in columns.tag_names.items():
        faults, spans[name] = _check_tags(values[name], names, tokens, name)
        yield from faults
    coarse, fine = spans.get("ner_tags"), spans.get("fine_tags")
    if coarse is not None and fine is not None:
        for start, end in sorted({s[:2] for s in fine} - {s[:2] for s in coarse}):
            yield _Fault("fine_tags_disagree", f"fine_tags have the span [{start}, {end}), ner_tags do not")
    for name in columns.by_word:
        if values[name] is not None and len(values[name]) != len(tokens):
            yield _Fault("length_mismatch", f"{len(values[name])} {name} for {len(tokens)} tokens")
    if "entities" in values:
        size = row.sizes[0] if "image" in values else None
        yield from _entity_faults(values["entities"] or [], len(tokens), coarse, size)
    for side in ("head", "tail"):
        if side in values:
            span = values[side] or {"start": None, "end": None}
            if not _fits(span["start"], span["end"], len(tokens)):
                detail = f"{side} [{span['start']}, {span['end']}) does not fit {len(tokens)} words"
                yield _Fault("span_outside_words", detail)
    if "relation" in values and values["relation"] not in range(columns.n_relations):
        yield _Fault("unknown_relation", f"relation {values['relation']}, there are {columns.n_relations} names")


def _check_tags(
    tags: Sequence[int | None] | None, names: Sequence[str], tokens: Sequence[str | None], column: str
) -> tuple[list[_Fault], list[Span] | None]:
    """Return the faults of tag ids [n_words], and their spans if each word has a known tag."""
    if tags is None or len(tags) != len(tokens):
        found = "no" if tags is None else len(tags)
        return [_Fault("length_mismatch", f"{found} {column} for {len(tokens)} tokens")], None
    faults: list[_Fault] = []
    kinds = ["" if tag is None or not 0 <= tag < len(names) else names[tag] for tag in tags]
    before = ""
    for i, (tag, kind) in enumerate(zip(tags, kinds, strict=True)):
        if not kind:
            faults.append(_Fault("unknown_tag", f"word {i} ({tokens[i]!r}) has {tag} in {column} of {len(names)} tags"))
        elif kind[0] == "I" and before[2:] != kind[2:]:
            faults.append(_Fault("bad_bio", f"word {i} ({tokens[i]!r}) is {kind} after {before or 'nothing'}"))
        before = kind
    return faults, bio_to_spans(kinds) if all(kinds) else None


def _image_faults(row: _Row, columns: _Columns) -> Iterator[_Fault]:
    if not row.images and "images" in columns.usable:
        yield _Fault("missing_image", "there are no images")
    for i, (image, size) in enumerate(zip(row.images, row.sizes, strict=True)):
        what = "the image" if len(row.images) == 1 else f"image {i} of {len(row.images)}"
        if _is_missing(image):
            yield _Fault("missing_image", f"{what} is null")
        elif isinstance(size, _Fault):
            yield size._replace(detail=size.detail.replace("the image", what, 1))


def _entity_faults(
    entities: Sequence[Mapping[str, Any] | None],
    n_words: int,
    spans: Sequence[Span] | None,
    size: _Size,
) -> Iterator[_Fault]:
    """Yield the faults of the column ``entities``, given the spans of the tags if they are known."""
    types = {(span.start, span.end): span.type for span in spans or ()}
    listed: set[tuple[int, int]] = set()
    for entity in entities:
        if entity is None:
            yield _Fault("entities_disagree", "an entity is null")
            continue
        start, end, kind = entity["start"], entity["end"], entity["type"]
        what = f"[{start}, {end}) {kind}"
        listed.add((start, end))
        if not _fits(start, end, n_words):
            yield _Fault("span_outside_words", f"{what} does not fit {n_words} words")
        elif spans is not None and (start, end) not in types:
            yield _Fault("entities_disagree", f"{what} is not a span of the tags")
        elif spans is not None and types[start, end] != kind:
            yield _Fault("entities_disagree", f"{what} is {types[start, end]} by the tags")
        for box in entity["boxes"] or []:
            yield from _box_faults(box, what, size)
    for start, end in sorted(types.keys() - listed):
        yield _Fault("entity_not_listed", f"[{start}, {end}) {types[start, end]} is not in the column entities")


def _box_faults(box: Sequence[float | None] | None, what: str, size: _Size) -> Iterator[_Fault]:
    numbers = [x for x in box or () if x is not None and math.isfinite(x)]
    if box is None or len(numbers) != 4 or len(box) != 4:
        yield _Fault("box_not_four_numbers", f"{what} has the box {box}")
        return
    x1, y1, x2, y2 = numbers
    known = size if size is not None and not isinstance(size, _Fault) else None
    width, height = known or (math.inf, math.inf)
    if x1 >= x2 or y1 >= y2:
        yield _Fault("box_reversed", f"{what} has the box {box}")
    if min(numbers) < -_EDGE or max(x1, x2) > width + _EDGE or max(y1, y2) > height + _EDGE:
        where = f"an image of {width}x{height} pixels" if known else "any image"
        yield _Fault("box_outside_image", f"{what} has the box {box}, outside {where}")


def _fits(start: int | None, end: int | None, n_words: int) -> bool:
    return start is not None and end is not None and 0 <= start < end <= n_words
