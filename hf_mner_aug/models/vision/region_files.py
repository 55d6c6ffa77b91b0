"""Regions in a folder of ``.npz`` files in the layout of VinVL's: a file for each picture, ``<picture's name>.npz``.

Zhang et al. 2021, VinVL. A file has ``num_boxes``, ``box_features`` [n, channels] and ``bounding_boxes`` [n, 4], in
pixels (x1, y1, x2, y2). It is found by the name of the picture's file, or by the post's id.
"""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.pictures import is_marked
from hf_mner_aug.schema import Post, canonical_json
from hf_mner_aug.storage.kept_regions import source_digest
from hf_mner_aug.untrusted.names import is_name

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

KEYS = ("num_boxes", "box_features", "bounding_boxes")
LARGEST = 256_000_000  # bytes of an unpacked file
MARGIN = 1.0  # pixels by which a box may leave its picture, as rounding does
ADVICE = "write the file again, or delete it"


class RegionFiles:
    """The regions of a folder of ``.npz``; a made picture has none there, even one with the name of the original.

    Args:
        folder: of the files.
        most: the number of regions to take of each file, in its order.

    Raises:
        UsageError: it has no such file.
        DataError: its first file is damaged.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".npz" and path.is_file())
        if not paths:
            raise UsageError(f"regions {str(folder)!r}: expected .npz files, or a detector with its config.json")
        self.names = {path.name for path in paths}
        self.channels: int = read_regions(paths[0])[1].shape[1]
        listed = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
        self.digest = source_digest("npz", canonical_json([str(folder.absolute()), listed, most]))

    def lacks(self, post: Post) -> str:
        """Return why there is no file for the first picture of a post, empty if there is one."""
        if is_marked(post.images[0]):
            return "a method made them, and a folder has regions of originals only: take a detector, or crops"
        return "" if self._name(post) else f"the folder {self.folder} has no file of their name or their post's id"

    def propose(self, post: Post, picture: "PIL.Image.Image") -> "tuple[np.ndarray, np.ndarray]":
        """Return the first boxes [n, 4] and features [n, channels] of a post's file, clipped to the picture.

        Raises:
            DataError: the file is damaged, has other channels than the first, or boxes outside the picture.
        """
        import numpy as np

        path = self.folder / str(self._name(post))
        boxes, features = (array[: self.most] for array in read_regions(path))
        if features.shape[1] != self.channels:
            raise _fault(path, f"features of {self.channels} channels, as in the first file", f"{features.shape[1]}")
        right, bottom = picture.size
        limits = np.array([right, bottom, right, bottom], np.float32)
        outside = (boxes < -MARGIN) | (boxes > limits + MARGIN)
        clipped = boxes.clip(0, limits)
        for i in np.flatnonzero(outside.any(1) | (clipped[:, 2:] <= clipped[:, :2]).any(1)):
            said = ", ".join(f"{value:g}" for value in boxes[i].tolist())
            raise _fault(path, f"boxes x1, y1, x2, y2 inside a picture of {right}×{bottom} pixels", said)
        return clipped, features

    def _name(self, post: Post) -> str | None:
        """Return the name of a post's file, None if there is none."""
        name = Path(str(post.images[0]["path"] or "")).name
        for stem in (name, post.id, f"{post.id}.jpg"):
            if is_name(stem) and f"{stem}.npz" in self.names:
                return f"{stem}.npz"
        return None


def read_regions(path: Path) -> "tuple[np.ndarray, np.ndarray]":
    """Return the boxes [n, 4] and features [n, channels] of a file, as float32.

    Raises:
        DataError: it is damaged, or holds anything else.
    """
    found = _arrays(path)
    if lacking := [key for key in KEYS if key not in found]:
        raise _fault(path, f"the arrays {', '.join(KEYS)}", f"no {', '.join(lacking)}")
    count, features, boxes = (found[key] for key in KEYS)
    for key, array in found.items():
        if array.dtype.kind not in "fiu":
            raise _fault(path, f"{key} of numbers", str(array.dtype))
    if features.ndim != 2 or not features.shape[1] or boxes.ndim != 2 or boxes.shape[1] != 4 or count.size != 1:
        shapes = ", ".join(str(list(found[key].shape)) for key in KEYS)
        raise _fault(path, f"{', '.join(KEYS)} of the shapes [], [n, channels], [n, 4]", shapes)
    if not count.item() == len(features) == len(boxes):
        said = f"num_boxes {count.item()}, {len(features)} box_features and {len(boxes)} bounding_boxes"
        raise _fault(path, "as many boxes and features as num_boxes", said)
    numbers = [array.astype("float32") for array in (boxes, features)]
    for key, array in zip(("bounding_boxes", "box_features"), numbers, strict=True):
        if not _all_finite(array):
            raise _fault(path, f"{key} of finite numbers up to 65,504", "others")
    return numbers[0], numbers[1]


def _arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a file that are read, by name."""
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > LARGEST:
            raise _fault(path, f"at most {LARGEST:,} bytes of arrays", f"{unpacked:,}")
        with np.load(path, allow_pickle=False) as file:
            return {key: np.asarray(file[key]) for key in KEYS if key in file.files}
    except (
        # what zipfile and numpy's reader raise for a broken file
        *(OSError, EOFError, ValueError, LookupError, SyntaxError, TypeError, MemoryError, OverflowError),
        *(NotImplementedError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error),
    ) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise _fault(path, "an .npz file of arrays", first) from error


def _all_finite(array: "np.ndarray") -> bool:
    """Return whether all numbers are finite, also in the half precision in which they are kept."""
    import numpy as np

    return bool((np.abs(array) <= np.finfo(np.float16).max).all())


def _fault(path: Path, expected: str, found: str) -> DataError:
    return DataError(f"{path}: expected {expected}, found {found}: {ADVICE}")
