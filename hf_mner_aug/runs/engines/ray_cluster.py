"""A Ray cluster: joined or started for a run, and what its workers say."""

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
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hf_mner_aug.exceptions import UsageError, first_line
from hf_mner_aug.need import need

STORE_BYTES = 100 * 2**20  # Ray's object store on a cluster of our own: digests are small
LOCAL = "local"  # the address of a cluster of our own
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray takes the loopback address, as it does on those systems

_ADDRESS = re.compile(r"|auto|local|[\w.-]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")


@contextlib.contextmanager
def connected(asked: str, workers: int, cpus_per_worker: float) -> Iterator[Any]:
    """Yield the module ``ray``, connected; a connection that was there before is taken, and left.

    Args:
        asked: the address that the user gave, as of ``Ray``.
        workers: for whom a cluster of our own must have room.
        cpus_per_worker: CPUs of each.

    Raises:
        MissingExtra: Ray is not installed.
        OSError: there is no cluster at the address, or none could be started.
        UsageError: this process is connected to another cluster, or ``$RAY_ADDRESS`` is no address of one.
    """
    address = asked or os.environ.get("RAY_ADDRESS", "")
    check_address(address, "$RAY_ADDRESS")
    if address == LOCAL:
        address = ""
    if not address and "ray" not in sys.modules:
        os.environ.setdefault(LOOPBACK, "0")
    ray = need("ray", extra="ray")
    if ray.is_initialized():
        there = ray.get_runtime_context().gcs_address
        if asked not in ("", "auto") and _place(ray, asked) != _place(ray, there):
            raise UsageError(
                f"ray: this process is connected to the cluster at {there}, expected {asked}: call "
                "ray.shutdown() before, or leave the address out"
            )
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    with contextlib.ExitStack() as opened:
        if not address:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
            cpus = max(os.cpu_count() or 1, math.ceil(workers * cpus_per_worker))
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


def check_address(address: str, name: str) -> None:
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


class Died(OSError):
    """A worker ended in the middle of its work."""


@contextlib.contextmanager
def worker_errors(ray: Any, said: str) -> Iterator[None]:
    """Raise the error that a worker raised as it was; ``Died`` where the worker ended."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, Exception) and not isinstance(cause, ray.exceptions.RayError):
            raise cause from None
        lines = [line.strip() for line in str(error).splitlines() if re.match(r"\w*(Error|Exception): ", line.strip())]
        raise OSError(f"a worker cannot do this: {lines[-1] if lines else first_line(error)}") from error
    except ray.exceptions.RayError as error:
        raise Died(f"{said}: {first_line(error)}") from error


def alive(ray: Any) -> list[Mapping[str, Any]]:
    """Return the nodes of the cluster, as Ray tells them."""
    return [node for node in ray.nodes() if node["Alive"]]


def check_versions(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
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


def messages_of(told: Iterable[warnings.WarningMessage]) -> list[str]:
    """Return what warnings for users said; those of libraries for programmers are left out."""
    return [str(warning.message) for warning in told if warning.category is UserWarning]


_warned: set[str] = set()


def warn_of(told: Iterable[str]) -> None:
    """Warn of what workers warned of, once."""
    for message in told:
        if message not in _warned:
            _warned.add(message)
            warnings.warn(message, stacklevel=2)
