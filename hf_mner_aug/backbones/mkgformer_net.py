"""The networks of ``mkgformer``. They import torch at the top, so this module is imported inside functions only."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_mner_aug.backbones.fusion_nets import Batch
from hf_mner_aug.backbones.nets import FORBIDDEN, CRFLayer, classified, gather_first_subwords, gather_markers, tagged
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


def read(net: Any, input_ids: Tensor, attention_mask: Tensor, pictures: Tensor | None, shown: Tensor | None) -> Tensor:
    """Return the last states [batch, length, hidden] of a network's encoder, fused with the pictures if there are some.

    Args:
        net: a network with ``encoder``, ``tower``, ``fusion`` and ``linear``.
        input_ids: subwords [batch, length].
        attention_mask: 1 for subwords [batch, length].
        pictures: as ``Batch.pictures``.
        shown: true for pictures [batch, n_pictures].
    """
    if net.tower is None or pictures is None:
        states: Tensor = net.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states
    regions, mask = see(net.tower, pictures, shown, like=net.linear.weight)
    found: Tensor = net.fusion(net.encoder, regions, input_ids, attention_mask, mask)
    return found


class FusedTaggingNet(nn.Module):
    """A fused encoder, and a CRF over words; it takes a ``Batch``."""

    slow = ("encoder", "tower", "fusion")

    def __init__(self, encoder: Any, tower: Tower | None, tags: Sequence[str], *, dropout: float) -> None:
        super().__init__()
        self.encoder, self.tower, self.fusion = encoder, tower, FusedEncoder(encoder, tower)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(encoder.config.hidden_size, len(tags))
        self.chain = CRFLayer(tags)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the emissions [batch, n_words, n_tags], or the loss; ``inputs`` are a ``Batch``."""
        batch = Batch(**inputs)
        states = read(self, batch.input_ids, batch.attention_mask, batch.pictures, batch.shown)
        words = self.dropout(gather_first_subwords(states, batch.first))
        return tagged(self, self.linear(words).float(), batch.labels, batch.mask, batch.weights)


class FusedRelationNet(nn.Module):
    """A fused encoder, and a linear layer on the states of the two markers that open head and tail."""

    slow = FusedTaggingNet.slow

    def __init__(self, encoder: Any, tower: Tower | None, relations: Sequence[str], *, dropout: float) -> None:
        super().__init__()
        self.encoder, self.tower, self.fusion = encoder, tower, FusedEncoder(encoder, tower)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * encoder.config.hidden_size, len(relations))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        markers: Tensor,
        pictures: Tensor | None = None,
        shown: Tensor | None = None,
        labels: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the logits [batch, n_relations], or with labels [batch] the loss.

        ``markers`` are the positions of the opening markers of head and tail [batch, 2]; the other inputs are those of
        ``Batch``.
        """
        states = read(self, input_ids, attention_mask, pictures, shown)
        return classified(self.linear(self.dropout(gather_markers(states, markers))).float(), labels, weights)
