"""Mining: folds that hold together, errors over seeds, the guard against noise, and going on after a kill."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import parse, picture

from hf_mner_aug.backbones import Prediction, ScoredSpan
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.methods.memory_hard import mining
from hf_mner_aug.methods.memory_hard.mining import agree_against_gold, hard_errors, mine, predict_folds, share_out
from hf_mner_aug.metrics.span_errors import Error
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.schema import Post


def posts_of(*texts):
    return [Post(f"p{i}", *parse(text)) for i, text in enumerate(texts)]


def said(post, *spans, sure=0.5):
    return Prediction(post, tuple(ScoredSpan(*span, sure) for span in spans), tuple([sure] * 9))


@dataclass(frozen=True)
class Scripted:
    """A backbone that says of each post what it is told to say."""

    reads_images: ClassVar[bool] = False

    answer: object
    seed: int = 0

    def fit(self, train, validation=None):
        return self

    def predict(self, posts):
        return [said(post.id, *self.answer(post), sure=0.99) for post in posts]


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """Let a backbone be an answer: the name of one of these functions."""
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    answers = {
        "right": lambda post: [(e.start, e.end, e.type) for e in post.entities],
        "silent": lambda post: [],
        "persons": lambda post: [(e.start, e.end, "PER") for e in post.entities],
    }
    monkeypatch.setattr(mining, "parse_backbone", lambda spec: Scripted(answers[spec]))


# ---------------------------------------------------------------- folds


def test_posts_of_one_text_or_picture_share_a_fold():
    shared = picture(0, "PNG")
    posts = [
        Post("a", ["we", "love", "Rome"]),
        Post("b", ["RT", "@joe", ":", "We", "love", "Rome", "http://t.co/x"]),
        Post("c", ["rain"], images=(shared,)),
        Post("d", ["snow"], images=(picture(1, "PNG"), shared)),
        Post("e", ["Snow", "!"]),
        *(Post(f"p{i}", [f"word{i}"]) for i in range(7)),
    ]
    for seed in range(5):
        fold = dict(zip((post.id for post in posts), share_out(posts, 4, seed), strict=True))
        assert fold["a"] == fold["b"]
        assert fold["c"] == fold["d"] == fold["e"]
        sizes = [list(fold.values()).count(i) for i in range(4)]
        assert sorted(sizes) == [3, 3, 3, 3]
        backwards = share_out(posts[::-1], 4, seed)
        assert dict(zip((post.id for post in posts[::-1]), backwards, strict=True)) == fold
    assert share_out(posts, 4, 0) != share_out(posts, 4, 1)


def test_more_folds_than_different_posts():
    posts = posts_of("we love [LOC Rome]", "We love [LOC Rome] !", "rain")
    with pytest.raises(UsageError, match="folds=3 for 3 posts of 2 different texts and pictures: expected 2 to 2"):
        mine(posts, folds=3)


def test_all_entities_in_one_fold():
    posts = posts_of("we love [LOC Rome]", "rain", "snow", "wind")
    with pytest.raises(UsageError, match="all posts with an entity are in one of the 2 folds: take more folds"):
        mine(posts, folds=2, seeds=1)


def test_unknown_backbone():
    with pytest.raises(UnknownName, match="did you mean 'crf'"):
        mine(posts_of("we love [LOC Rome]", "they love [LOC Oslo]"), target="cfr", folds=2)


def test_a_type_that_only_one_fold_has_is_told():
    posts = posts_of("we love [LOC Rome]", "they love [LOC Oslo]", "I love [ORG Apple]", "you love [LOC Turin]")
    with pytest.warns(UserWarning, match="all posts with ORG are in one fold"):
        found = mine(posts, target="crf:iterations=5", folds=2, seeds=1)
    assert any("ORG" in note for note in found.notes)
    assert "p2:2-3" in {failure.id for failure in found.failures}, "nothing could be learnt of ORG"


# ---------------------------------------------------------------- errors over seeds


def test_an_error_counts_when_half_of_the_seeds_make_it():
    posts = posts_of("[PER Jordan] met [LOC Rome]", "nothing here")
    runs = [
        [said("p0", (0, 1, "LOC"), (2, 3, "LOC"), sure=0.6), said("p1")],
        [said("p0", (0, 1, "LOC"), sure=0.8), said("p1", (0, 1, "ORG"))],
        [said("p0", (0, 1, "ORG"), (2, 3, "LOC"), sure=0.9), said("p1")],
        [said("p0", (0, 1, "PER"), sure=0.4), said("p1")],
    ]
    assert hard_errors(runs, posts) == [
        (Error(0, "type", (0, 1, "PER"), (0, 1, "LOC")), 0.75, 0.7),  # of the three, LOC twice
        (Error(0, "missed", (2, 3, "LOC"), None), 0.5, 0.6),
    ]


def test_gold_is_suspected_only_where_all_are_sure_of_the_same():
    missed, typed = Error(0, "missed", (0, 1, "PER"), None), Error(0, "type", (0, 1, "PER"), (0, 1, "LOC"))
    silent, place = [said("p0", sure=0.95)], [said("p0", (0, 1, "LOC"), sure=0.95)]
    unsure = [said("p0", (0, 1, "LOC"), sure=0.7)]
    longer = [said("p0", (0, 2, "LOC"), sure=0.95)]
    assert agree_against_gold(missed, [silent, silent], 0.9)
    assert agree_against_gold(typed, [place, place], 0.9)
    assert not agree_against_gold(typed, [place, unsure], 0.9)
    assert not agree_against_gold(typed, [place, longer], 0.9)
    assert not agree_against_gold(typed, [place, silent], 0.9)
    assert not agree_against_gold(missed, [silent, place], 0.9)


TEXTS = ("we love [LOC Rome]", "they love [LOC Oslo]", "I met [PER Adele]", "you met [PER Cher]", "rain and snow")


def test_a_backbone_without_errors(scripted):
    with pytest.warns(UserWarning, match="right makes no error on held-out posts: nothing is hard"):
        found = mine(posts_of(*TEXTS), target="right", folds=3)
    assert (found.failures, found.suspects) == ((), ())


def test_a_backbone_that_errs_everywhere_and_whose_errors_are_its_own(scripted):
    found = mine(posts_of(*TEXTS), target="silent", references=("right", "persons"), folds=3)
    assert [(f.id, f.kind, f.confusion, f.share) for f in found.failures] == [
        ("p0:2-3", "missed", ("LOC", "O"), 1.0),
        ("p1:2-3", "missed", ("LOC", "O"), 1.0),
        ("p2:2-3", "missed", ("PER", "O"), 1.0),
        ("p3:2-3", "missed", ("PER", "O"), 1.0),
    ]
    assert found.specific == {"right_somewhere": 1.0, "wrong_nowhere_else": 0.5}
    assert Failure.from_dict(found.failures[0].to_dict()) == found.failures[0]
    assert found.failures[0].text == "Rome"


@pytest.mark.filterwarnings("ignore:mining")
def test_label_errors_are_set_apart(scripted):
    """All are sure against gold: suspected, but a missed entity only where train has all its words twice unlabelled."""
    texts = ("we met [LOC Adele]", "we hit [LOC The] road", "The sun and the rain", "off to [LOC Oslo]", "[PER Cher]")
    posts = posts_of(*texts, "in [LOC the sun]")
    found = mine(posts, target="persons", folds=3)
    assert [f.id for f in found.suspects] == ["p0:2-3", "p1:2-3", "p3:2-3", "p5:1-3"]
    found = mine(posts, target="silent", folds=3)
    assert [f.text for f in found.suspects] == ["The"]
    assert [f.text for f in found.failures] == ["Adele", "Oslo", "Cher", "the sun"]
    found = mine(posts, target="silent", references=("right",), folds=3)
    assert found.suspects == ()


# ---------------------------------------------------------------- going on after a kill

NAMES = ("Rome", "Oslo", "Turin", "Bergen", "Adele", "Cher", "Prince", "Apple", "Google", "Ford")
FRAMES = ("we love {}", "we love {} too", "my {} job", "all about {} today", "{} is up")
MINE = """
import json, sys
from hf_mner_aug.methods.memory_hard.mining import mine
from hf_mner_aug.schema import Entity, Post
posts = [Post(name, words, tuple(Entity(*e) for e in spans)) for name, words, spans in json.load(open(sys.argv[1]))]
found = mine(posts, target="crf:iterations=60", folds=4, seeds=2)
print(hash(tuple(failure.id for failure in found.failures)), len(found.failures))
"""


def many_posts():
    """Fifty posts in which neither name nor frame tells the type."""
    kinds = ("LOC", "PER", "ORG")
    places = [(i, j) for i in range(len(FRAMES)) for j in range(len(NAMES))]
    return posts_of(*(FRAMES[i].format(f"[{kinds[(i * j + i + j) % 3]} {NAMES[j]}]") for i, j in places))


def test_mining_goes_on_fold_by_fold_after_a_kill(tmp_path):
    told = [[p.id, p.tokens, [(e.start, e.end, e.type) for e in p.entities]] for p in many_posts()]
    (tmp_path / "posts.json").write_text(json.dumps(told))

    def start(cache):
        environment = {**os.environ, "HF_MNER_AUG_CACHE": str(tmp_path / cache), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-c", MINE, tmp_path / "posts.json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    killed = start("cache")
    until = time.monotonic() + 60
    while len(files := list((tmp_path / "cache" / "mining").glob("*.json"))) < 2 and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    files = list((tmp_path / "cache" / "mining").glob("*.json"))
    assert 2 <= len(files) < 8
    finished = {path: path.stat().st_mtime_ns for path in files}
    again = start("cache")
    whole = start("other")
    told = again.communicate()[0]
    assert whole.communicate()[0] == told
    assert int(told.split()[1]) > 5
    assert len(list((tmp_path / "cache" / "mining").glob("*.json"))) == 8
    assert {path: path.stat().st_mtime_ns for path in files} == finished, "what was finished was not made again"


@dataclass(frozen=True)
class Telling:
    """A backbone that says as a type all that it was given: its name, its seed, what it learnt from."""

    reads_images: ClassVar[bool] = True

    spec: str
    seed: int = 0
    learnt: str = ""

    def fit(self, train, validation=None):
        told = [(post.tokens, post.entities, len(post.images)) for post in train]
        return replace(self, learnt=hashlib.sha256(repr(told).encode()).hexdigest())

    def predict(self, posts):
        return [said(p.id, (0, 1, f"{self.spec} {self.seed} {self.learnt} {p.tokens} {len(p.images)}")) for p in posts]


def test_what_is_kept_of_a_fold_is_for_all_that_it_hangs_on(tmp_path, monkeypatch):
    """Another model, seed, text, gold, picture, id or fold is never answered from the file of this one."""
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    monkeypatch.setattr(mining, "parse_backbone", Telling)
    posts = posts_of("we love [LOC Rome]", "they love [LOC Oslo]", "I met [PER Cher]", "rain")
    asked = (posts, "a", [0, 1, 0, 1], 0)
    variants = [
        (posts, "b", [0, 1, 0, 1], 0),
        (posts, "a", [0, 1, 0, 1], 1),
        (posts, "a", [0, 1, 1, 0], 0),
        ([*posts[:3], replace(posts[3], tokens=["snow"])], *asked[1:]),
        ([replace(posts[0], entities=()), *posts[1:]], *asked[1:]),
        ([*posts[:3], replace(posts[3], images=(picture(0, "PNG"),))], *asked[1:]),
        ([*posts[:3], replace(posts[3], id="other")], *asked[1:]),
    ]

    def predicted(posts, spec, fold_of, seed):
        (found,) = predict_folds(posts, {(spec, seed): fold_of})
        return found

    first = predicted(*asked)
    kept = len(list(tmp_path.rglob("*.json")))
    assert kept == 2
    for variant in variants:
        found = predicted(*variant)
        assert found != first
        assert [prediction.id for prediction in found] == [post.id for post in variant[0]]
        monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "empty" / str(variants.index(variant))))
        assert predicted(*variant) == found, "as without any file"
        monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    monkeypatch.setattr(Telling, "fit", None)
    assert predicted(*asked) == first, "nothing is fitted again"


def test_a_damaged_fold_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    posts = many_posts()
    fold_of = share_out(posts, 2, 0)
    asked = {("crf:iterations=10", 0): fold_of}
    expected = predict_folds(posts, asked)
    path = next(Path(tmp_path, "mining").glob("*.json"))
    path.write_bytes(path.read_bytes()[:-9])
    assert predict_folds(posts, asked) == expected
