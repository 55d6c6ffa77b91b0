"""The fenced blocks of README and of the pages in docs/, in their order, and the commands in them."""

import re
import shlex
from typing import NamedTuple

from places import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A block, below a comment that says why it is not run, if it is not.
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?"
    r'^```(?P<language>\w*)(?: title="(?P<path>[^"\n]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r"`((?:hf-mner-aug|make) [^`]+)`")
ASSIGNMENT = re.compile(r"([A-Z]+)=(.*)", re.DOTALL)
VARIABLE = re.compile(r"\$([A-Z]+)")


class Block(NamedTuple):
    """A fenced block: ``path`` is the file it shows, if any; ``why`` is the reason not to run it."""

    language: str
    text: str
    path: str
    why: str


def blocks(page):
    """Return the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [Block(m["language"], m["text"], m["path"] or "", m["why"] or "") for m in BLOCK.finditer(text)]
    assert len(found) * 2 == len(re.findall(r"^```", text, re.MULTILINE)), f"{page}: a fence is not read"
    return found


def commands(text):
    """Yield the commands of a shell block as lists of words, its variables replaced."""
    values = {}
    for line in text.replace("\\\n", " ").splitlines():
        line = VARIABLE.sub(lambda found: values[found[1]], line)
        if assigned := ASSIGNMENT.fullmatch(line):
            values[assigned[1]] = shlex.split(assigned[2])[0]
        elif words := shlex.split(line):
            yield words
