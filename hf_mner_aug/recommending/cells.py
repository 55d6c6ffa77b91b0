"""The cells of a race: trainings on the train part of a fold, scored on its held-out gold posts.

Each fold is a study of its own (``studies.study``): its test split are the posts held out, its validation split those
of the next fold, and train has all others, from which alone posts are made. So the cells are those of ``evaluate``.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

from hf_mner_aug.backbones import Backbone
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.metrics.spans import post_counts
from hf_mner_aug.models.endpoint import engine as endpoints
from hf_mner_aug.models.matching.pairs import group_by_keys
from hf_mner_aug.models.search import fetching as webs
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.recommending.candidates import OF_THE_USER, Candidate
from hf_mner_aug.runs.engines import Engine
from hf_mner_aug.runs.engines.ray import Ray
from hf_mner_aug.runs.parts import difference
from hf_mner_aug.schema import Codec, raw_id
from hf_mner_aug.storage import artifacts
from hf_mner_aug.studies.configs import Config, GoldSet
from hf_mner_aug.studies.study import AUGMENTED, GOLD, OVERSAMPLED, Cell, CellRecord, Study
from hf_mner_aug.studies.tasks import Task
from hf_mner_aug.transform import iterate_posts
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, DatasetDict

FOLDS = 10
FEWEST = 2 * FOLDS  # different posts
FOLD = "fold"  # the name of its gold posts
WEIGHT = "weight"


class Trained(CellRecord):
    """The content of a cell's file: with the cost of calls in USD, and the warnings while it was made."""

    usd: NotRequired[float]
    told: NotRequired[list[str]]


@dataclass(frozen=True)
class Job:
    """A training: the fold, the cell, the size up to which gold posts are repeated, and whether weights are read."""

    fold: int
    cell: Cell
    size: int = 0
    weighted: bool = False

    @property
    def key(self) -> str:
        """The name of its file, without the ending."""
        return f"fold-{self.fold}/cells/{self.cell.stem}"


@dataclass
class Cells:
    """The trainings of a race, kept one by one in a folder.

    Args:
        folder: of the race.
        out: the folder beside which runs lie.
        train: the gold posts.
        fold_of: the fold of each [n_posts].
        candidates: all of them.
        backbone: the model, with the number of steps that all trainings have.
        task: what is scored.
        fingerprint: of all inputs.
        usd: the most that calls may cost, all together.
        dropped: why a candidate failed, by its name.
    """

    folder: Path
    out: Path
    train: "Dataset"
    fold_of: Sequence[int]
    candidates: Sequence[Candidate]
    backbone: Backbone
    task: Task
    fingerprint: str
    usd: float | None = None

    def __post_init__(self) -> None:
        self.dropped: dict[str, str] = {}
        self._studies: dict[int, Study] = {}
        self._records: dict[str, Trained] = {}

    # ------------------------------------------------------------ folds

    def study(self, fold: int) -> Study:
        """Return the study of a fold."""
        if fold not in self._studies:
            gold = self.split(fold)
            configs = []
            for candidate in self.candidates:
                config = Config(candidate.name, candidate.recipe, "", gold, len(gold["train"]), 0)
                config.__dict__["gold"] = gold  # the cached property: train has no made posts here
                configs.append(config)
            self._studies[fold] = Study(
                self.folder / f"fold-{fold}",
                self.out,
                configs,
                self.backbone,
                seeds=(0,),
                split="test",
                grid=False,
                fingerprint=self.fingerprint,
                task=self.task,
                alone=GoldSet(FOLD, gold, ""),
            )
        return self._studies[fold]

    def split(self, fold: int) -> "DatasetDict":
        """Return the posts of a fold as splits: test is held out, validation is the next fold."""
        from datasets import DatasetDict

        n_folds = max(self.fold_of) + 1
        where = {fold: "test", (fold + 1) % n_folds: "validation"}
        rows: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
        for i, found in enumerate(self.fold_of):
            rows[where.get(found, "train")].append(i)
        return DatasetDict({name: self.train.select(chosen) for name, chosen in rows.items()})

    def groups(self, folds: Sequence[int]) -> list[str] | None:
        """Return the groups of held-out posts that a bootstrap draws together; None if each post is one."""
        found = [self.task.groups(_posts(self.study(fold).posts)) for fold in folds]
        return None if any(part is None for part in found) else [name for part in found for name in part or ()]

    def n_gold(self, fold: int) -> int:
        """Return the number of gold posts that models of a fold are trained on."""
        return len(self.study(fold).golds[FOLD].gold["train"])

    # ------------------------------------------------------------ jobs

    def gold(self, fold: int, times: int, seed: int) -> Job:
        """Return the training on gold posts, each repeated some times."""
        if times == 1:
            return Job(fold, Cell(GOLD, "gold", FOLD, seed))
        cell = Cell(OVERSAMPLED, f"gold_x{times}", self.candidates[0].name, seed)
        return Job(fold, cell, times * self.n_gold(fold))

    def augmented(self, fold: int, candidate: Candidate, seed: int) -> Job:
        """Return the training on a candidate's posts."""
        return Job(fold, Cell(AUGMENTED, candidate.name, candidate.name, seed), weighted=candidate.weighted)

    def equal(self, fold: int, candidate: Candidate, seed: int) -> Job:
        """Return the training on gold posts repeated to the number of a candidate's, which is trained already."""
        like = self.read(self.augmented(fold, candidate, seed))
        assert like is not None
        return Job(fold, Cell(OVERSAMPLED, f"equal_to_{candidate.name}", candidate.name, seed), like["train_posts"])

    # ------------------------------------------------------------ results

    def read(self, job: Job) -> Trained | None:
        """Return the result of a training, or None."""
        if job.key not in self._records:
            try:
                record: Trained = read_json(self.folder / f"{job.key}.json", Trained)
            except (FileNotFoundError, DataError):
                return None
            if record["study"] != self.fingerprint or len(record["predictions"]) != len(self.study(job.fold).posts):
                return None
            self._records[job.key] = record
        return self._records[job.key]

    def counts(self, jobs: Sequence[Job]) -> "np.ndarray":
        """Return correct, predicted and gold spans of the posts held out by some trainings [n_posts, 3]."""
        import numpy as np

        parts = []
        for job in jobs:
            record = self.read(job)
            assert record is not None
            parts.append(post_counts(record["predictions"], self.study(job.fold).references))
        return np.concatenate(parts)

    @property
    def n_kept(self) -> int:
        """The number of trainings that are there."""
        return len([*self.folder.glob("fold-*/cells/*.json")])

    # ------------------------------------------------------------ training

    def train_jobs(
        self, jobs: Sequence[Job], engine: Engine, spent: "Spent", limit: float, on_cell: Any = lambda key: None
    ) -> None:
        """Train those that are missing, in order, until the spent time reaches a limit.

        A job of a candidate that has failed, or may not pay any more, is left out.
        """
        for job in jobs:
            if record := self.read(job):
                spent.add(job, record)
        missing = [job for job in jobs if self.read(job) is None]
        for job, content in self._trained(missing, engine, lambda: spent.seconds < limit, spent):
            if isinstance(content, str):
                self.dropped.setdefault(job.cell.config, content)
                continue
            artifacts.write_atomically(self.folder / f"{job.key}.json", content)
            if record := self.read(job):
                spent.add(job, record)
            on_cell(job.key)

    def _trained(
        self, jobs: Sequence[Job], engine: Engine, goes_on: Any, spent: "Spent"
    ) -> Iterator[tuple[Job, bytes | str]]:
        def wanted(job: Job) -> bool:
            if job.cell.kind != AUGMENTED:
                return True
            name = job.cell.config
            candidate = next(candidate for candidate in self.candidates if candidate.name == name)
            if candidate.method.costs and self.usd is not None and spent.usd >= self.usd:
                self.dropped.setdefault(name, f"the budget of USD {self.usd:g} ended")
            return name not in self.dropped

        if not isinstance(engine, Ray):
            for job in jobs:
                if not goes_on():
                    return
                if wanted(job):
                    yield job, _train(self._shared({job.fold: self.study(job.fold)}, spent), job)
            return
        if not goes_on():
            return
        with engine.session() as session:
            for candidate in self.candidates:
                session.check(candidate.method)
            chosen = {job.key: job for job in jobs if wanted(job)}
            studies = {job.fold: self.study(job.fold) for job in chosen.values()}
            if session.spread:
                studies = {fold: study._by_value() for fold, study in studies.items()}
            on_gpu = self.backbone.training is not None
            for key, content in session.call(_train, self._shared(studies, spent), chosen, on_gpu=on_gpu):
                yield chosen[key], content
                if not goes_on():
                    return

    def _shared(self, studies: Mapping[int, Study], spent: "Spent") -> "Shared":
        reads: Any = "weight" in self.backbone.__dataclass_fields__
        weighted: Any = replace(self.backbone, weight=WEIGHT) if reads else self.backbone
        left = None if self.usd is None else max(0.0, self.usd - spent.usd)
        return Shared(studies, {False: self.backbone, True: weighted}, left)


@dataclass(frozen=True)
class Shared:
    """What trainings share: the studies by fold, the backbone by whether it reads weights, the USD that are left."""

    studies: Mapping[int, Study]
    models: Mapping[bool, Backbone]
    usd: float | None


@dataclass
class Spent:
    """The seconds and USD of trainings, each counted once, those of earlier runs included."""

    seconds: float = 0.0
    usd: float = 0.0

    def __post_init__(self) -> None:
        self._counted: set[str] = set()

    def add(self, job: Job, record: Trained) -> None:
        """Count a training."""
        if job.key not in self._counted:
            self._counted.add(job.key)
            self.seconds += record["seconds"]
            self.usd += record.get("usd", 0.0)


def share_posts(train: "Dataset", seed: int = 0) -> list[int]:
    """Return the fold of each post [n_posts]; posts of one text, picture or tweet share a fold, also indirectly.

    Raises:
        UsageError: there are too few different posts.
    """
    from sklearn.model_selection import GroupKFold

    posts = iterate_posts(train, Codec(train.features), images=True)
    groups = group_by_keys(
        [
            [("text", text_key(post.tokens)), ("tweet", raw_id(post.id)), *filter(None, map(image_digest, post.images))]
            for post in posts
        ]
    )
    if (different := len(set(groups.tolist()))) < FEWEST:
        raise UsageError(
            f"train has {different} different posts: expected at least {FEWEST}, since fewer cannot tell one method "
            "from another"
        )
    fold_of = [0] * len(groups)
    for fold, (_, held_out) in enumerate(
        GroupKFold(FOLDS, shuffle=True, random_state=seed).split(groups, groups=groups)
    ):
        for i in held_out.tolist():
            fold_of[i] = fold
    return fold_of


# ---------------------------------------------------------------- inside


def _posts(rows: "Dataset") -> Iterator[Any]:
    return iterate_posts(rows, Codec(rows.features))


def _train(shared: Shared, job: Job) -> bytes | str:
    """Train a cell and return the content of its file, or why its candidate cannot take part."""
    study = replace(shared.studies[job.fold])
    study.__dict__["chosen"] = shared.models[job.weighted]
    method = next((config.method for config in study.configs if config.name == job.cell.config), None)
    costs = method.costs if method and job.cell.kind == AUGMENTED else None
    before = costs.usage() if costs else {}
    with warnings.catch_warnings(record=True) as caught, _paying(shared.usd if costs else None):
        warnings.simplefilter("always")
        try:
            content = study.train(job.cell, job.size)
        except OF_THE_USER:
            raise
        except UsageError as error:
            if job.cell.kind != AUGMENTED:
                raise
            return str(error)
    told = sorted({str(one.message) for one in caught if issubclass(one.category, UserWarning)})
    for one in caught:
        if not issubclass(one.category, UserWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    more: dict[str, Any] = {"told": told} if told and job.cell.kind == AUGMENTED else {}
    if costs:
        more["usd"] = difference(before, costs.usage()).get("usd", 0.0)
    return json.dumps({**json.loads(content), **more}, separators=(",", ":")).encode() if more else content


@contextlib.contextmanager
def _paying(usd: float | None) -> Iterator[None]:
    """Let calls of this process cost at most so much in USD."""
    if usd is None:
        yield
        return
    before = {name: os.environ.get(name) for name in (endpoints.SETTINGS, webs.SETTINGS)}
    try:
        for name, settings in before.items():
            os.environ[name] = ",".join(filter(None, [settings, f"usd={usd:.6f}"]))
        yield
    finally:
        for name, settings in before.items():
            if settings is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = settings
