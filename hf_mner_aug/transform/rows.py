"""Rows of datasets, and of the batches that ``map`` gives a method, as posts or plain columns."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.schema import IMAGE_COLUMNS, Codec, Post
from hf_mner_aug.storage.picture_columns import PictureReader, is_named_only, with_bytes
from hf_mner_aug.storage.picture_files import NOWHERE

if TYPE_CHECKING:
    import pyarrow as pa


def iterate_posts(dataset: Any, codec: Codec, *, images: bool = False) -> Iterator[Post]:
    """Yield a dataset's rows as posts; without ``images``, posts have no pictures and none is read.

    A warning counts the fine types that are lost because their span is no entity.
    """
    columns = [name for name in codec.columns if images or name not in IMAGE_COLUMNS]
    absent = {} if images or not codec.image_column else {codec.image_column: None}
    n_lost, first = 0, ""
    for row in iterate_rows(dataset, columns):
        yield codec.to_post(row | absent)
        if lost := codec.lost_fine_spans(row):
            n_lost += len(lost)
            first = first or f"post {row['id']}: fine_tags have the span [{lost[0][0]}, {lost[0][1]}), ner_tags do not"
    if n_lost:
        warnings.warn(
            f"{first}: its fine type is lost, {n_lost} in all: give both columns the same spans (hf-mner-aug validate "
            "lists them)",
            stacklevel=2,
        )


def iterate_rows(dataset: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Yield some columns of a dataset's rows, batch by batch; pictures stay encoded."""
    images = any(name in IMAGE_COLUMNS for name in columns)
    if hasattr(dataset, "cleanup_cache_files"):
        dataset = dataset.with_format("arrow")
    elif images:  # streamed
        dataset = dataset.decode(False)
    features = {name: dataset.features[name] for name in columns if name in IMAGE_COLUMNS} if images else {}
    reader = PictureReader(NOWHERE)
    for batch in dataset.select_columns(columns).iter(64 if images else 1000):
        values = columns_of(batch)
        for name, feature in features.items():
            values[name], _ = without_named(values[name], feature, reader)
        yield from rows_of(values, columns)
    reader.warn()


def without_named(
    values: list[Any], feature: Any, reader: PictureReader | None = None
) -> tuple[list[Any], PictureReader]:
    """Return a column of pictures without those that are only named, and the reader that counted them."""
    reader = reader or PictureReader(NOWHERE)
    for value in values:
        if any(map(is_named_only, value if isinstance(value, list) else [value])):
            return [with_bytes(value, feature, reader) for value in values], reader
    return values, reader


def columns_of(batch: Any) -> dict[str, list[Any]]:
    """Return a batch's columns as Python lists, from its Arrow table if it has one: images stay encoded."""
    table: pa.Table | None = getattr(batch, "pa_table", None)
    if table is None and hasattr(batch, "column_names") and hasattr(batch, "schema"):
        table = batch
    if table is not None and type(batch).__name__ != "LazyRow":  # a row is what map gives without batched=True
        return {name: table.column(name).to_pylist() for name in table.column_names}
    if not isinstance(batch, Mapping):
        raise UsageError(
            f"expected a batch of rows, found {type(batch).__module__}.{type(batch).__qualname__}: "
            "call ds.with_format(None) before map"
        )
    return dict(batch)


def check_encoded(values: Iterable[Any]) -> None:
    """Raise unless every image is still encoded."""
    for value in values:
        for image in value if isinstance(value, list) else [value]:
            if image is not None and not isinstance(image, Mapping):
                raise UsageError(
                    f"expected encoded images, found {type(image).__name__}: decoding and encoding again would change "
                    "their bytes; map stream.decode(False), or ds.with_format(None) where it has a format"
                )


def rows_of(columns: Mapping[str, list[Any]], names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of some columns."""
    for values in zip(*(columns[name] for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def features_of(batch: Any) -> tuple[Mapping[str, Any] | None, bool]:
    """Return the features of a batch, if it knows any, and whether they are certainly those of its dataset.

    A table of a stream may carry the features of the files that the stream was opened with.
    """
    if (formatter := getattr(batch, "formatter", None)) is not None:
        return formatter.features, True
    if (schema := getattr(batch, "schema", None)) is not None and b"huggingface" in (schema.metadata or {}):
        from datasets import Features

        return Features.from_arrow_schema(schema), False
    return None, False
