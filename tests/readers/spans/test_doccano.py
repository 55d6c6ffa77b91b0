"""Doccano's JSON Lines, in the layouts of its versions."""

import pytest
from tool_exports import counts, posts, write_lines

from hf_mner_aug.exceptions import DataError, UnknownName
from hf_mner_aug.readers import read
from hf_mner_aug.readers.spans.doccano import read_doccano

TEXT = "Adele in Los Angeles"
SPANS = [[0, 5, "PER"], [9, 20, "LOC"]]
RIGHT = [("PER", "Adele"), ("LOC", "Los Angeles")]
OBJECTS = [
    {"id": i, "label": kind, "start_offset": start, "end_offset": end} for i, (start, end, kind) in enumerate(SPANS)
]


@pytest.mark.parametrize(
    "record",
    [
        {"text": TEXT, "label": SPANS, "Comments": []},
        {"data": TEXT, "label": SPANS},
        {"text": TEXT, "labels": SPANS, "meta": {}, "annotation_approver": None},
        {"text": TEXT, "entities": SPANS, "cats": ["x"]},
        {"text": TEXT, "entities": OBJECTS, "relations": []},
        {"text": TEXT, "annotations": [{**span, "user": 1} for span in OBJECTS], "meta": {}},
    ],
)
def test_all_layouts_are_read(tmp_path, record):
    path = write_lines(tmp_path / "train.jsonl", {"id": 7, **record})
    assert posts("doccano", path) == {"7": RIGHT}
    assert counts("doccano", path) == {}


def test_numbers_of_labels_get_names(tmp_path):
    record = {"id": 1, "text": TEXT, "annotations": [{"label": 10, "start_offset": 0, "end_offset": 5, "user": 1}]}
    assert posts("doccano", write_lines(tmp_path / "train.jsonl", record), types={"10": "PER"}) == {
        "1": [("PER", "Adele")]
    }


def test_what_is_left_out_is_counted(tmp_path):
    users = [{"label": "PER", "start_offset": 0, "end_offset": 5, "user": "ann"}]
    users.append({"label": "LOC", "start_offset": 0, "end_offset": 5, "user": "bob"})
    path = write_lines(
        tmp_path / "train.jsonl",
        {"id": 1, "text": TEXT, "label": SPANS},
        {"id": 2, "text": TEXT, "label": []},
        {"id": 3, "text": TEXT},
        {"id": 4, "text": TEXT, "entities": OBJECTS, "relations": [{"id": 1, "from_id": 0, "to_id": 1, "type": "in"}]},
        {"id": 5, "text": TEXT, "annotations": users},
        {"id": 6, "text": TEXT, "label": ["positive"]},
        {"id": 7, "text": TEXT, "label": [[9, 40, "LOC"]]},
        {"id": 8, "label": []},
    )
    assert posts("doccano", path) == {"1": RIGHT, "2": [], "4": RIGHT, "5": [("PER", "Adele")]}
    assert counts("doccano", path) == {"bad_lines": 3, "unlabelled": 1, "left_relations": 1, "other_annotations": 1}
    told = str(read("doccano", path).report)
    assert "a class of a text is no entity" in told
    assert "1 posts left out: nobody annotated them, as line 3" in told
    assert "expected 'text' or 'data', found 'id', 'label'" in told


def test_ids_and_pictures_are_beside_the_text_or_in_meta(tmp_path):
    path = write_lines(
        tmp_path / "train.jsonl",
        {"id": 1, "text": TEXT, "label": [], "image": "a/1.jpg", "post_id": "tw-1"},
        {"id": 2, "text": TEXT, "label": [], "meta": {"images": ["x.png", "y.png"]}},
        {"id": 3, "text": TEXT, "label": [], "url": "https://example.com/post/3"},
        {"id": 4, "text": TEXT, "label": [], "url": "https://example.com/4.JPG?size=1"},
        {"id": 5, "text": TEXT, "label": [], "image": None, "key": "k5", "photo": "p.jpg"},
    )
    found = [(post.id, post.pictures) for post in read_doccano(path)]
    assert found == [
        ("tw-1", ("a/1.jpg",)),
        ("2", ("x.png", "y.png")),
        ("3", None),
        ("4", ("https://example.com/4.JPG?size=1",)),
        ("5", None),
    ]
    named = list(read_doccano(path, {"id": "key", "image": "photo"}))[-1]
    assert (named.id, named.pictures) == ("k5", ("p.jpg",))
    with pytest.raises(UnknownName, match="field to name 'start'"):
        list(read_doccano(path, {"start": "x"}))


def test_offsets_are_utf16_unless_words_tell_another_unit(tmp_path):
    silent = "😀 苹果发布新手机"
    path = write_lines(tmp_path / "train.jsonl", {"id": 1, "text": silent, "label": [[3, 5, "ORG"]]})
    assert posts("doccano", path) == {"1": [("ORG", "苹 果")]}
    assert "offsets count UTF-16 units" in read("doccano", path).report.recognised[0]
    for start in (2, 3):
        path = write_lines(
            tmp_path / "train.jsonl", {"id": 1, "text": f"😀 {TEXT}", "label": [[start, start + 5, "PER"]]}
        )
        assert posts("doccano", path) == {"1": [("PER", "Adele")]}


def test_a_file_of_classes_is_refused(tmp_path):
    with pytest.raises(DataError, match="a class of a text is no entity"):
        read("doccano", write_lines(tmp_path / "train.jsonl", {"text": "a", "label": ["positive"]}))
