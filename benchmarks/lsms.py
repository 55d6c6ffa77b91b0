"""Measure lsms beside nlpaug's word replacement on Twitter-2015's 4,000 train posts: python benchmarks/lsms.py.

Both make four copies of each post through ``Dataset.map``, with the same columns, and take three of ten words: lsms
with all its operations, and with label-wise replacement alone; nlpaug (``pip install nlpaug``; left out where it is
absent) with ``RandomWordAug(action="substitute")`` and the split's words as targets. That one knows no labels; it keeps
the number of words, so that the tags still fit. Runs alternate in one process, after imports and fit; each figure is
the median of them. The data is sought in ../shared/data, or in $MNER_DATA.
"""

import os
import random
import statistics
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, disable_caching, disable_progress_bars

from hf_mner_aug import LSMS
from hf_mner_aug.readers import read
from hf_mner_aug.schema import AUGMENTED

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
COPIES = 4
RATIO = 0.3
RUNS = 5


def map_lsms(dataset: Dataset, **params: Any) -> Callable[[], Dataset]:
    """Return what makes the rows of a fitted lsms."""
    method = LSMS(copies=COPIES, ratio=RATIO, **params).fit(dataset)

    def run() -> Dataset:
        made: Dataset = method.map(dataset, new_fingerprint=uuid.uuid4().hex)
        return made

    return run


def map_nlpaug(dataset: Dataset) -> Callable[[], Dataset] | None:
    """Return what makes the rows of nlpaug's random substitution, or None where it is not installed."""
    try:
        from nlpaug.augmenter.word import RandomWordAug
    except ImportError as error:
        print(f"nlpaug: left out, {error}")
        return None
    words = sorted({word for tokens in dataset["tokens"] for word in tokens})
    augmenter = RandomWordAug(
        action="substitute",
        aug_p=RATIO,
        aug_max=None,
        target_words=words,
        tokenizer=lambda text: text.split(" "),
        reverse_tokenizer=" ".join,
    )
    features = LSMS(copies=COPIES).fit(dataset).features

    def augment(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made: dict[str, list[Any]] = {name: [] for name in features}
        for i, tokens in enumerate(batch["tokens"]):
            texts = augmenter.augment(" ".join(tokens), n=COPIES)
            for copy, text in enumerate([texts] if isinstance(texts, str) else texts):
                row = {name: batch[name][i] for name in features if name not in AUGMENTED}
                new = text.split(" ")
                assert len(new) == len(tokens)
                row |= {"id": f"{row['id']}+nlpaug.{copy}", "tokens": new, "source_id": row["id"]}
                row |= {"method": "nlpaug", "provenance": "{}"}
                for name in made:
                    made[name].append(row[name])
        return made

    def run() -> Dataset:
        random.seed(0)
        np.random.seed(0)
        return dataset.map(augment, batched=True, features=features, new_fingerprint=uuid.uuid4().hex)

    return run


def measure(dataset: Dataset) -> None:
    """Print rows a second of each."""
    tried = {
        "lsms": map_lsms(dataset),
        "lsms, label-wise replacement alone": map_lsms(dataset, operations=("token",)),
        "nlpaug": map_nlpaug(dataset),
    }
    runs = {name: run for name, run in tried.items() if run is not None}
    rows = {name: len(run()) for name, run in runs.items()}
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(RUNS):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            took[name].append(time.perf_counter() - begun)
    for name, seconds in took.items():
        median = statistics.median(seconds)
        line = f"{name}: {rows[name] / median:,.0f} rows/s ({rows[name]} rows in {median:.2f} s)"
        if "nlpaug" in took and name != "nlpaug":
            ratios = [b / rows["nlpaug"] * rows[name] / a for a, b in zip(seconds, took["nlpaug"], strict=True)]
            line += f", {statistics.median(ratios):.1f} times nlpaug's"
        print(line)


if __name__ == "__main__":
    disable_caching()
    disable_progress_bars()
    reading = read("twitter2015", DATA / "twitter2015")
    measure(Dataset.from_list(list(reading.rows("train")), features=reading.features))
