"""``augment`` by two Ray actors on one machine, beside two workers of the pool: seconds of the clock, start included.

Ray's share that does not grow with the posts (its start and end) is measured with a run whose parts are all made.
"""

import importlib.util
from pathlib import Path

from benchmarks.measured import Row, alone, made_posts

WORKERS = 2


def measure(folder: Path, n_posts: int) -> list[Row]:
    if importlib.util.find_spec("ray") is None:
        return [Row("ray", "not measured: the extra ray is not installed")]
    source = made_posts(folder, n_posts)
    pool = alone(make, source, folder / "pool" / "aug", f"pool:num_proc={WORKERS}")
    ray = alone(make, source, folder / "ray" / "aug", f"ray:workers={WORKERS}")
    start = alone(make, source, folder / "ray" / "aug", f"ray:workers={WORKERS}").seconds
    idle = alone(make, source, folder / "pool" / "aug", f"pool:num_proc={WORKERS}").seconds
    beside = f"pool {pool.seconds:.1f} s"
    rows = [
        Row(
            f"ray, {WORKERS} actors, {n_posts:,} posts",
            f"{ray.seconds:.1f} s",
            beside,
            ray.seconds / pool.seconds,
            "≤ 1.1",
        )
    ]
    rows.append(Row("the same when all parts are made", f"{start:.1f} s", f"pool {idle:.1f} s", start / idle))
    own, others = ray.seconds - start, pool.seconds - idle
    rows.append(Row("the difference: making the parts", f"{own:.1f} s", f"pool {others:.1f} s", own / others, "≤ 1.1"))
    return rows


def make(source: str, out: str, engine: str) -> None:
    """Make the parts of a run by an engine."""
    from hf_mner_aug import EDA, augment

    augment(source, EDA(copies=1), out=out, engine=engine, progress=False)
