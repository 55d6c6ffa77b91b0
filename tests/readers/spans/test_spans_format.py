"""Files of texts with spans: their shapes, the names of their fields, the unit of their offsets, their pictures."""

import contextlib
import json
import warnings

import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.readers import read
from hf_mner_aug.readers.formats import RawPost
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans import Annotated, posts_of
from hf_mner_aug.readers.spans.generic import FIELDS, annotated_of, read_spans
from hf_mner_aug.readers.spans.json_records import json_records
from hf_mner_aug.schema import bio_to_spans

TEXT = "😀 Adele sings in New York"
SURFACES = [("PER", 2, 7, "Adele"), ("LOC", 17, 25, "New York")]


def write(path, *records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


def rows(name, path, tmp_path, **options):
    report = convert(name, path, tmp_path / "out", **options)
    made = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    return made, report


def entities(row, made):
    names = made.features["ner_tags"].feature.names
    spans = bio_to_spans([names[tag] for tag in row["ner_tags"]])
    return [(kind, " ".join(row["tokens"][start:end])) for start, end, kind in spans]


@pytest.mark.parametrize(
    "record",
    [
        {"text": TEXT, "spans": [[2, 7, "PER"], [17, 25, "LOC"]]},
        {"text": TEXT, "label": [[2.0, 7, "PER"], ["LOC", 17, 25]]},
        {"sentence": TEXT, "entities": [{"start": s, "end": e, "label": k} for k, s, e, _ in SURFACES]},
        {"text": TEXT, "ner": [{"start_offset": s, "end_offset": e, "type": k, "text": t} for k, s, e, t in SURFACES]},
        {"text": TEXT, "annotations": {"entities": [[s, e, k, t] for k, s, e, t in SURFACES]}},
        {"content": TEXT, "labels": [{"begin": s, "stop": e, "labels": [k]} for k, s, e, _ in SURFACES]},
        {"sentence": TEXT, "entities": [{"name": t, "type": k, "pos": [s, e]} for k, s, e, t in SURFACES]},
    ],
)
def test_the_usual_shapes(record, tmp_path):
    made, report = rows("spans", write(tmp_path / "posts.jsonl", record), tmp_path)
    assert entities(made[0], made) == [("PER", "Adele"), ("LOC", "New York")]
    assert made[0]["id"] == "posts-1"
    assert made[0]["tokens"][0] == "😀"
    assert not report.troubles()


def test_fields_of_other_names(tmp_path):
    record = {"key": 7, "data": {"body": TEXT}, "marks": [{"a": 2, "b": 7, "c": "PER", "d": "Adele"}]}
    path = write(tmp_path / "posts.jsonl", record)
    columns = {"id": "key", "text": "data.body", "spans": "marks", "start": "a", "end": "b", "type": "c"}
    made, _ = rows("spans", path, tmp_path, columns=columns)
    assert (made[0]["id"], entities(made[0], made)) == ("7", [("PER", "Adele")])
    with pytest.raises(UnknownName, match="field to name 'body'"):
        list(read_spans(path, {"body": "text"}))
    (bad,) = read_spans(path)
    assert "--columns text=FIELD" in bad.reason


def test_units_are_recognised_by_the_texts_of_spans(tmp_path):
    units = {"chars": len, "utf16": lambda s: len(s.encode("utf-16-le")) // 2, "bytes": lambda s: len(s.encode())}
    for unit, size in units.items():
        spans = [[size(TEXT[:start]), size(TEXT[:end]), kind, text] for kind, start, end, text in SURFACES]
        path = write(tmp_path / "posts.jsonl", {"text": TEXT, "spans": spans})
        made, report = rows("spans", path, tmp_path)
        assert entities(made[0], made) == [("PER", "Adele"), ("LOC", "New York")]
        assert f"(--offsets {unit})" in report.recognised[0]
        assert "2 of 2 spans" in report.recognised[0]
        silent = write(tmp_path / "silent.jsonl", {"text": TEXT, "spans": [span[:3] for span in spans]})
        made, report = rows("spans", silent, tmp_path, offsets=unit)
        assert entities(made[0], made) == [("PER", "Adele"), ("LOC", "New York")]
    made, report = rows("spans", write(path, {"text": "😀 苹果发布新手机", "spans": [[2, 4, "ORG"]]}), tmp_path)
    assert report.recognised[0] == (
        "offsets count characters: 1 spans are behind emoji or the like, and no text of them tells "
        "(JavaScript counts --offsets utf16)"
    )


def test_units_are_recognised_by_the_edges_of_words(tmp_path):
    units = {"chars": (2, 17, 25), "utf16": (3, 18, 26)}
    for unit, (adele, new, york) in units.items():
        spans = [[adele, adele + 5, "PER"], [new, york, "LOC"]]
        path = write(tmp_path / "posts.jsonl", {"text": TEXT, "spans": spans})
        made, report = rows("spans", path, tmp_path)
        assert entities(made[0], made) == [("PER", "Adele"), ("LOC", "New York")]
        assert report.recognised[0].endswith(
            f": 2 of 2 spans behind emoji or the like begin and end with words (--offsets {unit})"
        )


def test_bytes_are_recognised_by_the_edges_of_words(tmp_path):
    text = "Zoë, äh, trifft Çelik hier"
    right = [[0, 3, "PER"], [16, 21, "PER"]]
    shifted = [[len(text[:start].encode()), len(text[:end].encode()), kind] for start, end, kind in right]
    for name, spans in (("chars", right), ("bytes", shifted)):
        made, report = rows("spans", write(tmp_path / f"{name}.jsonl", {"text": text, "spans": spans}), tmp_path)
        assert entities(made[0], made) == [("PER", "Zoë"), ("PER", "Çelik")]
        told = [line for line in report.recognised if line.startswith("offsets")]
        assert told == (
            ["offsets count bytes: 2 of 2 spans behind signs beyond ASCII begin and end with words (--offsets bytes)"]
            if name == "bytes"
            else []
        )


def test_scripts_without_blanks_are_read_by_signs(tmp_path):
    record = {"text": "苹果发布新手机", "spans": [[0, 2, "ORG"]]}
    made, report = rows("spans", write(tmp_path / "posts.jsonl", record), tmp_path)
    assert made[0]["tokens"] == list("苹果发布新手机")
    assert "7 of 7 letters are of scripts without blanks" in report.recognised[0]
    facts = json.loads((tmp_path / "out" / "convert.json").read_text())
    assert (facts["tokeniser"], facts["joiner"]) == ("characters", "")
    made, _ = rows("spans", tmp_path / "posts.jsonl", tmp_path, tokeniser="tweet")
    assert made[0]["tokens"] == ["苹果发布新手机"]


def test_arrays_and_lines(tmp_path):
    items = [{"text": "a", "n": 1}, ["b"], 3]
    for text in (
        json.dumps(items),
        json.dumps(items, indent=2),
        "\n".join(map(json.dumps, items)),
        "\ufeff" + json.dumps(items).replace("}, ", "},\n"),
        "\n\n" + json.dumps(items),
    ):
        path = tmp_path / "file.json"
        path.write_text(text, "utf-8")
        assert [record for _, record in json_records(path)] == items
    path.write_text('["a"]\n["b"]\n')
    assert [record for _, record in json_records(path)] == [["a"], ["b"]]
    for text, count in {"[1, 2 3]": 2, "[1, 2, x]": 2, "[1, 2": 2, "[1,,2]": 1, "[1, 2] 3]": 3}.items():
        path.write_text(text)
        with pytest.raises(DataError, match=f"not JSON behind record {count}: "):
            list(json_records(path))
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        list(json_records(path))


def test_what_is_no_text_with_spans_is_left_out_with_a_reason(tmp_path):
    bad = {
        "expected an object": 7,
        "expected a text in text or": {"spans": []},
        "expected a list of spans in": {"text": "a"},
        "expected a list of spans, found 'x'": {"text": "a", "spans": "x"},
        "expected a span as": {"text": "a", "spans": [3]},
        "expected a span with start, end and type": {"text": "a", "spans": [[0, 1, 3]]},
        "expected a span with start, end and type, found \"{'label'": {
            "text": "a",
            "spans": [{"label": "X", "pos": [1]}],
        },
        "expected an offset": {"text": "a", "spans": [[True, 1, "X"]]},
        "expected an id": {"text": "a", "spans": [], "id": [3]},
        "expected the name of a picture": {"text": "a", "spans": [], "image": 3},
    }
    found = list(read_spans(write(tmp_path / "posts.jsonl", *bad.values())))
    for (why, _), line in zip(bad.items(), found, strict=True):
        assert why in line.reason
    with pytest.raises(DataError, match="no post could be read"):
        convert("spans", tmp_path / "posts.jsonl", tmp_path / "out")


def test_pictures_by_name_and_by_id(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("7", "a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / f"{name}.png")
    one = {"id": 7, "text": "Adele", "spans": [[0, 5, "PER"]]}
    made, report = rows("spans", write(tmp_path / "posts.jsonl", one), tmp_path, images=tmp_path / "pictures")
    assert made[0]["image"].size == (8, 8)
    two = {**one, "images": ["a.png", "b.png"]}
    made, report = rows("spans", write(tmp_path / "posts.jsonl", two, one), tmp_path, images=tmp_path / "pictures")
    assert [len(row["images"]) for row in made] == [2, 1]
    none = {**one, "image": None}
    made, report = rows("spans", write(tmp_path / "posts.jsonl", none), tmp_path, images=tmp_path / "pictures")
    assert made[0]["image"] is None
    assert report.splits["train"].missing == 0


def test_options_of_spans_are_for_texts_with_spans(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("IMGID:7\nAdele\tB-PER\n")
    with pytest.raises(UsageError, match="conll takes no --tokeniser"):
        convert("conll", path, tmp_path / "out", tokeniser="char")


NAMES = st.sampled_from([name for names in FIELDS.values() for name in names])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


BYTES = st.binary(max_size=40)
LIKE_JSON = st.lists(st.sampled_from('[]{},:"\n a1\\'), max_size=40).map("".join).map(str.encode)


@settings(max_examples=500, deadline=None)
@given(record=VALUES, text=st.text(max_size=9))
def test_any_record_is_a_text_with_spans_or_left_out(record, text):
    with contextlib.suppress(DataError):
        (post,) = posts_of([annotated_of(record | {"text": text} if isinstance(record, dict) else record, 1, FIELDS)])
        assert isinstance(post, RawPost | BadLine)


@settings(max_examples=200, deadline=None)
@given(data=BYTES | LIKE_JSON)
def test_any_file_is_records_or_bad_lines(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "file.jsonl"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        for found in read_spans(path):
            assert isinstance(found, Annotated | BadLine)


@pytest.mark.parametrize(
    ("name", "is_read"),
    [("admin.jsonl", True), ("latest.jsonl", True), ("my-test.jsonl", False), ("dev_2021.jsonl", False)],
)
def test_the_only_file_of_a_folder_is_train_whatever_its_name(tmp_path, name, is_read):
    record = {"id": 7, "text": "Adele sings", "label": [[0, 5, "PER"]]}
    (tmp_path / name).write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "labels.csv").write_text("PER")
    if is_read:
        assert read("doccano", tmp_path).splits == ("train",)
        (tmp_path / "bob.jsonl").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match="give the folder of the splits, or one file to read as train"):
        read("doccano", tmp_path)


def test_fields_of_spans_that_have_other_names_can_be_named(tmp_path):
    row = {"text": "Adele sings", "spans": [{"from": 0, "to": 5, "kind": "PER"}]}
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(DataError, match=r"with --columns, as start=from,end=to,type=kind$"):
        read("spans", path)
    assert read("spans", path, columns={"start": "from", "end": "to", "type": "kind"}).raw.types == ("PER",)


def test_pictures_that_no_post_has_are_explained(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (9, 8)).save(tmp_path / "pictures" / "other.png")
    (tmp_path / "train.jsonl").write_text(json.dumps({"id": 7, "text": "Adele", "spans": [[0, 5, "PER"]]}))

    def told(**options):
        return str(read("spans", tmp_path / "train.jsonl", **options).report)

    hint = "no picture has the id of a post as its name, as 7.jpg: rename them, or, if a field of the file has"
    assert hint in told(images=tmp_path / "pictures")
    assert "no picture has" not in told()
    Image.new("RGB", (9, 8)).save(tmp_path / "pictures" / "7.png")
    assert "no picture has" not in told(images=tmp_path / "pictures")
    (tmp_path / "test.jsonl").write_text(json.dumps({"id": 8, "text": "Adele", "spans": []}))
    both = str(read("spans", tmp_path, images=tmp_path / "pictures").report)
    assert "test: 1 posts without an image file" in both
    assert "no picture has" not in both, "those of train are named as they must be"


@pytest.mark.parametrize(
    ("spans", "cut"), [([[0, 3, "PER"], [5, 6, "LOC"]], 2), ([[0, 14, "PER"], [21, 25, "LOC"]], 0)]
)
def test_offsets_that_count_words_are_told(tmp_path, spans, cut):
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps({"text": "Anna Maria Lee is in Oslo today", "spans": spans}) + "\n")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        reading = read("spans", file)
    assert reading.report.splits["train"].snapped == cut
    said = [str(warning.message) for warning in told]
    assert [f"{cut} of 2 spans start or end inside a word" in text for text in said] == [True] * (cut > 0)
