"""A linear-chain CRF on words and on the states of an encoder that is not trained, and its fit by L-BFGS.

It imports torch at the top, so it is imported inside functions only.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hf_mner_aug.backbones.nets import CRFLayer, gather_first_subwords
from hf_mner_aug.models.vision.tower import channels_of, see

STEP_PENALTY = 0.1  # of the transitions, which are few


class FrozenNet(nn.Module):
    """A frozen encoder, its last layers side by side on each word, word features, a linear layer and a CRF.

    States have mean 0 and standard deviation 1 on train. With a tower, each word also has the mean of the regions of
    its post's pictures, zeros where there are none.

    Args:
        encoder: a text encoder.
        tags: BIO tags.
        layers: the number of the encoder's last layers.
        n_marks: the number of word features.
        tower: a frozen vision tower, or None.
    """

    def __init__(self, encoder: Any, tags: Sequence[str], layers: int, n_marks: int, tower: Any = None) -> None:
        super().__init__()
        self.encoder, self.tower, self.layers = encoder.requires_grad_(False), tower, layers
        self.from_text = layers * encoder.config.hidden_size
        size = self.from_text + (0 if tower is None else channels_of(tower))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.linear = nn.Linear(size, len(tags))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.marks = nn.Parameter(torch.zeros(1 + n_marks, len(tags)))  # the first is padding
        self.chain = CRFLayer(tags)

    def states(self, input_ids: Tensor, attention_mask: Tensor, first: Tensor) -> Tensor:
        """Return the last layers at each word's first subword, side by side [batch, n_words, from_text].

        Args:
            input_ids: subwords [batch, length].
            attention_mask: 1 for subwords [batch, length].
            first: the position of each word's first subword [batch, n_words].
        """
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return torch.cat([gather_first_subwords(layer, first) for layer in found.hidden_states[-self.layers :]], dim=2)

    def with_pictures(self, states: Tensor, pictures: Tensor | None = None, shown: Tensor | None = None) -> Tensor:
        """Return features [batch, n_words, size]: the states, and the mean region of each post's pictures.

        Args:
            states: [batch, n_words, from_text], in the precision of the result.
            pictures: see ``vision.tower.see``.
            shown: see ``vision.tower.see``.
        """
        if self.tower is None:
            return states
        regions, seen = see(self.tower, pictures, shown, like=states)
        total = (regions.float() * seen.unsqueeze(2)).sum(1)
        mean = (total / seen.sum(1, keepdim=True).clamp(min=1)).to(states.dtype)
        return torch.cat([states, mean.unsqueeze(1).expand(-1, states.shape[1], -1)], dim=2)

    def standardise(self, words: Tensor) -> None:
        """Take the mean and the standard deviation from the features of train's words [n, size]."""
        deviation, mean = torch.std_mean(words.float(), dim=0, correction=0)
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("deviation").copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def emissions(self, features: Tensor, marks: Tensor) -> Tensor:
        """Return the scores of tags [batch, n_words, n_tags].

        Args:
            features: [batch, n_words, size].
            marks: the ids of each word's features, padded with 0 [batch, n_words, most].
        """
        scaled = (features.float() - self.get_buffer("mean")) / self.get_buffer("deviation")
        by_marks = nn.functional.embedding_bag(marks.flatten(0, 1), self.marks, mode="sum", padding_idx=0)
        found: Tensor = self.linear(scaled) + by_marks.view(*marks.shape[:2], -1)
        return found

    def forward(self, features: Tensor, marks: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the emissions [batch, n_words, n_tags]; ``mask`` is for the CRF."""
        return {"emissions": self.emissions(features, marks)}


class Words(NamedTuple):
    """Features [n_posts, n_words, size] and word features [n_posts, n_words, most] of posts, mask, tag ids, weights."""

    features: Tensor
    marks: Tensor
    mask: Tensor
    tags: Tensor
    weights: Tensor


def fit_chain(net: FrozenNet, batches: Sequence[Words], *, l2: float, marks_l2: float, iterations: int) -> None:
    """Fit the linear layer, the word features and the CRF: summed negative log-likelihood, weighted by post, and L2.

    L-BFGS over all posts draws no random number: equal features give an equal model.
    """
    parameters = [net.marks, *net.linear.parameters(), *net.chain.parameters()]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=iterations, history_size=10, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def closure() -> float:
        """Return the loss and leave its gradient on the parameters, batch by batch."""
        optimizer.zero_grad()
        penalty = l2 * net.linear.weight.square().sum() + marks_l2 * net.marks.square().sum()
        for parameter in net.chain.parameters():
            penalty = penalty + STEP_PENALTY * parameter.square().sum()
        total = penalty.item()
        penalty.backward()
        for batch in batches:
            emissions = net.emissions(batch.features, batch.marks)
            loss = -(batch.weights * net.chain.log_likelihood(emissions, batch.tags, batch.mask)).sum()
            total += loss.item()
            loss.backward()
        return total

    optimizer.step(closure)
