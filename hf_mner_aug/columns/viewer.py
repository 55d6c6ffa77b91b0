"""Check from their metadata whether the Hub's viewer and Data Studio can show and edit a folder's Parquet files.

https://huggingface.co/docs/dataset-viewer and HF_FACTS: row groups of at most 286 MiB, about 2 MB per row, a page
index, pictures embedded, label names in the schema; Data Studio edits a split only if it is one file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_mner_aug.columns.validation import Problem
from hf_mner_aug.storage.parquet import reading

SCAN_BYTES = 286 * 2**20
ROW_BYTES = 2_000_000
ONE_SHARD_BYTES = 450_000_000


def viewer_problems(folder: str | Path) -> list[Problem]:
    """Return the problems that keep the viewer from showing, or Data Studio from editing, a folder's Parquet files."""
    folder = Path(folder)
    problems: list[Problem] = []
    shards: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        name = path.relative_to(folder).as_posix()
        shards.setdefault(name.rpartition("-of-")[0].rpartition("-")[0] or name, []).append(path)
        problems += (Problem(kind, "warning", name, None, None, detail) for kind, detail in _file_faults(path))
    for split, paths in shards.items():
        size = sum(path.stat().st_size for path in paths)
        if len(paths) > 1 and size <= ONE_SHARD_BYTES:
            detail = f"{len(paths)} files of {size / 1e6:.0f} MB together: Data Studio edits one file"
            problems.append(Problem("viewer_shards", "warning", split, None, None, detail))
    return problems


def _file_faults(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the faults of one file."""
    import pyarrow.parquet as pq

    with reading(path), pq.ParquetFile(path) as parquet:
        metadata, schema = parquet.metadata, parquet.schema_arrow
        for i in range(metadata.num_row_groups):
            group = metadata.row_group(i)
            if group.total_byte_size > SCAN_BYTES:
                yield "viewer_row_group", f"row group {i} has {group.total_byte_size / 2**20:.0f} MiB, at most 286"
            if group.num_rows and group.total_byte_size / group.num_rows > ROW_BYTES:
                yield (
                    "viewer_row_size",
                    f"rows of row group {i} have {group.total_byte_size / group.num_rows / 1e6:.1f} MB",
                )
        if metadata.num_row_groups and not _has_page_index(metadata.row_group(0)):
            yield "viewer_page_index", "the file has no page index: write it with write_page_index=True"
        if b"huggingface" not in (schema.metadata or {}):
            yield "viewer_features", "the schema names no features: labels load as integers without the card's"
        yield from _picture_faults(parquet, schema)


def _has_page_index(group: Any) -> bool:
    column = group.column(0)
    return bool(column.has_offset_index and column.has_column_index)


def _picture_faults(parquet: Any, schema: Any) -> Iterator[tuple[str, str]]:
    """Yield a fault for each image column that names files without embedding them."""
    import pyarrow as pa

    for field in schema:
        kind = field.type.value_type if pa.types.is_list(field.type) else field.type
        if not pa.types.is_struct(kind) or {kind.field(i).name for i in range(kind.num_fields)} != {"bytes", "path"}:
            continue
        if schema.names.count(field.name) > 1:
            continue  # it is undefined which of them is read by name
        outside = 0
        for batch in parquet.iter_batches(batch_size=64, columns=[field.name]):
            values = batch.column(0)
            structs = values.flatten() if pa.types.is_list(field.type) else values
            outside += sum(v.is_valid and not v["bytes"].is_valid and v["path"].is_valid for v in structs)
        if outside:
            yield "viewer_images", f"{outside} pictures of column {field.name} are named but not embedded"
