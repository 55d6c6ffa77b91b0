"""AMIA: eq. 1-9 on numbers worked by hand, scores that no label and no batch changes, mixes that say what they are."""

import io
import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import picture
from datasets import Dataset, DatasetDict, load_dataset
from huggingface_hub import DatasetCard
from picture_marks import picture_source
from PIL import Image

from hf_mner_aug import AMIA, augment, load_sample, publish, verify
from hf_mner_aug.draw import draw
from hf_mner_aug.exceptions import NotFitted, UnknownName, UsageError
from hf_mner_aug.methods import amia
from hf_mner_aug.methods.amia import match_pairs, triplet_loss, without_persons
from hf_mner_aug.models.device import limits_met
from hf_mner_aug.models.matching.matcher import fit_matcher
from hf_mner_aug.posts.pictures import image_digest, open_rgb
from hf_mner_aug.schema import Codec, Post

pytestmark = pytest.mark.filterwarnings("ignore:amia:UserWarning", "ignore:matching:UserWarning")


def rows(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


def png(pixels, **options):
    file = io.BytesIO()
    pixels = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    pixels.save(file, options.pop("kind", "PNG"), **options)
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture(scope="module")
def sample():
    """A third of the sample: enough pairs for folds and 63 negatives."""
    drawn = load_sample("mner")
    return DatasetDict(
        train=drawn["train"].select(range(300)),
        validation=drawn["validation"].select(range(40)),
        test=drawn["test"].select(range(40)),
    )


@pytest.fixture(scope="module")
def fitted(sample):
    return AMIA().fit(sample)


@pytest.fixture(scope="module")
def mixed(fitted, sample):
    """What is made of the posts with a picture; the others stay as they are."""
    made = {split: rows(part) for split, part in fitted.map(sample).items()}
    bare = {split: [row["id"] for row in rows(part) if row["image"] is None] for split, part in sample.items()}
    assert {split: [row["id"] for row in part if row["image"] is None] for split, part in made.items()} == bare
    assert {row["matching_score"] for part in made.values() for row in part if row["image"] is None} <= {None}
    return {split: [row for row in part if row["image"]] for split, part in made.items()}


# ---------------------------------------------------------------- eq. 1-9


def test_triplet_loss_by_hand():
    text, image = np.array([[2.0, 0.0]]), np.array([[3.0, 4.0]])  # cosine 0.6
    other_texts = np.array([[[0.0, 5.0], [1.0, 1.0]]])  # with the image: 0.8 and 1.4 / sqrt(2) = 0.98995
    other_images = np.array([[[0.0, 1.0], [-1.0, 0.0]]])  # with the text: 0 and -1
    image_to_text = 0.1 - 0.6 + 1.4 / math.sqrt(2)
    assert triplet_loss(text, image, other_texts, other_images) == pytest.approx([image_to_text])
    # With a margin of 1 the other direction counts too: 1 - 0.6 + 0.
    assert triplet_loss(text, image, other_texts, other_images, 1.0) == pytest.approx([image_to_text + 0.9 + 0.4])


def test_triplet_loss_is_0_for_a_pair_far_before_its_negatives():
    vectors = np.array([[1.0, 0.0]])
    assert triplet_loss(vectors, vectors, -vectors[:, None], -vectors[:, None]) == [0.0]


@pytest.mark.parametrize(("mix", "weight"), [("0.3", 0.3), ("0.5", 0.5), ("0.7", 0.7)])
def test_eq_9_with_a_fixed_ratio_to_one_grey_level(fitted, sample, mix, weight):
    method = replace(fitted, mix=mix)
    post, stage = stage_of(method, sample["test"], 0)
    made = method.map(sample["test"].select([0]))
    before = np.asarray(open_rgb(post.images[0]), dtype=float)
    exact = weight * before + (1 - weight) * np.asarray(stage[0].synthesised, dtype=float)
    after = np.asarray(open_rgb(rows(made)[0]["image"]), dtype=float)
    assert rows(made)[0]["image"]["bytes"].startswith(b"\x89PNG"), "the sample's pictures are PNG: nothing is lost"
    assert np.abs(after - exact).max() <= 1


def stage_of(method, dataset, i):
    codec = Codec(dataset.features)
    post = codec.to_post(rows(dataset.select([i]))[0])
    return post, method._stages([post], [draw(method.seed, "amia", method.drawn_as, post.id, 0)])[0]


def test_weight_1_leaves_the_original_and_0_takes_the_synthesised(fitted, sample):
    some = sample["test"].select(range(8))
    before = rows(some)
    originals = rows(replace(fitted, mix="1").map(some))
    with_image = [(old, new) for old, new in zip(before, originals, strict=True) if old["image"]]
    assert all(old["image"] == new["image"] for old, new in with_image)
    assert all(not json.loads(new["provenance"])["details"]["synthetic"] for _, new in with_image)
    synthesised = rows(replace(fitted, mix="0.0").map(some))
    for i, (old, new) in enumerate(zip(before, synthesised, strict=True)):
        if old["image"]:
            _, stage = stage_of(fitted, some, i)
            assert np.array_equal(np.asarray(open_rgb(new["image"])), np.asarray(stage[0].synthesised))
            assert picture_source(new["image"]) == "compositeCapture"


def test_adaptive_and_cosine_weights(fitted, sample, mixed):
    cosine = [row for row in rows(replace(fitted, mix="cosine").map(sample["test"])) if row["image"]]
    for adaptive, other in zip(mixed["test"], cosine, strict=True):
        told, told_other = (json.loads(row["provenance"])["details"] for row in (adaptive, other))
        assert told["weights"] == told["scores"]
        assert told["scores"] == told_other["scores"], "the score is the paper's, however the pictures are mixed"
        assert adaptive["matching_score"] == max(told["scores"])
        assert all(0 <= weight <= 1 for weight in told_other["weights"])
    assert {row["matching_score"] > 0.5 for row in mixed["test"]} == {True, False}


def test_scores_tell_matching_from_mismatched_pairs(mixed):
    truth = {row["id"]: row["image_matches"] for split in ("validation", "test") for row in rows(load_sample()[split])}
    scores = [(row["matching_score"], truth[row["id"]]) for split in ("validation", "test") for row in mixed[split]]
    right, wrong = ([score for score, matches in scores if matches is value] for value in (True, False))
    assert np.mean(right) > np.mean(wrong) + 0.15


# ---------------------------------------------------------------- what a row may know


def test_no_label_changes_a_picture(sample, fitted, mixed):
    """Permuted tags of validation and test, and other test posts, leave every picture as it was."""
    generator = np.random.default_rng(0)
    for split in ("validation", "test"):
        permuted = [
            {**row, "ner_tags": [int(tag) for tag in generator.permutation(row["ner_tags"])]}
            for row in rows(sample[split])
        ]
        legal = [{**row, "ner_tags": [0] * len(row["ner_tags"])} for row in permuted]
        changed = Dataset.from_list(legal, features=sample[split].features)
        remade = [row["image"] for row in rows(fitted.map(changed)) if row["image"]]
        assert remade == [row["image"] for row in mixed[split]]
    other = DatasetDict(sample, test=sample["test"].select(range(3)), validation=sample["validation"].select([1]))
    assert AMIA().fit(other).artifact == fitted.artifact


def posts_of(dataset):
    return [post for post in map(Codec(dataset.features).to_post, rows(dataset)) if post.images]


def draws_of(posts):
    return [draw(0, "amia", 1, post.id, 0) for post in posts]


def test_a_train_pair_is_scored_by_a_model_that_has_not_seen_it(fitted, sample):
    """The scores of train are those of the fit, whoever asks; a pair of other words is scored by the whole model."""
    known = amia._known(fitted.artifact)
    posts = posts_of(sample["train"])[:50]
    matches = match_pairs(known.matcher, [(post, 0) for post in posts], draws_of(posts))
    assert [match.loss for match in matches] == list(known.losses[:50])
    found = known.matcher.embed([(post.tokens, post.images[0]) for post in posts])
    assert set(found.fold) == {0, 1, 2}
    other = known.matcher.embed([([*post.tokens, "more"], post.images[0]) for post in posts])
    assert set(other.fold) == {-1}


def test_matches_hang_on_no_other_pair(fitted, sample):
    matcher = amia._known(fitted.artifact).matcher
    posts = posts_of(sample["test"])
    together = match_pairs(matcher, [(post, 0) for post in posts], draws_of(posts))
    assert [match_pairs(matcher, [(post, 0)], draws_of([post]))[0] for post in posts] == together
    assert len({match.loss for match in together}) > 20


def test_each_picture_is_read_once(monkeypatch):
    from hf_mner_aug.models.matching import cca, embeddings

    monkeypatch.setattr(embeddings, "_held", type(embeddings._held)())
    read = []
    histograms = cca.orientation_histograms
    monkeypatch.setattr(cca, "orientation_histograms", lambda shown: read.append(1) or histograms(shown))
    pictures = [picture(1000 + i, "PNG") for i in range(100)]
    posts = [Post(f"p{i}", ["word", f"w{i % 100}", f"v{i % 50}"], (), (pictures[i % 100],)) for i in range(1000)]
    matcher = fit_matcher(posts)
    match_pairs(matcher, [(post, 0) for post in posts], draws_of(posts))
    assert len(read) == len({image_digest(shown) for shown in pictures})


# ---------------------------------------------------------------- what a row says


def test_made_pictures_are_marked_and_keep_their_size(sample, mixed):
    for split, made in mixed.items():
        before = {row["id"]: row for row in rows(sample[split]) if row["image"]}
        assert len(made) > 0.95 * len(before)
        for new in made:
            old = before[new["id"]]
            told = json.loads(new["provenance"])["details"]
            assert (old["id"], old["ner_tags"], old["tokens"]) == (new["id"], new["ner_tags"], new["tokens"])
            assert told["synthetic"]
            assert picture_source(new["image"]) == "compositeCapture"
            assert open_rgb(old["image"]).size == open_rgb(new["image"]).size
            if split == "train":
                assert new["id"] not in told["made_of"], "a post's collage is not of its own picture"


def test_published_whole_and_made_again(sample, tmp_path):
    broken = rows(sample["test"].select(range(12)))
    where = next(i for i, row in enumerate(broken) if row["image"] and i > 2)
    broken[where]["image"]["bytes"] = broken[where]["image"]["bytes"][:100]
    splits = DatasetDict(sample, test=Dataset.from_list(broken, features=sample["test"].features))
    run = augment(splits, AMIA(), out=tmp_path / "aug", part_size=50, progress=False)
    done = publish(run, tmp_path / "aug")
    loaded = load_dataset(str(tmp_path / "aug"), done.config)
    assert {split: part["id"][:] for split, part in loaded.items()} == {
        split: part["id"][:] for split, part in splits.items()
    }
    test = rows(loaded["test"])
    there = [i != where and row["image"] is not None for i, row in enumerate(broken)]
    assert [row["method"] for row in test] == ["amia" if mixed else "gold" for mixed in there]
    assert test[where]["matching_score"] is None
    assert test[where]["image"] == broken[where]["image"]
    assert done.funnel["rejected"] == {"unreadable_image": 1}
    with_picture = sum(row["image"] is not None for split in ("train", "validation") for row in rows(splits[split]))
    assert done.funnel["kept"] == with_picture + sum(there)
    assert done.funnel["idle"] == 300 + 40 + 12 - done.funnel["kept"] - 1
    card = DatasetCard.load(tmp_path / "aug" / "README.md")
    assert "their files say so" in card.text
    assert "not-for-all-audiences" not in card.data.tags
    assert verify(str(tmp_path / "aug"), done.config).ok


# ---------------------------------------------------------------- settings and bad input


def test_persons_leave_a_prompt():
    persons = {("stephen", "curry"), ("adele",), ("stephen",)}
    words = ["RT", "@fan", ":", "Stephen", "Curry", "meets", "ADELE", "and", "@", "joe", ",", "not", "stephen", "king"]
    expected = "RT a person : a person meets a person and a person , not a person king"
    assert " ".join(without_persons(words, persons)) == expected
    assert without_persons(["Adele", "@"], frozenset()) == ["Adele", "a", "person"]


def test_no_person_prompts_reach_the_engine(sample, monkeypatch):
    from hf_mner_aug.models.image.collage import Collage

    asked = []
    generate = Collage.generate
    monkeypatch.setattr(
        Collage,
        "generate",
        lambda self, sentences, *a, **k: asked.extend(sentences) or generate(self, sentences, *a, **k),
    )
    codec = Codec(sample["train"].features)
    posts = list(map(codec.to_post, rows(sample["train"])))
    names = {" ".join(p.tokens[e.start : e.end]) for p in posts for e in p.entities if e.type == "PER"}
    AMIA(no_person_prompts=True).fit(sample).map(sample["train"].select(range(60)))
    assert len(asked) == sum(row["image"] is not None for row in rows(sample["train"].select(range(60))))
    assert sum("a person" in sentence for sentence in asked) > 5
    assert not [sentence for sentence in asked for name in names if name.casefold() in sentence.casefold().split("\n")]


@pytest.mark.parametrize("mix", ["often", "1.5", "-0.1", "nan", ""])
def test_a_mix_that_is_none(mix):
    with pytest.raises(UsageError, match="adaptive, cosine or a number"):
        AMIA(mix=mix)


def test_unknown_matcher_and_unfitted(mner):
    with pytest.raises(UnknownName, match="cca"):
        AMIA(matcher="clip").fit(mner)
    with pytest.raises(NotFitted):
        AMIA().map(mner)
    with pytest.raises(UsageError, match="copies must be 1"):
        AMIA(copies=2)


def test_the_papers_preset():
    paper = AMIA(**AMIA.presets["paper"])
    matching, images = paper.models
    assert (matching.role, images.id, images.license) == ("matching", "stabilityai/sdxl-turbo", "other")
    assert not images.checked, "SDXL-Turbo comes without a safety checker"
    assert replace(paper, nsfw_model="org/nsfw").models[1].checked
    assert AMIA().models == ()
    assert any("crops" in caution for caution in paper.cautions)


def test_few_pairs_are_said_and_equal_losses_give_half(mner, monkeypatch):
    from hf_mner_aug.models.image import engine as image

    monkeypatch.setattr(image, "FEWEST", 1)
    with pytest.warns(UserWarning, match=r"train has \d+ text-image pairs|every matching score is 0.5"):
        AMIA().fit(mner)
    same = [{**row, "tokens": ["same", "words"], "ner_tags": [0, 0], "image": picture(1, "PNG")} for row in rows(mner)]
    alike = Dataset.from_list(same, features=mner.features)
    with pytest.warns(UserWarning, match=r"every matching score is 0\.5"):
        method = AMIA().fit(alike)
    assert {row["matching_score"] for row in rows(replace(method, mix="1").map(alike))} == {0.5}


def odd_pictures():
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (40, 50, 4), dtype=np.uint8)
    frames = [Image.fromarray(noise[:, :, :3]), Image.fromarray(255 - noise[:, :, :3])]
    yield "1x1", png(noise[:1, :1, :3])
    yield "cmyk", png(Image.fromarray(noise, "CMYK"), kind="JPEG")
    yield "16 bits", png(generator.integers(0, 65536, (40, 50), dtype=np.uint16))
    yield "animated", png(frames[0], kind="GIF", save_all=True, append_images=frames[1:])
    yield "rgba", png(noise)
    yield "grey", png(noise[:, :, 0])


@pytest.mark.parametrize(("kind", "odd"), [pytest.param(kind, odd, id=kind) for kind, odd in odd_pictures()])
def test_odd_pictures_are_mixed(fitted, sample, kind, odd):
    row = rows(sample["test"].select([0]))[0]
    dataset = Dataset.from_list([{**row, "image": odd}], features=sample["test"].features)
    made = rows(replace(fitted, mix="0.5").map(dataset))[0]
    assert open_rgb(made["image"]).size == open_rgb(odd).size
    assert made["image"]["bytes"] != odd["bytes"]


@pytest.mark.parametrize("data", [b"<html></html>", b"", "bomb"])
def test_what_is_no_picture_is_rejected_and_the_rest_goes_on(fitted, sample, data):
    if data == "bomb":
        data = png(Image.new("1", (20_000, 20_000)))["bytes"]
    some = rows(sample["test"].select(range(3)))
    some[1]["image"] = {"bytes": data, "path": None}
    dataset = Dataset.from_list(some, features=sample["test"].features)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        made = fitted.make(dataset.with_format("arrow")[:])
    assert [row["reason"] for row in made.rejects] == ["unreadable_image"]
    assert made.rejects[0]["source_id"] == some[1]["id"]
    assert made.columns["id"] == [some[0]["id"], some[2]["id"]]


def test_several_pictures_are_mixed_one_by_one(sets):
    several = sets["multi_image"]
    method = AMIA(mix="0.5").fit(several)
    made = method.make(several.with_format("arrow")[:])
    before = {row["id"]: row["images"] for row in rows(several)}
    assert len(made.columns["id"]) + len(made.rejects) + made.idle == len(several)
    assert made.idle == sum(not images for images in before.values()) > 0
    for name, images, note in zip(made.columns["id"], made.columns["images"], made.columns["provenance"], strict=True):
        assert len(images) == len(before[name]) > 0
        told = json.loads(note)["details"]
        assert len(told["scores"]) == len(images)
        assert len({image["bytes"] for image in images}) == len(images)


def test_a_diffusers_pipeline_goes_the_same_way(sample, folders):
    folder = folders / "sd"
    with_picture = next(i for i, row in enumerate(rows(sample["test"])) if row["image"])
    some = DatasetDict(train=sample["train"].select(range(20)), test=sample["test"].select([with_picture]))
    method = AMIA(image_model=str(folder), steps=1, mix="0.5").fit(some)
    made = rows(method.map(some["test"]))
    assert [picture_source(row["image"]) for row in made] == ["compositeWithTrainedAlgorithmicMedia"]
    assert method.models[0].role == "images"
    # A prompt longer than the pipeline reads is cut and counted; collages read none.
    before = limits_met()
    row = {**rows(some["test"])[0], "tokens": ["so"] * 200, "ner_tags": [0] * 200}
    assert len(method.map(Dataset.from_list([row], features=some["test"].features))) == 1
    assert limits_met() == {**before, "prompts_cut": before.get("prompts_cut", 0) + 1}


def test_the_figure_shows_losses_and_score(fitted):
    (drawing,) = fitted.exhibits().figures
    assert drawing.startswith("<svg")
    assert drawing.count("<rect") == 40
    assert drawing.count("<polyline") == 3
