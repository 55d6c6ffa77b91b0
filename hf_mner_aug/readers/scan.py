"""The first pass over a raw set: tags, types, ids and boxes are checked and counted."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.texts import normalise_unicode
from hf_mner_aug.readers import encodings
from hf_mner_aug.readers.boxes import Box, Shown, parse_voc, place_boxes
from hf_mner_aug.readers.formats import NAME_COLUMNS, BadLine, RawPost
from hf_mner_aug.readers.images import PictureFile, Wanted
from hf_mner_aug.readers.layout import RawSet
from hf_mner_aug.readers.left_out import check_readable
from hf_mner_aug.readers.report import Report, SplitReport
from hf_mner_aug.schema import Orphans, bio_to_spans, repair_orphans


@dataclass
class Found:
    """Facts found in the files of a set, for those that its ``RawSet`` does not declare."""

    types: Counter[str] = field(default_factory=Counter)
    fine_types: Counter[str] = field(default_factory=Counter)
    columns: dict[int, Path] = field(default_factory=dict)
    several_pictures: bool = False
    named_picture: str = ""
    lone_ats: int = 0
    handles: int = 0


def scan(raw: RawSet, path: Path, orphans: Orphans, counts: SplitReport, found: Found) -> list[tuple[int, Wanted]]:
    """Check and count the posts of a file; return line, id and images of each post with words."""
    ids = []
    for post in raw.parse(path):
        if isinstance(post, BadLine):
            counts.leave_out(post)
            continue
        if not post.tokens:
            counts.note("empty_posts", post.id)
            continue
        ids.append((post.line, Wanted(post.id, post.pictures)))
        found.several_pictures = found.several_pictures or len(post.pictures) > 1
        found.named_picture = found.named_picture or next((name for name in post.pictures if name != post.id), "")
        counts.posts += 1
        counts.words += len(post.tokens)
        counts.mentions += sum(tag[0] == "B" for tag in post.tags)
        counts.relations += post.relation is not None
        for trouble, example in post.notes:
            counts.note(trouble, example)
        found.lone_ats += post.tokens.count("@")
        found.handles += sum(len(word) > 1 and word[0] == "@" for word in post.tokens)
        _check_columns(post, path, found)
        for tags, trouble, kinds in (
            (post.tags, "orphans", found.types),
            (post.fine_tags, "fine_orphans", found.fine_types),
        ):
            repaired, n_orphans = repair_orphans(tags)
            kinds.update(tag[2:] for tag in repaired if tag[0] == "B")
            if n_orphans:
                i = next(i for i, tag in enumerate(tags) if tag != repaired[i])
                if orphans == "error":
                    raise DataError(
                        f"post {post.id}: {tags[i]} on {post.tokens[i]!r} follows no tag of its type "
                        f"({path} line {post.lines[i]}): correct it, or read with orphans 'promote' or 'drop'"
                    )
                counts.note(trouble, f"{post.id} {post.tokens[i]!r}", n_orphans)
        _check_types(raw, post, path)
    check_readable(raw, path, counts)
    return ids


def _check_columns(post: RawPost, path: Path, found: Found) -> None:
    """Check that all files have as many columns of tags, and that two columns, coarse and fine, mark the same mentions.

    Raises:
        DataError: they do not; a word has a tag in only one of them, as with chunks and entities.
    """
    found.columns.setdefault(1 + bool(post.fine_tags), path)
    if len(found.columns) > 1:
        one, two = found.columns[1], found.columns[2]
        raise DataError(f"expected as many tag columns in every file, found one in {one} and two in {two}")
    for i, (tag, fine) in enumerate(zip(post.tags, post.fine_tags, strict=False)):
        if (tag == "O") != (fine == "O"):
            raise DataError(
                f"post {post.id}: expected coarse and fine tags of the same mentions, found {tag} and {fine} on "
                f"{post.tokens[i]!r} ({path} line {post.lines[i]}): {NAME_COLUMNS}"
            )


def _check_types(raw: RawSet, post: RawPost, path: Path) -> None:
    """Raise DataError unless the set has all types of a post's tags, if it declares any."""
    known = {*raw.types, *raw.renames}
    for i, tag in enumerate(post.tags if raw.types else ()):
        if tag != "O" and tag[2:] not in known:
            raise DataError(
                f"post {post.id}: expected a type of {raw.title} ({', '.join(sorted(known))}), found {tag} "
                f"({path} line {post.lines[i]}): read other label sets as conll"
            )


def with_options(raw: RawSet, files: Mapping[str, Path], given: Mapping[str, Any], report: Report) -> RawSet:
    """Return the set read with some options: those that the user gave, and those that are found in its files.

    The encoding is the first to be found, so that ``recognise`` can read the files.

    Raises:
        UsageError: the set has no such option.
        DataError: the files' encoding is not certain.
    """
    if others := [name for name in given if name not in raw.takes]:
        raise UsageError(f"{raw.name} takes no --{others[0]}: leave it out")
    found: Mapping[str, Any] = {}
    if "encoding" in raw.takes:
        encoding, said = encodings.recognise(files.values(), given.get("encoding", encodings.AUTO))
        given = {**given, "encoding": encoding}
        report.recognised += said
    if raw.recognise is not None:
        found, said = raw.recognise(files, given)
        report.recognised += said
    options = {**given, **found}
    if options.get("tokeniser") == "char":
        raw = replace(raw, tokeniser="characters", joiner="")
    return replace(raw, parse=partial(raw.parse, **options)) if options else raw


def with_renames(raw: RawSet, types: Mapping[str, str]) -> tuple[RawSet, set[str]]:
    """Return the set with types renamed while its files are parsed, by its own table and by the user's.

    Where a set's scheme is recognised, its types are renamed when its tags are read. The others to rename that occur in
    the files are added to the returned set of names while these are parsed.

    Raises:
        UsageError: a type's new name is invalid.
    """
    renames = {**raw.renames, **types}
    for old, new in types.items():
        if not old or not new or new.split() != [new]:
            raise UsageError(f"types: {old!r}={new!r}: expected OLD=NEW, a type and its new name without blanks")
    met: set[str] = set()
    spelt = {} if raw.scheme == "auto" else renames
    tags = {f"{prefix}-{old}": f"{prefix}-{new}" for old, new in spelt.items() for prefix in "BI"}

    def parse(path: Path) -> Iterator[RawPost | BadLine]:
        for post in raw.parse(path):
            if isinstance(post, RawPost):
                new, fine = ([tags.get(tag, tag) for tag in column] for column in (post.tags, post.fine_tags))
                met.update(tag[2:] for tag in (*post.tags, *post.fine_tags) if tag in tags)
                post = replace(post, tags=new, fine_tags=fine)
            yield post

    kinds = tuple(dict.fromkeys([*raw.types, *types.values()])) if raw.types else ()
    return replace(raw, parse=parse if spelt else raw.parse, renames=renames, types=kinds), met


def unique_ids(ids: Mapping[str, list[tuple[int, Wanted]]], report: Report | None = None) -> dict[tuple[str, int], str]:
    """Return new ids for the posts (split, line) whose id an earlier post already has, and note them in the report."""
    taken = {post.id for posts in ids.values() for _, post in posts}
    seen: set[str] = set()
    new_ids: dict[tuple[str, int], str] = {}
    numbers: dict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(2))
    for split, posts in ids.items():
        for line, (post_id, _) in posts:
            if post_id in seen:
                new_id = next(new for n in numbers[post_id] if (new := f"{post_id}~{n}") not in taken)
                taken.add(new_id)
                new_ids[split, line] = new_id
                if report is not None:
                    report.splits[split].note("duplicate_ids", f"{post_id} -> {new_id}")
            seen.add(post_id)
    return new_ids


def all_boxes(
    raw: RawSet,
    files: Mapping[str, Path],
    drawings: Mapping[str, list[Path]],
    pictures: Mapping[str, list[PictureFile]],
    report: Report,
) -> dict[tuple[str, int], Mapping[tuple[int, int], list[Box]]]:
    """Return the boxes of the entities (start, end) of each post (split, line) that has an XML file.

    Raises:
        UsageError: there are XML files, but none is a post's.
    """
    boxes = {}
    for split, path in files.items() if drawings else ():
        for line, placed in _boxes_of(raw, path, report.orphans, drawings, pictures, report.splits[split]):
            boxes[split, line] = placed
    if drawings and not any(counts.drawings for counts in report.splits.values()):
        first = next(iter(drawings.values()))[0]
        raise UsageError(
            f"{first.parent}: expected XML files named <id>.xml, but none has a post's id, as {first.name}"
        )
    return boxes


def _boxes_of(
    raw: RawSet,
    path: Path,
    orphans: Orphans,
    drawings: Mapping[str, list[Path]],
    pictures: Mapping[str, list[PictureFile]],
    counts: SplitReport,
) -> Iterator[tuple[int, Mapping[tuple[int, int], list[Box]]]]:
    """Yield the line of each post of a file that has an XML file, and the boxes of its entities; count them."""
    for post in raw.parse(path):
        if isinstance(post, BadLine) or not (files := drawings.get(normalise_unicode("NFC", post.id))):
            continue
        counts.drawings += 1
        if len(files) > 1:
            counts.note("twin_drawings", f"{' and '.join(path.name for path in files)}: {files[0].name} is taken")
        spans = bio_to_spans(post.tags, orphans)
        mentions = {(start, end): " ".join(post.tokens[start:end]) for start, end, _ in spans}
        picture = next((picture for name in post.pictures for picture in pictures.get(name, ())), None)
        shown = picture and Shown(picture.size, picture.orientation)
        try:
            placed = place_boxes(parse_voc(files[0]), mentions, shown, counts.note)
        except DataError as error:
            counts.note("bad_drawings", str(error))
            continue
        counts.boxes += len(placed)
        boxes: dict[tuple[int, int], list[Box]] = {}
        for of, box in placed:
            for span in of:
                boxes.setdefault(span, []).append(box)
        yield post.line, boxes
