"""Posts ranked by their likeness to a text: the cosine of sentence vectors, instead of the words that they share.

The vectors of a corpus are computed once, block by block, and kept in the cache folder (``storage.kept_features``): an
interrupted run goes on with the next block. A block is always computed from the same texts in the same batches, and a
text that is searched for by itself, so the posts found do not depend on what else is searched for. At most ``HELD``
blocks are in memory.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hf_mner_aug.models.device import resolved_revision, split_model
from hf_mner_aug.models.search import Hit, Listed
from hf_mner_aug.models.words.sentence import BATCH, POOLER, open_encoder
from hf_mner_aug.progress import progress_bar
from hf_mner_aug.storage import kept_features

if TYPE_CHECKING:
    import numpy as np

BLOCK = 1024  # posts whose vectors are computed and kept at once
HELD = 128  # blocks: 100 MB of 384 numbers in half precision for each post
DIGITS = 5  # of a cosine: posts that are equally alike go by their order


def prepare(posts: Listed, encoder: str) -> None:
    """Compute the vectors of posts that are not kept yet.

    Raises:
        MissingExtra: transformers or torch is not installed.
        UsageError: there is no such encoder.
    """
    blocks = range(0, len(posts), BLOCK)
    for first in progress_bar(blocks, shown=True, desc=f"{encoder} reads {len(posts)} posts", unit=" blocks"):
        _block(posts, encoder, first)


def find_alike(posts: Listed, encoder: str, texts: Sequence[str], limit: int) -> Iterator[list[Hit]]:
    """Yield for each text the posts whose vectors have the largest cosine with its own, best first.

    Posts that are equally alike come in their order. Raises as ``prepare``.
    """
    import numpy as np

    vectors = [_unit(encoder, [text])[0] for text in texts]
    best = [(np.empty(0, "f4"), np.empty(0, int))] * len(texts)
    for first in range(0, len(posts), BLOCK):
        block = _block(posts, encoder, first).astype("f4")
        for i, vector in enumerate(vectors):
            cosines = np.concatenate([best[i][0], np.round(block @ vector, DIGITS)])
            places = np.concatenate([best[i][1], np.arange(first, first + len(block))])
            order = np.lexsort((places, -cosines))[:limit]
            best[i] = cosines[order], places[order]
    for cosines, places in best:
        yield posts.listed([int(place) for place in places], [round(float(cosine), DIGITS) for cosine in cosines])


@functools.lru_cache(maxsize=HELD)
def _block(posts: Listed, encoder: str, first: int) -> "np.ndarray":
    """Return the vectors [n, dim] of the posts from ``first`` on, in half precision."""
    import numpy as np

    file, key = _file(posts.fingerprint, encoder), str(first)
    size = min(BLOCK, len(posts) - first)
    kept = kept_features.read(file, [key]).get(key)
    if kept and len(kept) % (2 * size) == 0:
        return np.frombuffer(kept, "f2").reshape(size, -1)
    found = _unit(encoder, posts.texts(first, size)).astype("f2")
    kept_features.write(file, {key: found.tobytes()})
    return found


def _unit(encoder: str, texts: Sequence[str]) -> "np.ndarray":
    """Return the vectors [n, dim] of texts, of length one; computed by length, which reduces padding."""
    import numpy as np

    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    for at in range(0, len(order), BATCH):
        batch = order[at : at + BATCH]
        for i, vector in zip(batch, open_encoder(encoder).vectors([texts[i] for i in batch]), strict=True):
            found[i] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return np.stack(found)


@functools.lru_cache(maxsize=4)
def _file(posts: str, encoder: str) -> str:
    """Return the name of the file of the vectors: a digest of the posts, the encoder's weights and how it computes."""
    model, revision, variant = split_model(encoder)
    about = [posts, resolved_revision(model, revision), BLOCK, BATCH, *([variant] if variant else [])]
    opened = open_encoder(encoder)
    how = [opened.device.partition(":")[0], opened.pooling]
    about += [part for part in how if part in ("cuda", POOLER)]  # without them, vectors kept before are still found
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
