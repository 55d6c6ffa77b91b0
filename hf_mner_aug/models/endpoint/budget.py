"""The cost of calls to a model, its limits, and the file that keeps count while a run is killed and restarted."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.values import Range, check_ranges


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Counts of some requests.

    ``calls`` were sent (each counted once, without its ``retries``), ``cached`` were answered from the record,
    ``over_budget`` were not sent. ``usd`` follows from the given prices; ``seconds`` is the summed response time.
    """

    calls: int = 0
    cached: int = 0
    over_budget: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.tokens_in + self.tokens_out

    def told(self) -> dict[str, float]:
        """Return the counts that are not 0 by name, for a card: without ``seconds``, which depend on the machine."""
        return {name: round(n, 6) for name, n in asdict(self).items() if n and name != "seconds"}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that a run may spend; None is no limit.

    ``calls`` holds exactly. The cost of a call is known only when it is answered, so the calls that are running at that
    moment, at most ``max_concurrency`` of them, may exceed ``usd`` and ``tokens``.
    """

    usd: Annotated[float | None, Range(0)] = None
    calls: Annotated[int | None, Range(0)] = None
    tokens: Annotated[int | None, Range(0)] = None

    def __post_init__(self) -> None:
        check_ranges(self, "budget")

    def reached(self, spent: Usage) -> str:
        """Return which limit is reached, in words, or an empty text."""
        for name, limit in asdict(self).items():
            if limit is not None and getattr(spent, name) >= limit:
                return f"{round(getattr(spent, name), 6)} of {limit} {name} spent"
        return ""


NO_LIMIT = Budget()


class Account:
    """The spending of a run, as lines of JSON that its processes append to one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen = 0  # bytes of the file that are summed
        self._spent = Usage()

    def claim(self, budget: Budget) -> str:
        """Count one call if the budget allows it, otherwise return which limit is reached."""
        with self._locked():
            reached = budget.reached(self._read())
            if not reached:
                self._append(Usage(calls=1))
        return reached

    def add(self, usage: Usage) -> None:
        """Add the cost of a call."""
        with self._locked():
            self._append(usage)

    def spent(self) -> Usage:
        """Return the sum over all processes, including those that were killed."""
        with self._lock:
            return self._read()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, FileLock(self.path.with_suffix(".lock")).acquire(poll_interval=0.01):
            yield

    def _append(self, usage: Usage) -> None:
        self._read()
        taken = {name: value for name, value in asdict(usage).items() if value}
        with room_for(self.path), self.path.open("ab") as file:
            torn = file.tell() > self._seen  # a line cut by a full disk or a power failure
            file.write(b"\n" * torn + json.dumps(taken).encode() + b"\n")

    def _read(self) -> Usage:
        """Add the new lines; a torn line is ignored."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._seen)
                new = file.read()
        except FileNotFoundError:
            return self._spent
        new = new[: new.rfind(b"\n") + 1]
        for line in new.splitlines():
            try:
                self._spent += Usage(**json.loads(line))
            except (ValueError, TypeError):
                continue
        self._seen += len(new)
        return self._spent
