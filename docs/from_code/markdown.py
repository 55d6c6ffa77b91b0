"""Tables, and the text of docstrings, as Markdown."""

import inspect
import re
from collections.abc import Iterable, Sequence

_LITERAL = re.compile(r"``([^`\n]+)``")
_ADDRESS = re.compile(r"(?<![\w(<])https?://[^\s,;)]+[\w/]")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are Markdown of one line each."""
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def prose(text: str) -> str:
    """Return a docstring's text in one line, its double backquotes as Markdown's single ones, addresses as links."""
    joined = re.sub(r"\s+", " ", inspect.cleandoc(text)).strip()
    return _ADDRESS.sub(lambda found: f"<{found[0]}>", _LITERAL.sub(r"`\1`", joined))


def code(value: object) -> str:
    """Return a value as inline code, or a word for an empty one."""
    return {None: "none", "": "empty", (): "empty"}.get(value) or f"`{value!r}`"  # type: ignore[call-overload]


def first_sentence(docstring: str | None) -> str:
    """Return the first paragraph's first line of a docstring, without its full stop."""
    return prose((docstring or "").strip().split("\n\n")[0]).partition(". ")[0].removesuffix(".")
