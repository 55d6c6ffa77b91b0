"""Collages of 36 real tweets, beside Pillow that decodes, resizes and encodes the same pictures.

CPU seconds after a first pass that reads the train posts, medians of alternating runs in one process. The data is
sought in ../shared/data, or in $MNER_DATA. A collage is made of several pictures, some of which are kept in memory, so
the ratio says what one costs and not what is lost; its bound is 20 a second at 256 pixels.
"""

import io
import json
import os
import statistics
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.measured import ROOT, Row, cpu_seconds
from hf_mner_aug.draw import draw
from hf_mner_aug.models.image.collage import Collage
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.schema import Entity, Post, bio_to_spans
from hf_mner_aug.storage.posts import save_posts

DATA = Path(os.environ.get("MNER_DATA", ROOT.parent / "shared" / "data")) / "tweets_with_images"
RUNS = 5


def measure(folder: Path, n_posts: int) -> list[Row]:
    if not DATA.exists():
        return [Row("collages", f"not measured: there is no {DATA.name}")]
    posts = read_tweets()
    return [collages(posts, 256), collages(posts, 512)]


def read_tweets() -> list[Post]:
    posts = []
    for line in (DATA / "real36.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        entities = tuple(Entity(*span) for span in bio_to_spans(row["labels"]))
        image = {"bytes": (DATA / row["image"]).read_bytes(), "path": row["image"]}
        posts.append(Post(row["img_id"], row["tokens"], entities, (image,)))
    return posts


def collages(posts: list[Post], side: int) -> Row:
    engine = Collage(posts=save_posts(posts), size=side)
    sentences = [" ".join(post.tokens) for post in posts]
    times = []
    for copy in range(RUNS + 1):
        draws = [draw(0, "benchmark", 1, post.id, copy) for post in posts]
        made: list = []
        own = cpu_seconds(partial(generate, engine, sentences, draws, made))
        n_made = sum(not isinstance(result, Refused) for result in made)
        times.append((own / n_made, cpu_seconds(partial(resize, posts, side)) / len(posts)))
    own, beside = (1 / statistics.median(column) for column in zip(*times[1:], strict=True))
    bound = "≥ 20 a second" if side == 256 else ""
    return Row(f"collages of {side} pixels", f"{own:,.0f} a second", f"Pillow {beside:,.0f}", beside / own, bound)


def generate(engine: Collage, sentences: list[str], draws: list, made: list) -> None:
    made += engine.generate(sentences, draws)


def resize(posts: list[Post], side: int) -> None:
    for post in posts:
        picture = Image.open(io.BytesIO(post.images[0]["bytes"])).convert("RGB")
        picture.resize((side, side)).save(io.BytesIO(), "JPEG", quality=95)
