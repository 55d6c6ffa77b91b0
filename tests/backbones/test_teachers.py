"""Teachers: who votes, how sure they are, which posts they label, and which backbones can be one."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import text_posts

from hf_mner_aug.backbones import Prediction, ScoredSpan
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.backbones.teachers import Labels, Opinion, Teacher, labelling, named_teacher, taught
from hf_mner_aug.backbones.teachers.vote import confidence, vote
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.schema import Entity, Post, Relation, Span, bio_names, bio_to_spans, spans_to_bio
from hf_mner_aug.storage import kept_features
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


def sure(tags, *words):
    """Return an opinion with the probabilities of each word's tags, and the spans of the likeliest."""
    best = [tags[max(range(len(tags)), key=word.__getitem__)] for word in words]
    spans = tuple(ScoredSpan(*span, 0.0) for span in bio_to_spans(best))
    return Opinion(spans, 1.0, tuple(tags), np.array(words, np.float16))


TAGS = ("O", "B-PER", "I-PER")


def test_a_member_that_misses_a_span_has_a_probability_for_it():
    finds = sure(TAGS, [0.25, 0.75, 0], [1, 0, 0])
    misses = sure(TAGS, [0.625, 0.375, 0], [1, 0, 0])
    (span,) = vote([finds, misses], "").spans
    assert span == ScoredSpan(0, 1, "PER", (0.75 + 0.375) / 2)
    (span,) = vote([finds, opinion()], "").spans
    assert span.confidence == 0.75 / 2, "one that gives no probabilities has none"


def test_a_span_is_as_sure_as_its_edges():
    tail = sure(TAGS, [0, 1, 0], [0.125, 0, 0.875], [0.625, 0, 0.375])
    assert confidence(tail, Span(0, 2, "PER")) == 0.625, "the next word may go on"
    assert confidence(tail, Span(0, 3, "PER")) == 0.375
    assert confidence(tail, Span(0, 1, "PER")) == 0.125
    assert confidence(tail, Span(0, 1, "LOC")) == 0
    orphan = sure(TAGS, [0.75, 0.125, 0.125], [0.125, 0.125, 0.75])
    assert [span[:3] for span in orphan.spans] == [(1, 2, "PER")]
    assert confidence(orphan, Span(1, 2, "PER")) == 0.125 + 0.75 * 0.75, "an I- after another word begins a span"


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


# ---------------------------------------------------------------- many texts


class Counting:
    """Stands for a backbone: it finds the first word of each text, and counts the texts."""

    def __init__(self):
        self.labelled = []

    def predict(self, posts):
        self.labelled += [post.tokens for post in posts]
        return [Prediction(post.id, (ScoredSpan(0, 1, "PER", len(post.tokens) / 10),), (1.0,)) for post in posts]


def test_a_text_is_labelled_once(monkeypatch):
    monkeypatch.setattr(labelling, "CHUNK", 2)
    model, texts = Counting(), [["a"], ["b", "c"], ["a"], ["d"], ["a"], ["e"]]
    first = labelling.label(model, "0" * 64, texts)
    assert [opinion.spans[0].confidence for opinion in first] == [0.1, 0.2, 0.1, 0.1, 0.1, 0.1]
    assert model.labelled == [["a"], ["b", "c"], ["d"], ["e"]]
    assert labelling.label(model, "0" * 64, [*texts, ["f"]]) == [*first, first[0]]
    assert model.labelled[4:] == [["f"]]
    labelling.label(model, "1" * 64, texts)
    assert len(model.labelled) == 9, "another backbone has its own labels"


@pytest.mark.parametrize(
    "spec",
    [
        SMALL,
        "token_classifier:encoder=tiny,head=softmax,steps=3,device=cpu,max_length=32",
        "token_classifier:encoder=tiny,steps=3,device=cpu,max_length=32",
        "frozen_encoder_crf:encoder=tiny,layers=2,iterations=5,device=cpu,max_length=32",
    ],
)
@pytest.mark.filterwarnings("ignore:.*posts are longer than")
def test_marginals_are_distributions_over_the_tags_of_what_is_read(spec):
    if spec != SMALL:
        pytest.importorskip("torch", reason="the models extra is not installed")
    model = parse_backbone(spec).fit(POSTS)
    posts = [*POSTS, Post("long", ["word"] * 60), Post("empty", [])]
    for post, found, predicted in zip(posts, model.marginals(posts), model.predict(posts), strict=True):
        assert found.prediction.plain_spans() == predicted.plain_spans()
        assert found.tags == tuple(bio_names(TYPES))
        assert found.probabilities.shape == (len(post.tokens), len(found.tags))
        tags = spans_to_bio(predicted.plain_spans(), len(post.tokens))
        read = [p.sum() > 0 for p in found.probabilities]
        assert np.allclose(found.probabilities.sum(1), read, atol=1e-4)
        assert all(read) or post.id == "long"
        chosen = [p[found.tags.index(tag)] for p, tag in zip(found.probabilities, tags, strict=True)]
        assert max(map(abs, np.subtract(chosen, predicted.word_confidences)), default=0) < 1e-5 or "softmax" in spec


@pytest.mark.parametrize("spec", ["token_classifier:encoder=tiny", "maf:encoder=tiny,use_images=false"])
@pytest.mark.filterwarnings("ignore:.*posts are longer than")
def test_a_text_that_is_not_read_to_its_end_has_no_confidence(spec):
    pytest.importorskip("torch", reason="the models extra is not installed")
    model = parse_backbone(f"{spec},steps=3,device=cpu,max_length=32").fit(POSTS)
    texts = [POSTS[0].tokens, POSTS[0].tokens * 40]
    whole, cut = (vote([one], "") for one in labelling.label(model, "0" * 64, texts))
    assert whole.outside[0] > 0
    assert [span.confidence for span in cut.spans] == [0.0] * len(cut.spans)
    assert cut.spans or "maf" not in spec
    assert cut.outside[0] == 0


def test_labels_from_the_cache_are_the_same():
    model = parse_backbone(SMALL).fit(POSTS)
    first = labelling.label(model, "0" * 64, TEXTS)
    again = labelling.label(Counting(), "0" * 64, TEXTS)
    for one, other in zip(first, again, strict=True):
        assert one[:3] == other[:3]
        assert one.probabilities.tobytes() == other.probabilities.tobytes()
        assert one.probabilities.shape == (len(one.probabilities), 2 * len(TYPES) + 1)


def test_a_damaged_cache_is_labelled_again():
    labelling.label(Counting(), "0" * 64, [["a"]])
    path = kept_features.path_of("0" * 64, labelling.KEPT)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE features SET value = ?", (b"[[0]",))
    model = Counting()
    assert labelling.label(model, "0" * 64, [["a"]])[0].spans[0].confidence == 0.1
    assert model.labelled == [["a"]]
    path.write_bytes(b"no database, this file is")
    with pytest.warns(UserWarning, match="labels-1"):
        assert labelling.label(model, "0" * 64, [["a"]])[0].spans[0].confidence == 0.1


SLOW_LABELLING = """
import sys, time
from hf_mner_aug.backbones.teachers import labelling
from test_teachers import Counting
class Slow(Counting):
    def predict(self, posts):
        found = super().predict(posts)
        print(len(self.labelled), flush=True)
        time.sleep(0 if len(self.labelled) < 8 else 60)
        return found
labelling.CHUNK = 4
labelling.label(Slow(), "0" * 64, [[str(i)] for i in range(20)])
"""


def test_a_killed_run_goes_on():
    here = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_LABELLING],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": here},
    )
    assert [process.stdout.readline().strip() for _ in range(2)] == ["4", "8"]
    process.kill()
    process.wait()
    model, texts = Counting(), [[str(i)] for i in range(20)]
    found = labelling.label(model, "0" * 64, texts)
    assert model.labelled == texts[4:], "the first chunk was kept, the second was not labelled to its end"
    assert len(found) == 20


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


def test_a_folder_called_as_a_backbone_does_not_take_its_place(tmp_path, monkeypatch):
    parse_backbone(SMALL).fit(POSTS).save(tmp_path / "crf")
    monkeypatch.chdir(tmp_path)
    assert named_teacher("crf", "") == "crf"
    assert named_teacher("./crf", "").startswith("sha256:")


def test_a_saved_backbone_is_a_teacher_of_its_types(tmp_path):
    parse_backbone(SMALL).fit(POSTS).save(tmp_path / "crf")
    specs = tuple(named_teacher(spec, "") for spec in (str(tmp_path / "crf"), "crf"))
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


def test_a_folder_without_a_backbone_says_what_to_name(tmp_path, monkeypatch):
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    for spec, found in ((str(tmp_path / "minilm"), "a folder of something else"), ("minilm", "a folder of something")):
        with pytest.raises(
            UsageError, match=f"teacher .*minilm: .* found {found}.*frozen_encoder_crf:encoder=.*minilm$"
        ):
            Teacher.of((spec,))
    with pytest.raises(UsageError, match="found no such folder"):
        Teacher.of(("models/minilm",))
    (tmp_path / "crf").mkdir()
    assert Teacher.of(("crf",)).name == "crf"
