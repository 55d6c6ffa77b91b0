"""What a split says about words: which stand under which tag, which mentions have which type, which are alike."""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.scripts import is_emoji, is_plain_word

VOCABULARY = 20_000  # most frequent words that get neighbours
WINDOW = 2  # words to each side that count as context
DIMENSIONS = 50


def entity_key(entity: Entity) -> str:
    """Return an entity's type, with its fine type where it has one: ``PER`` or ``person/actor``."""
    return entity.type if entity.fine is None else f"{entity.type}/{entity.fine}"


def tag_keys(post: Post) -> list[str]:
    """Return the BIO tag of each word [n_words], with fine types: ``O``, ``B-PER``, ``I-person/actor``."""
    keys = ["O"] * len(post.tokens)
    for entity in post.entities:
        kind = entity_key(entity)
        keys[entity.start : entity.end] = [f"B-{kind}"] + [f"I-{kind}"] * (entity.end - entity.start - 1)
    return keys


def word_counts(posts: Iterable[Post]) -> dict[str, dict[str, int]]:
    """Return, for each tag key, how often each word stands under it."""
    counts: dict[str, Counter[str]] = {}
    for post in posts:
        for key, word in zip(tag_keys(post), post.tokens, strict=True):
            counts.setdefault(key, Counter())[word] += 1
    return {key: dict(sorted(words.items())) for key, words in counts.items()}


def mention_counts(posts: Iterable[Post]) -> dict[str, list[tuple[list[str], int]]]:
    """Return, for each entity key, its mentions (the words of each) and how often each occurs."""
    counts: dict[str, Counter[tuple[str, ...]]] = {}
    for post in posts:
        for entity in post.entities:
            words = tuple(post.tokens[entity.start : entity.end])
            counts.setdefault(entity_key(entity), Counter())[words] += 1
    return {key: [(list(words), n) for words, n in sorted(found.items())] for key, found in counts.items()}


def repeat_by_count(counts: Iterable[tuple[Any, int]]) -> list[Any]:
    """Return each item as often as it was counted, so that a uniform choice follows the counts."""
    return [item for item, n in counts for _ in range(n)]


def is_link(word: str) -> bool:
    """Say whether a word is a URL."""
    return word.lower().startswith(("http:", "https:", "www."))


def ordinary_words(post: Post) -> list[int]:
    """Return the indices of words that carry no label and are no handle, hashtag, URL, ``RT`` or punctuation.

    Emoji are words where a post has no others. Sets that split ``@user`` and ``#tag`` into two words, and a URL after
    ``http://t.``, are understood.
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


def common_words(posts: Iterable[Post]) -> set[str]:
    """Return the words, casefolded, that these posts cannot do without: more than 25 times and one word in 250.

    They stand in for a list of stop words, in any language.
    """
    counts = Counter(word.casefold() for post in posts for word in post.tokens)
    total = sum(counts.values())
    return {word for word, n in counts.items() if n > 25 and 250 * n > total}


def nearest_words(
    posts: Sequence[Post], *, neighbours: int = 5, min_count: int = 3, without: Collection[str] = ()
) -> dict[str, list[str]]:
    """Return the nearest words of each lower-case word without a label, by the words they stand among in these posts.

    Levy & Goldberg 2014: positive pointwise mutual information of words and contexts, reduced by SVD, cosine. Words
    rarer than ``min_count``, and those of ``without``, have no neighbours and are none. Ties go by the alphabet.
    """
    import numpy as np
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    texts = [[word.casefold() for word in post.tokens] for post in posts]
    outside = Counter(
        text[i] for post, text in zip(posts, texts, strict=True) for i in ordinary_words(post) if is_plain_word(text[i])
    )
    frequent = sorted(
        (word for word, n in outside.items() if n >= min_count and word not in without), key=lambda w: (-outside[w], w)
    )
    vocabulary = sorted(frequent[:VOCABULARY])
    matrix = ppmi(texts, {word: i for i, word in enumerate(vocabulary)})
    dimensions = min(DIMENSIONS, min(matrix.shape) - 1)
    if dimensions < 1 or matrix.nnz == 0:
        return {}
    vectors = normalize(TruncatedSVD(dimensions, algorithm="arpack", random_state=0).fit_transform(matrix))
    nearest: dict[str, list[str]] = {}
    for first in range(0, len(vocabulary), 1000):
        # Rounded, so that the order does not hang on the last bit of a sum.
        similarity = np.round(vectors[first : first + 1000] @ vectors.T, 6)
        for i, row in enumerate(similarity, start=first):
            row[i] = -1.0
            best = np.argsort(-row, kind="stable")[:neighbours]
            nearest[vocabulary[i]] = [vocabulary[j] for j in best if row[j] > 0]
    return {word: words for word, words in nearest.items() if words}


def wordnet_synonyms(posts: Iterable[Post]) -> dict[str, list[str]]:
    """Return WordNet's one-word synonyms of each lower-case word without a label, from an installed nltk corpus.

    Raises:
        MissingExtra: nltk is not installed, or its WordNet corpus is not on this machine.
    """
    from hf_mner_aug.exceptions import MissingExtra
    from hf_mner_aug.need import need

    wordnet = need("nltk.corpus", extra="all").wordnet
    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise MissingExtra("nltk has no WordNet here: python -m nltk.downloader wordnet") from error
    words = {post.tokens[i].casefold() for post in posts for i in ordinary_words(post)}
    found = {}
    for word in sorted(words):
        lemmas = {lemma.lower() for synset in wordnet.synsets(word) for lemma in synset.lemma_names()}
        synonyms = sorted(lemma for lemma in lemmas if is_plain_word(lemma) and lemma != word)
        if synonyms:
            found[word] = synonyms
    return found


def ppmi(texts: Iterable[Sequence[str]], index: Mapping[str, int]) -> Any:
    """Return the positive pointwise mutual information of words and contexts [n_vocabulary, n_contexts].

    A context is a word and its place (one to the left, two to the right, …), so that words which can stand for each
    other come out near. Contexts are smoothed (to the power 0.75), else rare ones weigh too much.
    """
    import numpy as np
    from scipy.sparse import coo_matrix, csr_matrix

    # Arrays of C integers: a dictionary of pairs would take some hundred bytes for each.
    rows, columns = array("i"), array("i")
    contexts: dict[tuple[int, str], int] = {}
    for text in texts:
        padded = ["<s>"] * WINDOW + list(text) + ["</s>"] * WINDOW
        for i, word in enumerate(text, start=WINDOW):
            row = index.get(word)
            if row is None:
                continue
            for place in range(-WINDOW, WINDOW + 1):
                if place:
                    rows.append(row)
                    columns.append(contexts.setdefault((place, padded[i + place]), len(contexts)))
    if not rows:
        return csr_matrix((len(index), 1))
    shape = (len(index), len(contexts))
    pairs = coo_matrix((np.ones(len(rows)), (np.asarray(rows), np.asarray(columns))), shape)
    pairs.sum_duplicates()
    words, smoothed = np.asarray(pairs.sum(axis=1)).ravel(), np.asarray(pairs.sum(axis=0)).ravel() ** 0.75
    information = np.log(pairs.data * smoothed.sum() / (words[pairs.row] * smoothed[pairs.col]))
    matrix = csr_matrix((np.maximum(information, 0.0), (pairs.row, pairs.col)), shape)
    matrix.eliminate_zeros()
    return matrix
