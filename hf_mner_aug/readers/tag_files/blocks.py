"""Blocks of lines, one word each, with blank lines between the blocks: CoNLL-2003, ``IMGID:`` files, CoNLL-U."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hf_mner_aug.posts.texts import MAX_TEXT, MAX_WORDS
from hf_mner_aug.readers.formats import BadLine, RawPost, of_a_length
from hf_mner_aug.readers.lines import lines
from hf_mner_aug.readers.tag_files.places import Places

HEADER = "IMGID:"
BORDER = "-DOCSTART-"
MAX_LINE = 4 * MAX_TEXT  # characters of a word with its columns: many more than a post's text
MAX_COMMENTS = 100
_ID = re.compile(r"#\s*+(?:(?:sent|sentence|tweet|post|global)[._ ]?)?id(?:\s*+[:=]\s*+|\s++)(\S+)")
_ENDINGS = (".txt", ".conll", ".conll2003", ".conllu", ".conllup", ".tsv", ".bio", ".iob", ".iob2", ".jsonl", ".json")


@dataclass(slots=True)
class Block:
    """The lines of a post; ``line`` is its first, ``rows`` the fields of each word's line, with its number.

    ``id`` is that of an ``IMGID:`` line, None without one. ``comments`` are the lines before the first word that begin
    with ``#``. ``n_more`` words are over the limit of a post and not in ``rows``.
    """

    line: int
    id: str | None = None
    comments: Sequence[str] = ()
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    faults: list[BadLine] = field(default_factory=list)
    n_more: int = 0

    def named(self) -> str | None:
        """Return the id of the ``IMGID:`` line or of a comment (``# id 7``, ``# sent_id = 7``), if there is one."""
        if self.id is not None:
            return self.id
        return next(filter(None, map(comment_id, self.comments)), None)

    def fault(self, post_id: str) -> BadLine | None:
        """Return why the post is left out, if it is: its first faulty line, or that it is too long."""
        if self.faults:
            return left_out(post_id, self.faults[0].line, self.faults[0].reason)
        if self.n_more:
            n_words = len(self.rows) + self.n_more
            reason = f"post {post_id[:100]} has {n_words:,} words, over {MAX_WORDS:,}: it is left out"
            return BadLine(self.line, f"{reason} (a blank line ends a post)")
        return None


def left_out(post_id: str, line: int, reason: str) -> BadLine:
    """Return the line that leaves out a post, and why."""
    return BadLine(line, f"post {post_id[:100]}: {reason}: it is left out")


def comment_id(comment: str) -> str | None:
    """Return the id in a comment, or None: ``# id 7``, ``# sent_id = 7``."""
    found = _ID.match(comment)
    return found[1] if found else None


def fields(line: str) -> list[str]:
    """Return the fields of a line: between its tabs, or between any number of spaces where it has no tab."""
    if "\t" in line:
        parts = line.split("\t")
        return [part.strip(" ") for part in parts] if " " in line else parts
    parts = line.split(" ")
    return [part for part in parts if part] if "" in parts else parts


def blocks(path: Path, encoding: str, is_word: Callable[[list[str]], bool]) -> Iterator[Block]:
    """Yield the blocks of a file: a blank line, ``-DOCSTART-`` or ``IMGID:`` ends one.

    Lines before the first word of a block that begin with ``#`` are comments, unless ``is_word`` says of their fields
    that they are those of a word, as in ``# O``.
    """
    block: Block | None = None
    comments: list[str] = []
    for number, line in lines(path, encoding):
        if isinstance(line, BadLine) or len(line) > MAX_LINE:
            long = line if isinstance(line, BadLine) else BadLine(number, f"a line of {len(line):,} characters")
            block = block or Block(number)
            block.faults.append(long)
            continue
        is_header = line.startswith(HEADER) and "\t" not in line
        is_blank = not line or (line[0] in " \t" and not line.strip(" \t"))
        parts = [] if is_header or is_blank else fields(line)
        if is_header or is_blank or (BORDER in line and BORDER in parts):
            if block is not None:
                yield block
            block = Block(number, line.removeprefix(HEADER).strip(" ")) if is_header else None
        elif line[0] == "#" and (block is None or not block.rows) and not is_word(parts):
            comments = [*comments[-MAX_COMMENTS:], line]
        else:
            block = block or Block(number)
            block.comments, comments = block.comments or comments, []
            if len(block.rows) <= MAX_WORDS:
                block.rows.append((number, parts))
            else:
                block.n_more += 1
    if block is not None:
        yield block


def made_id(path: Path, number: int) -> str:
    """Return an id for a post whose file gives none: the file's name and the post's number, from 1."""
    name = path.stem if path.suffix in _ENDINGS else path.name
    return f"{name.encode('utf-8', 'replace').decode()}-{number}"  # a file's name need not be Unicode


def post_of(block: Block, post_id: str, places: Places) -> RawPost | BadLine:
    """Return the post of a block, or why it is left out."""
    if fault := block.fault(post_id):
        return fault
    post = RawPost(post_id, block.line, (post_id,))
    for number, parts in block.rows:
        post.lines.append(number)
        post.tokens.append(parts[places.word])
        post.tags.append(parts[places.tag])
        if places.fine is not None:
            post.fine_tags.append(parts[places.fine])
    return of_a_length(post)
