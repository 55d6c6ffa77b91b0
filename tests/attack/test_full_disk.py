"""A disk without room: one line with path, needed and free bytes, nothing half-written, no abort, and it goes on."""

import errno
import json
import os
import pickle
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import prepared_folder
import pytest
from forked import said_by
from small_files import small_files
from verbs import VERBS, check_published, leftovers, state

from hf_mner_aug import cli, corpus
from hf_mner_aug.backbones import crf
from hf_mner_aug.conversion import convert
from hf_mner_aug.models.endpoint.budget import Account, Usage
from hf_mner_aug.storage import artifacts, disk
from hf_mner_aug.storage.disk import DiskFull, disk_full, find_full, room_for
from hf_mner_aug.storage.parquet import write_shards, write_table
from hf_mner_aug.storage.shared import Folder

forks, prepared = prepared_folder.forks, prepared_folder.prepared  # fixtures
prepared_with_ids = prepared_folder.prepared_with_ids

TOLD = r"(No space left on device|File too large): needs (at least [\d,]+ bytes|more room), [\d,]+ bytes are free"


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def run(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


ABORTS = """
import json, os, resource, signal, sys
from collections import Counter
import numpy as np
import pyarrow as pa
from datasets import Features, Value
from hf_mner_aug.storage.parquet import write_shards, write_table

sys.dont_write_bytecode = True  # a module that is written in part stays so, see small_files
folder = sys.argv[1]
random = np.random.default_rng(5)
columns = {"id": [f"p{i}" for i in range(400)], "bytes": [random.bytes(5000) for _ in range(400)]}
features = Features({"id": Value("string"), "bytes": Value("binary")})
table = pa.table(columns)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
counts = Counter()

def write(i):
    groups = (64_000_000, 600_000, 60_000)[i % 3]
    try:
        if i % 2:
            write_table(f"{folder}/a.parquet", table, features, row_group_bytes=groups)
        else:
            write_shards([table], folder, "train", features, row_group_bytes=groups, max_shard_bytes=900_000)
    except OSError as error:
        counts[f"{type(error).__name__} {error.strerror.partition(':')[0]}"] += 1
    except KeyboardInterrupt:
        counts["interrupted"] += 1
    else:
        counts["written"] += 1
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
    counts["left"] += len(os.listdir(folder))

for i in range(60):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000 * i, hard))
    write(i)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

def interrupt(number, frame):
    names = set()
    while frame:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    if "write" in names and "__exit__" not in names and "__del__" not in names:
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
for i in range(120):
    signal.setitimer(signal.ITIMER_REAL, 4e-5 * (i + 1))
    write(i)
    signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps(counts))
"""


def test_no_module_is_compiled_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("compiled_before", "compiled_within"):
        (tmp_path / f"{name}.py").write_text("'a docstring' * 1\n" * 100)
    import_module("compiled_before")
    with small_files(100):
        import_module("compiled_within")
    assert [path.name.partition(".")[0] for path in tmp_path.glob("__pycache__/*")] == ["compiled_before"]
    assert not sys.dont_write_bytecode


def test_arrow_does_not_abort_on_a_full_disk_or_an_interrupt(tmp_path):
    """Before, a write that failed inside Arrow's writer ended the process by SIGABRT, and left its file."""
    done = run(ABORTS, tmp_path)
    assert done.returncode == 0, done.stderr[-500:]
    counts = json.loads(done.stdout.splitlines()[-1])
    print(counts)
    assert counts["DiskFull File too large"] >= 20
    assert counts["interrupted"] >= 20
    assert counts["left"] == 0
    assert sum(counts.values()) == 180


def test_the_error_of_a_parquet_file_names_it_and_counts(mner, tmp_path):
    table = mner.with_format("arrow")[:]
    whole = write_table(tmp_path / "whole.parquet", table, mner.features).stat().st_size
    with small_files(5000), pytest.raises(DiskFull) as full:
        write_table(tmp_path / "a.parquet", table, mner.features)
    assert full.value.filename == str(tmp_path / "a.parquet")
    assert re.fullmatch(TOLD, full.value.strerror)
    needed = int(re.search(r"least ([\d,]+)", full.value.strerror)[1].replace(",", ""))
    assert 5000 < needed <= whole
    with small_files(5000), pytest.raises(DiskFull) as full:
        write_shards([table], tmp_path / "split", "train", mner.features, max_shard_bytes=4000, row_group_bytes=9000)
    assert full.value.filename == str(tmp_path / "split" / "train-*.parquet")
    assert names(tmp_path) == ["whole.parquet"]
    assert pickled(full.value).strerror == full.value.strerror, "workers send it"


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: artifacts.write_atomically(folder / "a", bytes(9000)),
        lambda folder: artifacts.save(bytes(9000), folder / "a"),
        lambda folder: Folder(folder).write("a", bytes(9000)),
        lambda folder: Folder(folder).write_once("a", bytes(9000)),
        lambda folder: Folder(folder).send(folder.parent / "big", "a"),
        lambda folder: Folder(folder.parent).fetch("big", folder / "a"),
    ],
)
def test_files_that_do_not_fit_leave_nothing(write, tmp_path):
    (tmp_path / "big").write_bytes(bytes(9000))
    (tmp_path / "in").mkdir()
    with small_files(4096), pytest.raises(DiskFull, match=r"needs at least 9,000 bytes") as full:
        write(tmp_path / "in")
    assert full.value.filename.startswith(str(tmp_path / "in" / "a"))
    assert not [name for name in names(tmp_path / "in") if not name.endswith("a")]
    assert names(tmp_path / "in") == []


def test_an_account_says_so_and_counts_on(tmp_path):
    account = Account(tmp_path / "spent.jsonl")
    with small_files(4), pytest.raises(DiskFull, match="needs more room"):
        account.add(Usage(calls=1))
    account.add(Usage(calls=2))
    assert Account(tmp_path / "spent.jsonl").spent().calls == 2


def test_half_a_crf_model_is_told_from_a_whole_one(splits, tmp_path, monkeypatch):
    """CRFsuite writes on when the disk is full, and half a model crashes the process."""
    model = crf.CRF(iterations=3).fit(splits["train"], splits["validation"]).model
    assert crf._is_whole(model)
    assert not [n for n in range(0, len(model), 97) if crf._is_whole(model[:n])]
    assert not any(map(crf._is_whole, [bytes(48) + model[48:], bytes(48), bytes(5000), model + b"0"]))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with small_files(len(model) // 2), pytest.raises(DiskFull, match=r"model\.crfsuite"):
        crf.CRF(iterations=3).fit(splits["train"], splits["validation"])
    assert names(tmp_path) == []


RAW = "IMGID:{0}{1}\nKobe\tB-PER\nBryant\tI-PER\nwins\tO\nagain\tO\nin\tO\nParis{1}\tB-LOC\n\n"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Call the command line here: exit code and what it said on standard error."""
    monkeypatch.chdir(tmp_path)

    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, capsys.readouterr().err

    return go


def test_convert_ends_in_one_line_and_leaves_what_was_there(call, tmp_path):
    (tmp_path / "raw").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "raw" / f"{split}.txt").write_text("".join(RAW.format(split, i) for i in range(50)))
    convert("conll", "raw", "set")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    for limit in (100, 2000):
        with small_files(limit):
            code, said = call("convert", "conll", "raw", "--out", "set")
        assert code == 1
        assert re.fullmatch(rf"error: {tmp_path}/\S+: {TOLD}; make room, then run the same command again\n", said)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_a_corpus_that_is_full_says_so_and_goes_on(call, tmp_path, monkeypatch):
    (tmp_path / "posts.txt").write_text("".join(f"post number {i} of many about place{i}\n" for i in range(3000)))
    connect = sqlite3.connect
    limit = "PRAGMA max_page_count = 80"

    def full(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute(limit)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(corpus.sqlite3, "connect", full)
        code, said = call("index", "posts.txt", "--out", "corpus.db")
    assert code == 1
    assert re.fullmatch(rf"error: {tmp_path}/corpus\.db: {TOLD}; make room, .*\n", said)
    assert call("index", "posts.txt", "--out", "corpus.db")[0] == 0
    assert call("index", "posts.txt", "--out", "other.db")[0] == 0
    found = [corpus.index("posts.txt", name).fingerprint for name in ("corpus.db", "other.db")]
    assert found[0] == found[1]


def test_what_libraries_make_of_a_full_disk_is_found(tmp_path):
    def wrapped(cause):
        try:
            try:
                raise cause
            except OSError as error:
                raise RuntimeError("An error occurred while generating the dataset") from error
        except RuntimeError as error:
            return error

    for number in disk.FULL:
        assert find_full(wrapped(OSError(number, "Error writing bytes"))).errno == number
    assert find_full(RuntimeError("Io error: No space left on device (os error 28)")).errno == errno.ENOSPC
    assert find_full(wrapped(OSError(errno.EACCES, "Permission denied"))) is None
    with pytest.raises(PermissionError), room_for("x"):
        raise PermissionError(errno.EACCES, "Permission denied")
    inner = disk_full(tmp_path / "a" / "b", 1234567)
    with pytest.raises(DiskFull) as full, room_for("outer", 1):
        raise inner
    assert full.value is inner
    assert "needs at least 1,234,567 bytes" in inner.strerror
    assert disk.fullest([tmp_path / "not" / "there", "/"]) in (tmp_path, Path("/"))


# ---------------------------------------------------------------- a disk of the test's own


@pytest.fixture
def small_disk(tmp_path):
    """A disk in memory, empty, and a function that sets its size in bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a tmpfs")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size // 1024}k", folder], check=True)

    yield folder, resize
    subprocess.run(["umount", "--lazy", folder], check=True)


def used(folder):
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


# Where the room ends, as shares of what the verb adds to the disk.
SHARES = (0.0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.97)


@pytest.mark.attack
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "demo"])
def test_every_verb_on_a_disk_that_fills_up(forks, prepared_with_ids, small_disk, verb):
    """All that it writes, its cache and temporary files lie there."""
    place, resize = small_disk
    command = VERBS[verb][0]

    def begin():
        resize(64 << 20)
        for path in list(place.iterdir()):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(prepared_with_ids, place, dirs_exist_ok=True)

    begin()
    before = used(place)
    forks.run(*command, cwd=place)
    final, added = state(place), used(place) - before
    counts = Counter()
    for share in SHARES:
        begin()
        resize(used(place) + 8192 + int(share * added))
        code = forks.wait(forks.start(*command, cwd=place))
        text = said_by(place)
        Path(f"{place}.said").unlink()
        lines = [line for line in re.split(r"[\r\n]+", text) if line.startswith("error: ")]
        if code:
            counts["one line"] += 1
            assert code == 1, (share, code, text[-800:])
            assert len(lines) == 1, (share, text[-800:])
            assert re.fullmatch(rf"error: \S+: {TOLD}; make room, then run the same command again", lines[0]), lines
            check_published(place, final)
            assert not leftovers(place), (share, lines)
        else:
            counts["ended well"] += 1
        resize(64 << 20)
        forks.run(*command, cwd=place)
        different = [name for name in {*final, *state(place)} if state(place).get(name) != final.get(name)]
        assert not different, (verb, share, different)
        counts["same bytes after"] += 1
    print(f"\n{verb:<24}" + "".join(f"{name} {n:>3}  " for name, n in counts.items()))
    assert counts["one line"] or added < 100_000
