"""Scores of many posts of a local corpus at once, from lists of the posts that hold a word, kept in memory.

Of corpora of up to a million posts, and up to ``KEPT`` places in lists; the texts of the posts are not read.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_mner_aug.untrusted.printable import excerpt

if TYPE_CHECKING:
    import numpy as np

POSTS = 1_000_000  # of a corpus, at most: their lengths are kept, 16 bytes of each
KEPT = 4_000_000  # posts in the lists kept, 16 bytes each
K1, B = 1.2, 0.75
# FTS5's own list of the places of each word; it belongs to the connection, not to the file.
TABLE = "CREATE VIRTUAL TABLE temp.places USING fts5vocab(main, post_words, instance)"


class Postings:
    """The posts that hold each word of a corpus.

    Raises:
        sqlite3.DatabaseError: the corpus is damaged.
    """

    def __init__(self, connection: sqlite3.Connection, mean_words: float) -> None:
        import numpy as np

        self._connection = connection
        connection.execute("PRAGMA query_only = OFF")
        connection.execute(TABLE)
        connection.execute("PRAGMA query_only = ON")
        rows = connection.execute("SELECT id, sz FROM post_words_docsize ORDER BY id")
        found: Any = np.fromiter(((rowid, _read_length(size)) for rowid, size in rows), np.dtype((np.int64, 2)))
        self._posts = found[:, 0].copy()
        self._lengths = K1 * (1 - B + B * found[:, 1] / mean_words)
        self._kept: OrderedDict[str, tuple[Any, Any]] = OrderedDict()  # the word used last is the last one
        self._n_kept = 0

    def scores(self, posts: "np.ndarray", weights: Mapping[str, float]) -> "np.ndarray":
        """Return the BM25 of posts [n_posts], by their numbers in order, of words with weights.

        In the same order of operations as FTS5, so that the scores are equal to the last bit.
        """
        import numpy as np

        scores = np.zeros(len(posts))
        for word, weight in weights.items():
            holders, gains = self._of(word)
            at = np.minimum(holders.searchsorted(posts), len(holders) - 1)
            scores += weight * np.where(holders[at] == posts, gains[at], 0.0)
        return scores

    def _of(self, word: str) -> tuple[Any, Any]:
        """Return the numbers of the posts that hold a word, in order, and what it adds to the score of each."""
        import numpy as np

        if word in self._kept:
            self._kept.move_to_end(word)
            return self._kept[word]
        rows = self._connection.execute("SELECT doc FROM temp.places WHERE term = ?", (word,))
        found = np.fromiter((post for (post,) in rows), np.int64)  # in order, each as often as it holds the word
        first = np.flatnonzero(np.diff(found, prepend=-1))
        holders, times = found[first], np.diff(first, append=len(found))
        at = np.minimum(self._posts.searchsorted(holders), len(self._posts) - 1)
        if not len(holders) or (self._posts[at] != holders).any():
            raise sqlite3.DatabaseError(f"the places of the word {excerpt(word, 60)!r} are not those of its posts")
        lengths = self._lengths[at]
        self._kept[word] = holders, times * (K1 + 1) / (times + lengths)
        self._n_kept += len(holders)
        while self._n_kept > KEPT and len(self._kept) > 1:
            _, (former, _) = self._kept.popitem(last=False)
            self._n_kept -= len(former)
        return self._kept[word]


def _read_length(size: object) -> int:
    """Return the number of words of a post, which FTS5 stores in groups of 7 bits, the highest first."""
    if not isinstance(size, bytes) or not 1 <= len(size) <= 5:
        raise sqlite3.DatabaseError("the length of a post is not a number")
    length = 0
    for group in size:
        length = length << 7 | group & 127
    return length
