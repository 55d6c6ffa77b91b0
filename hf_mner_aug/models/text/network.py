"""What a network must offer to be fine-tuned on labelled texts (``training``) and to write them (``finetuned``)."""

import importlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.schema import EncodedImage
from hf_mner_aug.values import BelowOne, Count, Positive, Rate, check_ranges, later

if TYPE_CHECKING:
    import torch

Kind = Literal["instructblip", "lm", "vlm"]
Marks = Literal["tokens", "plain"]
Tune = Literal["lora", "qformer"]
Dtype = Literal["auto", "float32", "bfloat16"]
NETWORKS: Mapping[str, str] = {  # modules with ``open_base``
    "instructblip": "instructblip_net",
    "lm": "lm_net",
    "vlm": "vlm_net",
}
PAPER_MODEL = "Salesforce/instructblip-flan-t5-xl"
RECORD = "text_model.json"  # the record of a training, beside its weights


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """The settings of a fine-tuning; the defaults are those of the paper's InstructBLIP.

    Args:
        kind: of the network.
        marks: of entities: ``tokens``, tags that are tokens of their own, whose rows are trained; or ``plain`` ones.
        model: an id on the Hub or a folder; ``revision`` and ``variant`` as ``from_pretrained`` takes them.
        tune: ``lora``, or ``qformer``: the Q-Former, its query tokens and projection, without an adapter; tags are
            then written in the model's own pieces.
        r: rank of the adapters; ``alpha`` scales them by ``alpha / r``; ``dropout`` is theirs.
        learning_rate: of Adam, the same at every step.
        batch_size: posts per step; when memory runs out they are taken in smaller parts with the same gradient.
        epochs: passes over train at most, each followed by validation.
        patience: passes in a row without a lower validation loss, after which it ends; 0 takes all.
        max_instruction: tokens of an instruction, in each tokenizer.
        max_text: tokens of a linearised text.
        gradient_checkpointing: keep fewer activations and recompute them.
        checkpoint_steps: steps between two checkpoints within an epoch; each epoch ends with one.
        dtype: ``auto`` (bfloat16 on a GPU, else float32) or the name of one; adapters are float32.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    kind: Kind = later("instructblip")
    marks: Marks = later("tokens")
    model: str = PAPER_MODEL
    revision: str | None = None
    variant: str | None = later(None)
    tune: Tune = "lora"
    r: Positive = 8
    alpha: Positive = 32
    dropout: BelowOne = 0.1
    learning_rate: Rate = 5e-5
    batch_size: Positive = 2
    epochs: Positive = 10
    patience: Count = later(0)
    max_instruction: Positive = 256
    max_text: Positive = 160
    gradient_checkpointing: bool = True
    checkpoint_steps: Positive = 500
    seed: int = 0
    dtype: Dtype = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        check_ranges(self, self.kind)


class Example(Protocol):
    """A request in the form that a network reads."""

    @property
    def text(self) -> Sequence[int]:
        """The token ids of the text to be written; none where it is to be sampled."""

    @property
    def image(self) -> EncodedImage | None:
        """The picture, as bytes."""


class Network(Protocol):
    """A network that is given an instruction and perhaps a picture, and writes a linearised text.

    ``net`` is the module itself, ``max_text`` the most tokens of a text.
    """

    net: Any
    max_text: int

    @property
    def device(self) -> "torch.device":
        """The device of the network."""

    @property
    def decoder_only(self) -> bool:
        """Whether ``net.generate`` returns the prompt before the text."""

    def example(self, instruction: str, image: EncodedImage | None, text: str = "") -> tuple[Any, Counter[str]]:
        """Return a request, or with a linearised text a training pair, as an ``Example``, and counts of what was cut.

        Raises:
            DataError: the picture cannot be read.
        """

    def pixels(self, image: EncodedImage | None) -> Any:
        """Return a picture as ``collate`` takes it.

        Raises:
            DataError: it cannot be read or decoded.
        """

    def shape(self, example: Any) -> Hashable:
        """Return a key: a batch of requests with the same one has the same shape, whichever they are."""

    def collate(self, examples: Sequence[Any], pixels: Sequence[Any], *, learn: bool) -> "dict[str, torch.Tensor]":
        """Return a batch, as ``net.generate`` takes it or, with ``learn``, as ``loss`` does."""

    def loss(self, batch: "dict[str, torch.Tensor]") -> "torch.Tensor":
        """Return the mean loss of a batch over the tokens of its texts."""

    def forbidden(self) -> "torch.Tensor":
        """Return the mask [n_tokens] of tokens that are never drawn."""

    def text_of(self, ids: Sequence[int]) -> str | Unwritten | None:
        """Return the linearised text of ids up to the end token, or why it is malformed; None without that token."""

    def adapt(self, settings: FitSettings) -> None:
        """Make the weights learnable that ``settings`` names, in float32, and no others."""

    def write_weights(self, folder: Path) -> None:
        """Write what was learned into a folder.

        Raises:
            OSError: the disk is full.
        """

    def read_weights(self, folder: Path) -> None:
        """Take over what ``write_weights`` wrote."""


def open_network(settings: FitSettings, tags: Sequence[str], dtype: str) -> Network:
    """Return the base of settings, frozen, on the CPU.

    Args:
        settings: see there.
        tags: the tags of linearised texts: ``B-PER``, ``I-PER``, ….
        dtype: of its weights.

    Raises:
        MissingExtra: torch, transformers or peft is not installed.
        UsageError: there is no such model, or it is of another kind.
    """
    module = importlib.import_module(f"hf_mner_aug.models.text.{NETWORKS[settings.kind]}")
    network: Network = module.open_base(settings, tags, dtype)
    return network


def name_of_model(model: str) -> str:
    """Return a model's id, or the name of its folder without the path."""
    return Path(model).name if Path(model).is_dir() else model
