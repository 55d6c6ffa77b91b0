"""How well a text and an image match: an encoder of both, learnt or given, and triplet losses against pairs of train.

Pairs of train are encoded by a model that has not seen them (three folds), all others by one that has seen all:
in-sample scores would call every pair a match. A pretrained encoder needs no folds.
"""

import functools
import io
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hf_mner_aug import artifacts
from hf_mner_aug.draw import Draw
from hf_mner_aug.errors import UnknownName
from hf_mner_aug.hygiene import image_digest, normalise_text, text_key
from hf_mner_aug.schema import EncodedImage, Post

if TYPE_CHECKING:
    import numpy as np

MARGIN = 0.1
NEGATIVES = 63  # the others of a batch of 64 (Xu et al. 2025)
FOLDS = 3
FEWEST = 4 * FOLDS  # pairs that are worth folds
DIGITS = 6  # of a loss and a cosine: the last bits of a sum hang on the machine


class Encoder(Protocol):
    """What turns texts and pictures into vectors [n, dim] of length one; a picture that cannot be read is NaN."""

    @property
    def arrays(self) -> "Mapping[str, np.ndarray]":
        """All that was learnt, or the name of what was given: ``Engine.load`` makes the same encoder of it."""

    def project(self, features: "np.ndarray") -> "np.ndarray":
        """Return the vectors of what ``Engine.read`` gave."""

    def encode_text(self, texts: Sequence[str]) -> "np.ndarray":
        """Return the vectors of normalised texts."""

    def encode_image(self, images: Sequence[EncodedImage]) -> "np.ndarray":
        """Return the vectors of encoded pictures."""


class Engine(Protocol):
    """A kind of encoder: how it reads pictures, and how it is fitted on texts and what was read [n, n_features]."""

    folds: int

    def read(self, images: Sequence[EncodedImage]) -> "np.ndarray":
        """Return what fitting needs of pictures [n, n_features]; NaN for those that cannot be read."""

    def fit(self, texts: Sequence[str], features: "np.ndarray") -> Encoder:
        """Return an encoder of normalised texts and pictures like these."""

    def load(self, arrays: "Mapping[str, np.ndarray]") -> Encoder:
        """Return the encoder whose ``arrays`` these are."""


class Pair(NamedTuple):
    """A text and one of its post's pictures."""

    post: Post
    place: int

    @property
    def keys(self) -> tuple[str, str]:
        """What another pair has too, if it has the same text or the same picture."""
        return text_key(self.post.tokens), image_digest(self.post.images[self.place]) or ""


class Scored(NamedTuple):
    """The triplet loss of a pair, and the cosine of its vectors."""

    loss: float
    cosine: float


def triplet_loss(
    text: "np.ndarray",
    image: "np.ndarray",
    other_texts: "np.ndarray",
    other_images: "np.ndarray",
    margin: float = MARGIN,
) -> "np.ndarray":
    """Return the loss [n] of pairs against their hardest negatives, in both directions, summed (eq. 1-7).

    Args:
        text: vectors [n, dim] of the texts, of any length.
        image: vectors [n, dim] of the images.
        other_texts: vectors [n, n_negatives, dim] of the negatives of each pair.
        other_images: vectors [n, n_negatives, dim].
        margin: how much better than its hardest negative a pair must be to have no loss.
    """
    import numpy as np

    text, image, other_texts, other_images = map(_normalised, (text, image, other_texts, other_images))
    positive = np.einsum("nd,nd->n", text, image)
    image_to_text = np.einsum("nd,nkd->nk", image, other_texts).max(1, initial=-1.0)
    text_to_image = np.einsum("nd,nkd->nk", text, other_images).max(1, initial=-1.0)
    return np.maximum(0, margin - positive + image_to_text) + np.maximum(0, margin - positive + text_to_image)


@dataclass(frozen=True, kw_only=True)
class Matcher:
    """Encoders, and the pairs of train as they see them.

    ``text`` and ``image`` are vectors [n_encoders, n_pairs, dim]; the last encoder knows all of train, the others each
    all but a fold; ``fold`` [n_pairs] is the encoder that has not seen a pair.
    """

    engine: str
    names: Sequence[tuple[str, int]]
    keys: Sequence[tuple[str, str]]
    fold: "np.ndarray"
    text: "np.ndarray"
    image: "np.ndarray"
    encoder: Encoder | None

    def __len__(self) -> int:
        return len(self.names)

    def score(self, pairs: Sequence[Pair], draws: Sequence[Draw]) -> list[Scored | None]:
        """Return the loss of each pair against 63 pairs of train that its draw takes, and its cosine.

        Negatives have another text and another picture. None: the picture cannot be read, or train had no pair.
        """
        import numpy as np

        rows = [self._row(pair) for pair in pairs]
        new = [i for i, row in enumerate(rows) if row is None]
        vectors = dict(zip(new, self._encode([pairs[i] for i in new]), strict=True))
        scored: list[Scored | None] = []
        for i, (pair, row, draw) in enumerate(zip(pairs, rows, draws, strict=True)):
            model = -1 if row is None else int(self.fold[row])
            text, image = vectors[i] if row is None else (self.text[model, row], self.image[model, row])
            if not len(self) or np.isnan(image).any():
                scored.append(None)
                continue
            chosen = self._negatives(pair.keys, draw)
            others = self.text[model, chosen][None], self.image[model, chosen][None]
            loss = triplet_loss(text[None], image[None], *others)[0]
            cosine = np.dot(text.astype("f8"), image.astype("f8"))
            scored.append(Scored(round(float(loss), DIGITS), round(float(cosine), DIGITS)))
        return scored

    def save(self) -> str:
        """Store the matcher as an artifact and return its digest."""
        import numpy as np

        about = json.dumps({"engine": self.engine, "names": list(self.names), "keys": list(self.keys)})
        own = self.encoder.arrays if self.encoder else {}
        arrays: dict[str, Any] = {f"encoder_{name}": array for name, array in own.items()}
        file = io.BytesIO()
        np.savez(
            file,
            about=np.frombuffer(about.encode(), dtype=np.uint8),
            fold=self.fold,
            text=self.text,
            image=self.image,
            **arrays,
        )
        return artifacts.save(file.getvalue())

    def _row(self, pair: Pair) -> int | None:
        """Return where a pair of train stands; one of its name with another text or picture is none of train."""
        row = self._rows.get((pair.post.id, pair.place))
        return row if row is not None and tuple(self.keys[row]) == pair.keys else None

    @functools.cached_property
    def _rows(self) -> dict[tuple[str, int], int]:
        return {(name, place): i for i, (name, place) in enumerate(self.names)}

    @functools.cached_property
    def _key_arrays(self) -> "tuple[np.ndarray, np.ndarray]":
        import numpy as np

        texts, images = zip(*self.keys, strict=True) if self.keys else ((), ())
        return np.array(texts, dtype=object), np.array(images, dtype=object)

    def _negatives(self, keys: tuple[str, str], draw: Draw) -> list[int]:
        import numpy as np

        texts, images = self._key_arrays
        others = np.flatnonzero((texts != keys[0]) & (images != keys[1]))
        return [int(others[i]) for i in draw.sample(range(len(others)), min(NEGATIVES, len(others)))]

    def _encode(self, pairs: Sequence[Pair]) -> "list[tuple[np.ndarray, np.ndarray]]":
        import numpy as np

        if self.encoder is None or not pairs:
            return [(np.zeros(1), np.zeros(1)) for _ in pairs]
        texts = self.encoder.encode_text([normalise_text(pair.post.tokens) for pair in pairs])
        images = self.encoder.encode_image([pair.post.images[pair.place] for pair in pairs])
        return list(zip(texts, images, strict=True))


class CCAEngine:
    """Canonical correlation of words and orientation histograms: no torch, seconds."""

    folds = FOLDS

    def read(self, images: Sequence[EncodedImage]) -> "np.ndarray":
        """Return orientation histograms [n, n_features]."""
        from hf_mner_aug.models.cca import read_histograms

        return read_histograms(images)

    def fit(self, texts: Sequence[str], features: "np.ndarray") -> Encoder:
        """Return the encoder of these pairs."""
        from hf_mner_aug.models.cca import CCA

        return CCA.fit(texts, features)

    def load(self, arrays: "Mapping[str, np.ndarray]") -> Encoder:
        """Return the encoder whose ``arrays`` these are."""
        from hf_mner_aug.models.cca import CCA

        return CCA(arrays)


def open_engine(name: str, seed: int = 0) -> Engine:
    """Return the kind of encoder of a name.

    Raises:
        UnknownName: there is none.
        MissingExtra: open_clip is asked for and not installed.
    """
    kind, _, model = name.partition(":")
    if kind == "cca" and not model:
        return CCAEngine()
    raise UnknownName("matcher", name, ("cca", "open_clip", "open_clip:MODEL/PRETRAINED"))


def fit_matcher(posts: Iterable[Post], name: str = "cca", *, seed: int = 0) -> Matcher:
    """Return what scores pairs like those of these posts; a picture that cannot be read makes no pair.

    Where two pairs cannot be told apart by their words there is nothing to learn: it then knows no pair, and warns.

    Args:
        posts: of the train split, with their pictures.
        name: ``cca``, ``open_clip`` (a small one, fitted on the posts), or ``open_clip:`` and a pretrained one.
        seed: of the folds, and of what is fitted.

    Raises:
        UnknownName: there is no such engine.
        MissingExtra: open_clip is asked for and not installed.
    """
    import numpy as np

    from hf_mner_aug.models.cca import TooFewWords

    engine = open_engine(name, seed)
    texts, keys, names, read = [], [], [], []
    for batch in _batches(posts):
        rows = engine.read([pair.post.images[pair.place] for pair in batch])
        for pair, row in zip(batch, rows, strict=True):
            if not np.isnan(row).any():
                texts.append(normalise_text(pair.post.tokens))
                keys.append(pair.keys)
                names.append((pair.post.id, pair.place))
                read.append(row)
    none = np.zeros((1, 0, 1), dtype="f4")
    nothing = Matcher(engine=name, names=(), keys=(), fold=np.zeros(0, dtype=int), text=none, image=none, encoder=None)
    if len(names) < 2:
        return nothing
    features = np.stack(read)
    fold = split_folds(keys, engine.folds if len(keys) >= FEWEST else 0, seed)
    encoders = []
    try:
        for k in [*range(int(fold.max()) + 1), None]:
            seen = [i for i in range(len(keys)) if k is None or fold[i] != k]
            encoders.append(engine.fit([texts[i] for i in seen], features[seen]))
    except TooFewWords as error:
        warnings.warn(str(error), stacklevel=2)
        return nothing
    dim = max(encoder.project(features[:1]).shape[1] for encoder in encoders)
    return Matcher(
        engine=name,
        names=names,
        keys=keys,
        fold=fold,
        text=np.stack([_widened(encoder.encode_text(texts), dim) for encoder in encoders]),
        image=np.stack([_widened(encoder.project(features), dim) for encoder in encoders]),
        encoder=encoders[-1],
    )


def load_matcher(digest: str, *, seed: int = 0) -> Matcher:
    """Return the matcher stored under a digest.

    Raises:
        NotFitted: it is not on this machine.
    """
    import numpy as np

    with np.load(io.BytesIO(artifacts.load(digest)), allow_pickle=False) as file:
        arrays = dict(file.items())
    about = json.loads(arrays.pop("about").tobytes())
    fold, text, image = (arrays.pop(name) for name in ("fold", "text", "image"))
    own = {name.removeprefix("encoder_"): array for name, array in arrays.items()}
    encoder = open_engine(about["engine"], seed).load(own) if own else None
    names, keys = ([tuple(row) for row in about[key]] for key in ("names", "keys"))
    return Matcher(engine=about["engine"], names=names, keys=keys, fold=fold, text=text, image=image, encoder=encoder)


def split_folds(keys: Sequence[tuple[str, str]], folds: int, seed: int) -> "np.ndarray":
    """Return the fold [n] of each pair, -1 without folds; pairs linked by a text or a picture share one."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not folds:
        return np.full(len(keys), -1)
    index: dict[tuple[int, str], int] = {}
    rows = [i for i in range(len(keys)) for _ in range(2)]
    columns = [len(keys) + index.setdefault((side, key), len(index)) for pair in keys for side, key in enumerate(pair)]
    size = len(keys) + len(index)
    _, group = connected_components(coo_matrix((np.ones(len(rows)), (rows, columns)), (size, size)), directed=False)
    names, place = np.unique(group[: len(keys)], return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray((order % folds)[place])


def _batches(posts: Iterable[Post], size: int = 64) -> "Iterable[list[Pair]]":
    """Yield the pairs of posts, few at a time: they hold pictures."""
    batch: list[Pair] = []
    for post in posts:
        batch += [Pair(post, place) for place in range(len(post.images))]
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _widened(vectors: "np.ndarray", dim: int) -> "np.ndarray":
    """Return vectors [n, dim]: those of a fold of few words are shorter, and filled up with zeros."""
    import numpy as np

    return np.pad(vectors, ((0, 0), (0, dim - vectors.shape[1])))


def _normalised(vectors: "np.ndarray") -> "np.ndarray":
    """Return vectors [..., dim] of length one; those of no length stay."""
    import numpy as np

    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1, length)
