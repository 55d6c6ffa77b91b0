"""Two writers on one folder, and a kill between any two steps of one: nothing is broken, and nothing is silent."""

import errno
import fcntl
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from written_folders import CONTEXT, check_whole, files, run_all

from hf_mner_aug import EDA, LSMS, augment, publish, verify
from hf_mner_aug.conversion import convert
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import RecipeMismatch, UsageError
from hf_mner_aug.publishing.cards import put_section
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.storage import locks
from hf_mner_aug.storage.artifacts import write_atomically
from hf_mner_aug.storage.locks import LOCAL, lock, stage, sweep, unfinished
from hf_mner_aug.storage.shared import Folder
from hf_mner_aug.studies.quality_tables import QualityReport
from hf_mner_aug.studies.tables import Report

# ---------------------------------------------------------------- what is checked of a folder


# ---------------------------------------------------------------- locks


HOLDER = """
import sys, time
from hf_mner_aug.storage.locks import lock
with lock(sys.argv[1], "publish", beside=len(sys.argv) > 2):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path, *more):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), *more], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_who_waits_is_told_who_holds_the_folder_and_gets_it_when_he_is_killed(tmp_path, monkeypatch, capsys):
    out = tmp_path / "aug"
    process = holder(out)
    try:
        told = rf"held by pid {process.pid} on \S+ \(publish, since \d\d:\d\d\)"
        begun = time.monotonic()
        monkeypatch.setenv("HF_MNER_AUG_LOCK_TIMEOUT", "0.2")
        with pytest.raises(TimeoutError, match=rf"{told}; waited 0\.2 s \(HF_MNER_AUG_LOCK_TIMEOUT sets how long\)"):
            lock(out, "withdraw").__enter__()
        assert time.monotonic() - begun < 5
        monkeypatch.setenv("HF_MNER_AUG_LOCK_TIMEOUT", "0.1")
        with pytest.raises(TimeoutError, match=r"waited 0\.1 s"):
            lock(tmp_path / "x" / ".." / "aug", "withdraw").__enter__()
        monkeypatch.setenv("HF_MNER_AUG_LOCK_TIMEOUT", "soon")
        with pytest.raises(UsageError, match="HF_MNER_AUG_LOCK_TIMEOUT='soon': expected a number"):
            lock(out, "withdraw").__enter__()
        monkeypatch.delenv("HF_MNER_AUG_LOCK_TIMEOUT")
        monkeypatch.setattr(locks, "SILENT_S", 0.0)
        threading.Timer(0.3, process.kill).start()
        with lock(out, "withdraw"):
            assert "withdraw" in (out / LOCAL / "hf_mner_aug.lock").read_text()
        assert re.fullmatch(rf"waiting for {out}: {told}\n", capsys.readouterr().err)
        assert list(out.iterdir()) == [], "nothing of a lock stays"
    finally:
        process.kill()
        process.communicate()


def test_the_command_line_says_who_holds_the_folder(splits, tmp_path, monkeypatch, capsys):
    from hf_mner_aug import cli

    out = tmp_path / "aug"
    publish(augment(splits, LSMS(), out=out, progress=False), out)
    before = files(out)
    monkeypatch.setenv("HF_MNER_AUG_LOCK_TIMEOUT", "0")
    source = tmp_path / "set"
    splits["train"].to_parquet(source / "train-00000-of-00001.parquet")
    monkeypatch.setattr(sys, "argv", ["hf-mner-aug", "augment", str(source), "--method", "eda", "--out", str(out)])
    with lock(out, "quality --write-card"), pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.match(rf"error: {out}: held by pid {os.getpid()} on \S+ \(quality --write-card, since \d\d:\d\d\);", said)
    assert {name: data for name, data in files(out).items() if not name.startswith(".cache/")} == before


def test_whoever_writes_waits_for_the_one_lock(splits, tmp_path, monkeypatch):
    out = tmp_path / "aug"
    run = augment(splits, LSMS(), progress=False)
    publish(run, out)
    before = files(out)
    claimed = tmp_path / "recipe.json"
    monkeypatch.setenv("HF_MNER_AUG_LOCK_TIMEOUT", "0")
    monkeypatch.setattr(os, "link", refuse_links)
    for report in (QualityReport, Report):
        monkeypatch.setattr(report, "to_markdown", lambda *arguments: "")
    writers = {
        "publish": lambda: publish(run, out),
        "withdraw": lambda: withdraw_posts(out, ["p1"]),
        "quality": lambda: QualityReport((), {}, {"lsms_100pct": "0" * 64}, {}, ()).write_card(out),
        "evaluate": lambda: Report(tmp_path, {"rows": [], "backbone": "crf"}).write_card(out),
        "claim": lambda: Folder(tmp_path).write_once("recipe.json", b"{}"),
    }
    with lock(out, "somebody"), lock(claimed, "somebody", beside=True):
        for name, write in writers.items():
            with pytest.raises(TimeoutError, match=r"held by pid \d+ on \S+ \(somebody, since"):
                pytest.fail(f"{name} did not wait: {write()}")
    assert files(out) == before
    assert not claimed.exists()


def count_to(path, times):
    for _ in range(times):
        with lock(path, "count", beside=True):
            path.write_text(str(int(path.read_text()) + 1))


def test_a_lock_lets_one_in_though_its_file_goes_each_time(tmp_path):
    number = tmp_path / "n"
    number.write_text("0")
    counting = [CONTEXT.Process(target=count_to, args=(number, 100)) for _ in range(3)]
    for process in counting:
        process.start()
    for process in counting:
        process.join(60)
    assert number.read_text() == "300"
    assert list(tmp_path.iterdir()) == [number]


def test_a_lock_folder_that_goes_while_it_is_looked_for_is_made_again(tmp_path, monkeypatch):
    mkdir, times = Path.mkdir, []

    def gone(path, *arguments, **options):
        times.append(path)
        if len(times) == 1:  # what pathlib raises where the folder went after it was found to exist
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        return mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", gone)
    with lock(tmp_path, "x"):
        assert (tmp_path / LOCAL).is_dir()
    assert len(times) > 1
    (tmp_path / LOCAL.parent).write_text("a file of the user")
    with pytest.raises((FileExistsError, NotADirectoryError)), lock(tmp_path, "x"):
        pytest.fail("the lock has no place")


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="has no locks: let one process at a time write there"), lock(tmp_path, "x"):
        pass
    write_atomically(tmp_path / "a", b"1")
    (tmp_path / f".a.{locks._machine()}12345678.tmp").touch()
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "what may be another process's stays"


def test_two_indexings_of_one_corpus_follow_each_other(tmp_path):
    (tmp_path / "a.txt").write_text("one post\n")
    process = holder(tmp_path / "corpus.db", "beside")
    try:
        threading.Timer(0.3, process.kill).start()
        begun = time.monotonic()
        assert index(str(tmp_path / "a.txt"), tmp_path / "corpus.db").added == 1
        assert time.monotonic() - begun > 0.2
    finally:
        process.kill()
        process.communicate()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "corpus.db"]


def claim(place, text, barrier, answers):
    os.link = refuse_links
    barrier.wait(60)
    answers.put(Folder(place).write_once("recipe.json", text.encode()))


def refuse_links(source, target):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_claim_has_one_winner_where_there_are_no_hard_links(tmp_path):
    for trial in range(5):
        barrier, answers = CONTEXT.Barrier(3), CONTEXT.Queue()
        place = tmp_path / str(trial)
        run_all([(claim, place, text, barrier, answers) for text in "abc"])
        assert len({answers.get(timeout=10) for _ in range(3)}) == 1
        assert [path.name for path in place.iterdir()] == ["recipe.json"]


# ---------------------------------------------------------------- leftovers


def test_what_a_dead_process_left_goes_and_what_a_live_one_writes_stays(tmp_path):
    dead = tmp_path / f".README.md.{locks._machine()}0123abcd.tmp"
    dead.write_text("half")
    room = dead.with_suffix(".stage")
    room.mkdir()
    (room / "train.parquet").write_text("half")
    far = tmp_path / ".README.md.ffff0123abcd.tmp"  # of another machine, whose locks may not be seen here
    far.touch()
    (tmp_path / ".notes.tmp").touch()
    with unfinished(tmp_path / "README.md") as live, stage(tmp_path, "config") as live_room:
        sweep(tmp_path)
        assert live.exists()
        assert live_room.is_dir()
        assert not dead.exists()
        assert not room.exists()
        assert far.exists()
        os.utime(far, (0, 0))
        sweep(tmp_path)
        assert not far.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".notes.tmp"], "what is not of this package is left alone"


def test_what_versions_before_the_locks_left_goes_after_a_day(tmp_path):
    runs = tmp_path / "aug.runs"
    left = [runs / ".eda_100pct.publishing", runs / ".README.md.0123abcd.tmp", runs / ".eda_100pct.ffff0123abcd.stage"]
    for path in left:
        (path / "eda_100pct").mkdir(parents=True)
    left[1] = left[1].with_name(".augmentation.json.0123abcd.tmp")
    left[1].touch()
    shutil.rmtree(runs / ".README.md.0123abcd.tmp")
    kept = [runs / "eda_100pct-0123abcd", tmp_path / ".mine.publishing"]
    for path in kept:
        path.mkdir()
    with stage(runs, "config") as live:
        for folder in (runs, tmp_path):
            sweep(folder)
        assert all(path.exists() for path in (*left, *kept)), "another process may still write them"
        for path in (*left, *kept, live):
            os.utime(path, (0, 0))
        for folder in (runs, tmp_path):
            sweep(folder)
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in (*kept, live))


# ---------------------------------------------------------------- where a run lies, and folders of others


@pytest.mark.parametrize("given", ["aug/", "aug", "./aug/.", "aug/x/.."])
def test_a_run_lies_beside_its_folder_however_that_is_written(splits, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    Path("aug/x").mkdir(parents=True)
    run = augment(splits, LSMS(), out=given, progress=False)
    assert run.folder.resolve().parent == tmp_path / "aug.runs"
    assert files(tmp_path / "aug") == {}


def test_the_folder_one_is_in_has_its_run_beside_it(splits, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = augment(splits, LSMS(), out=".", progress=False)
    assert run.folder.parent == tmp_path / "here.runs"
    assert list(Path().iterdir()) == []
    publish(run, ".")
    assert sorted(path.name for path in Path().iterdir()) == ["README.md", "lsms_100pct"]
    assert DatasetCard.load("README.md").data["pretty_name"] == "here"
    assert load_dataset(str(Path.cwd()), "lsms_100pct")["test"].num_rows == 3
    with pytest.raises(UsageError, match="is the root of the file system: name a folder in it"):
        augment(splits, LSMS(), out="/", progress=False)


@pytest.fixture(scope="module")
def run(splits):
    return augment(splits, LSMS(), progress=False)


FOREIGN = {
    "a card": ("README.md", {"README.md": "---\nlicense: mit\n---\n# My set\n", "LICENSE": "MIT"}),
    "data": ("data", {"data/train-00000-of-00001.parquet": "PAR1"}),
    "code": ("main.py", {"main.py": "print()", ".gitignore": "*.pyc", "z/a.txt": ""}),
    "a notebook's page": ("eda_100pct.html", {"eda_100pct.html": "<html>"}),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_of_somebody_else_is_refused_untouched(run, tmp_path, kind):
    found, contents = FOREIGN[kind]
    out = tmp_path / "theirs"
    for name, text in contents.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    before = files(out)
    with pytest.raises(UsageError) as refused:
        publish(run, out)
    assert str(refused.value) == (
        f"{out} holds {found}, which this package did not write: name another folder, or publish beside it with "
        "--into-existing"
    )
    assert files(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]

    publish(run, out, into_existing=True)
    after = files(out)
    assert {name: after[name] for name in before if name != "README.md"} == {
        name: data for name, data in before.items() if name != "README.md"
    }
    if "README.md" in contents:
        card = DatasetCard.load(out / "README.md")
        assert card.text.lstrip().startswith("# My set")
        assert card.data["license"] == "other", "the source's is unknown"
    assert verify(out, "lsms_100pct").ok
    publish(run, out)  # from now on it is ours, too


def test_the_command_line_refuses_somebody_elses_folder_before_it_makes_a_row(splits, tmp_path, monkeypatch, capsys):
    from hf_mner_aug import cli

    source, out = tmp_path / "set", tmp_path / "theirs"
    splits["train"].to_parquet(source / "train-00000-of-00001.parquet")
    out.mkdir()
    (out / "README.md").write_text("# My set\n")
    command = ["hf-mner-aug", "augment", str(source), "--method", "lsms", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "holds README.md, which this package did not write" in capsys.readouterr().err
    assert not (tmp_path / "theirs.runs").exists()
    assert files(out) == {"README.md": b"# My set\n"}
    monkeypatch.setattr(sys, "argv", [*command, "--into-existing"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert (out / "README.md").read_text().split("---\n")[2].lstrip().startswith("# My set")


def test_folders_of_this_package_are_published_into(run, splits, tmp_path):
    out = tmp_path / "aug"
    out.mkdir()
    (out / ".DS_Store").touch()  # empty but for what is hidden
    publish(run, out)
    clone = tmp_path / "clone"  # what git clone brings of a repo that was pushed
    shutil.copytree(out, clone)
    (clone / ".git").mkdir()
    (clone / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (clone / "LICENSE").write_text("MIT")
    other = augment(splits, EDA(copies=1), progress=False)
    publish(other, clone)
    assert (clone / "LICENSE").read_text() == "MIT"
    for name in ("eda_100pct", "lsms_100pct"):
        assert verify(clone, name).ok
    (out / "README.md").write_text("# Written anew by hand\n")
    publish(other, out)
    (out / ".DS_Store").unlink()
    assert check_whole(out, tmp_path / "cache") == ["eda_100pct", "lsms_100pct"]


def test_a_converted_set_is_published_into(run, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for split in ("train", "valid", "test"):
        (raw / f"{split}.txt").write_text("IMGID:1\nParis\tB-LOC\n\n")
    out = tmp_path / "set"
    convert("twitter2015", raw, out)
    publish(run, out)
    assert load_dataset(str(out), "default")["train"].num_rows == 1
    assert verify(out, "lsms_100pct").ok


def test_a_file_that_somebody_put_into_a_config_is_not_deleted_with_it(run, tmp_path):
    out = tmp_path / "aug"
    publish(run, out)
    (out / "lsms_100pct" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt is not a file of the config, whose folder would be replaced"):
        publish(run, out, overwrite=True)
    assert (out / "lsms_100pct" / "notes.txt").read_text() == "mine"
    (out / "own").mkdir()
    (out / "own" / "notes.txt").touch()
    mine = augment(run.gold, LSMS(), progress=False, config="own")
    with pytest.raises(RecipeMismatch, match="own exists and was not made here"):
        publish(mine, out, overwrite=True)


def test_our_own_pages_of_a_config_go_with_it(run, tmp_path):
    out = tmp_path / "aug"
    config = out / "lsms_100pct"
    publish(run, out)
    for name in ("lsms_100pct.html", "memory.html"):
        (config / name).write_text("of the posts of before")
    publish(run, out, overwrite=True)
    assert not list(config.glob("*.html"))
    (config / "other.html").touch()
    with pytest.raises(UsageError, match=r"other\.html is not a file of the config"):
        publish(run, out, overwrite=True)


# ---------------------------------------------------------------- writers at once


def write(job, out, data, barrier, delay, answers):
    """Do one job in a process of its own and answer with the line that a user would read."""
    barrier.wait(60)
    time.sleep(delay)
    try:
        told = job(out, data)
    except (UsageError, OSError) as error:
        told = f"{type(error).__name__}: {error}"
    answers.put((job.__name__, told))


def publish_lsms(out, splits):
    return _publish(out, splits, LSMS())


def publish_eda(out, splits):
    return _publish(out, splits, EDA(copies=1))


def publish_x(out, splits):
    return _publish(out, splits, LSMS(copies=2), config="x")


def publish_other_x(out, splits):
    return _publish(out, splits, EDA(copies=3), config="x")


def overwrite_x(out, splits):
    return _publish(out, splits, EDA(copies=2), config="x", overwrite=True)


def _publish(out, splits, method, config=None, **options):
    chosen = {"config": config} if config else {}
    publish(augment(splits, method, out=out, progress=False, **chosen), out, **options)
    return "published"


def withdraw(out, splits):
    withdraw_posts(out, ["p1", "p3"])
    return "withdrawn"


def measure(out, splits):
    put_section(out, "quality --write-card", "quality of base", "### What is in base", after="config base")
    return "written"


MIXES = [
    (publish_lsms, publish_eda),
    (publish_x, publish_x),
    (publish_x, publish_other_x),
    (publish_lsms, withdraw, publish_eda),
    (publish_eda, measure, publish_lsms),
    (publish_x, overwrite_x, withdraw),
    (publish_x, publish_x, publish_other_x),
    (measure, withdraw),
    (publish_lsms, publish_eda, publish_x),
    (overwrite_x, overwrite_x, measure),
]
MADE = {publish_lsms: "lsms_100pct", publish_eda: "eda_100pct", publish_x: "x", publish_other_x: "x", overwrite_x: "x"}


def trial(number, base, splits, tmp_path):
    """Let some processes write into a folder at once; return what each of them said."""
    jobs = MIXES[number % len(MIXES)]
    drawn = random.Random(number)
    out = tmp_path / str(number) / "aug"
    shutil.copytree(base, out)
    barrier, answers = CONTEXT.Barrier(len(jobs)), CONTEXT.Queue()
    ended = run_all([(write, job, out, splits, barrier, drawn.random() * 0.1, answers) for job in jobs])
    assert ended == [0] * len(jobs)
    told = [answers.get(timeout=10) for _ in jobs]
    configs = check_whole(out, tmp_path / "cache")
    refused = [line for _, line in told if line not in ("published", "withdrawn", "written")]
    for line in refused:
        assert re.fullmatch(r"RecipeMismatch: \S+ was made by recipe \w+, this one is \w+: choose another .*", line)
    assert bool(refused) <= (publish_other_x in jobs or overwrite_x in jobs)
    if publish_other_x in jobs:
        assert len(refused) >= 1, "of two recipes one is told that the other was first"
    assert set(configs) == {"base", *(MADE[job] for job in jobs if job in MADE)}
    if withdraw in jobs:
        assert not {"p1", "p3"} & set(load_dataset(str(out), "base", cache_dir=str(tmp_path / "cache"))["train"]["id"])
    if measure in jobs:
        assert "### What is in base" in (out / "README.md").read_text()
    shutil.rmtree(out.parent)
    return told


@pytest.fixture(scope="module")
def base(splits, tmp_path_factory):
    """A folder with one config."""
    out = tmp_path_factory.mktemp("base") / "aug"
    publish(augment(splits, EDA(copies=1), out=out, progress=False, config="base"), out)
    return out


def test_writers_at_once_break_nothing_and_are_silent_about_nothing(base, splits, tmp_path):
    for number in (3, 4, 5, 6):  # the first three are parts of these
        trial(number, base, splits, tmp_path)


@pytest.mark.attack
def test_fifty_trials_of_two_and_three_writers(base, splits, tmp_path):
    said = Counter()
    for number in range(50):
        for job, told in trial(number, base, splits, tmp_path):
            said[job, told.partition(":")[0]] += 1
    print("\n50 trials of 2 and 3 writers, all whole in the end:")
    for (job, told), count in sorted(said.items()):
        print(f"  {job:<16}{told:<16}{count:>4}")
    assert sum(said.values()) == 5 * sum(map(len, MIXES))
