"""EDA for NER: replace, insert, swap or delete words outside entities.

Wei & Zou 2019 (EMNLP). One operation per copy, drawn evenly. Deviates: words of entities, handles, hashtags, URLs and
punctuation are never touched; case is kept; synonyms are the nearest words of the train split, so that the same recipe
gives the same rows everywhere (``synonyms="wordnet"`` takes nltk's WordNet, as the paper does).
Rejects: fewer_than_two_outside_words, no_synonym
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hf_mner_aug import artifacts
from hf_mner_aug.draw import Draw
from hf_mner_aug.errors import UnknownName, UsageError
from hf_mner_aug.lexicon import match_case, nearest_words, ordinary_words, wordnet_synonyms
from hf_mner_aug.schema import Post, respell
from hf_mner_aug.transform import Facts, Method, Reject

Pieces = list[list[str]]
Synonyms = Mapping[str, Sequence[str]]
OPERATIONS = ("replace", "insert", "swap", "delete")


def replace_words(tokens: Sequence[str], where: Sequence[int], n: int, synonyms: Synonyms, draw: Draw) -> Pieces:
    """Return the words with n of those at ``where`` replaced by a synonym (tokens: [n_words])."""
    pieces = [[token] for token in tokens]
    for i in draw.sample(where, n):
        pieces[i] = [_synonym(tokens[i], synonyms, draw)]
    return pieces


def insert_words(
    tokens: Sequence[str], where: Sequence[int], known: Sequence[int], n: int, synonyms: Synonyms, draw: Draw
) -> Pieces:
    """Return the words with synonyms of n words at ``known`` inserted after words at ``where`` (tokens: [n_words])."""
    pieces = [[token] for token in tokens]
    for i in draw.sample(known, n):
        pieces[draw.choice(where)].append(_synonym(tokens[i], synonyms, draw))
    return pieces


def swap_words(tokens: Sequence[str], where: Sequence[int], n: int, draw: Draw) -> Pieces:
    """Return the words with n pairs of those at ``where`` exchanged (tokens: [n_words])."""
    pieces = [[token] for token in tokens]
    for _ in range(n):
        i, j = draw.sample(where, 2)
        pieces[i], pieces[j] = pieces[j], pieces[i]
    return pieces


def delete_words(tokens: Sequence[str], where: Sequence[int], probability: float, draw: Draw) -> Pieces:
    """Return the words without some of those at ``where``: each goes with a probability, at least one, never all."""
    pieces = [[token] for token in tokens]
    gone = [i for i in where if draw.random() < probability] or [draw.choice(where)]
    if len(gone) == len(where):
        gone.remove(draw.choice(gone))
    for i in gone:
        pieces[i] = []
    return pieces


@dataclass(frozen=True, kw_only=True)
class EDA(Method):
    """Replace, insert, swap or delete ``alpha`` of a post's words, outside entities."""

    name: ClassVar[str] = "eda"
    rejects: ClassVar[tuple[str, ...]] = ("fewer_than_two_outside_words", "no_synonym")
    facts: ClassVar[Facts] = Facts(
        does="replaces, inserts, swaps or deletes words outside entities",
        paper="Wei & Zou 2019, https://aclanthology.org/D19-1670",
        learns="nearest words of the train split",
        images="all kept, byte for byte",
        boxes="kept",
    )

    copies: int = 9
    alpha: float = 0.1
    operations: tuple[str, ...] = OPERATIONS
    synonyms: Literal["split", "wordnet"] = "split"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise UsageError(f"eda: alpha must be in (0, 1], found {self.alpha}")
        if not self.operations:
            raise UsageError(f"eda: operations must be some of {', '.join(OPERATIONS)}")
        for operation in self.operations:
            if operation not in OPERATIONS:
                raise UnknownName("operation of eda", operation, OPERATIONS)
        if self.synonyms not in ("split", "wordnet"):
            raise UnknownName("source of synonyms", self.synonyms, ("split", "wordnet"))

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the synonyms of the split's words."""
        return wordnet_synonyms(train) if self.synonyms == "wordnet" else nearest_words(list(train))

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return an edited copy of each post."""
        synonyms = _learned(self._fitted())
        where: list[int] = []
        before = None
        made: list[Post | Reject | None] = []
        for post, draw in zip(posts, draws, strict=True):
            if post is not before:
                before, where = post, ordinary_words(post)
            made.append(self._edit(post, where, synonyms, draw))
        return made

    def _edit(self, post: Post, where: list[int], synonyms: Synonyms, draw: Draw) -> Post | Reject:
        if len(where) < 2:
            return Reject("fewer_than_two_outside_words", f"{len(where)} of {len(post.tokens)} words may change")
        tokens = post.tokens
        operation = draw.choice(self.operations)
        n = max(1, int(self.alpha * len(tokens)))
        if operation == "swap":
            pieces = swap_words(tokens, where, n, draw)
        elif operation == "delete":
            pieces = delete_words(tokens, where, self.alpha, draw)
        else:
            known = [i for i in where if tokens[i].casefold() in synonyms]
            if not known:
                return Reject("no_synonym", "none of the words that may change has a synonym")
            if operation == "replace":
                pieces = replace_words(tokens, known, n, synonyms, draw)
            else:
                pieces = insert_words(tokens, where, known, n, synonyms, draw)
        return respell(post, pieces, details={"operation": operation})


def _synonym(word: str, synonyms: Synonyms, draw: Draw) -> str:
    return match_case(draw.choice(synonyms[word.casefold()]), word)


@functools.lru_cache(maxsize=8)
def _learned(artifact: str) -> Synonyms:
    learned: Synonyms = artifacts.load_json(artifact)["learned"]
    return learned
