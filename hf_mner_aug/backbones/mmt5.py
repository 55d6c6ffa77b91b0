"""MMT5: a T5 that reads words and regions and writes the type of each entity: ``tiger`` without grounding.

Wang et al. 2024, GMDA, which has it as a baseline. Each entity is a sentence, "Jordan is a person".

Deviates: it starts from T5, where the paper starts from VL-T5, whose weights are in no format of transformers; regions
are fixed crops of the picture by default; the training is that of ``tiger``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from hf_mner_aug.backbones import fitting, knowledge, sentences, tagging, writing
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.tiger import KINDS, network_of, paper_training, tiny_t5
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.models.vision.objects import CROPS
from hf_mner_aug.values import BelowOne, Positive, Range, later


@dataclass(frozen=True, kw_only=True)
class MMT5:
    """T5 that writes entities with their types, and reads regions of the picture.

    The training is that of `tiger`.

    Args:
        encoder: a T5, mT5, UMT5 or BART: a folder, a Hub id, a folder saved by this class, or `tiny`: a small T5
            without pretrained weights.
        regions: `crops`: fixed parts of the picture; a folder of `.npz` files as VinVL's; or a detector of the DETR
            family, by folder or id.
        most_regions: the maximum number of regions of a picture.
        most_steps: the maximum number of subwords of an answer.
        dropout: of the encoder and the decoder.
    """

    name: ClassVar[str] = "mmt5"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("use_images", "regions")
    view: ClassVar[str] = "whole"
    grounds: ClassVar[bool] = False
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
