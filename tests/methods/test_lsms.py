import json
from collections import Counter

import pytest
from conftest import SETS, parse
from hypothesis import given
from hypothesis import strategies as st

from hf_mner_aug.draw import draw
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.methods.lsms import (
    LSMS,
    OPERATIONS,
    Lexicon,
    chosen,
    replace_mentions,
    replace_synonyms,
    replace_tokens,
    segments_of,
    shuffle_segments,
)
from hf_mner_aug.posts.lexicon import LabelCounts, mention_counts, ordinary_words, tag_keys
from hf_mner_aug.posts.listed_mentions import Names, Writing, fit_names
from hf_mner_aug.posts.name_lists import ListedName
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import Codec, Entity, Post, Relation, respell
from hf_mner_aug.storage import artifacts
from hf_mner_aug.transform import Reject

WORDS = {
    "O": ["so", "so", "happy", "rain"],
    "B-PER": ["Lionel", "Adele"],
    "I-PER": ["Messi"],
    "B-LOC": ["Paris", "New"],
    "I-LOC": ["York"],
}
MENTIONS = {"PER": [["Lionel", "Messi"], ["Adele"]], "LOC": [["Paris"], ["New", "York", "City"]]}
SYNONYMS = {"happy": ["glad", "merry"], "rain": ["snow"], "today": ["tonight"]}
LEXICON = Lexicon(WORDS, MENTIONS, SYNONYMS)


class Script:
    """A draw that gives what the test says."""

    def __init__(self, numbers=(), choices=(), orders=()):
        self.numbers, self.choices, self.orders = list(numbers), list(choices), list(orders)

    def subset(self, items, probability):
        taken, self.numbers = self.numbers[: len(items)], self.numbers[len(items) :]
        return [item for item, number in zip(items, taken, strict=True) if number < probability]

    def choice(self, items):
        found = self.choices.pop(0)
        assert found in items
        return found

    def shuffled(self, items):
        return [items[i] for i in self.orders.pop(0)]


def post(text, **changes):
    return Post("p", *parse(text), **changes)


def fitted(**params):
    """A method that learnt the lexicon above, each word and mention once but for two so."""
    words = {key: dict(Counter(found)) for key, found in WORDS.items()}
    mentions = {key: [[words, 1] for words in found] for key, found in MENTIONS.items()}
    learned = {"words": words, "mentions": mentions, "synonyms": SYNONYMS}
    return LSMS(artifact=artifacts.save_json({"features": {}, "learned": learned, "method": "lsms"}), **params)


def copies(method, of, n=40):
    return method.rewrite([of] * n, [draw(method.seed, "lsms", 1, of.id, copy) for copy in range(n)])


def words_of(found, spans):
    return [list(found.tokens[start:end]) for start, end in spans]


# ---------------------------------------------------------------- the four operations by hand


def test_chosen():
    assert chosen("abcd", 0.3, Script([0.1, 0.3, 0.9, 0.29])) == ["a", "d"]
    assert chosen("abcd", 0.3, Script([0.5] * 4, choices=["c"])) == ["c"]
    assert chosen("ab", 1.0, Script([0.0, 0.999])) == ["a", "b"]


def test_replace_tokens():
    of = post("see [PER Lionel Messi] today")
    made = replace_tokens(of, [0, 1, 2, 3], 0.3, LEXICON, Script([0.1, 0.2, 0.9, 0.1], ["happy", "Adele", "so"]))
    assert made == ["happy", "Adele", "Messi", "so"]


def test_replace_tokens_of_a_label_that_train_does_not_have():
    of = Post("p", ["NBC"], (Entity(0, 1, "ORG"),))
    assert replace_tokens(of, [0], 1.0, LEXICON, Script([0.5], ["NBC"])) == ["NBC"]


def test_replace_synonyms():
    made = replace_synonyms(["so", "HAPPY", "rain"], [1, 2], 0.3, LEXICON, Script([0.1, 0.2], ["merry", "snow"]))
    assert made == ["so", "MERRY", "snow"]


def test_replace_mentions():
    of = post("see [PER Adele] in [LOC New York City] today")
    edits = replace_mentions(of.entities, 0.3, LEXICON, Script([0.1, 0.2], [["Lionel", "Messi"], ["Paris"]]))
    assert edits == {1: ["Lionel", "Messi"], 3: ["Paris"], 4: [], 5: []}
    made = respell(of, edits)
    assert made.tokens == ["see", "Lionel", "Messi", "in", "Paris", "today"]
    assert made.entities == (Entity(1, 3, "PER"), Entity(4, 5, "LOC"))


def test_segments():
    assert segments_of(post("a b [PER c d] e [LOC f] g h i")) == [(2, 4), (0, 2), (6, 9)]
    assert segments_of(post("[PER a b] [LOC c d]")) == [(0, 2), (2, 4)]
    assert segments_of(post("[PER a] b [LOC c]")) == []
    assert segments_of(post("a b")) == [(0, 2)]
    # Head and tail of a relation are never shuffled.
    assert segments_of(Post("p", list("abcdefg"), relation=Relation((4, 6), (0, 2), "r"))) == [(2, 4)]


def test_shuffle_segments():
    made = shuffle_segments(list("abcdef"), [(0, 3), (4, 6)], 0.3, Script([0.1, 0.2], orders=[[2, 0, 1], [1, 0]]))
    assert "".join(made) == "cabdfe"
    one = shuffle_segments(list("abcdef"), [(0, 3), (4, 6)], 0.3, Script([0.5, 0.2], orders=[[1, 0]]))
    assert "".join(one) == "abcdfe"


def test_operations_are_drawn_evenly_from_those_that_apply():
    made = copies(fitted(), post("see [PER Ann] happy today"), 2_000)
    counts = Counter(m.detail if isinstance(m, Reject) else m.details["operation"] for m in made)
    assert set(counts) == set(OPERATIONS)
    assert all(430 < n < 570 for n in counts.values())
    # A post of one mention alone: no words with synonyms, no segment.
    some = copies(fitted(), post("[PER Jordan]"), 200)
    assert {m.details["operation"] for m in some if isinstance(m, Post)} == {"token", "mention"}


def test_share_of_replaced_words():
    of = Post("p", ["zzz"] * 20)
    made = copies(fitted(operations=("token",)), of, 1_000)
    share = sum(20 - Counter(m.tokens)["zzz"] for m in made) / 20_000
    assert 0.29 < share < 0.31


def test_words_come_as_often_as_in_train():
    made = copies(fitted(operations=("token",), ratio=1.0), Post("p", ["zzz"] * 20), 300)
    counts = Counter(word for m in made for word in m.tokens)
    assert 0.48 < counts["so"] / counts.total() < 0.52  # two of the four words without a label
    assert 0.23 < counts["rain"] / counts.total() < 0.27


# ---------------------------------------------------------------- boxes, relations, fine types


def boxed(text):
    found = post(text)
    entities = tuple(Entity(e.start, e.end, e.type, boxes=((0.0, 0.0, 9.0, 9.0),)) for e in found.entities)
    return Post("p", found.tokens, entities)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_boxes_go_with_the_words_they_were_drawn_for(operation):
    of = boxed("so happy to see [PER Taylor Swift] in [LOC Paris] today")
    seen = set()
    for made in copies(fitted(operations=(operation,)), of, 60):
        if isinstance(made, Reject):
            continue
        for old, new in zip(of.entities, made.entities, strict=True):
            before, after = of.tokens[old.start : old.end], made.tokens[new.start : new.end]
            same = Counter(before) == Counter(after)
            seen.add(same)
            assert new.boxes == (old.boxes if same else ())
    assert seen == ({True} if operation in ("synonym", "shuffle") else {True, False})


def test_heads_and_tails_stay():
    relation = Relation((1, 3), (5, 6), "r")
    of = Post("p", ["see", "Ann", "Lee", "in", "happy", "Rome", "rain", "today"], relation=relation)
    for made in copies(fitted(ratio=1.0), of, 100):
        if isinstance(made, Post):
            assert made.relation == relation
            assert (made.tokens[1:3], made.tokens[5]) == (["Ann", "Lee"], "Rome")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_head_and_tail_that_share_words_stay(operation):
    """As in MNRE, where the tail can lie within the head; what stands beside them may change."""
    relation = Relation((2, 5), (3, 4), "r")
    of = Post("p", ["happy", "rain", "Ann", "Lee", "Corp", "happy", "today"], (Entity(2, 5, "LOC"),), (), relation)
    made = [m for m in copies(fitted(operations=(operation,), ratio=1.0), of) if isinstance(m, Post)]
    assert all(m.tokens[2:5] == ["Ann", "Lee", "Corp"] and m.relation == relation for m in made)
    assert bool(made) == (operation != "mention")


def test_relation_and_entities_together():
    """A mention that is the head stays; one that is not may change, and the spans follow."""
    entities = (Entity(0, 1, "PER"), Entity(2, 3, "LOC"), Entity(4, 5, "LOC"))
    of = Post("p", ["Ann", "and", "Oslo", "or", "Rome"], entities, relation=Relation((0, 1), (4, 5), "r"))
    for made in copies(fitted(operations=("mention",), ratio=1.0), of):
        assert words_of(made, [made.relation.head, made.relation.tail]) == [["Ann"], ["Rome"]]
        assert words_of(made, [(made.entities[1].start, made.entities[1].end)])[0] in MENTIONS["LOC"]


def test_mentions_are_replaced_within_their_fine_type(sets):
    dataset = sets["fmnerg"]
    codec = Codec(dataset.features)
    gold = [codec.to_post(row) for row in dataset.with_format("arrow")[:].to_pylist()]
    known = {key: [words for words, _ in found] for key, found in mention_counts(gold).items()}
    assert set(known) == {"PER/person", "LOC/city", "ORG/company", "MISC/show"}
    method = LSMS(operations=("mention",), copies=5).fit(dataset)
    for row in method.map(dataset).with_format("arrow")[:].to_pylist():
        for e in codec.to_post(row).entities:
            assert row["tokens"][e.start : e.end] in known[f"{e.type}/{e.fine}"]


# ---------------------------------------------------------------- rejects and parameters


def test_nothing_to_change():
    (made,) = copies(fitted(operations=("mention", "shuffle")), post("hello"), 1)
    assert made == Reject("nothing_to_change", "none of mention, shuffle applies")
    whole = Post("p", ["Ann", "Rome"], relation=Relation((0, 1), (1, 2), "r"))
    assert {m.reason for m in copies(fitted(), whole)} == {"nothing_to_change"}


def test_unchanged():
    of = Post("p", ["Messi"], (Entity(0, 1, "MISC"),))
    assert set(copies(fitted(operations=("token",)), of)) == {Reject("unchanged", "token")}
    shuffled = copies(fitted(operations=("shuffle",)), post("a b"), 200)
    kept = sum(m == Reject("unchanged", "shuffle") for m in shuffled)
    assert 70 < kept < 130  # half the orders of two words


def test_ratio_is_a_share():
    for ratio in (0, -1, 1.01):
        with pytest.raises(UsageError, match=r"lsms: ratio must be in \(0, 1\], found"):
            LSMS(ratio=ratio)


def test_names_of_operations():
    with pytest.raises(UnknownName, match="unknown value of operations 'mentions': did you mean 'mention'"):
        LSMS(operations=("token", "mentions"))
    with pytest.raises(UsageError, match="lsms: operations must be some of token, synonym, mention, shuffle"):
        LSMS(operations=())


def test_learns_words_mentions_and_synonyms(mner):
    codec = Codec(mner.features)
    gold = [codec.to_post(row) for row in mner.with_format("arrow")[:].to_pylist()]
    learned = LSMS().fit(mner).learned
    counts = LabelCounts()
    assert list(counts.counting(gold)) == gold
    assert learned["words"] == counts.words()
    assert learned["words"]["B-PER"] == {"Adele": 1, "Jordan": 2, "Lionel": 1, "Stephen": 1, "Steve": 1, "Taylor": 1}
    assert learned["mentions"]["MISC"] == [[["Game", "of", "Thrones"], 1], [["The", "Office"], 1]]
    assert "happy" in learned["synonyms"]


def write_wordnet(folder, *words):
    """Files of WordNet in which these nouns are one synset."""
    for part in ("noun", "verb", "adj", "adv"):
        index = "".join(f"{word} n 1 0 1 0 00000000\n" for word in words) if part == "noun" else ""
        data = f"00000000 03 n {len(words):02x} {' '.join(f'{word} 0' for word in words)} 000 | one meaning\n"
        (folder / f"index.{part}").write_text(index)
        (folder / f"data.{part}").write_text(data if index else "")


def test_synonyms_of_wordnet(mner, tmp_path):
    """WordNet's words stand for those of train, and the recipe names their content."""
    write_wordnet(tmp_path, "happy", "cheerful", "merry")
    method = LSMS(operations=("synonym",), ratio=1.0, copies=1, synonyms="wordnet", synonyms_from=str(tmp_path))
    fitted = method.fit(mner)
    assert fitted.learned["synonyms"] == {"happy": ["cheerful", "merry"]}
    made = fitted.map(mner)
    changed = [
        (old, new)
        for row in made
        for old, new in zip(tokens_of(mner, row["source_id"]), row["tokens"], strict=True)
        if old != new
    ]
    assert changed
    assert {(old.lower(), new.lower()) for old, new in changed} == {("happy", "cheerful"), ("happy", "merry")}
    assert fitted.synonyms_from == method.pinned().synonyms_from != method.synonyms_from
    write_wordnet(tmp_path, "happy", "jolly")
    with pytest.raises(UsageError, match=r"synonyms_from .*expected the content with sha256"):
        fitted.fit(mner)


def tokens_of(dataset, name):
    return dataset["tokens"][list(dataset["id"]).index(name)]


def test_the_parameters_of_synonyms():
    with pytest.raises(UsageError, match="lsms: synonyms=vectors needs a file of word vectors"):
        LSMS(synonyms="vectors")
    with pytest.raises(UsageError, match="lsms: synonyms_from is for synonyms=vectors or wordnet"):
        LSMS(synonyms_from="x")
    with pytest.raises(UnknownName, match="unknown synonyms 'wordnets': did you mean 'wordnet'"):
        LSMS(synonyms="wordnets")
    assert not {"synonyms", "synonyms_from"} & LSMS().params.keys(), "recipes of before stay as they are"


# ---------------------------------------------------------------- properties

TWEET = ("happy", "Happy", "RAIN", "see", "@joe", "#NBA", "http://t.co/x", "RT", "@", "#", "!", "😂", "\u00a0", "today")


@st.composite
def posts(take):
    """Posts of tweet-like words, some of which are labelled."""
    tokens = take(st.lists(st.sampled_from(TWEET), min_size=1, max_size=14))
    cuts = sorted(take(st.sets(st.integers(0, len(tokens)), max_size=6)))
    kinds = st.sampled_from(["PER", "LOC", "ORG"])
    entities = tuple(
        Entity(a, b, take(kinds), boxes=((1.0, 2.0, 3.0, 4.0),)) for a, b in zip(cuts[::2], cuts[1::2], strict=False)
    )
    return Post("p", tokens, entities)


@given(posts(), st.integers(0, 50), st.sampled_from(OPERATIONS), st.sampled_from([0.1, 0.5, 1.0]))
def test_labels_stay_and_each_operation_changes_only_its_own(of, seed, operation, ratio):
    (made,) = copies(fitted(seed=seed, operations=(operation,), ratio=ratio), of, 1)
    if isinstance(made, Reject):
        assert made.reason in LSMS.rejects
        return
    assert made.tokens != of.tokens
    assert [e.type for e in made.entities] == [e.type for e in of.entities]
    keys = tag_keys(made)
    assert len(keys) == len(made.tokens)
    if operation != "mention":
        assert keys == tag_keys(of)
    if operation == "token":
        changed = [i for i, (old, new) in enumerate(zip(of.tokens, made.tokens, strict=True)) if old != new]
        assert all(made.tokens[i] in WORDS[keys[i]] for i in changed)
    elif operation == "synonym":
        ordinary = ordinary_words(of)
        for i, (old, new) in enumerate(zip(of.tokens, made.tokens, strict=True)):
            assert old == new or (i in ordinary and new.casefold() in SYNONYMS[old.casefold()])
            assert (old.isupper(), old[:1].isupper()) == (new.isupper(), new[:1].isupper())
    elif operation == "mention":
        for old, new in zip(of.entities, made.entities, strict=True):
            words = list(made.tokens[new.start : new.end])
            assert words == list(of.tokens[old.start : old.end]) or words in MENTIONS[new.type]
        outside = [of.tokens[i] for i in of.outside()]
        assert [made.tokens[i] for i in made.outside()] == outside
    else:
        assert Counter(made.tokens) == Counter(of.tokens)
        spans = [(e.start, e.end) for e in of.entities]
        for before, after in zip(words_of(of, spans), words_of(made, spans), strict=True):
            assert Counter(before) == Counter(after)


@pytest.mark.parametrize("kind", SETS)
def test_labels_of_every_kind_of_set_stay(kind, sets):
    dataset = sets[kind]
    codec = Codec(dataset.features)
    method = LSMS().fit(dataset)
    gold = {row["id"]: codec.to_post(row) for row in dataset.with_format("arrow")[:].to_pylist()}
    made = [codec.to_post(row) for row in method.map(dataset).with_format("arrow")[:].to_pylist()]
    for new in made:
        old = gold[new.id.split("+")[0]]
        assert new.images == old.images
        assert [(e.type, e.fine) for e in new.entities] == [(e.type, e.fine) for e in old.entities]
        if old.relation:
            assert new.relation.type == old.relation.type
            assert words_of(new, [new.relation.head, new.relation.tail]) == words_of(
                old, [old.relation.head, old.relation.tail]
            )
    if kind in ("gmner", "fmnerg"):
        boxes = [sum(len(e.boxes) for e in p.entities) for p in made]
        before = [sum(len(e.boxes) for e in gold[p.id.split("+")[0]].entities) for p in made]
        assert 0 < sum(boxes) < sum(before)


# ---------------------------------------------------------------- names from outside


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A list of names that no set has, in a folder whose name is told nowhere."""
    path = tmp_path_factory.mktemp("secret") / "names.tsv"
    path.write_text("".join(f"{kind}\tZyx{i} Wvu{i}\t{i + 1}\n" for kind in ("PER", "LOC", "ORG") for i in range(30)))
    return path


def listed_in(made):
    """Return the names in the provenance of rows, and the mentions of the rows that no train post can have."""
    notes = [name for note in made["provenance"] for name in json.loads(note)["details"].get("listed", ())]
    posts = map(Codec(made.features).to_post, made.with_format("arrow")[:].to_pylist())
    mentions = [" ".join(post.tokens[e.start : e.end]) for post in posts for e in post.entities]
    return Counter(notes), Counter(mention for mention in mentions if "zyx" in mention.casefold())


def test_mentions_come_from_a_list_by_the_share(mner, listed):
    with pytest.warns(UserWarning, match="has no name of MISC"):
        fits = {
            share: LSMS(mentions=str(listed), mention_share=share, operations=("mention",), ratio=1.0).fit(mner)
            for share in (0.0, 0.5, 1.0)
        }
    made = {share: fit.map(mner) for share, fit in fits.items()}
    counts = {share: listed_in(rows) for share, rows in made.items()}
    assert counts[0.0] == (Counter(), Counter())
    for share in (0.5, 1.0):
        noted, there = counts[share]
        assert noted == there, "provenance names exactly the listed mentions"
    assert 0.35 < counts[0.5][0].total() / counts[1.0][0].total() < 0.65
    note = made[1.0]["provenance"][0]
    assert json.loads(note)["params"].keys() == {"mention_share", "mentions", "operations", "ratio"}
    assert "secret" not in note


def test_a_list_changes_nothing_but_the_mentions_it_gives(mner, listed):
    plain = LSMS(ratio=1.0).fit(mner).map(mner)
    none = LSMS(ratio=1.0, mentions=str(listed), mention_share=0.0).fit(mner).map(mner)
    assert none["tokens"] == plain["tokens"]
    assert next(set(json.loads(note)["params"]) for note in plain["provenance"]) == {"operations", "ratio"}


def test_a_recipe_names_the_list_by_its_content_and_runs_elsewhere(mner, listed, tmp_path, monkeypatch):
    recipe = Recipe.of(method="lsms", params={"mentions": str(listed)})
    assert str(listed) not in json.dumps(recipe.to_dict())
    assert recipe.params["mentions"].startswith("sha256:")
    with pytest.warns(UserWarning, match="has no name of MISC"):
        here = recipe.build().fit(mner)
    told = " ".join(here.cautions)
    assert recipe.params["mentions"][7:19] in told
    assert "secret" not in told
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match=r"no list of names .* name the list's file: mentions=FILE, for verify with"):
        recipe.build().fit(mner)
    moved = tmp_path / "other.jsonl"
    lines = reversed(listed.read_text().splitlines())
    rows = (dict(zip(("type", "name", "weight"), line.split("\t"), strict=True)) for line in lines)
    moved.write_text("\n".join(json.dumps({**row, "weight": float(row["weight"])}) for row in rows))
    again = Recipe.of(method="lsms", params={"mentions": str(moved)})
    assert again == recipe
    assert again.fingerprint == recipe.fingerprint
    with pytest.warns(UserWarning, match="has no name of MISC"):
        assert again.build().fit(mner) == here


def test_a_type_of_the_list_that_train_lacks_is_refused(mner, tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text("PER\tAdele\nperson\tAdele\n")
    with pytest.raises(UsageError, match=r"names.tsv line 2: expected a type of train"):
        LSMS(mentions=str(path)).fit(mner)


def test_boxes_of_listed_names_are_left_out(listed):
    names = Names.of(fit_names([ListedName("PER", ("Zyx",))], Writing()))
    boxed = Entity(0, 1, "PER", boxes=((0.0, 0.0, 1.0, 1.0),))
    lexicon = Lexicon(WORDS, MENTIONS, SYNONYMS, names)
    made = LSMS(mention_share=1.0)._edit(
        Post("p", ["Adele", "sang"], [boxed]), {"mention": [boxed]}, lexicon, draw(0, "lsms", 1, "p", 0)
    )
    assert made.entities == (Entity(0, 1, "PER"),)
    assert made.details == {"operation": "mention", "listed": ["Zyx"]}
