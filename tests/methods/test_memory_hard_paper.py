"""The pieces of memory_hard's preset paper: hard posts, four errors, merged patterns, a judge, pictures."""

import json
import warnings

import pytest
from conftest import as_dataset, parse
from endpoint_server import said
from pattern_server import PatternServer, block

from hf_mner_aug import MemoryHard, augment, publish
from hf_mner_aug.backbones import Prediction, ScoredSpan
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import EndpointError, UsageError
from hf_mner_aug.methods import memory_hard
from hf_mner_aug.methods.memory_hard import of_paper
from hf_mner_aug.methods.memory_hard.merging import joined, merge_nodes
from hf_mner_aug.methods.memory_hard.mining import hard_errors
from hf_mner_aug.methods.memory_hard.requests import Memory
from hf_mner_aug.methods.memory_hard.tree import Branch, Gardener, Node, Tree
from hf_mner_aug.models.endpoint.answers import Unusable
from hf_mner_aug.models.patterns import open_engine
from hf_mner_aug.models.patterns.cues import Space
from hf_mner_aug.models.patterns.endpoint import read_judgement, read_same
from hf_mner_aug.models.patterns.engine import Pattern, what_all_get_wrong
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.patterns.rules import Rules
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.sample import draw_posts
from hf_mner_aug.schema import Post, mner_features
from hf_mner_aug.storage import artifacts

TYPES = ("LOC", "ORG", "PER")
QUICK = {"target": "crf:iterations=10", "detector": "", "folds": 2, "seeds": 1, "support": 2, "image": False}
SAMPLE = 14  # posts of the sample set


class PaperServer(PatternServer):
    """A model that also judges, merges and describes; ``against`` are words that its judge does not accept."""

    def __init__(self, **options):
        super().__init__(**options)
        self.against, self.same, self.caption, self.blind = (), 0, "a train to Bergen", False
        self.refusal = self.refuse

    def refuse(self, body):
        """Refuse pictures, if it is blind."""
        seen = isinstance(body["messages"][-1]["content"], list)
        return (400, {"error": {"message": "image input is not supported"}}) if seen and self.blind else None

    def say(self, body):
        """Answer by what is asked."""
        if not said(body).startswith("<data>"):
            return self.caption
        data = block(body)
        if "new" in data:
            return json.dumps({"same": self.same(data) if callable(self.same) else self.same})
        if "failure" not in data and "entities" in data:
            wrong = [word for word in self.against if word in data["post"].split()]
            return json.dumps({"supported": not wrong, "why": f"{wrong} is no entity" if wrong else "they are"})
        return super().say(body)


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_MNER_AUG_API_KEY", "sk-test")
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "backoff_s=0.01,max_wait_s=1,retries=1,timeout_s=20")


@pytest.fixture
def server():
    with PaperServer() as running:
        yield running


def engine_of(server):
    return f"endpoint:{server.url}#org/model"


def failure(text, kind="missed", predicted=None):
    tokens, entities = parse(text)
    spans = tuple((e.start, e.end, e.type) for e in entities)
    return Failure(text, tuple(tokens), spans, kind, None if kind == "spurious" else spans[0], predicted)


def node(name, *texts, accuracy=0.9):
    return Node(Pattern(name, f"holds {name}", "rare", "say it"), texts, {name: 1.0}, accuracy, 1, (f"of {name}",))


# ---------------------------------------------------------------- mining


def test_hard_is_any_prediction_unlike_its_label():
    posts = [Post("p", *parse("in [LOC Rome] today"))]
    right = Prediction("p", (ScoredSpan(1, 2, "LOC", 0.9),), (0.9,) * 3)
    wrong = Prediction("p", (), (0.9,) * 3)
    runs = [[wrong], [right], [right]]
    assert hard_errors(runs, posts) == []
    ((error, share, _),) = hard_errors(runs, posts, "any")
    assert (error.kind, round(share, 2)) == ("missed", 0.33)


# ---------------------------------------------------------------- the tree

SPAN = (0, 1, "ORG")
FIVE = [
    failure("[LOC Rome] is far away"),
    failure("[PER Ada] is far away"),
    failure("[LOC Oslo] is big", "type", SPAN),
    failure("[PER Bob] is big", "both", SPAN),
    failure("[LOC Turin] is it", "spurious", SPAN),
]


def test_branches_are_four_errors():
    posts = [Post(f.id, f.tokens, ()) for f in FIVE]
    fine, coarse = (Gardener(Rules(), Space.of(posts), coarse=chosen).grow("crf", FIVE) for chosen in (False, True))
    assert len(fine.branches) == 5
    assert {branch.title: len(branch.members) for branch in coarse.branches} == {
        "an entity is missed": 2,
        "an entity is taken for another type": 2,
        "an entity is seen where there is none": 1,
    }
    assert Tree.from_dict(coarse.to_dict()) == coarse
    assert Gardener(Rules(), Space.of(posts), coarse=True).insert(coarse, FIVE[:1]) == coarse


def test_what_all_get_wrong_names_types_only_if_they_are_the_same():
    assert what_all_get_wrong(FIVE[:1]) == "LOC is missed"
    assert what_all_get_wrong(FIVE[:1], str.lower) == "loc is missed"
    assert what_all_get_wrong(FIVE[:2]) == "an entity is missed"


def test_patterns_that_are_the_same_become_one(server):
    nodes = [node("capitals", "a", "b"), node("lower", "c"), node("shouting", "d", accuracy=None)]
    server.same = lambda data: 1 if data["new"]["name"] == "shouting" else 0
    engine = open_engine(engine_of(server), [], TYPES, "")
    merged = merge_nodes(engine, nodes, 0)
    assert [(n.pattern.name, n.members) for n in merged] == [("capitals", ("a", "b", "d")), ("lower", ("c",))]
    assert merged[0] == joined(nodes[0], nodes[2])
    assert merged[0].embedding == {"capitals": 0.6667, "shouting": 0.3333}
    assert merged[0].accuracy is None, "what was checked before says nothing of the new members"
    assert merged[0].critiques == ("of capitals", "of shouting")
    asked = [block(request.body) for request in server.log]
    assert [[known["name"] for known in data["known"]] for data in asked] == [["capitals"], ["capitals", "lower"]]
    # An answer that names no pattern of the list is asked for once more; then the pattern is a new one.
    server.log.clear()
    server.same = 7
    assert len(merge_nodes(engine, nodes[:2], 1)) == 2
    assert [bool(block(request.body)["critiques"]) for request in server.log] == [False, True]


@pytest.mark.parametrize("value", [{"same": -1}, {"same": 3}, {"same": True}, {"same": "1"}, {}, [1]])
def test_answers_that_name_no_pattern(value):
    with pytest.raises(Unusable):
        read_same(value, 2)
    assert [read_same({"same": i}, 2) for i in range(3)] == [None, 0, 1]


# ---------------------------------------------------------------- the judge


@pytest.mark.parametrize("value", [{"supported": 1, "why": "a"}, {"supported": False, "why": ""}, {"supported": True}])
def test_answers_that_are_no_verdict(value):
    with pytest.raises(Unusable):
        read_judgement(value)
    assert read_judgement({"supported": True, "why": ""}) == ""


def test_drafts_that_the_judge_does_not_support_are_written_again(server):
    """The judge's reason goes back to the writer; a text that it never supports is rejected."""
    texts = ["off to [LOC Rome] , today", "off to [LOC Oslo] , today"]
    failures = {f.id: f for f in map(failure, texts)}
    engine = open_engine(engine_of(server), [], TYPES, "")
    pattern = Node(Pattern("today", "a post that holds today", "rare", "say today"), tuple(failures), {}, 0.9, 1)
    tree = Tree("crf", failures, (Branch("missed", "LOC", "O", (pattern,), ()),))
    memory = Memory(tree, engine, TYPES, frozenset(), ())
    cities = {}

    def draft(data):
        city = ("Lyon", "Graz")[min(len(data["critiques"]), 1)] if "Rome" in data["failure"]["post"] else "Lyon"
        cities.setdefault(data["failure"]["post"], []).append(data["critiques"])
        tokens = ["we", "took", "the", "train", "to", city, "with", "mom", "today"]
        entities = [{"text": city, "type": "location"}]
        return json.dumps({"tokens": tokens, "entities": entities, "focus": city, "image_prompt": "a train"})

    server.draft, server.against = draft, ("Lyon",)
    method = MemoryHard(engine=engine_of(server), detector="", judge=True, attempts=2)
    outcomes = method._write(memory, [(text, Draw(text.encode())) for text in texts])
    assert [[step.result for step in outcome.trail] for outcome in outcomes] == [
        ["unsupported", "kept"],
        ["unsupported"] * 4,
    ]
    assert cities[" ".join(parse(texts[0])[0])][1] == ["unsupported: ['Lyon'] is no entity"]
    without = MemoryHard(engine=engine_of(server), detector="", attempts=2)
    assert all(o.draft for o in without._write(memory, [(text, Draw(text.encode())) for text in texts]))


def test_a_judge_without_a_verdict_supports_nothing(server):
    engine = open_engine(engine_of(server), [], TYPES, "")
    server.say = lambda body: "I think so"
    draft = type("Draft", (), {"tokens": ("in", "Rome"), "entities": ((1, 2, "LOC"),)})()
    (told,) = engine.judge([draft])
    assert told.startswith("no verdict: not_json")
    assert len(server.log) == 2


# ---------------------------------------------------------------- pictures


@pytest.fixture(scope="module")
def posts():
    return [d.post for d in draw_posts()["train"][:SAMPLE]]


@pytest.fixture(scope="module")
def dataset(posts):
    return as_dataset(posts, mner_features())


def drafts_seen(server):
    """The text of the hard post of each request for a draft, and whether it came with a picture."""
    bodies = [request.body for request in server.log if '"failure"' in said(request.body)]
    return [(block(b)["failure"]["post"], isinstance(b["messages"][-1]["content"], list)) for b in bodies]


def test_the_writer_sees_the_picture_of_the_hard_post(server, dataset, posts):
    pictured = {" ".join(post.tokens): bool(post.images) for post in posts}
    fitted = MemoryHard(engine=engine_of(server), shows_images=True, **QUICK).fit(dataset)
    assert fitted.learned["sees"] is True
    assert len(fitted.map(dataset)) > 5
    assert {seen for _, seen in drafts_seen(server)} == {True, False}, "some posts have no picture"
    assert all(seen == pictured[text] for text, seen in drafts_seen(server))
    bodies = [request.body for request in server.log if '"failure"' in said(request.body)]
    for body in bodies:
        told = "it is the picture of the failure's post" in body["messages"][0]["content"]
        assert told == isinstance(body["messages"][-1]["content"], list)


def test_a_server_that_refuses_pictures_is_one_line(server, dataset, monkeypatch):
    """Then it is asked without, also when the run is repeated from the record alone."""
    server.blind = True
    method = MemoryHard(engine=engine_of(server), shows_images=True, **QUICK)
    with pytest.warns(UserWarning, match="shows_images without effect: bad_request: .*image input is not supported"):
        fitted = method.fit(dataset)
    assert fitted.learned["sees"] is False
    assert {seen for _, seen in drafts_seen(server)} == {False}
    assert any("its server takes none): shows_images had no effect" in told for told in fitted.cautions)
    made = fitted.map(dataset).to_list()
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "replay=true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = method.fit(dataset)
    assert again.artifact == fitted.artifact
    assert again.map(dataset).to_list() == made
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "retries=0,max_wait_s=0")
    server.fault("status", status=401, match="Describe the picture")
    with pytest.raises(EndpointError, match=r"refuses the key|asks for a key"):
        method.fit(dataset)


class Likeness:
    """A stand-in for a sentence encoder: the share of words that two texts have in common."""

    def pairs(self, texts, others):
        words = [(set(a.split()), set(b.split())) for a, b in zip(texts, others, strict=True)]
        return [len(a & b) / max(1, len(a | b)) for a, b in words]


def test_pictures_whose_description_is_unlike_are_rejected(server, dataset, monkeypatch):
    monkeypatch.setattr(memory_hard.pictures.sentence, "open_encoder", lambda name: Likeness())
    chosen = {**QUICK, "image": True, "engine": engine_of(server), "encoder": "some/encoder", "rounds": 1, "copies": 1}
    server.draft = lambda data: json.dumps(
        {
            "tokens": ["we", "took", "the", "train", "to", "Bergen", "today", "at", str(len(data["failure"]["post"]))],
            "entities": [{"text": "Bergen", "type": data["failure"]["right"]}],
            "focus": "Bergen",
            "image_prompt": "a train to Bergen",
        }
    )
    server.caption = "we took the train to Bergen"  # a collage is drawn for the text
    fitted = MemoryHard(caption_similarity=0.5, **chosen).fit(dataset)
    assert ("similarity", "some/encoder") in [(model.role, model.id) for model in fitted.models]
    made = fitted.make(dataset.with_format("arrow")[:])
    details = [json.loads(told)["details"] for told in made.columns["provenance"]]
    scores = [note["caption_similarity"] for note in details if note.get("synthetic")]
    assert len(scores) > 3
    assert set(scores) == {round(6 / 9, 3)}
    server.caption = "two dogs"
    other = MemoryHard(caption_similarity=0.5, seed=1, **chosen).fit(dataset)
    made = other.make(dataset.with_format("arrow")[:])
    assert not any(json.loads(told)["details"].get("synthetic") for told in made.columns["provenance"])
    unlike = [reject for reject in made.rejects if reject["reason"] == "unlike_picture"]
    assert len(unlike) > 3
    assert "two dogs" in unlike[0]["detail"]
    server.blind = True
    with pytest.warns(UserWarning, match="caption_similarity without effect"):
        blind = MemoryHard(caption_similarity=0.5, **chosen | {"engine": f"{engine_of(server)}-blind"}).fit(dataset)
    assert len(blind.map(dataset)) > 3


# ---------------------------------------------------------------- the preset


def test_the_preset_needs_a_language_model():
    with pytest.raises(UsageError, match=r"merge, judge, shows_images, caption_similarity \(of the preset paper\) ask"):
        MemoryHard(**MemoryHard.presets["paper"])
    with pytest.raises(UsageError, match="pass both, encoder=ID, or none"):
        MemoryHard(encoder="x")
    with pytest.raises(UsageError, match="tree=false has none"):
        MemoryHard(engine="endpoint:http://127.0.0.1:1/v1#m", merge=True, tree=False)


def test_the_preset_says_what_it_is_after():
    engine = "endpoint:http://127.0.0.1:1/v1#m"
    method = MemoryHard(**MemoryHard.presets["paper"], engine=engine)
    assert (method.folds, method.hard, method.detector) == (10, "any", "")
    told = " ".join(method.cautions)
    assert "after a summary of the paper, not its text" in told
    assert "Stability AI Community License" in told
    assert "after a summary of the paper, not its text" in " ".join(memory_hard.__doc__.split())
    assert "not the paper's text" in " ".join(of_paper.__doc__.split())
    models = {model.id: model for model in method.models}
    assert method.encoder in models
    drawing = models["stabilityai/stable-diffusion-3.5-large"]
    assert (drawing.license, drawing.checked) == ("other", False)


def test_without_pictures_nothing_is_said_of_how_they_are_made(server, posts):
    bare = as_dataset([Post(p.id, p.tokens, p.entities) for p in posts], mner_features())
    model = "stabilityai/stable-diffusion-3.5-large"
    chosen = {**QUICK, "image": True, "image_model": model, "shows_images": True}
    with pytest.warns(UserWarning, match="shows_images without effect: no post of train has a picture"):
        fitted = MemoryHard(engine=engine_of(server), **chosen).fit(bare)
    assert not any("Stability" in told for told in fitted.cautions)
    assert any("train has none" in told for told in fitted.cautions)


def test_recipes_of_before_stay_as_they_are():
    names = {*of_paper.PIECES, "encoder"}
    assert not names & MemoryHard().params.keys()
    assert names <= MemoryHard(**MemoryHard.presets["paper"], engine="endpoint:http://127.0.0.1:1/v1#m").params.keys()
    assert not any("summary" in told for told in MemoryHard().cautions)


def test_the_preset_from_mining_to_the_card(server, dataset, monkeypatch, tmp_path):
    """All pieces together, with collages and a small model in the place of the large ones."""
    monkeypatch.setattr(memory_hard.pictures.sentence, "open_encoder", lambda name: Likeness())
    small = {
        "image_model": "collage",
        "target": "crf:iterations=10",
        "folds": 2,
        "support": 2,
        "caption_similarity": 0.01,
    }
    small["encoder"] = "some/encoder@" + "a" * 40  # pinned, so that the Hub is not asked
    method = MemoryHard(**{**MemoryHard.presets["paper"], **small}, engine=engine_of(server))
    least, most = method.costs.to_fit([Post(p.id, p.tokens, p.entities, p.images) for p in draw_posts_of(dataset)])
    assert server.log == []
    run = augment(dataset, method, out=tmp_path / "out", progress=False)
    assert least <= len(server.log)
    assert len(run.dataset) > 5
    details = [json.loads(told)["details"] for told in run.dataset["provenance"]]
    assert all(note["caption_similarity"] >= 0.01 for note in details if note.get("synthetic"))
    assert any(note.get("synthetic") for note in details)
    tree = Tree.from_dict(artifacts.load_json(run.method.learned["files"]["tree"])["tree"])
    assert {branch.title for branch in tree.branches} <= {
        "an entity is missed",
        "an entity is seen where there is none",
        "the borders of an entity are wrong",
        "an entity is taken for another type",
    }
    publish(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "after a summary of the paper, not its text" in card
    assert Recipe.from_dict(run.recipe.to_dict()) == run.recipe
    assert most >= least


def draw_posts_of(dataset):
    from hf_mner_aug.schema import Codec

    codec = Codec(dataset.features)
    return [codec.to_post(row) for row in dataset.with_format("arrow")[:].to_pylist()]
