"""The fourteen ways to write a context anew, in the four dimensions that LLM-DA names.

Ye et al. 2024 (arXiv 2402.14568) rewrite by sentence length, vocabulary, subordinate clauses and style; what a model is
told for each is our own.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

Strategy = Literal[
    "shorter",
    "longer",
    "several_sentences",
    "simple_words",
    "rare_words",
    "idioms",
    "slang",
    "relative_clause",
    "adverbial_clause",
    "noun_clause",
    "news",
    "spoken",
    "encyclopedia",
    "story",
]
NAMES: tuple[Strategy, ...] = get_args(Strategy)


class Told(NamedTuple):
    """The dimension of a strategy, and what a model is told to do."""

    dimension: str
    instruction: str


STRATEGIES: Mapping[Strategy, Told] = {
    "shorter": Told("sentence length", "say the same in clearly fewer words"),
    "longer": Told("sentence length", "say the same in more words, with details that fit"),
    "several_sentences": Told("sentence length", "say the same in two or three short sentences"),
    "simple_words": Told("vocabulary", "use simple, common words only"),
    "rare_words": Told("vocabulary", "use rarer, more exact words"),
    "idioms": Told("vocabulary", "use an idiom or a proverb"),
    "slang": Told("vocabulary", "use slang and abbreviations as people do online"),
    "relative_clause": Told("subordinate clauses", "add a relative clause (who, which, that)"),
    "adverbial_clause": Told("subordinate clauses", "add an adverbial clause (when, because, although, if)"),
    "noun_clause": Told("subordinate clauses", "add a noun clause (that, whether, what)"),
    "news": Told("style", "write it as a line of news"),
    "spoken": Told("style", "write it as somebody says it to a friend"),
    "encyclopedia": Told("style", "write it as a sentence of an encyclopedia"),
    "story": Told("style", "write it as a sentence of a story"),
}
