from collections import Counter

import pytest
from conftest import SETS, parse
from hypothesis import given
from hypothesis import strategies as st

from hf_mner_aug.draw import draw
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.methods.eda import (
    EDA,
    OPERATIONS,
    delete_words,
    editable_words,
    insert_words,
    replace_words,
    swap_words,
)
from hf_mner_aug.models.words import synonyms
from hf_mner_aug.posts.lexicon import nearest_words, ordinary_words
from hf_mner_aug.schema import Codec, Entity, Post, Relation, respell
from hf_mner_aug.storage import artifacts
from hf_mner_aug.transform import Reject

SYNONYMS = {"happy": ["glad", "merry"], "today": ["tonight"], "see": ["meet"], "rain": ["snow"]}


class Script:
    """A draw that gives what the test says: one list for the choices, one for the samples, one for the numbers."""

    def __init__(self, choices=(), samples=(), numbers=()):
        self.choices, self.samples, self.numbers = list(choices), list(samples), list(numbers)

    def choice(self, items):
        found = self.choices.pop(0)
        assert found in items
        return found

    def sample(self, items, k):
        found = self.samples.pop(0)
        assert set(found) <= set(items)
        assert len(found) == min(k, len(items))
        return found

    def subset(self, items, probability):
        taken, self.numbers = self.numbers[: len(items)], self.numbers[len(items) :]
        return [item for item, number in zip(items, taken, strict=True) if number < probability]


def post(text, **changes):
    return Post("p", *parse(text), **changes)


def fitted(synonyms=SYNONYMS, **params):
    """A method that learnt these synonyms."""
    features = {"id": {"dtype": "string", "_type": "Value"}}
    return EDA(artifact=artifacts.save_json({"features": features, "learned": synonyms, "method": "eda"}), **params)


def copies(method, of, n=40):
    return method.rewrite([of] * n, [draw(method.seed, "eda", 1, of.id, copy) for copy in range(n)])


# ---------------------------------------------------------------- the four operations by hand

TOKENS = ["so", "Happy", "to", "SEE", "rain", "today"]


def test_replace_words():
    script = Script(samples=[[1, 3]], choices=["merry", "meet"])
    assert replace_words(TOKENS, [1, 3, 5], 2, SYNONYMS, script) == {1: ["Merry"], 3: ["MEET"]}


def test_replace_takes_as_many_as_there_are():
    script = Script(samples=[[5]], choices=["tonight"])
    assert replace_words(TOKENS, [5], 3, SYNONYMS, script) == {5: ["tonight"]}


def test_insert_words():
    script = Script(samples=[[1, 5]], choices=[2, "glad", 0, "tonight"])
    edits = insert_words(TOKENS, [0, 1, 2], [1, 5], 2, SYNONYMS, script)
    assert edits == {2: ["to", "Glad"], 0: ["so", "tonight"]}
    both = insert_words(
        TOKENS, [0, 1, 2], [1, 5], 2, SYNONYMS, Script(samples=[[1, 5]], choices=[2, "glad", 2, "tonight"])
    )
    assert both == {2: ["to", "Glad", "tonight"]}


def test_swap_words():
    assert swap_words(TOKENS, [0, 2, 4], 1, Script(samples=[[0, 4]])) == {0: ["rain"], 4: ["so"]}
    # The second pair is taken from what the first left: so to rain -> rain to so -> to rain so.
    twice = swap_words(TOKENS, [0, 2, 4], 2, Script(samples=[[0, 4], [0, 2]]))
    assert twice == {0: ["to"], 2: ["rain"], 4: ["so"]}
    assert swap_words(TOKENS, [0, 2], 2, Script(samples=[[0, 2], [0, 2]])) == {0: ["so"], 2: ["to"]}


def test_delete_words():
    assert delete_words([0, 2, 4], 0.1, Script(numbers=[0.05, 0.5, 0.09])) == {0: [], 4: []}
    # Not one was drawn: one goes all the same. All were drawn: one stays.
    assert delete_words([0, 2, 4], 0.1, Script(numbers=[0.5, 0.1, 0.9], choices=[2])) == {2: []}
    assert delete_words([0, 2], 0.1, Script(numbers=[0.0, 0.0], choices=[0])) == {2: []}


def test_method_by_hand():
    """Two labelled words and five others, of which a tenth, at least one, is edited."""
    of = post("so Happy to SEE [PER Lionel Messi] today !")
    method = fitted()
    where, known = ordinary_words(of), [1, 3, 6]
    assert where == [0, 1, 2, 3, 6]

    def edit(**script):
        return method._edit(of, where, known, SYNONYMS, Script(**script))

    replaced = edit(choices=["replace", "tonight"], samples=[[6]])
    assert replaced.tokens == ["so", "Happy", "to", "SEE", "Lionel", "Messi", "tonight", "!"]
    assert replaced.details == {"operation": "replace"}
    inserted = edit(choices=["insert", 0, "meet"], samples=[[3]])
    assert inserted.tokens == ["so", "MEET", "Happy", "to", "SEE", "Lionel", "Messi", "today", "!"]
    assert [(e.start, e.end, e.type) for e in inserted.entities] == [(5, 7, "PER")]
    swapped = edit(choices=["swap"], samples=[[0, 6]])
    assert swapped.tokens == ["today", "Happy", "to", "SEE", "Lionel", "Messi", "so", "!"]
    deleted = edit(choices=["delete"], numbers=[0.05, 0.5, 0.5, 0.01, 0.5])
    assert deleted.tokens == ["Happy", "to", "Lionel", "Messi", "today", "!"]
    assert [(e.start, e.end) for e in deleted.entities] == [(2, 4)]


@pytest.mark.parametrize(("n_words", "alpha", "expected"), [(5, 0.1, 1), (19, 0.1, 1), (20, 0.1, 2), (30, 0.2, 6)])
def test_number_of_edits(n_words, alpha, expected):
    """As the paper: n = max(1, alpha * length)."""
    of = Post("p", ["happy"] * n_words)
    made = copies(fitted(alpha=alpha, operations=("replace",)), of)
    assert {Counter(m.tokens)["happy"] for m in made} == {n_words - expected}
    longer = copies(fitted(alpha=alpha, operations=("insert",)), of)
    assert {len(m.tokens) for m in longer} == {n_words + expected}


def test_operations_are_drawn_evenly():
    made = copies(fitted(), post("so happy to see rain today"), 2_000)
    counts = Counter(m.details["operation"] for m in made)
    assert set(counts) == set(OPERATIONS)
    assert all(430 < n < 570 for n in counts.values())


def test_share_of_deleted_words():
    of = Post("p", [f"{letter}x" for letter in "abcdefghijklmnopqrst"])
    made = copies(fitted(alpha=0.2, operations=("delete",)), of, 1_000)
    share = sum(20 - len(m.tokens) for m in made) / 20_000
    assert 0.19 < share < 0.22  # 0.2, and a little more as at least one goes


# ---------------------------------------------------------------- rejects and parameters


@pytest.mark.parametrize("text", ["[PER Jordan]", "[PER Jordan] wins", "RT @fan : http://t.co/x !", "wins @joe #NBA"])
def test_too_few_words(text):
    (made,) = copies(fitted(), post(text), 1)
    assert isinstance(made, Reject)
    assert made.reason == "fewer_than_two_outside_words"
    assert made.detail == f"{len(editable_words(post(text), 1))} of {len(post(text).tokens)} words may change"


def test_no_synonym():
    made = copies(fitted({}), post("just two words"))
    reasons = Counter(m.reason if isinstance(m, Reject) else m.details["operation"] for m in made)
    assert set(reasons) == {"no_synonym", "swap", "delete"}
    assert all(isinstance(m, Post) for m in copies(fitted({}, operations=("swap",)), post("just two words")))


def test_rejects_of_a_dataset(mner):
    method = EDA(copies=3).fit(mner)
    rejects = method.make(mner.with_format("arrow")[:]).rejects
    too_short = {reject["source_id"] for reject in rejects if reject["reason"] == "fewer_than_two_outside_words"}
    assert too_short == {row["id"] for row in mner if len(editable_words(Codec(mner.features).to_post(row), 1)) < 2}
    assert {"p7", "p8", "p9", "p16"} <= too_short


def test_words_beside_an_entity_are_kept():
    of = post("we all fly to [LOC New York] with old friends")
    assert editable_words(of, 0) == [0, 1, 2, 3, 6, 7, 8]
    assert editable_words(of, 1) == [0, 1, 2, 7, 8]
    assert editable_words(of, 2) == [0, 1, 8]
    for made in copies(fitted(operations=("swap", "delete")), of, 50):
        start, end = made.entities[0].start, made.entities[0].end
        assert (made.tokens[start - 1], made.tokens[end]) == ("to", "with")
    loose = [made.tokens for made in copies(fitted(operations=("delete",), margin=0), of, 50)]
    assert any("to" not in tokens for tokens in loose)
    with pytest.raises(UsageError, match="eda: margin must be at least 0, found -1"):
        EDA(margin=-1)


@pytest.mark.parametrize("alpha", [0, -0.1, 1.1, float("nan")])
def test_alpha_is_a_share(alpha):
    with pytest.raises(UsageError, match=r"eda: alpha must be in \(0, 1\], found"):
        EDA(alpha=alpha)


def test_names_of_operations_and_synonyms():
    with pytest.raises(UnknownName, match="unknown value of operations 'swop': did you mean 'swap'"):
        EDA(operations=("swop",))
    with pytest.raises(UsageError, match="eda: operations must be some of replace, insert, swap, delete"):
        EDA(operations=())
    with pytest.raises(UnknownName, match="unknown synonyms 'wordnets': did you mean 'wordnet'"):
        EDA(synonyms="wordnets")


def test_learns_the_split_or_asks_wordnet(mner, monkeypatch):
    monkeypatch.setattr(synonyms, "wordnet_synonyms", lambda texts, folder: {"happy": [f"of {len(texts)} posts"]})
    assert EDA(synonyms="wordnet").fit(mner).learned == {"happy": ["of 20 posts"]}
    learned = EDA().fit(mner).learned
    codec = Codec(mner.features)
    assert learned == nearest_words([codec.to_post(row) for row in mner.with_format("arrow")[:].to_pylist()])
    assert "happy" in learned
    assert not {"lionel", "barcelona", "@jane", "http://t.co/x1", ":", "rt"} & set(learned)
    assert len(EDA().fit(mner).map(mner)) > 9 * len(mner) / 2


# ---------------------------------------------------------------- properties

WORDS = (
    "happy",
    "Happy",
    "RAIN",
    "see",
    "@joe",
    "#NBA",
    "http://t.co/x",
    "RT",
    "@",
    "#",
    "!",
    "😂",
    "\u00a0",
    "two",
    "x",
)


@st.composite
def random_posts(take):
    """Posts of tweet-like words, some of which are labelled."""
    tokens = take(st.lists(st.sampled_from(WORDS), min_size=1, max_size=14))
    cuts = sorted(take(st.sets(st.integers(0, len(tokens)), max_size=6)))
    spans = zip(cuts[::2], cuts[1::2], strict=False)
    return Post("p", tokens, tuple(Entity(a, b, "PER", boxes=((1.0, 2.0, 3.0, 4.0),)) for a, b in spans))


@given(random_posts(), st.integers(0, 50), st.sampled_from(OPERATIONS), st.sampled_from([0.1, 0.5, 1.0]))
def test_only_ordinary_words_change(of, seed, operation, alpha):
    method = fitted(alpha=alpha, operations=(operation,), seed=seed)
    where = editable_words(of, 1)
    (made,) = copies(method, of, 1)
    if isinstance(made, Reject):
        assert made.reason in EDA.rejects
        assert len(where) < 2 or not any(of.tokens[i].casefold() in SYNONYMS for i in where)
        return
    assert len(where) >= 2

    def mentions(p):
        return [(tuple(p.tokens[e.start : e.end]), e.type, e.boxes) for e in p.entities]

    assert mentions(made) == mentions(of)
    fixed = [token for i, token in enumerate(of.tokens) if i not in where]
    if operation in ("replace", "swap"):
        assert len(made.tokens) == len(of.tokens)
        assert [made.tokens[i] for i in range(len(of.tokens)) if i not in where] == fixed
    if operation == "swap":
        assert Counter(made.tokens) == Counter(of.tokens)
    if operation == "delete":
        assert 1 <= len(of.tokens) - len(made.tokens) < len(where)
        assert not Counter(made.tokens) - Counter(of.tokens)
    if operation == "insert":
        assert not Counter(of.tokens) - Counter(made.tokens)
        assert len(made.tokens) > len(of.tokens)
    # Handles, hashtags, URLs, signs and labelled words stay, in their order.
    rest = iter(made.tokens)
    assert all(token in rest for token in fixed)
    assert made.images == of.images
    assert respell(made, {}) == made


@pytest.mark.parametrize("operation", OPERATIONS)
def test_head_and_tail_follow_their_words(operation):
    """Also where they share words, as in MNRE; what is inserted or deleted before them moves both."""
    tokens = ["so", "happy", "to", "see", "at", "Ann", "Lee", "Corp", "in", "rain", "again", "today"]
    of = Post("p", tokens, relation=Relation((5, 8), (6, 7), "r"))
    starts = set()
    for made in copies(fitted(operations=(operation,), alpha=0.3), of, 200):
        (start, end), tail = made.relation.head, made.relation.tail
        assert made.tokens[start - 1 : end + 1] == ["at", "Ann", "Lee", "Corp", "in"]
        assert (end - start, tail) == (3, (start + 1, start + 2))
        assert made.relation.type == "r"
        starts.add(start)
    assert starts == {"insert": {5, 6, 7, 8}, "delete": {1, 2, 3, 4, 5}}.get(operation, {5})


@pytest.mark.parametrize("kind", SETS)
def test_labels_of_every_kind_of_set_stay(kind, sets):
    dataset = sets[kind]
    codec = Codec(dataset.features)
    method = EDA().fit(dataset)
    gold = {row["id"]: codec.to_post(row) for row in dataset.with_format("arrow")[:].to_pylist()}
    made = [codec.to_post(row) for row in method.map(dataset).with_format("arrow")[:].to_pylist()]
    for new in made:
        old = gold[new.id.split("+")[0]]
        assert words_of(new) == words_of(old)
        assert new.images == old.images
        assert [(e.type, e.fine, e.boxes) for e in new.entities] == [(e.type, e.fine, e.boxes) for e in old.entities]
        assert (new.relation and new.relation.type) == (old.relation and old.relation.type)


def words_of(found):
    return [list(found.tokens[start:end]) for start, end in found.protected()]


def test_synonyms_from_word_vectors(mner, tmp_path):
    """The file has the words' near ones: a plural, a name that train labels, and one that is far are none."""
    near = {"happy": 1.0, "joyful": 0.99, "happyish": 0.98, "barcelona": 0.97, "cheerful": 0.9, "far": 0.1}
    lines = [f"{word} {cosine} {(1 - cosine**2) ** 0.5:.6f}" for word, cosine in near.items()]
    (tmp_path / "vectors.txt").write_text("\n".join(lines) + "\n")
    method = EDA(synonyms="vectors", synonyms_from=str(tmp_path / "vectors.txt"), copies=1, operations=("replace",))
    fitted = method.fit(mner)
    assert fitted.learned == {"happy": ["joyful", "cheerful"]}
    made = fitted.map(mner)
    assert len(made)
    assert all({"joyful", "cheerful"} & {word.lower() for word in row["tokens"]} for row in made)
    with pytest.raises(UsageError, match="synonyms=vectors needs a file of word vectors: pass synonyms_from=FILE"):
        EDA(synonyms="vectors")
    with pytest.raises(UsageError, match="synonyms_from is for synonyms=vectors or wordnet"):
        EDA(synonyms_from="x")
    with pytest.raises(UsageError, match=r"none\.txt cannot be read"):
        EDA(synonyms="vectors", synonyms_from=str(tmp_path / "none.txt")).fit(mner)


def test_a_recipe_names_the_content_of_its_synonyms(mner, tmp_path):
    """Another file at the same path would give other rows under the same recipe."""
    file = tmp_path / "vectors.txt"
    file.write_text("happy 1 0\njoyful 0.9 0.1\n")
    method = EDA(synonyms="vectors", synonyms_from=str(file)).pinned()
    assert method.synonyms_from.startswith("vectors.txt@")
    assert method.pinned() == method
    assert method.fit(mner).learned == {"happy": ["joyful"]}
    file.write_text("happy 1 0\ncheerful 0.9 0.1\n")
    with pytest.raises(
        UsageError, match=r"synonyms_from .*vectors.txt: expected the content with sha256 \w{12}…, found"
    ):
        method.fit(mner)
    folder = EDA(synonyms="wordnet", synonyms_from=str(tmp_path)).pinned()
    (tmp_path / "data.noun").write_text("")
    with pytest.raises(UsageError, match="expected the content with sha256"):
        folder.fit(mner)
    with pytest.raises(UsageError, match=r"synonyms_from .*none.txt cannot be read: there is no such file or folder"):
        EDA(synonyms="vectors", synonyms_from=str(tmp_path / "none.txt")).pinned()
    assert EDA().pinned() == EDA()


def test_wordnet_is_read_from_its_own_files(mner, monkeypatch):
    asked = []
    monkeypatch.setattr(synonyms, "wordnet_synonyms", lambda texts, folder: asked.append(folder) or {"happy": ["glad"]})
    assert EDA(synonyms="wordnet", synonyms_from="dict").fit(mner).learned == {"happy": ["glad"]}
    EDA(synonyms="wordnet").fit(mner)
    assert asked == ["dict", ""]
