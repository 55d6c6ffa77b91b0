"""The metrics equal hand-worked numbers, seqeval and nervaluate."""

import functools
import random
import socket
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nervaluate.evaluator import Evaluator
from places import DATA
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as seqeval_default
from seqeval.metrics.v1 import precision_recall_fscore_support as seqeval_by_scheme
from seqeval.scheme import IOB2, Entities

from hf_mner_aug import metrics
from hf_mner_aug.exceptions import DataError, UnknownName
from hf_mner_aug.metrics.grounding import iou, read_entities, score_grounded
from hf_mner_aug.metrics.spans import Score, post_counts, score_spans, score_tags
from hf_mner_aug.schema import ORPHANS, Entity, bio_to_spans, repair_orphans

TYPES = ["LOC", "PER", "product-car"]
TAGS = ["O", *(f"{prefix}-{kind}" for kind in TYPES for prefix in "BI")]
tag_lists = st.lists(st.sampled_from(TAGS), max_size=12)


# ---------------------------------------------------------------- spans


def test_scores_are_those_worked_out_by_hand():
    gold = [{(0, 2, "PER"), (3, 4, "LOC")}, {(0, 1, "ORG")}, set()]
    found = [{(0, 2, "PER"), (3, 4, "ORG")}, {(0, 1, "ORG")}, {(1, 2, "PER")}]
    scores = score_spans(found, gold)
    assert scores.micro == Score(correct=2, predicted=4, support=3)
    assert (scores.micro.precision, scores.micro.recall) == (0.5, pytest.approx(2 / 3))
    assert scores.micro.f1 == pytest.approx(4 / 7)
    assert scores.per_type == {"LOC": Score(0, 0, 1), "ORG": Score(1, 2, 1), "PER": Score(1, 2, 1)}
    assert scores.to_dict()["per_type"]["ORG"] == {
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "support": 1,
        "predicted": 2,
        "correct": 1,
    }


def test_divisions_by_zero_give_0():
    for found, gold in [([], []), ([set()], [set()]), ([{(0, 1, "PER")}], [set()]), ([set()], [{(0, 1, "PER")}])]:
        micro = score_spans(found, gold).micro
        assert (micro.precision, micro.recall, micro.f1) == (0.0, 0.0, 0.0)


def test_spans_of_a_post_are_a_set_and_may_come_as_any_collection():
    once = score_spans([{(0, 1, "PER"), (2, 3, "LOC")}], [{(0, 1, "PER")}])
    assert score_spans([[(2, 3, "LOC"), (0, 1, "PER"), (0, 1, "PER")]], [((0, 1, "PER"),)]) == once


def test_post_counts_are_correct_predicted_gold_of_each_post():
    gold = [{(0, 2, "PER"), (3, 4, "LOC")}, {(0, 1, "ORG")}, set()]
    found = [{(0, 2, "PER"), (3, 4, "ORG")}, set(), {(1, 2, "PER")}]
    counts = post_counts(found, gold)
    np.testing.assert_array_equal(counts, [[1, 2, 2], [0, 0, 1], [0, 1, 0]])
    assert Score(*counts.sum(axis=0)) == score_spans(found, gold).micro
    assert post_counts([], []).shape == (0, 3)


def test_orphan_policies_read_the_same_tags_differently():
    gold = [["I-PER", "I-PER", "O", "B-LOC", "I-PER"]]
    assert score_tags(gold, gold, orphans="promote").micro.support == 3
    assert score_tags(gold, gold, orphans="drop").micro.support == 1
    with pytest.raises(DataError, match=r"predictions\[0\]: word 0: I-PER follows no B-PER or I-PER"):
        score_tags(gold, gold, orphans="error")


def test_bad_input_names_the_sequence():
    with pytest.raises(DataError, match="sequence 1: 2 predicted tags for 1 gold tags"):
        score_tags([["O"], ["O", "O"]], [["O"], ["O"]])
    with pytest.raises(DataError, match="1 predicted posts for 2 gold posts"):
        score_tags([["O"]], [["O"], ["O"]])
    with pytest.raises(DataError, match="1 predicted posts for 2 gold posts"):
        post_counts([set()], [set(), set()])
    with pytest.raises(DataError, match=r"references\[1\]: tag 'S-PER' is not BIO"):
        score_tags([["O"], ["O"]], [["O"], ["S-PER"]])
    with pytest.raises(UnknownName, match="did you mean 'promote'"):
        score_tags([["O"]], [["O"]], orphans="promot")


def spans_or_message(read, tags, orphans):
    try:
        return read(tags, orphans)
    except DataError as error:
        return str(error)


def spans_of_repaired(tags, orphans):
    spans = []
    for i, tag in enumerate(repair_orphans(tags, orphans)[0]):
        if tag[0] == "B":
            spans.append((i, i + 1, tag[2:]))
        elif tag[0] == "I":
            spans[-1] = (spans[-1][0], i + 1, spans[-1][2])
    return spans


@given(tag_lists | st.lists(st.sampled_from([*TAGS, "S-PER", "B-", "o"])), st.sampled_from(ORPHANS))
def test_spans_are_those_of_the_repaired_tags(tags, orphans):
    assert spans_or_message(bio_to_spans, tags, orphans) == spans_or_message(spans_of_repaired, tags, orphans)


# ---------------------------------------------------------------- parity


def random_sequences():
    """Return 1,000 pairs of predicted and gold tags, orphans among them; four in five tags are copied."""
    rng = random.Random(0)
    gold = [rng.choices(TAGS, k=rng.randint(1, 15)) for _ in range(1000)]
    found = [[tag if rng.random() < 0.8 else rng.choice(TAGS) for tag in tags] for tags in gold]
    return found, gold


def word_features(words):
    edges = ["<s>", *(word.lower() for word in words), "</s>"]
    return [
        {
            "word": edges[i + 1],
            "suffix": word[-3:],
            "title": str(word.istitle()),
            "before": edges[i],
            "after": edges[i + 2],
        }
        for i, word in enumerate(words)
    ]


@functools.cache
def real_sequences():
    """Return what a CRF trained on Twitter-2015's published 10% predicts for the test set, and the gold tags."""
    if not (DATA / "twitter2015_lowres").is_dir():
        pytest.skip(f"no Twitter-2015 in {DATA}: set MNER_DATA to the folder that holds twitter2015")
    import sklearn_crfsuite

    def read(path):
        rows = [[line.split("\t") for line in block.split("\n") if "\t" in line] for block in path.split("\n\n")]
        return [list(zip(*row, strict=True)) for row in rows if row]

    train = read((DATA / "twitter2015_lowres" / "10pct" / "train.txt").read_text(encoding="utf-8"))
    test = read((DATA / "twitter2015" / "test.txt").read_text(encoding="utf-8"))
    crf = sklearn_crfsuite.CRF(max_iterations=50)
    crf.fit([word_features(words) for words, _ in train], [tags for _, tags in train])
    found = [list(tags) for tags in crf.predict([word_features(words) for words, _ in test])]
    return found, [list(tags) for _, tags in test]


@pytest.fixture(scope="module", params=[random_sequences, real_sequences], ids=["random", "real"])
def sequences(request):
    return request.param()


def assert_equals_seqeval(found, gold, orphans):
    scores = score_tags(found, gold, orphans=orphans)
    if orphans == "promote":
        theirs, scheme = seqeval_default, {}
    else:
        theirs, scheme = seqeval_by_scheme, {"scheme": IOB2}
    micro = theirs(gold, found, average="micro", zero_division=0, **scheme)
    ours = (scores.micro.precision, scores.micro.recall, scores.micro.f1, scores.micro.support)
    assert ours == pytest.approx(micro, abs=1e-12)
    per_type = list(zip(*theirs(gold, found, average=None, zero_division=0, **scheme), strict=True))
    # seqeval gives the types in alphabetical order, without their names.
    assert list(scores.per_type) == sorted(scores.per_type)
    for score, expected in zip(scores.per_type.values(), per_type, strict=True):
        assert (score.precision, score.recall, score.f1, score.support) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("orphans", ["promote", "drop"])
def test_all_sequences_together_score_as_seqeval_says(sequences, orphans):
    assert_equals_seqeval(*sequences, orphans)


@pytest.mark.parametrize("orphans", ["promote", "drop"])
def test_each_random_sequence_scores_as_seqeval_says(orphans):
    for found, gold in zip(*random_sequences(), strict=True):
        assert_equals_seqeval([found], [gold], orphans)


@pytest.mark.parametrize("orphans", ["promote", "drop"])
def test_scores_are_nervaluate_s_strict_ones(sequences, orphans):
    found, gold = sequences
    scores = score_tags(found, gold, orphans=orphans)
    # nervaluate promotes orphans and has no other policy: the tags it is given are mended first.
    found, gold = ([repair_orphans(tags, orphans)[0] for tags in side] for side in (found, gold))
    result = Evaluator(gold, found, tags=list(scores.per_type), loader="list").evaluate()
    pairs = [(scores.micro, result["overall"]["strict"])]
    pairs += [(score, result["entities"][kind]["strict"]) for kind, score in scores.per_type.items()]
    for ours, theirs in pairs:
        assert (ours.correct, ours.predicted, ours.support) == (theirs.correct, theirs.actual, theirs.possible)
        assert (ours.precision, ours.recall) == pytest.approx((theirs.precision, theirs.recall), abs=1e-12)
        assert ours.f1 == pytest.approx(theirs.f1, abs=1e-12)


def test_the_random_sequences_are_hard():
    found, gold = random_sequences()
    promoted, dropped = (score_tags(found, gold, orphans=orphans).micro for orphans in ("promote", "drop"))
    assert sum(repair_orphans(tags)[1] for tags in gold) > 1000
    assert 0.3 < dropped.f1 < 0.9
    assert dropped.support < promoted.support
    assert dropped.support == sum(len(post) for post in Entities(gold, IOB2).entities)


def test_twitter_2015_has_135_orphans_in_its_test_set():
    _, gold = real_sequences()
    assert score_tags(gold, gold, orphans="drop").micro.support == 5072
    assert score_tags(gold, gold, orphans="promote").micro.support == 5072 + 135


# ---------------------------------------------------------------- grounding


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 50 / 150),
        ((0, 0, 10, 10), (5, 5, 15, 15), 25 / 175),
        ((0, 0, 10, 10), (2, 2, 4, 4), 4 / 100),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((0, 0, 10, 10), (20, 20, 30, 30), 0.0),
        ((3, 3, 3, 3), (3, 3, 3, 3), 0.0),
        ((10, 10, 0, 0), (0, 0, 10, 10), 0.0),
    ],
)
def test_iou_is_that_worked_out_by_hand(box, other, expected):
    assert iou(box, other) == pytest.approx(expected)
    assert iou(other, box) == pytest.approx(expected)


coordinates = st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(1, 10), st.integers(1, 10))
boxes = coordinates.map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3]))


@given(boxes, boxes)
def test_iou_equals_counting_pixels(box, other):
    first, second = np.zeros((2, 20, 20), dtype=bool)
    for mask, (x1, y1, x2, y2) in ((first, box), (second, other)):
        mask[y1:y2, x1:x2] = True
    assert iou(box, other) == pytest.approx((first & second).sum() / (first | second).sum())


def grounded_f1(found, gold):
    scores = score_grounded([found], [gold])
    return scores.gmner.micro.f1, scores.mner.micro.f1, scores.eeg.f1


BOX = (0.0, 0.0, 10.0, 10.0)
FAR = (50.0, 50.0, 60.0, 60.0)


@pytest.mark.parametrize(
    ("found", "gold", "expected"),
    [
        (Entity(0, 2, "PER", boxes=(BOX,)), Entity(0, 2, "PER", boxes=(BOX,)), (1, 1, 1)),
        # an IoU of exactly 0.5 is not enough, 0.6 is
        (Entity(0, 2, "PER", boxes=((0, 0, 10, 5),)), Entity(0, 2, "PER", boxes=(BOX,)), (0, 1, 0)),
        (Entity(0, 2, "PER", boxes=((0, 0, 10, 6),)), Entity(0, 2, "PER", boxes=(BOX,)), (1, 1, 1)),
        # the best gold box counts
        (Entity(0, 2, "PER", boxes=(BOX,)), Entity(0, 2, "PER", boxes=(FAR, BOX)), (1, 1, 1)),
        # no box is right only where there is none
        (Entity(0, 2, "PER"), Entity(0, 2, "PER"), (1, 1, 1)),
        (Entity(0, 2, "PER"), Entity(0, 2, "PER", boxes=(BOX,)), (0, 1, 0)),
        (Entity(0, 2, "PER", boxes=(BOX,)), Entity(0, 2, "PER"), (0, 1, 0)),
        # another type, other words
        (Entity(0, 2, "ORG", boxes=(BOX,)), Entity(0, 2, "PER", boxes=(BOX,)), (0, 0, 1)),
        (Entity(0, 1, "PER", boxes=(BOX,)), Entity(0, 2, "PER", boxes=(BOX,)), (0, 0, 0)),
        # a fine type is not looked at
        (Entity(0, 2, "PER", "actor"), Entity(0, 2, "PER", "singer"), (1, 1, 1)),
    ],
)
def test_a_grounded_entity_needs_words_type_and_region(found, gold, expected):
    assert grounded_f1([found], [gold]) == expected


def test_grounded_scores_are_those_worked_out_by_hand():
    gold = [[Entity(0, 1, "PER", boxes=(BOX,)), Entity(2, 3, "LOC")], [Entity(0, 1, "PER", boxes=(FAR,))]]
    found = [[Entity(0, 1, "PER", boxes=(BOX,)), Entity(2, 3, "ORG")], [Entity(0, 1, "PER", boxes=(BOX,))]]
    scores = score_grounded(found, gold)
    assert scores.gmner.micro == Score(correct=1, predicted=3, support=3)
    assert scores.gmner.per_type == {"LOC": Score(0, 0, 1), "ORG": Score(0, 1, 0), "PER": Score(1, 2, 2)}
    assert scores.mner.micro == Score(correct=2, predicted=3, support=3)
    assert scores.eeg == Score(correct=2, predicted=3, support=3)


def test_a_gold_entity_is_found_once_and_a_repeated_one_counts_once():
    gold = [Entity(0, 1, "PER", boxes=(BOX,))]
    twice = [Entity(0, 1, "PER", boxes=(BOX,)), Entity(0, 1, "PER", boxes=((0, 0, 10, 9),))]
    assert score_grounded([twice], [gold]).gmner.micro == Score(correct=1, predicted=2, support=1)
    assert score_grounded([twice], [gold]).mner.micro == Score(correct=1, predicted=1, support=1)
    assert score_grounded([[twice[0]] * 2], [gold]).gmner.micro == Score(correct=1, predicted=1, support=1)


@given(st.lists(st.tuples(tag_lists, st.lists(boxes, min_size=12, max_size=12)), min_size=2, max_size=4), st.randoms())
def test_mner_equals_span_f1_and_bounds_gmner(posts, rng):
    def ground(tags, post_boxes):
        return [Entity(*span, boxes=(post_boxes[i],) if i % 2 else ()) for i, span in enumerate(bio_to_spans(tags))]

    gold = [ground(*post) for post in posts]
    found = [ground(*post) for post in rng.sample(posts, len(posts))]
    scores = score_grounded(found, gold)
    triples = [[{(e.start, e.end, e.type) for e in post} for post in side] for side in (found, gold)]
    assert scores.mner == score_spans(*triples)
    assert scores.gmner.micro.correct <= min(scores.mner.micro.correct, scores.eeg.correct)
    assert scores == score_grounded([post[::-1] for post in found], [post[::-1] for post in gold])


def test_bad_boxes_are_named():
    several = Entity(3, 5, "PER", boxes=(BOX, FAR))
    with pytest.raises(DataError, match=r"predictions\[1\]: the entity \[3, 5\) PER has 2 boxes"):
        score_grounded([[], [several]], [[], []])
    for box in [(0, 0, 1), (0, 0, 1, float("nan"))]:
        with pytest.raises(
            DataError, match=r"references\[0\]: the entity \[0, 1\) PER has the box .*four finite numbers"
        ):
            score_grounded([[]], [[Entity(0, 1, "PER", boxes=(box,))]])
    with pytest.raises(DataError, match="0 predicted posts for 1 gold posts"):
        score_grounded([], [[]])
    with pytest.raises(DataError, match=r"predictions\[0\]: expected an entity with start, end and type, found"):
        read_entities([[{"start": None, "end": 1, "type": "PER", "boxes": []}]], "predictions")


# ---------------------------------------------------------------- evaluate


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that loads a metric while every connection is refused."""
    import evaluate

    def refuse(*_):
        raise AssertionError("a metric must load without the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return lambda name: evaluate.load(metrics.path(name), cache_dir=str(tmp_path))


def test_span_f1_loads_and_equals_the_functions(load):
    found, gold = random_sequences()
    module = load("span_f1")
    assert module.compute(predictions=found, references=gold) == score_tags(found, gold).to_dict()
    dropped = module.compute(predictions=found, references=gold, orphans="drop")
    assert dropped == score_tags(found, gold, orphans="drop").to_dict()


def test_span_f1_takes_batches_and_outlives_an_error(load):
    module = load("span_f1")
    with pytest.raises(DataError, match="sequence 0: 1 predicted tags for 2 gold tags"):
        module.compute(predictions=[["O"]], references=[["O", "O"]])
    module.add_batch(predictions=[[], ["B-PER", "O"]], references=[[], ["B-PER", "I-PER"]])
    module.add_batch(predictions=[["I-LOC"]], references=[["B-LOC"]])
    result = module.compute()
    assert (result["correct"], result["predicted"], result["support"], result["f1"]) == (1, 2, 2, 0.5)


def test_gmner_f1_loads_and_reads_the_column_entities(load):
    def row(start, kind, *found):
        return {"start": start, "end": start + 1, "type": kind, "boxes": [list(box) for box in found]}

    gold = [[], [row(0, "PER", FAR, BOX), row(2, "LOC")], [row(1, "ORG", BOX)]]
    found = [[], [row(0, "PER", BOX), row(2, "LOC", BOX)], []]
    result = load("gmner_f1").compute(predictions=found, references=gold)
    assert (result["precision"], result["recall"], result["f1"]) == (0.5, pytest.approx(1 / 3), 0.4)
    assert result["per_type"]["PER"]["f1"] == 1.0
    assert (result["mner"]["f1"], result["eeg"]["f1"]) == (0.8, 0.4)
    pairs = read_entities(found, "predictions"), read_entities(gold, "references")
    assert result == score_grounded(*pairs).to_dict()


def test_path_of_an_unknown_metric():
    with pytest.raises(UnknownName, match="did you mean 'span_f1'"):
        metrics.path("spanf1")


def test_the_arithmetic_imports_nothing_heavy():
    code = (
        "import sys, hf_mner_aug.metrics.grounding, hf_mner_aug.metrics.spans; "
        "print({'evaluate', 'datasets', 'numpy', 'torch', 'sklearn'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
