"""One writer at a time, and hidden files that are deleted once their writer is dead.

A lock is an ``flock``: the kernel releases it when its owner ends, however it ends, so a lock is never stale. It works
between all processes of a machine, and between machines on NFS (version 4, or 3 with its lock daemon). It does not work
between machines on NFS mounted with ``nolock`` or ``local_lock``, or on Lustre with ``localflock``. On a file system
without locks there is a warning, and no mutual exclusion.

- ``lock(folder, verb)``: the one lock of a repo folder, or with ``beside=True`` of a file;
- ``unfinished(path)``: a hidden name to write a file under before it gets its own, ``.NAME.<hex>.tmp``;
- ``stage(folder, name)``: a hidden folder to prepare another one in, ``.NAME.<hex>.stage``;
- ``sweep(folder)``: deletes those whose owner was killed.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import time
import uuid
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.untrusted.printable import excerpt, say

TIMEOUT = "HF_MNER_AUG_LOCK_TIMEOUT"  # the environment variable that sets how many seconds to wait for a lock
TIMEOUT_S = 600.0
SILENT_S = 1.0  # nothing is printed about a shorter wait
STEP_S = 0.02
FOREIGN_S = 86_400.0  # age from which a file of another machine counts as abandoned
# Uploads skip this folder: huggingface_hub keeps its own locks there.
LOCAL = Path(".cache") / "huggingface"

_LEFT = re.compile(r"\..+\.([0-9a-f]{4})[0-9a-f]{8}\.tmp")
_STAGE = re.compile(r"\..+\.[0-9a-f]{12}\.stage")
_BEFORE_LOCKS = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # the names of unfinished files in earlier versions
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def lock(path: str | Path, verb: str, *, beside: bool = False) -> Iterator[None]:
    """Hold the lock of a folder, which is created if it is missing, or of a file.

    A process that holds a lock must not acquire it again.

    Args:
        path: the file or folder to write.
        verb: the operation, shown to waiting processes.
        beside: the lock file is next to the path, as for a file. A folder's is inside it (where uploads do not look),
            so that all processes find the same one, whatever path the folder is mounted under.

    Raises:
        TimeoutError: another process, which the message names, did not release it in $HF_MNER_AUG_LOCK_TIMEOUT
            seconds (default: 600).
        UsageError: $HF_MNER_AUG_LOCK_TIMEOUT is not a number.
    """
    place = _lock_file(Path(path), beside)
    limit_s = _timeout_s()
    begun, told = time.monotonic(), False
    while (descriptor := _acquire(place, str(path))) is None:
        waited = time.monotonic() - begun
        if waited >= limit_s:
            told_s = f"{limit_s:g} s ({TIMEOUT} sets how long)"
            raise TimeoutError(errno.ETIMEDOUT, f"held by {_owner(place)}; waited {told_s}", str(path))
        if waited >= SILENT_S and not told:
            say(f"waiting for {path}: held by {_owner(place)}", file=sys.stderr)
            told = True
        time.sleep(min(max(waited / 10, STEP_S), limit_s - waited, 0.5))
    owner = {"pid": os.getpid(), "host": platform.node(), "verb": verb, "since": f"{datetime.now():%H:%M}"}
    try:
        with contextlib.suppress(OSError):  # the disk is full: the lock holds without a name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):  # waiting processes notice that the file is gone, and create another
            place.unlink()
            if not beside:
                place.parent.rmdir()
                place.parent.parent.rmdir()
        os.close(descriptor)


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Create an empty hidden file next to a path, for this process to write and rename; deleted if it is still there.

    Files that dead processes left in the folder are deleted first, once per process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent.absolute())
    file, descriptor = _hidden(path), None
    try:
        while (descriptor := _claim(file)) is None:
            file = _hidden(path)
        yield file
    finally:
        file.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def stage(folder: Path, name: str) -> Iterator[Path]:
    """Create a hidden folder inside another one, for this process to prepare ``name`` in; deleted at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    with unfinished(folder / name) as claim:
        room = _room(claim)
        room.mkdir()
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete the unfinished files and stages that dead processes left in a folder.

    A file is in use while its owner holds its lock. A file of another machine must also be a day old: its locks may not
    be visible here. So must files without a lock, from versions before there were locks.
    """
    try:
        entries = [entry.name for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in entries:
        path = folder / name
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to delete
            if found := _LEFT.fullmatch(name):
                _delete_unowned(path, found[1])
            elif _is_ownerless(path) and _is_old(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


_sweep_once = functools.cache(sweep)


def _timeout_s() -> float:
    value = os.environ.get(TIMEOUT, str(TIMEOUT_S))
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"{TIMEOUT}={value!r}: expected a number of seconds") from None


def _lock_file(path: Path, beside: bool) -> Path:
    """Return the lock file of a folder or file."""
    if not beside:
        return path / LOCAL / "hf_mner_aug.lock"
    path = path.resolve()
    return path.with_name(f".{path.name}.lock")


def _acquire(place: Path, what: str) -> int | None:
    """Return a descriptor that holds the lock, or None where another process does."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # the last holder has just deleted the folder
        return None
    except FileExistsError:  # the same at another moment, unless a file is in the way
        if any(folder.exists() and not folder.is_dir() for folder in place.parents):
            raise
        return None
    except PermissionError:  # another user's: it can still be locked
        descriptor = os.open(place, os.O_RDONLY)
    try:
        held = _try_lock(descriptor)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise
        warnings.warn(f"the file system of {what} has no locks: let one process at a time write there", stacklevel=4)
        held = True
    if held and _is_at(descriptor, place):
        return descriptor
    os.close(descriptor)
    return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file still has its name: another process may have deleted it meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _owner(place: Path) -> str:
    """Return who holds a lock, if the holder has written it down."""
    try:
        owner = json.loads(place.read_text())
        return excerpt("pid {pid} on {host} ({verb}, since {since})".format(**owner))
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _hidden(path: Path) -> Path:
    # Not the process id: in containers that share a folder it is often the same.
    return path.with_name(f".{path.name}.{_machine()}{uuid.uuid4().hex[:8]}.tmp")


def _claim(file: Path) -> int | None:
    """Create a file, and return a descriptor that holds its lock while it is open; None if a sweep deletes it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        held = _try_lock(descriptor) and _is_at(descriptor, file)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise
        held = True  # nobody can lock it to delete it, either
    if held:
        return descriptor
    os.close(descriptor)
    return None


def _delete_unowned(claim: Path, machine: str) -> None:
    """Delete an unfinished file and its stage unless a process holds the lock, or may hold it elsewhere."""
    if machine != _machine() and not _is_old(claim):
        return
    descriptor = os.open(claim, os.O_RDWR)
    try:
        if _try_lock(descriptor) and _is_at(descriptor, claim):
            shutil.rmtree(_room(claim), ignore_errors=True)
            claim.unlink()
    finally:
        os.close(descriptor)


def _is_ownerless(path: Path) -> bool:
    """Return whether nobody can hold a lock: a stage whose claim is gone, or a file of versions before the locks."""
    if _STAGE.fullmatch(path.name):
        return not path.with_suffix(".tmp").exists()
    staged = path.parent.name.endswith(".runs") and path.name.startswith(".") and path.suffix == ".publishing"
    return staged or bool(_BEFORE_LOCKS.fullmatch(path.name))


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime >= FOREIGN_S


def _room(claim: Path) -> Path:
    return claim.with_suffix(".stage")


@functools.cache
def _machine() -> str:
    """Return four digits that identify the running system, whose processes see each other's locks."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        name = platform.node()
    return hashlib.sha256(name.encode()).hexdigest()[:4]
