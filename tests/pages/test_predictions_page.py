import re
import sys
from types import SimpleNamespace

import pytest
from conftest import as_dataset, picture
from datasets import DatasetDict
from parsed_page import HARMLESS, HOSTILE, TAGS, Node

from hf_mner_aug import cli, load_sample, show_predictions
from hf_mner_aug.backbones import Prediction, ScoredRelation, ScoredSpan
from hf_mner_aug.backbones.crf import CRF
from hf_mner_aug.backbones.relation_features import RelationFeatures
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.pages import predictions as page
from hf_mner_aug.pages.predictions import read_predictions
from hf_mner_aug.schema import Entity, Post, mner_features

BOX, NEAR, FAR = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 8.0), (6.0, 6.0, 12.0, 12.0)
WORDS = ["Paris", "met", "Adele", "Adkins", "at", "Apple", "in", "Rome"]


def grounded_set(words=WORDS, kind="PER"):
    entities = (
        Entity(0, 1, "LOC", boxes=()),
        Entity(2, 4, kind, boxes=(BOX, FAR)),
        Entity(5, 6, "ORG", boxes=(BOX,)),
        Entity(7, 8, "LOC", boxes=()),
    )
    post = Post("p1", words, entities, (picture(0, "PNG"),))
    return DatasetDict(train=(data := as_dataset([post], mner_features(("LOC", kind, "ORG"), boxes=True))), test=data)


def predicting(monkeypatch, *found, boxes=(), **more):
    """Let a saved backbone be one that predicts these spans."""
    prediction = Prediction("p1", tuple(ScoredSpan(*span, 0.5) for span in found), boxes=boxes, **more)
    stub = SimpleNamespace(name="h_index", boundary=False, predict=lambda rows: [prediction] * len(rows))
    monkeypatch.setattr(page, "load_folder", lambda folder: stub)


def read(monkeypatch, splits, *found, **more):
    predicting(monkeypatch, *found, **more)
    return read_predictions(splits, "model")


def test_each_entity_is_said_to_be_right_or_what_is_wrong_with_it(monkeypatch):
    found = [(0, 1, "LOC"), (2, 3, "PER"), (4, 5, "ORG"), (5, 6, "LOC")]
    sheet = read(monkeypatch, grounded_set(), *found, unmapped=2)
    (row,) = sheet.rows
    assert list(row.predicted.verdicts.values()) == ["right", "other words", "no entity", "other type"]
    assert list(row.gold.verdicts.values()) == ["right", "other words", "other type", "missed"]
    assert sheet.counts == {"predicted, right": 1, "predicted, wrong": 3, "gold, not found": 3}
    assert (sheet.grounded, row.unmapped) == (False, 2)
    assert "Right: the words and the type." in sheet.to_html()


def test_a_box_counts_where_the_backbone_gives_some(monkeypatch):
    found = [(0, 1, "LOC"), (2, 4, "PER"), (5, 6, "ORG"), (7, 8, "LOC")]
    sheet = read(monkeypatch, grounded_set(), *found, boxes=(None, NEAR, FAR, NEAR))
    (row,) = sheet.rows
    assert sheet.grounded
    assert list(row.predicted.verdicts.values()) == ["right", "right", "other box", "other box"]
    assert list(row.gold.verdicts.values()) == ["right", "right", "other box", "other box"]
    drawn = [(box.words, box.type, box.height) for box in row.predicted.side.boxes]
    assert drawn == [("Adele Adkins", "PER", "66.67"), ("Apple", "ORG", "50.00"), ("Rome", "LOC", "66.67")]
    html = sheet.to_html()
    assert html.count('class="box') == 3 + 3
    assert html.count("<img ") == 2, "the boxes differ"
    other = read(monkeypatch, grounded_set(), (2, 4, "PER"), boxes=(FAR,))
    assert list(other.rows[0].predicted.verdicts.values()) == ["right"], "one of the gold boxes is enough"


def test_hostile_words_and_types_are_text(monkeypatch):
    words = [word for word in HOSTILE if word.strip()]
    kind = "<b>X</b>"
    entities = (Entity(0, 1, kind, boxes=((1.0, 1.0, 9.0, 9.0),)), Entity(1, 2, kind))
    post = Post("<i>id", words, entities, (picture(0, "PNG"),))
    splits = DatasetDict(train=(data := as_dataset([post], mner_features((kind,), boxes=True))), test=data)
    html = read(monkeypatch, splits, (0, 1, kind), (2, 4, kind), boxes=((0.0, 0.0, 5.0, 5.0), None)).to_html()
    root = Node()
    root.feed(html)
    tags, pending = set(), [root]
    while pending:
        node = pending.pop()
        tags.add(node.tag)
        assert not any(name.startswith("on") for name in node.attributes)
        pending += [child for child in node.children if isinstance(child, Node)]
    assert tags - {""} <= TAGS
    assert "default-src 'none'" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert not re.search("[" + "".join(map(chr, HARMLESS)) + "]", html)


def test_the_sample_set_with_a_saved_crf_on_the_command_line(tmp_path, monkeypatch, capsys):
    splits = DatasetDict({name: data.select(range(40)) for name, data in load_sample().items()})
    CRF(iterations=20).fit(splits["train"], splits["validation"]).save(tmp_path / "model")
    splits.save_to_disk(tmp_path / "set")
    out = tmp_path / "page.html"
    command = ["hf-mner-aug", "show", str(tmp_path / "set"), "--predictions", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(out)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code, capsys.readouterr().err
    html = out.read_text(encoding="utf-8")
    assert html.count("<article>") == 20
    assert "20 of 40 posts of test, evenly spread. Source: <bdi>set</bdi>." in html
    assert str(tmp_path) not in html
    shown = read_predictions(splits, tmp_path / "model", split="validation", posts=3)
    gold = [post["id"] for post in splits["validation"].select((0, 13, 26))]
    assert [row.id for row in shown.rows] == gold
    predicted = CRF.load(tmp_path / "model").predict(splits["validation"].select((0, 13, 26)))
    found = [[(e.start, e.end, e.type) for e in row.predicted.side.post.entities] for row in shown.rows]
    assert found == [prediction.plain_spans() for prediction in predicted]


def test_fine_types_are_compared_where_the_backbone_predicts_them(tmp_path):
    entities = (Entity(0, 1, "LOC", "city"), Entity(2, 4, "PER", "singer"), Entity(5, 6, "ORG"))
    features = mner_features(("LOC", "PER", "ORG"), images="none", fine_types=("city", "singer"))
    data = as_dataset([Post(f"p{i}", WORDS, entities) for i in range(4)], features)
    with pytest.warns(UserWarning, match="have no fine type"):
        CRF(iterations=30, types="fine").fit(data).save(tmp_path / "model")
    sheet = read_predictions(DatasetDict(train=data, test=data), tmp_path / "model")
    assert sheet.counts == {"predicted, right": 8, "predicted, wrong": 0, "gold, not found": 0}
    assert "city/city" not in sheet.to_html()
    coarse = as_dataset([Post("p", WORDS, entities)], mner_features(("LOC", "PER", "ORG"), images="none"))
    with pytest.raises(UsageError, match="expected posts with the column fine_tags, which crf predicts"):
        read_predictions(DatasetDict(train=coarse, test=coarse), tmp_path / "model")


def test_relations_are_compared(tmp_path):
    pairs = load_sample("mre")
    RelationFeatures().fit(pairs["train"].select(range(60))).save(tmp_path / "model")
    sheet = read_predictions(pairs, tmp_path / "model", posts=5)
    assert sheet.relations
    assert sum(sheet.counts.values()) == 5
    html = sheet.to_html()
    assert html.count("head → tail:") == 10
    assert html.count(">right</ins>") == sheet.counts["right"]


def test_a_relation_is_right_or_wrong(monkeypatch):
    pairs = load_sample("mre")
    kind = pairs["test"].features["relation"].names[1]
    stub = SimpleNamespace(
        name="x", boundary=False, task="relations", __dataclass_fields__={"task": None},
        predict=lambda rows: [Prediction(row, relation=ScoredRelation(kind, 1.0)) for row in rows["id"]],
    )  # fmt: skip
    monkeypatch.setattr(page, "load_folder", lambda folder: stub)
    sheet = read_predictions(pairs, "model", posts=10_000)
    assert sheet.counts["right"] == sum(label == 1 for label in pairs["test"]["relation"])


def test_the_users_mistakes_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="nothere"):
        show_predictions(grounded_set(), tmp_path / "nothere")
    with pytest.raises(UsageError, match="is a folder: name a file with --out"):
        show_predictions(grounded_set(), tmp_path, out=tmp_path)
    predicting(monkeypatch)
    with pytest.raises(UnknownName, match="unknown split 'dev'"):
        show_predictions(grounded_set(), tmp_path, split="dev")
    with pytest.raises(UsageError, match="expected at least 1 post, found 0"):
        show_predictions(grounded_set(), tmp_path, posts=0)
    with pytest.raises(UsageError, match="test: expected posts with the column ner_tags, which h_index predicts"):
        show_predictions(load_sample("mre"), tmp_path)
    monkeypatch.setattr(sys, "argv", ["hf-mner-aug", "show", "a", "--predictions", "b", "--source", "c"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
