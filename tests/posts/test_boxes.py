"""Boxes moved by noise: their bounds, their spread, and the baselines that move them."""

import statistics
from dataclasses import replace

import pytest
from conftest import as_dataset, picture

from hf_mner_aug import EDA, LSMS, MixGen
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.metrics.grounding import iou as scored_iou
from hf_mner_aug.posts.boxes import LEAST_IOU, gaussian, iou, jitter_box, jitter_boxes
from hf_mner_aug.schema import Codec, Entity, Post, mner_features

SIZE = (100, 80)
BOXES = [(0.0, 0.0, 100.0, 80.0), (10.0, 10.0, 40.0, 50.0), (0.0, 60.0, 3.0, 80.0), (97.0, 0.0, 100.0, 1.0)]


def draws(n):
    return [Draw(f"box {i}".encode()) for i in range(n)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.99])
def test_a_moved_box_is_inside_the_picture_and_shares_enough(box, share):
    moved = [jitter_box(box, SIZE, share, draw) for draw in draws(300)]
    assert len(set(moved)) > 250
    for x1, y1, x2, y2 in moved:
        assert 0 <= x1 < x2 <= SIZE[0]
        assert 0 <= y1 < y2 <= SIZE[1]
        assert LEAST_IOU < iou((x1, y1, x2, y2), box) <= 1


def test_sides_move_by_the_share_of_width_and_of_height():
    box = (30.0, 30.0, 70.0, 50.0)
    moved = [jitter_box(box, SIZE, 0.01, draw) for draw in draws(2000)]
    spreads = [statistics.pstdev(new[side] - box[side] for new in moved) for side in range(4)]
    assert spreads == pytest.approx([0.4, 0.2, 0.4, 0.2], rel=0.1)
    assert statistics.fmean(new[0] - box[0] for new in moved) == pytest.approx(0, abs=0.03)


def test_noise_is_normal():
    numbers = [gaussian(draw) for draw in draws(4000)]
    assert statistics.fmean(numbers) == pytest.approx(0, abs=0.05)
    assert statistics.pstdev(numbers) == pytest.approx(1, rel=0.05)
    assert sum(abs(number) < 1.96 for number in numbers) / 4000 == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("box", [(10, 10, 10, 40), (10, 40, 30, 20), (-1, 0, 30, 30), (10, 10, 101, 30)])
def test_a_box_without_area_or_outside_the_picture_stays(box):
    assert jitter_box(box, SIZE, 0.3, Draw(b"a")) == box


def test_overlap_is_that_of_the_score():
    assert iou is scored_iou
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)


def test_boxes_without_a_readable_picture_stay():
    entities = (Entity(0, 1, "PER", boxes=(BOXES[1],)),)
    for images in ((), ({"bytes": b"no picture", "path": None},)):
        post = Post("a", ["Ann"], entities, images)
        assert jitter_boxes(post, 0.3, Draw(b"a")) is post


# ---------------------------------------------------------------- methods


def boxed(n):
    words = f"so very glad to see Ann{n} again here now".split()
    return Post(f"p{n}", words, (Entity(5, 6, "PER", boxes=((2.0, 2.0, 9.0, 9.0),)),), (picture(n, "PNG"),))


@pytest.fixture(scope="module")
def posts():
    return as_dataset([boxed(n) for n in range(6)], mner_features(boxes=True))


def boxes_of(rows):
    codec = Codec(rows.features)
    return {(post.id, i): e.boxes for post in map(codec.to_post, rows) for i, e in enumerate(post.entities) if e.boxes}


@pytest.mark.parametrize(
    "method",
    [EDA(operations=("swap",), copies=2), LSMS(operations=("shuffle", "mention"), copies=2), MixGen()],
    ids=lambda method: method.name,
)
def test_baselines_move_boxes_and_nothing_else(posts, method):
    plain = method.fit(posts).map(posts)
    moved = replace(method, jitter=0.1).fit(posts).map(posts)
    assert [row["tokens"] for row in plain] == [row["tokens"] for row in moved]
    before, after = boxes_of(plain), boxes_of(moved)
    assert before
    assert before.keys() == after.keys()
    for place, (box,) in after.items():
        assert box != before[place][0]
        assert iou(box, before[place][0]) > LEAST_IOU
    assert "jitter" not in method.params, "recipes made before keep their fingerprint"
    assert moved["image"][0].size == plain["image"][0].size


def test_a_jitter_out_of_range_is_refused():
    with pytest.raises(UsageError, match=r"jitter must be in \[0, 1\)"):
        MixGen(jitter=1.0)
