"""What is masked in a post's words, and that entities, spans and the number of words stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.posts.masking import KINDS, LINKS, find, mask, mask_link, parse_kinds

WORDS = ["@joe", "@", "joe", "_", "-", "(", ")", ".", "+", "555", "1234", "555-1234", "0207", "a.b@mail.co.uk", "com"]
WORDS += ["#tag", "love", "@a@b", "2015", "$", "http://t.co/x1", "\u00a0", "你", "13800138000", "gmail", ":", "👩‍👧"]


def masked(text, *kinds):
    tokens, counts = mask(text.split(), kinds or KINDS)
    return " ".join(tokens), counts


@pytest.mark.parametrize(
    ("text", "expected", "n"),
    [
        ("RT @joe_92 : hi", "RT @user : hi", 1),
        ("RT @ joe_92 : hi", "RT @ user : hi", 1),
        ("@a@b .@sue !", "@user@user .@user !", 2),
        ("RT @TBTimes _ Rays : hi", "RT @user _ user : hi", 1),  # as Twitter-2015 cuts it
        ("dinner @ home", "dinner @ user", 1),
        ("@user said", "@user said", 0),
        ("an @ , then", "an @ , then", 0),
    ],
)
def test_handles_in_both_styles(text, expected, n):
    assert masked(text) == (expected, {"handles": n} if n else {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail joe@mail.com .", "mail user@example.com ."),
        ("mail joe.b@mail.co.uk .", "mail user.user@example.example.com ."),
        ("mail joe . b @ mail . co . uk !", "mail user . user @ example . example . com !"),
        ("mail joe1@gmail . com !", "mail user@example . com !"),
        ("mail joe @gmail . com !", "mail user @example . com !"),
    ],
)
def test_addresses_whole_and_cut(text, expected):
    assert masked(text) == (expected, {"emails": 1})


@pytest.mark.parametrize(
    "number",
    [
        *("555-123-4567", "555.123.4567", "5551234567", "(555) 123-4567", "( 555 ) 123 - 4567", "555 . 123 . 4567"),
        *("+1 555 123 4567", "+ 1 ( 555 ) 123 - 4567", "+44 20 7946 0018", "020 7946 0018", "07700 900123"),
        *("01 23 45 67 89", "0800 123 4567", "555-1234", "555 - 1234", "13800138000", "1-800-555-1234"),
    ],
)
def test_numbers_whole_and_cut(number):
    zeros = "".join("0" if sign.isdigit() else sign for sign in number)
    assert masked(f"call {number} now !") == (f"call {zeros} now !", {"phones": 1})


@pytest.mark.parametrize(
    "text",
    [
        *("in 2014 - 2015", "on 2015-11-21 at 10:30", "12:30-13:45", "won 100 - 98", "$ 100 000 0000", "$1000000000"),
        *("1,000,000 of 3.1415926535", "11/21/2015", "192.168.10.1234", "2015 2016 2017", "so proud . love it", "a @"),
        "http://t.co/abc123 and #555-1234",
    ],
)
def test_what_is_none_of_them_stays(text):
    assert masked(text) == (text, {})


def test_only_what_is_asked_for():
    text = "@joe joe@mail.com 555-1234"
    assert masked("https://t.co/6XjQ @news . com", "emails") == ("https://t.co/6XjQ @news . com", {})
    assert masked(text, "handles") == ("@user joe@mail.com 555-1234", {"handles": 1})
    assert masked(text, "emails") == ("@joe user@example.com 555-1234", {"emails": 1})
    assert masked(text, "phones") == ("@joe joe@mail.com 000-0000", {"phones": 1})
    assert parse_kinds("phones, handles") == parse_kinds(["phones", "handles"]) == ("handles", "phones")
    assert parse_kinds("") == parse_kinds(()) == ()
    with pytest.raises(UnknownName, match="unknown kind to mask 'phone': did you mean 'phones'"):
        parse_kinds("phone")


def test_a_text_cut_into_characters():
    tokens, counts = mask(list("好@张三:你好13800138000邮箱joe@mail.com"), KINDS)
    assert "".join(tokens) == "好@xx:你好00000000000邮箱xxx@xxxx.xxx"
    assert counts == {"handles": 1, "phones": 1, "emails": 1}


def test_an_entity_stays_and_what_is_around_it_goes():
    tokens = ["@", "joe", "of", "@NBA", ",", "call", "555", "123", "4567"]
    assert mask(tokens, KINDS, [(3, 4), (7, 8)]) == (
        ["@", "user", "of", "@NBA", ",", "call", "000", "123", "0000"],
        {"handles": 1, "phones": 1},
    )
    assert mask(tokens, KINDS, [(1, 2), (3, 4)]) == (
        ["@", "joe", "of", "@NBA", ",", "call", "000", "000", "0000"],
        {"phones": 1},
    )
    assert mask(["@joe"], KINDS, [(0, 1)]) == (["@joe"], {})


@given(
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(min_size=1, max_size=6)), max_size=20),
    st.sets(st.integers(0, 19)),
    st.sets(st.sampled_from(KINDS)),
)
def test_entities_are_never_touched(tokens, inside, kinds):
    protected = [(i, i + 1) for i in inside if i < len(tokens)]
    found, counts = mask(tokens, kinds, protected)
    assert len(found) == len(tokens)
    assert all(found)
    assert [found[i] for i, _ in protected] == [tokens[i] for i, _ in protected]
    assert (found != tokens) == bool(counts)
    assert set(counts) <= kinds
    changed = {i for i, (a, b) in enumerate(zip(tokens, found, strict=True)) if a != b}
    assert all(any(sign.isalnum() for sign in tokens[i]) for i in changed), "signs stay"


def test_items_are_found_with_their_words():
    text = "RT @a : @ b see http://t.co/x1 or https : //t . co/Y2 , joe @ mail . com or 555-1234 !"
    tokens = text.split()
    assert find(tokens, (*KINDS, LINKS)) == [
        ("handles", 1, 2),
        ("handles", 3, 5),
        ("emails", 14, 19),
        ("phones", 20, 21),
        (LINKS, 6, 7),
        (LINKS, 8, 13),
    ]
    assert find(tokens, ("phones",)) == [("phones", 20, 21)]
    assert find(list("好@张三:你"), KINDS) == [("handles", 1, 4)]
    assert find([], KINDS) == []


def test_a_link_is_masked_in_as_many_words():
    assert mask_link(["http://t.co/Ab1"]) == ["http://example.com"]
    assert mask_link(["https", ":", "//t", ".", "co/Ab1"]) == ["xxxxx", ":", "//x", ".", "xx/xxx"]
