"""Boxes of entities in Pascal-VOC XML files, one file per picture.

A file is identified by its own name: in Twitter-GMNER 765 of 5,612 ``<filename>`` values name another picture. An
object's ``<name>`` holds the words of the entity in its box.

Boxes of a row are in pixels of the picture as displayed: turned by its EXIF. Tools that draw boxes often show it as
stored, so the size in the XML decides (``find_frame``): if it is the stored size, boxes are turned with the picture; if
it is the displayed size, they stay. If it fits both (a square, a half turn, a mirror image, no size), the boxes are
taken as drawn on the stored picture, as most tools do, unless they fit only the displayed one; this is reported.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast
from xml.parsers import expat

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.posts.texts import normalise_unicode
from hf_mner_aug.schema import Box
from hf_mner_aug.storage.picture_files import Allowed, FileRefused, read_file

Size = tuple[int, int]
Span = tuple[int, int]
Note = Callable[[str, str], None]
MAX_BYTES = 10_000_000  # of an XML file
MAX_DEPTH = 100
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SHAPES = (  # what other tools write instead of a <bndbox>
    "polygon",
    "polyline",
    "points",
    "segm",
    "segmentation",
    "robndbox",
    "mask",
    "circle",
    "ellipse",
    "cuboid",
    "keypoints",
)


class Shown(NamedTuple):
    """A post's picture: its size as displayed, and the EXIF orientation (1 to 8) that turned it."""

    size: Size
    orientation: int = 1

    @property
    def stored(self) -> Size:
        """Its size before turning."""
        return self.size[::-1] if self.orientation > 4 else self.size


class Frame(NamedTuple):
    """The picture that boxes were drawn on: its size, if known, and the orientation that turns it."""

    size: Size | None
    orientation: int = 1


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box as in its file: the name of its content, the line, and the corners if they are four numbers."""

    name: str
    line: int
    corners: Box | None


@dataclass(frozen=True, slots=True)
class Drawing:
    """The content of an XML file: its boxes, and the size in pixels of the picture that they were drawn on, if given.

    ``left_out`` are objects without a box and boxes of their parts: the kind of trouble, and its place.
    """

    file: str
    size: Size | None
    boxes: list[DrawnBox] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def parse_voc(path: Path) -> Drawing:
    """Return the boxes of a Pascal-VOC file.

    A document type is refused, and with it every entity that could expand or fetch another file.

    Raises:
        DataError: the file is not such XML (the message gives the line), or leads out of its folder.
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
            objects.append({"name": "", "line": parser.CurrentLineNumber, "boxes": [], "shape": "", "parts": []})
        elif tags == ["annotation", "object", "bndbox"]:
            objects[-1]["boxes"].append({"line": parser.CurrentLineNumber})
        elif tags[:-1] == ["annotation", "object"] and tag in _SHAPES:
            objects[-1]["shape"] = tag
        elif tags[:2] == ["annotation", "object"] and tag == "bndbox":
            objects[-1]["parts"].append(parser.CurrentLineNumber)

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
    except (LookupError, ValueError) as error:  # from Python's codecs: an unknown or a multi-byte encoding
        reason = repr(str(error)[:60])
        raise DataError(f"{path.name}: its encoding cannot be read ({reason})") from error
    return _drawing(path.name, values, objects)


def _drawing(name: str, values: Mapping[str, str], objects: Sequence[Mapping[str, Any]]) -> Drawing:
    """Return the boxes of the objects of a file, and those left out."""
    width, height = (int(_number(values.get(side)) or 0) for side in ("width", "height"))
    boxes, left_out = [], []
    for thing in objects:
        left_out += [("parts", f"{name} line {line} {thing['name']!r}") for line in thing["parts"]]
        if not thing["boxes"]:
            shape = f" ({thing['shape']})" if thing["shape"] else ""
            where = f"{name} line {thing['line']} {thing['name']!r}{shape}"
            left_out.append(("other_shapes" if shape else "no_boxes", where))
        for box in thing["boxes"]:
            corners = [_number(box.get(corner)) for corner in _CORNERS]
            known = cast(Box, tuple(corners)) if None not in corners else None
            boxes.append(DrawnBox(thing["name"], box["line"], known))
    return Drawing(name, (width, height) if width > 0 and height > 0 else None, boxes, left_out)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def place_boxes(
    drawing: Drawing, mentions: Mapping[Span, str], shown: Shown | None, note: Note
) -> list[tuple[list[Span], Box]]:
    """Return each usable box, in pixels of the picture as displayed, with the mentions that it shows.

    ``mentions`` are spans and their words as one text; a box's name is matched to the words (NFC) regardless of
    spaces, and mentions with the same words share their boxes. ``shown`` is the post's own picture, if it has one:
    boxes are turned with it and scaled to it from the picture they were drawn on. ``note(trouble, example)`` is called
    for each box that is repaired or left out.
    """
    for trouble, where in drawing.left_out:
        note(trouble, where)
    drawn_at, orientation = find_frame(drawing, shown, note)
    across = down = 1.0
    if shown and drawn_at:
        turned = drawn_at[::-1] if orientation > 4 else drawn_at
        across, down = shown.size[0] / turned[0], shown.size[1] / turned[1]
    placed = []
    for box in drawing.boxes:
        where = f"{drawing.file} line {box.line} {box.name!r}"
        spans = [span for span, words in mentions.items() if _squeeze(words) == _squeeze(box.name)]
        if not spans:
            note("unmatched_boxes", where)
            continue
        repaired, troubles = repair_box(box.corners, drawn_at)
        for trouble in troubles:
            note(trouble, where)
        if repaired is not None:
            x1, y1, x2, y2 = turn_box(repaired, drawn_at, orientation) if drawn_at else repaired
            placed.append((spans, (x1 * across, y1 * down, x2 * across, y2 * down)))
    return placed


def find_frame(drawing: Drawing, shown: Shown | None, note: Note) -> Frame:
    """Return the picture that boxes were drawn on, by the size in their XML (see the module); note irregularities."""
    if shown is None:
        return Frame(drawing.size)
    size, ways = drawing.size, list(dict.fromkeys([Frame(shown.stored, shown.orientation), Frame(shown.size)]))
    told = f"{drawing.file} {_by(size) if size else 'without a size'}, the image {_by(shown.size)}"
    if shown.orientation > 1:
        told += f", EXIF orientation {shown.orientation}"
    if size and _is_swapped(size, ways, drawing.boxes):
        note("swapped_sizes", told)
        size = size[::-1]
    fitting = [way for way in ways if way.size == size] or [way for way in ways if _alike(way.size, size)]
    chosen = (fitting or [Frame(shown.size)])[0]
    if len(ways) > 1 and len(fitting) != 1:
        if len(fitting) > 1 and not _inside(drawing.boxes, chosen.size) and _inside(drawing.boxes, shown.size):
            chosen = Frame(shown.size)
        if drawing.boxes:
            note("unsure_turns", told)
    if chosen.orientation > 1 and drawing.boxes:
        note("turned", told)
    if size and size != chosen.size:
        note("resized", told)
    return Frame(size or chosen.size, chosen.orientation)


def _is_swapped(size: Size, ways: Sequence[Frame], boxes: Sequence[DrawnBox]) -> bool:
    """Return whether a size fits neither the stored nor the displayed picture until its width and height are swapped.

    It is not swapped if the boxes fit into the size as given but not into the swapped one.
    """
    other = size[::-1]
    sizes = [way.size for way in ways]
    if size in sizes or (other not in sizes and (_fits(size, sizes) or not _fits(other, sizes))):
        return False
    return _inside(boxes, other) or not _inside(boxes, size)


def _fits(size: Size, sizes: Sequence[Size | None]) -> bool:
    return any(_alike(other, size) for other in sizes)


def _alike(one: Size | None, other: Size | None) -> bool:
    """Return whether one size is the other scaled and rounded to whole pixels; an unknown size matches any."""
    if one is None or other is None:
        return True
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


def _inside(boxes: Sequence[DrawnBox], size: Size | None) -> bool:
    """Return whether all boxes lie inside a picture of a size, within one pixel."""
    width, height = size or (math.inf, math.inf)
    known = [box.corners for box in boxes if box.corners]
    return all(max(box[::2]) <= width + 1 and max(box[1::2]) <= height + 1 for box in known)


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def turn_box(box: Box, size: Size, orientation: int) -> Box:
    """Return a box of a picture of the given size after the picture is turned by an EXIF orientation (1 to 8)."""
    (x1, y1, x2, y2), (width, height) = box, size
    if orientation in (2, 3, 7, 8):
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 6, 7):
        y1, y2 = height - y2, height - y1
    return (y1, x1, y2, x2) if orientation > 4 else (x1, y1, x2, y2)


def repair_box(corners: Box | None, size: Size | None) -> tuple[Box | None, list[str]]:
    """Return a box ``(x1, y1, x2, y2)`` with its corners ordered and clipped to the picture, and the repairs made.

    It is None if nothing is left: it is not four numbers, has no area, or is completely outside. With an unknown size
    it is clipped only at zero.
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
    return normalise_unicode("NFC", "".join(words.split()))
