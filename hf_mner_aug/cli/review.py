"""The verbs ``export`` and ``import-review``: posts for other tools, and the reviewed ones back."""

from typing import Annotated, Any

import typer

import hf_mner_aug
from hf_mner_aug.cli.options import Out
from hf_mner_aug.untrusted.printable import say


def export(
    folder: Annotated[str, typer.Argument(help="A repo folder; or a dataset's folder or Hub id.")],
    config: Annotated[str | None, typer.Argument(help="The config (default: the folder's only one).")] = None,
    *,
    to: Annotated[str, typer.Option(metavar="FORMAT", help="label-studio, doccano, spans, conll, imgid or spacy.")],
    out: Out,
    keep_original: Annotated[
        bool | None,
        typer.Option(
            "--keep-original/--made-only",
            help="Also write the posts that no method made (default: not for label-studio and doccano).",
        ),
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option(help="The splits to write (default: all; for label-studio and doccano, those with made posts)."),
    ] = None,
    posts: Annotated[int | None, typer.Option("--posts", "-n", help="Made posts to write, evenly spread.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
) -> None:
    """Write the posts of a config, with their pictures, for a tool in which people review them, or for a trainer."""
    chosen: dict[str, Any] = {"keep_original": keep_original, "splits": splits or (), "posts": posts}
    say(hf_mner_aug.export(folder, config, to=to, out=out, overwrite=overwrite, **chosen))
