"""rmda with require=none: posts like train's, whatever they name, by words and by an encoder; what is refused."""

import json
from dataclasses import replace

import pytest
from conftest import as_dataset, parse
from tiny_language_model import WORDS

from hf_mner_aug import RMDA
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.words import likeness
from hf_mner_aug.runs.recipe import Recipe, parse_params, recipe_for
from hf_mner_aug.schema import Post, mner_features
from hf_mner_aug.storage.pinned_files import pinned_file

LIKE = {"require": "none", "labels": "teacher", "teacher": ("crf:c1=0,c2=0.01",), "min_confidence": 0.0, "image": False}
TRAIN = [
    "[PER Ann] visits [LOC Rome] again today",
    "we saw [PER Ann] at the old station",
    "[PER Bob] went to [LOC Paris] for work",
    "people from [LOC Rome] like the sea",
    "[PER Bob] met [PER Ann] at a cafe",
    "nobody knew what to do there",
    "http://t.co/x",
]
FOUND = [
    "Cher visits Oslo again today , so soon",
    "we saw Cher at the old harbour",
    "Dora went to Lima for work",
    "nobody knew what Eve would do there",
    "nothing of it is here at all , really",
]


@pytest.fixture(scope="module")
def gold():
    posts = [Post(f"g{i}", *parse(text)) for i, text in enumerate(TRAIN)]
    return as_dataset(posts, mner_features(["LOC", "PER"]))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found")
    (folder / "found.txt").write_text("\n".join([*FOUND, " ".join(parse(TRAIN[0])[0])]))
    index(str(folder / "found.txt"), folder / "found.db")
    return str(folder / "found.db")


def made(method, gold, batch=1000):
    """Return the made texts by their gold posts, and the rejects, from batches of a size."""
    texts, rejects = {}, []
    for at in range(0, len(gold), batch):
        rows = method.make(gold.with_format("arrow")[at : at + batch])
        for name, tokens, told in zip(
            *(rows.columns[key] for key in ("source_id", "tokens", "provenance")), strict=True
        ):
            texts.setdefault(name, []).append((" ".join(tokens), json.loads(told)["details"]["confidence"]))
        rejects += [(reject["source_id"], reject["copy"], reject["reason"]) for reject in rows.rejects]
    return texts, rejects


def test_the_most_similar_posts_are_taken_and_need_no_shared_entity(gold, corpus):
    texts, rejects = made(RMDA(corpus=corpus, copies=1, require_entity=False, **LIKE).fit(gold), gold)
    first = {name: found[0][0] for name, found in texts.items()}
    assert first["g0"] == FOUND[0], "not the post itself"
    assert first["g1"] == FOUND[1]
    assert first["g2"] == FOUND[2]
    assert first["g5"] == FOUND[3], "a post without an entity is searched for"
    assert [reject for reject in rejects if reject[0] == "g6"] == [("g6", 0, "no_hit")], "a link is no word"


def test_what_is_found_does_not_depend_on_the_batch(gold, corpus):
    fitted = RMDA(corpus=corpus, copies=2, **LIKE).fit(gold)
    whole = made(fitted, gold)
    assert len(whole[0]) >= 4
    assert all(made(fitted, gold, batch) == whole for batch in (1, 3))


def test_the_train_split_can_be_the_corpus(gold):
    texts, _ = made(RMDA(corpus="train", copies=1, require_entity=False, **LIKE).fit(gold), gold)
    assert texts["g1"][0][0] == "Bob met Ann at a cafe"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with a tiny BERT of random weights, which knows no word but a, b and c."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    transformers.BertModel(config).eval().save_pretrained(folder)
    return str(folder)


def test_an_encoder_ranks_instead_of_words(gold, corpus, encoder, monkeypatch):
    calls = []
    prepare = likeness.prepare
    monkeypatch.setattr(likeness, "prepare", lambda posts, name: calls.append(len(posts)) or prepare(posts, name))
    method = RMDA(corpus=corpus, copies=2, encoder=encoder, require_entity=False, **LIKE).fit(gold)
    assert calls == [6], "the vectors are computed when it is fitted"
    whole = made(method, gold)
    assert whole == made(method, gold, 1)
    assert all(found for found in whole[0].values())
    assert [(model.role, model.id) for model in method.models] == [("similarity", pinned_file(encoder, ""))]
    searched = list(method._search(likeness_corpus(method), [post_of(0), post_of(6)]))
    (expected,) = likeness.find_alike(likeness_corpus(method), encoder, [" ".join(parse(TRAIN[0])[0])], 55)
    assert [hit.id for hit in searched[0]] == [hit.id for hit in expected if hit.text != " ".join(parse(TRAIN[0])[0])]
    assert searched[1] == []


def likeness_corpus(method):
    from hf_mner_aug.models.search import open_engine

    return open_engine(method.corpus, posts=method.learned["files"]["posts"])


def post_of(i):
    return Post(f"g{i}", *parse(TRAIN[i]))


def test_a_recipe_keeps_none(gold, corpus):
    method = RMDA(corpus=corpus, **LIKE)
    again = Recipe.from_dict(json.loads(json.dumps(recipe_for(method, source="x").to_dict()))).build()
    assert again.require == "none"
    assert replace(again, corpus=corpus) == replace(method, artifact=again.artifact)
    assert parse_params(RMDA, {"require": "none"}) == {"require": "none"}
    assert RMDA(require=None).require == "any"


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"labels": "method", "teacher": ("crf",), "min_confidence": 0.5}, "pass labels=teacher"),
        ({"corpus": "serper"}, "each page costs: pass corpus=FILE"),
        ({"sites": ("twitter.com",), "encoder": "x"}, "leave out sites, or encoder"),
    ],
)
def test_what_does_not_fit_is_one_line(chosen, told):
    with pytest.raises(UsageError, match=told):
        RMDA(**{**LIKE, **chosen})
