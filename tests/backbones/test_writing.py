import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from datasets import Image

from hf_mner_aug import load_sample
from hf_mner_aug.backbones import Prediction, ScoredSpan, training
from hf_mner_aug.backbones.answers import Answer, Example, collator, encode, read_answer
from hf_mner_aug.backbones.encoder import WordPieces, make_tiny
from hf_mner_aug.backbones.h_index import tiny_bart
from hf_mner_aug.backbones.pointers import Pointers
from hf_mner_aug.backbones.sentences import SEPARATOR, Language, find_words, phrases_of
from hf_mner_aug.backbones.settings import fit_named, parse_backbone
from hf_mner_aug.exceptions import Corrupt, UsageError
from hf_mner_aug.metrics.grounding import score_grounded
from hf_mner_aug.models.vision.regions import Proposed
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.schema import Codec, Entity, Post
from hf_mner_aug.storage.pinned_files import pinned_path

torch = pytest.importorskip("torch", reason="the models extra is not installed")
transformers = pytest.importorskip("transformers", reason="the models extra is not installed")

from hf_mner_aug.backbones.writing_net import answer_loss, region_loss  # noqa: E402

TYPES, FINE = ("LOC", "PER"), ("basketball_player", "city")
POST = Post("p", ["Jordan", "met", "Jordan", "in", "New", "York"])
ENTITIES = (
    Entity(0, 1, "PER", "basketball_player", ((0.0, 0.0, 5.0, 5.0),)),
    Entity(2, 3, "PER"),
    Entity(4, 6, "LOC", "city"),
)


def language(*, fine=FINE, grounds=True, longest=200):
    tokenizer, _ = make_tiny([POST, replace(POST, tokens=POST.tokens[::-1]), *phrases_of(TYPES, FINE)])
    tokenizer.add_tokens([SEPARATOR], special_tokens=True)
    return Language(WordPieces(tokenizer, 128), TYPES, fine, grounds=grounds, longest=longest)


def text_of(spoken, written):
    return spoken.pieces.tokenizer.decode(written.ids)


# ---------------------------------------------------------------- sentences


def test_entities_are_sentences_and_are_read_back():
    spoken = language()
    written = spoken.write(replace(POST, entities=ENTITIES), 6, [True, False, False])
    assert text_of(spoken, written) == (
        "jordan is a person and a basketball player, which is in the image [AND] "
        "jordan is a person, which is not in the image [AND] "
        "new york is a location and a city, which is not in the image [SEP]"
    )
    assert spoken.pieces.tokenizer.decode([written.ids[i] for i in written.shown_at[0]]) == "in the image"
    assert list(written.shown_at) == [0]
    probabilities = [0.9] * len(written.ids)
    probabilities[1] = 0.6  # "is"
    probabilities[9] = 0.1  # of the picture: no part of the confidence
    found, lost = spoken.read(written.ids, probabilities, POST, 6)
    assert [told[:5] for told in found] == [
        (0, 1, "PER", "basketball_player", 0.6),
        (2, 3, "PER", None, 0.9),
        (4, 6, "LOC", "city", 0.9),
    ]
    assert [told.shown_at for told in found] == [written.shown_at[0], None, None]
    assert lost == 0


def test_without_fine_types_and_grounding_a_sentence_is_short():
    spoken = language(fine=(), grounds=False)
    written = spoken.write(replace(POST, entities=ENTITIES), 6, [True, False, False])
    assert text_of(spoken, written) == (
        "jordan is a person [AND] jordan is a person [AND] new york is a location [SEP]"
    )
    assert written.shown_at == {}
    nothing = spoken.write(POST, 6, [])
    assert text_of(spoken, nothing) == "there is no entity [SEP]"
    assert spoken.read(nothing.ids, [1.0] * 9, POST, 6) == ([], 0)


def test_entities_that_do_not_fit_are_counted():
    spoken = language(longest=16)
    written = spoken.write(replace(POST, entities=ENTITIES), 6, [True, False, False])
    assert text_of(spoken, written).endswith("basketball player, which is in the image [SEP]")
    assert written.n_cut == 2
    assert spoken.write(replace(POST, entities=ENTITIES), 3, [True, False, False]).n_cut == 1  # New York is not read


UNMAPPED = {
    "a mention used up": ("jordan is a person [AND] jordan is a person [AND] jordan is a person", [0, 2], 1),
    "no words of the post": ("york new is a location [AND] jordan is a person", [0], 1),
    "a part of a word": ("jord is a person", [], 1),
    "no type": ("jordan is a city [AND] jordan", [], 2),
    "no mention": ("is a person [AND] [AND] york is a location", [5], 2),
    "words taken": ("york is a location [AND] new york is a location", [5], 1),
}


@pytest.mark.parametrize(("text", "starts", "n_lost"), UNMAPPED.values(), ids=UNMAPPED)
def test_no_span_is_invented(text, starts, n_lost):
    spoken = language(fine=(), grounds=False)
    ids = spoken.pieces.tokenizer(text, add_special_tokens=False)["input_ids"]
    found, lost = spoken.read(ids, [1.0] * len(ids), POST, 6)
    assert ([told.start for told in found], lost) == (starts, n_lost)


def test_words_are_found_whole_and_in_order():
    words, free = ["a", "b", "ab", "a", "b"], [True] * 5
    assert find_words("a b", words, free) == (0, 2)
    assert find_words("ab", words, free) == (2, 3)
    assert find_words("a b", words, [True, False, True, True, True]) == (3, 5)
    assert find_words("a c", words, free) is None
    assert find_words("b", words, [True] * 2 + [False] * 3) == (1, 2)


def test_types_that_are_the_same_to_the_tokenizer_are_refused():
    tokenizer, _ = make_tiny([POST, *phrases_of(TYPES, ())])
    tokenizer.add_tokens([SEPARATOR], special_tokens=True)
    with pytest.raises(UsageError, match="the types Łódź and Żuk are the same to the tokenizer"):
        Language(WordPieces(tokenizer, 128), ("Łódź", "Żuk"), (), grounds=True, longest=99)


# ---------------------------------------------------------------- pointers


def test_entities_are_pointers_and_are_read_back():
    # 0 end, 1 shown, 2 not shown, 3 LOC, 4 PER, 5 basketball player, 6 city, 7 the first word
    pointers = Pointers(TYPES, FINE)
    written = pointers.write(replace(POST, entities=ENTITIES), 6, [True, False, False])
    assert written.ids == [7, 1, 4, 5, 9, 2, 4, 11, 12, 2, 3, 6, 0]
    assert written.shown_at == {0: range(1, 2)}
    probabilities = [0.9] * 13
    probabilities[1], probabilities[8] = 0.1, 0.6  # a mark, which does not count, and a word
    found, lost = pointers.read(written.ids, probabilities, POST, 6)
    assert found == [
        (0, 1, "PER", "basketball_player", 0.9, range(1, 2)),
        (2, 3, "PER", None, 0.9, None),
        (4, 6, "LOC", "city", 0.6, None),
    ]
    assert lost == 0
    assert pointers.write(POST, 6, []).ids == [0]
    assert pointers.write(replace(POST, entities=ENTITIES), 5, [False] * 3).ids == [7, 2, 4, 5, 9, 2, 4, 0]


REFUSED = {
    "indices that do not ascend": ([8, 7, 1, 4, 9, 1, 4, 0], [2], 1),
    "a gap": ([7, 9, 1, 4, 0], [], 1),
    "words taken": ([7, 1, 4, 7, 8, 1, 4, 0], [0], 1),
    "no mark": ([7, 4, 8, 1, 4], [1], 1),
    "no type": ([7, 1, 8, 1, 5, 9, 2], [], 3),
    "no words": ([1, 4, 7, 2, 3, 0], [0], 1),
    "a word that is not read": ([12, 1, 4, 0], [], 1),
    "more signs": ([7, 1, 4, 5, 5, 8, 1, 4, 4, 0], [], 2),
}


@pytest.mark.parametrize(("ids", "starts", "n_lost"), REFUSED.values(), ids=REFUSED)
def test_pointers_that_are_no_entity_are_refused_and_counted(ids, starts, n_lost):
    found, lost = Pointers(TYPES, FINE).read(ids, [1.0] * len(ids), POST, 5)
    assert ([told.start for told in found], lost) == (starts, n_lost)


# ---------------------------------------------------------------- the losses


def test_losses_are_those_worked_out_by_hand():
    half = torch.zeros(2, 2, 2)  # two ids, each of 1/2
    labels = torch.tensor([[0, 1], [1, -100]])
    assert answer_loss(half, labels, None).item() == pytest.approx(np.log(2))
    assert answer_loss(half, labels, torch.tensor([0.0, 3.0])).item() == pytest.approx(np.log(2))  # 3 of 3 steps
    # The mean of the scores at two steps is (0, ln 3): a softmax of 1/4 and 3/4.
    scores = torch.tensor([[[0.0, 0.0], [0.0, 2 * np.log(3)], [9.0, 9.0]]], dtype=torch.float32)
    spots = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]])
    targets = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]])  # the second is padding
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert region_loss(scores, spots, targets, None).item() == pytest.approx(expected, abs=1e-6)
    assert region_loss(scores, spots, targets, torch.tensor([2.0])).item() == pytest.approx(2 * expected, abs=1e-6)


# ---------------------------------------------------------------- boxes of the sample set


@pytest.fixture(scope="module")
def posts():
    """Eight short posts of the sample set: seven whose entities all have boxes, one without entities."""
    rows = load_sample("gmner")["train"].select(range(160)).cast_column("image", Image(decode=False))
    codec = Codec(rows.features)
    found = [post for post in map(codec.to_post, rows) if post.images and len(post.tokens) < 12]
    boxed = [post for post in found if post.entities and all(entity.boxes for entity in post.entities)]
    return [*boxed[:7], *[post for post in found if not post.entities][:1]]


@pytest.fixture(scope="module")
def folder(posts, tmp_path_factory):
    """Regions in files: the boxes of each post's entities, and others, with features that tell them apart."""
    folder = tmp_path_factory.mktemp("npz")
    for i, post in enumerate(posts):
        boxes = [entity.boxes[0] for entity in post.entities] + [(0.0, 0.0, 20.0, 20.0), (60.0, 60.0, 90.0, 90.0)]
        features = np.random.default_rng(i).normal(size=(len(boxes), 16)).astype(np.float32)
        others = {"num_boxes": len(boxes), "bounding_boxes": np.array(boxes, np.float32)}
        np.savez(folder / f"{post.id}.npz", box_features=features, **others)
    return folder


SMALL = "encoder=tiny,dropout=0.0,batch_size=8,warmup=0.0,checks=4,device=cpu"


def small(name, folder, steps, *more):
    rates = f"steps={steps},learning_rate=4e-3,head_learning_rate=4e-3"
    longest = [] if name == "h_index" else ["most_steps=80"]
    return parse_backbone(f"{name}:{SMALL},{rates},regions={folder}", [*longest, *more])


@pytest.fixture(scope="module")
def bart(posts, tmp_path_factory):
    """The folder of a small BART, whose own settings would let it write no two words twice."""
    folder = tmp_path_factory.mktemp("bart")
    tokenizer, _ = make_tiny([*posts, *phrases_of(["PER", "LOC", "ORG", "MISC"], ())])
    tokenizer.save_pretrained(folder)
    model = transformers.BartForConditionalGeneration(tiny_bart(tokenizer))
    model.generation_config.update(no_repeat_ngram_size=2, forced_bos_token_id=5)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["tiger", "h_index", "tiger with a BART"])
def fitted(request, posts, folder, bart):
    name, _, with_bart = request.param.partition(" ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all boxes are covered
        return small(name, folder, 120, *([f"encoder={bart}"] if with_bart else [])).fit(posts, posts)


def f1(predictions, posts):
    return score_grounded([p.entities() for p in predictions], [post.entities for post in posts]).gmner.micro.f1


def test_it_has_the_boxes_of_eight_posts_by_heart(fitted, posts):
    found = fitted.predict(posts)
    assert sum(len(post.entities) for post in posts) >= 7
    assert f1(found, posts) == 1.0
    assert [len(p.boxes) for p in found] == [len(post.entities) for post in posts]
    assert max(check.score for check in fitted.fitted.history) == 1.0


def test_regions_of_another_picture_change_the_answer(fitted, posts, folder, tmp_path):
    found = fitted.predict(posts)
    one, other = posts[0], posts[1]
    for post, path in ((one, other), (other, one)):
        (tmp_path / f"{post.id}.npz").write_bytes((folder / f"{path.id}.npz").read_bytes())
    swapped = replace(fitted, regions=str(tmp_path))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="dataset: .* are left out")
        assert [p.boxes for p in swapped.predict(posts[:2])] != [p.boxes for p in found[:2]]


def test_batches_change_no_box_and_a_saved_one_is_the_same(fitted, posts, tmp_path, monkeypatch):
    found = fitted.predict(posts)
    fitted.save(tmp_path)
    loaded = type(fitted).load(tmp_path)
    assert loaded.predict(posts) == found
    for size in (1, 3):
        monkeypatch.setattr(training, "PREDICT_BATCH", size)
        assert [(p.plain_spans(), p.boxes) for p in loaded.predict(posts)] == [
            (p.plain_spans(), p.boxes) for p in found
        ]
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    (tmp_path / "encoder" / "config.json").write_text(json.dumps({**config, "fine_types": "all"}))
    with pytest.raises(Corrupt, match="fine_types: expected a list, found") as error:
        type(fitted).load(tmp_path)
    assert "\n" not in str(error.value)


def test_steps_one_by_one_are_those_of_the_whole_answer(posts, folder):
    untrained = small("h_index", folder, 1).fit(posts)
    net, pieces = untrained.fitted.net.eval(), untrained.fitted.pieces
    regions = untrained.gallery(lambda: net)
    examples = encode(untrained, posts, pieces, regions, "dataset")
    batch = collator(pieces, regions)(examples)
    with torch.no_grad():
        labels, chances, scores = net.write(**batch)
        logits, whole = net.follow(net.read(**batch), labels)
    assert len({(row != -100).sum().item() for row in labels}) > 1, "answers of several lengths"
    here = labels != -100
    assert torch.equal(logits.argmax(2)[here], labels[here])
    assert torch.allclose(logits.softmax(2).amax(2)[here], chances[here], atol=1e-5)
    assert torch.allclose(whole[here], scores[here], rtol=1e-4, atol=1e-4)


def test_regions_of_another_source_are_refused(fitted, posts, tmp_path):
    np.savez(tmp_path / f"{posts[0].id}.npz", num_boxes=1, box_features=np.ones((1, 5)), bounding_boxes=[[0, 0, 9, 9]])
    with pytest.raises(
        UsageError, match="have features of 5 numbers, the regions that this model was trained with have"
    ):
        replace(fitted, regions=str(tmp_path)).predict(posts)


def test_regions_of_a_folder_are_named_by_content(posts, folder):
    backbone = small("tiger", folder, 1)
    pin = pinned_path(str(folder), "")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="dataset: .* are left out")
        named = fit_named(replace(backbone, regions=pin), posts)
        assert named.regions == pin
        assert named.predict(posts) == backbone.fit(posts).predict(posts)


def test_what_regions_do_not_cover_is_said_and_learnt_as_not_shown(posts, folder):
    backbone = small("tiger", folder, 1)
    far = replace(posts[0], entities=tuple(replace(e, boxes=((0.0, 0.0, 1.0, 1.0),)) for e in posts[0].entities))
    n = sum(len(post.entities) for post in posts)
    with pytest.warns(UserWarning, match=rf"train: the regions cover {n - len(far.entities)} of {n} gold boxes \("):
        backbone.fit([far, *posts[1:]])


def test_fine_types_are_learnt_saved_and_must_stay(posts, folder, tmp_path):
    fine = [replace(p, entities=tuple(replace(e, fine=f"{e.type}_kind") for e in p.entities)) for p in posts]
    fitted = small("tiger", folder, 1).fit(fine)
    fitted.save(tmp_path)
    loaded = type(fitted).load(tmp_path)
    kinds = sorted({e.fine for p in fine for e in p.entities})
    assert loaded.fitted.net.encoder.config.fine_types == kinds
    with pytest.raises(UsageError, match=f"was trained on the fine types {', '.join(kinds)}, train has none"):
        small("tiger", folder, 1, f"encoder={tmp_path}").fit(posts)


def test_what_cannot_be_read_is_counted(posts, folder):
    untrained = small("mmt5", folder, 1).fit(posts)
    with pytest.warns(UserWarning, match=r"dataset: \d+ parts of the answers for \d of 8 posts name no free words"):
        found = untrained.predict(posts)
    assert all(p.boxes == () for p in found)
    assert sum(p.unmapped for p in found) > 0


def test_a_bart_writes_no_more_than_its_positions(posts, folder, bart):
    with pytest.raises(UsageError, match=r"tiger: encoder '.*' writes at most 256 subwords: lower most_steps"):
        small("tiger", folder, 1, f"encoder={bart}", "most_steps=257").fit(posts)


def test_an_encoder_of_another_kind_is_one_line(posts, folder, tmp_path):
    tokenizer, config = make_tiny(posts)
    tokenizer.save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"tiger: encoder .* is a bert, expected a t5 or mt5 or umt5 or bart") as error:
        small("tiger", folder, 1, f"encoder={tmp_path}").fit(posts)
    assert "\n" not in str(error.value)


def test_an_answer_of_fine_types_has_only_entities_with_one():
    spoken = language()
    written = spoken.write(replace(POST, entities=ENTITIES), 6, [False] * 3)
    answer = Answer(written.ids, [0.9] * len(written.ids), np.zeros((len(written.ids), 0)))
    example = Example([], 0, [*range(6)], Proposed(), [], [], [])
    found = read_answer(parse_backbone("tiger:types=fine"), POST, example, answer, spoken)
    assert found.plain_spans() == [(0, 1, "basketball_player"), (4, 6, "city")]
    assert (found.fine, found.boxes, found.unmapped) == (("basketball_player", "city"), (None, None), 1)
    coarse = read_answer(parse_backbone("tiger"), POST, example, answer, spoken)
    assert coarse.plain_spans() == [(0, 1, "PER"), (2, 3, "PER"), (4, 6, "LOC")]
    assert (coarse.fine, coarse.unmapped) == (("basketball_player", None, "city"), 0)


@pytest.mark.slow
def test_crops_are_learnt_by_heart_too(posts):
    tower = "tower=tiny,freeze_vision=false,image_size=64"
    crops = parse_backbone(f"tiger:{SMALL},{tower},steps=200,learning_rate=3e-3,head_learning_rate=3e-3")
    fitted = crops.fit(posts, posts)
    assert f1(fitted.predict(posts), posts) == 1.0
    blind = replace(posts[1], images=posts[0].images)
    assert image_digest(blind.images[0]) != image_digest(posts[1].images[0])
    assert fitted.predict([blind])[0].boxes != fitted.predict([posts[1]])[0].boxes


def test_a_prediction_gives_entities():
    spans = (ScoredSpan(0, 1, "PER", 0.5), ScoredSpan(2, 3, "LOC", 0.5))
    box = (0.0, 0.0, 1.0, 1.0)
    plain = Prediction("p", spans)
    assert plain.entities() == [Entity(0, 1, "PER"), Entity(2, 3, "LOC")]
    grounded = replace(plain, boxes=(box, None), fine=(None, "city"))
    assert grounded.entities() == [Entity(0, 1, "PER", None, (box,)), Entity(2, 3, "LOC", "city")]
