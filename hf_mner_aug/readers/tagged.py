"""Datasets with a column of words and one of tags in any scheme, as posts.

dataset = from_tags(load_dataset("org/name"), tokens="words", tags="labels")
"""

import ast
import itertools
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from hf_mner_aug import __version__
from hf_mner_aug.exceptions import DataError, UnknownName
from hf_mner_aug.posts.texts import too_long
from hf_mner_aug.readers.formats import RawPost
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.mapped import (
    is_whole,
    made,
    of_types,
    other_columns,
    splits_of,
    table_of_posts,
    tell,
    with_names,
)
from hf_mner_aug.readers.schemes import TagReading, read_tags, recognise_in
from hf_mner_aug.readers.spans.json_records import id_of
from hf_mner_aug.schema import ORPHANS, Orphans, in_order, mner_features, similar_types, word_faults
from hf_mner_aug.schema.schemes import AnyScheme, Scheme, Tagging, known_scheme

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

_TAGS = ("tags", "fine_tags")
_FEWEST, _LOOKED_AT = 10, 1_000  # rows that tell whether they are words
_ONE_TEXT = re.compile(rb"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
NAME_LABELS = "name the numbers with ds.cast_column({!r}, List(ClassLabel(names=['O', …])))"


def from_tags(
    dataset: Any,
    *,
    tokens: str = "tokens",
    tags: str = "ner_tags",
    scheme: AnyScheme = "auto",
    id: str | None = None,
    image: str | None = None,
    fine_tags: str | None = None,
    types: Sequence[str] | None = None,
    orphans: Orphans = "promote",
) -> Any:
    """Return a dataset of words with tags in any scheme as posts, with the columns ``id``, ``tokens`` and ``ner_tags``.

    Other columns stay, but for those that are read, and for those that have one of our names and another meaning. A row
    that cannot be read is left out, as ``convert`` does: one warning counts them, and another says how tags are read
    where that is not as plain BIO. A streamed dataset is read once for its scheme and types, unless its labels have
    names, and warns of each batch as it is read.

    Args:
        dataset: a dataset, streamed or not, or a dict of splits.
        tokens: the column of words, a list in each row, or its JSON, or words between blanks.
        tags: the column of their tags: labels, or text as the words.
        scheme: of the tags, as ``bioes``; ``auto`` recognises it.
        id: the column of ids; without one, and without a column ``id``, they are made of the split and the row.
        image: the column of pictures, or of their paths, or of lists of them (then it is ``images``); without it, a
            column ``image`` or ``images``.
        fine_tags: the column of tags of fine types.
        types: the types, if they are known; rows with others are left out.
        orphans: what becomes of tags that do not fit the scheme: ``promote`` keeps their words in entities, as
            seqeval's default mode; ``drop`` takes the entity away, as its strict mode; ``error`` raises.

    Raises:
        UnknownName: there is no such column, scheme or policy.
        UsageError: the scheme is not that of the tags, or a streamed dataset does not know its columns.
        DataError: no row can be read, none has an entity, or a tag does not fit with ``orphans="error"``.
    """
    asked = known_scheme(scheme)
    if orphans not in ORPHANS:
        raise UnknownName("policy for orphans", orphans, ORPHANS)
    names = {"tokens": tokens, "tags": tags, "id": id, "fine_tags": fine_tags}
    splits = splits_of(dataset, (*names.values(), image))
    makers = {split: TaggedRows.of(rows, split, names, orphans) for split, rows in splits.items()}
    found = _reading(splits, makers, asked)
    kinds = tuple(types or in_order({*found.types}))
    if not kinds:
        spelt = (post for _, post in _rows(splits, makers))
        bad = next((post for post in read_tags(spelt, "row", found, "promote") if isinstance(post, BadLine)), None)
        raise DataError(f"row {bad.line}: {bad.reason}" if bad else f"every tag of {tags} is O: expected entities")
    _warn(found, by_labels=_only_labels(splits, makers))
    fine = in_order({*found.fine_types})
    makers = {split: replace(maker, reading=found, types=kinds, fine_types=fine) for split, maker in makers.items()}
    if all(map(is_whole, splits.values())):
        tell(splits, makers, orphans)
    return made(dataset, splits, makers, image)


@dataclass(frozen=True)
class TaggedRows:
    """Makes posts of the rows of a split: a ``mapped.Maker``.

    ``names`` are the columns of ``tokens``, ``tags``, ``id`` and ``fine_tags``, where there are such.
    """

    name: ClassVar[str] = "from_tags"

    split: str
    columns: Mapping[str, Any]
    others: Mapping[str, Any]
    names: Mapping[str, str]
    orphans: Orphans
    warns: bool
    reading: TagReading | None = None
    types: tuple[str, ...] = ()
    fine_types: tuple[str, ...] = ()
    version: str = __version__  # a cached result of other code is not taken

    @classmethod
    def of(cls, rows: Any, split: str, names: Mapping[str, str | None], orphans: Orphans = "promote") -> "TaggedRows":
        """Return what makes posts of a split.

        Raises:
            DataError: a row is a word and not a post.
        """
        known = {"id": "id"} if "id" in rows.features else {}
        known |= {ours: theirs for ours, theirs in names.items() if theirs is not None}
        read = list(dict.fromkeys(known.values()))
        columns = {name: rows.features[name] for name in read}
        if is_whole(rows):
            _check_posts(rows, known["tokens"], split)
        return cls(split, columns, other_columns(rows, read), known, orphans, not is_whole(rows))

    def spelt(self, rows: Iterable[Mapping[str, Any]], numbers: Iterable[int]) -> Iterator[RawPost | BadLine]:
        """Yield the posts of rows with tags as they are spelt, given their numbers from 0."""
        for row, number in zip(rows, numbers, strict=False):
            try:
                yield self._post(row, number + 1)
            except DataError as error:
                yield BadLine(number + 1, str(error))

    def posts(self, rows: Iterable[Mapping[str, Any]], numbers: Iterable[int]) -> Iterator[RawPost | BadLine]:
        """Yield the posts of rows, given their numbers from 0."""
        assert self.reading is not None, "the scheme is recognised before"
        spelt = self.spelt(rows, numbers)
        for post in read_tags(spelt, f"{self.split} row", self.reading, self.orphans, repair=True):
            yield post if isinstance(post, BadLine) else of_types(post, self.types)

    @property
    def features(self) -> "Features":
        """The columns of posts, and those that stay."""
        from datasets import Features

        return Features({**mner_features(self.types, fine_types=self.fine_types, images="none"), **self.others})

    def __call__(self, table: "pa.Table", numbers: Sequence[int]) -> "pa.Table":
        """Return the table of the posts that rows make."""
        return table_of_posts(self, table, numbers)

    def labels(self, name: str) -> list[str]:
        """Return the names of the labels of a column of tags; empty for texts."""
        feature = getattr(self.columns.get(self.names.get(name, "")), "feature", None)
        return list(getattr(feature, "names", None) or ())

    def _post(self, row: Mapping[str, Any], number: int) -> RawPost:
        post_id = id_of(row[self.names["id"]] if "id" in self.names else None) or f"{self.split}-{number}"
        words = _listed(row[self.names["tokens"]], f"post {post_id}: {self.names['tokens']}")
        if words and (fault := next(word_faults(words), None)):
            raise DataError(f"post {post_id}: {fault}")
        if excess := too_long(words):
            raise DataError(f"post {post_id} has {excess}: it is left out")
        tags, fine = (self._tags(row, name, post_id, len(words)) if name in self.names else [] for name in _TAGS)
        return RawPost(post_id, number, (), words, tags, fine, [number] * len(words))

    def _tags(self, row: Mapping[str, Any], name: str, post_id: str, n_words: int) -> list[str]:
        """Return the tags of a row [n_words], by their names."""
        column = self.names[name]
        tags = with_names(_listed(row[column], f"post {post_id}: {column}"), self.columns[column])
        for i, tag in enumerate(tags):
            if not isinstance(tag, str):
                hint = f": {NAME_LABELS.format(column)}" if isinstance(tag, int) else ""
                raise DataError(f"post {post_id}: expected tags that are text or labels, word {i} has {tag!r}{hint}")
        if len(tags) != n_words:
            raise DataError(f"post {post_id}: expected a tag for each of {n_words} words, found {len(tags)}")
        return tags


def _check_posts(rows: Any, column: str, split: str) -> None:
    """Check that the first rows are not one word each, as in a table with a word and its tag on each line.

    Raises:
        DataError: they are.
    """
    feature = rows.features[column]
    if getattr(feature, "dtype", None) not in ("string", "large_string") or len(rows) < _FEWEST:
        return
    texts = rows.select_columns([column])[:_LOOKED_AT][column]
    if all(text is None or (len(text.split()) < 2 and not text.lstrip().startswith("[")) for text in texts):
        raise DataError(
            f"{split}: expected a post in each row, found one word in each ({column} {texts[0]!r}, {texts[1]!r}, …): "
            "group the rows of a post into lists first, as pandas does with groupby(…).agg(list)"
        )


def _listed(value: Any, where: str) -> list[Any]:
    """Return a list, or the list that a text holds: JSON, Python's, or words between blanks.

    Raises:
        DataError: it is neither.
    """
    if not isinstance(value, str):
        if value is None or isinstance(value, list):
            return value or []
        raise DataError(f"{where}: expected a list, found {str(value)[:60]!r}")
    if not value.lstrip().startswith("["):
        return value.split()
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = _literal(value, where)
    if not isinstance(found, list):
        raise DataError(f"{where}: expected a list, found {value[:60]!r}")
    return found


def _literal(text: str, where: str) -> list[Any]:
    """Return the texts and numbers of a list as Python prints it.

    One without commas, as pandas writes arrays of NumPy, is refused: Python takes ``['a' 'b']`` for one text.

    Raises:
        DataError: it is anything else.
    """
    line = re.sub(r"[\r\n]+", " ", text.strip())
    fault = DataError(f"{where}: expected a list as JSON or Python writes it, found {text[:60]!r}")
    try:
        found = ast.parse(line, mode="eval").body
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise fault from error
    encoded = line.encode()
    values = []
    for item in found.elts if isinstance(found, ast.List) else [found]:
        spelt = encoded[item.col_offset : item.end_col_offset]
        if not isinstance(item, ast.Constant) or (isinstance(item.value, str) and not _ONE_TEXT.fullmatch(spelt)):
            raise fault
        values.append(item.value)
    return values


def _rows(splits: Mapping[str, Any], makers: Mapping[str, TaggedRows]) -> Iterator[tuple[str, RawPost | BadLine]]:
    """Yield the posts of all splits with tags as they are spelt, each with its place."""
    for split, maker in makers.items():
        rows = splits[split].select_columns(list(maker.columns))
        yield from ((f"{split} row", post) for post in maker.spelt(rows, itertools.count()))


def _reading(splits: Mapping[str, Any], makers: Mapping[str, TaggedRows], asked: Scheme | None) -> TagReading:
    """Return how the tags of all splits are read; those of a stream by the names of its labels, if they have any."""
    labels = [{label for maker in makers.values() for label in maker.labels(name)} for name in _TAGS]

    def of_labels() -> Iterator[tuple[str, RawPost]]:
        for coarse, fine in itertools.zip_longest(*map(sorted, labels)):
            tags, fine_tags = ([label] if label else [] for label in (coarse, fine))
            yield "label", RawPost("of the labels", 0, (), [coarse or fine], tags, fine_tags, [0])

    found = recognise_in(
        of_labels if _only_labels(splits, makers) else lambda: _rows(splits, makers), asked, "scheme={!r}"
    )
    for tagging, types, names in zip((found.coarse, found.fine), (found.types, found.fine_types), labels, strict=True):
        types.update({tagging.parse(name)[1]: 0 for name in names if tagging.reads(name)})
        types.pop("", None)
    return found


def _only_labels(splits: Mapping[str, Any], makers: Mapping[str, TaggedRows]) -> bool:
    """Return whether the scheme is that of the names of labels: of a stream, whose rows are not read before."""
    named = all(maker.labels(name) for maker in makers.values() for name in _TAGS if name in maker.names)
    return named and not any(map(is_whole, splits.values()))


def _warn(found: TagReading, *, by_labels: bool) -> None:
    """Say how tags are read, where that is not as plain BIO, and which types look alike."""
    for tagging, line in zip((found.coarse, found.fine), found.why, strict=False):
        fits = by_labels or "all fit" in line  # labels alone have no neighbours to fit
        if tagging != Tagging() or not fits:
            warnings.warn(f"from_tags: {line}", stacklevel=3)
    for kinds in (found.types, found.fine_types):
        if alike := similar_types(kinds):
            warnings.warn(f"from_tags: {alike}", stacklevel=3)
