"""Schemes of tags (IOB1, BIOES, BILOU, …): which one a set uses, and its tags as spans and as BIO.

A tag has a letter and a type, in one of four forms: ``B-PER``, ``PER-B``, ``B`` alone, and ``PER`` alone in IO. Every
scheme is read by the rules of conlleval, which are those of seqeval's default mode, so a faulty tag costs no mention:
an entity begins at B, S, U or W, after E, L, S, U, W or O, and where the type changes. A tag counts as repaired if the
scheme would write another one for the spans that were read.
"""

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from hf_mner_aug.exceptions import DataError, UnknownName
from hf_mner_aug.schema.tags import Orphans, Span, spans_to_bio

Scheme = Literal["bio", "io", "iob1", "bioes", "bilou", "bmes", "ioe2", "ioe1"]
AnyScheme = Literal["auto", Scheme]
Form = Literal["B-PER", "PER-B", "B", "PER"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)  # of several that fit the tags equally well, the first is taken
FORMS: tuple[Form, ...] = get_args(Form)
NO_TYPE = "_"  # the type of tags that are a letter alone, as seqeval names it
OUTSIDE = frozenset({"O", "o", "_"})
MAX_PAIRS = 200_000
_LETTERS: dict[Scheme, dict[str, str]] = {  # a scheme's letters, as those of BIOES
    "bio": {"B": "B", "I": "I"},
    "io": {"I": "I"},
    "iob1": {"B": "B", "I": "I"},
    "bioes": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "bilou": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "bmes": {"B": "B", "M": "I", "E": "E", "S": "S", "W": "S"},
    "ioe2": {"I": "I", "E": "E"},
    "ioe1": {"I": "I", "E": "E"},
}
SIGNS = frozenset("-_:./|\u2010\u2011\u2013\u2014")  # between letter and type, also as word processors write a hyphen
_SIGN = f"[{re.escape(''.join(sorted(SIGNS)))}]"
_PREFIXED = re.compile(rf"([A-Za-z]){_SIGN}(.+)", re.DOTALL)
_SUFFIXED = re.compile(rf"(.+){_SIGN}([A-Za-z])", re.DOTALL)
_LIKE_O = frozenset("\u041e\u043e\u039f\u03bf\uff2f\uff4f")  # of Cyrillic, Greek, and wide: a slip for O, no type


class Pairs(Counter[tuple[str, str]]):
    """Counts of the pairs of neighbouring tags in posts; an empty tag is before the first and after the last word."""

    def add(self, tags: Sequence[str]) -> None:
        """Count the pairs of a post's tags [n_words].

        Raises:
            DataError: there are more kinds of pairs than any set of tags has.
        """
        self.update(zip(("", *tags), (*tags, ""), strict=True))
        if len(self) > MAX_PAIRS:
            raise DataError(f"more than {MAX_PAIRS} kinds of neighbouring tags: expected a column of entities' tags")

    def tags(self) -> Counter[str]:
        """Return how often each tag occurs."""
        found: Counter[str] = Counter()
        for (_, tag), count in self.items():
            found[tag] += count
        del found[""]
        return found


def known_scheme(scheme: AnyScheme | None) -> Scheme | None:
    """Return a scheme that the user names, or None where it is to be recognised.

    Raises:
        UnknownName: there is no such scheme.
    """
    if scheme not in (None, "auto", *SCHEMES):
        raise UnknownName("scheme", str(scheme), ("auto", *SCHEMES))
    return None if scheme is None or scheme == "auto" else scheme


@dataclass(frozen=True, slots=True)
class Tagging:
    """How a set writes its tags: the scheme, and the form of a tag; ``renames`` are old and new names of types."""

    scheme: Scheme = "bio"
    form: Form = "B-PER"
    renames: tuple[tuple[str, str], ...] = ()

    def parse(self, tag: str) -> tuple[str, str]:
        """Return a tag's letter, as in BIOES, and its type: ``L-PER`` of BILOU gives ``("E", "PER")``.

        Raises:
            DataError: it is not a tag of the scheme, or its type begins or ends with a blank or an invisible character.
        """
        found = _parse(tag, self.scheme, self.form)
        if found is not None and (found[1] == found[1].strip() and (found[1][:1] + found[1][-1:]).isprintable()):
            return found[0], dict(self.renames).get(found[1], found[1])
        fault = f"is not {self.scheme.upper()}" if found is None else "has a blank at an edge of its type"
        raise DataError(f"tag {tag!r} {fault}: expected {self.expected()}")

    def reads(self, tag: str) -> bool:
        """Return whether ``parse`` takes a tag."""
        try:
            _known(self, tag)
        except DataError:
            return False
        return True

    def respell(self, tags: Sequence[str]) -> list[str]:
        """Return tags of BIO [n_words], orphans too, with their letters before their types; raises as ``parse``."""
        parsed = (_known(self, tag) for tag in tags)
        return [f"{letter}-{kind}" if kind else letter for letter, kind in parsed]

    def expected(self) -> str:
        """Return the tags that the scheme has, in words: ``O, B-TYPE or I-TYPE``."""
        if self.form == "PER":
            return "O or a TYPE"
        *others, last = (self.form.replace("PER", "TYPE").replace("B", letter) for letter in _LETTERS[self.scheme])
        return " or ".join(filter(None, [", ".join(["O", *others]), last]))

    def spans(self, tags: Sequence[str]) -> list[Span]:
        """Return the spans of tags [n_words], in order; raises as ``parse``."""
        return _spans([_known(self, tag) for tag in tags])

    def to_bio(self, tags: Sequence[str], orphans: Orphans = "promote") -> tuple[list[str], list[int]]:
        """Return BIO tags [n_words], and the places of tags that do not fit the scheme.

        ``promote`` keeps a span with such tags; ``drop`` makes it O, as seqeval's strict mode does.

        Raises:
            DataError: there is one and ``orphans="error"``, or as ``parse``.
        """
        parsed = [_known(self, tag) for tag in tags]
        spans = _spans(parsed)
        written = _letters(spans, len(tags), self.scheme)
        faults = [i for i, (letter, _) in enumerate(parsed) if letter != written[i]]
        if faults and orphans == "error":
            i = faults[0]
            raise DataError(f"word {i}: {tags[i]} does not fit {self.scheme.upper()} after {tags[i - 1] if i else 'O'}")
        if faults and orphans == "drop":
            wrong = set(faults)
            spans = [span for span in spans if wrong.isdisjoint(range(span.start, span.end))]
        return spans_to_bio(spans, len(tags)), faults


class Recognised(NamedTuple):
    """How a set's tags are written, the reason in words, and some counts.

    ``strange`` are tags that the scheme does not have, ``misfits`` are these and neighbours that do not fit, and
    ``mentions`` are the tags at which an entity begins, by type.
    """

    tagging: Tagging
    why: str
    strange: int
    misfits: int
    mentions: Counter[str]


def recognise(pairs: Mapping[tuple[str, str], int], scheme: Scheme | None = None) -> Recognised:
    """Return how a set writes its tags: the form that most have, and the scheme that most neighbours fit.

    A tag that a scheme does not have costs as much as three neighbours that do not fit: it spoils those on both sides.
    Schemes that fit equally well are taken in the order of ``SCHEMES``: tags with B and no I are BIO, those with I
    alone are IO, those with S alone BIOES. Types without a letter are IO only if O occurs among them.

    Args:
        pairs: how often two tags are neighbours, as ``Pairs`` counts them.
        scheme: the one to take, if it is known.
    """
    tags = Pairs(pairs).tags()
    form = _form(tags)
    allowed: Sequence[Scheme] = SCHEMES
    if form == "PER":
        outside = sum(count for tag, count in tags.items() if tag in OUTSIDE)
        form, allowed = ("PER", ["io"]) if outside or scheme == "io" else ("B-PER", ["bio"])
    ranked = sorted(allowed, key=lambda one: _cost(pairs, Tagging(one, form)))
    chosen = scheme or ranked[0]
    tagging = Tagging(chosen, form if form != "PER" or chosen == "io" else "B-PER")
    misfits = _misfits(pairs, tagging)
    why = _why(tags, tagging, misfits)
    if next_best := next((one for one in ranked if one != chosen and len(ranked) > 1), None):
        more = _misfits(pairs, Tagging(next_best, form))
        why += f", {_unfit(more)} {next_best.upper()}" if more else f", as well as {next_best.upper()}"
    return Recognised(tagging, why + _note(tags, tagging), _strange(pairs, tagging), misfits, _mentions(pairs, tagging))


def wrong_scheme(asked: Recognised, best: Recognised) -> bool:
    """Return whether a scheme that the user names is not that of the tags.

    It is if they fit no other one better, or if it has them all and half of the mentions fit it. BIO has the tags of
    IOB1 and IO, where those that do not fit are orphans: for them there is a policy.
    """
    half = asked.tagging.scheme == "bio" or 2 * asked.misfits <= best.mentions.total()
    return asked.misfits > best.misfits and (asked.strange > best.strange or not half)


def first_misfit(tags: Sequence[str], tagging: Tagging) -> int | None:
    """Return the place of the first tag [n_words] that the scheme does not have, or else of one that does not fit."""
    strange = [i for i, tag in enumerate(tags) if not tagging.reads(tag)]
    return next(iter(strange or tagging.to_bio(tags)[1]), None)


def _parse(tag: str, scheme: Scheme, form: Form) -> tuple[str, str] | None:
    """Return a tag's letter, as in BIOES, and its type, or None if it is not a tag of the scheme."""
    if tag in OUTSIDE:
        return "O", ""
    if form == "PER":
        return ("I", tag) if _is_type(tag) else None
    if form == "B":
        letter, kind = tag, NO_TYPE
    elif form == "B-PER":
        found = _PREFIXED.fullmatch(tag)
        letter, kind = found.groups() if found else ("", "")
    else:
        found = _SUFFIXED.fullmatch(tag)
        kind, letter = found.groups() if found else ("", "")
    role = _LETTERS[scheme].get(letter.upper())
    return None if role is None else (role, kind)


@functools.lru_cache(maxsize=4096)  # a set has few distinct tags
def _known(tagging: Tagging, tag: str) -> tuple[str, str]:
    return tagging.parse(tag)


def _is_type(tag: str) -> bool:
    """Return whether a tag can be the name of a type: it has a letter of some script, and no letter of a scheme."""
    return (
        tag not in _LIKE_O and any(map(str.isalpha, tag)) and not any(_reads(tag, form) for form in ("B-PER", "PER-B"))
    )


def _reads(tag: str, form: Form) -> bool:
    """Return whether some scheme has a tag of this form."""
    if form == "PER":
        return _is_type(tag)
    return any(_parse(tag, scheme, form) is not None for scheme in ("bioes", "bilou", "bmes"))


def _form(tags: Mapping[str, int]) -> Form:
    """Return the form that most tags have; of several, the first of ``FORMS``."""
    inside = {tag: count for tag, count in tags.items() if tag not in OUTSIDE}
    return max(FORMS, key=lambda form: sum(count for tag, count in inside.items() if _reads(tag, form)))


def _begins(before: tuple[str, str], this: tuple[str, str]) -> bool:
    """Return whether an entity begins at a tag that is not O, by the rules of conlleval."""
    return this[0] in "BS" or before[0] in "EOS" or before[1] != this[1]


def _spans(parsed: Sequence[tuple[str, str]]) -> list[Span]:
    """Return the spans of tags [n_words], given as letters of BIOES and types."""
    spans: list[Span] = []
    start, kind, before = 0, "", ("O", "")
    for i, this in enumerate(parsed):
        if kind and (this[0] == "O" or _begins(before, this)):
            spans.append(Span(start, i, kind))
            kind = ""
        if this[0] != "O" and not kind:
            start, kind = i, this[1]
        before = this
    return [*spans, Span(start, len(parsed), kind)] if kind else spans


def _letters(spans: Sequence[Span], n_words: int, scheme: Scheme) -> list[str]:
    """Return the letters [n_words], as in BIOES, that a scheme writes for spans in order."""
    letters = ["O"] * n_words
    for i, (start, end, kind) in enumerate(spans):
        letters[start:end] = "I" * (end - start)
        follows = i > 0 and spans[i - 1][1:] == (start, kind)
        goes_on = i + 1 < len(spans) and (spans[i + 1].start, spans[i + 1].type) == (end, kind)
        whole = scheme in ("bioes", "bilou", "bmes")
        if whole or scheme == "bio" or (scheme == "iob1" and follows):
            letters[start] = "B"
        if whole or scheme == "ioe2" or (scheme == "ioe1" and goes_on):
            letters[end - 1] = "S" if whole and end == start + 1 else "E"
    return letters


def _fits(scheme: Scheme, a: tuple[str, str], b: tuple[str, str]) -> bool:
    """Return whether a scheme allows one tag after another, given as letters of BIOES and types."""
    inside = a[0] in "BI" and b[0] in "IE" and a[1] == b[1]
    if scheme == "bio":
        return b[0] != "I" or inside
    if scheme == "iob1":
        return b[0] != "B" or (a[0] in "BI" and a[1] == b[1])
    if scheme == "ioe1":
        return a[0] != "E" or (b[0] in "IE" and a[1] == b[1])
    if scheme == "ioe2":
        return a[0] != "I" or inside
    return scheme == "io" or inside or (a[0] not in "BI" and b[0] not in "IE")


def _roles(pairs: Mapping[tuple[str, str], int], tagging: Tagging) -> dict[str, tuple[str, str]]:
    """Return the letter and type of each tag in pairs; what cannot be parsed is O."""
    tags = {tag for pair in pairs for tag in pair}
    return {tag: _parse(tag, tagging.scheme, tagging.form) or ("O", "") for tag in tags}


def _mentions(pairs: Mapping[tuple[str, str], int], tagging: Tagging) -> Counter[str]:
    """Return the number of entities of each type."""
    roles = _roles(pairs, tagging)
    found: Counter[str] = Counter()
    for (a, b), count in pairs.items():
        if roles[b][0] != "O" and _begins(roles[a], roles[b]):
            found[roles[b][1]] += count
    return found


def _misfits(pairs: Mapping[tuple[str, str], int], tagging: Tagging) -> int:
    """Return how many neighbours a scheme does not allow, and how many tags it does not have."""
    roles = _roles(pairs, tagging)
    apart = sum(count for (a, b), count in pairs.items() if not _fits(tagging.scheme, roles[a], roles[b]))
    return _strange(pairs, tagging) + apart


def _strange(pairs: Mapping[tuple[str, str], int], tagging: Tagging) -> int:
    """Return the number of tags that are not of a scheme."""
    strange = {tag for _, tag in pairs if tag and _parse(tag, tagging.scheme, tagging.form) is None}
    return sum(count for (_, tag), count in pairs.items() if tag in strange)


def _cost(pairs: Mapping[tuple[str, str], int], tagging: Tagging) -> int:
    """Return how badly tags fit a scheme."""
    return _misfits(pairs, tagging) + 2 * _strange(pairs, tagging)


def _letters_of(tags: Mapping[str, int], tagging: Tagging) -> Counter[str]:
    """Return how often each letter occurs in the tags of a scheme, as it is spelt, in capitals; types alone are one."""
    found: Counter[str] = Counter()
    for tag, count in tags.items():
        if tag not in OUTSIDE and _parse(tag, tagging.scheme, tagging.form) is not None:
            letter = tag[-1] if tagging.form == "PER-B" else tag[0]
            found["types" if tagging.form == "PER" else letter.upper()] += count
    return found


def _why(tags: Mapping[str, int], tagging: Tagging, misfits: int) -> str:
    """Return how tags are read, and how many fit."""
    letters = _letters_of(tags, tagging)
    if not letters:
        return f"no tag but O is {tagging.scheme.upper()}"
    example = next(tag for tag in tags if tag not in OUTSIDE and _reads(tag, tagging.form))
    counts = ", ".join(f"{count} {letter}" for letter, count in sorted(letters.items()))
    fit = f"{_unfit(misfits)} it" if misfits else "all fit it"
    return f"tags are {tagging.scheme.upper()}, as {example!r}: {counts}; {fit}"


def _unfit(count: int) -> str:
    return f"{count} does not fit" if count == 1 else f"{count} do not fit"


def _note(tags: Mapping[str, int], tagging: Tagging) -> str:
    """Return the rule by which ambiguous tags are read, or an empty text."""
    if tagging.form == "B":
        return f"; they name no type: it is {NO_TYPE!r}"
    if tagging.scheme == "io":
        return "; a run of one type is one entity"
    only_b = tagging.scheme == "bio" and set(_letters_of(tags, tagging)) == {"B"}
    return "; there is no I, so each B is an entity of one word" if only_b else ""
