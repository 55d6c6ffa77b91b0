"""Engines that name patterns of failures and write posts for them, by name: rules, endpoint.

The engine ``retrieve`` finds posts instead: patterns are those of the rules, and memory_hard has the rest.
"""

from collections.abc import Sequence

from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.models.endpoint.engine import ENDPOINT, ChatEngine
from hf_mner_aug.models.patterns.endpoint import PatternEndpoint, Settings
from hf_mner_aug.models.patterns.rules import Rules
from hf_mner_aug.schema import Post

RULES, RETRIEVE = "rules", "retrieve"
ENGINES = (RULES, RETRIEVE, ENDPOINT)


def check_engine(name: str) -> None:
    """Check the name of a pattern engine: ``rules``, ``retrieve`` or ``endpoint:URL#MODEL``.

    Raises:
        UnknownName: there is no such engine.
        UsageError: as ``ChatEngine.of``.
    """
    if name not in (RULES, RETRIEVE) and chat_engine(name) is None:
        raise UnknownName("engine of patterns", name.partition("//")[0], ENGINES)  # an address may hold a key


def chat_engine(name: str) -> ChatEngine | None:
    """Return the model behind an endpoint that a name means, or None; raises as ``ChatEngine.of``."""
    return ChatEngine.of("engine", name, Settings)


def open_engine(name: str, posts: Sequence[Post], types: Sequence[str], run: str) -> PatternEndpoint | Rules:
    """Return the engine of a name that ``check_engine`` takes: of ``retrieve`` the one that names patterns.

    Args:
        name: its name.
        posts: of train.
        types: of their entities, with the fine ones.
        run: what an endpoint's budget is counted over.
    """
    if chat := chat_engine(name):
        return PatternEndpoint(chat=chat, types=tuple(types), run=run)
    return Rules.of(posts)
