import hashlib
import os

import pytest

from hf_mner_aug.exceptions import Corrupt, NotFitted
from hf_mner_aug.storage import artifacts


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    return tmp_path / "artifacts"


def test_cache_folder(tmp_path, monkeypatch):
    assert artifacts.cache_folder() == tmp_path
    monkeypatch.delenv("HF_MNER_AUG_CACHE")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(artifacts.cache_folder()) == "/home/somebody/.cache/hf_mner_aug"


def test_stored_under_its_digest(cache):
    digest = artifacts.save(b"learnt")
    assert digest == hashlib.sha256(b"learnt").hexdigest()
    assert (cache / digest).read_bytes() == artifacts.load(digest) == b"learnt"
    assert artifacts.save(b"learnt") == digest
    assert [path.name for path in cache.iterdir()] == [digest]


def test_another_folder(tmp_path, cache):
    digest = artifacts.save(b"learnt", tmp_path / "fit")
    assert artifacts.load(digest, tmp_path / "fit") == b"learnt"
    assert not cache.exists()


def test_json_is_stored_in_one_form():
    assert artifacts.save_json({"b": (1, 2), "a": "é"}) == artifacts.save_json({"a": "é", "b": [1, 2]})
    assert artifacts.load_json(artifacts.save_json({"b": (1, 2), "a": "é"})) == {"a": "é", "b": [1, 2]}


def test_missing_artifact_says_fit_again(cache):
    with pytest.raises(NotFitted, match=rf"no artifact {'0' * 12} in {cache}: call fit again"):
        artifacts.load("0" * 64)


@pytest.mark.parametrize("damaged", [b"", b"learn", b"learnt more", b"Learnt"])
def test_damaged_artifact_is_named(cache, damaged):
    digest = artifacts.save(b"learnt")
    (cache / digest).write_bytes(damaged)
    with pytest.raises(Corrupt, match=f"{cache / digest} is damaged: delete it and call fit again"):
        artifacts.load(digest)
    artifacts.save(b"learnt")
    assert artifacts.load(digest) == b"learnt"


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "new" / "file"
    artifacts.write_atomically(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        artifacts.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_the_name_appears_only_when_the_file_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    seen = []

    def watch(descriptor):
        (part,) = tmp_path.iterdir()
        seen.append((part.name != path.name, part.read_bytes()))

    monkeypatch.setattr(os, "fsync", watch)
    artifacts.write_atomically(path, b"data")
    assert seen == [(True, b"data")]
    assert path.read_bytes() == b"data"


def test_a_folder_is_one_artifact_the_same_bytes_for_the_same_files(cache, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder, names in zip(folders, (["b", "a/c"], ["a/c", "b"]), strict=True):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"file {name}")
    digest = artifacts.save_folder(folders[0])
    assert artifacts.save_folder(folders[1]) == digest
    assert [path.name for path in cache.iterdir()] == [digest]
    artifacts.load_folder(digest, tmp_path / "back")
    found = {
        path.relative_to(tmp_path / "back").as_posix(): path.read_text() for path in (tmp_path / "back").rglob("[bc]")
    }
    assert found == {"a/c": "file a/c", "b": "file b"}
    (cache / digest).write_bytes(b"damaged")
    with pytest.raises(Corrupt, match="damaged"):
        artifacts.load_folder(digest, tmp_path / "never")
    assert not (tmp_path / "never").exists()
