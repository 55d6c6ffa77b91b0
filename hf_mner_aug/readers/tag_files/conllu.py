"""Files of CoNLL-U and CoNLL-U Plus with tags of entities: in a column, or in ``MISC`` as ``NER=B-PER``.

https://universaldependencies.org/format.html and https://universaldependencies.org/ext-format.html. Read here, and not
with the package conllu (6.0): one pass of it takes nearly half of the time of a whole conversion here, which makes
several (``benchmarks/formats.py``); it gives no line with an error, refuses a sentence for a fault in a column that is
not needed, splits words at two blanks, and ends the values of MISC at their second ``=``.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers.formats import RawPost, of_a_length, with_a_post
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.tag_files.blocks import Block, blocks, left_out, made_id
from hf_mner_aug.readers.tag_files.places import spelt
from hf_mner_aug.readers.tag_files.recognition import MAX_FIELDS, Column, choose
from hf_mner_aug.schema import Span, outermost, spans_to_bio, word_faults

COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_GLOBAL = re.compile(r"#\s*global\.columns\s*=\s*(\S.*)")
_NOT_TAGS = frozenset({"ID", "LEMMA", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC"})
_KEYS = frozenset({"ner", "ne", "name", "entity", "nertag"})  # of MISC, whose types need no letters
_SHORT = 1_000  # characters
_BRACKET = re.compile(r"([()])")
_ENTITY_ID = re.compile(r"[a-zA-Z]*\d+(?:\[[^]]*\])?")


@dataclass(frozen=True, slots=True)
class _Names:
    """Which columns a file has, by name."""

    places: Mapping[str, int]

    def getter(self, name: str) -> Callable[[Sequence[str]], str]:
        """Return what gives a word's value in a column, or of a key in MISC, where O is left out."""
        if name in self.places:
            return itemgetter(self.places[name])
        place = self.places.get("MISC", -1)
        return lambda fields: _misc(fields[place]).get(name, "O") if place >= 0 else "O"

    def columns(self, rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the values of words in the columns that may have words or tags, and of their keys in MISC."""
        for name, place in self.places.items():
            if name not in _NOT_TAGS:
                yield name, [fields[place] for fields in rows]
        keys: dict[str, list[str]] = defaultdict(list)
        for fields in rows if "MISC" in self.places else ():
            for key, value in _misc(fields[self.places["MISC"]]).items():
                keys[key].append(value)
        yield from keys.items()

    def words(self, block: Block) -> Iterator[tuple[int, list[str]]]:
        """Yield the lines of a sentence's words, without those of ranges (``1-2``) and empty nodes (``1.1``)."""
        place = self.places.get("ID")
        for number, fields in block.rows:
            if place is None or len(fields) <= place or fields[place].isdecimal() or len(fields) != len(self.places):
                yield number, fields


def _misc(text: str) -> Mapping[str, str]:
    """Return the values in a word's MISC by their keys."""
    return _parsed(text) if len(text) < _SHORT else _parsed.__wrapped__(text)


@lru_cache(maxsize=4096)  # many words have the same
def _parsed(text: str) -> Mapping[str, str]:
    pairs = (part.partition("=") for part in text.split("|"))
    return {key: value for key, equals, value in pairs if equals}


def parse_conllu(
    path: Path,
    *,
    columns: Mapping[str, str | int] = MappingProxyType({"ner_tags": "NER"}),
    encoding: str = "utf-8",
) -> Iterator[RawPost | BadLine]:
    """Yield the sentences of a file with tags of entities.

    The id is ``# sent_id``. Words are the syntactic words, without ranges (``1-2``) and empty nodes (``1.1``). A word
    without the key of tags in ``MISC`` is O. ``Entity=(person … person)`` marks spans: of nested ones the longest is
    taken, and the others are counted.

    Args:
        path: the file.
        columns: ``ner_tags`` is the name of a column or of a key in ``MISC``; optionally ``fine_tags``, and ``tokens``
            for the words (default: ``FORM``).
        encoding: of the file.

    Raises:
        UsageError: ``columns`` names no tags.
        DataError: the file has no post.
    """
    return with_a_post(_posts(path, _named(columns), encoding), path, encoding)


def _posts(path: Path, names: Mapping[str, str], encoding: str) -> Iterator[RawPost | BadLine]:
    layout: _Names | None = None
    for number, block in enumerate(blocks(path, encoding, lambda _: False), 1):
        if layout is None:
            layout = _layout(block)
            _check_words(layout, names, path)
        post_id = block.named()
        yield _post(block, layout, names, made_id(path, number) if post_id is None else post_id)


def _named(columns: Mapping[str, str | int]) -> dict[str, str]:
    names = {ours: str(theirs) for ours, theirs in columns.items()}
    if "ner_tags" not in names or {*names} - {"tokens", "ner_tags", "fine_tags"}:
        raise UsageError(
            f"--columns {spelt(columns)}: expected the names of columns or keys of MISC, as ner_tags=NER, optionally "
            "fine_tags=… and tokens=FORM"
        )
    return {"tokens": "FORM", **names}


def _layout(block: Block) -> _Names:
    """Return the columns that the comments of a file's first sentence name, or those of CoNLL-U.

    Names of CoNLL-U may be in small letters.
    """
    named = next((found[1].split() for comment in block.comments if (found := _GLOBAL.match(comment))), COLUMNS)
    return _Names({name.upper() if name.upper() in COLUMNS else name: place for place, name in enumerate(named)})


def _check_words(layout: _Names, names: Mapping[str, str], path: Path) -> None:
    """Raise DataError unless a file has the column of words."""
    if names["tokens"] not in layout.places:
        found = ", ".join(layout.places)[:200]
        raise DataError(f"{path}: expected a column {names['tokens']}, found {found}: --columns tokens=… names another")


def _post(block: Block, layout: _Names, names: Mapping[str, str], post_id: str) -> RawPost | BadLine:
    """Return the post of a sentence, or why it is left out."""
    if fault := block.fault(post_id):
        return fault
    post = RawPost(post_id, block.line, (post_id,))
    word_of, tag_of = layout.getter(names["tokens"]), layout.getter(names["ner_tags"])
    for number, fields in layout.words(block):
        if len(fields) != len(layout.places):
            reason = f"expected {len(layout.places)} columns between tabs, found {len(fields)}"
            return left_out(post_id, number, f"{reason}: {' '.join(fields)[:100]!r}")
        word = word_of(fields)
        if not word.strip() and any(word_faults([word])):
            return left_out(post_id, number, f"expected a word, found {word!r}")
        post.lines.append(number)
        post.tokens.append(word)
        post.tags.append(tag_of(fields))
    if "fine_tags" in names:
        post.fine_tags.extend(map(layout.getter(names["fine_tags"]), (fields for _, fields in layout.words(block))))
    if not any("(" in tag or ")" in tag for tag in post.tags):
        return of_a_length(post)
    try:
        kept, lost = outermost(_bracketed(post.tags))
    except DataError as error:
        return left_out(post_id, block.line, str(error))
    notes = [
        ("nested_spans", f"{post_id} {span.type} {' '.join(post.tokens[span.start : span.end])!r}") for span in lost
    ]
    return of_a_length(replace(post, tags=spans_to_bio(kept, len(post.tags)), notes=notes))


# ---------------------------------------------------------------- spans in brackets


def _bracketed(values: Sequence[str]) -> list[Span]:
    """Return the spans that the brackets of ``Entity`` mark on words: ``(e1-person-1``, ``e1)``, ``(place)(e2-time)``.

    A span has the type behind its id, or in its place; one without a type is left out.

    Raises:
        DataError: a bracket has no other.
    """
    spans = []
    opened: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for i, value in enumerate(values):
        parts = _BRACKET.split(value)
        for before, sign, behind in zip(parts[0::2], parts[1::2], parts[2::2], strict=False):
            if sign == "(":
                key, _, rest = behind.partition("-")
                kind = rest.partition("-")[0] if _ENTITY_ID.fullmatch(key) else key
                opened[key].append((i, kind))
            elif not (stack := opened[before.partition("-")[0]]):
                raise DataError(f"expected brackets in pairs, found {value[:60]!r} on word {i}")
            else:
                start, kind = stack.pop()
                spans += [Span(start, i + 1, kind)] if kind else []
    if left := next((key for key, stack in opened.items() if stack), None):
        raise DataError(f"expected brackets in pairs, found no end of {left[:60]!r}")
    return spans


# ---------------------------------------------------------------- which column


def recognise(files: Mapping[str, Path], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the column, or the key of ``MISC``, with tags of entities in the files, and a line for the report.

    Raises:
        UsageError: the user named columns, but no tags.
        DataError: the values leave open which column to take.
    """
    if given.get("columns"):
        _named(given["columns"])
        return {}, []
    encoding = given.get("encoding", "utf-8")
    columns: dict[str, Column] = {"FORM": Column()}
    for layout, rows in _rows(files, encoding):
        for name, values in layout.columns(rows):
            if name in columns or len(columns) < MAX_FIELDS:
                columns.setdefault(name, Column()).add(values)
    first = next(iter(files.values()))
    if not columns["FORM"].n_values:
        raise DataError(
            f"{first}: no line has the columns of CoNLL-U, as {', '.join(COLUMNS)}, or those of '# global.columns = ID "
            "FORM …' in its first line, with FORM: read other files of columns as conll2003"
        )
    if "Entity" in columns and any(value[:1] == "(" for value in columns["Entity"].values):
        return {"columns": {"ner_tags": "Entity"}}, ["columns recognised: FORM has words, Entity in MISC has brackets"]
    n_words = columns["FORM"].n_values
    for name in columns:
        if name.casefold() in _KEYS:
            columns[name].add(["O"] * (n_words - columns[name].n_values))
    try:
        chosen = choose(columns, lambda one, two: _values(files, encoding, one, two))
    except DataError as error:
        raise DataError(f"{first}: {error}: name those to read, as --columns ner_tags=NER") from error
    found = {**chosen.columns(), "tokens": "FORM"}
    return {"columns": found}, [f"{chosen}; the same as --columns {spelt(found)}"]


def _rows(files: Mapping[str, Path], encoding: str) -> Iterator[tuple[_Names, list[list[str]]]]:
    """Yield the columns of each sentence, and the fields of its words."""
    for path in files.values():
        layout: _Names | None = None
        for block in blocks(path, encoding, lambda _: False):
            layout = layout or _layout(block)
            yield layout, [fields for _, fields in layout.words(block) if len(fields) == len(layout.places)]


def _values(files: Mapping[str, Path], encoding: str, one: str, two: str) -> Iterator[tuple[str, str]]:
    """Yield the values of each word in two columns or keys."""
    for layout, rows in _rows(files, encoding):
        yield from zip(map(layout.getter(one), rows), map(layout.getter(two), rows), strict=True)
