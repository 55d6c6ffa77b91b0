"""Sets that are more than IMGID files: boxes in XML, relations, several images, characters; leaks between sets."""

import io
import json
import re
import runpy
import sys
from collections import Counter

import pytest
from datasets import Dataset, DatasetDict, Image, load_dataset
from PIL import Image as Pillow
from places import DATA, ROOT

from hf_mner_aug.columns.validation import validate
from hf_mner_aug.conversion import convert, describe_leaks
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers import RAW_SETS, read
from hf_mner_aug.readers.boxes import parse_voc, repair_box
from hf_mner_aug.readers.formats import MNRE_RELATIONS, BadLine, parse_mner_mi, parse_mnre, parse_wid
from hf_mner_aug.schema import Codec

needs_data = pytest.mark.skipif(not (DATA / "twitter_gmner").is_dir(), reason=f"no real data in {DATA} ($MNER_DATA)")

POST = "IMGID:7\nNew\tB-LOC\nYork\tI-LOC\nloves\tO\nAdele\tB-PER\n\n"
SENTENCES = "-DOCSTART- -X- O O\n\nNew NNP B-NP B-LOC\nYork NNP I-NP I-LOC\nwaits VBZ B-VP O\n"
SENTENCE = "# sent_id = s-1\n1\tOslo\tOslo\tPROPN\tNNP\t_\t0\troot\t_\tNER=B-LOC\n"
LISTS = {"words": ["Ann", "waits"], "tags": ["S-PER", "O"], "image": None}
RELATION = {
    "token": ["Bill", "Cosby", "in", "Hollywood"],
    "h": {"name": "Bill Cosby", "pos": [0, 2]},
    "t": {"name": "Hollywood", "pos": [3, 4]},
    "img_id": "twitter_1.jpg",
    "relation": "/per/misc/present_in",
}
MANY = {
    "id": 5302,
    "text": ["for", "jaebeom", "of", "GOT7"],
    "label": ["O", "B-PER", "O", "B-MIS"],
    "images": ["5302_0.jpg", "5302_1.jpg", "5302_2.jpg"],
    "url": "https://twitter.com/i/web/status/1",
}
CHARACTERS = "WID:LwHJ\r\n苹\tB-ORG\r\n果\tI-ORG\r\n好\tO\r\nWID:L4x7\r\n北\tB-LOC\r\n京\tI-LOC\r\n"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(*records):
    return "".join(f"{record}\n" for record in records)


def voc(*boxes, size=(100, 80)):
    """Return a VOC file whose ``<filename>`` is another picture's, with boxes (name, x1, y1, x2, y2)."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox>\n<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>\n"
        for name, x1, y1, x2, y2 in boxes
    )
    return (
        "<annotation><filename>another.jpg</filename>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>\n{objects}</annotation>"
    )


def picture(path, size=(100, 80), colour=200):
    buffer = io.BytesIO()
    Pillow.new("L", size, colour).save(buffer, "PNG")
    return write(path, buffer.getvalue())


def grounded(folder, *boxes, size=(100, 80), posts=POST):
    """Write a GMNER folder of one post with boxes."""
    write(folder / "txt" / "train.txt", posts)
    write(folder / "xml" / "7.xml", voc(*boxes, size=size))
    return folder


def boxes_of(reading, split="train"):
    return [
        {" ".join(row["tokens"][e["start"] : e["end"]]): e["boxes"] for e in row["entities"]}
        for row in reading.rows(split)
    ]


def counts(reading, split="train"):
    return reading.report.splits[split]


# ---------------------------------------------------------------- real sets


@pytest.fixture(scope="module")
def gmner():
    return read("twitter_gmner", DATA / "twitter_gmner")


@needs_data
def test_gmner_holds_what_its_authors_say(gmner):
    splits = gmner.report.splits
    assert {split: c.posts for split, c in splits.items()} == {"train": 7000, "validation": 1500, "test": 1500}
    assert [c.mentions for c in splits.values()] == [11779, 2450, 2543]
    assert sum(c.drawings for c in splits.values()) == 5612
    assert sum(c.posts - c.drawings for c in splits.values()) == 4388
    assert sum(c.boxes for c in splits.values()) == 8058
    assert gmner.report.troubles() == []
    assert gmner.raw.types == ("PER", "LOC", "ORG", "MISC")


@needs_data
def test_gmner_boxes_are_those_of_the_file_named_after_the_post(gmner):
    wrong = n_boxes = 0
    for row in (row for split in gmner.splits for row in gmner.rows(split)):
        path = DATA / "twitter_gmner" / "xml" / f"{row['id']}.xml"
        boxes = [tuple(box) for entity in row["entities"] for box in entity["boxes"]]
        if not path.exists():
            assert boxes == []
            continue
        text = path.read_text(encoding="utf-8")
        wrong += not re.search(rf"<filename>{re.escape(row['id'])}\.", text)
        corners = [re.findall(rf"<{side}>(\d+)<", text) for side in ("xmin", "ymin", "xmax", "ymax")]
        assert set(boxes) == {tuple(map(float, box)) for box in zip(*corners, strict=True)}
        n_boxes += len(boxes)
    assert wrong == 765
    assert n_boxes == 8058 + 126  # two mentions of the same words share a box


@needs_data
def test_fmnerg_takes_the_boxes_of_gmner(gmner):
    reading = read("twitter_fmnerg", DATA / "twitter_fmnerg", xml=DATA / "twitter_gmner" / "xml")
    assert [c.posts for c in reading.report.splits.values()] == [7000, 1500, 1500]
    assert [c.mentions for c in reading.report.splits.values()] == [11779, 2450, 2543]
    assert len(reading.raw.types) == 8
    assert len(reading.features["fine_tags"].feature.names) == 1 + 2 * 51
    assert sum(c.boxes for c in reading.report.splits.values()) == 8058
    assert boxes_of(reading, "test") == boxes_of(gmner, "test")
    assert read("twitter_fmnerg", DATA / "twitter_fmnerg").features.keys() == reading.features.keys() - {"entities"}


@needs_data
def test_mnre_holds_what_its_authors_say():
    reading = read("mnre", DATA / "mnre")
    assert reading.files["validation"].name == "mnre_val .txt"
    assert [c.relations for c in reading.report.splits.values()] == [12247, 1624, 1614]
    rows = [row for split in reading.splits for row in reading.rows(split)]
    kinds = Counter(reading.features["relation"].int2str(row["relation"]) for row in rows)
    assert kinds.keys() == set(MNRE_RELATIONS)
    assert len(kinds) == 23
    assert (kinds["None"], kinds["/per/misc/race"]) == (9718, 7)
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["id"].partition("~")[0] for row in rows}) == 9201
    assert rows[0]["id"] == "twitter_19_31_16_6"
    head, tail = (rows[0]["tokens"][rows[0][side]["start"] : rows[0][side]["end"]] for side in ("head", "tail"))
    assert (head, tail) == (["Circle", "Undone"], ["Arkham", "Horror", "LCG"])


@needs_data
def test_gmner_leaks_from_the_tests_it_was_made_of(gmner):
    def rows(reading, split):
        return Dataset.from_list([{"id": row["id"], "tokens": row["tokens"]} for row in reading.rows(split)])

    train = rows(gmner, "train")
    for name, shared in (("twitter2015", 1563), ("twitter2017", 467)):
        held_out = DatasetDict(test=rows(read(name, DATA / name), "test"))
        ids, text = describe_leaks(train, 7000, name, held_out)
        assert ids.startswith(f"train: {shared} of 7000 posts share their id with test of {name}, as ")
        assert re.match(rf"train: \d+ of 7000 posts share their text with test of {name}, as ", text)


# ---------------------------------------------------------------- every set


SPAN = {"start": 0, "end": 8, "label": "LOC"}
LABELLED = {"result": [{"type": "labels", "value": {"start": 0, "end": 8, "labels": ["LOC"]}}]}
PUBLISHED = {
    "twitter2015": {"train.txt": POST},
    "twitter2017": {"train.txt": POST, "valid.txt": POST},
    "snap": {"train.txt": POST.replace("\n", "\r\n"), "test.txt": POST},
    "conll": {"train.txt": POST},
    "conllu": {"x-ud-train.conllu": SENTENCE, "x-ud-dev.conllu": SENTENCE},
    "jsonl-bio": {"train.jsonl": lines(json.dumps(LISTS)), "valid.jsonl": lines(json.dumps(LISTS))},
    "conll2003": {"eng.train": SENTENCES, "eng.testa": SENTENCES, "eng.testb": SENTENCES},
    "twitter_gmner": {"txt/train.txt": POST, "txt/dev.txt": POST, "xml/7.xml": voc(("Adele", 1, 2, 3, 4))},
    "twitter_fmnerg": {
        "txt_fine/train.txt": "IMGID:7\nNew\tB-location\tB-city\nYork\tI-location\tI-city\nloves\tO\tO\n"
    },
    "mnre": {"mnre_train.txt": lines(RELATION), "mnre_val .txt": lines(RELATION)},
    "mner_mi": {
        "text/MNER-MI_train.txt": lines(json.dumps(MANY)),
        "text/MNER-UNI_train.txt": lines({**MANY, "id": "x"}),
    },
    "mner_mi_plus": {"text/MNER-MI_train.txt": lines({**MANY, "id": "x"}), "text/MNER-UNI_train.txt": lines(MANY)},
    "spans": {"train.jsonl": lines(json.dumps({"text": "New York", "spans": [[0, 8, "LOC"]]}))},
    "doccano": {"train.jsonl": lines(json.dumps({"id": 1, "text": "New York", "label": [[0, 8, "LOC"]]}))},
    "prodigy": {"train.jsonl": lines(json.dumps({"text": "New York", "spans": [SPAN], "answer": "accept"}))},
    "label-studio": {"train.json": json.dumps([{"id": 1, "data": {"text": "New York"}, "annotations": [LABELLED]}])},
    "lighttag": {"train.json": json.dumps([{"content": "New York", "annotations": [{**SPAN, "tag": "LOC"}]}])},
    "gliner": {"train.json": json.dumps([{"tokenized_text": ["New", "York"], "ner": [[0, 1, "LOC"]]}])},
    "spacy": {"train.json": json.dumps([["New York", {"entities": [[0, 8, "LOC"]]}]])},
    "brat": {"train/7.txt": "New York\n", "train/7.ann": "T1\tLOC 0 8\tNew York\n"},
    "cmner": {"text/train.txt": CHARACTERS, "text/dev.txt": CHARACTERS},
}


@pytest.mark.parametrize("name", list(RAW_SETS))
def test_every_set_has_a_script_that_makes_a_valid_dataset(tmp_path, monkeypatch, capsys, name):
    for path, text in PUBLISHED[name].items():
        write(tmp_path / "raw" / path, text)
    script = ROOT / "dataset_scripts" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "raw"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("train: ")
    data = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    checked = validate(data)
    assert checked.ok, str(checked)
    posts = [Codec(data["train"].features).to_post(row) for row in data["train"]]
    assert all(post.entities or post.relation for post in posts)
    record = json.loads((tmp_path / "out" / "convert.json").read_text())
    assert record["name"] == name
    assert RAW_SETS[name].title in (tmp_path / "out" / "README.md").read_text()


# ---------------------------------------------------------------- boxes


def test_boxes_go_to_the_entity_of_their_name(tmp_path):
    posts = POST + "IMGID:8\nAdele\tB-PER\n"
    source = grounded(tmp_path, ("New York", 5, 6, 50, 60), ("New York", 0, 0, 100, 80), posts=posts)
    reading = read("twitter_gmner", source)
    assert boxes_of(reading) == [{"New York": [[5, 6, 50, 60], [0, 0, 100, 80]], "Adele": []}, {"Adele": []}]
    assert (counts(reading).boxes, counts(reading).drawings) == (2, 1)
    assert reading.report.troubles() == []
    assert [row["image"] for row in reading.rows("train")] == [None, None]


def test_mentions_of_the_same_words_share_a_box(tmp_path):
    posts = "IMGID:7\nAdele\tB-PER\nand\tO\nAdele\tB-MISC\n"
    reading = read("twitter_gmner", grounded(tmp_path, ("Adele", 1, 2, 3, 4), posts=posts))
    (row,) = reading.rows("train")
    assert [(e["type"], e["boxes"]) for e in row["entities"]] == [("PER", [[1, 2, 3, 4]]), ("MISC", [[1, 2, 3, 4]])]
    assert counts(reading).boxes == 1


@pytest.mark.parametrize(
    ("corners", "repaired", "troubles"),
    [
        ((10, 20, 30, 40), (10, 20, 30, 40), []),
        ((0, 0, 100, 80), (0, 0, 100, 80), []),
        ((30, 20, 10, 40), (10, 20, 30, 40), ["reversed_boxes"]),
        ((10, 40, 30, 20), (10, 20, 30, 40), ["reversed_boxes"]),
        ((-5, 20, 130, 90), (0, 20, 100, 80), ["clipped_boxes"]),
        ((130, 20, 90, 40), (90, 20, 100, 40), ["reversed_boxes", "clipped_boxes"]),
        ((100, 20, 130, 40), None, ["bad_boxes"]),
        ((10, 20, 10, 40), None, ["bad_boxes"]),
        (None, None, ["bad_boxes"]),
    ],
)
def test_boxes_are_repaired_where_something_is_left_of_them(corners, repaired, troubles):
    assert repair_box(corners, (100, 80)) == (repaired, troubles)


def test_a_box_of_an_unknown_picture_is_clipped_at_zero_only():
    assert repair_box((-1, 2, 3000, 4), None) == ((0, 2, 3000, 4), ["clipped_boxes"])


@pytest.mark.parametrize("size", [(0, 0), (0.5, 80), (-100, 80), ("", "x")])
def test_a_size_that_is_none_clips_nothing(tmp_path, size):
    source = grounded(tmp_path / "raw", ("Adele", 10, 20, 3000, 40), size=size)
    assert boxes_of(read("twitter_gmner", source)) == [{"New York": [], "Adele": [[10, 20, 3000, 40]]}]
    picture(tmp_path / "images" / "7.png", size=(50, 20))
    reading = read("twitter_gmner", source, images=tmp_path / "images")
    assert boxes_of(reading) == [{"New York": [], "Adele": []}], "the picture's own size is the next best"
    assert counts(reading).bad_boxes == 1


def test_troubles_of_boxes_are_told_with_their_line(tmp_path):
    source = grounded(
        tmp_path,
        ("Adele", 30, 40, 10, 20),
        ("Adele", 90, 10, 120, 20),
        ("Adele", 200, 10, 220, 20),
        ("Adele", "x", 1, 2, 3),
        ("Beyoncé", 1, 2, 3, 4),
    )
    reading = read("twitter_gmner", source)
    assert boxes_of(reading) == [{"New York": [], "Adele": [[10, 20, 30, 40], [90, 10, 100, 20]]}]
    assert reading.report.troubles() == [
        "train: 1 boxes left out: their name is not an entity of the post, as 7.xml line 10 'Beyoncé'",
        "train: 2 boxes left out: not four numbers, without area or completely outside the picture, "
        "as 7.xml line 6 'Adele'; 7.xml line 8 'Adele'",
        "train: 1 boxes with reversed corners: put in order, as 7.xml line 2 'Adele'",
        "train: 1 boxes that reach outside the picture: clipped to it, as 7.xml line 4 'Adele'",
    ]


def test_boxes_follow_a_resized_picture(tmp_path):
    source = grounded(tmp_path / "raw", ("Adele", 10, 20, 110, 40), size=(100, 80))
    picture(tmp_path / "images" / "7.png", size=(50, 20))
    convert("twitter_gmner", source, tmp_path / "out", images=tmp_path / "images")
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert data[0]["entities"][1]["boxes"] == [[5, 5, 50, 10]]
    assert validate(data).ok
    card = (tmp_path / "out" / "README.md").read_text()
    assert "their boxes are scaled to it, as 7.xml 100x80, the image 50x20" in card
    assert "| split | posts | words | B- tags in the raw file | orphan I- | XML files | boxes | images |" in card
    assert "| train | 1 | 4 | 2 | 0 | 1 | 1 | 1 | 0 | 0 |" in card


LAUGHS = "<!DOCTYPE a [<!ENTITY a 'ha'><!ENTITY b '{}'>{}]>".format("&a;" * 10, "<!ENTITY c '&b;&b;'>")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (voc(("Adele", 1, 2, 3, 4))[:-30], r"7\.xml line 3: unclosed token"),
        (voc(("Adele", 1, 2, 3, 4)).removesuffix("</annotation>"), r"7\.xml line 4: no element found"),
        ("", r"7\.xml line 1: no element found"),
        ("<html><body>Not found</body></html>", r"7\.xml line 1: expected <annotation>, found <html>"),
        (LAUGHS + voc(("&c;", 1, 2, 3, 4)), r"7\.xml line 1: a document type \(DOCTYPE\) is refused"),
        (
            "<?xml version='1.0'?>\n<!DOCTYPE a [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>" + voc(("&f;", 1, 2, 3, 4)),
            r"7\.xml line 2: a document type \(DOCTYPE\) is refused",
        ),
        (("\ufeff" + LAUGHS + voc(("&c;", 1, 2, 3, 4))).encode("utf-16-le"), "a document type"),
        (voc(("&nbsp;", 1, 2, 3, 4)), r"7\.xml line 2: undefined entity"),
        (b"<annotation>\xff</annotation>", r"7\.xml line 1: not well-formed \(invalid token\)"),
    ],
)
def test_an_xml_that_cannot_be_read_costs_its_post_the_boxes_only(tmp_path, text, reason):
    source = grounded(tmp_path, posts=POST + POST.replace(":7", ":8"))
    write(source / "xml" / "7.xml", text)
    write(source / "xml" / "8.xml", voc(("Adele", 1, 2, 3, 4)))
    with pytest.raises(DataError, match=reason):
        parse_voc(source / "xml" / "7.xml")
    reading = read("twitter_gmner", source)
    assert boxes_of(reading) == [{"New York": [], "Adele": []}, {"New York": [], "Adele": [[1, 2, 3, 4]]}]
    assert counts(reading).bad_drawings == 1
    assert re.search(reason, counts(reading).examples["bad_drawings"][0])


def test_folders_of_boxes(tmp_path):
    source = grounded(tmp_path / "a", ("Adele", 1, 2, 3, 4))
    (source / "xml" / "7.xml").rename(source / "xml" / "9.xml")
    with pytest.raises(UsageError, match=r"expected XML files named <id>\.xml, but none has a post's id, as 9\.xml"):
        read("twitter_gmner", source)
    with pytest.raises(UsageError, match=r"xml: no such folder: name the XML files' folder with --xml DIR"):
        read("twitter_gmner", source / "txt")
    with pytest.raises(UsageError, match=r"expected XML files named <id>\.xml, found none"):
        read("twitter_gmner", source, xml=source / "txt")
    with pytest.raises(UsageError, match="mnre has no place for boxes"):
        read("mnre", write(tmp_path / "mnre_train.txt", lines(RELATION)), xml=source / "xml")
    assert "entities" not in read("conll", source / "txt").features


# ---------------------------------------------------------------- relations


def test_relations_of_one_tweet_have_ids_of_their_own_and_one_image(tmp_path):
    reversed_relation = {**RELATION, "h": RELATION["t"], "t": RELATION["h"], "relation": "None"}
    write(tmp_path / "raw" / "mnre_train.txt", lines(RELATION, reversed_relation))
    write(tmp_path / "raw" / "mnre_test.txt", lines({**RELATION, "img_id": "twitter_2.jpg"}))
    image = picture(tmp_path / "img_org" / "train" / "twitter_1.jpg").read_bytes()
    with pytest.warns(UserWarning, match="mnre test, 1 posts: 1 posts have no image file"):
        convert("mnre", tmp_path / "raw", tmp_path / "out", images=tmp_path / "img_org")
    data = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    stored = {split: rows.cast_column("image", Image(decode=False)) for split, rows in data.items()}
    assert [row["id"] for row in stored["train"]] == ["twitter_1", "twitter_1~2"]
    assert [row["image"] for row in stored["train"]] == [{"bytes": image, "path": "twitter_1.jpg"}] * 2
    assert stored["test"][0]["image"] is None
    codec = Codec(stored["train"].features)
    first, second = (codec.to_post(row).relation for row in stored["train"])
    assert (first.head, first.tail, first.type) == ((0, 2), (3, 4), "/per/misc/present_in")
    assert (second.head, second.tail, second.type) == ((3, 4), (0, 2), "None")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "task_categories:\n- text-classification" in card
    assert "Multimodal relation extraction" in card
    assert "Orphans" not in card


@pytest.mark.filterwarnings("error")
def test_lines_that_are_no_relation_are_left_out_and_nothing_is_run(tmp_path):
    flag = tmp_path / "was-run"
    text = lines(
        RELATION,
        f"__import__('pathlib').Path({str(flag)!r}).touch()",
        str(RELATION).replace("'None'", "x").replace("[0, 2]", f"[0, open({str(flag)!r}, 'w')]"),
        "{'token': ['cut",
        "(" * 10_000,
        "-" * 100_000 + "1",
        "[1, 2]",
        {**RELATION, "token": ["one"]},
        {**RELATION, "h": {"name": "x"}},
        {**RELATION, "t": {"name": "x", "pos": [True, 2]}},
        {**RELATION, "relation": "/per/per/enemy"},
        {**RELATION, "img_id": ""},
        {**RELATION, "token": ["Bill", " ", "in", "Hollywood"]},
        "",
        "{'token': ['\\ud83d', 'b', 'c', 'd']}",
        r"{'token': '\d', 'h': 1if 2else 3}",
        *({**RELATION, "img_id": f"twitter_{i}.jpg"} for i in range(2, 15)),
    )
    reading = read("mnre", write(tmp_path / "raw" / "train.txt", text).parent)
    assert not flag.exists()
    assert [row["id"] for row in reading.rows("train")] == [f"twitter_{i}" for i in range(1, 15)]
    assert counts(reading).bad_lines == 14
    found = {bad.line: bad.reason for bad in parse_mnre(tmp_path / "raw" / "train.txt") if isinstance(bad, BadLine)}
    assert found[2] == found[3] == "not a Python literal: it contains code, which is not run"
    assert found[4].startswith("not a Python literal (unterminated string literal")
    assert found[5].startswith("not a Python literal")
    assert found[6] == "not a Python literal: nested too deeply"
    assert found[7] == "expected a dictionary, found list"
    assert found[8] == "head [0, 2) does not fit 1 words"
    assert found[9] == "expected 'h' with 'pos': [start, end], found {'name': 'x'}"
    assert found[10].startswith("expected 't' with 'pos'")
    assert found[11] == "relation '/per/per/enemy' is not one of the 23 of MNRE"
    assert found[12] == "expected 'img_id' with a text, found ''"
    assert found[13] == "word 1 of 'token' is ' '"
    assert found[16] == found[2]  # and no warning about the escape
    assert found[15] == r"word 0 of 'token' is '\ud83d'"
    (line,) = [line for line in reading.report.troubles() if "lines left out" in line]
    assert line.startswith(
        "train: 14 lines left out, as line 2: not a Python literal: it contains code, which is not run; "
    )


def test_no_file_of_the_sets_names(tmp_path):
    write(tmp_path / "mnre_2.txt", lines(RELATION))
    with pytest.raises(
        DataError, match=r"tried train\.txt, .*, test\.txt with mnre_ before them or nothing; found mnre_2\.txt"
    ):
        read("mnre", tmp_path)


def test_a_file_without_any_relation_is_shown(tmp_path):
    source = write(tmp_path / "train.txt", POST)
    with pytest.raises(DataError) as caught:
        read("mnre", source)
    assert f"({source} line 1): no post could be read" in str(caught.value)
    assert "'IMGID:7\\n'" in str(caught.value)
    with pytest.raises(DataError, match="holds no line: no post could be read"):
        list(parse_mnre(write(tmp_path / "empty.txt", "\n")))


# ---------------------------------------------------------------- several images


def test_a_missing_image_of_three_leaves_two(tmp_path):
    write(tmp_path / "raw" / "MNER-MI_train.txt", lines(json.dumps(MANY), json.dumps({**MANY, "images": []})))
    first = picture(tmp_path / "images" / "5302_0.jpg", colour=1).read_bytes()
    third = picture(tmp_path / "images" / "5302_2.jpg", colour=3).read_bytes()
    with pytest.warns(UserWarning, match="mner_mi train, 2 posts: 1 images have no file: left out"):
        report = convert("mner_mi", tmp_path / "raw", tmp_path / "out", images=tmp_path / "images")
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    stored = [Codec(data.features).to_post(row) for row in data.with_format("arrow")[:].to_pylist()]
    assert [post.id for post in stored] == ["5302", "5302~2"]
    assert [image["bytes"] for image in stored[0].images] == [first, third]
    assert stored[1].images == ()
    assert [(e.start, e.end, e.type) for e in stored[0].entities] == [(1, 2, "PER"), (3, 4, "MISC")]
    assert (report.splits["train"].images, report.splits["train"].missing) == (2, 1)
    assert report.troubles() == [
        "train: 1 posts with the id of an earlier one: a suffix makes it unique, as 5302 -> 5302~2",
        "train: 1 images without a file: left out of their posts, as 5302 (5302_1.jpg)",
    ]


def test_an_image_that_cannot_be_decoded_is_left_out(tmp_path):
    write(tmp_path / "raw" / "MNER-MI_train.txt", lines(json.dumps({**MANY, "images": ["a.jpg", "b.jpg"]})))
    write(tmp_path / "images" / "a.jpg", b"<html>")
    picture(tmp_path / "images" / "b.jpg")
    with pytest.warns(UserWarning, match="train, 1 posts: 1 images cannot be decoded: left"):
        reading = read("mner_mi", tmp_path / "raw", images=tmp_path / "images")
    assert [[image["path"] for image in row["images"]] for row in reading.rows("train")] == [["b.jpg"]]
    assert counts(reading).examples["unreadable"] == ["a.jpg is in no format that Pillow knows"]


def test_plus_finds_the_pictures_of_twitter2017(tmp_path):
    plus = {**MANY, "id": "twitter2017-O_538", "label": ["O", "B-PER", "O", "B-MISC"]}
    plus["images"] = ["twitter2017-O_538.jpg"]
    write(tmp_path / "raw" / "MNER-UNI_train.txt", lines(json.dumps(MANY), plus))  # the second as a Python literal
    picture(tmp_path / "images" / "images" / "5302_0.jpg")
    picture(tmp_path / "images" / "twitter2017_images" / "O_538.jpg")
    with pytest.warns(UserWarning, match="2 images have no file"):
        reading = read("mner_mi_plus", tmp_path / "raw", images=tmp_path / "images")
    assert [(row["id"], [image["path"] for image in row["images"]]) for row in reading.rows("train")] == [
        ("5302", ["5302_0.jpg"]),
        ("twitter2017-O_538", ["O_538.jpg"]),
    ]
    names = reading.features["ner_tags"].feature.names
    assert [[names[tag] for tag in row["ner_tags"]] for row in reading.rows("train")] == [
        ["O", "B-PER", "O", "B-MISC"]
    ] * 2


def test_an_image_that_is_there_twice_is_an_error(tmp_path):
    write(tmp_path / "raw" / "train.txt", POST)
    for folder in ("a", "b"):
        picture(tmp_path / "images" / folder / "7.jpg")
    with pytest.raises(
        DataError, match=r"expected one image 7, found .*a/7\.jpg and .*b/7\.jpg: give the folder of one"
    ):
        read("twitter2015", tmp_path / "raw", images=tmp_path / "images")
    assert counts(read("twitter2015", tmp_path / "raw", images=tmp_path / "images" / "a")).images == 1


def test_lines_that_are_no_post_of_mner_mi(tmp_path):
    bad = [
        "{'id': 1, open('x', 'w')}",
        '{"id": 1, "text": ["a"',
        "[" * 100_000,
        json.dumps({**MANY, "label": ["O"]}),
        json.dumps({**MANY, "label": ["O", "PER", "O", "O"]}),
        json.dumps({**MANY, "images": "5302_0.jpg"}),
        json.dumps({**MANY, "id": None}),
        json.dumps({**MANY, "text": None}),
    ]
    path = write(tmp_path / "train.txt", lines(*bad, json.dumps(MANY)))
    *found, post = parse_mner_mi(path)
    assert [(line.line, line.reason.partition(" (")[0]) for line in found] == [
        (1, "not a Python literal"),
        (2, "not JSON"),
        (3, "not JSON: nested too deeply"),
        (4, "post 5302: expected 'label' with a tag for each of 4 words, found 1 of them"),
        (5, "post 5302: tag 'PER' is not BIO: expected O, B-TYPE or I-TYPE"),
        (6, "post 5302: expected 'images' with a list of file names, found 5302_0.jpg"),
        (7, "expected 'id' with a text, found 'None'"),
        (8, "expected 'text' with a list of words, found 'None'"),
    ]
    assert (post.id, post.tokens, list(post.pictures)) == ("5302", MANY["text"], MANY["images"])


# ---------------------------------------------------------------- characters


def test_characters_and_their_images(tmp_path):
    write(tmp_path / "raw" / "text" / "train.txt", CHARACTERS)
    for name in ("LwHJ_00qogt1.jpg", "LwHJ_10.jpg", "LwHJ_2.jpg", "LwHJyuv_1.jpg", "unknown_1.jpg"):
        picture(tmp_path / "images" / name)
    with pytest.warns(UserWarning, match="cmner train, . posts: 1 images have no file"):
        convert("cmner", tmp_path / "raw", tmp_path / "out", images=tmp_path / "images")
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    rows = data.with_format("arrow")[:].to_pylist()
    assert [(row["id"], "".join(row["tokens"])) for row in rows] == [("LwHJ", "苹果好"), ("L4x7", "北京")]
    assert [[image["path"] for image in row["images"]] for row in rows] == [
        ["LwHJ_2.jpg", "LwHJ_10.jpg", "LwHJ_00qogt1.jpg"],
        [],
    ]
    record = json.loads((tmp_path / "out" / "convert.json").read_text())
    assert (record["language"], record["joiner"], record["tokeniser"]) == ("zh", "", "characters")
    assert record["license"] == "mit"


def test_images_go_to_the_longest_id_they_fit(tmp_path):
    write(tmp_path / "raw" / "train.txt", "WID:A\n北\tB-LOC\nWID:A_B\n京\tB-LOC\n")
    for name in ("A_1.jpg", "A_B_1.jpg"):
        picture(tmp_path / "images" / name)
    reading = read("cmner", tmp_path / "raw", images=tmp_path / "images")
    assert [[image["path"] for image in row["images"]] for row in reading.rows("train")] == [["A_1.jpg"], ["A_B_1.jpg"]]


def test_blank_and_broken_lines_between_characters(tmp_path):
    path = write(tmp_path / "train.txt", "WID:1\n北\tB-LOC\n\n\tO\n京\tI-LOC\n京\n\nWID:2\n好\tO\n")
    first, second, post, last = parse_wid(path)
    assert isinstance(first, BadLine)
    assert (first.line, second.line) == (4, 6)
    assert second.reason.endswith("found '京'")
    assert (post.tokens, post.tags, post.lines) == (["北", "京"], ["B-LOC", "I-LOC"], [2, 5])
    assert last.id == "2"
    with pytest.raises(DataError, match=r"before the first post: expected 'WID:<id>', found 'IMGID:7' \(.*line 1\)"):
        list(parse_wid(write(tmp_path / "other.txt", POST)))


# ---------------------------------------------------------------- leaks between sets


def test_leaks_into_another_sets_test_are_reported_not_dropped(tmp_path):
    tweets = [f"IMGID:{i}\nso\tO\nhappy\tO\nin\tO\nParis{i}\tB-LOC\n\n" for i in range(5)]
    write(tmp_path / "a" / "train.txt", "".join(tweets[:4]))
    other = tweets[1] + tweets[2].replace("IMGID:2", "IMGID:two") + "IMGID:3\nother\tB-PER\n\n"
    other += "IMGID:pic\nnothing\tB-PER\n\n"
    write(tmp_path / "b" / "train.txt", tweets[0])
    write(tmp_path / "b" / "valid.txt", tweets[4])
    write(tmp_path / "b" / "test.txt", other)
    for i in range(4):
        noise = Pillow.effect_noise((64, 64), 90)
        noise.save(write(tmp_path / "ia" / f"{i}.png", b""))
    write(tmp_path / "ib" / "pic.png", (tmp_path / "ia" / "0.png").read_bytes())
    with pytest.warns(UserWarning, match="posts have no image file"):
        convert("conll", tmp_path / "b", tmp_path / "held", images=tmp_path / "ib")
    report = convert(
        "conll", tmp_path / "a", tmp_path / "out", images=tmp_path / "ia", check_against=[tmp_path / "held"]
    )
    assert report.leaks == [
        "train: none of 4 posts is in validation of held",
        "train: 2 of 4 posts share their id with test of held, as 1; 3",
        "train: 2 of 4 posts share their text with test of held, as 1; 2 (two)",
        "train: 1 of 4 posts share their image with test of held, as 0 (pic)",
    ]
    assert str(report).endswith("\n".join(report.leaks))
    assert load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"].num_rows == 4
    card = (tmp_path / "out" / "README.md").read_text()
    assert "\n".join(report.leaks) in card
    assert json.loads((tmp_path / "out" / "convert.json").read_text())["leaks"] == report.leaks


def test_what_cannot_be_checked_against(tmp_path):
    write(tmp_path / "a" / "train.txt", POST)
    write(tmp_path / "b" / "test.txt", POST)
    convert("conll", tmp_path / "a", tmp_path / "train_only")
    with pytest.raises(UsageError, match="train_only: expected validation or test to check against, found train only"):
        convert("conll", tmp_path / "a", tmp_path / "out", check_against=[tmp_path / "train_only"])
    with pytest.raises(UsageError, match="there is no folder"):
        convert("conll", tmp_path / "a", tmp_path / "out", check_against=[tmp_path / "nowhere"])
    assert not (tmp_path / "out").exists()
    write(tmp_path / "a" / "test.txt", POST)
    convert("conll", tmp_path / "a", tmp_path / "both")
    with pytest.raises(UsageError, match="expected a train split to check, found test"):
        convert("conll", tmp_path / "b", tmp_path / "out", check_against=[tmp_path / "both"])
