"""Estimates of a run, from the time of a few posts or the number of calls."""

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.progress import progress_bar
from hf_mner_aug.runs.engines.pool import make_all
from hf_mner_aug.runs.engines.work import Work
from hf_mner_aug.runs.ledger import Run, numbered, run_folder
from hf_mner_aug.runs.parts import changed_splits, difference, make_part, part_note, plan, rows_table
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import Codec
from hf_mner_aug.storage.shared import Folder
from hf_mner_aug.transform import Costs, Method, iterate_posts

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

TRY_S = 2.0  # of the posts that an estimate makes
GROWTH = 8  # of their number from one try to the next
WORKER_START_S = 4.7  # until worker processes are at work
TRIED_PARTS = 4  # that a worker makes of these posts
ROUGH_POSTS = 200  # that a rough estimate learns from


@dataclass(frozen=True)
class Estimate:
    """An estimate of a run, from the time of a few posts; ``usage`` is the cost of their calls.

    If nothing was sent for it, ``assumed`` names its assumptions, and ``rows`` is an upper bound. ``artifact`` is the
    result of its ``fit``, which ``run`` takes as ``learned``.
    """

    posts: int
    rows: int
    seconds: float
    disk_bytes: int
    calls: int = 0
    usd: float = 0.0
    usage: Mapping[str, float] | None = None
    assumed: str = ""
    artifact: str | None = None


def estimate(
    recipe: Recipe,
    gold: "DatasetDict",
    *,
    posts: int = 8,
    probe: bool = False,
    num_proc: int = 1,
    publish: Callable[[Run, Path], object] | None = None,
    progress: bool = False,
) -> Estimate:
    """Return an estimate of a run: fit the method, and make rows of some posts spread over the splits.

    For a paid method nothing is sent, and calls are counted. With ``probe``, rows are made (and paid for) twice, from
    ``posts`` posts and from four times as many: a method waits for several answers at once, so the first measures the
    time of a part regardless of its number of posts, the second the time of each further post. For other methods,
    ``posts`` posts are made in a temporary folder, then more until that takes ``TRY_S`` seconds.

    Args:
        recipe: a resolved recipe.
        gold: its posts.
        posts: the number of posts made first.
        probe: pay for rows of a paid method.
        num_proc: worker processes of the run.
        publish: called with the run and a folder; its time is included.
        progress: show bars.

    Raises:
        UsageError: without ``probe``, if the method pays for ``fit``, whose result decides the cost of rows.
    """
    method = recipe.build()
    if (costs := method.costs) and not probe:
        return _counted(recipe, method, costs, gold)
    begun = time.monotonic()
    method = method if method.artifact else method.fit(gold, progress=progress)
    gold = numbered(gold, method)
    fit_seconds = time.monotonic() - begun
    if costs := method.costs:
        found = _probed(recipe, method, costs, gold, posts, num_proc)
    else:
        found = _tried(recipe, method, gold, posts, num_proc, publish, progress)
    return replace(found, seconds=fit_seconds + found.seconds, artifact=method.artifact)


def rough_seconds(recipe: Recipe, gold: "DatasetDict") -> float:
    """Return a rough lower bound of a run's seconds, from a few posts and without a full ``fit``."""
    n_posts = len(gold["train"])
    if n_posts <= 2 * ROUGH_POSTS:
        return 0.0
    try:
        few, more = (estimate(recipe, _spread(gold, n / n_posts)) for n in (ROUGH_POSTS, 2 * ROUGH_POSTS))
    except UsageError:  # so few posts may not be enough to learn from
        return 0.0
    return max(0.0, more.seconds - few.seconds) * n_posts / ROUGH_POSTS


class _Trial(NamedTuple):
    """The cost of some posts: seconds to make and to publish them, rows made, bytes on disk."""

    posts: int
    making: float
    publishing: float
    rows: int
    disk: int


def _tried(
    recipe: Recipe,
    method: Method,
    gold: "DatasetDict",
    posts: int,
    num_proc: int,
    publish: Callable[[Run, Path], object] | None,
    progress: bool,
) -> Estimate:
    """Return the estimate of a run after ``fit``, from two trials, larger ones if they are quick."""
    total = sum(len(gold[split]) for split in changed_splits(method, gold))
    trials: list[_Trial] = []
    n_posts, most = posts, len(gold["train"])
    with progress_bar(shown=progress, desc="tries") as bar:
        while len(trials) < 2 or (trials[-1].making + trials[-1].publishing < TRY_S and trials[-1].posts < total):
            trials.append(_try(recipe, method, _spread(gold, min(1.0, n_posts / most)), publish))
            bar.update(trials[-1].posts)
            n_posts *= GROWTH if len(trials) > 1 else 1  # the first time it loads what it needs
    before, last = trials[-2:] if len(trials) > 2 else (_Trial(0, 0, 0, 0, 0), trials[-1])

    def whole(small: float, large: float) -> float:
        each = (large - small) / (last.posts - before.posts)
        return large / last.posts * total if each <= 0 else large + each * (total - last.posts)

    making = whole(before.making, last.making)
    n_workers = min(num_proc, len(plan(recipe, method, gold)))
    if n_workers > 1 and method.models:  # which the workers would load beside this process
        making = WORKER_START_S + making / min(n_workers, os.cpu_count() or 1)
    elif n_workers > 1:
        start, each = _try_workers(recipe, method, _spread(gold, last.posts / total), n_workers)
        making = start + each * total / n_workers
    scale = total / last.posts
    seconds = making + whole(before.publishing, last.publishing)
    return Estimate(total, round(last.rows * scale), seconds, round(last.disk * scale))


def _try_workers(recipe: Recipe, method: Method, gold: "DatasetDict", n_workers: int) -> tuple[float, float]:
    """Return the seconds until workers are at work, and those that each then takes for a post, by making some.

    As many parts as workers, the slowest ones, are left out: each worker first loads what it needs.
    """
    n_posts = sum(len(gold[split]) for split in changed_splits(method, gold))
    small = replace(recipe, part_size=max(1, min(recipe.part_size, n_posts // (TRIED_PARTS * n_workers))))
    with tempfile.TemporaryDirectory(prefix="hf_mner_aug-") as temporary:
        folder, parts, begun = Path(temporary), plan(small, method, gold), time.monotonic()
        work = Work(folder, Folder(folder), small, method, gold)
        made = [(part_note(folder, part)["seconds"], part) for part in make_all(work, parts, n_workers)]
        took = time.monotonic() - begun
    quick = sorted(seconds / (part.stop - part.start) for seconds, part in made)[: max(1, len(made) - n_workers)]
    each = sum(quick) / len(quick)
    return max(0.0, took - each * n_posts / n_workers), each


def _try(recipe: Recipe, method: Method, gold: "DatasetDict", publish: Callable[[Run, Path], object] | None) -> _Trial:
    """Make the rows of some posts in a temporary folder, and publish them there."""
    with tempfile.TemporaryDirectory(prefix="hf_mner_aug-") as temporary:
        out = Path(temporary) / "out"
        trial = Run(run_folder(recipe, out), recipe, method, gold)
        begun = time.monotonic()
        for part in trial.parts:
            make_part(trial.folder, recipe, method, gold, part)
        made = time.monotonic()
        counts = trial.counts
        if publish is not None and counts["made"]:
            with warnings.catch_warnings(action="ignore"):  # they are of these few posts
                publish(trial, out)
        published = time.monotonic() - made
        disk = sum(path.stat().st_size for path in Path(temporary).rglob("*") if path.is_file())
        return _Trial(counts["posts"], made - begun, published, counts["made"], disk)


def _spread(gold: "DatasetDict", share: float) -> "DatasetDict":
    """Return a share of each split's posts, evenly spread, at least one."""

    def chosen(n_posts: int) -> list[int]:
        n_chosen = min(n_posts, max(1, round(share * n_posts)))
        return [i * n_posts // n_chosen for i in range(n_chosen)]

    return type(gold)({split: data.select(chosen(len(data))) for split, data in gold.items()})


def _probed(recipe: Recipe, method: Method, costs: Costs, gold: "DatasetDict", posts: int, num_proc: int) -> Estimate:
    """Return the estimate of a paid run after ``fit``, by paying for a few posts."""
    train = gold["train"]
    calls = [costs.calls(post) for post in iterate_posts(train, Codec(train.features))]
    rows = [i for i, n in enumerate(calls) if n] or range(len(train))
    n_posts = 5 * posts
    chosen = [rows[i] for i in range(0, len(rows), max(1, len(rows) // n_posts))[:n_posts]]
    before = costs.usage()
    groups = [group for group in (chosen[::5], [i for n, i in enumerate(chosen) if n % 5]) if group]
    tries = [_pay(method, train, group) for group in groups]
    weights = [sum(calls[i] for i in group) for group in groups]
    scale, usage = sum(calls) / max(1, sum(weights)), difference(before, costs.usage())
    (first, *_), *more = tries
    each = (more[0][0] - first) / max(1, weights[1] - weights[0]) if more else 0.0
    if not 0 < each * weights[0] < first:  # too few to tell apart
        each = sum(seconds for seconds, _ in tries) / max(1, sum(weights))
    parts = plan(recipe, method, gold)
    seconds = (each * sum(calls) + (first - each * weights[0]) * len(parts)) / min(num_proc, len(parts))
    made = sum(table.num_rows for _, table in tries)
    # Each row is written twice, to a part and to the published file, which holds the gold posts too.
    disk = int(2 * sum(table.nbytes for _, table in tries) * scale + sum(gold[split].data.nbytes for split in gold))
    usd = usage.get("usd", 0.0) * scale
    return Estimate(len(train), round(made * scale), seconds, disk, sum(calls), usd, usage)


def _counted(recipe: Recipe, method: Method, costs: Costs, gold: "DatasetDict") -> Estimate:
    """Return the estimate of a paid run from its number of calls; nothing is sent."""
    from hf_mner_aug.models.search.fetching import replaying

    begun, train = time.monotonic(), gold["train"]
    codec = Codec(train.features)
    if method.artifact is None:
        least, most = costs.to_fit(iterate_posts(train, codec, images=method.reads_images))
        if most:
            raise UsageError(
                f"{method.name} pays for {least} to {most} calls to learn, and only then are the calls for rows known: "
                "pass probe=True"
            )
        with replaying():  # a free fit needs no server, and none is asked
            method = method.fit(gold)
    costs = method.costs or costs  # those after fit
    calls = [costs.calls(post) for post in iterate_posts(train, codec)]
    rows, price = method.copies * sum(map(bool, calls)), costs.price()
    size = sum(gold[split].data.nbytes for split in gold)
    disk = int(size + 2 * rows * train.data.nbytes / max(1, len(train)))
    usd, seconds = price.usd * sum(calls), price.seconds * sum(calls) + time.monotonic() - begun
    return Estimate(len(train), rows, seconds, disk, sum(calls), usd, assumed=price.told)


def _pay(method: Method, dataset: "Dataset", rows: Sequence[int]) -> tuple[float, "pa.Table"]:
    """Return the seconds that making some rows took, and the rows."""
    begun = time.monotonic()
    made = method.make(dataset.select(rows).with_format("arrow")[:])
    found = rows_table(made.columns, method.features)
    return time.monotonic() - begun, found
