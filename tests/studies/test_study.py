import json
import signal
import subprocess
import sys
import types
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from datasets import DatasetDict, Image, load_dataset
from PIL import Image as Pillow
from typer.testing import CliRunner

from hf_mner_aug import EDA, LSMS, augment, cli, publish
from hf_mner_aug.backbones import BACKBONES, Prediction, ScoredSpan, fitting
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import Corrupt, UsageError
from hf_mner_aug.schema import Codec, Entity, Post, mner_features
from hf_mner_aug.studies.configs import read_config
from hf_mner_aug.studies.curves import curve
from hf_mner_aug.studies.study import Cell, Study, oversample, shuffle_types
from hf_mner_aug.studies.tables import FIGURE_DPI, FIGURE_INCHES, evaluate
from tests.conftest import as_dataset

NAMES = {
    "PER": ("Anna", "Ben", "Carla", "Dora"),
    "LOC": ("Rome", "Oslo", "Lima", "Bern"),
    "ORG": ("Acme", "Nasa", "Fifa", "Opel"),
}
FRAMES = ("so we saw {} today", "and {} is here tonight", "they like {} and {} a lot", "look at {} and at {} now")


FAST = {"backbone": "crf:iterations=25"}


def draw_posts(split, n, seed, typed=True):
    """Return posts whose entities' types follow from their words, or with ``typed=False`` from nothing."""
    posts = []
    for i in range(n):
        draw = Draw(f"{split}{seed}{i}".encode())
        tokens, entities = [], []
        for word in draw.choice(FRAMES).split():
            if word == "{}":
                kind = draw.choice(list(NAMES))
                word = draw.choice(NAMES[kind])
                entities.append(Entity(len(tokens), len(tokens) + 1, kind if typed else draw.choice(list(NAMES))))
            tokens.append(word)
        # A word of its own, so that no post repeats another one of another split.
        posts.append(Post(f"{split}{i}", [*tokens, f"{split}{i}"], tuple(entities)))
    return posts


def drawn(typed=True, seed=0, train=40, features=None):
    features = features or mner_features(tuple(NAMES), images="none")
    sizes = {"train": train, "validation": 10, "test": 40}
    return DatasetDict({split: as_dataset(draw_posts(split, n, seed, typed), features) for split, n in sizes.items()})


def published(splits, out, method=None, **chosen):
    publish(augment(splits, method or LSMS(copies=1), out=out, progress=False, **chosen), out)
    return out


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """Two methods' configs of one gold set; test says of each post whether its number is even."""
    splits = drawn()
    for split in splits:
        numbers = range(len(splits[split]))
        splits[split] = splits[split].add_column("even", [str(i % 2 == 0) for i in numbers])
    out = tmp_path_factory.mktemp("study") / "aug"
    published(splits, out)
    return published(splits, out, EDA(copies=2))


def run(repo, *configs, **chosen):
    chosen = {"seeds": [0, 1], "progress": False, **({} if "backbone" in chosen else FAST), **chosen}
    return evaluate(repo, configs or ["gold_100pct", "lsms_100pct"], **chosen)


@pytest.fixture(scope="module")
def report(repo):
    return run(repo, "gold_100pct", "lsms_100pct", "eda_100pct", split_by=["even"])


# ---------------------------------------------------------------- what is compared


def test_every_config_is_compared_with_gold_and_with_as_much_gold(report):
    rows = {row["name"]: row for row in report.data["rows"]}
    assert {name: (row["kind"], row["cells"]) for name, row in rows.items()} == {
        "gold_100pct": ("gold", 1),
        "shuffled_100pct": ("shuffled", 2),
        "lsms_100pct": ("augmented", 2),
        "oversampled_to_lsms_100pct": ("oversampled", 2),
        "eda_100pct": ("augmented", 2),
        "oversampled_to_eda_100pct": ("oversampled", 2),
    }
    assert [(c["name"], c["against"]) for c in report.data["comparisons"]] == [
        ("lsms_100pct", "gold_100pct"),
        ("lsms_100pct", "oversampled_to_lsms_100pct"),
        ("eda_100pct", "gold_100pct"),
        ("eda_100pct", "oversampled_to_eda_100pct"),
    ]
    assert rows["gold_100pct"]["f1"]["sd"] is None
    assert rows["lsms_100pct"]["f1"]["sd"] is not None
    for found in report.data["comparisons"]:
        name, against = rows[found["name"]]["f1"]["mean"], rows[found["against"]]["f1"]["mean"]
        assert found["delta"] == pytest.approx(name - against)


def test_a_config_is_compared_with_its_ablations_and_gold_is_not_repeated_for_these(repo, report):
    found = run(repo, "lsms_100pct", "eda_100pct", ablations=["eda_100pct"])
    assert found.folder != report.folder
    rows = {row["name"]: row for row in found.data["rows"]}
    assert [*rows] == [
        "gold_100pct",
        "shuffled_100pct",
        "lsms_100pct",
        "oversampled_to_lsms_100pct",
        "eda_100pct",
    ]
    compared = {(c["name"], c["against"]): c for c in found.data["comparisons"]}
    assert [*compared] == [
        ("lsms_100pct", "gold_100pct"),
        ("lsms_100pct", "oversampled_to_lsms_100pct"),
        ("lsms_100pct", "eda_100pct"),
        ("eda_100pct", "gold_100pct"),
    ]
    delta = rows["lsms_100pct"]["f1"]["mean"] - rows["eda_100pct"]["f1"]["mean"]
    assert compared["lsms_100pct", "eda_100pct"]["delta"] == pytest.approx(delta)


@pytest.mark.parametrize(
    ("ablations", "message"),
    [
        (["gmda_100pct"], "gmda_100pct is named as an ablation"),
        (["lsms_100pct", "eda_100pct"], "all configs are ablations"),
    ],
)
def test_ablations_are_some_of_the_configs(repo, ablations, message):
    with pytest.raises(UsageError, match=message):
        run(repo, "lsms_100pct", "eda_100pct", ablations=ablations)


def test_oversampled_gold_has_the_size_of_each_seeds_posts(report):
    def sizes(name):
        return [
            json.loads((report.folder / "cells" / f"{name}-{seed}.json").read_text())["train_posts"] for seed in (0, 1)
        ]

    for config in ("lsms_100pct", "eda_100pct"):
        assert sizes(config) == sizes(f"oversampled_to_{config}")
        assert min(sizes(config)) > 40
    gold = drawn()["train"]
    names = oversample(gold, 97, seed=5)["id"][:]
    counts = [names.count(name) for name in gold["id"]]
    assert len(names) == 97
    assert sorted(set(counts)) == [2, 3], "each post as often as it goes, the rest once more"
    assert names == oversample(gold, 97, seed=5)["id"][:] != oversample(gold, 97, seed=6)["id"][:]


def test_a_seed_makes_the_posts_that_publishing_makes_with_it(repo, tmp_path):
    study = Study.open(repo, ["eda_100pct"], seeds=[0, 7])
    made = {}
    for seed in (0, 7):
        room = tmp_path / str(seed)
        room.mkdir()
        made[seed] = study._splits(Cell("augmented", "eda_100pct", "eda_100pct", seed), room)["train"]
    shipped = load_dataset(str(repo), "eda_100pct")["train"]
    assert made[0].to_list() == shipped.to_list()
    assert made[7].to_list() != shipped.to_list()
    assert made[7]["id"][:40] == shipped["id"][:40]


def test_shuffled_types_keep_everything_else():
    gold = drawn()["train"]
    shuffled = shuffle_types(gold, 3)
    assert shuffled.features == gold.features
    codec = Codec(gold.features)
    before, after = ([codec.to_post(row) for row in rows] for rows in (gold, shuffled))
    assert [(p.id, p.tokens, p.protected()) for p in before] == [(p.id, p.tokens, p.protected()) for p in after]
    types = [[entity.type for post in posts for entity in post.entities] for posts in (before, after)]
    assert sorted(types[0]) == sorted(types[1])
    assert types[0] != types[1]
    assert shuffled["ner_tags"][:] == shuffle_types(gold, 3)["ner_tags"][:] != shuffle_types(gold, 4)["ner_tags"][:]


# ---------------------------------------------------------------- whether to believe it


def test_the_negative_control_fails_where_types_mean_something(report):
    (control,) = report.data["controls"]
    assert report.row("gold_100pct")["f1"]["mean"] > 0.95
    assert report.row("shuffled_100pct")["f1"]["mean"] < 0.6
    assert control["high"] < 0
    assert control["p"] < 0.01
    assert report.trusted
    assert report.to_markdown().startswith("The negative control is below gold, as it must be (shuffled_100pct is -0.")


def test_a_study_of_planted_shuffles_is_not_to_be_trusted(tmp_path):
    report = run(published(drawn(typed=False), tmp_path / "aug"))
    assert not report.trusted
    assert report.to_markdown().startswith("**This study cannot be trusted:**")
    assert report.data["verdict"] in (report.folder / "report.md").read_text().splitlines()[0]


# ---------------------------------------------------------------- how it is told


def read_tables(markdown):
    """Return the tables of a Markdown text as lists of rows of cells."""
    tables = [[]]
    for line in markdown.splitlines():
        if line.startswith("|"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif tables[-1]:
            tables.append([])
    return [table for table in tables if table]


def spell(score):
    return f"{score['mean']:.4f}" + ("" if score["sd"] is None else f" ± {score['sd']:.4f}")


def test_markdown_and_json_agree(report):
    data = json.loads((report.folder / "report.json").read_text())
    assert data == report.data
    scores, types, changes, controls, even, changes_there = read_tables((report.folder / "report.md").read_text())
    assert scores[0] == ["train", "cells", "posts", "precision", "recall", "f1", "validation_f1"]
    for row, line in zip(data["rows"], scores[2:], strict=True):
        assert line == [row["name"], str(row["cells"]), f"{row['train_posts']:.0f}"] + [
            spell(row[s]) for s in scores[0][3:]
        ]
    for row, line in zip(data["rows"], types[2:], strict=True):
        assert line == [row["name"], *(spell(row["per_type"][kind]["f1"]) for kind in types[0][1:])]
    for name, table in (("comparisons", changes), ("controls", controls)):
        for found, line in zip(data[name], table[2:], strict=True):
            assert line[:3] == [found["name"], found["against"], f"{found['delta']:+.4f}"]
            assert line[4:6] == [f"{found['p']:.3f}", f"{found['p_holm']:.3f}"]
    assert even[0] == ["train", "False (20 posts)", "True (20 posts)"]
    assert even[2][1] == spell(data["split_by"]["even"]["False"]["f1"]["gold_100pct"])
    there = data["split_by"]["even"]["True"]["comparisons"][3]
    told = [there["name"], there["against"], f"{there['delta']:+.4f} ({there['p_holm']:.3f})"]
    assert changes_there[5][:2] + changes_there[5][3:] == told


def test_scores_follow_from_the_predictions(report):
    gold = [[(e.start, e.end, e.type) for e in post.entities] for post in draw_posts("test", 40, 0)]
    cells = [json.loads((report.folder / "cells" / f"eda_100pct-{seed}.json").read_text()) for seed in (0, 1)]

    def f1(predictions, keep):
        pairs = [
            ({tuple(s) for s in p}, set(g)) for i, (p, g) in enumerate(zip(predictions, gold, strict=True)) if keep(i)
        ]
        return 2 * sum(len(p & g) for p, g in pairs) / sum(len(p) + len(g) for p, g in pairs)

    def mean(keep):
        return sum(f1(cell["predictions"], keep) for cell in cells) / 2

    assert report.row("eda_100pct")["f1"]["mean"] == pytest.approx(mean(lambda i: True))
    by_even = report.data["split_by"]["even"]
    assert by_even["True"]["f1"]["eda_100pct"]["mean"] == pytest.approx(mean(lambda i: i % 2 == 0))
    assert by_even["False"]["f1"]["eda_100pct"]["mean"] == pytest.approx(mean(lambda i: i % 2 == 1))


def test_the_figure_is_a_png_of_its_size(report):
    with Pillow.open(report.folder / "report.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == tuple(round(inches * FIGURE_DPI) for inches in FIGURE_INCHES)


def test_the_table_on_the_card_is_replaced_and_the_rest_kept(repo, report, tmp_path):
    card = repo / "README.md"
    before = card.read_text()
    report.write_card(repo)
    first = card.read_text()
    assert first.startswith(before.rstrip())
    assert report.to_markdown().strip() in first
    report.write_card(repo)
    assert card.read_text() == first
    assert load_dataset(str(repo), "lsms_100pct")["test"].num_rows == 40
    with pytest.raises(UsageError, match="there is no card"):
        report.write_card(tmp_path)


# ---------------------------------------------------------------- killed, and run again

KILLED = """
import os, signal, sys
from hf_mner_aug.studies import study
from hf_mner_aug.studies.tables import evaluate
calls, real = [], study._validation_f1
def dying(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
study._validation_f1 = dying
evaluate(sys.argv[1], ["lsms_100pct"], backbone=sys.argv[3], seeds=[0], out=sys.argv[2], progress=False)
"""


def test_a_killed_study_goes_on(repo, tmp_path):
    whole = run(repo, "lsms_100pct", seeds=[0], out=tmp_path / "whole" / "aug")
    killed = tmp_path / "killed" / "aug"
    done = subprocess.run([sys.executable, "-c", KILLED, repo, killed, FAST["backbone"]], check=False)
    assert done.returncode == -signal.SIGKILL
    (folder,) = (tmp_path / "killed" / "aug.studies").iterdir()
    kept = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    assert len(kept) == 2
    assert not (folder / "report.json").exists()
    report = run(repo, "lsms_100pct", seeds=[0], out=killed)
    assert report.folder == folder
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert without_times(report) == without_times(whole)
    assert (folder / "report.md").read_bytes() == (whole.folder / "report.md").read_bytes()


def test_a_damaged_cell_is_made_again(repo, tmp_path):
    report = run(repo, "lsms_100pct", seeds=[0], out=tmp_path / "aug")
    path = report.folder / "cells" / "lsms_100pct-0.json"
    path.write_bytes(path.read_bytes()[:50])
    assert without_times(run(repo, "lsms_100pct", seeds=[0], out=tmp_path / "aug")) == without_times(report)


def without_times(report):
    return {**report.data, "rows": [{**row, "seconds": 0} for row in report.data["rows"]]}


def test_other_inputs_are_another_study(repo, tmp_path):
    plain = run(repo, "lsms_100pct", out=tmp_path / "aug", seeds=[0])
    other = run(repo, "lsms_100pct", out=tmp_path / "aug", seeds=[0], settings=["c2=0.5"])
    tuning = run(repo, "lsms_100pct", out=tmp_path / "aug", seeds=[0], split="validation")
    assert len({plain.folder, other.folder, tuning.folder}) == 3
    assert (other.data["settings"]["c2"], tuning.data["posts"]) == (0.5, 10)


# ---------------------------------------------------------------- bad input


def test_configs_that_cannot_be_compared_are_refused(repo, tmp_path):
    out = published(drawn(), tmp_path / "aug")
    splits = drawn()
    shorter = DatasetDict({**splits, "test": splits["test"].select(range(30))})
    published(shorter, out, config="lsms_short")
    with pytest.raises(
        UsageError,
        match=r"lsms_short and lsms_100pct have different test sets \(30 and 40 posts; first difference: their",
    ):
        run(out, "lsms_100pct", "lsms_short")
    relabelled = DatasetDict({**splits, "test": shuffle_types(splits["test"], 0)})
    published(relabelled, out, config="lsms_other")
    with pytest.raises(
        UsageError, match=r"lsms_other and lsms_100pct have different test sets .* first difference: post test"
    ):
        run(out, "lsms_100pct", "lsms_other")
    half = DatasetDict({**splits, "train": splits["train"].select(range(20))})
    published(half, out, EDA(copies=1), config="eda_100pct")
    with pytest.raises(
        UsageError, match=r"eda_100pct and lsms_100pct have different gold posts \(20 and 40 in train\)"
    ):
        run(out, "lsms_100pct", "eda_100pct")
    untested = DatasetDict({split: splits[split] for split in ("train", "validation")})
    published(untested, out, config="lsms_untested")
    with pytest.raises(UsageError, match="lsms_untested has no test posts"):
        run(out, "lsms_untested")


def test_wrong_names_and_values_are_told(repo, tmp_path):
    for chosen, message in (
        ({"seeds": []}, "expected different seeds, found none"),
        ({"seeds": [1, 1]}, "expected different seeds, found 1, 1"),
        ({"split": "train"}, "scores on test or validation, found 'train'"),
        ({"split_by": ["matched"]}, "test has no column matched, found id, tokens"),
        ({"grid": True}, "crf has neither batch size nor learning rate"),
        ({"settings": ["boundary=true"]}, "compares entities with their types"),
    ):
        with pytest.raises(UsageError, match=message):
            run(repo, "lsms_100pct", **chosen)
    with pytest.raises(UsageError, match="gold_10pct stands for the gold posts of other configs"):
        run(repo, "gold_10pct", "lsms_100pct")
    with pytest.raises(UsageError, match="name at least one augmented config"):
        run(repo, "gold_100pct")
    with pytest.raises(UsageError, match="configs made here are eda_100pct, lsms_100pct"):
        run(repo, "lsms_10pct")


def test_a_config_that_was_changed_is_refused(tmp_path):
    out = published(drawn(), tmp_path / "aug")
    path = out / "lsms_100pct" / "train-00000-of-00001.parquet"
    load_dataset(str(out), "lsms_100pct")["train"].select(range(50)).to_parquet(path)
    with pytest.raises(Corrupt, match=r"does not match its augmentation.json: hf-mner-aug verify"):
        run(out, "lsms_100pct")


# ---------------------------------------------------------------- networks: steps and search


@dataclass(frozen=True, kw_only=True)
class Stub:
    """A backbone that is right in as many posts as its settings deserve, and notes how it was trained."""

    name: ClassVar[str] = "stub"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    reads_images: ClassVar[bool] = False
    trained: ClassVar[list] = []

    training: Training = field(default_factory=Training)
    seed: int = 0
    shuffled: bool = field(default=False, repr=False)

    training_note = property(fitting.training_note)

    def fit(self, train, validation=None):
        self.trained.append((len(train), self.seed, self.training))
        right = {word: kind for kind, words in NAMES.items() for word in words}
        codec = Codec(train.features)
        posts = [codec.to_post(row) for row in train]
        wrong = any(right[post.tokens[e.start]] != e.type for post in posts for e in post.entities)
        return type(self)(training=self.training, seed=self.seed, shuffled=wrong)

    def predict(self, dataset):
        codec = Codec(dataset.features)
        best = (self.training.batch_size, self.training.learning_rate) == (32, 3e-5)
        share = 0.1 if self.shuffled else 0.9 if best else 0.5
        posts = [codec.to_post(row) for row in dataset]
        return [
            Prediction(
                p.id, tuple(ScoredSpan(e.start, e.end, e.type, 1.0) for e in p.entities if i < share * len(posts))
            )
            for i, p in enumerate(posts)
        ]


@pytest.fixture
def stub(monkeypatch):
    module = types.ModuleType("hf_mner_aug.backbones.stub")
    module.Stub = Stub
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(BACKBONES, "stub", "Stub")
    Stub.trained.clear()
    return Stub


def test_every_cell_takes_the_steps_of_the_largest(repo, tmp_path, stub):
    report = run(repo, "lsms_100pct", "eda_100pct", backbone="stub", settings=["epochs=3"], out=tmp_path / "aug")
    largest = load_dataset(str(repo), "eda_100pct")["train"].num_rows
    steps = 3 * -(-largest // 16)
    assert {training.steps for _, _, training in stub.trained} == {steps}
    assert report.row("gold_100pct")["cells"] == 2, "a network has a seed of its own"
    assert [seed for n, seed, _ in stub.trained if n == 40] == [0, 1, 0, 1]
    assert f"Every cell takes {steps} optimiser steps" in report.to_markdown()
    asked = run(repo, "lsms_100pct", backbone="stub:steps=7", seeds=[0], out=tmp_path / "aug")
    assert asked.data["settings"]["steps"] == 7


def test_the_search_is_made_once_on_gold_and_told_in_full(repo, tmp_path, stub):
    report = run(repo, "lsms_100pct", backbone="stub", grid=True, out=tmp_path / "aug")
    tried = [training for n, _, training in stub.trained if training.steps is None]
    assert len(tried) == 20
    assert {training.epochs for training in tried} == {15}
    assert {(t.batch_size, t.learning_rate) for t in stub_cells(stub)} == {(32, 3e-5)}
    assert len(report.data["tried"]) == 20
    assert max(report.data["tried"], key=lambda setting: setting["validation_f1"])["batch_size"] == 32
    assert sum(line.startswith("| 32 | ") for line in report.to_markdown().splitlines()) == 5
    stub.trained.clear()
    run(repo, "lsms_100pct", backbone="stub", grid=True, out=tmp_path / "aug")
    assert stub.trained == []


def stub_cells(stub):
    return [training for _, _, training in stub.trained if training.steps is not None]


# ---------------------------------------------------------------- the curve and the command line


def source_folder(splits, folder):
    """Write splits as a folder of Parquet."""
    folder.mkdir()
    for split, dataset in splits.items():
        if "image" in dataset.column_names:
            dataset = dataset.cast_column("image", Image(decode=False)).cast(dataset.features)
        dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def write_ids(folder, sizes):
    for name, n in sizes.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "train.txt").write_text("".join(f"train{i}\n" for i in range(n)))
        (folder / name / "dev.txt").write_text("".join(f"validation{i}\n" for i in range(n // 4)))
    return folder


def test_the_curve_makes_and_studies_each_subset(tmp_path):
    source = source_folder(drawn(), tmp_path / "source")
    ids = write_ids(tmp_path / "ids", {"100pct": 40, "50pct": 20})
    out = tmp_path / "aug"
    found = curve(str(source), ids, ["lsms"], out=out, seeds=[0, 1], progress=False, **FAST)
    assert [(p["name"], p["posts"], p["trusted"]) for p in found.data["points"]] == [
        ("50pct", 20, True),
        ("100pct", 40, True),
    ]
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == ["lsms_100pct", "lsms_50pct"]
    assert load_dataset(str(out), "lsms_50pct")["validation"].num_rows == 5
    points, changes = read_tables((found.folder / "curve.md").read_text())
    assert points[0] == ["train", "50pct (20 posts)", "100pct (40 posts)"]
    assert [line[0] for line in points[2:]] == ["gold", "shuffled", "lsms", "oversampled to lsms"]
    assert points[4][2] == spell(found.data["points"][1]["f1"]["lsms"])
    assert len(changes[2:]) == len(found.data["comparisons"]) == 4
    smallest = min(found.data["comparisons"], key=lambda found: found["p"])
    assert smallest["p_holm"] == min(1, 4 * smallest["p"]), "corrected for all four"
    assert json.loads((found.folder / "curve.json").read_text()) == found.data
    with Pillow.open(found.folder / "curve.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (1200, 750))


def test_ids_that_are_not_there_are_told(tmp_path):
    source = str(source_folder(drawn(), tmp_path / "source"))
    with pytest.raises(UsageError, match=r"has no subfolder with a train.txt"):
        curve(source, tmp_path, ["lsms"], out=tmp_path / "aug")
    ids = write_ids(tmp_path / "ids", {"50pct": 20})
    (ids / "50pct" / "dev.txt").rename(ids / "50pct" / "others.txt")
    with pytest.raises(UsageError, match=r"50pct has no ids of validation posts: expected dev.txt or valid.txt"):
        curve(source, ids, ["lsms"], out=tmp_path / "aug")


def test_the_verbs_print_what_the_library_returns(repo, report, tmp_path):
    def call(*arguments):
        done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    configs = [word for name in ("gold_100pct", "lsms_100pct", "eda_100pct") for word in ("--configs", name)]
    fast = ["--backbone", FAST["backbone"]]
    said = call("evaluate", repo, *configs, *fast, "--seeds", 0, "--seeds", 1, "--split-by", "even", "--write-card")
    assert said == f"{report.to_markdown()}\n{report.folder}\n"
    backbones = ["--backbones", "crf", "--backbones", "crf:iterations=1"]
    said = call("errors", repo, *backbones, "--configs", "lsms_100pct", "--json", "--out", tmp_path / "errors")
    assert json.loads(said)["backbones"].keys() == {"crf", "crf:iterations=1"}
    assert (tmp_path / "errors" / "lsms_100pct" / "errors.md").is_file()
    source, ids = source_folder(drawn(), tmp_path / "source"), write_ids(tmp_path / "ids", {"50pct": 20})
    arguments = ["--ids", ids, "--methods", "lsms:operations=mention,shuffle", "--seeds", 0, "--out", tmp_path / "aug"]
    arguments += fast
    said = call("curve", source, *arguments)
    assert "| oversampled to lsms |" in said
    theirs = DatasetDict({split: rows.rename_columns({"tokens": "words"}) for split, rows in drawn().items()})
    named = source_folder(theirs, tmp_path / "theirs")
    arguments[-len(fast) - 1] = tmp_path / "again"
    assert call("curve", named, *arguments, "--columns", "tokens=words").splitlines()[:-4] == said.splitlines()[:-4]


def test_nothing_heavy_is_imported_with_the_modules():
    code = (
        "import sys; from hf_mner_aug.studies import study, tables, curves, errors, significance; "
        "from hf_mner_aug.cli import studies; "
        "print([m for m in ('torch', 'datasets', 'matplotlib', 'numpy', 'sklearn') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_pictures_are_left_where_nothing_reads_them(splits, tmp_path):
    out = published(splits, tmp_path / "aug")
    assert "image" not in read_config(out, "lsms_100pct").splits["train"].column_names
    assert "image" in read_config(out, "lsms_100pct", images=True).splits["train"].column_names
