import pytest
from picture_posts import eight_posts

from hf_mner_aug.backbones import splits
from hf_mner_aug.backbones.mkgformer import MKGformer
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.vision import STATES, Vision, load_tower

torch = pytest.importorskip("torch", reason="the models extra is not installed")

from hf_mner_aug.backbones.fusion_nets import Batch  # noqa: E402
from hf_mner_aug.backbones.mkgformer_net import correlation_aware, fused_net, prefix_guided  # noqa: E402
from hf_mner_aug.models.vision.clip_layers import n_last  # noqa: E402

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TINY = Vision(tower="tiny", freeze_vision=False, image_size=64)
QUICK = Training(
    steps=30, batch_size=8, learning_rate=3e-3, head_learning_rate=2e-2, warmup=0.0, checks=3, device="cpu"
)
POSTS = eight_posts()


def small(**changes):
    return MKGformer(**{"encoder": "tiny", "vision": TINY, "dropout": 0.0, "training": QUICK, **changes})


def bert(kind="bert", attention="sdpa"):
    import transformers

    config_class, model_class = {
        "bert": (transformers.BertConfig, transformers.BertModel),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        "electra": (transformers.ElectraConfig, transformers.ElectraModel),
    }[kind]
    torch.manual_seed(0)
    config = config_class(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=66,
        initializer_range=0.2,
        pad_token_id=1,
    )
    config._attn_implementation = attention
    return model_class(config).eval()


def clip(folder, *, hidden=64, layers=7):
    """Save a CLIP of random weights, as the Hub has OpenAI's: with a text model and its processor."""
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "intermediate_size": 96, "num_attention_heads": 4}
    vision = transformers.CLIPVisionConfig(image_size=64, patch_size=16, num_hidden_layers=layers, **sizes)
    text = transformers.CLIPTextConfig(num_hidden_layers=1, vocab_size=20, **sizes)
    net = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    for parameter in net.parameters():  # so that a picture shows in the states
        parameter.data += 0.1 * torch.randn_like(parameter)
    net.save_pretrained(folder)
    return folder


def batch():
    torch.manual_seed(1)
    ids = torch.randint(5, 50, (3, 7))
    attention = torch.ones(3, 7, dtype=torch.long)
    attention[1, 5:] = 0
    ids[1, 5:] = 1
    return ids, attention


# ---------------------------------------------------------------- the fusion


def test_a_word_reads_the_states_that_are_like_what_it_attended_to():
    context = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    states = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    found = correlation_aware(context, states, torch.tensor([[True, True, False]]))
    e, e2 = torch.tensor(1.0).exp(), torch.tensor(2.0).exp()
    expected = torch.stack(
        [torch.stack([e, torch.tensor(1.0)]) / (e + 1), torch.stack([torch.tensor(1.0), e2]) / (e2 + 1)]
    )
    torch.testing.assert_close(found[0], expected)


def test_a_layer_of_clip_without_words_is_clips_own_and_attends_to_words_where_there_are_some():
    tower = load_tower(TINY, view=STATES)
    (layer,) = tower.body.last_layers().eval()
    torch.manual_seed(2)
    states, prefix = torch.randn(2, 5, 64), (torch.randn(2, 3, 64), torch.randn(2, 3, 64))
    shown = torch.ones(2, 5).bool()
    own = layer(states, attention_mask=None)
    own = own if isinstance(own, torch.Tensor) else own[0]
    without = prefix_guided(layer, states, shown, prefix, torch.zeros(2, 3).bool())
    torch.testing.assert_close(without, own, rtol=1e-4, atol=1e-5)
    words = torch.tensor([[1, 1, 0], [0, 0, 0]]).bool()
    seen = prefix_guided(layer, states, shown, prefix, words)
    assert (seen[0] - own[0]).abs().max() > 1e-3
    torch.testing.assert_close(seen[1], own[1], rtol=1e-4, atol=1e-5)
    attention, normed = layer.self_attn, layer.layer_norm1(states)[0]
    keys = torch.cat([prefix[0][0, :2], attention.k_proj(normed)])
    values = torch.cat([prefix[1][0, :2], attention.v_proj(normed)])
    heads = []
    for head in range(4):
        part = slice(16 * head, 16 * head + 16)
        scores = attention.q_proj(normed)[:, part] @ keys[:, part].T / 4
        heads.append(scores.softmax(1) @ values[:, part])
    attended = states[0] + attention.out_proj(torch.cat(heads, dim=1))
    torch.testing.assert_close(seen[0], attended + layer.mlp(layer.layer_norm2(attended)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_without_a_picture_the_text_is_read_as_by_the_encoder_alone(kind, attention):
    encoder, tower = bert(kind, attention), load_tower(TINY, view=STATES)
    net = fused_net(encoder, tower, TAGS, relations=False, dropout=0.0).eval()
    ids, mask = batch()
    pictures, shown = torch.randn(3, 17, 64), torch.tensor([[1] * 17, [0] * 17, [0] * 17]).bool()
    with torch.no_grad():
        plain = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        found = net.fusion(encoder, pictures, ids, mask, shown)
    torch.testing.assert_close(found[1:][mask[1:].bool()], plain[1:][mask[1:].bool()], rtol=1e-4, atol=1e-5)
    assert (found[0] - plain[0]).abs().max() > 0.01


def test_what_a_post_is_tagged_as_does_not_hang_on_its_batch():
    net = fused_net(bert(), load_tower(TINY, view=STATES), TAGS, relations=False, dropout=0.0).eval()
    ids, mask = batch()
    first = torch.tensor([[1, 2, 4], [1, 3, 0], [1, 2, 3]])
    words = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1]]).bool()
    pixels = torch.randint(0, 255, (3, 2, 3, 64, 64), dtype=torch.uint8)
    shown = torch.tensor([[1, 1], [1, 0], [0, 0]]).bool()

    def emissions(*inputs):
        with torch.no_grad():
            return net(**Batch(*inputs)._asdict())["emissions"]

    together = emissions(ids, mask, first, words, pixels, shown)
    alone = emissions(ids[1:2, :5], mask[1:2, :5], first[1:2, :2], words[1:2, :2], pixels[1:2, :1], shown[1:2, :1])
    text = emissions(ids, mask, first, words)
    torch.testing.assert_close(together[1, :2], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[2], text[2], rtol=1e-4, atol=1e-5)
    assert (together[0] - text[0]).abs().max() > 1e-4


# ---------------------------------------------------------------- the tower


def test_the_tower_is_clip_up_to_the_layers_that_are_fused(tmp_path):
    import transformers

    assert [n_last(n) for n in (12, 24, 7, 2, 1)] == [4, 8, 2, 1, 1]
    tower = load_tower(Vision(tower=str(clip(tmp_path)), image_size=64), view=STATES)
    whole = transformers.CLIPVisionModel.from_pretrained(tmp_path).eval()
    pixels = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    values = (pixels.float() / 255 - tower.get_buffer("mean")) / tower.get_buffer("std")
    with torch.no_grad():
        states = whole(values, output_hidden_states=True).hidden_states
        torch.testing.assert_close(tower(pixels), states[5], rtol=1e-4, atol=1e-5)
        assert tower(pixels).shape == (2, 17, 64)
    last = tower.body.last_layers()
    copied = dict(getattr(whole, "vision_model", whole).encoder.layers[5:].named_parameters())
    assert all(torch.equal(value, copied[name]) for name, value in last.named_parameters())
    assert all(value.requires_grad for value in last.parameters())
    assert not any(value.requires_grad for value in tower.parameters())


def test_a_frozen_tower_sees_each_part_once_and_comes_back_from_its_folder(tmp_path, monkeypatch):
    from hf_mner_aug.models.vision.tower import Tower

    clip(tmp_path / "clip", layers=4)
    seen = []
    forward = Tower.forward
    monkeypatch.setattr(Tower, "forward", lambda self, pixels: seen.append(len(pixels)) or forward(self, pixels))
    fitted = small(vision=Vision(tower=str(tmp_path / "clip"), image_size=64)).fit(POSTS, POSTS)
    predicted = fitted.predict(POSTS)
    assert sum(seen) - seen.count(1) == 8  # two pictures and six parts; a tower looks at one black one to know its size
    assert splits.entity_score(predicted, POSTS).f1 == 1.0
    swapped = [replaced(post, POSTS[i ^ 1]) for i, post in enumerate(POSTS)]
    assert splits.entity_score(fitted.predict(swapped), POSTS).f1 == 0.0, "the pictures alone tell the types"
    fitted.save(tmp_path / "saved")
    again = MKGformer.load(tmp_path / "saved")
    assert again.predict(POSTS) == predicted
    here, there = fitted.fitted.net.state_dict(), again.fitted.net.state_dict()
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)


def replaced(post, other):
    from dataclasses import replace

    return replace(post, images=other.images)


def test_another_model_or_width_is_one_line(tmp_path):
    import transformers

    clip(tmp_path / "wide", hidden=32)
    with pytest.raises(UsageError, match=r"is 64 wide with 4 heads, and the tower 32 wide with 4 heads: expected the"):
        small(vision=Vision(tower=str(tmp_path / "wide"), image_size=64)).fit(POSTS)
    transformers.ResNetConfig(depths=[1], hidden_sizes=[8]).save_pretrained(tmp_path / "resnet")
    with pytest.raises(UsageError, match=r"or the folder or id of a CLIP .*found resnet"):
        small(vision=Vision(tower=str(tmp_path / "resnet"), image_size=64)).fit(POSTS)
    with pytest.raises(UsageError, match=r"has 2 layers: expected more than the 2 that are fused"):
        small(vision=Vision(tower=str(clip(tmp_path / "deep")), image_size=64)).fit(POSTS)


def test_settings_are_those_of_the_authors():
    backbone = MKGformer()
    training = backbone.training
    assert (backbone.encoder, backbone.vision.tower) == ("bert-base-uncased", "openai/clip-vit-base-patch32")
    assert (training.batch_size, training.epochs, training.warmup) == (16, 30, 0.01)
    net = fused_net(bert(), load_tower(TINY, view=STATES), TAGS, relations=False, dropout=0.0)
    rates = {id(p): group["lr"] for group in training._groups(net) for p in group["params"]}
    found = {name: rates[id(p)] for name, p in net.named_parameters() if id(p) in rates}
    fast = {name for name, rate in found.items() if rate == 5e-2}
    assert fast == {"linear.weight", "linear.bias", "chain.start", "chain.end", "chain.transitions"}
    assert {rate for name, rate in found.items() if name.startswith(("encoder.", "fusion."))} == {5e-5}
