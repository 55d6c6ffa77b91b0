"""Labelled texts without a model: the requested entities in place of others of their types in other train posts.

A post whose entities have the requested types is a context. If there is none, two are joined, or entities of one type
are listed (as train does: ``A , B and C``), or each type gets its own context. Contexts that fit about equally well
(handles, hashtags, articles, capitals, length) are taken in turn from a ring, ordered by seed and copy, starting at the
source post's place, so that all are used about equally often. The source post and others with its text are excluded. A
post without an entity gets two others without one.
"""

import bisect
import functools
import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from hf_mner_aug.draw import Draw
from hf_mner_aug.models.text.engine import Composed, TextRequest, Unwritten
from hf_mner_aug.models.text.labelled import linearize, tag_type, with_arguments
from hf_mner_aug.posts.lexicon import match_case
from hf_mner_aug.posts.scripts import without_marks
from hf_mner_aug.posts.texts import strip_urls, text_key
from hf_mner_aug.posts.tokenising import HEADS
from hf_mner_aug.schema import Entity, Origin, Post
from hf_mner_aug.storage.posts import open_posts

POOL = 16  # contexts that are compared
TRIES = 8  # contexts, and ways to divide the entities
SLACK = 0.75  # how much worse than the best one a context may fit
TAIL = 12  # words at the end that are searched for URLs and hashtags
ENDS = (".", "!", "?", "...", "…", "-", "|", ":", "。", "！", "？", "～")
BEFORE_ARTICLE = (
    "about",
    "against",
    "and",
    "at",
    "by",
    "for",
    "from",
    "in",
    "into",
    "of",
    "on",
    "over",
    "to",
    "vs",
    "with",
)

Words = tuple[str, ...]
Keys = tuple[str, ...]


class Mention(NamedTuple):
    """An entity's words in context: its label, a leading ``@`` or ``#``, and the words beside it.

    ``article``: ``the`` precedes it; ``titled`` and ``followed``: a capitalised word precedes or follows it.
    """

    words: Words
    entity: Entity
    head: str
    article: bool
    titled: bool
    followed: bool


@dataclass(frozen=True)
class Context:
    """A train post into which entities are written.

    Its first ``lead`` words are ``RT @user :``; after ``body`` words there are only URLs and hashtags.
    """

    post: Post
    text: str
    slots: tuple[Mention, ...]
    outside: frozenset[str]
    lead: int
    body: int

    @functools.cached_property
    def says(self) -> int:
        """The number of words besides its entities, lead and tail."""
        return self.body - self.lead - sum(len(slot.words) for slot in self.slots)


Groups = tuple[tuple[Mention, ...], ...]  # each fills one slot


@dataclass(frozen=True, kw_only=True)
class Templates:
    """Writes the requested entities into other train posts.

    Args:
        posts: the digest of the train posts (``storage.posts``), which the method names among its files.
        seed: of the order of contexts.
    """

    name: ClassVar[str] = "templates"

    posts: str
    seed: int = 0

    def generate(self, requests: Sequence[TextRequest], draws: Sequence[Draw]) -> list[str | Unwritten]:
        """Return a text for each request that holds all its entities, with the ids of the posts it is made of.

        The reason is ``no_context`` if no other train post has a place for them.

        Raises:
            NotFitted: the train posts are not on this machine.
        """
        known = _knowledge(self.posts)
        return [
            _written(known, request.post, Order(self.posts, self.seed, request.copy), draw)
            for request, draw in zip(requests, draws, strict=True)
        ]


def _written(known: "Knowledge", post: Post, order: "Order", draw: Draw) -> str | Unwritten:
    mentions = mentions_of(post)
    own = text_key(post.tokens)
    for level in known.levels if post.relation is None else known.levels[:1]:
        search = Search(known, level, post.id, own, order)
        for n, parts in enumerate(_plans(mentions, level, draw.sub("plan"))):
            made = search.fill(parts, draw.sub(level, n))
            if made:
                return made
    asked = ", ".join(sorted(tag_type(mention.entity) for mention in mentions)) or "no entity"
    return Unwritten("no_context", f"no other train post has a place for {asked}")


# ---------------------------------------------------------------- train posts


def mentions_of(post: Post) -> tuple[Mention, ...]:
    """Return a post's entities with the words before them."""
    found = []
    for entity in post.entities:
        words = tuple(post.tokens[entity.start : entity.end])
        before = post.tokens[entity.start - 1] if entity.start else ""
        head = words[0][:1] if words[0][:1] in HEADS else before if before in HEADS else ""
        # ``St . Louis``: a full stop does not separate a title from a name.
        title = next((word for word in post.tokens[max(0, entity.start - 2) : entity.start][::-1] if word != "."), "")
        after = post.tokens[entity.end] if entity.end < len(post.tokens) else ""
        found.append(
            Mention(
                words,
                replace(entity, boxes=()),
                head,
                before.casefold() == "the",
                _has_capital(title),
                _has_capital(after),
            )
        )
    return tuple(found)


def _has_capital(word: str) -> bool:
    return word[:1].isupper() and word not in ("I", "RT")


def lead_of(post: Post) -> int:
    """Return the number of words of ``RT @user :`` at the beginning, if none of them has a label."""
    tokens = list(post.tokens[:8])
    if tokens[:1] != ["RT"] or ":" not in tokens:
        return 0
    end = tokens.index(":") + 1
    return end if all(start >= end for start, _ in post.protected()) else 0


def body_of(post: Post) -> int:
    """Return the number of words without the URLs and hashtags at the end; labelled words are never left out."""
    last = max([end for _, end in post.protected()], default=0)
    body = n_words = len(post.tokens)
    for start in range(n_words - 1, max(last, n_words - TAIL) - 1, -1):
        if not strip_urls(" ".join(word for word in post.tokens[start:] if word[:1] != "#")):
            body = start
    return body


@dataclass(frozen=True)
class Knowledge:
    """The train posts as contexts, by the sorted types of their entities, with (``fine``) or without fine types.

    ``joiners`` are the words between two entities of one type, ``ends`` those that end sentences, both repeated by
    count.
    """

    contexts: Mapping[str, Mapping[Keys, Sequence[Context]]]
    texts: Collection[str]
    joiners: Mapping[str, Sequence[str]]
    ends: Sequence[str]

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels at which types are compared, the finest first."""
        return tuple(self.contexts)


@functools.lru_cache(maxsize=4)
def _knowledge(digest: str) -> Knowledge:
    contexts: dict[str, dict[Keys, list[Context]]] = {}
    joiners: dict[str, list[str]] = defaultdict(list)
    ends: Counter[str] = Counter()
    posts = [post for stored in open_posts(digest) if (post := with_arguments(stored)) and post.tokens]
    has_fine = any(entity.fine is not None for post in posts for entity in post.entities)
    for post in posts:
        slots = mentions_of(post)
        outside = frozenset(post.tokens[i].casefold() for i in post.outside())
        context = Context(post, text_key(post.tokens), slots, outside, lead_of(post), body_of(post))
        for level in ("fine", "coarse") if has_fine else ("coarse",):
            keys = tuple(sorted(_key(slot, level) for slot in slots))
            contexts.setdefault(level, {}).setdefault(keys, []).append(context)
        for first, second in itertools.pairwise(post.entities):
            if first.type == second.type and second.start == first.end + 1:
                joiners[first.type].append(post.tokens[first.end])
        ends.update(word for word in post.tokens if word in ENDS[:4] + ENDS[8:11])
    return Knowledge(
        contexts,
        {context.text for group in contexts.get("coarse", {}).values() for context in group},
        {kind: _frequent(found) for kind, found in joiners.items()},
        _frequent(list(ends.elements())) or ["."],
    )


class Order(NamedTuple):
    """The parameters of the order of contexts; ``posts`` is their digest."""

    posts: str
    seed: int
    copy: int

    def place(self, post_id: str) -> bytes:
        """Return a post's place on the ring."""
        return hashlib.blake2b(f"{self.seed}\0{self.copy}\0{post_id}".encode("utf-8", "surrogatepass")).digest()


@functools.lru_cache(maxsize=1024)
def _ring(order: Order, level: str, keys: Keys) -> tuple[list[bytes], list[Context]]:
    """Return the contexts of some types in order, and their places."""
    found = [
        (order.place(context.post.id), context) for context in _knowledge(order.posts).contexts[level].get(keys, ())
    ]
    found.sort(key=lambda pair: pair[0])
    return [place for place, _ in found], [context for _, context in found]


def _frequent(words: Sequence[str]) -> list[str]:
    """Return the words that make up a tenth or more, repeated by count."""
    counts = Counter(words)
    return [word for word in sorted(counts) for _ in range(counts[word]) if 10 * counts[word] >= len(words) > 1]


def _key(mention: Mention, level: str) -> str:
    return tag_type(mention.entity) if level == "fine" else mention.entity.type


# ---------------------------------------------------------------- ways to place entities


def _plans(mentions: tuple[Mention, ...], level: str, draw: Draw) -> Iterator[list[Groups]]:
    """Yield ways to place entities: for each context of the text its groups, each for one slot."""
    singles: Groups = tuple((mention,) for mention in draw.shuffled(mentions))
    if not singles:
        yield [(), ()]
        return
    by_key: dict[str, list[Mention]] = defaultdict(list)
    for (mention,) in singles:
        by_key[_key(mention, level)].append(mention)
    grouped: Groups = tuple(map(tuple, by_key.values()))
    yield [singles]
    yield from _halves(singles, draw.sub("singles"))
    if len(grouped) < len(singles):
        yield [grouped]
        yield from _halves(grouped, draw.sub("grouped"))
    yield [(group,) for group in grouped]


def _halves(groups: Groups, draw: Draw) -> Iterator[list[Groups]]:
    """Yield some distinct ways to divide groups in two."""
    inside = [draw.sub(n).subset(range(1, len(groups)), 0.5) for n in range(TRIES if len(groups) > 1 else 0)]
    for chosen in filter(None, dict.fromkeys(map(tuple, inside))):
        first = [groups[i] for i in range(len(groups)) if i not in chosen]
        yield [tuple(first), tuple(groups[i] for i in chosen)]


class Placed(NamedTuple):
    """The filling of each slot of a context, and how badly it fits."""

    context: Context
    filling: Groups
    misfit: float


@dataclass(frozen=True)
class Search:
    """Searches contexts for one post, except for itself and posts with its text (``own``)."""

    known: Knowledge
    level: str
    id: str
    own: str
    order: Order

    def fill(self, parts: Sequence[Groups], draw: Draw) -> Composed | None:
        """Return the text of the parts, each in a context, or None if one has no context."""
        ranked = [self._ranked(groups, draw.sub("context", i)) for i, groups in enumerate(parts)]
        for n in range(TRIES if all(ranked) else 0):
            placed: list[Placed] = []
            for found in ranked:
                used = {p.context.text for p in placed}
                first = n % len(found)
                placed += [p for p in found[first:] + found[:first] if p.context.text not in used][:1]
            if len(placed) < len(ranked):
                return None
            text = self._write(placed, draw.sub("write", n))
            if text_key(text.tokens) not in self.known.texts and not _doubled(text.tokens, text.entities):
                made = Post(self.id, text.tokens, tuple(text.entities))
                return Composed(linearize(made), {p.context.post.id for p in placed}, text.origins)
        return None

    def _ranked(self, groups: Groups, draw: Draw) -> list[Placed]:
        """Return the next contexts on the ring with the groups placed in them: first those that fit well."""
        keys = tuple(sorted(_key(group[0], self.level) for group in groups))
        places, ring = _ring(self.order, self.level, keys)
        first = bisect.bisect(places, self.order.place(self.id))
        free = (context for context in ring[first:] + ring[:first] if self._free(context, groups))
        placed = [self._placed(context, groups, draw.sub(context.post.id)) for context in itertools.islice(free, POOL)]
        best = min((p.misfit for p in placed), default=0.0) + SLACK
        return sorted(placed, key=lambda p: max(best, p.misfit))

    def _free(self, context: Context, groups: Groups) -> bool:
        """Return whether a context may be used: its other words do not contain the requested entities."""
        if context.post.id == self.id or context.text == self.own or context.says < 1:
            return False
        return not any(
            word.casefold().lstrip("#@") in context.outside or word.casefold() in context.outside
            for group in groups
            for mention in group
            for word in mention.words[:1]
            if len(word) > 2
        )

    def _placed(self, context: Context, groups: Groups, draw: Draw) -> Placed:
        by_key: dict[str, list[tuple[Mention, ...]]] = defaultdict(list)
        for group in groups:
            by_key[_key(group[0], self.level)].append(group)
        places: dict[str, list[Mention]] = defaultdict(list)
        for slot in context.slots:
            places[_key(slot, self.level)].append(slot)
        total, chosen = 0.0, {}
        for key, waiting in by_key.items():
            orders = itertools.permutations(draw.sub(key).shuffled(waiting)) if len(waiting) < 4 else [tuple(waiting)]
            costs = [(sum(map(misfit, order, places[key])), order) for order in orders]
            cost, order = min(costs, key=lambda pair: pair[0])
            total += cost
            chosen[key] = iter(order)
        filling = tuple(next(chosen[_key(slot, self.level)]) for slot in context.slots)
        # A repeated name should be replaced by a repeated name.
        told = {slot.words for slot in context.slots}
        asked = {group[0].words for group in filling}
        return Placed(context, filling, total + abs(len(told) - len(asked)))

    def _write(self, placed: Sequence[Placed], draw: Draw) -> "Text":
        """Return the filled contexts joined, with ``RT @user :`` at the beginning and URLs at the end only."""
        text = Text([], [], [])
        for n, (context, filling, _) in enumerate(placed):
            start, post = context.lead if n else 0, context.post
            end = context.body if n < len(placed) - 1 else len(post.tokens)
            if text.tokens and text.tokens[-1] not in ENDS and start < end:
                text.tokens.append(draw.sub("end", n).choice(self.known.ends))
            for slot, group in zip(context.slots, filling, strict=True):
                text.copy(post, start, slot.entity.start)
                self._write_group(text, slot, group, draw.sub("joiner", n))
                start = slot.entity.end
            text.copy(post, start, end)
        return text

    def _write_group(self, text: "Text", slot: Mention, group: Sequence[Mention], draw: Draw) -> None:
        """Append mentions, with the words before and between them."""
        tokens, entities = text.tokens, text.entities
        joiner = draw.choice(self.known.joiners.get(group[0].entity.type) or [","])
        for n, mention in enumerate(group):
            if n:
                last = n == len(group) - 1 and joiner == ","
                tokens.append("and" if last and "and" in self.known.joiners.get(mention.entity.type, ()) else joiner)
            elif not entities or entities[-1].end < len(tokens) or not tokens:
                _fit_before(tokens, slot, mention)
            entities.append(replace(mention.entity, start=len(tokens), end=len(tokens) + len(mention.words)))
            text.add(mention.words, range(mention.entity.start, mention.entity.end))


class Text(NamedTuple):
    """A text in progress: words, entities, and the origins of words (``Post.origins``) as far as they are noted."""

    tokens: list[str]
    entities: list[Entity]
    origins: list[Origin]

    def copy(self, post: Post, start: int, stop: int) -> None:
        """Append the words ``[start, stop)`` of a train post."""
        self.add(post.tokens[start:stop], [(post.id, i) for i in range(start, stop)])

    def add(self, words: Sequence[str], origins: Sequence[Origin]) -> None:
        """Append words with their origins; earlier words without a noted origin are new."""
        del self.origins[len(self.tokens) :]
        self.origins.extend([None] * (len(self.tokens) - len(self.origins)))
        self.tokens.extend(words)
        self.origins.extend(origins)


def misfit(group: Sequence[Mention], slot: Mention) -> float:
    """Return how badly mentions would fit in another one's place."""
    first = group[0]
    return (
        4.0 * ((first.head == "@") != (slot.head == "@"))
        + 1.0 * ((first.head == "#") != (slot.head == "#"))
        + 1.0 * (tuple(map(str.casefold, first.words)) == tuple(map(str.casefold, slot.words)))
        + 0.5 * (first.article != slot.article)
        + 0.5 * (first.words[0].isupper() != slot.words[0].isupper())
        + 0.5 * (first.words[0][:1].islower() != slot.words[0][:1].islower())
        + 0.5 * (first.titled != slot.titled)
        + 0.5 * (group[-1].followed != slot.followed)
        + 0.25 * min(4, abs(len(first.words) - len(slot.words)))
    )


def _fit_before(tokens: list[str], slot: Mention, mention: Mention) -> None:
    """Adapt the unlabelled word before a mention that replaces another one."""
    last = tokens[-1].casefold() if tokens else ""
    if last in HEADS and mention.head != last:
        tokens.pop()  # a handle or hashtag that the set splits
    elif last in ("a", "an"):
        vowel = mention.words[0].lstrip("#@")[:1].casefold() in tuple("aeiou")
        tokens[-1] = match_case("an" if vowel else "a", tokens[-1])
    elif last == "the" and not mention.article:
        tokens.pop()
    elif mention.article and (last in BEFORE_ARTICLE or not last or last in ENDS):
        tokens.append("the" if last in BEFORE_ARTICLE else "The")


def _doubled(tokens: Sequence[str], entities: Sequence[Entity]) -> bool:
    """Return whether a word is repeated where a mention begins or ends."""
    borders = {i for entity in entities for i in (entity.start, entity.end) if 0 < i < len(tokens)}
    return any(tokens[i].casefold() == tokens[i - 1].casefold() and without_marks(tokens[i]).isalnum() for i in borders)
