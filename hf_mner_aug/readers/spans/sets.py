"""A raw set of the files of an annotation tool."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.formats import RawPost
from hf_mner_aug.readers.layout import RawSet
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated, Misaligned, Nested, Offsets
from hf_mner_aug.readers.spans.offsets import Unit
from hf_mner_aug.readers.spans.posts import posts_of
from hf_mner_aug.readers.spans.recognition import OPTIONS, recognise

Reader = Callable[..., Iterator[Annotated | BadLine]]


def spans_set(
    name: str, title: str, reader: Reader, *, takes: tuple[str, ...] = (), unit: Unit = "chars", **facts: Any
) -> RawSet:
    """Return the raw set of a tool.

    Args:
        name: of the set.
        title: of the set.
        reader: yields the texts of a file: ``reader(path, **options)``.
        takes: the names of the options of ``convert`` that ``reader`` has as keywords, besides those of ``posts_of``.
        unit: of offsets, where no text of a span tells.
        **facts: further fields of ``RawSet``, as ``endings``.
    """
    return RawSet(
        name=name,
        title=title,
        parse=partial(parse, reader),
        takes=(*OPTIONS, *takes),
        recognise=partial(recognise, reader, unit),
        **{"images": "auto", "lone_file": True, **facts},
    )


def parse(
    reader: Reader,
    path: Path,
    *,
    tokeniser: str | None = None,
    misaligned: Misaligned = "snap",
    nested: Nested = "outermost",
    offsets: Offsets = "auto",
    **options: Any,
) -> Iterator[RawPost | BadLine]:
    """Yield the posts of a file as ``reader`` reads it; the options are those of ``posts_of``, and the reader's.

    Raises:
        DataError: the file has no post, or as ``reader``.
        UsageError: as ``posts_of``.
    """
    name = path.stem.encode("utf-8", "replace").decode()  # a file name need not be Unicode
    posts = posts_of(
        reader(path, **options),
        name=name,
        tokeniser=tokeniser,
        misaligned=misaligned,
        nested=nested,
        offsets=offsets,
    )
    n_posts, other = 0, None
    for post in posts:
        n_posts += isinstance(post, RawPost)
        if other is None and isinstance(post, BadLine) and post.counter != "bad_lines":
            other = post
        yield post
    if not n_posts:
        why = f": nobody labelled a text, as line {other.line}: {other.reason}" if other else ""
        empty = ": expected texts NAME.txt with NAME.ann in it" if path.is_dir() and not other else ""
        raise DataError(f"{path}: no post could be read{why}{empty}")
