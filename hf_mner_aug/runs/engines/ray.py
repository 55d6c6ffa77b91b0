"""Parts made by actors of a Ray cluster, and other work of a run as its tasks.

Rows do not travel through Ray's object store: this process writes the posts of a part into a hidden folder of the run's
storage shortly before an actor reads them, two parts ahead for each actor. The actor writes the part, its rejects and
its note there, and returns a digest.
"""

import contextlib
import math
import os
import platform
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from hf_mner_aug.exceptions import UsageError, first_line
from hf_mner_aug.need import need
from hf_mner_aug.runs.engines.work import Work
from hf_mner_aug.runs.parts import Part, gather_part, part_note, posts_of, send_part, write_part
from hf_mner_aug.runs.ranks import fetch_learned, fit_once
from hf_mner_aug.runs.recipe import Recipe, computed_on
from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.storage.locks import stage, unfinished
from hf_mner_aug.storage.shared import Folder, Store
from hf_mner_aug.transform import Method
from hf_mner_aug.untrusted.printable import say
from hf_mner_aug.values import Amount, Range, check_ranges

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

AHEAD = 2  # parts that an actor has at most, the one that it makes included
DEATHS = 3  # of workers by one part, after which it is given up
WAIT_S = 60.0  # without a worker, after which that is said
STORE_BYTES = 100 * 2**20  # Ray's object store on a cluster of our own: digests are small
LOCAL = "local"  # the address of a cluster of our own
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray takes the loopback address, as it does on those systems
# Settings that workers take over. Ray writes them into its logs, so no key is one; the cache is a node's own.
SETTINGS = tuple(
    f"HF_MNER_AUG_{name}" for name in ("CODE", "DRAW_ANEW", "ENDPOINT", "HOSTS", "KEPT_GB", "LOCK_TIMEOUT", "WEB")
)

_ADDRESS = re.compile(r"|auto|local|[\w.-]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")


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
        _check_address(self.address, "ray: address")
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
        with _connected(self) as ray:
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
        """Return the method, fitted by a task; as ``fit_once`` otherwise."""
        method = recipe.build()
        self.check(method)
        if method.artifact is None and learned is None and place.read("fit/artifact.json") is None:
            gpus = self._gpus("cuda" in recipe.device)
            with _room(place) as room:
                names = {split: _write_rows(room, f"{split}.arrow", _tables(gold[split])) for split in _learned(gold)}
                options = self._options(gpus) | {"max_retries": DEATHS - 1, "name": f"{method.name}.fit"}
                task = self._ray.remote(**options)(_fit)
                try:
                    with _cause(self._ray, f"{method.name}: the worker that fits it died {DEATHS} times"):
                        told = self._ray.get(task.remote(place, room, recipe, method, names, _versions(method)))
                finally:
                    for name in names.values():
                        room.remove(name)
                _warn(told)
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
        with _room(work.place) as room:
            crew = _Crew(self._ray, self._options(gpus), work, room, deque(parts), n_workers)
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
        return len(_alive(self._ray)) > 1

    def call(
        self, function: Callable[[Any, Any], Any], shared: Any, items: Mapping[str, Any], *, on_gpu: bool
    ) -> Iterator[tuple[str, Any]]:
        """Call ``function(shared, item)`` for each item as tasks; yield name and result, in any order.

        Raises:
            OSError: a worker died several times over an item; all others are done.
            UsageError: a node has other packages than this machine.
        """
        from hf_mner_aug.runs.ledger import library_versions

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
                        with _cause(self._ray, f"{name} killed its worker {DEATHS} times"):
                            result = self._ray.get(ref)
                        yield name, result
                    except _Died as error:
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
        for node in _alive(self._ray):
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


@dataclass
class _Member:
    """An actor and its parts, in the order that it makes them; before it has loaded the recipe, None is one of them."""

    actor: Any
    queue: deque[tuple[Any, Part | None]]
    ready: bool = False


@dataclass
class _Crew:
    """The actors of a run. A part is blamed for the death of an actor that was making it, and only for that."""

    ray: Any
    options: dict[str, Any]
    work: Work
    room: Store
    pending: deque[Part]
    size: int
    members: list[_Member] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)
    lost: int = 0
    waited: float = 0.0
    deaths: Counter[Part] = field(default_factory=Counter)
    given_up: list[tuple[Part, str]] = field(default_factory=list)
    handed_out: set[Part] = field(default_factory=set)
    unstarted: int = 0

    def make(self) -> Iterator[Part]:
        """Yield each part when it is finished; raises as ``Session.make``."""
        begun, told = time.monotonic(), False
        while self.pending or any(member.queue for member in self.members):
            self._assign()
            heads = {member.queue[0][0]: member for member in self.members if member.queue}
            for ref in self.ray.wait(list(heads), num_returns=1, timeout=1.0)[0]:
                yield from self._finished(heads[ref])
            if not told and not self.nodes and time.monotonic() - begun > WAIT_S:
                told = True
                say("waiting for a worker: the cluster is busy, or starts slowly", file=sys.stderr)
        if self.given_up:
            lost = "; ".join(
                f"part {part.stem} (posts {part.start} to {part.stop - 1} of {part.split}: {said})"
                for part, said in self.given_up
            )
            raise OSError(
                f"{lost} killed {DEATHS} workers: all other parts are made, the same command tries only this again"
            )

    def wait(self) -> None:
        """Wait for the parts that are being made."""
        heads = [member.queue[0][0] for member in self.members if member.queue and member.ready]
        self.ray.wait(heads, num_returns=len(heads)) if heads else None

    def end(self) -> None:
        """End all actors, and delete the rows that they have not read."""
        for member in self.members:
            self.ray.kill(member.actor)
        for part in self.handed_out:
            self.room.remove(f"{part.stem}.arrow")

    def _assign(self) -> None:
        """Start the actors that are missing, and give those that are ready parts: each one, then each a second one."""
        while len(self.members) < min(self.size, len(self.pending) + sum(bool(m.queue) for m in self.members)):
            actor = self.ray.remote(**self.options)(_Worker).remote()
            work, versions = self.work, _versions(self.work.method)
            ref = actor.load.remote(work.place, self.room, work.recipe, work.method, versions)
            self.members.append(_Member(actor, deque([(ref, None)])))
        for held in range(1, AHEAD + 1):
            for member in self.members:
                if member.ready and self.pending and len(member.queue) < held:
                    part = self.pending.popleft()
                    self.handed_out.add(part)
                    _write_rows(self.room, f"{part.stem}.arrow", [posts_of(self.work.gold, part)])
                    member.queue.append((member.actor.make.remote(part), part))

    def _finished(self, member: _Member) -> Iterator[Part]:
        """Take the first result of an actor; yield the part whose files are seen to be there."""
        ref, part = member.queue[0]
        try:
            with _cause(self.ray, "a worker died"):
                result = self.ray.get(ref)
        except _Died as error:
            yield from self._bury(member, first_line(error.__cause__ or error))
            return
        member.queue.popleft()
        if part is None:
            member.ready = True
            self.nodes.add(result)
            return
        digest, waited, told = result
        self.handed_out.discard(part)
        self.waited += waited
        _warn(told)
        if not self._is_here(part) or part_note(self.work.folder, part)["sha256"][0] != digest:
            raise OSError(
                f"part {part.stem} was made, but is not in {self.work.place} as this machine sees it: name a storage "
                "that all nodes reach (--storage)"
            )
        yield part

    def _bury(self, member: _Member, said: str) -> Iterator[Part]:
        """Take an actor that died off: its finished parts count, the one that it was making is blamed."""
        self.members.remove(member)
        self.lost += 1
        parts = [part for _, part in member.queue if part is not None]
        finished = [part for part in parts if self._is_here(part)]
        left = [part for part in parts if part not in finished]
        if left and member.ready:
            blamed = left[0]
            self.deaths[blamed] += 1
            if self.deaths[blamed] == DEATHS:
                self.given_up.append((blamed, said))
                left = left[1:]
        elif not member.ready:
            self.unstarted += 1
            if self.unstarted >= DEATHS and not self.nodes:
                raise OSError(f"workers die before their first part: {said}")
        self.pending.extendleft(reversed(left))
        yield from finished

    def _is_here(self, part: Part) -> bool:
        work = self.work
        return gather_part(work.place, work.folder, part, work.recipe, work.method)


class _Worker:
    """The actor: it has one method, loaded once, and makes one part after another."""

    def load(self, place: Store, room: Store, recipe: Recipe, method: Method, versions: Mapping[str, str]) -> str:
        """Check that this node computes as the driver does, fetch what was learnt, and return the node's id."""
        import ray

        _check_versions(_versions(method), versions)
        computes = computed_on(method)
        if computes != (recipe.device, recipe.dtype):
            raise UsageError(
                f"{method.name} is to compute on {recipe.device} ({recipe.dtype}), a worker on {platform.node()} "
                f"computes on {computes[0]} ({computes[1]}): start the run on a machine with a GPU like those of its "
                "workers, and give these theirs with --gpus-per-worker"
            )
        assert method.artifact is not None
        fetch_learned(place, method.artifact)
        self._place, self._room, self._recipe, self._method = place, room, recipe, method
        self._idle_since = time.monotonic()
        node: str = ray.get_runtime_context().get_node_id()
        return node

    def make(self, part: Part) -> tuple[str, float, list[str]]:
        """Make a part; return the digest of its rows, the seconds waited for it, and what warnings said."""
        begun = time.monotonic()
        waited = begun - self._idle_since
        with warnings.catch_warnings(record=True) as told:
            with _rows(self._room, f"{part.stem}.arrow") as rows:
                table = rows.with_format("arrow")[:]
            if isinstance(self._place, Folder):
                digest = self._write(self._place.path, part, table, begun)
            else:
                with tempfile.TemporaryDirectory(prefix="hf_mner_aug-") as temporary:
                    digest = self._write(Path(temporary), part, table, begun)
                    send_part(self._place, Path(temporary), part)
        self._room.remove(f"{part.stem}.arrow")
        self._idle_since = time.monotonic()
        return digest, waited, _messages(told)

    def _write(self, folder: Path, part: Part, table: "pa.Table", begun: float) -> str:
        write_part(folder, self._recipe, self._method, table, part, begun)
        digest: str = part_note(folder, part)["sha256"][0]
        return digest


def _call(function: Callable[[Any, Any], Any], shared: Any, item: Any, versions: Mapping[str, str]) -> Any:
    """Call a function on a worker that has the packages of the driver."""
    from hf_mner_aug.runs.ledger import library_versions

    _check_versions(library_versions(models=True), versions)
    return function(shared, item)


def _fit(
    place: Store, room: Store, recipe: Recipe, method: Method, names: Mapping[str, str], versions: Mapping[str, str]
) -> list[str]:
    """Fit a method on a worker, and return what warnings said; the result is in the run's ``fit``."""
    _check_versions(_versions(method), versions)
    with warnings.catch_warnings(record=True) as told, contextlib.ExitStack() as opened:
        gold = {split: opened.enter_context(_rows(room, name)) for split, name in names.items()}
        fit_once(place, recipe, gold, method=method)
    return _messages(told)


# ---------------------------------------------------------------- rows


@contextlib.contextmanager
def _room(place: Store) -> Iterator[Store]:
    """Yield a place for the rows that workers read, in a run's storage; deleted at the end."""
    if isinstance(place, Folder):
        with stage(place.path, "rows") as folder:
            yield Folder(folder)
    else:
        yield place.at(f"rows-{uuid.uuid4().hex[:12]}")  # workers delete what they have read


def _write_rows(room: Store, name: str, tables: "Iterable[pa.Table]") -> str:
    """Write rows as an Arrow stream, and return its name."""
    import pyarrow as pa

    with tempfile.TemporaryDirectory(prefix="hf_mner_aug-") as temporary:
        path = room.path / name if isinstance(room, Folder) else Path(temporary) / name
        with room_for(path, 0), unfinished(path) as file:
            tables = iter(tables)
            first = next(tables)
            with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, first.schema) as writer:
                for table in (first, *tables):
                    writer.write_table(table)
            file.replace(path)
        if not isinstance(room, Folder):
            room.send(path, name)
    return name


@contextlib.contextmanager
def _rows(room: Store, name: str) -> "Iterator[Dataset]":
    """Yield rows that the driver wrote, memory-mapped.

    Raises:
        OSError: they are not here.
    """
    from datasets import Dataset

    with tempfile.TemporaryDirectory(prefix="hf_mner_aug-") as temporary:
        path = room.path / name if isinstance(room, Folder) else Path(temporary) / name
        if not (path.exists() if isinstance(room, Folder) else room.fetch(name, path)):
            raise OSError(
                f"{platform.node()} does not see {room}/{name}: name a storage that all nodes reach (--storage)"
            )
        yield Dataset.from_file(str(path))


def _tables(rows: "Dataset", n_rows: int = 1000) -> "Iterator[pa.Table]":
    """Yield rows as tables, one at least."""
    arrow = rows.with_format("arrow")
    for start in range(0, max(1, len(rows)), n_rows):
        yield arrow[start : start + n_rows]


def _learned(gold: "DatasetDict") -> list[str]:
    return [split for split in gold if split in ("train", "validation")]


# ---------------------------------------------------------------- the cluster


@contextlib.contextmanager
def _connected(engine: Ray) -> Iterator[Any]:
    """Yield the module ``ray``, connected; a connection that was there before is taken, and left."""
    address = engine.address or os.environ.get("RAY_ADDRESS", "")
    _check_address(address, "$RAY_ADDRESS")
    if address == LOCAL:
        address = ""
    if not address and "ray" not in sys.modules:
        os.environ.setdefault(LOOPBACK, "0")
    ray = need("ray", extra="ray")
    if ray.is_initialized():
        there = ray.get_runtime_context().gcs_address
        if engine.address not in ("", "auto") and _place(ray, engine.address) != _place(ray, there):
            raise UsageError(
                f"ray: this process is connected to the cluster at {there}, expected {engine.address}: call "
                "ray.shutdown() before, or leave the address out"
            )
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    with contextlib.ExitStack() as opened:
        if not address:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
            cpus = max(os.cpu_count() or 1, math.ceil((engine.workers or 1) * engine.cpus_per_worker))
            quiet |= {"include_dashboard": False, "object_store_memory": STORE_BYTES, "num_cpus": cpus}
            quiet |= {"_temp_dir": folder}
        opened.callback(ray.shutdown)
        with _own_handlers():
            try:
                ray.init(address=address or LOCAL, **quiet)
            except (OSError, ValueError, RuntimeError) as error:
                where = f"no Ray cluster at {address}" if address else "no Ray cluster could be started"
                raise OSError(f"{where}: {first_line(error)}") from error
        if not address and not ray.util.get_node_ip_address().startswith("127."):
            warnings.warn(
                "the network can reach the Ray cluster of this run, since Ray was imported before: set "
                f"{LOOPBACK}=0 before it is",
                stacklevel=2,
            )
        yield ray


def _check_address(address: str, name: str) -> None:
    """Check that an address is one of a cluster that this machine may be a node of: a client of Ray is not a node.

    Raises:
        UsageError: it is not.
    """
    if not _ADDRESS.fullmatch(address):
        raise UsageError(f"{name} must be auto, local or HOST:PORT, found {address!r}")


def _place(ray: Any, address: str) -> tuple[str, str]:
    """Return host, as a number if it is known, and port; this machine is as Ray names it to others."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        host = socket.gethostbyname(host)
    return ray.util.get_node_ip_address() if host.startswith("127.") else host, port


@contextlib.contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep the handlers of signals, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Died(OSError):
    """A worker ended in the middle of its work."""


@contextlib.contextmanager
def _cause(ray: Any, said: str) -> Iterator[None]:
    """Raise the error that a worker raised as it was; ``_Died`` where the worker ended."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, Exception) and not isinstance(cause, ray.exceptions.RayError):
            raise cause from None
        lines = [line.strip() for line in str(error).splitlines() if re.match(r"\w*(Error|Exception): ", line.strip())]
        raise OSError(f"a worker cannot do this: {lines[-1] if lines else first_line(error)}") from error
    except ray.exceptions.RayError as error:
        raise _Died(f"{said}: {first_line(error)}") from error


def _alive(ray: Any) -> list[Mapping[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _versions(method: Method) -> dict[str, str]:
    from hf_mner_aug.runs.ledger import library_versions

    return library_versions(method)


def _check_versions(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Check that this node has the packages of the driver: others might make other rows, or give other scores.

    Raises:
        UsageError: one differs.
    """
    for name, version in expected.items():
        if found.get(name) != version:
            raise UsageError(
                f"{platform.node()} has {name} {found.get(name, '(none)')}, the driver {version}: install the same "
                "packages on all nodes"
            )


def _messages(told: Iterable[warnings.WarningMessage]) -> list[str]:
    """Return what warnings for users said; those of libraries for programmers are left out."""
    return [str(warning.message) for warning in told if warning.category is UserWarning]


_warned: set[str] = set()


def _warn(told: Iterable[str]) -> None:
    """Warn of what workers warned of, once."""
    for message in told:
        if message not in _warned:
            _warned.add(message)
            warnings.warn(message, stacklevel=2)
