"""Killed anywhere, any number of times, the same command goes on: in the end all bytes are those of a run that was not.

Each verb that writes runs in a copy of one prepared folder. SIGKILL comes at random times with fixed seeds, the command
is started again, killed again, and at last runs through.
"""

import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import prepared_folder
import pytest
from forked import said_by
from verbs import SECONDS, VERBS, check_alone, check_published, leftovers, state

forks, prepared = prepared_folder.forks, prepared_folder.prepared  # fixtures
prepared_with_ids = prepared_folder.prepared_with_ids

IN_A_ROW = 4  # kills before a command runs through


def campaign(forks, prepared, folder, verb, n_kills):
    """Kill a verb so many times and return what happened, by kind; each run through must give the same state."""
    command = VERBS[verb][0]
    chance = random.Random(f"{verb} 17")

    def copy(name):
        shutil.copytree(prepared, folder / name, symlinks=True)
        return folder / name

    whole = copy("whole")
    took = forks.run(*command, cwd=whole)
    final = state(whole)
    assert not leftovers(whole)
    counts = Counter()
    while counts["killed"] < n_kills:
        counts["chains"] += 1
        assert counts["chains"] < max(10, 3 * n_kills), counts
        trial = copy(f"trial{counts['chains']}")
        for _ in range(IN_A_ROW):
            pid = forks.start(*command, cwd=trial)
            code = forks.wait(pid, waited := chance.uniform(0.02, took))
            if code is not None:
                assert code == 0, said_by(trial)[-800:]
                counts["ended before"] += 1
                took = waited  # the machine was busier when this was measured
                break
            os.kill(pid, signal.SIGKILL)
            assert forks.wait(pid) in (-signal.SIGKILL, 0)
            counts["killed"] += 1
            check_alone(pid)
            check_published(trial, final)
        begun = time.monotonic()
        forks.run(*command, cwd=trial)
        took = max(took, (time.monotonic() - begun) * 0.7)  # a busy machine
        ended = state(trial)
        different = [name for name in {*final, *ended} if ended.get(name) != final.get(name)]
        assert not different, (verb, counts, sorted(different))
        assert not leftovers(trial), (verb, counts)
        counts["same bytes"] += 1
        shutil.rmtree(trial)
    return counts


@pytest.mark.parametrize("verb", ["convert", "augment into a folder", "index more"])
def test_a_killed_command_goes_on(forks, prepared, tmp_path, verb):
    counts = campaign(forks, prepared, tmp_path, verb, 1)
    assert counts["same bytes"] == counts["chains"]


@pytest.mark.attack
@pytest.mark.parametrize("verb", VERBS)
def test_the_kill_campaign(forks, prepared_with_ids, tmp_path, verb):
    counts = campaign(forks, prepared_with_ids, tmp_path, verb, VERBS[verb][1])
    print(f"\n{verb:<24}" + "".join(f"{name} {n:>3}  " for name, n in counts.items()))
    assert counts["killed"] >= VERBS[verb][1]
    assert counts["same bytes"] == counts["chains"]


def test_the_campaign_has_two_hundred_kills():
    assert sum(kills for _, kills in VERBS.values()) >= 200


@pytest.mark.attack
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_stops_in_time_and_goes_on(forks, prepared_with_ids, tmp_path, verb):
    """SIGINT and SIGTERM at random times: the exit code, one line, and what ``the same command`` gives."""
    command = VERBS[verb][0]
    chance = random.Random(f"{verb} stop")
    whole = tmp_path / "whole"
    shutil.copytree(prepared_with_ids, whole)
    took = forks.run(*command, cwd=whole)
    trial = tmp_path / "trial"
    shutil.copytree(prepared_with_ids, trial)
    times, said = [], Counter()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        Path(f"{trial}.said").unlink(missing_ok=True)
        pid = forks.start(*command, cwd=trial)
        if forks.wait(pid, chance.uniform(0.1, 0.8 * took)) is not None:
            said["(ended before)"] += 1
            continue
        begun = time.monotonic()
        os.kill(pid, number)
        code = forks.wait(pid, 30)
        times.append(time.monotonic() - begun)
        text = said_by(trial)
        if code == 0:  # it came too late
            said["(ended before)"] += 1
            continue
        assert code == 128 + number, (code, text[-500:])
        assert "Traceback" not in text
        lines = [line for line in re.split(r"[\r\n]+", text) if line.startswith("stopped; ")]
        assert len(lines) == 1, text[-800:]
        assert re.split(r"[\r\n]+", text.strip())[-1] == lines[0], text[-800:]
        said[lines[0]] += 1
        check_alone(pid)
    print(f"\n{verb:<24}" + ", ".join(f"{t:.2f} s" for t in times) + f" {dict(said)}")
    assert all(t < SECONDS for t in times)
    forks.run(*command, cwd=trial)
    assert state(trial) == state(whole)
    assert not leftovers(trial)
