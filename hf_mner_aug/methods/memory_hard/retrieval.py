"""Posts that people wrote as tests of a pattern: a corpus is searched for it, and a teacher labels the posts found.

Part of memory_hard (Liu et al. 2026, who write such posts with language models); decided here. Patterns are those of
``rules``. A query has the words that a pattern's cues name, and the words near the mention of the failure or of one of
its exemplars; the mention itself is not searched for, so that other names are found. Of the posts found, in a drawn
order, the first counts that the teacher labels surely and whose entity of the failure's type fits the pattern; if none
fits, the first with an entity of this type. A post depends on its request only.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from hf_mner_aug.draw import Draw
from hf_mner_aug.metrics.spans import PlainSpan
from hf_mner_aug.models.patterns import RETRIEVE
from hf_mner_aug.models.patterns.cues import NOTHING
from hf_mner_aug.models.patterns.engine import Draft, Pattern, Question, WriteRequest, as_failure
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.patterns.rules import Rules, score
from hf_mner_aug.models.search import IMAGES, Hit, Query, Searcher, found_words, words
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.posts.texts import normalise_text, text_key, too_long
from hf_mner_aug.posts.tokenising import Style
from hf_mner_aug.schema import Post
from hf_mner_aug.transform import Reject

AROUND = 5  # words on each side of a mention that a query has
LOOKED_AT = 8  # posts that are labelled for one draft, at most
SPOKEN = ("before", "after", "near", "post", "starts with", "leaves out", "takes in")  # cues that name a word
KINDS = ("URL", "number")  # what cues say in place of such words


@dataclass(frozen=True)
class Retriever:
    """The engine ``retrieve`` (a ``PatternEngine``).

    Args:
        rules: names patterns, and matches failures.
        searcher: finds posts.
        teach: makes labelled posts of texts (lists of words), or says why not.
        style: of the set's words.
        known: keys of texts that are no new posts.
        results: of a search.
        images: drafts have the pictures of the posts found.
        pictures: take only posts with pictures.
    """

    name: ClassVar[str] = RETRIEVE

    rules: Rules
    searcher: Searcher
    teach: Callable[[Sequence[Sequence[str]]], Sequence[Post | Reject]]
    style: Style
    known: frozenset[str] = frozenset()
    results: int = 50
    images: bool = False
    pictures: bool = False

    @property
    def identity(self) -> str:
        """That of the rules, since patterns are theirs."""
        return self.rules.identity

    def induce(
        self, members: Sequence[Failure], outsiders: Sequence[Failure], critiques: Sequence[str], draw: Draw
    ) -> Pattern | Unwritten:
        """Return the cues that distinguish members."""
        return self.rules.induce(members, outsiders, critiques, draw)

    def matches(self, questions: Sequence[Question]) -> list[list[bool]]:
        """Return whether each failure matches its question's pattern."""
        return self.rules.matches(questions)

    def write(self, requests: Sequence[WriteRequest]) -> list[Draft | Unwritten]:
        """Return a post that was found and labelled for each request, or why there is none.

        Raises:
            UsageError: the corpus has changed.
            EndpointError: a teacher's endpoint cannot be used any more.
        """
        found = [self._found(request) for request in requests]
        texts = list(dict.fromkeys(tokens for hits in found if isinstance(hits, list) for _, tokens in hits))
        taught = dict(zip(texts, self.teach(texts), strict=True)) if texts else {}
        chosen = [
            hits if isinstance(hits, Unwritten) else _chosen(request, [(hit, taught[tokens]) for hit, tokens in hits])
            for request, hits in zip(requests, found, strict=True)
        ]
        return chosen if self.images else [_without_pictures(answer) for answer in chosen]

    def _found(self, request: WriteRequest) -> list[tuple[Hit, tuple[str, ...]]] | Unwritten:
        """Return the posts to label for a request, with their words, in a drawn order; or why there are none."""
        query = query_of(request)
        if query is None:
            return Unwritten("no_hit", f"no word to search for around {request.failure.text}")
        hits = [hit for hit in self.searcher.search(query, self.results) if text_key(hit.text) not in self.known]
        if self.pictures and hits and not (hits := [hit for hit in hits if hit.images]):
            return Unwritten("no_image", query.text)
        drawn = request.draw.sub("hits").sample(hits, LOOKED_AT)
        found = [(hit, tuple(words)) for hit in drawn if not too_long(words := found_words(hit, self.style))]
        return found or Unwritten("no_hit", query.text)


def query_of(request: WriteRequest) -> Query | None:
    """Return the query for a post that tests a failure, or None without a word to search for.

    It has the words of the pattern's cues, and those near the mention of the failure or of an exemplar, which is drawn.
    For an entity that was seen where there is none, the words that were taken for one are asked for.
    """
    failure = request.failure
    host = request.draw.sub("host").choice([failure, *request.exemplars])
    start, end = host.words
    near = [*host.tokens[max(0, start - AROUND) : start], *host.tokens[end : end + AROUND]]
    text = normalise_text([*(request.patterns and cue_words(request.patterns[0])), *near], casefold=False)
    phrases = () if failure.gold else (failure.text,)
    return Query(text=text, phrases=phrases) if words(text) or phrases else None


def cue_words(pattern: Pattern) -> list[str]:
    """Return the words that a pattern's cues name, the heaviest cue first."""
    named = (cue.partition("=")[::2] for cue in sorted(pattern.cues, key=lambda cue: (-pattern.cues[cue], cue)))
    found = (word for kind, word in named if kind in SPOKEN and word not in (NOTHING, *KINDS) and word[-1:] != "…")
    return list(dict.fromkeys(found))


def _chosen(request: WriteRequest, found: Sequence[tuple[Hit, Post | Reject]]) -> Draft | Unwritten:
    """Return the first post that fits the pattern, or that can test the failure; else the most frequent reason."""
    refused: list[Reject] = []
    drafts: list[tuple[Draft, bool]] = []
    for hit, post in found:
        drafted = post if isinstance(post, Reject) else _draft(request, hit, post)
        if isinstance(drafted, Reject):
            refused.append(drafted)
        else:
            drafts.append(drafted)
    if drafts:
        return next((draft for draft, fits in drafts if fits), drafts[0][0])
    reason, _ = Counter(reject.reason for reject in refused).most_common(1)[0]
    return Unwritten(reason, next(reject.detail for reject in refused if reject.reason == reason))


def _without_pictures(answer: Draft | Unwritten) -> Draft | Unwritten:
    return answer if isinstance(answer, Unwritten) else replace(answer, images=())


def _draft(request: WriteRequest, hit: Hit, post: Post) -> tuple[Draft, bool] | Reject:
    """Return a post that was found as a draft, and whether it fits the pattern; a Reject if it cannot test it."""
    spans = tuple((e.start, e.end, e.type) for e in post.entities)
    details = {**hit.origin(), **post.details}
    drafts = [
        Draft(tuple(post.tokens), spans, focus, details=details, images=hit.images[:IMAGES])
        for focus in _focuses(request.failure, post.tokens, spans)
    ]
    if not drafts:
        return Reject("lost_entity", hit.text)
    if not request.patterns:
        return drafts[0], True
    pattern = request.patterns[0]
    scores = [score(pattern.cues, as_failure(draft, request.failure)) for draft in drafts]
    best = max(range(len(drafts)), key=lambda i: (scores[i], -i))
    return drafts[best], scores[best] >= pattern.least


def _focuses(failure: Failure, tokens: Sequence[str], spans: Sequence[PlainSpan]) -> list[tuple[int, int]]:
    """Return the words that can test a failure: entities of its type, or its own words where they are none."""
    if failure.gold:
        return [(start, end) for start, end, kind in spans if kind == failure.gold[2]]
    sought, n = [word.casefold() for word in failure.text.split()], len(failure.text.split())
    places = ((i, i + n) for i in range(len(tokens) - n + 1) if [w.casefold() for w in tokens[i : i + n]] == sought)
    return [(start, end) for start, end in places if all(e <= start or end <= s for s, e, _ in spans)]
