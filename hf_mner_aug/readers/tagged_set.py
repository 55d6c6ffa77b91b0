"""A dataset with columns of words and tags as a raw set, for ``convert dataset``."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.readers.formats import RawPost
from hf_mner_aug.readers.images import Fault, PictureFile, Wanted, count_picture, picture_of
from hf_mner_aug.readers.layout import RawSet
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.report import Report
from hf_mner_aug.readers.tagged import TaggedRows
from hf_mner_aug.schema import IMAGE_COLUMNS, other_names

DATASET = "dataset"
READ = ("id", "tokens", "ner_tags", "fine_tags", *IMAGE_COLUMNS)


def columns_of(features: Mapping[str, Any], asked: Mapping[str, str | int], source: str) -> dict[str, str]:
    """Return the dataset's name for each of our columns that it has: as the user says, or the same.

    Raises:
        UnknownName: the user names a column that is not one of ours, or not one of the dataset.
        UsageError: there are no words or no tags.
    """
    for ours, theirs in asked.items():
        if ours not in READ:
            raise UnknownName("column to convert", ours, READ)
        if theirs not in features:
            raise UnknownName("column of the set", str(theirs), features)
    found = {name: name for name in READ if name in features} | {ours: str(theirs) for ours, theirs in asked.items()}
    if missing := [name for name in ("tokens", "ner_tags") if name not in found]:
        hint = other_names(features).removeprefix(", or ")
        raise UsageError(
            f"{source}: expected a column {' and '.join(missing)}, found {', '.join(features)}: "
            f"{hint or 'name them with --columns tokens=words,ner_tags=labels'}"
        )
    return found


def tagged_set(source: str, splits: Mapping[str, Any], columns: Mapping[str, str]) -> RawSet:
    """Return the raw set that a dataset is.

    Args:
        source: its name.
        splits: its splits, whose pictures have bytes.
        columns: its name for each of our columns, as ``columns_of`` finds them.
    """
    names = {name: columns.get(name) for name in ("id", "tokens", "fine_tags")} | {"tags": columns["ner_tags"]}
    makers = {split: TaggedRows.of(rows, split, names) for split, rows in splits.items()}
    image = next((name for name in IMAGE_COLUMNS if name in columns), None)

    def parse(path: Path) -> Iterator[RawPost | BadLine]:
        maker = makers[path.name]
        rows = splits[path.name].select_columns(list(maker.columns))
        for post in maker.spelt(rows, itertools.count()):
            if isinstance(post, RawPost):
                name = post.id if image is None else f"{path.name}/{post.line - 1}"
                post = replace(post, pictures=(name,))
            yield post

    def attach(wanted: Mapping[str, Sequence[Wanted]], report: Report) -> dict[str, list[PictureFile]]:
        there = {split: rows.select_columns([columns[str(image)]]) for split, rows in splits.items()}
        return _attach(there, wanted, report)

    return RawSet(
        name=DATASET,
        title=f"Posts of {source}",
        parse=parse,
        files={split: Path(source) / split for split in splits},
        attach=attach if image is not None else None,
        scheme="auto",
        images="many" if image == "images" else "one",
    )


def _attach(
    splits: Mapping[str, Any], wanted: Mapping[str, Sequence[Wanted]], report: Report
) -> dict[str, list[PictureFile]]:
    """Return the pictures of posts by the names that they have there, ``SPLIT/ROW``, and count them."""
    pictures: dict[str, list[PictureFile]] = {}
    for split, posts in wanted.items():
        counts = report.splits[split]
        for post in posts:
            (name,) = post.names
            read = partial(_bytes, splits[split], int(name.rpartition("/")[2]))
            there = [(i, path) for i, (path, data) in enumerate(read()) if data is not None]
            if not there and not report.many_images:
                counts.note("missing", post.id)
            for i, path in there:
                found = picture_of(Path(path or post.id), partial(_one, read, i))
                count_picture(path or post.id, [Path(path or post.id)], found, counts)
                if not isinstance(found, Fault):
                    pictures.setdefault(name, []).append(found)
    return pictures


def _bytes(rows: Any, row: int) -> list[tuple[str, bytes | None]]:
    """Return the name and the bytes of each picture of a row."""
    (value,) = rows[row].values()
    values = value if isinstance(value, list) else [value]
    return [(Path(found["path"] or "").name, found["bytes"]) if found else ("", None) for found in values]


def _one(read: Any, i: int) -> bytes:
    """Return the bytes of one picture of a row."""
    data: bytes = read()[i][1]
    return data
