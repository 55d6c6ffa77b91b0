"""Parts made in spawned worker processes of this machine."""

import contextlib
import multiprocessing
import pickle
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hf_mner_aug.elsewhere import Function, call_here, called_by
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.runs.engines.local import Local
from hf_mner_aug.runs.engines.work import Work
from hf_mner_aug.runs.parts import Part, make_part, send_part
from hf_mner_aug.runs.ranks import fit_once
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.stopping import end_with_parent, interrupts_blocked, start_tracker
from hf_mner_aug.storage.shared import Store
from hf_mner_aug.transform import Method

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True)
class Pool:
    """Worker processes of this machine.

    Args:
        num_proc: how many.
    """

    name: ClassVar[str] = "pool"
    told: ClassVar[Mapping[str, Any]] = {}

    num_proc: int

    def __post_init__(self) -> None:
        if self.num_proc < 1:
            raise UsageError(f"num_proc must be at least 1, found {self.num_proc}")

    def session(self) -> "contextlib.nullcontext[Pool]":
        """Start nothing: workers start with the first part."""
        return contextlib.nullcontext(self)

    def fit(
        self, place: Store, recipe: Recipe, gold: "DatasetDict", *, learned: str | None = None, progress: bool = False
    ) -> Method:
        """Return the fitted method, as ``fit_once``; independent calls are made in workers, but for those on a GPU."""
        with contextlib.nullcontext() if "cuda" in recipe.device else called_by(self.call):
            return fit_once(place, recipe, gold, learned=learned, progress=progress)

    def call(self, function: Function, shared: Any, items: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Call ``function(shared, item)`` for each item in workers; yield name and result, in any order.

        Raises:
            OSError: a worker died.
        """
        if self.num_proc == 1 or len(items) < 2:
            return call_here(function, shared, items)
        return spread(function, shared, items, self.num_proc)

    def make(self, work: Work, parts: list[Part]) -> Iterator[Part]:
        """Make parts in workers, or here if there is one part or process alone."""
        if self.num_proc == 1 or len(parts) < 2:
            yield from Local().make(work, parts)
            return
        for part in make_all(work, parts, self.num_proc):
            send_part(work.place, work.folder, part)
            yield part


def make_all(work: Work, parts: list[Part], num_proc: int) -> Iterator[Part]:
    """Make parts in spawned workers, and yield each when it is finished."""
    items = {str(i): part for i, part in enumerate(parts)}
    for name, _ in spread(_make, (work.folder, work.recipe, work.method, work.gold), items, num_proc):
        yield items[name]


def spread(function: Function, shared: Any, items: Mapping[str, Any], num_proc: int) -> Iterator[tuple[str, Any]]:
    """Call ``function(shared, item)`` for each item in spawned workers; yield name and result, in any order."""
    if not items:
        return
    others = multiprocessing.active_children()
    start_tracker()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_proc, len(items)), context, _start_worker, (pickle.dumps(shared),)) as pool:
        try:
            with interrupts_blocked():
                futures = {pool.submit(_call, function, item): name for name, item in items.items()}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process died, perhaps for lack of memory: what is finished is kept, "
                "run the same command again, with a smaller --num-proc"
            ) from error
        except Exception:  # the calls under way are finished, and what they wrote is kept
            pool.shutdown(cancel_futures=True)
            raise
        except BaseException:  # Ctrl-C, which waits for nobody
            for worker in multiprocessing.active_children():
                if worker not in others:
                    worker.kill()
            raise


_shared: list[Any] = []


def _start_worker(shared: bytes) -> None:
    """Keep what all calls share in a spawned worker, which ends with its parent: also in the seconds of the imports."""
    end_with_parent()
    _shared.append(pickle.loads(shared))


def _call(function: Function, item: Any) -> Any:
    return function(_shared[0], item)


def _make(shared: tuple[Path, Recipe, Method, "DatasetDict"], part: Part) -> None:
    make_part(*shared, part)
