"""A chat model behind an OpenAI-compatible endpoint as a member of a teacher: ``endpoint:URL#MODEL``.

It is not trained, so it is shown posts of train with their entities, the same ones for each text: a server that keeps
what it has read needs to read them once. What a model says of its own certainty is not used. Each text is labelled
``samples`` times, and the confidence in an entity is the share of answers that have it (self-consistency; Wang et al.
2023): an unusable answer has none. Entities of at least half of the answers count.

Posts and types are in a block of JSON that they cannot close; answers are data, parsed strictly. Why an answer is
unusable: no_answer (refused, cut or empty), not_json, off_schema (JSON of another form), not_in_text (the words of an
entity do not stand in the text), malformed (an unknown type, the same words with two types, entities that share words).
A failure that would recur with every text (the key, the budget, a server that is down) ends the run.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from hf_mner_aug.backbones import ScoredSpan
from hf_mner_aug.backbones.teachers.member import Opinion
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.endpoint import ChatRequest, Reply, Unanswered
from hf_mner_aug.models.endpoint.engine import ENDPOINT, ChatEngine
from hf_mner_aug.models.endpoint.prompts import as_block, read_prompt
from hf_mner_aug.models.text.labelled import type_name
from hf_mner_aug.schema import Entity, Post, Span
from hf_mner_aug.storage import artifacts
from hf_mner_aug.transform import Costs, Method, Reject
from hf_mner_aug.untrusted.hosts import Host
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.untrusted.shapes import checked
from hf_mner_aug.values import Amount, Count, Positive, Range, check_ranges

PROMPT = ("teachers", "label-1.md")
MAJORITY = 0.5  # the least share of answers that must have an entity
TRIES = 10  # posts examined for each one that is shown
LONGEST_SHOWN = 60  # words of a post that is shown


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is asked.

    Args:
        samples: the number of answers for a text.
        temperature: of the sampling; with 0 all answers may be the same.
        max_tokens: of an answer.
        shown: the number of labelled posts that the model is shown.
    """

    samples: Annotated[int, Range(2)] = 3
    temperature: Amount = 0.7
    max_tokens: Positive = 512
    shown: Count = 8

    def __post_init__(self) -> None:
        check_ranges(self)


class Found(TypedDict):
    """An entity of an answer."""

    text: str
    type: str


class Answer(TypedDict):
    """The labels of a text."""

    entities: Sequence[Found]


@dataclass(frozen=True)
class ChatMember:
    """A chat model that labels texts (a ``Member``)."""

    chat: ChatEngine

    @classmethod
    def of(cls, spec: str) -> "ChatMember | None":
        """Return the member of a spec, or None if it is not ``endpoint:…``; raises as ``ChatEngine.of``."""
        chat = ChatEngine.of("teacher", spec, Settings)
        return cls(chat) if chat else None

    @property
    def name(self) -> str:
        """The kind and the model's name."""
        return f"{ENDPOINT} {self.chat.model}"

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The host that texts are sent to."""
        return self.chat.hosts()

    def costs(
        self,
        method: Method,
        texts: Callable[[Post], int],
        to_fit: Callable[[Iterable[Post]], tuple[int, int]] = lambda train: (0, 0),
    ) -> Costs:
        """Return the calls of a method that has ``texts`` labelled for a post, and others ``to_fit``."""
        n = self.chat.settings.samples

        def fitting(train: Iterable[Post]) -> tuple[int, int]:
            least, most = to_fit(train)
            return n * least, n * most

        return self.chat.costs(method, calls=lambda post: n * texts(post), to_fit=fitting)

    def fit(self, train: Sequence[Post], validation: Sequence[Post], seed: int) -> str:
        """Return the digest of the posts of train that the model is shown; nothing is sent."""
        shown = choose_shown(train, self.chat.settings.shown, Draw(f"teacher\0{seed}\0shown".encode()))
        return artifacts.save_json({"shown": [_told(post) for post in shown]})

    def label(
        self, digest: str, texts: Sequence[Sequence[str]], *, types: Sequence[str], run: str
    ) -> list[Opinion | Reject]:
        """Return its opinion of each text, or why most of its answers are unusable.

        Raises:
            EndpointError: no request can be answered; earlier answers are kept.
        """
        shown = artifacts.load_json(digest)["shown"]
        samples = self.chat.settings.samples
        requests = [self._request(text, names_of(types), shown, n) for text in texts for n in range(samples)]
        answers = self.chat.ask(requests, run)
        by_text = [answers[at : at + samples] for at in range(0, len(answers), samples)]
        names = {name.casefold(): kind for kind, name in names_of(types).items()}
        return [
            opinion_of([read_answer(answer, text, names) for answer in of_text])
            for text, of_text in zip(texts, by_text, strict=True)
        ]

    def _request(self, text: Sequence[str], names: Mapping[str, str], shown: Any, n: int) -> ChatRequest:
        schema = answer_schema([*names.values()])
        system = f"{read_prompt(*PROMPT)}\nThe JSON schema of the answer:\n{json.dumps(schema)}"
        examples = [
            {**post, "entities": [{**entity, "type": names[entity["type"]]} for entity in post["entities"]]}
            for post in shown
        ]
        data = {"types": [*names.values()], "examples": examples, "post": " ".join(text)}
        return ChatRequest(
            messages=[{"role": "system", "content": system}, {"role": "user", "content": as_block(data)}],
            seed=n,
            temperature=self.chat.settings.temperature,
            max_tokens=self.chat.settings.max_tokens,
            json_schema=schema,
        )


def names_of(types: Sequence[str]) -> dict[str, str]:
    """Return the name of each type for the model, sorted; types that would share a name keep their own."""
    names = {kind: type_name(Entity(0, 1, kind)) for kind in sorted(types)}
    return {kind: name if [*names.values()].count(name) == 1 else kind for kind, name in names.items()}


def answer_schema(names: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of an answer with these types."""
    text = {"type": "string"}
    entity = {
        "type": "object",
        "properties": {"text": text, "type": {**text, "enum": [*names]}},
        "required": ["text", "type"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"entities": {"type": "array", "items": entity}},
        "required": ["entities"],
        "additionalProperties": False,
    }


def choose_shown(train: Sequence[Post], n: int, draw: Draw) -> list[Post]:
    """Return n drawn posts: by turns one for each type, the rarest first, and one without an entity."""
    drawn = [post for post in draw.shuffled(train) if 0 < len(post.tokens) <= LONGEST_SHOWN and post.relation is None]
    counts = Counter(entity.type for post in drawn for entity in post.entities)
    turns = [*sorted(counts, key=lambda kind: (counts[kind], kind)), ""]
    found: list[Post] = []
    while len(found) < min(n, len(drawn)):
        kind = turns[len(found) % len(turns)]
        left = [post for post in drawn if post not in found]
        found.append(next((post for post in left if kind in _types_of(post)), left[0]))
    return found


def _types_of(post: Post) -> set[str]:
    """Return the types of a post's entities; an empty one if it has none."""
    return {entity.type for entity in post.entities} or {""}


def _told(post: Post) -> dict[str, Any]:
    """Return a post as the model is shown it: an entity's words once, with their first type."""
    listed: dict[str, str] = {}
    for entity in post.entities:
        listed.setdefault(" ".join(post.tokens[entity.start : entity.end]), entity.type)
    return {"post": " ".join(post.tokens), "entities": [{"text": text, "type": kind} for text, kind in listed.items()]}


# ---------------------------------------------------------------- answers


def read_answer(answer: Reply | Unanswered, text: Sequence[str], names: Mapping[str, str]) -> tuple[Span, ...] | Reject:
    """Return the entities of an answer, or why it is unusable.

    Args:
        answer: to the request for a text.
        text: its words.
        names: the types by the names that the model uses, casefolded.
    """
    if isinstance(answer, Unanswered):
        reason = "not_json" if answer.reason == "not_json" else "no_answer"
        return Reject(reason, f"{answer.reason}: {answer.detail}" if reason == "no_answer" else answer.detail)
    try:
        found: Answer = checked(answer.data, Answer, "the answer")
    except DataError as error:
        return Reject("off_schema", str(error))
    listed: dict[tuple[str, ...], str] = {}
    for entity in found["entities"]:
        words, kind = tuple(entity["text"].split()), names.get(entity["type"].casefold())
        if kind is None:
            return Reject("malformed", f"{excerpt(entity['text'])} as {excerpt(entity['type'])}")
        if not words:
            return Reject("off_schema", f"an entity without words, as {kind}")
        if listed.setdefault(words, kind) != kind:
            return Reject("malformed", f"{excerpt(entity['text'])} as {listed[words]} and as {kind}")
    return place(text, listed)


def place(text: Sequence[str], listed: Mapping[tuple[str, ...], str]) -> tuple[Span, ...] | Reject:
    """Return the spans of entities in a text: every occurrence, longer ones first, or why one has no place."""
    taken: set[int] = set()
    spans = []
    for words in sorted(listed, key=lambda words: (-len(words), words)):
        starts = [i for i in range(len(text) - len(words) + 1) if tuple(text[i : i + len(words)]) == words]
        if not starts:
            return Reject("not_in_text", excerpt(" ".join(words)))
        free = [i for i in starts if taken.isdisjoint(range(i, i + len(words)))]
        if not free:
            return Reject("malformed", f"{excerpt(' '.join(words))} lies over another entity")
        for start in free:
            if taken.isdisjoint(range(start, start + len(words))):
                taken.update(range(start, start + len(words)))
                spans.append(Span(start, start + len(words), listed[words]))
    return tuple(sorted(spans))


def opinion_of(answers: Sequence[tuple[Span, ...] | Reject]) -> Opinion | Reject:
    """Return the opinion of several answers: entities of at least half of them, each with its share."""
    refused = [answer for answer in answers if isinstance(answer, Reject)]
    if len(refused) > MAJORITY * len(answers):
        return refused[0]
    counts = Counter(span for answer in answers if not isinstance(answer, Reject) for span in answer)
    kept: list[ScoredSpan] = []
    for span, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        free = all(span.end <= other.start or other.end <= span.start for other in kept)
        if free and count >= MAJORITY * len(answers):
            kept.append(ScoredSpan(*span, count / len(answers)))
    held = {i for span in kept for i in range(span.start, span.end)}
    doubted = (count for span, count in counts.items() if not held.issuperset(range(span.start, span.end)))
    return Opinion(tuple(sorted(kept)), 1 - max(len(refused), *doubted, 0) / len(answers))
