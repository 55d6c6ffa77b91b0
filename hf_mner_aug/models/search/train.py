"""Find posts in the train split itself: a searcher over stored posts, used without a corpus."""

import functools
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence

from hf_mner_aug.models.search.engine import Hit, Query, phrase_words, words
from hf_mner_aug.schema import Post


class TrainPosts:
    """Searches posts like a local corpus; better hits share more, and rarer, words with the query.

    Labels are ignored, and so are a query's sites and dates.
    """

    def __init__(self, posts: Sequence[Post]) -> None:
        self._posts = posts
        self._texts: list[list[str]] = [words(" ".join(post.tokens)) for post in posts]
        self._holders: dict[str, set[int]] = defaultdict(set)
        for i, text in enumerate(self._texts):
            for word in text:
                self._holders[word].add(i)

    def search(self, query: Query, limit: int = 10) -> list[Hit]:
        """Return at most ``limit`` posts with the phrases, best first; ties go to the earlier post."""
        asked = {word for text in (query.text, *query.phrases) for word in words(text)} & self._holders.keys()
        weights = {word: math.log(1 + len(self._posts) / len(self._holders[word])) for word in asked}
        holders = [self._holding(phrase) for phrase in query.phrases] or [self._holders[word] for word in asked]
        joined = set.intersection if query.phrases and query.require == "all" else set.union
        found = joined(*holders) if holders else set()
        scores = {i: math.fsum(weights[word] for word in asked.intersection(self._texts[i])) for i in found}
        best = sorted(found, key=lambda i: (-scores[i], i))[:limit]
        return [self._hit(self._posts[i], scores[i]) for i in best]

    @functools.cached_property
    def fingerprint(self) -> str:
        """The digest of the posts' ids and words."""
        digest = hashlib.sha256()
        for post in self._posts:
            digest.update(json.dumps([post.id, list(post.tokens)]).encode() + b"\n")
        return digest.hexdigest()

    def __len__(self) -> int:
        """Return the number of posts."""
        return len(self._posts)

    def texts(self, first: int, n: int) -> list[str]:
        """Return the texts of n posts from the place ``first`` on."""
        return [" ".join(self._posts[i].tokens) for i in range(first, first + n)]

    def listed(self, places: Sequence[int], scores: Sequence[float]) -> list[Hit]:
        """Return the posts at some places, with these scores."""
        return [self._hit(self._posts[place], score) for place, score in zip(places, scores, strict=True)]

    def _holding(self, phrase: str) -> set[int]:
        """Return the indices of the posts that contain a phrase."""
        wanted = phrase_words(phrase)
        sought = f" {' '.join(wanted)} "
        holders = set.intersection(*(self._holders.get(word, set()) for word in wanted))
        return {i for i in holders if sought in f" {' '.join(self._texts[i])} "}

    def _hit(self, post: Post, score: float) -> Hit:
        return Hit(
            id=post.id,
            text=" ".join(post.tokens),
            source="train",
            score=score,
            tokens=tuple(post.tokens),
            images=tuple(post.images),
        )
