"""Knowledge about posts: a text by post id, from a column or a JSON-lines file.

PGIM (Li et al. 2023) reads a post as ``words <sep> knowledge`` and tags the words only; its knowledge is a chat model's
answer about the post. Deviates: if the input is too long, the knowledge is cut, never the words.
"""

import json
import warnings
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from hf_mner_aug.backbones.encoder import Pieces, WordPieces
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.pinned_files import checked_file

Knowledge = Mapping[str, str]


class Told(NamedTuple):
    """A text about a post, and the words of that post, joined by blanks; None if the file does not say."""

    text: str
    words: str | None = None


class About(Protocol):
    """A backbone that reads knowledge."""

    name: ClassVar[str]

    @property
    def knowledge(self) -> str | None:
        """A column."""
        ...

    @property
    def knowledge_file(self) -> str | None:
        """A file."""
        ...


def check_one(backbone: About) -> None:
    """Check that knowledge comes from one place.

    Raises:
        UsageError: from two.
    """
    if backbone.knowledge and backbone.knowledge_file:
        raise UsageError(f"{backbone.name}: pass knowledge, a column, or knowledge_file, not both")


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


def read_file(path: str | Path) -> dict[str, list[Told]]:
    """Return the texts of a file by post id, without empty ones.

    Args:
        path: a JSON object on each line, ``{"id": "tw-1", "knowledge": "Steph Curry plays basketball."}``; with
            ``"text"``, the words of the post joined by blanks, a line is about this text only, so that several posts
            of one id have each their own.

    Raises:
        UsageError: there is no such file.
        DataError: a line is not such an object, or an id is repeated.
    """
    found: dict[str, list[Told]] = defaultdict(list)
    seen: dict[tuple[str, str | None], int] = {}
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
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: expected a JSON object ({error})") from error
        texts = [row.get("id"), row.get("text", "")] if isinstance(row, dict) else [None]
        if not all(isinstance(text, str) for text in texts) or "knowledge" not in row:
            raise DataError(f'{where}: expected {{"id": "…", "knowledge": "…"}}, found {line[:60]!r}')
        name, words = row["id"], row.get("text")
        for key in {(name, None), (name, words)} & seen.keys():
            raise DataError(f"{where}: post {name} has knowledge on line {seen[key]} already")
        seen[name, words] = number
        if text := _text(row["knowledge"], where):
            found[name].append(Told(text, words))
    return dict(found)


def about(posts: Sequence[Post], told: Mapping[str, Sequence[Told]]) -> dict[str, str]:
    """Return the texts of a file that are about some posts, by id; one about other words of an id is left out."""
    return {
        post.id: one.text
        for post in posts
        for one in told.get(post.id, ())
        if one.words is None or one.words == " ".join(post.tokens)
    }


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
        told = read_file(checked_file(file, "knowledge_file "))
        found = [about(posts, told) for _, posts in data.values()]
        posts_of = [posts for _, posts in data.values()]
        check(list(zip(posts_of, found, strict=True)), told, str(file))
        return list(found)
    columns: list[Knowledge] = []
    for split, (rows, posts) in data.items():
        columns.append(read_column(rows, column, split) if column and posts else {})
        if column:
            check([(posts, columns[-1])], columns[-1], f"column {column} of {split}")
    return columns


def check(found: Sequence[tuple[Sequence[Post], Knowledge]], ids: Collection[str], source: str) -> None:
    """Warn in one line if posts have no knowledge, and then also of ids that belong to none of the posts.

    Args:
        found: the posts of each split, and the knowledge about them.
        ids: those of the source.
        source: its name.

    Raises:
        UsageError: no post has any.
    """
    asked = {post.id for posts, _ in found for post in posts}
    missing = sorted({post.id for posts, known in found for post in posts if post.id not in known})
    unknown = sorted(set(ids) - asked)
    changed = [name for name in missing if name in ids]
    if asked and len(missing) == len(asked):
        other = (
            f", its ids are such as {unknown[0]}" if unknown else ", it has other words under their ids" * bool(changed)
        )
        raise UsageError(f"{source}: it has no knowledge for any of {len(asked)} posts such as {missing[0]}{other}")
    if not missing:
        return
    told = [f"{len(missing)} of {len(asked)} posts have none ({_some(missing)})"]
    if changed:
        told.append(f"under {len(changed)} of their ids it has other words")
    if unknown:
        told.append(f"{len(unknown)} ids belong to no post here ({_some(unknown)})")
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
