"""Posts without a picture stay so, and collages show no train picture too often, nor at all where train has few."""

import json
import warnings
from collections import Counter

import pytest
from conftest import SETS, picture
from datasets import Dataset, DatasetDict, load_dataset
from picture_marks import picture_source
from PIL import Image

from hf_mner_aug import augment, publish
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.models.image.engine import FEWEST
from hf_mner_aug.pages.config import read_sheet
from hf_mner_aug.posts.hygiene import PICTURED, PictureUse
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.schema import Post

WEAK = {"folds": 2, "target": "crf:iterations=2", "detector": ""}  # a model that errs on twenty posts
PICTURING = {"amia": {"mix": "0.5"}, "gmda": {"detector": None}, "memory_hard": WEAK}  # methods that make pictures
LIGHT = {**PICTURING, "daga": {"hidden": 32, "embedding": 32, "epochs": 60, "least_words": 2}}


@pytest.fixture(params=sorted(PICTURING))
def name(request):
    return request.param


def rows(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


def fitted(name, dataset, **chosen):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method_class(name)(**PICTURING[name], **chosen).fit(dataset)


def with_pictures(dataset, n, column="image"):
    """Return the dataset with pictures at its first n posts only, all different."""
    shown = [picture(500 + i, "PNG") if i < n else None for i in range(len(dataset))]
    return Dataset.from_list(
        [{**row, column: new} for row, new in zip(rows(dataset), shown, strict=True)], features=dataset.features
    )


# ---------------------------------------------------------------- they stay without


@pytest.mark.parametrize("kind", SETS[:-1])
def test_a_post_without_a_picture_stays_without_one(name, kind, sets):
    dataset = sets[kind]
    column = "images" if kind == "multi_image" else "image"
    before = {row["id"]: row[column] for row in rows(dataset)}
    bare = {post for post, found in before.items() if not found}
    made = rows(fitted(name, dataset).map(dataset))
    assert any(row["source_id"] in bare for row in made)
    for row in made:
        assert bool(row[column]) == (row["source_id"] not in bare)
        details = json.loads(row["provenance"])["details"]
        assert bool(details.get(PICTURED)) == bool(details.get("synthetic")) == bool(row[column])
    if name == "amia":
        found = fitted(name, dataset).make(dataset.with_format("arrow")[:])
        lost = {reject["source_id"] for reject in found.rejects}
        assert [row["id"] for row in made] == [post for post in before if post not in lost]
        assert found.idle == len(bare)


class Painter:
    """An image engine that paints one colour from its draw."""

    source = "trainedAlgorithmicMedia"
    restyles = False

    def generate(self, sentences, draws, *, sizes=None, originals=None):
        sizes = sizes or [original.size if original else (8, 8) for original in originals or [None] * len(draws)]
        colours = [tuple(draw.integer(256) for _ in range(3)) for draw in draws]
        return [Image.new("RGB", size, colour) for size, colour in zip(sizes, colours, strict=True)]


def test_what_is_missing_is_drawn_by_a_model_that_is_asked_to(name, mner, monkeypatch):
    monkeypatch.setattr(method_class(name), "_engine" if name == "amia" else "_image_engine", lambda self: Painter())
    bare = {row["id"] for row in rows(mner) if row["image"] is None}
    for fill in (False, True):
        made = rows(fitted(name, mner, fill_missing=fill, image_model="painter").map(mner))
        filled = [row["image"] is not None for row in made if row["source_id"] in bare]
        assert filled
        assert set(filled) == {fill}
        assert all(row["image"] for row in made if row["source_id"] not in bare)
        marks = {picture_source(row["image"]) for row in made if row["image"] and row["source_id"] in bare}
        assert marks == ({"trainedAlgorithmicMedia"} if fill else set())


def test_a_collage_fills_nothing(name):
    with pytest.raises(UsageError, match=r"fill_missing=true needs a model that draws: .* with image_model="):
        method_class(name)(fill_missing=True)


@pytest.mark.parametrize(
    ("method", "chosen"), [("amia", {}), ("gmda", {"text": False}), ("rmda", {"text": False})], ids=lambda v: str(v)
)
def test_methods_that_only_change_pictures_need_a_column_of_them(method, chosen, mner):
    bare = mner.remove_columns("image")
    with pytest.raises(UsageError, match=f"{method} works on pictures: expected a column image or images, found id, "):
        method_class(method)(**chosen).fit(bare)


def test_every_other_method_takes_a_set_without_pictures(mner):
    for other in sorted(METHODS):
        method = method_class(other)(**LIGHT.get(other, {}), **({"image": False} if other == "rmda" else {}))
        if not method.content.pictures_only:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert "image" not in method.fit(mner.remove_columns("image")).features


# ---------------------------------------------------------------- few sources, often used


def test_fewer_train_pictures_than_a_collage_needs(name, mner):
    with pytest.raises(UsageError, match=rf"expected at least {FEWEST} different ones, found {FEWEST - 1}: .*=MODEL"):
        fitted(name, with_pictures(mner, FEWEST - 1))
    fitted(name, with_pictures(mner, FEWEST))
    same = [{**row, "image": picture(1, "PNG")} for row in rows(mner)]
    line = "posts of 1 different" if name == "memory_hard" else f"expected at least {FEWEST} different ones, found 1"
    with pytest.raises(UsageError, match=line):  # posts of one picture are one fold
        fitted(name, Dataset.from_list(same, features=mner.features))


def test_a_train_picture_is_in_a_tenth_of_the_made_posts_or_in_20():
    for made, most in ((0, 20), (40, 20), (201, 21), (4819, 482)):
        use = PictureUse(made)
        found = [use.check(Post(str(i), ["x"], details={PICTURED: ["a", f"b{i}"]})) for i in range(600)]
        assert found == [None] * most + ["picture_used"] * (600 - most)
        assert (use.uses["a"], use.uses["b0"], use.uses[f"b{most}"]) == (most, 1, 0), "a dropped post counts for none"
        assert use.check(Post("z", ["x"])) is None


def test_publishing_holds_the_bound_and_tells_the_sources(name, mner, tmp_path):
    """A set of which all pictures come from eight: the made posts that show one too often are dropped."""
    train = with_pictures(mner, FEWEST)
    many = Dataset.from_list(
        [
            {**row, "id": f"{row['id']}-{i}", "tokens": [*row["tokens"], f"w{i}"], "ner_tags": [*row["ner_tags"], 0]}
            for i in range(12)
            for row in rows(train)
            if row["image"]
        ],
        features=mner.features,
    )
    method = method_class(name)(**PICTURING[name])
    out = tmp_path / "aug"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = augment(DatasetDict(train=many, test=many.select(range(3))), method, out=out, progress=False)
        done = publish(run, out)
    made = [row for row in rows(load_dataset(str(out), done.config)["train"]) if row["method"] == name]
    uses = Counter(source for row in made for source in json.loads(row["provenance"])["details"].get(PICTURED, ()))
    assert 0 < max(uses.values()) <= max(20, len(run.dataset) / 10 + 1)
    told = read_note(out / done.config)["pictures"]
    if name != "amia":  # which remakes test, too
        assert told == {
            "originals": len(many) + 3,
            "made": sum(row["image"] is not None for row in made),
            "sources": len(uses),
            "most": max(uses.values()),
        }
    line = f"{told['made']} made posts show {told['sources']} different train pictures, the most frequent of them in"
    assert f"{line} {told['most']} posts." in (out / "README.md").read_text()
    assert read_sheet(out, done.config, posts=1).shown.startswith(line)
    withdraw_posts(out, [uses.most_common(1)[0][0]])
    shown = [
        found
        for split in load_dataset(str(out), done.config, cache_dir=str(tmp_path / "cache")).values()
        for row in rows(split)
        if row["method"] == name
        if (found := json.loads(row["provenance"])["details"].get(PICTURED))
    ]
    uses = Counter(source for found in shown for source in found)
    left = read_note(out / done.config)["pictures"]
    assert left["made"] < told["made"]
    assert left == {
        "originals": told["originals"],
        "made": len(shown),
        "sources": len(uses),
        "most": max(uses.values()),
    }
    line = f"{len(shown)} made posts show {len(uses)} different train pictures, the most frequent of them in"
    assert f"{line} {left['most']} posts." in (out / "README.md").read_text()


def test_the_gold_post_stands_where_one_shows_a_picture_too_often(name, mner, tmp_path, monkeypatch):
    from hf_mner_aug.publishing import rows as published_rows

    class Once(PictureUse):
        def __init__(self, made):
            super().__init__(made)
            self.most = 1

    monkeypatch.setattr(published_rows, "PictureUse", Once)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = publish(augment(mner, method_class(name)(**PICTURING[name]), out=tmp_path, progress=False), tmp_path)
    train = rows(load_dataset(str(tmp_path), done.config)["train"])
    made = [row for row in train if row["method"] == name]
    uses = Counter(source for row in made for source in json.loads(row["provenance"])["details"].get(PICTURED, ()))
    assert max(uses.values()) == 1
    assert done.funnel["dropped"]["picture_used"] > 0
    assert done.funnel["kept"] == len(made)
    assert [row["id"] for row in train][: len(mner)] == mner["id"][:]


# ---------------------------------------------------------------- what the card says


@pytest.mark.parametrize("shape", ["no column", "no picture"])
@pytest.mark.parametrize("method", sorted(set(METHODS) - {"amia"}))  # that one is refused
def test_a_card_tells_of_pictures_only_where_there_are_some(method, shape, mner, tmp_path):
    chosen = {**LIGHT.get(method, {}), **({"filter": False, "image": False} if method == "rmda" else {})}
    dataset = mner.remove_columns("image") if shape == "no column" else with_pictures(mner, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        publish(augment(dataset, method_class(method)(**chosen), out=tmp_path, progress=False), tmp_path)
    card = (tmp_path / "README.md").read_text()
    card = card[card.index("<!-- config") :]
    assert "Images: the source has no images." in card
    assert "original" not in card
    assert "The pictures are" not in card
