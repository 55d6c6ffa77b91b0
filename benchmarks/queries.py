"""4,000 queries of two names over the 40,000 tweets of tweet_pool: CPU seconds after the index is made.

``benchmarks/search.py`` compares what is found with a scan, and with bm25s. The data is sought in ../shared/data, or in
$MNER_DATA.
"""

import time
from pathlib import Path

from benchmarks.measured import Row, alone
from benchmarks.search import DATA, LIMIT, QUERIES, draw_queries, read_pool

BOUNDS = {"all": 3.0, "any": 6.0}


def measure(folder: Path, n_posts: int) -> list[Row]:
    if not (DATA / "tweet_pool").is_dir():
        return [Row("queries", "not measured: no tweet_pool in $MNER_DATA")]
    rows = []
    for require, bound in BOUNDS.items():
        took = alone(ask, folder / "corpus.db", require)
        seconds, scan, found = took.result
        measured = f"{seconds:.2f} s, {found:,} hits, {took.peak_mb:,.0f} MB"
        ratio, beside = seconds / (scan * QUERIES), f"reading all texts for each {scan * QUERIES:,.0f} s"
        rows.append(Row(f"{QUERIES:,} queries, require={require}", measured, beside, ratio, f"< {bound:g} s"))
    return rows


def ask(path: str, require: str) -> tuple[float, float, int]:
    """Return the CPU seconds of all queries, those of one look for two names through all texts, and the hits."""
    from hf_mner_aug.corpus import index
    from hf_mner_aug.models.search import Query, open_corpus

    if not Path(path).exists():
        index(str(DATA / "tweet_pool"), path)
    corpus, texts = open_corpus(path), read_pool()
    asked = draw_queries(texts)
    begun = time.process_time()
    found = sum(len(corpus.search(Query(text=t, phrases=p, require=require), LIMIT)) for t, p in asked)
    seconds = time.process_time() - begun
    begun = time.process_time()
    for _, phrases in asked[:10]:
        sum(all(phrase in text for phrase in phrases) for text in texts)
    return seconds, (time.process_time() - begun) / 10, found
