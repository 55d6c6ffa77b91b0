import io
import shutil

import pytest
from PIL import Image
from places import DATA

from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.models.vision.objects import Detector, FixedCrops, Region, cut, fixed_boxes, object_finder, objects_of
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.storage import artifacts

torch = pytest.importorskip("torch", reason="the models extra is not installed")


def encoded(width, height, colour="red", kind="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, kind)
    return {"bytes": file.getvalue(), "path": None}


PICTURES = DATA / "tweets_with_images"
BROKEN = {"bytes": b"no picture", "path": None}


def save_yolos(folder, box, label, margin=4.0):
    """A YOLOS without layers that finds ``box`` (centre, width and height, in parts of the picture) in any picture."""
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=[32, 32],
        patch_size=16,
        num_detection_tokens=len(box),
        id2label={0: "person", 1: "dog", 2: "tie"},
    )
    model = YolosForObjectDetection(config)
    with torch.no_grad():
        last = model.bbox_predictor.layers[-1]
        last.weight.zero_()
        last.bias.copy_(torch.logit(torch.tensor(box[0])))
        classes = model.class_labels_classifier.layers[-1]
        classes.weight.zero_()
        classes.bias.zero_()
        classes.bias[label] = margin
    model.save_pretrained(folder)
    YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def yolos(tmp_path_factory):
    return save_yolos(tmp_path_factory.mktemp("yolos"), [(0.5, 0.5, 0.5, 0.25)], 1)


def test_fixed_crops_are_the_middle_and_the_halves_of_the_longer_side():
    assert fixed_boxes(80, 40) == [(20, 10, 60, 30), (0, 0, 40, 40), (40, 0, 80, 40)]
    assert fixed_boxes(40, 80) == [(10, 20, 30, 60), (0, 0, 40, 40), (0, 40, 40, 80)]
    assert [region.box for region in FixedCrops().find(encoded(80, 40))] == fixed_boxes(80, 40)
    assert {region.label for region in FixedCrops().find(encoded(80, 40))} == {""}
    assert FixedCrops().labels == ()
    with pytest.raises(DataError):
        FixedCrops().find(BROKEN)


def test_a_part_is_cut_out_and_has_at_least_a_pixel():
    picture = Image.new("RGB", (10, 6), "red")
    picture.putpixel((4, 2), (0, 0, 255))
    part = cut(picture, (4.2, 2.9, 7.6, 5.4))
    assert part.size == (4, 3)
    assert part.getpixel((0, 0)) == (0, 0, 255)
    assert cut(picture, (9.9, 5.9, 10, 6)).size == (1, 1)
    assert cut(picture, (10, 6, 10, 6)).size == (1, 1)
    assert cut(picture, (3, 3, 3, 3)).size == (1, 1)


@pytest.mark.skipif(not PICTURES.is_dir(), reason=f"no real pictures in {PICTURES} ($MNER_DATA)")
def test_tweets_pictures_are_cut():
    paths = sorted((PICTURES / "images").iterdir())
    assert len(paths) == 36
    for path in paths:
        image = {"bytes": path.read_bytes(), "path": path.name}
        picture = open_rgb(image)
        parts = [cut(picture, region.box).size for region in FixedCrops().find(image)]
        longer, shorter = max(picture.size), min(picture.size)
        assert all(abs(a - b / 2) <= 1 for a, b in zip(parts[0], picture.size, strict=True))
        for size in parts[1:]:
            assert abs(longer / 2 - size[picture.size.index(longer)]) <= 1
            assert shorter in size


def test_a_detectors_boxes_are_in_pixels_of_the_picture(yolos):
    (region,) = Detector(model=yolos).find(encoded(200, 80))
    assert region.box == pytest.approx((50, 30, 150, 50), abs=1e-3)
    assert region.label == "dog"
    e = torch.tensor([0, 4.0, 0, 0]).softmax(0)[1].item()  # three labels, and nothing
    assert region.score == pytest.approx(e, abs=1e-6)
    assert Detector(model=yolos).labels == ("person", "dog", "tie")
    assert Detector(model=yolos, threshold=0.99).find(encoded(200, 80)) == []


def test_detr_is_a_detector_too(tmp_path):
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
        num_queries=2,
        id2label={0: "person", 1: "dog"},
    )
    model = DetrForObjectDetection(config)
    with torch.no_grad():
        model.bbox_predictor.layers[-1].weight.zero_()
        model.bbox_predictor.layers[-1].bias.copy_(torch.logit(torch.tensor((0.5, 0.25, 0.2, 0.5))))
        model.class_labels_classifier.weight.zero_()
        model.class_labels_classifier.bias.copy_(torch.tensor((5.0, 0.0, 0.0)))
    model.save_pretrained(tmp_path)
    DetrImageProcessor(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(tmp_path)
    (region,) = Detector(model=str(tmp_path), most=1).find(encoded(100, 60))
    assert region.box == pytest.approx((40, 0, 60, 30), abs=1e-3)
    assert region.label == "person"


def test_a_detectors_boxes_end_at_the_edges_and_thin_ones_go(tmp_path):
    wide = save_yolos(tmp_path / "wide", [(0.9, 0.5, 0.5, 0.9)], 0)
    (region,) = Detector(model=wide).find(encoded(100, 100))
    assert region.box == pytest.approx((65, 5, 100, 95), abs=1e-3)
    thin = save_yolos(tmp_path / "thin", [(0.5, 0.5, 0.5, 0.02)], 0)
    assert Detector(model=thin).find(encoded(100, 100)) == []
    assert len(Detector(model=thin).find(encoded(300, 300))) == 1


def test_no_more_objects_than_asked_for(tmp_path):
    many = save_yolos(tmp_path, [(0.5, 0.5, 0.5, 0.25)] * 5, 1)
    assert len(Detector(model=many, most=2).find(encoded(50, 50))) == 2
    assert len(Detector(model=many, most=9).find(encoded(50, 50))) == 5


def test_a_picture_is_looked_at_once(yolos, tmp_path, monkeypatch):
    picture = encoded(60, 60, "green")
    found = Detector(model=yolos).find(picture)
    shutil.copytree(yolos, tmp_path / "copy")
    looked = []
    monkeypatch.setattr(Detector, "_detect", lambda self, picture: looked.append(picture) or [Region((0, 0, 9, 9))])
    assert Detector(model=yolos).find(picture) == found
    assert Detector(model=str(tmp_path / "copy")).find(dict(picture, path="other.png")) == found  # the same bytes
    assert not looked
    assert Detector(model=yolos, threshold=0.5).find(picture) != found  # it is asked otherwise
    assert Detector(model=yolos).find(encoded(60, 60, "blue")) != found
    assert len(looked) == 2


def test_a_damaged_cache_is_said(yolos):
    picture = encoded(61, 61)
    Detector(model=yolos).find(picture)
    path = Detector(model=yolos)._path(picture)
    assert path.is_relative_to(artifacts.cache_folder() / "objects")
    path.write_text("[[")
    with pytest.raises(Corrupt, match=r"expected .*: delete it"):
        Detector(model=yolos).find(picture)


def test_the_surest_objects_of_all_pictures_of_a_post():
    class Finder:
        labels = ("x",)

        def find(self, image):
            if image is BROKEN:
                raise DataError("broken")
            return [Region((0, 0, 5, 5), "x", score) for score in image["scores"]]

    one, two = {"scores": [0.9, 0.3]}, {"scores": [0.8]}
    found = objects_of([one, BROKEN, two], Finder(), 2)
    assert [(image is two, region.score) for image, region in found] == [(False, 0.9), (True, 0.8)]
    assert objects_of([], Finder(), 2) == []


def test_bad_detectors_are_said(tmp_path, yolos):
    with pytest.raises(UsageError, match="no usable folder of an object-detection model"):
        Detector(model=str(tmp_path)).find(encoded(50, 50))
    with pytest.raises(DataError, match="cannot be read"):
        Detector(model=yolos).find({"bytes": None, "path": str(tmp_path / "none.png")})
    with pytest.raises(DataError):
        Detector(model=yolos).find(BROKEN)
    with pytest.raises(UsageError, match="threshold must be in"):
        Detector(model=yolos, threshold=1.0)
    with pytest.raises(UsageError, match="most must be at least 1"):
        Detector(model=yolos, most=0)
    assert object_finder("crops", most=3) == FixedCrops()
    assert object_finder("some/detr", most=2) == Detector(model="some/detr", most=2)
