"""Proposals: regions of a post's first picture, with boxes, among which a backbone chooses that of an entity.

They are fixed crops, which go through the vision tower, or have features of their own: those that a folder of ``.npz``
holds, or a detector's. Train and test share one source.
"""

import functools
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.metrics.grounding import IOU, iou
from hf_mner_aug.models.vision.objects import CROPS
from hf_mner_aug.posts.pictures import image_digest, open_image, open_rgb
from hf_mner_aug.schema import Box, EncodedImage, Post
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.kept_regions import Kept, KeptRegions
from hf_mner_aug.storage.pinned_files import checked_file

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    import torch

    from hf_mner_aug.models.vision import Gallery

AT_ONCE = 1000  # pictures whose regions are kept in one file of the cache
# The parts of a picture: all of it, the four halves, and windows of half its width and height.
PARTS = (
    *((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)),
    *((x, y, x + 0.5, y + 0.5) for y in (0.0, 0.25, 0.5) for x in (0.0, 0.25, 0.5)),
)


class Proposed(NamedTuple):
    """The regions of a post's picture: boxes in pixels [n_regions], and the keys of their crops or their features."""

    boxes: tuple[Box, ...] = ()
    inputs: Any = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.boxes)


class Regions(Protocol):
    """Reads the regions of posts' pictures as input of a network."""

    @property
    def channels(self) -> int:
        """The length of a region's features, as the network reads them."""
        ...

    def read(self, posts: Sequence[Post], split: str) -> list[Proposed]:
        """Return the regions of each post's first picture; warnings count pictures without."""
        ...

    def stack(self, rows: Sequence[Proposed]) -> "dict[str, torch.Tensor]":
        """Return the padded regions of a batch, ``pictures`` [batch, n_regions, …], and their mask ``shown``.

        They are nothing if no post has any.
        """
        ...


class FeatureSource(Protocol):
    """Gives the regions of a picture with features; its results depend on the picture, or its name, alone."""

    @property
    def channels(self) -> int:
        """The length of a region's features."""
        ...

    @property
    def digest(self) -> str:
        """A digest of all that its results depend on beside the picture."""
        ...

    def lacks(self, post: Post) -> str:
        """Return why it has no regions for the first picture of a post, as the end of a sentence; empty if it has."""
        ...

    def propose(self, post: Post, picture: "PIL.Image.Image") -> "tuple[np.ndarray, np.ndarray]":
        """Return boxes in pixels [n, 4] and features [n, channels].

        Raises:
            DataError: a file is damaged or does not fit the picture.
        """
        ...


def covering(proposals: Sequence[Box], boxes: Sequence[Box]) -> list[float]:
    """Return the target distribution over proposals [n_regions] of an entity with gold boxes.

    Proposals that overlap one of the boxes with an IoU above 0.5 have equal shares; all have 0 if none does.
    """
    hits = [any(iou(proposal, box) > IOU for box in boxes) for proposal in proposals]
    return [hit / max(1, sum(hits)) for hit in hits]


def picture_size(image: EncodedImage) -> tuple[int, int] | None:
    """Return width and height of a picture, None if it cannot be read; a process decodes it once."""
    digest, sizes = image_digest(image), _sizes()
    if digest is None:
        return None
    if digest not in sizes:
        try:
            sizes[digest] = open_image(image).size
        except DataError:
            sizes[digest] = None
    return sizes[digest]


def part_boxes(width: int, height: int, most: int) -> tuple[Box, ...]:
    """Return the boxes of a picture's parts, in pixels: at most so many."""
    return tuple((x1 * width, y1 * height, x2 * width, y2 * height) for x1, y1, x2, y2 in PARTS[:most])


class Crops:
    """The fixed parts of pictures, cut out, as input of the tower; all pictures have the same parts."""

    def __init__(self, gallery: "Gallery", most: int) -> None:
        self.gallery, self.most = gallery, most

    @property
    def channels(self) -> int:
        """The length of the tower's output for a part."""
        return self.gallery.tower.channels

    def read(self, posts: Sequence[Post], split: str) -> list[Proposed]:
        """Return the parts of each post's first picture; a warning counts pictures that cannot be read."""
        rows, bad = [], []
        sizes = _sizes()
        for post in posts:
            image = post.images[0] if post.images else None
            digest = image_digest(image) if image else None
            opened = {}
            if image and digest and (digest not in sizes or not self._knows(digest, sizes[digest])):
                try:
                    opened[digest] = open_rgb(image)
                    sizes[digest] = opened[digest].size
                except DataError:
                    sizes[digest] = None
            size = sizes.get(digest or "")
            if image and not size:
                bad.append(post.id)
            boxes = part_boxes(*size, self.most) if size else ()
            keys = self.gallery.read_parts([[(image, box) for box in boxes]], opened)[0] if image else ()
            rows.append(Proposed(boxes, keys))
        _warn_of_unread(bad, posts, split)
        return rows

    def stack(self, rows: Sequence[Proposed]) -> "dict[str, torch.Tensor]":
        """Return the pixels [batch, n_regions, 3, size, size] of a batch, or [batch, n_regions, 1, channels]."""
        return self.gallery.stack([row.inputs for row in rows])

    def _knows(self, digest: str, size: tuple[int, int] | None) -> bool:
        return size is None or all(f"{digest} {box}" in self.gallery.known for box in part_boxes(*size, self.most))


class Featured:
    """Regions with features of their own, which are kept on disk."""

    def __init__(self, source: FeatureSource) -> None:
        self.source = source
        self.kept = _kept(artifacts.cache_folder(), source.digest, source.channels)

    @property
    def channels(self) -> int:
        """The length of a region's features."""
        return self.source.channels

    def read(self, posts: Sequence[Post], split: str) -> list[Proposed]:
        """Return the regions of each post's first picture; warnings count pictures without.

        Raises:
            DataError: a file of regions is damaged or does not fit its picture.
        """
        lacking: dict[str, list[str]] = defaultdict(list)
        keys: list[str | None] = []
        missing: dict[str, Post] = {}
        for post in posts:
            key = image_digest(post.images[0]) if post.images else None
            if post.images and key and (why := self.source.lacks(post)):
                lacking[why].append(post.id)
                key = None
            keys.append(key)
            if key and key not in self.kept:
                missing.setdefault(key, post)
        found = self._compute(missing)
        while first := next(found, None):
            self.kept.write(_chain(first, found))
        n_all = sum(bool(post.images) for post in posts)
        for why, ids in lacking.items():
            warnings.warn(
                f"{split}: {len(ids)} of {n_all} pictures have no regions (the first: post {ids[0]}): {why}",
                stacklevel=4,
            )
        read = [Proposed(*self.kept.read(key)) if key and key in self.kept else Proposed() for key in keys]
        unread = [
            post.id
            for post, key in zip(posts, keys, strict=True)
            if post.images and (key not in self.kept if key else image_digest(post.images[0]) is None)
        ]
        _warn_of_unread(unread, posts, split)
        return read

    def stack(self, rows: Sequence[Proposed]) -> "dict[str, torch.Tensor]":
        """Return the features [batch, n_regions, channels] of a batch."""
        import numpy as np
        import torch

        most = max(len(row.boxes) for row in rows)
        if not most:
            return {}
        features = np.zeros((len(rows), most, self.channels), np.float32)
        for i, row in enumerate(rows):
            features[i, : len(row.boxes)] = row.inputs if row else 0
        shown = torch.arange(most) < torch.tensor([len(row.boxes) for row in rows])[:, None]
        return {"pictures": torch.from_numpy(features), "shown": shown}

    def _compute(self, missing: dict[str, Post]) -> Iterator[Kept]:
        """Yield the regions of pictures by their digests; those of unreadable pictures are left out."""
        for key, post in missing.items():
            try:
                picture = open_rgb(post.images[0])
            except DataError:
                continue
            yield key, *self.source.propose(post, picture)


def open_regions(name: str, *, most: int, device: str = "auto") -> Featured:
    """Return the reader of regions with features: a folder of ``.npz``, or a detector's folder or id on the Hub.

    Raises:
        MissingExtra: transformers is not installed.
        UsageError: there is no such folder or detector, one named by its content is not known here or has changed, or
            its queries have no features.
        DataError: the first file of the folder is damaged.
    """
    name = checked_file(name, "regions ")
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        from hf_mner_aug.models.vision.region_files import RegionFiles

        return Featured(RegionFiles(folder, most))
    from hf_mner_aug.models.vision.region_detector import RegionDetector

    if name == CROPS:
        raise UsageError(f"regions={CROPS} have no features of their own: they are read by a tower")
    return Featured(RegionDetector(name, most, device))


def _chain(first: Kept, others: Iterator[Kept]) -> Iterator[Kept]:
    """Yield the regions for one file of the cache."""
    yield first
    for _, kept in zip(range(AT_ONCE - 1), others, strict=False):
        yield kept


def _warn_of_unread(bad: Sequence[str], posts: Sequence[Post], split: str) -> None:
    if bad:
        n_all = sum(bool(post.images) for post in posts)
        warnings.warn(
            f"{split}: {len(bad)} of {n_all} pictures cannot be read and are ignored (the first: post {bad[0]})",
            stacklevel=5,
        )


@functools.lru_cache(maxsize=4)
def _kept(cache: Path, source: str, channels: int) -> KeptRegions:
    """Return the regions of a source that a cache folder has: their files are checked once per process."""
    return KeptRegions(source, channels)


@functools.cache
def _sizes() -> dict[str, tuple[int, int] | None]:
    """Return the store of pictures' sizes by digest, None for those that cannot be read."""
    return {}
