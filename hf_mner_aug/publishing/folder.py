"""Publish a run: write its config into a repo folder that ``load_dataset`` reads."""

import contextlib
import functools
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import Corrupt, DataError, NothingMade, RecipeMismatch, UsageError
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.progress import watch_rows
from hf_mner_aug.publishing import croissant
from hf_mner_aug.publishing.cards import (
    AS_PUBLISHED,
    ConfigFacts,
    Note,
    Outside,
    SplitFacts,
    described,
    has_sections,
    render,
    split_names,
    without_sizes,
)
from hf_mner_aug.publishing.rows import Counts, made_rows, published_rows
from hf_mner_aug.publishing.stubs import Retrieved, check_retrieved, stub_features, to_stubs
from hf_mner_aug.runs.engines import Engine
from hf_mner_aug.runs.funnel import nothing_made
from hf_mner_aug.runs.ledger import Run, beside, run
from hf_mner_aug.runs.parts import kept_parts
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.runs.versions import library_versions
from hf_mner_aug.schema import AUGMENTED, Codec
from hf_mner_aug.sources.facts import read_source
from hf_mner_aug.sources.places import local_name
from hf_mner_aug.stopping import keeping
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.fingerprint import Fingerprint, parquet_fingerprint
from hf_mner_aug.storage.locks import lock, stage, sweep
from hf_mner_aug.storage.parquet import read_features_of, write_shards
from hf_mner_aug.storage.picture_files import is_inside, own_folders
from hf_mner_aug.storage.swap import put_back, swap, sync
from hf_mner_aug.transform.columns import added_columns
from hf_mner_aug.transform.weights import WEIGHT, told_weight
from hf_mner_aug.untrusted.cards import CARD, read_card
from hf_mner_aug.untrusted.names import RESERVED, STUBS, check_columns, check_names, is_name
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetDict, Features

NOTE = "augmentation.json"
KEYS = ("id", *AUGMENTED)  # the columns of text that every row of a config has
RECORD = "convert.json"  # a file in the folder of a converted set
# The files of a config's folder.
OF_CONFIG = re.compile(rf"[\w.]+-\d{{5}}-of-\d{{5}}\.parquet|{re.escape(NOTE)}|{re.escape(croissant.NAME)}|\..*")


@dataclass(frozen=True)
class Published:
    """A published config: its folder, the outcome for posts and columns, and its content fingerprint."""

    folder: Path
    config: str
    funnel: dict[str, Any]
    content_fingerprint: str
    columns: Mapping[str, list[str]] = field(default_factory=dict)
    pictures: Mapping[str, int] = field(default_factory=dict)  # as ``ConfigFacts`` has them


def publish(
    run: Run,
    out: str | Path,
    *,
    source: str = "",
    overwrite: bool = False,
    retrieved: Retrieved = "whole",
    into_existing: bool = False,
    allow_empty: bool = True,
) -> Published:
    """Write a run's config into a repo folder: Parquet, augmentation.json, croissant.json, its section of the card.

    Other configs and the rest of the card are kept. Made posts that repeat another post or leak from validation or
    test are dropped and counted. A failure leaves the folder unchanged; after a kill it holds the old config or the
    new one. Processes that publish into one folder wait for each other.

    Args:
        run: the result of ``augment``.
        out: the repo folder.
        source: the folder or Hub id of the source, for the card.
        overwrite: replace a config of the same name that another recipe made.
        retrieved: publish retrieved posts ``whole``, or ``ids-only``: their origin and labels without words and
            pictures (``stubs``); the content fingerprint is that of the whole rows in both cases.
        into_existing: publish into a folder that also holds other files; they and the card's text are kept.
        allow_empty: publish a config without made posts, with a warning that gives the reason, instead of raising.

    Raises:
        NothingMade: no post was made, or all were dropped, and ``allow_empty`` is not set.
        UsageError: the run is one rank's share, ``ids-only`` is set for a method that retrieves nothing, or the folder
            holds other files and ``into_existing`` is not set.
        RecipeMismatch: another recipe's config has that name and ``overwrite`` is not set.
        DataError: the folder's card has YAML that does not parse.
        TimeoutError: another process did not release the folder in time.
        OSError: the disk is full.
    """
    if run.world_size > 1:
        raise UsageError(f"this is rank {run.rank} of {run.world_size}: a run without a rank gathers and publishes all")
    out, recipe = Path(out), run.recipe
    check_retrieved(run.method, retrieved)
    free = functools.partial(check_free, out, recipe, overwrite=overwrite, into_existing=into_existing)
    free()
    features = run.method.features
    with stage(beside(out, "runs"), recipe.config) as room:
        place = room / recipe.config
        counts = Counts(Codec(features), weighted=WEIGHT in added_columns(run.method), gold=run.gold)
        sizes = {}
        for split in run.gold:
            rows = published_rows(run, split, counts, made=retrieved == "whole")
            total = run.gold[split].num_rows + (run.n_made_of(split) if run.method.mode == "append" else 0)
            sizes[split] = write_split(watch_rows(rows, f"writes {split}", total), place, split, features)
        if retrieved == "ids-only":
            stubs = (to_stubs(table, features) for table in made_rows(run, "train", counts))
            sizes[STUBS] = write_split(stubs, place, STUBS, stub_features(features))
            counts.hide_made()
            if not counts.made[STUBS]:  # datasets reads no table without rows
                remove_split(place, sizes, STUBS)
        funnel: Any = {**run.counts, "dropped": dict(sorted(counts.dropped.items())), "kept": sum(counts.made.values())}
        if not funnel["kept"]:
            line = nothing_made(funnel, run.method)
            if not allow_empty:
                raise NothingMade(line, funnel)
            warnings.warn(line, stacklevel=2)
        content = fingerprint_of(place, sizes)
        facts = ConfigFacts(
            recipe=replace(recipe, source=f"local:{name}" if (name := local_name(recipe.source)) else recipe.source),
            source=read_source(source or recipe.source),
            splits={split: SplitFacts(counts.gold[split], counts.made[split], sizes[split]) for split in sizes},
            funnel=funnel,
            entities=counts.by_type(),
            examples=counts.examples,
            content_fingerprint=content.total,
            models=run.method.models,
            cautions=run.method.cautions,
            retrieved=retrieved if run.method.content.retrieved else "",
            licences=dict(sorted(counts.licences.items())) if run.method.content.retrieved else {},
            inherited=dict(sorted(counts.inherited.items())),
            earlier=dict(sorted(counts.earlier.items())),
            masked=dict(sorted(counts.masked.items())),
            columns=run.columns,
            outside=Outside(facts=run.method.facts, replaces=run.method.mode == "replace") if recipe.code else None,
            pictures=counts.pictures(),
            listed=counts.listed.counts(),
            weights=counts.weights.facts(told_weight(run.method)) if counts.weights else None,
        )
        note = {
            "artifact": run.method.artifact,
            "libraries": library_versions(run.method),
            "recipe_fingerprint": recipe.fingerprint,
            **asdict(facts),
            "digests": {"columns": content.columns, "rows": content.rows},
        }
        with writing(out, "publish"):
            free()  # another process may have published meanwhile
            place_config(place, out, note, features)
    return Published(out, recipe.config, funnel, facts.content_fingerprint, facts.columns, facts.pictures)


@contextlib.contextmanager
def writing(out: Path, verb: str) -> Iterator[None]:
    """Hold a repo folder's lock to place configs in it, after repairing the leftovers of killed processes.

    Raises:
        DataError: the folder's card has YAML that does not parse.
        TimeoutError: another process did not release the folder in time.
    """
    with lock(out, verb):
        sweep(out)
        put_back(out)
        _complete_card(out)
        yield


def place_config(place: Path, out: Path, note: dict[str, Any], features: "Features") -> None:
    """Put a staged config, with augmentation.json, croissant.json and its section of the card, into a repo folder.

    The caller holds the folder with ``writing``. Between any two steps either the old or the new config loads: if their
    columns or sizes differ, the card does not state them in the meantime.
    """
    facts = ConfigFacts.from_note(note)
    config, card = facts.recipe.config, out / CARD
    check_inside(out, config)
    before = read_card(card) if card.exists() else None
    text = render(before, facts, features, _name_of(out))
    new = described(text)[config]
    artifacts.write_atomically(place / NOTE, json.dumps(note, indent=2, ensure_ascii=False).encode() + b"\n")
    croissant.write(facts, place)
    sync(place)
    old = described(before).get(config, new) if before is not None else new
    if old != new:
        same_splits = split_names(old) == split_names(new)
        artifacts.write_atomically(card, without_sizes(before or "", config, same_splits=same_splits).encode())
        sync(out)
    swap(place, out / config)
    artifacts.write_atomically(card, text.encode())
    sync(out)


def _complete_card(out: Path) -> None:
    """Add configs to a folder's card that a killed process had placed in the folder only."""
    card = out / CARD
    if card.is_symlink():
        return  # ``check_inside`` refuses it
    text = before = read_card(card) if card.exists() else None
    known = described(text) if text is not None else {}
    for path in sorted(out.glob(f"*/{NOTE}")):
        folder = path.parent
        if folder.name in known:
            continue
        try:
            text = render(text, ConfigFacts.from_note(read_note(folder)), read_features(folder), _name_of(out))
        except (UsageError, OSError) as error:
            warnings.warn(f"{folder} is left off the card: {error}", stacklevel=4)
    if text is not None and text != before:
        artifacts.write_atomically(card, text.encode())


def _name_of(out: Path) -> str:
    """Return a folder's name, also if the path is ``.``."""
    return out.name if out.name not in ("", "..") else out.resolve().name


def check_inside(out: Path, config: str) -> None:
    """Check that a config can be written into a folder without writing elsewhere.

    Raises:
        UsageError: the config's name is not valid, or its folder or the card is a link.
    """
    if not is_name(config) or config in RESERVED:
        raise UsageError(f"{out}: {config!r} is not a valid name of a config")
    for path in (out / config, out / CARD):
        if path.is_symlink():
            raise UsageError(f"{path} is a link: put a folder or a file of its own there, or name another --out")


def check_free(
    out: Path,
    recipe: Recipe,
    *,
    overwrite: bool = False,
    into_existing: bool = False,
    review: Mapping[str, Any] | None = None,
) -> None:
    """Check that a recipe's config can be written into a folder; ``review`` is what people decided on its posts.

    Raises:
        RecipeMismatch: the config of another recipe or review has that name and ``overwrite`` is not set.
        UsageError: the path is a file, the folder holds other files and ``into_existing`` is not set, the config's
            folder would be replaced but has files that are not its own; or as ``check_inside``.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder")
    check_inside(out, recipe.config)
    if not into_existing and (foreign := _foreign(out)):
        raise UsageError(
            f"{out} holds {foreign}, which this package did not write: name another folder, or publish beside it with "
            "--into-existing"
        )
    folder = out / recipe.config
    if not folder.exists():
        return
    if not (folder / NOTE).exists():
        raise RecipeMismatch(f"{folder} exists and was not made here: choose another --config-name or --out")
    names = {path.name for path in folder.iterdir()} - set(pages_of(recipe.config))  # pages are made again
    if added := min((name for name in names if not OF_CONFIG.fullmatch(name)), default=None):
        raise UsageError(
            f"{folder / added} is not a file of the config, whose folder would be replaced: move it elsewhere"
        )
    if overwrite:
        return
    note = read_note(folder)
    found = note["recipe_fingerprint"]
    if note.get("review") != review:
        what = "another review" if review else "a review by people"
        raise RecipeMismatch(f"{folder} holds {what}: choose another --config-name, or --overwrite")
    if found != recipe.fingerprint:
        raise RecipeMismatch(
            f"{folder} was made by recipe {found[:12]}, this one is {recipe.fingerprint[:12]}: "
            "choose another --config-name, or --overwrite"
        )


def _foreign(out: Path) -> str | None:
    """Return the name of a file in a folder that this package did not write; None for its own folders and empty ones.

    Its own are repo folders and converted sets. Hidden files (``.git``, ``.gitattributes``) do not count.
    """
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.exists() else []
    card = out / CARD
    if (
        RECORD in names
        or any(out.glob(f"*/{NOTE}"))
        or (card.is_file() and has_sections(card.read_text(encoding="utf-8-sig", errors="replace")))
    ):
        return None
    return CARD if CARD in names else next(iter(names), None)


def pages_of(config: str) -> list[str]:
    """Return the names of the pages that ``show`` and ``memory`` write into a config's folder."""
    return [f"{config}.html", "memory.html"]


def only_config(folder: str | Path) -> str:
    """Return the name of the config that a repo folder holds.

    Raises:
        UsageError: it holds none, or several.
    """
    configs = sorted(path.parent.name for path in Path(folder).glob(f"*/{NOTE}"))
    if len(configs) != 1:
        found = f"several configs, name one: {', '.join(configs)}" if configs else "no config made here"
        raise UsageError(f"{folder} holds {found}" if Path(folder).is_dir() else f"there is no folder {folder}")
    return configs[0]


def read_note(folder: Path) -> dict[str, Any]:
    """Return a config's augmentation.json.

    Raises:
        UsageError: there is none.
        Corrupt: it does not parse, or a value has another type than its field.
        DataError: it is for another config than its folder's, a split's name is not valid, or it or a Parquet file
            beside it is not a file of the repo folder.
    """
    path = folder / NOTE
    check_own_files([path, *folder.glob("*.parquet")], folder.parent)
    try:
        note: dict[str, Any] = read_json(path, Note, error=Corrupt, advice=AS_PUBLISHED)
    except FileNotFoundError as error:
        configs = sorted(p.parent.name for p in folder.parent.glob(f"*/{NOTE}"))
        known = f"configs made here are {', '.join(configs)}" if configs else "no config was made here"
        raise UsageError(f"no {path}: {known}") from error
    check_names(note, folder)
    if not ConfigFacts.from_note(note, str(path)).splits:
        raise Corrupt(f"{path}: splits: expected train, found none: {AS_PUBLISHED}")
    return note


def check_own_files(paths: Iterable[Path], repo: Path) -> None:
    """Check that existing files lie in a repo folder, or in the download cache that contains it.

    Raises:
        DataError: one is a link to outside of it, or not a regular file.
    """
    homes = own_folders(str(repo)) if repo.is_dir() else ()
    for path in paths:
        is_link = not any(is_inside(path, home) for home in homes)
        if path.exists() and (is_link or not path.is_file()):
            found = f"a link out of {repo}" if is_link else "none"
            raise DataError(f"{path}: expected a file, found {found}: put the file itself there")


def read_features(folder: Path, split: str | None = None) -> "Features":
    """Return the features of a config's whole rows, or of the rows of one split.

    Raises:
        Corrupt: there is no such file, or one is damaged, lacks a required column, or has other columns than the rest.
    """
    files = folder.glob(f"{split or '*'}-*.parquet")
    whole = sorted(path for path in files if split or not path.name.startswith(f"{STUBS}-"))
    if not whole:
        raise Corrupt(f"{folder}: expected {split or 'train'}-*.parquet, found none: {AS_PUBLISHED}")
    features = read_features_of(whole[0])
    check_columns(features, str(folder))
    for name in KEYS:
        if getattr(features.get(name), "dtype", None) != "string":
            found = features.get(name, f"the columns {', '.join(features)}")
            raise Corrupt(f"{whole[0]}: expected a column {name} of text, found {found}: {AS_PUBLISHED}")
    for path in whole[1:]:
        if (others := read_features_of(path)) != features:
            differ = ", ".join(name for name in {**features, **others} if features.get(name) != others.get(name))
            raise Corrupt(f"{path}: expected the columns of {whole[0].name}, found other {differ}: {AS_PUBLISHED}")
    return features


def check_keys(table: "pa.Table", path: Path) -> None:
    """Check that every row of a config has its method and, unless a method made it of no single one, its gold post.

    Raises:
        Corrupt: a row has a null there, or the column is missing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in KEYS[:-1]:
        rows = table
        if name == "source_id" and "method" in table.column_names:
            methods = table["method"].unique()
            sourced = [method for method in methods.to_pylist() if not _is_sourceless(method)]
            rows = table.filter(pc.is_in(table["method"], pa.array(sourced, methods.type)))
        if name not in table.column_names or rows.column(name).null_count:
            found = "a row without" if name in table.column_names else "no such column"
            raise Corrupt(f"{path}: expected {name} in every row, found {found}: {AS_PUBLISHED}")


@functools.lru_cache(maxsize=16)
def _is_sourceless(method: str | None) -> bool:
    """Return whether a method's posts may be of no single gold post: also of one that is not known here."""
    if method in (None, "gold"):
        return False
    try:
        return method_class(method)().content.sourceless
    except UsageError:
        return method not in METHODS


def run_and_publish(
    recipe: Recipe,
    gold: "DatasetDict",
    out: Path,
    *,
    source: str = "",
    num_proc: int = 1,
    engine: str | Engine | None = None,
    overwrite: bool = False,
    progress: bool = False,
    storage: str | None = None,
    retrieved: Retrieved = "whole",
    into_existing: bool = False,
    learned: str | None = None,
    allow_empty: bool = True,
) -> Published:
    """Run a resolved recipe and publish the result; raises as ``augment`` and ``publish``, checked before any work."""
    check_retrieved(recipe.build(), retrieved)
    check_free(out, recipe, overwrite=overwrite, into_existing=into_existing)
    making: dict[str, Any] = {"num_proc": num_proc, "engine": engine, "storage": storage, "learned": learned}
    done = run(recipe, gold, out=out, progress=progress, **making)
    options: dict[str, Any] = {"into_existing": into_existing, "allow_empty": allow_empty}
    with keeping(lambda: kept_parts(done.folder, done.parts)):
        return publish(done, out, source=source, overwrite=overwrite, retrieved=retrieved, **options)


# ---------------------------------------------------------------- inside


def write_split(rows: Iterable["pa.Table"], folder: Path, stem: str, features: "Features") -> int:
    """Write a split's rows and return their size in bytes."""
    return sum(path.stat().st_size for path in write_shards(rows, folder, stem, features))


def remove_split(folder: Path, splits: dict[str, Any], split: str) -> None:
    """Remove a split without rows."""
    del splits[split]
    for path in folder.glob(f"{split}-*.parquet"):
        path.unlink()


def fingerprint_of(folder: Path, splits: Iterable[str]) -> Fingerprint:
    """Return the content fingerprint of a config's splits; stubs count as the train rows that they replace.

    Raises:
        Corrupt: a split has no file, or one is damaged.
    """
    files = split_files(folder, splits)
    if STUBS in files:
        files["train"] = files.get("train", []) + files.pop(STUBS)
    return parquet_fingerprint(files)


def split_files(folder: Path, splits: Iterable[str]) -> dict[str, list[Path]]:
    """Return the Parquet files of a config's splits.

    Raises:
        Corrupt: a split has none.
    """
    files = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in splits}
    for split, found in files.items():
        if not found:
            raise Corrupt(f"{folder}: expected {split}-*.parquet, found none: {AS_PUBLISHED}")
    return files
