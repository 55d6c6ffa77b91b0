"""Labelled texts as JSON, a text and its entities, for models that list entities better than they write tags.

The text is cut into words as the set writes them. A listed entity is labelled wherever its words stand, longer ones
first; one that is not in the text, or listed with two types, makes the answer unusable.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, TypedDict

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.text.labelled import escape_word, tag_names, tag_type
from hf_mner_aug.posts.tokenising import Style, split_words
from hf_mner_aug.schema import Post
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.untrusted.shapes import checked

LONGEST = 600  # characters of a text
MOST_ENTITIES = 40


class Listed(TypedDict):
    """An entity: its words and the name of its type."""

    text: str
    type: str


class Answer(TypedDict):
    """A text and its entities."""

    text: str
    entities: list[Listed]


def names_of(types: Collection[str]) -> dict[str, str]:
    """Return a name for each type of tags (as ``tag_type`` writes them); types that would share one keep their own."""
    names = tag_names(types)
    counts = Counter(names.values())
    return {kind: name if counts[name] == 1 else kind for kind, name in names.items()}


def answer_schema(types: Collection[str]) -> dict[str, Any]:
    """Return the JSON schema of an answer."""
    text = {"type": "string"}
    kind = {"type": "string", "enum": sorted(names_of(types).values())}
    entity = {"type": "object", "properties": {"text": text, "type": kind}, "required": ["text", "type"]}
    entities = {"type": "array", "items": {**entity, "additionalProperties": False}}
    properties = {"text": text, "entities": entities}
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def as_answer(post: Post, types: Collection[str]) -> Answer:
    """Return a post as an answer."""
    names = names_of(types)
    listed: list[Listed] = [
        {"text": " ".join(post.tokens[e.start : e.end]), "type": names.get(tag_type(e), tag_type(e))}
        for e in post.entities
    ]
    return {"text": " ".join(post.tokens), "entities": listed}


def labelled_text(value: Any, types: Collection[str], style: Style) -> str:
    """Return an answer as a labelled text.

    Raises:
        DataError: it does not fit ``Answer``, is too long, or an entity has an unknown type, or two, is not there,
            or is punctuation alone.
    """
    answer: Answer = checked(value, Answer, "the answer")
    if len(answer["text"]) > LONGEST or len(answer["entities"]) > MOST_ENTITIES:
        raise DataError(f"the answer: expected at most {LONGEST} characters and {MOST_ENTITIES} entities, found more")
    words = split_words(answer["text"], style)
    kinds = {name.casefold(): kind for kind, name in names_of(types).items()}
    tags = [""] * len(words)
    listed: dict[tuple[str, ...], str] = {}
    for one in answer["entities"]:
        mention, kind = tuple(split_words(one["text"], style)), kinds.get(one["type"].casefold())
        fault = "" if _places(words, mention) else "is not in the text"
        fault = fault or ("" if any(map(str.isalnum, one["text"])) else "has no letter and no digit")
        fault = fault if kind else f"has the unknown type {excerpt(one['type'], 40)}"
        if kind is None or fault or listed.setdefault(mention, kind) != kind:
            raise DataError(f"the answer: {excerpt(one['text'], 80)} {fault or 'has two types'}")
    for mention, kind in sorted(listed.items(), key=lambda item: (-len(item[0]), item[0])):
        for start in _places(words, mention):
            if not any(tags[start : start + len(mention)]):
                tags[start : start + len(mention)] = [f"B-{kind}", *[f"I-{kind}"] * (len(mention) - 1)]
    spelt = map(escape_word, words)
    return " ".join(f"{tag} {word}" if tag else word for tag, word in zip(tags, spelt, strict=True))


def _places(words: Sequence[str], mention: Sequence[str]) -> list[int]:
    """Return where a mention begins in a text; nowhere if it has no words."""
    n = len(mention)
    return [start for start in range(len(words) - n + 1) if n and tuple(words[start : start + n]) == tuple(mention)]
