"""A list of names under its content: what a recipe says of it, and where its lines are told."""

import pytest

from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.posts.listed_mentions import Writing
from hf_mner_aug.posts.name_lists import ListedName
from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.storage import artifacts, names


def file(tmp_path, text, name="names.tsv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def writing(*kinds):
    found = Writing()
    list(found.counting([Post("a", ["Adele"], [Entity(0, 1, kind)]) for kind in kinds]))
    return found


def test_a_list_is_named_by_its_names_and_not_by_its_place(tmp_path):
    first = names.pinned_list(file(tmp_path, "PER\tAdele\t2\nLOC\tRome\n"))
    other = '# mine\n{"type": "LOC", "name": "Rome"}\nPER\tAdele\nPER\tAdele\n'
    assert names.pinned_list(file(tmp_path, other, "secret-place.jsonl")) == first
    assert first.startswith("sha256:")
    assert str(tmp_path) not in first
    assert names.pinned_list(first) == first
    assert names.pinned_list("") == ""
    assert names.read_list(first) == [ListedName("LOC", ("Rome",)), ListedName("PER", ("Adele",), 2.0)]
    assert names.pinned_list(file(tmp_path, "PER\tAdele\t3\nLOC\tRome\n")) != first


def test_a_type_that_train_lacks_is_told_with_file_and_line(tmp_path):
    pin = names.pinned_list(file(tmp_path, "PER\tAdele\n\nCITY\tRome\nCITY\tParis\n"))
    with pytest.raises(
        UsageError, match=r"names.tsv line 3: expected a type of train \(LOC, PER\), found CITY"
    ) as told:
        names.fit_list(pin, writing("PER", "LOC"))
    assert "\n" not in str(told.value)
    with pytest.raises(UsageError, match=r"of train \(none\)"):
        names.fit_list(pin, writing())


def test_a_type_without_names_is_told(tmp_path):
    path = file(tmp_path, "PER\tAdele\nLOC\t!!\n")
    with pytest.warns(UserWarning, match=r"names.tsv has no name of LOC, ORG: these mentions come from train alone"):
        found = names.fit_list(names.pinned_list(path), writing("PER", "LOC", "ORG"))
    assert names.names_of(found).texts == {"PER": ["Adele"]}
    assert names.fit_list("", writing("PER")) == {}
    assert names.names_of({}) is names.names_of(None) is None


def test_bad_lists_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"mentions=.*names.tsv: expected names in the file, found none"):
        names.pinned_list(file(tmp_path, "# nothing\n\n"))
    with pytest.raises(DataError, match=r"names.tsv line 2: expected TYPE<TAB>NAME"):
        names.pinned_list(file(tmp_path, "PER\tAdele\nAdele\n"))
    with pytest.raises(UsageError, match="cannot be read"):
        names.pinned_list(str(tmp_path / "none.tsv"))
    monkeypatch.setattr(names, "MOST", 2)
    with pytest.raises(UsageError, match=r"names.tsv line 3: expected at most 2 names"):
        names.pinned_list(file(tmp_path, "PER\tA\nPER\tB\nPER\tC\n"))


def test_a_list_that_is_elsewhere_is_asked_for():
    with pytest.raises(UsageError, match=r"no list of names 0{12} is known on this machine: .*mentions=FILE"):
        names.read_list("sha256:" + "0" * 64)
    with pytest.raises(Corrupt, match=r"expected a sha256"):
        names.read_list("sha256:../../etc/passwd")
    for other in ({"a": 1}, [["PER", "Adele"]], [["PER", "Adele", "1"]], [[1, "Adele", 1.0]]):
        with pytest.raises(Corrupt, match="list of names"):
            names.read_list("sha256:" + artifacts.save_json(other))
    with pytest.raises(Corrupt, match="list of names"):
        names.read_list("sha256:" + artifacts.save(b"\xff\x00"))
