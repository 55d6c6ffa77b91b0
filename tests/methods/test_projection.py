"""Labels on foreign text: where mentions stand there, and what detectors and train say of them."""

from conftest import parse

from hf_mner_aug.methods.rmda import keep, project_labels  # where other code finds them
from hf_mner_aug.methods.rmda.projection import Known, QueryMention, bare_words, project_relation, support
from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.transform import Reject


def mention(text, kind="PER", **more):
    words = tuple(text.split())
    return QueryMention(words, Entity(0, len(words), kind, **more))


def labelled(text, mentions):
    return [(e.start, e.end, e.type) for e in project_labels(text.split(), mentions)]


def test_projection_is_casefolded_longest_first_every_occurrence():
    mentions = [mention("Paris", "LOC"), mention("Paris Hilton")]
    assert labelled("PARIS HILTON loves paris and Paris", mentions) == [(0, 2, "PER"), (3, 4, "LOC"), (5, 6, "LOC")]
    assert labelled("Paris Paris Hilton", mentions) == [(0, 1, "LOC"), (1, 3, "PER")]
    assert labelled("Parisian Hilton", mentions) == []
    assert labelled("a b a b a", [mention("a b a")]) == [(0, 3, "PER")]


def test_projection_takes_heads_as_part_of_the_word():
    assert labelled("#Paris @PARIS # Paris", [mention("Paris", "LOC")]) == [(0, 1, "LOC"), (1, 2, "LOC"), (3, 4, "LOC")]
    assert labelled("Paris", [mention("# Paris", "LOC")]) == [(0, 1, "LOC")]
    assert labelled("Paris", [mention("#Paris", "LOC")]) == [(0, 1, "LOC")]
    assert labelled("# @ #", [mention("# @", "LOC"), mention("#", "LOC")]) == []
    assert bare_words(("#", "@New", "York")) == ("New", "York")


def test_projection_keeps_fine_types_and_boxes_and_the_first_of_two_types():
    box = (1.0, 2.0, 3.0, 4.0)
    mentions = [mention("Jordan", "PER", fine="athlete", boxes=(box,)), mention("JORDAN", "LOC")]
    assert project_labels(["so", "Jordan"], mentions) == (Entity(1, 2, "PER", "athlete", (box,)),)


def test_relation_needs_head_and_tail_beside_each_other():
    assert project_relation(["Matt", "married", "Breana"], ["matt"], ["BREANA"]) == ((0, 1), (2, 3))
    assert project_relation(["Breana", "married", "#Matt"], ["Matt"], ["Breana"]) == ((2, 3), (0, 1))
    assert project_relation(
        ["New", "York", "is", "in", "New", "York", "State"], ["New", "York"], ["New", "York", "State"]
    ) == (
        (0, 2),
        (4, 7),
    )
    assert project_relation(["New", "York", "State"], ["New", "York"], ["New", "York", "State"]) is None
    assert project_relation(["Matt"], ["Matt"], ["Matt"]) is None
    assert project_relation(["Matt", "x", "Matt"], ["Matt"], ["Matt"]) == ((0, 1), (2, 3))
    assert project_relation(["Matt"], ["Matt"], ["#"]) is None


def test_keep_takes_only_posts_whose_entities_were_asked_for():
    tokens = ["Adele", "met", "#Sting", "in", "New", "York"]
    assert keep(tokens, [(0, 1), (2, 3)], ["adele", "Sting"]) is None
    assert keep(tokens, [], []) is None
    assert keep(tokens, [(0, 1), (4, 6)], ["Adele", "New York City"]) == Reject("other_entity", "New York")


def test_support_counts_words_and_type():
    detected = [{(0, 1, "PER")}, {(0, 1, "LOC")}, {(0, 2, "PER")}, {(0, 1, "PER"), (3, 4, "ORG")}]
    assert support(Entity(0, 1, "PER"), detected) == 0.5
    assert support(Entity(0, 1, "PER"), [{(0, 1, "ENTITY")}, {(0, 1, "LOC")}]) == 0.5


def test_known_says_how_often_train_labels_a_mention_and_when_labels_contradict():
    texts = ["[PER Jordan] wins", "jordan wins", "[LOC Jordan] is hot", "we love [LOC New York]", "#Jordan"]
    known = Known.of([Post(str(i), *parse(text)) for i, text in enumerate(texts)])
    assert known.consistency(("jordan",), "PER") == 0.25
    assert known.consistency(("jordan",), "ORG") == 0.0
    assert known.consistency(("new", "york"), "LOC") == 1.0
    assert known.consistency(("oslo",), "LOC") == 1.0
    assert known.contradicts(Post("x", *parse("we love new york !")))
    assert not known.contradicts(Post("x", *parse("We love [LOC New York] !")))
    assert not known.contradicts(Post("x", *parse("we love Oslo")))
