"""Recipes and cards name every model that a method uses, with its revision, its licence, and where it computes."""

import hashlib
import json
import typing

import pytest

from hf_mner_aug import AMIA, DAGA, GMDA, MELM, RMDA, MemoryHard
from hf_mner_aug.backbones import BACKBONES, backbone_class
from hf_mner_aug.backbones.settings import committed_spec, spec_models
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.models import device
from hf_mner_aug.runs import recipe as recipes
from hf_mner_aug.runs.recipe import Recipe, recipe_for
from hf_mner_aug.transform.naming import marks_of
from hf_mner_aug.values import ByContent

WRITER = {"engine": "endpoint:http://127.0.0.1:1/v1#m"}
# Settings with which each method uses all of its parameters that may name models, together.
WHOLE = {
    "amia": [{}, {"image_model": "org/draws"}],
    "daga": [{"image": "org/draws"}],
    "gmda": [{"image_model": "org/draws"}, {"labels": "teacher"}],
    "memory_hard": [
        {"image_model": "org/draws", "caption_similarity": 0.5, "encoder": "org/compares"} | WRITER,
        {"engine": "retrieve", "corpus": "FILE"},
    ],
    "rmda": [{"labels": "teacher"}, {}],
}


def commit_of(name):
    return hashlib.sha1(name.encode()).hexdigest()


@pytest.fixture
def hub(monkeypatch):
    """The ids whose commit was asked for; each has one of its own."""
    asked = []

    def resolved(model, revision=None):
        asked.append(model)
        return commit_of(model)

    monkeypatch.setattr(device, "resolved_revision", resolved)
    return asked


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(recipes, "find_device", lambda asked: "cuda:1" if asked == "auto" else asked)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_parameter_that_may_name_a_model_is_asked_for_it(name):
    method = method_class(name)
    none = ByContent._field_defaults["models"]
    named = {key for key, mark in marks_of(method).items() if mark.models is not none}
    used = {key for settings in WHOLE.get(name, [{}]) for key in method(**settings)._uses}
    # A method may still say itself which models it uses.
    assert used >= named or "models" in vars(method), named - used
    assert used <= marks_of(method).keys()


def test_a_recipe_has_the_commit_of_every_model(hub):
    tagger = "token_classifier:encoder=org/reads,steps=3"
    seen = "umt:tower=org/sees,steps=2"
    found = {
        "gmda": GMDA(
            text_model="lm:org/writes", image_model="org/draws", nsfw_model="org/checks", detector=tagger, guidance=1.0
        ),
        "gmda taught": GMDA(labels="teacher", teacher=(tagger, "crf", "frozen_encoder_crf"), image=False),
        "rmda": RMDA(detector="token_classifier", encoder="org/compares"),
        "memory_hard": MemoryHard(target=tagger, references=(seen, "crf"), detector="crf", image=False),
        "amia": AMIA(matcher="open_clip:hf-hub:org/matches", image_model="org/draws"),
        "daga": DAGA(image="org/draws", nsfw_model="org/checks"),
        "melm": MELM(encoder="org/predicts"),
    }
    expected = {
        "gmda": {"text": "org/writes", "images": "org/draws", "nsfw": "org/checks", "filter": "org/reads"},
        "gmda taught": {"teacher 1": "org/reads", "teacher 3": "vinai/bertweet-base"},
        "rmda": {"detector": "vinai/bertweet-base", "similarity": "org/compares"},
        "memory_hard": {"target": "org/reads", "reference 1": "bert-base-cased", "reference 1 tower": "org/sees"},
        "amia": {"matching": "hf-hub:org/matches", "images": "org/draws"},
        "daga": {"images": "org/draws", "nsfw": "org/checks"},
        "melm": {"text": "org/predicts"},
    }
    for name, method in found.items():
        recipe = recipe_for(method)
        wanted = {role: f"{model}@{commit_of(model.removeprefix('hf-hub:'))}" for role, model in expected[name].items()}
        assert recipe.models == wanted, name
        for model in wanted.values():
            assert model in str(recipe.params), "what is made again is made with that model"
        hub.clear()
        assert recipe_for(recipe.build()) == recipe, "a pinned recipe asks for nothing more"
        assert hub == []
        assert Recipe.from_dict(recipe.to_dict()).fingerprint == recipe.fingerprint


def test_models_that_are_not_used_are_not_asked_for(hub):
    tagger = "token_classifier:encoder=org/reads"
    assert recipe_for(GMDA(text=False, detector=tagger, text_model="lm:org/writes")).models == {}
    assert recipe_for(GMDA(image=False, image_model="org/draws", nsfw_model="org/checks")).models == {}
    assert recipe_for(RMDA(filter=False, detector=tagger, encoder="org/compares")).models == {}
    assert recipe_for(MemoryHard(detector="", image=False, image_model="org/draws")).models == {}
    assert recipe_for(AMIA(nsfw_model="org/checks")).models == {}
    assert hub == []


@pytest.mark.parametrize("name", sorted(METHODS))
def test_embedded_defaults_name_nothing_and_need_no_torch(name, hub):
    recipe = recipe_for(method_class(name)()) if "models" not in vars(method_class(name)) else None
    if recipe and recipe.preset == "embedded":
        assert (recipe.models, recipe.device, recipe.dtype) == ({}, "cpu", "float32")
        assert hub == []


def test_where_models_compute_is_in_the_recipe(hub, gpu):
    def computed(method):
        recipe = recipe_for(method)
        return recipe.device, recipe.dtype

    assert computed(AMIA(matcher="open_clip:ViT-B-16-quickgelu/openai")) == ("cuda", "float32")
    assert computed(AMIA(matcher="open_clip")) == ("cuda", "float32")
    paper = AMIA(**AMIA.presets["paper"])
    assert computed(paper) == ("cuda", "matching=float32,images=bfloat16")
    assert computed(GMDA(**GMDA.presets["paper"])) == ("cuda", "text=bfloat16,images=bfloat16,filter=float32")
    assert computed(GMDA(text_model="lm:org/writes", dtype="float32", image=False)) == ("cuda", "float32")
    assert computed(GMDA(detector="token_classifier:encoder=tiny", image=False)) == ("cuda", "float32")
    mixed = MemoryHard(target="token_classifier:device=cpu", detector="token_classifier", image=False)
    assert computed(mixed) == ("target=cpu,detector=cuda", "float32")
    assert computed(RMDA(encoder="org/compares")) == ("cuda", "float32")
    assert computed(GMDA()) == computed(AMIA()) == computed(RMDA()) == ("cpu", "float32")
    assert computed(GMDA(text_model="endpoint:http://127.0.0.1:1/v1#m", image=False)) == ("cpu", "float32")


def test_a_recipe_of_a_gpu_that_is_made_elsewhere_says_so(hub, gpu, monkeypatch, tmp_path):
    made = recipe_for(AMIA(**AMIA.presets["paper"]), config="amia_100pct")
    (tmp_path / "recipe.yaml").write_text(json.dumps(made.to_dict()))
    monkeypatch.setattr(recipes, "find_device", lambda asked: "cpu")
    again = Recipe.from_file(tmp_path / "recipe.yaml")
    assert (made.device, again.device, again.dtype) == ("cuda", "cpu", "float32")
    assert again.models == made.models
    assert again.fingerprint != made.fingerprint


@pytest.mark.parametrize("method", [AMIA, GMDA, RMDA])
def test_a_preset_is_known_with_its_commits(method, hub):
    searching = {"corpus": "serper"} if method is RMDA else {}
    recipe = recipe_for(method(**method.presets["paper"], **searching))
    assert recipe.preset == "paper"
    assert all("@" in model or model.endswith("/openai") for model in recipe.models.values())


def test_licences_are_those_of_the_models():
    paper = {model.role: model.license for model in AMIA(**AMIA.presets["paper"]).models}
    assert paper == {"matching": "mit", "images": "other"}
    assert [model.license for model in AMIA(matcher="open_clip:ViT-B-16/laion2b_s34b_b88k").models] == ["other"]
    paper = {model.role: model.license for model in GMDA(**GMDA.presets["paper"]).models}
    assert paper == {"text": "mit", "images": "creativeml-openrail-m", "filter": "mit"}
    pinned = GMDA(detector=f"token_classifier:encoder=vinai/bertweet-base@{'0' * 40}", image=False)
    assert [model.license for model in pinned.models] == ["mit"]


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_models_of_every_backbone_are_known(name, hub):
    """Those with an encoder name it, also where it is their default; pictures are read by a tower where they are."""
    named = {model.part or "encoder": model.id for model in spec_models(name)}
    fields = typing.get_type_hints(backbone_class(name))
    assert ("encoder" in fields) == ("encoder" in named)
    committed = committed_spec(name)
    assert committed == name or f"encoder={named['encoder']}@{commit_of(named['encoder'])}" in committed
    if "encoder" in fields:
        assert spec_models(f"{name}:encoder=tiny") == [model for model in spec_models(name) if model.part]
        assert committed_spec(committed) == committed


@pytest.mark.parametrize("name", ["tiger", "mmt5", "h_index"])
def test_a_detector_of_regions_is_a_model_in_place_of_the_tower(name, hub):
    spec = f"{name}:encoder=tiny,regions=some/detr"
    assert [(model.part, model.id) for model in spec_models(spec)] == [("regions", "some/detr")]
    assert committed_spec(spec) == f"{spec}@{commit_of('some/detr')}"


def test_an_encoder_is_loaded_at_its_revision(monkeypatch):
    transformers = pytest.importorskip("transformers")
    from hf_mner_aug.backbones.encoder import Source, load_encoder, load_tokenizer

    asked = []
    for kind in (transformers.AutoConfig, transformers.AutoModel, transformers.AutoTokenizer):

        def load(name, *, revision, kind=kind, **options):
            asked.append((kind.__name__, name, revision))
            return transformers.BertConfig()

        monkeypatch.setattr(kind, "from_pretrained", load)
    source = Source.find("org/reads@v3", "token_classifier", ())
    load_tokenizer(source)
    load_encoder(source)
    assert asked == [(name, "org/reads", "v3") for name in ("AutoTokenizer", "AutoConfig", "AutoModel")]


def test_a_folder_is_named_by_its_content(tmp_path, hub):
    folder = tmp_path / "my-encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    recipe = recipe_for(GMDA(detector=f"token_classifier:encoder={folder}", image=False))
    assert recipe.models["filter"].startswith("my-encoder@")
    assert len(recipe.models["filter"]) == len("my-encoder@") + 64
    assert str(tmp_path) not in str(recipe.to_dict())
    assert hub == []
