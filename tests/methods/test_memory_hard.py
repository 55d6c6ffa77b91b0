"""memory_hard: drafts and their filters, iteration, budget, ablations, and the tree as it is printed."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import ClassVar

import PIL.Image
import pytest
from conftest import as_dataset, parse

from hf_mner_aug import MemoryHard, load_sample
from hf_mner_aug.backbones import Prediction, ScoredSpan
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.methods import memory_hard
from hf_mner_aug.methods.memory_hard import mining
from hf_mner_aug.methods.memory_hard.requests import Memory, check_draft, choose_failure, likeness, success
from hf_mner_aug.methods.memory_hard.tree import Branch, Node, Tree
from hf_mner_aug.models.patterns.cues import mention_shape
from hf_mner_aug.models.patterns.engine import Draft, Pattern, WriteRequest, as_failure
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.patterns.rules import Rules
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.posts.listed_mentions import Names, Writing, fit_names
from hf_mner_aug.posts.name_lists import ListedName
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.runs.recipe import parse_params
from hf_mner_aug.sample import draw_posts
from hf_mner_aug.schema import Codec, Post, mner_features
from hf_mner_aug.storage import artifacts
from hf_mner_aug.transform import Reject

TYPES = ("LOC", "ORG", "PER")
QUICK = {"target": "crf:iterations=10", "detector": "crf:iterations=15", "detectors": 2, "folds": 2, "seeds": 1}
SAMPLE = 60  # posts of the sample set


def failure(text, n=0, kind="missed", predicted=None):
    """The nth entity of a text as a failure."""
    tokens, entities = parse(text)
    spans = tuple((e.start, e.end, e.type) for e in entities)
    return Failure(text, tuple(tokens), spans, kind, spans[n], predicted)


# ---------------------------------------------------------------- filters


def test_a_draft_must_have_sound_spans_and_the_entity_asked_for():
    asked = failure("off to [LOC Rome]")
    none = replace(asked, kind="spurious", gold=None, predicted=(2, 3, "LOC"))
    words = ("off", "to", "Oslo", "with", "Cher")
    good = Draft(words, ((2, 3, "LOC"), (4, 5, "PER")), (2, 3))
    assert check_draft(good, asked, TYPES) is None
    assert check_draft(replace(good, entities=((4, 5, "PER"),)), none, TYPES) is None
    for wrong, reason in (
        (replace(good, tokens=()), "malformed"),
        (replace(good, tokens=("off", "", "Oslo", "with", "Cher")), "malformed"),
        (replace(good, entities=((2, 6, "LOC"),)), "malformed"),
        (replace(good, entities=((2, 4, "LOC"), (3, 5, "PER"))), "malformed"),
        (replace(good, entities=((2, 3, "GPE"),)), "malformed"),
        (replace(good, focus=(5, 6)), "malformed"),
        (replace(good, entities=((4, 5, "PER"),)), "lost_entity"),
        (replace(good, entities=((2, 3, "ORG"),)), "lost_entity"),
        (replace(good, entities=((2, 4, "LOC"),)), "lost_entity"),
    ):
        refused = check_draft(wrong, asked, TYPES)
        assert refused is not None
        assert refused.reason == reason
    refused = check_draft(good, none, TYPES)
    assert refused == Reject("lost_entity", "Oslo as O")


def test_likeness_by_hand():
    assert likeness(["a", "b", "c"], ["A", "b", "c"]) == 1.0
    assert likeness(["a", "b", "c"], ["a", "b", "d"]) == pytest.approx(1 / 3)
    assert likeness(["a", "b"], ["c", "d"]) == 0.0


def test_success_by_laplace():
    assert success({}, "x") == 0.5
    assert success({"x": (8, 8)}, "x") == 0.9


# ---------------------------------------------------------------- the engine of rules


def write_one(engine, *asked):
    """The engine's answer to one request."""
    (answer,) = engine.write([WriteRequest(*asked)])
    return answer


def test_a_post_of_rules_takes_the_words_around_mentions_and_another_mention():
    texts = ["off to [LOC rome] with [PER Cher] today", "way to [LOC oslo] with mom", "we love [LOC Turin]"]
    posts = [Post(str(i), *parse(text)) for i, text in enumerate([*texts, "in [LOC bergen] now", "met [PER Adele]"])]
    one, other = failure(texts[0]), failure(texts[1])
    seen = set()
    for i in range(60):
        draft = write_one(Rules.of(posts), one, [Pattern("p", "", "", "")], [other], [], Draw(bytes([i])))
        assert isinstance(draft, Draft)
        start, end = draft.focus
        assert check_draft(draft, one, TYPES) is None
        assert " ".join(draft.tokens[start:end]) in {"rome", "oslo", "bergen"}, "written as the failure is"
        assert draft.tokens[:start] in {("off", "to"), ("way", "to")}
        after = " ".join(draft.tokens[end:])
        assert after in {"with Cher today", "with Adele today", "with mom"}
        named = [" ".join(draft.tokens[s:e]) for s, e, kind in draft.entities if kind == "PER"]
        assert named == [word for word in ("Cher", "Adele") if word in after]
        seen.add(draft.tokens)
    assert len(seen) > 8
    alone = write_one(Rules.of(posts), one, [], [other], [], Draw(b"0"))
    assert alone.tokens[:2] == ("off", "to"), "without a pattern: the failure's own post"
    alone = [write_one(Rules.of(posts), one, [], [], [], Draw(bytes([i]))).tokens[2] for i in range(40)]
    assert set(alone) == {"oslo", "bergen", "Turin"}
    assert write_one(
        Rules.of(posts), one, [Pattern("p", "", "", "")], [other], ["off_pattern: p"], Draw(b"1")
    ).made_of == (one.post,)


def test_rules_say_what_they_cannot_write():
    one = failure("off to [LOC rome]")
    assert write_one(Rules.of([]), one, [], [], [], Draw(b"0")) == Unwritten(
        "no_mention", "train has no other mention like rome"
    )
    inside = replace(one, kind="spurious", gold=None, predicted=(2, 3, "PER"))
    assert write_one(Rules.of([]), inside, [], [], [], Draw(b"0")).reason == "no_place"


def test_a_border_keeps_the_word_that_it_hangs_on():
    one = failure("at [LOC Scovill] Zoo now", kind="boundary", predicted=(1, 3, "LOC"))
    other = failure("by [LOC Garfield] Park today", kind="boundary", predicted=(1, 3, "LOC"))
    engine = Rules.of([Post(f.post, f.tokens, parse(f.post)[1]) for f in (one, other)])
    for i in range(20):
        draft = write_one(engine, one, [Pattern("p", "", "", "")], [other], [], Draw(bytes([i])))
        assert draft.tokens in {("at", "Garfield", "Zoo", "now"), ("by", "Scovill", "Park", "today")}
        assert as_failure(draft, one).predicted == (1, 3, "LOC")


def test_articles_fit():
    one = failure("such an [ORG Apple] day")
    posts = [Post("a", *parse("[ORG Google] and [ORG Amazon]"))]
    drafts = {write_one(Rules.of(posts), one, [], [], [], Draw(bytes([i]))).tokens[2] for i in range(20)}
    assert drafts == {"Amazon"}


# ---------------------------------------------------------------- what is written for


def memory_of(counts=(), engine=None):
    """Two posts with a failure each, of two patterns."""
    one, other = failure("off to [LOC Rome]"), failure("met [PER Cher]")
    nodes = [Node(Pattern(f.text, "", "", ""), (f.id,), {}, None, 1) for f in (one, other)]
    branches = (Branch("missed", "LOC", "O", (nodes[0],), ()), Branch("missed", "PER", "O", (nodes[1],), ()))
    tree = Tree("crf", {f.id: f for f in (one, other)}, branches)
    keys = [node.key for node in nodes]
    rounds = ({keys[i]: count for i, count in enumerate(counts)},) if counts else ()
    return Memory(tree, engine, TYPES, frozenset(), (), False, rounds), one, other


def test_budget_moves_to_patterns_that_yield():
    memory, one, other = memory_of(counts=[(98, 0), (98, 98)])
    draws = [Draw(f"{i}".encode()) for i in range(400)]
    assert all(choose_failure(memory, one.post, 0, draw) == one for draw in draws), "the first round is even"
    moved = Counter(choose_failure(memory, one.post, 1, draw).id for draw in draws)
    # Kept with 0.01; else drawn by 0.01 and 0.99.
    assert moved[other.id] / 400 == pytest.approx(0.99 * 0.99, abs=0.03)
    stays = Counter(choose_failure(memory, other.post, 1, draw).id for draw in draws)
    assert stays[other.id] > 390


def test_what_gold_may_lack_is_written_for_on_demand():
    seen = replace(failure("met [PER Cher] in Oslo"), kind="spurious", gold=None, predicted=(3, 4, "LOC"))
    memory, one, other = memory_of()
    memory = replace(memory, tree=replace(memory.tree, failures={**memory.tree.failures, seen.id: seen}))
    assert memory.repairable == [one, other]
    assert replace(memory, spurious=True).repairable == [one, other, seen]
    assert seen.post not in memory.by_post


@dataclass
class Scripted:
    """Gives these answers in turn, and notes what it was told."""

    name: ClassVar[str] = "scripted"
    identity: ClassVar[str] = "scripted"
    answers: list
    told: list = field(default_factory=list)

    def matches(self, questions):
        return [[pattern.name in f.tokens for f in failures] for pattern, failures in questions]

    def write(self, requests):
        return [self._write(request) for request in requests]

    def _write(self, r):
        self.told.append((list(r.critiques), [p.name for p in r.patterns], [e.post for e in r.exemplars], r.draw.key))
        return self.answers[(len(self.told) - 1) % len(self.answers)]


def written_by(answers, **chosen):
    """Return the outcome for a failure whose pattern (``today``) has two others, and what the engine was told."""
    own = failure("off to [LOC Rome] again today")
    others = [failure(f"on to [LOC Oslo] {i} today") for i in range(2)]
    far = failure("we saw [LOC Turin] here")
    known = [own, *others, far]
    node = Node(Pattern("today", "", "", ""), tuple(f.id for f in known[:3]), {}, 0.9, 1)
    branch = Branch("missed", "LOC", "O", (node,), (far.id,))
    engine = Scripted(answers)
    memory = Memory(Tree("crf", {f.id: f for f in known}, (branch,)), engine, TYPES, frozenset(), ())
    method = MemoryHard(detector="", alike=0.8, **chosen)
    (outcome,) = method._write(memory, [(own.post, Draw(b"0"))])
    return outcome, engine.told


GOOD = Draft(("way", "to", "Bergen", "with", "mom", "today"), ((2, 3, "LOC"),), (2, 3))


def test_a_draft_is_written_again_with_what_was_wrong():
    outcome, told = written_by([Unwritten("malformed", "not JSON"), replace(GOOD, entities=((2, 3, "ORG"),)), GOOD])
    assert (outcome.draft, outcome.attempts, outcome.pattern) == (GOOD, 3, "today")
    assert [critiques for critiques, *_ in told] == [
        [],
        ["malformed: not JSON"],
        ["malformed: not JSON", "lost_entity: Bergen as LOC"],
    ]
    assert len({key for *_, key in told}) == 3, "each attempt has its own draw"


def test_after_three_drafts_the_parent_pattern_is_tried_with_other_exemplars():
    short, strange = replace(GOOD, tokens=GOOD.tokens[:4]), replace(GOOD, tokens=(*GOOD.tokens[:5], "soon"))
    same = Draft(("off", "to", "Oslo", "again", "today", "!"), ((2, 3, "LOC"),), (2, 3))
    copied = Draft(("on", "to", "Oslo", "0", "today"), ((2, 3, "LOC"),), (2, 3))
    outcome, told = written_by([short, strange, copied, strange])
    assert (outcome.draft.tokens[-1], outcome.attempts) == ("soon", 4)
    assert outcome.pattern == "LOC is missed", "the pattern's own words are asked for on its own level only"
    assert told[1][0][-1] == "word_count: 4 words"
    assert told[2][0][-1] == "off_pattern: today"
    assert [names for _, names, *_ in told] == [["today", "LOC is missed"]] * 3 + [["LOC is missed"]]
    assert set(told[0][2]) == {"on to [LOC Oslo] 0 today", "on to [LOC Oslo] 1 today"}
    assert "we saw [LOC Turin] here" in told[3][2]
    assert told[3][0] == []
    assert likeness(same.tokens, ("off", "to", "Oslo", "again", "today")) == 0.8


def test_what_never_passes_is_stubborn_after_six_drafts():
    outcome, told = written_by([Unwritten("malformed", "no JSON")])
    assert (outcome.draft, outcome.attempts, len(told)) == (None, 6, 6)
    assert outcome.refused == Reject("malformed", "no JSON")
    outcome, told = written_by([Unwritten("malformed", "no JSON")], iterate=False)
    assert (outcome.draft, outcome.attempts) == (None, 1)


# ---------------------------------------------------------------- the method


@pytest.fixture(scope="module")
def sample():
    """Posts of the sample set, without pictures."""
    posts = [Post(d.post.id, d.post.tokens, d.post.entities) for d in draw_posts()["train"][:SAMPLE]]
    return as_dataset(posts, mner_features())


@pytest.fixture(scope="module")
def fitted(sample):
    return MemoryHard(**QUICK).fit(sample)


def made_by(method, dataset):
    codec = Codec(method.features)
    made = method.map(dataset)
    details = [json.loads(told)["details"] for told in made["provenance"]]
    posts = (
        [codec.to_post(row) for row in made.remove_columns("image").to_list()]
        if "image" not in codec.columns
        else [codec.to_post(row) for row in made.with_format("arrow")[:].to_pylist()]
    )
    return list(zip(posts, details, made["source_id"], strict=True))


def learned_of(method):
    return artifacts.load_json(method.learned["files"]["tree"])


def test_posts_that_are_not_hard_give_no_row(fitted, sample):
    failures = [Failure.from_dict(f) for f in learned_of(fitted)["tree"]["failures"]]
    hard = {f.post for f in failures if f.gold}
    made = fitted.make(sample.with_format("arrow")[:])
    told = made.columns["source_id"] + [reject["source_id"] for reject in made.rejects]
    assert set(told) == hard
    assert len(told) == 2 * len(hard)
    assert 10 < len(hard) < len(sample)


def test_each_post_holds_a_mention_like_the_one_that_was_hard(fitted, sample):
    known = {f.id: f for f in map(Failure.from_dict, learned_of(fitted)["tree"]["failures"])}
    mentions = {
        (" ".join(post.tokens[e.start : e.end]), e.type)
        for post in (d.post for d in draw_posts()["train"][:SAMPLE])
        for e in post.entities
    }
    gold = {" ".join(d.post.tokens).casefold() for d in draw_posts()["train"][:SAMPLE]}
    rows = made_by(fitted, sample)
    for post, details, source in rows:
        one = known[details["failure"]]
        assert post.id.startswith(f"{source}+")
        assert one.post in details["made_of"]
        assert 1 <= details["attempts"] <= 6
        found = {(" ".join(post.tokens[e.start : e.end]), e.type) for e in post.entities}
        assert found <= mentions, "labels are those of train's mentions"
        if one.gold:
            shapes = {(e.type, mention_shape(post.tokens[e.start : e.end])) for e in post.entities}
            hosts = [f for f in known.values() if f.gold and f.post in details["made_of"]]
            assert shapes & {(f.gold[2], mention_shape(f.tokens[slice(*f.words)])) for f in hosts}
        assert " ".join(post.tokens).casefold() not in gold
    assert len(rows) > 30


def test_counts_of_the_first_round_stand_in_the_tree(fitted):
    tree = Tree.from_dict(learned_of(fitted)["tree"])
    tried = sum(tried for tried, _ in tree.counts.values())
    kept = sum(kept for _, kept in tree.counts.values())
    assert tried == len({f.post for f in tree.failures.values() if f.gold})
    assert tried - kept == len(learned_of(fitted)["stubborn"])
    assert [dict(round_) for round_ in fitted.learned["rounds"]] == [
        {key: list(count) for key, count in tree.counts.items()}
    ]


def test_a_model_draws_the_pictures_of_new_texts(monkeypatch):
    """Train's own pictures are not stored for such a model; the set has some all the same."""

    class Red:
        name, source, restyles = "red", "trainedAlgorithmicMedia", False

        def generate(self, sentences, draws, **options):
            return [PIL.Image.new("RGB", (8, 8), "red") for _ in sentences]

    monkeypatch.setattr(memory_hard, "engine_of", lambda *_, **__: Red())
    train = load_sample()["train"].select(range(SAMPLE))
    method = MemoryHard(**QUICK, image_model="org/pipeline").fit(train)
    shown = {row["id"]: row["image"] for row in train.with_format("arrow")[:].to_pylist()}
    made = method.map(train).with_format("arrow")[:].to_pylist()
    drawn = [row["image"] for row in made if row["image"] is not None]
    assert len(drawn) > 10
    assert all(open_rgb(image).getpixel((0, 0))[0] > 200 and open_rgb(image).size == (8, 8) for image in drawn)
    assert [row["image"] is None for row in made] == [shown[row["source_id"]] is None for row in made]


def test_ablations(sample, fitted):
    random = MemoryHard(mining=False, **QUICK).fit(sample)
    posts = {f["post"] for f in learned_of(random)["tree"]["failures"]}
    mined = {f["post"] for f in learned_of(fitted)["tree"]["failures"] if f["gold"]}
    assert len(posts) == len(mined)
    assert posts != mined
    flat = MemoryHard(tree=False, **QUICK).fit(sample)
    assert learned_of(flat)["tree"]["branches"] == []
    rows = made_by(flat, sample)
    assert {details["pattern"] for _, details, _ in rows} == {""}
    assert all(details["made_of"] == [details["failure"].rpartition(":")[0]] for _, details, _ in rows)
    once = MemoryHard(iterate=False, **QUICK).fit(sample)
    made = made_by(once, sample)
    assert {details["attempts"] for _, details, _ in made} == {1}
    assert len(made) < len(made_by(fitted, sample))


def test_detectors_must_find_the_entities(sample, fitted, monkeypatch):
    def nobody(spec, digests, texts):
        return [[[] for _ in digests] for _ in texts]

    monkeypatch.setattr(memory_hard.filters, "detect", nobody)
    made = fitted.make(sample.with_format("arrow")[:])
    labelled = [tags for tags in made.columns["ner_tags"] if any(tags)]
    assert labelled == []
    reasons = Counter(reject["reason"] for reject in made.rejects)
    assert reasons["inconsistent"] > 10
    assert all("6 drafts, the last: missed" in r["detail"] for r in made.rejects if r["reason"] == "inconsistent")


def test_a_model_without_errors_leaves_nothing_to_do(sample, monkeypatch, tmp_path):
    @dataclass(frozen=True)
    class Oracle:
        reads_images: ClassVar[bool] = False
        seed: int = 0

        def fit(self, train, validation=None):
            return self

        def predict(self, posts):
            spans = [tuple(ScoredSpan(e.start, e.end, e.type, 1.0) for e in post.entities) for post in posts]
            return [Prediction(p.id, s, (1.0,) * len(p.tokens)) for p, s in zip(posts, spans, strict=True)]

    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    monkeypatch.setattr(mining, "parse_backbone", lambda spec: Oracle())
    with pytest.warns(UserWarning, match="nothing is hard"):
        method = MemoryHard(**QUICK).fit(sample)
    assert len(method.map(sample)) == 0
    assert method.make(sample.with_format("arrow")[:]).rejects == []


@pytest.mark.filterwarnings("ignore:mining")
def test_failures_say_how_text_and_picture_match(mner):
    codec = Codec(mner.features)
    posts = [codec.to_post(row) for row in mner.with_format("arrow")[:].to_pylist()]
    alike = memory_hard.similarities(posts)
    assert set(alike) == {post.id for post in posts if post.images}
    assert all(-1 <= cosine <= 1 for cosine in alike.values())
    assert len(set(alike.values())) > 10
    assert memory_hard.similarities(posts[:1]) == {}
    fitted = MemoryHard(**{**QUICK, "target": "crf:iterations=2"}).fit(mner)
    told = {f["post"]: f["similarity"] for f in learned_of(fitted)["tree"]["failures"]}
    assert told
    assert told == {name: alike.get(name) for name in told}


def test_bad_parameters():
    for chosen, message in (
        ({"folds": 1}, "folds must be at least 2, found 1"),
        ({"guard": 0.0}, r"guard must be in \(0, 1\], found 0.0"),
        ({"distance": 3.0}, r"distance must be in \(0, 2\], found 3.0"),
        ({"exemplars": -1}, "exemplars must be at least 0, found -1"),
    ):
        with pytest.raises(UsageError, match=f"memory_hard: {message}"):
            MemoryHard(**chosen)
    with pytest.raises(UnknownName, match="unknown backbone 'cfr'"):
        MemoryHard(detector="cfr")
    with pytest.raises(UnknownName, match="engine of patterns"):
        MemoryHard(engine="rulez")


def test_references_keep_their_settings():
    encoder = "token_classifier:encoder=there,steps=30,learning_rate=1e-4"
    typed = parse_params(MemoryHard, {"references": f"{encoder},crf"})
    assert typed["references"] == (encoder, "crf")


# ---------------------------------------------------------------- names from outside


def test_rules_write_names_of_a_list_in_the_form_that_went_wrong():
    texts = ["off to [LOC rome] with [PER Cher] today", "way to [LOC oslo] with mom"]
    posts = [Post(str(i), *parse(text)) for i, text in enumerate([*texts, "in [LOC bergen] now", "met [PER Adele]"])]
    lines = [("LOC", "Zyx"), ("LOC", "Zyx Wvu"), ("PER", "Vut"), ("PER", "Vut Srq")]
    found = Names.of(fit_names([ListedName(kind, tuple(name.split())) for kind, name in lines], Writing.of(posts)))
    one, other = failure(texts[0]), failure(texts[1])
    shares = {}
    for share in (0.0, 0.5, 1.0):
        engine = replace(Rules.of(posts), names=found, share=share)
        foci = Counter()
        for i in range(80):
            draft = write_one(engine, one, [Pattern("p", "", "", "")], [other], [], Draw(bytes([i])))
            words = " ".join(draft.tokens[slice(*draft.focus)])
            mentions = [" ".join(draft.tokens[s:e]) for s, e, _ in draft.entities]
            assert draft.details.get("listed", []) == [m for m in mentions if m.casefold()[:3] in ("zyx", "vut")]
            assert words in {"rome", "oslo", "bergen", "zyx"}, "of the failure's form: one word in lower case"
            assert set(mentions[1:]) <= {"Cher", "Adele", "Vut"}
            foci[words] += 1
        shares[share] = foci["zyx"] / 80
    assert shares[0.0] == 0
    assert shares[1.0] == 1
    assert 0.3 < shares[0.5] < 0.7
    assert write_one(engine, failure(texts[0]), [], [], [], Draw(b"0")).details, "without a pattern, too"
    nothing = replace(Rules.of([]), names=found, share=1.0)
    assert isinstance(write_one(nothing, one, [Pattern("p", "", "", "")], [other], [], Draw(b"0")), Draft)


def test_made_posts_name_the_listed_names_and_detectors_are_not_asked_about_them(sample, fitted, tmp_path):
    path = tmp_path / "secret.tsv"
    path.write_text(
        "".join(f"{kind}\tZyx{i}\n{kind}\tZyx{i} Wvu\n" for kind in ("PER", "LOC", "ORG") for i in range(9))
    )
    method = MemoryHard(**QUICK, mentions=str(path), mention_share=1.0).fit(sample)
    made = made_by(method, sample)
    n_listed = 0
    for post, details, _ in made:
        new = [" ".join(post.tokens[e.start : e.end]) for e in post.entities]
        new = [mention for mention in new if "zyx" in mention.casefold()]
        assert details.get("listed", []) == new
        n_listed += len(new)
    assert n_listed > 10
    assert len(made) > 10
    assert method.mentions.startswith("sha256:")
    assert any(method.mentions[7:19] in told for told in method.cautions)
    assert MemoryHard(**QUICK, mentions=str(path), mention_share=0.0).fit(sample).map(sample)["tokens"] == list(
        fitted.map(sample)["tokens"]
    )
    with pytest.raises(UsageError, match="mentions= is for engine=rules, found engine=endpoint"):
        MemoryHard(engine="endpoint:http://127.0.0.1:9/v1#m", mentions=str(path))
