"""How often labels land right on posts that rmda finds: python benchmarks/projection.py.

The truth is made of Twitter-2015 and Twitter-2017: the train posts of one are the gold posts, those of the other the
corpus, without their labels and without the texts that both have; what is made of a post is then compared with the
labels it had. ``precision`` and ``recall`` are of entities (span and type), ``exact`` the share of posts whose labels
are all right, each post and labels counted once. ``oracle`` is a boundary detector that makes no mistake. The data is
sought in ../shared/data, or in $MNER_DATA.

Bound: at 100 posts or more, precision 0.08 above that of the paper's boundary filter alone.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from datasets import Dataset, disable_progress_bars

from hf_mner_aug import RMDA
from hf_mner_aug.corpus import index
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.readers import read
from hf_mner_aug.schema import Codec, Post
from hf_mner_aug.transform import iterate_posts

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
LEAST_POSTS = 100
BOUND = 0.08
PAPER = {**RMDA.presets["paper"], "detector": "crf:boundary=true", "encoder": ""}
BARE = {name: PAPER[name] for name in ("consistency", "letters", "capitals", "cased", "least_words", "most_words")}
STEPS: dict[str, dict[str, Any]] = {
    "5 detectors, 60% of them": {**BARE, "support": 0.0},
    "+ 60% agree on mentions": BARE,
    "+ 5 to 30 words, 4 letters": {**BARE, "least_words": 5, "most_words": 30, "letters": 4},
    "+ half of the mentions labelled": {"capitals": False, "cased": False},
    "+ cased": {"capitals": False},
    "+ capitals: the defaults": {},
    "defaults, all agree": {"agreement": 1.0, "support": 1.0},
}
LAST: dict[str, dict[str, Any]] = {
    "without capitals, 60% agree": {"capitals": False},
    "without capitals, all agree": {"capitals": False, "agreement": 1.0, "support": 1.0},
    "defaults, 20% agree": {"agreement": 0.2, "support": 0.2},
    "defaults, 60% agree": {},
    "defaults, all agree": {"agreement": 1.0, "support": 1.0},
}


def read_train(name: str) -> Dataset:
    reading = read(name, DATA / name)
    return Dataset.from_list(list(reading.rows("train")), features=reading.features)


def make(method: RMDA, gold: Dataset) -> Iterator[tuple[str, Post]]:
    """Yield what the method makes, each with the id of the post that was found."""
    codec = Codec(method.features)
    made = method.make(gold.with_format("arrow")[:])
    for values in zip(*made.columns.values(), strict=True):
        row = dict(zip(made.columns, values, strict=True))
        yield json.loads(row["provenance"])["details"]["post_id"], codec.to_post(row)


def score(
    made: Iterable[tuple[str, Post]],
    truth: Mapping[str, Post],
    take: Callable[[set[Any], set[Any]], bool] | None = None,
) -> tuple[int, float, float, float]:
    """Return the number of posts, precision, recall and the share of posts that are all right."""
    seen = set()
    right = found = wanted = exact = 0
    for name, post in made:
        labels, gold = placed(post), placed(truth[name])
        key = (name, tuple(sorted(labels)))
        if key in seen or (take and not take(labels, gold)):
            continue
        seen.add(key)
        right, found, wanted = right + len(labels & gold), found + len(labels), wanted + len(gold)
        exact += labels == gold
    n = len(seen)
    return n, right / max(1, found), right / max(1, wanted), exact / max(1, n)


def placed(post: Post) -> set[tuple[int, int, str]]:
    """Return a post's entities by their letters, which are the same however a set splits handles off."""
    starts = list(accumulate(map(len, post.tokens), initial=0))
    found = set()
    for e in post.entities:
        heads = len(mention := "".join(post.tokens[e.start : e.end])) - len(mention.lstrip("#@"))
        found.add((starts[e.start] + heads, starts[e.end], e.type))
    return found


def within(labels: set[Any], gold: set[Any]) -> bool:
    """Say whether every entity of a post is one that was asked for, whatever its type."""
    return {span[:2] for span in gold} <= {span[:2] for span in labels}


def measure(queries: str, pool: str, folder: Path) -> None:
    gold, hidden = read_train(queries), read_train(pool)
    both = {text_key(tokens) for tokens in gold["tokens"]}
    truth = {
        post.id: post for post in iterate_posts(hidden, Codec(hidden.features)) if text_key(post.tokens) not in both
    }
    lines = [json.dumps({"id": post.id, "tokens": list(post.tokens)}) + "\n" for post in truth.values()]
    (folder / f"{pool}.jsonl").write_text("".join(lines))
    index(str(folder / f"{pool}.jsonl"), folder / f"{pool}.db")
    begun = time.perf_counter()
    base: dict[str, Any] = {"corpus": str(folder / f"{pool}.db"), "image": False, "require": "all", "results": 10}
    fitted = RMDA(**base).fit(gold)
    paper = RMDA(**base, **PAPER).fit(gold)
    print(f"\n{queries} ({len(gold)} posts) asks {pool} ({len(truth)}); fitted in {time.perf_counter() - begun:.0f} s")
    compare(fitted, paper, STEPS, gold, truth, "require=all, 10 results")
    wide: dict[str, Any] = {"require": "any", "results": 20, "copies": 20}
    compare(replace(fitted, **wide), replace(paper, **wide), LAST, gold, truth, "require=any, 20 results")


def compare(
    fitted: RMDA, paper: RMDA, steps: Mapping[str, Any], gold: Dataset, truth: Mapping[str, Post], asked: str
) -> None:
    """Print a row for each way to filter."""
    unfiltered = list(make(replace(fitted, filter=False), gold))
    boundary = score(make(paper, gold), truth)
    print(f"{asked:34}posts  precision  recall  exact")
    rows = {
        "no filter": score(unfiltered, truth),
        "oracle: a perfect boundary filter": score(unfiltered, truth, within),
        "the paper's boundary filter": boundary,
    }
    print("\n".join(spell(name, row) for name, row in rows.items()), flush=True)
    best = 0.0
    for name, chosen in steps.items():
        row = score(make(replace(fitted, **chosen), gold), truth)
        print(spell(name, row), flush=True)
        if row[0] >= LEAST_POSTS:
            best = max(best, row[1])
    if not best:
        print(f"no setting beside the paper's kept {LEAST_POSTS} posts\n")
        return
    verdict = "met" if best >= boundary[1] + BOUND else "MISSED"
    print(f"best at {LEAST_POSTS} posts or more: {best:.3f}, {best - boundary[1]:+.3f} over the paper's: {verdict}\n")


def spell(name: str, row: tuple[int, float, float, float]) -> str:
    n, precision, recall, exact = row
    return f"{name:34}{n:5}  {precision:9.3f}  {recall:6.3f}  {exact:5.3f}"


if __name__ == "__main__":
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as temporary:
        measure("twitter2017", "twitter2015", Path(temporary))
        measure("twitter2015", "twitter2017", Path(temporary))
