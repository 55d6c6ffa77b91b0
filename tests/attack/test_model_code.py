"""A model that a recipe names comes with code of its own, or with a pickle: neither ever runs, and nobody is asked."""

import ast
import contextlib
import json
import pickle
import re
from pathlib import Path

import pytest
from places import ROOT

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.need import UNUSABLE_MODEL

CODE = """
open({mark!r}, "w").write("ran")
from transformers import PretrainedConfig as Evil
"""
TINY = {
    **dict.fromkeys(("num_attention_heads", "num_hidden_layers", "n_layer", "n_head"), 1),
    **dict.fromkeys(("hidden_size", "intermediate_size", "n_embd", "embedding_size", "vocab_size", "n_positions"), 8),
    "hidden_sizes": [8, 8, 8, 8],
    "depths": [1, 1, 1, 1],
}
KINDS = (
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForObjectDetection",
    "AutoModelForImageClassification",
    "AutoBackbone",
    "AutoImageProcessor",
    "AutoProcessor",
)


class Pickled:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return Path.write_text, (Path(self.mark), "ran")


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The file that code of the model would write; the question whether it may run is answered with yes."""
    monkeypatch.setattr("builtins.input", lambda *question: "y")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "mark"


def evil_folder(folder, mark, model_type):
    """A model folder that asks for its own code for every part, and whose weights are a pickle."""
    folder.mkdir()
    (folder / "evil.py").write_text(CODE.format(mark=str(mark)))
    code = {kind: "evil.Evil" for kind in KINDS}
    config = {"model_type": model_type, "auto_map": code, "architectures": ["GPT2LMHeadModel"], **TINY}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}})
    )
    for name in ("pytorch_model.bin", "open_clip_pytorch_model.bin", "diffusion_pytorch_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Pickled(mark)))
    return str(folder)


def loaders():
    """Return the functions that load a model that a recipe may name, by the kind of its parameter."""
    from hf_mner_aug.backbones import encoder
    from hf_mner_aug.models import vision
    from hf_mner_aug.models.image import diffusers as image
    from hf_mner_aug.models.matching import clip
    from hf_mner_aug.models.text.network import FitSettings, open_network
    from hf_mner_aug.models.vision import objects
    from hf_mner_aug.models.words import sentence

    def source(name):
        return encoder.Source(name, Path(name), None)

    return {
        "tokenizer": lambda name: encoder.load_tokenizer(source(name)),
        "encoder": lambda name: encoder.load_encoder(source(name)),
        "encoder of a saved network": lambda name: encoder.load_encoder(encoder.Source(name, Path(name), {"a": 1})),
        "sentence encoder": sentence.open_encoder.__wrapped__,
        "language model": sentence.open_language_model.__wrapped__,
        "detector": objects._load.__wrapped__,
        "tower": lambda name: vision._transformers(vision.Vision(tower=name), None),
        "tower of CLIP": lambda name: vision._clip(vision.Vision(tower=name), None),
        "nsfw_model": lambda name: image._nsfw_classifier.__wrapped__(name, "cpu"),
        "instructblip": lambda name: open_network(FitSettings(model=name), [], "float32"),
        "lm": lambda name: open_network(FitSettings(kind="lm", model=name), [], "float32"),
        "vlm": lambda name: open_network(FitSettings(kind="vlm", model=name), [], "float32"),
        "open_clip": clip.load,
    }


@pytest.mark.parametrize("model_type", ["evil", "bert", "gpt2", "resnet"])
def test_transformers_runs_no_code_of_a_model(model_type, mark, tmp_path):
    pytest.importorskip("transformers")
    name = evil_folder(tmp_path / "model", mark, model_type)
    for kind, load in loaders().items():
        with contextlib.suppress(
            UsageError, *UNUSABLE_MODEL, KeyError, AttributeError, TypeError
        ):  # it is wrong in other ways, too
            load(name)
        assert not mark.exists(), kind


@pytest.mark.parametrize(
    "text",
    [
        {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}},
        {"hf_tokenizer_name": "x", "tokenizer_kwargs": {}},
        {"hf_model_name": "HERE", "hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}},
        {"hf_model_name": "HERE"},
    ],
)
def test_open_clip_runs_no_code_of_a_model(text, mark, tmp_path):
    """Its config may say that the tokenizer's code is to be trusted: that is the model's word, not the user's."""
    pytest.importorskip("open_clip")
    from safetensors.torch import save_file

    from hf_mner_aug.models.matching import clip

    name = evil_folder(tmp_path / "model", mark, "evil")
    text = {key: name if value == "HERE" else value for key, value in text.items()}
    config = {**clip.SMALL, "text_cfg": {**clip.SMALL["text_cfg"], **text}}
    (tmp_path / "model" / clip.CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": clip.PREPARED}))
    if "hf_model_name" not in text:
        import open_clip

        save_file(open_clip.CLIP(**clip.SMALL).state_dict(), tmp_path / "model" / clip.WEIGHTS)
    with pytest.raises(UsageError, match="open_clip cannot load"):
        clip.load(name)
    assert not mark.exists()


@pytest.mark.parametrize(
    "index",
    [
        {"_class_name": ["evil", "Evil"]},
        {"_class_name": "StableDiffusionPipeline", "unet": ["evil", "Evil"]},
        {"_class_name": "StableDiffusionPipeline", "unet": ["os", "system"]},
        {"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"]},
    ],
)
def test_diffusers_runs_no_code_of_a_model(index, mark, tmp_path):
    pytest.importorskip("diffusers")
    from hf_mner_aug.models.image import diffusers as image

    folder = tmp_path / "model"
    name = evil_folder(folder, mark, "evil")
    (folder / "model_index.json").write_text(json.dumps({"_diffusers_version": "0.42.0", **index}))
    for part in ("unet", "text_encoder"):
        evil_folder(folder / part, mark, "clip_text_model")
    with pytest.raises(UsageError, match="no usable folder"):
        image._open(name, None, "float32", "cpu", "none")
    assert not mark.exists()


def test_every_call_says_so():
    """A new loader without the argument fails here: by default transformers asks the user, and some read a config."""
    texts = {path: path.read_text() for path in sorted((ROOT / "hf_mner_aug").rglob("*.py"))}
    found = 0
    for path, text in texts.items():
        for call in ast.walk(ast.parse(text)):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            name = ast.unparse(call.func)
            if not re.fullmatch(r"(transformers|diffusers|kind)\.(pipeline|(\w+\.)?from_(pretrained|config))", name):
                continue
            found += 1
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert said.get("trust_remote_code") == "False", f"{path.name}:{call.lineno} {name}"
            at_once = path.name == "device.py" or not name.startswith("transformers.") or "pretrained" not in name
            assert at_once, f"{path.name}:{call.lineno}: models of transformers are loaded by device.from_pretrained"
    assert found >= 5
    loads = {path: text for path, text in texts.items() if "torch.load(" in text}
    for path, text in loads.items():
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(call), path.name
    unpickles = [path.name for path, text in texts.items() if "pickle.load" in text]
    assert unpickles == ["pool.py"]  # what a worker's own parent gave it
    assert "pickle.load(" not in (ROOT / "hf_mner_aug" / "runs" / "engines" / "pool.py").read_text()
