"""Corrected labels of posts, as a file of JSON lines that a conversion applies.

A line has the post's ``id``, its ``tokens``, its tags ``before`` and ``after`` [n_words], a ``note``, and ``accept``:
true applies it, false declines it, null leaves the post alone until somebody decides. A line without ``accept`` is
applied. With fine types, a tag is ``B-person/actor``. Further keys are not read.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers.formats import BadLine, RawPost
from hf_mner_aug.readers.images import Wanted
from hf_mner_aug.readers.layout import RawSet
from hf_mner_aug.readers.report import Corrected, Outcome, Report
from hf_mner_aug.readers.scan import unique_ids
from hf_mner_aug.schema import Orphans, repair_orphans, split_tag
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.untrusted.shapes import parse_json

LONGEST = 1_000_000  # bytes of a line that is looked at to recognise a file


class _Line(TypedDict):
    """A line of the file."""

    id: str
    tokens: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    note: NotRequired[str]
    accept: NotRequired[bool | None]


@dataclass(frozen=True, slots=True)
class Correction:
    """The tags of a post (before, after: [n_words]); ``accept`` is None until somebody decides."""

    id: str
    tokens: Sequence[str]
    before: Sequence[str]
    after: Sequence[str]
    note: str = ""
    accept: bool | None = True
    line: int = 0

    @property
    def outcome(self) -> Outcome:
        """What becomes of it in a conversion."""
        if self.accept is None:
            return "undecided"
        if not self.accept:
            return "declined"
        return "unchanged" if list(self.before) == list(self.after) else "applied"

    def to_json(self) -> str:
        """Return the correction as a line of a file."""
        keys = ("id", "tokens", "before", "after", "note", "accept")
        return json.dumps({key: getattr(self, key) for key in keys}, ensure_ascii=False) + "\n"


# ---------------------------------------------------------------- the file


def is_corrections(path: Path) -> bool:
    """Return whether a path is a file of corrections, by its first line."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.readline(LONGEST)
    try:
        first = json.loads(start)
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and {*_Line.__required_keys__} <= {*first}


def read_corrections(path: Path) -> dict[str, Correction]:
    """Return the corrections of a file, by the id of their post.

    Raises:
        UsageError: the file cannot be read.
        DataError: a line is not a correction, or a post has two.
    """
    found: dict[str, Correction] = {}
    for line, text in _lines(path):
        where = f"{path} line {line}"
        read: _Line = parse_json(text, _Line, where)
        note, accept = read.get("note", ""), read.get("accept", True)
        correction = Correction(read["id"], read["tokens"], read["before"], read["after"], note, accept, line)
        _check(correction, where)
        if correction.id in found:
            raise DataError(f"{where}: post {correction.id} is corrected on line {found[correction.id].line} already")
        found[correction.id] = correction
    if not found:
        raise DataError(f"{path}: expected a line of JSON for each correction, found none")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield from ((number, text) for number, text in enumerate(file, 1) if text.strip())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, found {error.object[error.start : error.end]!r}") from error


def _check(correction: Correction, where: str) -> None:
    """Raise DataError unless a correction has a tag for each word, and those after it are valid BIO."""
    n_words = len(correction.tokens)
    for name, tags in (("before", correction.before), ("after", correction.after)):
        if len(tags) != n_words:
            raise DataError(f"{where}: {name}: expected {n_words} tags, one for each word, found {len(tags)}")
    try:
        repair_orphans(correction.after, "error")
    except DataError as error:
        raise DataError(f"{where}: after: {error}: correct the tag") from error


# ---------------------------------------------------------------- on a set


def with_corrections(raw: RawSet, files: Mapping[str, Path], path: Path, report: Report) -> RawSet:
    """Return the set with corrected tags while its files are parsed; ``report.corrected`` lists the corrections.

    ``files`` are the set's, by split. They are read once more, to compare the words and tags before. A post is found by
    the id that it gets in the converted set.

    Raises:
        UsageError: the set has relations instead of tags, or the file cannot be read.
        DataError: a line is not a correction, has no post, or its post has other words or tags.
    """
    if raw.relations:
        raise UsageError(f"{raw.name} has relations, and no tags to correct: leave out --corrections")
    corrections = read_corrections(path)
    told = Corrected(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    changes: dict[Path, dict[int, Sequence[str]]] = {path: {} for path in files.values()}
    faults = dict.fromkeys(corrections, "no post has this id")
    tags: set[str] = set()  # of the set, before
    after: list[tuple[Sequence[str], bool]] = []
    for split, post in _posts_of(raw, files, corrections, tags):
        correction = corrections[post.id]
        faults[post.id] = _difference(raw, post, correction, report.orphans)
        if told.note(correction.id, correction.outcome, correction.note):
            changes[files[split]][post.line] = correction.after
            after.append((correction.after, bool(post.fine_tags)))
    _refuse(path, [(corrections[id_], fault) for id_, fault in faults.items() if fault])
    changed = {_parted(tag, has_fine)[0] for tags_after, has_fine in after for tag in tags_after}
    told.new_types = sorted(changed - {tag[2:] for tag in tags} - {""})
    report.corrected = told
    return replace(raw, parse=lambda file: _corrected(raw.parse(file), changes[file]))


def _posts_of(
    raw: RawSet, files: Mapping[str, Path], corrections: Mapping[str, Correction], tags: set[str]
) -> Iterator[tuple[str, RawPost]]:
    """Yield the posts that have a correction with their split and the id that they get in the set.

    All tags of the set are put into ``tags``.
    """
    wanted = {*corrections, *(id_.rpartition("~")[0] for id_ in corrections)}
    ids: dict[str, list[tuple[int, Wanted]]] = {split: [] for split in files}
    kept: dict[tuple[str, int], RawPost] = {}
    for split, file in files.items():
        for post in raw.parse(file):
            if isinstance(post, RawPost) and post.tokens:
                ids[split].append((post.line, Wanted(post.id, ())))
                tags.update(post.tags)
                if post.id in wanted:
                    kept[split, post.line] = post
    new_ids = unique_ids(ids)
    for (split, line), post in kept.items():
        if (id_ := new_ids.get((split, line), post.id)) in corrections:
            yield split, replace(post, id=id_)


def _difference(raw: RawSet, post: RawPost, correction: Correction, orphans: Orphans) -> str:
    """Return the difference between a post and the words, tags and types of its correction, or an empty text."""
    if list(correction.tokens) != post.tokens:
        return f"expected its words, {_excerpt(post.tokens)!r}, found {_excerpt(correction.tokens)!r}"
    policy: Orphans = "promote" if orphans == "error" else orphans
    repaired = _joined(repair_orphans(post.tags, policy)[0], repair_orphans(post.fine_tags, policy)[0])
    if list(correction.before) not in (repaired, _joined(post.tags, post.fine_tags)):
        i = next(i for i, tag in enumerate(repaired) if tag != correction.before[i])
        return f"expected {repaired[i]} before on {post.tokens[i]!r}, word {i}, found {correction.before[i]}"
    for tag in correction.after:
        kind, _, fine = _parted(tag, bool(post.fine_tags))
        if post.fine_tags and bool(kind) != bool(fine):
            return f"expected a coarse and a fine type after, as B-person/actor, found {tag}"
        if raw.types and kind and kind not in raw.types:
            return f"expected a type of {raw.title} after ({', '.join(raw.types)}), found {tag}"
    return ""


def _joined(tags: Sequence[str], fine_tags: Sequence[str]) -> list[str]:
    """Return tags with their fine types, as ``B-person/actor``, if there are any."""
    pairs = zip(tags, fine_tags or tags, strict=True)
    return [tag if tag == "O" or not fine_tags else f"{tag}/{fine[2:]}" for tag, fine in pairs]


def _parted(tag: str, has_fine: bool) -> tuple[str, str, str]:
    """Return the type of a tag, a slash, and its fine type; empty texts for ``O``, and where there is no fine type."""
    kind = split_tag(tag)[1]
    return kind.partition("/") if has_fine else (kind, "", "")


def _excerpt(words: Sequence[str]) -> str:
    return excerpt(" ".join(words), 60)


def _refuse(path: Path, faults: Sequence[tuple[Correction, str]]) -> None:
    """Raise DataError with the first fault and the number of the others, if there are any."""
    if not faults:
        return
    correction, fault = min(faults, key=lambda pair: pair[0].line)
    others = f" ({len(faults) - 1} more lines have faults)" if len(faults) > 1 else ""
    raise DataError(
        f"{path} line {correction.line}: post {correction.id}: {fault}{others}: correct the line or delete it"
    )


def _corrected(posts: Iterable[RawPost | BadLine], changes: Mapping[int, Sequence[str]]) -> Iterator[RawPost | BadLine]:
    """Yield posts, those on some lines with other tags."""
    for post in posts:
        after = changes.get(post.line)
        if after is None or isinstance(post, BadLine):
            yield post
            continue
        types = [_parted(tag, bool(post.fine_tags)) for tag in after]
        pairs = list(zip(after, types, strict=True))
        yield replace(
            post,
            tags=[tag if tag == "O" else f"{tag[0]}-{kind}" for tag, (kind, _, _) in pairs],
            fine_tags=[tag if tag == "O" else f"{tag[0]}-{fine}" for tag, (_, _, fine) in pairs if post.fine_tags],
            notes=(*post.notes, ("corrected", post.id)),
        )
