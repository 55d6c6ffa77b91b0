"""The verb ``quality``: measures the posts of a config."""

from pathlib import Path
from typing import Annotated

import typer

import hf_mner_aug
from hf_mner_aug.untrusted.printable import console, for_terminal, say, say_json


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(quality)


def quality(
    repo: Annotated[str, typer.Argument(help="The repo folder, or ORG/NAME on the Hub.")],
    configs: Annotated[list[str], typer.Argument(help="The configs.")],
    encoder: Annotated[
        str | None, typer.Option(help="A sentence encoder (folder or Hub id), in addition to TF-IDF.")
    ] = None,
    language_model: Annotated[
        str | None, typer.Option(help="A causal language model (folder or Hub id), e.g. gpt2, for perplexity.")
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="NAME/WEIGHTS of open_clip, hf-hub:ORG/REPO or a folder, instead of CCA.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Predicts labels (default: crf; none for relations), e.g. relation:encoder=DIR."),
    ] = None,
    one_copy: Annotated[bool, typer.Option("--one-copy", help="Measure one made post of each gold post.")] = False,
    source: Annotated[
        str | None, typer.Option(help="The local source folder of a config whose method replaces posts.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A further folder to read the pictures from that the source names."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    write_card: Annotated[bool, typer.Option("--write-card", help="Write the table into the folder's card.")] = False,
) -> None:
    """Measure configs: similarity to the source, diversity, perplexity, labels, pictures, repetitions, leaks."""
    report = hf_mner_aug.quality(
        repo,
        configs,
        encoder=encoder,
        language_model=language_model,
        clip=clip,
        backbone=backbone,
        one_copy=one_copy,
        source=source,
        images=images,
    )
    if write_card:
        report.write_card(Path(repo))
    screen = console()
    if as_json:
        say_json(report.data)
    elif screen.is_terminal:
        screen.print(report.to_table())
        for note in report.notes:
            screen.print(f"- {for_terminal(note)}")
    else:
        say(report.to_markdown())
