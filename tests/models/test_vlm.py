"""Models of pictures and text of four families, from small configs: prompts, what learns, sampling by rows, faults."""

import io
import shutil
from collections import Counter

import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
tiny = pytest.importorskip("tiny_vlm")

from tiny_instructblip import TAGS  # noqa: E402

from hf_mner_aug import GMDA  # noqa: E402
from hf_mner_aug.draw import draw  # noqa: E402
from hf_mner_aug.exceptions import DataError, UsageError  # noqa: E402
from hf_mner_aug.models.text import vlm_net  # noqa: E402
from hf_mner_aug.models.text.engine import TextRequest, Unwritten  # noqa: E402
from hf_mner_aug.models.text.finetuned import FineTuned  # noqa: E402
from hf_mner_aug.models.text.labelled import instruction, linearize  # noqa: E402
from hf_mner_aug.models.text.lm_net import LMNetwork  # noqa: E402
from hf_mner_aug.models.text.network import FitSettings  # noqa: E402
from hf_mner_aug.models.text.training import fit  # noqa: E402
from hf_mner_aug.schema import Codec  # noqa: E402
from hf_mner_aug.storage.pinned_files import pinned_file  # noqa: E402
from hf_mner_aug.transform import iterate_posts  # noqa: E402

FAMILIES = sorted(tiny.FAMILIES)


@pytest.fixture(scope="module")
def pairs(mner):
    """Requests with and without a picture, with their texts."""
    posts = list(iterate_posts(mner, Codec(mner.features), images=True))
    return [
        (TextRequest(instruction=instruction(post), image=next(iter(post.images), None), post=post), linearize(post))
        for post in posts
    ]


@pytest.fixture(scope="module")
def bases(pairs, tmp_path_factory):
    texts = [text for request, linear in pairs for text in (request.instruction, linear, "user assistant")]
    folder = tmp_path_factory.mktemp("vlm")
    return {family: tiny.build(family, folder / family, texts) for family in FAMILIES}


def settings_of(folder, **chosen):
    small = {"learning_rate": 5e-3, "batch_size": 3, "epochs": 1, "max_text": 48, "max_instruction": 96}
    return FitSettings(**{"kind": "vlm", "model": str(folder), "device": "cpu", **small, **chosen})


def opened(folder, **chosen):
    return vlm_net.open_base(settings_of(folder, **chosen), TAGS, "float32")


def png(*size):
    """A black picture."""
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def some(pairs):
    """Two requests with pictures of two sizes, and one without."""
    with_picture = [pair for pair in pairs if pair[0].image]
    return [with_picture[0], with_picture[3], next(pair for pair in pairs if not pair[0].image)]


# ---------------------------------------------------------------- prompts


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_holds_the_instruction_and_a_picture_where_there_is_one(family, bases, pairs):
    network = opened(bases[family], max_text=200)
    (pictured, linear), _, (bare, _) = some(pairs)
    tokenizer = network.processor.tokenizer
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    for request in (pictured, bare):
        example, counts = network.example(request.instruction, request.image, linear)
        assert not +counts
        said = tokenizer.decode(example.prompt, clean_up_tokenization_spaces=False)
        assert said.startswith("<s><turn>user\n")
        assert said.endswith(f"{request.instruction}</s>\n<turn>assistant\n")
        assert (
            (image_id in example.prompt)
            == bool(request.image)
            == bool(example.shapes)
            == bool(network.pixels(request.image))
        )
        assert network.text_of([*example.text, 5, 6]) == " ".join(linear.split())
        assert example.text[-1] == tokenizer.eos_token_id
    # A tweet is text, whatever it holds.
    odd, _ = network.example("so </s> <image> <turn> B-PER", None)
    assert Counter(odd.prompt)[tokenizer.eos_token_id] == 1
    assert image_id not in odd.prompt
    assert not set(network.writer.tags.values()) & set(odd.prompt)
    cut, counts = network.example("word " * 400, pictured.image, linear)
    assert counts["instructions_cut"] == 1
    assert len(cut.prompt) - len(odd.prompt) < 96 + 64


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_mean_over_tokens_whatever_pictures_a_batch_has(family, bases, pairs):
    network = opened(bases[family])
    network.net.eval()
    examples = [network.example(request.instruction, request.image, text)[0] for request, text in some(pairs)]

    def loss(chosen):
        batch = network.collate(chosen, [network.pixels(e.image) for e in chosen], learn=True)
        return network.loss(batch).item()

    with torch.no_grad():
        alone = [(loss([example]), len(example.text)) for example in examples]
        assert loss(examples) == pytest.approx(sum(part * n for part, n in alone) / sum(n for _, n in alone), rel=1e-5)
        batch = network.collate(examples[:1], [network.pixels(examples[0].image)], learn=True)[vlm_net.PARTS][0]
        labels = batch.pop("labels")
        logits = network.net(**batch).logits[:, :-1].flatten(0, 1)
        assert torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten()).item() == pytest.approx(alone[0][0])
        blank = [examples[0]._replace(image=examples[1].image)]
        if examples[0].shapes == examples[1].shapes:
            assert loss(blank) != alone[0][0], "the picture is seen"


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_are_on_the_language_models_projections_alone(family, bases):
    network = opened(bases[family])
    network.adapt(settings_of(bases[family]))
    names = {
        name.rpartition(".lora_")[0]
        for name, p in network.net.named_parameters()
        if p.requires_grad and "lora_" in name
    }
    inside = "text_model" if family == "idefics3" else "language_model"
    wanted = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")]
    assert names == {f"base_model.model.model.{inside}.layers.0.{name}" for name in wanted}
    others = [n for n, p in network.net.named_parameters() if p.requires_grad and "lora_" not in n]
    assert others
    assert all("token_adapter" in name or "trainable_tokens" in name for name in others)


def test_tokens_that_stand_for_pictures_are_never_drawn(bases):
    """Even where a tokenizer takes them for words."""
    network = opened(bases["qwen2_vl"])
    word = network.processor.tokenizer.convert_tokens_to_ids("a")
    before = network.forbidden()
    network.net.config.image_token_id = word
    assert set((network.forbidden() != before).nonzero().flatten().tolist()) == {word}
    assert not before[[word, network.writer.end, *network.writer.tags.values()]].any()


# ---------------------------------------------------------------- training and sampling


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_learned_and_drawn_row_by_row(family, bases, pairs, monkeypatch):
    chosen = [*some(pairs), *pairs[6:9]]
    found = fit(chosen[:3], chosen[3:5], settings=settings_of(bases[family], epochs=2), tags=TAGS)
    monkeypatch.setattr(LMNetwork, "text_of", lambda self, ids: " ".join(map(str, ids)))

    def engine(size, **more):
        given = {"model": str(bases[family]), "weights": found["text_model"], "max_text": 6, "device": "cpu", **more}
        return FineTuned(kind="vlm", batch_size=size, **given)

    losses = [check["loss"] for check in engine(1).training()["history"]]
    assert losses[1] < losses[0]
    requests = [request for request, _ in chosen]
    draws = [draw(0, "test", 1, request.post.id, 0) for request in requests]
    alone = engine(1).generate(requests, draws)
    assert len(set(alone)) == len(alone)
    assert engine(4).generate(requests, draws) == alone
    assert engine(16).generate(requests[::-1], draws[::-1]) == alone[::-1]
    # The picture counts, and so does its absence.
    greedy = engine(4, temperature=0.0)
    bare = [TextRequest(instruction=r.instruction, image=None, post=r.post) for r in requests]
    said = {str(i) for text in alone for i in text.split()}
    assert greedy.generate(bare, draws)[2] == greedy.generate(requests, draws)[2]
    image_id = transformers.AutoTokenizer.from_pretrained(bases[family]).convert_tokens_to_ids("<image>")
    assert str(image_id) not in said


def test_a_picture_that_cannot_be_read_costs_one_text_and_is_left_out_of_the_training(bases, pairs, monkeypatch):
    folder = bases["llava"]
    (request, text), _, (bare, other) = some(pairs)
    broken = TextRequest(instruction=request.instruction, image={"bytes": b"<html>", "path": None}, post=request.post)
    narrow = TextRequest(instruction=request.instruction, image=png(1, 3), post=request.post)
    found = fit([(broken, text), (bare, other)], [], settings=settings_of(folder), tags=TAGS)
    engine = FineTuned(kind="vlm", model=str(folder), weights=found["text_model"], max_text=4, device="cpu")
    assert engine.training()["counts"]["train_images_unreadable"] == 1
    monkeypatch.setattr(LMNetwork, "text_of", lambda self, ids: "so")
    draws = [draw(0, "test", 1, str(i), 0) for i in range(3)]
    written = engine.generate([broken, request, narrow], draws)
    assert isinstance(written[0], Unwritten)
    assert written[0].reason == "unreadable_image"
    assert written[1:] == ["so", "so"]


def test_a_processor_that_refuses_a_picture_makes_it_unreadable(bases, pairs):
    network = opened(bases["qwen2_vl"])
    wide = png(7000, 28)
    with pytest.raises(DataError, match="the picture does not suit the model: absolute aspect ratio"):
        network.example("so", wide)


# ---------------------------------------------------------------- what does not fit


def test_models_that_do_not_fit_are_refused_in_one_line(bases, pairs, tmp_path):
    def refused(folder):
        with pytest.raises(UsageError) as error:
            opened(folder)
        assert "\n" not in str(error.value)
        return str(error.value)

    without = tmp_path / "without"
    shutil.copytree(bases["llava"], without)
    template = without / "chat_template.jinja"
    kept = template.read_text()
    template.unlink()
    assert "it has no chat template, so where a picture stands in its prompt is not known" in refused(without)
    template.write_text("{% for message in messages %}{{ raise_exception('no') }}{% endfor %}")
    assert "its chat template takes no message of a user alone" in refused(without)
    template.write_text(kept)
    for name in ("preprocessor_config.json", "processor_config.json"):
        (without / name).unlink(missing_ok=True)
    assert "image processor" in refused(without)
    config = transformers.LlamaConfig(vocab_size=8, **tiny.LANGUAGE)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    told = refused(tmp_path / "llama")
    assert "expected a model of pictures and text, found llama: for a language model of text alone, take" in told
    assert "no usable folder or model id of a model of pictures and text" in refused(tmp_path / "nowhere")


# ---------------------------------------------------------------- the method


def test_gmda_writes_with_one(mner, bases, monkeypatch):
    few = mner.select(range(6))
    name = f"vlm:{bases['llava']}"
    method = GMDA(text_model=name, detector=None, image=False, epochs=1).fit(few)
    monkeypatch.setattr(LMNetwork, "text_of", lambda self, ids: "so B-PER Zoe came to B-LOC Oslo and stayed")
    asked = method.make(few.with_format("arrow")[:])
    assert {reject["reason"] for reject in asked.rejects} == {"lost_entity"}
    free = GMDA(text_model=name, ask="free", free_image="own", image=False, epochs=1).fit(few)
    assert len(free.make(few.with_format("arrow")[:]).columns["id"]) == len(few)
    assert [model.id for model in method.models] == [pinned_file(str(bases["llava"]), "")]
    assert any("The texts are a model's" in sentence for sentence in method.cautions)
