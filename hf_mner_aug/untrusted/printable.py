"""Escape text from data, so that a terminal, Markdown or HTML shows it and does not interpret it.

Names, licences, tweets and reasons are untrusted text. Text for a terminal goes through ``say`` or ``for_terminal``;
for Markdown, through ``for_markdown``, ``code_span`` or ``fenced``; for HTML, through a template that escapes and has
``for_html`` as its last step.
"""

import io
import json
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

# Control characters, direction marks, line separators, lone surrogates.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
# The start of a line that Markdown could read as a heading, list, quote, rule or number.
_LEADING = re.compile(r"^(\s*)(?:([#+=-])(?=[\s#=-]|$)|(\d+)([.)])(?=\s|$))")
# Marks of emphasis (but no underscore inside a word), code, tables and mathematics; a bracket that links.
_MARKS = re.compile(r"[\\`*~|$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])")


def for_terminal(text: Any, *, lines: bool = False) -> str:
    r"""Return text with control characters escaped, as ``\x1b`` and ``\u202e``; ``lines`` keeps newlines and tabs."""
    return _CONTROLS.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _spelt(found[0]), str(text))


def _spelt(character: str) -> str:
    code = ord(character)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def spell_what_cannot_be_written() -> None:
    """Make standard output and error escape the characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(*values: Any, file: TextIO | None = None) -> None:
    """Print values as ``print`` does, with control characters escaped."""
    print(*(for_terminal(value, lines=True) for value in values), file=file or sys.stdout)


def say_json(data: Any) -> None:
    """Print data as JSON with control characters escaped; it parses to equal data."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    print(_CONTROLS.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text))


def console() -> Any:
    """Return a rich console that takes no text as markup; give it cells of ``for_terminal``."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def for_html(value: Any) -> Any:
    """Return a value for an HTML template: text as ``for_terminal``, since direction marks also affect a page."""
    return for_terminal(value, lines=True) if isinstance(value, str) and not hasattr(value, "__html__") else value


def excerpt(text: str, length: int = 200) -> str:
    """Return the start of an untrusted text as one printable line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * length]).split())[:length]


# ---------------------------------------------------------------- Markdown


def for_markdown(text: Any) -> str:
    """Return text as one line of Markdown that shows it literally: nothing in it acts as Markdown or HTML."""
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


def fenced(lines: Iterable[Any]) -> str:
    """Return lines as a fenced code block of Markdown, each on one line."""
    shown = [without_comments(for_terminal(line)) for line in lines]
    fence = _ticks("\n".join(shown), 3)
    return "\n".join([f"{fence}text", *shown, fence])


def without_comments(text: str) -> str:
    """Return text in which no HTML comment begins: such comments mark the sections of a card."""
    return text.replace("<!--", "<! --")


def _ticks(text: str, least: int) -> str:
    """Return a run of backticks longer than any in a text."""
    return "`" * max(least, max(map(len, re.findall("`+", text)), default=0) + 1)
