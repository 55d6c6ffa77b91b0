"""Picture files that data names: which may be read, and how.

A path in data is not permission to read: the author of the data chose it. So a file is read only in a folder that the
user named, after links and ``..`` are resolved; only a regular file of a bounded size; never a URL; and only if it
decodes as a picture, so that no other file of the user gets into stored or published data. Nothing else in this package
opens a file that a picture's ``path`` names: pictures become bytes on input (``picture_columns``), and a picture
without bytes is missing.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.pictures import FORMATS, open_image

MAX_BYTES = 100_000_000  # of a picture file
SHOWN = 120  # characters of a path in a message
REASONS = (
    "not_allowed",  # no folder was named
    "address",  # it is a URL
    "outside",  # it lies in none of the folders
    "not_there",
    "not_a_file",  # a folder, device, pipe or socket
    "too_large",
    "not_a_picture",  # it does not decode
    "unreadable",  # the system refuses to
    "other_kind",  # the column does not hold pictures but sounds, films or documents
)


class FileRefused(DataError):
    """A file that data names is not read: ``reason`` is one of ``REASONS``, ``detail`` says why without its path."""

    def __init__(self, reason: str, detail: str, path: str | Path = "") -> None:
        super().__init__(f"{shown(path)} {detail}")
        self.reason = reason
        self.detail = detail
        self._path = path

    def __reduce__(self) -> Any:  # a worker process raises it, too
        return type(self), (self.reason, self.detail, self._path)


@dataclass(frozen=True)
class Allowed:
    """The folders in which picture files may be read, links resolved; ``anywhere``: the user trusts every path.

    Paths in data are text: a relative one is looked up in these folders, in order; with ``anywhere`` also in the
    current one. A ``Path`` is a file that was found, relative to the current folder as usual.
    """

    folders: tuple[Path, ...] = ()
    anywhere: bool = False

    @classmethod
    def of(cls, *folders: str | Path | None, trust_image_paths: bool = False) -> Self:
        """Return the permission to read in some folders; None stands for no folder.

        Raises:
            UsageError: a folder does not exist.
        """
        named = [Path(folder).expanduser() for folder in folders if folder is not None]
        for folder in named:
            if not folder.is_dir():
                raise UsageError(f"{folder}: no such folder of pictures")
        return cls(tuple(dict.fromkeys(folder.resolve() for folder in named)), trust_image_paths)


NOWHERE = Allowed()


def own_folders(source: str) -> tuple[Path, ...]:
    """Return the folders that belong to a dataset: itself, or the folder of a Hub dataset in the download cache.

    A snapshot in that cache holds links to the folder ``blobs`` next to the snapshots.
    """
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    if Path(source).is_dir():
        folder = Path(source).resolve()
        blobs = folder.parent.parent / "blobs"
        is_snapshot = folder.parent.name == "snapshots" and blobs.is_dir() and not blobs.is_symlink()
        return (folder, blobs) if is_snapshot else (folder,)
    cached = Path(HF_HUB_CACHE, repo_folder_name(repo_id=source, repo_type="dataset"))
    return (cached.resolve(),) if cached.is_dir() else ()


# ---------------------------------------------------------------- one file


def read_picture_file(path: str | Path, allowed: Allowed) -> bytes:
    """Return the bytes of a picture file that may be read and that decodes.

    Raises:
        FileRefused: it is not read, or is not a picture; the message never reveals its content.
    """
    data = read_file(path, allowed)
    if not data:  # as all files of /proc appear to be
        raise FileRefused("not_a_picture", "is empty", path)
    try:
        open_image({"bytes": data, "path": None})
    except DataError as error:
        if "pixels" in str(error):
            raise FileRefused("not_a_picture", f"is not a picture that can be opened: {error}", path) from None
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise FileRefused("not_a_picture", f"does not decode as a picture ({formats})", path) from None
    return data


def read_file(path: str | Path, allowed: Allowed, limit: int = MAX_BYTES) -> bytes:
    """Return the bytes of a regular file in one of the folders, whatever its content.

    The file that is read is the one that was checked: each part of the resolved path is opened without following a
    link, so that nobody can substitute another file in between.

    Raises:
        FileRefused: it is not read.
    """
    try:
        return _read_inside(*_find(path, allowed), limit)
    except FileRefused as error:
        raise FileRefused(error.reason, error.detail, path) from None
    except FileNotFoundError:
        raise FileRefused("not_there", "does not exist", path) from None
    except OSError as error:
        raise FileRefused("unreadable", f"cannot be read: {error.strerror or type(error).__name__}", path) from None
    except ValueError:  # a null byte or a lone surrogate
        raise FileRefused("not_there", "is not a file name", path) from None


def find_file(path: str | Path, allowed: Allowed) -> Path:
    """Return the path of the file that ``read_file`` reads, links resolved; raises as it does."""
    folder, parts = _find(path, allowed)
    return folder.joinpath(*parts)


def is_inside(path: str | Path, folder: Path) -> bool:
    """Return whether a path, links resolved, is inside a resolved folder."""
    return Path(os.path.realpath(path)).is_relative_to(folder)


def shown(path: str | Path) -> str:
    """Return a path as a message shows it: on one line, cut if it is long."""
    text = repr(str(path))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…'"


def _find(path: str | Path, allowed: Allowed) -> tuple[Path, tuple[str, ...]]:
    """Return the folder and the parts below it of the file that a path names, links resolved."""
    path = str(path.absolute() if isinstance(path, Path) else path)
    if "://" in path:
        raise FileRefused("address", "is a URL, not a file: name the downloaded file instead")
    bases = [*allowed.folders, *([Path.cwd()] if allowed.anywhere else [])]
    if not bases:
        raise FileRefused("not_allowed", "is not read: no folder of pictures was named")
    roots = [Path(os.sep)] if allowed.anywhere else allowed.folders
    inside, there = [], False
    for base in bases:
        found = Path(os.path.realpath(base / path))
        root = next((root for root in roots if found.is_relative_to(root)), None)
        exists = os.path.lexists(base / path)
        there |= exists
        if root is not None:
            place = root, found.relative_to(root).parts
            if exists:
                return place
            inside.append(place)
    if there or not inside:  # the same message whether or not a file outside exists
        raise FileRefused("outside", "lies outside the folders that may be read")
    return inside[0]


def _read_inside(folder: Path, parts: tuple[str, ...], limit: int) -> bytes:
    if not parts:
        raise FileRefused("not_a_file", "is a folder")
    look = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
    place = os.open(folder, look)
    try:
        for part in parts[:-1]:
            below = os.open(part, look | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = below
        _check_regular(os.stat(parts[-1], dir_fd=place, follow_symlinks=False), limit)  # opening a device may do harm
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        file = os.open(parts[-1], flags, dir_fd=place)
    finally:
        os.close(place)
    with os.fdopen(file, "rb") as opened:
        found = os.fstat(file)
        _check_regular(found, limit)
        data = opened.read(found.st_size + 1) if found.st_size else b""
    if len(data) > limit:
        raise FileRefused("too_large", f"has more than {limit:,} bytes")
    return data


def _check_regular(found: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused("not_a_file", "is not a regular file")
    if found.st_size > limit:
        raise FileRefused("too_large", f"has {found.st_size:,} bytes, at most {limit:,} are read")
