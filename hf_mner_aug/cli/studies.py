"""The verbs that measure: evaluate, errors, curve."""

import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import hf_mner_aug
from hf_mner_aug.backbones import BACKBONES
from hf_mner_aug.cli.hosts import AllowHost, confirm_hosts, go_on
from hf_mner_aug.cli.options import (
    Address,
    AsJson,
    Columns,
    CpusPerWorker,
    EngineName,
    GoldSource,
    GpusPerWorker,
    Images,
    IntoExisting,
    MemoryPerWorker,
    Repo,
    Workers,
    WriteCard,
    WritePage,
    engine_of,
)
from hf_mner_aug.columns.mapping import parse_columns
from hf_mner_aug.untrusted.printable import say, say_json

if TYPE_CHECKING:
    from hf_mner_aug.transform import Method

Seeds = Annotated[
    list[int], typer.Option(help="Seeds of the models, and of the augmentation without --augmentation-seeds.")
]
AugmentationSeeds = Annotated[
    list[int] | None, typer.Option(help="Seeds of the augmentation, each with every one of --seeds.")
]
Paired = Annotated[bool, typer.Option("--paired", help="Take augmentation seeds and --seeds one by one, in order.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A backbone's setting.")]
BackboneName = Annotated[
    str | None,
    typer.Option(help=f"The backbone: {', '.join(BACKBONES)} (default: crf, or relation_features for relations)."),
]
ReadOn = Annotated[str, typer.Option("--split", help="The split to read: test or validation.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before configs are made by paid calls.")]


def evaluate(
    repo: Repo,
    configs: Annotated[
        list[str] | None,
        typer.Option(help="Augmented configs; gold_10pct means their gold posts. Without any, REPO is a set of gold."),
    ] = None,
    backbone: BackboneName = None,
    seeds: Seeds = [0, 1, 2, 3, 4],  # noqa: B006 - typer reads the default
    augmentation_seeds: AugmentationSeeds = None,
    paired: Paired = False,
    set_: Settings = None,
    split: ReadOn = "test",
    split_by: Annotated[
        list[str] | None,
        typer.Option(help="A column, or matched (matching_score > 0.5): adds a table by its values."),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Search batch size and learning rate on gold first.")] = False,
    ablations: Annotated[
        list[str] | None,
        typer.Option(help="The configs that the others are compared with; gold is not repeated for them."),
    ] = None,
    write_card: WriteCard = False,
    write_page: WritePage = None,
    out: Annotated[Path | None, typer.Option(help="The study is written beside this folder (default: REPO).")] = None,
    source: GoldSource = None,
    images: Images = None,
    engine: EngineName = None,
    address: Address = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    memory_per_worker: MemoryPerWorker = None,
    yes: Yes = False,
    allow_host: AllowHost = None,
) -> None:
    """Train on gold, repeated gold and augmented posts, over seeds, and report the effect of augmentation."""
    chosen_engine = engine_of(
        engine,
        address=address,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker,
        memory_per_worker=memory_per_worker,
    )
    again = f"made again for each of {len(augmentation_seeds or seeds)} seeds"
    report = hf_mner_aug.evaluate(
        repo,
        configs or [],
        backbone=backbone,
        settings=set_ or [],
        seeds=seeds,
        augmentation_seeds=augmentation_seeds or [],
        paired=paired,
        split=split,
        split_by=split_by or [],
        grid=grid,
        ablations=ablations or [],
        out=out,
        source=source,
        images=images,
        engine=chosen_engine,
        ask=functools.partial(confirm, again, yes=yes, allowed=allow_host),
    )
    say(report.to_markdown())
    if write_card:
        report.write_card(repo)
    if write_page:
        report.write_page(write_page)
    say(report.folder)


def errors(
    repo: Repo,
    backbones: Annotated[list[str], typer.Option(help="Backbones, e.g. crf or token_classifier:encoder=DIR,epochs=5.")],
    configs: Annotated[list[str], typer.Option(help="The configs to train on.")],
    split: ReadOn = "validation",
    seed: Annotated[int, typer.Option(help="The seed of the models.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write each error with its post into this folder.")] = None,
    source: GoldSource = None,
    images: Images = None,
    as_json: AsJson = False,
) -> None:
    """Report the errors of backbones, their confusions, and the errors that they share."""
    options: dict[str, Any] = {"split": split, "seed": seed, "source": source, "images": images}
    for config, report in hf_mner_aug.errors(repo, configs, backbones, **options).items():
        if as_json:
            say_json(report.data)
        else:
            say(report.to_markdown())
        if out:
            report.write(out / config)


def curve(
    source: Annotated[str, typer.Argument(help="A dataset folder or a Hub id.")],
    methods: Annotated[list[str], typer.Option(help="The methods, e.g. lsms or rmda:corpus=FILE,image=false.")],
    out: Annotated[Path, typer.Option(help="The repo folder to write.")],
    ids: Annotated[
        Path | None, typer.Option(help="A folder with 10pct/train.txt, 10pct/dev.txt, 20pct/… of ids.")
    ] = None,
    fractions: Annotated[
        list[float] | None, typer.Option(help="Parts of train and validation in place of --ids, e.g. 0.1 0.2 0.4.")
    ] = None,
    backbone: BackboneName = None,
    seeds: Seeds = [0, 1, 2, 3, 4],  # noqa: B006 - typer reads the default
    augmentation_seeds: AugmentationSeeds = None,
    paired: Paired = False,
    set_: Settings = None,
    split: ReadOn = "test",
    into_existing: IntoExisting = False,
    write_page: WritePage = None,
    images: Images = None,
    columns: Columns = None,
    engine: EngineName = None,
    address: Address = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    memory_per_worker: MemoryPerWorker = None,
    yes: Yes = False,
    allow_host: AllowHost = None,
) -> None:
    """Augment published subsets (10, 20, 40%), evaluate each, and write one table and figure."""
    chosen_engine = engine_of(
        engine,
        address=address,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker,
        memory_per_worker=memory_per_worker,
    )
    made = f"made for each subset, and again for each of {len(augmentation_seeds or seeds)} seeds"
    typed = {part.partition("=")[0] for spec in methods for part in spec.partition(":")[2].split(",")}
    found = hf_mner_aug.curve(
        source,
        ids,
        methods,
        out=out,
        fractions=fractions or [],
        backbone=backbone,
        settings=set_ or [],
        seeds=seeds,
        augmentation_seeds=augmentation_seeds or [],
        paired=paired,
        split=split,
        into_existing=into_existing,
        engine=chosen_engine,
        images=images,
        columns=parse_columns(columns),
        ask=functools.partial(confirm, made, yes=yes, allowed=allow_host, typed=typed),
    )
    say(found.to_markdown())
    if write_page:
        found.write_page(write_page)
    say(found.folder)


def confirm(
    made: str,
    methods: Sequence["Method"],
    *,
    yes: bool,
    allowed: Sequence[str] | None,
    typed: Collection[str] = (),
) -> None:
    """Ask the user to allow the methods' hosts and to pay; ``made`` says how often posts are made.

    Raises:
        UsageError: a host is not allowed, or there is no terminal to ask in.
    """
    confirm_hosts(methods, typed=typed, allowed=allowed)
    paid = [method.name for method in methods if method.costs]
    if paid and not yes:
        say(f"{', '.join(paid)}: {made}, by calls that may cost money")
        go_on()
