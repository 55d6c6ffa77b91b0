"""PGIM: a large multilingual encoder with a CRF that reads knowledge about a post after its words.

Li et al. 2023, Prompting ChatGPT in MNER (Findings of EMNLP). The settings are the authors' for Twitter-2015:
XLM-R-large, at most 300 subwords, 25 epochs of batches of 4, rates that fall to 0, from 5e-6 and for the CRF from 0.008
(Twitter-2017: 7e-6 and 0.015); in training the state of a whole word is zero with a probability of 0.1. Without
knowledge it is the authors' baseline, as the report of a study says.

Deviates: the words alone are tagged (the authors train a tag X on those of the knowledge); if the input is too long,
the knowledge is cut; rates fall with each step, not each epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import fitting, tagging
from hf_mner_aug.backbones.knowledge import Knowledge, check_one, gather
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.pinned_files import LocalFile
from hf_mner_aug.values import BelowOne, Range, later

if TYPE_CHECKING:
    from hf_mner_aug.backbones.nets import TokenNet


@dataclass(frozen=True, kw_only=True)
class PGIM:
    """Text encoder with a CRF that reads knowledge about a post after its words.

    The training is that of the authors on Twitter-2015. Words that do not fit get O with confidence 0.

    Args:
        boundary: predict entities without their types.
        knowledge: a column with a text about each post, read after the words up to `max_length`.
        knowledge_file: a file of JSON lines with `id` and `knowledge`, as `hf-mner-aug knowledge` writes it, instead of
            a column.
        dropout: the probability that the state of a whole word is zero in training.
    """

    name: ClassVar[str] = "pgim"
    seedless: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ()
    view: ClassVar[str] = ""
    reads_images: ClassVar[bool] = False
    vision: ClassVar[None] = None
    no_images: ClassVar[str] = "warn"

    encoder: ModelName = "FacebookAI/xlm-roberta-large"
    boundary: bool = False
    knowledge: str | None = None
    knowledge_file: LocalFile | None = None
    max_length: Annotated[int, Range(8)] = 300
    dropout: BelowOne = 0.1
    seed: int = 0
    training: Training = field(
        default_factory=lambda: Training(
            epochs=25, batch_size=4, learning_rate=5e-6, head_learning_rate=8e-3, warmup=0.0, checks=25
        )
    )
    types: Literal["coarse", "fine"] = later("coarse")
    fitted: fitting.Fitted | None = field(default=None, repr=False, compare=False)

    fit, predict, assemble, gallery = tagging.fit, tagging.predict, tagging.assemble, tagging.gallery
    marginals = tagging.marginals
    save = fitting.save

    def __post_init__(self) -> None:
        check_one(self)
        tagging.check(self)

    @property
    def training_note(self) -> str:
        """How each cell of a study is trained, and whether it has knowledge."""
        known = bool(self.knowledge or self.knowledge_file)
        told = "Knowledge is read after the words." if known else "No knowledge is read: it is the baseline of PGIM."
        return f"{fitting.training_note(self)} {told}"

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder; raises as ``fitting.load``."""
        return fitting.load(cls, folder)

    def gather(self, data: Mapping[str, tuple[Any, Sequence[Post]]]) -> list[Knowledge]:
        """Return the knowledge about the posts of each split; raises as ``knowledge.gather``."""
        return gather(self.knowledge, self.knowledge_file, data)

    def network(self, encoder: Any, tags: Sequence[str], tower: None) -> "TokenNet":
        """Return the network, whose linear layer learns as slowly as the encoder."""
        from hf_mner_aug.backbones.nets import TokenNet, WordDropout

        net = TokenNet(encoder, tags, head="crf", dropout=self.dropout)
        net.dropout = WordDropout(self.dropout)
        net.slow = (*net.slow, "linear")
        return net
