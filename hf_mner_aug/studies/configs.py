"""What a study compares: configs of a repo with their gold posts, checked to be comparable, or a gold set alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.columns.labels import disagreements, encode
from hf_mner_aug.exceptions import Corrupt, UsageError
from hf_mner_aug.publishing.folder import NOTE, read_note
from hf_mner_aug.publishing.hub import download_config
from hf_mner_aug.publishing.rows import is_made
from hf_mner_aug.publishing.stubs import check_whole
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.runs.subset import check_ids, source_posts
from hf_mner_aug.schema import IMAGE_COLUMNS, Codec
from hf_mner_aug.sources.loading import open_source
from hf_mner_aug.storage.fingerprint import content_fingerprint
from hf_mner_aug.storage.picture_columns import embed
from hf_mner_aug.studies.tasks import Task
from hf_mner_aug.transform import Method

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


LABELS = ("ner_tags", "fine_tags", "head", "tail", "relation")


@dataclass(frozen=True)
class GoldSet:
    """The gold posts of a set that is studied without configs; its name in tables is ``gold_`` and the suffix."""

    suffix: str
    gold: "DatasetDict"
    gold_key: str


@dataclass(frozen=True)
class Config:
    """An augmented config: its recipe, its splits, and the numbers of its gold train posts and of all posts made.

    ``n_made`` counts before publishing drops some. ``images`` is whether pictures count where gold posts are compared.
    ``source`` is where the gold posts of a method that replaces posts are: a folder, a Hub id or splits.
    """

    name: str
    recipe: Recipe
    fingerprint: str
    splits: "DatasetDict"
    n_gold: int
    n_made: int
    images: bool = False
    source: Any = None

    @cached_property
    def method(self) -> Method:
        """The method, not fitted."""
        return self.recipe.build()

    @property
    def replaces(self) -> bool:
        """Whether made posts replace gold posts, in all splits."""
        return self.method.mode == "replace"

    @property
    def suffix(self) -> str:
        """The part of the name after the method: ``10pct`` in ``lsms_10pct``."""
        return self.name.removeprefix(f"{self.recipe.method}_")

    @cached_property
    def gold(self) -> "DatasetDict":
        """The splits with the gold posts of train only; for a method that replaces posts, those of its source.

        Gold posts are those that the method was given (``publishing.rows.is_made``), also where another method made
        some of them before.

        Raises:
            UsageError: the source is not a Hub dataset, and ``source`` is not set.
            DataError: the source has another content than the one the config was made from.
        """
        from datasets import DatasetDict

        if self.replaces:
            _, gold = source_posts(self.recipe, self.source)
            numbered = self.splits["train"].features
            here = {split: set(rows["id"]) for split, rows in self.splits.items()}  # without those withdrawn since
            return DatasetDict(
                {
                    split: encode(gold[split], numbered, f"{self.name}: split {split} of its source").select(
                        [i for i, name in enumerate(gold[split]["id"]) if name in here[split]]
                    )
                    for split in self.splits
                }
            )
        return DatasetDict({**self.splits, "train": self.splits["train"].select(self.rows(made=False))})

    def rows(self, *, made: bool) -> list[int]:
        """Return the indices of the train rows that the method made, or of all others."""
        methods = self.splits["train"]["method"][:]
        own = is_made(methods, self.recipe.method, self.n_gold, replaces=self.replaces)
        return [i for i, found in enumerate(own) if found == made]

    @cached_property
    def gold_key(self) -> str:
        """The fingerprint of the gold posts that this config's models are trained on and selected with."""
        pictures = [name for name in IMAGE_COLUMNS if self.images and name in self.gold["train"].column_names]
        columns = [*_compared(self.gold["train"]), *pictures]
        return content_fingerprint(
            {split: self.gold[split].select_columns(columns) for split in ("train", "validation")}
        )


def open_config(repo: str | Path, name: str, *, images: bool = False, source: Any = None) -> Config:
    """Return a config of a repo folder or Hub repo, with pictures if its method reads them or ``images`` is set.

    ``source`` is the source of a method that replaces posts, if it is not a Hub dataset.

    Raises:
        UsageError: there is no such config.
        Corrupt: it does not match its augmentation.json.
    """
    from datasets import Dataset, DatasetDict

    folder = (Path(repo) if Path(repo).is_dir() else download_config(str(repo), name)) / name
    note = read_note(folder)
    check_whole(note, repo, name)
    if not verify_folder(folder.parent, name).ok:
        raise Corrupt(f"{folder} does not match its augmentation.json: hf-mner-aug verify {repo} {name}")
    if "train" not in note["splits"]:
        raise Corrupt(f"{folder / NOTE}: splits: expected train, found {', '.join(note['splits'])}")
    files = {split: sorted(map(str, folder.glob(f"{split}-*.parquet"))) for split in note["splits"]}
    splits: dict[str, Any] = {split: Dataset.from_parquet(paths) for split, paths in files.items()}
    recipe = Recipe.from_dict(note["recipe"])
    if not (recipe.build().reads_images or images):
        pictures = [column for column in IMAGE_COLUMNS if column in splits["train"].column_names]
        splits = {split: rows.remove_columns(pictures) for split, rows in splits.items()}
    counts = note["splits"]["train"]["gold"], note["funnel"]["made"]
    return Config(name, recipe, note["content_fingerprint"], DatasetDict(splits), *counts, images, source)


def read_config(repo: str | Path, name: str, *, images: bool = False, source: Any = None) -> Config:
    """Return a config that a study can train on; raises as ``open_config``.

    Raises:
        UsageError: it has no gold train posts.
    """
    config = open_config(repo, name, images=images, source=source)
    if not config.replaces and not len(config.gold["train"]):
        raise UsageError(f"{name} has no gold train posts to compare with")
    return config


def read_gold(repo: str | Path, name: str, *, images: bool = False, source: Any = None) -> "DatasetDict":
    """Return the gold posts of a repo's config that ends like ``gold_10pct``, if possible one that includes them.

    Raises:
        UsageError: there is no such config; else as ``read_config``.
    """
    from datasets import get_dataset_config_names

    names = get_dataset_config_names(str(repo))
    same = [config for config in names if config.endswith(name.removeprefix("gold"))]
    if not same:
        raise UsageError(f"{name} stands for the gold posts of another config: {repo} has {', '.join(names)}")
    configs = [read_config(repo, config, images=images, source=source) for config in same]
    return min(configs, key=lambda config: config.replaces).gold


def read_set(name: str | Path, split: str, *, images: bool = False, folder: str | Path | None = None) -> GoldSet:
    """Return a set whose gold posts are studied alone, with pictures if ``images`` is set.

    Args:
        name: a folder or Hub id, as ``load_source`` takes it.
        split: the split that is scored.
        images: whether pictures count.
        folder: a further folder that pictures named by the set may be read from.

    Raises:
        UsageError: it has augmented configs or made posts, or lacks a split; otherwise as ``load_source``.
        DataError: two posts of one split have the same id.
    """
    if configs := sorted(note.parent.name for note in Path(name).glob(f"*/{NOTE}")):
        raise UsageError(
            f"{name} has the augmented configs {', '.join(configs)}: name some with --configs, or name the set that "
            "they were made from to study its gold posts alone"
        )
    splits, allowed = open_source(str(name), images=folder)
    check_splits(str(name), splits, split)
    for part, rows in splits.items():
        if {"source_id", "method"} <= set(rows.column_names) and {*rows["method"][:]} - {"gold", None, ""}:
            raise UsageError(f"{name}: {part} has made posts: name the set that they were made from")
    check_ids(splits)
    if images:
        splits = embed(splits, allowed, stacklevel=2)
    else:
        pictures = [column for column in IMAGE_COLUMNS if column in splits["train"].column_names]
        splits = splits.remove_columns(pictures)
    return GoldSet("100pct", splits, content_fingerprint(splits))


def numbered_alike(configs: Sequence[Config]) -> list[Config]:
    """Return the configs with their labels numbered like those of the first one, if they are the same labels."""
    numbered = []
    for config in configs:
        features, wanted = (c.splits["train"].features for c in (config, configs[0]))
        if all(set(names) == set(others) for _, names, others in disagreements(features, wanted)):
            splits = {split: encode(rows, wanted, f"{config.name}: {split}") for split, rows in config.splits.items()}
            config = replace(config, splits=type(config.splits)(splits))
        numbered.append(config)
    return numbered


def check_splits(name: str, splits: "Mapping[str, Dataset]", split: str) -> None:
    """Raise UsageError unless there are validation posts, and posts of the split that is scored."""
    for needed in ("validation", split):
        if needed not in splits or not len(splits[needed]):
            raise UsageError(
                f"{name} has no {needed} posts: a study selects models on validation and scores on {split}"
            )


def check_comparable(configs: Sequence[Config], split: str, task: Task) -> None:
    """Check that configs can be compared in one table.

    Raises:
        UsageError: two have different test posts or labels, or two with one suffix have different gold posts.
    """
    first = configs[0]
    golds: dict[str, Config] = {}
    for config in configs:
        check_splits(config.name, config.splits, split)
        if set(task.labels(config.splits[split].features)) != set(task.labels(first.splits[split].features)):
            raise UsageError(f"{config.name} and {first.name} have different {task.kinds}: they cannot be compared")
        different = _first_difference(first.gold[split], config.splits[split])
        if different:
            raise UsageError(
                f"{config.name} and {first.name} have different {split} sets ({len(config.splits[split])} and "
                f"{len(first.splits[split])} posts; first difference: {different}): their scores cannot be compared"
            )
        other = golds.setdefault(config.suffix, config)
        if other.gold_key != config.gold_key:
            raise UsageError(
                f"{config.name} and {other.name} have different gold posts "
                f"({len(config.gold['train'])} and {len(other.gold['train'])} in train): they cannot share "
                f"gold_{config.suffix}"
            )


def check_weights(configs: Sequence[Config], column: Any) -> None:
    """Raise UsageError if a config's train posts, or the gold posts of its source, lack the column of weights."""
    for config in configs if isinstance(column, str) else ():
        if column not in config.splits["train"].column_names:
            raise UsageError(
                f"{config.name} has no column {column}, read by weight={column}: augment it with --set weight=…, or "
                "study it without weights"
            )
        if column not in config.gold["train"].column_names:
            raise UsageError(
                f"{config.name} replaces gold posts, whose source has no column {column}, read by weight={column}: "
                "study it without weights"
            )


def _compared(dataset: "Dataset") -> list[str]:
    """Return the columns in which gold posts are compared, without pictures."""
    return ["id", "tokens", *(name for name in Codec(dataset.features).columns if name in LABELS)]


def _first_difference(one: "Dataset", other: "Dataset") -> str | None:
    """Return the first post at which ids, words or labels of two datasets differ, or None."""
    columns = _compared(one)
    rows = [dataset.select_columns(columns).with_format("arrow")[:].to_pylist() for dataset in (one, other)]
    for ours, theirs in zip(*rows, strict=False):
        if ours != theirs:
            return f"post {theirs['id']}" if theirs["id"] == ours["id"] else f"post {theirs['id']} for {ours['id']}"
    return None if len(rows[0]) == len(rows[1]) else "their number"
