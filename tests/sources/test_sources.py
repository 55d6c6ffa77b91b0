"""Sources as users have them: files, saved datasets, JSON Lines, other names and types of columns."""

import json
import warnings

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value, load_dataset

from hf_mner_aug import EDA, LSMS, Recipe, augment, load_sample, publish, validate, verify
from hf_mner_aug.columns.mapping import map_columns, parse_columns
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.schema import Codec, bio_names
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.places import split_source
from hf_mner_aug.storage.fingerprint import content_fingerprint

TAGS = bio_names(("PER", "LOC"))


@pytest.fixture(scope="module")
def sample():
    rows = load_sample()
    return DatasetDict(
        {s: rows[s].select(range(6)).select_columns(["id", "tokens", "ner_tags", "image"]) for s in rows}
    )


@pytest.fixture
def nobody_is_asked(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("hf_mner_aug.sources.loading._check_data_files", refuse)
    monkeypatch.setattr("datasets.load_dataset_builder", refuse)


def write_lines(path, dataset, **changes):
    """Write rows as JSON Lines, with the names of tags."""
    names = dataset.features["ner_tags"].feature.names
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in dataset.remove_columns("image"):
            file.write(json.dumps({**row, "ner_tags": [names[tag] for tag in row["ner_tags"]], **changes}) + "\n")


# ---------------------------------------------------------------- what lies at a path


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("notes.csv", r"notes\.csv is a file, expected a dataset's folder, \.parquet or \.jsonl"),
        ("./notes.csv", r"\./notes\.csv is a file"),
        ("train.txt", "is a file, .*hf-mner-aug convert"),
        ("./nowhere", r"there is no folder \./nowhere"),
        ("../nowhere", "there is no folder"),
        ("~/nowhere-at-all", "there is no folder ~/nowhere-at-all"),
        ("/nowhere/at/all", "there is no folder /nowhere/at/all"),
        ("nowhere", "there is no folder nowhere, and a dataset on the Hub would be ORG/NAME"),
        ("nowhere/", "there is no folder nowhere/"),
        ("nowhere.jsonl", r"there is no folder nowhere\.jsonl"),
        ("~nobody/x/y", "there is no folder ~nobody/x/y"),
        ("a/b/c", "there is no folder a/b/c"),
        ("out/eda_10pc", r"there is no out/eda_10pc: out holds eda_10pct; .*out/eda_10pc@main"),
        ("empty", "empty holds no Parquet file: make a dataset .*convert$"),
        ("out", r"out holds no Parquet file: .* \(out holds eda_10pct; JSON Lines"),
    ],
)
def test_what_is_no_dataset_is_named_at_once(tmp_path, monkeypatch, nobody_is_asked, source, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.csv").write_text("id,text\n")
    (tmp_path / "train.txt").write_text("IMGID:1\n")
    (tmp_path / "out" / "eda_10pct").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=told):
        load_source(source)
    with pytest.raises(UsageError, match=told):
        validate(source)


def test_a_hub_id_is_still_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    asked = []

    def asking(path, *_):
        asked.append(path)
        raise ConnectionError

    monkeypatch.setattr("hf_mner_aug.sources.loading._check_data_files", asking)
    for source in ("other/name", "other/name:config", "other/name@v1:config", "org/name@main"):
        with pytest.raises((UsageError, ConnectionError)):
            load_source(source)
    assert asked == ["other/name"] * 3 + ["org/name"]


def test_a_path_from_home(tmp_path, monkeypatch, sample):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "set").mkdir()
    sample["train"].to_parquet(tmp_path / "set" / "train.parquet")
    assert load_source("~/set")["train"]["id"] == sample["train"]["id"]
    assert split_source("~/set")[0] == str(tmp_path / "set")


# ---------------------------------------------------------------- saved datasets and JSON Lines


def test_saved_datasets_are_read(tmp_path, sample):
    sample.save_to_disk(tmp_path / "all")
    sample["train"].save_to_disk(tmp_path / "one")
    assert content_fingerprint(load_source(str(tmp_path / "all"))) == content_fingerprint(sample)
    assert list(load_source(str(tmp_path / "one"))) == ["train"]
    assert content_fingerprint(load_source(str(tmp_path / "one"))["train"]) == content_fingerprint(sample["train"])
    with pytest.raises(UsageError, match="has no configs"):
        load_source(f"{tmp_path / 'all'}:eda_10pct")


@pytest.mark.parametrize("name", ["../outside.arrow", "/etc/passwd", "data/x.arrow"])
def test_a_saved_dataset_reads_its_own_files_only(tmp_path, sample, name):
    sample["train"].save_to_disk(tmp_path / "one")
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    state["_data_files"][0]["filename"] = name
    (tmp_path / "one" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="lies outside of it"):
        load_source(str(tmp_path / "one"))
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(DataError, match=r"state\.json: expected JSON"):
        load_source(str(tmp_path / "one"))


def test_json_lines_of_our_columns_are_read(tmp_path, sample):
    for split in sample:
        write_lines(tmp_path / "set" / "data" / f"{split}.jsonl", sample[split])
    found = load_source(str(tmp_path / "set"))
    assert list(found) == ["train", "validation", "test"]
    for split in sample:
        mine, theirs = (Codec(rows[split].features) for rows in (found, sample))
        posts = [
            [codec.to_post({**row, "image": None}) for row in rows[split]]
            for codec, rows in ((mine, found), (theirs, sample))
        ]
        assert posts[0] == posts[1]
    write_lines(tmp_path / "one.jsonl", sample["test"])
    assert load_source(str(tmp_path / "one.jsonl"))["train"]["id"] == sample["test"]["id"]
    done = publish(augment(str(tmp_path / "set"), LSMS(), progress=False, config="c"), tmp_path / "out")
    again = augment(str(tmp_path / "set"), LSMS(), progress=False, config="c")
    assert publish(again, tmp_path / "other").content_fingerprint == done.content_fingerprint


def test_ids_that_are_numbers_here_and_text_there_are_text(tmp_path):
    rows = [{"id": name, "tokens": ["Ann"], "ner_tags": ["B-PER"]} for name in (7, "8", "nine")]
    (tmp_path / "mixed.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert load_source(str(tmp_path / "mixed.jsonl"))["train"]["id"][:] == ["7", "8", "nine"]
    (tmp_path / "odd.jsonl").write_text("".join(f"{json.dumps({**row, 'id': [row['id']]})}\n" for row in rows))
    with pytest.raises(UsageError, match=r"column id: expected string, found List"):
        augment(str(tmp_path / "odd.jsonl"), LSMS(), progress=False)


def test_an_empty_file_is_named(tmp_path, sample):
    (tmp_path / "none.jsonl").write_text("")
    write_lines(tmp_path / "set" / "train.jsonl", sample["train"])
    (tmp_path / "set" / "test.jsonl").write_text("")
    for source, name in (("none.jsonl", "none.jsonl"), ("set", "test.jsonl")):
        with pytest.raises(UsageError, match=f"{name} is empty: expected a post on each line"):
            load_source(str(tmp_path / source))


def test_pictures_that_json_lines_name_lie_in_the_folder(tmp_path, sample):
    picture = sample["train"].cast_column("image", Image(decode=False))[0]["image"]["bytes"]
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "1.png").write_bytes(picture)
    write_lines(tmp_path / "set" / "train.jsonl", sample["train"], image="images/1.png")
    found = load_source(str(tmp_path / "set"))["train"].cast_column("image", Image(decode=False))
    assert {row["image"]["bytes"] for row in found} == {picture}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "test", "test_2021"], {"train": 1, "test": 1, "test_2021": 1}),
        (["train", "dev", "validation", "valid_hard"], {"train": 1, "validation": 1, "dev": 1, "valid_hard": 1}),
        (["train-0", "train-1", "test_1", "test_2", "test_2021"], {"train": 2, "test": 2, "test_2021": 1}),
        (["train-00000-of-00002", "train-00001-of-00002", "test-00000"], {"train": 2, "test": 1}),
    ],
)
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_files_of_another_split_are_no_shards(tmp_path, sample, names, splits, ending):
    for name in names:
        if ending == "jsonl":
            write_lines(tmp_path / f"{name}.jsonl", sample["train"].select([0]))
        else:
            sample["train"].select([0]).to_parquet(tmp_path / f"{name}.parquet")
    found = load_source(str(tmp_path))
    assert {split: len(rows) for split, rows in found.items()} == splits
    tags = found["train"].features["ner_tags"].feature
    assert tags.int2str(found["train"][0]["ner_tags"]) == sample["train"].features["ner_tags"].feature.int2str(
        sample["train"][0]["ner_tags"]
    )


def test_splits_of_folders_are_kept_by_name_and_parts_of_train_stay_together(tmp_path, sample):
    for name in ("train/part-a", "train/part-b", "test/0", "test_2021/0"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        sample["train"].select([0]).to_parquet(tmp_path / "set" / f"{name}.parquet")
    assert {s: len(rows) for s, rows in load_source(str(tmp_path / "set")).items()} == {
        "train": 2,
        "test": 1,
        "test_2021": 1,
    }


def test_splits_are_as_a_card_says(tmp_path, sample):
    for name in ("train", "test", "test_2021"):
        sample["train"].select([0]).to_parquet(tmp_path / f"{name}.parquet")
    files = "[{split: train, path: train.parquet}, {split: test, path: test*.parquet}]"
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {files}\n---\n")
    assert {s: len(rows) for s, rows in load_source(str(tmp_path)).items()} == {"train": 1, "test": 2}


# ---------------------------------------------------------------- columns


def foreign(sample):
    """Return the sample as others hold it: numbered ids, words, tags as text."""
    names = sample["train"].features["ner_tags"].feature.names

    def row(row, i):
        return {
            "number": i + 100 * list(sample).index(row["id"].split("-")[1]),
            "words": row["tokens"],
            "labels": [names[tag] for tag in row["ner_tags"]],
        }

    return DatasetDict(
        {s: sample[s].map(row, with_indices=True, remove_columns=sample[s].column_names) for s in sample}
    )


COLUMNS = {"id": "number", "tokens": "words", "ner_tags": "labels"}


def test_columns_are_mapped_and_cast(sample):
    found = map_columns(foreign(sample), COLUMNS)
    assert found["train"].column_names == ["id", "tokens", "ner_tags"]
    assert found["train"]["id"] == ["0", "1", "2", "3", "4", "5"]
    before = sample["train"].features["ner_tags"].feature
    after = found["train"].features["ner_tags"].feature
    for new, old in zip(found["train"], sample["train"], strict=True):
        assert new["tokens"] == old["tokens"]
        assert after.int2str(new["ner_tags"]) == before.int2str(old["ner_tags"])
    assert found["train"].features == found["test"].features


def test_a_column_of_our_name_gives_way_to_the_one_that_is_named():
    rows = Dataset.from_dict({"id": ["1"], "tokens": [["Ann"]], "ner_tags": [["B-NP"]], "ner": [["B-PER"]]})
    found = map_columns(rows, {"ner_tags": "ner"})
    assert found.features["ner_tags"] == List(ClassLabel(names=bio_names(["PER"])))
    swapped = map_columns(
        rows.rename_columns({"tokens": "x", "id": "tokens"}).rename_column("x", "id"), {"tokens": "id", "id": "tokens"}
    )
    assert swapped[0]["tokens"] == ["Ann"]


def test_fit_and_map_take_columns(sample):
    rows = foreign(sample)
    eda = EDA(copies=1).fit(rows, columns=COLUMNS)
    made = eda.map(rows["train"], columns=COLUMNS)
    assert made["source_id"][0] == "0"
    plain = EDA(copies=1).fit(map_columns(rows, COLUMNS)).map(map_columns(rows, COLUMNS)["train"])
    assert made["tokens"] == plain["tokens"]
    with pytest.raises(UsageError, match=r"--columns id=\w+"):
        EDA().fit(rows.rename_column("number", "tweet_id"))
    with pytest.raises(UsageError, match=r"\(--columns tokens=words,ner_tags=labels\)"):
        EDA().fit(rows.rename_column("number", "id"))


def test_mapped_columns_are_in_the_recipe_and_make_the_same_rows_again(tmp_path, sample):
    rows = foreign(sample)
    rows.save_to_disk(tmp_path / "set")
    out = tmp_path / "out"
    done = publish(augment(str(tmp_path / "set"), LSMS(), columns=COLUMNS, progress=False, config="c"), out)
    note = json.loads((out / "c" / "augmentation.json").read_text())
    assert note["recipe"]["columns"] == COLUMNS
    assert verify(out, "c", rerun=True, source=str(tmp_path / "set")).ok
    assert validate(load_dataset(str(out), "c")).ok
    assert validate(str(tmp_path / "set"), columns=COLUMNS).ok
    in_memory = publish(augment(rows, LSMS(), columns=COLUMNS, progress=False, config="c"), tmp_path / "other")
    assert in_memory.content_fingerprint == done.content_fingerprint


def test_no_mapping_leaves_the_fingerprint_of_a_recipe():
    assert Recipe(method="eda").fingerprint == Recipe(method="eda", columns={}).fingerprint
    assert Recipe(method="eda").fingerprint != Recipe(method="eda", columns={"tokens": "words"}).fingerprint


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (
            {"id": Value("int64")},
            r"column id: .* cast it with ds\.cast_column\('id', Value\('string'\)\), or pass columns=",
        ),
        ({"ner_tags": List(Value("string"))}, r"ner_tags: .*List\(ClassLabel\(names=.*\(--columns ner_tags=ner_tags\)"),
        (
            {"ner_tags": List(Value("int64"))},
            r"ner_tags: .*List\(ClassLabel\(names=\['O', 'B-PER', 'I-PER', …\]\)\)\)$",
        ),
        ({"image": Value("string")}, r"column image: .* ds\.cast_column\('image', Image\(\)\)"),
    ],
)
def test_the_message_shows_the_line_that_mends_a_column(features, told):
    columns = {"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=TAGS))}
    with pytest.raises(UsageError, match=told):
        Codec(Features({**columns, **features}))


def test_what_cannot_be_mapped_is_said(sample):
    rows = foreign(sample)["train"]
    with pytest.raises(UnknownName, match="unknown column of the set 'word': did you mean 'words'"):
        map_columns(rows, {"tokens": "word"})
    with pytest.raises(UnknownName, match="unknown column to map 'token': did you mean 'tokens'"):
        map_columns(rows, {"token": "words"})
    with pytest.raises(DataError, match="column ner_tags: tag 'X-PER' is not BIO"):
        map_columns(Dataset.from_dict({"labels": [["X-PER"]]}), {"ner_tags": "labels"})
    with pytest.raises(UsageError, match="expected OURS=THEIRS"):
        parse_columns("tokens")
    assert parse_columns(" tokens=words, ner_tags=labels ") == {"tokens": "words", "ner_tags": "labels"}
    assert parse_columns(None) == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert map_columns(rows, {"tokens": "words"}).column_names == ["number", "tokens", "labels"]
