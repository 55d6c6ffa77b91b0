"""What the benchmarks of ``python -m benchmarks`` share: functions in processes of their own, and rows of a table."""

import gc
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.memory import anonymous_bytes, draw_texts

ROOT = Path(__file__).parents[1]
CHILD = "import sys; from benchmarks.measured import answer; answer(sys.argv[1:])"


class Row(NamedTuple):
    """What was measured, beside what, their ratio, and the bound of the ratio or of the figure itself."""

    what: str
    measured: str
    beside: str = ""
    ratio: float | None = None
    bound: str = ""


class Took(NamedTuple):
    """What a function took in a process of its own, after its module was imported, and what it returned."""

    seconds: float
    cpu_seconds: float
    peak_mb: float  # of anonymous memory: what is mapped from files does not count
    result: Any
    workers_s: float  # CPU seconds of processes that it started, included in cpu_seconds


def alone(function: Callable[..., Any], *arguments: Any) -> Took:
    """Call a function of a module in a new process; arguments and result are JSON."""
    command = [sys.executable, "-W", "ignore", "-c", CHILD, function.__module__, function.__name__]
    command += [json.dumps([str(a) if isinstance(a, Path) else a for a in arguments])]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TQDM_DISABLE": "1"}, stdout=subprocess.PIPE, text=True
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(process.pid))
        time.sleep(0.05)
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{function.__name__} ended with {process.returncode}")
    seconds, cpu_seconds, result, workers_s = json.loads(said.splitlines()[-1])
    return Took(seconds, cpu_seconds, peak / 1e6, result, workers_s)


def answer(words: Sequence[str]) -> None:
    """Call the function that the parent process named, and print what it took."""
    from datasets import disable_progress_bars

    disable_progress_bars()
    function = getattr(importlib.import_module(words[0]), words[1])
    begun, used = time.perf_counter(), sum(os.times()[:4])
    result = function(*json.loads(words[2]))
    workers_s = sum(os.times()[2:4])
    print(json.dumps([time.perf_counter() - begun, sum(os.times()[:4]) - used, result, workers_s]))


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of this process that some work takes; other work on the machine does not count."""
    gc.collect()
    begun = time.process_time()
    work()
    return time.process_time() - begun


def made_posts(folder: Path, n_posts: int) -> Path:
    """Return a folder with made posts of 8 to 16 words as Parquet, as ``load_dataset`` and ``augment`` take it."""
    from datasets import Dataset, Features

    from hf_mner_aug.schema import mner_features

    features = Features({name: kind for name, kind in mner_features().items() if name != "image"})
    source = folder / f"posts-{n_posts}"
    if not source.exists():
        source.mkdir()
        rows = Dataset.from_generator(
            draw_texts,
            gen_kwargs={"n_posts": n_posts, "pictures": False},
            features=features,
            cache_dir=str(folder / "cache"),
        )
        rows.to_parquet(source / "train-00000-of-00001.parquet")
    return source


def markdown(rows: Sequence[Row]) -> str:
    """Return rows as a table."""
    lines = ["| what | measured | beside | ratio | bound |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.what} | {row.measured} | {row.beside} | {ratio} | {row.bound} |")
    return "\n".join(lines)
