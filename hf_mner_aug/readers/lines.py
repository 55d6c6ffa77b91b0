"""The lines of a text file in a known encoding; bytes that are none of its signs make a bad line, not an end."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

MAX_LINE = 32_000_000  # characters: many more than a post, but a line may hold a picture as text
_SHOWN = 60  # bytes of a line in a message
MARK = "hf_mner_aug.mark"  # the errors of ``open``
_MARKS = re.compile("[\udc00-\udcff]")
_BEGINS = re.compile(r"\ufeff(?:[\[{]|IMGID:|-DOCSTART-)")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that gives no post, and why: it could not be read, or another counter of ``SplitReport`` says.

    ``part``: only this line of a post is left out.
    """

    line: int
    reason: str
    counter: str = "bad_lines"
    part: bool = False


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Decode a byte that is no sign as a lone surrogate, which no text has."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(MARK, _mark)


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str | BadLine]]:
    """Yield the lines of a file with their numbers, without their ends; bad ones if they hold bytes that are no text.

    Only LF and CRLF end a line (a word may hold U+0085 or U+2028). A byte order mark is left out, also inside a file
    that was put together of several: behind a blank line, and before JSON or the header of a post.
    """
    with path.open(encoding=encoding, errors=MARK, newline="\n") as file:
        number, ended = 0, True
        while line := file.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE and line[-1] != "\n":
                n_signs = len(line)
                while line[-1] != "\n" and (line := file.readline(MAX_LINE)):
                    n_signs += len(line)
                yield number, BadLine(number, f"a line of {n_signs:,} characters, over {MAX_LINE:,}")
                continue
            if line[0] == "\ufeff" and (number == 1 or (ended and line[1:2].strip()) or _BEGINS.match(line)):
                line = line[1:] or "\n"
            ended = line.isspace()
            if not line.isascii() and (broken := _MARKS.search(line)):
                yield number, BadLine(number, _not_text(line, broken.start(), encoding))
            else:
                yield number, line.removesuffix("\n").removesuffix("\r")


def whole_text(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file without its byte order mark; a byte that is no text is a lone surrogate in it."""
    with path.open(encoding=encoding, errors=MARK, newline="") as file:
        return file.read().removeprefix("\ufeff")


def as_read(path: Path, encoding: str = "utf-8") -> str:
    """Return the first lines of a file, as text for an error."""
    with path.open(encoding=encoding, errors="backslashreplace", newline="\n") as file:
        begins = [begin for begin in (_begin(file) for _ in range(5)) if begin]
    return f"; first lines of {path} as read: {' '.join(map(repr, begins)) or 'none'}"


def _begin(file: TextIO) -> str:
    """Return the first 100 characters of the next line, and read to its end."""
    begin = part = file.readline(100)
    while part and part[-1] != "\n":
        part = file.readline(MAX_LINE)
    return begin


def _not_text(line: str, place: int, encoding: str) -> str:
    """Return the fault of a line with a broken byte at a place, as found in the file."""
    around = line[max(0, place - _SHOWN // 2) :][:_SHOWN] if place >= _SHOWN else line[:_SHOWN]
    name = encoding.upper() if encoding.startswith(("utf", "gb")) else encoding
    found = b"".join(bytes([ord(s) - 0xDC00]) if _MARKS.match(s) else s.encode(encoding) for s in around)
    return f"expected {name} text, found {found!r}"
