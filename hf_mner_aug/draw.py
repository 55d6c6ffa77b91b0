"""Randomness keyed by row: what is drawn for a post depends on its key and on nothing else.

A ``Draw`` expands its key with SHAKE-128, block by block and only when numbers are asked for, so batch size, process
count, shards, streaming and resuming cannot change it, and making one costs about a microsecond.
"""

import hashlib
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
_BLOCK = 16  # uniforms per hash call
_UNPACK = struct.Struct(f"<{_BLOCK}Q").unpack
_SCALE = 2.0**-53


class Draw:
    """A lazy stream of random numbers under a key."""

    __slots__ = ("_block", "_buffer", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._block = 0
        self._buffer: list[float] = []

    def random(self) -> float:
        """Return a float, uniform in [0, 1)."""
        if not self._buffer:
            block = hashlib.shake_128(self.key + self._block.to_bytes(8, "little")).digest(8 * _BLOCK)
            self._buffer = [(word >> 11) * _SCALE for word in reversed(_UNPACK(block))]
            self._block += 1
        return self._buffer.pop()

    def uniforms(self, n: int) -> list[float]:
        """Return n floats, uniform in [0, 1): the same as n calls of ``random``."""
        return [self.random() for _ in range(n)]

    def integer(self, n: int) -> int:
        """Return an integer, uniform in [0, n)."""
        return int(self.random() * n)

    def choice(self, items: Sequence[T]) -> T:
        """Return one of the items (at least one)."""
        return items[int(self.random() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in a random order (Fisher-Yates)."""
        order = list(items)
        for i in range(len(order) - 1, 0, -1):
            j = int(self.random() * (i + 1))
            order[i], order[j] = order[j], order[i]
        return order

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """Return k different items in the order drawn (all of them, shuffled, where there are fewer)."""
        pool = list(items)
        for i in range(min(k, len(pool))):
            j = i + int(self.random() * (len(pool) - i))
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def sub(self, *names: str | int) -> "Draw":
        """Return the stream of a named part, independent of how much of this one was used."""
        return Draw(hashlib.blake2b(_join(names), key=self.key, digest_size=32).digest())

    def seed(self) -> int:
        """Return the key as an integer in [0, 2**63), for a library's own generator."""
        return int.from_bytes(hashlib.blake2b(self.key, digest_size=8, person=b"seed").digest(), "little") >> 1

    def generator(self) -> "np.random.Generator":
        """Return a NumPy generator under this key, for bulk numbers."""
        import numpy as np

        return np.random.Generator(np.random.Philox(key=self.seed()))


def draw(seed: int, method: str, version: int, post_id: str, copy: int) -> Draw:
    """Return the stream for one copy of one post."""
    return Draw(hashlib.blake2b(_join((seed, method, version, post_id, copy)), digest_size=32).digest())


def _join(names: Sequence[str | int]) -> bytes:
    """Join names so that no two different sequences give the same bytes."""
    parts = [str(name).encode("utf-8", "surrogatepass") for name in names]
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)
