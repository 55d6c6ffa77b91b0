"""Pixels of a post's pictures: opened in any mode, mixed, and written with a mark that says they are synthetic.

Marks are IPTC's ``DigitalSourceType`` in an XMP packet, which JPEG and PNG both carry.
"""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.schema import EncodedImage

if TYPE_CHECKING:
    import PIL.Image

# Pictures are opened in these formats only; for some others (PostScript) Pillow would run a program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# https://cv.iptc.org/newscodes/digitalsourcetype/
Source = Literal[
    "trainedAlgorithmicMedia",  # a generative model made it
    "compositeWithTrainedAlgorithmicMedia",  # a mix with a generative model's picture
    "compositeCapture",  # a mix or collage of photographs
]
MIXED: dict[Source, Source] = {  # the mix of a made picture and an original
    "trainedAlgorithmicMedia": "compositeWithTrainedAlgorithmicMedia",
    "compositeCapture": "compositeCapture",
}
JPEG_QUALITY = 95
TAKEN = "of several frames the first, of more than 8 bits a channel 8"  # what ``open_rgb`` takes, for cards
ROWS = 16  # of pixels mixed at a time: they fit the processor's cache
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{uri}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def image_bytes(image: EncodedImage) -> bytes | None:
    """Return the bytes of an encoded image, or None if it holds none; a path is only a name, and never read."""
    return image["bytes"]


def image_digest(image: EncodedImage) -> str | None:
    """Return the SHA-256 of an encoded image's bytes, or None if it holds none."""
    data = image_bytes(image)
    return None if data is None else hashlib.sha256(data).hexdigest()


def is_marked(image: EncodedImage) -> bool:
    """Return whether an encoded image is marked as made, or mixed, by ``write_picture``."""
    data = image_bytes(image) or b""
    return any((_IPTC + source).encode() in data for source in (*MIXED, *MIXED.values()))


class Decoded(NamedTuple):
    """A picture as it is displayed, and how it differs from its file.

    ``orientation`` is the EXIF orientation (1 to 8) by which it was turned; ``animated`` and ``deep`` say that the file
    has more frames than the one taken, and more than 8 bits per channel.
    """

    picture: "PIL.Image.Image"
    orientation: int = 1
    animated: bool = False
    deep: bool = False


def open_image(image: EncodedImage, *, at_least: int | None = None) -> "PIL.Image.Image":
    """Return the decoded picture, turned by its EXIF; ``at_least`` (pixels) allows a smaller JPEG, which is faster.

    Raises:
        DataError: it cannot be read or decoded, or has more pixels than Pillow's limit.
    """
    return decode_image(image, at_least=at_least).picture


def decode_image(image: EncodedImage, *, at_least: int | None = None) -> Decoded:
    """Return the picture of ``open_image``, and how it differs from its file; raises as ``open_image``."""
    from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

    try:
        data = image_bytes(image)
        if data is None:
            raise DataError("the image has no bytes" + " and the file that it names is not read" * bool(image["path"]))
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and picture.width * picture.height > limit:
            raise DataError(f"the image has {picture.width}x{picture.height} pixels, over Pillow's limit of {limit}")
        # Several images of one photograph (MPO) are no animation.
        animated = picture.format != "MPO" and getattr(picture, "is_animated", False)
        deep = picture.mode.startswith(("I", "F")) or ";16" in str(getattr(picture, "tile", ""))
        if at_least is not None:
            picture.draft("RGB", (max(1, at_least), max(1, at_least)))
        tag = picture.getexif().get(ExifTags.Base.Orientation, 1)  # a TIFF loses it on loading
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
    except UnidentifiedImageError as error:
        raise DataError("the image is in no format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"the image is over Pillow's limit of pixels: {error}") from error
    except (
        # what Pillow's readers raise for a broken file
        OSError,
        EOFError,
        LookupError,
        SyntaxError,
        TypeError,
        ValueError,
        OverflowError,
        struct.error,
        zlib.error,
    ) as error:
        raise DataError(f"the image cannot be decoded: {error}") from error
    return Decoded(picture, next((n for n in range(2, 9) if n == tag), 1), animated, deep)


def eight_bits(picture: "PIL.Image.Image") -> "PIL.Image.Image":
    """Return a picture of 16 bits or more, which Pillow would clip at 255, scaled to 8; any other unchanged.

    Raises:
        DataError: it holds NaN or infinity.
    """
    import numpy as np
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError("the image holds NaN or infinity")
    # Pillow opens files of 16 bits with 16 or 32: values over 8 bits are scaled by the depth they need.
    top = values.max(initial=0)
    scale = 255.0 if 0 < top <= 1 and picture.mode == "F" else 1.0 if top <= 255 else 255 / 65535
    grey = np.clip(values * scale, 0, 255).round().astype(np.uint8)
    return Image.fromarray(grey)


def open_rgb(image: EncodedImage) -> "PIL.Image.Image":
    """Return an encoded picture as RGB: the first frame, turned by its EXIF, transparent parts on white.

    Raises:
        DataError: it cannot be read or decoded, or has more pixels than Pillow's limit.
    """
    from PIL import Image

    picture = open_image(image)
    if picture.mode.startswith(("I", "F")):
        return eight_bits(picture).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def mix_images(first: "PIL.Image.Image", second: "PIL.Image.Image", weight: float) -> "PIL.Image.Image":
    """Return ``weight * first + (1 - weight) * second``, the second resized to the first: float arithmetic, rounded.

    Raises:
        ValueError: the weight is not in [0, 1].
    """
    import numpy as np
    from PIL import Image

    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be in [0, 1], found {weight}")
    if second.size != first.size:
        second = second.resize(first.size, Image.Resampling.BICUBIC)
    pixels, others = np.asarray(first), np.asarray(second)
    mixed = np.empty_like(pixels)
    for top in range(0, len(pixels), ROWS):
        other = others[top : top + ROWS].astype(np.float32)
        rows = pixels[top : top + ROWS] - other
        rows *= weight
        rows += other
        rows += 0.5
        mixed[top : top + ROWS] = rows
    return Image.fromarray(mixed)


def write_picture(picture: "PIL.Image.Image", source: Source, *, like: EncodedImage | None = None) -> EncodedImage:
    """Return an RGB picture as encoded bytes, marked with its source; PNG if ``like`` is one, else JPEG.

    The name is that of ``like`` with the suffix of the new format.
    """
    from PIL.PngImagePlugin import PngInfo

    packet = _XMP.format(uri=_IPTC + source)
    file = io.BytesIO()
    data = like and image_bytes(like)
    if data and data.startswith(b"\x89PNG"):
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet)
        picture.save(file, "PNG", pnginfo=text, compress_level=4)
        ending = ".png"
    else:
        picture.save(file, "JPEG", quality=JPEG_QUALITY, xmp=packet.encode())
        ending = ".jpg"
    path = like["path"] if like else None
    return {"bytes": file.getvalue(), "path": path and Path(path).stem + ending}
