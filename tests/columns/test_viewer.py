import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_mner_aug import LSMS, augment, publish
from hf_mner_aug.columns.viewer import viewer_problems


@pytest.fixture(scope="module")
def published(mner, tmp_path_factory):
    from datasets import DatasetDict

    out = tmp_path_factory.mktemp("viewer") / "aug"
    splits = DatasetDict(
        train=mner.select(range(14)), validation=mner.select(range(14, 17)), test=mner.select([17, 18])
    )
    publish(augment(splits, LSMS(copies=2), out=out, progress=False), out)
    return out


def test_what_publish_writes_suits_the_viewer(published):
    assert viewer_problems(published) == []
    file = pq.ParquetFile(published / "lsms_100pct" / "train-00000-of-00001.parquet")
    group = file.metadata.row_group(0)
    assert file.metadata.num_row_groups == 1
    assert group.total_byte_size < 100e6
    assert all(group.column(i).has_offset_index for i in range(group.num_columns) if group.column(i).is_stats_set)
    features = file.schema_arrow.metadata[b"huggingface"]
    assert b'"names": ["O", "B-PER"' in features
    pictures = file.read(columns=["image"])["image"].to_pylist()
    assert all(picture is None or (picture["bytes"] and "/" not in picture["path"]) for picture in pictures)


def test_each_fault_is_found(tmp_path, monkeypatch):
    picture = pa.array([{"bytes": None, "path": "a.png"}, {"bytes": b"x" * 3000, "path": None}, None])
    table = pa.table({"id": ["1", "2", "3"], "image": picture})
    for i in range(2):
        pq.write_table(table, tmp_path / f"train-0000{i}-of-00002.parquet")
    monkeypatch.setattr("hf_mner_aug.columns.viewer.ROW_BYTES", 100)
    monkeypatch.setattr("hf_mner_aug.columns.viewer.SCAN_BYTES", 1000)
    found = {problem.kind: problem.detail for problem in viewer_problems(tmp_path)}
    assert found == {
        "viewer_row_group": "row group 0 has 0 MiB, at most 286",
        "viewer_row_size": found["viewer_row_size"],
        "viewer_page_index": "the file has no page index: write it with write_page_index=True",
        "viewer_features": "the schema names no features: labels load as integers without the card's",
        "viewer_images": "1 pictures of column image are named but not embedded",
        "viewer_shards": "2 files of 0 MB together: Data Studio edits one file",
    }
