"""Index the 40,000 tweets of tweet_pool and ask 4,000 queries of two entities: python benchmarks/search.py.

A process of its own makes the corpus and asks; its time and CPU time are those of the whole process, start and imports
too. A query is a tweet of the pool with two runs of capitalised words: three in four take both from the tweet, the
others one from another tweet. Then all posts found are compared with those of a scan over the words of every tweet, and
the best ten with bm25s's, where more than ten are found. The data is sought in ../shared/data, or in $MNER_DATA.

Bounds: under 6 s for the whole process, the same posts as the scan's.
"""

import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from pathlib import Path
from statistics import mean

from hf_mner_aug.corpus import index
from hf_mner_aug.models.search import LocalCorpus, Query, Require, open_corpus, phrase_words, words

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
QUERIES = 4_000
SAMPLE = 500  # queries that are compared where each finds hundreds of posts
LIMIT = 10
Asked = tuple[str, tuple[str, str]]
NAME = re.compile(r"[A-Z][\w']{2,}(?: [A-Z][\w']+)*")


def read_pool() -> list[str]:
    """Return the tweets of the pool, each once."""
    texts = [text for file in sorted((DATA / "tweet_pool").glob("*.txt")) for text in file.read_bytes().split(b"\n")]
    lines = [text.decode().strip() for text in texts if text.strip()]
    return list(dict.fromkeys(line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for line in lines))


def draw_queries(texts: list[str]) -> list[Asked]:
    """Return tweets, each with two names."""
    random_ = random.Random(0)
    named = [(text, names) for text in texts if len(names := NAME.findall(text)) >= 2]
    queries = []
    for i, (text, names) in enumerate(random_.choices(named, k=QUERIES)):
        first, second = random_.sample(names, 2)
        if i % 4 == 0:
            second = random_.choice(random_.choice(named)[1])
        queries.append((text, (first, second)))
    return queries


def ask(path: Path) -> None:
    """Make the corpus and ask all queries, for all phrases and then for any of them."""
    begun = time.perf_counter()
    index(str(DATA / "tweet_pool"), path)
    corpus = open_corpus(path)
    print(f"index {time.perf_counter() - begun:.2f} s, {path.stat().st_size / 1e6:.1f} MB")
    queries = draw_queries(read_pool())
    for require in sys.argv[3:]:
        begun = time.perf_counter()
        found = [len(corpus.search(Query(text=t, phrases=p, require=require), LIMIT)) for t, p in queries]
        seconds = time.perf_counter() - begun
        print(f"{len(queries)} queries, require={require}: {seconds:.2f} s; {sum(found)} hits", end="")
        print(f", {sum(map(bool, found))} queries with at least one")


def measure(path: Path, *requires: str) -> None:
    """Run ``ask`` in a process and print what the whole of it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--ask", str(path), *requires], check=True)
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"whole process: {seconds:.2f} s ({cpu:.2f} s of CPU; load average {os.getloadavg()[0]:.1f})", flush=True)


class Scan:
    """All posts as one text of words, searched from its beginning to its end."""

    def __init__(self, posts: list[list[str]]) -> None:
        lines = [f" {' '.join(post)} \n" for post in posts]
        self.text = "".join(lines)
        self.starts = [0]
        for line in lines[:-1]:
            self.starts.append(self.starts[-1] + len(line))

    def find(self, phrase: str) -> set[int]:
        """Return the places of the posts that hold a phrase."""
        sought, found, at = f" {' '.join(phrase_words(phrase))} ", set(), 0
        while (at := self.text.find(sought, at)) >= 0:
            found.add(bisect(self.starts, at) - 1)
            at += 1
        return found


def compare_sets(corpus: LocalCorpus, queries: list[Asked], texts: list[str], require: Require) -> None:
    """Compare what is found, without a limit, with a scan's."""
    scan = Scan([words(text) for text in texts])
    same = 0
    for text, phrases in queries:
        one, other = map(scan.find, phrases)
        expected = one & other if require == "all" else one | other
        hits = corpus.search(Query(text=text, phrases=phrases, require=require), len(texts))
        same += {hit.text for hit in hits} == {texts[place] for place in expected}
    print(f"same posts as a scan, require={require}: {same} of {len(queries)}", flush=True)


def compare_order(corpus: LocalCorpus, queries: list[Asked], texts: list[str]) -> None:
    """Compare the best ten among the posts that hold any of the phrases with bm25s's."""
    try:
        import bm25s
    except ModuleNotFoundError:
        print("bm25s is not installed: pip install 'hf-mner-aug[dev]'")
        return
    import numpy as np

    places = {text: place for place, text in enumerate(texts)}
    tokens = [words(text) for text in texts]
    for method in ("robertson", "lucene"):
        peer = bm25s.BM25(k1=1.2, b=0.75, method=method)
        peer.index(tokens, show_progress=False)
        overlaps: list[float] = []
        for text, phrases in queries:
            query = Query(text=text, phrases=phrases, require="any")
            hits = corpus.search(query, len(texts))
            if len(hits) <= LIMIT:
                continue
            found = np.array(sorted(places[hit.text] for hit in hits))
            asked = list(dict.fromkeys(words(text) + [word for phrase in phrases for word in words(phrase)]))
            scores = peer.get_scores([word for word in asked if word in peer.vocab_dict])[found]
            best = found[np.argsort(-scores, kind="stable")[:LIMIT]]
            overlaps.append(len({places[hit.text] for hit in hits[:LIMIT]} & set(best.tolist())) / LIMIT)
            if len(overlaps) == SAMPLE:
                break
        print(
            f"best {LIMIT} shared with bm25s ({method}): {mean(overlaps):.3f} over {len(overlaps)} queries", flush=True
        )


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        ask(Path(sys.argv[2]))
        return
    if not (DATA / "tweet_pool").is_dir():
        raise SystemExit(f"no tweet_pool in {DATA}: set MNER_DATA")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder) / "all.db", "all")
        measure(Path(folder) / "any.db", "any")
        corpus, texts = open_corpus(Path(folder) / "all.db"), read_pool()
        queries = draw_queries(texts)
        compare_sets(corpus, queries, texts, "all")
        compare_sets(corpus, queries[:SAMPLE], texts, "any")
        compare_order(corpus, queries, texts)


if __name__ == "__main__":
    main()
