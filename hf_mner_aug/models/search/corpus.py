"""The local corpus: posts in one SQLite file, searched with FTS5.

It is built by ``corpus.index``. Only ``engine.words`` defines what a word is: FTS5 gets its words separated by spaces,
so that it finds the posts in which a scan would find the phrase.

Posts are ranked by BM25 (Robertson & Zaragoza 2009; k1 1.2, b 0.75, in FTS5's form) over the words of the query's text
and phrases. FTS5's own ``bm25()`` gives the same scores, but counts the posts that contain a word by reading them, for
each word and query. Here the counts are stored in a table.
Any of some phrases are in many posts: these are scored by lists of the posts that hold a word (``postings``), without
their texts.
"""

import contextlib
import functools
import hashlib
import heapq
import json
import math
import os
import sqlite3
import string
import threading
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.models.search.engine import Hit, Query, phrase_words, words
from hf_mner_aug.models.search.postings import K1, POSTS, B, Postings
from hf_mner_aug.schema import EncodedImage
from hf_mner_aug.storage.picture_files import Allowed, FileRefused, read_picture_file
from hf_mner_aug.untrusted.printable import excerpt

TERMS = 64  # of a text with more, the rarest words count
APPLICATION_ID = 0x6D6E6572  # "mner": distinguishes a corpus from other SQLite files
VERSION = 1  # raised when the tables or the definition of a word change
# Every sign except white space is part of a word: the text is tokenised before it gets here.
TOKENIZER = "ascii tokenchars '{}'".format(string.punctuation.replace("'", "''"))
TABLES = f"""
CREATE TABLE sources (name TEXT PRIMARY KEY, complete INTEGER NOT NULL);
CREATE TABLE posts (
  rowid INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, id TEXT NOT NULL, text TEXT NOT NULL, tokens TEXT, images TEXT,
  url TEXT, site TEXT, date TEXT, licence TEXT, source TEXT NOT NULL
);
CREATE TABLE pictures (digest TEXT PRIMARY KEY, data BLOB, path TEXT);
CREATE TABLE words (word TEXT PRIMARY KEY, posts INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE state (posts INTEGER NOT NULL, words INTEGER NOT NULL, fingerprint TEXT NOT NULL);
CREATE VIRTUAL TABLE post_words USING fts5(words, tokenize="{TOKENIZER.replace('"', '""')}");
INSERT INTO state VALUES (0, 0, '');
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""
# A corpus may be a stranger's: limits of a query's time, and of the values and programs in the file.
QUERY_SECONDS = 120.0
FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)  # a damaged name in SQLite's message is not UTF-8
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 200_000_000,  # bytes of a value, such as a picture
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 1_000_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
}


@dataclass(frozen=True)
class LocalCorpus:
    """Posts in a file of ``corpus.index``, opened read-only.

    It is compared and pickled by path and fingerprint (a sha256 over the ids and contents of all posts, in order), and
    opened in each process that searches.
    """

    path: Path
    fingerprint: str

    def search(self, query: Query, limit: int = 10) -> list[Hit]:
        """Return at most ``limit`` posts with the phrases, best first; ties go to the post indexed earlier.

        Of a text and phrases with more than 64 different words the rarest 64 count. Without phrases, a post must
        contain one of these.

        Raises:
            UsageError: as ``open_corpus``, or the corpus has changed since it was opened.
            DataError: a post's picture is no longer where it was indexed.
            Corrupt: the file is damaged.
            OSError: another process keeps writing.
        """
        if limit < 1:
            raise UsageError(f"search: limit must be at least 1, found {limit}")
        with self._clear_errors():
            return self._reader().search(query, limit)

    def posts(self, ids: Collection[str]) -> dict[str, list[Hit]]:
        """Return the posts with these ids (an id may have several), in the order of indexing; raises as ``search``."""
        with self._clear_errors():
            return self._reader().posts(ids)

    def __len__(self) -> int:
        """Return the number of posts."""
        return self._reader().n_posts

    def texts(self, first: int, n: int) -> list[str]:
        """Return the texts of n posts from the place ``first`` on, in the order of indexing; raises as ``search``."""
        with self._clear_errors():
            return self._reader().texts(first, n)

    def listed(self, places: Sequence[int], scores: Sequence[float]) -> list[Hit]:
        """Return the posts at some places of the order of indexing, with these scores; raises as ``search``."""
        with self._clear_errors():
            return self._reader().listed(places, scores)

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into one line for the user."""
        try:
            yield
        except FAULTS as error:
            raise told(error, self.path) from error

    def _reader(self) -> "_Reader":
        reader = _read(self.path, self.fingerprint, os.getpid(), threading.get_ident())
        if not reader.is_current():
            _read.cache_clear()
            reader = _read(self.path, self.fingerprint, os.getpid(), threading.get_ident())
        return reader


def open_corpus(path: Path | str) -> LocalCorpus:
    """Return the corpus in a file.

    Raises:
        UsageError: there is none, it is incomplete, empty or of another version, or the file is not a corpus.
        Corrupt: the file is damaged.
        OSError: it may not be read, or another process keeps writing.
    """
    path = Path(path).absolute()
    return LocalCorpus(path, _Reader(path).fingerprint)


def guard(connection: sqlite3.Connection) -> None:
    """Restrict a file that is read: nothing in it is executed, and nothing exceeds ``LIMITS``."""
    for limit, value in LIMITS.items():
        connection.setlimit(limit, value)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def check_format(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether a SQLite file holds a corpus; a file without tables does not.

    Raises:
        UsageError: it is not a corpus, or one of another version.
        Corrupt: it has other tables than a corpus, or views, triggers or indexes.
    """
    try:
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        n_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.OperationalError:  # locked, or with a journal that only a writer may roll back
        raise
    except FAULTS as error:
        raise UsageError(f"{path} is not a corpus: make one with hf-mner-aug index SOURCE --out {path.name}") from error
    if found == 0 and n_tables == 0:
        return False
    if found != APPLICATION_ID:
        raise UsageError(f"{path} is another program's database: give the corpus a file of its own")
    if version != VERSION:
        raise UsageError(f"{path} is a corpus of version {version}, expected {VERSION}: delete it and index again")
    others = _schema(connection) ^ _expected_schema()
    if others:
        kind, name = min(others)[:2]
        raise Corrupt(
            f"{path} differs from an indexed corpus at the {kind} {excerpt(name, 60)!r}: index its posts again"
        )
    return True


def _schema(connection: sqlite3.Connection) -> set[tuple[str, str, str, str]]:
    """Return the schema of a file: kind, name, table and definition of each table, index, view and trigger."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchmany(1000)
    return {(str(kind), str(name), str(table), " ".join(str(sql).split())) for kind, name, table, sql in found}


@functools.cache
def _expected_schema() -> frozenset[tuple[str, str, str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES)
        return frozenset(_schema(connection))


def read_state(connection: sqlite3.Connection, path: Path) -> tuple[int, int, str]:
    """Return the number of posts, the number of words and the fingerprint that a corpus stores.

    Raises:
        Corrupt: they are invalid.
    """
    rows = connection.execute("SELECT posts, words, fingerprint FROM state LIMIT 2").fetchall()
    settings = connection.execute("SELECT k FROM post_words_config WHERE k IS NOT 'version' LIMIT 1").fetchone()
    if len(rows) != 1 or settings or [type(value) for value in rows[0]] != [int, int, str]:
        raise Corrupt(f"{path} is damaged (its state is invalid): delete it and index again")
    posts, n_words, fingerprint = rows[0]
    if not (0 <= posts <= n_words < 1 << 53):
        raise Corrupt(f"{path} is damaged ({posts} posts of {n_words} words): delete it and index again")
    return posts, n_words, fingerprint


class _Reader:
    """A connection to a corpus, with the counts that BM25 needs."""

    def __init__(self, path: Path) -> None:
        again = f"run hf-mner-aug index SOURCE --out {path}"
        half = f"{path} is incomplete, indexing was interrupted"
        if not path.is_file():
            raise UsageError(f"there is no corpus {path}: {again}")
        self.path = path
        self._refused: set[str] = set()
        self._deadline = time.monotonic() + QUERY_SECONDS
        try:
            self._connection = sqlite3.connect(
                f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=60
            )
            guard(self._connection)
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, 10_000)
            if not check_format(self._connection, path):
                raise UsageError(f"{path} holds no posts: {again}")
            self._data_version = self._read_data_version()
            names = self._connection.execute("SELECT name FROM sources WHERE NOT complete LIMIT 10")
            pending = ", ".join(excerpt(str(name), 60) for (name,) in names)
            self.n_posts, n_words, self.fingerprint = read_state(self._connection, path)
        except FAULTS as error:
            if _name(error) == "SQLITE_READONLY_ROLLBACK":  # killed in the middle of a write
                raise UsageError(f"{half}: {again} again") from error
            raise told(error, path) from error
        if pending:
            raise UsageError(f"{half} at {pending}: {again} for it again")
        if not self.n_posts:
            raise UsageError(f"{path} holds no posts: {again}")
        self._mean_words = n_words / self.n_posts

    def is_current(self) -> bool:
        """Return whether the file is unchanged since it was opened."""
        return self._read_data_version() == self._data_version

    def search(self, query: Query, limit: int) -> list[Hit]:
        self._deadline = time.monotonic() + QUERY_SECONDS
        counts = self._document_counts(query)
        find = self._best_with_phrases if query.phrases else self._best_with_words
        return [self._hit(rowid, -score) for score, rowid in find(query, counts, limit)]

    def posts(self, ids: Collection[str]) -> dict[str, list[Hit]]:
        self._deadline = time.monotonic() + QUERY_SECONDS
        sql = "SELECT rowid, id FROM posts WHERE id IN (SELECT value FROM json_each(?)) ORDER BY rowid"
        found: dict[str, list[Hit]] = {}
        for rowid, name in self._connection.execute(sql, (json.dumps(list(ids)),)).fetchall():
            found.setdefault(name, []).append(self._hit(rowid, 0.0))
        return found

    def texts(self, first: int, n: int) -> list[str]:
        self._deadline = time.monotonic() + QUERY_SECONDS
        start = self._first_row() + first
        sql = "SELECT text FROM posts WHERE rowid >= ? AND rowid < ? ORDER BY rowid"
        found = [text for (text,) in self._connection.execute(sql, (start, start + n))]
        if len(found) != n or not all(isinstance(text, str) for text in found):
            raise self._damaged(f"the posts from {start} to {start + n - 1} are not all there")
        return found

    def listed(self, places: Sequence[int], scores: Sequence[float]) -> list[Hit]:
        self._deadline = time.monotonic() + QUERY_SECONDS
        start = self._first_row()
        return [self._hit(start + place, score) for place, score in zip(places, scores, strict=True)]

    def _first_row(self) -> int:
        """Return the number of the first post; the others follow without a gap, as they were indexed."""
        first: int = self._one("SELECT min(rowid) FROM posts")[0] or 0
        return first

    def _document_counts(self, query: Query) -> dict[str, int]:
        """Return, for the query's words in the corpus, the number of posts with each; the rarest if many."""
        asked = list(dict.fromkeys(word for text in (query.text, *query.phrases) for word in words(text)))
        sql = "SELECT word, posts FROM words WHERE word IN (SELECT value FROM json_each(?))"
        found = dict(self._connection.execute(sql, (json.dumps(asked),)))
        if not all(type(n) is int and 0 < n <= self.n_posts for n in found.values()):
            raise self._damaged("a word is in more posts than there are")
        rarest = set(heapq.nsmallest(TERMS, found, key=lambda word: (found[word], word)))
        return {word: found[word] for word in asked if word in rarest}

    def _best_with_phrases(self, query: Query, counts: Mapping[str, int], limit: int) -> list[tuple[float, int]]:
        """Return the best posts with the phrases, as ``_scored`` yields them."""
        import numpy as np

        operator = " AND " if query.require == "all" else " OR "
        match = operator.join(_quoted(phrase_words(phrase)) for phrase in query.phrases)
        if query.require == "all" or self.n_posts > POSTS:
            return heapq.nsmallest(limit, self._scored(self._candidates(query, match), counts))
        found = (rowid for (rowid,) in self._candidates(query, match, "post_words.rowid"))
        posts = np.sort(np.fromiter(found, np.int64))
        scores = -self._postings.scores(posts, {word: self._weight(k) for word, k in counts.items()})
        best = np.argsort(scores, kind="stable")[:limit]
        return list(zip(scores[best].tolist(), posts[best].tolist(), strict=True))

    def _best_with_words(self, query: Query, counts: Mapping[str, int], limit: int) -> list[tuple[float, int]]:
        """Return the best posts with any of the words, as ``_scored`` yields them.

        The rarest word comes first. Posts with no word but the common ones that are left are not read if these cannot
        score as much as the last of the best so far (MaxScore; Turtle & Flood 1995).
        """
        rarest = sorted(counts, key=lambda word: (counts[word], word))
        left = math.fsum(map(self._most_score, counts.values()))
        best: list[tuple[float, int]] = []
        for word in rarest:
            if len(best) == limit and left < -best[-1][0]:
                break
            found = self._scored(self._candidates(query, _quoted([word])), counts)
            best = heapq.nsmallest(limit, {*best, *found})
            left -= self._most_score(counts[word])
        return best

    @functools.cached_property
    def _postings(self) -> Postings:
        return Postings(self._connection, self._mean_words)

    def _candidates(
        self, query: Query, match: str, columns: str = "post_words.rowid, post_words.words"
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the number and the words, separated by spaces, of each post that FTS5 matches."""
        sql, values = f"SELECT {columns} FROM post_words ", [match]
        conditions = ["post_words MATCH ?"]
        if query.sites or query.since or query.until:
            sql += "JOIN posts ON posts.rowid = post_words.rowid "
        if query.sites:
            hosts = [site.lower().removeprefix("www.") for site in query.sites]
            one = "(posts.site = ? OR substr(posts.site, -1 - length(?)) = '.' || ?)"
            conditions.append("({})".format(" OR ".join([one] * len(hosts))))
            values += [host for host in hosts for _ in range(3)]
        for day, comparison in ((query.since, ">="), (query.until, "<=")):
            if day:
                conditions.append(f"substr(posts.date, 1, 10) {comparison} ?")
                values.append(day.isoformat()[:10])
        yield from self._connection.execute(f"{sql}WHERE {' AND '.join(conditions)}", values)

    def _scored(self, candidates: Iterable[tuple[Any, ...]], counts: Mapping[str, int]) -> Iterator[tuple[float, int]]:
        """Yield each candidate's BM25, negative so that the best sorts first, and its number."""
        # In the same order of operations as FTS5, so that the scores are equal to the last bit.
        weights = {word: self._weight(k) for word, k in counts.items()}
        for rowid, text in candidates:
            if not isinstance(text, str):
                raise self._damaged(f"the words of post {rowid} are not text")
            held = text.split(" ")
            frequencies = dict.fromkeys(weights, 0)
            for word in held:
                if word in frequencies:
                    frequencies[word] += 1
            length = K1 * (1 - B + B * len(held) / self._mean_words)
            score = 0.0
            for word, k in frequencies.items():
                if k:
                    score += weights[word] * (k * (K1 + 1) / (k + length))
            yield -score, rowid

    def _weight(self, count: int) -> float:
        """Return the weight of a word that some posts have.

        A word in more than half of the posts would have a negative weight: its weight is almost 0 instead.
        """
        return max(1e-6, math.log((self.n_posts - count + 0.5) / (count + 0.5)))

    def _most_score(self, count: int) -> float:
        """Return what a word that some posts have adds to the score of a post at most, and a little for rounding."""
        return self._weight(count) * (K1 + 1) + 1e-9

    def _hit(self, rowid: int, score: float) -> Hit:
        columns = "id, text, source, tokens, images, url, date, licence"
        row = self._one(f"SELECT {columns} FROM posts WHERE rowid = ?", rowid) or [None]
        optional = all(value is None or isinstance(value, str) for value in row[3:])
        if not (optional and all(isinstance(value, str) for value in row[:3])):
            raise self._damaged(f"post {rowid} is missing, or not text")
        name, text, source, tokens, images, url, date, licence = row
        held = self._json(tokens, rowid)
        pictures = self._json(images, rowid)
        if not all(isinstance(token, str) for token in held) or not all(map(_is_picture, pictures)):
            raise self._damaged(f"the words or pictures of post {rowid} are invalid")
        return Hit(
            id=name,
            text=text,
            source=source,
            score=score,
            tokens=tuple(held) if tokens else None,
            images=tuple(i for p in pictures if "digest" in p and (i := self._image(p["digest"], p["name"], name))),
            image_urls=tuple(p["url"] for p in pictures if "url" in p),
            url=url,
            date=date,
            licence=licence,
        )

    def _image(self, digest: str, name: str | None, post: str) -> EncodedImage | None:
        """Return a picture, or None if its file may not be read: the corpus may be a stranger's."""
        data, path = self._one("SELECT data, path FROM pictures WHERE digest = ?", digest) or (None, None)
        if not isinstance(path if data is None else data, str if data is None else bytes):
            raise self._damaged(f"a picture of post {post} is missing")
        if data is None:
            try:
                data = read_picture_file(str(path), Allowed.of(self.path.parent))
            except FileRefused as error:
                if error.reason != "not_there":
                    self._refuse(error)
                    return None
                raise DataError(f"post {post}: {error} in {self.path.parent}: put it back, or index again") from error
            if hashlib.sha256(data).hexdigest() != digest:
                raise DataError(f"post {post}: {path} has changed since it was indexed: put the former picture back")
        return {"bytes": data, "path": name}

    def _refuse(self, error: FileRefused) -> None:
        """Warn once for each reason that pictures are missing."""
        if error.reason not in self._refused:
            self._refused.add(error.reason)
            warnings.warn(
                f"{self.path}: the picture {error}: it and others refused as {error.reason} are missing; "
                "to store pictures inside, delete the corpus and index its source again",
                stacklevel=2,
            )

    def _json(self, text: str | None, rowid: int) -> list[Any]:
        """Return a list that is stored as JSON."""
        try:
            found = json.loads(text) if text else []
        except (ValueError, RecursionError) as error:
            raise self._damaged(f"post {rowid} is not JSON") from error
        if not isinstance(found, list):
            raise self._damaged(f"post {rowid} is not a list")
        return found

    def _damaged(self, what: str) -> Corrupt:
        return Corrupt(f"{self.path} is damaged ({what}): delete it and index again")

    def _one(self, sql: str, *values: Any) -> Any:
        return self._connection.execute(sql, values).fetchone()

    def _read_data_version(self) -> int:
        return self._one("PRAGMA data_version")[0]


@functools.lru_cache(maxsize=16)
def _read(path: Path, fingerprint: str, pid: int, thread: int) -> _Reader:
    """Return this process's and thread's connection to a corpus."""
    reader = _Reader(path)
    if reader.fingerprint != fingerprint:
        raise UsageError(
            f"{path} has changed since it was opened: expected fingerprint {fingerprint[:12]}, "
            f"found {reader.fingerprint[:12]}"
        )
    return reader


def _is_picture(value: Any) -> bool:
    """Return whether a value has the form that ``corpus.index`` stores for a picture."""
    if not isinstance(value, dict):
        return False
    known = "url" in value or "digest" in value
    name = value.get("name", "")
    return known and isinstance(name, str | None) and all(isinstance(value.get(k, ""), str) for k in ("url", "digest"))


def _name(error: Exception) -> str:
    """Return SQLite's name of an error; empty if it is Python's own, as for text that is not UTF-8."""
    return getattr(error, "sqlite_errorname", "")


def told(error: Exception, path: Path) -> Exception:
    """Return the error to raise for the user: the file is damaged, takes too long, or cannot be read now."""
    if _name(error) == "SQLITE_INTERRUPT":
        return Corrupt(f"{path} takes more than {QUERY_SECONDS:g} s to answer: index its posts again, or fewer of them")
    if isinstance(error, sqlite3.OperationalError) and _name(error) not in ("", "SQLITE_ERROR"):
        return OSError(f"{path} cannot be read: {error}")
    return Corrupt(f"{path} is damaged ({excerpt(str(error))}): delete it and index again")


def _quoted(phrase: Sequence[str]) -> str:
    """Return words as an FTS5 string, in which nothing is an operator."""
    return '"{}"'.format(" ".join(phrase).replace('"', '""'))
