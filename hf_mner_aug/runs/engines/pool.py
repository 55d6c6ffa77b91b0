"""Parts made in spawned worker processes of this machine."""

import contextlib
import multiprocessing
import pickle
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.runs.engines.local import Local
from hf_mner_aug.runs.engines.work import Work
from hf_mner_aug.runs.parts import Part, make_part, send_part
from hf_mner_aug.runs.ranks import fit_once
from hf_mner_aug.stopping import end_with_parent, interrupts_blocked, start_tracker
from hf_mner_aug.transform import Method

if TYPE_CHECKING:
    pass


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

    fit = staticmethod(fit_once)

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
    others = multiprocessing.active_children()
    start_tracker()
    context = multiprocessing.get_context("spawn")
    shared = pickle.dumps((work.folder, work.recipe, work.gold))
    with ProcessPoolExecutor(min(num_proc, len(parts)), context, _start_worker, (shared,)) as pool:
        try:
            with interrupts_blocked():
                futures = {pool.submit(_work, work.method, part): part for part in parts}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process died, perhaps for lack of memory: what is finished is kept, "
                "run the same command again, with a smaller --num-proc"
            ) from error
        except Exception:  # the parts under way are finished and kept
            pool.shutdown(cancel_futures=True)
            raise
        except BaseException:  # Ctrl-C, which waits for nobody
            for worker in multiprocessing.active_children():
                if worker not in others:
                    worker.kill()
            raise


_worker: dict[str, Any] = {}


def _start_worker(shared: bytes) -> None:
    """Keep what all parts share in a spawned worker, which ends with its parent: also in the seconds of the imports."""
    end_with_parent()
    _worker.update(zip(("folder", "recipe", "gold"), pickle.loads(shared), strict=True))


def _work(method: Method, part: Part) -> None:
    make_part(**_worker, method=method, part=part)
