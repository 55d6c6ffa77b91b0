"""Engines that give a post other names or another context, by name: rules, endpoint."""

from collections.abc import Sequence

from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.models.endpoint.engine import ENDPOINT, ChatEngine
from hf_mner_aug.models.text.rewriting.endpoint import RewritingEndpoint, Settings
from hf_mner_aug.models.text.rewriting.rules import RewritingRules
from hf_mner_aug.posts.tokenising import Style

RULES = "rules"
ENGINES = (RULES, ENDPOINT)


def check_engine(name: str) -> None:
    """Check the name of an engine: ``rules`` or ``endpoint:URL#MODEL``.

    Raises:
        UnknownName: there is no such engine.
        UsageError: as ``ChatEngine.of``.
    """
    if name != RULES and chat_engine(name) is None:
        raise UnknownName("engine", name.partition("//")[0], ENGINES)  # an address may hold a key


def chat_engine(name: str) -> ChatEngine | None:
    """Return the model behind an endpoint that a name means, or None; raises as ``ChatEngine.of``."""
    return ChatEngine.of("engine", name, Settings)


def open_engine(
    name: str, *, posts: str, types: Sequence[str], style: Style, seed: int, run: str
) -> RewritingEndpoint | RewritingRules:
    """Return the engine of a name that ``check_engine`` takes.

    Args:
        name: its name.
        posts: the digest of the train posts (``storage.posts``).
        types: the types of tags, as ``tag_type`` writes them.
        style: of the set's words.
        seed: of the order of contexts.
        run: what an endpoint's budget is counted over.
    """
    if chat := chat_engine(name):
        return RewritingEndpoint(chat=chat, types=tuple(types), style=style, run=run)
    return RewritingRules(posts=posts, types=tuple(types), seed=seed)
