"""Studies of grounded entities and of fine types: the score, controls, errors, quality, and what is measured when."""

import random
import sys
import types
import warnings
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import evaluate as evaluate_library
import numpy as np
import pytest
from datasets import DatasetDict
from picture_posts import picture
from test_study import read_tables, source_folder

from hf_mner_aug import LSMS, augment, metrics, publish
from hf_mner_aug.backbones import BACKBONES, Prediction, ScoredSpan
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.metrics.grounding import score_grounded
from hf_mner_aug.models.vision.regions import picture_size
from hf_mner_aug.schema import Codec, Entity, Post, mner_features
from hf_mner_aug.studies.curves import curve
from hf_mner_aug.studies.errors import errors, report_errors
from hf_mner_aug.studies.quality import quality
from hf_mner_aug.studies.study import shuffle_boxes, shuffle_types
from hf_mner_aug.studies.tables import evaluate
from hf_mner_aug.studies.tasks import ENTITIES, FINE, TASKS, Grounded, choose_task, exchange_boxes, f1_of, found_in
from hf_mner_aug.transform import iterate_posts
from tests.conftest import as_dataset

KINDS = {"PER": ("Anna", "Ben", "Carla", "Dora"), "LOC": ("Rome", "Oslo", "Lima", "Bern")}
NAMES = [name for names in KINDS.values() for name in names]
FINE_OF = {
    name: f"{kind.lower()}_{'a' if i % 2 else 'b'}" for kind, names in KINDS.items() for i, name in enumerate(names)
}
TYPE_OF = {name: kind for kind, names in KINDS.items() for name in names}
SIZES = ((90, 64), (40, 80), (120, 60))
CORNERS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))
TASK = Grounded()


def box_in(size, corner):
    (width, height), (x, y) = size, corner
    return (x * width, y * height, (x + 0.5) * width, (y + 0.5) * height)


def box_of(box, width, height):
    return (box[0] * width, box[1] * height, box[2] * width, box[3] * height)


def draw_posts(split, n):
    """Return posts of two names each: a name has its type, fine type and quarter of the picture, every fourth none."""
    posts = []
    for i in range(n):
        draw = Draw(f"{split}{i}".encode())
        first, other = draw.sample(NAMES, 2)
        size, colour = draw.choice(SIZES), (draw.choice(range(256)), i % 256, draw.choice(range(256)))
        entities = []
        for start, name in ((1, first), (3, other)):
            at = NAMES.index(name) % 4
            boxes = () if at == 3 else (box_in(size, CORNERS[at]),)
            entities.append(Entity(start, start + 1, TYPE_OF[name], FINE_OF[name], boxes))
        tokens = ["so", first, "and", other, "again", f"{split}{i}"]
        posts.append(Post(f"{split}{i}", tokens, tuple(entities), (picture(colour, size),)))
    return posts


def features(fine=False):
    kinds = tuple(dict.fromkeys(FINE_OF.values())) if fine else ()
    return mner_features(tuple(KINDS), boxes=True, fine_types=kinds)


def drawn(fine=False, train=24):
    sizes = {"train": train, "validation": 8, "test": 24}
    return DatasetDict({split: as_dataset(draw_posts(split, n), features(fine)) for split, n in sizes.items()})


@dataclass(frozen=True, kw_only=True)
class Finder:
    """Looks names up: their types, and where in the picture they were last."""

    name: ClassVar[str] = "finder"
    seedless: ClassVar[bool] = False
    boundary: ClassVar[bool] = False
    reads_images: ClassVar[bool] = True
    grounds: ClassVar[bool] = True
    training: ClassVar[None] = None
    training_note: ClassVar[str] = "Nothing is trained."

    types: Literal["coarse", "fine"] = "coarse"
    seed: int = 0
    known: Any = field(default=None, repr=False)

    def fit(self, train, validation=None):
        known = {}
        for post in self.posts(train):
            width, height = picture_size(post.images[0])
            for e in post.entities:
                boxes = [box_of(box, 1 / width, 1 / height) for box in e.boxes]
                known[post.tokens[e.start]] = (e.fine if self.types == "fine" else e.type, *boxes)
        return replace(self, known=known)

    def predict(self, dataset):
        found = []
        for post in self.posts(dataset):
            width, height = picture_size(post.images[0])
            at = [i for i, word in enumerate(post.tokens) if word in self.known]
            parts = [self.known[post.tokens[i]][1:] for i in at]
            boxes = [box_of(part[0], width, height) if part else None for part in parts]
            spans = tuple(ScoredSpan(i, i + 1, self.known[post.tokens[i]][0], 1.0) for i in at)
            found.append(Prediction(post.id, spans, boxes=tuple(boxes)))
        return found

    def posts(self, dataset):
        if isinstance(dataset, list):
            return dataset
        return list(iterate_posts(dataset, Codec(dataset.features), images=True))


@pytest.fixture(scope="module")
def finder():
    module = types.ModuleType("hf_mner_aug.backbones.finder")
    module.Finder = Finder
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.setitem(BACKBONES, "finder", "Finder")
        yield Finder


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    out = tmp_path_factory.mktemp("grounded") / "aug"
    publish(augment(drawn(), LSMS(copies=1), out=out, progress=False), out)
    return out


@pytest.fixture(scope="module")
def report(repo, finder):
    return evaluate(repo, ["lsms_100pct"], backbone="finder", seeds=[0, 1], progress=False)


# ---------------------------------------------------------------- the score


def random_entities(rng, n_words, gold):
    """Return entities that do not overlap; gold ones have up to two boxes, predicted ones at most one."""
    found, at = [], 0
    while at < n_words:
        end = at + rng.randint(1, 2)
        if rng.random() < 0.6 and end <= n_words:
            n_boxes = rng.choice((0, 1, 2) if gold else (0, 1))
            boxes = [
                (x, y, x + rng.randint(2, 5), y + rng.randint(2, 5))
                for x, y in [(rng.randint(0, 2), rng.randint(0, 2)) for _ in range(n_boxes)]
            ]
            found.append(Entity(at, end, rng.choice(("PER", "LOC")), boxes=tuple(boxes)))
        at = end
    return found


def pixels(box):
    mask = np.zeros((10, 10), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def count_right(found, gold, *, typed, grounded):
    """Count right entities as the authors do: every pair of a predicted and a gold one is looked at, pixels counted."""
    right = 0
    for one in found:
        for other in gold:
            if (one.start, one.end) != (other.start, other.end) or (typed and one.type != other.type):
                continue
            shared = (
                [
                    (pixels(one.boxes[0]) & pixels(box)).sum() / (pixels(one.boxes[0]) | pixels(box)).sum()
                    for box in other.boxes
                ]
                if one.boxes
                else []
            )
            here = max(shared) > 0.5 if shared else not one.boxes and not other.boxes
            right += here or not grounded
    return right


def test_500_random_predictions_score_as_an_independent_count(tmp_path):
    rng = random.Random(5)
    golds = [random_entities(rng, 8, gold=True) for _ in range(500)]
    founds = [[e if rng.random() < 0.3 and len(e.boxes) < 2 else None for e in gold] for gold in golds]
    founds = [[e for e in kept if e] or random_entities(rng, 8, gold=False) for kept in founds]
    n_found, n_gold = sum(map(len, founds)), sum(map(len, golds))
    f1 = {
        name: 2 * sum(count_right(f, g, **how) for f, g in zip(founds, golds, strict=True)) / (n_found + n_gold)
        for name, how in {
            "gmner": {"typed": True, "grounded": True},
            "MNER": {"typed": True, "grounded": False},
            "EEG": {"typed": False, "grounded": True},
        }.items()
    }
    assert 0.1 < f1["gmner"] < f1["EEG"] < 0.9
    scores = score_grounded(founds, golds)
    assert (scores.gmner.micro.f1, scores.mner.micro.f1, scores.eeg.f1) == pytest.approx(tuple(f1.values()))
    posts = [Post(str(i), list("abcdefgh"), tuple(gold)) for i, gold in enumerate(golds)]
    predictions = [
        Prediction(
            post.id,
            tuple(ScoredSpan(e.start, e.end, e.type, 1.0) for e in found),
            boxes=tuple(e.boxes[0] if e.boxes else None for e in found),
        )
        for post, found in zip(posts, founds, strict=True)
    ]
    assert f1_of(TASK, predictions, posts) == pytest.approx(f1["gmner"])
    found, gold = found_in(TASK, predictions, posts), [TASK.gold(post) for post in posts]
    for name, view in TASK.views.items():
        right = sum(len({*map(view, f)} & {*map(view, g)}) for f, g in zip(found, gold, strict=True))
        assert 2 * right / (n_found + n_gold) == pytest.approx(f1[name])
    rows = [
        [[{"start": e.start, "end": e.end, "type": e.type, "boxes": [*map(list, e.boxes)]} for e in p] for p in side]
        for side in (founds, golds)
    ]
    module = evaluate_library.load(metrics.path("gmner_f1"), cache_dir=str(tmp_path))
    assert module.compute(predictions=rows[0], references=rows[1])["f1"] == pytest.approx(f1["gmner"])


def test_regions_are_compared_with_the_gold_entity_of_the_same_words():
    box, far = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
    gold = (Entity(0, 1, "PER", "actor", (far, box)), Entity(1, 2, "LOC", "city"), Entity(2, 3, "ORG", None, (box,)))
    post = Post("p", list("abcd"), gold)
    spans = [(0, 1, "LOC"), (1, 2, "LOC"), (2, 3, "ORG"), (3, 4, "PER")]
    found = Prediction("p", tuple(ScoredSpan(*s, 1.0) for s in spans), boxes=(box, None, far, box))
    shown, hidden, elsewhere = "in the image", "not in the image", "elsewhere in the image"
    assert TASK.gold(post) == [(0, 1, "PER", shown), (1, 2, "LOC", hidden), (2, 3, "ORG", shown)]
    assert TASK.found(post, found) == [
        (0, 1, "LOC", shown),
        (1, 2, "LOC", hidden),
        (2, 3, "ORG", elsewhere),
        (3, 4, "PER", elsewhere),
    ]
    assert f1_of(TASK, [found], [post]) == 2 / 7, "b alone of three gold and four predicted ones"
    fine = Grounded(FINE)
    assert fine.gold(post) == [(0, 1, "actor", shown), (1, 2, "city", hidden)], "an entity without a fine type is none"
    damaged = replace(post, entities=(replace(gold[0], boxes=((0.0, 1.0, 2.0),)),))
    with pytest.raises(
        DataError, match=r"post p: the entity \[0, 1\) PER has the box .*: expected four finite numbers"
    ):
        TASK.gold(damaged)


# ---------------------------------------------------------------- controls


def test_boxes_go_to_other_entities_in_proportion_to_the_picture():
    posts = draw_posts("train", 12)
    sizes = [picture_size(post.images[0]) for post in posts]
    sizes[3] = None
    exchanged = exchange_boxes(posts, sizes, Draw(b"1"))
    assert exchanged[3] == posts[3]
    assert [replace(p, entities=()) for p in exchanged] == [replace(p, entities=()) for p in posts]

    def places(posts):
        sized = [(post, size) for post, size in zip(posts, sizes, strict=True) if size]
        return [
            tuple(round(value, 6) for box in e.boxes for value in np.array(box) / (*size, *size))
            for post, size in sized
            for e in post.entities
        ]

    assert sorted(places(exchanged)) == sorted(places(posts))
    assert places(exchanged) != places(posts)
    assert () in places(posts)


def test_the_controls_change_one_column_and_nothing_else():
    gold = drawn(fine=True)["train"]
    for column, shuffled in {
        "entities": shuffle_boxes(gold, 3),
        "ner_tags": shuffle_types(gold, 3, TASK),
        "fine_tags": shuffle_types(gold, 3, Grounded(FINE)),
    }.items():
        assert shuffled.features == gold.features
        others = [name for name in gold.column_names if name not in (column, "image")]
        assert shuffled.select_columns(others).to_list() == gold.select_columns(others).to_list()
        assert shuffled[column][:] != gold[column][:]
    assert shuffle_boxes(gold, 3)["entities"][:] == shuffle_boxes(gold, 3)["entities"][:] != gold["entities"][:]


def test_each_control_spoils_its_own_part(report):
    gold, shuffled, moved = (report.row(f"{name}_100pct") for name in ("gold", "shuffled", "boxes_shuffled"))
    f1 = {
        name: [row[part]["mean"] for part in ("f1",)] + [row[p]["f1"]["mean"] for p in ("MNER", "EEG")]
        for name, row in (("gold", gold), ("shuffled", shuffled), ("boxes", moved))
    }
    assert f1["gold"] == [1.0, 1.0, 1.0]
    assert f1["shuffled"][2] == 1.0 > f1["shuffled"][1] == f1["shuffled"][0]
    assert f1["boxes"][1] == 1.0 > f1["boxes"][2] == f1["boxes"][0]
    assert [(c["name"], c["better"]) for c in report.data["controls"]] == [
        ("shuffled_100pct", False),
        ("boxes_shuffled_100pct", False),
    ]
    assert report.trusted


# ---------------------------------------------------------------- reports


def test_the_report_has_the_triple_and_its_parts(report):
    text = report.to_markdown()
    assert report.data["task"] == "grounded_entities"
    assert "Negative control, gold posts with their entity types or boxes shuffled:" in text
    assert "boxes_shuffled exchanges the boxes of entities" in text
    tables = read_tables(text)
    parts = next(table for table in tables if "EEG f1" in table[0])
    assert parts[0] == ["train", *(f"{p} {s}" for p in ("MNER", "EEG") for s in ("precision", "recall", "f1"))]
    assert [row[0] for row in parts[2:]] == [row["name"] for row in report.data["rows"]]
    by_type = next(table for table in tables if table[0][:2] == ["type", "gold"])
    assert {row[0] for row in by_type[2:]} == set(KINDS)
    for found in report.data["comparisons"]:
        row, against = report.row(found["name"]), report.row(found["against"])
        assert found["delta"] == pytest.approx(row["f1"]["mean"] - against["f1"]["mean"])


def test_without_regions_to_learn_a_study_cannot_be_trusted(tmp_path, finder):
    hidden = drawn().map(lambda row: {"entities": [{**e, "boxes": []} for e in row["entities"]]})
    folder = source_folder(hidden, tmp_path / "set")
    found = evaluate(folder, backbone="finder", seeds=[0], progress=False, out=tmp_path / "out")
    assert not found.trusted
    assert "models trained on shuffled entity types or boxes do as well" in found.data["verdict"]
    assert "boxes_shuffled_100pct is +0.0000 from gold_100pct" in found.data["verdict"]


def test_errors_tell_regions_apart(repo, finder):
    report = errors(repo, ["gold_100pct"], ["finder"], split="test")["gold_100pct"]
    assert report.data["backbones"]["finder"] == report.data["backbones"]["finder"] | {
        "f1": 1.0,
        "MNER": 1.0,
        "EEG": 1.0,
    }
    box, far = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
    posts = [Post("p", list("abc"), (Entity(0, 1, "PER", None, (box,)), Entity(1, 2, "LOC"), Entity(2, 3, "LOC")))]
    spans = tuple(ScoredSpan(i, i + 1, kind, 1.0) for i, kind in enumerate(("PER", "PER", "LOC")))
    found = [Prediction("p", spans, boxes=(far, None, None))]
    told = report_errors(
        {"m": found_in(TASK, found, posts)},
        [TASK.gold(p) for p in posts],
        posts,
        config="c",
        split="test",
        task=TASK.name,
    )
    numbers = told.data["backbones"]["m"]
    assert numbers["kinds"] == {"missed": 0, "spurious": 0, "boundary": 0, "type": 1, "both": 0, "region": 1}
    assert (numbers["f1"], numbers["MNER"], numbers["EEG"]) == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    assert "in the image → elsewhere in the image 1" in told.to_markdown()
    assert told.listed[0]["gold"] == {"start": 0, "end": 1, "type": "PER", "text": "a", "region": "in the image"}
    header = read_tables(told.to_markdown())[0][0]
    assert header == [
        "backbone",
        "F1",
        "MNER F1",
        "EEG F1",
        "errors",
        "missed",
        "spurious",
        "boundary",
        "type",
        "both",
        "region",
    ]


def test_quality_gives_the_f1_of_labels_as_predicted(repo, finder):
    report = quality(repo, ["lsms_100pct"], backbone="finder")
    gold = report.column("gold train")
    assert gold.label_scores == {"GMNER F1": 1.0, "MNER F1": 1.0, "EEG F1": 1.0}
    assert gold.consistency == 1.0
    assert "| labels as predicted, GMNER F1 | " in report.to_markdown()
    plain = quality(repo, ["lsms_100pct"], backbone="crf:iterations=5")
    assert "label_scores" not in plain.data["columns"][1]


def test_the_curve_has_a_table_for_each_part(tmp_path, finder):
    folder = source_folder(drawn(), tmp_path / "set")
    found = curve(
        str(folder), None, ["lsms"], out=tmp_path / "aug", fractions=[1.0], backbone="finder", seeds=[0], progress=False
    )
    text = found.to_markdown()
    assert text.index("GMNER F1 on test") < text.index("MNER F1:") < text.index("EEG F1:")
    point = found.data["points"][0]
    assert set(point["MNER"]) == set(point["EEG"]) == set(point["f1"]) >= {"gold", "boxes_shuffled", "lsms"}


# ---------------------------------------------------------------- what is measured


def test_entities_are_grounded_where_backbones_and_sets_allow_it():
    h_index, crf = parse_backbone("h_index"), parse_backbone("crf")
    boxed, plain = {"set": features()}, {"set": mner_features()}
    assert choose_task(boxed, [h_index]) == Grounded()
    assert choose_task(boxed, [parse_backbone("tiger")]) == Grounded()
    assert choose_task(boxed, [parse_backbone("mmt5")]) == ENTITIES
    assert choose_task(boxed, [parse_backbone("h_index:use_images=false")]) == ENTITIES
    assert choose_task(boxed, [h_index, crf]) == ENTITIES, "what both can do"
    assert choose_task({**boxed, **{"other": mner_features()}}, [h_index]) == ENTITIES
    assert choose_task(plain, [h_index]) == ENTITIES
    assert choose_task(boxed) == ENTITIES
    assert len(TASKS) == 5
    assert all(TASKS[task.name] == task for task in TASKS.values())


def test_fine_types_are_scored_where_they_are_asked_for():
    fine = {"set": features(fine=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_task(fine, [parse_backbone("crf:types=fine")]) == FINE
        assert choose_task(fine, [parse_backbone("h_index:types=fine")]) == Grounded(FINE)
        assert choose_task(fine) == ENTITIES
    with pytest.warns(UserWarning, match=r"set has 4 fine types, and this study scores its 2 coarse ones: types=fine"):
        assert choose_task(fine, [parse_backbone("crf")]) == ENTITIES
    with pytest.raises(
        UsageError, match=r"set has no fine types \(expected a column fine_tags\), and crf reads"
    ) as error:
        choose_task({"set": features()}, [parse_backbone("crf:types=fine")])
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="cannot be compared: crf entities, crf fine_entities"):
        choose_task(fine, [parse_backbone("crf"), parse_backbone("crf:types=fine")])


def test_a_study_of_fine_types_scores_each_of_them(tmp_path):
    folder = source_folder(drawn(fine=True), tmp_path / "set")
    report = evaluate(folder, backbone="crf:types=fine,iterations=40", seeds=[0], progress=False, out=tmp_path / "out")
    assert report.data["task"] == "fine_entities"
    assert report.data["settings"]["types"] == "fine"
    assert set(report.row("gold_100pct")["per_type"]) == set(FINE_OF.values())
    assert report.row("gold_100pct")["f1"]["mean"] > report.row("shuffled_100pct")["f1"]["mean"] + 0.2
    assert "Negative control, gold posts with their fine entity types shuffled:" in report.to_markdown()
    assert sorted(report.data["support"].values()) == sorted(
        sum(FINE_OF[p.tokens[e.start]] == kind for p in draw_posts("test", 24) for e in p.entities)
        for kind in set(FINE_OF.values())
    )
