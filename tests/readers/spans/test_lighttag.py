"""LightTag's exports, of three layouts."""

import json

import pytest
from tool_exports import counts, posts, write_array

TEXT = "Adele in Los Angeles"
PER, LOC = ({"start": 0, "end": 5, "tag": "PER", "value": "Adele"}, {"start": 9, "end": 20, "tag": "Big City"})
RIGHT = [("PER", "Adele"), ("Big City", "Los Angeles")]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("layout", ["examples", "dataset", "array"])
def test_all_layouts_are_read(tmp_path, layout, indent):
    example = {"content": TEXT, "metadata": {"image": "7.jpg"}, "annotations": [PER, LOC]}
    whole = {
        "examples": {"id": "j", "examples": [{"example_id": "7", "seen_by": [{}], **example}], "schema": {"tags": []}},
        "dataset": {"id": "j", "dataset": {"id": "d", "name": "n", "examples": [{"id": "7", **example}]}},
        "array": [example],
    }[layout]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(whole, indent=indent), "utf-8")
    assert posts("lighttag", path) == {"train-1" if layout == "array" else "7": RIGHT}


def test_what_is_left_out_is_counted(tmp_path):
    by = [{"annotator": "ann"}, {"annotator": "bob"}]
    path = write_array(
        tmp_path / "train.json",
        {"example_id": "1", "content": TEXT, "seen_by": by, "annotations": [PER, PER, {**LOC, "correct": None}]},
        {"example_id": "2", "content": TEXT, "seen_by": by, "annotations": [{**PER, "correct": False}, LOC]},
        {"example_id": "3", "content": TEXT, "seen_by": [], "annotations": []},
        {"example_id": "4", "content": TEXT, "seen_by": by, "annotations": []},
        {"example_id": "5", "content": TEXT, "annotations": [{**LOC, "start": 13}, LOC]},
    )
    assert posts("lighttag", path) == {"1": RIGHT, "2": RIGHT[1:], "4": [], "5": RIGHT[1:]}
    assert counts("lighttag", path) == {"rejected_spans": 1, "unlabelled": 1, "nested_spans": 1}
