"""Columns of tags in any scheme, as text or as labels with other names than those of BIO: read as BIO."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hf_mner_aug.columns.labels import change_columns
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.schema import bio_names, in_order
from hf_mner_aug.schema.schemes import Pairs, Recognised, Tagging, recognise

BATCH = 1000
Tags = Sequence[str | None]


def read_schemes(splits: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return splits with a column of tags as labels of BIO, where it holds others; a warning says how it was read.

    Text that is BIO, orphans too, and labels that are BIO or of no scheme are left as they are.

    Raises:
        DataError: a text is no tag of the scheme that most have.
    """
    odd = {split: rows for split, rows in splits.items() if _is_odd(rows.features.get(name))}
    if not odd:
        return splits
    pairs, labels = Pairs(), {label for rows in odd.values() for label in _names(rows.features[name])}
    for rows in odd.values():
        for tags in _tags(rows, name):
            pairs.add([tag or "O" for tag in tags])
    found = recognise(pairs)
    tagging = found.tagging
    strange = sorted(tag for tag in pairs.tags() if not tagging.reads(tag))
    if strange and labels:
        return splits
    for tag in strange:
        try:
            tagging.parse(tag)
        except DataError as error:
            raise DataError(f"column {name}: {error}") from error
    if not labels and tagging == Tagging() and all(tagging.respell([tag]) == [tag] for tag in pairs.tags()):
        return splits
    warnings.warn(f"column {name}: {found.why}", stacklevel=4)
    return {split: _as_labels(rows, name, found) if split in odd else rows for split, rows in splits.items()}


def _is_odd(feature: Any) -> bool:
    """Return whether a column has text, or labels that are not the names of BIO."""
    inner = getattr(feature, "feature", None)
    names = getattr(inner, "names", None)
    if names is None:
        return getattr(inner, "dtype", "") in ("string", "large_string")
    types = {name[2:] for name in names if isinstance(name, str) and name != "O"}
    return {*names} != {*bio_names(sorted(types))}


def _names(feature: Any) -> list[str]:
    return list(getattr(feature.feature, "names", None) or ())


def _tags(rows: Any, name: str) -> Iterator[Tags]:
    """Yield the tags of each row, by their names."""
    spell = _speller(_names(rows.features[name]))
    for batch in rows.select_columns([name]).iter(BATCH):
        for tags in batch[name]:
            yield [spell(tag) for tag in tags or ()]


def _speller(names: Sequence[str]) -> Callable[[Any], str | None]:
    """Return a function that gives a tag's name, or None if it has none."""

    def spell(tag: Any) -> str | None:
        if isinstance(tag, int) and 0 <= tag < len(names):
            return names[tag]
        return tag if isinstance(tag, str) else None

    return spell


def _as_labels(rows: Any, name: str, found: Recognised) -> Any:
    """Return a split with a column of tags as labels of BIO; a tag that is null stays null."""
    from datasets import ClassLabel, List

    own = _names(rows.features[name])
    types = {found.tagging.parse(label)[1] for label in own if found.tagging.reads(label)} | {*found.mentions}
    labels = bio_names(in_order(types - {""}))
    numbers, spell = {label: i for i, label in enumerate(labels)}, _speller(own)

    def numbered(tags: Sequence[Any] | None) -> list[int | None] | None:
        if tags is None:
            return None
        spelt = [spell(tag) for tag in tags]
        plain = [tag or "O" for tag in spelt]
        is_bio = found.tagging.scheme == "bio"
        bio = found.tagging.respell(plain) if is_bio else found.tagging.to_bio(plain)[0]
        return [None if tag is None else numbers[new] for tag, new in zip(spelt, bio, strict=True)]

    return change_columns(rows, {name: numbered}, {name: List(ClassLabel(names=labels))})
