"""Manifests: what a table of a paper compares, on which posts, and the figures that it prints.

A manifest is ``replication/<paper>/<table>.yaml``. Its rows are trained models (or measured sets), its columns are sets
or parts of one; a cell is a row and a column. Scores are percentages, as the papers print them.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.untrusted.shapes import read_yaml

FOLDER = Path(__file__).parent
Kind = Literal["scores", "quality", "costs", "errors", "counts", "examples"]
Split = Literal["train", "validation", "test"]
Metric = Literal["entities", "relations", "triples", "fine_triples"]
PERCENTAGES = ("precision", "recall", "f1", "share", "share_by_all")
ROUNDING = 0.0151  # F1 of precision and recall that were rounded to two digits may differ by this much
_NAME = re.compile(r"[a-z0-9][a-z0-9_+-]{0,59}")


@dataclass(frozen=True, kw_only=True)
class Published:
    """The printed figures of a cell.

    Args:
        precision, recall, f1: of a trained model, in percent.
        delta: F1 minus that of the baseline, where the paper says nothing else, in points.
        similarity, diversity: of made texts, 0 to 1.
        perplexity: of made texts.
        seconds, usd: of 500 made posts.
        share: errors of a model that some other model does not make, in percent.
        at_least: the figures are lower bounds, as in "over 30%".
        matching_score: of a post's original picture, 0 to 1.
        posts: their number.
        printed: why a figure stands here although it does not agree with another one of the paper.
    """

    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    delta: float | None = None
    similarity: float | None = None
    diversity: float | None = None
    perplexity: float | None = None
    seconds: float | None = None
    usd: float | None = None
    share: float | None = None
    at_least: bool = False
    matching_score: float | None = None
    posts: int | None = None
    printed: str = ""

    def __post_init__(self) -> None:
        for name, value in self.figures.items():
            highest = (
                100 if name in PERCENTAGES else 1 if name in ("similarity", "diversity", "matching_score") else None
            )
            if name != "delta" and (value < 0 or (highest is not None and value > highest)):
                raise UsageError(f"{name} of {value} (0 to {highest or 'any'})")
        if not self.figures:
            raise UsageError("a cell without a figure: leave it out")
        if self.precision is not None and self.recall is not None and self.f1 is not None:
            expected = harmonic_mean(self.precision, self.recall)
            if abs(expected - self.f1) > ROUNDING and not self.printed:
                raise UsageError(
                    f"f1 {self.f1}, where precision {self.precision} and recall {self.recall} give {expected:.2f} (if "
                    "the paper prints that, say so with printed)"
                )

    @property
    def figures(self) -> dict[str, float]:
        """The figures that are printed, by name."""
        named = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: v for k, v in named.items() if v is not None and k not in ("printed", "at_least")}


@dataclass(frozen=True, kw_only=True)
class Posts:
    """Numbers of posts by split; None where the paper does not say."""

    train: int | None = None
    validation: int | None = None
    test: int | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A set, or a part of it, that rows are measured on.

    Args:
        title: as the paper has it.
        set: a name of ``sets.yaml``.
        metric: entities by span and type, relations, or entities with their region (and fine type).
        subset: a folder of published ids below that of the set's subsets, as ``10pct``.
        group: test posts by whether their original picture matches the text.
        expected: posts as the paper has them.
    """

    title: str
    set: str
    metric: Metric = "entities"
    subset: str = ""
    group: Literal["", "matched", "mismatched"] = ""
    expected: Posts = field(default_factory=Posts)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A method with the parameters that the table is about.

    Args:
        method: its name.
        preset: that of the paper, where the method has one.
        presets: those of sets that have another one, by set.
        params: further parameters.
        copies: made posts for each post.
        needs: parameters that a user has to choose, with what they are.
        target: a name of the manifest's models: the method mines the errors of that model.
        gpu_gb: the memory that its models take, roughly.
        note: anything else about it.
    """

    method: str
    preset: str = ""
    presets: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    copies: int | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    gpu_gb: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A backbone and its settings; ``gpu_gb`` is the memory that training takes, roughly."""

    backbone: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    relations: str = ""
    gpu_gb: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table: a model trained with an augmentation, or on gold posts alone.

    Args:
        title: as the paper has it.
        model: a name of the manifest's models.
        augmentation: a name of its augmentations; empty is gold.
        baseline: the row that it is compared with; by default the same model on gold.
        quoted: the paper took the figures from elsewhere, so they are not run.
        phrase: words of the post that a row of examples is about.
        split: the split that this post is in.
        published: the figures by column.
        note: anything else about the row.
    """

    title: str
    model: str = ""
    augmentation: str = ""
    baseline: str = ""
    quoted: bool = False
    phrase: str = ""
    split: Split = "train"
    published: Mapping[str, Published] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A table of a paper.

    Args:
        paper, table: the folder and the file.
        title: what the table shows.
        source: the paper and the table's number in it.
        kind: what a cell is: scores of a model, measures of made texts, costs, errors, counts or examples.
        second_hand: where figures are from, if not from the paper.
        unread: why figures are missing that the paper has.
        grid: batch size and learning rate are searched on gold first.
        seeds: of the studies.
        columns, augmentations, models, rows: by name.
        notes: about the table.
    """

    paper: str
    table: str
    title: str
    source: str
    kind: Kind = "scores"
    second_hand: str = ""
    unread: str = ""
    grid: bool = False
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    columns: Mapping[str, Column]
    augmentations: Mapping[str, Augmentation] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    rows: Mapping[str, Row]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what in ("columns", "augmentations", "models", "rows"):
            for name in getattr(self, what):
                if not _NAME.fullmatch(name):
                    raise UsageError(f"{what}: the name {name!r} (lower case, digits, _, + and -)")
        sets = {column.set for column in self.columns.values()}
        for name, augmentation in self.augmentations.items():
            if elsewhere := {*augmentation.presets} - sets:
                raise UsageError(f"augmentation {name}: no column is of {min(elsewhere)}, which has a preset")
            if augmentation.target and augmentation.target not in self.models:
                raise UsageError(f"augmentation {name}: no {augmentation.target} among the models")
        known = {"columns": self.columns, "models": self.models, "augmentations": self.augmentations, "rows": self.rows}
        for name, row in self.rows.items():
            named = {"models": [row.model], "augmentations": [row.augmentation], "rows": [row.baseline]}
            named["columns"] = [*row.published]
            for what, names in named.items():
                if unknown := [one for one in names if one and one not in known[what]]:
                    raise UsageError(f"row {name}: no {unknown[0]} among the {what}")
            if row.augmentation and row.model and self.augmentations[row.augmentation].target not in ("", row.model):
                raise UsageError(f"row {name}: its augmentation mines the errors of another model")
            if row.quoted and (row.model or row.augmentation):
                raise UsageError(f"row {name}: quoted rows are not run, and have neither model nor augmentation")
            if not row.quoted and not row.model and not row.augmentation and self.kind in ("scores", "errors"):
                raise UsageError(f"row {name}: name its model, or that it is quoted")
        if not any(row.published for row in self.rows.values()) and not self.unread and self.kind != "examples":
            raise UsageError("no cell has a figure: say with unread why")

    @property
    def name(self) -> str:
        """The paper and the table, as the command names them."""
        return f"{self.paper} {self.table}"


@dataclass(frozen=True)
class Cell:
    """A row and a column of a table."""

    row: str
    column: str

    def __str__(self) -> str:
        """Return the name by which ``--cells`` selects it."""
        return f"{self.row}@{self.column}"


def cells_of(manifest: Manifest, patterns: Sequence[str] = ()) -> list[Cell]:
    """Return the cells of a table, by default all, in its order.

    A cell is of every column that its row has a figure of, or of all columns where the paper's figures are missing.

    Args:
        manifest: the table.
        patterns: names of cells or rows, as ``mmt5+gmda@t15_10pct``, ``mmt5*`` or ``*@t15_*``.

    Raises:
        UnknownName: a pattern matches no cell.
    """
    cells = [
        Cell(name, column) for name, row in manifest.rows.items() for column in (row.published or manifest.columns)
    ]
    chosen = []
    for pattern in patterns:
        found = [
            cell for cell in cells if fnmatch.fnmatchcase(str(cell), pattern if "@" in pattern else f"{pattern}@*")
        ]
        if not found:
            raise UnknownName(f"cell of {manifest.name}", pattern, [*map(str, cells), *manifest.rows])
        chosen += found
    return [cell for cell in cells if cell in chosen] if patterns else cells


def harmonic_mean(precision: float, recall: float) -> float:
    """Return the F1 of a precision and a recall."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in a file.

    Raises:
        UsageError: it cannot be read.
        DataError: it is not a manifest; the message names the key.
    """
    manifest: Manifest = read_yaml(path, Manifest)
    return manifest


def open_manifest(paper: str, table: str) -> Manifest:
    """Return the manifest of a paper's table.

    Raises:
        UnknownName: there is no such paper, or it has no such table.
    """
    named = manifest_names()
    if paper not in named:
        raise UnknownName("paper", paper, named)
    if table not in named[paper]:
        raise UnknownName(f"table of {paper}", table, named[paper])
    return read_manifest(FOLDER / paper / f"{table}.yaml")


def manifest_names() -> dict[str, list[str]]:
    """Return the tables of each paper."""
    papers = sorted({path.parent.name for path in FOLDER.glob("*/*.yaml")})
    return {paper: sorted(path.stem for path in (FOLDER / paper).glob("*.yaml")) for paper in papers}


def all_manifests() -> Iterator[Manifest]:
    """Yield every manifest."""
    for paper, tables in manifest_names().items():
        for table in tables:
            yield open_manifest(paper, table)


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A set of ``sets.yaml``: where it is from, and its posts and labels by split as ``convert`` finds them.

    ``subsets`` is the folder with ids of low-resource posts beside the set, ``xml`` that of the boxes of another one.
    """

    title: str
    get: str
    subsets: str
    posts: Posts
    labels: Posts = field(default_factory=Posts)
    xml: str = ""
    note: str = ""


def known_sets() -> dict[str, KnownSet]:
    """Return the sets that tables are measured on, by name."""
    found: dict[str, KnownSet] = read_yaml(FOLDER / "sets.yaml", Mapping[str, KnownSet])
    return found
