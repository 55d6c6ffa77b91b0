"""The protocol of every engine that gives a post's entities other names, or its entities another context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from hf_mner_aug.draw import Draw
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.rewriting.strategies import Strategy
from hf_mner_aug.schema import Entity, Post

Names = Mapping[int, str]  # by the first word of the entity that a name replaces


@dataclass(frozen=True, slots=True, kw_only=True)
class RewritingRequest:
    """A post to be changed; a relation's head and tail are entities (``with_arguments``).

    Args:
        post: with the entities that the new text must hold.
        entities: those that get other names.
        strategy: how the context is to be written.
        critiques: ``reason: detail`` of each filter that earlier drafts failed, the latest last.
        draw: the request's randomness.
    """

    post: Post
    entities: tuple[Entity, ...] = ()
    strategy: Strategy = "shorter"
    critiques: Sequence[str] = ()
    draw: Draw


class RewritingEngine(Protocol):
    """Changes posts; an answer depends on its own request only, not on others asked with it."""

    name: ClassVar[str]

    def rename(self, requests: Sequence[RewritingRequest]) -> list[Names | Unwritten]:
        """Return other names of the same types for the entities of each request, or why there are none."""
        ...

    def rewrite(self, requests: Sequence[RewritingRequest]) -> list[Post | Unwritten]:
        """Return each post's entities in another context, or why there is none."""
        ...
