"""Processes that write folders, and what is checked of these."""

import json
import multiprocessing
import shutil

from datasets import load_dataset
from huggingface_hub import DatasetCard

from hf_mner_aug import verify
from hf_mner_aug.publishing.folder import NOTE
from hf_mner_aug.runs.ledger import beside

# Children are forked: each is a process of its own, and has imported everything.
CONTEXT = multiprocessing.get_context("fork")


def rows_of(out, config, cache):
    """Return the number of rows by split that a stranger gets, with a cache of his own."""
    shutil.rmtree(cache, ignore_errors=True)
    return {split: len(rows) for split, rows in load_dataset(str(out), config, cache_dir=str(cache)).items()}


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_over(*folders):
    """Return the hidden files of this package in some folders, and anything beside them."""
    return [path for folder in folders if folder.exists() for path in folder.rglob(".*")]


def check_whole(out, cache):
    """See that every config loads, stands on the card and is what its augmentation.json says."""
    configs = sorted(path.parent.name for path in out.glob(f"*/{NOTE}"))
    card = DatasetCard.load(out / "README.md")
    assert sorted(entry["config_name"] for entry in card.data["configs"]) == configs
    for config in configs:
        assert verify(out, config).ok
        assert f"<!-- end of config {config} -->" in card.text
        assert json.loads((out / config / NOTE).read_text())["content_fingerprint"] in card.text
        assert rows_of(out, config, cache)["test"]
    assert left_over(out, beside(out, "runs")) == []
    return configs


def run_all(jobs):
    """Run functions with their arguments in a process each, and return how these ended."""
    processes = [CONTEXT.Process(target=job, args=arguments) for job, *arguments in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    try:
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
