import hashlib
import io
import math
import os
import subprocess
import sys
from datetime import datetime

import pyarrow as pa
import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    LargeList,
    List,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)
from PIL import Image as PillowImage
from places import ROOT

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.schema import augmented_features, mner_features
from hf_mner_aug.storage.fingerprint import ContentDigest, content_fingerprint, row_digests
from hf_mner_aug.storage.picture_columns import embed_pictures

FEATURES = mner_features(boxes=True)


def encode(colour: str) -> bytes:
    buffer = io.BytesIO()
    PillowImage.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


PINNED = "821316a2728b4524612b1e2f197043efeac6de14b6e0ca90c202e42fe64eed7d"
RED, BLUE = encode("red"), encode("blue")


def rows() -> list[dict]:
    entity = {"start": 1, "end": 2, "type": "LOC", "boxes": [[0.1, 2.5, 3.0, 4.0]]}
    return [
        {"id": "a", "tokens": ["in", "Paris"], "ner_tags": [0, 3], "image": embedded(RED), "entities": [entity]},
        {"id": "b", "tokens": ["ümlaut\u00a0"], "ner_tags": [0], "image": None, "entities": []},
        {"id": "c", "tokens": [], "ner_tags": [], "image": embedded(BLUE), "entities": None},
    ]


def embedded(data: bytes) -> dict:
    return {"bytes": data, "path": None}


def make(data: list[dict] | None = None, features: Features = FEATURES) -> Dataset:
    data = rows() if data is None else data
    return Dataset.from_dict({name: [row[name] for row in data] for name in features}, features=features)


def test_values_are_digested_as_canonical_json():
    digests = row_digests(make().data.table, FEATURES)
    sha256 = hashlib.sha256
    assert list(digests) == ["entities", "id", "image", "ner_tags", "tokens"]
    assert digests["tokens"][:2] == [sha256(b'["in","Paris"]').digest(), sha256('["ümlaut\u00a0"]'.encode()).digest()]
    assert digests["ner_tags"][2] == sha256(b"[]").digest()
    assert digests["image"][:2] == [
        sha256(f'"{sha256(RED).hexdigest()}"'.encode()).digest(),
        sha256(b"null").digest(),
    ]
    # 0.1 as float32 is this double
    box = b'[{"boxes":[[0.10000000149011612,2.5,3.0,4.0]],"end":2,"start":1,"type":"LOC"}]'
    assert digests["entities"][0] == sha256(box).digest()


def test_the_fingerprint_is_pinned():
    # It stands in published sets: when this fails, `verify` fails for all of them.
    features = Features({"id": Value("string"), "image": Image(), "ner_tags": List(ClassLabel(names=["O", "B-X"]))})
    data = [{"id": "a", "image": embedded(b"bytes"), "ner_tags": [0, 1]}]
    assert content_fingerprint(make(data, features)) == PINNED


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batch_boundaries_make_no_difference(size):
    table = make().data.table
    digest = ContentDigest(FEATURES)
    for start in range(0, 3, size):
        digest.update(table.slice(start, size))
    assert digest.hexdigest() == content_fingerprint(make())


def test_storage_makes_no_difference(tmp_path):
    gold = make()
    expected = content_fingerprint(gold)
    gold.save_to_disk(str(tmp_path / "disk"))
    gold.to_parquet(str(tmp_path / "rows.parquet"))
    shuffled = make([rows()[2], rows()[0], rows()[1]])
    parquet = load_dataset("parquet", data_files=str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path), split="train")
    same = {
        "disk": load_from_disk(str(tmp_path / "disk")),
        "parquet": parquet,
        "chunks": concatenate_datasets([gold.select([0]), gold.select([1, 2])]),
        "indices": shuffled.select([1, 2, 0]),
        "not decoded": gold.cast_column("image", Image(decode=False)),
        "formatted": gold.with_format("numpy"),
        "mapped": gold.cast_column("image", Image(decode=False)).map(lambda row: row, batch_size=2),
        "column order": gold.select_columns(sorted(FEATURES)),
    }
    assert {name: content_fingerprint(dataset) for name, dataset in same.items()} == dict.fromkeys(same, expected)


def test_image_files_and_names_make_no_difference(tmp_path):
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "blue.png").write_bytes(BLUE)
    on_disk, named = rows(), rows()
    on_disk[0]["image"] = {"bytes": None, "path": str(tmp_path / "red.png")}
    on_disk[2]["image"] = str(tmp_path / "blue.png")
    named[0]["image"] = {"bytes": RED, "path": "other.png"}
    embedded_rows = embed_pictures(make(on_disk), images=tmp_path)
    assert content_fingerprint(embedded_rows) == content_fingerprint(make(named)) == content_fingerprint(make())


def test_several_images(tmp_path):
    (tmp_path / "blue.png").write_bytes(BLUE)
    features = mner_features(images="many")
    one = {"id": "a", "tokens": ["x"], "ner_tags": [0], "images": [embedded(RED), embedded(BLUE)]}
    two = {**one, "images": [embedded(RED), {"bytes": None, "path": str(tmp_path / "blue.png")}]}
    three = {**one, "images": [embedded(BLUE), embedded(RED)]}
    data = [embed_pictures(make([row], features), images=tmp_path) for row in (one, two, three)]
    a, b, c = map(content_fingerprint, data)
    assert a == b != c


def test_arrow_layout_makes_no_difference():
    table = make().data.table
    large = pa.table(
        {
            "tokens": table.column("tokens").cast(pa.large_list(pa.large_string())),
            "id": table.column("id").cast(pa.large_string()),
            "ner_tags": table.column("ner_tags").cast(pa.list_(pa.int32())),
            "image": table.column("image"),
            "entities": table.column("entities"),
        }
    )
    assert row_digests(large, FEATURES) == row_digests(table, FEATURES)
    features = Features({"id": Value("string"), "tokens": List(Value("string"))})
    wide = Features({"id": Value("large_string"), "tokens": LargeList(Value("large_string"))})
    data = [{"id": "a", "tokens": ["b", "c"]}]
    assert content_fingerprint(make(data, features)) == content_fingerprint(make(data, wide))


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (0, "id", "A"),
        (0, "tokens", ["in", "paris"]),
        (0, "tokens", ["in Paris"]),
        (0, "ner_tags", [0, 1]),
        (1, "image", embedded(RED)),
        (0, "image", embedded(BLUE)),
        (2, "entities", []),
        (0, "entities", [{"start": 1, "end": 2, "type": "LOC", "boxes": [[0.1, 2.5, 3.0, 4.5]]}]),
    ],
)
def test_any_other_value_makes_another_fingerprint(row, column, value):
    data = rows()
    data[row][column] = value
    changed = make(data)
    assert content_fingerprint(changed) != content_fingerprint(make())
    columns = ContentDigest(FEATURES), ContentDigest(FEATURES)
    columns[0].update(make().data.table)
    columns[1].update(changed.data.table)
    before, after = (digest.columns() for digest in columns)
    assert [name for name in FEATURES if before[name] != after[name]] == [column]


def test_row_order_and_features_count():
    gold = make()
    assert content_fingerprint(gold.select([1, 0, 2])) != content_fingerprint(gold)
    renamed = Features({**FEATURES, "ner_tags": List(ClassLabel(names=["O", *"bcdefghi"]))})
    assert content_fingerprint(make(features=renamed)) != content_fingerprint(gold)


def augmented(dataset: Dataset) -> Dataset:
    extra = {name: ["x"] * len(dataset) for name in ("source_id", "method", "provenance")}
    columns = {**dataset.to_dict(), "image": dataset.data.table.column("image").to_pylist(), **extra}
    return Dataset.from_dict(columns, features=augmented_features(dataset.features))


def test_splits_count_by_name():
    gold, part = make(), make().select([0])
    one = content_fingerprint(DatasetDict(train=gold, test=part))
    assert content_fingerprint(DatasetDict(test=part, train=gold)) == one
    assert content_fingerprint(DatasetDict(train=part, test=gold)) != one
    assert content_fingerprint({"train": gold}) != content_fingerprint(gold)


def test_an_empty_dataset_has_a_fingerprint_of_its_features():
    assert content_fingerprint(make([])) != content_fingerprint(make([], mner_features()))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_is_forbidden(value):
    data = rows()
    data[0]["entities"][0]["boxes"][0][1] = value
    with pytest.raises(DataError, match=r"post a: column entities holds NaN or infinity"):
        content_fingerprint(make(data))


def test_errors_name_row_and_column(tmp_path):
    data = rows()
    data[2]["image"] = {"bytes": None, "path": str(tmp_path / "gone.png")}
    with pytest.raises(DataError, match=r"post c: column image names the file .*gone\.png', which is not read"):
        content_fingerprint(make(data))
    with pytest.raises(DataError, match="expected the column ner_tags, found id, tokens"):
        row_digests(make().data.table.select(["id", "tokens"]), FEATURES)
    with pytest.raises(DataError, match="rows 0 to 1 do not fit the features"):
        row_digests(pa.table({"id": ["a"], "n": ["x"]}), Features({"id": Value("string"), "n": Value("int64")}))


def test_other_columns_have_fingerprints_too():
    def of(day: int, blob: bytes) -> str:
        features = Features({"id": Value("string"), "at": Value("timestamp[s]"), "blob": Value("binary")})
        return content_fingerprint(make([{"id": "a", "at": datetime(2015, 1, day), "blob": blob}], features))

    assert of(1, b"x") == of(1, b"x")
    assert len({of(1, b"x"), of(2, b"x"), of(1, b"y")}) == 3


def test_another_process_finds_the_same(tmp_path):
    make().save_to_disk(str(tmp_path / "rows"))
    code = (
        "from datasets import load_from_disk; from hf_mner_aug.storage.fingerprint import content_fingerprint; "
        "import sys; print(content_fingerprint(load_from_disk(sys.argv[1])))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path / "rows")]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.strip() == content_fingerprint(make())
