"""A post as a page shows it: its words in blocks, its pictures as thumbnails with boxes, and what changed in it."""

import base64
import difflib
import io
import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.posts.pictures import eight_bits, image_digest, open_image
from hf_mner_aug.schema import Box, EncodedImage, Entity, Post

WORDS_COMPARED = 300  # of a post, by diff: its time grows with the cube of the number of words
WIDTH, HEIGHT = 320, 320  # of a thumbnail, in pixels, at most
SMALL = 192  # the width where a post has several, or the page many posts
MANY = 500  # posts of a page
QUALITY = 70


class Words(NamedTuple):
    """Adjacent words that all changed, or all did not; ``ending`` lists the roles (head, tail) that end with them."""

    text: str
    changed: bool
    roles: tuple[str, ...]
    ending: tuple[str, ...]


class Block(NamedTuple):
    """The words of a mention, or those between two mentions."""

    entity: Entity | None
    runs: list[Words]


class DrawnBox(NamedTuple):
    """An entity's box, in percent of the picture's width and height."""

    words: str
    type: str
    left: str
    top: str
    width: str
    height: str


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail with the picture's width and height and its own width, in pixels, or why there is none."""

    digest: str
    url: str = ""
    width: int = 0
    height: int = 0
    shown_width: int = 0
    fault: str = ""

    @property
    def size(self) -> str:
        """The size of the original picture."""
        return f"{self.width} × {self.height}" if not self.fault else ""


class Album:
    """The thumbnails of a page of some posts: a picture that several of them share is made small once."""

    def __init__(self, posts: int) -> None:
        self._width = WIDTH if posts <= MANY else SMALL
        self._thumbnails: dict[tuple[str, int], Thumbnail] = {}

    def add(self, image: EncodedImage, *, several: bool = False) -> Thumbnail:
        """Return the thumbnail of a picture, which may be one of several of a post."""
        width = SMALL if several else self._width
        digest = image_digest(image)
        if digest is None:
            return Thumbnail("", fault="the picture is not in the file")
        if (digest, width) not in self._thumbnails:
            try:
                thumbnail = _thumbnail(image, digest, width)
            except DataError as error:
                thumbnail = Thumbnail(digest, fault=str(error))
            self._thumbnails[digest, width] = thumbnail
        return self._thumbnails[digest, width]


@dataclass(frozen=True)
class Side:
    """A post as the page shows it: with thumbnails instead of the pictures' bytes."""

    post: Post
    pictures: tuple[Thumbnail, ...] = ()

    @classmethod
    def of(cls, post: Post, album: Album | None) -> "Side":
        """Return a post as it is shown; without an album, its pictures are left out."""
        several = len(post.images) > 1
        pictures = tuple(album.add(image, several=several) for image in post.images) if album is not None else ()
        return cls(replace(post, images=()), pictures)

    @property
    def direction(self) -> str:
        """The direction of the text: ``ltr`` or ``rtl``."""
        return direction(" ".join(self.post.tokens))

    def blocks(self, changed: Collection[int] = ()) -> list[Block]:
        """Return the text split at mentions, at head and tail, and where changed words (by index) begin or end."""
        relation = self.post.relation
        spans = {"head": relation.head, "tail": relation.tail} if relation else {}

        def look(i: int) -> tuple[bool, tuple[str, ...]]:
            return i in changed, tuple(role for role, (start, end) in spans.items() if start <= i < end)

        blocks: list[Block] = []
        position, n_words = 0, len(self.post.tokens)
        for entity in (*sorted(self.post.entities, key=lambda e: e.start), None):
            start, end = (entity.start, entity.end) if entity else (n_words, n_words)
            for owner, first, last in ((None, position, start), (entity, start, end)):
                runs = []
                for (is_changed, roles), group in groupby(range(first, last), look):
                    indices = list(group)
                    stop = indices[-1] + 1
                    ending = tuple(role for role in roles if spans[role][1] == stop)
                    runs.append(Words(" ".join(self.post.tokens[indices[0] : stop]), is_changed, roles, ending))
                if runs:
                    blocks.append(Block(owner, runs))
            position = end
        return blocks

    def shows_as(self, other: "Side") -> bool:
        """Return whether the pictures of two posts look the same: the same pictures with the same boxes."""
        return (self.pictures, self.boxes, self.undrawn) == (other.pictures, other.boxes, other.undrawn)

    @property
    def boxes(self) -> list[DrawnBox]:
        """The boxes to draw on the first picture."""
        return [
            DrawnBox(words, entity.type, *_percent(box, self.pictures[0]))
            for entity, words, box in self._boxes()
            if self._can_draw(box)
        ]

    @property
    def undrawn(self) -> list[str]:
        """Boxes that cannot be drawn, as text: there is no picture, or the coordinates are not those of a box."""
        return [
            f"{words} ({entity.type}): box {', '.join(f'{value:g}' for value in box)}"
            for entity, words, box in self._boxes()
            if not self._can_draw(box)
        ]

    def _boxes(self) -> Iterator[tuple[Entity, str, Box]]:
        for entity in self.post.entities:
            for box in entity.boxes:
                yield entity, " ".join(self.post.tokens[entity.start : entity.end]), box

    def _can_draw(self, box: Box) -> bool:
        return (
            bool(self.pictures and not self.pictures[0].fault)
            and len(box) == 4
            and all(map(math.isfinite, box))
            and box[0] < box[2]
            and box[1] < box[3]
        )


@dataclass(frozen=True)
class Pair:
    """A made post beside its gold post, if it has one, with its notes and further pictures by caption."""

    before: Side | None
    after: Side
    notes: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Thumbnail] = field(default_factory=dict)
    sourceless: bool = False

    @property
    def changed(self) -> tuple[set[int], set[int]]:
        """The indices of removed words and of added words; in long posts, moved words count as unchanged."""
        if self.before is None:
            return set(), set()
        before, after = self.before.post.tokens, self.after.post.tokens
        if max(len(before), len(after)) > WORDS_COMPARED:
            old, now = set(before), set(after)
            return (
                {i for i, word in enumerate(before) if word not in now},
                {i for i, word in enumerate(after) if word not in old},
            )
        matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
        gone: set[int] = set()
        new: set[int] = set()
        for kind, i, j, k, m in matcher.get_opcodes():
            if kind != "equal":
                gone.update(range(i, j))
                new.update(range(k, m))
        return gone, new


def direction(text: str) -> str:
    """Return the direction of most letters of a text, ``ltr`` or ``rtl``: tweets often begin with RT or a @name."""
    kinds = Counter(map(unicodedata.bidirectional, text))
    return "rtl" if kinds["R"] + kinds["AL"] > kinds["L"] else "ltr"


def _thumbnail(image: EncodedImage, digest: str, width: int) -> Thumbnail:
    """Return a picture's thumbnail; raises as ``open_image``."""
    picture = eight_bits(open_image(image))
    own_width, own_height = picture.size
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((width, HEIGHT))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY)
    url = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(digest, url, own_width, own_height, round(min(width, HEIGHT * own_width / own_height)))


def _percent(box: Box, picture: Thumbnail) -> tuple[str, str, str, str]:
    """Return a box's left, top, width and height in percent of the picture's."""
    x1, y1, x2, y2 = box
    numbers = x1 / picture.width, y1 / picture.height, (x2 - x1) / picture.width, (y2 - y1) / picture.height
    left, top, width, height = (f"{100 * number:.2f}" for number in numbers)
    return left, top, width, height
