"""The verbs ``export`` and ``import-review``: posts for other tools, and the reviewed ones back."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import hf_mner_aug
from hf_mner_aug.cli.options import Out
from hf_mner_aug.readers.spans.annotated import Offsets
from hf_mner_aug.untrusted.printable import say
from hf_mner_aug.values import parse_pairs


def export(
    folder: Annotated[
        str, typer.Argument(help="A repo folder, a dataset's folder or Hub id, or a file of corrections.")
    ],
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


def import_review(
    folder: Annotated[Path, typer.Argument(help="The repo folder, or the file of corrections.")],
    config: Annotated[str, typer.Argument(help="The config that was exported.")],
    file: Annotated[Path, typer.Argument(help="What Label Studio (JSON) or Doccano (JSONL) exported.")],
    config_name: Annotated[str | None, typer.Option(help="The new config's name (default: CONFIG_reviewed).")] = None,
    untouched: Annotated[
        Literal["drop", "keep"], typer.Option(help="What to do with made posts that the file does not decide on.")
    ] = "drop",
    types: Annotated[
        str | None, typer.Option(metavar="OLD=NEW,…", help="Rename labels of the tool, e.g. Person=PER.")
    ] = None,
    offsets: Annotated[Offsets, typer.Option(help="The unit of the tool's offsets.")] = "auto",
    reviewers: Annotated[
        str | None, typer.Option(metavar="NAME,…", help="Names that the card gives; it gives none by itself.")
    ] = None,
    retrieved: Annotated[
        Literal["whole", "ids-only"], typer.Option(help="How to publish posts that rmda retrieved.")
    ] = "whole",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another config of that name.")] = False,
) -> None:
    """Take a reviewed file back: accepted, corrected and rejected posts become the config CONFIG_reviewed."""
    from hf_mner_aug.exporting.review import Reviewed

    options: dict[str, Any] = {"config_name": config_name, "untouched": untouched, "offsets": offsets}
    options |= {"types": parse_pairs(types, "--types", "OLD=NEW,…, as Person=PER"), "retrieved": retrieved}
    names = [name.strip() for name in (reviewers or "").split(",") if name.strip()]
    done = hf_mner_aug.import_review(folder, config, file, reviewers=names, overwrite=overwrite, **options)
    say(done)
    if isinstance(done, Reviewed):
        say(f'load_dataset("{folder}", "{done.config}")')
