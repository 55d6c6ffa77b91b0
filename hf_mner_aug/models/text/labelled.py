"""Labelled texts: how a post is written as one, how one is read, and the instruction that asks for one.

A labelled text has the post's words, and each word of an entity after its tag (Ding et al. 2020, DAGA): ``B-PER Stephen
I-PER Curry makes B-ORG NBA history``. A word that looks like a tag, or holds a space, is escaped with backslashes, so
that each text has one reading. A relation's head and tail are entities of the types ``head`` and ``tail``; their fine
type is the relation.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from hf_mner_aug.reasons import Reason
from hf_mner_aug.schema import Entity, Post, Relation
from hf_mner_aug.transform import Reject

TYPE_NAMES = {
    "PER": "person",
    "LOC": "location",
    "ORG": "organization",
    "MISC": "miscellaneous",
    "OTHER": "miscellaneous",
}
TASK = "Generate a text segment for a tweet based on the image, "
TASK_WITHOUT = "Generate a text segment for a tweet, "
_BAD_WRITER = "take another text model, or train it for more epochs"
MALFORMED: Mapping[str, Reason] = {
    "no_words": Reason("the text has no word", _BAD_WRITER),
    "bad_escape": Reason("a word holds an invalid escape", _BAD_WRITER),
    "unknown_tag": Reason("a tag has no type, or one that train does not have", _BAD_WRITER),
    "i_without_b": Reason("an I- tag stands without its B-, or a mark is closed that is not open", _BAD_WRITER),
    "empty_entity": Reason("a tag has no word", _BAD_WRITER),
    "tag_at_end": Reason("the text ends in a tag, or a mark is left open", _BAD_WRITER),
}
_TAG = re.compile(r"[BI]-.+", re.DOTALL)
_NAMES = re.compile(r"(?:\\.|[^\\/])+")
BLANKS = re.compile(r"[ \t\n\r]+")
_ESCAPES = {"\\": "\\\\", " ": "\\_", "\t": "\\t", "\n": "\\n", "\r": "\\r", "-": "\\-", "/": "\\/"}
_SIGNS = {escape: sign for sign, escape in _ESCAPES.items()}


# ---------------------------------------------------------------- writing


def tag_type(entity: Entity) -> str:
    """Return an entity's tag without ``B-``: its type, and after a slash its fine type (``person/actor``)."""
    return "/".join(escaped(name, "\\ \t\n\r/") for name in (entity.type, entity.fine) if name is not None)


def linearize(post: Post) -> str:
    """Return a post as a labelled text, without boxes and pictures."""
    return with_tags(post.tokens, post.entities)


def with_tags(tokens: Sequence[str], entities: Sequence[Entity]) -> str:
    """Return words [n_words] and entities as a labelled text."""
    tags = [""] * len(tokens)
    for entity in entities:
        kind = tag_type(entity)
        tags[entity.start : entity.end] = [f"B-{kind}"] + [f"I-{kind}"] * (entity.end - entity.start - 1)
    words = map(escape_word, tokens)
    return " ".join(f"{tag} {word}" if tag else word for tag, word in zip(tags, words, strict=True))


def is_tag(word: str) -> bool:
    """Return whether a word of a labelled text is a tag: ``B-PER``, ``I-PER``."""
    return _TAG.fullmatch(word) is not None


def escape_word(word: str) -> str:
    r"""Return a word as in a labelled text: ``B-52`` as ``\B\-52``, an empty one as ``\``."""
    if word and not word.startswith("\\") and not BLANKS.search(word) and not _TAG.fullmatch(word):
        return word
    return "\\" + escaped(word, "\\ \t\n\r-")


def escaped(text: str, signs: str) -> str:
    """Return a text with some of the signs that have an escape escaped."""
    return "".join(_ESCAPES[sign] if sign in signs else sign for sign in text)


# ---------------------------------------------------------------- reading


def delinearize(text: str, types: Collection[str]) -> tuple[list[str], tuple[Entity, ...]] | Reject:
    """Return the words [n_words] and entities of a labelled text, or why it is malformed.

    The reason is ``no_words``; ``bad_escape``: a backslash that ``escape_word`` would not write; ``unknown_tag``;
    ``i_without_b``: an ``I-`` that does not continue an entity of its type; ``empty_entity``: a tag before another one;
    ``tag_at_end``.

    Args:
        text: in the form of ``linearize``; several blanks between words count as one.
        types: the types of tags, as ``tag_type`` writes them.
    """
    tokens: list[str] = []
    entities: list[Entity] = []
    tag = before = ""
    for word in filter(None, BLANKS.split(text)):
        if _TAG.fullmatch(word):
            if word[2:] not in types:
                return Reject("unknown_tag", word)
            if tag:
                return Reject("empty_entity", f"{tag} {word}")
            if word[0] == "I" and before != word[2:]:
                return Reject("i_without_b", word)
            tag = word
            continue
        token = unescaped(word[1:]) if word.startswith("\\") else word
        if token is None or escape_word(token) != word:
            return Reject("bad_escape", word)
        if tag.startswith("B"):
            entities.append(replace(labelled_as(tag[2:]), start=len(tokens), end=len(tokens) + 1))
        elif tag:
            entities[-1] = replace(entities[-1], end=len(tokens) + 1)
        tokens.append(token)
        before, tag = tag[2:], ""
    if tag:
        return Reject("tag_at_end", tag)
    return (tokens, tuple(entities)) if tokens else Reject("no_words")


def unescaped(text: str) -> str | None:
    """Return the text that ``_escaped`` was given, or None if it would not have written this."""
    found = re.findall(r"\\.|[^\\]", text, re.DOTALL)
    if sum(map(len, found)) != len(text) or any(len(sign) > 1 and sign not in _SIGNS for sign in found):
        return None
    return "".join(_SIGNS.get(sign, sign) for sign in found)


# ---------------------------------------------------------------- instructions


def instruction(post: Post) -> str:
    """Return the label-aware instruction for a post (section 3.3.2); it also says if there is no entity."""
    asked = [f"{' '.join(post.tokens[e.start : e.end])} which is {_with_article(type_name(e))}" for e in post.entities]
    if not asked:
        return f"{TASK}without any named entity."
    return f"{TASK}incorporating the following entities: {', '.join(asked)}"


def free_instruction(*, seen: bool) -> str:
    """Return the instruction for a text with entities of the model's own; ``seen`` if it is shown a picture."""
    return f"{TASK if seen else TASK_WITHOUT}with named entities of your own choice."


def type_name(entity: Entity) -> str:
    """Return an entity's type as a word, with its fine type: ``person``, ``person (sports team)``."""
    name = TYPE_NAMES.get(entity.type.upper(), entity.type.lower())
    spelt = name if entity.fine is None else f"{name} ({entity.fine})"
    return spelt.replace("_", " ")


def tag_names(types: Collection[str]) -> dict[str, str]:
    """Return the name of each type of tags, as ``tag_type`` writes them, in words."""
    return {kind: type_name(labelled_as(kind)) for kind in types}


def labelled_as(kind: str) -> Entity:
    """Return an entity of no words with the types that ``tag_type`` was given."""
    names = [unescaped(name) or "" for name in _NAMES.findall(kind)]
    return Entity(0, 0, names[0], names[1] if len(names) > 1 else None)


def _with_article(name: str) -> str:
    return f"{'an' if name[:1] in tuple('aeiou') else 'a'} {name}"


# ---------------------------------------------------------------- relations


def with_arguments(post: Post) -> Post | None:
    """Return a post with its relation's head and tail as entities; None if they overlap.

    A post without a relation is returned unchanged.
    """
    if post.relation is None:
        return post
    head, tail = post.relation.head, post.relation.tail
    if head[0] < tail[1] and tail[0] < head[1]:
        return None
    entities = (Entity(*head, "head", post.relation.type), Entity(*tail, "tail", post.relation.type))
    return replace(post, entities=tuple(sorted(entities, key=lambda entity: entity.start)))


def find_relation(entities: Sequence[Entity]) -> Relation | None:
    """Return the relation of exactly one head and one tail of the same relation, otherwise None."""
    if sorted(entity.type for entity in entities) != ["head", "tail"] or entities[0].fine != entities[1].fine:
        return None
    head, tail = sorted(entities, key=lambda entity: entity.type)
    return Relation((head.start, head.end), (tail.start, tail.end), head.fine or "")
