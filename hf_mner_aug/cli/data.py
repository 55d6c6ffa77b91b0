"""The verb ``index``: builds a local corpus to retrieve posts from."""

from pathlib import Path
from typing import Annotated

import typer

import hf_mner_aug
from hf_mner_aug.untrusted.printable import say


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(index)


def index(
    source: Annotated[
        str, typer.Argument(help="A dataset folder, Hub id or DIR:config; a .txt or .jsonl file, or a folder of them.")
    ],
    out: Annotated[Path, typer.Option(help="The corpus file; posts that it already has are not added again.")],
    splits: Annotated[list[str], typer.Option(help="The splits to read.")] = ["train"],  # noqa: B006 - typer reads it
    name: Annotated[str | None, typer.Option(help="The source that found posts name.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence of posts that do not name one.")] = None,
    site: Annotated[str | None, typer.Option(help="The host of posts without a URL, e.g. twitter.com.")] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A further folder to read the pictures from that the source names."),
    ] = None,
) -> None:
    """Add posts to a local corpus that can be searched for entities."""
    say(hf_mner_aug.index(source, out, splits=splits, name=name, licence=licence, site=site, images=images))
