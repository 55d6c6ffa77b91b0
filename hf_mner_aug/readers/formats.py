"""Text files of raw sets, parsed one post at a time.

A parser yields a ``RawPost`` for each post, and a ``BadLine`` for each line it leaves out.
"""

import ast
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.texts import MAX_TEXT, too_long
from hf_mner_aug.readers.lines import BadLine as BadLine
from hf_mner_aug.readers.lines import as_read, lines
from hf_mner_aug.schema import Relation, split_tag, word_faults

# In the order of the ids in the authors' code.
MNRE_RELATIONS = (
    "None",
    "/per/per/parent",
    "/per/per/siblings",
    "/per/per/couple",
    "/per/per/neighbor",
    "/per/per/peer",
    "/per/per/charges",
    "/per/per/alumi",
    "/per/per/alternate_names",
    "/per/org/member_of",
    "/per/loc/place_of_residence",
    "/per/loc/place_of_birth",
    "/org/org/alternate_names",
    "/org/org/subsidiary",
    "/org/loc/locate_at",
    "/loc/loc/contain",
    "/per/misc/present_in",
    "/per/misc/awarded",
    "/per/misc/race",
    "/per/misc/religion",
    "/per/misc/nationality",
    "/misc/misc/part_of",
    "/misc/loc/held_on",
)
MAX_LITERAL = 16 * MAX_TEXT  # characters, escaped: Python takes 500 bytes of memory for each
NAME_COLUMNS = "of other columns, name those to take: --columns tokens=1,ner_tags=3"


@dataclass(frozen=True, slots=True)
class RawPost:
    """A post as in its file; word ``i`` is on line ``lines[i]``, and ``line`` is the post's first.

    ``pictures`` are the names of its images: its own id if the file names none. ``notes`` are what was done to it: a
    counter of ``SplitReport``, and an example.
    """

    id: str
    line: int
    pictures: Sequence[str]
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    fine_tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    relation: Relation | None = None
    notes: Sequence[tuple[str, str]] = ()


# ---------------------------------------------------------------- blocks of words and tags


def parse_imgid(
    path: Path, columns: Mapping[str, str | int] = MappingProxyType({}), encoding: str = "utf-8"
) -> Iterator[RawPost | BadLine]:
    """Yield the posts of ``IMGID:<id>`` blocks of ``word<TAB or space>tag[<TAB or space>fine tag]`` lines.

    A word is everything before the separator, even a no-break space or a lone variation selector. ``columns`` are the
    positions of ``tokens``, ``ner_tags`` and optionally ``fine_tags`` in a line, from 1, if there are other columns;
    any number of spaces then separates them.

    Raises:
        UsageError: ``columns`` are no positions of words and tags.
        DataError: a line is neither, or not text, or the file has no post; the message gives the line.
    """
    return _parse_blocks(path, "IMGID:", encoding, strict=True, places=_places(columns))


def parse_wid(path: Path, encoding: str = "utf-8") -> Iterator[RawPost | BadLine]:
    """Yield the posts of CMNER's ``WID:<id>`` blocks of ``character<TAB>tag`` lines.

    A new header ends a post, blank lines do not. A line that is not a character and a tag is left out, as in the
    authors' own loader.

    Raises:
        DataError: the file has no post.
    """
    return _parse_blocks(path, "WID:", encoding, strict=False)


def _parse_blocks(
    path: Path, header: str, encoding: str, *, strict: bool, places: Sequence[int] = ()
) -> Iterator[RawPost | BadLine]:
    post: RawPost | None = None
    open_post = False
    columns = n_posts = 0
    wrong = partial(_bad_line, path, encoding)
    for number, line in lines(path, encoding):
        if isinstance(line, BadLine):
            if strict:
                raise wrong(number, line.reason, wrong_layout=False)
            yield replace(line, part=True)
        elif line.startswith(header) and "\t" not in line:
            if post is not None:
                yield of_a_length(post)
            post_id = line.removeprefix(header).strip(" ")
            post = RawPost(post_id, number, (post_id,))
            open_post = True
            n_posts += 1
            if not post_id:
                message = f"post without id: expected '{header}<id>', found '{header}'"
                raise wrong(number, message, wrong_layout=n_posts == 1)
        elif not line.strip(" \t"):
            open_post = open_post and not strict
        elif post is None or not open_post:
            where = "before the first post" if post is None else f"after post {post.id}"
            message = f"{where}: expected '{header}<id>', found {line[:100]!r}"
            raise wrong(number, message, wrong_layout=post is None)
        else:
            word, *tags = _fields(line, places)
            problem = _problem(word, tags, columns)
            if strict and not places:
                problem = _advised(problem, line, [word, *tags], first=not columns)
            if problem:
                message = f"post {post.id}: {problem}, found {line[:100]!r}"
                if strict:
                    raise wrong(number, message, wrong_layout=n_posts == 1)
                yield BadLine(number, message, part=True)
                continue
            columns = columns or len(tags)
            post.tokens.append(word)
            post.tags.append(tags[0])
            post.fine_tags.extend(tags[1:])
            post.lines.append(number)
    if post is None:
        raise wrong(1, f"expected '{header}<id>', found no line", wrong_layout=True)
    yield of_a_length(post)


def _places(columns: Mapping[str, str | int]) -> list[int]:
    """Return the positions of the word and its tags; raises as ``parse_imgid``."""
    names = ("tokens", "ner_tags", "fine_tags")[: max(2, len(columns))] if columns else ()
    places = [str(columns.get(name, "")) for name in names]
    if {*columns} - {*names} or not all(place.isdecimal() and 0 < int(place) < 100 for place in places):
        found = ",".join(f"{name}={place}" for name, place in columns.items())
        raise UsageError(
            f"--columns {found}: expected positions from 1, as tokens=1,ner_tags=3, optionally fine_tags=4"
        )
    return [int(place) for place in places]


def _fields(line: str, places: Sequence[int]) -> list[str]:
    """Return the word and the tags of a line; an empty word if it has too few columns."""
    if not places:
        return line.split("\t" if "\t" in line else " ")
    fields = _spaced(line)
    return [fields[place - 1] for place in places] if max(places) <= len(fields) else [""]


def _spaced(line: str) -> list[str]:
    """Return the fields of a line that any number of spaces may part, beside a tab or without one."""
    if "\t" in line:
        return [field.strip(" ") for field in line.split("\t")]
    return [field for field in line.split(" ") if field]


def _advised(problem: str | None, line: str, found: Sequence[str], *, first: bool) -> str | None:
    """Return the problem of a line, if any, with the option that reads its columns, if there is one."""
    if any(field == "" or field != field.strip(" ") for field in found):
        fields = _spaced(line)
        if len(fields) > 1 and fields[0] and fields[-1]:
            if problem is None or "" in found:
                problem = "expected one tab or one space between columns"
            return f"{problem} (where more blanks part them: --columns tokens=1,ner_tags={len(fields)})"
    return f"{problem} ({NAME_COLUMNS})" if problem and first and len(found) > 2 else problem


def with_a_post(
    posts: Iterable[RawPost | BadLine], path: Path, encoding: str | None = None
) -> Iterator[RawPost | BadLine]:
    """Yield what a parser found in a file.

    Raises:
        DataError: at the end, if there was no post; it has the first line that could not be read, and with an encoding
            the first lines of the file.
    """
    first: BadLine | None = None
    found = False
    for post in posts:
        if isinstance(post, RawPost):
            found = True
        elif first is None and post.counter == "bad_lines":
            first = post
        yield post
    if not found:
        reason = f"{first.reason} ({path} line {first.line})" if first else f"{path} holds no line"
        raise DataError(f"{reason}: no post could be read{as_read(path, encoding) if encoding else ''}")


def of_a_length(post: RawPost) -> RawPost | BadLine:
    """Return a post, or a bad line if it exceeds the limits of a post."""
    excess = too_long(post.tokens)
    return post if excess is None else BadLine(post.line, f"post {post.id[:100]} has {excess}: it is left out")


def _problem(word: str, tags: Sequence[str], columns: int) -> str | None:
    """Return the fault of a line's fields, or None."""
    if any(word_faults([word])) or len(tags) not in (1, 2):
        return "expected a word, a tab or one space, and one or two tags"
    if columns and len(tags) != columns:
        return f"expected {columns} tag{'s' * (columns > 1)} as on the lines before"
    return _tag_problem(tags)


def _tag_problem(tags: Sequence[str]) -> str | None:
    for tag in tags:
        try:
            split_tag(tag)
        except DataError as error:
            return str(error)
    return None


# ---------------------------------------------------------------- one post per line


def parse_mnre(path: Path, encoding: str = "utf-8") -> Iterator[RawPost | BadLine]:
    """Yield the relations of MNRE: each line holds one as a Python literal, which is never executed.

    The keys are ``token``, ``h`` and ``t`` (``{"name": …, "pos": [start, end]}``, end exclusive), ``img_id`` and
    ``relation``. The id is that of the image; most tweets have several relations, so several posts share one id.

    Raises:
        DataError: no line holds a relation.
    """
    return _parse_records(path, encoding, _literal, _relation_post)


def parse_mner_mi(path: Path, encoding: str = "utf-8") -> Iterator[RawPost | BadLine]:
    """Yield the posts of MNER-MI: each line holds one as JSON, or as a Python literal, which is never executed.

    The keys are ``id``, ``text`` (words), ``label`` (BIO tags) and ``images`` (file names).

    Raises:
        DataError: no line holds a post.
    """
    return _parse_records(path, encoding, _json_or_literal, _multi_image_post)


def _parse_records(
    path: Path, encoding: str, decode: Callable[[str], Any], build: Callable[[dict[str, Any], int], RawPost]
) -> Iterator[RawPost | BadLine]:
    found = (
        line if isinstance(line, BadLine) else _record_post(line, number, decode, build)
        for number, line in lines(path, encoding)
        if isinstance(line, BadLine) or line.strip()
    )
    return with_a_post(found, path, encoding)


def _record_post(
    line: str, number: int, decode: Callable[[str], Any], build: Callable[[dict[str, Any], int], RawPost]
) -> RawPost | BadLine:
    try:
        record = decode(line)
        if not isinstance(record, dict):
            raise DataError(f"expected a dictionary, found {type(record).__name__}")
        return of_a_length(build(record, number))
    except (DataError, ValueError, OverflowError) as error:  # also for a number of thousands of digits
        return BadLine(number, str(error))


def _literal(line: str) -> Any:
    if len(line) > MAX_LITERAL:
        raise DataError(f"a line of {len(line):,} characters, over {MAX_LITERAL:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's, about odd escapes and numbers in a tweet
            return ast.literal_eval(line.strip())
    except SyntaxError as error:
        raise DataError(f"not a Python literal ({error.msg})") from error
    except (ValueError, TypeError) as error:
        raise DataError("not a Python literal: it contains code, which is not run") from error
    except (MemoryError, RecursionError) as error:
        raise DataError("not a Python literal: nested too deeply") from error


def _json_or_literal(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        if line.lstrip().startswith("{'"):  # the authors write the posts of Twitter-2017 so
            return _literal(line)
        raise DataError(f"not JSON ({error})") from error
    except RecursionError as error:
        raise DataError("not JSON: nested too deeply") from error


def _relation_post(record: dict[str, Any], line: int) -> RawPost:
    tokens = _words(record, "token")
    spans = {}
    for side, name in (("h", "head"), ("t", "tail")):
        place = record.get(side)
        span = place.get("pos") if isinstance(place, dict) else None
        if not isinstance(span, list | tuple) or [type(end) for end in span] != [int, int]:
            raise DataError(f"expected {side!r} with 'pos': [start, end], found {str(place)[:60]}")
        if not 0 <= span[0] < span[1] <= len(tokens):
            raise DataError(f"{name} [{span[0]}, {span[1]}) does not fit {len(tokens)} words")
        spans[name] = (span[0], span[1])
    image = _text(record, "img_id")
    kind = _text(record, "relation")
    if kind not in MNRE_RELATIONS:
        raise DataError(f"relation {kind!r} is not one of the {len(MNRE_RELATIONS)} of MNRE")
    relation = Relation(spans["head"], spans["tail"], kind)
    return RawPost(Path(image).stem or image, line, (image,), tokens, lines=[line] * len(tokens), relation=relation)


def _multi_image_post(record: dict[str, Any], line: int) -> RawPost:
    post_id = record.get("id")
    post_id = str(post_id) if type(post_id) is int else _text(record, "id")
    tokens = _words(record, "text")
    tags, images = record.get("label"), record.get("images")
    if not isinstance(tags, list) or len(tags) != len(tokens) or not all(isinstance(tag, str) for tag in tags):
        found = f"{len(tags)} of them" if isinstance(tags, list) else str(tags)[:60]
        raise DataError(f"post {post_id}: expected 'label' with a tag for each of {len(tokens)} words, found {found}")
    if problem := _tag_problem(tags):
        raise DataError(f"post {post_id}: {problem}")
    if not isinstance(images, list) or not all(isinstance(image, str) and image for image in images):
        raise DataError(f"post {post_id}: expected 'images' with a list of file names, found {str(images)[:60]}")
    return RawPost(post_id, line, tuple(images), tokens, tags, lines=[line] * len(tokens))


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value or not encodes(value):
        raise DataError(f"expected {key!r} with a text, found {str(value)[:60]!a}")
    return value


def _words(record: dict[str, Any], key: str) -> list[str]:
    words = record.get(key)
    if not isinstance(words, list):
        raise DataError(f"expected {key!r} with a list of words, found {str(words)[:60]!a}")
    for i, word in enumerate(words):
        if any(word_faults([word])) or not encodes(word):
            raise DataError(f"word {i} of {key!r} is {word!a}")
    return words


def encodes(text: str) -> bool:
    """Return whether a text is Unicode: JSON and literals can contain lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---------------------------------------------------------------- errors


def _bad_line(path: Path, encoding: str, number: int, problem: str, *, wrong_layout: bool) -> DataError:
    """Return the error of a line, with the file's first lines if the layout seems to be a different one."""
    message = f"{problem} ({path} line {number})"
    return DataError(message + as_read(path, encoding) if wrong_layout else message)
