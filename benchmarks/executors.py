"""``augment`` beside the executors of datatrove and Data-Juicer around the same function, ``eda`` of a batch of posts.

Each has one process and writes Parquet, where ``augment`` also checks, digests and notes each row and part. Seconds
are those of the clock, start and imports included; rows a second are of CPU. Each is killed by SIGKILL when half of its
parts are made, or after half of the time where it makes none, and run again. A ratio of a row above 1 is an executor
that takes less CPU than ``augment``.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.measured import CHILD, ROOT, Row, alone, made_posts

N_PARTS = 20
SOME = 20_000  # posts


def measure(folder: Path, n_posts: int) -> list[Row]:
    source = sharded(made_posts(folder, SOME), folder / "shards")
    own, rows = alone(by_augment, source, folder / "own"), []
    for name, executor, package, done in (
        ("augment", by_augment, "hf_mner_aug", "*.runs/*/parts/*.json"),
        ("datatrove", by_datatrove, "datatrove", "*/logs/completions/*"),
        ("Data-Juicer", by_data_juicer, "data_juicer", ""),
    ):
        if importlib.util.find_spec(package) is None:
            rows.append(Row(name, f"not measured: {package} is not installed"))
            continue
        took = own if executor is by_augment else alone(executor, source, folder / package)
        rate = f"{took.result:,} rows, {took.result / took.cpu_seconds:,.0f} a second of CPU"
        beside = f"augment {own.cpu_seconds:.1f} s of CPU, {name} {took.cpu_seconds:.1f} s"
        rows.append(Row(f"{name}, {SOME:,} posts in {N_PARTS} parts", rate, beside, own.cpu_seconds / took.cpu_seconds))
        again = killed_half_way(executor, source, folder / "killed" / package, took.seconds, done)
        beside = f"whole run {took.seconds:.1f} s"
        rows.append(Row(f"{name}, killed half way: the next run", f"{again:.1f} s", beside, again / took.seconds))
    return rows


def sharded(source: Path, folder: Path) -> Path:
    """Write posts as a file for each part, since datatrove shares out files; return the folder."""
    from datasets import load_dataset

    posts = load_dataset(str(source), split=f"train[:{SOME}]")
    folder.mkdir(exist_ok=True)
    for i in range(N_PARTS):
        posts.shard(N_PARTS, i, contiguous=True).to_parquet(folder / f"train-{i:05d}-of-{N_PARTS:05d}.parquet")
    return folder


def fitted(source: str) -> tuple[Any, Any]:
    """Return posts, and a function of ``eda`` from columns of posts to columns of rows."""
    import pyarrow as pa
    from datasets import load_dataset

    from hf_mner_aug import EDA
    from hf_mner_aug.runs.engines.ray_data import ray_map

    posts = load_dataset(source, split="train")
    mapped = ray_map(EDA(copies=1).fit(posts), features=posts.features)
    schema = posts.features.arrow_schema

    def make(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return mapped(pa.table({name: columns[name] for name in schema.names}, schema)).to_pydict()

    return posts, make


def by_augment(source: str, out: str) -> int:
    from hf_mner_aug import EDA, augment

    run = augment(source, EDA(copies=1), out=out, part_size=SOME // N_PARTS, progress=False)
    return run.counts["made"]


def by_datatrove(source: str, out: str) -> int:
    import logging

    import pyarrow.parquet as pq
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    logging.disable()
    _, make = fitted(source)

    class Augmented(PipelineStep):
        name = "eda"

        def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterable[Document]:
            posts = [document.metadata for document in data]
            rows = make({name: [post[name] for post in posts] for name in posts[0]})
            for i, tokens in enumerate(rows["tokens"]):
                row = {name: column[i] for name, column in rows.items()}
                yield Document(text=" ".join(tokens), id=f"{rank}-{i}", metadata=row)

    def as_document(self: ParquetReader, row: dict, path: str, at: int) -> dict:
        return {"text": " ".join(row["tokens"]), "id": str(at), "metadata": row}

    LocalPipelineExecutor(
        [ParquetReader(source, adapter=as_document), Augmented(), ParquetWriter(f"{out}/made")],
        tasks=N_PARTS,
        workers=1,
        logging_dir=f"{out}/logs",
    ).run()
    return sum(pq.read_metadata(path).num_rows for path in Path(out, "made").glob("*.parquet"))


def by_data_juicer(source: str, out: str) -> int:
    import pyarrow.parquet as pq
    from data_juicer.config import init_configs
    from data_juicer.core import DefaultExecutor
    from data_juicer.ops.base_op import OPERATORS, Mapper
    from loguru import logger

    logger.remove()

    class Augmented(Mapper):
        _batched_op = True

        def process_batched(self, samples: dict[str, list[Any]]) -> dict[str, list[Any]]:
            rows = make(samples)
            return {"text": [" ".join(tokens) for tokens in rows["tokens"]], **rows}

    OPERATORS.register_module("eda_mapper", Augmented)
    posts, make = fitted(source)
    texts = Path(out, "texts")
    texts.mkdir(parents=True, exist_ok=True)
    posts.map(lambda post: {"text": " ".join(post["tokens"])}).to_parquet(texts / "posts.parquet")
    chosen = {
        "dataset_path": f"{texts}/posts.parquet",
        "export_path": f"{out}/made/rows.parquet",
        "work_dir": out,
        "np": 1,
    }
    chosen |= {"process": [{"eda_mapper": {}}], "use_checkpoint": True, "use_cache": False}
    Path(out, "recipe.yaml").write_text(json.dumps(chosen))
    printed = sys.stdout
    DefaultExecutor(init_configs(["--config", f"{out}/recipe.yaml"])).run()
    sys.stdout = printed  # which it had taken for its log
    return sum(pq.read_metadata(path).num_rows for path in Path(out, "made").glob("*.parquet"))


def killed_half_way(function: Callable[..., Any], source: Path, out: Path, seconds: float, done: str) -> float:
    """Kill a run when half of its parts are ``done`` (files), run it again, and return the seconds of that.

    One that makes no parts is killed after half of the ``seconds`` of a whole run.
    """
    out.parent.mkdir(exist_ok=True)
    arguments = f'["{source}", "{out}"]'
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, function.__module__, function.__name__, arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while process.poll() is None:
            n_done = len(list(out.parent.glob(done))) if done else 0
            if n_done >= N_PARTS / 2 or (not done and time.monotonic() - begun > seconds / 2):
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.02)
    if process.returncode != -signal.SIGKILL:
        raise SystemExit(f"{function.__name__} ended with {process.returncode} before it was killed")
    return alone(function, source, out).seconds
