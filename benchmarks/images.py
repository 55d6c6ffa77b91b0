"""Measure how many collages a second one process makes of 36 real tweets: python benchmarks/images.py.

Each side is measured after a first pass that reads the train posts; seconds are those of the process (CPU), as other
work on the machine stretches the clock's. The data is sought in ../shared/data, or in $MNER_DATA.

Bound: at least 20 collages a second at 256 pixels.
"""

import json
import os
import statistics
import time
from pathlib import Path

from hf_mner_aug.draw import draw
from hf_mner_aug.models.image.collage import Collage
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.schema import Entity, Post, bio_to_spans
from hf_mner_aug.storage.posts import save_posts

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
RUNS = 5


def read_tweets() -> list[Post]:
    folder = DATA / "tweets_with_images"
    posts = []
    for line in (folder / "real36.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        entities = tuple(Entity(*span) for span in bio_to_spans(row["labels"]))
        image = {"bytes": (folder / row["image"]).read_bytes(), "path": row["image"]}
        posts.append(Post(row["img_id"], row["tokens"], entities, (image,)))
    return posts


def measure(posts: list[Post], size: int) -> None:
    engine = Collage(posts=save_posts(posts), size=size)
    sentences = [" ".join(post.tokens) for post in posts]
    rates = []
    for copy in range(RUNS + 1):
        draws = [draw(0, "benchmark", 1, post.id, copy) for post in posts]
        begun = time.process_time()
        made = engine.generate(sentences, draws)
        rates.append(sum(not isinstance(result, Refused) for result in made) / (time.process_time() - begun))
    print(f"{size} px: {statistics.median(rates[1:]):.0f} collages a CPU second")


if __name__ == "__main__":
    for side in (256, 512):
        measure(read_tweets(), side)
