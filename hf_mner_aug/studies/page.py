"""A study in a page of results: the tables, the command, the code, the days and the machines.

It is written from the study's saved files alone, so the same files give the same page.
"""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

from hf_mner_aug import __version__
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.publishing.cards import with_section
from hf_mner_aug.storage import artifacts
from hf_mner_aug.studies.tasks import task_in
from hf_mner_aug.untrusted.printable import fenced, for_markdown
from hf_mner_aug.untrusted.shapes import read_json

RUNS = "runs.json"
ONE_AT_A_TIME = ("--backbone", "--set")  # options that are repeated for several values
READ = (
    "Compared are models trained on gold posts (*gold*), on these repeated up to the size of a config (*oversampled*), "
    "on a config, and on gold posts with shuffled {kinds} (*shuffled*, the negative control). Δ is the mean F1 of "
    "a row minus that of the row it is compared with; p is small if other posts would show the difference too; "
    "*smallest* is the smallest Δ visible to this study: "
    "[how to read the tables](../measuring.md#how-to-read-the-table)."
)
_NOT_IN_A_NAME = re.compile(r"[^\w.-]")
_PARTS = re.compile("([=,:])")
# An absolute path, or one from the home or the working folder; not the rest of a URL or of a Hub id.
_PATH = re.compile(r"""(?<![\w/.~@-])(?:~?/|\.{1,2}/)(?![/\s])[^\s:;,'"`()]+""")


class Ran(TypedDict):
    """A run of the study that trained cells."""

    date: str
    cells: int
    code: str
    machine: str


def spell_command(verb: str, argument: Any, options: Mapping[str, Any], *more: str) -> str:
    """Return the command line of a verb, with ``more`` arguments; of folders on this machine it has the names only.

    An option is left out if its value is None, False or empty, and has no value if that is True. Of several values each
    has the option's name before it where the command line takes one at a time.
    """
    words = ["hf-mner-aug", verb, _named(argument), *more]
    for name, value in options.items():
        if value not in (None, False, "", [], ()):
            many = value if isinstance(value, list | tuple) else [value]
            values = [] if value is True else [*map(_named, many)]
            words += [part for one in values for part in (name, one)] if name in ONE_AT_A_TIME else [name, *values]
    return shlex.join(words)


def record_run(folder: Path, cells: int) -> None:
    """Add a run that trained some cells to the record of a study."""
    ran: Ran = {"date": date.today().isoformat(), "cells": cells, "code": _code(), "machine": _machine()}
    artifacts.write_atomically(folder / RUNS, json.dumps([*read_runs(folder), ran], indent=2).encode() + b"\n")


def read_runs(folder: Path) -> list[Ran]:
    """Return the recorded runs of a study; older studies have none."""
    try:
        runs: list[Ran] = read_json(folder / RUNS, list[Ran])
    except FileNotFoundError:
        return []
    return runs


def write_page(path: str | Path, title: str, text: str, data: Mapping[str, Any], runs: Sequence[Ran]) -> None:
    """Put a study into a Markdown page; a section of the same title is replaced, a missing page is made.

    Args:
        path: the page.
        title: what was studied; ``on_repo`` names where.
        text: the report as Markdown.
        data: the report as plain data, with the command, the settings and the seeds.
        runs: what ``read_runs`` returns.

    Raises:
        UsageError: the page's folder does not exist, or the page is a folder.
    """
    settings = ", ".join(f"{name}={value}" for name, value in data["settings"].items())
    told = [f"{ran['date']}: {ran['cells']} trainings, {ran['code']}, on {ran['machine']}" for ran in runs]
    facts = [
        *(f"Trained on {line}" for line in told or ["a day that was not recorded"]),
        f"Backbone: {data['backbone']} ({settings})",
        *(f"{what.capitalize()}: {seeds}" for what, seeds in _seeds(data).items()),
    ]
    put_section(path, title, f"{READ.format(kinds=task_in(data).shuffles)}\n\n{text.rstrip()}", data["command"], facts)


def spell_seeds(data: Mapping[str, Any]) -> str:
    """Return the seeds of a report as part of a sentence."""
    return ", ".join(f"{what} {seeds}" for what, seeds in _seeds(data).items())


def on_repo(title: str, studies: Path) -> str:
    """Return the title of a study with the repo that it is of, so that a page may have two of the same configs.

    Args:
        title: the configs and the backbone.
        studies: the folder of the studies of a repo, as ``twitter2015-aug.studies``.
    """
    return f"{title} on {_NOT_IN_A_NAME.sub('_', studies.name.removesuffix('.studies'))}"


def put_section(path: str | Path, title: str, text: str, command: str | Sequence[str], facts: Sequence[str]) -> None:
    """Put a section with its commands and facts into a Markdown page; raises as ``write_page``.

    Args:
        path: the page.
        title: of the section, which takes the place of an older one.
        text: Markdown.
        command: what made the text; one or several.
        facts: sentences without their full stop, as ``measured_here``.
    """
    path = Path(path)
    if not path.parent.is_dir() or path.is_dir():
        raise UsageError(f"{path}: expected a Markdown file in a folder that exists")
    parts = [
        f"## {for_markdown(title[:1].upper() + title[1:])}",
        text.rstrip(),
        "### How it was made",
        fenced(f"$ {one}" for one in ([command] if isinstance(command, str) else command)),
        "\n".join(f"- {for_markdown(fact)}." for fact in facts),
    ]
    before = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    artifacts.write_atomically(path, with_section(before, title, "\n\n".join(parts)).encode())


def measured_here() -> str:
    """Return today's date, the commit of the package and this machine."""
    return f"Measured on {date.today().isoformat()}: {_code()}, on {_machine()}"


# ---------------------------------------------------------------- inside


def _seeds(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the seeds of a report by their kind: of models and of augmentation, where these are not the same."""
    seeds = ", ".join(map(str, data["seeds"]))
    if not data.get("augmentation_seeds"):
        return {"seeds": seeds}
    made = ", ".join(map(str, data["augmentation_seeds"]))
    how = "each paired with one of these" if data["paired"] else "each with all of these"
    return {"model seeds": seeds, "augmentation seeds": f"{made} ({how})"}


def _named(value: Any) -> str:
    """Return a value of a command line as text, with the name of each folder or file instead of its path."""
    return "".join(Path(part).resolve().name if _is_path(part) else part for part in _PARTS.split(str(value)))


def _is_path(text: str) -> bool:
    """Return whether text is a path, also of a missing file, but not a Hub id or the rest of a URL."""
    return "/" in text and not text.startswith("//") and (text[0] in "/.~" or Path(text).exists())


def without_paths(text: str) -> str:
    """Return text with the name of each folder or file of this machine instead of its path."""
    text = text.replace(f"{Path.home()}{os.sep}", f"~{os.sep}")  # whose name may have blanks
    return _PATH.sub(lambda found: Path(found[0]).name or found[0], text)


def _code() -> str:
    """Return the commit of the package in a checkout, else its version."""
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"version {__version__}"
    return f"commit {done.stdout.strip()}" if (root / ".git").exists() else f"version {__version__}"


def _machine() -> str:
    """Return the processor, its cores, the system, and the versions of Python and torch."""
    try:
        torch = f", torch {version('torch')}"
    except PackageNotFoundError:
        torch = ""
    used = sys.modules.get("torch")
    gpu = f", {used.cuda.get_device_name(0)}" if used and used.cuda.is_available() else ""
    cores = f"{_processor()} with {os.cpu_count()} cores{gpu}"
    return f"{cores}, {platform.system()}, Python {platform.python_version()}{torch}"


def _processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
