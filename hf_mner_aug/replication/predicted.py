"""What a trained model of a table said of test posts, as an HTML page: from the study that the table keeps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.methods import method_class
from hf_mner_aug.pages.config import spread, write_page
from hf_mner_aug.pages.predictions import Said, read_said
from hf_mner_aug.replication.manifests import open_manifest
from hf_mner_aug.replication.page import Table
from hf_mner_aug.replication.preflight import Choices, Sets
from hf_mner_aug.schema import Codec, Entity
from hf_mner_aug.storage.parquet import shards
from hf_mner_aug.studies.study import CellRecord
from hf_mner_aug.studies.tasks import ENTITIES, FINE, NONE, TASKS, Grounded, Relations, Task
from hf_mner_aug.transform import iterate_posts
from hf_mner_aug.untrusted.names import is_name
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 20  # posts


def show_cell(
    paper: str,
    table: str,
    cell: str,
    *,
    out: str | Path,
    data: str | Path = "",
    smoke: bool = False,
    seed: int | None = None,
    phrase: str = "",
    posts: int = SHOWN,
) -> Path:
    """Write what the model of a cell said of test posts, beside their labels, and return the page's path.

    Nothing is trained: the predictions are those that the run of the table kept.

    Args:
        paper: as ``gmda``.
        table: as ``table2``.
        cell: as ``mmt5+gmda@t15_10pct``.
        out: the folder that the table was run in; the page is ``<cell>.html`` beside the table.
        data: the folder of the sets, as for the run.
        smoke: show the smoke run.
        seed: of the training that is shown (default: the first).
        phrase: words that a post has to have.
        posts: how many posts, evenly spread.

    Raises:
        UsageError: the table or the cell was not run, the cell has no trained model, the set is not there, or no post
            has the phrase.
        DataError: the predictions are of other posts than the set's.
    """
    if posts < 1:
        raise UsageError(f"expected at least 1 post, found {posts}")
    folder, manifest = Path(out) / f"{paper}-{table}", open_manifest(paper, table)
    cells = {found["cell"]: found for found in Table.read(folder, smoke=smoke).data["cells"]}
    if cell not in cells:
        raise UnknownName(f"cell that was run of {manifest.name}", cell, cells)
    found = cells[cell]
    if not found["trained"]:
        raise UsageError(f"{cell} has no trained model" + (f": {found['reason']}" if found["reason"] else ""))
    if not data and not smoke:
        raise UsageError("name the folder of the sets with --data, as for the run")
    row, _, column = cell.partition("@")
    place = Sets(Choices(Path(data), Path(out), smoke=smoke), dry_run=True).place(manifest.columns[column])
    stem = _training(found["trained"], seed)
    study = Path(out) / found["study"]
    if not is_name(stem) or not study.resolve().is_relative_to(Path(out).resolve()):
        raise DataError(f"{folder}: {cell}: the training {found['study']} {stem} is not one of {out}")
    asked = read_json(study / "study.json", dict[str, Any])
    kept = read_json(study / "cells" / f"{stem}.json", CellRecord, advice="run the cell again")["predictions"]
    task, rows = TASKS[asked.get("task", ENTITIES.name)], place.splits[asked["split"]]
    if len(kept) != len(rows):
        raise DataError(f"{cell}: predictions of {len(kept)} posts, and {place.name} has {len(rows)}: run it again")
    chosen = spread([i for i, tokens in enumerate(rows["tokens"]) if phrase in " ".join(tokens)], posts)
    if not chosen:
        raise UsageError(f"no {asked['split']} post of {place.name} has the words {phrase!r}")
    said = _said(task, rows.select(chosen), [kept[i] for i in chosen])
    augmentation = manifest.rows[row].augmentation
    shown = rows.select(chosen)
    if augmentation and method_class(manifest.augmentations[augmentation].method).mode == "replace":
        config = folder / ("smoke" if smoke else "run") / f"{augmentation}_{place.name}"
        shown = _as_made(config, asked["split"], shown)
    told: dict[str, Any] = {"backbone": f"{asked['backbone']}: {cell}, {stem}", "source": place.name}
    told |= {"split": asked["split"], "total": len(rows), "relations": isinstance(task, Relations)}
    told |= {"grounded": isinstance(task, Grounded), "fine": task.column == FINE.column}
    return write_page(folder / f"{cell}.html", lambda: read_said(shown, said, **told).to_html())


# ---------------------------------------------------------------- inside


def _training(trained: Sequence[str], seed: int | None) -> str:
    """Return the name of the training with a seed; by default of the first."""
    seeds = {name.rpartition("-")[2]: name for name in trained}
    if seed is not None and str(seed) not in seeds:
        raise UnknownName("seed", str(seed), seeds)
    return trained[0] if seed is None else seeds[str(seed)]


def _said(task: Task, rows: "Dataset", predictions: Sequence[Sequence[Any]]) -> list[Said]:
    """Return the kept predictions of posts as a page shows them; a grounded one has no box, but whether it is right."""
    found = []
    for post, spans in zip(iterate_posts(rows, Codec(rows.features)), predictions, strict=True):
        if isinstance(task, Relations):
            found.append(Said(relation=spans[0][2] if spans else NONE))
            continue
        regions = {span[:2]: span[3] for span in task.gold(post) if len(span) == 4}
        wrong = {
            tuple(span[:2]) for span in spans if len(span) == 4 and span[3] != regions.get(tuple(span[:2]), span[3])
        }
        found.append(Said(tuple(Entity(*span[:3]) for span in spans), misplaced=frozenset(wrong)))
    return found


def _as_made(config: Path, split: str, posts: "Dataset") -> "Dataset":
    """Return posts with the pictures that a config's method gave them; as they are where it made none."""
    from datasets import Dataset

    files = shards(config, split)
    if not files:
        return posts
    made = Dataset.from_parquet([str(file) for file in files])
    places = {name: i for i, name in enumerate(made["id"])}
    return made.select([places[name] for name in posts["id"]]) if set(posts["id"]) <= {*places} else posts
