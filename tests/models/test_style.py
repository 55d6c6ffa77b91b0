import hashlib
import importlib
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from picture_marks import picture_source
from PIL import Image, ImageDraw
from places import DATA

from hf_mner_aug import AMIA, GMDA, MemoryHard
from hf_mner_aug.draw import draw
from hf_mner_aug.exceptions import MissingExtra, UsageError
from hf_mner_aug.models.image import named_models, open_engine, pinned_engine, style
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.models.image.style import Style, network_of, restyle, to_bytes, working_size
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.schema import Post

REAL = Path(os.environ.get("MNER_LAB", "lab-models")) / "style" / "multistyle26.onnx"


class Session:
    """A network of three styles: red, green or blue alone is kept, and turned round."""

    def __init__(self, inputs=(("image", [1, 3, "h", "w"]), ("weights", [3])), outputs=1):
        self.inputs, self.outputs, self.calls = inputs, outputs, []

    def get_inputs(self):
        return [SimpleNamespace(name=name, shape=shape) for name, shape in self.inputs]

    def get_outputs(self):
        return [SimpleNamespace(name="out")] * self.outputs

    def run(self, names, inputs):
        self.calls.append(inputs["image"].shape)
        assert inputs["image"].dtype == inputs["weights"].dtype == np.float32
        return [(1 - inputs["image"]) * inputs["weights"][:, None, None]]


@pytest.fixture
def session(monkeypatch):
    made = Session()
    monkeypatch.setattr(style, "_load", lambda file, digest: network_of(made, file))
    return made


def colours(width, height, left=(255, 0, 51), right=(0, 102, 255)):
    picture = Image.new("RGB", (width, height), left)
    ImageDraw.Draw(picture).rectangle((width // 2, 0, width, height), fill=right)
    return picture


def draws(n):
    return [draw(0, "test", 1, str(i), 0) for i in range(n)]


def test_a_picture_is_padded_for_the_network_and_cut_again():
    session = Session()
    picture = colours(38, 33)
    made = np.asarray(restyle(network_of(session, "x.onnx"), picture, 2))
    assert session.calls == [(1, 3, 36, 40)]
    assert made.shape == (33, 38, 3)
    assert made[0, 0].tolist() == [0, 0, 204]  # blue alone, 255 - 51
    assert made[32, 37].tolist() == [0, 0, 0]


def test_pixels_are_rounded_and_clipped():
    assert to_bytes(np.array([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 7.0])).tolist() == [0, 0, 0, 1, 255, 255]


@pytest.mark.parametrize(
    ("shape", "size"),
    [((300, 200), (300, 200)), ((2000, 1000), (512, 256)), ((1000, 2000), (256, 512)), ((4000, 10), (512, 32))],
)
def test_a_new_picture_is_no_larger_than_asked(shape, size):
    assert working_size(shape, 512) == size


def test_the_draw_chooses_the_style_and_nothing_else(session):
    engine, picture = Style(file="x.onnx"), colours(64, 40)
    made = engine.generate([""] * 12, draws(12), originals=[picture] * 12)
    seen = [tuple(map(int, np.asarray(one)[0, 0] > 0)) for one in made]
    assert set(seen) <= {(0, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert len(set(seen)) == 3  # red turned round is black here
    alone = engine.generate(["other words"], draws(12)[7:8], originals=[picture])[0]
    assert alone.tobytes() == made[7].tobytes()
    assert [np.asarray(one)[0, 0].tolist() for one in made[:3]] == [
        np.asarray(restyle(network_of(session, ""), picture, d.integer(3)))[0, 0].tolist() for d in draws(3)
    ]


def test_strength_is_the_share_of_the_restyled_picture(session):
    picture = colours(40, 40)
    (whole,) = Style(file="x").generate([""], draws(1), originals=[picture])
    (half,) = Style(file="x", strength=0.5).generate([""], draws(1), originals=[picture])
    expected = (np.asarray(whole, dtype=float) + np.asarray(picture, dtype=float)) / 2
    assert np.abs(np.asarray(half, dtype=float) - expected).max() <= 0.5
    assert Style(file="x").generate([""], draws(1), originals=[picture], sizes=[(20, 10)])[0].size == (20, 10)
    with pytest.raises(UsageError, match="strength must be in"):
        Style(file="x", strength=0.0)


def test_without_an_original_there_is_no_picture(session):
    engine = Style(file="x.onnx")
    assert engine.generate(["words"], draws(1)) == [Refused("no_original", "the post has no picture to restyle")]
    made = engine.generate([""] * 2, draws(2), originals=[None, colours(40, 40)])
    assert made[0].reason == "no_original"
    assert made[1].size == (40, 40)
    assert engine.generate([], []) == []


@pytest.mark.parametrize(
    "session",
    [
        Session(inputs=(("image", [1, 3, "h", "w"]),)),
        Session(inputs=(("image", [1, "h", "w", 3]), ("weights", [26]))),
        Session(inputs=(("image", [1, 3, "h", "w"]), ("weights", ["n"]))),
        Session(inputs=(("image", [1, 3, "h", "w"]), ("content", [1, 3, "h", "w"]))),
        Session(outputs=2),
    ],
)
def test_a_network_for_something_else_is_one_line(session):
    with pytest.raises(UsageError, match=r"style x\.onnx: expected a network of pixels .* found the inputs image"):
        network_of(session, "x.onnx")


def test_a_file_is_pinned_by_its_digest(tmp_path):
    file = tmp_path / "net@2.onnx"
    file.write_bytes(b"net")
    pinned = pinned_engine(f"style:{file}")
    digest = hashlib.sha256(b"net").hexdigest()
    assert pinned == f"style:net_2.onnx@{digest}"
    assert pinned_engine(pinned) == pinned
    opened = open_engine(pinned, posts="", strength=0.8, steps=50, guidance=7.5, nsfw_model=None)
    assert opened == Style(file=str(file), digest=digest, strength=0.8)
    assert open_engine(f"style:{file}", posts="") == Style(file=str(file))
    (model,) = named_models(pinned)
    assert (model.id, model.checked) == (pinned, True)
    with pytest.raises(UsageError, match=r"image_model style:.*none\.onnx: the file cannot be read \(No such file"):
        pinned_engine(f"style:{tmp_path / 'none.onnx'}")


def test_another_file_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "need", lambda name, extra: SimpleNamespace())
    style._load.cache_clear()
    file = tmp_path / "net.onnx"
    file.write_bytes(b"net")
    with pytest.raises(UsageError, match=r"net\.onnx: expected the file with sha256 000000000000…, found"):
        style._load(str(file), "0" * 64)
    with pytest.raises(UsageError, match=r"none\.onnx: the file cannot be read \(No such file"):
        style._load(str(tmp_path / "none.onnx"), "")


def test_without_onnxruntime_the_extra_is_named(monkeypatch):
    real = importlib.import_module

    def absent(name, *rest):
        if name.startswith("onnxruntime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="onnxruntime")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    style._load.cache_clear()
    with pytest.raises(MissingExtra, match=r"onnxruntime is not installed: pip install 'hf-mner-aug\[lab\]'"):
        Style(file="x.onnx").generate([""], draws(1), originals=[colours(40, 40)])


# ---------------------------------------------------------------- methods


def rows(dataset):
    return dataset.cast_column("image", type(dataset.features["image"])(decode=False)).to_list()


def test_gmda_restyles_the_gold_posts_picture(mner, session):
    method = GMDA(text=False, image_model="style:x.onnx", strength=1.0).fit(mner)
    gold = {row["id"]: row for row in rows(mner)}
    made = rows(method.map(mner, batch_size=7))
    assert len(made) == sum(row["image"] is not None for row in gold.values()) > 10
    for row in made:
        source = gold[row["source_id"]]
        before, after = open_rgb(source["image"]), open_rgb(row["image"])
        assert row["tokens"] == source["tokens"]
        assert after.size == working_size(before.size, 512)
        assert picture_source(row["image"]) == "compositeWithTrainedAlgorithmicMedia"
        assert json.loads(row["provenance"])["details"]["synthetic"] is True
    assert rows(method.map(mner, batch_size=1)) == made


def test_a_missing_picture_cannot_be_filled_by_restyling():
    for make in (GMDA, MemoryHard):
        with pytest.raises(UsageError, match="style transfer has no picture to start from"):
            make(image_model="style:x.onnx", fill_missing=True)
    with pytest.raises(UsageError, match="amia makes pictures of the text alone, and style transfer restyles"):
        AMIA(image_model="style:x.onnx")


def test_memory_hard_restyles_the_hard_posts_picture(session, monkeypatch):
    file = io.BytesIO()
    colours(64, 40).save(file, "PNG")
    image, broken = {"bytes": file.getvalue(), "path": "a.png"}, {"bytes": b"no picture", "path": None}
    details = {"made_of": []}
    posts = [
        Post("a", ["x"], (), (broken, image), details=details),
        Post("b", ["x"], (), (broken,), details=details),
        Post("c", ["x"], (), (), details=details),
    ]
    method = MemoryHard(image_model="style:x.onnx")
    monkeypatch.setattr(MemoryHard, "learned", {"pictures": True, "files": {"posts": ""}})
    monkeypatch.setattr(MemoryHard, "_codec", lambda self: SimpleNamespace(image_column="image"))
    first, second, third = method._pictured(list(posts), draws(3))
    assert open_rgb(first.images[0]).size == (64, 40)
    assert picture_source(first.images[0]) == "compositeWithTrainedAlgorithmicMedia"
    assert second.reason == "no_original"
    assert "no_original" in MemoryHard.rejects
    assert third == posts[2]


# ---------------------------------------------------------------- a real network


def edges(picture):
    """The strength of edges of a picture at 64×64."""
    grey = np.asarray(picture.convert("L").resize((64, 64)), dtype=float)
    return np.hypot(*np.gradient(grey)).ravel()


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"no {REAL} (make lab, $MNER_LAB)")
@pytest.mark.skipif(not (DATA / "tweets_with_images").is_dir(), reason=f"no real pictures in {DATA} ($MNER_DATA)")
def test_real_pictures_keep_their_edges_and_change_their_colours(tmp_path):
    pytest.importorskip("onnxruntime", reason="the lab extra is not installed")
    paths = sorted((DATA / "tweets_with_images" / "images").iterdir())
    originals = [open_rgb({"bytes": path.read_bytes(), "path": None}) for path in paths]
    engine = Style(file=str(REAL))
    made = engine.generate([""] * len(paths), draws(len(paths)), originals=originals)
    last = engine.generate([""], draws(len(paths))[-1:], originals=originals[-1:])
    assert last[0].tobytes() == made[-1].tobytes()
    likeness = [np.corrcoef(edges(a), edges(b))[0, 1] for a, b in zip(originals, made, strict=True)]
    strangers = [np.corrcoef(edges(a), edges(b))[0, 1] for a, b in zip(originals, made[1:], strict=False)]
    assert np.median(likeness) > 0.3 > 0.15 > np.median(strangers)
    moved = [
        np.abs(np.asarray(a.resize(b.size), float) - np.asarray(b, float)).mean()
        for a, b in zip(originals, made, strict=True)
    ]
    assert min(moved) > 10

    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"no network")
    with pytest.raises(UsageError, match=r"junk\.onnx: expected an ONNX file \(") as caught:
        Style(file=str(junk)).generate([""], draws(1), originals=originals[:1])
    assert "\n" not in str(caught.value)
