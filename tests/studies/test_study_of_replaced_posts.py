"""Studies of configs whose pictures were remade in every split: what cells see, which posts are matched, refusals."""

import io
import json
import sys
import types
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
from datasets import DatasetDict
from PIL import Image as Pillow
from test_study import NAMES, draw_posts, read_tables, source_folder, spell, write_ids
from typer.testing import CliRunner

from hf_mner_aug import AMIA, LSMS, augment, cli, load_sample, publish
from hf_mner_aug.backbones import BACKBONES, Prediction, ScoredSpan
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.methods import METHODS
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.schema import Codec, mner_features
from hf_mner_aug.studies.curves import curve
from hf_mner_aug.studies.errors import analyse
from hf_mner_aug.studies.study import Study
from hf_mner_aug.studies.tables import evaluate
from hf_mner_aug.transform import Content, Facts, Method, Reject, iterate_posts
from tests.conftest import as_dataset

SIZES = {"train": 40, "validation": 10, "test": 40}
GOLD = 50  # the grey of gold pictures


def grey(level):
    buffer = io.BytesIO()
    Pillow.new("RGB", (8, 8), (level,) * 3).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def number(post):
    return int(post.id.strip("abcdefghijklmnopqrstuvwxyz"))


@dataclass(frozen=True, kw_only=True)
class Repaint(Method):
    """Paints each picture in one grey; even posts match."""

    name: ClassVar[str] = "repaint"
    mode: ClassVar = "replace"
    reads_images: ClassVar[bool] = True
    rejects: ClassVar = ("seventh",)
    facts: ClassVar = Facts(does="paints", paper="none", learns="nothing", images="replaced", boxes="kept")

    level: int = 100
    matched: float = 0.9

    @property
    def content(self):
        return Content(columns={"matching_score": "float64"})

    def rewrite(self, posts, draws):
        return [self._paint(post) for post in posts]

    def _paint(self, post):
        if number(post) % 10 == 7:
            return Reject("seventh")
        score = 0.1 if number(post) % 2 else self.matched
        return replace(post, images=(grey(self.level + self.seed),), details={"matching_score": score})


@dataclass(frozen=True, kw_only=True)
class Seer:
    """Finds the entities of posts 4n, 4n + 1, …, more of them in lighter pictures, if it learnt from the same grey."""

    name: ClassVar[str] = "seer"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    training_note: ClassVar[str] = "Every cell sees."
    fits: ClassVar[list] = []

    training: Training = field(default_factory=Training)
    use_images: bool = True
    seed: int = 0
    learnt: int = field(default=0, repr=False)

    @property
    def reads_images(self):
        return self.use_images

    def fit(self, train, validation=None):
        self.fits.append((self.seed, greys(train), greys(validation)))
        right = {word: kind for kind, words in NAMES.items() for word in words}
        posts = list(iterate_posts(train, Codec(train.features)))
        wrong = any(right[post.tokens[e.start]] != e.type for post in posts for e in post.entities)
        return replace(self, learnt=0 if wrong else max(greys(train), key=greys(train).count))

    def predict(self, dataset):
        posts = list(iterate_posts(dataset, Codec(dataset.features), images=True))
        return [Prediction(p.id, tuple(ScoredSpan(*span, 1.0) for span in self._spans(p))) for p in posts]

    def _spans(self, post):
        seen = level_of(post)
        found = seen == self.learnt and number(post) % 4 < seen // 50
        return [(e.start, e.end, e.type) for e in post.entities] if found else []


def level_of(post):
    return open_rgb(post.images[0]).getpixel((0, 0))[0]


def greys(dataset):
    return [level_of(post) for post in iterate_posts(dataset, Codec(dataset.features), images=True)]


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The method and the backbone under their names."""
    with pytest.MonkeyPatch.context() as patch:
        for package, table, cls in (("methods", METHODS, Repaint), ("backbones", BACKBONES, Seer)):
            module = types.ModuleType(f"hf_mner_aug.{package}.{cls.name}")
            setattr(module, cls.__name__, cls)
            patch.setitem(sys.modules, module.__name__, module)
            patch.setitem(table, cls.name, cls.__name__)
        yield


@pytest.fixture(scope="module")
def source():
    features = mner_features(tuple(NAMES))
    posts = {split: [replace(p, images=(grey(GOLD),)) for p in draw_posts(split, n, 0)] for split, n in SIZES.items()}
    return DatasetDict({split: as_dataset(found, features) for split, found in posts.items()})


@pytest.fixture(scope="module")
def repo(source, tmp_path_factory):
    """Two configs of other pictures, one under a name of its own, and one of more posts."""
    out = tmp_path_factory.mktemp("study") / "aug"
    publish(augment(source, Repaint(), out=out, progress=False), out)
    publish(augment(source, Repaint(level=150), out=out, progress=False, config="repaint_light"), out)
    publish(augment(source, LSMS(copies=1), out=out, progress=False), out)
    return out


def run(repo, *configs, **chosen):
    return evaluate(repo, configs, **{"backbone": "seer", "seeds": [0, 1], "progress": False, **chosen})


@pytest.fixture(scope="module")
def report(repo, source):
    Seer.fits.clear()
    return run(repo, "repaint_100pct", "repaint_light", source=source, split_by=["matched"])


def f1_by_hand(source, found, keep=lambda i: True):
    """Return the F1 of a model that makes no mistake in the posts that it finds something in."""
    gold = [len(p.entities) for p in iterate_posts(source["test"], Codec(source["test"].features))]
    right = sum(n for i, n in enumerate(gold) if found(i) and keep(i))
    return 2 * right / (right + sum(n for i, n in enumerate(gold) if keep(i)))


# ---------------------------------------------------------------- what is compared


def test_gold_is_trained_once_and_repeated_for_no_config(report):
    rows = {row["name"]: (row["kind"], row["cells"], row["train_posts"]) for row in report.data["rows"]}
    assert rows == {
        "gold_100pct": ("gold", 2, 40),
        "shuffled_100pct": ("shuffled", 2, 40),
        "repaint_100pct": ("augmented", 2, 40),
        "repaint_light": ("augmented", 2, 40),
    }
    pairs = [(found["name"], found["against"]) for found in report.data["comparisons"]]
    assert pairs == [("repaint_100pct", "gold_100pct"), ("repaint_light", "gold_100pct")]
    assert "oversampled" not in report.to_markdown()
    assert "Posts of repaint_100pct, repaint_light replace gold posts in all splits" in report.to_markdown()


def test_a_model_learns_from_and_is_chosen_by_the_pictures_of_its_seed(report):
    seen = [(seed, sorted(set(train)), sorted(set(validation))) for seed, train, validation in Seer.fits]
    gold = [(seed, [GOLD], [GOLD]) for seed in (0, 1)] * 2  # and as often with shuffled types
    remade = [(seed, [GOLD, level + seed], [GOLD, level + seed]) for level in (100, 150) for seed in (0, 1)]
    assert sorted(seen) == sorted(gold + remade)
    for _, train, validation in Seer.fits:
        assert [i for i, level in enumerate(train) if level == GOLD] in ([7, 17, 27, 37], [*range(40)]), "rejected"
        assert len(validation) == SIZES["validation"]


def test_predictions_are_of_a_configs_own_test_pictures(report, source):
    assert report.row("gold_100pct")["f1"]["mean"] == pytest.approx(f1_by_hand(source, lambda i: i % 4 < 1))
    for name, share in (("repaint_100pct", 2), ("repaint_light", 3)):
        expected = f1_by_hand(source, lambda i, share=share: i % 4 < share and i % 10 != 7)
        assert report.row(name)["f1"] == {"mean": pytest.approx(expected), "sd": pytest.approx(0)}
        assert report.row(name)["validation_f1"]["mean"] > report.row("gold_100pct")["validation_f1"]["mean"]
    assert report.row("shuffled_100pct")["f1"]["mean"] == 0
    assert report.trusted
    assert all(found["better"] for found in report.data["comparisons"])


def test_matched_posts_are_the_same_in_every_row(report, source):
    matched = report.data["split_by"]["matched"]
    keep = {
        "True": lambda i: i % 2 == 0,
        "False": lambda i: i % 2 == 1 and i % 10 != 7,
        "None": lambda i: i % 10 == 7,  # those that no picture was made for
    }
    assert {value: found["posts"] for value, found in matched.items()} == {"True": 20, "False": 16, "None": 4}
    for value, of_value in keep.items():
        f1 = {name: score["mean"] for name, score in matched[value]["f1"].items()}
        assert f1["gold_100pct"] == pytest.approx(f1_by_hand(source, lambda i: i % 4 == 0, of_value))
        found = lambda i: i % 4 < 3 and i % 10 != 7  # noqa: E731 - named as the argument it is
        assert f1["repaint_light"] == pytest.approx(f1_by_hand(source, found, of_value))
        change = matched[value]["comparisons"][1]
        assert (change["name"], change["against"]) == ("repaint_light", "gold_100pct")
        assert change["delta"] == pytest.approx(f1["repaint_light"] - f1["gold_100pct"])
    assert matched["True"]["comparisons"][0]["better"] is None, "posts 4n + 1 are odd"
    assert matched["False"]["comparisons"][0]["better"]


def test_the_table_of_matched_posts_says_what_the_json_says(report):
    scores, changes = read_tables(report.to_markdown())[-2:]
    assert scores[0] == ["train", "False (16 posts)", "None (4 posts)", "True (20 posts)"]
    matched = report.data["split_by"]["matched"]
    assert scores[2][1] == spell(matched["False"]["f1"]["gold_100pct"])
    light = matched["True"]["comparisons"][1]
    assert changes[0] == ["train", "against", "False", "None", "True"]
    assert changes[3][:2] + changes[3][4:] == [
        "repaint_light",
        "gold_100pct",
        f"{light['delta']:+.4f} ({light['p_holm']:.3f})",
    ]
    assert "matched: the post's original picture has a matching score" in report.to_markdown()


def test_a_method_that_adds_posts_shares_the_gold_cells(repo, source, tmp_path):
    Seer.fits.clear()
    report = run(repo, "repaint_100pct", "lsms_100pct", source=source, seeds=[0], out=tmp_path / "aug")
    assert [row["name"] for row in report.data["rows"]] == [
        "gold_100pct",
        "shuffled_100pct",
        "repaint_100pct",
        "lsms_100pct",
        "oversampled_to_lsms_100pct",
    ]
    assert len(Seer.fits) == 5
    assert [found["against"] for found in report.data["comparisons"]] == [
        "gold_100pct",
        "gold_100pct",
        "oversampled_to_lsms_100pct",
    ]
    assert report.row("lsms_100pct")["f1"]["mean"] == report.row("gold_100pct")["f1"]["mean"], "both saw gold pictures"


def test_the_curve_names_its_source_to_each_study(source, tmp_path):
    folder, ids = source_folder(source, tmp_path / "tweets"), write_ids(tmp_path / "ids", {"50pct": 20})
    out = tmp_path / "aug"
    found = curve(str(folder), ids, ["repaint"], out=out, backbone="seer", seeds=[0], progress=False)
    assert [line[0] for line in read_tables(found.to_markdown())[0][2:]] == ["gold", "shuffled", "repaint"]
    (point,) = found.data["points"]
    assert point["f1"]["repaint"]["mean"] > point["f1"]["gold"]["mean"] > point["f1"]["shuffled"]["mean"]


def test_a_finished_study_trains_nothing(report, repo, source):
    Seer.fits.clear()
    again = run(repo, "repaint_100pct", "repaint_light", source=source, split_by=["matched"])
    assert (again.folder, Seer.fits) == (report.folder, [])
    assert again.data == report.data


def test_posts_withdrawn_from_a_config_are_in_no_cell(source, tmp_path):
    out = tmp_path / "aug"
    publish(augment(source, Repaint(), out=out, progress=False), out)
    withdraw_posts(out, ["train3", "test4"])
    study = Study.open(out, ["repaint_100pct"], backbone="seer", source=source)
    assert {split: len(rows) for split, rows in study.golds["100pct"].gold.items()} == {
        **SIZES,
        "train": 39,
        "test": 39,
    }
    report = run(out, "repaint_100pct", source=source, seeds=[0], split_by=["matched"])
    assert {row["train_posts"] for row in report.data["rows"]} == {39}
    assert report.data["split_by"]["matched"]["True"]["posts"] == 19


# ---------------------------------------------------------------- refusals


def test_a_backbone_without_eyes_is_refused(repo, source):
    for backbone in ("crf", "seer:use_images=false"):
        name = backbone.partition(":")[0]
        with pytest.raises(
            UsageError, match=rf"repaint_100pct differs from its gold posts in their pictures, and {name}"
        ):
            run(repo, "lsms_100pct", "repaint_100pct", backbone=backbone, source=source)


def test_the_source_has_to_be_named_and_to_be_the_one(repo, source, tmp_path):
    with pytest.raises(UsageError, match="repaint_100pct was made from a dataset in memory: name it with --source DIR"):
        run(repo, "repaint_100pct")
    other = DatasetDict({**source, "test": source["test"].select(range(39))})
    with pytest.raises(DataError, match="the recipe was made for a source with fingerprint"):
        run(repo, "repaint_100pct", source=other)
    folder = source_folder(source, tmp_path / "tweets")
    out = tmp_path / "aug"
    publish(augment(str(folder), Repaint(), out=out, progress=False), out)
    with pytest.raises(
        UsageError, match="repaint_100pct was made from the local folder 'tweets': name it with --source"
    ):
        run(out, "repaint_100pct")
    assert run(out, "repaint_100pct", source=str(folder), seeds=[0]).trusted


def test_scores_that_differ_do_not_tell_posts_apart(repo, source, tmp_path):
    out = tmp_path / "aug"
    publish(augment(source, Repaint(), out=out, progress=False), out)
    publish(augment(source, Repaint(matched=0.6), out=out, progress=False, config="repaint_other"), out)
    message = r"repaint_other and repaint_100pct have different matching scores \(post test0: 0.600 and 0.900\)"
    with pytest.raises(UsageError, match=message):
        run(out, "repaint_100pct", "repaint_other", source=source, split_by=["matched"])
    with pytest.raises(UsageError, match="test has no column matched, found id, tokens"):
        run(repo, "lsms_100pct", split_by=["matched"])


def test_other_gold_pictures_are_another_gold_set(source, tmp_path):
    dark = source.map(
        lambda row: {"image": [grey(20) for _ in row["id"]]}, batched=True, features=source["train"].features
    )
    out = tmp_path / "aug"
    publish(augment(source, LSMS(copies=1), out=out, progress=False), out)
    publish(augment(dark, LSMS(copies=1), out=out, progress=False, config="lsms_dark"), out)
    study = Study.open(out, ["lsms_100pct", "lsms_dark"], backbone="seer")
    assert [study.gold_of(config) for config in study.configs] == ["gold_100pct", "gold_dark"]
    blind = Study.open(out, ["lsms_100pct", "lsms_dark"])
    assert {blind.gold_of(config) for config in blind.configs} == {"gold_100pct"}, "the CRF reads no pictures"


# ---------------------------------------------------------------- errors, and amia itself


def test_errors_of_a_config_with_its_own_pictures_and_of_its_gold(repo, source):
    own, gold = (analyse(repo, name, ["seer"], split="test", source=source) for name in ("repaint_light", "gold_light"))
    assert own.data["backbones"]["seer"]["f1"] > gold.data["backbones"]["seer"]["f1"] > 0
    with pytest.raises(UsageError, match="repaint_light was made from a dataset in memory"):
        analyse(repo, "gold_light", ["seer"], split="test")
    # lsms_100pct holds the gold posts itself.
    assert analyse(repo, "gold_100pct", ["seer"], split="test").data["backbones"] == gold.data["backbones"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_command_line_studies_amia_with_a_tiny_backbone(tmp_path):
    sample = load_sample()
    some = {split: sample[split].select(range(n)) for split, n in (("train", 40), ("validation", 6), ("test", 10))}
    folder, out = source_folder(some, tmp_path / "sample"), tmp_path / "aug"
    for mix, name in (("adaptive", None), ("0", "amia_synthesised")):
        chosen = {"config": name} if name else {}
        publish(augment(str(folder), AMIA(mix=mix), out=out, progress=False, **chosen), out)
    configs = ["--configs", "amia_100pct", "--configs", "amia_synthesised", "--source", str(folder)]
    backbone = "bert_resnet_crf:encoder=tiny,tower=tiny,freeze_vision=false,image_size=64,steps=2,checks=1"
    fast = ["--backbone", backbone, "--seeds", "0", "--split-by", "matched", "--split-by", "ambiguous"]
    done = CliRunner().invoke(cli.app, ["evaluate", str(out), *configs, *fast], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    names = ["gold_100pct", "shuffled_100pct", "amia_100pct", "amia_synthesised"]
    assert [line[0] for line in read_tables(done.stdout)[0][2:]] == names
    (study,) = (tmp_path / "aug.studies").iterdir()
    data = json.loads((study / "report.json").read_text())
    assert data["settings"]["steps"] == 2
    assert sum(found["posts"] for found in data["split_by"]["matched"].values()) == 10
    assert sum(found["posts"] for found in data["split_by"]["ambiguous"].values()) == 10
    assert sorted(path.name for path in (study / "cells").iterdir()) == sorted(f"{name}-0.json" for name in names)
