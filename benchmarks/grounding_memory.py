"""Count the GPU memory that ``h_index`` and ``tiger`` need to be trained with the settings of their papers.

``python benchmarks/grounding_memory.py [PAGE]`` needs neither a GPU nor weights: BART-base and T5-base are built from
their sizes, one and two posts of the greatest length go through, and the bytes that torch keeps for the backward pass
are counted: their difference is that of a further post. Weights, gradients and Adam's two moments take 16 bytes a
parameter. Not counted: temporary tensors, the optimiser's and the allocator's, and the CUDA context. Takes 4 GB and a
few minutes.
"""

import sys
from typing import Any, NamedTuple

import torch
from transformers import BartConfig, BartModel, T5Config, T5ForConditionalGeneration

from hf_mner_aug.backbones.h_index import HIndex
from hf_mner_aug.backbones.h_index_net import LEAST_STEPS, STEPS_PER_PIECE, PointerNet
from hf_mner_aug.backbones.pointers import Pointers
from hf_mner_aug.backbones.tiger import TIGER
from hf_mner_aug.backbones.writing_net import SentenceNet
from hf_mner_aug.schema import FOUR_TYPES
from hf_mner_aug.studies.page import measured_here, put_section

TITLE = "Memory of a training with the papers' settings"
CHANNELS = 2048  # of VinVL's regions, and of a ResNet's
SIDES = {f"{side}_{part}": n for side in ("encoder", "decoder") for part, n in (("layers", 6), ("ffn_dim", 3072))}
BART_BASE = {"vocab_size": 50265, "d_model": 768, "encoder_attention_heads": 12, "decoder_attention_heads": 12, **SIDES}
T5_BASE = {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}


class Kept(NamedTuple):
    """The bytes that a forward pass keeps for the backward pass: for each post, and whatever the number of posts."""

    post: int
    fixed: int


class Counted(NamedTuple):
    """What a training needs: its posts per step, the length of input and answer, parameters, what is kept, by dtype."""

    name: str
    batch_size: int
    n_inputs: int
    n_steps: int
    n_parameters: int
    kept: dict[str, Kept]

    def rows(self) -> list[str]:
        """Return the rows of the table, in gigabytes."""
        states = 16 * self.n_parameters / 1e9
        told = f"| {self.name} | {self.batch_size} | {self.n_inputs} | {self.n_steps} | {self.n_parameters / 1e6:.1f} M"
        rows = []
        for dtype, found in self.kept.items():
            kept = (found.fixed + self.batch_size * found.post) / 1e9
            rows.append(f"{told} | {dtype} | {states:.2f} | {kept:.2f} | {states + kept:.2f} |")
        return rows


def kept_bytes(net: Any, batch: dict[str, torch.Tensor], *, half: bool) -> int:
    """Return the bytes that a forward pass in train mode keeps for the backward pass, beside parameters and input."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *batch.values())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = net.train()(**batch)["loss"]
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def longest_posts(backbone: Any, n_posts: int, n_steps: int) -> dict[str, torch.Tensor]:
    """Return a batch of posts of the greatest length."""
    n_regions, n_pieces = backbone.most_regions, backbone.max_length
    at = torch.arange(n_regions + n_pieces).expand(n_posts, -1)
    return {
        "input_ids": torch.full(at.shape, 5),
        "attention_mask": torch.ones(at.shape, dtype=torch.long),
        "slots": at < n_regions,
        "first": at[:, n_regions:],
        "labels": torch.full((n_posts, n_steps), 4),
        "spots": torch.ones(n_posts, 1, n_steps) / n_steps,
        "targets": torch.ones(n_posts, 1, n_regions) / n_regions,
        "pictures": torch.zeros(n_posts, n_regions, CHANNELS),
        "shown": torch.ones(n_posts, n_regions, dtype=torch.bool),
    }


def count(backbone: Any, net: Any, n_steps: int) -> Counted:
    """Return what a backbone with its default settings needs, of which the longest post has ``n_steps``."""
    kept = {}
    for dtype, half in (("float32", False), ("bfloat16", True)):
        one, two = (kept_bytes(net, longest_posts(backbone, n, n_steps), half=half) for n in (1, 2))
        kept[dtype] = Kept(two - one, 2 * one - two)
    n_parameters = sum(parameter.numel() for parameter in net.parameters())
    n_inputs = backbone.most_regions + backbone.max_length
    return Counted(backbone.name, backbone.training.batch_size, n_inputs, n_steps, n_parameters, kept)


def h_index() -> Counted:
    """Return what ``h_index`` on BART-base needs."""
    backbone, encoder = HIndex(), BartModel(BartConfig(**BART_BASE))
    net = PointerNet(encoder, None, channels=CHANNELS, n_signs=Pointers(FOUR_TYPES, ()).n_signs)
    return count(backbone, net, LEAST_STEPS + int(STEPS_PER_PIECE * backbone.max_length))


def tiger() -> Counted:
    """Return what ``tiger`` on T5-base needs."""
    config = T5Config(**T5_BASE, decoder_start_token_id=0)
    backbone, encoder = TIGER(), T5ForConditionalGeneration(config)
    net = SentenceNet(encoder, None, channels=CHANNELS, longest=backbone.most_steps, end=1)
    return count(backbone, net, backbone.most_steps)


def main() -> None:
    """Print the table, and put it into a page."""
    head = (
        "| backbone | posts a step | input | answer | parameters | computed in | states, GB | kept, GB | together, GB |"
    )
    table = [head, f"|{' --- |' * (head.count('|') - 1)}", *h_index().rows(), *tiger().rows()]
    text = (
        "Counted, with every post as long as may be (input: pieces and regions, answer: steps). *States* are the "
        "weights, gradients and Adam's moments, *kept* what the forward pass keeps for the backward pass; in bfloat16 "
        "as autocast on a CPU chooses it. Not counted: temporary tensors, the CUDA context, and a vision tower, where "
        "the regions are crops.\n\n" + "\n".join(table)
    )
    print(text)
    if len(sys.argv) > 1:
        command = f"python benchmarks/grounding_memory.py {sys.argv[1]}"
        put_section(sys.argv[1], TITLE, text, command, [measured_here()])


if __name__ == "__main__":
    main()
