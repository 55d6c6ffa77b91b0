"""A simulation of ``--engine ray`` with 8 to 1,024 workers: not a measurement of a cluster.

Measured here, on one machine: the seconds of each part (from the notes of a run), and those that the driver takes to
write the rows of a part and to check the digests of what was made. The driver works as ``ray_crew`` does, in rounds: it
writes the rows of all parts that workers have room for, then checks all parts that are made.
"""

import heapq
import json
import random
import statistics
import time
from pathlib import Path

from benchmarks.measured import Row, alone, made_posts
from benchmarks.whole import run_of
from hf_mner_aug.runs.engines.ray_crew import AHEAD
from hf_mner_aug.runs.parts import LOOKS

WORKERS = (8, 64, 256, 1_024)
POSTS = 10_000_000
LATENCY_S = 0.03
SLOW_S = 30.0  # of a part whose pictures a model draws, eight in a second
START_S = 10.0
ASSUMED = (
    f"{POSTS:,} posts in parts of 250; each request to the storage takes {LATENCY_S * 1000:.0f} ms (an object store of "
    "the same region), without a limit of bandwidth; workers are as fast as this machine's CPU and ready after "
    f"{START_S:.0f} s; a worker reads its rows with one request, and writes its part with three; the driver looks for "
    "missing parts with one each, writes the rows of each part with one and checks what was made with three, "
    f"{LOOKS} parts at a time, and its own work is that of one CPU; a worker has {AHEAD} parts at most; nothing dies"
)


def measure(folder: Path, n_posts: int) -> list[Row]:
    parts, write_s, check_s = alone(times, made_posts(folder, n_posts), run_of(folder, n_posts)).result
    n_parts = POSTS // 250
    look_s = n_parts * LATENCY_S / LOOKS
    rows = [
        Row("seconds of a part of 250 posts", f"median {statistics.median(parts):.3f} s, most {max(parts):.3f} s"),
        Row("the driver's own seconds for a part", f"{write_s:.4f} s to write, {check_s:.4f} s to check"),
    ]
    for kind, times_s in (("parts as measured", parts), (f"parts of {SLOW_S:.0f} s", [SLOW_S])):
        alone_s = n_parts * (statistics.mean(times_s) + 4 * LATENCY_S)
        for workers in WORKERS:
            seconds, best = makespan(workers, n_parts, times_s, write_s, check_s) + look_s, alone_s / workers
            beside = f"work / workers {best:,.0f} s"
            rows.append(Row(f"{workers:,} workers, {kind}", f"{seconds:,.0f} s", beside, seconds / best))
    rows.append(Row("the driver looking for missing parts, in each of these", f"{look_s:,.0f} s"))
    return rows


def times(source: str, out: str) -> tuple[list[float], float, float]:
    """Return the seconds of each part, and the driver's own for one: to write its rows, and to check its files."""
    from datasets import Dataset, load_dataset

    from hf_mner_aug.runs.engines.ray_rows import write_rows
    from hf_mner_aug.runs.parts import Part, posts_of
    from hf_mner_aug.storage.shared import Folder, sha256

    (run,) = Path(out).parent.glob("aug.runs/eda*/")
    parts = [json.loads(path.read_text())["seconds"] for path in sorted((run / "parts").glob("*.json"))]
    train = load_dataset(source, split="train")
    assert isinstance(train, Dataset)
    begun = time.perf_counter()
    for i in range(n := min(40, len(parts))):
        part = Part(i, "train", 250 * i, min(250 * (i + 1), len(train)))
        write_rows(Folder(run), f".{i}.arrow", [posts_of({"train": train}, part)])
    written = time.perf_counter()
    for i in range(n):
        json.loads((run / "parts" / f"{i:05}.json").read_text())
        for kind in ("parts", "rejected"):
            sha256(run / kind / f"{i:05}.parquet")
    return parts, (written - begun) / n, (time.perf_counter() - written) / n


def makespan(workers: int, n_parts: int, parts: list[float], write_s: float, check_s: float) -> float:
    """Return the seconds until all parts are made and checked.

    Args:
        workers: how many.
        n_parts: how many parts.
        parts: measured seconds of parts, drawn from with replacement.
        write_s: the driver's own seconds to write the rows of a part.
        check_s: the driver's own seconds to check a part.
    """
    chance = random.Random(0)
    now, left = START_S, n_parts
    held = [0] * workers  # parts of each worker
    ends = [START_S] * workers  # when each has made all of its parts
    made: list[tuple[float, int]] = []  # when each part is made, and by which worker
    while left or made:
        for most in range(1, AHEAD + 1):
            given = [worker for worker in range(workers) if held[worker] < most][:left]
            left -= len(given)
            written = together(now, len(given), write_s, 1)
            for worker, at in zip(given, written, strict=True):
                held[worker] += 1
                ends[worker] = max(ends[worker], at) + chance.choice(parts) + 4 * LATENCY_S
                heapq.heappush(made, (ends[worker], worker))
            now = written[-1] if written else now
        now = max(now, made[0][0])
        n_ready = 0
        while made and made[0][0] <= now:
            held[heapq.heappop(made)[1]] -= 1
            n_ready += 1
        now = together(now, n_ready, check_s, 3)[-1]
    return now


def together(now: float, n_parts: int, own_s: float, requests: int) -> list[float]:
    """Return when the driver is done with each part: it waits for some at a time, and works for one after another."""
    wait_s = requests * LATENCY_S
    return [now + max((i + 1) * own_s + wait_s, (i // LOOKS + 1) * wait_s) for i in range(n_parts)]
