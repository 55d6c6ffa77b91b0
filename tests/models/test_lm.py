"""Causal language models from small configs as writers: prompts, marks, adapters, sampling row by row, bad input."""

import json
import shutil
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
tiny = pytest.importorskip("tiny_causal")

from text_posts import PAIRS, POSTS  # noqa: E402

from hf_mner_aug.draw import draw  # noqa: E402
from hf_mner_aug.exceptions import UsageError  # noqa: E402
from hf_mner_aug.models.text import DEFAULTS, finetuned, fit_settings, lm_net  # noqa: E402
from hf_mner_aug.models.text import training as fitting  # noqa: E402
from hf_mner_aug.models.text.adapters import learnable  # noqa: E402
from hf_mner_aug.models.text.engine import TextRequest, Unwritten  # noqa: E402
from hf_mner_aug.models.text.finetuned import FineTuned  # noqa: E402
from hf_mner_aug.models.text.labelled import instruction, linearize  # noqa: E402
from hf_mner_aug.models.text.network import FitSettings, open_network  # noqa: E402
from hf_mner_aug.models.text.training import fit  # noqa: E402
from hf_mner_aug.schema import Entity, Post  # noqa: E402

KINDS = list(tiny.TIED)
LIMITS = {"max_instruction": 200, "max_text": 160, "gradient_checkpointing": False, "device": "cpu"}
REQUESTS = [TextRequest(instruction=instruction(post), image=None, post=post) for post in POSTS]
LEARNT = [(request, linearize(request.post)) for request in REQUESTS]
ODD = Post("odd", ["[", "</s>", "B-PER", "<|user|>", "a|b", "é\u00a0😂"], (Entity(0, 2, "PER"), Entity(4, 5, "LOC")))


def draws_for(requests):
    return [draw(0, "test", 1, request.post.id, 0) for request in requests]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny.build(folder / kind, kind) for kind in KINDS}


def settings_of(base, **more):
    return FitSettings(**{"kind": "lm", "model": str(base), **DEFAULTS["lm"], **LIMITS, "learning_rate": 5e-3, **more})


def opened(base, **more):
    return open_network(settings_of(base, **more), tiny.TAGS, "float32")


@pytest.fixture(scope="module")
def engines(bases):
    """One for each architecture, tokens and plain marks by turns."""
    found = {}
    for kind, marks in zip(KINDS, ("tokens", "plain") * 2, strict=True):
        settings = settings_of(bases[kind], marks=marks, epochs=1)
        weights = fit(LEARNT, LEARNT[:2], settings=settings, tags=tiny.TAGS)["text_model"]
        found[kind] = FineTuned(
            kind="lm", model=str(bases[kind]), weights=weights, max_text=10, batch_size=4, device="cpu"
        )
    return found


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("marks", ["tokens", "plain"])
def test_a_text_comes_back_from_its_tokens_whatever_it_looks_like(bases, marks):
    network = opened(bases["llama"], marks=marks)
    for text in [*(text for _, text in LEARNT), linearize(ODD)]:
        ids = network.text_ids(text)
        assert not set(ids) & set(range(len(tiny.MARKS)))
        assert network.text_of([*ids, network.end, 7]) == text.replace("\u00a0", " " if marks == "tokens" else "\u00a0")
    assert network.text_of(ids) is None
    plain = network.prompts.pieces("see [ Steve Irwin")
    assert marks == "tokens" or network.text_of([*plain, network.end]) == Unwritten(
        "tag_at_end", "the mark at word 1 is open"
    )
    assert network.text_of([network.end]) == ""


def test_a_prompt_is_the_instruction_on_a_line_or_in_the_chat_template(bases, tmp_path):
    network = opened(bases["llama"])
    tokens = network.tokenizer
    asked = "write </s> of Paris"
    example, counts = network.example(asked, None, "B-LOC Paris")
    assert tokens.decode(example.prompt) == f"{asked}\n"
    assert tokens.decode(example.text) == "[ Paris | location ]</s>"
    assert example.text[-1] == network.end
    assert tokens.eos_token_id not in example.prompt
    assert not +counts
    chatting = opened(tiny.build(tmp_path / "chat", tokens=tiny.tokenizer(tiny.CHAT)))
    prompt = chatting.example(asked, None)[0].prompt
    assert tokens.decode(prompt) == f"<s><|user|>{asked}</s><|writer|>01 Jan 2025"  # the same on all days
    assert prompt.count(tokens.eos_token_id) == 1
    cut, counts = opened(bases["llama"], max_instruction=12, max_text=8).example(asked, None, "B-LOC Paris")
    assert dict(counts) == {"instructions_cut": 1, "texts_cut": 1}
    assert tokens.decode(cut.prompt) == "write </s> \n"
    assert tokens.decode(cut.text) == "[ Paris "  # no end: it must not learn to stop there


def test_the_loss_is_that_of_the_text_and_its_end_alone(bases):
    for kind in KINDS:
        network = opened(bases[kind])
        examples = [network.example(request.instruction, None, text)[0] for request, text in LEARNT[:3]]
        batch = network.collate(examples, [None] * 3, learn=True)
        for example, row in zip(examples, batch["labels"].tolist(), strict=True):
            before = len(example.prompt)
            after = len(row) - before - len(example.text)
            assert row == [-100] * before + example.text + [-100] * after
        with torch.no_grad():
            assert network.loss(batch).item() == pytest.approx(network.net(**batch).loss.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("marks", ["tokens", "plain"])
def test_the_output_layer_is_computed_for_the_tokens_of_texts_alone(bases, kind, marks):
    settings = settings_of(bases[kind], marks=marks, dropout=0.0)
    network = opened(bases[kind], marks=marks)
    network.adapt(settings)
    examples = [network.example(request.instruction, None, text)[0] for request, text in LEARNT[:3]]
    batch = network.collate(examples, [None] * 3, learn=True)
    learnable = [parameter for parameter in network.net.parameters() if parameter.requires_grad]
    given = {name: values for name, values in batch.items() if name != "labels"}
    logits = network.net(**given).logits[:, :-1].flatten(0, 1)
    whole = torch.nn.functional.cross_entropy(logits, batch["labels"][:, 1:].flatten())  # of all logits
    expected = torch.autograd.grad(whole, learnable)
    rows = []
    layer = network.net.get_output_embeddings()
    with layer.register_forward_hook(lambda module, args, logits: rows.append(logits.shape[:-1].numel())):
        loss = network.loss(batch)
    assert rows == [sum(len(example.text) for example in examples)]
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    for found, gradient in zip(torch.autograd.grad(loss, learnable), expected, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- what learns

LLAMA = [*(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down"))]
INSIDE = {"gpt2": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("marks", ["tokens", "plain"])
def test_adapters_sit_on_the_projections_of_the_blocks_and_tags_have_rows(bases, kind, marks):
    network = opened(bases[kind], marks=marks)
    network.adapt(settings_of(bases[kind]))
    learns = learnable(network.net)
    blocks = "transformer.h" if kind == "gpt2" else "model.layers"
    modules = {f"{blocks}.{i}.{name}" for i in range(2) for name in INSIDE.get(kind, LLAMA)}
    lora = {f"base_model.model.{name}.lora_{side}.default.weight" for name in modules for side in "AB"}
    rows = learns.keys() - lora
    assert learns.keys() >= lora
    assert len(rows) == (0 if marks == "plain" else 1 if tiny.TIED[kind] else 2)
    assert all(len(learns[name]) == len(tiny.TAGS) and "trainable_tokens_delta" in name for name in rows)
    assert {weights.dtype for weights in learns.values()} == {torch.float32}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_tags_reach_the_embeddings_and_the_output(bases, kind):
    """Also where both are one matrix: what is trained is what a model with these rows computes."""
    network = opened(bases[kind], marks="tokens")
    plain = opened(bases[kind], marks="tokens").net
    ids = sorted(network.tags.values())
    batch = torch.tensor([[9, ids[0], 12, ids[1]]])
    network.adapt(settings_of(bases[kind]))
    rows = {name: weights for name, weights in learnable(network.net).items() if "tokens_delta" in name}
    with torch.no_grad():
        before = network.net(batch).logits
        assert torch.allclose(before, plain(batch).logits, atol=1e-5)
        more = torch.randn(len(ids), tiny.SIZES["hidden_size"], generator=torch.Generator().manual_seed(1))
        for weights in rows.values():
            weights.add_(more)
        for layer in (plain.get_input_embeddings(), plain.get_output_embeddings())[: 1 if tiny.TIED[kind] else 2]:
            layer.weight[ids] += more
        after = network.net(batch).logits
        assert torch.allclose(after, plain(batch).logits, atol=1e-4)
    assert not torch.allclose(before[..., ids], after[..., ids], atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learnt_is_stored_and_read_again(bases, kind, tmp_path):
    network = opened(bases[kind], marks="tokens")
    network.adapt(settings_of(bases[kind]))
    with torch.no_grad():
        for weights in learnable(network.net).values():
            weights.add_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        network.net.eval()
        network.write_weights(tmp_path)
        again = opened(bases[kind], marks="tokens")
        again.read_weights(tmp_path)
        batch = torch.tensor([[9, 30, max(network.tags.values())]])
        assert torch.equal(network.net(batch).logits, again.net.eval()(batch).logits)
    assert str(bases[kind]) not in "".join(path.read_text() for path in tmp_path.glob("*.json"))


def test_a_fit_learns_and_ends_after_a_pass_that_is_no_better(bases, monkeypatch):
    settings = settings_of(bases["llama"], epochs=3)
    found = fit(LEARNT, LEARNT, settings=settings, tags=tiny.TAGS)
    engine = FineTuned(kind="lm", model=str(bases["llama"]), weights=found["text_model"], device="cpu")
    losses = [check["loss"] for check in engine.training()["history"]]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 3
    told = iter([3.0, 2.0, 2.5, 1.0])
    monkeypatch.setattr(fitting.Training, "_learn", lambda self, examples: 1.0)
    monkeypatch.setattr(fitting.Training, "_losses", lambda self, examples, size: iter([(torch.tensor(next(told)), 1)]))
    stopped = fit(LEARNT, LEARNT[:1], settings=replace(settings, epochs=10), tags=tiny.TAGS)
    record = replace(engine, weights=stopped["text_model"]).training()
    assert [check["loss"] for check in record["history"]] == [3.0, 2.0, 2.5]
    assert record["settings"]["kind"] == "lm"


# ---------------------------------------------------------------- sampling


def written_ids(engine, requests):
    """Return the ids that an engine draws for requests."""
    network, seen = engine._load().network, []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(network, "text_of", lambda ids: f"text {len(seen)}" if seen.append(list(ids)) is None else "")
        made = engine.generate(requests, draws_for(requests))
    return [seen[int(text.split()[1]) - 1] for text in made]


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_a_text_do_not_depend_on_the_batch(engines, kind):
    engine = engines[kind]
    together = written_ids(engine, REQUESTS)
    assert len({tuple(ids) for ids in together}) > 4
    assert written_ids(engine, REQUESTS[::-1]) == together[::-1]
    assert [written_ids(engine, [request])[0] for request in REQUESTS[:3]] == together[:3]
    assert written_ids(replace(engine, batch_size=3), REQUESTS) == together


@pytest.mark.parametrize("kind", KINDS)
def test_logits_do_not_depend_on_other_rows_bit_for_bit(engines, kind):
    """Also where a prompt fills the width: a batch without any padding would be computed in another way."""
    network = engines[kind]._load().network
    fill = lm_net.PROMPT_MULTIPLE
    examples = [lm_net.EncodedPrompt([0, *range(40, 39 + n)], []) for n in (fill - 1, 7, fill, 2 * fill - 1)]
    assert [network.shape(example) for example in examples] == [fill, fill, 2 * fill, 2 * fill]

    def first_tokens(chosen):
        batch = network.collate(chosen, [None] * len(chosen), learn=False)
        assert not batch["attention_mask"].all()
        with torch.inference_mode():
            made = network.net.generate(
                **batch, max_new_tokens=3, do_sample=False, output_logits=True, return_dict_in_generate=True
            )
        return torch.stack(made.logits, 1)

    for one, other in (examples[:2], examples[2:]):
        alike = first_tokens([one, one])
        assert torch.equal(first_tokens([one, other])[0], alike[0])
        # Padding is as if it were not there.
        with torch.no_grad():
            bare = network.net(input_ids=torch.tensor([one.prompt])).logits[0, -1]
        assert torch.allclose(alike[0, 0], bare, atol=1e-4)


def test_texts_are_sampled_by_the_draw_or_the_likeliest(engines):
    engine = engines["llama"]
    greedy = written_ids(replace(engine, temperature=0), REQUESTS[:2])
    network = engine._load().network
    ids, forbidden = network.example(REQUESTS[0].instruction, None)[0].prompt, network.forbidden()
    for token in greedy[0]:
        with torch.no_grad():
            logits = network.net(input_ids=torch.tensor([ids])).logits[0, -1].masked_fill(forbidden, float("-inf"))
        assert int(logits.argmax()) == token
        ids = [*ids, token]
    assert written_ids(replace(engine, top_k=1), REQUESTS[:2]) == greedy
    assert written_ids(replace(engine, top_p=1e-6), REQUESTS[:2]) == greedy
    assert written_ids(engine, REQUESTS[:2]) != greedy


@pytest.mark.parametrize("kind", KINDS)
def test_only_text_its_marks_and_the_end_are_drawn(engines, kind):
    network = engines[kind]._load().network
    allowed = set((~network.forbidden()).nonzero().flatten().tolist())
    assert allowed & set(range(len(tiny.MARKS))) == {network.end}
    assert allowed - set(range(len(tiny.MARKS))) == {*range(len(tiny.MARKS), 256 + len(tiny.MARKS)), *network.names}
    assert (kind in ("gemma", "llama")) == bool(network.names)


def test_bfloat16_learns_with_adapters_in_float32(bases):
    half = settings_of(bases["gemma"], dtype="bfloat16", epochs=2, marks="tokens")
    found = fit(LEARNT, LEARNT, settings=half, tags=tiny.TAGS)
    engine = FineTuned(
        kind="lm", model=str(bases["gemma"]), weights=found["text_model"], dtype="bfloat16", max_text=8, device="cpu"
    )
    first, second = (check["loss"] for check in engine.training()["history"])
    assert second < first
    assert len(engine.generate(REQUESTS[:2], draws_for(REQUESTS[:2]))) == 2


# ---------------------------------------------------------------- relations


def test_arguments_of_relations_are_marked_with_the_relation(bases):
    from hf_mner_aug.models.text.labelled import tag_type, with_arguments

    asked = [post for post in map(with_arguments, PAIRS) if post]
    kinds = sorted({tag_type(entity) for post in asked for entity in post.entities})
    tags = [f"{prefix}-{kind}" for kind in kinds for prefix in "BI"]
    network = open_network(settings_of(bases["llama"]), tags, "float32")
    for post in asked:
        assert network.text_of([*network.text_ids(linearize(post)), network.end]) == linearize(post)


# ---------------------------------------------------------------- wrong models


def changed(base, folder, **config):
    shutil.copytree(base, folder)
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**found, **config}))
    return folder


def test_what_is_no_causal_language_model_is_one_line(bases, tmp_path):
    import transformers

    tokens = tiny.tokenizer()

    def saved(name, net):
        net.save_pretrained(tmp_path / name)
        tokens.save_pretrained(tmp_path / name)
        return tmp_path / name

    small = {**tiny.SIZES, "vocab_size": len(tokens)}
    bert = saved("bert", transformers.BertForMaskedLM(transformers.BertConfig(**small)))
    t5 = saved("t5", transformers.T5Model(transformers.T5Config(d_model=16, d_ff=16, num_layers=1, num_heads=1)))
    headless = saved("headless", transformers.LlamaModel(tiny.config("llama", len(tokens))))
    (tmp_path / "empty").mkdir()
    untold = tmp_path / "untold"
    shutil.copytree(bases["llama"], untold)
    for path in untold.glob("*token*"):
        path.unlink()
    endless = tiny.build(tmp_path / "endless", tokens=tiny.tokenizer(eos_token=None))
    silent = tiny.build(tmp_path / "silent", tokens=tiny.tokenizer("{{ 'no messages' }}"))
    narrow = tiny.build(tmp_path / "narrow")
    more = tiny.tokenizer()
    more.add_tokens(["further", "words"])
    more.save_pretrained(narrow)
    for folder, message in {
        bert: "bert is no causal language model: it reads the words to the right as well",
        t5: "no usable folder of a causal language model",
        headless: r"1 of its weights are missing \(lm_head.weight\)",
        tmp_path / "empty": "no usable folder of a tokenizer",
        untold: "no usable folder of a tokenizer",
        endless: r"its tokenizer has no end token \(eos_token\)",
        silent: "its chat template takes no message of a user",
        narrow: "its tokenizer has 263 tokens, its embeddings 261 rows",
        tmp_path / "absent": "no folder, and no id|no usable",
    }.items():
        with pytest.raises(UsageError, match=message) as told:
            opened(folder)
        assert "\n" not in str(told.value)
    with pytest.raises(UsageError, match="it reads 512 tokens, expected 256 for the instruction and 512 for the text"):
        opened(bases["llama"], max_instruction=256, max_text=512)


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_rows_of_tags_are_swapped_with_the_adapters(bases, kind):
    """They are merged into the embeddings, which must be those of the base for the next adapters."""
    request = LEARNT[0][0]
    trained = [
        fit(LEARNT, [], settings=settings_of(bases[kind], marks="tokens", epochs=1, seed=seed), tags=tiny.TAGS)
        for seed in (5, 6)
    ]
    writers = [
        FineTuned(kind="lm", model=str(bases[kind]), weights=found["text_model"], max_text=10, device="cpu")
        for found in trained
    ]

    def logits(writer):
        network = writer._load().network
        example, _ = network.example(request.instruction, None)
        with torch.inference_mode():
            return network.net(**network.collate([example], [None], learn=False)).logits

    alone = []
    for writer in writers:
        finetuned.forget()
        alone.append(logits(writer))
    assert not torch.equal(*alone)
    finetuned.forget()
    networks = set()
    for turn in (0, 1, 0, 1):
        assert torch.equal(logits(writers[turn]), alone[turn])
        networks.add(id(finetuned._held[0]))
    assert len(networks) == 1


def test_settings_of_an_engine_are_checked():
    assert fit_settings("templates", tune="lora", epochs=1, seed=0) is None
    found = fit_settings("lm:a/b@main", tune="lora", epochs=2, seed=3, r=4)
    assert (found.kind, found.model, found.revision, found.r, found.epochs, found.marks) == (
        *("lm", "a/b", "main", 4, 2, "plain"),
    )
    assert fit_settings("instructblip:a/b", tune="qformer", epochs=1, seed=0) == FitSettings(
        model="a/b", tune="qformer", epochs=1
    )
    with pytest.raises(UsageError, match="tune=qformer: lm has no Q-Former"):
        fit_settings("lm:a/b", tune="qformer", epochs=1, seed=0)
    with pytest.raises(UsageError, match="marks is of models that are fine-tuned, and templates is not"):
        fit_settings("templates", tune="lora", epochs=1, seed=0, marks="tokens")
