"""The rows of a raw set that has been scanned."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.readers.boxes import Box
from hf_mner_aug.readers.formats import BadLine
from hf_mner_aug.readers.images import PictureFile
from hf_mner_aug.readers.layout import RawSet
from hf_mner_aug.readers.report import Report
from hf_mner_aug.schema import Span, bio_to_spans, repair_orphans

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

BATCH = 100  # rows held in memory while writing, with their pictures


@dataclass(frozen=True)
class Reading:
    """A set that has been read once, for its labels and counts; ``rows`` reads it again, one post at a time."""

    raw: RawSet
    files: Mapping[str, Path]
    features: "Features"
    report: Report
    new_ids: Mapping[tuple[str, int], str]
    pictures: Mapping[str, list[PictureFile]]
    boxes: Mapping[tuple[str, int], Mapping[tuple[int, int], list[Box]]]

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits."""
        return tuple(self.files)

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a split, with images as the unchanged bytes of their files."""
        tag_ids = self._tag_ids("ner_tags")
        fine_ids = self._tag_ids("fine_tags")
        for post in self.raw.parse(self.files[split]):
            if isinstance(post, BadLine) or not post.tokens:
                continue
            row: dict[str, Any] = {"id": self.new_ids.get((split, post.line), post.id), "tokens": post.tokens}
            if tag_ids:
                tags = repair_orphans(post.tags, self.report.orphans)[0]
                row["ner_tags"] = [tag_ids[tag] for tag in tags]
                if "entities" in self.features:
                    row["entities"] = self._entities(bio_to_spans(tags), self.boxes.get((split, post.line), {}))
            if fine_ids:
                row["fine_tags"] = [fine_ids[tag] for tag in repair_orphans(post.fine_tags, self.report.orphans)[0]]
            if post.relation is not None:
                head, tail = post.relation.head, post.relation.tail
                row["head"] = {"start": head[0], "end": head[1]}
                row["tail"] = {"start": tail[0], "end": tail[1]}
                row["relation"] = self.features["relation"].str2int(post.relation.type)
            images = [
                {"bytes": picture.read(), "path": picture.path.name}
                for name in post.pictures
                for picture in self.pictures.get(name, ())
            ]
            row.update({"images": images} if self.raw.images == "many" else {"image": next(iter(images), None)})
            yield row

    def tables(self, split: str) -> "Iterator[pa.Table]":
        """Yield the rows of a split as tables of a few posts."""
        import pyarrow as pa

        rows = self.rows(split)
        while batch := list(islice(rows, BATCH)):
            yield pa.Table.from_pylist(batch, schema=self.features.arrow_schema)

    def _entities(self, spans: Iterable[Span], boxes: Mapping[tuple[int, int], list[Box]]) -> list[dict[str, Any]]:
        """Return the entities of a post as column values: all of them, each with its boxes, if any."""
        return [
            {
                "start": start,
                "end": end,
                "type": kind,
                "boxes": [list(box) for box in boxes.get((start, end), ())],
            }
            for start, end, kind in spans
        ]

    def _tag_ids(self, column: str) -> dict[str, int]:
        """Return the ids of a column's tags."""
        if column not in self.features:
            return {}
        return {name: i for i, name in enumerate(self.features[column].feature.names)}
