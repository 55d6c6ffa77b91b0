"""A small web on 127.0.0.1 for tests: a search API of Serper's shape, and pages of posts, good and hostile.

    with WebServer(texts) as server:
        serper = WebSearch(web=Web(delay=0, allow="127.0.0.1"), url=server.url)

Page n holds text n; ``KINDS[n % len(KINDS)]`` says what is wrong with it, so that each kind is on many pages. A second
listener, on 127.0.0.2, stands for an address inside: ``server.trapped`` is whoever connected to it. Every wait ends
when the server is stopped.
"""

import gzip
import html
import io
import json
import re
import socket
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from hf_mner_aug.untrusted import hosts

INSIDE = "127.0.0.2"
# What becomes of a page of each kind: None is a post.
BAD = {
    "no image": "no_image",
    "avatar only": "no_image",
    "private": "private",
    "login": "login_wall",
    "scripts only": "login_wall",
    "redirect loop": "redirect_loop",
    "long redirects": "redirect_loop",
    "redirect inside": "forbidden_address",
    "redirect to a name inside": "forbidden_address",
    "redirect to a file": "forbidden_address",
    "drip": "too_slow",
    "huge": "too_large",
    "gzip bomb": "too_large",
    "endless": "too_large",
    "wrong charset": "wrong_charset",
    "not html": "not_html",
    "image bomb": "bad_image",
    "broken image": "bad_image",
    "image inside": "forbidden_address",
    "gone": "gone",
    "robots": "robots",
    "no text": "no_text",
}
GOOD = ("og", "script-laden", "twitter", "article", "four images", "latin-1", "gzip", "moved")
# 44 good pages and one of each bad kind.
KINDS = tuple([*(GOOD[i % len(GOOD)] for i in range(44)), *BAD])


@dataclass
class Request:
    """A request as it came."""

    time: float
    path: str
    headers: dict[str, str]


class WebServer:
    """The server, its log of requests, and its faults.

    latency: seconds before each answer. key, credit: what searches need. broken: (status, body, headers) of the next
    ``broken_times`` searches.
    """

    def __init__(
        self,
        texts=(),
        *,
        latency=0.0,
        key=None,
        credit=None,
        kinds=KINDS,
        robots="Disallow: /secret/",
        port=0,
        allowed=True,
    ):
        self.texts = [" ".join(text.split()) for text in texts]
        self.latency, self.key, self.credit, self.kinds = latency, key, credit, kinds
        self.robots = robots
        self.log: list[Request] = []
        self.searches: list[dict] = []
        self.trapped: list[tuple] = []
        self.broken, self.broken_times = None, 0
        self.closing, self.lock = threading.Event(), threading.Lock()
        self.open = self.peak = 0
        self._found: dict[str, frozenset[int]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.request_queue_size = 128  # with 5 a client that is not let in tries again after a second
        self._server.server_bind()
        self._server.server_activate()
        self._server.web = self
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        if allowed:
            hosts.allow(self.url, "SERPER_API_KEY")
        self._trap = socket.create_server((INSIDE, 0))
        self.inside = f"{INSIDE}:{self._trap.getsockname()[1]}"

    def __enter__(self):
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True),
            threading.Thread(target=self._wait_in_trap, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._trap.shutdown(socket.SHUT_RDWR)
        self._trap.close()
        for thread in self._threads:
            thread.join(5)

    def _wait_in_trap(self):
        while not self.closing.is_set():
            try:
                connection, address = self._trap.accept()
            except OSError:
                return
            self.trapped.append(address)
            connection.close()

    def kind(self, n):
        return self.kinds[n % len(self.kinds)]

    def page(self, n):
        """Return the address of page n."""
        folder = "secret" if self.kind(n) == "robots" else "p"
        return f"{self.url}/{folder}/status/{n}"

    def paths(self):
        return Counter(request.path for request in self.log)

    def find(self, query, most):
        """Return the pages that hold all that stands in quotes, or without any quotes none."""
        found = None
        for phrase in re.findall('"([^"]+)"', query):
            if phrase not in self._found:
                sought = f" {phrase.lower()} "
                self._found[phrase] = frozenset(i for i, t in enumerate(self.texts) if sought in f" {t.lower()} ")
            found = self._found[phrase] if found is None else found & self._found[phrase]
        return sorted(found or ())[:most]


def retold(posts, n):
    """Return n texts, each a post's mentions in the words of another one with entities of the same types."""
    by_types = {}
    for post in posts:
        if post.entities:
            by_types.setdefault(tuple(entity.type for entity in post.entities), []).append(post)
    pairs = []
    for turn in range(1, n):
        for same in by_types.values():
            pairs += [(post, same[(i + turn) % len(same)]) for i, post in enumerate(same) if turn < len(same)]
        if len(pairs) >= n:
            break
    return [" ".join(_put(post, context)) for post, context in pairs[:n]]


def _put(post, context):
    words = list(context.tokens)
    for old, new in sorted(zip(context.entities, post.entities, strict=True), key=lambda pair: -pair[0].start):
        words[old.start : old.end] = post.tokens[new.start : new.end]
    return words


def drawing(n):
    """Return a JPEG of its own for a number."""
    colours = np.random.default_rng(n).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).resize((160, 120), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", exif=b"Exif\0\0secret place"
    )
    return buffer.getvalue()


def image_bomb():
    """Return a PNG of 900 million pixels in some kB."""

    def chunk(name, data):
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    size = (30_000).to_bytes(4, "big")
    rows = zlib.compress(bytes(1_000_000), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + size + b"\x01\0\0\0\0")
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


GZIP_BOMB = gzip.compress(bytes(64 << 20), 9)


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *_):
        """Stay silent: the log is server.log."""

    def handle(self):
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client gave up

    def _begin(self):
        web = self.server.web
        with web.lock:
            web.log.append(Request(time.monotonic(), self.path, {k.lower(): v for k, v in self.headers.items()}))
            web.open += 1
            web.peak = max(web.peak, web.open)
        web.closing.wait(web.latency)
        with web.lock:
            web.open -= 1
        return web

    def send(self, body, kind="text/html; charset=utf-8", status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    # ------------------------------------------------------------ the search API

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        web = self._begin()
        if self.path != "/search":
            return self.answer({"message": "Not Found", "statusCode": 404}, 404)
        if web.key is not None and self.headers.get("X-API-KEY") != web.key:
            return self.answer({"message": "Unauthorized.", "statusCode": 403}, 403)
        with web.lock:
            if web.broken is not None and web.broken_times > 0:
                web.broken_times -= 1
                status, reply, headers = web.broken
                return self.send(reply, "application/json", status, **headers)
            if web.credit is not None:
                if web.credit <= 0:
                    return self.answer({"message": "Not enough credits", "statusCode": 400}, 400)
                web.credit -= 1
            web.searches.append(body)
        results = [
            {"title": f"Post {n}", "link": web.page(n), "snippet": web.texts[n][:60], "position": i + 1}
            for i, n in enumerate(web.find(body["q"], body["num"]))
        ]
        reply = {"searchParameters": body, "organic": results, "credits": 1}
        if not results:
            del reply["organic"]
        return self.answer(reply)

    def answer(self, value, status=200):
        self.send(json.dumps(value).encode(), "application/json", status)

    # ------------------------------------------------------------ pages and pictures

    def do_GET(self):
        web = self._begin()
        if self.path == "/robots.txt":
            return self.send(f"User-agent: *\n{web.robots}\n".encode(), "text/plain")
        found = re.fullmatch(r"/(\w+)/(?:status/)?(\d+)([/.].*)?", self.path)
        if not found:
            return self.send(
                b"<html><body>Log in to see this</body></html>", status=200 if "login" in self.path else 404
            )
        folder, n, rest = found[1], int(found[2]), found[3] or ""
        if folder == "i":
            return self.picture(web, n)
        return self.post(web, n, rest)

    def picture(self, web, n):
        kind = web.kind(n // 10)
        if kind == "image bomb":
            return self.send(image_bomb(), "image/png")
        if kind == "broken image":
            return self.send(drawing(n)[:700], "image/jpeg")
        return self.send(drawing(n), "image/jpeg")

    def post(self, web, n, rest):
        kind, text = web.kind(n), html.escape(web.texts[n])
        location = {
            "login": f"/login?next={n}",
            "redirect loop": f"/p/status/{n}/{'a' if rest == '/b' else 'b'}",
            "long redirects": f"/p/status/{n}/{len(rest) * 'x'}",
            "redirect inside": f"http://{web.inside}/admin",
            "redirect to a name inside": f"http://inside.test:{web.inside.rpartition(':')[2]}/admin",
            "redirect to a file": "file:///etc/passwd",
            "moved": f"/p/status/{n}/here",
        }.get(kind)
        if location and not (kind == "moved" and rest):
            return self.send(b"", status=302, Location=location)
        if kind in ("private", "gone"):
            return self.send(b"no", status=403 if kind == "private" else 404)
        if kind == "drip":
            return self.drip(web)
        if kind == "endless":
            return self.endless(web)
        images = [f"{web.url}/i/{n * 10 + i}.jpg" for i in range(4 if kind == "four images" else 1)]
        images = {
            "no image": [],
            "avatar only": [f"{web.url}/profile_images/{n}/me_400x400.jpg"],
            "image inside": [f"http://{web.inside}/secret.jpg"],
        }.get(kind, images)
        name = "twitter" if kind == "twitter" else "og"
        tags = "" if kind == "no text" else f'<meta property="{name}:description" content="“{text}”">'
        tags += "".join(f'<meta property="{name}:image" content="{url}">' for url in images)
        body = "<p>nothing of the post</p>"
        if kind == "article":
            tags = "".join(f'<meta property="og:image" content="{url}">' for url in images)
            body = f"<article>{text}<script>var x = '</div>'</script></article><article>another one</article>"
        if kind == "script-laden":
            evil = '<meta property="og:description" content="evil words of a script">'
            tags = f"<script>document.write('{evil}')</script>" * 500 + f"<!-- {evil} -->" + tags
        if kind == "scripts only":
            tags, body = "<script>render()</script>" * 100, "<noscript>Switch JavaScript on.</noscript>"
        page = f"<!doctype html><html><head><title>{n}</title>{tags}</head><body>{body}</body></html>"
        if kind == "huge":
            return self.send(page.encode() + b" " * (3 << 20))
        if kind == "gzip bomb":
            return self.send(GZIP_BOMB, Content_Encoding="gzip")
        if kind == "gzip":
            return self.send(gzip.compress(page.encode()), Content_Encoding="gzip")
        if kind == "wrong charset":
            return self.send(page.encode() + b"<p>caf\xe9 \x81</p>", "text/html; charset=utf-8")
        if kind == "latin-1":
            return self.send(
                page.encode("latin-1", "xmlcharrefreplace") + b"<p>caf\xe9</p>", "text/html; charset=latin-1"
            )
        return self.send(page.encode(), "application/pdf" if kind == "not html" else "text/html; charset=utf-8")

    def drip(self, web):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\n")
        while not web.closing.wait(0.05):
            self.wfile.write(b"<")

    def endless(self, web):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n")
        while not web.closing.is_set():
            self.wfile.write(b"<p>more and more</p>" * 5000)
        self.close_connection = True
