"""Text from data as text that a terminal, Markdown or HTML shows and does not obey.

Names, licences, tweets and reasons are strangers' words. Whatever goes to a terminal goes through ``say`` or
``for_terminal``; whatever goes into Markdown, through ``for_markdown``, ``code_span`` or
``fenced``; into HTML, through a template that escapes and has ``for_html`` as its last step.
"""

import io
import json
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

# Control characters, those that turn the direction of text, line separators, halves of surrogate pairs.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
# What Markdown could read as a heading, list, quote, rule or number at the beginning of a line.
_LEADING = re.compile(r"^(\s*)(?:([#+=-])(?=[\s#=-]|$)|(\d+)([.)])(?=\s|$))")
# Marks of emphasis, code, tables, mathematics; an underscore inside a word is none; a bracket that links.
_MARKS = re.compile(r"[\\`*~|$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])")


def for_terminal(text: Any, *, lines: bool = False) -> str:
    r"""Return text with what would control a terminal spelt out, as ``\x1b`` and ``\u202e``; ``lines`` may end."""
    return _CONTROLS.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _spelt(found[0]), str(text))


def _spelt(character: str) -> str:
    code = ord(character)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def spell_what_cannot_be_written() -> None:
    """Let a terminal of another encoding than UTF-8 show what it has no letters for spelt out."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(*values: Any, file: TextIO | None = None) -> None:
    """Print values as ``print`` does, with whatever would control the terminal spelt out."""
    print(*(for_terminal(value, lines=True) for value in values), file=file or sys.stdout)


def say_json(data: Any) -> None:
    """Print data as JSON that is equal when read and controls no terminal."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    print(_CONTROLS.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text))


def console() -> Any:
    """Return a terminal that rich draws on, in which no text is markup; give it cells of ``for_terminal``."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def for_html(value: Any) -> Any:
    """Return what a template of HTML shows: text as ``for_terminal``, since direction marks turn a page's text, too."""
    return for_terminal(value, lines=True) if isinstance(value, str) and not hasattr(value, "__html__") else value


def excerpt(text: str, length: int = 200) -> str:
    """Return the start of a stranger's text as one printable line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * length]).split())[:length]


# ---------------------------------------------------------------- Markdown


def for_markdown(text: Any) -> str:
    """Return text as one line of Markdown that shows it: nothing in it is Markdown or HTML."""
    line = for_terminal(re.sub(r"\s+", " ", str(text)))
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;").replace(">", "&gt;")
    line = _MARKS.sub(lambda found: f"\\{found[0]}", line)
    return _LEADING.sub(lambda found: f"{found[1]}{found[3] or ''}\\{found[2] or found[4]}", line)


def code_span(text: Any) -> str:
    """Return text as a code span of Markdown, also in a table."""
    line = without_comments(for_terminal(re.sub(r"\s+", " ", str(text)))).replace("|", "\\|")
    ticks = _ticks(line, 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line.strip() else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def fenced(lines: Iterable[Any], language: str = "text") -> str:
    """Return lines as a block of code of Markdown, each on one line."""
    shown = [without_comments(for_terminal(line)) for line in lines]
    fence = _ticks("\n".join(shown), 3)
    return "\n".join([f"{fence}{language}", *shown, fence])


def without_comments(text: str) -> str:
    """Return text in which no HTML comment begins: the marks of a card's sections are such comments."""
    return text.replace("<!--", "<! --")


def _ticks(text: str, least: int) -> str:
    """Return more backticks than stand anywhere side by side in a text."""
    return "`" * max(least, max(map(len, re.findall("`+", text)), default=0) + 1)
