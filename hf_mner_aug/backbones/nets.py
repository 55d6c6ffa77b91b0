"""The text-only networks of torch backbones, and the CRF layer that all of them use.

It imports torch at the top, so it is imported inside functions only.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

FORBIDDEN = -1e4  # the score of a transition that BIO does not allow, or of a masked key
CACHE_KEYWORDS = ("cache", "past_key_values")  # since transformers 5.24, and before; 5.40 drops the old one
PRETRAINED = ("encoder",)  # parts trained at the learning rate of pretrained weights, beside a pretrained tower


def cache_keyword(encoder: Any) -> str | None:
    """Return the keyword under which an encoder or decoder takes a cache of keys and values; None if it takes none."""
    parameters = inspect.signature(encoder.forward).parameters
    return next((name for name in CACHE_KEYWORDS if name in parameters), None)


def bio_allowed(tags: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return which tags may start a post [n_tags], and which may follow which [n_tags, n_tags]: no orphan ``I-``."""
    opens = torch.tensor([not tag.startswith("I-") for tag in tags])
    follows = torch.tensor([[not tag.startswith("I-") or before[2:] == tag[2:] for tag in tags] for before in tags])
    return opens, follows


class CRFLayer(nn.Module):
    """A linear-chain CRF over emissions [batch, n_words, n_tags] with a mask [batch, n_words], true for words.

    Lafferty et al. 2001. Every row has at least one word, and its words come first.
    """

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(len(tags)))
        self.end = nn.Parameter(torch.zeros(len(tags)))
        self.transitions = nn.Parameter(torch.zeros(len(tags), len(tags)))
        opens, follows = bio_allowed(tags)
        self.register_buffer("opens", opens, persistent=False)
        self.register_buffer("follows", follows, persistent=False)

    def scores(self) -> tuple[Tensor, Tensor]:
        """Return the scores of the first tag [n_tags] and of each transition [n_tags, n_tags]."""
        start = self.start.masked_fill(~self.get_buffer("opens"), FORBIDDEN)
        return start, self.transitions.masked_fill(~self.get_buffer("follows"), FORBIDDEN)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Return the log probability [batch] of tags [batch, n_words]."""
        # In half precision the sums over a long post would lose precision.
        with torch.autocast(emissions.device.type, enabled=False):
            start, transitions = self.scores()
            chosen = emissions.gather(2, tags.unsqueeze(2)).squeeze(2) * mask
            steps = transitions[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
            last = tags.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)
            score = start[tags[:, 0]] + chosen.sum(1) + steps.sum(1) + self.end[last]
            return score - self.log_partition(emissions, mask)

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return the log of the summed exponentials of all paths' scores [batch]."""
        start, transitions = self.scores()
        alpha = start + emissions[:, 0]
        for i in range(1, emissions.shape[1]):
            onward = torch.logsumexp(alpha.unsqueeze(2) + transitions, dim=1) + emissions[:, i]
            alpha = torch.where(mask[:, i, None], onward, alpha)
        return torch.logsumexp(alpha + self.end, dim=1)

    def viterbi(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return the best tags [batch, n_words], 0 where there is no word."""
        start, transitions = self.scores()
        alpha = start + emissions[:, 0]
        stay = torch.arange(emissions.shape[2], device=emissions.device).expand_as(alpha)
        origins = []
        for i in range(1, emissions.shape[1]):
            onward, origin = (alpha.unsqueeze(2) + transitions).max(dim=1)
            alpha = torch.where(mask[:, i, None], onward + emissions[:, i], alpha)
            origins.append(torch.where(mask[:, i, None], origin, stay))
        tags = [(alpha + self.end).argmax(dim=1)]
        for origin in reversed(origins):
            tags.append(origin.gather(1, tags[-1].unsqueeze(1)).squeeze(1))
        return torch.stack(tags[::-1], dim=1) * mask

    def marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return the probability of each tag [batch, n_words, n_tags]: the gradient of the log partition."""
        with torch.enable_grad():
            leaf = emissions.detach().requires_grad_()
            (probabilities,) = torch.autograd.grad(self.log_partition(leaf, mask).sum(), leaf)
        return probabilities


def mean_over_posts(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of the losses of posts [batch], each times its weight.

    The sum is divided by the number of posts, not by the sum of the weights: a batch of light posts moves little.
    """
    return losses.mean() if weights is None else (losses * weights).mean()


def tagged(
    net: Any, emissions: Tensor, labels: Tensor | None, mask: Tensor, weights: Tensor | None
) -> dict[str, Tensor]:
    """Return the loss of a network's ``chain``, the mean over posts; without labels, the emissions.

    Args:
        net: a network with ``chain``.
        emissions: [batch, n_words, n_tags].
        labels: tag ids [batch, n_words].
        mask: true for words [batch, n_words].
        weights: of posts [batch]; None if all weigh the same.
    """
    if labels is None:
        return {"emissions": emissions}
    return {"loss": mean_over_posts(-net.chain.log_likelihood(emissions, labels, mask), weights)}


def classified(logits: Tensor, labels: Tensor | None, weights: Tensor | None) -> dict[str, Tensor]:
    """Return the logits [batch, n_classes], or with labels [batch] their cross-entropy, weighted."""
    if labels is None:
        return {"logits": logits}
    if weights is None:
        return {"loss": nn.functional.cross_entropy(logits, labels)}
    return {"loss": mean_over_posts(nn.functional.cross_entropy(logits, labels, reduction="none"), weights)}


def gather_first_subwords(states: Tensor, first: Tensor) -> Tensor:
    """Return the state of each word's first subword [batch, n_words, size].

    Args:
        states: [batch, length, size].
        first: the position of each word's first subword [batch, n_words].
    """
    return _gather(states, first)


def gather_markers(states: Tensor, markers: Tensor) -> Tensor:
    """Return the states of the markers that open head and tail, side by side [batch, 2 * size].

    Args:
        states: [batch, length, size].
        markers: the positions of the two markers [batch, 2].
    """
    return _gather(states, markers).flatten(1)


def _gather(states: Tensor, positions: Tensor) -> Tensor:
    """Return the states [batch, length, size] at positions [batch, n]."""
    return states.gather(1, positions.unsqueeze(2).expand(-1, -1, states.shape[2]))


def best_tags(net: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the best tags of a network with a ``chain`` (or None) [batch, n_words], and the probabilities of all.

    These are [batch, n_words, n_tags].
    """
    emissions, mask = net(**batch)["emissions"], batch["mask"]
    if net.chain is None:
        probabilities, tags = emissions.softmax(dim=2), emissions.argmax(dim=2)
    else:
        probabilities, tags = net.chain.marginals(emissions, mask), net.chain.viterbi(emissions, mask)
    return tags, probabilities.clamp(0, 1)


class WordDropout(nn.Module):
    """Zeroes the states [batch, n_words, size] of whole words in training; those of the others are not scaled up.

    The word dropout of flair and AdaSeq.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, states: Tensor) -> Tensor:
        """Return the states, in training with those of some words zero."""
        if not self.training:
            return states
        kept = torch.full(states.shape[:2], 1 - self.probability, device=states.device).bernoulli()
        return states * kept.unsqueeze(2).to(states.dtype)


class TokenNet(nn.Module):
    """An encoder, a linear layer on the first subword of each word, and softmax or a CRF over the words.

    Args:
        encoder: a text encoder.
        tags: BIO tags.
        head: ``softmax`` or ``crf``.
        dropout: on the word states.
    """

    slow: tuple[str, ...] = PRETRAINED

    def __init__(self, encoder: Any, tags: Sequence[str], *, head: str, dropout: float) -> None:
        super().__init__()
        self.encoder, self.tower = encoder, None
        self.dropout: nn.Module = nn.Dropout(dropout)
        self.linear = nn.Linear(encoder.config.hidden_size, len(tags))
        self.chain = CRFLayer(tags) if head == "crf" else None

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        first: Tensor,
        mask: Tensor,
        labels: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the emissions [batch, n_words, n_tags], or with labels the loss, a mean over words.

        Args:
            input_ids: subwords [batch, length].
            attention_mask: 1 for subwords [batch, length].
            first: the position of each word's first subword [batch, n_words].
            mask: true for words [batch, n_words].
            labels: tag ids [batch, n_words].
            weights: of posts [batch]; None if all weigh the same.
        """
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        emissions = self.linear(self.dropout(gather_first_subwords(states, first))).float()
        if labels is None:
            return {"emissions": emissions}
        if self.chain is None:
            by_word = None if weights is None else weights.repeat_interleave(mask.sum(1))
            return classified(emissions[mask], labels[mask], by_word)
        losses = -self.chain.log_likelihood(emissions, labels, mask)
        return {"loss": (losses if weights is None else losses * weights).sum() / mask.sum()}


class MarkerNet(nn.Module):
    """An encoder and a linear layer on the states of the two markers that open head and tail."""

    slow = PRETRAINED

    def __init__(self, encoder: Any, relations: Sequence[str], *, dropout: float) -> None:
        super().__init__()
        self.encoder, self.tower = encoder, None
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * encoder.config.hidden_size, len(relations))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        markers: Tensor,
        labels: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the logits [batch, n_relations], or with labels [batch] the loss.

        Args:
            input_ids: subwords [batch, length].
            attention_mask: 1 for subwords [batch, length].
            markers: the positions of the opening markers of head and tail [batch, 2].
            labels: relation ids [batch].
            weights: of posts [batch]; None if all weigh the same.
        """
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return classified(self.linear(self.dropout(gather_markers(states, markers))).float(), labels, weights)
