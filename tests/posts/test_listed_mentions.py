"""Names of a list as mentions of a set: words, case, hashtags, weights."""

from collections import Counter

import pytest
from conftest import parse
from hypothesis import given
from hypothesis import strategies as st

from hf_mner_aug.draw import Draw
from hf_mner_aug.posts.listed_mentions import (
    LISTED,
    Names,
    Writing,
    as_details,
    as_set_writes,
    fit_names,
    listed_words,
    name_key,
    swap,
)
from hf_mner_aug.posts.name_lists import ListedName
from hf_mner_aug.posts.tokenising import word_style
from hf_mner_aug.schema import Entity, Post

WHOLE = [Post("a", *parse("@user saw [PER Adele] in #Rome today"))]
SPLIT = [Post("a", *parse("@ user saw [PER Adele] in # Rome"))]


def written(posts):
    writing = Writing()
    assert list(writing.counting(posts)) == posts
    return writing


def names(*lines, posts=WHOLE):
    listed = [ListedName(kind, tuple(name.split()), *weight) for kind, name, *weight in lines]
    return Names.of(fit_names(listed, written(posts)))


def instead(of, kind, found, **tokens):
    """The words drawn instead of the mention in brackets."""
    words, entities = parse(of)
    (entity,) = entities
    return found.instead_of(words, entity.start, entity.end, kind, Draw(b"x"))


@pytest.mark.parametrize(
    ("name", "style", "words"),
    [
        ("St. Louis", "whole", "St . Louis"),
        ("St . Louis", "whole", "St . Louis"),
        ("AT&T", "split", "AT & T"),
        ("#WorldCup", "whole", "WorldCup"),
        ("# WorldCup", "split", "WorldCup"),
        ("Jean-Luc O'Neal", "whole", "Jean-Luc O ' Neal"),
        ("北京", "characters", "北 京"),
        ("北京 NBA", "characters", "北 京 N B A"),
        ("C\u0327a va", "whole", "C\u0327a va"),
    ],
)
def test_a_name_is_cut_as_the_set_cuts_texts(name, style, words):
    assert as_set_writes(name, style) == words.split(" ")


def test_a_name_without_a_letter_is_none():
    assert as_set_writes("# !", "whole") == []
    assert names(("PER", "!?"), ("PER", "@adele"), ("LOC", "Rome")).texts == {"LOC": ["Rome"]}


@pytest.mark.parametrize(
    ("posts", "style", "case"),
    [
        (WHOLE, "whole", "mixed"),
        (SPLIT, "split", "mixed"),
        ([Post("a", ["rome", "is", "nice", "RT", "#NBA", "@USER", "http://T.CO/X"])], "whole", "lower"),
        ([Post("a", ["ROME", "IS", "NICE"])], "whole", "upper"),
        ([Post("a", list("我爱北京"))], "characters", "mixed"),
        ([], "whole", "mixed"),
    ],
)
def test_the_writing_of_a_set_is_counted(posts, style, case):
    assert (written(posts).style, written(posts).case) == (style, case)
    assert word_style(posts) == style


def test_names_of_a_set_in_one_case_are_in_that_case_and_add_up():
    lower = [Post("a", *parse("saw [PER adele] in rome"))]
    found = names(("PER", "Stephen Curry", 2.0), ("PER", "STEPHEN CURRY", 3.0), posts=lower)
    assert found.texts == {"PER": ["stephen curry"]}
    assert found.ends == {"PER": [5.0]}


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ("so [PER Adele] sang", ["Stephen", "Curry"]),
        ("so [PER adele] sang", ["stephen", "curry"]),
        ("so [PER ADELE] sang", ["STEPHEN", "CURRY"]),
        ("so [PER NBA] sang", ["Stephen", "Curry"]),
        ("so [PER #Adele] sang", ["#StephenCurry"]),
        ("so [PER #adele] sang", ["#stephencurry"]),
        ("so # [PER Adele] sang", ["StephenCurry"]),
        ("so [PER @adele] sang", None),
        ("so @ [PER adele] sang", None),
        ("so [PER @] sang", ["Stephen", "Curry"]),
        ("so [PER @ adele] sang", None),
        ("so [PER Mr @adele] sang", None),
        ("so [PER http://adele.com] sang", None),
        ("so [PER 24] sang", ["Stephen", "Curry"]),
    ],
)
def test_a_name_has_the_form_of_the_mention_that_it_replaces(of, words):
    found = instead(of, "PER", names(("PER", "Stephen Curry")))
    assert found == (words and tuple(words))


@pytest.mark.parametrize("name", ["http://evil.com/x", "WWW.evil.com", "Mr. @adele", "@ adele", "adele@evil.com"])
@pytest.mark.parametrize("posts", [WHOLE, SPLIT, [Post("a", ["ROME", "IS", "NICE"])]])
def test_names_with_handles_or_links_are_left_out(name, posts):
    assert names(("PER", name), ("LOC", "Rome"), posts=posts).texts.keys() == {"LOC"}


@pytest.mark.parametrize(("name", "tag"), [("हिन्दी भाषा", "#हिन्दीभाषा"), ("E\u0301cole 42", "#E\u0301cole42")])
def test_a_hashtag_keeps_the_marks_on_letters(name, tag):
    assert instead("so [PER #Adele] sang", "PER", names(("PER", name))) == (tag,)
    assert name_key(name) == name_key(tag) != name_key("हनद भष")


def test_a_type_without_names_gives_none():
    assert instead("so [LOC Rome] shone", "LOC", names(("PER", "Stephen Curry"))) is None


def test_names_are_drawn_by_weight():
    found = names(("PER", "A", 1.0), ("PER", "B", 3.0), ("PER", "C", 0.001), ("LOC", "D", 100.0))
    drawn = Counter(found.draw("PER", Draw(str(i).encode())) for i in range(4000))
    assert set(drawn) <= {"A", "B", "C"}
    assert 2850 < drawn["B"] < 3150
    assert drawn["C"] < 20


def test_a_swapped_mention_loses_its_the_and_keeps_the_origins_of_other_words():
    post = Post("p", *parse("at the [LOC White House] with [PER Adele]"))
    found = swap(post, {2: ("Lake", "Como", "North")})
    assert found.tokens == ["at", "Lake", "Como", "North", "with", "Adele"]
    assert found.entities == (Entity(1, 4, "LOC"), Entity(5, 6, "PER"))
    assert list(found.origins) == [0, None, None, None, 4, 5]
    assert found.details == {LISTED: ["Lake Como North"]}
    assert swap(post, {}) is post
    assert as_details({2: ("A",), 5: ("B",)}, {5: ["B"]}) == {LISTED: ["B"]}
    spans = [entity[:2] for entity in [(1, 4), (5, 6)]]
    assert listed_words(found.tokens, spans, ["Lake Como North"]) == {1, 2, 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at [ORG the] [LOC United Center]", "at [ORG the] [LOC Lake Como]"),
        ("saw [ORG Wild the] [LOC United Center]", "saw [ORG Wild the] [LOC Lake Como]"),
    ],
)
def test_a_the_with_a_label_of_its_own_stays(text, expected):
    post = Post("p", *parse(text))
    found = swap(post, {post.entities[1].start: ("Lake", "Como")})
    assert (found.tokens, found.entities) == parse(expected)


NAMES = st.lists(
    st.tuples(
        st.sampled_from(["PER", "LOC"]), st.text(min_size=1, max_size=12), st.floats(0.001, 1000, allow_nan=False)
    ),
    min_size=1,
    max_size=6,
)


@given(NAMES, st.sampled_from([WHOLE, SPLIT, [Post("z", list("我爱北京"))]]), st.integers(0, 99))
def test_whatever_the_names_are_words_can_be_put_into_a_post(lines, posts, seed):
    listed = [ListedName(kind, tuple(name.split()), weight) for kind, name, weight in lines if name.split()]
    found = Names.of(fit_names(listed, written(posts)))
    post = Post("p", *parse("the [PER Adele] saw [LOC #rome] and [PER @adele]"))
    chosen = found.instead(post, post.entities, 1.0, Draw(bytes([seed])))
    made = swap(post, chosen)
    assert set(chosen) <= {1, 3}, "a handle stays"
    assert all(made.tokens)
    assert not any(c.isspace() for word in made.tokens for c in word)
    assert [e.type for e in made.entities] == [e.type for e in post.entities]
    assert made.details.get(LISTED, []) == [" ".join(chosen[start]) for start in sorted(chosen)]
    again = Names.of(fit_names(list(reversed(listed)), written(posts)))
    assert again.texts == found.texts, "the order of the list does not matter"
