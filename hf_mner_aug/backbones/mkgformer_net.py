"""The networks of ``mkgformer``. They import torch at the top, so this module is imported inside functions only."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_mner_aug.backbones.fusion_nets import Batch, JointNet, MarkerBatch, states_of
from hf_mner_aug.backbones.nets import FORBIDDEN
from hf_mner_aug.models.vision.tower import Tower, see


def why_not_fused(encoder: Any, tower: Tower | None) -> str:
    """Return why an encoder cannot be fused with a tower; empty if it can."""
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    if layers is None or not all(hasattr(layer, "attention") and hasattr(layer, "intermediate") for layer in layers):
        return "has no layers such as BERT's: expected BERT, RoBERTa or ELECTRA"
    if tower is None:
        return ""
    sizes = [(c.hidden_size, c.num_attention_heads) for c in (encoder.config, tower.config)]
    if sizes[0] != sizes[1]:
        text, picture = (f"{hidden} wide with {heads} heads" for hidden, heads in sizes)
        return f"is {text}, and the tower {picture}: expected the same"
    n_fused = len(tower.body.last_layers())  # type: ignore[operator]
    if len(layers) <= n_fused:
        return f"has {len(layers)} layers: expected more than the {n_fused} that are fused with the tower's"
    return ""


def correlation_aware(context: Tensor, states: Tensor, shown: Tensor) -> Tensor:
    """Return the mean of a picture's states for each word, weighed by their similarity (Chen et al. 2022, 3.3).

    Args:
        context: what each word attended to [batch, length, hidden].
        states: of the picture [batch, n_states, hidden].
        shown: true for states of pictures [batch, n_states].
    """
    scores = (context @ states.transpose(1, 2)).masked_fill(~shown[:, None], FORBIDDEN)
    return scores.softmax(dim=2) @ states


def prefix_guided(layer: Any, states: Tensor, shown: Tensor, prefix: tuple[Tensor, Tensor], words: Tensor) -> Tensor:
    """Return the next states of a picture [batch, n_states, hidden], by a layer of CLIP that also attends to a text.

    Args:
        layer: of CLIP's vision transformer.
        states: of the picture [batch, n_states, hidden].
        shown: true for states of pictures [batch, n_states].
        prefix: keys and values of the text, both [batch, length, hidden].
        words: true for subwords [batch, length].
    """
    attention, normed = layer.self_attn, layer.layer_norm1(states)

    def by_head(values: Tensor) -> Tensor:
        return values.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)

    keys = by_head(torch.cat([prefix[0], attention.k_proj(normed)], dim=1))
    values = by_head(torch.cat([prefix[1], attention.v_proj(normed)], dim=1))
    allowed = torch.cat([words, shown], dim=1)[:, None, None]
    found = nn.functional.scaled_dot_product_attention(by_head(attention.q_proj(normed)), keys, values, allowed)
    states = states + attention.out_proj(found.transpose(1, 2).flatten(2))
    whole: Tensor = states + layer.mlp(layer.layer_norm2(states))
    return whole


class FusedEncoder(nn.Module):
    """The last layers of a text encoder with those of a tower's picture: ``read`` runs both.

    Args:
        encoder: such as BERT.
        tower: with the first layers of CLIP; None without pictures.
    """

    def __init__(self, encoder: Any, tower: Tower | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList() if tower is None else tower.body.last_layers()  # type: ignore[operator]
        config = encoder.config
        self.dense = nn.ModuleList(nn.Linear(config.hidden_size, config.intermediate_size) for _ in self.layers)

    def forward(self, encoder: Any, states: Tensor, input_ids: Tensor, attention_mask: Tensor, shown: Tensor) -> Tensor:
        """Return the last states of the text [batch, length, hidden].

        Args:
            encoder: the text encoder.
            states: of the pictures, after the tower [batch, n_states, hidden].
            input_ids: subwords [batch, length].
            attention_mask: 1 for subwords [batch, length].
            shown: true for states of pictures [batch, n_states].
        """
        words = attention_mask.bool()
        mask = torch.where(words[:, None, None], 0.0, FORBIDDEN).expand(-1, 1, input_ids.shape[1], -1)
        text, before = encoder.embeddings(input_ids=input_ids), None
        if hasattr(encoder, "embeddings_project"):  # ELECTRA
            text = encoder.embeddings_project(text)
        layers = list(encoder.encoder.layer)
        first = len(layers) - len(self.layers)
        seen = shown.any(dim=1)[:, None, None].to(text.dtype)
        for i, layer in enumerate(layers):
            if i < first:
                before, text = text, _plain(layer, text, mask)
                continue
            own = layers[i - 1].attention.self
            prefix = (own.key(before), own.value(before))
            states = prefix_guided(self.layers[i - first], states, shown, prefix, words)
            before, text = text, self._fused(layer, self.dense[i - first], text, mask, states, shown, seen)
        return text

    def _fused(
        self, layer: Any, dense: Any, text: Tensor, mask: Tensor, states: Tensor, shown: Tensor, seen: Tensor
    ) -> Tensor:
        """Return the next states of a text, by a layer whose feed-forward part also gets the picture."""
        context = layer.attention.self(text, mask)[0]
        attended = layer.attention.output(context, text)
        # A post without a picture is read as by the encoder alone.
        picture = seen * dense(correlation_aware(context, states, shown))
        inner = layer.intermediate.intermediate_act_fn(layer.intermediate.dense(attended) + picture)
        found: Tensor = layer.output(inner, attended)
        return found


def _plain(layer: Any, text: Tensor, mask: Tensor) -> Tensor:
    found = layer(text, mask)
    states: Tensor = found if isinstance(found, Tensor) else found[0]  # before transformers 5
    return states


def read(net: Any, batch: Batch | MarkerBatch) -> Tensor:
    """Return the last states [batch, length, hidden] of a network's encoder, fused with the pictures if there are some.

    Args:
        net: a network with ``encoder``, ``tower``, ``fusion`` and ``linear``.
        batch: its inputs.
    """
    if net.tower is None or batch.pictures is None:
        return states_of(net.encoder, batch)
    regions, mask = see(net.tower, batch.pictures, batch.shown, like=net.linear.weight)
    found: Tensor = net.fusion(net.encoder, regions, batch.input_ids, batch.attention_mask, mask)
    return found


def fused_net(encoder: Any, tower: Tower | None, names: Sequence[str], *, relations: bool, dropout: float) -> JointNet:
    """Return the network whose last layers read text and picture; see ``JointNet``."""
    fusion, slow = FusedEncoder(encoder, tower), ("encoder", "tower", "fusion")
    return JointNet(encoder, tower, ("fusion", fusion), read, names, relations=relations, dropout=dropout, slow=slow)
