"""The schemes of tags in raw files: recognised over all files of a set, said, and read as BIO."""

import json
import random
import re

import pytest
from datasets import load_dataset
from places import CASES
from seqeval.metrics.sequence_labeling import get_entities
from typer.testing import CliRunner

from hf_mner_aug.cli import app
from hf_mner_aug.columns.validation import validate
from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.readers import read

BIOES = "Ann\tB-PER\nvan\tI-PER\nLee\tE-PER\nleft\tO\nOslo\tS-LOC\n"


def block(folder, *posts, name="train"):
    """Write posts, given as lines of words and tags, as a file of IMGID blocks."""
    folder.mkdir(exist_ok=True)
    text = "".join(f"IMGID:{i}\n{post}\n" for i, post in enumerate(posts, 1))
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def tags(reading, split="train", column="ner_tags"):
    names = reading.features[column].feature.names
    return [" ".join(names[tag] for tag in row[column]) for row in reading.rows(split)]


@pytest.mark.parametrize(
    ("post", "bio", "said"),
    [
        (BIOES, "B-PER I-PER I-PER O B-LOC", "tags are BIOES, as 'B-PER': 1 B, 1 E, 1 I, 1 S; all fit it"),
        (BIOES.replace("E-", "L-").replace("S-", "U-"), "B-PER I-PER I-PER O B-LOC", "tags are BILOU"),
        (BIOES.replace("I-", "M-"), "B-PER I-PER I-PER O B-LOC", "tags are BMES"),
        ("Ann\tI-PER\nLee\tB-PER\nleft\tO\n", "B-PER B-PER O", "tags are IOB1"),
        ("Ann\tPER-B\nLee\tPER-I\nleft\tO\n", "B-PER I-PER O", "tags are BIO, as 'PER-B'"),
        ("Ann\tB_PER\nLee\tI_PER\nleft\tO\n", "B-PER I-PER O", "tags are BIO, as 'B_PER'"),
        ("Ann\tB\nLee\tI\nleft\tO\n", "B-_ I-_ O", "they name no type: it is '_'"),
        ("Ann\tB-PER\nLee\tI-PER\nleft\to\n", "B-PER I-PER O", "tags are BIO"),
        ("Ann\tPER\nLee\tPER\nran\tO\n", "B-PER I-PER O", "tags are IO, as 'PER': 2 types; all fit it; a run of one"),
        ("Ann\tI-PER\nLee\tI-PER\nran\tO\nOslo\tI-LOC\n", "B-PER I-PER O B-LOC", "a run of one type is one entity"),
    ],
)
def test_tags_of_any_scheme_are_read_and_what_was_recognised_is_said(tmp_path, post, bio, said):
    source = block(tmp_path / "raw", post)
    reading = read("conll", source)
    assert tags(reading) == [bio]
    assert said in "\n".join(reading.report.recognised)
    assert not reading.report.troubles()
    report = convert("conll", source, tmp_path / "out")
    assert report.recognised[0] in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "convert.json").read_text())["recognised"] == report.recognised
    assert report.recognised[0] in str(report).splitlines()
    assert validate(load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))).ok


def test_a_scheme_is_that_of_all_files(tmp_path):
    """A file of single words alone would be BIO, in a set that is IOB1."""
    source = block(tmp_path, *["Ann\tI-PER\nLee\tI-PER\nBob\tB-PER\n"] * 3)
    block(tmp_path, "Ann\tI-PER\nLee\tB-PER\n", name="test")
    reading = read("conll", source)
    assert tags(reading) == ["B-PER I-PER B-PER"] * 3
    assert tags(reading, "test") == ["B-PER B-PER"]
    (line,) = [line for line in reading.report.recognised if not line.startswith("columns")]
    assert line.startswith("tags are IOB1, as 'I-PER': 4 B, 7 I; all fit it")


def test_coarse_and_fine_tags_have_a_scheme_each(tmp_path):
    post = "Ann\tPER\tB-actor\nvan\tPER\tI-actor\nLee\tPER\tE-actor\nleft\tO\tO\n"
    reading = read("conll", block(tmp_path, post))
    assert tags(reading) == ["B-PER I-PER I-PER O"]
    assert tags(reading, column="fine_tags") == ["B-actor I-actor I-actor O"]
    assert [line.partition(",")[0] for line in reading.report.recognised[1:]] == ["tags are IO", "fine tags are BIOES"]


def test_types_are_renamed_after_the_scheme_is_read(tmp_path):
    source = block(tmp_path / "raw", "Ann\tB\nLee\tI\nleft\tO\n")
    assert tags(read("conll", source, types={"_": "PER"})) == ["B-PER I-PER O"]
    suffixed = block(tmp_path / "suffixed", "Ann\tPer-B\nLee\tPER-I\nleft\tO\n")
    with pytest.warns(UserWarning, match=r"PER \(1\), Per \(1\): they stay different types; --types Per=PER"):
        read("conll", suffixed)
    assert tags(read("conll", suffixed, types={"Per": "PER"})) == ["B-PER I-PER O"]


def test_a_mention_of_two_spellings_is_one_when_they_are_renamed(tmp_path):
    source = block(tmp_path, *[BIOES] * 3, "Ann\tB-PER\nvan\tI-Per\nLee\tE-per\nleft\tO\n")
    with pytest.warns(UserWarning, match=r"--types Per=PER,per=PER makes them one"):
        assert tags(read("conll", source))[3] == "B-PER B-Per B-per O"
    reading = read("conll", source, types={"Per": "PER", "per": "PER", "PER": "Person"})
    assert tags(reading)[3] == "B-Person B-PER I-PER O", "names are not renamed twice"
    reading = read("conll", source, types={"Per": "PER", "per": "PER"})
    assert tags(reading)[3] == "B-PER I-PER I-PER O"
    assert not reading.report.troubles()
    assert reading.report.renames == {"Per": "PER", "per": "PER"}
    with pytest.raises(UsageError, match="pers=PER renames a type that does not occur, found LOC, PER, Per, per"):
        read("conll", source, types={"pers": "PER"})


# ---------------------------------------------------------------- faults


def test_tags_that_do_not_fit_are_counted_and_follow_the_policy(tmp_path):
    source = block(tmp_path, *[BIOES] * 3, "Ann\tB-PER\nLee\tI-PER\nleft\tO\nOslo\tE-LOC\n")
    kept, dropped = (read("conll", source, orphans=policy) for policy in ("promote", "drop"))
    assert tags(kept)[3] == "B-PER I-PER O B-LOC"
    assert tags(dropped)[3] == "O O O O"
    told = "train: 2 tags that do not fit their scheme: {} reads them, as 4 'Lee' I-PER; 4 'Oslo' E-LOC"
    assert kept.report.troubles() == [told.format("kept, as seqeval's default mode")]
    assert dropped.report.troubles() == [told.format("made O with their entity, as seqeval's strict mode")]
    assert kept.report.splits["train"].mentions == 8
    with pytest.raises(DataError, match=r"post 4: I-PER on 'Lee' does not fit BIOES \(.*train\.txt line 24\): correct"):
        read("conll", source, orphans="error")


def test_orphans_of_bio_are_counted_as_ever(tmp_path):
    source = block(tmp_path, *["Ann\tPER-B\nLee\tPER-I\nleft\tO\n"] * 3, "Oslo\tLOC-I\n")
    reading = read("conll", source)
    assert reading.report.troubles() == ["train: 1 orphan I- tags made B-, as 4 'Oslo'"]
    with pytest.raises(DataError, match=r"post 4: I-LOC on 'Oslo' follows no tag of its type \(.*line 17\)"):
        read("conll", source, orphans="error")


def test_a_tag_of_no_scheme_leaves_its_post_out_with_its_line(tmp_path):
    source = block(tmp_path, *[BIOES] * 3, "Ann\tB-PER\nLee\tX-PER\n", "Bob\tS-PER\n")
    reading = read("conll", source)
    assert tags(reading) == ["B-PER I-PER I-PER O B-LOC"] * 3 + ["B-PER"]
    (told,) = reading.report.troubles()
    assert told.startswith("train: 1 lines left out, as line 24: post 4: tag 'X-PER' is not BIOES: expected O, B-TYPE")
    assert told.endswith(", found on 'Lee'")


def test_tags_of_no_scheme_at_all_end_the_reading_with_a_line(tmp_path):
    source = block(tmp_path, "Ann\tNNP\nleft\tVBD\n", "Bob\tNNP\n")
    with pytest.raises(DataError, match=r"post 1: tag 'NNP' is not BIO: .* on 'Ann' \(.*line 2\): no post could be"):
        read("conll", source)


@pytest.mark.parametrize(
    ("post", "given", "message"),
    [
        (
            BIOES,
            "bilou",
            r"post 1 has E-PER on 'Lee' \(.*train\.txt line 4\), which does not fit BILOU, and tags are BIOES",
        ),
        (BIOES, "bio", r"E-PER on 'Lee' \(.*line 4\), .*: read them with --scheme bioes"),
        (BIOES, "io", r"B-PER on 'Ann' \(.*line 2\), which does not fit IO"),
        ("Ann\tB-PER\nLee\tI-PER\nBob\tB-PER\n", "bioes", r"I-PER on 'Lee' \(.*line 3\), .*--scheme bio$"),
        ("Ann\tB-PER\nLee\tI-PER\nin\tO\nOslo\tB-LOC\n", "iob1", r"B-PER on 'Ann' \(.*line 2\), .*--scheme bio$"),
        ("Ann\tPER\nleft\tO\n", "bio", r"PER on 'Ann' \(.*line 2\), .*--scheme io$"),
        ("Ann\tPER-B\nLee\tPER-I\nleft\tO\n", "bmes", r"PER-I on 'Lee' \(.*line 3\), .*--scheme bio$"),
    ],
)
def test_a_wrong_scheme_is_one_line_with_the_word(tmp_path, post, given, message):
    source = block(tmp_path, post)
    with pytest.raises(UsageError, match=message) as refused:
        read("conll", source, scheme=given)
    assert "\n" not in str(refused.value)


def test_a_scheme_is_given_by_name(tmp_path):
    source = block(tmp_path / "raw", "Ann\tPER\nLee\tPER\nOslo\tLOC\n")
    assert tags(read("conll", source, scheme="io")) == ["B-PER I-PER B-LOC"], "without O, only the user can know"
    with pytest.raises(DataError, match="tag 'PER' is not BIO"):
        read("conll", source, scheme="auto")
    with pytest.raises(UnknownName, match="unknown scheme 'biol': did you mean 'bio'"):
        read("conll", source, scheme="biol")
    with pytest.raises(UsageError, match="twitter2015 takes no --scheme bioes: its tags are BIO"):
        read("twitter2015", source, scheme="bioes")
    done = CliRunner().invoke(app, ["convert", "conll", str(source), "--scheme", "io", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "tags are IO" in done.output


def test_a_column_of_words_in_the_place_of_tags_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_mner_aug.schema.schemes.MAX_PAIRS", 10)
    source = block(tmp_path, *(f"Ann\tB-T{i}\n" for i in range(9)))
    with pytest.raises(DataError, match=r"more than 10 kinds of neighbouring tags: .*train\.txt line 16\)"):
        read("conll", source)


# ---------------------------------------------------------------- small cases, and many random ones


@pytest.mark.parametrize("case", sorted([*CASES.glob("05-schemes/*"), *CASES.glob("30-io-tags/*")]))
def test_cases(case):
    """The files of public bug reports: entities are those of seqeval for the same tags in BIOES."""
    reading = read("conll", case)
    lines = [line.split("\t") for line in (case / "train.txt").read_text().splitlines() if "\t" in line]
    letters = {"L": "E", "U": "S", "M": "I", "o": "O"}
    spelt = [re.sub(r"^(\w{2,})-([BI])$", r"\2-\1", tag.replace("_", "-")) for _, tag in lines]
    known = [letters.get(tag[0], tag[0]) + tag[1:] for tag in spelt]
    known = [f"I-{tag}" if tag == "PER" else tag for tag in known]
    (found,) = tags(reading)
    assert get_entities(found.split()) == get_entities(known)


def test_random_bioes_files_keep_their_entities(tmp_path):
    rng = random.Random(21)
    posts = [
        [rng.choice(["O", *(f"{x}-{t}" for x in "BIES" for t in ("PER", "LOC"))]) for _ in range(8)] for _ in range(300)
    ]
    text = ["".join(f"w{i}\t{tag}\n" for i, tag in enumerate(post)) for post in posts]
    reading = read("conll", block(tmp_path, *text), scheme="bioes")
    assert [get_entities(found.split()) for found in tags(reading)] == [get_entities(post) for post in posts]
    assert reading.report.splits["train"].repaired_tags > 300
