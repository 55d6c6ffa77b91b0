"""MKGformer: the last layers of BERT and of CLIP's vision transformer read each other.

Chen et al. 2022, Hybrid Transformer with Multi-level Fusion for Multimodal Knowledge Graph Completion, and its code for
entities and relations. In the last third of the layers (4 of 12), those of the picture attend to keys and values of the
text layer before (prefix-guided interaction), and those of the text add to their feed-forward layer a mean of the
picture's states, weighed by their similarity with what each word attended to (correlation-aware fusion). A CRF tags the
words; for relations, a linear layer reads the markers that open head and tail.

Deviates: the first layers of CLIP are frozen, so that pictures are encoded once (the code trains them; here
``freeze_vision=false``); the whole picture and up to three objects are each encoded alone and at full size up to there
(the code joins patches of six small objects, without the picture); padded words and missing pictures are masked; the
last layers of CLIP learn at the text's rate (the code: 3e-5); tags are of words, those of first subwords.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import Prediction, fitting, knowledge, relation, tagging
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.hvpnet import album
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.vision import STATES, Vision
from hf_mner_aug.models.vision.objects import CROPS
from hf_mner_aug.schema import Post
from hf_mner_aug.values import BelowOne, Positive, Range, later

if TYPE_CHECKING:
    import torch

    from hf_mner_aug.models.vision.tower import Tower


@dataclass(frozen=True, kw_only=True)
class MKGformer:
    """BERT and CLIP fused in their last layers, for entities or for the relation of head and tail.

    Encoder and tower must be equally wide, with as many heads. Without a detector the objects are fixed parts of the
    picture.

    Args:
        task: `entities` or `relations`.
        objects: a detector of transformers, by folder or id, or `crops`: fixed parts of the picture.
        most_objects: the maximum number of objects of a picture.
        none: the label of no relation.
    """

    name: ClassVar[str] = "mkgformer"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("task", "use_images", "objects")
    view: ClassVar[str] = STATES

    encoder: ModelName = "bert-base-uncased"
    task: Literal["entities", "relations"] = "entities"
    vision: Vision = field(default_factory=lambda: Vision(tower="openai/clip-vit-base-patch32"))
    objects: ModelName = CROPS
    most_objects: Positive = 3
    use_images: bool = True
    no_images: Literal["warn", "refuse"] = "warn"
    none: str = "None"
    max_length: Annotated[int, Range(16)] = 128
    dropout: BelowOne = 0.1
    seed: int = 0
    training: Training = field(
        default_factory=lambda: Training(
            epochs=30, batch_size=16, learning_rate=5e-5, head_learning_rate=5e-2, warmup=0.01
        )
    )
    types: Literal["coarse", "fine"] = later("coarse")
    fitted: fitting.Fitted | None = field(default=None, repr=False, compare=False)

    reads_images = property(tagging.reads_images)
    gather, gallery = knowledge.nothing, album
    save, training_note = fitting.save, property(fitting.training_note)

    def __post_init__(self) -> None:
        tagging.check(self)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder; raises as ``fitting.load``."""
        return fitting.load(cls, folder)

    def fit(self, train: Any, validation: Any = None) -> "MKGformer":
        """Return a fitted copy; see ``tagging.fit`` and ``relation.fit``, and it raises as they do."""
        fitted: MKGformer = (relation if self.task == "relations" else tagging).fit(self, train, validation)
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
        """Return the network for the names of tags or relations.

        Raises:
            UsageError: the encoder has no layers as BERT's, or the tower is of another width.
        """
        from hf_mner_aug.backbones.mkgformer_net import fused_net, why_not_fused

        if reason := why_not_fused(encoder, tower):
            raise UsageError(f"{self.encoder} ({encoder.config.model_type}) {reason}")
        return fused_net(encoder, tower, names, relations=self.task == "relations", dropout=self.dropout)
