"""The leaderboard: rows of replicated tables in a dataset repo, each checked before it is shown.

A row is a line of ``results/*.jsonl``, and anyone may have written it. It is read only if its recipe has the
fingerprint that it states, and its method, set and config are those of the cell that it names. Its figures are its
sender's word.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hf_mner_aug import __version__
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods import method_class
from hf_mner_aug.publishing.folder import check_own_files
from hf_mner_aug.publishing.hub_repo import HubRepo, persist
from hf_mner_aug.replication.manifests import Metric, cells_of, known_sets, open_manifest
from hf_mner_aug.replication.preflight import WHOLE
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.studies.page import put_section, spell_command
from hf_mner_aug.studies.tables import table
from hf_mner_aug.untrusted.names import check_digest, is_name
from hf_mner_aug.untrusted.printable import excerpt, for_markdown
from hf_mner_aug.untrusted.shapes import parse_json
from hf_mner_aug.values import Amount, Positive, Range, check_ranges

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

FOLDER = "results"
LARGEST_FILE, LARGEST_BOARD = 4_000_000, 64_000_000  # bytes
LONGEST = {"backbone": 100, "settings": 4_000, "code": 100, "version": 40}  # characters
MOST_SEEDS = 100
SHOWN_FAULTS = 20

Percent = Annotated[float, Range(0, 100)]
Points = Annotated[float | None, Range(-100, 100)]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The F1 of a model that was trained on what a method made, for a cell of a table.

    Args:
        paper, table, cell: as in the manifest.
        method: its name.
        recipe: of the config, as canonical JSON without the place of the source.
        recipe_fingerprint, content_fingerprint: of the recipe, and of the config's rows.
        set, fraction: the set, and the published part of its train split, as ``10pct``.
        backbone, settings: the model, and its settings as JSON.
        metric: what the F1 is of.
        mean, sd: over the trainings, in percent; ``sd`` is None for one.
        gold: the mean F1 on gold posts alone.
        delta, p: the mean minus that on gold posts repeated up to the same number, in points, and p of this difference;
            None where a method replaces posts, and for ablations.
        seeds: of models and augmentation.
        posts: of test.
        seconds: of the trainings.
        usd: of the method's calls; None where no price is known.
        code: the commit of this package, or its version.
        version: that of this package.

    Raises:
        UsageError: it contradicts itself or its cell.
    """

    paper: str
    table: str
    cell: str
    method: str
    recipe: str
    recipe_fingerprint: str
    content_fingerprint: str
    set: str
    fraction: str
    backbone: str
    settings: str
    metric: Metric
    mean: Percent
    sd: Annotated[float | None, Range(0, 100)]
    gold: Percent
    delta: Points
    p: Annotated[float | None, Range(0, 1)]
    seeds: tuple[int, ...]
    posts: Positive
    seconds: Amount
    usd: Annotated[float | None, Range(0)]
    code: str
    version: str

    def __post_init__(self) -> None:
        check_ranges(self)
        for name, longest in LONGEST.items():
            if len(getattr(self, name)) > longest:
                raise UsageError(f"{name} of {len(getattr(self, name))} characters, at most {longest} are read")
        if not 0 < len(self.seeds) <= MOST_SEEDS or len({*self.seeds}) < len(self.seeds):
            raise UsageError(f"seeds: expected 1 to {MOST_SEEDS} different ones, found {len(self.seeds)}")
        if (self.delta is None) != (self.p is None):
            raise UsageError("delta and p: expected both or none of them, found one")
        check_digest(self.content_fingerprint, "content_fingerprint")
        parse_json(self.settings, dict[str, Any], "settings")
        self._check_recipe(self._check_cell())

    def _check_cell(self) -> str:
        """Check that the row is of the cell that it names, and return the name of its config."""
        manifest = open_manifest(self.paper, self.table)
        cell = next((cell for cell in cells_of(manifest) if str(cell) == self.cell), None)
        if cell is None:
            raise UsageError(f"{manifest.name} has no cell {excerpt(self.cell, 60)!r}")
        row, column = manifest.rows[cell.row], manifest.columns[cell.column]
        if manifest.kind != "scores" or not row.augmentation or column.group:
            raise UsageError(f"{cell} of {manifest.name} is no score of a method on all test posts")
        fraction = column.subset or WHOLE
        method = manifest.augmentations[row.augmentation].method
        expected = {"method": method, "set": column.set, "fraction": fraction, "metric": column.metric}
        for name, value in expected.items():
            if getattr(self, name) != value:
                raise UsageError(
                    f"{name} {excerpt(getattr(self, name), 60)!r}, and {cell} of {manifest.name} has {value}"
                )
        return f"{row.augmentation}_{column.set}_{fraction}"

    def _check_recipe(self, config: str) -> None:
        recipe = Recipe.from_dict(parse_json(self.recipe, dict[str, Any], "recipe"))
        if recipe.fingerprint != self.recipe_fingerprint:
            stated = excerpt(self.recipe_fingerprint, 12)
            raise UsageError(f"the recipe has the fingerprint {recipe.fingerprint[:12]}, and the row states {stated}")
        if (recipe.method, recipe.config, recipe.code) != (self.method, config, ""):
            raise UsageError(
                f"the recipe is for {excerpt(recipe.config, 60)} by {excerpt(recipe.code or recipe.method, 60)}, and "
                f"{self.cell} is of {config} by {self.method}"
            )
        if self.version == __version__ and recipe.version != (known := method_class(self.method).version):
            raise UsageError(
                f"the recipe is for version {recipe.version} of {self.method}, which has version {known} in "
                f"hf_mner_aug {__version__}"
            )

    def to_line(self) -> str:
        """Return the row as a line of JSON, the same for equal rows."""
        return canonical_json(dataclasses.asdict(self))


@dataclass(frozen=True)
class Leaderboard:
    """The rows of a repo, each once, and a line for whatever could not be read.

    ``place`` is the repo with the commit that was read, or the name of a folder.
    """

    place: str
    results: tuple[Result, ...]
    faults: tuple[str, ...]
    command: str = ""

    def to_markdown(self) -> str:
        """Return a table for each set, fraction and metric, best F1 first, as Markdown."""
        parts = []
        titles = {name: known.title for name, known in known_sets().items()}
        for key in sorted({(one.set, one.fraction, one.metric) for one in self.results}):
            members = [one for one in self.results if (one.set, one.fraction, one.metric) == key]
            parts.append(f"### {for_markdown(titles[key[0]])}, {key[1]} of train: F1 of {key[2].replace('_', ' ')}")
            header = ["method", "backbone", "F1 ± sd", "gold", "Δ to gold repeated", "p", "seeds", "posts", "table"]
            header += ["seconds", "USD", "recipe", "settings", "code"]
            parts.append(table(header, [_shown(one) for one in sorted(members, key=lambda one: -one.mean)]))
        if not parts:
            parts.append("There are no rows.")
        parts.append(
            "F1 in percent, mean ± standard deviation over seeds. *gold*: the same model on gold posts alone. Δ: the "
            "mean minus that on gold posts repeated up to the same number; p by a paired bootstrap over posts, of one "
            "comparison alone. Recipes are checked, figures are the word of those who sent them."
        )
        if self.faults:
            lines = [f"- {for_markdown(fault)}" for fault in self.faults[:SHOWN_FAULTS]]
            more = len(self.faults) - len(lines)
            parts.append("\n".join(["Left out:", "", *lines, *([f"- and {more} more"] if more else [])]))
        return "\n\n".join(parts) + "\n"

    def write_page(self, path: str | Path) -> None:
        """Put the tables into a page of results; raises as ``studies.page.put_section``."""
        put_section(path, "Leaderboard", self.to_markdown(), self.command, [f"Rows of {self.place}"])


def leaderboard(repo: str | Path, *, token: str | None = None) -> Leaderboard:
    """Return the rows that ``submit`` sent to a repo, as the repo is now.

    Args:
        repo: ORG/NAME of the dataset repo, or a folder with its files.
        token: a token to read with (default: the one of this machine).

    Raises:
        UsageError: there is no such repo or folder, or this token may not read it.
        HubError: the Hub could not be reached or failed.
    """
    command = spell_command("leaderboard", repo, {})
    if (folder := Path(repo)).is_dir():
        files = [path for path in (folder / FOLDER).glob("*.jsonl") if is_name(path.name)]
        sizes = {f"{FOLDER}/{path.name}": path.stat().st_size if path.exists() else 0 for path in files}
        return dataclasses.replace(read_rows(folder, sizes, folder.resolve().name), command=command)
    hub = HubRepo(str(repo), token)

    def once() -> Leaderboard:
        head = hub.info().sha
        assert head is not None
        return fetch(hub, head, hub.files(head))

    return dataclasses.replace(persist(once), command=command)


def fetch(hub: HubRepo, head: str, remote: Mapping[str, "RepoFile"]) -> Leaderboard:
    """Return the rows of a commit, whose files are ``remote``."""
    paths = [path.partition("/") for path in remote]
    sizes = {
        f"{FOLDER}/{name}": remote[f"{FOLDER}/{name}"].size
        for folder, _, name in paths
        if folder == FOLDER and is_name(name) and name.endswith(".jsonl")
    }
    wanted = {path: remote[path] for path in _fitting(sizes)}
    folder = hub.download(head, wanted, None) if wanted else Path()
    return read_rows(folder, sizes, f"{hub.repo_id} at {head[:12]}")


def read_rows(folder: Path, sizes: Mapping[str, int], place: str) -> Leaderboard:
    """Return the rows of files in a folder.

    Args:
        folder: the root of the repo.
        sizes: bytes by path; files and boards that are too large are told and not read.
        place: what the rows are of.
    """
    fitting = _fitting(sizes)
    faults = [f"{path}: {sizes[path]:,} bytes, which are not read" for path in sorted({*sizes} - {*fitting})]
    results: dict[str, Result] = {}
    for path in fitting:
        try:
            check_own_files([folder / path], folder)
            lines = (folder / path).read_bytes().split(b"\n")
        except (UsageError, OSError) as error:
            faults.append(f"{path}: {_why(error, folder)}")
            continue
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                result = parse_json(line, Result, f"{path} line {number}")
            except UsageError as error:
                faults.append(excerpt(str(error)))
                continue
            results[result.to_line()] = result
    return Leaderboard(place, tuple(results.values()), tuple(faults))


# ---------------------------------------------------------------- inside


def _fitting(sizes: Mapping[str, int]) -> list[str]:
    """Return the paths that are read, in order: no file and no sum of files is too large."""

    def taken() -> Iterator[str]:
        total = 0
        for path, size in sorted(sizes.items()):
            if size <= LARGEST_FILE and total + size <= LARGEST_BOARD:
                total += size
                yield path

    return [*taken()]


def _why(error: Exception, folder: Path) -> str:
    """Return what an error says, without the folder's path."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return excerpt(said.replace(f"{folder}/", "").replace(str(folder), "the folder"))


def _shown(one: Result) -> Sequence[str]:
    """Return a row of the table."""
    sd = "" if one.sd is None else f" ± {one.sd:.2f}"
    delta = "" if one.delta is None else f"{one.delta:+.2f}"
    p = "" if one.p is None else f"{one.p:.3f}"
    seeds = ", ".join(map(str, one.seeds))
    settings = ", ".join(f"{name}={value}" for name, value in json.loads(one.settings).items())
    return [
        *(one.method, one.backbone, f"{one.mean:.2f}{sd}", f"{one.gold:.2f}", delta, p, seeds, str(one.posts)),
        *(f"{one.paper} {one.table} {one.cell}", f"{one.seconds:.0f}", "" if one.usd is None else f"{one.usd:.2f}"),
        *(one.recipe_fingerprint[:12], settings, one.code),
    ]
