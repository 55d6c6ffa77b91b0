"""A memory of failures: root, error and confusion, patterns, failures.

Liu et al. 2026 cluster failures and let a language model induce patterns; how is decided here. Failures of one error
and confusion are clustered by their cues (agglomerative, average cosine, a distance threshold). An engine names each
cluster of enough failures; its pattern must tell held-out members from outsiders with balanced accuracy of at least
0.8, else it is asked again, at most five times. A branch depends on its own failures only, so failures that come later
change the branches they fall into and no other.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypedDict

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import Corrupt, DataError
from hf_mner_aug.models.patterns.cues import Space
from hf_mner_aug.models.patterns.engine import Pattern, PatternEngine, class_title, what_goes_wrong
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.shapes import checked, read_json

ACCURACY = 0.8
ROUNDS = 5
OUTSIDERS = 60  # the most that a pattern is checked against
STRONGEST = 12  # cues of a centre that are kept
# Errors as omission, hallucination, boundary and type confusion: a wrong type with wrong borders is the last one.
COARSE = {"missed": "missed", "spurious": "spurious", "boundary": "boundary", "type": "type", "both": "type"}


@dataclass(frozen=True)
class Node:
    """A pattern and the failures (ids) that are of it.

    ``accuracy`` is that of the check, None without outsiders; ``rounds`` is the number of the round that gave the
    pattern; ``critiques`` are the complaints of each failed round.
    """

    pattern: Pattern
    members: tuple[str, ...]
    embedding: Mapping[str, float]
    accuracy: float | None
    rounds: int
    critiques: tuple[str, ...] = ()

    @property
    def told_apart(self) -> bool:
        """True where the pattern passed its check: then it may judge new posts."""
        return self.accuracy is not None and self.accuracy >= ACCURACY

    @property
    def key(self) -> str:
        """The node's name in counts: a digest of its members."""
        return hashlib.sha256("\0".join(self.members).encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True)
class Branch:
    """The failures of one error and confusion: pattern nodes, and ``rest``, which are too few for a pattern.

    Without types in ``gold`` and ``predicted`` it has those of one error, whatever the confusion.
    """

    kind: str
    gold: str
    predicted: str
    nodes: tuple[Node, ...]
    rest: tuple[str, ...]

    @property
    def title(self) -> str:
        """The error and the confusion in words."""
        return what_goes_wrong(self.kind, self.gold, self.predicted) if self.gold else class_title(self.kind)

    @property
    def pattern(self) -> Pattern:
        """The branch as the parent pattern of its nodes."""
        return Pattern(
            name=self.title,
            trigger=f"any post where {self.title}",
            why="the error and the confusion are all that these failures share",
            how=f"write a post where {self.title} by a hasty reader",
        )

    @property
    def members(self) -> tuple[str, ...]:
        """The ids of all failures of the branch."""
        return (*(name for node in self.nodes for name in node.members), *self.rest)


@dataclass(frozen=True)
class Tree:
    """The memory of what a model (``target``) gets wrong."""

    target: str
    failures: Mapping[str, Failure]
    branches: tuple[Branch, ...] = ()
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # by a node's key: tried, kept

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as JSON-like data."""
        return {
            "branches": [asdict(branch) for branch in self.branches],
            "counts": {key: list(count) for key, count in sorted(self.counts.items())},
            "failures": [failure.to_dict() for _, failure in sorted(self.failures.items())],
            "target": self.target,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Tree":
        """Return the tree of ``to_dict``."""
        found = checked(data, Kept, "a memory of failures", error=Corrupt, halves=True)
        failures = {failure.id: failure for failure in map(Failure.from_dict, found["failures"])}
        tree = cls(found["target"], failures, tuple(found["branches"]), found["counts"])
        for name, branch, _ in tree.places():
            if name not in failures:
                raise Corrupt(f"a memory of failures: {branch.title}: expected known failures, found {name!r}")
        return tree

    def places(self) -> Iterator[tuple[str, Branch, Node | None]]:
        """Yield each failure's id with its branch and node (None where it is among the branch's rest)."""
        for branch in self.branches:
            for node in branch.nodes:
                yield from ((name, branch, node) for name in node.members)
            yield from ((name, branch, None) for name in branch.rest)


class Kept(TypedDict):
    """A tree as JSON-like data."""

    target: str
    failures: list[Mapping[str, Any]]
    branches: list[Branch]
    counts: Mapping[str, tuple[int, int]]


# ---------------------------------------------------------------- growing


@dataclass(frozen=True)
class Gardener:
    """The settings by which a tree grows.

    Clusters are merged below ``distance`` (mean cosine); ``support`` is the least number of failures of a pattern. With
    ``coarse`` a branch has the failures of one of four errors; ``merge`` changes a branch's pattern nodes at the end.
    """

    engine: PatternEngine
    space: Space
    distance: float = 0.8
    support: int = 3
    seed: int = 0
    coarse: bool = False
    merge: Callable[[Sequence[Node]], Sequence[Node]] = tuple

    def grow(self, target: str, failures: Iterable[Failure]) -> Tree:
        """Return the tree of failures; their order makes no difference."""
        return self.insert(Tree(target, {}), failures)

    def insert(self, tree: Tree, failures: Iterable[Failure]) -> Tree:
        """Return the tree with more failures, equal to one grown at once; unchanged branches are the same objects."""
        new = {failure.id: failure for failure in failures if tree.failures.get(failure.id) != failure}
        known = dict(sorted({**tree.failures, **new}.items()))
        touched = {self._place(failure) for failure in new.values()}
        touched |= {self._place(tree.failures[name]) for name in new if name in tree.failures}
        by_place = defaultdict(list)
        for failure in known.values():
            by_place[self._place(failure)].append(failure)
        old = {(branch.kind, branch.gold, branch.predicted): branch for branch in tree.branches}
        branches = [
            self._branch(place, members) if place in touched else old[place]
            for place, members in sorted(by_place.items(), key=lambda item: (-len(item[1]), item[0]))
        ]
        return replace(tree, failures=known, branches=tuple(branches))

    def _branch(self, place: tuple[str, str, str], failures: Sequence[Failure]) -> Branch:
        vectors = [self.space.vector(failure) for failure in failures]
        clusters = cluster(vectors, self.distance)
        large = [members for members in clusters if len(members) >= self.support]
        inside = {i for members in large for i in members}
        nodes = []
        for members in sorted(large, key=lambda members: (-len(members), members)):
            own = set(members)
            outsiders = [failure for i, failure in enumerate(failures) if i not in own]
            nodes.append(self._node([failures[i] for i in members], outsiders, [vectors[i] for i in members]))
        rest = tuple(failure.id for i, failure in enumerate(failures) if i not in inside)
        return Branch(*place, tuple(self.merge(nodes)), rest)

    def _place(self, failure: Failure) -> tuple[str, str, str]:
        """Return the branch of a failure: its error and confusion, or one of the four errors."""
        return (COARSE[failure.kind], "", "") if self.coarse else (failure.kind, *failure.confusion)

    def _node(self, members: Sequence[Failure], outsiders: Sequence[Failure], vectors: Sequence[Any]) -> Node:
        names = tuple(failure.id for failure in members)
        draw = Draw("\0".join(["pattern", str(self.seed), *names]).encode("utf-8", "surrogatepass"))
        others = sorted(draw.sample(outsiders, OUTSIDERS), key=lambda failure: failure.id)
        key = [self.engine.identity, self.seed, [f.to_dict() for f in members], [f.to_dict() for f in others]]
        digest = hashlib.sha256(canonical_json(key).encode("utf-8", "surrogatepass")).hexdigest()
        path = artifacts.cache_folder() / "patterns" / f"{digest}.json"
        try:
            induced: Induced = read_json(path, Induced)
        except (FileNotFoundError, DataError):
            kept = asdict(induce_checked(self.engine, members, others, draw))
            artifacts.write_atomically(path, canonical_json(kept).encode())
            induced = checked(kept, Induced, "a pattern")
        told = induced.accuracy, induced.rounds, tuple(induced.critiques)
        return Node(induced.pattern, names, centre(vectors), *told)


def cluster(vectors: Sequence[Mapping[str, float]], distance: float) -> list[list[int]]:
    """Return clusters of indices: agglomerative, average linkage, cosine distance below ``distance``."""
    import numpy as np
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.feature_extraction import DictVectorizer

    if len(vectors) < 2:
        return [[i] for i in range(len(vectors))]
    matrix = DictVectorizer().fit_transform(vectors)
    # Rounded, so that ties do not depend on the last bit of a sum.
    apart = (matrix @ matrix.T).toarray()
    np.round(np.clip(np.subtract(1, apart, out=apart), 0, 2, out=apart), 6, out=apart)
    np.fill_diagonal(apart, 0)
    model = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=distance
    )
    found = defaultdict(list)
    for i, label in enumerate(model.fit_predict(apart)):
        found[label].append(i)
    return sorted(found.values())


def centre(vectors: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the strongest cues of the mean of some vectors."""
    total: dict[str, float] = defaultdict(float)
    for vector in vectors:
        for cue, weight in vector.items():
            total[cue] += weight / len(vectors)
    return strongest(total)


def strongest(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the cues with the largest weights, the heaviest first."""
    found = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:STRONGEST]
    return {cue: round(weight, 4) for cue, weight in found}


@dataclass(frozen=True)
class Induced:
    """A pattern with its accuracy on held-out failures, its round, and the critique of each round."""

    pattern: Pattern
    accuracy: float | None
    rounds: int
    critiques: Sequence[str] = ()


def induce_checked(
    engine: PatternEngine, members: Sequence[Failure], outsiders: Sequence[Failure], draw: Draw
) -> Induced:
    """Return a pattern of members, checked on those held out.

    If no round is accurate enough, the best one counts; without outsiders there is nothing to check.
    """
    shown, held = _halves(members, draw.sub("members"))
    seen, unseen = _halves(outsiders, draw.sub("outsiders"))
    critiques: list[str] = []
    best: Induced | None = None
    for attempt in range(1, ROUNDS + 1):
        answer = engine.induce(shown, seen, critiques, draw.sub("induce", attempt))
        if isinstance(answer, Unwritten):
            critiques.append(f"{answer.reason}: {answer.detail}")
            continue
        accuracy = check(engine, answer, held, unseen) if outsiders else None
        if best is None or (accuracy or 0) > (best.accuracy or 0):
            best = Induced(answer, accuracy, attempt)
        if accuracy is None or accuracy >= ACCURACY:
            break
        critiques.append(f"accuracy: {accuracy:.2f} on failures that were not shown, {ACCURACY} is needed")
    if best is None:
        best = Induced(Pattern("unnamed", "", f"no pattern was given: {critiques[-1]}", ""), 0.0, ROUNDS)
    return replace(best, critiques=tuple(critiques))


def check(engine: PatternEngine, pattern: Pattern, members: Sequence[Failure], outsiders: Sequence[Failure]) -> float:
    """Return the balanced accuracy with which a pattern separates members from outsiders."""
    (answers,) = engine.matches([(pattern, [*members, *outsiders])])
    inside, outside = answers[: len(members)], answers[len(members) :]
    return round((sum(inside) / len(inside) + 1 - sum(outside) / len(outside)) / 2, 4)


def _halves(failures: Sequence[Failure], draw: Draw) -> tuple[list[Failure], list[Failure]]:
    """Return two thirds of failures and the rest; the same ones twice if they are too few to hold any out."""
    drawn = draw.shuffled(failures)
    cut = (2 * len(drawn) + 2) // 3
    return (drawn[:cut], drawn[cut:]) if cut < len(drawn) else (drawn, drawn)
