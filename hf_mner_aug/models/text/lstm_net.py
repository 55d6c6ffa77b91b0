"""The network of DAGA's language model: embeddings, one LSTM layer, a softmax over the words."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy

State = tuple[torch.Tensor, torch.Tensor]
INIT = 0.1  # weights start uniform in ±INIT
PADDING = -100  # targets without loss


class Batch(NamedTuple):
    """Words read and words to come [batch, length]; ``PADDING`` where a text has ended."""

    read: torch.Tensor
    next: torch.Tensor


class LSTM(nn.Module):
    """Predicts the next word of a text."""

    def __init__(self, n_words: int, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_words, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.score = nn.Linear(hidden, n_words)
        self.dropout = nn.Dropout(dropout)
        for weights in self.parameters():
            nn.init.uniform_(weights, -INIT, INIT)

    def forward(self, words: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Return the logits of the next words [batch, length, n_words] and the state, given words [batch, length]."""
        states, state = self.lstm(self.dropout(self.embed(words)), state)
        return self.score(self.dropout(states)), state

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the summed loss of a batch's words."""
        logits, _ = self(batch.read)
        return cross_entropy(logits.flatten(0, 1), batch.next.flatten(), ignore_index=PADDING, reduction="sum")


def as_batch(texts: list[list[int]], end: int) -> Batch:
    """Return texts as a batch: each is read from the end mark on, up to the end mark."""
    length = max(map(len, texts)) + 1
    read = torch.full((len(texts), length), end)
    to_come = torch.full((len(texts), length), PADDING)
    for row, text in enumerate(texts):
        read[row, 1 : len(text) + 1] = torch.tensor(text, dtype=torch.long)
        to_come[row, : len(text) + 1] = torch.tensor([*text, end])
    return Batch(read, to_come)
