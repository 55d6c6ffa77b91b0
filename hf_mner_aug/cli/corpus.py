"""The verb that makes a local corpus, to retrieve posts from: index."""

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
    out: Annotated[Path, typer.Option(help="The corpus, a file; posts that it has already are not added again.")],
    splits: Annotated[
        list[str], typer.Option(help="The splits of a dataset, or of a folder of train and other files.")
    ] = ["train"],  # noqa: B006 - typer reads it
    name: Annotated[str | None, typer.Option(help="What found posts name as their source.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence of posts that do not say theirs.")] = None,
    site: Annotated[str | None, typer.Option(help="The host of posts without a URL, as twitter.com.")] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where pictures may lie that the source names, beside its own folder."),
    ] = None,
) -> None:
    """Put posts into a local corpus, to search for entities."""
    say(hf_mner_aug.index(source, out, splits=splits, name=name, licence=licence, site=site, images=images))
