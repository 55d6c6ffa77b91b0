"""The rows that Ray's workers read.

They do not travel through Ray's object store: the driver writes the posts of a part into a hidden folder of the run's
storage shortly before an actor reads them.
"""

import contextlib
import platform
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.storage.locks import stage, unfinished
from hf_mner_aug.storage.shared import Folder, Store

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


@contextlib.contextmanager
def row_room(place: Store) -> Iterator[Store]:
    """Yield a place for the rows that workers read, in a run's storage; deleted at the end."""
    if isinstance(place, Folder):
        with stage(place.path, "rows") as folder:
            yield Folder(folder)
    else:
        yield place.at(f"rows-{uuid.uuid4().hex[:12]}")  # workers delete what they have read


def write_rows(room: Store, name: str, tables: "Iterable[pa.Table]") -> str:
    """Write rows as an Arrow stream, and return its name."""
    import pyarrow as pa

    with tempfile.TemporaryDirectory(prefix="hf_mner_aug-") as temporary:
        path = room.path / name if isinstance(room, Folder) else Path(temporary) / name
        with room_for(path, 0), unfinished(path) as file:
            tables = iter(tables)
            first = next(tables)
            with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, first.schema) as writer:
                for table in (first, *tables):
                    writer.write_table(table)
            file.replace(path)
        if not isinstance(room, Folder):
            room.send(path, name)
    return name


@contextlib.contextmanager
def read_rows(room: Store, name: str) -> "Iterator[Dataset]":
    """Yield rows that the driver wrote, memory-mapped.

    Raises:
        OSError: they are not here.
    """
    from datasets import Dataset

    with tempfile.TemporaryDirectory(prefix="hf_mner_aug-") as temporary:
        path = room.path / name if isinstance(room, Folder) else Path(temporary) / name
        if not (path.exists() if isinstance(room, Folder) else room.fetch(name, path)):
            raise OSError(
                f"{platform.node()} does not see {room}/{name}: name a storage that all nodes reach (--storage)"
            )
        yield Dataset.from_file(str(path))


def tables_of(rows: "Dataset", n_rows: int = 1000) -> "Iterator[pa.Table]":
    """Yield rows as tables, one at least."""
    arrow = rows.with_format("arrow")
    for start in range(0, max(1, len(rows)), n_rows):
        yield arrow[start : start + n_rows]
