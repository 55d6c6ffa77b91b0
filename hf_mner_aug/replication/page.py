"""A table beside the paper's: as data, and as a page of results with its command, machine and cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.replication.manifests import Cell, cells_of, open_manifest
from hf_mner_aug.replication.preflight import SMOKE, Plan
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.locks import lock
from hf_mner_aug.studies.page import measured_here, put_section, spell_command, without_paths
from hf_mner_aug.studies.tables import table
from hf_mner_aug.untrusted.printable import for_markdown
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    from hf_mner_aug.replication.running import Here

SCORES = ("precision", "recall", "f1")
DIGITS = {"similarity": 4, "diversity": 4, "usd": 4, "matching_score": 4, "posts": 0, "seconds": 0}
WORDS = {"share": "share (some other model is right)", "share_by_all": "share (every other model is right)"}
OF_A_RUN = ("seeds", "sets", "deviations", "usage", "seconds", "measured", "command")


class Ran(TypedDict):
    """What a table says of a run."""

    seeds: list[int]
    sets: dict[str, Any]
    deviations: list[str]
    usage: dict[str, float]
    seconds: float
    measured: str
    command: str


class OneCell(TypedDict):
    """A cell of a table; ``run`` is 0 for the last run, and the place in ``earlier`` from 1 for others."""

    cell: str
    run: int
    row: str
    column: str
    metric: str
    quoted: bool
    paper: dict[str, float]
    printed: str
    at_least: bool
    here: dict[str, dict[str, float | None]]
    difference: dict[str, float]
    delta: float | None
    against: str
    p: float | None
    posts: int
    seeds: int
    texts: list[str]
    study: str
    trained: list[str]
    reason: str


class Whole(Ran):
    """The content of ``table.json``: the last run, and earlier ones of which it has cells."""

    paper: str
    table: str
    title: str
    source: str
    kind: str
    smoke: bool
    second_hand: str
    unread: str
    notes: list[str]
    cells: list[OneCell]
    earlier: list[Ran]


@dataclass(frozen=True)
class Table:
    """A table as plain data, the content of ``table.json``: a row for each figure of each cell."""

    data: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, *, smoke: bool = False) -> "Table":
        """Return the table in a folder, with the finished cells of all runs.

        Raises:
            UsageError: there is none.
            DataError: it cannot be read; a run writes it anew.
        """
        path = folder / f"{_stem(smoke)}.json"
        try:
            return cls(read_json(path, Whole, advice="run the table again"))
        except FileNotFoundError as error:
            raise UsageError(f"no table is in {folder}: run it first") from error

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
        cells = [_record(found, cell, results[cell]) for cell in found.cells]
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
                "earlier": [],
            }
        )

    def after(self, before: "Table") -> "Table":
        """Return the table with the cells of runs before that this one did not finish, in the order of the paper.

        A cell that is as it was is of the run before, with that one's machine and cost; so is a table of such cells.
        """
        own = {cell["cell"]: cell for cell in self.data["cells"]}
        older = {cell["cell"]: {**cell, "run": cell["run"] + 1} for cell in before.data["cells"]}
        cells = []
        for name in map(str, cells_of(open_manifest(self.data["paper"], self.data["table"]))):
            mine, theirs = own.get(name), older.get(name, {})
            changed = mine is not None and {**mine, "run": 0} != {**theirs, "run": 0}
            if mine is not None and changed and (_finished(mine) or not _finished(theirs)):
                cells.append(mine)
            elif name in older:
                cells.append(older[name])
        if all(cell["run"] for cell in cells):
            return before
        earlier = [{name: before.data[name] for name in OF_A_RUN}, *before.data["earlier"]]
        kept = sorted({cell["run"] for cell in cells} - {0})
        numbers = {0: 0} | {old: new for new, old in enumerate(kept, start=1)}
        cells = [{**cell, "run": numbers[cell["run"]]} for cell in cells]
        return Table({**self.data, "cells": cells, "earlier": [earlier[run - 1] for run in kept]})

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The runs that cells are of, the last one first."""
        return [{name: self.data[name] for name in OF_A_RUN if name in self.data}, *self.data.get("earlier", [])]

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
            header += [*(["run"] if len(self.runs) > 1 else []), *([""] if data["smoke"] else [])]
            parts.append(table(header, lines))
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
        told = [*self._deviations(), *data["notes"]]
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
        """Write table.json and table.md, with finished cells of runs before; those of smoke runs have other names."""
        stem = _stem(self.data["smoke"])
        with lock(folder, "replicate"):
            try:
                whole = self.after(Table.read(folder, smoke=self.data["smoke"]))
            except UsageError:  # none, or one of another version
                whole = self
            text = json.dumps(whole.data, indent=2, ensure_ascii=False).encode() + b"\n"
            artifacts.write_atomically(folder / f"{stem}.json", text)
            path = folder / f"{stem}.md"
            path.unlink(missing_ok=True)
            whole.write_page(path)

    def write_page(self, path: str | Path) -> None:
        """Put the table into a page of results; raises as ``studies.page.put_section``."""
        facts: list[str] = []
        for number, run in enumerate(self.runs, start=1):
            usage = ", ".join(f"{name} {amount:g}" for name, amount in run["usage"].items())
            told = [
                run["measured"],
                f"Seeds: {', '.join(map(str, run['seeds']))}",
                f"Cost: {run['seconds']:.0f} seconds in this run" + (f", {usage}" if usage else ", no paid call"),
            ]
            facts += [f"Run {number}: {'; '.join(told)}"] if len(self.runs) > 1 else told
        facts += [SMOKE] if self.data["smoke"] else []
        put_section(path, self.title, self.to_markdown(), [run["command"] for run in self.runs], facts)

    def _deviations(self) -> list[str]:
        """Return the deviations; those that only some runs have, with the numbers of these."""
        runs, lines = self.runs, []
        for text in dict.fromkeys(text for run in runs for text in run["deviations"]):
            having = [str(number) for number, run in enumerate(runs, start=1) if text in run["deviations"]]
            which = f" (run {', '.join(having)})" if len(having) < len(runs) else ""
            lines.append(f"Deviation{which}: {text}")
        return lines

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
            line += [str(cell["run"] + 1)] if len(self.runs) > 1 else []
            lines.append([*line, *(["proves no figure"] if self.data["smoke"] else [])])
        return lines


def _stem(smoke: bool) -> str:
    return "smoke" if smoke else "table"


def _finished(cell: Mapping[str, Any]) -> bool:
    """Return whether something was found for a cell."""
    return bool(cell.get("here") or cell.get("texts"))


def _number(name: str, value: float) -> str:
    return f"{value:.{DIGITS.get(name, 2)}f}"


def _spelled(cell: Mapping[str, Any], figures: Mapping[str, float]) -> str:
    over = "over " if cell["at_least"] else ""
    return ", ".join(f"{name} {over}{_number(name, value)}" for name, value in figures.items()) or "–"


def _record(found: Plan, cell: Cell, here: "Here") -> dict[str, Any]:
    """Return a cell as the file of a table has it."""
    manifest, row = found.manifest, found.manifest.rows[cell.row]
    paper = row.published.get(cell.column)
    printed = paper.figures if paper else {}
    return {
        "cell": str(cell),
        "run": 0,
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
        else {name: here.figures[name][0] - value for name, value in printed.items() if name in here.figures},
        "delta": here.delta,
        "against": here.against,
        "p": here.p,
        "posts": here.posts,
        "seeds": here.seeds,
        "texts": list(here.texts),
        "study": here.study,
        "trained": list(here.trained),
        "reason": without_paths(here.reason),
    }
