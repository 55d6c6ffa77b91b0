"""``augment`` and ``publish``, beside ``Dataset.to_parquet`` of the published rows; two processes beside one.

``to_parquet`` only writes; the commands also read, make, check, hash and write every part and every split. CPU seconds
of one process; for two processes, seconds of the clock, which other work on the machine stretches.
"""

from pathlib import Path

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
    ratio, beside = one.seconds / two.seconds, f"1 process {one.seconds:.1f} s"
    rows.append(Row("augment --num-proc 2", f"{two.seconds:.1f} s", beside, ratio, "≥ 1.7"))
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
