"""Compare the speed of span_f1 with seqeval's on Twitter-2015's test set: python benchmarks/metrics.py.

Each line is the median of several runs in this process on the same predictions, those of a CRF trained on the published
10% split. The data is sought in ../shared/data, or in $MNER_DATA.
"""

import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import evaluate
import sklearn_crfsuite
from seqeval.metrics.sequence_labeling import classification_report, precision_recall_fscore_support
from seqeval.metrics.v1 import precision_recall_fscore_support as strict_precision_recall_fscore_support
from seqeval.scheme import IOB2

from hf_mner_aug import metrics
from hf_mner_aug.metrics.spans import score_tags

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
RUNS = 7


def read_blocks(path: Path) -> list[tuple[list[str], list[str]]]:
    """Return the words and tags of each tweet of an ``IMGID:`` file."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    rows = [[line.split("\t") for line in block.split("\n") if "\t" in line] for block in blocks]
    return [([word for word, _ in row], [tag for _, tag in row]) for row in rows if row]


def features(words: list[str]) -> list[dict[str, str]]:
    """Return what the CRF sees of each word: itself, its shape, its neighbours."""
    edges = ["<s>", *(word.lower() for word in words), "</s>"]
    return [
        {
            "word": edges[i + 1],
            "suffix": word[-3:],
            "title": str(word.istitle()),
            "before": edges[i],
            "after": edges[i + 2],
        }
        for i, word in enumerate(words)
    ]


def medians_ms(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median time of each call in milliseconds; they take turns, so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(RUNS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    warnings.filterwarnings("ignore")
    if not (DATA / "twitter2015").is_dir():
        raise SystemExit(f"no twitter2015 in {DATA}: set MNER_DATA")
    train = read_blocks(DATA / "twitter2015_lowres" / "10pct" / "train.txt")
    test = read_blocks(DATA / "twitter2015" / "test.txt")
    crf = sklearn_crfsuite.CRF(max_iterations=50)
    crf.fit([features(words) for words, _ in train], [tags for _, tags in train])
    gold = [tags for _, tags in test]
    found = [list(tags) for tags in crf.predict([features(words) for words, _ in test])]
    print(f"{len(gold)} tweets, {sum(map(len, gold))} words; micro F1 {score_tags(found, gold).micro.f1:.4f} (promote)")

    module = evaluate.load(metrics.path("span_f1"))
    policies: dict[str, tuple[dict[str, Any], Callable[..., object]]] = {
        "promote": ({}, precision_recall_fscore_support),
        "drop": ({"mode": "strict", "scheme": IOB2}, partial(strict_precision_recall_fscore_support, scheme=IOB2)),
    }
    for orphans, (mode, micro) in policies.items():
        times = medians_ms(
            {
                "score_tags": partial(score_tags, found, gold, orphans=orphans),
                "evaluate": partial(module.compute, predictions=found, references=gold, orphans=orphans),
                "report": partial(classification_report, gold, found, output_dict=True, **mode),
                "micro": partial(micro, gold, found, average="micro"),
            }
        )
        ours, loaded = times["score_tags"], times["evaluate"]
        print(f"{orphans}: score_tags {ours:.1f} ms, through evaluate {loaded:.1f} ms (micro and per type)")
        for name, call in (("report", "micro and per type: classification_report"), ("micro", "micro only")):
            theirs = times[name]
            print(
                f"  seqeval, {call}: {theirs:.1f} ms, {theirs / ours:.1f} times; {theirs / loaded:.1f} through evaluate"
            )


if __name__ == "__main__":
    main()
