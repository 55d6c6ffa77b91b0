"""Statistics of a split's words: words by tag, mentions by type, and similar words."""

from array import array
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from hf_mner_aug.posts.scripts import is_emoji, is_plain_word
from hf_mner_aug.posts.wordnet import wordnet_lemmas
from hf_mner_aug.schema import Entity, Post

VOCABULARY = 20_000  # most frequent words that get neighbours
WINDOW = 2  # words to each side that count as context
DIMENSIONS = 50
CONTEXTS = 250_000  # that are projected at a time
CHUNK = 1_000_000  # words whose contexts are counted at a time
GROUPS = 256  # of values, whose maxima are looked at first


def entity_key(entity: Entity) -> str:
    """Return an entity's type, with its fine type if it has one: ``PER`` or ``person/actor``."""
    return entity.type if entity.fine is None else f"{entity.type}/{entity.fine}"


def tag_keys(post: Post) -> list[str]:
    """Return the BIO tag of each word [n_words], with fine types: ``O``, ``B-PER``, ``I-person/actor``."""
    keys = ["O"] * len(post.tokens)
    for entity in post.entities:
        kind = entity_key(entity)
        keys[entity.start : entity.end] = [f"B-{kind}"] + [f"I-{kind}"] * (entity.end - entity.start - 1)
    return keys


class LabelCounts:
    """Counts of words by tag key and of mentions by entity key, taken while posts are iterated."""

    def __init__(self) -> None:
        self._words: dict[str, Counter[str]] = {}
        self._mentions: dict[str, Counter[tuple[str, ...]]] = {}

    def counting(self, posts: Iterable[Post]) -> Iterator[Post]:
        """Yield the posts, and count them."""
        for post in posts:
            for key, word in zip(tag_keys(post), post.tokens, strict=True):
                self._words.setdefault(key, Counter())[word] += 1
            for entity in post.entities:
                mention = tuple(post.tokens[entity.start : entity.end])
                self._mentions.setdefault(entity_key(entity), Counter())[mention] += 1
            yield post

    def words(self) -> dict[str, dict[str, int]]:
        """Return, for each tag key, how often each word has it."""
        return {key: dict(sorted(words.items())) for key, words in self._words.items()}

    def mentions(self) -> dict[str, list[tuple[list[str], int]]]:
        """Return, for each entity key, its mentions (the words of each) and how often each occurs."""
        return {key: [(list(words), n) for words, n in sorted(found.items())] for key, found in self._mentions.items()}


def mention_counts(posts: Iterable[Post]) -> dict[str, list[tuple[list[str], int]]]:
    """Return, for each entity key, its mentions (the words of each) and how often each occurs."""
    counts = LabelCounts()
    deque(counts.counting(posts), maxlen=0)
    return counts.mentions()


def repeat_by_count(counts: Iterable[tuple[Any, int]]) -> list[Any]:
    """Return each item as often as it was counted, so that a uniform choice follows the counts."""
    return [item for item, n in counts for _ in range(n)]


def is_link(word: str) -> bool:
    """Return whether a word is a URL."""
    return word.lower().startswith(("http:", "https:", "www."))


def ordinary_words(post: Post) -> list[int]:
    """Return the indices of words that carry no label and are no handle, hashtag, URL, ``RT`` or punctuation.

    Emoji are such words if a post has no others. Sets that split ``@user`` and ``#tag`` into two words, and a URL after
    ``http://t.``, are supported.
    """
    tokens = post.tokens
    found: list[int] = []
    emoji: list[int] = []
    for i in post.outside():
        word = tokens[i]
        if not word.isalpha() and (word[:1] in ("@", "#") or is_link(word) or not any(map(str.isalnum, word))):
            if is_emoji(word):
                emoji.append(i)
            continue
        before = tokens[i - 1] if i else ""
        if not before.isalnum() and (before in ("@", "#") or (before.endswith(".") and is_link(before))):
            continue
        if word != "RT":
            found.append(i)
    return found or emoji


def match_case(word: str, like: str) -> str:
    """Return a word written in the case of another: ``match_case("nice", "GOOD")`` gives ``NICE``."""
    if like.islower():
        return word
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


BEGIN, END = 0, 1  # the numbers of the marks that surround texts


class Texts:
    """The casefolded words of posts as numbers: they take one pass over the posts, and a few bytes per word.

    Attributes:
        numbers: the number of each word, in order of first occurrence.
        ordinary: how often each word (by its number) is an ordinary one.
    """

    def __init__(self, posts: Iterable[Post] = ()) -> None:
        self.numbers = {"<s>": BEGIN, "</s>": END}
        self.ordinary: Counter[int] = Counter()
        self._words = array("i")
        self._lengths = array("i")
        for post in posts:
            numbers = self.add(word.casefold() for word in post.tokens)
            self.ordinary.update([numbers[i] for i in ordinary_words(post)])

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, words: Iterable[str]) -> list[int]:
        """Add a text and return the numbers of its words [n_words]."""
        numbers = [self.numbers.setdefault(word, len(self.numbers)) for word in words]
        self._words.extend(numbers)
        self._lengths.append(len(numbers))
        return numbers

    def counts(self) -> dict[str, int]:
        """Return how often each word occurs in the texts."""
        import numpy as np

        found = np.bincount(np.asarray(self._words), minlength=len(self.numbers)).tolist()
        return {word: n for word, n in zip(self.numbers, found, strict=True) if n}

    def chunks(self) -> Iterator[tuple[Any, Any]]:
        """Yield the concatenated word numbers of some texts [n_words], and the lengths of the texts [n_texts]."""
        import numpy as np

        words, lengths = np.asarray(self._words), np.asarray(self._lengths)
        ends = np.cumsum(lengths, dtype=np.int64)
        first = start = 0
        while first < len(lengths):
            last = max(first + 1, int(np.searchsorted(ends, start + CHUNK, side="right")))
            yield words[start : int(ends[last - 1])], lengths[first:last]
            first, start = last, int(ends[last - 1])


def common_words(posts: Texts | Iterable[Post]) -> set[str]:
    """Return the most common words, casefolded: more than 25 occurrences, and more than one word in 250.

    They serve as stop words, in any language.
    """
    texts = posts if isinstance(posts, Texts) else Texts(posts)
    counts = texts.counts()
    total = sum(counts.values())
    return {word for word, n in counts.items() if n > 25 and 250 * n > total}


def nearest_words(
    posts: Texts | Iterable[Post], *, neighbours: int = 5, min_count: int = 3, without: Collection[str] = ()
) -> dict[str, list[str]]:
    """Return the nearest words of each lower-case word without a label, by their contexts in these posts.

    Levy & Goldberg 2014: positive pointwise mutual information of words and contexts, reduced by SVD, cosine. Words
    rarer than ``min_count``, and those of ``without``, neither have neighbours nor are any. Ties are alphabetical.
    """
    import numpy as np

    texts = posts if isinstance(posts, Texts) else Texts(posts)
    outside = {
        word: n
        for word, number in texts.numbers.items()
        if (n := texts.ordinary[number]) >= min_count and word not in without and is_plain_word(word)
    }
    frequent = sorted(outside, key=lambda word: (-outside[word], word))
    vocabulary = sorted(frequent[:VOCABULARY])
    matrix = ppmi(texts, vocabulary)
    dimensions = min(DIMENSIONS, min(matrix.shape) - 1)
    if dimensions < 1 or matrix.nnz == 0:
        return {}
    vectors = _reduce(matrix, dimensions)
    del matrix
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    vectors /= np.where(lengths > 1e-15, lengths, 1)[:, None]
    nearest: dict[str, list[str]] = {}
    for first in range(0, len(vocabulary), 1000):
        for i, row in enumerate(vectors[first : first + 1000] @ vectors.T, start=first):
            row[i] = -1.0
            nearest[vocabulary[i]] = [vocabulary[j] for j, value in _largest(row, neighbours) if value > 0]
    return {word: words for word, words in nearest.items() if words}


def _largest(values: Any, k: int) -> list[tuple[int, float]]:
    """Return the k largest values with their places, rounded, the largest first and ties in order.

    Rounded to 6 digits, so that the order does not depend on the last bit of a sum. No value below the k-th largest of
    the maxima of some groups is among the k largest: few are left to sort.
    """
    import numpy as np

    size = len(values) // GROUPS
    maxima = values[: size * GROUPS].reshape(size, GROUPS).max(axis=0) if size else values
    least = np.partition(maxima, -k)[-k] - 2e-6 if k < len(maxima) else -np.inf
    places = np.flatnonzero(values >= least)
    rounded = np.round(values[places], 6)
    order = np.argsort(-rounded, kind="stable")[:k]
    return list(zip(places[order].tolist(), rounded[order].tolist(), strict=True))


def _reduce(matrix: Any, dimensions: int) -> Any:
    """Return the rows of a sparse matrix reduced to [n_rows, dimensions]: left singular vectors × values.

    Equal to scikit-learn's TruncatedSVD with ARPACK up to signs; that holds the right singular vectors four times, and
    a million posts have a million contexts.
    """
    import numpy as np
    from scipy.linalg import qr, svd
    from scipy.sparse.linalg import LinearOperator, eigsh

    n_rows, n_columns = matrix.shape
    if n_rows >= n_columns:
        from sklearn.decomposition import TruncatedSVD

        return TruncatedSVD(dimensions, algorithm="arpack", random_state=0).fit_transform(matrix)
    columns = matrix.T
    gram = LinearOperator((n_rows, n_rows), matvec=lambda x: matrix @ (columns @ x), dtype=matrix.dtype)
    start = np.random.RandomState(0).uniform(-1, 1, n_rows)
    basis, _ = np.linalg.qr(eigsh(gram, k=dimensions, tol=0, v0=start)[1])
    triangle = np.empty((0, dimensions))
    for first in range(0, n_columns, CONTEXTS):  # the triangle of all blocks is that of each block below the one before
        block = columns if n_columns <= CONTEXTS else matrix[:, first : first + CONTEXTS].T
        projected = np.empty((len(triangle) + block.shape[0], dimensions), order="F")
        projected[: len(triangle)] = triangle
        for i in range(dimensions):
            projected[len(triangle) :, i] = block @ basis[:, i]
        _, triangle = qr(projected, mode="raw", overwrite_a=True, check_finite=False)
    _, values, rotation = svd(triangle)
    return (basis @ rotation.T) * values


def wordnet_synonyms(posts: Texts | Iterable[Post], folder: str = "") -> dict[str, list[str]]:
    """Return WordNet's one-word synonyms of each lower-case word without a label.

    Args:
        posts: with the words.
        folder: of WordNet's own files, without nltk; empty takes an installed corpus of nltk, which also looks up base
            forms.

    Raises:
        MissingExtra: nltk is not installed, or its WordNet corpus is not on this machine.
        UsageError: the folder does not have WordNet's files.
        DataError: one of them is damaged.
    """
    texts = posts if isinstance(posts, Texts) else Texts(posts)
    words = sorted(word for word, number in texts.numbers.items() if texts.ordinary[number])
    lemmas = wordnet_lemmas(folder, set(words)) if folder else _nltk_lemmas(words)
    found = {}
    for word in words:
        synonyms = sorted(lemma for lemma in lemmas.get(word, ()) if is_plain_word(lemma) and lemma != word)
        if synonyms:
            found[word] = synonyms
    return found


def _nltk_lemmas(words: Sequence[str]) -> dict[str, set[str]]:
    """Return the words of all synsets of each word, from an installed corpus of nltk."""
    from hf_mner_aug.exceptions import MissingExtra
    from hf_mner_aug.need import need

    wordnet = need("nltk.corpus", extra="all").wordnet
    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise MissingExtra("nltk has no WordNet here: python -m nltk.downloader wordnet") from error
    return {
        word: {lemma.lower() for synset in wordnet.synsets(word) for lemma in synset.lemma_names()} for word in words
    }


def ppmi(texts: Texts, vocabulary: Sequence[str]) -> Any:
    """Return the positive pointwise mutual information of words and contexts [n_vocabulary, n_contexts].

    A context is a word and its offset (one to the left, two to the right, …), so that interchangeable words end up
    near each other. Contexts are in order of first occurrence, and smoothed (to the power 0.75), or rare ones would
    weigh too much.
    """
    import numpy as np
    from scipy.sparse import csr_matrix, vstack

    pairs = _count_pairs(texts, vocabulary)
    if not pairs.nnz:
        return csr_matrix((len(vocabulary), 1))
    words, smoothed = np.asarray(pairs.sum(axis=1)).ravel(), np.asarray(pairs.sum(axis=0)).ravel() ** 0.75
    total = smoothed.sum()
    blocks = []
    for first in range(0, len(vocabulary), 1000):  # in blocks, so that no number per pair is held twice
        block = pairs[first : first + 1000].tocoo()
        information = np.log(block.data.astype(np.float64) * total / (words[first + block.row] * smoothed[block.col]))
        blocks.append(csr_matrix((np.maximum(information, 0.0), (block.row, block.col)), block.shape))
        blocks[-1].eliminate_zeros()
    return vstack(blocks, format="csr")


def _count_pairs(texts: Texts, vocabulary: Sequence[str]) -> Any:
    """Return how often each word of the vocabulary occurs in each context [n_vocabulary, n_contexts]."""
    import numpy as np
    from scipy.sparse import csr_matrix

    places = [place for place in range(-WINDOW, WINDOW + 1) if place]
    row_of = np.full(len(texts.numbers), -1, np.int32)
    for i, word in enumerate(vocabulary):
        row_of[texts.numbers[word]] = i
    column_of = np.full(len(places) * len(texts.numbers), -1, np.int32)
    n_columns = 0
    pairs = csr_matrix((len(vocabulary), len(column_of)), dtype=np.int32)
    for words, lengths in texts.chunks():
        padded, at = _pad(words, lengths)
        at = at[row_of[words] >= 0]
        contexts = np.stack([n * len(row_of) + padded[at + place] for n, place in enumerate(places)], axis=1).ravel()
        new, first = np.unique(contexts[column_of[contexts] < 0], return_index=True)
        column_of[new[np.argsort(first)]] = np.arange(n_columns, n_columns + len(new), dtype=np.int32)
        n_columns += len(new)
        rows = np.repeat(row_of[padded[at]], len(places))
        ones = np.ones(len(rows), np.int32)
        pairs = pairs + csr_matrix((ones, (rows, column_of[contexts])), pairs.shape)
    return pairs[:, :n_columns]


def _pad(words: Any, lengths: Any) -> tuple[Any, Any]:
    """Return concatenated texts [n_words] with ``WINDOW`` marks around each, and the new index of each word."""
    import numpy as np

    at = np.arange(len(words)) + np.repeat(WINDOW * (2 * np.arange(len(lengths)) + 1), lengths)
    padded = np.full(len(words) + 2 * WINDOW * len(lengths), END, np.int64)
    starts = np.cumsum(lengths + 2 * WINDOW) - (lengths + 2 * WINDOW)
    for i in range(WINDOW):
        padded[starts + i] = BEGIN
    padded[at] = words
    return padded, at
