"""Measure mixgen on the pictures of 36 real tweets, five copies each: python benchmarks/mixgen.py.

The yardstick is Pillow alone on the same pairs of pictures: decode both, resize the second, Image.blend, encode with
the same settings. Runs of ``MixGen.map`` and of the yardstick alternate in one process, after imports and fit; each
figure is the median of them. Pictures that both wrote without loss must agree to one grey level. The data is sought in
../shared/data, or in $MNER_DATA.

Bound: at most 1.3 times the yardstick.
"""

import io
import json
import os
import statistics
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets, disable_caching, disable_progress_bars
from PIL import Image

from hf_mner_aug import MixGen
from hf_mner_aug.posts.pictures import JPEG_QUALITY
from hf_mner_aug.readers import read

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
COPIES = 5
RUNS = 9


def read_tweets() -> Dataset:
    """Return the tweets of both sets, with their pictures; labels of the second are read as the first's."""
    folder = DATA / "tweets_with_images"
    parts = []
    for name in ("twitter2015", "twitter2017"):
        reading = read(name, folder / f"{name}.txt", images=folder / "images")
        parts.append(Dataset.from_list(list(reading.rows("train")), features=reading.features))
    return concatenate_datasets([parts[0], parts[1].cast(parts[0].features)])


def encoded(dataset: Dataset) -> list[dict[str, Any]]:
    """Return rows with their pictures' bytes."""
    rows: list[dict[str, Any]] = dataset.with_format("arrow")[:].to_pylist()
    return rows


def blend(first: bytes, second: bytes, weight: float) -> bytes:
    """Return two encoded pictures as one, with Pillow alone."""
    below, above = Image.open(io.BytesIO(first)).convert("RGB"), Image.open(io.BytesIO(second)).convert("RGB")
    if above.size != below.size:
        above = above.resize(below.size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    mixed = Image.blend(above, below, weight)
    if first.startswith(b"\x89PNG"):
        mixed.save(file, "PNG", compress_level=4)
    else:
        mixed.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def largest_difference(made: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[bytes, bytes]], weight: float) -> int:
    """Return the largest difference in grey levels between PNGs and what Pillow alone makes of opaque pictures."""
    largest = 0
    for row, (first, second) in zip(made, pairs, strict=True):
        pictures = [Image.open(io.BytesIO(data)) for data in (first, second)]
        if pictures[0].format == "PNG" and all(picture.mode == "RGB" for picture in pictures):
            ours, theirs = (
                np.asarray(Image.open(io.BytesIO(data)), dtype=int)
                for data in (row["image"]["bytes"], blend(first, second, weight))
            )
            largest = max(largest, int(np.abs(ours - theirs).max()))
    return largest


def seconds(work: Callable[[], Any]) -> float:
    """Return how long some work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(dataset: Dataset) -> None:
    """Print pictures a second of both, and the ratio."""
    method = MixGen(copies=COPIES).fit(dataset)

    def run() -> Dataset:
        made: Dataset = method.map(dataset, new_fingerprint=uuid.uuid4().hex)
        return made

    pictures = {row["id"]: row["image"]["bytes"] for row in encoded(dataset)}
    made = encoded(run())
    pairs = [
        (pictures[row["source_id"]], pictures[json.loads(row["provenance"])["details"]["post_id"]]) for row in made
    ]
    assert len(pairs) == COPIES * len(dataset)
    assert all(row["image"]["bytes"] not in pair for row, pair in zip(made, pairs, strict=True))

    def yardstick() -> None:
        for first, second in pairs:
            blend(first, second, method.weight)

    yardstick()
    timed = [(seconds(run), seconds(yardstick)) for _ in range(RUNS)]
    took, alone = (statistics.median(column) for column in zip(*timed, strict=True))
    ratio = statistics.median(a / b for a, b in timed)
    print(
        f"mixgen: {len(made) / took:.0f} pictures/s ({len(made)} in {took:.2f} s), "
        f"Pillow alone {len(made) / alone:.0f} ({alone:.2f} s), ratio {ratio:.2f}"
    )
    print(f"largest difference without loss: {largest_difference(made, pairs, method.weight)} of 255 grey levels")


if __name__ == "__main__":
    disable_caching()
    disable_progress_bars()
    measure(read_tweets())
