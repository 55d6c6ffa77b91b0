"""Names of Wikidata's items from a JSON dump, read line by line: a label, a type by the item's class, its sitelinks.

A dump has an item on each line, in one list: https://www.wikidata.org/wiki/Wikidata:Database_download. It is large and
anybody edits it, so a line that is not such an item is counted and left out.
"""

import bz2
import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.posts.name_lists import ListedName

LONGEST_LINE = 4_000_000  # bytes; a parsed line takes some thirty times as many at worst
ENDINGS = (".json", ".json.gz", ".json.bz2")
MANY_LANGUAGES = "mul"  # labels that are the same in all of them
CLASSES: Mapping[str, str] = {
    "Q5": "PER",  # human
    "Q6256": "LOC",  # country
    "Q3624078": "LOC",  # sovereign state
    "Q35657": "LOC",  # state of the United States
    "Q5107": "LOC",  # continent
    "Q515": "LOC",  # city
    "Q1549591": "LOC",  # big city
    "Q3957": "LOC",  # town
    "Q532": "LOC",  # village
    "Q486972": "LOC",  # human settlement
    "Q23442": "LOC",  # island
    "Q4022": "LOC",  # river
    "Q8502": "LOC",  # mountain
    "Q23397": "LOC",  # lake
    "Q43229": "ORG",  # organization
    "Q163740": "ORG",  # nonprofit organization
    "Q783794": "ORG",  # company
    "Q4830453": "ORG",  # business
    "Q6881511": "ORG",  # enterprise
    "Q891723": "ORG",  # public company
    "Q327333": "ORG",  # government agency
    "Q7278": "ORG",  # political party
    "Q3918": "ORG",  # university
    "Q11032": "ORG",  # newspaper
    "Q1616075": "ORG",  # television station
    "Q847017": "ORG",  # sports club
    "Q476028": "ORG",  # association football club
    "Q13393265": "ORG",  # basketball team
    "Q215380": "ORG",  # musical group
    "Q11424": "MISC",  # film
    "Q5398426": "MISC",  # television series
    "Q7889": "MISC",  # video game
    "Q482994": "MISC",  # album
    "Q134556": "MISC",  # single
    "Q571": "MISC",  # book
    "Q7725634": "MISC",  # literary work
    "Q431289": "MISC",  # brand
    "Q132241": "MISC",  # festival
    "Q18608583": "MISC",  # recurring sporting event
}
_ITEM = re.compile(rb'"(Q[1-9][0-9]{0,11})"')
_CLASS = re.compile(r"Q[1-9][0-9]{0,11}")


def is_dump(source: str) -> bool:
    """Return whether a source is a file with the ending of a dump."""
    return source.lower().endswith(ENDINGS) and Path(source).expanduser().is_file()


def with_classes(more: Mapping[str, str]) -> dict[str, str]:
    """Return the types of classes, with those of a user.

    Raises:
        UnknownName: a class is not written as Wikidata's are.
    """
    for name in more:
        if not _CLASS.fullmatch(name):
            raise UnknownName("class of Wikidata", name, CLASSES)
    return {**CLASSES, **more}


def read(path: str, classes: Mapping[str, str], language: str, left_out: Counter[str]) -> Iterator[ListedName]:
    """Yield the labels of a dump's items of some classes, weighted by their sitelinks (1 for none).

    Args:
        path: of the dump; ``.gz`` and ``.bz2`` are decompressed.
        classes: types by class. The first class of an item that is among them counts; classes above it are not known.
        language: of the labels; those for all languages count, too.
        left_out: counts the lines and items left out, by reason.

    Raises:
        UsageError: the file cannot be read.
        DataError: it is damaged, or cut off.
    """
    wanted = {name.encode() for name in classes}
    n_lines = 0
    try:
        with _open(Path(path).expanduser()) as file:
            for line in _lines(file, left_out):
                n_lines += 1
                if line[:1] + line[-1:] != b"{}":
                    left_out["broken lines"] += 1
                elif not wanted.isdisjoint(_ITEM.findall(line)):
                    yield from _names(line, classes, language, left_out)
                else:
                    left_out["other classes"] += 1
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, n_lines, error) from error
    except OSError as error:
        if error.errno is None:  # of bz2
            raise _damaged(path, n_lines, error) from error
        raise UsageError(f"{path}: the dump cannot be read ({error.strerror})") from error


def _damaged(path: str, n_lines: int, error: Exception) -> DataError:
    return DataError(f"{path} is damaged or cut off after {n_lines:,} lines ({error}): download it again")


def _open(path: Path) -> "IO[bytes] | gzip.GzipFile | bz2.BZ2File":
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return bz2.open(path, "rb") if path.suffix == ".bz2" else path.open("rb")


def _lines(file: "IO[bytes] | gzip.GzipFile | bz2.BZ2File", left_out: Counter[str]) -> Iterator[bytes]:
    """Yield the lines of a dump with an item, without the comma; longer ones than ``LONGEST_LINE`` are left out."""
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            left_out["too long lines"] += 1
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            continue
        line = line.strip(b" \t\r\n,")
        if line not in (b"", b"[", b"]"):
            yield line


def _names(line: bytes, classes: Mapping[str, str], language: str, left_out: Counter[str]) -> Iterator[ListedName]:
    """Yield the name of the item on a line, if it is one of the classes."""
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        left_out["broken lines"] += 1
        return
    kind = next((classes[name] for name in _classes(item) if name in classes), None)
    if kind is None:
        left_out["other classes"] += 1
        return
    labels = _at(item, "labels")
    label = _at(labels, language, "value") or _at(labels, MANY_LANGUAGES, "value")
    words = tuple(label.split()) if isinstance(label, str) else ()
    if words:
        sitelinks = _at(item, "sitelinks")
        yield ListedName(kind, words, float(max(1, len(sitelinks) if isinstance(sitelinks, dict) else 0)))
    else:
        left_out["no label"] += 1


def _classes(item: Any) -> Iterator[str]:
    """Yield the ids of the classes of an item (P31), but for deprecated statements."""
    statements = _at(item, "claims", "P31")
    for statement in statements if isinstance(statements, list) else ():
        name = _at(statement, "mainsnak", "datavalue", "value", "id")
        if isinstance(name, str) and _at(statement, "rank") != "deprecated":
            yield name


def _at(value: Any, *keys: str) -> Any:
    """Return the value below some keys, None where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
