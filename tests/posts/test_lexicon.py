import sys

import numpy as np
import pytest
from conftest import parse
from hypothesis import given
from hypothesis import strategies as st
from places import DATA
from scipy.sparse import random as random_matrix
from sklearn.decomposition import TruncatedSVD

from hf_mner_aug.exceptions import MissingExtra
from hf_mner_aug.posts import lexicon
from hf_mner_aug.posts.lexicon import (
    LabelCounts,
    Texts,
    _largest,
    _reduce,
    common_words,
    entity_key,
    is_link,
    match_case,
    mention_counts,
    nearest_words,
    ordinary_words,
    ppmi,
    repeat_by_count,
    tag_keys,
    wordnet_synonyms,
)
from hf_mner_aug.schema import Entity, Post, Relation


def post(text):
    return Post("p", *parse(text))


def ordinary(text):
    found = post(text)
    return [found.tokens[i] for i in ordinary_words(found)]


# ---------------------------------------------------------------- counts


POSTS = [
    post("see [PER Paris Hilton] in [LOC Paris]"),
    post("[PER Paris Hilton] in [LOC New York]"),
    post("see see [LOC Paris]"),
]


def test_tags_of_words():
    assert tag_keys(POSTS[0]) == ["O", "B-PER", "I-PER", "O", "B-LOC"]
    fine = Post("p", ["a", "b", "c"], (Entity(0, 2, "PER", "actor"), Entity(2, 3, "LOC")))
    assert tag_keys(fine) == ["B-PER/actor", "I-PER/actor", "B-LOC"]
    assert [entity_key(e) for e in fine.entities] == ["PER/actor", "LOC"]


def words_of(posts):
    counts = LabelCounts()
    assert list(counts.counting(posts)) == list(posts)
    return counts.words()


def test_words_are_counted_by_tag():
    assert words_of(POSTS) == {
        "O": {"in": 2, "see": 3},
        "B-PER": {"Paris": 2},
        "I-PER": {"Hilton": 2},
        "B-LOC": {"New": 1, "Paris": 2},
        "I-LOC": {"York": 1},
    }
    assert words_of([]) == {}


def test_mention_counts_by_hand():
    assert mention_counts(POSTS) == {
        "PER": [(["Paris", "Hilton"], 2)],
        "LOC": [(["New", "York"], 1), (["Paris"], 2)],
    }


def test_repeat_by_count():
    assert repeat_by_count({"a": 2, "b": 1}.items()) == ["a", "a", "b"]
    assert repeat_by_count([(["New", "York"], 1), (["Paris"], 2)]) == [["New", "York"], ["Paris"], ["Paris"]]


# ---------------------------------------------------------------- which words are ordinary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Twitter-2015 keeps handles, hashtags and URLs whole.
        ("RT @UCLAFootball : good win ! #GoBruins http://t.co/x1", ["good", "win"]),
        # Twitter-2017 splits them, and a URL after http://t.
        ("RT @ UCLAFootball : good win ! # GoBruins http://t. co/x1", ["good", "win"]),
        ("visit www.nba.com or HTTPS://T.CO now", ["visit", "or", "now"]),
        ("we love [LOC New York] , don't we 2day 24/7", ["we", "love", "don't", "we", "2day", "24/7"]),
        ("so 😂 … -- \u00a0 ️ fine", ["so", "fine"]),
        ("rt is a word , RT is none", ["rt", "is", "a", "word", "is", "none"]),
        ("at 5 p.m. tonight . fine", ["at", "5", "p.m.", "tonight", "fine"]),
        ("mail me@home #", ["mail", "me@home"]),
        ("中文 推文 @用户 #标签", ["中文", "推文"]),
        ("[PER Jordan]", []),
        ("", []),
    ],
)
def test_ordinary_words(text, expected):
    assert ordinary(text) == expected if text else ordinary_words(Post("p", [])) == []


def test_heads_and_tails_are_not_ordinary():
    assert ordinary_words(Post("p", list("abcd"), relation=Relation((0, 1), (2, 3), "r"))) == [1, 3]


@pytest.mark.parametrize("word", ["http://t.co/x", "https://a.b", "HTTP://x", "www.x.com", "http:"])
def test_links(word):
    assert is_link(word)
    assert not is_link(word[1:])


@pytest.mark.skipif(not (DATA / "twitter2017").is_dir(), reason=f"no real data in {DATA} ($MNER_DATA)")
@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
def test_no_handle_link_or_label_is_ordinary_in_real_tweets(name):
    from hf_mner_aug.readers import read
    from hf_mner_aug.schema import Codec

    reading = read(name, DATA / name)
    codec = Codec(reading.features)
    n_words = n_ordinary = 0
    for row in reading.rows("validation"):
        found = codec.to_post(row)
        chosen = ordinary_words(found)
        n_words += len(found.tokens)
        n_ordinary += len(chosen)
        for i in chosen:
            before = found.tokens[i - 1] if i else ""
            assert "://" not in found.tokens[i]
            assert found.tokens[i][0] not in "@#"
            assert before not in ("@", "#")
            assert row["ner_tags"][i] == 0
    assert 0.4 < n_ordinary / n_words < 0.9


# ---------------------------------------------------------------- case


@pytest.mark.parametrize(
    ("word", "like", "expected"),
    [
        ("nice", "good", "nice"),
        ("nice", "Good", "Nice"),
        ("nice", "GOOD", "NICE"),
        ("nice", "I", "Nice"),
        ("nice", "gOOD", "nice"),
        ("nice", "iPhone", "nice"),
        ("nice", "7up", "nice"),
        ("NYC", "good", "NYC"),
        ("straße", "GUT", "STRASSE"),
        ("", "Good", ""),
    ],
)
def test_match_case(word, like, expected):
    assert match_case(word, like) == expected


@given(st.text(st.characters(categories=["Ll", "Lu"]), min_size=1))
def test_match_case_of_a_word_like_itself(word):
    assert match_case(word, word) in (word, word.upper())


# ---------------------------------------------------------------- nearest words


def corpus():
    """Animals and drinks: words of a kind stand in the same places, in different company."""
    animals, drinks = ("cat", "dog", "cow"), ("tea", "milk", "beer")
    return [
        *(post(f"the {a} runs fast {b}ward") for a in animals for b in ("home", "wood", "back", "for")),
        *(post(f"she drinks some {d} every {b}") for d in drinks for b in ("day", "night", "hour", "week")),
    ]


def test_nearest_words_stand_in_the_same_places():
    nearest = nearest_words(corpus(), neighbours=2)
    for kind in ({"cat", "dog", "cow"}, {"tea", "milk", "beer"}):
        for word in kind:
            assert set(nearest[word]) == kind - {word}


@pytest.mark.parametrize("n", [1, 4, 5, 6, 300, 2_000, 20_001])
@pytest.mark.parametrize("step", [0.1, 4e-7])  # of values that rounding keeps apart, and of some that it joins
def test_the_largest_are_those_of_a_stable_sort_of_rounded_values(n, step):
    values = np.random.default_rng(n).integers(-n, n, n) * step
    rounded = np.round(values, 6)
    for k in (1, 5):
        places = np.argsort(-rounded, kind="stable")[:k]
        assert _largest(values, k) == [(i, rounded[i]) for i in places.tolist()]


def test_nearest_words_are_frequent_unlabelled_and_not_the_word_itself():
    posts = [*corpus(), *(post("the [PER Cat] runs fast @cat") for _ in range(9)), post("the emu runs fast")]
    nearest = nearest_words(posts, neighbours=3)
    assert "emu" not in nearest  # once, less than min_count
    assert "emu" in nearest_words(posts, neighbours=3, min_count=1)
    named = {neighbour for words in nearest.values() for neighbour in words}
    assert named <= set(nearest)
    assert all(word.isalpha() and word == word.casefold() for word in named)
    assert all(word not in words and 1 <= len(words) <= 3 for word, words in nearest.items())


def test_nearest_words_do_not_depend_on_the_order_of_posts():
    assert nearest_words(corpus()[::-1]) == nearest_words(corpus())


@pytest.mark.parametrize("posts", [[], [post("just one tweet")], [post("a a a")], [post("[PER Jordan]")] * 5])
def test_too_little_text_has_no_neighbours(posts):
    assert nearest_words(posts) == {}


@pytest.mark.parametrize("shape", [(60, 400), (60, 40), (50, 50)])
def test_reduced_rows_are_those_of_scikit_learn_but_for_signs(shape):
    matrix = random_matrix(*shape, density=0.2, format="csr", rng=1)
    expected = TruncatedSVD(10, algorithm="arpack", random_state=0).fit_transform(matrix)
    found = _reduce(matrix, 10)
    assert found.shape == expected.shape
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-9)
    assert found @ found.T == pytest.approx(expected @ expected.T, abs=1e-9)


@pytest.mark.parametrize("size", [7, 11, 100, 399])
def test_blocks_of_contexts_change_no_reduced_row(monkeypatch, size):
    matrix = random_matrix(60, 400, density=0.2, format="csr", rng=1)
    whole = _reduce(matrix, 10)
    monkeypatch.setattr(lexicon, "CONTEXTS", size)
    assert np.abs(_reduce(matrix, 10)) == pytest.approx(np.abs(whole), abs=1e-12)


def test_chunks_of_texts_change_nothing(monkeypatch):
    texts = Texts(corpus())
    words = sorted({word for post in corpus() for word in post.tokens})
    whole = ppmi(texts, words).toarray()
    for size in (1, 5, 17):
        monkeypatch.setattr(lexicon, "CHUNK", size)
        assert sum(len(lengths) for _, lengths in texts.chunks()) == len(corpus())
        assert (ppmi(texts, words).toarray() == whole).all()


def test_pairs_of_words_and_places_by_hand():
    texts = Texts([post("a b a"), post("b")])
    counts = lexicon._count_pairs(texts, ["a", "b"]).toarray()
    # Contexts in the order in which they are met: <s> two and one to the left, b one and a two to the right, then those
    # of b: a to the left and right, </s> two to the right; then a two and b one to the left, </s> one to the right.
    assert counts.tolist() == [[1, 1, 1, 1, 0, 0, 1, 1, 1, 1], [2, 1, 0, 0, 1, 1, 2, 0, 0, 1]]


# ---------------------------------------------------------------- WordNet


class WordNet:
    """Stands for nltk's corpus reader, which needs a download."""

    def __init__(self, lemmas):
        self.lemmas = lemmas

    def ensure_loaded(self):
        if self.lemmas is None:
            raise LookupError("Resource wordnet not found")

    def synsets(self, word):
        return [self] if word in self.lemmas else []

    def lemma_names(self):
        return ["good", "Nice", "well-off", "ice_cream", "fine"]


def install(monkeypatch, lemmas):
    corpus_module = type(sys)("nltk.corpus")
    corpus_module.wordnet = WordNet(lemmas)
    monkeypatch.setitem(sys.modules, "nltk", type(sys)("nltk"))
    monkeypatch.setitem(sys.modules, "nltk.corpus", corpus_module)


def test_wordnet_synonyms_are_single_words(monkeypatch):
    install(monkeypatch, {"good", "paris"})
    assert wordnet_synonyms([post("Good day [LOC Paris]")]) == {"good": ["fine", "nice"]}


def test_wordnet_that_is_not_here(monkeypatch):
    install(monkeypatch, None)
    with pytest.raises(MissingExtra, match=r"nltk has no WordNet here: python -m nltk\.downloader wordnet"):
        wordnet_synonyms([post("good")])
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    with pytest.raises(MissingExtra, match="pip install"):
        wordnet_synonyms([post("good")])


def test_common_words_have_no_neighbours_and_are_none():
    posts = [Post(f"p{i}", ["The", "cat", f"w{i % 40}", "sat" if i % 2 else "lay"]) for i in range(60)]
    assert common_words(posts) == {"the", "cat", "sat", "lay"}
    assert common_words(posts[:25]) == set(), "25 times is not often"
    rare = [*posts, *(Post(f"q{i}", [f"x{j}" for j in range(100)]) for i in range(200))]
    assert "the" not in common_words(rare), "one word in 250 is often, one in 337 is not"
    assert "sat" in nearest_words(posts)["lay"]
    assert nearest_words(posts, without={"sat", "lay"}).keys().isdisjoint({"sat", "lay"})
    assert not any({"sat", "lay"} & set(words) for words in nearest_words(posts, without={"sat", "lay"}).values())
