"""A dataset repo on the Hub: each call has a time limit, and a failure is one line.

No downloaded file is used before its hash is the one that the repo lists.
"""

import contextlib
import errno
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hf_mner_aug.exceptions import UsageError, first_line
from hf_mner_aug.storage.shared import sha256
from hf_mner_aug.untrusted.names import check_name, is_name

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, HfApi
    from huggingface_hub.hf_api import RepoFile

T = TypeVar("T")

ATTEMPTS = 5
PATIENCE_S = 180.0  # for one step with the Hub, with the client's own tries; and more for each byte that moves
SLOWEST = 50_000  # bytes a second


class HubError(OSError):
    """The Hub could not be reached or failed; the local folder is untouched and the call can be repeated."""


class Raced(HubError):
    """Another commit came first, so this one was not made."""


class GaveUp(HubError):
    """The Hub took too long; the call is not repeated automatically."""


@dataclass(frozen=True)
class HubRepo:
    """A dataset repo on the Hub; each call has a time limit, and a failure is one line."""

    repo_id: str
    token: str | None

    def __post_init__(self) -> None:
        parts = self.repo_id.split("/")
        if len(parts) == 2 and all(map(is_name, parts)) and not Path(self.repo_id).is_file():
            return
        place = Path(self.repo_id)
        found = (
            "that is a folder" if place.is_dir() else "that is a file" if place.exists() else "there is no such folder"
        )
        raise UsageError(f"{self.repo_id} is not a repo id: expected ORG/NAME, and {found}")

    @cached_property
    def api(self) -> "HfApi":
        """The client."""
        from huggingface_hub import HfApi

        return HfApi(token=self.token, library_name="hf_mner_aug")

    def call(self, work: Callable[[], T], size: int = 0) -> T:
        """Call a function that uses the client and return its result; ``size`` is the number of bytes it transfers.

        The client itself has no limit for some answers, and waits as long as a server's ``Retry-After`` says.

        Raises:
            UsageError: the user can correct the cause.
            HubError: the Hub could not be reached, failed, or took too long.
        """
        from huggingface_hub import close_session

        done: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                with _clear_errors(self.repo_id):
                    done.append(work())
            except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        seconds = PATIENCE_S + size / SLOWEST
        thread.join(seconds)
        if thread.is_alive():
            close_session()  # closes the connection that the thread waits for
            raise GaveUp(f"{self.repo_id}: the Hub did not finish within {seconds:.0f} seconds")
        if failed:
            raise failed[0]
        return done[0]

    def find(self) -> "DatasetInfo | None":
        """Return the Hub's description of the repo, or None if this token sees no such repo."""
        from huggingface_hub.errors import RepositoryNotFoundError

        def ask() -> "DatasetInfo | None":
            try:
                return self.api.dataset_info(self.repo_id)
            except RepositoryNotFoundError:
                return None

        return self.call(ask)

    def info(self, revision: str | None = None) -> "DatasetInfo":
        """Return the Hub's description of the repo at a revision."""
        return self.call(lambda: self.api.dataset_info(self.repo_id, revision=revision))

    def create(self, *, private: bool) -> None:
        """Create the repo if it does not exist."""
        self.call(lambda: self.api.create_repo(self.repo_id, repo_type="dataset", private=private, exist_ok=True))

    def files(self, head: str) -> dict[str, "RepoFile"]:
        """Return the files of a commit by path."""
        from huggingface_hub.hf_api import RepoFile

        def ask() -> dict[str, RepoFile]:
            tree = self.api.list_repo_tree(self.repo_id, recursive=True, revision=head, repo_type="dataset")
            return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

        return self.call(ask)

    def download(self, head: str, files: Mapping[str, "RepoFile"], folder: Path | None) -> Path:
        """Download files of a commit, check their hashes, and return their folder (default: the client's cache).

        Raises:
            DataError: a part of a path is not a valid name.
            HubError: a file has other bytes than the repo lists, also at the second attempt.
            OSError: there is too little space on the disk.
        """
        from huggingface_hub import snapshot_download

        for path in files:
            for part in path.split("/"):
                check_name("file", part, f"{self.repo_id}: {path!r}")
        size = sum(file.size for file in files.values())
        if folder is not None and size > (free := shutil.disk_usage(folder).free):
            raise OSError(errno.ENOSPC, f"{self.repo_id} takes {size:,} bytes, and {free:,} are free", str(folder))
        place, wrong = Path(), ""
        for again in (False, True):
            options: dict[str, Any] = {"local_dir": folder, "force_download": again, "token": self.token}
            work = partial(snapshot_download, repo_type="dataset", revision=head, allow_patterns=list(files), **options)
            place = Path(self.call(partial(work, self.repo_id), size))
            wrong = next((path for path, file in files.items() if not same_bytes(place / path, file)), "")
            if not wrong:
                return place
        raise HubError(f"{self.repo_id}: {wrong} came with other bytes than the repo lists, twice")

    def commit(
        self,
        operations: Sequence[Any],
        message: str,
        head: str | None,
        *,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> Any:
        """Make a commit, or a pull request, on top of ``head``.

        Raises:
            Raced: another commit came first.
            GaveUp: it may be that the pull request was opened although the call failed.
        """
        size = sum(operation.upload_info.size for operation in operations if hasattr(operation, "upload_info"))
        work = partial(self.api.create_commit, self.repo_id, operations, commit_message=message, parent_commit=head)
        try:
            return self.call(partial(work, repo_type="dataset", revision=revision, create_pr=create_pr), size)
        except HubError as error:
            if create_pr and not isinstance(error, Raced):
                raise GaveUp(f"{error}; look at its pull requests before you push again") from error
            raise

    def squash(self) -> None:
        """Rewrite the branch main as one commit."""
        options: dict[str, Any] = {"repo_type": "dataset", "commit_message": "Withdraw posts"}
        self.call(lambda: self.api.super_squash_history(self.repo_id, **options))


def persist(once: Callable[[], T]) -> T:
    """Call a function and return its result; call it again if another push came first or an answer was lost.

    The function reads the repo's state anew each time, so that it does only what is left to do.
    """
    for attempt in range(ATTEMPTS):
        time.sleep(2 ** (attempt - 1) if attempt else 0)
        try:
            return once()
        except GaveUp:
            raise
        except HubError:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def same_bytes(path: Path, remote: "RepoFile") -> bool:
    """Return whether a file has the bytes of a repo's file, by the hash that the repo lists (LFS's or git's)."""
    if not path.is_file() or path.stat().st_size != remote.size:
        return False
    if remote.lfs is not None:
        return sha256(path) == remote.lfs.sha256
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == remote.blob_id


@contextlib.contextmanager
def _clear_errors(repo_id: str) -> Iterator[None]:
    """Turn exceptions of the Hub client into this package's errors, each one line."""
    import httpx2
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except RepositoryNotFoundError as error:
        raise UsageError(f"{repo_id}: no such dataset repo, or this token may not see it") from error
    except RevisionNotFoundError as error:
        raise UsageError(f"{repo_id}: no such revision") from error
    except HFValidationError as error:
        raise UsageError(f"{repo_id!r} is not a repo id: expected ORG/NAME") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 412:
            raise Raced(f"{repo_id} changed meanwhile") from error
        if status in (401, 403):
            raise UsageError(f"{repo_id}: the Hub refused this token ({status}): hf auth login") from error
        if status >= 500 or status in (408, 429):
            raise HubError(f"{repo_id}: the Hub answered {status}") from error
        raise UsageError(f"{repo_id}: the Hub answered {status}: {first_line(error)}") from error
    except (httpx2.RequestError, LocalEntryNotFoundError) as error:
        raise HubError(f"{repo_id}: the Hub could not be reached ({type(error).__name__})") from error
    except OSError as error:
        if error.errno is not None:  # an error of this machine
            raise
        raise HubError(f"{repo_id}: {first_line(error)}") from error
    except json.JSONDecodeError as error:
        raise HubError(f"{repo_id}: the Hub's answer is not JSON") from error
    except RuntimeError as error:
        # The client raises it if a file could not be uploaded, after its own retries.
        raise HubError(f"{repo_id}: {first_line(error)}") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # The client raises these on JSON of another shape than the Hub's.
        line = f"{type(error).__name__}: {first_line(error)}"
        raise HubError(f"{repo_id}: the Hub's answer is not understood ({line})") from error
