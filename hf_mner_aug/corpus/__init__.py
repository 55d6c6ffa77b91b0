"""Build a local corpus to search for posts.

Indexing adds the posts that are not in the corpus yet, batch by batch. If it is interrupted, the file is marked as
incomplete until the same source is indexed again; then it holds the same posts in the same order as after an
uninterrupted run.
"""

import hashlib
import json
import sqlite3
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_mner_aug.corpus.reading import Entry as Entry
from hf_mner_aug.corpus.reading import read_source
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.search import words
from hf_mner_aug.models.search.corpus import TABLES, check_format, guard, read_state, told
from hf_mner_aug.posts.pictures import image_bytes
from hf_mner_aug.posts.texts import too_long
from hf_mner_aug.progress import progress_bar
from hf_mner_aug.schema import EncodedImage, canonical_json
from hf_mner_aug.stopping import keeping
from hf_mner_aug.storage.disk import disk_full
from hf_mner_aug.storage.locks import lock
from hf_mner_aug.storage.picture_columns import is_named_only
from hf_mner_aug.storage.picture_files import Allowed, FileRefused, find_file, read_picture_file

BATCH = 5_000  # posts written at once
BATCH_BYTES = 64_000_000  # of pictures that fill a batch


@dataclass(kw_only=True)
class Indexed:
    """Counts of indexing: posts read, added, already there, empty, too long; pictures not read, by reason."""

    path: Path
    read: int = 0
    added: int = 0
    there: int = 0
    empty: int = 0
    long: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    posts: int = 0
    repeated_ids: int = 0
    fingerprint: str = ""

    def __str__(self) -> str:
        lines = [f"{self.read} posts read, {self.added} added, {self.there} there already; {self.posts} in {self.path}"]
        if self.empty:
            lines.append(f"{self.empty} posts without words left out")
        if self.long:
            lines.append(f"{len(self.long)} posts beyond the limits of a post left out, as {self.long[0]}")
        if self.missing:
            reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.reasons.items()))
            lines.append(f"{len(self.missing)} pictures are not read and left out ({reasons}), as {self.missing[0]}")
        if self.repeated_ids:
            lines.append(f"{self.repeated_ids} posts have the id of another one with other content: both are kept")
        lines.append(f"content fingerprint {self.fingerprint}")
        return "\n".join(lines)


def index(
    source: str,
    out: Path | str,
    *,
    splits: Sequence[str] = ("train",),
    name: str | None = None,
    licence: str | None = None,
    site: str | None = None,
    images: str | Path | None = None,
) -> Indexed:
    """Add the posts of a source to a corpus, which is created if it does not exist; one process at a time.

    A post with the same id, text, words, pictures, URL and date as an existing one is not added again.

    Args:
        source: a dataset as ``load_source`` takes it, a ``.txt`` file (one post per line), a ``.jsonl`` file, or
            a folder of such files.
        out: the corpus.
        splits: those of a dataset, or of a folder with a ``train`` file and others.
        name: the source name of hits (default: the file's, folder's or dataset's name, with the split).
        licence: that of posts without their own.
        site: the host of posts without a URL.
        images: a folder in which the source's picture files may be read, besides its own. A file below the corpus's
            folder is read again when its post is found; others are copied into the corpus.

    Raises:
        UsageError: there is no such source or split, it has no posts, or ``out`` is not a corpus.
        DataError: a file is not UTF-8, or a line or row does not follow its format.
        Corrupt: ``out`` is damaged.
        OSError: the disk is full, or another process keeps writing.
    """
    out = Path(out).absolute()
    site = site and _host(f"//{site}")
    parts, allowed = read_source(source, splits, name, images)
    out.parent.mkdir(parents=True, exist_ok=True)
    report = Indexed(path=out)
    try:
        with lock(out, "index", beside=True):
            connection = _open(out)
            try:
                writer = _Writer(connection, report, licence, site, allowed)
                with keeping(lambda: f"complete batches stay in {out}; the same command goes on"):
                    for part, entries in parts:
                        writer.add(part, progress_bar(entries, desc=part))
                    writer.finish([part for part, _ in parts])
            finally:
                connection.close()
    except sqlite3.DatabaseError as error:
        full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
        raise (disk_full(out) if full else told(error, out)) from error
    if not report.posts:
        raise UsageError(f"{source} holds no post")
    return report


def _open(path: Path) -> sqlite3.Connection:
    """Return a connection for writing to a corpus or to a new file."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    try:
        guard(connection)
        if check_format(connection, path):
            read_state(connection, path)
        else:
            connection.executescript(f"BEGIN IMMEDIATE;{TABLES}COMMIT;")
        connection.execute("PRAGMA cache_size = -65536")
    except UnicodeDecodeError as error:  # a damaged name in SQLite's message
        connection.close()
        raise told(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


class _Writer:
    """Adds posts to a corpus and counts the outcomes."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        report: Indexed,
        licence: str | None,
        site: str | None,
        allowed: Allowed,
    ) -> None:
        self.connection = connection
        self.report = report
        self.licence = licence
        self.site = site
        self._allowed = allowed
        self._folder = report.path.parent.resolve()

    def add(self, source: str, entries: Iterable[Entry]) -> None:
        """Add a source's posts in batches, each atomically."""
        batch: list[Entry] = []
        n_bytes = 0
        for entry in entries:
            batch.append(entry)
            n_bytes += sum(len(image["bytes"] or b"") for image in entry.images)
            if len(batch) == BATCH or n_bytes > BATCH_BYTES:
                self._write(source, batch)
                batch, n_bytes = [], 0
        self._write(source, batch)

    def _write(self, source: str, batch: Sequence[Entry]) -> None:
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            before = self.report.added
            fingerprint = execute("SELECT fingerprint FROM state").fetchone()[0]
            for entry in batch:
                fingerprint = self._add(source, entry, fingerprint)
            if self.report.added > before:
                execute("UPDATE state SET fingerprint = ?", (fingerprint,))
                execute("INSERT OR REPLACE INTO sources VALUES (?, 0)", (source,))
            execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                execute("ROLLBACK")
            raise

    def _add(self, source: str, entry: Entry, fingerprint: str) -> str:
        """Add a post unless it is in the corpus, and return the fingerprint of the corpus afterwards."""
        self.report.read += 1
        if excess := too_long(entry.text if entry.tokens is None else entry.tokens) or too_long(entry.text):
            self.report.long.append(f"{entry.id} ({excess})")
            return fingerprint
        held = words(entry.text)
        if not held:
            self.report.empty += 1
            return fingerprint
        pictures = [picture for image in entry.images if (picture := self._add_picture(image, entry.id))]
        pictures += [{"url": url} for url in entry.image_urls]
        tokens = None if entry.tokens is None else list(entry.tokens)
        content = [entry.id, entry.text, tokens, pictures, entry.url, entry.date]
        key = hashlib.sha256(canonical_json(content).encode()).digest()
        site = _host(entry.url) or self.site
        licence = entry.licence or self.licence
        cursor = self.connection.execute(
            "INSERT OR IGNORE INTO posts (key, id, text, tokens, images, url, site, date, licence, source) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, entry.id, entry.text, _json(tokens), _json(pictures), entry.url, site, entry.date, licence, source),
        )
        if not cursor.rowcount:
            self.report.there += 1
            return fingerprint
        self.report.added += 1
        self.connection.execute(
            "INSERT INTO post_words (rowid, words) VALUES (?, ?)", (cursor.lastrowid, " ".join(held))
        )
        chained = canonical_json([fingerprint, key.hex(), site, licence, source])
        return hashlib.sha256(chained.encode()).hexdigest()

    def _add_picture(self, image: EncodedImage, post: str) -> dict[str, Any] | None:
        """Store a picture's bytes, or its file's path below the corpus's folder, and return the post's reference."""
        data, inside = image_bytes(image), None
        if is_named_only(image):
            try:
                data = read_picture_file(image["path"], self._allowed)
            except FileRefused as error:
                self.report.missing.append(f"{error} (post {post})")
                self.report.reasons[error.reason] += 1
                return None
            inside = self._below(image["path"])
        if data is None:
            return None
        digest = hashlib.sha256(data).hexdigest()
        stored = (data, None) if inside is None else (None, inside)
        # Stored bytes are kept; the path of a moved file is updated.
        self.connection.execute(
            "INSERT INTO pictures VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
            "SET data = excluded.data, path = excluded.path WHERE data IS NULL AND path IS NOT excluded.path",
            (digest, *stored),
        )
        return {"digest": digest, "name": Path(image["path"]).name if image["path"] else None}

    def _below(self, path: str) -> str | None:
        """Return the path of a readable file below the corpus's folder, or None if it is elsewhere."""
        file = find_file(path, self._allowed)
        return file.relative_to(self._folder).as_posix() if file.is_relative_to(self._folder) else None

    def finish(self, sources: Sequence[str]) -> None:
        """Compute the counts that searches need and mark the sources as complete, unless nothing has changed."""
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        pending = {name for (name,) in execute("SELECT name FROM sources WHERE NOT complete")}
        if pending & set(sources):
            execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, post_words, row)")
            execute("DELETE FROM words")
            execute("INSERT INTO words SELECT term, doc FROM vocabulary")
            execute("UPDATE state SET posts = (SELECT count(*) FROM posts), words = (SELECT sum(cnt) FROM vocabulary)")
            self.connection.executemany("UPDATE sources SET complete = 1 WHERE name = ?", [(name,) for name in sources])
        self.report.posts, self.report.fingerprint = execute("SELECT posts, fingerprint FROM state").fetchone()
        (self.report.repeated_ids,) = execute("SELECT count(*) - count(DISTINCT id) FROM posts").fetchone()
        execute("COMMIT")


def _json(value: list[Any] | None) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None


def _host(url: str | None) -> str | None:
    try:
        host = urllib.parse.urlsplit(url or "").hostname
    except ValueError:
        return None
    return host.removeprefix("www.") if host else None
