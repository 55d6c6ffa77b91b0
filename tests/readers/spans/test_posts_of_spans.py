"""Texts with spans become words and tags: a label covers what is marked, in each unit, and no sign is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_mner_aug.exceptions import MissingExtra, UnknownName, UsageError
from hf_mner_aug.readers.formats import RawPost
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans import Annotated, Marked, posts_of
from hf_mner_aug.schema import bio_to_spans

# Letters, blanks of many kinds, marks, joiners, emoji beyond the BMP, flags, scripts of both directions, controls.
SIGNS = (
    "aZé9_ \t\n\r\u00a0\u3000\u2028\u0301\u200d\u200b\ufe0f"
    "😀👍🏽🇫🇷👩‍👧𝒳中文かひกำ नि शאבג\u202eعربي@#.,'-:/\x00\x1c\x85"
)
TOKENISERS = ("whitespace", "tweet", "char", "spacy:en")
texts = st.lists(st.sampled_from([*SIGNS, "\r\n", "https://t.co/x", "#tag", "@user"]), max_size=30).map("".join)
UNITS = {"chars": len, "utf16": lambda s: len(s.encode("utf-16-le")) // 2, "bytes": lambda s: len(s.encode())}


def solid(text):
    return "".join(text.split())


def read(text, *spans, **options):
    (post,) = posts_of([Annotated("a", 1, text, [Marked(*span) for span in spans])], **options)
    return post


def entities(post):
    return [(" ".join(post.tokens[start:end]), kind) for start, end, kind in bio_to_spans(post.tags)]


@pytest.mark.parametrize("tokeniser", TOKENISERS)
@settings(max_examples=300, deadline=None)
@given(text=texts, data=st.data())
def test_words_hold_the_whole_text_and_an_entity_its_span(tokeniser, text, data):
    if tokeniser.startswith("spacy"):
        pytest.importorskip("spacy")
    edges = st.integers(0, len(text))
    spans = data.draw(st.lists(st.tuples(edges, edges).map(sorted), max_size=4))
    plain = read(text, tokeniser=tokeniser)
    assert solid("".join(plain.tokens)) == solid(text)
    assert all(word.strip() for word in plain.tokens)
    for unit, size in UNITS.items():
        for start, end in spans:
            post = read(text, (size(text[:start]), size(text[:end]), "X"), tokeniser=tokeniser, offsets=unit)
            assert post.tokens == plain.tokens
            check_entity(text, start, end, post)


def check_entity(text, start, end, post):
    """Check that an entity covers its span, that each of its edge words is touched, and what is noted."""
    marked = solid(text[start:end])
    found = bio_to_spans(post.tags)
    if not marked:
        assert found == []
        assert post.notes == (("empty_spans", "a"),)
        return
    ((first, last, kind),) = found
    before, behind = solid("".join(post.tokens[:first])), solid("".join(post.tokens[last:]))
    # What is marked begins in the first word and ends in the last one.
    left, right = solid(text[:start]), solid(text[end:])
    assert left.startswith(before)
    assert right.endswith(behind)
    assert len(left) - len(before) < len(solid(post.tokens[first]))
    assert len(right) - len(behind) < len(solid(post.tokens[last - 1]))
    assert kind == "X"
    assert (post.notes == ()) == ((left, right) == (before, behind))
    assert all(trouble == "snapped" for trouble, _ in post.notes)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=20),
    spans=st.lists(
        st.tuples(st.integers(-3, 25), st.integers(-3, 25), st.text(max_size=4), st.none() | st.text(max_size=3)),
        max_size=5,
    ),
    options=st.fixed_dictionaries(
        {
            "tokeniser": st.sampled_from([None, *TOKENISERS[:3]]),
            "misaligned": st.sampled_from(["snap", "refuse"]),
            "nested": st.sampled_from(["outermost", "refuse"]),
            "offsets": st.sampled_from(["auto", *UNITS]),
        }
    ),
)
def test_every_text_is_a_post_or_left_out(text, spans, options):
    post = read(text, *spans, **options)
    assert isinstance(post, RawPost | BadLine)
    if isinstance(post, RawPost):
        assert len(post.tags) == len(post.tokens)
        bio_to_spans(post.tags, "error")


def test_spans_that_cannot_be_placed_leave_their_post_out():
    for span, why in (
        ((0, 9, "PER"), "does not fit the text of 5 characters"),
        ((-1, 2, "PER"), "does not fit"),
        ((3, 1, "PER"), "ends before it starts"),
        ((0, 5, "PER", "Bono"), "is 'Bono' in the file, but 'Adele' in the text"),
        ((0, 5, ""), "expected O, B-TYPE or I-TYPE"),
        ((0, 5, "\ud800"), "half of a character"),
    ):
        post = read("Adele", (0, 5, "PER"), span)
        assert isinstance(post, BadLine)
        assert why in post.reason
    assert isinstance(read("\ud800", (0, 1, "PER")), BadLine)
    assert isinstance(read("a" * 70_000), BadLine)
    assert "does not fit the text of 3 UTF-16 units" in read("😀a", (1, 3, "X"), offsets="utf16").reason


def test_a_blank_is_no_part_of_a_mention():
    assert entities(read("go to  New\nYork ", (5, 16, "LOC", " New York "))) == [("New York", "LOC")]


def test_invisible_signs_belong_to_the_word_that_they_touch():
    assert read("\u200bAdele\u200b \u200b, \u200b ok", tokeniser="tweet").tokens == [
        "\u200bAdele\u200b",
        "\u200b,",
        "\u200b",
        "ok",
    ]


def test_spans_that_share_a_word():
    spans = ((4, 12, "LOC"), (4, 7, "ADJ"), (0, 12, "ORG"), (13, 17, "X"), (16, 20, "YY"))
    post = read("The New York Amazon's", *spans, tokeniser="whitespace")
    assert entities(post) == [("The New York", "ORG"), ("Amazon's", "X")]
    lost = [example for trouble, example in post.notes if trouble == "nested_spans"]
    assert lost == ["a LOC 'New York'", 'a YY "zon\'"', "a ADJ 'New'"]
    assert "shares a word" in read("The New York", *spans[:3], nested="refuse").reason
    twice = read("Adele", (0, 5, "PER"), (0, 5, "PER"), nested="refuse")
    assert entities(twice) == [("Adele", "PER")]
    assert twice.notes == ()


def test_a_span_that_cuts_a_word_is_extended_or_refused():
    post = read("Amazon's", (0, 6, "ORG"), tokeniser="whitespace")
    assert entities(post) == [("Amazon's", "ORG")]
    assert post.notes == (("snapped", "a ORG 'Amazon' is \"Amazon's\""),)
    refused = read("Amazon's", (0, 6, "ORG"), tokeniser="whitespace", misaligned="refuse")
    assert "'Amazon' starts or ends inside of a word" in refused.reason
    assert entities(read("Amazon's", (0, 6, "ORG"), misaligned="refuse")) == [("Amazon", "ORG")]


def test_a_tool_has_words_of_its_own():
    text = "don't go"
    with_words = Annotated(None, 7, text, [Marked(0, 2, "X")], words=[(0, 2), (2, 5), (5, 6), (6, 8)])
    (post,) = posts_of([with_words], name="train")
    assert post.tokens == ["do", "n't", "go"]
    assert post.id == "train-7"
    assert next(posts_of([with_words], tokeniser="whitespace")).tokens == ["don't", "go"]
    (wrong,) = posts_of([Annotated("a", 1, text, [], words=[(0, 5), (4, 8)])])
    assert "the word [4, 8) overlaps another" in wrong.reason


def test_options_have_values():
    for options in ({"tokeniser": "word"}, {"misaligned": "x"}, {"nested": "x"}, {"offsets": "runes"}):
        with pytest.raises(UnknownName, match="valid are"):
            posts_of([], **options)
    with pytest.raises((UsageError, MissingExtra)):
        posts_of([], tokeniser="spacy:no_such_model")


def test_more_spans_than_a_post_can_have_words():
    text = "a b " * 5_000
    spans = [(i, i + 1 + i % 977, f"T{i % 50}") for i in range(10_000)]
    assert len(bio_to_spans(read(text, *spans).tags)) > 5
    assert "at most 10,000 spans, found 1,000,000" in read(text, *(spans * 100)).reason


def test_a_separator_behind_a_url_is_no_part_of_the_word():
    text = "https://t.co/x\x1c"
    (post,) = posts_of([Annotated("a", 1, text, [Marked(0, 14, "X")])], tokeniser="tweet")
    assert (post.tokens, post.tags, post.notes) == ([text[:14]], ["B-X"], ())
