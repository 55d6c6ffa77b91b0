import json
from itertools import pairwise

import pytest
from conftest import SETS, as_dataset
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.schema import (
    AUGMENTED,
    Codec,
    Entity,
    Post,
    Relation,
    Span,
    augmented_features,
    bio_names,
    bio_to_spans,
    canonical_json,
    mner_features,
    repair_dataset,
    repair_orphans,
    respell,
    spans_to_bio,
    split_tag,
    to_post,
    to_row,
)

TYPES = ("PER", "LOC")
any_tags = st.lists(st.sampled_from(bio_names(TYPES)), max_size=12)


@st.composite
def posts(draw, max_words=10):
    """A post with words, entities that do not overlap, and perhaps a relation between two of them."""
    n_words = draw(st.integers(1, max_words))
    cuts = sorted(draw(st.sets(st.integers(0, n_words), max_size=6)))
    spans = [(a, b) for a, b in pairwise(cuts) if draw(st.booleans())]
    entities = tuple(Entity(a, b, draw(st.sampled_from(TYPES)), boxes=((float(a), 0.0, 9.0, 9.0),)) for a, b in spans)
    relation = Relation(spans[0], spans[-1], "r") if spans and draw(st.booleans()) else None
    return Post("p", [f"w{i}" for i in range(n_words)], entities, relation=relation)


# ---------------------------------------------------------------- tags and spans


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("O", ("O", "")), ("B-PER", ("B", "PER")), ("I-person/actor", ("I", "person/actor")), ("B-a-b", ("B", "a-b"))],
)
def test_split_tag(tag, expected):
    assert split_tag(tag) == expected


@pytest.mark.parametrize("tag", ["", "B", "B-", "E-PER", "PER", "o", "I PER"])
def test_split_tag_refuses_what_is_not_bio(tag):
    with pytest.raises(DataError, match="is not BIO: expected O, B-TYPE or I-TYPE"):
        split_tag(tag)


@pytest.mark.parametrize(
    ("tags", "promoted", "dropped", "count"),
    [
        ("O O", "O O", "O O", 0),
        ("B-PER I-PER O", "B-PER I-PER O", "B-PER I-PER O", 0),
        # As in Twitter-2015: St . Louis, of which only the last word has a tag.
        ("O O I-LOC", "O O B-LOC", "O O O", 1),
        ("I-PER I-PER", "B-PER I-PER", "O O", 1),
        ("B-PER I-LOC I-LOC", "B-PER B-LOC I-LOC", "B-PER O O", 1),
        ("B-PER I-LOC I-PER", "B-PER B-LOC B-PER", "B-PER O O", 2),
        ("I-PER B-PER I-PER", "B-PER B-PER I-PER", "O B-PER I-PER", 1),
        ("B-PER O I-PER O I-LOC", "B-PER O B-PER O B-LOC", "B-PER O O O O", 2),
    ],
)
def test_orphans_by_hand(tags, promoted, dropped, count):
    tags = tags.split()
    assert repair_orphans(tags, "promote") == (promoted.split(), count)
    assert repair_orphans(tags, "drop") == (dropped.split(), count)
    if count:
        with pytest.raises(DataError, match=r"word \d: I-\w+ follows no B-\w+ or I-\w+"):
            repair_orphans(tags, "error")
    else:
        assert repair_orphans(tags, "error") == (tags, 0)


def test_spans_by_hand():
    tags = ["B-PER", "I-PER", "B-PER", "O", "B-LOC", "I-LOC", "I-LOC"]
    assert bio_to_spans(tags) == [Span(0, 2, "PER"), Span(2, 3, "PER"), Span(4, 7, "LOC")]
    assert bio_to_spans([]) == []
    assert spans_to_bio([(4, 7, "LOC"), (0, 2, "PER"), (2, 3, "PER")], 7) == tags


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 0, "PER")], r"span \[0, 0\) PER does not fit 3 words"),
        ([(2, 4, "PER")], r"span \[2, 4\) PER does not fit 3 words"),
        ([(-1, 1, "PER")], r"span \[-1, 1\) PER does not fit 3 words"),
        ([(0, 2, "PER"), (1, 3, "LOC")], r"span \[1, 3\) LOC overlaps another"),
    ],
)
def test_spans_that_cannot_be_tags(spans, message):
    with pytest.raises(DataError, match=message):
        spans_to_bio(spans, 3)


@given(posts())
def test_spans_to_tags_and_back(post):
    spans = [Span(e.start, e.end, e.type) for e in post.entities]
    assert bio_to_spans(spans_to_bio(spans, len(post.tokens)), orphans="error") == spans


@given(any_tags)
def test_repaired_tags_are_a_fixed_point(tags):
    for policy in ("promote", "drop"):
        repaired, count = repair_orphans(tags, policy)
        assert repair_orphans(repaired, "error") == (repaired, 0)
        assert len(repaired) == len(tags)
        assert (repaired == tags) == (count == 0)
        assert spans_to_bio(bio_to_spans(repaired), len(tags)) == repaired


@given(any_tags)
def test_orphan_policies_read_as_seqeval_does(tags):
    expected = [(start, end + 1, kind) for kind, start, end in get_entities(tags)]
    assert [tuple(span) for span in bio_to_spans(tags, "promote")] == expected
    strict = [(e.start, e.end, e.tag) for e in Entities([tags], IOB2).entities[0]] if tags else []
    assert [tuple(span) for span in bio_to_spans(tags, "drop")] == strict


# ---------------------------------------------------------------- rows and posts


@pytest.mark.parametrize("kind", SETS)
def test_rows_to_posts_and_back(kind, sets):
    dataset = sets[kind]
    codec = Codec(dataset.features)
    found = dataset.with_format("arrow")[:].to_pylist()
    assert [codec.to_row(codec.to_post(row)) for row in found] == found
    assert to_row(to_post(found[0], dataset.features), dataset.features) == found[0]


def test_posts_hold_what_their_rows_say(sets):
    post = to_post(sets["fmnerg"].with_format("arrow")[0:1].to_pylist()[0], sets["fmnerg"].features)
    assert post.tokens[7:9] == ["Lionel", "Messi"]
    assert post.entities == (
        Entity(7, 9, "PER", "person", ()),
        Entity(10, 11, "LOC", "city", ((0.0, 1.0, 6.0, 9.5),)),
    )
    assert post.images[0]["bytes"][:4] == b"\x89PNG"
    related = to_post(sets["mre"].with_format("arrow")[0:1].to_pylist()[0], sets["mre"].features)
    assert related.relation == Relation((7, 9), (10, 11), "None")
    assert related.entities == ()
    assert related.outside() == [0, 1, 2, 3, 4, 5, 6, 9, 11, 12, 13]
    several = [
        to_post(row, sets["multi_image"].features) for row in sets["multi_image"].with_format("arrow")[:4].to_pylist()
    ]
    assert [len(post.images) for post in several] == [0, 1, 2, 3]


def test_outside_words():
    post = Post("p", list("abcdef"), (Entity(1, 3, "PER"),), relation=Relation((2, 4), (5, 6), "r"))
    assert post.protected() == [(1, 3), (2, 4), (5, 6)]
    assert post.outside() == [0, 4]
    assert Post("p", list("ab")).outside() == [0, 1]


def test_columns_of_each_kind_of_set():
    tags = List(ClassLabel(names=["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-MISC", "I-MISC"]))
    words = {"id": Value("string"), "tokens": List(Value("string"))}
    assert mner_features() == Features({**words, "ner_tags": tags, "image": Image()})
    assert mner_features(("PER",), images="many") == Features(
        {**words, "ner_tags": List(ClassLabel(names=["O", "B-PER", "I-PER"])), "images": List(Image())}
    )
    assert list(mner_features(images="none")) == ["id", "tokens", "ner_tags"]
    relations = mner_features((), relations=("None", "r"))
    assert list(relations) == ["id", "tokens", "image", "head", "tail", "relation"]
    assert relations["relation"].names == ["None", "r"]
    boxed = mner_features(boxes=True, fine_types=("actor",))
    assert list(boxed) == ["id", "tokens", "ner_tags", "fine_tags", "image", "entities"]
    assert list(augmented_features(boxed))[-3:] == list(AUGMENTED)


def row(**changes):
    return {"id": "tw-17", "tokens": ["a", "b", "c"], "ner_tags": [0, 1, 2], "image": None, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ner_tags": [0, 1]}, "post tw-17: 2 tags for 3 tokens"),
        ({"ner_tags": None}, "post tw-17: 0 tags for 3 tokens"),
        ({"ner_tags": [0, 9, 0]}, "post tw-17: word 1 has tag id 9, but there are only 9 tag names"),
        ({"ner_tags": [0, -1, 0]}, "post tw-17: word 1 has tag id -1"),
        ({"ner_tags": [0, 2, 0]}, r"post tw-17: word 1 \('b'\) is I-PER but follows no B-PER: repair .*repair_dataset"),
        ({"ner_tags": [1, 4, 0]}, r"post tw-17: word 1 \('b'\) is I-LOC but follows no B-LOC"),
        ({"id": None}, "post None: id must be a string"),
        ({"id": 17}, "post 17: id must be a string"),
        ({"tokens": None}, "post 'tw-17': .* tokens a list of words"),
    ],
)
def test_bad_rows_are_named(changes, message):
    with pytest.raises(DataError, match=message):
        to_post(row(**changes), mner_features())


def test_bad_boxes_and_relations_are_named():
    features = mner_features(boxes=True)
    boxed = row(entities=[{"start": 0, "end": 1, "type": "PER", "boxes": []}])
    with pytest.raises(DataError, match=r"post tw-17: the column entities has the span \(0, 1\), the tags do not"):
        to_post(boxed, features)
    relation = {"head": {"start": 0, "end": 1}, "tail": {"start": 2, "end": 4}, "relation": 0}
    with pytest.raises(DataError, match=r"post tw-17: span \[2, 4\) does not fit 3 words"):
        to_post(row(**relation), mner_features((), relations=("r",)))


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ((Entity(0, 4, "PER"),), r"post p: span \[0, 4\) PER does not fit 3 words"),
        ((Entity(1, 1, "PER"),), r"post p: span \[1, 1\) PER does not fit"),
        ((Entity(0, 2, "PER"), Entity(1, 3, "LOC")), r"post p: span \[1, 3\) LOC overlaps another"),
        ((Entity(0, 1, "CITY"),), "post p: type 'CITY' is not one of PER, LOC, ORG, MISC"),
        ((Entity(1, 2, "PER"), Entity(0, 1, "CITY")), "post p: label 'B-CITY' is not one of O, B-PER"),
    ],
)
def test_posts_that_no_row_can_hold(entities, message):
    with pytest.raises(DataError, match=message):
        to_row(Post("p", ["a", "b", "c"], entities), mner_features())


def test_entities_out_of_order_are_no_fault():
    post = Post("p", ["a", "b", "c"], (Entity(2, 3, "LOC"), Entity(0, 2, "PER")))
    assert to_row(post, mner_features())["ner_tags"] == [1, 2, 3]


def test_relation_and_fine_type_must_be_the_sets():
    with pytest.raises(DataError, match="post p: expected a relation, found none"):
        to_row(Post("p", ["a"]), mner_features((), relations=("r",)))
    with pytest.raises(DataError, match="post p: label 's' is not one of r"):
        to_row(Post("p", ["a"], relation=Relation((0, 1), (0, 1), "s")), mner_features((), relations=("r",)))
    with pytest.raises(DataError, match="post p: label 'B-actor' is not one of O, B-singer, I-singer"):
        to_row(Post("p", ["a"], (Entity(0, 1, "PER", "actor"),)), mner_features(fine_types=("singer",)))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"text": Value("string")},
            r"expected the columns id and tokens, found text: rename .*add_column.*convert, or from_spans$",
        ),
        (
            {"id": Value("string"), "tokens": List(Value("string"))},
            "expected a column ner_tags or relation, found id, tokens",
        ),
        (
            {"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(Value("int64"))},
            r"column ner_tags: expected List\(ClassLabel.*cast it with ds.cast_column",
        ),
        (
            {"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "PER"]))},
            "column ner_tags: tag 'PER' is not BIO.*names must be BIO tags",
        ),
        (
            {
                "id": Value("string"),
                "tokens": List(Value("string")),
                "ner_tags": List(ClassLabel(names=["O", "B-PER"])),
            },
            "column ner_tags: the ClassLabel names lack I-PER",
        ),
        (
            {
                "id": Value("string"),
                "tokens": List(Value("string")),
                "ner_tags": List(ClassLabel(names=["B-PER", "I-PER"])),
            },
            "column ner_tags: the ClassLabel names lack O",
        ),
    ],
)
def test_columns_of_no_mner_set_say_what_to_do(features, message):
    with pytest.raises(UsageError, match=message):
        Codec(Features(features))


def test_tag_names_in_any_order():
    names = ["B-LOC", "O", "I-LOC"]
    features = Features(
        {"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))}
    )
    codec = Codec(features)
    post = codec.to_post({"id": "p", "tokens": ["a", "b", "c"], "ner_tags": [1, 0, 2]})
    assert post.entities == (Entity(1, 3, "LOC"),)
    assert codec.to_row(post)["ner_tags"] == [1, 0, 2]


def test_repair_dataset():
    features = mner_features(images="none")
    dataset = Dataset.from_list(
        [
            {"id": "a", "tokens": ["St", ".", "Louis"], "ner_tags": [0, 0, 4]},
            {"id": "b", "tokens": ["x"], "ner_tags": [1]},
        ],
        features=features,
    )
    assert repair_dataset(dataset)["ner_tags"][:] == [[0, 0, 3], [1]]
    assert repair_dataset(dataset, "drop")["ner_tags"][:] == [[0, 0, 0], [1]]
    assert repair_dataset(dataset).features == features
    with pytest.raises(DataError, match="word 2: I-LOC follows no B-LOC"):
        repair_dataset(dataset, "error")


# ---------------------------------------------------------------- respelling


def test_respell_by_hand():
    post = Post("p", list("abcdef"), (Entity(1, 3, "PER"), Entity(4, 5, "LOC")), details={"from": "x"})
    assert respell(post, {0: ["A"]}) == Post("p", list("Abcdef"), post.entities, details={"from": "x"})
    longer = respell(post, {0: ["a", "+"], 2: ["C", "C", "C"], 3: []}, details={"op": 1})
    assert longer.tokens == ["a", "+", "b", "C", "C", "C", "e", "f"]
    assert longer.entities == (Entity(2, 6, "PER"), Entity(6, 7, "LOC"))
    assert longer.details == {"op": 1}
    assert post.tokens == list("abcdef")
    assert respell(post, {1: []}).entities == (Entity(1, 2, "PER"), Entity(3, 4, "LOC"))


def test_respell_moves_relations():
    post = Post("p", list("abcd"), relation=Relation((0, 1), (2, 4), "r"))
    assert respell(post, {1: ["x", "y"], 3: []}).relation == Relation((0, 1), (3, 4), "r")
    with pytest.raises(DataError, match=r"post p: the words \[0, 1\) would vanish with their label"):
        respell(post, {0: []})


def test_respell_refuses_to_lose_an_entity():
    with pytest.raises(DataError, match=r"post p: the words \[1, 3\) would vanish"):
        respell(Post("p", list("abc"), (Entity(1, 3, "PER"),)), {1: [], 2: []})


@given(posts(), st.data())
def test_respell_keeps_what_spans_stand_for(post, data):
    """Each word becomes copies of itself: afterwards a span holds the copies of its words and nothing else."""
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(post.tokens), max_size=len(post.tokens)))
    edits = {i: [post.tokens[i]] * n for i, n in enumerate(times) if n != 1 or data.draw(st.booleans())}

    def expected(start, end):
        return [post.tokens[i] for i in range(start, end) for _ in range(times[i])]

    if not all(expected(start, end) for start, end in post.protected()):
        with pytest.raises(DataError, match="would vanish"):
            respell(post, edits)
        return
    made = respell(post, edits)
    assert made.tokens == expected(0, len(post.tokens))
    for old, new in zip(post.protected(), made.protected(), strict=True):
        assert made.tokens[slice(*new)] == expected(*old)
    assert [(e.type, e.boxes) for e in made.entities] == [(e.type, e.boxes) for e in post.entities]
    assert all(a.end <= b.start for a, b in pairwise(made.entities))


# ---------------------------------------------------------------- JSON


def test_canonical_json():
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"é"],"b":1}'
    assert canonical_json({"a": (1,)}) == canonical_json({"a": [1]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))
    assert json.loads(canonical_json({"x": None})) == {"x": None}


def test_sets_survive_a_dataset(sets):
    """The boxes' floats and the null images are the same after Arrow."""
    codec = Codec(sets["gmner"].features)
    gold = [codec.to_post(row) for row in sets["gmner"].with_format("arrow")[:].to_pylist()]
    again = as_dataset(gold, sets["gmner"].features).with_format("arrow")[:].to_pylist()
    assert [codec.to_post(row) for row in again] == gold
    assert sum(len(e.boxes) for post in gold for e in post.entities) == 24
