"""Files of every format that convert reads, damaged or hostile: a set, or one line that says why there is none."""

import json
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutations as m
import pytest

from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.readers import RAW_SETS, read
from hf_mner_aug.schema import bio_to_spans
from hf_mner_aug.untrusted.printable import for_terminal

TEXT = "Zoë sees 🎉 Paris with Bob Lee in Rome"
SPANS = [("Zoë", "PER"), ("Paris", "LOC"), ("Bob Lee", "PER"), ("Rome", "LOC")]
PLACES = [(TEXT.index(word), TEXT.index(word) + len(word), kind) for word, kind in SPANS]
WORDS = TEXT.split()
TAGS = ["B-PER", "O", "O", "B-LOC", "O", "B-PER", "I-PER", "O", "B-LOC"]
LINES = [f"{word}\t{tag}" for word, tag in zip(WORDS, TAGS, strict=True)]
POSTS = 6


def json_lines(record: Callable[[int], Any]) -> Callable[[Path], Path]:
    """Return what writes a file of JSON Lines."""

    def write(folder: Path) -> Path:
        path = folder / "train.jsonl"
        path.write_text("".join(json.dumps(record(i), ensure_ascii=False) + "\n" for i in range(POSTS)), "utf-8")
        return path

    return write


def text_file(text: Callable[[int], str]) -> Callable[[Path], Path]:
    """Return what writes a text file."""

    def write(folder: Path) -> Path:
        path = folder / "train.txt"
        path.write_text("".join(text(i) for i in range(POSTS)), "utf-8")
        return path

    return write


def label_studio(i: int) -> dict[str, Any]:
    results = [
        {
            "id": str(k),
            "type": "labels",
            "from_name": "label",
            "to_name": "text",
            "value": {"start": start, "end": end, "text": TEXT[start:end], "labels": [kind]},
        }
        for k, (start, end, kind) in enumerate(PLACES)
    ]
    return {"id": i, "data": {"text": TEXT}, "annotations": [{"id": 1, "result": results, "was_cancelled": False}]}


def write_brat(folder: Path) -> Path:
    split = folder / "train"
    split.mkdir()
    for i in range(POSTS):
        (split / f"{i}.txt").write_text(TEXT, "utf-8")
        marks = (f"T{k}\t{kind} {start} {end}\t{TEXT[start:end]}\n" for k, (start, end, kind) in enumerate(PLACES))
        (split / f"{i}.ann").write_text("".join(marks), "utf-8")
    return folder


def write_spacy(folder: Path) -> Path:
    spacy = pytest.importorskip("spacy")
    blank = spacy.blank("en")
    docs = spacy.tokens.DocBin()
    for _ in range(POSTS):
        doc = blank(TEXT)
        doc.ents = [doc.char_span(*place[:2], label=place[2]) for place in PLACES]
        docs.add(doc)
    docs.to_disk(folder / "train.spacy")
    return folder / "train.spacy"


def relation(i: int) -> str:
    sides = {"h": {"name": "Zoë", "pos": [0, 1]}, "t": {"name": "Paris", "pos": [3, 4]}}
    return f"{ {'token': WORDS, **sides, 'img_id': f'{i}.jpg', 'relation': '/per/loc/place_of_residence'} }\n"


BLOCKS = text_file(lambda i: f"IMGID:{i}\n" + "\n".join(LINES) + "\n\n")
SAMPLES: dict[str, Callable[[Path], Path]] = {
    "twitter2015": BLOCKS,
    "conll": BLOCKS,
    "conll2003": text_file(lambda i: "\n".join(f"{w} NN I-NP {t}" for w, t in zip(WORDS, TAGS, strict=True)) + "\n\n"),
    "cmner": text_file(lambda i: f"WID:{i}\n" + "".join(f"{x}\t{'B-LOC' if x == 'P' else 'O'}\n" for x in "Paris🎉")),
    "mnre": text_file(relation),
    "mner_mi": text_file(lambda i: json.dumps({"id": i, "text": WORDS, "label": TAGS, "images": []}) + "\n"),
    "conllu": text_file(
        lambda i: (
            "".join(
                f"{k}\t{w}\t_\tNOUN\t_\t_\t0\troot\t_\tNER={t}\n"
                for k, (w, t) in enumerate(zip(WORDS, TAGS, strict=True), 1)
            )
            + "\n"
        )
    ),
    "jsonl-bio": json_lines(lambda i: {"id": i, "tokens": WORDS, "ner_tags": TAGS}),
    "spans": json_lines(lambda i: {"id": i, "text": TEXT, "spans": PLACES}),
    "doccano": json_lines(lambda i: {"id": i, "text": TEXT, "label": PLACES}),
    "prodigy": json_lines(
        lambda i: {
            "text": TEXT,
            "spans": [{"start": start, "end": end, "label": kind} for start, end, kind in PLACES],
            "answer": "accept",
            "_task_hash": i,
        }
    ),
    "label-studio": json_lines(label_studio),
    "lighttag": json_lines(
        lambda i: {
            "content": TEXT,
            "annotations": [
                {"start": start, "end": end, "tag": kind, "value": TEXT[start:end]} for start, end, kind in PLACES
            ],
        }
    ),
    "gliner": json_lines(lambda i: {"tokenized_text": WORDS, "ner": [[0, 0, "PER"], [3, 3, "LOC"], [5, 6, "PER"]]}),
    "brat": write_brat,
    "spacy": write_spacy,
}
JSON = ("jsonl-bio", "spans", "doccano", "prodigy", "label-studio", "lighttag", "gliner", "mner_mi")


def checked(name: str, source: Path, **options: Any) -> str:
    """Read a set twice and check its rows; return ``ok``, or the error that says why there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reading = read(name, source, **options)
            rows = [row for split in reading.splits for row in reading.rows(split)]
            tables = [table for split in reading.splits for table in reading.tables(split)]
        except UsageError as error:
            return str(error)
    assert sum(map(len, tables)) == len(rows) == sum(counts.posts for counts in reading.report.splits.values())
    names = reading.features["ner_tags"].feature.names if "ner_tags" in reading.features else []
    for row in rows:
        assert row["id"] == row["id"].encode().decode()
        assert row["tokens"]
        if names:
            assert len(row["ner_tags"]) == len(row["tokens"])
            bio_to_spans([names[tag] for tag in row["ner_tags"]], "error")
    assert len({row["id"] for row in rows}) == len(rows)
    for_terminal(reading.report)
    return "ok"


def files_of(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]


def mutated(name: str, source: Path, rng: random.Random) -> None:
    path = rng.choice(files_of(source))
    change = rng.choice([m.flip, m.cut, m.splice, m.lines, *([m.change_line] * 3 if name in JSON else [])])
    data = path.read_bytes()
    try:
        path.write_bytes(change(rng, data))
    except ValueError:  # no JSON and no text any more, or empty
        path.write_bytes(m.flip(rng, data or b"x"))


# ---------------------------------------------------------------- mutations


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_read(tmp_path, name):
    assert checked(name, SAMPLES[name](tmp_path)) == "ok"


def test_every_set_has_a_sample():
    alike = {"twitter2017", "snap", "twitter_gmner", "twitter_fmnerg", "mner_mi_plus"}
    assert {*RAW_SETS} - {*SAMPLES} - alike == set()


@pytest.mark.parametrize(
    "seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.attack) for seed in range(12, 400))]
)
@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files_make_a_set_or_one_error(tmp_path, name, seed):
    rng = random.Random(f"{name}/{seed}")
    source = SAMPLES[name](tmp_path)
    for _ in range(rng.choice([1, 1, 3])):
        mutated(name, source, rng)
    begun = time.monotonic()
    assert checked(name, source)
    assert time.monotonic() - begun < 60


# ---------------------------------------------------------------- one hostile value


def in_records(source: Path, change: Callable[[Any], Any]) -> None:
    """Change the last but one record of a JSON file."""
    found = source.read_text("utf-8").splitlines()
    found[-2] = json.dumps(change(json.loads(found[-2])))
    source.write_text("\n".join(found) + "\n", "utf-8")


def everywhere(old: str, new: str) -> Callable[[Any], Any]:
    """Return what replaces a text in all texts of a record."""

    def change(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(old, new)
        if isinstance(value, list):
            return [change(item) for item in value]
        return {key: change(item) for key, item in value.items()} if isinstance(value, dict) else value

    return change


@pytest.mark.parametrize("name", JSON)
@pytest.mark.parametrize("sign", ["\ud800", "\0", "\x1b[2J", "\u202e", "\u2028", "\ufeff", "\x85", "💣" * 9])
@pytest.mark.parametrize("where", ["Paris", "LOC"])
def test_odd_signs_in_a_text_and_in_a_type(tmp_path, name, sign, where):
    source = SAMPLES[name](tmp_path)
    in_records(source, everywhere(where, f"{where[:2]}{sign}{where[2:]}"))
    told = checked(name, source)
    if sign == "\ud800" and (name, where) != ("mner_mi", "LOC"):  # a type that this set does not declare
        assert told == "ok", "the record is left out"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert sum(counts.bad_lines for counts in read(name, source).report.splits.values()) == 1


@pytest.mark.parametrize("name", [*JSON, "mnre"])
@pytest.mark.parametrize("bomb", ["[" * 200_000, '{"a":' * 100_000, "[" * 200_000 + "]" * 200_000, "9" * 100_000])
def test_a_bomb_on_a_line_is_one_bad_line(tmp_path, name, bomb):
    source = SAMPLES[name](tmp_path)
    source.write_text(source.read_text("utf-8") + bomb + "\n", "utf-8")
    begun = time.monotonic()
    counts = read(name, source).report.splits["train"]
    assert (counts.posts, counts.bad_lines) == (POSTS, 1)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("name", ["spans", "doccano", "label-studio", "lighttag", "gliner", "spacy"])
@pytest.mark.parametrize("bomb", ["[" * 200_000, '[{"a":' * 100_000, "[" + "[" * 100_000 + "]" * 100_000 + "]"])
def test_a_bomb_as_a_file_is_one_error(tmp_path, name, bomb):
    (tmp_path / "train.json").write_text(bomb)
    assert checked(name, tmp_path / "train.json") != "ok"


@pytest.mark.parametrize("n_spans", [10_001, pytest.param(1_000_000, marks=pytest.mark.attack)])
def test_very_many_spans_on_one_text_end_in_a_moment(tmp_path, n_spans):
    many = [[0, 3, "PER"]] * n_spans
    records = [{"id": i, "text": TEXT, "spans": many if i == 1 else PLACES} for i in range(4)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    begun = time.monotonic()
    counts = read("spans", tmp_path / "train.jsonl").report.splits["train"]
    assert (counts.posts, counts.bad_lines) == (3, 1)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize(
    "name",
    ["conll", "conll2003", "conllu", "jsonl-bio", "mnre", "mner_mi", "spans", "doccano", "label-studio", "gliner"],
)
@pytest.mark.parametrize("n_signs", [3_000_000, pytest.param(100_000_000, marks=pytest.mark.attack)])
def test_a_giant_line_is_left_out_within_a_gigabyte(tmp_path, name, n_signs):
    source = SAMPLES[name](tmp_path)
    ends = {"conll": "\tO\n\n", "conll2003": " NN I-NP O\n\n", "conllu": "\t_\n\n", "mnre": "\n"}.get(name, '"}\n')
    with source.open("a", encoding="utf-8") as file:
        file.write(
            {"conll": "IMGID:9\n", "conll2003": "", "conllu": "1\t", "mnre": "{'token': ['"}.get(name, '{"text": "')
        )
        for _ in range(n_signs // 1_000_000):
            file.write("x" * 1_000_000)
        file.write(ends)
    code = (
        "import re; from pathlib import Path; from hf_mner_aug.readers import read\n"
        f"counts = read({name!r}, {str(source)!r}).report.splits['train']\n"
        "said = Path('/proc/self/status').read_text()\n"  # rusage begins with the peak of the process that forked
        "megabytes = int(re.search(r'VmHWM:\\s+(\\d+)', said)[1]) // 1024\n"
        "print(counts.posts, counts.bad_lines + counts.unlabelled, megabytes)"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-600:]
    posts, bad, megabytes = map(int, done.stdout.split())
    assert (posts, bad) == (POSTS, 1)
    assert megabytes < 1_000
    assert time.monotonic() - begun < 120


@pytest.mark.parametrize("name", ["mnre", "mner_mi"])
def test_a_literal_of_very_many_values_is_not_parsed(tmp_path, name):
    source = SAMPLES[name](tmp_path)
    with source.open("a", encoding="utf-8") as file:
        file.write("{'token': [" + "1," * 3_000_000 + "]}\n")
    begun = time.monotonic()
    counts = read(name, source).report.splits["train"]
    assert (counts.posts, counts.bad_lines) == (POSTS, 1)
    assert "characters, over 1,048,576" in counts.examples["bad_lines"][0]
    assert time.monotonic() - begun < 10


# ---------------------------------------------------------------- links and names


@pytest.mark.parametrize("name", ["conll2003", "spans", "spacy"])
def test_a_split_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    source = SAMPLES[name](tmp_path / "ours")
    (tmp_path / "theirs" / source.name).symlink_to(source)
    assert "is a link that leads out of" in checked(name, tmp_path / "theirs")


def test_texts_and_annotations_of_brat_that_lead_out_are_not_read(tmp_path):
    (tmp_path / "theirs").mkdir()
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET words", "utf-8")
    write_brat(tmp_path / "theirs")
    split = tmp_path / "theirs" / "train"
    (split / "x.txt").symlink_to(secret)
    (split / "x.ann").write_text("T1\tPER 0 6\tSECRET\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "y.txt").write_text("SECRET words")
    (tmp_path / "more" / "y.ann").write_text("T1\tPER 0 6\tSECRET\n")
    (split / "more").symlink_to(tmp_path / "more")
    reading = read("brat", tmp_path / "theirs")
    assert "SECRET" not in json.dumps([row["tokens"] for row in reading.rows("train")])
    counts = reading.report.splits["train"]
    assert (counts.posts, counts.bad_lines) == (POSTS, 1)
    assert "leads out of" in counts.examples["bad_lines"][0]


@pytest.mark.parametrize(
    "picture", ["../secret.png", "/etc/passwd", "https://x.org/../secret.png", "a/../../secret.png"]
)
@pytest.mark.parametrize("name", ["spans", "doccano", "prodigy", "label-studio"])
def test_pictures_outside_of_their_folder_are_not_read(tmp_path, name, picture):
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    source = SAMPLES[name](tmp_path)

    def change(record):
        place = record["data"] if name == "label-studio" else record
        place["image"] = picture if record is not None else "link.png"
        return record

    in_records(source, change)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reading = read(name, source, images=tmp_path / "images")
        rows = list(reading.rows("train"))
    assert len(rows) == POSTS
    assert all(row.get("image") is None and not row.get("images") for row in rows)


@pytest.mark.parametrize("odd", ["\x1b[31m", "\u202e", "a\nb", "'\"<b>|`"])
def test_names_with_control_signs_are_escaped_where_they_are_said(tmp_path, odd, capsys):
    folder = tmp_path / f"raw{odd}"
    folder.mkdir()
    records = [{"id": f"{odd}{i}", "text": TEXT, "spans": PLACES if i else [[0, 99, odd]]} for i in range(4)]
    (folder / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    report = convert("spans", folder, tmp_path / "out", left_out=tmp_path / "left.jsonl")
    assert report.splits["train"].bad_lines == 1
    told = for_terminal(report, lines=True)
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    for text in (told, card, (tmp_path / "left.jsonl").read_text("ascii")):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert len((tmp_path / "left.jsonl").read_text().splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="a file name need not be Unicode there only")
@pytest.mark.parametrize("name", ["conll2003", "spans"])
def test_a_file_name_that_is_no_unicode(tmp_path, name):
    source = SAMPLES[name](tmp_path)
    other = Path(os.fsdecode(os.fsencode(tmp_path) + b"/tr\xffain" + os.fsencode(source.suffix)))
    source.rename(other)
    assert checked(name, other) == "ok"


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_no_file_is_not_waited_for(tmp_path, kind):
    (tmp_path / "raw").mkdir()
    place = tmp_path / "raw" / "train.jsonl"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero")
    assert "train" in checked("spans", tmp_path / "raw")
