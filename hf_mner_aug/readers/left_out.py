"""Rows that give no post: their reasons, what to do if they are most of a file, and a list of all of them."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers.formats import RawPost
from hf_mner_aug.readers.layout import RawSet
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.report import SplitReport, sort_of

LIKELIEST = 3
_LIKELIEST = "the likeliest reasons: "
_LISTED = 2_000  # characters of a reason
_ROW = ["split", "file", "line", "counter", "reason", "detail"]  # of a report
_LONGEST_ROW = 1 << 20  # bytes

# What to do about reasons like a pattern, and the option of ``convert`` that this needs, if any.
_ADVICE = (
    (re.compile(r"^expected [A-Z]\S+ text$"), "encoding", "name the encoding of the text with --encoding, as cp1252"),
    (
        re.compile(r"^not JSON|^not a Python literal"),
        "",
        "every line has to be one record: it may be a file for another set",
    ),
    (re.compile(r"inside of a word"), "misaligned", "--misaligned snap extends a span to whole words"),
    (re.compile(r"shares a word"), "nested", "--nested outermost keeps the longest of such spans"),
    (
        re.compile(r"does not fit the text|in the file, but|ends before"),
        "offsets",
        "name their unit with --offsets utf16 or bytes",
    ),
    (re.compile(r"\btag\b"), "scheme", "name the scheme of the tags with --scheme"),
    (
        re.compile(r"^expected a span with"),
        "columns",
        "name the fields of a span with --columns, as start=from,end=to,type=kind",
    ),
    (
        re.compile(r"^expected (a span|'tokenized_text')"),
        "columns",
        "name the fields with --columns, as text=body,spans=labels",
    ),
    (
        re.compile(r"^expected .*(column|word|tag)"),
        "columns",
        "name the columns with --columns, as tokens=1,ner_tags=4",
    ),
    (re.compile(r"^expected "), "columns", "name the fields with --columns, as text=body,spans=labels"),
    (re.compile(r"over …|at most …"), "", "cut these before"),
    (re.compile(r""), "", "correct these rows, or leave them out of the file"),
)
# How the files of sets begin, for sets of this package.
_TWEETS = ("twitter2015", "twitter2017", "snap", "twitter_gmner", "twitter_fmnerg")
_BEGINNINGS = {
    "IMGID:": ("conll", "conll2003", *_TWEETS),
    "WID:": ("cmner",),
    "{'": ("mnre", "mner_mi", "mner_mi_plus"),
    "-DOCSTART-": ("conll2003", "conll"),
    '{"': ("spans", "doccano", "prodigy", "label-studio", "lighttag", "mner_mi", "mner_mi_plus", "jsonl-bio"),
    "[": ("spans", "label-studio", "lighttag", "gliner", "spacy"),
    "# ": ("conllu", "conll2003", "conll"),
}


def explained(raw: RawSet) -> RawSet:
    """Return the set whose errors say why no post of a file can be read, if its parser left rows out before."""

    def parse(path: Path) -> Iterator[RawPost | BadLine]:
        counts = SplitReport(path.name)
        try:
            for post in raw.parse(path):
                if isinstance(post, BadLine):
                    counts.leave_out(post)
                else:
                    counts.posts += 1
                yield post
        except DataError as error:
            told, first, lines = str(error).partition("; first lines of ")
            if counts.posts or not counts.reasons or _LIKELIEST in told:
                raise
            raise DataError(f"{told}; {_likeliest_in(raw, path, counts)}{first}{lines}") from error

    return replace(raw, parse=parse)


def check_readable(raw: RawSet, path: Path, counts: SplitReport) -> None:
    """Check that most rows of a file could be read; the error has the likeliest reasons, and what to do about each.

    Raises:
        DataError: more than half of them could not.
    """
    n_parts = counts.bad_parts
    n_rows = counts.bad_lines - n_parts
    if n_rows <= counts.posts and n_parts <= counts.words:
        return
    of, what = (counts.posts + n_rows, "rows") if n_rows > counts.posts else (counts.words + n_parts, "lines")
    bad = n_rows if what == "rows" else n_parts
    raise DataError(f"{path}: {bad:,} of {of:,} {what} cannot be read; {_likeliest_in(raw, path, counts)}")


def likeliest(counts: SplitReport, options: Collection[str] = (), first: str = "") -> str:
    """Return the likeliest reasons for rows that give no post, with a count, an example and what to do about each.

    ``options`` are those of ``convert`` that may help; ``first`` is a reason that is likelier than those counted.
    """
    told = [first] if first else []
    ranked = sorted(counts.reasons.items(), key=lambda item: -item[1].count)
    for sort, cause in ranked[: LIKELIEST - len(told)]:
        where, _, detail = cause.example.partition(": ")
        example = where if detail == sort else f"{where}: {detail}"
        told.append(f"{cause.count:,} of {sort!r} ({example}): {_advice(sort, options)}")
    return _LIKELIEST + "; ".join(f"({i}) {reason}" for i, reason in enumerate(told, 1))


def _likeliest_in(raw: RawSet, path: Path, counts: SplitReport) -> str:
    return likeliest(counts, {*raw.takes, *(["scheme"] if raw.scheme == "auto" else [])}, _other_set(raw, path))


def _advice(sort: str, options: Collection[str]) -> str:
    fitting = (advice for pattern, option, advice in _ADVICE if pattern.search(sort) and option in {"", *options})
    return next(fitting)


def _other_set(raw: RawSet, path: Path) -> str:
    """Return that a file begins as those of other sets do, or an empty text."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        first = next((line for line in iter(lambda: file.readline(1000), b"") if line.strip()), b"")
    begin = first.removeprefix(b"\xef\xbb\xbf").lstrip().decode("utf-8", "replace")
    found = next(((sign, sets) for sign, sets in _BEGINNINGS.items() if begin.startswith(sign)), None)
    known = {name for sets in _BEGINNINGS.values() for name in sets}
    if found is None or raw.name in found[1] or raw.name not in known:
        return ""
    return f"the file begins with {found[0]!r}, as those of {', '.join(found[1][:4])} do: convert it by such a name"


@contextmanager
def listed(path: Path | None, raw: RawSet, files: Mapping[str, Path]) -> Iterator[list[RawSet]]:
    """Write a list of the rows that give no post into a file at the end, also after an error.

    An error says if a file begins as those of another set do. The rows are read as by the last of the raw sets that are
    put into the list which this yields: JSON lines with the split, the file, the line, the counter of ``SplitReport``,
    the reason without its details, and with them.

    Raises:
        UsageError: the path is a folder, or a file that is not an earlier report.
    """
    passes: list[RawSet] = []
    if path is not None:
        _check_replaceable(path)
    try:
        yield passes
    except DataError as error:
        other = next(filter(None, (_other_set(raw, file) for file in files.values())), "")
        if not other or other in str(error):
            raise
        raise DataError(f"{error}; {other}") from error
    finally:
        if path is not None and passes:
            _write(path, passes[-1], files)


def _check_replaceable(path: Path) -> None:
    """Raise UsageError if a report would replace anything but an earlier one, as a raw file of the set."""
    if path.is_dir():
        raise UsageError(f"--report {path}: expected a file, found a folder")
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        first = file.readline(_LONGEST_ROW)
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or list(row) != _ROW:
        raise UsageError(f"--report {path}: the file is there and is not an earlier report: name another one")


def _write(path: Path, raw: RawSet, files: Mapping[str, Path]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for split, source in files.items():
            for bad in _left_out(raw, source):
                values = (split, source.name, bad.line, bad.counter, sort_of(bad.reason), bad.reason[:_LISTED])
                row = dict(zip(_ROW, values, strict=True))
                file.write(json.dumps(row) + "\n")  # all signs beyond ASCII are escaped


def _left_out(raw: RawSet, path: Path) -> Iterator[BadLine]:
    with suppress(DataError):  # the conversion says it
        for post in raw.parse(path):
            if isinstance(post, BadLine):
                yield post
            elif not post.tokens:
                yield BadLine(post.line, f"post {post.id[:100]}: it has no words", "empty_posts")
