"""Columns of pictures that data names by path: on input, each becomes bytes, or is missing and counted.

``embed_pictures`` does this for a whole dataset, ``seal`` for a table that is about to be written.
"""

import atexit
import os
import re
import shutil
import tempfile
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.picture_files import NOWHERE, Allowed, FileRefused, read_picture_file

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features

BATCH = 64  # rows whose pictures are held at a time
ADVICE = "name their folder with --images DIR (in Python images=DIR, or trust_image_paths=True for any path)"

Read = Callable[[str, Any], "bytes | None"]  # takes a path and the feature of its column; returns None if it is refused


class PictureReader:
    """Reads the files that values name, and counts refusals by reason, with an example of each."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.refused: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def __call__(self, path: str, feature: Any) -> bytes | None:
        """Return a file's bytes, or None if it is refused."""
        try:
            if not is_picture(feature):
                raise FileRefused("other_kind", f"is named in a column of {type(feature).__name__}", path)
            return read_picture_file(path, self.allowed)
        except FileRefused as error:
            self.refuse(error)
            return None

    def refuse(self, error: FileRefused) -> None:
        """Count a refusal."""
        self.refused[error.reason] += 1
        self.examples.setdefault(error.reason, str(error))

    def __str__(self) -> str:
        """Return the counts by reason in one line, with an example of each."""
        total = sum(self.refused.values())
        reasons = "; ".join(f"{n} {reason} ({self.examples[reason]})" for reason, n in sorted(self.refused.items()))
        return f"{total} pictures that the data names by path are missing: {reasons}: {ADVICE}"

    def warn(self, stacklevel: int = 2) -> None:
        """Warn in one line of what was refused, if anything was."""
        if self.refused:
            warnings.warn(str(self), stacklevel=stacklevel + 1)


def is_picture(feature: Any) -> bool:
    """Return whether a feature is that of pictures."""
    return type(feature).__name__ == "Image"


def holds_files(feature: Any) -> bool:
    """Return whether a feature holds images or other files, at any depth."""
    if isinstance(feature, dict):
        return any(map(holds_files, feature.values()))
    return hasattr(feature, "embed_storage") or holds_files(getattr(feature, "feature", {}))


def rows_at_a_time(features: Mapping[str, Any]) -> int:
    """Return how many rows to hold at a time: few where they may have pictures."""
    return BATCH if any(map(holds_files, features.values())) else 1000


def is_named_only(value: Any) -> bool:
    """Return whether an encoded file has a path and no bytes."""
    return isinstance(value, Mapping) and value.get("bytes") is None and value.get("path") is not None


def with_bytes(value: Any, feature: Any, read: Read) -> Any:
    """Return a value of a column in which each file given by path alone has its bytes, or is missing.

    A missing file is None, and is left out of a list (unless the list has a fixed length).
    """
    if value is None or not holds_files(feature):
        return value
    if hasattr(feature, "embed_storage"):
        if not is_named_only(value):
            return value
        data = read(value["path"], feature)
        return None if data is None else {"bytes": data, "path": base_name(value["path"])}
    if isinstance(feature, dict):
        return {name: with_bytes(value[name], child, read) for name, child in feature.items()}
    items = [(item, with_bytes(item, feature.feature, read)) for item in value]
    fixed = getattr(feature, "length", -1) >= 0
    return [found for item, found in items if fixed or found is not None or item is None]


def base_name(path: str) -> str:
    """Return the name of a file without its folders, for paths of any system."""
    return re.split(r"[/\\]", path)[-1]


def seal(table: "pa.Table", features: "Features", read: Read) -> "pa.Table":
    """Return a table, already cast to its features, that names no file of this machine.

    Each file given by path alone gets its bytes or is missing; file names lose their folders.
    """
    import pyarrow as pa

    for name, feature in features.items():
        column = table.column(name)
        if not any(_any_file(chunk, feature, _needs_sealing) for chunk in column.chunks):
            continue
        values = [map_files(with_bytes(value, feature, read), feature, _by_base_name) for value in column.to_pylist()]
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, column.type))
    return table


def named_only(table: "pa.Table", features: Mapping[str, Any]) -> bool:
    """Return whether a column holds a file with a path and no bytes; the table is already cast to its features."""
    return any(
        _any_file(chunk, features[name], _is_unread)
        for name in features
        if holds_files(features[name])
        for chunk in table.column(name).chunks
    )


def map_files(value: Any, feature: Any, change: Callable[[Any], Any]) -> Any:
    """Return a value of a column in which each encoded file, at any depth, is replaced by a function's result."""
    if value is None or not holds_files(feature):
        return value
    if hasattr(feature, "embed_storage"):
        return change(value)
    if isinstance(feature, dict):
        return {name: map_files(value[name], child, change) for name, child in feature.items()}
    return [map_files(item, feature.feature, change) for item in value]


def _by_base_name(file: Mapping[str, Any]) -> dict[str, Any]:
    return {**file, "path": file["path"] and base_name(file["path"])}


def _any_file(array: "pa.Array", feature: Any, test: Callable[[Any, Any], bool]) -> bool:
    """Return whether a test of bytes and paths (arrays) holds for a file at any depth; the bytes are not read."""
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if not holds_files(feature) or pa.types.is_null(array.type):
        return False
    if hasattr(feature, "embed_storage"):
        children = {array.type.field(i).name: child for i, child in enumerate(array.flatten())}
        return test(children["bytes"], children["path"])
    if isinstance(feature, dict):
        children = {array.type.field(i).name: child for i, child in enumerate(array.flatten())}
        return any(_any_file(children[name], child, test) for name, child in feature.items())
    return _any_file(array.flatten(), feature.feature, test)


def _is_unread(data: "pa.Array", paths: "pa.Array") -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.and_(pc.is_null(data), pc.is_valid(paths))).as_py())


def _needs_sealing(data: "pa.Array", paths: "pa.Array") -> bool:
    import pyarrow.compute as pc

    return _is_unread(data, paths) or bool(pc.any(pc.match_substring_regex(paths, r"[/\\]")).as_py())


# ---------------------------------------------------------------- whole datasets


def embed_pictures(dataset: Any, *, images: str | Path | None = None, trust_image_paths: bool = False) -> Any:
    """Return a dataset, or dict of splits, whose pictures are bytes, read from the files that it names.

    A dataset that names no file is returned as it is. Otherwise its rows are in a file of the cache folder until this
    process ends. Refused files are missing (None), and one warning counts them by reason.

    Args:
        dataset: a dataset, streamed or not, or a dict of them.
        images: the folder that contains the files, at any depth; relative paths start from it.
        trust_image_paths: read any path, wherever it leads: for a dataset that you made yourself.

    Raises:
        UsageError: there is no such folder.
        OSError: the disk is full.
    """
    return embed(dataset, Allowed.of(images, trust_image_paths=trust_image_paths), stacklevel=2)


def embed(dataset: Any, allowed: Allowed, *, stacklevel: int = 1) -> Any:
    """Return the same as ``embed_pictures``."""
    reader = PictureReader(allowed)
    if isinstance(dataset, Mapping):
        found = type(dataset)({split: _embedded(rows, reader) for split, rows in dataset.items()})  # type: ignore[call-arg]
    else:
        found = _embedded(dataset, reader)
    reader.warn(stacklevel + 1)
    return found


def _embedded(dataset: Any, reader: PictureReader) -> Any:
    features = {name: feature for name, feature in (dataset.features or {}).items() if holds_files(feature)}
    if not features:
        return dataset
    if not hasattr(dataset, "cleanup_cache_files"):
        return _streamed(dataset, features, reader.allowed) if reader.allowed != NOWHERE else dataset
    return _written(dataset, reader) if named_only(dataset.data.table, features) else dataset


def _streamed(dataset: Any, features: Mapping[str, Any], allowed: Allowed) -> Any:
    """Return a streamed dataset that reads files as rows are consumed; each batch counts and reports its refusals."""

    def read(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        reader = PictureReader(allowed)
        found = {name: [with_bytes(value, features[name], reader) for value in batch[name]] for name in features}
        reader.warn()
        return batch | found

    return dataset.decode(False).map(read, batched=True, batch_size=BATCH, features=dataset.features)


def _written(dataset: "Dataset", reader: PictureReader) -> "Dataset":
    """Return a dataset with the same rows in a file, their pictures inside."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import table_cast

    schema = dataset.features.arrow_schema
    path = _folder() / f"{uuid.uuid4().hex}.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for table in dataset.with_format("arrow").iter(BATCH):
            writer.write_table(seal(table_cast(table, schema), dataset.features, reader))
    found = Dataset.from_file(str(path), info=dataset.info.copy(), split=dataset.split)
    look = dataset.format
    if look["type"] is not None or look["columns"] != dataset.column_names:
        found.set_format(look["type"], look["columns"], look["output_all_columns"], **look["format_kwargs"])
    return found


_folders: dict[tuple[int, Path], Path] = {}


def _folder() -> Path:
    """Return a folder of this process in the cache folder, removed when the process ends."""
    cache = artifacts.cache_folder()
    key = (os.getpid(), cache)
    if key not in _folders:
        cache.mkdir(parents=True, exist_ok=True)
        _folders[key] = Path(tempfile.mkdtemp(prefix=".pictures-", dir=cache))
        atexit.register(_remove, *key)
    return _folders[key]


def _remove(pid: int, cache: Path) -> None:
    if pid == os.getpid():  # a forked child has its parent's list
        shutil.rmtree(_folders[pid, cache], ignore_errors=True)
