"""Label Studio's exports JSON and JSON-MIN."""

import json

import pytest
from tool_exports import counts, posts, write_array

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers import read
from hf_mner_aug.readers.spans.label_studio import read_label_studio

TEXT = "Adele in Los Angeles"
AREA = {"type": "rectanglelabels", "value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["PER"]}}
CHOICE = {"type": "choices", "value": {"choices": ["good"]}}


def region(start, end, kind="PER", text=TEXT, **more):
    return {"type": "labels", "value": {"start": start, "end": end, "text": text[start:end], "labels": [kind]}, **more}


def annotation(*result, day=1, **more):
    return {"result": list(result), "updated_at": f"2024-01-{day:02}T00:00:00Z", "was_cancelled": False, **more}


def task(number, *annotations, text=TEXT, **data):
    return {"id": number, "data": {"text": text, **data}, "annotations": list(annotations), "predictions": []}


PER, LOC = region(0, 5), region(9, 20, "LOC")


def test_one_annotation_of_a_task_is_taken(tmp_path):
    path = write_array(
        tmp_path / "train.json",
        task(1, annotation(PER, LOC, AREA, CHOICE)),
        task(2, annotation(PER, day=9), annotation(LOC, day=3)),
        task(3, annotation(PER, day=3, ground_truth=True), annotation(LOC, day=9)),
        task(4, annotation(PER, was_cancelled=True), annotation(LOC)),
        task(5, annotation()),
        {**task(6), "completions": [{"result": [PER], "created_at": 1600000000}]},
    )
    per, loc = ("PER", "Adele"), ("LOC", "Los Angeles")
    assert posts("label-studio", path) == {"1": [per, loc], "2": [per], "3": [per], "4": [loc], "5": [], "6": [per]}
    assert counts("label-studio", path) == {"other_annotations": 2}


def test_skipped_and_predicted_tasks_are_left_out(tmp_path):
    predicted = {**task(2), "predictions": [{"result": [PER], "model_version": "m"}], "drafts": [{"result": [PER]}]}
    path = write_array(
        tmp_path / "train.json",
        task(1, annotation(was_cancelled=True)),
        predicted,
        task(3, annotation(PER, {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"})),
        {"id": 4, "completions": [{"skipped": True, "result": []}], "data": {"text": TEXT}},
    )
    assert posts("label-studio", path) == {"3": [("PER", "Adele")]}
    assert counts("label-studio", path) == {"rejected": 2, "unlabelled": 1, "left_relations": 1}


def test_the_text_is_named_or_the_only_field_of_words(tmp_path):
    def data(**fields):
        return {"id": 1, "data": fields, "annotations": [annotation(PER)]}

    right = {"1": [("PER", "Adele")]}
    only = data(tweet=TEXT, image="/data/upload/1/a.jpg", link="https://example.com/a b")
    assert posts("label-studio", write_array(tmp_path / "train.json", only)) == right
    both = write_array(tmp_path / "train.json", data(tweet=TEXT, author="Bono B"))
    assert posts("label-studio", both) == right  # the surface texts tell which
    unclear = write_array(tmp_path / "train.json", data(tweet=TEXT, copy=TEXT))
    with pytest.raises(DataError, match="name it with --columns text=FIELD"):
        read("label-studio", unclear)
    assert posts("label-studio", unclear, columns={"text": "copy"}) == right


def test_json_min_has_an_object_for_each_annotation(tmp_path):
    def flat(number, when, *values, **more):
        values = [{**value, "type": "Labels"} for value in values]
        return {"id": number, "text": TEXT, "image": "/i/1.jpg", "label": values, "annotator": 1, **more} | {
            "annotation_id": when,
            "updated_at": f"2024-01-0{when}",
        }

    per, loc = ({key: value for key, value in part["value"].items()} for part in (PER, LOC))
    untouched = {"id": 4, "text": TEXT, "annotator": None, "annotation_id": None, "updated_at": None}
    empty = {"id": 5, "text": TEXT, "annotator": 1, "annotation_id": 8, "updated_at": "2024-01-08"}
    path = write_array(
        tmp_path / "train.json",
        flat(1, 1, per, loc, sentiment="good"),
        flat(2, 5, per, box=[{"x": 1, "y": 1, "rectanglelabels": ["PER"]}]),
        flat(2, 3, loc),
        untouched,
        empty,
    )
    assert posts("label-studio", path) == {
        "1": [("PER", "Adele"), ("LOC", "Los Angeles")],
        "2": [("PER", "Adele")],
        "5": [],
    }
    assert counts("label-studio", path) == {"other_annotations": 1, "unlabelled": 1}


def test_pictures_are_in_image_or_url_and_behind_the_path_of_local_files(tmp_path):
    local = "/data/local-files/?d=export/images/a%20b.jpg"
    path = write_array(
        tmp_path / "train.json",
        task(1, annotation(), image="/data/upload/29/0a1b-1.jpg"),
        task(2, annotation(), url="https://example.com/2.png"),
        task(3, annotation(), images=["a.jpg", local]),
        task(4, annotation()),
        task(5, annotation(), photo="p.jpg"),
    )
    found = {post.id: post.pictures for post in read_label_studio(path, {"images": "photo"})}
    assert found["5"] == ("p.jpg",)
    found = {post.id: post.pictures for post in read_label_studio(path)}
    assert found == {
        "1": ("/data/upload/29/0a1b-1.jpg",),
        "2": ("https://example.com/2.png",),
        "3": ("a.jpg", "export/images/a b.jpg"),
        "4": None,
        "5": None,
    }


def test_a_field_that_has_no_pictures_is_told(tmp_path, recwarn):
    path = write_array(tmp_path / "train.json", task(1, annotation(PER), photo="/data/upload/1/a.jpg"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "b.jpg").write_bytes(b"")
    read("label-studio", path, images=tmp_path / "photos", columns={"image": "picture"})
    assert [str(one.message) for one in recwarn] == [
        "label-studio: no post names a picture: if a field of the file does, give it by --columns image=FIELD"
    ]
    read("label-studio", path, images=tmp_path / "photos", columns={"image": "photo"})
    assert str(recwarn.pop().message).startswith("label-studio: no post")
    assert "label-studio train, 1 posts: 1 posts have no image file" in str(recwarn.pop().message)


def test_regions_of_several_kinds(tmp_path):
    path_in_html = {"start": "/div[1]/text()[1]", "end": "/div[1]/text()[1]", "startOffset": 0, "endOffset": 5}
    hyper = {**path_in_html, "globalOffsets": {"start": 0, "end": 5}, "text": "Adele", "hypertextlabels": ["PER"]}
    broken = "Los\nAngeles"
    two_lines = {"start": 0, "end": 11, "text": "Los\\nAngeles", "labels": ["LOC"]}
    double = {"start": 0, "end": 5, "text": "Adele", "labels": ["PER", "ART"]}
    path = write_array(
        tmp_path / "train.json",
        task(1, annotation({"type": "hypertextlabels", "value": hyper})),
        task(2, annotation({"type": "labels", "value": two_lines}), text=broken),
        task(3, annotation({"type": "labels", "value": double})),
        task(4, annotation({"type": "labels", "value": {"start": 0, "end": 5, "labels": []}})),
        task(5, annotation({"type": "labels", "value": {**double, "text": "Other"}})),
    )
    found = posts("label-studio", path)
    assert found["1"] == [("PER", "Adele")]
    assert found["2"] == [("LOC", "Los Angeles")]
    assert found["3"][0][1] == "Adele"
    assert "4" not in found
    assert counts("label-studio", path) == {"bad_lines": 2, "nested_spans": 1}


@pytest.mark.parametrize("value", [{"start": 0, "end": 5, "labels": []}, {"start": 0, "end": 5}])
def test_a_region_without_a_label_leaves_out_its_post(tmp_path, value):
    of_word = {"type": "choices", "value": {"start": 0, "end": 5, "choices": ["sure"]}}
    path = write_array(
        tmp_path / "train.json",
        task(1, annotation(PER, of_word)),
        task(2, annotation(LOC, {"type": "labels", "value": value})),
        task(3, annotation(LOC)),
    )
    assert posts("label-studio", path) == {"1": [("PER", "Adele")], "3": [("LOC", "Los Angeles")]}
    (fault,) = read("label-studio", path).report.splits["train"].examples["bad_lines"]
    assert "expected a label of the region [0, 5), found none: label it or delete it" in fault


def test_a_task_of_its_own_and_an_indented_file(tmp_path):
    one = tmp_path / "one.json"
    one.write_text(json.dumps(task(1, annotation(PER)), indent=2), "utf-8")
    assert posts("label-studio", one) == {"1": [("PER", "Adele")]}
    many = tmp_path / "many.json"
    many.write_text(json.dumps([task(1, annotation(PER)), task(2, annotation(LOC))], indent=4), "utf-8")
    assert list(posts("label-studio", many)) == ["1", "2"]


def test_offsets_of_the_browser_are_recognised(tmp_path):
    value = {"start": 3, "end": 8, "text": "Adele", "labels": ["PER"]}
    path = write_array(
        tmp_path / "train.json", task(1, annotation({"type": "labels", "value": value}), text="😀 Adele")
    )
    assert posts("label-studio", path) == {"1": [("PER", "Adele")]}
