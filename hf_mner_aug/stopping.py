"""Ctrl-C and SIGTERM: a command ends within seconds, with one line that says what is kept.

Files are written atomically, by a rename, so a command may end at any point. A signal raises KeyboardInterrupt in the
main thread, which cleans up; if that takes too long (a database, a network, a library at work), a thread ends the
process. Importing the package does not change how a program handles signals: only the command line does, with
``Signals``.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from types import FrameType
from typing import Any, NoReturn, Protocol

SECONDS = 2.0  # to clean up
AGAIN = "the same command starts over"

_telling: list[Callable[[], str]] = []
_told = ""


@contextlib.contextmanager
def keeping(told: Callable[[], str]) -> Iterator[None]:
    """Make a command that is stopped inside this context say what is kept; the outermost of nested contexts is used.

    ``told`` may be called from another thread.
    """
    global _told
    _telling.append(told)
    try:
        yield
    except BaseException:
        _told = _line()
        raise
    finally:
        _telling.remove(told)


class TextWriter(Protocol):
    """Something to write lines into."""

    def write(self, line: str) -> None:
        """Add a line."""


class Signals:
    """The context in which SIGINT and SIGTERM end the process.

    The first signal raises KeyboardInterrupt; a second one, or two seconds, end the process whatever it is doing. A
    signal that is ignored (``nohup``) stays ignored.
    """

    def __init__(self, log: TextWriter | None = None) -> None:
        self.number = 0  # of the signal that came
        self._log = log  # which gets the line, too
        self._said = threading.Lock()  # held by the thread that prints the line
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Signals":
        global _told
        _told = ""
        taken = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
        if not taken or threading.current_thread() is not threading.main_thread():
            return self
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        # Python's handlers wait for the main thread, which may be in a library; this is written at once.
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True).start()
        self._hook, sys.unraisablehook = sys.unraisablehook, self._ignore
        self._before = {number: signal.signal(number, self._raise) for number in taken}
        return self

    def __exit__(self, *failure: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            sys.unraisablehook = self._hook
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._writer)

    def end(self) -> NoReturn:
        """Say what is kept and end the process, without waiting for its threads."""
        if self._said.acquire(blocking=False):
            told = f"{_line()}\n"
            line = told.encode("utf-8", "replace")
            if self._log:
                self._log.write(told)
            with contextlib.suppress(OSError, ValueError):
                # The reader of our output may have stopped: write only if that does not block.
                if select.select([], [sys.stderr], [], 0)[1]:
                    os.write(sys.stderr.fileno(), line)
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(128 + self.number)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            self.end()
        self.number = number
        raise KeyboardInterrupt

    def _ignore(self, unraisable: Any) -> None:
        """Ignore an interrupt where none can propagate, as in a C callback: the timeout ends the process."""
        if not (self.number and issubclass(unraisable.exc_type, KeyboardInterrupt)):
            self._hook(unraisable)

    def _watch(self) -> None:
        """End the process ``SECONDS`` after a signal; return when the context is left before that."""
        while (byte := os.read(self._reader, 1)) and byte[0] not in self._before:
            pass
        if not byte:
            os.close(self._reader)
            return
        ready = select.select([self._reader], [], [], SECONDS)[0]
        if ready and not os.read(self._reader, 1):
            os.close(self._reader)
            return
        self.number = self.number or byte[0]
        self.end()


def _line() -> str:
    """Return the line that a stopped command prints."""
    if not _telling:
        return _told or f"stopped; {AGAIN}"
    try:
        return f"stopped; {_telling[0]()}"
    except OSError:  # it looks at files
        return "stopped; what is finished is kept"


def start_tracker() -> None:
    """Start the resource tracker, which cleans up after killed pools, with its warnings silenced."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [before, "ignore:resource_tracker"]))
    try:
        resource_tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


@contextlib.contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C from the processes started in this context: their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this worker process when its parent has ended, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
