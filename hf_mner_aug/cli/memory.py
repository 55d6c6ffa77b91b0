"""The verb ``memory``: shows the errors of a model that memory_hard has learnt."""

from pathlib import Path
from typing import Annotated

import typer

import hf_mner_aug
from hf_mner_aug.untrusted.printable import say


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(memory)


def memory(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A repo folder, or a run of memory_hard.")],
    config: Annotated[str, typer.Argument(help="The config, if the folder has several of memory_hard.")] = "",
    html: Annotated[Path | None, typer.Option(help="Also write the tree into this HTML file.")] = None,
) -> None:
    """Print the errors of a model as a tree: patterns, examples, posts written for them, suspected label errors."""
    from hf_mner_aug.storage.artifacts import write_atomically

    found = hf_mner_aug.memory(folder, config)
    if html is None:
        say(found.to_text().removesuffix("\n"))
    else:
        write_atomically(html, found.to_html().encode("utf-8", "replace"))
        say(html)
