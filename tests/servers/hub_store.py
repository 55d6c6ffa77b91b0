"""Repos of a test Hub on disk: blobs by sha256, each commit a JSON manifest of all its files, the head of each ref."""

import hashlib
import json
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

LFS_SUFFIXES = (".parquet", ".arrow", ".zip", ".gz", ".bin", ".npz", ".jpg", ".jpeg", ".png", ".webp")

Entry = dict[str, Any]  # a file in a commit: sha256, size, git oid, pointer_size (None unless LFS)


class HubError(Exception):
    """An answer other than 2xx: status, X-Error-Code (may be empty) and X-Error-Message."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code = status, code


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
        temporary.write(content)
    Path(temporary.name).replace(path)


class Repo:
    """One repo; its blobs are shared with the other repos of the same root."""

    lock: ClassVar = threading.RLock()

    def __init__(self, root: Path, kind: str, name: str):
        self.kind, self.name = kind, name
        self.blobs, self.folder = root / "blobs", root / kind / name
        self.page = name if kind == "models" else f"{kind}/{name}"

    @property
    def info(self) -> dict[str, Any]:
        """Return private, refs and pulls (the number of pull requests); empty where there is no repo."""
        path = self.folder / "repo.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def save(self, info: dict[str, Any]) -> None:
        write_whole(self.folder / "repo.json", json.dumps(info).encode())

    def create(self, private: bool) -> None:
        self.save({"private": private, "refs": {}, "pulls": 0})
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
        self.commit("main", {".gitattributes": self.add(attributes.encode())}, "initial commit")

    def add(self, content: bytes, *, lfs: bool = False) -> Entry:
        """Store a file's bytes and return its entry."""
        sha256 = hashlib.sha256(content).hexdigest()
        write_whole(self.blobs / sha256, content)
        return self.entry(sha256, lfs=lfs)

    def entry(self, sha256: str, *, lfs: bool) -> Entry:
        """Describe a stored blob as git does: an LFS file's oid is that of its pointer."""
        content = (self.blobs / sha256).read_bytes()
        size = len(content)
        if lfs:
            content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {"sha256": sha256, "size": size, "oid": oid, "pointer_size": len(content) if lfs else None}

    def head(self, revision: str) -> str:
        """Return the commit of a branch, a ref such as refs/pr/1, or a commit's own id."""
        refs = self.info.get("refs", {})
        for ref in (f"refs/heads/{revision}", revision):
            if ref in refs:
                return refs[ref]
        if re.fullmatch(r"[0-9a-f]{40}", revision) and (self.folder / "commits" / revision).exists():
            return revision
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def manifest(self, revision: str) -> dict[str, Any]:
        """Return a commit: id, parent, title, message, date and files (path -> entry)."""
        oid = self.head(revision)
        return {"id": oid} | json.loads((self.folder / "commits" / oid).read_text())

    def history(self, revision: str) -> Iterator[dict[str, Any]]:
        """Yield the commits of a revision, newest first."""
        while revision:
            yield (commit := self.manifest(revision))
            revision = commit["parent"]

    def commit(
        self,
        revision: str,
        changes: Mapping[str, Entry | None],
        title: str,
        *,
        message: str = "",
        parent: str = "",
        create_pr: bool = False,
        squash: bool = False,
    ) -> tuple[str, int]:
        """Change files (None deletes) in one commit on a branch or a new pull request: its id and number."""
        with self.lock:
            info = self.info
            head = self.head(revision) if info["refs"] else ""
            if not create_pr and not head.startswith(parent):
                raise HubError(412, "", "A commit has happened since. Please refresh and try again.")
            base = parent if create_pr and parent else head
            files = self.manifest(base)["files"] if base else {}
            if missing := [path for path, entry in changes.items() if entry is None and path not in files]:
                raise HubError(404, "EntryNotFound", f"A file with this name doesn't exist: {missing[0]}")
            files = {path: entry for path, entry in {**files, **changes}.items() if entry is not None}
            commit = {"parent": "" if squash else base, "title": title, "message": message, "files": files}
            commit["date"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            content = json.dumps(commit).encode()
            oid = hashlib.sha1(content).hexdigest()
            write_whole(self.folder / "commits" / oid, content)
            info["pulls"] += create_pr
            ref = f"refs/pr/{info['pulls']}" if create_pr else revision
            info["refs"][ref if ref.startswith("refs/") else f"refs/heads/{ref}"] = oid
            self.save(info)
            return oid, info["pulls"]

    def squash(self, branch: str, title: str) -> None:
        """Replace a branch's history by one commit and forget the commits that no ref reaches any more."""
        with self.lock:
            self.commit(branch, {}, title, squash=True)
            reachable = {commit["id"] for head in self.info["refs"].values() for commit in self.history(head)}
            for path in (self.folder / "commits").iterdir():
                if path.name not in reachable:
                    path.unlink()
