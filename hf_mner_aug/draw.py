"""Randomness keyed by row: what is drawn for a post depends on its key and on nothing else.

A ``Draw`` hashes its key and a counter (BLAKE2b), block by block and only when numbers are asked for, so batch size,
process count, shards, streaming and resuming cannot change it, and making one costs a few microseconds.
"""

import hashlib
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
_UNPACK = struct.Struct("<16I").unpack
_SCALE = 2.0**-32


class Draw:
    """A lazy stream of random numbers under a key; ``copy`` is the number of the copy that it is for."""

    __slots__ = ("_block", "_words", "copy", "key")

    def __init__(self, key: bytes, copy: int = 0) -> None:
        self.key = key
        self.copy = copy
        self._block = 0
        self._words: list[int] = []  # 32 bits each, taken from the end

    def _fill(self) -> list[int]:
        """Put 16 more words before the remaining ones."""
        block = hashlib.blake2b(self.key + self._block.to_bytes(8, "little")).digest()
        self._words[:0] = _UNPACK(block)
        self._block += 1
        return self._words

    def _take(self, n: int) -> list[int]:
        """Return the next n words."""
        while len(self._words) < n:
            self._fill()
        first = len(self._words) - n
        taken = self._words[first:]
        del self._words[first:]
        return taken

    def random(self) -> float:
        """Return a float, uniform in [0, 1) in steps of 2**-32."""
        return (self._words or self._fill()).pop() * _SCALE

    def uniforms(self, n: int) -> list[float]:
        """Return n floats, uniform in [0, 1)."""
        return [word * _SCALE for word in self._take(n)]

    def integer(self, n: int) -> int:
        """Return an integer, uniform in [0, n)."""
        return (self._words or self._fill()).pop() * n >> 32

    def choice(self, items: Sequence[T]) -> T:
        """Return one of the items (at least one)."""
        return items[(self._words or self._fill()).pop() * len(items) >> 32]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in a random order (Fisher-Yates)."""
        return self.sample(items, len(items))

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """Return k different items in the order drawn (all of them, shuffled, if there are fewer)."""
        if k == 1 and items:
            return [self.choice(items)]
        pool = list(items)
        n = len(pool)
        for i, word in enumerate(self._take(min(k, n))):
            j = i + (word * (n - i) >> 32)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def subset(self, items: Sequence[T], probability: float) -> list[T]:
        """Return a random subset of the items, in their order: each is kept with the given probability."""
        limit = probability / _SCALE
        return [item for item, word in zip(items, self._take(len(items)), strict=True) if word < limit]

    def sub(self, *names: str | int) -> "Draw":
        """Return the stream of a named part, independent of how much of this one was used."""
        parts = [str(name).encode("utf-8", "surrogatepass") for name in names]
        tail = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
        return Draw(hashlib.blake2b(tail, key=hashlib.sha256(self.key).digest(), digest_size=32).digest(), self.copy)

    def seed(self) -> int:
        """Return the key as an integer in [0, 2**63), for a library's own generator."""
        return int.from_bytes(hashlib.blake2b(self.key, digest_size=8, person=b"seed").digest(), "little") >> 1

    def generator(self) -> "np.random.Generator":
        """Return a NumPy generator under this key, for bulk numbers."""
        import numpy as np

        return np.random.Generator(np.random.Philox(key=self.seed()))


def draw(seed: int, method: str, version: int, post_id: str, copy: int) -> Draw:
    """Return the stream for one copy of one post."""
    return Draw(f"{seed}\0{method}\0{version}\0{copy}\0{post_id}".encode("utf-8", "surrogatepass"), copy)
