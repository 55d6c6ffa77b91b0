"""Augment the first posts of a set, in a process and a folder of its own: what one click in the Space does.

    python worker.py SOURCE METHOD COPIES SEED

SOURCE is `sample`, a file in this folder, or ORG/NAME on the Hub. It writes recipe.yaml and page.html into this folder,
and prints what became of the posts. What the visitor can correct is one line on standard error and exit code 2.
"""

import contextlib
import resource
import sys
import warnings
from pathlib import Path

import yaml
from datasets import DatasetDict
from huggingface_hub import HfApi

from hf_mner_aug import Recipe, augment, load_sample, publish, show
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.places import split_source

POSTS, SHOWN = 200, 30  # of a split that are read, and made ones that are shown
HUB_BYTES = 100 * 2**20  # of a set on the Hub
MEMORY = 6 * 2**30  # bytes of this process


def check_size(source: str) -> None:
    """Check that a set on the Hub is small; if it cannot be asked, reading it says why.

    Raises:
        UsageError: its files are larger than ``HUB_BYTES``.
    """
    repo, _, revision = split_source(source)
    with contextlib.suppress(OSError):
        files = HfApi().dataset_info(repo, revision=revision, files_metadata=True).siblings or []
        size = sum(file.size or 0 for file in files)
        if size > HUB_BYTES:
            raise UsageError(f"{source} has {size / 2**20:,.0f} MiB, at most {HUB_BYTES / 2**20:.0f} are read here")


def read(source: str) -> DatasetDict:
    """Return the splits of a set; raises as ``load_source``."""
    if source == "sample":
        return load_sample()
    if "/" in source:
        check_size(source)
    return load_source(source)


def main(source: str, method: str, copies: str, seed: str) -> str:
    """Write the recipe and the page, and return what became of the posts."""
    chosen = {"method": method, "copies": int(copies), "seed": int(seed)}
    Path("recipe.yaml").write_text(yaml.safe_dump(chosen, sort_keys=False), encoding="utf-8")
    recipe = Recipe.from_file("recipe.yaml")
    whole = read(source)
    splits = DatasetDict({name: data.select(range(min(POSTS, len(data)))) for name, data in whole.items()})
    done = publish(augment(splits, recipe.build(), out="out", progress=False), "out")
    show("out", done.config, out="page.html", posts=SHOWN, rejects=5, source=splits)
    first = f" of the first {POSTS} of {len(whole['train'])}" if len(whole["train"]) > POSTS else ""
    return f"{done.funnel['kept']} posts made by {method}{first}."


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        try:
            line = main(*sys.argv[1:])
        except UsageError as error:
            raise SystemExit(f"error: {error}") from None
    print(" ".join([line, *(str(warning.message) for warning in told if warning.category is UserWarning)]))
