"""A Hugging Face Hub on 127.0.0.1 for tests: real HTTP, repos on disk, tokens with roles, faults on demand.

    with HubServer(tmp_path) as hub:
        hub.fault("status", "PUT", "/lfs/", status=503, times=2)
        subprocess.run([sys.executable, "push.py"], env=hub.env("hf_write"), check=True)
        assert "README.md" in hub.files("org/name")

By hand: ``python tests/servers/hub_server.py --folder /tmp/hub --port 8000``.
It speaks plain LFS and no Xet, and serves LFS files itself where the real Hub redirects to a CDN. No client reaches
``datasets-server``: the viewer's host name, which load_dataset makes from HF_ENDPOINT, does not resolve.
"""

import argparse
import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import yaml  # huggingface_hub needs it anyway; everything else here is the standard library
from hub_store import LFS_SUFFIXES, Entry, HubError, Repo, write_whole

MAX_JSON, MAX_BLOB = 64 << 20, 512 << 20  # bytes a request may carry
# Roles: read sees all and writes nothing; stranger is somebody else's token and sees public repos only.
TOKENS = {"hf_write": "write", "hf_read": "read", "hf_stranger": "stranger", "hf_expired": "expired"}
OUT_OF_ORDER = b"<html>502 Bad Gateway</html>"  # a 5xx comes from a proxy in front of the Hub: no JSON
# The real Hub's words, by status.
WORDS = {
    401: "Invalid credentials in Authorization header",
    403: "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request",
    412: "A commit has happened since. Please refresh and try again.",
    429: "We had to rate limit you, you hit the quota of requests",
}


class Request(NamedTuple):
    """One line of the log; the status is 0 where the connection was cut without an answer."""

    method: str
    path: str
    status: int


@dataclass
class Fault:
    """A fault of the next `times` requests that match.

    status: answer `status` and do nothing; drop: read half of the request, cut the connection; delay: wait `seconds`;
    race: first commit `files` (path -> text) as somebody else; truncate: send half of the answer's body;
    half: send a body of half the length as if it were whole; flip: send a body with its last bit turned;
    long, short: say that the body has 10 bytes more, or fewer, than it has; drip: send a byte every `seconds`;
    status_after, drop_after: do what was asked, then answer `status` or nothing at all.
    """

    kind: str
    method: str
    path: str  # a regular expression, searched in path and query
    times: int = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class Server(ThreadingHTTPServer):
    """A server that says nothing of clients that went away."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class HubServer:
    """The server, what a test may ask of it, and what is to go wrong."""

    def __init__(self, folder: Path | str, tokens: Mapping[str, str] = TOKENS, *, page_size: int = 1000, port: int = 0):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tokens = dict(tokens)  # a test may change a role while the server runs
        self.page_size = page_size
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.hub = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def env(self, token: str | None = None) -> dict[str, str]:
        """Return the environment for a subprocess: this Hub, one token, a fresh cache, nothing of the user's own."""
        own = re.compile(r"(HF|HUGGING_?FACE|TRANSFORMERS)_.*|.*_proxy", re.IGNORECASE)
        environment = {name: value for name, value in os.environ.items() if not own.match(name)}
        environment |= {"HF_ENDPOINT": self.url, "HF_HOME": tempfile.mkdtemp(prefix="home-", dir=self.folder)}
        for switch in ("DISABLE_XET", "DISABLE_TELEMETRY", "DISABLE_UPDATE_CHECK", "DISABLE_PROGRESS_BARS"):
            environment[f"HF_HUB_{switch}"] = "1"
        environment["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # else load_dataset calls amazonaws.com
        return environment | ({"HF_TOKEN": token} if token else {})

    def fault(self, kind: str, method: str, path: str, **options: Any) -> None:
        """Let the next requests that match go wrong; see Fault."""
        with self._lock:
            self.faults.append(Fault(kind, method, path, **options))

    def take_fault(self, method: str, path: str) -> Fault:
        """Return the fault that this request meets and count it; one of no kind where there is none."""
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return Fault("", method, path)

    def repo(self, name: str, kind: str = "datasets") -> Repo:
        return Repo(self.folder, kind, name)

    def files(self, repo: str, revision: str = "main") -> list[str]:
        return sorted(self.repo(repo).manifest(revision)["files"])

    def read(self, repo: str, path: str, revision: str = "main") -> bytes:
        return (self.folder / "blobs" / self.repo(repo).manifest(revision)["files"][path]["sha256"]).read_bytes()

    def commits(self, repo: str, revision: str = "main") -> list[dict[str, Any]]:
        """Return the commits, newest first: id, parent, title, message, date, files."""
        return list(self.repo(repo).history(revision))

    def commit(self, repo: str, files: Mapping[str, str | None], revision: str = "main", kind: str = "datasets") -> str:
        """Commit texts as somebody else, without HTTP; None deletes a file."""
        to = self.repo(repo, kind)
        changes = {path: None if text is None else to.add(text.encode()) for path, text in files.items()}
        return to.commit(revision, changes, "somebody else's commit")[0]


ROUTES: list[tuple[str, re.Pattern[str], Callable[..., None]]] = []
API = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
PAGE = r"(?:/(?P<kind>datasets|spaces))?/(?P<name>[^/]+/[^/]+?)"


def route(method: str, pattern: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a method of Handler; the pattern's named groups become its arguments, unquoted."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


class Handler(BaseHTTPRequestHandler):
    """The Hub's routes."""

    protocol_version = "HTTP/1.1"  # keeps connections open, as clients use them
    timeout = 60  # seconds before an idle connection is closed

    def log_message(self, *_: object) -> None:
        """Stay silent: the log is hub.log."""

    def dispatch(self) -> None:
        self.hub: HubServer = self.server.hub  # type: ignore[attr-defined]
        self.status, self.body = 0, b""
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.fault = self.hub.take_fault(self.command, self.path)
        try:
            self.serve(url.path)
        except HubError as error:
            words = str(error).encode("ascii", "replace").decode().replace("\n", " ")
            headers = {"X-Error-Message": words} | ({"X-Error-Code": error.code} if error.code else {})
            self.answer({"error": str(error)}, error.status, headers)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            self.hub.log.append(Request(self.command, self.path, self.status))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = dispatch

    def serve(self, path: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > (MAX_BLOB if self.command == "PUT" else MAX_JSON) or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body stays unread
            raise HubError(413, "", f"a request of {length} bytes, or of unknown size, is too large for this server")
        if self.fault.kind == "drop":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        self.body = self.rfile.read(length)
        if self.fault.kind != "drip":
            time.sleep(self.fault.seconds)
        if self.fault.kind == "status" and self.fault.status < 500:
            raise HubError(self.fault.status, "", WORDS.get(self.fault.status, "out of order"))
        if self.fault.kind == "status":
            self.reply(self.fault.status, OUT_OF_ORDER)
            return
        for method, pattern, function in ROUTES:
            if method == self.command.replace("HEAD", "GET") and (match := pattern.fullmatch(path)):
                found = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
                if self.fault.kind == "race":
                    self.hub.commit(found["name"], self.fault.files, found["revision"], found["kind"])
                function(self, **found)
                return
        raise HubError(404, "", f"no such route: {self.command} {path}")

    def reply(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        if self.fault.kind == "drop_after":
            self.close_connection = True
            return
        if self.fault.kind == "status_after":
            status, content = self.fault.status, OUT_OF_ORDER
        if self.fault.kind == "half":
            content = content[: len(content) // 2]
        if self.fault.kind == "flip" and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        length = len(content) + {"long": 10, "short": -10}.get(self.fault.kind, 0)
        self.status = status
        self.send_response(status)
        for name, value in ({"Content-Length": str(max(length, 0))} | dict(headers or {}) | self.fault.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.fault.kind == "truncate":
            content = content[: len(content) // 2]
        self.close_connection |= self.fault.kind in ("truncate", "long", "short")
        if self.command == "HEAD":
            return
        if self.fault.kind == "drip":
            for i in range(len(content)):
                self.wfile.write(content[i : i + 1])
                self.wfile.flush()
                time.sleep(self.fault.seconds)
        else:
            self.wfile.write(content)

    def answer(self, content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"} | dict(headers or {}))

    def page(self, items: list[dict[str, Any]]) -> None:
        """Answer one page of a list, with a Link to the next."""
        start = int(self.query.pop("cursor", "0"))
        end = start + self.hub.page_size
        link = f"{self.hub.url}{urlsplit(self.path).path}?{urlencode(self.query | {'cursor': str(end)})}"
        self.answer(items[start:end], headers={"Link": f'<{link}>; rel="next"'} if end < len(items) else {})

    def role(self) -> str | None:
        """Return the caller's role, None without a token."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        role = self.hub.tokens.get(token, "expired") if token else None
        if role == "expired":
            raise HubError(401, "", WORDS[401])
        return role

    def open_repo(self, kind: str, name: str, *, write: bool = False) -> Repo:
        """Return a repo that the caller may read, and write where asked."""
        role, repo = self.role(), self.hub.repo(name, kind)
        if not repo.info or (repo.info["private"] and role in (None, "stranger")):
            message = "Repository not found" if role else "Invalid username or password."
            raise HubError(404 if role else 401, "RepoNotFound", message)
        if write and role != "write":
            raise HubError(403 if role else 401, "", WORDS[403 if role else 401])
        return repo

    @route("GET", "/api/whoami-v2")
    def whoami(self) -> None:
        role = self.role()
        if role is None:
            raise HubError(401, "", "Invalid username or password.")
        token = {"displayName": "test", "role": "write" if role == "write" else "read"}
        self.answer({"type": "user", "name": "tester", "orgs": [], "auth": {"accessToken": token}})

    @route("POST", "/api/repos/create")
    def create_repo(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        if self.role() != "write":
            raise HubError(403 if self.role() else 401, "", f"You don't have the rights to create {name}")
        if not re.fullmatch(r"(?!.*\.\.)[\w-][\w.-]*/[\w-][\w.-]*", name):
            raise HubError(400, "", f"Invalid repo name: {name}")
        repo = self.hub.repo(name, asked.get("type", "model") + "s")
        about = {"name": name, "url": f"{self.hub.url}/{repo.page}"}
        with repo.lock:
            if repo.info:
                self.answer(about | {"error": "You already created this repo"}, 409)
            else:
                repo.create(private=asked.get("visibility") == "private")
                self.answer(about)

    @route("DELETE", "/api/repos/delete")
    def delete_repo(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        shutil.rmtree(self.open_repo(asked.get("type", "model") + "s", name, write=True).folder)
        self.answer({})

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self) -> None:
        header = re.match(r"---\s*\n(.*?)\n---", json.loads(self.body)["content"], re.DOTALL)
        try:
            valid = header is None or isinstance(yaml.safe_load(header[1]), dict | None)
            errors = [] if valid else ["the metadata is not a mapping"]
        except yaml.YAMLError as error:
            errors = [str(error)]
        self.answer({"errors": [{"message": error} for error in errors], "warnings": []}, 400 if errors else 200)

    @route("GET", API + "(?:/revision/(?P<revision>[^/]+))?")
    def repo_info(self, kind: str, name: str, revision: str = "main") -> None:
        repo = self.open_repo(kind, name)
        commit = repo.manifest(revision)
        about = {"id": name, "sha": commit["id"], "lastModified": commit["date"], "private": repo.info["private"]}
        about |= {"tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False}
        self.answer(about | {"siblings": [{"rfilename": path} for path in sorted(commit["files"])]})

    @route("GET", API + "/auth-check(?P<write>/write)?")
    def auth_check(self, kind: str, name: str, write: str = "") -> None:
        self.open_repo(kind, name, write=bool(write))
        self.answer({})

    @route("GET", API + "/refs")
    def refs(self, kind: str, name: str) -> None:
        refs = self.open_repo(kind, name).info["refs"]
        rows = [{"name": ref.removeprefix("refs/heads/"), "ref": ref, "targetCommit": refs[ref]} for ref in refs]
        pulls = [row for row in rows if row["ref"].startswith("refs/pr/")]
        branches = [row for row in rows if row not in pulls]
        self.answer({"branches": branches, "converts": [], "tags": [], "pullRequests": pulls})

    @route("GET", API + "/commits/(?P<revision>[^/]+)")
    def commits(self, kind: str, name: str, revision: str) -> None:
        shown, authors = ("id", "title", "message", "date"), [{"user": "tester"}]
        history = self.open_repo(kind, name).history(revision)
        self.page([{key: commit[key] for key in shown} | {"authors": authors} for commit in history])

    def described(self, files: Mapping[str, Entry], path: str) -> dict[str, Any] | None:
        """Return what tree and paths-info say of a file or folder."""
        if path in files:
            entry = files[path]
            lfs = {"oid": entry["sha256"], "size": entry["size"], "pointerSize": entry["pointer_size"]}
            about = {"type": "file", "path": path, "oid": entry["oid"], "size": entry["size"]}
            return about | ({"lfs": lfs} if entry["pointer_size"] else {})
        inside = "".join(files[name]["oid"] for name in sorted(files) if name.startswith(f"{path}/"))
        oid = hashlib.sha1(inside.encode()).hexdigest()
        return {"type": "directory", "path": path, "oid": oid, "size": 0} if inside else None

    @route("GET", API + "/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
    def tree(self, kind: str, name: str, revision: str, path: str = "") -> None:
        files = self.open_repo(kind, name).manifest(revision)["files"]
        prefix = f"{path.rstrip('/')}/" if path else ""
        inside = [file.removeprefix(prefix).split("/") for file in files if file.startswith(prefix)]
        if path and not inside:
            raise HubError(404, "EntryNotFound", f"{path} does not exist on {revision}")
        deep = self.query.get("recursive", "").lower() in ("true", "1")
        shown = {prefix + "/".join(parts[:n]) for parts in inside for n in range(1, len(parts) + 1) if deep or n == 1}
        self.page([about for path in sorted(shown) if (about := self.described(files, path))])

    @route("POST", API + "/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, kind: str, name: str, revision: str) -> None:
        files = self.open_repo(kind, name).manifest(revision)["files"]
        paths = parse_qs(self.body.decode()).get("paths", [])
        self.answer([about for path in paths if (about := self.described(files, path.rstrip("/")))])

    @route("POST", API + "/preupload/(?P<revision>[^/]+)")
    def preupload(self, kind: str, name: str, revision: str) -> None:
        files = self.open_repo(kind, name, write="create_pr" not in self.query).manifest(revision)["files"]
        answer = []
        for asked in json.loads(self.body)["files"]:
            lfs = asked["path"].endswith(LFS_SUFFIXES) or asked["size"] > 10 << 20
            oid = files.get(asked["path"], {}).get(
                "sha256" if lfs else "oid"
            )  # the client skips a file of the same oid
            mode = {"uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            answer.append({"path": asked["path"]} | mode | ({"oid": oid} if oid else {}))
        self.answer({"files": answer})

    @route("POST", PAGE + r"\.git/info/lfs/objects/batch")
    def lfs_batch(self, name: str, kind: str = "models") -> None:
        asked, objects = json.loads(self.body), []
        repo = self.open_repo(kind, name, write="ref" in asked)  # a pull request's upload names no ref
        for wanted in asked["objects"]:
            href = f"{self.hub.url}/lfs/{wanted['oid']}"
            actions = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            present = (repo.blobs / wanted["oid"]).exists()
            objects.append({"oid": wanted["oid"], "size": wanted["size"]} | ({} if present else {"actions": actions}))
        self.answer({"transfer": "basic", "objects": objects})

    @route("PUT", "/lfs/(?P<sha256>[0-9a-f]{64})")
    def lfs_upload(self, sha256: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha256:
            raise HubError(400, "", f"the {len(self.body)} bytes that came do not hash to {sha256}")
        write_whole(self.hub.folder / "blobs" / sha256, self.body)
        self.reply(200, b"")

    @route("POST", "/lfs/(?P<sha256>[0-9a-f]{64})/verify")
    def lfs_verify(self, sha256: str) -> None:
        self.answer({}, 200 if (self.hub.folder / "blobs" / sha256).exists() else 404)

    @route("POST", API + "/commit/(?P<revision>[^/]+)")
    def create_commit(self, kind: str, name: str, revision: str) -> None:
        create_pr = "create_pr" in self.query
        repo = self.open_repo(kind, name, write=not create_pr)
        files = repo.manifest(revision)["files"]
        header: dict[str, Any] = {}
        changes: dict[str, Entry | None] = {}
        for line in self.body.splitlines():
            key, value = (item := json.loads(line))["key"], item["value"]
            path = value.get("path", "").rstrip("/")
            if key == "header":
                header = value
            elif {"", ".", "..", ".git"} & set(path.split("/")):
                raise HubError(400, "", f"Invalid path: {path}")
            elif key == "file":
                changes[path] = repo.add(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                if not (repo.blobs / value["oid"]).exists():
                    raise HubError(400, "", f"LFS pointer pointed to a file that does not exist: {path}")
                changes[path] = repo.entry(value["oid"], lfs=True)
            elif key == "deletedFile":
                changes[path] = None
            elif key == "deletedFolder":
                changes |= dict.fromkeys(file for file in files if file.startswith(f"{path}/"))
        about = {"message": header.get("description", ""), "parent": header.get("parentCommit") or ""}
        oid, pull = repo.commit(revision, changes, header["summary"], create_pr=create_pr, **about)
        page = f"{self.hub.url}/{repo.page}"
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{page}/commit/{oid}", "hookOutput": ""}
        self.answer(answer | ({"pullRequestUrl": f"{page}/discussions/{pull}"} if create_pr else {}))

    @route("POST", API + "/branch/(?P<branch>[^/]+)")
    def create_branch(self, kind: str, name: str, branch: str) -> None:
        repo, start = (
            self.open_repo(kind, name, write=True),
            json.loads(self.body or b"{}").get("startingPoint", "main"),
        )
        with repo.lock:
            info = repo.info
            if f"refs/heads/{branch}" in info["refs"]:
                raise HubError(409, "", f"Reference already exists: refs/heads/{branch}")
            info["refs"][f"refs/heads/{branch}"] = repo.head(start)
            repo.save(info)
        self.answer({})

    @route("POST", API + "/super-squash/(?P<branch>[^/]+)")
    def super_squash(self, kind: str, name: str, branch: str) -> None:
        self.open_repo(kind, name, write=True).squash(branch, json.loads(self.body)["message"])
        self.answer({})

    @route("GET", PAGE + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, name: str, revision: str, path: str, kind: str = "models") -> None:
        repo = self.open_repo(kind, name)
        commit = repo.manifest(revision)
        headers, entry = {"X-Repo-Commit": commit["id"]}, commit["files"].get(path)
        if entry is None:
            error = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            self.answer({"error": "Entry not found"}, 404, headers | error)
            return
        size, etag = entry["size"], f'"{entry["sha256" if entry["pointer_size"] else "oid"]}"'
        headers |= {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if entry["pointer_size"]:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(size)}
        content = (repo.blobs / entry["sha256"]).read_bytes()
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or wanted.groups() == ("", ""):
            self.reply(200, content, headers)
            return
        start = int(wanted[1]) if wanted[1] else max(size - int(wanted[2]), 0)
        end = min(int(wanted[2]) + 1, size) if wanted[1] and wanted[2] else size
        if start < end:
            self.reply(206, content[start:end], headers | {"Content-Range": f"bytes {start}-{end - 1}/{size}"})
        else:
            self.reply(416, b"", {"Content-Range": f"bytes */{size}"})

    @route("POST", "/_control/fault")
    def control_fault(self) -> None:
        """hub.fault from another process."""
        self.hub.fault(**json.loads(self.body))
        self.answer({})

    @route("GET", "/_control/log")
    def control_log(self) -> None:
        """hub.log from another process."""
        self.answer([request._asdict() for request in self.hub.log])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="where the repos are kept")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with HubServer(arguments.folder, port=arguments.port) as hub, contextlib.suppress(KeyboardInterrupt):
        print(f"export HF_ENDPOINT={hub.url} HF_HUB_DISABLE_XET=1 HF_TOKEN=hf_write", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
