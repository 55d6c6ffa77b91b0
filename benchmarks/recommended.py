"""What ``recommend`` chose, measured once on test, against gold repeated to equal size.

``python benchmarks/recommended.py SOURCE R --page FILE`` reads ``R/recommendation.json``, makes the config chosen in
``R-test`` and studies it as ``evaluate`` does; where the answer is gold, the config is that of the candidate that came
first in the race, and gold repeated as recommended is trained beside it. ``--fraction``, ``--subset-seed``,
``--ids-train`` and ``--ids-validation`` are those of the race. Trainings are kept, so the same command goes on.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_mner_aug import Recipe
from hf_mner_aug.metrics.spans import post_counts
from hf_mner_aug.publishing.folder import run_and_publish
from hf_mner_aug.recommending.race import f1_of, spell_gold
from hf_mner_aug.runs.subset import read_ids, resolve
from hf_mner_aug.schema import Codec
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.storage import artifacts
from hf_mner_aug.studies.page import measured_here, put_section, spell_command
from hf_mner_aug.studies.significance import paired_bootstrap, resample
from hf_mner_aug.studies.study import OVERSAMPLED, Cell, Study
from hf_mner_aug.studies.tables import RESAMPLES, Report, evaluate, table
from hf_mner_aug.transform import iterate_posts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--subset-seed", type=int, default=0)
    parser.add_argument("--ids-train", type=Path)
    parser.add_argument("--ids-validation", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--page", type=Path)
    asked = parser.parse_args()
    answer = json.loads((asked.folder / "recommendation.json").read_text())
    out = asked.folder.with_name(f"{asked.folder.name}-test")
    config = publish(asked, answer, out)
    backbone = spell_backbone(answer)
    chosen: dict[str, Any] = {"backbone": backbone, "seeds": asked.seeds, "split": "test"}
    report = evaluate(out, [config], **chosen, progress=False)
    study = Study.open(out, [config], **chosen)
    text, line = measure(study, report, answer, config)
    print(text, line, sep="\n")
    if asked.page:
        options = {
            "--fraction": None if asked.fraction == 1 else asked.fraction,
            "--ids-train": asked.ids_train,
            "--ids-validation": asked.ids_validation,
        }
        command = spell_command("", asked.source, options, asked.folder.name).replace(
            "hf-mner-aug ''", "python benchmarks/recommended.py"
        )
        title = f"on test: {asked.folder.name}"
        put_section(asked.page, title, f"{line}\n\n{text}", command, [measured_here(), f"Seeds: {asked.seeds}"])


def publish(asked: argparse.Namespace, answer: dict[str, Any], out: Path) -> str:
    """Make and publish the config that was recommended, or that of the first candidate, and return its name."""
    subset = {"fraction": asked.fraction, "subset_seed": asked.subset_seed}
    subset |= {f"ids_{split}": read_ids(p) for split in ("train", "validation") if (p := vars(asked)[f"ids_{split}"])}
    if answer["answer"] == "recipe":
        recipe = Recipe.from_file(asked.folder / "recipe.yaml", **subset)
    else:
        first = answer["candidates"][0]
        settings = dict(first["settings"])
        name = first["name"].rpartition("_x")[0]
        recipe = Recipe.of(method=name, copies=settings.pop("copies"), params=settings, **subset)
    recipe, gold = resolve(replace(recipe, source=asked.source), load_source(asked.source))
    return run_and_publish(recipe, gold, out, source=asked.source, progress=False).config


def spell_backbone(answer: dict[str, Any]) -> str:
    """Return the backbone as the race had it, and with the column of weights if the recipe has these."""
    weighted = answer["answer"] == "recipe" and "_w" in answer["recipe"].rpartition("_x")[2]
    return f"{answer['backbone']}:weight=weight" if weighted else str(answer["backbone"])


def measure(study: Study, report: Report, answer: dict[str, Any], config: str) -> tuple[str, str]:
    """Return all scores as a table, and the choice against gold repeated in a line."""
    names = [row["name"] for row in report.data["rows"]]
    counts = {name: [] for name in names}
    for cell in study.cells():
        record: Any = study.read(cell)
        counts[cell.name].append(post_counts(record["predictions"], study.references))
    repeated, times = f"oversampled_to_{config}", answer["repeat"]
    choice = config if answer["answer"] == "recipe" else f"gold_{study.first.suffix}"
    if choice != config and times > 1:
        choice = spell_gold(times)
        counts[choice] = [np.asarray(train_gold(study, config, times))]
    arrays = {name: np.stack(found) for name, found in counts.items()}
    groups = study.task.groups(iterate_posts(study.posts, Codec(study.posts.features)))
    samples = resample(len(study.references), RESAMPLES, groups=groups)
    rows = []
    for name in arrays:
        found = paired_bootstrap(arrays[choice], arrays[name], samples)
        interval = f"[{found.low:+.4f}, {found.high:+.4f}]"
        against = [f"{found.delta:+.4f}", interval, f"{found.p:.3f}", f"{found.detectable:.4f}"]
        rows.append([name, f"{f1_of(arrays[name]):.4f}", *(["the choice"] + [""] * 3 if name == choice else against)])
    found = paired_bootstrap(arrays[choice], arrays[repeated], samples)
    worse = found.delta < 0 and found.p < 0.05
    line = (
        f"Chosen: {choice}. Against gold repeated ({repeated}): {found.delta:+.4f} F1, p = {found.p:.3f}, where "
        f"{found.detectable:.4f} could be shown: {'worse' if worse else 'not worse'}."
    )
    header = ["train", "F1 on test", "Δ of the choice", "95% interval", "p", "smallest"]
    return table(header, rows), line


def train_gold(study: Study, config: str, times: int) -> Any:
    """Return the counts of a model trained on gold, each post some times, from its file if it was trained before."""
    cell = Cell(OVERSAMPLED, f"gold_x{times}", config, study.seeds[0])
    if study.read(cell) is None:
        n_gold = len(study.configs[0].gold["train"])
        artifacts.write_atomically(study.folder / "cells" / f"{cell.stem}.json", study.train(cell, times * n_gold))
    record: Any = study.read(cell)
    return post_counts(record["predictions"], study.references)


if __name__ == "__main__":
    main()
