"""The answer of a race: as data, as Markdown, as a page and as a recipe."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_mner_aug.pages import fill
from hf_mner_aug.recommending.candidates import Candidate, LeftOut
from hf_mner_aug.recommending.cells import FOLDS
from hf_mner_aug.recommending.race import ENDED, FINAL, ROUNDS, Race, Standing, spell_gold
from hf_mner_aug.storage import artifacts
from hf_mner_aug.studies.page import measured_here, put_section, without_paths
from hf_mner_aug.studies.significance import Difference
from hf_mner_aug.studies.tables import public_name, table
from hf_mner_aug.studies.tasks import ENTITIES, task_in
from hf_mner_aug.untrusted.printable import for_markdown

STEM, RECIPE = "recommendation", "recipe.yaml"


@dataclass(frozen=True)
class Recommendation:
    """The answer as plain data, the content of ``recommendation.json``; its folder; and the recipe, if it is one."""

    out: Path
    data: dict[str, Any]
    candidate: Candidate | None = None

    @classmethod
    def of(
        cls, race: Race, out: Path, left_out: Sequence[LeftOut], command: str, settings: Mapping[str, Any]
    ) -> "Recommendation":
        """Return the answer of a race that has ended."""
        cells, final = race.cells, race.final
        winner = final.candidate if final and final.better else None
        folds = race.gold_folds()
        times = race.best_gold(folds) if folds else 1
        standings = sorted(race.standings.values(), key=lambda s: (-s.round, -(s.f1 or 0.0)))
        data: dict[str, Any] = {
            "answer": "recipe" if winner else "gold",
            "recipe": winner.name if winner else None,
            "repeat": times,
            "finished": not race.stop.startswith(ENDED),
            "stop": race.stop,
            "backbone": cells.backbone.name,
            "settings": {name: public_name(value) for name, value in settings.items()},
            "steps": cells.backbone.training.steps if cells.backbone.training else None,
            "posts": len(cells.train),
            "seeds": list(race.seeds),
            "gold": [
                {"times": k, "name": spell_gold(k), "f1": race.gold_f1(k, folds), "posts": _held(race, folds)}
                for k in (race.times if folds else ())
            ],
            "rounds": race.rounds,
            "candidates": [_standing(s, race) for s in standings],
            "left_out": [asdict(left) for left in left_out],
            "final": _final(race),
            "budget": {"seconds": race.budget, "usd": cells.usd},
            "spent": {"seconds": round(race.spent.seconds, 1), "usd": round(race.spent.usd, 6)},
            "counting": cells.task.counting,
            "command": command,
            "measured": measured_here(),
            **({"task": cells.task.name} if cells.task != ENTITIES else {}),
        }
        return cls(out, {"line": closing(data, out), **data}, winner)

    @property
    def line(self) -> str:
        """The answer in one line."""
        line: str = self.data["line"]
        return line

    @property
    def title(self) -> str:
        """The title of a section."""
        return f"recommendation for {self.data['backbone']}: {self.out.name}"

    def write(self, subset: Mapping[str, Any]) -> None:
        """Write recommendation.json, .md and .html, and recipe.yaml with the subset of the posts, if it is a recipe."""
        import yaml

        artifacts.write_atomically(
            self.out / f"{STEM}.json", json.dumps(self.data, indent=2, ensure_ascii=False).encode() + b"\n"
        )
        artifacts.write_atomically(self.out / f"{STEM}.md", self.to_markdown().encode())
        artifacts.write_atomically(self.out / f"{STEM}.html", self.to_html().encode("utf-8", "replace"))
        if self.candidate is None:  # that of an earlier answer
            (self.out / RECIPE).unlink(missing_ok=True)
            return
        found = self.candidate.recipe.to_dict()
        names = ("method", "code", "code_digest", "version", "params", "copies", "seed", "keep")
        recipe = {name: found[name] for name in names if found[name] not in ("", (), {})} | dict(subset)
        text = yaml.safe_dump(json.loads(json.dumps(recipe)), sort_keys=False, allow_unicode=True)
        artifacts.write_atomically(self.out / RECIPE, text.encode())

    def to_html(self) -> str:
        """Return the page."""
        return fill("recommendation.html.jinja", data=self.data, sections=self._sections())

    def to_markdown(self) -> str:
        """Return the answer and the race as Markdown."""
        parts = [f"**{for_markdown(self.line)}**"]
        for head, text, header, rows in self._sections():
            parts += [f"**{head}.** {for_markdown(text)}", *([table(header, rows)] if rows else [])]
        return "\n\n".join(parts) + "\n"

    def write_page(self, path: str | Path) -> None:
        """Put the answer and the race into a page of results; raises as ``studies.page.put_section``."""
        spent, usd = self.data["spent"], self.data["spent"]["usd"]
        settings = ", ".join(f"{name}={value}" for name, value in self.data["settings"].items())
        facts = [
            self.data["measured"],
            f"Backbone: {self.data['backbone']} ({settings})",
            f"Cost: {spent['seconds']:.0f} seconds of training" + (f", USD {usd:g}" if usd else ", no paid call"),
        ]
        put_section(path, self.title, self.to_markdown(), self.data["command"], facts)

    def _sections(self) -> list[tuple[str, str, list[str], list[list[str]]]]:
        """Return the sections of the report: title, sentences, and a table [n_rows][n_columns]."""
        data = self.data
        f1 = task_in(data).f1
        found = [
            (
                "How it was found",
                _told(data),
                ["round", "posts scored so far", "candidates"],
                [[str(r["round"]), str(r["posts"]), str(r["candidates"])] for r in data["rounds"]],
            ),
            (
                "Gold",
                f"{f1[:1].upper()}{f1[1:]} by cross-validation.",
                ["train", "posts scored", "F1"],
                [[g["name"], str(g["posts"]), f"{g['f1']:.4f}"] for g in data["gold"]],
            ),
        ]
        if final := data["final"]:
            words = {True: "shown to be better", False: "shown to be worse", None: "not shown to differ"}
            found.append(
                (
                    "The final comparison",
                    f"On {final['posts']} posts that chose nothing, over seeds {', '.join(map(str, final['seeds']))}: "
                    + "; ".join(f"{name} {value:.4f}" for name, value in final["f1"].items())
                    + f". Posts and model took {final['seconds']:.1f} seconds a training, "
                    + f"gold {final['gold_seconds']:.1f}{_dollars(final['usd'])}.",
                    ["train", "against", "Δ F1", "95% interval", "p", "smallest", "result"],
                    [[c["name"], c["against"], *_spelled(c), words[c["better"]]] for c in final["comparisons"]],
                )
            )
        found.append(
            (
                "The race",
                "Δ is to the gold that scores best on the same posts. It is that of the best of many, so that it and "
                "its interval are optimistic: the final comparison decides.",
                [
                    "candidate",
                    "settings",
                    "made per post",
                    "round",
                    "posts",
                    "F1",
                    "Δ F1",
                    "95% interval",
                    "p",
                    "smallest",
                    "seconds",
                    "USD",
                    "fell out",
                ],
                [_line(c) for c in data["candidates"]],
            )
        )
        if data["left_out"]:
            rows = [[left["name"], left["why"]] for left in data["left_out"]]
            found.append(("Not in the race", "Methods that cannot take part here.", ["method", "why"], rows))
        told = [[c["name"], text] for c in data["candidates"] for text in c["told"]]
        if told:
            found.append(("Warnings", "Told while posts were made.", ["candidate", "warning"], told))
        return found


def closing(data: Mapping[str, Any], out: Path) -> str:
    """Return the answer in one line."""
    gold, final = spell_gold(data["repeat"]), data["final"]
    if data["answer"] == "recipe":
        equal = final["comparisons"][0]
        return (
            f"use {data['recipe']}: {equal['delta']:+.4f} F1 over gold repeated to equal size on {final['posts']} "
            f"posts held out (95% interval {_interval(equal)}, p = {equal['p']:.3f}); augment with --recipe "
            f"{Path(out.name) / RECIPE}"
        )
    if not data["finished"]:
        return f"not finished ({data['stop']}): use {gold}; the same command with a larger --budget goes on"
    if final:
        worst = max(final["comparisons"], key=lambda found: found["p"] if found["delta"] > 0 else 2 - found["p"])
        return (
            f"none: use {gold}; {worst['name']} came first in the race, and is {worst['delta']:+.4f} F1 from "
            f"{worst['against']} on {final['posts']} posts held out (p = {worst['p']:.3f}), where a difference of "
            f"{worst['smallest']:.4f} could be shown"
        )
    return f"none: use {gold}; {data['stop']}"


def _told(data: Mapping[str, Any]) -> str:
    told = (
        f"{data['posts']} posts of train in {FOLDS} folds, posts of one text or picture in one fold. Each model is "
        "trained on eight folds and the posts made from these, selected on one, and scored on the gold posts of one. "
        f"Rounds on {sum(map(len, ROUNDS))} folds keep the better half each; the last candidate is compared with gold "
        f"on the other {len(FINAL)}, which chose nothing. It is recommended only if it is shown to be better than gold "
        "repeated to equal size and than the gold that was best in the rounds. Among numbers of repetitions of gold, "
        "which cost nothing, the best mean counts. "
    )
    if data["steps"]:
        told += (
            f"All models are trained for {data['steps']} steps, so gold is not repeated but in the final comparison. "
        )
    budget, spent = data["budget"], data["spent"]
    told += f"Spent: {spent['seconds']:.0f} of {budget['seconds']:.0f} seconds of training"
    told += f", USD {spent['usd']:.4f} of {budget['usd']:g}. " if budget["usd"] is not None else ". "
    if data["stop"]:
        told += f"The race stopped early: {data['stop']}. "
    return told + data["counting"]


def _dollars(usd: float) -> str:
    return f", and calls USD {usd:.4f}" if usd else ""


def _held(race: Race, folds: Sequence[int]) -> int:
    return sum(len(race.cells.study(fold).posts) for fold in folds)


def _standing(standing: Standing, race: Race) -> dict[str, Any]:
    method = standing.candidate.method
    defaults = type(method)(copies=method.copies, seed=method.seed).params
    params = {name: value for name, value in method.params.items() if defaults.get(name) != value}
    return {
        "name": standing.candidate.name,
        "settings": {"copies": method.copies, **{name: public_name(value) for name, value in params.items()}},
        "round": standing.round,
        "posts": standing.posts,
        "f1": standing.f1,
        "against": _difference(standing.against) if standing.against else None,
        "made": round(standing.made, 3),
        "seconds": round(standing.seconds, 2),
        "usd": round(standing.usd, 6),
        "out": without_paths(standing.out),
        "told": [without_paths(text) for text in standing.told],
    }


def _final(race: Race) -> dict[str, Any] | None:
    final = race.final
    if final is None:
        return None
    ours, equal, gold = final.f1
    return {
        "posts": final.posts,
        "seeds": final.seeds,
        "f1": final.f1,
        "comparisons": [
            {"name": ours, "against": equal, **_difference(final.equal)},
            {"name": ours, "against": gold, **_difference(final.best_gold)},
        ],
        "seconds": round(final.seconds, 2),
        "gold_seconds": round(final.gold_seconds, 2),
        "usd": round(final.usd, 6),
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "delta": found.delta,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "smallest": found.detectable,
        "better": found.delta > 0 if found.p < 0.05 else None,
    }


def _interval(found: Mapping[str, Any]) -> str:
    return f"[{found['low']:+.4f}, {found['high']:+.4f}]"


def _spelled(found: Mapping[str, Any]) -> list[str]:
    return [f"{found['delta']:+.4f}", _interval(found), f"{found['p']:.3f}", f"{found['smallest']:.4f}"]


def _line(found: Mapping[str, Any]) -> list[str]:
    settings = ", ".join(f"{name}={value}" for name, value in found["settings"].items())
    scored = found["f1"] is not None
    return [
        found["name"],
        settings,
        f"{found['made']:.2f}" if scored else "",
        str(found["round"] or ""),
        str(found["posts"] or ""),
        f"{found['f1']:.4f}" if scored else "",
        *(_spelled(found["against"]) if found["against"] else [""] * 4),
        f"{found['seconds']:.1f}" if scored else "",
        f"{found['usd']:.4f}" if found["usd"] else "",
        found["out"] or "recommended",
    ]
