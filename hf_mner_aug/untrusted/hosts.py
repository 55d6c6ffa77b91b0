"""The hosts that posts and keys may be sent to: those that the user named or confirmed.

A recipe is data: it may come from a stranger, and so may the host that it names. So nothing is sent to a host that is
not allowed for the key in question: ``models.endpoint`` calls ``require_allowed`` before each request. Allowed are the
hosts that this package names itself, those that the user's own code or command line named (``HF_MNER_AUG_HOSTS``: for
this process and those that it starts), and those that the user confirmed on this machine (``hosts.json`` in the user's
configuration folder, which nobody else may write).

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
_PORTS = {"https": ":443", "http": ":80"}  # default ports, which an origin leaves out
_KEY = re.compile(r"([A-Z][A-Z0-9_]*)?")


class Host(NamedTuple):
    """A host and the environment variable that holds the key sent to it, empty if there is no key.

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
        """Return the host and the key that is sent to it, for messages."""
        scheme = "" if self.origin.startswith("https:") else ", unencrypted"
        return f"{self.origin}{scheme}, with {f'the key in {self.key}' if self.key else 'no key'}"


# The default of models.search.serper, which a recipe cannot change: it names ``serper``, not an address.
OWN = (Host("https://google.serper.dev", "SERPER_API_KEY"),)


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL in one spelling: ``HTTPS://API.Example.:443/v1`` is https://api.example.

    The library that connects parses it, so that the host compared is the host connected to. Names are in ASCII
    (``xn--…``), which exposes look-alike letters.

    Raises:
        UsageError: it is not an http(s) URL, or it contains a user or a password.
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
    """Return the origin of ``api.example``, ``api.example:8443`` or a URL, as typed; raises as ``origin_of``."""
    return origin_of(text if "://" in text else f"https://{text}")


def allow(url: str, key: str = "") -> None:
    """Allow this process and its workers to send posts, and the key in a variable, to a URL's host.

    Raises:
        UsageError: the URL or the variable's name is invalid.
    """
    host = Host(origin_of(url), _checked(key))
    named = _named()
    if host not in named:
        os.environ[VARIABLE] = ",".join(f"{origin}={name}" if name else origin for origin, name in [*named, host])


def remember(url: str, key: str = "") -> None:
    """Allow a host as ``allow`` does, and on this machine from now on.

    Raises:
        Corrupt: the file of allowed hosts is damaged.
        OSError: it cannot be written.
    """
    from filelock import FileLock

    allow(url, key)
    path, host = hosts_file(), Host(origin_of(url), key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        _write(path, {*remembered(), host})


def forget(url: str) -> int:
    """Remove a host from those allowed on this machine, for all keys; return the number of entries removed."""
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
    """Return whether posts, and the key in a variable, may be sent to a URL's host; raises as ``require_allowed``."""
    origin = origin_of(url)
    return any(
        host.origin == origin and key in ("", host.key)
        for found in (lambda: OWN, _named, remembered)  # the file is read only if nothing else allows it
        for host in found()
    )


def require_allowed(url: str, key: str = "") -> None:
    """Check that posts, and the key in a variable, may be sent to a URL's host.

    Raises:
        HostNotAllowed: they may not.
        UsageError: the URL, or an entry of ``HF_MNER_AUG_HOSTS``, is invalid.
        Corrupt: the file of allowed hosts is damaged, or others may write it.
    """
    if not is_allowed(url, key):
        host = Host(origin_of(url), key)
        raise HostNotAllowed(
            f"posts would go to {host}, and you have not allowed that: nothing was sent; allow it with "
            f"--allow-host {host.spelled}, or {VARIABLE}={host.origin}{f'={key}' if key else ''}"
        )


def hosts_file() -> Path:
    """Return the file of the hosts that are allowed on this machine; it may not exist."""
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
                raise Corrupt(f"{path}: others may write it, so it is not trusted: chmod 600 it, or delete it")
            found = json.loads(file.read())
        return frozenset(_host(entry["host"], entry["key"]) for entry in found)
    except FileNotFoundError:
        return frozenset()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Corrupt(f"{path} is damaged: delete it, and you are asked for each host again") from error


def _named() -> list[Host]:
    """Return the hosts that the environment variable lists."""
    found = []
    for entry in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        host, _, key = entry.partition("=")
        try:
            found.append(Host(parse_host(host), _checked(key)))
        except UsageError as error:
            raise UsageError(f"{VARIABLE}: {error}; and after '=' the name of the variable with its key") from error
    return found


def _is_own(found: os.stat_result) -> bool:
    """Return whether a file belongs to the user (root may read another's) and nobody else may write it."""
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
    """Write the file atomically, readable by its owner only."""
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
