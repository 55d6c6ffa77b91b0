"""How often the encoding of a text is recognised, refused or wrong, for real texts written in each encoding.

python benchmarks/encodings.py [one|other] [NAME=FILE …]: texts are the sets of ../shared/data ($MNER_DATA), and the
names of countries, languages and zones in 40 languages, as Babel has them, alone and among the words of tweets; FILE is
another text in UTF-8, such as a Chinese one. Each is written whole and in 40 samples of 5, 50 and 500 lines, from one
half of its blocks of 500 lines: the limits in ``readers/evidence.py`` were chosen on one half, the other half reports.
Samples in ASCII are left out. A refusal asks for ``--encoding``; anything that is not the text itself is wrong, but for
quotes that the tweets themselves hold as control characters.
"""

import os
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from babel import Locale

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.encodings import recognise

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
SETS = ("twitter2015/*.txt", "twitter2017/*.txt", "twitter_gmner/txt/*.txt", "twitter_fmnerg/txt_fine/*.txt")
OURS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "gb18030")
_QUOTES = re.compile("[\x80-\x9f]")
WESTERN = ("cp1252", "mac_roman", "cp850", "iso8859_15")
NAMES = {
    **dict.fromkeys(("fr", "de", "es", "pt", "it", "nl", "sv", "da", "nb", "fi", "ca"), WESTERN),
    **dict.fromkeys(("cs", "pl", "hu", "hr", "ro", "sk", "sl", "bs", "sq"), ("cp1250", "iso8859_2")),
    **dict.fromkeys(("ru", "uk", "bg", "sr", "mk", "be"), ("cp1251", "koi8_u", "iso8859_5")),
    **dict.fromkeys(("lt", "lv", "et"), ("cp1257",)),
    **{"tr": ("cp1254",), "el": ("cp1253",), "he": ("cp1255",), "ar": ("cp1256",), "th": ("tis_620",)},
    **{"vi": ("cp1258",), "ja": ("shift_jis", "euc_jp"), "ko": ("euc_kr",), "is": ("cp1252",)},
    **{"zh": ("gb18030",), "zh_Hant": ("big5", "gb18030")},
}


def names(language: str) -> list[str]:
    """Return names in a language, three to a post, as lines of words and tags."""
    found = Locale.parse(language)
    texts = [
        text
        for table in (found.territories, found.languages, found.currencies, found.scripts)
        for text in table.values()
    ]
    texts += [text for zone in found.time_zones.values() for text in zone.values() if isinstance(text, str)]
    random.Random(0).shuffle(texts)
    words = [[f"{word}\tO" for word in text.split()] for text in texts]
    return [line for i, post in enumerate(words) for line in ([f"IMGID:{i}", *post] if i % 3 == 0 else post)]


def among(tweets: list[str], names: list[str]) -> list[str]:
    """Return tweets with one in thirty capitalised words replaced by a name."""
    rng = random.Random(0)
    special = [line for line in names if not line.isascii()] or names
    return [rng.choice(special) if line[:1].isupper() and rng.random() < 0.03 else line for line in tweets]


def texts(files: list[str]) -> Iterator[tuple[str, list[str], tuple[str, ...]]]:
    """Yield the name of each text, its lines, and the encodings to write it in."""
    for path in [path for pattern in SETS for path in sorted(DATA.glob(pattern))]:
        yield path.relative_to(DATA).parts[0], path.read_text(encoding="utf-8").split("\n"), OURS
    for path in sorted((DATA / "tweet_pool").glob("*.txt")):
        yield "tweet_pool", path.read_text(encoding="utf-8").split("\n"), OURS
    for name, _, file in (given.partition("=") for given in files):
        yield name, Path(file).read_text(encoding="utf-8").split("\n"), OURS
    tweets = (DATA / "twitter2017" / "train.txt").read_text(encoding="utf-8").split("\n")
    for language, encodings in NAMES.items():
        lines = names(language)
        yield f"names, {language}", lines, encodings
        yield f"tweets with names, {language}", among(tweets, lines), encodings


def samples(lines: list[str], half: str, seed: str) -> Iterator[tuple[str, str]]:
    """Yield samples of half of a text, with their lengths in words."""
    blocks = [lines[i : i + 500] for i in range(0, len(lines), 500)][half == "other" :: 2]
    rng = random.Random(seed)
    for size in (5, 50, 500):
        for _ in range(40):
            block = rng.choice(blocks)
            start = rng.randrange(max(1, len(block) - size + 1))
            yield str(size), "\n".join(block[start : start + size])
    yield "whole", "\n".join(line for block in blocks for line in block)


def outcome(data: bytes, text: str, path: Path) -> str:
    """Return whether the encoding of some bytes is right, refused or wrong."""
    path.write_bytes(data)
    try:
        encoding, _ = recognise([path])
    except DataError:
        return "refused"
    found = _QUOTES.sub(_quote, data.decode(encoding, "replace").removeprefix("\ufeff"))
    return "right" if found == text else "wrong"


def _quote(control: re.Match[str]) -> str:
    return control[0].encode("latin-1").decode("cp1252", "replace")


def main() -> None:
    half, *files = sys.argv[1:] or ["other"]
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, lines, encodings in texts(files):
            for encoding in encodings if lines else ():
                for size, sample in samples(lines, half, f"{name} {encoding}"):
                    data = sample.encode(encoding, "ignore")
                    if data.isascii():
                        continue
                    text = _QUOTES.sub(_quote, data.decode(encoding).removeprefix("\ufeff"))
                    found = outcome(data, text, Path(folder) / "train.txt")
                    counts.setdefault((name, encoding, size), Counter())[found] += 1
                    if found == "wrong":
                        print("wrong:", name, encoding, size, [x for x in text.split("\n") if not x.isascii()][:5])
    print("| text | encoding | lines | right | refused | wrong |\n|---|---|---|---|---|---|")
    for key, found in counts.items():
        print("| " + " | ".join([*key, *(str(found[what]) for what in ("right", "refused", "wrong"))]) + " |")
    print(dict(sum(counts.values(), Counter())))


if __name__ == "__main__":
    main()
