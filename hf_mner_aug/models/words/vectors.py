"""Word vectors, read from a file or trained on the posts of a split, and semantic augmentation by nearest words.

Semantic augmentation (Nie et al. 2020; IIE4MNER): the vectors of a word's four nearest words, weighted by the softmax
of their cosines. Deviates: a word without a vector is looked up in lower case before it counts as unknown; the random
vector of an unknown word depends only on the word, so that it is the same in every split, run and batch.
"""

import functools
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hf_mner_aug.draw import draw
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.posts.lexicon import Texts, ppmi
from hf_mner_aug.posts.scripts import is_plain_word
from hf_mner_aug.schema import Post

if TYPE_CHECKING:
    import numpy as np

DIMENSIONS = 50  # of trained vectors: with 200 on Twitter-2015, the nearest words of "london" are no longer places
NEIGHBOURS = 4
SYNONYMS = 5  # near words that can replace a word
NEAR = 0.6  # the least cosine of one
MIN_COUNT = 2  # rarer words have no vector, so that training has unknown words as prediction does
VOCABULARY = 5000  # words to train vectors of
AT_ONCE = 2**25  # cosines
FILE = "word_vectors.safetensors"


class Neighbour(NamedTuple):
    """A near word and its cosine."""

    word: str
    cosine: float


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words [n_words] and their vectors [n_words, dimensions], in single precision."""

    words: tuple[str, ...]
    vectors: "np.ndarray"

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        return int(self.vectors.shape[1])

    @functools.cached_property
    def rows(self) -> dict[str, int]:
        """The row of each word."""
        return {word: i for i, word in enumerate(self.words)}

    @functools.cached_property
    def unit(self) -> "np.ndarray":
        """The vectors at length 1 [n_words, dimensions]; one of zeros stays so."""
        import numpy as np

        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return self.vectors / np.where(lengths > 0, lengths, 1)

    def row(self, word: str) -> int | None:
        """Return the row of a word, or of its lower-case form; None if neither is known."""
        return self.rows.get(word, self.rows.get(word.lower()))

    def neighbours(self, words: Sequence[str], n: int = NEIGHBOURS) -> list[list[Neighbour]]:
        """Return the nearest words of each word, except itself; an unknown word has none."""
        import numpy as np

        n = min(n, len(self.words) - 1)
        found: list[list[Neighbour]] = [[] for _ in words]
        known = [(i, row) for i, word in enumerate(words) if (row := self.row(word)) is not None] if n else []
        step = max(1, AT_ONCE // max(1, len(self.words)))
        for first in range(0, len(known), step):
            chosen = known[first : first + step]
            for (i, row), cosines in zip(chosen, self.unit[[row for _, row in chosen]] @ self.unit.T, strict=True):
                cosines[row] = -np.inf
                # The last bits of a product depend on the batch: near ties are computed again exactly.
                near = np.flatnonzero(cosines >= np.partition(cosines, -n)[-n] - 1e-5)
                exact = np.round(self.unit[near].astype(np.float64) @ self.unit[row].astype(np.float64), 9)
                best = np.argsort(-exact, kind="stable")[:n]
                found[i] = [Neighbour(self.words[near[j]], float(exact[j])) for j in best]
        return found

    def augmentations(self, words: Sequence[str], n: int = NEIGHBOURS) -> "np.ndarray":
        """Return the semantic augmentation of each word [n_words, dimensions]; it is random for an unknown word."""
        import numpy as np

        made = np.empty((len(words), self.dimensions), dtype=np.float32)
        for i, near in enumerate(self.neighbours(words, n)):
            if near:
                rows = [self.rows[word] for word, _ in near]
                made[i] = weighted_sum([cosine for _, cosine in near], self.vectors[rows])
            else:
                made[i] = random_vector(words[i], self.dimensions)
        return made


def near_words(
    vectors: WordVectors, words: Sequence[str], without: Collection[str] = (), *, n: int = SYNONYMS
) -> dict[str, list[str]]:
    """Return the nearest plain words of each word, at most ``n`` and none of ``without``; some words have none.

    One that is hardly near (a cosine below 0.6) or that has the word's own letters at its start, as a plural, is none.
    """
    found = {}
    for word, near in zip(words, vectors.neighbours(words, 4 * n), strict=True):
        kept = [
            other
            for other, cosine in near
            if cosine >= NEAR and other not in without and is_plain_word(other) and not _same_stem(word, other)
        ]
        if kept:
            found[word] = kept[:n]
    return found


def _same_stem(word: str, other: str) -> bool:
    """Return whether the shorter of two words begins the longer one, as in dog and dogs."""
    shorter, longer = sorted((word, other), key=len)
    return longer.startswith(shorter)


def weighted_sum(cosines: Sequence[float], vectors: "np.ndarray") -> "np.ndarray":
    """Return the sum [dimensions] of vectors [n, dimensions], weighted by the softmax of their cosines [n]."""
    import numpy as np

    weights = np.exp(np.asarray(cosines) - max(cosines))
    return (weights / weights.sum()) @ vectors


def random_vector(word: str, dimensions: int) -> "np.ndarray":
    """Return a word's random vector [dimensions], uniform in ±√(3 / dimensions)."""
    import numpy as np

    bound = math.sqrt(3 / dimensions)
    return np.asarray(draw(0, "unknown word", 1, word, 0).uniforms(dimensions)) * 2 * bound - bound


def train_word_vectors(posts: Sequence[Post], dimensions: int = DIMENSIONS) -> WordVectors:
    """Return vectors of the words, in lower case, that occur at least twice in the posts; few posts give shorter ones.

    Levy & Goldberg 2014: positive pointwise mutual information of words and contexts, reduced by SVD. If there are too
    many words, only the most frequent ones have vectors. A repeated text, as after augmentation, counts once: otherwise
    all its words would have vectors.

    Raises:
        UsageError: too few words occur at least twice.
    """
    import numpy as np
    from scipy.linalg import eigh

    texts = [*dict.fromkeys(tuple(word.lower() for word in post.tokens) for post in posts)]
    counts = Counter(word for text in texts for word in text)
    frequent = sorted((word for word, n in counts.items() if n >= MIN_COUNT), key=lambda word: (-counts[word], word))
    vocabulary = sorted(frequent[:VOCABULARY])
    numbered = Texts()
    for text in texts:
        numbered.add(text)
    matrix = ppmi(numbered, vocabulary)
    dimensions = min(dimensions, min(matrix.shape) - 1)
    if dimensions < 1 or matrix.nnz == 0:
        raise UsageError(
            f"word vectors: {len(vocabulary)} words occur at least {MIN_COUNT} times in the {len(posts)} posts of "
            "train, too few to train vectors on: pass a file of vectors"
        )
    # Not ARPACK: with equal singular values, as in small sets, its vectors differ from call to call.
    last = len(vocabulary) - 1
    values, axes = eigh((matrix @ matrix.T).toarray(), subset_by_index=(last - dimensions + 1, last))
    return WordVectors(tuple(vocabulary), (axes * np.sqrt(values.clip(min=0)))[:, ::-1].astype(np.float32, order="C"))


def read_word_vectors(path: str | Path, posts: Sequence[Post] = ()) -> WordVectors:
    """Return the vectors of a file in the text format of word2vec (its first line counts words and numbers) or GloVe.

    Args:
        path: a line for each word: the word and its numbers, separated by spaces. If a word has several lines, the
            first counts.
        posts: if given, the file must contain a word of theirs.

    Raises:
        UsageError: there is no such file, or it contains no word of the posts.
        DataError: a line has more or fewer numbers than the first, or an invalid one; or the file ends early.
    """
    import numpy as np

    words: dict[str, None] = {}
    rows: list[np.ndarray] = []
    dimensions = n_lines = 0
    promised: int | None = None
    for number, parts in _lines(Path(path)):
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            promised, dimensions = map(int, parts)
            continue
        dimensions = dimensions or len(parts) - 1
        n_lines += 1
        # GloVe has words with spaces in them.
        word, inside, last = " ".join(parts[:-dimensions]), parts[1:-dimensions], parts[-dimensions:]
        vector = _numbers(last)
        if not dimensions or not word or vector is None or (inside and _numbers(inside) is not None):
            found = sum(_numbers([part]) is not None for part in parts[1:])
            raise DataError(
                f"{path} line {number}: expected a word and {dimensions or 'its'} numbers, found {found} numbers"
            )
        if word not in words:
            words[word] = None
            rows.append(vector)
    if not rows or (promised is not None and n_lines != promised):
        raise DataError(f"{path}: expected {promised or 'some'} word vectors, found {n_lines}: is the file complete?")
    vectors = WordVectors(tuple(words), np.stack(rows))
    if posts and all(vectors.row(word) is None for post in posts for word in post.tokens):
        raise UsageError(
            f"{path}: none of its {len(words)} words (such as {', '.join(list(words)[:3])}) occurs in train: "
            "expected vectors of train's language"
        )
    return vectors


def save_word_vectors(vectors: WordVectors, folder: Path) -> None:
    """Write word vectors into a folder."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({"vectors": vectors.vectors}, folder / FILE, metadata={"words": json.dumps(vectors.words)})


def load_word_vectors(folder: Path) -> WordVectors:
    """Return the word vectors that were written into a folder.

    Raises:
        Corrupt: they are damaged or missing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, "numpy") as file:
            return WordVectors(tuple(json.loads(file.metadata()["words"])), file.get_tensor("vectors"))
    except (OSError, SafetensorError) as error:
        raise Corrupt(f"{folder / FILE} is damaged or missing: fit and save again") from error


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a file that are not empty, split at spaces, with their numbers."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip().split(" ")
    except OSError as error:
        raise UsageError(f"word vectors: {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected word vectors as text in UTF-8, found other bytes ({error.reason})"
        ) from error


def _numbers(parts: Sequence[str]) -> "np.ndarray | None":
    """Return finite numbers, or None if a part is not one."""
    import numpy as np

    try:
        numbers = np.array(parts, dtype=np.float32)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
