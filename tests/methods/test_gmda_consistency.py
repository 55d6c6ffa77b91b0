"""GMDA's filter of consistency: backbones that read pictures are shown the made ones; fine types are compared."""

import io
from types import SimpleNamespace
from typing import ClassVar

import pytest
from conftest import as_dataset, parse, picture
from PIL import Image as Pillow

from hf_mner_aug import GMDA
from hf_mner_aug.backbones import ScoredSpan, detectors
from hf_mner_aug.backbones.packed import unpack
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
