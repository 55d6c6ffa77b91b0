"""GMDA asked freely: what is asked and learned, what is kept and rejected, and the pictures of such texts."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from conftest import as_dataset, draw_posts, parse
from endpoint_server import EndpointServer
from made_posts import details, reasons, rows, with_painter, with_writer
from pattern_server import block

from hf_mner_aug import GMDA
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.models import text as text_engines
from hf_mner_aug.models.text import free
from hf_mner_aug.models.text.labelled import free_instruction, instruction, linearize, tag_names
from hf_mner_aug.schema import Codec, Post, mner_features
from hf_mner_aug.storage.posts import save_posts
from hf_mner_aug.transform import Reject

pytestmark = pytest.mark.filterwarnings("ignore:gmda. train has no pictures")
MODEL = "instructblip:tiny"  # never opened: a writer takes its place
OWN = "so glad B-PER Zadie I-PER Smith came to B-LOC Oslo this year"


@pytest.fixture
def learned(monkeypatch):
    """What the text model is trained on, instead of training it."""
    found = {}

    def fit(name, train, validation, **settings):
        found.update(train=train, validation=validation, name=name)
        return {}

    monkeypatch.setattr(text_engines, "fit_engine", fit)
    return found


def fit(dataset, **chosen):
    return GMDA(**{"text_model": MODEL, "ask": "free", "image": False, **chosen}).fit(dataset)


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"ask": "free"}, "ask=free lets a language model choose the entities, and templates has none: name one, as"),
        ({"ask": "free", "text": False, "text_model": MODEL}, "ask=free makes texts, and text=False makes none"),
        ({"free_share": 0.5}, "free_share is for free texts: pass ask=free, or leave it out"),
        ({"invented": "keep"}, "invented is for free texts"),
        ({"ask": "free", "text_model": MODEL, "free_share": 0.0}, "free_share must be in (0, 1], found 0.0"),
    ],
)
def test_what_cannot_be_asked_freely_is_said_at_once(chosen, told):
    with pytest.raises(UsageError) as error:
        GMDA(**chosen)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(UnknownName, match="ask"):
        GMDA(ask="freely")


def test_a_free_request_names_no_entity_and_is_learned_from_every_post(mner, learned, monkeypatch):
    method = fit(mner)
    pairs = learned["train"]
    assert [text for _, text in pairs] == [linearize(post) for post in draw_posts()]
    assert {request.instruction for request, _ in pairs} == {free_instruction(seen=False)}
    assert {(request.image, request.free) for request, _ in pairs} == {(None, True)}
    writer = with_writer(monkeypatch, lambda request: OWN)
    made = rows(method.map(mner))
    assert {request.instruction for request in writer.requests} == {free_instruction(seen=False)}
    assert len(made) == len(mner)  # no detector asks for names that train has, and no name of the post is asked for
    assert {" ".join(row["tokens"]) for row in made} == {"so glad Zadie Smith came to Oslo this year"}
    assert {details(row)["ask"] for row in made} == {"free"}
    # Publishing keeps one of them.
    codec, check = Codec(method.features), method.reduce()
    posts = [replace(codec.to_post(row), details=details(row)) for row in made]
    assert Counter(map(check, posts)) == {None: 1, "repeated_text": len(made) - 1}


def test_a_share_is_asked_freely_by_each_posts_own_draw_and_both_ways_are_learned(mner, learned, monkeypatch):
    method = fit(mner, free_share=0.5, copies=3, detector=None)
    asked = Counter(request.free for request, _ in learned["train"])
    assert asked == {True: len(mner), False: len(mner)}
    for request, text in learned["train"]:
        assert request.instruction == (free_instruction(seen=False) if request.free else instruction(request.post))
        assert text == linearize(request.post)
    writer = with_writer(monkeypatch, lambda request: OWN if request.free else f"{linearize(request.post)} oh my dear")
    free_of = {}
    for size in (1, 7, 1000):
        writer.requests.clear()
        made = rows(method.map(mner, batch_size=size))
        ways = {(request.post.id, request.copy): request.free for request in writer.requests}
        assert free_of in ({}, ways)
        free_of = ways
    share = sum(free_of.values()) / len(free_of)
    assert 0.3 < share < 0.7
    assert {free_of[row["source_id"], json.loads(row["provenance"])["copy"]] for row in made} == {True, False}
    for row in made:
        way = free_of[row["source_id"], json.loads(row["provenance"])["copy"]]
        assert ("ask" in json.loads(row["provenance"]).get("details", {})) == way
    assert {d.partition("-")[0] for d in method.learned["files"]} == {"posts"}


def test_a_detector_checks_only_texts_that_are_asked_with_gold_entities(mner, learned, monkeypatch):
    half = fit(mner, free_share=0.5, least_words=1)
    assert "detector-0" in half.learned["files"]
    assert "detector-0" not in fit(mner).learned["files"]
    with_writer(monkeypatch, lambda request: OWN if request.free else f"B-PER rain {linearize(request.post)} indeed")
    found = half.make(mner.with_format("arrow")[:])
    assert {reject["reason"] for reject in found.rejects} == {"inconsistent"}
    assert 3 < len(found.columns["id"]) == len(mner) - len(found.rejects)


def test_the_card_says_that_entities_are_the_models_own(mner, learned):
    whole, half = fit(mner), fit(mner, free_share=0.25)
    monkey = "the entities are the model's own as well"
    (told,) = (sentence for sentence in GMDA(text_model=MODEL, ask="free").cautions if monkey in sentence)
    assert told.startswith("In the texts (provenance: ask is free)")
    assert whole.params["ask"] == "free"
    assert "In about 25% of the texts" in " ".join(replace(half, artifact=None).cautions)
    assert not any(monkey in sentence for sentence in GMDA(text_model=MODEL).cautions)
    assert not {"ask", *free.REJECTS, "free_share"} & GMDA().params.keys()


# ---------------------------------------------------------------- what is kept


TRAIN = [
    "RT @fan : [PER Lionel Messi] loves [LOC Barcelona] http://t.co/x1",
    "[ORG Apple] opens a shop in [LOC New York] http://t.co/x2",
    "an apple a day , says [PER Ann] to [PER Bob Dylan] of [LOC York]",
    "so happy to see the rain in the north today with my friends",
]


@pytest.fixture
def known():
    posts = [Post(f"p{i}", *parse(text)) for i, text in enumerate(TRAIN)]
    return free.knowledge(save_posts(posts))


def post_of(text):
    return Post("made", *parse(text))


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("RT @other : [PER Lionel Messi] loves [LOC Barcelona] http://t.co/zz", "copied_text", "1.00 of p0"),
        ("so happy to see the rain in the north today with [PER Zoe]", "copied_text", "0.91 of p3"),
        ("so happy to be in the south today with my aunt [PER Zoe]", None, ""),
        ("FREE #PornVideos of [PER Zoe]", "adult_text", "#PornVideos"),
        ("hot milfs near [LOC Oslo]", "adult_text", "milfs"),
        ("love you [PER Zoe] xxx , an analog day in [LOC Essex]", None, ""),
        ("I moved to [PER York]", "other_type", "York as PER, in train LOC"),
        ("[ORG New York] won again", "other_type", "New York as ORG, in train LOC"),
        ("I moved to New York with [PER Zoe]", "unlabelled_name", "New York"),
        ("my friend Ann likes [LOC Oslo]", "unlabelled_name", "Ann"),
        ("I moved to [LOC New York City] with [PER Lou Ann]", None, ""),  # longer names hold them
        ("Bob likes [LOC Oslo]", None, ""),  # train has no such mention alone
        ("an ann and a york", None, ""),  # written otherwise
    ],
)
def test_free_texts_are_checked_by_what_train_has(known, text, reason, detail):
    post = post_of(text)
    found = free.check_text(post.tokens, known, 0.5, adult=False) or free.check_names(post, known)
    assert found == (Reject(reason, detail) if reason else None)


def test_a_word_that_train_has_without_a_label_may_be_unlabelled(known):
    posts = [post_of(text) for text in (*TRAIN, "Barcelona is a word here")]
    other = free.knowledge(save_posts(posts))
    assert free.check_names(post_of("from Barcelona with love"), known) == Reject("unlabelled_name", "Barcelona")
    assert free.check_names(post_of("from Barcelona with love"), other) is None


def test_addresses_that_train_lacks_are_masked_rejected_or_kept(known):
    text = (
        "RT @Fan : @zoe_b says [PER @realzoe] is at http://t.co/x1 not http://t.co/q9 or joe@mail.com , dinner @ home"
    )
    post = post_of(text)
    masked = free.settle_addresses(post, known, "mask")
    assert " ".join(masked.tokens) == (
        "RT @Fan : @user says @realzoe is at http://t.co/x1 not http://example.com or user@example.com , dinner @ home"
    )
    assert masked.details == {"masked": {"emails": 1, "handles": 1, "links": 1}}
    assert masked.entities == post.entities
    assert free.settle_addresses(post, known, "reject") == Reject("invented_address", "@zoe_b")
    assert free.settle_addresses(post, known, "keep") is post
    own = post_of("RT @fan : see http://t.co/x2 [PER Zoe]")
    assert free.settle_addresses(own, known, "mask") is free.settle_addresses(own, known, "reject") is own


def test_handles_and_links_in_pieces():
    """Of sets that split them, or whose words are characters."""
    split = free.knowledge(save_posts([post_of("@ ann said hi # yes to @ bob"), post_of("go # go")]))
    assert split.style == "split"
    masked = free.settle_addresses(post_of("hi @ zoe and @ ann at https : //t . co/Ab12"), split, "mask")
    assert " ".join(masked.tokens) == "hi @ user and @ ann at xxxxx : //x . xx/xxxx"
    weibo = free.knowledge(save_posts([Post("c", list("好@张三:你好"))]))
    assert weibo.style == "characters"
    masked = free.settle_addresses(Post("d", list("好@张三:和@李四:你")), weibo, "mask")
    assert "".join(masked.tokens) == "好@张三:和@xx:你"


@pytest.mark.parametrize(
    ("chosen", "text", "reason"),
    [
        ({}, "hot nudes of B-PER Zoe I-PER Lee here", "adult_text"),
        ({"adult": True}, "hot nudes of B-PER Zoe I-PER Lee here", None),
        ({}, "so B-PER Barcelona met me here", "other_type"),
        ({}, "so Barcelona met me here today", "unlabelled_name"),
        ({}, "B-PER Zoe met B-X Lee", "unknown_tag"),
        ({}, "B-PER Zoe met me", "word_count"),
        ({"invented": "reject"}, "B-PER Zoe met me at @zoe yes", "invented_address"),
        ({}, "B-PER Zoe met me at @zoe yes", None),
    ],
)
def test_a_free_text_that_goes_wrong_is_rejected_with_its_reason(mner, learned, monkeypatch, chosen, text, reason):
    with_writer(monkeypatch, lambda request: text)
    assert reasons(fit(mner, **chosen), mner) == ({reason: len(mner)} if reason else {})


def test_a_copied_post_is_rejected_unless_more_may_be_copied(mner, learned, monkeypatch):
    posts = [post for post in draw_posts() if len(post.tokens) > 6]
    with_writer(monkeypatch, lambda request: linearize(posts[0] if request.post.id != posts[0].id else posts[1]))
    assert reasons(fit(mner), mner) == {"copied_text": len(mner)}
    assert reasons(fit(mner, most_copied=1.0), mner) == {}


def test_a_relation_is_of_the_models_own_too(sets, learned, monkeypatch):
    dataset = sets["mre"]
    codec = Codec(dataset.features)
    method = fit(dataset)
    kind = next(t for t in method.learned["types"] if t.startswith("head/")).partition("/")[2]
    with_writer(monkeypatch, lambda request: f"look B-head/{kind} Zoe lives in B-tail/{kind} Oslo now")
    made = [codec.to_post(row) for row in rows(method.map(dataset))]
    assert made
    assert {(post.relation.head, post.relation.tail) for post in made} == {((1, 2), (4, 5))}
    with_writer(monkeypatch, lambda request: "look who lives in Oslo now")
    assert reasons(method, dataset)["lost_relation"] == len(made)


def test_a_teacher_labels_free_texts_instead(mner, learned, monkeypatch):
    """What the model labelled does not count, so no name of train is missed: the teacher finds it, or rejects."""
    taught = {"labels": "teacher", "teacher": ("crf:c1=0,c2=0.01",), "min_confidence": 0.0}
    method = fit(mner, **taught)
    told = "so happy to be with Lionel Messi and B-PER @nobody in B-PER Barcelona"
    with_writer(monkeypatch, lambda request: told)
    assert reasons(fit(mner), mner) == {"other_type": len(mner)}
    made = rows(method.map(mner))
    assert len(made) == len(mner)
    codec = Codec(mner.features)
    post, kept = codec.to_post(made[0]), details(made[0])
    assert {tuple(post.tokens[e.start : e.end]) for e in post.entities} >= {("Lionel", "Messi"), ("Barcelona",)}
    assert {e.type for e in post.entities if post.tokens[e.start] == "Barcelona"} == {"LOC"}
    assert "@user" in post.tokens
    assert (kept["ask"], kept["teacher"], kept["masked"]) == ("free", "crf", {"handles": 1})
    unfitted = GMDA(text_model=MODEL, ask="free")
    assert "no detector checks them" in " ".join(unfitted.cautions)
    assert "no detector checks them" not in " ".join(replace(unfitted, **taught).cautions)
    half = fit(mner, free_share=0.5, **taught)
    with_writer(monkeypatch, lambda request: told if request.free else f"{linearize(request.post)} oh my dear")
    both = {"free" if "ask" in details(row) else "gold" for row in rows(half.map(mner))}
    assert both == {"free", "gold"}


# ---------------------------------------------------------------- pictures


SHOWN = {
    "a": ("[PER Messi] scores in [LOC Barcelona] again", "a.jpg"),
    "b": ("the [ORG Warriors] win in [LOC Oakland]", "b.jpg"),
    "c": ("rain over the north sea", None),
}


@pytest.fixture
def pictured(mner):
    """Three posts, two of them with a picture."""
    pictures = [row["image"] for row in rows(mner) if row["image"]]
    posts = []
    for i, (name, (text, shown)) in enumerate(SHOWN.items()):
        posts.append(Post(name, *parse(text), images=(pictures[i],) if shown else ()))
    return as_dataset(posts, mner_features())


def test_a_free_text_has_the_picture_of_the_post_with_the_most_similar_words(pictured, learned, monkeypatch):
    gold = {row["id"]: row["image"] for row in rows(pictured)}
    method = fit(pictured)
    with_writer(monkeypatch, lambda request: "B-PER Zoe saw the B-ORG Warriors win rain or sun")
    made = {row["source_id"]: row for row in rows(method.map(pictured))}
    assert {name: row["image"] for name, row in made.items()} == {"a": gold["b"], "b": gold["b"], "c": None}
    assert {details(row).get("made_of", [None])[0] for row in made.values()} == {"b", None}
    assert details(made["a"]) == {"ask": "free", "made_of": ["b"], "pictured": ["b"]}
    assert details(made["c"]) == {"ask": "free"}
    # No word of theirs: the post's own.
    with_writer(monkeypatch, lambda request: "B-PER Zoe whispers nothing of interest")
    made = {row["source_id"]: row["image"] for row in rows(method.map(pictured))}
    assert made == gold


def test_a_free_text_may_be_written_for_the_posts_own_picture(pictured, learned, monkeypatch):
    gold = {row["id"]: row["image"] for row in rows(pictured)}
    method = fit(pictured, free_image="own")
    assert [request.image for request, _ in learned["train"]] == list(gold.values())
    writer = with_writer(monkeypatch, lambda request: "B-PER Zoe saw the B-ORG Warriors win rain or sun")
    assert {row["source_id"]: row["image"] for row in rows(method.map(pictured))} == gold
    assert {request.instruction for request in writer.requests} == {free_instruction(seen=True)}
    assert [request.image for request in writer.requests] == list(gold.values())


def test_an_image_engine_starts_from_that_picture(pictured, learned, monkeypatch):
    painter = with_painter(monkeypatch)
    method = fit(pictured, image=True, image_model="painter")
    with_writer(monkeypatch, lambda request: "B-PER Zoe saw the B-ORG Warriors win rain or sun")
    made = {row["source_id"]: row for row in rows(method.map(pictured))}
    assert [original.info["post_id"] for _, _, original in painter.calls] == ["b", "b"]
    assert len({row["image"]["bytes"] for row in made.values() if row["image"]}) == 2  # each by its own draw
    assert details(made["a"]) == {"ask": "free", "made_of": ["b"], "pictured": ["b"], "synthetic": True}
    assert made["c"]["image"] is None
    plain = painter.generate

    def collage(*given, **more):
        pictures = plain(*given, **more)
        for picture in pictures:
            picture.info["made_of"] = ["c"]
        return pictures

    monkeypatch.setattr(painter, "generate", collage)
    made = {row["source_id"]: row for row in rows(method.map(pictured))}
    assert details(made["a"])["pictured"] == details(made["a"])["made_of"] == ["b", "c"]


def test_boxes_come_with_the_picture(sets, learned, monkeypatch):
    dataset = sets["gmner"]
    codec = Codec(dataset.features)
    gold = {row["id"]: codec.to_post(row) for row in rows(dataset)}
    boxed = next(post for post in gold.values() if any(entity.boxes for entity in post.entities))
    first = linearize(boxed).split(" B-")[0]  # nothing between it and the next entity is of train alone
    with_writer(monkeypatch, lambda request: f"{linearize(boxed)} and {first} B-PER Zoe")
    made = rows(fit(dataset, least_words=1, most_copied=1.0).map(dataset))
    shown = [row for row in made if codec.to_post(row).images]
    assert {tuple(details(row)["made_of"]) for row in shown} == {(boxed.id,)}
    for row in shown:
        post = codec.to_post(row)
        assert post.images == boxed.images
        assert post.entities[: len(boxed.entities)] == boxed.entities
        assert post.entities[-1].boxes == ()


# ---------------------------------------------------------------- behind an endpoint


def test_a_model_behind_an_endpoint_is_asked_freely(mner):
    with EndpointServer() as server:
        server.say = lambda body: OWN
        method = GMDA(text_model=f"endpoint:{server.url}#writer", ask="free", image=False).fit(mner)
        made = rows(method.map(mner))
        assert made == rows(method.map(mner))  # from the record
    assert len(made) == len(mner)
    data = block(server.log[0].body)
    assert list(data) == ["tags", "types", "examples"]
    assert data["types"] == {"LOC": "location", "MISC": "miscellaneous", "ORG": "organization", "PER": "person"}
    assert len(data["examples"]) == 3
    messages = server.log[0].body["messages"]
    assert "of your own choice" in messages[0]["content"]
    assert all(isinstance(request.body["messages"][-1]["content"], str) for request in server.log)  # no picture
    for row in made:
        shown = set(details(row).get("pictured", ()))
        assert shown <= set(details(row)["made_of"])
        assert len(set(details(row)["made_of"]) - shown) >= 2
    assert [model.id for model in method.models] == ["writer"]


def test_types_of_tags_are_named_in_words():
    kinds = {"PER", "person/actor", "head/\\/per\\/loc"}
    assert tag_names(kinds) == {
        "PER": "person",
        "person/actor": "person (actor)",
        "head/\\/per\\/loc": "head (/per/loc)",
    }
