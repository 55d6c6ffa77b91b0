"""The network of ``iie4mner``. It imports torch at the top, so it is imported inside functions only."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_mner_aug.backbones.fusion_nets import (
    SPAN_TAGS,
    AttentionLayer,
    Batch,
    span_helped_loss,
    span_tags,
    states_of,
)
from hf_mner_aug.backbones.nets import PRETRAINED, CRFLayer, gather_first_subwords
from hf_mner_aug.models.vision.tower import Tower, see

SPAN_WEIGHT = 0.5


class Gate(nn.Module):
    """A gate that weighs two states, for each word and dimension."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * size, size)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return g * one + (1 - g) * other, all [batch, n, size]."""
        gate = self.linear(torch.cat([one, other], dim=2)).sigmoid()
        return gate * one + (1 - gate) * other


class Granularity(nn.Module):
    """Attention of words to one kind of regions, directly and through the regions' attention to the words; gated.

    Args:
        config: of the encoder: its ``hidden_size`` and ``num_attention_heads``.
        dropout: in the layers.
    """

    def __init__(self, config: Any, dropout: float) -> None:
        super().__init__()
        self.regions, self.regions_too = AttentionLayer(config, dropout), AttentionLayer(config, dropout)
        self.text_regions = AttentionLayer(config, dropout)
        self.regions_text, self.text_regions_text = AttentionLayer(config, dropout), AttentionLayer(config, dropout)
        self.gate = Gate(config.hidden_size)

    def forward(self, text: Tensor, is_text: Tensor, regions: Tensor, regions_too: Tensor, key_mask: Tensor) -> Tensor:
        """Return the attention output for each word [batch, length, size], zero in posts without a region.

        Args:
            text: [batch, length, size].
            is_text: true for subwords [batch, length].
            regions: projected for the direct way [batch, n_regions, size].
            regions_too: projected for the way back [batch, n_regions, size].
            key_mask: true for regions [batch, n_regions].
        """
        direct = self.text_regions(text, self.regions(regions, regions, key_mask), key_mask)
        told = self.regions_text(self.regions_too(regions_too, regions_too, key_mask), text, is_text)
        back = self.text_regions_text(text, told, key_mask)
        return self.gate(direct, back) * key_mask.any(dim=1)[:, None, None]


class IIE4MNERNet(nn.Module):
    """Words augmented by their nearest words, the two granularities, and two CRFs.

    Args:
        encoder: a text encoder.
        tower: of the view ``grid``; None if no pictures are read.
        tags: BIO tags, O first, then B and I of each type.
        dimensions: the numbers of a word's augmentation.
        n_labels: the number of object labels; 0 if objects are crops without labels.
        dropout: on the words.
        fusion_dropout: on the attention outputs.
    """

    slow = PRETRAINED

    def __init__(
        self,
        encoder: Any,
        tower: Tower | None,
        tags: Sequence[str],
        *,
        dimensions: int,
        n_labels: int,
        dropout: float,
        fusion_dropout: float,
    ) -> None:
        super().__init__()
        self.word_vectors: Any = None  # the source of augmentations; not a weight
        config, size = encoder.config, encoder.config.hidden_size
        self.encoder, self.tower = encoder, tower
        self.augment = nn.Linear(dimensions, size)
        self.dropout = nn.Dropout(dropout)
        self.words, self.span_words = AttentionLayer(config, dropout), AttentionLayer(config, dropout)
        if tower is not None:
            self.project, self.project_too = nn.Linear(tower.channels, size), nn.Linear(tower.channels, size)
            self.object = nn.Embedding(n_labels, size) if n_labels else nn.Linear(tower.channels, size)
            self.grid, self.objects = Granularity(config, dropout), Granularity(config, dropout)
            self.fusion_dropout = nn.Dropout(fusion_dropout)
            self.fuse = nn.Linear(2 * size, size)
        self.join = nn.Linear(2 * size, size)
        self.linear, self.span_linear = nn.Linear(size, len(tags)), nn.Linear(size, len(SPAN_TAGS))
        self.chain, self.span_chain = CRFLayer(tags), CRFLayer(SPAN_TAGS)
        self.register_buffer("span_tag", span_tags(tags), persistent=False)

    def forward(
        self,
        augmentation: Tensor,
        crops: Tensor | None = None,
        cut: Tensor | None = None,
        named: Tensor | None = None,
        **inputs: Tensor,
    ) -> dict[str, Tensor]:
        """Return the emissions [batch, n_words, n_tags], or with labels the loss.

        Args:
            augmentation: the augmentation of each word [batch, at least n_words, dimensions].
            crops: of objects without labels, as ``Batch.pictures``.
            cut: true for crops [batch, n_objects].
            named: ids of the objects' labels, -1 for padding [batch, n_objects].
            inputs: a ``Batch``.
        """
        batch = Batch(**inputs)
        states, first = states_of(self.encoder, batch), batch.first
        # Words that were cut off have no state.
        told = self.augment(augmentation[:, : first.shape[1]].to(states.dtype)) * batch.mask.unsqueeze(2)
        text = self.dropout(states.scatter_add(1, first.unsqueeze(2).expand_as(told), told.to(states.dtype)))
        is_text = batch.attention_mask.bool()
        words = self.words(text, text, is_text)
        seen = torch.zeros_like(words)
        if self.tower is not None and batch.pictures is not None:
            seen = self.look(batch, words, self.see_objects(words, crops, cut, named))
        emissions = self.linear(self.join(gather_first_subwords(torch.cat([words, seen], dim=2), first))).float()
        if batch.labels is None:
            return {"emissions": emissions}
        spans = self.span_linear(gather_first_subwords(self.span_words(text, text, is_text), first)).float()
        return {"loss": span_helped_loss(self, emissions, spans, batch.labels, batch, weight=SPAN_WEIGHT)}

    def look(self, batch: Batch, words: Tensor, objects: tuple[Tensor, Tensor]) -> Tensor:
        """Return the fused attention output for grid and objects [batch, length, size]; zero without a picture.

        Args:
            batch: a batch with pictures.
            words: [batch, length, size].
            objects: [batch, n_objects, size], and their mask [batch, n_objects].
        """
        regions, key_mask = batch.see(self.tower, like=words)
        is_text = batch.attention_mask.bool()
        found, object_mask = objects
        of_grid = self.grid(words, is_text, self.project(regions), self.project_too(regions), key_mask)
        of_objects = self.objects(words, is_text, found, found, object_mask)
        fused = self.fuse(self.fusion_dropout(torch.cat([of_grid, of_objects], dim=2))).relu()
        return fused * key_mask.any(dim=1)[:, None, None]

    def see_objects(
        self, like: Tensor, crops: Tensor | None, cut: Tensor | None, named: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the objects of each post [batch, n_objects, size], and their mask [batch, n_objects]."""
        if named is not None:
            return self.object(named.clamp(min=0)), named >= 0
        if crops is None or cut is None:
            nothing = like.new_zeros(len(like), 1, like.shape[2])
            return nothing, nothing[..., 0].bool()
        regions, _ = see(self.tower, crops, cut, like=like)
        return self.object(regions.unflatten(1, (cut.shape[1], -1)).mean(dim=2)), cut
