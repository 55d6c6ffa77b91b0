"""``recommend``: what it answers on sets where the answer is known, its budget, its resuming, and bad input."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import rigged
from datasets import DatasetDict
from typer.testing import CliRunner

from hf_mner_aug import Recipe, augment, cli, recommend
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.recommending import cells as of_cells
from hf_mner_aug.recommending import parse_time
from hf_mner_aug.recommending.candidates import list_candidates
from hf_mner_aug.recommending.cells import FOLDS, share_posts
from hf_mner_aug.schema import Codec, Relation, mner_features
from hf_mner_aug.studies.study import Study
from hf_mner_aug.transform import iterate_posts
from tests.conftest import as_dataset

RELATED = mner_features((), images="none", relations=tuple(rigged.RELATIONS))
FEATURES = mner_features(rigged.KINDS, images="none")
CHOSEN = {
    "backbone": "crf:iterations=12",
    "methods": ["rigged:Harms", "lsms", "rigged:Knows"],
    "copies": (2,),
    "weights": (1.0,),
    "seeds": (0,),
    "budget": "1h",
    "progress": False,
}


def as_set(posts):
    return DatasetDict({"train": as_dataset(posts, FEATURES)})


def one_second(self, cell, size, really=Study.train):
    """Train a cell, and say that it took a second: budgets are then numbers of trainings."""
    return json.dumps({**json.loads(really(self, cell, size)), "seconds": 1.0}).encode()


@pytest.fixture(autouse=True)
def seconds(monkeypatch):
    monkeypatch.setattr(Study, "train", one_second)


@pytest.fixture(scope="module")
def gold():
    return as_set(rigged.draw_posts(60))


@pytest.fixture(scope="module")
def won(gold, tmp_path_factory):
    """The race that the method wins which knows the names of all posts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "train", one_second)
        return recommend(gold, out=tmp_path_factory.mktemp("won") / "r", **CHOSEN)


def by_name(found):
    return {candidate["name"]: candidate for candidate in found.data["candidates"]}


def told(found):
    """Return an answer without what says when and where it was found."""
    return {name: value for name, value in found.data.items() if name not in ("measured", "command")}


# ---------------------------------------------------------------- answers


def test_a_method_that_helps_wins_and_one_that_harms_falls_out_first(won, gold):
    assert won.data["answer"] == "recipe"
    assert won.data["recipe"] == "knows_x2"
    equal, best = won.data["final"]["comparisons"]
    assert equal["delta"] > 0.1
    assert equal["p"] < 0.05
    assert best["delta"] > 0.1
    assert best["p"] < 0.05
    assert won.data["final"]["posts"] == 30, "the folds that chose nothing"
    found = by_name(won)
    assert found["harms_x2"]["round"] == 1
    assert found["harms_x2"]["out"]
    assert found["harms_x2"]["f1"] < found["lsms_x2"]["f1"] < found["knows_x2"]["f1"]
    assert found["knows_x2"]["out"] == ""
    assert re.match(r"use knows_x2: \+0\.\d+ F1 over gold repeated to equal size on 30 posts held out", won.line)


def test_augment_takes_the_recipe(won, gold):
    recipe = Recipe.from_file(won.out / "recipe.yaml")
    assert (recipe.method, recipe.copies, recipe.params) == ("knows", 2, {"right": True})
    assert not (won.out.parent / "x").exists()
    made = augment(gold, recipe.build(), progress=False)
    assert made.counts["made"] == 120


def test_the_folder_has_the_answer_as_data_as_text_and_as_a_page(won):
    assert json.loads((won.out / "recommendation.json").read_text())["line"] == won.line
    text = (won.out / "recommendation.md").read_text()
    assert won.line.split(":")[0] in text
    page = (won.out / "recommendation.html").read_text()
    assert "optimistic" in page
    assert "chose nothing" in page
    assert not re.search(r"<script|src=|url\(|href=\"(?!data:,\")", page)


def test_other_splits_than_train_are_not_read(won, gold, tmp_path):
    others = as_dataset(rigged.draw_posts(30, typed=False, start=60), FEATURES)
    found = recommend(DatasetDict({**gold, "validation": others, "test": others}), out=tmp_path / "r", **CHOSEN)
    assert told(found) == told(won)


def test_gold_is_the_answer_where_types_are_noise(tmp_path):
    noise = as_set(rigged.draw_posts(60, typed=False))
    found = recommend(noise, out=tmp_path / "r", **{**CHOSEN, "methods": ["lsms", "eda"]})
    assert found.data["answer"] == "gold"
    assert found.data["finished"]
    assert found.line.startswith("none: use gold")
    assert not (tmp_path / "r" / "recipe.yaml").exists()


def test_posts_that_are_held_out_are_never_trained_on(gold, tmp_path):
    rigged.HELD["posts"] = rigged.draw_posts(60)
    found = recommend(gold, out=tmp_path / "r", **{**CHOSEN, "methods": ["rigged:Leaks", "rigged:Fails"]})
    outs = {name: candidate["out"] for name, candidate in by_name(found).items()}
    assert outs["leaks_x2"] == "round 1: it made no post that publishing keeps"
    assert outs["fails_x2"] == "round 1: fails: <b>nothing to learn in this set"
    assert found.data["answer"] == "gold"
    page = (tmp_path / "r" / "recommendation.html").read_text()
    assert "&lt;b&gt;nothing" in page
    assert "<b>nothing" not in page


def test_relations_are_compared_too_and_those_of_a_tweet_share_a_fold(tmp_path):
    train = as_dataset(rigged.draw_relations(60), RELATED)
    fold_of = share_posts(train)
    names = dict(zip(train["id"], fold_of, strict=True))
    assert all(names[name.removesuffix("~2")] == fold for name, fold in names.items())
    chosen = {**CHOSEN, "backbone": "relation_features", "methods": ["lsms"]}
    found = recommend(DatasetDict({"train": train}), out=tmp_path / "r", **chosen)
    assert found.data["task"] == "relations"
    assert found.data["final"] or found.data["stop"]


# ---------------------------------------------------------------- budget, and going on


def test_a_budget_that_ends_gives_gold_and_a_larger_one_goes_on_to_the_same_answer(won, gold, tmp_path):
    out = tmp_path / "r"
    for budget, why in ("5s", "round 1"), ("26s", "before the final comparison was finished"):
        found = recommend(gold, out=out, **{**CHOSEN, "budget": budget})
        assert found.data["answer"] == "gold"
        assert not found.data["finished"]
        assert why in found.data["stop"]
        assert re.match("not finished .*: use gold.*; the same command with a larger --budget goes on", found.line)
        assert found.data["spent"]["seconds"] <= int(budget[:-1])
        again = recommend(gold, out=out, **{**CHOSEN, "budget": budget})
        assert told(again) == told(found), "the same trainings give the same answer"
    found = recommend(gold, out=out, **CHOSEN)
    assert told(found) == told(won)


def test_a_race_that_was_stopped_keeps_its_trainings_and_ends_as_if_it_had_not_been(won, gold, tmp_path, monkeypatch):
    trained = []

    def stops(self, cell, size):
        if len(trained) == 9:
            raise KeyboardInterrupt
        trained.append(cell.stem)
        return one_second(self, cell, size)

    monkeypatch.setattr(Study, "train", stops)
    with pytest.raises(KeyboardInterrupt):
        recommend(gold, out=tmp_path / "r", **CHOSEN)
    assert len(of_files(tmp_path)) == 9
    again = []

    def goes_on(self, cell, size):
        again.append(cell.stem)
        return one_second(self, cell, size)

    monkeypatch.setattr(Study, "train", goes_on)
    found = recommend(gold, out=tmp_path / "r", **CHOSEN)
    assert told(found) == told(won)
    assert len(again) == won.data["spent"]["seconds"] - 9


def of_files(folder):
    return [*folder.glob("*.studies/*/fold-*/cells/*.json")]


def test_a_killed_command_goes_on(gold, tmp_path, monkeypatch):
    gold.save_to_disk(tmp_path / "set")
    command = [sys.executable, "-m", "hf_mner_aug", "recommend", "set", "--out", "r", "--budget", "1h"]
    command += [
        "--backbone",
        "crf:iterations=5",
        "--methods",
        "lsms",
        "--copies",
        "1",
        "--weights",
        "1",
        "--seeds",
        "0",
    ]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as process:
        until = time.monotonic() + 300
        while len(of_files(tmp_path)) < 2 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in of_files(tmp_path)}
    assert len(before) >= 2
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, cli._spread(command[3:]))
    assert done.exit_code == 0, done.output
    assert "use " in done.stdout.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was finished is not trained again"


def test_calls_are_paid_within_a_budget_and_never_without_one(gold, tmp_path):
    chosen = {**CHOSEN, "methods": ["rigged:Pays"], "copies": (1,)}
    with pytest.raises(UsageError, match=r"^pays: calls may cost money, say with --usd how much at most$"):
        recommend(gold, out=tmp_path / "r", **chosen)
    sent = rigged.HELD["sent"]
    found = recommend(gold, out=tmp_path / "r", usd=3, **chosen)
    assert rigged.HELD["sent"] - sent == 3
    assert found.data["spent"]["usd"] == 3
    assert found.data["answer"] == "gold"
    assert "the budget of USD 3 ended" in found.data["stop"]


# ---------------------------------------------------------------- candidates


def test_candidates_are_methods_by_amount_and_weight_and_recipes_as_they_are(tmp_path):
    (tmp_path / "own.yaml").write_text("method: lsms\ncopies: 3\nparams: {ratio: 0.2}\nfraction: 0.5\n")
    found, left_out = list_candidates(
        ["mixgen", "lsms:copies=2"], [tmp_path / "own.yaml"], copies=(1, 4), weights=(1.0, 0.5)
    )
    assert left_out == []
    assert [c.name for c in found] == [
        "mixgen_x1",
        "lsms_x2",
        "mixgen_x4",
        "mixgen_x1_w0.5",
        "lsms_x2_w0.5",
        "mixgen_x4_w0.5",
        "lsms_x3",
    ]
    assert [c.weighted for c in found] == [False, False, False, True, True, True, False]
    assert found[-1].recipe.fraction == 1.0
    assert found[-1].recipe.params["ratio"] == 0.2
    plain, _ = list_candidates(["lsms"], weights=(1.0, 0.5), weighs=False)
    assert [c.name for c in plain] == ["lsms_x1", "lsms_x4"]


def test_by_default_all_methods_take_part_that_change_what_the_backbone_reads():
    found, left_out = list_candidates(copies=(1,), weights=(1.0,))
    names = {candidate.recipe.method for candidate in found}
    assert {"eda", "gmda", "llm_da", "lsms", "memory_hard", "mixgen", "rmda"} <= names
    assert {left.name: left.why for left in left_out}["amia"].startswith("amia changes pictures alone")
    with_pictures, _ = list_candidates(copies=(1,), weights=(1.0,), images=True)
    assert "amia" in {candidate.recipe.method for candidate in with_pictures}
    assert not any(candidate.method.costs for candidate in found)
    image = {candidate.recipe.method: candidate.recipe.params.get("image") for candidate in found}
    assert [image[name] for name in ("gmda", "memory_hard", "rmda")] == [False] * 3, "this backbone reads none"
    image = {candidate.recipe.method: candidate.recipe.params.get("image") for candidate in with_pictures}
    assert [image[name] for name in ("gmda", "memory_hard", "rmda")] == [True] * 3
    asked, _ = list_candidates(["rmda:image=true"], copies=(1,), weights=(1.0,))
    assert asked[0].recipe.params["image"] is True


def test_each_fold_is_held_out_once_and_train_has_neither_it_nor_the_next(gold):
    found, _ = list_candidates(["lsms"], copies=(1,), weights=(1.0,))
    fold_of = share_posts(gold["train"])
    cells = of_cells.Cells(Path("x"), Path("y"), gold["train"], fold_of, found, None, None, "")
    held = []
    for fold in range(FOLDS):
        splits = {name: set(rows["id"]) for name, rows in cells.split(fold).items()}
        held += splits["test"]
        assert not splits["train"] & (splits["test"] | splits["validation"])
        assert not splits["test"] & splits["validation"]
        assert sum(map(len, splits.values())) == 60
    assert sorted(held) == sorted(gold["train"]["id"])


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("posts", "chosen", "line"),
    [
        (8, {}, "train has 8 different posts: expected at least 20, since fewer cannot tell one method from another"),
        (60, {"budget": "soon"}, "budget 'soon': expected a time such as 90s, 30m or 1h30m"),
        (60, {"budget": "0m"}, "budget '0m': expected a time such as 90s, 30m or 1h30m"),
        (60, {"methods": ["lsmz"]}, "unknown method 'lsmz': did you mean 'lsms'?"),
        (60, {"backbone": "crff"}, "unknown backbone 'crff': did you mean 'crf'?"),
        (60, {"backbone": "crf:weight=weight"}, "leave weight and boundary out"),
        (60, {"backbone": "relation_features"}, "splits has entities and no relations"),
        (60, {"copies": (0,)}, "expected different copies from 1 to 100, found 0"),
        (60, {"weights": (1.0, 1.0)}, "expected different weights from 0 to 100, found 1, 1"),
        (60, {"weights": (20.0,)}, "weight must be a number from 0 to 10"),
        (60, {"methods": ["amia"]}, "amia changes pictures alone, and this backbone reads none"),
        (60, {"engine": "pool"}, "a study trains one model at a time"),
        (60, {"usd": -1.0}, "usd must be at least 0, found -1.0"),
        (60, {"recipes": ["missing.yaml"]}, "missing.yaml: No such file"),
    ],
)
def test_bad_input_is_one_line(posts, chosen, line, tmp_path):
    with pytest.raises(UsageError) as error:
        recommend(as_set(rigged.draw_posts(posts)), out=tmp_path / "r", **{**CHOSEN, **chosen})
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.glob("*")]


def test_a_set_without_train_posts_or_with_nothing_to_score_is_refused(gold, tmp_path):
    with pytest.raises(UsageError, match="train"):
        recommend(DatasetDict({"test": gold["train"]}), out=tmp_path / "r", **CHOSEN)
    bare = [replace(post, entities=()) for post in rigged.draw_posts(40)]
    with pytest.raises(UsageError, match=r"^train has 0 entities: expected at least 10, one for each fold$"):
        recommend(as_set(bare), out=tmp_path / "r", **CHOSEN)
    made = augment(gold, "lsms", progress=False).dataset
    with pytest.raises(UsageError, match=r"^train has made posts"):
        recommend(DatasetDict({"train": made}), out=tmp_path / "r", **CHOSEN)
    train = as_dataset(rigged.draw_relations(40), RELATED)
    codec = Codec(train.features)
    same = [
        replace(p, relation=Relation(p.relation.head, p.relation.tail, "None")) for p in iterate_posts(train, codec)
    ]
    with pytest.raises(UsageError, match=r"^train has 0 relations"):
        recommend(
            DatasetDict({"train": as_dataset(same, train.features)}), out=tmp_path / "r", **CHOSEN | {"backbone": None}
        )
    same = [replace(p, relation=replace(p.relation, type="/per/loc/born")) for p in same]
    with pytest.raises(UsageError, match=r"^every post of train has the relation /per/loc/born: there is nothing"):
        recommend(
            DatasetDict({"train": as_dataset(same, train.features)}), out=tmp_path / "r", **CHOSEN | {"backbone": None}
        )


def test_a_set_of_one_type_is_no_mistake(tmp_path):
    posts = [replace(p, entities=tuple(replace(e, type="PER") for e in p.entities)) for p in rigged.draw_posts(30)]
    found = recommend(as_set(posts), out=tmp_path / "r", **{**CHOSEN, "methods": ["lsms"], "budget": "12s"})
    assert found.data["answer"] == "gold"


def test_times():
    assert [parse_time(text) for text in ("90s", "30m", "1h30m", "2h")] == [90, 1800, 5400, 7200]
