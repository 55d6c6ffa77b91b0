"""What an earlier version made loads, verifies and goes on, or is refused with a line that says what to do.

``made_before/b9ab9a6.tar.xz`` was made by that commit, the last one before the modules moved into rooms: a set of 42
posts, configs of eda, gmda and memory_hard, a run of eda that lacks its last part, the tree of memory_hard, a corpus, a
saved crf, and a study.
"""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from datasets import load_dataset
from places import ROOT

from hf_mner_aug import memory, verify
from hf_mner_aug.backbones.crf import CRF
from hf_mner_aug.methods import RENAMED
from hf_mner_aug.runs.recipe import Recipe

CONFIGS = ("eda_100pct", "gmda_100pct", "memory_hard_40pct")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made_before")
    with tarfile.open(ROOT / "tests/made_before/b9ab9a6.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def before(unpacked, tmp_path, monkeypatch):
    """A copy of all of it, in the working directory."""
    shutil.copytree(unpacked, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def note_of(config, folder="aug"):
    return json.loads(Path(folder, config, "augmentation.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_loads_and_verifies(before, config):
    rows = load_dataset("aug", config)["train"]
    made = [name for name in rows["method"] if name != "gold"]
    assert len(made) == note_of(config)["funnel"]["kept"] > 0
    found = verify("aug", config)
    assert (found.ok, found.found) == (True, note_of(config)["content_fingerprint"])


def test_a_config_is_made_again_byte_for_byte(before):
    assert verify("aug", "eda_100pct", rerun=True, source="set").ok


@pytest.mark.parametrize(("config", "old"), [("gmda_100pct", "consistency"), ("memory_hard_40pct", "teachers")])
def test_a_recipe_with_former_names_builds_and_makes_the_same_words(before, config, old):
    recorded = note_of(config)["recipe"]
    new = RENAMED[recorded["method"]][old]
    assert old in recorded["params"]
    note = Path("aug", config, "augmentation.json")
    assert Recipe.from_dict(recorded).fingerprint == json.loads(note.read_text())["recipe_fingerprint"]
    for recipe in (Recipe.from_dict(recorded), Recipe.from_file(note)):
        assert getattr(recipe.build(), new) == recorded["params"][old]
    found = verify("aug", config, rerun=True, source="set")
    assert found.difference.endswith("columns that differ: provenance"), "it has the names of parameters"


def test_a_run_goes_on_where_it_was_stopped(before, call):
    run = next(Path("aug.runs").glob("eda_100pct-*"))
    kept = {path: path.stat().st_mtime_ns for path in run.glob("parts/*.parquet")}
    assert [path.stem for path in sorted(kept)] == ["00000", "00001"]
    code, out, error = call("augment", "set", "--method", "eda", "--copies", 1, "--part-size", 10, "--out", "aug")
    assert (code, error) == (0, "")
    assert note_of("eda_100pct")["content_fingerprint"] in out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (run / "parts" / "00002.parquet").exists()


def test_a_config_of_another_recipe_is_refused_with_what_to_do(before, call):
    code, _, error = call("augment", "set", "--method", "gmda", "--copies", 1, "--set", "image=false", "--out", "aug")
    assert (code, error.count("\n")) == (2, 1)
    assert error.endswith("choose another --config-name, or --overwrite\n")


def test_a_page_and_a_tree_are_shown(before, call):
    for config in CONFIGS:
        assert call("show", "aug", config, "--posts", 2)[0] == 0
        assert note_of(config)["content_fingerprint"][:12] in Path(f"{config}.html").read_text(encoding="utf-8")
    assert memory("aug", "memory_hard_40pct").to_text().startswith("crf: ")


def test_a_corpus_takes_no_post_twice(before, call):
    code, out, _ = call("index", "set", "--out", "corpus.sqlite")
    assert code == 0
    assert out.startswith("30 posts read, 0 added, 30 there already; 30 in ")


def test_a_saved_backbone_predicts_as_it_was_saved(before):
    posts = load_dataset("set")
    saved = CRF.load("saved")
    again = CRF(iterations=30).fit(posts["train"].select(range(3)), posts["validation"])
    assert saved.predict(posts["test"]) == again.predict(posts["test"])


def test_a_study_is_made_beside_the_earlier_one(before, call):
    earlier = next(Path("study.studies").glob("crf-*"))
    cells = {path.name: path.read_bytes() for path in (earlier / "cells").iterdir()}
    arguments = ("--configs", "eda_100pct", "--seeds", "0", "--set", "iterations=3", "--out", "study")
    assert call("evaluate", "aug", *arguments)[0] == 0
    assert {path.name: path.read_bytes() for path in (earlier / "cells").iterdir()} == cells
    assert len(list(Path("study.studies").glob("crf-*"))) == 2
