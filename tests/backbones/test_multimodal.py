import io
import json
from dataclasses import replace

import pytest
from datasets import Dataset
from picture_posts import eight_posts, picture
from PIL import Image

from hf_mner_aug.backbones import backbone_class
from hf_mner_aug.backbones.bert_resnet_crf import BertResNetCRF
from hf_mner_aug.backbones.encoder import make_tiny
from hf_mner_aug.backbones.maf import MAF
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.backbones.token_classifier import TokenClassifier
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.backbones.umt import UMT
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.vision import Gallery, Vision, _transform, load_tower, middle
from hf_mner_aug.schema import Codec, Post, bio_names, mner_features

torch = pytest.importorskip("torch", reason="the models extra is not installed")

from torch.nn import functional as F  # noqa: E402

from hf_mner_aug.backbones import fusion_nets  # noqa: E402
from hf_mner_aug.models.vision.tower import Tower, pyramid, see  # noqa: E402

NAMES = ("bert_resnet_crf", "umt", "maf")
TINY = Vision(tower="tiny", freeze_vision=False, image_size=64)
QUICK = Training(
    steps=25, batch_size=8, learning_rate=3e-3, head_learning_rate=1e-2, warmup=0.0, checks=5, device="cpu"
)
TAGS = bio_names(["PER", "LOC"])


RED, BLUE, GREEN = picture("red"), picture("blue"), picture("green")
CORRUPT = {"bytes": RED["bytes"][:60], "path": None}


POSTS = eight_posts()
BARE = [replace(post, images=()) for post in POSTS]


def dataset(posts=POSTS, images="one"):
    codec = Codec(mner_features(["PER", "LOC"], images=images))
    rows = [codec.to_row(post) for post in posts]
    return Dataset.from_dict({name: [row[name] for row in rows] for name in codec.columns}, features=codec.features)


def small(name, **changes):
    return backbone_class(name)(**{"encoder": "tiny", "vision": TINY, "dropout": 0.0, "training": QUICK, **changes})


def gold_of(posts):
    return [[(e.start, e.end, e.type) for e in post.entities] for post in posts]


def settle(body):
    """Give the batch norms of a fresh ResNet statistics, as if it had seen pictures."""
    for module in body.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        body.train()(torch.randn(16, 3, 64, 64).cumsum(dim=2) / 8)
    body.eval()


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Folders with the weights of two small ResNets, the second one with fewer channels and colours of its own."""
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetModel

    folders = []
    for i, last in enumerate((64, 24)):
        torch.manual_seed(i)
        config = ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 32, 48, last], depths=[1, 1, 1, 1], layer_type="basic"
        )
        folders.append(tmp_path_factory.mktemp(f"resnet{last}"))
        model = ResNetModel(config)
        settle(model)
        model.save_pretrained(folders[-1])
    ConvNextImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(folders[1])
    return [str(folder) for folder in folders]


@pytest.fixture(scope="module", params=NAMES)
def fitted(request, towers):
    """Each model on a frozen tower, fitted to the eight posts."""
    return small(request.param, vision=Vision(tower=towers[0], image_size=64)).fit(dataset(), dataset())


@pytest.fixture(params=NAMES)
def net(request):
    """Each model's network, fresh, in eval mode, on a tower that learns; with what makes batches for it."""
    return fresh(request.param)


def fresh(name, **changes):
    from hf_mner_aug.backbones import tagging

    torch.manual_seed(0)
    tagger = small(name, **changes)
    build, pieces = tagger.assemble("tiny", ("PER", "LOC"), POSTS)
    made = build().eval()
    if made.tower is not None:
        settle(made.tower.body)
    gallery = Gallery(made.tower) if made.tower is not None else None
    collate = tagging.collator(pieces, gallery)

    def batch(posts, *, labels=False):
        return collate(tagging.encode(tagger, posts, pieces, gallery, "posts", TAGS if labels else ()))

    return made, batch


def emissions(made, inputs):
    with torch.no_grad():
        return made(**inputs)["emissions"]


# ---------------------------------------------------------------- each model


def test_a_frozen_tower_does_too_and_survives_saving(fitted, towers, tmp_path):
    predictions = fitted.predict(dataset())
    assert [p.plain_spans() for p in predictions] == gold_of(POSTS)
    before, after = load_tower(fitted.vision).state_dict(), fitted.fitted.net.tower.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    fitted.save(tmp_path / "saved")
    loaded = type(fitted).load(tmp_path / "saved")
    assert loaded.predict(POSTS) == predictions  # posts and datasets are one
    assert [p.plain_spans() for p in loaded.predict(dataset(POSTS[:1]))] == gold_of(POSTS[:1])


def test_batches_of_one_post(fitted):
    one = replace(QUICK, steps=2, batch_size=1)
    again = replace(fitted, vision=TINY, encoder="tiny", training=one, fitted=None).fit(dataset(POSTS[:3]), POSTS[:1])
    assert len(again.predict(POSTS[:1])) == 1


# ---------------------------------------------------------------- where there is no picture


@pytest.mark.filterwarnings("ignore:posts. none of")
def test_a_post_without_picture_is_alone_with_its_text(net):
    made, batch = net
    alone = emissions(made, batch([BARE[6]]))
    mixed = emissions(made, batch([POSTS[0], BARE[6], replace(POSTS[2], images=(RED, BLUE, GREEN))]))
    torch.testing.assert_close(mixed[1, :5], alone[0, :5])
    assert torch.isfinite(mixed).all()
    seen = emissions(made, batch([POSTS[6]]))
    assert (seen - alone).abs().max() > 1e-3


def test_padding_of_pictures_changes_nothing(net):
    made, batch = net
    alone = emissions(made, batch([POSTS[0]]))
    beside = emissions(made, batch([POSTS[0], replace(POSTS[1], images=(RED, BLUE, GREEN))]))
    torch.testing.assert_close(beside[:1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:posts. none of")
@pytest.mark.parametrize("name", ["bert_resnet_crf", "maf"])
def test_a_closed_gate_leaves_the_text_path_untouched(name):
    made, batch = fresh(name)
    text = emissions(made, batch([BARE[0]]))
    for gate in [made.gate] if name == "bert_resnet_crf" else [made.gate_text, made.gate_image]:
        torch.nn.init.zeros_(gate.weight)
        torch.nn.init.constant_(gate.bias, -1e4)
    assert torch.equal(emissions(made, batch([POSTS[0]])), text)
    for gate in [made.gate] if name == "bert_resnet_crf" else [made.gate_text, made.gate_image]:
        torch.nn.init.constant_(gate.bias, 0.0)
    assert not torch.equal(emissions(made, batch([POSTS[0]])), text)


# ---------------------------------------------------------------- BERT-ResNet-CRF


def test_gated_emissions_by_hand():
    made, batch = fresh("bert_resnet_crf")
    inputs = batch(POSTS[:1])
    with torch.no_grad():
        states = made.encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        words = states[0, inputs["first"][0]]
        regions = made.project(made.tower(inputs["pictures"][0]))[0]
        read = made.reading.attention(words[None], regions[None], regions[None])[0][0]
        gate = torch.sigmoid(torch.cat((words, read), dim=1) @ made.gate.weight.T + made.gate.bias)
        expected = made.linear(words + gate * read)
    torch.testing.assert_close(emissions(made, inputs)[0], expected)
    assert regions.shape == (2 * 2, 64)
    inputs = batch(POSTS, labels=True)
    likelihood = made.chain.log_likelihood(emissions(made, batch(POSTS)), inputs["labels"], inputs["mask"])
    torch.testing.assert_close(made(**inputs)["loss"], -likelihood.mean())


# ---------------------------------------------------------------- UMT


def test_transfer_matrix_spreads_spans_over_types():
    expected = [[1.0, 0, 0, 0, 0], [0, 0.5, 0, 0.5, 0], [0, 0, 0.5, 0, 0.5]]
    assert fusion_nets.transfer_matrix(TAGS).tolist() == expected
    assert fusion_nets.span_tags(TAGS).tolist() == [0, 1, 2, 1, 2]
    four = fusion_nets.transfer_matrix(bio_names(["PER", "LOC", "ORG", "MISC"]))
    assert four[1].tolist() == [0, 0.25, 0, 0.25, 0, 0.25, 0, 0.25, 0]  # as in the authors' code


@pytest.mark.filterwarnings("ignore:posts. none of")
def test_umt_mixes_in_what_the_text_says_of_spans():
    made, batch = fresh("umt")
    inputs = batch(POSTS[:1])
    mixed = emissions(made, inputs)
    made.alpha = 1.0
    fused = emissions(made, inputs)
    made.alpha = 0.0
    spans = emissions(made, inputs)
    torch.testing.assert_close(mixed, 0.5 * fused + 0.5 * spans)
    torch.testing.assert_close(spans[..., 1], spans[..., 3])  # B-PER and B-LOC: the text says of no type
    torch.testing.assert_close(spans[..., 2], spans[..., 4])
    assert torch.equal(spans, emissions(made, batch(BARE[:1])))
    with torch.no_grad():
        states = made.encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        by_hand = made.span_linear(made.span_layer(states, states, inputs["attention_mask"].bool()))
    torch.testing.assert_close(spans[0, :, 0], by_hand[0, inputs["first"][0], 0])
    torch.testing.assert_close(spans[0, :, 1], by_hand[0, inputs["first"][0], 1] / 2)


def test_umt_loss_is_main_and_half_of_the_spans():
    made, batch = fresh("umt")
    inputs = batch(POSTS, labels=True)
    labels, mask = inputs["labels"], inputs["mask"]
    main = -made.chain.log_likelihood(emissions(made, batch(POSTS)), labels, mask).mean()
    made.alpha = 0.0
    spans = emissions(made, batch(POSTS))[..., [0, 1, 2]] * torch.tensor([1.0, 2.0, 2.0])
    made.alpha = 0.5
    bounds = torch.tensor([0, 1, 2, 1, 2])[labels]
    auxiliary = -made.span_chain.log_likelihood(spans, bounds, mask).mean()
    torch.testing.assert_close(made(**inputs)["loss"], main + 0.5 * auxiliary)
    assert auxiliary > 0.1


@pytest.mark.filterwarnings("ignore:posts. none of")
def test_umt_with_its_image_path_cut_does_not_see():
    made, batch = fresh("umt")
    text = emissions(made, batch(BARE[:1]))
    torch.nn.init.zeros_(made.gate.weight)
    torch.nn.init.constant_(made.gate.bias, -1e4)  # words that read regions
    assert torch.equal(emissions(made, batch(BARE[:1])), text)  # without a picture there is nothing to gate
    assert not torch.allclose(emissions(made, batch(POSTS[:1])), emissions(made, batch(POSTS[1:2])), atol=1e-5)
    attention = made.text_to_text.reading.attention.out_proj  # words that read what regions read
    torch.nn.init.zeros_(attention.weight)
    red, blue, none = (emissions(made, batch([post])) for post in (POSTS[0], POSTS[1], BARE[0]))
    assert torch.equal(red, blue)
    torch.testing.assert_close(red, none)


# ---------------------------------------------------------------- MAF


@pytest.mark.filterwarnings("ignore:posts. none of")
def test_maf_scales_what_words_read_by_the_match():
    made, batch = fresh("maf")
    for part in (made.gate_text, made.gate_image, made.match):
        torch.nn.init.zeros_(part.weight)
    torch.nn.init.zeros_(made.gate_text.bias)

    def at(probability):
        made.match.bias.data = torch.tensor([1 - probability, probability]).log().clamp(min=-1e4)
        with torch.no_grad():
            found = made(**batch(POSTS[:1]))
        assert found["match"].item() == pytest.approx(probability)
        return found["emissions"]

    none, quarter, whole = at(0.0), at(0.25), at(1.0)
    assert torch.equal(none, emissions(made, batch(BARE[:1])))
    assert (whole - none).abs().max() > 1e-3
    torch.testing.assert_close(quarter - none, 0.25 * (whole - none), atol=1e-6, rtol=1e-4)


def test_contrast_by_hand():
    text = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    image = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    # cosines: [[1, 0.6], [0, 0.8]]
    e = torch.exp(torch.tensor([[1.0, 0.6], [0.0, 0.8]]) / 0.5)
    to_image = -(torch.log(e[0, 0] / e[0].sum()) + torch.log(e[1, 1] / e[1].sum())) / 2
    to_text = -(torch.log(e[0, 0] / e[:, 0].sum()) + torch.log(e[1, 1] / e[:, 1].sum())) / 2
    found = fusion_nets.contrast(text, image, temperature=0.5, to_image=0.7)
    torch.testing.assert_close(found, 0.7 * to_image + 0.3 * to_text)


def test_maf_loss_weighs_tags_matching_and_alignment():
    made, batch = fresh("maf")
    inputs = batch(POSTS, labels=True)
    exchanged = [*POSTS[:6], replace(POSTS[6], images=POSTS[7].images), replace(POSTS[7], images=POSTS[6].images)]
    main = -made.chain.log_likelihood(emissions(made, batch(exchanged)), inputs["labels"], inputs["mask"]).mean()
    with torch.no_grad():
        chance = made(**batch(exchanged))["match"]
        matching = -torch.cat((chance[:6], 1 - chance[6:])).log().mean()
        states = made.encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        text = F.normalize(made.align_text(states[:, 0]))
        image = F.normalize(made.align_image(made.tower(inputs["pictures"][:, 0]).mean(dim=1)))
        scores = text @ image.T / 0.179
        to_image, to_text = (-s.log_softmax(dim=1).diagonal().mean() for s in (scores, scores.T))
        expected = 0.62 * main + 0.38 * (matching + 0.7 * to_image + 0.3 * to_text)
        torch.testing.assert_close(made(**inputs)["loss"], expected)


def test_maf_exchanges_pictures_of_posts_that_have_some():
    made, batch = fresh("maf", swapped=0.5)
    assert made.swap(torch.tensor([True, False, True, True, True])).tolist() == [0, 1, 2, 4, 3]
    assert made.swap(torch.tensor([True, False])).tolist() == [0, 1]
    assert made.swap(torch.zeros(3, dtype=torch.bool)).tolist() == [0, 1, 2]
    seen = []
    made.match.register_forward_hook(lambda module, arguments, logits: seen.append(logits))
    # An equal picture of another post does match: all pairs are positive here.
    equal = [replace(post, images=(RED,)) for post in POSTS]
    made.alpha = 0.0
    made.align_text[2].weight.data.zero_()
    made.align_text[2].bias.data.fill_(1.0)
    inputs = batch(equal, labels=True)
    loss = made(**inputs)["loss"]
    torch.testing.assert_close(loss, -seen[0].log_softmax(dim=1)[:, 1].mean() + torch.tensor(8.0).log())


@pytest.mark.filterwarnings("ignore:posts. none of")
def test_maf_learns_from_posts_without_pictures():
    made, batch = fresh("maf")
    inputs = batch(BARE, labels=True)
    main = -made.chain.log_likelihood(emissions(made, batch(BARE)), inputs["labels"], inputs["mask"]).mean()
    torch.testing.assert_close(made(**inputs)["loss"], 0.62 * main)


# ---------------------------------------------------------------- towers


def test_a_folder_of_transformers_gives_its_maps(towers):
    from transformers import ResNetModel

    tower = load_tower(Vision(tower=towers[0], image_size=96))
    pixels = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        reference = ResNetModel.from_pretrained(towers[0]).eval()(
            (pixels / 255 - mean) / std, output_hidden_states=True
        )
    regions = tower(pixels)
    assert regions.shape == (2, 3 * 3, tower.channels)
    torch.testing.assert_close(regions[1, 5], reference.last_hidden_state[1, :, 1, 2])  # row by row
    stages = tower.stages(pixels)
    assert [stage.shape[1:] for stage in stages] == [(16, 24, 24), (32, 12, 12), (48, 6, 6), (64, 3, 3)]
    assert all(torch.allclose(a, b) for a, b in zip(stages, reference.hidden_states[1:], strict=True))
    cells = load_tower(Vision(tower=towers[0], image_size=96), view="pyramid")(pixels)
    assert cells.shape == (2, 4, 16 + 32 + 48 + 64)
    torch.testing.assert_close(cells[0, 1, :16], stages[0][0, :, :12, 12:].mean(dim=(1, 2)))  # the cell above right
    torch.testing.assert_close(pyramid(stages, side=1)[:, 0, -64:], stages[3].mean(dim=(2, 3)))


def test_a_folder_that_says_its_colours(towers):
    tower = load_tower(Vision(tower=towers[1], image_size=64))
    assert tower.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert tower.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert tower.channels == 24


@pytest.mark.parametrize(("name", "channels"), [("torchvision:resnet18", 512), ("timm:resnet18", 512), ("tiny", 64)])
def test_towers_by_name(name, channels):
    tower = load_tower(Vision(tower=name, pretrained=False, freeze_vision=False, image_size=64))
    regions = tower(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert regions.shape == (1, 4, channels)
    assert regions.requires_grad


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:resnet99", "Unknown model resnet99"),
        ("torchvision:vgg11", "vgg11 is not a ResNet"),
        ("timm:resnet99", "Unknown model"),
        ("/no/such/folder", "/no/such/folder"),
    ],
)
def test_a_tower_that_is_not_there_is_said(name, said):
    with pytest.raises(UsageError, match=f"tower '{name}': expected torchvision:NAME, .*{said}"):
        load_tower(Vision(tower=name, pretrained=False, freeze_vision=False, image_size=64))


def test_a_model_that_is_no_backbone_is_said(tmp_path):
    from transformers import ViTConfig

    ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16).save_pretrained(
        tmp_path
    )
    with pytest.raises(UsageError, match=r"expected .* transformers backbone such as microsoft/resnet-50"):
        load_tower(Vision(tower=str(tmp_path), pretrained=False, freeze_vision=False))


def test_pixels_are_those_of_the_imagenet_evaluation():
    from torchvision.transforms._presets import ImageClassification

    image = Image.effect_noise((300, 200), 90).convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")
    tower = load_tower(replace(TINY, image_size=224))
    gallery = Gallery(tower)
    (keys,) = gallery.read([Post("x", ["a"], images=({"bytes": file.getvalue(), "path": None},))], "posts")
    pixels = gallery.known[keys[0]]
    assert pixels.dtype == torch.uint8
    reference = ImageClassification(crop_size=224, resize_size=256)(image)
    torch.testing.assert_close((pixels / 255 - tower.mean) / tower.std, reference)


@pytest.mark.parametrize("size", [(4, 201), (301, 3), (40, 161)])
def test_a_thin_picture_is_cut_before_it_is_made_larger(size):
    from torchvision.transforms import functional

    image = Image.effect_noise(size, 90).convert("RGB")
    whole = functional.pil_to_tensor(functional.center_crop(functional.resize(image, 73), 64)).int()
    seen = _transform(64)(image).int()
    assert (whole - seen).abs().float().mean() < 1.0  # the centre moves by a fraction of a pixel at most
    assert (whole - seen.flip(1, 2)).abs().float().mean() > 20.0


def test_what_is_resized_stays_small():
    assert middle(Image.new("RGB", (1, 65_000))).size == (1, 4)
    assert middle(Image.new("RGB", (20_003, 4))).size == (17, 4)
    normal = Image.new("RGB", (400, 100))
    assert middle(normal) is normal
    assert _transform(224)(Image.new("RGB", (65_000, 2), "red")).float().mean(dim=(1, 2)).tolist() == [255, 0, 0]


def test_what_learns_and_what_keeps_its_statistics(towers):
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)

    def after_a_step(**settings):
        tower = load_tower(Vision(image_size=64, **settings)).train()
        before = {name: value.clone() for name, value in tower.state_dict().items()}
        parameters = [p for p in tower.parameters() if p.requires_grad]
        if parameters:
            tower(pixels).square().sum().backward()
            torch.optim.SGD(parameters, lr=0.1).step()
        else:
            tower(pixels)
        changed = {
            name.rsplit(".", 1)[-1] for name, value in tower.state_dict().items() if not value.equal(before[name])
        }
        return tower.body.training, changed

    assert after_a_step(tower=towers[0]) == (False, set())
    training, changed = after_a_step(tower=towers[0], freeze_vision=False)
    assert training
    assert changed == {"weight", "bias"}
    _, changed = after_a_step(tower="tiny", freeze_vision=False)
    assert changed == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def test_a_tower_learns_at_its_own_rate(towers):
    def rates(**chosen):
        vision = Vision(**{"tower": towers[0], "freeze_vision": False, "image_size": 64, **chosen})
        net = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 2)})
        net.tower, net.slow = load_tower(vision), ("encoder",)
        groups = Training(learning_rate=1e-3, head_learning_rate=1e-2)._groups(net)
        rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
        return {name.split(".")[0]: rate_of[id(parameter)] for name, parameter in net.named_parameters()}

    assert rates() == {"encoder": 1e-3, "head": 1e-2, "tower": 1e-3}
    assert rates(vision_learning_rate=1e-5) == {"encoder": 1e-3, "head": 1e-2, "tower": 1e-5}
    assert rates(tower="tiny") == {"encoder": 1e-3, "head": 1e-2, "tower": 1e-2}  # new, as the head is
    assert rates(tower="tiny", vision_learning_rate=1e-5) == {"encoder": 1e-3, "head": 1e-2, "tower": 1e-5}
    with pytest.raises(UsageError, match="vision_learning_rate is for a trained tower"):
        Vision(tower=towers[0], vision_learning_rate=1e-5)
    with pytest.raises(UsageError, match="vision_learning_rate must be in"):
        Vision(tower=towers[0], freeze_vision=False, vision_learning_rate=2.0)


def test_the_rate_of_a_tower_is_saved_and_loaded(tmp_path):
    vision = replace(TINY, vision_learning_rate=1e-5)
    fitted = small("bert_resnet_crf", vision=vision, training=replace(QUICK, steps=1)).fit(POSTS)
    fitted.save(tmp_path)
    loaded = BertResNetCRF.load(tmp_path)
    assert loaded.vision == vision
    assert loaded.fitted.net.tower.learning_rate == 1e-5
    slow = {id(parameter) for parameter in loaded.fitted.net.tower.parameters()}
    rates = {g["lr"] for g in QUICK._groups(loaded.fitted.net) if slow & {id(parameter) for parameter in g["params"]}}
    assert rates == {1e-5}


def test_pictures_vary_while_a_tower_learns(towers):
    file = io.BytesIO()
    Image.effect_noise((90, 64), 90).convert("RGB").save(file, "PNG")
    pixels = gallery_pixels(load_tower(TINY), {"bytes": file.getvalue(), "path": None})
    tower = load_tower(Vision(tower=towers[0], freeze_vision=False, image_size=64))
    assert torch.equal(tower(pixels), tower(pixels))
    tower.train()
    assert not torch.equal(tower(pixels), tower(pixels))
    frozen = load_tower(Vision(tower=towers[0], image_size=64)).train()
    assert torch.equal(frozen(pixels), tower.eval()(pixels))


def test_a_trained_tower_has_learnt():
    fitted = small("bert_resnet_crf", training=replace(QUICK, steps=2)).fit(dataset())
    tower = fitted.fitted.net.tower
    assert not tower.training
    assert any(int(v) == 2 for n, v in tower.state_dict().items() if n.endswith("num_batches_tracked"))


def test_each_picture_goes_through_a_frozen_tower_once(towers, monkeypatch):
    through = []
    forward = Tower.forward

    def counting(self, pixels):
        through.append(len(pixels))
        return forward(self, pixels)

    # A size of its own, so that no other test has shown it these pictures.
    backbone = small("bert_resnet_crf", vision=Vision(tower=towers[0], image_size=80), training=replace(QUICK, steps=2))
    build, _ = backbone.assemble("tiny", ("PER", "LOC"), POSTS)
    build()  # a tower is tried on a picture of its own when it is made
    monkeypatch.setattr(Tower, "forward", counting)
    tower = load_tower(backbone.vision)
    through.clear()
    gallery = Gallery(tower)
    gallery.read([*POSTS, replace(POSTS[0], images=(RED, GREEN, RED))], "posts")
    assert sum(through) == 3  # red, blue, green
    through.clear()
    made = [replace(backbone, seed=seed).fit(dataset(), dataset()) for seed in (0, 1)]
    for fitted in made:
        fitted.predict(dataset())
    assert set(through) <= {1}  # making a tower
    assert len(through) < 10
    key = gallery.read(POSTS[:1], "posts")[0][0]
    torch.testing.assert_close(gallery.known[key].float(), tower(gallery_pixels(tower, RED))[0], atol=2e-3, rtol=2e-3)


def gallery_pixels(tower, image):
    from hf_mner_aug.posts.pictures import open_rgb

    return _transform(tower.size)(open_rgb(image))[None]


# ---------------------------------------------------------------- pictures of posts


def test_several_pictures_stand_side_by_side_at_most_four():
    made, batch = fresh("bert_resnet_crf")
    many = replace(POSTS[0], images=(RED, BLUE, GREEN, RED, picture("black")))
    inputs = batch([many, POSTS[1], BARE[0]])
    assert inputs["shown"].tolist() == [[True] * 4, [True, False, False, False], [False] * 4]
    assert torch.equal(inputs["pictures"][0, 0], inputs["pictures"][0, 3])
    with torch.no_grad():
        regions, key_mask = see(made.tower, inputs["pictures"], inputs["shown"], like=torch.zeros(3, 1, 1))
        alone = made.tower(inputs["pictures"][0, 1:2])
    assert regions.shape == (3, 4 * 4, 64)
    assert key_mask.sum(dim=1).tolist() == [16, 4, 0]
    torch.testing.assert_close(regions[0, 4:8], alone[0], atol=1e-4, rtol=1e-4)  # the second picture's
    assert not regions[1, 4:].any()


def test_a_broken_picture_counts_as_none(fitted):
    posts = [replace(POSTS[0], images=(CORRUPT,)), replace(POSTS[1], images=(CORRUPT, BLUE)), *POSTS[2:]]
    said = r"dataset: 2 of 9 pictures cannot be read and are ignored \(the first: post 0-red\)"
    with pytest.warns(UserWarning, match=said):
        found = fitted.predict(posts)
    assert found[1:] == fitted.predict(POSTS)[1:]
    assert found[0] == fitted.predict([BARE[0], *POSTS[1:]])[0]


def test_learns_from_text_where_there_are_no_pictures():
    bare = dataset(BARE[::2])
    with pytest.warns(UserWarning, match="train: none of its 4 posts"):
        fitted = small("umt").fit(bare)
    with pytest.warns(UserWarning, match="dataset: none of its 4 posts"):
        assert [p.plain_spans() for p in fitted.predict(bare)] == gold_of(BARE[::2])


def test_a_long_post_is_cut(fitted):
    long = replace(POSTS[0], tokens=["Jordan"] * 200)
    with pytest.warns(UserWarning, match="dataset: 1 of 1 posts are longer than 128 subwords"):
        (prediction,) = fitted.predict([long])
    assert len(prediction.word_confidences) == 200
    assert prediction.word_confidences[-1] == 0.0


# ---------------------------------------------------------------- going on, settings


def test_training_goes_on_with_the_tower_that_was_frozen(fitted, towers, tmp_path):
    fitted.save(tmp_path)
    record = json.loads((tmp_path / "backbone.json").read_text())
    assert record["settings"]["vision"]["tower"] == towers[0]
    step = Training(steps=1, batch_size=8, learning_rate=1e-9, head_learning_rate=1e-9, device="cpu")
    again = replace(fitted, encoder=str(tmp_path), training=step, fitted=None)
    thawed = replace(again, vision=replace(again.vision, freeze_vision=False))
    assert [p.plain_spans() for p in thawed.fit(dataset(), dataset()).predict(dataset())] == gold_of(POSTS)


def test_settings_by_name_keep_the_papers():
    made = parse_backbone("umt:encoder=tiny,tower=tiny,freeze_vision=false,steps=3", ["image_size=64"])
    assert made == UMT(encoder="tiny", vision=TINY, training=replace(UMT().training, steps=3))
    assert (made.training.batch_size, made.training.learning_rate, made.training.head_learning_rate) == (32, 5e-5, 5e-5)
    assert MAF().training.batch_size == 64
    assert not parse_backbone("maf:use_images=false").reads_images


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vision(tower="tiny"), "the tower tiny starts without weights: pass freeze_vision=False"),
        (lambda: Vision(pretrained=False), "torchvision:resnet152 starts without weights"),
        (lambda: Vision(image_size=32), "image_size must be at least 64, found 32"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_the_tiny_encoder_knows_frequent_words_and_spells_others():
    tokenizer, config = make_tiny([Post(i, ["Go", "go", "#goal", "é!"]) for i in "ac"] + [Post("b", ["#", "Gö"])])
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*"!#aglo", *"éö"]
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == [
        *marks,
        *letters,
        *("##" + c for c in letters),
        "go",
    ]
    assert config.vocab_size == len(tokenizer) == 22
    assert tokenizer.tokenize("Go goal x") == ["go", "go", "##a", "##l", "[UNK]"]


def test_the_tiny_encoder_serves_other_backbones():
    fitted = TokenClassifier(encoder="tiny", training=QUICK, dropout=0.0).fit(BARE[::2], BARE[::2])
    assert [p.plain_spans() for p in fitted.predict(BARE[::2])] == gold_of(BARE[::2])
