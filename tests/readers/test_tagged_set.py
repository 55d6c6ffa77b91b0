"""``convert dataset``: a dataset of words and tags, as a file, a folder or on the Hub, written as any raw set."""

import io
import json

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value, load_dataset
from PIL import Image as Pillow
from typer.testing import CliRunner

from hf_mner_aug.cli import app
from hf_mner_aug.columns.validation import validate
from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.readers.tagged import from_tags

WORDS = ["Ann", "van", "Lee", "left", "Oslo"]
BIOES = ["B-PER", "I-PER", "E-PER", "O", "S-LOC"]
BIO = ["B-PER", "I-PER", "I-PER", "O", "B-LOC"]
COLUMNS = {"tokens": "words", "ner_tags": "labels"}


def picture(size=(9, 5)):
    buffer = io.BytesIO()
    Pillow.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def load(folder, split="train"):
    return load_dataset(str(folder), split=split, cache_dir=str(folder.parent / "cache"))


def spelt(rows):
    names = rows.features["ner_tags"].feature.names
    return [[names[tag] for tag in row["ner_tags"]] for row in rows.select_columns("ner_tags")]


def written(folder):
    """Yield files with the same two posts."""
    rows = [{"words": WORDS, "labels": BIOES, "author": "x"}] * 2
    yield folder / "a.json", json.dumps(rows)
    yield folder / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
    yield folder / "a.csv", f'Unnamed: 0,words,labels\n0,{" ".join(WORDS)},{" ".join(BIOES)}\n1,"{WORDS}","{BIOES}"\n'
    yield folder / "a.tsv", "words\tlabels\n" + f"{' '.join(WORDS)}\t{' '.join(BIOES)}\n" * 2
    yield folder / "set" / "train.jsonl", "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("i", range(5))
def test_files_become_a_set(tmp_path, i):
    path, text = list(written(tmp_path))[i]
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    source = path.parent if path.parent != tmp_path else path
    report = convert("dataset", source, tmp_path / "out", columns=COLUMNS)
    assert "tags are BIOES, as 'B-PER': 2 B, 2 E, 2 I, 2 S; all fit it" in str(report)
    found = load(tmp_path / "out")
    assert found["id"][:] == ["train-1", "train-2"]
    assert found["tokens"][:] == [WORDS] * 2
    assert spelt(found) == [BIO] * 2
    assert set(found.column_names) == {"id", "tokens", "ner_tags", "image"}
    assert validate(found).ok
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"# Posts of {source.name}" in card
    assert report.recognised[0] in card


@pytest.fixture
def saved(tmp_path):
    features = Features(
        {"key": Value("int64"), "words": List(Value("string")), "labels": List(ClassLabel(names=["O", "PER", "LOC"]))}
        | {"photo": Image(), "author": Value("string")}
    )
    tags = [1, 1, 1, 0, 2]
    rows = [
        {"key": 7, "words": WORDS, "labels": tags, "photo": {"bytes": picture(), "path": "a.png"}, "author": "x"},
        {"key": 7, "words": WORDS, "labels": tags, "photo": None, "author": None},
        {"key": 9, "words": WORDS, "labels": tags[:2], "photo": {"bytes": picture(), "path": "b.png"}, "author": "y"},
        {"key": 8, "words": WORDS, "labels": tags, "photo": {"bytes": b"none", "path": "c.png"}, "author": "z"},
    ]
    data = Dataset.from_list(rows, features=features)
    DatasetDict(train=data, test_2021=data.select([0])).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_pictures_ids_and_faults_of_a_saved_dataset(tmp_path, saved):
    columns = {**COLUMNS, "id": "key", "image": "photo"}
    with pytest.warns(
        UserWarning,
        match="3 posts: 1 posts have no image file, 1 posts have one that cannot be decoded: their image is null",
    ):
        report = convert("dataset", saved, tmp_path / "out", columns=columns, left_out=tmp_path / "left.jsonl")
    counts = report.splits["train"]
    assert (counts.posts, counts.images, counts.missing, counts.unreadable, counts.bad_lines) == (3, 1, 1, 1, 1)
    found = load(tmp_path / "out")
    assert found["id"][:] == ["7", "7~2", "8"]
    images = [row["image"] for row in found.with_format("arrow")[:].to_pylist()]
    assert images == [{"bytes": picture(), "path": "a.png"}, None, None]
    assert load(tmp_path / "out", "test_2021")["id"][:] == ["7~3"]
    (left,) = map(json.loads, (tmp_path / "left.jsonl").read_text().splitlines())
    assert (left["split"], left["line"]) == ("train", 3)
    assert left["detail"] == "post 9: expected a tag for each of 5 words, found 2"
    assert "a run of one type is one entity" in str(report)


@pytest.mark.filterwarnings("ignore:dataset")
def test_a_conversion_is_replaced_with_all_of_its_splits(tmp_path, saved):
    for _ in range(2):
        convert("dataset", saved, tmp_path / "out", columns=COLUMNS)
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == [
        "test_2021-00000-of-00001.parquet",
        "train-00000-of-00001.parquet",
    ]
    (tmp_path / "out" / "data" / "mine-00000-of-00001.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match=r"found data/mine-00000-of-00001\.parquet: choose"):
        convert("dataset", saved, tmp_path / "out", columns=COLUMNS)


def test_pictures_by_path_and_by_id(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "p.png").write_bytes(picture())
    for name, columns in (("photo", {**COLUMNS, "image": "photo"}), ("id", COLUMNS)):
        rows = [{"words": WORDS, "labels": BIOES, name: "p.png" if name == "photo" else "p"}]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        out = tmp_path / f"out-{name}"
        convert("dataset", tmp_path / f"{name}.json", out, columns=columns, images=tmp_path / "pictures")
        assert load(out).with_format("arrow")[0].to_pylist()[0]["image"]["bytes"] == picture()


def test_several_pictures_and_fine_tags(tmp_path):
    features = Features({name: List(Value("string")) for name in ("tokens", "ner_tags", "fine_tags")})
    features["photos"] = List(Image())
    photos = [{"bytes": picture((n, n)), "path": f"{n}.png"} for n in (2, 3)]
    fine = ["B-actor", "I-actor", "I-actor", "O", "B-city"]
    rows = [{"tokens": WORDS, "ner_tags": BIO, "fine_tags": fine, "photos": photos}]
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "a.parquet")
    convert("dataset", tmp_path / "a.parquet", tmp_path / "out", columns={"images": "photos"})
    (row,) = load(tmp_path / "out").with_format("arrow")[:].to_pylist()
    assert row["images"] == photos
    names = load(tmp_path / "out").features["fine_tags"].feature.names
    assert [names[tag] for tag in row["fine_tags"]] == fine


def test_what_is_wrong_is_said(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"words": WORDS, "labels": BIOES}]))
    with pytest.raises(
        UsageError, match=r"expected a column ner_tags, found words, labels: .*--columns tokens=words,ner_tags"
    ):
        convert("dataset", tmp_path / "a.json", tmp_path / "out", columns={"tokens": "words"})
    with pytest.raises(UnknownName, match="unknown column of the set 'word': did you mean 'words'"):
        convert("dataset", tmp_path / "a.json", tmp_path / "out", columns={"tokens": "word"})
    with pytest.raises(UnknownName, match="unknown column to convert 'token': did you mean 'tokens'"):
        convert("dataset", tmp_path / "a.json", tmp_path / "out", columns={"token": "words"})
    with pytest.raises(UsageError, match=r"--scheme bilou: post train-1 has E-PER on 'Lee' \(a\.json/train line 1\)"):
        convert("dataset", tmp_path / "a.json", tmp_path / "out", columns=COLUMNS, scheme="bilou")
    with pytest.raises(UsageError, match="dataset takes no --encoding: leave it out"):
        convert("dataset", tmp_path / "a.json", tmp_path / "out", columns=COLUMNS, encoding="cp1252")
    with pytest.raises(UsageError, match="there is no folder nowhere"):
        convert("dataset", "nowhere", tmp_path / "out")
    (tmp_path / "broken.json").write_text('[{"words": [')
    with pytest.raises(DataError, match=r"broken\.json: expected a dataset that datasets loads"):
        convert("dataset", tmp_path / "broken.json", tmp_path / "out")


def test_the_command(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"words": WORDS, "labels": BIOES}]))
    arguments = ["dataset", str(tmp_path / "a.json"), "--columns", "tokens=words,ner_tags=labels", "--scheme", "auto"]
    done = CliRunner().invoke(app, ["convert", *arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "tags are BIOES" in done.output
    assert spelt(load(tmp_path / "out")) == [BIO]


@pytest.mark.parametrize("sign", [";", "\t"])
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_columns_of_excel_are_read(tmp_path, sign, ending):
    rows = [["key, or id", "words", "labels"], ["7", " ".join(WORDS), " ".join(BIOES)], ["8", "Bob, he;", "S-PER O"]]
    path = tmp_path / f"a{ending}"
    path.write_text("".join(sign.join(f'"{cell}"' for cell in row) + "\r\n" for row in rows), encoding="utf-8-sig")
    convert("dataset", path, tmp_path / "out", columns=COLUMNS | {"id": "key, or id"})
    found = load(tmp_path / "out")
    assert found["id"][:] == ["7", "8"]
    assert found["tokens"][:] == [WORDS, ["Bob,", "he;"]]
    path.write_text(f"words{sign}labels\nMüller{sign}S-PER\n", encoding="cp1252")
    with pytest.raises(DataError, match=r"expected UTF-8 text, found the bytes b'\\xfcller.*: save it as UTF-8"):
        convert("dataset", path, tmp_path / "out", columns=COLUMNS)


def test_a_table_with_a_word_in_each_row_is_no_set_of_posts(tmp_path):
    words, labels = WORDS * 2, BIOES * 2
    rows = "".join(f"{word},{label}\n" for word, label in zip(words, labels, strict=True))
    (tmp_path / "a.csv").write_text(f"words,labels\n{rows}")
    with pytest.raises(
        DataError, match=r"expected a post in each row, found one word in each \(words 'Ann', 'van', …\)"
    ):
        convert("dataset", tmp_path / "a.csv", tmp_path / "out", columns=COLUMNS)
    with pytest.raises(DataError, match="expected a post in each row"):
        from_tags(Dataset.from_dict({"words": words, "labels": labels}), tokens="words", tags="labels")
    (tmp_path / "a.csv").write_text(f"words,labels\n{rows}Bob stays,S-PER O\n")
    convert("dataset", tmp_path / "a.csv", tmp_path / "out", columns=COLUMNS)
    assert len(load(tmp_path / "out")) == 11
