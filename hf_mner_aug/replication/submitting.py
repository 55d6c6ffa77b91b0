"""Sends the scores of a replicated table to a leaderboard: a dataset repo that anyone may add rows to, or a folder.

Each submission is a file of its own, so that neither two at once nor two pull requests are in each other's way.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.publishing.cards import template
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.hub_repo import HubRepo, persist
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.replication.board import FOLDER, Result, fetch, leaderboard
from hf_mner_aug.replication.manifests import open_manifest
from hf_mner_aug.replication.page import Table
from hf_mner_aug.replication.preflight import WHOLE
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.storage import artifacts
from hf_mner_aug.studies.page import read_runs
from hf_mner_aug.untrusted.cards import CARD
from hf_mner_aug.untrusted.shapes import read_json

AGAIN = "run the table again"


class Inputs(TypedDict):
    """The parts of ``study.json`` that a row is checked by."""

    configs: Mapping[str, str]
    version: str


class Score(TypedDict):
    """A mean over trainings, 0 to 1, and its standard deviation."""

    mean: float
    sd: float | None


class Trained(TypedDict):
    """The scores of the trainings on one config or control."""

    name: str
    kind: str
    f1: Score
    seconds: float


class Compared(TypedDict):
    """A difference of mean F1."""

    name: str
    against: str
    delta: float
    p: float
    better: bool | None


class Reported(TypedDict):
    """The parts of ``report.json`` that a row is made of."""

    fingerprint: str
    backbone: str
    settings: Mapping[str, Any]
    seeds: list[int]
    posts: int
    rows: list[Trained]
    controls: list[Compared]
    comparisons: list[Compared]


@dataclass(frozen=True)
class Submitted:
    """The cells whose rows a submission added, those that are refused with the reason, and the commit's address.

    ``repo`` is the repo, or the name of the folder. Without ``url``, which is then the path of the new file, the
    leaderboard has all rows.
    """

    repo: str
    cells: tuple[str, ...]
    refused: tuple[str, ...]
    url: str | None = None

    def __str__(self) -> str:
        """Return a line for each row, and the address."""
        lines = [*(f"sent: {cell}" for cell in self.cells), *(f"refused: {line}" for line in self.refused)]
        return "\n".join([*lines, self.url or f"{self.repo} has all other rows already"])


def submit(
    paper: str,
    table: str,
    repo: str | Path,
    *,
    out: str | Path,
    cells: Sequence[str] = (),
    create_pr: bool = False,
    token: str | None = None,
) -> Submitted:
    """Add the scores of a table's methods to a leaderboard, as one commit or one pull request.

    A row is sent only if the config, its recipe and the study are those that the table was made of. Rows that the
    leaderboard has are not sent again; a repo that does not exist is created, as a private one.

    Args:
        paper: as ``gmda``.
        table: as ``table2``.
        repo: ORG/NAME of the dataset repo, or a folder that exists.
        out: the folder that the table was run in.
        cells: those to send; by default all with a score of a method.
        create_pr: open a pull request instead of committing.
        token: a write token (default: the one of this machine).

    Raises:
        UsageError: the table was not run, no row can be sent (with the reasons), this token may not write to the repo,
            or a pull request is to be opened on a folder.
        HubError: the Hub could not be reached or failed.
    """
    hub = board_of(repo, token, create_pr=create_pr)
    results, refused = rows_of(paper, table, Path(out), cells)
    if not results:
        raise UsageError(f"nothing of {paper} {table} can be sent: {'; '.join(refused) or 'no score of a method'}")

    def sent_to(place: str, known: Sequence[Result]) -> tuple[list[Result], Submitted]:
        lines = {one.to_line() for one in known}
        new = [one for one in results if one.to_line() not in lines]
        return new, Submitted(place, tuple(one.cell for one in new), tuple(refused))

    def once() -> Submitted:
        assert isinstance(hub, HubRepo)
        if (info := hub.find()) is None:
            hub.create(private=True)
            info = hub.info()
        head = info.sha
        assert head is not None
        remote = hub.files(head)
        new, sent = sent_to(hub.repo_id, fetch(hub, head, remote).results)
        if not new:
            return sent
        message = f"Add {len(new)} result{'s' * (len(new) > 1)} of {paper} {table}"
        done = hub.commit(_operations(new, hub.repo_id, CARD in remote), message, head, create_pr=create_pr)
        return dataclasses.replace(sent, url=done.pr_url if create_pr else done.commit_url)

    if isinstance(hub, HubRepo):
        return persist(once)
    new, sent = sent_to(hub.resolve().name, leaderboard(hub).results)
    if not new:
        return sent
    path, data = _file(new)
    (hub / FOLDER).mkdir(exist_ok=True)
    if (hub / FOLDER).resolve().parent != hub.resolve():
        raise UsageError(f"{hub.name}/{FOLDER}: expected a folder, found a link to another place")
    artifacts.write_atomically(hub / path, data)
    return dataclasses.replace(sent, url=str(hub / path))


def board_of(repo: str | Path, token: str | None = None, *, create_pr: bool = False) -> HubRepo | Path:
    """Return the repo that rows are sent to, or the folder if there is one of that name.

    Raises:
        UsageError: it is neither a folder nor the id of a repo, or a pull request is to be opened on a folder.
    """
    if not (folder := Path(repo)).is_dir():
        return HubRepo(str(repo), token)
    if create_pr:
        raise UsageError(f"{folder.name} is a folder here: a pull request needs ORG/NAME of a repo")
    return folder


def rows_of(paper: str, table: str, out: Path, cells: Sequence[str] = ()) -> tuple[list[Result], list[str]]:
    """Return the rows of a table's finished cells of methods, and a line for each that is refused.

    Raises:
        UsageError: the table was not run, or is a smoke run.
    """
    whole = Table.read(out / f"{paper}-{table}").data
    if whole["smoke"]:
        raise UsageError(f"{paper} {table}: a smoke run proves no figure, and is never sent")
    if whole["kind"] != "scores":
        raise UsageError(f"{paper} {table} has no scores of models, which a leaderboard is of")
    manifest = open_manifest(paper, table)
    results, refused = [], []
    for found in whole["cells"]:
        row = manifest.rows.get(found["cell"].partition("@")[0])
        if not found["here"] or row is None or not row.augmentation or (cells and found["cell"] not in cells):
            continue
        try:
            results.append(_row(paper, table, found, out))
        except (UsageError, FileNotFoundError) as error:
            refused.append(f"{found['cell']}: {_told(error)}")
    return results, refused


# ---------------------------------------------------------------- inside


def _row(paper: str, table: str, found: Mapping[str, Any], out: Path) -> Result:
    """Return the row of a finished cell; its figures are those of the study's report.

    Raises:
        UsageError: the config, its recipe or the study are not those that the cell was made of.
        FileNotFoundError: a file of the study is gone.
    """
    manifest = open_manifest(paper, table)
    name, _, where = found["cell"].partition("@")
    column = manifest.columns[where]
    fraction = column.subset or WHOLE
    config = f"{manifest.rows[name].augmentation}_{column.set}_{fraction}"
    folder, study = out / f"{paper}-{table}" / "run", out / found["study"]
    if not found["study"] or not study.resolve().is_relative_to(out.resolve()):
        raise DataError(f"the study {found['study']!r} is not one of the table's folder")
    note = read_note(folder / config)
    rows = verify_folder(folder, config)
    if not rows.ok:
        raise DataError(f"the rows of {config} are not those that it states: {rows.difference}")
    inputs, report = read_json(study / "study.json", Inputs), read_json(study / "report.json", Reported)
    made, trained = note.get("libraries", {}).get("hf-mner-aug"), inputs["version"]
    if hashlib.sha256(canonical_json(inputs).encode()).hexdigest() != report["fingerprint"]:
        raise DataError(f"study.json and report.json are of different studies: {AGAIN}")
    if inputs["configs"].get(config) != note["content_fingerprint"]:
        raise DataError(f"{config} is not the one that the study is of: {AGAIN}")
    if made != trained:
        raise DataError(f"{config} was made by version {made}, and the models were trained by {trained}: {AGAIN}")
    if not all(control["better"] is False for control in report["controls"]):
        raise DataError("a model trained on shuffled labels does as well, so its study cannot be trusted")
    scores = {row["name"]: row for row in report["rows"]}
    if config not in scores:
        raise DataError(f"the study has no {config}: {AGAIN}")
    compared = {found["against"]: found for found in report["comparisons"] if found["name"] == config}
    gold = next(scores[against]["f1"]["mean"] for against in compared if scores[against]["kind"] == "gold")
    f1, repeated = scores[config]["f1"], compared.get(f"oversampled_to_{config}")
    usage = note["funnel"].get("usage", {})
    recipe = {key: value for key, value in note["recipe"].items() if key != "source"}
    return Result(
        paper=paper,
        table=table,
        cell=found["cell"],
        method=note["recipe"]["method"],
        recipe=canonical_json(recipe),
        recipe_fingerprint=note["recipe_fingerprint"],
        content_fingerprint=note["content_fingerprint"],
        set=column.set,
        fraction=fraction,
        backbone=report["backbone"],
        settings=canonical_json(report["settings"]),
        metric=column.metric,
        mean=100 * f1["mean"],
        sd=None if f1["sd"] is None else 100 * f1["sd"],
        gold=100 * gold,
        delta=100 * repeated["delta"] if repeated else None,
        p=repeated["p"] if repeated else None,
        seeds=tuple(report["seeds"]),
        posts=report["posts"],
        seconds=scores[config]["seconds"],
        usd=usage.get("usd") if usage else 0.0,
        code=next((ran["code"] for ran in reversed(read_runs(study))), f"version {trained}"),
        version=trained,
    )


def _told(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{Path(error.filename).name} of its study is gone: {AGAIN}"
    return str(error)


def _file(new: Sequence[Result]) -> tuple[str, bytes]:
    """Return the path of a file of rows, which is named by its content, and that."""
    data = "".join(f"{one.to_line()}\n" for one in new).encode()
    return f"{FOLDER}/{new[0].paper}-{new[0].table}-{hashlib.sha256(data).hexdigest()[:16]}.jsonl", data


def _operations(new: Sequence[Result], repo_id: str, has_card: bool) -> list[Any]:
    """Return a commit that adds rows, and the repo's card if it has none."""
    from huggingface_hub import CommitOperationAdd

    operations = [CommitOperationAdd(*_file(new))]
    if not has_card:
        card = template("results.md").render(repo=repo_id)
        operations.append(CommitOperationAdd(CARD, card.encode()))
    return operations
