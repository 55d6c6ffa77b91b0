"""A config as one HTML page: posts before and after, with boxes and scores, and rejected posts with their reasons.

The page is self-contained: pictures are thumbnails in ``data:`` URLs, decoded when they come into view; there is no
script, and a content security policy forbids any request. Text of posts is escaped.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hf_mner_aug.columns.unknown import spell
from hf_mner_aug.exceptions import CodeNotAllowed, UsageError
from hf_mner_aug.pages import fill
from hf_mner_aug.pages.posts import Album, Pair, Side, Thumbnail
from hf_mner_aug.pages.reading import ConfigRows, Gold, from_source, pick
from hf_mner_aug.publishing.cards import ConfigFacts, shown_pictures
from hf_mner_aug.publishing.folder import (
    check_own_files,
    only_config,
)
from hf_mner_aug.runs.funnel import asked_for, outcomes
from hf_mner_aug.runs.ledger import run_folder
from hf_mner_aug.runs.parts import read_rejects
from hf_mner_aug.runs.ranks import fit_once
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.sources.loading import with_pictures
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.disk import DiskFull
from hf_mner_aug.storage.shared import open_store
from hf_mner_aug.transform import Exhibits, Method

T = TypeVar("T")

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
            spelled=spelled,
            types=self.types,
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
    rows = ConfigRows.open(folder, config, split)
    gold = rows.gold if source is None else from_source(with_pictures(source, images), split, rows.facts)
    run, facts, sources = run_folder(rows.facts.recipe, Path(folder)), rows.facts, rows.sources
    chosen = spread(list(sources), posts)
    album = Album(len(chosen))
    method = _fitted(run, facts.recipe)
    wanted = {named for name in chosen if (named := sources[name]) is not None}
    before = gold.sides(wanted, album)
    exhibits = method.exhibits() if method else None
    stages = _stages(exhibits, gold, wanted, album) if exhibits else {}
    return Sheet(
        facts=facts,
        split=split,
        made=len(sources),
        pairs=rows.pairs(chosen, before, stages, album),
        types=list(dict.fromkeys([*rows.codec.types, *gold.codec.types, *facts.entities])),
        pictured=rows.codec.image_column is not None,
        absent="source not available: name it with --source" if source is None else "not in the named source",
        withdrawn=rows.note.get("withdrawn", 0),
        run=str(run),
        rejects=_rejects(run, rejects, gold) if run.is_dir() else None,
        figures=exhibits.figures if exhibits else (),
    )


def _fitted(run: Path, recipe: Recipe) -> Method | None:
    """Return the fitted method of the run; None if the run is missing or the method's class is not allowed."""
    if not (run / "fit" / "artifact.json").exists():
        return None
    try:
        return fit_once(open_store(run), recipe, {})
    except CodeNotAllowed:
        return None


def _stages(exhibits: Exhibits, gold: Gold, ids: set[str], album: Album) -> dict[str, dict[str, Thumbnail]]:
    """Return the intermediate pictures of the available posts, by id and caption."""
    found: dict[str, dict[str, Thumbnail]] = {}
    rows = pick(gold.tables(gold.codec.columns), ids if gold.ids is None else ids & gold.ids)
    while some := [gold.codec.to_post(row) for row in islice(rows, STAGED)]:
        for post, pictures in zip(some, exhibits.stages(some), strict=True):
            found[post.id] = {caption: album.add(image) for caption, image in pictures.items()}
    return found


def _rejects(run: Path, n: int, gold: Gold) -> dict[str, list[Rejected]]:
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


def spelled(value: Any) -> str:
    """Return a note's value as text."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        text = ", ".join(map(spelled, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
