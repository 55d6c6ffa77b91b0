"""Kept results: what was written is read, within a limit, and by several processes."""

import os
import sqlite3
import subprocess
import sys

import pytest

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.storage import kept_features


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))


def test_what_was_written_last_stays_within_the_limit(monkeypatch):
    monkeypatch.setenv("HF_MNER_AUG_KEPT_GB", "0.0005")  # 500 kB
    for i in range(60):
        kept_features.write("e", {f"{i}": bytes([i]) * 20_000})
    path = kept_features.path_of("e")
    assert path.stat().st_size < 600_000
    found = kept_features.read("e", map(str, range(60)))
    assert 15 <= len(found) <= 25
    assert list(found) == [str(i) for i in range(60 - len(found), 60)], "what was written first is gone"
    assert found["59"] == bytes([59]) * 20_000
    kept_features.write("e", {"large": bytes(700_000)})
    assert kept_features.read("e", ["large", "59"]) == {}
    kept_features.write("e", {"x": b"x"})
    assert kept_features.read("e", ["x"]) == {"x": b"x"}


def test_with_no_room_nothing_is_kept_or_read(monkeypatch):
    kept_features.write("e", {"x": b"x"})
    monkeypatch.setenv("HF_MNER_AUG_KEPT_GB", "0")
    kept_features.write("e", {"y": b"y"})
    assert kept_features.read("e", "xy") == {}
    monkeypatch.delenv("HF_MNER_AUG_KEPT_GB")
    assert kept_features.read("e", "xy") == {"x": b"x"}


@pytest.mark.parametrize("value", ["much", "-1", "nan", "inf", ""])
def test_a_limit_that_is_none_is_one_line(value, monkeypatch):
    monkeypatch.setenv("HF_MNER_AUG_KEPT_GB", value)
    with pytest.raises(UsageError, match=f"^HF_MNER_AUG_KEPT_GB='{value}': expected a number of gigabytes, 0 to"):
        kept_features.read("e", ["x"])


def test_what_is_no_bytes_is_not_read():
    kept_features.write("e", {"x": b"x", "y": b"y"})
    with sqlite3.connect(kept_features.path_of("e")) as file:
        file.execute("UPDATE features SET value = 'text' WHERE key = 'x'")
    file.close()
    assert kept_features.read("e", "xy") == {"y": b"y"}


def test_processes_write_to_one_file():
    code = (
        "import sys; from hf_mner_aug.storage import kept_features\n"
        "for i in range(40): kept_features.write('e', {f'{sys.argv[1]} {i}': sys.argv[1].encode() * 5000})"
    )
    calls = [[sys.executable, "-W", "error", "-c", code, str(n)] for n in range(3)]
    assert [process.wait() for process in [subprocess.Popen(call, env=os.environ) for call in calls]] == [0] * 3
    found = kept_features.read("e", [f"{n} {i}" for n in range(3) for i in range(40)])
    assert len(found) == 120
    assert all(value == key.split()[0].encode() * 5000 for key, value in found.items())
