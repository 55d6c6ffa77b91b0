"""CoNLL-U with tags of entities in MISC or in a column, compared with what the package conllu reads."""

import pytest

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers import read

SENTENCES = """# newdoc id = a
# sent_id = a-1
# text = Anna im Rathaus
1\tAnna\tAnna\tPROPN\tNE\t_\t0\troot\t_\tname=B-PER|SpaceAfter=No
2-3\tim\t_\t_\t_\t_\t_\t_\t_\t_
2\tin\tin\tADP\tAPPR\t_\t4\tcase\t_\tname=O
3\tdem\tder\tDET\tART\t_\t4\tdet\t_\tname=O
4\tRat  haus\tRathaus\tNOUN\tNN\tCase=Dat\t1\tobl\t_\tname=B-LOC|Gloss=a=b
4.1\tist\tsein\tAUX\t_\t_\t_\t_\t_\t_

# sent_id = a-2
1\t\u00a0\t_\tSYM\t_\t_\t0\troot\t_\tname=O
2\tLee\tLee\tPROPN\tNE\t_\t1\tdep\t_\tname=I-PER

"""


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def posts(reading):
    names = reading.features["ner_tags"].feature.names
    return [(row["id"], row["tokens"], [names[tag] for tag in row["ner_tags"]]) for row in reading.rows("train")]


def row(number, word, misc="_", **columns):
    return "\t".join([str(number), word, *["_"] * 7, misc])


def test_tags_in_misc_are_found(tmp_path):
    reading = read("conllu", written(tmp_path / "de_x-ud-train.conllu", SENTENCES).parent)
    assert posts(reading) == [
        ("a-1", ["Anna", "in", "dem", "Rat  haus"], ["B-PER", "O", "O", "B-LOC"]),
        ("a-2", ["\u00a0", "Lee"], ["O", "B-PER"]),
    ]
    (said,) = [line for line in reading.report.recognised if line.startswith("columns")]
    assert said.startswith("columns recognised: FORM has words, name has tags of entities; UPOS is not read (as PROPN")
    assert said.endswith("the same as --columns tokens=FORM,ner_tags=name")
    assert reading.report.splits["train"].orphans == 1


@pytest.mark.parametrize("key", ["NER", "ner", "NE", "anything"])
def test_words_without_the_key_are_outside(tmp_path, key):
    lines = "\n".join(
        [row(1, "Ann", f"{key}=S-PER"), row(2, "met"), row(3, "Lee", f"start_char=8|{key}=S-PER"), "", ""]
    )
    reading = read("conllu", written(tmp_path / "train.conllu", lines))
    assert posts(reading) == [("train-1", ["Ann", "met", "Lee"], ["B-PER", "O", "B-PER"])]


def test_types_without_letters_are_io(tmp_path):
    lines = "\n".join([row(1, "New", "NER=LOC"), row(2, "York", "NER=LOC"), row(3, "is"), row(4, "Lee", "NER=PER")])
    reading = read("conllu", written(tmp_path / "train.conllu", lines))
    assert posts(reading)[0][2] == ["B-LOC", "I-LOC", "O", "B-PER"]


def test_names_of_columns_may_be_in_small_letters(tmp_path):
    lines = "# global.columns = id form ner misc\n# text = Ann met\n1\tAnn\tB-PER\tSpaceAfter=No\n2\tmet\tO\t_\n"
    reading = read("conllu", written(tmp_path / "train.conllup", lines))
    assert posts(reading) == [("train-1", ["Ann", "met"], ["B-PER", "O"])]


def test_files_without_the_columns_of_conllu_are_refused(tmp_path):
    path = written(tmp_path / "train.conllu", "1\tAnn\tPROPN\tB-PER\t_\n2\tmet\tVERB\tO\t_\n")
    with pytest.raises(
        DataError, match=r"no line has the columns of CoNLL-U, as ID, .*: read other files .* as conll2003"
    ):
        read("conllu", path)
    assert posts(read("conll2003", path)) == [("train-1", ["Ann", "met"], ["B-PER", "O"])]
    path = written(tmp_path / "train.conllup", "# global.columns = ID WORD NER\n1\tAnn\tB-PER\n")
    with pytest.raises(DataError, match=r"no line has the columns of CoNLL-U"):
        read("conllu", path)
    with pytest.raises(
        DataError, match=r"expected a column FORM, found ID, WORD, NER: --columns tokens=… names another"
    ):
        read("conllu", path, columns={"ner_tags": "NER"})
    named = read("conllu", path, columns={"tokens": "WORD", "ner_tags": "NER"})
    assert posts(named) == [("train-1", ["Ann"], ["B-PER"])]


def test_a_column_of_conllu_plus_is_found_and_named(tmp_path):
    plus = "# global.columns = ID FORM UPOS FROM:NE\n1\tAnn\tPROPN\tB-PER\n2\tmet\tVERB\tO\n\n1\tOslo\tPROPN\tB-LOC\n"
    path = written(tmp_path / "train.conllup", plus)
    assert [tags for _, _, tags in posts(read("conllu", path))] == [["B-PER", "O"], ["B-LOC"]]
    assert posts(read("conllu", path, columns={"ner_tags": "FROM:NE"})) == posts(read("conllu", path))
    for columns in ({"tokens": "FORM"}, {"ner_tags": "NER", "id": "x"}):
        with pytest.raises(UsageError, match="expected the names of columns or keys of MISC, as ner_tags=NER"):
            read("conllu", path, columns=columns)


@pytest.mark.parametrize(
    ("values", "tags", "lost"),
    [
        (["(e1-person)", "_", "(e2-place-1", "e2)"], ["B-person", "O", "B-place", "I-place"], 0),
        (["(1-person-giv:act-1-sgl", "_", "1)", "(2-time)"], ["B-person", "I-person", "I-person", "B-time"], 0),
        (["(person-1", "(place-2)", "person-1)", "_"], ["B-person", "I-person", "I-person", "O"], 1),
        (["(e1-person(e2-place", "e2)", "e1)(e3-time)", "_"], ["B-person", "I-person", "I-person", "O"], 2),
        (["(e1-person)", "(e5--2)", "_", "_"], ["B-person", "O", "O", "O"], 0),
        (["(e1-person", "(e2-place", "e1)", "e2)"], ["B-person", "I-person", "I-person", "O"], 1),
    ],
)
def test_brackets_of_entities_are_spans(tmp_path, values, tags, lost):
    lines = [row(i, f"w{i}", value if value == "_" else f"Entity={value}") for i, value in enumerate(values, 1)]
    reading = read("conllu", written(tmp_path / "train.conllu", "\n".join(lines)))
    assert posts(reading)[0][2] == tags
    assert reading.report.splits["train"].nested_spans == lost


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([row(1, "Ann", "NER=B-PER"), "2\tmet"], "line 6: post b: expected 10 columns between tabs, found 2: '2 met'"),
        ([row(1, "", "NER=B-PER")], "line 5: post b: expected a word, found ''"),
        ([row(1, "Ann", "NER=(e1-person")], "line 5: post b: expected brackets in pairs, found no end of 'e1'"),
        ([row(1, "Ann", "NER=e1)")], "line 5: post b: expected brackets in pairs, found 'e1)' on word 0"),
    ],
)
def test_a_faulty_sentence_is_left_out_with_its_line(tmp_path, lines, reason):
    good = [row(1, "Lee", "NER=B-PER"), row(2, "ran", "NER=O"), ""]
    text = "\n".join(["# sent_id = b", *lines, "", "# sent_id = c", *good, *good, ""])
    reading = read("conllu", written(tmp_path / "train.conllu", "\n".join([*good, text])), columns={"ner_tags": "NER"})
    assert [post_id for post_id, _, _ in posts(reading)] == ["train-1", "c", "train-4"]
    assert reading.report.splits["train"].examples["bad_lines"][0].startswith(reason)


def test_a_treebank_without_entities_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none has tags of entities: name those to read, as --columns ner_tags=NER"):
        read("conllu", written(tmp_path / "train.conllu", SENTENCES.replace("name=", "Title=N-")))


def test_words_and_tags_are_those_of_the_package_conllu(tmp_path):
    conllu = pytest.importorskip("conllu")
    text = SENTENCES.replace("Rat  haus", "Rathaus") * 3
    parsed = conllu.parse(text)
    reading = read("conllu", written(tmp_path / "train.conllu", text))
    expected = [
        [(token["form"], token["misc"]["name"]) for token in sentence if isinstance(token["id"], int)]
        for sentence in parsed
    ]
    found = list(reading.raw.parse(tmp_path / "train.conllu"))
    assert [list(zip(post.tokens, post.tags, strict=True)) for post in found] == expected
    assert [post.id for post in found] == [sentence.metadata["sent_id"] for sentence in parsed]
