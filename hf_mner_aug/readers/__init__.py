"""Raw sets, as their authors publish them, read into rows: ``read`` opens one, ``RAW_SETS`` lists them."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.installed import Offer, offers
from hf_mner_aug.posts.texts import normalise_unicode
from hf_mner_aug.readers.corrections import with_corrections
from hf_mner_aug.readers.encodings import AUTO
from hf_mner_aug.readers.files import find_drawings, find_files
from hf_mner_aug.readers.images import PictureFile, Wanted, attach
from hf_mner_aug.readers.layout import SPLIT_FILES, RawSet
from hf_mner_aug.readers.left_out import explained, listed
from hf_mner_aug.readers.report import Report, SplitReport
from hf_mner_aug.readers.rows import Reading
from hf_mner_aug.readers.scan import Found, all_boxes, scan, unique_ids, with_options, with_renames
from hf_mner_aug.readers.schemes import with_scheme
from hf_mner_aug.readers.sets import RAW_SETS
from hf_mner_aug.readers.spans.annotated import Misaligned, Nested, Offsets
from hf_mner_aug.readers.tag_files.places import parse_places
from hf_mner_aug.schema import ORPHANS, Orphans, in_order, mner_features, similar_types
from hf_mner_aug.schema.schemes import AnyScheme

__all__ = ["RAW_SETS", "SPLIT_FILES", "RawSet", "Reading", "installed", "parse_places", "raw_set", "read"]


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
        raise UsageError(f"{others[name]}: expected a RawSet of that name, found {found!r}: fix the package")
    return found


def installed() -> dict[str, Offer]:
    """Return the sets that installed packages offer, by name; none of them has a name of the table."""
    return offers("readers", RAW_SETS)


def read(
    name: str | RawSet,
    raw_dir: str | Path,
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
) -> Reading:
    """Read a set, by its name or as it is, once: find its labels, count, and check every tag, id, image and box.

    ``raw_dir`` contains some of train, valid (or val, dev) and test ``.txt``, or is one such file, read as train.
    Ids become unique over all splits: a second post ``12`` becomes ``12~2``, and so do the second and later relations
    of one tweet in MNRE, whose id is that of their image. An image is found by its post's id, or by the name that the
    post gives. Boxes come from the XML files in ``xml``, or in ``raw_dir/xml`` if it exists. ``types`` renames entity
    types, coarse or fine: ``{"OTHER": "MISC"}``; only the table of sets renames others. ``columns`` are the positions
    of ``tokens``, ``ner_tags`` and optionally ``fine_tags`` in the lines of an ``IMGID:`` file, from 1, or a file's
    names of fields. ``encoding`` is that of the text, as ``cp1252``; ``auto`` recognises it. ``tokeniser``,
    ``misaligned``, ``nested`` and ``offsets`` are for texts with spans: ``readers.spans.posts_of`` explains them.
    ``corrections`` is a file of corrected labels, as ``memory`` writes it. ``left_out`` is a file to list the rows in
    that give no post.
    ``scheme`` is that of the tags; by default, or with ``"auto"``, it is recognised where the set does not declare it.

    Raises:
        UnknownName: no such set, scheme, or policy for orphans.
        UsageError: a folder does not exist, the set has no place for boxes, the language is not a code, a type to
            rename does not occur, or the scheme is not that of the tags.
        DataError: the files are not in the set's layout, more than half of the rows of one cannot be read, or their
            encoding is not certain.
    """
    named = raw_set(name) if isinstance(name, str) else name
    if orphans not in ORPHANS:
        raise UnknownName("policy for orphans", orphans, ORPHANS)
    if language is not None and not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", language):
        raise UsageError(f"language {language!r}: expected a code such as en or zh")
    asked = types or {}
    files = named.files or find_files(named, Path(raw_dir))
    drawings = find_drawings(named, Path(raw_dir), xml)
    with_pictures = images is not None or named.attach is not None
    report = Report(named.name, orphans, with_pictures, named.images == "many")
    spans = {"tokeniser": tokeniser, "misaligned": misaligned, "nested": nested, "offsets": offsets}
    given = {"columns": columns or None, "encoding": None if encoding == AUTO else encoding, **spans}
    options = {name: value for name, value in given.items() if value is not None}
    ids: dict[str, list[tuple[int, Wanted]]] = {}
    found = Found()
    with listed(None if left_out is None else Path(left_out), named, files) as passes:
        opened = explained(with_options(named, files, options, report))
        passes.append(opened)
        raw, renamed = with_scheme(opened, files, scheme, report, {**named.renames, **asked})
        raw, met = with_renames(raw, asked)
        passes.append(raw)
        if corrections is not None:
            raw = with_corrections(raw, files, Path(corrections), report)
        raw = explained(raw)
        for split, path in files.items():
            report.splits[split] = SplitReport(path.name)
            ids[split] = scan(raw, path, orphans, report.splits[split], found)
    raw = _settled(raw, found, asked, met | renamed, language, report)
    report.named_images = bool(found.named_picture)
    if images is None and named.images == "auto" and found.named_picture:
        report.recognised.append(f"posts name pictures, as {found.named_picture[:200]}: --images DIR with their files")
    if drawings and not raw.takes_boxes:
        raise UsageError("boxes belong to entities of a set with one image per post, found several: leave out --xml")
    if not raw.types and not raw.relations:
        raise DataError(f"every tag is O: expected entities ({', '.join(map(str, files.values()))})")
    new_ids = unique_ids(ids, report)
    pictures: dict[str, list[PictureFile]] = {}
    wanted = {split: [post for _, post in posts] for split, posts in ids.items()}
    if named.attach is not None:
        pictures = named.attach(wanted, report)
    elif images is not None:
        pictures = attach(Path(images), wanted, report, suffixed=raw.suffixed)
    boxes = all_boxes(raw, files, drawings, pictures, report)
    own = {normalise_unicode("NFC", post.id) for posts in wanted.values() for post in posts}
    report.spare_drawings = [path.name for name, paths in drawings.items() if name not in own for path in paths]
    features = mner_features(
        raw.types,
        images="many" if raw.images == "many" else "one",
        boxes=bool(drawings),
        fine_types=in_order(found.fine_types),
        relations=raw.relations,
    )
    for warning in (*report.cut_words(), *report.absent_pictures()):
        warnings.warn(warning, stacklevel=2)
    return Reading(raw, files, features, report, new_ids, pictures, boxes)


def _settled(
    raw: RawSet, found: Found, asked: Mapping[str, str], met: set[str], language: str | None, report: Report
) -> RawSet:
    """Return a set that was scanned, with what was found in its files where it does not declare it.

    ``asked`` are the user's names of types, ``met`` the renamed types that occur.

    Raises:
        UsageError: a type to rename does not occur.
    """
    for old, new in asked.items():
        if old not in met:
            known = ", ".join(sorted({*found.types, *found.fine_types})) or "none"
            raise UsageError(f"types: {old}={new} renames a type that does not occur, found {known}")
    report.renames = {old: new for old, new in raw.renames.items() if old in met and old != new}
    for found_types in (found.types, found.fine_types):
        if alike := similar_types(found_types):
            warnings.warn(f"{raw.name}: {alike}", stacklevel=3)
    if raw.images == "auto":
        report.many_images = found.several_pictures
        raw = replace(raw, images="many" if found.several_pictures else "one")
    return replace(
        raw,
        types=raw.types or in_order(found.types),
        renames=report.renames,
        language=language or raw.language,
        tokeniser=raw.tokeniser or ("handles split" if found.lone_ats > found.handles else "handles whole"),
    )
