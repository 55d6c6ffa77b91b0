"""The posts of a config as pages show them: made posts beside the gold posts that they are made of."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.exceptions import Corrupt, UnknownName, UsageError
from hf_mner_aug.pages.posts import Album, Pair, Side, Thumbnail
from hf_mner_aug.publishing.cards import ConfigFacts
from hf_mner_aug.publishing.folder import KEYS, read_features, read_note
from hf_mner_aug.publishing.remaining import tables_of
from hf_mner_aug.publishing.rows import BATCH, is_made
from hf_mner_aug.publishing.stubs import check_whole
from hf_mner_aug.runs.funnel import nothing_made
from hf_mner_aug.schema import AUGMENTED, Codec, read_provenance
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.splits import named_splits
from hf_mner_aug.storage.parquet import shards

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features


class Gold(NamedTuple):
    """The gold posts: their codec, and a function that yields tables of the columns asked for."""

    codec: Codec
    tables: "Callable[[list[str]], Iterator[pa.Table]]"
    ids: set[str] | None = None  # None: all

    def sides(self, ids: set[str], album: Album | None) -> dict[str, Side]:
        """Return the posts that are available, by id; without an album no picture is read."""
        wanted = ids if self.ids is None else ids & self.ids
        columns = [name for name in self.codec.columns if album is not None or name != self.codec.image_column]
        rows = pick(self.tables(columns), wanted)
        blank = dict.fromkeys(self.codec.columns)
        return {row["id"]: Side.of(self.codec.to_post({**blank, **row}), album) for row in rows}


@dataclass(frozen=True)
class ConfigRows:
    """A split of a config: its files, and the ids of the gold posts that its made posts are made of, by their ids."""

    config: str
    split: str
    note: Mapping[str, Any]
    facts: ConfigFacts
    files: Sequence[Path]
    features: "Features"
    sources: Mapping[str, str | None]
    gold_ids: set[str]

    @classmethod
    def open(cls, folder: str | Path, config: str, split: str) -> "ConfigRows":
        """Return a split that holds made posts.

        Raises:
            UsageError: there is no such config or split, or it holds no made posts.
            Corrupt: a file is damaged or missing.
        """
        place = Path(folder) / config
        note = read_note(place)
        check_whole(note, folder, config)
        facts = ConfigFacts.from_note(note)
        if split not in facts.splits:
            raise UnknownName("split", split, facts.splits)
        files = shards(place, split)
        if not files:
            raise Corrupt(f"{place} holds no {split}-*.parquet, though its augmentation.json names that split")
        features = read_features(place)
        index = [row for table in tables_of(files, list(KEYS[:-1])) for row in table.to_pylist()]
        n_gold, methods = facts.splits[split].gold, [row["method"] for row in index]
        own = is_made(methods, facts.recipe.method, n_gold, replaces=facts.replaces)
        sources = {row["id"]: row["source_id"] for row, made in zip(index, own, strict=True) if made}
        if not sources and not facts.funnel["kept"]:
            raise UsageError(f"{config} has nothing to show: {nothing_made(facts.funnel, facts.recipe.build())}")
        if not sources:
            others = " or ".join(name for name, rows in facts.splits.items() if rows.made)
            raise UsageError(f"{split} of {config} holds no made posts; {others or 'no other split'} does")
        gold_ids = {row["id"] for row in index if row["id"] not in sources}
        return cls(config, split, note, facts, files, features, sources, gold_ids)

    @property
    def codec(self) -> Codec:
        """The codec of its rows."""
        return Codec(self.features)

    @property
    def gold(self) -> Gold:
        """The gold posts that it holds."""
        return Gold(self.codec, lambda columns: tables_of(self.files, columns), self.gold_ids)

    def pairs(
        self,
        chosen: Collection[str],
        before: Mapping[str, Side],
        stages: Mapping[str, Mapping[str, Thumbnail]],
        album: Album,
    ) -> list[Pair]:
        """Return made posts beside their gold posts; columns outside of a post become notes and further pictures."""
        kinds = {name: type(feature).__name__ for name, feature in self.features.items()}
        others = [name for name in self.features if name not in (*self.codec.columns, *AUGMENTED)]
        notes = [name for name in others if kinds[name] == "Value"]
        pictures = [name for name in others if kinds[name] == "Image"]
        columns = [*self.codec.columns, "source_id", "provenance", *notes, *pictures]
        pairs = []
        for row in pick(tables_of(self.files, columns), set(chosen)):
            note = read_provenance(row["provenance"] or "null", f"post {row['id']}")
            review = {"review": note["review"]["verdict"]} if "review" in note else {}
            pairs.append(
                Pair(
                    before.get(row["source_id"]),
                    Side.of(self.codec.to_post(row), album),
                    {**note.get("details", {}), **review, **{name: row[name] for name in notes}},
                    {
                        **stages.get(row["source_id"], {}),
                        **{name: album.add(row[name]) for name in pictures if row[name] is not None},
                    },
                    row["source_id"] is None,
                )
            )
        return pairs


def from_source(source: Any, split: str, facts: ConfigFacts) -> Gold:
    """Return the posts of a config's source; of an id that several splits have, the post of ``split`` is taken."""
    names = facts.recipe.columns
    splits = (
        load_source(str(source), columns=names)
        if isinstance(source, str | Path)
        else named_splits(source, columns=names)
    )

    def tables(columns: list[str]) -> "Iterator[pa.Table]":
        for name in sorted(splits, key=lambda name: name == split):
            yield from splits[name].select_columns(columns).with_format("arrow").iter(BATCH)

    return Gold(Codec(splits["train"].features), tables)


def pick(tables: "Iterable[pa.Table]", ids: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows with some ids."""
    import pyarrow as pa

    for table in tables:
        found = [i for i, name in enumerate(table.column("id").to_pylist()) if name in ids]
        yield from table.take(pa.array(found, pa.int64())).to_pylist()
