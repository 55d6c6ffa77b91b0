"""Measure how well AMIA tells matched from mismatched pairs of the sample: python benchmarks/matching.py [ENGINE ...].

Engines are ``cca`` and ``open_clip`` (a small one trained on the split; minutes). Each is fitted on train and scores
validation and test, three seeds each; the truth, ``image_matches``, is dropped before anything sees the posts and only
read to count. The score is minus the triplet loss, beside the cosine similarity; θ is the matching score, beside the
cosine clipped to [0, 1]. Printed are mean and standard deviation over the seeds: on all posts, and on those whose words
tell the types of their mentions (no mention is ambiguous, and there is one).

Bounds, on validation and test together (``both``): AUC of the score at least 0.90 where words tell, 0.75 on all, and
at most 0.02 below the cosine's.
"""

import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import brier_score_loss, roc_auc_score

from hf_mner_aug.draw import draw
from hf_mner_aug.methods.amia import AMIA, match_pairs
from hf_mner_aug.models.matching import ENGINES
from hf_mner_aug.models.matching.matcher import Matcher, fit_matcher
from hf_mner_aug.models.matching.mixture import fit_mixture, matching_score
from hf_mner_aug.need import need
from hf_mner_aug.sample import load_sample
from hf_mner_aug.schema import Codec, Post
from hf_mner_aug.transform import iterate_posts

SEEDS = (0, 1, 2)
TRUTH = ["image_matches", "ambiguous"]
MEASURES = ("AUC", "AUC of cosine", "accuracy", "of cosine", "Brier", "of cosine")


def posts_of(dataset: Any) -> list[Post]:
    hidden = dataset.remove_columns(TRUTH)
    return [post for post in iterate_posts(hidden, Codec(hidden.features), images=True) if post.images]


def matches_of(matcher: Matcher, posts: Sequence[Post], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return loss and cosine [n] of each post's picture."""
    draws = [draw(seed, AMIA.name, AMIA.drawn_as, post.id, 0) for post in posts]
    found = match_pairs(matcher, [(post, 0) for post in posts], draws)
    return np.array([match.loss for match in found if match]), np.array([match.cosine for match in found if match])


def measures_of(truth: np.ndarray, losses: np.ndarray, cosines: np.ndarray, theta: np.ndarray) -> list[float]:
    clipped = np.clip(cosines, 0, 1)
    return [
        roc_auc_score(truth, -losses),
        roc_auc_score(truth, cosines),
        np.mean((theta > 0.5) == truth),
        np.mean((clipped > 0.5) == truth),
        brier_score_loss(truth, theta),
        brier_score_loss(truth, clipped),
    ]


def main(engines: Sequence[str]) -> None:
    warnings.filterwarnings("ignore")
    sample = load_sample()
    posts = {split: posts_of(dataset) for split, dataset in sample.items()}
    rows = {row["id"]: row for split in posts for row in sample[split].remove_columns("image")}
    truth = {split: np.array([rows[post.id]["image_matches"] for post in found]) for split, found in posts.items()}
    told = {
        split: np.array([bool(post.entities) and not rows[post.id]["ambiguous"] for post in found])
        for split, found in posts.items()
    }
    both = [split for split in posts if split != "train"]
    posts["both"] = [post for split in both for post in posts[split]]
    for known in (truth, told):
        known["both"] = np.concatenate([known[split] for split in both])
    for engine in engines:
        if engine == "open_clip":
            need("open_clip", extra="models")
        found: dict[tuple[str, str], list[list[float]]] = {}
        begun = time.process_time()
        for seed in SEEDS:
            matcher = fit_matcher(posts["train"], engine, seed=seed)
            mixture = fit_mixture(matches_of(matcher, posts["train"], seed)[0])
            for split, some in posts.items():
                losses, cosines = matches_of(matcher, some, seed)
                theta = matching_score(losses, mixture)
                for name, rows_of in (("all", np.full(len(some), True)), ("words tell", told[split])):
                    values = (array[rows_of] for array in (truth[split], losses, cosines, theta))
                    found.setdefault((split, name), []).append(measures_of(*values))
            print(f"{engine}, seed {seed}: {time.process_time() - begun:.0f} CPU seconds so far", flush=True)
        print(f"| {engine} | posts | {' | '.join(MEASURES)} |")
        print("|---" * (2 + len(MEASURES)) + "|")
        for (split, name), values in found.items():
            n = len(posts[split]) if name == "all" else told[split].sum()
            mean, spread = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
            cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True)]
            label = "train, out of fold" if split == "train" else split
            print(f"| {label}, {name} | {n} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:] or ENGINES)
