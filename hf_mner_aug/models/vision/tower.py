"""A vision tower as a torch module.

Imports torch at its top, as ``backbones/nets.py`` does, so it must be imported inside functions only.
"""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import transforms

from hf_mner_aug.models.device import digest_weights

Stages = list[Tensor]  # feature maps [batch, channels, height, width], from fine to coarse


def grid(stages: Stages) -> Tensor:
    """Return the cells of the last map as regions [batch, n_cells, channels]: 7×7 of ResNet at 224 pixels."""
    return stages[-1].flatten(2).transpose(1, 2)


def whole(stages: Stages) -> Tensor:
    """Return the mean of the last map as one region [batch, 1, channels]."""
    return stages[-1].mean(dim=(2, 3)).unsqueeze(1)


def states(stages: Stages) -> Tensor:
    """Return the states of ``clip_layers`` as they are."""
    return stages[-1]


def pyramid(stages: Stages, *, side: int = 2) -> Tensor:
    """Return all maps pooled to ``side``×``side`` cells, channels concatenated [batch, side², sum of channels]."""
    pooled = [nn.functional.adaptive_avg_pool2d(stage, side) for stage in stages]
    return torch.cat(pooled, dim=1).flatten(2).transpose(1, 2)


class Tower(nn.Module):
    """Pictures [batch, 3, size, size] (uint8, RGB) to regions [batch, n_regions, channels].

    A frozen tower has no gradient and is always in eval mode. A trained one gets pictures mirrored and shifted at
    random during training. A pretrained tower keeps the statistics of its batch norms, since small batches would spoil
    them; one without weights learns them as well.
    """

    def __init__(
        self,
        body: nn.Module,
        view: Callable[[Stages], Tensor] = grid,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        frozen: bool,
        pretrained: bool,
        learning_rate: float | None = None,
    ) -> None:
        super().__init__()
        self.body, self.view = body, view
        self.size, self.frozen, self.pretrained = size, frozen, pretrained
        self.learning_rate = learning_rate
        padding = {"padding": size // 8, "padding_mode": "edge"}
        self.vary = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.RandomCrop(size, **padding)])
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        if frozen:
            self.requires_grad_(False)
        self.eval()
        with torch.no_grad():
            self.channels: int = self(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape[2]

    def with_view(self, view: Callable[[Stages], Tensor]) -> "Tower":
        """Return the same tower, sharing its weights, with another view that has as many channels."""
        other = copy.copy(self)
        other.__dict__.pop("digest", None)
        other.view = view
        return other

    @property
    def config(self) -> Any:
        """The config from which transformers builds the tower; None if its name is enough."""
        return getattr(self.body, "config", None)

    def train(self, mode: bool = True) -> "Tower":
        """Set the mode; frozen towers and pretrained batch norms stay in eval mode."""
        super().train(mode and not self.frozen)
        if self.pretrained:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def stages(self, pixels: Tensor) -> Stages:
        """Return the maps of the last four stages."""
        found = self.body((pixels.float() / 255 - self.get_buffer("mean")) / self.get_buffer("std"))
        if hasattr(found, "feature_maps"):
            found = found.feature_maps
        maps = list(found.values() if isinstance(found, dict) else found)[-4:]
        if getattr(self.body, "output_fmt", None) == "NHWC":  # timm's Swin
            maps = [stage.permute(0, 3, 1, 2) for stage in maps]
        return maps

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the regions of each picture."""
        if self.training:
            pixels = torch.stack([self.vary(picture) for picture in pixels])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.view(self.stages(pixels))

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of everything that determines a frozen tower's output: weights, size and view."""
        return digest_weights(self.state_dict(), f"{self.size} {self.view.__name__}")


def see(tower: Tower | None, pictures: Tensor | None, shown: Tensor | None, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the concatenated regions of each post's pictures, and their mask.

    Args:
        tower: None if pictures are not used.
        pictures: pixels [batch, n_pictures, 3, size, size] (uint8), or the regions of a frozen tower
            [batch, n_pictures, n_regions, channels].
        shown: true for pictures, false for padding [batch, n_pictures].
        like: a tensor of the batch's size, device and dtype.

    Returns:
        Regions [batch, n_pictures * n_regions, channels] and a mask of the first two dimensions. Without any pictures,
        one region that is masked out.
    """
    if tower is None or pictures is None or shown is None:
        nothing = like.new_zeros(len(like), 1, channels_of(tower))
        return nothing, nothing[..., 0].bool()
    if pictures.dtype == torch.uint8:
        found = tower(pictures[shown])
        pictures = found.new_zeros(*shown.shape, *found.shape[1:])
        pictures[shown] = found
    regions = pictures.to(like.dtype)
    return regions.flatten(1, 2), shown.repeat_interleave(regions.shape[2], dim=1)


def channels_of(tower: Tower | None) -> int:
    """Return the channels of a tower's regions; without a tower, those of the placeholder region."""
    return 1 if tower is None else tower.channels
