"""Posts keep ids of their own, splits are kept by name, and words that are none are refused everywhere."""

import warnings

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, concatenate_datasets, load_dataset

from hf_mner_aug import EDA, LSMS, augment, convert, publish, validate
from hf_mner_aug.columns.mapping import parse_columns
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.hygiene import find_leaks
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.runs.subset import choose_subset, resolve
from hf_mner_aug.schema import bio_names, split_tag, word_faults
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.splits import named_splits
from hf_mner_aug.transform.columns import id_suffix

TAGS = bio_names(("PER", "LOC"))
FEATURES = Features({"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=TAGS))})
TOWNS = ("Oslo", "Paris", "Rome", "Bern", "Lima", "Cairo", "Quito", "Dakar")
VERBS = ("visits", "leaves", "likes", "sees")


def post(name, number=0):
    tokens = ["Ann", "Lee", VERBS[number % 4], TOWNS[number % 8], "on", "day", f"w{number}", "of", "May"]
    return {"id": name, "tokens": tokens, "ner_tags": [1, 2, 0, 3, 0, 0, 0, 0, 0]}


def dataset(names, first=0):
    return Dataset.from_list([post(name, first + i) for i, name in enumerate(names)], features=FEATURES)


def splits(**more):
    ids = {"train": map(str, range(8)), "validation": ["v0", "v1"], "test": ["t0", "t1"]}
    found = {split: dataset(list(names), 10 * i) for i, (split, names) in enumerate(ids.items())}
    return DatasetDict({**found, **more})


def published(source, method, out, name, **chosen):
    publish(augment(source, method, config=name, progress=False, **chosen), out)
    return load_dataset(str(out), name)


# ---------------------------------------------------------------- ids


@pytest.mark.parametrize("chain", [(EDA, EDA, EDA), (EDA, LSMS, EDA), (LSMS, LSMS, EDA)])
def test_a_config_of_a_published_config_repeats_no_id(tmp_path, chain):
    found = splits()
    for i, method in enumerate(chain):
        before = found["train"]["id"]
        found = published(found, method(copies=2), tmp_path / "out", f"c{i}")
        assert len(found["train"]) > len(before)
        assert list(found["train"]["id"])[: len(before)] == list(before)
        assert not validate(found).counts().get("duplicate_id")
        assert len(set(found["train"]["id"])) == len(found["train"])


def test_a_card_says_which_of_its_gold_posts_were_made_before(tmp_path):
    out = tmp_path / "out"
    first = published(splits(), EDA(copies=2), out, "first")
    assert "made earlier" not in (out / "README.md").read_text()
    made = len(first["train"]) - len(splits()["train"])
    published(first, LSMS(copies=1), out, "second")
    card = (out / "README.md").read_text()
    assert f"The source holds {made} posts that a method made earlier (`eda` {made}). They count as gold here" in card
    assert card.count("The gold posts that no method made are real") == 1
    of_zero = sum(row["source_id"] == "0" for row in first["train"]) - 1
    assert of_zero
    withdraw_posts(out, ["0"])
    assert read_note(out / "second")["earlier"] == {"eda": made - of_zero}
    assert f"made earlier (`eda` {made - of_zero})" in (out / "README.md").read_text()


def test_the_first_augmentation_is_named_by_the_method_alone():
    fitted = EDA().fit(splits())
    assert fitted.map(splits()["train"])["id"][0] == "0+eda.0"
    again = concatenate_datasets([splits()["train"], dataset(["0+eda.0", "0+eda.0+lsms.0"], 30)])
    assert EDA().fit(again).map(again.select([0]))["id"] == [f"0+eda~2.{i}" for i in range(EDA().copies)]
    assert id_suffix(EDA().fit(dataset(["0+eda~2.0", "0"]))) == "eda~3"
    assert id_suffix(EDA().fit(dataset(["0+eda.0x", "0+eda", "eda.0", "0"]))) == "eda"
    assert id_suffix(EDA().fit(DatasetDict(train=dataset(["0"]), test=dataset(["t+eda.0"])))) == "eda~2"


def test_a_stream_of_made_posts_gives_the_same_ids(tmp_path):
    made = published(splits(), EDA(copies=1), tmp_path / "out", "c")["train"]
    stream = made.to_iterable_dataset()
    assert id_suffix(EDA().fit(stream)) == id_suffix(EDA().fit(made)) == "eda~2"


def test_a_method_fitted_elsewhere_makes_no_post_of_an_id_that_is_taken():
    fitted = EDA(copies=2).fit(splits())
    taken = splits(test=dataset(["3+eda.1"], 50))
    with pytest.raises(UsageError, match=r"post 3\+eda\.1 exists already, .* fit it on this one"):
        augment(taken, fitted, progress=False)
    augment(splits(test=dataset(["3+eda.2", "x+eda.0", "3+lsms.0"], 50)), fitted, progress=False)


def test_repeated_ids_of_a_split_are_refused_and_those_of_two_are_said(tmp_path):
    made = published(splits(), EDA(copies=1), tmp_path / "out", "c")
    twice = DatasetDict({**made, "train": concatenate_datasets([made["train"], made["train"]])})
    with pytest.raises(DataError, match=r"post 0: rows 0 and \d+ of train have this id, .*number the ids with ds\.map"):
        augment(twice, EDA(), progress=False)
    both = twice["train"].map(lambda name, i: {"id": f"{name}~{i}"}, input_columns="id", with_indices=True)
    augment(both, EDA(copies=1), progress=False)
    with pytest.warns(UserWarning, match="2 ids are in two splits, as 0 in train and test"):
        resolve(Recipe(method="eda"), splits(test=dataset(["0", "1"], 40)))


def test_an_id_of_the_raw_files_means_all_its_posts(tmp_path):
    found = splits(train=dataset(["12", "12~2", "7", "8~2"]), validation=dataset(["12~3", "9"], 20))

    def chosen(**ids):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            recipe, gold = resolve(Recipe(method="eda", **ids), found)
        assert choose_subset(found, recipe)["train"]["id"] == gold["train"]["id"]
        return recipe, gold, [str(warning.message) for warning in said]

    recipe, gold, said = chosen(ids_train=("12", "12", "7"), ids_validation=("12",))
    assert gold["train"]["id"] == ["12", "12~2", "7"]
    assert gold["validation"]["id"] == ["12~3"]
    assert recipe.ids_train == ("12", "12~2", "7")
    assert said[0].startswith("ids of train: 1 of 2 are of posts that convert numbered")
    assert "12 selects 12, 12~2" in said[0]
    assert "ids of validation: 1 of 1" in said[1]
    assert chosen(ids_train=recipe.ids_train, ids_validation=recipe.ids_validation)[2] == []
    _, gold, said = chosen(ids_train=("12", "8~2"))
    assert (gold["train"]["id"], said) == (["12", "8~2"], [])
    with pytest.raises(UsageError, match=r"1 of 2 ids are not in train \(13\)"):
        chosen(ids_train=("13", "7"))


# ---------------------------------------------------------------- splits


def test_splits_beside_the_known_ones_are_kept_whole_and_held_out(tmp_path):
    more = {"dev": dataset(["d0", "d1"], 50), "test_2021": dataset(["x0", "x1"], 60)}
    found = published(splits(**more), EDA(copies=1), tmp_path / "out", "c", fraction=0.5)
    assert list(found) == ["train", "validation", "test", "dev", "test_2021"]
    assert [len(rows) for rows in found.values()][1:] == [1, 2, 2, 2]
    assert found["test_2021"]["id"] == ["x0", "x1"]


def test_no_made_post_leaks_from_a_split_of_another_name(tmp_path):
    made = EDA(copies=2, seed=3).fit(splits()).map(splits()["train"])
    stolen = made.select([0, 3]).select_columns(FEATURES).cast(FEATURES)
    stolen = stolen.map(lambda row, i: {"id": f"x{i}"}, with_indices=True)
    run = augment(splits(test_2021=stolen), EDA(copies=2, seed=3), progress=False, config="c")
    done = publish(run, tmp_path / "out")
    assert done.funnel["dropped"] == {"leak_text": 2}
    assert not find_leaks(load_dataset(str(tmp_path / "out"), "c")["train"], stolen)


def test_validation_is_renamed_once_and_no_split_vanishes():
    rows = {name: dataset([name], i) for i, name in enumerate(("train", "dev", "val", "test"))}
    assert list(named_splits(rows)) == ["train", "validation", "test", "dev"]
    assert named_splits(rows)["validation"]["id"] == ["val"]
    rows["validation"] = dataset(["validation"], 9)
    assert list(named_splits(rows)) == ["train", "validation", "test", "dev", "val"]
    for name in ("retrieved", "test-b", "../x"):
        with pytest.raises(DataError, match=r"split name .*: expected letters, digits"):
            named_splits({"train": rows["train"], name: rows["test"]})


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("word", "told"), [(None, "None"), ("", "''"), (" ", "' '"), (" \t", r"' \\t'"), ("\n", r"'\\n'")]
)
def test_a_word_that_is_none_is_refused_by_fit_map_and_validate_alike(word, told):
    row = {**post("3", 3), "tokens": ["Ann", "Lee", "sees", "Rome", word, "day", "w3", "of", "May"]}
    bad = Dataset.from_list([post("0"), row], features=FEATURES)
    for call in (
        lambda: EDA().fit(bad),
        lambda: EDA().fit(splits()).map(bad),
        lambda: bad.map(m := EDA().fit(splits()), batched=True, features=m.features),
        lambda: augment(bad, LSMS(), progress=False),
    ):
        with pytest.raises(
            DataError, match=f"^post 3: word 4 is {told}, expected words that are not blank: correct the row"
        ):
            call()
    assert [(p.kind, p.id, p.detail) for p in validate(bad).problems] == [
        ("empty_tokens", "3", f"word 4 is {word!r}"),
    ]


@pytest.mark.parametrize("word", ["\u00a0", "\u200d", "\ufe0f", "\u200b"])
def test_a_sign_that_is_not_seen_is_a_word_everywhere(tmp_path, word):
    """Twitter-2015 has a no-break space as a word, Twitter-2017 joiners and variation selectors."""
    (tmp_path / "train.txt").write_text(f"IMGID:1\nAnn\tB-PER\n{word}\tO\nleft\tO\n", encoding="utf-8")
    convert("conll", tmp_path / "train.txt", tmp_path / "out")
    found = load_source(str(tmp_path / "out"))["train"]
    assert found[0]["tokens"] == ["Ann", word, "left"]
    assert validate(found, images=False).ok
    assert EDA().fit(found).map(found).column_names


def test_posts_without_words_or_tags_are_refused_with_their_row():
    for change, told in (
        ({"tokens": [], "ner_tags": []}, "post 3: there are no tokens"),
        ({"ner_tags": [1, 2, 0, None, 0, 0, 0, 0, 0]}, "post 3: word 3 has tag id None"),
        ({"id": ""}, "post '': id must be a string that is not empty"),
    ):
        bad = Dataset.from_list([{**post("3"), **change}], features=FEATURES)
        with pytest.raises(DataError, match=told):
            LSMS().fit(bad)
        assert not validate(bad).ok
    assert list(word_faults(["a", None, 3])) == ["word 1 is None", "word 2 is 3"]


@pytest.mark.parametrize("edge", [" ", "\u00a0", "\u200b", "\ufeff", "\u3000"])
@pytest.mark.parametrize("tag", ["B-PER{}", "I-{}PER"])
def test_a_tag_with_a_blank_at_an_edge_is_refused(tmp_path, tag, edge):
    tag = tag.format(edge)
    with pytest.raises(DataError, match="has a blank at an edge of its type"):
        split_tag(tag)
    (tmp_path / "train.txt").write_text(f"IMGID:1\nAnn\tB-PER\nLee\t{tag}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"post 1: tag .* has a blank at an edge .*line 3"):
        convert("twitter2015", tmp_path / "train.txt", tmp_path / "out")
    bad = dataset(["3"]).cast_column("ner_tags", List(ClassLabel(names=[*TAGS[:4], tag])))
    with pytest.raises(UsageError, match="has a blank at an edge"):
        EDA().fit(bad)
    assert [p.kind for p in validate(bad).problems] == ["bad_column"]


def test_a_blank_word_of_a_raw_file_is_refused_with_its_line(tmp_path):
    (tmp_path / "train.txt").write_text("IMGID:1\nAnn\tB-PER\n \tO\nleft\tO\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"post 1: expected a word, .*found ' \\tO' \(.*line 3\)"):
        convert("twitter2015", tmp_path / "train.txt", tmp_path / "out")


# ---------------------------------------------------------------- columns of raw files


CHUNKS = "IMGID:1\nAnn B-NP B-PER\nleft B-VP O\nOslo B-NP B-LOC\n"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (CHUNKS, "tokens=1,ner_tags=3"),
        ("IMGID:1\nAnn B-NP B-PER\nleft O O\nthe B-NP O\n", "tokens=1,ner_tags=3"),
        (CHUNKS.replace(" ", "\t"), "tokens=1,ner_tags=3"),
        ("IMGID:1\nB-PER B-NP Ann\nO B-VP left\n", "tokens=3,ner_tags=1"),
        ("IMGID:1\nAnn NNP B-NP B-PER\nleft VBD B-VP O\n", "tokens=1,ner_tags=4"),
        ("IMGID:1\nAnn NNP B-PER\nleft VBD O\n", "tokens=1,ner_tags=3"),
    ],
)
def test_other_columns_are_refused_until_they_are_named(tmp_path, text, columns):
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(DataError, match=r"^post 1: .*line \d.*"):
        convert("twitter2015", tmp_path / "train.txt", tmp_path / "out")
    convert("twitter2015", tmp_path / "train.txt", tmp_path / "out", columns=parse_columns(columns))
    found = load_source(str(tmp_path / "out"))["train"]
    names = found.features["ner_tags"].feature.names
    assert found[0]["tokens"][:2] == ["Ann", "left"]
    assert [names[tag] for tag in found[0]["ner_tags"]][:2] == ["B-PER", "O"]
    assert "fine_tags" not in found.column_names


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        ("Ann  B-PER\nleft  O\n", "tokens=1,ner_tags=2"),
        ("Ann     B-PER\nleft  O\n", "tokens=1,ner_tags=2"),
        ("Ann \tB-PER\nleft\tO\n", "tokens=1,ner_tags=2"),
        ("Ann\tB-PER\nleft\t O\n", "tokens=1,ner_tags=2"),
        ("Ann B-PER\nleft O \n", "tokens=1,ner_tags=2"),
        ("Ann  NNP   B-PER\nleft  VBD   O\n", "tokens=1,ner_tags=3"),
        ("Ann\t\tB-PER\nleft\t\tO\n", "tokens=1,ner_tags=3"),
    ],
)
def test_columns_far_apart_are_refused_with_the_option_that_reads_them(tmp_path, lines, columns):
    (tmp_path / "train.txt").write_text(f"IMGID:1\n{lines}")
    with pytest.raises(DataError, match=r"^post 1: (expected one tab|tag ' ?\S+ ?')") as refused:
        convert("twitter2015", tmp_path / "train.txt", tmp_path / "out")
    assert f"--columns {columns})" in str(refused.value)
    convert("twitter2015", tmp_path / "train.txt", tmp_path / "out", columns=parse_columns(columns))
    found = load_source(str(tmp_path / "out"))["train"]
    assert (found[0]["tokens"], found[0]["ner_tags"]) == (["Ann", "left"], [1, 0])


def test_a_no_break_space_is_a_word_of_named_columns(tmp_path):
    (tmp_path / "train.txt").write_text("IMGID:1\n\u00a0 B-NP  B-PER\nleft B-VP O\n", encoding="utf-8")
    convert("conll", tmp_path / "train.txt", tmp_path / "out", columns={"tokens": 1, "ner_tags": 3})
    assert load_source(str(tmp_path / "out"))["train"][0]["tokens"] == ["\u00a0", "left"]


def test_chunks_beside_entities_ask_for_the_columns(tmp_path):
    (tmp_path / "train.txt").write_text(CHUNKS)
    with pytest.raises(DataError, match=r"found B-VP and O on 'left' \(.*line 3\): .*--columns tokens=1,ner_tags=3"):
        convert("twitter2015", tmp_path / "train.txt", tmp_path / "out")
    for columns in (
        {"tokens": 0, "ner_tags": 3},
        {"tokens": 1},
        {"tokens": 1, "tags": 3},
        {"tokens": "a", "ner_tags": 2},
    ):
        with pytest.raises(UsageError, match="expected positions from 1"):
            convert("twitter2015", tmp_path / "train.txt", tmp_path / "out", columns=columns)
    with pytest.raises(UsageError, match="mnre takes no --columns: leave it out"):
        convert("mnre", tmp_path / "train.txt", tmp_path / "out", columns={"tokens": 1, "ner_tags": 3})
    with pytest.raises(DataError, match=r"expected a word, .*line 2"):
        convert("twitter2015", tmp_path / "train.txt", tmp_path / "out", columns={"tokens": 1, "ner_tags": 7})


def test_coarse_and_fine_tags_are_still_read(tmp_path):
    (tmp_path / "train.txt").write_text("IMGID:1\nAnn\tB-PER\tB-actor\nLee\tI-PER\tI-actor\nleft\tO\tO\n")
    convert("conll", tmp_path / "train.txt", tmp_path / "out")
    assert load_source(str(tmp_path / "out"))["train"].column_names[:4] == ["id", "tokens", "ner_tags", "fine_tags"]
