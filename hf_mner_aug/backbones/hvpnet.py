"""HVPNeT: the picture as keys and values before those of the text, in every layer of the text encoder.

Chen et al. 2022, and its code. A ResNet's pyramid is pooled to 2×2 cells; each is a prompt, of the picture and of up to
three objects cut out of it. A gate for each layer mixes four projections of the prompts. A CRF tags the words; for
relations, a linear layer reads the markers that open head and tail.

Deviates: a prompt is a cell with all its channels (the code splits the channels of all cells into four); keys and
values are split into heads (the code mixes prompts and heads); prompts of missing objects are masked (the code has
those of a black picture); words keep their positions; the CRF is trained, at the learning rate that the code sets up
for it but does not use, and the linear layer at that of the encoder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import Prediction, fitting, knowledge, relation, tagging
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.vision import MOST_PICTURES, Gallery, Vision
from hf_mner_aug.models.vision.objects import CROPS, ObjectFinder, object_finder, objects_of
from hf_mner_aug.schema import Post
from hf_mner_aug.values import BelowOne, Positive, Range, later

if TYPE_CHECKING:
    import torch

    from hf_mner_aug.models.vision.tower import Tower


class Album:
    """Reads the pictures of posts, those of each post followed by the objects cut out of them."""

    def __init__(self, gallery: Gallery, finder: ObjectFinder, most: int) -> None:
        self.gallery, self.finder, self.most = gallery, finder, most
        self.stack = gallery.stack

    def read(self, posts: Sequence[Post], split: str) -> list[tuple[str, ...]]:
        """Return the keys of each post's pictures and objects; unreadable ones are counted in a warning."""
        pictures = self.gallery.read(posts, split)
        parts = [
            [(image, region.box) for image, region in objects_of(post.images[:MOST_PICTURES], self.finder, self.most)]
            for post in posts
        ]
        return [(*whole, *cut) for whole, cut in zip(pictures, self.gallery.read_parts(parts), strict=True)]


def album(backbone: Any, net_of: Callable[[], Any]) -> Album | None:
    """Return the reader of a backbone's pictures and their objects; None in the text-only ablation."""
    if not backbone.use_images:
        return None
    finder = object_finder(backbone.objects, most=backbone.most_objects, device=backbone.training.device)
    return Album(Gallery(net_of().tower), finder, backbone.most_objects)


@dataclass(frozen=True, kw_only=True)
class HVPNet:
    """Encoder with visual prefixes, for entities or for the relation of head and tail.

    Without a detector the objects are fixed parts of the picture. Pictures that a method mixed can mislead a detector.

    Args:
        task: `entities` or `relations`.
        objects: a detector of transformers, by folder or id, or `crops`: fixed parts of the picture.
        most_objects: the maximum number of objects of a picture.
        none: the label of no relation.
    """

    name: ClassVar[str] = "hvpnet"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("task", "use_images", "objects")
    view: ClassVar[str] = "pyramid"

    encoder: ModelName = "bert-base-uncased"
    task: Literal["entities", "relations"] = "entities"
    vision: Vision = field(default_factory=lambda: Vision(tower="torchvision:resnet50"))
    objects: ModelName = CROPS
    most_objects: Positive = 3
    use_images: bool = True
    no_images: Literal["warn", "refuse"] = "warn"
    none: str = "None"
    max_length: Annotated[int, Range(16)] = 128
    dropout: BelowOne = 0.1
    seed: int = 0
    training: Training = field(
        default_factory=lambda: Training(epochs=30, batch_size=8, learning_rate=3e-5, head_learning_rate=5e-2)
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

    def fit(self, train: Any, validation: Any = None) -> "HVPNet":
        """Return a fitted copy; see ``tagging.fit`` and ``relation.fit``, and it raises as they do."""
        fitted: HVPNet = (relation if self.task == "relations" else tagging).fit(self, train, validation)
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
            UsageError: the encoder takes no prefixes.
        """
        from hf_mner_aug.backbones.hvpnet_net import prefix_net
        from hf_mner_aug.backbones.nets import cache_keyword

        if cache_keyword(encoder) is None:
            raise UsageError(
                f"{self.encoder} ({encoder.config.model_type}) takes no prefix of keys and values: "
                "expected an encoder such as BERT, RoBERTa or ELECTRA"
            )
        return prefix_net(encoder, tower, names, relations=self.task == "relations", dropout=self.dropout)
