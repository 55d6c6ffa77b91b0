"""Files of a word and its tags in columns, as those of CoNLL-2003, with ``IMGID:`` lines or without."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.formats import BadLine, RawPost, with_a_post
from hf_mner_aug.readers.lines import as_read, lines
from hf_mner_aug.readers.tag_files.blocks import HEADER, Block, blocks, comment_id, made_id, post_of
from hf_mner_aug.readers.tag_files.places import MAX_COLUMNS, Places, as_places, in_order, spelt
from hf_mner_aug.readers.tag_files.recognition import Chosen, Column, choose, is_tag, type_of, unlike
from hf_mner_aug.schema import word_faults

DEFAULT: Mapping[str, str | int] = MappingProxyType({"tokens": 1, "ner_tags": 2})
LAST: Mapping[str, str | int] = MappingProxyType({"tokens": 1, "ner_tags": -1})
LEAST_RAGGED = 3  # columns of lines whose number of columns differs
_OFTEN = 0.01  # of the lines
_FIRST = 100  # lines
_HEADINGS = frozenset({"word", "words", "token", "tokens", "form", "text"})


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of a file; ``width`` is their number, None if the user named those to read, ``least`` the least."""

    places: Places
    width: int | None
    least: int

    def fault(self, fields: Sequence[str]) -> str | None:
        """Return why fields are not those of a word, or None."""
        if len(fields) < self.least or (self.width and len(fields) > self.width and any(fields[self.width :])):
            return f"expected {self.width or self.least} columns, found {len(fields)}"
        word = fields[self.places.word]
        if not word.strip() and any(word_faults([word])):
            return "expected a word"
        return None if all(self.tags(fields)) else "expected a tag"

    def tags(self, fields: Sequence[str]) -> list[str]:
        """Return the tags of a word: the coarse one, and the fine one if there is one."""
        return [fields[place] for place in self.places[1:] if place is not None]

    def is_word(self, fields: list[str]) -> bool:
        """Return whether fields that begin with ``#`` are those of a word, not a comment."""
        if self.fault(fields) is not None:
            return False
        has_tags = all(map(is_tag, self.tags(fields)))  # so it is the hashtag #id, not an id
        if comment_id(" ".join(fields)) is not None:
            return has_tags and fields[0] != "#"
        return fields[0].strip("#") != "" or has_tags


def parse_conll(
    path: Path,
    *,
    columns: Mapping[str, str | int] = DEFAULT,
    width: int | None = None,
    encoding: str = "utf-8",
) -> Iterator[RawPost | BadLine]:
    """Yield the posts of a file of words and tags in columns between tabs or blanks, a blank line between posts.

    A post has the id of its ``IMGID:`` line, or of a comment before it (``# id 7``), or one made of the file's name and
    the post's number. ``-DOCSTART-`` lines are left out. A post with a line that is not a word and its tags is left out
    with its line.

    Args:
        path: the file.
        columns: the positions of ``tokens``, ``ner_tags`` and optionally ``fine_tags`` in a line, from 1; -1 is its
            last column.
        width: the number of columns; lines with others are faulty.
        encoding: of the file.

    Raises:
        UsageError: ``columns`` are no positions of words and tags.
        DataError: the file has no post.
    """
    places = as_places(columns)
    return with_a_post(_posts(path, _Layout(places, width, places.least()), encoding), path, encoding)


def _posts(path: Path, layout: _Layout, encoding: str) -> Iterator[RawPost | BadLine]:
    headed = False
    for number, block in enumerate(blocks(path, encoding, layout.is_word), 1):
        if number == 1 and _has_heading(block):
            yield BadLine(block.rows.pop(0)[0], "the names of the columns", "headings")
        headed = headed or (number == 1 and block.id is not None)
        post_id = block.named()
        if not block.faults and (fault := _fault(block, post_id, layout, headed)):
            block.faults.append(fault)
        yield post_of(block, made_id(path, number) if post_id is None else post_id, layout.places)


def _may_be_word(fields: list[str]) -> bool:
    """Return whether fields that begin with ``#`` seem to be those of a word, before it is known where the tag is."""
    return any(field in ("O", "o") or bool(type_of(field)) for field in fields)


def _has_heading(block: Block) -> bool:
    """Return whether the first line of a file's first block has the names of the columns."""
    fields = block.rows[0][1] if block.rows else []
    return any(field.casefold() in _HEADINGS for field in fields) and not any(map(is_tag, fields))


def _fault(block: Block, post_id: str | None, layout: _Layout, headed: bool) -> BadLine | None:
    """Return the first fault of a block."""
    if post_id == "" or (post_id is None and headed):
        return BadLine(block.line, f"post without id: expected '{HEADER}<id>' before it")
    for number, fields in block.rows:
        if fault := layout.fault(fields):
            return BadLine(number, f"{fault}: {' '.join(fields)[:100]!r}")
    return None


# ---------------------------------------------------------------- which columns


@dataclass
class _Survey:
    """The values of the columns of a file, for each number of columns that its lines have."""

    n_lines: Counter[int] = field(default_factory=Counter)
    columns: dict[int, dict[str, Column]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Column)))

    def add(self, rows: Iterable[list[str]]) -> None:
        """Count the fields of lines."""
        same: dict[int, list[list[str]]] = defaultdict(list)
        for fields in rows:
            same[len(fields)].append(fields)
        for width, found in same.items():
            if 1 < width <= MAX_COLUMNS:
                self.n_lines[width] += len(found)
                for place, values in enumerate(zip(*found, strict=True), 1):
                    self.columns[width][str(place)].add(values)

    def width(self) -> int:
        """Return the number of columns that most lines have, or 0."""
        return max(self.n_lines, key=lambda width: self.n_lines[width], default=0)


def recognise(files: Mapping[str, Path], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the columns of words and tags in the files, and a line for the report.

    Raises:
        UsageError: the columns that the user gave are no positions.
        DataError: the files differ in their columns, or the values leave open which columns to take.
    """
    if given.get("columns"):
        as_places(given["columns"])
        return {}, []
    encoding = given.get("encoding", "utf-8")
    surveys = {path: _survey(path, encoding) for path in files.values()}
    if all(_has_tabs(path, encoding) for path in surveys) and (told := _tags_are_last(surveys.values())):
        return {"columns": dict(LAST)}, [told]
    columns = _columns(surveys, encoding)
    try:
        chosen = choose(columns, lambda one, two: _values(files, encoding, int(one) - 1, int(two) - 1))
    except DataError as error:
        named = f"--columns tokens=1,ner_tags={len(columns)}"
        raise DataError(f"{next(iter(files.values()))}: {error}: name those to read, as {named}") from error
    _check_each(surveys, chosen)
    option = in_order(chosen.columns(), len(columns))
    return {"columns": chosen.columns(), "width": len(columns)}, [f"{chosen}; the same as --columns {option}"]


def _check_each(surveys: Mapping[Path, _Survey], chosen: Chosen) -> None:
    """Raise DataError for a file, as a small split, whose columns are in another order than those of the others."""
    for path, survey in surveys.items():
        if len(surveys) > 1 and (fault := unlike(survey.columns[survey.width()], chosen)):
            raise DataError(
                f"{path}: {fault}, but in the other files {chosen.tokens} has words and {chosen.ner_tags} has tags: "
                f"convert each of them by itself, or name the columns of all, as --columns {spelt(chosen.columns())}"
            )


def _survey(path: Path, encoding: str) -> _Survey:
    survey = _Survey()
    for number, block in enumerate(blocks(path, encoding, _may_be_word)):
        survey.add(fields for _, fields in block.rows[number == 0 and _has_heading(block) :])
    return survey


def _has_tabs(path: Path, encoding: str) -> bool:
    """Return whether tabs separate the columns of a file, by its first lines."""
    return any("\t" in line for _, line in islice(lines(path, encoding), _FIRST) if isinstance(line, str))


def _tags_are_last(surveys: Iterable[_Survey]) -> str | None:
    """Return what to say if the lines differ in their number of columns, and the last one has tags; None otherwise.

    Taggers leave out columns of unknown words, as MeCab their reading. A few lines may as well be faulty, and where
    blanks separate the columns, or there are only two, a word may have a blank.
    """
    n_lines: Counter[int] = Counter()
    first, last = Column(), Column()
    others = 0  # lines whose last column is not a tag
    for survey in surveys:
        n_lines += survey.n_lines
        for width, columns in survey.columns.items():
            first.merge(columns["1"])
            last.merge(columns[str(width)])
            others += sum(count for value, count in columns[str(width)].values.items() if not is_tag(value))
    unusual = n_lines.total() - max(n_lines.values(), default=0)
    if unusual < _OFTEN * n_lines.total() or min(n_lines, default=0) < LEAST_RAGGED or others > _OFTEN * unusual:
        return None
    if not last.are_tags() or last.are_chunks() or not first.are_words():
        return None
    widths = " or ".join(map(str, sorted(n_lines)))
    return (
        f"columns recognised: of lines with {widths} columns the first has words, the last has tags of entities; the "
        f"same as --columns {spelt(LAST)}"
    )


def _columns(surveys: Mapping[Path, _Survey], encoding: str) -> dict[str, Column]:
    """Return the values of the columns of all files, by position from 1; raises DataError as ``recognise``."""
    widths: dict[int, Path] = {}
    columns: dict[str, Column] = defaultdict(Column)
    for path, survey in surveys.items():
        width = survey.width()
        widths.setdefault(width, path)
        for place, column in survey.columns[width].items():
            columns[place].merge(column)
    if 0 in widths:
        raise DataError(f"{widths[0]}: no line has a word and a tag{as_read(widths[0], encoding)}")
    if len(widths) > 1:
        found = " and ".join(f"{width} in {path}" for width, path in widths.items())
        raise DataError(f"expected as many columns in every file, found {found}: convert each of them by itself")
    return columns


def _values(files: Mapping[str, Path], encoding: str, one: int, two: int) -> Iterator[tuple[str, str]]:
    """Yield the values of each word in two columns, by position from 0."""
    for path in files.values():
        for block in blocks(path, encoding, _may_be_word):
            for _, fields in block.rows:
                if len(fields) > max(one, two):
                    yield fields[one], fields[two]
