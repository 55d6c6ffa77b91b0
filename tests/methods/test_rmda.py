"""RMDA: the query, labels on foreign text, the filters, where posts come from, and what is published."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from conftest import as_dataset, parse, picture
from datasets import Dataset, DatasetDict, load_dataset

from hf_mner_aug import RMDA, augment, publish
from hf_mner_aug.backbones.detectors import capitalised_words, detect, fit_detectors, ordinary_forms
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods.rmda import build_query
from hf_mner_aug.models import device
from hf_mner_aug.models.search import Query
from hf_mner_aug.models.search.train import TrainPosts
from hf_mner_aug.models.words import sentence
from hf_mner_aug.posts.tokenising import restyle, split_words, word_style
from hf_mner_aug.publishing.rows import published_splits
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.runs.recipe import Recipe, named_method, recipe_for
from hf_mner_aug.schema import Codec, Entity, Post, Relation, mner_features
from hf_mner_aug.storage.fingerprint import content_fingerprint

# ---------------------------------------------------------------- the query


def test_the_papers_query():
    text = "Harry Potter and the Sorcerer's Stone (Book 1) by J.K. Rowling"
    assert build_query(text, ["Harry Potter and the Sorcerer's Stone", "J.K. Rowling"]) == (
        "Harry Potter and the Sorcerer's Stone (Book 1) by J.K. Rowling "
        '"Harry Potter and the Sorcerer\'s Stone" "J.K. Rowling" site:twitter.com'
    )


def test_query_of_a_relation_has_head_and_tail_once():
    query = build_query("Matt and Breana on their wedding day", ["Matt", "Breana", "Matt"], sites=("a.com", "b.com"))
    assert query == 'Matt and Breana on their wedding day "Matt" "Breana" site:a.com OR site:b.com'


def test_only_a_query_over_32_words_is_reordered():
    fits = build_query(" ".join(f"w{i}" for i in range(29)), ["New York"])
    assert fits.endswith('w28 "New York" site:twitter.com')
    assert len(fits.split()) == 32
    longer = build_query(" ".join(f"w{i}" for i in range(30)), ["New York"])
    assert longer.startswith('"New York" site:twitter.com w0 w1')
    assert longer.split()[-1] == "w28"
    assert len(longer.split()) == 32
    assert len(build_query("word " * 600, ["x"]).split()) == 32
    many = build_query("some text", [f"e{i}" for i in range(40)])
    assert many.split()[-1] == "site:twitter.com"
    assert '"e39"' in many


def test_quotes_of_the_post_do_not_close_the_querys():
    assert build_query('say "yes" now', ['6" pizza', '"'], sites=()) == 'say yes now "6 pizza"'


# ---------------------------------------------------------------- the filters


def test_capitalised_words_are_those_not_known_in_lower_case():
    posts = [Post(str(i), ["breaking", "news", "apple"], (Entity(2, 3, "ORG"),)) for i in range(2)]
    ordinary = ordinary_forms(posts)
    assert ordinary == {"breaking", "news"}
    tokens = ["RT", "@Fan", ":", "Breaking", "News", ",", "I", "saw", "Apple", "and", "#", "Adele", "http://T.co/X"]
    assert capitalised_words(tokens, set(), ordinary) == [tokens.index("Apple")]
    assert capitalised_words(tokens, {tokens.index("Apple")}, ordinary) == []


def test_detectors_are_the_whole_and_bags_and_come_back():
    posts = [Post(str(i), *parse(f"we met [PER {name}] today")) for i, name in enumerate(["Ann", "Bob", "Cid", "Dan"])]
    posts += [Post(f"x{i}", *parse("nothing new was seen there today")) for i in range(4)]
    digests = fit_detectors(posts, "crf", 3, seed=0)
    assert digests == fit_detectors(posts, "crf", 3, seed=0)
    assert len(set(digests.values())) == 3
    assert digests["detector-0"] == fit_detectors(posts, "crf", 1, seed=0)["detector-0"]
    (found,) = detect("crf", list(digests.values()), [["we", "met", "Eve", "today"]])
    assert (len(found), found[0]) == (3, [(2, 3, "PER")])


# ---------------------------------------------------------------- words as the set has them


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("whole", ["RT", "@a_b", ":", "it", "'", "s", "#so", "well-made", "...", "2", ".", "5", "😂", "http://t.co/x"]),
        (
            "split",
            [
                "RT",
                "@",
                "a_b",
                ":",
                "it",
                "'",
                "s",
                "#",
                "so",
                "well",
                "-",
                "made",
                ".",
                ".",
                ".",
                "2.5",
                "😂",
                "http://t.co/x",
            ],
        ),
    ],
)
def test_raw_text_is_cut_as_the_set_is(style, expected):
    assert split_words("RT @a_b: it's #so well-made... 2.5 😂 http://t.co/x", style) == expected


def test_style_is_found_and_put_on_other_sets_words():
    whole, split = [Post("0", ["@ann", "and", "#x"])], [Post("0", ["@", "ann", "and", "#", "x"])]
    assert (word_style(whole), word_style(split)) == ("whole", "split")
    assert word_style([Post("0", list("我爱北京"))]) == "characters"
    assert split_words("我爱 北京", "characters") == list("我爱北京")
    assert restyle(split[0].tokens, "whole") == whole[0].tokens
    assert restyle(whole[0].tokens, "split") == split[0].tokens
    assert restyle(["@", "#", "!", "a"], "whole") == ["@", "#", "!", "a"]


# ---------------------------------------------------------------- a corpus

GOLD = [
    "so glad to see [PER Lionel Messi] in [LOC Barcelona] today",
    "we all love [PER Adele] so very much",
    "just rain in [LOC London] and more rain today",
    "see [PER Lionel Messi] and be happy today",
    "a quiet day without any name at all",
    "[PER Jordan] wins again and again today",
    "it is hot in [LOC Jordan] all day long",
]
POOL = [
    {
        "id": "900",
        "text": "what a day to see lionel messi or Lionel Messi play",
        "url": "https://twitter.com/a/status/77",
    },
    {"id": "901", "text": "so glad that Lionel Messi stays in Barcelona this year", "image": "901.png"},
    {"id": "902", "text": "so glad Lionel Messi left Barcelona for Miami this year", "image": "902.png"},
    {"id": "903", "text": "we all love #Adele so very much indeed", "image": "903.png", "date": "2015-01-02"},
    {"id": "904", "text": "Adele", "image": "904.png"},
    {"id": "905", "text": "more rain in London today and very much of it", "image": "905.png"},
    {"id": "906", "text": "we all love Adele so very much", "image": "906.png"},
    {"id": "907", "text": "today it is so hot here in Jordan again", "image": "907.png"},
]


@pytest.fixture(scope="module")
def gold():
    posts = [Post(f"g{i}", *parse(text), (picture(i, "PNG"),)) for i, text in enumerate(GOLD)]
    return as_dataset(posts, mner_features())


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    for i, line in enumerate(POOL):
        if "image" in line:
            (folder / line["image"]).write_bytes(picture(50 + i, "PNG")["bytes"])
    (folder / "posts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in POOL))
    index(str(folder / "posts.jsonl"), folder / "corpus.db", licence="CC0")
    return folder / "corpus.db"


def make(method, dataset):
    """Return the made posts and the rejects as (source, reason)."""
    codec = Codec(method.features)
    made = method.make(dataset.with_format("arrow")[:])
    rows = [dict(zip(made.columns, values, strict=True)) for values in zip(*made.columns.values(), strict=True)]
    posts = [replace(codec.to_post(row), details=json.loads(row["provenance"])["details"]) for row in rows]
    return posts, [(reject["source_id"], reject["reason"]) for reject in made.rejects]


def spelt(post):
    return " ".join(post.tokens), [(" ".join(post.tokens[e.start : e.end]), e.type) for e in post.entities]


def test_every_hit_is_a_post_or_a_reject_with_its_reason(gold, pool):
    posts, rejects = make(RMDA(corpus=str(pool), copies=3, filter=False, require="all").fit(gold), gold)
    found = {(post.id.partition("+")[0], post.details["post_id"]) for post in posts}
    assert found == {
        *{("g0", "901"), ("g0", "902")},
        *{("g1", "903"), ("g1", "904")},  # 906 has the same text
        ("g2", "905"),
        *{("g3", "901"), ("g3", "902")},
        *{("g5", "907"), ("g6", "907")},
    }
    assert rejects.count(("g4", "no_entity")) == 3
    assert ("g3", "no_image") in rejects
    assert Counter(reason for _, reason in rejects)["no_hit"] == 8
    first = next(post for post in posts if post.details["post_id"] == "903")
    assert spelt(first) == ("we all love #Adele so very much indeed", [("#Adele", "PER")])
    assert first.images[0]["bytes"] == (pool.parent / "903.png").read_bytes()
    details = {name: first.details[name] for name in ("post_id", "source", "date", "licence")}
    assert details == {"post_id": "903", "source": "posts", "date": "2015-01-02", "licence": "CC0"}
    assert next(p for p in posts if p.details["post_id"] == "907").details["ambiguous"] == ["jordan"]


def test_filters_each_with_its_reason(gold, pool):
    base = {"agreement": 0.0, "support": 0.0, "consistency": 0.0, "capitals": False, "cased": False}
    fitted = RMDA(corpus=str(pool), copies=4, image=False, detectors=2, require="all").fit(gold)

    def reasons(**chosen):
        posts, rejects = make(replace(fitted, **{**base, **chosen}), gold)
        names = {reason for _, reason in rejects} - {"no_hit", "no_entity"}
        return names, {(post.id[:2], post.details["post_id"]) for post in posts}

    all_names, everything = reasons(least_words=1)
    assert all_names == set()
    assert ("g1", "904") in everything
    for reason, chosen, gone in (
        ("word_count", {"least_words": 2}, {("g1", "904")}),
        ("word_count", {"least_words": 1, "most_words": 1}, everything - {("g1", "904")}),
        ("other_case", {"least_words": 1, "cased": True}, {("g3", "900")}),
        ("short_mention", {"least_words": 1, "letters": 6}, {("g1", "903"), ("g1", "904")}),
        ("ambiguous_mention", {"least_words": 1, "consistency": 0.6}, {("g5", "907"), ("g6", "907")}),
        ("capital", {"least_words": 1, "capitals": True}, {("g0", "902"), ("g3", "902"), ("g3", "901")}),
    ):
        names, found = reasons(**chosen)
        assert names == {reason}
        assert everything - found == gone
    assert {"other_entity"} <= reasons(least_words=1, agreement=1.0)[0]
    assert ("g3", "901") not in reasons(least_words=1, agreement=1.0)[1]


def test_ablations_keep_text_or_image(gold, pool):
    fitted = RMDA(corpus=str(pool), copies=1, filter=False).fit(gold)
    source = {row["id"]: Codec(gold.features).to_post(row) for row in gold.with_format("arrow")[:].to_pylist()}
    both, text_only, image_only = (
        {post.id: post for post in make(replace(fitted, **chosen), gold)[0]}
        for chosen in ({}, {"image": False}, {"text": False})
    )
    assert set(both) == set(image_only)
    for name, post in both.items():
        before = source[name.partition("+")[0]]
        assert image_only[name].tokens == before.tokens
        assert image_only[name].entities == before.entities
        assert image_only[name].images == post.images != before.images
        assert post.tokens != before.tokens
    assert all(post.images == source[name.partition("+")[0]].images for name, post in text_only.items())
    assert replace(fitted, text=False).content.pictures_only
    assert not fitted.content.pictures_only


def test_boxes_stay_with_the_picture_they_were_drawn_on(sets, pool, tmp_path):
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"id": "1", "text": "so very glad to see Stephen Curry in his Oakland home today"}) + "\n"
    )
    index(str(tmp_path / "a.jsonl"), tmp_path / "a.db")
    boxed = sets["gmner"]
    posts, _ = make(RMDA(corpus=str(tmp_path / "a.db"), image=False, filter=False).fit(boxed), boxed)
    (made,) = posts
    before = Codec(boxed.features).to_post(boxed.with_format("arrow")[1:2].to_pylist()[0])
    assert [e.boxes for e in made.entities] == [e.boxes for e in before.entities]
    assert any(e.boxes for e in made.entities)


def test_relations_by_sentence_similarity():
    texts = [
        "Matt married Breana today in Rome",
        "Matt met Breana in a bar",
        "Ann met Bob",
        "Matt married Breana yes today",
    ]
    relation = ((0, 1), (2, 3))
    posts = [Post(f"r{i}", text.split(), (), (), Relation(*relation, "couple")) for i, text in enumerate(texts[:3])]
    posts.append(Post("r3", texts[3].split(), (), (), Relation(*relation, "None")))
    mre = as_dataset(posts, mner_features((), relations=("None", "couple")))
    made, rejects = make(RMDA(image=False, copies=3, least_words=1, similarity=0.0).fit(mre), mre)
    # r3 is in train with another relation: what r0 and r1 would say of it is refused, and the other way round.
    assert {(post.id[:2], post.details["post_id"]) for post in made} == {("r0", "r1"), ("r1", "r0")}
    assert Counter(rejects)["r0", "contradicts_train"] == 1
    assert [post.relation for post in made] == [Relation(*relation, "couple")] * 2
    _, rejects = make(RMDA(image=False, copies=3, least_words=1, similarity=0.99).fit(mre), mre)
    assert ("r0", "dissimilar") in rejects


def test_the_texts_found_for_a_relation_are_compared_at_once(monkeypatch):
    """With the same rows for any batch size: the texts of a batch are those of one post."""
    texts = ["Matt married Breana today in Rome", "Matt met Breana in a bar", "Ann met Bob", "Matt and Breana again"]
    head_tail = [((0, 1), (2, 3))] * 4
    posts = [
        Post(f"r{i}", text.split(), (), (), Relation(*at, "couple"))
        for i, (text, at) in enumerate(zip(texts, head_tail, strict=True))
    ]
    mre = as_dataset(posts, mner_features((), relations=("None", "couple")))
    calls = []

    class Encoder:
        def __call__(self, text, others):
            calls.append((text, list(others)))
            return [0.5 if "bar" in other else 0.9 for other in others]

    monkeypatch.setattr(sentence, "open_encoder", lambda name: Encoder())
    method = RMDA(image=False, copies=3, least_words=1, similarity=0.77, encoder="org/some").fit(mre)
    made_, rejects = make(method, mre)
    assert [(text, sorted(others)) for text, others in calls] == [
        (texts[0], [texts[3], texts[1]]),
        (texts[1], [texts[3], texts[0]]),
        (texts[2], []),
        (texts[3], [texts[0], texts[1]]),
    ]
    assert {(post.id[:2], post.details["post_id"]) for post in made_} >= {("r0", "r3"), ("r3", "r0")}
    assert ("r0", "dissimilar") in rejects


# ---------------------------------------------------------------- publishing


def test_publishing_drops_leaks_repetitions_and_what_is_too_many(gold, pool, tmp_path):
    codec = Codec(gold.features)
    leak = Post("t1", *parse("what a day to see [PER Lionel Messi] or [PER Lionel Messi] play"))
    by_id = Post("903", *parse("nothing of it at all"))
    splits = DatasetDict(train=gold, test=as_dataset([leak, by_id], gold.features))
    method = RMDA(corpus=str(pool), copies=4, image=False, filter=False, per_entity=1, require="all")
    done = publish(augment(splits, method, out=tmp_path / "out", progress=False), tmp_path / "out")
    made = load_dataset(str(tmp_path / "out"), done.config)["train"].filter(
        lambda m: m == "rmda", input_columns="method"
    )
    origins = [json.loads(note)["details"]["post_id"] for note in made["provenance"]]
    assert "900" not in origins
    assert "903" not in origins
    assert len(origins) == len(set(origins))
    assert done.funnel["dropped"]["leak_text"] == 1
    assert done.funnel["dropped"]["leak_id"] == 1
    assert done.funnel["dropped"]["too_many"] + done.funnel["dropped"]["repeated_text"] >= 3
    mentions = Counter(
        (" ".join(post.tokens[e.start : e.end]).casefold().lstrip("#"), e.type)
        for post in (codec.to_post(row) for row in made.with_format("arrow")[:].to_pylist())
        for e in {(e.type, post.tokens[e.start]): e for e in post.entities}.values()
    )
    assert max(mentions.values()) == 1


def test_corpus_is_named_by_content_wherever_it_lies(gold, pool, tmp_path):
    moved = tmp_path / "elsewhere" / "other.db"
    moved.parent.mkdir()
    for file in (*pool.parent.glob("*.png"), pool):
        (moved.parent / (moved.name if file == pool else file.name)).write_bytes(file.read_bytes())
    recipes = [recipe_for(RMDA(corpus=str(path))) for path in (pool, moved)]
    assert recipes[0] == recipes[1]
    assert str(tmp_path) not in json.dumps(recipes[0].to_dict())
    assert recipes[0].params["corpus"].startswith("sha256:")
    assert recipes[0].fingerprint == Recipe.from_dict(recipes[0].to_dict()).fingerprint
    assert recipes[0].build().fit(gold) == RMDA(corpus=str(moved)).fit(gold)
    run = augment(DatasetDict(train=gold), RMDA(corpus=str(moved)), out=tmp_path / "out", progress=False)
    assert publish(run, tmp_path / "out").funnel["kept"] > 0
    gold.to_parquet(tmp_path / "source" / "train.parquet")
    found = verify_folder(tmp_path / "out", "rmda_100pct", rerun=True, source=str(tmp_path / "source"))
    assert found.ok, found.difference


def test_a_corpus_is_asked_for_any_entity_and_the_web_for_all():
    assert (RMDA().require, RMDA().results) == ("any", 50)
    assert (RMDA(corpus="serper").require, RMDA(corpus="serper").results) == ("all", 10)
    assert (RMDA(require="all").results, RMDA(corpus="serper", results=11).require) == (50, "all")
    paper = RMDA(**RMDA.presets["paper"])
    assert (paper.require, paper.results) == ("all", 10)


def test_retrieval_inside_train_needs_no_corpus(gold):
    posts, _ = make(RMDA(filter=False, copies=2, text=False, require="all").fit(gold), gold)
    assert {(post.id[:2], post.details["post_id"]) for post in posts} == {("g3", "g0"), ("g5", "g6"), ("g6", "g5")}
    posts, _ = make(RMDA(filter=False, copies=2, require="all").fit(gold), gold)
    assert {(post.id[:2], post.details["post_id"]) for post in posts} == {("g3", "g0"), ("g5", "g6"), ("g6", "g5")}
    loose = {"agreement": 0, "support": 0, "consistency": 0, "letters": 0, "least_words": 1, "capitals": False}
    posts, rejects = make(RMDA(**loose, cased=False, copies=2, require="all").fit(gold), gold)
    # g0 names Barcelona too, and Jordan is a place in g6: train says so itself.
    assert posts == []
    assert {source for source, reason in rejects if reason == "contradicts_train"} == {"g3", "g5", "g6"}


def test_train_search_finds_and_ranks_as_asked():
    posts = TrainPosts([Post(str(i), text.split()) for i, text in enumerate(["a b c", "b a", "#A b x y", "d"])])
    found = posts.search(Query(text="x y", phrases=("a b",)))
    assert [hit.id for hit in found] == ["2", "0"]
    assert [hit.id for hit in posts.search(Query(phrases=("a", "d")))] == []
    assert [hit.id for hit in posts.search(Query(phrases=("a", "d"), require="any"))] == ["3", "0", "1", "2"]
    assert len(posts.search(Query(text="a b"), limit=2)) == 2


def test_the_papers_preset_names_its_models(monkeypatch):
    monkeypatch.setattr(device, "resolved_revision", lambda model: "0123456789" * 4)
    assert RMDA().models == RMDA(detector="crf:iterations=50").models == ()
    paper = RMDA(**RMDA.presets["paper"])
    assert [model.id for model in paper.models] == ["vinai/bertweet-base", "princeton-nlp/sup-simcse-roberta-large"]
    assert recipe_for(replace(paper, corpus="serper")).preset == "paper"
    assert recipe_for(paper).preset == "own", "the paper does not search train"
    assert recipe_for(RMDA()).preset == "embedded"


# ---------------------------------------------------------------- bad input


def test_corpus_without_pictures_is_one_clear_line(gold, tmp_path):
    (tmp_path / "posts.txt").write_text("we all love Adele so very much indeed\n")
    index(str(tmp_path / "posts.txt"), tmp_path / "corpus.db")
    with pytest.raises(UsageError, match=r"none of the 1 posts .* has a picture: pass image=False"):
        RMDA(corpus=str(tmp_path / "corpus.db")).fit(gold)
    assert len(RMDA(corpus=str(tmp_path / "corpus.db"), image=False, filter=False).fit(gold).map(gold)) == 1


def test_missing_empty_or_half_written_corpus(gold, tmp_path):
    with pytest.raises(UsageError, match="there is no corpus"):
        RMDA(corpus=str(tmp_path / "none.db")).fit(gold)
    (tmp_path / "empty.db").touch()
    with pytest.raises(UsageError, match="holds no posts"):
        RMDA(corpus=str(tmp_path / "empty.db")).fit(gold)
    (tmp_path / "posts.jsonl").write_text('{"text": "so glad to see Adele"}\n{"text": 3}\n')
    with pytest.raises(UsageError, match="text must be a string"):
        index(str(tmp_path / "posts.jsonl"), tmp_path / "half.db")
    with pytest.raises(UsageError, match=r"holds no posts|is incomplete"):
        RMDA(corpus=str(tmp_path / "half.db")).fit(gold)
    with pytest.raises(UsageError, match=r"no corpus with fingerprint 0000.* corpus=FILE"):
        RMDA(corpus=f"sha256:{'0' * 64}").fit(gold)


def test_corpus_that_grew_after_fitting_is_refused(gold, tmp_path):
    (tmp_path / "posts.txt").write_text("of this text no other test has a corpus, Adele\n")
    index(str(tmp_path / "posts.txt"), tmp_path / "corpus.db")
    fitted = RMDA(corpus=str(tmp_path / "corpus.db"), image=False).fit(gold)
    (tmp_path / "more.txt").write_text("we all love Adele so very much today\n")
    index(str(tmp_path / "more.txt"), tmp_path / "corpus.db")
    with pytest.raises(UsageError, match="another corpus"):
        make(fitted, gold)


ODD = [
    Post("o0", ['"', "NEAR", '"', "wins"], (Entity(0, 3, "ORG"),)),
    Post("o1", ["AND", "NOT", "'; DROP TABLE posts; --", "*"], (Entity(0, 1, "ORG"), Entity(2, 3, "PER"))),
    Post("o2", ["😂", "🎉"], (Entity(0, 1, "MISC"),)),
    Post("o3", ["#"], (Entity(0, 1, "MISC"),)),
    Post("o4", ["Adele", *(f"w{i}" for i in range(599))], (Entity(0, 1, "PER"),)),
    Post("o5", ["\u00a0", "(col:x^2)"], (Entity(1, 2, "MISC"),)),
]


def test_odd_entities_are_words_not_operators(pool):
    dataset = as_dataset(ODD, mner_features())
    posts, rejects = make(RMDA(corpus=str(pool), filter=False, copies=2, require="all").fit(dataset), dataset)
    assert {post.id for post in posts} == {"o4+rmda.0", "o4+rmda.1"}
    assert {source: reason for source, reason in rejects} == {
        **dict.fromkeys(("o0", "o1", "o2", "o5"), "no_hit"),
        "o3": "no_entity",
    }
    with_sign = [*POOL, {"id": "1", "text": "lol 😂 yes"}, {"id": "2", "text": 'so " NEAR " it is', "image": "901.png"}]
    folder = pool.parent
    (folder / "odd.jsonl").write_text("".join(json.dumps(line) + "\n" for line in with_sign))
    index(str(folder / "odd.jsonl"), folder / "odd.db")
    posts, _ = make(RMDA(corpus=str(folder / "odd.db"), filter=False, image=False).fit(dataset), dataset)
    assert {(post.id[:2], post.details["post_id"]) for post in posts} >= {("o0", "2"), ("o2", "1")}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"image": False, "text": False}, "nothing is taken over"),
        ({"agreement": 1.5}, "agreement must be in"),
        ({"support": -0.1}, "support must be in"),
        ({"results": 0}, "results must be at least 1"),
        ({"per_entity": -1}, "per_entity must be at least 0"),
        ({"least_words": 9, "most_words": 8}, "most_words 8 is below least_words 9"),
        ({"require": "some"}, "unknown require 'some': valid are all, any"),
    ],
)
def test_parameters_out_of_range(chosen, message):
    with pytest.raises(UsageError, match=message):
        RMDA(**chosen)


# ---------------------------------------------------------------- studies


def test_a_study_keeps_what_publishing_keeps(gold, pool, tmp_path):
    splits = DatasetDict(train=gold, test=gold.select([4]))
    for chosen in ({}, {"text": False}, {"per_entity": 1}):
        method = RMDA(corpus=str(pool), copies=4, filter=False, **chosen)
        run = augment(splits, method, out=tmp_path / "out", progress=False)
        done = publish(run, tmp_path / "out", overwrite=True)
        shipped = Dataset.from_parquet(str(tmp_path / "out" / done.config / "train-00000-of-00001.parquet"))
        kept = published_splits(run, tmp_path)["train"]
        assert content_fingerprint({"train": kept}) == content_fingerprint({"train": shipped})
        assert len(kept) == len(gold) + done.funnel["kept"] > len(gold)


def test_a_curve_takes_parameters(pool):
    assert named_method(f"rmda:corpus={pool},image=false,agreement=0.8") == RMDA(
        corpus=str(pool), image=False, agreement=0.8
    )
    assert named_method("rmda:copies=3,image=false") == RMDA(copies=3, image=False)
    with pytest.raises(UsageError, match="rmda: copies='many' is not a valid int"):
        named_method("rmda:copies=many")
    with pytest.raises(UsageError, match="parameter 'image' of rmda: expected NAME=VALUE"):
        named_method("rmda:image")
    with pytest.raises(UsageError, match="unknown parameter of rmda 'imagge': did you mean 'image'"):
        named_method("rmda:imagge=false")


def test_a_picture_is_taken_over_once():
    def found(*pictures):
        images = [tuple({"bytes": picture, "path": None} for picture in post) for post in pictures]  # None: unreadable
        return [Post(str(n), (f"text{n}",), images=images[n]) for n in range(len(images))]

    posts = found([b"a"], [b"b", b"a"], [b"b"], [], [], [None], [None])
    for method, reasons in (
        (RMDA(), [None, "repeated_image", *[None] * 5]),
        (RMDA(text=False), [None] * 7),
        (RMDA(image=False), [None] * 7),
    ):
        check = method.reduce()
        assert [check(post) for post in posts] == reasons


def test_the_papers_preset_searches_the_web_or_a_corpus(mner, tmp_path, monkeypatch):
    """Over the train split it would be another method than the paper's, and a card would say that it is the paper's."""
    monkeypatch.setattr(device, "resolved_revision", lambda model: "0123456789" * 4)
    with pytest.raises(
        UsageError, match=r"^rmda: --preset paper cannot have corpus=train: .*corpus=serper.*corpus=FILE"
    ):
        Recipe.of(method="rmda", preset="paper")
    assert Recipe.of(method="rmda", preset="paper", params={"corpus": "serper"}).preset == "paper"
    assert recipe_for(RMDA(**RMDA.presets["paper"])).preset == "own"
    assert Recipe.of(method="gmda", params={}).preset == "embedded"


def test_without_filters_a_post_of_train_may_have_other_labels(mner):
    texts = ["[PER Ann] and [PER Bob] in Rome", "[PER Ann] met Eve"]
    gold = as_dataset([Post(f"p{i}", *parse(text)) for i, text in enumerate(texts)], mner_features())
    made = {}
    for on, reasons in ((True, {"contradicts_train"}), (False, set())):
        loose = {"agreement": 0, "support": 0, "letters": 0, "capitals": False, "least_words": 1, "consistency": 0}
        asked = RMDA(image=False, filter=on, copies=1, detectors=1, **loose).fit(gold)
        found = asked.make(gold.with_format("arrow")[:])
        assert {reject["reason"] for reject in found.rejects} & {"contradicts_train"} == reasons
        made[on] = len(found.columns["id"])
    assert made[True] < made[False]


def test_posts_of_train_for_no_entity_are_told_in_one_line(mner):
    asked = RMDA(require="none", labels="teacher", image=False)
    with pytest.warns(UserWarning, match=r"require=none with corpus=train finds train posts again.*--set corpus=FILE"):
        asked.fit(mner)
