"""CLIP's vision transformer in two parts: a body for a tower, and the last layers, which a backbone trains.

Imports torch at its top, so it must be imported inside functions only.
"""

import copy
from typing import Any

from torch import Tensor, nn

from hf_mner_aug.models.device import from_pretrained
from hf_mner_aug.need import need

SHARE = 3  # the last third of the layers is not the tower's


def n_last(n_layers: int) -> int:
    """Return the number of last layers of a transformer: 4 of 12, at least one."""
    return max(1, n_layers // SHARE)


class FirstLayers(nn.Module):
    """A CLIP's vision transformer up to its last layers: pixels [batch, 3, side, side] to states [batch, n, hidden].

    The states are those of the class token and of each patch. ``last_layers`` copies the layers that are left.
    """

    def __init__(self, net: Any, side: int) -> None:
        super().__init__()
        body = getattr(net, "vision_model", net)
        self.config = net.config
        self.embeddings, self.norm = body.embeddings, body.pre_layrnorm
        layers = list(body.encoder.layers)
        first = len(layers) - n_last(len(layers))
        self.layers = nn.ModuleList(layers[:first])
        self._last = tuple(layers[first:])  # not a part of this module: its owner trains a copy
        self.interpolate = side != self.config.image_size

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the states, as the only map of a tower's body."""
        states: Tensor = self.norm(self.embeddings(pixels, interpolate_pos_encoding=self.interpolate))
        for layer in self.layers:
            states = layer(states, attention_mask=None)
            states = states if isinstance(states, Tensor) else states[0]  # before transformers 5
        return [states]

    def last_layers(self) -> nn.ModuleList:
        """Return a copy of the last layers, to be trained."""
        return nn.ModuleList(copy.deepcopy(layer) for layer in self._last).requires_grad_(True)


def tiny_config(side: int) -> Any:
    """Return the configuration of two layers, as wide as the encoder ``tiny``."""
    transformers = need("transformers", extra="models")
    return transformers.CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=side,
        patch_size=16,
    )


def load_clip(name: str, revision: str | None, variant: str | None = None, *, pretrained: bool) -> Any:
    """Return CLIP's vision transformer of an id or folder, with its weights if it is ``pretrained``.

    Raises:
        ValueError: it is another model, or lacks weights.
    """
    transformers = need("transformers", extra="models")
    config = from_pretrained(transformers.AutoConfig, name, revision)
    config = getattr(config, "vision_config", config)
    if config.model_type != "clip_vision_model":
        raise ValueError(f"expected a CLIP with a vision transformer, found {config.model_type}")
    if not pretrained:
        return transformers.CLIPVisionModel(config)
    options = {"config": config, "dtype": "float32", "output_loading_info": True}
    net, told = from_pretrained(transformers.CLIPVisionModel, name, revision, variant, **options)
    if told["missing_keys"]:
        raise ValueError(f"{len(told['missing_keys'])} weights are missing ({min(told['missing_keys'])})")
    return net
