"""A CRF on word features and the last layers of an encoder that is not trained: seconds on a CPU.

Peters et al. 2019, section 3: features of a frozen encoder; Lafferty et al. 2001: the CRF. The states of the last
layers at each word's first subword stand side by side, standardised on train, beside the features of ``crf``; L-BFGS
fits all weights at once.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, cast

from hf_mner_aug.backbones import Marginals, Prediction, checkpoint, fitting, splits, tagging
from hf_mner_aug.backbones.crf import NO_NAMES, name_features, post_features, read_lexicon
from hf_mner_aug.backbones.training import pad, run_batches
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import ModelName, digest_weights, find_device
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.need import need
from hf_mner_aug.schema import Post, bio_names
from hf_mner_aug.storage import kept_features
from hf_mner_aug.storage.pinned_files import LocalFile
from hf_mner_aug.values import Amount, Positive, Range, later

if TYPE_CHECKING:
    import torch

    from hf_mner_aug.backbones.encoder import WordPieces
    from hf_mner_aug.backbones.frozen_encoder_crf_net import FrozenNet
    from hf_mner_aug.backbones.tagging import TaggingExample

FIT_BATCH = 256  # posts whose features are in single precision at the same time
LOCATION = ("_name_or_path", "transformers_version")  # of a config: not what determines an encoder's output


class Read(NamedTuple):
    """A post as the CRF reads it: subwords, first ones of words, word features, states in half precision, pictures."""

    input_ids: list[int]
    first: list[int]
    marks: list[list[int]]
    states: "torch.Tensor"
    pictures: Any


@dataclass(frozen=True, kw_only=True)
class FrozenEncoderCRF:
    """Linear-chain CRF over word features and the states of a frozen text encoder.

    ``seed`` has no effect: training draws no random number. Words that do not fit get O with confidence 0.

    Args:
        layers: the number of the encoder's last layers.
        l2: the weight of the L2 penalty of the states.
        words: read the word features of `crf`, too.
        words_l2: the weight of the L2 penalty of the word features.
        iterations: the maximum number of L-BFGS iterations.
        weight: a column of train with the weight of each post's likelihood, 0 to 10; null is 1.
        lexicon: a file of names, a type and a name on each line: whether a word is in one is a feature of it.
        boundary: predict entities without their types.
        use_images: true adds the mean region of each post's pictures from a frozen tower.
        cache: keep the states of each post in the cache folder, for the next run.
        device: of the encoder: `auto`, `cpu` or `cuda`.
    """

    name: ClassVar[str] = "frozen_encoder_crf"
    seedless: ClassVar[bool] = True
    training: ClassVar[None] = None
    shape: ClassVar[tuple[str, ...]] = ("layers", "use_images", "words")
    view: ClassVar[str] = "grid"

    encoder: ModelName = "vinai/bertweet-base"
    layers: Positive = 3
    l2: Amount = 10.0
    words: bool = True
    words_l2: Amount = 0.1
    iterations: Positive = 60
    weight: str | None = None
    lexicon: LocalFile | None = None
    boundary: bool = False
    vision: Vision = field(default_factory=Vision)
    use_images: bool = False
    no_images: Literal["warn", "refuse"] = "warn"
    max_length: Annotated[int, Range(8)] = 128
    cache: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    types: Literal["coarse", "fine"] = later("coarse")
    vocabulary: tuple[str, ...] = field(default=(), repr=False, compare=False)
    names: Mapping[str, tuple[str, ...]] | None = field(default=None, repr=False, compare=False)
    fitted: fitting.Fitted | None = field(default=None, repr=False, compare=False)

    reads_images = property(tagging.reads_images)

    def __post_init__(self) -> None:
        tagging.check(self._as_tagger)
        if self.use_images and not self.vision.freeze_vision:
            raise UsageError("frozen_encoder_crf trains no tower: leave out freeze_vision, or pass freeze_vision=true")

    @property
    def training_note(self) -> str:
        """How each cell of a study is trained, for its report."""
        return (
            f"Every cell has at most {self.iterations} iterations of L-BFGS over its whole train split, on the states "
            "of an encoder that is not trained; validation selects nothing. With more posts, repeated ones included, "
            "the penalty weighs less."
        )

    def fit(self, train: Any, validation: Any = None) -> Self:
        """Return a fitted copy; validation is only checked, since training has a single final state.

        Raises:
            MissingExtra: torch or transformers is not installed.
            UsageError: a split is empty or has other columns, train has no entity, or there is no such encoder, tower
                or GPU; or no post has a picture, and ``no_images`` is ``refuse``.
            DataError: a weight is not a number from 0 to 10, or a line of the lexicon is not a type and a name.
        """
        data = splits.entity_splits(
            train,
            validation,
            boundary=self.boundary,
            types=self.types,
            images=self.reads_images,
            weight=self.weight,
        )
        device = find_device(self.device)
        named = replace(self, names=dict(read_lexicon(self.lexicon)) or None)
        able = replace(named, vocabulary=named._vocabulary(data.train))
        build, pieces = able.assemble(self.encoder, data.labels, data.train)
        net = _without_chance(build).to(device)
        self._check_layers(net)
        gallery = self.gallery(lambda: net)
        examples = tagging.encode(self._as_tagger, data.train, pieces, gallery, "train", bio_names(data.labels))
        read = able._read(net, pieces, data.train, examples)
        weights = data.weights or [1.0] * len(read)
        labelled = [
            (one, example.labels, weight)
            for one, example, weight in zip(read, examples, weights, strict=True)
            if one.first
        ]
        if not labelled:
            raise UsageError(f"train: the first word of every post is longer than {pieces.limit} subwords")
        self._learn(net.to("cpu"), _collator(net, gallery), labelled)
        return replace(able, fitted=fitting.Fitted(net, pieces, data.labels, ()))

    def predict(self, dataset: Any) -> list[Prediction]:
        """Return the spans of each post; a confidence is the lowest marginal of the span's tags.

        It raises as ``marginals``.
        """
        return [found.prediction for found in self.marginals(dataset)]

    def marginals(self, dataset: Any) -> list[Marginals]:
        """Return the spans of each post, with the marginals of all tags.

        Raises:
            NotFitted: the backbone was not fitted.
            UsageError: the dataset lacks a column, or has types that the model does not know; there is no such GPU; or
                no post has a picture, and ``no_images`` is ``refuse``.
        """
        fitted = fitting.fitted_of(self._as_tagger)
        labels = () if self.boundary else fitted.labels
        posts = splits.unlabelled(dataset, splits.kind_of(self.types), labels, images=self.reads_images)
        net = fitted.net.to(find_device(self.device))
        gallery = self.gallery(lambda: net)
        examples = tagging.encode(self._as_tagger, posts, fitted.pieces, gallery, "dataset")
        read: Any = self._read(net, fitted.pieces, posts, examples)
        return tagging.decode_all(net, posts, read, _collator(net, gallery), bio_names(fitted.labels))

    def assemble(
        self, encoder: str, labels: tuple[str, ...], train: Sequence[Any] = ()
    ) -> "tuple[Callable[[], FrozenNet], WordPieces]":
        """Return a function that makes the network (new or saved), and its tokenizer; see ``tagging.assemble``."""
        return tagging.assemble(self._as_tagger, encoder, labels, train)

    def gallery(self, net_of: Callable[[], Any]) -> Any:
        """Return the gallery of posts' pictures; None if no pictures are read."""
        return tagging.gallery(self._as_tagger, net_of)

    def network(self, encoder: Any, tags: Sequence[str], tower: Any) -> "FrozenNet":
        """Return the network."""
        from hf_mner_aug.backbones.frozen_encoder_crf_net import FrozenNet

        return FrozenNet(encoder, tags, self.layers, len(self.vocabulary), tower)

    def save(self, folder: str | Path) -> None:
        """Write the weights, with the encoder's, the tokenizer and the settings; raises as ``fitting.save``."""
        fitting.save(self._as_tagger, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder; raises as ``fitting.load``."""
        return cast("Self", fitting.load(cast(Any, cls), folder))

    @property
    def _as_tagger(self) -> Any:
        """Itself, for the functions of ``tagging``, which ask of a tagger a training that this one has not."""
        return self

    def _check_layers(self, net: "FrozenNet") -> None:
        n_layers = net.encoder.config.num_hidden_layers
        if self.layers > n_layers:
            raise UsageError(f"frozen_encoder_crf: layers must be at most {n_layers}, all that {self.encoder} has")

    def _vocabulary(self, train: Sequence[Post]) -> tuple[str, ...]:
        """Return the word features of train, or those of the folder that the encoder is from."""
        if (Path(self.encoder) / checkpoint.RECORD).is_file():
            record = checkpoint.read(Path(self.encoder), self.name)
            return tuple(checkpoint.settings(type(self), record, Path(self.encoder))["vocabulary"])
        return tuple(sorted({mark for post in train for word in self._marks(post) for mark in word}))

    def _marks(self, post: Post) -> list[list[str]]:
        """Return the word features of each word of a post."""
        names = self.names or NO_NAMES
        return post_features(post.tokens, names) if self.words else name_features(post.tokens, names)

    def _read(
        self, net: "FrozenNet", pieces: "WordPieces", posts: Sequence[Post], examples: "Sequence[TaggingExample]"
    ) -> list[Read]:
        """Return posts with their word features and the encoder's states, from the cache where it has them."""
        keys = [_key(example) for example in examples]
        states = self._states(net, pieces, dict(zip(keys, examples, strict=True)))
        ids = {mark: i for i, mark in enumerate(self.vocabulary, start=1)}
        read = []
        for post, key, example in zip(posts, keys, examples, strict=True):
            words = self._marks(post)[: len(example.first)]
            marks = [[ids[mark] for mark in word if mark in ids] for word in words]
            read.append(Read(example.input_ids, example.first, marks, states[key], example.pictures))
        return read

    def _learn(
        self,
        net: "FrozenNet",
        collate: "Callable[[Sequence[Read]], dict[str, torch.Tensor]]",
        labelled: Sequence[tuple[Read, list[int], float]],
    ) -> None:
        """Standardise the states on train and fit the weights."""
        import torch

        from hf_mner_aug.backbones.frozen_encoder_crf_net import Words, fit_chain

        batches = []
        by_length = sorted(labelled, key=lambda one: len(one[0].first))
        for at in range(0, len(by_length), FIT_BATCH):
            read, labels, weights = zip(*by_length[at : at + FIT_BATCH], strict=True)
            batches.append(Words(**collate(read), tags=pad(labels)[0], weights=torch.tensor(weights)))
        net.standardise(torch.cat([batch.features[batch.mask] for batch in batches]))
        fit_chain(net, batches, l2=self.l2, marks_l2=self.words_l2, iterations=self.iterations)

    def _states(
        self, net: "FrozenNet", pieces: "WordPieces", examples: "dict[str, TaggingExample]"
    ) -> "dict[str, torch.Tensor]":
        """Return the states [n_words, from_text] of posts by their key, in half precision."""
        import torch

        digest = _digest(net) if self.cache else ""
        kept = kept_features.read(digest, examples) if self.cache else {}
        found = {}
        for key, data in kept.items():
            shape = len(examples[key].first), net.from_text
            if data and len(data) == 2 * shape[0] * shape[1]:
                found[key] = torch.frombuffer(bytearray(data), dtype=torch.float16).view(shape)
        new = {key: example for key, example in examples.items() if key not in found}
        computed = dict(zip(new, _encode(net, pieces, [*new.values()]), strict=True))
        if self.cache and computed:
            kept_features.write(digest, {key: value.numpy().tobytes() for key, value in computed.items()})
        return {**found, **computed}


def _without_chance(build: "Callable[[], FrozenNet]") -> "FrozenNet":
    """Return a network whose new weights, those of a ``tiny`` encoder, are always the same; random numbers go on."""
    torch = need("torch", extra="models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().eval()


def _key(example: "TaggingExample") -> str:
    return hashlib.sha256(json.dumps([example.input_ids, example.first]).encode()).hexdigest()


def _digest(net: "FrozenNet") -> str:
    """Return the digest of everything that determines the states, except for the post."""
    config = {key: value for key, value in net.encoder.config.to_dict().items() if key not in LOCATION}
    about = json.dumps([net.layers, config], sort_keys=True, default=str)
    return digest_weights(net.encoder.state_dict(), about)


def _encode(net: "FrozenNet", pieces: "WordPieces", examples: "Sequence[TaggingExample]") -> "list[torch.Tensor]":
    """Return the states [n_words, from_text] of posts, in half precision on the CPU."""
    import torch

    if not examples:
        return []
    collate = tagging.collator(pieces, None)

    def call(batch: "dict[str, torch.Tensor]") -> "list[torch.Tensor]":
        states = net.states(batch["input_ids"], batch["attention_mask"], batch["first"]).half().cpu()
        return [row[shown].clone() for row, shown in zip(states, batch["mask"].cpu(), strict=True)]

    readable = [example._replace(labels=[], pictures=()) for example in examples if example.first]
    found = iter(run_batches(net, readable, collate, call))
    return [next(found) if example.first else torch.empty(0, net.from_text).half() for example in examples]


def _collator(net: "FrozenNet", gallery: Any) -> "Callable[[Sequence[Any]], dict[str, torch.Tensor]]":
    """Return a function that makes a padded batch of features, word features and their mask."""
    import torch

    def collate(read: Sequence[Read]) -> "dict[str, torch.Tensor]":
        _, mask = pad([one.first for one in read])
        states = torch.nn.utils.rnn.pad_sequence([one.states for one in read], batch_first=True)
        seen = gallery.stack([one.pictures for one in read]) if gallery else {}
        most = max(1, *(len(word) for one in read for word in one.marks))
        marks = torch.zeros(*mask.shape, most, dtype=torch.long)
        marks[mask] = pad([[*word, *[0] * (most - len(word))] for one in read for word in one.marks])[0]
        return {"features": net.with_pictures(states, **seen), "marks": marks, "mask": mask}

    return collate
