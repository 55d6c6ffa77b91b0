"""spaCy's files: DocBin, and the JSON of its versions."""

import gc
import json

import pytest
from tool_exports import counts, posts, write_array, write_lines

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers import read
from hf_mner_aug.readers.spans.spacy import read_spacy

TEXT = "Adele isn't in Los Angeles,\n\n😀 café!"
ENTS = [(0, 5, "PER"), (15, 26, "LOC")]
RIGHT = [("PER", "Adele"), ("LOC", "Los Angeles")]
WORDS = ["Adele", "is", "n't", "in", "Los", "Angeles", ",", "😀", "café", "!"]


@pytest.fixture(scope="module")
def docs():
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    doc = nlp(TEXT)
    doc.ents = [doc.char_span(start, end, label=kind) for start, end, kind in ENTS]
    none, unset = nlp("Nothing here."), nlp("never annotated")
    none.ents = []
    apart = spacy.tokens.Doc(nlp.vocab, words=["Los", "Angeles", "Adele"], ents=["B-LOC", "I-LOC", "B-PER"])
    joined = spacy.tokens.Doc(nlp.vocab, words=["東", "京"], spaces=[False, False], ents=["B-LOC", "I-LOC"])
    doc.user_data.update({"post_id": "tw-1", "images": ["a.jpg", "b.jpg"], ("._.", "x", None, None): 1})
    return [doc, none, unset, apart, joined]


def test_a_docbin_keeps_words_and_entities(docs, tmp_path):
    from spacy.tokens import DocBin

    path = tmp_path / "train.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    assert posts("spacy", path) == {
        "tw-1": RIGHT,
        "train-2": [],
        "train-4": [("LOC", "Los Angeles"), ("PER", "Adele")],
        "train-5": [("LOC", "東 京")],
    }
    assert counts("spacy", path) == {"unlabelled": 1}
    first = next(read("spacy", path).rows("train"))
    assert first["tokens"] == WORDS
    found = list(read_spacy(path))
    assert (found[0].text, found[0].pictures) == (TEXT, ("a.jpg", "b.jpg"))
    assert (found[3].text, found[4].text) == ("Los Angeles Adele ", "東京")
    DocBin(docs=docs, attrs=["ENT_TYPE", "LEMMA", "ENT_IOB"]).to_disk(path)
    assert posts("spacy", path)["train-1"] == RIGHT


def test_the_entities_are_those_that_spacy_reads(docs, tmp_path):
    import spacy
    from spacy.tokens import DocBin

    path = tmp_path / "train.spacy"
    DocBin(docs=docs[:2] + docs[3:]).to_disk(path)
    theirs = [
        [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]
        for doc in DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)
    ]
    assert [[span[:3] for span in found.spans] for found in read_spacy(path)] == theirs


def test_other_bytes_are_refused(docs, tmp_path):
    import zlib

    from spacy.tokens import DocBin

    good = DocBin(docs=docs).to_bytes()
    path = tmp_path / "train.spacy"
    for data in (
        b"",
        b"text",
        good[:-20],
        zlib.compress(b""),
        zlib.compress(b"\xff" * 100),
        zlib.compress(b"\x81\x01"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match="expected a DocBin of spaCy, found other bytes"):
            list(read_spacy(path))
        assert gc.isenabled()
    packed = zlib.decompress(good)
    path.write_bytes(zlib.compress(packed.replace(b"\xa3PER", b"\x01\x01\x01\x01")))
    with pytest.raises(DataError, match="expected a DocBin of spaCy, found other bytes"):
        list(read_spacy(path))


def test_what_would_fill_the_memory_is_refused(docs, tmp_path, monkeypatch):
    from spacy.tokens import DocBin

    monkeypatch.setattr("hf_mner_aug.readers.spans.spacy.MAX_BYTES", 1000)
    path = tmp_path / "train.spacy"
    DocBin(docs=docs).to_disk(path)
    with pytest.raises(DataError, match="expected at most 1,000 bytes, unpacked"):
        list(read_spacy(path))


def test_the_json_of_version_3(docs, tmp_path):
    from spacy.training import Example

    path = write_array(tmp_path / "train.json", *(doc.to_json() for doc in docs))
    assert posts("spacy", path)["train-1"] == RIGHT
    assert next(read("spacy", path).rows("train"))["tokens"] == WORDS
    assert counts("spacy", path) == {"unlabelled": 1}
    path = write_lines(tmp_path / "train.jsonl", *(Example(doc, doc).to_dict() for doc in docs))
    assert posts("spacy", path)["train-1"] == RIGHT
    assert posts("spacy", path)["train-5"] == [("LOC", "東 京")]


def test_the_json_of_version_2(docs, tmp_path):
    from spacy.training.gold_io import docs_to_json

    path = write_array(tmp_path / "train.json", docs_to_json(docs[:2]), docs_to_json(docs[:1], 7))
    assert posts("spacy", path) == {"train-1": RIGHT, "train-2": [], "train-3": RIGHT}
    missing = [{"orth": "Adele", "ner": "-"}, {"orth": "sings"}]
    tagged = [{"orth": "Adele", "ner": "U-PER"}, {"orth": "sings", "ner": "-"}]
    paragraphs = [{"sentences": [{"tokens": tokens}]} for tokens in (missing, tagged)]
    path = write_array(tmp_path / "train.json", {"id": 1, "paragraphs": paragraphs})
    assert posts("spacy", path) == {"train-2": [("PER", "Adele")]}
    assert counts("spacy", path) == {"unlabelled": 1}


def test_pairs_of_a_text_and_its_entities(tmp_path):
    pair = [TEXT, {"entities": [list(ent) for ent in ENTS]}]
    with_id = [TEXT, {"entities": [[0, 5, "PER", "Q1"], [15, 26, "LOC", ""]]}]
    for path in (
        write_array(tmp_path / "array.json", pair, with_id),
        write_lines(tmp_path / "lines.jsonl", pair, with_id),
    ):
        assert list(posts("spacy", path).values()) == [RIGHT, RIGHT]
    whole = {"classes": ["PER"], "annotations": [pair, None, ["", {"entities": []}]]}
    for indent in (None, 2):
        path = tmp_path / "tool.json"
        path.write_text(json.dumps(whole, indent=indent), "utf-8")
        assert posts("spacy", path) == {"tool-1": RIGHT}
        assert counts("spacy", path) == {"empty_posts": 1}


def test_records_that_are_none_are_left_out(tmp_path):
    pair = [TEXT, {"entities": [list(ent) for ent in ENTS]}]
    bad = [[TEXT], [TEXT, 3], [3, {}], 7, {"text": TEXT, "entities": [[0, 5]]}, {"text": TEXT, "ents": [{"start": 0}]}]
    bad += [{"token_annotation": {"ORTH": ["a"]}, "doc_annotation": {"entities": []}}, {"sentences": 3}]
    path = write_array(tmp_path / "train.json", *[pair] * 8, *bad)
    assert len(posts("spacy", path)) == 8
    assert counts("spacy", path) == {"bad_lines": 8}
