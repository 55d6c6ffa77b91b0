"""Posts on the web: search results, the text of pages, their pictures; all of it recorded by its address.

A page has its post in tags for link previews (``og:``, ``twitter:``), or in its first article. A page without either
shows a login instead. The record holds the text read from a page, and its pictures decoded and encoded again, without
other content of their files (locations, hidden programs).
"""

import asyncio
import datetime
import hashlib
import io
import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from hf_mner_aug.exceptions import Corrupt, DataError, EndpointError
from hf_mner_aug.models.endpoint import Endpoint
from hf_mner_aug.models.endpoint.protocol import Found
from hf_mner_aug.models.search.engine import IMAGES, Hit, Query
from hf_mner_aug.models.search.fetching import Fetched, Refused, Session, Web, open_session
from hf_mner_aug.models.search.serper import KEY_ENV, SERPER, Serper, page_id
from hf_mner_aug.need import need
from hf_mner_aug.posts.pictures import JPEG_QUALITY, open_rgb
from hf_mner_aug.posts.texts import too_long
from hf_mner_aug.schema import EncodedImage
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.picture_files import Allowed, FileRefused, read_picture_file
from hf_mner_aug.transform import Reject
from hf_mner_aug.untrusted.dates import parse_date, spell_date
from hf_mner_aug.untrusted.printable import excerpt

if TYPE_CHECKING:
    from lxml.html import HtmlElement

ANSWERED_LATER = ("login_wall", "too_slow", "unreachable")  # retried by the next call, such as a run's next part
IN_A_ROW = 20  # pages without a usable answer, after which the run stops
MAX_PAGE = 2 << 20  # bytes
MAX_IMAGE = 10 << 20
MAX_PIXELS = 25_000_000
LEAST_SIDE = 64  # pixels; anything smaller is an icon
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
# Without scripts and styles, a page has its tags at the beginning, and they are short. Parsers take time quadratic in
# the size of some pages: this limits it to seconds.
MAX_MARKUP = 128 << 10  # characters
MAX_KIND = 256  # characters of a Content-Type that are read
_LONG_TAG = re.compile(r"<[^<>]{16384}")
_AVATAR = re.compile(
    r"profile_images|profile_banners|default_profile|avatar|gravatar\.com|//abs\.twimg\.com/|default[-_]?(card|image)"
    r"|placeholder|[/_-]logo\b",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"/(log-?in|sign-?in|account/access|i/flow/(login|signup)|accounts/login)\b", re.IGNORECASE)
_CHARSET = re.compile(rb"""charset\s*+=\s*+["']?+\s*+([\w.:-]++)""", re.IGNORECASE)
_ENCODING = re.compile(r"utf-?8|utf-?16.*|(iso|windows|latin|cp|koi8|gb|big5|euc|shift|us-?ascii|ascii|mac)[\w-]*")

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """The post on a page: its address after redirects, its text, its pictures' addresses, at most four."""

    url: str
    text: str
    image_urls: tuple[str, ...] = ()
    date: str | None = None
    licence: str | None = None


# ---------------------------------------------------------------- pages


def read_page(fetched: Fetched) -> Page:
    """Return the post on a page: ``og:description``, ``twitter:description`` or the first article's text.

    Raises:
        Refused: not_html, wrong_charset, login_wall or no_text.
    """
    lxml_html, etree = need("lxml.html", extra="web"), need("lxml.etree", extra="web")
    if _LOGIN.search(urlsplit(fetched.url).path):
        raise Refused("login_wall", f"led to {fetched.url}")
    markup = _markup(fetched)
    parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=False)
    try:
        tree: HtmlElement = lxml_html.document_fromstring(markup.encode(), parser=parser)
    except (etree.ParserError, ValueError) as error:
        raise Refused("login_wall", "an empty page") from error
    except etree.LxmlError as error:
        raise Refused("not_html", str(error)) from error
    tags: dict[str, list[str]] = {}
    for meta in tree.iter("meta"):
        name = (meta.get("property") or meta.get("name") or "").strip().lower()
        if name.startswith(("og:", "twitter:", "article:")) and (content := _line(meta.get("content") or "")):
            tags.setdefault(name, []).append(content)
    article = next(tree.iter("article"), None)
    text = next((tags[name][0] for name in ("og:description", "twitter:description") if name in tags), "")
    text = text or (_line(" ".join(article.itertext())) if article is not None else "")
    if (excess := too_long(text)) is not None:
        raise Refused("too_large", f"its text is of {excess}")
    if not text:
        if article is None and not any(name.startswith(("og:", "twitter:")) for name in tags):
            raise Refused("login_wall", "neither og: tags nor an article")
        raise Refused("no_text", f"only {', '.join(sorted(tags)) or 'an empty article'}")
    if text[0] == "“" and text[-1] == "”":  # the form of a post in Twitter's og:description
        text = text[1:-1].strip()
    licences = (a.get("href") for a in tree.iter("a", "link") if "license" in (a.get("rel") or "").split())
    addresses = (_address(fetched.url, href) for href in licences if href)
    licence = next((url for url in addresses if url.startswith(("http://", "https://"))), None)
    times = [*tags.get("article:published_time", ()), *(time.get("datetime") or "" for time in tree.iter("time"))]
    return Page(fetched.url, text, _images(fetched.url, tags), next(filter(None, map(_date, times)), None), licence)


def _markup(fetched: Fetched) -> str:
    """Return a page's beginning as text, without scripts, styles and comments."""
    kind = fetched.kind.partition(";")[0].strip().lower()
    if kind not in ("", "text/html", "application/xhtml+xml"):
        raise Refused("not_html", kind)
    text = _decode(fetched.body, fetched.kind).replace("\0", "")
    if not kind and not text.lstrip()[:1] == "<":
        raise Refused("not_html", "no Content-Type, and no markup")
    for begin, end in (("<!--", "-->"), ("<script", "</script"), ("<style", "</style"), ("<template", "</template")):
        text = _without(text, begin, end)
    text = text[:MAX_MARKUP]
    if _LONG_TAG.search(text):
        raise Refused("not_html", "a tag of more than 16,384 characters")
    return text


def _decode(body: bytes, kind: str) -> str:
    """Return a page's text: as UTF-8 if it decodes, which is no accident, otherwise as header or page declare."""
    declared = _CHARSET.finditer(kind[:MAX_KIND].encode("utf-8", "replace") + body[:2048])
    named = list(dict.fromkeys(found[1].decode("ascii", "replace").lower() for found in declared))
    names = [name for name in named if _ENCODING.fullmatch(name)]
    marks = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    marked = [name for mark, name in marks.items() if body.startswith(mark)]
    order = [*marked, *names, "utf-8"] if body.isascii() or marked else ["utf-8", *names]
    for name in order:
        try:
            return body.decode(name)
        except (UnicodeError, LookupError):
            continue
    raise Refused("wrong_charset", f"declared {', '.join(named) or 'none'}, but it does not decode as that")


def _without(text: str, begin: str, end: str) -> str:
    """Return a text without each part from ``begin`` to ``end``, in any case; an unclosed part extends to the end."""
    folded = text.lower() if len(text.lower()) == len(text) else text
    kept, position = [], 0
    while (start := folded.find(begin, position)) >= 0:
        kept.append(text[position:start])
        stop = folded.find(end, start + len(begin))
        if stop < 0:
            return "".join(kept)
        close = folded.find(">", stop + len(end) - 1)
        position = close + 1 if close >= 0 else len(text)
    return "".join([*kept, text[position:]])


def _images(base: str, tags: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    for names in (("og:image", "og:image:url"), ("twitter:image", "twitter:image:src")):
        urls = (_address(base, value) for name in names for value in tags.get(name, ()))
        found = dict.fromkeys(url for url in urls if url and not _AVATAR.search(url))
        if found:
            return tuple(found)[:IMAGES]
    return ()


def _address(base: str, value: str) -> str:
    import httpx2

    try:
        return str(httpx2.URL(base).join(value))
    except (httpx2.InvalidURL, ValueError):
        return ""


def _host(url: str) -> str:
    """Return the host and port of an address, or the address if they cannot be read."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return excerpt(url, 60)


def _line(text: str) -> str:
    """Return an untrusted text in one line, encodable in UTF-8."""
    text = "".join(c if c.isprintable() or c in "\u200d\u200c\ufe0f" else " " for c in text)
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _date(text: str) -> str | None:
    """Return a page's date as a time in UTC; a day becomes its midnight."""
    found = parse_date(text.strip())
    if found is not None and not isinstance(found, datetime.datetime):
        found = datetime.datetime.combine(found, datetime.time())
    return spell_date(found)


# ---------------------------------------------------------------- pictures


def read_picture(body: bytes) -> tuple[bytes, str]:
    """Return a picture encoded again, and its suffix: PNG stays PNG, all else becomes JPEG.

    Raises:
        Refused: bad_image.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(body), formats=PICTURE_FORMATS) as header:
            size, is_png = header.size, header.format == "PNG"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused("bad_image", str(error)) from error
    if size[0] * size[1] > MAX_PIXELS or min(size) < LEAST_SIDE:
        raise Refused("bad_image", f"{size[0]}x{size[1]} pixels")
    try:
        picture = open_rgb({"bytes": body, "path": None})
    except DataError as error:
        raise Refused("bad_image", str(error)) from error
    file = io.BytesIO()
    if is_png:
        picture.save(file, "PNG", compress_level=4)
    else:
        picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue(), ".png" if is_png else ".jpg"


# ---------------------------------------------------------------- many at a time, each once


def fetch_pages(urls: Sequence[str], web: Web) -> list[Page | Reject]:
    """Return the post on each page, in the order of the addresses, or why there is none.

    Raises:
        EndpointError: 20 pages in a row show a login or cannot be reached; with ``replay``, one is not recorded.
        Corrupt: a record is damaged.
    """
    need("lxml.html", extra="web")

    async def make(session: Session, url: str, path: Path) -> dict[str, Any]:
        fetched = await _get(session, url, MAX_PAGE, "not_html")
        return {"page": asdict(await asyncio.to_thread(_reading, read_page, fetched, "not_html"))}

    def read(record: dict[str, Any], path: Path) -> Page:
        page = record["page"]
        return Page(**{**page, "image_urls": tuple(page["image_urls"])})

    return _all(urls, web, "pages", make, read)


def fetch_pictures(urls: Sequence[str], web: Web) -> list[EncodedImage | Reject]:
    """Return the picture at each address, or why there is none; raises as ``fetch_pages``."""
    one_at_a_time = asyncio.Lock()  # a picture takes up to 100 MB while it is decoded

    async def make(session: Session, url: str, path: Path) -> dict[str, Any]:
        fetched = await _get(session, url, MAX_IMAGE, "bad_image")
        async with one_at_a_time:
            data, ending = await asyncio.to_thread(_reading, read_picture, fetched.body, "bad_image")
        await asyncio.to_thread(artifacts.write_atomically, path.with_suffix(ending), data)
        return {"file": path.with_suffix(ending).name}

    def read(record: dict[str, Any], path: Path) -> EncodedImage:
        file = path.with_name(record["file"])
        try:
            return {"bytes": read_picture_file(file, Allowed.of(path.parent)), "path": file.name}
        except FileRefused as error:
            raise Corrupt(f"{error}: delete {path} and run again") from error

    return _all(urls, web, "pictures", make, read)


async def _get(session: Session, url: str, limit: int, unreadable: str) -> Fetched:
    """Return a file; ``unreadable`` is the reason if its body cannot be decompressed."""
    try:
        return await session.get(url, limit=limit)
    except Refused as refused:
        reason = unreadable if refused.reason == "unreadable" else refused.reason
        raise Refused(reason, refused.detail, refused.seconds) from refused


def _reading(read: Callable[[S], T], came: S, reason: str) -> T:
    """Return the result of reading a file; a value without a Python equivalent ends this file, not the run."""
    try:
        return read(came)
    except (ValueError, OverflowError, RecursionError) as error:
        raise Refused(reason, f"{type(error).__name__}: {error}") from error


def _all(
    urls: Sequence[str],
    web: Web,
    shelf: str,
    make: Callable[[Session, str, Path], Awaitable[dict[str, Any]]],
    read: Callable[[dict[str, Any], Path], T],
) -> list[T | Reject]:
    """Return the record of each address, after fetching those that are not recorded yet."""
    paths = {url: _record_path(web, shelf, url) for url in urls}
    records = {url: _read_record(path, url) for url, path in paths.items()}
    missing = [url for url, record in records.items() if record is None]
    if web.replay and missing:
        raise EndpointError(
            f"{missing[0]} is not recorded in {web.folder}: run once without replay, or name its folder, record=DIR",
            "not_recorded",
        )
    if not web.replay:
        later = [url for url, record in records.items() if record and record.get("reason") in ANSWERED_LATER]
        wanted = set(missing) | set(later)
        records |= _run(_fetch([url for url in records if url in wanted], web, paths, make))
    found: dict[str, T | Reject] = {}
    for url, record in records.items():
        assert record is not None
        if "reason" in record:
            found[url] = Reject(record["reason"], f"{url}: {record['detail']}")
        else:
            try:
                found[url] = read(record, paths[url])
            except (KeyError, TypeError) as error:
                raise Corrupt(f"{paths[url]} is damaged: delete it and run again") from error
    return [found[url] for url in urls]


async def _fetch(
    urls: Sequence[str],
    web: Web,
    paths: Mapping[str, Path],
    make: Callable[[Session, str, Path], Awaitable[dict[str, Any]]],
) -> dict[str, dict[str, Any]]:
    """Fetch and record; stop after too many unusable answers in a row, in this order."""
    if not urls:
        return {}

    async def one(url: str) -> dict[str, Any]:
        try:
            record = await make(session, url, paths[url])
        except Refused as refused:
            record = {"reason": refused.reason, "detail": refused.detail}
        record = {"url": url, **record}
        data = json.dumps(record, sort_keys=True, indent=1).encode()
        await asyncio.to_thread(artifacts.write_atomically, paths[url], data)
        return record

    records: dict[str, dict[str, Any]] = {}
    async with open_session(web) as session:
        tasks = {url: asyncio.create_task(one(url)) for url in urls}
        try:
            for url, task in tasks.items():
                records[url] = await task
                _check_streak(records[url], web)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            _count(**session.counts)
    return records


_COUNTS: dict[str, float] = defaultdict(float)  # of this process
_STREAK: Counter[str] = Counter()  # unusable answers since the last usable one, by reason


def _check_streak(record: Mapping[str, Any], web: Web) -> None:
    reason = record.get("reason")
    if reason not in ("login_wall", "robots", "unreachable"):
        _STREAK.clear()
        return
    _STREAK[reason] += 1
    if _STREAK[reason] < IN_A_ROW:
        return
    _STREAK.clear()
    host = _host(record["url"])
    if reason == "login_wall":
        what = (
            f"{IN_A_ROW} pages in a row show a login instead of a post, the last on {host}: take posts from an export, "
            "indexed with hf-mner-aug index"
        )
    elif reason == "robots":
        what = (
            f"robots.txt refuses {IN_A_ROW} pages in a row, the last on {host}: name other sites, or take posts from "
            "an export, indexed with hf-mner-aug index"
        )
    else:
        what = f"{IN_A_ROW} pages in a row cannot be reached, the last on {host} ({record['detail']})"
    raise EndpointError(f"{what}; what is finished is kept, run again to go on", str(reason))


_REFUSING: dict[tuple[Web, str], bool] = {}  # whether robots.txt of a site refuses all, as this process has read it


def check_sites(sites: Sequence[str], web: Web) -> None:
    """Read robots.txt of sites, each once in this process, before searches for their pages are paid for.

    A site that does not answer within ``web.timeout`` passes: its pages may be elsewhere, and are asked for later.
    Warns of a site that refuses all its pages.

    Raises:
        EndpointError: every site does.
    """
    new = [site for site in sites if (web, site) not in _REFUSING]
    if new:
        _REFUSING.update(((web, site), refused) for site, refused in _run(_ask_sites(new, web)).items())
    refusing = [site for site in sites if _REFUSING[web, site]]
    if not refusing:
        return
    names = ", ".join(refusing[:3]) + f" and {len(refusing) - 3} others" * (len(refusing) > 3)
    what = f"robots.txt of {names} refuses all pages to this program, or cannot be read"
    if len(refusing) == len(sites):
        raise EndpointError(
            f"{what}: no search was paid for; name other sites, or take posts from an export, indexed with hf-mner-aug "
            "index",
            "robots",
        )
    if any(site in new for site in refusing):
        warnings.warn(f"{what}: searches will find pages there that are not read: leave it out of sites", stacklevel=3)


async def _ask_sites(sites: Sequence[str], web: Web) -> dict[str, bool]:
    """Return whether each site refuses all its pages; it takes no longer than one request may."""
    async with open_session(web) as session:
        tasks = {site: asyncio.create_task(session.refuses_all(site)) for site in sites}
        done, late = await asyncio.wait(tasks.values(), timeout=web.timeout)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return {site: task in done and task.result() for site, task in tasks.items()}


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine, also for a caller inside an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _record_path(web: Web, shelf: str, url: str) -> Path:
    digest = hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()
    return web.folder / shelf / digest[:2] / f"{digest}.json"


def _read_record(path: Path, url: str) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
        if record["url"] != url:
            raise ValueError(url)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Corrupt(f"{path} is damaged: delete it and run again") from error
    return dict(record)


# ---------------------------------------------------------------- search and pages together


@dataclass(frozen=True, kw_only=True)
class WebSearch:
    """Posts that a search engine finds, read from their pages: a ``Searcher``.

    Args:
        url: the engine's address.
        run: the name under which the budget is counted.
        web: this machine's access to the web.
    """

    web: Web
    url: str = SERPER
    run: str = "web"

    @property
    def serper(self) -> Serper:
        """The engine's client."""
        web = self.web
        return Serper(
            endpoint=Endpoint(
                base_url=self.url,
                model="serper" if self.url == SERPER else str(urlsplit(self.url).hostname),
                key_env=KEY_ENV,
                timeout_s=30.0,
                max_concurrency=web.concurrency,
                price_search=web.price,
                budget=web.budget,
                run=self.run,
                responses=web.folder / "responses",
                replay=web.replay,
            )
        )

    def search(self, query: Query, limit: int = 10) -> list[Hit]:
        """Return the posts found, best first; raises as ``find``."""
        return [hit for hit in self.find([query], limit)[0] if isinstance(hit, Hit)]

    def find(self, queries: Sequence[Query], limit: int = 10) -> list[list[Hit | Reject]]:
        """Return, for each query, the post on each page found, best first, or why there is none.

        Pictures are not fetched yet: ``image_urls`` has their addresses. Before a search is paid for, robots.txt of the
        sites is read.

        Raises:
            EndpointError: the engine or the web cannot be used any more, earlier answers are recorded; or robots.txt
                refuses every page of all sites.
            Corrupt: a record is damaged.
        """
        check_sites(sorted({site for query in self.serper.unpaid(queries, limit) for site in query.sites}), self.web)
        answers = self.serper.find(queries, limit)
        _count(searches=len(answers))
        for answer in answers:
            if isinstance(answer, Found):
                _count(searches_on_record=answer.cached, search_retries=answer.usage.retries, usd=answer.usage.usd)
        urls = dict.fromkeys(r.url for answer in answers if isinstance(answer, Found) for r in answer.results)
        pages = dict(zip(urls, fetch_pages(list(urls), self.web), strict=True))
        _count(pages=len(pages))
        return [
            [_hit(pages[result.url], rank) for rank, result in enumerate(answer.results)]
            if isinstance(answer, Found)
            else [Reject("search_failed", f"{answer.reason}: {answer.detail}")]
            for answer in answers
        ]


def fetch_posts(urls: Sequence[str], web: Web, most: int = IMAGES) -> list[Hit | Reject]:
    """Return the post at each address with its first pictures, or why it is incomplete; raises as ``fetch_pages``."""
    hits = [_hit(page, 0) for page in fetch_pages(urls, web)]
    images = iter(fetch_images([hit.image_urls[:most] for hit in hits if isinstance(hit, Hit)], web))

    def whole(hit: Hit) -> Hit | Reject:
        found = next(images)
        return found if isinstance(found, Reject) else replace(hit, images=found)

    return [whole(hit) if isinstance(hit, Hit) else hit for hit in hits]


def fetch_images(urls: Sequence[Sequence[str]], web: Web) -> list[tuple[EncodedImage, ...] | Reject]:
    """Return each post's pictures that can be fetched, or why none of them can; raises as ``fetch_pages``."""
    wanted = list(dict.fromkeys(url for of_post in urls for url in of_post))
    pictures = dict(zip(wanted, fetch_pictures(wanted, web), strict=True))
    return [_usable([pictures[url] for url in of_post]) for of_post in urls]


def _usable(pictures: Sequence[EncodedImage | Reject]) -> tuple[EncodedImage, ...] | Reject:
    images = tuple(picture for picture in pictures if not isinstance(picture, Reject))
    return images or next((picture for picture in pictures if isinstance(picture, Reject)), ())


def _hit(page: Page | Reject, rank: int) -> Hit | Reject:
    if isinstance(page, Reject):
        return page
    return Hit(
        id=page_id(page.url),
        text=page.text,
        source=str(urlsplit(page.url).hostname),
        score=-float(rank),
        image_urls=page.image_urls,
        url=page.url,
        date=page.date,
        licence=page.licence,
    )


def _count(**counts: float) -> None:
    for name, n in counts.items():
        _COUNTS[name] += n


def usage() -> dict[str, float]:
    """Return the counts of this process's use of the web.

    ``usd`` is the original cost of the answers, including those that were on record.
    """
    return {name: round(n, 6) for name, n in sorted(_COUNTS.items()) if n}
