import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Image, load_dataset

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.schema import mner_features
from hf_mner_aug.storage import parquet
from hf_mner_aug.storage.parquet import shards, write_shards, write_table

FEATURES = mner_features()


def rows(n, size=2_000):
    """Rows whose pictures (not images: nothing decodes them) differ; every fifth has none."""
    return [
        {
            "id": str(i),
            "tokens": ["word"] * (i % 7),
            "ner_tags": [i % 9] * (i % 7),
            "image": None if i % 5 == 0 else {"bytes": bytes([i % 251]) * size, "path": f"/home/me/{i}.jpg"},
        }
        for i in range(n)
    ]


def digests(paths):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_batching_changes_no_byte(tmp_path):
    table = pa.Table.from_pylist(rows(230), schema=FEATURES.arrow_schema)
    made = {}
    for step in (1, 7, 100, 230):
        batches = (table.slice(i, step) for i in range(0, 230, step))
        paths = write_shards(
            batches, tmp_path / str(step), "train", FEATURES, max_shard_bytes=150_000, row_group_bytes=40_000
        )
        made[step] = digests(paths)
    assert made[1] == made[7] == made[100] == made[230]
    assert list(made[1]) == [f"train-{i:05}-of-00003.parquet" for i in range(3)]
    back = pa.concat_tables([pq.read_table(path) for path in paths])
    assert back.column("id").to_pylist() == [str(i) for i in range(230)]


def test_row_groups_and_shards_stay_under_their_limits(tmp_path):
    # A row with a picture takes 2,000 bytes and a little; one without takes a little.
    table = pa.Table.from_pylist(rows(100), schema=FEATURES.arrow_schema)
    paths = write_shards([table], tmp_path, "train", FEATURES, max_shard_bytes=50_000, row_group_bytes=10_000)
    assert len(paths) == 4
    for path in paths:
        meta = pq.ParquetFile(path).metadata
        sizes = [meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)]
        assert max(sizes) < 11_000
        assert sum(sizes) < 52_000


def test_a_row_over_the_limit_is_a_group_of_its_own(tmp_path):
    table = pa.Table.from_pylist(rows(10, size=5_000), schema=FEATURES.arrow_schema)
    path = write_table(tmp_path / "part.parquet", table, FEATURES, row_group_bytes=100)
    meta = pq.ParquetFile(path).metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [1] * 10


def test_row_limit_of_a_group(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 40)
    path = write_table(tmp_path / "part.parquet", pa.Table.from_pylist(rows(90)), FEATURES)
    meta = pq.ParquetFile(path).metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [40, 40, 10]


def test_named_files_are_not_read_and_no_folder_leaks(tmp_path):
    (tmp_path / "secret").mkdir()
    picture = tmp_path / "secret" / "27.jpg"
    picture.write_bytes(b"\xff\xd8 not decoded here")
    row = {"id": "27", "tokens": ["a"], "ner_tags": [0]}
    by_path = pa.Table.from_pylist([{**row, "image": {"bytes": None, "path": str(picture)}}], FEATURES.arrow_schema)
    by_bytes = pa.Table.from_pylist(
        [{**row, "image": {"bytes": picture.read_bytes(), "path": str(picture)}}], FEATURES.arrow_schema
    )
    with pytest.warns(UserWarning, match="1 pictures that the data names by path are missing: 1 not_allowed"):
        a = write_table(tmp_path / "a.parquet", by_path, FEATURES)
    b = write_table(tmp_path / "b.parquet", by_bytes, FEATURES)
    assert pq.read_table(a).column("image").to_pylist() == [None]
    assert pq.read_table(b).column("image").to_pylist() == [{"bytes": picture.read_bytes(), "path": "27.jpg"}]
    assert b"secret" not in a.read_bytes() + b.read_bytes()


def test_of_lists_of_images_the_named_ones_are_left_out(tmp_path):
    features = mner_features(images="many")
    picture = tmp_path / "5302_0.jpg"
    picture.write_bytes(b"first")
    images = [{"bytes": None, "path": str(picture)}, {"bytes": b"second", "path": "in/2.jpg"}]
    some = [{"id": str(i), "tokens": ["a"], "ner_tags": [0], "images": images[:i]} for i in range(3)]
    with pytest.warns(UserWarning, match="2 pictures that the data names by path are missing"):
        path = write_table(tmp_path / "a.parquet", pa.Table.from_pylist(some, features.arrow_schema), features)
    assert pq.read_table(path).column("images").to_pylist() == [[], [], [{"bytes": b"second", "path": "2.jpg"}]]


def test_the_schema_carries_the_features(tmp_path):
    path = write_table(tmp_path / "train.parquet", pa.Table.from_pylist(rows(3)), FEATURES)
    assert json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]
    loaded = load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features == FEATURES
    assert loaded.cast_column("image", Image(decode=False))[1]["image"]["bytes"] == b"\x01" * 2_000


def test_columns_in_another_order_and_labels_by_name(tmp_path):
    table = pa.Table.from_pylist([{"ner_tags": ["B-PER"], "image": None, "tokens": ["Ann"], "id": "1"}])
    path = write_table(tmp_path / "a.parquet", table, FEATURES)
    back = pq.read_table(path)
    assert back.column_names == list(FEATURES)
    assert back.column("ner_tags").to_pylist() == [[1]]


def test_no_rows_give_a_file_with_the_columns(tmp_path):
    (path,) = write_shards([], tmp_path, "test", FEATURES)
    assert path.name == "test-00000-of-00001.parquet"
    assert pq.read_table(path).num_rows == 0
    assert pq.read_schema(path).names == list(FEATURES)


def test_shards_of_an_earlier_run_go(tmp_path):
    table = pa.Table.from_pylist(rows(100), schema=FEATURES.arrow_schema)
    assert len(write_shards([table], tmp_path, "train", FEATURES, max_shard_bytes=50_000, row_group_bytes=9_000)) > 1
    write_shards([table], tmp_path, "train-b", FEATURES)
    write_shards([table], tmp_path, "train", FEATURES)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "train-00000-of-00001.parquet",
        "train-b-00000-of-00001.parquet",
    ]
    assert [path.name for path in shards(tmp_path, "train")] == ["train-00000-of-00001.parquet"]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    table = pa.Table.from_pylist(rows(50), schema=FEATURES.arrow_schema)
    before = digests(write_shards([table], tmp_path, "train", FEATURES))

    def broken():
        yield table
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(broken(), tmp_path, "train", FEATURES, row_group_bytes=9_000, max_shard_bytes=30_000)
    assert digests(tmp_path.iterdir()) == before

    path = write_table(tmp_path / "part.parquet", table, FEATURES)
    before = digests(tmp_path.iterdir())
    wrong = pa.Table.from_pylist([{"id": "1", "tokens": ["a"], "ner_tags": [9], "image": None}])
    with pytest.raises(DataError, match="rows 0 to 0 do not fit the features"):
        write_table(path, wrong, FEATURES)
    assert digests(tmp_path.iterdir()) == before


def test_the_wrong_columns_and_values_are_told(tmp_path):
    table = pa.Table.from_pylist(rows(2))
    with pytest.raises(DataError, match=r"expected the columns id, tokens, ner_tags, image, found id, tokens, image"):
        write_table(tmp_path / "a.parquet", table.drop_columns("ner_tags"), FEATURES)
    wrong = pa.Table.from_pylist([{"id": "1", "tokens": ["a"], "ner_tags": [9], "image": None}])
    with pytest.raises(DataError, match="rows 0 to 0 do not fit the features: Class label 9"):
        write_table(tmp_path / "a.parquet", wrong, FEATURES)
    assert list(tmp_path.iterdir()) == []
