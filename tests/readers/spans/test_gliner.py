"""GLiNER's training data: words, and spans of words whose end is inclusive."""

import pytest
from tool_exports import counts, posts, write_array, write_lines

from hf_mner_aug.exceptions import DataError

WORDS = ["Adele", "isn't", "in", "Los", "Angeles", "."]


@pytest.mark.parametrize("write", [write_array, write_lines])
def test_the_end_of_a_span_is_its_last_word(tmp_path, write):
    record = {"tokenized_text": WORDS, "ner": [[0, 0, "person"], [3, 4, "geo place"]], "ner_labels": ["x"]}
    path = write(tmp_path / "train.json", record, {"tokenized_text": WORDS[:2], "ner": []})
    assert posts("gliner", path) == {"train-1": [("person", "Adele"), ("geo place", "Los Angeles")], "train-2": []}
    assert posts("gliner", path, types={"person": "PER"})["train-1"][0] == ("PER", "Adele")


def test_a_span_outside_of_the_words_loses_its_post(tmp_path):
    bad = [[4, 6, "x"], [-1, 0, "x"], [3, 2, "x"], [0, 1], [0, 1, None], 3]
    good = {"id": "7", "tokenized_text": WORDS, "ner": [[0, 0, "person"]]}
    records = [{"tokenized_text": WORDS, "ner": [span]} for span in bad]
    wrong = [{"tokenized_text": "Adele", "ner": []}, {"tokenized_text": [], "ner": []}, {"text": "a", "ner": []}]
    goods = [{**good, "id": str(i)} for i in range(10)]
    path = write_array(tmp_path / "train.json", *goods, *records, *wrong)
    assert posts("gliner", path) == {str(i): [("person", "Adele")] for i in range(10)}
    assert counts("gliner", path) == {"bad_lines": len(bad) + len(wrong)}


def test_odd_words_keep_the_places_of_spans(tmp_path):
    words = ["", "New York", " ", "is", "Adele"]
    path = write_array(tmp_path / "train.json", {"tokenized_text": words, "ner": [[1, 1, "LOC"], [4, 4, "PER"]]})
    assert posts("gliner", path) == {"train-1": [("LOC", "New York"), ("PER", "Adele")]}


def test_a_file_of_other_fields_is_refused_with_the_option_that_names_them(tmp_path):
    path = write_array(
        tmp_path / "train.json", *[{"words": WORDS, "spans": [[0, 0, "PER"]], "id": i} for i in range(3)]
    )
    with pytest.raises(
        DataError, match=r"3 of .expected 'tokenized_text' .*: name the fields with --columns, as text="
    ):
        posts("gliner", path)
    named = posts("gliner", path, columns={"text": "words", "spans": "spans"})
    assert named == {str(i): [("PER", "Adele")] for i in range(3)}
