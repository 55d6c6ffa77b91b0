"""The encoding of a set's text files: named by the user, or recognised from their bytes."""

import codecs
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers.lines import MARK, BadLine, lines

AUTO = "auto"
_BLOCK = 1 << 20
MOST_FILES = 1000  # of a folder
_TEXTS = (".txt", ".ann", ".a1")  # of a folder of texts, which may hold other files
_FORM = 1 << 16  # bytes whose zeros tell UTF-16 and UTF-32
_ENOUGH = 1_000  # broken bytes that tell
_LINES = 20_000  # beyond ASCII that are looked at
# Encodings that an unknown text may be in, for charset-normalizer to choose from.
_CANDIDATES = (
    *("cp1252", "gb18030", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2"),
    *("iso8859_15", "koi8_r", "mac_roman", "big5", "shift_jis", "euc_jp", "euc_kr"),
)
_MARKED = (  # UTF-32's mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    ("\ufeff".encode("gb18030"), "gb18030"),
)
_NO_TEXT = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf_7", "undefined", "mbcs", "oem"}
# GB18030 contains the older ones, whose names files of it often have.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "utf-8-sig": "utf-8"}
_TWO_BYTES = re.compile("[\x80-\u07ff]")
_MORE_BYTES = re.compile("[\u0800-\ud7ff\ue000-\U0010ffff]")
_BROKEN = re.compile("[\udc00-\udcff]+")


def recognise(paths: Iterable[Path], asked: str = AUTO) -> tuple[str, Sequence[str]]:
    """Return the encoding of some files (or of the files in some folders), and how it was recognised, if it was.

    ASCII and UTF-8 need no evidence.

    Raises:
        UsageError: ``asked`` is not an encoding of text.
        DataError: the bytes do not tell, or tell a different encoding in each file.
    """
    files = [file for path in paths for file in _files(path)]
    if asked != AUTO:
        name = known(asked)
        return next(filter(None, map(_form, files)), f"{name}-le") if name in ("utf-16", "utf-32") else name, []
    found: dict[str, Path] = {}
    unsure = []
    for file in files:
        if kind := _form(file) or _utf8(file):
            found.setdefault(kind, file)
        else:
            unsure.append(file)
    told = "its first bytes tell"
    if unsure:
        name, told = _by_content(unsure)
        found.setdefault(name, unsure[0])
    if not any(name.startswith(("utf-16", "utf-32")) for name in found) and len(found) > 1:
        found.pop("ascii", None)
    if len(found) > 1:
        each = ", ".join(f"{file} is {spelt(name)}" for name, file in found.items())
        raise DataError(f"expected one encoding in all files of a set, found {each}: save them as UTF-8")
    (name,) = found or ["utf-8"]
    if name in ("ascii", "utf-8"):
        return "utf-8", []
    return name, [f"{found[name].name} is read as {spelt(name)}: {told}; --encoding names another"]


def known(name: str) -> str:
    """Return the usual name of an encoding of text.

    Raises:
        UsageError: Python has no such encoding.
    """
    try:
        "".encode(name)
        usual = codecs.lookup(name).name
    except (LookupError, ValueError):
        usual = "undefined"
    if usual.replace("-", "_") in _NO_TEXT:
        raise UsageError(f"--encoding {name!r}: expected an encoding of text, as utf-8, utf-16, cp1252 or gb18030")
    return _WIDER.get(usual, usual)


def spelt(name: str) -> str:
    """Return the name of an encoding as usual in texts."""
    return name.upper() if name.startswith(("utf", "gb", "ascii")) else name


def _by_content(files: Sequence[Path]) -> tuple[str, str]:
    """Return the encoding that the text of files proves, and the evidence; raises as ``recognise``."""
    from hf_mner_aug.readers import evidence  # its patterns take a while to compile, and few files need them

    data = b"".join(islice((line for file in files for line in _telling(file)), _LINES))
    found = {"gb18030": evidence.chinese(data), "cp1252": evidence.western(data)}
    certain = [(name, told) for name, told in found.items() if told]
    if len(certain) != 1:
        raise _unsure(files[0], data)
    return certain[0]


def _telling(path: Path) -> Iterator[bytes]:
    """Yield the lines beyond ASCII, or their first bytes."""
    with path.open("rb") as file:
        while line := file.readline(_FORM):
            if not line.isascii():
                yield line


def _unsure(path: Path, data: bytes) -> DataError:
    """Return the error of a file whose bytes do not tell its encoding, with candidates and how they read it."""
    from charset_normalizer import from_bytes

    number, bad = next((number, line) for number, line in lines(path) if isinstance(line, BadLine))
    found = from_bytes(data[:_FORM], cp_isolation=list(_CANDIDATES), enable_fallback=False)
    names = dict.fromkeys([*[known(match.encoding) for match in found][:2], "cp1252", "gb18030", "mac-roman"])
    first = next(_telling(path)).strip()
    place = next(i for i, byte in enumerate(first) if byte > 0x7F)
    around = first[max(0, place - 10) : place + 10]
    read = {name: around.decode(name, "replace") for name in names}
    fitting = [f"{name} ({text!r})" for name, text in read.items() if "\ufffd" not in text]
    advice = " or ".join(fitting[:3]) or "cp1252"
    told = f"{bad.reason}, and its encoding is not certain: name it by --encoding, as {advice}"
    return DataError(f"{told} ({path} line {number})")


def _files(path: Path) -> list[Path]:
    """Return a file, or the first files of a folder of texts: they tell the encoding of all."""
    if not path.is_dir():
        return [path]
    texts = (Path(folder, name) for folder, _, names in os.walk(path) for name in names if name.endswith(_TEXTS))
    return [file for file in sorted(texts)[:MOST_FILES] if file.is_file() and not file.is_symlink()]


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _form(path: Path) -> str | None:
    """Return the encoding that a file's byte order mark tells, or its zeros: each second byte of ASCII in UTF-16."""
    with path.open("rb") as file:
        data = file.read(_FORM)
    if marked := next((name for mark, name in _MARKED if data.startswith(mark)), None):
        return marked
    zeros = [data[i::4].count(0) / max(1, len(data[i::4])) for i in range(4)]
    forms = {"le": zeros, "be": zeros[::-1]}
    for order, (first, second, third, fourth) in forms.items():
        if first < 0.01 and third > 0.9 and fourth > 0.99:
            return f"utf-32-{order}"
        if first + third < 0.01 and min(second, fourth) > 0.1:
            return f"utf-16-{order}"
    return None


def _utf8(path: Path) -> str | None:
    """Return ascii or utf-8 if a file's bytes are text of these, but for a few broken ones in a UTF-8 file."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    plain = True
    try:
        for block in _blocks(path):
            plain &= block.isascii()
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "utf-8" if _few_broken(path) else None
    return "ascii" if plain else "utf-8"


def _few_broken(path: Path) -> bool:
    """Return whether far more of a file's bytes beyond ASCII are UTF-8 than are not.

    Text in other encodings has such sequences by chance only: of two bytes seldom, of three hardly ever.
    """
    good = broken = 0
    with path.open(encoding="utf-8", errors=MARK, newline="\n") as file:
        while text := file.read(_FORM):
            good += len(_TWO_BYTES.findall(text)) + 3 * len(_MORE_BYTES.findall(text))
            broken += len(_BROKEN.findall(text))
            if broken > _ENOUGH and good < 4 * broken:
                return False
    return good >= 4 * broken
