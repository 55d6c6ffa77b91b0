"""The shared code of backbones that tag words: posts as examples with their pictures, training, prediction.

The functions here and in ``fitting`` are methods of taggers, which follow the protocol ``fitting.NetBackbone``.
"""

import warnings
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.backbones import (
    Marginals,
    Prediction,
    checkpoint,
    fitting,
    knowledge,
    splits,
    task_of,
    types_of,
)
from hf_mner_aug.backbones.encoder import TWEETS, Source, WordPieces, load_encoder, load_tokenizer, longest_input
from hf_mner_aug.backbones.fitting import N, NetBackbone
from hf_mner_aug.backbones.training import pad, run_batches
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import find_device
from hf_mner_aug.models.vision import Gallery, load_tower
from hf_mner_aug.need import need
from hf_mner_aug.schema import Post, bio_names
from hf_mner_aug.values import check_ranges

if TYPE_CHECKING:
    import torch

Collate = Callable[[Sequence["TaggingExample"]], dict[str, "torch.Tensor"]]


class TaggingExample(NamedTuple):
    """A post as input of a network: subwords, first ones of words, tag ids (none when predicting), pictures, weight."""

    input_ids: list[int]
    first: list[int]
    labels: list[int]
    pictures: Any
    weight: float | None = None


def reads_images(tagger: Any) -> bool:
    """Whether a tagger reads pictures: not in the text-only ablation."""
    found: bool = tagger.use_images
    return found


def check(tagger: NetBackbone) -> None:
    """Check that a tagger's settings are in range.

    Raises:
        UsageError: a setting is not.
    """
    check_ranges(tagger, tagger.name)
    if types_of(tagger) == "fine" and task_of(tagger) == "relations":
        raise UsageError(f"{tagger.name}: types=fine is about entities: leave out task=relations")


def fit(tagger: N, train: Any, validation: Any = None) -> N:
    """Return a fitted copy with the state of the best span F1 on validation (without validation, the last state).

    Raises:
        MissingExtra: torch or transformers is not installed.
        UsageError: a split is empty or has other columns, train has no entity, there is no such encoder, tower or GPU,
            or the folder to continue from has other types; or no post has a picture, and ``no_images`` is ``refuse``.
    """
    settings = tagger.training
    data = splits.entity_splits(
        train,
        validation,
        boundary=tagger.boundary,
        types=types_of(tagger),
        images=tagger.reads_images,
        weight=settings.weight,
    )
    device = find_device(settings.device)
    build, pieces = tagger.assemble(tagger.encoder, data.labels, data.train)
    gallery = tagger.gallery(lambda: build().to(device))
    tags = bio_names(data.labels)
    known, known_of_validation = tagger.gather(
        {"train": (train, data.train), "validation": (validation, data.validation)}
    )
    encoded = encode(tagger, data.train, pieces, gallery, "train", tags, known)
    weights = data.weights or [None] * len(encoded)
    examples = [e._replace(weight=weight) for e, weight in zip(encoded, weights, strict=True) if e.first]
    if not examples:
        raise UsageError(f"train: the first word of every post is longer than {pieces.limit} subwords")
    validation_examples = encode(tagger, data.validation, pieces, gallery, "validation", known=known_of_validation)
    collate = collator(pieces, gallery)

    def score(net: Any) -> float:
        predictions = decode(net, data.validation, validation_examples, collate, tags)
        return splits.entity_score(predictions, data.validation).f1

    return fitting.learn(tagger, build, pieces, data.labels, examples, collate, score if data.validation else None)


def predict(tagger: NetBackbone, dataset: Any) -> list[Prediction]:
    """Return the spans of each post; raises as ``marginals``."""
    return [found.prediction for found in marginals(tagger, dataset)]


def marginals(tagger: NetBackbone, dataset: Any) -> list[Marginals]:
    """Return the spans of each post, with the probabilities of all tags.

    Raises:
        NotFitted: the backbone was not fitted.
        UsageError: the dataset lacks a column, or has types that the model does not know; there is no such GPU; or no
            post has a picture, and ``no_images`` is ``refuse``.
    """
    fitted = fitting.fitted_of(tagger)
    labels = () if tagger.boundary else fitted.labels
    posts = splits.unlabelled(dataset, splits.kind_of(types_of(tagger)), labels, images=tagger.reads_images)
    net = fitted.net.to(find_device(tagger.training.device))
    gallery = tagger.gallery(lambda: net)
    (known,) = tagger.gather({"dataset": (dataset, posts)})
    examples = encode(tagger, posts, fitted.pieces, gallery, "dataset", known=known)
    return decode_all(net, posts, examples, collator(fitted.pieces, gallery), bio_names(fitted.labels))


def assemble(
    tagger: NetBackbone,
    encoder: str,
    labels: tuple[str, ...],
    train: Sequence[Post] = (),
    network: Callable[[Any, Sequence[str], Any], Any] | None = None,
    markers: Sequence[str] = (),
) -> tuple[Callable[[], Any], WordPieces]:
    """Return a function that makes the network (new or saved), and its tokenizer; a frozen tower is loaded once.

    Args:
        tagger: the backbone.
        encoder: as the setting of the backbone.
        labels: entity types, or relations.
        train: the posts for the vocabulary of a ``tiny`` encoder.
        network: makes the network from the encoder, BIO tags and the tower (default: the backbone's).
        markers: tokens to add.
    """
    need("torch", extra="models")
    source = Source.find(encoder, tagger.name, labels, train)
    check_record(tagger, source)
    tokenizer = load_tokenizer(source)
    tokenizer.add_tokens(list(markers), special_tokens=True)
    tower_of = tower_loader(tagger, source)

    def build() -> Any:
        model = load_encoder(source)
        if markers and len(tokenizer) > model.config.vocab_size:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        net = (network or tagger.network)(model, bio_names(labels), tower_of())
        source.read_weights(net)
        return net

    tweets = bool(source.record.get(TWEETS)) if source.record else None  # a saved network reads as it was trained
    return build, WordPieces(tokenizer, longest_input(source, tokenizer, tagger.max_length), tweets=tweets)


def tower_loader(tagger: NetBackbone, source: Source) -> Callable[[], Any]:
    """Return a function that loads the tower (None if no pictures are read); a frozen one is loaded once."""
    towers: list[Any] = []
    vision = tagger.vision if tagger.reads_images else None

    def load() -> Any:
        if vision is not None and not (towers and vision.freeze_vision):
            saved = source.folder / checkpoint.TOWER if source.record else None
            towers[:] = [load_tower(vision, view=tagger.view, saved=saved)]
        return towers[0] if towers else None

    return load


def gallery(tagger: NetBackbone, net_of: Callable[[], Any]) -> Any:
    """Return the gallery of posts' pictures; None if no pictures are read.

    A backbone's own gallery has ``read(posts, split)``, which returns a value for each post (falsy without a picture),
    and ``stack``, which returns the inputs of a batch of these values.
    """
    return Gallery(net_of().tower) if tagger.reads_images else None


def check_record(tagger: NetBackbone, source: Source) -> None:
    """Check that a folder to continue from holds a network of the same shape.

    Raises:
        UsageError: it does not.
    """
    if source.record is None:
        return
    saved = source.record["settings"]
    for name in tagger.shape:
        if name in saved and saved[name] != getattr(tagger, name):
            raise UsageError(f"{source.folder} has {name}={saved[name]}: pass the same, found {getattr(tagger, name)}")
    if tagger.reads_images and tagger.vision and saved["vision"]["tower"] != tagger.vision.tower:
        theirs = saved["vision"]["tower"]
        raise UsageError(f"{source.folder} has the tower {theirs}: pass the same, found {tagger.vision.tower}")


def encode(
    tagger: NetBackbone,
    posts: Sequence[Post],
    pieces: WordPieces,
    gallery: Any,
    split: str,
    tags: Sequence[str] = (),
    known: knowledge.Knowledge = MappingProxyType({}),
) -> list[TaggingExample]:
    """Return posts as examples, with labels if tags are given; words cut off are counted in a warning.

    Raises:
        UsageError: no post has a picture, and ``no_images`` is ``refuse``.
    """
    ids = {tag: i for i, tag in enumerate(tags)}
    examples = []
    cut: list[int] = []
    for post, keys in zip(posts, read_pictures(tagger, posts, gallery, split), strict=True):
        read = pieces.encode(post.tokens)
        input_ids, first = knowledge.append(read, known[post.id], pieces) if post.id in known else read
        labels = [ids[tag] for tag in splits.bio_tags(post)[: len(first)]] if ids else []
        examples.append(TaggingExample(input_ids, first, labels, keys))
        if len(first) < len(post.tokens):
            cut.append(len(post.tokens) - len(first))
    if cut:
        warnings.warn(
            f"{split}: {len(cut)} of {len(posts)} posts are longer than {pieces.limit} subwords: their last words "
            f"({sum(cut)} in all) are not read and count as O",
            stacklevel=3,
        )
    return examples


def read_pictures(tagger: NetBackbone, posts: Sequence[Post], gallery: Any, split: str) -> list[Any]:
    """Return a gallery's value for each post, empty ones without a gallery.

    Raises:
        UsageError: no post has a picture, and ``no_images`` is ``refuse``.
    """
    pictures: list[Any] = gallery.read(posts, split) if gallery else [()] * len(posts)
    if tagger.reads_images and posts and not any(pictures):
        said = f"{split}: none of its {len(posts)} posts has a readable picture, and {tagger.name} reads pictures"
        if tagger.no_images == "refuse":
            raise UsageError(f"{said}: pass no_images='warn' or use_images=False to use the text alone")
        warnings.warn(f"{said}: it uses the text alone", stacklevel=4)
    return pictures


def decode(
    net: Any, posts: Sequence[Post], examples: Sequence[TaggingExample], collate: Collate, tags: Sequence[str]
) -> list[Prediction]:
    """Return the predictions of a network in eval mode."""
    return [found.prediction for found in decode_all(net, posts, examples, collate, tags)]


def decode_all(
    net: Any, posts: Sequence[Post], examples: Sequence[TaggingExample], collate: Collate, tags: Sequence[str]
) -> list[Marginals]:
    """Return the predictions of a network in eval mode, with the probabilities of all tags."""
    import numpy as np

    from hf_mner_aug.backbones.nets import best_tags

    def tag(batch: dict[str, "torch.Tensor"]) -> list[tuple[list[int], np.ndarray]]:
        found, probabilities = best_tags(net, batch)
        n_words = batch["mask"].sum(1).tolist()
        return [
            (ids[:n], p[:n].copy())
            for ids, p, n in zip(found.tolist(), probabilities.cpu().numpy(), n_words, strict=True)
        ]

    readable = [i for i, example in enumerate(examples) if example.first]
    found = run_batches(net, [examples[i] for i in readable], collate, tag)
    tagged = dict(zip(readable, found, strict=True))
    predictions = []
    for i, post in enumerate(posts):
        ids, read = tagged.get(i, ([], np.zeros((0, len(tags)), np.float32)))
        unread = len(post.tokens) - len(ids)
        confidences = [*read[np.arange(len(ids)), ids].tolist(), *[0.0] * unread]
        prediction = splits.read_prediction(post, [*(tags[j] for j in ids), *["O"] * unread], confidences)
        predictions.append(Marginals(prediction, tuple(tags), np.pad(read, ((0, unread), (0, 0)))))
    return predictions


def weights_of(examples: Sequence[Any]) -> dict[str, "torch.Tensor"]:
    """Return the weights [batch] of examples, as an input of a network; nothing if they have none."""
    import torch

    if not examples or examples[0].weight is None:
        return {}
    return {"weights": torch.tensor([example.weight for example in examples])}


def collator(pieces: WordPieces, gallery: Any) -> Collate:
    """Return a function that makes a padded batch of examples."""

    def collate(examples: Sequence[TaggingExample]) -> dict[str, "torch.Tensor"]:
        ids, attention = pad([example.input_ids for example in examples], pieces.pad_id)
        first, mask = pad([example.first for example in examples])
        batch = {"input_ids": ids, "attention_mask": attention.long(), "first": first, "mask": mask}
        if examples[0].labels:
            batch["labels"], _ = pad([example.labels for example in examples])
        batch |= weights_of(examples)
        if gallery:
            batch |= gallery.stack([example.pictures for example in examples])
        return batch

    return collate
