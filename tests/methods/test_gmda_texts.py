"""Labelled texts of GMDA read back as they were written; filters by number; boxes of the same words."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_posts import CURRY, TYPES
from places import DATA

from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.methods.gmda import carry_boxes, check_entities, delinearize, instruction, linearize
from hf_mner_aug.models.text.labelled import find_relation, tag_type, with_arguments
from hf_mner_aug.readers import read
from hf_mner_aug.schema import Codec, Entity, Post, Relation
from hf_mner_aug.transform import Reject


def unboxed(entities):
    return tuple(replace(entity, boxes=()) for entity in entities)


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
