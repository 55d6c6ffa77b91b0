"""Measure named benchmarks, print one table, and put a section for each into the page of results.

    python -m benchmarks [NAME …] [--posts N] [--page PATH]

A benchmark that is named again takes the place of its section, so a run that was stopped goes on with the names that
are left. The other scripts of this folder say in their first lines how they are run.
"""

import argparse
import importlib
import os
import tempfile
from pathlib import Path

from datasets import disable_progress_bars

from benchmarks.measured import ROOT, Row, markdown
from hf_mner_aug.studies.page import measured_here, put_section

NAMES = {
    "text": "Methods that edit text",
    "whole": "augment and publish",
    "reading": "Reading a config",
    "queries": "Queries over a corpus",
    "engines": "Ray beside the pool",
    "mixing": "Pictures that are mixed",
    "images": "Collages",
    "peers": "Beside other packages",
    "executors": "Beside other executors",
    "scale": "Many workers, simulated",
    "roofline": "GPUs, by roofline",
}


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and write the page.")
    options.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; all by default")
    options.add_argument("--posts", type=int, default=100_000, help="the most posts of a set (default: 100,000)")
    options.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "performance.md")
    asked = options.parse_args()
    if unknown := sorted(set(asked.names) - set(NAMES)):
        options.error(f"no benchmark {', '.join(unknown)}: known are {', '.join(NAMES)}")
    if asked.posts < 10_000:
        options.error(f"--posts must be at least 10000, found {asked.posts}")
    disable_progress_bars()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        os.environ |= {"HF_HOME": f"{temporary}/hf", "HF_MNER_AUG_CACHE": f"{temporary}/artifacts"}
        for name in asked.names or NAMES:
            module = importlib.import_module(f"benchmarks.{name}")
            load = os.getloadavg()[0]
            rows += (found := module.measure(Path(temporary), asked.posts))
            print(markdown(found), flush=True)
            text = f"{(module.__doc__ or '').strip()}\n\n{markdown(found)}"
            if assumed := getattr(module, "ASSUMED", ""):
                text += f"\n\nAssumed: {assumed}."
            posts = "" if asked.posts == 100_000 else f" --posts {asked.posts}"
            facts = [measured_here(), f"{load:.1f} processes were at work on the machine when it began (load average)"]
            put_section(asked.page, NAMES[name], text, f"python -m benchmarks {name}{posts}", facts)
    print(markdown(rows))


if __name__ == "__main__":
    main()
