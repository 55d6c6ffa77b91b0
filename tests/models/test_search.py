"""The local corpus: what is found is what a scan finds, ranked as FTS5 ranks, and indexing survives anything."""

import datetime
import hashlib
import json
import multiprocessing
import pickle
import random
import re
import sqlite3
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
from conftest import TEXTS, parse, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA
from typer.testing import CliRunner

from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import Corrupt, DataError, UnknownName, UsageError
from hf_mner_aug.models.search import Hit, LocalCorpus, Query, Searcher, open_corpus, phrase_words, postings, words
from hf_mner_aug.models.search import corpus as searching

needs_pool = pytest.mark.skipif(not (DATA / "tweet_pool").is_dir(), reason=f"no tweet_pool in {DATA} ($MNER_DATA)")
UNSPACED = [(0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF)]
UNSPACED += [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF)]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def make(folder, rows, **options):
    """Return a corpus of posts, given as texts or as rows of JSON lines."""
    rows = [{"id": f"p{i}", "text": row} if isinstance(row, str) else row for i, row in enumerate(rows)]
    index(write_lines(folder / "posts.jsonl", rows), folder / "corpus.db", **options)
    return open_corpus(folder / "corpus.db")


def ids(corpus, *phrases, **options):
    return {hit.id for hit in corpus.search(Query(phrases=phrases, **options), 100_000)}


def scan_words(text):
    """Return a text's words, a character at a time: the rule as the docstring of ``words`` says it."""
    found, run = [], None
    for character in unicodedata.normalize("NFC", text.casefold()):
        if character.isspace() or ord(character) < 32 or character == "\x7f" or 0xD800 <= ord(character) < 0xE000:
            run = None
        elif run and unicodedata.category(character).startswith("M"):
            found[-1] += character
        elif any(first <= ord(character) <= last for first, last in UNSPACED):
            found.append(character)
            run = "character"
        elif character.isalnum() or character == "_":
            if run == "word":
                found[-1] += character
            else:
                found.append(character)
            run = "word"
        else:
            found.append(character)
            run = None
    return found


def scan(texts, phrase):
    """Return which texts hold a phrase."""
    sought = scan_words(phrase)
    while len(set(sought)) > len({"#", "@"} & set(sought)) and sought[0] in ("#", "@"):
        sought = sought[1:]
    holding = set()
    for name, text in texts.items():
        held = scan_words(text)
        if any(held[i : i + len(sought)] == sought for i in range(len(held))):
            holding.add(name)
    return holding


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@UCLAFootball wins #NBA", ["@", "uclafootball", "wins", "#", "nba"]),
        ("in the U.S.", ["in", "the", "u", ".", "s", "."]),
        ("Beyonce\u0301 Beyoncé Beyonce", ["beyoncé", "beyoncé", "beyonce"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("@real_Donald it's", ["@", "real_donald", "it", "'", "s"]),
        ("我爱New York 北京", ["我", "爱", "new", "york", "北", "京"]),
        ("ひらガナ", ["ひ", "ら", "ガ", "ナ"]),
        ("การเมือง", ["ก", "า", "ร", "เ", "มื", "อ", "ง"]),
        ("हिन्दी 서울에서", ["हिन्दी", "서울에서"]),
        ("❤️😂…", ["❤", "\ufe0f", "😂", "…"]),
        ("a\x00b\u2028c\x1fd", ["a", "b", "c", "d"]),
        (" \t\n", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected == scan_words(text)


def test_a_tokenised_text_has_the_words_it_had_before():
    text = "RT @UCLAFootball: Beyoncé's in the U.S. — 北京!! http://t.co/x1…"
    tokens = ["RT", "@UCLAFootball", ":", "Beyoncé", "'s", "in", "the", "U.S.", "—", "北", "京", "!", "!"]
    tokens += ["http://t.co/x1", "…"]
    assert words(" ".join(tokens)) == words(text) == [word for token in tokens for word in words(token)]


@pytest.mark.parametrize(
    "post", ["#Harry Potter", "# Harry Potter", "@Harry Potter", "@ Harry Potter", "HARRY POTTER's"]
)
@pytest.mark.parametrize("phrase", ["Harry Potter", "#Harry Potter", "@ harry potter"])
def test_a_head_before_the_phrase_makes_no_difference(tmp_path, post, phrase):
    assert ids(make(tmp_path, [f"so {post} it is"]), phrase) == {"p0"}


def test_what_stands_between_or_around_words_does(tmp_path):
    corpus = make(
        tmp_path, ["#HarryPotter", "Harry #Potter", "Harry, Potter", "Harry J. Potter", "Potter Harry", "harry"]
    )
    assert ids(corpus, "Harry Potter") == set()
    assert ids(corpus, "harry") == {"p1", "p2", "p3", "p4", "p5"}
    assert phrase_words("#@Ann") == ["ann"]
    assert phrase_words("@") == ["@"]


# ---------------------------------------------------------------- the same posts as a scan's

PIECES = [
    "harry",
    "Potter",
    "AND",
    "OR",
    "NOT",
    "NEAR(",
    ")",
    '"',
    "'",
    '""',
    "*",
    "^",
    ":",
    "-",
    "--",
    "+",
    "{",
    "}",
    "\\",
]
PIECES += [
    "#",
    "@",
    "_",
    "U.S.",
    "ß",
    "SS",
    "İ",
    "ſ",
    "Σ",
    "ς",
    "é",
    "e\u0301",
    "\u0301",
    "北",
    "京",
    "มื",
    "हि",
    "서",
    "😂",
]
PIECES += [
    "\ufe0f",
    "\u200d",
    "…",
    "\x00",
    "\x1f",
    "\x7f",
    "\u2028",
    "\xa0",
    "\ufffd",
    "\ud83d",
    "½",
    "²",
    "ǆ",
    "\u0345",
]
CHARACTER = st.characters(exclude_categories=["Cn", "Cs"])  # known to this Python, and so to regex
TEXT = st.lists(st.sampled_from(PIECES) | CHARACTER, min_size=1, max_size=8).flatmap(
    lambda pieces: st.lists(st.sampled_from(["", " "]), min_size=len(pieces), max_size=len(pieces)).map(
        lambda gaps: "".join(piece + gap for piece, gap in zip(pieces, gaps, strict=True))
    )
)


@given(TEXT)
@settings(max_examples=500)
def test_words_of_nasty_texts_are_those_of_the_rule(text):
    assert words(text) == scan_words(text)


@given(st.lists(TEXT, min_size=1, max_size=6), st.lists(TEXT, max_size=2), st.data())
@settings(max_examples=60)
def test_nasty_phrases_find_what_a_scan_finds(tmp_path_factory, texts, others, data):
    posts = {f"p{i}": text for i, text in enumerate(texts) if scan_words(text)}
    if not posts:
        return
    corpus = make(tmp_path_factory.mktemp("nasty"), [{"id": name, "text": text} for name, text in posts.items()])
    for text in texts:
        held = text.split(" ")
        first = data.draw(st.integers(0, len(held) - 1))
        others.append(" ".join(held[first : data.draw(st.integers(first + 1, len(held)))]))
    # Half a surrogate pair is stored as U+FFFD, which is a sign.
    stored = {name: re.sub("[\ud800-\udfff]", "\ufffd", text) for name, text in posts.items()}
    phrases = [phrase for phrase in others if scan_words(phrase)]
    for phrase in phrases:
        assert ids(corpus, phrase) == scan(stored, phrase), phrase
    if len(phrases) > 1:
        one, other = (scan(stored, phrase) for phrase in phrases[-2:])
        assert ids(corpus, *phrases[-2:]) == one & other
        assert ids(corpus, *phrases[-2:], require="any") == one | other


@pytest.mark.parametrize(
    "phrase",
    [
        'harry" OR "potter',
        '"; DROP TABLE posts; --',
        "') OR 1=1 --",
        "harry*",
        "^harry",
        "words : harry",
        "NEAR(harry potter, 5)",
        "harry AND potter",
        "NOT harry",
        "{words} : harry",
        "%",
        "?",
    ],
)
def test_nothing_in_a_phrase_is_an_operator(tmp_path, phrase):
    corpus = make(tmp_path, ["harry potter", "potter", "a post", f"this is {phrase} itself"])
    before = (tmp_path / "corpus.db").read_bytes()
    assert ids(corpus, phrase) == {"p3"}
    assert ids(corpus, phrase, text=phrase) == {"p3"}
    assert [hit.id for hit in corpus.search(Query(text=phrase), 1)] == ["p3"]
    assert (tmp_path / "corpus.db").read_bytes() == before


@pytest.fixture(scope="session")
def pool(tmp_path_factory):
    """Real tweets, indexed, and their texts by id."""
    path = tmp_path_factory.mktemp("pool") / "pool.db"
    index(str(DATA / "tweet_pool" / "rigo.txt"), path)
    with sqlite3.connect(path) as connection:
        return open_corpus(path), dict(connection.execute("SELECT id, text FROM posts"))


@needs_pool
def test_phrases_of_real_tweets_find_what_a_scan_finds(pool):
    corpus, texts = pool
    lines = set((DATA / "tweet_pool" / "rigo.txt").read_text("utf-8").split("\n")) - {""}
    assert len(corpus) == len(texts) == len(lines)
    held = {name: f" {' '.join(scan_words(text))} " for name, text in texts.items()}
    draw = random.Random(1)
    names = list(texts)
    for _ in range(200):
        found = texts[draw.choice(names)].split()
        first = draw.randrange(len(found))
        phrase = " ".join(found[first : first + draw.choice([1, 1, 2, 3])])
        sought = f" {' '.join(phrase_words(phrase))} "
        expected = {name for name, text in held.items() if sought in text}
        if len(expected) < 1000:
            assert expected, phrase
            assert ids(corpus, phrase) == expected, phrase


# ---------------------------------------------------------------- ranking


def test_the_score_is_bm25(tmp_path):
    corpus = make(tmp_path, ["paris in spring", "paris paris", "rain in the city of oslo", "oslo and rome", "snow"])
    # 5 posts of 3, 2, 6, 3 and 1 words: 3 in the mean. paris: 2 posts, ln(3.5 / 2.5); in: 2; spring: 1, ln(4.5 / 1.5).
    paris, spring = 0.3364722366, 1.0986122887
    first, second = corpus.search(Query(text="Paris spring", phrases=("paris",)))
    assert (first.id, second.id) == ("p0", "p1")
    assert first.score == pytest.approx(paris + spring)  # 1 time in a post of mean length: 2.2 / (1 + 1.2)
    assert second.score == pytest.approx(paris * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 2 / 3)))


def test_a_word_in_most_posts_counts_next_to_nothing(tmp_path):
    corpus = make(tmp_path, ["a b", "a c", "a d", "a b"])
    best = corpus.search(Query(text="a c"))[0]
    assert (best.id, best.score < 1e-5) == ("p1", False)
    assert [hit.id for hit in corpus.search(Query(text="a"))] == ["p0", "p1", "p2", "p3"], "ties go by the order"
    assert all(0 < hit.score < 1e-5 for hit in corpus.search(Query(text="a")))


def test_the_best_of_a_text_are_those_of_all_posts(tmp_path):
    draw = random.Random(5)
    frequent = [f"w{n}" for n in range(12)]
    texts = [" ".join(draw.choices(frequent, [2.0**-n for n in range(12)], k=draw.randint(1, 9))) for _ in range(600)]
    corpus = make(tmp_path, texts)
    for _ in range(40):
        query = Query(text=" ".join(draw.sample(frequent, 6)))
        every = [(hit.id, hit.score) for hit in corpus.search(query, 600)]
        assert every == sorted(every, key=lambda found: (-found[1], int(found[0][1:])))
        for limit in (1, 7, 50):
            assert [(hit.id, hit.score) for hit in corpus.search(query, limit)] == every[:limit]


def test_posts_with_nothing_but_common_words_are_not_read(tmp_path, monkeypatch):
    corpus = make(tmp_path, [*["rare word"] * 3, *["the word"] * 50, *["the"] * 50])
    read = []
    scored = searching._Reader._scored
    counting = lambda self, found, counts: scored(self, (read.append(row) or row for row in found), counts)  # noqa: E731
    monkeypatch.setattr(searching._Reader, "_scored", counting)
    assert [hit.id for hit in corpus.search(Query(text="the rare word"), 3)] == ["p0", "p1", "p2"]
    assert len(read) == 3


@pytest.mark.parametrize("kept", [postings.KEPT, 1_000])
def test_lists_of_posts_give_the_scores_that_their_texts_give(tmp_path, monkeypatch, kept):
    draw = random.Random(7)
    names = [f"w{n}" for n in range(40)]
    posts = [" ".join(draw.choices(names, [n + 1 for n in range(40)], k=draw.choice([2, 9, 200]))) for _ in range(600)]
    corpus = make(tmp_path, posts)
    queries = [
        Query(text=" ".join(draw.sample(names, 9)), phrases=tuple(draw.sample(names, 2)), require="any")
        for _ in range(40)
    ]
    with monkeypatch.context() as patched:
        patched.setattr(searching, "POSTS", 0)  # reads texts
        expected = [[(hit.id, hit.score) for hit in corpus.search(query, 50)] for query in queries]
    monkeypatch.setattr(postings, "KEPT", kept)
    assert [[(hit.id, hit.score) for hit in corpus.search(query, 50)] for query in queries] == expected
    lists = corpus._reader()._postings
    assert sum(len(holders) for holders, _ in lists._kept.values()) == lists._n_kept <= kept


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM post_words_docsize WHERE id = 1",
        "UPDATE post_words_docsize SET sz = 'long'",
        "UPDATE post_words_docsize SET sz = zeroblob(100)",
        "INSERT INTO words VALUES ('snow', 1)",
    ],
)
def test_lists_that_are_not_those_of_the_posts_are_said_in_a_line(tmp_path, damage):
    corpus = make(tmp_path, ["Oslo one", "Oslo two", "Rome"])
    with sqlite3.connect(corpus.path) as connection:
        connection.execute(damage)
    with pytest.raises(
        Corrupt, match=r"corpus\.db is damaged \(the (places|length) of .*\): delete it and index again"
    ):
        corpus.search(Query(text="Oslo snow", phrases=("Oslo",), require="any"))


@needs_pool
@pytest.mark.parametrize("require", ["all", "any"])
def test_the_order_is_that_of_fts5(pool, require):
    corpus, texts = pool
    connection = sqlite3.connect(corpus.path)
    draw = random.Random(2)
    names, compared = list(texts), 0
    for name in draw.sample(names, 40):
        text = texts[name]
        phrases = tuple(draw.sample(re.findall(r"\w{3,}", text) or [text], 1))
        hits = corpus.search(Query(text=text, phrases=phrases, require=require), 50)
        asked = list(dict.fromkeys(words(text) + words(phrases[0])))
        match = " OR ".join('"{}"'.format(word.replace('"', '""')) for word in asked)
        sql = (
            "SELECT posts.id, -bm25(post_words) FROM post_words JOIN posts ON posts.rowid = post_words.rowid "
            "WHERE post_words MATCH ? ORDER BY bm25(post_words), posts.rowid"
        )
        held = ids(corpus, *phrases)
        expected = [(found, score) for found, score in connection.execute(sql, (match,)) if found in held][:50]
        assert [(hit.id, hit.score) for hit in hits] == expected
        compared += len(hits)
    assert compared > 300


@needs_pool
def test_the_best_scores_are_those_of_bm25s(pool):
    bm25s = pytest.importorskip("bm25s", reason="bm25s is not installed (extra dev)")
    corpus, texts = pool
    names = list(texts)
    peer = bm25s.BM25(k1=1.2, b=0.75, method="robertson")
    peer.index([words(text) for text in texts.values()], show_progress=False)
    for name in random.Random(3).sample(names, 30):
        _, scores = peer.retrieve([list(dict.fromkeys(words(texts[name])))], corpus=names, k=10, show_progress=False)
        hits = corpus.search(Query(text=texts[name]))
        # Of posts that tie, either may be there. bm25s leaves out the constant factor k1 + 1.
        assert [hit.score for hit in hits] == pytest.approx([2.2 * score for score in scores[0]], abs=1e-3)


def test_of_a_long_text_the_rarest_words_count(tmp_path):
    common = [f"w{i}" for i in range(100)]
    corpus = make(tmp_path, [" ".join(common), " ".join(common[:60]), "rare", "rare w0", "none of them"])
    hits = corpus.search(Query(text=" ".join([*common, "absent", "rare"])))
    # 101 of the words are in the corpus; w60 to w99 (one post each), rare (two) and 23 of the others are the rarest 64.
    assert {hit.id for hit in hits} == {"p0", "p1", "p2", "p3"}
    assert hits[0].id == "p0"
    monkey = searching.TERMS
    try:
        searching.TERMS = 40
        assert {hit.id for hit in corpus.search(Query(text=" ".join([*common, "rare"])))} == {"p0"}
    finally:
        searching.TERMS = monkey


def test_a_text_of_600_words_and_300_phrases_are_no_trouble(tmp_path):
    text = " ".join(f"word{i}" for i in range(600))
    corpus = make(tmp_path, [text, "word1 word2"])
    phrases = tuple(f"word{i} word{i + 1}" for i in range(300))
    assert ids(corpus, *phrases, text=text) == {"p0"}
    assert ids(corpus, *phrases, text=text, require="any") == {"p0", "p1"}


def test_signs_alone_can_be_asked_for(tmp_path):
    corpus = make(tmp_path, ["😂 so funny 😂", "😂", "…", "so"])
    assert [hit.id for hit in corpus.search(Query(text="😂"))] == ["p1", "p0"]
    assert ids(corpus, "😂") == {"p0", "p1"}
    assert corpus.search(Query(text="🤖 absent")) == []


# ---------------------------------------------------------------- what a hit tells, and filters

DATED = [
    {"id": "1", "text": "Oslo one", "url": "https://twitter.com/a/status/1", "date": "2017-01-31"},
    {
        "id": "2",
        "text": "Oslo two",
        "url": "https://mobile.twitter.com/a/status/2",
        "date": "2017-02-01T23:30:00-05:00",
    },
    {"id": "3", "text": "Oslo three", "url": "https://www.weibo.com/3", "date": "Wed Aug 27 13:08:45 +0000 2008"},
    {"id": "4", "text": "Oslo four", "url": "https://nottwitter.com/4", "licence": "CC-BY-4.0"},
    {"id": "5", "text": "Oslo five"},
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sites": ("twitter.com",)}, {"1", "2"}),
        ({"sites": ("www.Twitter.com",)}, {"1", "2"}),
        ({"sites": ("weibo.com", "mobile.twitter.com")}, {"2", "3"}),
        ({"sites": ("com",)}, {"1", "2", "3", "4"}),
        ({"since": datetime.date(2017, 1, 31)}, {"1", "2"}),
        ({"since": datetime.date(2017, 2, 1)}, {"2"}),
        ({"until": datetime.date(2017, 2, 1)}, {"1", "3"}),
        ({"until": datetime.date(2017, 2, 2)}, {"1", "2", "3"}),
        ({"since": datetime.date(2008, 8, 27), "until": datetime.date(2008, 8, 27)}, {"3"}),
        ({"since": datetime.date(2000, 1, 1), "sites": ("twitter.com",), "text": "two"}, {"1", "2"}),
    ],
)
@pytest.mark.parametrize("require", ["all", "any"])
def test_sites_and_days_narrow_the_search(tmp_path, options, expected, require):
    assert ids(make(tmp_path, DATED), "Oslo", require=require, **options) == expected


def test_a_hit_tells_where_it_is_from(tmp_path):
    corpus = make(tmp_path, DATED, licence="CC0-1.0", site="www.Twitter.com", name="weather")
    by_id = {hit.id: hit for hit in corpus.search(Query(phrases=("Oslo",)))}
    assert by_id["2"].date == "2017-02-02T04:30:00Z"
    assert by_id["3"].date == "2008-08-27T13:08:45Z"
    assert by_id["1"].origin() == {
        "post_id": "1",
        "source": "weather",
        "url": "https://twitter.com/a/status/1",
        "date": "2017-01-31",
        "licence": "CC0-1.0",
    }
    assert by_id["4"].licence == "CC-BY-4.0", "a post's own licence goes before the one given"
    assert ids(corpus, "Oslo", sites=("twitter.com",)) == {"1", "2", "5"}, "a post without a URL is of the site given"
    searcher: Searcher = corpus
    assert all(isinstance(hit, Hit) for hit in searcher.search(Query(text="Oslo")))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing to search for"),
        ({"text": " \t"}, "nothing to search for"),
        ({"phrases": ("Oslo", "")}, "phrase '' has no word"),
        ({"phrases": ("\ud83d",)}, "has no word"),
        ({"phrases": "Oslo"}, "found one string"),
        ({"text": "a", "require": "most"}, "unknown require 'most'"),
        ({"text": "a", "sites": ("twitter.com/x",)}, "must be a host"),
        ({"text": "a", "sites": ("' OR 1=1 --",)}, "must be a host"),
        ({"text": "a", "since": datetime.date(2017, 2, 1), "until": datetime.date(2017, 1, 1)}, "is after until"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        Query(**options)


def test_limit(tmp_path):
    corpus = make(tmp_path, ["Oslo"] * 30)
    assert len(corpus) == 30
    assert len(corpus.search(Query(phrases=("Oslo",)), 7)) == 7
    with pytest.raises(UsageError, match="at least 1, found 0"):
        corpus.search(Query(phrases=("Oslo",)), 0)


# ---------------------------------------------------------------- pictures


@pytest.fixture
def folder(tmp_path, mner):
    """The drawn set as a dataset's folder."""
    (tmp_path / "drawn").mkdir()
    mner.select(range(14)).to_parquet(tmp_path / "drawn" / "train.parquet")
    mner.select(range(14, 20)).to_parquet(tmp_path / "drawn" / "test.parquet")
    (tmp_path / "drawn" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    return tmp_path / "drawn"


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


# ---------------------------------------------------------------- many processes


def first_text(corpus):
    return corpus.search(Query(phrases=("Oslo",)))[0].text


def test_a_corpus_is_sent_to_processes_and_threads_by_its_fingerprint(tmp_path):
    corpus = make(tmp_path, ["Oslo one", "Rome"])
    before = pickle.dumps(corpus)
    assert first_text(corpus) == "Oslo one"
    assert pickle.dumps(corpus) == before
    assert pickle.loads(before) == corpus == open_corpus(str(corpus.path))
    assert corpus.fingerprint.encode() in before
    assert len(before) < 300
    found = []
    threads = [threading.Thread(target=lambda: found.append(first_text(corpus))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["Oslo one"] * 4
    with multiprocessing.get_context("fork").Pool(2) as workers:
        assert workers.map(first_text, [corpus] * 4) == ["Oslo one"] * 4


def test_a_corpus_that_has_grown_is_another(tmp_path):
    corpus = make(tmp_path, ["Oslo one", "Rome"])
    assert first_text(corpus) == "Oslo one"
    grown = make(tmp_path, ["Oslo one", "Rome", "Oslo two"])
    with pytest.raises(
        UsageError, match=f"expected fingerprint {corpus.fingerprint[:12]}, found {grown.fingerprint[:12]}"
    ):
        first_text(corpus)
    assert ids(grown, "Oslo") == {"p0", "p2"}
    with pytest.raises(UsageError, match="there is no corpus"):
        LocalCorpus(tmp_path / "none.db", "").search(Query(text="a"))


def test_a_corpus_is_only_read(tmp_path):
    corpus = make(tmp_path, ["Oslo one"])
    (tmp_path / "corpus.db").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert first_text(open_corpus(corpus.path)) == "Oslo one"
        assert sorted(file.name for file in tmp_path.iterdir()) == ["corpus.db", "posts.jsonl"]
    finally:
        tmp_path.chmod(0o755)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        corpus._reader()._connection.execute("DELETE FROM posts")


def test_the_command_line(tmp_path, folder):
    from hf_mner_aug.cli import _spread, app

    arguments = ["index", str(folder), "--out", str(tmp_path / "c.db"), "--splits", "train", "test", "--name", "drawn"]
    ran = CliRunner().invoke(app, _spread(arguments))
    assert ran.exit_code == 0, ran.output
    assert "20 posts read, 20 added, 0 there already; 20 in" in ran.output
    corpus = open_corpus(tmp_path / "c.db")
    assert f"content fingerprint {corpus.fingerprint}" in ran.output
    assert {hit.licence for hit in corpus.search(Query(text="Paris"))} == {"cc-by-4.0"}
