"""The local corpus: what is found is what a scan finds, ranked as FTS5 ranks, and indexing survives anything."""

import datetime
import multiprocessing
import pickle
import random
import re
import sqlite3
import threading
import unicodedata

import pytest
import small_corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA
from small_corpus import ids, make
from typer.testing import CliRunner

from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import Corrupt, UsageError
from hf_mner_aug.models.search import Hit, LocalCorpus, Query, Searcher, open_corpus, phrase_words, postings, words
from hf_mner_aug.models.search import corpus as searching

folder = small_corpus.folder  # fixtures

needs_pool = pytest.mark.skipif(not (DATA / "tweet_pool").is_dir(), reason=f"no tweet_pool in {DATA} ($MNER_DATA)")
UNSPACED = [(0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF)]
UNSPACED += [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF)]


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
