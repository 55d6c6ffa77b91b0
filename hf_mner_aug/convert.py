"""A raw set as a folder that ``load_dataset`` reads: Parquet, a card, and ``convert.json`` for later steps."""

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from hf_mner_aug import __version__, parquet
from hf_mner_aug.cards import size_category
from hf_mner_aug.errors import UsageError
from hf_mner_aug.readers import SPLIT_FILES, Reading, Report, read
from hf_mner_aug.schema import Orphans

RECORD = "convert.json"


def convert(
    name: str,
    raw_dir: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    orphans: Orphans = "promote",
    language: str | None = None,
) -> Report:
    """Write a raw set as a folder for ``load_dataset``: ``data/*.parquet``, ``README.md``, ``convert.json``.

    The folder appears at once, when all of it is written; an earlier conversion is replaced. Arguments are ``read``'s.

    Raises:
        UsageError: ``out`` holds something else than a conversion, or as ``read``.
        DataError: as ``read``.
    """
    out = Path(out).resolve()
    _check_replaceable(out)
    reading = read(name, raw_dir, images=images, orphans=orphans, language=language)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(out) as folder:
        for split in reading.splits:
            parquet.write_shards(reading.tables(split), folder / "data", split, reading.features)
        (folder / RECORD).write_text(_record(reading), encoding="utf-8")
        (folder / "README.md").write_text(_card(reading, folder), encoding="utf-8")
    return reading.report


def _check_replaceable(out: Path) -> None:
    """Refuse to write over anything but nothing, an empty folder, or a conversion and only that."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out}: expected a folder, found a file")
    inside = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    ours = {RECORD, "README.md", *(f"data/{p.name}" for split in SPLIT_FILES for p in _shards(out, split))}
    if inside and (RECORD not in inside or inside - ours):
        raise UsageError(
            f"{out}: expected an empty folder or an earlier conversion, found "
            f"{min(inside - ours, default='a part of one')}: choose another folder"
        )


def _shards(out: Path, split: str) -> list[Path]:
    return parquet.shards(out / "data", split) if (out / "data").is_dir() else []


@contextlib.contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Give a new folder beside ``out`` that takes its place if all goes well, and is removed if not."""
    new = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.new")
    old = new.with_suffix(".old")
    new.mkdir()
    try:
        yield new
        if out.exists():
            out.rename(old)
        try:
            new.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)


def _record(reading: Reading) -> str:
    """Return what later steps need to know of the set, as JSON."""
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
        "renames": dict(raw.renames),
        "homepage": raw.homepage,
        "citation": raw.citation,
        "orphans": report.orphans,
        "image_folder": report.image_folder,
        "splits": {split: asdict(counts) for split, counts in report.splits.items()},
    }
    return json.dumps(facts, ensure_ascii=False, indent=2) + "\n"


def _card(reading: Reading, folder: Path) -> str:
    """Return the dataset card: metadata that ``load_dataset`` and the Hub read, and what became of the raw files."""
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
    metadata = DatasetCardData(
        language=raw.language,
        license=raw.license,
        pretty_name=raw.title,
        task_categories=["token-classification"],
        task_ids=["named-entity-recognition"],
        size_categories=[size_category(n_posts)],
        tags=["multimodal", "mner"],
    )
    data_files = [{"split": split, "path": f"data/{split}-*"} for split in reading.splits]
    MetadataConfigs({"default": {"data_files": data_files}}).to_dataset_card_data(metadata)
    DatasetInfosDict({"default": info}).to_dataset_card_data(metadata)
    return f"---\n{metadata.to_yaml(line_break=chr(10))}\n---\n\n{_card_text(reading)}"


def _card_text(reading: Reading) -> str:
    """Return the card's text in Markdown."""
    raw, report = reading.raw, reading.report
    counts = "\n".join(
        f"| {split} | {c.posts} | {c.words} | {c.mentions} | {c.orphans + c.fine_orphans} | {c.images} | {c.missing} "
        f"| {c.unreadable} |"
        for split, c in report.splits.items()
    )
    facts = [
        f"Types: {', '.join(f'`{kind}`' for kind in raw.types)}.",
        *(f"Label `{old}` of the raw files is `{new}` here." for old, new in raw.renames.items()),
        f"Words: {raw.tokeniser} (`@user` is {'two words' if raw.tokeniser == 'handles split' else 'one word'}); "
        f"joined by {raw.joiner!r} they make the text.",
        f"Orphans (an `I-` that follows no tag of its type): policy `{report.orphans}`.",
        "Images: the files' own bytes, found by id; null where missing or not decodable, never a placeholder."
        if report.image_folder
        else "Images: none were given, so `image` is null in every row.",
        *([f"Source: {raw.homepage}"] if raw.homepage else []),
        *([f"Citation: {raw.citation}."] if raw.citation else []),
        *(["License: unknown; ask the authors before you share the posts."] if raw.license == "unknown" else []),
    ]
    head = (
        f"# {raw.title}\n\n"
        f"Multimodal named entity recognition, converted from the raw files by `hf-mner-aug convert {raw.name}`.\n\n"
        "| split | posts | words | B- tags in the raw file | orphan I- | images | missing | not decodable |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    card = head + counts + "\n\n" + "".join(f"- {fact}\n" for fact in facts)
    if troubles := report.troubles():
        card += "\nFound in the raw files and dealt with:\n\n```text\n" + "\n".join(troubles) + "\n```\n"
    return card
