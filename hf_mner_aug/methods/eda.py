"""EDA for NER: replace, insert, swap or delete words outside entities.

Wei & Zou 2019 (EMNLP). One operation per copy, drawn evenly. Deviates: words of entities, words beside them (a tagger
knows an entity by those; see ``margin``), handles, hashtags, URLs and punctuation are never touched; case is kept; the
paper's stop words are the split's most frequent words; synonyms are the nearest words of the train split, so that the
same recipe gives the same rows everywhere (``synonyms="wordnet"`` takes WordNet's, as the paper does; ``"vectors"``
the nearest words of a file of vectors).
Rejects: fewer_than_two_outside_words, no_synonym
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, get_args

from hf_mner_aug.draw import Draw
from hf_mner_aug.models.words.synonyms import (
    Source,
    Synonyms,
    check_synonyms,
    outside_synonyms,
)
from hf_mner_aug.posts.boxes import jitter_boxes
from hf_mner_aug.posts.lexicon import Texts, common_words, match_case, nearest_words, ordinary_words
from hf_mner_aug.reasons import Reason
from hf_mner_aug.schema import Post, respell
from hf_mner_aug.storage.pinned_files import LocalFile
from hf_mner_aug.transform import Facts, Method, Reject
from hf_mner_aug.values import BelowOne, Count, Positive, Share, later

T = TypeVar("T")
Edits = dict[int, list[str]]  # see schema.respell
Operation = Literal["replace", "insert", "swap", "delete"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


def editable_words(post: Post, margin: int) -> list[int]:
    """Return the indices of ordinary words that are not within ``margin`` words of an entity, head or tail."""
    beside = {i for start, end in post.protected() for i in (*range(start - margin, start), *range(end, end + margin))}
    return [i for i in ordinary_words(post) if i not in beside]


def replace_words(tokens: Sequence[str], where: Sequence[int], n: int, synonyms: Synonyms, draw: Draw) -> Edits:
    """Return edits that replace n of the words at ``where`` by synonyms (tokens: [n_words])."""
    return {i: [_synonym(tokens[i], synonyms, draw)] for i in draw.sample(where, n)}


def insert_words(
    tokens: Sequence[str], where: Sequence[int], known: Sequence[int], n: int, synonyms: Synonyms, draw: Draw
) -> Edits:
    """Return edits that insert synonyms of n words at ``known`` after words at ``where`` (tokens: [n_words])."""
    edits: Edits = {}
    for i in draw.sample(known, n):
        j = draw.choice(where)
        edits.setdefault(j, [tokens[j]]).append(_synonym(tokens[i], synonyms, draw))
    return edits


def swap_words(tokens: Sequence[T], where: Sequence[int], n: int, draw: Draw) -> dict[int, list[T]]:
    """Return edits that swap n pairs of words (or their indices) at ``where``, one after the other ([n_words])."""
    edits: dict[int, list[T]] = {}
    for _ in range(n):
        i, j = draw.sample(where, 2)
        edits[i], edits[j] = edits.get(j, [tokens[j]]), edits.get(i, [tokens[i]])
    return edits


def delete_words(where: Sequence[int], probability: float, draw: Draw) -> Edits:
    """Return edits that delete each word at ``where`` with a probability, at least one, never all."""
    gone = draw.subset(where, probability) or [draw.choice(where)]
    if len(gone) == len(where):
        gone.remove(draw.choice(gone))
    return {i: [] for i in gone}


@dataclass(frozen=True, kw_only=True)
class EDA(Method):
    """Replace, insert, swap or delete words of a post outside its entities.

    Args:
        alpha: the share of a post's words that change.
        margin: the number of words on each side of an entity that are kept as well.
        operations: the operations to draw from: `replace`, `insert`, `swap`, `delete`.
        synonyms: `split` takes the nearest words of train, `wordnet` those of WordNet, `vectors` the nearest ones of
            word vectors from outside.
        synonyms_from: the file of `vectors`, in the text format of GloVe or word2vec; or the folder of WordNet's own
            files (`index.noun`, …), without which `wordnet` takes nltk's.
        jitter: the standard deviation of noise that moves the sides of boxes, as a share of the box's width or height;
            boxes stay inside the picture and overlap those before with an IoU above 0.7.
    """

    name: ClassVar[str] = "eda"
    version: ClassVar[int] = 3
    drawn_as: ClassVar[int] = 2
    rejects: ClassVar[Mapping[str, Reason]] = {
        "fewer_than_two_outside_words": Reason(
            "fewer than two words are neither in nor beside an entity",
            "take a method that changes mentions: lsms",
            ("margin=0",),
        ),
        "no_synonym": Reason("no word that may change has a synonym", "fit on more posts", ("operations=swap,delete",)),
    }
    facts: ClassVar[Facts] = Facts(
        does="replaces, inserts, swaps or deletes words outside entities",
        paper="Wei & Zou 2019, https://aclanthology.org/D19-1670",
        learns="nearest words of the train split",
        images="all kept, byte for byte",
        boxes="kept",
        embedded="the nearest words of the train split as synonyms",
        paper_uses="the synonyms of WordNet",
    )

    copies: Positive = 9
    alpha: Share = 0.1
    margin: Count = 1
    operations: tuple[Operation, ...] = OPERATIONS
    synonyms: Source = "split"
    synonyms_from: LocalFile = later("")
    jitter: BelowOne = later(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_synonyms(self)

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the synonyms of the split's words."""
        texts = Texts(train)
        if self.synonyms == "split":
            return nearest_words(texts, without=common_words(texts))
        return outside_synonyms(texts, self)

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return an edited copy of each post."""
        synonyms: Synonyms = self.learned
        where: list[int] = []
        known: list[int] = []
        before = None
        made: list[Post | Reject | None] = []
        for post, draw in zip(posts, draws, strict=True):
            if post is not before:
                before, where = post, editable_words(post, self.margin)
                known = [i for i in where if post.tokens[i].casefold() in synonyms]
            made.append(jitter_boxes(self._edit(post, where, known, synonyms, draw), self.jitter, draw))
        return made

    def _edit(self, post: Post, where: list[int], known: list[int], synonyms: Synonyms, draw: Draw) -> Post | Reject:
        if len(where) < 2:
            return Reject("fewer_than_two_outside_words", f"{len(where)} of {len(post.tokens)} words may change")
        tokens = post.tokens
        operation = draw.choice(self.operations)
        n = max(1, int(self.alpha * len(tokens)))
        moved: Mapping[int, Sequence[int]] = {}
        if operation == "swap":
            moved = swap_words(range(len(tokens)), where, n, draw)
            edits = {i: [tokens[j] for j in before] for i, before in moved.items()}
        elif operation == "delete":
            edits = delete_words(where, self.alpha, draw)
        else:
            if not known:
                return Reject("no_synonym", "none of the words that may change has a synonym")
            if operation == "replace":
                edits = replace_words(tokens, known, n, synonyms, draw)
            else:
                edits = insert_words(tokens, where, known, n, synonyms, draw)
        return respell(post, edits, details={"operation": operation}, moved=moved)


def _synonym(word: str, synonyms: Synonyms, draw: Draw) -> str:
    return match_case(draw.choice(synonyms[word.casefold()]), word)
