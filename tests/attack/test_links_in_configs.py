"""A folder of somebody else whose config holds links to the user's own files, or no files at all."""

import os
import shutil
import warnings
from pathlib import Path

import pytest
from conftest import as_dataset, draw_posts
from datasets import DatasetDict

from hf_mner_aug import EDA, augment, publish, show, verify
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.publishing.folder import NOTE
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.runs.ledger import run_folder
from hf_mner_aug.schema import mner_features
from hf_mner_aug.studies.configs import open_config

CONFIG = "eda_100pct"
TRAIN = "train-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repo folder with its run beside it, and its recipe."""
    data = as_dataset(draw_posts(), mner_features()).remove_columns("image")
    out = tmp_path_factory.mktemp("made") / "aug"
    splits = DatasetDict(train=data.select(range(14)), validation=data.select(range(14, 17)), test=data.select([18]))
    run = augment(splits, EDA(copies=1, alpha=0.01), out=out, progress=False)
    publish(run, out)
    return out, run.recipe


@pytest.fixture
def theirs(made, tmp_path):
    """A copy of the folder."""
    shutil.copytree(made[0].parent, tmp_path / "theirs")
    return tmp_path / "theirs" / "aug"


VERBS = {
    "verify": lambda out: verify(out, CONFIG),
    "show": lambda out: show(out, CONFIG, out=out.parent / "page.html"),
    "evaluate": lambda out: open_config(out, CONFIG),
    "withdraw": lambda out: withdraw_posts(out, ["p0"]),
}


def moved_away(path):
    """Put a link in the place of a file or folder, which now lies outside of what somebody sent."""
    place = path.parents[2] / "private" / path.name
    place.parent.mkdir(exist_ok=True)
    path.rename(place)
    path.symlink_to(place)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


WAYS = {
    "data": (lambda out: moved_away(out / CONFIG / TRAIN), "found a link out of"),
    "note": (lambda out: moved_away(out / CONFIG / NOTE), "found a link out of"),
    "config": (lambda out: moved_away(out / CONFIG), "found a link out of"),
    "more data": (
        lambda out: (out / CONFIG / "train-00001-of-00002.parquet").symlink_to("/etc/passwd"),
        "found a link out of",
    ),
    "pipe": (lambda out: fifo(out / CONFIG / TRAIN), "found none"),
    "folder": (lambda out: (out / CONFIG / "test-1.parquet").mkdir(), "found none"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", WAYS)
def test_what_lies_outside_of_a_folder_is_not_read(theirs, verb, way):
    change, told = WAYS[way]
    change(theirs)
    with pytest.raises(DataError, match=rf"{CONFIG}/\S+: expected a file, {told}.*put the file itself there"):
        VERBS[verb](theirs)
    assert not (theirs.parent / "page.html").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_links_inside_of_a_folder_and_of_downloads_are_read(theirs, verb, tmp_path):
    (theirs / "kept").mkdir()
    (theirs / CONFIG / TRAIN).rename(theirs / "kept" / TRAIN)
    (theirs / CONFIG / TRAIN).symlink_to(Path("..", "kept", TRAIN))
    VERBS[verb](theirs)
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    shutil.copytree(theirs, snapshot)
    for path in (snapshot / CONFIG).iterdir():
        path.rename(blobs / path.name)
        path.symlink_to(blobs / path.name)
    if verb != "withdraw":  # which writes
        VERBS[verb](snapshot)


@pytest.mark.parametrize("verb", VERBS)
def test_a_link_to_nothing_is_no_data(theirs, verb):
    (theirs / CONFIG / TRAIN).unlink()
    (theirs / CONFIG / TRAIN).symlink_to(theirs / "nowhere")
    with pytest.raises((UsageError, OSError)):
        VERBS[verb](theirs)


def test_rejects_of_a_run_are_its_own(made, theirs):
    rejected = run_folder(made[1], theirs) / "rejected"
    moved_away(rejected / "00000.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match=r"rejected/00000\.parquet: expected a file, found a link out of"):
            show(theirs, CONFIG, out=theirs.parent / "page.html")
