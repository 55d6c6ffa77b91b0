"""Search the web: the queries for a search engine, and Serper, an API for Google (the paper's choice).

A search finds addresses, with a few words of each page; ``web`` fetches the pages.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hf_mner_aug.exceptions import EndpointError
from hf_mner_aug.models.endpoint import Endpoint
from hf_mner_aug.models.endpoint.protocol import Found, Result, SearchRequest, Unanswered
from hf_mner_aug.models.search.engine import Query, Require
from hf_mner_aug.posts.hygiene import origins

SERPER = "https://google.serper.dev"
KEY_ENV = "SERPER_API_KEY"
PRICE = 0.001  # USD per search, of Serper's smallest package
QUERY_WORDS = 32  # search engines drop further words
# Faults of a single query; any other would recur with the next query.
OWN_FAULTS = ("bad_request", "refused", "too_large")


def build_query(
    text: str, entities: Sequence[str], sites: Sequence[str] = ("twitter.com",), require: Require = "all"
) -> str:
    """Return the query for a search engine: text, each entity in quotes, ``site:`` (section 3.2).

    For a relation, ``entities`` are head and tail. With more than 32 words the entities and sites come first, and the
    text is truncated. ``require="any"`` puts ``OR`` between the entities.
    """
    quoted = [f'"{phrase}"' for entity in dict.fromkeys(entities) if (phrase := _unquoted(entity))]
    if require == "any" and len(quoted) > 1:
        quoted = [f"({' OR '.join(quoted)})"]
    constraints = [*quoted, " OR ".join(f"site:{site}" for site in sites)]
    query = " ".join(filter(None, [_unquoted(text), *constraints]))
    if len(query.split()) <= QUERY_WORDS:
        return query
    first = " ".join(filter(None, constraints)).split()
    return " ".join(first + _unquoted(text).split()[: max(0, QUERY_WORDS - len(first))])


def _unquoted(text: str) -> str:
    return " ".join(re.sub('["“”„]', " ", text).split())


@dataclass(frozen=True, kw_only=True)
class Serper:
    """Serper's search API, or another of the same form.

    It uses ``endpoint``: ``POST /search`` with the key of its ``key_env`` in the header ``X-API-KEY``; answers are
    recorded, so that a search is paid for once.
    """

    endpoint: Endpoint

    def find(self, queries: Sequence[Query], limit: int = 10) -> list[Found | Unanswered]:
        """Return the results of each search, at most ``limit`` distinct pages, or why the engine refused this query.

        Raises:
            EndpointError: the engine cannot be used any more: the key, the credit, the budget, the network, its
                answers. Earlier answers are recorded.
        """
        asked = [_request(query, limit) for query in queries]
        found: list[Found | Unanswered] = []
        for answer in self.endpoint.many(asked):
            if isinstance(answer, Unanswered) and answer.reason not in OWN_FAULTS:
                raise EndpointError(
                    f"{self.endpoint.base_url}: {answer.reason}: {answer.detail}; answers so far are kept, "
                    "run again to go on",
                    answer.reason,
                )
            if isinstance(answer, Found):
                once: dict[str, Result] = {}
                for result in answer.results:
                    once.setdefault(result.url, result)
                answer = Found(tuple(once.values())[:limit], answer.digest, answer.cached, answer.usage)
            found.append(answer)
        return found

    def unpaid(self, queries: Sequence[Query], limit: int = 10) -> list[Query]:
        """Return the queries that the engine would be asked; raises as ``Endpoint.would_ask``."""
        return [query for query in queries if self.endpoint.would_ask(_request(query, limit))]


def _request(query: Query, limit: int) -> SearchRequest:
    return SearchRequest(query=query_string(query), results=limit)


def query_string(query: Query) -> str:
    """Return a query in the engine's syntax; days become Google's ``after:`` and ``before:``."""
    asked = build_query(query.text, query.phrases, query.sites, query.require)
    days = [f"after:{query.since}" if query.since else "", f"before:{query.until}" if query.until else ""]
    return " ".join(filter(None, [asked, *days]))


def page_id(url: str) -> str:
    """Return the id of the post on a page: its status number if the address has one, otherwise the address."""
    (name,) = origins({"url": url}) or {""}
    return name if name.isdigit() else url
