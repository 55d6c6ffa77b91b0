"""A simulation of ``--engine ray`` with 8 to 1,024 workers: not a measurement of a cluster.

Measured here, on one machine: the seconds of each part (from the notes of a run), and those that the driver takes to
write the rows of a part and to check the digests of what was made.
"""

import heapq
import json
import random
import statistics
import time
from pathlib import Path

from benchmarks.measured import Row, alone, made_posts
from benchmarks.whole import run_of
from hf_mner_aug.runs.parts import LOOKS

WORKERS = (8, 64, 256, 1_024)
POSTS = 10_000_000
LATENCY_S = 0.03
SLOW_S = 30.0  # of a part whose pictures a model draws, eight in a second
START_S = 10.0
AHEAD = 2
ASSUMED = (
    f"{POSTS:,} posts in parts of 250; each request to the storage takes {LATENCY_S * 1000:.0f} ms (an object store of "
    "the same region), without a limit of bandwidth; workers are as fast as this machine's CPU and ready after "
    f"{START_S:.0f} s; a worker reads its rows with one request, and writes its part with three; the driver looks for "
    f"missing parts with one each, {LOOKS} at a time, then writes the rows of each part with one and checks what was "
    f"made with three, one after another; a worker has {AHEAD} parts at most; nothing dies"
)


def measure(folder: Path, n_posts: int) -> list[Row]:
    parts, driver = alone(times, made_posts(folder, n_posts), run_of(folder, n_posts)).result
    n_parts = POSTS // 250
    look_s, hand_s = n_parts * LATENCY_S / LOOKS, driver + 4 * LATENCY_S
    rows = [
        Row("seconds of a part of 250 posts", f"median {statistics.median(parts):.3f} s, most {max(parts):.3f} s"),
        Row("the driver's own seconds for a part", f"{driver:.4f} s"),
    ]
    for kind, times_s in (("parts as measured", parts), (f"parts of {SLOW_S:.0f} s", [SLOW_S])):
        alone_s = n_parts * (statistics.mean(times_s) + 4 * LATENCY_S)
        for workers in WORKERS:
            seconds, best = makespan(workers, n_parts, times_s, hand_s) + look_s, alone_s / workers
            beside = f"work / workers {best:,.0f} s"
            rows.append(Row(f"{workers:,} workers, {kind}", f"{seconds:,.0f} s", beside, seconds / best))
    rows.append(Row("the driver looking for missing parts, in each of these", f"{look_s:,.0f} s"))
    return rows


def times(source: str, out: str) -> tuple[list[float], float]:
    """Return the seconds of each part, and the driver's own for one: it writes the rows, and reads and checks files."""
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
        for kind in ("parts", "rejected"):
            sha256(run / kind / f"{i:05}.parquet")
    return parts, (time.perf_counter() - begun) / n


def makespan(workers: int, n_parts: int, parts: list[float], hand_s: float) -> float:
    """Return the seconds until all parts are made: a worker with a free place waits for the driver, then works.

    Args:
        workers: how many.
        n_parts: how many parts.
        parts: measured seconds of parts, drawn from with replacement.
        hand_s: the driver's seconds to hand out a part.
    """
    chance = random.Random(0)
    driver = START_S
    free = [(START_S, place, worker) for place in range(AHEAD) for worker in range(workers)]  # when each place is free
    ends = [START_S] * workers
    heapq.heapify(free)
    for _ in range(n_parts):
        at, place, worker = heapq.heappop(free)
        driver = max(driver, at) + hand_s
        ends[worker] = max(ends[worker], driver) + chance.choice(parts) + 4 * LATENCY_S
        heapq.heappush(free, (ends[worker], place, worker))
    return max(ends)
