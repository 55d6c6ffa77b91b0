"""From a run to a repo folder that ``load_dataset`` reads, and back: publish and verify."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug import artifacts
from hf_mner_aug.cards import ConfigFacts, SplitFacts, mark_entities, read_source, render
from hf_mner_aug.errors import Corrupt, RecipeMismatch, UsageError
from hf_mner_aug.fingerprint import content_fingerprint
from hf_mner_aug.hygiene import Guard
from hf_mner_aug.ledger import Run, library_versions, part_tables, run
from hf_mner_aug.parquet import write_shards
from hf_mner_aug.recipe import SPLITS, Recipe, load_source, resolve
from hf_mner_aug.schema import AUGMENTED, Codec, Post
from hf_mner_aug.transform import iterate_posts

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetDict, Features

NOTE = "augmentation.json"
BATCH = 100  # rows read at a time: bounds the memory that pictures take
EXAMPLES = 3


@dataclass(frozen=True)
class Published:
    """A config in a repo folder: where it is, what became of its posts, and its content fingerprint."""

    folder: Path
    config: str
    funnel: dict[str, Any]
    content_fingerprint: str


@dataclass(frozen=True)
class Verification:
    """Whether a config is what its augmentation.json says."""

    config: str
    expected: str
    found: str
    rerun: str | None = None

    @property
    def ok(self) -> bool:
        """True where every fingerprint that was computed is the expected one."""
        return self.found == self.expected and self.rerun in (None, self.expected)


def publish(run: Run, out: str | Path, *, source: str = "", overwrite: bool = False) -> Published:
    """Write a run's config into a repo folder: Parquet, augmentation.json, and its section of the card.

    Other configs, and the rest of the card, are kept. Made posts that repeat another or leak from validation or test
    are dropped and counted. A failure leaves the folder as it was.

    Args:
        run: what ``augment`` returned.
        out: the repo folder.
        source: the folder or Hub id the posts came from, for the card.
        overwrite: replace a config of the same name that another recipe made.

    Raises:
        RecipeMismatch: there is such a config and ``overwrite`` is not set.
        DataError: the folder's card has YAML that does not parse.
        OSError: the disk is full.
    """
    out, recipe = Path(out), run.recipe
    check_free(out, recipe, overwrite=overwrite)
    card = out / "README.md"
    existing = card.read_text(encoding="utf-8") if card.exists() else None
    features = run.method.features
    stage = Path(f"{out}.runs") / f".{recipe.config}.publishing"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        counts = _Counts(Codec(features))
        sizes = {}
        for split in (split for split in SPLITS if split in run.gold):
            rows = _published_rows(run, split, features, counts)
            sizes[split] = sum(path.stat().st_size for path in write_shards(rows, stage, split, features))
        funnel = {**run.counts, "dropped": dict(sorted(counts.dropped.items())), "kept": counts.made["train"]}
        facts = ConfigFacts(
            recipe=replace(recipe, source=_public_name(recipe.source)),
            splits={split: SplitFacts(counts.gold[split], counts.made[split], sizes[split]) for split in sizes},
            funnel=funnel,
            entities={kind: (counts.gold_entities[kind], counts.entities[kind]) for kind in sorted(counts.entities)},
            examples=counts.examples,
            content_fingerprint=content_fingerprint(_load(stage, sizes)),
        )
        note = {
            "artifact": run.method.artifact,
            "libraries": library_versions(),
            "recipe_fingerprint": recipe.fingerprint,
            **asdict(facts),
        }
        text = render(existing, facts, features, read_source(source or recipe.source), str(out.name))
        data = json.dumps(note, indent=2, sort_keys=True, ensure_ascii=False).encode()
        artifacts.write_atomically(stage / NOTE, data + b"\n")
        _swap(stage, out / recipe.config)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    artifacts.write_atomically(card, text.encode())
    return Published(out, recipe.config, funnel, facts.content_fingerprint)


def check_free(out: Path, recipe: Recipe, *, overwrite: bool = False) -> None:
    """See that a folder can take a recipe's config.

    Raises:
        RecipeMismatch: another recipe's config has that name and ``overwrite`` is not set.
        UsageError: the path is a file.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder")
    folder = out / recipe.config
    if not folder.exists() or overwrite:
        return
    if not (folder / NOTE).exists():
        raise RecipeMismatch(f"{folder} exists and was not made here: choose another --config-name or --out")
    found = read_note(folder)["recipe_fingerprint"]
    if found != recipe.fingerprint:
        raise RecipeMismatch(
            f"{folder} was made by recipe {found[:12]}, this one is {recipe.fingerprint[:12]}: "
            "choose another --config-name, or --overwrite"
        )


def read_note(folder: Path) -> dict[str, Any]:
    """Return a config's augmentation.json.

    Raises:
        UsageError: there is none.
        Corrupt: it does not parse.
    """
    path = folder / NOTE
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        configs = sorted(p.parent.name for p in folder.parent.glob(f"*/{NOTE}"))
        raise UsageError(f"no {path}: configs made here are {', '.join(configs) or 'none'}") from error
    except json.JSONDecodeError as error:
        raise Corrupt(f"{path} does not parse: {error}") from error
    return note


def verify(folder: str | Path, config: str, *, rerun: bool = False, source: str | None = None) -> Verification:
    """Recompute a config's content fingerprint, and with ``rerun`` make the config again and compare.

    Args:
        folder: the repo folder.
        config: the config's name.
        rerun: make it again in a temporary folder, from ``source`` or the Hub id it was made from.
        source: the folder or Hub id of the source; its content is checked.

    Raises:
        UsageError: there is no such config, or a rerun needs ``source``.
        Corrupt: a file does not parse or is truncated.
        DataError: the source has another content than the one the config was made from.
    """
    import tempfile

    import pyarrow as pa

    place = Path(folder) / config
    note = read_note(place)
    try:
        found = content_fingerprint(_load(place, note["splits"]))
    except (pa.ArrowInvalid, FileNotFoundError) as error:
        raise Corrupt(f"{place}: {str(error).splitlines()[0]}") from error
    again = None
    if rerun:
        recipe = Recipe.from_dict(note["recipe"])
        if source is None and recipe.source.startswith("local:"):
            raise UsageError(
                f"{config} was made from the local folder {recipe.source[6:]!r}: name it with --source DIR"
            )
        recipe, gold = resolve(recipe, load_source(source or recipe.source))
        with tempfile.TemporaryDirectory() as temporary:
            made = run_and_publish(recipe, gold, Path(temporary) / "again")
            again = made.content_fingerprint
    return Verification(config, note["content_fingerprint"], found, again)


def run_and_publish(
    recipe: Recipe,
    gold: "DatasetDict",
    out: Path,
    *,
    source: str = "",
    num_proc: int = 1,
    overwrite: bool = False,
    progress: bool = False,
) -> Published:
    """Make a resolved recipe and publish it; raises as ``augment`` and ``publish``, the latter's before any work."""
    check_free(out, recipe, overwrite=overwrite)
    done = run(recipe, gold, out=out, num_proc=num_proc, progress=progress)
    return publish(done, out, source=source, overwrite=overwrite)


# ---------------------------------------------------------------- inside


class _Counts:
    """What is counted while the rows of a config stream by."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.gold: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.gold_entities: Counter[str] = Counter()
        self.entities: Counter[str] = Counter()
        self.examples: list[str] = []


def _published_rows(run: Run, split: str, features: "Features", counts: _Counts) -> Iterator["pa.Table"]:
    """Yield a split's rows: gold first, then what was made of it and is neither a repetition nor a leak."""
    import pyarrow as pa

    made = [part for part in run.parts if part.split == split]
    if run.method.mode == "append" or not made:
        for table in run.gold[split].with_format("arrow").iter(BATCH):
            yield _as_gold(table, features)
            counts.gold[split] += table.num_rows
            if split == "train":
                for post in _posts(table, counts.codec):
                    counts.gold_entities.update(entity.type for entity in post.entities)
                    counts.entities.update(entity.type for entity in post.entities)
    if not made:
        return
    guard = _guard(run) if run.method.mode == "append" else None
    for table in part_tables(run, split):
        for start in range(0, table.num_rows, BATCH):
            batch = table.slice(start, BATCH)
            keep = []
            for i, post in enumerate(_posts(batch, counts.codec)):
                reason = guard.check(post) if guard else None
                if reason:
                    counts.dropped[reason] += 1
                    continue
                keep.append(i)
                counts.entities.update(entity.type for entity in post.entities)
                if len(counts.examples) < EXAMPLES and post.entities:
                    counts.examples.append(mark_entities(post))
            counts.made[split] += len(keep)
            yield batch if len(keep) == batch.num_rows else batch.take(pa.array(keep, pa.int64()))


def _guard(run: Run) -> Guard:
    """Return the guard against repetitions of gold train posts and leaks of validation and test."""

    def posts(split: str) -> Iterator[Post]:
        if split in run.gold:
            yield from iterate_posts(run.gold[split], Codec(run.gold[split].features), images=True)

    return Guard(posts("train"), lambda: (post for split in ("validation", "test") for post in posts(split)))


def _posts(table: "pa.Table", codec: Codec) -> Iterator[Post]:
    """Yield rows as posts, with what a method noted of a row it made."""
    for row in table.to_pylist():
        post = codec.to_post(row)
        note = row.get("provenance")
        yield replace(post, details=json.loads(note).get("details", {})) if note else post


def _as_gold(table: "pa.Table", features: "Features") -> "pa.Table":
    """Return gold rows with the columns of an augmented config; those of an augmented source are kept."""
    import pyarrow as pa

    values = {
        "source_id": table.column("id"),
        "method": ["gold"] * table.num_rows,
        "provenance": ["{}"] * table.num_rows,
    }
    for name in AUGMENTED:
        if name not in table.column_names:
            table = table.append_column(name, values[name] if name == "source_id" else pa.array(values[name]))
    return table.select(list(features))


def _load(folder: Path, splits: Any) -> "DatasetDict":
    """Return the splits of a config's folder, memory-mapped."""
    from datasets import Dataset, DatasetDict

    loaded: dict[str, Dataset] = {}
    for split in splits:
        files = sorted(str(path) for path in folder.glob(f"{split}-*.parquet"))
        if not files:
            raise FileNotFoundError(f"no {split}-*.parquet")
        loaded[split] = Dataset.from_parquet(files)  # type: ignore[assignment]
    return DatasetDict(loaded)


def _swap(stage: Path, folder: Path) -> None:
    """Put a finished folder in the place of another, keeping the old one until the new one stands."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    old = stage.with_name(stage.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    stage.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _public_name(source: str) -> str:
    """Return a source's name without the folders of this machine."""
    return f"local:{Path(source).resolve().name}" if source and Path(source).is_dir() else source
