"""Entities as the sentences that ``tiger`` and ``mmt5`` write, and back.

Each entity is one sentence, "Jordan is a person, which is in the image", with a separator between them; a post without
entities has a sentence that says so. Sentences are read back by their subwords: from the end, the known phrases for the
picture, the fine type and the type, and before them the mention.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.text.labelled import type_name
from hf_mner_aug.schema import Entity, Post

SEPARATOR = "[AND]"
NOTHING = "there is no entity"
WHICH_IS, NOT, SHOWN = ", which is", "not", "in the image"


class Written(NamedTuple):
    """The answer for a post: ids [n_steps], and the steps that say that an entity is in the image, by entity."""

    ids: list[int]
    shown_at: dict[int, range]
    n_cut: int = 0


class Told(NamedTuple):
    """An entity of an answer: its words, its types, a confidence, and the steps where it says that it is shown."""

    start: int
    end: int
    type: str
    fine: str | None
    confidence: float
    shown_at: range | None


class Language:
    """Writes and reads answers with the words of a tokenizer.

    Args:
        pieces: the tokenizer, which has ``SEPARATOR``.
        types: of entities.
        fine: their fine types; empty if the set has none.
        grounds: whether sentences say if an entity is in the image.
        longest: the maximum number of subwords of an answer.

    Raises:
        UsageError: two types are the same to the tokenizer.
    """

    def __init__(
        self, pieces: WordPieces, types: Sequence[str], fine: Sequence[str], *, grounds: bool, longest: int
    ) -> None:
        self.pieces, self.grounds, self.longest = pieces, grounds, longest
        self.separator: int = pieces.tokenizer.convert_tokens_to_ids(SEPARATOR)
        self.end = pieces.after[-1]
        self.types = self._phrases({kind: f"is {with_article(name)}" for kind, name in names_of(types).items()})
        spelt = {kind: kind.replace("_", " ").lower() for kind in fine}
        self.fine = self._phrases({kind: f"and {with_article(name)}" for kind, name in distinct(spelt).items()})
        self.nothing = self._ids(NOTHING)
        self.which_is, self.not_, self.shown = self._ids(WHICH_IS), self._ids(NOT), self._ids(SHOWN)
        self._spelt: dict[str, str] = {}

    def write(self, post: Post, n_words: int, covered: Sequence[bool]) -> Written:
        """Return the answer for a post of which ``n_words`` are read; ``covered`` says which entities are shown."""
        ids: list[int] = []
        shown_at: dict[int, range] = {}
        readable = [(i, entity) for i, entity in enumerate(post.entities) if entity.end <= n_words]
        for n, (i, entity) in enumerate(readable):
            words = [id_ for word in post.tokens[entity.start : entity.end] for id_ in self.pieces.subwords(word)]
            sentence = [*([self.separator] if ids else []), *words, *self.types[entity.type]]
            sentence += self.fine[entity.fine] if self.fine and entity.fine is not None else []
            if self.grounds:
                sentence += self.which_is + ([] if covered[i] else self.not_) + self.shown
            if len(ids) + len(sentence) >= self.longest:
                return Written([*ids, self.end], shown_at, len(readable) - n)
            ids += sentence
            if self.grounds and covered[i]:
                shown_at[i] = range(len(ids) - len(self.shown), len(ids))
        return Written([*(ids or self.nothing), self.end], shown_at)

    def read(
        self, ids: Sequence[int], probabilities: Sequence[float], post: Post, n_words: int
    ) -> tuple[list[Told], int]:
        """Return the entities of an answer [n_steps], in their order, and the number of sentences left out."""
        if self.end in ids:
            ids = ids[: list(ids).index(self.end)]
        if list(ids) == self.nothing:
            return [], 0
        words = [self._spelling(word) for word in post.tokens[:n_words]]
        free = [True] * n_words
        found, n_lost, at = [], 0, 0
        for sentence in _split(ids, self.separator):
            told = self._read_one(sentence, at, probabilities, words, free)
            n_lost += told is None
            found += [told] if told else []
            at += len(sentence) + 1
        return sorted(found), n_lost

    def _read_one(
        self, sentence: list[int], at: int, probabilities: Sequence[float], words: list[str], free: list[bool]
    ) -> Told | None:
        """Return the entity of a sentence that begins at a step, whose words are then not free, or None."""
        rest, shown_at = sentence, None
        if self.grounds:
            bare = _without(rest, self.which_is + self.shown)
            if bare is not None:
                shown_at = range(at + len(rest) - len(self.shown), at + len(rest))
            else:
                bare = _without(rest, self.which_is + self.not_ + self.shown)
            if bare is None:
                return None
            rest = bare
        told = rest
        fine, rest = _ending(rest, self.fine)
        type_, mention = _ending(rest, self.types)
        if type_ is None or not mention:
            return None
        span = find_words(self._decode(mention), words, free)
        if span is None:
            return None
        free[span[0] : span[1]] = [False] * (span[1] - span[0])
        return Told(*span, type_, fine, min(probabilities[at : at + len(told)]), shown_at)

    def _spelling(self, word: str) -> str:
        """Return a word as it is read back from its subwords."""
        if word not in self._spelt:
            self._spelt[word] = self._decode(self.pieces.subwords(word))
        return self._spelt[word]

    def _decode(self, ids: Sequence[int]) -> str:
        tokenizer = self.pieces.tokenizer
        known = [id_ if id_ < len(tokenizer) else self.separator for id_ in ids]  # T5 has more ids than tokens
        text: str = tokenizer.decode(known, clean_up_tokenization_spaces=False)
        return text.strip()

    def _ids(self, phrase: str) -> list[int]:
        found: list[int] = self.pieces.tokenizer(f" {phrase}", add_special_tokens=False)["input_ids"]
        return found

    def _phrases(self, phrases: dict[str, str]) -> dict[str, list[int]]:
        found = {name: self._ids(phrase) for name, phrase in phrases.items()}
        known: dict[tuple[int, ...], str] = {}
        for name, ids in found.items():
            if (other := known.setdefault(tuple(ids), name)) != name:
                raise UsageError(
                    f"the types {other} and {name} are the same to the tokenizer of the encoder: rename one, or take "
                    "another encoder"
                )
        return found


def phrases_of(types: Sequence[str], fine: Sequence[str]) -> list[Post]:
    """Return posts with the words of all phrases, so that a vocabulary made of posts has them."""
    names = [*names_of(types).values(), *(kind.replace("_", " ").lower() for kind in fine)]
    words = " ".join([NOTHING, WHICH_IS, NOT, SHOWN, "is a an and", *names]).split()
    return [Post("phrases", words), Post("phrases again", words[::-1])]  # a word counts if it occurs twice


def names_of(types: Sequence[str]) -> dict[str, str]:
    """Return the name of each type in a sentence, such as ``person`` for ``PER``."""
    return distinct({kind: type_name(Entity(0, 0, kind)) for kind in types})


def distinct(names: dict[str, str]) -> dict[str, str]:
    """Return the names of types, or the types themselves if some would have one name."""
    return names if len(set(names.values())) == len(names) else {kind: kind for kind in names}


def with_article(name: str) -> str:
    """Return a name with ``a`` or ``an`` before it."""
    return f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"


def find_words(mention: str, words: Sequence[str], free: Sequence[bool]) -> tuple[int, int] | None:
    """Return the first words ``(start, end)`` that are free and, joined by blanks, are a mention; None if none are."""
    for start in range(len(words)):
        text, end = "", start
        while end < len(words) and free[end] and len(text) < len(mention):
            text += " " * (end > start) + words[end]
            end += 1
        if end > start and text == mention:
            return start, end
    return None


def _split(ids: Sequence[int], separator: int) -> list[list[int]]:
    """Return the ids between separators."""
    parts: list[list[int]] = [[]]
    for id_ in ids:
        if id_ == separator:
            parts.append([])
        else:
            parts[-1].append(id_)
    return parts


def _without(ids: list[int], tail: list[int]) -> list[int] | None:
    """Return ids without their end, None if they do not end so."""
    return ids[: -len(tail)] if ids[-len(tail) :] == tail else None


def _ending(ids: list[int], phrases: dict[str, list[int]]) -> tuple[str | None, list[int]]:
    """Return the name of the longest phrase that ids end in, and the ids before it; None and all if there is none."""
    ends = [name for name, phrase in phrases.items() if ids[-len(phrase) :] == phrase]
    if not ends:
        return None, ids
    best = max(ends, key=lambda name: len(phrases[name]))
    return best, ids[: -len(phrases[best])]
