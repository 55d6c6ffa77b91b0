"""The verbs that show a config: ``show``, ``memory`` and ``quality``."""

from pathlib import Path
from typing import Annotated, Any

import typer

import hf_mner_aug
from hf_mner_aug.cli.options import AsJson, GoldSource, Images, Repo, WriteCard, WritePage
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.untrusted.printable import console, for_terminal, say, say_json

SHOWN, PREDICTED = 100, 20  # posts of a page


def show(
    folder: Annotated[Path, typer.Argument(help="The repo folder.")],
    config: Annotated[str | None, typer.Argument(help="The config (default: the folder's only one).")] = None,
    other: Annotated[
        str | None,
        typer.Argument(
            help="A config to show beside it, by source post: of the same folder, or FOLDER:CONFIG. "
            "FOLDER:CONFIG FOLDER:CONFIG names two, too."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split whose posts are shown (default: train; test with --predictions).")
    ] = None,
    posts: Annotated[
        int | None,
        typer.Option("--posts", "-n", help="Posts to show, evenly spread (default: 100; 20 with --predictions)."),
    ] = None,
    rejects: Annotated[int, typer.Option(help="Rejected posts to show for each reason.")] = 20,
    source: Annotated[str | None, typer.Option(help="The source set, if the config does not hold its posts.")] = None,
    images: Images = None,
    out: Annotated[Path | None, typer.Option(help="The page to write (default: CONFIG.html in this folder).")] = None,
    phrase: Annotated[str, typer.Option(help="Of two configs: only posts with these words.")] = "",
    predictions: Annotated[
        Path | None,
        typer.Option(help="Show what the backbone saved in this folder predicts for posts of --split (default: test)."),
    ] = None,
) -> None:
    """Write a config as one HTML page: posts before and after, boxes, scores, and what was rejected.

    Two configs stand side by side: each gold post, and what either made of it. With --predictions: posts of a set or
    config as they are labelled and as a saved backbone predicts them.
    """
    pair = _pair(folder, config, other)
    if pair:
        if predictions is not None:
            raise UsageError("--predictions is of one config: leave the other one out")
        asked: dict[str, Any] = {
            "split": split or "train",
            "posts": SHOWN if posts is None else posts,
            "phrase": phrase,
        }
        say(hf_mner_aug.show_beside(*pair, out=out, source=source, images=images, **asked))
        return
    if phrase:
        raise UsageError("--phrase is for two configs: name the other one")
    if predictions is not None:
        if source is not None:
            raise UsageError("--predictions shows the posts of the folder itself: leave out --source")
        name = str(folder) if config is None else f"{folder}:{config}"
        chosen = {"split": split or "test", "posts": PREDICTED if posts is None else posts, "images": images}
        say(hf_mner_aug.show_predictions(name, predictions, out=out, **chosen))
        return
    options: dict[str, Any] = {
        "split": split or "train",
        "posts": SHOWN if posts is None else posts,
        "rejects": rejects,
    }
    say(hf_mner_aug.show(folder, config, out=out, source=source, images=images, **options))


def _pair(folder: Path, config: str | None, other: str | None) -> tuple[str, str] | None:
    """Return the names of two configs if two are named, as ``FOLDER A B``, ``FOLDER:A B`` or ``FOLDER:A FOLDER:B``."""
    if other is not None:
        return f"{folder}:{config}", other
    if config is None:
        return None
    is_place = ":" in config or (not (folder / config).is_dir() and Path(config).is_dir())
    return (str(folder), config) if is_place or (":" in str(folder) and not folder.is_dir()) else None


def quality(
    repo: Repo,
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
        typer.Option(help="Predicts labels (default: crf, or relation_features), e.g. relation:encoder=DIR."),
    ] = None,
    one_copy: Annotated[bool, typer.Option("--one-copy", help="Measure one made post of each gold post.")] = False,
    source: GoldSource = None,
    images: Images = None,
    as_json: AsJson = False,
    write_card: WriteCard = False,
    write_page: WritePage = None,
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
    if write_page:
        report.write_page(write_page)
    screen = console()
    if as_json:
        say_json(report.data)
    elif screen.is_terminal:
        screen.print(report.to_table())
        for note in report.notes:
            screen.print(f"- {for_terminal(note)}")
    else:
        say(report.to_markdown())


def memory(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A repo folder, or a run of memory_hard.")],
    config: Annotated[str, typer.Argument(help="The config, if the folder has several of memory_hard.")] = "",
    html: Annotated[Path | None, typer.Option(help="Write the tree into this HTML file.")] = None,
    suspects: Annotated[
        Path | None,
        typer.Option(help="Write the suspected label errors into this file, for convert --corrections."),
    ] = None,
) -> None:
    """Print the errors of a model as a tree: patterns, examples, posts written for them, suspected label errors."""
    from hf_mner_aug.storage.artifacts import write_atomically

    found = hf_mner_aug.memory(folder, config)
    if html is None and suspects is None:
        say(found.to_text().removesuffix("\n"))
    if html is not None:
        write_atomically(html, found.to_html().encode("utf-8", "replace"))
        say(html)
    if suspects is not None:
        write_atomically(suspects, found.to_corrections().encode())
        say(f"{suspects}: {len(found.suspects)} suspected label errors: set accept of each line to true or false")
