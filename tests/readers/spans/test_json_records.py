"""Records of JSON files, one at a time."""

import json
import tracemalloc

import pytest

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans import json_records as module
from hf_mner_aug.readers.spans.json_records import json_records

ITEMS = [{"a": 'é😀\\n"]}', "b": [1, -2.5e3, None, True, {"c": [[], {}]}]}, ["x", [1]], {"": {}}]


@pytest.mark.parametrize("indent", [None, 3])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_value_may_be_cut_anywhere_by_the_end_of_a_chunk(tmp_path, monkeypatch, indent, ascii_only):
    path = tmp_path / "file.json"
    path.write_text(json.dumps(ITEMS, indent=indent, ensure_ascii=ascii_only), "utf-8")
    for size in range(1, 40):
        monkeypatch.setattr(module, "CHUNK", size)
        assert [record for _, record in json_records(path)] == ITEMS, size


def test_records_in_an_object_are_found_in_its_fields(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    for whole in (
        {"id": "x", "examples": ITEMS, "schema": {"examples": [1]}},
        {"id": "x", "dataset": {"name": "n", "examples": ITEMS}},
        {"examples": ITEMS[:1], "more": 0, "dataset": {"examples": ITEMS[1:]}},
        ITEMS,
    ):
        for size, indent in ((7, None), (1 << 20, None), (1 << 20, 2)):
            monkeypatch.setattr(module, "CHUNK", size)
            path.write_text(json.dumps(whole, indent=indent), "utf-8")
            assert [record for _, record in json_records(path, inside=("examples", "dataset"))] == ITEMS
    alone = {"id": "x", "text": "y"}
    path.write_text(json.dumps(alone, indent=2), "utf-8")
    assert list(json_records(path, inside=("examples",))) == [(1, alone)]
    path.write_text(json.dumps(alone) + "\n" + json.dumps(alone), "utf-8")
    assert list(json_records(path, inside=("examples",))) == [(1, alone), (2, alone)]
    path.write_text('{"examples":' * 100_000, "utf-8")
    with pytest.raises(DataError, match="not JSON behind record 0: nested too deeply"):
        list(json_records(path, inside=("examples", "dataset")))
    path.write_text('{"examples": [1, 2', "utf-8")
    with pytest.raises(DataError, match="not JSON behind record 2"):
        list(json_records(path, inside=("examples",)))


def test_a_broken_line_is_left_out_even_if_it_is_the_first(tmp_path):
    path = tmp_path / "file.jsonl"
    for lines in (['{"a": [1,', '{"a": 2}', "7"], ['{"a": 1}', '{"a": ', '["b"]']):
        path.write_text("\n".join(lines), "utf-8")
        found = list(json_records(path))
        bad = [record.line for record in found if isinstance(record, BadLine)]
        assert bad == [next(i for i, line in enumerate(lines, 1) if line[-1] in ", ")]
        assert len(found) == 3


def test_bytes_that_are_no_text_spoil_one_record_of_an_array(tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(b'[{"text": "a\xff"}, {"text": "b"}]')
    (_, first), (_, second) = json_records(path)
    assert (first, second) == ({"text": "a\udcff"}, {"text": "b"})


def test_an_array_is_not_in_memory_as_a_whole(tmp_path):
    path = tmp_path / "file.json"
    with path.open("w") as file:
        file.write("[" + ",".join(['{"text": "' + "x" * 1000 + '"}'] * 20_000) + "]")
    tracemalloc.start()
    assert sum(1 for _ in json_records(path)) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000 < path.stat().st_size
