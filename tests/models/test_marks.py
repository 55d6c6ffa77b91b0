"""Plain marks of entities: every text has one reading, and what is malformed is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_mner_aug.models.text.labelled import MALFORMED, tag_type
from hf_mner_aug.models.text.marks import escape_plain, names_of, read_marks, with_marks
from hf_mner_aug.schema import Entity
from hf_mner_aug.transform import Reject

TYPES = ("PER", "LOC", "MISC", "person/actor", "a|b", "odd\\/one", "sports_team")
WORDS = st.text(alphabet="aB[]|\\ \t\n\r-é\u00a0\u2028😂", max_size=5) | st.sampled_from(
    ["[", "]", "|", "\\", "", "person", "[Verse", ":]", "B-PER", "\\["]
)


def entity(start, end, kind):
    coarse, _, fine = kind.partition("/")
    return Entity(start, end, coarse, fine or None)


@st.composite
def posts(draw):
    tokens = draw(st.lists(WORDS, min_size=1, max_size=8))
    cuts = sorted(draw(st.sets(st.integers(0, len(tokens)), max_size=6)))
    pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
    kinds = [draw(st.sampled_from(["PER", "LOC", "MISC", "person/actor", "a|b", "sports_team"])) for _ in pairs]
    return tokens, tuple(entity(*pair, kind) for pair, kind in zip(pairs, kinds, strict=True))


@given(posts())
def test_each_text_has_one_reading(post):
    tokens, entities = post
    names = names_of({*TYPES, *map(tag_type, entities)})
    text = with_marks(tokens, entities, names)
    assert read_marks(text, names) == (tokens, entities)
    assert read_marks(f" {text.replace(' ', '  ')}\n", names) == (tokens, entities)


@given(st.text(alphabet="ab[]| \\", max_size=30))
def test_a_text_is_read_as_it_is_written_or_refused(text):
    names = names_of(["a", "b"])
    found = read_marks(text, names)
    if isinstance(found, Reject):
        assert found.reason in MALFORMED
    else:
        assert with_marks(*found, names) == " ".join(text.split())


def test_the_form_that_people_see():
    tokens = ["Steve", "Irwin", "is", "[", "gone", ":]"]
    assert with_marks(tokens, [Entity(0, 2, "PER")], names_of(["PER"])) == r"[ Steve Irwin | person ] is \[ gone \:]"
    assert names_of(["PER", "person/sports_team", "ORG"]) == {
        "PER": "person",
        "person/sports_team": "person (sports team)",
        "ORG": "organization",
    }
    assert names_of(["PER", "person"]) == {"PER": "PER", "person": "person"}  # both would be person
    assert [escape_plain(word) for word in ("", "\\", "a|b", "a b", "\u00a0")] == [
        "\\",
        "\\\\\\",
        "\\a|b",
        "\\a\\_b",
        "\u00a0",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_words"),
        ("see [ Steve Irwin", "tag_at_end"),
        ("see [ Steve Irwin | person", "tag_at_end"),
        ("see [ Steve [ Irwin | person ] ]", "tag_at_end"),
        ("see [ Steve Irwin ]", "unknown_tag"),
        ("see [ Steve Irwin | ]", "unknown_tag"),
        ("see [ Steve Irwin | animal ]", "unknown_tag"),
        ("see [ Steve | person | person ]", "unknown_tag"),
        ("see [ | person ]", "empty_entity"),
        ("see Steve | person", "i_without_b"),
        ("see Steve ]", "i_without_b"),
        ("see [Steve | person ]", "bad_escape"),
        ("see Steve:]", "bad_escape"),
        (r"see \Steve", "bad_escape"),
    ],
)
def test_what_is_malformed_is_told(text, reason):
    found = read_marks(text, names_of(["PER"]))
    assert isinstance(found, Reject)
    assert found.reason == reason
