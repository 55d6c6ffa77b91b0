"""Duplicates and leaks: a text, picture or post that occurs twice, or in validation or test.

A ``Guard`` checks the posts of methods that bring in text or pictures from outside their train split.
``find_leaks`` checks whole datasets.
"""

import functools
import hashlib
import math
import re
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.pictures import eight_bits, image_digest, open_image
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.schema import EncodedImage, Post, raw_id

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

# Two pictures are the same if they differ in at most this many of 64 hash bits, and of 256 colour levels (mean).
# On 36 tweets' pictures, JPEG, another size and 2% off each edge changed at most 10 bits and 10 levels; two different
# ones were at least 20 bits apart. The colours distinguish plain drawings, whose hashes collide.
HASH_BITS = 10
COLOUR_LEVELS = 12

# The keys of ``Post.details`` under which a method notes the origin of a text or picture.
ORIGIN_DETAILS = ("post_id", "url", "image_url")
PICTURED = "pictured"  # a list of ids: the train posts whose pictures appear in the made post's
MADE_OF = "made_of"  # a list of ids: the train posts that contribute to the pictures

_STATUS = re.compile(r"/status(?:es)?/(\d+)")
_POOLED = re.compile(r"^twitter20\d\d[-_]", re.IGNORECASE)  # prefix of the ids in sets that pool Twitter-2015 and -2017


class Match(NamedTuple):
    """Two rows that share something: ``kind`` says what."""

    id: str
    other: str
    kind: str


class _Look(NamedTuple):
    """The appearance of a picture: its pHash and its mean colours [8, 8, 3]."""

    bits: int
    colours: "np.ndarray"


def _look(image: EncodedImage) -> _Look | None:
    import imagehash
    import numpy as np
    from PIL import Image

    try:
        picture = eight_bits(open_image(image, at_least=128)).convert("RGB")
    except DataError:
        return None
    bits = int(str(imagehash.phash(picture)), 16)
    return _Look(bits, np.asarray(picture.resize((8, 8), Image.Resampling.BOX)))


class _Looks:
    """The looks of many pictures, for search."""

    def __init__(self, pictures: Iterable[tuple[str, EncodedImage]]) -> None:
        import numpy as np

        seen = [(name, look) for name, image in pictures if (look := _look(image)) is not None]
        self.names = [name for name, _ in seen]
        self.bits = np.array([look.bits for _, look in seen], dtype=np.uint64)
        self.colours = np.array([look.colours for _, look in seen], dtype=np.uint8).reshape(-1, 8, 8, 3)

    def find(self, look: _Look) -> str | None:
        """Return the name of the first picture that looks the same."""
        import numpy as np

        for i in np.flatnonzero(np.bitwise_count(self.bits ^ np.uint64(look.bits)) <= HASH_BITS):
            if np.abs(self.colours[i].astype(np.int16) - look.colours).mean() <= COLOUR_LEVELS:
                return self.names[i]
        return None


# ---------------------------------------------------------------- one post at a time


class Guard:
    """Decides whether a made post may be published: not if it exists already, or occurs in validation or test.

    A text, picture or id that a gold train post also has is not a leak. Only digests are kept. The held-out pictures
    are read when a post first has a new one.

    Args:
        gold: the train posts that are published with the made ones.
        held_out: returns the posts of validation and test, with their pictures; called at most three times.
        same_text: accept posts that differ from another one only in their pictures.
        joiner: the separator of two words.
        comparable: returns the words of a text to compare; a method that masks words masks them in both.
    """

    def __init__(
        self,
        gold: Iterable[Post],
        held_out: Callable[[], Iterable[Post]],
        *,
        same_text: bool = False,
        joiner: str = " ",
        comparable: Callable[[Sequence[str]], Sequence[str]] = lambda tokens: tokens,
    ) -> None:
        self.held_out = held_out
        self.same_text = same_text
        self._text = lambda post: text_key(comparable(post.tokens), joiner)
        self._rows: set[bytes] = set()
        self._own_texts: set[str] = set()
        self._own_ids: set[str] = set()
        self._own_images: set[str | None] = {None}
        for post in gold:
            self._own_texts.add(self._text(post))
            self._own_ids.update(_ids(post))
            self._own_images.update(map(image_digest, post.images))
            self._rows.add(self._row(post))
        self._texts: set[str] = set()
        self._ids: set[str] = set()
        for post in held_out():
            self._texts.add(self._text(post))
            self._ids.update(_ids(post))
        self._texts -= self._own_texts | {""}
        self._ids -= self._own_ids

    def check(self, post: Post) -> str | None:
        """Return the reason to drop the post, or None; a kept post counts as existing from then on.

        The reason is ``duplicate`` (a gold or earlier post has its words and labels), ``leak_id``, ``leak_text`` (the
        text of a validation or test post) or ``leak_image`` (a picture with the bytes or the looks of one of theirs).
        """
        row = self._row(post)
        if row in self._rows:
            return "duplicate"
        new = [image for image in post.images if image_digest(image) not in self._own_images]
        if not self._ids.isdisjoint(_ids(post, new)):
            return "leak_id"
        if self._text(post) in self._texts:
            return "leak_text"
        if any(map(self._is_held_out, new)):
            return "leak_image"
        self._rows.add(row)
        return None

    def _row(self, post: Post) -> bytes:
        labels = sorted((e.start, e.end, e.type, e.fine) for e in post.entities)
        images = [image_digest(image) for image in post.images] if self.same_text else []
        return _digest(list(post.tokens), labels, post.relation, images)

    def _is_held_out(self, image: EncodedImage) -> bool:
        if image_digest(image) in self._image_digests:
            return True
        look = _look(image)
        return look is not None and self._looks.find(look) is not None

    @functools.cached_property
    def _image_digests(self) -> set[str | None]:
        return {image_digest(image) for post in self.held_out() for image in post.images}

    @functools.cached_property
    def _looks(self) -> _Looks:
        return _Looks((post.id, image) for post in self.held_out() for image in post.images)


def _ids(post: Post, images: Sequence[EncodedImage] | None = None) -> set[str]:
    """Return the ids of a post, of its pictures (or those given) and of its sources.

    Each comes with its raw id, written as no name is: ``12~`` for 12 and 12~2.
    """
    names = [_POOLED.sub("", post.id)]
    for image in post.images if images is None else images:
        if image["path"]:
            names.append(_POOLED.sub("", Path(image["path"]).stem))
    for key in ORIGIN_DETAILS:
        origin = post.details.get(key)
        if isinstance(origin, str) and origin:
            names.append(_origin_id(origin))
    return {key for name in names if name for key in (name, f"{raw_id(name)}~")}


class PictureUse:
    """Limits the made posts that show the same train picture, for pictures that are made from train pictures.

    Args:
        made: the number of posts made of a split: a train picture may be in a tenth of them, or in 20 if that is more.
    """

    def __init__(self, made: int) -> None:
        self.most = max(20, math.ceil(made / 10))
        self.uses: Counter[str] = Counter()

    def check(self, post: Post) -> str | None:
        """Return ``picture_used`` for a post to drop, or None; a kept post counts from then on."""
        shown = post.details.get(PICTURED, ())
        if any(self.uses[name] >= self.most for name in shown):
            return "picture_used"
        self.uses.update(shown)
        return None


def origins(details: Mapping[str, Any]) -> set[str]:
    """Return the ids of the other posts that a made post comes from, as noted in its details."""
    named = [value for key in ORIGIN_DETAILS if isinstance(value := details.get(key), str) and value]
    made_of = details.get(MADE_OF)
    return {_origin_id(value) for value in named} | {*map(str, made_of if isinstance(made_of, list | tuple) else ())}


def _origin_id(origin: str) -> str:
    """Return the id of a post or picture from its URL; anything that is not a URL is an id."""
    if "//" not in origin:
        return _POOLED.sub("", origin)
    if status := _STATUS.search(origin):
        return status[1]
    try:
        return Path(urllib.parse.urlsplit(origin).path).stem
    except ValueError:  # for example, brackets without an address
        return origin


def _digest(*values: Any) -> bytes:
    return hashlib.blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=16).digest()


# ---------------------------------------------------------------- whole datasets


def _posts(dataset: "Dataset") -> Iterator[Post]:
    """Yield a dataset's rows as posts without labels; pictures stay encoded."""
    missing = {"id", "tokens"} - set(dataset.column_names)
    if missing:
        raise UsageError(f"expected the columns id and tokens, found {', '.join(dataset.column_names)}")
    pictures = [name for name in ("image", "images") if name in dataset.column_names]
    needed = dataset.select_columns(["id", "tokens", *pictures]).with_format("arrow")
    for table in needed.iter(batch_size=64 if pictures else 1000):
        for row in table.to_pylist():
            images = [row["image"]] if row.get("image") else []
            images += [image for image in row.get("images") or () if image]
            yield Post(str(row["id"]), row["tokens"] or [], images=tuple(images))


def find_leaks(train: "Dataset", held_out: "Dataset") -> list[Match]:
    """Return each train row that also occurs in a held-out dataset, which may be another set with other tokenisation.

    The kind is ``leak_id`` (12~2 and 12+eda.0 are 12 of the raw files), ``leak_text`` or ``leak_image`` (the same
    bytes or the same appearance).

    Raises:
        UsageError: a dataset lacks the column id or tokens.
    """
    known: dict[tuple[str, str], str] = {}
    for post in _posts(held_out):
        for key in _leak_keys(post):
            known.setdefault(key, post.id)
    pictures = "image" in train.column_names or "images" in train.column_names
    gallery = _Looks((post.id, image) for post in _posts(held_out) for image in post.images) if pictures else None
    found: list[Match] = []
    for post in _posts(train):
        matches: dict[str, str] = {}
        for key in _leak_keys(post):
            if key in known:
                matches.setdefault(key[0], known[key])
        if gallery is not None and gallery.names and "leak_image" not in matches:
            for look in filter(None, map(_look, post.images)):
                other = gallery.find(look)
                if other is not None:
                    matches["leak_image"] = other
        found += [Match(post.id, other, kind) for kind, other in matches.items()]
    return found


def _leak_keys(post: Post) -> Iterator[tuple[str, str]]:
    for name in sorted(_ids(post), key=lambda name: (name.endswith("~"), name)):  # the exact id first
        yield "leak_id", name
    text = text_key(post.tokens)
    if text:
        yield "leak_text", text
    for digest in filter(None, map(image_digest, post.images)):
        yield "leak_image", digest
