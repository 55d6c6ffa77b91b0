import json

import pytest

from hf_mner_aug import LSMS, augment, publish
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.metrics.span_errors import Error, find_errors, model_specific, overlap, same_place
from hf_mner_aug.schema import Post
from hf_mner_aug.studies.errors import analyse, report_errors

GOLD = [[(0, 2, "PER"), (4, 5, "LOC"), (6, 8, "ORG"), (9, 10, "PER")]]


def kinds(predicted, gold=GOLD):
    return [(error.kind, error.gold, error.predicted) for error in find_errors([predicted], gold)]


def test_each_kind_of_error():
    assert kinds(GOLD[0]) == []
    assert kinds([(0, 2, "LOC"), (4, 6, "LOC"), (7, 8, "PER"), (11, 12, "PER")]) == [
        ("type", (0, 2, "PER"), (0, 2, "LOC")),
        ("boundary", (4, 5, "LOC"), (4, 6, "LOC")),
        ("both", (6, 8, "ORG"), (7, 8, "PER")),
        ("missed", (9, 10, "PER"), None),
        ("spurious", None, (11, 12, "PER")),
    ]


def test_an_entity_and_a_span_are_part_of_one_error():
    # One span over two entities is taken for the one it fits best; the other one is missed.
    assert kinds([(0, 5, "PER"), *GOLD[0][2:]]) == [
        ("boundary", (0, 2, "PER"), (0, 5, "PER")),
        ("missed", (4, 5, "LOC"), None),
    ]
    # Two spans in one entity: the larger part, and of equal parts that with the right type.
    assert kinds([(0, 1, "LOC"), (1, 2, "PER"), *GOLD[0][1:]]) == [
        ("spurious", None, (0, 1, "LOC")),
        ("boundary", (0, 2, "PER"), (1, 2, "PER")),
    ]
    found = find_errors([[(3, 9, "MISC")], []], [GOLD[0], [(0, 1, "PER")]])
    assert [(error.post, error.kind) for error in found] == [
        (0, "missed"),
        (0, "missed"),
        (0, "both"),
        (0, "missed"),
        (1, "missed"),
    ]


def missed(post, start):
    return Error(post, "missed", (start, start + 1, "PER"), None)


def test_model_specific_shares_by_hand():
    ours = [missed(0, 0), missed(0, 2), missed(1, 0), missed(2, 0), Error(3, "spurious", None, (4, 6, "LOC"))]
    first = [missed(0, 0), missed(0, 2), Error(3, "spurious", None, (5, 7, "ORG"))]
    second = [missed(0, 0), Error(1, "type", (0, 1, "PER"), (0, 1, "LOC")), missed(2, 5)]
    # (0, 0) both err too; (0, 2), (1, 0) and the spurious one: one of them is right; (2, 0): both are.
    assert model_specific(ours, {"a": first, "b": second}) == {"right_somewhere": 0.8, "wrong_nowhere_else": 0.2}
    assert model_specific(ours, {"a": first}) == {"right_somewhere": 0.4, "wrong_nowhere_else": 0.4}
    assert model_specific([], {"a": first}) == {"right_somewhere": None, "wrong_nowhere_else": None}
    assert model_specific(ours, {}) == {"right_somewhere": None, "wrong_nowhere_else": None}
    assert overlap(ours, first) == 0.6
    assert overlap(first, ours) == 1.0
    assert overlap([], ours) is None
    assert not same_place(missed(0, 0), [missed(0, 1), missed(1, 0)])


def test_a_report_counts_and_lists_what_was_found():
    words = [Post("p0", ["Steve", "Jobs", "left", "for", "Rome", "with", "Bank", "One", "and", "Al", "today"])]
    right = GOLD[0]
    wrong = [(0, 2, "LOC"), (4, 5, "LOC"), (6, 7, "ORG")]
    report = report_errors({"x": [wrong], "y": [right]}, GOLD, words, config="c", split="validation")
    x, y = report.data["backbones"]["x"], report.data["backbones"]["y"]
    assert x["kinds"] == {"missed": 1, "spurious": 0, "boundary": 1, "type": 1, "both": 0}
    assert x["f1"] == pytest.approx(2 * 1 / (3 + 4))
    assert x["confusions"] == [
        {"gold": "PER", "predicted": "LOC", "count": 1},
        {"gold": "PER", "predicted": "O", "count": 1},
    ]
    assert x["model_specific"] == {"right_somewhere": 1.0, "wrong_nowhere_else": 1.0}
    assert (y["errors"], y["f1"], y["overlap"]["x"]) == (0, 1.0, None)
    first = report.listed[0]
    assert (first["post"], first["kind"], first["gold"]["text"]) == ("p0", "type", "Steve Jobs")
    text = report.to_markdown()
    assert "| x | 0.2857 | 3 | 1 | 0 | 1 | 1 | 0 |" in text
    assert "PER → LOC 1, PER → O 1" in text
    assert "| x | 100.0% | 100.0% |" in text
    assert "| y | – | – |" in text


@pytest.fixture(scope="module")
def repo(splits, tmp_path_factory):
    out = tmp_path_factory.mktemp("errors") / "aug"
    publish(augment(splits, LSMS(copies=2), out=out, progress=False), out)
    return out


def test_backbones_are_trained_and_compared(repo, tmp_path):
    report = analyse(repo, "lsms_100pct", ["crf", "crf:iterations=1"], split="test")
    assert report.data["posts"] == 3
    assert report.data["entities"] == 4
    weak = report.data["backbones"]["crf:iterations=1"]
    assert sum(weak["kinds"].values()) == weak["errors"] > 0
    assert len(report.listed) == sum(b["errors"] for b in report.data["backbones"].values())
    report.write(tmp_path)
    assert json.loads((tmp_path / "errors.json").read_text())["backbones"] == report.data["backbones"]
    assert (tmp_path / "errors.md").read_text() == report.to_markdown()
    gold = analyse(repo, "gold_100pct", ["crf"])
    assert (gold.data["split"], gold.data["posts"]) == ("validation", 3)


def test_wrong_names_are_told(repo):
    with pytest.raises(UnknownName, match="did you mean 'crf'"):
        analyse(repo, "lsms_100pct", ["crff"])
    with pytest.raises(UnknownName, match="unknown setting of crf 'epochs': valid are"):
        analyse(repo, "lsms_100pct", ["crf:epochs=3"])
    with pytest.raises(UsageError, match="has no dev split"):
        analyse(repo, "lsms_100pct", ["crf"], split="dev")
    with pytest.raises(UsageError, match="expected different backbones, found crf, crf"):
        analyse(repo, "lsms_100pct", ["crf", "crf"])
    with pytest.raises(UsageError, match=r"gold_10pct stands for .* has lsms_100pct"):
        analyse(repo, "gold_10pct", ["crf"])
