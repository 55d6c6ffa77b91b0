"""Build a local corpus to search for posts: from a dataset, a text file with a post on each line, or JSON lines.

Indexing adds the posts that are not in the corpus yet, batch by batch. If it is interrupted, the file is marked as
incomplete until the same source is indexed again; then it holds the same posts in the same order as after an
uninterrupted run.
"""

import datetime
import hashlib
import json
import sqlite3
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.models.search import TABLES, check_format, guard, read_state, told, words
from hf_mner_aug.posts.hygiene import image_bytes, too_long
from hf_mner_aug.schema import AUGMENTED, EncodedImage, canonical_json
from hf_mner_aug.sources.facts import read_source
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.places import local_name
from hf_mner_aug.sources.splits import split_names
from hf_mner_aug.stopping import keeping
from hf_mner_aug.storage.disk import disk_full
from hf_mner_aug.storage.locks import lock
from hf_mner_aug.storage.picture_columns import is_named_only
from hf_mner_aug.storage.picture_files import NOWHERE, Allowed, FileRefused, find_file, is_inside, read_picture_file
from hf_mner_aug.untrusted.dates import parse_date, spell_date
from hf_mner_aug.untrusted.printable import excerpt

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

BATCH = 5_000  # posts written at once
BATCH_BYTES = 64_000_000  # of pictures that fill a batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A post to index; pictures are bytes or a path in ``images``, or a URL. ``date`` is in ISO 8601."""

    id: str
    text: str
    tokens: Sequence[str] | None = None
    images: Sequence[EncodedImage] = ()
    image_urls: Sequence[str] = ()
    url: str | None = None
    date: str | None = None
    licence: str | None = None


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
    parts, allowed = _read_source(source, splits, name, images)
    out.parent.mkdir(parents=True, exist_ok=True)
    report = Indexed(path=out)
    try:
        with lock(out, "index", beside=True):
            connection = _open(out)
            try:
                writer = _Writer(connection, report, licence, site, allowed)
                with keeping(lambda: f"complete batches stay in {out}; the same command goes on"):
                    for part, entries in parts:
                        writer.add(part, entries)
                    writer.finish([part for part, _ in parts])
            finally:
                connection.close()
    except sqlite3.DatabaseError as error:
        full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
        raise (disk_full(out) if full else told(error, out)) from error
    if not report.posts:
        raise UsageError(f"{source} holds no post")
    return report


# ---------------------------------------------------------------- writing


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


# ---------------------------------------------------------------- reading


def _read_source(
    source: str, splits: Sequence[str], name: str | None, images: str | Path | None
) -> tuple[list[tuple[str, Iterable[Entry]]], Allowed]:
    """Return the posts of a source by the source name of hits, and where the files that they name may be read."""
    path = Path(source).expanduser()
    if path.is_file():
        _check_no_splits(path, splits)
        return [(name or path.stem, _reader_of(path)(path))], Allowed.of(path.parent, images)
    if path.is_dir() and not any(path.rglob("*.parquet")):
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in READERS)
        for file in files:
            if not (file.is_file() and is_inside(file, path.resolve())):
                raise UsageError(f"{file} is not a regular file in {path}: index it by itself if you trust it")
        if files:
            title = name or path.resolve().name
            return [
                (
                    f"{title}/{split}" if split else title,
                    chain.from_iterable(_reader_of(file)(file) for file in of_split),
                )
                for split, of_split in _files_of(path, files, splits).items()
            ], Allowed.of(path, images)
    elif path.suffix.lower() in READERS:
        raise UsageError(f"there is no file {path}")
    found = load_source(str(path) if path.is_dir() else source, images=images)
    title = name or local_name(source) or source
    for split in splits:
        if split not in found:
            raise UnknownName("split", split, found)
    licence = read_source(source).license
    declared = None if licence == "other" else licence
    return [(f"{title}/{split}", _dataset_entries(found[split], declared)) for split in splits], NOWHERE


def _files_of(folder: Path, files: Sequence[Path], splits: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files to read by split; for a folder without a ``train``, all of them under "".

    Raises:
        UnknownName: there is no such split.
    """
    names = split_names(file.stem for file in files)
    if "train" not in names.values() or len(set(names.values())) < 2:
        _check_no_splits(folder, splits)
        return {"": list(files)}
    for split in splits:
        if split not in names.values():
            raise UnknownName("split", split, sorted(set(names.values())))
    return {split: [file for file in files if names[file.stem] == split] for split in splits}


def _check_no_splits(path: Path, splits: Sequence[str]) -> None:
    if tuple(splits) != ("train",):
        raise UsageError(f"{path} has no splits, found {', '.join(splits)}: leave --splits out to index it whole")


def _reader_of(path: Path) -> Callable[[Path], Iterator[Entry]]:
    try:
        return READERS[path.suffix.lower()]
    except KeyError:
        raise UsageError(f"{path}: expected {', '.join(READERS)}, or a dataset's folder or Hub id") from None


def _text_entries(path: Path) -> Iterator[Entry]:
    """Yield the lines of a file as posts whose ids are digests."""
    for number, line in _lines(path):
        if number == 1 and line.startswith("IMGID:"):
            raise UsageError(
                f"{path} holds words and tags: make a dataset of it with hf-mner-aug convert, and index that"
            )
        text = _unescape(line).strip()
        yield Entry(id=_digest_id(text), text=text)


def _json_entries(path: Path) -> Iterator[Entry]:
    """Yield the posts of a file of JSON lines.

    Keys: ``text`` or ``tokens``, and optionally ``id``, ``image`` (a path from the file's folder, or a URL) or
    ``images`` (a list of them), ``url``, ``date``, ``licence``; others are ignored.
    """
    for number, line in _lines(path):
        where = f"{path} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object with text or tokens, found {type(row).__name__}")
        tokens = _strings(row.get("tokens"), f"{where}: tokens")
        text = _string(row.get("text"), f"{where}: text")
        if text is None and tokens is None:
            raise DataError(f"{where}: expected text or tokens, found {', '.join(row) or 'nothing'}")
        text = " ".join(tokens or ()) if text is None else _unescape(text)
        name = row.get("id")
        if name is not None and (isinstance(name, bool) or not isinstance(name, str | int)):
            raise DataError(f"{where}: id must be a string or a whole number, found {name!r}")
        one = _string(row.get("image"), f"{where}: image")
        pictures = [*([one] if one else []), *(_strings(row.get("images"), f"{where}: images") or [])]
        urls = [picture for picture in pictures if picture.lower().startswith(("http://", "https://"))]
        yield Entry(
            id=_digest_id(text) if name in (None, "") else _whole(str(name)),
            text=text,
            tokens=tokens,
            images=[{"bytes": None, "path": file} for file in pictures if file not in urls],
            image_urls=urls,
            url=_string(row.get("url"), f"{where}: url"),
            date=_date(row.get("date"), where),
            licence=_string(row.get("licence", row.get("license")), f"{where}: licence"),
        )


READERS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    ".txt": _text_entries,
    ".jsonl": _json_entries,
    ".ndjson": _json_entries,
}


def _dataset_entries(dataset: "Dataset", declared: str | None) -> Iterator[Entry]:
    """Yield a split's rows as posts, with the licence that the set's card declares if they have none.

    Of an augmented config only the gold posts are used: a made post is never made from another made one.
    """
    columns = [name for name in _COLUMNS if name in dataset.column_names]
    if "id" not in columns or not {"tokens", "text"} & set(columns):
        raise UsageError(f"expected the columns id and tokens or text, found {', '.join(dataset.column_names)}")
    pictures = "image" in columns or "images" in columns
    if set(AUGMENTED) <= set(dataset.column_names):
        columns.append("method")
    stored = dataset.select_columns(columns).with_format("arrow")
    done = 0
    for table in stored.iter(batch_size=64 if pictures else 1000):
        rows, done = _rows(table, done), done + table.num_rows
        for row in rows:
            if row.get("method", "gold") != "gold":
                continue
            where = f"post {row['id']}"
            tokens = row.get("tokens")
            images = [row.get("image"), *(row.get("images") or ())]
            yield Entry(
                id=str(row["id"]),
                text=_string(row.get("text"), f"{where}: text") or " ".join(tokens or ()),
                tokens=tokens,
                images=[image for image in images if image],
                url=_string(row.get("url"), f"{where}: url"),
                date=_date(row.get("date"), where),
                licence=_string(row.get("licence", row.get("license")), f"{where}: licence") or declared,
            )


def _rows(table: "pa.Table", done: int) -> list[dict[str, Any]]:
    """Return the rows of a table; ``done`` rows of its split come before it.

    Raises:
        DataError: a value has no Python equivalent, as a time in the year 146,000,000 or text that is not UTF-8.
    """
    try:
        return table.to_pylist()
    except (ValueError, OverflowError):
        for i in range(table.num_rows):
            try:
                table.slice(i, 1).to_pylist()
            except (ValueError, OverflowError) as error:
                reason = excerpt(str(error), 80)
                raise DataError(
                    f"row {done + i}: a value cannot be read ({reason}): correct it or drop its column"
                ) from error
        raise


_COLUMNS = ("id", "tokens", "text", "image", "images", "url", "date", "licence", "license")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not blank, counted from 1."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise DataError(f"{path} line {number} is not UTF-8: {error.reason} at byte {error.start}") from error
            if text.strip():
                yield number, text


def _unescape(text: str) -> str:
    """Return a tweet without the three HTML escapes that Twitter's API writes."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") if "&" in text else text


def _digest_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _string(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{where} must be a string, found {value!r}")
    return _whole(value)


def _strings(value: Any, where: str) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise DataError(f"{where} must be a list of strings, found {value!r}")
    return [_string(item, where) or "" for item in value]


def _whole(text: str) -> str:
    """Return a text that UTF-8 can encode: a lone surrogate, as in truncated tweets, becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _date(value: Any, where: str) -> str | None:
    """Return a date or time as ISO 8601, times in UTC; ``Wed Aug 27 13:08:45 +0000 2008`` is accepted, too."""
    if value is None or value == "":
        return None
    found = parse_date(value) if isinstance(value, str) else value
    spelled = spell_date(found) if isinstance(found, datetime.date) else None
    if spelled is None:
        raise DataError(f"{where}: date must be as 2008-08-27 or 2008-08-27T13:08:45Z, found {repr(value)[:60]}")
    return spelled
