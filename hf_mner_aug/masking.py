"""Mask handles, e-mail addresses and phone numbers in the words of a post, outside its entities.

The number of words stays, and with it every span: in ``@joe`` and ``@ joe`` the name becomes ``user``, ``a@mail.co.uk``
becomes ``user@example.example.com`` (a domain that RFC 2606 keeps free), and the digits of a phone number become ``0``,
however the three are cut into words. Where a text is cut into characters, a masked letter is ``x``.

What is found is what has the form of one: handles after ``@`` (also ``dinner @ home``), addresses of one word, or of
several if they end in a common top-level domain, and numbers written as in North America, with a leading 0, as
``555-1234``, or after ``+``. A handle in a text without spaces ends at a sign, or after 30 characters.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate

from hf_mner_aug.errors import UnknownName

KINDS = ("handles", "emails", "phones")

_DOMAINS = "com|net|org|edu|gov|mil|info|biz|io|co|uk|de|fr|ca|au|jp|cn|ru|nl|eu"
_EMAIL = re.compile(
    rf"""
    (?<![\w.+-]) (?P<user>[\w.+-]*\w) @ (?P<host>[\w-]+(?:\.[\w-]+)*) \. (?P<top>[^\W\d_]{{2,}}) (?!\w)
    | (?<![\w\#/]) (?<!\#\ ) (?P<users>\w+(?:\ ?[.+-]\ ?\w+){{0,2}}) \ ?@\ ? (?P<hosts>\w+(?:\ ?[.-]\ ?\w+){{0,3}})
      \ ?\.\ ? (?P<tops>{_DOMAINS}) (?!\w)
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_HANDLE = re.compile(r"(?<!\w)[@＠] ?(?P<user>\w+(?: _ \w+|[@＠]\w+)*)")  # Twitter-2015 cuts @a_b into "@a _ b"
_CHARACTERS_HANDLE = re.compile(r"[@＠](?P<user>\w{1,30})")  # Weibo's names have 30 characters at most
# Between two groups of digits: at most one sign, or a bracket and a sign, and spaces.
_GAP = r"(?>\ ?[-./)]?\ ?-?\ ?)"
_PHONE = re.compile(
    rf"""
    (?<![a-zA-Z\d_$€£#]) (?<![$€£#]\ ) (?<!\d[.,:/-]) (?<!\d\ [.,:/-]\ )
    (?: \+\ ?\d(?:[-.()/\ ]{{0,5}}\d){{7,14}}
      | (?:1{_GAP})? \(?\ ?\d{{3}}{_GAP}\d{{3}}{_GAP}\d{{4}}
      | \(?\ ?0\d{{2,4}}{_GAP}\d{{3,4}}{_GAP}\d{{3,4}}
      | 0\d(?:\ ?[-.]?\ ?\d\d){{4}}
      | \d{{3}}\ ?-\ ?\d{{4}}
    )
    (?![a-zA-Z\d_]) (?!\ ?[-:/]\ ?\d) (?![.,]\d)
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"[^\W_]\w*")
_ROLES = {"user": "user", "users": "user", "host": "example", "hosts": "example", "top": "com", "tops": "com"}


def parse_kinds(kinds: str | Iterable[str]) -> tuple[str, ...]:
    """Return kinds, or one text with commas between them, in the order of ``KINDS``.

    Raises:
        UnknownName: one of them is none of ``KINDS``.
    """
    named = kinds.replace(" ", "").split(",") if isinstance(kinds, str) else list(kinds)
    for kind in filter(None, named):
        if kind not in KINDS:
            raise UnknownName("kind to mask", kind, KINDS)
    return tuple(kind for kind in KINDS if kind in named)


def mask(
    tokens: Sequence[str], kinds: Collection[str], protected: Collection[tuple[int, int]] = ()
) -> tuple[list[str], dict[str, int]]:
    """Return the words [n_words] masked, as many as there were, and how many of each kind were masked.

    Args:
        tokens: [n_words].
        kinds: of ``KINDS``.
        protected: spans whose words stay as they are.
    """
    characters = bool(tokens) and all(len(token) == 1 for token in tokens)
    joiner = "" if characters else " "
    text = joiner.join(tokens)
    starts = [0, *accumulate(len(token) + len(joiner) for token in tokens)][:-1]
    kept = {i for start, end in protected for i in range(start, end)}
    edits: dict[int, list[tuple[int, int, str]]] = {}  # in each word, from the right
    counts: Counter[str] = Counter()
    for kind, runs in _found(text, kinds, characters):
        changed = False
        for start, end, word in reversed(runs):
            i = bisect_right(starts, start) - 1
            if i in kept:
                continue
            edits.setdefault(i, []).append((start - starts[i], end - starts[i], word))
            changed = changed or text[start:end] != word
        counts[kind] += changed
    masked = [_edited(token, edits.get(i, ())) for i, token in enumerate(tokens)]
    return masked, {kind: counts[kind] for kind in KINDS if counts[kind]}


def _edited(token: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Return a word with some parts replaced, which are given from the right."""
    parts, last = [], len(token)
    for start, end, word in edits:
        parts += [token[end:last], word]
        last = start
    return "".join(reversed([*parts, token[:last]]))


def _found(text: str, kinds: Collection[str], characters: bool) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
    """Yield, from the right, what is masked: its kind, and its words by start, end and what they become."""
    handle = _CHARACTERS_HANDLE if characters else _HANDLE
    found: list[tuple[re.Match[str], str]] = []  # by where they stand
    for kind, pattern in (("emails", _EMAIL), ("phones", _PHONE), ("handles", handle)):
        if kind in kinds:
            starts = [match.start() for match, _ in found]
            for match in pattern.finditer(text):
                before = bisect_left(starts, match.end())  # of those found earlier, the last that begins before its end
                if not before or found[before - 1][0].end() <= match.start():
                    found.append((match, kind))
            found.sort(key=lambda item: item[0].start())
    for match, kind in reversed(found):
        yield kind, list(_runs(match, characters))


def _runs(match: re.Match[str], characters: bool) -> Iterator[tuple[int, int, str]]:
    """Yield a match's words, or its characters where a text is cut into those, with what they become."""
    roles = [(*match.span(group), _ROLES[group]) for group, value in match.groupdict().items() if value is not None]
    for first, last, role in roles or [(*match.span(), "")]:
        for word in _WORD.finditer(match.string, first, last):
            if characters or not role:
                for i in range(*word.span()):
                    yield i, i + 1, "0" if match.string[i].isdigit() else "x"
            else:
                yield *word.span(), role
