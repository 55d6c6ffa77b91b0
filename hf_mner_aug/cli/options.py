"""Arguments and options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

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
