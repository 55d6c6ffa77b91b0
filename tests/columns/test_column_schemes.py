"""Tags of any scheme in the columns that a source has, read by ``map_columns``."""

import io
import json
import warnings

import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from hf_mner_aug import EDA, augment, publish, validate, verify
from hf_mner_aug.columns.mapping import map_columns
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.schema import bio_names

WORDS = ["Ann", "van", "Lee", "left", "Oslo", "rather", "early", "today"]
BIOES = ["B-PER", "I-PER", "E-PER", "O", "S-LOC", *"OOO"]
BIO = ["B-PER", "I-PER", "I-PER", "O", "B-LOC", *"OOO"]
COLUMNS = {"ner_tags": "labels"}
BOTH = List(ClassLabel(names=bio_names(("PER", "LOC"))))


def labelled(names, *tags, **others):
    features = Features({"labels": List(ClassLabel(names=names)), **others})
    return Dataset.from_dict({"labels": list(tags), **dict.fromkeys(others, [None] * len(tags))}, features=features)


def spelt(rows):
    names = rows.features["ner_tags"].feature.names
    return [[names[tag] for tag in row["ner_tags"]] for row in rows]


def test_text_of_another_scheme_becomes_labels():
    rows = Dataset.from_dict({"labels": [BIOES] * 2})
    with pytest.warns(UserWarning, match="column ner_tags: tags are BIOES, as 'B-PER': 2 B, 2 E, 2 I, 2 S; all fit it"):
        found = map_columns(rows, COLUMNS)
    assert found.features["ner_tags"] == BOTH
    assert spelt(found) == [BIO] * 2
    with pytest.warns(UserWarning, match="tags are BIOES"):
        assert list(map_columns(rows.to_iterable_dataset(), COLUMNS)) == list(found)


def test_labels_of_another_scheme_become_those_of_bio():
    rows = labelled(["O", "LOC", "PER"], ["PER", "PER", "O"], ["PER", "O", "O"])
    with pytest.warns(UserWarning, match="tags are IO, as 'PER': 3 types; all fit it; a run of one type is one entity"):
        found = map_columns(rows, COLUMNS)
    assert found.features["ner_tags"] == BOTH, "a type that no row has keeps its labels"
    assert spelt(found) == [["B-PER", "I-PER", "O"], ["B-PER", "O", "O"]]


def test_labels_that_lack_some_of_bio_are_completed():
    with pytest.warns(UserWarning, match="tags are BIO, as 'B-PER': 1 B; .*; there is no I, so each B is an entity"):
        found = map_columns(labelled(["O", "B-PER"], ["B-PER", "O"]), COLUMNS)
    assert found.features["ner_tags"] == List(ClassLabel(names=bio_names(["PER"])))


def test_a_null_tag_stays_null_and_pictures_keep_their_bytes():
    buffer = io.BytesIO()
    Pillow.new("RGB", (4, 4), "red").save(buffer, "JPEG")
    picture = {"bytes": buffer.getvalue(), "path": "a.jpg"}
    features = Features({"labels": List(Value("string")), "image": Image()})
    rows = Dataset.from_list([{"labels": ["S-PER", None], "image": picture}], features=features)
    for data in (rows, rows.to_iterable_dataset()):
        with pytest.warns(UserWarning, match="tags are BIOES"):
            found = map_columns(data, COLUMNS)
        stored = found if data is rows else Dataset.from_generator(lambda found=found: found, features=found.features)
        (row,) = stored.with_format("arrow")[:].to_pylist()
        assert row["ner_tags"] == [1, None]
        assert row["image"]["bytes"] == picture["bytes"]


@pytest.mark.parametrize(
    "rows",
    [
        labelled(bio_names(("PER",)), ["I-PER", "O"]),
        labelled(["O", "I-PER", "B-PER"], ["I-PER", "O"]),
        labelled(["positive", "negative"], ["positive"]),
        Dataset.from_dict({"labels": [BIO, ["I-PER", *"OOOOOOO"]]}),
    ],
)
def test_bio_and_labels_of_no_scheme_are_left_as_they_are(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = map_columns(rows, COLUMNS)
    names = found.features["ner_tags"].feature.names
    values = [[names[tag] for tag in row["ner_tags"]] for row in found]
    spell = getattr(rows.features["labels"].feature, "int2str", lambda tags: tags)
    assert values == [spell(row["labels"]) for row in rows]


def test_a_tag_of_no_scheme_is_named():
    with pytest.raises(DataError, match="column ner_tags: tag 'X-PER' is not BIOES: expected O, B-TYPE"):
        map_columns(Dataset.from_dict({"labels": [BIOES, BIOES, ["X-PER"]]}), COLUMNS)


def test_json_lines_of_another_scheme_are_a_source(tmp_path):
    rows = [{"id": f"p{i}", "tokens": [*WORDS, str(i)], "ner_tags": [*BIOES, "O"]} for i in range(8)]
    source = tmp_path / "set"
    source.mkdir()
    (source / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.warns(UserWarning, match="column ner_tags: tags are BIOES"):
        checked = validate(str(source))
    assert checked.ok
    publish(augment(str(source), EDA(), progress=False, config="c"), tmp_path / "out")
    assert verify(tmp_path / "out", "c", rerun=True, source=str(source)).ok
