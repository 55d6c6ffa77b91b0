from dataclasses import replace

import pytest
from picture_posts import eight_posts, picture

from hf_mner_aug.backbones import checkpoint, splits
from hf_mner_aug.backbones.iie4mner import IIE4MNER, Senses
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.models.vision import Vision, load_tower
from hf_mner_aug.models.vision.objects import Detector, Region
from hf_mner_aug.models.words.vectors import random_vector, read_word_vectors
from hf_mner_aug.schema import Post

torch = pytest.importorskip("torch", reason="the models extra is not installed")

from hf_mner_aug.backbones.iie4mner_net import Gate, Granularity, IIE4MNERNet  # noqa: E402
from hf_mner_aug.models.vision.tower import whole  # noqa: E402

TINY = Vision(tower="tiny", freeze_vision=False, image_size=64)
QUICK = Training(
    steps=15, batch_size=8, learning_rate=2e-3, head_learning_rate=2e-3, warmup=0.0, checks=3, device="cpu"
)
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
POSTS = eight_posts()


def small(**changes):
    settings = {"encoder": "tiny", "vision": TINY, "dropout": 0.0, "fusion_dropout": 0.0, "training": QUICK}
    return IIE4MNER(**{**settings, **changes})


def config():
    from transformers import BertConfig

    return BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        initializer_range=0.2,
    )


def network(n_labels=0, tower=True, dropout=0.0):
    from transformers import BertModel

    torch.manual_seed(0)
    made = IIE4MNERNet(
        BertModel(config()),
        load_tower(TINY) if tower else None,
        TAGS,
        dimensions=6,
        n_labels=n_labels,
        dropout=dropout,
        fusion_dropout=dropout,
    )
    return made.eval()


def batch():
    torch.manual_seed(1)
    attention = torch.ones(3, 7, dtype=torch.long)
    attention[1, 5:] = 0
    return {
        "input_ids": torch.randint(5, 50, (3, 7)) * attention,
        "attention_mask": attention,
        "first": torch.tensor([[1, 2, 4], [1, 3, 0], [1, 2, 3]]),
        "mask": torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1]]).bool(),
        "augmentation": torch.randn(3, 3, 6),
    }


def pictures():
    torch.manual_seed(2)
    pixels = torch.randint(0, 255, (3, 2, 3, 64, 64), dtype=torch.uint8)
    return pixels, torch.tensor([[1, 1], [1, 0], [0, 0]]).bool()


# ---------------------------------------------------------------- the network


def test_augmentation_is_added_to_the_words_and_to_nothing_else():
    net = network()
    seen = {}
    net.words.register_forward_pre_hook(lambda module, inputs: seen.update(text=inputs[0].detach()))
    net.encoder.register_forward_hook(
        lambda module, inputs, found: seen.update(states=found.last_hidden_state.detach())
    )
    inputs = batch()
    net(**inputs)
    added = seen["text"] - seen["states"]
    expected = torch.zeros(3, 7, 32)
    for post, words in enumerate([[1, 2, 4], [1, 3], [1, 2, 3]]):
        for word, place in enumerate(words):
            expected[post, place] = net.augment.weight @ inputs["augmentation"][post, word] + net.augment.bias
    torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-5)


def test_the_gate_weighs_two_states():
    gate = Gate(4)
    one, other = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    with torch.no_grad():
        gate.linear.weight.zero_()
        for bias, expected in ((-100.0, other), (100.0, one), (0.0, (one + other) / 2)):
            gate.linear.bias.fill_(bias)
            torch.testing.assert_close(gate(one, other), expected)


def test_words_see_regions_directly_and_through_what_these_see_of_the_words():
    torch.manual_seed(0)
    seeing = Granularity(config(), dropout=0.0).eval()
    text, regions, regions_too = torch.randn(2, 5, 32), torch.randn(2, 3, 32), torch.randn(2, 3, 32)
    is_text = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    key_mask = torch.tensor([[1, 1, 0], [0, 0, 0]]).bool()
    key_mask_of_first = torch.ones(1, 2).bool()
    with torch.no_grad():
        seeing.gate.linear.weight.zero_()
        seeing.gate.linear.bias.fill_(100.0)
        direct = seeing(text, is_text, regions, regions_too, key_mask)
        kept = regions[:1, :2]
        memory = seeing.regions(kept, kept, key_mask_of_first)
        torch.testing.assert_close(direct[:1], seeing.text_regions(text[:1], memory, key_mask_of_first))
        seeing.gate.linear.bias.fill_(-100.0)
        back = seeing(text, is_text, regions, regions_too, key_mask)
        kept = regions_too[:1, :2]
        aware = seeing.regions_text(seeing.regions_too(kept, kept, key_mask_of_first), text[:1], is_text[:1])
        torch.testing.assert_close(back[:1], seeing.text_regions_text(text[:1], aware, key_mask_of_first))
    assert not direct[1].any()  # a post without regions sees nothing
    assert not back[1].any()


@pytest.mark.parametrize("n_labels", [0, 4])
def test_a_post_without_a_picture_goes_by_its_text_and_no_post_by_its_batch(n_labels):
    net = network(n_labels)
    inputs = batch()
    pixels, shown = pictures()
    objects = {"named": torch.tensor([[0, 3], [2, -1], [-1, -1]])} if n_labels else {"crops": pixels, "cut": shown}
    with torch.no_grad():
        together = net(**inputs, pictures=pixels, shown=shown, **objects)["emissions"]
        text = net(**inputs)["emissions"]
        one = {name: value[1:2] for name, value in inputs.items()}
        one = {**one, "input_ids": one["input_ids"][:, :5], "attention_mask": one["attention_mask"][:, :5]}
        one |= {name: one[name][:, :2] for name in ("first", "mask")}  # the augmentation of a third word is not read
        alone = net(
            **one,
            pictures=pixels[1:2, :1],
            shown=shown[1:2, :1],
            **{name: value[1:2, :1] for name, value in objects.items()},
        )["emissions"]
    torch.testing.assert_close(together[2], text[2])
    torch.testing.assert_close(together[1, :2], alone[0], rtol=1e-4, atol=1e-5)
    assert (together[0] - text[0]).abs().max() > 1e-3


def test_both_granularities_reach_the_words():
    net = network(4)
    inputs = batch()
    pixels, shown = pictures()
    named = torch.tensor([[0, 3], [2, -1], [-1, -1]])
    with torch.no_grad():
        both = net(**inputs, pictures=pixels, shown=shown, named=named)["emissions"]
        others = net(**inputs, pictures=pixels, shown=shown, named=named.clamp(max=1))["emissions"]
        other_pictures = net(**inputs, pictures=255 - pixels, shown=shown, named=named)["emissions"]
    for changed in (others, other_pictures):
        assert (both - changed)[0].abs().max() > 1e-4
        torch.testing.assert_close(both[2], changed[2])


def test_without_a_tower_there_is_nothing_to_see():
    net = network(tower=False)
    with torch.no_grad():
        words = net.encoder(input_ids=batch()["input_ids"], attention_mask=batch()["attention_mask"]).last_hidden_state
        net.augment.weight.zero_()
        net.augment.bias.zero_()
        is_text = batch()["attention_mask"].bool()
        words = net.words(words, words, is_text)
        joined = words @ net.join.weight[:, :32].T + net.join.bias  # the other half of the weights meets zeros
        expected = net.linear(joined)[torch.arange(3)[:, None], batch()["first"]]
        torch.testing.assert_close(net(**batch())["emissions"], expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_crfs_and_half_of_the_auxiliary_ones():
    net = network()
    labels = torch.tensor([[1, 2, 0], [3, 0, 0], [0, 3, 4]])
    without_types = torch.tensor([[1, 2, 0], [1, 0, 0], [0, 1, 2]])
    for chain in (net.chain, net.span_chain):
        for parameter in chain.parameters():
            torch.nn.init.normal_(parameter)
    spans = []
    net.span_linear.register_forward_hook(lambda module, inputs, found: spans.append(found))
    mask = batch()["mask"]
    emissions = net(**batch())["emissions"]
    loss = net(**batch(), labels=labels)["loss"]
    main = [post_score(net.chain, emissions[i], labels[i], mask[i]) for i in range(3)]
    span = [post_score(net.span_chain, spans[-1][i], without_types[i], mask[i]) for i in range(3)]
    assert loss.item() == pytest.approx(-sum(main) / 3 - 0.5 * sum(span) / 3, rel=1e-5)
    assert abs(sum(span)) > 1.0


def post_score(chain, emissions, tags, mask):
    """The log probability of a post's tags, by its words alone."""
    n_words = int(mask.sum())
    alone = torch.ones(1, n_words).bool()
    return chain.log_likelihood(emissions[None, :n_words], tags[None, :n_words], alone).item()


def test_rates_are_the_papers():
    training = IIE4MNER().training
    assert (training.learning_rate, training.head_learning_rate, training.batch_size) == (3e-5, 3e-5, 24)


# ---------------------------------------------------------------- the backbone


def test_word_vectors_are_saved_too(tmp_path):
    fitted = small(training=replace(QUICK, steps=1)).fit(POSTS)
    fitted.save(tmp_path)
    unknown = Post("new", ["wow", "Jordan", "qwerty", "😂"], images=POSTS[0].images)  # words that no post had
    assert IIE4MNER.load(tmp_path).predict([unknown]) == fitted.predict([unknown])
    (tmp_path / "word_vectors.safetensors").unlink()
    with pytest.raises(Corrupt, match=r"word_vectors\.safetensors is damaged or missing"):
        IIE4MNER.load(tmp_path)


def test_a_save_that_is_cut_off_leaves_nothing_to_load(tmp_path, monkeypatch):
    fitted = small(training=replace(QUICK, steps=1)).fit(POSTS)
    fitted.save(tmp_path)
    assert IIE4MNER.load(tmp_path) == replace(fitted, fitted=None)

    def cut_off(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_net", cut_off)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(tmp_path)
    with pytest.raises(UsageError, match="holds no saved backbone"):
        IIE4MNER.load(tmp_path)


def test_a_frozen_tower_sees_pictures_as_cells_and_crops_whole(tmp_path):
    torch.manual_seed(0)
    load_tower(TINY).body.save_pretrained(tmp_path)
    fitted = small(vision=Vision(tower=str(tmp_path), image_size=64)).fit(POSTS, POSTS)
    assert splits.entity_score(fitted.predict(POSTS), POSTS).f1 == 1.0
    net = fitted.fitted.net
    senses = Senses(fitted, net)
    batch = senses.stack(senses.read(POSTS[:2], "x"))
    assert batch["pictures"].shape == (2, 1, 4, 64)  # 2x2 cells of 64 pixels
    assert batch["crops"].shape == (2, 3, 1, 64)
    assert senses.crops.tower.digest != senses.gallery.tower.digest
    pixels = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(net.tower.with_view(whole)(pixels), net.tower(pixels).mean(dim=1, keepdim=True))
    # Crops that come as pixels are seen as those that a frozen tower saw before.
    like = torch.zeros(2, 5, 64)
    shown = torch.ones(2, 1).bool()
    seen, key_mask = net.see_objects(like, pixels[:, None], shown, None)
    kept, _ = net.see_objects(like, net.tower.with_view(whole)(pixels)[:, None], shown, None)
    torch.testing.assert_close(seen, kept)
    assert key_mask.all()


def test_vectors_of_a_file_tell_of_words(tmp_path):
    path = tmp_path / "tweets.txt"
    path.write_text("love 1 0 0\nlike 0.9 0.1 0\nadore 0.9 -0.2 0\njordan 0 1 0\nkobe 0 1 0.1\namazon 0 0 1\n")
    fitted = small(vectors=str(path), neighbours=2, training=replace(QUICK, steps=1)).fit(POSTS)
    assert fitted.fitted.net.augment.in_features == 3
    senses = Senses(fitted, fitted.fitted.net)
    rows = senses.read([Post("a", ["Jordan", "zzz"]), Post("b", ["love"])], "train")
    told = senses.stack(rows)["augmentation"]
    expected = read_word_vectors(path).augmentations(["jordan", "love"], 2)
    torch.testing.assert_close(told[0, 0], torch.tensor(expected[0]))
    torch.testing.assert_close(told[1, 0], torch.tensor(expected[1]))
    torch.testing.assert_close(told[0, 1], torch.tensor(random_vector("zzz", 3), dtype=torch.float32))
    assert not told[1, 1].any()  # padding
    fitted.save(tmp_path / "saved")
    path.unlink()  # what was fitted needs it no more
    assert IIE4MNER.load(tmp_path / "saved").predict(POSTS) == fitted.predict(POSTS)


def test_bad_vectors_are_said(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("jordan 1 2 3\namazon 1 2\n")
    with pytest.raises(DataError, match="line 2: expected a word and 3 numbers, found 2 numbers"):
        small(vectors=str(path)).fit(POSTS)
    path.write_text("bonjour 1 2 3\nmonde 1 2 3\n")
    with pytest.raises(UsageError, match="none of its 2 words"):
        small(vectors=str(path)).fit(POSTS)
    with pytest.raises(UsageError, match="too few to train vectors on: pass a file"):
        small().fit([Post("x", ["Jordan", "wins"], POSTS[0].entities[:0]), replace(POSTS[0], id="y")])


class Faces:
    """Finds a face in red pictures, a map in blue ones, and a tie wherever it looks."""

    labels = ("face", "map", "tie")

    def find(self, image):
        label = "face" if image == picture("red") else "map"
        return [Region((0, 0, 20, 20), label, 0.9), Region((10, 10, 50, 50), "tie", 0.8)]


def test_labels_of_objects_are_embedded(monkeypatch):
    monkeypatch.setattr(IIE4MNER, "finder", Faces())
    # A tower that is shown the same picture whatever there is: only the labels tell.
    monkeypatch.setattr(
        "hf_mner_aug.models.vision.tower.Tower.stages", lambda self, pixels: [torch.ones(len(pixels), 64, 2, 2)]
    )
    fitted = small(objects="faces").fit(POSTS, POSTS)
    assert fitted.fitted.net.object.num_embeddings == 3
    assert splits.entity_score(fitted.predict(POSTS), POSTS).f1 == 1.0
    senses = Senses(fitted, fitted.fitted.net)
    rows = senses.read([POSTS[0], replace(POSTS[1], images=()), replace(POSTS[0], images=POSTS[1].images * 2)], "x")
    assert [row.objects for row in rows] == [(0, 2), (), (1, 1, 2, 2)]
    stacked = senses.stack(rows[:2])
    assert stacked["named"].tolist() == [[0, 2], [-1, -1]]
    assert stacked["shown"].tolist() == [[True], [False]]
    assert "crops" not in stacked


def test_a_detectors_labels_go_in_and_survive_saving(tmp_path):
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    yolos = YolosConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=[32, 32],
        patch_size=16,
        num_detection_tokens=2,
        id2label={0: "person", 1: "dog"},
    )
    torch.manual_seed(0)
    model = YolosForObjectDetection(yolos)
    model.class_labels_classifier.layers[-1].bias.data.copy_(torch.tensor([0.0, 5.0, 0.0]))
    model.save_pretrained(tmp_path / "yolos")
    YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(tmp_path / "yolos")
    name = str(tmp_path / "yolos")
    assert {region.label for region in Detector(model=name).find(picture("red"))} == {"dog"}
    fitted = small(objects=name, training=replace(QUICK, steps=1)).fit(POSTS)
    assert fitted.fitted.net.object.num_embeddings == 2
    fitted.save(tmp_path / "saved")
    assert IIE4MNER.load(tmp_path / "saved").predict(POSTS) == fitted.predict(POSTS)


def test_words_that_are_cut_off_change_nothing():
    fitted = small(max_length=12, training=replace(QUICK, steps=2)).fit(POSTS)
    long = replace(POSTS[0], tokens=["I", "love", "Jordan"] + ["great"] * 20, entities=())
    with pytest.warns(UserWarning, match="are longer than 12 subwords"):
        alone, _ = fitted.predict([long, POSTS[3]])
    assert len(alone.word_confidences) == 23
    assert alone.word_confidences[-1] == 0.0
    assert alone.word_confidences[0] > 0.0


def test_half_precision_works():
    fitted = small(training=replace(QUICK, steps=2, precision="bf16")).fit(POSTS)
    assert len(fitted.predict(POSTS)) == 8
