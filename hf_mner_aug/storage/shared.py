"""The storage where the processes of a run share files: a folder, or any storage that fsspec reaches.

In a folder (local, NFS) files are written atomically, by a rename. An object store has no renames but writes objects
atomically. On other storage (SFTP, SMB) a reader may see a partial file: readers compare digests.
"""

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import MissingExtra, UsageError
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.storage.locks import lock, unfinished
from hf_mner_aug.storage.swap import sync

# Places of keys: in the environment or a file of the user, which these services read, and never in the URL.
_KEYED = ("s3", "s3a", "gs", "gcs")
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL")
_SHORTEST_SECRET = 6  # characters


@dataclass(frozen=True)
class Folder:
    """A folder that the processes of a run share."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def at(self, name: str, *folders: str) -> "Folder":
        """Return a place inside it; folders are created on writing."""
        return Folder(self.path / name)

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None if it does not exist."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, replacing one that is there."""
        artifacts.write_atomically(self.path / name, data)

    def write_once(self, name: str, data: bytes) -> bytes:
        """Write a file unless it exists, and return its content: the first of several writers wins."""
        path = self.path / name
        with room_for(path, len(data)), unfinished(path) as file:
            file.write_bytes(data)
            sync(file)
            try:
                os.link(file, path)  # a rename would replace what another process wrote
            except FileExistsError:
                pass
            except OSError:  # some file systems have no hard links
                with lock(path, "write", beside=True):
                    if not path.exists():
                        file.replace(path)
        return path.read_bytes()

    def send(self, path: Path, name: str) -> None:
        """Copy a local file to here."""
        _copy(path, self.path / name)

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file from here to a local path; return False if it does not exist."""
        try:
            _copy(self.path / name, path)
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Delete a file, which may not exist."""
        (self.path / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Remote:
    """Storage behind an fsspec URL; any failure is an OSError that names it.

    Raises:
        UsageError: fsspec does not know the protocol.
        MissingExtra: the package for the protocol is not installed.
    """

    url: str

    def __str__(self) -> str:
        return _without_secrets(self.url)

    def at(self, name: str, *folders: str) -> "Remote":
        """Return a place inside it, with some folders in it, created if the storage has folders.

        The URL itself must exist: a typing error must not create a bucket or a server's folder.
        """
        place = Remote(self.url + ("" if self.url.endswith("/") else "/") + name)
        with place._reached() as (system, path):
            for folder in (path, *(f"{path}/{folder}" for folder in folders)):
                with contextlib.suppress(FileExistsError):
                    system.mkdir(folder, create_parents=False)
        return place

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, or None if it does not exist."""
        with self._reached() as (system, path):
            try:
                data: bytes = system.cat_file(f"{path}/{name}")
            except FileNotFoundError:
                return None
            return data

    def write(self, name: str, data: bytes) -> None:
        """Write an object, replacing one that is there."""
        with self._reached() as (system, path):
            system.pipe_file(f"{path}/{name}", data)

    def write_once(self, name: str, data: bytes) -> bytes:
        """Write an object unless it exists, and return its content: the first of several writers wins.

        On storage that cannot create exclusively (S3 and GCS can), two writers may both believe that they are first;
        the parts of the loser name the result that they were made from, and are rejected.
        """
        with self._reached() as (system, path):
            file = f"{path}/{name}"
            try:
                system.pipe_file(file, data, mode="create")
            except OSError as error:  # it exists, which servers of S3 say in several ways
                if not system.exists(file):
                    if error.errno != errno.ENOSYS:
                        raise
                    system.pipe_file(file, data)
        return self.read(name) or b""

    def send(self, path: Path, name: str) -> None:
        """Copy a local file to here."""
        with self._reached() as (system, place):
            system.put_file(str(path), f"{place}/{name}")

    def fetch(self, name: str, path: Path) -> bool:
        """Copy an object to a local path; return False if it does not exist."""
        with unfinished(path) as file, self._reached() as (system, place):
            try:
                system.get_file(f"{place}/{name}", str(file))
            except FileNotFoundError:
                return False
            file.replace(path)
        return True

    def remove(self, name: str) -> None:
        """Delete an object, which may not exist."""
        with self._reached() as (system, path), contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{path}/{name}")

    @contextlib.contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the path in it."""
        try:
            system, path = _file_system(self.url)
            yield system, path.rstrip("/")
        except UsageError:
            raise
        except Exception as error:  # every backend has its own errors: botocore, google, paramiko
            said = _without_secrets(str(error)).strip().splitlines() or [type(error).__name__]
            advice = "what is finished is kept, run the same command again"
            raise OSError(f"storage {self}: {said[0]}; {advice}") from error


Store = Folder | Remote


def open_store(url: str | Path) -> Store:
    """Return the store of a path or an fsspec URL.

    Raises:
        UsageError: fsspec does not know the protocol, or the URL has a query, or a key where the service takes none.
        MissingExtra: the package for the protocol is not installed.
    """
    if isinstance(url, Path) or "://" not in url:
        return Folder(Path(url))
    if url.startswith(("file://", "local://")):
        return Folder(Path(_file_system(url)[1]))
    remote = Remote(url)
    protocol, _, rest = url.partition("://")
    if protocol in _KEYED and "@" in rest.partition("/")[0]:
        raise UsageError(
            f"storage {remote}: expected {protocol}://BUCKET/FOLDER, found a name before @: keys are read from the "
            "environment or your settings of that service (AWS_ACCESS_KEY_ID, ~/.aws), not from the URL"
        )
    if "?" in url:
        raise UsageError(f"storage {remote}: expected a folder's URL, found one with a query (?)")
    with remote._reached():
        return remote


def sha256(path: Path) -> str:
    """Return the digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _file_system(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except ValueError as error:
        raise UsageError(f"storage {Remote(url)}: {error}") from error
    except ImportError as error:
        install = ": pip install 'hf-mner-aug[s3]'" if url.startswith(("s3://", "s3a://")) else ""
        raise MissingExtra(f"storage {Remote(url)}: {error}{install}") from error
    return system, path


def _without_secrets(text: str) -> str:
    """Return text without the passwords and queries of URLs, and without the keys in the environment."""
    text = re.sub(r"(?<=//)[^/@\s]*@", "…@", text)
    text = re.sub(r"[^\s\"']+", _without_query, text)
    for name, value in os.environ.items():
        if _SECRET.search(name.upper()):
            for word in value.split():
                if len(word) >= _SHORTEST_SECRET:
                    text = text.replace(word, "…")
    return text


def _without_query(word: re.Match[str]) -> str:
    url, mark, _ = word[0].partition("?")
    return f"{url}?…" if mark and "://" in url else word[0]


def _copy(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    with room_for(target, source.stat().st_size), unfinished(target) as file:
        shutil.copyfile(source, file)
        sync(file)
        file.replace(target)
