"""Which hosts may be sent posts and keys: those that the user named, or said yes to.

A recipe is data. It may be a stranger's, and the host that it names may be his, too. So nothing is sent to a host
unless it is allowed, for the key that goes there: ``models.endpoint`` asks ``require_allowed`` before each request.
Allowed are the hosts that this package names itself, those that the user's own code or command line named
(``HF_MNER_AUG_HOSTS``: for this process and those that it starts), and those that he said yes to on this machine
(``hosts.json`` in his configuration folder, which nobody else may write).

    allow("https://api.example/v1", "HF_MNER_AUG_API_KEY")
"""

import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hf_mner_aug.exceptions import Corrupt, HostNotAllowed, UsageError

VARIABLE = "HF_MNER_AUG_HOSTS"  # https://api.example=HF_MNER_AUG_API_KEY,http://10.0.0.5:8000
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d+)?")
_PORTS = {"https": ":443", "http": ":80"}  # not spelt
_KEY = re.compile(r"([A-Z][A-Z0-9_]*)?")


class Host(NamedTuple):
    """A host and the environment variable whose key is sent to it, empty where there is no key.

    ``origin`` is as ``origin_of`` writes it. A host that is allowed for a key is allowed without one, but not for
    another key.
    """

    origin: str
    key: str = ""

    @property
    def spelled(self) -> str:
        """The host as ``--allow-host`` takes it: without a scheme it means https."""
        return self.origin.removeprefix("https://")

    def __str__(self) -> str:
        """Return the host and what is sent to it, for people."""
        scheme = "" if self.origin.startswith("https:") else ", unencrypted"
        return f"{self.origin}{scheme}, with {f'the key in {self.key}' if self.key else 'no key'}"


# models.serper's default, which a recipe cannot change: it says ``serper`` and no address.
OWN = (Host("https://google.serper.dev", "SERPER_API_KEY"),)


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL in one spelling: ``HTTPS://API.Example.:443/v1`` is https://api.example.

    It is read by the library that connects, so that what is compared is what is connected to. Names are spelt in ASCII
    (``xn--…``), which shows letters that look alike.

    Raises:
        UsageError: it is no http(s) URL, or it names a user or a password.
    """
    import httpx2

    try:
        found = httpx2.URL(url)
        scheme, name = found.scheme.lower(), found.netloc.decode("ascii").lower()
        name = name.removesuffix(_PORTS.get(scheme, ""))
        origin = f"{scheme}://{re.sub(r'[.](?=:[0-9]+$|$)', '', name)}"
    except (httpx2.InvalidURL, UnicodeError, ValueError, TypeError):
        origin = ""
    if not _ORIGIN.fullmatch(origin) or found.userinfo:
        # The value is not repeated: it may hold a key.
        raise UsageError("expected a host as http(s)://host[:port], without user and password")
    return origin


def parse_host(text: str) -> str:
    """Return the origin of a host as it is typed: ``api.example``, ``api.example:8443`` or a URL; raises as that."""
    return origin_of(text if "://" in text else f"https://{text}")


def allow(url: str, key: str = "") -> None:
    """Let posts, and the key in an environment variable, be sent to a URL's host by this process and its workers.

    Raises:
        UsageError: the URL is none, or the variable's name is no name.
    """
    host = Host(origin_of(url), _checked(key))
    named = _named()
    if host not in named:
        os.environ[VARIABLE] = ",".join(f"{origin}={name}" if name else origin for origin, name in [*named, host])


def remember(url: str, key: str = "") -> None:
    """Allow a host as ``allow`` does, and on this machine from now on.

    Raises:
        Corrupt: the file of those that are allowed already is damaged.
        OSError: it cannot be written.
    """
    from filelock import FileLock

    allow(url, key)
    path, host = hosts_file(), Host(origin_of(url), key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        _write(path, {*remembered(), host})


def forget(url: str) -> int:
    """Take a host out of those that are allowed on this machine, for all keys; return how many entries went."""
    from filelock import FileLock

    path, origin = hosts_file(), origin_of(url)
    before = remembered()
    if not before:
        return 0
    with FileLock(path.with_suffix(".lock")):
        before = remembered()
        kept = {host for host in before if host.origin != origin}
        _write(path, kept)
    return len(before) - len(kept)


def is_allowed(url: str, key: str = "") -> bool:
    """Say whether posts, and the key in a variable, may be sent to a URL's host; raises as ``require_allowed``."""
    origin = origin_of(url)
    return any(
        host.origin == origin and key in ("", host.key)
        for found in (lambda: OWN, _named, remembered)  # the file is read where nothing else says yes
        for host in found()
    )


def require_allowed(url: str, key: str = "") -> None:
    """See that posts, and the key in a variable, may be sent to a URL's host.

    Raises:
        HostNotAllowed: they may not.
        UsageError: the URL is none, or ``HF_MNER_AUG_HOSTS`` holds something else than hosts.
        Corrupt: the file of those that are allowed on this machine is damaged, or others may write it.
    """
    if not is_allowed(url, key):
        host = Host(origin_of(url), key)
        raise HostNotAllowed(
            f"posts would go to {host}, and you have not allowed that: nothing was sent; allow it with "
            f"--allow-host {host.spelled}, or {VARIABLE}={host.origin}{f'={key}' if key else ''}"
        )


def hosts_file() -> Path:
    """Return the file of the hosts that are allowed on this machine; it need not be there."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "hf_mner_aug" / "hosts.json"


def remembered() -> frozenset[Host]:
    """Return the hosts that are allowed on this machine.

    Raises:
        Corrupt: their file is damaged, or others may write it.
    """
    path = hosts_file()
    try:
        with path.open("rb") as file:
            if os.name == "posix" and not _is_own(os.fstat(file.fileno())):
                raise Corrupt(f"{path}: others may write it, so it counts for nothing: chmod 600 it, or delete it")
            found = json.loads(file.read())
        return frozenset(_host(entry["host"], entry["key"]) for entry in found)
    except FileNotFoundError:
        return frozenset()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Corrupt(f"{path} is damaged: delete it, and you are asked for each host again") from error


# ---------------------------------------------------------------- inside


def _named() -> list[Host]:
    """Return the hosts in the environment."""
    found = []
    for entry in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        host, _, key = entry.partition("=")
        try:
            found.append(Host(parse_host(host), _checked(key)))
        except UsageError as error:
            raise UsageError(f"{VARIABLE}: {error}; and after '=' the name of the variable with its key") from error
    return found


def _is_own(found: os.stat_result) -> bool:
    """Say whether a file is the user's (root may read another's), and nobody else may write it."""
    user = os.geteuid()
    return not found.st_mode & 0o022 and (user == 0 or found.st_uid in (0, user))


def _host(origin: str, key: str) -> Host:
    """Return an entry of the file, as ``_write`` wrote it."""
    if not _ORIGIN.fullmatch(origin) or not _KEY.fullmatch(key):
        raise ValueError(origin)
    return Host(origin, key)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        # The value is not repeated: it may be the key itself.
        raise UsageError("expected the name of an environment variable, in capitals, not the key itself")
    return key


def _write(path: Path, hosts: Iterable[Host]) -> None:
    """Write the file so that it is whole or not there, and for its owner only."""
    entries = [{"host": host.origin, "key": host.key} for host in sorted(hosts)]
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".hosts.", suffix=".tmp", delete=False) as file:
        try:
            file.write(json.dumps(entries, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
