"""Raw sets as their authors publish them -> rows.

``RAW_SETS`` is the only table of sets. An entry declares what cannot be read from the files (language, tokeniser,
joiner, label names) and the function that parses one file into ``RawPost``; everything behind that is shared.
"""

import itertools
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from hf_mner_aug.errors import DataError, UnknownName, UsageError
from hf_mner_aug.schema import FOUR_TYPES, ORPHANS, Orphans, mner_features, repair_orphans, split_tag

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

SPLIT_FILES = {
    "train": ("train.txt",),
    "validation": ("valid.txt", "val.txt", "dev.txt", "validation.txt"),
    "test": ("test.txt",),
}
PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")
FOUR_TYPES_RAW = {"PER", "LOC", "ORG", "OTHER"}
BATCH = 100  # rows held while writing, with their pictures
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class RawPost:
    """A post as its file has it; word ``i`` stands on line ``line + 1 + i``."""

    id: str
    line: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    fine_tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RawSet:
    """What is known of a set before reading it; ``types`` and ``tokeniser`` are found in the files where not declared.

    ``tokeniser`` is ``"handles whole"`` (``@user`` is one word) or ``"handles split"`` (``@``, ``user``); ``joiner``
    goes between words to make a text of them.
    """

    name: str
    title: str
    parse: Callable[[Path], Iterator[RawPost]]
    types: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    language: str | None = None
    tokeniser: str | None = None
    joiner: str = " "
    license: str = "unknown"
    homepage: str | None = None
    citation: str | None = None


@dataclass
class SplitReport:
    """What a split's file held, and what became of it; ``mentions`` are B- tags before orphans are repaired."""

    file: str
    posts: int = 0
    words: int = 0
    mentions: int = 0
    orphans: int = 0
    fine_orphans: int = 0
    duplicate_ids: int = 0
    empty_posts: int = 0
    images: int = 0
    missing: int = 0
    unreadable: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, trouble: str, example: str, count: int = 1) -> None:
        """Add to a trouble (the name of a counter) and keep the first examples of it."""
        setattr(self, trouble, getattr(self, trouble) + count)
        kept = self.examples.setdefault(trouble, [])
        if len(kept) < EXAMPLES:
            kept.append(example)


@dataclass
class Report:
    """What reading a set found, split by split."""

    name: str
    orphans: Orphans
    image_folder: bool
    splits: dict[str, SplitReport] = field(default_factory=dict)

    def troubles(self) -> list[str]:
        """Return a line for each thing that a reader of the set should know, with examples."""
        repaired = {"promote": "made B-", "drop": "made O, with the I- that hang on them"}.get(self.orphans)
        said = {
            "orphans": f"orphan I- tags {repaired}",
            "fine_orphans": f"orphan fine I- tags {repaired}",
            "duplicate_ids": "posts with the id of an earlier one: a suffix makes it unique",
            "empty_posts": "posts without words left out",
            "missing": "posts without an image file: their image is null",
            "unreadable": "posts with an image file that cannot be decoded: their image is null",
        }
        lines = []
        for split, counts in self.splits.items():
            for trouble, text in said.items():
                if count := getattr(counts, trouble):
                    examples = "; ".join(counts.examples[trouble])
                    lines.append(f"{split}: {count} {text}, as {examples}")
        return lines

    def __str__(self) -> str:
        lines = [
            f"{split}: {c.posts} posts, {c.words} words, {c.mentions} B- tags, {c.images} images, from {c.file}"
            for split, c in self.splits.items()
        ]
        return "\n".join(lines + self.troubles())


@dataclass(frozen=True)
class Reading:
    """A set that was read once, for its labels and counts; ``rows`` reads it again, a post at a time."""

    raw: RawSet
    files: Mapping[str, Path]
    features: "Features"
    report: Report
    new_ids: Mapping[tuple[str, int], str]
    pictures: Mapping[str, Path]

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits."""
        return tuple(self.files)

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a split, with images as encoded bytes just as their files hold them."""
        tag_ids = self._tag_ids("ner_tags")
        fine_ids = self._tag_ids("fine_tags")
        for post in self.raw.parse(self.files[split]):
            if not post.tokens:
                continue
            row: dict[str, Any] = {
                "id": self.new_ids.get((split, post.line), post.id),
                "tokens": post.tokens,
                "ner_tags": [tag_ids[tag] for tag in repair_orphans(post.tags, self.report.orphans)[0]],
            }
            if fine_ids:
                row["fine_tags"] = [fine_ids[tag] for tag in repair_orphans(post.fine_tags, self.report.orphans)[0]]
            picture = self.pictures.get(post.id)
            row["image"] = picture and {"bytes": picture.read_bytes(), "path": picture.name}
            yield row

    def tables(self, split: str) -> "Iterator[pa.Table]":
        """Yield the rows of a split as tables of a few posts."""
        import pyarrow as pa

        rows = self.rows(split)
        while batch := list(islice(rows, BATCH)):
            yield pa.Table.from_pylist(batch, schema=self.features.arrow_schema)

    def _tag_ids(self, column: str) -> dict[str, int]:
        """Return the ids of a column's raw tags (B-OTHER has that of B-MISC)."""
        if column not in self.features:
            return {}
        ids = {name: i for i, name in enumerate(self.features[column].feature.names)}
        for old, new in self.raw.renames.items():
            ids.update({f"{prefix}-{old}": ids[f"{prefix}-{new}"] for prefix in "BI" if f"B-{new}" in ids})
        return ids


# ---------------------------------------------------------------- IMGID: files


def parse_imgid(path: Path) -> Iterator[RawPost]:
    """Yield the posts of ``IMGID:<id>`` blocks of ``word<TAB or space>tag[<TAB or space>fine tag]`` lines.

    A word is all that stands before the separator, be it a no-break space or a lone variation selector.

    Raises:
        DataError: a line is neither, or not UTF-8, or the file holds no post; the message gives the line.
    """
    post: RawPost | None = None
    open_post = False
    columns = n_posts = 0
    for number, line in _lines(path):
        if line.startswith("IMGID:") and "\t" not in line:
            if post is not None:
                yield post
            post = RawPost(line.removeprefix("IMGID:").strip(" "), number)
            open_post = True
            n_posts += 1
            if not post.id:
                raise _bad_line(path, number, "post without id: expected 'IMGID:<id>', found 'IMGID:'", n_posts == 1)
        elif not line.strip(" \t"):
            open_post = False
        elif post is None or not open_post:
            where = "before the first post" if post is None else f"after post {post.id}"
            raise _bad_line(path, number, f"{where}: expected 'IMGID:<id>', found {line[:100]!r}", post is None)
        else:
            word, *tags = line.split("\t" if "\t" in line else " ")
            columns = columns or len(tags)
            problem = _problem(word, tags, columns)
            if problem:
                raise _bad_line(path, number, f"post {post.id}: {problem}, found {line[:100]!r}", n_posts == 1)
            post.tokens.append(word)
            post.tags.append(tags[0])
            post.fine_tags.extend(tags[1:])
    if post is None:
        raise _bad_line(path, 1, "expected 'IMGID:<id>', found no line", True)
    yield post


def _problem(word: str, tags: list[str], columns: int) -> str | None:
    """Return what is wrong with the fields of a line."""
    if not word or len(tags) not in (1, 2):
        return "expected a word, a tab or one space, and one or two tags"
    if len(tags) != columns:
        return f"expected {columns} tag{'s' * (columns > 1)} as on the lines before"
    for tag in tags:
        try:
            split_tag(tag)
        except DataError as error:
            return str(error)
    return None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers; only LF and CRLF end a line (a word may hold U+0085 or U+2028)."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"expected UTF-8 text, found {error.object[:60]!r} ({path} line {number})") from error
            yield number, line.removesuffix("\n").removesuffix("\r")


def _bad_line(path: Path, number: int, problem: str, wrong_layout: bool) -> DataError:
    """Return the error of a line; with the file's first lines where it looks as if the layout were another one."""
    message = f"{problem} ({path} line {number})"
    return DataError(message + _as_read(path) if wrong_layout else message)


def _as_read(path: Path) -> str:
    with path.open("rb") as file:
        lines = [line.decode("utf-8", "backslashreplace")[:100] for line in islice(file, 5)]
    return f"\nfirst lines of {path} as read:" + "".join(f"\n  {line!r}" for line in lines)


# ---------------------------------------------------------------- the table of sets

_TWITTER = "https://github.com/jefferyYu/UMT"
RAW_SETS: dict[str, RawSet] = {
    raw.name: raw
    for raw in (
        RawSet(
            name="twitter2015",
            title="Twitter-2015",
            parse=parse_imgid,
            types=FOUR_TYPES,
            renames=MappingProxyType({"OTHER": "MISC"}),
            language="en",
            tokeniser="handles whole",
            homepage=_TWITTER,
            citation="Zhang et al. 2018, Adaptive Co-attention Network for Named Entity Recognition in Tweets, AAAI",
        ),
        RawSet(
            name="twitter2017",
            title="Twitter-2017",
            parse=parse_imgid,
            types=FOUR_TYPES,
            renames=MappingProxyType({"OTHER": "MISC"}),
            language="en",
            tokeniser="handles split",
            homepage=_TWITTER,
            citation=(
                "Lu et al. 2018, Visual Attention Model for Name Tagging in Multimodal Social Media, ACL; "
                "splits of Yu et al. 2020, Improving Multimodal Named Entity Recognition via Entity Span Detection "
                "with Unified Multimodal Transformer, ACL"
            ),
        ),
        RawSet(name="conll", title="Posts with BIO tags", parse=parse_imgid),
    )
}


# ---------------------------------------------------------------- reading


def read(
    name: str,
    raw_dir: str | Path,
    *,
    images: str | Path | None = None,
    orphans: Orphans = "promote",
    language: str | None = None,
) -> Reading:
    """Read a set once: find its labels, count, check every tag, id and image.

    ``raw_dir`` holds train, valid (or val, dev) and test ``.txt``, any of them, or is one such file, read as train.
    Ids become unique over all splits: a second post ``12`` becomes ``12~2``. An image is found by its post's id.

    Raises:
        UnknownName: no such set, or no such policy for orphans.
        UsageError: a folder is not there, or the language is not a code.
        DataError: the files are not in the set's layout.
    """
    if name not in RAW_SETS:
        raise UnknownName("raw set", name, RAW_SETS)
    if orphans not in ORPHANS:
        raise UnknownName("policy for orphans", orphans, ORPHANS)
    if language is not None and not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", language):
        raise UsageError(f"language {language!r}: expected a code such as en or zh")
    raw = RAW_SETS[name]
    files = _find_files(Path(raw_dir))
    report = Report(name, orphans, images is not None)
    ids: dict[str, list[tuple[int, str]]] = {}
    found = _Found()
    for split, path in files.items():
        report.splits[split] = SplitReport(path.name)
        ids[split] = _scan(raw, path, orphans, report.splits[split], found)
    types = raw.types or _in_order(found.types)
    renames = {old: new for old, new in raw.renames.items() if old in found.types}
    if set(types) == FOUR_TYPES_RAW:
        types, renames = FOUR_TYPES, {"OTHER": "MISC"}
    if not types:
        raise DataError(f"every tag is O: expected entities ({', '.join(map(str, files.values()))})")
    raw = replace(
        raw,
        types=types,
        renames=renames,
        language=language or raw.language,
        tokeniser=raw.tokeniser or ("handles split" if found.lone_ats > found.handles else "handles whole"),
    )
    new_ids = _unique_ids(ids, report)
    pictures = {} if images is None else _attach(Path(images), ids, report)
    features = mner_features(types, fine_types=_in_order(found.fine_types))
    for split, counts in report.splits.items():
        if counts.missing or counts.unreadable:
            warnings.warn(
                f"{name} {split}: {counts.missing} of {counts.posts} posts have no image file and "
                f"{counts.unreadable} one that cannot be decoded: their image is null",
                stacklevel=2,
            )
    return Reading(raw, files, features, report, new_ids, pictures)


@dataclass
class _Found:
    """What the files of a set show that a ``RawSet`` may leave open."""

    types: set[str] = field(default_factory=set)
    fine_types: set[str] = field(default_factory=set)
    columns: dict[int, Path] = field(default_factory=dict)
    lone_ats: int = 0
    handles: int = 0


def _scan(raw: RawSet, path: Path, orphans: Orphans, counts: SplitReport, found: _Found) -> list[tuple[int, str]]:
    """Check and count the posts of a file; return the line and id of each that has words."""
    ids = []
    for post in raw.parse(path):
        if not post.tokens:
            counts.note("empty_posts", post.id)
            continue
        ids.append((post.line, post.id))
        counts.posts += 1
        counts.words += len(post.tokens)
        counts.mentions += sum(tag[0] == "B" for tag in post.tags)
        found.lone_ats += post.tokens.count("@")
        found.handles += sum(len(word) > 1 and word[0] == "@" for word in post.tokens)
        found.columns.setdefault(1 + bool(post.fine_tags), path)
        if len(found.columns) > 1:
            one, two = found.columns[1], found.columns[2]
            raise DataError(f"expected as many tag columns in every file, found one in {one} and two in {two}")
        for tags, trouble, kinds in (
            (post.tags, "orphans", found.types),
            (post.fine_tags, "fine_orphans", found.fine_types),
        ):
            kinds.update(tag[2:] for tag in tags if tag != "O")
            repaired, n_orphans = repair_orphans(tags)
            if n_orphans:
                i = next(i for i, tag in enumerate(tags) if tag != repaired[i])
                if orphans == "error":
                    raise DataError(
                        f"post {post.id}: {tags[i]} on {post.tokens[i]!r} follows no tag of its type "
                        f"({path} line {post.line + 1 + i}): mend it, or read with orphans 'promote' or 'drop'"
                    )
                counts.note(trouble, f"{post.id} {post.tokens[i]!r}", n_orphans)
        if raw.types:
            known = {*raw.types, *raw.renames}
            for i, tag in enumerate(post.tags):
                if tag != "O" and tag[2:] not in known:
                    raise DataError(
                        f"post {post.id}: expected a type of {raw.title} ({', '.join(sorted(known))}), found {tag} "
                        f"({path} line {post.line + 1 + i}): read other label sets as conll"
                    )
    return ids


def _in_order(types: Iterable[str]) -> tuple[str, ...]:
    """Return types in a fixed order, the usual four first."""
    return tuple(sorted(types, key=lambda kind: (FOUR_TYPES.index(kind) if kind in FOUR_TYPES else 4, kind)))


def _unique_ids(ids: Mapping[str, list[tuple[int, str]]], report: Report) -> dict[tuple[str, int], str]:
    """Return new ids for the posts (split, line) whose id an earlier post has."""
    taken = {post_id for posts in ids.values() for _, post_id in posts}
    seen: set[str] = set()
    new_ids: dict[tuple[str, int], str] = {}
    for split, posts in ids.items():
        for line, post_id in posts:
            if post_id in seen:
                new_id = next(new for n in itertools.count(2) if (new := f"{post_id}~{n}") not in taken)
                taken.add(new_id)
                new_ids[split, line] = new_id
                report.splits[split].note("duplicate_ids", f"{post_id} -> {new_id}")
            seen.add(post_id)
    return new_ids


def _find_files(raw_dir: Path) -> dict[str, Path]:
    """Return the file of each split that is there.

    Raises:
        UsageError: nothing is there.
        DataError: no split is there, or a split has two files.
    """
    if raw_dir.is_file():
        return {"train": raw_dir}
    if not raw_dir.is_dir():
        raise UsageError(f"{raw_dir}: no such folder or file")
    files: dict[str, Path] = {}
    for split, names in SPLIT_FILES.items():
        found = [raw_dir / name for name in names if (raw_dir / name).is_file()]
        if len(found) > 1:
            raise DataError(f"expected one file for {split}, found {' and '.join(map(str, found))}: keep one of them")
        if found:
            files[split] = found[0]
    if not files:
        others = sorted(path for path in raw_dir.iterdir() if not path.name.startswith("."))
        tried = ", ".join(name for names in SPLIT_FILES.values() for name in names)
        held = ", ".join(path.name for path in others[:10]) or "nothing"
        text = next((path for path in others if path.suffix == ".txt" and path.is_file()), None)
        raise DataError(
            f"{raw_dir}: tried {tried}; found {held}: give the folder of the splits, or one file to read as train"
            + (_as_read(text) if text else "")
        )
    return files


# ---------------------------------------------------------------- images


def _attach(folder: Path, ids: Mapping[str, list[tuple[int, str]]], report: Report) -> dict[str, Path]:
    """Return the image file of each post id that has one that can be decoded; count the others.

    Raises:
        UsageError: the folder is not there or holds no image.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such image folder")
    names: dict[str, str] = {}
    for name in sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICTURES):
        for key in (name, name[: name.rindex(".")]):
            names.setdefault(normalize("NFC", key), name)
    if not names:
        raise UsageError(f"{folder}: expected images named <id>{', <id>'.join(PICTURES)}, found none")
    pictures: dict[str, Path] = {}
    for split, posts in ids.items():
        counts = report.splits[split]
        attached: dict[str, Path] = {}
        for _, post_id in posts:
            if picture := names.get(normalize("NFC", post_id)):
                attached[post_id] = folder / picture
            else:
                counts.note("missing", post_id)
        faults = dict(_faults(attached.items()))
        for _, post_id in posts:
            if post_id in faults:
                counts.note("unreadable", f"{attached[post_id].name}: {faults[post_id]}")
            elif post_id in attached:
                counts.images += 1
                pictures[post_id] = attached[post_id]
    return pictures


def _faults(attached: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, str]]:
    """Yield the ids whose image file cannot be decoded, with the reason."""
    items = iter(attached)
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(items, 64)):
            for (post_id, _), fault in zip(chunk, pool.map(picture_fault, [path for _, path in chunk]), strict=True):
                if fault:
                    yield post_id, fault


def picture_fault(path: Path) -> str | None:
    """Return why an image file cannot be decoded, or None where it can; Pillow's limit of pixels holds."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and picture.width * picture.height > limit:
                return f"{picture.width}x{picture.height} pixels are over Pillow's limit of {limit}"
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)  # datasets does so on reading, and can fail there
    except UnidentifiedImageError:
        return "in no format that Pillow knows"
    except OSError as error:
        return error.strerror or str(error)
    except (
        # what Pillow's readers of broken files are known to raise
        EOFError,
        LookupError,
        SyntaxError,
        TypeError,
        ValueError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        return f"{type(error).__name__}: {error}"
    return None
