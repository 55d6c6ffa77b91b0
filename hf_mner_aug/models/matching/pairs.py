"""The text-picture pairs of a train split, by content, and their folds."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hf_mner_aug.models.matching.engine import TooFewPairs
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.posts.texts import normalise_text, text_key
from hf_mner_aug.schema import EncodedImage, Post

if TYPE_CHECKING:
    import numpy as np

FEWEST = 3  # pairs that share no text and no picture
BATCH = 64  # encoded pictures held in memory while fitting

Read = Callable[[Sequence[EncodedImage]], "np.ndarray"]


class Pairs(NamedTuple):
    """The pairs of a split, by content; ``rows`` holds an engine's features of each picture [n_images, ...]."""

    names: list[tuple[str, int]]
    texts: list[str]
    text_keys: list[str]
    text_of: "np.ndarray"
    image_digests: list[str]
    rows: "np.ndarray"
    image_of: "np.ndarray"
    notes: list[str]

    def part(self, pairs: "np.ndarray") -> "tuple[list[str], np.ndarray]":
        """Return the texts and the rows of some pairs."""
        return [self.texts[i] for i in self.text_of[pairs]], self.rows[self.image_of[pairs]]


def gather_pairs(posts: Iterable[Post], read: Read) -> Pairs:
    """Return the pairs of some posts; pictures that cannot be read are left out and noted."""
    import numpy as np

    pairs: list[tuple[tuple[str, int], str, str]] = []
    texts: dict[str, str] = {}
    rows: dict[str, np.ndarray] = {}
    waiting: dict[str, EncodedImage] = {}
    lost: list[tuple[str, int]] = []
    n_pictures = 0

    def read_waiting() -> None:
        rows.update(zip(waiting, read(list(waiting.values())), strict=True))
        waiting.clear()

    for post in posts:
        key = text_digest(post.tokens)
        for place, image in enumerate(post.images):
            n_pictures += 1
            digest = image_digest(image)
            if digest is None:
                lost.append((post.id, place))
                continue
            pairs.append(((post.id, place), key, digest))
            texts.setdefault(key, normalise_text(post.tokens))
            if digest not in rows:
                waiting.setdefault(digest, image)
            if len(waiting) == BATCH:
                read_waiting()
    read_waiting()
    broken = {digest for digest, row in rows.items() if np.isnan(row.flat[0])}
    lost += [name for name, _, digest in pairs if digest in broken]
    kept = [pair for pair in pairs if pair[2] not in broken]
    text_at = {key: i for i, key in enumerate(dict.fromkeys(key for _, key, _ in kept))}
    image_at = {digest: i for i, digest in enumerate(dict.fromkeys(digest for _, _, digest in kept))}
    notes = []
    if lost:
        first = f"post {lost[0][0]}, picture {lost[0][1] + 1}"
        notes.append(f"{len(lost)} of {n_pictures} pictures cannot be read and have no pair: the first is {first}")
    return Pairs(
        [name for name, _, _ in kept],
        [texts[key] for key in text_at],
        list(text_at),
        np.array([text_at[key] for _, key, _ in kept], dtype=np.int64),
        list(image_at),
        np.stack([rows[digest] for digest in image_at]) if image_at else read([]),
        np.array([image_at[digest] for _, _, digest in kept], dtype=np.int64),
        notes,
    )


def share_out(pairs: Pairs, folds: int, seed: int) -> "np.ndarray":
    """Return the fold of each pair [n_pairs]; pairs that share a text or a picture, also indirectly, share a fold."""
    import numpy as np
    from sklearn.model_selection import GroupKFold

    n_pairs = len(pairs.names)
    shared = zip(pairs.text_of.tolist(), pairs.image_of.tolist(), strict=True)
    groups = group_by_keys([[("text", text), ("image", image)] for text, image in shared])
    n_groups = len(np.unique(groups))
    if n_groups < FEWEST:
        raise TooFewPairs(
            f"matching: expected at least {FEWEST} pairs that share no text and no picture, found {n_groups}"
        )
    fold = np.empty(n_pairs, dtype=np.int64)
    parts = GroupKFold(min(folds, n_groups), shuffle=True, random_state=seed).split(groups, groups=groups)
    for k, (_, held_out) in enumerate(parts):
        fold[held_out] = k
    return fold


def group_by_keys(keys: Sequence[Sequence[Hashable]]) -> "np.ndarray":
    """Return the group of each item [n_items]: items that share a key, also indirectly, share a group."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    nodes: dict[Hashable, int] = {}
    edges = [(i, len(keys) + nodes.setdefault(key, len(nodes))) for i, of_item in enumerate(keys) for key in of_item]
    items, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    size = len(keys) + len(nodes)
    graph = coo_matrix((np.ones(len(edges)), (items, columns)), (size, size))
    groups: np.ndarray = connected_components(graph, directed=False)[1][: len(keys)]
    return groups


def text_digest(words: Sequence[str]) -> str:
    """Return the digest by which texts count as the same."""
    return hashlib.sha256(text_key(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]
