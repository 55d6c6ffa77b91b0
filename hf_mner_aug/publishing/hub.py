"""The Hub: push a repo folder as one commit, verify a config, and withdraw posts from every config.

A push reads the repo, merges the folder's configs and their card sections into it, and sends only files that differ.
``parent_commit`` detects another push in between: the one that loses reads the repo again and retries.
"""

import difflib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.publishing import croissant
from hf_mner_aug.publishing.cards import ConfigFacts, read_sections, render, with_section
from hf_mner_aug.publishing.folder import NOTE, read_features, read_note
from hf_mner_aug.publishing.hub_repo import HubError, HubRepo, persist, same_bytes
from hf_mner_aug.publishing.selection import Selection, choose, is_data
from hf_mner_aug.publishing.verify import Verification, verify_folder
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.sources.loading import with_pictures
from hf_mner_aug.untrusted.cards import CARD, read_card
from hf_mner_aug.untrusted.names import STUBS, check_name

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

LINES_COMPARED = 5_000  # of a card
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


@dataclass(frozen=True)
class Change:
    """One file of a push: its path in the repo, what happens to it, its size in bytes."""

    path: str
    action: Literal["add", "update", "delete"]
    size: int = 0


@dataclass(frozen=True)
class Pushed:
    """The changes that a push made, or with ``dry_run`` would make; without changes there is no commit.

    ``left_out`` are the files and folders that are not sent, each followed by the reason.
    """

    repo_id: str
    changes: tuple[Change, ...]
    card_diff: str
    url: str | None = None
    left_out: tuple[str, ...] = ()
    dry_run: bool = False

    def __str__(self) -> str:
        """Return a line for each file with its size, and the files left out; for a dry run the card's diff before."""
        left_out = [f"left out: {path}" for path in self.left_out]
        if not self.changes:
            return "\n".join([*left_out, f"{self.repo_id} holds all of this already: nothing to push"])
        lines = [
            f"{change.action:<7}{change.size:>12,} bytes  {change.path}"
            + (f" ({self._card_lines()})" if change.path == CARD else "")
            for change in self.changes
        ]
        before, after = ([self.card_diff], []) if self.dry_run and self.card_diff else ([], [self.url or ""])
        return "\n".join([*before, *lines, *left_out, *after]).rstrip()

    def _card_lines(self) -> str:
        """Return the number of changed lines of the card, as text."""
        lines = self.card_diff.splitlines()
        if len(lines) == 1:  # it says that they are too many to compare
            return lines[0]
        added, removed = (sum(line.startswith(sign) for line in lines[2:]) for sign in "+-")
        return f"{added} lines added, {removed} removed"


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

    It sends the configs that the folder's card names: their data, augmentation.json, croissant.json and pages, and
    their sections of the card with the studies' tables. Links, hidden and temporary files, and files that no config
    names are left out and listed. The repo's other configs, their data, the card's text and metadata are kept; stale
    files of the same configs are deleted in the same commit. Files that the repo already has are not sent.

    Args:
        folder: the repo folder that ``publish`` wrote.
        repo_id: the dataset repo; created if it does not exist.
        private: create the repo as a private one; an existing repo stays as it is.
        create_pr: open a pull request instead of committing.
        revision: the branch (default: main).
        token: a write token (default: the one of this machine).
        rights: you have the right to publish openly what the licence restricts.
        dry_run: send nothing.

    Raises:
        UsageError: the folder holds no config, the token may not write to the repo, the repo is not a dataset, or the
            push would publish openly what the licence restricts.
        DataError: the repo's card has YAML that does not parse, or a file of a config is a link.
        Corrupt: a split has no file.
        HubError: the Hub could not be reached or failed.
    """
    local = choose(Path(folder))
    if not local.notes:
        left_out = f" (left out: {'; '.join(local.left_out[:3])})" if local.left_out else ""
        raise UsageError(f"{folder} holds no config{left_out}: make one with hf-mner-aug augment … --out {folder}")
    hub = HubRepo(repo_id, token)

    def once() -> Pushed:
        info = hub.find()
        if not rights and not (info.private if info else private):
            _check_rights(local.notes)
        if info is None and not dry_run:
            hub.create(private=private)
        if revision is not None or (info is None and not dry_run):
            info = hub.info(revision)
        head = info.sha if info else None
        remote = hub.files(head) if head else {}
        message = f"Publish {', '.join(local.notes)}"
        return _send(hub, local, head, remote, message, revision=revision, create_pr=create_pr, dry_run=dry_run)

    return persist(once)


def verify(
    repo: str | Path,
    config: str,
    *,
    rerun: bool = False,
    source: Any = None,
    images: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Verification:
    """Recompute the content fingerprint of a config, in a folder or on the Hub, and compare; see ``verify_folder``.

    Args:
        repo: a repo folder, or a Hub id.
        config: the config's name.
        rerun: also make the config again and compare the result.
        source: the source, if it was a local folder: a folder, a Hub id or splits.
        images: a further folder that pictures named by ``source`` may be read from.
        revision: the branch, tag or commit of a Hub repo.
        token: a token to read with (default: the one of this machine).

    Raises:
        EndpointError: a rerun needs answers that are not on record.
        HubError: the Hub could not be reached or failed.
    """
    source = with_pictures(source, images)
    folder = Path(repo) if Path(repo).is_dir() else download_config(str(repo), config, revision=revision, token=token)
    return verify_folder(folder, config, rerun=rerun, source=source)


def download_config(repo_id: str, config: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Download a Hub repo's config as the repo is now, not from an older cache, and return the folder.

    Raises:
        UsageError: the repo, revision or config does not exist, or this token may not read it.
        DataError: the config's name is not valid, or its augmentation.json is for another config.
        HubError: the Hub could not be reached or failed.
    """
    check_name("config", config)
    hub = HubRepo(repo_id, token)

    def once() -> Path:
        head = hub.info(revision).sha
        assert head is not None
        remote = hub.files(head)
        if f"{config}/{NOTE}" not in remote:
            configs = _configs_in(remote)
            known = f"configs made here are {', '.join(configs)}" if configs else "no config was made here"
            raise UsageError(f"{repo_id} has no {config}/{NOTE}: {known}")
        return _download_configs(hub, head, remote, [config], None)

    return persist(once)


def withdraw(repo_id: str, ids: Sequence[str], *, squash: bool = False, token: str | None = None) -> dict[str, int]:
    """Remove posts, and all posts made from them, from every config of a repo in one commit; return rows by config.

    If another push comes in between, the repo is read again and the removal repeated. The old files stay in the repo's
    history.

    Args:
        repo_id: ORG/NAME of the dataset repo.
        ids: ids of posts, as in the source.
        squash: rewrite the branch as one commit, after which the Hub can delete the old files (other branches and pull
            requests keep theirs).
        token: a write token (default: the one of this machine).

    Raises:
        UsageError: the token may not write to the repo, or none of the ids is in it.
        DataError: the recipe of a config names another folder than the config's, or a name is not valid.
        HubError: the Hub could not be reached or failed.
    """
    hub = HubRepo(repo_id, token)
    sent: dict[str, int] = {}  # rows that the last commit removes: it may have landed although no answer came

    def once() -> dict[str, int]:
        head = hub.info().sha
        assert head is not None
        remote = hub.files(head)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            folder = Path(temporary) / "repo"
            folder.mkdir()
            _download_configs(hub, head, remote, _configs_in(remote), folder)
            gone = withdraw_posts(folder, ids)
            if not any(gone.values()):
                if sent:
                    return dict(sent)
                raise UsageError(
                    f"{repo_id} holds none of the {len(ids)} ids, neither as a post nor as the source of one"
                )
            local = choose(folder)
            sent.clear()
            sent.update(gone)
            _send(hub, local, head, remote, "Withdraw posts")
        return gone

    gone = persist(once)
    if squash:
        try:
            persist(hub.squash)
        except HubError as error:
            raise HubError(
                f"{error}: the posts are removed from the newest commit, but are still in the history; squash it "
                f'with huggingface_hub.super_squash_history("{repo_id}", repo_type="dataset")'
            ) from error
    return gone


# ---------------------------------------------------------------- inside


def _send(
    hub: HubRepo,
    local: "Selection",
    head: str | None,
    remote: Mapping[str, "RepoFile"],
    message: str,
    *,
    revision: str | None = None,
    create_pr: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Commit a folder's configs on top of ``head``, whose files are ``remote``."""
    card = None
    if head is not None and CARD in remote:
        card = read_card(hub.download(head, {CARD: remote[CARD]}, None) / CARD)
    text = _merged_card(local, card, hub.repo_id)
    plan, operations = _plan(local, remote, card, text)
    pushed = Pushed(hub.repo_id, tuple(plan), _card_diff(card, text), left_out=local.left_out, dry_run=dry_run)
    if dry_run or not plan:
        return pushed
    done = hub.commit(operations, message, head, revision=revision, create_pr=create_pr)
    return replace(pushed, url=done.pr_url if create_pr else done.commit_url)


def _configs_in(remote: Mapping[str, "RepoFile"]) -> list[str]:
    """Return the folders of a repo that hold an augmentation.json."""
    return sorted(path.partition("/")[0] for path in remote if path.count("/") == 1 and path.endswith(f"/{NOTE}"))


def _download_configs(
    hub: HubRepo, head: str, remote: Mapping[str, "RepoFile"], configs: Sequence[str], folder: Path | None
) -> Path:
    """Download the card and some configs of a commit, only the files that these name, and return the folder.

    Raises:
        DataError: the recipe of a config names another folder, or a name is not valid.
        Corrupt: an augmentation.json does not parse.
    """
    notes = [f"{config}/{NOTE}" for config in configs]
    others = [path for path in (CARD, *(f"{config}/{croissant.NAME}" for config in configs)) if path in remote]
    first = {path: remote[path] for path in [*notes, *others]}
    place = hub.download(head, first, folder)
    data: dict[str, RepoFile] = {}
    for config in configs:
        splits = read_note(place / config)["splits"]
        data |= {
            path: file
            for path, file in remote.items()
            if path.rpartition("/")[0] == config and is_data(path.rpartition("/")[2], splits)
        }
    place = hub.download(head, data, folder) if data else place
    if folder is not None:
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's notes
    return place


def _check_rights(notes: Mapping[str, dict[str, Any]]) -> None:
    """Check that every config may be published openly; raise ``UsageError`` if not."""
    for config, note in notes.items():
        facts = ConfigFacts.from_note(note)
        if facts.inherited:
            raise UsageError(
                f"{config} holds posts made from other people's retrieved posts, whatever its licence: push to a "
                "private repo, or pass --i-have-the-rights to publish it openly"
            )
        if facts.retrieved == "whole":
            raise UsageError(
                f"{config} holds posts that other people wrote, whatever its licence: push to a private repo, publish "
                "it with --retrieved ids-only, or pass --i-have-the-rights to publish it openly"
            )
        licence = facts.license
        if licence not in OPEN_LICENSES:
            raise UsageError(
                f"{config}: the licence is {licence!r}; push to a private repo, "
                "or pass --i-have-the-rights to publish it openly"
            )


def _merged_card(local: Selection, card: str | None, repo_id: str) -> str:
    """Return the repo's card, or the folder's if it has none, with the configs' sections and YAML put in."""
    text = local.card if card is None else card
    for config, note in local.notes.items():
        split = next(split for split in note["splits"] if split != STUBS)
        text = render(text, ConfigFacts.from_note(note), read_features(local.path / config, split), repo_id)
    assert text is not None
    if local.card is not None:
        for name, section in read_sections(local.card, "study").items():
            text = with_section(text, name, section)
        for name, section in read_sections(local.card, "quality").items():
            config = name.removeprefix("quality of ")
            if config in local.notes:
                text = with_section(text, name, section, after=f"config {config}")
    return text


def _plan(
    local: Selection, remote: Mapping[str, "RepoFile"], card: str | None, text: str
) -> tuple[list[Change], list[Any]]:
    """Return how the folder's configs differ from the repo, and the commit operations that update the repo."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    changes: list[Change] = []
    operations: list[Any] = []
    for name, path in local.files.items():
        if name not in remote or not same_bytes(path, remote[name]):
            changes.append(Change(name, "update" if name in remote else "add", path.stat().st_size))
            operations.append(CommitOperationAdd(name, path))
    for name in remote:
        if name.partition("/")[0] in local.notes and name not in local.files:
            changes.append(Change(name, "delete", remote[name].size))
            try:
                operations.append(CommitOperationDelete(name))
            except ValueError as error:
                raise DataError(f"the repo's file {name!r} has a name that no commit can delete") from error
    if card != text:
        data = text.encode()
        changes.append(Change(CARD, "add" if card is None else "update", len(data)))
        operations.append(CommitOperationAdd(CARD, data))
    return changes, operations


def _card_diff(card: str | None, text: str) -> str:
    now, then = (card or "").splitlines(), text.splitlines()
    if max(len(now), len(then)) > LINES_COMPARED:
        return (
            "" if now == then else f"the card has {len(now)} lines now and {len(then)} then: too many to compare here"
        )
    return "\n".join(difflib.unified_diff(now, then, "card now", "card then", "", "", 1, ""))
