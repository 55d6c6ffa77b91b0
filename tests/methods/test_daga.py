"""DAGA: the words its language model knows, what it is not to draw, and posts that are made of no single gold post."""

import json
import shutil
from dataclasses import replace

import pytest
from conftest import RELATIONS, as_dataset, draw_posts, draw_set, parse, picture
from datasets import Dataset, DatasetDict, load_dataset

from hf_mner_aug import DAGA, EDA, augment, publish, verify
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import Corrupt, NotFitted, UsageError
from hf_mner_aug.exporting import export
from hf_mner_aug.models.text import lstm
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.labelled import delinearize, linearize
from hf_mner_aug.pages.config import read_sheet
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.schema import Post, Relation, mner_features
from hf_mner_aug.studies.quality import quality

pytest.importorskip("torch")
SMALL = {"hidden": 32, "embedding": 32, "epochs": 60, "least_words": 2}
TINY = lstm.LSTMSettings(hidden=24, embedding=16, epochs=3)


def rows(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


# ---------------------------------------------------------------- the words of the language model

TEXTS = [
    "we saw B-PER Ann in B-LOC Rome at 9 https://t.co/a",
    "we saw B-PER Ann in 2015 and 2015 #fun",
    "B-MISC Top I-MISC 10 of B-PER Bob @joe Indeed !",
]


def vocabulary():
    return lstm.Vocabulary.of([text.split(" ") for text in TEXTS])


def test_numbers_and_words_seen_once_are_classes_by_form_and_tag():
    found = vocabulary()
    assert found.members == {
        "capitalised ": {"Indeed": 1},
        "capitalised B-LOC": {"Rome": 1},
        "capitalised B-MISC": {"Top": 1},
        "capitalised B-PER": {"Bob": 1},
        "handle ": {"@joe": 1},
        "hashtag ": {"#fun": 1},
        "link ": {"https://t.co/a": 1},
        "number ": {"2015": 2, "9": 1},
        "number I-MISC": {"10": 1},
        "sign ": {"!": 1},
        "word ": {"and": 1, "at": 1, "of": 1},
    }
    # A tag is a word however rare it is; Ann occurs twice.
    assert found.words == ["Ann", "B-LOC", "B-MISC", "B-PER", "I-MISC", "in", "saw", "we"]
    ids = found.encode(["we", "met", "B-PER", "Cy", "in", "1999", "B-LOC", "7"])
    assert ids[1] == found.classes["word "]
    assert ids[3] == found.classes["capitalised B-PER"]
    assert ids[5] == found.classes["number "]
    assert ids[7] == lstm.UNKNOWN, "train has no number as a place"


def test_a_drawn_class_is_filled_with_one_of_its_words():
    found = vocabulary()
    draws = [found.word(found.classes["number "], Draw(bytes([i]))) for i in range(100)]
    assert set(draws) == {"9", "2015"}
    assert 50 < draws.count("2015") < 80, "two of three, as in train"
    assert found.word(found.ids["we"], Draw(b"")) == "we"


def test_what_would_break_the_tags_is_not_drawn():
    found = vocabulary()
    tags = {*found.tags.values()}

    def allowed(tag, inside, **chosen):
        return {*range(len(found))} - {*found.forbidden(tag, inside, **{"may_end": True, **chosen})}

    after_tag = allowed("B-PER", "")
    assert not after_tag & {*tags, lstm.END, lstm.UNKNOWN, found.classes["capitalised B-LOC"]}
    assert {found.classes["capitalised B-PER"], found.ids["Ann"]} <= after_tag
    assert allowed("", "") & tags == tags - {found.ids["I-MISC"]}
    assert allowed("", "MISC") & tags == tags
    assert lstm.END in allowed("", "")
    assert lstm.END not in allowed("", "", may_end=False)


def test_a_relation_has_one_head_and_one_tail_of_one_kind():
    texts = ["B-head/a x B-tail/a y", "B-head/b x B-tail/b y"]
    found = lstm.Vocabulary.of([text.split(" ") for text in texts])

    def begins(begun):
        never = found.forbidden("", "", may_end=False, begun=begun)
        return {tag for tag, i in found.tags.items() if i not in never}

    assert begins([]) == {"B-head/a", "B-tail/a", "B-head/b", "B-tail/b"}
    assert begins(["tail/b"]) == {"B-head/b"}
    assert begins(["tail/b", "head/b"]) == set()


# ---------------------------------------------------------------- training and sampling


def test_training_is_repeatable_and_the_last_epoch_counts():
    posts = draw_posts()
    texts = [linearize(post) for post in posts if post.tokens]
    settings = replace(TINY, epochs=40)
    first = lstm.fit(texts[:15], texts[15:], settings)
    assert lstm.fit(texts[:15], texts[15:], settings) == first
    assert lstm.fit(texts[:15], texts[15:], replace(settings, seed=1)) != first
    losses = lstm.history(first)
    assert len(losses) == 40
    assert losses[-1]["train"] < 0.9 * losses[0]["train"]
    net, vocabulary = lstm._open(first)
    encoded = [vocabulary.encode(text.split(" ")) for text in texts[15:]]
    last = losses[-1]["validation"]
    assert lstm._loss(net, encoded, 32) / lstm._n_words(encoded) == pytest.approx(last, rel=1e-5), "the last state"


def test_texts_are_well_formed_and_depend_on_their_draw_alone():
    posts = [post for post in draw_posts() if post.tokens]
    types = {entity.type for post in posts for entity in post.entities}
    weights = lstm.fit([linearize(post) for post in posts], [], TINY)

    def text(i):
        return lstm.write(weights, Draw(bytes([i])), temperature=1.0, most_words=12, relation=False)

    found = [text(i) for i in range(60)]
    assert [text(i) for i in reversed(range(60))] == found[::-1]
    assert len({*found}) > 30
    unfinished = [one for one in found if isinstance(one, Unwritten)]
    assert {one.reason for one in unfinished} <= {"unfinished_text"}
    words = {word for post in posts for word in post.tokens}
    for one in set(found) - {*unfinished}:
        tokens, _ = delinearize(one, types)
        assert 1 <= len(tokens) <= 12
        assert {*tokens} <= words, "neither <unk> nor N"


def test_what_is_no_language_model_is_refused(tmp_path):
    with pytest.raises(UsageError, match="train has none"):
        lstm.fit(["", ""], [], TINY)
    with pytest.raises(NotFitted, match="call fit again"):
        lstm.history("0" * 64)
    (tmp_path / "a").write_text("a")
    with pytest.raises(UsageError, match="expected a language model, found none"):
        lstm.history(lstm.artifacts.save_folder(tmp_path))
    for bad in ({"epochs": 0}, {"dropout": 1.0}):
        with pytest.raises(UsageError, match=rf"lstm: {next(iter(bad))} must be "):
            lstm.LSTMSettings(**bad)


# ---------------------------------------------------------------- the method


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"least_words": 9, "most_words": 5}, "daga: most_words 5 is below least_words 9"),
        ({"image": "style:net.onnx"}, "daga makes pictures of the text alone, and style transfer restyles an original"),
        ({"temperature": -1.0}, "temperature must be at least 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(chosen, told):
    with pytest.raises(UsageError) as error:
        DAGA(**chosen)
    assert told in str(error.value)


def test_the_picture_is_that_of_the_nearest_train_post(mner):
    made = rows(DAGA(copies=2, **SMALL).fit(mner).map(mner))
    pictures = {row["id"]: row["image"] for row in rows(mner)}
    shown = 0
    for row in made:
        details = json.loads(row["provenance"]).get("details", {})
        assert row["image"] == (pictures[details["pictured"][0]] if "pictured" in details else None)
        assert details.get("made_of") == details.get("pictured")
        shown += row["image"] is not None
    assert shown > len(made) / 2
    bare = rows(DAGA(copies=2, image="none", **SMALL).fit(mner).map(mner))
    assert {row["image"] for row in bare} == {None}
    assert [row["tokens"] for row in bare] == [row["tokens"] for row in made]


def test_a_collage_may_be_its_picture(mner):
    varied = [Post(p.id, p.tokens, p.entities, (picture(900 + i, "PNG"),)) for i, p in enumerate(draw_posts())]
    dataset = as_dataset(varied, mner_features())
    made = rows(DAGA(copies=1, image="collage", **SMALL).fit(dataset).map(dataset))
    assert made
    for row in made:
        details = json.loads(row["provenance"])["details"]
        assert details["synthetic"] is True
        assert set(details["pictured"]) <= set(dataset["id"])
        assert row["image"]["bytes"] not in {post.images[0]["bytes"] for post in varied}


def test_boxes_are_those_of_the_pictured_post_on_the_same_words():
    gmner = draw_set("gmner")
    made = rows(DAGA(copies=3, **SMALL).fit(gmner).map(gmner))
    gold = {row["id"]: row for row in rows(gmner)}
    boxed = 0
    for row in made:
        shown = json.loads(row["provenance"]).get("details", {}).get("pictured", [None])[0]
        known = {}
        if shown:
            for e in gold[shown]["entities"]:
                known.setdefault(tuple(gold[shown]["tokens"][e["start"] : e["end"]]), []).append(e["boxes"])
        for entity in row["entities"]:
            words = tuple(row["tokens"][entity["start"] : entity["end"]])
            assert entity["boxes"] in [[], *known.get(words, [])]
            boxed += bool(entity["boxes"])
    assert boxed


def test_a_text_of_train_is_rejected(mner, monkeypatch):
    method = DAGA(copies=1, **SMALL).fit(mner)
    gold = linearize(Post("x", *parse("we love [LOC Paris] so very MUCH today 👩‍👩‍👧 ️")))
    monkeypatch.setattr(lstm, "write", lambda *_, **__: gold)
    assert {reject["reason"] for reject in method.make(mner.with_format("arrow")[:]).rejects} == {"gold_text"}


def test_tags_and_relations_together_are_refused():
    tokens, entities = parse("[PER Ann] runs in [LOC Rome]")
    both = Post("a", tokens, entities, (), Relation((0, 1), (3, 4), RELATIONS[1]))
    with pytest.raises(UsageError, match="daga: expected tags or relations, found both"):
        DAGA(**SMALL).fit(as_dataset([both], mner_features(relations=RELATIONS)))


def test_relations_of_a_set_without_a_tagged_entity_are_written_as_relations():
    """The column of tags alone does not make them entities."""
    relation = Relation((0, 1), (2, 3), RELATIONS[1])
    posts = [Post(name, [name, "in", place], relation=relation) for name, place in (("Ann", "Rome"), ("Ben", "Oslo"))]
    dataset = as_dataset(posts, mner_features(images="none", relations=RELATIONS))
    made = rows(DAGA(**{**SMALL, "copies": 8, "least_words": 1}).fit(dataset).map(dataset))
    assert made
    for row in made:
        assert not any(row["ner_tags"])
        assert row["relation"] == dataset.features["relation"].str2int(RELATIONS[1])


# ---------------------------------------------------------------- a config of posts without a source


@pytest.fixture(scope="module")
def config(splits, tmp_path_factory):
    out = tmp_path_factory.mktemp("daga") / "aug"
    return out, publish(augment(splits, DAGA(copies=3, **SMALL), out=out, progress=False), out)


@pytest.fixture
def copied(config, tmp_path):
    out, done = config
    shutil.copytree(out, tmp_path / "aug")
    return tmp_path / "aug", done.config


def train_of(folder, name, tmp_path):
    return rows(Dataset.from_parquet([*map(str, (folder / name).glob("train-*"))], cache_dir=str(tmp_path / "cache")))


def test_source_id_is_null_and_the_card_says_so(config):
    out, done = config
    train = rows(load_dataset(str(out), done.config)["train"])
    made = [row for row in train if row["method"] == "daga"]
    assert made
    assert {row["source_id"] for row in made} == {None}
    assert [row["source_id"] for row in train if row["method"] == "gold"] == [
        row["id"] for row in train if row["method"] == "gold"
    ]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "None is made of one gold post, so source_id is null" in card
    assert verify(str(out), done.config).ok


def test_a_gold_row_without_a_source_is_damage(copied, tmp_path):
    from hf_mner_aug.publishing.remaining import tables_of
    from hf_mner_aug.storage.parquet import write_table

    folder, name = copied
    (file,) = (folder / name).glob("train-*")
    table = Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache"))
    gold = table["method"][:]
    broken = table.remove_columns("source_id").add_column("source_id", [None] * len(gold)).cast(table.features)
    write_table(file, broken.with_format("arrow")[:].select(list(table.features)), table.features)
    with pytest.raises(Corrupt, match="expected source_id in every row, found a row without"):
        list(tables_of([file]))


def test_withdrawing_a_post_takes_what_shows_it_and_not_what_was_only_drawn_for_it(copied, tmp_path):
    folder, name = copied
    before = train_of(folder, name, tmp_path)
    shown = {row["id"]: json.loads(row["provenance"]).get("details", {}).get("made_of", []) for row in before}
    gone = next(row["id"] for row in before if any(other == [row["id"]] for other in shown.values()))
    withdraw_posts(folder, [gone])
    after = {row["id"] for row in train_of(folder, name, tmp_path)}
    assert {row["id"] for row in before} - after == {gone} | {i for i, posts in shown.items() if gone in posts}
    assert any(i.startswith(f"{gone}+daga.") for i in after) or not any(
        i.startswith(f"{gone}+daga.") and gone not in shown[i] for i in shown
    )
    made = next(i for i in after if "+daga." in i)
    assert withdraw_posts(folder, [made]) == {name: 1}, "by its own id"


def test_posts_made_of_its_posts_name_them(config, splits, tmp_path):
    out, done = config
    train = load_dataset(str(out), done.config)["train"]
    eda = EDA(copies=1).fit(train, progress=False)
    again = rows(eda.map(train))
    of_made = [row for row in again if "+daga." in row["id"]]
    assert of_made
    assert all(row["source_id"] == row["id"].rpartition("+")[0] for row in of_made)


def test_quality_pages_and_exports_take_posts_without_a_source(config, tmp_path):
    out, done = config
    n_made = sum(row["method"] == "daga" for row in rows(load_dataset(str(out), done.config)["train"]))
    report = quality(out, [done.config], backbone="crf:iterations=5")
    assert report.columns[-1].posts == n_made
    assert report.columns[-1].similarity == {}
    assert any(f"{n_made} posts of {done.config} are made of no single gold post" in note for note in report.notes)
    one = quality(out, [done.config], backbone="crf:iterations=5", one_copy=True)
    assert n_made / 3 <= one.columns[-1].posts < n_made, "the first for each gold post"
    pairs = read_sheet(out, done.config).pairs
    assert pairs
    assert all(pair.sourceless and pair.before is None for pair in pairs)
    export(out, done.config, to="conll", out=tmp_path / "conll")
    text = (tmp_path / "conll" / "train.txt").read_text(encoding="utf-8")
    assert "# source_id None" not in text
    assert text.count("# id ") == text.count("# source_id") + n_made


def test_a_preview_shows_what_is_made(call, splits, tmp_path):
    place = tmp_path / "set"
    place.mkdir()
    for split, data in splits.items():
        data.to_parquet(place / f"{split}.parquet")
    settings = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    code, said, _ = call("augment", place, "--method", "daga", *settings, "--preview", 3, "--out", "aug")
    assert code == 0
    assert said.count("pictured") + said.count(":") >= 3


def test_splits_other_than_train_are_not_read_for_texts(splits):
    method = DAGA(copies=1, **SMALL).fit(DatasetDict(splits))
    words = {word for row in rows(splits["train"]) for word in row["tokens"]}
    assert {word for row in rows(method.map(splits["train"])) for word in row["tokens"]} <= words
