"""The protocol of every searcher: queries and hits, and the definition of a word."""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import regex

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.posts.scripts import STARTS, UNSPACED
from hf_mner_aug.posts.texts import normalise_unicode
from hf_mner_aug.posts.tokenising import Style, restyle, split_words
from hf_mner_aug.reasons import Reason
from hf_mner_aug.schema import EncodedImage
from hf_mner_aug.values import check_ranges

Require = Literal["all", "any"]
HEADS = ("#", "@")
IMAGES = 4  # per post, at most
_EXPORT = "take an export of posts: `hf-mner-aug index posts.jsonl`"
# Why a page or picture on the web yields no post.
WEB_REASONS: Mapping[str, Reason] = {
    "search_failed": Reason("the search engine refuses the query", "see its answer in the rejected posts"),
    "robots": Reason("robots.txt excludes programs", _EXPORT),
    "private": Reason("the page is not public (HTTP 401 or 403)", _EXPORT),
    "gone": Reason("the page no longer exists", _EXPORT),
    "login_wall": Reason("the page shows a login, or is filled only by its scripts", _EXPORT),
    "no_text": Reason("the page has no text", "name other hosts with `--set sites=HOST,…`"),
    "bad_image": Reason(
        "the picture cannot be decoded, is too small, or has too many pixels",
        "search other hosts with `--set sites=HOST,…`",
        ("image=false",),
    ),
    "not_html": Reason("the page is not HTML", "name other hosts with `--set sites=HOST,…`"),
    "wrong_charset": Reason(
        "the page is not in the encoding that it names", "name other hosts with `--set sites=HOST,…`"
    ),
    "redirect_loop": Reason("the page redirects endlessly", _EXPORT),
    "forbidden_address": Reason("the address is neither http nor https, or is not public", _EXPORT),
    "too_slow": Reason("the host takes too long", "raise `--web timeout=SECONDS`"),
    "too_large": Reason("the page, the picture or the text is too large", "name other hosts with `--set sites=HOST,…`"),
    "unreachable": Reason("the host does not answer, even after retries", "check this machine's connection"),
}
_WORD = regex.compile(
    rf"[[{STARTS}]--[{UNSPACED}]]+(?:\p{{M}}++[[{STARTS}]--[{UNSPACED}]]*+)*+|[{UNSPACED}]\p{{M}}*+"
    r"|[^\s\x00-\x1f\x7f\ud800-\udfff]",
    regex.V1,
)


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query for posts that contain the phrases, ranked by the text.

    Args:
        text: the words that rank.
        phrases: entities, each one string; a post must contain all of them, or one with ``require="any"``.
        require: ``all`` or ``any``.
        sites: hosts to which posts must belong (``twitter.com`` includes ``mobile.twitter.com``); none means any host.
            A post without a URL belongs to no site, unless its source was indexed with one.
        since: the first day, None for no limit. A post without a date is in no range.
        until: the last day.

    Raises:
        UsageError: a phrase has no word, the query is empty, or a site is not a host.
    """

    text: str = ""
    phrases: tuple[str, ...] = ()
    require: Require = "all"
    sites: tuple[str, ...] = ()
    since: datetime.date | None = None
    until: datetime.date | None = None

    def __post_init__(self) -> None:
        if isinstance(self.phrases, str) or isinstance(self.sites, str):
            raise UsageError("query: phrases and sites must be tuples of strings, found one string")
        for phrase in self.phrases:
            if not words(phrase):
                raise UsageError(f"query: the phrase {phrase!r} has no word: leave it out")
        if not self.phrases and not words(self.text):
            raise UsageError("query: neither text nor phrases have a word: there is nothing to search for")
        check_ranges(self, "query")
        for site in self.sites:
            if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", site):
                raise UsageError(f"query: a site must be a host such as twitter.com, found {site!r}")
        if self.since and self.until and self.since > self.until:
            raise UsageError(f"query: since {self.since} is after until {self.until}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A post that a search found.

    ``score`` is higher for better hits and comparable only within one search. ``tokens`` [n_words] come from a
    tokenised source. A picture is in ``images`` (as the source's bytes) or, if it has not been fetched, in
    ``image_urls``. ``date`` is in ISO 8601, ``source`` the corpus or engine that the post comes from.
    """

    id: str
    text: str
    source: str
    score: float
    tokens: tuple[str, ...] | None = None
    images: tuple[EncodedImage, ...] = ()
    image_urls: tuple[str, ...] = ()
    url: str | None = None
    date: str | None = None
    licence: str | None = None

    def origin(self) -> dict[str, str]:
        """Return the origin of the post, as in a made post's ``details``; ``hygiene.Guard`` reads id and url."""
        found = {
            "post_id": self.id,
            "source": self.source,
            "url": self.url,
            "image_url": self.image_urls[0] if self.image_urls else None,
            "date": self.date,
            "licence": self.licence,
        }
        return {name: value for name, value in found.items() if value is not None}


class Searcher(Protocol):
    """Anything that finds posts: the local corpus, or a search engine on the web."""

    def search(self, query: Query, limit: int = 10) -> list[Hit]:
        """Return at most ``limit`` posts, best first."""


class Listed(Protocol):
    """Posts that can be gone through in their order: a local corpus, or the train split."""

    @property
    def fingerprint(self) -> str:
        """The posts' content as a digest."""
        ...

    def __hash__(self) -> int: ...

    def __len__(self) -> int:
        """Return the number of posts."""

    def texts(self, first: int, n: int) -> list[str]:
        """Return the texts of n posts from the place ``first`` on."""

    def listed(self, places: Sequence[int], scores: Sequence[float]) -> list[Hit]:
        """Return the posts at some places, with these scores."""


def found_words(hit: Hit, style: Style) -> list[str]:
    """Return the words [n_words] of a retrieved post, tokenised as the set is."""
    return restyle(hit.tokens, style) if hit.tokens else split_words(hit.text, style)


def words(text: str) -> list[str]:
    """Return the words of a text, casefolded and in Unicode's NFC; signs are words as well.

    White space, control characters and lone surrogates separate words. A word is a run of letters, digits, ``_`` and
    combining marks; one character, with its marks, of a script that is written without spaces; or any other sign. So
    ``@UCLAFootball`` is ``@ uclafootball``, ``U.S.`` is ``u . s .``, and a tokenised text keeps its words.
    """
    found: list[str] = _WORD.findall(normalise_unicode("NFC", text.casefold()))
    return found


def phrase_words(phrase: str) -> list[str]:
    """Return the words that a post must contain in sequence to contain the phrase.

    ``#`` and ``@`` at the phrase's start are left out, since a post may have them there as well: ``Harry
    Potter`` is in ``#Harry Potter``, ``@ Harry Potter`` and ``HARRY POTTER's``, but not in ``#HarryPotter``,
    ``Harry #Potter`` or ``Harry, Potter``.
    """
    found = words(phrase)
    heads = next((i for i, word in enumerate(found) if word not in HEADS), 0)
    return found[heads:]
