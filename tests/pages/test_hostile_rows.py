"""Hostile rows on a page are only text, and ask for nothing outside it."""

import re

import pytest
from datasets import Dataset
from parsed_page import HARMLESS, HOSTILE, TAGS, cells, look, parse, photo, words, write_config, write_rows

from hf_mner_aug.exceptions import Corrupt, DataError
from hf_mner_aug.pages.config import read_sheet
from hf_mner_aug.schema import Entity, Post, augmented_features, mner_features

# ---------------------------------------------------------------- hostile rows


@pytest.fixture
def hostile(tmp_path):
    features = mner_features(("PER", "<i>"), boxes=True)
    picture = photo(20, 10)
    entities = (Entity(0, 2, "<i>", None, ((1.0, 1.0, 9.0, 9.0), (9.0, 1.0, 1.0, 9.0))), Entity(6, 7, "PER"))
    gold = [Post("<a>", HOSTILE, entities, (picture,)), Post("b", ["x"], images=(photo(9, 9),))]
    broken = {"bytes": picture["bytes"][:40], "path": "<x>.png"}
    details = {"<k>": '<img src="http://evil.example/x">', "θ": 0.123456, "url": "http://evil.example/" + "y" * 900}
    made = [
        (Post("<a>+lsms.0", [*HOSTILE, "more"], entities, (picture,), details=details), "<a>"),
        (Post("b+lsms.0", ["y"], images=(broken,)), "b"),
    ]
    rejects = [{"source_id": "<a>", "copy": 0, "reason": "<r>", "detail": "\u202e<script>"}]
    return write_config(tmp_path / "<aug>", features, gold, made, rejects=rejects)


def test_hostile_text_is_only_text(hostile):
    html = read_sheet(hostile, "c").to_html()
    page = parse(html)
    tags = {node.tag for node in page.find_all()}
    assert tags <= TAGS
    expected = " ".join(" ".join(HOSTILE).translate(HARMLESS).split())
    before, after = cells(page.find("article")[0])
    assert words(before) == expected
    assert words(after) == f"{expected} more"
    assert page.find("h3")[0].text() == "<a>+lsms.0"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    reject = page.find("section")[-1]
    assert reject.find("td")[-1].text() == "\\u202e<script>"
    assert reject.find("summary")[0].text() == "<r>: 1"


def test_nothing_is_asked_for_outside_the_page(hostile):
    page = look(hostile)
    first = page.find("meta")[:2]
    assert first[0].attributes == {"charset": "utf-8"}
    policy = first[1].attributes
    assert policy["http-equiv"] == "Content-Security-Policy"
    rules = dict(rule.strip().split(" ", 1) for rule in policy["content"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "script-src" not in rules
    assert page.find("img")
    for node in page.find_all():
        for name, value in node.attributes.items():
            assert not name.startswith("on"), node.tag
            if name in ("href", "src", "srcset", "xlink:href", "action", "data"):
                assert value.startswith("data:"), value
    (style,) = page.find("style")
    assert "url(" not in style.text()
    assert "@import" not in style.text()
    assert all("url" not in node.attributes.get("style", "") for node in page.find_all())


def test_notes_are_chips(hostile):
    chips = {
        chip.find("dt")[0].text(): chip.find("dd")[0].text()
        for chip in look(hostile).find("article")[0].find("dl")[0].find("div")
    }
    assert chips["θ"] == "0.1235"
    assert chips["<k>"] == '<img src="http://evil.example/x">'
    assert len(chips["url"]) == 241, "a long note is cut"


def test_a_broken_picture_leaves_a_note_in_its_cell(hostile):
    page = look(hostile)
    before, after = cells(page.find("article")[1])
    assert len(before.find("img")) == 1
    assert after.find("img") == []
    assert "no thumbnail: the image is in no format that Pillow knows" in after.text()
    assert len(page.find("img")) == 2


def test_broken_files_and_rows_are_one_line(hostile):
    path = next((hostile / "c").glob("train-*"))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(Corrupt, match="expected whole Parquet files, found damage"):
        read_sheet(hostile, "c")
    path.unlink()
    with pytest.raises(Corrupt, match=r"holds no train-\*\.parquet"):
        read_sheet(hostile, "c")


def test_provenance_that_no_method_wrote(tmp_path):
    features = augmented_features(mner_features(images="none"))
    for text in ("{", "[]", '{"details": 3}', None):
        row = {
            "id": "a+lsms.0",
            "tokens": ["x"],
            "ner_tags": [0],
            "source_id": "a",
            "method": "lsms",
            "provenance": text,
        }
        write_rows(tmp_path, Dataset.from_list([row], features=features), 0, 1)
        with pytest.raises(DataError, match=r"post a\+lsms\.0: provenance: "):
            read_sheet(tmp_path, "c")
