"""Texts that repeat others, by their pairs of neighbouring words."""

from hf_mner_aug.posts.repeats import WordPairs

KNOWN = WordPairs(
    [
        ("first", ["RT", "@fan", ":", "Ann", "sings", "in", "Rome", "today", "http://t.co/x1"]),
        ("second", ["Ann", "sings", "a", "song"]),
        ("third", ["song"]),
    ]
)


def test_the_share_of_pairs_that_one_text_has():
    assert KNOWN.find(["Ann", "sings", "in", "Rome", "today"]) == (1.0, "first")
    assert KNOWN.find(["RT", "@other", ":", "ANN", "SINGS", "IN", "Rome", "tonight", "http://t.co/q9"]) == (
        0.75,
        "first",
    )
    assert KNOWN.find(["Ann", "sings"]) == (1.0, "first")  # the first of equals
    assert KNOWN.find(["sings", "a", "tune"]) == (0.5, "second")
    assert KNOWN.find(["sings", "today"]) == (0.0, "")  # words, but no pair
    # One text's pairs count, not those of all together; a pair counts once.
    assert KNOWN.find(["in", "Rome", "sings", "a"]) == (1 / 3, "first")
    assert KNOWN.find(["a", "song", "a", "song"]) == (0.5, "second")


def test_a_text_without_a_pair_repeats_nothing():
    assert KNOWN.find(["song"]) == KNOWN.find([]) == WordPairs().find(["Ann", "sings"]) == (0.0, "")


def test_texts_are_added():
    known = WordPairs()
    known.add("one", ["so", "it", "goes"])
    assert known.find(["so", "it", "went"]) == (0.5, "one")
