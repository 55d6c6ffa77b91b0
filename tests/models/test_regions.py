import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.vision import Gallery, Vision, load_tower
from hf_mner_aug.models.vision.region_files import LARGEST, RegionFiles
from hf_mner_aug.models.vision.regions import Crops, Featured, Proposed, covering, open_regions, part_boxes
from hf_mner_aug.posts.pictures import write_picture
from hf_mner_aug.schema import Post

torch = pytest.importorskip("torch", reason="the models extra is not installed")

BOXES = np.array([[0, 0, 50, 40], [10, 20, 100, 60]], np.float32)
FEATURES = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "regions"


def encoded(colour="red", size=(100, 60), name="one.jpg"):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": name}


def post(id_="p", **changes):
    return Post(id_, ["a"], images=(encoded(**changes),))


def save(path, boxes=BOXES, features=FEATURES, **others):
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{"num_boxes": len(boxes), "box_features": features, "bounding_boxes": boxes, **others})
    return path.parent


def opened(folder, most=9):
    return open_regions(str(folder), most=most)


# ---------------------------------------------------------------- targets and parts


def test_targets_are_equal_shares_of_the_proposals_that_overlap_by_more_than_half():
    gold = (0.0, 0.0, 10.0, 10.0)
    half, more, whole = (0.0, 0.0, 10.0, 5.0), (0.0, 0.0, 10.0, 6.0), gold
    assert covering([half, more, whole], [gold]) == [0, 0.5, 0.5]  # an IoU of 0.5 is not enough
    other = (50.0, 50.0, 60.0, 60.0)
    assert covering([half, more, other, whole], [gold, other]) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    assert covering([half], [gold]) == [0]
    assert covering([half], []) == [0]
    assert covering([], [gold]) == []


def test_parts_are_the_whole_the_halves_and_windows():
    parts = part_boxes(100, 60, 99)
    assert len(parts) == len(set(parts)) == 14
    assert parts[:5] == ((0, 0, 100, 60), (0, 0, 50, 60), (50, 0, 100, 60), (0, 0, 100, 30), (0, 30, 100, 60))
    assert {parts[5], parts[9], parts[13]} == {(0, 0, 50, 30), (25, 15, 75, 45), (50, 30, 100, 60)}
    assert part_boxes(100, 60, 2) == parts[:2]


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return load_tower(Vision(tower="tiny", freeze_vision=False, image_size=64), view="whole").eval()


def test_crops_are_cut_out_and_read_by_the_tower(tower, monkeypatch):
    picture = Image.new("RGB", (100, 60), "red")
    picture.paste("blue", (50, 0, 100, 60))
    file = io.BytesIO()
    picture.save(file, "PNG")
    crops = Crops(Gallery(tower), 3)
    posts = [Post("a", ["x"], images=({"bytes": file.getvalue(), "path": None},)), Post("b", ["x"])]
    rows = crops.read(posts, "train")
    assert rows[0].boxes == part_boxes(100, 60, 3)
    assert (bool(rows[0]), bool(rows[1]), rows[1].boxes) == (True, False, ())
    batch = crops.stack(rows)
    assert batch["shown"].tolist() == [[True] * 3, [False] * 3]
    red, blue = torch.tensor([255, 0, 0]), torch.tensor([0, 0, 255])
    assert (batch["pictures"][0, 1].permute(1, 2, 0) == red).all()
    assert (batch["pictures"][0, 2].permute(1, 2, 0) == blue).all()
    assert crops.channels == tower(batch["pictures"][0]).shape[2]
    monkeypatch.setattr("hf_mner_aug.models.vision.regions.open_rgb", None)
    assert crops.read(posts, "train") == rows  # it is not decoded twice
    assert crops.stack([Proposed()]) == {}


def test_pictures_that_cannot_be_read_are_counted(tower, tmp_path):
    bad = replace(post("bad"), images=({"bytes": b"no picture", "path": "one.jpg"},))
    for regions in (Crops(Gallery(tower), 3), opened(save(tmp_path / "npz" / "one.jpg.npz"))):
        for _ in range(2):
            with pytest.warns(UserWarning, match=r"train: 1 of 2 pictures cannot be read .*first: post bad"):
                good, unread = regions.read([post("good"), bad], "train")
            assert (bool(good), bool(unread)) == (True, False)


# ---------------------------------------------------------------- files


def test_files_are_found_by_the_name_of_the_picture_or_the_id(tmp_path):
    folder = save(tmp_path / "npz" / "one.jpg.npz")
    save(folder / "12.jpg.npz", BOXES[:1], FEATURES[1:])
    regions = opened(folder)
    posts = [post("p"), post("12", name=None, colour="blue"), post("q", name="some/where/one.jpg", colour="green")]
    first, second, third = regions.read(posts, "train")
    assert first.boxes == third.boxes == ((0, 0, 50, 40), (10, 20, 100, 60))
    assert first.inputs.tolist() == FEATURES.tolist()
    assert (second.boxes, second.inputs.tolist()) == (((0, 0, 50, 40),), [[3, 4, 5]])
    batch = regions.stack([first, second])
    assert batch["shown"].tolist() == [[True, True], [True, False]]
    assert batch["pictures"].tolist() == [FEATURES.tolist(), [[3, 4, 5], [0, 0, 0]]]
    assert len(opened(folder, most=1).read(posts, "train")[0].boxes) == 1


def test_a_file_is_read_once_and_a_damaged_cache_is_said_and_made_again(tmp_path, cache, monkeypatch):
    folder = save(tmp_path / "npz" / "one.jpg.npz")
    rows = opened(folder).read([post()], "train")
    (kept,) = cache.rglob("*.arrow")

    def never(*_):
        raise AssertionError("read again")

    from hf_mner_aug.models.vision import regions as module

    with monkeypatch.context() as patch:
        patch.setattr(RegionFiles, "propose", never)
        module._kept.cache_clear()
        again = opened(folder).read([post()], "train")
    assert again[0].inputs.tolist() == rows[0].inputs.tolist()
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    module._kept.cache_clear()
    with pytest.warns(UserWarning, match=r"\.arrow is damaged: its regions are computed again"):
        found = opened(folder).read([post()], "train")
    assert found[0].inputs.tolist() == FEATURES.tolist()
    assert [path.name for path in cache.rglob("*.arrow")] == [kept.name]  # the same bytes again
    save(folder / "one.jpg.npz", BOXES[:1], FEATURES[:1])
    assert len(opened(folder).read([post()], "train")[0].boxes) == 1, "a changed file is read anew"


def test_pictures_without_a_file_and_made_ones_are_counted(tmp_path):
    regions = opened(save(tmp_path / "npz" / "one.jpg.npz"))
    made = replace(
        post("made"), images=(write_picture(Image.new("RGB", (100, 60)), "compositeCapture", like=encoded()),)
    )
    assert made.images[0]["path"] == "one.png"
    made = replace(made, images=({**made.images[0], "path": "one.jpg"},))
    with pytest.warns(UserWarning, match="pictures have no regions") as warned:
        rows = regions.read([post(), post("lost", name="two.jpg", colour="blue"), made, Post("bare", ["a"])], "train")
    said = sorted(str(warning.message) for warning in warned)
    assert said[0].startswith("train: 1 of 3 pictures have no regions (the first: post lost): the folder")
    assert said[1].startswith("train: 1 of 3 pictures have no regions (the first: post made): a method made them")
    assert [bool(row) for row in rows] == [True, False, False, False]


NAN = np.array([[np.nan, 0, 1], [0, 0, 0]], np.float32)
BAD = {
    "count": ({"num_boxes": 3}, "as many boxes and features as num_boxes, found num_boxes 3, 2 box_features"),
    "outside": (
        {"boxes": BOXES + np.array([[0], [1]]) * [0, 0, 9, 0]},
        "inside a picture of 100×60 pixels, found 10, 20, 109",
    ),
    "turned": ({"boxes": BOXES[:, [2, 3, 0, 1]]}, "inside a picture of 100×60 pixels, found 50, 40, 0, 0"),
    "nan": ({"features": NAN}, "box_features of finite numbers"),
    "huge": ({"features": FEATURES * 1e6}, "box_features of finite numbers"),
    "no box": ({"boxes": np.full((2, 4), np.inf)}, "bounding_boxes of finite numbers"),
    "shape": ({"boxes": BOXES[:, :3]}, r"found \[\], \[2, 3\], \[2, 3\]"),
    "text": ({"features": np.array([["a"], ["b"]])}, "box_features of numbers, found <U1"),
    "pickle": ({"features": np.array([[None], [1]], object)}, "an .npz file of arrays, found Object arrays"),
    "channels": ({"features": FEATURES[:, :2]}, "of 3 channels, as in the first file, found 2"),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_line(tmp_path, changes, said):
    folder = save(tmp_path / "npz" / "a.npz")  # the first
    save(folder / "one.jpg.npz", **changes)
    with pytest.raises(DataError, match=said) as error:
        opened(folder).read([post()], "train")
    assert "one.jpg.npz: expected" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_none_or_lacks_an_array_is_one_line(tmp_path, monkeypatch):
    folder = save(tmp_path / "npz" / "a.npz")
    whole = (folder / "a.npz").read_bytes()
    np.savez(folder / "one.jpg.npz", num_boxes=1)
    faults = {"the arrays num_boxes, box_features, bounding_boxes, found no box_features": None}
    faults |= {"an .npz file of arrays, found": whole[:-40], "an .npz file of arrays": b""}
    for said, data in faults.items():
        if data is not None:
            (folder / "one.jpg.npz").write_bytes(data)
        with pytest.raises(DataError, match=said) as error:
            opened(folder).read([post()], "train")
        assert "\n" not in str(error.value)
    monkeypatch.setattr("hf_mner_aug.models.vision.region_files.LARGEST", 10)
    with pytest.raises(DataError, match="at most 10 bytes of arrays"):
        opened(folder)
    assert LARGEST > 2048 * 100 * 4


def test_a_folder_without_files_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"expected \.npz files, or a detector with its config\.json"):
        opened(tmp_path / "empty")


def test_a_box_may_leave_its_picture_by_a_rounded_pixel(tmp_path):
    folder = save(tmp_path / "npz" / "one.jpg.npz", BOXES + np.array([[-0.5, 0, 0, 0], [0, 0, 0.7, 0.3]]))
    (row,) = opened(folder).read([post()], "train")
    assert row.boxes == ((0, 0, 50, 40), (10, 20, 100, 60))


# ---------------------------------------------------------------- detectors


def save_detr(folder, boxes):
    """A DETR whose queries have the given boxes (centre, width and height, as shares), the second of the best score."""
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig

    torch.manual_seed(0)
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1] * 4, layer_type="basic", out_features=["stage4"]
    )
    config = DetrConfig(
        backbone_config=backbone,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=3,
        id2label={0: "person", 1: "dog"},
    )
    model = DetrForObjectDetection(config)
    with torch.no_grad():
        model.bbox_predictor.layers[-1].weight.zero_()
        model.bbox_predictor.layers[-1].bias.copy_(torch.logit(torch.tensor(boxes)))
    model.save_pretrained(folder)
    DetrImageProcessor(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(folder)
    return str(folder)


def test_the_queries_of_a_detector_are_regions_with_their_states(tmp_path):
    from transformers import AutoImageProcessor, DetrForObjectDetection

    folder = save_detr(tmp_path / "detr", (0.5, 0.25, 0.2, 0.5))
    regions = open_regions(folder, most=2, device="cpu")
    assert isinstance(regions, Featured)
    assert regions.channels == 16
    first, none = regions.read([post(), Post("bare", ["a"])], "train")
    assert first.boxes == (pytest.approx((40, 0, 60, 30), abs=1e-3),) * 2
    assert not none
    model = DetrForObjectDetection.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        found = model(**processor(images=[Image.new("RGB", (100, 60), "red")], return_tensors="pt"))
    best = found.logits[0].softmax(1)[:, :-1].amax(1).argsort(descending=True)[:2]
    assert first.inputs == pytest.approx(found.last_hidden_state[0][best].numpy(), abs=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert regions.read([post("again")], "test")[0].boxes == first.boxes


def test_a_detector_without_features_is_one_line(tmp_path):
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = YolosConfig(**sizes, image_size=[32, 32], patch_size=16, num_detection_tokens=2)
    YolosForObjectDetection(config).save_pretrained(tmp_path)
    YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="its objects have no features: expected a detector of the DETR family"):
        open_regions(str(tmp_path), most=2)
    with pytest.raises(UsageError, match=r"no-such-detector.*no usable folder or model id") as error:
        open_regions("no-such-detector", most=2)
    assert "\n" not in str(error.value)
