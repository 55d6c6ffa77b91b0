"""Posts stored as an artifact come back as they were."""

import dataclasses

import pytest

from hf_mner_aug.exceptions import NotFitted
from hf_mner_aug.schema import Entity, Post, Relation
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.posts import open_posts, save_posts

POSTS = [
    Post(
        "a",
        ["Paris", "wins"],
        (Entity(0, 1, "LOC", "city", ((1.5, 2.0, 3.25, 4.0),)),),
        ({"bytes": b"x", "path": None},),
    ),
    Post("b", [], (), ()),
    Post("c", ["x", "y", "z"], (), ({"bytes": b"1", "path": "1.jpg"}, {"bytes": b"2", "path": None})),
    Post("d", ["x", "y", "z"], (), (), Relation((0, 1), (1, 3), "None")),
]


def test_posts_come_back_in_any_order():
    posts = [dataclasses.replace(post, id=f"{post.id}{i}") for i in range(50) for post in POSTS]
    stored = open_posts(save_posts(iter(posts)))
    assert len(stored) == 200
    assert [stored[i] for i in (199, 0, 64, 63, 1)] == [posts[i] for i in (199, 0, 64, 63, 1)]
    assert list(stored) == posts
    assert stored.ids == [post.id for post in posts]
    with pytest.raises(IndexError):
        stored[200]


def test_the_same_posts_have_the_same_digest_and_no_file_is_read(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"1")
    named = dataclasses.replace(POSTS[2], images=({"bytes": None, "path": str(tmp_path / "1.jpg")},))
    assert [image["bytes"] for image in open_posts(save_posts([named]))[0].images] == [None]
    assert save_posts(POSTS) == save_posts(POSTS) != save_posts(POSTS[:3])


def test_no_posts_and_no_file():
    assert list(open_posts(save_posts([]))) == []
    with pytest.raises(NotFitted, match="0000"):
        open_posts("0" * 64)


def test_an_artifact_names_its_files():
    posts = save_posts(POSTS)
    for learned, more in (({"files": {"posts": posts}}, [posts]), ({"files": ["documents"]}, []), (None, [])):
        digest = artifacts.save_json({"learned": learned})
        assert artifacts.files(digest) == [digest, *more]
