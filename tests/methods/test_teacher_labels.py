"""labels=teacher of rmda and gmda: a teacher's labels instead of the gold post's, or of those that were written."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from conftest import as_dataset, parse
from datasets import DatasetDict

from hf_mner_aug import GMDA, RMDA, augment, publish
from hf_mner_aug.backbones import ScoredSpan, teachers
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.backbones.teachers.vote import Labels
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.publishing.rows import published_splits
from hf_mner_aug.reasons import TEACHER_SCORES
from hf_mner_aug.schema import Codec, Post, mner_features

CRF = "crf:c1=0,c2=0.01"
TEACHER = {"labels": "teacher", "teacher": (CRF,), "min_confidence": 0.0, "image": False}
TRAIN = [
    "[PER Ann] visits [LOC Rome] again today",
    "we saw [PER Ann] at the old station",
    "[PER Bob] went to [LOC Paris] for work",
    "people from [LOC Rome] like the sea",
    "[PER Bob] met [PER Ann] at a cafe",
    "nobody knew what to do there",
]
FOUND = [
    "Ann and Bob went from Paris to Rome",
    "we like Rome",
    "people from Rome like the sea",
    "rome was not built in a day , we like the sea",
]


def posts_of(texts, name):
    return [Post(f"{name}{i}", *parse(text)) for i, text in enumerate(texts)]


@pytest.fixture
def gold():
    return as_dataset(posts_of(TRAIN, "g"), mner_features(["LOC", "ORG", "PER"]))


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "found.txt").write_text("".join(f"{text}\n" for text in FOUND))
    index(str(tmp_path / "found.txt"), tmp_path / "found.db")
    return str(tmp_path / "found.db")


def make(method, gold):
    """Return the made posts with their details, and the number of rejects by reason."""
    codec = Codec(method.features)
    made = method.make(gold.with_format("arrow")[:])
    rows = [dict(zip(made.columns, values, strict=True)) for values in zip(*made.columns.values(), strict=True)]
    posts = [replace(codec.to_post(row), details=json.loads(row["provenance"])["details"]) for row in rows]
    return posts, Counter(reject["reason"] for reject in made.rejects)


def spelt(post):
    return " ".join(post.tokens), [(" ".join(post.tokens[e.start : e.end]), e.type) for e in post.entities]


def test_a_teacher_labels_more_than_the_gold_posts_mentions(gold, corpus):
    fitted = RMDA(corpus=corpus, **TEACHER).fit(gold)
    assert [name for name in fitted.learned["files"] if name != "posts"] == ["teacher-0"], "no detector is asked"
    posts, rejects = make(fitted, gold)
    of_g0 = {text: entities for text, entities in map(spelt, (p for p in posts if p.id.startswith("g0+")))}
    assert of_g0["Ann and Bob went from Paris to Rome"] == [
        ("Ann", "PER"),
        ("Bob", "PER"),
        ("Paris", "LOC"),
        ("Rome", "LOC"),
    ]
    assert "rome was not built in a day , we like the sea" in of_g0 or rejects["no_entity_found"]
    assert rejects["word_count"] == 2, "the filters of length stay"
    details = posts[0].details
    assert details["teacher"] == "crf"
    assert details["agreement"] == 1.0
    assert 0.5 < details["confidence"] <= 1
    assert all(0 <= post.details[score] <= 1 for post in posts for score in TEACHER_SCORES)
    weights = replace(fitted, weight="confidence").make(gold.with_format("arrow")[:]).columns["weight"]
    assert weights == [pytest.approx(post.details["confidence"]) for post in posts]


def test_unsure_posts_and_posts_without_an_entity_are_rejected(gold, corpus):
    fitted = RMDA(corpus=corpus, **TEACHER).fit(gold)
    everything, _ = make(replace(fitted, require_entity=False), gold)
    least = sorted({post.details["confidence"] for post in everything if post.entities})
    bound = least[-1]
    sure, rejects = make(replace(fitted, min_confidence=bound), gold)
    assert rejects["unsure"] == sum(len(p.entities) > 0 and p.details["confidence"] < bound for p in everything) > 0
    assert {post.details["confidence"] for post in sure} == {bound}
    assert rejects["no_entity_found"] == sum(not post.entities for post in everything)


def test_the_reason_is_that_of_the_post_found_first(gold, corpus):
    fitted = RMDA(corpus=corpus, copies=1, labels="teacher", teacher=(CRF,), min_confidence=1, image=False).fit(gold)
    _, rejects = make(fitted, gold)
    every = make(replace(fitted, copies=10), gold)[1]
    assert every["word_count"] == 2, "two posts find one that is too short as well"
    assert rejects == {"no_entity": 1, "no_entity_found": 1, "unsure": 4}


def test_the_teacher_labels_no_more_posts_than_copies_are_missing(gold, corpus, monkeypatch):
    fitted = RMDA(corpus=corpus, copies=1, **TEACHER).fit(gold)
    labelled = []
    label = teachers.Teacher.label

    def counted(self, files, texts, **options):
        labelled.append(len(texts))
        return label(self, files, texts, **options)

    monkeypatch.setattr(teachers.Teacher, "label", counted)
    first, _ = make(fitted, gold)
    assert labelled[0] == 5, "one for each post with entities"
    every, _ = make(replace(fitted, copies=10), gold)
    assert {post.id: spelt(post) for post in first}.items() <= {post.id: spelt(post) for post in every}.items()


def test_words_outside_the_teachers_entities_are_masked(gold, tmp_path):
    (tmp_path / "a.txt").write_text("people from Rome like the sea said @mary\n")
    index(str(tmp_path / "a.txt"), tmp_path / "a.db")
    posts, _ = make(RMDA(corpus=str(tmp_path / "a.db"), mask=("handles",), **TEACHER).fit(gold), gold)
    assert spelt(posts[0]) == ("people from Rome like the sea said @user", [("Rome", "LOC")])


def test_a_text_of_train_must_have_trains_labels(gold, corpus):
    gold = as_dataset(posts_of([*TRAIN, "people from [PER Rome] like the sea"], "g"), gold.features)
    fitted = RMDA(corpus=corpus, **TEACHER).fit(gold)
    posts, rejects = make(fitted, gold)
    assert not [post for post in posts if " ".join(post.tokens) == "people from Rome like the sea"]
    assert rejects["contradicts_train"] > 0


def test_texts_of_validation_and_test_are_dropped_after_labelling(gold, corpus, tmp_path):
    splits = DatasetDict(
        train=gold, test=as_dataset(posts_of(["Ann and Bob went from Paris to Rome"], "t"), gold.features)
    )
    run = augment(splits, RMDA(corpus=corpus, require_entity=False, **TEACHER), out=tmp_path / "out", progress=False)
    done = publish(run, tmp_path / "out")
    assert done.funnel["dropped"]["leak_text"] > 0
    assert FOUND[0] not in {" ".join(row["tokens"]) for row in published_splits(run, tmp_path)["train"]}
    told = (tmp_path / "out" / "README.md").read_text()
    assert "Their labels are those of a teacher (crf) where its confidence is 0 or more" in told


def test_a_written_text_gets_the_teachers_labels(gold):
    fitted = GMDA(**TEACHER, least_words=1).fit(gold)
    assert [name for name in fitted.learned["files"] if name != "posts"] == ["teacher-0"], "no detector is asked"
    written, _ = make(GMDA(image=False, detector=None, least_words=1).fit(gold), gold)
    posts, _ = make(fitted, gold)
    assert {post.id: post.tokens for post in posts}.items() <= {post.id: post.tokens for post in written}.items()
    teacher = parse_backbone(CRF).fit(gold)
    for post in posts:
        (found,) = teacher.predict([replace(post, entities=())])
        assert post.plain_spans() == found.plain_spans()
        assert post.details["confidence"] == round(min(span.confidence for span in found.spans), 2)


@pytest.mark.parametrize("cls", [RMDA, GMDA])
@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"labels": "teacher", "text": False}, "labels new words, and text=false keeps the gold post's"),
        ({"labels": "teacher", "teacher": ("cfr",)}, "unknown backbone 'cfr': did you mean 'crf'"),
        ({"labels": "teacher", "teacher": ()}, "expected a backbone at least"),
        ({"labels": "teacher", "min_confidence": 1.5}, "min_confidence must be in"),
        ({"labels": "techer"}, "techer"),
    ],
)
def test_what_does_not_fit_is_one_line(cls, chosen, told):
    with pytest.raises(UsageError, match=told):
        cls(**chosen)


@pytest.mark.parametrize("cls", [RMDA, GMDA])
@pytest.mark.parametrize(("name", "told"), [("mre", "train has relations"), ("fmnerg", "no fine types")])
def test_relations_and_fine_types_have_no_teacher(sets, cls, name, told):
    with pytest.raises(UsageError, match=told):
        cls(labels="teacher", image=False).fit(sets[name])


@pytest.mark.parametrize("cls", [RMDA, GMDA])
def test_a_saved_teacher_is_named_by_its_content(cls, gold, tmp_path):
    parse_backbone(CRF).fit(gold).save(tmp_path / "crf")
    method = cls(labels="teacher", teacher=(str(tmp_path / "crf"),), image=False)
    (digest,) = method.pinned().teacher
    assert digest.startswith("sha256:")
    fitted = method.fit(gold)
    assert fitted.teacher == (digest,), "rows tell no path of this machine"
    assert fitted.learned["files"]["teacher-0"] == digest.removeprefix("sha256:")
    assert "whether it has seen posts of validation or test is not known here" in " ".join(fitted.cautions)


def test_a_listed_name_that_the_teacher_leaves_unlabelled_is_not_noted():
    """The card counts the notes as mentions."""
    post = Post("a", *parse("[PER Ann] met [PER Bob]"), details={"listed": ["Ann", "Bob"], "made_of": ["b"]})
    method = GMDA(**TEACHER, require_entity=False)
    for spans, listed in [((0,), ["Ann"]), ((0, 2), ["Ann", "Bob"]), ((), None)]:
        labels = Labels(tuple(ScoredSpan(i, i + 1, "PER", 0.9) for i in spans), (1.0,) * len(spans))
        made = method._with_labels(post, labels)
        assert made.details.get("listed") == listed
        assert made.details["made_of"] == ["b"]
