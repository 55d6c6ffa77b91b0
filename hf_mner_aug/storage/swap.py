"""Replace a folder by a finished one atomically, so that a reader sees either the old or the new one."""

import contextlib
import ctypes
import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.storage.locks import lock, stage

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_LACKING = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
_OLD = re.compile(r"\.(.+)\.[0-9a-f]{8}\.old")


@contextlib.contextmanager
def replacing(out: Path, verb: str, check: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a new folder that replaces ``out`` on success and is removed on failure.

    ``check`` raises if what ``out`` holds may not be replaced; it is called again just before, since another process
    may have written there meanwhile. ``verb`` is shown to processes that wait.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with stage(out.parent, out.name) as room:
        new = room / out.name
        new.mkdir()
        yield new
        for path in new.rglob("*"):
            sync(path)
        with lock(out, verb, beside=True):
            put_back(out.parent, out.name)
            check(out)
            swap(new, out)


def swap(new: Path, target: Path) -> None:
    """Replace the folder ``target`` by ``new``. The old folder ends up at ``new``, for the caller to delete.

    If the two are on different file systems, the new one is first copied next to the target. File systems that cannot
    exchange two names (NFS) need two renames; ``put_back`` repairs the state after a kill between them.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _move(new, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with stage(target.parent, target.name) as room:
            copy = room / target.name
            copy.mkdir()
            for path in sorted(new.rglob("*")):
                part = path.relative_to(new)
                if path.is_dir():
                    (copy / part).mkdir()
                    continue
                with room_for(target / part, path.stat().st_size):
                    shutil.copyfile(path, copy / part)
                    sync(copy / part)
            for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
                sync(folder)
            _move(copy, target)
    sync(target.parent)


def put_back(folder: Path, name: str | None = None) -> None:
    """Restore folders that a ``swap`` of two renames had moved away when it was killed: all, or the one of a name.

    The caller holds the lock that is held for swapping.
    """
    for old in folder.glob(".*.old"):
        if (found := _OLD.fullmatch(old.name)) and name in (None, found[1]) and old.is_dir():
            if (folder / found[1]).exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(folder / found[1])


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    try:
        exchange(new, target)
    except OSError as error:
        if error.errno not in _LACKING:
            raise
        old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
        target.rename(old)
        new.rename(target)
        old.rename(new)


def exchange(one: Path, other: Path) -> None:
    """Exchange two names atomically: Linux's ``renameat2``.

    Raises:
        OSError: ENOSYS, EINVAL or ENOTSUP if the system or file system cannot, EXDEV between file systems.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one), None, str(other))
