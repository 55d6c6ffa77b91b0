"""A raw set as a folder that ``load_dataset`` reads: Parquet, a card, and ``convert.json`` for later steps."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

from hf_mner_aug import __version__
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.hygiene import find_leaks
from hf_mner_aug.progress import watch_rows
from hf_mner_aug.publishing.cards import size_category, template
from hf_mner_aug.publishing.folder import RECORD
from hf_mner_aug.readers import SPLIT_FILES, RawSet, Reading, read
from hf_mner_aug.readers.encodings import AUTO
from hf_mner_aug.readers.report import EXAMPLES, Report, SplitReport
from hf_mner_aug.readers.spans.annotated import Misaligned, Nested, Offsets
from hf_mner_aug.readers.tagged_set import DATASET, columns_of, tagged_set
from hf_mner_aug.schema import IMAGE_COLUMNS, Orphans
from hf_mner_aug.schema.schemes import AnyScheme
from hf_mner_aug.sources.facts import read_source
from hf_mner_aug.sources.loading import load_source, open_rows
from hf_mner_aug.sources.places import local_name, split_source
from hf_mner_aug.storage import artifacts, parquet
from hf_mner_aug.storage.picture_columns import embed
from hf_mner_aug.storage.swap import replacing
from hf_mner_aug.untrusted.names import is_name
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset

SHARED = {"leak_id": "id", "leak_text": "text", "leak_image": "image"}


def convert(
    name: str,
    raw_dir: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    xml: str | Path | None = None,
    orphans: Orphans = "promote",
    language: str | None = None,
    types: Mapping[str, str] | None = None,
    columns: Mapping[str, str | int] = MappingProxyType({}),
    encoding: str = AUTO,
    tokeniser: str | None = None,
    misaligned: Misaligned | None = None,
    nested: Nested | None = None,
    offsets: Offsets | None = None,
    corrections: str | Path | None = None,
    scheme: AnyScheme | None = None,
    left_out: str | Path | None = None,
    check_against: Sequence[str | Path] = (),
) -> Report:
    """Write a raw set as a folder for ``load_dataset``: ``data/*.parquet``, ``README.md``, ``convert.json``.

    The folder appears atomically, once it is complete; an earlier conversion is replaced.

    Args:
        name: of the raw set, as ``twitter2015``; ``conll`` is any file of words and tags, ``dataset`` is one of the
            Hub, a folder, or a file of Parquet, JSON, CSV or TSV, with columns of words and tags.
        raw_dir: holds some of train, valid (or val, dev) and test ``.txt``, or is one such file, read as train.
        out: the folder to write.
        images: the folder with the images, named by id.
        xml: the folder with the boxes (default: ``raw_dir/xml``).
        orphans: what becomes of an I- tag without its B-: ``promote`` makes it a B-, ``drop`` an O, ``error`` raises.
        language: its code, if it differs from the set's.
        types: renames entity types, coarse or fine, as ``{"OTHER": "MISC"}``.
        columns: the positions of ``tokens``, ``ner_tags`` and optionally ``fine_tags`` in a line, from 1; of JSON, the
            names of its fields, as ``{"text": "body"}``.
        encoding: of the text files, as ``cp1252``; ``auto`` recognises it.
        tokeniser: what makes words of texts with spans: ``whitespace``, ``tweet`` (the default), ``char`` (recognised
            for scripts without blanks) or ``spacy:MODEL``.
        misaligned: a span that starts or ends inside a word is extended to it (``snap``, the default) or its post is
            left out (``refuse``).
        nested: of spans that share a word the longest is kept (``outermost``, the default) or their post is left out
            (``refuse``).
        offsets: the unit of spans: ``chars``, ``utf16`` (as in JavaScript) or ``bytes``; ``auto``, the default,
            recognises it by the texts of spans that the file gives.
        corrections: a file of corrected labels, as ``memory`` writes the suspected ones: JSON lines with the words of a
            post, and its tags before and after.
        scheme: of the tags: ``bio``, ``iob1``, ``bioes``, ``bilou``, ``bmes``, ``io``, ``ioe1`` or ``ioe2``; by
            default, or with ``auto``, it is recognised where the set does not declare it, and the report says so.
        left_out: a file to list every row in that gives no post: JSON lines with its split, file, line and reason.
        check_against: folders of other sets; train posts that occur in their validation or test are reported, not
            dropped.

    Raises:
        UsageError: ``out`` holds anything but a conversion, there is nothing to check against, or as ``read``.
        DataError: as ``read``.
    """
    out = Path(out).resolve()
    _check_replaceable(out)
    if left_out is not None and Path(left_out).resolve().is_relative_to(out):
        raise UsageError(f"--report {left_out}: expected a file outside of {out}")
    others = {str(other): _held_out(other) for other in check_against}
    opened = _dataset(str(raw_dir), columns, images) if name == DATASET else name
    reading = read(
        opened,
        raw_dir,
        images=images,
        xml=xml,
        orphans=orphans,
        language=language,
        types=types,
        columns=columns if isinstance(opened, str) else {},
        encoding=encoding,
        tokeniser=tokeniser,
        misaligned=misaligned,
        nested=nested,
        offsets=offsets,
        corrections=corrections,
        scheme=scheme,
        left_out=left_out,
    )
    if others and "train" not in reading.splits:
        raise UsageError(f"expected a train split to check, found {', '.join(reading.splits)}")
    with replacing(out, "convert", _check_replaceable) as folder:
        for split in reading.splits:
            rows = watch_rows(reading.tables(split), f"writes {split}", reading.report.splits[split].posts)
            parquet.write_shards(rows, folder / "data", split, reading.features)
        for other, splits in others.items():
            train = _stream(parquet.shards(folder / "data", "train"), reading)
            reading.report.leaks += describe_leaks(
                train, reading.report.splits["train"].posts, Path(other).name, splits
            )
        artifacts.write_atomically(folder / RECORD, _record(reading).encode())
        artifacts.write_atomically(folder / "README.md", _card(reading, folder).encode())
    return reading.report


def write_sample(out: str | Path, name: str = "mner") -> None:
    """Write a drawn sample set as a folder for ``load_dataset``: ``data/*.parquet``, ``README.md``.

    The folder appears atomically, once it is complete.

    Args:
        out: the folder to write; it may exist if it is empty.
        name: as ``load_sample`` has it.

    Raises:
        UnknownName: there is no sample set of that name.
        UsageError: ``out`` is a file or not empty.
    """
    from hf_mner_aug.sample import load_sample

    out, splits = Path(out), load_sample(name)
    _check_empty(out)
    with replacing(out, "sample", _check_empty) as folder:
        for split, rows in splits.items():
            parquet.write_shards([rows.data.table], folder / "data", split, rows.features)
        card = template("sample.md").render(name=name, version=__version__)
        artifacts.write_atomically(folder / "README.md", card.encode())


def _check_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: expected no such folder, or an empty one: choose another")


def _dataset(source: str, columns: Mapping[str, str | int], images: str | Path | None) -> RawSet:
    """Return a dataset as a raw set: one on the Hub, a folder, or a file of Parquet, JSON, CSV or TSV.

    Raises:
        UsageError: there is no such dataset, or it has no words or no tags.
    """
    from datasets import Image, List

    splits, allowed = open_rows(source, images=images)
    named = columns_of(splits["train"].features, columns, source)
    for ours in (name for name in IMAGE_COLUMNS if name in named):
        kind = List(Image(decode=False)) if ours == "images" else Image(decode=False)
        splits = splits.cast_column(named[ours], kind)
    facts, (path, _, _) = read_source(source), split_source(source)
    kept = splits.select_columns(list(dict.fromkeys(named.values())))
    raw = tagged_set(local_name(source) or source, embed(kept, allowed, stacklevel=4), named)
    return replace(
        raw,
        title=f"Posts of {facts.name}",
        language=next(iter(facts.language), None),
        license="unknown" if facts.license == "other" else facts.license,
        homepage=None if facts.local else f"https://huggingface.co/datasets/{path}",
    )


def _held_out(folder: str | Path) -> "DatasetDict":
    """Return the splits of a set except train.

    Raises:
        UsageError: there is no such dataset, or it has only train.
    """
    splits = load_source(str(folder))
    held_out = {split: rows for split, rows in splits.items() if split != "train"}
    if not held_out:
        raise UsageError(f"{folder}: expected validation or test to check against, found {', '.join(splits)} only")
    return type(splits)(held_out)


def _stream(shards: Sequence[Path], reading: Reading) -> "IterableDataset":
    """Return the rows of files on disk, streamed without a copy in the cache."""
    from datasets import load_dataset

    files = [str(path) for path in shards]
    return load_dataset("parquet", data_files=files, features=reading.features, split="train", streaming=True)


def describe_leaks(train: "Dataset | IterableDataset", n_posts: int, other: str, held_out: "DatasetDict") -> list[str]:
    """Return a line for each kind of overlap of train posts with another set's validation or test, with examples."""
    lines = []
    for split, posts in held_out.items():
        matches = find_leaks(train, posts)
        for kind, what in SHARED.items():
            if found := [match for match in matches if match.kind == kind]:
                examples = [m.id if m.id == m.other else f"{m.id} ({m.other})" for m in found[:EXAMPLES]]
                lines.append(
                    f"train: {len(found)} of {n_posts} posts share their {what} with {split} of {other}, "
                    f"as {'; '.join(examples)}"
                )
        if not matches:
            lines.append(f"train: none of {n_posts} posts is in {split} of {other}")
    return lines


def _check_replaceable(out: Path) -> None:
    """Refuse to overwrite anything except an empty folder or a folder that holds only a conversion."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out}: expected a folder, found a file")
    inside = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    ours = {RECORD, "README.md", *(f"data/{p.name}" for split in _converted(out) for p in _shards(out, split))}
    if inside and (RECORD not in inside or inside - ours):
        raise UsageError(
            f"{out}: expected an empty folder or an earlier conversion, found "
            f"{min(inside - ours, default='an incomplete one')}: choose another folder"
        )


class Converted(TypedDict):
    """The splits in the record of a conversion."""

    splits: Mapping[str, Any]


def _converted(out: Path) -> set[str]:
    """Return the splits that an earlier conversion wrote."""
    try:
        record: Converted = read_json(out / RECORD, Converted, error=DataError)
    except (DataError, FileNotFoundError):
        return {*SPLIT_FILES}
    return {*SPLIT_FILES, *filter(is_name, record["splits"])}


def _shards(out: Path, split: str) -> list[Path]:
    return parquet.shards(out / "data", split) if (out / "data").is_dir() else []


def _record(reading: Reading) -> str:
    """Return the facts about the set that later steps need, as JSON."""
    raw, report = reading.raw, reading.report
    facts = {
        "converter": f"hf_mner_aug {__version__}",
        "name": raw.name,
        "pretty_name": raw.title,
        "language": raw.language,
        "license": raw.license,
        "tokeniser": raw.tokeniser,
        "joiner": raw.joiner,
        "types": list(raw.types),
        "relations": list(raw.relations),
        "renames": dict(raw.renames),
        "homepage": raw.homepage,
        "citation": raw.citation,
        "orphans": report.orphans,
        "recognised": report.recognised,
        "image_folder": report.image_folder,
        "leaks": report.leaks,
        "corrections": report.corrected and asdict(report.corrected),
        "splits": {split: asdict(counts) for split, counts in report.splits.items()},
    }
    return json.dumps(facts, ensure_ascii=False, indent=2) + "\n"


def _card(reading: Reading, folder: Path) -> str:
    """Return the dataset card: metadata that ``load_dataset`` and the Hub read, and the treatment of the raw files."""
    import pyarrow.parquet as pq
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    raw, report = reading.raw, reading.report
    splits = SplitDict()
    for split, counts in report.splits.items():
        groups = [pq.ParquetFile(path).metadata for path in parquet.shards(folder / "data", split)]
        size = sum(meta.row_group(i).total_byte_size for meta in groups for i in range(meta.num_row_groups))
        splits.add(SplitInfo(split, num_bytes=size, num_examples=counts.posts))
    info = DatasetInfo(
        features=reading.features,
        splits=splits,
        download_size=sum(path.stat().st_size for path in (folder / "data").iterdir()),
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )
    n_posts = sum(counts.posts for counts in report.splits.values())
    relations = bool(raw.relations)
    metadata = DatasetCardData(
        language=raw.language,
        license=raw.license,
        pretty_name=raw.title,
        task_categories=["text-classification" if relations else "token-classification"],
        task_ids=["multi-class-classification" if relations else "named-entity-recognition"],
        size_categories=[size_category(n_posts)],
        tags=["multimodal", "relation-extraction" if relations else "mner"],
    )
    data_files = [{"split": split, "path": f"data/{split}-*"} for split in reading.splits]
    MetadataConfigs({"default": {"data_files": data_files}}).to_dataset_card_data(metadata)
    DatasetInfosDict({"default": info}).to_dataset_card_data(metadata)
    return f"---\n{metadata.to_yaml(line_break=chr(10))}\n---\n\n{_card_text(reading)}"


def _card_text(reading: Reading) -> str:
    """Return the card's text in Markdown."""
    raw, report, boxed = reading.raw, reading.report, "entities" in reading.features
    columns: dict[str, Callable[[SplitReport], int]] = {"posts": lambda c: c.posts, "words": lambda c: c.words}
    if raw.relations:
        columns["relations"] = lambda c: c.relations
    else:
        columns |= {
            "B- tags in the raw file": lambda c: c.mentions,
            "orphan I-": lambda c: c.orphans + c.fine_orphans,
        }
    if boxed:
        columns |= {"XML files": lambda c: c.drawings, "boxes": lambda c: c.boxes}
    columns |= {
        "images": lambda c: c.images,
        "missing": lambda c: c.missing,
        "not decodable": lambda c: c.unreadable,
    }
    text: str = template("raw_set.md").render(
        raw=raw,
        joiner=repr(raw.joiner),
        report=report,
        troubles=report.troubles(),
        boxed=boxed,
        headings=list(columns),
        rows={split: [count(counts) for count in columns.values()] for split, counts in report.splits.items()},
    )
    return text
