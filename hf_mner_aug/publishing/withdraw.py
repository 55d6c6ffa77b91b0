"""Remove posts, and everything made from them, from the configs of a folder."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import Corrupt
from hf_mner_aug.posts.hygiene import origins
from hf_mner_aug.publishing.cards import AS_PUBLISHED, ConfigFacts
from hf_mner_aug.publishing.folder import (
    NOTE,
    check_keys,
    fingerprint_of,
    place_config,
    read_features,
    read_note,
    remove_split,
    split_files,
    write_split,
    writing,
)
from hf_mner_aug.publishing.rows import (
    BATCH,
    ShownPictures,
    count_origin,
    histories,
    is_made,
    made_posts,
    retrieved_posts,
)
from hf_mner_aug.schema import NUMBERED, read_provenance, split_tag, tag_names
from hf_mner_aug.storage.locks import stage
from hf_mner_aug.storage.parquet import reading
from hf_mner_aug.untrusted.names import STUBS

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features


def withdraw_posts(out: Path, ids: Iterable[str]) -> dict[str, int]:
    """Remove posts, and everything made from them, from every config of a folder; return the removed rows by config.

    An id stands for all posts that ``convert`` numbered from it: 12 includes 12~2; 12~2 is that post only.
    Fingerprints, counts and the card are updated; removed made posts count as dropped, ``withdrawn``. The recipe is
    kept, but a rerun would make the posts again.

    Raises:
        TimeoutError: another process did not release the folder in time.
    """
    gone = {}
    unwanted = set(ids)
    with writing(out, "withdraw"):
        for path in sorted(out.glob(f"*/{NOTE}")):
            gone[path.parent.name] = _withdraw_from(path.parent, unwanted)
    return gone


def _withdraw_from(folder: Path, unwanted: set[str]) -> int:
    """Remove rows from a config's files; return their number."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    note = read_note(folder)
    licences, masked = Counter(note.get("licences", {})), Counter(note.get("masked", {}))
    inherited, earlier, entities = (
        Counter(note.get("inherited", {})),
        Counter(note.get("earlier", {})),
        note["entities"],
    )
    features, method = read_features(folder), note["recipe"]["method"]
    replaces = ConfigFacts.from_note(note).replaces
    gone = made_gone = 0
    shown = ShownPictures()
    lost: set[str] = set()  # ids of removed rows; rows made from them come later
    with stage(folder.parent, folder.name) as room:
        place = room / folder.name
        for split, files in split_files(folder, note["splits"]).items():
            counts = note["splits"][split]

            def kept(
                split: str = split, files: list[Path] = files, counts: dict[str, int] = counts
            ) -> Iterator["pa.Table"]:
                nonlocal gone, made_gone
                row, n_gold = 0, counts["gold"]
                for file in files:
                    with reading(file), pq.ParquetFile(file) as parquet:
                        for batch in parquet.iter_batches(batch_size=BATCH):
                            table = pa.Table.from_batches([batch])
                            check_keys(table, file)
                            bad = pa.array(_is_made_of(table, lost, _is_of(table, unwanted)), pa.bool_())
                            methods = table["method"].to_pylist()
                            own = pa.array(is_made(methods, method, n_gold, replaces=replaces, start=row), pa.bool_())
                            row += table.num_rows
                            gold, made = table.filter(pc.and_not(bad, own)), table.filter(pc.and_(bad, own))
                            gone += gold.num_rows + made.num_rows
                            made_gone += made.num_rows
                            counts["gold"] -= gold.num_rows
                            counts["made"] -= made.num_rows
                            for details in _details(made):
                                count_origin(details, licences, masked, -1)
                            for details in _details(table.filter(pc.and_not(own, bad))):
                                shown.add(details)
                            inherited.subtract(retrieved_posts(gold))
                            earlier.subtract(made_posts(gold))
                            if replaces:
                                inherited.subtract(retrieved_posts(made))
                                earlier.subtract(made_posts(made, replaced=True))
                            if split in ("train", STUBS):
                                _uncount_entities(entities, gold, features, gold=True)
                                _uncount_entities(entities, made, features, gold=replaces)
                            yield table.filter(pc.invert(bad))

            counts["num_bytes"] = write_split(kept(), place, split, read_features(folder, split))
        if gone:
            note["licences"], note["masked"], note["inherited"] = dict(+licences), dict(+masked), dict(+inherited)
            note["earlier"] = dict(+earlier)
            note["entities"] = {kind: both for kind, both in entities.items() if both[1]}
            funnel = note["funnel"]
            funnel["kept"] -= made_gone
            if made_gone:
                funnel["dropped"]["withdrawn"] = funnel["dropped"].get("withdrawn", 0) + made_gone
            if STUBS in note["splits"] and not note["splits"][STUBS]["made"]:
                remove_split(place, note["splits"], STUBS)
            content = fingerprint_of(place, note["splits"])
            note["content_fingerprint"] = content.total
            note["digests"] = {"columns": content.columns, "rows": content.rows}
            note["withdrawn"] = note.get("withdrawn", 0) + gone
            note["examples"] = []
            originals = {name: n for name, n in note.get("pictures", {}).items() if name == "originals"}
            note["pictures"] = {**originals, **shown.counts()}
            place_config(place, folder.parent, note, features)
    return gone


def _is_of(table: "pa.Table", unwanted: set[str]) -> list[bool]:
    """Return for each row whether it is, or was made from, one of these posts (gold post, partner, retrieved post)."""
    named = zip(table["id"].to_pylist(), table["source_id"].to_pylist(), histories(table), strict=True)
    rows = (
        {*ids, *(name for _, note in history for name in origins(note.get("details", {})))} for *ids, history in named
    )
    return [any(_means(unwanted, name) for name in row) for row in rows]


def _means(ids: set[str], name: str) -> bool:
    """Return whether a post is one of these, or numbered from one of them."""
    return name in ids or bool((numbered := NUMBERED.fullmatch(name)) and numbered[1] in ids)


def _is_made_of(table: "pa.Table", lost: set[str], bad: list[bool]) -> list[bool]:
    """Return for each row whether it is removed, as bad or as made from a removed row; add the ids to ``lost``."""
    found = []
    for name, goes in zip(table["id"].to_pylist(), bad, strict=True):
        found.append(goes or name.rpartition("+")[0] in lost)
        if found[-1]:
            lost.add(name)
    return found


def _uncount_entities(entities: dict[str, list[int]], table: "pa.Table", features: "Features", *, gold: bool) -> None:
    """Subtract the entities of rows from the counts of all posts, and with ``gold`` also from those of gold posts.

    A post that replaces a gold post has its entities.
    """
    if "ner_tags" not in table.column_names:
        return
    names = tag_names(features, "ner_tags")
    for tag in (names[tag] for tags in table["ner_tags"].to_pylist() for tag in tags):
        prefix, kind = split_tag(tag)
        if prefix == "B":
            if kind not in entities:
                raise Corrupt(f"{NOTE}: entities: expected the type {kind} of the rows, found none: {AS_PUBLISHED}")
            entities[kind][0] -= gold
            entities[kind][1] -= 1


def _details(table: "pa.Table") -> Iterator[dict[str, Any]]:
    """Yield the method's notes of each row."""
    rows = zip(table["id"].to_pylist(), table["provenance"].to_pylist(), strict=True)
    return (read_provenance(note, f"post {name}").get("details", {}) for name, note in rows)
