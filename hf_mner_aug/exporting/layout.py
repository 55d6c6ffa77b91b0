"""A post on its way to a tool: its text with the places of its words, its labels, its pictures; and what a tool takes.

Text is the words with the set's joiner between them, so the place of each word is known, also after the way back.
Places are code points, ``[start, end)``; ``utf16`` converts them for tools that count as JavaScript does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from hf_mner_aug.schema import Entity, Post

IMAGES = "images"  # the folder of pictures, beside the files
REJECT = "REJECT"  # the label that takes a post out of the set


class Labelled(NamedTuple):
    """A mention in a text: its code points ``[start, end)``, its label and its surface text."""

    start: int
    end: int
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A post that is written, with its origin in the config; ``stem`` names its picture files, ``pictures``."""

    post: Post
    stem: str
    split: str
    source_id: str | None
    method: str
    provenance: Mapping[str, object] = field(default_factory=dict)
    pictures: Sequence[str] = ()

    def origin(self, config: str) -> dict[str, str | None]:
        """Return the fields by which a tool's file says where its post comes from, if it is one."""
        return {
            "post_id": self.post.id,
            "source_id": self.source_id,
            "method": self.method,
            "config": config,
            "split": self.split,
        }


@dataclass(frozen=True, kw_only=True)
class About:
    """Facts of the set that is written: its name, entity types, joiner, and its folder's name there."""

    config: str
    types: Sequence[str]
    joiner: str
    several: bool
    folder: str

    def labels(self, posts: Sequence[str] = ()) -> list[str]:
        """Return the labels to choose from: the types, and the spelled fine types that posts have."""
        return list(dict.fromkeys([*self.types, *sorted(posts)]))


@dataclass(frozen=True, kw_only=True)
class Target:
    """A format to write: ``write`` gets the posts, split by split, and makes the files.

    ``reviews`` says that people look at the posts there, so only made posts are written by default; ``on_lines`` that
    a word stands on a line of its own; ``guide`` are the steps, in Markdown, to read the files elsewhere.
    """

    name: str
    title: str
    write: Callable[[Iterator[Outgoing], Path, About], None]
    guide: str
    reviews: bool = False
    on_lines: bool = False


def lay_out(tokens: Sequence[str], joiner: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of some words [n_words], and the place of each word in it."""
    starts = [0, *accumulate(len(token) + len(joiner) for token in tokens)]
    return joiner.join(tokens), [(start, start + len(token)) for start, token in zip(starts, tokens, strict=False)]


def labelled(post: Post, joiner: str) -> tuple[str, list[Labelled]]:
    """Return the text of a post, and its mentions in it."""
    text, places = lay_out(post.tokens, joiner)
    found = []
    for entity in post.entities:
        start, end = places[entity.start][0], places[entity.end - 1][1]
        found.append(Labelled(start, end, label_of(entity), text[start:end]))
    return text, found


def label_of(entity: Entity) -> str:
    """Return the label of an entity: ``PER``, or with a fine type ``PER/actor``."""
    return entity.type if entity.fine is None else f"{entity.type}/{entity.fine}"


def reject_label(types: Sequence[str]) -> str:
    """Return the label for posts to reject, which is none of the types."""
    label = REJECT
    while label in types:
        label += "_POST"
    return label


def utf16(text: str) -> list[int]:
    """Return the places of a text's code points in UTF-16 units, and its length [n + 1]."""
    return [0, *accumulate(1 + (ord(sign) > 0xFFFF) for sign in text)]
