"""The low-resource curve: the effect of augmentation with 10, 20, 40% of the gold posts."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import MissingExtra, UsageError
from hf_mner_aug.publishing.folder import run_and_publish
from hf_mner_aug.runs.engines import Engine
from hf_mner_aug.runs.recipe import named_method, recipe_for
from hf_mner_aug.runs.subset import read_ids, resolve
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.studies.page import on_repo, read_runs, spell_command, write_page
from hf_mner_aug.studies.significance import holm
from hf_mner_aug.studies.study import AUGMENTED, GOLD, OVERSAMPLED, check_seeds, studying_engine
from hf_mner_aug.studies.tables import (
    LEVEL,
    Report,
    difference_table,
    evaluate,
    new_figure,
    save_figure,
    spelled,
    table,
    write_report,
)
from hf_mner_aug.studies.tasks import task_in
from hf_mner_aug.transform import Method
from hf_mner_aug.untrusted.printable import for_markdown
from hf_mner_aug.untrusted.shapes import read_json

VALIDATION_NAMES = ("validation", "valid", "dev", "val")
STYLES = {GOLD: "-", AUGMENTED: "-", OVERSAMPLED: "--"}


@dataclass(frozen=True)
class Subset:
    """Gold posts by their ids or as a fraction, under a name such as ``10pct``."""

    name: str
    train: tuple[str, ...] | None = None
    validation: tuple[str, ...] | None = None
    fraction: float = 1.0


@dataclass(frozen=True)
class Curve:
    """The studies of some subsets as plain data, the content of ``curve.json``."""

    folder: Path
    data: dict[str, Any]

    def to_markdown(self) -> str:
        """Return the curve as Markdown."""
        points = self.data["points"]
        series, task = list(points[0]["f1"]), task_in(self.data)
        f1 = task.f1
        backbone = for_markdown(self.data["backbone"])
        warnings = [point["verdict"] for point in points if not point["trusted"]]
        header = ["train", *(f"{point['name']} ({point['posts']} posts)" for point in points)]
        return (
            "\n\n".join(
                [
                    *(warnings or ["The negative control is below gold in every study, as it must be."]),
                    f"{f1[:1].upper()}{f1[1:]} on {self.data['split']} of **{backbone}**, mean ± sd over seeds:",
                    table(header, [[name, *(spelled(point["f1"][name]) for point in points)] for name in series]),
                    *(
                        f"{view} F1:\n\n"
                        + table(header, [[name, *(spelled(p[view][name]) for p in points)] for name in series])
                        for view in task.views
                    ),
                    "Effect of augmentation (Holm-corrected over this table):",
                    difference_table(self.data["comparisons"]),
                    "\n".join(f"- {for_markdown(point['name'])}: {for_markdown(point['study'])}" for point in points),
                ]
            )
            + "\n"
        )

    def write(self) -> None:
        """Write curve.json and curve.md."""
        write_report(self.folder / "curve", self.data, self.to_markdown())

    def write_page(self, path: str | Path) -> None:
        """Put the curve into a page of results, from its saved files; raises as ``studies.page.write_page``."""
        saved = Curve(self.folder, read_json(self.folder / "curve.json", dict[str, Any]))
        methods = [name for name, kind in saved.data["series"].items() if kind == AUGMENTED]
        studies = dict.fromkeys(point["study"] for point in saved.data["points"])
        runs = [ran for study in studies for ran in read_runs(self.folder.parent / study)]
        title = f"curve of {', '.join(methods)} with {saved.data['backbone']}"
        write_page(path, on_repo(title, self.folder.parent), saved.to_markdown(), saved.data, runs)

    def draw(self) -> Path:
        """Draw F1 against the gold posts, with error bars, into curve.png and return its path.

        Negative controls are left out: they are so low that the other lines would be hard to tell apart.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        points = self.data["points"]
        figure, axes = new_figure()
        colours: dict[str, str] = {GOLD: "#444444"}
        for name, kind in self.data["series"].items():
            if kind not in STYLES:
                continue
            colour = colours.setdefault(name.removeprefix("oversampled to "), f"C{len(colours) - 1}")
            scores = [point["f1"][name] for point in points]
            axes.errorbar(
                [point["posts"] for point in points],
                [score["mean"] for score in scores],
                yerr=[score["sd"] or 0.0 for score in scores],
                linestyle=STYLES[kind],
                color=colour,
                marker="o",
                markersize=4,
                capsize=3,
                label=name,
            )
        axes.set_xticks([point["posts"] for point in points], [f"{p['posts']}\n({p['name']})" for p in points])
        axes.set_xlabel("gold train posts")
        axes.set_ylabel(f"{task_in(self.data).f1} on {self.data['split']} (mean ± sd over seeds)")
        axes.set_title(self.data["backbone"])
        axes.grid(alpha=0.3)
        axes.legend()
        return save_figure(figure, self.folder / "curve.png")


def curve(
    source: str,
    ids: Path | None,
    methods: Sequence[str],
    *,
    out: Path,
    fractions: Sequence[float] = (),
    backbone: str | None = None,
    settings: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    augmentation_seeds: Sequence[int] = (),
    paired: bool = False,
    split: str = "test",
    into_existing: bool = False,
    progress: bool = True,
    engine: str | Engine | None = None,
    images: str | Path | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
    ask: Callable[[Sequence[Method]], None] | None = None,
) -> Curve:
    """Make the config of each method and subset, study them, and report the studies in one table and figure.

    Args:
        source: a dataset folder or Hub id.
        ids: a folder with subfolders such as ``10pct``, each with the ids of its train and validation posts; None with
            ``fractions``.
        methods: methods, with their default parameters or as ``rmda:corpus=corpus.db,image=false``.
        out: the repo folder to publish the configs into.
        fractions: parts of train and validation in place of ids, drawn by their ids as ``augment`` draws them.
        backbone: its name, or ``name:setting=value,…`` (default: ``crf``; ``relation_features`` for relations).
        settings: NAME=VALUE.
        seeds: of models, and of augmentation unless there are ``augmentation_seeds``.
        augmentation_seeds: of augmentation, as of ``evaluate``. Configs are made with the first one, if there are any.
        paired: as of ``evaluate``.
        split: the split to score on.
        into_existing: publish into a folder that also holds other files.
        progress: show a bar.
        engine: what makes the configs and trains the models, as of ``evaluate``.
        images: a further folder that pictures named by the source may be read from.
        columns: the source's names for the columns of this package.
        ask: called with the methods before any work; it may raise.

    Raises:
        UsageError: a name or value is wrong, there are no ids, an id is not in the source, or ``out`` holds other
            files.
    """
    working = studying_engine(engine)
    check_seeds(seeds, augmentation_seeds, paired)
    splits = load_source(source, images=images, columns=columns)
    subsets = _subsets(ids, fractions)
    built = [named_method(spec) for spec in methods]
    if augmentation_seeds:
        built = [replace(method, seed=augmentation_seeds[0]) for method in built]
    if len({method.name for method in built}) < len(built):
        raise UsageError(f"a curve has one line for each method, found {', '.join(methods)}")
    if ask:
        ask(built)
    recipes = []
    for subset in subsets:
        for method in built:
            chosen: dict[str, Any] = {"ids_train": subset.train, "ids_validation": subset.validation}
            chosen |= {"columns": dict(columns), "fraction": subset.fraction}
            recipe = recipe_for(method, config=f"{method.name}_{subset.name}", source=source, **chosen)
            recipes.append(resolve(recipe, splits))
    with working.session():  # one for all configs and studies
        for recipe, gold in recipes:
            run_and_publish(recipe, gold, out, source=source, into_existing=into_existing, engine=working)
        reports = {}
        for subset in subsets:
            names = [f"gold_{subset.name}", *(f"{method.name}_{subset.name}" for method in built)]
            reports[subset] = evaluate(
                out,
                names,
                backbone=backbone,
                settings=settings,
                seeds=seeds,
                augmentation_seeds=augmentation_seeds,
                paired=paired,
                split=split,
                source=splits,
                progress=progress,
                engine=working,
            )
    options = {
        "--ids": ids,
        "--fractions": fractions,
        "--methods": methods,
        "--backbone": backbone or next(iter(reports.values())).data["backbone"],
        "--set": settings,
        "--seeds": seeds,
        "--augmentation-seeds": augmentation_seeds,
        "--paired": paired,
        "--split": split,
        "--columns": ",".join(f"{ours}={theirs}" for ours, theirs in columns.items()),
        "--out": out,
    }
    found = combine(reports, Path(f"{out}.studies"), spell_command("curve", source, options))
    found.write()
    with contextlib.suppress(MissingExtra):  # each study has warned of it
        found.draw()
    return found


def combine(reports: dict[Subset, Report], beside: Path, command: str = "") -> Curve:
    """Combine the studies of some subsets into a curve; p-values are corrected over all of them together."""
    points, comparisons = [], []
    series: dict[str, str] = {}
    for subset, report in reports.items():
        f1 = {}
        views: dict[str, dict[str, Any]] = {name: {} for name in task_in(report.data).views}
        for row in report.data["rows"]:
            name = row["name"].removesuffix(f"_{subset.name}").replace("oversampled_to_", "oversampled to ")
            series[name] = row["kind"]
            f1[name] = row["f1"]
            for view, of_view in views.items():
                of_view[name] = row[view]["f1"]
        gold = report.row(f"gold_{subset.name}")
        points.append(
            {
                "name": subset.name,
                "posts": round(gold["train_posts"]),
                "study": report.folder.name,
                "trusted": report.trusted,
                "verdict": report.data["verdict"],
                "f1": f1,
                **views,
            }
        )
        comparisons += report.data["comparisons"]
    corrected = holm([found["p"] for found in comparisons])
    first = next(iter(reports.values())).data
    later = ("task", "augmentation_seeds", "paired")
    data = {
        **{name: first[name] for name in ("backbone", "settings", "seeds", "split")},
        **{name: first[name] for name in later if name in first},
        "series": series,
        "points": points,
        "comparisons": [
            {**found, "p_holm": p, "better": found["delta"] > 0 if p < LEVEL else None}
            for found, p in zip(comparisons, corrected, strict=True)
        ],
        "command": command,
    }
    digest = hashlib.sha256("".join(r.data["fingerprint"] for r in reports.values()).encode()).hexdigest()
    return Curve(beside / f"curve-{first['backbone']}-{digest[:8]}", data)


def _subsets(ids: Path | None, fractions: Sequence[float]) -> list[Subset]:
    """Return the subsets of a folder of ids, or of fractions.

    Raises:
        UsageError: neither or both are given, or a fraction is out of range or given twice.
    """
    if (ids is None) == (not fractions):
        raise UsageError("a curve is over subsets: name a folder with --ids, or parts of train with --fractions")
    if ids is not None:
        return read_subsets(ids)
    named = {f"{100 * fraction:.3g}pct": fraction for fraction in sorted(fractions)}
    if not all(0 < fraction <= 1 for fraction in fractions) or len(named) < len(fractions):
        found = ", ".join(map(str, fractions))
        raise UsageError(f"expected different fractions in (0, 1], found {found} (the first three digits count)")
    return [Subset(name, fraction=fraction) for name, fraction in named.items()]


def read_subsets(folder: Path) -> list[Subset]:
    """Return the subsets of a folder, the smallest first.

    Raises:
        UsageError: it has no subfolder with ids of train posts, or one lacks those of validation.
    """
    subsets = []
    for train in folder.glob("*/train.txt"):
        found = [path for name in VALIDATION_NAMES if (path := train.with_name(f"{name}.txt")).is_file()]
        if not found:
            raise UsageError(f"{train.parent} has no ids of validation posts: expected dev.txt or valid.txt")
        subsets.append(Subset(train.parent.name, read_ids(train), read_ids(found[0])))
    if not subsets:
        raise UsageError(f"{folder} has no subfolder with a train.txt: expected {folder}/10pct/train.txt, of ids")
    return sorted(subsets, key=lambda subset: len(subset.train or ()))
