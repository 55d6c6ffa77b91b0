"""What the posts that a method makes consist of, and the pictures that explain how it works."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_mner_aug.schema import EncodedImage, Post


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """How made posts are built from retrieved posts, so that ``hydrate`` can put these back into a config.

    Args:
        text: whether the words are the retrieved post's; otherwise the gold post's.
        image: the same for the pictures.
        words: cuts the words of a post retrieved as a set does (``posts.tokenising.Style``).
        mask: masks words of a whole post.
    """

    text: bool
    image: bool
    words: Callable[[Any, Any], Sequence[str]]
    mask: Callable[[Post], Post]


@dataclass(frozen=True, kw_only=True)
class Content:
    """What made posts consist of, where that is more than new words for their gold posts.

    Args:
        pictures_only: only pictures change, so made posts are no duplicates of their gold posts, and the method has
            nothing to do on a set without a picture column.
        joined: the posts hold words of other train posts, named in their ``origins``.
        sourceless: they are made of the whole train split, each of no single gold post: ``source_id`` is null.
        retrieved: they hold words or pictures of posts outside the train split, named by ``post_id``.
        retrieval: how a retrieved post becomes a row, if it can be retrieved again by its ``post_id``.
        comparable: changes words as the method changes all texts; leaks into held-out splits are found by the result.
        columns: columns that the method adds, with their dtypes; a made post has their values in ``details``.
    """

    pictures_only: bool = False
    joined: bool = False
    sourceless: bool = False
    retrieved: bool = False
    retrieval: Retrieval | None = None
    comparable: Callable[[Sequence[str]], Sequence[str]] = lambda tokens: tokens
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def foreign(self) -> bool:
        """True if made posts are other people's posts, or of no gold post: no column of the gold post is kept."""
        return self.retrieved or self.retrieval is not None or self.sourceless


@dataclass(frozen=True, kw_only=True)
class Exhibits:
    """Pictures that show on the page of a config how a fitted method works.

    Args:
        figures: drawings (SVG) of the learned state.
        stages: returns the intermediate pictures of each post, by caption.
    """

    figures: tuple[str, ...]
    stages: Callable[[Sequence[Post]], list[Mapping[str, EncodedImage]]]
