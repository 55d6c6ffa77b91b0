"""MNER models trained on posts: the table of names, the protocol that they follow, and their predictions."""

import importlib
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, cast

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.installed import Offer, offers
from hf_mner_aug.schema import Box, Entity

if TYPE_CHECKING:
    from hf_mner_aug.backbones.training import Training

BACKBONES = {
    "crf": "CRF",
    "frozen_encoder_crf": "FrozenEncoderCRF",
    "token_classifier": "TokenClassifier",
    "pgim": "PGIM",
    "relation": "RelationClassifier",
    "relation_features": "RelationFeatures",
    "bert_resnet_crf": "BertResNetCRF",
    "umt": "UMT",
    "maf": "MAF",
    "hvpnet": "HVPNet",
    "iie4mner": "IIE4MNER",
    "tiger": "TIGER",
    "mmt5": "MMT5",
    "h_index": "HIndex",
    "mkgformer": "MKGformer",
}


class ScoredSpan(NamedTuple):
    """Words ``[start, end)``, their type, and a confidence: the lowest probability of the words' tags.

    Of a backbone that writes its answer, it is the lowest probability of the steps that write words and type.
    """

    start: int
    end: int
    type: str
    confidence: float


class ScoredRelation(NamedTuple):
    """The relation between a post's head and tail, and its probability."""

    type: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """A backbone's prediction for a post: spans and the probability of each word's tag [n_words], or a relation.

    A backbone that grounds gives a box for each span, in pixels of the post's first picture, or None: it is not shown.
    One that was trained on fine types gives those, too. ``unmapped`` counts the parts of a written answer that name no
    words of the post or no type; they are left out.
    """

    id: str
    spans: tuple[ScoredSpan, ...] = ()
    word_confidences: tuple[float, ...] = ()
    relation: ScoredRelation | None = None
    boxes: tuple[Box | None, ...] = ()
    fine: tuple[str | None, ...] = ()
    unmapped: int = 0

    def plain_spans(self) -> list[tuple[int, int, str]]:
        """Return the spans without their confidence, as the metrics take them."""
        return [span[:3] for span in self.spans]

    def entities(self) -> list[Entity]:
        """Return the spans with their fine types and boxes, as ``metrics.grounding`` takes them."""
        nothing = (None,) * len(self.spans)
        found = zip(self.spans, self.fine or nothing, self.boxes or nothing, strict=True)
        return [Entity(*span[:3], fine, (box,) if box else ()) for span, fine, box in found]


class Marginals(NamedTuple):
    """A prediction with the probability of every tag of every word [n_words, n_tags], as an array.

    A backbone that knows them has ``marginals(dataset)``, which returns them for each post; ``predict`` keeps the
    predictions alone. Words that are not read have zeros.
    """

    prediction: Prediction
    tags: tuple[str, ...]
    probabilities: Any


class Backbone(Protocol):
    """A frozen dataclass of settings; ``fit`` and ``load`` return a copy that can predict.

    ``train`` and ``validation`` are datasets or lists of posts. ``fit`` reads no other split and trains on ``train``
    only: ``validation`` selects the best state of the training. ``predict`` reads no labels. A backbone that predicts
    relations has ``task``, a setting or a class variable, and it is ``relations``; ``none`` is then the label of pairs
    without one. Settings that several backbones have are:

    Args:
        task: `entities` or `relations`.
        none: the label of pairs without a relation; it is counted neither as predicted nor as gold.
        types: the types of entities: `coarse`, or `fine`: those of the column `fine_tags`, which FMNERG sets have.
        encoder: the text encoder: a folder, a Hub id, a folder saved by this class (training continues from it), or
            `tiny`: a small one without pretrained weights.
        use_images: false is the text-only ablation.
        no_images: what to do if no post of a split has a picture: `warn` and use the text alone, or `refuse`.
        max_length: the maximum number of subwords read of a post.
        dropout: of the layers on top of the encoder.
        seed: of initial weights, order and dropout.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str]
    seedless: ClassVar[bool]  # training draws no random number: every seed gives the same model

    @property
    def seed(self) -> int:
        """The seed of initial weights, order and dropout."""
        ...

    @property
    def boundary(self) -> bool:
        """Whether entities are predicted without their types."""
        ...

    @property
    def reads_images(self) -> bool:
        """Whether pictures are read with these settings: not in the text-only ablation."""
        ...

    @property
    def training(self) -> "Training | None":
        """Steps, batch size and learning rates; None if training has no such settings."""
        ...

    @property
    def training_note(self) -> str:
        """How each cell of a study is trained, in sentences for the report."""
        ...

    def fit(self, train: Any, validation: Any = None) -> Self:
        """Return a fitted copy."""
        ...

    def predict(self, dataset: Any) -> list[Prediction]:
        """Return a prediction for each post, in order."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write the fitted backbone into a folder."""
        ...

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the fitted backbone saved in a folder."""
        ...


def task_of(backbone: Backbone) -> str:
    """Return what a backbone predicts with its settings: ``entities`` or ``relations``."""
    return str(getattr(backbone, "task", "entities"))


def types_of(backbone: Backbone) -> str:
    """Return the types of entities that a backbone predicts with its settings: ``coarse`` or ``fine``."""
    return str(getattr(backbone, "types", "coarse"))


def grounds(backbone: Backbone) -> bool:
    """Return whether a backbone gives boxes to entities with its settings: not in the text-only ablation."""
    return bool(getattr(backbone, "grounds", False)) and backbone.reads_images


def backbone_class(name: str) -> type[Backbone]:
    """Return a backbone's class by its name.

    Raises:
        UnknownName: there is no such backbone; the message gives the nearest.
        UsageError: the package that offers it cannot be imported, or offers something else.
    """
    if name not in BACKBONES:
        others = installed()
        if name not in others:
            raise UnknownName("backbone", name, [*BACKBONES, *others])
        return _offered(others[name])
    found: type[Backbone] = getattr(importlib.import_module(f"hf_mner_aug.backbones.{name}"), BACKBONES[name])
    return found


def installed() -> dict[str, Offer]:
    """Return the backbones that installed packages offer, by name, without names of the table."""
    return offers("backbones", BACKBONES)


def _offered(offer: Offer) -> type[Backbone]:
    """Import a backbone of another package, and check that it follows the protocol."""
    found = offer.load()
    if not (isinstance(found, type) and is_dataclass(found)):
        raise UsageError(f"{offer}: expected a dataclass of the protocol Backbone, found {found!r}")
    promised = sorted(name for name in {*Backbone.__annotations__, *vars(Backbone)} if not name.startswith("_"))
    if lacking := [name for name in promised if not hasattr(found, name) and name not in found.__dataclass_fields__]:
        raise UsageError(f"{offer}: expected a class of the protocol Backbone, found one without {', '.join(lacking)}")
    backbone = cast("type[Backbone]", found)
    if backbone.name != offer.name:
        raise UsageError(f"{offer}: expected the name of its class, {backbone.name!r}: correct the entry point")
    return backbone


if TYPE_CHECKING:  # so that mypy compares each class of the table with the protocol
    from hf_mner_aug.backbones.bert_resnet_crf import BertResNetCRF
    from hf_mner_aug.backbones.crf import CRF
    from hf_mner_aug.backbones.frozen_encoder_crf import FrozenEncoderCRF
    from hf_mner_aug.backbones.h_index import HIndex
    from hf_mner_aug.backbones.hvpnet import HVPNet
    from hf_mner_aug.backbones.iie4mner import IIE4MNER
    from hf_mner_aug.backbones.maf import MAF
    from hf_mner_aug.backbones.mkgformer import MKGformer
    from hf_mner_aug.backbones.mmt5 import MMT5
    from hf_mner_aug.backbones.pgim import PGIM
    from hf_mner_aug.backbones.relation import RelationClassifier
    from hf_mner_aug.backbones.relation_features import RelationFeatures
    from hf_mner_aug.backbones.tiger import TIGER
    from hf_mner_aug.backbones.token_classifier import TokenClassifier
    from hf_mner_aug.backbones.umt import UMT

    _CLASSES: list[type[Backbone]]
    _CLASSES = [
        CRF,
        FrozenEncoderCRF,
        TokenClassifier,
        PGIM,
        RelationClassifier,
        RelationFeatures,
        BertResNetCRF,
        UMT,
        MAF,
        HVPNet,
        IIE4MNER,
        TIGER,
        MMT5,
        HIndex,
        MKGformer,
    ]
