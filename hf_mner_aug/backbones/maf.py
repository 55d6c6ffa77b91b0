"""MAF: the influence of the picture on words depends on how well text and picture match.

Xu et al. 2022, and its code. Words attend to regions; a classifier gives the probability that text and picture match,
which scales the attention output before a gate weighs it; a CRF follows. Matching is learned from pictures exchanged
within the batch (the share ``swapped``); a contrastive loss over the batch aligns text and picture, with ``to_image``
(lambda) the weight of text-to-image. The loss is ``alpha`` times the CRF's and 1 - ``alpha`` times the other two.

Deviates: the classifier reads the mean over subwords (the code flattens 128 of them); pictures are exchanged (the code
exchanges the attention outputs); a CRF over words; a post without a picture takes no part in matching and alignment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import fitting, knowledge, tagging
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.values import BelowOne, Probability, Range, later

if TYPE_CHECKING:
    from hf_mner_aug.backbones.fusion_nets import MatchingNet
    from hf_mner_aug.models.vision.tower import Tower


@dataclass(frozen=True, kw_only=True)
class MAF:
    """Encoder, tower, a cross-modal layer scaled by a match probability, gate, CRF.

    The training is the paper's: a learning rate of 5e-5 for all weights.

    Args:
        alpha: the weight of the CRF's loss; matching and alignment have 1 - alpha.
        temperature: of the contrastive loss.
        to_image: the weight of text-to-image in it; image-to-text has the rest.
        swapped: the share of a batch's pictures that are exchanged, to train matching.
    """

    name: ClassVar[str] = "maf"
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
    alpha: Probability = 0.62
    temperature: Annotated[float, Range(0, ends="(]")] = 0.179
    to_image: Probability = 0.7
    swapped: Probability = 0.25
    training: Training = field(
        default_factory=lambda: Training(epochs=24, batch_size=64, learning_rate=5e-5, head_learning_rate=5e-5)
    )
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

    def network(self, encoder: Any, tags: Sequence[str], tower: "Tower | None") -> "MatchingNet":
        """Return the network."""
        from hf_mner_aug.backbones.fusion_nets import MatchingNet

        return MatchingNet(
            encoder,
            tower,
            tags,
            dropout=self.dropout,
            alpha=self.alpha,
            temperature=self.temperature,
            to_image=self.to_image,
            swapped=self.swapped,
        )
