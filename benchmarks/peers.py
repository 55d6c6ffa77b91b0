"""Methods beside packages that do the nearest thing: rows a second of CPU, medians of alternating runs, after fit.

nlpaug's ``RandomWordAug`` swaps words of a text, as the operation ``swap`` of ``eda``; it knows neither entities nor
tags, writes no columns, and draws from a global generator. A ratio above 1 is a method that is faster.
"""

import importlib.util
import statistics
from pathlib import Path

from benchmarks.measured import Row, alone, made_posts

SOME = 3_000  # posts


def measure(folder: Path, n_posts: int) -> list[Row]:
    if importlib.util.find_spec("nlpaug") is None:
        return [Row("eda:operations=swap", "not measured: nlpaug is not installed (pip install nlpaug)")]
    own, other = alone(compare, made_posts(folder, max(n_posts, SOME))).result
    measured, beside = f"{SOME / own:,.0f} rows/s", f"nlpaug {SOME / other:,.0f} rows/s"
    return [Row(f"eda:operations=swap, {SOME:,} posts", measured, beside, other / own)]


def compare(source: str) -> tuple[float, float]:
    """Return the CPU seconds of a swap in each post, by ``eda`` and by nlpaug."""
    from datasets import Dataset, disable_caching, load_dataset
    from nlpaug.augmenter.word import RandomWordAug

    from benchmarks.measured import cpu_seconds
    from hf_mner_aug import EDA

    disable_caching()
    rows = load_dataset(source, split=f"train[:{SOME}]")
    assert isinstance(rows, Dataset)
    eda = EDA(copies=1, operations=("swap",)).fit(rows)
    texts = [" ".join(words) for words in rows["tokens"]]
    swap = RandomWordAug(action="swap", aug_p=0.1)
    times = [(cpu_seconds(lambda: eda.map(rows)), cpu_seconds(lambda: swap.augment(texts))) for _ in range(3)]
    own, other = (statistics.median(column) for column in zip(*times, strict=True))
    return own, other
