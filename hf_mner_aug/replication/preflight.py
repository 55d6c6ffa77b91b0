"""What a table needs before it runs: sets, ids, pictures, weights, extras, keys, memory; and what that costs, roughly.

Nothing here trains or sends posts. What a cell lacks is named with how to get it; the other cells run.
"""

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.backbones import Backbone
from hf_mner_aug.backbones.settings import parse_backbone, settings_of, spec_models
from hf_mner_aug.conversion import convert
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.models.device import resolved_revision, split_model
from hf_mner_aug.publishing.folder import RECORD
from hf_mner_aug.replication.manifests import (
    Cell,
    Column,
    KnownSet,
    Manifest,
    Model,
    Posts,
    cells_of,
    known_sets,
)
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.runs.subset import choose_subset
from hf_mner_aug.sample import load_sample
from hf_mner_aug.schema import IMAGE_COLUMNS, Codec
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.storage import artifacts
from hf_mner_aug.studies.curves import read_subsets
from hf_mner_aug.studies.study import GRID_BATCH_SIZES, GRID_LEARNING_RATES
from hf_mner_aug.studies.tasks import ENTITIES, FINE, Grounded, Relations, choose_task
from hf_mner_aug.transform import Method, iterate_posts
from hf_mner_aug.transform.costs import hosts_of

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

MEASURED = {
    "entities": ENTITIES.name,
    "relations": Relations.name,
    "triples": Grounded(ENTITIES).name,
    "fine_triples": Grounded(FINE).name,
}
SPLITS = ("train", "validation", "test")
# Parameters of tables that only the paper's models have, and that need a download.
OF_THE_PAPER = ("judge", "caption_similarity", "encoder", "tune")
OF_A_DOWNLOAD = ("synonyms",)
WHOLE = "100pct"
SMOKE_POSTS = {"train": 40, "validation": 8, "test": 12}
SMOKE_CORPUS = 200  # further posts
SMOKE = "smoke run: it shows that the parts fit together, and proves no figure"
# Tiny networks without pretrained weights, and a few steps of each.
TINY = "encoder=tiny,device=cpu,steps=1,checks=1,batch_size=4,max_length=32"
TINY_PICTURES = f"{TINY},tower=tiny,freeze_vision=false,image_size=64"
SMOKE_BACKBONES = {
    "crf": "crf:iterations=20",
    "relation_features": "relation_features",
    "token_classifier": f"token_classifier:{TINY}",
    "relation": f"relation:{TINY}",
    "pgim": f"pgim:{TINY}",
    **{
        name: f"{name}:{TINY_PICTURES}"
        for name in ("bert_resnet_crf", "umt", "maf", "hvpnet", "mkgformer", "iie4mner", "h_index")
    },
    **{name: f"{name}:{TINY_PICTURES},most_steps=8,most_regions=4" for name in ("mmt5", "tiger")},
}
# Posts that training reads in a second, on a GPU and on a core of a CPU. Assumed, not measured.
SPEED = {"crf": (0.0, 300.0), "relation_features": (0.0, 2000.0)}
ASSUMED_SPEED = (100.0, 3.0)
ASSUMED_EPOCHS = 20
GRID_CELLS = len(GRID_BATCH_SIZES) * len(GRID_LEARNING_RATES)


@dataclass(frozen=True)
class Choices:
    """What a user chose: where the sets are, what is run in place of the manifest's models and parameters.

    Args:
        data: the folder with a folder for each set.
        out: the folder that everything is written into.
        preset: of all methods, in place of the manifest's.
        params: further parameters, by augmentation or method.
        models: backbones with settings, by the manifest's name of the model that they take the place of.
        smoke: a part of the sample set, and tiny networks.
    """

    data: Path
    out: Path
    preset: str = ""
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    smoke: bool = False


@dataclass(frozen=True)
class Place:
    """The posts of a set or subset, which several columns may share."""

    name: str
    set: str
    splits: "DatasetDict"
    folder: Path
    known: KnownSet | None = None
    unread: Path | None = None
    corpus: Path | None = None  # of further posts, in a smoke run

    @cached_property
    def pictured(self) -> int:
        """The number of posts with a picture; of ``unread`` pictures, that of the files in their folder."""
        if self.unread:
            return sum(1 for _ in self.unread.iterdir())
        found = 0
        for rows in self.splits.values():
            if name := next((name for name in IMAGE_COLUMNS if name in rows.column_names), None):
                pictures = rows.select_columns([name]).with_format("arrow")[:].column(name)
                found += sum(bool(value) for value in pictures.to_pylist())
        return found

    @cached_property
    def counted(self) -> dict[str, Posts]:
        """Posts and labels of each split, under ``posts`` and ``labels``."""
        labels = {
            split: sum(len(post.entities) or bool(post.relation) for post in iterate_posts(rows, Codec(rows.features)))
            for split, rows in self.splits.items()
            if split in SPLITS
        }
        return {
            "posts": Posts(**{split: len(self.splits[split]) for split in labels}),
            "labels": Posts(**labels),
        }

    def differences(self, column: Column) -> list[str]:
        """Return how the posts and labels differ from those of the paper, and from those of the set as published."""
        told = []
        for split in SPLITS:
            found = getattr(self.counted["posts"], split)
            if (paper := getattr(column.expected, split)) not in (None, found):
                told.append(f"{column.title}: {found} {split} posts, {paper} in the paper")
            if self.known and not column.subset:
                for what in ("posts", "labels"):
                    known = getattr(getattr(self.known, what), split)
                    found = getattr(self.counted[what], split)
                    if known not in (None, found):
                        told.append(
                            f"{column.title}: {found} {what} in {split}, {known} in the files as published: this is "
                            "another release, and figures of two releases cannot be compared"
                        )
        return told


class Sets:
    """The sets of a folder, converted where they are raw; each is opened once.

    A dry run writes nothing into OUT: it converts into a temporary folder, which goes with this object, and without
    pictures.
    """

    def __init__(self, choices: Choices, *, dry_run: bool = False) -> None:
        self.choices = choices
        self.known = known_sets()
        self._temporary: Path | None = None
        if dry_run:
            self._temporary = Path(tempfile.mkdtemp(prefix="hf_mner_aug_"))
            weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        self._opened: dict[str, tuple[Path, DatasetDict, Path | None]] = {}
        self._places: dict[tuple[str, str], Place] = {}

    def place(self, column: Column) -> Place:
        """Return the posts of a column.

        Raises:
            UsageError: they are not there; the message says how to get them.
        """
        key = (column.set, column.subset)
        if key not in self._places:
            self._places[key] = self._sample(column) if self.choices.smoke else self._read(column)
        return self._places[key]

    def _read(self, column: Column) -> Place:
        from datasets import DatasetDict

        folder, splits, unread = self._open(column.set)
        known = self.known[column.set]
        name = f"{column.set}_{column.subset or WHOLE}"
        if column.subset:
            where = self.choices.data / known.subsets
            if not (where / column.subset / "train.txt").is_file():
                raise UsageError(
                    f"no ids of {column.title}: expected {known.subsets}/{column.subset}/train.txt and dev.txt in the "
                    "folder of the sets, as the authors published them"
                )
            found = next(found for found in read_subsets(where) if found.name == column.subset)
            ids: dict[str, Any] = {"ids_train": found.train, "ids_validation": found.validation}
            splits = DatasetDict(choose_subset(splits, Recipe(method="eda", **ids)))
            folder = self.choices.out / "sets" / name
            self._write(splits, folder)
        return Place(name, column.set, splits, folder, known, unread)

    def _open(self, name: str) -> tuple[Path, "DatasetDict", Path | None]:
        """Return the folder of a set, its posts, and the folder of the pictures that these were read without."""
        if name not in self._opened:
            known, raw = self.known[name], self.choices.data / name
            if not raw.is_dir():
                raise UsageError(f"{known.title} is not there: {known.get}")
            folder, unread = raw, None
            if not (raw / RECORD).is_file() and not any(raw.glob("**/*.parquet")):
                folder, unread = self._convert(name, known, raw)
            self._opened[name] = folder, load_source(str(folder)), unread
        return self._opened[name]

    def _convert(self, name: str, known: KnownSet, raw: Path) -> tuple[Path, Path | None]:
        """Convert a raw set unless that was done, and return its folder and that of pictures that were left out."""
        folder = self.choices.out / "sets" / name
        xml = self.choices.data / known.xml if known.xml else None
        xml = xml if xml and xml.is_dir() else None
        pictures = next((place for place in (raw / "images", raw.with_name(f"{name}_images")) if place.is_dir()), None)
        stamp, now = folder.with_name(f"{name}.stamp"), _stamp(raw, pictures, xml)
        if (folder / RECORD).is_file() and stamp.is_file() and stamp.read_bytes() == now:
            return folder, None
        if self._temporary:
            convert(name, raw, self._temporary / name, xml=xml)
            return self._temporary / name, pictures
        convert(name, raw, folder, images=pictures, xml=xml)
        artifacts.write_atomically(stamp, now)
        return folder, None

    def _sample(self, column: Column) -> Place:
        """Return a part of the sample set in place of a set."""
        from datasets import DatasetDict

        kind = _sample_kind(column)
        folder = self.choices.out / "sets" / f"sample_{kind}"
        whole = load_sample(kind)
        splits = DatasetDict({split: whole[split].select(range(n)) for split, n in SMOKE_POSTS.items()})
        self._write(splits, folder)
        name = f"sample_{kind}_{column.subset or WHOLE}"
        return Place(name, column.set, splits, folder, corpus=self._corpus(kind, whole["train"]))

    def _corpus(self, kind: str, rows: "Dataset") -> Path | None:
        """Return a corpus of sample posts that are not in the smoke run, for rmda to search; None in a dry run."""
        from datasets import DatasetDict

        if self._temporary:
            return None
        corpus, folder = self.choices.out / "sets" / f"sample_{kind}.db", self.choices.out / "sets" / f"more_{kind}"
        last = min(SMOKE_POSTS["train"] + SMOKE_CORPUS, len(rows))
        self._write(DatasetDict(train=rows.select(range(SMOKE_POSTS["train"], last))), folder)
        index(str(folder), corpus)
        return corpus

    def _write(self, splits: "DatasetDict", folder: Path) -> None:
        """Write splits into a folder that ``load_source`` reads, except in a dry run."""
        if self._temporary:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            partial = folder / f".{split}.partial"
            rows.to_parquet(partial)
            partial.replace(folder / f"{split}.parquet")


def _stamp(*folders: Path | None) -> bytes:
    """Return the names, sizes and times of the files of some folders, by which a changed set is noticed."""
    files = sorted(file for folder in folders if folder for file in folder.rglob("*") if file.is_file())
    return json.dumps([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]).encode()


@dataclass
class Plan:
    """The cells of a table that can run, what the others lack, and what is to be known before.

    ``asked`` are the names and patterns that chose the cells; empty if they are all.
    """

    manifest: Manifest
    choices: Choices
    cells: list[Cell]
    seeds: tuple[int, ...]
    sets: Sets
    lacking: dict[Cell, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    asked: tuple[str, ...] = ()

    @property
    def runnable(self) -> list[Cell]:
        """The cells that lack nothing."""
        return [cell for cell in self.cells if not self.lacking.get(cell)]

    def column(self, cell: Cell) -> Column:
        """Return the column of a cell."""
        return self.manifest.columns[cell.column]

    def spec(self, name: str, column: Column) -> str:
        """Return the backbone of a model with its settings, as text; another one for relations, and in a smoke run."""
        model = self.manifest.models[name]
        spec = self.choices.models.get(name, "")
        if not spec and self.choices.smoke:
            return _smoke_backbone(model, column)
        if not spec and column.metric == "relations" and model.relations:
            settings = {key: value for key, value in model.settings.items() if key != "encoder"}
            return _with_settings(model.relations, settings)
        spec = spec or _with_settings(model.backbone, model.settings)
        return _with_settings(spec, {"types": "fine"} if column.metric == "fine_triples" else {})

    def recipe(self, name: str, place: Place) -> Recipe:
        """Return the recipe of an augmentation for the posts of a place; raises as ``Recipe.of``."""
        augmentation = self.manifest.augmentations[name]
        preset = self.choices.preset or augmentation.presets.get(place.set, augmentation.preset)
        preset = "" if self.choices.smoke else preset
        params = dict(augmentation.params)
        if augmentation.target:
            column = next(column for column in self.manifest.columns.values() if column.set == place.set)
            params["target"] = self.spec(augmentation.target, column)
        if self.choices.smoke or preset == "embedded":
            params = {key: value for key, value in params.items() if key not in (*OF_THE_PAPER, *OF_A_DOWNLOAD)}
        params |= self.own_params(name)
        fields: dict[str, Any] = {"method": augmentation.method, "config": f"{name}_{place.name}"}
        if self.choices.smoke:
            params = {**params, **_smoke_params(augmentation.method)}
            if augmentation.method == "rmda" and place.corpus:
                params["corpus"] = str(place.corpus)
            fields["copies"] = 1
        elif augmentation.copies:
            fields["copies"] = augmentation.copies
        return Recipe.of(preset=preset or None, params=params, **fields)

    def own_params(self, name: str) -> dict[str, Any]:
        """Return the parameters that a user chose for an augmentation, by its name or its method's."""
        chosen = self.choices.params
        return {**chosen.get(self.manifest.augmentations[name].method, {}), **chosen.get(name, {})}

    def searches(self, model: str) -> bool:
        """Return whether batch size and learning rate of a model are searched, as in the paper."""
        return self.manifest.grid and not self.choices.smoke and model not in self.choices.models

    def trainings(self) -> int:
        """Return the number of models that the studies train."""
        groups: dict[tuple[str, str], set[str]] = {}
        for cell in self.runnable:
            row = self.manifest.rows[cell.row]
            if row.model:
                place = self.sets.place(self.column(cell)).name
                groups.setdefault((row.model, place), set()).add(row.augmentation)
        per_seed = sum(2 + sum(2 for name in names if name) for names in groups.values())
        return per_seed * len(self.seeds) + GRID_CELLS * sum(self.searches(model) for model, _ in groups)

    def hours(self) -> float:
        """Return roughly the hours of training, by assumed speeds."""
        gpu = gpu_memory() > 0
        seconds = 0.0
        for cell in self.runnable:
            row = self.manifest.rows[cell.row]
            if not row.model:
                continue
            column = self.column(cell)
            name = self.spec(row.model, column).partition(":")[0]
            on_gpu, on_cpu = SPEED.get(name, ASSUMED_SPEED)
            posts = len(self.sets.place(column).splits["train"]) * (3 if row.augmentation else 2)
            seconds += posts * ASSUMED_EPOCHS * len(self.seeds) / (on_gpu if gpu and on_gpu else on_cpu)
        return seconds / 3600

    def usd(self) -> float:
        """Return the price of the calls of methods that pay, by this machine's prices; nothing is sent."""
        total = 0.0
        for name, place in self.augmented():
            method = self.recipe(name, place).build()
            if method.costs:
                rows = place.splits["train"]
                calls = sum(method.costs.calls(post) for post in iterate_posts(rows, Codec(rows.features)))
                total += calls * method.costs.price().usd * (1 + len(self.seeds))
        return total

    def augmented(self) -> list[tuple[str, Place]]:
        """Return the augmentations that cells need, each with the posts that it is made from."""
        found: dict[tuple[str, str], tuple[str, Place]] = {}
        for cell in self.runnable:
            name, place = self.manifest.rows[cell.row].augmentation, self.sets.place(self.column(cell))
            if self.manifest.kind == "examples" and not name:
                for other in self.manifest.augmentations:
                    found.setdefault((other, place.name), (other, place))
            elif name:
                found.setdefault((name, place.name), (name, place))
        return [*found.values()]

    def to_text(self) -> str:
        """Return what runs, what is missing, and the cost, for a terminal."""
        lines = [f"{self.manifest.name}: {self.manifest.title} ({self.manifest.source})"]
        lines += [SMOKE] if self.choices.smoke else []
        lines += self.notes
        runnable = self.runnable
        lines.append(
            f"{len(runnable)} of {len(self.cells)} cells can run here, with seeds {', '.join(map(str, self.seeds))}"
        )
        for reason, cells in by_reason(self.lacking).items():
            shown = ", ".join(map(str, cells[:3])) + (f" and {len(cells) - 3} more" if len(cells) > 3 else "")
            lines.append(f"{len(cells)} not: {reason} ({shown})")
        if runnable and self.manifest.kind in ("scores", "errors"):
            memory = gpu_memory()
            machine = f"a GPU with {memory} GB" if memory else "no GPU, so on the CPU"
            lines.append(
                f"{self.trainings()} trainings, roughly {self.hours():.1f} hours ({machine}; assumed, not measured), "
                f"USD {self.usd():.2f}"
            )
        return "\n".join(lines)


def plan(
    manifest: Manifest,
    choices: Choices,
    *,
    cells: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    dry_run: bool = False,
) -> Plan:
    """Return which cells of a table can run here, and what the others lack; a dry run writes nothing.

    Raises:
        UnknownName: a pattern of ``cells`` matches none, or a model or augmentation is named that the table lacks.
    """
    known = {*manifest.augmentations, *(one.method for one in manifest.augmentations.values())}
    for what, names, among in (("model", choices.models, {*manifest.models}), ("augmentation", choices.params, known)):
        for name in names:
            if name not in among:
                raise UnknownName(f"{what} of {manifest.name}", name, among)
    chosen = cells_of(manifest, cells)
    if choices.smoke:
        chosen, seeds = _first_columns(manifest, chosen), seeds or (0,)
    found = Plan(manifest, choices, chosen, seeds or manifest.seeds, Sets(choices, dry_run=dry_run), asked=cells)
    checks = _Checks(found)
    for cell in chosen:
        if reasons := checks.lacks(cell):
            found.lacking[cell] = reasons
    found.notes = checks.notes()
    return found


def by_reason(lacking: Mapping[Cell, list[str]]) -> dict[str, list[Cell]]:
    """Return the cells that lack something, by what they lack."""
    found: dict[str, list[Cell]] = {}
    for cell, reasons in lacking.items():
        for reason in reasons:
            found.setdefault(reason, []).append(cell)
    return found


def gpu_memory() -> int:
    """Return the memory of the largest GPU in GB; 0 without one, or without torch."""
    if importlib.util.find_spec("torch") is None:
        return 0
    import torch

    if not torch.cuda.is_available():
        return 0
    return max(int(torch.cuda.get_device_properties(i).total_memory / 1e9) for i in range(torch.cuda.device_count()))


def weights_missing(model: str) -> str:
    """Return why the weights of a model cannot be had; empty if they are in the cache, on the Hub or a folder."""
    if ":" in model or not model:
        return ""  # a library gets them by itself
    try:
        name, revision, _ = split_model(model)
        if os.environ.get("HF_HUB_OFFLINE", "") in ("", "0") or Path(name).is_dir():
            resolved_revision(name, revision)
        else:
            from huggingface_hub import try_to_load_from_cache

            if not any(
                isinstance(try_to_load_from_cache(name, file, revision=revision), str)
                for file in ("config.json", "model_index.json")
            ):
                return f"weights of {name}: not in the cache, and HF_HUB_OFFLINE is set: hf download {name}"
    except UsageError as error:
        return (
            f"weights: {error} (hf download {model.partition('#')[0].partition('@')[0]}, where there is a connection)"
        )
    return ""


# ---------------------------------------------------------------- inside


class _Checks:
    """The checks of a plan's cells; each set, backbone and method is looked at once."""

    def __init__(self, found: Plan) -> None:
        self.plan = found
        self._known: dict[Any, list[str]] = {}

    def lacks(self, cell: Cell) -> list[str]:
        """Return what a cell lacks."""
        manifest, column = self.plan.manifest, self.plan.column(cell)
        row = manifest.rows[cell.row]
        if row.quoted:
            return ["the paper quotes this row from elsewhere"]
        try:
            place = self.plan.sets.place(column)
        except UsageError as error:
            return [str(error)]
        found = self._once(("model", row.model, column.metric, place.name), self._model, row.model, column, place)
        names = [row.augmentation] if row.augmentation else []
        if manifest.kind == "examples" and not names:
            names = [*manifest.augmentations]
        for name in names:
            found = found + self._once(("augmentation", name, place.name), self._augmentation, name, place)
        return list(dict.fromkeys(found))

    def _once(self, key: Any, check: Any, *arguments: Any) -> list[str]:
        if key not in self._known:
            self._known[key] = check(*arguments)
        return self._known[key]

    def _model(self, name: str, column: Column, place: Place) -> list[str]:
        if not name:
            return []
        model = self.plan.manifest.models[name]
        try:
            spec = self.plan.spec(name, column)
            backbone = parse_backbone(spec)
        except UsageError as error:
            return [f"model {name}: {error}" + (f" ({model.note})" if model.note else "")]
        if "device" in settings_of(backbone) and importlib.util.find_spec("torch") is None:
            return ["torch is not installed: pip install 'hf-mner-aug[models]'"]
        lacking = []
        if not self.plan.choices.smoke:
            measured = choose_task({place.name: place.splits["train"].features}, [backbone]).name
            if measured != MEASURED[column.metric]:
                boxes = " (the set has no boxes, or this backbone gives none)" if "triples" in column.metric else ""
                return [
                    f"model {name}: {measured} would be measured, and the table has {MEASURED[column.metric]}{boxes}"
                ]
        if backbone.reads_images and not place.pictured:
            lacking.append(_no_pictures(place))
        lacking += filter(None, (weights_missing(found.id) for found in spec_models(spec)))
        if (memory := gpu_memory()) and memory < model.gpu_gb and name not in self.plan.choices.models:
            lacking.append(f"model {name} takes a GPU with about {model.gpu_gb} GB, this one has {memory}")
        return lacking

    def _augmentation(self, name: str, place: Place) -> list[str]:
        augmentation, own = self.plan.manifest.augmentations[name], self.plan.own_params(name)
        needs = {} if self.plan.choices.smoke or self.plan.choices.preset == "embedded" else augmentation.needs
        if unmet := [
            f"{name} needs --set {name}.{param}=…: {told}" for param, told in needs.items() if param not in own
        ]:
            return unmet
        if self.plan.choices.preset == "embedded" and (
            lost := [one for one in OF_THE_PAPER if one in augmentation.params]
        ):
            return [f"{name} is about {', '.join(lost)}, which the preset embedded has no models for"]
        try:
            method = self.plan.recipe(name, place).build()
            hosts = hosts_of(method).values()
        except UsageError as error:
            return [f"{name}: {error}"]
        corpus = getattr(method, "corpus", "")
        if corpus == "serper" and not os.environ.get("SERPER_API_KEY"):
            return [f"{name} searches the web by serper.dev, with the key in SERPER_API_KEY, which is not set"]
        lacking = [
            f"{name} sends posts to {host.origin} with the key in {host.key}, which is not set"
            for host in hosts
            if host.key and not os.environ.get(host.key)
        ]
        if method.mode == "replace" and not place.pictured:
            lacking.append(_no_pictures(place))
        if method.models and (memory := gpu_memory()) < augmentation.gpu_gb:
            has = f"this one has {memory}" if memory else "there is none"
            lacking.append(f"{name} with its models takes a GPU with about {augmentation.gpu_gb} GB: {has}")
        return lacking

    def notes(self) -> list[str]:
        """Return what is to be known of the sets of the cells that can run."""
        told: list[str] = []
        for name in dict.fromkeys(cell.column for cell in self.plan.runnable):
            column = self.plan.manifest.columns[name]
            place = self.plan.sets.place(column)
            if not self.plan.choices.smoke:
                told += place.differences(column)
            told += [] if place.pictured else [f"{column.title}: no post has its picture: methods use texts alone"]
            if place.known and place.known.note:
                told.append(f"{column.title}: {place.known.note.strip()}")
        return list(dict.fromkeys(told))


def _no_pictures(place: Place) -> str:
    return (
        f"no picture of {place.set}: put the folder images into that of the set, with files named by id"
        f" (of a converted set: hf-mner-aug convert {place.set} RAW --images DIR)"
    )


def _first_columns(manifest: Manifest, cells: list[Cell]) -> list[Cell]:
    """Return the cells of the first column of each sample set and group, which stands for the others."""
    first: dict[tuple[str, str], str] = {}
    for cell in cells:
        column = manifest.columns[cell.column]
        first.setdefault((_sample_kind(column), column.group), cell.column)
    return [cell for cell in cells if cell.column in first.values()]


def _sample_kind(column: Column) -> str:
    """Return the name of the sample set that stands for a set in a smoke run."""
    return {"entities": "mner", "relations": "mre"}.get(column.metric, "gmner")


def _with_settings(spec: str, settings: Mapping[str, Any]) -> str:
    told = ",".join(f"{name}={value}" for name, value in settings.items())
    return spec if not told else f"{spec}{',' if ':' in spec else ':'}{told}"


def _smoke_backbone(model: Model, column: Column) -> str:
    """Return a tiny backbone in place of a model; a CRF for one that this version lacks, or without torch."""
    relations = column.metric == "relations"
    name = (model.relations or model.backbone).partition(":")[0] if relations else model.backbone
    torch = importlib.util.find_spec("torch") is not None
    spec = SMOKE_BACKBONES.get(name) if torch else None
    if spec is None:
        return SMOKE_BACKBONES["relation_features" if relations else "crf"]
    return f"{spec},task=relations" if relations and name in ("umt", "hvpnet", "mkgformer") else spec


def _smoke_params(method: str) -> dict[str, Any]:
    """Return parameters that make a method quick."""
    quick: dict[str, dict[str, Any]] = {
        "daga": {"epochs": 8, "embedding": 16, "hidden": 16},
        "melm": {"encoder": "tiny", "epochs": 1},
        "memory_hard": {"folds": 2, "seeds": 1, "detectors": 1, "target": "crf:iterations=5"},
        "rmda": {"detectors": 1},
    }
    return quick.get(method, {})


def told_deviations(cls: type[Method] | type[Backbone]) -> str:
    """Return the deviations from the paper that the header of a method or backbone states; empty without any."""
    text = sys.modules[cls.__module__].__doc__ or ""
    _, found, rest = text.partition("Deviates:")
    return " ".join(rest.partition("\nRejects:")[0].partition("\n\n")[0].replace("``", "").split()) if found else ""
