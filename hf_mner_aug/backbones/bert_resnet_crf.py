"""BERT-ResNet-CRF: words attend to the picture once, and a gate weighs the result that is added to them.

The baseline of Wang et al. 2022 (ITA) and Yang et al. 2025 (AMIA), who give its name only: the 7×7 grid of a ResNet, a
linear layer, one cross-attention of words to regions, a gate, a CRF over words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import fitting, knowledge, tagging
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.values import BelowOne, Range, later

if TYPE_CHECKING:
    from hf_mner_aug.backbones.fusion_nets import GatedNet
    from hf_mner_aug.models.vision.tower import Tower


@dataclass(frozen=True, kw_only=True)
class BertResNetCRF:
    """Encoder, tower, one gated cross-attention, CRF.

    At most four pictures of a post are read, side by side.
    """

    name: ClassVar[str] = "bert_resnet_crf"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("use_images",)
    view: ClassVar[str] = "grid"

    encoder: ModelName = "bert-base-cased"
    vision: Vision = field(default_factory=Vision)
    use_images: bool = True
    no_images: Literal["warn", "refuse"] = "warn"
    max_length: Annotated[int, Range(8)] = 128
    dropout: BelowOne = 0.1
    seed: int = 0
    training: Training = field(default_factory=Training)
    types: Literal["coarse", "fine"] = later("coarse")
    fitted: fitting.Fitted | None = field(default=None, repr=False, compare=False)

    reads_images = property(tagging.reads_images)
    fit, predict, assemble = tagging.fit, tagging.predict, tagging.assemble
    gallery, gather = tagging.gallery, knowledge.nothing
    save, training_note = fitting.save, property(fitting.training_note)

    def __post_init__(self) -> None:
        tagging.check(self)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder; raises as ``fitting.load``."""
        return fitting.load(cls, folder)

    def network(self, encoder: Any, tags: Sequence[str], tower: "Tower | None") -> "GatedNet":
        """Return the network."""
        from hf_mner_aug.backbones.fusion_nets import GatedNet

        return GatedNet(encoder, tower, tags, dropout=self.dropout)
