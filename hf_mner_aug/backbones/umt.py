"""UMT: words aware of the picture, a picture aware of the words, and an auxiliary CRF that finds spans by text alone.

Yu et al. 2020, and its code. Words attend to regions; regions attend to the text, and words to these; a gate weighs the
former; both go to a CRF. An auxiliary CRF finds spans without types by the text: ``beta`` weighs its loss, and its
emissions, spread over the types by a fixed transfer matrix, have the weight 1 - ``alpha``. For relations, as Chen et
al. 2022 compare it, a linear layer reads the same of the markers that open head and tail, and there is no CRF.
Deviates: a CRF over words, without tags for later subwords; without a picture the gated part is zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import Prediction, fitting, knowledge, relation, tagging
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.schema import Post
from hf_mner_aug.values import Amount, BelowOne, Probability, Range, later

if TYPE_CHECKING:
    import torch

    from hf_mner_aug.models.vision.tower import Tower


@dataclass(frozen=True, kw_only=True)
class UMT:
    """Encoder, tower, three cross-modal layers, gate; a CRF and an auxiliary span CRF, or a layer for relations.

    The training is the paper's: a learning rate of 5e-5 for all weights. Relations have no span CRF: ``alpha`` and
    ``beta`` are for entities.

    Args:
        alpha: the weight of the tags' own scores; those of the auxiliary span CRF have 1 - alpha.
        beta: the weight of the auxiliary span CRF's loss.
    """

    name: ClassVar[str] = "umt"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("task", "use_images")
    view: ClassVar[str] = "grid"

    encoder: ModelName = "bert-base-cased"
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
    task: Literal["entities", "relations"] = later("entities")
    none: str = later("None")
    types: Literal["coarse", "fine"] = later("coarse")
    fitted: fitting.Fitted | None = field(default=None, repr=False, compare=False)

    reads_images = property(tagging.reads_images)
    gallery, gather = tagging.gallery, knowledge.nothing
    save, training_note = fitting.save, property(fitting.training_note)

    def __post_init__(self) -> None:
        tagging.check(self)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder; raises as ``fitting.load``."""
        return fitting.load(cls, folder)

    def fit(self, train: Any, validation: Any = None) -> "UMT":
        """Return a fitted copy; see ``tagging.fit`` and ``relation.fit``, and it raises as they do."""
        fitted: UMT = (relation if self.task == "relations" else tagging).fit(self, train, validation)
        return fitted

    def predict(self, dataset: Any) -> list[Prediction]:
        """Return the spans or the relation of each post; see ``tagging.predict`` and ``relation.predict``."""
        return (relation if self.task == "relations" else tagging).predict(self, dataset)

    def assemble(
        self, encoder: str, labels: tuple[str, ...], train: Sequence[Post] = ()
    ) -> tuple[Callable[[], Any], WordPieces]:
        """Return a function that makes the network (new or saved), and its tokenizer."""
        return (relation if self.task == "relations" else tagging).assemble(self, encoder, labels, train)

    def network(self, encoder: Any, names: Sequence[str], tower: "Tower | None") -> "torch.nn.Module":
        """Return the network for the names of tags or relations."""
        from hf_mner_aug.backbones.fusion_nets import UnifiedNet, UnifiedRelationNet

        if self.task == "relations":
            return UnifiedRelationNet(encoder, tower, names, dropout=self.dropout)
        return UnifiedNet(encoder, tower, names, dropout=self.dropout, alpha=self.alpha, beta=self.beta)
