"""IIE4MNER: words augmented by their nearest words, and the picture at two granularities.

Liu et al. 2022, and its code. Semantic augmentation: the vectors of a word's four nearest words are summed, weighted by
the softmax of their cosines, and added to its state after a linear layer. Words then attend to the cells of the
picture's grid and to its objects, both directly and through the attention of these to the words; a gate weighs the two
ways, and both granularities are fused and joined to the words. The loss is the CRF's and half that of an auxiliary CRF
that finds spans without types.

Deviates: a CRF over words, without tags for later subwords; the centre of a picture is cropped (the code crops at
random); a post without a picture uses its text alone (the code takes another post's picture); without a detector
(``crops``) an object is the tower's output for it, since it has no label to embed.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from hf_mner_aug.backbones import checkpoint, fitting, knowledge, tagging
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.training import Training, pad
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.vision import MOST_PICTURES, Gallery, Vision
from hf_mner_aug.models.vision.objects import CROPS, ObjectFinder, object_finder, objects_of
from hf_mner_aug.models.words.vectors import (
    DIMENSIONS,
    NEIGHBOURS,
    WordVectors,
    load_word_vectors,
    read_word_vectors,
    save_word_vectors,
    train_word_vectors,
)
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.pinned_files import LocalFile
from hf_mner_aug.values import BelowOne, Positive, Range, later

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_mner_aug.backbones.iie4mner_net import IIE4MNERNet
    from hf_mner_aug.models.vision.tower import Tower


@dataclass(frozen=True, kw_only=True)
class IIE4MNER:
    """Encoder, semantic augmentation, grid and objects, CRF, auxiliary span CRF.

    The training is that of the authors' code. Pictures that a method mixed can mislead a detector.

    Args:
        vectors: a file of word vectors in the text format of word2vec or GloVe; without one they are trained on
            train.
        dimensions: the maximum length of vectors that are trained on train.
        neighbours: the number of nearest words of each word.
        objects: a detector of transformers, by folder or id, or `crops`: fixed parts of the picture.
        most_objects: the maximum number of objects of a picture.
        fusion_dropout: the dropout on fused grid and objects.
    """

    name: ClassVar[str] = "iie4mner"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ("use_images", "objects")
    view: ClassVar[str] = "grid"

    encoder: ModelName = "bert-base-cased"
    vision: Vision = field(default_factory=Vision)
    vectors: LocalFile | None = None
    dimensions: Positive = DIMENSIONS
    neighbours: Positive = NEIGHBOURS
    objects: ModelName = CROPS
    most_objects: Positive = 5
    use_images: bool = True
    no_images: Literal["warn", "refuse"] = "warn"
    max_length: Annotated[int, Range(8)] = 128
    dropout: BelowOne = 0.1
    fusion_dropout: BelowOne = 0.5
    seed: int = 0
    training: Training = field(
        default_factory=lambda: Training(epochs=75, batch_size=24, learning_rate=3e-5, head_learning_rate=3e-5)
    )
    types: Literal["coarse", "fine"] = later("coarse")
    fitted: fitting.Fitted | None = field(default=None, repr=False, compare=False)

    reads_images = property(tagging.reads_images)
    fit, predict, gather = tagging.fit, tagging.predict, knowledge.nothing
    training_note = property(fitting.training_note)

    def __post_init__(self) -> None:
        tagging.check(self)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder; raises as ``fitting.load``."""
        return fitting.load(cls, folder)

    @property
    def finder(self) -> ObjectFinder:
        """The finder of objects in pictures."""
        return object_finder(self.objects, most=self.most_objects, device=self.training.device)

    def save(self, folder: str | Path) -> None:
        """Write the weights, the word vectors, the tokenizer and the settings into a folder.

        Raises:
            NotFitted: the backbone was not fitted.
        """
        vectors = fitting.fitted_of(self).net.word_vectors
        # So that an interrupted save leaves no old description beside new vectors.
        (Path(folder) / checkpoint.RECORD).unlink(missing_ok=True)
        save_word_vectors(vectors, Path(folder))
        fitting.save(self, folder)

    def assemble(
        self, encoder: str, labels: tuple[str, ...], train: Sequence[Post] = ()
    ) -> tuple[Callable[[], Any], WordPieces]:
        """Return a function that makes the network (new or saved), and its tokenizer.

        Raises:
            UsageError: the file of word vectors is not there or knows no word of train, or train has too few words.
            DataError: a line of that file is damaged.
        """
        if (Path(encoder) / checkpoint.RECORD).is_file():
            vectors = load_word_vectors(Path(encoder))
        elif self.vectors is not None:
            vectors = read_word_vectors(self.vectors, train)
        else:
            vectors = train_word_vectors(train, self.dimensions)
        return tagging.assemble(self, encoder, labels, train, network=functools.partial(self.network, vectors))

    def network(self, vectors: WordVectors, encoder: Any, tags: Sequence[str], tower: "Tower | None") -> "IIE4MNERNet":
        """Return the network, with the word vectors as an attribute."""
        from hf_mner_aug.backbones.iie4mner_net import IIE4MNERNet

        net = IIE4MNERNet(
            encoder,
            tower,
            tags,
            dimensions=vectors.dimensions,
            n_labels=len(self.finder.labels) if tower else 0,
            dropout=self.dropout,
            fusion_dropout=self.fusion_dropout,
        )
        net.word_vectors = vectors
        return net

    def gallery(self, net_of: "Callable[[], IIE4MNERNet]") -> "Senses":
        """Return the reader of pictures, objects (not in the text-only ablation) and word augmentations."""
        return Senses(self, net_of())


class Sense(NamedTuple):
    """The inputs of a post: the keys of its pictures, keys or label ids of its objects, its words."""

    pictures: tuple[str, ...]
    objects: tuple[Any, ...]
    words: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether the post has a picture."""
        return bool(self.pictures)


class Senses:
    """Reads the further inputs of posts: pictures, objects, and the augmentations of their words."""

    def __init__(self, backbone: IIE4MNER, net: "IIE4MNERNet") -> None:
        from hf_mner_aug.models.vision.tower import whole

        self.backbone = backbone
        self.vectors = net.word_vectors
        self.told: dict[str, np.ndarray] = {}
        self.gallery = Gallery(net.tower) if net.tower else None
        self.finder = backbone.finder
        self.labels = {label: i for i, label in enumerate(self.finder.labels)} if net.tower else {}
        self.crops = Gallery(net.tower.with_view(whole)) if net.tower and not self.labels else None

    def read(self, posts: Sequence[Post], split: str) -> list[Sense]:
        """Return the inputs of each post; unreadable pictures are counted in a warning."""
        new = sorted({word for post in posts for word in post.tokens} - self.told.keys())
        self.told.update(zip(new, self.vectors.augmentations(new, self.backbone.neighbours), strict=True))
        words = [tuple(post.tokens) for post in posts]
        if self.gallery is None:
            return [Sense((), (), told) for told in words]
        pictures = self.gallery.read(posts, split)
        found = [objects_of(post.images[:MOST_PICTURES], self.finder, self.backbone.most_objects) for post in posts]
        objects: list[tuple[Any, ...]]
        if self.crops:
            objects = [*self.crops.read_parts([[(image, region.box) for image, region in row] for row in found])]
        else:
            objects = [tuple(self.labels[region.label] for _, region in row) for row in found]
        return [Sense(*told) for told in zip(pictures, objects, words, strict=True)]

    def stack(self, rows: Sequence[Sense]) -> dict[str, "torch.Tensor"]:
        """Return the network's inputs for a batch."""
        import torch

        longest = max(len(row.words) for row in rows)
        augmentation = torch.zeros(len(rows), longest, self.vectors.dimensions)
        for i, row in enumerate(rows):
            for j, word in enumerate(row.words):
                augmentation[i, j] = torch.from_numpy(self.told[word])
        batch = {"augmentation": augmentation}
        if self.gallery:
            batch |= self.gallery.stack([row.pictures for row in rows])
        if self.crops:
            crops = self.crops.stack([row.objects for row in rows])
            batch |= {{"pictures": "crops", "shown": "cut"}[name]: value for name, value in crops.items()}
        elif self.labels:
            batch["named"], _ = pad([row.objects or (-1,) for row in rows], -1)
        return batch
