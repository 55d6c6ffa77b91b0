"""Vision towers of timm: by name, with the weights from the Hub, or from a folder as timm writes it.

A folder has ``config.json`` (the architecture, its arguments, the mean and standard deviation of each colour) and
``model.safetensors``; nothing is unpickled.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.need import need
from hf_mner_aug.progress import muted
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.shapes import read_json

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
# Arguments of ``create_model`` that are no part of an architecture: some name files, others change what is loaded.
LOADING = ("cache_dir", "checkpoint_path", "exportable", "features_only", "no_jit", "pretrained", "scriptable")


class Colours(TypedDict):
    """The mean and standard deviation of each colour that a model expects."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class TimmFile(TypedDict):
    """The fields of timm's ``config.json`` that are read."""

    architecture: str
    num_classes: NotRequired[int]
    model_args: NotRequired[Mapping[str, str | int | float | bool | Sequence[int] | None]]
    pretrained_cfg: Colours


@dataclass(frozen=True)
class TimmConfig:
    """How a model of timm is built, in the layout of its ``config.json``."""

    architecture: str
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    model_args: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "TimmConfig":
        """Return the configuration of a folder.

        Raises:
            DataError: it is not one of timm's, or has an argument that is not for the architecture.
            OSError: the folder has none.
        """
        path = folder / CONFIG
        found: TimmFile = read_json(path, TimmFile, advice="save the model with timm.models.save_for_hf")
        arguments = {name: value for name, value in found.get("model_args", {}).items() if name != "num_classes"}
        for name in arguments:
            if name in LOADING or name.startswith("pretrained_"):
                raise DataError(f"{path}: model_args: {name!r} is not an argument of an architecture: remove it")
        if arguments.get("in_chans", 3) != 3:
            raise DataError(f"{path}: expected a model of 3 colours, found in_chans={arguments['in_chans']}")
        colours = found["pretrained_cfg"]
        n_classes = found.get("num_classes", 1000)
        return cls(found["architecture"], n_classes, colours["mean"], colours["std"], arguments)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` into a folder."""
        about = {
            "architecture": self.architecture,
            "num_classes": self.num_classes,
            "model_args": dict(self.model_args),
            "pretrained_cfg": {"mean": self.mean, "std": self.std},
        }
        artifacts.write_atomically(Path(folder) / CONFIG, (json.dumps(about, indent=1) + "\n").encode())


def is_timm_folder(folder: Path) -> bool:
    """Return whether a folder has the configuration of a model of timm: transformers names no architecture there."""
    try:
        found = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and isinstance(found.get("architecture"), str)


def load_timm(name: str, *, size: int, pretrained: bool, saved: Path | None) -> Any:
    """Return the feature maps of a model, as a module whose ``config`` is a ``TimmConfig``.

    Args:
        name: of timm's registry, or a folder.
        size: side of its input in pixels, for those of a fixed size.
        pretrained: load the weights, of the folder or from the Hub.
        saved: the folder of a saved tower; its weights are loaded later.

    Raises:
        MissingExtra: timm is not installed.
        UsageError: a configuration does not fit its architecture.
        OSError, ValueError, RuntimeError: there is no such model, folder or file of weights, or it has no feature maps.
    """
    timm = need("timm", extra="models")
    folder = saved if saved is not None else Path(name)
    if not is_timm_folder(folder):
        body = _features(timm, name, size, {}, pretrained=pretrained and saved is None)
        colours = body.pretrained_cfg["mean"], body.pretrained_cfg["std"]
        body.config = TimmConfig(name, body.pretrained_cfg.get("num_classes", 1000), *colours, {})
        return body
    config = TimmConfig.read(folder)
    try:
        if pretrained and saved is None:
            _check_weights(timm, folder / WEIGHTS, config)
            source = {"file": str(folder / WEIGHTS), "num_classes": config.num_classes, "custom_load": False}
            options = {**config.model_args, "pretrained_cfg_overlay": source}
            with muted("timm", logging.ERROR):  # about the head, which the feature maps do without
                body = _features(timm, config.architecture, size, options, pretrained=True)
        else:
            body = _features(timm, config.architecture, size, config.model_args, pretrained=False)
    except TypeError as error:
        raise DataError(f"{folder / CONFIG}: model_args do not fit {config.architecture} ({error})") from error
    body.config = config
    return body


def _features(timm: Any, name: str, size: int, options: Mapping[str, Any], *, pretrained: bool) -> Any:
    """Return a model without its head."""
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    sized = {"img_size": size} if known is not None and known.fixed_input_size else {}
    return timm.create_model(name, pretrained=pretrained, features_only=True, **{**options, **sized})


def _check_weights(timm: Any, path: Path, config: TimmConfig) -> None:
    """Check that a file has the weights of the whole model and no others: timm does not, where the head is left out."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    timm.create_model(config.architecture, num_classes=config.num_classes, **config.model_args).load_state_dict(weights)
