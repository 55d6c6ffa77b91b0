from dataclasses import replace

import pytest
from picture_posts import eight_posts, picture

from hf_mner_aug.backbones.taught_tower import LESSONS, teach_tower, wordless
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.vision import Vision, load_tower
from hf_mner_aug.schema import Entity, Post

torch = pytest.importorskip("torch", reason="the models extra is not installed")


POSTS = eight_posts()
QUICK = Training(
    steps=15, batch_size=8, learning_rate=3e-3, head_learning_rate=1e-2, warmup=0.0, checks=5, device="cpu"
)


def test_lessons_are_posts_with_pictures_and_one_type():
    words = ["Adele", "met", "Drake", "in", "Rome"]
    people, place = (Entity(0, 1, "PER"), Entity(2, 3, "PER")), Entity(4, 5, "LOC")
    images = (picture("red"), picture("blue"))
    posts = [
        Post("people", words, people, images),
        Post("both", words, (*people, place), images),
        Post("nothing", words, (), images),
        Post("unseen", words, (place,)),
        Post("place", words, (place,), images[:1]),
    ]
    assert wordless(posts) == [
        Post("people", ["?"], (Entity(0, 1, "PER"),), images),
        Post("place", ["?"], (Entity(0, 1, "LOC"),), images[:1]),
    ]


def test_a_tower_learns_to_see_and_is_read_by_its_folder(tmp_path):
    bare = [replace(post, id=f"bare-{post.id}", images=()) for post in POSTS]
    history = teach_tower(tmp_path / "tower", [*bare, *POSTS], POSTS, training=QUICK)
    assert max(check.score for check in history) == 1.0  # red is a person and blue a place; "?" says of neither
    taught = load_tower(Vision(tower=str(tmp_path / "tower"), image_size=64))
    assert taught.frozen
    assert taught.pretrained
    tracked = {int(value) for name, value in taught.state_dict().items() if name.endswith("num_batches_tracked")}
    best = next(check.step for check in history if check.score == 1.0)
    assert tracked == {best}  # the first of the best states, not the last

    teach_tower(tmp_path / "again", POSTS, POSTS, training=QUICK)
    other = teach_tower(tmp_path / "other", POSTS, training=replace(QUICK, steps=2), seed=1)
    assert other == ()
    digests = [load_tower(Vision(tower=str(tmp_path / name), image_size=64)).digest for name in ("again", "other")]
    assert digests[0] == taught.digest  # posts without a picture taught nothing
    assert digests[1] != taught.digest


def test_what_teaches_nothing_is_said(tmp_path):
    with pytest.raises(UsageError, match="train: none of its 8 posts has a picture and entities of one type"):
        teach_tower(tmp_path / "tower", [replace(post, images=()) for post in POSTS])
    with pytest.raises(UsageError, match="image_size must be at least 64, found 32"):
        teach_tower(tmp_path / "tower", POSTS, image_size=32)
    assert not (tmp_path / "tower").exists()
    assert (LESSONS.epochs, LESSONS.batch_size, LESSONS.learning_rate, LESSONS.head_learning_rate) == (
        30,
        32,
        1e-3,
        3e-3,
    )
