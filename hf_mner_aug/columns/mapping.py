"""Columns with other names or types than ours: renamed, and cast if that needs no guess.

    dataset = map_columns(dataset, {"tokens": "words", "ner_tags": "labels"})

Numeric ids become text, tags and relations given as text are numbered by name, and text in place of pictures is taken
as their paths. Tags of another scheme than BIO become BIO; a warning says so.
"""

from collections.abc import Mapping
from typing import Any

from hf_mner_aug.columns.schemes import read_schemes
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.schema import COLUMNS, bio_names, in_order, mner_features, split_tag
from hf_mner_aug.values import parse_pairs

BATCH = 1000
TAGS = ("ner_tags", "fine_tags")


def parse_columns(text: str | None) -> dict[str, str]:
    """Return ``tokens=words,ner_tags=labels`` as a dict: the set's name for each of our columns.

    Raises:
        UsageError: a part is not NAME=NAME.
    """
    return parse_pairs(text, "--columns", "OURS=THEIRS,…, as tokens=words,ner_tags=labels")


def map_columns(data: Any, columns: Mapping[str, str]) -> Any:
    """Return a dataset, streamed or not, or a dict of splits, with our names for some columns, and our types in all.

    Args:
        data: a dataset with other column names; a column that has our name already is replaced by the named one.
        columns: the set's name for each of our columns; a column may be named only to be cast.

    Raises:
        UnknownName: we have no such column, or the set has none.
        DataError: a tag given as text is invalid.
    """
    for ours in columns:
        if ours not in COLUMNS:
            raise UnknownName("column to map", ours, COLUMNS)
    splits = dict(data) if isinstance(data, Mapping) else {"": data}
    named: Mapping[str, Any] = {split: _renamed(rows, columns) for split, rows in splits.items()}
    for name in TAGS:
        named = read_schemes(named, name)
    kinds = _kinds(named)
    cast = {split: _cast(rows, kinds) for split, rows in named.items()}
    made: Any = type(data)
    return made(cast) if isinstance(data, Mapping) else cast[""]


def _renamed(rows: Any, columns: Mapping[str, str]) -> Any:
    """Return a split with our names for its columns."""
    renames = {theirs: ours for ours, theirs in columns.items() if theirs != ours}
    for theirs in columns.values():
        if theirs not in rows.column_names:
            raise UnknownName("column of the set", theirs, rows.column_names)
    if len({*columns.values()}) < len(columns):
        raise UsageError(f"columns: expected another column for each, found {', '.join(columns.values())}")
    taken = [ours for ours in renames.values() if ours in rows.column_names and ours not in renames]
    rows = rows.remove_columns(taken) if taken else rows
    return rows.rename_columns(renames) if renames else rows


def _kinds(splits: Mapping[str, Any]) -> dict[str, Any]:
    """Return the feature that each of our columns gets if a split has another one."""
    from datasets import ClassLabel, Image, List, Value

    wanted: dict[str, Any] = {"id": Value("string"), "tokens": List(Value("string"))}
    wanted |= {"image": Image(), "images": List(Image())}
    boxed = mner_features(("X",), boxes=True, relations=("X",))
    wanted |= {name: boxed[name] for name in ("entities", "head", "tail")}
    for name in TAGS:
        if any(_holds_text(rows.features.get(name)) for rows in splits.values()):
            wanted[name] = List(ClassLabel(names=_tags_of(splits, name)))
    if any(getattr(rows.features.get("relation"), "dtype", "") == "string" for rows in splits.values()):
        wanted["relation"] = ClassLabel(names=sorted(_values(splits, "relation")))
    return wanted


def _holds_text(feature: Any) -> bool:
    return getattr(getattr(feature, "feature", None), "dtype", "") in ("string", "large_string")


def _values(splits: Mapping[str, Any], name: str) -> set[str]:
    """Return the values of a column in all splits, with lists flattened."""
    found: set[Any] = set()
    for rows in splits.values():
        if name in rows.features:
            for batch in rows.select_columns([name]).iter(BATCH):
                for value in batch[name]:
                    found.update(value if isinstance(value, list) else [value])
    return {value for value in found if isinstance(value, str)}


def _tags_of(splits: Mapping[str, Any], name: str) -> list[str]:
    """Return the tag names of a column of text tags: O, and both tags of each type that occurs."""
    kinds = set()
    for tag in sorted(_values(splits, name)):
        try:
            kinds.add(split_tag(tag)[1])
        except DataError as error:
            raise DataError(f"column {name}: {error}") from error
    return bio_names(in_order(kinds - {""}))


def _cast(rows: Any, kinds: Mapping[str, Any]) -> Any:
    """Return a split with our columns cast to some features, if that needs no guess."""
    from datasets import Features

    for name, kind in kinds.items():
        found = rows.features.get(name)
        if name == "id" and type(found).__name__ == "Json":  # both numbers and text
            rows = rows.map(_text_ids, input_columns="id", features=Features({**rows.features, "id": kind}))
        elif found is not None and found != kind and _fits(found, kind):
            rows = rows.cast_column(name, kind)
    return rows


def _text_ids(value: Any) -> dict[str, str]:
    """Return an id, a number or text, as text.

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"column id: expected text or a whole number, found {value!r}: correct the row or leave it out")
    return {"id": str(value)}


def _fits(found: Any, kind: Any) -> bool:
    """Return whether the values of a feature can be cast to another one without a guess."""
    numbers, name = ("int", "uint"), type(kind).__name__
    dtype = str(getattr(found, "dtype", ""))
    if dtype == "null":
        return True
    if isinstance(kind, dict):
        return isinstance(found, dict) and found.keys() == kind.keys() and all(_fits(found[k], kind[k]) for k in kind)
    if hasattr(kind, "feature"):
        return hasattr(found, "feature") and _fits(found.feature, kind.feature)
    if name in ("Image", "ClassLabel"):
        return dtype in ("string", "large_string")
    if dtype.rstrip("0123456789") in numbers:
        return True
    return dtype == kind.dtype or (dtype.startswith("float") and kind.dtype.startswith("float"))
