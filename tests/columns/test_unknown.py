"""Columns that methods do not know follow the words, are kept by name, or are null, however rows are made."""

import functools
import json
import pickle
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import as_dataset, draw_set, picture
from datasets import (
    Array2D,
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    LargeList,
    List,
    Translation,
    Value,
    concatenate_datasets,
    load_dataset,
)
from datasets.fingerprint import Hasher
from places import CASES
from test_contract import build, copies, drawn_for, params_of, rows

from hf_mner_aug import AMIA, EDA, GMDA, LSMS, MixGen, Recipe, augment, publish, validate
from hf_mner_aug.cli import main
from hf_mner_aug.columns.unknown import OtherColumns, merged, number_columns, spell, word_columns
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.methods import METHODS
from hf_mner_aug.pages.config import show
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.hydration import hydrate
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.runs.recipe import recipe_for
from hf_mner_aug.schema import Codec, Post, mner_features, respell
from hf_mner_aug.storage import artifacts
from hf_mner_aug.transform import Facts, Method
from hf_mner_aug.transform.columns import keep_columns

CASE = CASES / "38-amia-extra-columns" / "src"
FOLLOW = {"amia", "eda", "gmda", "llm_da", "lsms", "melm", "mixgen"}  # methods that know where words come from
KINDS = {
    "text": Value("string"),
    "likes": Value("int64"),
    "score": Value("float32"),
    "day": Value("date32"),
    "mood": ClassLabel(names=["sad", "glad"]),
    "topics": List(Value("string")),
    "pair": List(Value("float32"), length=2),
    "large": LargeList(Value("int8")),
    "place": {"city": Value("string"), "at": List(Value("float64"))},
    "thumbnail": Image(),
    "grid": Array2D((2, 2), "float32"),
    "said": Translation(languages=["en", "de"]),
}
BY_WORD = {
    "pos_tags": List(Value("string")),
    "chunk_tags": LargeList(ClassLabel(names=["out", "in"])),
    "cells": List({"at": Value("float32"), "of": Value("string")}),
}
HEADS = {  # numbers for each word, which point to others
    "heads": List(Value("int64")),
    "deps": List({"head": Value("int16"), "name": Value("string")}),
    "children": LargeList(List(Value("uint8"))),
}


def enriched(dataset):
    """The set with columns of all kinds; a value of a word is its post's id, its place and the word itself."""
    made = []
    for i, row in enumerate(rows(dataset)):
        words = row["tokens"]
        made.append(
            {
                **row,
                "author": f"author of {row['id']}",
                "text": " ".join(words),
                "likes": i,
                "score": i / 2,
                "day": date(2020, 1, 1 + i),
                "mood": i % 2,
                "topics": ["t"] * (len(words) if i % 5 == 0 else i % 4),
                "pair": [1.0, float(i)],
                "large": [i] * (i % 3),
                "place": {"city": "Ulm", "at": [1.0]},
                "thumbnail": picture(i, "PNG"),
                "grid": [[1.0, 2.0], [3.0, float(i)]],
                "said": {"en": "yes", "de": "ja"},
                "pos_tags": [f"{row['id']} {n} {word}" for n, word in enumerate(words)],
                "chunk_tags": [n % 2 for n in range(len(words))],
                "cells": [{"at": n, "of": word} for n, word in enumerate(words)],
            }
        )
    features = Features({**dataset.features, "author": Value("string"), **KINDS, **BY_WORD})
    return Dataset.from_list(made, features=features)


@pytest.fixture(scope="module")
def rich():
    return enriched(draw_set("mner"))


def quick(name):
    """A method that takes no time over what is asked of others elsewhere."""
    chosen = {"detector": "", "image": False, "rounds": 1} if name == "memory_hard" else {}
    return build(name, copies=copies(name), **chosen)


@functools.cache
def fitted(name, dataset):
    return quick(name).fit(dataset)


@pytest.fixture(params=sorted(METHODS))
def name(request):
    return request.param


def posts_in(row):
    """The ids of the posts whose words may stand in a made row."""
    details = json.loads(row["provenance"]).get("details", {})
    return {row["source_id"], details.get("post_id"), *details.get("made_of", ())}


def check_words(row):
    """Each value of a word is that of the same word, of a post that the row is made of; return how many there are."""
    found = 0
    for column, expected in (("pos_tags", str), ("cells", dict)):
        assert len(row[column]) == len(row["tokens"])
        for word, value in zip(row["tokens"], row[column], strict=True):
            if value is None:
                continue
            found += 1
            if expected is dict:
                assert value["of"] == word
            else:
                post, _, said = value.split(" ", 2)
                assert said == word
                assert post in posts_in(row)
    places = [value and value["at"] for value in row["cells"]]
    assert row["chunk_tags"] == [None if place is None else place % 2 for place in places]
    return found


# ---------------------------------------------------------------- every method


@pytest.mark.parametrize("keep", [(), ("author", "mood", "place", "thumbnail")])
def test_rows_of_every_method_in_every_way_of_map(name, rich, keep):
    method = keep_columns(fitted(name, rich), keep)
    made = method.map(rich)
    assert made.features == method.features
    assert {column: made.features[column] for column in (*KINDS, *BY_WORD)} == {**KINDS, **BY_WORD}
    found = rows(made)
    assert len(found) > len(rich) / 2
    gold = {row["id"]: row for row in rows(rich)}
    kept = set() if method.content.foreign else set(keep)
    filled = 0
    for row in found:
        for column in ("author", *KINDS):
            assert row[column] == (gold[drawn_for(row)][column] if column in kept else None)
        if row["pos_tags"] is None:
            assert (row["chunk_tags"], row["cells"]) == (None, None)
        else:
            filled += check_words(row) > 0
    assert filled >= 0.9 * len(found) if name in FOLLOW else not filled  # of a short text all words may be new
    if not keep:
        return
    for batch_size in (1, 7, 1000):
        assert rows(method.map(rich, batch_size=batch_size)) == found
    assert rows(method.map(rich, num_proc=2)) == found
    assert rows(rich.map(method, batched=True, features=method.features, remove_columns=["author", "likes"])) == found
    assert rows(method.map(rich.with_format("arrow"))) == found
    halves = [rich.select(range(0, 9)), rich.select(range(9, len(rich)))]
    assert rows(concatenate_datasets([method.map(half) for half in halves])) == found
    bare = {column: feature for column, feature in method.features.items() if column not in ("thumbnail", "grid")}
    stream = rich.remove_columns(["thumbnail", "grid"]).to_iterable_dataset(num_shards=2).decode(False)
    small = replace(method, keep=tuple(set(keep) & set(bare)))
    for row, streamed in zip(found, small.map(stream), strict=True):
        assert {column: row[column] for column in bare} == streamed


def test_known_columns_are_what_they_are_without_others(name, rich):
    """What stands beside the words changes no word, tag, picture or provenance."""
    plain = rich.select_columns(list(draw_set("mner").features))
    with_others = fitted(name, rich).map(rich)
    alone = quick(name).fit(plain).map(plain)
    assert rows(with_others.select_columns(alone.column_names)) == rows(alone)


@pytest.mark.parametrize("kind", ["numpy", "torch", "pandas", "arrow"])
def test_made_rows_stand_beside_gold_rows_in_any_format(kind, rich):
    if kind == "torch":
        pytest.importorskip("torch")
    made = fitted("eda", rich).map(rich)
    both = concatenate_datasets([rich, made.select_columns(rich.column_names)])
    both = both.remove_columns(["image", "thumbnail", "day"])  # torch has no dates
    assert len(list(both.with_format(kind).iter(7))) > 5


# ---------------------------------------------------------------- where words come from


def one_post(words, **columns):
    """A set of a post twice, under two ids, with columns beside its words."""
    posts = [Post(name, words.split()) for name in ("a", "b")]
    dataset = as_dataset(posts, mner_features(images="none"))
    for column, values in columns.items():
        dataset = dataset.add_column(column, [values] * len(posts))
    return dataset


@dataclass(frozen=True, kw_only=True)
class Written(Method):
    """A method of a user's own: does to each post what ``edit`` says."""

    name: ClassVar[str] = "written"
    facts: ClassVar[Facts] = Facts(does="edits", paper="none", learns="nothing", images="kept", boxes="kept")
    edit: ClassVar = staticmethod(lambda post: post)

    def rewrite(self, posts, draws):
        return [type(self).edit(post) for post in posts]


def values_after(edit, words="can you can it", values=(0, 1, 2, 3)):
    dataset = one_post(words, n=list(values))
    cls = type("Edits", (Written,), {"edit": staticmethod(edit)})
    return rows(cls(keep=("n",)).fit(dataset).map(dataset))[0]["n"]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda post: post, [0, 1, 2, 3]),
        (lambda post: respell(post, {1: []}), [0, 2, 3]),
        (lambda post: respell(post, {1: ["we"]}), [0, None, 2, 3]),
        (lambda post: respell(post, {1: ["do", "you"], 3: ["it", "it"]}), [0, None, 1, 2, 3, None]),
        (lambda post: respell(post, {0: ["can"], 2: ["can"]}, moved={0: [2], 2: [0]}), [2, 1, 0, 3]),
        (lambda post: respell(respell(post, {0: []}), {0: ["oh", "you"]}), [None, 1, 2, 3]),
        # Words that a method changed by itself: nothing is known, and nothing is taken from where they stood.
        (lambda post: replace(post, tokens=["Can", "you", "can", "it"]), None),
        (lambda post: Post(post.id, ["you", "can"]), None),
        (lambda post: replace(post, tokens=["CAN", "you", "can", "it"], origins=[0, 1, 2, 3]), [None, 1, 2, 3]),
        (lambda post: replace(post, tokens=["it", "can"], origins=[3, ("b", 2)]), [3, None]),
        (lambda post: replace(post, tokens=["it"], origins=[3, 2]), None),
        (lambda post: replace(post, tokens=["it", "can"], origins=[9, -2]), None),
        (lambda post: replace(post, tokens=["it"], origins=[("nobody", 0)]), None),
    ],
)
def test_values_follow_the_words(edit, expected):
    assert values_after(edit) == expected


def test_equal_words_keep_their_own_values():
    """``can`` is a verb and a noun here: exchanged words take their values along, though the text stays the same."""
    words = "so can we can the can of beans so much"
    dataset = one_post(words, n=list(range(10)))
    for method, operation in (
        (EDA(copies=9, operations=("swap",), keep=("n",)), "swap"),
        (LSMS(copies=9, ratio=1, keep=("n",)), "shuffle"),
    ):
        moved = 0
        for row in rows(method.fit(dataset).map(dataset)):
            if json.loads(row["provenance"])["details"]["operation"] != operation:
                continue
            known = [n for n in row["n"] if n is not None]
            assert sorted(known) == list(range(10))
            assert [words.split()[n] for n in row["n"]] == row["tokens"]
            moved += row["n"] != list(range(10))
        assert moved


def test_partners_and_contexts_bring_their_values(rich):
    """``mixgen`` joins two train posts, ``templates`` writes one's entities into another's text."""
    for method in (MixGen(), GMDA(detector=None)):
        found = rows(method.fit(rich).map(rich))
        others = Counter(
            value.split(" ")[0] != row["source_id"] for row in found for value in row["pos_tags"] if value is not None
        )
        assert others[True] > 50
        assert others[False] > 20
    for row in rows(MixGen().fit(rich).map(rich)):
        assert None not in row["pos_tags"]
    missing = sum(value is None for row in found for value in row["pos_tags"])
    assert missing < 0.1 * sum(len(row["tokens"]) for row in found)  # joiners, articles, full stops


def test_a_partner_without_values_or_of_a_repeated_id_brings_none():
    words = [["a", "b"], ["c", "d", "e"], ["f", "g"]]
    posts = [Post(name, tokens) for name, tokens in zip("xyy", words, strict=True)]
    dataset = as_dataset(posts, mner_features(images="none")).add_column("n", [[0, 1], None, [5, 6]])
    made = rows(MixGen(copies=8, keep=("n",)).fit(dataset).map(dataset.select([0])))
    assert {tuple(row["tokens"][2:]): row["n"] for row in made} == {
        ("c", "d", "e"): [0, 1, None, None, None],
        ("f", "g"): [0, 1, None, None],  # the words of the id are those of the first post
    }


# ---------------------------------------------------------------- which lists follow


def test_lists_as_long_as_some_texts_by_chance_do_not_follow(rich):
    assert word_columns([rich], rich.features, [*KINDS, *BY_WORD]) == list(BY_WORD)
    assert word_columns([rich.select([0])], rich.features, ["topics", "pos_tags"]) == ["topics", "pos_tags"]
    stream = rich.remove_columns(["image", "thumbnail"]).to_iterable_dataset()
    assert word_columns([stream], rich.features, ["topics", "pos_tags"]) == ["pos_tags"]
    made = rows(EDA(copies=1).fit(rich).map(rich.select([0])))
    assert made[0]["topics"] is None
    assert made[0]["pos_tags"]


def test_a_row_whose_list_is_too_short_gets_none(rich):
    short = rich.map(lambda row, i: {"pos_tags": row["pos_tags"][: -1 if i == 3 else None]}, with_indices=True)
    made = rows(EDA(copies=2).fit(short).map(short))
    assert {row["source_id"] for row in made if row["pos_tags"] is None} == {"p3"}
    assert all(row["cells"] for row in made)


def treed(dataset):
    """The set with a tree over the words: each word's head is the one before it."""

    def add(row):
        before = list(range(-1, len(row["tokens"]) - 1))
        deps = [{"head": n, "name": word} for n, word in zip(before, row["tokens"], strict=True)]
        return {"heads": before, "deps": deps, "children": [[n + 2] for n in before]}

    return dataset.map(add, features=Features({**dataset.features, **HEADS}))


def test_places_of_words_are_null_where_words_have_changed(name, mner):
    trees = treed(mner)
    assert number_columns(trees.features) == list(HEADS)
    assert number_columns(BY_WORD) == []
    method = quick(name).fit(trees)
    made = method.map(trees)
    gold = {row["id"]: row for row in rows(trees)}
    same = changed = 0
    for row in rows(made):
        before = gold[drawn_for(row)]
        as_it_was = row["tokens"] == before["tokens"] and not method.content.foreign
        same, changed = same + as_it_was, changed + (not as_it_was)
        assert [row[column] for column in HEADS] == [before[column] if as_it_was else None for column in HEADS]
    assert same if name == "amia" else changed
    kept = keep_columns(method, ["heads", "deps"]).map(trees)
    assert kept.remove_columns(list(HEADS)).to_list() == made.remove_columns(list(HEADS)).to_list()
    followed = 0
    for row in rows(kept):
        own = drawn_for(row)
        assert row["children"] is None or row["tokens"] == gold[own]["tokens"]
        if name not in FOLLOW:
            assert row["heads"] is row["deps"] is None
        for word, dep, head in zip(row["tokens"], row["deps"] or (), row["heads"] or (), strict=False):
            followed += dep is not None
            assert dep is None or (dep["name"], dep["head"]) == (word, head)
    assert bool(followed) == (name in FOLLOW)


def test_a_card_says_which_numbers_are_left_out(mner, tmp_path):
    splits = DatasetDict(train=treed(mner.remove_columns("image")))
    for keep, fate in (((), "emptied"), (("heads",), "realigned")):
        run = augment(splits, EDA(copies=1, keep=keep), out=tmp_path / fate, progress=False)
        done = publish(run, tmp_path / fate)
        assert "heads" in done.columns[fate]
        assert "`heads`" in (tmp_path / fate / "README.md").read_text()
        gold = rows(run.gold["train"])
        made = rows(load_dataset(str(tmp_path / fate), done.config)["train"])
        assert [row["heads"] for row in made[: len(gold)]] == [row["heads"] for row in gold], "gold keeps them"


def test_a_list_that_the_fitted_set_lacked_is_null(rich):
    plain = rich.remove_columns([*KINDS, *BY_WORD, "author"])
    made = EDA(copies=1).fit(plain).map(rich)
    assert {row["pos_tags"] for row in rows(made)} == {None}
    assert made.features["pos_tags"] == BY_WORD["pos_tags"]


def test_pictures_beside_pictures(mner):
    """Of ``image`` and ``images`` the first is the post's; the other one is a column as any."""
    both = mner.add_column("images", [[None]] * len(mner)).cast_column("images", List(Image()))
    assert Codec(both.features).columns == list(mner.features)
    made = EDA(copies=1).fit(both).map(both)
    assert made.features["images"] == List(Image())
    assert {row["images"] for row in rows(made)} == {None}


# ---------------------------------------------------------------- keep


def test_keep_that_cannot_be_is_one_line(rich):
    method = EDA(copies=1).fit(rich)
    for run in (
        lambda keep: EDA(keep=keep).fit(rich),
        lambda keep: method.map(rich, keep=keep),
        lambda keep: rich.map(keep_columns(method, keep), batched=True, features=method.features),
        lambda keep: keep_columns(method, keep).map(rich.select([])),
    ):
        with pytest.raises(
            UnknownName, match=r"unknown column to keep 'autor': did you mean 'author'\? valid are author"
        ):
            run(["author", "autor"])
        for known in ("tokens", "image", "source_id"):
            with pytest.raises(UnknownName, match=f"unknown column to keep '{known}'.*valid are author, day, grid"):
                run([known])
        with pytest.raises(
            UsageError, match="keep: pos_tags has a value for each word, which follows the words"
        ) as told:
            run(["pos_tags"])
        assert "\n" not in str(told.value)


def test_keep_is_part_of_the_hash_and_the_recipe(rich):
    method = EDA(copies=1).fit(rich)
    kept = keep_columns(method, ["place", "author", "place"])
    assert kept.keep == ("author", "place")
    assert keep_columns(kept, "author") == kept
    assert EDA(keep="author").keep == ("author",)
    assert Hasher.hash(kept) != Hasher.hash(method)
    assert Hasher.hash(keep_columns(method, ["author", "place"])) == Hasher.hash(kept)
    assert pickle.loads(pickle.dumps(kept)) == kept
    recipe = recipe_for(kept)
    assert recipe.keep == ("author", "place")
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert replace(recipe.build(), from_recipe=False) == kept
    assert recipe.fingerprint != replace(recipe, keep=()).fingerprint
    without = {key: value for key, value in recipe_for(method).to_dict().items() if key != "keep"}
    assert Recipe.from_dict(without).fingerprint == recipe_for(method).fingerprint


def test_nothing_is_kept_of_posts_that_are_other_peoples():
    fates = OtherColumns.of(["pos", "author", "text"], keep=["author"], by_word=["pos"], foreign=True)
    assert (fates.kept, fates.by_word, fates.emptied) == ((), (), ("pos", "author", "text"))


def test_numbers_follow_the_words_only_where_they_are_kept():
    chosen = {"by_word": ["pos", "heads", "ids"], "numbers": ["heads", "ids", "likes"]}
    fates = OtherColumns.of(["pos", "heads", "ids", "likes", "text"], keep=["ids", "likes"], **chosen)
    assert (fates.kept, fates.by_word, fates.emptied) == (("likes",), ("pos", "ids"), ("text",))
    assert fates.places == ("heads",)
    told = fates.told({"pos": [["x"]], "ids": [[1]], "heads": [None], "likes": [1], "text": [None]})
    assert told == {"kept": ["likes"], "realigned": ["ids", "pos"], "emptied": ["heads", "text"]}
    with pytest.raises(UnknownName, match="valid are heads, ids, likes, text"):
        OtherColumns.of(["pos", "heads", "ids", "likes", "text"], keep=["head s"], **chosen)


def test_what_is_told_of_columns():
    fates = OtherColumns.of(["pos", "cells", "author", "text"], keep=["author"], by_word=["pos", "cells"])
    told = fates.told({"pos": [None, [1]], "cells": [None], "author": [None], "text": [None]})
    assert told == {"kept": ["author"], "realigned": ["pos"], "emptied": ["cells", "text"]}
    other = {"kept": ["author"], "realigned": ["cells"], "emptied": ["pos", "text"]}
    assert merged([told, {}, other]) == {"kept": ["author"], "realigned": ["cells", "pos"], "emptied": ["text"]}
    assert spell(told) == "kept: author; re-aligned: pos; emptied: cells, text"
    assert (merged([{}]), spell({})) == ({}, "")


# ---------------------------------------------------------------- validate


def test_a_list_of_another_length_than_the_words_is_an_error(rich):
    texts = rich.select_columns(["id", "tokens", "ner_tags", "pos_tags", "topics", "cells"])
    assert validate(texts).ok

    def cut(row, i):
        return {"pos_tags": None if i == 2 else row["pos_tags"][: -1 if i == 4 else None], "cells": row["cells"][:i]}

    bad = texts.map(cut, with_indices=True, features=texts.features)
    halves = {"train": bad.select(range(3)), "test": bad.select(range(3, 20))}
    found = validate(halves)
    n_words = len(bad[4]["tokens"])
    assert [str(problem) for problem in found.problems if problem.severity == "error" and "pos" in problem.detail] == [
        f"test row 1, post p4: {n_words - 1} pos_tags for {n_words} tokens"
    ]
    # ``cells`` is as long as the words in most rows, and ``topics`` in some.
    assert found.counts()["length_mismatch"] == 1 + sum(i < len(row["tokens"]) for i, row in enumerate(bad))
    assert "as many values in a list that has one for each word" in str(found)


def test_made_configs_are_valid(rich, tmp_path):
    plain = rich.remove_columns(["thumbnail"])
    splits = DatasetDict(train=plain.select(range(16)), test=plain.select(range(16, 20)))
    publish(augment(splits, LSMS(copies=2), out=tmp_path / "aug", progress=False), tmp_path / "aug")
    config = load_dataset(str(tmp_path / "aug"), "lsms_100pct")
    assert any(None in (row["pos_tags"] or ()) for row in rows(config["train"]))
    assert validate(config).ok


# ---------------------------------------------------------------- augment, publish, load_dataset


@pytest.fixture(scope="module")
def splits(rich):
    """Train, validation and test of the set with columns of all kinds."""
    return DatasetDict(train=rich.select(range(14)), validation=rich.select([14, 15]), test=rich.select(range(16, 20)))


COLUMNS_LINE = "Other columns of the source, in made posts:"


def card_line(folder):
    found = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith(COLUMNS_LINE)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", ["amia", "mixgen", "rmda", "memory_hard"])
def test_published_configs_say_what_became_of_columns(name, rich, splits, tmp_path):
    keep = ["author", "mood"]
    out = tmp_path / "aug"
    run = augment(splits, quick(name), out=out, keep=keep, part_size=5, progress=False)
    done = publish(run, out)
    others = sorted({"author", *KINDS, *BY_WORD})
    kept = [] if name == "rmda" else keep
    aligned = sorted(BY_WORD) if name in FOLLOW else []
    emptied = [column for column in others if column not in (*kept, *aligned)]
    told = {"kept": kept, "realigned": aligned, "emptied": emptied}
    told = {fate: names for fate, names in told.items() if names}
    assert run.columns == done.columns == told
    assert json.loads((run.folder / "run.json").read_text())["columns"] == told
    assert read_note(out / run.recipe.config)["columns"] == told
    line = card_line(out)
    for fate, start in {
        "kept": "kept as asked for (the gold post's): ",
        "realigned": "re-aligned with the words (null beside a new word): ",
        "emptied": "emptied (null): ",
    }.items():
        assert (start + ", ".join(f"`{column}`" for column in told.get(fate, ()))) in line or fate not in told
    config = load_dataset(str(out), run.recipe.config)
    gold = {row["id"]: row for split in splits.values() for row in rows(split)}
    made = 0
    for row in (row for split in config.values() for row in rows(split)):
        is_gold = row["method"] == "gold"
        made += not is_gold
        for column in ("author", *KINDS):
            assert row[column] == (gold[row["source_id"]][column] if is_gold or column in kept else None)
        assert row["pos_tags"] == gold[row["id"]]["pos_tags"] if is_gold else row["pos_tags"] or name not in FOLLOW
    assert made
    assert {column: config["train"].features[column] for column in KINDS} == KINDS
    assert f"{spell(told)}" in show(out, run.recipe.config, out=tmp_path / "page.html").read_text()
    found = verify_folder(out, run.recipe.config, rerun=True, source=splits)
    assert found.ok, found.difference


def test_without_other_columns_nothing_is_said(splits, tmp_path):
    plain = splits.select_columns(["id", "tokens", "ner_tags"])
    run = augment(plain, EDA(copies=1), out=tmp_path / "aug", progress=False)
    publish(run, tmp_path / "aug")
    assert run.columns == {}
    assert COLUMNS_LINE not in (tmp_path / "aug" / "README.md").read_text()
    learned = json.loads(artifacts.load(run.method.artifact))
    assert sorted(learned) == ["features", "learned", "method"]


def test_workers_and_another_machine_find_the_partners_words(splits, tmp_path, monkeypatch):
    texts = splits.remove_columns(["image", "thumbnail"])
    one = augment(texts, MixGen(copies=3), out=tmp_path / "one", part_size=4, progress=False)
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "elsewhere"))
    shutil.copytree(one.folder / "fit", tmp_path / "two.runs" / one.folder.name / "fit")
    two = augment(texts, MixGen(copies=3), out=tmp_path / "two", part_size=4, num_proc=2, progress=False)
    assert rows(two.dataset) == rows(one.dataset)
    for row in rows(two.dataset):
        assert check_words(row) == len(row["tokens"]) * 2


def test_withdrawn_posts_leave_a_config_of_kept_columns_whole(splits, tmp_path):
    out = tmp_path / "aug"
    publish(augment(splits, EDA(copies=2), out=out, keep=["author"], progress=False), out)
    told = read_note(out / "eda_100pct")["columns"]
    assert withdraw_posts(out, ["p0"])["eda_100pct"] > 1
    assert verify_folder(out, "eda_100pct").ok
    assert read_note(out / "eda_100pct")["columns"] == told
    assert "kept as asked for" in card_line(out)
    train = load_dataset(str(out), "eda_100pct")["train"]
    assert all(row["author"] == f"author of {row['source_id']}" for row in rows(train))


def test_ids_only_configs_come_back_whole(splits, tmp_path):
    method = build("rmda", copies=2, image=False)
    with pytest.warns(UserWarning, match="rmda keeps nothing of retrieved posts: author is null"):
        run = augment(splits, method, out=tmp_path / "run", keep=["author"], progress=False)
    publish(run, tmp_path / "stubs", retrieved="ids-only")
    whole = publish(run, tmp_path / "whole")
    again = hydrate(tmp_path / "stubs", "rmda_100pct", tmp_path / "back", corpus=params_of("rmda")["corpus"])
    assert again.content_fingerprint == whole.content_fingerprint
    stubs = load_dataset(str(tmp_path / "stubs"), "rmda_100pct_retrieved")["train"]
    assert set(stubs["author"]) == {None}
    assert stubs.features["author"] == Value("string")


def test_the_command_line_keeps_and_says_so(splits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    texts = splits.select_columns(["id", "tokens", "ner_tags", "author", "text", "likes", "pos_tags"])
    for split in texts:
        texts[split].to_parquet(f"src/{split}.parquet")

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["hf-mner-aug", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr()

    code, told = call("augment", "src", "--method", "eda", "--keep", "likes", "--keep", "author", "--out", "a")
    assert code == 0
    assert "in made posts: kept: author, likes; re-aligned: pos_tags; emptied: text\n" in told.out
    code, told = call("augment", "src", "--recipe", "a/eda_100pct/augmentation.json", "--out", "b")
    name = "eda_100pct/train-00000-of-00001.parquet"
    assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
    assert call("verify", "a", "eda_100pct", "--rerun", "--source", "src")[1].out.endswith("the same\n")
    code, told = call("augment", "src", "--method", "eda", "--keep", "likes", "--out", "a")
    assert (code, "was made by recipe" in told.err) == (2, True)
    for keep, said in (("like", "did you mean 'likes'? valid are author, likes, text"), ("pos_tags", "leave it out")):
        code, told = call("augment", "src", "--method", "eda", "--keep", keep, "--out", "c")
        assert code == 2
        assert said in told.err
        assert told.err.count("\n") == 1
    assert not list(Path().glob("c*"))


@pytest.mark.skipif(not CASE.is_dir(), reason="the small inputs are not here")
def test_the_caption_of_the_old_picture_does_not_stand_beside_the_new_one(tmp_path):
    run = augment(CASE, AMIA(), out=tmp_path / "aug", fraction=0.4, progress=False)
    publish(run, tmp_path / "aug")
    assert {row["image_caption"] for row in rows(run.dataset)} == {None}
    assert "`image_caption`, `image_height`, `image_matches`, `image_width`" in card_line(tmp_path / "aug")
