"""An OpenAI-compatible endpoint on 127.0.0.1 for tests: chat, pictures and edits, with faults on demand.

    with EndpointServer(key="sk-…") as server:
        server.fault("status", status=429, headers={"Retry-After": "1"}, times=3)
        Endpoint(base_url=server.url, model="m").chat([{"role": "user", "content": "hello"}], seed=1)
        assert len(server.log) == 4

A chat is answered with ``echo: `` and the user's text, in as many tokens as words; a picture is drawn from its prompt
and seed. Every wait ends when the server is stopped. The server may be sent the keys that ``allowed`` names, as if the
user had named it; with none, it is a stranger's. ``refusal`` is a function that returns the status and the body with
which a request is refused, or None.
"""

import base64
import hashlib
import io
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from hf_mner_aug.untrusted import hosts


@dataclass
class Request:
    """A request as it came."""

    path: str
    headers: dict[str, str]  # by their names in small letters
    raw: bytes
    body: dict[str, Any] = field(default_factory=dict)  # of JSON


@dataclass
class Fault:
    """A fault of the next ``times`` requests whose body matches.

    status: answer so, with ``body`` or the API's words; body: answer 200 with these bytes; change: let a function edit
    the right answer; delay: answer after ``seconds``; hang: for ``seconds`` send nothing; drip, drip_headers: send the
    answer, or its headers, byte by byte; cut: close the connection in the middle of the body; drop: before the headers.
    """

    kind: str
    match: str = ""
    times: int = 10**9
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    seconds: float = 0.0
    change: Any = None


class EndpointServer:
    """The server, its log of requests, and its faults."""

    def __init__(
        self,
        *,
        key: str | None = None,
        models: tuple[str, ...] = (),
        credit: int | None = None,
        allowed: tuple[str, ...] = ("HF_MNER_AUG_API_KEY",),
    ):
        self.key, self.models, self.credit = key, models, credit
        self.log: list[Request] = []
        self.peak = 0  # requests that waited for their answer at a time, at most
        self.faults: list[Fault] = []
        self.refusal: Callable[[dict[str, Any]], tuple[int, Any] | None] = lambda body: None
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.open = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.endpoint = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        for variable in allowed:
            hosts.allow(self.url, variable)

    def __enter__(self) -> "EndpointServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def fault(self, kind: str, **options: Any) -> None:
        """Let the next requests that match go wrong; see Fault."""
        with self.lock:
            self.faults.append(Fault(kind, **options))

    def take_fault(self, request: Request) -> Fault:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, request.raw.decode("latin-1")):
                    fault.times -= 1
                    return fault
        return Fault("")

    def say(self, body: dict[str, Any]) -> str:
        """Return what the model answers to a chat; a test may have it say something else."""
        return json.dumps({"echo": said(body)}) if "response_format" in body else f"echo: {said(body)}"

    def texts(self) -> list[str]:
        """Return what users said in the chats so far, in the order they came."""
        return [said(request.body) for request in self.log]


def said(body: dict[str, Any]) -> str:
    """Return the text of the last message of a chat."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def drawing(prompt: str, seed: int, size: str) -> bytes:
    """Return a PNG of one colour, which prompt and seed decide."""
    colour = hashlib.sha256(f"{seed} {prompt}".encode()).digest()
    buffer = io.BytesIO()
    Image.new("RGB", tuple(map(int, size.split("x"))), tuple(colour[:3])).save(buffer, "PNG")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *_: object) -> None:
        """Stay silent: the log is server.log."""

    def do_POST(self) -> None:
        server: EndpointServer = self.server.endpoint  # type: ignore[attr-defined]
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, raw)
        if self.headers["Content-Type"] == "application/json":
            request.body = json.loads(raw)
        with server.lock:
            server.log.append(request)
            server.open += 1
            server.peak = max(server.peak, server.open)
        fault = server.take_fault(request)
        if fault.kind in ("delay", "hang"):
            server.closing.wait(fault.seconds)
        with server.lock:
            server.open -= 1  # before the client can know
        try:
            self.serve(server, request, fault)
        except OSError:
            self.close_connection = True  # the client gave up

    def serve(self, server: EndpointServer, request: Request, fault: Fault) -> None:
        if fault.kind in ("drop", "hang"):
            self.close_connection = True
            return
        status, body = self.answer(server, request)
        if fault.kind == "change":
            fault.change(body)
        data = json.dumps(body).encode()
        if fault.kind == "status":
            status = fault.status
            data = json.dumps({"error": {"message": f"status {status} as asked"}}).encode()
        if fault.kind in ("status", "body") and fault.body is not None:
            data = fault.body
        head = f"HTTP/1.1 {status} as told\r\n"
        for name, value in ({"Content-Type": fault.content_type, "Content-Length": len(data)} | fault.headers).items():
            head += f"{name}: {value}\r\n"
        whole = head.encode() + b"\r\n"
        if fault.kind == "drip_headers":
            self.drip(server, whole)
        self.wfile.write(whole)
        if fault.kind == "drip":
            self.drip(server, data)
        elif fault.kind == "cut":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        else:
            self.wfile.write(data)

    def drip(self, server: EndpointServer, data: bytes) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            if server.closing.wait(0.05):
                return

    def answer(self, server: EndpointServer, request: Request) -> tuple[int, dict[str, Any]]:
        """Return the right answer, or the API's refusal."""
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if server.key is not None and given != server.key:
            return 401, {"error": {"message": f"Incorrect API key provided: {given}", "code": "invalid_api_key"}}
        body = request.body
        refused = server.refusal(body)
        if refused is not None:
            return refused
        if server.models and body.get("model") not in server.models:
            return 404, {"error": {"message": f"The model `{body.get('model')}` does not exist"}}
        with server.lock:
            if server.credit is not None:
                server.credit -= 1
                if server.credit < 0:
                    return 402, {"error": {"message": "Insufficient credits"}}
        if self.path == "/v1/chat/completions":
            return 200, self.chat(body)
        if self.path == "/v1/images/generations":
            return 200, self.pictures(drawing(body["prompt"], body.get("seed", 0), body["size"]))
        if self.path == "/v1/images/edits":
            # The picture comes back as it is.
            return 200, self.pictures(re.split(rb"\r\n\r\n|\r\n--", request.raw.partition(b'name="image"')[2])[1])
        return 404, {"detail": "Not Found"}

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        text = self.server.endpoint.say(body)  # type: ignore[attr-defined]
        tokens = {"prompt_tokens": len(said(body).split()), "completion_tokens": len(text.split())}
        message = {"role": "assistant", "content": text}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {**tokens, "total_tokens": sum(tokens.values())},
        }

    def pictures(self, data: bytes) -> dict[str, Any]:
        return {"created": 0, "data": [{"b64_json": base64.b64encode(data).decode()}]}
