"""Studies of relations: the score, the control, what is drawn together, the verbs; and every method of the table."""

import json
import re
import statistics

import numpy as np
import pytest
from datasets import DatasetDict
from test_contract import params_of
from test_study import read_tables, source_folder, spell, write_ids

from hf_mner_aug import EDA, LSMS, augment, load_sample, publish
from hf_mner_aug.backbones import Prediction, ScoredRelation
from hf_mner_aug.backbones.relation_features import RelationFeatures
from hf_mner_aug.corpus import index
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.metrics.spans import score_spans
from hf_mner_aug.schema import Post, Relation, mner_features
from hf_mner_aug.studies.curves import curve
from hf_mner_aug.studies.errors import errors
from hf_mner_aug.studies.quality import quality
from hf_mner_aug.studies.significance import paired_bootstrap, resample
from hf_mner_aug.studies.study import Study, shuffle_types
from hf_mner_aug.studies.tables import evaluate
from hf_mner_aug.studies.tasks import ENTITIES, Relations, choose_task, f1_of, found_in
from tests.conftest import as_dataset

WORDS = {"/per/loc/lives": ("lives", "dwells"), "/per/loc/born": ("comes", "hails"), "None": ("saw", "met")}
NAMES = ("Ann", "Ben", "Cleo", "Dan", "Eve", "Finn")
PLACES = ("Rome", "Oslo", "Lima", "Bern", "Turin", "Kyoto")


def draw_posts(split, n, relations=tuple(WORDS), names=6):
    """Return posts whose verb says the relation; every third is a further relation of the tweet before it."""
    posts = []
    for i in range(n):
        draw = Draw(f"{split}{i}".encode())
        kind = draw.choice(relations)
        first, verb, place = draw.choice(NAMES[:names]), draw.choice(WORDS[kind]), draw.choice(PLACES[:names])
        tokens = [f"{split}{i}", first, verb, "in", place, "today", draw.choice(("too", "again", "now"))]
        name = f"{split}{i - 1}~2" if i % 3 == 2 else f"{split}{i}"
        posts.append(Post(name, tokens, relation=Relation((1, 2), (4, 5), kind)))
    return posts


def drawn(train=40, names=6):
    features = mner_features((), images="none", relations=tuple(WORDS))
    sizes = {"train": train, "validation": 12, "test": 40}
    return DatasetDict({split: as_dataset(draw_posts(split, n, names=names), features) for split, n in sizes.items()})


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    out = tmp_path_factory.mktemp("relations") / "aug"
    for method in (LSMS(copies=1), EDA(copies=1, margin=0)):
        publish(augment(drawn(), method, out=out, progress=False), out)
    return out


@pytest.fixture(scope="module")
def report(repo):
    return evaluate(repo, ["gold_100pct", "lsms_100pct", "eda_100pct"], seeds=[0, 1], progress=False)


# ---------------------------------------------------------------- the score


def test_the_label_of_no_relation_counts_neither_as_predicted_nor_as_gold():
    posts = [Post(str(i), list("abcdef"), relation=Relation((4, 6), (0, 1), kind)) for i, kind in enumerate("xxyNN")]
    predictions = [
        Prediction(post.id, relation=ScoredRelation(kind, 1.0)) for post, kind in zip(posts, "xyNxN", strict=True)
    ]
    task = Relations("N")
    assert found_in(task, predictions, posts) == [[(0, 6, "x")], [(0, 6, "y")], [], [(0, 6, "x")], []]
    # One of three predicted is right, one of three gold ones found.
    assert f1_of(task, predictions, posts) == pytest.approx(1 / 3)
    everything = f1_of(Relations("nothing"), predictions, posts)
    assert everything == pytest.approx(2 / 5), "with N as any other relation, two of five are right"


def test_the_control_shuffles_relations_and_nothing_else():
    gold = drawn()["train"]
    shuffled = shuffle_types(gold, 3, Relations())
    assert shuffled.features == gold.features
    assert shuffled.remove_columns("relation").to_list() == gold.remove_columns("relation").to_list()
    assert sorted(shuffled["relation"][:]) == sorted(gold["relation"][:])
    assert shuffled["relation"][:] != gold["relation"][:]
    assert shuffled["relation"][:] == shuffle_types(gold, 3, Relations())["relation"][:]


def test_relations_of_one_tweet_are_drawn_together():
    groups = Relations().groups([Post(name, ["a"]) for name in ("t1", "t1~2", "t2", "t1~3+eda.0", "t3")])
    assert groups == ["t1", "t1", "t2", "t1", "t3"]
    samples = resample(5, 200, groups=groups)
    assert (samples[:, 0] == samples[:, 1]).all()
    assert (samples[:, 0] == samples[:, 3]).all()
    assert (samples[:, [0, 2, 4]].sum(axis=1) == 3).all()
    assert (resample(5, 200, groups=list("abcde")) == resample(5, 200)).all()
    # Ten tweets of ten equal relations tell as much as ten relations, and not as a hundred.
    right = np.repeat([[[1, 1, 1]], [[0, 1, 1]]], 5, axis=0).reshape(1, 10, 3)
    wrong = np.array([[[0, 1, 1]] * 10])
    few = paired_bootstrap(right, wrong, resample(10, 1000))
    many = [np.repeat(counts, 10, axis=1) for counts in (right, wrong)]
    together = paired_bootstrap(*many, resample(100, 1000, groups=[str(i // 10) for i in range(100)]))
    assert together.detectable == pytest.approx(few.detectable)
    assert paired_bootstrap(*many, resample(100, 1000)).detectable < few.detectable / 2


def test_what_is_measured_follows_the_backbone_then_the_set():
    both = mner_features(relations=("None", "in"))
    assert choose_task({"set": both}) == ENTITIES
    assert choose_task({"set": both}, [RelationFeatures(none="in")]) == Relations("in")
    assert choose_task({"set": drawn()["train"].features}) == Relations()
    with pytest.raises(UsageError, match=r"set has entities and no relations, and relation_features finds relations: "):
        choose_task({"set": mner_features()}, [RelationFeatures()])


def test_the_label_of_no_relation_can_be_named_without_naming_the_backbone(repo, tmp_path):
    study = Study.open(repo, ["eda_100pct"], settings=["none=/per/loc/born"], seeds=[0], out=tmp_path / "s")
    assert study.task == Relations("/per/loc/born")
    assert study.references == [Relations("/per/loc/born").gold(post) for post in draw_posts("test", 40)]


# ---------------------------------------------------------------- the report


def test_a_study_of_relations_has_all_that_one_of_entities_has(report):
    assert report.data["backbone"] == "relation_features"
    assert report.data["relations"] == sum(post.relation.type != "None" for post in draw_posts("test", 40))
    rows = {row["name"]: row for row in report.data["rows"]}
    assert {name: row["cells"] for name, row in rows.items()} == {
        "gold_100pct": 1,
        "shuffled_100pct": 2,
        "lsms_100pct": 2,
        "oversampled_to_lsms_100pct": 2,
        "eda_100pct": 2,
        "oversampled_to_eda_100pct": 2,
    }
    assert rows["gold_100pct"]["f1"]["mean"] > 0.9 > 0.6 > rows["shuffled_100pct"]["f1"]["mean"]
    assert report.trusted
    assert len(report.data["comparisons"]) == 4


def test_the_report_and_its_page_speak_of_relations(report, tmp_path):
    text = report.to_markdown()
    assert json.loads((report.folder / "report.json").read_text()) == report.data
    assert "Negative control, gold posts with their relations shuffled:" in text
    assert "without None, which counts neither as predicted nor as gold" in text
    by_relation = read_tables(text)[1]
    assert by_relation[0] == ["relation", "gold", *(row["name"] for row in report.data["rows"])]
    assert sorted(line[0] for line in by_relation[2:]) == ["/per/loc/born", "/per/loc/lives"]
    for kind, n, *scores in by_relation[2:]:
        assert n == str(report.data["support"][kind])
        assert scores == [spell(row["per_type"][kind]["f1"]) for row in report.data["rows"]]
    report.write_page(tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "on gold posts with shuffled relations (*shuffled*" in page
    assert not {"entity", "entities", "BIO"} & set(page.replace(",", " ").split())
    assert "--backbone relation_features --seeds 0 1" in page


def test_a_set_without_the_label_of_no_relation_is_noted(tmp_path):
    features = mner_features((), images="none", relations=("/per/loc/lives", "/per/loc/born"))
    sizes = {"train": 30, "validation": 10, "test": 30}
    kinds = ("/per/loc/lives", "/per/loc/born")
    splits = {split: as_dataset(draw_posts(split, n, kinds), features) for split, n in sizes.items()}
    folder = source_folder(DatasetDict(splits), tmp_path / "set")
    found = evaluate(folder, seeds=[0], progress=False)
    assert found.data["relations"] == 30
    assert "- No relation is called None, so all of them count" in found.to_markdown()


def test_backbones_and_sets_that_do_not_fit_are_one_line(repo, two_configs):
    with pytest.raises(UsageError, match=r"lsms_100pct has relations and no entities, and crf finds entities: take a"):
        evaluate(repo, ["lsms_100pct"], backbone="crf")
    with pytest.raises(UsageError, match=r"has entities and no relations, and relation_features finds relations: take"):
        evaluate(two_configs, ["lsms_100pct"], backbone="relation_features")
    with pytest.raises(UsageError, match=r"cannot be compared: crf entities, relation_features relations"):
        errors(repo, ["lsms_100pct"], ["crf", "relation_features"])


# ---------------------------------------------------------------- errors, quality, curve


def test_errors_are_of_three_kinds_and_name_head_and_tail(repo):
    found = errors(repo, ["lsms_100pct"], ["relation_features", "relation_features:iterations=1"])["lsms_100pct"]
    weak = found.data["backbones"]["relation_features:iterations=1"]
    assert list(weak["kinds"]) == ["missed", "spurious", "type"]
    assert sum(weak["kinds"].values()) == weak["errors"] > 0
    assert read_tables(found.to_markdown())[0][0] == ["backbone", "F1", "errors", "missed", "spurious", "type"]
    assert "Most frequent confusions (relation → predicted):" in found.to_markdown()
    assert re.search(r"/per/loc/\w+ → no relation \d|no relation → /per/loc/\w+ \d", found.to_markdown())
    posts = {post.id: post for post in draw_posts("validation", 12)}
    for listed in found.listed:
        post = posts[listed["post"]]
        assert (listed["head"], listed["tail"]) == (post.tokens[1], post.tokens[4])
        assert (listed["gold"] or {"type": "None"})["type"] == post.relation.type


def test_quality_predicts_relations(repo):
    found = quality(repo, ["lsms_100pct"])
    assert found.labels["backbone"] == "relation_features"
    assert found.column("gold train").consistency == 1.0


def test_a_curve_over_fractions_or_ids(tmp_path):
    source = str(source_folder(drawn(train=60), tmp_path / "set"))
    found = curve(source, None, ["lsms"], out=tmp_path / "aug", fractions=[1.0, 0.5], seeds=[0], progress=False)
    assert [(point["name"], point["posts"]) for point in found.data["points"]] == [("50pct", 30), ("100pct", 60)]
    assert "Relation F1 on test of **relation_features**" in found.to_markdown()
    assert "--fractions 1.0 0.5 --methods lsms --backbone relation_features" in found.data["command"]
    for ids, fractions, message in (
        (None, [], "name a folder with --ids, or parts of train with --fractions"),
        (write_ids(tmp_path / "ids", {"50pct": 20}), [0.5], "name a folder with --ids, or parts of train"),
        (None, [0.5, 0.5], r"expected different fractions in \(0, 1\], found 0.5, 0.5"),
        (None, [0.3333, 0.33334], r"found 0.3333, 0.33334 \(the first three digits count\)"),
        (None, [1.5], r"expected different fractions in \(0, 1\], found 1.5"),
    ):
        with pytest.raises(UsageError, match=message):
            curve(source, ids, ["lsms"], out=tmp_path / "aug", fractions=fractions)


# ---------------------------------------------------------------- seeds of two kinds, gold alone


def cells(report):
    return sorted(path.stem for path in (report.folder / "cells").iterdir())


def test_augmentation_seeds_are_crossed_with_those_of_models(repo, tmp_path):
    model = "relation:encoder=tiny,steps=1,device=cpu"
    chosen = {"backbone": model, "seeds": [3, 4], "augmentation_seeds": [0, 7], "progress": False}
    found = evaluate(repo, ["lsms_100pct"], **chosen, out=tmp_path / "aug")
    pairs = ("0-3", "0-4", "7-3", "7-4")
    assert cells(found) == sorted(
        [f"{name}_100pct-{seed}" for name in ("gold", "shuffled") for seed in (3, 4)]
        + [f"{name}lsms_100pct-{pair}" for name in ("", "oversampled_to_") for pair in pairs]
    )
    assert [*found.data["spread"]] == ["lsms_100pct", "oversampled_to_lsms_100pct"]
    told = "model seeds 3, 4, augmentation seeds 0, 7 (each with all of these), scored on test"
    assert told in found.to_markdown()
    f1 = {}
    references = [Relations().gold(post) for post in draw_posts("test", 40)]
    for pair in pairs:
        predicted = json.loads((found.folder / "cells" / f"lsms_100pct-{pair}.json").read_text())["predictions"]
        f1[pair] = score_spans([[tuple(span) for span in post] for post in predicted], references).micro.f1
    by_model = [(f1["0-3"] + f1["7-3"]) / 2, (f1["0-4"] + f1["7-4"]) / 2]
    assert found.data["spread"]["lsms_100pct"]["model"] == pytest.approx(statistics.stdev(by_model))
    found.write_page(tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "- Model seeds: 3, 4.\n- Augmentation seeds: 0, 7 (each with all of these).\n" in page


def test_paired_seeds_go_together_and_a_seedless_model_is_trained_once_for_each_augmentation(repo, tmp_path):
    chosen = {"seeds": [3, 4], "augmentation_seeds": [0, 7], "progress": False, "out": tmp_path / "aug"}
    asked = []
    crossed = evaluate(repo, ["eda_100pct"], **chosen, ask=asked.extend)
    assert [name for name in cells(crossed) if name.startswith("eda")] == ["eda_100pct-0-3", "eda_100pct-7-3"]
    assert [method.name for method in asked] == ["eda"]
    paired = evaluate(repo, ["eda_100pct"], **chosen, paired=True)
    assert paired.folder != crossed.folder
    assert [name for name in cells(paired) if name.startswith("eda")] == ["eda_100pct-0-3", "eda_100pct-7-4"]
    assert "spread" not in paired.data
    assert "augmentation seeds 0, 7 (each paired with one of these)" in paired.to_markdown()
    with pytest.raises(UsageError, match=r"found 1 seeds and 2 augmentation seeds"):
        evaluate(repo, ["eda_100pct"], **{**chosen, "seeds": [3]}, paired=True)
    with pytest.raises(UsageError, match=r"expected different augmentation seeds, found 7, 7"):
        evaluate(repo, ["eda_100pct"], **{**chosen, "augmentation_seeds": [7, 7]})


def test_the_seed_of_a_config_stands_for_its_published_posts(repo, tmp_path):
    asked = []
    chosen = {"seeds": [3], "progress": False, "ask": asked.extend, "out": tmp_path / "aug"}
    found = evaluate(repo, ["lsms_100pct"], augmentation_seeds=[0], **chosen)
    assert asked == [], "nothing is made again"
    assert not (tmp_path / "aug.runs").exists()
    again = evaluate(repo, ["lsms_100pct"], seeds=[0], progress=False)
    assert found.row("lsms_100pct")["f1"] == again.row("lsms_100pct")["f1"], "made again, they are the same"


def test_a_set_is_studied_by_its_gold_posts_alone(repo, tmp_path, call):
    source = source_folder(drawn(), tmp_path / "set")
    found = evaluate(source, seeds=[0, 1], progress=False)
    assert [(row["name"], row["cells"]) for row in found.data["rows"]] == [("gold_100pct", 1), ("shuffled_100pct", 2)]
    assert found.title == "study of gold_100pct with relation_features"
    assert found.trusted
    assert "Effect of augmentation" not in found.to_markdown()
    code, said, _ = call("evaluate", source, "--seeds", "0", "1", "--quiet")
    assert (code, said) == (0, f"{found.to_markdown()}\n{found.folder}\n")
    for bad, message in (
        ({"repo": repo}, r"has the augmented configs eda_100pct, lsms_100pct: name some with --configs"),
        ({"augmentation_seeds": [0]}, r"augmentation seeds are for configs: name some with --configs"),
        ({"source": source}, r"a set is studied alone, without configs: leave out the source"),
        ({"backbone": "crf"}, r"set has relations and no entities, and crf finds entities"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate(**{"repo": source, "seeds": [0], "progress": False, **bad})
    copied = tmp_path / "copied"
    copied.mkdir()
    for file in (repo / "lsms_100pct").glob("*.parquet"):
        (copied / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UsageError, match=r"train has made posts: name the set that they were made from"):
        evaluate(copied, seeds=[0], progress=False)


# ---------------------------------------------------------------- all methods


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_takes_relations_is_studied(name, tmp_path):
    pytest.importorskip("torch")
    sample = load_sample("mre")
    splits = DatasetDict({split: sample[split].select(range(n)) for split, n in (("train", 40), ("validation", 20))})
    params = params_of(name)
    if "corpus" in params:  # of posts with the names of train
        splits = drawn(names=2)
        lines = [{"id": post.id, "tokens": post.tokens} for post in draw_posts("pool", 40, names=2)]
        (tmp_path / "pool.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        index(str(tmp_path / "pool.jsonl"), tmp_path / "pool.db")
        params = {"corpus": str(tmp_path / "pool.db"), "image": False, "least_words": 1, "similarity": 0.0}
    method = method_class(name)(**params)
    try:
        method.fit(splits["train"])
    except UsageError as refused:
        if "entit" not in str(refused):  # one for entities says so
            raise
        return
    publish(augment(splits, method, out=tmp_path / "aug", progress=False), tmp_path / "aug")
    backbone = "relation_features"
    if method.mode == "replace":
        backbone = "umt:task=relations,encoder=tiny,tower=tiny,freeze_vision=false,image_size=64,steps=2,device=cpu"
    chosen = {"backbone": backbone, "seeds": [0], "split": "validation", "source": splits, "progress": False}
    found = evaluate(tmp_path / "aug", [f"{name}_100pct"], **chosen)
    more = 0 if method.mode == "replace" else 5
    assert found.row(f"{name}_100pct")["train_posts"] >= len(splits["train"]) + more
    relations = set(splits["train"].features["relation"].names) - {"None"}
    assert set(found.data["support"]) == relations
