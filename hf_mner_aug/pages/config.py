"""A config as one HTML page: posts before and after, with boxes and scores, and rejected posts with their reasons.

The page is self-contained: pictures are thumbnails in ``data:`` URLs, each embedded once; there is no script, and a
content security policy forbids any request. Text of posts is escaped.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hf_mner_aug.columns.unknown import spell
from hf_mner_aug.exceptions import CodeNotAllowed, Corrupt, UnknownName, UsageError
from hf_mner_aug.pages import fill
from hf_mner_aug.pages.posts import HEIGHT, WIDTH, Album, Pair, Side, Thumbnail
from hf_mner_aug.publishing.cards import ConfigFacts, shown_pictures
from hf_mner_aug.publishing.folder import (
    KEYS,
    check_own_files,
    only_config,
    read_features,
    read_note,
)
from hf_mner_aug.publishing.remaining import tables_of
from hf_mner_aug.publishing.rows import BATCH, is_made
from hf_mner_aug.publishing.stubs import check_whole
from hf_mner_aug.runs.funnel import asked_for, nothing_made, outcomes
from hf_mner_aug.runs.ledger import run_folder
from hf_mner_aug.runs.parts import read_rejects
from hf_mner_aug.runs.ranks import fit_once
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import AUGMENTED, Codec, read_provenance
from hf_mner_aug.sources.loading import load_source, with_pictures
from hf_mner_aug.sources.splits import named_splits
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.disk import DiskFull
from hf_mner_aug.storage.parquet import shards
from hf_mner_aug.storage.shared import open_store
from hf_mner_aug.transform import Exhibits, Method

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetDict, Features

T = TypeVar("T")

HUES = (215, 175, 35, 280, 325, 60, 250, 195, 15, 300)  # of entity types, in degrees; green and red mark changes
STAGED = 16  # batch size when intermediate pictures are made again
LONGEST = 240  # characters of a note


class Rejected(NamedTuple):
    """A rejected post: its id, the number of the copy, the detail of the reject, and the post where it is available."""

    source_id: str
    copy: int
    detail: str
    side: Side | None


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The content of the page.

    ``made`` is the number of made posts in the split, ``types`` are the types that have a colour, ``absent`` is the
    text in place of a source post that is not available, ``rejects`` has examples by reason (None without the run's
    folder). ``figures`` are SVG drawings above the posts; they are not escaped, since code makes them, never data.
    """

    facts: ConfigFacts
    split: str
    made: int
    pairs: Sequence[Pair]
    album: Album
    types: Sequence[str]
    pictured: bool
    absent: str
    withdrawn: int
    run: str
    rejects: Mapping[str, Sequence[Rejected]] | None
    figures: Sequence[str] = ()

    @property
    def funnel(self) -> dict[str, int]:
        """The number of posts by outcome."""
        found, copies = self.facts.funnel, self.facts.recipe.copies
        return {
            **dict([asked_for(found, copies)]),
            **outcomes(found, copies),
            **({"withdrawn since, gold posts included": self.withdrawn} if self.withdrawn else {}),
        }

    @property
    def shown(self) -> str:
        """A sentence on the train pictures that made pictures show, if any."""
        return shown_pictures(self.facts.pictures)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the config."""
        recipe = self.facts.recipe
        return {
            "method": recipe.method,
            "version": recipe.version,
            "gold": f"{100 * recipe.fraction:g}%" if recipe.ids_train is None else f"{len(recipe.ids_train)} by id",
            "copies": recipe.copies,
            "seed": recipe.seed,
            "preset": recipe.preset,
            **recipe.models,
            **recipe.params,
            **({"columns": spell(self.facts.columns)} if self.facts.columns else {}),
        }

    def to_html(self) -> str:
        """Return the page."""
        return fill(
            "sheet.html.jinja",
            sheet=self,
            facts=self.facts,
            spelled=_spelled,
            colours={kind: i % len(HUES) for i, kind in enumerate(self.types)},
            hues=HUES,
            width=WIDTH,
            height=HEIGHT,
        )


def show(
    folder: str | Path,
    config: str | None = None,
    *,
    out: str | Path | None = None,
    figures: Sequence[str] = (),
    **chosen: Any,
) -> Path:
    """Write the page of a config, and return its path.

    Args:
        folder: the repo folder.
        config: the config's name; a folder's only config need not be named.
        out: the page to write (default: ``<config>.html`` in this folder).
        figures: further drawings (SVG) for the page.
        chosen: ``split``, whose made posts are shown (train); ``posts``, how many of them (100); ``rejects``, how many
            rejected ones of each reason (20); ``source``, a folder, Hub id or splits, if the config does not hold the
            gold posts; ``images``, a further folder that the source's pictures may be read from.

    Raises:
        UsageError: ``out`` cannot be written, or as ``read_sheet``.
    """
    config = only_config(folder) if config is None else config

    def page() -> str:
        sheet = read_sheet(folder, config, **chosen)
        return replace(sheet, figures=[*sheet.figures, *figures]).to_html()

    return write_page(Path(f"{config}.html" if out is None else out), page)


def write_page(path: Path, page: Callable[[], str]) -> Path:
    """Write a page that a function makes, and return its path.

    Raises:
        UsageError: it cannot be written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file with --out")
    made = page().encode("utf-8", "replace")
    try:
        artifacts.write_atomically(path, made)
    except DiskFull:
        raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; name another file with --out") from error
    return path


# ---------------------------------------------------------------- reading


def read_sheet(
    folder: str | Path,
    config: str,
    *,
    split: str = "train",
    posts: int = 100,
    rejects: int = 20,
    source: Any = None,
    images: str | Path | None = None,
) -> Sheet:
    """Return the content of a config's page; rows are read in batches, and only thumbnails are kept.

    Args:
        folder: the repo folder.
        config: the config's name.
        split: the split whose made posts are shown.
        posts: how many of them, evenly spread.
        rejects: how many rejected posts of each reason, evenly spread.
        source: the folder or Hub id of the source, or its splits; without it, gold posts are taken from the config.
        images: a further folder that pictures named by ``source`` may be read from.

    Raises:
        UsageError: there is no such config or split, it holds no made posts, or a number is too small.
        Corrupt: a file is damaged or missing.
        DataError: a row does not fit its columns.
    """
    if posts < 1 or rejects < 0:
        raise UsageError(f"expected at least 1 post and 0 rejected ones, found {posts} and {rejects}")
    source = with_pictures(source, images)
    place = Path(folder) / config
    note = read_note(place)
    check_whole(note, folder, config)
    facts = ConfigFacts.from_note(note)
    if split not in facts.splits:
        raise UnknownName("split", split, facts.splits)
    files = shards(place, split)
    if not files:
        raise Corrupt(f"{place} holds no {split}-*.parquet, though its augmentation.json names that split")
    run = run_folder(facts.recipe, Path(folder))
    features = read_features(place)
    codec = Codec(features)
    index = [row for table in tables_of(files, list(KEYS[:-1])) for row in table.to_pylist()]
    n_gold, methods = facts.splits[split].gold, [row["method"] for row in index]
    own = is_made(methods, facts.recipe.method, n_gold, replaces=facts.replaces)
    sources = {row["id"]: row["source_id"] for row, made in zip(index, own, strict=True) if made}
    if not sources and not facts.funnel["kept"]:
        raise UsageError(f"{config} has nothing to show: {nothing_made(facts.funnel, facts.recipe.build())}")
    if not sources:
        others = " or ".join(name for name, rows in facts.splits.items() if rows.made)
        raise UsageError(f"{split} of {config} holds no made posts; {others or 'no other split'} does")
    chosen = spread(list(sources), posts)
    if source is None:
        gold_ids = {row["id"] for row in index if row["id"] not in sources}
        gold = _Gold(codec, lambda columns: tables_of(files, columns), gold_ids)
    else:
        names = facts.recipe.columns
        splits = (
            load_source(str(source), columns=names)
            if isinstance(source, str | Path)
            else named_splits(source, columns=names)
        )
        gold = _from_source(splits, split)
    album = Album()
    method = _fitted(run, facts.recipe)
    before = gold.sides({sources[name] for name in chosen}, album)
    exhibits = method.exhibits() if method else None
    stages = _stages(exhibits, gold, {sources[name] for name in chosen}, album) if exhibits else {}
    return Sheet(
        facts=facts,
        split=split,
        made=len(sources),
        pairs=_pairs(features, codec, files, chosen, before, stages, album),
        album=album,
        types=list(dict.fromkeys([*codec.types, *gold.codec.types, *facts.entities])),
        pictured=codec.image_column is not None,
        absent="source not available: name it with --source" if source is None else "not in the named source",
        withdrawn=note.get("withdrawn", 0),
        run=str(run),
        rejects=_rejects(run, rejects, gold) if run.is_dir() else None,
        figures=exhibits.figures if exhibits else (),
    )


class _Gold(NamedTuple):
    """The gold posts: their codec, and a function that yields tables of the columns asked for."""

    codec: Codec
    tables: "Callable[[list[str]], Iterator[pa.Table]]"
    ids: set[str] | None = None  # None: all

    def sides(self, ids: set[str], album: Album | None) -> dict[str, Side]:
        """Return the posts that are available, by id; without an album no picture is read."""
        wanted = ids if self.ids is None else ids & self.ids
        columns = [name for name in self.codec.columns if album is not None or name != self.codec.image_column]
        rows = _pick(self.tables(columns), wanted)
        blank = dict.fromkeys(self.codec.columns)
        return {row["id"]: Side.of(self.codec.to_post({**blank, **row}), album) for row in rows}


def _from_source(splits: "DatasetDict", split: str) -> _Gold:
    """Return the source's posts; of an id that several splits have, the post of ``split`` is taken."""

    def tables(columns: list[str]) -> "Iterator[pa.Table]":
        for name in sorted(splits, key=lambda name: name == split):
            yield from splits[name].select_columns(columns).with_format("arrow").iter(BATCH)

    return _Gold(Codec(splits["train"].features), tables)


def _pick(tables: "Iterable[pa.Table]", ids: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows with some ids."""
    import pyarrow as pa

    for table in tables:
        found = [i for i, name in enumerate(table.column("id").to_pylist()) if name in ids]
        yield from table.take(pa.array(found, pa.int64())).to_pylist()


def _pairs(
    features: "Features",
    codec: Codec,
    files: Sequence[Path],
    chosen: Sequence[str],
    before: Mapping[str, Side],
    stages: Mapping[str, Mapping[str, Thumbnail]],
    album: Album,
) -> list[Pair]:
    """Return made posts beside their gold posts; columns outside of a post become notes and further pictures."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    others = [name for name in features if name not in (*codec.columns, *AUGMENTED)]
    notes = [name for name in others if kinds[name] == "Value"]
    pictures = [name for name in others if kinds[name] == "Image"]
    columns = [*codec.columns, "source_id", "provenance", *notes, *pictures]
    pairs = []
    for row in _pick(tables_of(files, columns), set(chosen)):
        note = read_provenance(row["provenance"] or "null", f"post {row['id']}")
        review = {"review": note["review"]["verdict"]} if "review" in note else {}
        pairs.append(
            Pair(
                before.get(row["source_id"]),
                Side.of(codec.to_post(row), album),
                {**note.get("details", {}), **review, **{name: row[name] for name in notes}},
                {
                    **stages.get(row["source_id"], {}),
                    **{name: album.add(row[name]) for name in pictures if row[name] is not None},
                },
                row["source_id"] is None,
            )
        )
    return pairs


def _fitted(run: Path, recipe: Recipe) -> Method | None:
    """Return the fitted method of the run; None if the run is missing or the method's class is not allowed."""
    if not (run / "fit" / "artifact.json").exists():
        return None
    try:
        return fit_once(open_store(run), recipe, {})
    except CodeNotAllowed:
        return None


def _stages(exhibits: Exhibits, gold: _Gold, ids: set[str], album: Album) -> dict[str, dict[str, Thumbnail]]:
    """Return the intermediate pictures of the available posts, by id and caption."""
    found: dict[str, dict[str, Thumbnail]] = {}
    rows = _pick(gold.tables(gold.codec.columns), ids if gold.ids is None else ids & gold.ids)
    while some := [gold.codec.to_post(row) for row in islice(rows, STAGED)]:
        for post, pictures in zip(some, exhibits.stages(some), strict=True):
            found[post.id] = {caption: album.add(image) for caption, image in pictures.items()}
    return found


def _rejects(run: Path, n: int, gold: _Gold) -> dict[str, list[Rejected]]:
    """Return at most n rejected posts of each reason."""
    by_reason: dict[str, list[dict[str, Any]]] = {}
    files = sorted((run / "rejected").glob("*.parquet"))
    check_own_files(files, run)
    for path in files:
        for row in read_rejects(path):
            by_reason.setdefault(row["reason"], []).append(row)
    chosen = {reason: spread(rows, n) for reason, rows in by_reason.items()}
    sides = gold.sides({row["source_id"] for rows in chosen.values() for row in rows}, None)
    return {
        reason: [Rejected(r["source_id"], r["copy"], r["detail"], sides.get(r["source_id"])) for r in rows]
        for reason, rows in chosen.items()
    }


def spread(items: Sequence[T], n: int) -> list[T]:
    """Return at most n of the items, evenly spread."""
    return [items[i * len(items) // n] for i in range(n)] if n < len(items) else list(items)


# ---------------------------------------------------------------- writing


def _spelled(value: Any) -> str:
    """Return a note's value as text."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        text = ", ".join(map(_spelled, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
