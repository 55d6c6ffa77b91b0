"""Requests for posts that test a failure: how failures are chosen, drafts checked and outcomes counted.

Part of memory_hard (Liu et al. 2026): outcomes are counted by pattern, and the counts move the budget to the patterns
that yield.
"""

import functools
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_mner_aug.draw import Draw
from hf_mner_aug.methods.memory_hard.pictures import IMAGE_PROMPT
from hf_mner_aug.methods.memory_hard.tree import Branch, Node, Tree
from hf_mner_aug.models.patterns.engine import Draft, PatternEngine
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.text import drafting
from hf_mner_aug.models.text.drafting import KEPT, Step
from hf_mner_aug.posts.hygiene import MADE_OF
from hf_mner_aug.posts.lexicon import entity_key
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.transform import Reject

STAGES = ("pattern", "parent")
Job = drafting.Job[Failure, Draft]
Counts = Mapping[str, tuple[int, int]]  # by pattern: posts asked for, posts kept


# ---------------------------------------------------------------- filters


def check_draft(draft: Draft, failure: Failure, types: Iterable[str]) -> Reject | None:
    """Return why a draft cannot test a failure, judged by its spans, or None.

    ``malformed``: a word is empty, a span is out of the text, over another one or of an unknown type.
    ``lost_entity``: the focus is not an entity of the failure's type, or touches one where none should be.
    """
    known = set(types)
    position = 0
    if not draft.tokens or not all(draft.tokens):
        return Reject("malformed", "a word is empty")
    for start, end, kind in sorted(draft.entities):
        if not position <= start < end <= len(draft.tokens) or kind not in known:
            return Reject("malformed", f"words {start} to {end} as {kind}")
        position = end
    start, end = draft.focus
    if not 0 <= start < end <= len(draft.tokens):
        return Reject("malformed", f"the focus is words {start} to {end} of {len(draft.tokens)}")
    touched = [span for span in draft.entities if span[0] < end and start < span[1]]
    asked = failure.gold and [(start, end, failure.gold[2])]
    if [(s, e, kind.partition("/")[0]) for s, e, kind in touched] != (asked or []):
        return Reject(
            "lost_entity", f"{' '.join(draft.tokens[start:end])} as {failure.gold[2] if failure.gold else 'O'}"
        )
    return None


def likeness(tokens: Sequence[str], others: Sequence[str]) -> float:
    """Return the share of two texts' pairs of neighbouring words, casefolded, that both have (Jaccard)."""
    ours, theirs = ({*itertools.pairwise(folded)} for folded in (_folded(tokens), _folded(others)))
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 1.0


def _folded(tokens: Sequence[str]) -> list[str]:
    return [word.casefold() for word in tokens]


def success(counts: Counts, key: str) -> float:
    """Return the rate at which a pattern's posts were kept, by Laplace's rule: one half if none was requested."""
    tried, kept = counts.get(key, (0, 0))
    return (kept + 1) / (tried + 2)


# ---------------------------------------------------------------- requests


@dataclass(frozen=True)
class Outcome:
    """The outcome of one request: the draft that passed, or why the last one of its ``trail`` was refused."""

    failure: Failure
    key: str
    pattern: str
    draft: Draft | None
    refused: Reject | None
    trail: tuple[Step, ...]

    @property
    def attempts(self) -> int:
        """The number of drafts."""
        return len(self.trail)


@dataclass(frozen=True)
class Memory:
    """The state that writing uses: the tree, the engine, the detectors (digests), and the counts of each round.

    ``shown`` is the digest of the train posts whose pictures the writer sees, empty for none.
    """

    tree: Tree
    engine: PatternEngine
    types: tuple[str, ...]
    texts: frozenset[str]
    detectors: tuple[str, ...]
    spurious: bool = False
    rounds: tuple[Counts, ...] = ()
    shown: str = ""

    @functools.cached_property
    def places(self) -> dict[str, tuple[Branch, Node | None]]:
        """Each failure's branch and node."""
        return {name: (branch, node) for name, branch, node in self.tree.places()}

    @functools.cached_property
    def repairable(self) -> list[Failure]:
        """The failures that posts are written for."""
        return [failure for failure in self.tree.failures.values() if failure.gold or self.spurious]

    @functools.cached_property
    def by_post(self) -> dict[str, list[Failure]]:
        """These failures of each post."""
        found = defaultdict(list)
        for failure in self.repairable:
            found[failure.post].append(failure)
        return dict(found)

    def leaf(self, job: Job) -> Node | None:
        """Return the node whose pattern a job's draft must match; None in the parent's stage."""
        _, node = self.places.get(job.task.id, (None, None))
        return node if job.stage == 0 else None

    def key(self, failure: Failure) -> str:
        """Return the name under which a failure's outcomes count: its node's, or its branch's."""
        branch, node = self.places.get(failure.id, (None, None))
        return node.key if node else branch.title if branch else ""


# ---------------------------------------------------------------- choices


def choose_failure(memory: Memory, post: str, round_: int, draw: Draw) -> Failure:
    """Return the failure to write for: in the first round one of the post's, later one drawn by the counts.

    One of the post's failures is drawn, and kept with its pattern's rate of success; otherwise a failure of any post is
    drawn by these rates.
    """
    own = memory.by_post[post]
    if not round_:
        return draw.choice(own)
    counts = memory.rounds[round_ - 1]
    failure = _drawn_by_success(memory, own, counts, draw)
    if draw.random() < success(counts, memory.key(failure)):
        return failure
    return _drawn_by_success(memory, memory.repairable, counts, draw)


def _drawn_by_success(memory: Memory, failures: Sequence[Failure], counts: Counts, draw: Draw) -> Failure:
    rates = [success(counts, memory.key(failure)) for failure in failures]
    left = draw.random() * sum(rates)
    for failure, rate in zip(failures, rates, strict=True):
        left -= rate
        if left < 0:
            return failure
    return failures[-1]


# ---------------------------------------------------------------- outcomes


def counted(outcomes: Iterable[Outcome], before: Sequence[Counts]) -> dict[str, tuple[int, int]]:
    """Return the counts so far with those of a round."""
    tried, kept = Counter[str](), Counter[str]()
    for key, (n_tried, n_kept) in (before[-1] if before else {}).items():
        tried[key], kept[key] = n_tried, n_kept
    for outcome in outcomes:
        tried[outcome.key] += 1
        kept[outcome.key] += outcome.draft is not None
    return {key: (tried[key], kept[key]) for key in sorted(tried)}


def outcome_of(memory: Memory, job: Job) -> Outcome:
    """Return the outcome of a finished job."""
    branch, node = memory.places.get(job.task.id, (None, None))
    pattern = node.pattern.name if node and job.stage == 0 else branch.title if branch else ""
    draft = None if job.refused else job.draft
    return Outcome(job.task, memory.key(job.task), pattern, draft, job.refused, tuple(job.trail))


def funnel(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Return the number of drafts, of those kept and of those caught by each filter, by stage and attempt."""
    results: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        for step in outcome.trail:
            results[step.stage, step.attempt][step.result] += 1
    return [
        {
            "attempt": attempt,
            "caught": {reason: n for reason, n in sorted(found.items()) if reason != KEPT},
            "drafts": found.total(),
            "kept": found[KEPT],
            "stage": stage,
        }
        for (stage, attempt), found in sorted(results.items(), key=lambda item: (STAGES.index(item[0][0]), item[0][1]))
    ]


def as_stubborn(outcome: Outcome) -> dict[str, Any]:
    """Return a request without a post as JSON-like data: its failure, and why the last draft was refused."""
    assert outcome.refused is not None
    return {
        "attempts": outcome.attempts,
        "detail": outcome.refused.detail,
        "failure": outcome.failure.id,
        "reason": outcome.refused.reason,
    }


def check_alike(memory: Memory, draft: Draft, shown: Sequence[Failure], most: float) -> Reject | None:
    """Return why a draft is too much like a train post, or like one of the failures that its writer was shown."""
    if text_key(draft.tokens) in memory.texts:
        return Reject("near_duplicate", "the text of a train post")
    for failure in shown:
        if (alike := likeness(draft.tokens, failure.tokens)) > most:
            return Reject("near_duplicate", f"{alike:.2f} of {failure.post}")
    return None


def known_of(posts: Sequence[Post]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the types of posts, with the fine ones, and the keys of their texts."""
    types = {entity_key(entity) for post in posts for entity in post.entities}
    return tuple(sorted(types)), frozenset(text_key(post.tokens) for post in posts)


def entities_of(draft: Draft) -> tuple[Entity, ...]:
    """Return the entities of a draft, whose types hold the fine ones."""
    parted = ((start, end, *kind.partition("/")[::2]) for start, end, kind in sorted(draft.entities))
    return tuple(Entity(start, end, kind, fine or None) for start, end, kind, fine in parted)


def as_post(source: Post, outcome: Outcome) -> Post | Reject:
    """Return the post of an outcome, or why there is none."""
    if outcome.draft is None:
        assert outcome.refused is not None
        told = f"{outcome.failure.id}, {outcome.attempts} drafts, the last: {outcome.refused.detail}"
        return replace(outcome.refused, detail=told)
    draft = outcome.draft
    details: dict[str, Any] = {
        "attempts": outcome.attempts,
        "failure": outcome.failure.id,
        MADE_OF: sorted({*draft.made_of, outcome.failure.post}),
        "pattern": outcome.pattern,
        **draft.details,
    }
    if draft.image_prompt and draft.image_prompt != " ".join(draft.tokens):
        details[IMAGE_PROMPT] = draft.image_prompt
    return Post(source.id, list(draft.tokens), entities_of(draft), draft.images or source.images, details=details)
