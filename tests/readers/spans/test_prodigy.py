"""Prodigy's JSON Lines: answers, binary tasks, tokens, pictures."""

from tool_exports import counts, posts, write_lines

from hf_mner_aug.readers.spans.prodigy import read_prodigy

TEXT = "Adele isn't in Rome"
PER, LOC = {"start": 0, "end": 5, "label": "PER"}, {"start": 15, "end": 19, "label": "LOC"}
WORDS = [(0, 5), (6, 8), (8, 11), (12, 14), (15, 19)]
TOKENS = [{"text": TEXT[a:b], "start": a, "end": b, "id": i, "ws": True} for i, (a, b) in enumerate(WORDS)]


def test_only_accepted_answers_are_taken(tmp_path):
    path = write_lines(
        tmp_path / "train.jsonl",
        {"text": TEXT, "spans": [PER], "answer": "accept", "meta": {"id": "a"}},
        {"text": TEXT, "spans": [LOC], "answer": "reject", "meta": {"id": "b"}},
        {"text": TEXT, "spans": [LOC], "answer": "ignore", "meta": {"id": "c"}},
        {"text": TEXT, "answer": "accept", "meta": {"id": "d"}},
        {"text": TEXT, "spans": [PER, LOC], "meta": {"id": "e"}},
        {"text": TEXT, "meta": {"id": "f"}},
    )
    right = {"a": [("PER", "Adele")], "d": [], "e": [("PER", "Adele"), ("LOC", "Rome")]}
    assert posts("prodigy", path) == right
    assert counts("prodigy", path) == {"rejected": 2, "unlabelled": 1}


def test_the_last_answer_to_an_input_is_taken_and_binary_ones_are_put_together(tmp_path):
    manual = {"text": TEXT, "answer": "accept", "_input_hash": 1, "_view_id": "ner_manual"}
    binary = {"text": TEXT, "answer": "accept", "_input_hash": -2, "_view_id": "ner"}
    path = write_lines(
        tmp_path / "train.jsonl",
        {**manual, "spans": [LOC], "id": "first"},
        {**binary, "spans": [PER], "id": "x"},
        {**manual, "spans": [PER], "id": "last"},
        {**binary, "spans": [{"start": 6, "end": 11, "label": "ORG"}], "answer": "reject", "id": "y"},
        {**binary, "_view_id": None, "_is_binary": True, "spans": [LOC], "id": "z"},
    )
    assert posts("prodigy", path) == {"last": [("PER", "Adele")], "z": [("PER", "Adele"), ("LOC", "Rome")]}
    assert counts("prodigy", path) == {"rejected": 1, "other_annotations": 1}


def test_tokens_are_the_words(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", {"text": TEXT, "tokens": TOKENS, "spans": [LOC], "answer": "accept"})
    (found,) = read_prodigy(path)
    assert found.words == WORDS
    assert posts("prodigy", path) == {"train-1": [("LOC", "Rome")]}


def test_pictures_are_named_and_areas_of_them_are_no_spans(tmp_path):
    area = {"x": 1, "y": 2, "width": 3, "height": 4, "label": "PER", "points": [[1, 2], [3, 4]]}
    task = {"text": TEXT, "image": "https://example.com/7.jpg", "spans": [area, PER], "answer": "accept"}
    (found,) = read_prodigy(write_lines(tmp_path / "train.jsonl", {**task, "relations": [{"head": 0, "child": 2}]}))
    assert found.pictures == ("https://example.com/7.jpg",)
    assert [span[:3] for span in found.spans] == [(0, 5, "PER")]
    assert found.notes == [("left_relations", "line 1")]
