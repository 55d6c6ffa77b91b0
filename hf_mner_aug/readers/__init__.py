"""Read raw sets, as their authors publish them, into rows.

``RAW_SETS`` is the only table of sets; installed packages may offer others. An entry declares what cannot be read from
the files (language, tokeniser, joiner, label names) and the function that parses one file into ``RawPost``; everything
after that is shared.
"""

import itertools
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.installed import Offer, offers
from hf_mner_aug.posts.hygiene import normalise_unicode
from hf_mner_aug.readers.boxes import Box, Shown, find_drawings, parse_voc, place_boxes
from hf_mner_aug.readers.formats import (
    MNRE_RELATIONS,
    NAME_COLUMNS,
    BadLine,
    RawPost,
    as_read,
    parse_imgid,
    parse_mner_mi,
    parse_mnre,
    parse_wid,
)
from hf_mner_aug.readers.images import PictureFile, Wanted, attach
from hf_mner_aug.readers.report import Report, SplitReport
from hf_mner_aug.schema import (
    FOUR_TYPES,
    ORPHANS,
    Orphans,
    Span,
    bio_to_spans,
    in_order,
    mner_features,
    repair_orphans,
)
from hf_mner_aug.storage.picture_files import is_inside

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

SPLIT_FILES = {
    "train": ("train.txt",),
    "validation": ("valid.txt", "val.txt", "dev.txt", "validation.txt"),
    "test": ("test.txt",),
}
_FURTHER = re.compile(
    r"(train|valid|val|validation|dev|test)[-_. \d].*\.txt"
)  # files of further splits, which are not read
BATCH = 100  # rows held in memory while writing, with their pictures


@dataclass(frozen=True, kw_only=True)
class RawSet:
    """A raw set before it is read; ``types`` and ``tokeniser`` are found in the files if they are not declared.

    ``tokeniser`` is ``"handles whole"`` (``@user`` is one word), ``"handles split"`` (``@``, ``user``) or
    ``"characters"``; ``joiner`` goes between words to make a text of them. ``folders`` are the subfolders of the raw
    folder that may contain the text, ``prefixes`` come before the split's name in a file name. ``suffixed`` images are
    named ``<id>_<suffix>``.
    """

    name: str
    title: str
    parse: Callable[[Path], Iterator[RawPost | BadLine]]
    types: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    language: str | None = None
    tokeniser: str | None = None
    joiner: str = " "
    folders: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ("",)
    images: Literal["one", "many"] = "one"
    suffixed: bool = False
    needs_boxes: bool = False
    license: str = "unknown"
    homepage: str | None = None
    citation: str | None = None

    @property
    def takes_boxes(self) -> bool:
        """Whether XML files can give the boxes of entities in the post's image."""
        return self.images == "one" and not self.relations


@dataclass(frozen=True)
class Reading:
    """A set that has been read once, for its labels and counts; ``rows`` reads it again, one post at a time."""

    raw: RawSet
    files: Mapping[str, Path]
    features: "Features"
    report: Report
    new_ids: Mapping[tuple[str, int], str]
    pictures: Mapping[str, list[PictureFile]]
    boxes: Mapping[tuple[str, int], Mapping[tuple[int, int], list[Box]]]

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits."""
        return tuple(self.files)

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a split, with images as the unchanged bytes of their files."""
        tag_ids = self._tag_ids("ner_tags")
        fine_ids = self._tag_ids("fine_tags")
        for post in self.raw.parse(self.files[split]):
            if isinstance(post, BadLine) or not post.tokens:
                continue
            row: dict[str, Any] = {"id": self.new_ids.get((split, post.line), post.id), "tokens": post.tokens}
            if tag_ids:
                tags = repair_orphans(post.tags, self.report.orphans)[0]
                row["ner_tags"] = [tag_ids[tag] for tag in tags]
                if "entities" in self.features:
                    row["entities"] = self._entities(bio_to_spans(tags), self.boxes.get((split, post.line), {}))
            if fine_ids:
                row["fine_tags"] = [fine_ids[tag] for tag in repair_orphans(post.fine_tags, self.report.orphans)[0]]
            if post.relation is not None:
                head, tail = post.relation.head, post.relation.tail
                row["head"] = {"start": head[0], "end": head[1]}
                row["tail"] = {"start": tail[0], "end": tail[1]}
                row["relation"] = self.features["relation"].str2int(post.relation.type)
            images = [
                {"bytes": picture.read(), "path": picture.path.name}
                for name in post.pictures
                for picture in self.pictures.get(name, ())
            ]
            row.update({"images": images} if self.raw.images == "many" else {"image": next(iter(images), None)})
            yield row

    def tables(self, split: str) -> "Iterator[pa.Table]":
        """Yield the rows of a split as tables of a few posts."""
        import pyarrow as pa

        rows = self.rows(split)
        while batch := list(islice(rows, BATCH)):
            yield pa.Table.from_pylist(batch, schema=self.features.arrow_schema)

    def _entities(self, spans: Iterable[Span], boxes: Mapping[tuple[int, int], list[Box]]) -> list[dict[str, Any]]:
        """Return the entities of a post as column values: all of them, each with its boxes, if any."""
        return [
            {
                "start": start,
                "end": end,
                "type": kind,
                "boxes": [list(box) for box in boxes.get((start, end), ())],
            }
            for start, end, kind in spans
        ]

    def _tag_ids(self, column: str) -> dict[str, int]:
        """Return the ids of a column's tags."""
        if column not in self.features:
            return {}
        return {name: i for i, name in enumerate(self.features[column].feature.names)}


# ---------------------------------------------------------------- the table of sets

_TWITTER = "https://github.com/jefferyYu/UMT"
_OTHER = MappingProxyType({"OTHER": "MISC"})
_MIS = MappingProxyType({"MIS": "MISC"})
_LU = "Lu et al. 2018, Visual Attention Model for Name Tagging in Multimodal Social Media, ACL"
_HUANG = (
    "Huang et al. 2024, MNER-MI: A Multi-image Dataset for Multimodal Named Entity Recognition in Social Media, "
    "LREC-COLING"
)
RAW_SETS: dict[str, RawSet] = {
    raw.name: raw
    for raw in (
        RawSet(
            name="twitter2015",
            title="Twitter-2015",
            parse=parse_imgid,
            types=FOUR_TYPES,
            renames=_OTHER,
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
            renames=_OTHER,
            language="en",
            tokeniser="handles split",
            homepage=_TWITTER,
            citation=(
                f"{_LU}; splits of Yu et al. 2020, Improving Multimodal Named Entity Recognition via Entity Span "
                "Detection with Unified Multimodal Transformer, ACL"
            ),
        ),
        RawSet(
            name="snap", title="SNAP", parse=parse_imgid, types=FOUR_TYPES, renames=_OTHER, language="en", citation=_LU
        ),
        RawSet(
            name="twitter_gmner",
            title="Twitter-GMNER",
            parse=parse_imgid,
            types=FOUR_TYPES,
            renames=_OTHER,
            language="en",
            tokeniser="handles split",
            folders=("txt",),
            needs_boxes=True,
            homepage="https://github.com/NUSTM/GMNER",
            citation="Yu et al. 2023, Grounded Multimodal Named Entity Recognition on Social Media, ACL",
        ),
        RawSet(
            name="twitter_fmnerg",
            title="Twitter-FMNERG",
            parse=parse_imgid,
            language="en",
            tokeniser="handles split",
            folders=("txt_fine",),
            homepage="https://github.com/NUSTM/FMNERG",
            citation=(
                "Wang et al. 2023, Fine-Grained Multimodal Named Entity Recognition and Grounding with a Generative "
                "Framework, ACM MM"
            ),
        ),
        RawSet(
            name="mnre",
            title="MNRE",
            parse=parse_mnre,
            relations=MNRE_RELATIONS,
            language="en",
            tokeniser="handles whole",
            folders=("mnre_txt",),
            prefixes=("mnre_", ""),
            homepage="https://github.com/thecharm/MNRE",
            citation=(
                "Zheng et al. 2021, MNRE: A Challenge Multimodal Dataset for Neural Relation Extraction with Visual "
                "Evidence in Social Media Posts, ICME"
            ),
        ),
        RawSet(
            name="mner_mi",
            title="MNER-MI",
            parse=parse_mner_mi,
            types=FOUR_TYPES,
            renames=_MIS,
            language="en",
            folders=("text",),
            prefixes=("MNER-MI_", "MNER-UNI_", ""),
            images="many",
            homepage="https://github.com/JinFish/MNER-MI",
            citation=_HUANG,
        ),
        RawSet(
            name="mner_mi_plus",
            title="MNER-MI-Plus",
            parse=parse_mner_mi,
            types=FOUR_TYPES,
            renames=_MIS,
            language="en",
            folders=("text",),
            prefixes=("MNER-UNI_", "MNER-MI-Plus_", ""),
            images="many",
            homepage="https://github.com/JinFish/MNER-MI",
            citation=_HUANG,
        ),
        RawSet(
            name="cmner",
            title="CMNER",
            parse=parse_wid,
            types=FOUR_TYPES,
            language="zh",
            tokeniser="characters",
            joiner="",
            folders=("text",),
            images="many",
            suffixed=True,
            license="mit",
            homepage="https://github.com/Jyz99/CMNER",
            citation="Ji et al. 2024, CMNER: A Chinese Multimodal NER Dataset based on Social Media, arXiv:2402.13693",
        ),
        RawSet(name="conll", title="Posts with BIO tags", parse=parse_imgid),
    )
}


# ---------------------------------------------------------------- reading


def raw_set(name: str) -> RawSet:
    """Return a set by its name.

    Raises:
        UnknownName: there is no such set; the message gives the nearest.
        UsageError: the package that offers it cannot be imported, or offers something else.
    """
    if name in RAW_SETS:
        return RAW_SETS[name]
    others = installed()
    if name not in others:
        raise UnknownName("raw set", name, [*RAW_SETS, *others])
    found = others[name].load()
    if not isinstance(found, RawSet) or found.name != name:
        raise UsageError(f"{others[name]}: expected a RawSet of that name, found {found!r}: mend the package")
    return found


def installed() -> dict[str, Offer]:
    """Return the sets that installed packages offer, by name; none of them has a name of the table."""
    return offers("readers", RAW_SETS)


def read(
    name: str,
    raw_dir: str | Path,
    *,
    images: str | Path | None = None,
    xml: str | Path | None = None,
    orphans: Orphans = "promote",
    language: str | None = None,
    types: Mapping[str, str] | None = None,
    columns: Mapping[str, str | int] = MappingProxyType({}),
) -> Reading:
    """Read a set once: find its labels, count, and check every tag, id, image and box.

    ``raw_dir`` contains some of train, valid (or val, dev) and test ``.txt``, or is one such file, read as train.
    Ids become unique over all splits: a second post ``12`` becomes ``12~2``, and so do the second and later relations
    of one tweet in MNRE, whose id is that of their image. An image is found by its post's id, or by the name that the
    post gives. Boxes come from the XML files in ``xml``, or in ``raw_dir/xml`` if it exists. ``types`` renames entity
    types, coarse or fine: ``{"OTHER": "MISC"}``; only the table of sets renames others. ``columns`` are the positions
    of ``tokens``, ``ner_tags`` and optionally ``fine_tags`` in the lines of an ``IMGID:`` file, from 1.

    Raises:
        UnknownName: no such set, or no such policy for orphans.
        UsageError: a folder does not exist, the set has no place for boxes, the language is not a code, or a type to
            rename does not occur.
        DataError: the files are not in the set's layout.
    """
    named = raw_set(name)
    if orphans not in ORPHANS:
        raise UnknownName("policy for orphans", orphans, ORPHANS)
    if language is not None and not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", language):
        raise UsageError(f"language {language!r}: expected a code such as en or zh")
    asked = types or {}
    raw, met = _renaming(_with_columns(named, columns), asked)
    files = _find_files(raw, Path(raw_dir))
    drawings = _find_drawings(raw, Path(raw_dir), xml)
    report = Report(name, orphans, images is not None, raw.images == "many")
    ids: dict[str, list[tuple[int, Wanted]]] = {}
    found = _Found()
    for split, path in files.items():
        report.splits[split] = SplitReport(path.name)
        ids[split] = _scan(raw, path, orphans, report.splits[split], found)
    kinds = raw.types or in_order(found.types)
    for old, new in asked.items():
        if old not in met:
            known = ", ".join(sorted({*found.types, *found.fine_types})) or "none"
            raise UsageError(f"types: {old}={new} renames a type that does not occur, found {known}")
    renames = {old: new for old, new in raw.renames.items() if old in met and old != new}
    report.renames = renames
    for found_types in (found.types, found.fine_types):
        if alike := _look_alikes(found_types):
            warnings.warn(f"{name}: {alike}", stacklevel=2)
    if not kinds and not raw.relations:
        raise DataError(f"every tag is O: expected entities ({', '.join(map(str, files.values()))})")
    raw = replace(
        raw,
        types=kinds,
        renames=renames,
        language=language or raw.language,
        tokeniser=raw.tokeniser or ("handles split" if found.lone_ats > found.handles else "handles whole"),
    )
    new_ids = _unique_ids(ids, report)
    pictures: dict[str, list[PictureFile]] = {}
    if images is not None:
        wanted = {split: [post for _, post in posts] for split, posts in ids.items()}
        pictures = attach(Path(images), wanted, report, suffixed=raw.suffixed)
    boxes: dict[tuple[str, int], Mapping[tuple[int, int], list[Box]]] = {}
    for split, path in files.items() if drawings else ():
        for line, placed in _draw(raw, path, orphans, drawings, pictures, report.splits[split]):
            boxes[split, line] = placed
    own = {normalise_unicode("NFC", post.id) for posts in ids.values() for _, post in posts}
    report.spare_drawings = [path.name for name, paths in drawings.items() if name not in own for path in paths]
    if drawings and not any(counts.drawings for counts in report.splits.values()):
        first = next(iter(drawings.values()))[0]
        raise UsageError(
            f"{first.parent}: expected XML files named <id>.xml, but none has a post's id, as {first.name}"
        )
    features = mner_features(
        kinds,
        images=raw.images,
        boxes=bool(drawings),
        fine_types=in_order(found.fine_types),
        relations=raw.relations,
    )
    for split, counts in report.splits.items():
        if counts.missing or counts.unreadable or counts.refused or counts.unsupported:
            warnings.warn(_without_images(raw, split, counts), stacklevel=2)
    return Reading(raw, files, features, report, new_ids, pictures, boxes)


def _without_images(raw: RawSet, split: str, counts: SplitReport) -> str:
    if raw.images == "many":
        return (
            f"{raw.name} {split}: {counts.missing} images have no file and {counts.unreadable} cannot be decoded"
            f"{_refused(counts)}: they are left out of their posts ({counts.images} are there)"
        )
    return (
        f"{raw.name} {split}: {counts.missing} of {counts.posts} posts have no image file and "
        f"{counts.unreadable} one that cannot be decoded{_refused(counts)}: their image is null"
    )


def _refused(counts: SplitReport) -> str:
    said = ""
    for trouble, text in {"refused": "are refused", "unsupported": "are in no supported format"}.items():
        if count := getattr(counts, trouble):
            said += f", {count} {text} ({'; '.join(counts.examples[trouble])})"
    return said


@dataclass
class _Found:
    """Facts found in the files of a set, for those that its ``RawSet`` does not declare."""

    types: Counter[str] = field(default_factory=Counter)
    fine_types: Counter[str] = field(default_factory=Counter)
    columns: dict[int, Path] = field(default_factory=dict)
    lone_ats: int = 0
    handles: int = 0


def _scan(raw: RawSet, path: Path, orphans: Orphans, counts: SplitReport, found: _Found) -> list[tuple[int, Wanted]]:
    """Check and count the posts of a file; return line, id and images of each post with words."""
    ids = []
    for post in raw.parse(path):
        if isinstance(post, BadLine):
            counts.note("bad_lines", f"line {post.line}: {post.reason}")
            continue
        if not post.tokens:
            counts.note("empty_posts", post.id)
            continue
        ids.append((post.line, Wanted(post.id, post.pictures)))
        counts.posts += 1
        counts.words += len(post.tokens)
        counts.mentions += sum(tag[0] == "B" for tag in post.tags)
        counts.relations += post.relation is not None
        found.lone_ats += post.tokens.count("@")
        found.handles += sum(len(word) > 1 and word[0] == "@" for word in post.tokens)
        _check_columns(post, path)
        found.columns.setdefault(1 + bool(post.fine_tags), path)
        if len(found.columns) > 1:
            one, two = found.columns[1], found.columns[2]
            raise DataError(f"expected as many tag columns in every file, found one in {one} and two in {two}")
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
        if raw.types:
            known = {*raw.types, *raw.renames}
            for i, tag in enumerate(post.tags):
                if tag != "O" and tag[2:] not in known:
                    raise DataError(
                        f"post {post.id}: expected a type of {raw.title} ({', '.join(sorted(known))}), found {tag} "
                        f"({path} line {post.lines[i]}): read other label sets as conll"
                    )
    return ids


def _with_columns(raw: RawSet, columns: Mapping[str, str | int]) -> RawSet:
    """Return the set read from some columns of its lines, if any are named.

    Raises:
        UsageError: its lines have no columns to choose, or these are not positions of words and tags.
    """
    if not columns:
        return raw
    names = ("tokens", "ner_tags", "fine_tags")[: max(2, len(columns))]
    places = [str(columns.get(name, "")) for name in names]
    if raw.parse is not parse_imgid:
        raise UsageError(f"{raw.name} has fixed columns: leave out --columns")
    if {*columns} - {*names} or not all(place.isdecimal() and 0 < int(place) < 100 for place in places):
        found = ",".join(f"{name}={place}" for name, place in columns.items())
        raise UsageError(
            f"--columns {found}: expected positions from 1, as tokens=1,ner_tags=3, optionally fine_tags=4"
        )
    return replace(raw, parse=partial(parse_imgid, columns=[int(place) for place in places]))


def _check_columns(post: RawPost, path: Path) -> None:
    """Check that two columns of tags, coarse and fine, mark the same mentions.

    Raises:
        DataError: a word has a tag in only one of them, as with chunks and entities.
    """
    for i, (tag, fine) in enumerate(zip(post.tags, post.fine_tags, strict=False)):
        if (tag == "O") != (fine == "O"):
            raise DataError(
                f"post {post.id}: expected coarse and fine tags of the same mentions, found {tag} and {fine} on "
                f"{post.tokens[i]!r} ({path} line {post.lines[i]}): {NAME_COLUMNS}"
            )


def _renaming(raw: RawSet, types: Mapping[str, str]) -> tuple[RawSet, set[str]]:
    """Return the set with types renamed while its files are parsed, by its own table and by the user's.

    The types to rename that occur in the files are added to the returned set of names while these are parsed.

    Raises:
        UsageError: a type's new name is invalid.
    """
    renames = {**raw.renames, **types}
    for old, new in types.items():
        if not old or not new or new.split() != [new]:
            raise UsageError(f"types: {old!r}={new!r}: expected OLD=NEW, a type and its new name without blanks")
    met: set[str] = set()
    tags = {f"{prefix}-{old}": f"{prefix}-{new}" for old, new in renames.items() for prefix in "BI"}

    def parse(path: Path) -> Iterator[RawPost | BadLine]:
        for post in raw.parse(path):
            if isinstance(post, RawPost):
                new, fine = ([tags.get(tag, tag) for tag in column] for column in (post.tags, post.fine_tags))
                met.update(tag[2:] for tag in (*post.tags, *post.fine_tags) if tag in tags)
                post = replace(post, tags=new, fine_tags=fine)
            yield post

    kinds = tuple(dict.fromkeys([*raw.types, *types.values()])) if raw.types else ()
    return replace(raw, parse=parse if renames else raw.parse, renames=renames, types=kinds), met


def _look_alikes(types: Mapping[str, int]) -> str:
    """Return which types differ only in case, signs or width, with their mention counts, or an empty text."""
    alike: dict[str, list[str]] = defaultdict(list)
    for kind in types:
        alike[re.sub(r"[-_./\s]", "", unicodedata.normalize("NFKC", kind).casefold()) or kind].append(kind)
    said, asked = [], []
    for kinds in alike.values():
        if len(kinds) > 1:
            most, *others = sorted(kinds, key=lambda kind: (-types[kind], not kind.isupper(), kind))
            said.append(", ".join(f"{kind} ({types[kind]})" for kind in (most, *others)))
            asked += [f"{kind}={most}" for kind in others]
    if not said:
        return ""
    return (
        f"types that differ only in case or signs, with their mentions: {'; '.join(said)}: they stay different types; "
        f"--types {','.join(asked)} makes them one"
    )


def _draw(
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


def _unique_ids(ids: Mapping[str, list[tuple[int, Wanted]]], report: Report) -> dict[tuple[str, int], str]:
    """Return new ids for the posts (split, line) whose id an earlier post already has."""
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
                report.splits[split].note("duplicate_ids", f"{post_id} -> {new_id}")
            seen.add(post_id)
    return new_ids


def _find_files(raw: RawSet, raw_dir: Path) -> dict[str, Path]:
    """Return the file of each split that exists; a space before the file's suffix is ignored.

    Raises:
        UsageError: the path does not exist.
        DataError: no split is found, or a split has two files.
    """
    if raw_dir.is_file():
        return {"train": raw_dir}
    if not raw_dir.is_dir():
        raise UsageError(f"{raw_dir}: no such folder or file")
    for folder in (raw_dir, *(raw_dir / name for name in raw.folders if (raw_dir / name).is_dir())):
        inside = [(f"{path.stem.strip()}{path.suffix}", path) for path in sorted(folder.iterdir()) if path.is_file()]
        for prefix in raw.prefixes:
            files: dict[str, Path] = {}
            for split, names in SPLIT_FILES.items():
                found = [path for name in names for spelt, path in inside if spelt == prefix + name]
                if len(found) > 1:
                    both = " and ".join(map(str, found))
                    raise DataError(f"expected one file for {split}, found {both}: keep one of them")
                if found:
                    files[split] = found[0]
                    if not is_inside(found[0], folder.resolve()):
                        raise DataError(f"{found[0]} is a link that leads out of {folder}: name the file itself")
            if files:
                _warn_of_others(prefix, [path for _, path in inside if path not in files.values()])
                return files
    others = sorted(path for path in raw_dir.iterdir() if not path.name.startswith("."))
    tried = ", ".join(name for names in SPLIT_FILES.values() for name in names)
    if prefixes := [prefix for prefix in raw.prefixes if prefix]:
        tried += f" with {' or '.join(prefixes)} before them{' or nothing' * ('' in raw.prefixes)}"
    held = ", ".join(path.name for path in others[:10]) or "nothing"
    text = next((path for path in others if path.suffix == ".txt" and path.is_file()), None)
    raise DataError(
        f"{raw_dir}: tried {tried}; found {held}: give the folder of the splits, or one file to read as train"
        + (as_read(text) if text else "")
    )


def _warn_of_others(prefix: str, left: Iterable[Path]) -> None:
    """Warn of files whose names look like further splits, as ``test_2021.txt``."""
    ours = (path.name for path in left if path.name.startswith(prefix))
    if names := [name for name in ours if _FURTHER.fullmatch(name.removeprefix(prefix))]:
        warnings.warn(
            f"left unread: {', '.join(names)}: a folder has train, validation and test; convert each of these by "
            "itself, and name it as a split to hold it out",
            stacklevel=5,
        )


def _find_drawings(raw: RawSet, raw_dir: Path, xml: str | Path | None) -> dict[str, list[Path]]:
    """Return the XML files with boxes by the id of their post; there may be none.

    Raises:
        UsageError: they are required but missing, or the set has no place for boxes.
    """
    if xml is not None and not raw.takes_boxes:
        raise UsageError(f"{raw.name} has no place for boxes: they belong to entities of a set with one image per post")
    folder = raw_dir / "xml" if xml is None else Path(xml)
    if xml is not None or (raw.takes_boxes and folder.is_dir()):
        return find_drawings(folder)
    if raw.needs_boxes:
        raise UsageError(f"{folder}: no such folder: name the XML files' folder with --xml DIR, or read as conll")
    return {}
