"""Sources and pictures are indexed, again and after a kill; files that are not a corpus are refused in one line."""

import hashlib
import random
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import small_corpus
from conftest import TEXTS, parse, picture
from small_corpus import ids, make, write_lines

from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import Corrupt, DataError, UnknownName, UsageError
from hf_mner_aug.models.search import Query, open_corpus

folder = small_corpus.folder  # fixtures

# ---------------------------------------------------------------- pictures


def test_a_dataset_gives_its_words_and_pictures_as_they_are(tmp_path, folder, mner):
    index(str(folder), tmp_path / "c.db")
    corpus = open_corpus(tmp_path / "c.db")
    assert len(corpus) == 14
    rows = {row["id"]: row for row in mner.with_format("arrow")[:].to_pylist()}
    hits = corpus.search(Query(text=" ".join(text for text in TEXTS)), 100)
    assert {hit.id for hit in hits} == {f"p{i}" for i in range(14)}
    for hit in hits:
        row = rows[hit.id]
        assert list(hit.tokens) == row["tokens"]
        assert hit.text == " ".join(row["tokens"])
        assert hit.source == "drawn/train"
        assert [dict(image) for image in hit.images] == ([row["image"]] if row["image"] else [])
    assert sum(len(hit.images) for hit in hits) == 12


def test_the_entities_of_a_tokenised_post_find_it(tmp_path, folder):
    index(str(folder), tmp_path / "c.db", splits=["train", "test"])
    corpus = open_corpus(tmp_path / "c.db")
    for i, text in enumerate(TEXTS):
        tokens, entities = parse(text)
        phrases = tuple(" ".join(tokens[e.start : e.end]) for e in entities)
        if phrases:
            hits = corpus.search(Query(text=" ".join(tokens), phrases=phrases))
            assert hits[0].id == f"p{i}"
            assert hits[0].source == ("drawn/train" if i < 14 else "drawn/test")


def test_of_an_augmented_config_the_gold_posts_count(tmp_path, mner):
    (tmp_path / "aug").mkdir()
    rows = mner.select(range(6))
    for name, values in {"source_id": rows["id"], "method": ["gold", "eda"] * 3, "provenance": ["{}"] * 6}.items():
        rows = rows.add_column(name, list(values))
    rows.to_parquet(tmp_path / "aug" / "train.parquet")
    assert index(str(tmp_path / "aug"), tmp_path / "c.db").added == 3
    assert {hit.id for hit in open_corpus(tmp_path / "c.db").search(Query(text="to in"))} <= {"p0", "p2", "p4"}


def test_a_split_that_is_not_there(tmp_path, folder):
    with pytest.raises(UnknownName, match="unknown split 'tset': did you mean 'test'"):
        index(str(folder), tmp_path / "c.db", splits=["tset"])


def test_posts_of_several_pictures_keep_them_in_order(tmp_path, sets):
    (tmp_path / "many").mkdir()
    sets["multi_image"].to_parquet(tmp_path / "many" / "train.parquet")
    index(str(tmp_path / "many"), tmp_path / "c.db")
    rows = {row["id"]: row["images"] for row in sets["multi_image"].with_format("arrow")[:].to_pylist()}
    hits = open_corpus(tmp_path / "c.db").search(Query(text=" ".join(TEXTS)), 100)
    assert {hit.id: [dict(image) for image in hit.images] for hit in hits} == rows
    assert max(map(len, rows.values())) == 3


def test_only_the_named_splits_of_a_folder_of_json_lines_are_indexed(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for split in ("train", "test", "test_2021"):
        write_lines(folder / f"{split}.jsonl", [{"id": split, "text": f"Paris in {split}"}])
    assert index(str(folder), tmp_path / "c.db").added == 1
    found = open_corpus(tmp_path / "c.db").search(Query(text="Paris", phrases=("Paris",)), limit=10)
    assert [(hit.id, hit.source) for hit in found] == [("train", "set/train")]
    assert index(str(folder), tmp_path / "c.db", splits=["train", "test"]).added == 1
    with pytest.raises(UnknownName, match="unknown split 'dev': valid are test, test_2021, train"):
        index(str(folder), tmp_path / "c.db", splits=["dev"])
    for place in (folder / "test.jsonl", tmp_path / "parts"):
        (tmp_path / "parts").mkdir(exist_ok=True)
        write_lines(tmp_path / "parts" / "a.jsonl", [{"text": "Oslo"}])
        with pytest.raises(UsageError, match="has no splits, found test: leave --splits out"):
            index(str(place), tmp_path / "c.db", splits=["test"])


def test_json_lines_name_pictures_by_path_or_url(tmp_path):
    (tmp_path / "shots").mkdir()
    one, two = picture(1, "JPEG"), picture(2, "PNG")
    (tmp_path / "shots" / "one.jpg").write_bytes(one["bytes"])
    (tmp_path / "shots" / "two.png").write_bytes(two["bytes"])
    rows = [
        {"id": 1, "tokens": ["in", "Oslo"], "image": "shots/one.jpg", "unknown": {"a": 1}},
        {"id": 2, "text": "Oslo", "images": ["shots/two.png", "https://x.org/3.jpg", "shots/gone.jpg"]},
        {"text": "Oslo &amp; Rome &lt;3", "image": "http://x.org/4.jpg"},
    ]
    report = index(write_lines(tmp_path / "posts.jsonl", rows), tmp_path / "c.db")
    assert "1 pictures are not read and left out (not_there 1)" in str(report)
    assert "'shots/gone.jpg' does not exist (post 2)" in str(report)
    hits = {hit.text: hit for hit in open_corpus(tmp_path / "c.db").search(Query(phrases=("Oslo",)))}
    assert hits["in Oslo"].tokens == ("in", "Oslo")
    assert hits["in Oslo"].images == ({"bytes": one["bytes"], "path": "one.jpg"},)
    assert hits["Oslo"].images == ({"bytes": two["bytes"], "path": "two.png"},)
    assert hits["Oslo"].image_urls == ("https://x.org/3.jpg",)
    assert hits["Oslo & Rome <3"].origin()["image_url"] == "http://x.org/4.jpg"
    assert len((tmp_path / "c.db").read_bytes()) < 200_000


def test_a_picture_file_must_stay_what_it_was(tmp_path):
    (tmp_path / "a").mkdir()
    one = picture(1, "JPEG")["bytes"]
    (tmp_path / "a" / "one.jpg").write_bytes(one)
    source = write_lines(tmp_path / "a" / "posts.jsonl", [{"id": 1, "text": "Oslo", "image": "one.jpg"}])
    index(source, tmp_path / "a" / "c.db")
    (tmp_path / "a").rename(tmp_path / "b")  # corpus and pictures may move together
    corpus = open_corpus(tmp_path / "b" / "c.db")
    assert corpus.search(Query(text="Oslo"))[0].images[0]["bytes"] == one
    (tmp_path / "b" / "one.jpg").write_bytes(picture(2, "JPEG")["bytes"])
    with pytest.raises(DataError, match=r"post 1: .*one\.jpg has changed since it was indexed"):
        corpus.search(Query(text="Oslo"))
    (tmp_path / "b" / "one.jpg").rename(tmp_path / "one.jpg")
    with pytest.raises(DataError, match=r"post 1: 'one\.jpg' does not exist"):
        corpus.search(Query(text="Oslo"))
    (tmp_path / "one.jpg").write_bytes(one)
    report = index(write_lines(tmp_path / "posts.jsonl", [{"id": 1, "text": "Oslo", "image": "one.jpg"}]), corpus.path)
    assert (report.added, report.fingerprint) == (0, corpus.fingerprint)
    assert corpus.search(Query(text="Oslo"))[0].images[0]["bytes"] == one, "indexed again, it is found"


# ---------------------------------------------------------------- incremental, interrupted


def test_indexing_again_adds_what_is_new(tmp_path):
    rows = [{"id": i, "text": f"post {i} Oslo"} for i in range(20)]
    source = write_lines(tmp_path / "posts.jsonl", rows[:12])
    first = index(source, tmp_path / "c.db")
    assert (first.read, first.added, first.there, first.posts) == (12, 12, 0, 12)
    before = (tmp_path / "c.db").read_bytes()
    again = index(source, tmp_path / "c.db")
    assert (again.read, again.added, again.there, again.posts) == (12, 0, 12, 12)
    assert (tmp_path / "c.db").read_bytes() == before
    assert again.fingerprint == first.fingerprint
    write_lines(tmp_path / "posts.jsonl", rows)
    more = index(source, tmp_path / "c.db")
    assert (more.added, more.there, more.posts) == (8, 12, 20)
    index(source, tmp_path / "whole.db")
    assert open_corpus(tmp_path / "c.db").fingerprint == open_corpus(tmp_path / "whole.db").fingerprint
    score = [corpus.search(Query(text="3"))[0].score for corpus in map(open_corpus, tmp_path.glob("*.db"))]
    assert score[0] == score[1], "what ranks is counted anew"


def test_the_fingerprint_tells_contents_and_order(tmp_path):
    rows = [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}]
    found = set()
    changes = [rows, rows[::-1], rows[:1], [rows[0], {"id": 2, "text": "Two"}], [rows[0], {"id": 3, "text": "two"}]]
    changes.append([rows[0], {**rows[1], "licence": "CC0-1.0"}])
    for i, some in enumerate(changes):
        folder = tmp_path / str(i)
        folder.mkdir()
        found.add(make(folder, some).fingerprint)
    assert len(found) == len(changes)
    (tmp_path / "elsewhere").mkdir()
    assert make(tmp_path / "elsewhere", rows).fingerprint in found, "where the files lie makes no difference"


def test_posts_of_one_id_and_several_contents_are_kept_and_told(tmp_path):
    rows = [{"id": 1, "text": "Oslo"}, {"id": 1, "text": "Oslo, again"}, {"id": 1, "text": "Oslo"}]
    report = index(write_lines(tmp_path / "posts.jsonl", rows), tmp_path / "c.db")
    assert (report.added, report.there, report.repeated_ids) == (2, 1, 1)
    assert "1 posts have the id of another one" in str(report)


CHILD = """
import os, signal, sys
from hf_mner_aug import corpus

corpus.BATCH = 7
stop = int(sys.argv[3])
add, finish = corpus._Writer._add, corpus._Writer.finish
def dying_add(self, *arguments):
    if self.report.read == stop:
        os.kill(os.getpid(), signal.SIGKILL)
    if self.report.read == 0:
        self.connection.execute("PRAGMA cache_size = 5")  # pages reach the file before the batch is whole
    return add(self, *arguments)
def dying_finish(self, sources):
    if stop < 0:
        self.connection.set_trace_callback(
            lambda sql: os.kill(os.getpid(), signal.SIGKILL) if sql.startswith("UPDATE state SET posts") else None
        )
    finish(self, sources)
corpus._Writer._add, corpus._Writer.finish = dying_add, dying_finish
print(corpus.index(sys.argv[1], sys.argv[2]).fingerprint)
"""


def test_indexing_killed_anywhere_is_finished_by_running_again(tmp_path):
    draw = random.Random(0)
    rows = [{"id": i, "text": f"Oslo {draw.randbytes(400).hex()}"} for i in range(60)]
    source = write_lines(tmp_path / "posts.jsonl", rows)
    whole = index(source, tmp_path / "whole.db").fingerprint
    path, journals = tmp_path / "c.db", 0
    for stop in (0, 5, 24, 52, -1):
        ended = subprocess.run(
            [sys.executable, "-c", CHILD, source, str(path), str(stop)], capture_output=True, text=True
        )
        assert ended.returncode == -9, ended.stderr
        journals += path.with_name("c.db-journal").exists()
        with pytest.raises(UsageError, match=r"hf-mner-aug index SOURCE --out .*c\.db") as caught:
            open_corpus(path)
        assert "\n" not in str(caught.value)
        assert stop == 0 or "is incomplete" in str(caught.value), "nothing is written before the first post"
    assert journals, "no kill left the file in the middle of a write"
    report = index(source, path)
    assert report.fingerprint == whole
    assert (report.added, report.posts) == (0, 60)
    assert ids(open_corpus(path), "Oslo") == {str(i) for i in range(60)}
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.execute("INSERT INTO post_words (post_words) VALUES ('integrity-check')")


def test_a_source_cut_short_stays_pending_when_another_is_indexed(tmp_path):
    good = write_lines(tmp_path / "good.jsonl", [{"id": 1, "text": "Oslo"}])
    broken = write_lines(tmp_path / "broken.jsonl", [{"id": i, "text": "Rome"} for i in range(3)])
    text = Path(broken).read_text()
    Path(broken).write_text(text + "{")
    index(good, tmp_path / "c.db")
    with pytest.raises(DataError, match=r"broken\.jsonl line 4 is not JSON"):
        index(broken, tmp_path / "c.db")
    assert ids(open_corpus(tmp_path / "c.db"), "Oslo") == {"1"}, "a batch that breaks leaves no trace"
    import hf_mner_aug.corpus as indexing

    before, indexing.BATCH = indexing.BATCH, 2
    try:
        with pytest.raises(DataError):
            index(broken, tmp_path / "c.db")
    finally:
        indexing.BATCH = before
    index(good, tmp_path / "c.db")
    with pytest.raises(UsageError, match="is incomplete, indexing was interrupted at broken"):
        open_corpus(tmp_path / "c.db")
    Path(broken).write_text(text)
    index(broken, tmp_path / "c.db")
    assert ids(open_corpus(tmp_path / "c.db"), "Rome") == {"0", "1", "2"}


# ---------------------------------------------------------------- files that are no corpus, sources that are none


def test_what_is_no_corpus_is_said_in_a_line(tmp_path):
    with pytest.raises(UsageError, match=r"there is no corpus .*none\.db: run hf-mner-aug index"):
        open_corpus(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("just a text, long enough to be read as a header of a database" * 20)
    (tmp_path / "empty.db").touch()
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE posts (id)")
    connection.close()
    for name, said in (
        ("text", "is not a corpus"),
        ("empty", "holds no posts"),
        ("other", "another program's database"),
    ):
        with pytest.raises(UsageError, match=said):
            open_corpus(tmp_path / f"{name}.db")
    source = write_lines(tmp_path / "posts.jsonl", [{"text": "Oslo"}])
    for name in ("text", "other"):
        before = (tmp_path / f"{name}.db").read_bytes()
        with pytest.raises(UsageError):
            index(source, tmp_path / f"{name}.db")
        assert (tmp_path / f"{name}.db").read_bytes() == before
    index(source, tmp_path / "empty.db")
    assert len(open_corpus(tmp_path / "empty.db")) == 1
    connection = sqlite3.connect(tmp_path / "empty.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UsageError, match="corpus of version 99, expected 1: delete it and index again"):
        open_corpus(tmp_path / "empty.db")


@pytest.mark.parametrize("damaged", [range(2, 400), range(8, 400)])
@pytest.mark.parametrize("require", ["all", "any"])
def test_a_damaged_corpus_is_said_in_a_line(tmp_path, damaged, require):
    corpus = make(tmp_path, [f"Oslo word{i} {'x' * 300}" for i in range(300)])
    pages = corpus.path.read_bytes()
    kept = [b"\x77" * 4096 if page in damaged else pages[page * 4096 :][:4096] for page in range(len(pages) // 4096)]
    corpus.path.write_bytes(b"".join(kept))
    with pytest.raises(Corrupt, match=r"corpus\.db is damaged \(.*\): delete it and index again"):
        open_corpus(corpus.path).search(Query(phrases=("Oslo",), text="word7", require=require), 300)
    with pytest.raises(Corrupt, match="is damaged"):
        index(write_lines(tmp_path / "more.jsonl", [{"text": f"Oslo {i}"} for i in range(50)]), corpus.path)


def test_a_corpus_that_is_being_written_is_waited_for(tmp_path, monkeypatch):
    corpus = make(tmp_path, ["Oslo"])
    writer = sqlite3.connect(corpus.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *names, **options: connect(*names, **{**options, "timeout": 0.1}))
    with pytest.raises(OSError, match="database is locked"):
        open_corpus(corpus.path)
    with pytest.raises(OSError, match="database is locked"):
        index(str(tmp_path / "posts.jsonl"), corpus.path)
    writer.execute("ROLLBACK")
    assert ids(corpus, "Oslo") == {"p0"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x"}\n[1]\n', "line 2: expected an object"),
        ("a.jsonl", b'\n{"id": 1, "body": "x"}\n', "line 2: expected text or tokens, found id, body"),
        ("a.jsonl", b'{"text": 3}\n', "line 1: text must be a string, found 3"),
        ("a.jsonl", b'{"tokens": "a b"}\n', "line 1: tokens must be a list of strings"),
        ("a.jsonl", b'{"tokens": ["a", 1]}\n', "line 1: tokens must be a string, found 1"),
        ("a.jsonl", b'{"text": "x", "id": true}\n', "line 1: id must be"),
        ("a.jsonl", b'{"text": "x", "date": "yesterday"}\n', "line 1: date must be as 2008-08-27"),
        ("a.jsonl", b'{"text": "x", "date": 12}\n', "line 1: date must be"),
        ("a.txt", b"good\nbad \xff line\n", "line 2 is not UTF-8: invalid start byte at byte 4"),
        ("a.txt", b"IMGID:12\nRT\tO\n", "hf-mner-aug convert"),
        ("a.txt", b"\n \n", "holds no post"),
        ("a.jsonl", b'{"text": ""}\n', "holds no post"),
        ("a.csv", b"x", "expected .txt, .jsonl, .ndjson"),
    ],
)
def test_a_source_that_is_wrong_is_named_with_its_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(said)):
        index(str(tmp_path / name), tmp_path / "c.db")


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        index(str(tmp_path / "none.txt"), tmp_path / "c.db")
    with pytest.raises(UsageError, match="there is no folder"):
        index(str(tmp_path / "none"), tmp_path / "c.db")
    assert not (tmp_path / "c.db").exists()


def test_a_text_file_has_a_post_on_each_line(tmp_path):
    (tmp_path / "tweets").mkdir()
    (tmp_path / "tweets" / "b.txt").write_bytes("\ufeffRome &amp; Oslo\r\n\r\nOslo\u2028two\n".encode())
    (tmp_path / "tweets" / "a.txt").write_bytes(b"Oslo\nRome & Oslo")
    report = index(str(tmp_path / "tweets"), tmp_path / "c.db")
    assert (report.read, report.added) == (4, 3)
    hits = {hit.text: hit for hit in open_corpus(tmp_path / "c.db").search(Query(phrases=("oslo",)))}
    assert set(hits) == {"Oslo", "Rome & Oslo", "Oslo\u2028two"}
    assert hits["Oslo"].id == hashlib.sha256(b"Oslo").hexdigest()[:16]
    assert {hit.source for hit in hits.values()} == {"tweets"}
