"""The verbs ``replicate`` and ``leaderboard``: a table of a paper as far as it runs here, and rows of all."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import hf_mner_aug
from hf_mner_aug.cli.hosts import AllowHost, confirm_hosts, go_on
from hf_mner_aug.cli.options import (
    Address,
    CpusPerWorker,
    EngineName,
    GpusPerWorker,
    MemoryPerWorker,
    Repo,
    Workers,
    WritePage,
    engine_of,
)
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.untrusted.printable import say
from hf_mner_aug.values import parse_each

if TYPE_CHECKING:
    from hf_mner_aug.replication.preflight import Plan
    from hf_mner_aug.transform import Method

ASK_ABOVE_HOURS = 1


def replicate(
    paper: Annotated[
        str | None, typer.Argument(help="The paper, e.g. gmda; without one, list papers and tables.")
    ] = None,
    table: Annotated[str | None, typer.Argument(help="The table, e.g. table2.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder with a folder for each set, converted or as published."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("replicated"),
    cells: Annotated[
        list[str] | None, typer.Option(help="Cells or rows, e.g. mmt5+gmda@t15_10pct or 'mmt5*' (default: all).")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option(help="Seeds of models and augmentation (default: the table's).")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Of all methods: embedded (no download, no key) in place of the paper's models.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="METHOD.NAME=VALUE", help="A parameter of a method or augmentation of the table."
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=BACKBONE", help="Another backbone for a model of the table, e.g. mmt5=crf; repeatable."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what can run, what is missing and what it costs, and stop.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try all parts on the sample set with tiny models; it proves no figure.")
    ] = False,
    predictions: Annotated[
        str | None,
        typer.Option(metavar="CELL", help="Write a page of what the model of a finished cell said; train nothing."),
    ] = None,
    phrase: Annotated[str, typer.Option(help="With --predictions: only posts with these words.")] = "",
    submit: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/NAME", help="Add the scores of methods to this leaderboard, as one commit, or to a folder."
        ),
    ] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="With --submit: open a pull request.")] = False,
    write_page: WritePage = None,
    engine: EngineName = None,
    address: Address = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    memory_per_worker: MemoryPerWorker = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a long or paid run.")] = False,
    allow_host: AllowHost = None,
) -> None:
    """Run a table of a paper as far as possible here: paper, here ± sd, difference, and why other cells did not run."""
    from hf_mner_aug.replication.page import Table
    from hf_mner_aug.replication.submitting import board_of

    if paper is None or table is None:
        _list(paper)
        return
    if predictions is not None:
        seed = seeds[0] if seeds else None
        asked: dict[str, Any] = {"data": data or "", "smoke": smoke, "seed": seed, "phrase": phrase}
        say(hf_mner_aug.show_cell(paper, table, predictions, out=out, **asked))
        return
    if phrase:
        raise UsageError("--phrase is for --predictions CELL")
    if create_pr and not submit:
        raise UsageError("--create-pr is for --submit ORG/NAME")
    if submit and smoke:
        raise UsageError("a smoke run proves no figure, and is never sent: leave out --smoke or --submit")
    if submit:
        board_of(submit, create_pr=create_pr)  # a wrong name is told before hours of training
    working = engine_of(
        engine,
        address=address,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker,
        memory_per_worker=memory_per_worker,
    )
    params, models = _params(set_ or ()), _models(backbone or ())

    def ask(found: "Plan", methods: Sequence["Method"]) -> None:
        confirm_hosts(methods, typed={name for given in params.values() for name in given}, allowed=allow_host)
        usd, hours = found.usd(), found.hours()
        if not yes and not smoke and (hours > ASK_ABOVE_HOURS or any(method.costs for method in methods)):
            go_on(f"roughly {hours:.0f} hours and USD {usd:.2f}. Go on?")

    made = hf_mner_aug.replicate(
        paper,
        table,
        data=data or "",
        out=out,
        cells=cells or (),
        seeds=seeds or (),
        preset=preset or "",
        params=params,
        models=models,
        smoke=smoke,
        dry_run=dry_run,
        engine=working,
        say=say,
        ask=ask,
    )
    if isinstance(made, Table):
        say(made.to_markdown())
        folder = out / f"{paper}-{table}"
        if write_page:
            Table.read(folder, smoke=smoke).write_page(write_page)
        say(folder)
        if submit:
            finished = [cell["cell"] for cell in made.data["cells"]]
            say(hf_mner_aug.submit(paper, table, submit, out=out, cells=finished, create_pr=create_pr))


def leaderboard(repo: Repo, write_page: WritePage = None) -> None:
    """List the scores that replications sent to a leaderboard: a table for each set, best first."""
    found = hf_mner_aug.leaderboard(repo)
    say(found.to_markdown())
    if write_page:
        found.write_page(write_page)


def _params(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the parameters of ``--set``, by method."""
    params: dict[str, dict[str, Any]] = {}
    for name, value in parse_each(given, "--set").items():
        whose, dot, parameter = name.partition(".")
        if not dot or not parameter:
            raise UsageError(f"--set {name}={value}: name the method, as in rmda.corpus=FILE")
        params.setdefault(whose, {})[parameter] = value
    return params


def _models(given: Sequence[str]) -> dict[str, str]:
    """Return the backbones of ``--backbone``, by the model of the table in whose place they stand."""
    models: dict[str, str] = {}
    for text in given:
        name, equals, spec = text.partition("=")
        if not equals or not spec:
            raise UsageError(f"--backbone {text}: expected MODEL=BACKBONE, as mmt5=crf:c1=0.1")
        models[name] = spec
    return models


def _list(paper: str | None) -> None:
    """List the tables of the papers with what each needs."""
    from hf_mner_aug.exceptions import UnknownName
    from hf_mner_aug.replication.manifests import known_sets, manifest_names, open_manifest

    named, sets = manifest_names(), known_sets()
    if paper is not None and paper not in named:
        raise UnknownName("paper", paper, named)
    for name in [paper] if paper else named:
        for table in named[name]:
            manifest = open_manifest(name, table)
            say(f"{name} {table}: {manifest.title}")
            for column in dict.fromkeys(column.set for column in manifest.columns.values()):
                say(f"    set {column}: {sets[column].title}")
            for what, augmentation in manifest.augmentations.items():
                needs = [f"{parameter}: {told}" for parameter, told in augmentation.needs.items()]
                needs += [f"a GPU with about {augmentation.gpu_gb} GB"] if augmentation.gpu_gb else []
                preset = f" with --preset {augmentation.preset}" if augmentation.preset else ""
                preset += "".join(f", {other} on {name}" for name, other in augmentation.presets.items())
                preset += f", target {augmentation.target}" if augmentation.target else ""
                say(
                    f"    augmentation {what}: {augmentation.method}{preset}"
                    + (f" ({'; '.join(needs)})" if needs else "")
                )
            for what, model in manifest.models.items():
                say(f"    model {what}: {model.backbone}" + (f" ({model.note})" if model.note else ""))
            for told in filter(
                None, (manifest.second_hand and f"figures from {manifest.second_hand}", manifest.unread)
            ):
                say(f"    {told}")
