"""The rows of a config that stay when others are removed or relabelled, with its augmentation.json kept in step."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import Corrupt
from hf_mner_aug.publishing.cards import AS_PUBLISHED, ConfigFacts
from hf_mner_aug.publishing.folder import KEYS, NOTE, check_keys, fingerprint_of, remove_split
from hf_mner_aug.publishing.rows import (
    BATCH,
    ListedCounts,
    ShownPictures,
    WeightCounts,
    count_origin,
    is_made,
    made_posts,
    retrieved_posts,
    weights_left,
)
from hf_mner_aug.schema import Codec, read_provenance, split_tag, tag_names
from hf_mner_aug.storage.parquet import reading
from hf_mner_aug.transform.weights import has_weights
from hf_mner_aug.untrusted.names import STUBS

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features


def tables_of(files: Iterable[Path], columns: Sequence[str] | None = None) -> "Iterator[pa.Table]":
    """Yield the rows of a split's files, some at a time; where all keys are among the columns, each row has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        with reading(file), pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):  # one at a time: together they would fill memory
                for batch in parquet.iter_batches(BATCH, row_groups=[group], columns=columns):
                    table = pa.Table.from_batches([batch])
                    if columns is None or {*KEYS[:-1]} <= {*columns}:
                        check_keys(table, file)
                    yield table


class Remaining:
    """Counts what is left of a config in its augmentation.json, ``note``, while its rows are gone through in order."""

    def __init__(self, note: dict[str, Any], features: "Features") -> None:
        self.note = note
        self.gone = self.made_gone = 0
        self._features = features
        self._method: str = note["recipe"]["method"]
        self.replaces = ConfigFacts.from_note(note).replaces
        self._n_gold = {split: counts["gold"] for split, counts in note["splits"].items()}
        self._rows: Counter[str] = Counter()
        counted = ("licences", "masked", "inherited", "earlier")
        self._licences, self._masked, self._inherited, self._earlier = (Counter(note.get(name, {})) for name in counted)
        self._entities: dict[str, list[int]] = {kind: list(both) for kind, both in note["entities"].items()}
        self._shown = ShownPictures()
        self._listed = ListedCounts() if note.get("listed") else None
        self._weights = WeightCounts() if note.get("weights") and has_weights(features) else None

    def own(self, table: "pa.Table", split: str) -> list[bool]:
        """Return for each of a split's next rows whether the config's method made it [n_rows]."""
        methods, start = table["method"].to_pylist(), self._rows[split]
        self._rows[split] += table.num_rows
        return is_made(methods, self._method, self._n_gold[split], replaces=self.replaces, start=start)

    def keep(self, table: "pa.Table", own: list[bool], bad: list[bool], split: str) -> "pa.Table":
        """Return the rows that are not bad [n_rows], and count the others as gone."""
        import pyarrow as pa
        import pyarrow.compute as pc

        made_here, gone = pa.array(own, pa.bool_()), pa.array(bad, pa.bool_())
        gold, made = table.filter(pc.and_not(gone, made_here)), table.filter(pc.and_(gone, made_here))
        self.gone += gold.num_rows + made.num_rows
        self.made_gone += made.num_rows
        counts = self.note["splits"][split]
        counts["gold"] -= gold.num_rows
        counts["made"] -= made.num_rows
        for details in _details(made):
            count_origin(details, self._licences, self._masked, -1)
        left = table.filter(pc.and_not(made_here, gone))
        for details in _details(left):
            self._shown.add(details)
            if self._listed:
                self._listed.add(details)
        if self._listed:
            self._listed.add_gold(table.filter(pc.invert(pc.or_(made_here, gone))), Codec(self._features), split)
        if self._weights:
            self._weights.add(left)
        self._inherited.subtract(retrieved_posts(gold))
        self._earlier.subtract(made_posts(gold))
        if self.replaces:
            self._inherited.subtract(retrieved_posts(made))
            self._earlier.subtract(made_posts(made, replaced=True))
        if split in ("train", STUBS):
            self.count_entities(gold, -1, gold=True)
            self.count_entities(made, -1, gold=self.replaces)
        return table.filter(pc.invert(gone))

    def count_entities(self, table: "pa.Table", times: int, *, gold: bool) -> None:
        """Add the entities of train rows, so many times, to the counts of all posts, with ``gold`` also of gold posts.

        A post that replaces a gold post has its entities.
        """
        if "ner_tags" not in table.column_names:
            return
        names = tag_names(self._features, "ner_tags")
        for tag in (names[tag] for tags in table["ner_tags"].to_pylist() for tag in tags):
            prefix, kind = split_tag(tag)
            if prefix == "B":
                if times < 0 and kind not in self._entities:
                    raise Corrupt(f"{NOTE}: entities: expected the type {kind} of the rows, found none: {AS_PUBLISHED}")
                both = self._entities.setdefault(kind, [0, 0])
                both[0] += times * gold
                both[1] += times

    def settle(self, place: Path, dropped: Mapping[str, int]) -> None:
        """Write the counts and the fingerprint of the files in a folder into the note.

        ``dropped`` are the made posts that are gone, by reason.
        """
        note, funnel = self.note, self.note["funnel"]
        note["licences"], note["masked"], note["inherited"], note["earlier"] = (
            dict(+counts) for counts in (self._licences, self._masked, self._inherited, self._earlier)
        )
        note["entities"] = {kind: both for kind, both in sorted(self._entities.items()) if both[1]}
        funnel["kept"] -= self.made_gone
        for reason, count in dropped.items():
            if count:
                funnel["dropped"][reason] = funnel["dropped"].get(reason, 0) + count
        if STUBS in note["splits"] and not note["splits"][STUBS]["made"]:
            remove_split(place, note["splits"], STUBS)
        content = fingerprint_of(place, note["splits"])
        note["content_fingerprint"] = content.total
        note["digests"] = {"columns": content.columns, "rows": content.rows}
        originals = {name: n for name, n in note.get("pictures", {}).items() if name == "originals"}
        note["pictures"] = {**originals, **self._shown.counts()}
        if self._listed:
            note["listed"] = self._listed.counts()
        note["weights"] = weights_left(note, self._weights)


def _details(table: "pa.Table") -> Iterator[dict[str, Any]]:
    """Yield the method's notes of each row."""
    rows = zip(table["id"].to_pylist(), table["provenance"].to_pylist(), strict=True)
    return (read_provenance(note, f"post {name}").get("details", {}) for name, note in rows)
