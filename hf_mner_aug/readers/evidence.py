"""Evidence for an encoding in the text that it gives, where bytes alone tell nothing.

Nearly every byte is a sign in cp1252 and in its neighbours, and most pairs of bytes are one in GB18030: that decoding
succeeds proves nothing. So the text has to be of its language: Chinese by how common its characters are, Western by the
accents of one language, and by signs that stand where they belong. It is not certain if another encoding gives a
different text of its own languages. The limits were chosen by ``benchmarks/encodings.py``.
"""

import functools
import math
import re
from collections import Counter

from hf_mner_aug.readers.lines import MARK

LEAST_CHINESE = 10  # characters
LEAST_EMOJI = 3
LEAST_WESTERN = 8  # accents and signs in their places
_COMMON_SHARE = 0.9
_BY_CHANCE = 0.06  # of the characters are frequent ones in Japanese text that is read as Chinese
_DEVIATIONS = 5  # above chance
_RARE, _FEW, _MANY = 0.01, 4, 50  # of the accents; accents
_SOME, _MORE, _MOST = 0.5, 0.8, 0.9  # of the accents are a language's
_OUT_OF_PLACE = 0.01
_FOREIGN = 0.05  # of the accents, as in names

# ---------------------------------------------------------------- Chinese

_FREQUENT = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事"
    "成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日"
)
_HANZI = re.compile("[\u3400-\u9fff\ue000-\uf8ff]")
_EMOJI = re.compile("[\U0001f300-\U0001faff]")
_PUNCTUATION = re.compile(
    "[\xa7\xa8\xb0\xb1\xb7\xd7\xf7\u2010-\u2026\u3000-\u3017\uff01-\uffe5\U0001f000-\U0001faff]|[\u2190-\u27bf]\ufe0f?|\u200d"
)


@functools.cache
def _common() -> frozenset[str]:
    """Return the 3,755 characters of level one of GB 2312, nearly all of those that texts have."""
    cells = ((row, cell) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return frozenset(bytes(byte for pair in cells for byte in pair).decode("gb2312", "ignore"))


def chinese(data: bytes) -> str | None:
    """Return the evidence that bytes are Chinese text in GB18030, or emojis in it; None if it is not certain."""
    text = data.decode("gb18030", MARK)
    signs = Counter(sign for sign in text if not sign.isascii())
    n = signs.total()
    hanzi = sum(count for sign, count in signs.items() if _HANZI.match(sign))
    common = sum(count for sign, count in signs.items() if sign in _common())
    frequent = sum(count for sign, count in signs.items() if sign in _FREQUENT)
    others = sum(count for sign, count in signs.items() if not _HANZI.match(sign) and not _PUNCTUATION.match(sign))
    if others > (1 - _COMMON_SHARE) * n or common < _COMMON_SHARE * hanzi:
        return None
    expected, deviation = _BY_CHANCE * hanzi, math.sqrt(_BY_CHANCE * (1 - _BY_CHANCE) * hanzi)
    if hanzi >= LEAST_CHINESE and frequent > expected + _DEVIATIONS * deviation:
        return f"{common:,} of {hanzi:,} Chinese characters in it are common ones"
    emoji = sum(count for sign, count in signs.items() if _EMOJI.match(sign))
    if not hanzi and emoji >= LEAST_EMOJI and not others:
        return f"{emoji:,} signs of four bytes in it are emojis"
    return None


# ---------------------------------------------------------------- Western

_SMALL, _CAPITAL = "a-zß-öø-ÿšžœ", "À-ÖØ-ÞŠŽŒŸ"
_LETTER = "A-Za-zÀ-ÖØ-öø-ÿŠšŽžŒœŸ"
_MISPLACED = re.compile(
    "|".join(
        [
            rf"(?<=[{_SMALL}])[{_CAPITAL}]",  # a capital within a word, or alone, or an accent beside a digit
            rf"(?<![{_LETTER}])[{_CAPITAL}](?![{_LETTER}])",
            r"(?<=[0-9])[À-ÖØ-öø-ÿŠšŽžŒœŸ]|[À-ÖØ-öø-ÿŠšŽžŒœŸ](?=[0-9])",
            r"ã(?![oeis\W])|õ(?!e)",  # but in Portuguese
            rf"(?<=[{_LETTER}])[“”«»‹›€£™®©°ªº½´](?=[{_LETTER}])",  # a sign within a word, or at the wrong end of it
            rf"(?<=[{_LETTER}])[„‚¡¿•]|(?<=[{_SMALL}])[–—](?![{_LETTER}])|”(?=\w)",
            rf"(?<![^{_LETTER}][dlcnsjmtoDLCNSJMTO])(?<!qu)(?<=[{_LETTER}])[’‘]"  # but in l’eau, O’Neill, it’s
            rf"(?!(?:[stmdn]|re|ve|ll|em|all)\b)(?=[{_LETTER}])",
            r"[ˆ˜†‡‰ƒ¤¦¨¬\xad¯¸¶¹]",  # a sign that is seldom used, or only beside digits
            rf"(?<=[{_LETTER}])[¢§¥±²³×÷¼¾]|[¢§¥±²³×÷¼¾](?=[{_LETTER}])",
            rf"[^\x00-\x7f{_LETTER}‘’“”…–—«»•\xa0]{{2}}",  # two together
        ]
    )
)
_BROKEN = re.compile("[\udc00-\udcff]")
_ACCENTS = re.compile(r"[^\x00-\x7f\W\d_ªºµ]")
# The signs that ISO 8859-15 has a euro sign and letters for, where these stand.
_NINE = re.compile(rf"¤|[¦¨¸¼½¾](?=[{_LETTER}])|(?<=[{_LETTER}])[¨¸½]|(?<![{_LETTER}])´(?=[{_LETTER}])")

# The accents of languages in lower case: of those that cp1252 is for, and of those of its neighbours.
_WESTERN = (
    "àâæçéèêëîïôœùûü",  # French
    "äöüß",  # German
    "áéíñóúü",  # Spanish
    "áâãàçéêíóôõúü",  # Portuguese
    "àèéìíîòóùú",  # Italian
    "áéëèïíóöüê",  # Dutch
    "åäöéüà",  # Swedish, Finnish
    "æøåéèêòóôäöü",  # Danish, Norwegian
    "àçèéíïòóúü",  # Catalan
)
_NEIGHBOURS = {
    "cp1250": (
        "ąćęłńóśźż",  # Polish
        "áčďéěíňóřšťúůýž",  # Czech
        "áäčďéíľňóôšťúýž",  # Slovak
        "áéíóöőúüű",  # Hungarian
        "ăâîşţ",  # Romanian
        "čćđšž",  # Croatian, Bosnian, Serbian, Slovene
    ),
    "cp1254": ("çğıöşüâîû",),  # Turkish
    "cp1257": ("ąčęėįšųūž", "āčēģīķļņšūž", "äöõüšž"),  # Lithuanian, Latvian, Estonian
}


def western(data: bytes) -> str | None:
    """Return the evidence that bytes are Western text in cp1252; None if it is not certain."""
    text = data.decode("cp1252", MARK)
    n = sum(not sign.isascii() for sign in text)
    misplaced = len(_MISPLACED.findall(text))
    accents = Counter(_ACCENTS.findall(text.lower()))
    fits = max(_share(accents, language) for language in _WESTERN)
    if (
        _NINE.search(text)
        or _BROKEN.search(text)
        or n - misplaced < LEAST_WESTERN
        or misplaced > _OUT_OF_PLACE * n
        or fits < 1 - _FOREIGN
    ):
        return None
    if any(_rivals(data, text, encoding, languages) for encoding, languages in _NEIGHBOURS.items()):
        return None
    return f"{n - misplaced:,} of {n:,} accents and signs beyond ASCII in it are where Western languages have them"


def _share(accents: Counter[str], language: str) -> float:
    """Return the share of accents that a language has; 1 if there are none."""
    return sum(accents[sign] for sign in language) / accents.total() if accents else 1.0


def _rivals(data: bytes, text: str, encoding: str, languages: tuple[str, ...]) -> bool:
    """Return whether a text of a language of another encoding may have the same bytes, and other letters."""
    other = data.decode(encoding, "replace")
    changed = Counter(new.lower() for old, new in zip(text, other, strict=True) if old != new)
    accents = Counter(_ACCENTS.findall(other.lower()))
    return bool(changed) and any(_may_be(language, accents, changed) for language in languages)


def _may_be(language: str, accents: Counter[str], changed: Counter[str]) -> bool:
    """Return whether accents may be a language's, and so may those that are others in cp1252."""
    covered = _share(accents, language)
    if changed.total() <= _RARE * accents.total():
        return covered > _MOST and any(sign in language for sign in changed)
    if changed.total() < _FEW:
        return any(sign in language for sign in changed)
    return _share(changed, language) > 1 - _FOREIGN and covered > (_SOME if accents.total() < _MANY else _MORE)
