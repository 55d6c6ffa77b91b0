"""The verbs ``augment`` and ``demo``."""

import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import hf_mner_aug
from hf_mner_aug.cli.hosts import AllowHost, confirm_hosts, go_on
from hf_mner_aug.cli.options import (
    Address,
    Columns,
    CpusPerWorker,
    EndpointSettings,
    EngineName,
    GpusPerWorker,
    Images,
    IntoExisting,
    MemoryPerWorker,
    Out,
    Overwrite,
    Replay,
    Source,
    Workers,
    engine_of,
)
from hf_mner_aug.columns.mapping import parse_columns
from hf_mner_aug.exceptions import NothingMade, UsageError
from hf_mner_aug.untrusted.printable import console, for_terminal, say
from hf_mner_aug.values import parse_each

if TYPE_CHECKING:
    from hf_mner_aug.publishing.folder import Published
    from hf_mner_aug.runs.estimate import Estimate
    from hf_mner_aug.runs.recipe import Recipe
    from hf_mner_aug.transform import Method

ASK_ABOVE_SECONDS = 3600
ESTIMATE_ABOVE_ROWS = 100_000


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
    engine: EngineName = None,
    address: Address = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    memory_per_worker: MemoryPerWorker = None,
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
    overwrite: Overwrite = False,
    into_existing: IntoExisting = False,
    retrieved: Annotated[
        str, typer.Option(help="Publish retrieved posts whole, or ids-only (without words and pictures).")
    ] = "whole",
    web: Annotated[
        str | None,
        typer.Option(metavar="NAME=VALUE,…", help="Settings of web access: delay, concurrency, price, usd, …."),
    ] = None,
    endpoint: EndpointSettings = None,
    replay: Replay = False,
    push_to_hub: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Push the folder to this repo.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Push as a pull request.")] = False,
) -> None:
    """Make an augmented config and publish it into a folder that load_dataset reads, or to the Hub.

    If no post was made, it says why, publishes nothing, and exits with 3.
    """
    from hf_mner_aug.publishing.folder import check_free
    from hf_mner_aug.publishing.stubs import check_retrieved
    from hf_mner_aug.runs.ranks import check_rank
    from hf_mner_aug.runs.subset import read_ids, resolve
    from hf_mner_aug.sources.loading import load_source

    set_environment(web, endpoint, replay)
    check_rank(rank, world_size)
    per_worker: dict[str, Any] = {"gpus_per_worker": gpus_per_worker, "cpus_per_worker": cpus_per_worker}
    per_worker |= {"memory_per_worker": memory_per_worker}
    chosen_engine = engine_of(engine, num_proc, address=address, workers=workers, **per_worker)
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
    plan = _recipe(recipe, chosen, preset, set_ or ())
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
        learned = _estimate(plan, gold, num_proc, probe=probe, ask=not dry_run)
        if dry_run:
            return
    options: dict[str, Any] = {"engine": chosen_engine, "storage": storage, "learned": learned}
    if rank is not None:
        _run_rank(plan, gold, out, rank=rank, world_size=world_size, **options)
        return
    options |= {"overwrite": overwrite, "into_existing": into_existing, "retrieved": retrieved}
    _publish(plan, gold, out, source=source, **options)
    if push_to_hub:
        say(hf_mner_aug.push(out, push_to_hub, create_pr=create_pr))


def _recipe(file: Path | None, chosen: Mapping[str, Any], preset: str | None, params: Sequence[str]) -> "Recipe":
    """Return the recipe of a file and of the fields that the user chose, or of these alone."""
    from hf_mner_aug.runs.recipe import Recipe

    fields: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    fields |= {"preset": preset, "params": parse_each(params, "--set")}
    return Recipe.from_file(file, **fields) if file else Recipe.of(**fields)


def _run_rank(plan: "Recipe", gold: Any, out: Path, *, rank: int, world_size: int | None, **options: Any) -> None:
    """Make the parts of one rank."""
    from hf_mner_aug.runs.ledger import run

    share = run(plan, gold, out=out, rank=rank, world_size=world_size, **options)
    say(f"rank {rank} of {world_size}: finished its {len(share.parts)} parts")
    say("when all ranks are, publish with the same command without --rank and --world-size")


def _estimate(plan: "Recipe", gold: Any, num_proc: int, *, probe: bool, ask: bool) -> str | None:
    """Print what a run takes, ask before a long or paid one, and return the artifact that was learnt for it."""
    from hf_mner_aug.publishing.folder import publish
    from hf_mner_aug.runs.estimate import estimate

    published = functools.partial(publish, allow_empty=True)
    expected = estimate(plan, gold, probe=probe, num_proc=num_proc, publish=published, progress=True)
    say(_spell_estimate(expected, num_proc))
    if ask and (plan.build().costs or expected.seconds > ASK_ABOVE_SECONDS):
        go_on()
    return expected.artifact


def _publish(plan: "Recipe", gold: Any, out: Path, **options: Any) -> None:
    """Run a recipe, publish its config and print what became of the posts."""
    from hf_mner_aug.publishing.folder import run_and_publish

    try:
        done = run_and_publish(plan, gold, out, progress=True, allow_empty=False, **options)
    except NothingMade as error:
        _show_funnel(error.funnel, plan.copies)
        raise
    _show_published(done, plan)
    say(f'load_dataset("{out}", "{done.config}")')


def demo(out: Out = Path("demo-out")) -> None:
    """Augment the drawn sample set offline, and load the result."""
    from hf_mner_aug.demo import run_demo

    run_demo(out)


def _is_large(plan: "Recipe", gold: Any) -> bool:
    return len(gold["train"]) * plan.copies > ESTIMATE_ABOVE_ROWS


def _check_light(plan: "Recipe", method: "Method", gold: Any) -> None:
    """Refuse a run that would need a yes where there is no terminal, before hours of fitting.

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
            f"{method.name} {why}, and there is no terminal to ask in: see its cost with --dry-run, then pass --yes"
        )


def _pays_to_fit(method: "Method", gold: Any) -> bool:
    """Return whether ``fit`` makes calls that may cost money, and print how many."""
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
            "a few posts, to estimate the rest"
        )
    return most > 0


def set_environment(web: str | None, endpoint: str | None, replay: bool) -> None:
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
            f"nothing was sent for this estimate, which assumes {expected.assumed}; --probe pays for a few posts, for "
            "a better one"
        )
    probe = ""
    if expected.usage:
        rows = max(1, expected.rows)
        spent = ", ".join(f"{name} {n:g}" for name, n in expected.usage.items())
        probe = (
            f"\n500 rows: {500 * expected.seconds / rows:.0f} seconds, USD {500 * expected.usd / rows:.2g}\n"
            f"the posts made for this estimate took {spent}; the run reuses their recorded answers"
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
            if row["id"] in (new["id"], new["id"].rpartition("+")[0]):
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


def _show_published(done: "Published", plan: "Recipe") -> None:
    from hf_mner_aug.columns.unknown import spell
    from hf_mner_aug.publishing.cards import shown_pictures

    _show_funnel(done.funnel, plan.copies)
    if done.columns:
        say(f"columns beside those that {plan.method} knows, in made posts: {spell(done.columns)}")
    if shown := shown_pictures(done.pictures):
        say(shown)
    say(f"content fingerprint {done.content_fingerprint}")


def _show_funnel(funnel: Mapping[str, Any], copies: int) -> None:
    from rich.table import Table

    from hf_mner_aug.runs.funnel import asked_for, outcomes

    table = Table("posts", "count")
    for name, count in (asked_for(funnel, copies), *outcomes(funnel, copies).items()):
        table.add_row(for_terminal(name), str(count))
    console().print(table)
