"""Pixels of a post's pictures: opened in any mode, mixed, and written with a mark that says they are synthetic.

Marks are IPTC's ``DigitalSourceType`` in an XMP packet, which JPEG and PNG both carry.
"""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hf_mner_aug.posts.hygiene import eight_bits, image_bytes, open_image
from hf_mner_aug.schema import EncodedImage

if TYPE_CHECKING:
    import PIL.Image

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


def picture_source(image: EncodedImage) -> str | None:
    """Return the ``DigitalSourceType`` that an encoded picture carries, without its URL; None if it has none."""
    data = image_bytes(image) or b""
    found = re.search(rb"DigitalSourceType\W+" + re.escape(_IPTC.encode()) + rb"(\w+)", data)
    return found[1].decode() if found else None
