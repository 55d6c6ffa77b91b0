"""The names of splits: of a dataset's own, and of the files that it lies in."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hf_mner_aug.columns.labels import same_labels
from hf_mner_aug.columns.mapping import map_columns
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.untrusted.names import STUBS, check_columns, is_name

if TYPE_CHECKING:
    from datasets import DatasetDict

SPLITS = ("train", "validation", "test")  # those of most sets; others are held out too, and follow in their order
ALSO_VALIDATION = ("valid", "val", "dev")  # the first of these is validation in a set without a split of that name
_SPLIT = re.compile(r"\w+(\.\w+)*")  # as datasets has it
_SHARD_OF = re.compile(r"-\d{5}-of-\d{5}$|[-_.]\d{5}$")
_NUMBERED = re.compile(r"(.+)([-_.])(\d+)")
_BETWEEN = re.compile(r"[-._ 0-9/]")  # separators of the words in a file's name


def named_splits(
    splits: Any, *, as_numbered: bool = False, columns: Mapping[str, str] = MappingProxyType({})
) -> "DatasetDict":
    """Return a dataset or dict of splits as a DatasetDict of train, validation, test, others; labels numbered alike.

    The first of ``valid``, ``val``, ``dev`` becomes validation if no split has that name. Every other split, such as
    ``dev`` beside validation or ``test_2021``, keeps its name and is held out whole, as test is. With ``as_numbered``,
    each split keeps its own lists of labels; with ``columns``, columns are renamed and cast as by ``map_columns``.

    Raises:
        UsageError: there is no train split, or a column has label names in one split and none in another.
        DataError: a column or split has a name that is refused.
    """
    from datasets import DatasetDict

    if not isinstance(splits, Mapping):
        splits = {"train": splits}
    for split, data in splits.items():
        check_columns(data.column_names or (), f"split {split}")
    if columns:
        splits = map_columns(splits, columns)
    found = {str(split): data for split, data in splits.items()}
    if "validation" not in found and (others := [name for name in ALSO_VALIDATION if name in found]):
        found["validation"] = found.pop(others[0])
    if "train" not in found:
        raise UsageError(f"expected a train split, found {', '.join(found) or 'none'}")
    for split in found:
        if not is_name(split) or not _SPLIT.fullmatch(split) or split == STUBS:
            raise DataError(f"split name {split!r}: expected letters, digits and '_', and not {STUBS!r}: rename it")
    named = DatasetDict({split: found[split] for split in (*SPLITS, *found) if split in found})
    return named if as_numbered else same_labels(named)


def split_names(names: Iterable[str]) -> dict[str, str]:
    """Return the split of each file name (no suffix): train of ``train-00000-of-00002``, dev of ``dev_1``.

    Numbers are shard numbers only if they count from 0 or 1 and no file has the name without one; so ``test_2021``
    beside ``test`` is a split of its own.
    """
    stems = {name: _SHARD_OF.sub("", name) for name in names}
    series: dict[tuple[str, str], set[int]] = {}
    for stem in stems.values():
        if found := _NUMBERED.fullmatch(stem):
            series.setdefault((found[1], found[2]), set()).add(int(found[3]))
    split_of = {stem: stem for stem in stems.values()}
    for (split, sign), numbers in series.items():
        shards = {n for n in numbers if set(range(1, n)) <= numbers}
        if split not in split_of:
            split_of |= {stem: split for stem in split_of if _number(stem, split, sign) in shards}
    return {name: split_of[stem] for name, stem in stems.items()}


def apart(files: Mapping[str, Sequence[str]], keywords: Mapping[str, Sequence[str]], root: str) -> dict[str, list[str]]:
    """Return data files by split, where files that only share a word of their names with a split become their own.

    The datasets library takes ``test_2021.parquet`` beside ``test.parquet`` for more of test, and ``dev`` beside
    ``validation`` for more of validation. If no file of train is named ``train``, its files stay together.

    Args:
        files: paths by split, as the library found them by their names.
        keywords: the words by which it finds each split.
        root: the dataset's folder, or the common prefix of its URLs.
    """
    found: dict[str, list[str]] = {}
    for split, paths in files.items():
        words = tuple(keywords.get(split, (split,)))
        own = _own_names(list(map(str, paths)), words, root)
        together = len({*own.values()}) < 2 or (split == "train" and split not in own.values())
        for path in map(str, paths):
            found.setdefault(split if together else own[path] or split, []).append(path)
    return found


def _number(stem: str, split: str, sign: str) -> int | None:
    """Return the number in a file's name, as 2 in ``dev_2``, or None if it belongs to another split."""
    found = _NUMBERED.fullmatch(stem)
    return int(found[3]) if found and found.group(1, 2) == (split, sign) else None


def _own_names(paths: Sequence[str], words: Sequence[str], root: str) -> dict[str, str]:
    """Return for each path the name, of its file or of the nearest folder, that has one of the words in it, or ""."""
    inside = {path: PurePosixPath(path.removeprefix(root).lstrip("/")) for path in paths}
    stems = split_names({str(place.with_suffix("")) for place in inside.values()})
    own = {}
    for path, place in inside.items():
        parts = PurePosixPath(stems[str(place.with_suffix(""))]).parts
        own[path] = next((part for part in reversed(parts) if any(_apart(word) in _apart(part) for word in words)), "")
    return own


def _apart(name: str) -> str:
    """Return a name as words between blanks: each separator and digit becomes a blank."""
    return f" {_BETWEEN.sub(' ', name)} "
