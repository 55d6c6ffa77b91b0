"""Fingerprints of content: equal for equal rows, wherever and however they are stored.

A value is digested after the cast to the features, an image by its bytes. Cache paths, image paths, Arrow chunks and
offsets, the order of columns, and whether images are embedded or decoded on reading make no difference.
"""

import base64
import datetime
import decimal
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.progress import watch_rows
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.storage.parquet import read_features_of, reading
from hf_mner_aug.storage.picture_columns import holds_files, is_named_only, map_files, rows_at_a_time
from hf_mner_aug.storage.picture_files import shown

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features

ROW_BYTES = 4  # kept of each row's digest
DIGEST = "_sha256"  # the suffix of a column that holds the digests of values that were left out
_LARGE = {"LargeList": "List", "large_string": "string", "large_binary": "binary"}


class ContentDigest:
    """The fingerprint of rows that arrive in batches; the batch boundaries make no difference."""

    def __init__(self, features: "Features") -> None:
        self.features = features
        self.n_rows = 0
        self._columns = {name: hashlib.sha256() for name in features}
        self._rows = bytearray()

    def update(self, table: "pa.Table") -> None:
        """Add the rows of a table; raises as ``row_digests``."""
        by_column = row_digests(table, self.features, first_row=self.n_rows)
        for name, digests in by_column.items():
            self._columns[name].update(b"".join(digests))
        for row in zip(*by_column.values(), strict=True):
            self._rows += hashlib.sha256(b"".join(row)).digest()[:ROW_BYTES]
        self.n_rows += table.num_rows

    def columns(self) -> dict[str, str]:
        """Return the fingerprint of each column's values, in hexadecimal."""
        return {name: column.hexdigest() for name, column in self._columns.items()}

    def rows(self) -> str:
        """Return the first bytes of each row's digest, all in base64: enough to find a row that changed."""
        return base64.b64encode(self._rows).decode()

    def hexdigest(self) -> str:
        """Return the fingerprint of the rows and their features."""
        content = {"columns": self.columns(), "features": _canonical(self.features.to_dict()), "rows": self.n_rows}
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def content_fingerprint(dataset: "Dataset | Mapping[str, Dataset]") -> str:
    """Return the fingerprint of a dataset or of a dict of splits, whose order makes no difference.

    Raises:
        DataError: as ``row_digests``.
    """
    if isinstance(dataset, Mapping):
        return _of_splits({split: content_fingerprint(rows) for split, rows in dataset.items()})
    content = ContentDigest(dataset.features)
    for table in _batches(dataset):
        content.update(table)
    return content.hexdigest()


@dataclass(frozen=True)
class Fingerprint:
    """The ``content_fingerprint`` of some splits, and digests by split that locate a difference."""

    total: str
    columns: Mapping[str, Mapping[str, str]]
    rows: Mapping[str, str]

    def difference(self, other: "Fingerprint") -> tuple[str, int | None, list[str]] | None:
        """Return the first split, its first row and the columns that differ, or None; the row is None for features."""
        for split in sorted({*self.columns, *other.columns}):
            mine, theirs = self.columns.get(split, {}), other.columns.get(split, {})
            changed = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
            if changed:
                pairs = zip_longest(*(_row_digests_of(f.rows.get(split, "")) for f in (self, other)))
                same_columns = mine.keys() == theirs.keys()
                row = next((i for i, (a, b) in enumerate(pairs) if a != b), None) if same_columns else None
                return split, row, changed
        return None


def parquet_fingerprint(files: Mapping[str, Sequence[Path]]) -> Fingerprint:
    """Return the fingerprint of the splits in some Parquet files, read without a copy in a cache.

    Raises:
        DataError: as ``row_digests``.
        Corrupt: a file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    contents = {}
    for split, paths in files.items():
        contents[split] = ContentDigest(read_features_of(paths[0]))
        for path in paths:
            with reading(path), pq.ParquetFile(path) as parquet:
                batches = parquet.iter_batches(batch_size=rows_at_a_time(contents[split].features))
                tables = (pa.Table.from_batches([batch]) for batch in batches)
                for table in watch_rows(tables, f"reads {path.name}", parquet.metadata.num_rows):
                    contents[split].update(table)
    return Fingerprint(
        _of_splits({split: content.hexdigest() for split, content in contents.items()}),
        {split: content.columns() for split, content in contents.items()},
        {split: content.rows() for split, content in contents.items()},
    )


def row_digests(table: "pa.Table", features: "Features", *, first_row: int = 0) -> dict[str, list[bytes]]:
    """Return the SHA-256 of each value [n_rows] of each column; rows without an id are counted from ``first_row``.

    If a column is missing, ``<column>_sha256`` may replace it, with the digests in hexadecimal.

    Raises:
        DataError: the table lacks a column, does not fit the features, holds NaN or infinity, or names an image file
            without its bytes.
    """
    import pyarrow as pa
    from datasets import Features
    from datasets.table import CastError, table_cast

    missing = [name for name in features if name not in table.column_names]
    known = {name: _known_digests(table, name) for name in missing if name + DIGEST in table.column_names}
    if len(known) < len(missing):
        absent = next(name for name in missing if name not in known)
        raise DataError(f"expected the column {absent}, found {', '.join(table.column_names)}")
    schema = Features({name: feature for name, feature in features.items() if name not in known}).arrow_schema
    try:
        table = table_cast(table.select(schema.names), schema)
    except (CastError, TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(f"rows {first_row} to {first_row + table.num_rows} do not fit the features: {error}") from error
    return {
        name: known[name] if name in known else _digests(table, name, features[name], first_row)
        for name in sorted(features)
    }


def _of_splits(fingerprints: Mapping[str, str]) -> str:
    """Return the fingerprint of splits from theirs; their order makes no difference."""
    return hashlib.sha256(canonical_json(dict(fingerprints)).encode()).hexdigest()


def _row_digests_of(rows: str) -> list[bytes]:
    data = base64.b64decode(rows)
    return [data[i : i + ROW_BYTES] for i in range(0, len(data), ROW_BYTES)]


def _batches(dataset: "Dataset") -> Iterator["pa.Table"]:
    """Yield a dataset's rows as they are stored, in smaller batches if there are pictures."""
    return dataset.with_format("arrow").iter(batch_size=rows_at_a_time(dataset.features))


def _known_digests(table: "pa.Table", name: str) -> list[bytes]:
    """Return the digests [n_rows] that replace a column's values."""
    try:
        return [bytes.fromhex(digest) for digest in table.column(name + DIGEST).to_pylist()]
    except (TypeError, ValueError) as error:
        raise DataError(f"the column {name}{DIGEST} holds values that are not digests in hexadecimal") from error


def _digests(table: "pa.Table", name: str, feature: Any, first_row: int) -> list[bytes]:
    """Return the digest of each value [n_rows] of a column that has been cast to its feature."""
    files = holds_files(feature)
    digests: list[bytes] = []
    texts: dict[str, bytes] = {}  # many rows have the same text, of a method or a provenance
    for value in table.column(name).to_pylist():
        try:
            if type(value) is str:
                digest = texts.get(value) or texts.setdefault(value, _digest(value))
            else:
                digest = value_digest(value, feature) if files else _digest(value)
            digests.append(digest)
        except _Unread as error:
            where = _row_id(table, len(digests), first_row)
            raise DataError(f"post {where}: column {name} {error}") from error
        except ValueError as error:
            where = _row_id(table, len(digests), first_row)
            raise DataError(f"post {where}: column {name} holds NaN or infinity: replace it with null") from error
    return digests


def value_digest(value: Any, feature: Any) -> bytes:
    """Return the digest that ``row_digests`` gives a value already cast to its feature."""
    return _digest(map_files(value, feature, _file_digest))


def _digest(value: Any) -> bytes:
    return hashlib.sha256(_ENCODER.encode(value).encode()).digest()


class _Unread(DataError):
    """A value names a file and has no bytes."""


def _file_digest(file: Any) -> str | None:
    """Return the SHA-256 of an encoded file, or None if it has neither bytes nor a path."""
    if is_named_only(file):
        raise _Unread(f"names the file {shown(file['path'])}, which is not read: call embed_pictures first")
    return image_digest(file)


def _plain(value: Any) -> str:
    """Return a value of a type that JSON lacks as a string."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return str(value)
    raise DataError(f"a {type(value).__name__} has no fingerprint: cast or remove its column")


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False, default=_plain
)


def _canonical(features: Any) -> Any:
    """Return features, as plain data, without details of how values are stored or read."""
    if isinstance(features, dict):
        typed = isinstance(features.get("_type"), str)
        return {key: _canonical(value) for key, value in features.items() if not (typed and key == "decode")}
    if isinstance(features, list):
        return [_canonical(value) for value in features]
    return _LARGE.get(features, features)


def _row_id(table: "pa.Table", row: int, first_row: int) -> str:
    return str(table.column("id")[row] if "id" in table.column_names else first_row + row)
