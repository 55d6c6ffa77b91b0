"""Texts without a model: the asked entities stand in them, in contexts of others, and what is beside them fits."""

from collections import Counter
from dataclasses import replace

import pytest
from conftest import TEXTS, parse

from hf_mner_aug.draw import draw
from hf_mner_aug.models.text.engine import TextRequest, Unwritten
from hf_mner_aug.models.text.labelled import delinearize, instruction, linearize, tag_type, with_arguments
from hf_mner_aug.models.text.templates import Templates, body_of, lead_of
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.schema import Entity, Post, Relation
from hf_mner_aug.storage.posts import save_posts


def posts_of(*texts):
    return [Post(f"p{i}", *parse(text)) for i, text in enumerate(texts)]


def write(train, post, copies=1):
    """The texts for some draws of a post; each is a post of its own."""
    engine = Templates(posts=save_posts(train))
    requests = [TextRequest(instruction=instruction(post), image=None, post=post, copy=copy) for copy in range(copies)]
    draws = [draw(0, "gmda", 1, post.id, copy) for copy in range(copies)]
    return [read(text, post) for text in engine.generate(requests, draws)]


def read(text, post):
    if isinstance(text, Unwritten):
        return text
    types = {tag_type(entity) for entity in post.entities}
    tokens, entities = delinearize(text, types)
    return Post(post.id, tokens, entities, details={"made_of": text.made_of})


def words(made):
    return [" ".join(post.tokens) for post in made]


def mentions(post):
    return Counter((tuple(post.tokens[e.start : e.end]), e.type, e.fine) for e in post.entities)


@pytest.fixture(scope="module")
def train():
    return posts_of(*TEXTS)


def test_every_asked_entity_stands_in_a_context_of_others(train):
    keys = {post.id: text_key(post.tokens) for post in train}
    n_written = 0
    for post in train:
        for made in write(train, post, copies=4):
            if isinstance(made, Unwritten):
                continue
            n_written += 1
            assert mentions(made) == mentions(post)
            assert post.id not in made.details["made_of"]
            assert keys[post.id] not in {keys[name] for name in made.details["made_of"]}
            assert text_key(made.tokens) not in keys.values()
    assert n_written > 2.5 * len(train)


def test_each_context_serves_about_as_often_as_the_others():
    """A draw for each post alone would leave out more than a third of them."""
    train = [Post(f"p{i}", ["so", f"w{i}", "is", f"Name{i}", "here"], (Entity(3, 4, "PER"),)) for i in range(100)]
    for copy in range(3):
        engine = Templates(posts=save_posts(train))
        requests = [TextRequest(instruction="", image=None, post=post, copy=copy) for post in train]
        texts = engine.generate(requests, [draw(0, "gmda", 1, post.id, copy) for post in train])
        used = Counter(name for text in texts for name in text.made_of)
        assert len(used) > 95
        assert max(used.values()) <= 2


def test_the_words_are_those_of_the_contexts(train):
    """But for the mention, ends of sentences, joiners and articles nothing is brought in or left out."""
    (made,) = write(train, train[4])
    (name,) = made.details["made_of"]
    context = next(post for post in train if post.id == name)
    assert [made.tokens[i] for i in made.outside()] == [context.tokens[i] for i in context.outside()]


def test_the_draw_decides_and_company_does_not(train):
    engine = Templates(posts=save_posts(train))
    requests = [TextRequest(instruction="", image=None, post=post) for post in train]
    draws = [draw(7, "gmda", 1, post.id, 0) for post in train]
    together = engine.generate(requests, draws)
    alone = [engine.generate([request], [one])[0] for request, one in zip(requests, draws, strict=True)]
    assert together == alone
    assert engine.generate(requests[::-1], draws[::-1]) == together[::-1]
    others = replace(engine, seed=8).generate(requests, [draw(8, "gmda", 1, post.id, 0) for post in train])
    assert sum(one != other for one, other in zip(together, others, strict=True)) > 3


def test_articles_follow_the_mention():
    apple, warriors = posts_of("[ORG Apple] is nice", "we saw the [ORG Warriors] win")
    context = Post("c", *parse("just bought a [ORG Google] phone"))
    assert words(write([context], apple)) == ["just bought an Apple phone"]
    context = Post("c", *parse("watching the [ORG Cavs] tonight"))
    assert words(write([context], apple)) == ["watching Apple tonight"]
    context = Post("c", *parse("a great game for [ORG Cleveland] tonight"))
    assert words(write([context], warriors)) == ["a great game for the Warriors tonight"]
    context = Post("c", *parse("[ORG Cleveland] wins again"))
    assert words(write([context], warriors)) == ["The Warriors wins again"]
    context = Post("c", *parse("go [ORG Cleveland] go"))
    assert words(write([context], warriors)) == ["go Warriors go"]


def test_handles_and_hashtags_take_the_place_of_their_like():
    handle, plain = posts_of("hello [PER @messi]", "hello [PER Messi]")
    train = [Post("a", *parse("thanks [PER @nba] for the game")), Post("b", *parse("happy birthday [PER Adele] !"))]
    assert set(words(write(train, handle, copies=8))) == {"thanks @messi for the game"}
    assert set(words(write(train, plain, copies=8))) == {"happy birthday Messi !"}
    split = [Post("a", *parse("seen at # [PER Adele] today"))]
    assert words(write(split, plain)) == ["seen at Messi today"]


def test_a_word_is_not_said_twice():
    paris = posts_of("[LOC Paris] in spring")[0]
    train = [Post("a", *parse("Paris is in [LOC France]")), Post("b", *parse("the paris [LOC Texas] road"))]
    assert [made.reason for made in write(train, paris)] == ["no_context"]


def test_entities_stand_side_by_side_as_train_writes_them():
    asked = posts_of("[PER Ann] hugs [PER Bob] while [PER Cleo] looks on")[0]
    train = [
        Post("a", *parse("so proud of [PER Dora] and [PER Emil] !")),
        Post("b", *parse("[PER Finn] sings tonight")),
    ]
    made = write(train[1:], asked, copies=6)
    assert all(post.tokens[-2:] == ["sings", "tonight"] for post in made)
    assert {tuple(sorted(words([post])[0].split())) for post in made} == {
        (",", ",", "Ann", "Bob", "Cleo", "sings", "tonight")
    }
    found = words(write(train, asked, copies=12))
    assert any(" and " in text for text in found)
    assert len(set(found)) > 4


def test_two_contexts_are_joined_with_one_lead_and_links_at_the_end_only():
    asked = posts_of("[PER Ann] of [ORG Apple] in [LOC Rome]")[0]
    train = [
        Post("a", *parse("RT @fan : [PER Dora] and [LOC Oslo] #fun http://t.co/1")),
        Post("b", *parse("RT @cnn : breaking . [ORG Google] grows #news http://t.co/2")),
    ]
    expected = {
        "RT @fan : Ann and Rome . breaking . Apple grows #news http://t.co/2",
        "RT @cnn : breaking . Apple grows . Ann and Rome #fun http://t.co/1",
    }
    found = set(words(write(train, asked, copies=8)))
    assert found
    assert found <= expected


def test_a_post_without_an_entity_gets_two_others_without_one():
    train = posts_of("nothing here", "RT @me : just rain http://t.co/1", "snow and ice", "[PER Ann] too")
    found = set(words(write(train, train[0], copies=8)))
    assert found == {"RT @me : just rain . snow and ice", "snow and ice . just rain http://t.co/1"}
    assert [made.reason for made in write(train[:2], train[0])] == ["no_context"]


def test_no_place_is_told():
    train = posts_of("[PER Ann] sings", "[PER Bob] sings")
    (made,) = write(train, Post("x", *parse("in [LOC Rome]")))
    assert made == Unwritten("no_context", "no other train post has a place for LOC")
    assert write(train[:1], train[0])[0].reason == "no_context"
    assert write([], train[0])[0].reason == "no_context"


def test_fine_types_come_first_and_coarse_ones_after():
    def post(name, text, fine):
        tokens, (entity,) = parse(text)
        return Post(name, tokens, (Entity(entity.start, entity.end, "person", fine),))

    asked = post("x", "[P Ann] won", "athlete")
    train = [post("a", "[P Dora] sings tonight", "musician"), post("b", "[P Emil] scores again", "athlete")]
    assert set(words(write(train, asked, copies=8))) == {"Ann scores again"}
    made = write(train[:1], asked)
    assert words(made) == ["Ann sings tonight"]
    assert mentions(made[0]) == {(("Ann",), "person", "athlete"): 1}


def test_relations_are_told_by_posts_of_the_same_relation():
    def related(name, text, kind):
        tokens, (head, tail) = parse(text)
        return Post(name, tokens, relation=Relation((head.start, head.end), (tail.start, tail.end), kind))

    asked = with_arguments(related("x", "[A Ann] from [A Rome]", "lives_in"))
    train = [
        related("a", "[A Dora] runs [A Google]", "works_for"),
        related("b", "[A Emil] moved to [A Oslo]", "lives_in"),
    ]
    assert set(words(write(train, asked, copies=6))) == {"Ann moved to Rome"}
    assert [made.reason for made in write(train[:1], asked)] == ["no_context"]


def test_an_entity_of_forty_words(train):
    name = [f"w{i}" for i in range(40)]
    post = Post("long", [*name, "rocks"], (Entity(0, 40, "PER"),))
    (made,) = write(train, post)
    assert mentions(made) == {(tuple(name), "PER", None): 1}
    assert len(made.tokens) > 40


@pytest.mark.parametrize(
    ("text", "lead", "body"),
    [
        ("RT @fan : so happy #fun http://t.co/1", 3, 5),
        ("RT @Globe _ Pics : so [PER Ann] http : //t . co/1", 5, 7),
        ("RT [PER @nba] : game #a #b", 0, 4),
        ("no lead [MISC #fun] #more", 0, 3),
        ("plain words", 0, 2),
        ("http://t.co/1", 0, 0),
    ],
)
def test_leads_and_tails(text, lead, body):
    post = Post("p", *parse(text))
    assert (lead_of(post), body_of(post)) == (lead, body)


def test_a_text_reads_as_it_is_written(train):
    for post in train:
        assert delinearize(linearize(post), ["PER", "LOC", "ORG", "MISC"]) == (list(post.tokens), post.entities)
