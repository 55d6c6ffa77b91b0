"""Image engines: a picture hangs on its sentence, draw and original alone; refusals, memory and revisions are told."""

import io
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
from PIL import Image, ImageDraw
from places import DATA

from hf_mner_aug.draw import Draw, draw
from hf_mner_aug.exceptions import NotFitted, UnknownName, UsageError
from hf_mner_aug.models import device
from hf_mner_aug.models.image import collage, composition, named_models, open_engine, pinned_engine
from hf_mner_aug.models.image import diffusers as image
from hf_mner_aug.models.image.collage import Collage, GroundedSentence, Label, Region
from hf_mner_aug.models.image.composition import Opened
from hf_mner_aug.models.image.diffusers import Diffusers
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.runs.recipe import named_method
from hf_mner_aug.schema import Entity, Post, bio_to_spans
from hf_mner_aug.storage.posts import open_posts, save_posts

SENTENCES = [f"RT @fan{i} : tweet number {i} from Paris http://t.co/x{i}" for i in range(16)]


def draws_for(sentences, copy=0):
    return [draw(0, "test", 1, sentence, copy) for sentence in sentences]


def pixels(picture):
    return np.asarray(picture, dtype=int)


def same(first, second):
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


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


def noise_picture(i, size=(64, 64)):
    return Image.fromarray(np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


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


# ---------------------------------------------------------------- collages: what train posts say

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 210), "yellow": (230, 220, 40)}


def encoded(picture, kind="PNG"):
    file = io.BytesIO()
    picture.save(file, kind)
    return {"bytes": file.getvalue(), "path": None}


def tweet(text, *entities, image=None, boxes=()):
    """Return a post; an entity is ``(words, type)``, a picture a colour or an image."""
    tokens = text.split()
    spans = []
    for words, kind in entities:
        first = next(i for i in range(len(tokens)) if tokens[i : i + len(words.split())] == words.split())
        spans.append(Entity(first, first + len(words.split()), kind, None, tuple(boxes)))
    images = ()
    if image:
        plain = encoded(Image.new("RGB", (120, 100), COLOURS[image])) if isinstance(image, str) else image
        images = (plain,)
    return Post(text, tokens, tuple(spans), images)


TRAIN = [
    tweet("we love Paris in the spring", ("Paris", "LOC"), image="red"),
    tweet("New York marathon today", ("New York", "LOC"), image="green"),
    tweet("New York Times prints it", ("New York Times", "ORG"), image="blue"),
    tweet("Adele sings again tonight", ("Adele", "PER"), image="yellow"),
    tweet("Lionel Messi scores", ("Lionel Messi", "PER")),
    tweet("they told us so", ("us", "LOC")),
    tweet("come with us now"),
    tweet("give us a break"),
]


def reading(train, sentence):
    return GroundedSentence(sentence, collage._knowledge(Collage(posts=save_posts(train)).posts))


def rows_of(choices):
    return [([region.row for region in choice.named], [region.row for region in choice.others]) for choice in choices]


def test_the_longest_known_mention_counts():
    known = {("new", "york"): 1, ("new", "york", "times"): 1, ("times",): 1}
    words = collage.words_of("RT @x : New York TIMES , #Times and new-york ! http://t.co/x")
    assert words == ["new", "york", "times", "times", "and", "new", "york"]
    assert collage.longest_matches(words, known, 3) == [("new", "york", "times"), ("times",), ("new", "york")]
    assert collage.longest_matches([], known, 3) == collage.longest_matches(["new"], known, 3) == []
    assert collage.words_of("我爱 New York ！") == ["我", "爱", "new", "york"]


def test_mentions_bring_pictures_of_posts_that_mention_them():
    found = rows_of(reading(TRAIN, "ADELE moves to new york").choices(Draw(b"1")))
    assert [named for named, _ in found] == [[3], [1]]
    # Messi's post has no picture: another person's stands in.
    assert rows_of(reading(TRAIN, "Lionel Messi sings").choices(Draw(b"1"))) == [([], [3])]
    # What train labels less often than not is no mention, and like posts stand in; those without a picture do not.
    asked = reading(TRAIN, "us again")
    assert list(asked.choices(Draw(b"1"))) == []
    assert asked.alike(Draw(b"1")) == [Region(3, ())]
    assert reading(TRAIN, "xyz ??").alike(Draw(b"1")) == []


def test_a_posts_own_text_and_picture_take_no_part():
    twin = tweet("Paris again", ("Paris", "LOC"), image="red")
    train = [*TRAIN, twin, tweet("Paris at night", ("Paris", "LOC"), image="blue")]
    asked = reading(train, "RT @fan : We love PARIS , in the spring ! http://t.co/x")
    assert asked.own == {0, 8}
    assert [named for named, _ in rows_of(asked.choices(Draw(b"1")))] == [[9]]
    # Only its own post knows this mention, so its type is not known either, and nothing else is like it.
    train = [*TRAIN, tweet("Bono here", ("Bono", "PER"), image="blue")]
    asked = reading(train, "Adele sings again tonight")
    assert list(asked.choices(Draw(b"1"))) == asked.alike(Draw(b"1")) == []
    assert rows_of(reading(train, "Adele sings again and again").choices(Draw(b"1"))) == [([3], [3, 8])]


def test_like_words_settle_which_sense_is_shown():
    train = [tweet(f"Jordan dunks again {i}", ("Jordan", "PER"), image="red") for i in range(6)]
    train += [tweet(f"the desert of Jordan {i}", ("Jordan", "LOC"), image="blue") for i in range(3)]
    seen = set()
    for i in range(10):
        [choice] = reading(train, "walking the desert in Jordan").choices(Draw(bytes([i])))
        assert {region.row for region in choice.named[:3]} == {6, 7, 8}
        seen.add(choice.named[0].row)
    assert seen == {6, 7, 8}


def test_where_train_has_boxes_only_they_are_shown():
    train = [
        tweet("Adele sings", ("Adele", "PER"), image="red", boxes=[(1.0, 2.0, 30.0, 40.0)]),
        tweet("Adele laughs", ("Adele", "PER"), image="green"),
    ]
    [choice] = reading(train, "where is Adele").choices(Draw(b"1"))
    assert choice.named == [Region(0, ((1.0, 2.0, 30.0, 40.0),))]
    labels = collage._knowledge(Collage(posts=save_posts(train)).posts).mentions[("adele",)].labels
    assert labels == [Label(0, "PER", choice.named[0]), Label(1, "PER", None)]


# ---------------------------------------------------------------- collages: pictures


def test_a_collage_shows_the_mention_in_focus():
    engine = Collage(posts=save_posts(TRAIN), size=128)
    [made] = engine.generate(["Adele dreams of Paris"], draws_for(["x"]))
    assert made.size == (128, 128)
    assert made.mode == "RGB"
    # Two regions side by side, in the order of the sentence; next to the frame they have their own colours.
    assert np.abs(pixels(made)[90, 4] - COLOURS["yellow"]).max() <= 3
    assert np.abs(pixels(made)[90, -4] - COLOURS["red"]).max() <= 3


def test_draws_make_other_pictures_and_company_does_not():
    engine = Collage(posts=save_posts(TRAIN), size=96)
    sentences = ["Adele dreams of Paris", "the spring in New York", "sings again", "qqq"]
    made = engine.generate(sentences, draws_for(sentences))
    assert made[3] == Refused("no_region", "no other train post with a picture has a word of the sentence")
    back = pickle.loads(pickle.dumps(engine)).generate(sentences[2::-1], draws_for(sentences)[2::-1])
    assert same(made[:3], back[::-1])
    assert not same(made[:1], engine.generate(sentences[:1], draws_for(sentences[:1], copy=1)))


def test_a_collage_knows_the_train_posts_and_nothing_else():
    engine = Collage(posts=save_posts(TRAIN), size=64)
    assert open_posts(engine.posts).ids == [post.id for post in TRAIN]
    assert engine == Collage(posts=engine.posts, size=64)
    with pytest.raises(NotFitted, match="0000"):
        Collage(posts="0" * 64).generate(["x"], draws_for(["x"]))
    with pytest.raises(UsageError, match="at least 32"):
        Collage(posts="0" * 64, size=16)


def test_the_labels_of_the_post_at_hand_change_nothing():
    """A test post's sentence is all that is read of it: any labels make the same picture."""
    engine = Collage(posts=save_posts(TRAIN), size=64)
    tests = [
        tweet("Adele in Paris", ("Adele", "PER"), ("Paris", "LOC")),
        tweet("New York and Adele", ("New York", "LOC")),
    ]
    swapped = [replace(a, entities=b.entities) for a, b in zip(tests, tests[::-1], strict=True)]
    made = [
        engine.generate([" ".join(post.tokens) for post in posts], draws_for([post.id for post in posts]))
        for posts in (tests, swapped)
    ]
    assert same(*made)


def test_sizes_are_kept_and_an_original_shows_where_nothing_is_put():
    engine = Collage(posts=save_posts(TRAIN), size=64)
    sentences = ["Adele", "Adele in Paris", "New York"]
    sizes = [(33, 21), (640, 300), (1, 7)]
    assert [made.size for made in engine.generate(sentences, draws_for(sentences), sizes=sizes)] == sizes
    start = Image.new("RGB", (60, 60), "white")
    ImageDraw.Draw(start).line([(i, 0 if i % 2 else 29) for i in range(60)], fill="black")
    [made] = engine.generate(["Adele"], draws_for(["x"]), originals=[start])
    assert made.size == (60, 60)
    assert np.array_equal(pixels(made)[:28], pixels(start)[:28])
    corners = [pixels(made)[-3, x] for x in (2, -3)]
    assert min(np.abs(corner - COLOURS["yellow"]).max() for corner in corners) <= 3


def test_a_picture_that_does_not_open_is_passed_over():
    broken = {"bytes": b"\xff\xd8\xff no jpeg", "path": None}
    train = [
        tweet("Adele sings", ("Adele", "PER"), image=broken),
        tweet("Adele Adele Adele", ("Adele", "PER"), image="blue"),
        tweet("Adele missing", ("Adele", "PER"), image={"bytes": b"GIF89a", "path": None}),
    ]
    [made] = Collage(posts=save_posts(train), size=64).generate(["Adele sings missing"], draws_for(["x"]))
    assert np.abs(pixels(made)[-2, 32] - COLOURS["blue"]).max() <= 3


def test_where_no_picture_shows_a_type_a_like_post_stands_in():
    train = [
        tweet("Oslo wins again", ("Oslo", "ORG")),
        tweet("it rains again", image="green"),
        tweet("😂", image="red"),
    ]
    [made] = Collage(posts=save_posts(train), size=64).generate(["Oslo again"], draws_for(["x"]))
    assert np.abs(pixels(made)[-2, 32] - COLOURS["green"]).max() <= 3
    assert (
        Collage(posts=save_posts(train[2:]), size=64).generate(["Oslo 😂"], draws_for(["x"]))[0].reason == "no_region"
    )
    assert Collage(posts=save_posts([]), size=64).generate(["Oslo"], draws_for(["x"]))[0].reason == "no_region"


def test_no_seam_is_seen():
    """White before black: colours rise over half of the region, so neighbours differ by few levels."""
    white = Opened(Image.new("RGB", (80, 80), "white"), ())
    made = pixels(composition.compose(Image.new("RGB", (256, 256)), [white], [(0.1, 0.1, 0.8, 1.0)]))
    steps = max(np.abs(np.diff(made, axis=axis)).max() for axis in (0, 1))
    assert made[:, :, 0].max() == 255
    assert made[0].max() == made[:, 0].max() == 0
    assert steps <= 6  # 255 over 90 pixels, 1.5 times as steep in the middle


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_slots_lie_in_the_picture_and_on_the_ground(n):
    for i in range(50):
        slots = composition.draw_slots(n, Draw(bytes([i])))
        assert len(slots) == n
        assert all(0 <= left < right <= 1 + 1e-9 and 0 <= top < bottom <= 1 for left, top, right, bottom in slots)
        assert sum(bottom == 1 for *_, bottom in slots) == (2 if n == 4 else n)


def test_the_busiest_part_is_found_and_a_box_is_kept_whole():
    picture = Image.new("RGB", (300, 200), "grey")
    noise = noise_picture(0, (100, 100))
    picture.paste(noise, (180, 60))
    left, top, right, bottom = composition.busiest_window(picture, 1.0)
    assert max(left - 180, top - 60, 280 - right, 160 - bottom) <= 5
    assert (right - left) / (bottom - top) == pytest.approx(1, abs=0.05)
    # 60 x 80 with its margin is 69.6 x 92.8; a ratio of 2 widens it to 185.6, and the frame pushes it left.
    window = composition.window_around([(230.0, 50.0, 290.0, 130.0)], picture, 2.0)
    assert window == pytest.approx((300 - 185.6, 90 - 46.4, 300, 90 + 46.4))


def test_a_large_jpeg_is_opened_small_and_its_boxes_follow():
    picture = Image.new("RGB", (1600, 1200), "white")
    picture.paste((20, 30, 200), (400, 200, 1200, 1000))
    opened = composition.open_reduced(encoded(picture, "JPEG"), ((400.0, 200.0, 1200.0, 1000.0),), 150)
    assert opened.picture.size == (400, 300)
    assert opened.boxes == ((100.0, 50.0, 300.0, 250.0),)
    assert opened.picture.getpixel((150, 150))[2] > 150 > opened.picture.getpixel((150, 150))[0]
    assert composition.open_reduced(encoded(picture, "JPEG"), (), 150).picture.size == (200, 150)
    assert composition.open_reduced(encoded(picture), (), 150).picture.size == (1600, 1200)


@pytest.mark.skipif(not (DATA / "tweets_with_images").is_dir(), reason=f"no real data in {DATA} ($MNER_DATA)")
def test_real_tweets_get_pictures_that_are_not_their_own():
    folder = DATA / "tweets_with_images"
    rows = [json.loads(line) for line in (folder / "real36.jsonl").read_text().splitlines()]
    posts = [
        Post(
            row["img_id"],
            row["tokens"],
            tuple(Entity(*span) for span in bio_to_spans(row["labels"])),
            ({"bytes": (folder / row["image"]).read_bytes(), "path": row["image"]},),
        )
        for row in rows
    ]
    engine = Collage(posts=save_posts(posts), size=96)
    sentences = [" ".join(post.tokens) for post in posts]
    made = engine.generate(sentences, draws_for(sentences), sizes=[tuple(row["size"]) for row in rows])
    refused = [result for result in made if isinstance(result, Refused)]
    assert len(refused) <= 2
    for row, result in zip(rows, made, strict=True):
        if not isinstance(result, Refused):
            assert result.size == tuple(row["size"])
            assert pixels(result).std() > 5
    known = collage._knowledge(engine.posts)
    for i, sentence in enumerate(sentences):
        assert GroundedSentence(sentence, known).own == {i}
