"""The report of a study: mean and spread of each score, the effect of augmentation, and the negative control."""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.backbones.settings import settings_of
from hf_mner_aug.exceptions import MissingExtra, UsageError
from hf_mner_aug.metrics.spans import Labelled, post_counts
from hf_mner_aug.need import need
from hf_mner_aug.publishing.cards import put_section
from hf_mner_aug.runs.engines import Engine
from hf_mner_aug.schema import Codec
from hf_mner_aug.sources.loading import with_pictures
from hf_mner_aug.storage import artifacts
from hf_mner_aug.studies.page import on_repo, read_runs, spell_command, spell_seeds, write_page
from hf_mner_aug.studies.significance import holm, paired_bootstrap, rates, resample
from hf_mner_aug.studies.study import AUGMENTED, GOLD, OVERSAMPLED, Study, studying_engine
from hf_mner_aug.studies.tasks import BOXES_SHUFFLED, ENTITIES, SHUFFLED, Task, task_in, viewed
from hf_mner_aug.transform import Method, iterate_posts
from hf_mner_aug.untrusted.printable import for_markdown
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 1000
LEVEL = 0.05
SCORES = ("precision", "recall", "f1")
FIGURE_INCHES, FIGURE_DPI = (8.0, 5.0), 150
COLOURS = {
    GOLD: "#444444",
    SHUFFLED: "#d62728",
    BOXES_SHUFFLED: "#ff9896",
    OVERSAMPLED: "#9ecae1",
    AUGMENTED: "#1f77b4",
}


def evaluate(
    repo: str | Path,
    configs: Sequence[str] = (),
    *,
    backbone: str | None = None,
    settings: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    augmentation_seeds: Sequence[int] = (),
    paired: bool = False,
    split: str = "test",
    split_by: Sequence[str] = (),
    grid: bool = False,
    ablations: Sequence[str] = (),
    out: str | Path | None = None,
    source: Any = None,
    images: str | Path | None = None,
    progress: bool = True,
    engine: str | Engine | None = None,
    ask: Callable[[Sequence[Method]], None] | None = None,
) -> "Report":
    """Train a backbone on each config and its controls, over seeds, and report the effect of augmentation.

    Each augmented config is compared with its gold posts, and with these repeated up to its size. The negative control
    is trained on the gold posts with their labels shuffled: types of entities, or relations; where the backbone grounds
    entities and the set has boxes, another one on the boxes shuffled. If a method replaces posts
    (``amia``), gold is the same number of posts of the source, and validation and test are made again too; posts are
    paired by id.

    Args:
        repo: a repo folder that ``publish`` wrote, or a Hub id; without configs, a set.
        configs: augmented configs; ``gold_10pct`` names the gold posts of those that end in ``_10pct``. Without any,
            the gold posts of a set are studied alone.
        backbone: its name, or ``name:setting=value,…`` (default: ``crf``; ``relation_features`` for relations).
        settings: NAME=VALUE.
        seeds: each seed initialises the model, and makes the augmentation again unless there are
            ``augmentation_seeds``.
        augmentation_seeds: each makes the augmentation, and each of ``seeds`` is a model trained on it. The seed that a
            config was made with stands for its published posts.
        paired: train one model on each augmentation, with the seed at the same place.
        split: the split to score on; ``validation`` while a method is being tuned.
        split_by: columns of that split, each for a table by its values; ``matched`` is whether a config's matching
            score of the original picture is above 0.5.
        grid: choose batch size and learning rate on gold, by validation F1.
        ablations: configs that the others with the same gold posts are also compared with; gold is not repeated up to
            their sizes.
        out: the folder beside which the study is written (default: ``repo``, or the name of the Hub repo).
        source: the source of a method that replaces posts, if it is not a Hub dataset: a folder or splits.
        images: a further folder that pictures named by ``source``, or by a set studied alone, may be read from.
        progress: show a bar.
        engine: what trains the models: ``local``, or ``ray`` with settings as ``ray:workers=4``, several at a time.
        ask: called with the methods of configs that will be augmented again, before any work; it may raise.

    Raises:
        HostNotAllowed: a config's recipe names a host that the user has not allowed.
        UsageError: a name or value is wrong, the configs cannot be compared, they have nothing of what the backbone
            predicts, they differ from gold only in pictures and the backbone reads none, or ``source`` is needed.
        DataError: ``source`` has another content than the one a config was made from.
        Corrupt: a config does not match its augmentation.json.
    """
    working = studying_engine(engine)
    chosen: dict[str, Any] = {"backbone": backbone, "settings": settings, "seeds": seeds, "split": split, "grid": grid}
    chosen |= {"augmentation_seeds": augmentation_seeds, "paired": paired}
    if configs:
        chosen["source"] = with_pictures(source, images)
    elif source is not None:
        raise UsageError(f"a set is studied alone, without configs: leave out the source {source}")
    study = Study.open(repo, configs, **chosen, ablations=ablations, out=out, pictures=None if configs else images)
    for name in split_by:
        study.values(name)
    if ask:
        ask(study.to_be_made())
    study.run(progress=progress, engine=working)
    options = {
        "--configs": configs,
        "--backbone": backbone or study.backbone.name,
        "--set": settings,
        "--seeds": seeds,
        "--augmentation-seeds": augmentation_seeds,
        "--paired": paired,
        "--split": split,
        "--split-by": split_by,
        "--grid": grid,
        "--ablations": ablations,
        "--source": source if isinstance(source, str | Path) else None,
        "--out": out,
    }
    report = Report.of(study, split_by, spell_command("evaluate", repo, options))
    report.write()
    try:
        report.draw()
    except MissingExtra as error:
        warnings.warn(f"no figure was drawn: {error}", stacklevel=2)
    return report


@dataclass(frozen=True)
class Report:
    """A study's results as plain data, the content of ``report.json``, and the study's folder."""

    folder: Path
    data: dict[str, Any]

    @classmethod
    def of(cls, study: Study, split_by: Sequence[str] = (), command: str = "") -> "Report":
        """Return the report of a finished study, which the command made."""
        task = study.task
        types = task.labels(study.posts.features)
        records: dict[str, list[dict[str, Any]]] = {}
        kinds: dict[str, str] = {}
        for cell in study.cells():
            record = study.read(cell)
            assert record is not None
            records.setdefault(cell.name, []).append(record)
            kinds[cell.name] = cell.kind
        counts = {
            name: _counts([r["predictions"] for r in rs], study.references, types) for name, rs in records.items()
        }
        groups = task.groups(iterate_posts(study.posts, Codec(study.posts.features)))
        samples = resample(len(study.references), RESAMPLES, groups=groups)
        compared = [(config.name, against) for config in study.configs for against in study.compared_with(config)]
        controls = [
            (f"{control}_{suffix}", f"gold_{suffix}") for suffix in sorted(study.golds) for control in task.controls
        ]
        data: dict[str, Any] = {
            "backbone": study.backbone.name,
            "settings": {name: public_name(value) for name, value in settings_of(study.chosen).items()},
            "seeds": list(study.seeds),
            "split": study.split,
            "posts": len(study.references),
            task.entities: sum(map(len, study.references)),
            "resamples": RESAMPLES,
            "notes": _notes(study, split_by),
            "rows": [
                _row(name, kinds[name], records[name], counts[name], types)
                | _viewed_scores(task, [record["predictions"] for record in records[name]], study.references)
                for name in records
            ],
            "controls": compare(counts, controls, samples),
            "comparisons": compare(counts, compared, samples),
            "split_by": {column: _split(study.values(column), counts, compared, groups) for column in split_by},
            "tried": study.tried,
            "command": command,
        }
        if task != ENTITIES:
            data |= {"task": task.name, "support": _support(study.references, types)}
        if study.augmentation_seeds:
            data |= {"augmentation_seeds": list(study.augmentation_seeds), "paired": study.paired}
        if study.augmentation_seeds and not study.paired:
            data["spread"] = _spread_by_seed(study, kinds, counts)
        verdict = _verdict(data["controls"], task)
        return cls(study.folder, {"fingerprint": study.fingerprint, "verdict": verdict, **data})

    @property
    def trusted(self) -> bool:
        """True if every negative control is below gold."""
        return all(control["better"] is False for control in self.data["controls"])

    @property
    def title(self) -> str:
        """The configs and the backbone, as the title of a section."""
        rows = self.data["rows"]
        names = [row["name"] for row in rows if row["kind"] == AUGMENTED] or [
            row["name"] for row in rows if row["kind"] == GOLD
        ]
        return f"study of {', '.join(names)} with {self.data['backbone']}"

    def row(self, name: str) -> dict[str, Any]:
        """Return the scores of a config, or of a control."""
        found: dict[str, Any] = next(row for row in self.data["rows"] if row["name"] == name)
        return found

    def write(self) -> None:
        """Write report.json and report.md."""
        write_report(self.folder / "report", self.data, self.to_markdown())

    def to_markdown(self) -> str:
        """Return the report as Markdown; the first line is the result of the negative control."""
        data = self.data
        task = task_in(data)
        columns = [*SCORES] if data["split"] == "validation" else [*SCORES, "validation_f1"]
        scores = [
            [row["name"], row["cells"], f"{row['train_posts']:.0f}", *(spelled(row[column]) for column in columns)]
            for row in data["rows"]
        ]
        settings = ", ".join(f"{name}={value}" for name, value in data["settings"].items())
        parts = [
            data["verdict"],
            f"**{for_markdown(data['backbone'])}** ({for_markdown(settings)}), "
            f"{spell_seeds(data)}, scored on {data['split']}: {data['posts']} posts, "
            f"{data[task.entities]} {task.entities}. Mean ± standard deviation over the cells.",
            table(["train", "cells", "posts", *columns], scores),
            *_view_tables(data, task),
            f"F1 by {task.kind}:",
            _type_table(data),
        ]
        if data.get("spread"):
            parts += [
                "Standard deviation of F1 over the seeds of one kind, each a mean over the seeds of the other:",
                _spread_table(data["spread"]),
            ]
        if data["comparisons"]:
            parts += [
                "Effect of augmentation (p by a paired bootstrap over posts of the mean over seeds, "
                f"{data['resamples']} resamples; Holm-corrected over this table; *smallest* is the "
                "smallest true difference that this test would find four times in five):",
                difference_table(data["comparisons"]),
            ]
        parts += [
            f"Negative control, gold posts with their {task.shuffles} shuffled:",
            difference_table(data["controls"]),
        ]
        for column, values in data["split_by"].items():
            parts += _tables_by_value(column, values, data["rows"])
        if data["tried"]:
            tried = [
                [s["batch_size"], s["learning_rate"], s["epochs"], f"{s['validation_f1']:.4f}"] for s in data["tried"]
            ]
            parts += [
                "Settings tried on gold:",
                table(["batch size", "learning rate", "epochs", "validation f1"], tried),
            ]
        parts.append("\n".join(f"- {note}" for note in data["notes"]))
        return "\n\n".join(parts) + "\n"

    def draw(self) -> Path:
        """Draw F1 with error bars (standard deviation over seeds) into report.png and return its path.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        rows = self.data["rows"][::-1]
        figure, axes = new_figure()
        axes.barh(
            [row["name"] for row in rows],
            [row["f1"]["mean"] for row in rows],
            xerr=[row["f1"]["sd"] or 0.0 for row in rows],
            color=[COLOURS[row["kind"]] for row in rows],
            capsize=3,
        )
        for i, row in enumerate(rows):
            axes.annotate(
                f" {row['f1']['mean']:.3f}",
                (row["f1"]["mean"] + (row["f1"]["sd"] or 0.0), i),
                va="center",
                fontsize="small",
            )
        axes.margins(x=0.12)
        axes.set_xlabel(f"{task_in(self.data).f1} on {self.data['split']} (mean ± sd over seeds)")
        axes.set_title(self.data["backbone"] if self.trusted else f"{self.data['backbone']}: cannot be trusted")
        return save_figure(figure, self.folder / "report.png")

    def write_page(self, path: str | Path) -> None:
        """Put the study into a page of results, from its saved files; raises as ``studies.page.write_page``."""
        saved = Report(self.folder, read_json(self.folder / "report.json", dict[str, Any]))
        write_page(
            path, on_repo(saved.title, self.folder.parent), saved.to_markdown(), saved.data, read_runs(self.folder)
        )

    def write_card(self, repo: str | Path) -> None:
        """Put the report into the card of a repo folder as a section; an older one is replaced.

        Raises:
            UsageError: there is no card.
            DataError: the card has YAML that does not parse.
        """
        section = f"## S{for_markdown(self.title[1:])}\n\n{self.to_markdown()}"
        put_section(repo, "evaluate --write-card", self.title, section)


def compare(
    counts: Mapping[str, "np.ndarray"], pairs: Sequence[tuple[str, str]], samples: "np.ndarray"
) -> list[dict[str, Any]]:
    """Return the differences of mean F1 between pairs of configs, corrected for their number.

    ``better`` is None if the difference is not significant.
    """
    micro = {name: found.sum(axis=2) for name, found in counts.items()}
    differences = [paired_bootstrap(micro[name], micro[against], samples) for name, against in pairs]
    corrected = holm([difference.p for difference in differences])
    return [
        {
            "name": name,
            "against": against,
            "delta": found.delta,
            "low": found.low,
            "high": found.high,
            "p": found.p,
            "p_holm": p_holm,
            "smallest": found.detectable,
            "better": found.delta > 0 if p_holm < LEVEL else None,
        }
        for (name, against), found, p_holm in zip(pairs, differences, corrected, strict=True)
    ]


def write_report(path: Path, data: Mapping[str, Any], text: str) -> None:
    """Write a report as JSON and as Markdown; ``path`` has no ending."""
    artifacts.write_atomically(
        path.with_suffix(".json"), json.dumps(data, indent=2, ensure_ascii=False).encode() + b"\n"
    )
    artifacts.write_atomically(path.with_suffix(".md"), text.encode())


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [[*map(for_markdown, line)] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def difference_table(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Return the result of ``compare`` as a Markdown table."""
    words = {True: "better", False: "worse", None: "not shown to differ"}
    rows = []
    for found in comparisons:
        interval = f"[{found['low']:+.4f}, {found['high']:+.4f}]"
        numbers = [f"{found['delta']:+.4f}", interval, f"{found['p']:.3f}", f"{found['p_holm']:.3f}"]
        rows.append([found["name"], found["against"], *numbers, f"{found['smallest']:.4f}", words[found["better"]]])
    return table(["train", "against", "Δ F1", "95% interval", "p", "p (Holm)", "smallest", "result"], rows)


def spelled(score: Mapping[str, Any]) -> str:
    """Return a mean and its standard deviation as text."""
    return f"{score['mean']:.4f}" + ("" if score["sd"] is None else f" ± {score['sd']:.4f}")


def new_figure() -> tuple[Any, Any]:
    """Return a matplotlib figure and its axes; no display is needed.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", extra="figures").Figure(
        figsize=FIGURE_INCHES, dpi=FIGURE_DPI, layout="constrained"
    )
    return figure, figure.subplots()


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure as PNG."""
    figure.savefig(path, format="png")
    return path


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean of some values and their standard deviation, None for a single value."""
    import statistics

    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else None}


# ---------------------------------------------------------------- inside
def _counts(
    predictions: Sequence[Sequence[Sequence[Labelled]]],
    references: Sequence[Sequence[Labelled]],
    types: Sequence[str],
) -> "np.ndarray":
    """Return correct, predicted and gold spans [n_cells, n_posts, n_types, 3]."""
    import numpy as np

    def of(kind: str, posts: Sequence[Sequence[Labelled]]) -> list[list[Labelled]]:
        return [[span for span in post if span[2] == kind] for post in posts]

    gold = {kind: of(kind, references) for kind in types}
    return np.stack(
        [np.stack([post_counts(of(kind, cell), gold[kind]) for kind in types], axis=1) for cell in predictions]
    )


def _row(
    name: str, kind: str, records: Sequence[Mapping[str, Any]], counts: "np.ndarray", types: Sequence[str]
) -> dict[str, Any]:
    """Return a config's scores over its cells."""
    return {
        "name": name,
        "kind": kind,
        "cells": len(records),
        "train_posts": spread([record["train_posts"] for record in records])["mean"],
        **_scores(counts.sum(axis=(1, 2))),
        "validation_f1": spread([record["validation_f1"] for record in records]),
        "per_type": {kind: _scores(counts[:, :, i].sum(axis=1)) for i, kind in enumerate(types)},
        "seconds": round(sum(record["seconds"] for record in records), 1),
    }


def _viewed_scores(
    task: Task,
    predictions: Sequence[Sequence[Sequence[Labelled]]],
    references: Sequence[Sequence[Labelled]],
) -> dict[str, Any]:
    """Return the scores of parts of the labels over the cells of a config, by their name; nothing without views."""
    found = {}
    for name, view in task.views.items():
        gold = viewed(view, references)
        sums = [post_counts(viewed(view, cell), gold).sum(axis=0) for cell in predictions]
        found[name] = _scores(sums)
    return found


def _view_tables(data: Mapping[str, Any], task: Task) -> list[str]:
    """Return the scores of parts of the labels, with what they are; nothing without views."""
    if not task.views:
        return []
    rows = [
        [row["name"], *(spelled(row[name][score]) for name in task.views for score in SCORES)] for row in data["rows"]
    ]
    header = ["train", *(f"{name} {score}" for name in task.views for score in SCORES)]
    return [
        f"The same predictions by words and {task.kind} alone (MNER), and by words and region (EEG):",
        table(header, rows),
    ]


def _scores(counts: "Sequence[np.ndarray] | np.ndarray") -> dict[str, Any]:
    """Return mean and spread of precision, recall and F1 of counts [n_cells, 3]."""
    import numpy as np

    return {score: spread(values.tolist()) for score, values in zip(SCORES, rates(np.asarray(counts)).T, strict=True)}


def _type_table(data: Mapping[str, Any]) -> str:
    """Return the F1 of each type: a column for each type of entity, or a row for each relation, of which are many."""
    rows, support = data["rows"], data.get("support")
    if support is None:
        types = list(rows[0]["per_type"])
        cells = [[row["name"], *(spelled(row["per_type"][kind]["f1"]) for kind in types)] for row in rows]
        return table(["train", *types], cells)
    kinds = sorted(filter(support.get, support), key=lambda kind: (-support[kind], kind))
    cells = [[kind, support[kind], *(spelled(row["per_type"][kind]["f1"]) for row in rows)] for kind in kinds]
    return table([task_in(data).kind, "gold", *(row["name"] for row in rows)], cells)


def _support(references: Sequence[Sequence[Labelled]], types: Sequence[str]) -> dict[str, int]:
    """Return the number of gold spans of each type."""
    found = Counter(span[2] for post in references for span in post)
    return {kind: found[kind] for kind in types}


def _spread_by_seed(
    study: Study, kinds: Mapping[str, str], counts: Mapping[str, "np.ndarray"]
) -> dict[str, dict[str, float | None]]:
    """Return by config the standard deviation of F1 over augmentation seeds, and over model seeds."""
    found = {}
    for name in (name for name, kind in kinds.items() if kind in (AUGMENTED, OVERSAMPLED)):
        f1 = rates(counts[name].sum(axis=(1, 2)))[:, 2].reshape(len(study.augmentation_seeds), -1)
        found[name] = {
            "augmentation": spread(f1.mean(axis=1).tolist())["sd"],
            "model": spread(f1.mean(axis=0).tolist())["sd"],
        }
    return found


def _spread_table(found: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return the result of ``_spread_by_seed`` as a Markdown table."""
    rows = [[name, *("–" if sd is None else f"{sd:.4f}" for sd in by_seed.values())] for name, by_seed in found.items()]
    return table(["train", "over augmentation seeds", "over model seeds"], rows)


def _split(
    values: Sequence[Any],
    counts: Mapping[str, "np.ndarray"],
    pairs: Sequence[tuple[str, str]],
    groups: Sequence[str] | None,
) -> dict[str, Any]:
    """Return the F1 of each config on the posts of each value, and the differences between pairs of configs there."""
    import numpy as np

    texts = np.array([str(value) for value in values])
    found = {}
    for value in np.unique(texts).tolist():
        these = {name: of_posts[:, texts == value] for name, of_posts in counts.items()}
        n_posts = int((texts == value).sum())
        own = [group for group, text in zip(groups, texts, strict=True) if text == value] if groups else None
        found[value] = {
            "posts": n_posts,
            "f1": {name: _scores(of_posts.sum(axis=(1, 2)))["f1"] for name, of_posts in these.items()},
            "comparisons": compare(these, pairs, resample(n_posts, RESAMPLES, groups=own)),
        }
    return found


def _verdict(controls: Sequence[Mapping[str, Any]], task: Task) -> str:
    """Return the result of the negative control, the report's first line."""
    bad = [control for control in controls if control["better"] is not False]
    told = "; ".join(
        f"{c['name']} is {c['delta']:+.4f} from {c['against']}, p = {c['p']:.3f}" for c in (bad or controls)
    )
    if bad:
        return (
            f"**This study cannot be trusted:** models trained on shuffled {task.shuffles} do as well as on the right "
            f"ones ({told}). Use more posts, or a backbone that learns them."
        )
    return f"The negative control is below gold, as it must be ({told}): this study can tell good labels from bad."


def _notes(study: Study, split_by: Sequence[str]) -> list[str]:
    """Return notes on how the cells were trained."""
    chosen = study.chosen
    notes = [
        chosen.training_note,
        study.task.counting,
        f"{study.split.capitalize()} is scored once for each cell, after training.",
        "The bootstrap resamples posts, not seeds: p is about whether other posts would show the difference too, the "
        "standard deviation about how much it depends on seeds.",
    ]
    if absent := study.task.absent(study.posts.features):
        notes.append(absent)
    if published := [config.name for config in study.configs if config.recipe.seed in study.augmentation_seeds]:
        notes.append(
            f"The augmentation seed with which {', '.join(published)} was made stands for the published posts; with "
            "other seeds they are made again. Shuffled labels are drawn with the seeds of the models."
        )
    remade = [config.name for config in study.configs if config.replaces]
    if remade:
        notes.append(
            f"Posts of {', '.join(remade)} replace gold posts in all splits: each model is selected and scored on "
            "posts made like those it was trained on, with its own seed; models of gold on the originals. The number "
            "of posts is the same, so gold is not repeated for them."
        )
    if len(remade) < len(study.configs):
        notes.append("oversampled_to_X repeats the gold posts up to the size of X; the remainder is drawn at random.")
    if chosen.seedless:
        notes.append(
            f"{chosen.name} draws no random number: gold is one cell, and seeds change only made and shuffled posts."
        )
    if "matched" in split_by and "matched" not in study.posts.column_names:
        notes.append(
            "matched: the post's original picture has a matching score above 0.5 in a published config, whatever the "
            "row's pictures are; a post without a picture is not matched; None has no score."
        )
    if study.grid:
        notes.append(f"Batch size and learning rate were chosen once, on gold_{next(iter(study.golds))}.")
    return notes


def public_name(value: Any) -> Any:
    """Return a setting; of a folder only its name, not its path on this machine."""
    return Path(value).resolve().name if isinstance(value, str) and Path(value).is_dir() else value


def _tables_by_value(column: str, values: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the scores, and the effect of augmentation, of posts by their value in a column."""
    return [
        f"F1 by {for_markdown(column)}:",
        table(
            ["train", *(f"{value} ({found['posts']} posts)" for value, found in values.items())],
            [[row["name"], *(spelled(v["f1"][row["name"]]) for v in values.values())] for row in rows],
        ),
        "Effect of augmentation there (Δ F1, and p, Holm-corrected over a column):",
        table(
            ["train", "against", *values],
            [
                [f[0]["name"], f[0]["against"], *(f"{found['delta']:+.4f} ({found['p_holm']:.3f})" for found in f)]
                for f in zip(*(found["comparisons"] for found in values.values()), strict=True)
            ],
        ),
    ]
