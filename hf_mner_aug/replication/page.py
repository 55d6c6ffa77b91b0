"""A table beside the paper's: as data, and as a page of results with its command, machine and cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.replication.manifests import Cell
from hf_mner_aug.replication.preflight import SMOKE, Plan
from hf_mner_aug.storage import artifacts
from hf_mner_aug.studies.page import measured_here, put_section, spell_command, without_paths
from hf_mner_aug.studies.tables import table
from hf_mner_aug.untrusted.printable import for_markdown

if TYPE_CHECKING:
    from hf_mner_aug.replication.running import Here

SCORES = ("precision", "recall", "f1")
DIGITS = {"similarity": 4, "diversity": 4, "usd": 4, "matching_score": 4, "posts": 0, "seconds": 0}
WORDS = {"share": "share (some other model is right)", "share_by_all": "share (every other model is right)"}


@dataclass(frozen=True)
class Table:
    """A table as plain data, the content of ``table.json``: a row for each figure of each cell."""

    data: dict[str, Any]

    @classmethod
    def of(
        cls,
        found: Plan,
        results: Mapping[Cell, "Here"],
        deviations: Sequence[str],
        usage: Mapping[str, float],
        seconds: float,
    ) -> "Table":
        """Return the table of a plan's cells and what was found for them."""
        manifest = found.manifest
        cells = []
        for cell in found.cells:
            row, here = manifest.rows[cell.row], results[cell]
            paper = row.published.get(cell.column)
            printed = paper.figures if paper else {}
            cells.append(
                {
                    "cell": str(cell),
                    "row": row.title,
                    "column": manifest.columns[cell.column].title,
                    "metric": manifest.columns[cell.column].metric,
                    "quoted": row.quoted,
                    "paper": printed,
                    "printed": paper.printed if paper else "",
                    "at_least": bool(paper and paper.at_least),
                    "here": {name: {"mean": mean, "sd": sd} for name, (mean, sd) in here.figures.items()},
                    "difference": {}
                    if found.choices.smoke or (paper and paper.at_least)
                    else {
                        name: here.figures[name][0] - value for name, value in printed.items() if name in here.figures
                    },
                    "delta": here.delta,
                    "against": here.against,
                    "p": here.p,
                    "posts": here.posts,
                    "seeds": here.seeds,
                    "texts": list(here.texts),
                    "study": here.study,
                    "reason": without_paths(here.reason),
                }
            )
        options = {
            "--data": found.choices.data if str(found.choices.data) != "." else None,
            "--out": found.choices.out,
            "--cells": found.asked,
            "--seeds": [] if found.choices.smoke or found.seeds == manifest.seeds else found.seeds,
            "--preset": found.choices.preset,
            "--set": [
                f"{one}.{name}={value}"
                for one, params in found.choices.params.items()
                for name, value in params.items()
            ],
            "--backbone": [f"{name}={spec}" for name, spec in found.choices.models.items()],
            "--smoke": found.choices.smoke,
        }
        places = {
            found.sets.place(found.column(cell)).name: found.sets.place(found.column(cell)) for cell in found.runnable
        }
        return cls(
            {
                "paper": manifest.paper,
                "table": manifest.table,
                "title": manifest.title,
                "source": manifest.source,
                "kind": manifest.kind,
                "smoke": found.choices.smoke,
                "second_hand": manifest.second_hand,
                "unread": manifest.unread,
                "seeds": list(found.seeds),
                "cells": cells,
                "sets": {
                    name: {what: asdict(n) for what, n in place.counted.items()} for name, place in places.items()
                },
                "deviations": [without_paths(told) for told in deviations],
                "notes": list(manifest.notes),
                "usage": dict(usage),
                "seconds": round(seconds, 1),
                "measured": measured_here(),
                "command": spell_command("replicate", manifest.paper, options, manifest.table),
            }
        )

    @property
    def title(self) -> str:
        """The paper, the table, and whether it proves nothing."""
        return f"Replication of {self.data['paper']} {self.data['table']}{' (smoke run)' if self.data['smoke'] else ''}"

    def to_markdown(self) -> str:
        """Return the table, its deviations and the cells that did not run, as Markdown."""
        data = self.data
        mark = f" {SMOKE}." if data["smoke"] else ""
        parts = [f"{for_markdown(data['title'])}: {for_markdown(data['source'])}.{mark}"]
        for name, words in (("second_hand", "The paper's figures are second-hand"), ("unread", "Figures are missing")):
            if data[name]:
                parts.append(f"**{words}**: {for_markdown(data[name])}.")
        ran = [cell for cell in data["cells"] if cell["here"]]
        lines = [line for cell in ran for line in self._lines(cell)]
        if lines:
            header = ["row", "column", "figure", "paper", "here ± sd", "difference", "Δ to baseline", "p", "n"]
            parts.append(table([*header, *([""] if data["smoke"] else [])], lines))
            parts.append(
                "Difference: here minus the paper; none to a lower bound. Δ to baseline: F1 minus that of the row that "
                "it is compared with, trained here; p by a paired bootstrap over posts, of one comparison alone. n: "
                "posts measured × trainings."
            )
        for cell in data["cells"]:
            if cell["texts"]:
                texts = "\n".join(f"- {for_markdown(text)}" for text in cell["texts"])
                whose = f"{for_markdown(cell['row'])} ({for_markdown(cell['column'])})"
                parts.append(f"{whose}{mark and ','}{mark.rstrip('.')}.\n\n{texts}")
        missing = [cell for cell in data["cells"] if cell["reason"]]
        if missing:
            parts.append("Did not run here, or not whole:")
            lines = [[c["row"], c["column"], _spelled(c, c["paper"]), c["reason"]] for c in missing]
            parts.append(table(["row", "column", "paper", "reason"], lines))
        told = [*(f"Deviation: {text}" for text in data["deviations"]), *data["notes"]]
        printed = sorted(
            {
                f"{c['row']}, {c['column']}: "
                + (
                    "printed as in the paper, although precision and recall give another F1"
                    if c["printed"] == "as in the paper"
                    else c["printed"]
                )
                for c in data["cells"]
                if c["printed"]
            }
        )
        parts.append("\n".join(f"- {for_markdown(text)}" for text in [*told, *printed]))
        return "\n\n".join(part for part in parts if part) + "\n"

    def write(self, folder: Path) -> None:
        """Write table.json and table.md; those of a smoke run have other names."""
        stem = "smoke" if self.data["smoke"] else "table"
        text = json.dumps(self.data, indent=2, ensure_ascii=False).encode() + b"\n"
        artifacts.write_atomically(folder / f"{stem}.json", text)
        path = folder / f"{stem}.md"
        path.unlink(missing_ok=True)
        self.write_page(path)

    def write_page(self, path: str | Path) -> None:
        """Put the table into a page of results; raises as ``studies.page.put_section``."""
        usage = ", ".join(f"{name} {amount:g}" for name, amount in self.data["usage"].items())
        facts = [
            self.data["measured"],
            f"Seeds: {', '.join(map(str, self.data['seeds']))}",
            f"Cost: {self.data['seconds']:.0f} seconds in this run" + (f", {usage}" if usage else ", no paid call"),
            *([SMOKE] if self.data["smoke"] else []),
        ]
        put_section(path, self.title, self.to_markdown(), self.data["command"], facts)

    def _lines(self, cell: Mapping[str, Any]) -> list[list[str]]:
        lines = []
        for name, found in cell["here"].items():
            paper = cell["paper"].get(name)
            if name == "share_by_all":
                paper = cell["paper"].get("share")
            shown = "–" if paper is None else f"{'over ' * cell['at_least']}{_number(name, paper)}"
            sd = "" if found["sd"] is None else f" ± {_number(name, found['sd'])}"
            apart = cell["difference"].get(name)
            delta = p = ""
            if name == "f1":
                deltas = []
                if cell["delta"] is not None:
                    deltas.append(f"{cell['delta']:+.2f} ({cell['against']})")
                    p = f"{cell['p']:.3f}"
                if "delta" in cell["paper"]:
                    deltas.append(f"{cell['paper']['delta']:+.2f} in the paper")
                delta = ", ".join(deltas)
            n = f"{cell['posts']} × {cell['seeds']}" if cell["seeds"] else str(cell["posts"])
            line = [cell["row"], cell["column"], WORDS.get(name, name), shown, f"{_number(name, found['mean'])}{sd}"]
            line += ["" if apart is None else f"{apart:+.{DIGITS.get(name, 2)}f}", delta, p, n]
            lines.append([*line, *(["proves no figure"] if self.data["smoke"] else [])])
        return lines


def _number(name: str, value: float) -> str:
    return f"{value:.{DIGITS.get(name, 2)}f}"


def _spelled(cell: Mapping[str, Any], figures: Mapping[str, float]) -> str:
    over = "over " if cell["at_least"] else ""
    return ", ".join(f"{name} {over}{_number(name, value)}" for name, value in figures.items()) or "–"
