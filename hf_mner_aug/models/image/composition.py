"""Composition of a collage: windows of pictures around boxes or edges, their places in a scene, and the blending."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.posts.pictures import image_bytes, open_image, open_rgb
from hf_mner_aug.schema import Box, EncodedImage

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

Slot = tuple[float, float, float, float]


class Opened(NamedTuple):
    """A picture as RGB, and boxes in it."""

    picture: "PIL.Image.Image"
    boxes: tuple[Box, ...]


def open_reduced(image: EncodedImage, boxes: tuple[Box, ...], side: int) -> Opened:
    """Return a picture; a JPEG is decoded at the smallest scale with ``side`` pixels for its boxes, which is faster.

    Raises:
        DataError: it cannot be read or decoded, or has more pixels than Pillow's limit.
    """
    from PIL import Image

    data = image_bytes(image) or b""
    if not data.startswith(b"\xff\xd8"):
        return Opened(open_rgb(image), boxes)
    if boxes:
        left, top, right, bottom = bounds(boxes)
        try:
            longest = max(Image.open(io.BytesIO(data)).size)
        except (OSError, SyntaxError) as error:
            raise DataError(f"the image cannot be decoded: {error}") from error
        side = math.ceil(side * longest / max(right - left, bottom - top, 1))
        picture = open_image(image, at_least=side).convert("RGB")
        scale = max(picture.size) / longest
        return Opened(picture, tuple((a * scale, b * scale, c * scale, d * scale) for a, b, c, d in boxes))
    return Opened(open_image(image, at_least=side).convert("RGB"), ())


def bounds(boxes: Sequence[Box]) -> Box:
    """Return the bounding box of some boxes."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def cover(picture: "PIL.Image.Image", size: tuple[int, int]) -> "PIL.Image.Image":
    """Return the middle of a picture, scaled to fill a size (width, height)."""
    from PIL import Image, ImageOps

    return ImageOps.fit(picture, size, Image.Resampling.BICUBIC)


def backdrop(picture: "PIL.Image.Image", size: tuple[int, int]) -> "PIL.Image.Image":
    """Return a picture scaled to fill a size and blurred, so that only its colours can be recognised."""
    from PIL import Image, ImageFilter

    # A quarter is enough for a blur.
    quarter = cover(picture, (max(1, size[0] // 4), max(1, size[1] // 4)))
    return quarter.filter(ImageFilter.GaussianBlur(max(quarter.size) / 16)).resize(size, Image.Resampling.BICUBIC)


def edges(picture: "PIL.Image.Image", side: int = 64) -> "np.ndarray":
    """Return the edge strength of a picture reduced to ``side`` pixels on the longer side [height, width]."""
    import numpy as np
    from PIL import Image

    scale = side / max(picture.size)
    size = (max(8, round(picture.width * scale)), max(8, round(picture.height * scale)))
    small = picture.resize(size, Image.Resampling.BOX)
    grey = np.asarray(small.convert("L"), dtype=np.float32)
    change = np.zeros_like(grey)
    change[:, 1:] += np.abs(np.diff(grey, axis=1))
    change[1:] += np.abs(np.diff(grey, axis=0))
    return np.sqrt(change)


def busiest_window(picture: "PIL.Image.Image", ratio: float) -> Box:
    """Return the part of a picture with a ratio of width to height and the most edges near the middle."""
    import numpy as np

    weights = edges(picture)
    height, width = weights.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    weights = weights * np.exp(-(x**2) - (y + 0.1) ** 2)
    # Sums over all windows of a size, from cumulative sums.
    sums = np.pad(weights, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    best, found = -1.0, (0.0, 0.0, 1.0, 1.0)
    for share in (0.65, 0.8, 1.0):
        tall = min(height, width / ratio) * share
        h, w = max(1, round(tall)), min(width, max(1, round(tall * ratio)))
        inside = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
        value = float(inside.max()) / (h * w) ** 0.6  # exponent 0 would prefer whole pictures, 1 single edges
        if value > best:
            top, left = divmod(int(inside.argmax()), inside.shape[1])
            best, found = value, (left / width, top / height, (left + w) / width, (top + h) / height)
    return found[0] * picture.width, found[1] * picture.height, found[2] * picture.width, found[3] * picture.height


def window_around(boxes: Sequence[Box], picture: "PIL.Image.Image", ratio: float) -> Box:
    """Return the part of a picture around some boxes, with a margin, as close to a ratio as possible."""
    left, top, right, bottom = bounds(boxes)
    width, height = 1.16 * max(1.0, right - left), 1.16 * max(1.0, bottom - top)
    width, height = max(width, height * ratio), max(height, width / ratio)
    width, height = min(width, picture.width), min(height, picture.height)
    x = min(max(0.0, (left + right - width) / 2), picture.width - width)
    y = min(max(0.0, (top + bottom - height) / 2), picture.height - height)
    return x, y, x + width, y + height


# ---------------------------------------------------------------- places


def draw_slots(n: int, draw: Draw) -> list[Slot]:
    """Return places for n regions, as fractions of width and height: side by side, or four in a square."""
    if n == 1:
        left, top = 0.24 * draw.random(), 0.06 + 0.1 * draw.random()
        return [(left, top, left + 0.76, 1.0)]
    if n == 4:
        return [(0.0, 0.0, 0.56, 0.56), (0.44, 0.0, 1.0, 0.56), (0.0, 0.44, 0.56, 1.0), (0.44, 0.44, 1.0, 1.0)]
    width = (1 + 0.12 * (n - 1)) / n  # neighbours overlap by an eighth of the picture
    lefts = [i * (1 - width) / (n - 1) for i in range(n)]
    return [(left, 0.02 + 0.2 * draw.random(), left + width, 1.0) for left in lefts]


def calm_slots(scene: "PIL.Image.Image", n: int) -> list[Slot]:
    """Return n corners of a picture, those with the fewest edges first."""
    change = edges(scene)
    height, width = change.shape
    corners = [(0.0, 0.48, 0.46, 1.0), (0.54, 0.48, 1.0, 1.0), (0.0, 0.0, 0.46, 0.52), (0.54, 0.0, 1.0, 0.52)]

    def edges_in(slot: Slot) -> float:
        left, top, right, bottom = slot
        part = change[int(top * height) : math.ceil(bottom * height), int(left * width) : math.ceil(right * width)]
        return float(part.mean())

    return sorted(corners, key=edges_in)[:n]


def compose(scene: "PIL.Image.Image", regions: Sequence[Opened], slots: Sequence[Slot]) -> "PIL.Image.Image":
    """Return the scene with a region in each slot, blended in two bands of frequency.

    Burt & Adelson 1983: colours are blended over half of a region's sides and details over a sixth, which hides the
    seams and adapts the region's colours to the scene. There is no blending along the frame.
    """
    import numpy as np
    from PIL import Image

    canvas = np.array(scene, dtype=np.float32)
    height, width, _ = canvas.shape
    for (picture, boxes), slot in zip(regions, slots, strict=True):
        left, top, right, bottom = (round(at * n) for at, n in zip(slot, (width, height, width, height), strict=True))
        ratio = max(1, right - left) / max(1, bottom - top)
        window = window_around(boxes, picture, ratio) if boxes else busiest_window(picture, ratio)
        size = _fitted((window[2] - window[0], window[3] - window[1]), (right - left, bottom - top))
        x = (
            left
            if left == 0 and right < width
            else right - size[0]
            if right == width
            else (left + right - size[0]) // 2
        )
        y = top if top == 0 and bottom < height else bottom - size[1]
        pasted = picture.resize(size, Image.Resampling.BICUBIC, box=window, reducing_gap=2)
        under = canvas[y : y + size[1], x : x + size[0]]
        borders = (x > 0, y > 0, x + size[0] < width, y + size[1] < height)
        change = np.asarray(pasted, dtype=np.float32) - under
        colours = _low(pasted) - _low(Image.fromarray(under.round().astype(np.uint8)))
        under += _mask(size, borders, 0.5) * colours + _mask(size, borders, 0.17) * (change - colours)
        np.clip(under, 0, 255, out=under)
    return Image.fromarray(canvas.round().astype(np.uint8))


def _fitted(size: tuple[float, float], room: tuple[int, int]) -> tuple[int, int]:
    """Return a size scaled to fit into the room."""
    scale = min(room[0] / size[0], room[1] / size[1])
    return max(1, min(room[0], round(size[0] * scale))), max(1, min(room[1], round(size[1] * scale)))


def _low(picture: "PIL.Image.Image") -> "np.ndarray":
    """Return a picture's low frequencies [height, width, 3]."""
    import numpy as np
    from PIL import ImageFilter

    return np.asarray(picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 12)), dtype=np.float32)


def _mask(size: tuple[int, int], borders: tuple[bool, bool, bool, bool], soft: float) -> "np.ndarray":
    """Return weights [height, width, 1] that rise from 0 to 1 inwards from each border, over a share of the side."""
    import numpy as np

    def rise(n: int, before: bool, after: bool) -> "np.ndarray":
        at = (np.arange(n, dtype=np.float32) + 0.5) / n
        inside = np.ones_like(at)
        reach = np.minimum(at if before else inside, 1 - at if after else inside) / soft
        part = np.clip(reach, 0, 1)
        return part * part * (3 - 2 * part)

    left, top, right, bottom = borders
    return (rise(size[1], top, bottom)[:, None] * rise(size[0], left, right))[..., None]
