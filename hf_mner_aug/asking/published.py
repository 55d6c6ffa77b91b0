"""Knowledge that others published: PGIM's files, which hold words and tags and no ids, matched with posts by text.

On each line is a word and, last, its tag; a blank line ends a post. The words after ``<EOS>`` are the knowledge.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.schema import Post

MARK = "<EOS>"
LONGEST_WORD, MOST_WORDS = 500, 5_000  # of a line, and of a post with its knowledge


class Published(NamedTuple):
    """The words of a published post, the knowledge about it, and where it begins: the file's name and the line."""

    words: tuple[str, ...]
    knowledge: str
    where: str


def read_published(path: str | Path) -> list[Published]:
    """Return the posts of a file in their order; one without knowledge has an empty one.

    Raises:
        UsageError: there is no such file.
        DataError: it is not UTF-8, a line has no tag or is too long, a post too, or no post has knowledge.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected words and tags in UTF-8, found other bytes ({error.reason})") from error
    found = list(_posts(text.split("\n"), str(path)))
    if not any(post.knowledge for post in found):
        raise DataError(f"{path}: expected posts with knowledge after {MARK}, found {len(found)} posts without any")
    return found


def _posts(lines: Iterable[str], path: str) -> Iterator[Published]:
    words: list[str] = []
    begun = 1
    for number, line in enumerate([*lines, ""], start=1):
        parts = line.rstrip("\r").split("\t") if "\t" in line else line.split()
        if not line.strip():
            if words:
                at = words.index(MARK) if MARK in words else len(words)
                yield Published(tuple(words[:at]), " ".join(words[at + 1 :]), f"{Path(path).name} line {begun}")
            words, begun = [], number + 1
            continue
        if len(parts) < 2 or not parts[0].strip() or len(parts[0]) > LONGEST_WORD:
            raise DataError(f"{path} line {number}: expected a word and its tag, found {line[:60]!r}")
        if len(words) == MOST_WORDS:
            raise DataError(f"{path} line {begun}: expected posts of at most {MOST_WORDS} words, found a longer one")
        words.append(parts[0].strip())


def align(posts: Sequence[Post], published: Sequence[Published]) -> dict[int, str]:
    """Return the knowledge about posts by their index, matched by their words, then by ``text_key``.

    Posts of one text have that of the published ones of this text in their order, if these are as many or all say the
    same; otherwise none has any, since nobody knows which is whose.
    """
    found: dict[int, str] = {}
    left = list(range(len(posts)))
    unused = [one for one in published if one.knowledge]
    for key in (tuple, text_key):
        ours: dict[object, list[int]] = defaultdict(list)
        theirs: dict[object, list[Published]] = defaultdict(list)
        for i in left:
            ours[key(posts[i].tokens)].append(i)
        for one in unused:
            theirs[key(one.words)].append(one)
        for text, indices in ours.items():
            told = theirs.get(text, [])
            if len(told) == len(indices):
                found |= {i: one.knowledge for i, one in zip(indices, told, strict=True)}
            elif len({one.knowledge for one in told}) == 1:
                found |= dict.fromkeys(indices, told[0].knowledge)
        left = [i for i in left if i not in found]
        unused = [one for one in unused if key(one.words) not in ours]
    return found
