"""The networks of ``hvpnet``. They import torch at the top, so this module is imported inside functions only."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from hf_mner_aug.backbones.fusion_nets import Batch, JointNet, MarkerBatch, states_of
from hf_mner_aug.backbones.nets import FORBIDDEN, cache_keyword
from hf_mner_aug.models.vision.tower import Tower, see

CELLS = 4  # of a picture, each pooled from all maps of the pyramid; each is a prompt
PARTS = 4  # projections of a cell, which each layer's gate weighs
BOTTLENECK = 800


class VisualPrefix(nn.Module):
    """The prompts of pictures, weighed for each layer: keys and values that are put before those of the text.

    Chen et al. 2022, 3.2 and 3.3: a gate for each layer, a softmax over the parts, weighs them by the picture.

    Args:
        channels: of a cell.
        hidden: the size of the encoder's states.
        n_layers: of the encoder.
    """

    def __init__(self, channels: int, hidden: int, n_layers: int) -> None:
        super().__init__()
        width = 2 * hidden  # a key and a value
        self.project = nn.Sequential(nn.Linear(channels, BOTTLENECK), nn.Tanh(), nn.Linear(BOTTLENECK, PARTS * width))
        self.gates = nn.ModuleList(nn.Linear(CELLS * width, PARTS) for _ in range(n_layers))

    def forward(self, cells: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return for each layer the keys and the values of the prompts, both [batch, n_pictures * 4, hidden].

        Args:
            cells: the cells of the pictures [batch, n_pictures, 4, channels].
        """
        parts = self.project(cells).unflatten(3, (PARTS, -1))  # [batch, n_pictures, 4, PARTS, 2 * hidden]
        picture = parts.mean(dim=3).flatten(2)
        prefixes = []
        for gate in self.gates:
            weights = nn.functional.leaky_relu(gate(picture)).softmax(dim=2)
            prompts = torch.einsum("npg,npcgw->npcw", weights, parts).flatten(1, 2)
            key, value = prompts.chunk(2, dim=2)
            prefixes.append((key, value))
        return prefixes


class Prefix(DynamicCache):
    """Keys and values of each layer [batch, n_heads, n_prompts, head_size], put before those of the text.

    Its reported length is 0, so that the words keep the positions that they have without it.
    """

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: no position is taken."""
        return 0


def encode_with_prefix(
    encoder: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    prefixes: Sequence[tuple[Tensor, Tensor]],
    key_mask: Tensor,
) -> Tensor:
    """Return the last states [batch, length, hidden] of an encoder whose layers attend to prefixes and text alike.

    Args:
        encoder: one that takes a cache (``cache_keyword`` finds how), such as BERT and RoBERTa.
        input_ids: subwords [batch, length].
        attention_mask: 1 for subwords [batch, length].
        prefixes: keys and values for each layer, both [batch, n_prompts, hidden].
        key_mask: true for prompts, false for padding [batch, n_prompts].
    """
    n_heads = encoder.config.num_attention_heads
    by_head = [tuple(side.unflatten(2, (n_heads, -1)).transpose(1, 2) for side in pair) for pair in prefixes]
    # A mask of four dimensions is used as it is by every attention implementation.
    mask = torch.cat([key_mask, attention_mask.bool()], dim=1)[:, None, None]
    scores = torch.where(mask, 0.0, FORBIDDEN).expand(-1, 1, input_ids.shape[1], -1)
    keyword = cache_keyword(encoder)
    assert keyword is not None, "HVPNet.network refuses encoders that take no cache"
    found = encoder(input_ids=input_ids, attention_mask=scores, **{keyword: Prefix(by_head)})
    states: Tensor = found.last_hidden_state
    return states


def read(net: Any, batch: Batch | MarkerBatch) -> Tensor:
    """Return the last states [batch, length, hidden] of a network's encoder, with the tower's output as a prefix.

    Without pictures the encoder has no prefix.

    Args:
        net: a network with ``encoder``, ``tower``, ``prefix`` and ``linear``.
        batch: its inputs.
    """
    if net.prefix is None or batch.pictures is None:
        return states_of(net.encoder, batch)
    regions, key_mask = see(net.tower, batch.pictures, batch.shown, like=net.linear.weight)
    prefixes = net.prefix(regions.unflatten(1, (-1, CELLS)))
    return encode_with_prefix(net.encoder, batch.input_ids, batch.attention_mask, prefixes, key_mask)


def prefix_net(encoder: Any, tower: Tower | None, names: Sequence[str], *, relations: bool, dropout: float) -> JointNet:
    """Return the network whose encoder has prefixes made of the tower's pyramids; see ``JointNet``."""
    config = encoder.config
    prefix = VisualPrefix(tower.channels, config.hidden_size, config.num_hidden_layers) if tower else None
    slow = ("encoder", "tower", "prefix", "linear")
    return JointNet(encoder, tower, ("prefix", prefix), read, names, relations=relations, dropout=dropout, slow=slow)
