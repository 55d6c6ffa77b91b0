"""Posts as input of backbones that write entities, and their answers as predictions."""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hf_mner_aug.backbones import Prediction, ScoredSpan, tagging, types_of
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.sentences import Told, Written
from hf_mner_aug.backbones.training import pad, run_batches
from hf_mner_aug.models.vision.regions import Proposed, Regions, covering
from hf_mner_aug.schema import Post

if TYPE_CHECKING:
    import torch

    from hf_mner_aug.backbones.writing import WritingBackbone

Batch = dict[str, "torch.Tensor"]
IGNORED = -100  # a step of a target that is padding


class Language(Protocol):
    """What the steps of an answer mean."""

    def write(self, post: Post, n_words: int, covered: Sequence[bool]) -> Written:
        """Return the answer for a post of which ``n_words`` are read; ``covered`` says which entities are shown."""
        ...

    def read(
        self, ids: Sequence[int], probabilities: Sequence[float], post: Post, n_words: int
    ) -> tuple[list[Told], int]:
        """Return the entities of an answer [n_steps], in their order, and the number of parts left out."""
        ...


class Example(NamedTuple):
    """A post as input of a network.

    ``input_ids`` have the padding's id in the place of the regions; ``first`` are positions of the words' first
    subwords; ``labels`` are the answer's ids (none when predicting); ``shown_at`` and ``targets`` are, for each entity
    that is shown, the steps that say so and the distribution over regions.
    """

    input_ids: list[int]
    regions_at: int
    first: list[int]
    pictures: Proposed
    labels: list[int]
    shown_at: list[range]
    targets: list[list[float]]
    weight: float | None = None


class Answer(NamedTuple):
    """What a network wrote for a post: ids, their probabilities [n_steps], scores of regions [n_steps, n_regions]."""

    ids: list[int]
    probabilities: list[float]
    regions: Any


def encode(
    backbone: "WritingBackbone",
    posts: Sequence[Post],
    pieces: WordPieces,
    regions: Regions | None,
    split: str,
    language: Language | None = None,
) -> list[Example]:
    """Return posts as examples, with answers in a language; warnings count what does not fit or is not covered.

    Raises:
        UsageError: no post has a picture, and ``no_images`` is ``refuse``.
        DataError: a file of regions is damaged or does not fit its picture.
    """
    examples: list[Example] = []
    hits: list[bool] = []
    cut: list[int] = []
    n_cut_entities = 0
    for post, found in zip(posts, tagging.read_pictures(backbone, posts, regions, split), strict=True):
        proposed = found if isinstance(found, Proposed) else Proposed()
        read = pieces.encode(post.tokens)
        n_regions = len(proposed.boxes)
        at = len(pieces.before) if backbone.regions_first else len(read.input_ids)
        input_ids = [*read.input_ids[:at], *[pieces.pad_id] * n_regions, *read.input_ids[at:]]
        first = [i + n_regions * (i >= at) for i in read.first]
        written, targets = Written([], {}), []
        if language:
            shares = [covering(proposed.boxes, entity.boxes) for entity in post.entities]
            covered = [backbone.grounds and any(share) for share in shares]
            hits += [any(covering(proposed.boxes, [box])) for entity in post.entities for box in entity.boxes]
            written = language.write(post, len(first), covered)
            targets = [shares[i] for i in written.shown_at]
            n_cut_entities += written.n_cut
        shown_at = [*written.shown_at.values()]
        examples.append(Example(input_ids, at, first, proposed, written.ids, shown_at, targets))
        if len(first) < len(post.tokens):
            cut.append(len(post.tokens) - len(first))
    if cut:
        warnings.warn(
            f"{split}: {len(cut)} of {len(posts)} posts are longer than {pieces.limit} subwords: their last words "
            f"({sum(cut)} in all) are not read and count as O",
            stacklevel=3,
        )
    if n_cut_entities:
        warnings.warn(f"{split}: {n_cut_entities} entities do not fit into their post's answer", stacklevel=3)
    if backbone.grounds and backbone.reads_images and not all(hits):
        warnings.warn(
            f"{split}: the regions cover {sum(hits)} of {len(hits)} gold boxes ({sum(hits) / len(hits):.1%}): entities "
            "without a covered box are trained as not in the image, and scored as in it",
            stacklevel=3,
        )
    return examples


def decode(
    backbone: "WritingBackbone",
    net: Any,
    posts: Sequence[Post],
    examples: Sequence[Example],
    collate: Callable[[Sequence[Example]], Batch],
    language: Language,
) -> list[Prediction]:
    """Return the predictions of a network in eval mode."""
    readable = [i for i, example in enumerate(examples) if example.first]
    answers = run_batches(net, [examples[i] for i in readable], collate, lambda batch: write(net, batch))
    written = dict(zip(readable, answers, strict=True))
    return [
        read_answer(backbone, post, examples[i], written[i], language)
        if i in written
        else Prediction(post.id, word_confidences=(0.0,) * len(post.tokens))
        for i, post in enumerate(posts)
    ]


def write(net: Any, batch: Batch) -> list[Answer]:
    """Return the answers of a network for a batch."""
    ids, probabilities, regions = (found.cpu() for found in net.write(**batch))
    return [
        Answer(*row) for row in zip(ids.tolist(), probabilities.tolist(), regions.float().numpy().copy(), strict=True)
    ]


def read_answer(
    backbone: "WritingBackbone", post: Post, example: Example, answer: Answer, language: Language
) -> Prediction:
    """Return the prediction that an answer says; with ``types=fine`` an entity needs a fine type, which is its type.

    Words outside of spans have the lowest probability of all steps, words that are not read 0.
    """
    n_words, n_regions = len(example.first), len(example.pictures.boxes)
    steps = [(id_, p) for id_, p in zip(answer.ids, answer.probabilities, strict=True) if id_ != IGNORED]
    ids, probabilities = [id_ for id_, _ in steps], [p for _, p in steps]
    told, n_lost = language.read(ids, probabilities, post, n_words)
    found = told
    if types_of(backbone) == "fine":
        found = [one._replace(type=one.fine) for one in told if one.fine is not None]
        n_lost += len(told) - len(found)
    words = [min(probabilities)] * n_words + [0.0] * (len(post.tokens) - n_words)
    boxes = []
    for one in found:
        words[one.start : one.end] = [one.confidence] * (one.end - one.start)
        box = None
        if one.shown_at and n_regions:
            scores = answer.regions[one.shown_at.start : one.shown_at.stop, :n_regions].mean(0)
            box = example.pictures.boxes[int(scores.argmax())]
        boxes.append(box)
    return Prediction(
        post.id,
        tuple(ScoredSpan(one.start, one.end, one.type, one.confidence) for one in found),
        tuple(words),
        boxes=tuple(boxes) if backbone.grounds else (),
        fine=tuple(one.fine for one in found) if any(one.fine for one in found) else (),
        unmapped=n_lost,
    )


def collator(pieces: WordPieces, regions: Regions | None) -> Callable[[Sequence[Example]], Batch]:
    """Return a function that makes a padded batch of examples."""

    def collate(examples: Sequence[Example]) -> Batch:
        import torch

        ids, attention = pad([example.input_ids for example in examples], pieces.pad_id)
        slots = torch.zeros(ids.shape, dtype=torch.bool)
        for i, example in enumerate(examples):
            slots[i, example.regions_at : example.regions_at + len(example.pictures.boxes)] = True
        first, _ = pad([example.first for example in examples], -1)
        batch = {"input_ids": ids, "attention_mask": attention.long(), "slots": slots, "first": first}
        if examples[0].labels:
            batch["labels"], _ = pad([example.labels for example in examples], IGNORED)
            batch |= _targets(examples, batch["labels"].shape[1])
        batch |= tagging.weights_of(examples)
        if regions:
            batch |= regions.stack([example.pictures for example in examples])
        return batch

    return collate


def _targets(examples: Sequence[Example], n_steps: int) -> Batch:
    """Return what entities that are shown are to point at; nothing if there are none.

    ``spots`` [batch, n_entities, n_steps] weighs the steps that say that an entity is shown, ``targets`` [batch,
    n_entities, n_regions] are its distribution over regions, all 0 for padding.
    """
    import torch

    most = max(len(example.shown_at) for example in examples)
    if not most:
        return {}
    spots = torch.zeros(len(examples), most, n_steps)
    targets = torch.zeros(len(examples), most, max(len(example.pictures.boxes) for example in examples))
    for i, example in enumerate(examples):
        for j, (steps, shares) in enumerate(zip(example.shown_at, example.targets, strict=True)):
            spots[i, j, steps.start : steps.stop] = 1 / len(steps)
            targets[i, j, : len(shares)] = torch.tensor(shares)
    return {"spots": spots, "targets": targets}
