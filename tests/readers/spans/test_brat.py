"""brat's folders of texts and annotations."""

from itertools import islice

import pytest
from tool_exports import counts, posts

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers import read
from hf_mner_aug.readers.spans.brat import read_brat

TEXT = "Adele sings\nin New\nYork and Los Angeles."
PER, LOC = "T1\tPER 0 5\tAdele\n", "T2\tLOC 28 39\tLos Angeles\n"


def write(folder, name, text, annotations):
    path = folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    if annotations is not None:
        path.with_suffix(".ann").write_bytes(annotations.encode())
    return path


def test_a_split_is_a_folder_and_a_post_a_document(tmp_path):
    write(tmp_path / "train", "b/2", TEXT, PER)
    write(tmp_path / "train", "10", TEXT, LOC)
    write(tmp_path / "train", "none", TEXT, "")
    write(tmp_path / "train", "open", TEXT, None)
    write(tmp_path / "dev", "3", TEXT, PER)
    (tmp_path / "train" / "10.jpg").write_bytes(b"\xff\xd8 no text")
    reading = read("brat", tmp_path)
    assert reading.splits == ("train", "validation")
    assert posts("brat", tmp_path) == {
        "10": [("LOC", "Los Angeles")],
        "b/2": [("PER", "Adele")],
        "none": [],
        "3": [("PER", "Adele")],
    }
    assert counts("brat", tmp_path) == {"unlabelled": 1}
    assert [post.pictures for post in islice(read_brat(tmp_path / "train"), 2)] == [("10",), ("2",)]
    assert posts("brat", tmp_path / "dev") == posts("brat", tmp_path / "dev" / "3.ann") == {"3": [("PER", "Adele")]}


def test_spans_in_pieces(tmp_path):
    text = "North and South America, New\nYork"
    lines = ["T1\tLOC 0 5;16 23\tNorth America", "T2\tLOC 10 23\tSouth America", "T3\tCITY 25 28;29 33\tNew York"]
    write(tmp_path, "1", text, "\n".join(lines))
    assert posts("brat", tmp_path) == {"1": [("LOC", "North and South America"), ("CITY", "New York")]}
    assert counts("brat", tmp_path) == {"discontinuous": 1, "nested_spans": 1}


def test_events_relations_and_notes_are_no_entities(tmp_path):
    lines = [
        PER.strip(),
        "T7\tSinging 6 11\tsings",
        "E1\tSinging:T7 Who:T1",
        "R1\tIn Arg1:T1 Arg2:T1",
        "*\tEquiv T1 T7",
    ]
    lines += [
        "A1\tNegation E1",
        "#1\tAnnotatorNotes T1\tT9\tPER 0 5",
        "N1\tReference T1 Wikipedia:1\tAdele",
        "",
        "M1\tX T1",
    ]
    write(tmp_path, "1", TEXT, "\n".join(lines))
    assert posts("brat", tmp_path) == {"1": [("PER", "Adele")]}
    assert counts("brat", tmp_path) == {"left_relations": 1}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("counted", [("", "\n"), ("\ufeff", "\n"), ("", "\r\n")])
def test_the_texts_of_spans_tell_what_offsets_count(tmp_path, ending, mark, counted):
    there = counted[0] + TEXT.replace("\n", counted[1])
    spans = [(kind, there.index(text), text) for kind, text in (("PER", "Adele"), ("LOC", "Los Angeles"))]
    if len(counted[0]) > len(mark):
        return  # a mark that was lost cannot be counted
    lines = [f"T{i}\t{kind} {at} {at + len(text)}\t{text}" for i, (kind, at, text) in enumerate(spans)]
    write(tmp_path, "1", mark + TEXT.replace("\n", ending), ending.join(lines))
    assert posts("brat", tmp_path) == {"1": [("PER", "Adele"), ("LOC", "Los Angeles")]}


def test_a_broken_document_is_left_out_with_its_line(tmp_path):
    broken = ["T1 PER 0 5 Adele", "T1\tPER 0\tAdele", "T1\tPER 0 x\tAdele", "T1\tPER 0 5;\tAdele", "T1\t 0 5\tAdele"]
    for i, line in enumerate(broken):
        write(tmp_path, f"bad{i}", TEXT, f"{LOC}{line}\n")
    write(tmp_path, "far", TEXT, "T1\tPER 0 50\tAdele")
    write(tmp_path, "other", TEXT, "T1\tPER 1 6\tAdele")
    right = {f"good{i}": [("PER", "Adele")] for i in range(8)}
    for name in right:
        write(tmp_path, name, TEXT, PER)
    (tmp_path / "alone.ann").write_text(PER)
    assert posts("brat", tmp_path) == right
    assert counts("brat", tmp_path) == {"bad_lines": 8}
    assert "alone: expected a text beside its annotations, found no alone.txt" in str(read("brat", tmp_path).report)
    assert "bad0.ann line 2: expected ID<TAB>TYPE START END<TAB>text" in str(read("brat", tmp_path).report)


def test_files_of_bionlp_are_read(tmp_path):
    write(tmp_path, "1", TEXT, None)
    (tmp_path / "1.a1").write_text(PER)
    assert posts("brat", tmp_path) == {"1": [("PER", "Adele")]}


def test_a_link_that_leads_out_leaves_out_its_text(tmp_path):
    write(tmp_path / "in", "1", TEXT, PER)
    write(tmp_path, "secret", TEXT, PER)
    (tmp_path / "in" / "2.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "in" / "2.ann").write_text(PER)
    assert posts("brat", tmp_path / "in") == {"1": [("PER", "Adele")]}
    (fault,) = read("brat", tmp_path / "in").report.splits["train"].examples["bad_lines"]
    assert "leads out of" in fault


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no post could be read"):
        read("brat", tmp_path)
