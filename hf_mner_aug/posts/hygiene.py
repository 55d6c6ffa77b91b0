"""Duplicates and leaks: a text, picture or post that occurs twice, or in validation or test.

A ``Guard`` checks the posts of methods that bring in text or pictures from outside their train split.
``find_duplicates`` and ``find_leaks`` check whole datasets.
"""

import functools
import hashlib
import html
import io
import math
import re
import struct
import unicodedata
import urllib.parse
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import regex

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.scripts import GOES_ON
from hf_mner_aug.schema import EncodedImage, Post, raw_id

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from datasets import Dataset

# The limits of a post: of all networks, Facebook allows the most, 63,206 characters.
MAX_TEXT = 65_536
MAX_WORDS = 10_000

# Two pictures are the same if they differ in at most this many of 64 hash bits, and of 256 colour levels (mean).
# On 36 tweets' pictures, JPEG, another size and 2% off each edge changed at most 10 bits and 10 levels; two different
# ones were at least 20 bits apart. The colours distinguish plain drawings, whose hashes collide.
HASH_BITS = 10
COLOUR_LEVELS = 12

MARKS_IN_A_ROW = 30
SORTED_AT_ONCE = 1_000  # characters, so few that sorting their marks is fast

# Pictures are opened in these formats only; for some others (PostScript) Pillow would run a program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

# The keys of ``Post.details`` under which a method notes the origin of a text or picture.
ORIGIN_DETAILS = ("post_id", "url", "image_url")
PICTURED = "pictured"  # a list of ids: the train posts whose pictures appear in the made post's
MADE_OF = "made_of"  # a list of ids: the train posts that contribute to the pictures

_URL = re.compile(
    r"""
    (?=[hwp])(?:                                        # looked at first: it is quicker
        https?\ ?:\ ?/\ ?/\ ?                            # tokenisers split these: https : //t . co/x, http://t. co/x
        (?: [\w-]+ (?:\ ?\.\ ?[\w-]+)+ (?=\ ?/) | [\w.:-]*\w )?
        (?: \ ?/\ ? (?:[\w/?=&%\#~+:@!,;.-]*[\w/])? )?
        (?:\.?…|\.\.\.)?
      | \bwww\.\w[\w/?=&%\#~+:@.-]*\w
      | \bpic\.twitter\.com/\w+
      | \bhttps?[ :/.]*(?:…|\.\ ?\.\ ?\.)              # Twitter cuts long posts: http://t.…, http…, and at the end h…
      | \bh(?:t(?:tp?)?)?…\s*$
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
# A handle ends at white space or an ASCII sign, so that it includes its combining marks.
_RETWEET = re.compile(r"(?:rt ?@ ?(?:[^\s\x00-/:-@\[-^`{-\x7f]++| _|(?<=_) (?!_))++ ?: ?)++", re.IGNORECASE)
_LONG_NUMBER = re.compile(r"&#[0-9]{4000,};?")  # ``int`` refuses longer ones
# Punctuation that distinguishes texts, and the mathematical signs that replace it in a key: within a number (1-0 is
# not 10), before one (-1), and in names as C#. A dash between a word and a number (Covid-19) is punctuation.
_WITHIN_NUMBER = re.compile(r"(\d) ?[-.:/\u2044] ?(?=\d)")
_MINUS = regex.compile(rf"(?<![{GOES_ON}] ?)- ?(?=\d)", regex.V1)
_SHARP = re.compile(r"(?<!\w)([a-z]) ?#", re.IGNORECASE)
_DOT, _LESS, _SHARPENED = "\\1\u2219", "\u2212", "\\1\u266f"
_PUNCTUATION = str.maketrans("", "", "!\"#%&'()*,-./:;<>?@[\\]^_`{|}~ ")
_DASHES = regex.compile(r"[\p{Pd}\u2212]")
_LONE_ACCENT = regex.compile(r"[\p{Sk}--\p{Emoji_Modifier}]", regex.V1)  # NFKC attaches them to the letter before
# Besides letters, digits and marks a key keeps symbols (mathematics, currencies, pictures, their colours and flags),
# but neither joiners nor variation selectors.
_IN_KEY = regex.compile(
    r"[[\p{L}\p{M}\p{N}\p{Sc}\p{Sm}\p{So}\p{Extended_Pictographic}\p{Emoji_Modifier}]"
    r"--[\p{Default_Ignorable_Code_Point}|~<>\ufffd]]|[\U000e0020-\U000e007f]",
    regex.V1,
)
_STATUS = re.compile(r"/status(?:es)?/(\d+)")
_POOLED = re.compile(r"^twitter20\d\d[-_]", re.IGNORECASE)  # prefix of the ids in sets that pool Twitter-2015 and -2017


class Match(NamedTuple):
    """Two rows that share something: ``kind`` says what."""

    id: str
    other: str
    kind: str


# ---------------------------------------------------------------- text


def strip_urls(text: str) -> str:
    """Return the text without URLs, also those that a tokeniser split or Twitter cut, with single spaces."""
    return " ".join(_URL.sub(" ", text).split())


def normalise_text(text: str | Sequence[str], joiner: str = " ", *, casefold: bool = True) -> str:
    """Return the text, or its words joined, without URLs and leading ``RT @user :``, casefolded, with single spaces."""
    if not isinstance(text, str):
        text = joiner.join(text)
    text = strip_urls(text)
    if text[:2].lower() == "rt" and (retweeted := _RETWEET.match(text)):
        text = text[retweeted.end() :]
    return text.casefold() if casefold else text


def too_long(text: str | Sequence[str]) -> str | None:
    """Return a phrase that says how a text, or its words, exceeds the limits of a post, or None."""
    if isinstance(text, str) and len(text) > MAX_TEXT:
        return f"{len(text):,} characters, over {MAX_TEXT:,}"
    words = text.split() if isinstance(text, str) else text
    if len(words) > MAX_WORDS:
        return f"{len(words):,} words, over {MAX_WORDS:,}"
    n_signs = sum(map(len, words))
    return f"{n_signs:,} characters, over {MAX_TEXT:,}" if n_signs > MAX_TEXT else None


def normalise_unicode(form: Literal["NFC", "NFKC"], text: str) -> str:
    """Return a text in a normal form of Unicode, quickly even for 100,000 arbitrary characters.

    Python sorts a run of combining marks in quadratic time: a run of more than ``MARKS_IN_A_ROW``, which no language
    has, is sorted piece by piece (as in Unicode's Stream-Safe Text Format, UAX 15).
    """
    if len(text) < SORTED_AT_ONCE or text.isascii():
        return unicodedata.normalize(form, text)
    cuts, run = [0], 0
    for i, sign in enumerate(text):
        run = run + 1 if unicodedata.combining(unicodedata.normalize("NFKD", sign)[0]) else 0
        if run > MARKS_IN_A_ROW:
            cuts.append(i)
            run = 1
    return "".join(unicodedata.normalize(form, text[i:k]) for i, k in pairwise([*cuts, len(text)]))


def text_key(text: str | Sequence[str], joiner: str = " ") -> str:
    """Return a key that is equal for texts that differ only in tokenisation, punctuation and HTML escapes.

    It contains the letters with their marks, the digits and the symbols (including emoji) of the normalised text, and
    the punctuation that distinguishes numbers and names: ``C#``, ``C++``, ``-1``, ``1-0``. Of the 10,000 tweets of
    GMNER, many of which Twitter-2015 and -2017 tokenise differently, 10 have another key and 2,700 another normalised
    text. A text of other signs only keeps them.
    """
    plain = html.unescape(_LONG_NUMBER.sub("\ufffd", normalise_text(text, joiner)))
    if plain.isascii():
        folded = plain
    else:
        folded = _DASHES.sub("-", " ".join(normalise_unicode("NFKC", _LONE_ACCENT.sub("", plain)).split()))
    key = _WITHIN_NUMBER.sub(_DOT, folded)
    if "#" in key:
        key = _SHARP.sub(_SHARPENED, key)
    if "-" in key:
        key = _MINUS.sub(_LESS, key)
    if plain.isascii():
        key = key.translate(_PUNCTUATION)
    else:  # reattach marks that were split from their letters
        key = normalise_unicode("NFC", "".join(filter(_in_key.__getitem__, key)))
    return key or folded.replace(" ", "")


class _InKey(dict[str, bool]):
    """Whether a key keeps a sign, computed once for each."""

    def __missing__(self, sign: str) -> bool:
        self[sign] = _IN_KEY.match(sign) is not None
        return self[sign]


_in_key = _InKey()


# ---------------------------------------------------------------- pictures


def image_bytes(image: EncodedImage) -> bytes | None:
    """Return the bytes of an encoded image, or None if it holds none; a path is only a name, and never read."""
    return image["bytes"]


def image_digest(image: EncodedImage) -> str | None:
    """Return the SHA-256 of an encoded image's bytes, or None if it holds none."""
    data = image_bytes(image)
    return None if data is None else hashlib.sha256(data).hexdigest()


class Decoded(NamedTuple):
    """A picture as it is displayed, and how it differs from its file.

    ``orientation`` is the EXIF orientation (1 to 8) by which it was turned; ``animated`` and ``deep`` say that the file
    has more frames than the one taken, and more than 8 bits per channel.
    """

    picture: "PIL.Image.Image"
    orientation: int = 1
    animated: bool = False
    deep: bool = False


def open_image(image: EncodedImage, *, at_least: int | None = None) -> "PIL.Image.Image":
    """Return the decoded picture, turned by its EXIF; ``at_least`` (pixels) allows a smaller JPEG, which is faster.

    Raises:
        DataError: it cannot be read or decoded, or has more pixels than Pillow's limit.
    """
    return decode_image(image, at_least=at_least).picture


def decode_image(image: EncodedImage, *, at_least: int | None = None) -> Decoded:
    """Return the picture of ``open_image``, and how it differs from its file; raises as ``open_image``."""
    from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

    try:
        data = image_bytes(image)
        if data is None:
            raise DataError("the image has no bytes" + " and the file that it names is not read" * bool(image["path"]))
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and picture.width * picture.height > limit:
            raise DataError(f"the image has {picture.width}x{picture.height} pixels, over Pillow's limit of {limit}")
        # Several images of one photograph (MPO) are no animation.
        animated = picture.format != "MPO" and getattr(picture, "is_animated", False)
        deep = picture.mode.startswith(("I", "F")) or ";16" in str(getattr(picture, "tile", ""))
        if at_least is not None:
            picture.draft("RGB", (max(1, at_least), max(1, at_least)))
        tag = picture.getexif().get(ExifTags.Base.Orientation, 1)  # a TIFF loses it on loading
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
    except UnidentifiedImageError as error:
        raise DataError("the image is in no format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"the image is over Pillow's limit of pixels: {error}") from error
    except (
        # what Pillow's readers raise for a broken file
        OSError,
        EOFError,
        LookupError,
        SyntaxError,
        TypeError,
        ValueError,
        OverflowError,
        struct.error,
        zlib.error,
    ) as error:
        raise DataError(f"the image cannot be decoded: {error}") from error
    return Decoded(picture, next((n for n in range(2, 9) if n == tag), 1), animated, deep)


def eight_bits(picture: "PIL.Image.Image") -> "PIL.Image.Image":
    """Return a picture of 16 bits or more, which Pillow would clip at 255, scaled to 8; any other unchanged.

    Raises:
        DataError: it holds NaN or infinity.
    """
    import numpy as np
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError("the image holds NaN or infinity")
    # Pillow opens files of 16 bits with 16 or 32: values over 8 bits are scaled by the depth they need.
    top = values.max(initial=0)
    scale = 255.0 if 0 < top <= 1 and picture.mode == "F" else 1.0 if top <= 255 else 255 / 65535
    grey = np.clip(values * scale, 0, 255).round().astype(np.uint8)
    return Image.fromarray(grey)


def perceptual_hash(image: EncodedImage) -> int | None:
    """Return the 64-bit pHash of an encoded image, or None if it cannot be decoded."""
    look = _look(image)
    return None if look is None else look.bits


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


class _Row(NamedTuple):
    id: str
    tokens: list[str]
    images: list[EncodedImage]
    labels: list[Any]


def _rows(dataset: "Dataset", columns: Iterable[str] = ()) -> Iterator[_Row]:
    """Yield a dataset's rows with the values of some columns as ``labels``; pictures stay encoded."""
    missing = {"id", "tokens"} - set(dataset.column_names)
    if missing:
        raise UsageError(f"expected the columns id and tokens, found {', '.join(dataset.column_names)}")
    labels = [name for name in columns if name in dataset.column_names]
    pictures = [name for name in ("image", "images") if name in dataset.column_names]
    needed = dataset.select_columns(["id", "tokens", *pictures, *labels]).with_format("arrow")
    for table in needed.iter(batch_size=64 if pictures else 1000):
        for row in table.to_pylist():
            images = [row["image"]] if row.get("image") else []
            images += [image for image in row.get("images") or () if image]
            yield _Row(str(row["id"]), row["tokens"] or [], images, [row[name] for name in labels])


def find_duplicates(dataset: "Dataset") -> list[Match]:
    """Return each row that repeats an earlier one of the split.

    The kind is ``duplicate`` (words and labels), ``same_id``, ``same_text`` (its key) or ``same_image`` (bytes).

    Raises:
        UsageError: the dataset lacks the column id or tokens.
    """
    found: list[Match] = []
    seen: dict[tuple[str, Any], str] = {}
    for row in _rows(dataset, ("ner_tags", "fine_tags", "head", "tail", "relation")):
        keys: list[tuple[str, Any]] = [("same_id", row.id), ("duplicate", _digest(row.tokens, row.labels))]
        keys.append(("same_text", text_key(row.tokens)))
        keys += {("same_image", digest) for digest in map(image_digest, row.images)}
        found += [Match(row.id, seen[key], key[0]) for key in keys if key in seen]
        seen.update({key: row.id for key in keys if key[1] and key not in seen})
    return found


def find_leaks(train: "Dataset", held_out: "Dataset", *, looks: bool = True) -> list[Match]:
    """Return each train row that also occurs in a held-out dataset, which may be another set with other tokenisation.

    The kind is ``leak_id`` (12~2 and 12+eda.0 are 12 of the raw files), ``leak_text`` or ``leak_image`` (the same
    bytes, or with ``looks`` the same appearance).

    Raises:
        UsageError: a dataset lacks the column id or tokens.
    """
    known: dict[tuple[str, str], str] = {}
    for row in _rows(held_out):
        for key in _leak_keys(row):
            known.setdefault(key, row.id)
    pictures = "image" in train.column_names or "images" in train.column_names
    gallery = _Looks((row.id, image) for row in _rows(held_out) for image in row.images) if looks and pictures else None
    found: list[Match] = []
    for row in _rows(train):
        matches: dict[str, str] = {}
        for key in _leak_keys(row):
            if key in known:
                matches.setdefault(key[0], known[key])
        if gallery is not None and gallery.names and "leak_image" not in matches:
            for look in filter(None, map(_look, row.images)):
                other = gallery.find(look)
                if other is not None:
                    matches["leak_image"] = other
        found += [Match(row.id, other, kind) for kind, other in matches.items()]
    return found


def _leak_keys(row: _Row) -> Iterator[tuple[str, str]]:
    names = _ids(Post(row.id, row.tokens, images=tuple(row.images)))
    for name in sorted(names, key=lambda name: (name.endswith("~"), name)):  # the exact id first
        yield "leak_id", name
    text = text_key(row.tokens)
    if text:
        yield "leak_text", text
    for digest in filter(None, map(image_digest, row.images)):
        yield "leak_image", digest
