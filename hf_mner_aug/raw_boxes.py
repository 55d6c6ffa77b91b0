"""Boxes of entities in Pascal-VOC XML files, one file a picture.

A file is known by its own name: in Twitter-GMNER 765 of 5,612 ``<filename>`` values name another picture. An object's
``<name>`` holds the words of the entity that its box shows.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast
from xml.parsers import expat

from hf_mner_aug.errors import DataError, UsageError
from hf_mner_aug.hygiene import normalise_unicode
from hf_mner_aug.picture_files import Allowed, FileRefused, read_file
from hf_mner_aug.schema import Box

Size = tuple[int, int]
Span = tuple[int, int]
Note = Callable[[str, str], None]
MAX_BYTES = 10_000_000  # of an XML file
MAX_DEPTH = 100
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box as its file has it: the name of what it shows, the line, the corners where they are four numbers."""

    name: str
    line: int
    corners: Box | None


@dataclass(frozen=True, slots=True)
class Drawing:
    """What an XML file holds: the size in pixels of the picture that the boxes were drawn on, where it is given."""

    file: str
    size: Size | None
    boxes: list[DrawnBox] = field(default_factory=list)


def find_drawings(folder: Path) -> dict[str, Path]:
    """Return the XML files of a folder by the id of their post.

    Raises:
        UsageError: the folder is not there or holds no XML file.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of XML files")
    drawings = {normalise_unicode("NFC", path.stem): path for path in sorted(folder.glob("*.xml"))}
    if not drawings:
        raise UsageError(f"{folder}: expected XML files named <id>.xml, found none")
    return drawings


def parse_voc(path: Path) -> Drawing:
    """Return the boxes of a Pascal-VOC file.

    A document type, and so every entity that could grow or fetch another file, is refused.

    Raises:
        DataError: the file is no such XML (the message gives the line), or leads out of its folder.
    """
    values: dict[str, str] = {}
    objects: list[dict[str, Any]] = []
    tags: list[str] = []
    text: list[str] = []
    parser = expat.ParserCreate()

    def start(tag: str, _: Any) -> None:
        tags.append(tag)
        text.clear()
        if len(tags) > MAX_DEPTH:
            raise DataError(f"{path.name} line {parser.CurrentLineNumber}: nested more than {MAX_DEPTH} deep")
        if tags[0] != "annotation":
            raise DataError(f"{path.name} line {parser.CurrentLineNumber}: expected <annotation>, found <{tag}>")
        if tags == ["annotation", "object"]:
            objects.append({"name": "", "boxes": []})
        elif tags == ["annotation", "object", "bndbox"]:
            objects[-1]["boxes"].append({"line": parser.CurrentLineNumber})

    def end(tag: str) -> None:
        value = "".join(text).strip()
        text.clear()
        if tags == ["annotation", "object", "name"]:
            objects[-1]["name"] = value
        elif tags[:-1] == ["annotation", "object", "bndbox"]:
            objects[-1]["boxes"][-1][tag] = value
        elif tags[:-1] == ["annotation", "size"]:
            values[tag] = value
        tags.pop()

    def refuse(*_: Any) -> NoReturn:
        raise DataError(f"{path.name} line {parser.CurrentLineNumber}: a document type (DOCTYPE) is refused")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_file(path, Allowed.of(path.parent), MAX_BYTES), True)
    except FileRefused as error:
        raise DataError(f"{path.name} {error.detail}") from error
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise DataError(f"{path.name} line {error.lineno}: {reason}") from error
    except (LookupError, ValueError) as error:  # of Python's codecs: no such encoding, or one of several bytes a sign
        reason = repr(str(error)[:60])
        raise DataError(f"{path.name}: its encoding is none that can be read ({reason})") from error
    width, height = (int(_number(values.get(side)) or 0) for side in ("width", "height"))
    boxes = []
    for thing in objects:
        for box in thing["boxes"]:
            corners = [_number(box.get(corner)) for corner in _CORNERS]
            known = cast(Box, tuple(corners)) if None not in corners else None
            boxes.append(DrawnBox(thing["name"], box["line"], known))
    return Drawing(path.name, (width, height) if width > 0 and height > 0 else None, boxes)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def place_boxes(
    drawing: Drawing, mentions: Mapping[Span, str], size: Size | None, note: Note
) -> list[tuple[list[Span], Box]]:
    """Return each box that can be kept, in pixels of the picture, with the mentions that it shows.

    ``mentions`` are spans and their words as one text; a box's name is matched to the words whatever stands between
    them, and mentions of the same words share their boxes. ``size`` is that of the post's own picture, where it has
    one: boxes are scaled to it from the size they were drawn at. ``note(trouble, example)`` hears of what had to be
    mended or left out.
    """
    if size and drawing.size and size != drawing.size:
        note("resized", f"{drawing.file} {drawing.size[0]}x{drawing.size[1]}, the image {size[0]}x{size[1]}")
    drawn_at = drawing.size or size
    across, down = (size[0] / drawn_at[0], size[1] / drawn_at[1]) if size and drawn_at else (1.0, 1.0)
    placed = []
    for box in drawing.boxes:
        where = f"{drawing.file} line {box.line} {box.name!r}"
        spans = [span for span, words in mentions.items() if _squeeze(words) == _squeeze(box.name)]
        if not spans:
            note("unmatched_boxes", where)
            continue
        mended, troubles = mend_box(box.corners, drawn_at)
        for trouble in troubles:
            note(trouble, where)
        if mended is not None:
            x1, y1, x2, y2 = mended
            placed.append((spans, (x1 * across, y1 * down, x2 * across, y2 * down)))
    return placed


def mend_box(corners: Box | None, size: Size | None) -> tuple[Box | None, list[str]]:
    """Return a box ``(x1, y1, x2, y2)`` with its corners in order and clipped to the picture, and what had to be done.

    It is None where nothing of it is left: it is not four numbers, has no area, or is wholly outside. An unknown size
    clips at zero only.
    """
    if corners is None:
        return None, ["bad_boxes"]
    (x1, x2), (y1, y2) = sorted(corners[::2]), sorted(corners[1::2])
    troubles = ["reversed_boxes"] if (x1, y1, x2, y2) != corners else []
    width, height = size or (math.inf, math.inf)
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        return None, ["bad_boxes"]
    if clipped != (x1, y1, x2, y2):
        troubles.append("clipped_boxes")
    return clipped, troubles


def _squeeze(words: str) -> str:
    return "".join(words.split())
