"""Labelled texts by a vision model behind an OpenAI-compatible endpoint: GMDA's instruction, one line as the answer.

The model is not fine-tuned, so it is shown labelled texts of other train posts, drawn for each request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hf_mner_aug.draw import Draw
from hf_mner_aug.hygiene import text_key
from hf_mner_aug.models.endpoint import KEY_ENV, ChatRequest, Endpoint, Reply, Unanswered
from hf_mner_aug.models.labelled_text import TextRequest, Unwritten, linearize, with_arguments
from hf_mner_aug.stored_posts import open_posts

TRIES = 10  # posts looked at for each one that is shown


@dataclass(frozen=True, kw_only=True)
class TextEndpoint:
    """Asks a chat model for labelled texts (a ``TextEngine``).

    Args:
        base_url: as ``Endpoint`` takes it; the key is in the variable ``key_env``.
        model: the name that the server knows.
        types: the types of tags, as ``tag_type`` writes them.
        posts: the digest of the train posts (``stored_posts``).
        shown: how many of their labelled texts a request shows.
        temperature: of the sampling.
        max_tokens: of an answer.
    """

    name: ClassVar[str] = "endpoint"

    base_url: str
    model: str
    types: tuple[str, ...]
    posts: str
    shown: int = 3
    temperature: float = 1.0
    max_tokens: int = 512
    key_env: str = KEY_ENV

    def generate(
        self, requests: Sequence[TextRequest], draws: Sequence[Draw], *, rank: int | None = None
    ) -> list[str | Unwritten]:
        """Return the answer to each request, or ``no_answer`` and why; one of several lines is ``no_answer``, too.

        Raises:
            EndpointError: no request can be answered: the key, the credit, the model or the address is wrong.
            NotFitted: the train posts are not on this machine.
        """
        asked = [self._request(request, draw) for request, draw in zip(requests, draws, strict=True)]
        endpoint = Endpoint(base_url=self.base_url, model=self.model, key_env=self.key_env)
        return [self._read(answer) for answer in endpoint.many(asked)]

    def _request(self, request: TextRequest, draw: Draw) -> ChatRequest:
        return ChatRequest(
            messages=[
                {"role": "system", "content": self._format(request, draw.sub("shown"))},
                {"role": "user", "content": request.instruction},
            ],
            seed=draw.seed() % 2**31,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            images=[request.image] if request.image is not None else [],
        )

    def _format(self, request: TextRequest, draw: Draw) -> str:
        """Return what an answer must look like, with texts of other posts."""
        tags = ", ".join(f"B-{kind}, I-{kind}" for kind in self.types)
        rules = (
            "Answer with one line: the words of the tweet with one space between them, punctuation marks as words of "
            "their own. Before the first word of each entity write B- and its type, before each further word of it I- "
            f"and its type, as words of their own. The tags are: {tags}. Tag every entity of these types, nothing else."
        )
        return "\n".join([rules, "For example:", *self._shown(request, draw)])

    def _shown(self, request: TextRequest, draw: Draw) -> list[str]:
        posts, own = open_posts(self.posts), text_key(request.post.tokens)
        found: list[str] = []
        for row in draw.sample(range(len(posts)), self.shown * TRIES):
            post = with_arguments(posts[row])
            if len(found) < self.shown and post and post.entities and text_key(post.tokens) != own:
                found.append(linearize(post))
        return found

    def _read(self, answer: Reply | Unanswered) -> str | Unwritten:
        if not isinstance(answer, Reply):
            return Unwritten("no_answer", f"{answer.reason}: {answer.detail}")
        lines = answer.text.strip().splitlines()
        if len(lines) != 1:
            return Unwritten("no_answer", f"{len(lines)} lines")
        return lines[0]
