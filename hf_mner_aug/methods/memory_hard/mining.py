"""What a backbone gets wrong on posts that it did not learn from: K-fold mining over seeds, guarded against noise.

Liu et al. 2026 (Memory-Guided Hard Data Augmentation), of which only the abstract is public: K-fold cross-validation
finds the posts that are hard for one model. Decided here: folds keep posts of one text or picture together; an error
counts when at least half of the seeds make it; where every backbone and seed says the same against gold, and
confidently, gold is suspected instead. A missed entity is suspected only where train writes its words without a label,
too: of words that it never saw, a model is wrong with confidence. What a fold predicts is kept in ``mining/`` of the
cache folder, so mining that was killed goes on with the folds that are missing.
"""

import hashlib
import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_mner_aug.backbones import Prediction, ScoredSpan
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.metrics.span_errors import Error, find_errors, model_specific
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.posts.lexicon import entity_key
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.schema import Post, canonical_json
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.shapes import read_json

DIGITS = 4  # of confidences
PLAIN = 2  # how often words without a label make a missed entity of the same words suspicious


@dataclass(frozen=True)
class Mined:
    """What mining found: hard failures, suspected label errors, and how many errors are the model's own.

    ``specific`` holds, where there are references, the share of hard failures where at least one reference is right
    and where all of them are.
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
    parents = list(range(len(posts)))

    def root(i: int) -> int:
        while parents[i] != i:
            i = parents[i] = parents[parents[i]]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, post in enumerate(posts):
        keys = [("text", text_key(post.tokens)), *(("image", d) for d in map(image_digest, post.images) if d)]
        for key in keys:
            if key[1]:
                parents[root(i)] = root(first.setdefault(key, i))
    groups = defaultdict(list)
    for i in range(len(posts)):
        groups[root(i)].append(i)
    return list(groups.values())


def predict_folds(posts: Sequence[Post], spec: str, fold_of: Sequence[int], seed: int) -> list[Prediction]:
    """Return a backbone's prediction for each post, by a model that learnt from the other folds.

    Raises:
        UnknownName: there is no such backbone or setting.
        UsageError: without one fold there is no entity to learn from.
    """
    backbone = replace(parse_backbone(spec), seed=seed)
    found: dict[int, Prediction] = {}
    for fold in sorted(set(fold_of)):
        rest = [post for post, f in zip(posts, fold_of, strict=True) if f != fold]
        held = [i for i, f in enumerate(fold_of) if f == fold]
        if not any(post.entities for post in rest):
            raise UsageError(
                f"mining: all posts with an entity are in one of the {len(set(fold_of))} folds: "
                "take more folds, or more posts"
            )
        path = _kept(spec, seed, rest, [posts[i] for i in held])
        predictions = _read(path)
        if predictions is None:
            predictions = backbone.fit(rest).predict([posts[i] for i in held])
            artifacts.write_atomically(path, json.dumps([_plain(p) for p in predictions]).encode())
            predictions = _read(path)
        assert predictions is not None
        found.update(zip(held, predictions, strict=True))
    return [found[i] for i in range(len(posts))]


def _kept(spec: str, seed: int, train: Sequence[Post], held: Sequence[Post]) -> Path:
    """Return the file for what a backbone predicts of one fold, named by all that it depends on."""
    posts = [
        [(post.tokens, post.plain_spans(), [*map(image_digest, post.images)]) for post in part]
        for part in (train, held)
    ]
    key = hashlib.sha256(canonical_json([spec, seed, posts, [post.id for post in held]]).encode()).hexdigest()
    return artifacts.cache_folder() / "mining" / f"{key}.json"


KeptPrediction = tuple[str, list[tuple[int, int, str, float]], list[float]]  # a post's id, spans, words' confidences


def _read(path: Path) -> list[Prediction] | None:
    """Return the predictions that a file holds, None where it is not there or damaged."""
    try:
        rows = read_json(path, list[KeptPrediction], halves=True)
    except (FileNotFoundError, DataError):
        return None
    return [Prediction(name, tuple(ScoredSpan(*s) for s in spans), tuple(words)) for name, spans, words in rows]


def _plain(prediction: Prediction) -> list[Any]:
    spans = [[s.start, s.end, s.type, round(float(s.confidence), DIGITS)] for s in prediction.spans]
    return [prediction.id, spans, [round(float(c), DIGITS) for c in prediction.word_confidences]]


# ---------------------------------------------------------------- errors over seeds


def hard_errors(runs: Sequence[Sequence[Prediction]], posts: Sequence[Post]) -> list[tuple[Error, float, float]]:
    """Return the errors that at least half of some runs make, each with that share and its mean confidence.

    Args:
        runs: predictions by seed [n_seeds][n_posts].
        posts: the gold posts [n_posts].

    An entity that runs get wrong in several ways stands with the most frequent one.
    """
    gold = [post.plain_spans() for post in posts]
    found: dict[tuple[int, bool, tuple[int, int]], list[tuple[Error, float]]] = defaultdict(list)
    for run in runs:
        for error in find_errors([prediction.plain_spans() for prediction in run], gold):
            place = (error.post, error.gold is not None, error.words)
            found[place].append((error, confidence_of(error, run[error.post])))
    hard = []
    for _, seen in sorted(found.items()):
        if 2 * len(seen) < len(runs):
            continue
        error, count = Counter(error for error, _ in seen).most_common(1)[0]
        confidences = [confidence for other, confidence in seen if other == error]
        hard.append((error, len(seen) / len(runs), round(sum(confidences) / count, DIGITS)))
    return hard


def confidence_of(error: Error, prediction: Prediction) -> float:
    """Return how probable the model found what it said: the predicted span's, or the least of the missed words'."""
    if error.predicted is None:
        start, end = error.words
        return min(prediction.word_confidences[start:end], default=0.0)
    return next(span.confidence for span in prediction.spans if span[:3] == error.predicted)


def agree_against_gold(error: Error, runs: Iterable[Sequence[Prediction]], confidence: float) -> bool:
    """Say whether every run, of every backbone, says what the error says, at least that confidently."""
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
) -> Mined:
    """Return what a target backbone gets wrong on posts that it did not learn from.

    Args:
        posts: with words; entities are gold.
        target: the backbone whose errors count, as ``crf`` or ``token_classifier:encoder=DIR``.
        references: backbones to tell the target's own errors from those that all make.
        folds: K.
        seeds: how often; each draws other folds and another model.
        seed: the first seed.
        guard: how confident all must be for gold to be suspected.

    Raises:
        UnknownName: there is no such backbone or setting.
        UsageError: there are more folds than posts to share out, or nothing to learn from.
    """
    every: dict[str, list[list[Prediction]]] = {spec: [] for spec in (target, *references)}
    notes: list[str] = []
    for s in range(seed, seed + seeds):
        fold_of = share_out(posts, folds, s)
        notes += _lone_types(posts, fold_of)
        for spec, runs in every.items():
            runs.append(predict_folds(posts, spec, fold_of, s))
    hard = {spec: hard_errors(runs, posts) for spec, runs in every.items()}
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
        notes.append(f"{target} gets no post wrong that it did not learn from: nothing is hard")
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
    """Return a note for each type of which all posts are in one fold: no model can have learnt it there."""
    where = defaultdict(set)
    for post, fold in zip(posts, fold_of, strict=True):
        for entity in post.entities:
            where[entity.type].add(fold)
    return [
        f"all posts with {kind} are in one fold: what the model says of them is no fault of its own; take more folds"
        for kind, found in sorted(where.items())
        if len(found) == 1
    ]
