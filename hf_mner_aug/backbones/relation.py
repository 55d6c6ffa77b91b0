"""Relation extraction with entity markers: which relation holds between head and tail.

Baldini Soares et al. 2019 (entity markers, entity start): ``[E1] head [/E1]`` and ``[E2] tail [/E2]`` are added tokens,
and a linear layer reads the states of the two opening ones. Words farthest from head and tail go where a post is long.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from hf_mner_aug.backbones import Prediction, ScoredRelation, checkpoint, splits
from hf_mner_aug.backbones.encoder import Source, WordPieces, load_encoder, load_tokenizer, longest_input
from hf_mner_aug.backbones.training import Check, Training, find_device, pad, run_batches
from hf_mner_aug.errors import DataError, UsageError
from hf_mner_aug.need import need
from hf_mner_aug.schema import Post

if TYPE_CHECKING:
    import torch

    from hf_mner_aug.backbones.nets import RelationNet

MARKERS = ("[E1]", "[/E1]", "[E2]", "[/E2]")


class Example(NamedTuple):
    """A post as the network takes it: subwords, where the two opening markers stand, and the relation's id."""

    input_ids: list[int]
    markers: list[int]
    label: int | None


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training leaves: the network, its tokenizer, the relations it knows, and the validation scores."""

    net: "RelationNet"
    pieces: WordPieces
    labels: tuple[str, ...]
    history: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class RelationClassifier:
    """Encoder with a relation for each post.

    ``encoder`` is a folder, an id on the Hub, or a folder this class saved: then training goes on from there. ``none``
    is the label that says there is no relation: it counts neither as predicted nor as gold.
    """

    name: ClassVar[str] = "relation"

    encoder: str = "bert-base-uncased"
    none: str = "None"
    max_length: int = 128
    dropout: float = 0.1
    seed: int = 0
    training: Training = field(default_factory=Training)
    fitted: Fitted | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.max_length < 16:
            raise UsageError(f"relation: max_length must be at least 16, found {self.max_length}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"relation: dropout must be in [0, 1), found {self.dropout}")

    def fit(self, train: Any, validation: Any = None) -> Self:
        """Return a fitted copy, of the state with the best micro-F1 on validation (without one, the last state).

        Raises:
            MissingExtra: torch or transformers is not installed.
            UsageError: a split is empty or of other columns, there is no such encoder or GPU, or the folder to go on
                from knows other relations.
            DataError: a post has no relation, or head and tail do not fit.
        """
        data = splits.relation_splits(train, validation)
        find_device(self.training.device)
        build, pieces = self._open(self.encoder, data.labels)
        examples = encode(data.train, pieces, "train", data.labels)
        validation_examples = encode(data.validation, pieces, "validation")

        def score(net: Any) -> float:
            predictions = decode(net, data.validation, validation_examples, pieces, data.labels)
            return splits.relation_score(predictions, data.validation, none=self.none).f1

        state, history = self.training.run(
            build, examples, collator(pieces), score if data.validation else None, seed=self.seed
        )
        net = build()
        net.load_state_dict(state)
        return replace(self, fitted=Fitted(net.eval(), pieces, data.labels, history))

    def predict(self, dataset: Any) -> list[Prediction]:
        """Return the relation of each post, with its probability.

        Raises:
            NotFitted: the backbone was not fitted.
            UsageError: the dataset lacks a column, or has relations that the model does not know.
            DataError: head and tail do not fit.
        """
        fitted = self._fitted()
        posts = splits.unlabelled(dataset, "relation", fitted.labels)
        examples = encode(posts, fitted.pieces, "dataset")
        net = fitted.net.to(find_device(self.training.device))
        return decode(net, posts, examples, fitted.pieces, fitted.labels)

    def save(self, folder: str | Path) -> None:
        """Write the weights, the tokenizer and the settings into a folder.

        Raises:
            NotFitted: the backbone was not fitted.
        """
        fitted = self._fitted()
        settings = asdict(replace(self, fitted=None))
        del settings["fitted"]
        about = {"labels": fitted.labels, "settings": settings, "history": [asdict(check) for check in fitted.history]}
        checkpoint.write_net(Path(folder), self.name, fitted.net, fitted.pieces.tokenizer, about)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder.

        Raises:
            UsageError: there is none, or one of another kind.
            Corrupt: a file is damaged.
        """
        record = checkpoint.read(Path(folder), cls.name)
        settings, labels = record["settings"], tuple(record["labels"])
        backbone = cls(**{**settings, "training": Training(**settings["training"])})
        build, pieces = backbone._open(str(folder), labels)
        history = tuple(Check(**check) for check in record["history"])
        return replace(backbone, fitted=Fitted(build().eval(), pieces, labels, history))

    def _open(self, encoder: str, labels: tuple[str, ...]) -> tuple[Callable[[], "RelationNet"], WordPieces]:
        """Return what makes the network, fresh or as a folder has it, and its tokenizer with the markers."""
        need("torch", extra="models")
        from hf_mner_aug.backbones.nets import RelationNet

        source = Source.find(encoder, self.name, labels)
        tokenizer = load_tokenizer(source.encoder)
        tokenizer.add_tokens(list(MARKERS), special_tokens=True)

        def build() -> "RelationNet":
            model = load_encoder(source)
            if len(tokenizer) > model.config.vocab_size:
                model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            net = RelationNet(model, labels, dropout=self.dropout)
            source.read_weights(net)
            return net

        return build, WordPieces(tokenizer, longest_input(source, tokenizer, self.max_length))

    def _fitted(self) -> Fitted:
        if self.fitted is None:
            raise checkpoint.not_fitted(self.name)
        return self.fitted


def mark(post: Post, pieces: WordPieces) -> tuple[Example, int]:
    """Return a post with markers around head and tail, without a label, and how many words did not fit.

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
    return Example(ids + pieces.after, markers, None), n_words - len(kept)


def encode(posts: Sequence[Post], pieces: WordPieces, split: str, relations: Sequence[str] = ()) -> list[Example]:
    """Return the posts as examples, with labels where relations are given; words left out are counted in a warning."""
    ids = {relation: i for i, relation in enumerate(relations)}
    examples = []
    cut: list[int] = []
    for post in posts:
        example, n_cut = mark(post, pieces)
        if ids and post.relation:
            example = example._replace(label=ids[post.relation.type])
        examples.append(example)
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
    net: "RelationNet",
    posts: Sequence[Post],
    examples: Sequence[Example],
    pieces: WordPieces,
    relations: Sequence[str],
) -> list[Prediction]:
    """Return the predictions of a network in eval mode."""

    def choose(batch: dict[str, "torch.Tensor"]) -> list[ScoredRelation]:
        confidences, best = net(**batch)["logits"].softmax(dim=1).max(dim=1)
        pairs = zip(best.tolist(), confidences.tolist(), strict=True)
        return [ScoredRelation(relations[i], confidence) for i, confidence in pairs]

    found = run_batches(net, examples, collator(pieces), choose)
    return [Prediction(post.id, relation=relation) for post, relation in zip(posts, found, strict=True)]


def collator(pieces: WordPieces) -> Callable[[Sequence[Example]], dict[str, "torch.Tensor"]]:
    """Return what makes a padded batch of examples."""

    def collate(examples: Sequence[Example]) -> dict[str, "torch.Tensor"]:
        import torch

        ids, attention = pad([example.input_ids for example in examples], pieces.pad_id)
        markers = torch.tensor([example.markers for example in examples])
        batch = {"input_ids": ids, "attention_mask": attention.long(), "markers": markers}
        if examples[0].label is not None:
            batch["labels"] = torch.tensor([example.label for example in examples])
        return batch

    return collate


def _distance(i: int, *spans: tuple[int, int]) -> int:
    """Return how many words lie between a word and the nearest span."""
    return min(max(start - i, i - end + 1, 0) for start, end in spans)
