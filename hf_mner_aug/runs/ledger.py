"""Makes a recipe part by part, so that a run can be killed at any time and resumed.

A run lives beside the output folder, in ``OUT.runs/<config>-<recipe>/``: recipe.json, fit/ (the learnt state),
parts/ and rejected/ (Parquet, one file a part, and a note that says it is whole), run.json (its cost). Several
processes, the ranks, share the parts: of three, rank 1 makes parts 1, 4, 7 …; a run without a rank finds what all made,
makes what is missing, and can be published. With a ``storage``, the run lives there, and each process keeps a copy of
the parts it needs beside its own output folder.
"""

import functools
import json
import multiprocessing
import os
import pickle
import platform
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from hf_mner_aug.columns import unknown as other_columns
from hf_mner_aug.columns.labels import encode
from hf_mner_aug.exceptions import Corrupt, RecipeMismatch, UsageError
from hf_mner_aug.runs.funnel import nothing_made
from hf_mner_aug.runs.ranks import check_rank, claim_config, claim_run, fit_once, release_config
from hf_mner_aug.runs.recipe import Recipe, named_method, recipe_for
from hf_mner_aug.runs.subset import resolve
from hf_mner_aug.sources.loading import open_source
from hf_mner_aug.sources.splits import named_splits
from hf_mner_aug.stopping import end_with_parent, interrupts_blocked, keeping, start_tracker
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.locks import sweep
from hf_mner_aug.storage.parquet import reading, write_table
from hf_mner_aug.storage.picture_columns import embed
from hf_mner_aug.storage.picture_files import Allowed
from hf_mner_aug.storage.shared import Folder, Store, open_store, sha256
from hf_mner_aug.transform import Made, Method, iterate_rows
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict, Features

LIBRARIES = ("datasets", "huggingface_hub", "numpy", "pillow", "pyarrow", "scikit-learn")


@dataclass(frozen=True)
class Part:
    """A fixed slice of one split's posts."""

    index: int
    split: str
    start: int
    stop: int

    @property
    def stem(self) -> str:
        """The part's file name without its ending."""
        return f"{self.index:05}"


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

    def _made_of(self, parts: list[Part]) -> "Dataset":
        return _read([self.folder / "parts" / f"{part.stem}.parquet" for part in parts], self.method.features)

    @property
    def rejects(self) -> "Dataset":
        """The posts that could not be rewritten: source_id, copy, reason, detail."""
        paths = [self.folder / "rejected" / f"{part.stem}.parquet" for part in self.parts]
        return _read(paths, _reject_features())

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
        """The columns that the method does not know, by their fate in made rows (``columns.unknown``)."""
        return other_columns.merged(part_note(self.folder, part).get("columns", {}) for part in self.parts)


def augment(
    source: Any,
    method: Method | str,
    *,
    out: str | Path | None = None,
    num_proc: int = 1,
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
    recipe, gold = resolve(recipe_for(method.keeping(keep), source=name, columns=dict(columns), **chosen), splits)
    options: dict[str, Any] = {"rank": rank, "world_size": world_size, "storage": storage}
    done = run(recipe, gold, out=out, num_proc=num_proc, progress=progress, **options)
    if rank is None and not done.counts["made"]:
        warnings.warn(nothing_made(done.counts, done.method), stacklevel=2)
    return done


def run(
    recipe: Recipe,
    gold: "DatasetDict",
    *,
    out: str | Path | None = None,
    num_proc: int = 1,
    progress: bool = True,
    rank: int | None = None,
    world_size: int | None = None,
    storage: str | None = None,
    learned: str | None = None,
) -> Run:
    """Make the parts of a resolved recipe, or of one rank; finished parts are kept. Raises as ``augment``.

    ``learned`` is the artifact of an ``estimate`` of the same recipe and posts, which saves the fit.
    """
    from tqdm.auto import tqdm

    check_rank(rank, world_size)
    recipe.build().check_keep(gold["train"])  # a wrong one is refused before anything is written
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
    with keeping(lambda: kept_parts(folder, share)):
        method = fit_once(place, recipe, gold, learned=learned, progress=progress)
        gold = numbered(gold, method)
        _check_ids(gold, method)
        done = Run(folder, recipe, method, gold, rank or 0, world_size or 1)
        parts = done.parts
        missing = [part for part in parts if not _kept(place, folder, part, recipe, method)]
        with tqdm(total=len(parts), initial=len(parts) - len(missing), unit="part", disable=not progress) as bar:
            for part in make_all(folder, recipe, method, gold, missing, num_proc):
                _send(place, folder, part)
                bar.update()
    note = {
        "artifact": method.artifact,
        "columns": done.columns,
        "counts": done.counts,
        "hardware": {"cpus": os.cpu_count(), "machine": platform.machine(), "system": platform.system()},
        "libraries": library_versions(),
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
    return posts, rows_table(made, method.features), made, method


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


def plan(recipe: Recipe, method: Method, gold: "DatasetDict") -> list[Part]:
    """Return the parts of a run: slices of train, or of every split where the method replaces posts."""
    parts: list[Part] = []
    for split in changed_splits(method, gold):
        for start in range(0, len(gold[split]), recipe.part_size):
            stop = min(start + recipe.part_size, len(gold[split]))
            parts.append(Part(len(parts), split, start, stop))
    return parts


def kept_parts(folder: Path, parts: Sequence[Part]) -> str:
    """Return a message on the number of finished parts."""
    kept = sum((folder / "parts" / f"{part.stem}.json").exists() for part in parts)
    return f"{kept} of {len(parts)} parts kept; the same command goes on"


def make_part(folder: Path, recipe: Recipe, method: Method, gold: "DatasetDict", part: Part) -> None:
    """Make one part and write it: first its files, then the note that says they are whole."""
    begun = time.monotonic()
    table = gold[part.split].select(range(part.start, part.stop)).with_format("arrow")[:]
    usage_of = method.costs.usage if method.costs else dict
    before, limits_before = usage_of(), method.limits_met()
    made = method.make(table)
    usage, limits = difference(before, usage_of()), difference(limits_before, method.limits_met())
    path = folder / "parts" / f"{part.stem}.parquet"
    rejected = folder / "rejected" / path.name
    path.parent.mkdir(parents=True, exist_ok=True)
    rejected.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, rows_table(made, method.features), method.features)
    reject_features = _reject_features()
    write_table(
        rejected,
        _table({name: [r[name] for r in made.rejects] for name in reject_features}, reject_features),
        reject_features,
    )
    columns = method.other_columns(table.column_names).told(made.columns)
    note = {
        **_binding(recipe, method, part),
        **({"columns": columns} if columns else {}),
        "idle": made.idle,
        "made": len(made.columns["id"]),
        "posts": part.stop - part.start,
        "rejected": dict(sorted(Counter(reject["reason"] for reject in made.rejects).items())),
        "seconds": round(time.monotonic() - begun, 4),
        "sha256": [sha256(path), sha256(rejected)],
        **({"usage": usage} if usage else {}),
        **({"limits": limits} if limits else {}),
    }
    artifacts.write_atomically(path.with_suffix(".json"), json.dumps(note, indent=2, sort_keys=True).encode())


def rows_table(made: Made, features: "Features") -> "pa.Table":
    """Return the rows a method made as a table of its features."""
    return _table(made.columns, features)


def part_tables(run: Run, split: str) -> Iterator["pa.Table"]:
    """Yield the made rows of a split, part by part."""
    import pyarrow.parquet as pq

    for part in run.parts:
        if part.split == split:
            yield pq.read_table(run.folder / "parts" / f"{part.stem}.parquet")


def library_versions() -> dict[str, str]:
    """Return the versions of this package and of those that shape its output."""
    return {name: metadata.version(name) for name in ("hf-mner-aug", *LIBRARIES)}


def read_rejects(path: Path) -> list[dict[str, Any]]:
    """Return the rejected posts in a file of a run.

    Raises:
        Corrupt: it is damaged.
    """
    import pyarrow.parquet as pq

    features, advice = _reject_features(), "delete it and run the same command again, and the part is made again"
    with reading(path, advice):
        table = pq.read_table(path)
        if table.column_names != list(features):
            raise Corrupt(
                f"{path}: expected the columns {', '.join(features)}, found {', '.join(table.column_names)}: {advice}"
            )
        rows: list[dict[str, Any]] = table.cast(features.arrow_schema).to_pylist()
    return rows


# ---------------------------------------------------------------- inside


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
    names = (row["id"] or "" for split in gold.values() for row in iterate_rows(split, ["id"]))  # perhaps null
    parts = (name.rpartition(f"+{method.id_suffix}.") for name in names)
    copies = {str(copy) for copy in range(method.copies)}
    taken = [(post, between, copy) for post, between, copy in parts if between and copy in copies]
    if not taken:
        return
    train = {row["id"] for row in iterate_rows(gold["train"], ["id"])}
    for found in taken:
        if found[0] in train:
            raise UsageError(
                f"post {''.join(found)} is there already, and {method.name} would make one of that id: it was fitted "
                "on another set, fit it on this one"
            )


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the difference of two counts."""
    found = {name: round(value - before.get(name, 0), 6) for name, value in after.items()}
    return {name: value for name, value in found.items() if value}


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


def changed_splits(method: Method, gold: "DatasetDict") -> list[str]:
    """Return the splits that a method makes rows of: train, or every one where it replaces posts."""
    return ["train"] if method.mode == "append" else list(gold)


def _binding(recipe: Recipe, method: Method, part: Part) -> dict[str, Any]:
    """Return the digest that binds a part to its recipe and to the learnt state."""
    return {
        "artifact": method.artifact,
        "recipe": recipe.fingerprint,
        "split": part.split,
        "start": part.start,
        "stop": part.stop,
    }


class PartNote(TypedDict):
    """The note of a part: what it is bound to, and the outcome of its posts."""

    artifact: str | None
    recipe: str
    split: str
    start: int
    stop: int
    made: int
    posts: int
    rejected: Mapping[str, int]
    seconds: float
    idle: NotRequired[int]
    sha256: list[str]
    usage: NotRequired[Mapping[str, int | float]]
    limits: NotRequired[Mapping[str, int | float]]
    columns: NotRequired[Mapping[str, list[str]]]


def part_note(folder: Path, part: Part) -> dict[str, Any]:
    """Return the note of a finished part.

    Raises:
        FileNotFoundError: there is none.
        Corrupt: it does not parse.
    """
    path = folder / "parts" / f"{part.stem}.json"
    note: dict[str, Any] = read_json(path, PartNote, error=Corrupt, advice="delete it, and the part is made again")
    return note


def _finished(folder: Path, part: Part, recipe: Recipe, method: Method) -> bool:
    """Return whether a part is whole; a damaged part is made again.

    Raises:
        RecipeMismatch: it was made by another recipe or from another artifact.
    """
    try:
        note = part_note(folder, part)
    except (FileNotFoundError, Corrupt):
        return False
    binding = _binding(recipe, method, part)
    if {name: note.get(name) for name in binding} != binding:
        raise RecipeMismatch(f"{folder}/parts/{part.stem}.parquet was made by another recipe: delete {folder}")
    paths = [folder / kind / f"{part.stem}.parquet" for kind in ("parts", "rejected")]
    return [sha256(path) if path.exists() else "" for path in paths] == note["sha256"]


def _kept(place: Store, folder: Path, part: Part, recipe: Recipe, method: Method) -> bool:
    """Return whether a part is finished, and make sure that it is both here and in the shared storage."""
    if place == Folder(folder):
        return _finished(folder, part, recipe, method)
    names = _files(part)
    note = place.read(names[-1])
    if note is None:
        made = _finished(folder, part, recipe, method)
        if made:
            _send(place, folder, part)
        return made
    artifacts.write_atomically(folder / names[-1], note)
    if not _finished(folder, part, recipe, method):
        for name in names[:-1]:
            place.fetch(name, folder / name)
    return _finished(folder, part, recipe, method)


def _send(place: Store, folder: Path, part: Part) -> None:
    """Copy a part to the shared storage; the note that marks it as whole goes last."""
    if place != Folder(folder):
        for name in _files(part):
            place.send(folder / name, name)


def _files(part: Part) -> list[str]:
    """Return the names of a part's files in its run, in the order they are written."""
    return [f"parts/{part.stem}.parquet", f"rejected/{part.stem}.parquet", f"parts/{part.stem}.json"]


def make_all(
    folder: Path, recipe: Recipe, method: Method, gold: "DatasetDict", parts: list[Part], num_proc: int
) -> Iterator[Part]:
    """Make parts here or in spawned workers, and yield each when it is finished."""
    if num_proc < 1:
        raise UsageError(f"num_proc must be at least 1, found {num_proc}")
    if num_proc == 1 or len(parts) < 2:
        for part in parts:
            make_part(folder, recipe, method, gold, part)
            yield part
        return
    others = multiprocessing.active_children()
    start_tracker()
    context = multiprocessing.get_context("spawn")
    shared = pickle.dumps((folder, recipe, gold))
    with ProcessPoolExecutor(min(num_proc, len(parts)), context, _start_worker, (shared,)) as pool:
        try:
            with interrupts_blocked():
                futures = {pool.submit(_work, method, part): part for part in parts}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process died, perhaps for lack of memory: what is finished is kept, "
                "run the same command again, with a smaller --num-proc"
            ) from error
        except Exception:  # the parts under way are finished and kept
            pool.shutdown(cancel_futures=True)
            raise
        except BaseException:  # Ctrl-C, which waits for nobody
            for worker in multiprocessing.active_children():
                if worker not in others:
                    worker.kill()
            raise


_worker: dict[str, Any] = {}


def _start_worker(shared: bytes) -> None:
    """Keep what all parts share in a spawned worker, which ends with its parent: also in the seconds of the imports."""
    end_with_parent()
    _worker.update(zip(("folder", "recipe", "gold"), pickle.loads(shared), strict=True))


def _work(method: Method, part: Part) -> None:
    make_part(**_worker, method=method, part=part)


def _table(columns: dict[str, list[Any]], features: "Features") -> "pa.Table":
    import pyarrow as pa

    schema = features.arrow_schema
    arrays = []
    for field in schema:
        storage = getattr(field.type, "storage_type", field.type)
        array = pa.array(columns[field.name], storage)
        arrays.append(pa.ExtensionArray.from_storage(field.type, array) if storage != field.type else array)
    return pa.Table.from_arrays(arrays, schema=schema)


@functools.cache
def _reject_features() -> "Features":
    from datasets import Features, Value

    names = {"source_id": "string", "copy": "int32", "reason": "string", "detail": "string"}
    return Features({name: Value(dtype) for name, dtype in names.items()})


def _read(paths: list[Path], features: "Features") -> "Dataset":
    """Return the rows of some Parquet files, memory-mapped; datasets refuses files without rows: they are left out."""
    import pyarrow.parquet as pq
    from datasets import Dataset

    filled = [str(path) for path in paths if pq.read_metadata(path).num_rows]
    if not filled:
        return Dataset(features.arrow_schema.empty_table())
    dataset = Dataset.from_parquet(filled, features=features)
    assert isinstance(dataset, Dataset)
    return dataset
