"""The network of MELM: a masked language model that learns to predict the masked pieces of entity words."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hf_mner_aug.backbones.training import pad
from hf_mner_aug.methods.melm.pieces import Marked

IGNORED = -100


class MaskedEntities(nn.Module):
    """Masks pieces of entity words while it is trained, and returns their loss.

    Args:
        model: a masked language model of transformers, which has rows for the markers.
        mask_id: the id of the mask.
        rate: the share of the pieces that are masked.
    """

    slow = ("model",)
    tower = None

    def __init__(self, model: Any, mask_id: int, rate: float) -> None:
        super().__init__()
        self.model = model
        self.mask_id = mask_id
        self.rate = rate

    def forward(self, input_ids: Tensor, attention_mask: Tensor, maskable: Tensor) -> dict[str, Tensor]:
        """Return the mean loss of masked pieces, drawn by torch's own generator.

        Args:
            input_ids: [batch, length], with markers.
            attention_mask: true for pieces [batch, length].
            maskable: true for pieces of entity words [batch, length].
        """
        drawn = torch.rand(input_ids.shape).to(input_ids.device)
        total, n = self.masked_loss(input_ids, attention_mask, maskable, drawn)
        return {"loss": total / max(1, n)}

    def masked_loss(
        self, input_ids: Tensor, attention_mask: Tensor, maskable: Tensor, drawn: Tensor
    ) -> tuple[Tensor, int]:
        """Return the summed loss of the pieces whose number ``drawn`` is below the rate, and how many these are."""
        masked = maskable & (drawn < self.rate)
        targets = input_ids.masked_fill(~masked, IGNORED)
        logits = self.logits(input_ids.masked_fill(masked, self.mask_id), attention_mask)
        summed = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return summed, int(masked.sum())

    def logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the logits of each piece [batch, length, n_ids]."""
        found: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask.long()).logits
        return found


def collate(posts: Sequence[Marked], pad_id: int) -> dict[str, Tensor]:
    """Return posts as a batch."""
    ids, mask = pad([post.input_ids for post in posts], pad_id)
    maskable = torch.zeros_like(mask)
    for row, post in enumerate(posts):
        maskable[row, post.places] = True
    return {"input_ids": ids, "attention_mask": mask, "maskable": maskable}


def add_markers(model: Any, pieces: Sequence[Sequence[int]]) -> None:
    """Give a model a further row for each marker, the mean of those of its pieces."""
    rows = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(rows + len(pieces), mean_resizing=False)
    weights = model.get_input_embeddings().weight
    with torch.no_grad():
        for row, ids in enumerate(pieces, rows):
            weights[row] = weights[list(ids)].mean(0)


def held_out_loss(net: MaskedEntities, posts: Sequence[Marked], pad_id: int, size: int) -> float:
    """Return the mean loss of masked pieces of held-out posts; the same ones are masked each time."""
    device = next(net.parameters()).device
    generator, total, n = torch.Generator().manual_seed(0), 0.0, 0
    with torch.no_grad():
        for first in range(0, len(posts), size):
            batch = collate(posts[first : first + size], pad_id)
            drawn = torch.rand(batch["input_ids"].shape, generator=generator)
            on_device = {name: values.to(device) for name, values in batch.items()}
            loss, n_masked = net.masked_loss(**on_device, drawn=drawn.to(device))
            total, n = total + loss.item(), n + n_masked
    return total / max(1, n)


def predict(net: MaskedEntities, input_ids: Sequence[int]) -> Tensor:
    """Return the logits [length, n_ids] of one post, as float64 on the CPU."""
    device = next(net.parameters()).device
    ids = torch.tensor([list(input_ids)], device=device)
    with torch.inference_mode():
        return net.logits(ids, torch.ones_like(ids))[0].double().cpu()
