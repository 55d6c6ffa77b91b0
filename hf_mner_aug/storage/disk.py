"""A full disk, reported in one line: which file, how many bytes it needed, how many are free."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(OSError):
    """A disk or quota is full, or a file has its maximum size; the message says how much was needed and is free."""


@contextlib.contextmanager
def room_for(path: Path | str, needed: int | Callable[[], int] | None = None) -> Iterator[None]:
    """Report the file, the bytes needed and the bytes free if the disk is full inside this context.

    Put it around the code that removes partial output, so that its bytes count as free.

    Args:
        path: the file as the user knows it, not its temporary name.
        needed: the bytes that the file needed, at least, or a function that returns them; None if unknown.

    Raises:
        DiskFull: the disk is full.
    """
    try:
        yield
    except DiskFull:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(path, needed() if callable(needed) else needed, error.errno) from error
        raise


def disk_full(path: Path | str, needed: int | None = None, number: int = errno.ENOSPC) -> DiskFull:
    """Return the error of a full disk for a file; the free bytes are those of its disk now."""
    said = "needs more room" if needed is None else f"needs at least {needed:,} bytes"
    free = shutil.disk_usage(_existing(path)).free
    return DiskFull(number, f"{os.strerror(number)}: {said}, {free:,} bytes are free", str(path))


def find_full(error: BaseException | None) -> OSError | None:
    """Return the error of a full disk that caused another error, or None; libraries wrap it in their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error
        for number in FULL:  # libraries in Rust and C++ keep only the message
            if os.strerror(number) in str(error):
                return OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__
    return None


def fullest(folders: Iterable[Path | str]) -> Path:
    """Return the folder on the disk with the least free space."""
    return min(map(_existing, folders), key=lambda folder: shutil.disk_usage(folder).free)


def _existing(path: Path | str) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    absolute = Path(path).absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())
