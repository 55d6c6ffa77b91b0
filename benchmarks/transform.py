"""Measure eda and lsms on Twitter-2015's 4,000 train posts, five copies each: python benchmarks/transform.py.

The yardstick is an identity method that does all but edit: it makes the same draws, carries the same details and
writes the same columns. Runs alternate between the method and its yardstick in one process, through
``Dataset.map``, after imports and fit; each figure is the median of them. Last line: the content fingerprint of 4,000
posts with 40 kB images. The data is sought in ../shared/data, or in $MNER_DATA.

Bounds: at least 10,000 rows a second, at most 1.5 times the yardstick, a fingerprint in under 2 s.
"""

import gc
import os
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from datasets import Dataset, disable_caching, disable_progress_bars

from hf_mner_aug.draw import Draw, draw
from hf_mner_aug.methods import method_class
from hf_mner_aug.readers import read
from hf_mner_aug.schema import Post
from hf_mner_aug.transform import Facts, Method, Reject

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
COPIES = 5
RUNS = 9


class Recorded(Draw):
    """A draw that notes what it is asked for."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def choice(self, items: Any) -> Any:
        """Note and draw."""
        self.calls.append((Draw.choice, (items,)))
        return super().choice(items)

    def sample(self, items: Any, k: int) -> Any:
        """Note and draw; what a sample is made by is not noted again."""
        n_calls = len(self.calls)
        taken = super().sample(items, k)
        self.calls[n_calls:] = [(Draw.sample, (items, k))]
        return taken

    def subset(self, items: Any, probability: float) -> Any:
        """Note and draw."""
        self.calls.append((Draw.subset, (items, probability)))
        return super().subset(items, probability)


# For each row, by the key of its draw: the draws that the method made, and the details or Reject that it gave.
_records: dict[bytes, tuple[list[Any], Any]] = {}


@dataclass(frozen=True, kw_only=True)
class Identity(Method):
    """Gives each post back, with the draws and details of another method's rewrite."""

    name: ClassVar[str] = "identity"
    facts: ClassVar[Facts] = Facts(does="nothing", paper="none", learns="nothing", images="kept", boxes="kept")
    params: ClassVar[dict[str, Any]] = {}

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return the posts as they are."""
        made: list[Post | Reject | None] = []
        for post, stream in zip(posts, draws, strict=True):
            calls, result = _records[stream.key]
            for function, arguments in calls:
                function(stream, *arguments)
            if isinstance(result, Reject):
                made.append(result)
            else:
                made.append(Post(post.id, post.tokens, post.entities, post.images, post.relation, result))
        return made


def identity_of(method: Method, dataset: Dataset) -> Method:
    """Return the identity method with the name, seed, parameters and draws of another."""
    _records.clear()
    for table in dataset.with_format("arrow").iter(1000):
        posts = [method._codec().to_post(row) for row in table.to_pylist()]
        expanded = [post for post in posts for _ in range(method.copies)]
        keys = [
            draw(method.seed, method.name, method.version, post.id, c).key
            for post in posts
            for c in range(method.copies)
        ]
        draws = [Recorded(key) for key in keys]
        for recorded, result in zip(draws, method.rewrite(expanded, draws), strict=True):
            _records[recorded.key] = recorded.calls, result if isinstance(result, Reject) else dict(result.details)
    gc.collect()
    gc.freeze()  # the records are no part of what is measured
    kind = type(
        "Identity",
        (Identity,),
        {"name": method.name, "version": method.version, "rejects": method.rejects, "params": method.params},
    )
    same: Method = kind(seed=method.seed, copies=method.copies, artifact=method.artifact)
    return same


def run(method: Method, dataset: Dataset) -> Dataset:
    """Return the method's rows; a fingerprint is given, as hashing a class of this script would count its records."""
    made: Dataset = method.map(dataset, new_fingerprint=uuid.uuid4().hex)
    return made


def seconds(work: Callable[[], Any]) -> float:
    """Return how long some work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure_methods(dataset: Dataset) -> None:
    """Print, for each method, rows a second and the ratio to its yardstick."""
    for name in ("eda", "lsms"):
        method = method_class(name)(copies=COPIES).fit(dataset)
        identity = identity_of(method, dataset)
        n_rows = len(run(method, dataset))
        assert len(run(identity, dataset)) == n_rows
        pairs = [
            (seconds(lambda m=method: run(m, dataset)), seconds(lambda m=identity: run(m, dataset)))
            for _ in range(RUNS)
        ]
        took, yardstick = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(
            f"{name}: {n_rows / took:,.0f} rows/s ({n_rows} rows in {took:.3f} s), identity {yardstick:.3f} s, "
            f"ratio {ratio:.2f}"
        )


def measure_fingerprint(dataset: Dataset) -> None:
    """Print how long the content fingerprint of 4,000 posts with 40 kB images takes."""
    from hf_mner_aug.storage.fingerprint import content_fingerprint

    features = dataset.features
    noise = random.Random(0)
    rows = [
        {**row, "image": {"bytes": noise.randbytes(40_000), "path": None}} for row in dataset.remove_columns("image")
    ]
    with tempfile.TemporaryDirectory() as folder:
        # Written and read back: memory-mapped, as a set that was loaded is.
        Dataset.from_list(rows, features=features).save_to_disk(folder)
        pictured = Dataset.load_from_disk(folder)
        took = statistics.median(seconds(lambda: content_fingerprint(pictured)) for _ in range(3))
    print(f"content fingerprint: {len(rows)} rows with 40 kB images in {took:.2f} s")


if __name__ == "__main__":
    disable_caching()
    disable_progress_bars()
    reading = read("twitter2015", DATA / "twitter2015")
    train = Dataset.from_list(list(reading.rows("train")), features=reading.features)
    measure_methods(train)
    measure_fingerprint(train)
