"""Nothing that is published has a path of this machine: every parameter of every method that may name a file."""

import dataclasses
import json
import re
import shutil
import typing
import warnings

import pytest
from conftest import as_dataset, parse
from datasets import DatasetDict

from hf_mner_aug import AMIA, EDA, GMDA, LSMS, RMDA, MemoryHard, augment, publish, verify
from hf_mner_aug.backbones import BACKBONES, backbone_class
from hf_mner_aug.backbones.settings import parse_backbone, pinned_spec
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.runs.recipe import Recipe, recipe_for
from hf_mner_aug.schema import Post, mner_features
from hf_mner_aug.storage import pinned_files
from hf_mner_aug.storage.pinned_files import checked_file, pinned_file, pinned_path
from hf_mner_aug.transform import parameter_fields
from hf_mner_aug.transform.naming import by_content, marks_of
from hf_mner_aug.values import by_content_of

TELLTALE = "my-clients-name"
PLAIN = {"mix", "sites", "mask", "weight", "post_weight"}  # parameters of text that name no file
TRAIN = [
    "[PER Ann] visits [LOC Rome] again today",
    "we saw [PER Ann] at the old station",
    "[PER Bob] went to [LOC Paris] for work",
    "people from [LOC Rome] like the sea",
    "so happy to see [PER Bob] in [LOC Paris] today",
    "so happy to see [PER Eve] in [LOC Oslo] tonight",
]


def dataset(texts, name):
    return as_dataset([Post(f"{name}{i}", *parse(text)) for i, text in enumerate(texts)], mner_features())


@pytest.fixture(scope="module")
def gold():
    return DatasetDict(
        train=dataset(TRAIN, "g"), validation=dataset(TRAIN[:2], "v"), test=dataset(["rain in [LOC Oslo]"], "t")
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with everything that a parameter may name."""
    folder = tmp_path_factory.mktemp("home") / TELLTALE
    (folder / "model, new").mkdir(parents=True)
    (folder / "model, new" / "config.json").write_text("{}")
    (folder / "names.tsv").write_text("PER\tZed Young\nPER\tIda\nLOC\tBerlin\n")
    (folder / "vectors.txt").write_text("happy 1 0\njoyful 0.9 0.1\nrain 0 1\nsnow 0.1 0.9\n")
    lines = [{"id": f"{i}", "tokens": [*parse(text)[0], "indeed"]} for i, text in enumerate(TRAIN)]
    (folder / "posts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    index(str(folder / "posts.jsonl"), folder / "corpus.db")
    parse_backbone("crf:iterations=5").fit(dataset(TRAIN, "g")).save(folder / "saved")
    return folder


def specs(path):
    """Every setting of every backbone that may name a file, beside another setting; a comma needs quotes."""
    for name in BACKBONES:
        kinds = dict(typing.get_type_hints(backbone_class(name), include_extras=True))
        for kind in (*kinds.values(),):
            if dataclasses.is_dataclass(kind):
                kinds |= typing.get_type_hints(kind, include_extras=True)
        for setting, kind in kinds.items():
            if by_content_of(kind):
                yield f'{name}:{setting}="{path}"'


def forms(path):
    yield str(path)
    yield from (f"{kind}:{path}" for kind in ("style", "lm", "vlm", "instructblip", "open_clip"))
    yield from specs(path) if path.name == "model, new" else ()


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_of_text_is_named_by_content(name):
    cls = method_class(name)
    hints = typing.get_type_hints(cls)
    texts = {f.name for f in parameter_fields(cls) if str in (hints[f.name], *typing.get_args(hints[f.name]))}
    assert texts - PLAIN <= marks_of(cls).keys(), "give it a type of pinned_files, or of the engine that it names"


def test_every_path_of_a_backbone_is_named_by_content():
    told = re.compile(r"^ {8}(\w+): ((?:.|\n {12})*)", re.MULTILINE)
    names = re.compile(r"\b(?:a|the) (?:file|folder)")
    found = {spec.partition(":")[2].partition("=")[0] for spec in specs("x")}
    assert found == {"encoder", "lexicon", "knowledge_file", "objects", "regions", "vectors", "tower"}
    for name in BACKBONES:
        assert {setting for setting, text in told.findall(backbone_class(name).__doc__) if names.search(text)} <= found


@pytest.mark.parametrize(("name", "parameter"), [(n, p) for n in METHODS for p in sorted(marks_of(method_class(n)))])
def test_no_recipe_has_a_path(name, parameter, home, gold):
    """In whatever form a parameter takes a path, the recipe names the file, its content, and not where it lies."""
    cls, taken = method_class(name), 0
    listed = isinstance(cls.__dataclass_fields__[parameter].default, tuple)
    also = {"engine": "retrieve"} if name == "memory_hard" and parameter in ("corpus", "teacher") else {}
    also |= {"corpus": str(home / "corpus.db")} if also else {}
    also |= {"synonyms": "vectors"} if parameter == "synonyms_from" else {}
    if (name, parameter) == ("memory_hard", "encoder"):
        also |= {"engine": "endpoint:http://127.0.0.1:9/v1#m", "caption_similarity": 0.5}
    for value in (form for path in sorted(home.iterdir()) for form in forms(path)):
        try:
            method = cls(**{**also, parameter: (value,) if listed else value}).pinned()
        except (UsageError, UnicodeDecodeError):  # the parameter takes no such form, or no such file
            continue
        told = json.dumps([method.params, repr(method.models), method.cautions])
        assert TELLTALE not in told, value
        assert re.search("[0-9a-f]{64}", told), value
        if not taken:
            recipe = recipe_for(method)
            assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
            assert recipe_for(recipe.build()) == recipe
        taken += 1
    assert taken or parameter == "engine", "an endpoint, whose model has no path"


def published(gold, out, method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = augment(gold, method, out=out, progress=False)
        publish(run, out)
    return run


def everything_in(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def runs_of(home):
    lexicon = f'lexicon="{home / "names.tsv"}"'
    names, corpus = str(home / "names.tsv"), str(home / "corpus.db")
    yield EDA(synonyms="vectors", synonyms_from=str(home / "vectors.txt"), operations=("replace",))
    yield LSMS(mentions=names, synonyms="vectors", synonyms_from=str(home / "vectors.txt"))
    yield GMDA(detector=f"crf:{lexicon}", agreement=0.1, mentions=names, image=False)
    yield GMDA(labels="teacher", teacher=(f"crf:{lexicon}", str(home / "saved")), min_confidence=0, image=False)
    yield RMDA(corpus=corpus, detector=f"crf:{lexicon}", filter=True, agreement=0, support=0, image=False)
    yield MemoryHard(
        target=f"crf:iterations=2,{lexicon}", references=(f"crf:{lexicon}",), detector=f"crf:{lexicon}", folds=2
    )


@pytest.mark.parametrize("which", range(6))
def test_nothing_that_is_pushed_has_a_path(which, gold, home, tmp_path):
    """Rows, augmentation.json, card and Croissant; and run.json beside them."""
    method = list(runs_of(home))[which]
    run = published(gold, tmp_path / "aug", method)
    assert run.counts["posts"] == 6
    for place in (tmp_path / "aug", run.folder):
        assert TELLTALE.encode() not in everything_in(place), place
    (config,) = [path.parent.name for path in (tmp_path / "aug").glob("*/augmentation.json")]
    assert verify(tmp_path / "aug", config, source=gold, rerun=True).ok
    assert TELLTALE not in repr(method.fit(gold).params), "rows that map makes have them as well"


def test_the_card_names_a_file_and_its_content(gold, home, tmp_path, monkeypatch):
    """And the detector of a frozen encoder is read from its folder, named by its content."""
    torch = pytest.importorskip("torch", reason="the models extra is not installed")
    transformers = pytest.importorskip("transformers")
    from hf_mner_aug.backbones.encoder import make_tiny

    tokenizer, config = make_tiny([Post("a", text.split(), ()) for text in TRAIN])
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(home / "minilm")
    tokenizer.save_pretrained(home / "minilm")
    quick = "layers=1,iterations=3,words=false,device=cpu"
    spec = f"frozen_encoder_crf:encoder={home}/minilm,lexicon={home}/names.tsv,{quick}"
    published(gold, tmp_path / "aug", GMDA(labels="teacher", teacher=(spec,), min_confidence=0, image=False))
    told = (tmp_path / "aug" / "README.md").read_text()
    assert re.search(r"teacher `minilm@[0-9a-f]{64}` \(other\)", told)
    assert TELLTALE.encode() not in everything_in(tmp_path / "aug")
    assert verify(tmp_path / "aug", "gmda_100pct", source=gold, rerun=True).ok
    shutil.rmtree(home / "minilm")


def test_a_file_that_changed_or_is_elsewhere_is_one_line(gold, tmp_path, monkeypatch):
    file = tmp_path / "names.tsv"
    file.write_text("PER\tIda\n")
    recipe = recipe_for(GMDA(detector=f"crf:lexicon={file}", image=False))
    method = recipe.build()
    assert method.detector == pinned_spec(f"crf:lexicon={file}", "")
    assert method.fit(gold).learned["files"].keys() == {"posts", "detector-0"}
    file.write_text("PER\tIda\nPER\tZed\n")
    with pytest.raises(UsageError, match=r"^lexicon .*/names\.tsv: expected the content with sha256 \w{12}…, found \w"):
        method.fit(gold)
    file.unlink()
    with pytest.raises(UsageError, match=r"^lexicon .*/names\.tsv: the file cannot be read \(No such file"):
        method.fit(gold)
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "elsewhere"))
    expected = r"^lexicon names\.tsv: no file or folder with sha256 \w{12}… is known on this machine: name it by its"
    with pytest.raises(UsageError, match=expected):
        method.fit(gold)
    moved = tmp_path / "elsewhere" / "names.tsv"
    moved.parent.mkdir(exist_ok=True)
    moved.write_text("PER\tIda\n")
    assert recipe_for(GMDA(detector=f"crf:lexicon={moved}", image=False)).fingerprint == recipe.fingerprint
    assert method.fit(gold).learned["files"].keys() == {"posts", "detector-0"}


def test_names_are_of_the_content(tmp_path):
    folder, other = tmp_path / "one", tmp_path / "two" / "one"
    for each in (folder, other):
        (each / "deep").mkdir(parents=True)
        (each / "deep" / "weights.bin").write_bytes(b"abc")
        (each / ".cache").mkdir()
    (other / ".cache" / "note").write_text("hidden files do not count")
    assert pinned_file(str(folder), "") == pinned_file(f"{other}/", "") == pinned_file(f"{folder}/deep/..", "")
    assert checked_file(pinned_file(str(folder), ""), "") == str(folder)
    before = pinned_file(str(folder), "")
    (folder / "deep" / "weights.bin").write_bytes(b"abd")
    assert pinned_file(str(folder), "") != before
    assert pinned_file(f"/home/me/lists/names.tsv@{'0' * 64}", "") == f"names.tsv@{'0' * 64}"
    odd = tmp_path / 'a,b="ü@.tsv'
    odd.write_text("")
    assert re.fullmatch(r"a_b______\.tsv@[0-9a-f]{64}|a_b_+\.tsv@[0-9a-f]{64}", pinned_file(str(odd), ""))


def test_a_name_that_is_no_path_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    for name in ("tiny", "vinai/bertweet-base", "vinai/bertweet-base@0123abc", "", "timm:resnet18"):
        assert pinned_path(name, "") == name
    for path in ("/no/such/folder", "~/nowhere", "./nowhere", "models/of/mine"):
        with pytest.raises(UsageError, match=r"^encoder .* cannot be read: there is no such file or folder$"):
            pinned_path(path, "encoder ")
    assert pinned_spec("crf", "") == "crf"
    assert pinned_spec("umt:encoder=tiny, steps=3", "") == "umt:encoder=tiny, steps=3"


def test_a_folder_of_too_many_files_and_a_pipe_are_refused(tmp_path, monkeypatch):
    import os

    monkeypatch.setattr(pinned_files, "MOST_FILES", 2)
    for i in range(3):
        (tmp_path / f"{i}").write_text("")
    with pytest.raises(UsageError, match=r"^encoder .*: the file cannot be read \(more than 2 files\)$"):
        pinned_file(str(tmp_path), "encoder ")
    (tmp_path / "0").unlink()
    for i in range(3):
        (tmp_path / f"{i}.jpg.npz").write_text("")
    assert pinned_file(str(tmp_path), "").startswith(tmp_path.name), "regions of pictures are as many as the pictures"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        pinned_file(str(tmp_path / "pipe"), "encoder ")


@pytest.mark.parametrize("note", [b"", b"0123abc", b'{"path": 1}', b"0123abc\n/a\0b", None])
def test_a_damaged_note_of_a_place_is_one_line(note, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "names.tsv").write_text("PER\tIda\n")
    name = pinned_file(str(tmp_path / "names.tsv"), "")
    (place,) = (tmp_path / "cache" / "places").iterdir()
    if note is None:
        place.unlink()
        place.mkdir()
    else:
        place.write_bytes(note)
    with pytest.raises(
        UsageError, match=r"^lexicon .*(is known on this machine: name it by|cannot be read \(embedded)"
    ):
        checked_file(name, "lexicon ")


@pytest.mark.parametrize("path", ["/a\0b", "/" + "a" * 5000])
def test_a_foreign_name_that_is_no_path_is_one_line(path):
    with pytest.raises(UsageError, match="the file cannot be read"):
        checked_file(f"{path}@{'0' * 64}", "encoder ")
    with pytest.raises(UsageError, match="there is no such file or folder"):
        pinned_path(path, "encoder ")
    with pytest.raises(UsageError, match="there is no such file or folder"):
        pinned_path("~no-such-user/model", "encoder ")


@pytest.mark.parametrize("model", ["/srv/models/qwen.gguf", "~/qwen.gguf", "./qwen.gguf", r"C:\models\qwen.gguf"])
def test_the_model_of_an_endpoint_is_named_by_no_path(model):
    """It is known to the server alone, so it has no content here that could name it."""
    for method in (
        GMDA(text_model=f"endpoint:http://127.0.0.1:9/v1#{model},max_tokens=9"),
        MemoryHard(engine=f"endpoint:http://127.0.0.1:9/v1#{model}"),
        RMDA(labels="teacher", teacher=(f"endpoint:http://127.0.0.1:9/v1#{model}",)),
    ):
        with pytest.raises(UsageError, match=r"endpoint: the model's name is a path.*llama-server --alias NAME"):
            by_content(method)
    by_content(GMDA(text_model="endpoint:http://127.0.0.1:9/v1#Qwen/Qwen3-8B:free"))


def test_a_config_of_another_machine_is_read_without_its_files(tmp_path, monkeypatch):
    """Only fitting needs them: its card, its page and its stubs are made of the recipe."""
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    pin = f"x@{'0' * 64}"
    spec = f"token_classifier:encoder={pin}"
    for method in (
        GMDA(text_model=f"lm:{pin}", image_model=pin, detector=spec, nsfw_model=pin),
        RMDA(encoder=pin, detector=spec),
        MemoryHard(target=spec, references=(spec,), detector=spec, image_model=f"style:{pin}"),
        AMIA(matcher=f"open_clip:{pin}", image_model=pin),
    ):
        recipe = recipe_for(method)
        assert recipe_for(recipe.build()) == recipe
        assert {model.id for model in recipe.build().models} <= {pin, f"style:{pin}"}
