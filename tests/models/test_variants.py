"""Every loader of a transformers model takes the variant of its files: ``MODEL#fp16``."""

from pathlib import Path

import pytest

from hf_mner_aug import GMDA, MELM
from hf_mner_aug.backbones import encoder
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models import device, vision
from hf_mner_aug.models.device import from_pretrained, named_model, pinned_model, pinned_name, split_model
from hf_mner_aug.models.image import diffusers as image
from hf_mner_aug.models.text import fit_settings
from hf_mner_aug.models.text.network import open_network
from hf_mner_aug.models.vision import objects, region_detector
from hf_mner_aug.models.words import sentence
from hf_mner_aug.need import UNUSABLE_MODEL
from hf_mner_aug.runs.recipe import named_method
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.pinned_files import pinned_path

torch = pytest.importorskip("torch", reason="the models extra is not installed")
transformers = pytest.importorskip("transformers", reason="the models extra is not installed")

import tiny_causal  # noqa: E402

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
STAGES = {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 16], "depths": [1] * 4, "layer_type": "basic"}
DETR = {
    **{f"{side}_{part}": 2 for side in ("encoder", "decoder") for part in ("layers", "attention_heads", "ffn_dim")},
    "d_model": 16,
    "num_queries": 3,
}


def words():
    """Return a tokenizer of a few words, and its length."""
    found, _ = encoder.make_tiny([Post("p", ["a", "b", "a", "b"])])
    return found, len(found)


def detr():
    config = transformers.DetrConfig(
        backbone_config=transformers.ResNetConfig(**STAGES, out_features=["stage4"]), **DETR
    )
    return transformers.DetrForObjectDetection(config), transformers.DetrImageProcessor(
        size={"height": 32, "width": 32}
    )


def bert():
    tokenizer, n = words()
    return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=n, **SIZES)), tokenizer


def gpt():
    tokenizer = tiny_causal.tokenizer()
    return transformers.GPT2LMHeadModel(tiny_causal.config("gpt2", len(tokenizer))), tokenizer


def clip():
    config = transformers.CLIPVisionConfig(**SIZES, image_size=32, patch_size=16)
    return transformers.CLIPVisionModel(config), transformers.CLIPImageProcessor()


def classifier():
    config = transformers.ViTConfig(**SIZES, image_size=32, patch_size=16, id2label={0: "normal", 1: "nsfw"})
    return transformers.ViTForImageClassification(config), transformers.ViTImageProcessor()


def resnet():
    return transformers.ResNetModel(transformers.ResNetConfig(**STAGES)), transformers.ConvNextImageProcessor()


LOADERS = {
    "encoder": (bert, lambda name: encoder.load_encoder(encoder.Source(name, Path(name), None))),
    "melm": (bert, lambda name: MELM(encoder=name)._base([])[1]),
    "sentences": (bert, lambda name: sentence.EncoderSimilarity(name, "cpu")._model),
    "perplexity": (gpt, lambda name: sentence.open_language_model.__wrapped__(name)._model),
    "tower": (resnet, lambda name: vision._transformers(vision.Vision(tower=name), None)[0]),
    "tower of CLIP": (clip, lambda name: vision._clip(vision.Vision(tower=name, image_size=64), None)[0]),
    "objects": (detr, lambda name: objects._load.__wrapped__(name).find.args[0]),
    "regions": (detr, lambda name: region_detector._load.__wrapped__(name).network),
    "lm": (gpt, lambda name: open_network(fit_settings(f"lm:{name}", tune="lora"), [], "float32").net),
}


@pytest.mark.parametrize("role", LOADERS)
def test_the_variant_is_read_and_computed_with_in_single_precision(role, tmp_path):
    torch.manual_seed(0)
    build, load = LOADERS[role]
    model, processor = build()
    processor.save_pretrained(tmp_path)
    model.half().save_pretrained(tmp_path, variant="fp16")
    with pytest.raises((UsageError, *UNUSABLE_MODEL)):
        load(str(tmp_path))
    found = dict(load(f"{tmp_path}#fp16").named_parameters())
    assert {weight.dtype for weight in found.values()} == {torch.float32}
    asked = dict(model.named_parameters())
    parts = {name: other for name in found for other in asked if f".{other}".endswith(f".{name.removeprefix('net.')}")}
    assert len(parts) > len(found) / 2
    for name, other in parts.items():
        assert torch.equal(found[name], asked[other].float()), name


def test_a_classifier_of_pictures_takes_it_too(tmp_path):
    model, processor = classifier()
    processor.save_pretrained(tmp_path)
    model.half().save_pretrained(tmp_path, variant="fp16")
    with pytest.raises(UsageError, match="no usable folder of an image classifier"):
        image._nsfw_classifier.__wrapped__(str(tmp_path), "cpu")
    assert callable(image._nsfw_classifier.__wrapped__(f"{tmp_path}#fp16", "cpu"))


def test_names_keep_the_variant_behind_revision_and_content(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "resolved_revision", lambda model, revision=None: "0" * 40)
    assert pinned_model("org/m#fp16") == f"org/m@{'0' * 40}#fp16"
    assert pinned_model("org/m@main#fp16") == "org/m@main#fp16"
    assert split_model("org/m@main#fp16") == ("org/m", "main", "fp16")
    assert split_model("org/m#../x") == ("org/m#../x", None, None)
    (tmp_path / "a#b").mkdir()
    assert split_model(str(tmp_path / "a#b")) == (str(tmp_path / "a#b"), None, None)
    (model,) = named_model("facebook/bart-base@main#fp16")
    assert (model.id, model.license) == ("facebook/bart-base@main", "apache-2.0")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    pin = pinned_name(f"{tmp_path / 'm'}#fp16", "")
    assert pin == f"{pinned_path(str(tmp_path / 'm'), '')}#fp16"
    assert split_model(pin) == (str(tmp_path / "m"), None, "fp16")


@pytest.mark.parametrize(
    "read",
    [
        lambda name: parse_backbone(f"relation:encoder={name}"),
        lambda name: parse_backbone(f"hvpnet:objects={name}"),
        lambda name: named_method(f"rmda:encoder={name}"),
        lambda name: GMDA(text_model=f"lm:{name}"),
    ],
)
def test_a_revision_behind_the_variant_is_refused_at_once(read):
    with pytest.raises(UsageError, match="org/m#fp16@main: the revision stands before the variant: org/m@main#fp16"):
        read("org/m#fp16@main")
    read("org/m@main#fp16")


def test_a_model_that_is_tuned_has_it_in_its_settings():
    named = fit_settings("lm:org/m@main#fp16", tune="lora")
    assert (named.model, named.revision, named.variant) == ("org/m", "main", "fp16")
    assert fit_settings("lm:org/m", tune="lora").variant is None


def test_code_of_a_model_is_never_asked_for():
    class Kind:
        @staticmethod
        def from_pretrained(model, **options):
            return model, options

    assert from_pretrained(Kind, "m", "r", "fp16", dtype="float32") == (
        "m",
        {"revision": "r", "trust_remote_code": False, "variant": "fp16", "dtype": "float32"},
    )
    assert "variant" not in from_pretrained(Kind, "m")[1], "tokenizers would keep it"
