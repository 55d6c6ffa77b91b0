"""Mask handles, e-mail addresses and phone numbers in the words of a post, outside its entities.

The number of words stays the same, and so does every span: in ``@joe`` and ``@ joe`` the name becomes ``user``,
``a@mail.co.uk`` becomes ``user@example.example.com`` (a domain that RFC 2606 reserves), and the digits of a phone
number become ``0``, however the three are tokenised. If a text is tokenised into characters, a masked letter is ``x``.

They are recognised by their form: handles after ``@`` (also ``dinner @ home``), addresses of one word, or of several if
they end in a common top-level domain, and numbers written as in North America, with a leading 0, as ``555-1234``, or
after ``+``. A handle in a text without spaces ends at a sign, or after 30 characters.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate

import regex

from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.posts.scripts import GOES_ON, STARTS, UNSPACED, is_one_sign, plain_digits
from hf_mner_aug.posts.texts import url_ranges

KINDS = ("handles", "emails", "phones")
LINKS = "links"  # found, and masked by ``mask_link``, but of no kind that ``mask`` takes

_DOMAINS = "com|net|org|edu|gov|mil|info|biz|io|co|uk|de|fr|ca|au|jp|cn|ru|nl|eu"
# A part of an address is in scripts with spaces between words, or in one without: in 邮箱joe@mail.com it is joe.
_SPACED, _UNBROKEN = (rf"[[{GOES_ON}]{difference}[{UNSPACED}]]" for difference in ("--", "&&"))
_FLAGS = regex.V1 | regex.VERBOSE
_EMAIL = regex.compile(
    rf"""
    (?: (?<![{_SPACED}.+-]) (?P<user>[{_SPACED}.+-]*{_SPACED}) | (?<!{_UNBROKEN}) (?P<user>{_UNBROKEN}++) )
      @ (?P<host>[{GOES_ON}-]+(?:\.[{GOES_ON}-]+)*)
      \. (?P<top>[{_SPACED}--[\d_]]{{2,}} (?!{_SPACED}) | {_UNBROKEN}{{2,}})
    | (?<![{_SPACED}\#/]) (?<!\#\ ) (?P<users>{_SPACED}+(?:\ ?[.+-]\ ?{_SPACED}+){{0,2}})
      \ ?@\ ? (?P<hosts>{_SPACED}+(?:\ ?[.-]\ ?{_SPACED}+){{0,3}}) \ ?\.\ ? (?P<tops>(?i:{_DOMAINS})) (?!{_SPACED})
    """,
    _FLAGS,
)
# Twitter-2015 cuts @a_b into "@a _ b"; names of other networks have full stops and dashes in them.
_NAME = rf"[{GOES_ON}]+(?:[.-][{GOES_ON}]+)*"
_HANDLE = regex.compile(rf"(?<![{GOES_ON}])[@＠] ?(?P<name>{_NAME}(?: _ {_NAME}|[@＠]{_NAME})*)", regex.V1)
# Weibo's names have 30 characters at most.
_CHARACTERS_HANDLE = regex.compile(rf"[@＠](?P<name>(?:[{STARTS}](?:(?![{STARTS}])[{GOES_ON}])*){{1,30}})", regex.V1)
# Between two groups of digits: at most one sign, or a bracket and a sign, and spaces.
_GAP = r"(?>\ ?[-./)]?\ ?-?\ ?)"
_PHONE = regex.compile(
    rf"""
    (?<![a-zA-Z\d_\p{{Sc}}\#]) (?<![\p{{Sc}}\#]\ ) (?<!\d[.,:/-]) (?<!\d\ [.,:/-]\ )
    (?: \+\ ?\d(?:[-.()/\ ]{{0,5}}\d){{7,14}}
      | (?:1{_GAP})? \(?\ ?\d{{3}}{_GAP}\d{{3}}{_GAP}\d{{4}}
      | \(?\ ?0\d{{2,4}}{_GAP}\d{{3,4}}{_GAP}\d{{3,4}}
      | 0\d(?:\ ?[-.]?\ ?\d\d){{4}}
      | \d{{3}}\ ?-\ ?\d{{4}}
    )
    (?![a-zA-Z\d_]) (?!\ ?[-:/]\ ?\d) (?![.,]\d)
    """,
    _FLAGS,
)
_WORD = regex.compile(rf"[[{STARTS}]--_][{GOES_ON}]*", regex.V1)
_NAME_IN_WORD = regex.compile(rf"[[{STARTS}]--_][{GOES_ON}.-]*(?<=[{GOES_ON}])", regex.V1)
_ALNUM = regex.compile(r"[\p{L}\p{N}]", regex.V1)
_ROLES = dict.fromkeys(("name", "user", "users"), "user") | dict.fromkeys(("host", "hosts"), "example")
_ROLES |= dict.fromkeys(("top", "tops"), "com")


def parse_kinds(kinds: str | Iterable[str]) -> tuple[str, ...]:
    """Return kinds, or one text with commas between them, in the order of ``KINDS``.

    Raises:
        UnknownName: one of them is not in ``KINDS``.
    """
    named = kinds.replace(" ", "").split(",") if isinstance(kinds, str) else list(kinds)
    for kind in filter(None, named):
        if kind not in KINDS:
            raise UnknownName("kind to mask", kind, KINDS)
    return tuple(kind for kind in KINDS if kind in named)


def mask(
    tokens: Sequence[str], kinds: Collection[str], protected: Collection[tuple[int, int]] = ()
) -> tuple[list[str], dict[str, int]]:
    """Return the masked words [n_words], as many as before, and the number of masked items of each kind.

    Args:
        tokens: [n_words].
        kinds: of ``KINDS``.
        protected: spans whose words stay as they are.
    """
    characters, text, starts = _joined(tokens)
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
    masked = [_edited(token, edits[i]) or "x" if i in edits else token for i, token in enumerate(tokens)]
    return masked, {kind: counts[kind] for kind in KINDS if counts[kind]}


def find(tokens: Sequence[str], kinds: Collection[str]) -> list[tuple[str, int, int]]:
    """Return the items of some kinds, also of ``LINKS``: the kind, the index of the first word and after the last."""
    characters, text, starts = _joined(tokens)
    found = [(kind, *match.span()) for match, kind in _matches(text, kinds, characters)]
    found += [(LINKS, *span) for span in url_ranges(text) if LINKS in kinds]
    return [(kind, bisect_right(starts, start) - 1, bisect_left(starts, end)) for kind, start, end in found]


def mask_link(words: Sequence[str]) -> list[str]:
    """Return a masked link: a word is a URL that RFC 2606 reserves; of several, letters and digits become ``x``."""
    return ["http://example.com"] if len(words) == 1 else [_ALNUM.sub("x", word) for word in words]


def _joined(tokens: Sequence[str]) -> tuple[bool, str, list[int]]:
    """Return whether words are characters, the text that they are joined to, and where each word starts in it."""
    characters = bool(tokens) and all(map(is_one_sign, tokens))
    joiner = "" if characters else " "
    return (
        characters,
        joiner.join(tokens),
        [0, *accumulate(len(token) + len(joiner) for token in tokens)][:-1],
    )


def _edited(token: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Return a word with some parts replaced; the edits are given from right to left."""
    parts, last = [], len(token)
    for start, end, word in edits:
        parts += [token[end:last], word]
        last = start
    return "".join(reversed([*parts, token[:last]]))


def _found(text: str, kinds: Collection[str], characters: bool) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
    """Yield the items to mask from right to left: the kind, and start, end and replacement of each word."""
    for match, kind in reversed(_matches(text, kinds, characters)):
        yield kind, list(_runs(match, characters))


def _matches(text: str, kinds: Collection[str], characters: bool) -> list[tuple[regex.Match[str], str]]:
    """Return the items in order, with their kinds; they do not overlap."""
    handle = _CHARACTERS_HANDLE if characters else _HANDLE
    found: list[tuple[regex.Match[str], str]] = []  # by where they stand
    for kind, pattern in (("emails", _EMAIL), ("phones", _PHONE), ("handles", handle)):
        if kind in kinds:
            starts = [match.start() for match, _ in found]
            for match in pattern.finditer(plain_digits(text) if kind == "phones" else text):
                before = bisect_left(starts, match.end())  # of those found earlier, the last that begins before its end
                if not before or found[before - 1][0].end() <= match.start():
                    found.append((match, kind))
            found.sort(key=lambda item: item[0].start())
    return found


def _runs(match: regex.Match[str], characters: bool) -> Iterator[tuple[int, int, str]]:
    """Yield a match's words, or its characters if a text is tokenised into those, with their replacements."""
    roles = [(*match.span(group), _ROLES[group]) for group, value in match.groupdict().items() if value is not None]
    for first, last, role in roles or [(*match.span(), "")]:
        one = _NAME_IN_WORD if match.lastgroup == "name" and not characters else _WORD
        for word in one.finditer(match.string, first, last):
            if characters or not role:
                for i in range(*word.span()):
                    sign = match.string[i]
                    yield i, i + 1, "0" if sign.isdigit() else "x" if sign.isalnum() or sign == "_" else ""
            else:
                yield *word.span(), role
