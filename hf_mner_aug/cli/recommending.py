"""The verb ``recommend``: which method, how much of it and with which weight, from train alone."""

import functools
from pathlib import Path
from typing import Annotated

import typer

import hf_mner_aug
from hf_mner_aug.cli.hosts import AllowHost
from hf_mner_aug.cli.options import (
    Address,
    Columns,
    CpusPerWorker,
    EngineName,
    GpusPerWorker,
    Images,
    MemoryPerWorker,
    Out,
    Source,
    Workers,
    WritePage,
    engine_of,
)
from hf_mner_aug.cli.studies import BackboneName, Settings, Yes, confirm
from hf_mner_aug.columns.mapping import parse_columns
from hf_mner_aug.untrusted.printable import say


def recommend(
    source: Source,
    out: Out,
    budget: Annotated[str, typer.Option(help="The time of all trainings together: 90s, 30m, 1h30m.")] = "30m",
    usd: Annotated[float | None, typer.Option(help="The most that calls may cost; for methods that pay.")] = None,
    backbone: BackboneName = None,
    set_: Settings = None,
    methods: Annotated[
        list[str] | None, typer.Option(help="The methods, e.g. lsms or lsms:ratio=0.2 (default: all that can).")
    ] = None,
    recipes: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="YAML recipes, tried as they are.")] = None,
    copies: Annotated[list[int], typer.Option(help="Amounts: new posts for each post.")] = [1, 4],  # noqa: B006
    weights: Annotated[list[float], typer.Option(help="Weights of made posts; 1 is none.")] = [1.0, 0.5],  # noqa: B006
    seeds: Annotated[list[int], typer.Option(help="Seeds of the final comparison.")] = [0, 1, 2],  # noqa: B006
    fraction: Annotated[float, typer.Option(help="The share of train to use.")] = 1.0,
    subset_seed: Annotated[int, typer.Option(help="The seed that draws the posts of the fraction.")] = 0,
    ids_train: Annotated[
        Path | None, typer.Option(help="Ids of the train posts: one per line, or an IMGID file.")
    ] = None,
    images: Images = None,
    columns: Columns = None,
    write_page: WritePage = None,
    engine: EngineName = None,
    address: Address = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    memory_per_worker: MemoryPerWorker = None,
    yes: Yes = False,
    allow_host: AllowHost = None,
) -> None:
    """Find the method, amount and weight that help a backbone on a set, from train alone; gold is an answer, too."""
    chosen_engine = engine_of(
        engine,
        address=address,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker,
        memory_per_worker=memory_per_worker,
    )
    typed = {part.partition("=")[0] for spec in methods or () for part in spec.partition(":")[2].split(",")}
    found = hf_mner_aug.recommend(
        source,
        out=out,
        budget=budget,
        usd=usd,
        backbone=backbone,
        settings=set_ or [],
        methods=methods or [],
        recipes=recipes or [],
        copies=copies,
        weights=weights,
        seeds=seeds,
        fraction=fraction,
        subset_seed=subset_seed,
        ids_train=ids_train,
        images=images,
        columns=parse_columns(columns),
        engine=chosen_engine,
        ask=functools.partial(confirm, "tried on folds of train", yes=yes, allowed=allow_host, typed=typed),
    )
    if write_page:
        found.write_page(write_page)
    say(found.out / "recommendation.html")
    say(found.line)
