"""The Hub: push a repo folder as one commit, and take posts out of every config again.

Pushing reads the repo, puts the folder's configs and their card sections into what is there, and sends only what
differs. ``parent_commit`` guards against another push in between; whoever loses reads again and tries again.
"""

import contextlib
import difflib
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hf_mner_aug.cards import ConfigFacts, read_sections, render, with_section
from hf_mner_aug.errors import UsageError
from hf_mner_aug.repo_folder import NOTE, Verification, read_features, read_note, verify_folder, withdraw_posts

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, HfApi
    from huggingface_hub.hf_api import RepoFile

CARD = "README.md"
ATTEMPTS = 5
OPEN_LICENSES = (
    "apache-2.0",
    "mit",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-3.0",
    "cc-by-sa-3.0",
    "odc-by",
    "pddl",
)


class HubError(OSError):
    """The Hub could not be reached or failed; the local folder is untouched and the call can be repeated."""


class Raced(HubError):
    """Another commit came first; this one surely did not land."""


@dataclass(frozen=True)
class Change:
    """One file of a push: its path in the repo, what happens to it, its size in bytes."""

    path: str
    action: Literal["add", "update", "delete"]
    size: int = 0


@dataclass(frozen=True)
class Pushed:
    """What a push did, or with ``dry_run`` would do: an identical push changes nothing and makes no commit."""

    repo_id: str
    changes: tuple[Change, ...]
    card_diff: str
    url: str | None = None

    def __str__(self) -> str:
        """Return the plan as text: files with sizes, and the card's difference."""
        if not self.changes:
            return f"{self.repo_id} holds all of this already: nothing to push"
        lines = [f"{change.action:<7}{change.size:>12,} bytes  {change.path}" for change in self.changes]
        return "\n".join([*lines, self.card_diff, self.url or ""]).rstrip()


def push(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = True,
    create_pr: bool = False,
    revision: str | None = None,
    token: str | None = None,
    rights: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Send a repo folder's configs to the Hub as one commit, or as one pull request.

    The repo's other configs, their data, the card's text and metadata are kept; stale files of the same configs go in
    the same commit. What is there already is not sent.

    Args:
        folder: what ``publish`` wrote.
        repo_id: the dataset repo; made if it is not there.
        private: make the repo private, if it has to be made.
        create_pr: open a pull request instead of committing.
        revision: the branch (default: main).
        token: a write token (default: the one of this machine).
        rights: you have the rights to publish openly what the card restricts.
        dry_run: send nothing.

    Raises:
        UsageError: the folder holds no config, the repo may not be written, is no dataset, or would show openly what
            its card restricts.
        DataError: the repo's card has YAML that does not parse.
        HubError: the Hub could not be reached or failed.
    """
    folder = Path(folder)
    configs = sorted(path.parent.name for path in folder.glob(f"*/{NOTE}"))
    if not configs:
        raise UsageError(f"{folder} holds no config: make one with hf-mner-aug augment … --out {folder}")
    notes = {config: read_note(folder / config) for config in configs}
    api = _api(token)
    for attempt in range(ATTEMPTS):
        time.sleep(2 ** (attempt - 1) if attempt else 0)
        sending = False
        try:
            with _clear_errors(repo_id):
                info = _find(api, repo_id)
                if not rights and not (info.private if info else private):
                    _check_rights(notes)
                if info is None and not dry_run:
                    api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
                if revision is not None or (info is None and not dry_run):
                    info = api.dataset_info(repo_id, revision=revision)
                head = info.sha if info else None
                remote = _remote_files(api, repo_id, head) if head else {}
                card = _remote_card(repo_id, head, token) if CARD in remote else None
                text = _merged_card(folder, notes, card, repo_id)
                plan, operations = _plan(folder, configs, remote, card, text)
                pushed = Pushed(repo_id, tuple(plan), _card_diff(card, text))
                if dry_run or not plan:
                    return pushed
                sending = True
                done = api.create_commit(
                    repo_id,
                    operations,
                    commit_message=f"Publish {', '.join(configs)}",
                    repo_type="dataset",
                    revision=revision,
                    create_pr=create_pr,
                    parent_commit=head,
                )
            return replace(pushed, url=done.pr_url if create_pr else done.commit_url)
        except HubError as error:
            # Another push came first, or an answer got lost: what the repo holds now says what is left to do.
            if create_pr and sending and not isinstance(error, Raced):
                raise HubError(f"{error}; look at its pull requests before you push again") from error
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def verify(
    repo: str | Path,
    config: str,
    *,
    rerun: bool = False,
    source: Any = None,
    revision: str | None = None,
    token: str | None = None,
) -> Verification:
    """Recompute the content fingerprint of a config, in a folder or on the Hub, and compare; see ``verify_folder``.

    Raises:
        HubError: the Hub could not be reached or failed.
    """
    folder = Path(repo) if Path(repo).is_dir() else download_config(str(repo), config, revision=revision, token=token)
    return verify_folder(folder, config, rerun=rerun, source=source)


def download_config(repo_id: str, config: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Return a local folder with a Hub repo's config, as the repo is now (not as an older cache knows it).

    Raises:
        UsageError: the repo or revision is not there or may not be read.
        HubError: the Hub could not be reached or failed.
    """
    from huggingface_hub import snapshot_download

    with _clear_errors(repo_id):
        head = _api(token).dataset_info(repo_id, revision=revision).sha
        folder = snapshot_download(
            repo_id, repo_type="dataset", revision=head, allow_patterns=[f"{config}/*"], token=token
        )
    return Path(folder)


def withdraw(repo_id: str, ids: Sequence[str], *, squash: bool = False, token: str | None = None) -> dict[str, int]:
    """Take posts, and every post made of them, out of all configs of a repo in one commit; return rows gone by config.

    A commit leaves the old files in the repo's history: ``squash`` makes one commit of the branch, after which the Hub
    can forget them (other branches and pull requests keep what they hold).

    Raises:
        UsageError: the repo may not be written, or none of the ids is in it.
        HubError: the Hub could not be reached or failed.
    """
    from huggingface_hub import snapshot_download

    api = _api(token)
    with tempfile.TemporaryDirectory() as temporary:
        with _clear_errors(repo_id):
            head = api.dataset_info(repo_id).sha
            snapshot_download(repo_id, repo_type="dataset", revision=head, local_dir=temporary, token=token)
        gone = withdraw_posts(Path(temporary), ids)
        if not any(gone.values()):
            raise UsageError(f"{repo_id} holds none of the {len(ids)} ids, neither as a post nor as the source of one")
        push(temporary, repo_id, rights=True, token=token)
    if squash:
        with _clear_errors(repo_id):
            api.super_squash_history(repo_id, repo_type="dataset", commit_message="Withdraw posts")
    return gone


# ---------------------------------------------------------------- inside


@contextlib.contextmanager
def _clear_errors(repo_id: str) -> Iterator[None]:
    """Turn what the Hub client raises into one line for the user."""
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
        raise UsageError(f"{repo_id!r} is no repo id: expected ORG/NAME") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 412:
            raise Raced(f"{repo_id} changed meanwhile") from error
        if status in (401, 403):
            raise UsageError(f"{repo_id}: the Hub refused this token ({status}): hf auth login") from error
        if status >= 500 or status in (408, 429):
            raise HubError(f"{repo_id}: the Hub answered {status}") from error
        raise UsageError(f"{repo_id}: the Hub answered {status}: {_first_line(error)}") from error
    except (httpx2.TransportError, LocalEntryNotFoundError) as error:
        raise HubError(f"{repo_id}: the Hub could not be reached ({type(error).__name__})") from error
    except json.JSONDecodeError as error:
        raise HubError(f"{repo_id}: the Hub's answer is no JSON") from error
    except RuntimeError as error:
        # What the client raises when a file could not be uploaded, after its own retries.
        raise HubError(f"{repo_id}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _api(token: str | None) -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="hf_mner_aug")


def _find(api: "HfApi", repo_id: str) -> "DatasetInfo | None":
    """Return what the Hub says of a dataset repo, or None where there is none that this token may see."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.dataset_info(repo_id)
    except RepositoryNotFoundError:
        return None


def _check_rights(notes: Mapping[str, dict[str, Any]]) -> None:
    """Raise unless every config may be shown openly."""
    for config, note in notes.items():
        facts = ConfigFacts.from_note(note)
        if facts.inherited:
            raise UsageError(
                f"{config} holds posts made of other people's retrieved posts, whatever its licence: push to a private "
                "repo, or say --i-have-the-rights to show it openly"
            )
        if facts.retrieved == "whole":
            raise UsageError(
                f"{config} holds posts that other people wrote, whatever its licence: push to a private repo, publish "
                "it with --retrieved ids-only, or say --i-have-the-rights to show it openly"
            )
        licence = facts.license
        if licence not in OPEN_LICENSES:
            raise UsageError(
                f"{config}: the licence is {licence!r}; push to a private repo, "
                "or say --i-have-the-rights to show it openly"
            )


def _remote_files(api: "HfApi", repo_id: str, head: str) -> dict[str, "RepoFile"]:
    """Return the repo's files by path."""
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo_id, recursive=True, revision=head, repo_type="dataset")
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def _remote_card(repo_id: str, head: str | None, token: str | None) -> str:
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(repo_id, CARD, repo_type="dataset", revision=head, token=token)
    return Path(path).read_text(encoding="utf-8")


def _merged_card(folder: Path, notes: Mapping[str, dict[str, Any]], card: str | None, repo_id: str) -> str:
    """Return the repo's card (the folder's where there is none) with the configs' sections and YAML put in."""
    local = folder / CARD
    text = card if card is not None else local.read_text(encoding="utf-8") if local.exists() else None
    for config, note in notes.items():
        text = render(text, ConfigFacts.from_note(note), read_features(folder / config), repo_id)
    assert text is not None
    if local.exists():
        body = local.read_text(encoding="utf-8")
        for name, section in read_sections(body, "study").items():
            text = with_section(text, name, section)
        for name, section in read_sections(body, "quality").items():
            config = name.removeprefix("quality of ")
            if config in notes:
                text = with_section(text, name, section, after=f"config {config}")
    return text


def _plan(
    folder: Path, configs: Sequence[str], remote: Mapping[str, "RepoFile"], card: str | None, text: str
) -> tuple[list[Change], list[Any]]:
    """Return what differs between the folder's configs and the repo, and the commit operations that mend it."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    changes: list[Change] = []
    operations: list[Any] = []
    local = {
        path.relative_to(folder).as_posix(): path
        for config in configs
        for path in sorted((folder / config).iterdir())
        if path.is_file()
    }
    for name, path in local.items():
        if name not in remote or not _same(path.read_bytes(), remote[name]):
            changes.append(Change(name, "update" if name in remote else "add", path.stat().st_size))
            operations.append(CommitOperationAdd(name, path))
    for name in remote:
        if name.partition("/")[0] in configs and name not in local:
            changes.append(Change(name, "delete", remote[name].size))
            operations.append(CommitOperationDelete(name))
    if card != text:
        data = text.encode()
        changes.append(Change(CARD, "add" if card is None else "update", len(data)))
        operations.append(CommitOperationAdd(CARD, data))
    return changes, operations


def _same(data: bytes, remote: "RepoFile") -> bool:
    """Say whether a repo's file holds these bytes, by the hash that the repo gives: LFS's, or git's."""
    if remote.lfs is not None:
        return hashlib.sha256(data).hexdigest() == remote.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == remote.blob_id


def _card_diff(card: str | None, text: str) -> str:
    lines = difflib.unified_diff((card or "").splitlines(), text.splitlines(), "card now", "card then", "", "", 1, "")
    return "\n".join(lines)
