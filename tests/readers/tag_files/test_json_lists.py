"""JSON with lists of words and tags: which fields are read, and what a record may be."""

import json

import pytest

from hf_mner_aug.exceptions import DataError, UnknownName
from hf_mner_aug.readers import read

POST = {"tokens": ["Ann", "met", "Lee"], "ner_tags": ["B-PER", "O", "B-PER"]}


def written(path, *records, array=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text(f"[{','.join(lines)}]" if array else "\n".join(lines), encoding="utf-8", errors="surrogatepass")
    return path


def posts(reading, split="train"):
    names = reading.features["ner_tags"].feature.names
    return [(row["id"], row["tokens"], [names[tag] for tag in row["ner_tags"]]) for row in reading.rows(split)]


def said(reading):
    (line,) = [line for line in reading.report.recognised if line.startswith("columns")]
    return line


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(
    "names", [("tokens", "ner_tags"), ("words", "labels"), ("sentence", "tags"), ("text", "label"), ("x", "y")]
)
def test_fields_are_recognised_whatever_their_names(tmp_path, names, array):
    words, tags = names
    record = {words: POST["tokens"], "pos_tags": ["NNP", "VBD", "NNP"], "chunks": ["B-NP", "B-VP", "B-NP"]}
    record = {**record, tags: POST["ner_tags"], "domain": "news", "empty": []}
    reading = read("jsonl-bio", written(tmp_path / "train.jsonl", {"id": 7, **record}, record, array=array))
    assert posts(reading) == [
        ("7", POST["tokens"], POST["ner_tags"]),
        ("train-2", POST["tokens"], POST["ner_tags"]),
    ]
    assert said(reading) == (
        f"columns recognised: {words} has words, {tags} has tags of entities; pos_tags is not read (as NNP, VBD); "
        f"chunks is not read (chunks, as B-NP, B-VP); the same as --columns tokens={words},ner_tags={tags}"
    )


def test_named_fields_are_taken(tmp_path):
    record = {"w": POST["tokens"], "a": POST["ner_tags"], "b": ["O", "O", "B-ORG"], "data": {"key": "k"}}
    path = written(tmp_path / "train.jsonl", {**record, "pic": "1.jpg"})
    with pytest.raises(DataError, match=r"a and b may have tags of entities: name those to read, as --columns tokens="):
        read("jsonl-bio", path)
    whole = read("jsonl-bio", path, columns={"tokens": "w", "ner_tags": "b", "id": "data.key", "image": "pic"})
    assert posts(whole) == [("k", POST["tokens"], ["O", "O", "B-ORG"])]
    assert [post.pictures for post in whole.raw.parse(path)] == [("1.jpg",)]
    part = read("jsonl-bio", path, columns={"ner_tags": "a"})
    assert posts(part)[0][2] == POST["ner_tags"]
    with pytest.raises(UnknownName, match="field to name 'labels'"):
        read("jsonl-bio", path, columns={"labels": "a"})


def test_coarse_and_fine_tags_and_other_schemes(tmp_path):
    record = {"tokens": ["Ann", "Lee", "ran"], "tags": ["PER", "PER", "O"], "fine": ["B-actor", "E-actor", "O"]}
    reading = read("jsonl-bio", written(tmp_path / "train.jsonl", record))
    assert posts(reading)[0][2] == ["B-PER", "I-PER", "O"]
    assert reading.features["fine_tags"].feature.names == ["O", "B-actor", "I-actor"]


def test_pictures_of_records(tmp_path):
    records = [
        {**POST, "image": "a/1.jpg"},
        {**POST, "images": ["1.jpg", "https://x.org/2.png"]},
        {**POST, "image": None},
        POST,
    ]
    reading = read("jsonl-bio", written(tmp_path / "train.jsonl", *records))
    found = [list(post.pictures) for post in reading.raw.parse(tmp_path / "train.jsonl")]
    assert found == [["a/1.jpg"], ["1.jpg", "https://x.org/2.png"], [], ["train-4"]]
    assert reading.raw.images == "many"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('{"tokens": [', "not JSON"),
        ([1, 2], "expected an object with words and tags, found"),
        ({"tokens": ["a"]}, "expected a tag in 'ner_tags' for each of 1 words, found 'None'"),
        (
            {"tokens": ["a", "b"], "ner_tags": ["O"]},
            "expected a tag in 'ner_tags' for each of 2 words, found 1 of them",
        ),
        ({"tokens": "a b", "ner_tags": ["O"]}, "expected a list of words in 'tokens', found 'a b'"),
        ({"tokens": ["a", " "], "ner_tags": ["O", "O"]}, "word 1 of 'tokens' is ' '"),
        ({"tokens": ["a", None], "ner_tags": ["O", "O"]}, "word 1 of 'tokens' is None"),
        ({"tokens": ["\\ud83d"], "ner_tags": ["O"]}, "word 0 of 'tokens' is"),
        ({"tokens": ["a"], "ner_tags": [3]}, "expected tags as text in 'ner_tags', found '3'"),
        ({"tokens": ["a", "b"], "ner_tags": ["O", None]}, "expected tags as text in 'ner_tags', found 'None'"),
        ({"tokens": ["a", "b"], "ner_tags": ["O", []]}, "expected tags as text in 'ner_tags', found '[]'"),
        ({"tokens": ["a"], "ner_tags": ["Q-PER"]}, "post train-2: tag 'Q-PER' is not BIO"),
        ({**POST, "id": " "}, "expected an id, found ' '"),
        ({**POST, "id": [1]}, "expected an id, a text or a whole number, found"),
        ({**POST, "image": {"path": 1}}, "expected the name of a picture or a list of names"),
        ({"tokens": ["a"] * 10_001, "ner_tags": ["O"] * 10_001}, "post train-2 has 10,001 words, over 10,000"),
    ],
)
def test_a_faulty_record_is_left_out_with_its_line(tmp_path, record, reason):
    record = record if isinstance(record, str) else json.dumps(record).replace("\\\\ud", "\\ud")
    reading = read("jsonl-bio", written(tmp_path / "train.jsonl", POST, record, POST))
    assert [post_id for post_id, _, _ in posts(reading)] == ["train-1", "train-3"]
    (example,) = reading.report.splits["train"].examples["bad_lines"]
    assert example.startswith(f"line 2: {reason}")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [{"tokens": ["a", "b"], "ner_tags": [1, 0]}],
            r"none has tags of entities \(ner_tags has numbers, which have no",
        ),
        ([{"text": "a b"}], r"train\.jsonl: there are no lists of texts: name those to read, as --columns tokens="),
        ([], "there are no lists of texts"),
    ],
)
def test_files_without_tags_are_refused(tmp_path, records, message):
    with pytest.raises(DataError, match=message):
        read("jsonl-bio", written(tmp_path / "train.jsonl", *records))


def test_a_field_that_has_lists_in_some_record_is_compared_where_it_has_texts(tmp_path):
    two = {"tokens": ["Ann", "ran"], "ner_tags": ["B-PER", "O"], "fine": ["B-singer", "O"]}
    reading = read("jsonl-bio", written(tmp_path / "train.jsonl", two, {**two, "fine": [["B-singer"], "O"]}, two))
    assert [post_id for post_id, _, _ in posts(reading)] == ["train-1", "train-3"]
