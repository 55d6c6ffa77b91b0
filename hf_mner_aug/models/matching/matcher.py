"""Matching of texts and pictures: encoders fitted on, or applied to, the text-picture pairs of a train split.

A pair of train is embedded by a model trained without its text and picture (out of fold), any other pair by the model
of the whole split. Vectors of two models are not comparable, so a pair's negatives are embedded by its own model.
"""

import functools
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.matching import open_engine, split_name, trainer
from hf_mner_aug.models.matching.cca import CCA, load_arrays, save_arrays
from hf_mner_aug.models.matching.engine import PairEncoder
from hf_mner_aug.models.matching.pairs import Pairs, gather_pairs, share_out, text_digest
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.posts.texts import normalise_text
from hf_mner_aug.schema import EncodedImage, Post

if TYPE_CHECKING:
    import numpy as np

FOLDS = 3
WHOLE = -1  # the model of the whole split: the last one

Pair = tuple[Sequence[str], EncodedImage]  # the words of a post and one of its pictures


class Embedded(NamedTuple):
    """Embedded pairs: vectors [n, dim] of texts and pictures, and the model of each.

    ``text_of`` and ``image_of`` are the indices of the split's texts and pictures, -1 for others. The vector of a
    picture that cannot be read is NaN.
    """

    text: "np.ndarray"
    image: "np.ndarray"
    fold: "np.ndarray"
    text_of: "np.ndarray"
    image_of: "np.ndarray"


@dataclass(frozen=True, eq=False)
class Gallery:
    """The pairs of a train split and their vectors from every model: first those of the folds, then the whole split's.

    Attributes:
        names: the post's id and the picture's index in it, for each pair [n_pairs].
        text_of: the index of each pair's text [n_pairs].
        image_of: the index of each pair's picture [n_pairs].
        fold: the model trained without either [n_pairs]; -1 (the last) if no model was trained on the split.
        text_keys: hashed ``text_key`` of each text [n_texts].
        image_digests: SHA-256 of each picture's bytes [n_images].
        texts: vectors [n_models, n_texts, dim].
        images: vectors [n_models, n_images, dim].
    """

    names: tuple[tuple[str, int], ...]
    text_of: "np.ndarray"
    image_of: "np.ndarray"
    fold: "np.ndarray"
    text_keys: tuple[str, ...]
    image_digests: tuple[str, ...]
    texts: "np.ndarray"
    images: "np.ndarray"


class Matcher:
    """A fitted matcher: the gallery of its train split, and an encoder for any other pair.

    ``state`` is its whole state, as JSON; the digests under ``files`` are those of artifacts in the cache.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = state

    @functools.cached_property
    def gallery(self) -> Gallery:
        """The pairs of the train split."""
        arrays = load_arrays(self.state["files"]["matcher"])
        about = json.loads(arrays.pop("about").tobytes())
        names = tuple((name, place) for name, place in about["names"])
        return Gallery(names, text_keys=tuple(about["texts"]), image_digests=tuple(about["images"]), **arrays)

    @functools.cached_property
    def encoder(self) -> PairEncoder:
        """The encoder of pairs outside the split, loaded when it is first needed."""
        matcher = self.state["matcher"]
        encoder: Any = open_engine(matcher, self.state["files"])
        if "weights" in self.state and encoder.digest != self.state["weights"]:
            raise UsageError(f"{matcher} is not the model of the fit any more: its weights have changed; fit again")
        found: PairEncoder = encoder
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks: pictures that could not be read, texts that were truncated."""
        return tuple(self.state["notes"])

    def train(self) -> Embedded:
        """Return the pairs of the train split, in the order of ``gallery.names``, each out of fold."""
        found = self.gallery
        texts, images = found.texts[found.fold, found.text_of], found.images[found.fold, found.image_of]
        return Embedded(texts, images, found.fold, found.text_of, found.image_of)

    def embed(self, pairs: Sequence[Pair]) -> Embedded:
        """Return the vectors of pairs: out of fold for the train split, by the model of the whole split for others."""
        import numpy as np

        found = self.gallery
        text_at, image_at, fold_at = self._index
        text_of = np.array([text_at.get(text_digest(words), -1) for words, _ in pairs], dtype=np.int64)
        image_of = np.array([image_at.get(image_digest(image) or "", -1) for _, image in pairs], dtype=np.int64)
        both = zip(text_of.tolist(), image_of.tolist(), strict=True)
        fold = np.array([fold_at.get(pair, WHOLE) for pair in both], dtype=np.int64)
        text, image = np.empty((2, len(pairs), found.texts.shape[2]), dtype=np.float32)
        seen, new = text_of >= 0, np.flatnonzero(text_of < 0).tolist()
        text[seen] = found.texts[fold[seen], text_of[seen]]
        if new:
            texts = [normalise_text(pairs[i][0]) for i in new]
            text[new] = self.encoder.encode_text(texts)
            for note in _cut_note(self.encoder.count_cut(texts), len(texts)):
                warnings.warn(f"matching: {note}", stacklevel=2)
        seen, new = image_of >= 0, np.flatnonzero(image_of < 0).tolist()
        image[seen] = found.images[fold[seen], image_of[seen]]
        if new:
            image[new] = self.encoder.encode_image([pairs[i][1] for i in new])
        return Embedded(text, image, fold, text_of, image_of)

    def candidates(self, fold: int, text_of: int, image_of: int) -> "np.ndarray":
        """Return the pairs of the split that may be negatives [n] of a pair, given its values in ``Embedded``.

        None shares its text or picture. The negatives of a train pair come from its model's training data, as those of
        any other pair do: a model separates pairs that it was trained on more than others.
        """
        import numpy as np

        found = self.gallery
        allowed = (found.text_of != text_of) & (found.image_of != image_of)
        if fold != WHOLE:
            allowed &= found.fold != fold
        return np.flatnonzero(allowed)

    def negatives(self, fold: int, chosen: Sequence[int]) -> "tuple[np.ndarray, np.ndarray]":
        """Return the vectors [n, dim] of the texts and pictures of some pairs of the split, from one model."""
        found, rows = self.gallery, list(chosen)
        return found.texts[fold][found.text_of[rows]], found.images[fold][found.image_of[rows]]

    @functools.cached_property
    def _index(self) -> tuple[dict[str, int], dict[str, int], dict[tuple[int, int], int]]:
        """The index of each text and picture, by digest, and the fold of each pair of them."""
        found = self.gallery
        pairs = zip(found.text_of.tolist(), found.image_of.tolist(), strict=True)
        return (
            {key: i for i, key in enumerate(found.text_keys)},
            {key: i for i, key in enumerate(found.image_digests)},
            dict(zip(pairs, found.fold.tolist(), strict=True)),
        )


def fit_matcher(posts: Iterable[Post], matcher: str = "cca", *, seed: int = 0, folds: int = FOLDS) -> Matcher:
    """Return a matcher for the pairs of a train split: each post with each of its pictures.

    Args:
        posts: the split; it is read once, and pictures are not kept in memory.
        matcher: ``cca``; ``open_clip``, a small model trained on the split; or ``open_clip:`` and a pretrained one as
            ``clip.load`` takes it, which needs no folds.
        seed: of the folds and of the training.
        folds: the number of parts of the split, each embedded by a model trained on the others.

    Raises:
        UnknownName: there is no such matcher.
        TooFewPairs: too few pairs differ in text and picture, or no text has words.
        MissingExtra: open_clip is not installed.
    """
    import numpy as np

    engine, model = split_name(matcher)
    if folds < 2:
        raise UsageError(f"matching: folds must be at least 2, found {folds}")
    state: dict[str, Any] = {"matcher": matcher, "files": {}}
    encoders: list[Any]
    if model:
        encoders = [open_engine(matcher, {})]
        split = gather_pairs(posts, encoders[0].encode_image)
        fold = np.full(len(split.names), WHOLE)
        images = [split.rows]
        state["weights"] = encoders[0].digest
    else:
        read, learn = trainer(engine, seed)
        split = gather_pairs(posts, read)
        fold, encoders = _learn_folds(split, learn, folds, seed)
        encoders.append(learn(*split.part(np.arange(len(fold)))))
        images = [encoder.project(split.rows) for encoder in encoders]
        state["files"] |= encoders[-1].save()
    texts = [encoder.encode_text(split.texts) for encoder in encoders]
    arrays = {"text_of": split.text_of, "image_of": split.image_of, "fold": fold}
    about = {"names": split.names, "texts": split.text_keys, "images": split.image_digests}
    packed = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    arrays |= {"texts": np.stack(texts), "images": np.stack(images), "about": packed}
    state["files"]["matcher"] = save_arrays(arrays)
    n_cut = encoders[-1].count_cut(split.texts)
    return Matcher({**state, "notes": [*split.notes, *_cut_note(n_cut, len(split.texts))]})


def fit_folds(posts: Iterable[Post], *, seed: int = 0, folds: int = FOLDS) -> tuple[list[CCA], dict[str, int]]:
    """Return CCAs each fitted on a train split without one fold, and by a post's id which one was fitted without it.

    Raises:
        TooFewPairs: too few pairs differ in text and picture, or no text has words.
    """
    read, learn = trainer("cca", seed)
    split = gather_pairs(posts, read)
    fold, encoders = _learn_folds(split, learn, folds, seed)
    return encoders, {name: k for (name, _), k in zip(split.names, fold.tolist(), strict=True)}


def _learn_folds(split: Pairs, learn: Callable[..., Any], folds: int, seed: int) -> "tuple[np.ndarray, list[Any]]":
    """Return the fold of each pair [n_pairs], and for each fold an encoder trained on the others."""
    import numpy as np

    fold = share_out(split, folds, seed)
    parts = [np.flatnonzero(fold != k) for k in range(fold.max() + 1)]
    return fold, [learn(*split.part(pairs)) for pairs in parts]


def _cut_note(n_cut: int, n_texts: int) -> list[str]:
    return [f"{n_cut} of {n_texts} texts are longer than the model takes and were cut"] if n_cut else []
