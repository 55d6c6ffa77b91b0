"""Commands with ``--storage s3://…``, each as a machine of its own: all they share is a server of S3 on loopback."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import fsspec
import pytest
from s3_server import KEYS
from test_ranks import files, put

OPTIONS = ["--method", "eda", "--copies", "2", "--part-size", "2"]


@pytest.fixture
def source(mner, tmp_path):
    (tmp_path / "set").mkdir()
    mner.to_parquet(tmp_path / "set" / "train-00000-of-00001.parquet")
    return tmp_path / "set"


@pytest.fixture
def start(source, tmp_path, s3):
    """Start the command as a machine: with a cache and an output folder of its own."""
    started = []

    def run(machine, *more):
        code = "from hf_mner_aug.cli import main; main()"
        out = ["--out", str(tmp_path / machine / "aug")]
        command = [sys.executable, "-c", code, "augment", str(source), *OPTIONS, *out, *more]
        environment = {**os.environ, "HF_MNER_AUG_CACHE": str(tmp_path / machine / "cache")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def finish(*processes):
    """Wait for processes, and return what each said."""
    return ["".join(process.communicate(timeout=300)) for process in processes]


def parts_made(tmp_path, machine):
    return json.loads(next((tmp_path / machine).glob("aug.runs/eda*/run.json")).read_text())["parts_made"]


def objects(url):
    """Return the objects of a bucket."""
    system = fsspec.filesystem("s3")
    system.invalidate_cache()
    return {name.partition("/")[2]: system.cat_file(name) for name in system.find(url)}


def test_two_machines_at_once_then_losses_then_a_third_one(start, tmp_path, s3):
    machines = [start("one", "--storage", s3), start("two", "--storage", s3), start("alone")]
    said = finish(*machines)
    assert [process.returncode for process in machines] == [0, 0, 0], said
    whole = objects(s3)
    parts = sorted(name for name in whole if "/parts/" in name and name.endswith(".parquet"))
    assert len(parts) == 10

    put(s3, parts[0], whole[parts[0]][:-7])
    put(s3, parts[1], whole[parts[2]])
    for lost in (parts[3], parts[4].replace("/parts/", "/rejected/"), parts[5].replace(".parquet", ".json")):
        fsspec.filesystem("s3").rm_file(f"{s3}/{lost}")
    third = start("three", "--storage", s3)
    said += finish(third)
    assert (third.returncode, parts_made(tmp_path, "three")) == (0, 5), said
    after = objects(s3)
    assert {name: after[name] for name in parts} == {name: whole[name] for name in parts}
    alone = files(tmp_path / "alone" / "aug")
    assert len(alone) == 4
    assert [files(tmp_path / name / "aug") == alone for name in ("one", "two", "three")] == [True] * 3

    written = {**after, **{path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}}
    assert len(written) > 80
    for key in KEYS.values():
        assert not [name for name, data in written.items() if key.encode() in data]
        assert not [text for text in said if key in text]


def test_a_machine_that_dies_is_followed_by_another(start, tmp_path, s3):
    first = start("one", "--storage", s3, "--rank", "0", "--world-size", "1")
    deadline = time.monotonic() + 120
    while not any(name.endswith("/parts/00001.json") for name in objects(s3)) and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    finish(first)
    kept = sum("/parts/" in name and name.endswith(".json") for name in objects(s3))
    assert (first.returncode, 2 <= kept < 10) == (-signal.SIGKILL, True), kept
    shutil.rmtree(tmp_path / "one")
    second, alone = start("two", "--storage", s3), start("alone")
    said = finish(second, alone)
    assert second.returncode == alone.returncode == 0, said
    assert parts_made(tmp_path, "two") == 10 - kept
    assert files(tmp_path / "two" / "aug") == files(tmp_path / "alone" / "aug")


def test_what_was_learnt_and_is_lost_is_one_line(start, tmp_path, s3):
    assert start("one", "--storage", s3).wait(300) == 0
    (learned,) = (name for name in objects(s3) if re.search("/fit/[0-9a-f]{64}$", name))
    fsspec.filesystem("s3").rm_file(f"{s3}/{learned}")
    run = f"{s3}/{learned.partition('/')[0]}"
    second = start("two", "--storage", s3)
    said = f"error: {s3}/{learned} is damaged: delete the folder {run}/fit and run again\n"
    assert (second.communicate(timeout=300), second.returncode) == (("", said), 2)
    fsspec.filesystem("s3").rm(f"{run}/fit", recursive=True)
    again = start("two", "--storage", s3)
    said = finish(again)
    assert (again.returncode, parts_made(tmp_path, "two")) == (0, 0), said


@pytest.mark.parametrize(
    ("settings", "place", "said"),
    [
        ({}, "s3://no-such-bucket/x", "The specified bucket does not exist"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://bucket", "Could not connect to the endpoint URL: "),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_CONFIG_FILE": "none"}, "s3://bucket", "Unable to locate credentials"),
    ],
)
def test_a_bucket_out_of_reach_is_one_line(start, tmp_path, monkeypatch, settings, place, said):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    machine = start("one", "--storage", place)
    out, error = machine.communicate(timeout=300)
    assert (machine.returncode, out, error.count("\n")) == (1, "", 1), error
    assert error.startswith(f"error: storage {place}")
    assert said in error
    assert not (tmp_path / "one" / "aug").exists()
