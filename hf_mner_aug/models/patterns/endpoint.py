"""Patterns and posts by a language model behind an OpenAI-compatible endpoint: one chat for each question.

The prompts are files (``prompts/memory_hard``), a new one for each change. Texts of posts, patterns and filters are in
a separate block of JSON, which no post can close. Answers are data: parsed strictly, bounded, never executed. An
unusable one is returned as an ``Unwritten``, which the next request has as a critique: ``not_json``; ``no_answer``
(refused, cut or empty); ``off_schema``, JSON of another schema; ``not_in_text``, a mention that is not in the words. A
failure that would recur with every request (the key, the budget, a server that is down) ends the run.
"""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import EndpointError
from hf_mner_aug.models.endpoint import ChatRequest, Reply, Unanswered
from hf_mner_aug.models.endpoint.answers import (
    NAME,
    SENTENCE,
    TEXT,
    Unusable,
    find_words,
    locate,
    object_schema,
    read_list,
    read_object,
    read_text,
    read_word,
    spelt,
)
from hf_mner_aug.models.endpoint.engine import ENDPOINT, ChatEngine
from hf_mner_aug.models.endpoint.prompts import as_block, read_prompt
from hf_mner_aug.models.patterns.engine import (
    Draft,
    Pattern,
    Question,
    WriteRequest,
    what_all_get_wrong,
    what_goes_wrong,
)
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.patterns.rules import key_at
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.labelled import type_name
from hf_mner_aug.schema import EncodedImage, Entity, canonical_json
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.values import Amount, Positive, check_ranges

PROMPTS = "memory_hard"  # their folder
INDUCE, MATCH, WRITE = "induce-1.md", "match-1.md", "write-1.md"
WRITE_SEEN, JUDGE, MERGE, DESCRIBE = "write-seen-1.md", "judge-1.md", "merge-1.md", "describe-1.md"
WITHOUT_PICTURES = ("bad_request", "server_error", "not_recorded")  # how a server refuses pictures, or refused them
BATCH = 10  # posts in one request for verdicts
MOST_WORDS, MOST_ENTITIES = 100, 40
NO_ENTITY = "no entity"

PATTERN = object_schema(name=TEXT, trigger=TEXT, why=TEXT, how=TEXT)
VERDICTS = object_schema(
    verdicts={"type": "array", "items": object_schema(id={"type": "integer"}, match={"type": "boolean"})}
)


JUDGEMENT = object_schema(supported={"type": "boolean"}, why=TEXT)
SAME = object_schema(same={"type": "integer"})


def draft_schema(types: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a draft whose entities are of these types."""
    entity = object_schema(text=TEXT, type={"type": "string", "enum": [*types]})
    return object_schema(
        tokens={"type": "array", "items": TEXT},
        entities={"type": "array", "items": entity},
        focus=TEXT,
        image_prompt=TEXT,
    )


# ---------------------------------------------------------------- answers


def read_pattern(value: Any) -> Pattern:
    """Return the pattern of an answer.

    Raises:
        Unusable: it does not fit ``PATTERN``, or a text is empty, too long or holds a control character.
    """
    found = read_object(value, PATTERN, "the answer")
    trigger, why, how = (read_text(found[name], name, SENTENCE) for name in ("trigger", "why", "how"))
    return Pattern(read_text(found["name"], "name", NAME), trigger, why, how)


def read_verdicts(value: Any, n: int) -> list[bool]:
    """Return the verdict for each of the ids 1 to n.

    Raises:
        Unusable: it does not fit ``VERDICTS``, or an id is missing, unknown or repeated.
    """
    verdicts = {}
    for item in read_list(read_object(value, VERDICTS, "the answer")["verdicts"], "verdicts", 2 * n):
        found = read_object(item, VERDICTS["properties"]["verdicts"]["items"], "a verdict")
        if type(found["id"]) is not int or type(found["match"]) is not bool:
            raise Unusable(f"a verdict: expected a number and true or false, found {spelt(item)}")
        if found["id"] in verdicts:
            raise Unusable(f"id {found['id']} is there twice")
        verdicts[found["id"]] = found["match"]
    if set(verdicts) != set(range(1, n + 1)):
        raise Unusable(f"expected a verdict for each id from 1 to {n}, found {spelt(sorted(verdicts))}")
    return [verdicts[i] for i in range(1, n + 1)]


def read_judgement(value: Any) -> str:
    """Return why the labels of a post are not supported; empty if they are.

    Raises:
        Unusable: it does not fit ``JUDGEMENT``.
    """
    found = read_object(value, JUDGEMENT, "the answer")
    if type(found["supported"]) is not bool:
        raise Unusable(f"supported: expected true or false, found {spelt(found['supported'])}")
    return "" if found["supported"] else read_text(found["why"], "why", SENTENCE)


def read_same(value: Any, n: int) -> int | None:
    """Return the index of the pattern, of n, that a new one is the same as, or None.

    Raises:
        Unusable: it does not fit ``SAME``, or the id is not one of 0 to n.
    """
    same = read_object(value, SAME, "the answer")["same"]
    if type(same) is not int or not 0 <= same <= n:
        raise Unusable(f"same: expected a number from 0 to {n}, found {spelt(same)}")
    return same - 1 if same else None


def read_draft(value: Any, failure: Failure, types: Mapping[str, str], made_of: Sequence[str] = ()) -> Draft:
    """Return the post of an answer, which filters check later.

    Args:
        value: the parsed answer.
        failure: the one that the post should test.
        types: the types of entities by the names that the model uses; another name is kept as it is.
        made_of: the posts that the model saw.

    Raises:
        Unusable: it does not fit ``draft_schema``, words hold a space or a control character, or a mention occurs in
            the words more or less often than it is listed.
    """
    found = read_object(value, draft_schema(()), "the answer")
    tokens = tuple(read_word(word) for word in read_list(found["tokens"], "tokens", MOST_WORDS))
    listed = []
    for item in read_list(found["entities"], "entities", MOST_ENTITIES):
        entity = read_object(item, draft_schema(())["properties"]["entities"]["items"], "an entity")
        kind = read_text(entity["type"], "the type of an entity", NAME)
        listed.append((read_text(entity["text"], "the text of an entity", SENTENCE), types.get(kind.casefold(), kind)))
    entities = locate(tokens, listed)
    focus = tuple(read_text(found["focus"], "focus", SENTENCE).split())
    inside = [(start, end) for start, end, _ in entities if tokens[start:end] == focus]
    places = (inside if failure.gold else []) or find_words(tokens, focus)
    if not places:
        raise Unusable(f"the focus is not in the tokens: {excerpt(' '.join(focus))}", "not_in_text")
    prompt = read_text(found["image_prompt"], "image_prompt", SENTENCE)
    return Draft(tokens, entities, places[0], prompt, tuple(dict.fromkeys(made_of)))


# ---------------------------------------------------------------- the engine


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is asked: ``temperature`` (0 for matches), ``max_tokens`` of an answer, number of failures shown."""

    temperature: Amount = 0.7
    max_tokens: Positive = 1024
    shown: Positive = 12

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class PatternEndpoint:
    """Asks a chat model for patterns and posts (a ``PatternEngine``).

    Args:
        chat: the model.
        types: the types of entities, with the fine ones.
        run: the name under which a budget is counted.
    """

    name: ClassVar[str] = ENDPOINT

    chat: ChatEngine
    types: tuple[str, ...]
    run: str = ""

    @property
    def identity(self) -> str:
        """The model, its settings, and a digest of the prompts and schemas."""
        prompts = [read_prompt(PROMPTS, name) for name in (INDUCE, MATCH, WRITE)]
        told = [*prompts, PATTERN, VERDICTS, draft_schema(()), BATCH]
        digest = hashlib.sha256(canonical_json(told).encode()).hexdigest()
        return canonical_json([self.name, self.chat.model, asdict(self.chat.settings), self.types, digest])

    def induce(
        self, members: Sequence[Failure], outsiders: Sequence[Failure], critiques: Sequence[str], draw: Draw
    ) -> Pattern | Unwritten:
        """Return a pattern of the members shown that the outsiders shown do not have.

        Raises:
            EndpointError: no request can be answered; earlier answers are kept.
        """
        data = {
            "error": what_all_get_wrong(members, self._name),
            "members": [self._told(failure) for failure in members[: self.chat.settings.shown]],
            "others": [self._told(failure) for failure in outsiders[: self.chat.settings.shown]],
            "critiques": list(critiques),
        }
        (answer,) = self._ask([self._chat(INDUCE, PATTERN, data, draw.seed())])
        if isinstance(answer, Unwritten):
            return answer
        try:
            return read_pattern(answer)
        except Unusable as error:
            return Unwritten(error.reason, str(error))

    def matches(self, questions: Sequence[Question]) -> list[list[bool]]:
        """Return whether each failure matches its question's pattern; raises as ``induce``.

        A request has ten failures of one question. If the answer does not have a verdict for each, it is requested once
        more, with a critique; after that none of the ten matches.
        """
        asked = [
            (n, pattern, failures[first : first + BATCH])
            for n, (pattern, failures) in enumerate(questions)
            for first in range(0, len(failures), BATCH)
        ]
        verdicts: dict[int, list[bool]] = {}
        critiques: dict[int, str] = {}
        for attempt in range(2):
            waiting = [i for i in range(len(asked)) if i not in verdicts]
            chats = [self._match(*asked[i][1:], [critiques[i]] if attempt else [], attempt) for i in waiting]
            for i, answer in zip(waiting, self._ask(chats), strict=True):
                try:
                    verdicts[i] = read_verdicts(_usable(answer), len(asked[i][2]))
                except Unusable as error:
                    critiques[i] = f"{error.reason}: {error}"
        found: list[list[bool]] = [[] for _ in questions]
        for i, (n, _, part) in enumerate(asked):
            found[n] += verdicts.get(i, [False] * len(part))
        return found

    def write(self, requests: Sequence[WriteRequest]) -> list[Draft | Unwritten]:
        """Return a new post for each request, or why there is none; raises as ``induce``."""
        known = {self._name(key).casefold(): key for key in self.types} | {key.casefold(): key for key in self.types}
        found: list[Draft | Unwritten] = []
        for request, answer in zip(requests, self._ask([self._writing(r) for r in requests]), strict=True):
            if isinstance(answer, Unwritten):
                found.append(answer)
                continue
            seen = [request.failure.post, *(exemplar.post for exemplar in request.exemplars)]
            try:
                found.append(read_draft(answer, request.failure, known, seen))
            except Unusable as error:
                found.append(Unwritten(error.reason, str(error)))
        return found

    # ------------------------------------------------------------ merging, judging, seeing

    def same_as(self, new: Pattern, known: Sequence[Pattern], draw: Draw) -> int | None:
        """Return the index of the known pattern that a new one is the same as, or None; raises as ``induce``.

        An unusable answer is asked for once more; after that the pattern is a new one.
        """
        critiques: list[str] = []
        for _ in range(2):
            data = {
                "new": {"name": new.name, "trigger": new.trigger, "why": new.why},
                "known": [
                    {"id": i, "name": p.name, "trigger": p.trigger, "why": p.why} for i, p in enumerate(known, 1)
                ],
                "critiques": critiques,
            }
            (answer,) = self._ask([self._chat(MERGE, SAME, data, draw.seed(), temperature=0.0)])
            try:
                return read_same(_usable(answer), len(known))
            except Unusable as error:
                critiques = [f"{error.reason}: {error}"]
        return None

    def judge(self, drafts: Sequence[Draft]) -> list[str]:
        """Return why the text of each draft does not support its labels, empty if it does; raises as ``induce``.

        An unusable answer is asked for once more; after that the labels are not supported.
        """
        verdicts: dict[int, str] = {}
        critiques: dict[int, str] = {}
        for attempt in range(2):
            waiting = [i for i in range(len(drafts)) if i not in verdicts]
            chats = [self._judging(drafts[i], [critiques[i]] if attempt else [], attempt) for i in waiting]
            for i, answer in zip(waiting, self._ask(chats), strict=True):
                try:
                    verdicts[i] = read_judgement(_usable(answer))
                except Unusable as error:
                    critiques[i] = f"{error.reason}: {error}"
        return [verdicts.get(i, f"no verdict: {critiques.get(i)}") for i in range(len(drafts))]

    def _judging(self, draft: Draft, critiques: Sequence[str], n: int) -> ChatRequest:
        entities = [{"text": " ".join(draft.tokens[s:e]), "type": self._name(kind)} for s, e, kind in draft.entities]
        data = {
            "types": [self._name(key) for key in self.types],
            "post": " ".join(draft.tokens),
            "entities": entities,
            "critiques": critiques,
        }
        return self._chat(JUDGE, JUDGEMENT, data, n, temperature=0.0)

    def describe(self, pictures: Sequence[EncodedImage]) -> list[str | Unwritten]:
        """Return what is seen in each picture, or why nothing is said of it; raises as ``induce``."""
        asked = [
            ChatRequest(
                messages=[{"role": "user", "content": read_prompt(PROMPTS, DESCRIBE)}],
                seed=0,
                temperature=0.0,
                max_tokens=self.chat.settings.max_tokens,
                images=[picture],
            )
            for picture in pictures
        ]
        return [
            answer.text if isinstance(answer, Reply) else _unwritten(answer)
            for answer in self.chat.ask(asked, self.run)
        ]

    def sees(self, picture: EncodedImage) -> str:
        """Return why the server takes no pictures, found out with one; empty if it does.

        Raises:
            EndpointError: no request can be answered.
        """
        try:
            (answer,) = self.describe([picture])
        except EndpointError as error:
            if error.reason in WITHOUT_PICTURES:
                return str(error)
            raise
        refused = isinstance(answer, Unwritten) and answer.detail.startswith(WITHOUT_PICTURES)
        return answer.detail if refused else ""  # type: ignore[union-attr]

    # ------------------------------------------------------------ requests

    def _match(self, pattern: Pattern, failures: Sequence[Failure], critiques: Sequence[str], n: int) -> ChatRequest:
        posts = [
            {"id": i, "post": " ".join(f.tokens), "mention": f.text, "type": self._right(f)}
            for i, f in enumerate(failures, 1)
        ]
        data = {"pattern": {"name": pattern.name, "trigger": pattern.trigger}, "posts": posts, "critiques": critiques}
        return self._chat(MATCH, VERDICTS, data, n, temperature=0.0)

    def _writing(self, request: WriteRequest) -> ChatRequest:
        failure = request.failure
        asked = f"a mention of the type {self._right(failure)}"
        asked = asked if failure.gold else "words like the mention that are no entity"
        names = [self._name(key) for key in self.types]
        data = {
            "types": names,
            "error": self._error(failure),
            "failure": self._told(failure, entities=True),
            "patterns": [{"name": p.name, "trigger": p.trigger, "why": p.why, "how": p.how} for p in request.patterns],
            "exemplars": [self._told(exemplar, entities=True) for exemplar in request.exemplars],
            "asked": asked,
            "critiques": list(request.critiques),
        }
        prompt, images = (WRITE_SEEN, [request.image]) if request.image else (WRITE, [])
        return self._chat(prompt, draft_schema(names), data, request.draw.seed(), images=images)

    def _chat(
        self,
        prompt: str,
        schema: Mapping[str, Any],
        data: Any,
        seed: int,
        *,
        temperature: float | None = None,
        images: Sequence[EncodedImage] = (),
    ) -> ChatRequest:
        """Return a request; the prompt has the schema as well, for servers without ``response_format``."""
        system = f"{read_prompt(PROMPTS, prompt)}\nThe JSON schema of the answer:\n{json.dumps(schema)}"
        return ChatRequest(
            messages=[{"role": "system", "content": system}, {"role": "user", "content": as_block(data)}],
            seed=seed,
            temperature=self.chat.settings.temperature if temperature is None else temperature,
            max_tokens=self.chat.settings.max_tokens,
            json_schema=schema,
            images=images,
        )

    def _told(self, failure: Failure, *, entities: bool = False) -> dict[str, Any]:
        """Return a failure as the model is shown it."""
        spans = [{"text": " ".join(failure.tokens[s:e]), "type": self._name(kind)} for s, e, kind in failure.entities]
        predicted = failure.predicted
        said = NO_ENTITY
        if predicted:
            said = f"{' '.join(failure.tokens[slice(*predicted[:2])])} as {self._name(predicted[2])}"
        return {
            "post": " ".join(failure.tokens),
            **({"entities": spans} if entities else {}),
            "mention": failure.text,
            "right": self._right(failure),
            "predicted": said,
        }

    def _error(self, failure: Failure) -> str:
        gold, predicted = failure.confusion
        return what_goes_wrong(failure.kind, self._name(gold), self._name(predicted))

    def _right(self, failure: Failure) -> str:
        return self._name(key_at(failure)) if failure.gold else NO_ENTITY

    def _name(self, key: str) -> str:
        return self._names.get(key) or _spelt_type(key)

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        """The name of each type for the model; types that would share a name keep their own."""
        counts = Counter(map(_spelt_type, self.types))
        return {key: name if counts[name := _spelt_type(key)] == 1 else key for key in self.types}

    # ------------------------------------------------------------ asking

    def _ask(self, requests: Sequence[ChatRequest]) -> list[Any | Unwritten]:
        """Return the JSON of each answer, or why there is none."""
        answers = self.chat.ask(requests, self.run)
        return [answer.data if isinstance(answer, Reply) else _unwritten(answer) for answer in answers]


def _spelt_type(key: str) -> str:
    kind, _, fine = key.partition("/")
    return type_name(Entity(0, 1, kind, fine or None))


def _usable(answer: Any | Unwritten) -> Any:
    """Return the JSON of an answer; raises Unusable."""
    if isinstance(answer, Unwritten):
        raise Unusable(answer.detail, answer.reason)
    return answer


def _unwritten(answer: Unanswered) -> Unwritten:
    if answer.reason == "not_json":
        return Unwritten("not_json", answer.detail)
    return Unwritten("no_answer", f"{answer.reason}: {answer.detail}")
