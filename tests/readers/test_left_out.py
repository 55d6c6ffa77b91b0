"""Rows that give no post: counted by reason, listed, and too many of them."""

import json

import pytest
from datasets import Dataset

from hf_mner_aug import from_spans
from hf_mner_aug.cli import main
from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers import RAW_SETS, read
from hf_mner_aug.readers.left_out import _BEGINNINGS
from hf_mner_aug.readers.report import sort_of

GOOD = {"text": "Adele sings", "spans": [[0, 5, "PER"]]}


def written(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (row if isinstance(row, str | bytes) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_bytes(b"\n".join(text if isinstance(text, bytes) else text.encode() for text in texts) + b"\n")
    return path


def listing(path):
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


@pytest.mark.parametrize(
    ("reason", "sort"),
    [
        ("post 12: expected a word, a tab or one space, found 'x'", "expected a word, a tab or one space"),
        ("post a b has 10,001 words, over 10,000: it is left out", "has … words, over …"),
        ("post ab has 10,001 words, over 10,000: it is left out", "has … words, over …"),
        ("not JSON (Expecting value: line 1 column 1 (char 0))", "not JSON"),
        ("expected UTF-8 text, found b'\\xff'", "expected UTF-… text"),
        ("expected 'text' with a text, found 7", "expected 'text' with a text"),
        ("tag 'X-PER' is not BIO: expected O, B-TYPE or I-TYPE", "tag … is not BIO: expected O, B-TYPE or I-TYPE"),
        ("head [0, 2) does not fit 1 words", "head […, …) does not fit … words"),
        ("post 'a': the span [0, 9) 'PER' does not fit the text of 5: it is left out", "the span […, …) … does not fit "
         "the text of …"),
        ("", "no reason"),
    ],
)  # fmt: skip
def test_reasons_are_alike_without_their_details(reason, sort):
    assert sort_of(reason) == sort


def test_every_row_left_out_is_counted_by_reason_and_listed(tmp_path):
    rows = [{**GOOD, "text": "Adele ♪♪♪"}] * 5 + [
        "{",
        b'{"text": "\xff"}',
        {"text": "\u202ea\x1b", "spans": [[0, 9, "PER"]]},
        {"text": "a"},
    ]
    written(tmp_path / "raw" / "train.jsonl", *rows)
    written(tmp_path / "raw" / "test.jsonl", GOOD, "}", GOOD)
    report = convert("spans", tmp_path / "raw", tmp_path / "out", left_out=tmp_path / "new" / "left.jsonl")
    assert {split: counts.bad_lines for split, counts in report.splits.items()} == {"train": 4, "test": 1}
    assert sum(cause.count for cause in report.splits["train"].reasons.values()) == 4
    found = listing(tmp_path / "new" / "left.jsonl")
    assert [(row["split"], row["file"], row["line"], row["counter"]) for row in found] == [
        *(("train", "train.jsonl", line, "bad_lines") for line in (6, 7, 8, 9)),
        ("test", "test.jsonl", 2, "bad_lines"),
    ]
    assert [row["reason"] for row in found][:2] == ["not JSON", "expected UTF-… text"]
    assert found[0]["detail"].startswith("not JSON (Expecting property name")
    assert "train: of those left out 1 of 'not JSON', 1 of 'expected UTF-… text', " in str(report)
    saved = json.loads((tmp_path / "out" / "convert.json").read_text())["splits"]["test"]["reasons"]
    assert saved == {"not JSON": {"count": 1, "example": "line 2: " + found[-1]["detail"]}}


def test_half_is_read_and_more_than_half_stops_with_reasons(tmp_path):
    bad = ["{", "{", {"text": "a", "spans": [[0, 9, "PER"]]}, {"spans": []}, {"text": 3, "spans": []}]
    assert (
        convert("spans", written(tmp_path / "a.jsonl", *[GOOD] * 5, *bad), tmp_path / "out").splits["train"].posts == 5
    )
    with pytest.raises(DataError) as caught:
        convert("spans", written(tmp_path / "b.jsonl", *[GOOD] * 4, *bad), tmp_path / "out2", left_out=tmp_path / "r")
    told = str(caught.value)
    assert told.startswith(
        f"{tmp_path / 'b.jsonl'}: 5 of 9 rows cannot be read; the likeliest reasons: (1) 2 of 'not JSON"
    )
    assert "(2) 1 of 'the span […, …) … does not fit the text" in told
    assert "--offsets utf16 or bytes; (3) 1 of " in told
    assert "(4)" not in told
    assert not (tmp_path / "out2").exists()
    assert [row["line"] for row in listing(tmp_path / "r")] == [5, 6, 7, 8, 9]


def test_a_file_of_which_nothing_can_be_read_has_reasons_too(tmp_path):
    source = written(tmp_path / "train.txt", "IMGID:1", "Adele\tB-PER", "sings\tO")
    with pytest.raises(DataError) as caught:
        read("mnre", source, left_out=tmp_path / "r")
    told = str(caught.value)
    assert (
        "no post could be read; the likeliest reasons: (1) the file begins with 'IMGID:', as those of conll, " in told
    )
    assert "(2) 3 of 'not a Python literal" in told
    assert "first lines of" in told
    assert len(listing(tmp_path / "r")) == 3
    with pytest.raises(DataError, match=r"no post could be read; .*\(1\) 1 of .*--columns, as text=body"):
        read("spans", written(tmp_path / "c.jsonl", {"what": "a", "spans": []}))


def test_a_text_in_another_field_is_no_question_of_the_encoding(tmp_path):
    source = written(tmp_path / "c.jsonl", json.dumps({"data": {"tweet": "Adele"}, "spans": []}))
    with pytest.raises(DataError, match="expected a text") as caught:
        read("spans", source)
    assert str(caught.value).endswith("name the fields with --columns, as text=body,spans=labels")
    assert "--encoding" not in str(caught.value)


def test_a_file_without_labelled_texts_says_so(tmp_path):
    source = written(tmp_path / "c.jsonl", json.dumps({"text": "Adele", "label": []}))
    with pytest.raises(DataError, match=r"no post could be read: nobody labelled a text, as line 1: a task without an"):
        read("prodigy", source)
    with pytest.raises(DataError, match=r"no post could be read: expected texts NAME\.txt with NAME\.ann in it"):
        read("brat", tmp_path)


def test_a_file_for_another_set_is_named(tmp_path):
    source = written(tmp_path / "train.txt", "IMGID:1", "Adele\tB-PER", "sings\tO")
    for name in ("spans", "cmner", "mner_mi"):
        with pytest.raises(DataError, match=r"the file begins with 'IMGID:', as those of conll, .* do: convert it"):
            read(name, source)
    source = written(tmp_path / "train.txt", GOOD, GOOD)
    for name in ("mnre", "conll", "twitter2015"):
        with pytest.raises(
            DataError, match=r"as those of spans, doccano, prodigy, label-studio do: convert it by such"
        ):
            read(name, source)
    with pytest.raises(DataError) as caught:
        read("twitter2015", written(tmp_path / "train.txt", "IMGID:1", "Adele B-PER x y"))
    assert "begins with" not in str(caught.value)


def test_rows_of_a_dataset_are_most_of_them_read_too():
    bad = [{"text": "a", "spans": [[0, 9, "PER"]]}] * 3
    rows = [{**row, "spans": json.dumps(row["spans"])} for row in [GOOD, GOOD, *bad]]
    with pytest.raises(
        DataError, match=r"train: 3 of 5 rows cannot be read; the likeliest reasons: \(1\) 3 of 'the span"
    ):
        from_spans(Dataset.from_list(rows))
    with pytest.warns(UserWarning, match="3 lines left out, as row 4: "):
        assert len(from_spans(Dataset.from_list([GOOD | {"spans": rows[0]["spans"]}, *rows]))) == 3


def test_lines_of_posts_that_are_kept_are_compared_with_words(tmp_path):
    block = "WID:{}\n" + "好\tB-LOC\n" * 3 + "broken\n"
    source = written(tmp_path / "train.txt", "".join(block.format(i) for i in range(3)).strip())
    counts = read("cmner", source).report.splits["train"]
    assert (counts.posts, counts.bad_lines, counts.bad_parts) == (3, 3, 3)
    with pytest.raises(DataError, match=r"6 of 9 lines cannot be read; .*6 of 'expected a word, a tab or one space"):
        read("cmner", written(tmp_path / "train.txt", *["WID:1", "好\tB-LOC", "x", "x"] * 3))


def test_advice_names_options_that_the_set_takes(tmp_path):
    rows = [{"token": 3, "h": {}, "t": {}, "img_id": "1", "relation": "None"}] * 2
    with pytest.raises(DataError, match="correct these rows") as caught:
        read("mnre", written(tmp_path / "train.txt", *rows))
    assert "--columns" not in str(caught.value)


def test_where_the_list_may_be_written(tmp_path):
    source = written(tmp_path / "train.jsonl", GOOD)
    with pytest.raises(UsageError, match=r"--report .*: expected a file outside of"):
        convert("spans", source, tmp_path / "out", left_out=tmp_path / "out" / "left.jsonl")
    with pytest.raises(UsageError, match=r"--report .*: expected a file, found a folder"):
        convert("spans", source, tmp_path / "out", left_out=tmp_path)


@pytest.mark.parametrize("way", ["itself", "a link", "a hard link"])
def test_a_list_replaces_only_an_earlier_one(tmp_path, way):
    source = written(tmp_path / "train.jsonl", GOOD, "{", GOOD)
    raw, place = source.read_bytes(), source if way == "itself" else tmp_path / "other"
    if way == "a link":
        place.symlink_to(source)
    elif way == "a hard link":
        place.hardlink_to(source)
    with pytest.raises(UsageError, match="the file is there and is not an earlier report"):
        convert("spans", source, tmp_path / "out", left_out=place)
    assert source.read_bytes() == raw
    (tmp_path / "empty").touch()
    for _ in range(2):
        convert("spans", source, tmp_path / "out", left_out=tmp_path / "empty")
        assert [row["line"] for row in listing(tmp_path / "empty")] == [2]


def test_the_command_lists_them(tmp_path, monkeypatch, capsys):
    source = written(tmp_path / "train.jsonl", GOOD, "{", {"text": "", "spans": []}, GOOD)
    names = ["convert", "spans", str(source), "--out", str(tmp_path / "out"), "--report", str(tmp_path / "left.jsonl")]
    monkeypatch.setattr("sys.argv", ["hf-mner-aug", *names])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    assert "1 lines left out, as line 2: not JSON" in capsys.readouterr().out
    assert [row["line"] for row in listing(tmp_path / "left.jsonl")] == [2, 3]


def test_beginnings_name_sets_that_there_are():
    assert {name for names in _BEGINNINGS.values() for name in names} <= {*RAW_SETS, "conll2003", "conllu", "jsonl-bio"}
