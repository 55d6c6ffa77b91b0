"""A CRF on a frozen encoder: its cache, its features, its weights."""

import warnings
from dataclasses import replace

import pytest
import text_posts
from picture_posts import eight_posts

from hf_mner_aug.backbones.frozen_encoder_crf import FrozenEncoderCRF
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.storage import kept_features

torch = pytest.importorskip("torch", reason="the models extra is not installed")

from hf_mner_aug.backbones.frozen_encoder_crf_net import FrozenNet, Words, fit_chain  # noqa: E402

POSTS = text_posts.POSTS
SMALL = FrozenEncoderCRF(encoder="tiny", layers=2, device="cpu", l2=0.01, words_l2=0.01)


class Encoder(torch.nn.Module):
    """Stands for a text encoder; its states are never asked for here."""

    class config:
        hidden_size = 2


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))


def net_of(words, tags, n_marks=0):
    net = FrozenNet(Encoder(), tags, 1, n_marks)
    net.standardise(words[0])
    return net


def spans_of(predictions):
    return [prediction.plain_spans() for prediction in predictions]


def test_features_are_standardised_and_a_constant_one_stays():
    words = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
    net = net_of(words, ["O", "B-PER", "I-PER"])
    with torch.no_grad():
        net.linear.weight[1] = torch.tensor([1.0, 1.0])
    assert net.emissions(words, torch.zeros(1, 2, 1, dtype=torch.long))[0].tolist() == [[0, -1, 0], [0, 1, 0]]


def test_the_gradient_is_zero_at_the_fit():
    """At the optimum the penalty's gradient equals that of the likelihood: expected minus observed counts."""
    words = torch.tensor([[[-1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]])
    tags = torch.tensor([[0, 1], [1, 0]])
    mask, marks = torch.ones(2, 2, dtype=torch.bool), torch.tensor([[[1], [0]], [[0], [0]]])
    net = net_of(words, ["O", "B-PER", "I-PER"], n_marks=1)
    fit_chain(net, [Words(words, marks, mask, tags, torch.ones(2))], l2=0.5, marks_l2=0.25, iterations=200)
    emissions = net.emissions(words, marks)
    assert net.chain.viterbi(emissions, mask).tolist() == tags.tolist()
    excess = net.chain.marginals(emissions, mask) - torch.nn.functional.one_hot(tags, 3)
    scaled = (words - net.mean) / net.deviation
    assert torch.allclose(torch.einsum("bwt,bws->ts", excess, scaled), -2 * 0.5 * net.linear.weight, atol=1e-3)
    assert torch.allclose(excess[0, 0], -2 * 0.25 * net.marks[1], atol=1e-3)
    assert net.marks[0].tolist() == [0, 0, 0]  # padding


def test_states_are_computed_once(monkeypatch):
    fitted = SMALL.fit(POSTS)
    found = fitted.predict(POSTS)
    assert spans_of(found) == [post.plain_spans() for post in POSTS]

    def refuse(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(FrozenNet, "states", refuse)
    assert SMALL.fit(POSTS).predict(POSTS) == found
    with pytest.raises(AssertionError):
        replace(SMALL, layers=1).fit(POSTS)  # of another network
    with pytest.raises(AssertionError):
        replace(SMALL, cache=False).fit(POSTS)


def test_without_a_cache_nothing_is_kept(tmp_path):
    replace(SMALL, cache=False).fit(POSTS)
    assert not (tmp_path / "cache" / "features").exists()


@pytest.mark.parametrize("damage", ["file", "value"])
def test_a_damaged_cache_costs_time_only(damage, tmp_path):
    found = SMALL.fit(POSTS).predict(POSTS)
    (path,) = (tmp_path / "cache" / "features").iterdir()
    if damage == "file":
        path.write_bytes(b"no database" * 100)
        with pytest.warns(UserWarning, match=r"cannot be read .*: delete it; computing features") as told:
            assert SMALL.fit(POSTS).predict(POSTS) == found
        assert all("\n" not in str(one.message) for one in told)
        return
    kept_features.write(path.stem, {"key": b"of no post"})
    with kept_features.sqlite3.connect(path) as file:
        file.execute("UPDATE features SET value = x'00'")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SMALL.fit(POSTS).predict(POSTS) == found


def test_settings_that_do_not_fit_are_one_line():
    with pytest.raises(UsageError, match=r"layers must be at most 2, all that tiny has$"):
        replace(SMALL, layers=3).fit(POSTS)
    with pytest.raises(UsageError, match="trains no tower"):
        parse_backbone("frozen_encoder_crf:use_images=true,freeze_vision=false")


def test_it_starts_from_the_encoder_of_a_saved_one(tmp_path):
    fitted = SMALL.fit(POSTS)
    fitted.save(tmp_path / "saved")
    again = replace(SMALL, encoder=str(tmp_path / "saved"))
    assert spans_of(again.fit(POSTS[:6]).predict(POSTS[:6])) == [post.plain_spans() for post in POSTS[:6]]
    with pytest.raises(UsageError, match="has layers=2: pass the same, found 1"):
        replace(again, layers=1).fit(POSTS)


def test_random_numbers_of_others_go_on_as_if_it_were_not_there():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    SMALL.fit(POSTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_words_that_do_not_fit_are_told_and_count_as_o():
    with pytest.warns(UserWarning, match="are longer than 8 subwords"):
        fitted = replace(SMALL, max_length=8).fit(POSTS)
    with pytest.warns(UserWarning, match="their last words"):
        found = fitted.predict(POSTS)
    assert [len(one.word_confidences) for one in found] == [len(post.tokens) for post in POSTS]
    assert min(min(one.word_confidences) for one in found) == 0


def test_a_tower_adds_the_pictures(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    transformers.ResNetBackbone(transformers.ResNetConfig(**sizes)).save_pretrained(tmp_path / "tower")
    tower = [f"tower={tmp_path / 'tower'}", "image_size=64", "use_images=true"]
    posts = eight_posts()
    fitted = parse_backbone("frozen_encoder_crf:encoder=tiny,layers=2,device=cpu,l2=0.01", tower).fit(posts)
    gold = [post.plain_spans() for post in posts]
    assert spans_of(fitted.predict(posts)) == gold
    swapped = [replace(post, images=posts[i ^ 1].images) for i, post in enumerate(posts)]
    assert spans_of(fitted.predict(swapped)) == [gold[i ^ 1] for i in range(8)]
    fitted.save(tmp_path / "saved")
    assert FrozenEncoderCRF.load(tmp_path / "saved").predict(posts) == fitted.predict(posts)
