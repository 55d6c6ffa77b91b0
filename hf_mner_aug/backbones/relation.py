"""Relation extraction with entity markers: which relation holds between head and tail.

Baldini Soares et al. 2019 (entity markers, entity start): ``[E1] head [/E1]`` and ``[E2] tail [/E2]`` are added tokens,
and a linear layer reads the states of the two opening ones. In a long post, words farthest from head and tail are cut.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

from hf_mner_aug.backbones import Prediction, ScoredRelation, fitting, knowledge, splits, tagging
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.training import Training, pad, run_batches
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.device import ModelName, find_device
from hf_mner_aug.schema import Post
from hf_mner_aug.values import BelowOne, Range, check_ranges

if TYPE_CHECKING:
    import torch

    from hf_mner_aug.backbones.nets import MarkerNet

Collate = Callable[[Sequence["RelationExample"]], dict[str, "torch.Tensor"]]
MARKERS = ("[E1]", "[/E1]", "[E2]", "[/E2]")


class RelationExample(NamedTuple):
    """A post as input of the network: subwords, positions of the opening markers, relation id, pictures, weight."""

    input_ids: list[int]
    markers: list[int]
    label: int | None = None
    pictures: Any = ()
    weight: float | None = None


class RelationBackbone(fitting.NetBackbone, Protocol):
    """A backbone with a network that classifies pairs of head and tail."""

    @property
    def none(self) -> str:
        """The label of pairs without a relation."""
        ...


R = TypeVar("R", bound=RelationBackbone)


def fit(backbone: R, train: Any, validation: Any = None) -> R:
    """Return a fitted copy with the state of the best micro-F1 on validation (without validation, the last state).

    Raises:
        MissingExtra: torch or transformers is not installed.
        UsageError: a split is empty or has other columns, there is no such encoder, tower or GPU, or the folder to
            continue from has other relations; or no post has a picture, and ``no_images`` is ``refuse``.
        DataError: a post has no relation, or head and tail do not fit its words.
    """
    weight = backbone.training.weight
    data = splits.relation_splits(train, validation, images=backbone.reads_images, weight=weight)
    device = find_device(backbone.training.device)
    build, pieces = backbone.assemble(backbone.encoder, data.labels, data.train)
    gallery = backbone.gallery(lambda: build().to(device))
    encoded = encode(backbone, data.train, pieces, gallery, "train", data.labels)
    weights = data.weights or [None] * len(encoded)
    examples = [example._replace(weight=weight) for example, weight in zip(encoded, weights, strict=True)]
    validation_examples = encode(backbone, data.validation, pieces, gallery, "validation")
    collate = collator(pieces, gallery)

    def score(net: Any) -> float:
        predictions = decode(net, data.validation, validation_examples, collate, data.labels)
        return splits.relation_score(predictions, data.validation, none=backbone.none).f1

    return fitting.learn(backbone, build, pieces, data.labels, examples, collate, score if data.validation else None)


def predict(backbone: fitting.NetBackbone, dataset: Any) -> list[Prediction]:
    """Return the relation of each post, with its probability.

    Raises:
        NotFitted: the backbone was not fitted.
        UsageError: the dataset lacks a column, or has relations that the model does not know; there is no such GPU; or
            no post has a picture, and ``no_images`` is ``refuse``.
        DataError: head and tail do not fit the words of a post.
    """
    fitted = fitting.fitted_of(backbone)
    posts = splits.unlabelled(dataset, "relation", fitted.labels, images=backbone.reads_images)
    net = fitted.net.to(find_device(backbone.training.device))
    gallery = backbone.gallery(lambda: net)
    examples = encode(backbone, posts, fitted.pieces, gallery, "dataset")
    return decode(net, posts, examples, collator(fitted.pieces, gallery), fitted.labels)


def assemble(
    backbone: fitting.NetBackbone, encoder: str, labels: tuple[str, ...], train: Sequence[Post] = ()
) -> tuple[Callable[[], Any], WordPieces]:
    """Return a function that makes the network (new or saved), and its tokenizer with the markers."""

    def network(model: Any, tags: Sequence[str], tower: Any) -> Any:
        return backbone.network(model, labels, tower)

    return tagging.assemble(backbone, encoder, labels, train, network=network, markers=MARKERS)


@dataclass(frozen=True, kw_only=True)
class RelationClassifier:
    """Text encoder that predicts the relation of each post.

    Args:
        none: the label of pairs without a relation; it is counted neither as predicted nor as gold.
    """

    name: ClassVar[str] = "relation"
    task: ClassVar[str] = "relations"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ()
    view: ClassVar[str] = ""
    reads_images: ClassVar[bool] = False
    vision: ClassVar[None] = None
    no_images: ClassVar[str] = "warn"

    encoder: ModelName = "bert-base-uncased"
    none: str = "None"
    max_length: Annotated[int, Range(16)] = 128
    dropout: BelowOne = 0.1
    seed: int = 0
    training: Training = field(default_factory=Training)
    fitted: fitting.Fitted | None = field(default=None, repr=False, compare=False)

    fit, predict, assemble = fit, predict, assemble
    gallery, gather = tagging.gallery, knowledge.nothing
    save, training_note = fitting.save, property(fitting.training_note)

    def __post_init__(self) -> None:
        check_ranges(self, self.name)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder; raises as ``fitting.load``."""
        return fitting.load(cls, folder)

    def network(self, encoder: Any, relations: Sequence[str], tower: None) -> "MarkerNet":
        """Return the network."""
        from hf_mner_aug.backbones.nets import MarkerNet

        return MarkerNet(encoder, relations, dropout=self.dropout)


def mark(post: Post, pieces: WordPieces) -> tuple[RelationExample, int]:
    """Return a post with markers around head and tail, without a label, and the number of words that did not fit.

    Raises:
        DataError: the post has no head and tail, or they do not fit its words.
    """
    relation = post.relation
    if relation is None:
        raise DataError(f"post {post.id}: expected a head and a tail, found no relation")
    n_words = len(post.tokens)
    for start, end in (relation.head, relation.tail):
        if not 0 <= start < end <= n_words:
            raise DataError(f"post {post.id}: span [{start}, {end}) does not fit {n_words} words")
    subwords = [pieces.subwords(token) for token in post.tokens]
    room = pieces.limit - len(pieces.before) - len(pieces.after) - len(MARKERS)
    kept = set()
    for i in sorted(range(n_words), key=lambda i: (_distance(i, relation.head, relation.tail), i)):
        room -= len(subwords[i])
        if room < 0:
            break
        kept.add(i)
    opens, closes, opens_tail, closes_tail = pieces.tokenizer.convert_tokens_to_ids(list(MARKERS))
    ids, markers = list(pieces.before), [0, 0]
    for i in range(n_words):
        if i == relation.head[0]:
            markers[0] = len(ids)
            ids.append(opens)
        if i == relation.tail[0]:
            markers[1] = len(ids)
            ids.append(opens_tail)
        if i in kept:
            ids += subwords[i]
        if i == relation.tail[1] - 1:
            ids.append(closes_tail)
        if i == relation.head[1] - 1:
            ids.append(closes)
    return RelationExample(ids + pieces.after, markers), n_words - len(kept)


def encode(
    backbone: fitting.NetBackbone,
    posts: Sequence[Post],
    pieces: WordPieces,
    gallery: Any,
    split: str,
    relations: Sequence[str] = (),
) -> list[RelationExample]:
    """Return the posts as examples, with labels if relations are given; words left out are counted in a warning.

    Raises:
        UsageError: no post has a picture, and ``no_images`` is ``refuse``.
        DataError: a post has no head and tail, or they do not fit its words.
    """
    ids = {relation: i for i, relation in enumerate(relations)}
    examples = []
    cut: list[int] = []
    for post, pictures in zip(posts, tagging.read_pictures(backbone, posts, gallery, split), strict=True):
        example, n_cut = mark(post, pieces)
        label = ids[post.relation.type] if ids and post.relation else None
        examples.append(example._replace(label=label, pictures=pictures))
        if n_cut:
            cut.append(n_cut)
    if cut:
        warnings.warn(
            f"{split}: {len(cut)} of {len(posts)} posts are longer than {pieces.limit} subwords: the words farthest "
            f"from head and tail ({sum(cut)} in all) are not read",
            stacklevel=3,
        )
    return examples


def decode(
    net: Any,
    posts: Sequence[Post],
    examples: Sequence[RelationExample],
    collate: Collate,
    relations: Sequence[str],
) -> list[Prediction]:
    """Return the predictions of a network in eval mode."""

    def choose(batch: dict[str, "torch.Tensor"]) -> list[ScoredRelation]:
        confidences, best = net(**batch)["logits"].softmax(dim=1).max(dim=1)
        pairs = zip(best.tolist(), confidences.tolist(), strict=True)
        return [ScoredRelation(relations[i], confidence) for i, confidence in pairs]

    found = run_batches(net, examples, collate, choose)
    return [Prediction(post.id, relation=relation) for post, relation in zip(posts, found, strict=True)]


def collator(pieces: WordPieces, gallery: Any) -> Collate:
    """Return a function that makes a padded batch of examples."""

    def collate(examples: Sequence[RelationExample]) -> dict[str, "torch.Tensor"]:
        import torch

        ids, attention = pad([example.input_ids for example in examples], pieces.pad_id)
        markers = torch.tensor([example.markers for example in examples])
        batch = {"input_ids": ids, "attention_mask": attention.long(), "markers": markers}
        if examples[0].label is not None:
            batch["labels"] = torch.tensor([example.label for example in examples])
        batch |= tagging.weights_of(examples)
        if gallery:
            batch |= gallery.stack([example.pictures for example in examples])
        return batch

    return collate


def _distance(i: int, *spans: tuple[int, int]) -> int:
    """Return the distance in words from a word to the nearest span."""
    return min(max(start - i, i - end + 1, 0) for start, end in spans)
