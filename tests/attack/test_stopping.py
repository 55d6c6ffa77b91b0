"""Ctrl-C, SIGTERM and time-outs: every verb ends within seconds, in one line, and leaves no process behind."""

import contextlib
import gzip
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
import zlib
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import DatasetDict, Features
from endpoint_server import EndpointServer

from hf_mner_aug import LSMS, augment, cli, stopping
from hf_mner_aug.models.endpoint import ChatRequest, Endpoint, Reply
from hf_mner_aug.models.endpoint.protocol import read_answer
from hf_mner_aug.schema import mner_features

SECONDS = 5.0  # promised are 3; the machine may be busy
CLI = "from hf_mner_aug.cli import main; main()"
MARK = "HF_MNER_AUG_TEST_MARK"
BAR = re.compile(r"\d+%\||\?it/s|\[A|part/s|cell/s|examples/s")


class Command:
    """A command in a process group of its own, with the processes that it started."""

    begun: ClassVar[list["Command"]] = []

    def __init__(self, *arguments, code=CLI, cwd=None, stderr=subprocess.PIPE, **environment):
        self.mark = uuid.uuid4().hex
        self.begun.append(self)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=cwd,
            start_new_session=True,
            env={**os.environ, MARK: self.mark, **environment},
        )

    def started(self):
        """Return the processes of this command that are there, by id."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def workers(self):
        """Return the ids of its spawned workers."""
        found = []
        for pid in self.started():
            try:
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
            except OSError:
                continue
        return found

    def wait_for(self, condition, seconds=300):
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"it ended before it could be stopped: {self.process.communicate()}"
            assert time.monotonic() < deadline, "it did not come so far"
            time.sleep(0.01)

    def stop(self, number, *, group=False):
        """Send a signal, and return the seconds until the end, the exit code and the lines on standard error."""
        begun = time.monotonic()
        (os.killpg if group else os.kill)(self.process.pid, number)
        _, said = self.process.communicate(timeout=30)
        took = time.monotonic() - begun
        lines = [line for line in re.split(r"[\r\n]+", said or "") if line.strip() and not BAR.search(line)]
        return took, self.process.returncode, lines

    def check_alone(self, seconds=5):
        """See that every process that it started is gone."""
        deadline = time.monotonic() + seconds
        while (left := self.started()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not left, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left if Path(f"/proc/{pid}").exists()]


@pytest.fixture(autouse=True)
def nothing_is_left():
    """End the processes of a test, whatever became of it."""
    yield
    while Command.begun:
        for pid in Command.begun.pop().started():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def write_set(folder, n, splits=("train", "validation", "test")):
    """Write a set of n train posts, and a tenth of that in the others."""
    features = Features({name: f for name, f in mner_features().items() if name != "image"})
    words = ["so", "happy", "to", "see", "Lionel", "Messi", "in", "Paris", "today", "again"]
    tags = [0, 0, 0, 0, 1, 2, 0, 3, 0, 0]
    folder.mkdir(parents=True)
    for split in splits:
        rows = n if split == "train" else max(4, n // 10)
        turned = [[*words[i % 4 :], *words[: i % 4]] for i in range(4)]
        turned_tags = [[*tags[i % 4 :], *tags[: i % 4]] for i in range(4)]
        columns = {
            "id": [f"{split}{i}" for i in range(rows)],
            "tokens": [[*turned[i % 4], f"w{i % 997}"] for i in range(rows)],
            "ner_tags": [[*turned_tags[i % 4], 0] for i in range(rows)],
        }
        table = pa.table(columns, schema=features.arrow_schema)
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def posts(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("stopping") / "set", 2000)


def finished(folder):
    return len(list(folder.glob("aug.runs/*/parts/*.json")))


def lsms(source, out, *more):
    options = ["--method", "lsms", "--copies", "2", "--part-size", "10", "--out", out, *more]
    return ["augment", source, *options]


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.attack)])
def test_a_run_with_workers_says_how_many_parts_are_kept(posts, tmp_path, number):
    """Ctrl-C in a terminal reaches the workers, too."""
    command = Command(*lsms(posts, tmp_path / "aug", "--num-proc", "2"))
    command.wait_for(lambda: finished(tmp_path) >= 3)
    took, code, lines = command.stop(number, group=number == signal.SIGINT)
    print(f"workers, {number.name}: {took:.2f} s {lines}")
    assert took < SECONDS
    assert code == 128 + number
    assert lines == [f"stopped; {finished(tmp_path)} of 200 parts kept; the same command goes on"]
    command.check_alone()


@pytest.mark.attack
@pytest.mark.parametrize("after", [0.1, 0.5, 1.5])
def test_ctrl_c_while_workers_start_is_one_line(posts, tmp_path, after):
    """Workers import for seconds, and each would print where it was."""
    command = Command(*lsms(posts, tmp_path / "aug", "--num-proc", "2"))
    command.wait_for(lambda: len(command.workers()) == 2)
    time.sleep(after)
    took, code, lines = command.stop(signal.SIGINT, group=True)
    assert took < SECONDS
    assert (code, len(lines)) == (130, 1), lines
    assert re.fullmatch(r"stopped; \d+ of 200 parts kept; the same command goes on", lines[0])
    command.check_alone()


@pytest.mark.attack
def test_workers_end_with_a_parent_that_was_killed(posts, tmp_path):
    command = Command(*lsms(posts, tmp_path / "aug", "--num-proc", "2"))
    command.wait_for(lambda: finished(tmp_path) >= 3)
    assert len(command.workers()) == 2
    os.kill(command.process.pid, signal.SIGKILL)
    _, said = command.process.communicate(timeout=10)
    assert "resource_tracker" not in said
    begun = time.monotonic()
    command.check_alone()
    print(f"workers of a killed parent: {time.monotonic() - begun:.2f} s")


def test_a_silent_endpoint_holds_nobody(posts, tmp_path):
    with EndpointServer() as server:
        server.fault("hang", seconds=60)
        chosen = [f"text_model=endpoint:{server.url}#writer", "image=false", "detector=none"]
        more = [word for setting in chosen for word in ("--set", setting)]
        command = Command("augment", posts, "--method", "gmda", *more, "--out", tmp_path / "aug", "--yes")
        command.wait_for(lambda: len(server.log) >= 2)
        took, code, lines = command.stop(signal.SIGTERM)
    print(f"silent endpoint: {took:.2f} s {lines}")
    assert took < SECONDS
    assert code == 143
    assert len(lines) == 1
    assert re.fullmatch(r"stopped; 0 of \d+ parts kept; the same command goes on", lines[0])
    command.check_alone()


# Verbs for the cases that no real one meets in time: C that runs on, an interrupt that is swallowed, ignored signals.
VERBS = """
import sqlite3, sys, time
from pathlib import Path
from typing import ClassVar
from hf_mner_aug import cli

@cli.app.command()
def library():
    holder, other = (sqlite3.connect("a.db", timeout=60, isolation_level=None) for _ in range(2))
    holder.execute("BEGIN EXCLUSIVE")
    Path("begun").touch()
    other.execute("BEGIN EXCLUSIVE")  # SQLite waits for its lock, and hears no signal

@cli.app.command()
def deaf():
    while True:
        try:
            Path("begun").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            Path("heard").touch()

@cli.app.command()
def late():
    try:
        Path("begun").touch()
        time.sleep(60)
    except KeyboardInterrupt:
        raise OSError("the connection was cut") from None

@cli.app.command()
def patient():
    Path("begun").touch()
    time.sleep(3)
    print("done")

cli.main()
"""


@pytest.mark.parametrize(
    ("verb", "least"), [("library", 1.5), pytest.param("deaf", 1.5, marks=pytest.mark.attack), ("late", 0.0)]
)
def test_neither_a_library_nor_what_swallows_or_turns_the_interrupt_goes_on(tmp_path, verb, least):
    command = Command(verb, code=VERBS, cwd=tmp_path)
    command.wait_for((tmp_path / "begun").exists)
    time.sleep(0.3)  # until the library is at work
    took, code, lines = command.stop(signal.SIGINT)
    print(f"{verb}: {took:.2f} s {lines}")
    assert least < took < SECONDS
    assert (code, lines) == (130, ["stopped; the same command starts over"])


def test_the_second_signal_ends_at_once(tmp_path):
    command = Command("deaf", code=VERBS, cwd=tmp_path)
    command.wait_for((tmp_path / "begun").exists)
    os.kill(command.process.pid, signal.SIGINT)
    command.wait_for((tmp_path / "heard").exists)
    took, code, lines = command.stop(signal.SIGINT)
    assert took < 1
    assert (code, lines) == (130, ["stopped; the same command starts over"])


@pytest.mark.attack
def test_nobody_reads_what_is_said(tmp_path):
    """A full pipe takes no line, and the command ends all the same."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    command = Command("library", code=VERBS, cwd=tmp_path, stderr=writer)
    command.wait_for((tmp_path / "begun").exists)
    took, code, _ = command.stop(signal.SIGTERM)
    os.close(reader)
    os.close(writer)
    assert took < SECONDS
    assert code == 143


@pytest.mark.attack
def test_a_signal_that_is_ignored_stays_so(tmp_path):
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    command = Command("patient", code=ignored + VERBS, cwd=tmp_path)
    command.wait_for((tmp_path / "begun").exists)
    os.kill(command.process.pid, signal.SIGINT)
    out, said = command.process.communicate(timeout=30)
    assert (command.process.returncode, out, said) == (0, "done\n", "")


# ---------------------------------------------------------------- a million rows


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """A set of a million posts, and as many lines of text; the set's cache is filled."""
    folder = tmp_path_factory.mktemp("million")
    write_set(folder / "set", 1_000_000)
    (folder / "posts.txt").write_text("".join(f"post number {i} about place{i % 9999} today\n" for i in range(10**6)))
    from hf_mner_aug.sources.loading import load_source

    load_source(str(folder / "set"))
    return folder


LARGE = {
    "validate": (("validate", "set"), "the same command starts over"),
    "index": (("index", "posts.txt", "--out", "OUT/c.db"), r"complete batches stay in \S+; the same command .*"),
    "augment": (("augment", "set", "--method", "lsms", "--out", "OUT/aug", "--yes"), r"\d+ of \d+ parts kept; .*"),
    "workers": (
        ("augment", "set", "--method", "eda", "--copies", "1", "--num-proc", "2", "--out", "OUT/aug", "--yes"),
        r"\d+ of \d+ parts kept; .*",
    ),
}


@pytest.mark.attack
@pytest.mark.parametrize("after", [1.0, 4.0, 9.0, 25.0])
@pytest.mark.parametrize("verb", LARGE)
def test_a_million_rows_hold_nobody(million, tmp_path, verb, after):
    arguments, told = LARGE[verb]
    command = Command(*(word.replace("OUT", str(tmp_path)) for word in arguments), cwd=million)
    time.sleep(after)
    took, code, lines = command.stop(signal.SIGINT, group=True)
    print(f"\n{verb:<10} after {after:>4} s: {took:.2f} s, exit code {code}, {lines}")
    if code != 0:  # else it had ended before
        assert took < SECONDS
        assert code == 130
        assert re.fullmatch(f"stopped; (the same command starts over|{told})", lines[-1])
        assert not [line for line in lines[:-1] if line.startswith(("Traceback", "error", "stopped", "Exception"))]
    command.check_alone()


# ---------------------------------------------------------------- from Python


def test_the_package_leaves_signals_to_the_program(posts, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.unraisablehook
    monkeypatch.setattr(sys, "argv", ["hf-mner-aug", "methods"])
    with pytest.raises(SystemExit):
        cli.main()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
    time.sleep(0.05)
    assert not [thread.name for thread in threading.enumerate() if "_watch" in thread.name]


def test_an_interrupt_ends_calls_under_way_and_their_threads(tmp_path):
    with EndpointServer() as server:
        server.fault("hang", match="tweet [1-9]", seconds=60)
        llm = Endpoint(base_url=server.url, model="m", responses=tmp_path, timeout_s=60)
        requests = [ChatRequest(messages=[{"role": "user", "content": f"tweet {i}"}], seed=1) for i in range(9)]

        def interrupt():
            while len(server.log) < 4 or not list(tmp_path.rglob("*.json")):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            llm.many(requests)
        assert time.monotonic() - begun < SECONDS
        left = [thread.name for thread in threading.enumerate()]
        assert not [name for name in left if "ThreadPoolExecutor" in name or "run_forever" in name]
        server.faults.clear()
        replies = llm.many(requests)
        assert [reply.text for reply in replies] == [f"echo: tweet {i}" for i in range(9)]
        assert replies[0].cached


@pytest.mark.attack
def test_an_interrupt_ends_workers_and_keeps_parts(splits, tmp_path):
    def interrupt():
        deadline = time.monotonic() + 60
        while finished(tmp_path) < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    many = DatasetDict(train=splits["train"].select(list(range(14)) * 30).map(number, with_indices=True))
    options = {"out": tmp_path / "aug", "part_size": 4, "progress": False}
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        augment(many, LSMS(copies=1), num_proc=2, **options)
    assert not multiprocessing.active_children()
    kept = finished(tmp_path)
    assert 1 <= kept < 105
    assert stopping._line() == f"stopped; {kept} of 105 parts kept; the same command goes on"
    run = augment(many, LSMS(copies=1), **options)
    assert json.loads((run.folder / "run.json").read_text())["parts_made"] == 105 - kept


def number(row, i):
    return {"id": f"{row['id']}-{i}"}


# ---------------------------------------------------------------- time-outs


def drip(server):
    server.fault("drip")


def drip_headers(server):
    server.fault("drip_headers")


def silent(server):
    server.fault("hang", seconds=60)


def slow_error(server):
    server.fault("status", status=400, headers={"Content-Length": "3000000"})


@pytest.mark.parametrize("fault", [drip, drip_headers, silent, slow_error])
def test_a_slow_answer_ends_in_time(fault, tmp_path):
    with EndpointServer() as server:
        fault(server)
        llm = Endpoint(base_url=server.url, model="m", responses=tmp_path, timeout_s=0.5, retries=0)
        begun = time.monotonic()
        answer = llm.chat([{"role": "user", "content": "tweet " * 300}], seed=1)
        took = time.monotonic() - begun
    assert answer.reason in ("timeout", "bad_request")
    assert took < 2


M = 1 << 20


def bomb(n):
    """Return gzip of n MB of zeros; after a full flush the same block may follow any number of times.

    Its checksum is that of one MB: whoever comes so far has unpacked it all.
    """
    packer = zlib.compressobj(wbits=31)
    head = packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(M)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + n * block + packer.flush()


BODIES = {
    "a bomb": (bomb(200), {"Content-Encoding": "gzip"}, "too_large"),
    "two layers": (gzip.compress(bomb(64)), {"Content-Encoding": "gzip, gzip"}, "not_json"),
    "no gzip": (b"{}", {"Content-Encoding": "gzip"}, "not_json"),
    "another packing": (b"{}", {"Content-Encoding": "br"}, "not_json"),
    "without end": (b" " * (5 * M), {}, "too_large"),
    "many lists": (b'{"choices": [' + b"[]," * M + b"[]]}", {}, "too_large"),
    "many numbers": (b'{"choices": [' + b"1," * M + b"1]}", {}, "too_large"),
    "deep": (b'{"choices": ' + b"[" * 100_000, {}, "not_json"),
    "deep in an object": (b'{"choices": [{"message": ' + b'{"a":' * 90_000 + b"1", {}, "not_json"),
    "a million digits": (b'{"choices": [1' + b"1" * M + b"]}", {}, "not_json"),
    "a long fraction": (b'{"choices": [0.' + b"1" * M + b"]}", {}, "not_json"),
    "a large exponent": (b'{"choices": [1e' + b"1" * M + b"]}", {}, "not_json"),
    "half a character": (b'{"choices": "\xff"}', {}, "server_error"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_hostile_answer_is_refused_in_time(case, tmp_path):
    body, headers, reason = BODIES[case]
    with EndpointServer() as server:
        server.fault("body", body=body, headers=headers)
        llm = Endpoint(base_url=server.url, model="m", responses=tmp_path, timeout_s=5, retries=0)
        begun = time.monotonic()
        answer = llm.chat([{"role": "user", "content": "hi"}], seed=1)
        took = time.monotonic() - begun
        assert answer.reason == reason, answer
        assert took < 1.5
        server.faults.clear()
        assert llm.chat([{"role": "user", "content": "ho"}], seed=1).text == "echo: ho"


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_that_unpacks_to_a_bomb_is_not_unpacked(status, tmp_path):
    """The Hub's client reads the whole body of an error by itself."""
    body, headers, _ = BODIES["a bomb"]
    with EndpointServer() as server:
        server.fault("status", status=status, body=body, headers=headers)
        llm = Endpoint(base_url=server.url, model="m", responses=tmp_path, timeout_s=5, retries=0)
        begun = time.monotonic()
        assert llm.chat([{"role": "user", "content": "hi"}], seed=1).reason == "too_large"
        assert time.monotonic() - begun < 1.5


def test_an_answer_just_within_the_limits_is_read_fast(tmp_path):
    text = "[{," * 60_000 + "x" * (3 * M)
    with EndpointServer() as server:
        server.say = lambda body: text
        llm = Endpoint(base_url=server.url, model="m", responses=tmp_path, timeout_s=20)
        begun = time.monotonic()
        answer = llm.chat([{"role": "user", "content": "hi"}], seed=1)
        assert isinstance(answer, Reply), answer
        assert answer.text == text
        assert time.monotonic() - begun < 3
    for kind in ("chat", "image", "search"):
        assert read_answer(kind, 200, {}, b"[" * 10_000).reason in ("not_json", "not_an_image")


LATE = """
import os, signal, sys, time
from hf_mner_aug import cli

run = cli._run

def run_and_kill(signals, debug):
    code = run(signals, debug)
    os.kill(os.getpid(), getattr(signal, sys.argv.pop()))
    time.sleep(5)
    return code

cli._run = run_and_kill
sys.argv.insert(1, "--version")
cli.main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_after_the_command_is_one_line_too(name):
    done = subprocess.run([sys.executable, "-c", LATE, name], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 128 + getattr(signal, name)
    assert done.stdout.startswith("hf-mner-aug ")
    assert done.stderr.startswith("stopped; ")
    assert len(done.stderr.splitlines()) == 1
