"""The networks that read text and pictures.

It imports torch at the top, as ``nets`` does, so it is imported inside functions only. All networks take a ``Batch``
and return the emissions [batch, n_words, n_tags], or with labels the loss. For a post without a picture the output of
the attention to pictures is zero, so that only the text counts.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hf_mner_aug.backbones.nets import (
    PRETRAINED,
    CRFLayer,
    classified,
    gather_first_subwords,
    gather_markers,
    mean_over_posts,
    tagged,
)
from hf_mner_aug.models.vision.tower import Tower, channels_of, see


class Batch(NamedTuple):
    """The inputs of a network, by name.

    Args:
        input_ids: subwords [batch, length].
        attention_mask: 1 for subwords [batch, length].
        first: the position of each word's first subword [batch, n_words].
        mask: true for words [batch, n_words].
        pictures: pixels [batch, n_pictures, 3, size, size] (uint8), or their regions from a frozen tower
            [batch, n_pictures, n_regions, channels].
        shown: true for pictures [batch, n_pictures].
        labels: tag ids [batch, n_words].
        weights: of posts [batch]; None if all weigh the same.
    """

    input_ids: Tensor
    attention_mask: Tensor
    first: Tensor
    mask: Tensor
    pictures: Tensor | None = None
    shown: Tensor | None = None
    labels: Tensor | None = None
    weights: Tensor | None = None

    def see(self, tower: Tower | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the regions [batch, n_regions, channels] and their mask [batch, n_regions]; see ``tower.see``."""
        return see(tower, self.pictures, self.shown, like=like)


class MarkerBatch(NamedTuple):
    """The inputs of a network for relations, by name; those that ``Batch`` has as well are as there.

    Args:
        markers: the positions of the opening markers of head and tail [batch, 2].
        labels: relation ids [batch].
    """

    input_ids: Tensor
    attention_mask: Tensor
    markers: Tensor
    pictures: Tensor | None = None
    shown: Tensor | None = None
    labels: Tensor | None = None
    weights: Tensor | None = None


def states_of(encoder: Any, batch: Batch | MarkerBatch) -> Tensor:
    """Return the last states of an encoder that reads the text alone [batch, length, size]."""
    states: Tensor = encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    return states


class JointNet(nn.Module):
    """An encoder that reads text and pictures together, and a CRF over words, or a linear layer on the markers.

    It takes a ``Batch``, or for relations a ``MarkerBatch``.

    Args:
        encoder: a text encoder.
        tower: None if no pictures are read.
        fusion: the module that brings both together, and its name in saved weights.
        read: returns the last states [batch, length, hidden], given this network and its inputs.
        names: of BIO tags or relations.
        relations: whether relations are predicted.
        dropout: on the states that are classified.
        slow: the modules that learn at the encoder's rate.
    """

    def __init__(
        self,
        encoder: Any,
        tower: Tower | None,
        fusion: tuple[str, nn.Module | None],
        read: Callable[[Any, Batch | MarkerBatch], Tensor],
        names: Sequence[str],
        *,
        relations: bool,
        dropout: float,
        slow: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.encoder, self.tower, self.read, self.slow = encoder, tower, read, slow
        self.add_module(*fusion)
        self.dropout = nn.Dropout(dropout)
        size = encoder.config.hidden_size
        self.linear = nn.Linear(2 * size if relations else size, len(names))
        self.chain = None if relations else CRFLayer(names)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the emissions [batch, n_words, n_tags] or the logits [batch, n_relations], or with labels the loss."""
        if self.chain is None:
            pair = MarkerBatch(**inputs)
            found = self.dropout(gather_markers(self.read(self, pair), pair.markers))
            return classified(self.linear(found).float(), pair.labels, pair.weights)
        batch = Batch(**inputs)
        words = self.dropout(gather_first_subwords(self.read(self, batch), batch.first))
        return tagged(self, self.linear(words).float(), batch.labels, batch.mask, batch.weights)


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a memory; zero for a row whose memory is all masked.

    Networks hold it as ``reading``, which is part of the names of saved weights.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(config.hidden_size, config.num_attention_heads, batch_first=True)

    def forward(self, queries: Tensor, memory: Tensor, key_mask: Tensor) -> Tensor:
        """Return the attention output for each query [batch, n, size].

        Args:
            queries: [batch, n, size].
            memory: keys and values [batch, m, size].
            key_mask: true for what may be attended to [batch, m].
        """
        some = key_mask.any(dim=1, keepdim=True)
        # The softmax of a fully masked row is NaN: such a row attends to padding, and the result is set to zero.
        read, _ = self.attention(queries, memory, memory, key_padding_mask=~(key_mask | ~some), need_weights=False)
        return read * some.unsqueeze(2)


class AttentionLayer(nn.Module):
    """A transformer layer like BERT's, whose queries attend to a memory; self-attention if both are the same."""

    def __init__(self, config: Any, dropout: float) -> None:
        super().__init__()
        size = config.hidden_size
        self.reading = CrossAttention(config)
        self.feed = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, key_mask: Tensor) -> Tensor:
        """Return the states of the queries [batch, n, size]; arguments as those of ``CrossAttention``."""
        states = self.norms[0](queries + self.dropout(self.reading(queries, memory, key_mask)))
        return self.norms[1](states + self.dropout(self.feed(states)))


class GatedNet(nn.Module):
    """Words attend to the picture once; a gate for each word and dimension weighs the result that is added.

    Args:
        encoder: a text encoder.
        tower: of the view ``grid``; None if no pictures are read.
        tags: BIO tags.
        dropout: on the words.
    """

    slow = PRETRAINED

    def __init__(self, encoder: Any, tower: Tower | None, tags: Sequence[str], *, dropout: float) -> None:
        super().__init__()
        size = encoder.config.hidden_size
        self.encoder, self.tower = encoder, tower
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(channels_of(tower), size)
        self.reading = CrossAttention(encoder.config)
        self.gate = nn.Linear(2 * size, size)
        self.linear = nn.Linear(size, len(tags))
        self.chain = CRFLayer(tags)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the emissions [batch, n_words, n_tags], or the loss; ``inputs`` are a ``Batch``."""
        batch = Batch(**inputs)
        words = self.dropout(gather_first_subwords(states_of(self.encoder, batch), batch.first))
        regions, key_mask = batch.see(self.tower, like=words)
        read = self.reading(words, self.project(regions), key_mask)
        gate = torch.sigmoid(self.gate(torch.cat((words, read), dim=2)))
        return tagged(self, self.linear(words + gate * read).float(), batch.labels, batch.mask, batch.weights)


class UnifiedNet(nn.Module):
    """Words aware of the picture and regions aware of the words, gated; an auxiliary head finds spans by text alone.

    Args:
        encoder: a text encoder.
        tower: of the view ``grid``; None if no pictures are read.
        tags: BIO tags.
        dropout: on subwords and in the layers.
        alpha: the weight of the tags' own emissions; those of the spans have 1 - alpha.
        beta: the weight of the spans' loss.
    """

    slow = PRETRAINED

    def __init__(
        self,
        encoder: Any,
        tower: Tower | None,
        tags: Sequence[str],
        *,
        dropout: float,
        alpha: float,
        beta: float,
    ) -> None:
        super().__init__()
        config = encoder.config
        size = config.hidden_size
        self.alpha, self.beta = alpha, beta
        self.encoder, self.tower = encoder, tower
        self.dropout = nn.Dropout(dropout)
        self.main_layer, self.span_layer = AttentionLayer(config, dropout), AttentionLayer(config, dropout)
        self.project, self.project_queries = (nn.Linear(channels_of(tower), size) for _ in range(2))
        self.text_to_image = AttentionLayer(config, dropout)
        self.image_to_text = AttentionLayer(config, dropout)
        self.text_to_text = AttentionLayer(config, dropout)
        self.gate = nn.Linear(2 * size, size)
        self.linear = nn.Linear(2 * size, len(tags))
        self.chain = CRFLayer(tags)
        self.span_linear = nn.Linear(size, len(SPAN_TAGS))
        self.span_chain = CRFLayer(SPAN_TAGS)
        self.register_buffer("span_tag", span_tags(tags), persistent=False)
        self.register_buffer("transfer", transfer_matrix(tags), persistent=False)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the emissions [batch, n_words, n_tags], or the loss; ``inputs`` are a ``Batch``."""
        batch = Batch(**inputs)
        subwords = batch.attention_mask.bool()
        states = self.dropout(states_of(self.encoder, batch))
        spans = self.span_linear(gather_first_subwords(self.span_layer(states, states, subwords), batch.first)).float()
        text = self.main_layer(states, states, subwords)
        regions, key_mask = batch.see(self.tower, like=text)
        words = gather_first_subwords(text, batch.first)
        emissions = self.linear(unified(self, words, text, subwords, regions, key_mask)).float()
        emissions = self.alpha * emissions + (1 - self.alpha) * spans @ self.get_buffer("transfer")
        if batch.labels is None:
            return {"emissions": emissions}
        return {"loss": span_helped_loss(self, emissions, spans, batch.labels, batch, weight=self.beta)}


class UnifiedRelationNet(nn.Module):
    """The layers of ``UnifiedNet`` without its spans, and a linear layer on the markers that open head and tail.

    Args:
        encoder: a text encoder.
        tower: of the view ``grid``; None if no pictures are read.
        relations: their names.
        dropout: on subwords and in the layers.
    """

    slow = PRETRAINED

    def __init__(self, encoder: Any, tower: Tower | None, relations: Sequence[str], *, dropout: float) -> None:
        super().__init__()
        config = encoder.config
        size = config.hidden_size
        self.encoder, self.tower = encoder, tower
        self.dropout = nn.Dropout(dropout)
        self.main_layer = AttentionLayer(config, dropout)
        self.project, self.project_queries = (nn.Linear(channels_of(tower), size) for _ in range(2))
        self.text_to_image = AttentionLayer(config, dropout)
        self.image_to_text = AttentionLayer(config, dropout)
        self.text_to_text = AttentionLayer(config, dropout)
        self.gate = nn.Linear(2 * size, size)
        self.linear = nn.Linear(4 * size, len(relations))

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the logits [batch, n_relations], or with labels the loss; ``inputs`` are a ``MarkerBatch``."""
        pair = MarkerBatch(**inputs)
        subwords = pair.attention_mask.bool()
        states = self.dropout(states_of(self.encoder, pair))
        text = self.main_layer(states, states, subwords)
        regions, key_mask = see(self.tower, pair.pictures, pair.shown, like=text)
        words = unified(self, gather_first_subwords(text, pair.markers), text, subwords, regions, key_mask)
        return classified(self.linear(words.flatten(1)).float(), pair.labels, pair.weights)


def unified(net: Any, words: Tensor, text: Tensor, subwords: Tensor, regions: Tensor, key_mask: Tensor) -> Tensor:
    """Return words aware of the picture, and of it what a gate lets through, side by side [batch, n, 2 * size].

    Each word attends to regions, and to what the regions attend to in the text.

    Args:
        net: a network with the layers of ``UnifiedRelationNet``.
        words: states [batch, n, size].
        text: states of subwords [batch, length, size].
        subwords: true for subwords [batch, length].
        regions: [batch, n_regions, channels].
        key_mask: true for regions [batch, n_regions].
    """
    seen = net.text_to_image(words, net.project(regions), key_mask)
    aware_regions = net.image_to_text(net.project_queries(regions), text, subwords)
    aware_words = net.text_to_text(words, aware_regions, key_mask)
    gate = torch.sigmoid(net.gate(torch.cat((aware_words, seen), dim=2)))
    visual = gate * seen * key_mask.any(dim=1)[:, None, None]
    return torch.cat((aware_words, visual), dim=2)


class MatchingNet(nn.Module):
    """Words aware of the picture, scaled by how well text and picture match, and aligned by a contrastive loss.

    Args:
        encoder: a text encoder.
        tower: of the view ``grid``; None if no pictures are read.
        tags: BIO tags.
        dropout: on subwords and in the layer.
        alpha: the weight of the tags' loss; matching and alignment have 1 - alpha.
        temperature: of the contrastive loss.
        to_image: the weight of text-to-image in it.
        swapped: the share of a batch's pictures that are exchanged.
    """

    slow = PRETRAINED

    def __init__(
        self,
        encoder: Any,
        tower: Tower | None,
        tags: Sequence[str],
        *,
        dropout: float,
        alpha: float,
        temperature: float,
        to_image: float,
        swapped: float,
    ) -> None:
        super().__init__()
        config = encoder.config
        size = config.hidden_size
        self.alpha, self.temperature, self.to_image, self.swapped = alpha, temperature, to_image, swapped
        self.encoder, self.tower = encoder, tower
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(channels_of(tower), size)
        self.text_to_image = AttentionLayer(config, dropout)
        self.match = nn.Linear(2 * size, 2)
        self.gate_text, self.gate_image = nn.Linear(size, size), nn.Linear(size, size)
        self.linear = nn.Linear(2 * size, len(tags))
        self.chain = CRFLayer(tags)
        self.align_text, self.align_image = (
            nn.Sequential(nn.Linear(width, size), nn.ReLU(), nn.Linear(size, size))
            for width in (size, channels_of(tower))
        )

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the emissions [batch, n_words, n_tags] and the match probabilities [batch], or the loss.

        ``inputs`` are a ``Batch``.
        """
        batch = Batch(**inputs)
        pictures, labels = batch.pictures, batch.labels
        states = self.dropout(states_of(self.encoder, batch))
        own_regions, own = batch.see(self.tower, like=states)
        pairs = own.any(dim=1)
        places = torch.arange(len(pairs), device=pairs.device) if labels is None else self.swap(pairs)
        regions, key_mask = own_regions[places], own[places]
        seen = self.text_to_image(states, self.project(regions), key_mask)
        logits = self.match(mean_of(torch.cat((states, seen), dim=2), batch.attention_mask.bool()))
        match = logits.softmax(dim=1)[:, 1]
        seen = gather_first_subwords(seen, batch.first) * match[:, None, None] * pairs[:, None, None]
        words = gather_first_subwords(states, batch.first)
        gate = torch.sigmoid(self.gate_text(words) + self.gate_image(seen))
        emissions = self.linear(torch.cat((words, gate * seen), dim=2)).float()
        if labels is None:
            return {"emissions": emissions, "match": match}
        tagging = mean_over_posts(-self.chain.log_likelihood(emissions, labels, batch.mask), batch.weights)
        loss = self.alpha * tagging
        if pictures is not None and pairs.sum() > 1:
            # A post that was given an equal picture still matches.
            matches = (pictures[places] == pictures).flatten(1).all(dim=1) & (key_mask == own).all(dim=1)
            matching = nn.functional.cross_entropy(logits[pairs].float(), matches[pairs].long())
            text, image = self.align_text(states[:, 0]), self.align_image(mean_of(own_regions, own))
            aligning = contrast(text[pairs], image[pairs], temperature=self.temperature, to_image=self.to_image)
            loss = loss + (1 - self.alpha) * (matching + aligning)
        return {"loss": loss}

    def swap(self, pairs: Tensor) -> Tensor:
        """Return for each post the index of the post whose pictures it gets [batch]: the last ones exchange theirs.

        ``pairs`` [batch] is true for posts with a picture.
        """
        places = torch.arange(len(pairs), device=pairs.device)
        chosen = places[pairs]
        chosen = chosen[len(chosen) - round(self.swapped * len(chosen)) :]
        places[chosen] = chosen.roll(1)
        return places


SPAN_TAGS = ("O", "B-ENTITY", "I-ENTITY")


def span_helped_loss(
    net: Any, emissions: Tensor, spans: Tensor, labels: Tensor, batch: Batch, *, weight: float
) -> Tensor:
    """Return the loss of a network's ``chain``, and times ``weight`` that of its ``span_chain``; a mean over posts.

    Args:
        net: a network with ``chain``, ``span_chain`` and ``span_tag``.
        emissions: of tags [batch, n_words, n_tags].
        spans: emissions of tags without types [batch, n_words, 3].
        labels: tag ids [batch, n_words].
        batch: the posts' mask of words and their weights.
        weight: of the spans' loss.
    """
    main = net.chain.log_likelihood(emissions, labels, batch.mask)
    span = net.span_chain.log_likelihood(spans, net.span_tag[labels], batch.mask)
    return mean_over_posts(-(main + weight * span), batch.weights)


def span_tags(tags: Sequence[str]) -> Tensor:
    """Return the index in ``SPAN_TAGS`` of each tag without its type [n_tags]."""
    return torch.tensor(["OBI".index(tag[0]) for tag in tags])


def transfer_matrix(tags: Sequence[str]) -> Tensor:
    """Return the weights of untyped tags for typed ones [3, n_tags]: O for O, B and I equally for all types."""
    matrix = nn.functional.one_hot(span_tags(tags), len(SPAN_TAGS)).T.float()
    return matrix / matrix.sum(dim=1, keepdim=True)


def mean_of(states: Tensor, key_mask: Tensor) -> Tensor:
    """Return the mean [batch, size] of the states [batch, n, size] whose mask [batch, n] is true; zero for none."""
    weights = key_mask.unsqueeze(2).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def contrast(text: Tensor, image: Tensor, *, temperature: float, to_image: float) -> Tensor:
    """Return the contrastive loss of pairs [n, size]; ``to_image`` is the weight of text-to-image.

    Zhang et al. 2020 (ConVIRT): cosine similarities over the temperature, softmax over the batch.
    """
    text, image = nn.functional.normalize(text.float(), dim=1), nn.functional.normalize(image.float(), dim=1)
    scores = text @ image.T / temperature
    own = torch.arange(len(scores), device=scores.device)
    loss = nn.functional.cross_entropy
    return to_image * loss(scores, own) + (1 - to_image) * loss(scores.T, own)
