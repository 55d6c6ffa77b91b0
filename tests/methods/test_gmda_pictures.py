"""Pictures and boxes that GMDA makes belong to their text; its ablations; sets without pictures."""

from dataclasses import replace

import numpy as np
import pytest
from made_posts import details, reasons, rows, with_painter
from picture_marks import picture_source

from hf_mner_aug import GMDA
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.schema import Codec, mner_features


def test_each_text_gets_a_picture_of_its_own_from_the_original(mner, monkeypatch):
    painter = with_painter(monkeypatch)
    method = GMDA(detector=None, copies=2, image_model="painter", fill_missing=True).fit(mner)
    made = rows(method.map(mner))
    source = {row["id"]: row["image"] for row in rows(mner)}
    bytes_ = [row["image"]["bytes"] for row in made]
    assert len(set(bytes_)) == len(bytes_)
    for row, (sentence, _, original) in zip(made, painter.calls, strict=True):
        assert sentence == " ".join(row["tokens"])
        before = source[row["source_id"]]
        assert (before is None) == (original is None)
        if before is not None:
            assert np.array_equal(np.asarray(original), np.asarray(open_rgb(before)))
        mark = "trainedAlgorithmicMedia" if before is None else "compositeWithTrainedAlgorithmicMedia"
        assert picture_source(row["image"]) == mark
        assert details(row)["synthetic"] is True
    painter.calls.clear()
    fewer = rows(replace(method, fill_missing=False).map(mner))
    assert len(painter.calls) == sum(source[row["source_id"]] is not None for row in fewer)
    for row, other in zip(fewer, made, strict=True):
        assert row["image"] == (other["image"] if source[row["source_id"]] else None)
        assert ("synthetic" in details(row)) == (row["image"] is not None)


def test_several_pictures_are_each_remade_with_a_draw_of_their_own(sets, monkeypatch):
    with_painter(monkeypatch)
    dataset = sets["multi_image"]
    gold = {row["id"]: row["images"] for row in rows(dataset)}
    made = rows(GMDA(detector=None).fit(dataset).map(dataset))
    assert {len(row["images"]) for row in made} == {0, 1, 2, 3}
    for row in made:
        assert len(row["images"]) == len(gold[row["source_id"]])
        assert len({image["bytes"] for image in row["images"]}) == len(row["images"])


def test_boxes_are_scaled_to_the_picture(sets, monkeypatch):
    with_painter(monkeypatch)
    dataset = sets["gmner"]
    codec = Codec(dataset.features)
    gold = {row["id"]: codec.to_post(row) for row in rows(dataset)}
    made = [(codec.to_post(row), gold[row["source_id"]]) for row in rows(GMDA(detector=None).fit(dataset).map(dataset))]
    n_boxes = 0
    for post, source in made:
        boxes = {tuple(source.tokens[e.start : e.end]): e.boxes for e in source.entities}
        if len(boxes) < len(source.entities):
            continue
        size = open_rgb(source.images[0]).size if source.images else None
        for entity in post.entities:
            before = boxes[tuple(post.tokens[entity.start : entity.end])] if size else ()
            expected = [(a * 8 / size[0], b * 24 / size[1], c * 8 / size[0], d * 24 / size[1]) for a, b, c, d in before]
            assert np.allclose(np.array(entity.boxes).reshape(-1), np.array(expected).reshape(-1))
            n_boxes += len(before)
    assert n_boxes > 10


@pytest.mark.parametrize("reason", ["black_image", "unsafe_image", "no_region"])
def test_a_refused_picture_is_a_reject(mner, monkeypatch, reason):
    with_painter(monkeypatch, refuse=reason)
    method = GMDA(detector=None, image_model="painter", fill_missing=True).fit(mner)
    found = reasons(method, mner)
    assert found[reason] > len(mner) / 2
    assert not method.make(mner.with_format("arrow")[:]).columns["id"]


def test_a_picture_that_cannot_be_read_is_a_reject(mner):
    broken = mner.map(lambda row: row, features=mner.features)
    found = rows(mner)
    for row in found[:3]:
        row["image"] = {"bytes": b"no picture", "path": None}
    broken = type(mner).from_list(found, features=mner.features)
    made = GMDA(detector=None, least_words=1).fit(broken).make(broken.with_format("arrow")[:])
    unreadable = [reject["source_id"] for reject in made.rejects if reject["reason"] == "unreadable_image"]
    assert set(unreadable) <= {"p0", "p1", "p2"}
    assert unreadable


def test_collages_are_made_of_train_pictures_over_the_original(mner):
    made = rows(GMDA(detector=None).fit(mner).map(mner))
    source = {row["id"]: row for row in rows(mner)}
    n_changed = 0
    for row in made:
        before = source[row["source_id"]]["image"]
        assert (row["image"] is None) == (before is None) == ("pictured" not in details(row))
        if before:
            assert picture_source(row["image"]) == "compositeCapture"
            assert open_rgb(row["image"]).size == open_rgb(before).size
            n_changed += row["image"]["bytes"] != before["bytes"]
            assert details(row)["pictured"]
        assert set(details(row)["made_of"]) <= set(source) - {row["source_id"]}
    assert n_changed > 8


def test_diffusers_start_from_the_original(mner, folders, monkeypatch):
    """The paper's settings reach the pipeline: its prompt, its strength, and a revision where there is one."""
    method = GMDA(detector=None, image_model=str(folders / "sd"), steps=3, fill_missing=True).fit(mner)
    engine = method._image_engine()
    assert (engine.prompt, engine.steps, engine.guidance, engine.strength) == ("A photo of {sentence}", 3, 10.0, 0.8)
    assert method.pinned() == method
    with_size = replace(engine, size=64, device="cpu")
    monkeypatch.setattr(GMDA, "_image_engine", lambda self: with_size)
    few = mner.select(range(5))
    made = rows(method.map(few))
    assert len(made) == 5
    for row in made:
        gold = next(old for old in rows(few) if old["id"] == row["source_id"])["image"]
        assert open_rgb(row["image"]).size == (open_rgb(gold).size if gold else (64, 64)) or gold
        mark = "compositeWithTrainedAlgorithmicMedia" if gold else "trainedAlgorithmicMedia"
        assert picture_source(row["image"]) == mark


pytestmark = pytest.mark.filterwarnings("ignore:gmda. train has no pictures")

# ---------------------------------------------------------------- ablations, sets without pictures


def test_text_false_keeps_the_words(mner):
    method = GMDA(text=False).fit(mner)
    assert method.content.pictures_only
    made = rows(method.map(mner))
    source = {row["id"]: row for row in rows(mner)}
    assert len(made) > len(mner) / 2
    for row in made:
        before = source[row["source_id"]]
        assert (row["tokens"], row["ner_tags"]) == (before["tokens"], before["ner_tags"])
        assert row["image"] != before["image"]


def test_image_false_keeps_the_pictures_byte_for_byte(mner):
    made = rows(GMDA(image=False, detector=None).fit(mner).map(mner))
    source = {row["id"]: row for row in rows(mner)}
    for row in made:
        assert row["image"] == source[row["source_id"]]["image"]
        assert row["tokens"] != source[row["source_id"]]["tokens"]
        assert "synthetic" not in details(row)


def test_sets_without_pictures_get_texts_only(mner, sets):
    bare = mner.remove_columns("image")
    with pytest.warns(UserWarning, match="train has no pictures: texts only"):
        method = GMDA(detector=None).fit(bare)
    assert len(rows(method.map(bare))) > len(bare) / 2
    gmner = sets["gmner"].map(lambda row: row)
    empty = type(gmner).from_list([{**row, "image": None} for row in rows(gmner)], features=gmner.features)
    made = rows(GMDA(detector=None).fit(empty).map(empty))
    assert {row["image"] for row in made} == {None}
    assert any(entity["boxes"] for row in made for entity in row["entities"])
    with pytest.raises(UsageError, match="text=False makes pictures, and train has none"):
        GMDA(text=False).fit(empty)
    with pytest.raises(UsageError, match="gmda works on pictures: expected a column image or images, found id, tokens"):
        GMDA(text=False).fit(bare)


def test_relations_keep_head_and_tail(sets):
    dataset = sets["mre"]
    codec = Codec(dataset.features)
    gold = {row["id"]: codec.to_post(row) for row in rows(dataset)}
    made = rows(GMDA(image=False, least_words=1).fit(dataset).map(dataset))
    assert made
    for row in made:
        post, source = codec.to_post(row), gold[row["source_id"]]
        assert post.relation.type == source.relation.type
        for side in ("head", "tail"):
            words = [p.tokens[slice(*getattr(p.relation, side))] for p in (post, source)]
            assert words[0] == words[1]


def test_tags_and_relations_together_are_one_clear_line(sets):
    features = mner_features(relations=("None", "/per/loc"))
    row = {
        **{name: value for name, value in rows(sets["mner"])[1].items()},
        "head": {"start": 0, "end": 1},
        "tail": {"start": 1, "end": 2},
        "relation": 0,
    }
    with pytest.raises(UsageError, match="expected tags or relations, found both"):
        GMDA().fit(type(sets["mner"]).from_list([row], features=features))


# ---------------------------------------------------------------- endpoints
