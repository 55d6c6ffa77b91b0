"""Answers in JSON, read strictly: an object with all keys and no others, bounded texts and lists, mentions in words."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hf_mner_aug.metrics.spans import PlainSpan
from hf_mner_aug.untrusted.printable import excerpt

WORD, NAME, SENTENCE = 140, 120, 600  # characters, at most
JOINER = "\u200d"  # of emoji: not printable, and no control
TEXT = {"type": "string"}


class Unusable(ValueError):
    """An answer that is not what was requested: ``reason`` and details, as in a critique."""

    def __init__(self, detail: str, reason: str = "off_schema") -> None:
        super().__init__(detail)
        self.reason = reason


def object_schema(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object with all of these keys and no others."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def read_object(value: Any, schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return an object with exactly the keys of a schema; raises Unusable."""
    if not isinstance(value, dict) or set(value) != set(schema["required"]):
        found = sorted(value) if isinstance(value, dict) else value
        raise Unusable(f"{where}: expected an object with {', '.join(schema['required'])}, found {spelt(found)}")
    return value


def read_list(value: Any, name: str, most: int) -> list[Any]:
    """Return a list of at most so many items; raises Unusable."""
    if not isinstance(value, list) or len(value) > most:
        found = f"{len(value)}" if isinstance(value, list) else spelt(value)
        raise Unusable(f"{name}: expected a list of at most {most}, found {found}")
    return value


def read_text(value: Any, name: str, most: int) -> str:
    """Return a text in one line; raises Unusable."""
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        found = f"{len(value)} characters" if isinstance(value, str) else spelt(value)
        raise Unusable(f"{name}: expected a text of 1 to {most} characters, found {found}")
    text = " ".join(value.split())
    if not _is_plain(text):
        raise Unusable(f"{name}: holds a control character: {spelt(text)}")
    return text


def read_word(value: Any) -> str:
    """Return a word without blanks; raises Unusable."""
    if not isinstance(value, str) or not 0 < len(value) <= WORD or value.split() != [value] or not _is_plain(value):
        raise Unusable(f"tokens: expected words of 1 to {WORD} characters without spaces, found {spelt(value)}")
    return value


def locate(tokens: Sequence[str], mentions: Sequence[tuple[str, str]]) -> tuple[PlainSpan, ...]:
    """Return the spans of mentions (text, type) in a text, in order; longer ones first, without overlap.

    Mentions with the same words are matched in the order in which they are listed.

    Raises:
        Unusable: a mention occurs less often than it is listed, or more often, so that it is unclear which
            occurrence is the entity.
    """
    by_words: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for text, kind in mentions:
        by_words[tuple(text.split())].append(kind)
    taken: set[int] = set()
    found: list[PlainSpan] = []
    for words in sorted(by_words, key=lambda words: (-len(words), words)):
        places = [place for place in find_words(tokens, words) if taken.isdisjoint(range(*place))]
        kinds = by_words[words]
        if len(places) != len(kinds):
            told = (
                f"{excerpt(' '.join(words))} is in the tokens {len(places)} times, in the entities {len(kinds)} times"
            )
            raise Unusable(told, "not_in_text")
        for place, kind in zip(places, kinds, strict=True):
            taken.update(range(*place))
            found.append((*place, kind))
    return tuple(sorted(found))


def find_words(tokens: Sequence[str], words: Sequence[str]) -> list[tuple[int, int]]:
    """Return the spans of words in a text, without overlap."""
    places: list[tuple[int, int]] = []
    for start in range(len(tokens) - len(words) + 1):
        free = not places or places[-1][1] <= start
        if free and tuple(tokens[start : start + len(words)]) == tuple(words):
            places.append((start, start + len(words)))
    return places


def spelt(value: Any) -> str:
    """Return a value as a critique shows it."""
    return excerpt(json.dumps(value), 80)


def _is_plain(text: str) -> bool:
    return text.replace(JOINER, "").isprintable()
