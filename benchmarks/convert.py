"""Measure the conversion of Twitter-GMNER v2: python benchmarks/convert.py [RUNS].

The whole command is timed, from the start of Python to the finished folder: 10,000 posts, 5,612 XML files, no images.
The data is sought in ../shared/data, or in $MNER_DATA.

Bound: under 20 s.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
RUNS = 3
COMMAND = "from hf_mner_aug.cli import main; main()"


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    raw = DATA / "twitter_gmner"
    if not raw.is_dir():
        sys.exit(f"no Twitter-GMNER in {DATA}: set MNER_DATA to the folder that holds twitter_gmner")
    n_files = sum(1 for _ in (raw / "xml").glob("*.xml"))
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs):
            begun = time.perf_counter()
            command = [sys.executable, "-c", COMMAND, "convert", "twitter_gmner", str(raw), "--out", f"{folder}/{run}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds.append(time.perf_counter() - begun)
    print(done.stdout.rstrip())
    spelt = ", ".join(f"{value:.1f}" for value in seconds)
    print(f"{n_files} XML files; median {statistics.median(seconds):.1f} s of {runs} runs: {spelt}")


if __name__ == "__main__":
    main()
