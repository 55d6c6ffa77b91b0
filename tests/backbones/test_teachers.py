"""Teachers: who votes, how sure they are, which posts they label, and which backbones can be one."""

from dataclasses import replace

import pytest
import text_posts

from hf_mner_aug.backbones import ScoredSpan
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.backbones.teachers import Labels, Opinion, Teacher, pinned_specs, taught
from hf_mner_aug.backbones.teachers.vote import vote
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.schema import Entity, Post, Relation
from hf_mner_aug.transform import Reject

POSTS = text_posts.POSTS
TYPES = sorted({entity.type for post in POSTS for entity in post.entities})
TEXTS = [post.tokens for post in POSTS]
SMALL = "crf:c1=0,c2=0.01"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))


# ---------------------------------------------------------------- the vote


def opinion(*spans, outside=1.0):
    return Opinion(tuple(ScoredSpan(*span) for span in spans), outside)


def test_a_span_counts_if_half_of_the_members_find_it():
    paris, rome = (0, 1, "LOC", 0.9), (3, 4, "LOC", 0.8)
    labels = vote([opinion(paris), opinion(paris, rome), opinion(paris), opinion(rome)], "four")
    assert labels.spans == (
        ScoredSpan(0, 1, "LOC", pytest.approx(2.7 / 4)),
        ScoredSpan(3, 4, "LOC", pytest.approx(0.4)),
    )
    assert labels.agreement == (0.75, 0.5)
    assert labels.teacher == "four"
    assert not vote([opinion(paris), opinion(), opinion()], "three").spans


def test_of_spans_that_overlap_the_most_found_counts_then_the_surest():
    long, short, other = (0, 2, "PER", 0.6), (0, 1, "PER", 0.9), (1, 2, "ORG", 0.7)
    assert vote([opinion(long), opinion(short), opinion(long)], "").spans[0][:3] == (0, 2, "PER")
    assert [span[:3] for span in vote([opinion(long), opinion(short)], "").spans] == [(0, 1, "PER")]
    assert [span[:3] for span in vote([opinion(short, other), opinion(long)], "").spans] == [
        (0, 1, "PER"),
        (1, 2, "ORG"),
    ]


def test_a_text_without_an_entity_has_the_confidence_of_its_words():
    labels = vote([opinion(outside=0.9), opinion((0, 1, "PER", 0.6), outside=0.4), opinion(outside=0.8)], "")
    assert labels.spans == ()
    assert labels.outside == (pytest.approx(0.7), pytest.approx(2 / 3))


# ---------------------------------------------------------------- the post


def labelled(*spans, agreement=None, outside=(1.0, 1.0)):
    return Labels(tuple(ScoredSpan(*s) for s in spans), agreement or (1.0,) * len(spans), outside, "crf")


POST = Post("p", ["Ann", "saw", "Rome"], (Entity(0, 1, "ORG"),), details={"url": "u"})


def test_a_post_gets_the_teachers_entities_and_the_least_of_their_confidences():
    made = taught(
        POST, labelled((0, 1, "PER", 0.9), (2, 3, "LOC", 0.712), agreement=(2 / 3, 1.0)), least=0.5, require_entity=True
    )
    assert made.entities == (Entity(0, 1, "PER"), Entity(2, 3, "LOC"))
    assert made.details == {"url": "u", "teacher": "crf", "confidence": 0.71, "agreement": 0.67}
    assert made.tokens == POST.tokens


def test_a_post_is_rejected_where_an_entity_is_unsure_or_there_is_none():
    unsure = labelled((0, 1, "PER", 0.9), (2, 3, "LOC", 0.49))
    assert taught(POST, unsure, least=0.5, require_entity=True) == Reject("unsure", "Rome as LOC: 0.49")
    assert taught(POST, unsure, least=0.49, require_entity=True).details["confidence"] == 0.49
    none = labelled(outside=(0.8, 0.5))
    assert taught(POST, none, least=0.5, require_entity=True) == Reject("no_entity_found")
    assert taught(POST, none, least=0.9, require_entity=False) == Reject("unsure", "no entity: 0.80")
    made = taught(POST, none, least=0.5, require_entity=False)
    assert made.entities == ()
    assert (made.details["confidence"], made.details["agreement"]) == (0.8, 0.5)


# ---------------------------------------------------------------- the members


def test_a_teacher_labels_what_it_has_learnt():
    teacher = Teacher.of((SMALL,))
    files = teacher.fit(POSTS, [], 0)
    assert list(files) == ["teacher-0"]
    found = teacher.label(files, [*TEXTS, []], types=TYPES)
    assert [[span[:3] for span in labels.spans] for labels in found[:-1]] == [post.plain_spans() for post in POSTS]
    assert all(0.5 < span.confidence <= 1 for labels in found for span in labels.spans)
    assert found[-1] == Labels((), (), (1.0, 1.0), "crf")


def test_the_members_of_a_spec_that_draws_nothing_learn_from_bags():
    teacher = Teacher.of((SMALL, "crf"), members=3)
    files = teacher.fit(POSTS, [], 0)
    assert teacher.name == "6 crf"
    assert len(files) == len(set(files.values())) == 6
    assert files == teacher.fit(POSTS, [], 0)
    assert files["teacher-0"] == Teacher.of((SMALL,)).fit(POSTS, [], 7)["teacher-0"], "the first learns from all posts"
    assert files["teacher-1"] != teacher.fit(POSTS, [], 7)["teacher-1"]


def test_a_saved_backbone_is_a_teacher_of_its_types(tmp_path):
    parse_backbone(SMALL).fit(POSTS).save(tmp_path / "crf")
    specs = pinned_specs((str(tmp_path / "crf"), "crf"))
    assert specs[0].startswith("sha256:")
    assert specs[1] == "crf"
    for name in (str(tmp_path / "crf"), specs[0]):
        teacher = Teacher.of((name,), members=3)
        assert len(teacher.members) == 1
        files = teacher.fit(POSTS, [], 0)
        assert files == {"teacher-0": specs[0].removeprefix("sha256:")}
        assert teacher.label(files, TEXTS[:1], types=TYPES)[0].spans[0][:3] == POSTS[0].plain_spans()[0]
    other = [replace(POSTS[0], entities=[replace(POSTS[0].entities[0], type="FOOD")])]
    with pytest.raises(UsageError, match=r"fitted on other types: it knows .*, not FOOD: fit one on this set"):
        teacher.fit(other, [], 0)
    with pytest.raises(UsageError, match="fitted on other types: the set knows FOOD, not "):
        teacher.label(files, TEXTS, types=["FOOD"])


@pytest.mark.parametrize(
    ("specs", "told"),
    [
        ((), "expected a backbone at least"),
        (("cfr",), "did you mean 'crf'"),
        (("crf:c3=1",), "c3"),
        (("crf:c1=-1",), "c1 must be at least 0"),
        (("crf:boundary=true",), "leave out boundary=true"),
        (("relation",), "take a backbone for entities"),
        (("hvpnet:task=relations",), "take a backbone for entities"),
        (("umt",), "pass use_images=false"),
        (("sha256:12",), "12"),
    ],
)
def test_what_cannot_be_a_teacher_is_one_line(specs, told):
    with pytest.raises(UsageError, match=told) as raised:
        Teacher.of(specs).fit(POSTS, [], 0)
    assert "\n" not in str(raised.value)


def test_relations_have_no_teacher():
    with pytest.raises(UsageError, match="labels=teacher: a teacher labels entities, and train has relations"):
        Teacher.of(("crf",)).fit([Post("a", ["x", "y"], relation=Relation((0, 1), (1, 2), "of"))], [], 0)
