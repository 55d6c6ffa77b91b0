"""Sentences: cosines by hand and by the model itself, and perplexity by hand."""

import json
import math
import subprocess
import sys

import pytest
from hub_server import HubServer
from tiny_language_model import WORDS, language_model

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.words import sentence
from hf_mner_aug.models.words.sentence import (
    EncoderSimilarity,
    LanguageModel,
    TfidfSimilarity,
    open_encoder,
    open_language_model,
)


def test_tfidf_cosine_by_hand():
    alike = TfidfSimilarity(["a b", "a c"])
    # idf(a) = ln(3/3) + 1 = 1; idf(b) = idf(c) = ln(3/2) + 1 = 1.405465.
    assert alike("a b", ["a b", "a c", "d"]) == pytest.approx([1.0, 1 / (1 + 1.405465**2), 0.0], abs=1e-6)


@pytest.fixture
def encoder(tmp_path):
    """A folder with a tiny BERT of random weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model = transformers.BertModel(config).eval()
    for part in (tokenizer, model):
        part.save_pretrained(tmp_path)
    return tmp_path


FLAGS = [f"pooling_mode_{name}" for name in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")]
FIRST, MEAN, HIGHEST = (lambda s: s[0]), (lambda s: s.mean(0)), (lambda s: s.amax(0))


def said(flag, **more):
    """Return a config of sentence-transformers' pooling."""
    return {"word_embedding_dimension": 16, **{name: name == f"pooling_mode_{flag}" for name in FLAGS}, **more}


@pytest.mark.parametrize(
    ("config", "pool"),
    [
        (None, FIRST),
        (said("cls_token"), FIRST),
        (said("mean_tokens", include_prompt=True), MEAN),
        (said("mean_sqrt_len_tokens"), MEAN),
        (said("max_tokens"), HIGHEST),
        ({"embedding_dimension": 16, "pooling_mode": "mean", "include_prompt": True}, MEAN),
    ],
)
def test_encoder_cosine_is_the_models(encoder, config, pool):
    import torch
    import transformers

    if config:
        (encoder / "1_Pooling").mkdir()
        (encoder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    model = transformers.AutoModel.from_pretrained(encoder).eval()
    texts = ["a b c", "a", "c c b a"]
    with torch.inference_mode():
        vectors = [pool(model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]) for text in texts]
    expected = [float(torch.cosine_similarity(vectors[0], other, dim=0)) for other in vectors[1:]]
    assert EncoderSimilarity(str(encoder))(texts[0], texts[1:]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (said("lasttoken", pooling_mode_lasttoken=True), "lasttoken"),
        (said("cls_token", pooling_mode_mean_tokens=True), r"cls\+mean"),
        ({}, "none"),
    ],
)
def test_a_vector_that_is_made_otherwise_is_told(encoder, config, found):
    (encoder / "1_Pooling").mkdir()
    (encoder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=rf"encoder .*: expected pooling by cls, mean or max, found {found}$"):
        open_encoder(str(encoder))


@pytest.mark.parametrize(
    ("name", "pools"),
    [
        ("sup-simcse-bert-base-uncased", True),
        ("my-Sup-SimCSE", True),
        ("models--princeton-nlp--sup-simcse-roberta-large/snapshots/4bf73c6b5df517f74188c5e9ec159b2208c89c08", True),
        ("unsup-simcse-bert-base-uncased", False),
        ("unsup-simcse/run-1", False),
        ("bert-base-uncased", False),
    ],
)
def test_a_simcse_pools_as_its_authors_do(encoder, tmp_path_factory, name, pools):
    """Supervised: tanh(W h + b) of the first state h, by hand; unsupervised: h itself."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("hub") / name
    folder.mkdir(parents=True)
    for file in encoder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        model.pooler.dense.weight.mul_(20)  # else tanh would hardly bend
        model.pooler.dense.bias.fill_(0.5)
        model.save_pretrained(folder)
        texts, vectors = ["a b c", "a", "c c b a"], []
        for text in texts:
            state = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 0]
            weight, bias = model.pooler.dense.weight, model.pooler.dense.bias
            vectors.append(torch.tanh((weight * state).sum(1) + bias) if pools else state)
    expected = [float(a @ vectors[0] / (a.norm() * vectors[0].norm())) for a in vectors[1:]]
    assert EncoderSimilarity(str(folder))(texts[0], texts[1:]) == pytest.approx(expected, abs=1e-5)


def test_a_supervised_simcse_without_its_pooler_is_told(encoder, tmp_path_factory):
    import transformers

    folder = tmp_path_factory.mktemp("hub") / "sup-simcse"
    transformers.BertModel.from_pretrained(encoder, add_pooling_layer=False).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    with pytest.raises(
        UsageError, match=r"sup-simcse: expected the weights of a supervised SimCSE's pooler, found none"
    ):
        open_encoder(str(folder))


def test_the_encoder_runs_on_the_device_in_float32(encoder):
    import torch
    import transformers

    transformers.AutoModel.from_pretrained(encoder).bfloat16().save_pretrained(encoder)
    opened = EncoderSimilarity(str(encoder), device="cpu")
    assert (opened.device, next(opened._model.parameters()).dtype) == ("cpu", torch.float32)
    with pytest.raises(UsageError, match="device='cuda:1'"):
        EncoderSimilarity(str(encoder), device="cuda:1")
    meta = EncoderSimilarity(str(encoder), device="meta")
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        meta.vectors(["a"])  # the model and its input are there, and nothing comes back


def test_many_texts_are_encoded_in_batches(encoder, monkeypatch):
    alike = EncoderSimilarity(str(encoder))
    texts = [" ".join("abc"[i // 3**k % 3] for k in range(5)) for i in range(150)]
    expected = [alike("a b", [text])[0] for text in texts]
    sizes, encode = [], EncoderSimilarity._encode
    monkeypatch.setattr(EncoderSimilarity, "_encode", lambda self, some: sizes.append(len(some)) or encode(self, some))
    assert alike("a b", texts) == pytest.approx(expected, abs=1e-5)
    assert sizes == [64, 64, 23]


def test_a_revision_is_that_of_the_tokenizer_the_weights_and_the_pooling(encoder, monkeypatch):
    import transformers

    asked = []
    for kind in (transformers.AutoTokenizer, transformers.AutoModel):

        def load(name, *, revision, kind=kind, real=kind.from_pretrained, **options):
            asked.append((kind.__name__, name, revision))
            return real(encoder, **options)

        monkeypatch.setattr(kind, "from_pretrained", load)
    monkeypatch.setattr(sentence, "_pooling", lambda name, revision: asked.append(("pool", name, revision)) or "cls")
    assert EncoderSimilarity("org/some@v2")("a", ["a"]) == pytest.approx([1])
    assert asked == [("pool", "org/some", "v2"), ("AutoTokenizer", "org/some", "v2"), ("AutoModel", "org/some", "v2")]


FROM_HUB = """
import json
from hf_mner_aug.models.device import split_revision
from hf_mner_aug.models.words.sentence import _pooling

found = {}
for name in ("org/mean", "org/first", "org/mean@OLD", "org/sup-simcse"):
    try:
        found[name] = _pooling(*split_revision(name))
    except OSError as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""


def test_how_an_encoder_of_the_hub_is_pooled_is_read_there(tmp_path):
    """Also with the Hub out of reach, from the cache; where the cache does not know, nothing is guessed."""
    with HubServer(tmp_path / "hub") as hub:
        for name in ("org/mean", "org/first", "org/sup-simcse"):
            hub.repo(name, "models").create(private=False)
        old = hub.commit("org/mean", {"1_Pooling/config.json": json.dumps(said("max_tokens"))}, kind="models")
        hub.commit("org/mean", {"1_Pooling/config.json": json.dumps(said("mean_tokens"))}, kind="models")
        hub.commit("org/first", {"config.json": "{}"}, kind="models")
        hub.commit("org/sup-simcse", {"config.json": "{}"}, kind="models")

        def ask(**environment):
            code = FROM_HUB.replace("OLD", old)
            call = subprocess.run(
                [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            return list(json.loads(call.stdout).values())

        used, unused = hub.env("hf_write"), hub.env("hf_write")
        assert ask(**used) == ["mean", "cls", "max", "pooler"]
        assert ask(**used, HF_HUB_OFFLINE="1") == ["mean", "cls", "max", "pooler"]
        assert ask(**unused, HF_HUB_OFFLINE="1") == ["LocalEntryNotFoundError"] * 4


def test_pairs_are_the_cosines_one_by_one(encoder):
    texts = ["a b c", "a", "c c b a", "a b c"] * 40
    others = ["a", "b", "a b c", "a b c"] * 40
    for alike in (TfidfSimilarity(["a b", "a c"]), EncoderSimilarity(str(encoder))):
        expected = [alike(text, [other])[0] for text, other in zip(texts, others, strict=True)]
        assert alike.pairs(texts, others) == pytest.approx(expected, abs=1e-5)
        assert alike.pairs(texts, others)[3] == pytest.approx(1, abs=1e-6)
        assert alike.pairs([], []) == []


# ---------------------------------------------------------------- perplexity


def loss_of(model, ids, at):
    """Return minus the logarithm of the probability of ids[at] after those before it."""
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([ids[:at]])).logits[0, -1]
    return -math.log(float(torch.softmax(logits, 0)[ids[at]]))


def test_perplexity_is_e_to_the_mean_loss_of_all_tokens():
    model, tokenizer = language_model()
    texts = ["a b c", "b", "c a a b", ""]
    rows = [[2, *(WORDS.index(word) for word in text.split())] for text in texts]
    losses = [loss_of(model, ids, at) for ids in rows for at in range(1, len(ids))]
    assert len(losses) == 8
    found = LanguageModel(model, tokenizer).perplexity(texts)
    assert found == pytest.approx(math.exp(sum(losses) / 8), rel=1e-5)
    assert LanguageModel(model, tokenizer).perplexity(texts[::-1]) == pytest.approx(found, rel=1e-6)


def test_without_a_beginning_the_first_token_is_not_predicted():
    model, tokenizer = language_model(bos=None)
    expected = math.exp((loss_of(model, [5, 6, 7], 1) + loss_of(model, [5, 6, 7], 2)) / 2)
    assert LanguageModel(model, tokenizer).perplexity(["a b c", "a"]) == pytest.approx(expected, rel=1e-5)
    assert LanguageModel(model, tokenizer).perplexity(["a", "b", ""]) is None


def test_a_long_text_goes_by_windows_and_every_token_counts_once():
    model, tokenizer = language_model(positions=4)
    text = "a b c a c c b a b"
    ids = [2, *(WORDS.index(word) for word in text.split())]
    # Windows of 4: places 1-3, then 4-5 after 2-3, 6-7 after 4-5, 8-9 after 6-7.
    losses = [loss_of(model, ids[:4], at) for at in (1, 2, 3)]
    losses += [loss_of(model, ids[first : first + 4], at) for first in (2, 4, 6) for at in (2, 3)]
    assert len(losses) == 9
    found = LanguageModel(model, tokenizer).perplexity([text])
    assert found == pytest.approx(math.exp(sum(losses) / 9), rel=1e-5)


def test_a_model_that_knows_nothing_is_as_perplexed_as_it_has_words():
    torch = pytest.importorskip("torch")
    model, tokenizer = language_model()
    with torch.no_grad():
        model.transformer.wte.weight.zero_()  # the output layer is tied to it
    assert LanguageModel(model, tokenizer).perplexity(["a b c c", "b a " * 20]) == pytest.approx(8)


def test_models_come_from_folders_and_wrong_ones_are_told(encoder, tmp_path):
    model, tokenizer = language_model()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "gpt")
    opened = open_language_model(str(tmp_path / "gpt"))
    assert opened.perplexity(["a b"]) == pytest.approx(LanguageModel(model, tokenizer).perplexity(["a b"]))
    for open_it, name, said in (
        (
            open_language_model,
            str(tmp_path / "none"),
            "language model .*none': no usable folder or model id of a causal language model",
        ),
        (open_language_model, str(encoder), "expected a causal one, as gpt2, found BertModel"),
        (open_encoder, str(tmp_path / "none"), "encoder .*none': no usable folder or model id of a sentence encoder"),
    ):
        with pytest.raises(UsageError, match=said) as error:
            open_it(name)
        assert "\n" not in str(error.value)
