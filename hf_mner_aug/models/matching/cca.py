"""Text and picture vectors without a deep network: regularised CCA of word features and orientation histograms.

A text is TF-IDF reduced by SVD. A picture is its HOG features (Dalal & Triggs 2005) in the rectangle that contains its
edges: shapes count, not their position or size. Canonical correlation analysis (Hotelling 1936; with a ridge, Vinod
1976) finds the directions in which the two agree. In addition each word contributes the mean of the pictures that it
occurs with, so rare names count as well. A text with little information would still get a length of one: a constant
that only texts have, and one that only pictures have, keep it away from every picture instead.
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.matching.embeddings import vectors_of
from hf_mner_aug.models.matching.engine import TooFewPairs
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.schema import EncodedImage
from hf_mner_aug.storage import artifacts

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

COMPONENTS = 4
DIM = COMPONENTS + 2  # of a vector: the components and the two slacks
TEXT_DIMENSIONS = 40
IMAGE_DIMENSIONS = 40
RIDGE = 0.3  # of the mean variance, added to every variance before whitening
VOCABULARY = 20_000
# Chosen by cross-validation inside the sample's train split, as are the numbers above.
WORDS_SHARE = 2.0  # weight of the pictures that a text's words occur with, relative to the CCA's own direction
TEXT_SLACK, IMAGE_SLACK = 1.0, 0.5

SIDE = 64  # pixels of the resized rectangle
CELLS = 8  # along a side
BINS = 9  # orientations over 180 degrees
FEATURES = (CELLS * CELLS + 1) * BINS
EDGE = 0.25  # of the strongest edge: the minimum strength of an edge when the rectangle is located
_LONGEST = 128  # longer side in pixels of a picture when the rectangle is located
_WORDS: dict[str, Any] = {"lowercase": False, "token_pattern": r"\S+", "sublinear_tf": True}
_HISTOGRAMS = "orientation_histograms-1"  # raise when the same picture would give different numbers


def crop_to_edges(picture: "PIL.Image.Image") -> "PIL.Image.Image":
    """Return the smallest part of an RGB picture, scaled to at most 128 pixels, that contains all its clear edges."""
    import numpy as np
    from PIL import Image

    scale = _LONGEST / max(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BOX)
    _, _, strength = _gradients(picture)
    clear = strength >= EDGE * strength.max()
    rows, columns = np.flatnonzero(clear.any(1)), np.flatnonzero(clear.any(0))
    return picture.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


def edges_squared(picture: "PIL.Image.Image") -> "PIL.Image.Image":
    """Return the part of an RGB picture that contains its edges, as a square of ``SIDE`` pixels."""
    from PIL import Image

    return crop_to_edges(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def orientation_histograms(square: "np.ndarray | PIL.Image.Image") -> "np.ndarray":
    """Return the edge strength by orientation of an RGB square, in each cell and overall [FEATURES].

    The numbers are square roots of shares; without any edge they are 0.
    """
    import numpy as np

    down, across, strength = _gradients(square)
    orientation = np.arctan2(down, across) / np.pi * BINS
    # Shared between the two nearest bins: otherwise vertical edges, which are many, would fall on a bin's border.
    away = np.abs((orientation[..., None] - np.arange(BINS) + BINS / 2) % BINS - BINS / 2)
    counts = np.maximum(0, 1 - away) * strength[..., None]
    across_cell = SIDE // CELLS
    cells = counts.reshape(CELLS, across_cell, CELLS, across_cell, BINS).sum((1, 3))
    total = strength.sum()
    shares = np.concatenate([cells.ravel(), cells.sum((0, 1))]) / (total if total > 0 else 1)
    return np.sqrt(shares, dtype=np.float32)


def read_histograms(images: Sequence[EncodedImage]) -> "np.ndarray":
    """Return the histograms [n_images, FEATURES] of encoded pictures; those of one that cannot be read are NaN."""
    return vectors_of(images, _HISTOGRAMS, FEATURES, _read_histograms)


def _read_histograms(images: Sequence[EncodedImage]) -> "np.ndarray":
    import numpy as np

    rows = np.full((len(images), FEATURES), np.nan, dtype=np.float32)
    for row, image in zip(rows, images, strict=True):
        try:
            row[:] = orientation_histograms(edges_squared(open_rgb(image)))
        except DataError:
            continue
    return rows


def _gradients(picture: "np.ndarray | PIL.Image.Image") -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
    """Return the slopes down and across and their strength [height, width], each from the steepest channel."""
    import numpy as np

    pixels = np.pad(np.asarray(picture, dtype=np.float32), ((1, 1), (1, 1), (0, 0)), mode="edge")
    down, across = pixels[2:, 1:-1] - pixels[:-2, 1:-1], pixels[1:-1, 2:] - pixels[1:-1, :-2]
    strength = np.hypot(down, across)
    steepest = strength.argmax(-1)[..., None]
    down, across, strength = (np.take_along_axis(a, steepest, -1)[..., 0] for a in (down, across, strength))
    return down, across, strength


class CCA:
    """Encodes texts and pictures as vectors of length one in a common space, by one linear map each.

    ``arrays`` is the learned state: the same arrays give the same vectors, bit by bit and row by row.
    """

    def __init__(self, arrays: "Mapping[str, np.ndarray]") -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.arrays = arrays
        self._vectorizer = TfidfVectorizer(vocabulary=json.loads(arrays["words"].tobytes()), **_WORDS)
        self._vectorizer.idf_ = arrays["idf"].astype("f8")

    @classmethod
    def fit(cls, texts: Sequence[str], histograms: "np.ndarray") -> "CCA":
        """Return an encoder fitted on pairs: normalised texts [n] and histograms [n, FEATURES].

        Raises:
            TooFewPairs: there are not two texts with different words.
        """
        import numpy as np
        from sklearn.decomposition import PCA, TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from threadpoolctl import threadpool_limits

        vectorizer = TfidfVectorizer(max_features=VOCABULARY, **_WORDS)
        try:
            weights = vectorizer.fit_transform(texts)
        except ValueError as error:  # an empty vocabulary
            raise TooFewPairs("matching: expected texts with words, found links and RT only") from error
        dimensions = min(TEXT_DIMENSIONS, min(weights.shape) - 1)
        if dimensions < 1:
            raise TooFewPairs("matching: expected at least two texts of different words")
        # Several threads would sum in another order. PCA divides by the variance, which is 0 for equal pictures.
        with threadpool_limits(1), np.errstate(invalid="ignore"):
            svd = TruncatedSVD(dimensions, algorithm="arpack", random_state=0).fit(weights)
            pca = PCA(min(IMAGE_DIMENSIONS, len(texts) - 1), svd_solver="full").fit(histograms.astype("f8"))
            text, image = svd.transform(weights), pca.transform(histograms.astype("f8"))
            middle = text.mean(0)
            text_axes, image_axes = canonical_axes(text - middle, image)
            image_axes /= _size(image @ image_axes)
            text_axes /= _size((text - middle) @ text_axes)
            beside = (weights > 0).T @ (image @ image_axes) / (weights.getnnz(axis=0)[:, None] + 1)
            text_map, text_shift = svd.components_.T @ text_axes + WORDS_SHARE * beside, -middle @ text_axes
            size = _size(weights @ text_map + text_shift)
            image_map = pca.components_.T @ image_axes
            arrays = {
                "idf": vectorizer.idf_,
                "text_map": text_map / size,
                "text_shift": text_shift / size,
                "image_map": image_map,
                "image_shift": -pca.mean_ @ image_map,
            }
        words = json.dumps(vectorizer.get_feature_names_out().tolist(), ensure_ascii=False).encode()
        stored = {name: array.astype("<f4") for name, array in arrays.items()}
        return cls({"words": np.frombuffer(words, dtype=np.uint8), **stored})

    @classmethod
    def restore(cls, digests: Mapping[str, str]) -> "CCA":
        """Return an encoder from what its ``save`` returned.

        Raises:
            NotFitted: it is not on this machine.
            Corrupt: it is damaged.
        """
        return cls(load_arrays(digests["matcher_maps"]))

    def save(self) -> dict[str, str]:
        """Store the learned state and return its digest, by the name that ``restore`` expects."""
        return {"matcher_maps": save_arrays(self.arrays)}

    def encode_text(self, texts: Sequence[str]) -> "np.ndarray":
        """Return the vectors [n, DIM] of normalised texts; words outside the split's vocabulary are ignored."""
        import numpy as np

        if not texts:  # scikit-learn refuses an empty list
            return np.zeros((0, DIM), dtype=np.float32)
        weights = self._vectorizer.transform(texts)
        return _unit(weights @ self.arrays["text_map"].astype("f8") + self.arrays["text_shift"], (TEXT_SLACK, 0))

    def count_cut(self, texts: Sequence[str]) -> int:
        """Return how many texts are too long: none."""
        return 0

    def encode_image(self, images: Sequence[EncodedImage]) -> "np.ndarray":
        """Return the vectors [n, DIM] of encoded pictures; the row of one that cannot be read is NaN."""
        return self.project(read_histograms(images))

    def project(self, histograms: "np.ndarray") -> "np.ndarray":
        """Return the vectors [n, DIM] of histograms [n, FEATURES]."""
        import numpy as np

        to_vector = self.arrays["image_map"].astype("f8")
        # One by one: BLAS's order of summation depends on the number of rows.
        rows = [row.astype("f8") @ to_vector for row in histograms]
        return _unit(np.reshape(rows, (-1, COMPONENTS)) + self.arrays["image_shift"], (0, IMAGE_SLACK))


def save_arrays(arrays: Mapping[str, Any]) -> str:
    """Store arrays as an artifact, the same bytes for the same numbers, and return the digest."""
    import numpy as np

    file = io.BytesIO()
    np.savez(file, **arrays)
    return artifacts.save(file.getvalue())


def load_arrays(digest: str) -> "dict[str, np.ndarray]":
    """Return the arrays stored under a digest; raises as ``artifacts.load``."""
    import numpy as np

    with np.load(io.BytesIO(artifacts.load(digest)), allow_pickle=False) as file:
        return dict(file)


def canonical_axes(text: "np.ndarray", image: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Return the axes [k, 4], [m, 4] on which centred scores of texts [n, k] and pictures [n, m] correlate most.

    Few pairs may give fewer than four axes; the others are 0.
    """
    import numpy as np
    from sklearn.utils.extmath import svd_flip

    text_axes, image_axes = _whitening(text), _whitening(image)
    shared = (text @ text_axes).T @ (image @ image_axes)
    left, _, right = np.linalg.svd(shared, full_matrices=False)
    left, right = svd_flip(left[:, :COMPONENTS], right[:COMPONENTS])
    lacking = ((0, 0), (0, COMPONENTS - len(right)))
    return text_axes @ np.pad(left, lacking), image_axes @ np.pad(right.T, lacking)


def _whitening(scores: "np.ndarray") -> "np.ndarray":
    """Return the matrix [k, k] that decorrelates centred scores [n, k], up to the ridge."""
    import numpy as np

    variances, axes = np.linalg.eigh(scores.T @ scores / len(scores))
    if variances.mean() < 1e-12:  # all are the same
        return np.zeros_like(axes)
    return axes / np.sqrt(np.maximum(variances, 0) + RIDGE * variances.mean()) @ axes.T


def _size(scores: "np.ndarray") -> float:
    """Return the root mean square length of vectors [n, k]; 1 if it is 0."""
    import numpy as np

    return float(np.sqrt((scores**2).sum(1).mean())) or 1.0


def _unit(scores: "np.ndarray", slack: tuple[float, float]) -> "np.ndarray":
    """Return scores [n, k] with two more numbers, as float32 vectors [n, k + 2] of length one."""
    import numpy as np

    vectors = np.column_stack([scores, np.tile(slack, (len(scores), 1))])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
