"""Fetch files from untrusted hosts, politely: robots.txt, a delay for each host, few requests at a time.

A hostile page can cost a request and some seconds, and gives access to nothing that is not public: only http and https,
only public addresses (checked on connecting, so that a name cannot resolve to another address later), bounded time,
bytes (also after decompression) and redirects. Nothing is executed, no cookie is kept, no proxy is used.
"""

import asyncio
import contextlib
import ipaddress
import math
import os
import socket
import time
import typing
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpcore2
import httpx2

from hf_mner_aug import __version__
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.endpoint.budget import Budget
from hf_mner_aug.models.endpoint.engine import SETTINGS as ENDPOINT_SETTINGS
from hf_mner_aug.models.endpoint.protocol import retry_after
from hf_mner_aug.models.search.serper import PRICE
from hf_mner_aug.need import need
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.bodies import ENCODINGS, UnusableBody, read_body
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.values import Amount, Range, check_ranges, parse_settings

if TYPE_CHECKING:
    from protego import Protego

SETTINGS = "HF_MNER_AUG_WEB"
MAX_REDIRECTS = 5
MAX_ROBOTS = 512 << 10  # bytes
MAX_ROBOTS_RULES = 1_000_000  # rules times agents, the most that a parser may keep
MAX_CRAWL_DELAY = 60.0
PORTS = (80, 443)
TRIES = 4  # of a request whose host is unreachable or busy
BACKOFF_SECONDS = 1.0
MAX_WAIT = 30.0  # seconds between two tries
CONNECT_SECONDS = 10.0
NAT64 = ipaddress.ip_network("64:ff9b::/96")
SITE = "https://{}/"  # the address of a host that a query names with ``site:``
MAX_ALLOWED = 100  # paths that robots.txt allows; a file with more does not refuse everything
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all allocated addresses of version 6


@dataclass(frozen=True, kw_only=True)
class Web:
    """This machine's access to the web: it does not affect the rows, so it is in the environment and in no recipe.

    ``HF_MNER_AUG_WEB="delay=2,usd=5"`` changes the defaults below.

    Args:
        delay: seconds between the starts of two requests to one host, over all processes of this machine;
            robots.txt may ask for more. 0 is no delay.
        concurrency: concurrent requests in one process.
        timeout: seconds for a request, from connecting to the last byte.
        price: USD per search.
        usd: the most that a run may spend, over all its processes and restarts.
        searches: the most searches that a run may pay for.
        record: the folder of recorded searches and pages (default: in the cache).
        replay: answer from the record only.
        contact: an address for hosts, in the User-Agent.
        allow: one address, such as 127.0.0.1, that may be reached although it is not public: for tests.
    """

    delay: Amount = 1.0
    concurrency: Annotated[int, Range(0, ends="(]")] = 8
    timeout: Annotated[float, Range(0, ends="(]")] = 20.0
    price: Amount = PRICE
    usd: float | None = None
    searches: int | None = None
    record: str = ""
    replay: bool = False
    contact: str = ""
    allow: str = ""

    def __post_init__(self) -> None:
        check_ranges(self, "web")
        if not self.contact.isascii() or not self.contact.isprintable():
            raise UsageError(f"web: contact must be printable ASCII, found {self.contact!r}")

    @property
    def budget(self) -> Budget:
        """The budget for searches."""
        return Budget(usd=self.usd, calls=self.searches)

    @property
    def folder(self) -> Path:
        """The folder in which searches and pages are recorded."""
        return Path(self.record) if self.record else artifacts.cache_folder()

    @property
    def user_agent(self) -> str:
        """The User-Agent: this program, never a browser."""
        return f"hf-mner-aug/{__version__} (research on data augmentation{'; ' * bool(self.contact)}{self.contact})"


@contextlib.contextmanager
def replaying() -> Iterator[None]:
    """Answer only from the records of the web and of endpoints, in this process and those it starts."""
    before = {name: os.environ.get(name) for name in (SETTINGS, ENDPOINT_SETTINGS)}
    os.environ |= {name: ",".join(filter(None, [value, "replay=true"])) for name, value in before.items()}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def web_settings(text: str | None = None) -> Web:
    """Return the settings in a text as ``delay=0.5,concurrency=16``, by default in the environment.

    Raises:
        UnknownName: there is no such setting.
        UsageError: one is not NAME=VALUE, does not convert or is out of range.
    """
    chosen = os.environ.get(SETTINGS, "") if text is None else text
    return Web(**parse_settings(chosen, typing.get_type_hints(Web), SETTINGS))


class Refused(Exception):
    """A rejected page or picture: ``reason`` is one of ``search.WEB_REASONS``, or ``unreadable``."""

    def __init__(self, reason: str, detail: str = "", seconds: float = 0.0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.seconds = reason, excerpt(detail), seconds


@dataclass(frozen=True)
class Fetched:
    """A file as received and decompressed: its address after redirects, its Content-Type, its bytes."""

    url: str
    kind: str
    body: bytes


# ---------------------------------------------------------------- addresses


def is_public(address: str) -> bool:
    """Return whether an IP address is public; one that embeds an IPv4 address is as public as that one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped or ip in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.sixtofour or ip.teredo or ip not in GLOBAL_UNICAST:  # tunnels to an IPv4 address that is not checked
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


class _Checked(httpcore2.AsyncNetworkBackend):
    """Connects to public addresses only: it resolves the name and connects to the address that it has checked."""

    def __init__(self, allow: str) -> None:
        self._allow = allow
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host}: {error}") from error
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        for address in addresses:
            if address != self._allow and not (is_public(address) and port in PORTS):
                raise Refused("forbidden_address", f"{host} port {port} is {address}")
        for i, address in enumerate(addresses):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if i == len(addresses) - 1:
                    raise
        raise httpcore2.ConnectError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


# ---------------------------------------------------------------- one request after the other


@dataclass
class _Host:
    """The state of a host: the lock for the next request, its time, and whether the host was unreachable last time."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    next: float = 0.0
    crawl_delay: float = 0.0
    away: bool = False


class Session:
    """Requests of one event loop, with the connections they share.

    async with open_session(web) as session:
        page = await session.get("https://twitter.com/a/status/1", limit=2 << 20)
    """

    def __init__(self, web: Web, pool: httpcore2.AsyncConnectionPool) -> None:
        self.web = web
        self.counts: Counter[str] = Counter()
        self._pool = pool
        self._slots = asyncio.Semaphore(web.concurrency)
        self._hosts: dict[str, _Host] = {}
        self._robots: dict[str, asyncio.Task[Protego | None]] = {}

    async def get(self, url: str, *, limit: int, robots: bool = True) -> Fetched:
        """Return a file of at most ``limit`` bytes, compressed or decompressed.

        Raises:
            Refused: the file is rejected, with the reason.
        """
        seen: set[str] = set()
        while True:
            target = _parse(url)
            if str(target) in seen or len(seen) > MAX_REDIRECTS:
                raise Refused("redirect_loop", f"{len(seen)} redirects, the last to {target}")
            seen.add(str(target))
            if robots:
                await self._ask_robots(target)
            answer = await self._until_reached(target, limit)
            if isinstance(answer, Fetched):
                return answer
            url = answer

    async def _ask_robots(self, target: httpx2.URL) -> None:
        """Check that robots.txt admits this program (RFC 9309: a missing file does, an unreadable one does not)."""
        origin = str(target.copy_with(raw_path=b"/", fragment=None))
        if origin not in self._robots:
            self._robots[origin] = asyncio.create_task(self._read_robots(origin))
        rules = await asyncio.shield(self._robots[origin])
        if rules is None:
            return
        # Protego before 0.7 also returns delays that are negative, infinite or NaN.
        delay = rules.crawl_delay(self.web.user_agent) or 0.0
        self._host(target).crawl_delay = min(MAX_CRAWL_DELAY, delay) if 0 <= delay < math.inf else 0.0
        if not rules.can_fetch(str(target), self.web.user_agent):
            raise Refused("robots", f"robots.txt of {target.host}")

    async def refuses_all(self, site: str) -> bool:
        """Return whether robots.txt refuses every page of a host, or cannot be read; False if the host does not answer.

        A host is asked once, without retries.
        """
        origin = _parse(SITE.format(site))
        self._host(origin).away = True
        try:
            text = await self._robots_text(str(origin))
        except Refused as refused:
            return refused.reason == "robots"
        if text is None:
            return False
        allowed = [path for field, path in _fields(text) if field == "allow"]
        if len(allowed) > MAX_ALLOWED:
            return False
        rules = _parse_robots(text)
        samples = ["/", *(path.replace("*", "").rstrip("$") for path in allowed if path.startswith("/"))]
        return not any(rules.can_fetch(str(origin)[:-1] + path, self.web.user_agent) for path in samples)

    async def _read_robots(self, origin: str) -> "Protego | None":
        text = await self._robots_text(origin)
        return None if text is None else _parse_robots(text)

    async def _robots_text(self, origin: str) -> str | None:
        """Return robots.txt of a host, None if it has none."""
        try:
            file = await self.get(f"{origin}robots.txt", limit=MAX_ROBOTS, robots=False)
        except Refused as refused:
            if refused.reason in ("gone", "private"):
                return None
            if refused.reason in ("unreachable", "forbidden_address"):
                raise
            raise Refused("robots", f"robots.txt of {origin}: {refused}") from refused
        text = file.body.decode("utf-8", "replace")
        if _rules(text) > MAX_ROBOTS_RULES:
            raise Refused("robots", f"robots.txt of {origin}: more than {MAX_ROBOTS_RULES:,} rules of agents")
        return text

    def _host(self, target: httpx2.URL) -> _Host:
        return self._hosts.setdefault(target.host, _Host())

    async def _until_reached(self, target: httpx2.URL, limit: int) -> Fetched | str:
        """Return the file, or its new address; retry an unreachable or busy host unless it was unreachable before."""
        host = self._host(target)
        for attempt in range(TRIES):
            try:
                answer = await self._once(target, limit)
            except Refused as refused:
                if refused.reason != "unreachable":
                    host.away = False
                    raise
                delay = max(BACKOFF_SECONDS * 2**attempt, refused.seconds)
                if host.away or attempt == TRIES - 1 or delay > MAX_WAIT:
                    host.away = True
                    raise
                self.counts["retries"] += 1
                await asyncio.sleep(delay)
            else:
                host.away = False
                return answer
        raise AssertionError

    async def _once(self, target: httpx2.URL, limit: int) -> Fetched | str:
        await self._turn(target)
        try:
            self.counts["requests"] += 1
            async with asyncio.timeout(self.web.timeout):
                return await self._request(target, limit)
        except TimeoutError as error:
            raise Refused("too_slow", f"no whole answer in {self.web.timeout:g} s") from error
        except (httpcore2.ReadTimeout, httpcore2.WriteTimeout) as error:
            raise Refused("too_slow", f"no whole answer in {self.web.timeout:g} s") from error
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
            raise Refused("unreachable", f"{target.host}: {type(error).__name__} {error}") from error
        finally:
            self._slots.release()

    async def _request(self, target: httpx2.URL, limit: int) -> Fetched | str:
        url = httpcore2.URL(
            scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path or b"/"
        )
        headers: dict[bytes | str, bytes | str] = {
            "Host": target.netloc.decode("ascii"),
            "User-Agent": self.web.user_agent,
            "Accept": "text/html,image/*;q=0.9,text/plain;q=0.8",
            "Accept-Encoding": ENCODINGS,
        }
        wait = dict.fromkeys(("read", "write", "pool"), self.web.timeout)
        wait["connect"] = min(CONNECT_SECONDS, self.web.timeout)
        async with self._pool.stream("GET", url, headers=headers, extensions={"timeout": wait}) as response:
            found = httpx2.Headers(response.headers)
            if response.status in (301, 302, 303, 307, 308) and "location" in found:
                try:
                    return str(target.join(found["location"]))
                except (httpx2.InvalidURL, ValueError) as error:
                    raise Refused("redirect_loop", f"to an invalid address: {found['location']!r}") from error
            _check_status(response.status, found)
            try:
                body = await read_body(response.aiter_stream(), found, limit)
            except UnusableBody as error:
                raise Refused(error.reason, error.detail) from error
            return Fetched(str(target), found.get("content-type", ""), body)

    async def _turn(self, target: httpx2.URL) -> None:
        """Wait until a request to a host may start, and take one of the slots."""
        host = self._host(target)
        async with host.turn:
            await self._slots.acquire()
            try:
                delay = max(self.web.delay, host.crawl_delay)
                if delay:
                    wait = await asyncio.to_thread(_reserve, target.host, delay)
                    await asyncio.sleep(wait)
            except BaseException:
                self._slots.release()
                raise


def _reserve(host: str, delay: float) -> float:
    """Return the seconds until the next request to a host may start, and reserve that time.

    The reservation is a file, so that the processes of a machine share one rate.
    """
    from filelock import FileLock

    path = artifacts.cache_folder() / "hosts" / "".join(c if c.isalnum() or c in ".-" else "_" for c in host)[:200]
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")).acquire(poll_interval=0.01):
        now = time.time()
        with contextlib.suppress(OSError, ValueError):
            last = float(path.read_text())
            if last < now + 100 * delay:  # otherwise the clock was set back
                now = max(now, last + delay)
        path.write_text(repr(now))
    return max(0.0, now - time.time())


def _fields(robots: str) -> list[tuple[str, str]]:
    """Return the fields of robots.txt in small letters, with their values."""
    parts = (line.partition("#")[0].partition(":") for line in robots.splitlines())
    return [(field.strip().lower(), value.strip()) for field, _, value in parts]


def _rules(robots: str) -> int:
    """Return the most rules that a parser may keep: each rule for each agent."""
    fields = Counter(field.startswith("user") for field, _ in _fields(robots))
    return fields[True] * fields[False]


def _parse_robots(text: str) -> "Protego":
    rules: Protego = need("protego", extra="web").Protego.parse(text)
    return rules


def _parse(url: str) -> httpx2.URL:
    try:
        target = httpx2.URL(url).copy_with(fragment=None, userinfo=b"")
        known = target.scheme in ("http", "https") and bool(target.host)
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise Refused("forbidden_address", f"not an address: {url!r}") from error
    if not known:
        raise Refused("forbidden_address", f"neither http nor https: {url!r}")
    return target


def _check_status(status: int, headers: httpx2.Headers) -> None:
    if status in (401, 403):
        raise Refused("private", f"HTTP {status}")
    if status == 429 or status >= 500:
        raise Refused("unreachable", f"HTTP {status}", retry_after(headers))
    if status != 200:
        raise Refused("gone", f"HTTP {status}")


@contextlib.asynccontextmanager
async def open_session(web: Web) -> AsyncIterator[Session]:
    """Yield a session whose connections are closed at the end."""
    backend = _Checked(web.allow)
    async with httpcore2.AsyncConnectionPool(
        max_connections=web.concurrency, keepalive_expiry=10.0, network_backend=backend
    ) as pool:
        yield Session(web, pool)
