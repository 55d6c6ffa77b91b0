"""Image engines: a picture hangs on its sentence, draw and original alone; refusals, memory and revisions are told."""

import json
import pickle
import subprocess
import sys
import types
import warnings
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from drawn_pictures import draws_for, noise_picture, pixels, same
from PIL import Image

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.models import device
from hf_mner_aug.models.image import diffusers as image
from hf_mner_aug.models.image import named_models, open_engine, pinned_engine
from hf_mner_aug.models.image.diffusers import Diffusers
from hf_mner_aug.runs.recipe import named_method

SENTENCES = [f"RT @fan{i} : tweet number {i} from Paris http://t.co/x{i}" for i in range(16)]


# ---------------------------------------------------------------- prompts, sizes, places


def test_a_prompt_is_the_sentence_without_its_links_and_retweet():
    sentence = "RT @ nba : Stephen Curry Makes NBA History http://t. co/x3"
    assert image.to_prompt(sentence) == "Stephen Curry Makes NBA History"
    assert image.to_prompt(sentence, "A photo of {sentence}") == "A photo of Stephen Curry Makes NBA History"
    assert image.to_prompt("{sentence} {0} %s", "a {sentence}") == "a {sentence} {0} %s"


@pytest.mark.parametrize(
    ("shape", "expected"),
    # 8 * sqrt(4/3) = 9.24 and 8 / sqrt(4/3) = 6.93 steps of 64; 10:1 is drawn as 3:1.
    [((1, 1), (512, 512)), ((800, 600), (576, 448)), ((600, 800), (448, 576)), ((1000, 100), (896, 320))],
)
def test_pictures_are_drawn_in_their_shape_and_of_like_area(shape, expected):
    assert image.working_size(shape, 512) == expected


def test_offload_is_chosen_by_the_memory_that_is_free():
    gib = 2**30
    parts = [1 * gib, 5 * gib, 1 * gib]
    assert image.choose_offload(11 * gib, parts) == "none"
    assert image.choose_offload(11 * gib - 1, parts) == "model"
    assert image.choose_offload(9 * gib - 1, parts) == "sequential"


def test_each_rank_has_its_gpu(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.find_device("auto") == "cuda:0"
    for rank, expected in (("0", "cuda:0"), ("1", "cuda:1"), ("3", "cuda:1"), ("4", "cuda:0")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert device.find_device("auto") == expected
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device.find_device("cpu") == "cpu"
    assert [device.find_dtype("auto", place) for place in ("cuda:1", "cpu")] == ["bfloat16", "float32"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.find_device("auto") == "cpu"
    with pytest.raises(UsageError, match=r"'cuda:1'.*sees no GPU"):
        device.find_device("cuda:1")


@pytest.mark.parametrize(
    ("capability", "told"), [("AVX2", True), ("NO AVX", True), ("AVX512", False), ("DEFAULT", False)]
)
def test_bfloat16_on_an_old_cpu_is_told_to_be_slow(monkeypatch, capability, told):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert device.find_dtype("bfloat16", "cuda:0") == device.find_dtype("bfloat16", "cpu") == "bfloat16"
        assert [device.find_dtype(name, "cpu") for name in ("auto", "float32")] == ["float32", "float32"]
    said = [str(warning.message) for warning in found]
    assert len(said) == told
    assert all("dtype=bfloat16: this CPU has no instructions for it, so float32 is" in line for line in said)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "a photo"}, "{sentence}"),
        ({"steps": 0}, "steps must be at least 1, found 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"strength": 0.0}, "strength must be in"),
        ({"nsfw_threshold": 1.5}, "nsfw_threshold"),
        ({"guidance": -1.0}, "guidance"),
        ({"size": 500}, "multiple of 64, found 500"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(UsageError, match=message):
        Diffusers(**settings)
    with pytest.raises(FrozenInstanceError):
        Diffusers().steps = 3
    with pytest.raises(UnknownName, match="bfloat16"):
        Diffusers(dtype="bf16")


def test_the_defaults_are_those_of_a_distilled_pipeline():
    turbo = Diffusers()
    assert (turbo.model, turbo.guidance, turbo.size) == ("stabilityai/sdxl-turbo", 0.0, 512)
    assert 1 <= turbo.steps <= 4
    assert device.model_licence("stable-diffusion-v1-5/stable-diffusion-v1-5") == "creativeml-openrail-m"
    assert device.model_licence(turbo.model) == device.model_licence("some/one") == "other"


def test_nothing_heavy_is_imported_before_a_picture_is_asked_for():
    code = (
        "import sys, hf_mner_aug.models.image.collage; print({'torch', 'numpy', 'PIL', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# ---------------------------------------------------------------- diffusers


@pytest.fixture
def engine(folders, monkeypatch):
    monkeypatch.setenv("HF_MNER_AUG_KEPT_GB", "0")  # these tests draw: test_kept_pictures.py is about what is kept
    image._load.cache_clear()
    device._LIMITS.clear()
    threads = pytest.importorskip("torch").get_num_threads()
    pytest.importorskip("torch").set_num_threads(1)
    paper = {"prompt": "A photo of {sentence}", "guidance": 10.0, "strength": 0.8}
    yield Diffusers(model=str(folders / "sd"), steps=3, size=64, device="cpu", **paper)
    pytest.importorskip("torch").set_num_threads(threads)


@pytest.mark.parametrize("originals", [False, True])
def test_batch_size_order_and_company_do_not_change_a_picture(engine, originals):
    draws = draws_for(SENTENCES)
    starts = [noise_picture(i) for i in range(16)] if originals else [None] * 16
    made = replace(engine, batch_size=4).generate(SENTENCES, draws, originals=starts)
    assert all(picture.size == (64, 64) and picture.mode == "RGB" for picture in made)
    for batch_size in (1, 16):
        others = replace(engine, batch_size=batch_size).generate(SENTENCES, draws, originals=starts)
        assert max(np.abs(pixels(a) - pixels(b)).max() for a, b in zip(made, others, strict=True)) <= 1
    back = engine.generate(SENTENCES[5::-2], draws_for(SENTENCES)[5::-2], originals=starts[5::-2])
    assert max(np.abs(pixels(a) - pixels(made[i])).max() for a, i in zip(back, (5, 3, 1), strict=True)) <= 1
    # Another draw, sentence or original makes another picture.
    other_draw = engine.generate(SENTENCES[:1], draws_for(SENTENCES[:1], copy=1), originals=starts[:1])[0]
    other_text = engine.generate(["night over Oslo"], draws[:1], originals=starts[:1])[0]
    assert np.abs(pixels(other_draw) - pixels(made[0])).mean() > 5
    assert np.abs(pixels(other_text) - pixels(made[0])).max() > 0
    if originals:
        other_start = engine.generate(SENTENCES[:1], draws[:1], originals=[noise_picture(77)])[0]
        assert np.abs(pixels(other_start) - pixels(made[0])).max() > 0


def test_pictures_are_those_of_the_pipelines_themselves(engine, folders):
    torch = pytest.importorskip("torch")
    from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

    draws, start = draws_for(SENTENCES[:1]), noise_picture(1)
    options = {"prompt": "A photo of tweet number 0 from Paris", "num_inference_steps": 3, "guidance_scale": 10.0}
    text = StableDiffusionPipeline.from_pretrained(folders / "sd")
    expected = text(**options, height=64, width=64, generator=torch.Generator().manual_seed(draws[0].seed())).images[0]
    assert same(engine.generate(SENTENCES[:1], draws), [expected])
    again = StableDiffusionImg2ImgPipeline.from_pretrained(folders / "sd")
    generator = torch.Generator().manual_seed(draws[0].seed())
    expected = again(**options, image=start, strength=0.8, generator=generator).images[0]
    assert same(engine.generate(SENTENCES[:1], draws, originals=[start]), [expected])
    loaded = engine._load()
    assert loaded.image_to_image.unet is loaded.text_to_image.unet


def test_a_variant_of_the_files_is_part_of_the_models_name(engine, folders, tmp_path):
    import shutil

    import torch
    from diffusers import StableDiffusionPipeline

    folder = tmp_path / "both"
    shutil.copytree(folders / "sd", folder)
    other = StableDiffusionPipeline.from_pretrained(folders / "sd")
    other.unet.conv_out.weight.data.zero_()  # so that it shows which files were read
    other.to(dtype=torch.float16).save_pretrained(folder, variant="fp16")
    options = {"steps": 2, "guidance": 1.0, "nsfw_model": None, "size": 64, "device": "cpu"}
    plain, half = (open_engine(f"{folder}{end}", posts="", **options) for end in ("", "#fp16"))
    assert (half.model, half.revision, half.variant) == (str(folder), None, "fp16")
    draws = draws_for(SENTENCES[:1])
    assert not same(plain.generate(SENTENCES[:1], draws), half.generate(SENTENCES[:1], draws))
    assert not half._load().text_to_image.unet.conv_out.weight.any()
    with pytest.raises(UsageError, match="no usable folder of a text-to-image pipeline"):
        open_engine(f"{folders / 'sd'}#fp16", posts="", **options).generate(SENTENCES[:1], draws)
    assert pinned_engine(f"{folder}#fp16") == f"{pinned_engine(str(folder))}#fp16"
    assert open_engine(pinned_engine(f"{folder}#fp16"), posts="", **options) == half
    with pytest.raises(UsageError, match="no usable"):
        open_engine(f"{folder}#../sd", posts="", **options).generate(SENTENCES[:1], draws)


def test_recipe_and_card_name_the_variant(monkeypatch):
    monkeypatch.setattr(device, "resolved_revision", lambda model, revision=None: "0" * 40)
    pinned = pinned_engine("stable-diffusion-v1-5/stable-diffusion-v1-5#fp16")
    assert pinned == f"stable-diffusion-v1-5/stable-diffusion-v1-5@{'0' * 40}#fp16"
    (model,) = named_models(pinned)
    assert (model.id, model.license, model.checked) == (pinned.removesuffix("#fp16"), "creativeml-openrail-m", True)


@pytest.mark.parametrize(
    "spec", ["amia:image_model={}", "gmda:image_model={}", "memory_hard:image_model={}", "daga:image={}"]
)
def test_a_revision_behind_the_variant_is_refused_when_the_spec_is_read(spec):
    with pytest.raises(UsageError, match=r"^org/m#fp16@main: the revision stands before the variant: org/m@main#fp16$"):
        named_method(spec.format("org/m#fp16@main"))
    named_method(spec.format("org/m@main#fp16"))


def test_the_turbo_pipeline_with_its_own_defaults(engine, folders):
    turbo = Diffusers(model=str(folders / "xl"), size=64, device="cpu")
    draws = draws_for(SENTENCES[:3])
    made = turbo.generate(SENTENCES[:3], draws, originals=[None, noise_picture(1), None])
    assert [picture.size for picture in made] == [(64, 64)] * 3
    alone = [
        turbo.generate([s], [d], originals=[o])[0]
        for s, d, o in zip(SENTENCES[:3], draws, [None, noise_picture(1), None], strict=True)
    ]
    assert max(np.abs(pixels(a) - pixels(b)).max() for a, b in zip(made, alone, strict=True)) <= 1
    with pytest.raises(UsageError, match=r"1 steps at strength 0\.5 are less than one: take steps=2 or more"):
        replace(turbo, steps=1).generate(SENTENCES[:1], draws[:1], originals=[noise_picture(1)])
    assert len(replace(turbo, steps=1).generate(SENTENCES[:1], draws[:1])) == 1


def test_sizes_are_those_asked_for_else_the_originals_shape(engine):
    draws = draws_for(SENTENCES[:3])
    starts = [noise_picture(1, (90, 60)), None, noise_picture(2, (60, 90))]
    made = engine.generate(SENTENCES[:3], draws, originals=starts)
    assert [picture.size for picture in made] == [(80, 56), (64, 64), (56, 80)]
    made = engine.generate(SENTENCES[:3], draws, originals=starts, sizes=[(90, 60), (33, 21), (500, 10)])
    assert [picture.size for picture in made] == [(90, 60), (33, 21), (500, 10)]
    assert engine.generate([], []) == []


def test_a_flagged_or_black_picture_is_refused(engine, folders, monkeypatch):
    checked = replace(engine, model=str(folders / "checked"))
    made = checked.generate(SENTENCES[:2], draws_for(SENTENCES[:2]))
    assert [(refused.reason, refused.detail) for refused in made] == [
        ("unsafe_image", "the pipeline's safety checker flagged it")
    ] * 2
    assert device.limits_met() == {}

    def pipeline(**options):
        black, light = Image.new("RGB", (64, 64), (0, 2, 1)), Image.new("RGB", (64, 64))
        light.putpixel((5, 5), (9, 9, 9))
        return types.SimpleNamespace(images=[light, black, light], nsfw_content_detected=[False, False, True])

    monkeypatch.setattr(engine._load(), "text_to_image", Stub(engine._load().text_to_image, pipeline))
    made = engine.generate(SENTENCES[:3], draws_for(SENTENCES[:3]))
    assert made[0].getpixel((5, 5)) == (9, 9, 9)
    assert [refused.reason for refused in made[1:]] == ["black_image", "unsafe_image"]


class Stub:
    """A pipeline whose call is another's."""

    def __init__(self, pipeline, call):
        self.components, self.call = pipeline.components, call

    def __call__(self, **options):
        return self.call(**options)


def test_a_classifier_refuses_from_its_threshold_on(engine, folders):
    draws = draws_for(SENTENCES[:2])
    guarded = replace(engine, nsfw_model=str(folders / "nsfw"), nsfw_threshold=0.95)
    refused = guarded.generate(SENTENCES[:2], draws)
    assert [(r.reason, r.detail) for r in refused] == [("unsafe_image", f"{folders / 'nsfw'} gives nsfw 0.95")] * 2
    assert same(
        replace(guarded, nsfw_threshold=0.96).generate(SENTENCES[:2], draws), engine.generate(SENTENCES[:2], draws)
    )
    config = json.loads((folders / "nsfw" / "config.json").read_text())
    other = folders / "cats"
    other.mkdir()
    for path in (folders / "nsfw").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config |= {"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="expected a label nsfw, found cat, dog"):
        replace(engine, nsfw_model=str(other)).generate(SENTENCES[:1], draws[:1])


def test_where_memory_ends_the_batch_is_halved_and_the_pictures_are_the_same(engine, monkeypatch):
    torch = pytest.importorskip("torch")
    draws = draws_for(SENTENCES[:7])
    expected = engine.generate(SENTENCES[:7], draws)
    loaded = engine._load()
    whole, most, seen = loaded.text_to_image, 1, []

    def short(**options):
        seen.append(len(options["prompt"]))
        # What a generator gave before memory ended must not be missing afterwards.
        [torch.rand(5, generator=generator) for generator in options["generator"] if len(seen) < 3]
        if seen[-1] > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(**options)

    monkeypatch.setattr(loaded, "text_to_image", Stub(whole, short))
    with pytest.warns(UserWarning, match="out of memory: continuing with batches of 2") as told:
        made = engine.generate(SENTENCES[:7], draws)
    assert len(told) == 1
    assert max(np.abs(pixels(a) - pixels(b)).max() for a, b in zip(made, expected, strict=True)) <= 1
    assert seen == [4, 2, 1, 1, 1, 1, 1, 1, 1]
    assert device.limits_met() == {"picture_batches_halved": 2}
    most = 0
    warnings.simplefilter("error")  # pytest puts the filters back
    with pytest.raises(UsageError, match=r"cpu has no memory for one picture of \(64, 64\)"):
        engine.generate(SENTENCES[:7], draws)


def test_prompts_that_are_cut_are_counted(engine):
    sentences = ["short", "x" * 67, "x" * 68, "y" * 200]  # with "Aphotoof" and two marks, 77 fit
    engine.generate(sentences, draws_for(sentences))
    assert device.limits_met() == {"prompts_cut": 2}


def test_an_engine_stays_its_settings(engine):
    before = pickle.dumps(engine)
    engine.generate(SENTENCES[:1], draws_for(SENTENCES[:1]))
    assert pickle.dumps(engine) == before
    assert len(before) < 1000
    assert pickle.loads(before) == engine
    assert hash(pickle.loads(before)) == hash(engine)


# ---------------------------------------------------------------- revisions


def test_a_folder_is_known_by_its_files(folders, tmp_path):
    import shutil

    first = device.resolved_revision(str(folders / "sd"))
    assert len(first) == 64
    moved = tmp_path / "elsewhere"
    shutil.copytree(folders / "sd", moved)
    (moved / ".cache").mkdir()
    (moved / ".cache" / "downloaded").write_text("yesterday")
    assert device.resolved_revision(str(moved)) == first
    scheduler = moved / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("0.012", "0.013"))
    changed = device.resolved_revision(str(moved))
    scheduler.rename(moved / "scheduler" / "other.json")
    assert len({first, changed, device.resolved_revision(str(moved))}) == 3


def test_a_hub_id_is_resolved_to_its_commit(monkeypatch):
    import huggingface_hub
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import OfflineModeIsEnabled

    commit = "0123456789abcdef0123456789abcdef01234567"
    asked = []

    def model_info(self, repo_id, *, revision):
        asked.append((repo_id, revision))
        return types.SimpleNamespace(sha=commit)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    assert device.resolved_revision("org/name") == device.resolved_revision("org/name", "v1") == commit
    assert asked == [("org/name", None), ("org/name", "v1")]
    assert device.resolved_revision("org/name", commit[::-1]) == commit[::-1]
    assert len(asked) == 2

    def offline(self, repo_id, *, revision):
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", offline)
    with pytest.raises(UsageError, match="'org/name': the Hub cannot be reached and the cache has none") as caught:
        device.resolved_revision("org/name")
    assert "\n" not in str(caught.value)
    cached = Path(HF_HUB_CACHE) / "models--org--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots" / commit).mkdir(parents=True)
    (cached / "snapshots" / commit / "model_index.json").write_text("{}")
    assert device.resolved_revision("org/name") == commit


@pytest.mark.parametrize("model", ["", "/there/is/none"])
def test_a_model_that_is_not_there_is_one_line(engine, tmp_path, model):
    wrong = replace(engine, model=model or str(tmp_path))
    with pytest.raises(UsageError, match="no usable folder") as caught:
        wrong.generate(SENTENCES[:1], draws_for(SENTENCES[:1]))
    assert "\n" not in str(caught.value)
