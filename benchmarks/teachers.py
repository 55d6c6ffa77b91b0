"""Label the 40,000 tweets of tweet_pool with a fine-tuned encoder: python benchmarks/teachers.py [ENCODER] [N_TWEETS].

A process of its own labels them as `labels=teacher` does, in chunks that are kept in the cache; its peak memory is that
of the whole process. The same network labels a sample one tweet at a time, and transformers' pipeline labels it in
batches in the order of the pool; ratios are of CPU time for a tweet. Then the labels are read from the cache. Without
ENCODER, a folder or an id, it is a small one without pretrained weights. The data is sought in ../shared/data, or in
$MNER_DATA.

Bounds, with MiniLM on two cores: under 15 minutes and 2 GB for all tweets, and less CPU time than the others.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

from search import DATA, read_pool

from hf_mner_aug.backbones.packed import pack, unpack
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.backbones.teachers import labelling
from hf_mner_aug.posts.tokenising import split_words
from hf_mner_aug.readers.formats import RawPost, parse_imgid
from hf_mner_aug.schema import Entity, Post, bio_to_spans

SAMPLE = 512  # tweets that the others label
BACKBONE = "token_classifier"


def read_train() -> list[Post]:
    """Return the 400 posts of the low-resource split."""
    rows = parse_imgid(DATA / "twitter2015_lowres" / "10pct" / "train.txt")
    found = [(row.tokens, row.tags) for row in rows if isinstance(row, RawPost)]
    return [
        Post(str(i), tokens, tuple(Entity(*span) for span in bio_to_spans(tags)))
        for i, (tokens, tags) in enumerate(found)
    ]


def cpu_ms(call: Callable[[], Any], n_texts: int) -> float:
    """Return the milliseconds of CPU time that a call takes for a text."""
    begun = time.process_time()
    call()
    return 1000 * (time.process_time() - begun) / n_texts


def pipeline_of(model: Any) -> Callable[[list[str]], Any]:
    """Return transformers' pipeline with a network of the same encoder."""
    from transformers import AutoModelForTokenClassification, pipeline

    fitted = model.fitted
    config = fitted.net.encoder.config
    config.num_labels = 2 * len(fitted.labels) + 1
    net = AutoModelForTokenClassification.from_config(config).eval()
    found: Callable[[list[str]], Any] = pipeline(
        "token-classification", model=net, tokenizer=fitted.pieces.tokenizer, batch_size=64, device="cpu"
    )
    return found


def measure(digest: str, n_tweets: int) -> None:
    """Label the tweets, and a sample in the other ways."""
    lines = read_pool()[:n_tweets]
    texts = [split_words(line, "whole") for line in lines]
    model: Any = unpack(BACKBONE, digest)
    labelling.label(model, digest, [["warm", "up"]])
    begun = time.perf_counter()
    ours = cpu_ms(lambda: labelling.label(model, digest, texts), len(texts))
    wall, peak = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(texts):,} tweets labelled in {wall:.0f} s ({ours:.2f} ms of CPU each), peak {peak:.2f} GB")
    kept = cpu_ms(lambda: labelling.label(model, digest, texts), len(texts))
    print(f"again, from the cache: {kept:.3f} ms of CPU each")
    sample = range(0, len(texts), max(1, len(texts) // SAMPLE))
    alone = cpu_ms(lambda: [model.predict([Post("", texts[i])]) for i in sample], len(sample))
    label = pipeline_of(model)
    piped = cpu_ms(lambda: label([lines[i] for i in sample]), len(sample))
    print(f"of {len(sample)}: alone {alone / ours:.1f} times, transformers' pipeline {piped / ours:.1f} times")
    if alone <= ours or piped <= ours:
        raise SystemExit("expected less CPU time than both others")


def main() -> None:
    warnings.filterwarnings("ignore")
    if sys.argv[1:2] == ["--labels"]:
        measure(sys.argv[2], int(sys.argv[3]))
        return
    encoder, n_tweets = [*sys.argv[1:], *["tiny", "40000"][len(sys.argv) - 1 :]]
    if not (DATA / "tweet_pool").is_dir():
        raise SystemExit(f"no tweet_pool in {DATA}: set MNER_DATA")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_MNER_AUG_CACHE"] = cache
        spec = f"{BACKBONE}:encoder={encoder},head=softmax,steps=20,device=cpu"
        digest = pack(parse_backbone(spec).fit(read_train()))
        subprocess.run([sys.executable, __file__, "--labels", digest, n_tweets], check=True)


if __name__ == "__main__":
    main()
