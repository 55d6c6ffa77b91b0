"""GMDA's filter of consistency: backbones that read pictures are shown the made ones; fine types are compared."""

import io
from types import SimpleNamespace
from typing import ClassVar

import pytest
from conftest import as_dataset, parse, picture
from PIL import Image as Pillow

from hf_mner_aug import GMDA
from hf_mner_aug.backbones import Prediction, ScoredSpan, detectors
from hf_mner_aug.backbones.packed import unpack
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods.gmda import consistency
from hf_mner_aug.models.image.diffusers import Diffusers, Row
from hf_mner_aug.models.text.labelled import instruction
from hf_mner_aug.schema import Entity, Post, mner_features

TEXTS = [
    "so happy to see [PER Ann] today",
    "so glad to see [PER Bob] today",
    "we love [LOC Paris] so much",
    "they love [LOC Rome] so much",
]


class Looker:
    """A backbone that reads pictures, and finds what is labelled where a picture is no longer the original's size."""

    name = "umt"
    seen: ClassVar[list] = []

    def predict(self, posts):
        Looker.seen += [post.images for post in posts]
        return [FoundSpans(post) for post in posts]


class FoundSpans:
    def __init__(self, post):
        self.post = post

    def plain_spans(self):
        return [ScoredSpan(i, i + 1, "PER", 1.0)[:3] for i, w in enumerate(self.post.tokens) if w in ("Ann", "Bob")]


@pytest.fixture
def gold():
    posts = [Post(f"p{i}", *parse(text), (picture(i, "PNG"),)) for i, text in enumerate(TEXTS * 3)]
    return as_dataset(posts, mner_features())


def test_a_backbone_of_pictures_is_shown_the_made_one(gold, monkeypatch):
    trained = []

    def fit(train, spec, members, seed):
        trained.extend(train)
        return {"detector-0": "0" * 64}

    Looker.seen.clear()
    monkeypatch.setattr(detectors, "fit_detectors", fit)
    monkeypatch.setattr(detectors, "unpack", lambda name, digest: Looker())
    method = GMDA(detector="umt:encoder=tiny,tower=tiny,freeze_vision=false", per_context=0).fit(gold)
    assert all(post.images for post in trained), "the backbone learns from the pictures of train"
    batch = gold.with_format("arrow")[:]
    made = method.make(batch)
    originals = {
        row["bytes"] for row in gold.cast_column("image", gold.features["image"].__class__(decode=False))["image"]
    }
    shown = [image["bytes"] for images in Looker.seen for image in images]
    assert shown
    assert not originals & set(shown), "each is shown with its new picture, not with the gold post's"
    assert all(Pillow.open(io.BytesIO(data)).format for data in shown)
    assert {reject["reason"] for reject in made.rejects} == {"inconsistent"}, "places, which the backbone does not find"
    assert all("PER" in {e.type for e in method._codec().to_post(row).entities} for row in rows_of(made))
    without = GMDA(detector="umt:encoder=tiny,use_images=false", per_context=0).fit(gold)
    Looker.seen.clear()
    without.make(batch)
    assert not any(Looker.seen), "without use_images the words alone are read"


def rows_of(made):
    names = list(made.columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*made.columns.values(), strict=True)]


def test_fine_types_are_learned_and_compared():
    post = Post("a", ["Ann", "sings"], (Entity(0, 1, "PER", "singer"),), (picture(0, "PNG"),))
    (learned,) = consistency.as_learned([post], pictures=False)
    assert (learned.entities, learned.images) == ((Entity(0, 1, "PER/singer"),), ())
    plain = Post("b", ["Ann"], (Entity(0, 1, "PER"),))
    assert next(iter(consistency.as_learned([plain], pictures=True))) == plain


@pytest.mark.parametrize(("found", "kept"), [("PER/singer", True), ("PER/actor", False), ("PER", False)])
def test_another_fine_type_is_inconsistent(found, kept, monkeypatch):
    post = Post("a", ["Ann", "sings"], (Entity(0, 1, "PER", "singer"),))
    monkeypatch.setattr(detectors, "detect_in", lambda spec, digests, posts: [[[(0, 1, found)]] for _ in posts])
    (made,) = consistency.checked("crf", ["0"], {0: post}, 1.0, scored=False, pictures=False).values()
    assert (made is post) == kept
    if not kept:
        assert (made.reason, made.detail) == (
            "inconsistent",
            f"found Ann as {found}" if found < "PER/s" else made.detail,
        )


def test_crfs_learn_and_check_the_fine_types_of_a_set(sets):
    fine = sets["fmnerg"]
    method = GMDA(image=False, agreement=0.1, per_context=0).fit(fine)
    digest = method.learned["files"]["detector-0"]
    assert {"PER/person", "LOC/city"} <= set(unpack("crf", digest).labels)
    made = method.make(fine.with_format("arrow")[:])
    assert made.columns["id"], "posts with fine types pass a detector that finds them"


BOX, NEAR, FAR = (10.0, 10.0, 40.0, 40.0), (12.0, 10.0, 42.0, 40.0), (30.0, 30.0, 60.0, 60.0)
PICTURE = (picture(0, "PNG"),)
WORDS = ["Ann", "and", "Bob", "sing"]
GOLD = Post("g", ["Ann", "met", "Bob"], (Entity(0, 1, "PER", boxes=(BOX,)), Entity(2, 3, "PER")), PICTURE)
MADE = Post("a", WORDS, (Entity(0, 1, "PER", boxes=(BOX,)), Entity(2, 3, "PER")), PICTURE)


def grounded(*boxes, words=(0, 2)):
    """What a backbone that grounds finds: a person at each of the words, in a box or in none."""
    return Prediction("0", tuple(ScoredSpan(i, i + 1, "PER", 1.0) for i in words), boxes=boxes)


def check(monkeypatch, *found, post=MADE, gold=GOLD, agreement=1.0, scored=False):
    monkeypatch.setattr(detectors, "predict_in", lambda spec, digests, posts: [found])
    options = {"scored": scored, "pictures": True, "golds": {7: gold}}
    return consistency.checked("h_index", ["0"] * len(found), {7: post}, agreement, **options)[7]


def test_an_entity_is_found_where_its_box_is_and_none_where_it_has_none(monkeypatch):
    assert check(monkeypatch, grounded(NEAR, None)) is MADE
    moved = check(monkeypatch, grounded(FAR, None))
    assert (moved.reason, moved.detail) == ("inconsistent", "found Ann elsewhere")
    assert check(monkeypatch, grounded(None, None)).detail == "found Ann elsewhere", "in no region"
    assert check(monkeypatch, grounded(BOX, FAR)).detail == "found Bob elsewhere", "which is in no region"
    lost = check(monkeypatch, grounded(BOX, words=(0,)))
    assert lost.detail == "missed Bob as PER", "words come before boxes"


def test_boxes_of_new_entities_and_of_posts_without_pictures_are_not_compared(monkeypatch):
    new = Post("g", ["Ann", "ran"], (Entity(0, 1, "PER", boxes=(BOX,)),), PICTURE)
    assert check(monkeypatch, grounded(BOX, FAR), gold=new) is MADE, "the gold post has no Bob"
    for blind in ({"gold": Post("g", GOLD.tokens, GOLD.entities)}, {"post": Post("a", WORDS, MADE.entities)}):
        assert not hasattr(check(monkeypatch, grounded(FAR, FAR), **blind), "reason")


def test_the_share_of_backbones_counts_those_that_look_elsewhere(monkeypatch):
    found = grounded(BOX, None), grounded(FAR, None), grounded(NEAR, None), grounded(BOX, words=(0,))
    assert check(monkeypatch, *found, agreement=0.75).detail == "found Ann elsewhere"
    kept = check(monkeypatch, *found, agreement=0.5, scored=True)
    assert kept.details["agreement"] == 0.5


@pytest.mark.parametrize("detector", ["crf", "mmt5", "h_index:use_images=false", None])
def test_boxes_need_a_detector_that_grounds(detector):
    with pytest.raises(UsageError, match="check_boxes needs a detector that grounds"):
        GMDA(detector=detector, check_boxes=True)
    with pytest.raises(UsageError, match="check_boxes needs"):
        GMDA(detector="h_index", check_boxes=True, text=False)
    assert "check_boxes" not in GMDA(detector="h_index").params, "recipes made before keep their fingerprint"


def test_h_index_learns_boxes_and_is_shown_the_new_picture(sets, monkeypatch):
    pytest.importorskip("torch")
    small = "h_index:encoder=tiny,tower=tiny,freeze_vision=false,image_size=64,steps=2,most_regions=2,device=cpu"
    gmner = sets["gmner"]
    asked = []

    def predict(spec, digests, posts):
        asked.extend(posts)
        answers = detectors.unpack("h_index", digests[0]).predict(posts)
        assert all(len(answer.boxes) == len(answer.spans) for answer in answers)
        return [(answer,) for answer in answers]

    monkeypatch.setattr(detectors, "predict_in", predict)
    with pytest.warns(UserWarning, match="gold boxes"):
        method = GMDA(detector=small, check_boxes=True, per_context=0).fit(gmner)
    made = method.make(gmner.with_format("arrow")[:])
    originals = {
        image["bytes"]
        for post in map(method._codec().to_post, gmner.with_format("arrow")[:].to_pylist())
        for image in post.images
    }
    shown = {image["bytes"] for post in asked for image in post.images}
    assert shown
    assert not shown & originals
    assert {reject["reason"] for reject in made.rejects} >= {"inconsistent"}, "two steps teach nothing"
    assert any("find them there in the new one" in told for told in method.cautions)
    with pytest.raises(UsageError, match="compares boxes in pictures, and train has none"):
        GMDA(detector=small, check_boxes=True).fit(sets["mner"])


def test_other_has_a_natural_name():
    post = Post("a", ["Ulysses"], (Entity(0, 1, "OTHER"),))
    assert instruction(post).endswith("Ulysses which is a miscellaneous")


def test_a_picture_without_an_original_follows_its_text_as_a_pipeline_does_by_default():
    drawn = GMDA(image_model="org/sd", fill_missing=True)
    assert "text_guidance" not in drawn.params, "recipes made before keep their fingerprint"
    assert (drawn.guidance, drawn.text_guidance) == (10.0, 7.5)
    pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    asked = {}

    def pipeline(name):
        return lambda **options: (
            asked.update({name: options["guidance_scale"]}) or SimpleNamespace(images=[Pillow.new("RGB", (64, 64))])
        )

    loaded = SimpleNamespace(text_to_image=pipeline("text"), image_to_image=pipeline("original"))
    engine = Diffusers(guidance=10.0, text_guidance=7.5)
    for original in (None, Pillow.new("RGB", (64, 64))):
        engine._draw(loaded, [Row(0, "a photo", 1, (64, 64), original)])
    assert asked == {"text": 7.5, "original": 10.0}
    asked.clear()
    Diffusers(guidance=2.0)._draw(loaded, [Row(0, "a photo", 1, (64, 64), None)])
    assert asked == {"text": 2.0}, "amia and memory_hard have one guidance"
