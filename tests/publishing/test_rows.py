"""What publishing keeps of the made rows is what a study learns from, and what quality finds no fault with."""

import warnings
from pathlib import Path

import pytest
from datasets import DatasetDict, load_dataset

from hf_mner_aug import AMIA, EDA, GMDA, LSMS, augment, publish
from hf_mner_aug.pages.config import read_sheet
from hf_mner_aug.posts.hygiene import PictureUse
from hf_mner_aug.publishing import rows
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.rows import drop_check
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.storage.fingerprint import content_fingerprint
from hf_mner_aug.studies.configs import open_config
from hf_mner_aug.studies.quality import _posts, count_faults, quality
from hf_mner_aug.studies.study import Study

DROPPING = {
    EDA(copies=9): {"duplicate"},
    GMDA(copies=6, detector=None, per_context=2): {"context_used", "picture_used"},
    AMIA(mix="0.5"): {"picture_used"},  # stands in the place of gold posts, in all splits
}


@pytest.mark.parametrize("method", DROPPING, ids=lambda method: method.name)
def test_what_is_published_is_what_a_study_learns_from_and_quality_agrees(method, splits, tmp_path, monkeypatch):
    class Twice(PictureUse):
        def __init__(self, made):
            super().__init__(made)
            self.most = 2

    monkeypatch.setattr(rows, "PictureUse", Twice)
    out = tmp_path / "aug"
    with warnings.catch_warnings(action="ignore"):  # of few posts
        run = augment(splits, method, out=out, progress=False)
        done = publish(run, out)
    dropped = done.funnel["dropped"]
    assert set(dropped) >= DROPPING[method]

    config = open_config(out, done.config, images=True, source=splits)
    study = Study(tmp_path / "study", out, [config], None, (0,), "test", False, "")
    learnt = study._augment(config, 0, tmp_path)
    assert content_fingerprint(DatasetDict(learnt)) == config.fingerprint == done.content_fingerprint

    counts = dict.fromkeys(dropped, 0)
    for split in {part.split for part in run.parts}:
        made = run.made_of(split)
        found = count_faults(_posts(made, images=True), drop_check(run.method, run.gold, len(made)), None)
        counts = {reason: counts[reason] + found.get(reason, 0) for reason in counts}
    assert counts == dropped
    faults = quality(out, [done.config], backbone="crf:iterations=2", source=splits).column(done.config).faults
    assert not any(count for reason, count in faults.items() if reason != "same_text")


@pytest.mark.parametrize("chain", [(LSMS, EDA), (EDA, EDA)], ids=["lsms, eda", "eda, eda"])
def test_posts_made_before_are_gold_wherever_gold_is_counted(chain, splits, tmp_path):
    first, second = (method(copies=1) for method in chain)
    out = tmp_path / "aug"
    publish(augment(splits, first, out=out, progress=False, config="first"), out)
    source = load_dataset(str(out), "first")
    assert set(source["train"]["method"]) == {"gold", first.name}
    done = publish(augment(source, second, out=out, progress=False, config="second"), out)
    n_gold, kept = len(source["train"]), done.funnel["kept"]
    assert read_note(out / "second")["splits"]["train"] | {"num_bytes": 0} == {
        "gold": n_gold,
        "made": kept,
        "num_bytes": 0,
    }

    config = open_config(out, "second", images=True)
    assert config.gold["train"]["id"] == source["train"]["id"]
    study = Study(tmp_path / "study", out, [config], None, (0,), "test", False, "")
    learnt = study._augment(config, 0, tmp_path)
    assert content_fingerprint(DatasetDict(learnt)) == done.content_fingerprint
    assert quality(out, ["second"], backbone="crf:iterations=2").column("second").posts == kept
    assert read_sheet(out, "second", posts=1).made == kept

    lost = source["train"]["id"][-1]  # made by the first method
    more = sum(name.startswith(f"{lost}+") for name in config.splits["train"]["id"])
    assert withdraw_posts(out, [lost])["second"] == 1 + more
    assert read_note(out / "second")["splits"]["train"]["gold"] == n_gold - 1


def test_no_other_code_decides_what_stays():
    package = Path(rows.__file__).parents[1]
    marks = ("Guard(", "PictureUse(", ".reduce()")
    found = [path.name for path in package.rglob("*.py") if any(mark in path.read_text() for mark in marks)]
    assert found == ["rows.py"]
