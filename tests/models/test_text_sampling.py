"""What InstructBLIP reads, and texts that are sampled row by row."""

from dataclasses import replace

import pytest
import tiny_texts
from tiny_texts import ROWS, TYPES, as_pair, blip_engine, draws_for, one_step, opened, torch, written_ids

from hf_mner_aug.models.device import limits_met
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.training import fit
from hf_mner_aug.schema import Entity, Post

pairs, base, settings, cache, engine = (
    tiny_texts.pairs,
    tiny_texts.base,
    tiny_texts.settings,
    tiny_texts.cache,
    tiny_texts.engine,
)  # fixtures

# ---------------------------------------------------------------- what is read


def test_the_picture_and_both_readings_of_the_instruction_tell_what_is_written(base, pairs):
    """Each alone, and not by its length: the same words in another order are another instruction."""
    network = opened(base)
    (request, linear), (other, _) = [pair for pair in pairs if pair[0].image][:2]
    example = network.example(request.instruction, request.image, linear)[0]

    def read(**changed):
        chosen = example._replace(**changed)
        batch = network.collate([chosen], [network.pixels(chosen.image)], learn=True)
        with torch.no_grad():
            return network.net.eval()(**batch).logits[0]

    before = read()
    assert torch.equal(before, read())
    changes = {"image": other.image, "question": example.question[::-1], "prompt": example.prompt[::-1]}
    for name, value in changes.items():
        assert float((read(**{name: value}) - before).abs().max()) > 1e-3, name


def test_another_picture_or_instruction_gives_another_text(engine, pairs):
    """The same draws: what differs is what is asked."""
    allowing, network = replace(engine, max_text=48), engine._load().network
    requests = [request for request, _ in pairs if request.image][:8]
    before = written_ids(network, allowing, requests)
    for name in ("image", "instruction"):
        others = [getattr(request, name) for request in [*requests[1:], requests[0]]]
        changed = [replace(request, **{name: value}) for request, value in zip(requests, others, strict=True)]
        assert written_ids(network, allowing, changed) != before, name


def test_every_adapter_that_the_text_hangs_on_learns(pairs, settings):
    """In the last layer of the Q-Former what is made of the question's words goes nowhere."""
    _, gradients, _, _ = one_step(pairs[:4], settings)
    still = {
        name.removeprefix("base_model.model.").partition(".lora_")[0]
        for name, gradient in gradients.items()
        if "lora_B" in name and (gradient is None or not gradient.abs().max() > 0)
    }
    assert still == {f"qformer.encoder.layer.0.{part}.dense" for part in ("intermediate", "output")}
    assert all(
        gradients[f"base_model.model.{name}.token_adapter.trainable_tokens_delta.default"].any() for name in ROWS
    )


# ---------------------------------------------------------------- sampling


def test_batch_size_order_and_company_do_not_change_a_text(engine, pairs):
    requests = [request for request, _ in pairs[:16]]
    allowing = replace(engine, max_text=10)
    before = torch.get_rng_state()
    network = allowing._load().network
    texts = {}
    for batch_size in (1, 4, 16):
        texts[batch_size] = written_ids(network, replace(allowing, batch_size=batch_size), requests)
    assert texts[1] == texts[4] == texts[16]
    assert len(set(map(tuple, texts[4]))) > 10  # some end at once
    back = written_ids(network, allowing, requests[11::-4])
    assert back == [texts[4][i] for i in (11, 7, 3)]
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_generator_gives_instead_of_a_text_is_told(engine, pairs, monkeypatch):
    requests = [request for request, _ in pairs[:2]]
    network = engine._load().network
    rows = len(network.forbidden())
    only_end = torch.ones(rows, dtype=torch.bool)
    only_end[network.end] = False
    monkeypatch.setattr(network, "forbidden", lambda: only_end)
    made = engine.generate(requests, draws_for(requests))
    assert [result.reason for result in made] == ["empty_text"] * 2
    monkeypatch.setattr(network, "forbidden", lambda: ~only_end)
    made = engine.generate(requests, draws_for(requests))
    assert made == [Unwritten("unfinished_text", "no end after 12 tokens")] * 2
    broken = replace(requests[0], image={"bytes": b"no picture", "path": None})
    made = engine.generate([broken, requests[1]], draws_for(requests))
    assert [result.reason for result in made] == ["unreadable_image", "unfinished_text"]
    assert engine.generate([], []) == []


def test_marks_and_rows_without_a_token_are_never_drawn(engine):
    network = engine._load().network
    forbidden, tokenizer = network.forbidden(), network.processor.tokenizer
    for name in ("<pad>", "<image>"):
        assert forbidden[tokenizer.convert_tokens_to_ids(name)]
    for name in ("</s>", *TYPES):
        assert not forbidden[tokenizer.convert_tokens_to_ids(name)]
    assert int(forbidden.sum()) == 2
    assert not network.net.training
    assert not any(module.training for module in network.net.modules())


def test_where_memory_ends_a_batch_is_halved_and_the_texts_are_the_same(engine, pairs, monkeypatch):
    requests = [request for request, _ in pairs[:4]]
    requests = [replace(request, instruction=requests[0].instruction) for request in requests]  # of one length
    expected = engine.generate(requests, draws_for(requests))
    loaded = engine._load()
    generate, seen = loaded.network.net.generate, []

    def short(**batch):
        seen.append(len(batch["input_ids"]))
        if len(seen) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**batch)

    monkeypatch.setattr(loaded.network.net, "generate", short)
    monkeypatch.setattr(loaded, "at_once", None)
    before = limits_met().get("text_batches_halved", 0)
    with pytest.warns(UserWarning, match="out of memory: continuing with batches of 2"):
        assert engine.generate(requests, draws_for(requests)) == expected
    assert seen == [4, 2, 2]
    assert limits_met()["text_batches_halved"] == before + 1


def test_posts_longer_than_the_model_are_cut_and_counted(pairs, settings, engine, cache):
    words = [f"word{i}" for i in range(40)]
    long = as_pair(Post("long", [*words, "end"], (Entity(0, 40, "PER"),)))
    short = replace(settings, epochs=1)
    with pytest.warns(
        UserWarning, match=r"1 of 3 train \w+ are longer than max_(text=64|instruction=96) tokens"
    ) as told:
        found = fit([*pairs[:2], long], [], settings=short, tags=TYPES)
    assert len([warning for warning in told if "instructblip" in str(warning.message)]) == 2
    record = blip_engine(model=settings.model, weights=found["text_model"]).training()
    assert (record["counts"]["train_texts_cut"], record["counts"]["train_instructions_cut"]) == (1, 1)
    assert record["history"] == [{"epoch": 1, "loss": None}]


def test_a_request_that_is_too_long_is_cut_and_counted(engine):
    long = as_pair(Post("long", [f"word{i}" for i in range(40)], (Entity(0, 40, "PER"),)))[0]
    before = limits_met().get("instructions_cut", 0)
    assert len(engine.generate([long], draws_for([long]))) == 1
    assert limits_met()["instructions_cut"] == before + 1
