"""UMT: words aware of the picture, a picture aware of the words, and an auxiliary CRF that finds spans by text alone.

Yu et al. 2020, and its code. Words attend to regions; regions attend to the text, and words to these; a gate weighs the
former; both go to a CRF. An auxiliary CRF finds spans without types by the text: ``beta`` weighs its loss, and its
emissions, spread over the types by a fixed transfer matrix, have the weight 1 - ``alpha``. Deviates: a CRF over words,
without tags for later subwords; without a picture the gated part is zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import fitting, knowledge, tagging
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.storage.pinned_files import LocalFile
from hf_mner_aug.values import Amount, BelowOne, Probability, Range

if TYPE_CHECKING:
    from hf_mner_aug.backbones.fusion_nets import UnifiedNet
    from hf_mner_aug.models.vision.tower import Tower


@dataclass(frozen=True, kw_only=True)
class UMT:
    """Encoder, tower, three cross-modal layers, gate, CRF, auxiliary span CRF.

    The training is the paper's: a learning rate of 5e-5 for all weights.

    Args:
        alpha: the weight of the tags' own scores; those of the auxiliary span CRF have 1 - alpha.
        beta: the weight of the auxiliary span CRF's loss.
    """

    name: ClassVar[str] = "umt"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("use_images",)
    view: ClassVar[str] = "grid"

    encoder: LocalFile = "bert-base-cased"
    vision: Vision = field(default_factory=Vision)
    use_images: bool = True
    no_images: Literal["warn", "refuse"] = "warn"
    max_length: Annotated[int, Range(8)] = 128
    dropout: BelowOne = 0.1
    seed: int = 0
    alpha: Probability = 0.5
    beta: Amount = 0.5
    training: Training = field(
        default_factory=lambda: Training(epochs=24, batch_size=32, learning_rate=5e-5, head_learning_rate=5e-5)
    )
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

    def network(self, encoder: Any, tags: Sequence[str], tower: "Tower | None") -> "UnifiedNet":
        """Return the network."""
        from hf_mner_aug.backbones.fusion_nets import UnifiedNet

        return UnifiedNet(encoder, tower, tags, dropout=self.dropout, alpha=self.alpha, beta=self.beta)
