"""A small set, a pool for it, and a config of retrieved posts, by id only and whole."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import as_dataset, parse, picture
from datasets import DatasetDict

from hf_mner_aug import RMDA, augment, publish
from hf_mner_aug.corpus import index
from hf_mner_aug.schema import Post, mner_features

CONFIG = "rmda_100pct"
GOLD = [
    "what a day to see [PER Lionel Messi] in [LOC Barcelona] with @ana",
    "we all love [PER Adele] so very much",
    "some more rain in [LOC London] today and much of it",
    "nothing happens here at all with @bob",
]
POOL = [
    {"id": "901", "text": "so glad to see Lionel Messi with @carla99 today", "image": "1.png", "licence": "CC0-1.0"},
    {"id": "902", "text": "call 555-123-4567 for Adele tickets or dora@post.org", "url": "https://x.com/d/status/902"},
    {"id": "903", "text": "we all heard Adele sing it @ erik 's party", "date": "2015-01-02", "image": "3.png"},
    {"id": "904", "text": "gloomy rain in London once more so unhappy", "image": "4.png", "url": "https://x.com/g/4"},
    {"id": "905", "text": "nobody asked for this one ever", "image": "4.png"},
]
ORIGINS = {"901", "902", "903", "904"}


def write_pool(folder, posts):
    folder.mkdir(parents=True, exist_ok=True)
    for i, post in enumerate(posts):
        if "image" in post:
            (folder / post["image"]).write_bytes(picture(70 + POOL.index(post) if post in POOL else i, "PNG")["bytes"])
    (folder / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    return folder / "posts.jsonl"


@pytest.fixture(scope="module")
def gold():
    posts = [Post(f"g{i}", *parse(text), (picture(i, "PNG"),)) for i, text in enumerate(GOLD)]
    return DatasetDict(
        train=as_dataset(posts, mner_features()),
        test=as_dataset([Post("t0", *parse("such a [LOC Rome] test"), ())], mner_features()),
    )


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    index(str(write_pool(folder, POOL)), folder / "corpus.db")
    return folder / "corpus.db"


def made_by(gold, out, **chosen):
    """Publish one run by id only in OUT/stubs and whole in OUT/whole."""
    method = RMDA(**{"copies": 2, "filter": False, "require": "any", **chosen})
    run = augment(gold, method, out=out / "run", progress=False)
    return (
        publish(run, out / "stubs", retrieved="ids-only"),
        publish(run, out / "whole"),
    )


@pytest.fixture(scope="module")
def published(gold, pool, tmp_path_factory):
    out = tmp_path_factory.mktemp("published")
    made_by(gold, out, corpus=str(pool), image=False)
    return out


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder, CONFIG).glob("*.parquet")}


def origins(rows):
    return [json.loads(note)["details"]["post_id"] for note in rows["provenance"] if note != "{}"]


def read_rows(folder, split, columns):
    paths = sorted(folder.glob(f"{split}-*.parquet"))
    return [row for path in paths for row in pq.read_table(path, columns=columns).to_pylist()]
