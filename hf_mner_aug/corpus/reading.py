"""The posts to index: from a dataset, a text file with a post on each line, or JSON lines."""

import datetime
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.schema import AUGMENTED, EncodedImage
from hf_mner_aug.sources.facts import read_source as source_facts
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.places import local_name
from hf_mner_aug.sources.splits import split_names
from hf_mner_aug.storage.picture_files import NOWHERE, Allowed, is_inside
from hf_mner_aug.untrusted.dates import parse_date, spell_date
from hf_mner_aug.untrusted.printable import excerpt

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

COLUMNS = ("id", "tokens", "text", "image", "images", "url", "date", "licence", "license")


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


def read_source(
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
    licence = source_facts(source).license
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
    columns = [name for name in COLUMNS if name in dataset.column_names]
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
