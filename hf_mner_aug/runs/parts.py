"""The parts of a run: fixed slices of a split's posts, each made, written and checked by itself."""

import functools
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from hf_mner_aug.exceptions import Corrupt, RecipeMismatch
from hf_mner_aug.models.device import limits_met
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.parquet import reading, write_table
from hf_mner_aug.storage.shared import Folder, Store, sha256
from hf_mner_aug.transform import Method
from hf_mner_aug.transform.columns import unknown_columns
from hf_mner_aug.untrusted.shapes import parse_json, read_json

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict, Features

LOOKS = 16  # parts that are looked for at a time: each waits for the network


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

    def __len__(self) -> int:
        """The number of its posts."""
        return self.stop - self.start


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


def plan(recipe: Recipe, method: Method, gold: "DatasetDict") -> list[Part]:
    """Return the parts of a run: slices of train, or of every split where the method replaces posts."""
    parts: list[Part] = []
    for split in changed_splits(method, gold):
        for start in range(0, len(gold[split]), recipe.part_size):
            stop = min(start + recipe.part_size, len(gold[split]))
            parts.append(Part(len(parts), split, start, stop))
    return parts


def changed_splits(method: Method, gold: "DatasetDict") -> list[str]:
    """Return the splits that a method makes rows of: train, or every one where it replaces posts."""
    return ["train"] if method.mode == "append" else list(gold)


def kept_parts(folder: Path, parts: Sequence[Part]) -> str:
    """Return a message on the number of finished parts."""
    kept = sum((folder / "parts" / f"{part.stem}.json").exists() for part in parts)
    return f"{kept} of {len(parts)} parts kept; the same command goes on"


def make_part(folder: Path, recipe: Recipe, method: Method, gold: "DatasetDict", part: Part) -> None:
    """Make one part of gold posts and write it."""
    begun = time.monotonic()
    write_part(folder, recipe, method, posts_of(gold, part), part, begun)


def posts_of(gold: "Mapping[str, Dataset]", part: Part) -> "pa.Table":
    """Return the gold posts of a part."""
    table: pa.Table = gold[part.split].with_format("arrow")[part.start : part.stop]
    return table


def write_part(folder: Path, recipe: Recipe, method: Method, table: "pa.Table", part: Part, begun: float) -> None:
    """Make one part from its gold posts and write it: first its files, then the note that says they are whole.

    ``begun`` is when the clock said that work on it began (``time.monotonic``).
    """
    usage_of = method.costs.usage if method.costs else dict
    before, limits_before = usage_of(), limits_met()
    made = method.make(table)
    usage, limits = difference(before, usage_of()), difference(limits_before, limits_met())
    path = folder / "parts" / f"{part.stem}.parquet"
    rejected = folder / "rejected" / path.name
    path.parent.mkdir(parents=True, exist_ok=True)
    rejected.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, rows_table(made.columns, method.features), method.features)
    rejects = {name: [reject[name] for reject in made.rejects] for name in reject_features()}
    write_table(rejected, rows_table(rejects, reject_features()), reject_features())
    columns = unknown_columns(method, table.column_names).told(made.columns)
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


def part_note(folder: Path, part: Part) -> dict[str, Any]:
    """Return the note of a finished part.

    Raises:
        FileNotFoundError: there is none.
        Corrupt: it does not parse.
    """
    path = folder / "parts" / f"{part.stem}.json"
    note: dict[str, Any] = read_json(path, PartNote, error=Corrupt, advice="delete it, and the part is made again")
    return note


def is_finished(folder: Path, part: Part, recipe: Recipe, method: Method) -> bool:
    """Return whether a part is whole; a damaged part is made again.

    Raises:
        RecipeMismatch: it was made by another recipe or from another artifact.
    """
    note = _whole(Folder(folder).read(part_files(part)[-1]), folder, recipe, method, part)
    if note is None:
        return False
    paths = [folder / kind / f"{part.stem}.parquet" for kind in ("parts", "rejected")]
    return [sha256(path) if path.exists() else "" for path in paths] == note["sha256"]


def part_files(part: Part) -> list[str]:
    """Return the names of a part's files in its run, in the order they are written."""
    return [f"parts/{part.stem}.parquet", f"rejected/{part.stem}.parquet", f"parts/{part.stem}.json"]


def send_part(place: Store, folder: Path, part: Part) -> None:
    """Copy a part to the shared storage; the note that marks it as whole goes last."""
    if place != Folder(folder):
        for name in part_files(part):
            place.send(folder / name, name)


def gather_part(place: Store, folder: Path, part: Part, recipe: Recipe, method: Method) -> bool:
    """Return whether a part is finished, and make sure that it is both here and in the shared storage."""
    if place == Folder(folder):
        return is_finished(folder, part, recipe, method)
    names = part_files(part)
    note = place.read(names[-1])
    if note is None or not _whole(note, place, recipe, method, part):
        made = is_finished(folder, part, recipe, method)
        if made:
            send_part(place, folder, part)
        return made
    artifacts.write_atomically(folder / names[-1], note)
    if not is_finished(folder, part, recipe, method):
        for name in names[:-1]:
            place.fetch(name, folder / name)
    return is_finished(folder, part, recipe, method)


def missing_parts(place: Store, folder: Path, parts: Sequence[Part], recipe: Recipe, method: Method) -> list[Part]:
    """Return the parts that are not finished, as ``gather_part`` finds them; of a remote storage, several at a time."""

    def found(part: Part) -> bool:
        return gather_part(place, folder, part, recipe, method)

    if isinstance(place, Folder):
        return [part for part in parts if not found(part)]
    pool = ThreadPoolExecutor(LOOKS)
    try:
        return [part for part, whole in zip(parts, pool.map(found, parts), strict=True) if not whole]
    finally:
        pool.shutdown(cancel_futures=True)


def read_rejects(path: Path) -> list[dict[str, Any]]:
    """Return the rejected posts in a file of a run.

    Raises:
        Corrupt: it is damaged.
    """
    import pyarrow.parquet as pq

    features, advice = reject_features(), "delete it and run the same command again, and the part is made again"
    with reading(path, advice):
        table = pq.read_table(path)
        if table.column_names != list(features):
            raise Corrupt(
                f"{path}: expected the columns {', '.join(features)}, found {', '.join(table.column_names)}: {advice}"
            )
        rows: list[dict[str, Any]] = table.cast(features.arrow_schema).to_pylist()
    return rows


def rows_table(columns: dict[str, list[Any]], features: "Features") -> "pa.Table":
    """Return columns of values as a table of some features; pictures stay encoded."""
    import pyarrow as pa

    schema = features.arrow_schema
    arrays = []
    for field in schema:
        storage = getattr(field.type, "storage_type", field.type)
        array = pa.array(columns[field.name], storage)
        arrays.append(pa.ExtensionArray.from_storage(field.type, array) if storage != field.type else array)
    return pa.Table.from_arrays(arrays, schema=schema)


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the difference of two counts."""
    found = {name: round(value - before.get(name, 0), 6) for name, value in after.items()}
    return {name: value for name, value in found.items() if value}


def _whole(note: bytes | None, run: Path | Store, recipe: Recipe, method: Method, part: Part) -> dict[str, Any] | None:
    """Return a part's note in a run, or None where it is missing or damaged.

    Raises:
        RecipeMismatch: the part was made by another recipe or from another artifact.
    """
    try:
        found: dict[str, Any] = parse_json(note or b"", PartNote, "", error=Corrupt)
    except Corrupt:
        return None
    binding = _binding(recipe, method, part)
    if {name: found.get(name) for name in binding} != binding:
        raise RecipeMismatch(f"{run}/parts/{part.stem}.parquet was made by another recipe: delete {run}")
    return found


def _binding(recipe: Recipe, method: Method, part: Part) -> dict[str, Any]:
    """Return the digest that binds a part to its recipe and to the learnt state."""
    return {
        "artifact": method.artifact,
        "recipe": recipe.fingerprint,
        "split": part.split,
        "start": part.start,
        "stop": part.stop,
    }


@functools.cache
def reject_features() -> "Features":
    """Return the columns of rejected posts."""
    from datasets import Features, Value

    names = {"source_id": "string", "copy": "int32", "reason": "string", "detail": "string"}
    return Features({name: Value(dtype) for name, dtype in names.items()})


def read_rows(paths: list[Path], features: "Features") -> "Dataset":
    """Return the rows of Parquet files, memory-mapped; files without rows, which datasets refuses, are left out."""
    import pyarrow.parquet as pq
    from datasets import Dataset

    filled = [str(path) for path in paths if pq.read_metadata(path).num_rows]
    if not filled:
        return Dataset(features.arrow_schema.empty_table())
    dataset = Dataset.from_parquet(filled, features=features)
    assert isinstance(dataset, Dataset)
    return dataset
