"""``load_dataset``, ``verify``, ``show`` and ``quality`` of a published config: CPU seconds and anonymous memory.

``quality`` fits a CRF, so it is measured at a tenth of the posts.
"""

from pathlib import Path

from benchmarks.measured import Row, alone
from benchmarks.whole import run_of


def measure(folder: Path, n_posts: int) -> list[Row]:
    rows = []
    tenth = max(1_000, n_posts // 10)
    for n, functions in ((n_posts, (load, verify, show)), (tenth, (quality,))):
        out, base = run_of(folder, n, published=True), 0.0
        for function in functions:
            took = alone(function, out)
            base = base or took.cpu_seconds
            beside = f"{functions[0].__name__} {base:.1f} s" if function is not functions[0] else ""
            ratio = took.cpu_seconds / base if beside else None
            measured = f"{took.cpu_seconds:.1f} s of CPU, {took.peak_mb:,.0f} MB"
            rows.append(Row(f"{function.__name__}, {n:,} gold posts", measured, beside, ratio))
    return rows


def load(out: str) -> int:
    """Load a config, and read every row."""
    from datasets import Dataset, load_dataset

    rows = load_dataset(out, "eda_100pct", split="train", cache_dir=f"{out}.cache")
    assert isinstance(rows, Dataset)
    return sum(len(batch["id"]) for batch in rows.iter(1_000))


def verify(out: str) -> None:
    """Compute the content fingerprint again."""
    from hf_mner_aug import verify as verify_config

    assert verify_config(out, "eda_100pct").ok


def show(out: str) -> None:
    """Write the page of a config."""
    from hf_mner_aug import show as show_config

    show_config(out, "eda_100pct", out=f"{out}.html")


def quality(out: str) -> None:
    """Measure the made posts."""
    from hf_mner_aug import quality as quality_of

    quality_of(out, ["eda_100pct"])
