"""The verbs of published configs: ``push``, ``withdraw``, ``verify`` and ``hydrate``."""

from pathlib import Path
from typing import Annotated, Any

import typer

import hf_mner_aug
from hf_mner_aug.cli.options import Images, IntoExisting, Overwrite, Repo
from hf_mner_aug.untrusted.printable import say


def push(
    folder: Annotated[Path, typer.Argument(help="The repo folder.")],
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The dataset repo; created if it does not exist.")],
    public: Annotated[bool, typer.Option("--public", help="Make a new repo public.")] = False,
    rights: Annotated[
        bool, typer.Option("--i-have-the-rights", help="Confirm that you may publish what the card restricts.")
    ] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request.")] = False,
    revision: Annotated[str | None, typer.Option(help="The branch.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and send nothing.")] = False,
) -> None:
    """Push a repo folder to the Hub as one commit; other content of the repo is kept."""
    options: dict[str, Any] = {"private": not public, "create_pr": create_pr, "revision": revision}
    say(hf_mner_aug.push(folder, repo, rights=rights, dry_run=dry_run, **options))


def withdraw(
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The dataset repo.")],
    ids: Annotated[Path, typer.Option(help="Ids of posts, one per line.")],
    squash: Annotated[bool, typer.Option("--squash", help="Also squash the repo's history into one commit.")] = False,
) -> None:
    """Remove posts, and everything made from them, from every config of a Hub repo, in one commit."""
    from hf_mner_aug.runs.subset import read_ids

    for config, rows in hf_mner_aug.withdraw(repo, read_ids(ids), squash=squash).items():
        say(f"{config}: {rows} rows withdrawn")
    if not squash:
        say("the repo's history still holds them: --squash makes it one commit")


def verify(
    folder: Repo,
    config: Annotated[str, typer.Argument(help="The config.")],
    rerun: Annotated[bool, typer.Option("--rerun", help="Make the config again and compare.")] = False,
    source: Annotated[str | None, typer.Option(help="Where a local source folder is now.")] = None,
    images: Images = None,
) -> None:
    """Recompute a config's content fingerprint; the exit code is 2 if it differs from the card's."""
    from hf_mner_aug.exceptions import EndpointError

    try:
        found = hf_mner_aug.verify(folder, config, rerun=rerun, source=source, images=images)
    except EndpointError as error:
        say(f"not re-runnable here: {error}")
        found = hf_mner_aug.verify(folder, config)
    say(f"expected {found.expected}\nfound    {found.found}")
    if found.rerun is not None:
        say(f"rerun    {found.rerun}")
    say("the same" if found.ok else f"DIFFERENT: {found.difference}")
    if not found.ok:
        raise typer.Exit(2)


def hydrate(
    repo: Repo,
    config: Annotated[str, typer.Argument(help="A config made with --retrieved ids-only.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    corpus: Annotated[Path | None, typer.Option(help="A corpus of hf-mner-aug index that holds the posts.")] = None,
    posts: Annotated[
        Path | None, typer.Option(help="An export of the posts: a .jsonl or .txt file, or a folder of them.")
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="Fetch each post from its URL, in its present state.")] = False,
    overwrite: Overwrite = False,
    into_existing: IntoExisting = False,
) -> None:
    """Put the words and pictures of retrieved posts back into a config that holds only their ids."""
    options: dict[str, Any] = {"overwrite": overwrite, "into_existing": into_existing}
    done = hf_mner_aug.hydrate(repo, config, out, corpus=corpus, posts=posts, web=web, **options)
    say(done)
    say(f'load_dataset("{out}", "{done.config}")')
