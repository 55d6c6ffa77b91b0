"""Methods that are known to help, to harm or to leak, for the tests of ``recommend``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.schema import Entity, Post, Relation
from hf_mner_aug.transform import CallPrice, Costs, Facts, Method, Reject

KINDS = ("PER", "LOC", "ORG")
# Names that say nothing of their type, so that it can only be learnt name by name.
NAMES = {kind: [f"{'BCDFG'[n % 5]}{'aeiou'[n // 5 % 5]}{n * 3 + k}" for n in range(20)] for k, kind in enumerate(KINDS)}
FRAMES = ("so we saw {} today", "and {} is here tonight", "they like {} and {} a lot", "look at {} and at {} now")
FACTS = Facts(does="", paper="none", learns="nothing", images="kept", boxes="kept")
HELD = {"posts": [], "sent": 0}


def draw_posts(n, typed=True, start=0):
    """Return posts of names, each of which is seldom seen; with ``typed=False`` a type is drawn for each mention."""
    posts = []
    for i in range(start, start + n):
        draw = Draw(f"rigged{i}".encode())
        tokens, entities = [], []
        for word in draw.choice(FRAMES).split():
            if word == "{}":
                kind = draw.choice(KINDS)
                entities.append(Entity(len(tokens), len(tokens) + 1, kind if typed else draw.choice(KINDS)))
                word = draw.choice(NAMES[kind])
            tokens.append(word)
        posts.append(Post(f"p{i}", [*tokens, f"w{i}"], tuple(entities)))
    return posts


RELATIONS = {"/per/loc/lives": "lives", "/per/loc/born": "comes", "None": "saw"}


def draw_relations(n):
    """Return posts whose verb says the relation; every third is a further relation of the tweet before it."""
    posts = []
    for i in range(n):
        draw = Draw(f"relation{i}".encode())
        kind = draw.choice(list(RELATIONS))
        tokens = [f"w{i}", draw.choice(NAMES["PER"]), RELATIONS[kind], "in", draw.choice(NAMES["LOC"]), "today", "too"]
        name = f"r{i - 1}~2" if i % 3 == 2 else f"r{i}"
        posts.append(Post(name, tuple(tokens), relation=Relation((1, 2), (4, 5), kind)))
    return posts


@dataclass(frozen=True, kw_only=True)
class Knows(Method):
    """Writes other names of the right types, also those that train lacks."""

    name: ClassVar[str] = "knows"
    facts: ClassVar[Facts] = FACTS

    right: bool = True

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        made: list[Post | Reject | None] = []
        for post, draw in zip(posts, draws, strict=True):
            tokens = list(post.tokens)
            for entity in post.entities:
                at = KINDS.index(entity.type) + (not self.right)
                tokens[entity.start] = draw.choice(NAMES[KINDS[at % 3]])
            made.append(replace(post, tokens=tuple(tokens)))
        return made


@dataclass(frozen=True, kw_only=True)
class Harms(Knows):
    """Writes names of the wrong types."""

    name: ClassVar[str] = "harms"

    right: bool = False


@dataclass(frozen=True, kw_only=True)
class Leaks(Method):
    """Returns posts of the set, those held out included."""

    name: ClassVar[str] = "leaks"
    facts: ClassVar[Facts] = FACTS

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        return [replace(draw.choice(HELD["posts"]), id=post.id) for post, draw in zip(posts, draws, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Fails(Method):
    """Finds only while it is fitted that it cannot take part."""

    name: ClassVar[str] = "fails"
    facts: ClassVar[Facts] = FACTS

    def learn(self, train, validation):
        raise UsageError("fails: <b>nothing to learn in this set")


@dataclass(frozen=True, kw_only=True)
class Pays(Knows):
    """Costs a dollar for each fold."""

    name: ClassVar[str] = "pays"

    @property
    def costs(self) -> Costs:
        return Costs(calls=lambda post: 1, price=lambda: CallPrice(0.01), usage=lambda: {"usd": float(HELD["sent"])})

    def learn(self, train, validation) -> Mapping[str, int]:
        HELD["sent"] += 1
        return {"sent": HELD["sent"]}
