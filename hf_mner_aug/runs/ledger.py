"""Makes a recipe part by part, so that a run can be killed at any time and resumed.

A run lives beside the output folder, in ``OUT.runs/<config>-<recipe>/``: recipe.json, fit/ (the learnt state),
parts/ and rejected/ (Parquet, one file a part, and a note that says it is whole), run.json (its cost). Several
processes, the ranks, share the parts: of three, rank 1 makes parts 1, 4, 7 …; a run without a rank finds what all made,
makes what is missing, and can be published. With a ``storage``, the run lives there, and each process keeps a copy of
the parts it needs beside its own output folder.
"""

import json
import os
import platform
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hf_mner_aug.columns import unknown as other_columns
from hf_mner_aug.columns.labels import encode
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.progress import progress_bar
from hf_mner_aug.runs.engines import Engine, Work, open_engine
from hf_mner_aug.runs.funnel import nothing_made
from hf_mner_aug.runs.parts import (
    Part,
    kept_parts,
    missing_parts,
    part_note,
    plan,
    read_rows,
    reject_features,
    rows_table,
)
from hf_mner_aug.runs.ranks import check_rank, claim_config, claim_run, release_config
from hf_mner_aug.runs.recipe import Recipe, named_method, recipe_for
from hf_mner_aug.runs.subset import resolve
from hf_mner_aug.runs.versions import library_versions
from hf_mner_aug.sources.loading import open_source
from hf_mner_aug.sources.splits import named_splits
from hf_mner_aug.stopping import keeping
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.locks import sweep
from hf_mner_aug.storage.picture_columns import embed
from hf_mner_aug.storage.picture_files import Allowed
from hf_mner_aug.storage.shared import Folder, open_store
from hf_mner_aug.transform import Made, Method, iterate_rows
from hf_mner_aug.transform.columns import check_keep, id_suffix, keep_columns

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict


@dataclass(frozen=True)
class Run:
    """A finished run, or one rank's share of it: its folder, recipe, fitted method and gold posts."""

    folder: Path
    recipe: Recipe
    method: Method
    gold: "DatasetDict"
    rank: int = 0
    world_size: int = 1

    @property
    def parts(self) -> list[Part]:
        """The run's parts, in order; of a rank, its own."""
        return plan(self.recipe, self.method, self.gold)[self.rank :: self.world_size]

    @property
    def dataset(self) -> "Dataset":
        """The rows made, in the order of their posts: those that ``Dataset.map`` of the method gives."""
        return self._made_of(self.parts)

    def made_of(self, split: str) -> "Dataset":
        """Return the rows made of a split's posts, in their order."""
        return self._made_of([part for part in self.parts if part.split == split])

    def n_made_of(self, split: str) -> int:
        """Return how many rows were made of a split's posts."""
        return sum(part_note(self.folder, part)["made"] for part in self.parts if part.split == split)

    def tables(self, split: str) -> Iterator["pa.Table"]:
        """Yield the rows made of a split's posts, part by part."""
        import pyarrow.parquet as pq

        for part in self.parts:
            if part.split == split:
                yield pq.read_table(self.folder / "parts" / f"{part.stem}.parquet")

    def _made_of(self, parts: list[Part]) -> "Dataset":
        return read_rows([self.folder / "parts" / f"{part.stem}.parquet" for part in parts], self.method.features)

    @property
    def rejects(self) -> "Dataset":
        """The posts that could not be rewritten: source_id, copy, reason, detail."""
        paths = [self.folder / "rejected" / f"{part.stem}.parquet" for part in self.parts]
        return read_rows(paths, reject_features())

    @property
    def counts(self) -> dict[str, Any]:
        """Posts in, rows made, rejects by reason, posts with nothing to do, the cost of calls, exceeded limits."""
        notes = [part_note(self.folder, part) for part in self.parts]
        reasons: Counter[str] = Counter()
        limits: Counter[str] = Counter()
        for note in notes:
            reasons.update(note["rejected"])
            limits.update(note.get("limits", {}))
        usage = _usage(notes)
        return {
            "posts": sum(note["posts"] for note in notes),
            "made": sum(note["made"] for note in notes),
            "rejected": dict(sorted(reasons.items())),
            **({"idle": sum(note["idle"] for note in notes)} if all("idle" in note for note in notes) else {}),
            **({"usage": usage} if usage else {}),
            **({"limits": dict(sorted(limits.items()))} if limits else {}),
        }

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns that the method does not know, by their values in made rows (``columns.unknown``)."""
        return other_columns.merged(part_note(self.folder, part).get("columns", {}) for part in self.parts)


def augment(
    source: Any,
    method: Method | str,
    *,
    out: str | Path | None = None,
    num_proc: int = 1,
    engine: str | Engine | None = None,
    progress: bool = True,
    rank: int | None = None,
    world_size: int | None = None,
    storage: str | None = None,
    images: str | Path | None = None,
    trust_image_paths: bool = False,
    keep: Iterable[str] = (),
    columns: Mapping[str, str] = MappingProxyType({}),
    **chosen: Any,
) -> Run:
    """Make the rows that ``Dataset.map`` of a method makes, with checks and rejects kept, resumably.

    Where it makes none, a warning says why and what to do.

    Args:
        source: a dataset, a dict of splits, a folder or a Hub id.
        method: it is fitted on the gold train posts, unless it is fitted already; a name (``lsms``,
            ``lsms:ratio=0.2``) or ``package.module:Class`` stands for one.
        out: the repo folder that ``publish`` will write; the run lives beside it (default: in the cache).
        num_proc: worker processes.
        engine: what makes the parts: ``local``, ``pool`` or ``ray``, with settings as ``ray:workers=4`` (default:
            ``pool`` with several processes, else ``local``).
        progress: show a bar.
        rank: make this rank's parts only, those whose index modulo ``world_size`` it is.
        world_size: the number of ranks.
        storage: where processes share the run, if not beside ``out``: a path, or any fsspec URL.
        images: the folder of the files that pictures are named by, where the source holds names instead of bytes; its
            own folder may be read in any case.
        trust_image_paths: read such files wherever they lie.
        keep: columns that made posts have from their gold posts; others that the method does not know are null there,
            or follow the words.
        columns: the source's names for columns of ours, as ``{"tokens": "words"}``; numbered ids, tags that are text
            and paths of pictures are cast then.
        chosen: fields of ``Recipe``: fraction, subset_seed, ids_train, ids_validation, config, part_size.

    Raises:
        UsageError: the source, a name or a value is wrong.
        DataError: a row is not what its columns promise.
        RecipeMismatch: ranks have different recipes, or learnt different things.
        OSError: the disk is full or the storage out of reach; what is finished is kept.
    """
    check_rank(rank, world_size)
    engine = open_engine(engine, num_proc)
    method = named_method(method) if isinstance(method, str) else method
    if not isinstance(method, Method):
        raise UsageError(
            f"method: expected an object or name of a method, as LSMS(copies=2) or 'lsms', found {method!r}"
        )
    name = str(source) if isinstance(source, str | Path) else ""
    if name:
        splits, allowed = open_source(name, images=images, columns=columns)
    else:
        splits, allowed = named_splits(source, columns=columns), Allowed.of(images)
    splits = embed(splits, replace(allowed, anywhere=trust_image_paths), stacklevel=2)
    recipe, gold = resolve(recipe_for(keep_columns(method, keep), source=name, columns=dict(columns), **chosen), splits)
    options: dict[str, Any] = {"rank": rank, "world_size": world_size, "storage": storage, "engine": engine}
    done = run(recipe, gold, out=out, progress=progress, **options)
    if rank is None and not done.counts["made"]:
        warnings.warn(nothing_made(done.counts, done.method), stacklevel=2)
    return done


def run(
    recipe: Recipe,
    gold: "DatasetDict",
    *,
    out: str | Path | None = None,
    num_proc: int = 1,
    engine: str | Engine | None = None,
    progress: bool = True,
    rank: int | None = None,
    world_size: int | None = None,
    storage: str | None = None,
    learned: str | None = None,
) -> Run:
    """Make the parts of a resolved recipe, or of one rank; finished parts are kept. Raises as ``augment``.

    ``learned`` is the artifact of an ``estimate`` of the same recipe and posts, which saves the fit.
    """
    check_rank(rank, world_size)
    chosen = open_engine(engine, num_proc)
    check_keep(recipe.build(), gold["train"])  # a wrong one is refused before anything is written
    folder = run_folder(recipe, out)
    begun = time.monotonic()
    shared = open_store(storage or folder.parent)
    claim_config(shared, recipe, rank)
    place = shared.at(folder.name, "fit", "parts", "rejected")
    for root in {folder, place.path} if isinstance(place, Folder) else {folder}:
        for left in (root.parent, root, root / "fit", root / "parts", root / "rejected"):
            sweep(left)
    claim_run(place, recipe)
    share = plan(recipe, recipe.build(), gold)[rank or 0 :: world_size or 1]
    with keeping(lambda: kept_parts(folder, share)), chosen.session() as session:
        method = session.fit(place, recipe, gold, learned=learned, progress=progress)
        gold = numbered(gold, method)
        _check_ids(gold, method)
        done = Run(folder, recipe, method, gold, rank or 0, world_size or 1)
        parts = done.parts
        missing = missing_parts(place, folder, parts, recipe, method)
        posts = sum(map(len, parts))
        kept = posts - sum(map(len, missing))
        with progress_bar(shown=progress, desc=recipe.config, total=posts, initial=kept, delay=0) as bar:
            for part in session.make(Work(folder, place, recipe, method, gold), missing):
                bar.update(len(part))
    note = {
        "artifact": method.artifact,
        "columns": done.columns,
        "counts": done.counts,
        **({"engine": {"name": chosen.name, **session.told}} if session.told else {}),
        "hardware": {"cpus": os.cpu_count(), "machine": platform.machine(), "system": platform.system()},
        "libraries": library_versions(method),
        "parts_made": len(missing),
        "seconds": round(time.monotonic() - begun, 3),
        "seconds_in_parts": round(sum(part_note(folder, part)["seconds"] for part in parts), 3),
    }
    name = "run.json" if rank is None else f"run-{rank}-of-{world_size}.json"
    for store in {Folder(folder), place}:
        store.write(name, json.dumps(note, indent=2, sort_keys=True).encode())
    if rank is None:
        release_config(shared, recipe)
    return done


def preview(recipe: Recipe, gold: "DatasetDict", n: int) -> tuple["Dataset", "pa.Table", Made, Method]:
    """Return the first n posts, and the rows that the fitted method makes from them."""
    method = recipe.build()
    method = method if method.artifact else method.fit(gold)
    gold = numbered(gold, method)
    posts = gold["train"].select(range(min(n, len(gold["train"]))))
    made = method.make(posts.with_format("arrow")[:])
    return posts, rows_table(made.columns, method.features), made, method


def run_folder(recipe: Recipe, out: str | Path | None) -> Path:
    """Return the folder of a recipe's run."""
    runs = beside(out, "runs") if out is not None else artifacts.cache_folder() / "runs"
    return runs / f"{recipe.config}-{recipe.fingerprint[:8]}"


def beside(out: str | Path, kind: str) -> Path:
    """Return the folder ``OUT.kind`` beside a folder, also where that is given as ``aug/``, ``.`` or ``a/..``.

    Raises:
        UsageError: nothing lies beside the root of the file system.
    """
    out = Path(out)
    if out.name in ("", ".."):
        out = out.resolve()
    if not out.name:
        raise UsageError(f"{out} is the root of the file system: name a folder in it")
    return out.with_name(f"{out.name}.{kind}")


def numbered(gold: "DatasetDict", method: Method) -> "DatasetDict":
    """Return gold posts whose labels are numbered like those that the method was fitted on.

    Raises:
        UsageError: a label is none of those.
    """
    return type(gold)({split: encode(data, method.features, f"split {split}") for split, data in gold.items()})


def _check_ids(gold: "DatasetDict", method: Method) -> None:
    """Check that no made post has the id of a gold post; a method fitted on these posts ensures it itself.

    Raises:
        UsageError: one would have.
    """
    if method.mode == "replace":
        return
    suffix = id_suffix(method)
    names = (row["id"] or "" for split in gold.values() for row in iterate_rows(split, ["id"]))  # perhaps null
    parts = (name.rpartition(f"+{suffix}.") for name in names)
    copies = {str(copy) for copy in range(method.copies)}
    taken = [(post, between, copy) for post, between, copy in parts if between and copy in copies]
    if not taken:
        return
    train = {row["id"] for row in iterate_rows(gold["train"], ["id"])}
    for found in taken:
        if found[0] in train:
            raise UsageError(
                f"post {''.join(found)} exists already, and {method.name} would make another of that id: it was "
                "fitted on another set, fit it on this one"
            )


def _usage(notes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the cost of the calls of some parts, the seconds of these parts, and the cost of 500 rows."""
    names = {name for note in notes for name in note.get("usage", {})}
    if not names:
        return {}
    usage = {name: round(sum(note.get("usage", {}).get(name, 0) for note in notes), 6) for name in sorted(names)}
    usage["seconds"] = round(sum(note["seconds"] for note in notes), 3)
    made = sum(note["made"] for note in notes)
    if "searches" in usage:
        usage["accepted_per_search"] = round(made / usage["searches"], 4)
    if made:
        usage |= {f"{name}_per_500": round(500 * usage.get(name, 0) / made, 6) for name in ("seconds", "usd")}
    return usage
