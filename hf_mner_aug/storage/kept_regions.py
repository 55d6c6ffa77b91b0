"""Boxes and features of pictures' regions kept between runs, in Arrow files that are read by memory map.

The files are in the cache (``$HF_MNER_AUG_CACHE/regions``), in a folder for each source of regions, and each is named
by the digest of its bytes: a damaged one is deleted with a warning, and what it held is computed again.
"""

import hashlib
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hf_mner_aug.schema import Box
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.storage.locks import unfinished
from hf_mner_aug.storage.shared import sha256
from hf_mner_aug.storage.swap import sync

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

Kept = tuple[str, "np.ndarray", "np.ndarray"]  # a picture's digest, boxes [n, 4] and features [n, channels]


class KeptRegions:
    """The regions of one source, by the digest of the picture.

    Args:
        source: a digest of all that the regions depend on beside the picture.
        channels: the length of a region's features.
    """

    def __init__(self, source: str, channels: int) -> None:
        self.folder = artifacts.cache_folder() / "regions" / source
        self.channels = channels
        self._rows: dict[str, tuple[Any, int]] = {}
        for path in sorted(self.folder.glob("*.arrow")):
            if sha256(path) == path.stem:
                self._open(path)
            else:
                warnings.warn(f"{path} is damaged: its regions are computed again", stacklevel=4)
                path.unlink(missing_ok=True)

    def __contains__(self, picture: object) -> bool:
        """Whether the regions of the picture with a digest are kept."""
        return picture in self._rows

    def read(self, picture: str) -> tuple[tuple[Box, ...], "np.ndarray"]:
        """Return the boxes [n] and features [n, channels] (float16, not copied) of the picture with a digest."""
        import numpy as np

        table, i = self._rows[picture]
        boxes = np.frombuffer(table["boxes"][i].as_buffer(), np.float32).reshape(-1, 4)
        features = np.frombuffer(table["features"][i].as_buffer(), np.float16).reshape(-1, self.channels)
        return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes.tolist()), features

    def write(self, rows: Iterable[Kept]) -> None:
        """Keep the regions of further pictures, in one file that is complete or absent.

        Raises:
            DiskFull: the disk is full.
        """
        import numpy as np
        import pyarrow as pa

        schema = pa.schema({"picture": pa.string(), "boxes": pa.binary(), "features": pa.large_binary()})
        path = self.folder / "rows.arrow"
        with room_for(path), unfinished(path) as part:
            with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for picture, boxes, features in rows:
                    cells = [boxes.astype(np.float32).tobytes()], [features.astype(np.float16).tobytes()]
                    writer.write(pa.record_batch([[picture], *cells], schema=schema))
            sync(part)
            path = self.folder / f"{sha256(part)}.arrow"
            part.replace(path)
        self._open(path)

    def _open(self, path: "Path") -> None:
        import pyarrow as pa

        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        self._rows.update((picture, (table, i)) for i, picture in enumerate(table["picture"].to_pylist()))


def source_digest(*about: str) -> str:
    """Return the digest of all that the regions of a source depend on."""
    return hashlib.sha256("\0".join(about).encode()).hexdigest()[:32]
