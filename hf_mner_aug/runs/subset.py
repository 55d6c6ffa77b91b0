"""The gold posts of a recipe: its source, of the content that it names, and the part of it that is augmented."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import NUMBERED, column_faults
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.places import split_source
from hf_mner_aug.sources.splits import named_splits
from hf_mner_aug.untrusted.names import check_repo

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def source_posts(recipe: Recipe, source: Any = None) -> tuple[Recipe, "DatasetDict"]:
    """Return a published recipe with its gold posts, from ``source`` (a folder, Hub id or splits) or its Hub dataset.

    Raises:
        UsageError: the config was not made from a Hub dataset, and no source is named; otherwise as ``load_source``.
        DataError: the content of the source differs from the one that the config was made from.
    """
    if source is None and (not recipe.source or recipe.source.startswith("local:")):
        where = f"the local folder {recipe.source[6:]!r}" if recipe.source else "a dataset in memory"
        raise UsageError(f"{recipe.config} was made from {where}: name it with --source DIR")
    if source is None:
        repo, config, revision = split_source(recipe.source)
        check_repo(repo, revision, config, f"{recipe.config}'s recipe")
    source = recipe.source if source is None else source
    if isinstance(source, str | Path):
        return resolve(recipe, load_source(str(source), columns=recipe.columns))
    return resolve(recipe, named_splits(source, columns=recipe.columns))


def resolve(recipe: Recipe, splits: "DatasetDict") -> tuple[Recipe, "DatasetDict"]:
    """Return the recipe with the source's fingerprint, the ids of its posts and a config name, and its gold posts.

    Raises:
        DataError: the recipe was made for a source of other content, or two posts of a split have the same id.
        UsageError: as ``choose_subset``.
    """
    from hf_mner_aug.storage.fingerprint import content_fingerprint

    found = content_fingerprint(splits)
    if recipe.source_fingerprint and recipe.source_fingerprint != found:
        raise DataError(
            f"the recipe was made for a source with fingerprint {recipe.source_fingerprint[:12]}, "
            f"{recipe.source or 'this one'} has {found[:12]}"
        )
    check_ids(splits)
    listed: dict[str, Any] = {}
    for split in ("train", "validation"):
        ids = getattr(recipe, f"ids_{split}")
        if ids is not None and split in splits:
            listed[f"ids_{split}"] = _find_ids(splits[split]["id"][:], ids, split)
    recipe = replace(recipe, **listed)
    gold = choose_subset(splits, recipe)
    config = recipe.config or percent_name(recipe, splits, gold)
    return replace(recipe, source_fingerprint=found, config=config), gold


def choose_subset(splits: "DatasetDict", recipe: Recipe) -> "DatasetDict":
    """Return the gold posts of a recipe: parts of train and validation, all other splits whole.

    Whether a post is chosen depends on its id and the subset's seed alone, and 10% is a part of 20%.

    Raises:
        UsageError: an id names no post, or the subset is empty.
    """
    from datasets import DatasetDict

    chosen = dict(splits)
    for split, ids in {"train": recipe.ids_train, "validation": recipe.ids_validation}.items():
        if split in splits and ids is not None:
            chosen[split] = _select_ids(splits[split], ids, split)
        elif split in splits and recipe.fraction < 1:
            chosen[split] = _select_fraction(splits[split], recipe.fraction, recipe.subset_seed)
    if len(chosen["train"]) == 0:
        raise UsageError(f"{recipe.fraction:%} of {len(splits['train'])} posts is none: take a larger fraction")
    return DatasetDict(chosen)


def read_ids(path: Path) -> tuple[str, ...]:
    """Return the ids of a file: one per line, or those of an ``IMGID:`` file.

    Raises:
        UsageError: the file is not there or holds no id.
        DataError: it is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = f"the byte {error.object[error.start]:#04x}"
        raise DataError(f"{path} line {line}: expected UTF-8 text, found {found}") from error
    marked = [line[6:].strip() for line in lines if line.startswith("IMGID:")]
    ids = marked or [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UsageError(f"{path} holds no id: expected one per line, or an IMGID file")
    return tuple(ids)


def percent_name(recipe: Recipe, splits: "DatasetDict", gold: "DatasetDict") -> str:
    """Return the config's name: method and percent of the train split, as in ``gmda_10pct``."""
    percent = 100 * len(gold["train"]) / len(splits["train"]) if recipe.ids_train else 100 * recipe.fraction
    return f"{recipe.method}_{percent:.3g}pct"


def check_ids(splits: "DatasetDict") -> None:
    """Check that the ids of a split are unique; warn if two splits share ids.

    Raises:
        DataError: two posts of one split have the same id.
    """
    owners: dict[str, tuple[str, int]] = {}
    shared = []
    for split, rows in splits.items():
        told = "id" not in rows.features or "id" in column_faults(rows.features)  # whoever checks columns reports it
        for i, name in enumerate(() if told else rows["id"][:]):
            first, row = owners.setdefault(name, (split, i)) if name else (split, i)
            if first == split and row != i:
                raise DataError(
                    f"post {name}: rows {row} and {i} of {split} have this id, and so would posts made of them: leave "
                    "repeated ones out, or number the ids with ds.map(lambda name, i: {'id': f'{name}~{i}'}, "
                    "input_columns='id', with_indices=True)"
                )
            if first != split:
                shared.append(f"{name} in {first} and {split}")
    if shared:
        warnings.warn(
            f"{len(shared)} ids are in two splits, as {shared[0]}: validate calls that an error", stacklevel=2
        )


def _find_ids(names: Sequence[str], ids: Sequence[str], split: str) -> tuple[str, ...]:
    """Return those of a split's ids, ``names``, that a list of ids selects.

    Where a raw file has one id for several posts, ``convert`` numbers them: 12, 12~2, 12~3. So 12 in a list selects
    all of these that are in the split, with a warning, unless the list has a numbered id itself.

    Raises:
        UsageError: an id selects no post.
    """
    posts: dict[str, list[str]] = {name: [name] for name in names}
    if not any(NUMBERED.fullmatch(name) and name in posts for name in ids):
        for name in sorted(posts):
            if numbered := NUMBERED.fullmatch(name):
                posts.setdefault(numbered[1], []).append(name)
    if unknown := sorted({name for name in ids if name not in posts}):
        some = ", ".join(unknown[:3])
        raise UsageError(
            f"{len(unknown)} of {len(set(ids))} ids are not in {split} ({some}): check the file and the source"
        )
    if others := sorted({name for name in ids if posts[name] != [name]}):
        warnings.warn(
            f"ids of {split}: {len(others)} of {len(set(ids))} are of posts that convert numbered, and select all: "
            f"{others[0]} selects {', '.join(posts[others[0]])}; list numbered ids to select single posts",
            stacklevel=2,
        )
    return tuple(sorted({post for name in ids for post in posts[name]}))


def _select_ids(dataset: "Dataset", ids: Sequence[str], split: str) -> "Dataset":
    """Return the posts that ids select, in the dataset's order."""
    names = dataset["id"][:]
    wanted = set(_find_ids(names, ids, split))
    return dataset.select([i for i, name in enumerate(names) if name in wanted])


def _select_fraction(dataset: "Dataset", fraction: float, seed: int) -> "Dataset":
    """Return the posts whose hashed ids come first, in the dataset's order."""
    keys = [hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest() for name in dataset["id"][:]]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return dataset.select(sorted(order[: round(fraction * len(keys))]))
