"""Synonyms of a split's words: its own nearest words, WordNet's, or the nearest ones of word vectors from outside."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.posts.lexicon import Texts, common_words, wordnet_synonyms
from hf_mner_aug.posts.scripts import is_plain_word
from hf_mner_aug.storage.pinned_files import checked_file

Synonyms = Mapping[str, Sequence[str]]
Source = Literal["split", "wordnet", "vectors"]


class _Method(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def synonyms(self) -> Source: ...
    @property
    def synonyms_from(self) -> str: ...


def check_synonyms(method: _Method) -> None:
    """Raise UsageError if a method's ``synonyms_from`` is missing, or not for its ``synonyms``."""
    if method.synonyms == "vectors" and not method.synonyms_from:
        raise UsageError(f"{method.name}: synonyms=vectors needs a file of word vectors: pass synonyms_from=FILE")
    if method.synonyms == "split" and method.synonyms_from:
        raise UsageError(f"{method.name}: synonyms_from is for synonyms=vectors or wordnet: pass one, or leave it out")


def outside_synonyms(texts: Texts, method: _Method) -> Synonyms:
    """Return synonyms from outside of words that train does not label; its most common words have none.

    Raises:
        UsageError: the file or folder has other content than its name says, or cannot be read.
        MissingExtra: nltk or its WordNet corpus is missing.
        DataError: the file is damaged.
    """
    common, source = common_words(texts), checked_file(method.synonyms_from, "synonyms_from ")
    if method.synonyms == "vectors":
        return _near_words(texts, source, common)
    found = wordnet_synonyms(texts, source)
    return {word: synonyms for word, synonyms in found.items() if word not in common}


def _near_words(texts: Texts, file: str, common: Collection[str]) -> Synonyms:
    """Return the nearest words, from a file of vectors, of words that are never labelled; none that train labels."""
    from hf_mner_aug.models.words.vectors import near_words, read_word_vectors

    counts = texts.counts()
    plain = {word for word, number in texts.numbers.items() if texts.ordinary[number] == counts.get(word)}
    words = sorted(word for word in plain if word not in common and is_plain_word(word))
    return near_words(read_word_vectors(file), words, without={*common, *(counts.keys() - plain)})
