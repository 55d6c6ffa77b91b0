"""Help in groups, progress with and without a terminal, logs, what is missing, and the codes with which verbs end."""

import importlib.metadata
import io
import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
import warnings
from pathlib import Path

import pytest
import typer
from places import ROOT

from hf_mner_aug import cli, progress
from hf_mner_aug.cli import about
from hf_mner_aug.cli.groups import EXAMPLES, GROUPS
from hf_mner_aug.methods import METHODS, method_class

VERBS = typer.main.get_command(cli.app).commands


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("verb", [verb for verb, command in VERBS.items() if len(command.params) > 14])
def test_options_of_a_verb_with_many_are_in_groups_and_it_has_two_examples(verb):
    options = [one for one in VERBS[verb].params if one.param_type_name == "option" and one.name != "help"]
    assert [one.name for one in options if one.rich_help_panel not in GROUPS] == []
    assert len({one.rich_help_panel for one in options}) >= 2
    assert len(EXAMPLES[verb]) == 2


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_is_read_by_its_verb(line):
    verb, *arguments = cli._spread(line.split())
    assert VERBS[verb].make_context(verb, arguments).params["out" if "--out" in line else "configs"]


def test_groups_name_parameters_of_verbs_once():
    names = " ".join(GROUPS.values()).split()
    assert len(names) == len(set(names))
    assert set(names) - {one.name for command in VERBS.values() for one in command.params} == set()


def test_help_shows_the_groups_and_the_examples(call):
    code, out, _ = call("augment", "--help")
    assert code == 0
    text = re.sub(r"\s+", " ", out)
    for group in ("Data", "Method", "Workers", "Calls to servers", "Before the run", "Result"):
        assert f"─ {group} ─" in text
    for example in EXAMPLES["augment"]:
        assert f"hf-mner-aug {example}" in text


# ---------------------------------------------------------------- progress


def test_a_bar_is_lines_where_there_is_no_terminal(monkeypatch):
    put, clock = [], iter([0, 1, 20, 40, 70])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    lines = progress.Lines(put.append)
    for text in ("warning: a\n", "\r 0/9", "\r 1/9", "\x1b[A\r 2/9", "\r 3/9", "\r 9/9\n", "error: b\n"):
        lines.write(text)
    assert "".join(put) == "warning: a\n 2/9\n 9/9\nerror: b\n", "a state after 2 seconds and each 30, and the last"
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100.0)
    for text in ("\r 0/9", "\r 9/9\n", "\r 0/9", "\r    \r", "the end"):
        lines.write(text)
    lines.flush()
    assert put[-2:] == ["error: b\n", "the end"], "a quick bar leaves nothing, nor does one that is wiped"
    for text in ("\n\n", "\r 0/9", "\x1b[A\x1b[A", "\n\r 0/2", "\x1b[A", "\r    \r"):
        lines.write(text)
    assert put[-1] == "the end", "nor do several bars below one another"


LONG = """
import sys, time
from hf_mner_aug import cli, progress
progress.SHOWN_AFTER_S = progress.LINE_EVERY_S = 0
cli.app.registered_commands.clear()
@cli.app.command()
def work():
    "Work."
    import warnings
    for _ in progress.progress_bar(range(5), desc="works", delay=0.01, mininterval=0):
        time.sleep(0.02)
    warnings.warn("beware")
    print("made 5")
@cli.app.command()
def rest():
    "Rest."
sys.argv[0] = "hf-mner-aug"
cli.main()
"""


def run(tmp_path, *arguments, **options):
    command = [sys.executable, "-c", LONG, "work", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, timeout=60, **options)


def test_progress_in_a_pipe_has_rate_and_time_left_and_no_carriage_return(tmp_path):
    done = run(tmp_path)
    *bars, warned = done.stderr.splitlines()
    assert "\r" not in done.stderr
    assert bars[-1].startswith("works: 100%|")
    assert all(
        re.fullmatch(r"works: .*\| \d/5 \[\d\d:\d\d<\S+, +\S+(posts/s|s/ posts| posts/s)\]", line) for line in bars
    )
    assert (warned, done.stdout) == ("warning: beware", "made 5\n")


def test_quiet_shows_no_progress_but_results_and_warnings(tmp_path):
    done = run(tmp_path, "--quiet")
    assert (done.stdout, done.stderr) == ("made 5\n", "warning: beware\n")


@pytest.mark.parametrize("option", [("--log-file", "it.log"), ("--log-file=it.log",)])
def test_a_log_has_all_that_is_printed_with_the_time(tmp_path, option):
    (tmp_path / "it.log").write_text("before\n")
    run(tmp_path, "--quiet", *option)
    first, *lines = (tmp_path / "it.log").read_text().splitlines()
    assert first == "before"
    assert [line.partition(" ")[2] for line in lines] == ["warning: beware", "made 5"]
    assert all(re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines)


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are of POSIX")
def test_a_terminal_has_a_bar_and_the_log_lines(tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-c", LONG, "work", "--log-file", "it.log"]
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, cwd=tmp_path) as process:
        process.wait(timeout=60)
    os.close(theirs)
    assert b"\rworks: 100%|" in os.read(ours, 100_000)
    os.close(ours)
    logged = (tmp_path / "it.log").read_text()
    assert "works: 100%|" in logged
    assert "\r" not in logged


def test_a_log_that_cannot_be_written_is_one_line(call, tmp_path):
    code, _, error = call("methods", "--log-file", tmp_path)
    assert (code, error) == (2, f"error: --log-file {tmp_path}: Is a directory\n")
    code, _, error = call("methods", "--log-file")
    assert (code, error) == (2, "error: --log-file: expected a file\n")


def test_a_disk_that_fills_up_ends_the_log_and_not_the_command():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    log = progress.Log(Path("/dev/full"))
    with pytest.warns(UserWarning, match="--log-file /dev/full: No space left on device: nothing more is logged"):
        log.write("one\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log.write("two\n")


def test_bars_are_seen_after_two_seconds(monkeypatch):
    shown = io.StringIO()
    started = time.time()
    with progress.showing(shown=True), progress.progress_bar(desc="d", total=9, file=shown, mininterval=0) as bar:
        monkeypatch.setattr(bar, "_time", lambda: started + 1)
        bar.update()
        assert shown.getvalue() == ""
        monkeypatch.setattr(bar, "_time", lambda: started + 4)
        bar.update(2)
        assert "3/9 [" in shown.getvalue()


def test_a_rate_reads_well_for_slow_and_quick_work():
    bar = progress.progress_bar(shown=True, file=io.StringIO(), unit=" cells")
    assert "7.62s/cells" in bar.format_meter(1, 9, 7.62, unit=" cells")
    assert "9.00 cells/s" in bar.format_meter(9, 9, 1, unit=" cells")


def test_many_bars_need_no_more_threads_than_one():
    progress.progress_bar(range(3)).close()
    before = threading.active_count()
    for shown in (True, False) * 5:
        progress.progress_bar(range(3), shown=shown, file=io.StringIO()).close()
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("everywhere", "shown", "expected"),
    [(None, None, True), (None, True, False), (True, None, False), (True, False, True), (False, True, True)],
)
def test_who_is_shown_bars(everywhere, shown, expected):
    def bar():
        return progress.progress_bar(shown=shown, file=io.StringIO()).disable

    if everywhere is None:
        assert bar() is expected
    else:
        with progress.showing(shown=everywhere):
            assert bar() is expected


# ---------------------------------------------------------------- doctor


def test_doctor_says_what_is_missing_for_what_and_how_to_get_it(call, monkeypatch):
    version = importlib.metadata.version
    here = {"torch": "1.0", "ray": None, "typer": "0.1"}

    def other_version(name):
        if here.get(name, "") is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return here.get(name) or version(name)

    monkeypatch.setattr(importlib.metadata, "version", other_version)
    code, out, _ = call("doctor")
    assert code == 0
    lines = dict(line.split(": ", 1) for line in out.splitlines() if ": " in line)
    assert lines["extra ray"] == "lacks ray, for --engine ray: pip install 'hf-mner-aug[ray]'"
    assert lines["extra models"].startswith("lacks torch>=2.13 (here 1.0), for methods daga and melm")
    assert lines["core"].startswith("lacks typer>=0.26 (here 0.1), for everything: pip install 'hf-mner-aug'")
    assert lines["extra web"] == "installed"


def test_doctor_names_each_method_that_needs_an_extra():
    wanted = {name: method_class(name).facts.extra for name in METHODS}
    alone = {name for name, extra in wanted.items() if not extra.startswith("core")}
    assert all(name in about.EXTRAS[wanted[name]] for name in alone)
    needed = {re.split(r" for |; ", extra)[-2] for extra in wanted.values() if " for " in extra}
    assert needed | {wanted[name] for name in alone} <= about.EXTRAS.keys()


# ---------------------------------------------------------------- exit codes


def test_each_code_with_which_a_verb_ends(call, tmp_path, monkeypatch):
    source = tmp_path / "set"
    assert call("sample", "--out", source)[0] == 0
    assert call("augment", source, "--method", "nobody", "--out", "aug")[0] == 2
    nothing = ["--method", "rmda", "--fraction", "0.02", "--out", "aug"]
    code, _, error = call("augment", source, *nothing)
    assert code == 3, error
    assert error.startswith("no post was made: ")
    assert not Path("aug").exists()
    monkeypatch.setattr("hf_mner_aug.conversion.write_sample", lambda *_: 1 / 0)
    assert call("sample", "--out", "other")[0] == 1


def test_the_codes_are_documented_alike():
    told = (ROOT / "docs/running.md").read_text(encoding="utf-8").split("| exit code | means |")[1]
    assert re.findall(r"^\| (\d+)", told, re.MULTILINE)[:5] == ["0", "1", "2", "3", "128"]
    page = (ROOT / "docs/from_code/command_line.py").read_text(encoding="utf-8").split("**Exit codes**")[1]
    assert re.findall(r"\b(\d+) (?=all|trouble|what|a run|and)", page)[:5] == ["0", "1", "2", "3", "128"]
