"""Labels are names: their numbers mean something only with the list of names that a column has.

Two lists with the same names in another order number them differently, so code that moves values between datasets
(splits of one set, a method fitted elsewhere, configs side by side) uses this module, and each label keeps its name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.untrusted.cards import reader_errors

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

BATCH = 1000
NO_NAME = -1  # replaces a number without a name: every reader refuses it


def translator(found: Any, wanted: Any, where: str) -> Callable[[Any], Any] | None:
    """Return a function that converts values of one feature to another, label by name; None if nothing changes.

    Features without labels change nothing, whatever their types.

    Raises:
        UsageError: a label of ``found`` is not in ``wanted``, or one of the two has no label names.
    """
    if _is_null(found) or _is_null(wanted):
        return None
    names, known = _names(found), _names(wanted)
    if names is not None and known is not None:
        return _table(names, known, where)
    if names is not None or known is not None:
        raise UsageError(
            f"{where} is {found}, expected {wanted}: give it the names that its numbers stand for with ds.cast_column"
        )
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        inner = {name: translator(found[name], wanted[name], f"{where}.{name}") for name in found if name in wanted}
        changes = {name: change for name, change in inner.items() if change is not None}
        if not changes:
            return None
        return lambda value: value and {**value, **{name: change(value[name]) for name, change in changes.items()}}
    one, other = _item(found), _item(wanted)
    change = translator(one, other, where) if one is not None and other is not None else None
    if change is None:
        return None
    return lambda values: None if values is None else [change(value) for value in values]


def translators(found: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> dict[str, Callable[[Any], Any]]:
    """Return the ``translator`` of each shared column that changes; raises as ``translator``."""
    changes = {name: translator(found[name], wanted[name], f"{where}: {name}") for name in found if name in wanted}
    return {name: change for name, change in changes.items() if change is not None}


def spell_labels(value: Any, feature: Any) -> Any:
    """Return a value with label names instead of numbers: ``datasets`` numbers them by any list."""
    names = _names(feature)
    if value is None:
        return None
    if names is not None:
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
    if isinstance(feature, Mapping):
        return {name: spell_labels(part, feature[name]) for name, part in value.items()}
    inner = _item(feature)
    return value if inner is None else [spell_labels(part, inner) for part in value]


def encode(dataset: Any, features: Mapping[str, Any], where: str) -> Any:
    """Return a dataset, streamed or not, whose labels are numbered as in ``features``; other columns are unchanged.

    Raises:
        UsageError: as ``translator``.
    """
    changes = translators(dataset.features or {}, features, where)
    return change_columns(dataset, changes, features) if changes else dataset


def change_columns(dataset: Any, changes: Mapping[str, Callable[[Any], Any]], features: Mapping[str, Any]) -> Any:
    """Return a dataset, streamed or not, with the values of some columns changed to others of given features."""
    from datasets import Features

    if hasattr(dataset, "cleanup_cache_files"):
        order = dataset.column_names
        for name, change in changes.items():
            column = _encoded(dataset, name, change, Features({name: features[name]}))
            dataset = dataset.add_column(f"new {name}", column, feature=features[name])  # it may be the only one
            dataset = dataset.remove_columns(name).rename_column(f"new {name}", name)
        return dataset.select_columns(order)
    dataset = dataset.decode(False)
    names = list(changes)

    def changed(*columns: Sequence[Any]) -> dict[str, list[Any]]:
        return {name: [changes[name](v) for v in values] for name, values in zip(names, columns, strict=True)}

    new = Features({**dataset.features, **{name: features[name] for name in names}})
    return dataset.map(changed, batched=True, input_columns=names, features=new)


def same_labels(splits: Any) -> Any:
    """Return the splits with one list of labels for each column: train's, then those that only other splits have.

    Every label keeps its name; splits that already have the same lists are returned unchanged.

    Raises:
        UsageError: a column has label names in one split, and none in another.
    """
    known = {split: data for split, data in splits.items() if data is not None and data.features is not None}
    features: dict[str, Any] = {}
    for split in sorted(known, key=lambda split: split != "train"):
        for name, feature in known[split].features.items():
            features[name] = _union(features[name], feature) if name in features else feature
    encoded = {split: encode(data, features, f"split {split}") for split, data in known.items()}
    if all(encoded[split] is data for split, data in known.items()):
        return splits
    return type(splits)({**splits, **encoded})


def concatenate(datasets: Sequence[Any]) -> Any:
    """Return concatenated datasets, with labels numbered as in the first one; raises as ``translator``."""
    from datasets import concatenate_datasets

    first, *others = datasets
    return concatenate_datasets([first, *(encode(other, first.features, "the added dataset") for other in others)])


def disagreements(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the columns of two datasets whose lists of labels differ, with both lists."""
    for name in one:
        for names, others in _pairs(one[name], other.get(name)):
            if names != others:
                yield name, names, others


def renumbered(names: Sequence[str], others: Sequence[str]) -> str:
    """Return the first label that two lists number differently, or an empty text: ``B-LOC is 1 and 3``."""
    places = {name: i for i, name in enumerate(others)}
    found = [(name, i, places[name]) for i, name in enumerate(names) if places.get(name, i) != i]
    return "{} is {} and {}".format(*found[0]) if found else ""


def read_parquet(files: Mapping[str, Sequence[str]], declared: "Features | None", where: str) -> "DatasetDict | None":
    """Return splits whose Parquet files number their labels differently, each read by its own list; None if none do.

    The datasets library reads every file by the first one's list, or by the card's (``declared``).

    Raises:
        DataError: the card numbers labels differently from a file.
        UsageError: one file has label names, and another has none.
    """
    import pyarrow.parquet as pq
    from datasets import Dataset, DatasetDict, Features
    from datasets.utils.file_utils import cached_path

    paths = [str(file) for of_split in files.values() for file in of_split]
    if not all(path.endswith(".parquet") for path in paths) or (len(paths) < 2 and declared is None):
        return None
    if declared is not None and any("://" in path for path in paths):
        return None  # files on the Hub whose card has the list were written with it
    try:
        places = {split: [cached_path(str(file)) for file in of_split] for split, of_split in files.items()}
        own = {place: Features.from_arrow_schema(pq.read_schema(place)) for found in places.values() for place in found}
    except reader_errors():
        return None  # the reader of the rows reports the fault
    if declared is not None:
        for place, features in own.items():
            for column, names, others in disagreements(declared, features):
                if said := renumbered(names, others):
                    raise DataError(
                        f"{where}: its card and {place.rpartition('/')[2]} number the labels of {column} differently "
                        f"({said}): make them agree"
                    )
        return None
    first: Mapping[str, Any] = next(iter(own.values()), {})
    if not any(any(disagreements(first, features)) for features in own.values()):
        return None
    read = {place: Dataset.from_parquet(place) for found in places.values() for place in found}
    for rows in read.values():
        rows.data.table.validate(full=True)
    return DatasetDict({split: concatenate([read[place] for place in found]) for split, found in places.items()})


def _table(names: Sequence[str], known: Sequence[str], where: str) -> Callable[[Any], Any] | None:
    if list(names) == list(known):
        return None
    places = {name: i for i, name in enumerate(known)}
    if unknown := [name for name in names if name not in places]:
        raise UsageError(f"{where} has the labels {', '.join(unknown)}, which are not in {', '.join(known)}")
    table = [places[name] for name in names]

    def change(value: Any) -> Any:
        return value if value is None else table[value] if 0 <= value < len(table) else NO_NAME

    return change


def _encoded(dataset: Any, name: str, change: Callable[[Any], Any], features: "Features") -> Any:
    """Return a column [n_rows] of a dataset with its values changed, as an Arrow array."""
    import pyarrow as pa

    kind = features.arrow_schema.field(name).type
    batches = dataset.select_columns(name).with_format("arrow").iter(BATCH)
    chunks = [pa.array([change(value) for value in batch[name].to_pylist()], kind) for batch in batches]
    return pa.chunked_array(chunks, kind)


def _union(one: Any, other: Any) -> Any:
    """Return a feature with the labels of two, the first one's first."""
    from datasets import ClassLabel

    names, others = _names(one), _names(other)
    if names is not None and others is not None:
        return one if set(others) <= set(names) else ClassLabel(names=list(dict.fromkeys([*names, *others])))
    if _is_null(one) or (names is None and others is not None):
        return other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {name: _union(one[name], other[name]) if name in other else one[name] for name in one}
    inner, theirs = _item(one), _item(other)
    if inner is None or theirs is None:
        return one
    merged = _union(inner, theirs)
    if merged is inner:
        return one
    return [merged] if isinstance(one, list) else replace(one, feature=merged)


def _pairs(one: Any, other: Any) -> Iterable[tuple[list[str], list[str]]]:
    """Yield the lists of labels that two features have in the same places."""
    names, others = _names(one), _names(other)
    if names is not None and others is not None:
        yield names, others
    elif isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in one:
            yield from _pairs(one[name], other.get(name))
    elif (inner := _item(one)) is not None and (theirs := _item(other)) is not None:
        yield from _pairs(inner, theirs)


def _names(feature: Any) -> list[str] | None:
    """Return the names of a ClassLabel, or None for any other feature."""
    return list(feature.names) if type(feature).__name__ == "ClassLabel" else None


def _item(feature: Any) -> Any:
    """Return the feature of a list's items, or None for any other feature."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def _is_null(feature: Any) -> bool:
    return getattr(feature, "dtype", None) == "null"
