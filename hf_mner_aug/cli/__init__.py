"""The command line: each verb reads its arguments, calls one library function and prints the result."""

import contextlib
import functools
import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import hf_mner_aug
from hf_mner_aug.cli import data, hosts, hub, look, memory, studies
from hf_mner_aug.cli.hosts import AllowHost, confirm_hosts, go_on
from hf_mner_aug.cli.lists import LISTS, spread
from hf_mner_aug.cli.studies import Columns
from hf_mner_aug.columns.mapping import parse_columns
from hf_mner_aug.exceptions import NothingMade, UnknownName, UsageError
from hf_mner_aug.readers import RAW_SETS
from hf_mner_aug.schema import Orphans
from hf_mner_aug.stopping import Signals
from hf_mner_aug.storage.disk import DiskFull, disk_full, find_full, fullest
from hf_mner_aug.untrusted.printable import console, for_terminal, say, say_json, spell_what_cannot_be_written
from hf_mner_aug.values import parse_each, parse_pairs

if TYPE_CHECKING:
    from hf_mner_aug.installed import Offer
    from hf_mner_aug.runs.estimate import Estimate
    from hf_mner_aug.runs.recipe import Recipe
    from hf_mner_aug.transform import Method

app = typer.Typer(
    help="Data augmentation for multimodal named entity recognition, native to Hugging Face Datasets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ASK_ABOVE_SECONDS = 3600
ESTIMATE_ABOVE_ROWS = 100_000

Source = Annotated[str, typer.Argument(help="A dataset folder or a Hub id, optionally with @revision and :config.")]
Images = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A further folder to read the pictures from that data names.")
]
Out = Annotated[Path, typer.Option(help="The folder to write.")]


def _print_version(asked: bool) -> None:
    if asked:
        say(f"hf-mner-aug {hf_mner_aug.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Show ``--debug`` in the help; ``main`` reads it, wherever it stands."""


@app.command()
def convert(
    name: Annotated[str, typer.Argument(help=f"The raw set: {', '.join(RAW_SETS)}; conll is any IMGID file.")],
    raw: Annotated[Path, typer.Argument(help="The folder (or file) with the raw text.")],
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
        typer.Option(metavar="NAME=PLACE,…", help="The columns of the file's lines to read, e.g. tokens=1,ner_tags=3."),
    ] = None,
    check_against: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Report train posts that are in validation or test of this set; repeatable."),
    ] = None,
) -> None:
    """Convert a raw set into a dataset that load_dataset reads."""
    options: dict[str, Any] = {"images": images, "xml": xml, "orphans": orphans, "language": language}
    options |= {"types": parse_pairs(types, "--types", "OLD=NEW,…, as OTHER=MISC"), "columns": parse_columns(columns)}
    say(hf_mner_aug.convert(name, raw, out, check_against=check_against or (), **options))
    say(f'load_dataset("{out}")')


@app.command()
def validate(
    source: Source,
    images: Images = None,
    columns: Columns = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Decode no image.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Report every problem of a dataset with its row; the exit code is 2 if there are errors."""
    found = hf_mner_aug.validate(source, images=False if no_images else images or True, columns=parse_columns(columns))
    if as_json:
        say_json(found.to_dicts())
    else:
        say(found)
    if not found.ok:
        raise typer.Exit(2)


@app.command()
def augment(
    source: Source,
    out: Out,
    method: Annotated[
        str | None, typer.Option(help="The method (see `hf-mner-aug methods`), or your own package.module:Class.")
    ] = None,
    images: Images = None,
    columns: Columns = None,
    recipe: Annotated[Path | None, typer.Option(help="A YAML recipe or a config's augmentation.json.")] = None,
    fraction: Annotated[float | None, typer.Option(help="The share of train and validation to use.")] = None,
    subset_seed: Annotated[int | None, typer.Option(help="The seed that draws the posts of the fraction.")] = None,
    ids_train: Annotated[
        Path | None, typer.Option(help="Ids of the train posts: one per line, or an IMGID file.")
    ] = None,
    ids_validation: Annotated[Path | None, typer.Option(help="Ids of the validation posts.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of the augmentation.")] = None,
    copies: Annotated[int | None, typer.Option(help="New posts per post.")] = None,
    preset: Annotated[str | None, typer.Option(help="embedded (no download, no key), or paper (its models).")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A method's parameter.")] = None,
    config_name: Annotated[str | None, typer.Option(help="The config's name (default: method_10pct).")] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Copy this column into made posts; repeatable. Others are null there."),
    ] = None,
    num_proc: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    part_size: Annotated[int | None, typer.Option(help="Posts per part.")] = None,
    rank: Annotated[int | None, typer.Option(help="Make only the parts of this rank, and publish nothing.")] = None,
    world_size: Annotated[int | None, typer.Option(help="The number of ranks that share the parts.")] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="Where ranks share parts, any fsspec URL (default: OUT.runs).")
    ] = None,
    preview: Annotated[int, typer.Option(help="Show this many posts before and after, and stop.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate rows, hours and disk space, send nothing, and stop.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Pay for a few posts, for a better estimate of a paid run.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Do not ask before a long or paid run; a recipe's host still needs --allow-host."),
    ] = False,
    allow_host: AllowHost = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a config made by another recipe.")] = False,
    into_existing: Annotated[
        bool, typer.Option("--into-existing", help="Publish into a folder even if it holds other files.")
    ] = False,
    retrieved: Annotated[
        str, typer.Option(help="Publish retrieved posts whole, or ids-only (without words and pictures).")
    ] = "whole",
    web: Annotated[
        str | None,
        typer.Option(metavar="NAME=VALUE,…", help="Settings of web access: delay, concurrency, price, usd, …."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="NAME=VALUE,…", help="Settings of an endpoint: max_concurrency, usd, price_in, calls, …."),
    ] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Use recorded answers only; send nothing.")] = False,
    push_to_hub: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Push the folder to this repo.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Push as a pull request.")] = False,
) -> None:
    """Make an augmented config and publish it into a folder that load_dataset reads, or to the Hub.

    If no post was made, it says why, publishes nothing, and exits with 3.
    """
    from hf_mner_aug.columns.unknown import spell
    from hf_mner_aug.publishing.cards import shown_pictures
    from hf_mner_aug.publishing.folder import check_free, publish, run_and_publish
    from hf_mner_aug.publishing.stubs import check_retrieved
    from hf_mner_aug.runs.estimate import estimate
    from hf_mner_aug.runs.ledger import run
    from hf_mner_aug.runs.ranks import check_rank
    from hf_mner_aug.runs.recipe import Recipe
    from hf_mner_aug.runs.subset import read_ids, resolve
    from hf_mner_aug.sources.loading import load_source

    _go_out(web, endpoint, replay)
    check_rank(rank, world_size)
    if rank is not None and push_to_hub:
        raise UsageError("a rank publishes nothing: push with the run without --rank that gathers the parts")
    chosen = {
        "source": source,
        "method": method,
        "fraction": fraction,
        "subset_seed": subset_seed,
        "ids_train": read_ids(ids_train) if ids_train else None,
        "ids_validation": read_ids(ids_validation) if ids_validation else None,
        "seed": seed,
        "copies": copies,
        "keep": keep,
        "columns": parse_columns(columns) or None,
        "config": config_name,
        "part_size": part_size,
    }
    fields: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    fields |= {"preset": preset, "params": parse_each(set_ or (), "--set")}
    plan = Recipe.from_file(recipe, **fields) if recipe else Recipe.of(**fields)
    plan, gold = resolve(plan, load_source(source, images=images, columns=plan.columns))
    built = plan.build()
    typed = {setting.partition("=")[0] for setting in set_ or ()}
    confirm_hosts([built], typed=typed, allowed=allow_host, sends=probe or not dry_run)
    if not (yes or dry_run or preview or sys.stdin.isatty()):
        _check_light(plan, built, gold)
    if (dry_run or not yes) and _pays_to_fit(built, gold):
        if dry_run and not probe:
            return
        if not yes:
            go_on()
        probe = True
    if preview and not dry_run:
        if built.costs and not (yes or probe):
            go_on(f"{preview} posts are made by calls that may cost money. Go on?")
        _show_preview(plan, gold, preview)
        return
    check_retrieved(built, retrieved)
    check_free(out, plan, overwrite=overwrite, into_existing=into_existing)
    learned = None
    if dry_run or (not yes and (built.models or built.costs or _is_large(plan, gold))):
        published = functools.partial(publish, allow_empty=True)
        expected = estimate(plan, gold, probe=probe, num_proc=num_proc, publish=published, progress=True)
        say(_spell_estimate(expected, num_proc))
        if dry_run:
            return
        if built.costs or expected.seconds > ASK_ABOVE_SECONDS:
            go_on()
        learned = expected.artifact
    if rank is not None:
        options: dict[str, Any] = {"rank": rank, "world_size": world_size, "storage": storage, "learned": learned}
        share = run(plan, gold, out=out, num_proc=num_proc, **options)
        say(f"rank {rank} of {world_size}: finished its {len(share.parts)} parts")
        say("when all ranks are, publish with the same command without --rank and --world-size")
        return
    options = {"num_proc": num_proc, "overwrite": overwrite, "storage": storage, "progress": True}
    options |= {"retrieved": retrieved, "into_existing": into_existing, "learned": learned, "allow_empty": False}
    try:
        done = run_and_publish(plan, gold, out, source=source, **options)
    except NothingMade as error:
        _show_funnel(error.funnel, plan.copies)
        raise
    _show_funnel(done.funnel, plan.copies)
    if done.columns:
        say(f"columns beside those that {plan.method} knows, in made posts: {spell(done.columns)}")
    if shown := shown_pictures(done.pictures):
        say(shown)
    say(f"content fingerprint {done.content_fingerprint}")
    say(f'load_dataset("{out}", "{done.config}")')
    if push_to_hub:
        say(hf_mner_aug.push(out, push_to_hub, create_pr=create_pr))


@app.command()
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


@app.command()
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


@app.command()
def verify(
    folder: Annotated[str, typer.Argument(help="The repo folder, or ORG/NAME on the Hub.")],
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


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The repo folder.")],
    config: Annotated[str | None, typer.Argument(help="The config (default: the folder's only one).")] = None,
    split: Annotated[str, typer.Option(help="The split whose made posts are shown.")] = "train",
    posts: Annotated[int, typer.Option("--posts", "-n", help="Made posts to show, evenly spread.")] = 100,
    rejects: Annotated[int, typer.Option(help="Rejected posts to show for each reason.")] = 20,
    source: Annotated[str | None, typer.Option(help="The source set, if the config does not hold its posts.")] = None,
    images: Images = None,
    out: Annotated[Path | None, typer.Option(help="The page to write (default: CONFIG.html in this folder).")] = None,
) -> None:
    """Write a config as one HTML page: posts before and after, boxes, scores, and what was rejected."""
    options: dict[str, Any] = {"split": split, "posts": posts, "rejects": rejects}
    say(hf_mner_aug.show(folder, config, out=out, source=source, images=images, **options))


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method or a backbone to explain.")] = None,
) -> None:
    """List the methods (paper, requirements, effect on images and boxes), or explain one of them."""
    from hf_mner_aug import backbones, methods, readers

    own, others = methods.METHODS, methods.installed()
    if name is None:
        for shown in own:
            _show_method(shown, explain=False)
        for offer in others.values():
            _show_offered(offer)
        offered = [str(offer) for room in (backbones, readers) for offer in room.installed().values()]
        say(f"backbones: {', '.join(backbones.BACKBONES)}\n`hf-mner-aug methods NAME` explains a method or a backbone")
        if offered:
            say(f"of installed packages: {', '.join(offered)}")
    elif name in own or name in others:
        _show_method(name, explain=True)
    elif name in (known := [*backbones.BACKBONES, *backbones.installed()]):
        _show_backbone(name)
    else:
        raise UnknownName("method or backbone", name, [*own, *others, *known])


def _show_offered(offer: "Offer") -> None:
    """List a method of another package, or say in a line why it cannot be."""
    try:
        _show_method(offer.name, explain=False, package=" and ".join(offer.packages))
    except UsageError as error:
        say(error)


def _show_method(name: str, *, explain: bool, package: str = "") -> None:
    from hf_mner_aug.cli.parameters import parameters_of
    from hf_mner_aug.methods import method_class

    cls = method_class(name)
    facts, parameters = cls.facts, parameters_of(cls)
    say(f"{name}: {facts.does}")
    told = {
        **({"package": package} if package else {}),
        "paper": facts.paper,
        "learns": facts.learns,
        "images": facts.images,
        "boxes": facts.boxes,
        "install": facts.extra,
        "key": facts.key,
        "presets": ", ".join(["embedded", *cls.presets]),
    }
    if not explain:
        told["parameters"] = ", ".join(f"{p.name}={p.default!r}" for p in parameters)
        told["rejects"] = ", ".join(cls.rejects)
    for label, value in told.items():
        say(f"  {label:<11}{value}")
    if explain:
        for preset, params in cls.presets.items():
            say(f"  --preset {preset}: {', '.join(f'{key}={value}' for key, value in params.items())}")
        _explain_each("parameters", {f"{p.name}={p.default!r}": p.explained for p in parameters})
        _explain_each("reasons to reject posts", {reason: str(what) for reason, what in cls.rejects.items()})


def _show_backbone(name: str) -> None:
    from hf_mner_aug.backbones import Backbone, backbone_class
    from hf_mner_aug.cli.parameters import parameters_of

    cls = backbone_class(name)
    say(f"{name}: {(cls.__doc__ or '').partition(chr(10))[0]}")
    _explain_each("settings", {f"{p.name}={p.default!r}": p.explained for p in parameters_of(cls, Backbone)})


def _explain_each(title: str, explained: Mapping[str, str]) -> None:
    say(f"  {title}:")
    for name, text in explained.items():
        say(f"    {name}: {text}")


@app.command()
def doctor() -> None:
    """Print the state of this machine: versions, extras, GPU, disk, Hub token."""
    import importlib.util
    import platform
    import shutil

    from huggingface_hub import get_token

    from hf_mner_aug.runs.ledger import library_versions
    from hf_mner_aug.storage.artifacts import cache_folder

    say(f"python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs")
    say(", ".join(f"{name} {version}" for name, version in library_versions().items()))
    extras = {
        "models": ("torch", "diffusers", "open_clip", "peft", "transformers"),
        "web": ("lxml", "protego"),
        "ray": ("ray",),
    }
    for extra, modules in extras.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        hint = f"lacks {', '.join(missing)}: pip install 'hf-mner-aug[{extra}]'" if missing else "installed"
        say(f"extra {extra}: {hint}")
    if importlib.util.find_spec("torch"):
        import torch

        count = torch.cuda.device_count()
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(count))
        say(f"GPU: {names or 'none'}")
    else:
        say("GPU: not looked for, torch is not installed")
    cache = cache_folder()
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    say(f"disk: {shutil.disk_usage(place).free / 1e9:.1f} GB free at {cache}")
    say(f"Hub token: {'found' if get_token() else 'none: hf auth login'}")


@app.command()
def demo(out: Out = Path("demo-out")) -> None:
    """Augment the drawn sample set offline, and load the result."""
    from hf_mner_aug.demo import run_demo

    run_demo(out)


data.register(app)
memory.register(app)
hosts.register(app)
hub.register(app)
look.register(app)
studies.register(app)


def main() -> None:
    """Run the command line.

    Exit codes: 2 is the user's mistake, 1 the machine's trouble, 3 a run that made nothing, 128 and more a signal; one
    line each.
    """
    debug = "--debug" in sys.argv
    sys.argv[1:] = _spread([argument for argument in sys.argv[1:] if argument != "--debug"])
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if not debug:
        warnings.formatwarning = _one_line
    spell_what_cannot_be_written()
    with Signals() as signals:
        code = _run(signals, debug)
        if code:  # readers whose threads are at work when Python ends abort the process
            gc.collect()
    raise SystemExit(code)


def _run(signals: Signals, debug: bool) -> Any:
    """Run the command, print one line if an error ended it, and return the exit code."""
    try:
        app()
    except SystemExit as end:
        if not signals.number:
            return end.code
    except BaseException as error:
        if not signals.number:
            if debug:
                raise
            message, code = _explain(error)
            say(for_terminal(message), file=sys.stderr)
            return code
    else:
        return 0
    with contextlib.suppress(OSError):  # what was said before
        sys.stdout.flush()
        sys.stderr.flush()
    signals.end()


def _explain(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of a command that ended in an error."""
    if isinstance(error, NothingMade):
        return str(error), 3
    if isinstance(error, UsageError):
        return f"error: {error}", 2
    full = find_full(error)
    if full is not None:
        full = full if isinstance(full, DiskFull) else disk_full(full.filename or _fullest(), number=full.errno or 0)
        return f"error: {full.filename}: {full.strerror}; make room, then run the same command again", 1
    if isinstance(error, OSError):
        path = f"{error.filename}: " if error.filename else ""
        return f"error: {path}{error.strerror or error}", 1
    if isinstance(error, KeyboardInterrupt):
        return "stopped", 130
    return f"error: unexpected {type(error).__name__}: {error} (hf-mner-aug --debug … shows where)", 1


def _fullest() -> Path:
    """Return the folder with the least free disk space, among those that are written to."""
    from datasets import config

    from hf_mner_aug.storage.artifacts import cache_folder

    return fullest([Path.cwd(), tempfile.gettempdir(), cache_folder(), config.HF_DATASETS_CACHE])


def _one_line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
    """Return a warning as one line for users, without its place in the code."""
    return f"warning: {for_terminal(message)}\n"


def _spread(arguments: list[str]) -> list[str]:
    """Return the arguments with ``--seeds 0 1 2`` written as ``--seeds 0 --seeds 1 --seeds 2``; see ``lists``."""
    if not any(argument.partition("=")[0] in LISTS for argument in arguments):
        return arguments
    verbs: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    return spread(arguments, next((verbs[argument] for argument in arguments if argument in verbs), None))


def _is_large(plan: "Recipe", gold: Any) -> bool:
    return len(gold["train"]) * plan.copies > ESTIMATE_ABOVE_ROWS


def _check_light(plan: "Recipe", method: "Method", gold: Any) -> None:
    """See that a run without a terminal needs no yes, before anything is learnt: it may take hours to come so far.

    Raises:
        UsageError: it pays, uses models, or takes long.
    """
    from hf_mner_aug.runs.estimate import rough_seconds

    models = ", ".join(f"{model.id} ({model.role})" for model in method.models)
    why = "makes calls that may cost money" if method.costs else f"uses {models}" if models else ""
    if not why and _is_large(plan, gold) and (seconds := rough_seconds(plan, gold)) > ASK_ABOVE_SECONDS:
        why = f"takes more than {seconds / 3600:.0f} hours in one process"
    if why:
        raise UsageError(
            f"{method.name} {why}, and there is no terminal to ask in: see what it takes with --dry-run, then say --yes"
        )


def _pays_to_fit(method: "Method", gold: Any) -> bool:
    """Say whether to learn takes calls that may cost money, and print how many."""
    from hf_mner_aug.schema import Codec
    from hf_mner_aug.transform import iterate_posts

    costs = method.costs
    if costs is None or method.artifact is not None:
        return False
    train = gold["train"]
    least, most = costs.to_fit(iterate_posts(train, Codec(train.features), images=method.reads_images))
    if most:
        say(
            f"to learn from {len(train)} posts: {least} to {most} calls, less those that are on record; then some for "
            "a few posts, to say what the rest takes"
        )
    return most > 0


def _go_out(web: str | None, endpoint: str | None, replay: bool) -> None:
    """Put settings of the web and of endpoints into the environment, where worker processes find them."""
    if not (web or endpoint or replay):
        return
    from hf_mner_aug.models.endpoint import engine as endpoints
    from hf_mner_aug.models.search import fetching as webs

    for name, settings in ((webs.SETTINGS, web), (endpoints.SETTINGS, endpoint)):
        if settings or replay:
            chosen = filter(None, [os.environ.get(name, ""), settings, "replay=true" if replay else ""])
            os.environ[name] = ",".join(chosen)
    webs.web_settings()
    endpoints.endpoint_settings()


def _spell_estimate(expected: "Estimate", num_proc: int = 1) -> str:
    hours = expected.seconds / 3600
    duration = f"{hours:.1f} hours" if hours >= 1 else f"{expected.seconds:.0f} seconds"
    if expected.assumed:
        return (
            f"{expected.posts} posts give at most {expected.rows} rows in about {duration}, with "
            f"{expected.disk_bytes / 1e6:.0f} MB on disk; calls: {expected.calls}, USD: {expected.usd:.2g}\n"
            f"nothing was sent to find out: assumed are {expected.assumed}; --probe pays for a few posts to say it "
            "more exactly"
        )
    probe = ""
    if expected.usage:
        rows = max(1, expected.rows)
        spent = ", ".join(f"{name} {n:g}" for name, n in expected.usage.items())
        probe = (
            f"\n500 rows: {500 * expected.seconds / rows:.0f} seconds, USD {500 * expected.usd / rows:.2g}\n"
            f"looking at some posts for this took {spent}; the run takes that from the record"
        )
    return (
        f"{expected.posts} posts give about {expected.rows} rows in {duration} in "
        f"{'one process' if num_proc == 1 else f'{num_proc} processes'}, "
        f"with {expected.disk_bytes / 1e6:.0f} MB on disk; calls: {expected.calls}, USD: {expected.usd:.2g}{probe}"
    )


def _show_preview(recipe: "Recipe", gold: Any, n: int) -> None:
    from rich.text import Text

    from hf_mner_aug.runs.ledger import preview
    from hf_mner_aug.schema import Codec, read_provenance

    posts, table, made, method = preview(recipe, gold, n)
    screen = console()
    before, after = Codec(posts.features), Codec(method.features)
    rows = table.to_pylist()
    for row in posts.with_format("arrow")[:].to_pylist():
        screen.rule(Text(for_terminal(row["id"])), align="left")
        screen.print(_coloured(before.to_post(row)), soft_wrap=True)
        for new in rows:
            if new["source_id"] == row["id"]:
                details = read_provenance(new["provenance"], f"post {new['id']}").get("details", {})
                note = for_terminal(", ".join(str(value) for value in details.values()))
                screen.print(Text(f"  {note}:", "dim"), _coloured(after.to_post(new)), soft_wrap=True)
        for reject in made.rejects:
            if reject["source_id"] == row["id"]:
                told = Text(f"  rejected: {for_terminal(reject['reason'])}", "red")
                screen.print(told + Text(f" ({for_terminal(reject['detail'])})", ""), soft_wrap=True)


_COLOURS = ("green", "cyan", "magenta", "yellow", "blue", "red")


def _coloured(post: Any) -> Any:
    """Return a post's text with its entities marked and coloured by type."""
    from rich.text import Text

    kinds = sorted({entity.type for entity in post.entities})
    text, position = Text(), 0
    for entity in sorted(post.entities, key=lambda e: e.start):
        text.append("".join(f"{for_terminal(word)} " for word in post.tokens[position : entity.start]))
        words = for_terminal(" ".join(post.tokens[entity.start : entity.end]))
        text.append(
            f"[{words}]({for_terminal(entity.type)})",
            style=f"bold {_COLOURS[kinds.index(entity.type) % len(_COLOURS)]}",
        )
        text.append(" ")
        position = entity.end
    return text.append(for_terminal(" ".join(post.tokens[position:])))


def _show_funnel(funnel: Mapping[str, Any], copies: int) -> None:
    from rich.table import Table

    from hf_mner_aug.runs.funnel import asked_for, outcomes

    table = Table("what became of the posts", "count")
    for name, count in (asked_for(funnel, copies), *outcomes(funnel, copies).items()):
        table.add_row(for_terminal(name), str(count))
    console().print(table)
