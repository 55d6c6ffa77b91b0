import functools
import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hf_mner_aug import sample
from hf_mner_aug.exceptions import MissingExtra, NotFitted, UnknownName, UsageError
from hf_mner_aug.models.matching import cca, clip, embeddings
from hf_mner_aug.models.matching.cca import (
    FEATURES,
)
from hf_mner_aug.models.matching.engine import TooFewPairs
from hf_mner_aug.models.matching.matcher import WHOLE, Matcher, fit_matcher
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.posts.texts import normalise_text
from hf_mner_aug.schema import Post

WORDS = {"stripes": "rows lines level sea horizon", "bars": "columns poles tall fence upright"}


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def lines(kind, seed):
    """A picture of horizontal or vertical lines, with a little noise that makes each another."""
    draws = np.random.default_rng(seed)
    pixels = np.repeat(np.repeat(np.arange(48)[:, None] // draws.integers(4, 8) % 2 * 200, 48, 1)[..., None], 3, 2)
    pixels = pixels + draws.integers(0, 20, pixels.shape)
    return encoded((pixels if kind == "stripes" else pixels.transpose(1, 0, 2)).astype(np.uint8))


@functools.cache
def easy_posts(n=60):
    """Posts whose words tell whether their picture shows stripes or bars."""
    posts = []
    for i in range(n):
        kind = ("stripes", "bars")[i % 2]
        words = np.random.default_rng(i).choice(WORDS[kind].split(), 3, replace=False).tolist()
        posts.append(Post(f"p{i}", [*words, f"word{i}"], images=(lines(kind, i),)))
    return tuple(posts)


@functools.cache
def sample_posts(split):
    """The sample's posts with pictures, the first one each, without any truth."""
    return tuple(replace(d.post, images=d.post.images[:1]) for d in sample.draw_posts()[split] if d.post.images)


@functools.cache
def sample_matcher():
    return fit_matcher(sample_posts("train"))


def pairs_of(posts):
    return [(post.tokens, image) for post in posts for image in post.images]


def auc_of(matcher, split):
    """Return the AUC of cosines for ``image_matches``, on all pairs and on those whose words tell the types."""
    from sklearn.metrics import roc_auc_score

    drawn = [d for d in sample.draw_posts()[split] if d.post.images]
    found = matcher.embed(pairs_of(sample_posts(split)))
    cosines = np.einsum("nd,nd->n", found.text, found.image)
    truth = np.array([d.image_matches for d in drawn])
    told = np.array([bool(d.post.entities) and not d.ambiguous for d in drawn])
    return roc_auc_score(truth, cosines), roc_auc_score(truth[told], cosines[told])


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    """Nothing is known of any picture."""
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embeddings, "_held", type(embeddings._held)())
    return tmp_path / "cache"


# ---------------------------------------------------------------- CCA


def test_correlations_are_those_of_scikit_learn(monkeypatch):
    from sklearn.cross_decomposition import CCA

    monkeypatch.setattr(cca, "RIDGE", 0.0)
    draws = np.random.default_rng(0)
    shared = draws.normal(size=(200, 3))
    text = shared @ draws.normal(size=(3, 7)) + draws.normal(size=(200, 7))
    image = shared @ draws.normal(size=(3, 5)) + draws.normal(size=(200, 5))
    text, image = text - text.mean(0), image - image.mean(0)
    text_axes, image_axes = cca.canonical_axes(text, image)
    theirs = CCA(n_components=4, max_iter=10_000, tol=1e-12).fit_transform(text, image)

    def correlations(texts, images):
        return [np.corrcoef(texts[:, i], images[:, i])[0, 1] for i in range(4)]

    assert correlations(text @ text_axes, image @ image_axes) == pytest.approx(correlations(*theirs), abs=1e-4)
    assert (text @ text_axes).T @ (text @ text_axes) / 200 == pytest.approx(np.eye(4), abs=1e-9)


def test_a_ridge_asks_for_less_than_what_is_there():
    draws = np.random.default_rng(1)
    text, image = draws.normal(size=(50, 3)), draws.normal(size=(50, 2))
    text_axes, image_axes = cca.canonical_axes(text - text.mean(0), image - image.mean(0))
    assert text_axes.shape == (3, 4)
    assert not text_axes[:, 2:].any()  # two numbers of a picture agree with no more than two of a text
    assert not image_axes[:, 2:].any()
    variances = ((text - text.mean(0)) @ text_axes[:, :2]).var(0)
    assert ((variances > 0.5) & (variances < 1)).all()


def test_words_that_nobody_knows_are_near_to_no_picture():
    matcher = sample_matcher()
    cosines = matcher.embed([(["qwertz"], image) for _, image in pairs_of(sample_posts("validation"))])
    assert np.abs(np.einsum("nd,nd->n", cosines.text, cosines.image)).max() < 0.3


def test_vectors_have_length_one_and_do_not_hang_on_what_is_beside_them():
    encoder = sample_matcher().encoder
    posts = sample_posts("validation")[:40]
    texts, images = [normalise_text(post.tokens) for post in posts], [post.images[0] for post in posts]
    text, image = encoder.encode_text(texts), encoder.encode_image(images)
    for vectors in (text, image):
        assert (vectors.dtype, vectors.shape) == (np.float32, (40, cca.DIM))
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(40), abs=1e-6)
    for size in (1, 7):
        parts = range(0, 40, size)
        assert np.array_equal(np.concatenate([encoder.encode_text(texts[i : i + size]) for i in parts]), text)
        assert np.array_equal(np.concatenate([encoder.encode_image(images[i : i + size]) for i in parts]), image)
    assert encoder.encode_text([]).shape == encoder.encode_image([]).shape == (0, cca.DIM)


def test_posts_of_the_sample_are_told_apart():
    everywhere, where_words_tell = auc_of(sample_matcher(), "test")
    assert everywhere >= 0.75
    assert where_words_tell >= 0.90


# ---------------------------------------------------------------- folds


def test_a_pair_is_embedded_by_a_model_that_saw_neither_text_nor_picture():
    posts = easy_posts()
    matcher = fit_matcher(posts, seed=3)
    fold = matcher.gallery.fold
    assert sorted(set(fold.tolist())) == [0, 1, 2]
    assert np.bincount(fold).tolist() == [20, 20, 20]
    others = [post for post, k in zip(posts, fold, strict=True) if k != 1]
    texts = [normalise_text(post.tokens) for post in others]
    alone = cca.CCA.fit(texts, cca.read_histograms([post.images[0] for post in others]))
    held_out = [post for post, k in zip(posts, fold, strict=True) if k == 1]
    found = matcher.train()
    expected = alone.encode_text([normalise_text(post.tokens) for post in held_out])
    assert np.array_equal(found.text[fold == 1], expected)
    assert np.array_equal(found.image[fold == 1], alone.encode_image([post.images[0] for post in held_out]))


def test_what_is_held_out_changes_nothing():
    posts = easy_posts()
    fold = fit_matcher(posts).gallery.fold
    changed = [
        replace(post, tokens=["other", f"thing{i}"], images=(lines("bars", 100 + i),)) if fold[i] == 2 else post
        for i, post in enumerate(posts)
    ]
    before, after = fit_matcher(posts).gallery, fit_matcher(changed).gallery
    kept = fold != 2
    assert np.array_equal(before.fold, after.fold)
    assert np.array_equal(before.texts[2][kept], after.texts[2][kept])
    assert np.array_equal(before.images[2][kept], after.images[2][kept])
    assert not np.array_equal(before.texts[0][kept], after.texts[0][kept])
    assert not np.array_equal(before.texts[WHOLE][kept], after.texts[WHOLE][kept])


def test_pairs_of_one_text_or_picture_share_a_fold():
    posts = list(easy_posts()[:24])
    posts[1] = replace(posts[1], images=posts[0].images)  # 0, 1 and 2 hang together, by a picture and a text
    posts[2] = replace(posts[2], tokens=["RT", "@a", ":", *posts[1].tokens, "http://t.co/x"])
    posts[3] = replace(posts[3], images=(*posts[3].images, lines("bars", 99)))
    for seed in range(5):
        gallery = fit_matcher(posts, seed=seed).gallery
        fold = dict(zip(gallery.names, gallery.fold.tolist(), strict=True))
        assert fold["p0", 0] == fold["p1", 0] == fold["p2", 0]
        assert fold["p3", 0] == fold["p3", 1]
        assert len(gallery.names) == 25
        assert gallery.images.shape[1] == 24
        assert gallery.texts.shape[1] == 23


def test_negatives_have_another_text_and_picture_and_are_embedded_by_the_same_model():
    posts = list(easy_posts()[:24])
    posts[1] = replace(posts[1], images=posts[0].images)
    matcher = fit_matcher(posts)
    found, gallery = matcher.train(), matcher.gallery
    for i, fold in enumerate(gallery.fold.tolist()):
        allowed = matcher.candidates(fold, int(found.text_of[i]), int(found.image_of[i])).tolist()
        # Pairs 0 and 1 share a picture, and a fold; a fold's model learnt from the pairs of the others.
        assert allowed == [j for j in range(24) if gallery.fold[j] != fold]
        texts, images = matcher.negatives(fold, allowed[:3])
        assert np.array_equal(texts, gallery.texts[fold, gallery.text_of[allowed[:3]]])
        assert np.array_equal(images, gallery.images[fold, gallery.image_of[allowed[:3]]])
    new = matcher.embed([(posts[0].tokens, lines("bars", 77)), (["all", "new"], posts[0].images[0])])
    assert new.fold.tolist() == [WHOLE, WHOLE]
    allowed = [
        matcher.candidates(WHOLE, int(t), int(i)).tolist() for t, i in zip(new.text_of, new.image_of, strict=True)
    ]
    assert allowed == [list(range(1, 24)), list(range(2, 24))]


# ---------------------------------------------------------------- embedding


def test_pairs_of_train_are_found_again_whatever_their_id():
    matcher = sample_matcher()
    posts = sample_posts("train")
    found, train = matcher.embed(pairs_of(posts)), matcher.train()
    for ours, theirs in zip(found, train, strict=True):
        assert np.array_equal(ours, theirs)
    first, second = posts[0], posts[1]
    swapped = matcher.embed([(first.tokens, second.images[0]), (second.tokens, first.images[0])])
    assert swapped.fold.tolist() == [WHOLE, WHOLE]
    assert np.array_equal(swapped.text, matcher.gallery.texts[WHOLE, found.text_of[:2]])
    assert np.array_equal(swapped.image, matcher.gallery.images[WHOLE, found.image_of[[1, 0]]])


def test_a_fitted_matcher_is_its_state():
    matcher = sample_matcher()
    again = Matcher(json.loads(json.dumps(matcher.state)))
    pairs = pairs_of(sample_posts("validation")[:20])
    for ours, theirs in zip(matcher.embed(pairs), again.embed(pairs), strict=True):
        assert np.array_equal(ours, theirs)
    assert again.gallery.names == matcher.gallery.names
    lost = {**matcher.state, "files": {**matcher.state["files"], "matcher_maps": "0" * 64}}
    with pytest.raises(NotFitted, match="call fit again"):
        Matcher(lost).embed(pairs)


def test_another_process_with_more_threads_learns_the_same(tmp_path):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from test_clip import easy_posts, fit_matcher
print(fit_matcher(easy_posts(), seed=1).state["files"])
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}
    environment["HF_MNER_AUG_CACHE"] = str(tmp_path)
    here = os.path.dirname(__file__)  # noqa: PTH120
    done = subprocess.run(
        [sys.executable, "-c", code, here], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == str(fit_matcher(easy_posts(), seed=1).state["files"])


def test_the_seed_shares_out_the_folds_and_nothing_else():
    first, second = fit_matcher(easy_posts(), seed=1), fit_matcher(easy_posts(), seed=2)
    assert not np.array_equal(first.gallery.fold, second.gallery.fold)
    assert first.state["files"]["matcher_maps"] == second.state["files"]["matcher_maps"]


# ---------------------------------------------------------------- each picture once


def test_each_picture_is_encoded_once(fresh_cache, monkeypatch):
    encoded_times = []
    read = cca._read_histograms
    monkeypatch.setattr(cca, "_read_histograms", lambda images: encoded_times.extend(images) or read(images))
    posts = easy_posts()
    shared = [replace(posts[i % 60], id=f"s{i}", tokens=[*posts[i % 60].tokens, f"w{i}"]) for i in range(600)]
    shared += [Post(f"t{i}", ["a", f"w{i}"], images=(lines("bars", 200 + i % 40),)) for i in range(400)]
    matcher = fit_matcher(shared)
    assert len(matcher.gallery.names) == 1000
    assert len(encoded_times) == 100
    other = [(["new", f"n{i}"], lines("stripes", 300 + i % 5)) for i in range(50)]
    before = matcher.embed(other)
    assert len(encoded_times) == 105
    embeddings._held.clear()  # as in another worker, or later
    assert np.array_equal(matcher.embed(other).image, before.image)
    fit_matcher(shared)
    assert len(encoded_times) == 105


def test_a_cache_file_that_is_lost_or_broken_is_made_again(fresh_cache):
    images = [lines("bars", i) for i in range(3)]
    before = cca.read_histograms(images)
    [path] = (fresh_cache / "embeddings").iterdir()
    for data in (None, b"no database", b""):
        embeddings._held.clear()
        path.unlink() if data is None else path.write_bytes(data)
        assert np.array_equal(cca.read_histograms(images), before)


def test_memory_holds_the_latest(fresh_cache, monkeypatch):
    monkeypatch.setattr(embeddings, "HELD", 2)
    images = [lines("bars", i) for i in range(3)]
    cca.read_histograms(images)
    assert [digest for _, digest in embeddings._held] == [image_digest(image) for image in images[1:]]


# ---------------------------------------------------------------- what is wrong with the input


def test_a_picture_that_cannot_be_read_leaves_the_others_alone(tmp_path):
    posts = easy_posts()
    broken = {"bytes": posts[0].images[0]["bytes"][:200], "path": None}
    missing = {"bytes": None, "path": str(tmp_path / "none.jpg")}
    added = [
        *posts[:5],
        Post("cut", ["some", "words"], images=(broken,)),
        Post("gone", ["more", "words"], images=(missing, posts[5].images[0])),
        *posts[6:],
    ]
    matcher = fit_matcher(added)
    assert matcher.notes == ("2 of 62 pictures cannot be read and have no pair: the first is post gone, picture 1",)
    assert [name for name in matcher.gallery.names if name[0] in ("cut", "gone")] == [("gone", 1)]
    found = matcher.embed([(["some", "words"], broken), (posts[0].tokens, posts[0].images[0]), (["x"], missing)])
    assert np.isnan(found.image).all(1).tolist() == [True, False, True]
    assert np.isfinite(found.text).all()
    assert np.array_equal(found.image[1], matcher.train().image[0])


def test_too_few_pairs_and_unknown_matchers_are_told():
    posts = easy_posts()
    with pytest.raises(TooFewPairs, match="at least 3 pairs that share no text and no picture, found 0"):
        fit_matcher([Post("p", ["a", "b"])])
    with pytest.raises(TooFewPairs, match="found 1"):
        fit_matcher([replace(post, images=posts[0].images) for post in posts])
    with pytest.raises(TooFewPairs, match="found 1"):  # links are no words: all texts are the same
        fit_matcher([replace(post, tokens=[f"http://t.co/{i}"]) for i, post in enumerate(posts)])
    with pytest.raises(TooFewPairs, match="expected texts with words"):
        cca.CCA.fit(["", ""], np.zeros((2, FEATURES)))
    assert fit_matcher(posts[:3]).gallery.fold.tolist() != [0, 0, 0]
    with pytest.raises(UnknownName, match="did you mean 'cca'"):
        fit_matcher(posts, "ccb")
    with pytest.raises(UsageError, match="folds must be at least 2, found 1"):
        fit_matcher(posts, folds=1)


def test_plain_pictures_and_equal_words_are_no_trouble():
    plain = [Post(f"p{i}", ["a", "b"], images=(encoded(np.full((9, 9, 3), i, np.uint8)),)) for i in range(6)]
    with pytest.raises(TooFewPairs):
        fit_matcher(plain)
    different = [replace(post, tokens=["a", f"w{i}", "b"]) for i, post in enumerate(plain)]
    found = fit_matcher(different).train()
    assert np.isfinite(found.text).all()
    assert found.image[:, :-1] == pytest.approx(0)  # no edge, no direction


# ---------------------------------------------------------------- open_clip

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64},
    "text_cfg": {"width": 64, "heads": 4, "layers": 1},
}


def write_tiny(folder, seed=0):
    """Write a model as open_clip reads it from a folder, and return it."""
    open_clip, torch = pytest.importorskip("open_clip"), pytest.importorskip("torch")
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**TINY).eval()
    folder.mkdir(exist_ok=True)
    save_file(model.state_dict(), folder / clip.WEIGHTS)
    about = {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.4] * 3, "std": [0.2] * 3, "resize_mode": "shortest"}}
    (folder / clip.CONFIG).write_text(json.dumps(about))
    return model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return write_tiny(folder), folder


def test_vectors_are_those_of_the_model(tiny):
    import open_clip
    import torch

    model, folder = tiny
    encoder = clip.load(str(folder), device="cpu")
    texts, images = ["a cat", "rows of poles in the fog", ""], [lines("bars", i) for i in range(3)]
    prepare = open_clip.image_transform(64, is_train=False, mean=(0.4,) * 3, std=(0.2,) * 3)
    pixels = torch.stack([prepare(Image.open(io.BytesIO(image["bytes"]))) for image in images])
    with torch.no_grad():
        text = model.encode_text(open_clip.tokenize(texts), normalize=True).numpy()
        image = model.encode_image(pixels, normalize=True).numpy()
    assert encoder.encode_text(texts) == pytest.approx(text, abs=1e-6)
    assert encoder.encode_image(images) == pytest.approx(image, abs=1e-6)
    assert encoder.encode_text([]).shape == encoder.encode_image([]).shape == (0, 32)


def test_a_vector_of_open_clip_does_not_hang_on_what_is_beside_it(tiny, fresh_cache):
    encoder = clip.load(str(tiny[1]), device="cpu")
    noise = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(30)]
    texts, images = [f"hello world {i}" for i in range(30)], [encoded(pixels) for pixels in noise]
    text, image = encoder.encode_text(texts), encoder.encode_image(images)
    assert (text.dtype, image.dtype) == (np.float32, np.float32)
    assert np.linalg.norm(image, axis=1) == pytest.approx(np.ones(30), abs=1e-6)
    for size in (1, 7):
        parts = range(0, 30, size)
        assert np.array_equal(np.concatenate([encoder.encode_text(texts[i : i + size]) for i in parts]), text)
        again = [encoder._encode_images(images[i : i + size]) for i in parts]  # not from the cache
        assert np.array_equal(np.concatenate(again), image)


def test_a_gpu_computes_in_float32(tiny, monkeypatch):
    """Cosines of bfloat16 differ by 0.002, and the scores of AMIA with them."""
    import torch

    encoder = clip.load(str(tiny[1]), device="cpu")
    expected = encoder.encode_text(["a cat", "rows of poles in the fog"])
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where, **how: tensor)  # there is no GPU here
    monkeypatch.setattr(torch, "autocast", lambda *where, **how: pytest.fail("computed in another precision"))
    assert replace(encoder, device="cuda:0").encode_text(["a cat", "rows of poles in the fog"]) == pytest.approx(
        expected, abs=1e-6
    )


def test_what_is_over_77_tokens_is_cut_and_counted(tiny, fresh_cache):
    encoder = clip.load(str(tiny[1]), device="cpu")
    fits, over = " ".join(["a"] * 75), " ".join(["a"] * 76 + ["b"])  # beside the start and the end
    assert encoder.count_cut([fits, over, "a", over]) == 2
    assert np.array_equal(encoder.encode_text([over]), encoder.encode_text([fits]))
    posts = [replace(post, tokens=over.split()) if i == 1 else post for i, post in enumerate(easy_posts()[:6])]
    matcher = fit_matcher(posts, f"open_clip:{tiny[1]}")
    assert matcher.notes == ("1 of 6 texts are longer than the model takes and were cut",)
    with pytest.warns(UserWarning, match="1 of 2 texts are longer"):
        matcher.embed([(["b", *over.split()], posts[0].images[0]), (["c"], posts[0].images[0])])


def test_a_pretrained_model_has_no_folds(tiny, fresh_cache):
    posts = easy_posts()[:10]
    matcher = fit_matcher(posts, f"open_clip:{tiny[1]}")
    encoder = clip.load(str(tiny[1]))
    found = matcher.train()
    assert found.fold.tolist() == [WHOLE] * 10
    assert np.array_equal(found.text, encoder.encode_text([normalise_text(post.tokens) for post in posts]))
    assert np.array_equal(found.image, encoder.encode_image([post.images[0] for post in posts]))
    assert matcher.candidates(WHOLE, 3, 3).tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    again = Matcher(json.loads(json.dumps(matcher.state)))
    new = [(["more", "words"], lines("bars", 90))]
    for ours, theirs in zip(matcher.embed(new), again.embed(new), strict=True):
        assert np.array_equal(ours, theirs)
    assert fit_matcher([Post("p", ["a"])], f"open_clip:{tiny[1]}").gallery.names == ()


def test_other_weights_are_noticed(tiny, tmp_path, fresh_cache):
    folder = tmp_path / "model"
    write_tiny(folder)
    state = fit_matcher(easy_posts()[:6], f"open_clip:{folder}").state
    write_tiny(folder, seed=1)
    with pytest.raises(UsageError, match="its weights have changed; fit again"):
        Matcher(state).embed([(["new"], lines("bars", 91))])


def test_open_clip_encodes_each_picture_once(tiny, fresh_cache, monkeypatch):
    encoded_times = []
    encode = clip.OpenClip._encode_images
    monkeypatch.setattr(
        clip.OpenClip, "_encode_images", lambda self, images: encoded_times.extend(images) or encode(self, images)
    )
    posts = [Post(f"s{i}", ["w", f"w{i}"], images=(easy_posts()[i % 20].images[0],)) for i in range(200)]
    broken = {"bytes": b"no picture", "path": None}
    posts.append(Post("broken", ["x"], images=(broken,)))
    matcher = fit_matcher(posts, f"open_clip:{tiny[1]}")
    assert len(matcher.gallery.names) == 200
    assert matcher.notes == ("1 of 201 pictures cannot be read and have no pair: the first is post broken, picture 1",)
    assert len(encoded_times) == 21
    found = matcher.embed([(post.tokens, post.images[0]) for post in posts])
    assert np.isnan(found.image).all(1).tolist() == [False] * 200 + [True]
    embeddings._held.clear()
    fit_matcher(posts, f"open_clip:{tiny[1]}")
    assert len(encoded_times) == 22  # the broken one only: it may have been a matter of the moment


def test_models_that_cannot_be_had_are_told(tmp_path, monkeypatch):
    pytest.importorskip("open_clip")
    with pytest.raises(UsageError, match="the nearest are ViT-B-16, "):
        clip.load("ViT-B-15/openai")
    with pytest.raises(UnknownName, match="unknown weights of ViT-B-16 'opnai': did you mean 'openai'"):
        clip.load("ViT-B-16/opnai")
    with pytest.raises(UsageError, match="use ViT-B-16-quickgelu/openai"):
        clip.load("ViT-B-16/openai")
    with pytest.raises(UsageError, match=r"open_clip cannot load local-dir:.*config"):
        clip.load(str(tmp_path))
    (tmp_path / clip.CONFIG).write_text(json.dumps({"model_cfg": TINY}))
    with pytest.raises(UsageError, match="open_clip cannot load local-dir:"):
        clip.load(str(tmp_path))  # no weights
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtra, match=r"hf-mner-aug\[models\]"):
        clip.load("ViT-B-16-quickgelu/openai")


# ---------------------------------------------------------------- a small model of open_clip


def train_part(posts, seed=0):
    texts = [normalise_text(post.tokens) for post in posts]
    return clip.train(texts, clip.read_squares([post.images[0] for post in posts]), seed, device="cpu")


def test_training_is_repeatable_and_leaves_torch_alone(monkeypatch, fresh_cache):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(clip, "STEPS", 3)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    first, second, other = (train_part(easy_posts()[:12], seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads
    assert first.digest == second.digest != other.digest


def test_a_small_model_comes_back_bit_by_bit(monkeypatch, fresh_cache):
    pytest.importorskip("torch")
    monkeypatch.setattr(clip, "STEPS", 2)
    posts = easy_posts()[:9]
    matcher = fit_matcher(posts, "open_clip")
    assert sorted(np.bincount(matcher.gallery.fold).tolist()) == [3, 3, 3]
    again = Matcher(json.loads(json.dumps(matcher.state)))
    # What is stored of a picture of train is what its encoder gives; from squares or from a file, up to rounding.
    whole = matcher.gallery.images[WHOLE]
    assert again.encoder.encode_image([post.images[0] for post in posts]) == pytest.approx(whole, abs=1e-5)
    assert np.array_equal(
        again.encoder.encode_text(["rows lines sea word0"]), matcher.encoder.encode_text(["rows lines sea word0"])
    )
    new = [(["poles", "tall"], lines("bars", 90)), (["rows"], {"bytes": b"broken", "path": None})]
    before, after = matcher.embed(new), again.embed(new)
    assert np.array_equal(before.image, after.image, equal_nan=True)
    assert np.isnan(before.image).all(1).tolist() == [False, True]


def test_a_small_model_learns(monkeypatch, fresh_cache):
    pytest.importorskip("torch")
    monkeypatch.setattr(clip, "STEPS", 45)
    monkeypatch.setattr(clip, "PAIRS", 16)
    posts = easy_posts()
    encoder = train_part(posts)
    kinds = list(WORDS)
    text = encoder.encode_text([WORDS[kind] for kind in kinds])
    image = encoder.encode_image([lines(kinds[i % 2], 500 + i) for i in range(20)])
    assert (image @ text.T).argmax(1).tolist() == [0, 1] * 10


def test_gaps_are_closed(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(clip, "DROPPED", 0.5)
    tokens = torch.tensor([[98, 5, 6, 7, 8, 99, 0, 0]] * 200)
    kept = clip._with_gaps(tokens, torch.Generator().manual_seed(0)).tolist()
    lengths = {row.index(99) for row in kept}
    assert lengths == {1, 2, 3, 4, 5}
    for row in kept:
        words = row[1 : row.index(99)]
        assert row == [98, *words, 99, *[0] * (6 - len(words))]
        assert words == sorted(set(words))


def test_shaken_pictures_keep_their_size_and_differ():
    torch = pytest.importorskip("torch")
    pictures = torch.zeros(8, 3, 64, 64)
    pictures[:, :, 20:40, 20:40] = 1
    shaken = clip._shaken(pictures, torch.Generator().manual_seed(0))
    assert shaken.shape == pictures.shape
    assert torch.equal(shaken, clip._shaken(pictures, torch.Generator().manual_seed(0)))
    # Where the square went: its middle by at most a fifth of half the side, its sides by a fifth.
    inside = (shaken - shaken[:, :, :1, :1]).abs().amax(1) > 0.1
    rows = inside.any(2)
    assert len({tuple(row.tolist()) for row in rows}) > 4
    assert all(14 <= int(row.sum()) <= 28 for row in rows)


@pytest.mark.slow
def test_a_small_model_tells_posts_of_the_sample_apart():
    pytest.importorskip("open_clip")
    everywhere, where_words_tell = auc_of(fit_matcher(sample_posts("train"), "open_clip"), "test")
    assert everywhere >= 0.75
    assert where_words_tell >= 0.90


@pytest.mark.gpu
def test_half_precision_on_a_gpu_comes_near(tiny, fresh_cache):
    images = [lines("bars", i) for i in range(70)]
    on_gpu, on_cpu = (clip.load(str(tiny[1]), device=device) for device in ("cuda", "cpu"))
    assert on_gpu.encode_image(images) == pytest.approx(on_cpu.encode_image(images), abs=0.03)
    assert on_gpu.encode_text(["a", "b c"]) == pytest.approx(on_cpu.encode_text(["a", "b c"]), abs=0.03)
