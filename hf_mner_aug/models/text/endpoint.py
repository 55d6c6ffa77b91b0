"""Labelled texts by a vision model behind an OpenAI-compatible endpoint: GMDA's request, one line as the answer.

The model is not fine-tuned, so it is shown labelled texts of other train posts, drawn for each request. These and the
requested entities are untrusted text, in a block of JSON that they cannot close. An unusable answer costs one text; a
failure that would recur with every request (the key, the budget, a server that is down) ends the run.
Unwritten: no_answer, unreadable_image
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_mner_aug.draw import Draw
from hf_mner_aug.models.endpoint import ChatRequest, Reply, Unanswered
from hf_mner_aug.models.endpoint.engine import ENDPOINT, ChatEngine
from hf_mner_aug.models.endpoint.prompts import as_block, read_prompt
from hf_mner_aug.models.text.engine import Composed, TextRequest, Unwritten
from hf_mner_aug.models.text.labelled import linearize, tag_names, tag_type, type_name, with_arguments
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.posts import open_posts
from hf_mner_aug.values import Count, Positive, check_ranges

PROMPT, PROMPT_FREE = ("gmda", "write-1.md"), ("gmda", "write-free-1.md")
TRIES = 10  # posts examined for each one that is shown


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is asked: ``max_tokens`` of an answer, and the number of labelled texts of other posts shown."""

    max_tokens: Positive = 512
    shown: Count = 3

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
        return [_read(answer, posts) for answer, posts in zip(answers, shown, strict=True)]

    def _request(self, request: TextRequest, shown: Sequence[Post], draw: Draw) -> ChatRequest:
        return ChatRequest(
            messages=[
                {"role": "system", "content": read_prompt(*(PROMPT_FREE if request.free else PROMPT))},
                {"role": "user", "content": as_block(self._asked(request, shown))},
            ],
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

    def _shown(self, request: TextRequest, draw: Draw) -> list[Post]:
        """Return other train posts with entities; arguments of relations count as such."""
        posts, own = open_posts(self.posts), text_key(request.post.tokens)
        found: list[Post] = []
        for row in draw.sample(range(len(posts)), self.chat.settings.shown * TRIES):
            post = with_arguments(posts[row])
            if len(found) < self.chat.settings.shown and post and post.entities and text_key(post.tokens) != own:
                found.append(post)
        return found


def asked_entities(post: Post) -> list[dict[str, str]]:
    """Return a post's entities as requested from a model."""
    return [
        {"text": " ".join(post.tokens[e.start : e.end]), "type": type_name(e), "tag": f"B-{tag_type(e)}"}
        for e in post.entities
    ]


def _read(answer: Reply | Unanswered, shown: Sequence[Post]) -> str | Unwritten:
    if not isinstance(answer, Reply):
        if answer.reason == "not_an_image":
            return Unwritten("unreadable_image", answer.detail)
        return Unwritten("no_answer", f"{answer.reason}: {answer.detail}")
    lines = answer.text.strip().splitlines()
    if len(lines) != 1:
        return Unwritten("no_answer", f"{len(lines)} lines")
    return Composed(lines[0], {post.id for post in shown})
