"""Runs the cells of a table that can run, and puts them beside the paper's figures.

Configs and studies lie in ``OUT/<paper>-<table>``, so the same command goes on where it was stopped. A study is of one
model on the posts of one column, with all augmentations that can run there: gold, these, and their controls.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_mner_aug.backbones import backbone_class
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods import method_class
from hf_mner_aug.metrics.span_errors import Error, find_errors, model_specific
from hf_mner_aug.publishing.folder import NOTE, Published, read_note, run_and_publish
from hf_mner_aug.replication.manifests import Cell, Column, Manifest, Row, open_manifest
from hf_mner_aug.replication.page import Table
from hf_mner_aug.replication.preflight import (
    SMOKE,
    Choices,
    Place,
    Plan,
    plan,
    told_deviations,
    weights_missing,
)
from hf_mner_aug.runs.engines import Engine, open_engine
from hf_mner_aug.runs.engines.local import Local
from hf_mner_aug.runs.engines.pool import Pool
from hf_mner_aug.runs.ledger import run_folder
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.runs.subset import resolve
from hf_mner_aug.schema import Codec
from hf_mner_aug.studies.quality import quality
from hf_mner_aug.studies.study import Cell as Trained
from hf_mner_aug.studies.study import Study
from hf_mner_aug.studies.tables import Report, evaluate
from hf_mner_aug.transform import Method, iterate_posts

LANGUAGE_MODEL = "gpt2"  # of the perplexities of GMDA's table 7


@dataclass(frozen=True)
class Here:
    """What was found for a cell.

    Args:
        figures: by name, each a mean, and its standard deviation over seeds or None; as the paper prints them.
        posts: test posts, or made posts where those are measured.
        seeds: trainings that the mean is over.
        p: of the difference to the baseline; None without one.
        delta: F1 minus that of the baseline, in points.
        against: the row of the baseline.
        texts: lines of examples.
        study: the folder with the predictions.
        trained: the names of the study's trainings that the figures are of.
        reason: why nothing was found.
    """

    figures: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    posts: int = 0
    seeds: int = 0
    p: float | None = None
    delta: float | None = None
    against: str = ""
    texts: tuple[str, ...] = ()
    study: str = ""
    trained: tuple[str, ...] = ()
    reason: str = ""


def replicate(
    paper: str,
    table: str,
    *,
    data: str | Path = "",
    out: str | Path,
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    preset: str = "",
    params: Mapping[str, Mapping[str, Any]] | None = None,
    models: Mapping[str, str] | None = None,
    smoke: bool = False,
    dry_run: bool = False,
    engine: str | Engine | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    ask: Callable[[Plan, list[Method]], None] | None = None,
) -> Table | Plan:
    """Run a table of a paper as far as this machine can, and return it beside the paper's figures.

    Args:
        paper: as ``gmda``.
        table: as ``table2``.
        data: the folder with a folder for each set, converted or as published; not needed for a smoke run.
        out: the folder to write: configs, studies, ``table.json`` and ``table.md``, which also keep the cells that
            earlier runs finished.
        cells: names or patterns, as ``mmt5+gmda@t15_10pct`` or ``mmt5*``; by default all.
        seeds: of models and augmentation; by default the manifest's.
        preset: of all methods, as ``embedded``, in place of the paper's.
        params: further parameters by augmentation or method, as ``{"rmda": {"corpus": "corpus.db"}}``.
        models: other backbones by the manifest's name of the model, as ``{"mmt5": "crf"}``.
        smoke: run a part of the sample set with tiny networks: this proves no figure.
        dry_run: return the plan, which trains and writes nothing.
        engine: what makes posts and trains models: ``local``, ``ray`` with settings as ``ray:workers=4``, or ``pool``,
            which makes posts in several processes and trains in this one.
        progress: show bars.
        say: called with lines on what happens.
        ask: called with the plan and its methods before anything is made; it may raise.

    Raises:
        UnknownName: there is no such paper, table, cell, model or augmentation.
        UsageError: no cell can run, or ``data`` is missing.
        MissingExtra: Ray is not installed.
    """
    working = open_engine(engine)
    if not data and not smoke:
        raise UsageError("name the folder of the sets with --data, or try the parts with --smoke")
    if data and not Path(data).is_dir():
        raise UsageError(f"{data}: expected the folder of the sets, found none")
    manifest = open_manifest(paper, table)
    choices = Choices(Path(data), Path(out), preset, params or {}, models or {}, smoke)
    found = plan(manifest, choices, cells=tuple(cells), seeds=tuple(seeds), dry_run=dry_run)
    say(found.to_text())
    if dry_run:
        return found
    if ask:
        ask(found, [found.recipe(name, place).build() for name, place in found.augmented()])
    begun = time.monotonic()
    run = _Run(found, Path(out) / f"{paper}-{table}" / ("smoke" if smoke else "run"), progress, say, working)
    results = run.results()
    results |= {cell: Here(reason="; ".join(reasons)) for cell, reasons in found.lacking.items() if reasons}
    made = Table.of(found, results, run.deviations(), run.usage, time.monotonic() - begun)
    made.write(Path(out) / f"{paper}-{table}")
    return made


# ---------------------------------------------------------------- inside


class _Run:
    """The run of a plan's cells; what cannot be made is a reason of the cells that need it."""

    def __init__(self, found: Plan, folder: Path, progress: bool, say: Callable[[str], None], engine: Engine) -> None:
        self.plan, self.folder, self.progress, self.say = found, folder, progress, say
        self.engine = engine
        self.trainer = Local() if engine.name == Pool.name else engine  # a model is trained in one process
        self.manifest: Manifest = found.manifest
        self.made: dict[tuple[str, str], Published] = {}
        self.failed: dict[tuple[str, str], str] = {}
        self.usage: dict[str, float] = {}
        self.seconds: dict[tuple[str, str], float] = {}

    def results(self) -> dict[Cell, Here]:
        """Return what was found for each cell that can run."""
        kinds = {
            "scores": self.scores,
            "quality": self.measures,
            "costs": self.costs,
            "errors": self.shares,
            "counts": self.counts,
            "examples": self.examples,
        }
        if self.manifest.kind not in ("errors", "counts"):
            for name, place in self.plan.augmented():
                self.publish(name, place)
        return kinds[self.manifest.kind]()

    def publish(self, name: str, place: Place) -> None:
        """Make the config of an augmentation, in place of one that was made with other choices."""
        self.say(f"{name} of {place.name}")
        try:
            recipe, gold = resolve(self.plan.recipe(name, place), place.splits)
            options: dict[str, Any] = {"source": str(place.folder), "overwrite": self.outdated(recipe)}
            options["engine"] = self.engine
            done = run_and_publish(recipe, gold, self.folder, allow_empty=False, **options)
        except UsageError as error:
            self.failed[name, place.name] = f"{name}: {error}"
            self.say(f"{name} of {place.name} was not made: {error}")
            return
        note = json.loads((run_folder(recipe, self.folder) / "run.json").read_bytes())
        self.seconds[name, place.name] = note["seconds_in_parts"]
        self.made[name, place.name] = done
        for what, amount in done.funnel.get("usage", {}).items():
            self.usage[what] = self.usage.get(what, 0.0) + amount

    def outdated(self, recipe: Recipe) -> bool:
        """Return whether the config of a recipe is there, made by another recipe.

        Raises:
            UsageError: so it is, and people have reviewed it.
        """
        folder = self.folder / recipe.config
        if not (folder / NOTE).exists() or (note := read_note(folder))["recipe_fingerprint"] == recipe.fingerprint:
            return False
        if note.get("review"):
            raise UsageError(f"{recipe.config} of other parameters was reviewed by people: name another folder (--out)")
        self.say(f"{recipe.config} was made with other parameters or posts, and is made anew")
        return True

    def runnable(self) -> Iterator[tuple[Cell, Row, Column, Place]]:
        """Yield the cells that can run."""
        for cell in self.plan.runnable:
            column = self.plan.column(cell)
            yield cell, self.manifest.rows[cell.row], column, self.plan.sets.place(column)

    # ------------------------------------------------------------ scores

    def scores(self) -> dict[Cell, Here]:
        """Return the scores of trained models, study by study."""
        groups: dict[tuple[str, str], list[tuple[Cell, Row, Column, Place]]] = {}
        for found in self.runnable():
            _, row, _, place = found
            groups.setdefault((row.model, place.name), []).append(found)
        results: dict[Cell, Here] = {}
        for (model, _), members in groups.items():
            column, place = members[0][2:]
            results |= self.study(model, column, place, members)
        return results

    def study(
        self, model: str, column: Column, place: Place, members: Sequence[tuple[Cell, Row, Column, Place]]
    ) -> dict[Cell, Here]:
        """Return the scores of one model on the posts of one place."""
        rows = {cell.row: row for cell, row, _, _ in members}
        wanted = dict.fromkeys(row.augmentation for row in rows.values() if row.augmentation)
        configs = [name for name in wanted if (name, place.name) in self.made]
        whole = {self.manifest.rows[row.baseline].augmentation for row in rows.values() if row.baseline}
        ablations = [
            name
            for name in configs
            if whole & {*configs} and any(row.augmentation == name and row.baseline for row in rows.values())
        ]
        grouped = any(column.group for _, _, column, _ in members)
        self.say(f"{model} on {place.name}: gold{''.join(f', {name}' for name in configs)}")
        try:
            report = self.evaluate(model, column, place, configs, ablations, grouped)
        except UsageError as error:
            return {cell: Here(reason=f"{model} on {place.name}: {error}") for cell, *_ in members}
        results = {}
        for cell, row, own, _ in members:
            if row.augmentation and row.augmentation not in configs:
                results[cell] = Here(reason=self.failed[row.augmentation, place.name])
                continue
            results[cell] = self.score(row, own, place, report, ablations)
        return results

    def evaluate(
        self, model: str, column: Column, place: Place, configs: list[str], ablations: list[str], grouped: bool
    ) -> Report:
        """Return the study of a model on some configs, or on gold alone."""
        spec = self.plan.spec(model, column)
        options: dict[str, Any] = {"backbone": spec, "seeds": self.plan.seeds, "progress": self.progress}
        options |= {"grid": self.plan.searches(model), "engine": self.trainer}
        if not configs:
            return evaluate(str(place.folder), out=self.folder, **options)
        return evaluate(
            self.folder,
            [f"{name}_{place.name}" for name in configs],
            ablations=[f"{name}_{place.name}" for name in ablations],
            source=place.splits,
            split_by=["matched"] if grouped else [],
            **options,
        )

    def score(self, row: Row, column: Column, place: Place, report: Report, ablations: Sequence[str]) -> Here:
        """Return a cell's scores of a study."""
        data = report.data
        gold = [found["name"] for found in data["rows"] if found["kind"] == "gold"]
        name = f"{row.augmentation}_{place.name}" if row.augmentation else gold[0]
        found = report.row(name)
        study = self.named(report.folder)
        posts, comparisons = data["posts"], data["comparisons"]
        figures = {score: _percent(found[score]) for score in ("precision", "recall", "f1")}
        if column.group:
            part = data.get("split_by", {}).get("matched", {}).get(str(column.group == "matched"))
            if part is None:
                return Here(reason=f"no test post is {column.group}, or no augmentation here scores how texts match")
            figures, posts, comparisons = {"f1": _percent(part["f1"][name])}, part["posts"], part["comparisons"]
        trained = tuple(f"{name}-{seed}" for seed in data["seeds"][: found["cells"]])
        here = Here(figures, posts, found["cells"], study=study, trained=trained)
        base = self.manifest.rows[row.baseline].augmentation if row.baseline else ""
        if base and row.augmentation not in ablations:
            return here  # what the paper compares it with was not made
        if base:
            pairs, sign, against = (f"{base}_{place.name}", name), -1.0, row.baseline
        elif row.augmentation:
            pairs, sign, against = (
                (name, next((c["against"] for c in comparisons if c["name"] == name and c["against"] in gold), "")),
                1.0,
                row.model,
            )
        else:
            return here
        compared = next((c for c in comparisons if (c["name"], c["against"]) == pairs), None)
        if compared is None:
            return here
        return replace(here, p=compared["p"], delta=100 * sign * compared["delta"], against=against)

    def named(self, study: Path) -> str:
        """Return the folder of a study as the table names it, from OUT."""
        out = self.plan.choices.out
        return str(study.relative_to(out)) if study.is_relative_to(out) else study.name

    # ------------------------------------------------------------ other kinds

    def measures(self) -> dict[Cell, Here]:
        """Return similarity, diversity and perplexity of made texts."""
        language_model = "" if self.plan.choices.smoke else LANGUAGE_MODEL
        lacking = weights_missing(LANGUAGE_MODEL) if language_model else "not measured in a smoke run"
        results: dict[Cell, Here] = {}
        columns: dict[str, dict[str, Any]] = {}
        for cell, row, _, place in self.runnable():
            if place.name not in columns:
                configs = [f"{name}_{where}" for name, where in self.made if where == place.name]
                try:
                    options: dict[str, Any] = {"source": place.splits, "one_copy": True}
                    options["language_model"] = None if lacking else language_model
                    report = quality(self.folder, configs, **options)
                    columns[place.name] = {column.name: column for column in report.columns}
                except UsageError as error:
                    columns[place.name] = {"": str(error)}
            found = columns[place.name].get(f"{row.augmentation}_{place.name}" if row.augmentation else "gold train")
            if found is None:
                reason = columns[place.name].get("") or self.failed.get((row.augmentation, place.name), "not made")
                results[cell] = Here(reason=str(reason))
                continue
            figures: dict[str, tuple[float, float | None]] = {}
            if row.augmentation:
                figures = {"similarity": (next(iter(found.similarity.values())), None)} if found.similarity else {}
                figures |= {"diversity": (found.diversity, None)} if found.diversity is not None else {}
            figures |= {"perplexity": (found.perplexity, None)} if found.perplexity is not None else {}
            paper = row.published.get(cell.column)
            wanted = paper.figures if paper else figures
            reason = (
                f"perplexity: {lacking}" if lacking and "perplexity" in wanted and "perplexity" not in figures else ""
            )
            results[cell] = Here(figures, found.posts or 0, reason=reason)
        return results

    def costs(self) -> dict[Cell, Here]:
        """Return seconds and USD of 500 made posts: those of the parts, also if earlier runs made some of them."""
        results: dict[Cell, Here] = {}
        for cell, row, _, place in self.runnable():
            key = (row.augmentation, place.name)
            if key not in self.made:
                results[cell] = Here(reason=self.failed[key])
                continue
            funnel = self.made[key].funnel
            usage, made = funnel.get("usage", {}), funnel["made"]
            figures: dict[str, tuple[float, float | None]] = {"seconds": (500 * self.seconds[key] / made, None)}
            reason = ""
            if usage and "usd" not in usage:
                reason = "usd: no price of the calls is set on this machine"
            else:
                figures["usd"] = (500 * usage.get("usd", 0.0) / made, None)
            results[cell] = Here(figures, funnel["kept"], reason=reason)
        return results

    def shares(self) -> dict[Cell, Here]:
        """Return the share of each model's errors that the other models of its column do not make, by two readings."""
        studies: dict[tuple[str, str], Study] = {}
        members = list(self.runnable())
        results: dict[Cell, Here] = {}
        for cell, row, column, place in members:
            options: dict[str, Any] = {"backbone": self.plan.spec(row.model, column), "seeds": self.plan.seeds}
            try:
                study = Study.open(str(place.folder), (), out=self.folder, **options)
                self.say(f"{row.model} on {place.name}")
                study.run(progress=self.progress, engine=self.trainer)
                studies[row.model, cell.column] = study
            except UsageError as error:
                results[cell] = Here(reason=f"{row.model}: {error}")
        for cell, row, *_ in members:
            others = {name: s for (name, where), s in studies.items() if where == cell.column and name != row.model}
            if (row.model, cell.column) not in studies:
                continue
            if not others:
                results[cell] = Here(reason="an error is specific beside other models, and none of them can run here")
                continue
            study = studies[row.model, cell.column]
            golds = {name: _golds(one) for name, one in (others | {row.model: study}).items()}
            shares = []
            for i in range(max(map(len, golds.values()))):  # a model without chance has one cell for all seeds
                errors = {name: _errors(one, golds[name][min(i, len(golds[name]) - 1)]) for name, one in others.items()}
                own = _errors(study, golds[row.model][min(i, len(golds[row.model]) - 1)])
                shares.append(model_specific(own, errors))
            figures = {}
            for name, reading in (("share", "right_somewhere"), ("share_by_all", "wrong_nowhere_else")):
                if values := [100 * share for found in shares if (share := found[reading]) is not None]:
                    figures[name] = _spread(values)
            reason = "" if figures else f"{row.model} makes no error"
            here = Here(figures, len(study.references), len(shares), study=self.named(study.folder), reason=reason)
            results[cell] = replace(here, trained=tuple(one.stem for one in golds[row.model]))
        return results

    def counts(self) -> dict[Cell, Here]:
        """Return the posts of each split."""
        results = {}
        for cell, _, _, place in self.runnable():
            n_posts = len(place.splits[cell.row])
            results[cell] = Here({"posts": (n_posts, None)}, n_posts)
        return results

    def examples(self) -> dict[Cell, Here]:
        """Return a post and what each augmentation made of it."""
        results = {}
        for cell, row, _, place in self.runnable():
            names = [row.augmentation] if row.augmentation else [*self.manifest.augmentations]
            made = [name for name in names if (name, place.name) in self.made]
            if not made:
                results[cell] = Here(reason="; ".join(self.failed[name, place.name] for name in names))
                continue
            post = self._post(row, place)
            if post is None:
                results[cell] = Here(reason=f"no {row.split} post of {place.set} has the words {row.phrase!r}")
                continue
            texts, figures = [f"original: {' '.join(post.tokens)}"], {}
            texts += [f"not made: {self.failed[name, place.name]}" for name in names if name not in made]
            for name in made:
                told, score = _made_of(self.folder, f"{name}_{place.name}", row.split, post.id)
                texts += [f"{name}: {text}" for text in told] or [f"{name}: nothing was made of it"]
                if score is not None:
                    figures["matching_score"] = (score, None)
            results[cell] = Here(figures, len(texts) - 1, texts=tuple(texts))
        return results

    def _post(self, row: Row, place: Place) -> Any:
        rows = place.splits[row.split]
        posts = iterate_posts(rows, Codec(rows.features))
        return next((post for post in posts if self.plan.choices.smoke or row.phrase in " ".join(post.tokens)), None)

    # ------------------------------------------------------------ told with the table

    def deviations(self) -> list[str]:
        """Return how this run differs from the paper: what headers state, and what the user chose."""
        choices, manifest = self.plan.choices, self.manifest
        told = [SMOKE] if choices.smoke else []
        rows = [manifest.rows[cell.row] for cell in self.plan.runnable]
        for name in dict.fromkeys(manifest.augmentations[row.augmentation].method for row in rows if row.augmentation):
            if text := told_deviations(method_class(name)):
                told.append(f"{name} deviates: {text}")
        used = dict.fromkeys(
            (row.model, self.plan.column(cell).metric)
            for cell, row in zip(self.plan.runnable, rows, strict=True)
            if row.model
        )
        for name, metric in used:
            column = next(column for column in manifest.columns.values() if column.metric == metric)
            spec = self.plan.spec(name, column)
            model = manifest.models[name]
            if name in choices.models or choices.smoke:
                told.append(f"{spec} in place of {name}")
            elif model.note:
                told.append(f"{name}: {model.note}")
            if text := told_deviations(backbone_class(spec.partition(":")[0])):
                told.append(f"{spec.partition(':')[0]} deviates: {text}")
            if manifest.grid and not self.plan.searches(name):
                told.append(f"batch size and learning rate of {name} are not searched")
        if manifest.kind == "scores" and any(row.augmentation for row in rows):
            told.append("each model is trained for the steps of the largest config of its study, on gold too")
        if choices.preset:
            told.append(f"all methods with the preset {choices.preset}")
        for name, params in choices.params.items():
            told.append(f"{name} with {', '.join(sorted(params))} chosen for this run")
        if self.plan.seeds != manifest.seeds and not choices.smoke:
            told.append(f"seeds {', '.join(map(str, self.plan.seeds))}")
        return list(dict.fromkeys([*told, *self.plan.notes]))


def _percent(score: Mapping[str, Any]) -> tuple[float, float | None]:
    return 100 * score["mean"], None if score["sd"] is None else 100 * score["sd"]


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _golds(study: Study) -> list[Trained]:
    """Return the cells of a study's gold posts; a model without chance has one."""
    return [cell for cell in study.cells() if cell.kind == "gold"]


def _errors(study: Study, cell: Trained) -> list[Error]:
    """Return the errors of a trained model on test."""
    record = study.read(cell)
    assert record is not None
    predictions = [[(start, end, kind) for start, end, kind in post] for post in record["predictions"]]
    return find_errors(predictions, study.references)


def _made_of(folder: Path, config: str, split: str, post: str) -> tuple[list[str], float | None]:
    """Return the texts that a config has of a post, and its matching score."""
    from datasets import Dataset

    rows = Dataset.from_parquet(sorted(map(str, (folder / config).glob(f"{split}-*.parquet"))))
    kept = [name for name in ("id", "source_id", "tokens", "matching_score", "method") if name in rows.column_names]
    texts, score = [], None
    for row in rows.select_columns(kept).with_format("arrow")[:].to_pylist():
        if row["method"] != "gold" and post in (row["source_id"], row["id"]):
            texts.append(" ".join(row["tokens"]))
            score = row.get("matching_score")
    return texts, score
