"""Mining of a backbone's errors: out of fold, over several seeds, guarded against label noise.

Liu et al. 2026 (Memory-Guided Hard Data Augmentation), of which only the abstract is public: K-fold cross-validation
finds the posts that are hard for one model. Decided here: posts with the same text or picture share a fold; an error
counts if at least half of the seeds make it; if every backbone and seed confidently contradicts gold in the same way,
gold is suspected instead. A missed entity is suspected only if train also has its words without a label, since models
are confidently wrong on unseen words. Predictions are kept by fold in ``mining/`` of the cache folder, so interrupted
mining continues with the missing folds.
"""

import hashlib
import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from hf_mner_aug.backbones import Prediction, ScoredSpan
from hf_mner_aug.backbones.settings import fit_named, parse_backbone
from hf_mner_aug.draw import Draw
from hf_mner_aug.elsewhere import call_all
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.metrics.span_errors import Error, find_errors, model_specific
from hf_mner_aug.models.matching.pairs import group_by_keys
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.posts.lexicon import entity_key
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.schema import Post, canonical_json
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.shapes import read_json

Hard = Literal["half", "any"]
DIGITS = 4  # of confidences
KeptPrediction = tuple[str, list[tuple[int, int, str, float]], list[float]]  # a post's id, spans, words' confidences
PLAIN = 2  # occurrences without a label from which a missed entity of the same words is suspicious


@dataclass(frozen=True)
class Mined:
    """The result of mining: hard failures, suspected label errors, and the share of errors that are the model's own.

    ``specific`` holds the shares of hard failures on which at least one reference is right, and on which all are; it is
    empty without references.
    """

    failures: tuple[Failure, ...]
    suspects: tuple[Failure, ...]
    specific: Mapping[str, float | None]
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- folds


def share_out(posts: Sequence[Post], folds: int, seed: int) -> list[int]:
    """Return the fold of each post [n_posts]; posts of one normalised text or one picture share a fold.

    The largest groups go first, each to the smallest fold; which of equal groups comes first depends on the seed and
    the posts' ids, not on their order.

    Raises:
        UsageError: there are more folds than groups of posts.
    """
    groups = _groups(posts)
    if not 2 <= folds <= len(groups):
        raise UsageError(
            f"mining: folds={folds} for {len(posts)} posts of {len(groups)} different texts and pictures: "
            + (f"expected 2 to {len(groups)} folds" if len(groups) > 1 else "expected posts of at least 2")
        )

    def key(members: list[int]) -> tuple[int, str]:
        name = min(posts[i].id for i in members)
        return -len(members), hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()

    sizes = [0] * folds
    found = [0] * len(posts)
    for members in sorted(groups, key=key):
        fold = sizes.index(min(sizes))
        sizes[fold] += len(members)
        for i in members:
            found[i] = fold
    return found


def _groups(posts: Sequence[Post]) -> list[list[int]]:
    """Return the indices of posts that share a text or a picture, group by group."""
    keys = [
        [("text", text_key(post.tokens)), *(("image", image_digest(image)) for image in post.images)] for post in posts
    ]
    groups: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(group_by_keys([[key for key in of_post if key[1]] for of_post in keys])):
        groups[int(group)].append(i)
    return list(groups.values())


class Fold(NamedTuple):
    """Posts that a model trained on all others predicts: a backbone, a seed, and their indices."""

    spec: str
    seed: int
    held: tuple[int, ...]

    def parts(self, posts: Sequence[Post]) -> tuple[list[Post], list[Post]]:
        """Return the posts to train on, and those to predict."""
        held = {*self.held}
        return [post for i, post in enumerate(posts) if i not in held], [posts[i] for i in self.held]

    def path(self, posts: Sequence[Post]) -> Path:
        """Return the file of the predictions."""
        return _kept(self.spec, self.seed, *self.parts(posts))


def predict_folds(posts: Sequence[Post], asked: Mapping[tuple[str, int], Sequence[int]]) -> list[list[Prediction]]:
    """Return the predictions for all posts, each by a model trained on the other folds; for each that is asked for.

    Args:
        posts: with words; entities are gold.
        asked: the fold of each post, by backbone and seed. Folds are trained by the engine's workers, if there are any.

    Raises:
        UnknownName: there is no such backbone or setting.
        UsageError: all posts with an entity are in one fold.
    """
    folds = {key: _folds(posts, *key, fold_of) for key, fold_of in asked.items()}
    paths = {fold: fold.path(posts) for of_key in folds.values() for fold in of_key}
    kept = {fold: _read(path) for fold, path in paths.items()}
    missing = {paths[fold].stem: fold for fold, predictions in kept.items() if predictions is None}
    seen = any(parse_backbone(fold.spec).reads_images for fold in missing.values())
    shared = posts if seen else [replace(post, images=()) for post in posts]
    for name, predictions in call_all(_predict, shared, missing):
        path = paths[missing[name]]
        artifacts.write_atomically(path, json.dumps(predictions).encode())
        kept[missing[name]] = _read(path)
    found = []
    for of_key in folds.values():
        by_post: dict[int, Prediction] = {}
        for fold in of_key:
            predicted = kept[fold]
            assert predicted is not None
            by_post.update(zip(fold.held, predicted, strict=True))
        found.append([by_post[i] for i in range(len(posts))])
    return found


def _folds(posts: Sequence[Post], spec: str, seed: int, fold_of: Sequence[int]) -> list[Fold]:
    parse_backbone(spec)  # raises
    names = sorted(set(fold_of))
    folds = [Fold(spec, seed, tuple(i for i, f in enumerate(fold_of) if f == name)) for name in names]
    if any(not any(post.entities for post in fold.parts(posts)[0]) for fold in folds):
        raise UsageError(
            f"mining: all posts with an entity are in one of the {len(names)} folds: take more folds, or more posts"
        )
    return folds


def _predict(posts: Sequence[Post], fold: Fold) -> list[KeptPrediction]:
    train, held = fold.parts(posts)
    backbone = replace(parse_backbone(fold.spec), seed=fold.seed)
    return [_plain(prediction) for prediction in fit_named(backbone, train).predict(held)]


def _kept(spec: str, seed: int, train: Sequence[Post], held: Sequence[Post]) -> Path:
    """Return the file of a backbone's predictions for one fold, named by everything they depend on."""
    posts = [
        [(post.tokens, post.plain_spans(), [*map(image_digest, post.images)]) for post in part]
        for part in (train, held)
    ]
    key = hashlib.sha256(canonical_json([spec, seed, posts, [post.id for post in held]]).encode()).hexdigest()
    return artifacts.cache_folder() / "mining" / f"{key}.json"


def _read(path: Path) -> list[Prediction] | None:
    """Return the predictions in a file; None if it is missing or damaged."""
    try:
        rows = read_json(path, list[KeptPrediction], halves=True)
    except (FileNotFoundError, DataError):
        return None
    return [Prediction(name, tuple(ScoredSpan(*s) for s in spans), tuple(words)) for name, spans, words in rows]


def _plain(prediction: Prediction) -> KeptPrediction:
    spans = [(s.start, s.end, s.type, round(float(s.confidence), DIGITS)) for s in prediction.spans]
    return prediction.id, spans, [round(float(c), DIGITS) for c in prediction.word_confidences]


# ---------------------------------------------------------------- errors over seeds


def hard_errors(
    runs: Sequence[Sequence[Prediction]], posts: Sequence[Post], hard: Hard = "half"
) -> list[tuple[Error, float, float]]:
    """Return the errors that enough of the runs make, each with its share of them and its mean confidence.

    Args:
        runs: predictions by seed [n_seeds][n_posts].
        posts: the gold posts [n_posts].
        hard: enough is ``half`` of the runs, or ``any`` of them.

    Of several errors on the same entity the most frequent one counts.
    """
    gold = [post.plain_spans() for post in posts]
    found: dict[tuple[int, bool, tuple[int, int]], list[tuple[Error, float]]] = defaultdict(list)
    for run in runs:
        for error in find_errors([prediction.plain_spans() for prediction in run], gold):
            place = (error.post, error.gold is not None, error.words)
            found[place].append((error, confidence_of(error, run[error.post])))
    found_hard = []
    for _, seen in sorted(found.items()):
        if hard == "half" and 2 * len(seen) < len(runs):
            continue
        error, count = Counter(error for error, _ in seen).most_common(1)[0]
        confidences = [confidence for other, confidence in seen if other == error]
        found_hard.append((error, len(seen) / len(runs), round(sum(confidences) / count, DIGITS)))
    return found_hard


def confidence_of(error: Error, prediction: Prediction) -> float:
    """Return the model's confidence in an error: the predicted span's, or the lowest of the missed words'."""
    if error.predicted is None:
        start, end = error.words
        return min(prediction.word_confidences[start:end], default=0.0)
    return next(span.confidence for span in prediction.spans if span[:3] == error.predicted)


def agree_against_gold(error: Error, runs: Iterable[Sequence[Prediction]], confidence: float) -> bool:
    """Return whether every run of every backbone makes the same error with at least this confidence."""
    start, end = error.words
    for run in runs:
        prediction = run[error.post]
        there = [span for span in prediction.spans if span.start < end and start < span.end]
        same = [span for span in there if span[:3] == error.predicted]
        if error.predicted is None and not there:
            sure = min(prediction.word_confidences[start:end], default=0.0)
        elif error.predicted is not None and len(same) == len(there) == 1:
            sure = same[0].confidence
        else:
            return False
        if sure < confidence:
            return False
    return True


# ---------------------------------------------------------------- mining


def mine(
    posts: Sequence[Post],
    *,
    target: str = "crf",
    references: Sequence[str] = (),
    folds: int = 5,
    seeds: int = 3,
    seed: int = 0,
    guard: float = 0.9,
    least: Hard = "half",
) -> Mined:
    """Return the errors of a target backbone on posts that it was not trained on.

    Args:
        posts: with words; entities are gold.
        target: the backbone whose errors count, as ``crf`` or ``token_classifier:encoder=DIR``.
        references: other backbones, which show which errors are the target's own.
        folds: K.
        seeds: the number of repetitions, each with other folds and another model.
        seed: the first seed.
        guard: the least confidence of all backbones for gold to be suspected.
        least: how many of the seeds must make an error, as in ``hard_errors``.

    Raises:
        UnknownName: there is no such backbone or setting.
        UsageError: there are more folds than groups of posts, or all posts with an entity are in one fold.
    """
    specs = list(dict.fromkeys((target, *references)))
    fold_of = {s: share_out(posts, folds, s) for s in range(seed, seed + seeds)}
    notes = [note for of_seed in fold_of.values() for note in _lone_types(posts, of_seed)]
    asked = {(spec, s): of_seed for spec in specs for s, of_seed in fold_of.items()}
    every: dict[str, list[list[Prediction]]] = {spec: [] for spec in specs}
    for (spec, _), predictions in zip(asked, predict_folds(posts, asked), strict=True):
        every[spec].append(predictions)
    hard = {spec: hard_errors(runs, posts, least) for spec, runs in every.items()}
    alike = [error for error, _, _ in hard[target]]
    specific = model_specific(alike, {spec: [error for error, _, _ in hard[spec]] for spec in references})
    plain = Counter(post.tokens[i].casefold() for post in posts for i in post.outside())
    failures: list[Failure] = []
    suspects: list[Failure] = []
    for error, share, confidence in hard[target]:
        words = posts[error.post].tokens[slice(*error.words)]
        known = error.predicted is not None or all(plain[word.casefold()] >= PLAIN for word in words)
        doubted = known and agree_against_gold(error, (run for runs in every.values() for run in runs), guard)
        (suspects if doubted else failures).append(_failure(posts[error.post], error, share, confidence))
    if not failures:
        notes.append(f"{target} makes no error on held-out posts: nothing is hard")
    notes = list(dict.fromkeys(notes))
    for note in notes:
        warnings.warn(f"mining: {note}", stacklevel=2)
    return Mined(tuple(failures), tuple(suspects), specific if references else {}, tuple(notes))


def _failure(post: Post, error: Error, share: float, confidence: float) -> Failure:
    entities = tuple((e.start, e.end, entity_key(e)) for e in post.entities)
    return Failure(
        post.id, tuple(post.tokens), entities, error.kind, error.gold, error.predicted, confidence, round(share, DIGITS)
    )


def _lone_types(posts: Sequence[Post], fold_of: Sequence[int]) -> list[str]:
    """Return a note for each type that occurs in one fold only, which no model can have learned there."""
    where = defaultdict(set)
    for post, fold in zip(posts, fold_of, strict=True):
        for entity in post.entities:
            where[entity.type].add(fold)
    return [
        f"all posts with {kind} are in one fold: no model of the other folds can have learned it; take more folds"
        for kind, found in sorted(where.items())
        if len(found) == 1
    ]


# ---------------------------------------------------------------- beside mining


def similarities(posts: Sequence[Post]) -> dict[str, float]:
    """Return the cosine of each post's text and first picture, out of fold; nothing if there are too few pairs."""
    import numpy as np

    from hf_mner_aug.models.matching.engine import TooFewPairs
    from hf_mner_aug.models.matching.matcher import fit_matcher

    try:
        matcher = fit_matcher(posts)
    except TooFewPairs:
        return {}
    pairs = matcher.train()
    cosines = np.einsum("ij,ij->i", pairs.text.astype("f8"), pairs.image.astype("f8"))
    found = zip(matcher.gallery.names, cosines, strict=True)
    return {name: round(float(cosine), 3) for (name, place), cosine in found if not place and not np.isnan(cosine)}


def random_failures(posts: Sequence[Post], n: int, seed: int) -> list[Failure]:
    """Return one entity of each of n random posts as a missed one: the ablation without mining."""
    stream = Draw(f"random\0{seed}".encode())
    found = []
    for post in stream.sample([post for post in posts if post.entities], n):
        entity = stream.choice(post.entities)
        entities = tuple((e.start, e.end, entity_key(e)) for e in post.entities)
        gold = (entity.start, entity.end, entity.type)
        found.append(Failure(post.id, tuple(post.tokens), entities, "missed", gold, None))
    return found
