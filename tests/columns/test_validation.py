import io
import json
import math
import warnings
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from PIL import Image
from places import DATA

from hf_mner_aug import LSMS
from hf_mner_aug.columns import validation
from hf_mner_aug.columns.validation import ERRORS, WARNINGS, Problem, validate
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.schema import FOUR_TYPES, Codec, mner_features
from hf_mner_aug.storage.picture_files import Allowed

needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"no real data in {DATA}: set MNER_DATA")

OUT, B_PER, I_PER, B_LOC, I_LOC = range(5)
GMNER = mner_features(boxes=True)


def encode(size: tuple[int, int] = (40, 30), kind: str = "PNG", **options) -> dict:
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def row(**changes) -> dict:
    """Return a sound GMNER row with some columns changed."""
    listed = {"start": 1, "end": 3, "type": "LOC", "boxes": [[0.0, 0.0, 40.0, 30.0]]}
    sound = {
        "id": "a",
        "tokens": ["in", "New", "York"],
        "ner_tags": [OUT, B_LOC, I_LOC],
        "image": encode(),
        "entities": [listed],
    }
    return {**sound, **changes}


def make(*rows: dict, features: Features = GMNER) -> Dataset:
    """Return a dataset of rows that ``datasets`` itself may refuse, as Parquet files may hold them."""
    return Dataset(pa.Table.from_pylist(list(rows), schema=features.arrow_schema))


def boxed(*boxes: list | None, **changes) -> list[dict]:
    return [{"start": 1, "end": 3, "type": "LOC", "boxes": list(boxes), **changes}]


def found(dataset, **options) -> list[tuple[str, str]]:
    return [(problem.kind, problem.detail) for problem in validate(dataset, **options).problems]


def test_a_sound_row_has_no_problems():
    result = validate(make(row()))
    assert result.ok
    assert result.problems == ()
    assert str(result) == "0 errors and 0 warnings in 1 rows (all 1)"


CASES = [
    ("missing_id", {"id": None}, "the id is None"),
    ("missing_id", {"id": ""}, "the id is ''"),
    ("length_mismatch", {"ner_tags": [OUT, B_LOC]}, "2 ner_tags for 3 tokens"),
    ("length_mismatch", {"ner_tags": None}, "no ner_tags for 3 tokens"),
    ("unknown_tag", {"ner_tags": [99, B_LOC, I_LOC]}, "word 0 ('in') has 99 in ner_tags of 9 tags"),
    ("unknown_tag", {"ner_tags": [-1, B_LOC, I_LOC]}, "word 0 ('in') has -1 in ner_tags of 9 tags"),
    ("unknown_tag", {"ner_tags": [None, B_LOC, I_LOC]}, "word 0 ('in') has None in ner_tags of 9 tags"),
    ("bad_bio", {"ner_tags": [OUT, I_LOC, I_LOC]}, "word 1 ('New') is I-LOC after O"),
    ("empty_tokens", {"tokens": [], "ner_tags": [], "entities": []}, "there are no tokens"),
    ("empty_tokens", {"tokens": None, "ner_tags": [], "entities": []}, "there are no tokens"),
    ("empty_tokens", {"tokens": ["", "New", "York"]}, "word 0 is ''"),
    ("empty_tokens", {"tokens": [None, "New", "York"]}, "word 0 is None"),
    ("empty_tokens", {"tokens": [" \t", "New", "York"]}, r"word 0 is ' \t'"),
    (
        "span_outside_words",
        {"entities": boxed(), "tokens": ["a"], "ner_tags": [OUT]},
        "[1, 3) LOC does not fit 1 words",
    ),
    ("entities_disagree", {"ner_tags": [OUT, OUT, OUT]}, "[1, 3) LOC is not a span of the tags"),
    ("entities_disagree", {"ner_tags": [OUT, B_PER, I_PER]}, "[1, 3) LOC is PER by the tags"),
    ("entity_not_listed", {"entities": []}, "[1, 3) LOC is not in the column entities"),
    ("entity_not_listed", {"entities": None}, "[1, 3) LOC is not in the column entities"),
    ("box_not_four_numbers", {"entities": boxed([1.0, 2.0, 3.0])}, "[1, 3) LOC has the box [1.0, 2.0, 3.0]"),
    ("box_not_four_numbers", {"entities": boxed(None)}, "[1, 3) LOC has the box None"),
    ("box_not_four_numbers", {"entities": boxed([1.0, 2.0, math.nan, 4.0])}, "has the box [1.0, 2.0, nan, 4.0]"),
    ("box_not_four_numbers", {"entities": boxed([1.0, 2.0, None, 4.0])}, "has the box [1.0, 2.0, None, 4.0]"),
    ("box_reversed", {"entities": boxed([9.0, 2.0, 3.0, 4.0])}, "has the box [9.0, 2.0, 3.0, 4.0]"),
    ("box_reversed", {"entities": boxed([3.0, 2.0, 3.0, 4.0])}, "has the box [3.0, 2.0, 3.0, 4.0]"),
    ("box_outside_image", {"entities": boxed([1.0, 2.0, 41.0, 4.0])}, "outside an image of 40x30 pixels"),
    ("box_outside_image", {"entities": boxed([1.0, 2.0, 4.0, 31.0])}, "outside an image of 40x30 pixels"),
    ("box_outside_image", {"entities": boxed([-1.0, 2.0, 3.0, 4.0])}, "outside an image of 40x30 pixels"),
    ("missing_image", {"image": None}, "the image is null"),
    ("missing_image", {"image": {"bytes": None, "path": None}}, "the image is null"),
    ("unreadable_image", {"image": {"bytes": b"no", "path": None}}, "the image is in no format that Pillow knows"),
    (
        "unreadable_image",
        {"image": {"bytes": encode()["bytes"][:-60], "path": None}},
        "the image cannot be decoded: image file is truncated",
    ),
    (
        "refused_image",
        {"image": {"bytes": None, "path": "gone.png"}},
        "the image 'gone.png' is not read: no folder of pictures was named",
    ),
]


@pytest.mark.parametrize(("kind", "changes", "detail"), CASES)
def test_each_problem_is_found_alone(kind, changes, detail):
    result = validate(make(row(id="fine"), row(**changes), row(id="too")))
    problems = [problem for problem in result.problems if problem.kind != "entity_not_listed" or kind == problem.kind]
    assert [(problem.kind, problem.row) for problem in problems] == [(kind, 1)]
    assert detail in problems[0].detail
    assert result.ok == (kind in WARNINGS)
    assert problems[0].severity == ("warning" if kind in WARNINGS else "error")


@pytest.mark.parametrize("token", ["\u00a0", "\ufe0f", "\u200d", "\u3000"])
def test_odd_tokens_of_real_tweets_are_words(token):
    assert found(make(row(tokens=[token, "New", "York"]))) == []


def test_what_the_codec_refuses_is_an_error_and_the_rest_of_the_row_is_looked_at_too():
    codec = Codec(GMNER)
    for _, changes, _ in CASES:
        dataset = make(row(**changes))
        if validate(dataset).ok:
            codec.to_post(dataset.with_format("arrow")[0].to_pylist()[0])
    bad = row(
        id=None,
        tokens=["in", "", "York"],
        ner_tags=[I_PER, I_LOC, 77, OUT],
        image={"bytes": b"x", "path": None},
        entities=boxed([3.0, 2.0, 1.0, 4.0], [1.0], start=2, end=9),
    )
    with pytest.raises(DataError):
        codec.to_post(bad)
    assert Counter(kind for kind, _ in found(make(bad))) == {
        "missing_id": 1,
        "empty_tokens": 1,
        "length_mismatch": 1,
        "unreadable_image": 1,
        "span_outside_words": 1,
        "box_reversed": 1,
        "box_not_four_numbers": 1,
    }


def test_every_orphan_and_every_unknown_tag_counts():
    tags = [I_PER, I_PER, 50, I_LOC, B_PER, I_LOC]
    dataset = make({"id": "a", "tokens": list("abcdef"), "ner_tags": tags, "image": None}, features=mner_features())
    assert [fault for fault in found(dataset) if fault[0] != "missing_image"] == [
        ("bad_bio", "word 0 ('a') is I-PER after nothing"),
        ("unknown_tag", "word 2 ('c') has 50 in ner_tags of 9 tags"),
        ("bad_bio", "word 3 ('d') is I-LOC after nothing"),
        ("bad_bio", "word 5 ('f') is I-LOC after B-PER"),
    ]


def test_ids_differ_within_and_across_splits():
    splits = DatasetDict(train=make(row(id="x"), row(id="x")), test=make(row(id="y"), row(id="x")))
    problems = [problem for problem in validate(splits).problems if problem.kind == "duplicate_id"]
    assert [(p.split, p.row, p.id, p.detail) for p in problems] == [
        ("train", 1, "x", "train row 0 has this id too"),
        ("test", 1, "x", "train row 0 has this id too"),
    ]


def test_the_same_text_in_two_splits_is_a_warning():
    def post(name: str, text: str) -> dict:
        return {"id": name, "tokens": text.split(), "ner_tags": [OUT] * len(text.split())}

    features = mner_features(images="none")
    train = make(
        post("1", "RT @a : Hello U.S. http://t.co/a"), post("2", "hello us"), post("3", "x"), features=features
    )
    test = make(post("8", "Hello U . S ."), post("9", "http://t.co/b"), post("7", "y"), features=features)
    result = validate({"train": train, "test": test})
    assert result.problems == (Problem("duplicate_text", "warning", "test", 0, "8", "the text of train row 0, post 1"),)
    assert result.ok
    assert validate(train).problems == ()


def test_without_images_only_what_needs_none_is_checked(monkeypatch):
    monkeypatch.setattr(validation, "open_image", lambda image: pytest.fail("an image was opened"))
    dataset = make(
        row(id="1", image={"bytes": b"x", "path": None}, entities=boxed([0.0, 0.0, 900.0, 30.0])),
        row(id="2", image=None, entities=boxed([-2.0, 0.0, 9.0, 30.0])),
    )
    assert found(dataset, images=False) == [
        ("missing_image", "the image is null"),
        ("box_outside_image", "[1, 3) LOC has the box [-2.0, 0.0, 9.0, 30.0], outside any image"),
    ]


def test_each_image_is_decoded_once(monkeypatch):
    opened: list[dict] = []
    open_image = validation.open_image
    monkeypatch.setattr(validation, "open_image", lambda image: opened.append(image) or open_image(image))
    validate(make(*(row(id=str(i)) for i in range(70))))
    assert len(opened) == 70


def test_boxes_are_measured_against_the_turned_image():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(kind="JPEG", exif=exif)
    assert found(make(row(image=turned, entities=boxed([0.0, 0.0, 30.0, 40.0])))) == []
    assert [kind for kind, _ in found(make(row(image=turned)))] == ["box_outside_image"]


def test_rounding_may_push_a_box_half_a_pixel_over():
    assert found(make(row(entities=boxed([-0.4, 0.0, 40.4, 30.0])))) == []


def test_several_images():
    features = mner_features(images="many")
    base = {"tokens": ["a"], "ner_tags": [OUT]}
    dataset = make(
        {"id": "1", **base, "images": [encode(), None, {"bytes": b"x", "path": None}]},
        {"id": "2", **base, "images": []},
        {"id": "3", **base, "images": [encode()]},
        features=features,
    )
    problems = validate(dataset).problems
    assert [(p.kind, p.id) for p in problems] == [
        ("missing_image", "1"),
        ("unreadable_image", "1"),
        ("missing_image", "2"),
    ]
    assert [p.detail for p in problems] == [
        "image 1 of 3 is null",
        "image 2 of 3 is in no format that Pillow knows",
        "there are no images",
    ]


def test_relations_and_fine_tags():
    features = mner_features((), images="none", relations=("None", "/per/loc/born"))
    base = {"tokens": ["a", "b"], "head": {"start": 0, "end": 1}, "tail": {"start": 1, "end": 2}}
    dataset = make(
        {"id": "1", **base, "relation": 1},
        {"id": "2", **base, "relation": 2},
        {"id": "3", **base, "relation": None, "tail": {"start": 1, "end": 3}},
        {"id": "4", **base, "relation": 0, "head": None},
        features=features,
    )
    assert found(dataset) == [
        ("unknown_relation", "relation 2, there are 2 names"),
        ("span_outside_words", "tail [1, 3) does not fit 2 words"),
        ("unknown_relation", "relation None, there are 2 names"),
        ("span_outside_words", "head [None, None) does not fit 2 words"),
    ]
    features = mner_features(("PER",), images="none", fine_types=("actor",))
    tokens = {"tokens": ["a", "b"], "ner_tags": [B_PER, I_PER]}
    dataset = make(
        {"id": "1", **tokens, "fine_tags": [B_PER, I_PER]},
        {"id": "2", **tokens, "fine_tags": [B_PER, B_PER]},
        {"id": "3", **tokens, "fine_tags": [OUT]},
        features=features,
    )
    assert found(dataset) == [
        ("fine_tags_disagree", "fine_tags have the span [0, 1), ner_tags do not"),
        ("fine_tags_disagree", "fine_tags have the span [1, 2), ner_tags do not"),
        ("length_mismatch", "1 fine_tags for 2 tokens"),
    ]


def test_a_fine_span_that_is_no_entity_is_told_where_posts_are_read():
    features = mner_features(("PER",), images="none", fine_types=("actor",))
    tokens = {"tokens": ["a", "b"], "ner_tags": [B_PER, I_PER]}
    rows = [{"id": str(n), **tokens, "fine_tags": fine} for n, fine in enumerate(([B_PER, I_PER], [B_PER, B_PER]))]
    dataset = make(*rows, features=features)
    told = (
        r"post 1: fine_tags have the span \[0, 1\), ner_tags do not: its fine type is lost, 2 in all: give both "
        r"columns the same spans \(hf-mner-aug validate lists them\)"
    )
    with pytest.warns(UserWarning, match=f"^{told}$"):
        LSMS().fit(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LSMS().fit(dataset.select([0]))


def test_bad_columns_are_named_and_the_others_still_checked():
    features = Features(
        {
            "id": Value("int64"),
            "tokens": List(Value("string")),
            "ner_tags": List(Value("int64")),
            "image": Value("string"),
            "entities": List({"start": Value("int64"), "end": Value("int64"), "type": Value("string")}),
        }
    )
    dataset = make({"id": 1, "tokens": [], "ner_tags": [0], "image": "x", "entities": []}, features=features)
    assert found(dataset) == [
        (
            "bad_column",
            "column id: expected string, found int: cast it with ds.cast_column('id', Value('string')), or pass "
            "columns={'id': 'id'} (--columns id=id)",
        ),
        (
            "bad_column",
            "column ner_tags: expected List(ClassLabel), found List(int): cast it with ds.cast_column('ner_tags', "
            "List(ClassLabel(names=['O', 'B-PER', 'I-PER', …])))",
        ),
        (
            "bad_column",
            "column image: expected Image, found string: cast it with ds.cast_column('image', Image()), or pass "
            "columns={'image': 'image'} (--columns image=image)",
        ),
        (
            "bad_column",
            "column entities: expected List({boxes: List(List(float)), end: int, start: int, type: string}), "
            "found List({end: int, start: int, type: string}): give it these fields with ds.map",
        ),
        ("empty_tokens", "there are no tokens"),
    ]


def test_columns_that_are_not_there_or_no_bio():
    problems = found(make({"text": "a"}, features=Features({"text": Value("string")})))
    assert problems == [
        ("bad_column", "expected a column id, found text"),
        ("bad_column", "expected a column tokens, found text"),
        ("bad_column", "expected a column ner_tags or relation, found text"),
    ]
    features = Features({**mner_features(images="none"), "ner_tags": List(ClassLabel(names=["O", "PER"]))})
    problems = found(make({"id": "a", "tokens": ["x"], "ner_tags": [7]}, features=features))
    assert [kind for kind, _ in problems] == ["bad_column"]
    assert "'PER' is not BIO" in problems[0][1]


def test_wider_types_do_as_well():
    features = Features({"id": Value("large_string"), **{k: v for k, v in GMNER.items() if k != "id"}})
    features["entities"] = List(
        {
            "boxes": List(List(Value("float64"), length=4)),
            "type": Value("string"),
            "end": Value("int64"),
            "start": Value("int64"),
        }
    )
    assert found(make(row(), features=features)) == []


def test_the_report_explains_itself():
    rows = [row(id=str(i), ner_tags=[OUT, I_LOC, I_LOC]) for i in range(4)] + [row(id="9", image=None)]
    result = validate(DatasetDict(train=make(*rows)))
    assert result.counts() == {"bad_bio": 4, "missing_image": 1}
    assert result.to_dicts()[0] == {
        "kind": "bad_bio",
        "severity": "error",
        "split": "train",
        "row": 0,
        "id": "0",
        "detail": "word 1 ('New') is I-LOC after O",
    }
    json.dumps(result.to_dicts())
    assert result.table(limit=2).splitlines() == [
        "4 errors and 1 warnings in 5 rows (train 5)",
        "",
        f"error bad_bio: 4 ({ERRORS['bad_bio']})",
        "  train row 0, post 0: word 1 ('New') is I-LOC after O",
        "  train row 1, post 1: word 1 ('New') is I-LOC after O",
        "  and 2 more",
        "",
        f"warning missing_image: 1 ({WARNINGS['missing_image']})",
        "  train row 4, post 9: the image is null",
    ]


def test_every_kind_is_tried():
    tried = {kind for kind, _, _ in CASES} | {"bad_column", "duplicate_id", "duplicate_text", "unknown_relation"}
    tried |= {"labels_differ", "labels_renumbered"}  # in test_labels_by_name
    assert tried | {"fine_tags_disagree"} == {*ERRORS, *WARNINGS}


# ---------------------------------------------------------------- real data


def read_tagged(path: Path, types=FOUR_TYPES) -> Dataset:
    features = mner_features(types, images="none")
    ids = {name: i for i, name in enumerate(features["ner_tags"].feature.names)}
    rows: list[dict] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("IMGID:"):
            rows.append({"id": line[6:].strip(), "tokens": [], "ner_tags": []})
        elif "\t" in line:
            token, tag = line.split("\t")
            rows[-1]["tokens"].append(token)
            rows[-1]["ner_tags"].append(ids[tag.strip().replace("OTHER", "MISC")])
    return make(*rows, features=features)


@needs_data
def test_twitter_2015_has_its_orphans_and_nothing_else_wrong():
    folder = DATA / "twitter2015"
    result = validate({name: read_tagged(folder / f"{name}.txt") for name in ("train", "valid", "test")})
    assert result.n_rows == {"train": 4000, "valid": 1000, "test": 3257}
    assert Counter(p.split for p in result.problems if p.kind == "bad_bio") == {"train": 186, "valid": 53, "test": 135}
    assert set(result.counts()) == {"bad_bio", "duplicate_text"}


@needs_data
def test_twitter_2017_has_no_errors():
    folder = DATA / "twitter2017"
    result = validate({name: read_tagged(folder / f"{name}.txt") for name in ("train", "valid", "test")})
    assert result.ok
    assert set(result.counts()) == {"duplicate_text"}


@needs_data
def test_real_pictures_can_be_decoded_whatever_they_are_called():
    folder = DATA / "tweets_with_images"
    features = mner_features()
    rows = [json.loads(line) for line in (folder / "real36.jsonl").open()]
    dataset = make(
        *(
            {
                "id": r["img_id"],
                "tokens": r["tokens"],
                "ner_tags": [OUT] * len(r["tokens"]),
                "image": {"bytes": None, "path": r["image"]},
            }
            for r in rows
        ),
        features=features,
    )
    assert len(dataset) == 36
    assert validate(dataset, allowed=Allowed.of(folder)).problems == ()
    assert {kind for kind, _ in found(dataset)} == {"refused_image"}
