"""The verb ``hydrate``: puts retrieved posts back into a config that holds only their ids."""

from pathlib import Path
from typing import Annotated, Any

import typer

import hf_mner_aug
from hf_mner_aug.untrusted.printable import say


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(hydrate)


def hydrate(
    repo: Annotated[str, typer.Argument(help="The repo folder, or ORG/NAME on the Hub.")],
    config: Annotated[str, typer.Argument(help="A config made with --retrieved ids-only.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    corpus: Annotated[Path | None, typer.Option(help="A corpus of hf-mner-aug index that holds the posts.")] = None,
    posts: Annotated[
        Path | None, typer.Option(help="An export of the posts: a .jsonl or .txt file, or a folder of them.")
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="Fetch each post from its URL, in its present state.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a config made by another recipe.")] = False,
    into_existing: Annotated[
        bool, typer.Option("--into-existing", help="Write into a folder even if it holds other files.")
    ] = False,
) -> None:
    """Put the words and pictures of retrieved posts back into a config that holds only their ids."""
    options: dict[str, Any] = {"overwrite": overwrite, "into_existing": into_existing}
    done = hf_mner_aug.hydrate(repo, config, out, corpus=corpus, posts=posts, web=web, **options)
    say(done)
    say(f'load_dataset("{out}", "{done.config}")')
