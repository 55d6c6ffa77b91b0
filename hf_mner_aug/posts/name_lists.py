"""Lists of names with their types and weights: read, added up, written, and found in texts.

A file has a name on each line: ``PER<TAB>Stephen Curry``, with a weight as a third column if it likes, or JSON lines,
``{"type": "PER", "name": "Stephen Curry", "weight": 2}``. It may be anybody's, so each line is checked.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.untrusted.printable import excerpt, for_terminal
from hf_mner_aug.untrusted.shapes import parse_json

LONGEST_NAME = 10  # words
LONGEST_LINE = 1_000  # characters
HEAVIEST = 1e12  # so that sums of weights stay exact enough
FORM = "TYPE<TAB>NAME, TYPE<TAB>NAME<TAB>WEIGHT or a JSON object with type and name"

Lexicon = Mapping[str, tuple[str, ...]]  # casefolded names, words joined by blanks, to the types that they have


class ListedName(NamedTuple):
    """A name of a list: its type, its words [n_words], its weight."""

    type: str
    words: tuple[str, ...]
    weight: float = 1.0

    @property
    def text(self) -> str:
        """The words, joined by blanks."""
        return " ".join(self.words)


class _Object(TypedDict):
    type: str
    name: str
    weight: NotRequired[float]


def read_names(path: str | Path) -> Iterator[ListedName]:
    """Yield the names of a file; raises as ``read_lines``."""
    return (name for _, name in read_lines(path))


def read_lines(path: str | Path) -> Iterator[tuple[int, ListedName]]:
    """Yield the number of each line with a name, and the name; lines that are empty or begin with ``# `` have none.

    Raises:
        UsageError: the file cannot be read, or is none: a pipe may be waited for without end.
        DataError: a line is not a type and a name, or not UTF-8.
    """
    if (file := Path(path).expanduser()).exists() and not file.is_file():
        raise UsageError(f"{path}: the list of names cannot be read (expected a file, found a folder or a pipe)")
    try:
        with file.open("rb") as opened:
            for number, line in enumerate(iter(lambda: opened.readline(4 * LONGEST_LINE + 4), b""), start=1):
                where = f"{path} line {number}"
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip(" \r\n")
                except UnicodeDecodeError as error:
                    raise DataError(f"{where}: expected UTF-8, found the byte {line[error.start]:#04x}") from error
                if len(text) > LONGEST_LINE:
                    raise DataError(f"{where}: expected at most {LONGEST_LINE} characters, found more")
                if text and not text.startswith("# "):
                    yield number, _name(text, where)
    except OSError as error:
        raise UsageError(f"{path}: the list of names cannot be read ({error.strerror})") from error


def is_name_list(source: str) -> bool:
    """Return whether a source is the file of a list: one of tabs or text, or JSON lines whose first has a name."""
    path = Path(source).expanduser()
    if path.suffix.lower() not in (".tsv", ".txt", ".jsonl") or not path.is_file():
        return False
    if path.suffix.lower() != ".jsonl":
        return True
    with path.open("rb") as file:
        first = file.readline(4 * LONGEST_LINE)
    return b'"type"' in first and b'"name"' in first


def _name(text: str, where: str) -> ListedName:
    """Return the name on a line; raises DataError."""
    if text.startswith("{"):
        read = parse_json(text, _Object, where)
        type_, name, weight = read["type"], read["name"], read.get("weight", 1.0)
    else:
        type_, name, *more = text.split("\t")[:3] if "\t" in text else (text, "")
        weight = _number(more[0], where) if more else 1.0
    words = tuple(name.split())
    if not (type_ and type_ == type_.strip() and words) or text.count("\t") > 2:
        raise DataError(f"{where}: expected {FORM}, found {excerpt(repr(text), 80)}")
    if type_ + name != for_terminal(type_ + name):
        raise DataError(f"{where}: expected a name without control characters, found {excerpt(repr(text), 80)}")
    if len(words) > LONGEST_NAME:
        raise DataError(f"{where}: expected a name of at most {LONGEST_NAME} words, found {len(words)}")
    if not (math.isfinite(weight) and weight > 0):
        raise DataError(f"{where}: expected a weight above 0, found {excerpt(repr(weight), 80)}")
    if weight > HEAVIEST:
        raise DataError(f"{where}: expected a weight of at most {HEAVIEST:g}, found {weight:g}")
    return ListedName(type_, words, float(weight))


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{where}: expected a weight above 0, found {excerpt(repr(text), 80)}") from error


def add_up(names: Iterable[ListedName]) -> list[ListedName]:
    """Return names sorted by type and words, each once, with the sum of its weights."""
    weights: dict[tuple[str, tuple[str, ...]], float] = {}
    for name in names:
        weights[name[:2]] = weights.get(name[:2], 0.0) + name.weight
    return [ListedName(*key, weight) for key, weight in sorted(weights.items())]


def to_line(name: ListedName) -> str | None:
    """Return a name as the line of a file; None if it would not be read back as it is."""
    line = f"{name.type}\t{name.text}\t{name.weight!r}".removesuffix(".0")
    if len(line) > LONGEST_LINE or line != line.strip() or line.startswith("# "):
        return None
    try:
        return line if _name(line, "") == name else None
    except DataError:
        return None


def lexicon_of(names: Iterable[ListedName]) -> dict[str, tuple[str, ...]]:
    """Return the types of each name, by the name's key."""
    found: dict[str, set[str]] = {}
    for name in names:
        if key := " ".join(filter(None, map(_key, name.words))):
            found.setdefault(key, set()).add(name.type)
    return {key: tuple(sorted(types)) for key, types in sorted(found.items())}


def find_names(tokens: Sequence[str], lexicon: Lexicon) -> list[list[str]]:
    """Return the names that each word is of [n_words]: ``B-PER`` for the first word of one, ``I-PER`` for the others.

    At each word the longest name counts, from left to right; it may have several types. Case does not matter, nor a
    ``#`` or ``@`` before a word.
    """
    keys = [_key(token) for token in tokens]
    found: list[list[str]] = [[] for _ in tokens]
    start = 0
    while start < len(keys):
        ends = range(min(len(keys), start + LONGEST_NAME), start, -1)
        types, end = next(
            ((types, end) for end in ends if (types := lexicon.get(" ".join(keys[start:end])))), ((), start + 1)
        )
        for type_ in types:
            for i in range(start, end):
                found[i].append(f"{'I' if i > start else 'B'}-{type_}")
        start = end
    return found


def _key(word: str) -> str:
    """Return a word as names are compared."""
    return word.casefold().lstrip("#@")
