"""Parts made by actors of a Ray cluster, and other work of a run as its tasks (``ray_crew``, ``ray_rows``)."""

import contextlib
import functools
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from hf_mner_aug.elsewhere import called_by
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.runs.engines.ray_cluster import (
    Died,
    alive,
    check_address,
    check_versions,
    connected,
    messages_of,
    warn_of,
    worker_errors,
)
from hf_mner_aug.runs.engines.ray_crew import DEATHS, Crew
from hf_mner_aug.runs.engines.ray_rows import read_rows, row_room, tables_of, write_rows
from hf_mner_aug.runs.engines.work import Work
from hf_mner_aug.runs.parts import Part
from hf_mner_aug.runs.ranks import fit_once
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.runs.versions import library_versions
from hf_mner_aug.storage.shared import Store
from hf_mner_aug.transform import Method
from hf_mner_aug.values import Amount, Range, check_ranges

if TYPE_CHECKING:
    from datasets import DatasetDict

# Settings that workers take over. Ray writes them into its logs, so no key is one; the cache is a node's own.
SETTINGS = tuple(
    f"HF_MNER_AUG_{name}" for name in ("CODE", "DRAW_ANEW", "ENDPOINT", "HOSTS", "KEPT_GB", "LOCK_TIMEOUT", "WEB")
)


@dataclass(frozen=True, kw_only=True)
class Ray:
    """A Ray cluster.

    Args:
        address: HOST:PORT of a running cluster (``auto``: the one of this machine); without one, ``$RAY_ADDRESS``, else
            one that is started here for the run, on loopback (``local``).
        workers: how many parts are made at a time (default: as many as the cluster has room for).
        gpus_per_worker: GPUs of each, which may be a fraction (default: 1 where the models compute on one, else 0).
        cpus_per_worker: CPUs of each.
        memory_per_worker: the memory of each that Ray sets aside, in GB.
    """

    name: ClassVar[str] = "ray"

    address: str = ""
    workers: Annotated[int | None, Range(1)] = None
    gpus_per_worker: Annotated[float | None, Range(0)] = None
    cpus_per_worker: Amount = 1.0
    memory_per_worker: Annotated[float | None, Range(0)] = None

    def __post_init__(self) -> None:
        check_ranges(self, self.name)
        check_address(self.address, "ray: address")
        gpus = self.gpus_per_worker
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise UsageError(f"ray: gpus_per_worker must be a part of one GPU or a whole number, found {gpus}")

    @contextlib.contextmanager
    def session(self) -> "Iterator[Session]":
        """Connect to the cluster, or start one that is stopped at the end.

        Raises:
            MissingExtra: Ray is not installed.
            OSError: there is no cluster at the address, or none could be started.
            UsageError: this process is connected to another cluster, or ``$RAY_ADDRESS`` is no address of one.
        """
        with connected(self.address, self.workers or 1, self.cpus_per_worker) as ray:
            yield Session(ray, self)


class Session:
    """A connection to a cluster, on which parts are made."""

    def __init__(self, ray: Any, engine: Ray) -> None:
        self._ray, self._engine = ray, engine
        self._nodes: set[str] = set()
        self._workers, self._lost, self._waited = 0, 0, 0.0

    @property
    def told(self) -> Mapping[str, Any]:
        """The nodes and workers, the seconds that these waited for parts, and the number that died."""
        return {
            "nodes": len(self._nodes),
            "seconds_waiting": round(self._waited, 3),
            "workers": self._workers,
            "workers_lost": self._lost,
        }

    def fit(
        self, place: Store, recipe: Recipe, gold: "DatasetDict", *, learned: str | None = None, progress: bool = False
    ) -> Method:
        """Return the method, fitted by a task, whose independent calls are tasks, too; as ``fit_once`` otherwise."""
        method = recipe.build()
        self.check(method)
        if method.artifact is None and learned is None and place.read("fit/artifact.json") is None:
            gpus = self._gpus("cuda" in recipe.device)
            with row_room(place) as room:
                names = {split: write_rows(room, f"{split}.arrow", tables_of(gold[split])) for split in _learned(gold)}
                options = self._options(gpus) | {"max_retries": DEATHS - 1, "name": f"{method.name}.fit"}
                task = self._ray.remote(**options)(_fit)
                try:
                    with worker_errors(self._ray, f"{method.name}: the worker that fits it died {DEATHS} times"):
                        engine = None if gpus else self._engine  # a GPU that the task holds is not free for others
                        asked = place, room, recipe, method, names, library_versions(method), engine
                        told = self._ray.get(task.remote(*asked))
                finally:
                    for name in names.values():
                        room.remove(name)
                warn_of(told)
        return fit_once(place, recipe, gold, learned=learned)

    def make(self, work: Work, parts: list[Part]) -> Iterator[Part]:
        """Make parts by actors.

        Raises:
            OSError: parts killed their workers again and again; all others are made.
        """
        if not parts:
            return
        self.check(work.method)
        gpus = self._gpus("cuda" in work.recipe.device)
        n_workers = min(self._room_for(gpus), len(parts))
        with row_room(work.place) as room:
            crew = Crew(self._ray, self._options(gpus), work, room, deque(parts), n_workers)
            try:
                yield from crew.make()
            except Exception:  # the parts under way are finished and kept
                crew.wait()
                raise
            finally:
                crew.end()
                self._nodes |= crew.nodes
                self._workers = max(self._workers, n_workers)
                self._lost += crew.lost
                self._waited += crew.waited

    @property
    def spread(self) -> bool:
        """Whether the cluster has several nodes, which may not see each other's files."""
        return len(alive(self._ray)) > 1

    def call(
        self, function: Callable[[Any, Any], Any], shared: Any, items: Mapping[str, Any], *, on_gpu: bool
    ) -> Iterator[tuple[str, Any]]:
        """Call ``function(shared, item)`` for each item as tasks; yield name and result, in any order.

        Raises:
            OSError: a worker died several times over an item; all others are done.
            UsageError: a node has other packages than this machine.
        """
        if not items:
            return
        gpus = self._gpus(on_gpu and bool(self._ray.cluster_resources().get("GPU")))
        n_workers = min(self._room_for(gpus), len(items))
        task = self._ray.remote(**self._options(gpus) | {"max_retries": DEATHS - 1})(_call)
        versions = library_versions(models=True)
        kept, left = self._ray.put(shared), deque(items)
        running: dict[Any, str] = {}
        given_up = []
        try:
            while left or running:
                while left and len(running) < n_workers:
                    name = left.popleft()
                    running[task.remote(function, kept, items[name], versions)] = name
                for ref in self._ray.wait(list(running), num_returns=1)[0]:
                    name = running.pop(ref)
                    try:
                        with worker_errors(self._ray, f"{name} killed its worker {DEATHS} times"):
                            result = self._ray.get(ref)
                        yield name, result
                    except Died as error:
                        given_up.append(str(error))
        finally:
            for ref in running:
                self._ray.cancel(ref, force=True)
        if given_up:
            raise OSError(f"{'; '.join(given_up)}: what is finished is kept, the same command tries only this again")

    def check(self, method: Method) -> None:
        """Refuse what needs one machine.

        Raises:
            UsageError: calls that may cost money are counted and recorded on the machine that makes them.
        """
        if method.costs and self.spread:
            raise UsageError(
                f"{method.name} makes calls that may cost money, and their budget and recorded answers lie on one "
                "machine: take --num-proc there, or a cluster of one node"
            )

    # ------------------------------------------------------------ inside

    def _gpus(self, used: bool) -> float:
        given = self._engine.gpus_per_worker
        return given if given is not None else float(used)

    def _room_for(self, gpus: float) -> int:
        """Return the number of workers.

        Raises:
            UsageError: the cluster has no room for them.
        """
        memory = self._engine.memory_per_worker
        needs = {"CPU": self._engine.cpus_per_worker, "GPU": gpus, "memory": (memory or 0) * 1e9}
        needs = {name: need for name, need in needs.items() if need}
        most = 0
        for node in alive(self._ray):
            most += min((int(node["Resources"].get(name, 0) / need + 1e-9) for name, need in needs.items()), default=1)
        told = " and ".join(
            f"{need / 1e9:g} GB of memory" if name == "memory" else f"{need:g} {name}" for name, need in needs.items()
        )
        asked = self._engine.workers
        if not most or (asked or 0) > most:
            raise UsageError(
                f"ray: the cluster has room for {most} workers of {told}, expected {asked or 'at least 1'}: name fewer "
                "or smaller ones (workers, cpus_per_worker, gpus_per_worker, memory_per_worker)"
            )
        return asked or most

    def _options(self, gpus: float) -> dict[str, Any]:
        """Return the resources and the environment of a worker."""
        memory = self._engine.memory_per_worker
        environment = {name: os.environ[name] for name in SETTINGS if name in os.environ}
        # Ray would take as many threads as CPUs of the worker; sums would be rounded otherwise than in one process.
        environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)
        own = [path for path in sys.path if path and not path.startswith((sys.prefix, sys.base_prefix))]
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(own))  # where modules of the user are
        if not gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        return {
            "num_cpus": self._engine.cpus_per_worker,
            "num_gpus": gpus,
            "runtime_env": {"env_vars": environment},
            **({"memory": int(memory * 1e9)} if memory else {}),
        }


def _call(function: Callable[[Any, Any], Any], shared: Any, item: Any, versions: Mapping[str, str]) -> Any:
    """Call a function on a worker that has the packages of the driver."""
    check_versions(library_versions(models=True), versions)
    return function(shared, item)


def _fit(
    place: Store,
    room: Store,
    recipe: Recipe,
    method: Method,
    names: Mapping[str, str],
    versions: Mapping[str, str],
    engine: Ray | None,
) -> list[str]:
    """Fit a method on a worker, and return what warnings said; the result is in the run's ``fit``.

    With an engine, independent calls are further tasks; while this one waits for them, its CPU is free.
    """
    check_versions(library_versions(method), versions)
    with warnings.catch_warnings(record=True) as told, contextlib.ExitStack() as opened:
        if engine:
            import ray

            opened.enter_context(called_by(functools.partial(Session(ray, engine).call, on_gpu=False)))
        gold = {split: opened.enter_context(read_rows(room, name)) for split, name in names.items()}
        fit_once(place, recipe, gold, method=method)
    return messages_of(told)


def _learned(gold: "DatasetDict") -> list[str]:
    return [split for split in gold if split in ("train", "validation")]
