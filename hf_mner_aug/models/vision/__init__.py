"""Vision towers by name, and the pictures of posts as input of a network."""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.device import ModelName, from_pretrained, split_model
from hf_mner_aug.models.vision.objects import cut
from hf_mner_aug.models.vision.timm_models import is_timm_folder, load_timm
from hf_mner_aug.need import UNUSABLE_MODEL, need
from hf_mner_aug.posts.pictures import image_digest, open_rgb
from hf_mner_aug.schema import Box, EncodedImage, Post
from hf_mner_aug.values import Range, check_ranges

if TYPE_CHECKING:
    import PIL.Image
    import torch

    from hf_mner_aug.models.vision.tower import Tower

TINY = "tiny"
MOST_PICTURES = 4  # per post: MNER-MI has no more
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of each colour
OPENAI = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # the same of CLIP
STATES = "states"
FROZEN_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Vision:
    """The settings of a vision tower.

    Pictures are resized to 8/7 of ``image_size`` on the shorter side and center-cropped.

    Args:
        tower: `torchvision:NAME` (a ResNet), `timm:NAME`, a folder that timm saved, the folder or id of a
            transformers backbone, or `tiny`: a ResNet of 126,000 parameters without weights.
        pretrained: start from the tower's weights (torchvision: IMAGENET1K_V1; timm: those of its name on the Hub).
        freeze_vision: do not train the tower, which then encodes each picture once.
        image_size: side of the tower's input in pixels.
        vision_learning_rate: of a trained tower; None takes the default for its kind, pretrained or new.
    """

    tower: ModelName = "torchvision:resnet152"
    pretrained: bool = True
    freeze_vision: bool = True
    image_size: Annotated[int, Range(64)] = 224
    vision_learning_rate: Annotated[float | None, Range(0, 1, "()")] = None

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.freeze_vision and not self.has_weights:
            raise UsageError(f"the tower {self.tower} starts without weights: pass freeze_vision=False to train it")
        if self.vision_learning_rate is not None and self.freeze_vision:
            raise UsageError("vision_learning_rate is for a trained tower: pass freeze_vision=False")

    @property
    def has_weights(self) -> bool:
        """Whether the tower starts from pretrained weights."""
        return self.pretrained and self.tower != TINY


def load_tower(vision: Vision, *, view: str = "grid", saved: Path | None = None) -> "Tower":
    """Return a tower; ``view`` is ``grid``, ``pyramid``, or ``states``, those of CLIP before its last layers.

    If ``saved`` is the folder of a saved backbone, the tower is built with its architecture, and its weights are loaded
    later.

    Raises:
        MissingExtra: torch, torchvision, timm or transformers is not installed.
        UsageError: there is no such tower, or it cannot be downloaded.
    """
    need("torch", extra="models")
    from hf_mner_aug.models.device import quiet
    from hf_mner_aug.models.vision import tower

    library, _, name = vision.tower.rpartition(":")
    try:
        with quiet():
            if view == STATES:
                body, (mean, std) = _clip(vision, saved)
            elif library == "torchvision":
                body, (mean, std) = _torchvision(name, vision.pretrained and saved is None)
            elif library == "timm" or is_timm_folder(saved or Path(vision.tower)):
                body, (mean, std) = _timm(name, vision, saved)
            else:
                body, (mean, std) = _transformers(vision, saved)
    except (*UNUSABLE_MODEL, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        expected = (
            f"{TINY}, or the folder or id of a CLIP such as openai/clip-vit-base-patch32"
            if view == STATES
            else f"torchvision:NAME, timm:NAME, {TINY}, a folder that timm saved, or the folder or id of a "
            "transformers backbone such as microsoft/resnet-50"
        )
        raise UsageError(f"tower {vision.tower!r}: expected {expected} ({first})") from error
    return tower.Tower(
        body,
        getattr(tower, view),
        size=vision.image_size,
        mean=mean,
        std=std,
        frozen=vision.freeze_vision,
        pretrained=vision.has_weights,
        learning_rate=vision.vision_learning_rate,
    )


Loaded = tuple[Any, tuple[Sequence[float], Sequence[float]]]  # a body, and the mean and standard deviation it expects


def _torchvision(name: str, pretrained: bool) -> Loaded:
    models = need("torchvision.models", extra="models")
    extraction = need("torchvision.models.feature_extraction", extra="models")
    layers = [f"layer{i}" for i in (1, 2, 3, 4)]
    net = models.get_model(name, weights="IMAGENET1K_V1" if pretrained else None)
    if not all(hasattr(net, layer) for layer in layers):
        raise ValueError(f"torchvision's {name} is not a ResNet: use timm's")
    return extraction.create_feature_extractor(net, layers), IMAGENET


def _timm(name: str, vision: Vision, saved: Path | None) -> Loaded:
    name = name or vision.tower
    body = load_timm(name, size=vision.image_size, pretrained=vision.pretrained, saved=saved)
    return body, (body.config.mean, body.config.std)


def _transformers(vision: Vision, saved: Path | None) -> Loaded:
    transformers = need("transformers", extra="models")
    name, revision, variant = split_model(vision.tower) if saved is None else (str(saved), None, None)
    if vision.tower == TINY:
        config = transformers.ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], layer_type="basic"
        )
    else:
        config = from_pretrained(transformers.AutoConfig, name, revision)
    config.out_features = getattr(config, "stage_names", [])[-4:]
    body = transformers.AutoBackbone.from_config(config, trust_remote_code=False)
    if saved is not None or not vision.has_weights:
        return body, IMAGENET  # those of a saved tower are stored with its weights
    body = from_pretrained(type(body), name, revision, variant, config=config, dtype="float32")
    try:
        processor = from_pretrained(transformers.AutoImageProcessor, name, revision)
    except (OSError, ValueError):
        return body, IMAGENET
    return body, (processor.image_mean, processor.image_std)


def _clip(vision: Vision, saved: Path | None) -> Loaded:
    from hf_mner_aug.models.vision import clip_layers

    if vision.tower == TINY and saved is None:
        net = need("transformers", extra="models").CLIPVisionModel(clip_layers.tiny_config(vision.image_size))
    else:
        name, revision, variant = split_model(vision.tower) if saved is None else (str(saved), None, None)
        net = clip_layers.load_clip(name, revision, variant, pretrained=vision.has_weights and saved is None)
    return clip_layers.FirstLayers(net, vision.image_size), OPENAI


class Gallery:
    """The pictures of posts as input of a network: pixels, or regions if the tower is frozen.

    Each distinct picture is decoded once, and a frozen tower encodes it once per process, whatever is trained on top of
    it. Regions are kept in half precision: 200 kB for a picture of 7×7 regions of 2,048 channels.
    """

    def __init__(self, tower: "Tower") -> None:
        self.tower = tower
        self.known = _regions(tower.digest) if tower.frozen else {}
        self._unreadable: set[str] = set()

    def read(self, posts: Sequence[Post], split: str) -> list[tuple[str, ...]]:
        """Return the keys of each post's pictures, at most four; a warning counts those that cannot be read."""
        rows: list[tuple[str, ...]] = []
        waiting: dict[str, torch.Tensor] = {}
        bad: list[str] = []
        for post in posts:
            keys: list[str] = []
            for image in post.images:
                if len(keys) == MOST_PICTURES:
                    break
                key = image_digest(image)
                if key is None or not self._decode(key, image, waiting):
                    bad.append(post.id)
                else:
                    keys.append(key)
            rows.append(tuple(keys))
            if len(waiting) >= FROZEN_BATCH:
                self._keep(waiting)
        self._keep(waiting)
        if bad:
            n_all = sum(len(post.images) for post in posts)
            warnings.warn(
                f"{split}: {len(bad)} of {n_all} pictures cannot be read and are ignored (the first: post {bad[0]})",
                stacklevel=4,
            )
        return rows

    def read_parts(
        self,
        rows: Sequence[Sequence[tuple[EncodedImage, Box]]],
        opened: "Mapping[str, PIL.Image.Image]" = MappingProxyType({}),
    ) -> list[tuple[str, ...]]:
        """Return the keys of each post's picture parts, with boxes in pixels; ``opened`` are pictures by digest.

        Raises:
            DataError: a picture cannot be decoded.
        """
        found: list[tuple[str, ...]] = []
        waiting: dict[str, torch.Tensor] = {}
        pictures: dict[str | None, Any] = dict(opened.items())
        for row in rows:
            keys = []
            for image, box in row:
                digest = image_digest(image)
                keys.append(f"{digest} {box}")
                if keys[-1] in self.known or keys[-1] in waiting:
                    continue
                if digest not in pictures:
                    pictures = {digest: open_rgb(image)}
                waiting[keys[-1]] = _transform(self.tower.size)(cut(pictures[digest], box))
            found.append(tuple(keys))
            if len(waiting) >= FROZEN_BATCH:
                self._keep(waiting)
        self._keep(waiting)
        return found

    def stack(self, rows: Sequence[Sequence[str]]) -> dict[str, "torch.Tensor"]:
        """Return the padded pictures of a batch of posts and their mask; nothing if there are no pictures."""
        import torch

        most = max(map(len, rows))
        if not most:
            return {}
        shown = torch.arange(most) < torch.tensor([len(row) for row in rows])[:, None]
        like = self.known[next(key for row in rows for key in row)]
        pictures = like.new_zeros(len(rows), most, *like.shape)
        pictures[shown] = torch.stack([self.known[key] for row in rows for key in row])
        return {"pictures": pictures, "shown": shown}

    def _decode(self, key: str, image: EncodedImage, waiting: dict[str, "torch.Tensor"]) -> bool:
        """Queue the pixels of an unknown picture for the tower; return whether it can be read."""
        if key in self.known or key in waiting:
            return True
        if key not in self._unreadable:
            try:
                waiting[key] = _transform(self.tower.size)(open_rgb(image))
                return True
            except DataError:
                self._unreadable.add(key)
        return False

    def _keep(self, waiting: dict[str, "torch.Tensor"]) -> None:
        """Store the queued pictures, as regions if the tower is frozen."""
        import torch

        if waiting and self.tower.frozen:
            device = next(self.tower.parameters()).device
            regions = self.tower(torch.stack([*waiting.values()]).to(device))
            self.known.update(zip(waiting, regions.half().cpu(), strict=True))
        else:
            self.known.update(waiting)
        waiting.clear()


@functools.lru_cache(maxsize=2)
def _regions(tower: str) -> dict[str, "torch.Tensor"]:
    """Return the store of the regions from a frozen tower with a digest."""
    return {}


def middle(picture: "PIL.Image.Image") -> "PIL.Image.Image":
    """Return a picture cropped so that its longer side is at most four times the shorter one."""
    width, height = picture.size
    # The same on both ends, so that the centre stays where it was.
    cut_x = max(0, (width - 4 * height) // 2)
    cut_y = max(0, (height - 4 * width) // 2)
    return picture.crop((cut_x, cut_y, width - cut_x, height - cut_y)) if cut_x or cut_y else picture


@functools.lru_cache(maxsize=2)
def _transform(size: int) -> Callable[[Any], "torch.Tensor"]:
    transforms = need("torchvision.transforms", extra="models")
    # A very thin picture would be resized to a huge one of which only the centre is kept.
    steps = [middle, transforms.Resize(round(size * 8 / 7)), transforms.CenterCrop(size), transforms.PILToTensor()]
    composed: Callable[[Any], torch.Tensor] = transforms.Compose(steps)
    return composed
