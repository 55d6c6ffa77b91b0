"""Image files of raw sets: which post has which, and whether they can be decoded."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from hf_mner_aug.errors import DataError, UsageError
from hf_mner_aug.hygiene import normalise_unicode, open_image
from hf_mner_aug.picture_files import Allowed, FileRefused, read_file
from hf_mner_aug.raw_report import Report

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")
REFUSED = ("outside", "not_a_file", "too_large")  # reasons that make a file one that is not read
_TWITTER_2017 = "twitter2017-"


class Picture(NamedTuple):
    """An image file that can be decoded, its width and height as it is shown, and the folder it was found in."""

    path: Path
    size: tuple[int, int]
    digest: bytes
    allowed: Allowed

    def read(self) -> bytes:
        """Return the file's bytes.

        Raises:
            DataError: they are not those that were decoded, or the file is no longer one that may be read.
        """
        data = read_file(self.path, self.allowed)
        if _digest(data) != self.digest:
            raise DataError(f"{self.path} changed while the set was read: run again when it is whole")
        return data


class Wanted(NamedTuple):
    """A post's id and the names by which it calls its images."""

    id: str
    names: Sequence[str]


def attach(
    folder: Path, wanted: Mapping[str, Sequence[Wanted]], report: Report, *, suffixed: bool = False
) -> dict[str, list[Picture]]:
    """Return the pictures of each name that a post calls one by; count what is missing or cannot be decoded.

    A name is that of a file, with or without its ending, in the folder or below it; ``suffixed`` names stand for all
    files ``<name>_<suffix>``. MNER-MI-Plus says ``twitter2017-O_26.jpg`` for Twitter-2017's ``O_26.jpg``.

    Raises:
        UsageError: the folder is not there or holds no image.
        DataError: a post names an image that is there twice.
    """
    files, allowed = _Files(folder), Allowed.of(folder)
    names = dict.fromkeys(name for posts in wanted.values() for post in posts for name in post.names)
    found = files.by_prefix(names) if suffixed else {name: file for name in names if (file := files.named(name))}
    looked_at = dict(_look_at(dict.fromkeys(path for paths in found.values() for path in paths), allowed))
    pictures: dict[str, list[Picture]] = {}
    for name, paths in found.items():
        pictures[name] = [looked for path in paths if isinstance(looked := looked_at[path], Picture)]
    for split, posts in wanted.items():
        counts = report.splits[split]
        for post in posts:
            for name in post.names:
                if name not in found:
                    counts.note("missing", post.id if name == post.id else f"{post.id} ({name})")
                for path in found.get(name, ()):
                    if isinstance(fault := looked_at[path], Fault):
                        counts.note(fault.trouble, f"{path.name} {fault.detail}")
                counts.images += len(pictures.get(name, ()))
    return pictures


class _Files:
    """The image files of a folder and of those below it, by name."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such image folder")
        self.paths = sorted(
            Path(place, name)
            for place, _, names in os.walk(folder)
            for name in names
            if Path(name).suffix.lower() in PICTURES
        )
        if not self.paths:
            raise UsageError(f"{folder}: expected images named <id>{', <id>'.join(PICTURES)}, found none")
        self._by_name: dict[str, Path] = {}
        self._twins: dict[str, Path] = {}
        for path in self.paths:
            for key in (path.name, path.stem):
                first = self._by_name.setdefault(normalise_unicode("NFC", key), path)
                if first.parent != path.parent:
                    self._twins[normalise_unicode("NFC", key)] = path

    def named(self, name: str) -> list[Path]:
        """Return the file of a name, or none."""
        for spelt in (normalise_unicode("NFC", name), normalise_unicode("NFC", name).removeprefix(_TWITTER_2017)):
            if spelt in self._twins:
                both = f"{self._by_name[spelt]} and {self._twins[spelt]}"
                raise DataError(f"expected one image {spelt}, found {both}: give the folder of one of them")
            if spelt in self._by_name:
                return [self._by_name[spelt]]
        return []

    def by_prefix(self, names: Iterable[str]) -> dict[str, list[Path]]:
        """Return the files ``<name>_<suffix>`` of each name that has some; a file goes to the longest name it fits."""
        known = {normalise_unicode("NFC", name): name for name in names}
        found: dict[str, list[Path]] = {}
        for path in self.paths:
            prefix = normalise_unicode("NFC", path.stem)
            while prefix not in known and "_" in prefix:
                prefix = prefix.rpartition("_")[0]
            if prefix in known:
                found.setdefault(known[prefix], []).append(path)
        return {name: sorted(paths, key=lambda path: (len(path.name), path.name)) for name, paths in found.items()}


class Fault(NamedTuple):
    """Why a picture is left out: the counter of a report, and what is wrong."""

    trouble: str
    detail: str


def _look_at(paths: Iterable[Path], allowed: Allowed) -> Iterator[tuple[Path, Picture | Fault]]:
    """Yield each file's picture, or why it is left out."""
    left = iter(paths)
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(left, 64)):
            yield from zip(chunk, pool.map(partial(look_at, allowed=allowed), chunk), strict=True)


def look_at(path: Path, allowed: Allowed) -> Picture | Fault:
    """Return an image file's picture, or why it is left out; Pillow's limit holds."""
    try:
        data = read_file(path, allowed)
        return Picture(path, open_image({"bytes": data, "path": None}).size, _digest(data), allowed)
    except FileRefused as error:
        return Fault("refused" if error.reason in REFUSED else "unreadable", error.detail)
    except DataError as error:
        return Fault("unreadable", str(error).removeprefix("the image "))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
