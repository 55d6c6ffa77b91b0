import json
import logging
import shutil

import pytest
from picture_posts import eight_posts, picture

from hf_mner_aug.backbones.frozen_encoder_crf import FrozenEncoderCRF
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.vision import Vision, load_tower
from hf_mner_aug.models.vision.timm_models import TimmConfig

timm = pytest.importorskip("timm", reason="the models extra is not installed")
torch = pytest.importorskip("torch", reason="the models extra is not installed")

TINY_SWIN = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
COLOURS = {"mean": (0.25, 0.5, 0.75), "std": (0.5, 0.25, 0.125)}


def save(folder, name, **arguments):
    """Save a small model of timm with weights by chance and colours of its own, and return it."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, **arguments).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    about = {"pretrained_cfg": COLOURS}
    timm.models.save_for_hf(model, folder, about, arguments, safe_serialization=True, data_config=COLOURS)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("timm") / "resnet"
    save(path, "test_resnet")
    return path


def edited(folder, path, **changes):
    """Copy a folder with other values in its configuration."""
    shutil.copytree(folder, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **changes}))
    return path


@pytest.mark.parametrize(
    ("name", "arguments", "n_cells", "channels"),
    [
        ("test_resnet", {}, 4, 96),
        ("test_vit", {}, 16, 64),  # of a fixed size: 160 pixels
        ("swin_tiny_patch4_window7_224", TINY_SWIN, 4, 64),  # its channels come last
    ],
)
def test_a_folder_gives_the_maps_of_its_model(tmp_path, caplog, name, arguments, n_cells, channels):
    model = save(tmp_path / "model", name, **arguments)
    with caplog.at_level(logging.WARNING, logger="timm"):
        tower = load_tower(Vision(tower=str(tmp_path / "model"), image_size=64))
    assert not caplog.records
    assert tower(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, n_cells, channels)
    assert tower.mean.flatten().tolist() == [0.25, 0.5, 0.75]
    assert tower.std.flatten().tolist() == [0.5, 0.25, 0.125]

    size = model.pretrained_cfg["input_size"][1] if name != "test_resnet" else 64
    tower = load_tower(Vision(tower=f"timm:{tmp_path / 'model'}", image_size=size))
    pixels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        maps = model.forward_intermediates((pixels / 255 - tower.mean) / tower.std, intermediates_only=True, norm=False)
    torch.testing.assert_close(tower.stages(pixels)[-1], maps[-1])


def test_a_saved_backbone_needs_the_folder_no_longer(folder, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    posts = eight_posts()
    vision = Vision(tower=str(mine), image_size=64)
    fitted = FrozenEncoderCRF(encoder="tiny", layers=1, vision=vision, use_images=True, cache=False).fit(posts)
    fitted.save(tmp_path / "saved")
    shutil.rmtree(mine)
    loaded = FrozenEncoderCRF.load(tmp_path / "saved")
    before, after = fitted.fitted.net.tower, loaded.fitted.net.tower
    assert after.digest == before.digest
    assert loaded.predict(posts) == fitted.predict(posts)
    assert after.config == TimmConfig.read(tmp_path / "saved" / "tower") == before.config
    assert after.config.architecture == "test_resnet"


def test_a_saved_backbone_of_a_name_loads_without_its_folder(tmp_path):
    """As those were saved before towers of timm had one."""
    posts = eight_posts()
    vision = Vision(tower="timm:test_resnet", pretrained=False, freeze_vision=False, image_size=64)
    from hf_mner_aug.backbones.bert_resnet_crf import BertResNetCRF
    from hf_mner_aug.backbones.training import Training

    quick = Training(steps=2, batch_size=8, device="cpu")
    fitted = BertResNetCRF(encoder="tiny", vision=vision, training=quick).fit(posts)
    fitted.save(tmp_path)
    assert TimmConfig.read(tmp_path / "tower").architecture == "test_resnet"
    shutil.rmtree(tmp_path / "tower")
    loaded = BertResNetCRF.load(tmp_path)
    assert loaded.predict(posts) == fitted.predict(posts)
    assert loaded.fitted.net.tower.mean.flatten().tolist() == [0.5, 0.5, 0.5]  # this model's, not ImageNet's


def test_pictures_reach_the_features(folder):
    """The same words beside a red and a blue picture give other regions."""
    tower = load_tower(Vision(tower=str(folder), image_size=64))
    from hf_mner_aug.models.vision import Gallery
    from hf_mner_aug.schema import Post

    gallery = Gallery(tower)
    rows = gallery.read([Post("a", ["x"], (), (picture("red"),)), Post("b", ["x"], (), (picture("blue"),))], "train")
    red, blue = (gallery.stack([row])["pictures"] for row in rows)
    assert not torch.allclose(red, blue, atol=1e-3)


def test_weights_of_another_model_are_refused(folder, tmp_path):
    other = edited(folder, tmp_path / "other", architecture="test_efficientnet")
    with pytest.raises(UsageError, match=r"other': expected .* \(Error.* in loading state_dict") as caught:
        load_tower(Vision(tower=str(other), image_size=64))
    assert "\n" not in str(caught.value)


def test_weights_that_miss_a_layer_are_refused(folder, tmp_path):
    """The feature maps lack the head, and timm then lets anything be missing."""
    from safetensors.torch import load_file, save_file

    partial = edited(folder, tmp_path / "partial")
    weights = load_file(partial / "model.safetensors")
    del weights["layer4.0.conv1.weight"]
    save_file(weights, partial / "model.safetensors")
    with pytest.raises(UsageError, match=r"partial': expected .* in loading state_dict"):
        load_tower(Vision(tower=str(partial), image_size=64))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "resnet99"}, r"Unknown model \(resnet99\)"),
        ({"pretrained_cfg": {}}, "config.json.*mean.*save_for_hf"),
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.5, 0.5, 0.5]}}, "config.json.*mean.*save_for_hf"),
        ({"model_args": {"checkpoint_path": "x.pth"}}, "'checkpoint_path' is not an argument of an architecture"),
        ({"model_args": {"pretrained_cfg": "x"}}, "'pretrained_cfg' is not an argument of an architecture"),
        ({"model_args": {"in_chans": 1}}, "expected a model of 3 colours, found in_chans=1"),
        ({"model_args": {"wings": 2}}, "model_args do not fit test_resnet .*wings"),
        ({"num_classes": "many"}, "config.json.*num_classes"),
    ],
)
def test_a_folder_that_does_not_fit_is_one_line(folder, tmp_path, changes, said):
    with pytest.raises(UsageError, match=said) as caught:
        load_tower(Vision(tower=str(edited(folder, tmp_path / "edited", **changes)), image_size=64))
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(folder, tmp_path):
    """Weights are read from safetensors alone, even where a pickle lies beside them."""
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04\x8c\x05posix\x8c\x06system\x93.")
    (pickled / "model.safetensors").rename(pickled / "model.bin")
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        load_tower(Vision(tower=str(pickled), image_size=64))
    (pickled / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UsageError, match=r"model\.safetensors is damaged"):
        load_tower(Vision(tower=str(pickled), image_size=64))


def test_a_name_without_weights_is_one_line():
    with pytest.raises(UsageError, match=r"tower 'timm:resnet9': expected .*timm:NAME.*Unknown model"):
        load_tower(Vision(tower="timm:resnet9", image_size=64))
