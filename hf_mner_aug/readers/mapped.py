"""Posts made of the rows of a dataset, streamed or not: the common part of ``from_spans`` and ``from_tags``.

Rows are read as tables of Arrow, so that pictures are not decoded. A row that cannot be read is left out, and one
warning counts them.
"""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hf_mner_aug.columns.mapping import map_columns
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.readers.formats import RawPost
from hf_mner_aug.readers.left_out import likeliest
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.report import Report, SplitReport
from hf_mner_aug.schema import COLUMNS, IMAGE_COLUMNS, Orphans

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

BATCH = 100  # rows in memory, with their pictures


class Maker(Protocol):
    """Makes posts of the rows of a split: a function for ``map`` with tables of Arrow, and with indices.

    ``columns`` are those to read and ``others`` those that stay, each with its feature; ``features`` are those of the
    posts. With ``warns``, each batch warns of the rows that are left out, in the name of ``name``.
    """

    @property
    def name(self) -> str:
        """The name of the function that makes posts."""

    @property
    def split(self) -> str:
        """The name of the split."""

    @property
    def columns(self) -> Mapping[str, Any]:
        """The columns to read."""

    @property
    def others(self) -> Mapping[str, Any]:
        """The columns that stay."""

    @property
    def warns(self) -> bool:
        """Whether each batch warns."""

    @property
    def features(self) -> "Features":
        """The columns of posts, and those that stay."""

    def posts(self, rows: Iterable[Mapping[str, Any]], numbers: Iterable[int]) -> Iterator[RawPost | BadLine]:
        """Yield the posts of rows, given their numbers from 0."""

    def __call__(self, table: "pa.Table", numbers: Sequence[int]) -> "pa.Table":
        """Return the table of the posts that rows make."""


def splits_of(dataset: Any, names: Sequence[str | None]) -> dict[str, Any]:
    """Return the splits of a dataset or a dict of them, whose columns are checked to be there.

    Raises:
        UnknownName: there is no such column.
        UsageError: a streamed dataset does not know its columns.
    """
    own = str(getattr(dataset, "split", None) or "train").partition("[")[0]  # a slice is train[:10%]
    splits = dict(dataset) if isinstance(dataset, Mapping) else {own: dataset}
    for rows in splits.values():
        if rows.features is None:
            raise UsageError("expected a stream that knows its columns: give load_dataset features=…")
        for name in names:
            if name is not None and name not in rows.features:
                raise UnknownName("column of the set", name, rows.features)
    return splits


def other_columns(rows: Any, read: Sequence[str]) -> dict[str, Any]:
    """Return the columns that stay, with their features: neither read, nor of one of our names with another meaning."""
    ours = {*COLUMNS} - {*IMAGE_COLUMNS}
    return {name: kind for name, kind in rows.features.items() if name not in {*read, *ours}}


def is_whole(rows: Any) -> bool:
    """Return whether a dataset is not streamed."""
    return hasattr(rows, "cleanup_cache_files")


def with_names(value: Any, feature: Any) -> Any:
    """Return a value with the names of numbered labels in it."""
    if isinstance(value, dict) and isinstance(feature, dict):
        return {name: with_names(inner, feature.get(name)) for name, inner in value.items()}
    if isinstance(value, list) and hasattr(feature, "feature"):
        return [with_names(inner, feature.feature) for inner in value]
    names = getattr(feature, "names", None)
    return names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value


def of_types(post: RawPost, types: Sequence[str]) -> RawPost | BadLine:
    """Return a post, or a bad line if it has another type than those that are known."""
    others = {tag[2:] for tag in post.tags if tag != "O"} - {*types}
    if not others:
        return post
    why = f"expected a type of {', '.join(types)}, found {', '.join(sorted(others))}"
    return BadLine(post.line, f"post {post.id[:100]}: {why}: it is left out")


def counted(posts: Iterable[RawPost | BadLine], counts: SplitReport) -> Iterator[RawPost]:
    """Yield posts, and count them and what is noted of them."""
    for post in posts:
        if isinstance(post, BadLine):
            counts.leave_out(post, "row")
            continue
        if not post.tokens:
            counts.note("empty_posts", post.id)
            continue
        counts.posts += 1
        for trouble, example in post.notes:
            counts.note(trouble, example)
        yield post


def table_of_posts(maker: Maker, table: "pa.Table", numbers: Sequence[int]) -> "pa.Table":
    """Return the table of the posts that rows make."""
    import pyarrow as pa
    from datasets import Features

    batch = Features(maker.columns).decode_batch(table.select(list(maker.columns)).to_pydict())
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    counts = SplitReport(maker.split)
    posts = list(counted(maker.posts(rows, numbers), counts))
    if maker.warns:
        _warn(maker, {maker.split: counts})
    features = maker.features
    columns: dict[str, list[Any]] = {"id": [post.id for post in posts], "tokens": [post.tokens for post in posts]}
    for name, tags in {"ner_tags": "tags", "fine_tags": "fine_tags"}.items():
        if name in features and name not in maker.others:
            numbered = {tag: i for i, tag in enumerate(features[name].feature.names)}
            columns[name] = [[numbered[tag] for tag in getattr(post, tags)] for post in posts]
    at = {number: i for i, number in enumerate(numbers)}
    stay = table.select(list(maker.others)).take([at[post.line - 1] for post in posts])
    schema = features.arrow_schema
    arrays = [pa.array(values, schema.field(name).type) for name, values in columns.items()]
    return pa.Table.from_arrays([*arrays, *stay.columns], names=[*columns, *stay.column_names])


def tell(splits: Mapping[str, Any], makers: Mapping[str, Maker], orphans: Orphans = "promote") -> None:
    """Warn of what is left out and changed.

    Raises:
        DataError: no row can be read, or not half of those of a split.
    """
    counts = {split: SplitReport(split) for split in splits}
    for split, maker in makers.items():
        rows = splits[split].select_columns(list(maker.columns))
        for _ in counted(maker.posts(rows, itertools.count()), counts[split]):
            pass
    maker = next(iter(makers.values()))
    if not any(count.posts for count in counts.values()):
        raise DataError(f"no row can be read: {_troubles(maker, counts, orphans)}")
    for split, count in counts.items():
        if count.bad_lines > count.posts:
            n_rows = count.posts + count.bad_lines
            raise DataError(f"{split}: {count.bad_lines:,} of {n_rows:,} rows cannot be read; {likeliest(count)}")
    _warn(maker, counts, orphans)


def made(dataset: Any, splits: Mapping[str, Any], makers: Mapping[str, Maker], image: str | None) -> Any:
    """Return the posts of a dataset, or of a dict of splits, with a column of pictures as ``image`` or ``images``."""
    posts = {split: _made(rows, makers[split]) for split, rows in splits.items()}
    several = image is not None and any(hasattr(rows.features[image], "feature") for rows in splits.values())
    posts = map_columns(posts, {} if image is None else {"images" if several else "image": image})
    again: Any = dataset.__class__
    return again(posts) if isinstance(dataset, Mapping) else next(iter(posts.values()))


def _made(rows: Any, maker: Maker) -> Any:
    """Return the posts of a split, streamed if it is."""
    arguments: dict[str, Any] = {"batched": True, "batch_size": BATCH, "with_indices": True, "features": maker.features}
    if is_whole(rows) and not len(rows):  # map gives such a dataset back as it is
        return rows.__class__.from_dict({name: [] for name in maker.features}, features=maker.features)
    return rows.with_format("arrow").map(maker, **arguments).with_format(None)


def _warn(maker: Maker, counts: Mapping[str, SplitReport], orphans: Orphans = "promote") -> None:
    if said := _troubles(maker, counts, orphans):
        warnings.warn(f"{maker.name}: {said}", stacklevel=4)


def _troubles(maker: Maker, counts: Mapping[str, SplitReport], orphans: Orphans = "promote") -> str:
    return "; ".join(Report(maker.name, orphans, False, splits=dict(counts)).troubles())
