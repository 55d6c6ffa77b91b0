"""JSON with a list of words and a list of their tags in each record."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeGuard

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.formats import RawPost, encodes, of_a_length, with_a_post
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.generic import FIELDS
from hf_mner_aug.readers.spans.json_records import field_of, id_of, json_records, pictures_of
from hf_mner_aug.readers.spans.tool_fields import checked_columns
from hf_mner_aug.readers.tag_files.blocks import made_id
from hf_mner_aug.readers.tag_files.places import spelt
from hf_mner_aug.readers.tag_files.recognition import MAX_FIELDS, Column, choose
from hf_mner_aug.schema import word_faults

_OURS = ("tokens", "ner_tags", "fine_tags", "id", "images")


def parse_json_lists(
    path: Path,
    *,
    columns: Mapping[str, str | int] = MappingProxyType({"tokens": "tokens", "ner_tags": "ner_tags"}),
    encoding: str = "utf-8",
) -> Iterator[RawPost | BadLine]:
    """Yield the posts of a file of JSON Lines, or of a JSON array: ``{"tokens": [words], "ner_tags": [tags]}``.

    A post without an id gets the file's name and the record's line. A record whose lists are not words and as many tags
    is left out with its line.

    Args:
        path: the file.
        columns: the file's names for ``tokens``, ``ner_tags`` and optionally ``fine_tags``, ``id`` and ``images``;
            ``data.words`` is a field in a field.
        encoding: of the file.

    Raises:
        UnknownName: there is no such column to name.
        DataError: the file has no post.
    """
    names = checked_columns(columns, _OURS)
    records = json_records(path, encoding)
    found = (record if isinstance(record, BadLine) else _post(record[1], record[0], names, path) for record in records)
    return with_a_post(found, path, encoding)


def _post(record: Any, line: int, names: Mapping[str, str], path: Path) -> RawPost | BadLine:
    """Return the post of a record, or why it is left out."""
    try:
        if not isinstance(record, Mapping):
            raise DataError(f"expected an object with words and tags, found {str(record)[:60]!a}")
        tokens = _words(record, names["tokens"])
        tags = _tags(record, names["ner_tags"], len(tokens))
        fine = _tags(record, names["fine_tags"], len(tokens)) if "fine_tags" in names else []
        post_id = _id(record, names.get("id"))
        post_id = made_id(path, line) if post_id is None else post_id
        pictures = _pictures(record, names.get("images"), post_id)
    except DataError as error:
        return BadLine(line, str(error))
    return of_a_length(RawPost(post_id, line, pictures, tokens, tags, fine, [line] * len(tokens)))


def _words(record: Mapping[str, Any], name: str) -> list[str]:
    words = field_of(record, name)
    if not isinstance(words, list):
        raise DataError(f"expected a list of words in {name!a}, found {str(words)[:60]!a}")
    for i, word in enumerate(words):
        if any(word_faults([word])) or not encodes(word):
            raise DataError(f"word {i} of {name!a} is {word!a:.60}")
    return words


def _tags(record: Mapping[str, Any], name: str, n_words: int) -> list[str]:
    tags = field_of(record, name)
    if not isinstance(tags, list) or len(tags) != n_words:
        found = f"{len(tags)} of them" if isinstance(tags, list) else f"{str(tags)[:60]!a}"
        raise DataError(f"expected a tag in {name!a} for each of {n_words} words, found {found}")
    for tag in tags:
        if not isinstance(tag, str) or not tag or not encodes(tag):
            raise DataError(f"expected tags as text in {name!a}, found {str(tag)[:60]!a}")
    return tags


def _id(record: Mapping[str, Any], name: str | None) -> str | None:
    found = id_of(_first(record, "id", name)[1])
    if found is not None and (not found.strip() or not encodes(found)):
        raise DataError(f"expected an id, found {found[:60]!a}")
    return found


def _pictures(record: Mapping[str, Any], name: str | None, post_id: str) -> tuple[str, ...]:
    """Return the names of a record's pictures; its id if it has no field of pictures."""
    there, found = _first(record, "images", name)
    names = pictures_of(found) if there else (post_id,)
    if wrong := next((name for name in names if not encodes(name)), None):
        raise DataError(f"expected the name of a picture, found {wrong[:60]!a}")
    return names


def _first(record: Mapping[str, Any], ours: str, name: str | None) -> tuple[bool, Any]:
    """Return whether a record has a field, as named or under one of its usual names, and its value."""
    for spelling in (name,) if name is not None else FIELDS[ours]:
        if spelling in record or (name is not None and field_of(record, spelling) is not None):
            return True, field_of(record, spelling)
    return False, None


# ---------------------------------------------------------------- which fields


def recognise(files: Mapping[str, Path], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of words and tags in the files, and a line for the report.

    Raises:
        UnknownName: the user named a column that there is not.
        DataError: the values leave open which fields to take.
    """
    named = checked_columns(given.get("columns", {}), _OURS)
    if {"tokens", "ner_tags"} <= {*named}:
        return {}, []
    encoding = given.get("encoding", "utf-8")
    columns, numbers = _columns(files, encoding)
    if "ner_tags" in named:
        columns = {
            name: column for name, column in columns.items() if name == named["ner_tags"] or not column.may_be_tags()
        }
    try:
        if not columns:
            raise DataError("there are no lists of texts")
        chosen = choose(columns, lambda one, two: _values(files, encoding, one, two))
    except DataError as error:
        hint = f" ({', '.join(sorted(numbers))} has numbers, which have no names in JSON)" if numbers else ""
        first = next(iter(files.values()))
        raise DataError(
            f"{first}: {error}{hint}: name those to read, as --columns tokens=words,ner_tags=labels"
        ) from error
    found = {**chosen.columns(), **named}
    return {"columns": found}, [f"{chosen}; the same as --columns {spelt(chosen.columns())}"]


def _columns(files: Mapping[str, Path], encoding: str) -> tuple[dict[str, Column], set[str]]:
    """Return the values of all fields with lists of texts, and the names of those with lists of numbers."""
    columns: dict[str, Column] = defaultdict(Column)
    numbers: set[str] = set()
    for record in _records(files, encoding):
        for name, values in record.items():
            if not isinstance(values, list) or not values or (name not in columns and len(columns) >= MAX_FIELDS):
                continue
            if _are_texts(values):
                columns[name].add(values)
            elif all(isinstance(value, int) for value in values):
                numbers.add(name)
    return columns, numbers


def _records(files: Mapping[str, Path], encoding: str) -> Iterator[Mapping[str, Any]]:
    for path in files.values():
        for found in json_records(path, encoding):
            if not isinstance(found, BadLine) and isinstance(found[1], Mapping):
                yield found[1]


def _values(files: Mapping[str, Path], encoding: str, one: str, two: str) -> Iterator[tuple[Any, Any]]:
    """Yield the values of each word in two fields, where both are lists of texts."""
    for record in _records(files, encoding):
        values, others = record.get(one), record.get(two)
        if _are_texts(values) and _are_texts(others):
            yield from zip(values, others, strict=False)


def _are_texts(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
