import io
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import SETS, parse
from datasets import Dataset, Image
from picture_marks import picture_source
from PIL import Image as Pillow

from hf_mner_aug import MixGen, augment, publish
from hf_mner_aug.draw import draw
from hf_mner_aug.exceptions import NotFitted, UsageError
from hf_mner_aug.methods.mixgen import TRIES, draw_partner, mix_posts, moved
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.schema import Codec, Entity, Post, Relation, mner_features
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.posts import open_posts, save_posts
from hf_mner_aug.transform import Reject, iterate_posts
from hf_mner_aug.transform.columns import artifact_of

BOX = (10.0, 20.0, 30.0, 40.0)


def encoded(pixels, kind="PNG", name="7.jpg", **options):
    file = io.BytesIO()
    Pillow.fromarray(np.asarray(pixels, dtype=np.uint8)).save(file, kind, **options)
    return {"bytes": file.getvalue(), "path": name}


def plain(width, height, colour, kind="PNG", name="7.jpg"):
    return encoded(np.full((height, width, 3), colour), kind, name)


def noise(seed, width, height):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels_of(image):
    return np.asarray(open_rgb(image), dtype=int)


def fitted(*train, **params):
    """A method whose train split is these posts."""
    learned = {"files": {"posts": save_posts(train)}}
    features = json.dumps(mner_features(boxes=True).to_dict())
    return MixGen(
        artifact=artifacts.save_json({"features": features, "learned": learned, "method": "mixgen"}), **params
    )


def join(post, partner, **params):
    """Return a post joined with the only partner there is."""
    (made,) = fitted(partner, **params).rewrite([post], [draw(0, "mixgen", 1, post.id, 0)])
    return made


def post(name, text, *images, boxes=None, relation=None):
    tokens, entities = parse(text)
    if boxes is not None:
        entities = tuple(Entity(e.start, e.end, e.type, None, tuple(boxes)) for e in entities)
    return Post(name, tokens, entities, images, relation)


# ---------------------------------------------------------------- by hand


def test_two_posts_by_hand():
    """The partner's picture is twice as wide and half as high as the post's: so its box shrinks and grows."""
    first = post("a", "[PER Ann Lee] in [LOC Rome]", plain(100, 80, 200), boxes=[(1.0, 2.0, 3.0, 4.0)])
    second = post("b", "see [ORG NBC] !", plain(200, 40, 101, name="8.jpg"), boxes=[BOX, (0.0, 0.0, 200.0, 40.0)])
    made = join(first, second)
    assert made.id == "a"
    assert made.tokens == ["Ann", "Lee", "in", "Rome", "see", "NBC", "!"]
    assert made.entities == (
        Entity(0, 2, "PER", None, ((1.0, 2.0, 3.0, 4.0),)),
        Entity(3, 4, "LOC", None, ((1.0, 2.0, 3.0, 4.0),)),
        Entity(5, 6, "ORG", None, ((5.0, 40.0, 15.0, 80.0), (0.0, 0.0, 100.0, 80.0))),
    )
    assert made.details == {"post_id": "b", "lambda": 0.5, "synthetic": True}
    (image,) = made.images
    assert set(pixels_of(image).flatten()) == {151}  # 150.5, rounded
    assert pixels_of(image).shape == (80, 100, 3)
    assert image["path"] == "7.png"
    assert image["bytes"].startswith(b"\x89PNG")
    assert picture_source(image) == "compositeCapture"


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_pixels_are_exact_to_half_a_level(weight):
    first, second = noise(1, 33, 21), noise(2, 33, 21)
    (mixed,) = join(post("a", "x", encoded(first)), post("b", "y", encoded(second)), weight=weight).images
    exact = weight * first.astype(float) + (1 - weight) * second.astype(float)
    assert np.abs(pixels_of(mixed) - exact).max() <= 0.5001


def test_a_jpeg_stays_a_jpeg_near_the_exact_mix():
    first, second = plain(64, 48, 30, "JPEG"), plain(32, 48, 90, "JPEG")
    (mixed,) = join(post("a", "x", first), post("b", "y", second)).images
    assert mixed["bytes"].startswith(b"\xff\xd8")
    assert np.abs(pixels_of(mixed) - 60).max() <= 1


def test_a_box_lies_where_its_object_is_after_mixing():
    scene = np.zeros((40, 120, 3))
    scene[10:20, 60:90] = 255
    first = post("a", "x", plain(60, 80, 0))
    made = join(first, post("b", "[PER Ann]", encoded(scene), boxes=[(60.0, 10.0, 90.0, 20.0)]))
    (box,) = made.entities[0].boxes
    assert box == (30.0, 20.0, 45.0, 40.0)
    bright = pixels_of(made.images[0])[:, :, 0] > 64
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    assert np.allclose((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), box, atol=1)


def test_a_picture_that_lies_on_its_side_is_turned_before_its_box_is_scaled():
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: 40 x 120 becomes 120 x 40
    lying = encoded(np.zeros((120, 40, 3)), "JPEG", exif=exif)
    made = join(post("a", "x", plain(60, 80, 0)), post("b", "[PER Ann]", lying, boxes=[(60.0, 10.0, 90.0, 20.0)]))
    assert made.entities[0].boxes == ((30.0, 20.0, 45.0, 40.0),)
    upright = join(post("a", "[PER Ann]", lying, boxes=[BOX]), post("b", "x", plain(60, 80, 0)))
    assert open_rgb(upright.images[0]).size == (120, 40)
    assert upright.entities[0].boxes == (BOX,)


def test_moved():
    entity = Entity(1, 3, "PER", "actor", ((1.0, 2.0, 3.0, 4.0),))
    assert moved(entity, 4, (2.0, 0.5)) == Entity(5, 7, "PER", "actor", ((2.0, 1.0, 6.0, 2.0),))
    assert moved(entity, 0, (1, 1)) == entity


# ---------------------------------------------------------------- pictures that are not there, and several


def test_a_lone_picture_is_kept_and_its_boxes_alone():
    picture = plain(50, 50, 9, "JPEG")
    own = join(post("a", "[PER Ann]", picture, boxes=[BOX]), post("b", "[LOC Rome]", boxes=[BOX]))
    assert own.images == (picture,)
    assert [e.boxes for e in own.entities] == [(BOX,), ()]
    assert own.details == {"post_id": "b"}
    other = join(post("a", "[PER Ann]", boxes=[BOX]), post("b", "[LOC Rome]", picture, boxes=[BOX]))
    assert other.images == (picture,)
    assert [e.boxes for e in other.entities] == [(), (BOX,)]


def test_without_any_picture_all_boxes_stay_as_they_are():
    made = join(post("a", "[PER Ann]", boxes=[BOX, BOX]), post("b", "see [LOC Rome]", boxes=[(1.0, 1.0, 9.0, 9.0)]))
    assert made.images == ()
    assert made.entities == (
        Entity(0, 1, "PER", None, (BOX, BOX)),
        Entity(2, 3, "LOC", None, ((1.0, 1.0, 9.0, 9.0),)),
    )


@pytest.mark.parametrize(("n_own", "n_others"), [(3, 1), (1, 4), (2, 2), (0, 3), (4, 0)])
def test_several_pictures_are_mixed_pair_by_pair(n_own, n_others):
    own = [plain(20, 10 + i, 10 * i, name=f"a{i}.png") for i in range(n_own)]
    others = [plain(30, 20, 100 + 10 * i, name=f"b{i}.png") for i in range(n_others)]
    made = join(post("a", "x", *own), post("b", "y", *others))
    pairs = min(n_own, n_others)
    assert len(made.images) == max(n_own, n_others)
    for i, image in enumerate(made.images[:pairs]):
        assert pixels_of(image).shape == (10 + i, 20, 3)
        assert set(pixels_of(image).flatten()) == {50 + 10 * i}
        assert picture_source(image) == "compositeCapture"
    assert list(made.images[pairs:]) == [*own[pairs:], *others[pairs:]]
    assert made.details.get("synthetic", False) == (pairs > 0)


def test_boxes_are_those_of_the_first_picture():
    first, second = post("a", "x", plain(10, 10, 0), plain(90, 90, 0)), post("b", "y", plain(20, 5, 0), plain(9, 9, 0))
    assert mix_posts(first, second, 0.5)[1] == (0.5, 2.0)
    assert mix_posts(first, post("b", "y"), 0.5) == (list(first.images), None)


# ---------------------------------------------------------------- relations


def test_the_relation_is_that_of_the_post():
    relation = Relation((0, 1), (2, 3), "r")
    first = post("a", "Ann in Rome", relation=relation)
    made = join(first, post("b", "Bob of NBC", relation=Relation((0, 1), (2, 3), "other")))
    assert made.relation == relation
    assert made.tokens == ["Ann", "in", "Rome", "Bob", "of", "NBC"]


# ---------------------------------------------------------------- the partner


def test_partners_are_drawn_evenly_and_never_the_post_or_its_text():
    train = [post("a", "we love Paris"), post("b", "RT @joe : We love PARIS ! http://t.co/x"), post("a", "other words")]
    train += [post(f"p{i}", f"text {i}") for i in range(4)]
    found = Counter(draw_partner(train[0], train, draw(0, "mixgen", 1, "a", copy)).id for copy in range(2_000))
    assert set(found) == {"p0", "p1", "p2", "p3"}
    assert all(430 < n < 570 for n in found.values())


def test_no_partner():
    of = post("a", "we love Paris")
    for train in ([], [of], [of, post("b", "We love Paris")]):
        (made,) = fitted(*train).rewrite([of], [draw(0, "mixgen", 1, "a", 0)])
        assert made == Reject("no_partner", f"none of {TRIES} posts drawn from train has another text")


def test_partners_come_from_train_alone(splits):
    method = MixGen(copies=5).fit(splits)
    train = set(splits["train"]["id"])
    texts = {row["id"]: row["tokens"] for row in splits["train"].remove_columns("image")}
    stored = open_posts(method.learned["files"]["posts"])
    assert set(stored.ids) == train
    seen = set()
    for split in ("train", "validation", "test"):
        for row in method.map(splits[split]).remove_columns("image"):
            partner = json.loads(row["provenance"])["details"]["post_id"]
            assert partner != row["source_id"]
            assert row["tokens"][-len(texts[partner]) :] == texts[partner]
            assert text_key(row["tokens"][: -len(texts[partner])]) != text_key(texts[partner])
            seen.add(partner)
    assert len(seen) > 10
    assert seen <= train


# ---------------------------------------------------------------- whole sets


@pytest.mark.parametrize("kind", SETS)
def test_labels_of_every_kind_of_set(kind, sets):
    """What is made is the post, then the partner, each with its words, types, fine types and boxes."""
    dataset = sets[kind]
    codec = Codec(dataset.features)
    method = MixGen(copies=3).fit(dataset)
    gold = {found.id: found for found in iterate_posts(dataset, codec, images=True)}
    made = method.map(dataset)
    mixed = 0
    for new, row in zip(iterate_posts(made, codec, images=True), made.select_columns("provenance"), strict=True):
        details = json.loads(row["provenance"])["details"]
        old, partner = gold[new.id.split("+")[0]], gold[details["post_id"]]
        assert new.tokens == [*old.tokens, *partner.tokens]
        assert labelled(new) == labelled(old) + labelled(partner)
        assert new.relation == old.relation
        pairs = list(zip(old.images, partner.images, strict=False))
        assert details.get("synthetic", False) == bool(pairs)
        mixed += len(pairs)
        assert list(new.images[len(pairs) :]) == [*old.images[len(pairs) :], *partner.images[len(pairs) :]]
        scale = [open_rgb(pairs[0][0]).size[i] / open_rgb(pairs[0][1]).size[i] for i in (0, 1)] if pairs else [1, 1]
        expected = [[list(box) for box in e.boxes] for e in old.entities]
        expected += [
            [[x * f for x, f in zip(box, scale * 2, strict=True)] for box in e.boxes] for e in partner.entities
        ]
        if bool(old.images) != bool(partner.images):
            gone = range(len(old.entities), len(expected)) if old.images else range(len(old.entities))
            expected = [[] if i in gone else boxes for i, boxes in enumerate(expected)]
        found = [[list(box) for box in e.boxes] for e in new.entities]
        assert [len(boxes) for boxes in found] == [len(boxes) for boxes in expected]
        for boxes, others in zip(found, expected, strict=True):
            assert np.allclose(boxes, others, rtol=1e-6)
    assert mixed > len(dataset) / 2


def labelled(found):
    return [(list(found.tokens[e.start : e.end]), e.type, e.fine) for e in found.entities]


def test_a_set_without_pictures(sets):
    for kind, columns in (("mner", ["image"]), ("gmner", ["image"]), ("mre", ["image"]), ("multi_image", ["images"])):
        bare = sets[kind].remove_columns(columns)
        method = MixGen(copies=2).fit(bare)
        made = method.map(bare)
        assert len(made) == 2 * len(bare)
        assert made.features == method.features
        assert list(method.map(bare.to_iterable_dataset())) == made.to_list()


def test_pictures_that_cannot_be_read_are_rejected_with_their_post(mner):
    rows = mner.with_format("arrow")[:].to_pylist()
    rows[0]["image"] = {"bytes": b"<html>not found</html>", "path": "x.jpg"}
    rows[1]["image"] = {"bytes": rows[1]["image"]["bytes"][:100], "path": "y.jpg"}
    broken = Dataset.from_list(rows, features=mner.features)
    method = MixGen(copies=8).fit(broken)
    made = method.make(broken.with_format("arrow")[:])
    assert {reject["reason"] for reject in made.rejects} == {"unreadable_image"}
    named = Counter(reject["detail"].partition(":")[0] for reject in made.rejects)
    assert set(named) == {"post p0", "post p1"}
    assert {reject["source_id"] for reject in made.rejects} > {"p0", "p1"}, "as partners too"
    details = {reject["detail"] for reject in made.rejects}
    assert "post p0: the image is in no format that Pillow knows" in details
    lone = [i for i, source in enumerate(made.columns["source_id"]) if source in ("p0", "p1")]
    for i in lone:  # with a partner that has no picture, nothing is opened
        assert "synthetic" not in made.columns["provenance"][i]
        assert made.columns["image"][i] in (rows[0]["image"], rows[1]["image"])


def test_weight_is_a_share():
    for weight in (-0.1, 1.01, float("nan")):
        with pytest.raises(UsageError, match=r"mixgen: weight must be in \[0, 1\], found"):
            MixGen(weight=weight)


def test_the_card_says_what_mixed_pictures_and_lone_boxes_mean(sets):
    assert len(MixGen().cautions) == len(MixGen().fit(sets["mner"]).cautions) == 1
    assert "two at once" in MixGen().cautions[0]
    assert "post_id" in MixGen().fit(sets["gmner"]).cautions[1]


# ---------------------------------------------------------------- runs


def test_a_machine_that_did_not_fit_finds_the_posts_in_the_run(splits, tmp_path, monkeypatch):
    out = tmp_path / "aug"
    run = augment(splits, MixGen(copies=2), out=out, progress=False, part_size=4)
    expected = run.dataset.with_format("arrow")[:].to_pylist()
    shutil.rmtree(run.folder / "parts")
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "elsewhere"))
    open_posts.cache_clear()
    artifact_of.cache_clear()
    with pytest.raises(NotFitted, match="call fit again"):
        run.method.map(splits["validation"])
    again = augment(splits, MixGen(copies=2), out=out, progress=False, part_size=4)
    assert again.dataset.with_format("arrow")[:].to_pylist() == expected
    published = publish(again, out)
    assert published.funnel["kept"] + sum(published.funnel["dropped"].values()) == 28
    assert published.funnel["kept"] > 20


def test_a_partner_from_test_is_a_leak(splits, tmp_path):
    """A method that was fitted on more than the gold train posts may bring others in: publishing drops them."""
    fitted_on_all = MixGen(copies=3).fit(splits["test"])
    done = publish(augment(splits, fitted_on_all, out=tmp_path / "aug", progress=False), tmp_path / "aug")
    assert done.funnel["kept"] == 0
    assert done.funnel["dropped"]["leak_id"] > 20


def test_decoded_pictures_of_a_loaded_config(mner):
    made = MixGen().fit(mner).map(mner)
    for row, raw in zip(made, made.cast_column("image", Image(decode=False)), strict=True):
        assert (row["image"] is None) == (raw["image"] is None)
        if row["image"] is not None:
            assert row["image"].mode == "RGB"
