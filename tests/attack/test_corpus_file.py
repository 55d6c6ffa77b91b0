"""A corpus file from a stranger: nothing in it is run, nothing takes for ever, and what is wrong is said in a line."""

import contextlib
import json
import random
import shutil
import sqlite3
import time

import pytest

from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import Corrupt, UsageError
from hf_mner_aug.models.search import Query, open_corpus
from hf_mner_aug.models.search import corpus as search

POSTS = [
    {"id": "1", "text": "Adele sings in Paris tonight", "date": "2015-03-01", "url": "https://twitter.com/a/status/1"},
    {"id": "2", "tokens": ["Paris", "is", "far"], "image": "https://example.com/2.jpg"},
    {"id": "3", "text": "nobody in London"},
]
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"


@pytest.fixture
def corpus(tmp_path):
    """Return the file of a corpus of three posts."""
    source = tmp_path / "posts.jsonl"
    source.write_text("".join(json.dumps(post) + "\n" for post in POSTS))
    index(str(source), tmp_path / "corpus.db")
    return tmp_path / "corpus.db"


def change(path, *statements, schema=False):
    """Change a file as anybody can who has SQLite."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if schema:
            connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(*([statement] if isinstance(statement, str) else statement))


def ask(path):
    """Ask a corpus everything that the package asks of one."""
    found = open_corpus(path)
    hits = found.search(Query(text="Adele Paris London nobody", phrases=("Paris",)))
    found.search(Query(text="adele paris london far"))
    found.search(Query(phrases=("London", "Paris"), require="any", sites=("twitter.com",)))
    return hits, found.posts(["1", "2", "3"]), len(found)


def more(tmp_path):
    """Return a source of one more post."""
    (tmp_path / "more.txt").write_text("One more post of Oslo\n")
    return str(tmp_path / "more.txt")


def test_a_good_corpus_is_read_and_grows(corpus, tmp_path):
    hits, found, n_posts = ask(corpus)
    assert ([hit.id for hit in hits], sorted(found), n_posts) == (["1", "2"], ["1", "2", "3"], 3)
    assert found["2"][0].tokens == ("Paris", "is", "far")
    assert found["2"][0].image_urls == ("https://example.com/2.jpg",)
    change(corpus, "VACUUM")
    assert index(more(tmp_path), corpus).added == 1
    assert len(open_corpus(corpus)) == 4


PROGRAMS = {
    "a view": [f"CREATE VIEW evil AS {ENDLESS} SELECT i FROM n"],
    "a view for a table": [
        "ALTER TABLE posts RENAME TO kept",
        f"CREATE VIEW posts AS SELECT rowid, * FROM kept WHERE ({ENDLESS} SELECT count(*) FROM n)",
    ],
    "a trigger on inserts": [
        f"CREATE TRIGGER evil AFTER INSERT ON posts BEGIN DELETE FROM posts WHERE 1 IN ({ENDLESS} SELECT i FROM n); END"
    ],
    "a trigger on the state": ["CREATE TRIGGER evil BEFORE UPDATE ON state BEGIN SELECT RAISE(IGNORE); END"],
    "an index": ["CREATE INDEX evil ON posts (date)"],
    "an index on an expression": ["CREATE INDEX evil ON posts (lower(text))"],
    "a partial index": ["CREATE INDEX evil ON posts (date) WHERE length(text) > 3"],
    "a table": ["CREATE TABLE evil (x)"],
    "another search table": ["CREATE VIRTUAL TABLE evil USING fts5(x)"],
    "a generated column": ["ALTER TABLE posts ADD COLUMN evil TEXT AS (hex(zeroblob(100000000)))"],
    "a column with a default": ["ALTER TABLE posts ADD COLUMN evil TEXT DEFAULT 'x'"],
    "a renamed column": ["ALTER TABLE posts RENAME COLUMN licence TO license"],
    "no table of words": ["DROP TABLE words"],
    "statistics": ["ANALYZE"],
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_file_with_other_tables_or_any_program_is_refused(corpus, tmp_path, program):
    change(corpus, *PROGRAMS[program])
    before = corpus.read_bytes()
    begun = time.monotonic()
    for use in (lambda: open_corpus(corpus), lambda: index(more(tmp_path), corpus)):
        with pytest.raises(Corrupt, match="differs from an indexed corpus at") as caught:
            use()
        assert str(corpus) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert corpus.read_bytes() == before
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE TABLE words (word TEXT PRIMARY KEY, posts INTEGER NOT NULL CHECK (abs(posts) > 0)) WITHOUT ROWID",
        "CREATE TABLE words (word TEXT COLLATE NOCASE PRIMARY KEY, posts INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE words (word TEXT PRIMARY KEY, posts INTEGER NOT NULL) WITHOUT ROWID -- \x1b[31m\nred",
        "no SQL at all",
        None,
    ],
)
def test_a_rewritten_definition_is_refused(corpus, definition):
    change(corpus, ("UPDATE sqlite_schema SET sql = ? WHERE name = 'words'", (definition,)), schema=True)
    with pytest.raises(UsageError) as caught:
        open_corpus(corpus)
    assert str(corpus) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_search_over_a_strangers_view_ends_all_the_same(corpus, monkeypatch):
    change(corpus, *PROGRAMS["a view for a table"])
    monkeypatch.setattr(search, "_schema", lambda connection: search._expected_schema())
    monkeypatch.setattr(search, "QUERY_SECONDS", 0.3)
    begun = time.monotonic()
    with pytest.raises(Corrupt, match=r"takes more than 0\.3 s to answer"):
        open_corpus(corpus).search(Query(phrases=("Paris",)))
    assert time.monotonic() - begun < 5


VALUES = {
    "no state": ["DELETE FROM state"],
    "two states": ["INSERT INTO state SELECT * FROM state"],
    "a state of text": ["UPDATE state SET posts = 'many'"],
    "a state of a fraction": ["UPDATE state SET posts = 0.5"],
    "more posts than words": ["UPDATE state SET posts = 9223372036854775807"],
    "no words": ["UPDATE state SET words = 0"],
    "fewer than no posts": ["UPDATE state SET posts = -3"],
    "a fingerprint of bytes": ["UPDATE state SET fingerprint = x'ff00'"],
    "a fingerprint that is not UTF-8": ["UPDATE state SET fingerprint = CAST(x'ff00' AS TEXT)"],
    "a setting of the search table": ["INSERT INTO post_words_config VALUES ('rank', 'evil()')"],
    "more posts than there are hold a word": ["UPDATE words SET posts = 1000 WHERE word = 'paris'"],
    "fewer than none hold a word": ["UPDATE words SET posts = -1"],
    "a count of text": ["UPDATE words SET posts = 'x'"],
    "words of bytes": ["UPDATE post_words_content SET c0 = x'ff00'"],
    "words that are not UTF-8": ["UPDATE post_words_content SET c0 = CAST(x'70617269732aff' AS TEXT)"],
    "no words at all": ["UPDATE post_words_content SET c0 = NULL"],
    "no posts": ["DELETE FROM posts"],
    "a text of bytes": ["UPDATE posts SET text = x'ff00'"],
    "a text that is not UTF-8": ["UPDATE posts SET text = CAST(x'ff00' AS TEXT)"],
    "a URL of bytes": ["UPDATE posts SET url = x'00'"],
    "tokens that are no JSON": ["UPDATE posts SET tokens = '['"],
    "tokens that are no list": ["UPDATE posts SET tokens = '{\"a\": 1}'"],
    "tokens that are numbers": ["UPDATE posts SET tokens = '[1, 2]'"],
    "tokens nested deep": [("UPDATE posts SET tokens = ?", ("[" * 100_000,))],
    "tokens of a number of 5,000 digits": [("UPDATE posts SET tokens = ?", (f"[{'9' * 5000}]",))],
    "pictures that are no objects": ["UPDATE posts SET images = '[7]'"],
    "pictures without an address": ["UPDATE posts SET images = '[{}]'"],
    "a picture that is not there": ['UPDATE posts SET images = \'[{"digest": "aa", "name": "a.jpg"}]\''],
    "a picture's name that is a number": ['UPDATE posts SET images = \'[{"digest": "aa", "name": 7}]\''],
    "a picture of text": [
        'UPDATE posts SET images = \'[{"digest": "aa", "name": "a.jpg"}]\'',
        "INSERT INTO pictures VALUES ('aa', 'text', NULL)",
    ],
    "a picture's path that is a number": [
        'UPDATE posts SET images = \'[{"digest": "aa", "name": "a.jpg"}]\'',
        "INSERT INTO pictures VALUES ('aa', NULL, x'41')",
    ],
    "a torn search index": ["UPDATE post_words_data SET block = x'00ff00ff00ff'"],
    "an empty search index": ["DELETE FROM post_words_data"],
}


@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_no_corpus_has_is_said_in_a_line(corpus, value):
    change(corpus, *VALUES[value])
    with pytest.raises(Corrupt) as caught:
        ask(corpus)
    assert str(corpus) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["no state", "two states", "a state of text", "a fingerprint of bytes"])
def test_nothing_is_written_into_a_file_of_such_values(corpus, tmp_path, value):
    change(corpus, *VALUES[value])
    before = corpus.read_bytes()
    with pytest.raises(Corrupt):
        index(more(tmp_path), corpus)
    assert corpus.read_bytes() == before


def test_a_value_is_bounded(corpus, monkeypatch):
    monkeypatch.setitem(search.LIMITS, sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000)
    change(corpus, "UPDATE posts SET text = hex(zeroblob(2000000))")
    with pytest.raises(Corrupt, match="too big"):
        ask(corpus)


def test_names_of_unfinished_sources_are_cut(corpus):
    rows = ", ".join(f"('{'x' * 5000}{i}\x1b', 0)" for i in range(200))
    change(corpus, f"INSERT INTO sources VALUES {rows}")
    with pytest.raises(UsageError, match="is incomplete") as caught:
        open_corpus(corpus)
    assert len(str(caught.value)) < 2_000
    assert "\x1b" not in str(caught.value)


def test_the_connection_reads_and_nothing_else(corpus, tmp_path):
    connection = search._Reader(corpus)._connection
    for statement in (
        "DELETE FROM posts",
        "CREATE TEMP TABLE t AS SELECT 1",
        f"ATTACH '{tmp_path / 'other.db'}' AS other",
        f"VACUUM INTO '{tmp_path / 'copy.db'}'",
        "SELECT load_extension('evil')",
    ):
        with pytest.raises(sqlite3.Error):
            connection.execute(statement)
    assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.db", "posts.jsonl"}


def outcome(use, *given):
    """Return the outcome of using a damaged file: an answer, or the type of an error for the user."""
    try:
        use(*given)
    except (UsageError, OSError) as error:
        return type(error).__name__ + ", of several lines" * ("\n" in str(error))
    return "answer"


def damage(corpus, tmp_path, trials, seed):
    """Return the counts of the outcomes of damaged copies of a file."""
    stream = random.Random(seed)
    data, source = corpus.read_bytes(), more(tmp_path)
    counts: dict[str, int] = {}
    for trial in range(trials):
        harmed = bytearray(data)
        for _ in range(stream.choice([1, 1, 4, 64])):
            harmed[stream.randrange(len(harmed))] = stream.choice([0, 255, stream.randrange(256)])
        if trial % 10 == 0:
            harmed = harmed[: stream.randrange(len(harmed))]
        path = tmp_path / f"harmed{trial}.db"
        path.write_bytes(harmed)
        for found in (outcome(ask, path), outcome(index, source, path)):
            counts[found] = counts.get(found, 0) + 1
        path.unlink()
    return counts


def test_bytes_at_random_give_an_answer_or_a_line(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "QUERY_SECONDS", 5.0)
    counts = damage(corpus, tmp_path, 40, seed=1)
    assert sum(counts.values()) == 80
    assert counts["Corrupt"] + counts["UsageError"] > 15
    assert set(counts) <= {"answer", "Corrupt", "UsageError", "OSError"}


@pytest.mark.attack
def test_many_bytes_at_random(corpus, tmp_path, monkeypatch):
    """2,000 files with bytes that are not those written, or cut short: no traceback, no hang, no crash."""
    monkeypatch.setattr(search, "QUERY_SECONDS", 5.0)
    counts = damage(corpus, tmp_path, 2_000, seed=2)
    for found, n in sorted(counts.items()):
        print(f"{n:6} {found}")
    assert sum(counts.values()) == 4_000
    assert set(counts) <= {"answer", "Corrupt", "UsageError", "OSError"}


def test_a_copy_of_a_file_is_as_good(corpus, tmp_path):
    shutil.copy(corpus, tmp_path / "copy.db")
    assert ask(tmp_path / "copy.db") == ask(corpus)
