"""GMDA: texts that read back as they were written, filters by number, pictures and boxes that belong to their text."""

import io
import json
import re
import sys
import warnings
from collections import Counter
from dataclasses import replace

import pytest
from conftest import Terminal, as_dataset, draw_posts, parse
from datasets import load_dataset
from endpoint_server import EndpointServer
from made_posts import CURRY, TYPES, Writer, details, reasons, rows, with_writer
from pattern_server import block

from hf_mner_aug import GMDA, augment, cli, publish, verify
from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.draw import Draw, draw
from hf_mner_aug.exceptions import EndpointError, UnknownName, UsageError
from hf_mner_aug.methods.gmda import _request, delinearize, instruction, linearize
from hf_mner_aug.models.device import count_limit, limits_met
from hf_mner_aug.models.text.endpoint import asked_entities
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.schema import Codec, Entity, Post, Relation, mner_features
from hf_mner_aug.storage.pinned_files import pinned_file
from hf_mner_aug.transform import Reject

pytestmark = pytest.mark.filterwarnings("ignore:gmda. train has no pictures")


# ---------------------------------------------------------------- the method


@pytest.fixture
def unfiltered(mner):
    return GMDA(detector=None, image=False).fit(mner)


def test_the_embedded_writer_keeps_every_asked_entity(mner, unfiltered):
    codec = Codec(mner.features)
    gold = {row["id"]: codec.to_post(row) for row in rows(mner)}
    made = rows(unfiltered.map(mner))
    assert len(made) > len(mner) / 2
    for row in made:
        post, source = codec.to_post(row), gold[row["source_id"]]
        asked = [(source.tokens[e.start : e.end], e.type) for e in source.entities]
        assert sorted((post.tokens[e.start : e.end], e.type) for e in post.entities) == sorted(asked)
        assert row["image"] == rows(mner)[list(gold).index(source.id)]["image"]
        assert source.id not in details(row)["made_of"]
        assert set(details(row)["made_of"]) <= set(gold)


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        (lambda request: Unwritten("no_answer", "timeout"), "no_answer"),
        (lambda request: "", "no_words"),
        (lambda request: "B-PER", "tag_at_end"),
        (lambda request: "###### B-DATE", "unknown_tag"),
        (lambda request: "it rains in the north today", "lost_entity"),
        (lambda request: linearize(request.post) if len(request.post.tokens) > 4 else "B-X", "gold_text"),
    ],
)
def test_a_writer_that_says_nothing_or_rubbish(mner, unfiltered, monkeypatch, say, reason):
    with_writer(monkeypatch, say)
    found = unfiltered.make(mner.with_format("arrow")[:])
    assert reason in {reject["reason"] for reject in found.rejects}
    assert len(found.columns["id"]) + len(found.rejects) == len(mner)
    codec = Codec(mner.features)
    gold = {row["id"]: codec.to_post(row) for row in rows(mner)}
    assert not any(gold[name].entities for name in found.columns["source_id"])


def test_the_writer_is_asked_with_the_instruction_and_the_first_picture(sets, monkeypatch):
    dataset = sets["multi_image"]
    method = GMDA(detector=None, image=False).fit(dataset)
    writer = with_writer(monkeypatch, lambda request: "")
    method.make(dataset.with_format("arrow")[:])
    codec = Codec(dataset.features)
    for request, row in zip(writer.requests, rows(dataset), strict=True):
        post = codec.to_post(row)
        assert request.instruction == instruction(post)
        assert request.image == (post.images[0] if post.images else None)


def test_filters_can_be_set(mner, unfiltered, monkeypatch):
    with_writer(monkeypatch, lambda request: " ".join([linearize(request.post), "oh", "my"]))
    n = len(mner)
    assert reasons(unfiltered, mner)["word_count"] == sum(len(post.tokens) < 3 for post in draw_posts())
    assert reasons(replace(unfiltered, least_words=1), mner) == {}
    assert reasons(replace(unfiltered, least_words=40), mner) == {"word_count": n}
    long = sum(len(post.tokens) > 10 for post in draw_posts())
    assert reasons(replace(unfiltered, least_words=1, most_words=12), mner)["word_count"] == long
    with_writer(monkeypatch, lambda request: "one two three four five six")
    some = sum(bool(post.entities) for post in draw_posts())
    assert reasons(unfiltered, mner) == {"lost_entity": some}
    assert reasons(replace(unfiltered, all_entities=False), mner) == {}


def test_consistency_keeps_what_the_backbone_predicts(mner, monkeypatch):
    """What it was fitted on it predicts; a person where it knows a place it does not."""
    method = GMDA(image=False, least_words=1, detectors=2).fit(mner)
    with_writer(monkeypatch, lambda request: f"{linearize(request.post)} indeed")
    kept = method.make(mner.with_format("arrow")[:])
    assert len(kept.columns["id"]) > 15
    with_writer(monkeypatch, lambda request: f"B-PER rain {linearize(request.post)} indeed")
    assert reasons(method, mner) == {"inconsistent": len(mner)}
    rejects = method.make(mner.with_format("arrow")[:]).rejects
    assert rejects[4]["detail"] == "missed rain as PER"
    assert reasons(replace(method, detector=None), mner) == {}


def test_entities_of_forty_words_and_tokens_that_look_like_tags():
    name = " ".join(f"w{i}" for i in range(40))
    texts = [f"[PER {name}] is here", "B-PER is no [MISC B-52] tag", "so [PER Ann] is \\o/ here", "a [MISC thing] here"]
    dataset = as_dataset([Post(f"p{i}", *parse(text)) for i, text in enumerate(texts)], mner_features(images="none"))
    method = GMDA(detector=None, least_words=1, copies=3).fit(dataset)
    made = {row["source_id"]: row for row in method.map(dataset)}
    assert len(made) == len(texts)
    assert [f"w{i}" for i in range(40)] == made["p0"]["tokens"][made["p0"]["tokens"].index("w0") :][:40]
    assert "B-52" in made["p1"]["tokens"]
    assert made["p1"]["ner_tags"].count(7) == 1
    assert {"\\o/", "here"} <= {word for row in made.values() for word in row["tokens"]}


# ---------------------------------------------------------------- pictures


def wanted(request):
    """The entities that a request asks for, as one text."""
    return json.dumps(block(request)["entities"])


def wants(post):
    return json.dumps(asked_entities(post))


def test_an_endpoint_is_asked_for_the_same_entities(mner, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    texts = {wants(post): f"well well {linearize(post)} yes\n" for post in draw_posts()}
    with EndpointServer() as server:
        server.say = lambda body: texts[wanted(body)]
        method = GMDA(text_model=f"endpoint:{server.url}#writer", detector=None, image=False).fit(mner)
        made = rows(method.map(mner))
        again = rows(method.map(mner))
    assert made == again  # from the record
    assert len(made) == len(mner)
    for row in made:
        assert row["tokens"][:2] == ["well", "well"]
    data = block(server.log[0].body)
    assert data["tags"] == ["B-LOC", "I-LOC", "B-MISC", "I-MISC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    shown = data["examples"]
    assert len(shown) == 3
    assert all(not isinstance(delinearize(text, TYPES), Reject) for text in shown)
    with_picture = [isinstance(request.body["messages"][-1]["content"], list) for request in server.log]
    assert sum(with_picture) == sum(bool(post.images) for post in draw_posts())
    assert server.log[0].body["seed"] >= 0
    assert [model.id for model in method.models] == ["writer"]
    # Each row names the posts that the model was shown for it, and no other row is dropped for them.
    gold = {post.id: post for post in draw_posts()}
    asked = [(wanted(r.body), set(block(r.body)["examples"])) for r in server.log]
    for row in made:
        (name,) = details(row)
        seen = {linearize(gold[post]) for post in details(row)[name]}
        assert name == "made_of"
        assert (wants(gold[row["source_id"]]), seen) in asked
        assert row["source_id"] not in details(row)[name]


def test_an_endpoint_that_fails(mner, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    few = mner.select(range(4))
    with EndpointServer(key="right") as server:
        method = GMDA(text_model=f"endpoint:{server.url}#writer", detector=None, image=False).fit(few)
        with pytest.raises(EndpointError):
            method.map(few)
        monkeypatch.setenv("HF_MNER_AUG_API_KEY", "right")
        server.fault("status", status=400, times=2)
        server.fault("change", change=lambda body: body["choices"][0]["message"].update(content="one\ntwo"))
        found = Counter(reject["detail"].split(":")[0] for reject in method.make(few.with_format("arrow")[:]).rejects)
    assert found == {"bad_request": 2, "2 lines": 2}


def test_a_picture_that_cannot_be_sent_costs_one_text_and_a_server_that_is_down_ends_the_run(
    mner, monkeypatch, tmp_path
):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "retries=0")
    few = rows(mner.select(range(3)))
    few[1]["image"] = {"bytes": b"<html></html>", "path": None}
    few = type(mner).from_list(few, features=mner.features)
    with EndpointServer() as server:
        server.say = lambda body: "well well B-PER Ann yes yes"
        method = GMDA(text_model=f"endpoint:{server.url}#writer", detector=None, image=False, all_entities=False).fit(
            few
        )
        made = method.make(few.with_format("arrow")[:])
        assert [(reject["source_id"], reject["reason"]) for reject in made.rejects] == [
            (few["id"][1], "unreadable_image")
        ]
        assert len(server.log) == 2
        other = replace(method, seed=1, artifact=None).fit(few.select([0]))
        server.fault("status", status=500)
        with pytest.raises(EndpointError, match=r"server_error: .*; answers so far are kept, run again to go on"):
            other.make(few.select([0]).with_format("arrow")[:])


def test_the_command_line_asks_before_it_pays(mner, monkeypatch, tmp_path, capsys):
    """What a run takes is said first and told after; a budget stops it, a larger one goes on; --replay asks nobody."""
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_MNER_AUG_WEB", "")
    (tmp_path / "set").mkdir()
    mner.to_parquet(tmp_path / "set" / "train.parquet")
    texts = {wants(post): f"well well {linearize(post)} yes" for post in draw_posts()}
    printed = []

    def run(out, *more):
        monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "price_in=1000,price_out=0")
        chosen = (f"text_model=endpoint:{server.url}#org/writer", "image=false", "detector=none")
        arguments = ["augment", str(tmp_path / "set"), "--method", "gmda", "--out", str(tmp_path / out), *more]
        arguments += [part for setting in chosen for part in ("--set", setting)]
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        told = capsys.readouterr()
        printed.append(told.out)
        return end.value.code, told.err.strip().splitlines()[-1:], re.findall("content fingerprint (.*)", told.out)

    with EndpointServer() as server:
        server.say = lambda body: texts[wanted(body)]
        code, told, _ = run("out", "--yes", "--endpoint", "calls=2,max_concurrency=1")
        assert code == 2
        assert told[0].endswith("over_budget: 2 of 2 calls spent; answers so far are kept, run again to go on")
        assert len(server.log) == 2
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        assert run("out")[0] == 2, "no terminal, no yes"
        monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
        assert run("out")[0] == 1
        assert f"calls: {len(mner)}, USD: " in printed[-1]
        assert "which assumes 1,000 tokens read and 512 written per call, 5 seconds each, 4 at a time" in printed[-1]
        assert run("out", "--dry-run")[0] == 0
        assert len(server.log) == 2, "neither an estimate nor a no sends anything"
        monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
        assert run("out", "--probe")[0] == 1
        assert "the posts made for this estimate took calls " in printed[-1]
        assert not (tmp_path / "out").exists()
        code, told, made = run("out", "--yes")
        assert (code, len(made)) == (0, 1), told
        assert len(server.log) == len({request.raw for request in server.log}) == len(mner)
        note = json.loads((tmp_path / "out" / "gmda_100pct" / "augmentation.json").read_text())
        usage = note["funnel"]["usage"]
        assert usage["cached"] == len(mner), "looking at posts had asked for all of so small a set"
        assert run("again", "--yes", "--replay")[::2] == (0, made)
        assert verify(tmp_path / "out", "gmda_100pct", rerun=True, source=tmp_path / "set").ok
        assert len(server.log) == len(mner)


def test_what_a_run_paid_is_told_and_a_budget_is_its_own(mner, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "price_in=1000,price_out=1000,calls=40")
    texts = {wants(post): linearize(post) for post in draw_posts()}
    with EndpointServer() as server:
        server.say = lambda body: f"well well {texts[wanted(body)]} {'yes ' * (body['seed'] % 5)}"
        method = GMDA(text_model=f"endpoint:{server.url}#writer", detector=None, image=False, copies=2).fit(mner)
        assert method.costs.usage() == {}
        assert [method.costs.calls(post) for post in draw_posts()] == [2] * len(mner)
        nested = Post("p", ["a", "b"], relation=Relation((0, 2), (0, 1), "x"))
        assert method.costs.calls(nested) == 0
        counts = augment(mner, method, out=tmp_path / "out", progress=False).counts
        assert counts["usage"]["calls"] == len(server.log) == 40
        tokens = counts["usage"]["tokens_in"] + counts["usage"]["tokens_out"]
        assert counts["usage"]["usd"] == pytest.approx(tokens / 1000)
        # Another seed is another run: it has a budget of its own, and the answers on record are no answers to it.
        augment(mner, replace(method, seed=1, artifact=None), out=tmp_path / "other", progress=False)
        assert len(server.log) == 80
    assert GMDA().costs is None
    assert GMDA(text=False, text_model="endpoint:http://x/v1#m").costs is None


# ---------------------------------------------------------------- InstructBLIP


@pytest.mark.slow
def test_instructblip_is_fitted_on_the_split_and_asked(mner, tmp_path):
    """A model that has learnt next to nothing writes rubbish: every text is accounted for, always in the same way."""
    pytest.importorskip("peft")
    tiny = pytest.importorskip("tiny_instructblip")
    few = mner.select(range(4))
    texts = [text for post in draw_posts()[:4] for text in (instruction(post), linearize(post))]
    base = tiny.build(tmp_path / "base", texts)
    asked = GMDA(text_model=f"instructblip:{base}", epochs=1, detector=None, image=False, least_words=1)
    method = asked.fit(few, validation=mner.select(range(4, 6)))
    assert set(method.learned["files"]) == {"posts", "text_model"}
    engine = method._text_engine()
    assert (engine.model, engine.top_k, engine.top_p, engine.temperature) == (str(base), 50, 0.95, 1.0)
    made = method.make(few.with_format("arrow")[:])
    assert len(made.columns["id"]) + len(made.rejects) == len(few)
    assert made.rejects
    assert method.make(few.with_format("arrow")[:]) == made
    assert method.pinned() == method
    assert [(model.role, model.id) for model in method.models] == [("text", pinned_file(str(base), ""))]


def test_a_language_model_is_fitted_on_the_split_and_asked(mner, tmp_path):
    """It has random weights and learns for one pass: every text is accounted for, always in the same way."""
    pytest.importorskip("peft")
    tiny = pytest.importorskip("tiny_causal")
    few, base = mner.select(range(4)), tiny.build(tmp_path / "base")
    asked = GMDA(
        text_model=f"lm:{base}", epochs=1, rank=2, learning_rate=0.01, detector=None, image=False, least_words=1
    )
    assert asked.params["rank"] == 2
    assert not {"marks", "dtype"} & asked.params.keys()
    settings = asked._fit_settings()
    assert (settings.kind, settings.r, settings.learning_rate, settings.marks, settings.patience) == (
        *("lm", 2, 0.01, "plain", 1),
    )
    method = asked.fit(few, validation=mner.select(range(4, 6)))
    assert set(method.learned["files"]) == {"posts", "text_model"}
    made = method.make(few.with_format("arrow")[:])
    assert len(made.columns["id"]) + len(made.rejects) == len(few)
    assert {reject["reason"] for reject in made.rejects} <= GMDA.rejects.keys()
    assert method.make(few.with_format("arrow")[:]) == made
    assert method.pinned() == method
    assert [(model.role, model.id, model.license) for model in method.models] == [
        ("text", pinned_file(str(base), ""), "other")
    ]
    known = GMDA(text_model="lm:google/gemma-3-270m@main", detector=None, image=False)
    assert [model.license for model in known.models] == ["gemma"]
    assert GMDA(text_model="instructblip:x", image=False)._fit_settings().marks == "tokens"


# ---------------------------------------------------------------- parameters, card


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"text": False, "image": False}, "nothing is made"),
        (
            {"text_model": "gpt"},
            "text_model must be templates, instructblip:ID, lm:ID, vlm:ID, or endpoint:URL#MODEL, found 'gpt'",
        ),
        ({"text_model": "endpoint:http://x/v1"}, "needs an address and a model: endpoint:URL#MODEL"),
        ({"text_model": "endpoint:https://me:sk-1@x/v1#m"}, "base_url must be http"),
        ({"text_model": "endpoint:http://x/v1#m,shown=-1"}, "shown must be at least 0, found -1"),
        ({"text_model": "endpoint:http://x/v1#m,max_tokens=0"}, "max_tokens must be at least 1, found 0"),
        ({"text_model": "instructblip"}, "instructblip needs one"),
        ({"text_model": "lm"}, "lm needs one: lm:ID"),
        ({"text_model": "templates:x"}, "templates has no model"),
        ({"text_model": "lm:x", "tune": "qformer"}, "tune=qformer: lm has no Q-Former"),
        ({"text_model": "lm:x", "rank": -1}, "rank must be at least 0, found -1"),
        ({"text_model": "lm:x", "marks": "html"}, "unknown marks 'html': valid are"),
        ({"text_model": "lm:x", "learning_rate": 2}, r"learning_rate must be in \(0, 1\), found 2"),
        ({"marks": "tokens"}, "marks is of models that are fine-tuned, and templates is not"),
        ({"learning_rate": 0.1}, "learning_rate is of models that are fine-tuned, and templates is not"),
        ({"tune": "all"}, "unknown tune 'all': valid are lora, qformer"),
        ({"agreement": 0.0}, r"agreement must be in \(0, 1\], found 0.0"),
        ({"strength": 1.5}, r"strength must be in \(0, 1\], found 1.5"),
        ({"detectors": 0}, "detectors must be at least 1, found 0"),
        ({"least_words": -1}, "least_words must be at least 0, found -1"),
        ({"most_words": 3}, "most_words 3 is below least_words 5"),
    ],
)
def test_parameters_are_checked(chosen, message):
    with pytest.raises(UsageError, match=message):
        GMDA(**chosen)


def test_settings_of_an_endpoint_reach_its_requests(mner):
    engine = GMDA(text_model="endpoint:http://x/v1#m,max_tokens=9,shown=1", detector=None, temperature=0.5, image=False)
    engine = engine.fit(mner)._text_engine()
    asked = engine._request(_request(CURRY), engine._shown(_request(CURRY), Draw(b"x")), Draw(b"x"))
    assert (asked.max_tokens, asked.temperature) == (9, 0.5)
    assert len(block({"messages": asked.messages})["examples"]) == 1
    assert block({"messages": asked.messages})["entities"] == asked_entities(CURRY)
    with pytest.raises(UnknownName, match="unknown setting of endpoint 'show': did you mean 'shown'"):
        GMDA(text_model="endpoint:http://x/v1#m,show=1")


def test_the_card_names_models_and_what_they_are(sets):
    paper = GMDA(**GMDA.presets["paper"])
    assert {(model.role, model.id, model.license) for model in paper.models} == {
        ("text", "Salesforce/instructblip-flan-t5-xl", "mit"),
        ("images", "stable-diffusion-v1-5/stable-diffusion-v1-5", "creativeml-openrail-m"),
        ("filter", "vinai/bertweet-base", "mit"),
    }
    assert "made up" in paper.cautions[0]
    assert GMDA().models == ()
    assert [model.role for model in replace(paper, text=False).models] == ["images"]
    assert not any("Boxes" in caution for caution in GMDA().cautions)
    assert "Boxes" in GMDA(image=False, detector=None).fit(sets["gmner"]).cautions[-1]


def test_a_config_tells_its_funnel_and_can_be_checked(splits, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = augment(splits, GMDA(image=False), out=tmp_path / "out", progress=False)
        done = publish(run, tmp_path / "out")
    config = load_dataset(str(tmp_path / "out"), "gmda_100pct")
    made = [row for row in config["train"].remove_columns("image") if row["method"] == "gmda"]
    note = json.loads((tmp_path / "out" / "gmda_100pct" / "augmentation.json").read_text())
    card = (tmp_path / "out" / "README.md").read_text()
    funnel = note["funnel"]
    assert funnel["kept"] == len(made) > 5
    assert funnel["posts"] == len(made) + sum(funnel["rejected"].values()) + sum(funnel["dropped"].values())
    assert funnel["rejected"]["no_context"] > 0
    assert "no_context" in card
    assert "made up" in card
    assert verify(str(tmp_path / "out"), done.config).ok


class Short(Writer):
    """A writer that was fitted, reads half of what it learns from, and has little memory."""

    def training(self):
        counts = {
            "train_posts": 14,
            "train_texts_cut": 3,
            "train_instructions_cut": 2,
            "validation_posts": 2,
            "halved": 1,
        }
        return {
            "counts": counts | {"train_images_unreadable": 1},
            "settings": {"max_text": 160, "max_instruction": 256},
        }

    def generate(self, requests, draws):
        count_limit("instructions_cut", 2)
        count_limit("text_batches_halved")
        return super().generate(requests, draws)


def test_what_did_not_fit_stands_on_the_card(splits, tmp_path, monkeypatch):
    count_limit("instructions_cut", 40)  # of another run in this process
    writer = Short(lambda request: f"{linearize(request.post)} as we all said today")
    monkeypatch.setattr(GMDA, "_text_engine", lambda self: writer)
    monkeypatch.setattr(GMDA, "_fit_text", lambda self, *arguments: {})
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    method = GMDA(text_model=f"instructblip:{tmp_path / 'model'}", detector=None, image=False)
    run = augment(splits, method, out=tmp_path / "out", progress=False, part_size=7)
    assert len(run.parts) == 2
    publish(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "The text model was given 14 posts of train: 3 texts cut at 160 tokens, 2 instructions cut at 256 tokens, "
        "1 pictures that could not be read." in card
    )
    assert "posts of validation" not in card
    assert "batches were halved, times: 1" in card
    assert "Inputs that exceeded a limit, by kind: instructions cut 4, text batches halved 2." in card
    note = json.loads((tmp_path / "out" / "gmda_100pct" / "augmentation.json").read_text())
    assert note["funnel"]["limits"] == {"instructions_cut": 4, "text_batches_halved": 2}


def test_prompts_that_were_cut_are_counted(mner, folders):
    method = GMDA(text=False, image_model=str(folders / "sd"), steps=2).fit(mner)
    engine = method._image_engine()
    before = limits_met().get("prompts_cut", 0)
    small = replace(engine, size=64, device="cpu")
    post = next(row for row in rows(mner) if row["image"])
    small.generate(["so " * 200], [draw(0, "gmda", 1, post["id"], 0)])
    assert limits_met()["prompts_cut"] == before + 1


def test_the_card_says_of_pictures_only_where_some_were_made(mner):
    """What is said stands as a sentence."""
    assert GMDA().cautions[-1].startswith("The pictures are collages of train pictures over the original: ")
    drawn = GMDA(image_model="org/sd").cautions[-1]
    assert drawn.startswith("The pictures are what org/sd drew from the original: ")
    assert any("pictures" in caution for caution in GMDA(detector=None).fit(mner).cautions)
    bare = GMDA(detector=None).fit(mner.remove_columns("image"))
    assert not any("The pictures" in caution for caution in bare.cautions)


def test_a_context_is_published_so_often():
    def texts(*contexts):
        return [Post(str(n), ("a",), details={"contexts": names}) for n, names in enumerate(contexts)]

    asked = texts(["x"], ["x", "y"], ["y"], ["x"], [], ["y"])
    for per_context, kept in ((1, [0, 2, 4]), (2, [0, 1, 2, 4]), (0, [0, 1, 2, 3, 4, 5])):
        check = GMDA(per_context=per_context).reduce()
        assert [int(post.id) for post in asked if check(post) is None] == kept
    written = Post("z", ("a",), details={"made_of": ["x"]})  # x is in its picture
    check = GMDA().reduce()
    assert [check(post) for post in (written, asked[0], asked[3])] == [None, None, "context_used"]


# ---------------------------------------------------------------- names from outside


def listed_file(tmp_path):
    path = tmp_path / "secret-names.tsv"
    path.write_text("".join(f"{kind}\tZyx{i} Wvu{i}\n" for kind in ("PER", "LOC", "ORG", "MISC") for i in range(20)))
    return str(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_requested_entities_come_from_a_list_by_the_share(mner, tmp_path, share):
    options = {"image": False, "copies": 4, "detector": None}
    plain = GMDA(**options).fit(mner).map(mner)
    method = GMDA(**options, mentions=listed_file(tmp_path), mention_share=share).fit(mner)
    made = method.map(mner)
    assert len(made) > 30
    if not share:
        assert made["tokens"] == plain["tokens"]
    assert "secret" not in "".join([*made["provenance"], *method.cautions])
    assert any(method.mentions[7:19] in told for told in method.cautions)
    n_listed = n_entities = 0
    gold = {row["id"]: Codec(mner.features).to_post(row) for row in mner.with_format("arrow")[:].to_pylist()}
    for row in made.with_format("arrow")[:].to_pylist():
        post = Codec(made.features).to_post(row)
        mentions = [" ".join(post.tokens[e.start : e.end]) for e in post.entities]
        new = sorted(mention for mention in mentions if "zyx" in mention.casefold())
        assert sorted(json.loads(row["provenance"])["details"].get("listed", [])) == new
        assert Counter(e.type for e in post.entities) == Counter(e.type for e in gold[row["source_id"]].entities)
        n_listed, n_entities = n_listed + len(new), n_entities + len(mentions)
    assert abs(n_listed / n_entities - share) < 0.15


def test_words_of_a_made_post_with_listed_names_know_where_they_come_from(mner, tmp_path):
    method = GMDA(image=False, detector=None, mentions=listed_file(tmp_path), mention_share=0.5).fit(mner)
    posts = [Codec(mner.features).to_post(row) for row in mner.with_format("arrow")[:].to_pylist()]
    by_id = {post.id: post for post in posts}
    made = [post for post in method.rewrite(posts, [method._draw(post.id) for post in posts]) if isinstance(post, Post)]
    n_own = n_new = 0
    for post in made:
        origins = [*post.origins, *[None] * (len(post.tokens) - len(post.origins))]
        for word, origin in zip(post.tokens, origins, strict=True):
            if isinstance(origin, int):
                assert by_id[post.id].tokens[origin] == word
                n_own += 1
            elif origin is not None:
                assert by_id[origin[0]].tokens[origin[1]] == word
            n_new += origin is None and word.startswith("Zyx")
        assert not any("Zyx" in word for word, origin in zip(post.tokens, origins, strict=True) if origin is not None)
    assert n_own > 3
    assert n_new > 3


def test_detectors_are_not_asked_about_listed_names():
    tokens = ["Zyx", "met", "Adele", "in", "Rome"]
    entities = [Entity(0, 1, "PER"), Entity(2, 3, "PER"), Entity(4, 5, "LOC")]
    for spans, kept in [
        ([(2, 3, "PER"), (4, 5, "LOC")], True),
        ([(0, 2, "ORG"), (2, 3, "PER"), (4, 5, "LOC")], True),
        ([(2, 3, "PER")], False),
        ([(0, 1, "PER"), (1, 2, "PER"), (2, 3, "PER"), (4, 5, "LOC")], False),
    ]:
        of_text, found = filters.except_sure(entities, [spans], {0})
        assert (filters.check_labels(tokens, of_text, found) is None) == kept
    assert filters.except_sure(entities, [[(0, 1, "PER")]], set()) == (tuple(entities), [[(0, 1, "PER")]])


def test_names_are_for_texts(tmp_path):
    with pytest.raises(UsageError, match="mentions= is for new texts"):
        GMDA(text=False, mentions=listed_file(tmp_path))


def test_no_text_is_rejected_for_a_listed_name(mner, tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text("".join(f"{kind}\tzyx{i}\n" for kind in ("PER", "LOC", "ORG", "MISC") for i in range(20)))
    method = GMDA(image=False, copies=3, mentions=str(path), mention_share=1.0).fit(mner)
    made = method.make(mner.with_format("arrow")[:])
    told = [reject["detail"] for reject in made.rejects if reject["reason"] == "inconsistent"]
    assert not any("zyx" in detail.casefold() for detail in told)
    assert len(made.columns["id"]) > 10
