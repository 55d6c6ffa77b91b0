"""Sets of more posts than a method's backbones learn from: which are taken, what is said, that others are let go."""

import gc
import warnings
from dataclasses import replace

import pytest
from conftest import as_dataset

from hf_mner_aug import AMIA, GMDA, RMDA, MemoryHard, augment, publish
from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.backbones.detectors import sample_posts
from hf_mner_aug.sample import draw_posts
from hf_mner_aug.schema import Codec, Post, mner_features
from hf_mner_aug.transform import iterate_posts

QUICK = {"target": "crf:iterations=5", "detector": "crf:iterations=5", "detectors": 1, "folds": 2, "seeds": 1}
METHODS = {
    "gmda": GMDA(detector="crf:iterations=5", image=False),
    "rmda": RMDA(detector="crf:iterations=5", detectors=2, image=False),
    "memory_hard": MemoryHard(**QUICK, image=False),
}
POSTS = [Post(str(i), ["a", "post"]) for i in range(100)]


@pytest.fixture
def most(monkeypatch):
    monkeypatch.setattr(filters, "MOST", 40)
    return 40


@pytest.fixture(scope="module")
def drawn():
    """120 posts of the sample set, without pictures."""
    posts = [replace(found.post, images=()) for found in draw_posts()["train"][:120]]
    return as_dataset(posts, mner_features(("PER", "LOC", "ORG", "MISC")))


def test_posts_are_chosen_by_seed_and_ids_alone(most):
    with pytest.warns(UserWarning, match=r"^backbones learn from 40 of 100 posts\.$"):
        sample = sample_posts(iter(POSTS), 0)
    assert sample.sizes == {"sample": [40, 100]}
    assert [*map(int, (post.id for post in sample.posts))] == sorted(int(post.id) for post in sample.posts)
    with warnings.catch_warnings(action="ignore"):
        assert sample_posts(POSTS[::-1], 0).posts == sample.posts[::-1]
        others = sample_posts(POSTS, 1).posts
    assert len(others) == 40
    assert others != sample.posts


@pytest.mark.parametrize("n", [0, 39, 40])
def test_of_few_posts_all_are_taken(most, n):
    with warnings.catch_warnings(action="error"):
        sample = sample_posts(POSTS[:n], 0)
    assert (sample.posts, sample.sizes) == (POSTS[:n], {})


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore:backbones learn from 40 of 120 posts")
def test_the_card_says_how_many_posts_backbones_learned_from(most, drawn, name, tmp_path):
    seen = []
    fit = filters.fit_detectors

    def fitted(train, *more):
        seen.append(len(train))
        return fit(train, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filters, "fit_detectors", fitted)
        run = augment(drawn, METHODS[name], out=tmp_path / "out", progress=False)
    assert seen == [40]
    publish(run, tmp_path / "out", allow_empty=True)
    card = " ".join((tmp_path / "out" / "README.md").read_text().split())
    told = (
        "Mistakes were looked for, and detectors learned, in" if name == "memory_hard" else "The detectors learned from"
    )
    assert f"{told} 40 of 120 posts." in card
    few = METHODS[name].fit(drawn.select(range(40)), progress=False)
    assert "sample" not in few.learned
    assert not any("40" in caution for caution in few.cautions)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore:backbones learn from 40 of 120 posts")
def test_posts_that_no_backbone_learns_from_are_let_go(most, drawn, name):
    alive = []

    def read():
        before = sum(type(found) is Post for found in gc.get_objects())
        for n, post in enumerate(iterate_posts(drawn, Codec(drawn.features))):
            if n % 20 == 19:
                alive.append(sum(type(found) is Post for found in gc.get_objects()) - before)
            yield post

    METHODS[name].learn(read(), ())
    assert len(alive) == 6
    assert max(alive) <= most + 3


@pytest.mark.filterwarnings("ignore:backbones learn from 40 of", "ignore:amia")
def test_a_matcher_learns_from_some_of_many_pictures(most):
    posts = [found.post for found in draw_posts()["train"][:120]]
    there = [post for post in posts if post.images]
    assert most < len(there) < 120
    drawn = as_dataset(posts, mner_features(("PER", "LOC", "ORG", "MISC")))
    amia = AMIA().fit(drawn, progress=False)
    assert amia.learned["sample"] == [40, len(there)]
    assert len(amia.learned["losses"]) == 40
    told = f"Of the posts with pictures, the matcher learned from 40 of {len(there)} posts."
    assert told in amia.cautions
    scores = {row["source_id"]: row["matching_score"] for row in amia.map(drawn)}
    assert {post.id for post in there if scores[post.id] is not None} == {post.id for post in there}
    few = AMIA().fit(drawn.select(range(30)), progress=False)
    assert "sample" not in few.learned
    assert not any("learned from" in caution for caution in few.cautions)
