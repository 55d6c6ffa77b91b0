"""Rows a second of methods that edit text, beside an identity ``Dataset.map`` that writes the same columns.

CPU seconds after fit, medians of alternating runs. The slope is the cost of a row at the most posts over that at
10,000.
"""

import statistics
import uuid
from pathlib import Path
from typing import Any

from benchmarks.measured import Row, alone, cpu_seconds, made_posts

METHODS = ("eda", "lsms", "mixgen")
RUNS = {1_000: 5, 10_000: 3}
SLOPE = 1.05


def measure(folder: Path, n_posts: int) -> list[Row]:
    source, rows = made_posts(folder, n_posts), []
    for name in METHODS:
        took = alone(compare, source, name, [n for n in (1_000, 10_000) if n < n_posts] + [n_posts])
        costs = []
        for n, n_rows, own, identity in took.result:
            costs.append(own / n_rows)
            beside = f"identity {n_rows / identity:,.0f} rows/s"
            rows.append(Row(f"{name}, {n:,} posts", f"{n_rows / own:,.0f} rows/s", beside, own / identity))
        slope = costs[-1] / costs[-2]
        peak = f"peak {took.peak_mb:,.0f} MB"
        rows.append(
            Row(f"{name}, cost of a row at {n_posts:,} posts", peak, f"at {took.result[-2][0]:,}", slope, f"≤ {SLOPE}")
        )
    return rows


def compare(source: str, name: str, counts: list[int]) -> list[tuple[int, int, float, float]]:
    """Return posts, rows made, and the median CPU seconds of the method and of the identity."""
    from datasets import Dataset, disable_caching, load_dataset

    from hf_mner_aug.methods import method_class

    disable_caching()
    dataset = load_dataset(source, split="train")
    assert isinstance(dataset, Dataset)
    method = method_class(name)(copies=1).fit(dataset)
    provenance = method.map(dataset.select(range(100)))["provenance"][0]

    def identity(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        n = len(batch["id"])
        return {**batch, "source_id": batch["id"], "method": [name] * n, "provenance": [provenance] * n}

    def timed(rows: Dataset) -> tuple[int, float, float]:
        made = []
        own = cpu_seconds(lambda: made.append(len(method.map(rows, new_fingerprint=uuid.uuid4().hex))))
        same = rows.select(range(made[0]))  # as many rows as the method makes
        fresh = {"features": method.features, "new_fingerprint": uuid.uuid4().hex}
        return made[0], own, cpu_seconds(lambda: same.map(identity, batched=True, **fresh))

    timed(dataset.select(range(100)))
    found = []
    for n in counts:
        times = [timed(dataset.select(range(n))) for _ in range(RUNS.get(n, 1))]
        n_rows, own, same = (statistics.median(column) for column in zip(*times, strict=True))
        found.append((n, int(n_rows), own, same))
    return found
