"""Labelled texts by a vision model behind an OpenAI-compatible endpoint, as GMDA asks for them: one line, or JSON.

The model is not fine-tuned, so it is shown labelled texts of other train posts, drawn for each request. These and the
requested entities are untrusted text, in a block of JSON that they cannot close. An unusable answer costs one text; a
failure that would recur with every request (the key, the budget, a server that is down) ends the run.
Unwritten: no_answer, unreadable_image
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.endpoint import ChatRequest, Reply, Unanswered
from hf_mner_aug.models.endpoint.engine import ENDPOINT, ChatEngine
from hf_mner_aug.models.endpoint.prompts import as_block, read_prompt
from hf_mner_aug.models.text.engine import Composed, TextRequest, Unwritten
from hf_mner_aug.models.text.json_answers import answer_schema, as_answer, labelled_text, names_of
from hf_mner_aug.models.text.labelled import linearize, tag_names, tag_type, type_name, with_arguments
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.posts.tokenising import Style, word_style
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.posts import open_posts
from hf_mner_aug.values import Count, Positive, check_ranges

PROMPT, PROMPT_FREE = ("gmda", "write-1.md"), ("gmda", "write-free-1.md")
PROMPT_JSON, PROMPT_JSON_FREE = ("gmda", "write-json-1.md"), ("gmda", "write-json-free-1.md")
STYLED_BY = 1000  # train posts that show how a set writes words
TRIES = 10  # posts examined for each one that is shown


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is asked.

    Args:
        max_tokens: of an answer.
        shown: the number of labelled texts of other posts.
        answer: a line with ``tags``, or ``json``, a text and its entities, which small models list with fewer mistakes.
    """

    max_tokens: Positive = 512
    shown: Count = 3
    answer: Literal["tags", "json"] = "tags"

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class TextEndpoint:
    """Asks a chat model for labelled texts (a ``TextEngine``).

    Args:
        chat: the model.
        types: the types of tags, as ``tag_type`` writes them.
        posts: the digest of the train posts (``storage.posts``).
        temperature: of the sampling.
        run: the name under which a budget is counted.
    """

    name: ClassVar[str] = ENDPOINT

    chat: ChatEngine
    types: tuple[str, ...]
    posts: str
    temperature: float = 1.0
    run: str = ""

    def generate(self, requests: Sequence[TextRequest], draws: Sequence[Draw]) -> list[str | Unwritten]:
        """Return the answer to each request, with the ids of the posts shown, or why there is none.

        An answer of several lines is ``no_answer`` as well.

        Raises:
            EndpointError: no request can be answered; earlier answers are kept.
            NotFitted: the train posts are not on this machine.
        """
        shown = [self._shown(request, draw.sub("shown")) for request, draw in zip(requests, draws, strict=True)]
        asked = [self._request(*each) for each in zip(requests, shown, draws, strict=True)]
        answers = self.chat.ask(asked, self.run)
        return [self._read(answer, posts) for answer, posts in zip(answers, shown, strict=True)]

    @property
    def _in_json(self) -> bool:
        return self.chat.settings.answer == "json"

    def _request(self, request: TextRequest, shown: Sequence[Post], draw: Draw) -> ChatRequest:
        prompts = (PROMPT_JSON, PROMPT_JSON_FREE) if self._in_json else (PROMPT, PROMPT_FREE)
        asked = self._asked_in_json(request, shown) if self._in_json else self._asked(request, shown)
        return ChatRequest(
            messages=[
                {"role": "system", "content": read_prompt(*prompts[request.free])},
                {"role": "user", "content": as_block(asked)},
            ],
            json_schema=answer_schema(self.types) if self._in_json else None,
            seed=draw.seed() % 2**31,
            temperature=self.temperature,
            max_tokens=self.chat.settings.max_tokens,
            images=[request.image] if request.image is not None else [],
        )

    def _asked(self, request: TextRequest, shown: Sequence[Post]) -> dict[str, Any]:
        """Return the entities that a text must hold, or in a free one may, and texts of other posts."""
        return {
            "tags": [f"{prefix}-{kind}" for kind in self.types for prefix in "BI"],
            **({"types": tag_names(self.types)} if request.free else {"entities": asked_entities(request.post)}),
            "examples": list(map(linearize, shown)),
        }

    def _asked_in_json(self, request: TextRequest, shown: Sequence[Post]) -> dict[str, Any]:
        """Return the same, with entities as the answer lists them."""
        return {
            "types": sorted(names_of(self.types).values()),
            **({} if request.free else {"entities": as_answer(request.post, self.types)["entities"]}),
            "examples": [as_answer(post, self.types) for post in shown],
        }

    def _shown(self, request: TextRequest, draw: Draw) -> list[Post]:
        """Return other train posts with entities; arguments of relations count as such."""
        posts, own = open_posts(self.posts), text_key(request.post.tokens)
        found: list[Post] = []
        for row in draw.sample(range(len(posts)), self.chat.settings.shown * TRIES):
            post = with_arguments(posts[row])
            if len(found) < self.chat.settings.shown and post and post.entities and text_key(post.tokens) != own:
                found.append(post)
        return found

    def _read(self, answer: Reply | Unanswered, shown: Sequence[Post]) -> str | Unwritten:
        if not isinstance(answer, Reply):
            if answer.reason == "not_an_image":
                return Unwritten("unreadable_image", answer.detail)
            return Unwritten("no_answer", f"{answer.reason}: {answer.detail}")
        made_of = {post.id for post in shown}
        if self._in_json:
            try:
                return Composed(labelled_text(answer.data, self.types, _style(self.posts)), made_of)
            except DataError as error:
                return Unwritten("no_answer", str(error))
        lines = answer.text.strip().splitlines()
        if len(lines) != 1:
            return Unwritten("no_answer", f"{len(lines)} lines")
        return Composed(lines[0], made_of)


@functools.lru_cache(maxsize=8)
def _style(posts: str) -> Style:
    """Return how train posts write words."""
    return word_style(itertools.islice(open_posts(posts), STYLED_BY))


def asked_entities(post: Post) -> list[dict[str, str]]:
    """Return a post's entities as requested from a model."""
    return [
        {"text": " ".join(post.tokens[e.start : e.end]), "type": type_name(e), "tag": f"B-{tag_type(e)}"}
        for e in post.entities
    ]
