"""Pixels in and out: any mode comes as RGB, mixes are exact, what is written says that it was made."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from picture_marks import picture_source
from PIL import Image

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.posts.pictures import mix_images, open_rgb, write_picture


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return {"bytes": file.getvalue(), "path": f"77.{kind.lower()}"}


def test_transparent_pixels_lie_on_white():
    picture = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    picture.putpixel((1, 0), (200, 0, 0, 0))
    assert np.asarray(open_rgb(encoded(picture))).tolist() == [[[200, 0, 0], [255, 255, 255]]]


def test_a_palette_with_a_transparent_colour_lies_on_white():
    picture = Image.new("P", (1, 1), 1)
    picture.putpalette([0, 0, 0, 9, 9, 9])
    assert open_rgb(encoded(picture, transparency=1)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "colour"), [("L", 128), ("CMYK", (0, 0, 0, 127)), ("1", 1), ("LA", (128, 255))])
def test_other_modes_come_as_rgb(mode, colour):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    picture = open_rgb(encoded(Image.new(mode, (8, 8), colour), kind))
    assert picture.mode == "RGB"
    assert len({*picture.getpixel((4, 4))}) == 1


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.array([[0, 32896, 65535]], dtype=np.uint16)
    picture = open_rgb(encoded(Image.fromarray(values)))
    assert [picture.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    image = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_rgb(image).getpixel((0, 0)) == (255, 0, 0)


def test_what_is_no_picture_is_said():
    with pytest.raises(DataError, match="no format that Pillow knows"):
        open_rgb({"bytes": b"<html>not found</html>", "path": None})


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 0.731, 1.0])
def test_mix_is_float_arithmetic_rounded(weight):
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    mixed = np.asarray(mix_images(Image.fromarray(first), Image.fromarray(second), weight))
    exact = weight * first.astype(np.float64) + (1 - weight) * second.astype(np.float64)
    assert np.abs(mixed - exact).max() <= 0.5001
    if weight in (0.0, 1.0):
        assert np.array_equal(mixed, first if weight else second)


def test_mix_resizes_the_second_to_the_first():
    mixed = mix_images(Image.new("RGB", (30, 20), "black"), Image.new("RGB", (7, 9), (100, 100, 100)), 0.5)
    assert mixed.size == (30, 20)
    assert mixed.getpixel((15, 10)) == (50, 50, 50)
    with pytest.raises(ValueError, match=r"1\.2"):
        mix_images(mixed, mixed, 1.2)


@pytest.mark.parametrize(("kind", "ending"), [("PNG", ".png"), ("JPEG", ".jpg"), ("GIF", ".jpg")])
def test_a_written_picture_says_what_made_it(kind, ending):
    before = encoded(Image.new("RGB", (16, 16), (10, 200, 30)), kind)
    assert picture_source(before) is None
    after = write_picture(open_rgb(before), "compositeCapture", like=before)
    assert picture_source(after) == "compositeCapture"
    assert after["path"] == "77" + ending
    picture = Image.open(io.BytesIO(after["bytes"]))
    packet = picture.info["xmp"].decode().partition("?>")[2].rpartition("<?")[0]
    description = next(ElementTree.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"))
    source = description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert source == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeCapture"
    assert np.abs(np.asarray(open_rgb(after), dtype=int) - (10, 200, 30)).max() <= 2
    assert write_picture(open_rgb(before), "trainedAlgorithmicMedia")["path"] is None
