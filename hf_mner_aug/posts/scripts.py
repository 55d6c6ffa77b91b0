r"""Letters, digits, words and signs in every script, by Unicode's properties as ``regex`` implements them.

Python's ``\w``, ``isalpha`` and ``isalnum`` classify code points: to them, a vowel sign of Hindi or Thai, a mark of
vocalised Arabic, a combining accent (NFD) and a joiner are not letters. Here a letter keeps the marks and joiners that
follow it, and a sign is what a reader sees as one, a grapheme cluster of UAX 29: ``👩‍👧``, ``❤️``, ``👍🏽``, ``🇫🇷``.
"""

import unicodedata

import regex

# For character sets in patterns of ``regex``.
STARTS = r"\p{L}\p{N}_"  # the first character of a word
GOES_ON = STARTS + r"\p{M}\u200c\u200d"  # its further characters: also marks and the two joiners
# Thai, Lao, Myanmar, Khmer, Han and kana: written without spaces.
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff々〆〇\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_PICTURE = r"[[\p{Extended_Pictographic}&&[\p{So}\p{Cn}]]--[©®™]]\p{Regional_Indicator}"
# Patterns of ``regex``, with ``V1``. Soft hyphens and direction marks do not split a word.
WORD = rf"[{STARTS}](?:[{GOES_ON}]|\p{{Word_Break=Format}}++(?=[{STARTS}]))*+"
_CLUSTER = r"(?:\p{Regional_Indicator}{1,2}[\p{M}\u200d]*+|\X)"  # \X alone is quadratic in the number of flags
SIGN = rf"(?![\s\p{{Cc}}\p{{Default_Ignorable_Code_Point}}]){_CLUSTER}"

_SIGNS = regex.compile(SIGN, regex.V1)
_PLAIN = regex.compile(rf"(?:\p{{L}}[\p{{M}}\u200c\u200d]*+|(?=[{_PICTURE}]){_CLUSTER})++", regex.V1)
_PICTURES = regex.compile(rf"(?:(?=[{_PICTURE}]){_CLUSTER})++", regex.V1)
_MARKS = regex.compile(r"(?<=\p{L})[\p{M}\u200c\u200d]++", regex.V1)
_UNSPACED = regex.compile(f"[{UNSPACED}]")
_HAS_PICTURE = regex.compile(rf"[{_PICTURE}]", regex.V1)
# A vowel sign of Hindi or Thai follows a letter and counts as one; an accent changes its letter.
_WRITTEN = regex.compile(r"[\p{L}\p{N}[[\p{Mn}\p{Mc}]&&\p{ccc=0}]--\p{Default_Ignorable_Code_Point}]", regex.V1)


def signs_of(text: str) -> list[str]:
    """Return the signs of a text as a reader sees them, without white space and invisible characters."""
    found: list[str] = _SIGNS.findall(text)
    return found


def sign_ranges(text: str) -> list[tuple[int, int]]:
    """Return where in a text its signs are (start, end), as ``signs_of`` gives them."""
    return [match.span() for match in _SIGNS.finditer(text)]


def count_unspaced(text: str) -> int:
    """Return how many letters of a text are of scripts without blanks between words."""
    return 0 if text.isascii() else len(_UNSPACED.findall(text))


def is_one_sign(word: str) -> bool:
    """Return whether a reader sees a word as one sign."""
    return len(word) == 1 or (not word.isascii() and _SIGNS.fullmatch(word) is not None)


def is_plain_word(token: str) -> bool:
    """Return whether a token consists only of letters, with their marks and joiners, and of emoji."""
    if token.isascii() or token.isalpha():
        return token.isalpha()
    return _PLAIN.fullmatch(token) is not None


def is_emoji(token: str) -> bool:
    """Return whether a token consists only of emoji."""
    return not token.isascii() and _PICTURES.fullmatch(token) is not None


def starts_word(token: str) -> bool:
    """Return whether a token begins with a letter or a digit."""
    return token[:1].isalnum()


def written_length(text: str) -> int:
    """Return how many letters, digits and vowel signs a text is written with, as an alphabet counts them.

    A sign of double width (Han, kana, Hangul) is a syllable or more and counts as two, an emoji as a word of four.
    """
    if text.isascii():
        return sum(map(str.isalnum, text))
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text if sign.isalpha())
    return len(_WRITTEN.findall(text)) + wide + 4 * sum(1 for sign in signs_of(text) if _HAS_PICTURE.match(sign))


def without_marks(text: str) -> str:
    """Return a text without the marks and joiners on its letters: its vowels in many scripts, so for shapes only."""
    return text if text.isascii() else _MARKS.sub("", text)


def plain_digits(text: str) -> str:
    """Return a text of the same length with digits, dashes and full-width signs replaced by those of ASCII."""
    return text if text.isascii() else "".join(map(_plain, text))


def _plain(sign: str) -> str:
    if sign.isdecimal():
        return str(unicodedata.decimal(sign))
    if unicodedata.category(sign) == "Pd" or sign == "\u2212":
        return "-"
    folded = unicodedata.normalize("NFKC", sign)
    return folded if len(folded) == 1 and folded.isascii() and not folded.isalpha() else sign
