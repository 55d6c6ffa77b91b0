"""``augment`` and ``publish``, beside ``Dataset.to_parquet`` of the published rows; two processes beside one.

``to_parquet`` only writes; the commands also read, make, check, hash and write every part and every split. All are CPU
seconds, since other work on the machine stretches those of the clock. Two processes take those of the first one, which
fits, and half of those of the workers, start and imports included: the seconds of the clock, if each had a core.
"""

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.measured import Row, alone, made_posts


def measure(folder: Path, n_posts: int) -> list[Row]:
    source, out = made_posts(folder, n_posts), folder / "whole" / "aug"
    one = alone(make, source, out, 1)
    published = alone(publish, source, out)
    written = alone(write, out, folder / "written.parquet")
    of_both = one.cpu_seconds + published.cpu_seconds
    both = f"{of_both:.1f} s of CPU: augment {one.cpu_seconds:.1f}, publish {published.cpu_seconds:.1f}"
    beside = f"to_parquet {written.cpu_seconds:.1f} s, {written.result:,} rows"
    rows = [Row(f"augment and publish, {n_posts:,} posts", both, beside, of_both / written.cpu_seconds, "≤ 2")]
    rows.append(Row("peak of augment, of publish", f"{one.peak_mb:,.0f} MB, {published.peak_mb:,.0f} MB"))
    two = alone(make, source, folder / "two" / "aug", 2)
    first_s = two.cpu_seconds - two.workers_s
    seconds, beside = first_s + two.workers_s / 2, f"1 process {one.cpu_seconds:.1f} s"
    measured = f"{seconds:.1f} s: {first_s:.1f}, and {two.workers_s:.1f} in two workers"
    rows.append(Row("augment --num-proc 2", measured, beside, one.cpu_seconds / seconds, "≥ 1.7"))
    shares = alone(stages, source, folder / "stages" / "aug").result
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    rows.append(Row("shares of augment, by stage", told))
    return rows


def run_of(folder: Path, n_posts: int, *, published: bool = False) -> Path:
    """Return the output folder of a finished run, and publish it if asked for."""
    source, out = made_posts(folder, n_posts), folder / f"made-{n_posts}" / "aug"
    if not out.with_name("aug.runs").exists():
        alone(make, source, out, 1)
    if published and not out.exists():
        alone(publish, source, out)
    return out


def make(source: str, out: str, num_proc: int) -> int:
    """Make the parts of a run, and return the number of rows."""
    from hf_mner_aug import EDA, augment

    made: int = augment(source, EDA(copies=1), out=out, num_proc=num_proc, progress=False).counts["made"]
    return made


def stages(source: str, out: str) -> dict[str, float]:
    """Return the shares of a run's CPU time by stage."""
    from hf_mner_aug.runs import ledger, parts
    from hf_mner_aug.transform import Method

    taken: dict[str, float] = defaultdict(float)

    def timed(stage: str, owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            begun = time.process_time()
            try:
                return inner(*arguments, **options)
            finally:
                taken[stage] += time.process_time() - begun

        setattr(owner, name, call)

    for name in ("resolve", "_check_ids"):
        timed("check and digest the source", ledger, name)
    timed("read", ledger, "open_source")
    timed("read", parts, "posts_of")
    timed("fit", Method, "fit")
    timed("make", Method, "make")
    for name in ("rows_table", "write_table"):
        timed("write", parts, name)
    timed("digest parts", parts, "sha256")
    begun = time.process_time()
    make(source, out, 1)
    whole = time.process_time() - begun
    taken["others"] = whole - sum(taken.values())
    return {name: seconds / whole for name, seconds in taken.items()}


def publish(source: str, out: str) -> None:
    """Publish the run, whose parts are made."""
    from hf_mner_aug import EDA, augment
    from hf_mner_aug import publish as publish_run

    publish_run(augment(source, EDA(copies=1), out=out, progress=False), out)


def write(out: str, target: str) -> int:
    """Write the published train split with ``datasets``, and return the number of its rows."""
    from datasets import Dataset, load_dataset

    rows = load_dataset(out, "eda_100pct", split="train")
    assert isinstance(rows, Dataset)
    rows.to_parquet(target)
    return len(rows)
