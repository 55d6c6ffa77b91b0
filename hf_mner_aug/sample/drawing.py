"""The pictures of the drawn sample set: people, places, emblems and things, as flat shapes.

Every thing is drawn with polygons in coordinates from -1 to 1, so that only the ``Pen`` decides place, size, tilt and
mirroring, and in random colours that are independent of the thing. A picture is the same on any machine: no font, no
compression (PNG with stored blocks, so that file sizes reveal nothing either).
"""

import math
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_mner_aug.draw import Draw
from hf_mner_aug.schema import Box

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
Point = tuple[float, float]

SIZES = ((112, 112), (128, 96), (96, 128))
_SCALE = 3  # drawn this much larger and then averaged, which anti-aliases the edges
_TURN = [(round(math.cos(i * math.pi / 16), 6), round(math.sin(i * math.pi / 16), 6)) for i in range(32)]

# Capital letters as strokes over the points abc/def/ghi.
_STROKES = {
    **{"A": "gbi|df", "B": "acedeiga|de", "C": "cagi", "D": "abfhga", "E": "cagi|de", "F": "cag|de", "G": "cagife"},
    **{"H": "ag|ci|df", "I": "bh", "J": "cihd", "K": "ag|cdi", "L": "agi", "M": "gaeci", "N": "gaic", "O": "aciga"},
    **{"P": "gacfd", "Q": "aciga|ei", "R": "gacfdi", "S": "cadfig", "T": "ac|bh", "U": "agic", "V": "ahc"},
    **{"W": "ageic", "X": "ai|cg", "Y": "aec|eh", "Z": "acgi"},
}


class Pen:
    """Collects the shapes of a thing in its own coordinates (x to the right, y down), then paints them in a place."""

    def __init__(self, colours: Sequence[Colour], hand: int) -> None:
        self.main, self.second, self.ink = colours
        self.hand = hand  # -1 mirrors
        self._shapes: list[tuple[list[Point], float, Colour]] = []

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """Add a filled polygon, which gets an outline."""
        self._shapes.append((list(points), 0.0, fill))

    def rectangle(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Add a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)

    def ellipse(self, x: float, y: float, across: float, down: float, fill: Colour) -> None:
        """Add an ellipse about (x, y) with half axes ``across`` and ``down``."""
        self.polygon([(x + across * cos, y + down * sin) for cos, sin in _TURN], fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Add a thick line with round ends."""
        self._shapes.append((list(points), width, fill))

    def paint(self, canvas: "Image", draw: Draw, cell: tuple[float, float, float, float], size: float) -> Box:
        """Paint the thing somewhere in a cell (left, top, width, height) and return its box, both in canvas pixels.

        All things cover an area of about ``size`` squared; wide and tall ones are squeezed half way to a square.
        """
        from PIL import ImageDraw

        tilt = 0.12 * (2 * draw.random() - 1)
        shapes = []
        for points, width, fill in self._shapes:
            turned = [(x * self.hand - tilt * y, y + tilt * x * self.hand) for x, y in points]
            shapes.append((turned, width, fill))
        xs = [x + side * width / 2 for points, width, _ in shapes for x, _ in points for side in (-1, 1)]
        ys = [y + side * width / 2 for points, width, _ in shapes for _, y in points for side in (-1, 1)]
        left, top, natural_width, natural_height = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
        press = (natural_width / natural_height) ** 0.25
        width, height = size * press, size / press
        across, down = width / natural_width, height / natural_height
        x0 = cell[0] + (cell[2] - width) * draw.random()
        y0 = cell[1] + (cell[3] - height) * draw.random()
        pen = ImageDraw.Draw(canvas)
        for points, thickness, fill in shapes:
            pixels = [(round(x0 + (x - left) * across), round(y0 + (y - top) * down)) for x, y in points]
            if not thickness:
                pen.polygon(pixels, fill)
                pen.line([*pixels, pixels[0], pixels[1]], self.ink, _SCALE, joint="curve")
                continue
            thick = max(2, round(thickness * (across + down) / 2))
            pen.line(pixels, fill, thick, joint="curve")
            for x, y in (pixels[0], pixels[-1]):
                pen.ellipse((x - thick // 2, y - thick // 2, x + thick // 2, y + thick // 2), fill)
        return x0, y0, x0 + width, y0 + height


# ---------------------------------------------------------------- people


def portrait(pen: Pen, draw: Draw, name: str) -> None:
    """Draw a face with shoulders."""
    hair = draw.choice(("short", "long", "bun", "bald", "hat"))
    if hair == "long":
        pen.ellipse(0, -0.1, 0.56, 0.78, pen.ink)
    elif hair == "bun":
        pen.ellipse(0, -0.86, 0.2, 0.16, pen.ink)
    pen.polygon([(-0.85, 1), (-0.75, 0.62), (-0.2, 0.42), (0.2, 0.42), (0.75, 0.62), (0.85, 1)], pen.main)
    pen.polygon([(-0.15, 0.2), (0.15, 0.2), (0.17, 0.5), (0, 0.62), (-0.17, 0.5)], pen.second)
    pen.ellipse(0, -0.2, 0.42, 0.55, pen.second)
    if hair == "hat":
        pen.rectangle(-0.36, -0.98, 0.36, -0.55, pen.main)
        pen.rectangle(-0.62, -0.6, 0.62, -0.48, pen.main)
    elif hair != "bald":
        pen.polygon([(0.42 * c, -0.2 + 0.57 * s) for c, s in _TURN[17:32]] + [(0.2, -0.5), (-0.25, -0.5)], pen.ink)
    for side in (-0.17, 0.17):
        pen.ellipse(side, -0.22, 0.055, 0.06, pen.ink)
        if hair == "bald":  # eyebrows
            pen.line([(side - 0.09, -0.36), (side + 0.09, -0.36)], 0.05, pen.ink)
    if draw.random() < 0.3:  # glasses
        for side in (-0.17, 0.17):
            ring = [(side + 0.14 * c, -0.22 + 0.12 * s) for c, s in _TURN]
            pen.line([*ring, ring[0]], 0.04, pen.ink)
    pen.line([(0, -0.16), (0.05, -0.04), (-0.02, -0.04)], 0.035, pen.ink)
    smile = 0.05 + 0.07 * draw.random()
    pen.line([(-0.17, 0.1), (-0.08, 0.1 + smile), (0.08, 0.1 + smile), (0.17, 0.1)], 0.05, pen.ink)


def figure(pen: Pen, draw: Draw, name: str) -> None:
    """Draw a person from head to foot."""
    left, right = draw.choice(((0.3, 0.3), (-0.75, 0.3), (-0.75, -0.75), (-0.15, 0.3), (0.3, -0.4)))
    stride = 0.12 + 0.2 * draw.random()
    if draw.random() < 0.4:  # a dress over bare legs
        for side in (-0.12, 0.12):
            pen.line([(side, 0.4), (side * 1.2, 0.95)], 0.13, pen.second)
        pen.polygon([(-0.2, -0.42), (0.2, -0.42), (0.42, 0.5), (-0.42, 0.5)], pen.main)
    else:
        for side in (-1, 1):
            pen.line([(side * 0.12, 0.1), (side * stride, 0.92), (side * stride + 0.1, 0.95)], 0.2, pen.ink)
        pen.polygon([(-0.28, -0.45), (0.28, -0.45), (0.22, 0.2), (-0.22, 0.2)], pen.main)
    for side, hand in ((-1, left), (1, right)):
        elbow = (side * 0.48, -0.15 if hand > -0.3 else -0.4)
        pen.line([(side * 0.27, -0.38), elbow, (side * 0.52, hand)], 0.15, pen.main)
        pen.ellipse(side * 0.52, hand, 0.08, 0.08, pen.second)
    pen.ellipse(0, -0.7, 0.22, 0.26, pen.second)
    hair = [(0.23 * c, -0.72 + 0.26 * s) for c, s in _TURN[16:32]]
    pen.polygon([*hair, (0.23, -0.72), (0.05, -0.8), (-0.23, -0.72)], pen.ink)


# ---------------------------------------------------------------- places


def skyline(pen: Pen, draw: Draw, name: str) -> None:
    """Draw towers with windows."""
    edges = [-1.0]
    while edges[-1] < 0.8:
        edges.append(min(1.0, edges[-1] + 0.28 + 0.2 * draw.random()))
    highest = draw.integer(len(edges) - 1)
    for i in range(len(edges) - 1):
        left, right = edges[i], edges[i + 1]
        top = -0.75 if i == highest else 0.5 - 0.9 * draw.random()
        fill = draw.choice((pen.main, pen.second))
        if i == highest:
            pen.line([((left + right) / 2, top), ((left + right) / 2, -1)], 0.05, pen.ink)
        elif draw.random() < 0.3:
            pen.polygon([(left, top), ((left + right) / 2, top - 0.22), (right, top)], fill)
        pen.rectangle(left, top, right, 0.92, fill)
        for row in range(int((0.85 - top) / 0.22)):
            for x in ((2 * left + right) / 3, (left + 2 * right) / 3):
                y = top + 0.15 + 0.22 * row
                pen.line([(x, y - 0.03), (x, y + 0.03)], 0.07, pen.ink)
    pen.rectangle(-1, 0.9, 1, 1, pen.ink)


def mountains(pen: Pen, draw: Draw, name: str) -> None:
    """Draw snowy peaks under a sun, with firs."""
    pen.ellipse(0.62, -0.68, 0.22, 0.22, pen.second)
    for x, top, wide in ((0.45, -0.35 - 0.2 * draw.random(), 0.55), (-0.35, -0.75 - 0.2 * draw.random(), 0.65)):
        pen.polygon([(x - wide, 0.7), (x, top), (x + wide, 0.7)], pen.main)
        cut = 0.33
        rim = top + cut * (0.7 - top)
        snow = [(x - wide * cut, rim), (x, top), (x + wide * cut, rim), (x + 0.08, rim - 0.12), (x - 0.05, rim + 0.05)]
        pen.polygon(snow, pen.second)
    pen.polygon([(-1, 0.65), (-0.3, 0.55), (0.4, 0.66), (1, 0.58), (1, 1), (-1, 1)], pen.ink)
    for i in range(4):
        x = -0.8 + 0.5 * i + 0.1 * draw.random()
        pen.polygon([(x - 0.14, 0.85), (x, 0.38), (x + 0.14, 0.85)], pen.main)


def village(pen: Pen, draw: Draw, name: str) -> None:
    """Draw houses around a steeple."""
    steeple = draw.choice((-0.5, 0.0, 0.5))
    pen.rectangle(steeple - 0.16, -0.35, steeple + 0.16, 0.9, pen.main)
    pen.polygon([(steeple - 0.2, -0.35), (steeple, -1), (steeple + 0.2, -0.35)], pen.second)
    for x in (-0.68, 0.02, 0.68):
        top = 0.15 + 0.25 * draw.random()
        pen.rectangle(x - 0.3, top, x + 0.3, 0.9, draw.choice((pen.main, pen.second)))
        pen.polygon([(x - 0.38, top), (x, top - 0.36), (x + 0.38, top)], pen.ink)
        pen.rectangle(x - 0.07, 0.62, x + 0.07, 0.9, pen.ink)
        for side in (-0.18, 0.18):
            pen.line([(x + side, top + 0.14), (x + side, top + 0.2)], 0.09, pen.ink)
    pen.rectangle(-1, 0.9, 1, 1, pen.ink)


# ---------------------------------------------------------------- organisations


def emblem(pen: Pen, draw: Draw, name: str) -> None:
    """Draw a badge with the initials of the name."""
    kind = draw.choice(("disc", "shield", "square", "hexagon"))
    outlines: dict[str, list[Point]] = {
        "disc": list(_TURN),
        "shield": [(-0.85, -1), (0.85, -1), (0.85, 0.15), (0.5, 0.7), (0, 1), (-0.5, 0.7), (-0.85, 0.15)],
        "square": [(-0.7, -1), (0.7, -1), (1, -0.7), (1, 0.7), (0.7, 1), (-0.7, 1), (-1, 0.7), (-1, -0.7)],
        "hexagon": [(-0.55, -0.95), (0.55, -0.95), (1, 0), (0.55, 0.95), (-0.55, 0.95), (-1, 0)],
    }
    outline = outlines[kind]
    pen.polygon(outline, pen.ink)
    pen.polygon([(0.9 * x, 0.9 * y) for x, y in outline], pen.second)
    pen.polygon([(0.78 * x, 0.78 * y) for x, y in outline], pen.main)
    initials = [word[0] for word in name.upper().split() if word[0] in _STROKES and word != "THE"][:2] or ["O"]
    if len(initials) == 1:
        letter(pen, initials[0], (0, -0.02), 0.42)
    else:
        letter(pen, initials[0], (-0.31, -0.02), 0.3)
        letter(pen, initials[1], (0.31, -0.02), 0.3)


def letter(pen: Pen, char: str, centre: Point, size: float) -> None:
    """Draw a capital letter; the pen's mirroring is undone, so that it can be read."""
    for stroke in _STROKES[char].split("|"):
        points = []
        for point in stroke:
            row, column = divmod(ord(point) - ord("a"), 3)
            across = centre[0] + 0.75 * size * (column - 1)
            points.append((across * pen.hand, centre[1] + size * (row - 1)))
        pen.line(points, 0.36 * size, pen.ink)


# ---------------------------------------------------------------- things


def mug(pen: Pen, draw: Draw, name: str) -> None:
    """Draw a mug that steams."""
    ring = [(0.55 + 0.36 * c, 0.25 + 0.36 * s) for c, s in _TURN]
    pen.line([*ring, ring[0]], 0.2, pen.ink)
    pen.line([*ring, ring[0]], 0.1, pen.main)
    pen.polygon([(-0.8, -0.3), (0.5, -0.3), (0.42, 0.95), (-0.72, 0.95)], pen.main)
    pen.ellipse(-0.15, -0.3, 0.65, 0.16, pen.second)
    pen.rectangle(-0.7, 0.25, 0.4, 0.5, pen.second)
    for x in (-0.45, -0.1, 0.25):
        pen.line([(x, -0.5), (x + 0.1, -0.64), (x - 0.05, -0.8), (x + 0.06, -0.97)], 0.06, pen.ink)


def car(pen: Pen, draw: Draw, name: str) -> None:
    """Draw a car from the side."""
    roof = -0.55 - 0.15 * draw.random()
    pen.polygon([(-0.65, -0.08), (-0.38, roof), (0.28, roof), (0.62, -0.08)], pen.main)
    pen.polygon([(-0.48, -0.1), (-0.3, roof + 0.12), (-0.06, roof + 0.12), (-0.06, -0.1)], pen.second)
    pen.polygon([(0.04, -0.1), (0.04, roof + 0.12), (0.22, roof + 0.12), (0.44, -0.1)], pen.second)
    pen.polygon([(-1, 0), (-0.7, -0.1), (0.7, -0.1), (0.98, 0.1), (1, 0.45), (-1, 0.45)], pen.main)
    pen.line([(-0.02, 0), (-0.02, 0.4)], 0.03, pen.ink)
    for x in (-0.55, 0.55):
        pen.ellipse(x, 0.45, 0.26, 0.28, pen.ink)
        pen.ellipse(x, 0.45, 0.12, 0.13, pen.second)
    pen.ellipse(0.9, 0.16, 0.07, 0.08, pen.second)


def phone(pen: Pen, draw: Draw, name: str) -> None:
    """Draw a mobile phone."""
    corners = [(-0.42, -1), (0.42, -1), (0.5, -0.92), (0.5, 0.92), (0.42, 1), (-0.42, 1), (-0.5, 0.92), (-0.5, -0.92)]
    pen.polygon(corners, pen.ink)
    pen.rectangle(-0.4, -0.78, 0.4, 0.7, pen.main)
    for row in range(3):
        for column in range(3):
            if draw.random() < 0.85:
                x, y = -0.26 + 0.26 * column, -0.55 + 0.34 * row
                pen.rectangle(x - 0.08, y - 0.09, x + 0.08, y + 0.09, pen.second)
    pen.line([(-0.25, 0.52), (0.25, 0.52)], 0.12, pen.second)
    pen.ellipse(0, 0.85, 0.08, 0.08, pen.second)


def guitar(pen: Pen, draw: Draw, name: str) -> None:
    """Draw a guitar, leaning."""
    lean = 0.35 + 0.2 * draw.random()
    neck, bridge_end = (lean, -0.9), (-0.6 * lean, 0.7)
    pen.ellipse(-0.5 * lean, 0.58, 0.5, 0.42, pen.main)
    pen.ellipse(-0.1 * lean, 0.08, 0.36, 0.32, pen.main)
    pen.line([(-0.35 * lean, 0.38), (-0.2 * lean, 0.2)], 0.5, pen.main)
    pen.ellipse(-0.3 * lean, 0.3, 0.17, 0.16, pen.ink)
    pen.line([bridge_end, neck], 0.17, pen.ink)
    pen.line([(bridge_end[0], 0.6), neck], 0.06, pen.second)
    pen.line([(bridge_end[0] - 0.22, 0.66), (bridge_end[0] + 0.22, 0.74)], 0.09, pen.ink)
    pen.polygon([(lean - 0.14, -0.78), (lean + 0.02, -1), (lean + 0.24, -0.96), (lean + 0.14, -0.72)], pen.second)


THINGS = {
    "PER": (portrait, figure),
    "LOC": (skyline, mountains, village),
    "ORG": (emblem,),
    "MISC": (mug, car, phone, guitar),
}


# ---------------------------------------------------------------- pictures


def picture(draw: Draw, shown: Sequence[tuple[str, str]]) -> tuple["Image", list[Box]]:
    """Return a picture of things given as (type, name), at most four, and the box of each in pixels."""
    width, height = draw.sub("size").choice(SIZES)
    background, *colours = palette(draw.sub("colours"))
    canvas = _background(draw.sub("background"), background, width * _SCALE, height * _SCALE)
    boxes: list[Box] = []
    cells = _cells(draw.sub("cells"), len(shown), wide=width > height)
    for i, ((kind, name), (left, top, across, down)) in enumerate(zip(shown, cells, strict=False)):
        place, thing = draw.sub("place", i), draw.sub("thing", i)
        if i:
            _, *colours = palette(draw.sub("colours", i), background)
        pen = Pen(colours, place.choice((-1, 1)))
        thing.choice(THINGS[kind])(pen, thing, name)
        cell = (left * canvas.width, top * canvas.height, across * canvas.width, down * canvas.height)
        share = 0.74 + 0.14 * place.random() if len(shown) == 1 else 0.8 + 0.08 * place.random()
        box = pen.paint(canvas, place, cell, share * min(cell[2:]))
        x1, y1, x2, y2 = (float(round(edge / _SCALE)) for edge in box)
        boxes.append((max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)))
    return canvas.reduce(_SCALE), boxes


def palette(draw: Draw, background: Colour | None = None) -> list[Colour]:
    """Return four colours that differ in brightness: background, main, second and ink.

    A palette is as likely as its complement, so brightness reveals nothing about the thing.
    """
    ground = background or _colour(draw)
    while True:
        colours = [ground]
        for distance in (45, 35, 50):
            for _ in range(12):
                colour = _colour(draw)
                if all(abs(_brightness(colour) - _brightness(other)) > distance for other in colours):
                    colours.append(colour)
                    break
        if len(colours) == 4:
            return colours


def png(image: "Image") -> bytes:
    """Return an RGB image as a PNG without compression: the same bytes with any zlib."""
    width, height = image.size
    pixels = image.tobytes()
    rows = b"".join(b"\0" + pixels[y * width * 3 : (y + 1) * width * 3] for y in range(height))
    parts = [rows[i : i + 65535] for i in range(0, len(rows), 65535)]
    stored = b"".join(
        struct.pack("<BHH", i == len(parts) - 1, len(part), 65535 - len(part)) + part for i, part in enumerate(parts)
    )
    data = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _colour(draw: Draw) -> Colour:
    """Return a random colour."""
    return draw.integer(256), draw.integer(256), draw.integer(256)


def _brightness(colour: Colour) -> float:
    """Return how bright a colour looks, 0 to 255."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _background(draw: Draw, colour: Colour, width: int, height: int) -> "Image":
    """Return a canvas of soft patches around a colour, with faint shapes."""
    from PIL import Image, ImageDraw

    def near(spread: int) -> Colour:
        red, green, blue = (max(0, min(255, c + draw.integer(2 * spread + 1) - spread)) for c in colour)
        return red, green, blue

    patches = Image.new("RGB", (3, 3))
    for i in range(9):
        patches.putpixel((i % 3, i // 3), near(28))
    soft = patches.resize((width // _SCALE, height // _SCALE), Image.Resampling.BILINEAR)
    canvas = soft.resize((width, height), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(canvas)
    for _ in range(3 + draw.integer(4)):
        x, y, size = draw.integer(width), draw.integer(height), width // 12 + draw.integer(width // 6)
        if draw.random() < 0.5:
            pen.ellipse((x - size, y - size, x + size, y + size), near(20))
        else:
            corners = [(x + draw.integer(2 * size) - size, y + draw.integer(2 * size) - size) for _ in range(4)]
            pen.polygon(corners, near(20))
    return canvas


def _cells(draw: Draw, n: int, wide: bool) -> list[tuple[float, float, float, float]]:
    """Return at least n places for things: left, top, width and height as shares of the picture."""
    if n <= 1:
        return [(0.0, 0.0, 1.0, 1.0)]
    if n == 2:
        halves = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 0.5, 1.0)] if wide else [(0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 0.5)]
        return draw.shuffled(halves)
    return draw.shuffled([(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5), (0.5, 0.0, 0.5, 0.5), (0.0, 0.5, 0.5, 0.5)])
