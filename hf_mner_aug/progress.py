"""Progress of long work: what is done, how much a second, and the time left.

A terminal shows a bar. Where there is none, and in a log, ``Lines`` makes of it a line now and then.
"""

import contextlib
import functools
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    import pyarrow as pa
    from tqdm import tqdm

SHOWN_AFTER_S = 2.0
LINE_EVERY_S = 30.0
_DISABLING = ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS")  # for bars of libraries
_CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

_everywhere: bool | None = None  # whether all bars are shown, none, or those that were asked for


@contextlib.contextmanager
def muted(package: str, level: int) -> Iterator[None]:
    """Let a package log nothing below a level in this context."""
    logger = logging.getLogger(package)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def showing(*, shown: bool) -> Iterator[None]:
    """Show all bars in this context, or none."""
    global _everywhere
    before, variables = _everywhere, {name: os.environ.get(name) for name in _DISABLING}
    _everywhere = shown
    if not shown:
        os.environ.update(dict.fromkeys(_DISABLING, "1"))
    try:
        yield
    finally:
        _everywhere = before
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    shown: bool | None = None,
    unit: str = " posts",
    delay: float = SHOWN_AFTER_S,
    **options: Any,
) -> "tqdm[Any]":
    """Return a bar of ``tqdm``, seen after ``delay`` seconds; without ``shown``, where the command line is at work."""
    asked = bool(_everywhere) if shown is None else shown
    return _bar_class()(items, unit=unit, delay=delay, disable=_everywhere is False or not asked, **options)


@functools.cache  # tqdm starts a thread for each class of bars, which never ends
def _bar_class() -> "type[tqdm[Any]]":
    from tqdm.auto import tqdm

    class Bar(tqdm):
        @staticmethod
        def format_meter(*args: Any, **kwargs: Any) -> str:
            """Return the bar, with "2.5s/posts" for "2.5s/ posts": units begin with a blank for "3 posts/s"."""
            return str(tqdm.format_meter(*args, **kwargs)).replace("s/ ", "s/")

    return Bar


def watch_rows(tables: "Iterable[pa.Table]", told: str, total: int | None) -> "Iterator[pa.Table]":
    """Yield tables under a bar of their rows."""
    with progress_bar(desc=told, total=total, unit=" rows") as shown:
        for table in tables:
            yield table
            shown.update(table.num_rows)


class Lines:
    """Passes on the whole lines of a text; one that carriage returns rewrite, each half minute and as it ends.

    Of a line that is rewritten for less than two seconds, nothing is passed on; nor are blank lines, over which bars of
    several lines move.
    """

    def __init__(self, put: Callable[[str], object]) -> None:
        self._put = put
        self._open = ""  # what follows the last newline
        self._shown = ""  # the last state of it that was passed on
        self._due = 0.0  # when its next state is

    def write(self, text: str) -> None:
        """Add text."""
        *ended, self._open = (self._open + _CURSOR.sub("", text)).split("\n")
        for line in ended:
            if "\r" in line.rstrip("\r"):
                self._pass_on(_last_state(line), ends=True)
            elif state := _last_state(line):
                self._put(f"{state}\n")
            self._shown, self._due = "", 0.0
        if "\r" in self._open:
            state = _last_state(self._open)
            self._open = f"\r{state}" if state else ""
            self._pass_on(state)

    def _pass_on(self, state: str, *, ends: bool = False) -> None:
        """Pass on the state of a line that is rewritten, if it is time for that."""
        now = time.monotonic()
        self._due = self._due or now + SHOWN_AFTER_S
        seen = bool(self._shown) or now >= self._due
        if state and state != self._shown and seen and (ends or now >= self._due):
            self._put(f"{state}\n")
            self._shown, self._due = state, now + LINE_EVERY_S

    def flush(self) -> None:
        """Pass on a line that has begun, unless it is one that is rewritten."""
        if "\r" not in self._open:
            self._put(self._open)
            self._open = ""


def _last_state(line: str) -> str:
    """Return what a terminal would show of a line with carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2].rstrip()


class Log:
    """A file with all that a command prints, each line with its time (UTC).

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)

    def write(self, line: str) -> None:
        """Add a line; after a failure, as of a full disk, a warning is all that is said."""
        if self._file is None or not line:
            return
        try:
            self._file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")
        except OSError as error:
            self._file = None
            warnings.warn(f"--log-file {self._path}: {error.strerror}: nothing more is logged", stacklevel=2)


@dataclass(frozen=True)
class Printed:
    """A stream whose text may be cut into lines, and copied into a log; in all else it is the stream itself."""

    stream: TextIO
    lines: Lines | None
    copy: Lines | None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Print text, and copy it."""
        (self.lines or self.stream).write(text)
        if self.copy:
            self.copy.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush a line that has begun, and the stream."""
        if self.lines:
            self.lines.flush()
        self.stream.flush()


@contextlib.contextmanager
def printing(log: Log | None) -> Iterator[None]:
    """Print lines in place of bars where standard error is no terminal, and copy all that is printed into a log."""
    streams = [
        Printed(stream, Lines(stream.write) if cut and not stream.isatty() else None, Lines(log.write) if log else None)
        for stream, cut in ((sys.stdout, False), (sys.stderr, True))
    ]
    out, error = (cast(Any, printed) for printed in streams)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            yield
        finally:
            for printed in streams:
                printed.flush()
                if printed.copy:
                    printed.copy.flush()
