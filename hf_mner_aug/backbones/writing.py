"""The shared code of backbones that write entities and ground them: training, prediction, regions as input.

An encoder-decoder reads the words of a post and regions of its picture, and writes an answer, step by step; a
``Language`` says what the steps mean. The functions here and in ``fitting`` are methods of such backbones, which follow
``WritingBackbone``.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from hf_mner_aug.backbones import Prediction, fitting, splits, tagging, types_of
from hf_mner_aug.backbones.answers import Language, collator, decode, encode
from hf_mner_aug.backbones.encoder import TWEETS, Source, WordPieces, load_config, load_encoder, load_tokenizer
from hf_mner_aug.exceptions import Corrupt, UsageError
from hf_mner_aug.metrics.grounding import score_grounded
from hf_mner_aug.models.device import find_device
from hf_mner_aug.models.vision import Gallery
from hf_mner_aug.models.vision.objects import CROPS
from hf_mner_aug.models.vision.regions import Crops, Regions, open_regions
from hf_mner_aug.need import need
from hf_mner_aug.schema import Post
from hf_mner_aug.untrusted.shapes import checked


class WritingBackbone(fitting.NetBackbone, Protocol):
    """A backbone with an encoder-decoder, which has ``write`` and, as ``encoder``, a model of transformers."""

    grounds: ClassVar[bool]  # entities get boxes
    kinds: ClassVar[tuple[str, ...]]  # model types of encoders that it takes
    model_class: ClassVar[str]  # of transformers
    markers: ClassVar[tuple[str, ...]]  # tokens to add
    regions_first: ClassVar[bool]  # before the words; otherwise after them

    @property
    def regions(self) -> str:
        """The source of regions."""
        ...

    @property
    def most_regions(self) -> int:
        """The maximum number of regions of a picture."""
        ...

    def language(self, pieces: WordPieces, types: Sequence[str], fine: Sequence[str]) -> Language:
        """Return the language of answers."""
        ...

    def tiny_config(self, tokenizer: Any) -> Any:
        """Return the configuration of a small encoder-decoder without weights."""
        ...

    def vocabulary(self, types: Sequence[str], fine: Sequence[str]) -> list[Post]:
        """Return posts with the words that answers have beside those of posts."""
        ...


W = TypeVar("W", bound=WritingBackbone)


def fit(backbone: W, train: Any, validation: Any = None) -> W:
    """Return a fitted copy with the state of the best F1 on validation (without validation, the last state).

    It is the F1 of words, type and region if the backbone grounds entities, else of words and type.

    Raises:
        MissingExtra: torch or transformers is not installed.
        UsageError: a split is empty or has other columns, train has no entity, or no fine type where these are asked
            for, there is no such encoder, tower, source of regions or GPU, or the folder to continue from has other
            types; or no post has a picture, and ``no_images`` is ``refuse``.
        DataError: a file of regions is damaged or does not fit its picture.
    """
    settings = backbone.training
    data = splits.entity_splits(
        train, validation, boundary=backbone.boundary, images=backbone.reads_images, weight=settings.weight
    )
    device = find_device(settings.device)
    build, pieces = backbone.assemble(backbone.encoder, data.labels, data.train)
    regions = backbone.gallery(lambda: build().to(device))
    fine = fine_types(data.train)
    if types_of(backbone) == "fine" and not fine:
        raise UsageError("train: types=fine, but no entity has a fine type: leave it out")
    language = backbone.language(pieces, data.labels, fine)
    encoded = encode(backbone, data.train, pieces, regions, "train", language)
    weights = data.weights or [None] * len(encoded)
    examples = [e._replace(weight=weight) for e, weight in zip(encoded, weights, strict=True) if e.first]
    if not examples:
        raise UsageError(f"train: the first word of every post is longer than {pieces.limit} subwords")
    validation_examples = encode(backbone, data.validation, pieces, regions, "validation")
    collate = collator(pieces, regions)

    def score(net: Any) -> float:
        found = decode(backbone, net, data.validation, validation_examples, collate, language)
        posts = splits.as_fine(data.validation) if types_of(backbone) == "fine" else data.validation
        if not backbone.grounds:
            return splits.entity_score(found, posts).f1
        gold = [post.entities for post in posts]
        return score_grounded([prediction.entities() for prediction in found], gold).gmner.micro.f1

    return fitting.learn(backbone, build, pieces, data.labels, examples, collate, score if data.validation else None)


def predict(backbone: WritingBackbone, dataset: Any) -> list[Prediction]:
    """Return the spans of each post, with their boxes; a warning counts parts of answers that say nothing of a post.

    Raises:
        NotFitted: the backbone was not fitted.
        UsageError: the dataset lacks a column, or has types that the model does not know; there is no such GPU or
            source of regions, or its features have another length; or no post has a picture, and ``no_images`` is
            ``refuse``.
        DataError: a file of regions is damaged or does not fit its picture.
    """
    fitted = fitting.fitted_of(backbone)
    posts = splits.unlabelled(dataset, "type", fitted.labels, images=backbone.reads_images)
    net = fitted.net.to(find_device(backbone.training.device))
    regions: Regions | None = backbone.gallery(lambda: net)
    if regions and regions.channels != net.channels:
        raise UsageError(
            f"regions={backbone.regions} have features of {regions.channels} numbers, the regions that this model was "
            f"trained with have {net.channels}: take the same detector or files"
        )
    language = backbone.language(fitted.pieces, fitted.labels, net.encoder.config.fine_types)
    examples = encode(backbone, posts, fitted.pieces, regions, "dataset")
    found = decode(backbone, net, posts, examples, collator(fitted.pieces, regions), language)
    if lost := [prediction for prediction in found if prediction.unmapped]:
        warnings.warn(
            f"dataset: {sum(prediction.unmapped for prediction in lost)} parts of the answers for {len(lost)} of "
            f"{len(posts)} posts name no free words of the post, or no type, and are left out (the first: post "
            f"{lost[0].id})",
            stacklevel=3,
        )
    return found


def fine_types(posts: Sequence[Post]) -> tuple[str, ...]:
    """Return the fine types of posts' entities."""
    return tuple(sorted({entity.fine for post in posts for entity in post.entities if entity.fine is not None}))


def assemble(
    backbone: WritingBackbone, encoder: str, labels: tuple[str, ...], train: Sequence[Post] = ()
) -> tuple[Callable[[], Any], WordPieces]:
    """Return a function that makes the network (new or saved), and its tokenizer; a frozen tower is loaded once.

    Raises:
        UsageError: the encoder is not of a kind that the backbone takes, or a folder to continue from has other types.
        Corrupt: the folder is damaged.
    """
    need("torch", extra="models")
    fine = fine_types(train)
    source = Source.find(encoder, backbone.name, labels, [*train, *backbone.vocabulary(labels, fine)])
    tagging.check_record(backbone, source)
    tokenizer = load_tokenizer(source)
    tokenizer.add_tokens(list(backbone.markers), special_tokens=True)
    if source.tiny:
        source = Source(source.encoder, source.folder, None, (tokenizer, backbone.tiny_config(tokenizer)))
    config = load_config(source)
    if config.model_type not in backbone.kinds:
        raise UsageError(
            f"{backbone.name}: encoder {encoder!r} is a {config.model_type}, expected a {' or '.join(backbone.kinds)}"
        )
    positions = getattr(config, "max_position_embeddings", None)  # T5 has no maximum
    if positions and positions < getattr(backbone, "most_steps", 0):
        raise UsageError(f"{backbone.name}: encoder {encoder!r} writes at most {positions} subwords: lower most_steps")
    dropout = "dropout" if hasattr(config, "dropout") else "dropout_rate"  # of BART and of T5
    changes: dict[str, Any] = {dropout: backbone.dropout, "fine_types": list(fine), "region_channels": 0}
    if source.record:
        saved = {name: getattr(config, name, None) for name in ("fine_types", "region_channels")}
        changes |= _read_saved(saved, str(source.encoder))
        if train and changes["fine_types"] != list(fine):
            theirs, ours = (", ".join(names) or "none" for names in (changes["fine_types"], fine))
            raise UsageError(f"{source.folder} was trained on the fine types {theirs}, train has {ours}")
    elif backbone.reads_images and backbone.regions != CROPS:
        changes["region_channels"] = _featured(backbone).channels
    cropped = backbone.reads_images and backbone.regions == CROPS
    tower_of = tagging.tower_loader(backbone, source) if cropped else lambda: None

    def build() -> Any:
        model = load_encoder(source, backbone.model_class, changes)
        if len(tokenizer) > model.config.vocab_size:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        net = backbone.network(model, labels, tower_of())
        source.read_weights(net)
        return net

    tweets = bool(source.record.get(TWEETS)) if source.record else None
    room = positions - backbone.most_regions if positions else backbone.max_length
    limit = min(backbone.max_length, tokenizer.model_max_length, room)
    return build, WordPieces(tokenizer, limit, tweets=tweets)


def _read_saved(found: dict[str, Any], where: str) -> dict[str, Any]:
    """Return what the configuration of a saved network says of its fine types and regions, checked."""
    shapes = {"fine_types": list[str], "region_channels": int}
    return {
        name: checked(found[name], shape, f"{where}: {name}", error=Corrupt, advice="fit and save again")
        for name, shape in shapes.items()
    }


def _featured(backbone: WritingBackbone) -> Regions:
    return open_regions(backbone.regions, most=backbone.most_regions, device=backbone.training.device)


def gallery(backbone: WritingBackbone, net_of: Callable[[], Any]) -> Regions | None:
    """Return the reader of regions; None in the text-only ablation."""
    if not backbone.reads_images:
        return None
    if backbone.regions == CROPS:
        return Crops(Gallery(net_of().tower), backbone.most_regions)
    return _featured(backbone)
