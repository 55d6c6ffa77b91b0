"""CenterNet from a folder: a network written as a list of layers, and the peaks of its heat maps as objects.

Zhou et al. 2019, "Objects as Points": a heat map for each label, whose peaks are the centres of objects, and at each
place the distances to the four sides of a box. ``config.json`` has the layers, in an order in which each comes after
its inputs, and ``model.safetensors`` their weights; nothing else of a folder is read, and nothing in it is run.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NotRequired, TypedDict

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.schema import Box
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    import PIL.Image
    import torch

KIND = "centernet_layers"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CANDIDATES = 100  # peaks that are looked at
PIXELS = "pixels"  # the name of the input [1, 3, side, side], from 0 to 255


class Layer(TypedDict):
    """A layer: what it does with the outputs of those named, or with a number.

    ``conv`` (with ``stride``, and ``depthwise`` for each channel by itself) pads as TensorFlow's SAME does; ``mean`` is
    over a map; ``double`` is bilinear, with the corners at the top left aligned.
    """

    name: str
    op: Literal["conv", "add", "multiply", "relu", "relu6", "sigmoid", "mean", "concatenate", "double"]
    inputs: list[str]
    stride: NotRequired[Literal[1, 2]]
    depthwise: NotRequired[bool]
    number: NotRequired[float]


class CenterNetFile(TypedDict):
    """The configuration of a folder: the layers, and which of them are the heat maps and the distances."""

    model_type: Literal["centernet_layers"]
    labels: list[str]
    side: int
    threshold: float
    heat: str
    sides: str
    layers: list[Layer]


class Peaks(NamedTuple):
    """Objects by falling score: boxes in pixels of the picture, the rows of labels, scores."""

    boxes: list[Box]
    labels: list[int]
    scores: list[float]


class CenterNet(NamedTuple):
    """A network in memory."""

    config: CenterNetFile
    weights: "Mapping[str, torch.Tensor]"

    def find(self, picture: "PIL.Image.Image", device: str) -> Peaks:
        """Return the objects of an RGB picture; each is found once, by the peak of its label."""
        import numpy as np
        import torch
        from PIL import Image

        side = self.config["side"]
        small = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)
        pixels = torch.from_numpy(small).permute(2, 0, 1)[None].to(device)
        weights = {name: value.to(device) for name, value in self.weights.items()}
        with torch.inference_mode():
            heat, sides = run(self.config, weights, pixels)
        scale = picture.width / heat.shape[2], picture.height / heat.shape[1]
        return peaks(heat.cpu(), sides.cpu(), scale, side / heat.shape[2])


def is_centernet(folder: Path) -> bool:
    """Return whether a folder has a network of this kind."""
    try:
        found = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("model_type") == KIND


def load_centernet(folder: Path) -> CenterNet:
    """Return the network of a folder.

    Raises:
        DataError: its layers do not fit together, or its weights are damaged.
        OSError: a file is missing.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / CONFIG
    config: CenterNetFile = read_json(path, CenterNetFile, advice="convert the model again")
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise DataError(f"{folder / WEIGHTS} is damaged ({error}): convert the model again") from error
    known = {PIXELS}
    for layer in config["layers"]:
        missing = [name for name in layer["inputs"] if name not in known]
        if not layer["inputs"] or missing:
            raise DataError(f"{path}: layer {layer['name']}: expected inputs from layers above, found {missing}")
        if layer["op"] == "conv" and f"{layer['name']}.weight" not in weights:
            raise DataError(f"{path}: layer {layer['name']}: {WEIGHTS} has no weights for it")
        known.add(layer["name"])
    for output in ("heat", "sides"):
        if config[output] not in known:
            raise DataError(f"{path}: {output}: no layer is called {config[output]!r}")
    return CenterNet(config, {name: value.float() for name, value in weights.items()})


def run(
    config: CenterNetFile, weights: "Mapping[str, torch.Tensor]", pixels: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return the heat maps [n_labels, height, width] and the distances [4, height, width] of pixels.

    The distances are those to the left, upper, right and lower side, in pixels of the input.
    """
    wanted = (config["heat"], config["sides"])
    last = {name: i for i, layer in enumerate(config["layers"]) for name in layer["inputs"]}
    found = {PIXELS: pixels}
    for i, layer in enumerate(config["layers"]):
        found[layer["name"]] = _OPS[layer["op"]](layer, weights, *(found[name] for name in layer["inputs"]))
        for name in {*layer["inputs"]} - {*wanted}:
            if last[name] == i:
                del found[name]
    return found[wanted[0]][0], found[wanted[1]][0]


def peaks(heat: "torch.Tensor", sides: "torch.Tensor", scale: tuple[float, float], stride: float) -> Peaks:
    """Return the peaks of heat maps: places that no neighbour (3×3, of the same label) exceeds.

    Args:
        heat: scores from 0 to 1 [n_labels, height, width].
        sides: distances to the left, upper, right and lower side [4, height, width].
        scale: pixels of the picture to a cell of the map, across and down.
        stride: pixels of the network's input to a cell, the unit of the distances.
    """
    import torch

    highest = torch.nn.functional.max_pool2d(heat[None], 3, stride=1, padding=1)[0]
    scores = torch.where(heat == highest, heat, torch.zeros_like(heat)).permute(1, 2, 0).flatten()
    best, places = scores.topk(min(CANDIDATES, len(scores)))
    n_labels, _, width = heat.shape
    rows, columns = places // n_labels // width, places // n_labels % width
    left, upper, right, lower = (sides[i, rows, columns] / stride for i in range(4))
    x, y = scale
    boxes = torch.stack([(columns - left) * x, (rows - upper) * y, (columns + right) * x, (rows + lower) * y], dim=1)
    return Peaks([tuple(box) for box in boxes.tolist()], (places % n_labels).tolist(), best.tolist())


# ---------------------------------------------------------------- layers


def _conv(layer: Layer, weights: "Mapping[str, torch.Tensor]", maps: "torch.Tensor") -> "torch.Tensor":
    import torch

    weight, bias = weights[f"{layer['name']}.weight"], weights.get(f"{layer['name']}.bias")
    stride = layer.get("stride", 1)
    below, right = (_padding(n, k, stride) for n, k in zip(maps.shape[2:], weight.shape[2:], strict=True))
    padded = torch.nn.functional.pad(maps, (right // 2, right - right // 2, below // 2, below - below // 2))
    groups = maps.shape[1] if layer.get("depthwise") else 1
    return torch.nn.functional.conv2d(padded, weight, bias, stride=stride, groups=groups)


def _padding(n: int, kernel: int, stride: int) -> int:
    """Return how many rows TensorFlow's SAME adds, the odd one at the end."""
    return max(0, (-(-n // stride) - 1) * stride + kernel - n)


def _double(layer: Layer, weights: Any, maps: "torch.Tensor") -> "torch.Tensor":
    """Return maps of twice the height and width: the old cells, and the means of neighbours between them."""
    import torch

    for dim in (2, 3):
        after = torch.cat([maps.narrow(dim, 1, maps.shape[dim] - 1), maps.narrow(dim, maps.shape[dim] - 1, 1)], dim)
        maps = torch.stack([maps, (maps + after) / 2], dim + 1).flatten(dim, dim + 1)
    return maps


def _with(layer: Layer, others: "tuple[torch.Tensor, ...]") -> Any:
    """Return the second operand: another map, or the layer's number."""
    return others[0] if others else layer.get("number", 0.0)


def _concatenate(layer: Layer, weights: Any, *maps: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.cat(maps, dim=1)


_OPS: "Mapping[str, Callable[..., torch.Tensor]]" = {
    "conv": _conv,
    "add": lambda layer, weights, maps, *others: maps + _with(layer, others),
    "multiply": lambda layer, weights, maps, *others: maps * _with(layer, others),
    "relu": lambda layer, weights, maps: maps.relu(),
    "relu6": lambda layer, weights, maps: maps.clamp(0, 6),
    "sigmoid": lambda layer, weights, maps: maps.sigmoid(),
    "mean": lambda layer, weights, maps: maps.mean((2, 3), keepdim=True),
    "concatenate": _concatenate,
    "double": _double,
}
