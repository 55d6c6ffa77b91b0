"""Vectors of pictures, cached by content: a picture that many posts share is encoded once.

They are kept in memory (the latest ``HELD``) and in ``embeddings/<encoder>.db`` of the cache folder, one file per
encoder (``storage.kept_features``), which workers and later runs share. The file may be deleted at any time.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.schema import EncodedImage
from hf_mner_aug.storage import kept_features

if TYPE_CHECKING:
    import numpy as np

KIND = "embeddings"
HELD = 20_000
BATCH = 64  # pictures encoded and written at a time

Encode = Callable[[list[EncodedImage]], "np.ndarray"]

_held: OrderedDict[tuple[str, str], bytes] = OrderedDict()


def vectors_of(images: Sequence[EncodedImage], encoder: str, dim: int, encode: Encode) -> "np.ndarray":
    """Return a float32 vector for each picture [n, dim]; the row of one that cannot be read is NaN.

    Args:
        images: the pictures, encoded.
        encoder: the encoder as a file name, different for each version and weights.
        dim: the length of a vector.
        encode: returns the vectors [n, dim] of pictures that are not cached yet, NaN for those it cannot read.
    """
    import numpy as np

    digests = [image_digest(image) for image in images]
    wanted = {digest: image for digest, image in zip(digests, images, strict=True) if digest}
    found = {digest: _held[encoder, digest] for digest in wanted if (encoder, digest) in _held}
    kept = kept_features.read(encoder, [digest for digest in wanted if digest not in found], KIND)
    found |= {digest: vector for digest, vector in kept.items() if len(vector) == 4 * dim}
    unknown = [digest for digest in wanted if digest not in found]
    for first in range(0, len(unknown), BATCH):
        batch = unknown[first : first + BATCH]
        rows = np.ascontiguousarray(encode([wanted[digest] for digest in batch]), dtype="<f4")
        made = {digest: row.tobytes() for digest, row in zip(batch, rows, strict=True)}
        found |= made
        whole = {digest: row for digest, row in made.items() if not np.isnan(np.frombuffer(row, "<f4")).any()}
        kept_features.write(encoder, whole, KIND)
    for digest in wanted:
        _held[encoder, digest] = found[digest]
        _held.move_to_end((encoder, digest))
    while len(_held) > HELD:
        _held.popitem(last=False)
    lost = np.full(dim, np.nan, dtype="<f4").tobytes()
    joined = b"".join(found[digest] if digest else lost for digest in digests)
    return np.frombuffer(joined, dtype="<f4").reshape(len(images), dim).astype(np.float32)
