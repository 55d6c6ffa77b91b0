"""Arguments and options that several verbs share."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hf_mner_aug.exceptions import UsageError

if TYPE_CHECKING:
    from hf_mner_aug.runs.engines import Engine

Source = Annotated[str, typer.Argument(help="A dataset folder or a Hub id, optionally with @revision and :config.")]
Repo = Annotated[str, typer.Argument(help="The repo folder, or ORG/NAME on the Hub.")]
GoldSource = Annotated[
    str | None, typer.Option("--source", help="The source folder of a config whose method replaces posts.")
]
Images = Annotated[
    Path | None, typer.Option("--images", metavar="DIR", help="A further folder with the pictures that the data names.")
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="OURS=THEIRS,…",
        help="The source's names of our columns, e.g. tokens=words,ner_tags=labels.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="The folder to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a config made by another recipe.")]
IntoExisting = Annotated[
    bool, typer.Option("--into-existing", help="Publish into a folder even if it holds other files.")
]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", help="What works: local, pool (several processes) or ray (a cluster)."),
]
Address = Annotated[
    str | None,
    typer.Option(help="The Ray cluster: auto, or HOST:PORT (default: one that is started here, and stopped)."),
]
Workers = Annotated[int | None, typer.Option(help="Ray workers (default: as many as the cluster has room for).")]
GpusPerWorker = Annotated[float | None, typer.Option(help="GPUs of a Ray worker, which may be a fraction.")]
CpusPerWorker = Annotated[float | None, typer.Option(help="CPUs of a Ray worker (default: 1).")]
MemoryPerWorker = Annotated[float | None, typer.Option(metavar="GB", help="The memory that a Ray worker sets aside.")]
WriteCard = Annotated[bool, typer.Option("--write-card", help="Write the table into the folder's card.")]
WritePage = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Put the tables into this Markdown page, with command, date and machine."),
]
EndpointSettings = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="NAME=VALUE,…",
        help="Settings of an endpoint: max_concurrency, usd, price_in, calls, ….",
    ),
]
Replay = Annotated[bool, typer.Option("--replay", help="Use recorded answers only; send nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def engine_of(
    name: str | None,
    num_proc: int = 1,
    *,
    address: str | None,
    workers: int | None,
    gpus_per_worker: float | None,
    cpus_per_worker: float | None,
    memory_per_worker: float | None,
) -> "Engine":
    """Return the engine of the options.

    Raises:
        UsageError: an option is of another engine.
    """
    from hf_mner_aug.runs.engines import open_engine

    settings = {
        "address": address,
        "workers": workers,
        "gpus_per_worker": gpus_per_worker,
        "cpus_per_worker": cpus_per_worker,
        "memory_per_worker": memory_per_worker,
    }
    given = {setting: value for setting, value in settings.items() if value is not None}
    engine = open_engine(name, num_proc)
    if given and engine.name != "ray":
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} is an option of --engine ray")
    return dataclasses.replace(cast(Any, engine), **given) if given else engine
