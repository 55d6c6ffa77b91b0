import math
from dataclasses import replace

import pytest
from picture_posts import eight_pairs, eight_posts, picture

from hf_mner_aug.backbones import relation, splits
from hf_mner_aug.backbones.hvpnet import Album, HVPNet
from hf_mner_aug.backbones.settings import parse_backbone, settings_of
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.vision import Gallery, Vision, load_tower
from hf_mner_aug.models.vision.objects import FixedCrops
from hf_mner_aug.schema import Post

torch = pytest.importorskip("torch", reason="the models extra is not installed")

from hf_mner_aug.backbones.fusion_nets import Batch  # noqa: E402
from hf_mner_aug.backbones.hvpnet_net import (  # noqa: E402
    CELLS,
    PARTS,
    VisualPrefix,
    encode_with_prefix,
    prefix_net,
)
from hf_mner_aug.backbones.nets import cache_keyword  # noqa: E402

TINY = Vision(tower="tiny", freeze_vision=False, image_size=64)
QUICK = Training(
    steps=15, batch_size=8, learning_rate=3e-3, head_learning_rate=2e-2, warmup=0.0, checks=3, device="cpu"
)
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


POSTS = eight_posts()


def small(**changes):
    return HVPNet(**{"encoder": "tiny", "vision": TINY, "dropout": 0.0, "training": QUICK, **changes})


def bert(kind="bert", attention="sdpa", layers=2):
    import transformers

    config_class, model_class = {
        "bert": (transformers.BertConfig, transformers.BertModel),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        "electra": (transformers.ElectraConfig, transformers.ElectraModel),
    }[kind]
    torch.manual_seed(0)
    config = config_class(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        initializer_range=0.2,
        pad_token_id=1,
    )
    config._attn_implementation = attention
    return model_class(config).eval()


def batch():
    torch.manual_seed(1)
    ids = torch.randint(5, 50, (3, 7))
    attention = torch.ones(3, 7, dtype=torch.long)
    attention[1, 5:] = 0
    ids[1, 5:] = 1
    return ids, attention


# ---------------------------------------------------------------- the prefix


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_prefix_attention_is_attention_over_the_keys_and_values_put_together(attention):
    encoder = bert(attention=attention, layers=1)
    ids, mask = batch()
    key, value = torch.randn(3, 4, 32), torch.randn(3, 4, 32)
    key_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    found = encode_with_prefix(encoder, ids, mask, [(key, value)], key_mask)

    layer = encoder.encoder.layer[0]
    states = encoder.embeddings(ids)
    own = layer.attention.self
    expected = torch.zeros(3, 7, 32)
    for post in range(3):
        allowed = torch.cat([key_mask[post], mask[post].bool()])
        keys = torch.cat([key[post], own.key(states[post])])[allowed]
        values = torch.cat([value[post], own.value(states[post])])[allowed]
        for head in range(2):
            part = slice(16 * head, 16 * head + 16)
            scores = own.query(states[post])[:, part] @ keys[:, part].T / math.sqrt(16)
            expected[post, :, part] = scores.softmax(1) @ values[:, part]
    attended = layer.attention.output(expected, states)
    expected = layer.output(layer.intermediate(attended), attended)
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_prefix_that_is_not_there_leaves_the_text_untouched(kind, attention):
    encoder = bert(kind, attention)
    ids, mask = batch()
    prefixes = [(torch.randn(3, 4, 32), torch.randn(3, 4, 32)) for _ in range(2)]
    plain = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    without = encode_with_prefix(encoder, ids, mask, prefixes, torch.zeros(3, 4).bool())
    torch.testing.assert_close(without[mask.bool()], plain[mask.bool()])
    seen = encode_with_prefix(encoder, ids, mask, prefixes, torch.ones(3, 4).bool())
    assert (seen - plain)[mask.bool()].abs().max() > 0.1
    first_alone = [(prefixes[0][0], prefixes[0][1]), (torch.zeros(3, 4, 32), torch.zeros(3, 4, 32))]
    other = encode_with_prefix(encoder, ids, mask, first_alone, torch.ones(3, 4).bool())
    assert (seen - other)[mask.bool()].abs().max() > 0.01  # the second layer reads a prefix of its own


def test_a_gate_for_each_layer_weighs_the_parts_of_a_prompt():
    torch.manual_seed(0)
    prefix = VisualPrefix(6, 8, n_layers=3)
    cells = torch.randn(2, 1, CELLS, 6)
    parts = prefix.project(cells)[:, 0].view(2, CELLS, PARTS, 16)
    with torch.no_grad():
        for gate in prefix.gates:
            gate.weight.zero_()
            gate.bias.zero_()
        prefix.gates[1].bias[2] = 100.0
        prefix.gates[2].bias.copy_(torch.tensor([math.log(2.0), 0.0, 0.0, 0.0]))
    made = [torch.cat(pair, dim=2) for pair in prefix(cells)]
    torch.testing.assert_close(made[0], parts.mean(2))
    torch.testing.assert_close(made[1], parts[:, :, 2])
    torch.testing.assert_close(made[2], (2 * parts[:, :, 0] + parts[:, :, 1] + parts[:, :, 2] + parts[:, :, 3]) / 5)
    assert [tuple(side.shape) for side in prefix(cells)[0]] == [(2, 4, 8), (2, 4, 8)]


def test_the_gates_read_the_picture_with_a_leaky_slope():
    prefix = VisualPrefix(6, 8, n_layers=1)
    with torch.no_grad():
        prefix.gates[0].weight.zero_()
        prefix.gates[0].bias.copy_(torch.tensor([-100.0, 0.0, 0.0, 1.0]))
    cells = torch.randn(1, 1, CELLS, 6)
    parts = prefix.project(cells)[0, 0].view(CELLS, PARTS, 16)
    weights = torch.tensor([-1.0, 0.0, 0.0, 1.0]).softmax(0)  # below zero, a hundredth
    torch.testing.assert_close(torch.cat(prefix(cells)[0], dim=2)[0], (weights[:, None] * parts).sum(1))


def test_each_picture_makes_its_prompts_alone():
    prefix = VisualPrefix(6, 8, n_layers=2)
    cells = torch.randn(1, 3, CELLS, 6)
    together = prefix(cells)
    for i in range(3):
        for (key, value), (all_keys, all_values) in zip(prefix(cells[:, i : i + 1]), together, strict=True):
            torch.testing.assert_close(all_keys[:, 4 * i : 4 * i + 4], key)
            torch.testing.assert_close(all_values[:, 4 * i : 4 * i + 4], value)


# ---------------------------------------------------------------- the network


def test_what_a_post_is_tagged_as_does_not_hang_on_its_batch():
    tower = load_tower(TINY, view="pyramid")
    torch.manual_seed(0)
    net = prefix_net(bert(), tower, TAGS, relations=False, dropout=0.0).eval()
    ids, mask = batch()
    first, words = (
        torch.tensor([[1, 2, 4], [1, 3, 0], [1, 2, 3]]),
        torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1]]).bool(),
    )
    pixels = torch.randint(0, 255, (3, 2, 3, 64, 64), dtype=torch.uint8)
    shown = torch.tensor([[1, 1], [1, 0], [0, 0]]).bool()

    def emissions(*inputs):
        with torch.no_grad():
            return net(**Batch(*inputs)._asdict())["emissions"]

    together = emissions(ids, mask, first, words, pixels, shown)
    alone = emissions(ids[1:2, :5], mask[1:2, :5], first[1:2, :2], words[1:2, :2], pixels[1:2, :1], shown[1:2, :1])
    text = emissions(ids, mask, first, words)
    torch.testing.assert_close(together[1, :2], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[2], text[2], rtol=1e-4, atol=1e-5)  # a post without a picture
    assert (together[0] - text[0]).abs().max() > 1e-4


def test_the_tower_is_seen_as_a_pyramid_of_all_its_maps():
    tower = load_tower(TINY, view="pyramid")
    pixels = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        maps = tower.stages(pixels)
        cells = tower(pixels)
    assert cells.shape == (2, 4, 16 + 32 + 48 + 64)
    assert [stage.shape[2] for stage in maps] == [16, 8, 4, 2]
    expected = maps[1][1, :, :4, 4:].mean(dim=(1, 2))  # the second picture's upper right cell in the second map
    torch.testing.assert_close(cells[1, 1, 16:48], expected)


def test_rates_are_the_papers():
    backbone = HVPNet()
    assert (backbone.training.learning_rate, backbone.training.head_learning_rate) == (3e-5, 5e-2)
    assert backbone.training.batch_size == 8
    net = prefix_net(bert(), load_tower(TINY, view="pyramid"), TAGS, relations=False, dropout=0.0)
    rates = {id(p): group["lr"] for group in backbone.training._groups(net) for p in group["params"]}
    found = {name: rates[id(p)] for name, p in net.named_parameters()}
    assert {rate for name, rate in found.items() if name.startswith("chain.")} == {5e-2}
    assert {rate for name, rate in found.items() if not name.startswith("chain.")} == {3e-5}


# ---------------------------------------------------------------- the backbone


def test_a_post_is_its_pictures_and_what_is_cut_out_of_them():
    gallery = Gallery(load_tower(TINY, view="pyramid"))
    wide, high = picture("red", (90, 64)), picture("blue", (64, 90))
    posts = [Post("a", ["x"], images=(wide,)), Post("b", ["x"]), Post("c", ["x"], images=(wide, high))]
    rows = Album(gallery, FixedCrops(), 3).read(posts, "train")
    assert [len(row) for row in rows] == [4, 0, 5]
    assert rows[2] == (rows[0][0], rows[2][1], *rows[0][1:])  # the objects are those of the first picture
    assert len(gallery.known) == 5
    middle, left, right = (gallery.known[key] for key in rows[0][1:])
    white = [(part == 255).all(dim=0).float().mean().item() for part in (middle, left, right)]
    assert white[0] > white[1] > white[2] > 0  # the disc is in the middle, and reaches farther to the left
    broken = Post("d", ["x"], images=({"bytes": b"no", "path": None}, wide))
    with pytest.warns(UserWarning, match="1 of 2 pictures cannot be read"):
        assert Album(gallery, FixedCrops(), 2).read([broken], "train") == [rows[0][:3]]


def test_a_frozen_tower_sees_each_part_once(tmp_path, monkeypatch):
    from hf_mner_aug.models.vision.tower import Tower

    torch.manual_seed(0)
    load_tower(TINY).body.save_pretrained(tmp_path)
    seen = []
    forward = Tower.forward
    monkeypatch.setattr(Tower, "forward", lambda self, pixels: seen.append(len(pixels)) or forward(self, pixels))
    fitted = small(vision=Vision(tower=str(tmp_path), image_size=64)).fit(POSTS, POSTS)
    before = {name: value.clone() for name, value in fitted.fitted.net.tower.state_dict().items()}
    fitted.predict(POSTS)
    assert sum(seen) - seen.count(1) == 8  # two pictures and six parts; a tower looks at one black one to know its size
    torch.testing.assert_close(fitted.fitted.net.tower.state_dict(), before)
    torch.testing.assert_close(load_tower(Vision(tower=str(tmp_path), image_size=64)).state_dict(), before)
    assert splits.entity_score(fitted.predict(POSTS), POSTS).f1 == 1.0


def test_validation_of_relations_leaves_none_out():
    posts = eight_pairs()
    scores = {}
    for none in ("None", "/per/org/member_of"):
        short = replace(QUICK, steps=1, checks=1, learning_rate=1e-6, head_learning_rate=1e-6)
        fitted = small(task="relations", none=none, training=short).fit(posts, posts)
        assert all(token in fitted.fitted.pieces.tokenizer.get_vocab() for token in relation.MARKERS)
        (check,) = fitted.fitted.history
        assert check.score == splits.relation_score(fitted.predict(posts), posts, none=none).f1
        scores[none] = check.score
    assert len(set(scores.values())) == 2


def test_half_precision_works():
    fitted = small(training=replace(QUICK, steps=2, precision="bf16")).fit(POSTS)
    assert len(fitted.predict(POSTS)) == 8


class FakeEncoder(torch.nn.Module):
    """Records the keywords of its call; subclasses name the parameter of the cache."""

    config = type("Config", (), {"num_attention_heads": 2})

    def seen(self, input_ids, cache):
        self.cache = cache
        return type("Output", (), {"last_hidden_state": torch.zeros(*input_ids.shape, 32)})


class BeforeTheRename(FakeEncoder):
    def forward(self, input_ids, attention_mask=None, past_key_values=None):
        return self.seen(input_ids, past_key_values)


class AfterTheRename(FakeEncoder):
    def forward(self, input_ids, attention_mask=None, cache=None):
        return self.seen(input_ids, cache)


class BetweenTheTwo(FakeEncoder):
    def forward(self, input_ids, attention_mask=None, past_key_values=None, cache=None):
        assert past_key_values is None  # deprecated where both are taken
        return self.seen(input_ids, cache)


@pytest.mark.parametrize(
    ("kind", "keyword"),
    [(BeforeTheRename, "past_key_values"), (AfterTheRename, "cache"), (BetweenTheTwo, "cache")],
)
def test_the_prefix_goes_under_the_name_that_the_encoder_has_for_it(kind, keyword):
    encoder = kind()
    assert cache_keyword(encoder) == keyword
    key, value = torch.randn(3, 4, 32), torch.randn(3, 4, 32)
    encode_with_prefix(encoder, *batch(), [(key, value)], torch.ones(3, 4).bool())
    torch.testing.assert_close(encoder.cache.layers[0].keys, key.unflatten(2, (2, 16)).transpose(1, 2))


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_the_keyword_is_one_that_this_transformers_does_not_deprecate(kind, recwarn):
    ids, mask = batch()
    prefixes = [(torch.randn(3, 4, 32), torch.randn(3, 4, 32)) for _ in range(2)]
    encode_with_prefix(bert(kind), ids, mask, prefixes, torch.ones(3, 4).bool())
    renamed = (DeprecationWarning, FutureWarning, PendingDeprecationWarning)
    assert [str(warning.message) for warning in recwarn if issubclass(warning.category, renamed)] == []


def test_an_encoder_that_takes_no_prefix_is_said(tmp_path):
    from transformers import DistilBertConfig, DistilBertModel

    fitted = small(training=replace(QUICK, steps=1)).fit(POSTS)
    fitted.fitted.pieces.tokenizer.save_pretrained(tmp_path)
    config = DistilBertConfig(vocab_size=500, dim=32, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=66)
    DistilBertModel(config).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"\(distilbert\) takes no prefix of keys and values: expected .* BERT"):
        small(encoder=str(tmp_path)).fit(POSTS)


def test_settings_are_typed_as_others_are():
    made = parse_backbone("hvpnet:encoder=tiny,tower=tiny,freeze_vision=false,image_size=64,task=relations,steps=3")
    assert made == HVPNet(encoder="tiny", vision=TINY, task="relations", training=replace(HVPNet().training, steps=3))
    assert settings_of(made)["objects"] == "crops"
