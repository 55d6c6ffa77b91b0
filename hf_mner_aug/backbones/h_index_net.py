"""The network of ``h_index``. It imports torch at the top, so it is imported inside functions only."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache

from hf_mner_aug.backbones.answers import IGNORED
from hf_mner_aug.backbones.nets import FORBIDDEN, cache_keyword, gather_first_subwords
from hf_mner_aug.backbones.pointers import END
from hf_mner_aug.backbones.writing_net import RegionReader, answer_loss, put_in, region_loss
from hf_mner_aug.models.vision.tower import Tower

LEAST_STEPS, STEPS_PER_PIECE = 30, 0.6  # of an answer, by the length of the text


class Source(NamedTuple):
    """A batch as the decoder reads it.

    ``states`` [batch, length, hidden] of the encoder and their ``mask``; ``words`` [batch, n_words, hidden] are input
    embeddings of the words' first subwords, ``keys`` [batch, n_words, hidden] what is pointed at; ``region_keys``
    [batch, n_regions, hidden], None without regions.
    """

    states: Tensor
    mask: Tensor
    words: Tensor
    keys: Tensor
    there: Tensor
    region_keys: Tensor | None
    shown: Tensor | None


class PointerNet(nn.Module):
    """A BART that reads regions and words, and points at words, signs and regions.

    Args:
        encoder: BART without an output layer.
        tower: None if regions have features of their own, or are not read.
        channels: the length of a region's features; 0 if none are read.
        n_signs: the number of indices that are no words.
    """

    slow = ("encoder", "reader", "mlp", "signs")

    def __init__(self, encoder: Any, tower: Tower | None, *, channels: int, n_signs: int) -> None:
        super().__init__()
        self.encoder, self.tower, self.channels = encoder, tower, channels
        hidden = encoder.config.d_model
        self.reader = RegionReader(channels, hidden) if channels else None
        self.mlp = nn.Sequential(
            nn.Dropout(encoder.config.dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(encoder.config.dropout),
            nn.Linear(hidden, hidden),
        )
        self.signs = nn.Parameter(torch.randn(n_signs, hidden) * encoder.config.init_std)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        slots: Tensor,
        labels: Tensor,
        first: Tensor,
        spots: Tensor | None = None,
        targets: Tensor | None = None,
        pictures: Tensor | None = None,
        shown: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of answers ``labels`` [batch, n_steps] and of the regions that they point at."""
        source = self.read(input_ids, attention_mask, slots, first, pictures, shown)
        logits, scores = self.follow(source, labels)
        loss = answer_loss(logits, labels, weights)
        if spots is not None and targets is not None:
            loss = loss + region_loss(scores, spots, targets, weights)
        return {"loss": loss}

    def read(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        slots: Tensor,
        first: Tensor,
        pictures: Tensor | None,
        shown: Tensor | None,
    ) -> Source:
        """Return a batch as the decoder reads it: a key is the mean of the MLP on a state and of its input."""
        embedded = self.encoder.get_input_embeddings()(input_ids)
        vectors = None
        if self.reader is not None and pictures is not None and shown is not None:
            vectors = self.reader(self.tower, pictures, shown)
            embedded = put_in(embedded, vectors, slots, shown)
        states = self.encoder.encoder(inputs_embeds=embedded, attention_mask=attention_mask).last_hidden_state
        at = first.clamp(min=0)
        words = gather_first_subwords(embedded, at)
        keys = (self.mlp(gather_first_subwords(states, at)) + words) / 2
        region_keys = None
        if vectors is not None and shown is not None:
            seen = vectors.new_zeros(vectors.shape)
            seen[shown] = self.mlp(states[slots]).to(seen.dtype)
            region_keys = (seen + vectors) / 2
        return Source(states, attention_mask, words, keys, first >= 0, region_keys, shown)

    def follow(self, source: Source, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of indices [batch, n_steps, n_signs + n_words] and of regions [batch, n_steps, n_regions].

        ``labels`` [batch, n_steps] are the indices of an answer; the step after one reads the sign or word it is.
        """
        inputs = torch.cat([self._start(len(labels)), self._chosen(source, labels[:, :-1])], dim=1)
        found = self._decode(source, inputs, use_cache=False)
        return self._point(source, found.last_hidden_state)

    def _start(self, n_rows: int) -> Tensor:
        """Return what the first step reads [batch, 1, hidden]."""
        id_ = self.encoder.config.decoder_start_token_id
        start: Tensor = self.encoder.get_input_embeddings()(torch.full((n_rows, 1), id_, device=self.signs.device))
        return start

    def _chosen(self, source: Source, labels: Tensor) -> Tensor:
        """Return the signs and words that are the indices of an answer [batch, n_steps, hidden]."""
        choices = torch.cat([self._signs_for(source.words), source.words], dim=1)
        return choices.gather(1, labels.clamp(min=END).unsqueeze(2).expand(-1, -1, choices.shape[2]))

    def _signs_for(self, words: Tensor) -> Tensor:
        return self.signs.to(words.dtype).expand(len(words), -1, -1)

    def _decode(self, source: Source, inputs: Tensor, **cache: Any) -> Any:
        """Return the decoder's output for what its steps read."""
        return self.encoder.decoder(
            inputs_embeds=inputs,
            encoder_hidden_states=source.states,
            encoder_attention_mask=source.mask,
            **cache,
        )

    def _point(self, source: Source, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of indices and of regions of the decoder's states [batch, n_steps, hidden]."""
        signs = self._signs_for(source.words)
        keys = torch.cat([signs, source.keys.to(signs.dtype)], dim=1)
        there = torch.cat([source.there.new_ones(signs.shape[:2]), source.there], dim=1)
        logits = (states @ keys.to(states.dtype).transpose(1, 2)).float().masked_fill(~there[:, None], FORBIDDEN)
        if source.region_keys is None or source.shown is None:
            return logits, logits.new_zeros(*states.shape[:2], 0)
        scores = states @ source.region_keys.to(states.dtype).transpose(1, 2)
        return logits, scores.float().masked_fill(~source.shown[:, None], FORBIDDEN)

    def write(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        slots: Tensor,
        first: Tensor,
        pictures: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the answers: indices, their probabilities [batch, n_steps], scores of regions [.., n_regions].

        Each step takes the best index; those after the end are ``IGNORED``. An answer has at most 30 steps, and 0.6 for
        each subword.
        """
        source = self.read(input_ids, attention_mask, slots, first, pictures, shown)
        n_pieces = attention_mask.sum(1) - slots.sum(1)
        most = LEAST_STEPS + (STEPS_PER_PIECE * n_pieces).long()
        over = torch.zeros(len(first), dtype=torch.bool, device=first.device)
        step, cache = self._start(len(first)), EncoderDecoderCache(DynamicCache(), DynamicCache())
        keyword = cache_keyword(self.encoder.decoder)
        assert keyword is not None, "the decoders of HIndex.kinds take a cache"
        steps: list[tuple[Tensor, Tensor, Tensor]] = []
        while not over.all():
            found = self._decode(source, step, use_cache=True, **{keyword: cache})
            logits, scores = self._point(source, found.last_hidden_state)
            best = logits.argmax(2).masked_fill(over[:, None], IGNORED)
            chosen = logits.softmax(2).gather(2, best.clamp(min=END).unsqueeze(2)).squeeze(2)
            steps.append((best, chosen, scores))
            over = over | (best[:, 0] == END) | (len(steps) >= most)
            step = self._chosen(source, best)
        labels, chances, regions = (torch.cat(found, dim=1) for found in zip(*steps, strict=True))
        return labels, chances, regions
