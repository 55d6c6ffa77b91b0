"""Kept pictures: a picture is drawn once, has the bytes of a drawn one, and whatever is not that is drawn again."""

import io
import sqlite3
import subprocess
import sys
import types
from dataclasses import replace

import pytest
from PIL import Image

from hf_mner_aug import AMIA
from hf_mner_aug.draw import draw
from hf_mner_aug.models import device
from hf_mner_aug.models.image import diffusers, kept
from hf_mner_aug.models.image.diffusers import Diffusers, Loaded
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.sample import load_sample
from hf_mner_aug.storage import kept_features

SENTENCES = [f"tweet number {i} from Paris" for i in range(6)]
FILE = kept_features.path_of


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """Nothing is kept yet, and no pipeline is open."""
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    forget()
    yield
    forget()


def forget():
    """Be as a new process is."""
    diffusers._load.cache_clear()
    kept.revision_of.cache_clear()
    device._LIMITS.clear()


@pytest.fixture
def drawn(monkeypatch):
    """The prompts that a fake pipeline drew: its pictures depend on prompt, seed, size and original alone."""
    prompts = []

    def pipeline(*, prompt, generator, width=None, height=None, image=None, **options):
        prompts.extend(prompt)
        made = []
        for i, text in enumerate(prompt):
            size = image[i].size if image else (width, height)
            colour = (generator[i].initial_seed() % 251, len(text), 200 if image else 100)
            made.append(Image.new("RGB", size, (0, 0, 0) if "night" in text else colour))
        return types.SimpleNamespace(images=made, nsfw_content_detected=["nude" in text for text in prompt])

    pipeline.components = {}
    monkeypatch.setattr(Loaded, "text_to_image", property(lambda loaded: pipeline))
    monkeypatch.setattr(Loaded, "image_to_image", property(lambda loaded: pipeline))
    monkeypatch.setattr(Loaded, "is_truncated", lambda loaded, prompt: "long" in prompt)
    return prompts


def ask(engine, sentences=SENTENCES, copy=0, **more):
    return engine.generate(sentences, [draw(0, "test", 1, sentence, copy) for sentence in sentences], **more)


def bytes_of(pictures):
    found = []
    for picture in pictures:
        file = io.BytesIO()
        if not isinstance(picture, Refused):
            picture.save(file, "PNG")
        found.append(picture if isinstance(picture, Refused) else (picture.mode, picture.info, file.getvalue()))
    return found


@pytest.fixture
def engine(folders):
    return Diffusers(model=str(folders / "sd"), steps=2, size=64, device="cpu", batch_size=4)


def test_a_picture_is_drawn_once_and_refusals_and_limits_are_kept_with_it(engine, drawn):
    sentences = [*SENTENCES[:3], "a night without a moon", "a nude by Titian", "a long prompt"]
    first = ask(engine, sentences)
    assert [found.reason for found in first if isinstance(found, Refused)] == ["black_image", "unsafe_image"]
    assert (len(drawn), device.limits_met()) == (6, {"prompts_cut": 1})
    forget()
    again = ask(engine, sentences)
    assert bytes_of(again) == bytes_of(first)
    assert (len(drawn), device.limits_met()) == (6, {"prompts_cut": 1})


def test_whatever_a_picture_depends_on_makes_another(engine, drawn, folders):
    start = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    changed = [
        {},
        {"copy": 1},
        {"sizes": [(64, 128)]},
        {"originals": start[:1]},
        {"originals": start[1:]},
    ]
    engines = [
        replace(engine, steps=3),
        replace(engine, guidance=2.0),
        replace(engine, prompt="A photo of {sentence}"),
        replace(engine, size=128),
        replace(engine, dtype="bfloat16"),
        replace(engine, model=str(folders / "xl")),
        replace(engine, nsfw_model=str(folders / "nsfw"), nsfw_threshold=0.99),
        replace(engine, nsfw_model=str(folders / "nsfw"), nsfw_threshold=0.98),
    ]
    for n, asked in enumerate(changed, 1):
        ask(engine, SENTENCES[:1], **asked)
        assert len(drawn) == n, asked
    for n, other in enumerate(engines, len(drawn) + 1):
        ask(other, SENTENCES[:1])
        assert len(drawn) == n, other
    ask(replace(engine, strength=0.9), SENTENCES[:1], originals=start[:1])
    assert len(drawn) == n + 1
    for asked in changed:
        ask(engine, SENTENCES[:1], **asked)
    assert len(drawn) == n + 1


def test_another_folder_with_the_same_files_is_the_same_model(engine, drawn, folders, tmp_path):
    import shutil

    ask(engine)
    shutil.copytree(folders / "sd", tmp_path / "moved")
    moved = replace(engine, model=str(tmp_path / "moved"))
    ask(moved)
    assert len(drawn) == 6
    config = tmp_path / "moved" / "model_index.json"
    config.write_text(config.read_text() + "\n")
    forget()
    ask(moved)
    assert len(drawn) == 12


def test_a_picture_in_other_company_is_drawn_again(engine, drawn):
    """Its last bits may depend on the size of the batch."""
    ask(engine)
    ask(engine, SENTENCES[:4])
    assert len(drawn) == 6
    ask(engine, SENTENCES[:3])
    ask(replace(engine, batch_size=3))
    assert len(drawn) == 6 + 3 + 3  # the first three are a batch already


def test_nothing_is_kept_where_it_is_turned_off(engine, drawn, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("HF_MNER_AUG_KEPT_GB", "0")
        ask(engine)
        assert not FILE("pictures", "pictures").exists()
    ask(engine)
    with kept.drawing_anew():
        ask(engine)
    assert len(drawn) == 18
    ask(engine)
    assert len(drawn) == 18


def test_a_model_whose_revision_cannot_be_known_is_not_kept(drawn, monkeypatch):
    import huggingface_hub

    def offline(self, repo_id, *, revision):
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", offline)
    engine = Diffusers(model="org/unknown", size=64, device="cpu")
    ask(engine, SENTENCES[:1])
    ask(engine, SENTENCES[:1])
    assert len(drawn) == 2
    commit = "0123456789abcdef0123456789abcdef01234567"
    ask(replace(engine, revision=commit), SENTENCES[:1])
    ask(replace(engine, revision=commit), SENTENCES[:1])
    assert len(drawn) == 3


@pytest.mark.parametrize("damage", ["cut", "text", "number", "empty", "no picture", "no json", "not sealed"])
def test_a_damaged_picture_is_drawn_again(engine, drawn, damage):
    import hashlib

    def sealed(data):
        return hashlib.sha256(data).digest() + data

    first = bytes_of(ask(engine, SENTENCES[:1]))
    with sqlite3.connect(FILE("pictures", "pictures")) as file:
        ((whole,),) = file.execute("SELECT value FROM features").fetchall()
        value = {
            "cut": whole[:-7],
            "text": "a text",
            "number": 7,
            "empty": b"",
            "no picture": sealed(b'{"refused": [], "cut": false}\nGIF89a'),
            "no json": sealed(b'{"refused": [1, 2, 3], "cut": 0}\n'),
            "not sealed": whole[32:],
        }[damage]
        file.execute("UPDATE features SET value = ?", (value,))
    file.close()
    assert bytes_of(ask(engine, SENTENCES[:1])) == first
    assert len(drawn) == 2
    ask(engine, SENTENCES[:1])
    assert len(drawn) == 2, "the new one has replaced it"


@pytest.mark.parametrize("content", [b"", b"not a database", None])
def test_a_file_that_is_no_database_is_told_and_harmless(engine, drawn, content):
    path = FILE("pictures", "pictures")
    first = bytes_of(ask(engine, SENTENCES[:1]))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.warns(UserWarning, match="pictures"):
        assert bytes_of(ask(engine, SENTENCES[:1])) == first
    assert len(drawn) == 2


def test_processes_share_the_file(folders):
    """Four at once: each draws or reads, and all have the same pictures."""
    code = (
        "import hashlib, sys; from hf_mner_aug.draw import draw; from hf_mner_aug.models.image.diffusers import *; "
        "import torch; torch.set_num_threads(1); "
        "e = Diffusers(model=sys.argv[1], steps=1, size=64, device='cpu', batch_size=1); s = list('abcdefgh'); "
        "print(hashlib.sha256(b''.join(p.tobytes() for p in e.generate(s, [draw(0, 't', 1, x, 0) for x in s])))"
        ".hexdigest(), 'text_to_image' in e._load().__dict__)"
    )
    call = [sys.executable, "-c", code, str(folders / "sd")]
    running = [subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate() for process in running]
    said = [output.split() for output, _ in outputs]
    assert all(len(words) == 2 for words in said), outputs
    assert len({digest for digest, _ in said}) == 1
    assert not any("Warning" in errors for _, errors in outputs)
    last = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()
    assert last == [said[0][0], "False"], "everything was kept: the pipeline is not even opened"


def test_a_real_pipelines_kept_pictures_are_the_drawn_ones_byte_for_byte(engine, monkeypatch):
    starts = [Image.radial_gradient("L").convert("RGB").resize((80, 64)), None, None, None, None, None]
    with monkeypatch.context() as patch:
        patch.setenv("HF_MNER_AUG_KEPT_GB", "0")
        expected = bytes_of(ask(engine, originals=starts))
    assert bytes_of(ask(engine, originals=starts)) == expected
    forget()
    assert bytes_of(ask(engine, originals=starts)) == expected
    assert "text_to_image" not in engine._load().__dict__, "the pipeline was opened"


# ---------------------------------------------------------------- AMIA: six mixes, one picture each


@pytest.mark.filterwarnings("ignore:amia. train has 18 text-image pairs")
def test_six_mixes_draw_each_picture_once(drawn, folders, monkeypatch):
    train = load_sample()["train"].select(range(24))
    pictures = sum(image is not None for image in train.cast_column("image", plain())["image"])
    mixes = ["0", "0.25", "0.5", "0.75", "adaptive", "cosine"]

    def made():
        found = []
        for mix in mixes:
            method = AMIA(mix=mix, image_model=str(folders / "sd")).fit(train)
            rows = method.map(train, load_from_cache_file=False).cast_column("image", plain())
            found.append([row["image"] and row["image"]["bytes"] for row in rows])
        return found

    rows = made()
    assert len(drawn) == pictures
    n_drawn = len(drawn)
    assert made() == rows
    assert len(drawn) == n_drawn
    monkeypatch.setenv("HF_MNER_AUG_KEPT_GB", "0")
    assert made() == rows
    assert len(drawn) == 7 * pictures


def plain():
    from datasets import Image as ImageFeature

    return ImageFeature(decode=False)
