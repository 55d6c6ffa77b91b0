"""Texts compared: without URLs and retweet marks, in a normal form, as a key that ignores tokenisation."""

import html
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import regex

from hf_mner_aug.posts.scripts import GOES_ON

# The limits of a post: of all networks, Facebook allows the most, 63,206 characters.
MAX_TEXT = 65_536
MAX_WORDS = 10_000
MARKS_IN_A_ROW = 30
SORTED_AT_ONCE = 1_000  # characters, so few that sorting their marks is fast

_URL = re.compile(
    r"""
    (?=[hwp])(?:                                        # looked at first: it is quicker
        https?\ ?:\ ?/\ ?/\ ?                            # tokenisers split these: https : //t . co/x, http://t. co/x
        (?: [\w-]+ (?:\ ?\.\ ?[\w-]+)+ (?=\ ?/) | [\w.:-]*\w )?
        (?: \ ?/\ ? (?:[\w/?=&%\#~+:@!,;.-]*[\w/])? )?
        (?:\.?…|\.\.\.)?
      | \bwww\.\w[\w/?=&%\#~+:@.-]*\w
      | \bpic\.twitter\.com/\w+
      | \bhttps?[ :/.]*(?:…|\.\ ?\.\ ?\.)              # Twitter cuts long posts: http://t.…, http…, and at the end h…
      | \bh(?:t(?:tp?)?)?…\s*$
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
# A handle ends at white space or an ASCII sign, so that it includes its combining marks.
_RETWEET = re.compile(r"(?:rt ?@ ?(?:[^\s\x00-/:-@\[-^`{-\x7f]++| _|(?<=_) (?!_))++ ?: ?)++", re.IGNORECASE)
_LONG_NUMBER = re.compile(r"&#[0-9]{4000,};?")  # ``int`` refuses longer ones
# Punctuation that distinguishes texts, and the mathematical signs that replace it in a key: within a number (1-0 is
# not 10), before one (-1), and in names as C#. A dash between a word and a number (Covid-19) is punctuation.
_WITHIN_NUMBER = re.compile(r"(\d) ?[-.:/\u2044] ?(?=\d)")
_MINUS = regex.compile(rf"(?<![{GOES_ON}] ?)- ?(?=\d)", regex.V1)
_SHARP = re.compile(r"(?<!\w)([a-z]) ?#", re.IGNORECASE)
_DOT, _LESS, _SHARPENED = "\\1\u2219", "\u2212", "\\1\u266f"
_PUNCTUATION = str.maketrans("", "", "!\"#%&'()*,-./:;<>?@[\\]^_`{|}~ ")
_DASHES = regex.compile(r"[\p{Pd}\u2212]")
_LONE_ACCENT = regex.compile(r"[\p{Sk}--\p{Emoji_Modifier}]", regex.V1)  # NFKC attaches them to the letter before
# Besides letters, digits and marks a key keeps symbols (mathematics, currencies, pictures, their colours and flags),
# but neither joiners nor variation selectors.
_IN_KEY = regex.compile(
    r"[[\p{L}\p{M}\p{N}\p{Sc}\p{Sm}\p{So}\p{Extended_Pictographic}\p{Emoji_Modifier}]"
    r"--[\p{Default_Ignorable_Code_Point}|~<>\ufffd]]|[\U000e0020-\U000e007f]",
    regex.V1,
)


def strip_urls(text: str) -> str:
    """Return the text without URLs, also those that a tokeniser split or Twitter cut, with single spaces."""
    return " ".join(_URL.sub(" ", text).split())


def url_ranges(text: str) -> list[tuple[int, int]]:
    """Return where in a text its URLs are (start, end), also those that a tokeniser split or Twitter cut."""
    return [match.span() for match in _URL.finditer(text)]


def normalise_text(text: str | Sequence[str], joiner: str = " ", *, casefold: bool = True) -> str:
    """Return the text, or its words joined, without URLs and leading ``RT @user :``, casefolded, with single spaces."""
    if not isinstance(text, str):
        text = joiner.join(text)
    text = strip_urls(text)
    if text[:2].lower() == "rt" and (retweeted := _RETWEET.match(text)):
        text = text[retweeted.end() :]
    return text.casefold() if casefold else text


def too_long(text: str | Sequence[str]) -> str | None:
    """Return a phrase that says how a text, or its words, exceeds the limits of a post, or None."""
    if isinstance(text, str) and len(text) > MAX_TEXT:
        return f"{len(text):,} characters, over {MAX_TEXT:,}"
    words = text.split() if isinstance(text, str) else text
    if len(words) > MAX_WORDS:
        return f"{len(words):,} words, over {MAX_WORDS:,}"
    n_signs = sum(map(len, words))
    return f"{n_signs:,} characters, over {MAX_TEXT:,}" if n_signs > MAX_TEXT else None


def normalise_unicode(form: Literal["NFC", "NFKC"], text: str) -> str:
    """Return a text in a normal form of Unicode, quickly even for 100,000 arbitrary characters.

    Python sorts a run of combining marks in quadratic time: a run of more than ``MARKS_IN_A_ROW``, which no language
    has, is sorted piece by piece (as in Unicode's Stream-Safe Text Format, UAX 15).
    """
    if len(text) < SORTED_AT_ONCE or text.isascii():
        return unicodedata.normalize(form, text)
    cuts, run = [0], 0
    for i, sign in enumerate(text):
        run = run + 1 if unicodedata.combining(unicodedata.normalize("NFKD", sign)[0]) else 0
        if run > MARKS_IN_A_ROW:
            cuts.append(i)
            run = 1
    return "".join(unicodedata.normalize(form, text[i:k]) for i, k in pairwise([*cuts, len(text)]))


def text_key(text: str | Sequence[str], joiner: str = " ") -> str:
    """Return a key that is equal for texts that differ only in tokenisation, punctuation and HTML escapes.

    It contains the letters with their marks, the digits and the symbols (including emoji) of the normalised text, and
    the punctuation that distinguishes numbers and names: ``C#``, ``C++``, ``-1``, ``1-0``. Of the 10,000 tweets of
    GMNER, many of which Twitter-2015 and -2017 tokenise differently, 10 have another key and 2,700 another normalised
    text. A text of other signs only keeps them.
    """
    plain = html.unescape(_LONG_NUMBER.sub("\ufffd", normalise_text(text, joiner)))
    if plain.isascii():
        folded = plain
    else:
        folded = _DASHES.sub("-", " ".join(normalise_unicode("NFKC", _LONE_ACCENT.sub("", plain)).split()))
    key = _WITHIN_NUMBER.sub(_DOT, folded)
    if "#" in key:
        key = _SHARP.sub(_SHARPENED, key)
    if "-" in key:
        key = _MINUS.sub(_LESS, key)
    if plain.isascii():
        key = key.translate(_PUNCTUATION)
    else:  # reattach marks that were split from their letters
        key = normalise_unicode("NFC", "".join(filter(_in_key.__getitem__, key)))
    return key or folded.replace(" ", "")


class _InKey(dict[str, bool]):
    """Whether a key keeps a sign, computed once for each."""

    def __missing__(self, sign: str) -> bool:
        self[sign] = _IN_KEY.match(sign) is not None
        return self[sign]


_in_key = _InKey()
