"""Measures whether augmentation helps: a backbone trained on gold, repeated gold and augmented posts, over seeds.

A method that replaces posts (``amia``) adds none: gold is then the same number of posts of its source, and each model
is selected and tested on pictures of the kind that it was trained on.

A study is kept beside the repo folder, in ``OUT.studies/<backbone>-<fingerprint>/``: study.json (its inputs), cells/
(one file for each training: config and seed), runs.json (days, code and machines of the trainings), report.json,
report.md and report.png. After a kill, the same study continues with the missing cells. The test split is read once for
each cell, after training. Without configs, a set is studied by its gold posts alone.
"""

import contextlib
import hashlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from hf_mner_aug import __version__, backbones
from hf_mner_aug.backbones import Backbone
from hf_mner_aug.backbones.settings import parse_backbone, settings_of
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.metrics.spans import GroundedSpan, Labelled, PlainSpan
from hf_mner_aug.models.vision.regions import picture_size
from hf_mner_aug.progress import progress_bar
from hf_mner_aug.publishing.rows import published_splits
from hf_mner_aug.runs.engines import Engine, open_engine
from hf_mner_aug.runs.engines.local import Local
from hf_mner_aug.runs.engines.pool import Pool
from hf_mner_aug.runs.engines.ray import Ray
from hf_mner_aug.runs.ledger import beside, run
from hf_mner_aug.schema import Codec, canonical_json
from hf_mner_aug.sources.places import split_source
from hf_mner_aug.stopping import keeping
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.fingerprint import content_fingerprint
from hf_mner_aug.storage.locks import stage
from hf_mner_aug.studies.configs import (
    Config,
    GoldSet,
    check_comparable,
    check_weights,
    numbered_alike,
    read_config,
    read_set,
)
from hf_mner_aug.studies.page import record_run
from hf_mner_aug.studies.tasks import (
    BOXES_SHUFFLED,
    ENTITIES,
    Task,
    choose_task,
    exchange_boxes,
    f1_of,
    found_in,
)
from hf_mner_aug.transform import Method, iterate_posts
from hf_mner_aug.untrusted.printable import for_terminal
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

GOLD, OVERSAMPLED, AUGMENTED = "gold", "oversampled", "augmented"
SCORE = "matching_score"
MATCHED_FROM = 0.5  # the score above which a post counts as matched (Xu et al. 2025, table 3)
# The papers' search ranges, on a grid.
GRID_BATCH_SIZES = (8, 16, 32, 64)
GRID_LEARNING_RATES = (5e-6, 1e-5, 3e-5, 5e-5, 7e-5)
GRID_EPOCHS = 15


@dataclass(frozen=True)
class Cell:
    """One training: its data, its name, and the seed of the model, which is that of the augmentation unless both are.

    ``augmentation_seed`` is None where a study has one list of seeds.
    """

    kind: str
    name: str
    config: str
    seed: int
    augmentation_seed: int | None = None

    @property
    def stem(self) -> str:
        """The cell's file name without its ending."""
        made = "" if self.augmentation_seed is None else f"{self.augmentation_seed}-"
        return f"{self.name}-{made}{self.seed}"

    @property
    def data_seed(self) -> int:
        """The seed of the posts that it is trained on."""
        return self.seed if self.augmentation_seed is None else self.augmentation_seed


class CellRecord(TypedDict):
    """The content of a cell's file: the study, and the scores and predictions of the trained model."""

    study: str
    train_posts: int
    validation_f1: float
    predictions: list[list[PlainSpan | GroundedSpan]]
    seconds: float


class Tried(TypedDict):
    """A setting of the search on gold, and its score."""

    batch_size: int
    learning_rate: float
    epochs: int
    validation_f1: float


@dataclass
class Study:
    """A study's inputs and its cells, which are trained and saved one by one.

    ``alone`` is the set of a study without configs. ``seeds`` are of the models, and of the augmentation too unless
    there are ``augmentation_seeds``: then each config is made with each of these and trained on with each of the
    others, or with the one at the same place if ``paired``.
    """

    folder: Path
    made: Path
    configs: list[Config]
    backbone: Backbone
    seeds: tuple[int, ...]
    split: str
    grid: bool
    fingerprint: str
    ablations: tuple[str, ...] = ()
    task: Task = ENTITIES
    alone: GoldSet | None = None
    augmentation_seeds: tuple[int, ...] = ()
    paired: bool = False

    @classmethod
    def open(
        cls,
        repo: str | Path,
        names: Sequence[str],
        *,
        backbone: str | None = None,
        settings: Sequence[str] = (),
        seeds: Sequence[int] = (0,),
        augmentation_seeds: Sequence[int] = (),
        paired: bool = False,
        split: str = "test",
        grid: bool = False,
        ablations: Sequence[str] = (),
        out: str | Path | None = None,
        source: Any = None,
        pictures: str | Path | None = None,
    ) -> "Study":
        """Return a study with checked inputs, and write its study.json; raises as ``evaluate``.

        ``pictures`` is a further folder for the pictures of a set that is studied alone.
        """
        named = parse_backbone(backbone, settings) if backbone else None
        check_seeds(seeds, augmentation_seeds, paired)
        if split not in ("test", "validation"):
            raise UsageError(f"a study scores on test or validation, found {split!r}")
        images = named is not None and named.reads_images
        virtual = [name for name in names if name.startswith("gold_")]
        chosen = [name for name in dict.fromkeys(names) if name not in virtual]
        if names and not chosen:
            raise UsageError("name at least one augmented config: --configs lsms_10pct")
        if not names and augmentation_seeds:
            raise UsageError("augmentation seeds are for configs: name some with --configs")
        alone = None if names else read_set(repo, split, images=images, folder=pictures)
        configs = numbered_alike([read_config(repo, name, images=images, source=source) for name in chosen])
        sets = {config.name: config.splits["train"].features for config in configs}
        sets |= {str(repo): alone.gold["train"].features} if alone else {}
        model = named or parse_backbone(choose_task(sets).backbone, settings)
        task = choose_task(sets, [model])
        _check_model(model, configs, grid=grid)
        if configs:
            check_comparable(configs, split, task)
        check_weights(configs, settings_of(model).get("weight"))
        for name in virtual:
            if name not in {f"gold_{config.suffix}" for config in configs}:
                raise UsageError(f"{name} stands for the gold posts of other configs: name one that ends in {name[4:]}")
        ablations = tuple(dict.fromkeys(ablations))
        if unknown := [name for name in ablations if name not in chosen]:
            raise UsageError(f"{unknown[0]} is named as an ablation, but is not a config of this study")
        if ablations and len(ablations) == len(chosen):
            raise UsageError("all configs are ablations: also name a config that they are ablations of")
        inputs = {
            "backbone": model.name,
            "configs": {config.name: config.fingerprint for config in configs},
            "grid": grid,
            "seeds": list(seeds),
            "settings": settings_of(model),
            "split": split,
            "version": __version__,
        }
        sources = {config.name: config.recipe.source_fingerprint for config in configs if config.replaces}
        inputs |= {"sources": sources} if sources else {}
        offer = backbones.installed().get(model.name)
        inputs |= {"package": offer.packages[0]} if offer else {}
        inputs |= {"ablations": list(ablations)} if ablations else {}
        inputs |= {"gold": alone.gold_key} if alone else {}
        inputs |= {"task": task.name} if task != ENTITIES else {}
        if augmentation_seeds:
            inputs |= {"augmentation_seeds": list(augmentation_seeds), "paired": paired}
        digest = hashlib.sha256(canonical_json(inputs).encode()).hexdigest()
        made = Path(out) if out is not None else Path(repo) if Path(repo).is_dir() else _here(str(repo))
        folder = beside(made, "studies") / f"{model.name}-{digest[:8]}"
        artifacts.write_atomically(folder / "study.json", json.dumps(inputs, indent=2, sort_keys=True).encode())
        asked = task, alone, tuple(augmentation_seeds), paired
        return cls(folder, made, configs, model, tuple(seeds), split, grid, digest, ablations, *asked)

    @cached_property
    def golds(self) -> dict[str, Config | GoldSet]:
        """The gold sets by suffix, each represented by the first config that has it."""
        if self.alone:
            return {self.alone.suffix: self.alone}
        first: dict[str, Config] = {}
        for config in self.configs:
            first.setdefault(config.gold_key, config)
        return {config.suffix: config for config in first.values()}

    def gold_of(self, config: Config) -> str:
        """Return the name of a config's gold set, which configs with the same gold posts share."""
        return next(f"gold_{suffix}" for suffix, gold in self.golds.items() if gold.gold_key == config.gold_key)

    def compared_with(self, config: Config) -> list[str]:
        """Return the names that a config is compared with: its gold set, that set repeated, and its ablations."""
        if config.name in self.ablations:
            return [self.gold_of(config)]
        ablations = [other for other in self.configs if other.name in self.ablations]
        return [
            self.gold_of(config),
            *([] if config.replaces else [f"oversampled_to_{config.name}"]),
            *(other.name for other in ablations if other.gold_key == config.gold_key),
        ]

    @cached_property
    def posts(self) -> "Dataset":
        """The gold posts of the split that is scored."""
        return self.first.gold[self.split]

    @property
    def first(self) -> Config | GoldSet:
        """The first gold set."""
        return next(iter(self.golds.values()))

    @cached_property
    def references(self) -> list[Sequence[Labelled]]:
        """The gold spans of these posts."""
        return [self.task.gold(post) for post in iterate_posts(self.posts, Codec(self.posts.features))]

    @property
    def pairs(self) -> list[tuple[int | None, int]]:
        """The augmentation seed and the model seed of each cell of a config; None where both are one."""
        if not self.augmentation_seeds:
            return [(None, seed) for seed in self.seeds]
        if self.paired:
            return [*zip(self.augmentation_seeds, self.seeds, strict=True)]
        return [*itertools.product(self.augmentation_seeds, self.seeds[:1] if self.backbone.seedless else self.seeds)]

    def cells(self) -> Iterator[Cell]:
        """Yield the cells; those of a config come before those that need its size."""
        for suffix in sorted(self.golds):
            for seed in self.seeds[:1] if self.backbone.seedless else self.seeds:
                yield Cell(GOLD, f"gold_{suffix}", suffix, seed)
            for control in self.task.controls:
                for seed in self.seeds:
                    yield Cell(control, f"{control}_{suffix}", suffix, seed)
        for config in self.configs:
            for made, seed in self.pairs:
                yield Cell(AUGMENTED, config.name, config.name, seed, made)
                if not config.replaces and config.name not in self.ablations:
                    yield Cell(OVERSAMPLED, f"oversampled_to_{config.name}", config.name, seed, made)

    def run(self, *, progress: bool = True, engine: Engine | None = None) -> None:
        """Train the cells that are missing, here or by an engine."""
        cells = list(self.cells())
        missing = [cell for cell in cells if self.read(cell) is None]
        kept = len(cells) - len(missing)
        bar = progress_bar(shown=progress, total=len(cells), initial=kept, unit=" cells", delay=0)
        before = self._kept(cells)
        try:
            with bar, keeping(lambda: f"{self._kept(cells)} of {len(cells)} cells kept; the same command goes on"):
                for stem, record in self._trained(missing, engine or Local()):
                    artifacts.write_atomically(self.folder / "cells" / f"{stem}.json", record)
                    bar.set_postfix_str(for_terminal(stem))
                    bar.update()
        finally:
            if made := self._kept(cells) - before:
                record_run(self.folder, made)

    def _kept(self, cells: Sequence[Cell]) -> int:
        return sum((self.folder / "cells" / f"{cell.stem}.json").exists() for cell in cells)

    def to_be_made(self) -> list[Method]:
        """Return the methods of configs that a missing cell augments again."""
        missing = [cell for cell in self.cells() if cell.kind == AUGMENTED and self.read(cell) is None]
        return [
            config.method
            for config in self.configs
            if any(cell.config == config.name and not _is_published(config, cell) for cell in missing)
        ]

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """Return the content of a cell's file, or None if the cell has to be trained."""
        try:
            record: dict[str, Any] = read_json(self.folder / "cells" / f"{cell.stem}.json", CellRecord)
        except (FileNotFoundError, DataError):
            return None
        whole = record["study"] == self.fingerprint and len(record["predictions"]) == len(self.posts)
        return record if whole else None

    def values(self, name: str) -> list[Any]:
        """Return the values that split the posts into groups: a column, or ``matched``.

        ``matched`` is whether a config's matching score is above 0.5, and None for posts without a score. Scores are
        those of the original pictures, so they do not depend on the posts that a cell is trained on.

        Raises:
            UsageError: there is no such column, or configs give a post different scores.
        """
        if name in self.posts.column_names:
            return list(self.posts[name])
        scored = [config for config in self.configs if SCORE in config.splits[self.split].column_names]
        if name != "matched" or not scored:
            raise UsageError(f"{self.split} has no column {name}, found {', '.join(self.posts.column_names)}")
        found: list[float | None] = [None] * len(self.posts)
        by: list[str] = [""] * len(self.posts)
        for config in scored:
            for i, score in enumerate(config.splits[self.split][SCORE]):
                if score is None or score == found[i]:
                    continue
                if found[i] is not None:
                    raise UsageError(
                        f"{config.name} and {by[i]} have different matching scores (post {self.posts[i]['id']}: "
                        f"{score:.3f} and {found[i]:.3f}), so they disagree on the matched posts: study them one by one"
                    )
                found[i], by[i] = score, config.name
        return [None if score is None else score > MATCHED_FROM for score in found]

    @cached_property
    def tried(self) -> list[dict[str, Any]]:
        """The settings tried in the search on gold, with their validation F1; empty without a search."""
        sizes = GRID_BATCH_SIZES if self.grid else ()
        return [self._try(batch_size, rate) for batch_size in sizes for rate in GRID_LEARNING_RATES]

    @cached_property
    def chosen(self) -> Backbone:
        """The backbone of all cells, with the best settings of the search and the same number of steps for each."""
        model = self.backbone
        training = model.training
        if training is None:
            return model
        if self.tried:
            best = max(self.tried, key=lambda setting: setting["validation_f1"])
            chosen = {name: best[name] for name in ("batch_size", "learning_rate")}
            training = replace(training, epochs=GRID_EPOCHS, **chosen)
        trained = [config.splits for config in self.configs] or [self.first.gold]
        steps = training.n_steps(max(len(splits["train"]) for splits in trained))
        return replace(model, training=replace(training, steps=steps))

    def _trained(self, cells: Sequence[Cell], engine: Engine) -> Iterator[tuple[str, bytes]]:
        """Train cells, and yield the name and the content of the file of each."""
        if not isinstance(engine, Ray):
            yield from ((cell.stem, self.train(cell, self._size(cell))) for cell in cells)
            return
        with engine.session() as session:
            for method in self.to_be_made():
                session.check(method)
            shared = self._by_value() if session.spread else self
            shared.__dict__["chosen"] = self.chosen  # the search is made here, once
            for later in (False, True):  # gold is repeated up to the sizes of cells before
                some = [cell for cell in cells if (cell.kind == OVERSAMPLED) == later]
                items = {cell.stem: (cell, self._size(cell)) for cell in some}
                yield from session.call(_train, shared, items, on_gpu=self.chosen.training is not None)

    def _by_value(self) -> "Study":
        """Return this study with its posts in memory, for machines that do not have its files."""
        alone = self.alone and replace(self.alone, gold=_in_memory(self.alone.gold))
        configs = []
        for config in self.configs:
            copy = replace(config, splits=_in_memory(config.splits), source=None)
            copy.__dict__["gold"] = _in_memory(config.gold)  # the cached property, for which a source may be needed
            configs.append(copy)
        return replace(self, configs=configs, alone=alone)

    def _size(self, cell: Cell) -> int:
        """Return the number of train posts up to which a cell repeats gold posts; 0 for other cells."""
        if cell.kind != OVERSAMPLED:
            return 0
        like = self.read(replace(cell, kind=AUGMENTED, name=cell.config))
        assert like is not None
        size: int = like["train_posts"]
        return size

    def train(self, cell: Cell, size: int) -> bytes:
        """Train a cell, predict, and return the content of its file; ``size`` is that of repeated gold posts."""
        begun = time.monotonic()
        with stage(self.folder, cell.stem) as room:
            splits = self._splits(cell, room, size)
            model = replace(self.chosen, seed=cell.seed).fit(splits["train"], splits["validation"])
            record = {
                "study": self.fingerprint,
                "train_posts": len(splits["train"]),
                "validation_f1": _validation_f1(self.task, model, splits),
                "predictions": _predicted(self.task, model, splits[self.split]),
                "seconds": round(time.monotonic() - begun, 2),
            }
        return json.dumps(record, separators=(",", ":")).encode()

    def _splits(self, cell: Cell, room: Path, size: int = 0) -> dict[str, "Dataset"]:
        """Return the posts that a cell is trained, selected and tested on; posts made for it are stored in ``room``."""
        if cell.kind == GOLD:
            return {**self.golds[cell.config].gold}
        if cell.kind in self.task.controls:
            gold = self.golds[cell.config].gold
            train = gold["train"]
            boxes = cell.kind == BOXES_SHUFFLED
            shuffled = shuffle_boxes(train, cell.seed) if boxes else shuffle_types(train, cell.seed, self.task)
            return {**gold, "train": shuffled}
        config = next(config for config in self.configs if config.name == cell.config)
        if cell.kind == AUGMENTED:
            return {**config.splits} if _is_published(config, cell) else self._augment(config, cell.data_seed, room)
        return {**config.gold, "train": oversample(config.gold["train"], size, cell.data_seed)}

    def _augment(self, config: Config, seed: int, room: Path) -> dict[str, "Dataset"]:
        """Return the gold posts and the posts that the config's method makes from them with a seed, as published."""
        recipe = replace(
            config.recipe,
            seed=seed,
            artifact=None,
            fraction=1.0,
            ids_train=None,
            ids_validation=None,
            source="",
            source_fingerprint=content_fingerprint(config.gold),
        )
        done = run(recipe, config.gold, out=self.made, progress=False)
        return {**config.gold, **published_splits(done, room)}

    def _try(self, batch_size: int, learning_rate: float) -> dict[str, Any]:
        """Return a setting of the search with its validation F1 on gold, from its file if it was tried before."""
        path = self.folder / "grid" / f"{batch_size}-{learning_rate}.json"
        with contextlib.suppress(FileNotFoundError, DataError):  # a damaged one is tried again
            found: dict[str, Any] = read_json(path, Tried)
            return found
        training = self.backbone.training
        assert training is not None, "Study.open refuses a search for a backbone without training settings"
        training = replace(training, epochs=GRID_EPOCHS, batch_size=batch_size, learning_rate=learning_rate)
        gold = self.first.gold
        model = replace(self.backbone, training=training, seed=self.seeds[0])
        setting = {
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "epochs": GRID_EPOCHS,
            "validation_f1": _validation_f1(self.task, model.fit(gold["train"], gold["validation"]), gold),
        }
        artifacts.write_atomically(path, json.dumps(setting).encode())
        return setting


# ---------------------------------------------------------------- controls


def oversample(gold: "Dataset", size: int, seed: int) -> "Dataset":
    """Return gold posts repeated up to a size: each equally often, the remainder drawn at random."""
    times, rest = divmod(size, len(gold))
    drawn = Draw(f"oversample\0{seed}".encode()).sample(range(len(gold)), rest)
    return gold.select([*range(len(gold))] * times + drawn)


def shuffle_types(gold: "Dataset", seed: int, task: Task = ENTITIES) -> "Dataset":
    """Return the posts with their labels shuffled over all posts: the negative control."""
    codec = Codec(gold.features)
    posts = list(iterate_posts(gold, codec))
    shuffled = task.shuffled(posts, Draw(f"shuffle\0{seed}".encode()))
    return _with_column(gold, task.column, [codec.to_row(post)[task.column] for post in shuffled])


def shuffle_boxes(gold: "Dataset", seed: int) -> "Dataset":
    """Return the posts with their entities' boxes exchanged over all posts with a picture: the negative control."""
    codec = Codec(gold.features)
    pictured = iterate_posts(gold, codec, images=True)
    sizes = [picture_size(post.images[0]) if post.images else None for post in pictured]
    exchanged = exchange_boxes(list(iterate_posts(gold, codec)), sizes, Draw(f"exchange\0{seed}".encode()))
    return _with_column(gold, "entities", [codec.to_row(post)["entities"] for post in exchanged])


# ---------------------------------------------------------------- inside


def studying_engine(engine: str | Engine | None) -> Engine:
    """Return the engine that trains the cells of a study.

    Raises:
        UsageError: a study takes no such engine; otherwise as ``open_engine``.
    """
    opened = open_engine(engine)
    if opened.name == Pool.name:
        raise UsageError("a study trains one model at a time, or several with the engine ray, found the engine pool")
    return opened


def _train(study: Study, item: tuple[Cell, int]) -> bytes:
    return study.train(*item)


def _in_memory(splits: "DatasetDict") -> "DatasetDict":
    from datasets import Dataset
    from datasets.table import InMemoryTable

    return type(splits)({name: Dataset(InMemoryTable(rows.with_format("arrow")[:])) for name, rows in splits.items()})


def check_seeds(seeds: Sequence[int], augmentation_seeds: Sequence[int], paired: bool) -> None:
    """Check the seeds of a study.

    Raises:
        UsageError: there is none, one is named twice, or seeds that are paired differ in number.
    """
    for what, found in (("seeds", seeds), ("augmentation seeds", augmentation_seeds or (0,))):
        if not found or len(set(found)) != len(found):
            raise UsageError(f"expected different {what}, found {', '.join(map(str, found)) or 'none'}")
    if paired and len(seeds) != len(augmentation_seeds):
        raise UsageError(
            f"paired seeds go together one by one, found {len(seeds)} seeds and {len(augmentation_seeds)} "
            "augmentation seeds: name as many of both, or leave out that they are paired"
        )


def _with_column(dataset: "Dataset", name: str, values: list[Any]) -> "Dataset":
    """Return a dataset with other values in a column, which is then the last one."""
    return dataset.remove_columns(name).add_column(name, values, feature=dataset.features[name])


def _is_published(config: Config, cell: Cell) -> bool:
    """Return whether a cell of a config has the posts that the config has itself, made with its own seed.

    Only of studies with augmentation seeds: those with one list of seeds make the posts of each again.
    """
    return cell.augmentation_seed is not None and cell.augmentation_seed == config.recipe.seed


def _here(repo: str) -> Path:
    """Return the path in this folder that has the name of a Hub repo or of a file."""
    return Path(Path(split_source(repo)[0]).name)


def _predicted(task: Task, model: Any, rows: "Dataset") -> list[Sequence[Labelled]]:
    """Return the labelled spans that a fitted backbone predicts for each post."""
    return found_in(task, model.predict(rows), iterate_posts(rows, Codec(rows.features)))


def _validation_f1(task: Task, model: Any, splits: Mapping[str, "Dataset"]) -> float:
    """Return the F1 of a fitted backbone on validation."""
    rows = splits["validation"]
    return f1_of(task, model.predict(rows), iterate_posts(rows, Codec(rows.features)))


def _check_model(model: Backbone, configs: Sequence[Config], *, grid: bool) -> None:
    """Raise UsageError unless a study of the configs can be made with this backbone."""
    if model.boundary:
        raise UsageError("a study compares entities with their types: leave boundary=true out")
    if grid and model.training is None:
        raise UsageError(f"{model.name} has neither batch size nor learning rate: leave the grid out")
    for config in configs:
        if config.replaces and config.method.reads_images and not model.reads_images:
            raise UsageError(
                f"{config.name} differs from its gold posts in their pictures, and {model.name} reads none with "
                "these settings: use a backbone that does, such as umt"
            )
