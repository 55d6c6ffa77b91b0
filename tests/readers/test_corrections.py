"""Corrections of labels: what a conversion applies, counts and refuses, and suspected labels that come back."""

import json

import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from hf_mner_aug import convert
from hf_mner_aug.cli import app
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.methods.memory_hard.tree import Tree
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.pages.memory import MemoryPage

POSTS = {
    "1": [("Adele", "B-PER"), ("in", "O"), ("Los", "B-LOC"), ("Angeles", "I-LOC")],
    "2": [("Apple", "B-FIRM"), ("fell", "O")],
    "3": [("St", "O"), ("Louis", "I-LOC"), ("won", "O")],
    "4": [("Paris", "B-PER"), ("sang", "O")],
}


def write(folder, posts):
    lines = [f"IMGID:{id_}\n" + "".join("\t".join(word) + "\n" for word in words) for id_, words in posts]
    (folder / "train.txt").write_text("\n".join(lines))


def correction(id_, after, **others):
    words, before = zip(*POSTS[id_], strict=True)
    before = ["B-LOC" if id_ == "3" and tag == "I-LOC" else tag for tag in before]
    return {"id": id_, "tokens": words, "before": before, "after": after.split(), **others}


def corrected(folder, *lines, name="conll", **options):
    path = folder / "fixes.jsonl"
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    report = convert(name, folder / "train.txt", folder / "out", corrections=path, **options)
    rows = load_dataset(str(folder / "out"), split="train")
    names = rows.features["ner_tags"].feature.names
    return report, names, {row["id"]: [names[tag] for tag in row["ner_tags"]] for row in rows}


def test_only_accepted_corrections_are_applied_and_all_are_listed(tmp_path):
    write(tmp_path, POSTS.items())
    report, names, tags = corrected(
        tmp_path,
        correction("1", "O O O O", accept=False, note="no"),
        correction("2", "B-ORG O", note="a company"),
        correction("3", "B-LOC I-LOC O", accept=True, source="somewhere"),
        correction("4", "B-LOC O", accept=None),
    )
    assert tags["1"] == ["B-PER", "O", "B-LOC", "I-LOC"]
    assert tags["2"] == ["B-ORG", "O"]
    assert tags["3"] == ["B-LOC", "I-LOC", "O"]
    assert tags["4"] == ["B-PER", "O"]
    assert {name[2:] for name in names[1:]} == {"PER", "LOC", "ORG"}, "FIRM occurs no more, ORG does"
    told = str(report)
    assert "train: 2 posts with corrected labels, as 2; 3" in told
    assert (
        "corrections of fixes.jsonl: 2 applied, 1 declined, 1 undecided; types that the set did not have: ORG" in told
    )
    assert "corrections of fixes.jsonl: 2 applied" in (tmp_path / "out" / "README.md").read_text()
    note = json.loads((tmp_path / "out" / "convert.json").read_text())["corrections"]
    assert note["outcomes"]["applied"] == {"2": "a company", "3": ""}
    assert note["outcomes"]["declined"] == {"1": "no"}


def test_a_correction_repairs_an_orphan_that_is_an_error(tmp_path):
    write(tmp_path, POSTS.items())
    spelt = correction("3", "B-LOC I-LOC O") | {"before": ["O", "I-LOC", "O"]}
    for line in (spelt, correction("3", "B-LOC I-LOC O")):
        assert corrected(tmp_path, line, orphans="error")[2]["3"] == ["B-LOC", "I-LOC", "O"]
    with pytest.raises(DataError, match="post 3: I-LOC on 'Louis'"):
        corrected(tmp_path, correction("2", "O O"), orphans="error")


def test_a_post_has_the_id_that_it_gets_in_the_set(tmp_path):
    """The second post 4 is 4~2, renamed types are compared as they are in the set."""
    write(tmp_path, [*POSTS.items(), ("4", POSTS["4"]), ("4", POSTS["4"])])
    line = correction("4", "B-LOC O") | {"id": "4~2", "before": ["B-PERSON", "O"]}
    _, _, tags = corrected(tmp_path, line, types={"PER": "PERSON"})
    assert [tags[id_][0] for id_ in ("4", "4~2", "4~3")] == ["B-PERSON", "B-LOC", "B-PERSON"]


def test_both_columns_of_fine_types_are_corrected(tmp_path):
    words = [("Adele", "B-person", "B-actor"), ("in", "O", "O"), ("Los", "B-location", "B-city")]
    write(tmp_path, [("1", words)])
    line = {"id": "1", "tokens": ["Adele", "in", "Los"], "before": ["B-person/actor", "O", "B-location/city"]}
    corrected(tmp_path, line | {"after": ["B-person/singer", "O", "O"]})
    (row,) = rows = load_dataset(str(tmp_path / "out"), split="train")
    for column, kind in (("ner_tags", "person"), ("fine_tags", "singer")):
        names = rows.features[column].feature.names
        assert [names[tag] for tag in row[column]] == [f"B-{kind}", "O", "O"]
        assert names == ["O", f"B-{kind}", f"I-{kind}"]
    with pytest.raises(DataError, match=r"post 1: expected a coarse and a fine type after.*found B-person"):
        corrected(tmp_path, line | {"after": ["B-person", "O", "O"]})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([correction("1", "O O O O") | {"tokens": ["Adele", "at", "Los", "Angeles"]}], "expected its words, 'Adele in"),
        ([correction("2", "O O") | {"before": ["O", "O"]}], "expected B-FIRM before on 'Apple', word 0, found O"),
        ([correction("2", "O O", accept=None) | {"id": "7"}], r"line 1: post 7: no post has this id: correct the line"),
        ([correction("2", "O")], "line 1: after: expected 2 tags, one for each word, found 1"),
        ([correction("2", "O O") | {"before": ["O"]}], "line 1: before: expected 2 tags"),
        ([correction("2", "O I-ORG")], "line 1: after: word 1: I-ORG follows no B-ORG"),
        ([correction("2", "O ORG")], "line 1: after: tag 'ORG' is not BIO"),
        ([correction("2", "O O"), "\n", correction("2", "O O")], "line 3: post 2 is corrected on line 1 already"),
        ([correction("2", "O O", accept="yes")], "line 1: accept: expected true or false, found 'yes'"),
        (["{}\n"], "line 1: expected the key id"),
        (["[]\n"], "line 1: expected a mapping"),
        (["nonsense\n"], "line 1: expected JSON"),
        (["\n"], "expected a line of JSON for each correction, found none"),
        (
            [correction("1", "O O O O"), *(correction(n, "O O") | {"before": ["O", "O"]} for n in "42")],
            r"line 2: post 4: expected B-PER before.*\(1 more lines have faults\)",
        ),
    ],
)
def test_a_correction_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path, lines, message):
    write(tmp_path, POSTS.items())
    with pytest.raises(DataError, match=message):
        corrected(tmp_path, *lines)
    assert not (tmp_path / "out").exists()


def test_sets_refuse_what_they_cannot_hold(tmp_path):
    write(tmp_path, [("1", POSTS["1"])])
    with pytest.raises(DataError, match="expected a type of Twitter-2015 after"):
        corrected(tmp_path, correction("1", "B-CITY O O O"), name="twitter2015")
    with pytest.raises(UsageError, match="mnre has relations"):
        corrected(tmp_path, correction("1", "O O O O"), name="mnre")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    write(tmp_path, POSTS.items())
    source, out, path = tmp_path / "train.txt", tmp_path / "out", tmp_path / "fixes.jsonl"
    with pytest.raises(UsageError, match=r"fixes\.jsonl: No such file"):
        convert("conll", source, out, corrections=path)
    path.write_bytes(b"\xe9\n")
    with pytest.raises(DataError, match="expected UTF-8 text"):
        convert("conll", source, out, corrections=path)


def suspect(id_, gold, predicted):
    words, tags = zip(*POSTS[id_], strict=True)
    entities = tuple((i, i + 1, tag[2:]) for i, tag in enumerate(tags) if tag != "O")
    return Failure(id_, words, entities, "type", gold, predicted, 0.97)


def test_suspected_labels_go_out_and_come_back(tmp_path):
    """A type, a missed and a superfluous mention, two in one post; undecided lines change nothing."""
    posts = {**POSTS, "1": [("Adele", "B-PER"), ("in", "O"), ("Los", "O"), ("Angeles", "B-LOC")]}
    write(tmp_path, posts.items())
    words, entities = ("Adele", "in", "Los", "Angeles"), ((0, 1, "PER"), (3, 4, "LOC"))
    suspects = [
        Failure("1", words, entities, "boundary", (3, 4, "LOC"), (2, 4, "LOC"), 0.99),
        suspect("4", (0, 1, "PER"), (0, 1, "LOC")),
        Failure("1", words, entities, "missed", (0, 1, "PER"), None, 1.0),
        suspect("2", None, (1, 2, "LOC")),
    ]
    page = MemoryPage(Tree("crf", {}), 4, {}, [], suspects, [], [])
    lines = page.to_corrections().splitlines(keepends=True)
    assert [json.loads(line)["id"] for line in lines] == ["1", "4", "2"]
    notes = [json.loads(line)["note"] for line in lines]
    assert notes[0] == (
        "Angeles: LOC, predicted Los Angeles as LOC, confidence 0.99; Adele: PER, predicted O, confidence 1.00"
    )
    before = corrected(tmp_path, *lines)[2]
    assert before["1"] == ["B-PER", "O", "O", "B-LOC"]
    accepted = [line.replace('"accept": null', '"accept": true') for line in lines]
    after = corrected(tmp_path, *accepted)[2]
    assert after["1"] == ["O", "O", "B-LOC", "I-LOC"]
    assert after["4"] == ["B-LOC", "O"]
    assert after["2"] == ["B-FIRM", "B-LOC"]


def test_the_command_takes_the_file(tmp_path):
    write(tmp_path, POSTS.items())
    (tmp_path / "fixes.jsonl").write_text(json.dumps(correction("2", "B-ORG O")))
    asked = [str(tmp_path / name) for name in ("train.txt", "out", "fixes.jsonl")]
    result = CliRunner().invoke(app, ["convert", "conll", asked[0], "--out", asked[1], "--corrections", asked[2]])
    assert result.exit_code == 0, result.output
    assert "corrections of fixes.jsonl: 1 applied" in result.output
