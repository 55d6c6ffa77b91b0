import io
import json

import pytest
from PIL import Image, ImageDraw

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.vision.objects import Detector

torch = pytest.importorskip("torch", reason="the models extra is not installed")

from safetensors.torch import load_file, save_file  # noqa: E402

from hf_mner_aug.models.vision import centernet  # noqa: E402


def layer(name, op, *inputs, **options):
    return {"name": name, "op": op, "inputs": [*inputs], **options}


# Red and blue are found where they are, and every object is 12 pixels of the input wide and 8 high.
LAYERS = [
    layer("small", "conv", "pixels", stride=2),
    layer("heat", "multiply", "small", number=1 / 255),
    layer("flat", "multiply", "small", number=0.0),
    layer("sides", "conv", "flat"),
]
PICTURE = Image.new("RGB", (64, 32))
ImageDraw.Draw(PICTURE).rectangle((40, 10, 43, 11), fill=(0, 0, 255))
ImageDraw.Draw(PICTURE).point((9, 20), fill=(204, 0, 0))


def encoded(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def save(folder, **changes):
    """A network for pictures of 32 pixels, with cells of two: the labels are the colours red and blue."""
    folder.mkdir(exist_ok=True)
    weights = {
        "small.weight": torch.tensor([[1.0, 0, 0], [0, 0, 1]])[:, :, None, None],
        "sides.weight": torch.zeros(4, 2, 1, 1),
        "sides.bias": torch.tensor([4.0, 2, 8, 6]),
    }
    save_file(weights, folder / "model.safetensors")
    config = {"model_type": "centernet_layers", "labels": ["red", "blue"], "side": 32, "threshold": 0.5}
    config |= {"heat": "heat", "sides": "sides", "layers": LAYERS, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "net")


def test_convolutions_are_padded_as_tensorflow_does():
    ones = {"c.weight": torch.ones(1, 1, 3, 3)}
    strided = layer("c", "conv", "pixels", stride=2)
    found = centernet._OPS["conv"](strided, ones, torch.ones(1, 1, 4, 4))[0, 0]
    assert found.tolist() == [[9, 6], [6, 4]]  # one row, at the end
    found = centernet._OPS["conv"](layer("c", "conv", "pixels"), ones, torch.ones(1, 1, 3, 3))[0, 0]
    assert found.tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    each = {"c.weight": torch.tensor([1.0, 10.0]).view(2, 1, 1, 1), "c.bias": torch.tensor([0.5, 0.25])}
    by_channel = centernet._OPS["conv"](layer("c", "conv", "x", depthwise=True), each, torch.ones(1, 2, 1, 1))
    assert by_channel.flatten().tolist() == [1.5, 10.25]


def test_maps_are_doubled_from_the_top_left():
    maps = torch.tensor([[0.0, 2.0], [4.0, 8.0]])[None, None]
    assert centernet._double(layer("d", "double", "x"), {}, maps)[0, 0].tolist() == [
        [0, 1, 2, 2],
        [2, 3.5, 5, 5],
        [4, 6, 8, 8],
        [4, 6, 8, 8],
    ]


def test_layers_do_what_their_names_say():
    maps, other = torch.tensor([-2.0, 9.0]).view(1, 2, 1, 1), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)

    def done(op, *more, **options):
        return centernet._OPS[op](layer("x", op, "a", **options), {}, maps, *more).flatten().tolist()

    assert done("relu") == [0, 9]
    assert done("relu6") == [0, 6]
    assert done("sigmoid") == pytest.approx([0.1192, 0.9999], abs=1e-4)
    assert done("add", other) == [-1, 11]
    assert done("add", number=3.0) == [1, 12]
    assert done("multiply", other) == [-2, 18]
    assert done("concatenate", other) == [-2, 9, 1, 2]
    assert centernet._OPS["mean"]({}, {}, torch.arange(4.0).view(1, 1, 2, 2)).flatten().tolist() == [1.5]


def test_peaks_exceed_their_neighbours_of_the_same_label():
    heat = torch.zeros(2, 4, 5)
    heat[0, 1, 2], heat[0, 1, 3], heat[1, 1, 3], heat[0, 3, 0] = 0.9, 0.8, 0.7, 0.3
    sides = torch.zeros(4, 4, 5)
    sides[:, 1, 2] = torch.tensor([8.0, 4, 12, 16])
    found = centernet.peaks(heat, sides, (10.0, 100.0), 4.0)
    assert found.labels[:3] == [0, 1, 0]  # not the neighbour, 0.8
    assert found.scores[:4] == pytest.approx([0.9, 0.7, 0.3, 0])
    assert found.boxes[0] == pytest.approx((0, 0, 50, 500))  # (2 - 2, 1 - 1, 2 + 3, 1 + 4) cells
    assert found.boxes[1] == pytest.approx((30, 100, 30, 100))


def test_a_folder_is_a_detector(folder):
    detector = Detector(model=folder, device="cpu")
    assert detector.labels == ("red", "blue")
    blue, *others = detector.find(encoded(PICTURE))
    assert not others  # red is below the folder's threshold
    assert blue.label == "blue"
    x1, y1, x2, y2 = blue.box
    assert (x2 - x1, y2 - y1) == pytest.approx((24, 8))  # the picture is twice as wide as the network's input
    assert x1 + 8 == pytest.approx(40)
    assert y1 + 2 == pytest.approx(10)
    assert [region.label for region in Detector(model=folder, threshold=0.1).find(encoded(PICTURE))][:1] == ["blue"]
    assert {region.label for region in Detector(model=folder, threshold=0.1).find(encoded(PICTURE))} == {"blue", "red"}


def test_the_threshold_is_part_of_what_is_cached(folder, tmp_path):
    picture = encoded(PICTURE)
    assert Detector(model=folder)._path(picture) == Detector(model=folder, threshold=0.5)._path(picture)
    other = save(tmp_path / "other", threshold=0.9)
    assert Detector(model=other)._path(picture) != Detector(model=folder)._path(picture)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"layers": [*LAYERS, layer("late", "relu", "none")]},
            r"layer late: expected inputs from layers above.*'none'",
        ),
        ({"layers": [*LAYERS, layer("late", "relu")]}, "layer late: expected inputs from layers above"),
        ({"layers": [*LAYERS, layer("late", "conv", "heat")]}, r"layer late: model\.safetensors has no weights for it"),
        ({"layers": [*LAYERS, layer("late", "exec", "heat")]}, r"config\.json: layers.*op.*exec.*convert the model"),
        ({"heat": "warmth"}, "heat: no layer is called 'warmth'"),
        ({"side": "wide"}, r"config\.json: side.*convert the model"),
    ],
)
def test_layers_that_do_not_fit_are_one_line(tmp_path, changes, said):
    with pytest.raises(UsageError, match=said) as caught:
        Detector(model=save(tmp_path / "bad", **changes)).find(encoded(PICTURE))
    assert "\n" not in str(caught.value)


def test_weights_that_are_damaged_are_one_line(folder, tmp_path):
    weights = tmp_path / "net" / "model.safetensors"
    assert load_file(weights)
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(UsageError, match=r"model\.safetensors is damaged"):
        Detector(model=folder).find(encoded(PICTURE))
    weights.unlink()
    with pytest.raises(UsageError, match=r"detector .*: no usable folder of a CenterNet \(.*model\.safetensors"):
        Detector(model=folder).find(encoded(PICTURE))
