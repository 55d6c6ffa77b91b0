"""The scheme of a raw set's tags: recognised in its files or given by the user, and the tags read as BIO."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers.formats import BadLine, RawPost
from hf_mner_aug.readers.layout import RawSet
from hf_mner_aug.readers.report import Report
from hf_mner_aug.schema import Orphans
from hf_mner_aug.schema.schemes import (
    AnyScheme,
    Pairs,
    Recognised,
    Tagging,
    first_misfit,
    known_scheme,
    recognise,
    wrong_scheme,
)

Parse = Callable[[Path], Iterator[RawPost | BadLine]]


def with_scheme(raw: RawSet, files: Mapping[str, Path], scheme: AnyScheme | None, report: Report) -> RawSet:
    """Return the set with its tags read as BIO while its files are parsed; how they are read is said in the report.

    A tag that the scheme does not have leaves its post out. Where the tags are BIO, orphans stay as they are.

    Raises:
        UnknownName: there is no such scheme.
        UsageError: the set declares its scheme, or the given scheme is not that of the tags.
        DataError: as ``raw.parse``.
    """
    asked = known_scheme(scheme)
    if raw.scheme != "auto":
        if asked not in (None, raw.scheme):
            raise UsageError(f"{raw.name} takes no --scheme {scheme}: its tags are {raw.scheme.upper()}")
        return raw
    counted = _pairs(raw.parse, files)
    read = [recognise(pairs, asked) for pairs in counted]
    for i, pairs in enumerate(counted if asked else ()):
        _check_scheme(raw, files, read[i], recognise(pairs), fine=bool(i))
    for name, pairs, found in zip(("", "fine "), counted, read, strict=True):
        report.recognised += [f"{name}{found.why}"] if pairs else []
    coarse, fine = (found.tagging for found in read)

    def parse(path: Path) -> Iterator[RawPost | BadLine]:
        return _read(raw.parse, path, coarse, fine, report.orphans)

    return replace(raw, parse=parse)


def _pairs(parse: Parse, files: Mapping[str, Path]) -> tuple[Pairs, Pairs]:
    """Return the pairs of neighbours in all files, of tags and of fine tags."""
    coarse, fine = Pairs(), Pairs()
    for path in files.values():
        for post in parse(path):
            if isinstance(post, RawPost):
                coarse.add(post.tags)
                fine.add(post.fine_tags)
    fine.pop(("", ""), None)
    return coarse, fine


def _read(parse: Parse, path: Path, coarse: Tagging, fine: Tagging, orphans: Orphans) -> Iterator[RawPost | BadLine]:
    """Yield the posts of a file with BIO tags, and a bad line for each that has a tag of no such scheme.

    Raises:
        DataError: no post can be read, a tag does not fit with ``orphans="error"``, or as ``parse``.
    """
    first: BadLine | None = None
    read_some = False
    for post in parse(path):
        if isinstance(post, RawPost):
            bad = _strange(post, post.tags, coarse) or _strange(post, post.fine_tags, fine)
            first, read_some = first or bad, read_some or bad is None
            post = bad or _as_bio(post, path, coarse, fine, orphans)
        yield post
    if first is not None and not read_some:
        raise DataError(f"{first.reason} ({path} line {first.line}): no post could be read")


def _strange(post: RawPost, tags: Sequence[str], tagging: Tagging) -> BadLine | None:
    """Return the first tag that is not one of the scheme, as a bad line."""
    for i, tag in enumerate(tags):
        if not tagging.reads(tag):
            return BadLine(post.lines[i], f"post {post.id}: {_fault(tag, tagging)}, found on {post.tokens[i]!r}")
    return None


def _fault(tag: str, tagging: Tagging) -> str:
    try:
        tagging.parse(tag)
    except DataError as error:
        return str(error)
    return ""


def _as_bio(post: RawPost, path: Path, coarse: Tagging, fine: Tagging, orphans: Orphans) -> RawPost:
    """Return a post with BIO tags and a note for each repaired one.

    Raises:
        DataError: there is one and ``orphans="error"``.
    """
    notes = list(post.notes)
    columns = []
    for tags, tagging in ((post.tags, coarse), (post.fine_tags, fine)):
        if tagging.scheme == "bio":
            columns.append(tagging.respell(tags))
            continue
        bio, faults = tagging.to_bio(tags, "promote" if orphans == "error" else orphans)
        if faults and orphans == "error":
            i = faults[0]
            raise DataError(
                f"post {post.id}: {tags[i]} on {post.tokens[i]!r} does not fit {tagging.scheme.upper()} "
                f"({path} line {post.lines[i]}): correct it, or read with orphans 'promote' or 'drop'"
            )
        notes += [("repaired_tags", f"{post.id} {post.tokens[i]!r} {tags[i]}") for i in faults]
        columns.append(bio)
    return replace(post, tags=columns[0], fine_tags=columns[1], notes=notes)


def _check_scheme(raw: RawSet, files: Mapping[str, Path], asked: Recognised, best: Recognised, *, fine: bool) -> None:
    """Check that a given scheme is that of the tags.

    Raises:
        UsageError: it is not; the message names the first tag that does not fit.
    """
    if not wrong_scheme(asked, best):
        return
    scheme = asked.tagging.scheme
    for path in files.values():
        for post in raw.parse(path):
            tags = () if isinstance(post, BadLine) else post.fine_tags if fine else post.tags
            if isinstance(post, RawPost) and (i := first_misfit(tags, asked.tagging)) is not None:
                raise UsageError(
                    f"--scheme {scheme}: post {post.id} has {tags[i]} on {post.tokens[i]!r} ({path} line "
                    f"{post.lines[i]}), which does not fit {scheme.upper()}, and {best.why}: read them with --scheme "
                    f"{best.tagging.scheme}"
                )
