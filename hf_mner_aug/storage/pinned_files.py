"""Files and folders of a user, named by their content: ``NAME@SHA256``.

Recipes, rows and cards are published, so they have this name for a path; where the file lies, this machine keeps in its
cache. Whoever has the same file names it by its path once, and gets the same recipe.
"""

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, NamedTuple

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.shared import sha256
from hf_mner_aug.untrusted.names import LONGEST, check_digest
from hf_mner_aug.values import ByContent

# Names of engines and encoders, never paths, whatever lies in the working folder.
WORDS = ("collage", "crops", "nearest", "none", "tiny")
MOST_FILES = 10_000  # of a folder: a model's has fewer, and a home or a disk is a mistake
REGIONS = ".npz"  # one for each picture of a set, beside that limit
_PINNED = re.compile(r"(?P<path>.+)@(?P<digest>[0-9a-f]{64})", re.DOTALL)
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]")
_digests: dict[tuple[str, str], str] = {}  # of what this process has read, by path and ``_stamp``


class _Place(NamedTuple):
    """Where a file or folder lay when its content was read, and its ``_stamp`` then."""

    path: str
    stamp: str

    @classmethod
    def of(cls, digest: str) -> "_Place | None":
        """Return the place that this machine keeps for a digest, None without one."""
        try:
            stamp, _, path = os.fsdecode(_note_of(digest).read_bytes()).partition("\n")
        except OSError:
            return None
        return cls(path, stamp) if path else None

    def keep(self, digest: str) -> None:
        """Keep this place for a digest."""
        if _Place.of(digest) != self:
            artifacts.write_atomically(_note_of(digest), os.fsencode(f"{self.stamp}\n{self.path}"))


def _note_of(digest: str) -> Path:
    """Return the file of the cache that tells where the content with a digest lies."""
    return artifacts.cache_folder() / "places" / check_digest(digest, "file")


def split_pin(name: str) -> tuple[str, str]:
    """Return the path and the digest of ``FILE@SHA256``; the digest is empty if it is not given."""
    found = _PINNED.fullmatch(name)
    return (found["path"], found["digest"]) if found else (name, "")


def pinned_file(name: str, where: str) -> str:
    """Return the name of a file or folder with the digest of its content, without the path to it.

    Raises:
        UsageError: it cannot be read; the message begins with ``where``.
    """
    path, digest = split_pin(name)
    if not digest:
        place = _expanded(path).absolute()
        path = str(place if place.name not in ("", "..") else place.resolve())
        stamp = _stamp(Path(path), where)
        digest = _digest(path, stamp, where)
        _Place(path, stamp).keep(digest)
    return f"{_UNUSUAL.sub('_', Path(path).name)[:LONGEST] or '_'}@{digest}"


def pinned_path(name: str, where: str) -> str:
    """Return ``pinned_file`` of a file or folder that is there; ids on the Hub and ``WORDS`` as they are.

    Raises:
        UsageError: it cannot be read, or is a path to nothing.
    """
    path, digest = split_pin(name)
    if not name or name in WORDS:
        return name
    if digest or os.path.exists(_expanded(path)):  # noqa: PTH110 -- a name that is too long for a path is none
        return pinned_file(name, where)
    if name.startswith(("/", "~", "./", "../")) or name.count("/") > 1 or "\\" in name:
        raise UsageError(f"{where}{name} cannot be read: there is no such file or folder")
    return name


def _expanded(name: str) -> Path:
    """Return a path with the home for its ``~``; one of a user who is not known as it is."""
    with contextlib.suppress(RuntimeError):
        return Path(name).expanduser()
    return Path(name)


LocalFile = Annotated[str, ByContent(pinned_path)]  # a parameter or setting: a file, a folder or an id on the Hub


def checked_file(name: str, where: str) -> str:
    """Return the path on this machine of what ``pinned_file`` named, its content checked; others as they are.

    Raises:
        UsageError: it is not known here, cannot be read, or is another one.
    """
    path, digest = split_pin(name)
    if not digest:
        return name
    place = _Place(path, "") if "/" in path else _Place.of(digest)
    if place is None:
        raise UsageError(
            f"{where}{path}: no file or folder with sha256 {digest[:12]}… is known on this machine: name it by its "
            "path, for verify beforehand with `hf-mner-aug augment SOURCE --recipe augmentation.json --set "
            "PARAMETER=VALUE --out DIR`"
        )
    stamp = _stamp(Path(place.path), where)
    if stamp != place.stamp and (found := _digest(place.path, stamp, where)) != digest:
        raise UsageError(f"{where}{place.path}: expected the content with sha256 {digest[:12]}…, found {found[:12]}…")
    return place.path


def digest_of_folder(folder: Path) -> str:
    """Return a digest of a folder's files and their names, except for hidden ones.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder and its folders, sorted, without hidden ones."""
    found, n_others = [], 0
    for path in folder.rglob("*"):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file():
            found.append(path)
            n_others += path.suffix != REGIONS
            if n_others > MOST_FILES:
                raise OSError(0, f"more than {MOST_FILES:,} files")
    return sorted(found)


def _stamp(path: Path, where: str) -> str:
    """Return a digest of the names, sizes and times of a file or of a folder's files; raises UsageError."""
    try:
        if not path.is_dir() and path.exists() and not path.is_file():
            raise OSError(0, "it is neither a file nor a folder")
        files = _files(path) if path.is_dir() else [path]
        about = [(str(file.relative_to(path)), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    except (OSError, ValueError) as error:  # a NUL in a path
        raise UsageError(f"{where}{path}: the file cannot be read ({getattr(error, 'strerror', error)})") from error
    return hashlib.sha256(repr(about).encode("utf-8", "surrogateescape")).hexdigest()


def _digest(path: str, stamp: str, where: str) -> str:
    """Return the digest of a file, or of the names and digests of a folder's files; raises UsageError."""
    if (path, stamp) not in _digests:
        try:
            found = digest_of_folder(Path(path)) if Path(path).is_dir() else sha256(Path(path))
        except OSError as error:
            raise UsageError(f"{where}{path}: the file cannot be read ({error.strerror})") from error
        _digests[path, stamp] = found
    return _digests[path, stamp]
