"""Relations by logistic regression over features of words: trains in seconds on a CPU, without pretrained weights.

Kambhatla 2004 (a maximum entropy model), of whose features those of words are taken: the words of head and tail, their
last words and shapes, the words beside and between them, how far apart they are and which comes first; and all other
words of the post. Deviates: without entity types and parse trees, which posts do not have. L-BFGS from zero, so equal
input gives an equal model.
"""

import functools
import io
import itertools
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self, TypedDict

from hf_mner_aug.backbones import Prediction, ScoredRelation, checkpoint, splits
from hf_mner_aug.backbones.crf import squeezed, word_shape
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.schema import Post
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.shapes import checked
from hf_mner_aug.values import Positive, Range, check_ranges

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array

WEIGHTS = "model.npz"
BESIDE = 2  # words before and after head and tail that give features


class Names(TypedDict):
    """The names of a saved model's features and relations."""

    features: list[str]
    relations: list[str]


class Model(NamedTuple):
    """The features by name with their columns, the relations, and the weights of both."""

    columns: dict[str, int]
    relations: tuple[str, ...]
    weights: "np.ndarray"  # [n_relations, n_features]
    bias: "np.ndarray"  # [n_relations]


def pair_features(tokens: Sequence[str], head: tuple[int, int], tail: tuple[int, int]) -> set[str]:
    """Return the features of a head and a tail in a post (tokens: [n_words]; spans ``[start, end)``)."""
    lower = [token.lower() for token in tokens]
    first, second = sorted((head, tail))
    order = "nested" if second[0] < first[1] else "head first" if first == head else "tail first"
    between = lower[first[1] : second[0]]
    found = {f"order={order}", f"apart={len(between).bit_length()}"}
    for side, (start, end) in (("head", head), ("tail", tail)):
        found |= {f"{side}={' '.join(lower[start:end])}", f"{side}:last={lower[end - 1]}"}
        found |= {f"{side}:word={word}" for word in lower[start:end]}
        found |= {f"{side}:shape={squeezed(word_shape(token))}" for token in tokens[start:end]}
        for n in range(1, BESIDE + 1):
            found |= {f"{side}:before={' '.join(lower[max(0, start - n) : start])}"}
            found |= {f"{side}:after={' '.join(lower[end : end + n])}"}
    found |= {f"between={word}" for word in between}
    found |= {f"{order}:between={word}" for word in between}
    found |= {f"{order}:between={one} {other}" for one, other in itertools.pairwise(between)}
    inside = {*range(*head), *range(*tail)}
    return found | {f"word={word}" for i, word in enumerate(lower) if i not in inside}


@dataclass(frozen=True, kw_only=True)
class RelationFeatures:
    """Logistic regression over features of head, tail and the words around them.

    Relations that are not in train are never predicted. ``seed`` has no effect: training draws no random number.

    Args:
        l2: the weight of the L2 penalty.
        iterations: the maximum number of L-BFGS iterations.
        weight: a column of train with the weight of each post's likelihood, 0 to 10; null is 1.
    """

    name: ClassVar[str] = "relation_features"
    task: ClassVar[str] = "relations"
    seedless: ClassVar[bool] = True
    boundary: ClassVar[bool] = False
    reads_images: ClassVar[bool] = False
    training: ClassVar[None] = None

    l2: Annotated[float, Range(0, ends="()")] = 0.3
    iterations: Positive = 100
    weight: str | None = None
    none: str = "None"
    seed: int = 0
    labels: tuple[str, ...] = field(default=(), repr=False)
    model: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_ranges(self, self.name)

    @property
    def training_note(self) -> str:
        """How each cell of a study is trained, for its report."""
        return (
            f"Every cell has at most {self.iterations} iterations of L-BFGS over its whole train split; training has a "
            "single final state, so validation selects nothing. With more posts, repeated ones included, the penalty "
            "weighs less: this is what oversampling gains."
        )

    def fit(self, train: Any, validation: Any = None) -> Self:
        """Return a fitted copy; validation is only checked, since training has a single final state.

        Raises:
            UsageError: a split is empty or has other columns, or train has one relation only.
            DataError: a post has no relation, head and tail do not fit its words, or a weight is not a number from 0
                to 10.
        """
        data = splits.relation_splits(train, validation, weight=self.weight)
        weights = data.weights or (1.0,) * len(data.train)
        weighed = [(post, weight) for post, weight in zip(data.train, weights, strict=True) if weight]
        model = _learn(*zip(*weighed, strict=True), l2=self.l2, iterations=self.iterations)
        return replace(self, model=_pack(model), labels=data.labels)

    def predict(self, dataset: Any) -> list[Prediction]:
        """Return the relation of each post, with its probability.

        Raises:
            NotFitted: the backbone was not fitted.
            UsageError: the dataset lacks a column, or has relations that the model does not know.
            DataError: head and tail do not fit the words of a post.
        """
        from scipy.special import softmax

        model = _unpack(self._fitted())
        posts = splits.unlabelled(dataset, "relation", self.labels)
        if not posts:
            return []
        scores = _matrix([_features(post) for post in posts], model.columns) @ model.weights.T + model.bias
        best = scores.argmax(axis=1)
        certain = softmax(scores, axis=1).max(axis=1)
        return [
            Prediction(post.id, relation=ScoredRelation(model.relations[i], confidence))
            for post, i, confidence in zip(posts, best.tolist(), certain.tolist(), strict=True)
        ]

    def save(self, folder: str | Path) -> None:
        """Write the model and the settings into a folder.

        Raises:
            NotFitted: the backbone was not fitted.
        """
        artifacts.write_atomically(Path(folder) / WEIGHTS, self._fitted())
        settings = asdict(self)
        del settings["model"]
        checkpoint.write(Path(folder), self.name, WEIGHTS, {"labels": settings.pop("labels"), "settings": settings})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder.

        Raises:
            UsageError: there is none, or one of another kind.
            Corrupt: a file is damaged.
        """
        record = checkpoint.read(Path(folder), cls.name)
        model = (Path(folder) / WEIGHTS).read_bytes()
        _unpack(model)
        settings = checkpoint.settings(cls, record, Path(folder))
        return cls(**{**settings, "model": model, "labels": tuple(record["labels"])})

    def _fitted(self) -> bytes:
        if self.model is None:
            raise checkpoint.not_fitted(self.name)
        return self.model


# ---------------------------------------------------------------- inside


def _features(post: Post) -> set[str]:
    """Return the features of a post.

    Raises:
        DataError: head or tail does not fit its words.
    """
    relation = post.relation
    assert relation is not None, "splits refuses posts without a relation"
    for start, end in (relation.head, relation.tail):
        if not 0 <= start < end <= len(post.tokens):
            raise DataError(f"post {post.id}: span [{start}, {end}) does not fit {len(post.tokens)} words")
    return pair_features(post.tokens, relation.head, relation.tail)


def _matrix(rows: Sequence[set[str]], columns: dict[str, int]) -> "csr_array":
    """Return features as a matrix of 0 and 1 [n_posts, n_features]; unknown ones are left out."""
    import numpy as np
    from scipy.sparse import csr_array

    indices = [sorted(columns[name] for name in row if name in columns) for row in rows]
    ends = np.cumsum([0, *map(len, indices)])
    flat = np.array([i for row in indices for i in row], dtype=np.int64)
    return csr_array((np.ones(len(flat)), flat, ends), shape=(len(rows), len(columns)))


def _learn(posts: Sequence[Post], weights: Sequence[float], *, l2: float, iterations: int) -> Model:
    """Return the model of posts and their weights [n_posts].

    Raises:
        UsageError: the posts have one relation only.
    """
    import warnings

    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    relations = [post.relation.type for post in posts if post.relation]
    if len(set(relations)) < 2:
        raise UsageError(f"train: every post has the relation {relations[0]}: there is nothing to learn")
    rows = [_features(post) for post in posts]
    columns = {name: i for i, name in enumerate(sorted(set().union(*rows)))}
    learner = LogisticRegression(C=1 / l2, max_iter=iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # iterations is a limit that the user sets
        learner.fit(_matrix(rows, columns), relations, sample_weight=np.array(weights))
    weight, bias = learner.coef_, learner.intercept_
    if len(weight) == 1:  # of two relations there are the weights of the second alone: a sigmoid
        weight, bias = np.vstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2
    return Model(columns, tuple(learner.classes_.tolist()), weight, bias)


def _pack(model: Model) -> bytes:
    """Return a model as the bytes of an NPZ file, which are equal for equal models."""
    import numpy as np

    buffer = io.BytesIO()
    names = json.dumps({"features": [*model.columns], "relations": model.relations}).encode()
    weights, bias = (array.astype(np.float32) for array in (model.weights, model.bias))
    np.savez(buffer, names=np.frombuffer(names, np.uint8), weights=weights, bias=bias)
    return buffer.getvalue()


@functools.lru_cache(maxsize=4)
def _unpack(packed: bytes) -> Model:
    """Return a model from its bytes.

    Raises:
        Corrupt: they are not those of a model.
    """
    import numpy as np

    again = "fit and save again"
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            names, weights, bias = (arrays[name] for name in ("names", "weights", "bias"))
        listed = json.loads(names.tobytes())
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise Corrupt(f"{WEIGHTS}: expected the arrays of relation_features: {again}") from error
    known: Names = checked(listed, Names, WEIGHTS, error=Corrupt, advice=again)
    n_relations, n_features = len(known["relations"]), len(known["features"])
    for found, expected in ((weights, (n_relations, n_features)), (bias, (n_relations,))):
        if found.dtype != np.float32 or found.shape != expected or not np.isfinite(found).all():
            raise Corrupt(f"{WEIGHTS}: expected numbers {expected}, found {found.dtype} {found.shape}: {again}")
    return Model({name: i for i, name in enumerate(known["features"])}, tuple(known["relations"]), weights, bias)
