"""Objects in pictures: their boxes and labels, from a detector, or fixed crops without labels if there is none.

A detector is any object-detection model of transformers, from a folder or the Hub, or a ``centernet`` in a folder. Its
results are cached under the picture's sha256.
"""

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

from hf_mner_aug.exceptions import Corrupt, DataError
from hf_mner_aug.models.device import digest_weights, find_device, from_pretrained, loading, split_model
from hf_mner_aug.models.vision import centernet
from hf_mner_aug.need import need
from hf_mner_aug.posts.pictures import image_digest, open_rgb
from hf_mner_aug.schema import Box, EncodedImage, canonical_json
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.pinned_files import checked_file
from hf_mner_aug.untrusted.shapes import read_json
from hf_mner_aug.values import Positive, Range, check_ranges

if TYPE_CHECKING:
    import PIL.Image

CROPS = "crops"
LEAST = 0.7  # the score of an object of transformers' models
SMALLEST = 4  # pixels: a thinner box shows nothing useful


class Region(NamedTuple):
    """A part of a picture: its box in pixels ``(x1, y1, x2, y2)``, its label (empty if unknown), its score."""

    box: Box
    label: str = ""
    score: float = 1.0


class ObjectFinder(Protocol):
    """Finds the objects of a picture; its results depend only on the picture."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it gives, in a fixed order; empty if it gives none."""
        ...

    def find(self, image: EncodedImage) -> list[Region]:
        """Return the objects of a picture, by descending score.

        Raises:
            DataError: it cannot be decoded.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class FixedCrops:
    """The middle of a picture and the halves of its longer side: they are not objects and have no labels."""

    @property
    def labels(self) -> tuple[str, ...]:
        """None."""
        return ()

    def find(self, image: EncodedImage) -> list[Region]:
        """Return the three crops of a picture.

        Raises:
            DataError: it cannot be decoded.
        """
        return [Region(box) for box in fixed_boxes(*open_rgb(image).size)]


def fixed_boxes(width: int, height: int) -> list[Box]:
    """Return the boxes of a picture's middle (half as wide, half as high) and of the halves of its longer side."""
    middle = (width / 4, height / 4, width * 3 / 4, height * 3 / 4)
    if width >= height:
        return [middle, (0.0, 0.0, width / 2, float(height)), (width / 2, 0.0, float(width), float(height))]
    return [middle, (0.0, 0.0, float(width), height / 2), (0.0, height / 2, float(width), float(height))]


@dataclass(frozen=True, kw_only=True)
class Detector:
    """An object-detection model: one of transformers, such as DETR or YOLOS, or a ``centernet``.

    Args:
        model: a folder, or an id of transformers' on the Hub.
        threshold: the minimum score of an object; None takes the model's own, 0.7 for those of transformers.
        most: the number of objects to keep per picture, by score.
        device: ``cpu``, ``cuda`` or ``auto``.
    """

    model: str
    threshold: Annotated[float | None, Range(0, 1, "[)")] = None
    most: Positive = 3
    device: str = "auto"

    def __post_init__(self) -> None:
        check_ranges(self, "detector")

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the model, in the order of their ids.

        Raises:
            MissingExtra: transformers is not installed.
            UsageError: there is no such model.
        """
        return tuple(dict.fromkeys(_load(self.model).labels))

    def find(self, image: EncodedImage) -> list[Region]:
        """Return the objects of a picture, from the cache if it was processed before.

        Raises:
            MissingExtra: transformers is not installed.
            UsageError: there is no such model or GPU.
            DataError: the picture cannot be decoded.
            Corrupt: a file of the cache is damaged.
        """
        path = self._path(image)
        regions = _read(path)
        if regions is None:
            regions = self._detect(open_rgb(image))
            artifacts.write_atomically(path, (canonical_json(regions) + "\n").encode())
        return regions

    def _path(self, image: EncodedImage) -> Path:
        """Return the cache path of a picture's objects: by the model, its settings, and the picture."""
        name = image_digest(image)
        if name is None:
            raise DataError("the image cannot be read")
        asked = canonical_json([_load(self.model).digest, self._least, self.most])
        folder = artifacts.cache_folder() / "objects" / hashlib.sha256(asked.encode()).hexdigest()[:16]
        return folder / name[:2] / f"{name}.json"

    def _detect(self, picture: "PIL.Image.Image") -> list[Region]:
        """Return the best objects of an RGB picture, with boxes clipped to it; too thin ones are left out."""
        loaded = _load(self.model)
        regions = []
        for (x1, y1, x2, y2), label, score in loaded.find(picture, find_device(self.device), self._least):
            box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(picture.width)), min(y2, float(picture.height)))
            if box[2] - box[0] >= SMALLEST and box[3] - box[1] >= SMALLEST:
                regions.append(Region(box, label, score))
        return sorted(regions, key=lambda region: -region.score)[: self.most]

    @property
    def _least(self) -> float:
        """The minimum score of an object."""
        return _load(self.model).threshold if self.threshold is None else self.threshold


def object_finder(name: str, *, most: int, device: str = "auto") -> ObjectFinder:
    """Return the finder with a name: ``crops``, or a detector's folder or id on the Hub."""
    if name == CROPS:
        return FixedCrops()
    return Detector(model=checked_file(name, "objects "), most=most, device=device)


def objects_of(images: Sequence[EncodedImage], finder: ObjectFinder, most: int) -> list[tuple[EncodedImage, Region]]:
    """Return the best objects of a post's pictures, each with its picture; an unreadable one has none."""
    found = []
    for image in images:
        with contextlib.suppress(DataError):
            found += [(image, region) for region in finder.find(image)]
    return sorted(found, key=lambda pair: -pair[1].score)[:most]


def cut(picture: "PIL.Image.Image", box: Box) -> "PIL.Image.Image":
    """Return a part of a picture, at least one pixel wide and high."""
    left, top = min(int(box[0]), picture.width - 1), min(int(box[1]), picture.height - 1)
    return picture.crop((left, top, max(left + 1, round(box[2])), max(top + 1, round(box[3]))))


class _Loaded(NamedTuple):
    """A detector in memory: its labels by their ids, its digest, its threshold, and what finds objects in a picture.

    ``find`` takes a picture, a device and a threshold, and gives boxes in pixels of the picture, labels and scores.
    """

    labels: list[str]
    digest: str
    threshold: float
    find: "Callable[[PIL.Image.Image, str, float], list[tuple[Box, str, float]]]"


@functools.lru_cache(maxsize=2)
def _load(model: str) -> _Loaded:
    need("torch", extra="models")
    if centernet.is_centernet(Path(model)):
        with loading(model, "a CenterNet", role="detector"):
            return _centernet(centernet.load_centernet(Path(model)))
    transformers = need("transformers", extra="models")
    name, revision, variant = split_model(model)
    with loading(model, "an object-detection model", role="detector"):
        kind = transformers.AutoModelForObjectDetection
        network = from_pretrained(kind, name, revision, variant, dtype="float32").eval()
        processor = from_pretrained(transformers.AutoImageProcessor, name, revision)
    names = network.config.id2label
    find = functools.partial(_find, network, processor)
    return _Loaded([names[i] for i in sorted(names)], model_digest(network, processor), LEAST, find)


def _find(
    network: Any, processor: Any, picture: "PIL.Image.Image", device: str, threshold: float
) -> list[tuple[Box, str, float]]:
    """Return the boxes, labels and scores that a model of transformers finds."""
    import torch

    # One at a time: padding a picture to the size of others changes its objects.
    inputs = processor(images=[picture], return_tensors="pt").to(device)
    with torch.no_grad():
        outputs = network.to(device)(**inputs)
    size = (picture.height, picture.width)
    (result,) = processor.post_process_object_detection(outputs, threshold=threshold, target_sizes=[size])
    names = [network.config.id2label[label] for label in result["labels"].tolist()]
    return list(zip(map(tuple, result["boxes"].tolist()), names, result["scores"].tolist(), strict=True))


def _centernet(network: centernet.CenterNet) -> _Loaded:
    labels = network.config["labels"]

    def find(picture: "PIL.Image.Image", device: str, threshold: float) -> list[tuple[Box, str, float]]:
        peaks = zip(*network.find(picture, device), strict=True)
        return [(box, labels[label], score) for box, label, score in peaks if score >= threshold]

    digest = digest_weights(network.weights, canonical_json(network.config))
    return _Loaded(labels, digest, network.config["threshold"], find)


def model_digest(network: Any, processor: Any) -> str:
    """Return the sha256 of a model's weights and settings: the same model from another place has the same digest."""
    settings = canonical_json(json.loads(processor.to_json_string()))
    return digest_weights(network.state_dict(), network.config.to_json_string(), settings)


KeptRegion = tuple[tuple[float, float, float, float], str, float]  # a region's box, label and score


def _read(path: Path) -> list[Region] | None:
    """Return the objects in a file of the cache, or None if there is none."""
    try:
        rows = read_json(path, list[KeptRegion], error=Corrupt, advice="delete it and run again")
    except FileNotFoundError:
        return None
    return [Region(box, label, score) for box, label, score in rows]
