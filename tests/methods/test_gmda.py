"""GMDA: texts that read back as they were written, filters by number, pictures and boxes that belong to their text."""

import io
import json
import re
import sys
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from conftest import Terminal, as_dataset, draw_posts, parse
from datasets import load_dataset
from endpoint_server import EndpointServer
from hypothesis import given
from hypothesis import strategies as st
from pattern_server import block
from picture_marks import picture_source
from PIL import Image
from places import DATA

from hf_mner_aug import GMDA, augment, cli, publish, verify
from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.draw import Draw, draw
from hf_mner_aug.exceptions import EndpointError, UnknownName, UsageError
from hf_mner_aug.methods.gmda import _request, carry_boxes, check_entities, delinearize, instruction, linearize
from hf_mner_aug.models.device import count_limit, limits_met
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.models.text.endpoint import asked_entities
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.labelled import find_relation, tag_type, with_arguments
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.readers import read
from hf_mner_aug.schema import Codec, Entity, Post, Relation, mner_features
from hf_mner_aug.storage.pinned_files import pinned_file
from hf_mner_aug.transform import Reject

pytestmark = pytest.mark.filterwarnings("ignore:gmda. train has no pictures")
TYPES = ("PER", "LOC", "ORG", "MISC")
CURRY = Post("p", ["Stephen", "Curry", "Makes", "NBA", "History"], (Entity(0, 2, "PER"), Entity(3, 4, "ORG")))


def rows(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


def unboxed(entities):
    return tuple(replace(entity, boxes=()) for entity in entities)


def details(row):
    return json.loads(row["provenance"])["details"]


# ---------------------------------------------------------------- labelled texts


def test_the_papers_example():
    assert linearize(CURRY) == "B-PER Stephen I-PER Curry Makes B-ORG NBA History"
    assert delinearize(linearize(CURRY), TYPES) == (list(CURRY.tokens), CURRY.entities)
    assert instruction(CURRY) == (
        "Generate a text segment for a tweet based on the image, incorporating the following entities: "
        "Stephen Curry which is a person, NBA which is an organization"
    )


def test_instructions_of_other_posts():
    assert instruction(Post("p", ["just", "rain"])).endswith("based on the image, without any named entity.")
    fine = Post("p", ["@NBA", "x"], (Entity(0, 1, "ORG", "sports_league"), Entity(1, 2, "MISC")))
    asked = "@NBA which is an organization (sports league), x which is a miscellaneous"
    assert instruction(fine).endswith(asked)


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("", "no_words", ""),
        (" \n ", "no_words", ""),
        ("B-PER", "tag_at_end", "B-PER"),
        ("so B-PER Ann I-PER", "tag_at_end", "I-PER"),
        ("B-PER B-LOC Rome", "empty_entity", "B-PER B-LOC"),
        ("B-PER I-PER Ann", "empty_entity", "B-PER I-PER"),
        ("so I-PER Ann", "i_without_b", "I-PER"),
        ("B-PER Ann and I-PER Lee", "i_without_b", "I-PER"),
        ("B-PER Ann I-LOC Rome", "i_without_b", "I-LOC"),
        ("B-DATE today", "unknown_tag", "B-DATE"),
        ("flew a B-52 home", "unknown_tag", "B-52"),
        ("so \\o/ happy", "bad_escape", "\\o/"),
        ("so \\\\ happy \\x", "bad_escape", "\\\\"),
    ],
)
def test_malformed_texts_are_rejected_with_their_reason(text, reason, detail):
    assert delinearize(text, TYPES) == Reject(reason, detail)


def test_words_keep_their_spelling():
    tokens = ["@UCLAFootball", "beat", "http://t.co/a_b", "B-52", "\\o/", "O", "\u00a0", "\ufe0f", "B-", "¯\\_(ツ)_/¯"]
    post = Post("p", [*tokens, "a b", ""], (Entity(3, 5, "MISC"), Entity(5, 6, "ORG")))
    text = linearize(post)
    assert text == (
        "@UCLAFootball beat http://t.co/a_b B-MISC \\B\\-52 I-MISC \\\\\\o/ B-ORG O \u00a0 \ufe0f B- ¯\\_(ツ)_/¯ "
        "\\a\\_b \\"
    )
    assert delinearize(text, TYPES) == ([*tokens, "a b", ""], post.entities)


NASTY = st.sampled_from(
    ["B-PER", "I-PER", "B-LOC", "I-", "B-", "\\B-PER", "\\", "\\\\", "a b", " ", "", "\\_", "\n", "-"]
)
WORDS = NASTY | st.text(alphabet="BI-PERLOC\\ _/\t@#\u00a0é", max_size=8) | st.text(max_size=5)
NAMES = st.sampled_from(["PER", "LOC", "B-PER", "a/b", "x y", "/per/loc", "\\"])


@st.composite
def posts(draw):
    tokens = draw(st.lists(WORDS, min_size=1, max_size=8))
    entities, end = [], 0
    for _ in range(draw(st.integers(0, 3))):
        if end >= len(tokens):
            break
        start = draw(st.integers(end, len(tokens) - 1))
        end = draw(st.integers(start + 1, len(tokens)))
        entities.append(Entity(start, end, draw(NAMES), draw(st.none() | NAMES)))
    return Post("p", tokens, tuple(entities))


@given(posts())
def test_any_post_reads_back_as_it_was_written(post):
    types = {tag_type(entity) for entity in post.entities}
    assert delinearize(linearize(post), types) == (list(post.tokens), post.entities)


@given(st.lists(WORDS | st.sampled_from(["B-PER", "I-PER"]), max_size=8))
def test_what_reads_is_written_in_one_way_only(words):
    """No text is accepted that another text would be written as: nothing is read into rubbish."""
    text = " ".join(words)
    found = delinearize(text, ("PER",))
    if not isinstance(found, Reject):
        again = linearize(Post("p", *found))
        assert again == " ".join(filter(None, text.replace("\t", " ").replace("\n", " ").replace("\r", " ").split(" ")))


@pytest.mark.parametrize(
    ("name", "file", "n_posts"),
    [
        ("twitter2015", "train", 4000),
        ("twitter2015", "valid", 1000),
        ("twitter2015", "test", 3257),
        ("twitter2017", "train", 3373),
        ("twitter2017", "valid", 723),
        ("twitter2017", "test", 723),
        ("twitter_gmner", "txt/train", 7000),
        ("twitter_gmner", "txt/dev", 1500),
        ("twitter_gmner", "txt/test", 1500),
        ("twitter_fmnerg", "txt_fine/train", 7000),
        ("twitter_fmnerg", "txt_fine/dev", 1500),
        ("twitter_fmnerg", "txt_fine/test", 1500),
    ],
)
def test_every_real_post_reads_back_as_it_was_written(name, file, n_posts):
    path = DATA / name / f"{file}.txt"
    if not path.exists():
        pytest.skip(f"no real data in {DATA} ($MNER_DATA)")
    reading = read("conll" if name == "twitter_gmner" else name, path)  # without its boxes
    codec = Codec(reading.features)
    found = [codec.to_post(row) for split in reading.splits for row in reading.rows(split)]
    types = {tag_type(entity) for post in found for entity in post.entities}
    wrong = [
        post.id for post in found if delinearize(linearize(post), types) != (list(post.tokens), unboxed(post.entities))
    ]
    assert (len(found), wrong) == (n_posts, [])


def test_relations_are_entities_while_they_are_texts():
    post = Post("p", ["Ann", "of", "Rome"], relation=Relation((2, 3), (0, 1), "/per/loc"))
    asked = with_arguments(post)
    assert linearize(asked) == "B-tail/\\/per\\/loc Ann of B-head/\\/per\\/loc Rome"
    _, entities = delinearize(linearize(asked), {tag_type(entity) for entity in asked.entities})
    assert find_relation(entities) == post.relation
    assert find_relation(entities[:1]) is None
    assert find_relation((entities[0], replace(entities[1], fine="other"))) is None
    assert with_arguments(Post("p", ["New", "York"], relation=Relation((0, 2), (1, 2), "in"))) is None


# ---------------------------------------------------------------- boxes and filters


def test_boxes_go_to_the_entities_of_the_same_words():
    gold = Post(
        "g",
        ["Ann", "and", "Bob", "and", "Ann"],
        (
            Entity(0, 1, "PER", boxes=((0.0, 2.0, 10.0, 20.0),)),
            Entity(2, 3, "PER"),
            Entity(4, 5, "PER", boxes=((4.0, 4.0, 8.0, 8.0),)),
        ),
    )
    made = Post("g", ["Ann", "met", "Ann", "Bob", "Lee"], tuple(Entity(i, i + 1, "PER") for i in (0, 2, 3, 4)))
    boxes = [entity.boxes for entity in carry_boxes(made, gold, (0.5, 2.0)).entities]
    assert boxes == [((0.0, 4.0, 5.0, 40.0),), ((2.0, 8.0, 4.0, 16.0),), (), ()]
    assert carry_boxes(made, gold).entities[0].boxes == gold.entities[0].boxes
    assert not any(entity.boxes for entity in carry_boxes(made, gold, None).entities)


def test_asked_entities_must_stand_in_the_text_with_their_type():
    assert check_entities(CURRY, CURRY) is None
    assert check_entities(replace(CURRY, entities=CURRY.entities[:1]), CURRY) == Reject("lost_entity", "NBA")
    other = replace(CURRY, entities=(CURRY.entities[0], Entity(3, 4, "LOC")))
    assert check_entities(other, CURRY) == Reject("lost_entity", "NBA")
    assert check_entities(CURRY, replace(CURRY, entities=CURRY.entities[:1])) is None


def test_length_and_labels_by_number():
    assert filters.check_length(["a"] * 4, 5) == Reject("word_count", "4 words")
    assert filters.check_length(["a"] * 5, 5) is None
    assert filters.check_length(["a"] * 31, 5, 30) == Reject("word_count", "31 words")
    right, missed, more = [(0, 2, "PER"), (3, 4, "ORG")], [(0, 2, "PER")], [(0, 2, "PER"), (3, 4, "ORG"), (4, 5, "LOC")]

    def check(*detected, agreement=1.0):
        return filters.check_labels(CURRY.tokens, CURRY.entities, detected, agreement)

    assert check(right) is None
    assert check(right[::-1]) is None
    assert check(missed) == Reject("inconsistent", "missed NBA as ORG")
    assert check(more) == Reject("inconsistent", "found History as LOC")
    assert check([(0, 2, "LOC"), (3, 4, "ORG")]).reason == "inconsistent"
    assert check(right, right, missed, agreement=0.6) is None
    assert check(right, right, missed, agreement=0.7).detail == "missed NBA as ORG"
    assert check(right, missed, agreement=0.5) is None
    assert filters.check_labels(["just", "rain"], (), [[]]) is None


# ---------------------------------------------------------------- the method


class Writer:
    """A text engine that says what it is told to."""

    def __init__(self, say):
        self.say, self.requests = say, []

    def generate(self, requests, draws):
        self.requests += requests
        return [self.say(request) for request in requests]


def with_writer(monkeypatch, say):
    writer = Writer(say)
    monkeypatch.setattr(GMDA, "_text_engine", lambda self: writer)
    return writer


def reasons(method, dataset):
    return Counter(reject["reason"] for reject in method.make(dataset.with_format("arrow")[:]).rejects)


@pytest.fixture
def unfiltered(mner):
    return GMDA(detector=None, image=False).fit(mner)


def test_the_embedded_writer_keeps_every_asked_entity(mner, unfiltered):
    codec = Codec(mner.features)
    gold = {row["id"]: codec.to_post(row) for row in rows(mner)}
    made = rows(unfiltered.map(mner))
    assert len(made) > len(mner) / 2
    for row in made:
        post, source = codec.to_post(row), gold[row["source_id"]]
        asked = [(source.tokens[e.start : e.end], e.type) for e in source.entities]
        assert sorted((post.tokens[e.start : e.end], e.type) for e in post.entities) == sorted(asked)
        assert row["image"] == rows(mner)[list(gold).index(source.id)]["image"]
        assert source.id not in details(row)["made_of"]
        assert set(details(row)["made_of"]) <= set(gold)


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        (lambda request: Unwritten("no_answer", "timeout"), "no_answer"),
        (lambda request: "", "no_words"),
        (lambda request: "B-PER", "tag_at_end"),
        (lambda request: "###### B-DATE", "unknown_tag"),
        (lambda request: "it rains in the north today", "lost_entity"),
        (lambda request: linearize(request.post) if len(request.post.tokens) > 4 else "B-X", "gold_text"),
    ],
)
def test_a_writer_that_says_nothing_or_rubbish(mner, unfiltered, monkeypatch, say, reason):
    with_writer(monkeypatch, say)
    found = unfiltered.make(mner.with_format("arrow")[:])
    assert reason in {reject["reason"] for reject in found.rejects}
    assert len(found.columns["id"]) + len(found.rejects) == len(mner)
    codec = Codec(mner.features)
    gold = {row["id"]: codec.to_post(row) for row in rows(mner)}
    assert not any(gold[name].entities for name in found.columns["source_id"])


def test_the_writer_is_asked_with_the_instruction_and_the_first_picture(sets, monkeypatch):
    dataset = sets["multi_image"]
    method = GMDA(detector=None, image=False).fit(dataset)
    writer = with_writer(monkeypatch, lambda request: "")
    method.make(dataset.with_format("arrow")[:])
    codec = Codec(dataset.features)
    for request, row in zip(writer.requests, rows(dataset), strict=True):
        post = codec.to_post(row)
        assert request.instruction == instruction(post)
        assert request.image == (post.images[0] if post.images else None)


def test_filters_can_be_set(mner, unfiltered, monkeypatch):
    with_writer(monkeypatch, lambda request: " ".join([linearize(request.post), "oh", "my"]))
    n = len(mner)
    assert reasons(unfiltered, mner)["word_count"] == sum(len(post.tokens) < 3 for post in draw_posts())
    assert reasons(replace(unfiltered, least_words=1), mner) == {}
    assert reasons(replace(unfiltered, least_words=40), mner) == {"word_count": n}
    long = sum(len(post.tokens) > 10 for post in draw_posts())
    assert reasons(replace(unfiltered, least_words=1, most_words=12), mner)["word_count"] == long
    with_writer(monkeypatch, lambda request: "one two three four five six")
    some = sum(bool(post.entities) for post in draw_posts())
    assert reasons(unfiltered, mner) == {"lost_entity": some}
    assert reasons(replace(unfiltered, all_entities=False), mner) == {}


def test_consistency_keeps_what_the_backbone_predicts(mner, monkeypatch):
    """What it was fitted on it predicts; a person where it knows a place it does not."""
    method = GMDA(image=False, least_words=1, detectors=2).fit(mner)
    with_writer(monkeypatch, lambda request: f"{linearize(request.post)} indeed")
    kept = method.make(mner.with_format("arrow")[:])
    assert len(kept.columns["id"]) > 15
    with_writer(monkeypatch, lambda request: f"B-PER rain {linearize(request.post)} indeed")
    assert reasons(method, mner) == {"inconsistent": len(mner)}
    rejects = method.make(mner.with_format("arrow")[:]).rejects
    assert rejects[4]["detail"] == "missed rain as PER"
    assert reasons(replace(method, detector=None), mner) == {}


def test_entities_of_forty_words_and_tokens_that_look_like_tags():
    name = " ".join(f"w{i}" for i in range(40))
    texts = [f"[PER {name}] is here", "B-PER is no [MISC B-52] tag", "so [PER Ann] is \\o/ here", "a [MISC thing] here"]
    dataset = as_dataset([Post(f"p{i}", *parse(text)) for i, text in enumerate(texts)], mner_features(images="none"))
    method = GMDA(detector=None, least_words=1, copies=3).fit(dataset)
    made = {row["source_id"]: row for row in method.map(dataset)}
    assert len(made) == len(texts)
    assert [f"w{i}" for i in range(40)] == made["p0"]["tokens"][made["p0"]["tokens"].index("w0") :][:40]
    assert "B-52" in made["p1"]["tokens"]
    assert made["p1"]["ner_tags"].count(7) == 1
    assert {"\\o/", "here"} <= {word for row in made.values() for word in row["tokens"]}


# ---------------------------------------------------------------- pictures


class Painter:
    """An image engine that paints one colour from its draw, in its own size, and notes what it got."""

    source = "trainedAlgorithmicMedia"
    restyles = False

    def __init__(self, refuse=None):
        self.refuse, self.calls = refuse, []

    def generate(self, sentences, draws, *, sizes=None, originals=None):
        self.calls += zip(sentences, draws, originals, strict=True)
        if self.refuse:
            return [Refused(self.refuse) for _ in sentences]
        return [Image.new("RGB", (8, 24), tuple(draw.integer(256) for _ in range(3))) for draw in draws]


def with_painter(monkeypatch, **options):
    painter = Painter(**options)
    monkeypatch.setattr(GMDA, "_image_engine", lambda self: painter)
    return painter


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


def wanted(request):
    """The entities that a request asks for, as one text."""
    return json.dumps(block(request)["entities"])


def wants(post):
    return json.dumps(asked_entities(post))


def test_an_endpoint_is_asked_for_the_same_entities(mner, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    texts = {wants(post): f"well well {linearize(post)} yes\n" for post in draw_posts()}
    with EndpointServer() as server:
        server.say = lambda body: texts[wanted(body)]
        method = GMDA(text_model=f"endpoint:{server.url}#writer", detector=None, image=False).fit(mner)
        made = rows(method.map(mner))
        again = rows(method.map(mner))
    assert made == again  # from the record
    assert len(made) == len(mner)
    for row in made:
        assert row["tokens"][:2] == ["well", "well"]
    data = block(server.log[0].body)
    assert data["tags"] == ["B-LOC", "I-LOC", "B-MISC", "I-MISC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    shown = data["examples"]
    assert len(shown) == 3
    assert all(not isinstance(delinearize(text, TYPES), Reject) for text in shown)
    with_picture = [isinstance(request.body["messages"][-1]["content"], list) for request in server.log]
    assert sum(with_picture) == sum(bool(post.images) for post in draw_posts())
    assert server.log[0].body["seed"] >= 0
    assert [model.id for model in method.models] == ["writer"]
    # Each row names the posts that the model was shown for it, and no other row is dropped for them.
    gold = {post.id: post for post in draw_posts()}
    asked = [(wanted(r.body), set(block(r.body)["examples"])) for r in server.log]
    for row in made:
        (name,) = details(row)
        seen = {linearize(gold[post]) for post in details(row)[name]}
        assert name == "made_of"
        assert (wants(gold[row["source_id"]]), seen) in asked
        assert row["source_id"] not in details(row)[name]


def test_an_endpoint_that_fails(mner, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    few = mner.select(range(4))
    with EndpointServer(key="right") as server:
        method = GMDA(text_model=f"endpoint:{server.url}#writer", detector=None, image=False).fit(few)
        with pytest.raises(EndpointError):
            method.map(few)
        monkeypatch.setenv("HF_MNER_AUG_API_KEY", "right")
        server.fault("status", status=400, times=2)
        server.fault("change", change=lambda body: body["choices"][0]["message"].update(content="one\ntwo"))
        found = Counter(reject["detail"].split(":")[0] for reject in method.make(few.with_format("arrow")[:]).rejects)
    assert found == {"bad_request": 2, "2 lines": 2}


def test_a_picture_that_cannot_be_sent_costs_one_text_and_a_server_that_is_down_ends_the_run(
    mner, monkeypatch, tmp_path
):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "retries=0")
    few = rows(mner.select(range(3)))
    few[1]["image"] = {"bytes": b"<html></html>", "path": None}
    few = type(mner).from_list(few, features=mner.features)
    with EndpointServer() as server:
        server.say = lambda body: "well well B-PER Ann yes yes"
        method = GMDA(text_model=f"endpoint:{server.url}#writer", detector=None, image=False, all_entities=False).fit(
            few
        )
        made = method.make(few.with_format("arrow")[:])
        assert [(reject["source_id"], reject["reason"]) for reject in made.rejects] == [
            (few["id"][1], "unreadable_image")
        ]
        assert len(server.log) == 2
        other = replace(method, seed=1, artifact=None).fit(few.select([0]))
        server.fault("status", status=500)
        with pytest.raises(EndpointError, match=r"server_error: .*; answers so far are kept, run again to go on"):
            other.make(few.select([0]).with_format("arrow")[:])


def test_the_command_line_asks_before_it_pays(mner, monkeypatch, tmp_path, capsys):
    """What a run takes is said first and told after; a budget stops it, a larger one goes on; --replay asks nobody."""
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_MNER_AUG_WEB", "")
    (tmp_path / "set").mkdir()
    mner.to_parquet(tmp_path / "set" / "train.parquet")
    texts = {wants(post): f"well well {linearize(post)} yes" for post in draw_posts()}
    printed = []

    def run(out, *more):
        monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "price_in=1000,price_out=0")
        chosen = (f"text_model=endpoint:{server.url}#org/writer", "image=false", "detector=none")
        arguments = ["augment", str(tmp_path / "set"), "--method", "gmda", "--out", str(tmp_path / out), *more]
        arguments += [part for setting in chosen for part in ("--set", setting)]
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        told = capsys.readouterr()
        printed.append(told.out)
        return end.value.code, told.err.strip().splitlines()[-1:], re.findall("content fingerprint (.*)", told.out)

    with EndpointServer() as server:
        server.say = lambda body: texts[wanted(body)]
        code, told, _ = run("out", "--yes", "--endpoint", "calls=2,max_concurrency=1")
        assert code == 2
        assert told[0].endswith("over_budget: 2 of 2 calls spent; answers so far are kept, run again to go on")
        assert len(server.log) == 2
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        assert run("out")[0] == 2, "no terminal, no yes"
        monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
        assert run("out")[0] == 1
        assert f"calls: {len(mner)}, USD: " in printed[-1]
        assert "which assumes 1,000 tokens read and 512 written per call, 5 seconds each, 4 at a time" in printed[-1]
        assert run("out", "--dry-run")[0] == 0
        assert len(server.log) == 2, "neither an estimate nor a no sends anything"
        monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
        assert run("out", "--probe")[0] == 1
        assert "the posts made for this estimate took calls " in printed[-1]
        assert not (tmp_path / "out").exists()
        code, told, made = run("out", "--yes")
        assert (code, len(made)) == (0, 1), told
        assert len(server.log) == len({request.raw for request in server.log}) == len(mner)
        note = json.loads((tmp_path / "out" / "gmda_100pct" / "augmentation.json").read_text())
        usage = note["funnel"]["usage"]
        assert usage["cached"] == len(mner), "looking at posts had asked for all of so small a set"
        assert run("again", "--yes", "--replay")[::2] == (0, made)
        assert verify(tmp_path / "out", "gmda_100pct", rerun=True, source=tmp_path / "set").ok
        assert len(server.log) == len(mner)


def test_what_a_run_paid_is_told_and_a_budget_is_its_own(mner, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "price_in=1000,price_out=1000,calls=40")
    texts = {wants(post): linearize(post) for post in draw_posts()}
    with EndpointServer() as server:
        server.say = lambda body: f"well well {texts[wanted(body)]} {'yes ' * (body['seed'] % 5)}"
        method = GMDA(text_model=f"endpoint:{server.url}#writer", detector=None, image=False, copies=2).fit(mner)
        assert method.costs.usage() == {}
        assert [method.costs.calls(post) for post in draw_posts()] == [2] * len(mner)
        nested = Post("p", ["a", "b"], relation=Relation((0, 2), (0, 1), "x"))
        assert method.costs.calls(nested) == 0
        counts = augment(mner, method, out=tmp_path / "out", progress=False).counts
        assert counts["usage"]["calls"] == len(server.log) == 40
        tokens = counts["usage"]["tokens_in"] + counts["usage"]["tokens_out"]
        assert counts["usage"]["usd"] == pytest.approx(tokens / 1000)
        # Another seed is another run: it has a budget of its own, and the answers on record are no answers to it.
        augment(mner, replace(method, seed=1, artifact=None), out=tmp_path / "other", progress=False)
        assert len(server.log) == 80
    assert GMDA().costs is None
    assert GMDA(text=False, text_model="endpoint:http://x/v1#m").costs is None


# ---------------------------------------------------------------- InstructBLIP


@pytest.mark.slow
def test_instructblip_is_fitted_on_the_split_and_asked(mner, tmp_path):
    """A model that has learnt next to nothing writes rubbish: every text is accounted for, always in the same way."""
    pytest.importorskip("peft")
    tiny = pytest.importorskip("tiny_instructblip")
    few = mner.select(range(4))
    texts = [text for post in draw_posts()[:4] for text in (instruction(post), linearize(post))]
    base = tiny.build(tmp_path / "base", texts)
    asked = GMDA(text_model=f"instructblip:{base}", epochs=1, detector=None, image=False, least_words=1)
    method = asked.fit(few, validation=mner.select(range(4, 6)))
    assert set(method.learned["files"]) == {"posts", "text_model"}
    engine = method._text_engine()
    assert (engine.model, engine.top_k, engine.top_p, engine.temperature) == (str(base), 50, 0.95, 1.0)
    made = method.make(few.with_format("arrow")[:])
    assert len(made.columns["id"]) + len(made.rejects) == len(few)
    assert made.rejects
    assert method.make(few.with_format("arrow")[:]) == made
    assert method.pinned() == method
    assert [(model.role, model.id) for model in method.models] == [("text", pinned_file(str(base), ""))]


def test_a_language_model_is_fitted_on_the_split_and_asked(mner, tmp_path):
    """It has random weights and learns for one pass: every text is accounted for, always in the same way."""
    pytest.importorskip("peft")
    tiny = pytest.importorskip("tiny_causal")
    few, base = mner.select(range(4)), tiny.build(tmp_path / "base")
    asked = GMDA(
        text_model=f"lm:{base}", epochs=1, rank=2, learning_rate=0.01, detector=None, image=False, least_words=1
    )
    assert asked.params["rank"] == 2
    assert not {"marks", "dtype"} & asked.params.keys()
    settings = asked._fit_settings()
    assert (settings.kind, settings.r, settings.learning_rate, settings.marks, settings.patience) == (
        *("lm", 2, 0.01, "plain", 1),
    )
    method = asked.fit(few, validation=mner.select(range(4, 6)))
    assert set(method.learned["files"]) == {"posts", "text_model"}
    made = method.make(few.with_format("arrow")[:])
    assert len(made.columns["id"]) + len(made.rejects) == len(few)
    assert {reject["reason"] for reject in made.rejects} <= GMDA.rejects.keys()
    assert method.make(few.with_format("arrow")[:]) == made
    assert method.pinned() == method
    assert [(model.role, model.id, model.license) for model in method.models] == [
        ("text", pinned_file(str(base), ""), "other")
    ]
    known = GMDA(text_model="lm:google/gemma-3-270m@main", detector=None, image=False)
    assert [model.license for model in known.models] == ["gemma"]
    assert GMDA(text_model="instructblip:x", image=False)._fit_settings().marks == "tokens"


# ---------------------------------------------------------------- parameters, card


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"text": False, "image": False}, "nothing is made"),
        (
            {"text_model": "gpt"},
            "text_model must be templates, instructblip:ID, lm:ID, vlm:ID, or endpoint:URL#MODEL, found 'gpt'",
        ),
        ({"text_model": "endpoint:http://x/v1"}, "needs an address and a model: endpoint:URL#MODEL"),
        ({"text_model": "endpoint:https://me:sk-1@x/v1#m"}, "base_url must be http"),
        ({"text_model": "endpoint:http://x/v1#m,shown=-1"}, "shown must be at least 0, found -1"),
        ({"text_model": "endpoint:http://x/v1#m,max_tokens=0"}, "max_tokens must be at least 1, found 0"),
        ({"text_model": "instructblip"}, "instructblip needs one"),
        ({"text_model": "lm"}, "lm needs one: lm:ID"),
        ({"text_model": "templates:x"}, "templates has no model"),
        ({"text_model": "lm:x", "tune": "qformer"}, "tune=qformer: lm has no Q-Former"),
        ({"text_model": "lm:x", "rank": -1}, "rank must be at least 0, found -1"),
        ({"text_model": "lm:x", "marks": "html"}, "unknown marks 'html': valid are"),
        ({"text_model": "lm:x", "learning_rate": 2}, r"learning_rate must be in \(0, 1\), found 2"),
        ({"marks": "tokens"}, "marks is of models that are fine-tuned, and templates is not"),
        ({"learning_rate": 0.1}, "learning_rate is of models that are fine-tuned, and templates is not"),
        ({"tune": "all"}, "unknown tune 'all': valid are lora, qformer"),
        ({"agreement": 0.0}, r"agreement must be in \(0, 1\], found 0.0"),
        ({"strength": 1.5}, r"strength must be in \(0, 1\], found 1.5"),
        ({"detectors": 0}, "detectors must be at least 1, found 0"),
        ({"least_words": -1}, "least_words must be at least 0, found -1"),
        ({"most_words": 3}, "most_words 3 is below least_words 5"),
    ],
)
def test_parameters_are_checked(chosen, message):
    with pytest.raises(UsageError, match=message):
        GMDA(**chosen)


def test_settings_of_an_endpoint_reach_its_requests(mner):
    engine = GMDA(text_model="endpoint:http://x/v1#m,max_tokens=9,shown=1", detector=None, temperature=0.5, image=False)
    engine = engine.fit(mner)._text_engine()
    asked = engine._request(_request(CURRY), engine._shown(_request(CURRY), Draw(b"x")), Draw(b"x"))
    assert (asked.max_tokens, asked.temperature) == (9, 0.5)
    assert len(block({"messages": asked.messages})["examples"]) == 1
    assert block({"messages": asked.messages})["entities"] == asked_entities(CURRY)
    with pytest.raises(UnknownName, match="unknown setting of endpoint 'show': did you mean 'shown'"):
        GMDA(text_model="endpoint:http://x/v1#m,show=1")


def test_the_card_names_models_and_what_they_are(sets):
    paper = GMDA(**GMDA.presets["paper"])
    assert {(model.role, model.id, model.license) for model in paper.models} == {
        ("text", "Salesforce/instructblip-flan-t5-xl", "mit"),
        ("images", "stable-diffusion-v1-5/stable-diffusion-v1-5", "creativeml-openrail-m"),
        ("filter", "vinai/bertweet-base", "mit"),
    }
    assert "made up" in paper.cautions[0]
    assert GMDA().models == ()
    assert [model.role for model in replace(paper, text=False).models] == ["images"]
    assert not any("Boxes" in caution for caution in GMDA().cautions)
    assert "Boxes" in GMDA(image=False, detector=None).fit(sets["gmner"]).cautions[-1]


def test_a_config_tells_its_funnel_and_can_be_checked(splits, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = augment(splits, GMDA(image=False), out=tmp_path / "out", progress=False)
        done = publish(run, tmp_path / "out")
    config = load_dataset(str(tmp_path / "out"), "gmda_100pct")
    made = [row for row in config["train"].remove_columns("image") if row["method"] == "gmda"]
    note = json.loads((tmp_path / "out" / "gmda_100pct" / "augmentation.json").read_text())
    card = (tmp_path / "out" / "README.md").read_text()
    funnel = note["funnel"]
    assert funnel["kept"] == len(made) > 5
    assert funnel["posts"] == len(made) + sum(funnel["rejected"].values()) + sum(funnel["dropped"].values())
    assert funnel["rejected"]["no_context"] > 0
    assert "no_context" in card
    assert "made up" in card
    assert verify(str(tmp_path / "out"), done.config).ok


class Short(Writer):
    """A writer that was fitted, reads half of what it learns from, and has little memory."""

    def training(self):
        counts = {
            "train_posts": 14,
            "train_texts_cut": 3,
            "train_instructions_cut": 2,
            "validation_posts": 2,
            "halved": 1,
        }
        return {
            "counts": counts | {"train_images_unreadable": 1},
            "settings": {"max_text": 160, "max_instruction": 256},
        }

    def generate(self, requests, draws):
        count_limit("instructions_cut", 2)
        count_limit("text_batches_halved")
        return super().generate(requests, draws)


def test_what_did_not_fit_stands_on_the_card(splits, tmp_path, monkeypatch):
    count_limit("instructions_cut", 40)  # of another run in this process
    writer = Short(lambda request: f"{linearize(request.post)} as we all said today")
    monkeypatch.setattr(GMDA, "_text_engine", lambda self: writer)
    monkeypatch.setattr(GMDA, "_fit_text", lambda self, *arguments: {})
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    method = GMDA(text_model=f"instructblip:{tmp_path / 'model'}", detector=None, image=False)
    run = augment(splits, method, out=tmp_path / "out", progress=False, part_size=7)
    assert len(run.parts) == 2
    publish(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "The text model was given 14 posts of train: 3 texts cut at 160 tokens, 2 instructions cut at 256 tokens, "
        "1 pictures that could not be read." in card
    )
    assert "posts of validation" not in card
    assert "batches were halved, times: 1" in card
    assert "Inputs that exceeded a limit, by kind: instructions cut 4, text batches halved 2." in card
    note = json.loads((tmp_path / "out" / "gmda_100pct" / "augmentation.json").read_text())
    assert note["funnel"]["limits"] == {"instructions_cut": 4, "text_batches_halved": 2}


def test_prompts_that_were_cut_are_counted(mner, folders):
    method = GMDA(text=False, image_model=str(folders / "sd"), steps=2).fit(mner)
    engine = method._image_engine()
    before = limits_met().get("prompts_cut", 0)
    small = replace(engine, size=64, device="cpu")
    post = next(row for row in rows(mner) if row["image"])
    small.generate(["so " * 200], [draw(0, "gmda", 1, post["id"], 0)])
    assert limits_met()["prompts_cut"] == before + 1


def test_the_card_says_of_pictures_only_where_some_were_made(mner):
    """What is said stands as a sentence."""
    assert GMDA().cautions[-1].startswith("The pictures are collages of train pictures over the original: ")
    drawn = GMDA(image_model="org/sd").cautions[-1]
    assert drawn.startswith("The pictures are what org/sd drew from the original: ")
    assert any("pictures" in caution for caution in GMDA(detector=None).fit(mner).cautions)
    bare = GMDA(detector=None).fit(mner.remove_columns("image"))
    assert not any("The pictures" in caution for caution in bare.cautions)


def test_a_context_is_published_so_often():
    def texts(*contexts):
        return [Post(str(n), ("a",), details={"contexts": names}) for n, names in enumerate(contexts)]

    asked = texts(["x"], ["x", "y"], ["y"], ["x"], [], ["y"])
    for per_context, kept in ((1, [0, 2, 4]), (2, [0, 1, 2, 4]), (0, [0, 1, 2, 3, 4, 5])):
        check = GMDA(per_context=per_context).reduce()
        assert [int(post.id) for post in asked if check(post) is None] == kept
    written = Post("z", ("a",), details={"made_of": ["x"]})  # x is in its picture
    check = GMDA().reduce()
    assert [check(post) for post in (written, asked[0], asked[3])] == [None, None, "context_used"]


# ---------------------------------------------------------------- names from outside


def listed_file(tmp_path):
    path = tmp_path / "secret-names.tsv"
    path.write_text("".join(f"{kind}\tZyx{i} Wvu{i}\n" for kind in ("PER", "LOC", "ORG", "MISC") for i in range(20)))
    return str(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_requested_entities_come_from_a_list_by_the_share(mner, tmp_path, share):
    options = {"image": False, "copies": 4, "detector": None}
    plain = GMDA(**options).fit(mner).map(mner)
    method = GMDA(**options, mentions=listed_file(tmp_path), mention_share=share).fit(mner)
    made = method.map(mner)
    assert len(made) > 30
    if not share:
        assert made["tokens"] == plain["tokens"]
    assert "secret" not in "".join([*made["provenance"], *method.cautions])
    assert any(method.mentions[7:19] in told for told in method.cautions)
    n_listed = n_entities = 0
    gold = {row["id"]: Codec(mner.features).to_post(row) for row in mner.with_format("arrow")[:].to_pylist()}
    for row in made.with_format("arrow")[:].to_pylist():
        post = Codec(made.features).to_post(row)
        mentions = [" ".join(post.tokens[e.start : e.end]) for e in post.entities]
        new = sorted(mention for mention in mentions if "zyx" in mention.casefold())
        assert sorted(json.loads(row["provenance"])["details"].get("listed", [])) == new
        assert Counter(e.type for e in post.entities) == Counter(e.type for e in gold[row["source_id"]].entities)
        n_listed, n_entities = n_listed + len(new), n_entities + len(mentions)
    assert abs(n_listed / n_entities - share) < 0.15


def test_words_of_a_made_post_with_listed_names_know_where_they_come_from(mner, tmp_path):
    method = GMDA(image=False, detector=None, mentions=listed_file(tmp_path), mention_share=0.5).fit(mner)
    posts = [Codec(mner.features).to_post(row) for row in mner.with_format("arrow")[:].to_pylist()]
    by_id = {post.id: post for post in posts}
    made = [post for post in method.rewrite(posts, [method._draw(post.id) for post in posts]) if isinstance(post, Post)]
    n_own = n_new = 0
    for post in made:
        origins = [*post.origins, *[None] * (len(post.tokens) - len(post.origins))]
        for word, origin in zip(post.tokens, origins, strict=True):
            if isinstance(origin, int):
                assert by_id[post.id].tokens[origin] == word
                n_own += 1
            elif origin is not None:
                assert by_id[origin[0]].tokens[origin[1]] == word
            n_new += origin is None and word.startswith("Zyx")
        assert not any("Zyx" in word for word, origin in zip(post.tokens, origins, strict=True) if origin is not None)
    assert n_own > 3
    assert n_new > 3


def test_detectors_are_not_asked_about_listed_names():
    tokens = ["Zyx", "met", "Adele", "in", "Rome"]
    entities = [Entity(0, 1, "PER"), Entity(2, 3, "PER"), Entity(4, 5, "LOC")]
    for spans, kept in [
        ([(2, 3, "PER"), (4, 5, "LOC")], True),
        ([(0, 2, "ORG"), (2, 3, "PER"), (4, 5, "LOC")], True),
        ([(2, 3, "PER")], False),
        ([(0, 1, "PER"), (1, 2, "PER"), (2, 3, "PER"), (4, 5, "LOC")], False),
    ]:
        of_text, found = filters.except_sure(entities, [spans], {0})
        assert (filters.check_labels(tokens, of_text, found) is None) == kept
    assert filters.except_sure(entities, [[(0, 1, "PER")]], set()) == (tuple(entities), [[(0, 1, "PER")]])


def test_names_are_for_texts(tmp_path):
    with pytest.raises(UsageError, match="mentions= is for new texts"):
        GMDA(text=False, mentions=listed_file(tmp_path))


def test_no_text_is_rejected_for_a_listed_name(mner, tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text("".join(f"{kind}\tzyx{i}\n" for kind in ("PER", "LOC", "ORG", "MISC") for i in range(20)))
    method = GMDA(image=False, copies=3, mentions=str(path), mention_share=1.0).fit(mner)
    made = method.make(mner.with_format("arrow")[:])
    told = [reject["detail"] for reject in made.rejects if reject["reason"] == "inconsistent"]
    assert not any("zyx" in detail.casefold() for detail in told)
    assert len(made.columns["id"]) > 10
