"""Paths in data: sets in memory, exports, corpora and raw files read nothing of the user."""

import json
import os
import shutil
import sqlite3
import warnings

import home_of_secrets
import pyarrow as pa
import pytest
from conftest import picture
from datasets import Dataset, DatasetDict, Image, load_dataset
from home_of_secrets import FEATURES, OWN, SECRET, assert_clean, attacks, dataset_of, images_of, is_secret, rows_of

from hf_mner_aug import EDA, MixGen, augment, embed_pictures, validate
from hf_mner_aug.conversion import convert
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.search import Query, open_corpus
from hf_mner_aug.schema import mner_features
from hf_mner_aug.storage.fingerprint import content_fingerprint
from hf_mner_aug.storage.picture_columns import PictureReader
from hf_mner_aug.storage.picture_files import FileRefused

home, call = home_of_secrets.home, home_of_secrets.call  # fixtures

# ---------------------------------------------------------------- sets in memory


def test_in_memory_nothing_is_read_until_the_user_says_so(home, monkeypatch):
    monkeypatch.chdir(home / "set" / "pics")
    ds = Dataset.from_dict({**rows_columns(6), "image": [f"{i % OWN}.jpg" for i in range(6)]}).cast_column(
        "image", Image()
    )
    ds = ds.cast_column("ner_tags", FEATURES["ner_tags"])
    eda = EDA(copies=1).fit(ds)
    with pytest.warns(UserWarning, match=r"6 pictures .* are missing: 6 not_allowed .*trust_image_paths=True"):
        assert images_of(eda.map(ds)) == [None] * 6
    expected = [picture(i % OWN, "JPEG") for i in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert images_of(eda.map(ds, trust_image_paths=True)) == expected
        assert images_of(eda.map(ds, images=".", num_proc=2)) == expected
        embedded = embed_pictures(ds, trust_image_paths=True)
        bare = embedded.map(eda, batched=True, features=eda.features)
        assert images_of(bare) == expected
        assert images_of(augment(ds, eda, trust_image_paths=True, progress=False, config="a").dataset) == expected
        assert embed_pictures(embedded) is embedded, "a set that holds its pictures is the same one"
    with pytest.warns(UserWarning, match="in this batch 6 pictures .* 6 not_allowed"):
        assert images_of(ds.map(EDA(copies=1, seed=7).fit(ds), batched=True, features=eda.features)) == [None] * 6
    assert {p.kind for p in validate(ds).problems} == {"refused_image"}
    assert validate(ds, trust_image_paths=True).ok
    with pytest.raises(DataError, match=r"post r0: column image names the file '0\.jpg', which is not read"):
        content_fingerprint(ds)


def rows_columns(n):
    return {name: [row[name] for row in rows_of(["x"] * n)] for name in ("id", "tokens", "ner_tags")}


def test_a_method_that_reads_pictures_learns_from_those_it_may_read(home):
    ds = dataset_of(attacks(home))
    with pytest.warns(UserWarning, match="are missing") as told:
        fitted = MixGen().fit(ds, images=home / "set")
    assert sum("by path" in str(w.message) for w in told) == 1
    with pytest.warns(UserWarning, match="are missing"):
        made = fitted.map(ds, images=home / "set")
    pictures = [image["bytes"] for image in images_of(made) if image]
    assert len(pictures) >= OWN
    assert not any(map(is_secret, pictures))
    with pytest.warns(UserWarning, match="are missing"):
        assert not any(images_of(MixGen().fit(ds).map(ds)))


def test_streams_and_several_images(home):
    many = mner_features(images="many")
    paths = list(attacks(home))
    rows = [row | {"images": [{"bytes": None, "path": path} for path in paths]} for row in rows_of(["x"] * 3)]
    for row in rows:
        del row["image"]
    ds = Dataset.from_list(rows, features=many)
    eda = EDA(copies=1).fit(ds)
    for source in (ds, ds.to_iterable_dataset()):
        with pytest.warns(UserWarning, match="are missing"):
            made = list(rows_in(eda.map(source, images=home / "set")))
        assert [len(row["images"]) for row in made] == [OWN] * 3
        with pytest.warns(UserWarning, match="are missing"):
            made = list(rows_in(EDA(copies=1, seed=3 + hasattr(source, "data")).fit(source).map(source)))
        assert [row["images"] for row in made] == [[]] * 3


def rows_in(dataset):
    if hasattr(dataset, "data"):
        return dataset.with_format("arrow")[:].to_pylist()
    return list(dataset.decode(False))


@pytest.mark.parametrize("name", ["gmner", "fmnerg", "mre", "multi_image"])
def test_every_kind_of_set_is_whole_when_its_files_may_be_read(home, sets, name):
    files = home / "files"
    files.mkdir()

    def named(value):
        if isinstance(value, list):
            return [named(each) for each in value]
        if value is None:
            return None
        (files / value["path"]).write_bytes(value["bytes"])
        return {"bytes": None, "path": value["path"]}

    column = "images" if name == "multi_image" else "image"
    rows = sets[name].with_format("arrow")[:].to_pylist()
    by_name = Dataset.from_list([row | {column: named(row[column])} for row in rows], features=sets[name].features)
    assert content_fingerprint(embed_pictures(by_name, images=files)) == content_fingerprint(sets[name])


def test_a_set_keeps_its_rows_and_looks(home):
    ds = dataset_of(["pics/0.jpg", "pics/1.jpg", "../private.jpg"]).select([2, 1, 0])
    ds = ds.with_format("numpy", columns=["id"])
    with pytest.warns(UserWarning, match="1 outside"):
        found = embed_pictures(ds, images=home / "set")
    assert found.format == ds.format
    assert found.features == ds.features
    assert found.with_format(None)["id"][:] == ["r2", "r1", "r0"]
    with pytest.warns(UserWarning, match="1 outside"):
        both = embed_pictures(DatasetDict(train=ds, test=ds.select([1])), images=home / "set")
    assert {split: len(rows) for split, rows in both.items()} == {"train": 3, "test": 1}


def test_pictures_are_read_a_batch_at_a_time(home, monkeypatch):
    held, most = [0], [0]
    real = PictureReader.__call__

    def counted(self, path, feature):
        held[0] += 1
        most[0] = max(most[0], held[0])
        return real(self, path, feature)

    class Writer:
        def __init__(self, writer):
            self.writer = writer

        def write_table(self, table):
            held[0] = 0
            self.writer.write_table(table)

        def __enter__(self):
            self.writer.__enter__()
            return self

        def __exit__(self, *failure):
            self.writer.__exit__(*failure)

    stream = pa.ipc.new_stream
    monkeypatch.setattr(PictureReader, "__call__", counted)
    monkeypatch.setattr(pa.ipc, "new_stream", lambda *arguments: Writer(stream(*arguments)))
    embed_pictures(dataset_of(["pics/0.jpg"] * 300), images=home / "set")
    assert most == [64]


def test_imagefolder_of_the_user(home):
    folder = home / "album" / "train"
    folder.mkdir(parents=True)
    lines = []
    for i in range(3):
        (folder / f"{i}.jpg").write_bytes(picture(i, "JPEG")["bytes"])
        lines.append(
            {
                "file_name": f"{i}.jpg",
                "id": str(i),
                "tokens": ["so", "very", "happy", f"Oslo{i}"],
                "ner_tags": [0, 0, 0, 3],
            }
        )
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ds = load_dataset("imagefolder", data_dir=str(home / "album"), split="train", cache_dir=str(home / "hf"))
    ds = ds.cast_column("ner_tags", FEATURES["ner_tags"])
    eda = EDA(copies=1).fit(ds)
    with pytest.warns(UserWarning, match="3 not_allowed"):
        eda.map(ds)
    made = eda.map(ds, images=home / "album")
    assert [image["bytes"] for image in images_of(made)] == [picture(i, "JPEG")["bytes"] for i in range(3)]


# ---------------------------------------------------------------- exports, corpora, raw files


def test_an_export_gives_pictures_of_its_own_folder(home, call):
    lines = [
        {"id": str(i), "text": f"happy in Paris {i}", "image": path}
        for i, path in enumerate(attacks(home))
        if path and not path.startswith("http")
    ]
    (home / "set" / "posts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    shutil.rmtree(home / "corpora", ignore_errors=True)
    code, out, error = call("index", home / "set" / "posts.jsonl", "--out", "corpora/c.db")
    assert code == 0, error
    assert f"{len(lines) - OWN} pictures are not read and left out" in out
    assert "outside 12" in out
    assert not is_secret((home / "corpora" / "c.db").read_bytes())
    assert_clean(home / "corpora")
    shutil.move(home / "set", home / "moved")  # a corpus elsewhere holds the pictures themselves
    hits = open_corpus(home / "corpora" / "c.db").search(Query(text="Paris"), 100)
    assert sum(len(hit.images) for hit in hits) == OWN


def test_a_corpus_beside_its_export_keeps_names(home):
    (home / "set" / "posts.jsonl").write_text(json.dumps({"id": "1", "text": "Paris", "image": "pics/0.jpg"}))
    index(str(home / "set" / "posts.jsonl"), home / "set" / "c.db")
    with sqlite3.connect(home / "set" / "c.db") as connection:
        assert connection.execute("SELECT data, path FROM pictures").fetchall() == [(None, "pics/0.jpg")]
    assert open_corpus(home / "set" / "c.db").search(Query(text="Paris"))[0].images == (picture(0, "JPEG"),)


def test_a_strangers_corpus_reads_nothing_outside_its_folder(home):
    (home / "set" / "posts.jsonl").write_text(json.dumps({"id": "1", "text": "Paris", "image": "pics/0.jpg"}))
    index(str(home / "set" / "posts.jsonl"), home / "set" / "c.db")
    import hashlib

    for path, reason in attacks(home).items():
        if reason in (None, "not_there"):
            continue
        target = home / "private.jpg" if "private" in path or "photo" in path else home / ".ssh" / "id_rsa"
        digest = hashlib.sha256(target.read_bytes()).hexdigest()  # the stranger may know it
        with sqlite3.connect(home / "set" / "c.db") as connection:
            connection.execute("UPDATE pictures SET digest = ?, path = ?", (digest, path))
            connection.execute("UPDATE posts SET images = ?", (json.dumps([{"digest": digest, "name": "x.jpg"}]),))
        with pytest.warns(UserWarning, match="are missing"):
            (hit,) = open_corpus(home / "set" / "c.db").search(Query(text="Paris"))
        assert hit.images == ()


def test_text_files_that_are_links_are_not_indexed(home):
    (home / "export").mkdir()
    (home / "export" / "a.txt").write_text("happy in Paris\n")
    (home / "export" / "b.txt").symlink_to(home / ".ssh" / "id_rsa")
    with pytest.raises(UsageError, match=r"b\.txt is not a regular file in .*export: index it by itself"):
        index(str(home / "export"), home / "c.db")
    (home / "export" / "b.txt").unlink()
    os.mkfifo(home / "export" / "b.txt")
    with pytest.raises(UsageError, match=r"b\.txt is not a regular file"):
        index(str(home / "export"), home / "c.db")
    assert not (home / "c.db").exists()


def test_raw_sets_read_pictures_of_the_named_folder_only(home):
    raw, images = home / "raw", home / "images"
    raw.mkdir()
    images.mkdir()
    names = ["good", "link", "photo", "pipe", "sparse", "key", "inside"]
    (raw / "train.txt").write_text("\n".join(f"IMGID:{name}\nin\tO\nParis\tB-LOC\n" for name in names))
    (images / "good.jpg").write_bytes(picture(1, "JPEG")["bytes"])
    (images / "link.jpg").symlink_to(home / ".ssh" / "id_rsa")
    (images / "photo.jpg").symlink_to(home / "private.jpg")
    (images / "inside.jpg").symlink_to(images / "good.jpg")
    (images / "key.jpg").write_bytes(SECRET)
    os.mkfifo(images / "pipe.jpg")
    with (images / "sparse.jpg").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.warns(UserWarning, match="4 are refused"):
        report = convert("twitter2015", raw, home / "out", images=images)
    counts = report.splits["train"]
    assert (counts.images, counts.unreadable, counts.refused) == (2, 1, 4)
    assert "link.jpg lies outside the folders" in "; ".join(counts.examples["refused"])
    assert_clean(home / "out")
    for name in ("README.md", "convert.json"):
        assert str(home) not in (home / "out" / name).read_text()
    (home / "named").symlink_to(images)
    with pytest.warns(UserWarning, match="4 are refused"):
        assert convert("twitter2015", raw, home / "out", images=home / "named").splits["train"].images == 2


def test_a_picture_that_changes_between_two_looks_is_told(home):
    from hf_mner_aug.readers import read

    raw, images = home / "raw", home / "images"
    raw.mkdir()
    images.mkdir()
    (raw / "train.txt").write_text("IMGID:1\nin\tO\nParis\tB-LOC\n")
    (images / "1.jpg").write_bytes(picture(1, "JPEG")["bytes"])
    reading = read("twitter2015", raw, images=images)
    (images / "1.jpg").unlink()
    (images / "1.jpg").symlink_to(home / "private.jpg")
    with pytest.raises(FileRefused, match="lies outside"):
        list(reading.rows("train"))
    (images / "1.jpg").unlink()
    (images / "1.jpg").write_bytes(SECRET)
    with pytest.raises(DataError, match=r"1\.jpg changed while the set was read"):
        list(reading.rows("train"))


def test_raw_text_and_xml_that_are_links_are_refused(home):
    raw = home / "raw"
    (raw / "xml").mkdir(parents=True)
    (raw / "train.txt").symlink_to(home / ".ssh" / "id_rsa")
    with pytest.raises(DataError, match=r"train\.txt is a link that leads out of .*raw: name the file itself") as told:
        convert("twitter2015", raw, home / "out")
    assert not is_secret(str(told.value).encode())
    (raw / "train.txt").unlink()
    (raw / "train.txt").write_text("IMGID:1\nin\tO\nParis\tB-LOC\n")
    (raw / "xml" / "1.xml").symlink_to(home / ".ssh" / "id_rsa")
    report = convert("conll", raw, home / "out", xml=raw / "xml")
    assert report.splits["train"].bad_drawings == 1
    assert report.splits["train"].examples["bad_drawings"][0].startswith("1.xml lies outside the folders")
    (raw / "xml" / "1.xml").unlink()
    os.mkfifo(raw / "xml" / "1.xml")
    assert convert("conll", raw, home / "out", xml=raw / "xml").splits["train"].bad_drawings == 1
