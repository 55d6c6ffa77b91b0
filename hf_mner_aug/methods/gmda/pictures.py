"""New pictures of GMDA's posts, and the originals they start from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.image.engine import POST_ID, Refused
from hf_mner_aug.models.image.nearest import nearest_pictured
from hf_mner_aug.models.text import free
from hf_mner_aug.posts.boxes import carry_boxes
from hf_mner_aug.posts.hygiene import MADE_OF, PICTURED
from hf_mner_aug.posts.pictures import MIXED, open_rgb, write_picture
from hf_mner_aug.schema import EncodedImage, Post
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


def with_nearest(
    posts: Sequence[Post], written: Sequence[Post | Reject], train: str
) -> tuple[list[Post], list[Post | Reject]]:
    """Return the posts and written ones; the pictures of a free text are those of the train post most like it.

    That post takes the place of the one that was asked, if it has pictures, so that boxes come from it as well.
    ``train`` is the digest of train's posts.
    """
    golds, made = list(posts), list(written)
    for i, post in enumerate(written):
        if not (isinstance(post, Post) and post.details.get(free.ASK) and post.images):
            continue
        if shown := nearest_pictured(train, post.tokens):
            others = {*post.details.get(MADE_OF, ()), shown.id}
            details = {**post.details, MADE_OF: sorted(others), PICTURED: [shown.id]}
            golds[i], made[i] = shown, replace(post, images=shown.images, details=details)
    return golds, made
