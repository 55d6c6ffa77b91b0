"""Datasets with a column of spans become posts, streamed or not, with their pictures as they are."""

import io
import json

import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    IterableDatasetDict,
    List,
    Sequence,
    Value,
    load_dataset,
)
from PIL import Image as Pillow

from hf_mner_aug import EDA, embed_pictures, from_spans
from hf_mner_aug.columns.validation import validate
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.schema import Codec

TEXT = "Adele sings in New York , and Bono too , we all heard them last night"
SPANS = [(0, 5, "PER"), (15, 23, "LOC"), (30, 34, "PER")]
FOUND = [("Adele", "PER"), ("New York", "LOC"), ("Bono", "PER")]


def entities(row, features):
    post = Codec(features).to_post(row)
    return [(" ".join(post.tokens[entity.start : entity.end]), entity.type) for entity in post.entities]


def picture():
    file = io.BytesIO()
    Pillow.new("RGB", (9, 7)).save(file, "JPEG")
    return file.getvalue()


def dicts(n=3, **others):
    return [{"text": TEXT, "spans": [{"start": s, "end": e, "label": k} for s, e, k in SPANS], **others}] * n


def shapes():
    """The same spans, as sets have them."""
    struct = {"start": Value("int32"), "end": Value("int32"), "label": ClassLabel(names=["LOC", "PER"])}
    by_field = {name: [span[name] for span in dicts()[0]["spans"]] for name in ("start", "end", "label")}
    yield "dicts", Dataset.from_list(dicts())
    yield "numbered", Dataset.from_list(dicts(), features=Features({"text": Value("string"), "spans": List(struct)}))
    yield (
        "lists of fields",
        Dataset.from_list(
            [{"text": TEXT, "spans": by_field}] * 3,
            features=Features({"text": Value("string"), "spans": Sequence(struct)}),
        ),
    )
    yield "JSON", Dataset.from_list([{"text": TEXT, "spans": json.dumps(SPANS)}] * 3)
    yield "texts", Dataset.from_list([{"text": TEXT, "spans": [list(map(str, span)) for span in SPANS]}] * 3)
    yield "mixed", Dataset.from_list([{"text": TEXT, "spans": list(map(list, SPANS))}] * 3, on_mixed_types="use_json")


@pytest.mark.parametrize(("name", "rows"), shapes())
def test_shapes_of_spans(name, rows):
    posts = from_spans(rows)
    assert posts["id"][:] == ["train-1", "train-2", "train-3"]
    assert entities(posts[1], posts.features) == FOUND
    assert posts.features["ner_tags"].feature.names == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    streamed = from_spans(rows.to_iterable_dataset())
    assert list(streamed) == list(posts)
    assert streamed.features == posts.features
    assert validate(posts).ok
    assert len(EDA(copies=2).fit(posts).map(posts)) > 3


def test_pictures_keep_their_bytes_and_columns_their_values():
    data = picture()
    features = Features(
        {
            **Dataset.from_list(dicts()).features,
            "image": Image(),
            "tokens": Value("string"),
            "key": Value("int64"),
            "likes": Value("int8"),
        }
    )
    image = {"bytes": data, "path": "a.jpg"}
    rows = Dataset.from_list(
        [{**dicts(1, image=image, tokens="x", likes=3)[0], "key": i} for i in range(250)], features
    )
    posts = from_spans(rows, id="key")
    assert posts.column_names == ["id", "tokens", "ner_tags", "image", "likes"]
    assert posts[200]["id"] == "200"
    assert posts.cast_column("image", Image(decode=False))[200]["image"] == image
    streamed = from_spans(rows.to_iterable_dataset(), id="key").decode(False)
    assert [row["image"] for row in streamed] == [image] * 250


def test_pictures_by_path_and_several(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture())
    path = str(tmp_path / "a.jpg")
    one = from_spans(Dataset.from_list(dicts(photo=path)), image="photo")
    assert one[0]["image"].size == (9, 7)
    assert from_spans(Dataset.from_list(dicts(image=path)))[0]["image"].size == (9, 7)
    several = from_spans(Dataset.from_list(dicts(photos=[path, path])), image="photos")
    assert [image.size for image in several[0]["images"]] == [(9, 7), (9, 7)]
    assert validate(embed_pictures(several, images=tmp_path)).ok


def test_splits_share_their_types():
    other = [{"text": "Amazon", "spans": [{"start": 0, "end": 6, "label": "ORG"}]}]
    rows = {"train": Dataset.from_list(dicts()), "test": Dataset.from_list(other)}
    posts = from_spans(DatasetDict(rows))
    assert isinstance(posts, DatasetDict)
    assert posts["train"].features == posts["test"].features
    assert posts["test"][0]["id"] == "test-1"
    assert entities(posts["test"][0], posts["test"].features) == [("Amazon", "ORG")]
    streamed = from_spans(IterableDatasetDict({split: data.to_iterable_dataset() for split, data in rows.items()}))
    assert isinstance(streamed, IterableDatasetDict)
    assert {split: list(data) for split, data in streamed.items()} == {
        split: list(data) for split, data in posts.items()
    }


def test_rows_that_cannot_be_read_are_left_out_and_told():
    bad = [
        {"text": "Adele", "spans": [{"start": 0, "end": 9, "label": "PER"}]},
        {"text": "", "spans": []},
        {"text": None, "spans": []},
    ]
    rows = Dataset.from_list([{**row, "row": i} for i, row in enumerate([*dicts(1), *bad, *dicts(1)], 1)])
    told = "2 lines left out, as row 2: post 'train-2': the span .0, 9. 'PER' does not fit .*row 4: expected a text"
    with pytest.warns(UserWarning, match=told):
        posts = from_spans(rows)
    assert (posts["id"][:], posts["row"][:]) == (["train-1", "train-5"], [1, 5])
    with pytest.warns(UserWarning, match=told):
        assert [row["id"] for row in from_spans(rows.to_iterable_dataset())] == ["train-1", "train-5"]
    with pytest.raises(DataError, match="no row can be read"):
        from_spans(Dataset.from_list(bad[:1]))
    other = Dataset.from_dict({"text": ["Adele"], "spans": [[{"from": 0, "to": 5, "kind": "PER"}]]})
    for named in (other, other.to_iterable_dataset()):
        with pytest.raises(DataError, match=r"found none; row 1: expected a span with start, .*start='from', end='to'"):
            from_spans(named)
        assert len(list(from_spans(named, start="from", end="to", type="kind"))) == 1
    with pytest.raises(DataError, match="rows with spans, found none"):
        from_spans(Dataset.from_list([{"text": "a", "spans": []}]))
    with pytest.raises(DataError, match=r"no row can be read: .* expected a type of LOC, found PER"):
        from_spans(Dataset.from_list(dicts()), types=["LOC"])


def test_a_stream_whose_types_are_named_is_not_read(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in dicts()))
    rows = load_dataset("json", data_files=str(path), split="train", streaming=True, cache_dir=str(tmp_path))
    posts = from_spans(rows, types=["PER", "LOC"])
    assert [entities(row, posts.features) for row in posts] == [FOUND] * 3
    half = load_dataset("json", data_files=str(path), split="train[:67%]", cache_dir=str(tmp_path))
    assert from_spans(half)["id"][:] == ["train-1", "train-2"]
    path.unlink()
    from_spans(rows, types=["PER", "LOC"])
    with pytest.raises(FileNotFoundError):
        from_spans(rows)


def test_units_and_fields_of_other_names():
    text = "😀 Adele"
    rows = Dataset.from_list([{"body": text, "marks": [{"a": 3, "b": 8, "c": "PER", "d": "Adele"}]}])
    named = {"text": "body", "spans": "marks", "start": "a", "end": "b", "type": "c", "surface": "d"}
    posts = from_spans(rows, **named)
    assert entities(posts[0], posts.features) == [("Adele", "PER")]
    chinese = from_spans(Dataset.from_list([{"text": "苹果发布", "spans": [{"start": 0, "end": 2, "label": "ORG"}]}]))
    assert chinese[0]["tokens"] == list("苹果发布")


def test_mistakes_are_named():
    rows = Dataset.from_list(dicts())
    with pytest.raises(UnknownName, match="column of the set 'texts': did you mean 'text'"):
        from_spans(rows, text="texts")
    with pytest.raises(UnknownName, match=r"misaligned 'no': .*valid are refuse, snap"):
        from_spans(rows, misaligned="no")
    with pytest.raises(UsageError, match="a stream that knows its columns"):
        from_spans(rows.to_iterable_dataset().map(lambda row: row))
    empty = from_spans(DatasetDict(train=rows, test=rows.select([])))["test"]
    assert (len(empty), empty.column_names) == (0, ["id", "tokens", "ner_tags"])
