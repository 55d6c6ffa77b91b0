"""TIGER: a T5 that reads words and regions and writes, for each entity, its types and whether it is in the image.

Wang et al. 2023, Fine-Grained Multimodal Named Entity Recognition and Grounding with a Generative Framework. Regions go
through a linear layer and stand behind the words in the encoder's input. Each entity is a sentence, "Jordan is a
person and a basketball player, which is in the image". Its region is that with the highest product with the states of
the decoder at "in the image"; the loss is the cross-entropy of the sentences and the KL divergence from the regions
that overlap a gold box.

Deviates: regions are fixed crops of the picture by default, not VinVL's (``regions=FOLDER`` reads those); products are
scaled by the root of the size; the states are those from which "in the image" is predicted; entities that share words
with an earlier one are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import fitting, knowledge, sentences, tagging, writing
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.models.vision.objects import CROPS
from hf_mner_aug.values import BelowOne, Positive, Range, later

if TYPE_CHECKING:
    from hf_mner_aug.backbones.writing_net import SentenceNet
    from hf_mner_aug.models.vision.tower import Tower

KINDS = ("t5", "mt5", "umt5", "bart")


def paper_training() -> Training:
    """Return the training of the paper: ten epochs of batches of 16, a linear decay of the learning rate."""
    return Training(epochs=10, batch_size=16, learning_rate=2e-4, head_learning_rate=2e-4, warmup=0.0)


def tiny_t5(tokenizer: Any) -> Any:
    """Return the configuration of a T5 of 200,000 parameters without weights; the separator ends its answers."""
    from transformers import T5Config

    return T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.sep_token_id,
        **{"decoder_start_token_id": tokenizer.pad_token_id},
    )


@dataclass(frozen=True, kw_only=True)
class TIGER:
    """T5 that writes entities with coarse and fine types, and grounds them in regions of the picture.

    The training is that of the paper.

    Args:
        encoder: a T5, mT5, UMT5 or BART: a folder, a Hub id, a folder saved by this class, or `tiny`: a small T5
            without pretrained weights.
        regions: `crops`: fixed parts of the picture; a folder of `.npz` files as VinVL's; or a detector of the DETR
            family, by folder or id.
        most_regions: the maximum number of regions of a picture.
        most_steps: the maximum number of subwords of an answer.
        dropout: of the encoder and the decoder.
    """

    name: ClassVar[str] = "tiger"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("use_images", "regions")
    view: ClassVar[str] = "whole"
    grounds: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = KINDS
    model_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    markers: ClassVar[tuple[str, ...]] = (sentences.SEPARATOR,)
    regions_first: ClassVar[bool] = False

    encoder: ModelName = "t5-base"
    vision: Vision = field(default_factory=Vision)
    regions: ModelName = CROPS
    most_regions: Positive = 32
    most_steps: Annotated[int, Range(8)] = 200
    use_images: bool = True
    no_images: Literal["warn", "refuse"] = "warn"
    max_length: Annotated[int, Range(8)] = 128
    dropout: BelowOne = 0.1
    seed: int = 0
    training: Training = field(default_factory=paper_training)
    types: Literal["coarse", "fine"] = later("coarse")
    fitted: fitting.Fitted | None = field(default=None, repr=False, compare=False)

    reads_images = property(tagging.reads_images)
    fit, predict, assemble, gallery = writing.fit, writing.predict, writing.assemble, writing.gallery
    gather = knowledge.nothing
    save, training_note = fitting.save, property(fitting.training_note)

    def __post_init__(self) -> None:
        tagging.check(self)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder; raises as ``fitting.load``."""
        return fitting.load(cls, folder)

    def language(self, pieces: WordPieces, types: Sequence[str], fine: Sequence[str]) -> sentences.Language:
        """Return the language of answers."""
        return sentences.Language(pieces, types, fine, grounds=self.grounds, longest=self.most_steps)

    tiny_config = staticmethod(tiny_t5)
    vocabulary = staticmethod(sentences.phrases_of)
    network = property(lambda self: network_of(self))


def network_of(backbone: Any) -> "Callable[[Any, Sequence[str], Tower | None], SentenceNet]":
    """Return what makes the network of a backbone that writes sentences, from its encoder, types and tower."""

    def make(encoder: Any, types: Sequence[str], tower: "Tower | None") -> "SentenceNet":
        from hf_mner_aug.backbones.writing_net import SentenceNet

        channels = tower.channels if tower else encoder.config.region_channels
        end = encoder.config.eos_token_id
        return SentenceNet(encoder, tower, channels=channels, longest=backbone.most_steps, end=end)

    return make
