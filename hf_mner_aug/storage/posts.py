"""Train posts with their pictures, stored as an artifact: for methods that combine posts.

One Arrow file, memory-mapped and read post by post, so that a fitted method holds a digest and no pictures.
"""

import bisect
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.posts.pictures import image_bytes
from hf_mner_aug.schema import Entity, Post, Relation
from hf_mner_aug.storage import artifacts

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 64  # posts whose pictures are held while writing


def save_posts(posts: Iterable[Post]) -> str:
    """Store posts in the artifact cache, with unchanged picture bytes, and return the digest."""
    import pyarrow as pa

    schema, rows = _schema(), map(_to_row, posts)
    batches = iter(lambda: list(islice(rows, BATCH)), [])
    return artifacts.save_arrow(schema, (pa.RecordBatch.from_pylist(batch, schema=schema) for batch in batches))


@functools.lru_cache(maxsize=8)
def open_posts(digest: str) -> "StoredPosts":
    """Return the posts stored under a digest.

    Raises:
        NotFitted: they are not on this machine.
    """
    return StoredPosts(artifacts.path_of(digest))


class StoredPosts(Sequence[Post]):
    """Posts in a file of ``save_posts``; each is read when asked for."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._batches: list[pa.RecordBatch] = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._ends: list[int] = []
        for batch in self._batches:
            self._ends.append(batch.num_rows + (self._ends[-1] if self._ends else 0))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"{index} of {len(self)} posts")
        place = bisect.bisect_right(self._ends, index)
        before = self._ends[place - 1] if place else 0
        return _to_post(self._batches[place].slice(index - before, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Post]:
        for batch in self._batches:
            yield from map(_to_post, batch.to_pylist())

    @functools.cached_property
    def ids(self) -> list[str]:
        """The posts' ids, in order."""
        return [name for batch in self._batches for name in batch.column("id").to_pylist()]


def _to_row(post: Post) -> dict[str, Any]:
    return {
        "id": post.id,
        "tokens": list(post.tokens),
        "entities": [asdict(entity) for entity in post.entities],
        "images": [{"bytes": image_bytes(image), "path": image["path"]} for image in post.images],
        "relation": post.relation and asdict(post.relation),
    }


def _to_post(row: dict[str, Any]) -> Post:
    entities = tuple(Entity(**{**entity, "boxes": tuple(map(tuple, entity["boxes"]))}) for entity in row["entities"])
    found = row["relation"]
    relation = found and Relation(tuple(found["head"]), tuple(found["tail"]), found["type"])
    return Post(row["id"], row["tokens"], entities, tuple(row["images"]), relation)


def _schema() -> "pa.Schema":
    import pyarrow as pa

    span = pa.list_(pa.int32())
    entity = pa.struct(
        {
            "start": pa.int32(),
            "end": pa.int32(),
            "type": pa.string(),
            "fine": pa.string(),
            "boxes": pa.list_(pa.list_(pa.float64())),
        }
    )
    return pa.schema(
        {
            "id": pa.string(),
            "tokens": pa.list_(pa.string()),
            "entities": pa.list_(entity),
            "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
            "relation": pa.struct({"head": span, "tail": span, "type": pa.string()}),
        }
    )
