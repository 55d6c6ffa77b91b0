r"""Plain marks around the entities of a text: ``[ Steve Irwin | person ] passed away``.

A language model writes them in the place of tags that are tokens of their own (``labelled``). The words ``[``, ``|``
and ``]`` stand in marks only: a word that holds one of these signs, a backslash at its start or a space is escaped
(``\[Verse``), so that each text has one reading.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from hf_mner_aug.models.text.labelled import BLANKS, escaped, labelled_as, tag_names, tag_type, unescaped
from hf_mner_aug.schema import Entity
from hf_mner_aug.transform import Reject

OPEN, BAR, CLOSE = "[", "|", "]"


def names_of(types: Collection[str]) -> dict[str, str]:
    """Return a name in words for each type of tags, or the types themselves where two would have one name."""
    named = {kind: _name(name) for kind, name in tag_names(types).items()}
    if len(set(named.values())) == len(named) and all(named.values()):
        return named
    return {kind: _name(kind) for kind in types}


def _name(name: str) -> str:
    return " ".join(map(escape_plain, name.split()))


def escape_plain(word: str) -> str:
    r"""Return a word as in a text with plain marks: ``[Verse`` as ``\[Verse``, an empty one as ``\``."""
    if word and not word.startswith("\\") and not set(word) & {OPEN, BAR, CLOSE} and not BLANKS.search(word):
        return word
    return "\\" + escaped(word, "\\ \t\n\r")


def with_marks(tokens: Sequence[str], entities: Sequence[Entity], names: Mapping[str, str]) -> str:
    """Return words [n_words] and entities as a text with plain marks (names: of ``names_of``)."""
    words = list(map(escape_plain, tokens))
    for entity in entities:
        words[entity.start] = f"{OPEN} {words[entity.start]}"
        words[entity.end - 1] += f" {BAR} {names[tag_type(entity)]} {CLOSE}"
    return " ".join(words)


def read_marks(text: str, names: Mapping[str, str]) -> tuple[list[str], tuple[Entity, ...]] | Reject:
    """Return the words [n_words] and entities of a text with plain marks, or why it is malformed.

    The reason is one of ``labelled.MALFORMED``: ``tag_at_end`` for a mark that is left open, ``unknown_tag`` for one
    without a type or with another one, ``empty_entity`` for one without a word, ``i_without_b`` for a ``|`` or ``]``
    outside a mark, ``bad_escape`` for a word that ``escape_plain`` would write otherwise.
    """
    types = {name: kind for kind, name in names.items()}
    tokens: list[str] = []
    entities: list[Entity] = []
    start: int | None = None
    name: list[str] | None = None
    for word in filter(None, BLANKS.split(text)):
        if word == OPEN:
            if start is not None:
                return Reject("tag_at_end", "a mark inside another")
            start = len(tokens)
        elif word in (BAR, CLOSE) and start is None:
            return Reject("i_without_b", word)
        elif word == BAR and name is None:
            name = []
        elif word == CLOSE:
            if not (kind := types.get(" ".join(name or ()))):
                return Reject("unknown_tag", " ".join(name or ["no type"]))
            if start == len(tokens):
                return Reject("empty_entity", kind)
            entities.append(replace(labelled_as(kind), start=start or 0, end=len(tokens)))
            start = name = None
        elif name is not None:
            name.append(word)
        else:
            token = unescaped(word[1:]) if word.startswith("\\") else word
            if token is None or escape_plain(token) != word:
                return Reject("bad_escape", word)
            tokens.append(token)
    if start is not None:
        return Reject("tag_at_end", f"the mark at word {start} is open")
    return (tokens, tuple(entities)) if tokens else Reject("no_words")
