"""Pictures by the names, paths and URLs that posts give: their files are downloaded beforehand, into any folders."""

import json

import pytest
from datasets import load_dataset
from PIL import Image

from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.images import place_of


@pytest.fixture
def pictures(tmp_path):
    """Return a function that draws pictures, each of another width, and returns their folder."""

    def draw(*paths):
        for width, path in enumerate(paths, 10):
            (tmp_path / "pictures" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (width, 8)).save(tmp_path / "pictures" / path, "PNG")
        return tmp_path / "pictures"

    return draw


def read(tmp_path, images, *named):
    """Return the widths of the pictures of posts that name some, and the report."""
    records = [{"id": i, "text": "Adele", "spans": [[0, 5, "PER"]], "image": names} for i, names in enumerate(named)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    report = convert("spans", tmp_path / "train.jsonl", tmp_path / "out", images=images)
    made = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    if "images" in made.features:
        return [[image.width for image in row["images"]] for row in made], report
    return [row["image"] and row["image"].width for row in made], report


def test_places():
    for name, place in (
        ("12", ["12"]),
        ("12.jpg?x=1", ["12.jpg?x=1"]),
        ("./a/12.jpg", ["a", "12.jpg"]),
        ("C:\\Users\\me\\12.jpg", ["C:", "Users", "me", "12.jpg"]),
        ("https://pbs.twimg.com/media/E4.jpg?format=jpg&name=large", ["media", "E4.jpg"]),
        ("https://x.org/a%20b/12%C3%A9.jpg#top", ["a b", "12é.jpg"]),
        ("s3://bucket/in/12.jpg", ["in", "12.jpg"]),
        ("/data/local-files/?d=set/12.jpg", ["set", "12.jpg"]),
        ("https://x.org/?d=set/12.jpg", ["set", "12.jpg"]),
        ("https://x.org/", ["https://x.org/"]),
        ("http://[x/12.jpg", ["http://[x/12.jpg"]),
        ("", [""]),
    ):
        assert place_of(name) == place


def test_the_last_part_of_a_path_or_a_url_names_the_file(tmp_path, pictures):
    folder = pictures("a.jpg", "b c.png", "deep/down/c.gif", "d.webp")
    names = (
        "https://x.org/1/a.jpg?w=9",
        "http://x.org/2/b%20c.png",
        "C:\\old\\c.gif",
        "/data/upload/3/0a1b2c3d-d.webp",
    )
    widths, report = read(tmp_path, folder, *names, "https://x.org/e.jpg")
    assert widths == [10, 11, 12, 13, None]
    assert report.splits["train"].examples["missing"] == ["4 (https://x.org/e.jpg)"]
    assert not report.splits["train"].other_endings
    assert "found by name; null if missing" in (tmp_path / "out" / "README.md").read_text()


def test_folders_tell_files_of_one_name_apart(tmp_path, pictures):
    folder = pictures("2015/7.jpg", "2017/7.jpg")
    widths, _ = read(tmp_path, folder, "https://x.org/set/2017/7.jpg", "2015/7.jpg")
    assert widths == [11, 10]
    with pytest.raises(DataError, match=r"expected one image 7\.jpg, found .*give the folder of one"):
        read(tmp_path, folder, "7.jpg")
    with pytest.raises(DataError, match=r"2015/7\.jpg for a/2015/7\.jpg and 2016/2015/7\.jpg: keep their folders"):
        read(tmp_path, folder, "a/2015/7.jpg", "2016/2015/7.jpg")


def test_a_post_has_several_pictures(tmp_path, pictures):
    folder = pictures("a.jpg", "b.jpg")
    widths, report = read(tmp_path, folder, ["https://x.org/b.jpg", "a.jpg", "c.jpg"], [], "a.jpg", None)
    assert widths == [[11, 10], [], [10], []]
    assert "images without a file: left out of their posts, as 0 (c.jpg)" in str(report)


def test_names_without_a_folder_are_told(tmp_path):
    widths, report = read(tmp_path, None, "https://x.org/b.jpg", "data:image/png;base64," + "A" * 100_000)
    assert widths == [None, None]
    assert "posts name pictures, as https://x.org/b.jpg: --images DIR with their files" in str(report)
