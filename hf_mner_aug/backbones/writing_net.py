"""The network of ``tiger`` and ``mmt5``, and what it shares with others that write.

It imports torch at the top, so it is imported inside functions only.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from hf_mner_aug.backbones.answers import IGNORED
from hf_mner_aug.backbones.nets import FORBIDDEN
from hf_mner_aug.models.vision.tower import Tower


class RegionReader(nn.Module):
    """Regions of pictures as vectors of an encoder-decoder's size: a linear layer on the tower's output or features."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, hidden)

    def forward(self, tower: Tower | None, pictures: Tensor, shown: Tensor) -> Tensor:
        """Return the vectors of regions [batch, n_regions, hidden], zeros for padding.

        Args:
            tower: None if regions have features of their own.
            pictures: pixels [batch, n_regions, 3, size, size] (uint8), the output of a frozen tower for them
                [batch, n_regions, 1, channels], or features [batch, n_regions, channels].
            shown: true for regions, false for padding [batch, n_regions].
        """
        found = pictures[shown]
        if found.dtype == torch.uint8:
            assert tower is not None, "pixels are read by a tower"
            found = tower(found)
        vectors = self.linear(found.flatten(1).to(self.linear.weight.dtype))
        filled = vectors.new_zeros(*shown.shape, vectors.shape[1])
        filled[shown] = vectors
        return filled


def put_in(embedded: Tensor, vectors: Tensor, slots: Tensor, shown: Tensor) -> Tensor:
    """Return inputs [batch, length, hidden] with the vectors of regions [batch, n_regions, hidden] in their slots."""
    return embedded.masked_scatter(slots.unsqueeze(2), vectors[shown].to(embedded.dtype))


def answer_loss(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean cross-entropy of steps, each times the weight of its post.

    Args:
        logits: [batch, n_steps, n_ids].
        labels: [batch, n_steps], ``IGNORED`` for padding.
        weights: of posts [batch]; None if all weigh the same.
    """
    losses = nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none", ignore_index=IGNORED)
    if weights is not None:
        losses = losses * weights[:, None]
    return losses.sum() / (labels != IGNORED).sum()


def region_loss(logits: Tensor, spots: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean Kullback-Leibler divergence of shown entities between their targets and their regions' softmax.

    Args:
        logits: scores of regions at each step [batch, n_steps, n_regions].
        spots: weights of the steps that say that an entity is shown [batch, n_entities, n_steps].
        targets: distributions over regions [batch, n_entities, n_regions], all 0 for padding.
        weights: of posts [batch]; None if all weigh the same.
    """
    guessed = (spots @ logits.float()).log_softmax(dim=2)
    losses = nn.functional.kl_div(guessed, targets, reduction="none").sum(dim=2)
    if weights is not None:
        losses = losses * weights[:, None]
    there = targets.sum(dim=2) > 0
    return (losses * there).sum() / there.sum()


class SentenceNet(nn.Module):
    """A T5 or BART that reads words and regions and writes sentences; a region's score is its product with a state.

    Args:
        encoder: with its output layer.
        tower: None if regions have features of their own, or are not read.
        channels: the length of a region's features; 0 if none are read.
        longest: the maximum number of steps.
        end: the id that ends an answer.
    """

    slow = ("encoder", "reader")

    def __init__(self, encoder: Any, tower: Tower | None, *, channels: int, longest: int, end: int) -> None:
        super().__init__()
        self.encoder, self.tower, self.channels = encoder, tower, channels
        self.reader = RegionReader(channels, encoder.config.d_model) if channels else None
        # The encoder's own settings, such as BART's, would stand where these say nothing.
        self.generation = encoder.generation_config = GenerationConfig(
            max_new_tokens=longest,
            do_sample=False,
            num_beams=1,
            eos_token_id=end,
            pad_token_id=encoder.config.pad_token_id,
            decoder_start_token_id=encoder.config.decoder_start_token_id,
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        slots: Tensor,
        labels: Tensor,
        first: Tensor | None = None,
        spots: Tensor | None = None,
        targets: Tensor | None = None,
        pictures: Tensor | None = None,
        shown: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of answers ``labels`` [batch, n_steps] and of the regions that they point at."""
        states, vectors = self.read(input_ids, attention_mask, slots, pictures, shown)
        logits, scores = self.follow(states, attention_mask, labels, vectors, shown)
        loss = answer_loss(logits, labels, weights)
        if spots is not None and targets is not None:
            loss = loss + region_loss(scores, spots, targets, weights)
        return {"loss": loss}

    def read(
        self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor, pictures: Tensor | None, shown: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the states of the encoder [batch, length, hidden] and the vectors of regions, None without any."""
        embedded = self.encoder.get_input_embeddings()(input_ids)
        vectors = None
        if self.reader is not None and pictures is not None and shown is not None:
            vectors = self.reader(self.tower, pictures, shown)
            embedded = put_in(embedded, vectors, slots, shown)
        found = self.encoder.get_encoder()(inputs_embeds=embedded, attention_mask=attention_mask)
        return found.last_hidden_state, vectors

    def follow(
        self, states: Tensor, attention_mask: Tensor, labels: Tensor, vectors: Tensor | None, shown: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of ids [batch, n_steps, n_ids] and of regions [batch, n_steps, n_regions] along an answer.

        A region's score is scaled by the root of the size, as T5's own output layer does.
        """
        found = self.encoder(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=attention_mask,
            decoder_input_ids=self.encoder.prepare_decoder_input_ids_from_labels(labels=labels),
            output_hidden_states=True,
            use_cache=False,
        )
        last = found.decoder_hidden_states[-1]
        if vectors is None or shown is None:
            return found.logits, last.new_zeros(*labels.shape, 0)
        scores = last @ vectors.to(last.dtype).transpose(1, 2) * last.shape[2] ** -0.5
        return found.logits, scores.float().masked_fill(~shown[:, None], FORBIDDEN)

    def write(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        slots: Tensor,
        first: Tensor | None = None,
        pictures: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the answers: ids, their probabilities [batch, n_steps], scores of regions [batch, n_steps, n_regions].

        Ids after the end are ``IGNORED``.
        """
        states, vectors = self.read(input_ids, attention_mask, slots, pictures, shown)
        written = self.encoder.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=attention_mask,
            generation_config=self.generation,
        )[:, 1:]
        over = (written == self.generation.eos_token_id).long().cumsum(1)
        labels = written.masked_fill((over - (written == self.generation.eos_token_id).long()) > 0, IGNORED)
        logits, scores = self.follow(states, attention_mask, labels, vectors, shown)
        chosen = logits.float().softmax(2).gather(2, labels.clamp(min=0).unsqueeze(2)).squeeze(2)
        return labels, chosen, scores
