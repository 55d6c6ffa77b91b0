import io
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Image, List, load_dataset
from PIL import Image as Pillow
from places import DATA, ROOT

from hf_mner_aug import conversion as converting
from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.readers import read
from hf_mner_aug.readers.formats import parse_imgid
from hf_mner_aug.readers.images import look_at
from hf_mner_aug.schema import bio_to_spans
from hf_mner_aug.storage.picture_files import Allowed

needs_data = pytest.mark.skipif(not (DATA / "twitter2015").is_dir(), reason=f"no real data in {DATA} ($MNER_DATA)")

TRAIN = "IMGID:12\nRT\tO\nSt\tO\n.\tO\nLouis\tI-LOC\n\nIMGID:13\nThe\tB-OTHER\nOffice\tI-OTHER\n"


def raw(folder, **files):
    """Write raw files: train="…" becomes train.txt, byte for byte."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def tags(reading, split="train", column="ner_tags"):
    names = reading.features[column].feature.names
    return [[names[i] for i in row[column]] for row in reading.rows(split)]


def encoded(mode="RGB", kind="JPEG", size=(8, 6)):
    buffer = io.BytesIO()
    Pillow.new(mode, size, 200).save(buffer, kind)
    return buffer.getvalue()


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---------------------------------------------------------------- real sets


@needs_data
@pytest.mark.parametrize(
    ("name", "folder", "posts", "mentions", "orphans"),
    [
        ("twitter2015", "twitter2015", (4000, 1000, 3257), (6166, 1541, 5072), (186, 53, 135)),
        ("twitter2017", "twitter2017", (3373, 723, 723), (6049, 1324, 1351), (0, 0, 0)),
        ("conll", "twitter_gmner/txt", (7000, 1500, 1500), (11779, 2450, 2543), (0, 0, 0)),
        ("conll", "twitter_fmnerg/txt_fine", (7000, 1500, 1500), (11779, 2450, 2543), (0, 0, 0)),
        ("twitter2015", "twitter2015_lowres/10pct", (400, 100), (624, 146), (17, 7)),
    ],
)
def test_counts_of_the_published_sets(name, folder, posts, mentions, orphans):
    reading = read(name, DATA / folder)
    assert reading.splits == ("train", "validation", "test")[: len(posts)]
    found = reading.report.splits.values()
    assert tuple(c.posts for c in found) == posts
    assert tuple(c.mentions for c in found) == mentions
    assert tuple(c.orphans for c in found) == orphans
    for split, n_posts, n_mentions, n_orphans in zip(reading.splits, posts, mentions, orphans, strict=True):
        rows = tags(reading, split)
        assert len(rows) == n_posts
        # Promoted orphans are mentions too; what comes out is valid.
        assert sum(tag[0] == "B" for row in rows for tag in row) == n_mentions + n_orphans
        for row in rows:
            bio_to_spans(row, "error")


@needs_data
def test_words_that_look_like_nothing_stay():
    train = read("twitter2015", DATA / "twitter2015")
    (row,) = [row for row in train.rows("validation") if row["id"] == "73309"]
    assert "\u00a0" in row["tokens"]
    lone = {"\ufe0f": 142, "\u200b": 5, "\u200d": 4}  # 151 in all
    words = Counter(
        word
        for split in ("train", "validation", "test")
        for row in read("twitter2017", DATA / "twitter2017").rows(split)
        for word in row["tokens"]
    )
    assert {word: words[word] for word in lone} == lone


@needs_data
def test_fine_types_of_fmnerg():
    reading = read("conll", DATA / "twitter_fmnerg" / "txt_fine")
    assert len(reading.raw.types) == 8
    assert len(reading.features["fine_tags"].feature.names) == 1 + 2 * 51
    assert reading.raw.tokeniser == "handles split"
    coarse, fine = tags(reading, "test"), tags(reading, "test", "fine_tags")
    assert [[t[0] for t in row] for row in coarse] == [[t[0] for t in row] for row in fine]


@needs_data
def test_the_labels_of_gmner_are_the_usual_four_where_asked():
    assert read("conll", DATA / "twitter_gmner" / "txt").raw.types == ("PER", "LOC", "ORG", "OTHER")
    reading = read("conll", DATA / "twitter_gmner" / "txt", types={"OTHER": "MISC"})
    assert reading.raw.types == ("PER", "LOC", "ORG", "MISC")
    assert reading.raw.renames == {"OTHER": "MISC"}


@needs_data
@pytest.mark.parametrize(("name", "posts"), [("twitter2015", 19), ("twitter2017", 17)])
def test_real_pictures_keep_their_bytes(tmp_path, name, posts):
    source = DATA / "tweets_with_images"
    report = convert(name, source / f"{name}.txt", tmp_path / "out", images=source / "images")
    assert report.splits["train"].images == posts
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    for row in data.cast_column("image", Image(decode=False)):
        file = source / "images" / row["image"]["path"]
        assert file.stem == row["id"]
        assert row["image"]["bytes"] == file.read_bytes()
    modes = Counter((image.format, image.mode) for image in data["image"])
    assert sum(modes.values()) == posts


@needs_data
def test_the_published_line_without_its_word_is_found():
    with pytest.raises(DataError, match=r"post 73309: .*found 'O' \(.*dev\.txt line 4574\)"):
        read("twitter2015", DATA / "twitter2015_lowres" / "40pct")


# ---------------------------------------------------------------- files


def test_orphans(tmp_path):
    source = raw(tmp_path, train=TRAIN)
    promoted = read("twitter2015", source)
    assert tags(promoted) == [["O", "O", "O", "B-LOC"], ["B-MISC", "I-MISC"]]
    assert tags(read("twitter2015", source, orphans="drop")) == [["O"] * 4, ["B-MISC", "I-MISC"]]
    assert promoted.report.splits["train"].orphans == 1
    assert promoted.report.troubles() == ["train: 1 orphan I- tags made B-, as 12 'Louis'"]
    with pytest.raises(
        DataError, match=r"post 12: I-LOC on 'Louis' follows no tag of its type \(.*train\.txt line 5\)"
    ):
        read("twitter2015", source, orphans="error")
    with pytest.raises(UnknownName, match="promote"):
        read("twitter2015", source, orphans="promot")


@pytest.mark.parametrize("separator", ["\t", " "])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
@pytest.mark.parametrize("columns", [1, 2])
def test_every_spelling_reads_the_same(tmp_path, separator, newline, end, columns):
    words = ["\u00a0", "\ufe0f", "\u0085", "\u2028", "\u200d", "x\x0cy", "IMGID:", "Zoë"]
    kinds = ["O", "B-animal", "I-animal", "O", "O", "B-Lebensmittel", "O", "O"]
    fine = [tag.replace("animal", "cat") for tag in kinds]
    block = [
        separator.join([word, tag, other][: columns + 1]) for word, tag, other in zip(words, kinds, fine, strict=True)
    ]
    lines = ["IMGID:Käse_1", *block, "", "IMGID:日本", f"b{separator}" + separator.join(["O"] * columns)]
    source = raw(tmp_path, train=newline.join(lines) + end.replace("\n", newline))
    if separator == " ":
        # Only the separator tells a post from a word that is spelt like one, so this word needs a tab.
        source = raw(tmp_path, train=(source / "train.txt").read_bytes().replace(b"IMGID: ", b"IMGID:\t"))
        source = raw(tmp_path, train=re.sub(rb"(IMGID:\t\S+) ", rb"\1\t", (source / "train.txt").read_bytes()))
    reading = read("conll", source)
    first, second = reading.rows("train")
    assert (first["id"], first["tokens"]) == ("Käse_1", words)
    assert (second["id"], second["tokens"]) == ("日本", ["b"])
    assert tags(reading)[0] == kinds
    assert reading.raw.types == ("Lebensmittel", "animal")
    assert ("fine_tags" in reading.features) == (columns == 2)
    if columns == 2:
        assert tags(reading, column="fine_tags")[0] == fine


def test_a_byte_order_mark_and_posts_without_blank_lines(tmp_path):
    text = "\ufeffIMGID:1\na\tB-PER\nIMGID:2\nb\tO\n"
    assert [post.id for post in parse_imgid(raw(tmp_path, train=text) / "train.txt")] == ["1", "2"]


@pytest.mark.parametrize("name", ["valid", "val", "dev"])
def test_names_of_the_validation_file(tmp_path, name):
    reading = read("twitter2015", raw(tmp_path, train=TRAIN, **{name: "IMGID:1\na\tO\n"}))
    assert reading.splits == ("train", "validation")
    assert reading.report.splits["validation"].file == f"{name}.txt"


def test_one_file_is_train(tmp_path):
    assert read("twitter2015", raw(tmp_path, all=TRAIN) / "all.txt").splits == ("train",)


def test_ids_become_unique_over_all_splits(tmp_path):
    post = "IMGID:7\na\tB-PER\n\n"
    reading = read("conll", raw(tmp_path, train=post + "IMGID:7~2\nb\tO\n\n" + post, test=post))
    assert [row["id"] for split in reading.splits for row in reading.rows(split)] == ["7", "7~2", "7~3", "7~4"]
    assert [counts.duplicate_ids for counts in reading.report.splits.values()] == [1, 1]
    assert reading.report.splits["test"].examples["duplicate_ids"] == ["7 -> 7~4"]


def test_posts_without_words_are_left_out_and_counted(tmp_path):
    reading = read("conll", raw(tmp_path, train="IMGID:1\n\nIMGID:2\na\tB-PER\n"))
    assert [row["id"] for row in reading.rows("train")] == ["2"]
    assert reading.report.splits["train"].empty_posts == 1


def test_types_are_ordered_and_renamed_only_where_asked(tmp_path):
    other = "IMGID:1\na\tB-OTHER\nb\tB-ORG\nc\tB-LOC\nd\tB-PER\n"
    reading = read("conll", raw(tmp_path / "four", train=other))
    assert reading.features["ner_tags"].feature.names[1::2] == ["B-PER", "B-LOC", "B-ORG", "B-OTHER"]
    reading = read("conll", tmp_path / "four", types={"OTHER": "MISC"})
    assert reading.features["ner_tags"].feature.names[1::2] == ["B-PER", "B-LOC", "B-ORG", "B-MISC"]
    assert tags(reading) == [["B-MISC", "B-ORG", "B-LOC", "B-PER"]]
    reading = read("conll", raw(tmp_path / "five", train=other + "e\tB-EVENT\n"))
    assert reading.raw.types == ("PER", "LOC", "ORG", "EVENT", "OTHER")


def test_language(tmp_path):
    source = raw(tmp_path, train=TRAIN)
    assert read("twitter2015", source).raw.language == "en"
    assert read("twitter2015", source, language="fr").raw.language == "fr"
    with pytest.raises(UsageError, match="language 'French'"):
        read("twitter2015", source, language="French")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "IMGID:1\na\tO\n\nIMGID:12\nRT\tO\nbare\n",
            r"post 12: expected a word, .*found 'bare' \(.*train\.txt line 6\)$",
        ),
        ("IMGID:1\na\tO\n\nIMGID:2\n\tO\n", r"post 2: expected a word.*train\.txt line 5\)$"),
        ("IMGID:1\na\tO\n\nIMGID:2\na\tX-PER\n", r"post 2: tag 'X-PER' is not BIO.*train\.txt line 5\)$"),
        ("IMGID:1\na\tO\nb\tO\tO\n", r"post 1: expected 1 tag as on the lines before, found 'b\\tO\\tO'.*line 3\)"),
        ("IMGID:1\na\tO\n\nb\tO\n", r"after post 1: expected 'IMGID:<id>', found 'b\\tO' \(.*line 4\)$"),
        ("IMGID:1\na\tO\n\nIMGID:\nb\tO\n", r"post without id.*line 4\)$"),
        (b"IMGID:1\na\tO\n\xff\tO\n", r"expected UTF-8 text, found .* \(.*train\.txt line 3\)$"),
        ("IMGID:1\na\tB-FOO\n", r"post 1: expected a type of Twitter-2015 .*found B-FOO \(.*line 2\): read other"),
        ("", r"expected 'IMGID:<id>', found no line"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read("twitter2015", raw(tmp_path, train=text))


def test_another_layout_is_shown_as_read(tmp_path):
    lines = [f"word{i} O" for i in range(9)]
    with pytest.raises(DataError) as caught:
        read("twitter2015", raw(tmp_path, train="\n".join(lines)))
    message = str(caught.value)
    assert f"{tmp_path / 'train.txt'} line 1" in message
    assert all(repr(line + "\n") in message for line in lines[:5])
    assert lines[5] not in message


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read("twitter2015", tmp_path / "nowhere")
    with pytest.raises(DataError) as caught:
        read("twitter2015", raw(tmp_path / "a", training=TRAIN))
    assert "tried train.txt, valid.txt, val.txt, dev.txt, validation.txt, test.txt; found training.txt" in str(
        caught.value
    )
    assert "'IMGID:12\\n'" in str(caught.value)
    with pytest.raises(DataError, match=r"one file for validation, found .*val.txt and .*dev.txt"):
        read("twitter2015", raw(tmp_path / "b", train=TRAIN, val=TRAIN, dev=TRAIN))
    with pytest.raises(UnknownName, match="did you mean 'twitter2015'"):
        read("twiter2015", tmp_path)
    with pytest.raises(DataError, match="expected as many tag columns"):
        read("twitter_fmnerg", raw(tmp_path / "c", train="IMGID:1\na\tB-PER\tB-x\n", test="IMGID:2\na\tO\n"))
    with pytest.raises(DataError, match="every tag is O"):
        read("conll", raw(tmp_path / "d", train="IMGID:1\na\tO\n"))


# ---------------------------------------------------------------- images


def test_files_of_further_splits_are_said_to_be_left_unread(tmp_path):
    more = {"test_2021": TRAIN, "dev-2": TRAIN, "notes": "none", "testimonials": "none"}
    source = raw(tmp_path / "raw", train=TRAIN, test=TRAIN, **more)
    with pytest.warns(UserWarning, match=r"left unread: dev-2\.txt, test_2021\.txt: a folder has train, validation"):
        report = convert("conll", source, tmp_path / "out")
    assert list(report.splits) == ["train", "test"]


def test_folders_may_be_named_from_the_current_one(tmp_path, monkeypatch):
    raw, images = tmp_path / "home" / "raw", tmp_path / "home" / "pics" / "of"
    (raw / "txt").mkdir(parents=True)
    (raw / "xml").mkdir()
    images.mkdir(parents=True)
    (raw / "txt" / "train.txt").write_text("IMGID:1\nAnn\tB-PER\n")
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    size = "<size><width>16</width><height>12</height></size>"
    (raw / "xml" / "1.xml").write_text(f"<annotation>{size}<object><name>Ann</name>{box}</object></annotation>")
    Pillow.new("RGB", (16, 12)).save(images / "1.png")
    monkeypatch.chdir(tmp_path / "home")
    for folder in ("", "../home", str(tmp_path / "home")):
        named = [Path(folder, *parts) for parts in (("raw",), ("pics",), ("raw", "xml"))]
        counts = convert("twitter_gmner", named[0], "out", images=named[1], xml=named[2]).splits["train"]
        assert (counts.images, counts.boxes, counts.missing, counts.unreadable) == (1, 1, 0, 0)
        row = load_dataset("out", split="train")[0]
        assert row["image"].size == (16, 12)
        assert row["entities"][0]["boxes"] == [[1, 2, 9, 8]]
        shutil.rmtree("out")


def test_images_by_id_whatever_they_are(tmp_path):
    ids = ["jpg", "png-named-jpg", "rgba", "gray.dot", "missing", "corrupt", "cut", "Zoë", "upper"]
    source = raw(tmp_path / "raw", train="".join(f"IMGID:{i}\na\tB-PER\n\n" for i in ids))
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(noise).save(buffer, "JPEG")
    files = {
        "jpg.jpg": encoded(),
        "png-named-jpg.jpg": encoded("RGB", "PNG"),
        "rgba.png": encoded("RGBA", "PNG"),
        "gray.dot.jpeg": encoded("L"),
        "corrupt.jpg": b"<html>not found</html>",
        "cut.jpg": buffer.getvalue()[:900],
        "Zoe\u0308.jpg": encoded(size=(3, 3)),  # the name in decomposed Unicode, as some file systems write it
        "upper.JPG": encoded(),
        "nobody.jpg": encoded(),
    }
    (tmp_path / "images").mkdir()
    for name, data in files.items():
        (tmp_path / "images" / name).write_bytes(data)
    with pytest.warns(
        UserWarning, match="9 posts: 1 posts have no image file, 2 posts have one that cannot be decoded"
    ):
        report = convert("twitter2015", source, tmp_path / "out", images=tmp_path / "images")
    counts = report.splits["train"]
    assert (counts.posts, counts.images, counts.missing, counts.unreadable) == (9, 6, 1, 2)
    assert counts.examples["missing"] == ["missing"]
    assert counts.examples["unreadable"][0] == "corrupt.jpg is in no format that Pillow knows"
    assert counts.examples["unreadable"][1].startswith("cut.jpg cannot be decoded: image file is truncated")
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [image and image.mode for image in data["image"]] == [
        "RGB", "RGB", "RGBA", "L", None, None, None, "RGB", "RGB",
    ]  # fmt: skip
    stored = {row["id"]: row["image"] for row in data.cast_column("image", Image(decode=False))}
    assert stored["png-named-jpg"] == {"bytes": files["png-named-jpg.jpg"], "path": "png-named-jpg.jpg"}
    assert stored["Zoë"]["bytes"] == files["Zoe\u0308.jpg"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "train: 2 posts with an image file that cannot be decoded: their image is null, as corrupt.jpg is" in card
    assert str(tmp_path) not in card + (tmp_path / "out" / "convert.json").read_text()


def test_pictures_over_the_pixel_limit_are_not_decoded(tmp_path, monkeypatch):
    (tmp_path / "big.png").write_bytes(encoded("RGB", "PNG", (40, 30)))
    allowed = Allowed.of(tmp_path)
    assert look_at(tmp_path / "big.png", allowed).size == (40, 30)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 1199)
    with pytest.warns(Pillow.DecompressionBombWarning):
        assert look_at(tmp_path / "big.png", allowed).detail == "has 40x30 pixels, over Pillow's limit of 1199"
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    assert look_at(tmp_path / "big.png", allowed).detail.startswith("is over Pillow's limit of pixels")


def test_the_wrong_image_folder_is_told(tmp_path):
    source = raw(tmp_path / "raw", train=TRAIN)
    with pytest.raises(UsageError, match="no such image folder"):
        read("twitter2015", source, images=tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"expected images named <id>\.jpg"):
        read("twitter2015", source, images=source)


# ---------------------------------------------------------------- converting


def test_what_was_written_loads_as_it_is(tmp_path):
    out = tmp_path / "out"
    report = convert("twitter2015", raw(tmp_path / "raw", train=TRAIN, test="IMGID:1\na\tB-PER\n"), out)
    assert sorted(contents(out)) == [
        "README.md",
        "convert.json",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
    ]
    data = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    names = ["O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC", "ORG", "MISC") for prefix in "BI")]
    assert {split: len(rows) for split, rows in data.items()} == {"train": 2, "test": 1}
    assert data["train"].features["ner_tags"] == List(ClassLabel(names=names))
    assert data["train"].features["image"] == Image()
    assert data["train"][0] == {
        "id": "12",
        "tokens": ["RT", "St", ".", "Louis"],
        "ner_tags": [0, 0, 0, 3],
        "image": None,
    }
    streamed = load_dataset(str(out), split="train", streaming=True)
    assert streamed.features == data["train"].features
    assert [row["id"] for row in streamed] == ["12", "13"]
    card = (out / "README.md").read_text()
    assert "Label `OTHER` of the raw files is `MISC` here." in card
    assert "language: en\n" in card
    record = json.loads((out / "convert.json").read_text())
    assert (record["tokeniser"], record["joiner"], record["language"]) == ("handles whole", " ", "en")
    assert record["splits"]["train"]["orphans"] == report.splits["train"].orphans == 1


def test_converting_twice_gives_the_same_bytes_and_replaces(tmp_path):
    source = raw(tmp_path / "raw", train=TRAIN, test=TRAIN)
    convert("twitter2015", source, tmp_path / "out")
    before = contents(tmp_path / "out")
    convert("twitter2015", source, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    (source / "test.txt").unlink()
    convert("twitter2015", source, tmp_path / "out")
    assert "data/test-00000-of-00001.parquet" not in contents(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_other_folders_are_not_written_over(tmp_path):
    source = raw(tmp_path / "raw", train=TRAIN)
    with pytest.raises(UsageError, match=r"raw: expected an empty folder or an earlier conversion, found train\.txt"):
        convert("twitter2015", source, source)
    (tmp_path / "out").mkdir()
    convert("twitter2015", source, tmp_path / "out")
    (tmp_path / "out" / "notes.md").write_text("mine")
    before = contents(tmp_path / "out")
    with pytest.raises(UsageError, match=r"found notes\.md"):
        convert("twitter2015", source, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    with pytest.raises(UsageError, match="found a file"):
        convert("twitter2015", source, source / "train.txt")


def test_a_crash_leaves_no_folder_and_keeps_the_old_one(tmp_path, monkeypatch):
    source = raw(tmp_path / "raw", train=TRAIN)

    def full_disk(reading):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(converting, "_record", full_disk)
        with pytest.raises(OSError, match="No space left"):
            convert("twitter2015", source, tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]
    convert("twitter2015", source, tmp_path / "out")
    before = contents(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(converting, "_record", full_disk)
        with pytest.raises(OSError, match="No space left"):
            convert("twitter2015", source, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_many_posts_take_several_batches_and_shards_keep_the_order(tmp_path):
    ids = [str(i) for i in range(350)]
    source = raw(tmp_path / "raw", train="".join(f"IMGID:{i}\nw{i}\tB-PER\n\n" for i in ids))
    convert("conll", source, tmp_path / "out")
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(data["id"]) == ids
    assert [row[0] for row in data["tokens"]] == [f"w{i}" for i in ids]


def test_a_script_tells_a_mistake_in_one_line(tmp_path):
    script = ROOT / "dataset_scripts" / "conll.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "nowhere", "--out", tmp_path / "out"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path / 'nowhere'}: no such folder or file\n"


def test_importing_the_module_imports_nothing_heavy():
    code = "import sys, hf_mner_aug.readers; print({'datasets', 'numpy', 'PIL', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
