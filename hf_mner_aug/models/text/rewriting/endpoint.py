"""Other names and contexts by a language model behind an OpenAI-compatible endpoint, as LLM-DA asks for them.

The prompts (``prompts/llm_da``) are ours, a new file for each change. Posts and critiques are in a block of JSON, which
no post can close. Answers are data: parsed strictly, bounded, and compared with the request word by word. Unwritten:
not_json; no_answer (refused, cut or empty); off_schema, JSON of another schema, or other entities than asked for;
not_in_text, an entity that is not in the text as often as it is listed; malformed, a type that is not asked for, or a
name with a handle or a link; lost_entity; unchanged.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_mner_aug.models.endpoint import ChatRequest, Reply, Unanswered
from hf_mner_aug.models.endpoint.answers import (
    NAME,
    SENTENCE,
    TEXT,
    Unusable,
    locate,
    object_schema,
    read_list,
    read_object,
    read_text,
)
from hf_mner_aug.models.endpoint.engine import ENDPOINT, ChatEngine
from hf_mner_aug.models.endpoint.prompts import as_block, read_prompt
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.json_answers import MOST_ENTITIES, names_of
from hf_mner_aug.models.text.labelled import labelled_as, tag_type
from hf_mner_aug.models.text.rewriting.engine import Names, RewritingRequest
from hf_mner_aug.models.text.rewriting.strategies import STRATEGIES
from hf_mner_aug.posts.listed_mentions import as_set_writes, has_address, name_key
from hf_mner_aug.posts.name_lists import LONGEST_NAME
from hf_mner_aug.posts.tokenising import Style, split_words
from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.values import Amount, Positive, check_ranges

PROMPTS = "llm_da"  # their folder
RENAME, REWRITE = "rename-1.md", "rewrite-1.md"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is asked: ``temperature``, and ``max_tokens`` of an answer."""

    temperature: Amount = 0.7
    max_tokens: Positive = 512

    def __post_init__(self) -> None:
        check_ranges(self)


def entities_schema(types: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return the schema of a list of entities of these types."""
    return {"type": "array", "items": object_schema(text=TEXT, type={"type": "string", "enum": [*types]}, **more)}


def rename_schema(types: Sequence[str]) -> dict[str, Any]:
    """Return the schema of an answer with other names for entities of these types."""
    return object_schema(entities=entities_schema(types, new=TEXT))


def rewrite_schema(types: Sequence[str]) -> dict[str, Any]:
    """Return the schema of an answer with a text and its entities of these types."""
    return object_schema(text=TEXT, entities=entities_schema(types))


# ---------------------------------------------------------------- answers


def read_names(value: Any, asked: Sequence[tuple[str, str]], style: Style) -> list[str]:
    """Return the new names of an answer for the entities asked [n], as the set writes them.

    Args:
        value: the parsed answer.
        asked: the words and the type of each entity, as the model was shown them.
        style: of the set's words.

    Raises:
        Unusable: it does not fit ``rename_schema``, lists other entities, or a new name is the old one, has no letter,
            has more than 10 words, or is a handle or a link.
    """
    schema = rename_schema(())
    items = read_list(read_object(value, schema, "the answer")["entities"], "entities", MOST_ENTITIES)
    found = [_read_entity(item, schema["properties"]["entities"]["items"]) for item in items]
    if [(text, kind) for text, kind, _ in found] != [(text, kind.casefold()) for text, kind in asked]:
        raise Unusable(f"expected the entities {_told(asked)} in this order, found {_told([e[:2] for e in found])}")
    names = []
    for (old, _), (_, _, item) in zip(asked, found, strict=True):
        new = read_text(item["new"], "new", NAME)
        words = as_set_writes(new, style)
        if not words or len(words) > LONGEST_NAME or has_address(new.split()) or has_address(words):
            raise Unusable(f"expected a name of 1 to {LONGEST_NAME} words, found {excerpt(new)}", "malformed")
        if name_key(new) == name_key(old):
            raise Unusable(f"{excerpt(new)} is the old name", "unchanged")
        names.append(" ".join(words))
    return names


def read_context(
    value: Any, asked: Sequence[tuple[tuple[str, ...], str]], kinds: Mapping[str, str], style: Style
) -> tuple[list[str], list[tuple[int, int, str]]]:
    """Return the words and the typed spans of an answer that holds exactly the entities asked for.

    Texts are compared cut into words in the set's style; an entity of the result has the words that were asked for.

    Args:
        value: the parsed answer.
        asked: the words and the type of each entity.
        kinds: the types by the names that the model uses, casefolded.
        style: of the set's words.

    Raises:
        Unusable: it does not fit ``rewrite_schema``, an entity is missing or too many, or its words are in the text
            more or less often than it is listed.
    """
    schema = rewrite_schema(())
    found = read_object(value, schema, "the answer")
    text = read_text(found["text"], "text", SENTENCE)
    listed = []
    for item in read_list(found["entities"], "entities", MOST_ENTITIES):
        mention, kind, _ = _read_entity(item, schema["properties"]["entities"]["items"])
        if kind not in kinds:
            raise Unusable(f"{excerpt(mention)} has the unknown type {excerpt(kind, 40)}", "malformed")
        listed.append((tuple(split_words(mention, style)), kinds[kind]))
    cut = [(tuple(split_words(_joined(words, style), style)), kind) for words, kind in asked]
    wanted, there = Counter(cut), Counter(listed)
    if missing := wanted - there:
        raise Unusable(f"{_spelt(missing)} is not listed", "lost_entity")
    if further := there - wanted:
        raise Unusable(f"{_spelt(further)} is not one of the entities of the post: leave it out of the text")
    own = dict(zip(cut, (words for words, _ in asked), strict=True))
    tokens, before = split_words(text, style), 0
    made: list[str] = []
    spans = []
    for start, end, kind in locate(tokens, [(" ".join(words), kind) for words, kind in listed]):
        made += tokens[before:start]
        words = own[tuple(tokens[start:end]), kind]
        spans.append((len(made), len(made) + len(words), kind))
        made, before = [*made, *words], end
    return made + tokens[before:], spans


def _read_entity(item: Any, schema: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return the text and the casefolded type of a listed entity, and all of it."""
    entity = read_object(item, schema, "an entity")
    text = read_text(entity["text"], "the text of an entity", SENTENCE)
    return text, read_text(entity["type"], "the type of an entity", NAME).casefold(), entity


def _spelt(entities: Counter[tuple[tuple[str, ...], str]]) -> str:
    words, kind = min(entities)
    return f"{excerpt(' '.join(words))} as {excerpt(kind, 40)}"


def _told(entities: Sequence[tuple[str, str]]) -> str:
    return excerpt(", ".join(f"{text} ({kind})" for text, kind in entities)) or "none"


# ---------------------------------------------------------------- the engine


@dataclass(frozen=True, kw_only=True)
class RewritingEndpoint:
    """Asks a chat model for names and contexts (a ``RewritingEngine``).

    Args:
        chat: the model.
        types: the types of tags, as ``tag_type`` writes them.
        style: of the set's words.
        run: the name under which a budget is counted.
    """

    name: ClassVar[str] = ENDPOINT

    chat: ChatEngine
    types: tuple[str, ...]
    style: Style
    run: str = ""

    def rename(self, requests: Sequence[RewritingRequest]) -> list[Names | Unwritten]:
        """Return the names that the model gives, or why they cannot be used.

        Raises:
            EndpointError: no request can be answered; earlier answers are kept.
        """
        asked = [[self._shown(request.post, entity) for entity in request.entities] for request in requests]
        chats = [
            self._chat(
                RENAME, rename_schema(self._names), {**self._data(request), "entities": _as_json(entities)}, request
            )
            for request, entities in zip(requests, asked, strict=True)
        ]
        found: list[Names | Unwritten] = []
        for request, entities, answer in zip(requests, asked, self.chat.ask(chats, self.run), strict=True):
            try:
                names = read_names(_data_of(answer), entities, self.style)
                found.append({e.start: name for e, name in zip(request.entities, names, strict=True)})
            except Unusable as error:
                found.append(Unwritten(error.reason, str(error)))
        return found

    def rewrite(self, requests: Sequence[RewritingRequest]) -> list[Post | Unwritten]:
        """Return the contexts that the model writes, or why they cannot be used; raises as ``rename``."""
        chats = []
        for request in requests:
            entities = [self._shown(request.post, entity) for entity in request.post.entities]
            told = STRATEGIES[request.strategy]
            data = {
                **self._data(request),
                "entities": _as_json(entities),
                "strategy": f"{told.dimension}: {told.instruction}",
            }
            chats.append(self._chat(REWRITE, rewrite_schema(self._names), data, request))
        answers = self.chat.ask(chats, self.run)
        return [self._read(request.post, answer) for request, answer in zip(requests, answers, strict=True)]

    def _read(self, post: Post, answer: Reply | Unanswered) -> Post | Unwritten:
        asked = [(tuple(post.tokens[e.start : e.end]), tag_type(e)) for e in post.entities]
        kinds = {name.casefold(): kind for kind, name in names_of(self.types).items()}
        try:
            tokens, spans = read_context(_data_of(answer), asked, kinds, self.style)
        except Unusable as error:
            return Unwritten(error.reason, str(error))
        entities = tuple(_entity(*span) for span in spans)
        return Post(post.id, tokens, entities, post.images, details=post.details)

    @property
    def _names(self) -> list[str]:
        return sorted(names_of(self.types).values())

    def _shown(self, post: Post, entity: Entity) -> tuple[str, str]:
        """Return an entity's words and type as the model is shown them."""
        return _joined(post.tokens[entity.start : entity.end], self.style), names_of(self.types)[tag_type(entity)]

    def _data(self, request: RewritingRequest) -> dict[str, Any]:
        return {
            "types": self._names,
            "post": _joined(request.post.tokens, self.style),
            "critiques": list(request.critiques),
        }

    def _chat(self, prompt: str, schema: Mapping[str, Any], data: Any, request: RewritingRequest) -> ChatRequest:
        """Return a request; the prompt has the schema as well, for servers without ``response_format``."""
        system = f"{read_prompt(PROMPTS, prompt)}\nThe JSON schema of the answer:\n{json.dumps(schema)}"
        return ChatRequest(
            messages=[{"role": "system", "content": system}, {"role": "user", "content": as_block(data)}],
            seed=request.draw.seed(),
            temperature=self.chat.settings.temperature,
            max_tokens=self.chat.settings.max_tokens,
            json_schema=schema,
        )


def _joined(tokens: Sequence[str], style: Style) -> str:
    """Return words as a text of a set."""
    return ("" if style == "characters" else " ").join(tokens)


def _as_json(entities: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"text": text, "type": kind} for text, kind in entities]


def _entity(start: int, end: int, kind: str) -> Entity:
    found = labelled_as(kind)
    return Entity(start, end, found.type, found.fine)


def _data_of(answer: Reply | Unanswered) -> Any:
    """Return the JSON of an answer; raises Unusable."""
    if isinstance(answer, Reply):
        return answer.data
    if answer.reason == "not_json":
        raise Unusable(answer.detail, "not_json")
    raise Unusable(f"{answer.reason}: {answer.detail}", "no_answer")
