"""What a model is asked about a post, and what its answers must be.

PGIM (Li et al. 2023) asks a chat model about the text and a caption of the picture, and shows it the answers of people
to the posts most like it. Deviates: shown are labelled posts of train, since there are no such answers to other sets;
likeness is that of words (cosine of TF-IDF), not of text and picture; the prompts (``prompts/knowledge``) are ours.

Texts and captions are in a block of JSON that they cannot close; answers are data, parsed strictly and bounded.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hf_mner_aug.backbones.teachers.endpoint import names_of
from hf_mner_aug.models.endpoint import ChatRequest, Reply, Unanswered
from hf_mner_aug.models.endpoint.answers import SENTENCE, TEXT, Unusable, object_schema, read_object, read_text
from hf_mner_aug.models.endpoint.prompts import as_block, read_prompt
from hf_mner_aug.models.image.collage import words_of
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.schema import EncodedImage, Post
from hf_mner_aug.transform import Reject
from hf_mner_aug.values import Amount, Count, Positive, check_ranges

PROMPTS = "knowledge"  # their folder
CAPTION, TELL = "caption-1.md", "tell-1.md"
CAPTION_SCHEMA = object_schema(caption=TEXT)
TELL_SCHEMA = object_schema(knowledge=TEXT)
LONGEST = 2000  # characters of knowledge
LONGEST_SHOWN = 60  # words of an example


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is asked.

    Args:
        temperature: of the sampling.
        max_tokens: of an answer.
        shown: the number of labelled posts that the model is shown.
        captions: ask for a caption of the picture first; a model that reads no pictures needs `captions=false`.
    """

    temperature: Amount = 0.0
    max_tokens: Positive = 512
    shown: Count = 5
    captions: bool = True

    def __post_init__(self) -> None:
        check_ranges(self)


class Examples:
    """Labelled posts, of which the ones most like a text are shown.

    Args:
        posts: gold posts of train.
    """

    def __init__(self, posts: Sequence[Post]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.posts = [post for post in posts if 0 < len(post.tokens) <= LONGEST_SHOWN]
        self.keys = [text_key(post.tokens) for post in self.posts]
        texts = [" ".join(post.tokens) for post in self.posts]
        self.vectorizer = TfidfVectorizer(analyzer=words_of, sublinear_tf=True)
        self.weights = self.vectorizer.fit_transform(texts) if any(map(words_of, texts)) else None

    def nearest(self, post: Post, n: int, without: Collection[str] = ()) -> list[Post]:
        """Return the n posts whose words are most like a post's, the most like first; equally like ones in their order.

        The post itself, others of its text and those with an id of ``without`` are never among them: they would give
        its labels away, which the model must not see of train if it does not of test.
        """
        if not n or self.weights is None:
            return []
        like = (self.weights @ self.vectorizer.transform([" ".join(post.tokens)]).T).toarray()[:, 0].round(6)
        key, barred = text_key(post.tokens), {post.id, *without}
        order = sorted(range(len(self.posts)), key=lambda i: (-like[i], i))
        allowed = (i for i in order if self.posts[i].id not in barred and self.keys[i] != key)
        return [self.posts[i] for i, _ in zip(allowed, range(n), strict=False)]


def caption_request(image: EncodedImage, settings: Settings) -> ChatRequest:
    """Return the request for a caption of a picture."""
    messages = [{"role": "user", "content": read_prompt(PROMPTS, CAPTION)}]
    return ChatRequest(
        messages=messages,
        images=(image,),
        seed=0,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        json_schema=CAPTION_SCHEMA,
    )


def tell_request(
    post: Post, caption: str | None, examples: Sequence[Post], types: Sequence[str], settings: Settings
) -> ChatRequest:
    """Return the request for knowledge about a post, of which its words and a caption are told, and no label."""
    names = names_of(types)
    data: dict[str, Any] = {
        "types": [*names.values()],
        "examples": [
            {
                "post": " ".join(example.tokens),
                "entities": [
                    {"text": " ".join(example.tokens[e.start : e.end]), "type": names[e.type]} for e in example.entities
                ],
            }
            for example in examples
        ],
        "post": " ".join(post.tokens),
        "caption": caption,
    }
    messages = [
        {"role": "system", "content": read_prompt(PROMPTS, TELL)},
        {"role": "user", "content": as_block(data)},
    ]
    return ChatRequest(
        messages=messages,
        seed=0,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        json_schema=TELL_SCHEMA,
    )


def read_answer(answer: Reply | Unanswered, schema: dict[str, Any]) -> str | Reject:
    """Return the text of an answer in one line, or why it is unusable: ``not_json``, ``off_schema``, ``no_answer``."""
    if isinstance(answer, Unanswered):
        reason = "not_json" if answer.reason == "not_json" else "no_answer"
        return Reject(reason, f"{answer.reason}: {answer.detail}" if reason == "no_answer" else answer.detail)
    (name,) = schema["required"]
    try:
        return read_text(read_object(answer.data, schema, "the answer")[name], name, LIMITS[name])
    except Unusable as error:
        return Reject(error.reason, str(error))


LIMITS = {"caption": SENTENCE, "knowledge": LONGEST}
