"""Every method that edits text, on real posts of every shape: boxes, fine types, relations, pictures."""

import json
from collections import Counter

import numpy as np
import pytest
from datasets import Dataset
from picture_marks import picture_source
from places import DATA

from hf_mner_aug.methods import eda, lsms, method_class
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.readers import read
from hf_mner_aug.schema import Codec
from hf_mner_aug.transform import iterate_posts

pytestmark = pytest.mark.skipif(not (DATA / "twitter_gmner").is_dir(), reason=f"no real data in {DATA} ($MNER_DATA)")
POSTS = 250
SHAPES = {  # file, what stands between two posts, boxes
    "twitter_gmner": ("txt/train.txt", "\n\n", "twitter_gmner/xml"),
    "twitter_fmnerg": ("txt_fine/train.txt", "\n\n", "twitter_gmner/xml"),
    "mnre": ("mnre_train.txt", "\n", None),
}
OPERATIONS = {"eda": set(eda.OPERATIONS), "lsms": set(lsms.OPERATIONS), "mixgen": {None}}


@pytest.fixture(scope="module", params=SHAPES)
def real(request, tmp_path_factory):
    """Return the first posts of a set's train split."""
    path, separator, xml = SHAPES[request.param]
    text = (DATA / request.param / path).read_text(encoding="utf-8")
    few = tmp_path_factory.mktemp("raw") / "train.txt"
    few.write_text(separator.join(text.split(separator)[:POSTS]) + "\n", encoding="utf-8")
    reading = read(request.param, few, xml=xml and DATA / xml)
    return Dataset.from_list(list(reading.rows("train")), features=reading.features)


def words(post, start, end):
    return list(post.tokens[start:end])


def details_of(dataset):
    return [json.loads(told)["details"] for told in dataset.with_format("arrow")[:]["provenance"].to_pylist()]


@pytest.mark.parametrize("name", ["eda", "lsms", "mixgen"])
def test_labels_follow_their_words(name, real):
    codec = Codec(real.features)
    gold = {post.id: post for post in iterate_posts(real, codec)}
    made = method_class(name)(copies=4).fit(real).map(real)
    seen = Counter()
    for new, source, details in zip(
        iterate_posts(made, codec), made.select_columns("source_id"), details_of(made), strict=True
    ):
        old = gold[source["source_id"]]
        seen[details.get("operation")] += 1
        if old.relation:
            assert new.relation.type == old.relation.type
            assert words(new, *new.relation.head) == words(old, *old.relation.head)
            assert words(new, *new.relation.tail) == words(old, *old.relation.tail)
        before = [(old, entity) for entity in old.entities]
        if name == "mixgen":
            partner = gold[details["post_id"]]
            assert new.tokens == [*old.tokens, *partner.tokens]
            before += [(partner, entity) for entity in partner.entities]
        assert [(e.type, e.fine) for e in new.entities] == [(e.type, e.fine) for _, e in before]
        for now, (post, then) in zip(new.entities, before, strict=True):
            same = sorted(words(new, now.start, now.end)) == sorted(words(post, then.start, then.end))
            assert same or details["operation"] in ("token", "mention")
            assert now.boxes == (then.boxes if same else ())
            seen["boxes"] += len(now.boxes)
    expected = set(OPERATIONS[name])
    if "relation" in real.features:
        expected -= {"mention"}  # the set labels no mentions but head and tail, and these stay
    assert set(seen) - {"boxes"} == expected
    assert len(made) > 3 * len(real)
    assert (seen["boxes"] > 300) == ("entities" in real.features)


@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
def test_real_pictures_are_mixed(name):
    folder = DATA / "tweets_with_images"
    reading = read(name, folder / f"{name}.txt", images=folder / "images")
    dataset = Dataset.from_list(list(reading.rows("train")), features=reading.features)
    gold = {post.id: post for post in iterate_posts(dataset, Codec(dataset.features), images=True)}
    made = method_class("mixgen")(weight=0.3).fit(dataset).map(dataset)
    assert len(made) == len(dataset)
    for row, details in zip(made.with_format("arrow")[:].to_pylist(), details_of(made), strict=True):
        own, others = (open_rgb(gold[post_id].images[0]) for post_id in (row["source_id"], details["post_id"]))
        mixed = open_rgb(row["image"])
        assert mixed.size == own.size
        assert picture_source(row["image"]) == "compositeCapture"
        exact = 0.3 * np.asarray(own, dtype=float) + 0.7 * np.asarray(others.resize(own.size, 3), dtype=float)
        off = np.abs(np.asarray(mixed, dtype=float) - exact)
        if row["image"]["bytes"].startswith(b"\x89PNG"):
            assert off.max() <= 0.5001
        else:
            assert off.mean() < 4, f"{row['id']}: JPEG of quality 95 is no further from the mix"
