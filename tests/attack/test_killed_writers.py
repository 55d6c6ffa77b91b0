"""Killed between any two steps, a folder loads as before or as after; one rename cannot do it."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from datasets import DatasetDict
from written_folders import CONTEXT, check_whole, files, left_over, rows_of, run_all

from hf_mner_aug import EDA, LSMS, augment, publish, verify
from hf_mner_aug.publishing.folder import NOTE
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.runs.ledger import beside
from hf_mner_aug.storage import swap as swapping

# ---------------------------------------------------------------- killed between any two steps

STEPS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "fcntl.flock", "ctypes.dlsym")


def step_through(job, arguments, last, answers):
    """Do a job, but kill this process before a step that changes a file, counted from 0; answer with their number."""
    count = 0

    def hook(event, details):
        nonlocal count
        writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if event in STEPS or writes:
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(hook)
    job(*arguments)
    answers.put(count)


def killed_at(step, job, *arguments):
    """Return whether a job was killed before a step; one with fewer steps ends by itself."""
    (ended,) = run_all([(step_through, job, arguments, step, CONTEXT.SimpleQueue())])
    assert ended in (0, -signal.SIGKILL)
    return ended != 0


def number_of_steps(job, *arguments):
    answers = CONTEXT.SimpleQueue()
    assert run_all([(step_through, job, arguments, None, answers)]) == [0]
    return answers.get()


def overwrite_with(run, out, exchanges=True):
    if not exchanges:
        swapping.exchange = without_exchange
    publish(run, out, overwrite=True)


def without_exchange(one, other):
    raise OSError(errno.EINVAL, "Invalid argument")


@pytest.fixture(scope="module")
def old_and_new(splits, tmp_path_factory):
    """Two recipes of one config, with other splits and rows, and what publishing the one, then the other gives."""
    place = tmp_path_factory.mktemp("steps")
    out = place / "aug"
    other = augment(splits, LSMS(), progress=False)
    old = augment(splits, EDA(copies=1), progress=False, config="x")
    fewer = DatasetDict({split: splits[split] for split in ("train", "test")})
    new = augment(fewer, EDA(copies=4, seed=1), progress=False, config="x")
    publish(other, out)
    publish(old, out)
    before = place / "before"
    shutil.copytree(out, before / "aug")
    publish(new, out, overwrite=True)
    return before / "aug", old, new, other, files(out)


def kill_at(steps, old_and_new, tmp_path, exchanges=True):
    """Kill a publication at steps; count what a stranger loads then, and see that the same again ends as without it."""
    before, _, new, _, expected = old_and_new
    counts = [rows_of(before, "x", tmp_path / "cache")]
    clean = tmp_path / "clean" / "aug"
    shutil.copytree(before, clean)
    total = number_of_steps(overwrite_with, new, clean, exchanges)
    assert files(clean) == expected
    counts.append(rows_of(clean, "x", tmp_path / "cache"))
    assert counts[0] != counts[1]
    seen = Counter()
    for step in range(total)[steps]:
        out = tmp_path / str(step) / "aug"
        shutil.copytree(before, out)
        assert killed_at(step, overwrite_with, new, out, exchanges)
        loaded = rows_of(out, "x", tmp_path / "cache") if exchanges or (out / "x").exists() else None
        assert loaded in counts or not exchanges, f"step {step}: neither the old nor the new config"
        seen["neither" if loaded is None else ("old", "new")[counts.index(loaded)]] += 1
        assert loaded is None or rows_of(out, "lsms_100pct", tmp_path / "cache")["test"], f"step {step}: another config"
        publish(new, out, overwrite=True)
        assert files(out) == expected, f"step {step}: published again"
        assert left_over(out, beside(out, "runs")) == [], f"step {step}"
        shutil.rmtree(tmp_path / str(step))
    return seen


def test_killed_between_two_steps_a_folder_loads_as_before_or_as_after(old_and_new, tmp_path):
    seen = kill_at(slice(-21, None, 10), old_and_new, tmp_path)
    assert min(seen["old"], seen["new"]) >= 1, "before and after the swap"


@pytest.mark.attack
@pytest.mark.parametrize("exchanges", [True, False])
def test_killed_before_each_step_a_folder_loads_as_before_or_as_after(old_and_new, tmp_path, exchanges):
    seen = kill_at(slice(None), old_and_new, tmp_path, exchanges)
    print(
        f"\npublish killed before each of {sum(seen.values())} steps, names exchanged: {exchanges}; loads: {dict(seen)}"
    )
    assert min(seen["old"], seen["new"]) > 5
    # Between two renames there is neither; the next process to write there puts the old one back.
    assert seen["neither"] == (not exchanges)


def test_a_folder_moved_away_by_a_killed_process_is_put_back(old_and_new, tmp_path):
    before, old, _, other, _ = old_and_new
    out = tmp_path / "aug"
    shutil.copytree(before, out)
    expected = files(out)
    (out / "x").rename(out / ".x.0123abcd.old")
    publish(other, out)
    assert files(out) == expected
    shutil.copytree(out / "x", out / ".x.0123abcd.old")
    (out / ".mine.old").mkdir()
    withdraw_posts(out, [])
    assert [path.name for path in out.glob(".*")] == [".mine.old"]
    assert old.recipe.config == "x"


def test_a_config_that_a_killed_process_left_off_the_card_is_put_on_it_by_the_next(old_and_new, tmp_path):
    _, old, _, other, _ = old_and_new
    out = tmp_path / "aug"
    publish(old, out)
    (out / "README.md").unlink()
    publish(other, out)
    assert check_whole(out, tmp_path / "cache") == ["lsms_100pct", "x"]


def kill_withdraw_at(steps, before, tmp_path):
    clean = tmp_path / "clean" / "aug"
    shutil.copytree(before, clean)
    total = number_of_steps(withdraw_posts, clean, ["p1", "p15"])
    expected = files(clean)
    names = sorted(path.parent.name for path in clean.glob(f"*/{NOTE}"))
    loads = {name: [rows_of(place, name, tmp_path / "cache") for place in (before, clean)] for name in names}
    assert all(old != new for old, new in loads.values())
    for step in range(total)[steps]:
        out = tmp_path / str(step) / "aug"
        shutil.copytree(before, out)
        assert killed_at(step, withdraw_posts, out, ["p1", "p15"])
        for name in names:
            assert rows_of(out, name, tmp_path / "cache") in loads[name], f"step {step}: {name}"
        withdraw_posts(out, ["p1", "p15"])
        assert files(out) == expected, f"step {step}: withdrawn again"
        shutil.rmtree(out.parent)
    return total


def test_killed_in_withdraw_a_folder_loads_as_before_or_as_after(old_and_new, tmp_path):
    kill_withdraw_at(slice(-20, None, 8), old_and_new[0], tmp_path)


@pytest.mark.attack
def test_killed_before_each_step_of_withdraw_a_folder_loads_as_before_or_as_after(old_and_new, tmp_path):
    total = kill_withdraw_at(slice(None), old_and_new[0], tmp_path)
    print(f"\nwithdraw killed before each of {total} steps: every config loads, as before or as after")


# ---------------------------------------------------------------- one rename cannot do it


def test_across_file_systems_a_config_is_staged_inside_the_folder(old_and_new, tmp_path, monkeypatch):
    before, _, new, _, expected = old_and_new
    out = tmp_path / "aug"
    shutil.copytree(before, out)
    staged = []

    def across(one, other):
        if Path(one).is_relative_to(out) != Path(other).is_relative_to(out):
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(one), None, str(other))
        staged.append(Path(one).relative_to(out).parts[0])

    rename, exchange = Path.rename, swapping.exchange
    monkeypatch.setattr(Path, "rename", lambda self, target: across(self, target) or rename(self, target))
    monkeypatch.setattr(swapping, "exchange", lambda one, other: across(one, other) or exchange(one, other))
    publish(new, out, overwrite=True)
    assert files(out) == expected
    assert re.fullmatch(r"\.x\.[0-9a-f]{12}\.stage", staged[0])
    shutil.rmtree(out)
    publish(new, out)
    assert verify(out, "x").ok
    assert left_over(out, beside(out, "runs")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_mount_point_is_published_into(old_and_new, tmp_path):
    before, _, new, _, expected = old_and_new
    out = tmp_path / "aug"
    out.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", out], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    try:
        shutil.copytree(before, out, dirs_exist_ok=True)
        publish(new, out, overwrite=True)
        assert files(out) == expected
        assert withdraw_posts(out, ["p1"])["x"] > 1
        assert verify(out, "x").ok
        assert left_over(out, beside(out, "runs")) == []
    finally:
        subprocess.run(["umount", out], check=True)
