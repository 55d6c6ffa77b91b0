"""Lists of typed names: what a line may be, and where a text has them."""

import os

import pytest

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.name_lists import ListedName, add_up, find_names, lexicon_of, read_names, to_line


def read(tmp_path, data):
    path = tmp_path / "names.tsv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read_names(path))


def test_lines_of_tabs_and_of_json_are_names(tmp_path):
    text = (
        "\ufeffPER\tStephen  Curry\n\n# a comment\r\nLOC\tNew York\t2.5\r\n"
        '{"type": "ORG", "name": "#NBA", "weight": 3, "more": 1}\nPER\tC\u00e9line'
    )
    assert read(tmp_path, text) == [
        ListedName("PER", ("Stephen", "Curry")),
        ListedName("LOC", ("New", "York"), 2.5),
        ListedName("ORG", ("#NBA",), 3.0),
        ListedName("PER", ("C\u00e9line",)),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Stephen Curry", "expected TYPE<TAB>NAME, .* found 'Stephen Curry'"),
        ("\tCurry", "expected TYPE<TAB>NAME"),
        ("PER\t  ", "expected TYPE<TAB>NAME"),
        ("PER\tCurry\t1\tmore", "expected TYPE<TAB>NAME"),
        ("PER\tCurry\tmany", "expected a weight above 0, found 'many'"),
        ("PER\tCurry\t-1", "expected a weight above 0, found -1.0"),
        ("PER\tCurry\tnan", "expected a weight above 0, found nan"),
        ("PER\tCurry\tinf", "expected a weight above 0, found inf"),
        ("PER\tCu\u202erry", "without control characters"),
        ("PER\tCu\x1b[31mrry", "without control characters"),
        ("PER\t" + "a " * 11, "a name of at most 10 words, found 11"),
        ("PER\t" + "a" * 2000, "expected at most 1000 characters, found more"),
        ('{"type": "PER"}', "expected .*name"),
        ('{"type": "PER", "name": 3}', "expected text, found 3"),
        ('{"type": "PER", "name": "x", "weight": "1"}', "expected a number"),
        ('{"type": "PER", "name"', "expected JSON"),
        ("[" * 900, "expected TYPE<TAB>NAME"),
        (b"PER\tC\xe9line", "expected UTF-8, found the byte 0xe9"),
    ],
)
def test_a_line_that_is_no_name_is_told_in_one_line(tmp_path, line, said):
    good = b"PER\tCurry\n"
    with pytest.raises(DataError, match=f"names.tsv line 2: .*{said}") as error:
        read(tmp_path, good + (line if isinstance(line, bytes) else line.encode()))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_file_without_line_ends_is_not_read_whole(tmp_path):
    with pytest.raises(DataError, match="line 1: expected at most 1000 characters"):
        read(tmp_path, b"a" * 10_000_000)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(
        UsageError, match=r"pipe.tsv: the list of names cannot be read \(expected a file, found a folder"
    ):
        list(read_names(tmp_path / "pipe.tsv"))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UsageError, match="the list of names cannot be read"):
        list(read_names(tmp_path / "none.tsv"))
    with pytest.raises(UsageError, match="the list of names cannot be read"):
        list(read_names(tmp_path))


def test_the_longest_name_counts_with_all_its_types():
    lexicon = lexicon_of(
        [
            ListedName("LOC", ("Paris",)),
            ListedName("PER", ("Paris",)),
            ListedName("PER", ("paris", "Hilton")),
            ListedName("LOC", ("Hilton", "Head")),
            ListedName("ORG", ("#",)),
        ]
    )
    assert lexicon == {"paris": ("LOC", "PER"), "paris hilton": ("PER",), "hilton head": ("LOC",)}
    assert find_names(["#PARIS", "Hilton", "Head", "in", "Paris"], lexicon) == [
        ["B-PER"],
        ["I-PER"],
        [],
        [],
        ["B-LOC", "B-PER"],
    ]
    assert find_names([], lexicon) == []
    assert find_names(["#", "Paris"], lexicon) == [[], ["B-LOC", "B-PER"]]


def test_a_file_at_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    read(tmp_path, "PER\tAdele\n")
    assert [name.text for name in read_names("~/names.tsv")] == ["Adele"]


def test_a_name_is_written_as_it_is_read(tmp_path):
    names = [ListedName("PER", ("A", "b"), weight) for weight in (1.0, 2.5, 0.1 + 0.2, 1e-6, 1e12)]
    names.append(ListedName("#x", ("#", "y")))
    assert read(tmp_path, "".join(f"{to_line(name)}\n" for name in names)) == names
    assert to_line(names[0]) == "PER\tA b\t1"
    odd = [
        ("{x", ("A",)),
        ("# x", ("A",)),
        ("PER", ("a\tb",)),
        ("PER", ("a",) * 11),
        ("PER", ("a" * 999,)),
        ("P ", ("a",)),
    ]
    assert [to_line(ListedName(*name)) for name in odd] == [None] * 6
    assert to_line(ListedName("PER", ("A",), 2e12)) is None


def test_weights_add_up():
    names = [ListedName("PER", ("B",), 2.0), ListedName("LOC", ("B",)), ListedName("PER", ("B",))]
    assert add_up(names) == [ListedName("LOC", ("B",)), ListedName("PER", ("B",), 3.0)]
