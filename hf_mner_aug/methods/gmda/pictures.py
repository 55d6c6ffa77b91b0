"""New pictures of GMDA's posts: the originals they start from, and the boxes that remain valid in them."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.image.collage import words_of
from hf_mner_aug.models.image.engine import POST_ID, Refused
from hf_mner_aug.posts.boxes import carry_boxes
from hf_mner_aug.posts.hygiene import MADE_OF, PICTURED
from hf_mner_aug.posts.pictures import MIXED, image_bytes, open_rgb, write_picture
from hf_mner_aug.schema import EncodedImage, Post
from hf_mner_aug.storage.posts import open_posts
from hf_mner_aug.transform import Reject

if TYPE_CHECKING:
    import PIL.Image

    from hf_mner_aug.models.image.engine import ImageEngine


def open_originals(post: Post, of: str) -> "Reject | list[PIL.Image.Image | None]":
    """Return the pixels of a post's pictures, which name the train post ``of``; [None] for a post without any."""
    opened: list[PIL.Image.Image | None] = []
    try:
        for image in post.images:
            picture = open_rgb(image)
            picture.info[POST_ID] = of
            opened.append(picture)
    except DataError as error:
        return Reject("unreadable_image", str(error))
    return opened or [None]


def nearest_pictured(digest: str, tokens: Sequence[str]) -> Post | None:
    """Return the train post with pictures whose words are most like a text's; None if none shares a word with it.

    Likeness is the cosine of the words' TF-IDF; of equally like posts it is the first.
    """
    rows, vectorizer, weights = _pictured(digest)
    if not rows:
        return None
    # Rounded, so that the order does not depend on the last bit of a sum.
    likeness = (weights @ vectorizer.transform([" ".join(tokens)]).T).toarray()[:, 0].round(6)
    best = int(likeness.argmax())
    found: Post = open_posts(digest)[rows[best]]
    return found if likeness[best] > 0 else None


@functools.lru_cache(maxsize=4)
def _pictured(digest: str) -> tuple[list[int], Any, Any]:
    """Return the rows of train posts with pictures, and their words' TF-IDF: the vectoriser and [n_rows, n_words]."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows, texts = [], []
    for row, post in enumerate(open_posts(digest)):
        if any(map(image_bytes, post.images)):
            rows.append(row)
            texts.append(" ".join(post.tokens))
    vectorizer = TfidfVectorizer(analyzer=words_of, sublinear_tf=True)
    if not any(map(words_of, texts)):
        return [], vectorizer, None
    return rows, vectorizer, vectorizer.fit_transform(texts)


def with_pictures(
    post: Post,
    gold: Post,
    originals: "Sequence[PIL.Image.Image | None]",
    pictures: "Sequence[PIL.Image.Image | Refused]",
    engine: "ImageEngine",
) -> Post | Reject:
    """Return a post with its new pictures, and their sources in ``details``."""
    images: list[EncodedImage] = []
    made_of, shown = set(post.details.get(MADE_OF, ())), set(post.details.get(PICTURED, ()))
    for n, (original, picture) in enumerate(zip(originals, pictures, strict=True)):
        if isinstance(picture, Refused):
            return Reject(picture.reason, picture.detail)
        like = post.images[n] if original is not None else None
        images.append(write_picture(picture, engine.source if original is None else MIXED[engine.source], like=like))
        shown.update(picture.info.get(MADE_OF, ()))
    first, made = originals[0], pictures[0]
    scale = (made.width / first.width, made.height / first.height) if first is not None else None  # type: ignore[union-attr]
    sources = {MADE_OF: sorted(made_of | shown), PICTURED: sorted(shown)}
    details = {**post.details, "synthetic": True, **{name: ids for name, ids in sources.items() if ids}}
    return carry_boxes(replace(post, images=tuple(images), details=details), gold, scale)
