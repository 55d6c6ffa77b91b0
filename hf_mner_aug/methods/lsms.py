"""LSMS: label-wise token replacement, synonym replacement, mention replacement, shuffle within segments.

Dai & Adel 2020 (COLING). One operation per copy, drawn evenly from those that apply; each token, mention or segment is
taken with probability ``ratio``, at least one. Deviates: an entity whose words change loses its boxes, since they show
another; head and tail of a relation are left alone; synonyms are the nearest words of the train split
(``synonyms="wordnet"`` takes WordNet's, as the paper does, without those of the split's most frequent words); with a
list of names, a share of the mentions comes from it.
Rejects: nothing_to_change, unchanged
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar, get_args

from hf_mner_aug.draw import Draw
from hf_mner_aug.models.words.synonyms import Source, check_synonyms, outside_synonyms
from hf_mner_aug.posts.boxes import jitter_boxes, without_stale_boxes
from hf_mner_aug.posts.lexicon import (
    LabelCounts,
    Texts,
    entity_key,
    match_case,
    nearest_words,
    ordinary_words,
    repeat_by_count,
    tag_keys,
)
from hf_mner_aug.posts.listed_mentions import Names, Writing, as_details
from hf_mner_aug.reasons import Reason
from hf_mner_aug.schema import Entity, Post, respell
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.names import NameList, fit_list, names_of, told_list
from hf_mner_aug.storage.pinned_files import LocalFile
from hf_mner_aug.transform import Facts, Method, Reject
from hf_mner_aug.values import BelowOne, Positive, Probability, Share, later

T = TypeVar("T")
Operation = Literal["token", "synonym", "mention", "shuffle"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


@dataclass(frozen=True)
class Lexicon:
    """The train split's words by tag key and mentions by entity key, both repeated by count, and its synonyms.

    ``names`` are those of a list from outside, if there is one.
    """

    words: Mapping[str, Sequence[str]]
    mentions: Mapping[str, Sequence[Sequence[str]]]
    synonyms: Mapping[str, Sequence[str]]
    names: Names | None = None


def chosen(items: Sequence[Any], ratio: float, draw: Draw) -> list[Any]:
    """Return each item with probability ``ratio``, at least one."""
    return draw.subset(items, ratio) or [draw.choice(items)]


def replace_tokens(post: Post, where: Sequence[int], ratio: float, lexicon: Lexicon, draw: Draw) -> list[str]:
    """Return the words [n_words] with some replaced by words that have the same tag in train."""
    tokens, keys = list(post.tokens), tag_keys(post)
    for i in chosen(where, ratio, draw):
        tokens[i] = draw.choice(lexicon.words.get(keys[i]) or [tokens[i]])
    return tokens


def replace_synonyms(
    tokens: Sequence[str], known: Sequence[int], ratio: float, lexicon: Lexicon, draw: Draw
) -> list[str]:
    """Return the words [n_words] with some of those at ``known`` replaced by a synonym."""
    changed = list(tokens)
    for i in chosen(known, ratio, draw):
        changed[i] = match_case(draw.choice(lexicon.synonyms[tokens[i].casefold()]), tokens[i])
    return changed


def replace_mentions(
    entities: Sequence[Entity],
    ratio: float,
    lexicon: Lexicon,
    draw: Draw,
    listed: Mapping[int, Sequence[str]] = MappingProxyType({}),
) -> dict[int, Sequence[str]]:
    """Return edits (see ``respell``) that replace some mentions by others of their type and fine type.

    The others are train's, or those that ``listed`` has by the first word of the mention.
    """
    edits: dict[int, Sequence[str]] = {}
    for entity in chosen(entities, ratio, draw):
        edits.update({i: [] for i in range(entity.start, entity.end)})
        edits[entity.start] = listed.get(entity.start) or draw.choice(lexicon.mentions[entity_key(entity)])
    return edits


def shuffle_segments(tokens: Sequence[T], segments: Sequence[tuple[int, int]], ratio: float, draw: Draw) -> list[T]:
    """Return the words [n_words], or their indices, with the order inside some segments changed."""
    shuffled = list(tokens)
    for start, end in chosen(segments, ratio, draw):
        shuffled[start:end] = draw.shuffled(shuffled[start:end])
    return shuffled


def segments_of(post: Post) -> list[tuple[int, int]]:
    """Return the spans of two or more words under one label: mentions, and the stretches between labelled words."""
    labelled = sorted(post.protected())
    segments = [] if post.relation else list(labelled)
    position = 0
    for start, end in labelled:
        segments.append((position, start))
        position = max(position, end)
    segments.append((position, len(post.tokens)))
    return [segment for segment in segments if segment[1] - segment[0] >= 2]


@dataclass(frozen=True, kw_only=True)
class LSMS(Method):
    """Replace tokens, synonyms or mentions by others of their label, or shuffle words within segments.

    Args:
        ratio: the probability with which each word, mention or segment is taken.
        operations: the operations to draw from: `token`, `synonym`, `mention`, `shuffle`.
        mentions: a file of names, a type and a name on each line, that mentions are also replaced by.
        mention_share: the chance that a replaced mention comes from that list, where it has names of its type.
        synonyms: `split` takes the nearest words of train, `wordnet` those of WordNet, `vectors` the nearest ones of
            word vectors from outside.
        synonyms_from: the file of `vectors`, in the text format of GloVe or word2vec; or the folder of WordNet's own
            files (`index.noun`, …), without which `wordnet` takes nltk's.
        jitter: the standard deviation of noise that moves the sides of boxes, as a share of the box's width or height;
            boxes stay inside the picture and overlap those before with an IoU above 0.7.
    """

    name: ClassVar[str] = "lsms"
    version: ClassVar[int] = 2
    drawn_as: ClassVar[int] = 1
    rejects: ClassVar[Mapping[str, Reason]] = {
        "nothing_to_change": Reason(
            "none of the operations applies to the post", "fit on more posts", (f"operations={','.join(OPERATIONS)}",)
        ),
        "unchanged": Reason("the drawn words are equal to the original ones", "fit on more posts", ("ratio=0.6",)),
    }
    facts: ClassVar[Facts] = Facts(
        does="replaces tokens, synonyms or mentions label by label, or shuffles within segments",
        paper="Dai & Adel 2020, https://aclanthology.org/2020.coling-main.343",
        learns="words by tag, mentions by type and nearest words of the train split",
        images="all kept, byte for byte",
        boxes="kept, but for an entity whose words change",
        embedded="the nearest words of the train split as synonyms",
        paper_uses="the synonyms of WordNet",
    )

    copies: Positive = 4
    ratio: Share = 0.3
    operations: tuple[Operation, ...] = OPERATIONS
    mentions: NameList = later("")
    mention_share: Probability = later(0.5)
    synonyms: Source = later("split")
    synonyms_from: LocalFile = later("")
    jitter: BelowOne = later(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_synonyms(self)

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that users of the rows must know."""
        return told_list(self.mentions)

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the split's words by tag, its mentions by type and its synonyms."""
        counts, writing = LabelCounts(), Writing()
        texts = Texts(counts.counting(writing.counting(train) if self.mentions else train))
        synonyms = nearest_words(texts) if self.synonyms == "split" else outside_synonyms(texts, self)
        learned = {"words": counts.words(), "mentions": counts.mentions(), "synonyms": synonyms}
        return learned | ({"files": fit_list(self.mentions, writing)} if self.mentions else {})

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return an edited copy of each post."""
        lexicon = _learned(self._fitted())
        choices: dict[str, Any] = {}
        before = None
        made: list[Post | Reject | None] = []
        for post, draw in zip(posts, draws, strict=True):
            if post is not before:
                before, choices = post, self._choices(post, lexicon)
            made.append(jitter_boxes(self._edit(post, choices, lexicon, draw), self.jitter, draw))
        return made

    def _choices(self, post: Post, lexicon: Lexicon) -> dict[str, Any]:
        """Return the operations that apply to a post, each with the words, mentions or segments that it may take."""
        words, mentions = list(range(len(post.tokens))), list(post.entities)
        if post.relation is not None:
            fixed = {i for start, end in (post.relation.head, post.relation.tail) for i in range(start, end)}
            words = [i for i in words if i not in fixed]
            mentions = [e for e in mentions if fixed.isdisjoint(range(e.start, e.end))]
        choices: dict[str, Any] = {
            "token": words,
            "synonym": [i for i in ordinary_words(post) if post.tokens[i].casefold() in lexicon.synonyms],
            "mention": [e for e in mentions if entity_key(e) in lexicon.mentions],
            "shuffle": segments_of(post),
        }
        return {name: choices[name] for name in self.operations if choices[name]}

    def _edit(self, post: Post, choices: Mapping[str, Any], lexicon: Lexicon, draw: Draw) -> Post | Reject:
        if not choices:
            return Reject("nothing_to_change", f"none of {', '.join(self.operations)} applies")
        operation = draw.choice(list(choices))
        where = choices[operation]
        details = {"operation": operation}
        words: Sequence[int] = range(len(post.tokens))
        if operation == "mention":
            names = lexicon.names
            listed = names.instead(post, where, self.mention_share, draw.sub("listed")) if names else {}
            edits = replace_mentions(where, self.ratio, lexicon, draw, listed)
            made = respell(post, edits, details=details | as_details(listed, edits))
        else:
            if operation == "token":
                tokens = replace_tokens(post, where, self.ratio, lexicon, draw)
            elif operation == "synonym":
                tokens = replace_synonyms(post.tokens, where, self.ratio, lexicon, draw)
            else:
                words = shuffle_segments(words, where, self.ratio, draw)
                tokens = [post.tokens[i] for i in words]
            origins = [i if post.tokens[i] == token else None for i, token in zip(words, tokens, strict=True)]
            made = Post(post.id, tokens, post.entities, post.images, post.relation, details, origins)
        if made.tokens == post.tokens:
            return Reject("unchanged", operation)
        return without_stale_boxes(post, made) if any([e.boxes for e in post.entities]) else made


@functools.lru_cache(maxsize=8)
def _learned(artifact: str) -> Lexicon:
    learned = artifacts.load_json(artifact)["learned"]
    return Lexicon(
        {key: repeat_by_count(counts.items()) for key, counts in learned["words"].items()},
        {key: repeat_by_count(counts) for key, counts in learned["mentions"].items()},
        learned["synonyms"],
        names_of(learned.get("files")),
    )
