"""Two configs side by side as one HTML page: each gold post, what one config made of it, what the other made of it.

As table 6 of GMDA's paper and figure 4 of RMDA's. The page requests nothing, as that of a config (``pages.config``).
Text of posts, names and reasons are escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.pages import fill
from hf_mner_aug.pages.config import spelled, spread, write_page
from hf_mner_aug.pages.posts import Album, Pair, Side
from hf_mner_aug.pages.reading import ConfigRows, Gold, from_source
from hf_mner_aug.publishing.folder import NOTE, check_own_files, only_config
from hf_mner_aug.runs.ledger import run_folder
from hf_mner_aug.runs.parts import read_rejects
from hf_mner_aug.sources.loading import with_pictures
from hf_mner_aug.untrusted.names import is_name

COPIES = 3  # made posts of one gold post that are shown of each config


@dataclass(frozen=True)
class Half:
    """The posts that a config made of a gold post; ``more`` are not shown, ``reason`` says why there are none."""

    pairs: Sequence[Pair]
    more: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """A gold post, if it is available, with what the two configs made of it."""

    id: str
    gold: Side | None
    halves: tuple[Half, Half]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The content of the page: ``total`` is the number of gold posts that something was made of, ``rows`` are shown."""

    configs: tuple[ConfigRows, ConfigRows]
    names: tuple[str, str]
    total: int
    phrase: str
    counts: Mapping[str, int]
    rows: Sequence[Row]
    types: Sequence[str]
    pictured: bool
    absent: str

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The settings of each config that the other one does not have."""
        told = []
        for config in self.configs:
            recipe = config.facts.recipe
            chosen = {"version": recipe.version, "copies": recipe.copies, "seed": recipe.seed, "preset": recipe.preset}
            told.append({"method": recipe.method, **chosen, **recipe.models, **recipe.params})
        first, second = told
        return [
            {k: v for k, v in one.items() if k == "method" or other.get(k, one) != v}
            for one, other in ((first, second), (second, first))
        ]

    def to_html(self) -> str:
        """Return the page."""
        return fill(
            "beside.html.jinja",
            sheet=self,
            spelled=spelled,
            types=self.types,
        )


def show_beside(first: str, second: str, *, out: str | Path | None = None, **chosen: Any) -> Path:
    """Write the page of two configs side by side, and return its path.

    Args:
        first: ``FOLDER:CONFIG``, or the folder of a single config.
        second: the same, or the name of another config of the first one's folder.
        out: the page to write (default: ``<first config>-<second config>.html`` in this folder).
        chosen: ``split``, whose made posts are shown (train); ``posts``, of how many gold posts (100); ``phrase``,
            words that a gold or made post has to have; ``source``, a folder, Hub id or splits, if the configs do not
            hold the gold posts; ``images``, a further folder that the source's pictures may be read from.

    Raises:
        UsageError: ``out`` cannot be written, or as ``read_beside``.
    """
    places = find_configs(first, second)
    path = Path("-".join(config for _, config in places) + ".html" if out is None else out)
    return write_page(path, lambda: read_beside(*places, **chosen).to_html())


def find_configs(first: str, second: str) -> tuple[tuple[Path, str], tuple[Path, str]]:
    """Return the folders and names of two configs as a user names them.

    Raises:
        UsageError: one is named neither as ``FOLDER:CONFIG`` nor as the folder of a single config.
    """
    folder, config = _find(first)
    if is_name(second) and (folder / second / NOTE).is_file():
        return (folder, config), (folder, second)
    return (folder, config), _find(second)


def read_beside(
    first: tuple[Path, str],
    second: tuple[Path, str],
    *,
    split: str = "train",
    posts: int = 100,
    phrase: str = "",
    source: Any = None,
    images: str | Path | None = None,
) -> Beside:
    """Return the content of the page; rows are read in batches, and only thumbnails are kept.

    Args:
        first: folder and name of a config.
        second: those of another one.
        split: the split whose made posts are shown.
        posts: of how many gold posts, evenly spread.
        phrase: words that a gold post or one made of it has to have.
        source: the folder or Hub id of the source, or its splits; without it, gold posts are taken from the configs.
        images: a further folder that pictures named by ``source`` may be read from.

    Raises:
        UsageError: the configs are of different sources or one and the same, no post has the phrase, a config's posts
            are made of no single gold post, or as ``ConfigRows.open``.
        Corrupt: a file is damaged or missing.
        DataError: a row does not fit its columns.
    """
    if posts < 1:
        raise UsageError(f"expected at least 1 post, found {posts}")
    configs = ConfigRows.open(*first, split), ConfigRows.open(*second, split)
    _check_alike(first, second, configs)
    golds = [config.gold for config in configs]
    if source is not None:
        golds.insert(0, from_source(with_pictures(source, images), split, configs[0].facts))
    made = _made(configs[0]), _made(configs[1])
    every = list(dict.fromkeys([*made[0], *made[1]]))
    if phrase:
        having = _having(phrase, golds, configs)
        every = [name for name in every if name in having]
        if not every:
            raise UsageError(f"no post that {first[1]} or {second[1]} has in {split} has the words {phrase!r}")
    chosen = spread(every, posts)
    album = Album(len(chosen))
    before: dict[str, Side] = {}
    for gold in golds:
        before |= gold.sides({name for name in chosen if name not in before}, album)
    halves = [
        _halves(config, of, folder, chosen, before, album)
        for config, of, (folder, _) in zip(configs, made, (first, second), strict=True)
    ]
    both = sum(name in made[0] and name in made[1] for name in every)
    names = _names(first, second)
    alone = [sum(name in of for name in every) - both for of in made]
    counts = {"both": both, **{f"{name} alone": n for name, n in zip(names, alone, strict=True)}}
    types = [kind for config in configs for kind in (*config.codec.types, *config.facts.entities)]
    return Beside(
        configs=configs,
        names=names,
        total=len(every),
        phrase=phrase,
        counts=counts,
        rows=[Row(name, before.get(name), (halves[0][name], halves[1][name])) for name in chosen],
        types=list(dict.fromkeys([*(kind for gold in golds for kind in gold.codec.types), *types])),
        pictured=any(config.codec.image_column is not None for config in configs),
        absent="source not available: name it with --source" if source is None else "not in the named source",
    )


# ---------------------------------------------------------------- inside


def _find(text: str) -> tuple[Path, str]:
    """Return the folder and the name of a config."""
    folder, _, config = text.rpartition(":")
    if folder and is_name(config):
        if not (Path(folder) / config / NOTE).is_file():
            raise UsageError(f"{text}: {folder} holds no config {config}")
        return Path(folder), config
    return Path(text), only_config(text)


def _check_alike(first: tuple[Path, str], second: tuple[Path, str], configs: tuple[ConfigRows, ConfigRows]) -> None:
    """Raise UsageError unless two configs are made of the same source and can be compared post by post."""
    if first[1] == second[1] and first[0].resolve() == second[0].resolve():
        raise UsageError(f"{first[1]} stands beside itself: name two configs")
    one, other = (config.facts.recipe.source_fingerprint for config in configs)
    if one != other:
        raise UsageError(
            f"{first[1]} and {second[1]} are made of different sources ({one[:12]} and {other[:12]}), so their posts "
            "have no gold post in common"
        )
    for config in configs:
        if not any(config.sources.values()):
            raise UsageError(f"posts of {config.config} are made of no single gold post, so they stand beside none")


def _names(first: tuple[Path, str], second: tuple[Path, str]) -> tuple[str, str]:
    """Return the names of two configs, with their folders' where the configs have one name."""
    if first[1] != second[1]:
        return first[1], second[1]
    one, other = (f"{folder.resolve().name}:{config}" for folder, config in (first, second))
    return (one, other) if one != other else (f"{one} (first)", f"{other} (second)")


def _made(config: ConfigRows) -> dict[str, list[str]]:
    """Return the ids of a config's made posts by that of their gold post."""
    found: dict[str, list[str]] = {}
    for made, source in config.sources.items():
        if source is not None:
            found.setdefault(source, []).append(made)
    return found


def _having(phrase: str, golds: Sequence[Gold], configs: Sequence[ConfigRows]) -> set[str]:
    """Return the ids of gold posts that have some words, or of which a post with these was made."""
    found: set[str] = set()
    for gold in golds:
        for table in gold.tables(["id", "tokens"]):
            rows = zip(table.column("id").to_pylist(), table.column("tokens").to_pylist(), strict=True)
            found |= {name for name, tokens in rows if phrase in " ".join(tokens)}
    return found | {source for config in configs for made, source in config.sources.items() if source and made in found}


def _halves(
    config: ConfigRows,
    made: Mapping[str, Sequence[str]],
    folder: Path,
    chosen: Sequence[str],
    before: Mapping[str, Side],
    album: Album,
) -> dict[str, Half]:
    """Return what a config made of each chosen post."""
    shown = {one for name in chosen for one in made.get(name, ())[:COPIES]}
    pairs = {pair.after.post.id: pair for pair in config.pairs(shown, before, {}, album)}
    rejected = _rejected(run_folder(config.facts.recipe, folder))
    halves = {}
    for name in chosen:
        own = [pairs[one] for one in made.get(name, ())[:COPIES]]
        reason = ""
        if not own and name in rejected:
            reason = f"nothing made of it: rejected as {rejected[name]}"
        elif not own:
            given = name in config.gold_ids or config.facts.replaces
            reason = "nothing made of it" if given else "not among the posts that it was given"
        halves[name] = Half(own, len(made.get(name, ())) - len(own), reason)
    return halves


def _rejected(run: Path) -> dict[str, str]:
    """Return why posts were rejected, by id; nothing where the run is not beside the folder any more."""
    files = sorted((run / "rejected").glob("*.parquet"))
    check_own_files(files, run)
    found: dict[str, str] = {}
    for path in files:
        for row in read_rejects(path):
            found.setdefault(row["source_id"], row["reason"])
    return found
