"""Any pretrained encoder with a softmax or CRF head over words.

Devlin et al. 2019, first subword of each word; the CRF is over words, so no tag stands for ``[CLS]`` or a later
subword. A span's confidence is the least of its words' tag probabilities: marginals of the CRF, or the softmax.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from hf_mner_aug.backbones import Prediction, checkpoint, splits
from hf_mner_aug.backbones.encoder import Source, WordPieces, load_encoder, load_tokenizer, longest_input
from hf_mner_aug.backbones.training import Check, Training, find_device, pad, run_batches
from hf_mner_aug.errors import UnknownName, UsageError
from hf_mner_aug.need import need
from hf_mner_aug.schema import Post, bio_names

if TYPE_CHECKING:
    import torch

    from hf_mner_aug.backbones.nets import TokenNet

HEADS = ("softmax", "crf")


class Example(NamedTuple):
    """A post as the network takes it: subwords, each word's first one, and tag ids (none when predicting)."""

    input_ids: list[int]
    first: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training leaves: the network, its tokenizer, the labels it knows, and the validation scores."""

    net: "TokenNet"
    pieces: WordPieces
    labels: tuple[str, ...]
    history: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class TokenClassifier:
    """Encoder with a tag for each word.

    ``encoder`` is a folder, an id on the Hub, or a folder this class saved: then training goes on from there. Words
    that do not fit ``max_length`` subwords get O with confidence 0. With ``boundary`` it finds entities without their
    type.
    """

    name: ClassVar[str] = "token_classifier"

    encoder: str = "vinai/bertweet-base"
    head: Literal["softmax", "crf"] = "crf"
    boundary: bool = False
    max_length: int = 128
    dropout: float = 0.1
    seed: int = 0
    training: Training = field(default_factory=Training)
    fitted: Fitted | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise UnknownName("head", self.head, HEADS)
        if self.max_length < 8:
            raise UsageError(f"token_classifier: max_length must be at least 8, found {self.max_length}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"token_classifier: dropout must be in [0, 1), found {self.dropout}")

    def fit(self, train: Any, validation: Any = None) -> Self:
        """Return a fitted copy, of the state with the best span F1 on validation (without one, the last state).

        Raises:
            MissingExtra: torch or transformers is not installed.
            UsageError: a split is empty or of other columns, train has no entity, there is no such encoder or GPU, or
                the folder to go on from knows other types.
        """
        data = splits.entity_splits(train, validation, boundary=self.boundary)
        find_device(self.training.device)
        build, pieces = self._open(self.encoder, data.labels)
        tags = bio_names(data.labels)
        examples = [example for example in encode(data.train, pieces, "train", tags) if example.first]
        if not examples:
            raise UsageError(f"train: the first word of every post is longer than {pieces.limit} subwords")
        validation_examples = encode(data.validation, pieces, "validation")

        def score(net: Any) -> float:
            predictions = decode(net, data.validation, validation_examples, pieces, tags)
            return splits.entity_score(predictions, data.validation).f1

        state, history = self.training.run(
            build, examples, collator(pieces), score if data.validation else None, seed=self.seed
        )
        net = build()
        net.load_state_dict(state)
        return replace(self, fitted=Fitted(net.eval(), pieces, data.labels, history))

    def predict(self, dataset: Any) -> list[Prediction]:
        """Return the spans of each post.

        Raises:
            NotFitted: the backbone was not fitted.
            UsageError: the dataset lacks a column, or has types that the model does not know; or there is no such GPU.
        """
        fitted = self._fitted()
        posts = splits.unlabelled(dataset, "type", () if self.boundary else fitted.labels)
        examples = encode(posts, fitted.pieces, "dataset")
        net = fitted.net.to(find_device(self.training.device))
        return decode(net, posts, examples, fitted.pieces, bio_names(fitted.labels))

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

    def _open(self, encoder: str, labels: tuple[str, ...]) -> tuple[Callable[[], "TokenNet"], WordPieces]:
        """Return what makes the network, fresh or as a folder has it, and its tokenizer."""
        need("torch", extra="models")
        from hf_mner_aug.backbones.nets import TokenNet

        source = Source.find(encoder, self.name, labels)
        if source.record and source.record["settings"]["head"] != self.head:
            raise UsageError(f"{encoder} has a {source.record['settings']['head']} head: pass head= accordingly")
        tokenizer = load_tokenizer(source.encoder)

        def build() -> "TokenNet":
            net = TokenNet(load_encoder(source), bio_names(labels), head=self.head, dropout=self.dropout)
            source.read_weights(net)
            return net

        return build, WordPieces(tokenizer, longest_input(source, tokenizer, self.max_length))

    def _fitted(self) -> Fitted:
        if self.fitted is None:
            raise checkpoint.not_fitted(self.name)
        return self.fitted


def encode(posts: Sequence[Post], pieces: WordPieces, split: str, tags: Sequence[str] = ()) -> list[Example]:
    """Return the posts as examples, with labels where tags are given; words cut off are counted in a warning."""
    ids = {tag: i for i, tag in enumerate(tags)}
    examples = []
    cut: list[int] = []
    for post in posts:
        input_ids, first = pieces.encode(post.tokens)
        labels = [ids[tag] for tag in splits.bio_tags(post)[: len(first)]] if ids else []
        examples.append(Example(input_ids, first, labels))
        if len(first) < len(post.tokens):
            cut.append(len(post.tokens) - len(first))
    if cut:
        warnings.warn(
            f"{split}: {len(cut)} of {len(posts)} posts are longer than {pieces.limit} subwords: their last words "
            f"({sum(cut)} in all) are not read and count as O",
            stacklevel=3,
        )
    return examples


def decode(
    net: "TokenNet", posts: Sequence[Post], examples: Sequence[Example], pieces: WordPieces, tags: Sequence[str]
) -> list[Prediction]:
    """Return the predictions of a network in eval mode."""

    def tag(batch: dict[str, "torch.Tensor"]) -> list[tuple[list[int], list[float]]]:
        found, probabilities = net.decode(batch)
        return list(zip(found.tolist(), probabilities.tolist(), strict=True))

    readable = [i for i, example in enumerate(examples) if example.first]
    found = run_batches(net, [examples[i] for i in readable], collator(pieces), tag)
    tagged = dict(zip(readable, found, strict=True))
    predictions = []
    for i, (post, example) in enumerate(zip(posts, examples, strict=True)):
        ids, probabilities = tagged.get(i, ([], []))
        n_read, n_words = len(example.first), len(post.tokens)
        names = [tags[j] for j in ids[:n_read]] + ["O"] * (n_words - n_read)
        confidences = probabilities[:n_read] + [0.0] * (n_words - n_read)
        predictions.append(splits.read_prediction(post, names, confidences))
    return predictions


def collator(pieces: WordPieces) -> Callable[[Sequence[Example]], dict[str, "torch.Tensor"]]:
    """Return what makes a padded batch of examples."""

    def collate(examples: Sequence[Example]) -> dict[str, "torch.Tensor"]:
        ids, attention = pad([example.input_ids for example in examples], pieces.pad_id)
        first, mask = pad([example.first for example in examples])
        batch = {"input_ids": ids, "attention_mask": attention.long(), "first": first, "mask": mask}
        if examples[0].labels:
            batch["labels"], _ = pad([example.labels for example in examples])
        return batch

    return collate
