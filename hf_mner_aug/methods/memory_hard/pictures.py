"""Pictures of memory_hard's posts: those that a writer sees, new ones for new texts, and whether these show the text.

The comparison is after a summary of Liu et al. 2026, not the paper's text: a language model describes the new picture,
and the cosine of that with what the picture was drawn for must reach a least value.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.models.patterns.endpoint import PatternEndpoint
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.words import sentence
from hf_mner_aug.posts.hygiene import MADE_OF, PICTURED
from hf_mner_aug.posts.pictures import MIXED, open_rgb, write_picture
from hf_mner_aug.schema import EncodedImage, Post
from hf_mner_aug.storage.posts import open_posts
from hf_mner_aug.transform import Reject
from hf_mner_aug.untrusted.printable import excerpt

if TYPE_CHECKING:
    import PIL.Image

    from hf_mner_aug.models.image.engine import ImageEngine

CHUNK = 16  # pictures that are held at a time
IMAGE_PROMPT = "image_prompt"  # in the details of a post
CAPTION = "caption_similarity"


def with_pictures(
    made: Sequence[Post | Reject | None],
    draws: Sequence[Draw],
    engine: "ImageEngine",
    *,
    fill: bool,
    prompted: bool,
) -> Iterator[tuple[int, Post | Reject]]:
    """Yield the posts with new pictures, or why there is none, a few at a time, each with its index.

    Args:
        made: posts with the pictures of their gold posts.
        draws: one for each of them.
        engine: that makes the pictures.
        fill: also draw for posts without a picture.
        prompted: draw the writer's description of a picture, not the text.
    """
    source = MIXED[engine.source] if engine.restyles else engine.source
    wanted = [(i, post) for i, post in enumerate(made) if isinstance(post, Post) and (post.images or fill)]
    for first in range(0, len(wanted), CHUNK):
        chosen = wanted[first : first + CHUNK]
        sentences = [prompt_of(post, prompted=prompted) for _, post in chosen]
        originals = [_original(post) for _, post in chosen] if engine.restyles else None
        pictures = engine.generate(sentences, [draws[i].sub("image") for i, _ in chosen], originals=originals)
        for (i, post), picture in zip(chosen, pictures, strict=True):
            if isinstance(picture, Refused):
                yield i, Reject(picture.reason, picture.detail)
                continue
            shown = sorted(picture.info.get(MADE_OF, ()))
            details = {**post.details, MADE_OF: sorted({*post.details[MADE_OF], *shown}), "synthetic": True}
            details |= {PICTURED: shown} if shown else {}
            yield i, replace(post, images=(write_picture(picture, source),), details=details)


def prompt_of(post: Post, *, prompted: bool) -> str:
    """Return what a post's picture is drawn for: the writer's description, or the text itself."""
    text = " ".join(post.tokens)
    prompt: str = post.details.get(IMAGE_PROMPT, text) if prompted else text
    return prompt


def _original(post: Post) -> "PIL.Image.Image | None":
    """Return the pixels of a post's first picture that can be decoded."""
    for image in post.images:
        with contextlib.suppress(DataError):
            return open_rgb(image)
    return None


# ---------------------------------------------------------------- seen by a language model


def readable_picture(post: Post) -> EncodedImage | None:
    """Return a post's first picture that can be decoded."""
    for image in post.images:
        with contextlib.suppress(DataError):
            open_rgb(image)
            return image
    return None


def picture_of(posts: str, name: str) -> EncodedImage | None:
    """Return the first readable picture of a stored train post; raises as ``open_posts``."""
    return readable_picture(open_posts(posts)[_rows(posts)[name]])


@functools.lru_cache(maxsize=4)
def _rows(posts: str) -> Mapping[str, int]:
    return {post.id: row for row, post in enumerate(open_posts(posts))}


def check_pictures(
    made: Mapping[int, Post | Reject], engine: PatternEndpoint, encoder: str, least: float, *, prompted: bool
) -> dict[int, Post | Reject]:
    """Return posts with the cosine of their picture's description with what it was drawn for, or why it is too low.

    Args:
        made: posts with new pictures, or why there is none.
        engine: that describes them.
        encoder: the folder or id of a sentence encoder.
        least: the least cosine.
        prompted: as in ``with_pictures``.

    Raises:
        EndpointError: no request can be answered.
    """
    posts = {i: post for i, post in made.items() if isinstance(post, Post)}
    captions = engine.describe([post.images[0] for post in posts.values()])
    told = ["" if isinstance(caption, Unwritten) else caption for caption in captions]
    asked = [prompt_of(post, prompted=prompted) for post in posts.values()]
    cosines = sentence.open_encoder(encoder).pairs(told, asked) if posts else []
    found = dict(made)
    for (i, post), caption, cosine in zip(posts.items(), captions, cosines, strict=True):
        if isinstance(caption, Unwritten):
            found[i] = Reject("unlike_picture", f"no description: {caption.detail}")
        elif cosine < least:
            found[i] = Reject("unlike_picture", f"{cosine:.2f}: {excerpt(caption)}")
        else:
            found[i] = replace(post, details={**post.details, CAPTION: round(float(cosine), 3)})
    return found
