"""H-Index: a BART that reads regions and words, and points at the words, the regions and the types of entities.

Yu et al. 2023, Grounded Multimodal Named Entity Recognition on Social Media. Regions go through a linear layer and
stand before the words. For each entity the decoder points at its words (their first subwords), says whether it is
shown, and gives its type. A word's score is the product of the state with the mean of its input embedding and of an MLP
on its state in the encoder; that of a region likewise. The loss is the cross-entropy and the KL divergence from the
regions that overlap a gold box.

Deviates: regions are fixed crops of the picture by default, not VinVL's (``regions=FOLDER`` reads those); types and
marks start as random vectors; a fine type is a step after the type; entities whose words do not ascend one by one are
refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import fitting, knowledge, tagging, writing
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.pointers import Pointers
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.models.vision.objects import CROPS
from hf_mner_aug.schema import Post
from hf_mner_aug.values import BelowOne, Positive, Range, later

if TYPE_CHECKING:
    from hf_mner_aug.backbones.h_index_net import PointerNet
    from hf_mner_aug.models.vision.tower import Tower


def tiny_bart(tokenizer: Any) -> Any:
    """Return the configuration of a small BART without weights; the separator starts and ends its answers."""
    from transformers import BartConfig

    sizes: dict[str, Any] = {"d_model": 64, "max_position_embeddings": 256}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 128}
    marks: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "decoder_start_token_id": tokenizer.sep_token_id,
        "forced_eos_token_id": None,
    }
    return BartConfig(vocab_size=len(tokenizer), **sizes, **marks)


@dataclass(frozen=True, kw_only=True)
class HIndex:
    """BART that points at words, and grounds entities in regions of the picture.

    The training is that of the paper.

    Args:
        encoder: a BART or mBART: a folder, a Hub id, a folder saved by this class, or `tiny`: a small one without
            pretrained weights.
        regions: `crops`: fixed parts of the picture; a folder of `.npz` files as VinVL's; or a detector of the DETR
            family, by folder or id.
        most_regions: the maximum number of regions of a picture.
        dropout: of the encoder and the decoder.
    """

    name: ClassVar[str] = "h_index"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("use_images", "regions")
    view: ClassVar[str] = "whole"
    grounds: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("bart", "mbart")
    model_class: ClassVar[str] = "AutoModel"
    markers: ClassVar[tuple[str, ...]] = ()
    regions_first: ClassVar[bool] = True

    encoder: ModelName = "facebook/bart-base"
    vision: Vision = field(default_factory=Vision)
    regions: ModelName = CROPS
    most_regions: Positive = 18
    use_images: bool = True
    no_images: Literal["warn", "refuse"] = "warn"
    max_length: Annotated[int, Range(8)] = 128
    dropout: BelowOne = 0.1
    seed: int = 0
    training: Training = field(
        default_factory=lambda: Training(
            epochs=30, batch_size=32, learning_rate=3e-5, head_learning_rate=3e-5, warmup=0.0
        )
    )
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

    def language(self, pieces: WordPieces, types: Sequence[str], fine: Sequence[str]) -> Pointers:
        """Return the language of answers."""
        return Pointers(types, fine)

    tiny_config = staticmethod(tiny_bart)

    @staticmethod
    def vocabulary(types: Sequence[str], fine: Sequence[str]) -> list[Post]:
        """Return nothing: an answer has no words of its own."""
        return []

    @property
    def network(self) -> "Callable[[Any, Sequence[str], Tower | None], PointerNet]":
        """What makes the network from its encoder, types and tower."""

        def make(encoder: Any, types: Sequence[str], tower: "Tower | None") -> "PointerNet":
            from hf_mner_aug.backbones.h_index_net import PointerNet

            channels = tower.channels if tower else encoder.config.region_channels
            n_signs = Pointers(types, encoder.config.fine_types).n_signs
            return PointerNet(encoder, tower, channels=channels, n_signs=n_signs)

        return make
