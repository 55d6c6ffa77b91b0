"""The input of MELM: the pieces of a post's words, with the marker of its tag on both sides of each entity word.

Markers are ids behind those of the tokenizer, so that no text can be mistaken for one, and none can get into a text.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.models.text.labelled import tag_type
from hf_mner_aug.schema import Post

PREFIXES = ("\u0120", "\u2581")  # before the first piece of a word: byte-level BPE, SentencePiece
LATER, ON = "##", "@@"  # WordPiece: before all but the first piece; BERTweet's BPE: behind all but the last


class Marked(NamedTuple):
    """A post as input: the ids, and of each entity word its index in the post and the places of its pieces."""

    input_ids: list[int]
    words: list[tuple[int, list[int]]]

    @property
    def places(self) -> list[int]:
        """The places of all pieces of entity words."""
        return [place for _, places in self.words for place in places]


def marker_tags(posts: Sequence[Post]) -> list[str]:
    """Return the tags that entity words of posts have: ``B-PER``, ``I-PER``."""
    return sorted({f"{prefix}-{tag_type(entity)}" for post in posts for entity in post.entities for prefix in "BI"})


def mark(post: Post, pieces: WordPieces, markers: Mapping[str, int]) -> Marked:
    """Return a post with markers around its entity words: as many whole words as fit.

    Args:
        post: with entities.
        pieces: splits words.
        markers: the ids of markers by tag.
    """
    tags = {}
    for entity in post.entities:
        kind = tag_type(entity)
        tags.update(
            {i: markers[f"{'B' if i == entity.start else 'I'}-{kind}"] for i in range(entity.start, entity.end)}
        )
    ids, words = list(pieces.before), []
    for i, word in enumerate(post.tokens):
        subwords = pieces.subwords(word)
        frame = [tags[i]] if i in tags else []
        if len(ids) + len(subwords) + 2 * len(frame) + len(pieces.after) > pieces.limit:
            break
        start = len(ids) + len(frame)
        if frame:
            words.append((i, [*range(start, start + len(subwords))]))
        ids += [*frame, *subwords, *frame]
    return Marked([*ids, *pieces.after], words)


@dataclass(frozen=True)
class Spelling:
    """Which pieces of a tokenizer may replace which, and what word some pieces spell."""

    tokenizer: Any

    @cached_property
    def _tokens(self) -> list[str]:
        size = max(self.tokenizer.get_vocab().values()) + 1
        return [token or "" for token in self.tokenizer.convert_ids_to_tokens(range(size))]

    @cached_property
    def _special(self) -> Collection[int]:
        return {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}

    @cached_property
    def _mark(self) -> str:
        """Return how the tokenizer tells first pieces of words from later ones: a prefix, ``##``, ``@@`` behind."""
        marks = {mark: sum(token.startswith(mark) for token in self._tokens) for mark in (*PREFIXES, LATER)}
        marks[ON] = sum(token.endswith(ON) for token in self._tokens)
        return max(marks, key=lambda mark: marks[mark])

    def _is_marked(self, i: int) -> bool:
        """Return whether a piece has the mark; a special one stands for a whole word."""
        if i in self._special:
            return self._mark in PREFIXES
        token = self._tokens[i]
        return token.endswith(ON) if self._mark == ON else token.startswith(self._mark)

    def spells(self, i: int) -> bool:
        """Return whether a piece spells a letter or digit, or stands for a word that is unknown."""
        return i in self._special or any(map(str.isalnum, self.tokenizer.convert_tokens_to_string([self._tokens[i]])))

    @cached_property
    def _alike(self) -> dict[bool, list[int]]:
        spelling = [i for i in range(len(self._tokens)) if i not in self._special and self.spells(i)]
        return {marked: [i for i in spelling if self._is_marked(i) == marked] for marked in (True, False)}

    def instead(self, i: int) -> list[int]:
        """Return the ids of pieces that may stand where one stands: such that the word stays one, of as many pieces."""
        return self._alike[self._is_marked(i)]

    @cached_property
    def uncased(self) -> bool:
        """Whether the tokenizer reads capitals as small letters: none of its pieces has one."""
        texts = (token for i, token in enumerate(self._tokens) if i not in self._special)
        return not any(map(str.isupper, (sign for text in texts for sign in text)))

    def word(self, ids: Sequence[int]) -> str | None:
        """Return the word that the pieces of one word spell; None for a broken letter, or nothing."""
        text = "".join(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False).split())
        return text if text and "\ufffd" not in text else None
