"""from_tags: datasets of words with tags in any scheme, as they lie on the Hub, become posts."""

import io
import json
import random
import warnings

import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    IterableDataset,
    IterableDatasetDict,
    List,
    Value,
    load_dataset,
)
from PIL import Image as Pillow
from seqeval.metrics.sequence_labeling import get_entities

from hf_mner_aug import EDA, LSMS, from_tags, validate
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.schema import bio_names

WORDS = ["Ann", "van", "Lee", "left", "Oslo", "rather", "early", "today"]
BIOES = ["B-PER", "I-PER", "E-PER", "O", "S-LOC", "O", "O", "O"]
BIO = ["B-PER", "I-PER", "I-PER", "O", "B-LOC", "O", "O", "O"]


def labels(names):
    return List(ClassLabel(names=names))


def spelt(posts, column="ner_tags"):
    names = posts.features[column].feature.names
    return [[names[tag] for tag in row[column]] for row in posts]


def quiet(*arguments, **options):
    """Call from_tags, and fail if it warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return from_tags(*arguments, **options)


def shapes():
    """Yield datasets with the same words and tags in BIOES, as they are published."""
    names = ["O", *(f"{letter}-{kind}" for kind in ("PER", "LOC") for letter in "SBIE")]
    yield "text", Dataset.from_dict({"words": [WORDS] * 3, "labels": [BIOES] * 3})
    features = Features({"words": List(Value("string")), "labels": labels(names)})
    yield "labels", Dataset.from_dict({"words": [WORDS] * 3, "labels": [BIOES] * 3}, features=features)
    yield "JSON", Dataset.from_dict({"words": [json.dumps(WORDS)] * 3, "labels": [json.dumps(BIOES)] * 3})
    yield "Python", Dataset.from_dict({"words": [repr(WORDS)] * 3, "labels": [repr(BIOES)] * 3})
    yield "blanks", Dataset.from_dict({"words": [" ".join(WORDS)] * 3, "labels": ["  ".join(BIOES)] * 3})


@pytest.mark.parametrize(("name", "rows"), shapes())
def test_any_shape_of_tags_becomes_posts(name, rows):
    with pytest.warns(UserWarning, match="from_tags: tags are BIOES, as '.-...': 3 B, 3 E, 3 I, 3 S; all fit it"):
        posts = from_tags(rows, tokens="words", tags="labels")
    assert posts.column_names == ["id", "tokens", "ner_tags"]
    assert posts["id"][:] == ["train-1", "train-2", "train-3"]
    assert posts["tokens"][:] == [WORDS] * 3
    assert spelt(posts) == [BIO] * 3
    assert posts.features["ner_tags"] == labels(bio_names(("PER", "LOC")))
    with pytest.warns(UserWarning, match="from_tags: tags are BIOES"):
        streamed = from_tags(rows.to_iterable_dataset(), tokens="words", tags="labels")
    assert list(streamed) == list(posts)
    assert streamed.features == posts.features
    assert validate(posts).ok
    assert len(EDA(copies=2).fit(posts).map(posts)) > 3
    method = LSMS().fit(posts)
    assert list(method.map(streamed)) == list(method.map(posts))


def test_plain_bio_is_read_without_a_word():
    rows = Dataset.from_dict({"tokens": [WORDS], "ner_tags": [BIO], "id": [7], "likes": [3]})
    posts = quiet(rows)
    assert posts[0] == {"id": "7", "tokens": WORDS, "ner_tags": [1, 2, 2, 0, 3, 0, 0, 0], "likes": 3}
    assert list(quiet(rows.to_iterable_dataset())) == list(posts)


def test_a_dict_of_splits_has_one_scheme_and_one_list_of_labels():
    train = Dataset.from_dict({"tokens": [WORDS], "ner_tags": [["I-PER", "I-PER", "B-PER", "O", "I-LOC", *"OOO"]]})
    test = Dataset.from_dict({"tokens": [["Ann"], ["Lego"]], "ner_tags": [["I-PER"], ["I-ORG"]]})
    with pytest.warns(UserWarning, match="tags are IOB1"):
        posts = from_tags(DatasetDict(train=train, test=test))
    assert isinstance(posts, DatasetDict)
    assert spelt(posts["train"]) == [["B-PER", "I-PER", "B-PER", "O", "B-LOC", *"OOO"]]
    assert posts["test"]["id"][:] == ["test-1", "test-2"]
    assert posts["train"].features == posts["test"].features
    assert posts["test"].features["ner_tags"] == labels(bio_names(("PER", "LOC", "ORG")))
    with pytest.warns(UserWarning, match="tags are IOB1"):
        streamed = from_tags(IterableDatasetDict(train=train.to_iterable_dataset(), test=test.to_iterable_dataset()))
    assert list(streamed["test"]) == list(posts["test"])


def test_fine_tags_pictures_and_other_columns(tmp_path):
    buffer = io.BytesIO()
    Pillow.new("RGB", (4, 4), "red").save(buffer, "JPEG")
    data = buffer.getvalue()
    fine = ["B-actor", "I-actor", "I-actor", "O", "B-city", *"OOO"]
    features = Features(
        {"w": List(Value("string")), "coarse": List(Value("string")), "fine": List(Value("string"))}
        | {"photo": Image(), "author": Value("string")}
    )
    row = {"w": WORDS, "coarse": BIO, "fine": fine, "photo": {"bytes": data, "path": "a.jpg"}, "author": "x"}
    posts = quiet(
        Dataset.from_list([row], features=features), tokens="w", tags="coarse", fine_tags="fine", image="photo"
    )
    assert set(posts.column_names) == {"id", "tokens", "ner_tags", "fine_tags", "image", "author"}
    assert spelt(posts, "fine_tags") == [fine]
    assert posts.with_format("arrow")[:].to_pylist()[0]["image"]["bytes"] == data
    assert validate(posts).ok


def test_labels_of_a_stream_are_read_by_their_names_alone():
    names = ["O", "PER", "LOC"]
    features = Features({"tokens": List(Value("string")), "ner_tags": labels(names)})
    rows = Dataset.from_dict({"tokens": [WORDS], "ner_tags": [["PER", "PER", "PER", *"OOOOO"]]}, features=features)

    def read():
        raise AssertionError("the stream was read")
        yield

    stream = IterableDataset.from_generator(read, features=features)
    with pytest.warns(UserWarning, match="tags are IO, as 'LOC'.*a run of one type is one entity"):
        posts = from_tags(stream)
    assert posts.features["ner_tags"] == labels(bio_names(("PER", "LOC"))), "types that no row has are kept"
    with pytest.warns(UserWarning, match="tags are IO"):
        assert spelt(from_tags(rows)) == [["B-PER", "I-PER", "I-PER", *"OOOOO"]]


def test_a_stream_with_labels_in_plain_bio_warns_of_nothing():
    features = Features({"tokens": List(Value("string")), "ner_tags": labels(bio_names(("PER", "LOC")))})
    rows = Dataset.from_dict({"tokens": [WORDS], "ner_tags": [BIO]}, features=features)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(from_tags(rows.to_iterable_dataset())) == list(from_tags(rows))


# ---------------------------------------------------------------- faults


def test_rows_that_cannot_be_read_are_left_out_and_counted():
    rows = [
        {"tokens": WORDS, "ner_tags": BIOES},
        {"tokens": WORDS, "ner_tags": BIOES[:-1]},
        {"tokens": ["Ann", None], "ner_tags": ["S-PER", "O"]},
        {"tokens": ["Ann"], "ner_tags": ["X-PER"]},
        {"tokens": ["Ann", "Lee"], "ner_tags": ["B-PER", None]},
        {"tokens": [], "ner_tags": []},
        *[{"tokens": WORDS, "ner_tags": BIOES}] * 3,
    ]
    with pytest.warns(UserWarning, match="lines left out") as caught:
        posts = from_tags(Dataset.from_list(rows))
    assert posts["id"][:] == ["train-1", "train-7", "train-8", "train-9"]
    told = " ".join(str(warning.message) for warning in caught)
    assert "train: 4 lines left out, as row 2: post train-2: expected a tag for each of 8 words, found 7; " in told
    assert "row 3: post train-3: word 1 is None" in told
    assert "row 4: post train-4: tag 'X-PER' is not BIOES: expected O, B-TYPE, I-TYPE, E-TYPE or S-TYPE" in told
    assert "row 5: post train-5: expected tags that are text or labels, word 1 has None" in told
    assert "1 posts without words left out" in told


def test_most_rows_are_readable():
    rows = [{"tokens": WORDS, "ner_tags": BIOES}] + [{"tokens": WORDS, "ner_tags": BIOES[:3]}] * 2
    with (
        pytest.warns(UserWarning, match="tags are BIOES"),
        pytest.raises(DataError, match="2 of 3 rows cannot be read"),
    ):
        from_tags(Dataset.from_list(rows))


def test_what_cannot_be_read_at_all():
    numbers = Dataset.from_dict({"tokens": [["Ann"]], "ner_tags": [[1]]})
    with pytest.raises(DataError, match=r"word 0 has 1: name the numbers with ds.cast_column\('ner_tags', List\("):
        from_tags(numbers)
    outside = Dataset.from_dict({"tokens": [["Ann"]], "ner_tags": [["O"]]})
    with pytest.raises(DataError, match="every tag of ner_tags is O: expected entities"):
        from_tags(outside)
    with pytest.raises(UnknownName, match="unknown column of the set 'words'"):
        from_tags(outside, tokens="words")
    with pytest.raises(UnknownName, match="unknown scheme 'biol'"):
        from_tags(outside, scheme="biol")
    with pytest.raises(UnknownName, match="unknown policy for orphans 'keep'"):
        from_tags(outside, orphans="keep")
    with pytest.raises(UsageError, match="expected a stream that knows its columns"):
        from_tags(Dataset.from_dict({"a": [1]}).to_iterable_dataset().map(lambda row: row))


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        *[
            ("['Ann' 'Lee']", None),
            ("['Ann'\n 'Lee']", None),
            ("[open('x')]", None),
            ("[[[[", None),
            ('["Ann", 3', None),
        ],
        *[("['Ann','Lee']", ["Ann", "Lee"]), ("[\"it's\", 'a']", ["it's", "a"]), ('["Ann",\n"Lee"]', ["Ann", "Lee"])],
    ],
)
def test_lists_in_text(cell, found):
    rows = Dataset.from_dict({"tokens": [cell], "ner_tags": ["B-PER O"]})
    if found is None:
        with pytest.raises(
            DataError, match="row 1: post train-1: tokens: expected a list as JSON or Python writes it, found"
        ):
            from_tags(rows)
    else:
        assert from_tags(rows)["tokens"][:] == [found]


def test_a_wrong_scheme_is_one_line_with_the_word():
    rows = Dataset.from_dict({"tokens": [WORDS], "ner_tags": [BIOES]})
    with pytest.raises(UsageError) as refused:
        from_tags(rows, scheme="bilou")
    assert str(refused.value).startswith(
        "scheme='bilou': post train-1 has E-PER on 'Lee' (train row 1), which does not fit BILOU, and tags are BIOES"
    )
    assert str(refused.value).endswith("read them with scheme='bioes'")


def test_tags_that_do_not_fit_follow_the_policy():
    rows = Dataset.from_dict(
        {"tokens": [WORDS] * 4, "ner_tags": [BIOES] * 3 + [["I-PER", "E-PER", "O", "O", "S-LOC", *"OOO"]]}
    )
    told = "train: 1 tags that do not fit their scheme: .*, as train-4 'Ann' I-PER"
    with pytest.warns(UserWarning, match=told):
        assert spelt(from_tags(rows))[3] == ["B-PER", "I-PER", "O", "O", "B-LOC", *"OOO"]
    with pytest.warns(UserWarning, match=told):
        assert spelt(from_tags(rows, orphans="drop"))[3] == ["O", "O", "O", "O", "B-LOC", *"OOO"]
    with pytest.raises(DataError, match=r"post train-4: I-PER on 'Ann' does not fit BIOES \(train row 4\)"):
        from_tags(rows, orphans="error")
    orphan = Dataset.from_dict({"tokens": [WORDS] * 2, "ner_tags": [BIO, ["O", "I-PER", "O", "B-PER", *"OOOO"]]})
    with pytest.warns(UserWarning, match="1 orphan I- tags made B-, as train-2 'van' I-PER"):
        assert spelt(from_tags(orphan))[1] == ["O", "B-PER", "O", "B-PER", *"OOOO"]


def test_known_types_and_look_alikes():
    rows = Dataset.from_dict({"tokens": [WORDS, ["Ann"]], "ner_tags": [BIO, ["B-per"]]})
    with pytest.warns(UserWarning, match=r"PER \(1\), per \(1\): they stay different types"):
        assert from_tags(rows).features["ner_tags"] == labels(bio_names(("PER", "LOC", "per")))
    with pytest.warns(UserWarning, match="post train-2: expected a type of PER, LOC, ORG, found per: it is left out"):
        posts = from_tags(rows, types=["PER", "LOC", "ORG"])
    assert len(posts) == 1
    assert posts.features["ner_tags"] == labels(bio_names(("PER", "LOC", "ORG")))


def test_three_lines_from_a_file_to_made_posts(tmp_path):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({"words": WORDS, "labels": BIOES}) + "\n" for _ in "abc"))
    data = load_dataset("json", data_files=str(tmp_path / "train.jsonl"), split="train", cache_dir=str(tmp_path))
    with pytest.warns(UserWarning, match="tags are BIOES"):
        posts = from_tags(data, tokens="words", tags="labels")
    eda = EDA(copies=2).fit(posts)
    assert posts.map(eda, batched=True, features=eda.features)["source_id"][:2] == ["train-1", "train-1"]


@pytest.mark.parametrize("letters", ["BI", "I", "BIES", "BILU", "BMES"])
def test_random_tags_have_the_entities_of_seqeval(letters):
    rng = random.Random(f"set {letters}")
    kinds = ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("PER", "LOC", "art-other"))]
    tags = [[rng.choice(kinds) for _ in range(rng.randint(1, 9))] for _ in range(1500)]
    rows = Dataset.from_dict({"tokens": [[f"w{i}" for i in range(len(row))] for row in tags], "ner_tags": tags})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = spelt(from_tags(rows))
    known = [[{"L": "E", "U": "S", "M": "I"}.get(tag[0], tag[0]) + tag[1:] for tag in row] for row in tags]
    assert list(map(get_entities, found)) == list(map(get_entities, known))
