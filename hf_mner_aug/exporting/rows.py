"""The posts of a config, or of a converted set, as they are written for other tools."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.exporting.layout import About, Outgoing
from hf_mner_aug.posts.tokenising import word_style
from hf_mner_aug.publishing.cards import ConfigFacts
from hf_mner_aug.publishing.folder import NOTE, only_config, read_features, read_note, split_files
from hf_mner_aug.publishing.remaining import tables_of
from hf_mner_aug.publishing.rows import BATCH, is_made
from hf_mner_aug.publishing.stubs import check_whole
from hf_mner_aug.schema import IMAGE_COLUMNS, Codec, Post, read_provenance
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.transform import iterate_posts

STYLED_BY = 1_000  # posts from which the style of a set's words is taken


@dataclass(frozen=True)
class Rows:
    """A set to write: its name, facts and cautions.

    ``posts`` yields its posts, given whether to keep those that no method made, and how many made ones to take;
    a set without made posts is ``original``.
    """

    name: str
    about: About
    fingerprint: str
    cautions: Sequence[str]
    posts: Callable[[bool, int | None], Iterator[Outgoing]]
    original: bool = False


def open_rows(folder: str | Path, config: str | None, splits: Collection[str]) -> Rows:
    """Return the rows of a config, or of a dataset if the folder holds no configs; raises as ``export``."""
    place = Path(folder)
    if config is not None or any(place.glob(f"*/{NOTE}")):
        return config_rows(place, only_config(place) if config is None else config, splits)
    found = load_source(str(folder))
    for split in splits:
        if split not in found:
            raise UnknownName("split", split, found)
    chosen = {split: data for split, data in found.items() if not splits or split in splits}
    codec = _codec(found["train"].features, str(folder))
    name = Path(folder).resolve().name if place.exists() else str(folder)

    def posts(keep: bool, most: int | None) -> Iterator[Outgoing]:
        for split, data in chosen.items() if keep else ():
            for table in data.with_format("arrow").iter(BATCH):
                for row in table.to_pylist():
                    post = codec.to_post(row)
                    yield Outgoing(post, "", split, row.get("source_id") or post.id, row.get("method") or "gold")

    first = found["train"].take(STYLED_BY)
    return Rows(name, _about(name, codec, iterate_posts(first, codec)), "", (), posts, original=True)


def config_rows(place: Path, config: str, splits: Collection[str] = ()) -> Rows:
    """Return the rows of a config.

    Raises:
        UsageError: there is no such config, it holds the retrieved posts by id only, or it has no entities.
        UnknownName: there is no such split.
        Corrupt: a file of the config is damaged.
    """
    folder = place / config
    note = read_note(folder)
    check_whole(note, place, config)
    facts = ConfigFacts.from_note(note)
    for split in splits:
        if split not in facts.splits:
            raise UnknownName("split", split, facts.splits)
    files = split_files(folder, facts.splits)
    codec = _codec(read_features(folder), config)

    def posts(keep: bool, most: int | None) -> Iterator[Outgoing]:
        chosen = [name for name in facts.splits if (name in splits if splits else keep or facts.splits[name].made)]
        total, made = sum(facts.splits[name].made for name in chosen), 0
        for split in chosen:
            row = 0
            for table in tables_of(files[split], [*codec.columns, "source_id", "method", "provenance"]):
                rows = table.to_pylist()
                methods = [values["method"] for values in rows]
                n_gold = facts.splits[split].gold
                own = is_made(methods, facts.recipe.method, n_gold, replaces=facts.replaces, start=row)
                row += len(rows)
                for values, is_own in zip(rows, own, strict=True):
                    taken = keep if not is_own else most is None or _is_taken(made, total, most)
                    made += is_own
                    if taken:
                        yield _outgoing(values, split, codec)

    about = _about(config, codec, islice(texts(files["train"], codec), STYLED_BY))
    return Rows(config, about, facts.content_fingerprint, cautions(facts), posts)


def _is_taken(i: int, total: int, most: int) -> bool:
    """Return whether item i of ``total`` is among ``most`` of them, evenly spread."""
    return most >= total or (i * most) // total != ((i - 1) * most) // total


def cautions(facts: ConfigFacts) -> list[str]:
    """Return what is to be thought of before the posts of a config go into a tool."""
    told = []
    if facts.retrieved or facts.inherited:
        told.append(
            "these are posts that other people wrote: use a tool of your own machine or one that only the reviewers "
            "can enter"
        )
    if facts.masked:
        masked = ", ".join(f"{kind} {n}" for kind, n in facts.masked.items())
        told.append(f"masked words stay masked: {masked}")
    return told


def texts(files: Iterable[Path], codec: Codec) -> Iterator[Post]:
    """Yield posts without their pictures, which are not read."""
    columns = [name for name in codec.columns if name not in IMAGE_COLUMNS]
    blank = dict.fromkeys(codec.columns)
    for table in tables_of(files, columns):
        yield from (codec.to_post({**blank, **row}) for row in table.to_pylist())


def _outgoing(row: Mapping[str, Any], split: str, codec: Codec) -> Outgoing:
    post = codec.to_post(row)
    return Outgoing(
        post, "", split, row["source_id"], row["method"], read_provenance(row["provenance"], f"post {post.id}")
    )


def _codec(features: Any, where: str) -> Codec:
    codec = Codec(features)
    if not codec.types:
        raise UsageError(f"{where} has relations and no entities: export writes entities")
    for label in (*codec.types, *codec.fine_types):
        if not label.isprintable():
            raise DataError(f"{where}: type {label!a} cannot be printed: rename it before you export")
    return codec


def _about(config: str, codec: Codec, posts: Iterable[Post]) -> About:
    joiner = "" if word_style(posts) == "characters" else " "
    several = codec.image_column == "images"
    return About(config=config, types=codec.types, joiner=joiner, several=several, folder="")
