"""Knowledge about posts: a text by post id, from a column or a JSON-lines file.

PGIM (Li et al. 2023) reads a post as ``words <sep> knowledge`` and tags the words only; its knowledge is a chat model's
answer about the post. Deviates: if the input is too long, the knowledge is cut, never the words.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_mner_aug.backbones.encoder import Pieces, WordPieces
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.pinned_files import checked_file

Knowledge = Mapping[str, str]


def read_column(data: Any, column: str, split: str) -> dict[str, str]:
    """Return the texts of a dataset's column (strings, or lists of them) by post id, without empty ones.

    Raises:
        UsageError: there is no such column.
        DataError: a value is not a text.
    """
    features = getattr(data, "features", None) or {}
    if column not in features:
        raise UsageError(
            f"{split}: expected a column {column} with knowledge, found {', '.join(features) or 'a list of posts'}: "
            "name another with knowledge=, or pass knowledge_file="
        )
    found = {}
    for row in data.select_columns(["id", column]):
        if text := _text(row[column], f"{split}: post {row['id']}, column {column}"):
            found[row["id"]] = text
    return found


def read_file(path: str | Path) -> dict[str, str]:
    """Return the texts of a file by post id, without empty ones.

    Args:
        path: a JSON object on each line, ``{"id": "tw-1", "knowledge": "Steph Curry plays basketball."}``.

    Raises:
        UsageError: there is no such file.
        DataError: a line is not such an object, or an id is repeated.
    """
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UsageError(f"knowledge: {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected JSON lines in UTF-8, found other bytes ({error.reason})") from error
    for number, line in enumerate(lines, start=1):
        where = f"{path} line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{where}: expected a JSON object ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("id"), str) or "knowledge" not in row:
            raise DataError(f'{where}: expected {{"id": "…", "knowledge": "…"}}, found {line[:60]!r}')
        if row["id"] in seen:
            raise DataError(f"{where}: post {row['id']} has knowledge on line {seen[row['id']]} already")
        seen[row["id"]] = number
        if text := _text(row["knowledge"], where):
            found[row["id"]] = text
    return found


def nothing(tagger: Any, data: Mapping[str, tuple[Any, Sequence[Post]]]) -> list[Knowledge]:
    """Return no knowledge for any split: the ``gather`` of backbones that read none."""
    return [{} for _ in data]


def gather(column: str | None, file: str | None, data: Mapping[str, tuple[Any, Sequence[Post]]]) -> list[Knowledge]:
    """Return the knowledge about the posts of each split, whose rows and posts are given.

    It is read from a column of the rows or from a file; without either there is none.

    Raises:
        UsageError: there is no such column or file, or no post of a split has knowledge.
        DataError: a value is not a text.
    """
    if file:
        known = read_file(checked_file(file, "knowledge_file "))
        check(known, [post for _, posts in data.values() for post in posts], str(file))
        return [known for _ in data]
    found: list[Knowledge] = []
    for split, (rows, posts) in data.items():
        found.append(read_column(rows, column, split) if column and posts else {})
        if column:
            check(found[-1], posts, f"column {column} of {split}")
    return found


def check(known: Knowledge, posts: Sequence[Post], source: str) -> None:
    """Warn in one line of posts without knowledge and of ids that belong to no post.

    Raises:
        UsageError: no post has any.
    """
    ids = {post.id for post in posts}
    missing = sorted(ids - known.keys())
    unknown = sorted(known.keys() - ids)
    if ids and len(missing) == len(ids):
        other = f", its ids are such as {unknown[0]}" if unknown else ""
        raise UsageError(f"{source}: it has no knowledge for any of {len(ids)} posts such as {missing[0]}{other}")
    told = []
    if missing:
        told.append(f"{len(missing)} of {len(ids)} posts have none ({_some(missing)})")
    if unknown:
        told.append(f"{len(unknown)} ids belong to no post here ({_some(unknown)})")
    if told:
        warnings.warn(f"knowledge from {source}: {'; '.join(told)}", stacklevel=5)


def append(post: Pieces, text: str, pieces: WordPieces) -> Pieces:
    """Return a post followed by knowledge, in subwords: as many whole words as fit."""
    after = pieces.after
    separator = pieces.tokenizer.sep_token_id
    ids = [*post.input_ids[: len(post.input_ids) - len(after)], after[-1] if separator is None else separator]
    start = len(ids)
    for word in text.split():
        subwords = pieces.subwords(word)
        if len(ids) + len(subwords) + len(after) > pieces.limit:
            break
        ids += subwords
    return Pieces(ids + after, post.first) if len(ids) > start else post


def _text(value: Any, where: str) -> str:
    """Return a text, or a list of texts joined; empty for None."""
    if value is None:
        return ""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise DataError(f"{where}: expected a text or a list of texts, found {value!r}")
    return " ".join(" ".join(parts).split())


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
