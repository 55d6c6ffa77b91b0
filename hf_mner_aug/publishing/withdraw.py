"""Remove posts, and everything made from them, from the configs of a folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hf_mner_aug.posts.hygiene import origins
from hf_mner_aug.publishing.folder import (
    NOTE,
    place_config,
    read_features,
    read_note,
    split_files,
    write_split,
    writing,
)
from hf_mner_aug.publishing.remaining import Remaining, tables_of
from hf_mner_aug.publishing.rows import histories
from hf_mner_aug.schema import NUMBERED
from hf_mner_aug.storage.locks import stage

if TYPE_CHECKING:
    import pyarrow as pa


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
    note, features = read_note(folder), read_features(folder)
    remaining = Remaining(note, features)
    lost: set[str] = set()  # ids of removed rows; rows made from them come later
    with stage(folder.parent, folder.name) as room:
        place = room / folder.name
        for split, files in split_files(folder, note["splits"]).items():

            def kept(split: str = split, files: list[Path] = files) -> Iterator["pa.Table"]:
                for table in tables_of(files):
                    bad = _is_made_of(table, lost, _is_of(table, unwanted))
                    yield remaining.keep(table, remaining.own(table, split), bad, split)

            note["splits"][split]["num_bytes"] = write_split(kept(), place, split, read_features(folder, split))
        if remaining.gone:
            remaining.settle(place, {"withdrawn": remaining.made_gone})
            note["withdrawn"] = note.get("withdrawn", 0) + remaining.gone
            note["examples"] = []
            place_config(place, folder.parent, note, features)
    return remaining.gone


def _is_of(table: "pa.Table", unwanted: set[str]) -> list[bool]:
    """Return for each row whether it is, or was made from, one of these posts (gold post, partner, retrieved post)."""
    named = zip(table["id"].to_pylist(), table["source_id"].to_pylist(), histories(table), strict=True)
    rows = (
        {*filter(None, ids), *(name for _, note in history for name in origins(note.get("details", {})))}
        for *ids, history in named
    )
    return [any(_means(unwanted, name) for name in row) for row in rows]


def _means(ids: set[str], name: str) -> bool:
    """Return whether a post is one of these, or numbered from one of them."""
    return name in ids or bool((numbered := NUMBERED.fullmatch(name)) and numbered[1] in ids)


def _is_made_of(table: "pa.Table", lost: set[str], bad: list[bool]) -> list[bool]:
    """Return for each row whether it is removed, as bad or as made from a removed row; add the ids to ``lost``.

    A row without a source is made from no single row, though its id names the one by whose draw it was made.
    """
    found = []
    for name, source, goes in zip(table["id"].to_pylist(), table["source_id"].to_pylist(), bad, strict=True):
        found.append(goes or (source is not None and name.rpartition("+")[0] in lost))
        if found[-1]:
            lost.add(name)
    return found
