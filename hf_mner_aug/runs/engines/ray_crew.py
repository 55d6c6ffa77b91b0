"""The actors of a Ray cluster that make the parts of a run.

An actor has two parts at most, the one that it makes included. It writes the part, its rejects and its note into the
run's storage, and returns a digest. The driver writes the rows of parts, and checks what was made, several parts at a
time, since each waits for the storage.
"""

import platform
import sys
import tempfile
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import UsageError, first_line
from hf_mner_aug.runs.engines.ray_cluster import Died, check_versions, messages_of, warn_of, worker_errors
from hf_mner_aug.runs.engines.ray_rows import read_rows, write_rows
from hf_mner_aug.runs.engines.work import Work
from hf_mner_aug.runs.parts import LOOKS, Part, gather_part, part_note, posts_of, send_part, write_part
from hf_mner_aug.runs.ranks import fetch_learned
from hf_mner_aug.runs.recipe import Recipe, computed_on
from hf_mner_aug.runs.versions import library_versions
from hf_mner_aug.storage.shared import Folder, Store
from hf_mner_aug.transform import Method
from hf_mner_aug.untrusted.printable import say

if TYPE_CHECKING:
    import pyarrow as pa

AHEAD = 2  # parts that an actor has at most, the one that it makes included
DEATHS = 3  # of workers by one part, after which it is given up
WAIT_S = 60.0  # without a worker, after which that is said


@dataclass
class Member:
    """An actor and its parts, in the order that it makes them; before it has loaded the recipe, None is one of them."""

    actor: Any
    queue: deque[tuple[Any, Part | None]]
    ready: bool = False


@dataclass
class Crew:
    """The actors of a run. A part is blamed for the death of an actor that was making it, and only for that."""

    ray: Any
    options: dict[str, Any]
    work: Work
    room: Store
    pending: deque[Part]
    size: int
    members: list[Member] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)
    lost: int = 0
    waited: float = 0.0
    deaths: Counter[Part] = field(default_factory=Counter)
    given_up: list[tuple[Part, str]] = field(default_factory=list)
    handed_out: set[Part] = field(default_factory=set)
    unstarted: int = 0
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(LOOKS))

    def make(self) -> Iterator[Part]:
        """Yield each part when it is finished; raises as ``Session.make``."""
        begun, told = time.monotonic(), False
        while self.pending or any(member.queue for member in self.members):
            self._assign()
            heads = {member.queue[0][0]: member for member in self.members if member.queue}
            if self.ray.wait(list(heads), num_returns=1, timeout=1.0)[0]:
                ready = self.ray.wait(list(heads), num_returns=len(heads), timeout=0)[0]
                yield from self._finished([heads[ref] for ref in ready])
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
        self.threads.shutdown(cancel_futures=True)
        for part in self.handed_out:
            self.room.remove(f"{part.stem}.arrow")

    def _assign(self) -> None:
        """Start the actors that are missing, and give those that are ready parts: each one, then each a second one."""
        while len(self.members) < min(self.size, len(self.pending) + sum(bool(m.queue) for m in self.members)):
            actor = self.ray.remote(**self.options)(Worker).remote()
            work, versions = self.work, library_versions(self.work.method)
            ref = actor.load.remote(work.place, self.room, work.recipe, work.method, versions)
            self.members.append(Member(actor, deque([(ref, None)])))
        for held in range(1, AHEAD + 1):
            members = [member for member in self.members if member.ready and len(member.queue) < held]
            members = members[: len(self.pending)]
            parts = [self.pending.popleft() for _ in members]
            self.handed_out.update(parts)
            for member, part, _ in zip(members, parts, self.threads.map(self._write, parts), strict=True):
                member.queue.append((member.actor.make.remote(part), part))

    def _write(self, part: Part) -> None:
        """Write the posts of a part, for an actor to read."""
        write_rows(self.room, f"{part.stem}.arrow", [posts_of(self.work.gold, part)])

    def _finished(self, members: Sequence[Member]) -> Iterator[Part]:
        """Take the first result of some actors; yield the parts whose files are seen to be there."""
        digests: dict[Part, str] = {}
        for member in members:
            ref, part = member.queue[0]
            try:
                with worker_errors(self.ray, "a worker died"):
                    result = self.ray.get(ref)
            except Died as error:
                yield from self._bury(member, first_line(error.__cause__ or error))
                continue
            member.queue.popleft()
            if part is None:
                member.ready = True
                self.nodes.add(result)
                continue
            digests[part], waited, told = result
            self.handed_out.discard(part)
            self.waited += waited
            warn_of(told)
        for part, whole in zip(digests, self.threads.map(self._is_whole, digests, digests.values()), strict=True):
            if not whole:
                raise OSError(
                    f"part {part.stem} was made, but is not in {self.work.place} as this machine sees it: name a "
                    "storage that all nodes reach (--storage)"
                )
            yield part

    def _bury(self, member: Member, said: str) -> Iterator[Part]:
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

    def _is_whole(self, part: Part, digest: str) -> bool:
        return self._is_here(part) and part_note(self.work.folder, part)["sha256"][0] == digest

    def _is_here(self, part: Part) -> bool:
        work = self.work
        return gather_part(work.place, work.folder, part, work.recipe, work.method)


class Worker:
    """The actor: it has one method, loaded once, and makes one part after another."""

    def load(self, place: Store, room: Store, recipe: Recipe, method: Method, versions: Mapping[str, str]) -> str:
        """Check that this node computes as the driver does, fetch what was learnt, and return the node's id."""
        import ray

        check_versions(library_versions(method), versions)
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
            with read_rows(self._room, f"{part.stem}.arrow") as rows:
                table = rows.with_format("arrow")[:]
            if isinstance(self._place, Folder):
                digest = self._write(self._place.path, part, table, begun)
            else:
                with tempfile.TemporaryDirectory(prefix="hf_mner_aug-") as temporary:
                    digest = self._write(Path(temporary), part, table, begun)
                    send_part(self._place, Path(temporary), part)
        self._room.remove(f"{part.stem}.arrow")
        self._idle_since = time.monotonic()
        return digest, waited, messages_of(told)

    def _write(self, folder: Path, part: Part, table: "pa.Table", begun: float) -> str:
        write_part(folder, self._recipe, self._method, table, part, begun)
        digest: str = part_note(folder, part)["sha256"][0]
        return digest
