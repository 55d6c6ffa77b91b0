"""Recommends a method, its amount and its weight for a set and a backbone, from the train split alone.

Beside the folder OUT lies ``OUT.studies/recommend-<backbone>-<fingerprint>/``: study.json (the inputs), fold-N/cells/
(one file for each training) and runs.json. After a kill, or with a larger budget, the same command continues there.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hf_mner_aug import __version__
from hf_mner_aug.backbones import Backbone
from hf_mner_aug.backbones.settings import parse_backbone, settings_of
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.progress import progress_bar
from hf_mner_aug.recommending.candidates import COPIES, WEIGHTS, Candidate, list_candidates
from hf_mner_aug.recommending.cells import FOLDS, Cells, share_posts
from hf_mner_aug.recommending.race import Race
from hf_mner_aug.recommending.report import Recommendation
from hf_mner_aug.runs.engines import Engine
from hf_mner_aug.runs.ledger import beside
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.runs.subset import check_ids, choose_subset, read_ids
from hf_mner_aug.schema import Codec, canonical_json
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.splits import named_splits
from hf_mner_aug.stopping import keeping
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.fingerprint import content_fingerprint
from hf_mner_aug.studies.page import record_run, spell_command
from hf_mner_aug.studies.study import check_seeds, studying_engine
from hf_mner_aug.studies.tasks import Relations, Task, choose_task
from hf_mner_aug.transform import Method, iterate_posts

if TYPE_CHECKING:
    from datasets import Dataset

BUDGET = "30m"
SEEDS = (0, 1, 2)
_TIME = re.compile(r"(?:([0-9]{1,4})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?")


def recommend(
    source: Any,
    *,
    out: str | Path,
    budget: str = BUDGET,
    usd: float | None = None,
    backbone: str | None = None,
    settings: Sequence[str] = (),
    methods: Sequence[str] = (),
    recipes: Sequence[str | Path] = (),
    copies: Sequence[int] = COPIES,
    weights: Sequence[float] = WEIGHTS,
    seeds: Sequence[int] = SEEDS,
    fraction: float = 1.0,
    subset_seed: int = 0,
    ids_train: str | Path | Sequence[str] | None = None,
    images: str | Path | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
    progress: bool = True,
    engine: str | Engine | None = None,
    ask: Callable[[Sequence[Method]], None] | None = None,
) -> Recommendation:
    """Find the method, amount and weight that help a backbone most on a set, by the posts of its train split alone.

    Candidates are compared by cross-validation in train: posts are made from the train part of a fold, checked against
    its other parts, and the trained model is scored on gold posts held out. Rounds on one half of the folds leave one
    candidate, which is compared with gold, as it is and repeated to equal size, on the other half. If it is not shown
    to be better than both, the answer is gold.

    Args:
        source: a folder, a Hub id or splits; other splits than train are not read.
        out: the folder for recommendation.html, .md and .json, and recipe.yaml if a recipe is recommended.
        budget: the time of all trainings together, as ``90s``, ``30m`` or ``1h30m``; a larger one continues.
        usd: the most that calls may cost; needed where a candidate makes paid calls.
        backbone: its name, or ``name:setting=value,…`` (default: ``crf``; ``relation_features`` for relations).
        settings: NAME=VALUE.
        methods: as ``lsms`` or ``lsms:ratio=0.2``; by default all that can take part without a download or a key.
        recipes: YAML files of further candidates, which are tried as they are.
        copies: amounts of each method, as new posts for each post.
        weights: of made posts in training; 1 is none.
        seeds: of the final comparison, of models and augmentation.
        fraction: the part of train to use, as ``augment`` draws it.
        subset_seed: draws it.
        ids_train: the ids of the train posts to use, or a file of them.
        images: a further folder that pictures named by the source may be read from.
        columns: the source's names for columns of ours.
        progress: show a bar.
        engine: what trains the models: ``local`` or ``ray``, as of ``evaluate``.
        ask: called with the candidates' methods before any work; it may raise.

    Raises:
        UsageError: a name or value is wrong, there are too few posts, nothing to score, or paid calls without ``usd``.
    """
    seconds = parse_time(budget)
    working = studying_engine(engine)
    check_seeds(seeds, (), False)
    if usd is not None and not 0 <= usd < float("inf"):
        raise UsageError(f"usd must be at least 0, found {usd}")
    ids = read_ids(Path(ids_train)) if isinstance(ids_train, str | Path) else tuple(ids_train or ())
    chosen = Recipe(method="", fraction=fraction, subset_seed=subset_seed, ids_train=ids or None)
    train = read_train(source, chosen, images, columns)
    name = str(source) if isinstance(source, str | Path) else "splits"
    model = parse_backbone(backbone or choose_task({name: train.features}).backbone, settings)
    if getattr(model, "weight", None) is not None or model.boundary:
        raise UsageError("leave weight and boundary out: weights are part of the race, and types are scored")
    task = choose_task({name: train.features}, [model])
    fold_of = share_posts(train)
    check_labels(train, task)
    candidates, left_out = list_candidates(
        methods,
        recipes,
        copies=copies,
        weights=weights,
        weighs="weight" in model.__dataclass_fields__,
        images=model.reads_images,
    )
    built = [candidate.method for candidate in candidates]
    if paid := sorted({method.name for method in built if method.costs} if usd is None else ()):
        raise UsageError(f"{', '.join(paid)}: calls may cost money, say with --usd how much at most")
    if ask:
        ask(built)
    cells = open_cells(Path(out), train, fold_of, candidates, model, task, usd)
    times = (1,) if model.training else tuple(sorted({1, *(1 + c.recipe.copies for c in candidates if not c.replaces)}))
    race = Race(cells, times, seeds, working, seconds)
    run_race(race, progress)
    options = {
        "--budget": budget,
        "--usd": usd,
        "--backbone": backbone or model.name,
        "--set": settings,
        "--methods": methods,
        "--recipes": recipes,
        "--copies": () if tuple(copies) == COPIES else copies,
        "--weights": () if tuple(weights) == WEIGHTS else weights,
        "--seeds": () if tuple(seeds) == SEEDS else seeds,
        "--fraction": None if fraction == 1 else fraction,
        "--subset-seed": subset_seed or None,
        "--ids-train": ids_train if isinstance(ids_train, str | Path) else None,
        "--out": out,
    }
    found = Recommendation.of(race, Path(out), left_out, spell_command("recommend", name, options), settings_of(model))
    subset: dict[str, Any] = {"fraction": fraction, "subset_seed": subset_seed} if fraction < 1 else {}
    subset |= {"ids_train": list(ids)} if ids else {}
    subset |= {"columns": dict(columns)} if columns else {}
    found.write(subset)
    return found


def parse_time(text: str) -> int:
    """Return a time such as ``90s``, ``30m`` or ``1h30m`` in seconds.

    Raises:
        UsageError: it is none.
    """
    found = _TIME.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    if not (total := 3600 * hours + 60 * minutes + seconds):
        raise UsageError(f"budget {text!r}: expected a time such as 90s, 30m or 1h30m")
    return total


def read_train(source: Any, chosen: Recipe, images: str | Path | None, columns: Mapping[str, str]) -> "Dataset":
    """Return the train posts of a source that are used.

    Raises:
        UsageError: there is no train split, or it has made posts; otherwise as ``load_source``.
    """
    from datasets import DatasetDict

    named = isinstance(source, str | Path)
    splits = (
        load_source(str(source), images=images, columns=columns) if named else named_splits(source, columns=columns)
    )
    if "train" not in splits:
        raise UsageError(f"expected a train split, found {', '.join(splits)}")
    train = choose_subset(DatasetDict({"train": splits["train"]}), chosen)["train"]
    if {"source_id", "method"} <= set(train.column_names) and {*train["method"][:]} - {"gold", None, ""}:
        raise UsageError("train has made posts: name the set that they were made from")
    check_ids(DatasetDict({"train": train}))
    return train


def check_labels(train: "Dataset", task: Task) -> None:
    """Raise UsageError unless train has enough of what is scored to compare anything by."""
    posts = list(iterate_posts(train, Codec(train.features)))
    n_spans = sum(len(task.gold(post)) for post in posts)
    if n_spans < FOLDS:
        raise UsageError(f"train has {n_spans} {task.entities}: expected at least {FOLDS}, one for each fold")
    relations = {post.relation.type for post in posts if post.relation} if isinstance(task, Relations) else ()
    if len(relations) == 1:
        raise UsageError(
            f"every post of train has the relation {next(iter(relations))}: there is nothing to tell apart"
        )


def open_cells(
    out: Path,
    train: "Dataset",
    fold_of: Sequence[int],
    candidates: Sequence[Candidate],
    backbone: Backbone,
    task: Task,
    usd: float | None,
) -> Cells:
    """Return the trainings of a race, and write their study.json; budgets are no inputs, so a larger one continues."""
    inputs = {
        "backbone": backbone.name,
        "candidates": {c.name: replace(c.recipe, source="").fingerprint for c in candidates},
        "folds": fold_of,
        "gold": content_fingerprint({"train": train}),
        "settings": settings_of(backbone),
        "task": task.name,
        "version": __version__,
    }
    digest = hashlib.sha256(canonical_json(inputs).encode()).hexdigest()
    folder = beside(out, "studies") / f"recommend-{backbone.name}-{digest[:8]}"
    artifacts.write_atomically(folder / "study.json", json.dumps(inputs, indent=2, sort_keys=True).encode())
    if backbone.training:
        most = max((c.recipe.copies for c in candidates if not c.replaces), default=0)
        n_train = len(train) - 2 * (len(train) // FOLDS)
        steps = backbone.training.n_steps((1 + most) * n_train)
        stepped: Any = replace(backbone, training=replace(backbone.training, steps=steps))
        backbone = stepped
    return Cells(folder, out, train, fold_of, candidates, backbone, task, digest, usd)


def run_race(race: Race, progress: bool) -> None:
    """Run a race under a bar of its seconds, and record the trainings of this run."""
    before = race.cells.n_kept
    told = "{desc} {n:.0f} of {total} s {postfix}"
    bar = progress_bar(shown=progress, total=round(race.budget), unit="s", delay=0, bar_format=told)

    def on_cell(key: str) -> None:
        bar.n = race.spent.seconds
        bar.set_postfix_str(key.replace("/cells/", ": "))

    race.on_cell = on_cell
    try:
        with bar, keeping(lambda: f"{race.cells.n_kept} trainings kept; the same command goes on"):
            race.run()
    finally:
        if made := race.cells.n_kept - before:
            record_run(race.cells.folder, made)
