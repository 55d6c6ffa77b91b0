"""Parquet files with embedded pictures whose bytes depend only on the rows.

``Dataset.to_parquet`` keeps local paths of picture files, and its bytes depend on the batch size; here they do not:

- ``write_table(path, table, features)`` writes one file, such as a part of the ledger;
- ``write_shards(batches, folder, stem, features)`` streams a split into ``stem-00000-of-0000N.parquet``.

Both cast to the features (so that the schema carries the ``huggingface`` metadata), keep only the base names of picture
files, cut row groups by the sizes of the rows, and give a file its name only once it is complete on disk. They read no
other file: a picture with a path but no bytes is written as missing, with a warning.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hf_mner_aug.exceptions import Corrupt, DataError
from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.storage.locks import unfinished
from hf_mner_aug.storage.picture_columns import PictureReader, rows_at_a_time, seal
from hf_mner_aug.storage.picture_files import NOWHERE
from hf_mner_aug.storage.swap import sync
from hf_mner_aug.untrusted.cards import reader_errors
from hf_mner_aug.untrusted.printable import excerpt

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import Features

MAX_SHARD_BYTES = 450_000_000
ROW_GROUP_BYTES = 64_000_000
ROW_GROUP_ROWS = 20_000
STEP = 100  # rows read at a time


def write_table(
    path: str | Path, table: "pa.Table", features: "Features", *, row_group_bytes: int = ROW_GROUP_BYTES
) -> Path:
    """Write a table of the features' columns, in any order, to one Parquet file; return its path.

    An existing file is replaced atomically; a failure leaves it unchanged and no other file behind.

    Raises:
        DataError: the columns are not those of the features, or a value does not fit.
        DiskFull: the disk is full.
    """
    path = Path(path)
    writers: list[_Writer] = []
    with room_for(path, partial(_size, writers)), unfinished(path) as temporary:
        writers.append(_Writer(temporary, features))
        with writers[0] as writer:
            for group, _ in _row_groups([table], features, row_group_bytes):
                writer.write(group)
        temporary.replace(path)
    sync(path.parent)
    return path


def write_shards(
    batches: "Iterable[pa.Table]",
    folder: str | Path,
    stem: str,
    features: "Features",
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    row_group_bytes: int = ROW_GROUP_BYTES,
) -> list[Path]:
    """Write tables, one after the other, to ``folder/stem-00000-of-0000N.parquet``; return the paths in order.

    Holds one row group in memory. The batching of the rows changes no byte; no rows give one file without rows.
    Earlier shards of the same stem are replaced, file by file: to replace several at once, write into a new folder and
    rename that. A failure before the last row leaves them unchanged and no other file behind.

    Raises:
        DataError: the columns are not those of the features, or a value does not fit.
        DiskFull: the disk is full.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    writers: list[_Writer] = []
    with room_for(folder / f"{stem}-*.parquet", partial(_size, writers)), contextlib.ExitStack() as temporaries:
        with contextlib.ExitStack() as stack:
            filled = 0
            for group, size in _row_groups(batches, features, row_group_bytes):
                if not writers or filled + size > max_shard_bytes:
                    stack.close()
                    writers.append(_Writer(temporaries.enter_context(unfinished(folder / stem)), features))
                    stack.enter_context(writers[-1])
                    filled = 0
                writers[-1].write(group)
                filled += size
        count = len(writers)
        paths = [folder / f"{stem}-{i:05}-of-{count:05}.parquet" for i in range(count)]
        for stale in shards(folder, stem):
            if stale not in paths:
                stale.unlink()
        for writer, path in zip(writers, paths, strict=True):
            writer.path.replace(path)
    sync(folder)
    return paths


def shards(folder: str | Path, stem: str) -> list[Path]:
    """Return the files that ``write_shards`` wrote for a stem, in order."""
    name = re.compile(re.escape(stem) + r"-\d{5}-of-\d{5}\.parquet")
    return sorted(path for path in Path(folder).iterdir() if name.fullmatch(path.name))


@contextlib.contextmanager
def reading(where: object, advice: str = "") -> Iterator[None]:
    """Turn the errors of a damaged or malformed Parquet file into one line.

    Raises:
        Corrupt: the file is damaged or malformed.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise Corrupt(_damage(where, error, advice)) from error
    except OSError as error:
        if error.errno is not None:  # the machine's error; Arrow's own has no errno
            raise
        raise Corrupt(_damage(where, error, advice)) from error


def _damage(where: object, error: Exception, advice: str) -> str:
    said = excerpt(str(error).partition("\n")[0], 120)
    return f"{where}: expected whole Parquet files, found damage ({said})" + (f": {advice}" if advice else "")


def read_features_of(path: Path) -> "Features":
    """Return the features of a Parquet file.

    Raises:
        Corrupt: it is damaged, or its schema has no valid features.
    """
    import pyarrow.parquet as pq
    from datasets import Features

    with reading(path):
        schema = pq.read_schema(path)
    try:
        return Features.from_arrow_schema(schema)
    except reader_errors() as error:
        said = excerpt(f"{type(error).__name__}: {error}", 120)
        raise Corrupt(f"{path}: expected a schema with the features of datasets, found others ({said})") from error


def find_damaged(paths: Iterable[Path]) -> str | None:
    """Return which of some Parquet files is damaged, and how; None if all can be read."""
    import pyarrow.parquet as pq

    for path in sorted(paths):
        try:
            with reading(path), pq.ParquetFile(path) as parquet:
                for batch in parquet.iter_batches(batch_size=STEP):
                    batch.validate(full=True)
            read_features_of(path)
        except Corrupt as error:
            return str(error)
    return None


class _Writer:
    """A Parquet file to write, with fixed options; the context creates it, and syncs it to disk at the end.

    Arrow writes to memory, and each row group is copied to the file from there: a write that fails (the disk is full)
    or is interrupted (Python raises Ctrl-C wherever its code runs) inside Arrow would abort the process.
    """

    def __init__(self, path: Path, features: "Features") -> None:
        self.path = path
        self.size = 0  # bytes of the file, including those that did not fit on the disk
        self._features = features
        self._memory = io.BytesIO()

    def write(self, group: "pa.Table") -> None:
        """Write the table as one row group."""
        self._parquet.write_table(group, row_group_size=max(group.num_rows, 1))
        self._move()

    def __enter__(self) -> "_Writer":
        import pyarrow.parquet as pq

        leaves = _leaves(self._features)
        self._file = self.path.open("wb", buffering=0)
        self._parquet = pq.ParquetWriter(
            self._memory,
            self._features.arrow_schema,
            version="2.6",
            data_page_version="1.0",
            # Pictures are compressed already, and a dictionary of them only costs memory.
            compression={leaf: "none" if picture else "zstd" for leaf, picture in leaves.items()},
            use_dictionary=[leaf for leaf, picture in leaves.items() if not picture],
            write_statistics=[leaf for leaf, picture in leaves.items() if not picture],
            write_page_index=True,
            # Pages cut by content, as datasets does, so that the Hub stores a row that did not change only once.
            use_content_defined_chunking={"min_chunk_size": 262144, "max_chunk_size": 1048576, "norm_level": 0},
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: object, trace: object) -> None:
        with self._file:
            self._parquet.close()
            if kind is None:
                self._move()
                os.fsync(self._file.fileno())

    def _move(self) -> None:
        """Copy Arrow's output to the file and empty the memory; Arrow keeps its own offset."""
        with self._memory.getbuffer() as written:
            self.size += len(written)
            done = 0
            while done < len(written):
                with written[done:] as left:
                    done += self._file.write(left)
        self._memory.seek(0)
        self._memory.truncate()


def _row_groups(
    batches: "Iterable[pa.Table]", features: "Features", row_group_bytes: int
) -> "Iterator[tuple[pa.Table, int]]":
    """Yield tables to write as one row group each, with their size in bytes; at least one, possibly empty."""
    import pyarrow as pa

    pending: list[pa.Table] = []
    rows = size = 0
    groups = 0
    for table in _prepared(batches, features):
        begin = 0
        for end, row in enumerate(_row_bytes(table.to_struct_array().combine_chunks()).tolist()):
            if rows and (size + row > row_group_bytes or rows == ROW_GROUP_ROWS):
                pending.append(table.slice(begin, end - begin))
                yield pa.concat_tables(pending).combine_chunks(), size
                groups += 1
                begin, pending, rows, size = end, [], 0, 0
            rows += 1
            size += row
        pending.append(table.slice(begin))
    if rows or not groups:
        yield pa.concat_tables([features.arrow_schema.empty_table(), *pending]).combine_chunks(), size


def _prepared(batches: "Iterable[pa.Table]", features: "Features") -> "Iterator[pa.Table]":
    """Yield the batches a few rows at a time, cast to the features and without paths to files."""
    from datasets.table import table_cast

    done, at_a_time, schema = 0, rows_at_a_time(features), features.arrow_schema
    reader = PictureReader(NOWHERE)
    for batch in batches:
        if set(batch.column_names) != set(features):
            raise DataError(f"expected the columns {', '.join(features)}, found {', '.join(batch.column_names)}")
        for start in range(0, batch.num_rows, at_a_time):
            step = batch.slice(start, at_a_time).select(list(features)).combine_chunks()
            where = f"rows {done} to {done + step.num_rows - 1}"
            try:
                yield seal(table_cast(step, schema), features, reader).combine_chunks()
            except (TypeError, ValueError, NotImplementedError) as error:
                raise DataError(f"{where} do not fit the features: {error}") from error
            done += step.num_rows
    reader.warn()


def _row_bytes(array: "pa.Array") -> "np.ndarray":
    """Return the size of each value in bytes [n_values], whatever its buffers and slices."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if pa.types.is_struct(kind):
        return sum((_row_bytes(child) for child in array.flatten()), start=np.zeros(len(array), dtype=np.int64))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        ends = np.cumsum(pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False))
        sums = np.concatenate([[0], np.cumsum(_row_bytes(array.flatten()))])[np.concatenate([[0], ends])]
        return 4 + np.diff(sums)
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
        return 4 + pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.full(len(array), 8, dtype=np.int64)


def _leaves(features: "Features") -> dict[str, bool]:
    """Return the Parquet columns of the features by their paths, and whether each holds pictures."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets.features.features import require_storage_embed

    sink = pa.BufferOutputStream()
    pq.write_table(features.arrow_schema.empty_table(), sink)
    schema = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    paths = [schema.column(i).path for i in range(len(schema))]
    # A dot separates a column from its fields, and may be in a column's own name.
    columns = {path: max((n for n in features if f"{path}.".startswith(f"{n}.")), key=len) for path in paths}
    return {path: bool(require_storage_embed(features[column])) for path, column in columns.items()}


def _size(writers: "Sequence[_Writer]") -> int:
    """Return the bytes that some files take, or would take."""
    return sum(writer.size for writer in writers)
