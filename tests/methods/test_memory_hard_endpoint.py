"""memory_hard with a language model: drafts that are bad at first, budgets, kills, what a card and a page say."""

import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest
from conftest import as_dataset, parse
from pattern_server import FAULTS, INJECTED, PatternServer, block

from hf_mner_aug import MemoryHard, augment, cli, verify
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import EndpointError, UnknownName, UsageError
from hf_mner_aug.methods.memory_hard.requests import Memory, funnel
from hf_mner_aug.methods.memory_hard.tree import Branch, Node, Tree
from hf_mner_aug.models.patterns import open_engine
from hf_mner_aug.models.patterns.engine import Pattern
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.pages.memory import memory
from hf_mner_aug.sample import draw_posts
from hf_mner_aug.schema import Post, mner_features
from hf_mner_aug.storage import artifacts

TYPES = ("LOC", "ORG", "PER")
KEY = "sk-this-key-must-stand-nowhere-44"
QUICK = {"target": "crf:iterations=10", "detector": "", "folds": 2, "seeds": 1, "support": 2}
BUDGET = 20  # calls that run out in the first round
SAMPLE = 14  # posts of the sample set


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_MNER_AUG_API_KEY", KEY)
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "backoff_s=0.01,max_wait_s=1,retries=2,timeout_s=20")


@pytest.fixture
def server():
    with PatternServer() as running:
        yield running


def engine_of(server):
    return f"endpoint:{server.url}#org/model"


def failure(text):
    tokens, entities = parse(text)
    spans = tuple((e.start, e.end, e.type) for e in entities)
    return Failure(text, tuple(tokens), spans, "missed", spans[0], None)


# ---------------------------------------------------------------- iteration

GOOD_AT_ONCE = "nothing"
TEXTS = [f"off to [LOC Rome] , {word} , today" for word in (*FAULTS, GOOD_AT_ONCE)]
TEXTS[list(FAULTS).index("PWNED")] = f"off to [LOC Rome] , {INJECTED} , today"


def test_what_a_model_does_wrong_is_caught_and_recovered(server):
    """Each kind of bad answer, by the filter that catches it, attempt by attempt."""
    failures = {f.id: f for f in map(failure, TEXTS)}
    engine = open_engine(engine_of(server), [], TYPES, "")
    node = Node(Pattern("today", "a post that holds today", "rare", "say today"), tuple(failures), {}, 0.9, 1)
    tree = Tree("crf", failures, (Branch("missed", "LOC", "O", (node,), ()),))
    memory = Memory(tree, engine, TYPES, frozenset(), ())
    method = MemoryHard(engine=engine_of(server), detector="")
    asked = [(text, Draw(str(i).encode())) for i, text in enumerate(TEXTS)]
    outcomes = method._write(memory, asked)
    assert funnel(outcomes) == [
        {
            "stage": "pattern",
            "attempt": 1,
            "drafts": 12,
            "kept": 1,
            "caught": {
                "lost_entity": 2,  # lost, hopeless
                "malformed": 1,  # planet
                "near_duplicate": 1,  # copied
                "not_in_text": 1,  # absent
                "not_json": 2,  # prose, PWNED
                "off_pattern": 1,  # astray
                "off_schema": 2,  # schema, spaces
                "word_count": 1,  # short
            },
        },
        {
            "stage": "pattern",
            "attempt": 2,
            "drafts": 11,
            "kept": 6,  # prose, spaces, planet, absent, short, copied
            "caught": {"lost_entity": 3, "off_pattern": 1, "off_schema": 1},  # lost, PWNED, hopeless; astray; schema
        },
        {
            "stage": "pattern",
            "attempt": 3,
            "drafts": 5,
            "kept": 4,  # schema, lost, PWNED, astray
            "caught": {"lost_entity": 1},
        },
        {"stage": "parent", "attempt": 1, "drafts": 1, "kept": 0, "caught": {"lost_entity": 1}},
        {"stage": "parent", "attempt": 2, "drafts": 1, "kept": 0, "caught": {"lost_entity": 1}},
        {"stage": "parent", "attempt": 3, "drafts": 1, "kept": 0, "caught": {"lost_entity": 1}},
    ]
    by_word = dict(zip((*FAULTS, GOOD_AT_ONCE), outcomes, strict=True))
    assert [step.result for step in by_word["PWNED"].trail] == ["not_json", "lost_entity", "kept"]
    assert by_word["hopeless"].draft is None
    for word, outcome in by_word.items():
        if word != "hopeless":
            assert "PWNED" not in outcome.draft.tokens
            assert outcome.draft.tokens[:5] == ("we", "took", "the", "train", "to")
    # What was wrong goes back in words.
    asked = [block(request.body) for request in server.log]
    told = {data["critiques"][-1].partition(":")[0] for data in asked if data.get("asked") and data["critiques"]}
    assert told == set(funnel(outcomes)[0]["caught"])


def test_drafts_do_not_hang_on_the_batch(server):
    """Alone or with others: the same drafts, from the record."""
    failures = {f.id: f for f in map(failure, TEXTS)}
    engine = open_engine(engine_of(server), [], TYPES, "")
    node = Node(Pattern("today", "a post that holds today", "rare", "say today"), tuple(failures), {}, 0.9, 1)
    memory = Memory(Tree("crf", failures, (Branch("missed", "LOC", "O", (node,), ()),)), engine, TYPES, frozenset(), ())
    method = MemoryHard(engine=engine_of(server), detector="")
    asked = [(text, Draw(str(i).encode())) for i, text in enumerate(TEXTS)]
    together = method._write(memory, asked)
    sent = len(server.log)
    assert [method._write(memory, [one])[0] for one in asked] == together
    assert len(server.log) == sent


# ---------------------------------------------------------------- the whole method


@pytest.fixture(scope="module")
def posts():
    return [Post(d.post.id, d.post.tokens, d.post.entities) for d in draw_posts()["train"][:SAMPLE]]


@pytest.fixture(scope="module")
def dataset(posts):
    return as_dataset(posts, mner_features())


def asked_for(request):
    """What a request is for: a pattern, a verdict on posts or a draft."""
    data = block(request.body)
    return "pattern" if "members" in data else "verdict" if "posts" in data else "draft"


def sent_once(server):
    """Say whether no request was sent twice; bodies hold the seed, too."""
    return max(Counter(request.raw for request in server.log).values()) == 1


def test_fit_and_rows_with_a_budget_in_the_middle(server, dataset, monkeypatch, tmp_path):
    """Calls run out within induction, then within the first round; the run goes on each time and pays nothing twice."""
    method = MemoryHard(engine=engine_of(server), **QUICK)
    out = tmp_path / "out"
    for calls, ended in ((3, "pattern"), (BUDGET, "draft")):
        monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", f"calls={calls}")
        told = f"{calls} of {calls} calls spent; answers so far are kept, run again to go on"
        with pytest.raises(EndpointError, match=told) as caught:
            augment(dataset, method, out=out, progress=False)
        assert caught.value.reason == "over_budget"
        assert len(server.log) == calls
        assert asked_for(server.log[-1]) == ended
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "calls=10000")
    run = augment(dataset, method, out=out, progress=False)
    assert sent_once(server)
    assert len(run.dataset) > 10
    texts = [" ".join(tokens) for tokens in run.dataset["tokens"]]
    assert all(text.startswith("we took the train to ") for text in texts)
    told = json.loads(run.dataset[0]["provenance"])
    assert told["params"]["engine"] == engine_of(server)
    assert told["details"]["image_prompt"].startswith("a train to ")
    usage = run.counts["usage"]
    assert usage["calls"] > 0
    assert usage["cached"] > 0, "the first copies were written by fit"
    # Nothing that is kept holds the key, and the budget is no part of what was made.
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if KEY.encode() in path.read_bytes()]
    assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.log)
    assert "calls=" not in run.recipe.fingerprint + json.dumps(run.recipe.to_dict())
    # The same from the record alone, without a server.
    before = len(server.log)
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "replay=true")
    again = augment(dataset, method, out=tmp_path / "again", progress=False)
    assert again.dataset.to_list() == run.dataset.to_list()
    assert again.method.artifact == run.method.artifact
    assert len(server.log) == before


def test_what_drafts_went_through_is_kept_and_printed(server, dataset, posts):
    server.patterns = ("It is today.", "nowhere", "today")
    method = MemoryHard(engine=engine_of(server), **QUICK)
    least, most = method.costs.to_fit(posts)
    assert server.log == []
    method = method.fit(dataset)
    assert 0 < least <= len(server.log) <= most
    note = artifacts.load_json(method.learned["files"]["tree"])
    first = note["funnel"][0]
    assert (first["stage"], first["attempt"]) == ("pattern", 1)
    assert first["drafts"] == first["kept"] + sum(first["caught"].values())
    hard = {f["post"] for f in note["tree"]["failures"] if f["gold"]}
    assert first["drafts"] == len(hard)
    assert sum(step["kept"] for step in note["funnel"]) == len(hard) - len(note["stubborn"])
    nodes = [node for branch in note["tree"]["branches"] for node in branch["nodes"]]
    assert all(node["critiques"][0].startswith("not_json") for node in nodes)


def test_the_command_line(server, dataset, posts, monkeypatch, tmp_path, capsys):
    """Too small a budget is one line and exit code 2; the same line with a larger one goes on; --replay asks nobody."""
    (tmp_path / "set").mkdir()
    dataset.to_parquet(tmp_path / "set" / "train.parquet")
    monkeypatch.setenv("HF_MNER_AUG_WEB", "")
    printed = []

    def run(out, *more, yes=("--yes",)):
        chosen = [f"{name}={value}" for name, value in {"engine": engine_of(server), **QUICK}.items()]
        arguments = ["augment", str(tmp_path / "set"), "--method", "memory_hard", "--out", str(tmp_path / out), *yes]
        arguments += [part for setting in chosen for part in ("--set", setting)]
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *arguments, *more])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        printed.append(said.out)
        return end.value.code, said.err.strip().splitlines()[-1:], re.findall("content fingerprint (.*)", said.out)

    # Before anything is paid the user hears how much it may be.
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert run("out", yes=())[0] != 0
    assert run("out", "--dry-run")[0] == 0
    assert server.log == []
    least, most = MemoryHard(engine=engine_of(server), **QUICK).costs.to_fit(posts)
    assert f"to learn from {SAMPLE} posts: {least} to {most} calls, less those that are on record" in printed[-1]
    code, told, _ = run("out", "--endpoint", "calls=2,max_concurrency=1")
    assert code == 2
    assert told[0].endswith("over_budget: 2 of 2 calls spent; answers so far are kept, run again to go on")
    assert len(server.log) == 2
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "")
    code, told, made = run("out", "--endpoint", "calls=5000")
    assert (code, len(made)) == (0, 1), told
    assert sent_once(server)
    before = len(server.log)
    assert least <= before
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "")
    assert run("again", "--replay")[::2] == (0, made)
    assert len(server.log) == before
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "")
    assert verify(tmp_path / "out", "memory_hard_100pct", rerun=True, source=tmp_path / "set").ok
    assert len(server.log) == before, "verify asks nobody"
    code, told, _ = run("out", "--endpoint", "call=2")
    assert code == 2
    assert "unknown setting of HF_MNER_AUG_ENDPOINT 'call': did you mean 'calls'?" in told[0]


FIT = """
import json, sys
from datasets import Dataset
from hf_mner_aug import MemoryHard
from hf_mner_aug.schema import mner_features
rows, chosen = json.load(open(sys.argv[1]))
print(MemoryHard(**chosen).fit(Dataset.from_list(rows, features=mner_features())).artifact)
"""


def test_fit_killed_within_induction_goes_on_where_it_was(server, dataset, tmp_path):
    """The request under way when it dies is asked again; no other is, and what is learnt is the same."""
    held, let_go = threading.Event(), threading.Event()
    say = server.say

    def hold(body):
        """Answer two requests for a pattern; hold the third until the process is dead."""
        if Counter(map(asked_for, server.log))["pattern"] == 3 and "members" in block(body) and not let_go.is_set():
            held.set()
            let_go.wait(240)
        return say(body)

    server.say = hold
    server.patterns = ("nowhere", "today")
    posts = tmp_path / "posts.json"
    posts.write_text(json.dumps([dataset.to_list(), {"engine": engine_of(server), **QUICK}]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_MNER_AUG_ENDPOINT": "max_concurrency=1"}

    def start(cache):
        place = {"HF_MNER_AUG_CACHE": str(tmp_path / cache)}
        command = [sys.executable, "-c", FIT, str(posts)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment | place)

    killed = start("killed")
    assert held.wait(240)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    under_way = server.log[-1].raw
    before = Counter(request.raw for request in server.log)
    assert set(before.values()) == {1}
    assert len(before) >= 4, "patterns and matches were answered"
    let_go.set()
    again = start("killed")
    learned = again.communicate(timeout=240)[0].strip()
    counts = Counter(request.raw for request in server.log)
    assert counts.pop(under_way) == 2
    assert set(counts.values()) == {1}
    assert MemoryHard(engine=engine_of(server), **QUICK).fit(dataset).artifact == learned
    assert set(Counter(request.raw for request in server.log).values()) == {2, 3}, "here all were asked anew"


# ---------------------------------------------------------------- what is told of it


def test_the_card_names_the_model_and_no_key(server):
    method = MemoryHard(engine=f"{engine_of(server)},temperature=0.2", image=False, detector="")
    assert [(model.role, model.id) for model in method.models] == [("text", "org/model")]
    assert "a language model's, org/model" in " ".join(method.cautions)
    assert not any("put together from other train posts" in caution for caution in method.cautions)
    assert method.costs
    assert pickle.loads(pickle.dumps(method)) == method
    rules = MemoryHard(image=False)
    assert (rules.costs, rules.models) == (None, ())
    assert "put together from other train posts" in rules.cautions[1]


def test_an_engine_without_address_or_model():
    for engine in ("endpoint", "endpoint:", "endpoint:http://127.0.0.1:1/v1", "endpoint:#m"):
        with pytest.raises(UsageError, match="endpoint needs an address and a model: endpoint:URL#MODEL"):
            MemoryHard(engine=engine)
    with pytest.raises(UnknownName, match="engine of patterns"):
        MemoryHard(engine="chat:http://127.0.0.1/v1#m")
    with pytest.raises(UnknownName, match="engine of patterns"):
        MemoryHard(engine="rules:strict")


EVIL = "<script>alert(1)</script>"


def test_a_page_escapes_what_a_model_says(server, dataset, tmp_path):
    """A pattern's name and words of a draft that are HTML, and a control character that never gets in."""
    pattern = {"name": f"<img src=x onerror=alert(2)> {EVIL}", "trigger": EVIL, "why": EVIL, "how": EVIL}
    server.patterns = (json.dumps({**pattern, "name": "\x1b[2Jclear"}), json.dumps(pattern))
    evil = {"tokens": ["we", "go", "to", EVIL, "today"], "entities": [], "focus": EVIL, "image_prompt": EVIL}
    server.draft = lambda data: json.dumps(evil)
    out = tmp_path / "out"
    augment(dataset, MemoryHard(engine=engine_of(server), iterate=False, **QUICK), out=out, progress=False)
    found = memory(out)
    names = {node.pattern.name for branch in found.tree.branches for node in branch.nodes}
    assert names == {pattern["name"]}
    assert all(s["reason"] == "lost_entity" for s in found.stubborn)
    page, text = found.to_html(), found.to_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; as " in page, "a draft's words"
    assert "&lt;img src=x onerror=alert(2)&gt;" in page, "a pattern's name"
    assert "off_schema" in text
    assert "\x1b" not in text + page
