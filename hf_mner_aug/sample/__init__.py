"""A small MNER set, drawn in code: the demo's input and the tests' ground truth.

Its tweets mention people, places, organisations and things; its pictures show them as flat shapes. Besides the usual
columns there are two of ground truth, which no method may read:

- ``image_matches``: the picture shows what the text mentions (nothing, if it mentions nothing). One picture in five
  does not: it shows the same number of things, of types that no name in the text can have. Null without a picture.
- ``ambiguous``: only the picture gives the type of a mention: a name of two types in a context that fits both.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.draw import Draw, draw
from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.sample import words
from hf_mner_aug.schema import FOUR_TYPES, Codec, Entity, Post, Relation, mner_features

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

SIZES = {"train": 1000, "validation": 200, "test": 300}
RELATIONS = ("None", *(name for name in words.CONTEXTS if name.startswith("/")))
NAMES = ("mner", "gmner", "mre", "multi_image")
_VERSION = 1

Names = dict[tuple[str, ...], list[str]]
Contexts = dict[str, list[str]]


class Plan(NamedTuple):
    """The plan of a post, fixed by quotas before any word is drawn."""

    kind: str  # "ambiguous", "clear" or "nothing"
    matches: bool
    n_images: int


@dataclass(frozen=True)
class Clause:
    """A filled context: its words, its mentions, and the types that its words leave open for a name."""

    context: str
    tokens: list[str]
    entities: list[Entity]
    unsettled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A post and the truth about it."""

    post: Post
    image_matches: bool | None
    ambiguous: bool
    contexts: tuple[str, ...]


def load_sample(name: str = "mner") -> "DatasetDict":
    """Return the sample set's splits. All sets are made from the same posts, which are the same on every machine.

    Args:
        name: ``mner``, ``gmner`` (with boxes), ``multi_image``, or ``mre`` (posts with a relation).

    Raises:
        UnknownName: there is no sample set of that name.
    """
    from datasets import Dataset, DatasetDict

    features = sample_features(name)
    codec = Codec(features)
    splits = {}
    for split, posts in draw_posts().items():
        rows: list[dict[str, Any]] = []
        for drawn in posts:
            if name == "mre" and drawn.post.relation is None:
                continue
            truth = {"image_matches": drawn.image_matches, "ambiguous": drawn.ambiguous}
            rows.append(codec.to_row(drawn.post) | truth)
        columns = {column: [row[column] for row in rows] for column in features}
        splits[split] = Dataset.from_dict(columns, features=features)
    return DatasetDict(splits)


def sample_features(name: str) -> "Features":
    """Return the columns of a sample set.

    Raises:
        UnknownName: there is no sample set of that name.
    """
    from datasets import Features, Value

    if name not in NAMES:
        raise UnknownName("sample set", name, NAMES)
    features = mner_features(
        () if name == "mre" else FOUR_TYPES,
        images="many" if name == "multi_image" else "one",
        boxes=name == "gmner",
        relations=RELATIONS if name == "mre" else (),
    )
    return Features({**features, "image_matches": Value("bool"), "ambiguous": Value("bool")})


@functools.cache
def draw_posts() -> dict[str, tuple[Drawn, ...]]:
    """Return the posts of every split with their ground truth."""
    seen: set[tuple[str, ...]] = set()
    return {split: tuple(_draw_split(split, n_posts, seen)) for split, n_posts in SIZES.items()}


def _draw_split(split: str, n_posts: int, seen: set[tuple[str, ...]]) -> Iterator[Drawn]:
    """Yield the posts of a split; no text is drawn twice (``seen``)."""
    senses: Counter[str] = Counter()
    for i, plan in enumerate(_plans(split, n_posts)):
        post_id = f"sample-{split}-{i + 1:04d}"
        root = draw(0, "sample", _VERSION, post_id, 0)
        for attempt in range(100):
            writer = Writer(root.sub("text", attempt), split, senses)
            clauses, relation = writer.clauses(plan.kind)
            post = _tweet(root.sub("tweet", attempt), post_id, clauses, relation)
            if tuple(post.tokens) not in seen:
                break
        seen.add(tuple(post.tokens))
        ambiguous = any(clause.unsettled for clause in clauses)
        # A mismatched picture shows no type that a reading of the text mentions.
        readings = {e.type for e in post.entities}.union(*(clause.unsettled for clause in clauses))
        post = _illustrate(root, post, plan, [kind for kind in FOUR_TYPES if kind not in readings])
        yield Drawn(post, plan.matches if plan.n_images else None, ambiguous, tuple(c.context for c in clauses))


def _plans(split: str, n_posts: int) -> list[Plan]:
    """Return the plan of each post of a split, in a random order."""
    kinds = ["ambiguous"] * round(0.38 * n_posts) + ["nothing"] * round(0.08 * n_posts)
    kinds += ["clear"] * (n_posts - len(kinds))
    order = draw(0, "sample", _VERSION, split, 0)
    plans = []
    for kind in ("ambiguous", "clear", "nothing"):
        n = kinds.count(kind)
        # Only the picture disambiguates a name, so those posts have one.
        without = 0 if kind == "ambiguous" else round(0.15 * n)
        mismatched = set(order.shuffled(range(n - without))[: round(0.2 * (n - without))])
        twofold = set(order.shuffled(range(n - without))[: round(0.12 * (n - without))])
        plans += [Plan(kind, i not in mismatched, 1 + (i in twofold)) for i in range(n - without)]
        plans += [Plan(kind, True, 0)] * without
    return order.shuffled(plans)


# ---------------------------------------------------------------- words


def _share_out(items: Iterable[str], key: str) -> dict[str, list[str]]:
    """Return the items of each split, which it uses besides train's: 50% train, 12% validation, 38% test."""
    order = draw(0, "sample", _VERSION, key, 0).shuffled(sorted(items))
    first, second = round(0.5 * len(order)), round(0.62 * len(order))
    return {"train": order[:first], "validation": order[first:second], "test": order[second:]}


@functools.cache
def shared_out(split: str) -> tuple[Names, Contexts]:
    """Return the names (by types) and contexts (by kind) that belong to a split."""
    names: dict[tuple[str, ...], tuple[str, ...]] = {(kind,): items for kind, items in words.NAMES.items()}
    names |= {types: items for types, items in words.AMBIGUOUS.items()}
    return (
        {types: _share_out(items, f"names {'-'.join(types)}")[split] for types, items in names.items()},
        {kind: _share_out(items, f"contexts {kind}")[split] for kind, items in words.CONTEXTS.items()},
    )


class Writer:
    """Writes the clauses of one post with the names and contexts of its split and of train.

    ``senses`` counts how often each ambiguous name was used in the split, so that its types take turns.
    """

    def __init__(self, draw: Draw, split: str, senses: Counter[str]) -> None:
        self.draw = draw
        self.split = split
        self.senses = senses
        self.train_names, self.train_contexts = shared_out("train")
        self.own_names, self.own_contexts = shared_out(split)
        self.used: set[str] = set()

    def clauses(self, kind: str) -> tuple[list[Clause], str | None]:
        """Return a post's clauses and the relation that the first one states, if any."""
        draw = self.draw
        if kind == "nothing":
            return [self.fill("nothing")], None
        if kind == "ambiguous":
            types = draw.choice(list(words.AMBIGUOUS))
            clauses = [self.fill("neutral pair" if draw.random() < 0.13 else "neutral", types)]
            if draw.random() < 0.1:
                # A type that the name cannot have, so that the clause gives no hint.
                clauses.append(self.fill(draw.choice([t for t in FOUR_TYPES if t not in types])))
            return clauses, None
        shape = draw.random()
        if shape < 0.72:
            return [self.fill(draw.choice(FOUR_TYPES))], None
        if shape < 0.91:
            relation = draw.choice(RELATIONS[1:])
            clauses = [self.fill(relation)]
            if draw.random() < 0.2:
                clauses.append(self.fill(draw.choice(FOUR_TYPES)))
            return clauses, relation
        return [self.fill(draw.choice(FOUR_TYPES)), self.fill(draw.choice(FOUR_TYPES))], "None"

    def fill(self, kind: str, types: tuple[str, ...] = ()) -> Clause:
        """Return a context of a kind with its slots filled; ``types`` are those of its ambiguous names."""
        draw = self.draw
        context = draw.choice(self._pool(self.train_contexts[kind], self.own_contexts[kind]))
        tokens: list[str] = []
        entities: list[Entity] = []
        sense = slot = ""
        for piece in context.split():
            if piece.startswith("{"):
                kind = piece[1:-1]
                if kind == "X":
                    name = self._name(types)
                    sense = sense or self._sense(name, types)
                    kind = sense
                else:
                    name = self._clear_name(kind, after=tokens[-1] if tokens else "")
                    if draw.random() < 0.35 and not slot and not name.startswith("The "):
                        tokens.append(draw.choice(words.MODIFIERS[kind]))
                mention = self._spelled(name).split()
                entities.append(Entity(len(tokens), len(tokens) + len(mention), kind))
                tokens += mention
                slot = ""
            elif piece.startswith("<"):
                slot = piece[1:-1]
                tokens += draw.choice(words.SLOTS[slot]).split()
            else:
                tokens.append(piece)
                slot = ""
        return Clause(context, tokens, entities, unsettled=types)

    def _pool(self, train: list[str], own: list[str]) -> list[str]:
        """Return train's items or the split's own, about as often."""
        return train if self.draw.random() < 0.47 else own

    def _name(self, types: tuple[str, ...]) -> str:
        """Return a name of exactly these types that the post does not contain yet."""
        pool = self._pool(self.train_names[types], self.own_names[types])
        name = self.draw.choice([name for name in pool if name not in self.used])
        self.used.add(name)
        return name

    def _clear_name(self, kind: str, after: str) -> str:
        """Return a name of a type; ``The Hague`` is not put after a determiner."""
        while True:
            either = self.draw.random() < 0.25
            name = self._name(self.draw.choice([t for t in words.AMBIGUOUS if kind in t]) if either else (kind,))
            if not (name.startswith("The ") and after.lower() in ("the", "its", "new", "old")):
                return name
            self.used.remove(name)

    def _sense(self, name: str, types: tuple[str, ...]) -> str:
        """Return the type of an ambiguous name: its two types alternate, and each split draws which comes first."""
        first = draw(0, "sample", _VERSION, f"{self.split} {name}", 0).integer(2)
        self.senses[name] += 1
        return types[(first + self.senses[name]) % 2]

    def _spelled(self, name: str) -> str:
        """Return a name as tweets write it: sometimes in lower case or in capitals."""
        chance = self.draw.random()
        return name.lower() if chance < 0.08 else name.upper() if chance > 0.97 else name


def _tweet(draw: Draw, post_id: str, clauses: Sequence[Clause], relation: str | None) -> Post:
    """Return a post made of clauses, in the style of a tweet."""
    tokens: list[str] = []
    entities: list[Entity] = []
    start = draw.random()
    if start < 0.17:
        tokens = ["RT", f"@{draw.choice(words.HANDLES)}", ":"]
    elif start < 0.29:
        tokens = [f"@{draw.choice(words.HANDLES)}"]
    if draw.random() < 0.3:
        tokens += draw.choice(words.OPENERS).split()
    capital = len(tokens) if draw.random() < 0.5 and tokens[-1:] not in ([","], ["but"]) else None
    for i, clause in enumerate(clauses):
        if i:
            join = draw.choice(words.JOINS).split()
            tokens += join[1:] if tokens[-1] == "?" else join
        shift = len(tokens)
        entities += [replace(e, start=e.start + shift, end=e.end + shift) for e in clause.entities]
        tokens += clause.tokens
    if capital is not None and not any(e.start == capital for e in entities):
        tokens[capital] = tokens[capital][0].upper() + tokens[capital][1:]
    for _ in range(draw.choice((0, 0, 1, 1, 1, 2))):
        tokens += draw.choice(words.CLOSERS).replace("@user", f"@{draw.choice(words.HANDLES)}").split()
    if draw.random() < 0.35:
        letters = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
        tokens.append("http://t.co/" + "".join(draw.choice(letters) for _ in range(10)))
    if draw.random() < 0.05:
        tokens = [token if token.startswith("http") else token.lower() for token in tokens]
    pair = None
    if relation is not None:
        head, tail = entities[0], entities[1]
        pair = Relation((head.start, head.end), (tail.start, tail.end), relation)
    return Post(post_id, tokens, tuple(entities), relation=pair)


# ---------------------------------------------------------------- pictures


def _illustrate(root: Draw, post: Post, plan: Plan, others: Sequence[str]) -> Post:
    """Return the post with its pictures, and with boxes if the first one shows its mentions.

    A mismatched picture shows as many things as there are mentions, at least one, of ``others``' types.
    """
    from hf_mner_aug.sample.drawing import picture, png

    mentions = [(e.type, " ".join(post.tokens[e.start : e.end])) for e in post.entities]
    images = []
    entities = post.entities
    for i in range(plan.n_images):
        chooser = root.sub("shown", i)
        shown = mentions
        if not plan.matches:
            kinds = [chooser.choice(others) for _ in mentions or others[:1]]
            shown = [(kind, chooser.choice(words.NAMES[kind])) for kind in kinds]
        if i and shown:
            shown = [chooser.choice(shown)]  # a second picture shows one of them again
        image, boxes = picture(root.sub("picture", i), shown)
        images.append({"bytes": png(image), "path": None})
        if plan.matches and not i:
            entities = tuple(replace(e, boxes=(box,)) for e, box in zip(entities, boxes, strict=True))
    return replace(post, entities=entities, images=tuple(images))
