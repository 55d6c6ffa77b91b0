"""The command line: each verb reads its arguments, calls one library function and prints the result."""

import contextlib
import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import typer

from hf_mner_aug import __version__
from hf_mner_aug.cli import about, data, hosts, hub, look, recommending, replication, review, run, studies
from hf_mner_aug.cli.groups import examples_of, put_into_groups
from hf_mner_aug.cli.lists import LISTS, spread
from hf_mner_aug.exceptions import NothingMade, UsageError
from hf_mner_aug.progress import Log, printing, showing
from hf_mner_aug.stopping import Signals
from hf_mner_aug.storage.disk import DiskFull, disk_full, find_full, fullest
from hf_mner_aug.untrusted.printable import for_terminal, say, spell_what_cannot_be_written

LOG_FILE = "--log-file"

app = typer.Typer(
    help="Data augmentation for multimodal named entity recognition, native to Hugging Face Datasets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        say(f"hf-mner-aug {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    log_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add all that is printed to this file, with the time.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Show these options in the help; ``main`` reads them, wherever they stand."""


VERBS: Mapping[str, Sequence[Callable[..., None]]] = {
    "Start": (run.demo, data.sample, about.methods, about.doctor, hosts.hosts),
    "Make": (data.convert, data.validate, data.index, data.names, run.augment, data.knowledge),
    "Look": (look.show, look.memory, look.quality),
    "Review": (review.export, review.import_review),
    "Measure": (
        *(studies.evaluate, studies.curve, studies.errors, recommending.recommend),
        *(replication.replicate, replication.leaderboard),
    ),
    "Publish": (hub.push, hub.verify, hub.withdraw, hub.hydrate),
}
for panel, verbs in VERBS.items():
    for verb in verbs:
        put_into_groups(verb)
        app.command(rich_help_panel=panel, epilog=examples_of(verb))(verb)


class _Options(NamedTuple):
    """Options of all verbs."""

    debug: bool
    quiet: bool
    log_file: str | None

    @classmethod
    def taken_from(cls, arguments: Sequence[str]) -> "tuple[_Options, list[str]]":
        """Return them and the other arguments."""
        found: dict[str, str] = {}
        others: list[str] = []
        rest = iter(arguments)
        for argument in rest:
            name, equals, value = argument.partition("=")
            if argument == "--":
                others += [argument, *rest]
            elif argument in ("--debug", "--quiet"):
                found[argument] = argument
            elif name == LOG_FILE:
                found[name] = value if equals else next(rest, "")
            else:
                others.append(argument)
        return cls("--debug" in found, "--quiet" in found, found.get(LOG_FILE)), others

    def open_log(self) -> Log | None:
        """Return the log, if one is asked for.

        Raises:
            UsageError: its file is not named, or cannot be written.
        """
        if self.log_file is None:
            return None
        if not self.log_file:
            raise UsageError(f"{LOG_FILE}: expected a file")
        try:
            return Log(Path(self.log_file))
        except OSError as error:
            raise UsageError(f"{LOG_FILE} {self.log_file}: {error.strerror}") from error


def main() -> None:
    """Run the command line.

    Exit codes: 2 is the user's mistake, 1 a fault of ours or trouble of the machine, 3 a run that made nothing, 128 and
    more a signal; one line each.
    """
    options, arguments = _Options.taken_from(sys.argv[1:])
    sys.argv[1:] = _spread(arguments)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if not options.debug:
        warnings.formatwarning = _one_line
    spell_what_cannot_be_written()
    try:
        log = options.open_log()
    except UsageError as error:
        say(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    with Signals(log) as signals, showing(shown=not options.quiet), printing(log):
        try:
            code = _run(signals, options.debug)
            if code:  # readers whose threads are at work when Python ends abort the process
                gc.collect()
        except KeyboardInterrupt:  # the command was over already
            if not signals.number:
                raise
            _end(signals)
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
    _end(signals)


def _end(signals: Signals) -> NoReturn:
    """End the process after a signal, with what was said before it."""
    with contextlib.suppress(OSError):
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
