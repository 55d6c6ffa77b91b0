"""memory_hard with engine=retrieve: what is searched for, which post is taken, whose it is, and how it is published."""

import json
from dataclasses import replace

import pytest
from conftest import as_dataset, parse, picture
from datasets import DatasetDict, load_dataset

from hf_mner_aug import MemoryHard, augment, publish
from hf_mner_aug.corpus import index
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods.memory_hard.retrieval import AROUND, Retriever, cue_words, query_of
from hf_mner_aug.models.patterns.engine import Pattern, WriteRequest
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.patterns.rules import Rules
from hf_mner_aug.models.search import Hit
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.posts.tokenising import word_style
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.hydration import hydrate
from hf_mner_aug.sample import draw_posts
from hf_mner_aug.schema import Entity, Post, mner_features
from hf_mner_aug.storage import artifacts
from hf_mner_aug.transform import Reject

QUICK = {"target": "crf:iterations=10", "detector": "", "folds": 2, "seeds": 1, "support": 2}
RETRIEVE = {"engine": "retrieve", "teacher": ("crf:iterations=15",), "min_confidence": 0.3}
CONFIG = "memory_hard_100pct"
SAMPLE, POOL = 50, 300  # posts of the sample set


def failure(text, gold=True):
    tokens, entities = parse(text)
    spans = tuple((e.start, e.end, e.type) for e in entities)
    if gold:
        return Failure(text, tuple(tokens), spans, "missed", spans[0], None)
    return Failure(text, tuple(tokens), (), "spurious", None, spans[0])


def request(asked, *, cues=None, exemplars=(), name="r"):
    patterns = [Pattern("p", "", "", "", cues, 1.0)] if cues else []
    return WriteRequest(asked, patterns, exemplars, (), Draw(name.encode()))


# ---------------------------------------------------------------- the query


def test_a_query_has_the_words_of_the_pattern_and_those_near_the_mention():
    asked = failure("a b c d e f off to [LOC New York] with mom and dad at last then")
    query = query_of(request(asked, cues={"before=to": 2.0, "post=URL": 3.0, "near=game": 1.0, "written=capital": 4.0}))
    assert query.text.split() == ["to", "game", "d", "e", "f", "off", "to", "with", "mom", "and", "dad", "at"]
    assert query.phrases == ()
    assert len(query.text.split()) - 2 == 2 * AROUND


def test_cues_of_no_word_are_not_searched_for():
    cues = {"before=nothing": 9.0, "near=@…": 8.0, "after=number": 7.0, "starts with=the": 6.0, "words=2": 5.0}
    assert cue_words(Pattern("", "", "", "", {**cues, "near=the": 1.0, "takes in=united": 4.0})) == ["the", "united"]


def test_words_of_an_exemplar_are_searched_for_as_well():
    one, other = failure("off to [LOC Rome]"), failure("rain in [LOC Oslo]")
    found = {query_of(request(one, exemplars=[other], name=str(n))).text for n in range(20)}
    assert found == {"off to", "rain in"}


def test_what_was_seen_where_there_is_none_is_asked_for():
    query = query_of(request(failure("i love [PER Sundays] so", gold=False)))
    assert (query.text, query.phrases) == ("i love so", ("Sundays",))


def test_a_mention_without_words_around_it_has_no_query():
    assert query_of(request(failure("[LOC Rome]"))) is None


# ---------------------------------------------------------------- the post


class Pool:
    """Finds the same posts whatever is searched for."""

    def __init__(self, *texts):
        self.hits = [Hit(id=f"h{i}", text=text, source="pool", score=1.0, url=f"u{i}") for i, text in enumerate(texts)]

    def search(self, query, limit=10):
        return self.hits[:limit]


def teach(texts):
    """Label the capitalised words: places, those in capitals as persons; a text with "hm" is unsure."""
    found = []
    for words in texts:
        spans = [
            Entity(i, i + 1, "PER" if word.isupper() else "LOC") for i, word in enumerate(words) if word != word.lower()
        ]
        found.append(
            Reject("unsure", "hm")
            if "hm" in words
            else Post("", list(words), tuple(spans), details={"confidence": 0.9})
        )
    return found


def found_by(pool, asked, **options):
    engine = Retriever(rules=Rules(), searcher=pool, teach=teach, style="whole", **options)
    (answer,) = engine.write([asked])
    return answer


def test_a_post_has_its_origin_and_the_teachers_labels():
    draft = found_by(Pool("we love Oslo and ANN"), request(failure("off to [LOC Rome]")))
    assert draft.tokens == ("we", "love", "Oslo", "and", "ANN")
    assert draft.entities == ((2, 3, "LOC"), (4, 5, "PER"))
    assert draft.focus == (2, 3)
    assert draft.details == {"post_id": "h0", "source": "pool", "url": "u0", "confidence": 0.9}


def test_the_post_and_the_entity_that_fit_the_pattern_come_first():
    asked = request(failure("off to [LOC Rome]"), cues={"before=to": 1.0})
    for texts in (
        ["Oslo is nice", "Lima and back to Bonn", "to ANN"],
        ["to ANN", "Lima and back to Bonn", "Oslo is nice"],
    ):
        draft = found_by(Pool(*texts), asked)
        assert draft.tokens == ("Lima", "and", "back", "to", "Bonn")
        assert draft.focus == (4, 5)
    assert found_by(Pool("Oslo is nice", "to ANN"), asked).tokens == ("Oslo", "is", "nice")


def test_the_most_frequent_reason_is_told():
    asked = request(failure("off to [LOC Rome]"))
    assert found_by(Pool(), asked) == Unwritten("no_hit", "off to")
    assert found_by(Pool("hm Oslo", "hm Bonn", "to ANN"), asked) == Unwritten("unsure", "hm")
    assert found_by(Pool("hm Oslo", "to ANN", "no one"), asked).reason == "lost_entity"
    assert found_by(Pool("to Oslo"), asked, known=frozenset({"tooslo"})).reason == "no_hit"
    assert found_by(Pool("to Oslo"), asked, pictures=True).reason == "no_image"


def test_what_was_seen_where_there_is_none_must_have_no_label():
    asked = request(failure("i love [PER sundays] so", gold=False))
    assert found_by(Pool("all my sundays in Oslo"), asked).focus == (2, 3)
    assert found_by(Pool("all my SUNDAYS in Oslo"), asked).reason == "lost_entity"


def test_a_request_gets_its_post_whatever_is_asked_with_it():
    pool = Pool(*[f"{word} Oslo is {word}" for word in "abcdefghijklmnop"])
    asked = [request(failure(f"off to [LOC Rome] {n}"), name=str(n)) for n in range(8)]
    engine = Retriever(rules=Rules(), searcher=pool, teach=teach, style="whole")
    together = engine.write(asked)
    assert together == [engine.write([one])[0] for one in asked]
    assert len({draft.tokens for draft in together}) > 3, "a drawn order"


# ---------------------------------------------------------------- the method


@pytest.fixture(scope="module")
def posts():
    return [Post(d.post.id, d.post.tokens, d.post.entities) for d in draw_posts()["train"]]


@pytest.fixture(scope="module")
def pool(posts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    lines = [
        {
            "id": f"pool{i}",
            "tokens": post.tokens,
            "url": f"https://x.com/a/status/{1000 + i}",
            "date": "2015-01-02",
        }
        for i, post in enumerate(posts[SAMPLE : SAMPLE + POOL])
    ]
    (folder / "pool.jsonl").write_text("\n".join(map(json.dumps, lines)))
    index(str(folder / "pool.jsonl"), folder / "corpus.db", licence="CC-BY-4.0")
    return folder / "corpus.db"


@pytest.fixture(scope="module")
def sample(posts):
    return as_dataset(posts[:SAMPLE], mner_features())


@pytest.fixture(scope="module")
def fitted(sample, pool):
    return MemoryHard(corpus=str(pool), image=False, **QUICK, **RETRIEVE).fit(sample)


def test_made_posts_are_posts_of_the_corpus_with_labels_of_the_teacher(fitted, sample, posts):
    made = fitted.map(sample)
    texts = {f"pool{i}": post.tokens for i, post in enumerate(posts[SAMPLE : SAMPLE + POOL])}
    assert len(made) > 10
    for row in made.to_list():
        provenance = json.loads(row["provenance"])
        details = provenance["details"]
        assert row["tokens"] == texts[details["post_id"]]
        assert details["licence"] == "CC-BY-4.0"
        assert details["url"].startswith("https://x.com/")
        assert details["date"] == "2015-01-02"
        assert 0.3 <= details["confidence"] <= 1.0
        assert details["teacher"] == "crf"
        assert details["failure"]
        assert provenance["params"]["corpus"].startswith("sha256:")
    assert fitted.content.retrieved


def test_the_teachers_confidence_can_be_the_weight(fitted, sample):
    made = replace(fitted, weight="confidence").map(sample)
    told = [json.loads(row)["details"]["confidence"] for row in made["provenance"]]
    assert made["weight"] == pytest.approx(told, abs=1e-6)
    assert len(set(told)) > 1
    assert made["tokens"] == fitted.map(sample)["tokens"]


def test_rows_do_not_depend_on_the_batch(fitted, sample):
    whole = fitted.make(sample.with_format("arrow")[:])
    parts = [fitted.make(sample.with_format("arrow")[at : at + 7]) for at in range(0, len(sample), 7)]
    assert whole.columns["tokens"] == [row for part in parts for row in part.columns["tokens"]]
    assert whole.columns["provenance"] == [row for part in parts for row in part.columns["provenance"]]


def test_published_by_id_only_and_put_back_it_is_the_whole_config(sample, pool, posts, tmp_path):
    held = as_dataset(posts[SAMPLE : SAMPLE + 40], mner_features())  # 40 of the pool are test posts
    method = MemoryHard(corpus=str(pool), image=False, weight="confidence", **QUICK, **RETRIEVE)
    source = DatasetDict(train=sample, test=held)
    run = augment(source, method, out=tmp_path / "run", progress=False)
    whole = publish(run, tmp_path / "whole")
    publish(run, tmp_path / "stubs", retrieved="ids-only")
    assert whole.funnel["dropped"]["leak_text"] > 0
    assert read_note(tmp_path / "whole" / CONFIG)["licences"].keys() == {"CC-BY-4.0"}
    rows, stubs = (load_dataset(str(tmp_path / name), CONFIG, split="train") for name in ("whole", "stubs"))
    assert not set(map(tuple, rows["tokens"][SAMPLE:])) & set(map(tuple, held["tokens"]))
    assert len(rows) > len(stubs) == SAMPLE
    for row in rows.select(range(SAMPLE, len(rows))):
        assert row["weight"] == pytest.approx(json.loads(row["provenance"])["details"]["confidence"])
    done = hydrate(tmp_path / "stubs", CONFIG, tmp_path / "again", corpus=pool)
    assert done.missing == {}
    assert done.content_fingerprint == whole.content_fingerprint
    card = (tmp_path / "whole" / "README.md").read_text()
    assert "Their labels are those of a teacher (crf) where its confidence is 0.3 or more" in card
    assert "put together from other train posts" not in card


@pytest.fixture
def pictured_pool(posts, tmp_path):
    (tmp_path / "1.png").write_bytes(picture(5, "PNG")["bytes"])
    lines = [
        {"id": f"p{i}", "text": " ".join(post.tokens), **({"image": "1.png"} if i % 2 else {})}
        for i, post in enumerate(posts[SAMPLE : SAMPLE + 100])
    ]
    (tmp_path / "pool.jsonl").write_text("\n".join(map(json.dumps, lines)))
    index(str(tmp_path / "pool.jsonl"), tmp_path / "c.db")
    return str(tmp_path / "c.db")


@pytest.fixture(scope="module")
def shown(posts):
    return as_dataset(
        [replace(post, images=(picture(i, "PNG"),)) for i, post in enumerate(posts[:SAMPLE])], mner_features()
    )


def test_without_new_pictures_posts_keep_those_of_the_gold_posts(pictured_pool, shown, tmp_path):
    method = MemoryHard(corpus=pictured_pool, image=False, **QUICK, **RETRIEVE)
    run = augment(DatasetDict(train=shown), method, out=tmp_path / "run", progress=False)
    whole = publish(run, tmp_path / "whole")
    publish(run, tmp_path / "stubs", retrieved="ids-only")
    rows = load_dataset(str(tmp_path / "whole"), CONFIG, split="train").with_format("arrow")[:].to_pylist()
    pictures = {row["id"]: row["image"]["bytes"] for row in rows}
    assert len(rows) > SAMPLE
    assert all(row["image"]["bytes"] == pictures[row["source_id"]] for row in rows)
    done = hydrate(tmp_path / "stubs", CONFIG, tmp_path / "again", corpus=pictured_pool)
    assert done.missing == {}
    assert done.content_fingerprint == whole.content_fingerprint


def test_pictures_are_those_of_the_posts_found(pictured_pool, shown):
    method = MemoryHard(corpus=pictured_pool, **QUICK, **RETRIEVE).fit(shown)
    made = method.map(shown).with_format("arrow")[:].to_pylist()
    assert made
    assert {row["image"]["bytes"] for row in made} == {picture(5, "PNG")["bytes"]}
    assert all("synthetic" not in row["provenance"] for row in made)
    assert "drawn" not in " ".join(method.cautions)


def test_the_first_round_is_counted_for_the_second(fitted, posts):
    tree = artifacts.load_json(fitted.learned["files"]["tree"])
    assert sum(step["drafts"] for step in tree["funnel"]) > 0
    assert fitted.learned["rounds"]
    assert fitted.learned["style"] == word_style(posts[:SAMPLE])


def test_the_calls_of_a_chat_model_are_counted_before_any(sample, pool, posts, tmp_path, monkeypatch):
    teacher = ("endpoint:http://127.0.0.1:1/v1#m,samples=2",)
    method = MemoryHard(corpus=str(pool), image=False, weight="confidence", **QUICK, **{**RETRIEVE, "teacher": teacher})
    least, most = method.costs.to_fit(posts[:SAMPLE])
    drafts = least // 2
    assert 10 < drafts <= SAMPLE
    assert most == 2 * 8 * 6 * drafts, "samples, texts of a draft, drafts of a request"
    assert [model.id for model in method.models] == ["m"]
    assert set(method.costs.hosts()) == {"teacher"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "retrieve"}, "name a file of hf-mner-aug index, corpus=FILE"),
        ({"engine": "retrieve", "corpus": "train"}, "searches a corpus=FILE, not train"),
        ({"engine": "retrieve", "corpus": "serper:https://a.b"}, "searches a corpus=FILE, not serper"),
        ({"corpus": "c.db"}, "corpus is of engine=retrieve: pass that, too, or leave it out"),
        ({"min_confidence": 0.7}, "min_confidence is of engine=retrieve"),
        ({"weight": "confidence"}, "with these parameters posts have no confidence"),
        ({"engine": "retrieve", "corpus": "c.db", "teacher": ("relation",)}, "take a backbone for entities"),
        (
            {"engine": "retrieve", "corpus": "c.db", "fill_missing": True, "image_model": "org/m"},
            "leave out fill_missing",
        ),
    ],
)
def test_wrong_parameters_are_told(options, said):
    with pytest.raises(UsageError, match=said):
        MemoryHard(**options)


def test_fine_types_are_refused(posts, pool):
    fine = [replace(p, entities=tuple(replace(e, fine="x") for e in p.entities)) for p in posts[:SAMPLE]]
    with pytest.raises(UsageError, match="gives no fine types"):
        MemoryHard(corpus=str(pool), image=False, **QUICK, **RETRIEVE).learn(fine, ())
