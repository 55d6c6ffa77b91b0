"""Patterns that a language model says are the same become one: each new one is compared with those that are there.

Part of memory_hard (Liu et al. 2026), after a summary of the paper, not its text: clusters are named one by one, then
merged over a whole branch of the tree; a pattern that is the same as an earlier one gives it its failures.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hf_mner_aug.draw import Draw
from hf_mner_aug.methods.memory_hard.tree import Node, strongest
from hf_mner_aug.models.patterns.endpoint import PatternEndpoint


def merge_nodes(engine: PatternEndpoint, nodes: Sequence[Node], seed: int) -> list[Node]:
    """Return nodes after merging those whose patterns the engine calls the same; raises as ``induce``."""
    kept: list[Node] = []
    for node in nodes:
        draw = Draw("\0".join(["merge", str(seed), *node.members]).encode("utf-8", "surrogatepass"))
        same = engine.same_as(node.pattern, [other.pattern for other in kept], draw) if kept else None
        if same is None:
            kept.append(node)
        else:
            kept[same] = joined(kept[same], node)
    return kept


def joined(first: Node, second: Node) -> Node:
    """Return the failures of two nodes under the pattern of the first.

    The check of that pattern counted the second's failures as outsiders, so it says nothing of the new node: without an
    accuracy the pattern judges no new posts.
    """
    n, m = len(first.members), len(second.members)
    weights = Counter({cue: weight * n / (n + m) for cue, weight in first.embedding.items()})
    weights.update({cue: weight * m / (n + m) for cue, weight in second.embedding.items()})
    return replace(
        first,
        members=(*first.members, *second.members),
        embedding=strongest(weights),
        accuracy=None,
        critiques=(*first.critiques, *second.critiques),
    )
