"""Image files of raw sets: match them to posts, and check that they can be decoded."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.pictures import FORMATS, decode_image
from hf_mner_aug.posts.texts import normalise_unicode
from hf_mner_aug.readers.report import Report, SplitReport
from hf_mner_aug.storage.picture_files import NOWHERE, Allowed, FileRefused, read_file

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")
# Other suffixes of the same formats, and what Twitter adds to a suffix: 12.jpg_large, 12.jpg:orig.
_ALSO = re.compile(
    r"\.(?:jpe?g|jpe|jfif|pjpeg|pjp|png|apng|gif|webp|bmp|dib|tiff?)(?:[-_:](?:large|orig|medium|small|thumb)|\?.*)?",
    re.IGNORECASE,
)
# Files that are not pictures; a file with any other suffix may be a picture in an unsupported format.
_BESIDE = (
    *(".txt", ".xml", ".json", ".jsonl", ".csv", ".tsv", ".md", ".html", ".yaml", ".yml", ".log", ".py", ".zip"),
    *(".npy", ".npz", ".pt", ".pth", ".pkl", ".h5", ".parquet", ".arrow"),
)
REFUSED = ("outside", "not_a_file", "too_large")  # reasons for which a file is refused
USUAL, ALSO, OTHER = 0, 1, 2  # how certainly a suffix is that of a picture
_TWITTER_2017 = "twitter2017-"
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the name of an uploaded file


class PictureFile(NamedTuple):
    """An image file that can be decoded, its width and height as displayed, and the folder it was found in.

    ``orientation``, ``animated`` and ``deep`` are those of ``hygiene.Decoded``. A picture that lies in a dataset is
    read by ``stored``.
    """

    path: Path
    size: tuple[int, int]
    digest: bytes
    allowed: Allowed
    orientation: int = 1
    animated: bool = False
    deep: bool = False
    stored: Callable[[], bytes] | None = None

    def read(self) -> bytes:
        """Return the file's bytes.

        Raises:
            DataError: the file has changed since it was decoded, or may no longer be read.
        """
        data = read_file(self.path, self.allowed) if self.stored is None else self.stored()
        if _digest(data) != self.digest:
            raise DataError(f"{self.path} changed while the set was read: run again when it is whole")
        return data


class Wanted(NamedTuple):
    """A post's id and the names of its images."""

    id: str
    names: Sequence[str]


def attach(
    folder: Path, wanted: Mapping[str, Sequence[Wanted]], report: Report, *, suffixed: bool = False
) -> dict[str, list[PictureFile]]:
    """Return the pictures for each image name in the posts; count those that are missing or cannot be decoded.

    A name is that of a file, with or without its suffix, in the folder or below it; of a path or a URL the last part
    is the name, and the folders before it tell files of one name apart. ``suffixed`` names stand for all files
    ``<name>_<suffix>``. MNER-MI-Plus says ``twitter2017-O_26.jpg`` for Twitter-2017's ``O_26.jpg``. Of several files
    with one name the first that can be decoded is taken and reported.

    Raises:
        UsageError: the folder does not exist or has no image.
        DataError: a post names an image that exists in two folders, or two images of different folders are one file.
    """
    files, allowed = _Files(folder), Allowed.of(folder)
    names = dict.fromkeys(name for posts in wanted.values() for post in posts for name in post.names)
    found = files.by_prefix(names) if suffixed else {name: [same] for name in names if (same := files.named(name))}
    if not found and not files.usual:
        raise UsageError(f"{folder}: expected images named <id>{', <id>'.join(PICTURES)}, found none")
    _check_places(found, folder)
    paths = dict.fromkeys(path for images in found.values() for same in images for path in same)
    looked_at = dict(_look_at(paths, allowed))
    taken = {name: [_take(same, looked_at) for same in images] for name, images in found.items()}
    for split, posts in wanted.items():
        counts = report.splits[split]
        for post in posts:
            for name in post.names:
                if name not in found:
                    counts.note("missing", post.id if name == post.id else f"{post.id} ({name[:200]})")
                for same, image in zip(found.get(name, ()), taken.get(name, ()), strict=True):
                    count_picture(name, same, image, counts)
    return {name: [image for image in images if isinstance(image, PictureFile)] for name, images in taken.items()}


def place_of(name: str) -> list[str]:
    """Return the folders and the file name that a path or a URL ends with.

    The query of a URL is no part of it, but Label Studio's ``/data/local-files/?d=folder/1.jpg`` has a path there.
    """
    path = name.replace("\\", "/")
    if "://" in name or "/?" in name:
        try:
            url = urlsplit(name)
        except ValueError:  # a bracket in the host
            return [name]
        path = unquote(parse_qs(url.query).get("d", [url.path])[0] if url.path.endswith("/") else url.path)
    return [part for part in path.split("/") if part not in ("", ".")] or [name]


def _check_places(found: Mapping[str, Sequence[Sequence[Path]]], folder: Path) -> None:
    """Raise DataError if the names of images in different folders lead to one file."""
    places: dict[Path, dict[tuple[str, ...], str]] = defaultdict(dict)
    for name, images in found.items():
        if folders := tuple(place_of(name)[:-1]):
            for same in images:
                places[same[0]].setdefault(folders, name)
    for file, names in places.items():
        if len(names) > 1:
            both = " and ".join(name[:200] for name in list(names.values())[:2])
            raise DataError(f"expected a file for each image, found {file} for {both}: keep their folders in {folder}")


def _take(same: Sequence[Path], looked_at: "Mapping[Path, PictureFile | Fault]") -> "PictureFile | Fault":
    """Return the first picture among files with the same name, or why there is none."""
    looks = [looked_at[path] for path in same]
    return next((look for look in looks if isinstance(look, PictureFile)), looks[0])


def count_picture(name: str, same: Sequence[Path], image: "PictureFile | Fault", counts: SplitReport) -> None:
    """Count an image of a post, or why it has none, and note its peculiarities."""
    spelt = " and ".join(path.name for path in same)
    if isinstance(image, Fault):
        counts.note(image.trouble, f"{same[0].name} {image.detail}")
        return
    counts.images += 1
    file = image.path.name
    if len(same) > 1:
        counts.note("twin_images", f"{spelt}: {file} is taken")
    elif _kind(named := Path(place_of(name)[-1])) < OTHER and named.suffix != image.path.suffix:
        counts.note("other_endings", f"{name}: {file}")
    if image.animated:
        counts.note("animated_images", file)
    if image.deep:
        counts.note("deep_images", file)


def _kind(path: Path) -> int:
    """Return how certainly a file is a readable picture, by its suffix: the most certain are taken first."""
    if path.suffix.lower() in PICTURES:
        return USUAL
    return ALSO if _ALSO.fullmatch(path.suffix) else OTHER


class _Files:
    """The files of a folder and its subfolders that may be images, by name."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such image folder")
        there = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
        self.paths = sorted(
            (path for path in there if path.suffix.lower() not in _BESIDE), key=lambda path: (_kind(path), path)
        )
        self.usual = any(_kind(path) < OTHER for path in self.paths[:1])
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            for key in dict.fromkeys((path.name, path.stem)):
                self._by_name[normalise_unicode("NFC", key)].append(path)

    def named(self, name: str) -> list[Path]:
        """Return the files with a name, the one to use first; the list may be empty.

        If a name has the suffix of a picture and no file has that name, any other suffix is accepted.
        """
        *folders, spelt = (normalise_unicode("NFC", part) for part in place_of(name))
        spellings = [spelt, spelt.removeprefix(_TWITTER_2017)]
        if folders:
            spellings.append(_UPLOADED.sub("", spelt, count=1))
        if _kind(Path(spelt)) < OTHER:
            spellings += [spelling.removesuffix(Path(spelt).suffix) for spelling in spellings]
        for spelling in spellings:
            if same := _nearest(self._by_name.get(spelling, ()), folders):
                exact = [path for path in same if normalise_unicode("NFC", path.name) == spelling]
                alike = [path for path in exact or same if _kind(path) == _kind((exact or same)[0])]
                if twin := next((path for path in alike if path.parent != alike[0].parent), None):
                    both = f"{alike[0]} and {twin}"
                    raise DataError(f"expected one image {spelling}, found {both}: give the folder of one of them")
                return exact or same
        return []

    def by_prefix(self, names: Iterable[str]) -> dict[str, list[list[Path]]]:
        """Return the images ``<name>_<suffix>`` of each name that has some, each as its candidate files.

        A file belongs to the longest name that fits.
        """
        known = {normalise_unicode("NFC", name): name for name in names}
        found: dict[str, dict[tuple[Path, str], list[Path]]] = {}
        for path in self.paths:
            prefix = stem = normalise_unicode("NFC", path.stem)
            while prefix not in known and "_" in prefix:
                prefix = prefix.rpartition("_")[0]
            if prefix in known:
                found.setdefault(known[prefix], {}).setdefault((path.parent, stem), []).append(path)
        return {
            name: sorted(images.values(), key=lambda same: (len(same[0].name), same[0].name))
            for name, images in found.items()
        }


def _nearest(paths: Sequence[Path], folders: Sequence[str]) -> list[Path]:
    """Return the files in most of some folders, counted from the innermost."""
    if len(paths) < 2 or not folders:
        return list(paths)
    shared = [
        len(list(takewhile(lambda pair: pair[0] == pair[1], zip(folders[::-1], path.parts[-2::-1], strict=False))))
        for path in paths
    ]
    return [path for path, n in zip(paths, shared, strict=True) if n == max(shared)]


class Fault(NamedTuple):
    """Why a picture is left out: the counter of a report, and a description."""

    trouble: str
    detail: str


def _look_at(paths: Iterable[Path], allowed: Allowed) -> Iterator[tuple[Path, PictureFile | Fault]]:
    """Yield each file's picture, or why it is left out."""
    left = iter(paths)
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(left, 64)):
            yield from zip(chunk, pool.map(partial(look_at, allowed=allowed), chunk), strict=True)


def look_at(path: Path, allowed: Allowed) -> PictureFile | Fault:
    """Return an image file's picture, or why it is left out; Pillow's limit holds."""
    try:
        data = read_file(path, allowed)
    except FileRefused as error:
        return Fault("refused" if error.reason in REFUSED else "unreadable", error.detail)
    return _decoded(path, data, allowed)


def picture_of(path: Path, stored: Callable[[], bytes]) -> PictureFile | Fault:
    """Return the picture that lies in a dataset, or why it is left out; ``path`` is its name."""
    found = _decoded(path, stored(), NOWHERE)
    return found._replace(stored=stored) if isinstance(found, PictureFile) else found


def _decoded(path: Path, data: bytes, allowed: Allowed) -> PictureFile | Fault:
    """Return the picture that some bytes are, or why it is left out."""
    try:
        found = decode_image({"bytes": data, "path": None})
    except DataError as error:
        if _kind(path) == OTHER or data[4:8] == b"ftyp":  # AVIF, HEIC and films, whatever their suffix
            return Fault("unsupported", f"is in no supported format ({', '.join(FORMATS)})")
        return Fault("unreadable", str(error).removeprefix("the image "))
    return PictureFile(path, found.picture.size, _digest(data), allowed, found.orientation, found.animated, found.deep)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
