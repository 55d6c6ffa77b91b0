"""The scheme of a set's tags: recognised in its posts or given by the user, and the tags read as BIO."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers.formats import BadLine, RawPost, with_a_post
from hf_mner_aug.readers.layout import RawSet
from hf_mner_aug.readers.report import Report
from hf_mner_aug.schema import Orphans
from hf_mner_aug.schema.schemes import (
    AnyScheme,
    Pairs,
    Recognised,
    Scheme,
    Tagging,
    first_misfit,
    known_scheme,
    recognise,
    wrong_scheme,
)

Parse = Callable[[Path], Iterator[RawPost | BadLine]]
Posts = Callable[[], Iterable[tuple[str, RawPost | BadLine]]]  # of a whole set, each with its file: ``train.txt line``


@dataclass(frozen=True)
class TagReading:
    """How the tags and fine tags of a set are read, why, and how often each type is mentioned."""

    coarse: Tagging
    fine: Tagging
    why: tuple[str, ...] = ()
    types: Counter[str] = field(default_factory=Counter)
    fine_types: Counter[str] = field(default_factory=Counter)


def with_scheme(
    raw: RawSet, files: Mapping[str, Path], scheme: AnyScheme | None, report: Report, renames: Mapping[str, str]
) -> tuple[RawSet, set[str]]:
    """Return the set with its tags read as BIO while its files are parsed; how they are read is said in the report.

    A tag that the scheme does not have leaves its post out. Where the tags are BIO, orphans stay as they are. Types are
    renamed before spans are read, so that a mention of two spellings is one; those that occur are returned, too.

    Raises:
        UnknownName: there is no such scheme.
        UsageError: the set declares its scheme, or the given scheme is not that of the tags.
        DataError: as ``raw.parse``.
    """
    asked = known_scheme(scheme)
    if raw.scheme != "auto":
        if asked not in (None, raw.scheme):
            raise UsageError(f"{raw.name} takes no --scheme {scheme}: its tags are {raw.scheme.upper()}")
        return raw, set()
    found = recognise_in(lambda: ((f"{path} line", post) for path in files.values() for post in raw.parse(path)), asked)
    report.recognised += found.why
    met = {old for old in renames if old in found.types or old in found.fine_types}
    coarse, fine = (replace(tagging, renames=tuple(renames.items())) for tagging in (found.coarse, found.fine))
    found = replace(found, coarse=coarse, fine=fine)

    def parse(path: Path) -> Iterator[RawPost | BadLine]:
        return with_a_post(read_tags(raw.parse(path), f"{path} line", found, report.orphans), path)

    return replace(raw, parse=parse), met


def recognise_in(posts: Posts, asked: Scheme | None = None, option: str = "--scheme {}") -> TagReading:
    """Return how the tags of a whole set are read.

    Args:
        posts: yields them from the start at each call.
        asked: the scheme that the user names.
        option: how the user names it.

    Raises:
        UsageError: it is not that of the tags; the message names the first one that does not fit.
        DataError: there are far too many kinds of tags.
    """
    coarse, fine = Pairs(), Pairs()
    for where, post in posts():
        if isinstance(post, RawPost) and post.tokens:
            try:
                coarse.add(post.tags)
                fine.add(post.fine_tags)
            except DataError as error:
                raise DataError(f"{error} ({where} {post.line})") from error
    fine.pop(("", ""), None)
    read = [recognise(pairs, asked) for pairs in (coarse, fine)]
    for found, pairs, name in zip(read, (coarse, fine), ("tags", "fine_tags"), strict=True):
        if asked and wrong_scheme(found, best := recognise(pairs)):
            raise UsageError(_told(posts(), name, found, best, option))
    why = [found.why for found in read[: 1 + bool(fine)]]
    why[1:] = [f"fine {line}" for line in why[1:]]
    return TagReading(read[0].tagging, read[1].tagging, tuple(why), read[0].mentions, read[1].mentions)


def read_tags(
    posts: Iterable[RawPost | BadLine], where: str, reading: TagReading, orphans: Orphans, *, repair: bool = False
) -> Iterator[RawPost | BadLine]:
    """Yield posts with BIO tags, and a bad line for each that has a tag of no such scheme.

    Args:
        posts: with tags as they are spelt.
        where: their file, as ``train.txt line``.
        reading: how tags are read.
        orphans: what becomes of tags that do not fit.
        repair: repair orphans of BIO, too.

    Raises:
        DataError: a tag does not fit, and ``orphans="error"``.
    """
    for post in posts:
        if isinstance(post, RawPost):
            bad = _strange(post, post.tags, reading.coarse) or _strange(post, post.fine_tags, reading.fine)
            post = bad or _as_bio(post, where, reading, orphans, repair=repair)
        yield post


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


def _as_bio(post: RawPost, where: str, reading: TagReading, orphans: Orphans, *, repair: bool) -> RawPost:
    """Return a post with BIO tags and a note for each repaired one.

    Raises:
        DataError: there is one and ``orphans="error"``.
    """
    notes = list(post.notes)
    columns = []
    for tags, tagging, counter in (
        (post.tags, reading.coarse, "orphans"),
        (post.fine_tags, reading.fine, "fine_orphans"),
    ):
        if tagging.scheme == "bio" and not repair:
            columns.append(tagging.respell(tags))
            continue
        bio, faults = tagging.to_bio(tags, "promote" if orphans == "error" else orphans)
        if faults and orphans == "error":
            i = faults[0]
            raise DataError(
                f"post {post.id}: {tags[i]} on {post.tokens[i]!r} does not fit {tagging.scheme.upper()} "
                f"({where} {post.lines[i]}): correct it, or read with orphans 'promote' or 'drop'"
            )
        counter = counter if tagging.scheme == "bio" else "repaired_tags"
        notes += [(counter, f"{post.id} {post.tokens[i]!r} {tags[i]}") for i in faults]
        columns.append(bio)
    return replace(post, tags=columns[0], fine_tags=columns[1], notes=notes)


def _told(
    posts: Iterable[tuple[str, RawPost | BadLine]], name: str, asked: Recognised, best: Recognised, option: str
) -> str:
    """Return that a scheme is not that of the tags, with the first one that does not fit."""
    for where, post in posts:
        tags = getattr(post, name, ())
        if isinstance(post, RawPost) and (i := first_misfit(tags, asked.tagging)) is not None:
            return (
                f"{option.format(asked.tagging.scheme)}: post {post.id} has {tags[i]} on {post.tokens[i]!r} ({where} "
                f"{post.lines[i]}), which does not fit {asked.tagging.scheme.upper()}, and {best.why}: read them with "
                f"{option.format(best.tagging.scheme)}"
            )
    return f"{option.format(asked.tagging.scheme)}: {best.why}"
