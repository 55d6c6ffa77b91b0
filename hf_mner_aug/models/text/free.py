"""Checks of texts with entities of the model's own: what language models were seen to do wrong when asked freely.

They copy a train post, advertise adult sites, invent handles and links, and label a name that train knows otherwise. A
detector fitted on train is not asked: it misses the names that train lacks, which such texts are for.
"""

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hf_mner_aug.posts.masking import KINDS, LINKS, find, mask, mask_link
from hf_mner_aug.posts.repeats import WordPairs
from hf_mner_aug.posts.tokenising import HEADS, Style, word_style
from hf_mner_aug.reasons import Reason
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.posts import open_posts
from hf_mner_aug.transform import Reject

Invented = Literal["mask", "reject", "keep"]
Words = tuple[str, ...]

ASK, FREE = "ask", "free"  # the note on a post whose text was asked for freely
REJECTS: Mapping[str, Reason] = {
    "copied_text": Reason(
        "a free text repeats a train post", "raise the temperature, train for fewer epochs, or pass `most_copied=0.7`"
    ),
    "adult_text": Reason("a free text has a word of adult spam", "name another text model, or pass `adult=true`"),
    "invented_address": Reason(
        "a free text has a handle, link, e-mail address or phone number that train lacks", "pass `invented=mask`"
    ),
    "other_type": Reason("a free text labels a mention of train with another type", "name another text model"),
    "unlabelled_name": Reason(
        "a free text has a mention, which train always labels, without a label", "name another text model"
    ),
}
# Adult spam by words that occur in hardly anything else: whole ones, and parts of words.
_ADULT = re.compile(
    r"""
    ^(?: anal | bbw | bdsm | boobs | camsex | cumshots? | dildos? | erotica? | gangbang | handjob | horny | hotwife
       | milfs? | nudes? | orgasms? | orgy | sexting | sextape | sluts? | threesome | tits | upskirt | whores? )$
    | porn | nsfw | blowjob | hentai | camgirl | sexcam | webcamsex | masturbat | onlyfans | xvideos
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Known:
    """What train has: the types of its mentions, those that it always labels, its addresses and its texts."""

    types: Mapping[Words, Collection[str]]
    always: Collection[Words]
    addresses: Collection[str]
    texts: WordPairs
    style: Style

    @functools.cached_property
    def longest(self) -> int:
        """The number of words of the longest mention that is always labelled."""
        return max(map(len, self.always), default=0)


@functools.lru_cache(maxsize=4)
def knowledge(digest: str) -> Known:
    """Return what the train posts stored under a digest have.

    Raises:
        NotFitted: they are not on this machine.
    """
    posts = [replace(post, images=()) for post in open_posts(digest)]
    types: dict[Words, set[str]] = defaultdict(set)
    for post in posts:
        for start, end, kind in post.plain_spans():
            types[tuple(post.tokens[start:end])].add(kind)
    longest = max(map(len, types), default=0)
    without = {tuple(post.tokens[a:b]) for post in posts for a, b in _unlabelled(post, types, longest)}
    style = word_style(posts)
    return Known(
        types,
        types.keys() - without,
        {address for post in posts for address, *_ in _addresses(post, style)},
        WordPairs((post.id, post.tokens) for post in posts),
        style,
    )


def _unlabelled(post: Post, mentions: Collection[Words], longest: int) -> Iterator[tuple[int, int]]:
    """Yield the spans outside a post's entities that are among the mentions, the longest at each place."""
    inside = {i for start, end in post.protected() for i in range(start, end)}
    start = 0
    while start < len(post.tokens):
        ends = range(min(len(post.tokens), start + longest), start, -1)
        end = next((end for end in ends if tuple(post.tokens[start:end]) in mentions), start)
        if start < end and inside.isdisjoint(range(start, end)):
            yield start, end
        start = max(end, start + 1)


def _addresses(post: Post, style: Style) -> Iterator[tuple[str, str, int, int]]:
    """Yield the handles, links, e-mail addresses and phone numbers outside entities: as train has them, kind, span."""
    inside = {i for start, end in post.protected() for i in range(start, end)}
    for kind, start, end in find(post.tokens, (*KINDS, LINKS)):
        place = kind == "handles" and style == "whole" and post.tokens[start] in HEADS  # dinner @ home
        if not place and inside.isdisjoint(range(start, end)):
            yield "".join(post.tokens[start:end]).casefold(), kind, start, end


# ---------------------------------------------------------------- checks


def check_text(tokens: Sequence[str], known: Known, most_copied: float, *, adult: bool, own: str = "") -> Reject | None:
    """Return a Reject for words that repeat a train post other than ``own``, or (unless ``adult``) for adult spam."""
    share, name = known.texts.find(tokens)
    if share > most_copied and name != own:
        return Reject("copied_text", f"{share:.2f} of {name}")
    word = None if adult else next(filter(_is_adult, tokens), None)
    return Reject("adult_text", word) if word else None


def _is_adult(word: str) -> bool:
    return _ADULT.search(word.casefold().lstrip("#@")) is not None


def settle_addresses(post: Post, known: Known, how: Invented) -> Post | Reject:
    """Return a post whose addresses that train lacks are masked or kept, or a Reject ``invented_address``.

    Those in entities are names, and kept.
    """
    every = [] if how == "keep" else list(_addresses(post, known.style))
    new = [(kind, start, end) for address, kind, start, end in every if address not in known.addresses]
    if not new:
        return post
    if how == "reject":
        return Reject("invented_address", " ".join(post.tokens[new[0][1] : new[0][2]]))
    chosen = {i for kind, start, end in new if kind != LINKS for i in range(start, end)}
    kept = [(i, i + 1) for i in range(len(post.tokens)) if i not in chosen]
    tokens = mask(post.tokens, KINDS, kept)[0]
    for kind, start, end in new:
        if kind == LINKS:
            tokens[start:end] = mask_link(tokens[start:end])
    return replace(post, tokens=tokens, details={**post.details, "masked": dict(Counter(kind for kind, *_ in new))})


def check_names(post: Post, known: Known) -> Reject | None:
    """Return a Reject for a mention of train with another type (``other_type``) or none (``unlabelled_name``)."""
    for start, end, kind in post.plain_spans():
        types = known.types.get(tuple(post.tokens[start:end]), (kind,))
        if kind not in types:
            words = " ".join(post.tokens[start:end])
            return Reject("other_type", f"{words} as {kind}, in train {', '.join(sorted(types))}")
    for start, end in _unlabelled(post, known.always, known.longest):
        return Reject("unlabelled_name", " ".join(post.tokens[start:end]))
    return None
