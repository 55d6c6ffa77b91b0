"""Boxes on pictures that EXIF turns, sizes that are swapped, objects without a box; tiny, deep and moving pictures."""

import io
import json
import warnings

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image

from hf_mner_aug import AMIA, MixGen
from hf_mner_aug.columns.validation import validate
from hf_mner_aug.conversion import convert
from hf_mner_aug.draw import draw
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.methods.gmda.pictures import with_pictures
from hf_mner_aug.methods.mixgen import mix_posts, moved
from hf_mner_aug.models.image.collage import Collage
from hf_mner_aug.posts.hygiene import _look
from hf_mner_aug.posts.pictures import decode_image, mix_images, open_rgb, write_picture
from hf_mner_aug.readers import read
from hf_mner_aug.schema import Codec, Entity, Post
from hf_mner_aug.storage.posts import save_posts

STORED = (60, 40)
CORNER = (0, 0, 16, 8)  # red on blue, in pixels as stored
KINDS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}


def turned(orientation, kind="JPEG", size=STORED, corner=CORNER):
    """Return a picture's bytes: blue with a red corner, both as stored, and an EXIF orientation."""
    pixels = Image.new("RGB", size, "blue")
    pixels.paste("red", corner)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    pixels.save(file, kind, exif=exif, **options)
    return file.getvalue()


def voc(*objects, size=STORED):
    sides = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation>{sides}{''.join(objects)}</annotation>"


def thing(box, name="Adele"):
    corners = "".join(f"<{k}>{n}</{k}>" for k, n in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def grounded(folder, files, drawings, word="Adele"):
    """Write a GMNER set: a post for each XML file (by name) and pictures; return how it reads."""
    for place in ("txt", "xml", "images"):
        (folder / place).mkdir(parents=True)
    names = dict.fromkeys(name.rpartition(".")[0] for name in drawings)
    (folder / "txt" / "train.txt").write_text("".join(f"IMGID:{name}\n{word}\tB-PER\n\n" for name in names))
    for name, text in drawings.items():
        (folder / "xml" / name).write_text(text)
    for name, data in files.items():
        (folder / "images" / name).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read("twitter_gmner", folder, images=folder / "images" if files else None)


def one(folder, picture, text, name="7.jpg"):
    """Return the boxes of one post, as it reads, and what was counted."""
    reading = grounded(folder, {name: picture}, {"7.xml": text})
    (row,) = reading.rows("train")
    return row["entities"][0]["boxes"], reading.report.splits["train"]


def is_around_the_red(image, box, *, strong=60):
    """Say whether the red part of a picture, as it is shown, is the box, up to a pixel."""
    pixels = np.asarray(open_rgb(image), dtype=int)
    red = pixels[..., 0] - pixels[..., 2] > strong
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    found = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return np.abs(np.subtract(found, box)).max() <= 1.01


# ---------------------------------------------------------------- eight orientations


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_drawn_on_the_stored_picture_turn_with_it(tmp_path, orientation, kind):
    data = turned(orientation, kind)
    (box,), counts = one(tmp_path, data, voc(thing(CORNER)), "7" + KINDS[kind])
    assert is_around_the_red({"bytes": data, "path": None}, box)
    assert counts.turned == (orientation > 1)
    assert counts.unsure_turns == (orientation in (2, 3, 4)), "stored and shown are of one size"
    assert (counts.resized, counts.swapped_sizes, counts.clipped_boxes) == (0, 0, 0)


@pytest.mark.parametrize("scale", [0.5, 1, 3.7])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_another_scale_turn_too(tmp_path, orientation, scale):
    data, size = turned(orientation), tuple(int(side * scale) for side in STORED)
    (box,), counts = one(tmp_path, data, voc(thing([n * scale for n in CORNER]), size=size))
    assert is_around_the_red({"bytes": data, "path": None}, box)
    assert counts.resized == (scale != 1)


@pytest.mark.parametrize("orientation", range(5, 9))
def test_boxes_drawn_on_the_shown_picture_stay(tmp_path, orientation):
    data = turned(orientation)
    shown = open_rgb({"bytes": data, "path": None}).size
    assert shown == STORED[::-1]
    boxes, counts = one(tmp_path, data, voc(thing((1, 2, 30, 50)), size=shown))
    assert boxes == [[1, 2, 30, 50]]
    assert (counts.turned, counts.unsure_turns, counts.resized) == (0, 0, 0)


def test_where_the_size_does_not_tell_it_is_said(tmp_path):
    square = turned(6, size=(40, 40))
    (box,), counts = one(tmp_path / "a", square, voc(thing(CORNER), size=(40, 40)))
    assert is_around_the_red({"bytes": square, "path": None}, box)
    assert (counts.turned, counts.unsure_turns) == (1, 1)
    assert counts.examples["unsure_turns"] == ["7.xml 40x40, the image 40x40, EXIF orientation 6"]
    (box,), counts = one(tmp_path / "b", turned(6), voc(thing(CORNER), size=None))
    assert is_around_the_red({"bytes": turned(6), "path": None}, box)
    assert (counts.turned, counts.unsure_turns) == (1, 1)
    boxes, counts = one(tmp_path / "c", turned(6), voc(thing((1, 2, 30, 50)), size=None))
    assert boxes == [[1, 2, 30, 50]], "it fits the shown picture only"
    assert (counts.turned, counts.unsure_turns) == (0, 1)
    boxes, counts = one(tmp_path / "d", turned(6), voc(thing((1, 2, 30, 50)), size=(90, 90)))
    assert boxes == [pytest.approx([1 * 40 / 90, 2 * 60 / 90, 30 * 40 / 90, 50 * 60 / 90])]
    assert (counts.turned, counts.unsure_turns, counts.resized) == (0, 1, 1)


@pytest.mark.parametrize("tag", [0, 1, 9, 77])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, tag):
    boxes, counts = one(tmp_path, turned(tag), voc(thing(CORNER)))
    assert boxes == [list(CORNER)]
    assert (counts.turned, counts.unsure_turns) == (0, 0)


@pytest.mark.parametrize("scale", [1, 2])
def test_width_and_height_swapped_in_the_xml(tmp_path, scale):
    swapped = (STORED[1] * scale, STORED[0] * scale)
    box = [n * scale for n in (10, 10, 50, 30)]
    boxes, counts = one(tmp_path / "a", turned(1), voc(thing(box), size=swapped))
    assert boxes == [[10, 10, 50, 30]]
    assert (counts.swapped_sizes, counts.resized, counts.clipped_boxes) == (1, scale > 1, 0)
    box = [n * scale for n in (10, 10, 30, 59)]
    boxes, counts = one(tmp_path / "b", turned(1), voc(thing(box), size=swapped))
    assert boxes == [pytest.approx([15, 10 * 40 / 60, 45, 59 * 40 / 60])], "the box says that the size is right"
    assert (counts.swapped_sizes, counts.resized, counts.clipped_boxes) == (0, 1, 0)


@pytest.mark.filterwarnings("ignore:amia:UserWarning", "ignore:matching:UserWarning")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_made_posts_have_their_boxes_on_the_turned_picture(tmp_path, orientation):
    files = {f"{i}.png": turned(1, "PNG", (20 + i, 30), (0, 0, 1, 1)) for i in range(6)} | {
        "7.jpg": turned(orientation)
    }
    grounded(tmp_path / "raw", files, {"7.xml": voc(thing(CORNER))} | {f"{i}.xml": voc() for i in range(6)})
    words = "".join(f"IMGID:{i}\nAdele\tB-PER\nsings\tO\nw{i}\tO\n\n" for i in (7, *range(6)))
    (tmp_path / "raw" / "txt" / "train.txt").write_text(words)
    convert("twitter_gmner", tmp_path / "raw", tmp_path / "out", images=tmp_path / "raw" / "images")
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert validate(data).ok
    post, other, *_ = (Codec(data.features).to_post(row) for row in data.with_format("arrow")[:].to_pylist())
    (box,) = post.entities[0].boxes
    assert is_around_the_red(post.images[0], box)
    for method in (MixGen(weight=0.7), AMIA(mix="0.7")):
        (made,) = method.fit(data).rewrite([post], [draw(0, method.name, 1, post.id, 0)])
        assert made.images[0] != post.images[0]
        assert made.entities[0].boxes == (box,)
        assert Image.open(io.BytesIO(made.images[0]["bytes"])).size == open_rgb(post.images[0]).size
        assert is_around_the_red(made.images[0], box, strong=-20)
    # As the partner: its boxes are scaled with its picture, whose corner is seen up to what the scaling blurs.
    (mixed,), scale = mix_posts(other, post, 0.3)
    assert is_around_the_red(mixed, moved(post.entities[0], 1, scale).boxes[0], strong=-20)
    # An engine that gives twice as many pixels.
    shown = open_rgb(post.images[0])
    twice = shown.resize((shown.width * 2, shown.height * 2), Image.Resampling.NEAREST)
    made = with_pictures(post, post, [shown], [twice], Collage(posts="none"))
    assert is_around_the_red(made.images[0], made.entities[0].boxes[0])


# ---------------------------------------------------------------- what has no box


def test_objects_without_a_box_and_files_of_other_names_are_counted(tmp_path):
    plain = turned(1)
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    drawings = {
        "1.XML": voc(thing((1, 2, 3, 4))),
        "2.xml": voc("<object><name>Adele</name></object>", "<object/>"),
        "3.xml": voc("<object><name>Adele</name><polygon><x1>1</x1></polygon></object>"),
        "4.xml": voc("<object><name>Adele</name><robndbox><cx>1</cx></robndbox></object>"),
        "5.xml": voc(thing((1, 2, 3, 4)).replace("<bndbox>", f"{part}<polygon/><bndbox>")),
        "6.xml": voc(thing((1, 2, 3, 4))),
        "6.Xml": voc(thing((5, 6, 7, 8))),
    }
    reading = grounded(tmp_path, {f"{i}.jpg": plain for i in range(1, 7)}, drawings)
    boxes = {row["id"]: row["entities"][0]["boxes"] for row in reading.rows("train")}
    assert boxes == {"1": [[1, 2, 3, 4]], "2": [], "3": [], "4": [], "5": [[1, 2, 3, 4]], "6": [[1, 2, 3, 4]]}
    (tmp_path / "xml" / "nobody.XML").write_text(voc())
    troubles = read("twitter_gmner", tmp_path).report.troubles()
    assert troubles == [
        "train: 1 posts with several XML files: one is taken, as 6.xml and 6.Xml: 6.xml is taken",
        "train: 2 objects left out: they have no box, as 2.xml line 1 'Adele'; 2.xml line 1 ''",
        "train: 2 objects left out: they have another shape, but no box, as 3.xml line 1 'Adele' (polygon); "
        "4.xml line 1 'Adele' (robndbox)",
        "train: 1 boxes left out: they show a part of an object, as 5.xml line 1 'Adele'",
        "1 XML files left out: no post has their id, as nobody.XML",
    ]


@pytest.mark.parametrize(
    ("word", "name"), [("Zürich", "Zu\u0308rich"), ("Zu\u0308rich", "Zürich"), ("각", "\u1100\u1161\u11a8")]
)
def test_names_match_in_whatever_form_they_are_written(tmp_path, word, name):
    for place in ("txt", "xml"):
        (tmp_path / place).mkdir()
    (tmp_path / "txt" / "train.txt").write_text(f"IMGID:7\n{word}\tB-LOC\n\n")
    (tmp_path / "xml" / "7.xml").write_text(voc(thing((1, 2, 3, 4), name)))
    reading = read("twitter_gmner", tmp_path)
    assert [row["entities"][0]["boxes"] for row in reading.rows("train")] == [[[1, 2, 3, 4]]]
    assert reading.report.splits["train"].unmatched_boxes == 0


@pytest.mark.parametrize("encoding", ["gb2312", "big5", "shift_jis", "euc-kr", "utf-32", "utf-7", "x-none", "hex"])
def test_an_xml_in_an_encoding_that_is_not_read_is_left_out(tmp_path, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + voc(thing((1, 2, 3, 4)))
    reading = grounded(tmp_path, {}, {"7.xml": text, "8.xml": voc(thing((1, 2, 3, 4)))})
    boxes = {row["id"]: row["entities"][0]["boxes"] for row in reading.rows("train")}
    assert boxes == {"7": [], "8": [[1, 2, 3, 4]]}
    assert reading.report.splits["train"].examples["bad_drawings"][0].startswith("7.xml")


# ---------------------------------------------------------------- files


def encoded(kind="JPEG", mode="RGB", size=(10, 10), **options):
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def posts_with(folder, files, *names):
    """Return what became of posts of some ids, in a folder of pictures."""
    (folder / "images").mkdir(parents=True)
    for name, data in files.items():
        (folder / "images" / name).write_bytes(data)
    (folder / "train.txt").write_text("".join(f"IMGID:{name}\nAnn\tB-PER\n\n" for name in names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reading = read("conll", folder / "train.txt", images=folder / "images")
    return {row["id"]: row["image"] and row["image"]["path"] for row in reading.rows("train")}, reading.report


@pytest.mark.parametrize(
    "ending",
    [".jfif", ".JPE", ".tif", ".TIFF", ".jpg_large", ".jpg:orig", ".PNG-large", ".jpeg?name=small", ".dib", ""],
)
def test_pictures_of_other_endings_are_found(tmp_path, ending):
    kind = {".tif": "TIFF", ".TIFF": "TIFF", ".dib": "BMP"}.get(ending, "JPEG")
    found, report = posts_with(tmp_path, {f"12{ending}": encoded(kind), "99.jpg": encoded()}, "12")
    assert found == {"12": f"12{ending}"}
    assert (report.splits["train"].images, report.troubles()) == (1, [])


@pytest.mark.parametrize(
    ("name", "data"),
    [("12.avif", None), ("12.jpg", None), ("12.heic", b"\0\0\0\x18ftypheic"), ("12.svg", b"<svg/>"), ("12.mp4", b"no")],
)
def test_a_picture_in_a_format_that_is_not_read_is_named(tmp_path, name, data):
    data = data or encoded("AVIF")
    found, report = posts_with(tmp_path, {name: data, "99.jpg": encoded()}, "12")
    assert found == {"12": None}
    (line,) = report.troubles()
    assert line.startswith(
        "train: 1 posts with a file of their name in an unsupported image format: their image is null"
    )
    assert f"as {name} is in no supported format (PNG, JPEG, WEBP, GIF, BMP, TIFF)" in line
    with pytest.warns(UserWarning, match=f"1 are in no supported format \\({name} "):
        read("conll", tmp_path / "train.txt", images=tmp_path / "images")


@pytest.mark.parametrize("name", ["12.jfif", "12.tiff", "12.jpg_large", "12.png:orig"])
def test_a_broken_picture_of_another_ending_is_a_broken_picture(tmp_path, name):
    found, report = posts_with(tmp_path, {name: b"<html>not found</html>"}, "12")
    assert (found, report.splits["train"].unreadable, report.splits["train"].unsupported) == ({"12": None}, 1, 0)


def test_what_lies_beside_pictures_is_none(tmp_path):
    found, report = posts_with(tmp_path / "a", {"12.txt": b"a caption", "12.npy": b"", "13.jpg": encoded()}, "12")
    assert (found, report.splits["train"].missing) == ({"12": None}, 1)
    with pytest.raises(UsageError, match="expected images named"):
        posts_with(tmp_path / "b", {"12.txt": b"a caption", "sound.mp3": b""}, "12")


def test_several_files_of_one_name_are_said(tmp_path):
    good, empty = encoded(), b""
    files = {"1.jpg": good, "1.png": good, "2.jpg": empty, "2.png": good, "3.jfif": good, "3.jpg": good, "4.jpg": good}
    files |= {"4.avif": encoded("AVIF"), "5.JPG": good, "5.jpg": good, "6.jpg": empty, "6.png": empty, "7.jpg": good}
    files |= {"Zo\u00eb.jpg": good, "Zoe\u0308.jpg": good, "7.txt": b"a caption"}
    found, report = posts_with(tmp_path, files, "1", "2", "3", "4", "5", "6", "7", "Zoë")
    assert found == {
        **{"1": "1.jpg", "2": "2.png", "3": "3.jpg", "4": "4.jpg", "5": "5.JPG", "6": None, "7": "7.jpg"},
        "Zoë": "Zoe\u0308.jpg",
    }
    counts = report.splits["train"]
    assert (counts.twin_images, counts.unreadable, counts.images) == (6, 1, 7)
    assert counts.examples["twin_images"][:3] == [
        "1.jpg and 1.png: 1.jpg is taken",
        "2.jpg and 2.png: 2.png is taken",
        "3.jpg and 3.jfif: 3.jpg is taken",
    ]
    (tmp_path / "images" / "more").mkdir()
    (tmp_path / "images" / "more" / "1.png").write_bytes(good)
    with pytest.raises(DataError, match=r"expected one image 1, found .*: give the folder of one of them"):
        read("conll", tmp_path / "train.txt", images=tmp_path / "images")


def test_an_image_that_a_post_names_with_another_ending(tmp_path):
    record = {"id": 1, "text": ["Ann"], "label": ["B-PER"], "images": ["1_0.jpg", "1_1.jpg", "1_2.jpg"]}
    (tmp_path / "MNER-MI_train.txt").write_text(json.dumps(record) + "\n")
    (tmp_path / "images").mkdir()
    for name in ("1_0.jpg_large", "1_1.png", "1_1.jpg", "1_2.webp"):
        (tmp_path / "images" / name).write_bytes(encoded())
    reading = read("mner_mi", tmp_path, images=tmp_path / "images")
    (row,) = reading.rows("train")
    assert [image["path"] for image in row["images"]] == ["1_0.jpg_large", "1_1.jpg", "1_2.webp"]
    assert reading.report.splits["train"].examples == {"other_endings": ["1_0.jpg: 1_0.jpg_large", "1_2.jpg: 1_2.webp"]}


def test_several_images_of_an_id_are_each_taken_once(tmp_path):
    (tmp_path / "train.txt").write_text("WID:L4\n北\tB-LOC\n京\tI-LOC\n")
    (tmp_path / "images").mkdir()
    for name in ("L4_1.jpg", "L4_1.png", "L4_2.webp", "L4_3.avif"):
        (tmp_path / "images" / name).write_bytes(encoded("AVIF" if "avif" in name else "JPEG"))
    with pytest.warns(UserWarning, match="1 are in no supported format"):
        reading = read("cmner", tmp_path, images=tmp_path / "images")
    (row,) = reading.rows("train")
    assert [image["path"] for image in row["images"]] == ["L4_1.jpg", "L4_2.webp"]
    assert reading.report.splits["train"].twin_images == 1


# ---------------------------------------------------------------- pixels


def sixteen(mode):
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, mode)
    return file.getvalue()


def moving(kind):
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    frames[0].save(
        file, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_said_and_mixed_as_eight(tmp_path, kind):
    data = sixteen(kind)
    _, report = posts_with(tmp_path, {f"12.{kind.lower()}": data}, "12")
    assert report.troubles() == [
        f"train: 1 images of more than 8 bits per channel: stored unchanged; models see 8 bits, as 12.{kind.lower()}"
    ]
    mixed = mix_images(open_rgb({"bytes": data, "path": None}), Image.new("RGB", (3, 3)), 0.5)
    assert Image.open(io.BytesIO(write_picture(mixed, "compositeCapture")["bytes"])).mode == "RGB"
    assert np.asarray(mixed).max() == 128
    eight = io.BytesIO()
    Image.fromarray(np.asarray(open_rgb({"bytes": data, "path": None}))).save(eight, "PNG")
    same = {"bytes": eight.getvalue(), "path": None}
    assert _look({"bytes": data, "path": None}).bits == _look(same).bits, "what the check for leaks sees"
    plain = decode_image({"bytes": encoded(kind), "path": None})
    assert (plain.deep, plain.animated, plain.orientation) == (False, False, 1)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_pictures_that_move_are_said_and_mixed_by_their_first_frame(tmp_path, kind):
    data, name = moving(kind), f"12.{kind.lower()}"
    _, report = posts_with(tmp_path, {name: data}, "12")
    assert report.troubles() == [
        f"train: 1 images of several frames: stored unchanged; models see the first frame, as {name}"
    ]
    first = open_rgb({"bytes": data, "path": None})
    assert (first.mode, first.getpixel((4, 4))) == ("RGB", (255, 0, 0))
    assert mix_images(first, Image.new("RGB", (5, 5)), 0.5).mode == "RGB"


def noise(width, height, kind):
    pixels = np.random.default_rng(width * 17 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return {"bytes": file.getvalue(), "path": None}


def small_posts(kind, *sizes, boxes=()):
    """Return posts with pictures of some sizes, whose words come again in other posts."""
    names = ("Ann", "Bob", "Rome")
    return [
        Post(
            str(i),
            ["we", "met", names[i % 3], f"w{i}"],
            (Entity(2, 3, "PER", None, boxes),),
            (noise(width, height, kind),),
        )
        for i, (width, height) in enumerate(sizes)
    ]


@pytest.mark.parametrize("boxes", [(), ((0.0, 0.0, 0.5, 0.5),)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_smallest_pictures_are_collaged(kind, boxes):
    sides = [(n, n) for n in range(1, 17)] + [(1, 16), (16, 1), (3, 200), (200, 2)]
    posts = small_posts(kind, *sides, boxes=boxes)
    engine = Collage(posts=save_posts(posts))
    draws = [draw(0, "amia", 1, post.id, 0) for post in posts]
    for originals in (None, [open_rgb(post.images[0]) for post in posts]):
        made = engine.generate([" ".join(post.tokens) for post in posts], draws, sizes=sides, originals=originals)
        assert [picture.size for picture in made] == sides


@pytest.mark.filterwarnings("ignore:amia:UserWarning", "ignore:matching:UserWarning")
def test_amia_remakes_the_smallest_pictures():
    from datasets import Dataset

    from hf_mner_aug.schema import mner_features

    posts = small_posts("JPEG", *[(1 + n % 16, 1 + n // 3) for n in range(48)])
    features = mner_features()
    data = Dataset.from_list([Codec(features).to_row(post) for post in posts], features=features)
    rows = AMIA().fit(data).map(data).with_format("arrow")[:].to_pylist()
    sizes = [open_rgb(row["image"]).size for row in rows if row["method"] == "amia"]
    assert sizes == [open_rgb(post.images[0]).size for post in posts]
