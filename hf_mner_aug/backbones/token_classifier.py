"""Any pretrained encoder with a softmax or CRF head over words.

Devlin et al. 2019, first subword of each word; the CRF is over words, so there is no tag for ``[CLS]`` or a later
subword. A span's confidence is the lowest of its words' tag probabilities: marginals of the CRF, or the softmax.
With knowledge the input is ``words <sep> knowledge``, and the words are tagged, as in PGIM (Li et al. 2023), whose
settings ``pgim`` has.
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
class TokenClassifier:
    """Text encoder that predicts a tag for each word.

    Words that do not fit get O with confidence 0.

    Args:
        head: `crf`, or `softmax` for each word alone.
        boundary: predict entities without their types.
        knowledge: a column with a text about each post, read after the words up to `max_length`.
        knowledge_file: a file of JSON lines with `id` and `knowledge`, as `hf-mner-aug knowledge` writes it, instead of
            a column.
    """

    name: ClassVar[str] = "token_classifier"
    seedless: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("head",)
    view: ClassVar[str] = ""
    reads_images: ClassVar[bool] = False
    vision: ClassVar[None] = None
    no_images: ClassVar[str] = "warn"

    encoder: ModelName = "vinai/bertweet-base"
    head: Literal["softmax", "crf"] = "crf"
    boundary: bool = False
    knowledge: str | None = None
    knowledge_file: LocalFile | None = None
    max_length: Annotated[int, Range(8)] = 128
    dropout: BelowOne = 0.1
    seed: int = 0
    training: Training = field(default_factory=Training)
    types: Literal["coarse", "fine"] = later("coarse")
    fitted: fitting.Fitted | None = field(default=None, repr=False, compare=False)

    fit, predict, assemble, gallery = tagging.fit, tagging.predict, tagging.assemble, tagging.gallery
    marginals = tagging.marginals
    save, training_note = fitting.save, property(fitting.training_note)

    def __post_init__(self) -> None:
        check_one(self)
        tagging.check(self)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder; raises as ``fitting.load``."""
        return fitting.load(cls, folder)

    def gather(self, data: Mapping[str, tuple[Any, Sequence[Post]]]) -> list[Knowledge]:
        """Return the knowledge about the posts of each split; raises as ``knowledge.gather``."""
        return gather(self.knowledge, self.knowledge_file, data)

    def network(self, encoder: Any, tags: Sequence[str], tower: None) -> "TokenNet":
        """Return the network."""
        from hf_mner_aug.backbones.nets import TokenNet

        return TokenNet(encoder, tags, head=self.head, dropout=self.dropout)
