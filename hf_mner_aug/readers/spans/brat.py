"""brat: a folder of texts (``12.txt``) with their annotations (``12.ann``), one post a document.

A line ``T1<TAB>PER 0 5<TAB>Adele`` marks a span; ``T2<TAB>LOC 0 5;16 23<TAB>North America`` one in pieces. Source: the
standoff format at brat.nlplab.org/standoff.html, and the example data of nlplab/brat. ``.a1`` files of the BioNLP tasks
are read in the same way.

A span in pieces that only blanks part, as brat writes one over several lines, is one span; of others, everything from
the first to the last piece is taken, and they are counted. Events (``E``) are left out with the spans that only name
them, and so are relations (``R``, ``*``): both are counted. Attributes (``A``, ``M``), normalisations (``N``) and notes
(``#``) are left out. A text without annotations file is unlabelled; an empty file says that it has no entity. Offsets
are code points; whether they count the end of a line as one sign or as two, and a byte order mark, the surface texts
tell.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated, Marked
from hf_mner_aug.storage.picture_files import is_inside

ENDINGS = (".ann", ".a1")
MAX_SIGNS = 10_000_000  # of a file
_PIECE = re.compile(r"(\d{1,9}) (\d{1,9})")
_Span = tuple[str, list[tuple[int, int]], str]  # type, pieces, surface text


def read_brat(path: Path, encoding: str = "utf-8") -> Iterator[Annotated | BadLine]:
    """Yield the texts of a folder and the folders in it, or of one file, in the order of their names."""
    files = _files(path)
    for number, name in enumerate(sorted({name.rpartition(".")[0] + ".txt" for name in files}), 1):
        try:
            yield _document(files, name.removesuffix(".txt"), number, encoding)
        except DataError as error:
            yield BadLine(number, str(error))


def _files(path: Path) -> dict[str, Path | None]:
    """Return the files of texts and annotations below a folder, or those of one text, by their names in it.

    It is None for a link that leads out of the folder.
    """
    folder, stem = (path, "") if path.is_dir() else (path.parent, f"{path.stem}.")
    found: dict[str, Path | None] = {}
    places = [(str(folder), "")]
    for place, above in places:
        for entry in os.scandir(place):
            if entry.name.startswith(".") or not entry.name.startswith(stem):
                continue
            if entry.is_dir(follow_symlinks=False):
                places.append((entry.path, f"{above}{entry.name}/"))
            elif entry.name.endswith((".txt", *ENDINGS)) and entry.is_file():
                leads_out = entry.is_symlink() and not is_inside(entry.path, folder.resolve())
                found[above + entry.name] = None if leads_out else Path(entry.path)
    return found


def _document(files: Mapping[str, Path | None], name: str, number: int, encoding: str) -> Annotated | BadLine:
    if f"{name}.txt" not in files:
        raise DataError(f"{name}: expected a text beside its annotations, found no {name}.txt")
    beside = next((name + ending for ending in ENDINGS if name + ending in files), None)
    if beside is None:
        return BadLine(number, f"{name}.txt: no {ENDINGS[0]} file beside it", "unlabelled")
    text, annotations = _read(files, f"{name}.txt", encoding), _read(files, beside, encoding)
    spans, has_relations = _parse(annotations.removeprefix("\ufeff").replace("\r\n", "\n").split("\n"), beside)
    notes = [("left_relations", name)] if has_relations else []
    text = _as_counted(text, spans)
    marked = []
    for kind, pieces, surface in spans:
        joined = all(text[start:end].isspace() for (_, start), (end, _) in pairwise(pieces))
        if not joined:
            notes.append(("discontinuous", f"{name} {kind[:60]} {surface[:60]!r}"))
        marked.append(Marked(pieces[0][0], max(end for _, end in pieces), kind, surface if joined else None))
    return Annotated(name, number, text, marked, (name.rpartition("/")[2],), notes=notes)


def _read(files: Mapping[str, Path | None], name: str, encoding: str) -> str:
    """Return the text of a file, with its ends of lines.

    Raises:
        DataError: it is a link that leads out of the folder, no text in this encoding, or too large.
    """
    path = files[name]
    if path is None:
        raise DataError(f"{name} is a link that leads out of its folder: put the file itself there")
    try:
        with path.open(encoding=encoding, newline="") as file:
            text = file.read(MAX_SIGNS + 1)
    except UnicodeDecodeError as error:
        found = error.object[max(0, error.start - 20) :][:40]
        raise DataError(f"{name}: expected text in {encoding}, found {found!r}") from error
    if len(text) > MAX_SIGNS:
        raise DataError(f"{name}: more than {MAX_SIGNS:,} characters")
    return text


def _parse(lines: Sequence[str], name: str) -> tuple[list[_Span], bool]:
    """Return the spans of annotations, without those that name events, and whether there are events or relations.

    Raises:
        DataError: a line that begins as a span is none; the message gives its number.
    """
    spans: dict[str, _Span] = {}
    named, has_relations = set(), False
    for number, line in enumerate(lines, 1):
        here, _, told = line.partition("\t")
        has_relations = has_relations or here[:1] in ("E", "R", "*")
        if here[:1] == "T":
            spans[here] = _span(told, f"{name} line {number}")
        elif here[:1] == "E":
            named.add(told.partition(" ")[0].rpartition(":")[2])
    return [span for here, span in spans.items() if here not in named], has_relations


def _span(told: str, where: str) -> _Span:
    place, _, surface = told.partition("\t")
    kind, _, offsets = place.strip().partition(" ")
    found = [_PIECE.fullmatch(piece.strip()) for piece in offsets.split(";")]
    if None in found or not kind:
        raise DataError(f"{where}: expected ID<TAB>TYPE START END<TAB>text, found {told[:60]!a}")
    pieces = sorted((int(match[1]), int(match[2])) for match in found if match)
    return kind, pieces, surface


def _as_counted(text: str, spans: Sequence[_Span]) -> str:
    """Return a text with the ends of lines, and the byte order mark as a blank or not at all, that offsets count."""
    bare = text.removeprefix("\ufeff")
    unix = bare.replace("\r\n", "\n")
    marks = (" " * (len(text) - len(bare)), "")
    ways = dict.fromkeys(mark + way for mark in marks for way in (bare, unix, unix.replace("\n", "\r\n")))
    return max(ways, key=lambda way: sum(_fits(way, *span) for span in spans))


def _fits(text: str, kind: str, pieces: Sequence[tuple[int, int]], surface: str) -> bool:
    return " ".join(text[start:end] for start, end in pieces).split() == surface.split()
