"""Files of words and tags in columns: which columns are read, what a line may be, and where ids come from."""

import pytest
from places import CASES, DATA

from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers import parse_places, read
from hf_mner_aug.readers.formats import parse_imgid
from hf_mner_aug.readers.tag_files.blocks import MAX_LINE
from hf_mner_aug.readers.tag_files.recognition import Column, type_of

SENTENCES = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC
call NN I-NP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER

-DOCSTART- -X- -X- O

BRUSSELS NNP B-NP B-LOC
1996-08-22 CD I-NP O
"""
POSTS = [
    (["EU", "rejects", "German", "call"], ["B-ORG", "O", "B-MISC", "O"]),
    (["Peter", "Blackburn"], ["B-PER", "I-PER"]),
    (["BRUSSELS", "1996-08-22"], ["B-LOC", "O"]),
]


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def posts(reading, split="train"):
    names = reading.features["ner_tags"].feature.names
    return [(row["tokens"], [names[tag] for tag in row["ner_tags"]]) for row in reading.rows(split)]


def ids(reading, split="train"):
    return [row["id"] for row in reading.rows(split)]


def said(reading):
    (line,) = [line for line in reading.report.recognised if line.startswith("columns recognised: ")]
    return line


@pytest.mark.parametrize("name", ["conll", "conll2003"])
def test_conll_2003_is_read_as_published(tmp_path, name):
    for file in ("eng.train", "eng.testa", "eng.testb"):
        written(tmp_path / file, SENTENCES)
    reading = read(name, tmp_path)
    assert reading.splits == ("train", "validation", "test")
    for split, file in (("train", "eng.train"), ("validation", "eng.testa"), ("test", "eng.testb")):
        assert posts(reading, split) == POSTS
        assert ids(reading, split) == [f"{file}-{number}" for number in (1, 2, 3)]
    assert reading.report.troubles() == []
    assert said(reading) == (
        "columns recognised: 1 has words, 4 has tags of entities; 2 is not read (as NNP, VBZ); 3 is not read (chunks, "
        "as B-NP, I-NP); the same as --columns word,-,-,ner"
    )


@pytest.mark.skipif(not (CASES / "06-columns").is_dir(), reason="the folder of cases is not here")
@pytest.mark.parametrize("name", ["conll", "conll2003"])
@pytest.mark.parametrize(
    ("case", "found", "columns"),
    [
        ("06-columns/chunkner", [(["Ann", "left", "Oslo"], ["B-PER", "O", "B-LOC"])], "word,-,ner"),
        ("06-columns/comments", [(["Ann", "#"], ["B-PER", "O"]), (["Bob"], ["B-PER"])], "word,ner"),
        ("06-columns/docstart", [(["Ann"], ["B-PER"])], "word,ner"),
        ("06-columns/four", [(["Ann", "left"], ["B-PER", "O"])], "word,-,-,ner"),
        ("06-columns/multispace", [(["Ann", "left"], ["B-PER", "O"])], "word,ner"),
        ("06-columns/noid", [(["Ann", "left"], ["B-PER", "O"]), (["Bob", "ran"], ["B-PER", "O"])], "word,ner"),
        ("06-columns/tabspace", [(["Ann", "left", "Oslo"], ["B-PER", "O", "B-LOC"])], "word,ner"),
        ("06-columns/tagfirst", [(["Ann", "left"], ["B-PER", "O"])], "ner,word"),
        ("06-columns/three", [(["Ann", "left"], ["B-PER", "O"])], "word,-,ner"),
        ("37-chunk-as-ner/raw", [(["Ann", "left", "Oslo"], ["B-PER", "O", "B-LOC"])], "word,-,ner"),
    ],
)
def test_cases_of_columns(name, case, found, columns):
    reading = read(name, CASES / case)
    assert posts(reading) == found
    assert said(reading).endswith(f"the same as --columns {columns}")


TWO = [(["Ann", "met", "Lee"], ["B-PER", "O", "B-PER"])]


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        ("Ann B-PER\nmet O\nLee B-PER\n", "word,ner"),
        ("Ann\tB-PER\t\nmet\tO\t\nLee\tB-PER\t\n", "word,ner,-"),
        ("Ann\tB-PER\t\nmet\tO\nLee\tB-PER\n", "word,ner"),
        ("Ann\tB-PER\nmet\tO \nLee \t B-PER\n", "word,ner"),
        ("Ann _ _ B-PER\nmet _ _ O\nLee _ _ B-PER\n", "word,-,-,ner"),
        ("1\tAnn\tB-PER\n2\tmet\tO\n3\tLee\tB-PER\n", "-,word,ner"),
        ("doc Ann NNP B-PER\ndoc met VBD O\ndoc Lee NNP B-PER\n", "-,word,-,ner"),
        ("Ann Ann NNP B-NP B-PER\nmet meet VBD B-VP O\nLee Lee NNP B-NP B-PER\n", "word,-,-,-,ner"),
        ("B-PER B-NP Ann NNP\nO B-VP met VBD\nB-PER B-NP Lee NNP\n", "ner,-,word,-"),
        ("Ann O B-PER\nmet O O\nLee O B-PER\n", "word,-,ner"),
        ("Word POS Tag\nAnn NNP B-PER\nmet VBD O\nLee NNP B-PER\n", "word,-,ner"),
        ("TOKEN\tNE\nAnn\tB-PER\nmet\tO\nLee\tB-PER\n", "word,ner"),
    ],
)
def test_columns_are_told_apart(tmp_path, lines, columns):
    reading = read("conll2003", written(tmp_path / "train.txt", lines))
    assert posts(reading) == TWO
    assert said(reading).endswith(f"the same as --columns {columns}")
    named = read("conll2003", tmp_path / "train.txt", columns=parse_places(columns))
    assert posts(named) == TWO
    assert not any(line.startswith("columns") for line in named.report.recognised)


def test_words_are_told_from_parts_of_speech_before_them(tmp_path):
    lines = "NNP\tAnn\tB-PER\nVBD\tmet\tO\nNNP\tLee\tB-PER\n\nNNP\tBob\tB-PER\nVBD\tran\tO\n"
    reading = read("conll", written(tmp_path / "train.txt", lines))
    assert posts(reading) == [*TWO, (["Bob", "ran"], ["B-PER", "O"])]


@pytest.mark.parametrize("later", ["NaN", "Sentence: {}"])
def test_words_are_told_from_the_numbers_of_sentences(tmp_path, later):
    lines = "".join(
        f"Sentence: {i}\t{word}\tNNP\tB-PER\n" + f"{later.format(i)}\tmet\tVBD\tO\n{later.format(i)}\tus\tPRP\tO\n\n"
        for i, word in enumerate(["Ann", "Lee", "Ann", "Lee", "Ann", "Lee"])
    )
    reading = read("conll", written(tmp_path / "train.txt", lines))
    assert said(reading).endswith("the same as --columns -,word,-,ner")


def test_coarse_and_fine_tags_are_told_from_chunks(tmp_path):
    lines = "Ann\tB-NP\tB-PER\tB-actor\nmet\tB-VP\tO\tO\nOslo\tB-NP\tB-LOC\tB-city\n"
    reading = read("conll", written(tmp_path / "train.txt", lines))
    assert reading.features["fine_tags"].feature.names == ["O", "B-actor", "I-actor", "B-city", "I-city"]
    assert said(reading).startswith(
        "columns recognised: 1 has words, 3 has tags of entities, 4 has fine tags; 2 is not"
    )
    assert said(reading).endswith("--columns word,-,ner,fine")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "1 Ann B-PER B-OTH\n2 met O O\n3 Lee B-PER O\n4 in O O\n5 Oslo O B-LOC\n",
            r"columns 1 \(as 1, 2\), 2 .*, 3 and 4 may have tags of entities: name those to read, as --columns tokens=",
        ),
        ("Ann NNP B-NP\nmet VBD B-VP\nLee NNP O\n", r"3 \(chunks, as B-NP, B-VP\), none has tags of entities: name"),
        ("Ann NNP x\nmet VBD y\n", r"none has tags of entities: name those to read, as --columns tokens=1,ner_tags=3"),
        ("Ann NNP\nmet VBD\n", r"post train-1: tag 'NNP' is not BIO: .* line 1\): no post could be read"),
        ("Ann B-NP\nmet B-VP\n", r"2 \(chunks, as B-NP, B-VP\), none has tags of entities: name those to read, as"),
        ("B-PER O\nO O\n", r"of the columns 1 .*, none has words"),
        ("Ann\nmet\n", r"train\.txt: no line has a word and a tag; first lines of .*train\.txt as read: 'Ann"),
        ("", r"train\.txt: no line has a word and a tag; first lines of .* none"),
    ],
)
def test_columns_that_do_not_tell_are_refused_with_the_option(tmp_path, lines, message):
    with pytest.raises(DataError, match=message) as refused:
        read("conll2003", written(tmp_path / "train.txt", lines))
    assert "\n" not in str(refused.value)


def test_named_columns_overrule_those_that_are_recognised(tmp_path):
    path = written(tmp_path / "train.txt", SENTENCES)
    chunks = read("conll2003", path, columns=parse_places("word,-,chunk,-".replace("chunk", "ner")))
    assert posts(chunks)[0] == (POSTS[0][0], ["B-NP", "B-VP", "B-NP", "I-NP"])
    for columns in ({"tokens": 1}, {"tokens": 0, "ner_tags": 3}, {"tokens": "word", "ner_tags": "ner"}):
        with pytest.raises(UsageError, match="expected positions from 1"):
            read("conll2003", path, columns=columns)
    with pytest.raises(DataError, match=r"expected 7 columns, found 4: 'EU NNP B-NP B-ORG'.* line 3"):
        read("conll2003", path, columns={"tokens": 1, "ner_tags": 7})


def test_named_columns_take_lines_of_any_length(tmp_path):
    lines = "Ann B-PER a\nmet O\nLee B-PER b c\nso O\n"
    with pytest.raises(DataError, match="expected 2 columns, found 3: 'Ann B-PER a'"):
        read("conll", written(tmp_path / "train.txt", lines))
    assert posts(read("conll", tmp_path / "train.txt", columns={"tokens": 1, "ner_tags": 2})) == [
        (["Ann", "met", "Lee", "so"], ["B-PER", "O", "B-PER", "O"])
    ]


RAGGED = "{0}\tX\tnoun\tB-PER\nmet\tX\tverb\tmeet\tpast\tO\n"  # unknown words lack two columns


def test_tags_may_be_in_the_last_of_a_varying_number_of_columns(tmp_path):
    """As MeCab writes: the columns of unknown words are fewer."""
    text = "\n".join(RAGGED.format(name) for name in ("Ann", "Bob", "Cy"))
    reading = read("conll2003", written(tmp_path / "train.txt", text))
    assert posts(reading) == [([name, "met"], ["B-PER", "O"]) for name in ("Ann", "Bob", "Cy")]
    assert "of lines with 4 or 6 columns the first has words, the last has tags of entities" in said(reading)
    assert "--columns tokens=1,ner_tags=-1" in said(reading)
    named = read("conll2003", tmp_path / "train.txt", columns={"tokens": 1, "ner_tags": -1})
    assert posts(named) == posts(reading)
    other = read("conll2003", tmp_path / "train.txt", columns={"tokens": "-4", "ner_tags": "-1"})
    assert posts(other)[0] == (["Ann", "verb"], ["B-PER", "O"])


@pytest.mark.parametrize(
    "line",
    [
        ("Ann\tB-PER", "New York\tB-LOC\tO"),  # two columns
        ("Ann NNP B-PER", "New York NNP B-LOC"),  # a blank in a word
        ("Ann\tNNP\tB-PER", "so\tRB\tx\ty"),  # no tag at its end
    ],
)
def test_other_lines_of_another_length_are_faults(tmp_path, line):
    usual, other = line
    others = [usual.replace("Ann", name).replace("B-PER", tag) for name, tag in (("met", "O"), ("Bob", "B-PER"))]
    text = "\n".join([usual, *others, "", usual, *others, "", usual, other])
    reading = read("conll2003", written(tmp_path / "train.txt", text))
    assert "the last has tags" not in said(reading)
    assert (len(posts(reading)), reading.report.splits["train"].bad_lines) == (2, 1)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (None, {}),
        ("tokens=1,ner_tags=4", {"tokens": "1", "ner_tags": "4"}),
        ("word,-,-,ner", {"tokens": 1, "ner_tags": 4}),
        ("Word, pos, chunk, NER", {"tokens": 1, "ner_tags": 4}),
        ("-,token,ner,fine", {"tokens": 2, "ner_tags": 3, "fine_tags": 4}),
        ("label,form,_", {"ner_tags": 1, "tokens": 2}),
        ("text=body,spans=marks", {"text": "body", "spans": "marks"}),
    ],
)
def test_the_option_is_a_list_or_pairs(text, columns):
    assert parse_places(text) == columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word,ner,ner", r"--columns word,ner,ner: 'ner' at place 3: expected once each of tokens, token, .*, or -"),
        ("word,entity", "'entity' at place 2"),
        ("tokens=,ner_tags=2", "expected word,-,-,ner, or tokens=1,ner_tags=4"),
    ],
)
def test_an_option_that_is_neither_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_places(text)


# ---------------------------------------------------------------- ids and comments


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("# id 5d8 domain=en\nAnn _ _ B-PER\n\n# id 5d9 domain=en\nmet _ _ O\n", ["5d8", "5d9"]),
        ("# sent_id = a-1\n# text = Ann\nAnn B-PER\n\nmet O\n", ["a-1", "train-2"]),
        ("#id: 7\nAnn B-PER\n\n# tweet_id=8\nmet O\n", ["7", "8"]),
        ("###MEDLINE:95369245\n\nAnn B-PER\n\nmet O\n", ["train-1", "train-2"]),
        ("# id 7\n\nAnn B-PER\n\nmet O\n", ["7", "train-2"]),
        ("# id 3\nIMGID:12\nAnn B-PER\n\nIMGID:13\n# id 4\nmet O\n", ["12", "13"]),
        ("-DOCSTART- O\nAnn B-PER\n-DOCSTART- O\nmet O\n", ["train-1", "train-2"]),
        ("-DOCSTART-\n\nAnn B-PER\n\n\n\nmet O\n\n", ["train-1", "train-2"]),
        ("# id 7\nAnn B-PER\n\n# id 7\nmet O\n", ["7", "7~2"]),
    ],
)
def test_ids_are_those_of_headers_or_comments_or_made(tmp_path, lines, expected):
    reading = read("conll", written(tmp_path / "train.txt", lines))
    assert ids(reading) == expected
    assert [words for words, _ in posts(reading)] == [["Ann"], ["met"]]
    assert reading.report.splits["train"].bad_lines == 0


def test_a_word_that_begins_with_a_hash_is_no_comment(tmp_path):
    lines = "#Oslo B-LOC\nrocks O\n\n# O\n1 O\n\nin O\n# O\n\n#identity B-MISC\n\n#id O\nso O\n"
    reading = read("conll", written(tmp_path / "train.txt", lines))
    words = [words for words, _ in posts(reading)]
    assert words == [["#Oslo", "rocks"], ["#", "1"], ["in", "#"], ["#identity"], ["#id", "so"]]


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("left", "expected 2 columns, found 1: 'left'"),
        ("New York B-LOC", "expected 2 columns, found 3"),
        ("\tO", "expected a word"),
        (" \tO", "expected a word"),
        (b"Z\xfcrich\tB-LOC", "expected UTF-8 text"),
        ("a" * (MAX_LINE + 1) + " O", "a line of 262,147 characters"),
    ],
)
def test_a_broken_line_leaves_out_its_post_and_is_counted(tmp_path, line, reason):
    before, after = "IMGID:1\nZoë Çelik\tB-PER\ngrüßt\tO\n\nIMGID:2\nAnn\tB-PER\n", "\nso\tO\n\nIMGID:3\nLee\tB-PER\n"
    data = before.encode() + (line if isinstance(line, bytes) else line.encode()) + after.encode()
    reading = read("conll", written(tmp_path / "train.txt", data))
    assert ids(reading) == ["1", "3"]
    counts = reading.report.splits["train"]
    assert counts.bad_lines == 1
    assert counts.examples["bad_lines"][0].startswith(f"line 7: post 2: {reason}")
    assert len(counts.examples["bad_lines"][0]) < 300


def test_posts_without_their_header_among_others_are_left_out(tmp_path):
    lines = "IMGID:1\nAnn B-PER\n\nmet O\n\nIMGID:\nmet O\n\nIMGID:4\n\nIMGID:5\nLee B-PER\n"
    reading = read("conll", written(tmp_path / "train.txt", lines))
    assert ids(reading) == ["1", "5"]
    counts = reading.report.splits["train"]
    assert (counts.bad_lines, counts.empty_posts) == (2, 1)
    assert "line 4: post train-2: post without id: expected 'IMGID:<id>'" in counts.examples["bad_lines"][0]


def test_a_file_without_blank_lines_says_what_ends_a_post(tmp_path):
    path = written(tmp_path / "train.txt", "Ann B-PER\nmet O\n" * 10_000)
    with pytest.raises(DataError, match=r"post train-1 has 20,000 words, over 10,000: .* \(a blank line ends a post\)"):
        read("conll2003", path)


def test_the_names_of_columns_are_left_out_and_counted(tmp_path):
    reading = read("conll2003", written(tmp_path / "train.txt", "word tag\nAnn B-PER\nmet O\n"))
    assert posts(reading) == [(["Ann", "met"], ["B-PER", "O"])]
    assert reading.report.troubles() == [
        "train: 1 lines left out: they name the columns, as line 1: the names of the columns"
    ]


# ---------------------------------------------------------------- files


def test_files_of_one_set_may_have_a_prefix_and_other_endings(tmp_path):
    for name in ("wnut17train.conll", "wnut17dev.conll", "wnut17test.conll"):
        written(tmp_path / "a" / name, SENTENCES)
    assert read("conll2003", tmp_path / "a").splits == ("train", "validation", "test")
    for name in ("ned.testa", "ned.train"):
        written(tmp_path / "b" / name, SENTENCES)
    reading = read("conll2003", tmp_path / "b")
    assert {split: path.name for split, path in reading.files.items()} == {
        "train": "ned.train",
        "validation": "ned.testa",
    }
    written(tmp_path / "b" / "esp.train", SENTENCES)
    with pytest.raises(DataError, match=r"found files of several sets, esp\.train and ned\.t.*: give one file"):
        read("conll2003", tmp_path / "b")
    written(tmp_path / "b" / "train.txt", SENTENCES)
    assert [path.name for path in read("conll2003", tmp_path / "b").files.values()] == ["train.txt"]
    for name in ("demo.train.char", "demo.dev.char"):
        written(tmp_path / "d" / name, SENTENCES)
    assert read("conll2003", tmp_path / "d").splits == ("train", "validation")
    written(tmp_path / "e" / "train.char.bmes", SENTENCES)
    assert read("conll2003", tmp_path / "e").splits == ("train",)
    written(tmp_path / "c" / "x", "").unlink()
    with pytest.raises(DataError, match=r"tried train\.txt, .*, testb\.txt \(or \.conll, .*\); found nothing: give"):
        read("conll2003", tmp_path / "c")


def test_a_name_that_only_ends_like_a_split_is_none(tmp_path):
    written(tmp_path / "latest.txt", SENTENCES)
    with pytest.raises(
        DataError, match=r"found latest\.txt: give the folder of the splits, or one file to read as train"
    ):
        read("conll2003", tmp_path)


def test_files_with_other_columns_are_named(tmp_path):
    written(tmp_path / "train.txt", SENTENCES)
    written(tmp_path / "test.txt", "Ann B-PER\n")
    with pytest.raises(
        DataError, match=r"expected as many columns in every file, found 4 in .*train\.txt and 2 in .*test"
    ):
        read("conll2003", tmp_path)


WIDE = "".join(f"Ann{i} NNP B-NP B-PER\nmet{i} VB B-VP O\n\n" for i in range(40))
TYPES = "".join(f"Ann{i} PER\nmet{i} O\n\n" for i in range(40))


@pytest.mark.parametrize(
    ("train", "test", "fault"),
    [
        (WIDE, "Bob NNP B-PER B-NP\nran VB O B-VP\n", "4 has chunks"),
        (WIDE, "Bob B-PER NNP B-NP\nran O VB B-VP\n", "4 has chunks"),
        (WIDE, "B-PER NNP B-NP Bob\nO VB B-VP ran\n", "1 has tags of entities, as B-PER"),
        (WIDE, "NN Bob B-NP B-PER\nNN saw B-NP O\nNN us B-NP O\n", "2 has words, as Bob, saw"),
        (TYPES, "PER Bob\nO ran\n", "1 has tags of entities, as PER"),
    ],
)
def test_a_small_split_in_another_order_of_columns_is_named(tmp_path, train, test, fault):
    written(tmp_path / "train.txt", train)
    written(tmp_path / "test.txt", test)
    with pytest.raises(DataError, match=rf"test\.txt: {fault}.*, but in the other files 1 has words"):
        read("conll", tmp_path)
    whole = {"tokens": 1, "ner_tags": train.split("\n")[0].count(" ") + 1}
    written(tmp_path / "test.txt", train[: train.index("\n\n") + 1])
    assert read("conll", tmp_path, columns=whole).report.splits["test"].posts == 1


def test_a_split_without_entities_is_read_with_the_others(tmp_path):
    written(tmp_path / "train.txt", SENTENCES)
    written(tmp_path / "test.txt", "so RB O O\nwhat WP O O\n")
    assert posts(read("conll2003", tmp_path), "test") == [(["so", "what"], ["O", "O"])]


# ---------------------------------------------------------------- values of columns


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("B-PER", "PER"),
        ("I_PER", "PER"),
        ("PER-B", "PER"),
        ("art-film-I", "art-film"),
        ("S", ""),
        ("O", None),
        ("NNP", None),
        ("-X-", None),
        ("B-", None),
        ("PER", None),
        ("", None),
    ],
)
def test_the_type_of_a_tag(value, kind):
    assert type_of(value) == kind


def test_a_few_faults_do_not_hide_a_column_of_tags():
    column = Column()
    column.add(["B-PER", "I-PER", "O"] * 10 + ["?", "rt"])
    assert column.are_tags()
    column.add(["a", "b", "c"])
    assert not column.are_tags()


# ---------------------------------------------------------------- real sets


@pytest.mark.skipif(not (DATA / "twitter2017").is_dir(), reason=f"no real data in {DATA} ($MNER_DATA)")
@pytest.mark.parametrize("folder", ["twitter2015", "twitter2017", "twitter_gmner/txt", "twitter_fmnerg/txt_fine"])
def test_published_sets_are_the_same_with_recognised_columns(folder):
    reading = read("conll", DATA / folder)
    for split, path in reading.files.items():
        strict = [post for post in parse_imgid(path)]
        found = list(reading.raw.parse(path))
        assert [(p.id, p.line, p.tokens, p.tags, p.fine_tags, p.lines) for p in found] == [
            (p.id, p.line, p.tokens, p.tags, p.fine_tags, p.lines) for p in strict
        ], split


def test_a_converted_set_says_what_was_recognised(tmp_path):
    report = convert("conll2003", written(tmp_path / "train.txt", SENTENCES), tmp_path / "out")
    assert "\ncolumns recognised: 1 has words, 4 has tags of entities; " in str(report)
