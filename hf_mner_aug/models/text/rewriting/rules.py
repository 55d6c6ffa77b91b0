"""Other names and contexts without a model: mentions of the same type in train, other train posts as contexts.

A stand-in for a language model, which knows neither names that train lacks nor ways to write a sentence anew: it reads
no strategy. Contexts are those of ``templates``.
"""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hf_mner_aug.models.text.engine import Composed, TextRequest, Unwritten
from hf_mner_aug.models.text.labelled import delinearize, with_arguments
from hf_mner_aug.models.text.rewriting.engine import Names, RewritingRequest
from hf_mner_aug.models.text.templates import Templates
from hf_mner_aug.posts.hygiene import MADE_OF
from hf_mner_aug.posts.lexicon import entity_key, mention_counts, repeat_by_count
from hf_mner_aug.posts.listed_mentions import has_address, name_key
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.posts import open_posts
from hf_mner_aug.transform import Reject


@dataclass(frozen=True, kw_only=True)
class RewritingRules:
    """The engine without a model (a ``RewritingEngine``).

    Args:
        posts: the digest of the train posts (``storage.posts``).
        types: the types of tags, as ``tag_type`` writes them.
        seed: of the order of contexts.
    """

    name: ClassVar[str] = "rules"

    posts: str
    types: tuple[str, ...]
    seed: int = 0

    def rename(self, requests: Sequence[RewritingRequest]) -> list[Names | Unwritten]:
        """Return mentions of train; the reason is ``no_mention`` where it has no other one for any of the entities.

        Raises:
            NotFitted: the train posts are not on this machine.
        """
        return [self._renamed(request) for request in requests]

    def _renamed(self, request: RewritingRequest) -> Names | Unwritten:
        known, post = _mentions(self.posts), request.post
        found: dict[int, str] = {}
        for entity in request.entities:
            own = name_key(" ".join(post.tokens[entity.start : entity.end]))
            others = [name for name in known.get(entity_key(entity), ()) if name_key(name) != own]
            if others:
                found[entity.start] = request.draw.sub(entity.start).choice(others)
        kinds = ", ".join(sorted({entity.type for entity in request.entities}))
        return found or Unwritten("no_mention", f"train has no other {kinds}")

    def rewrite(self, requests: Sequence[RewritingRequest]) -> list[Post | Unwritten]:
        """Return the entities of each post in other train posts, whose ids are in ``made_of``.

        The reason is ``no_context`` where no other train post has a place for them.

        Raises:
            NotFitted: the train posts are not on this machine.
        """
        asked = [
            TextRequest(instruction="", image=None, post=request.post, copy=request.draw.copy) for request in requests
        ]
        texts = Templates(posts=self.posts, seed=self.seed).generate(asked, [request.draw for request in requests])
        return [self._read(request.post, text) for request, text in zip(requests, texts, strict=True)]

    def _read(self, post: Post, text: str | Unwritten) -> Post | Unwritten:
        if isinstance(text, Unwritten):
            return text
        found = delinearize(text, self.types)
        assert isinstance(text, Composed)
        assert not isinstance(found, Reject)
        tokens, entities = found
        origins = text.origins
        if origins is not None and post.origins is not None:  # of a post with other names
            origins = [post.origins[origin] if isinstance(origin, int) else origin for origin in origins]
        details = {**post.details, MADE_OF: list(text.made_of)}
        return Post(post.id, tokens, entities, post.images, details=details, origins=origins)


@functools.lru_cache(maxsize=4)
def _mentions(posts: str) -> Mapping[str, Sequence[str]]:
    """Return the mentions of train posts by entity key, repeated by count, without the mark of a hashtag.

    None has a handle or a link, or is one word that train has more often without a label.
    """
    labelled = [asked for post in open_posts(posts) if (asked := with_arguments(post))]
    outside = Counter(post.tokens[i].casefold() for post in labelled for i in post.outside())
    counts = mention_counts(labelled)
    inside = Counter[str]()
    for found in counts.values():
        for words, n in found:
            inside[" ".join(words).casefold()] += n

    def usable(words: Sequence[str]) -> bool:
        name = " ".join(words).casefold()
        return not has_address(words) and name.strip("# ") != "" and outside[name] <= inside[name]

    return {
        key: repeat_by_count((" ".join(words).lstrip("# "), n) for words, n in found if usable(words))
        for key, found in counts.items()
    }
