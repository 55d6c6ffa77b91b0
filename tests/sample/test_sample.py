import functools
import hashlib
import io
import itertools
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from hf_mner_aug import sample
from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.sample import words as sample_words
from hf_mner_aug.schema import FOUR_TYPES, Codec, bio_to_spans, spans_to_bio

TEXTS = "b10ab18eb711e311cd2294b414c42bf53de21ebb84ed81073be09c2433fcba05"
PIXELS = "877adc92ba9aaf0aefd62ec8ce7785fea2f5e8396a41102ee6fe58561d6fd4db"


@functools.cache
def posts(split=None):
    drawn = sample.draw_posts()
    return drawn[split] if split else tuple(post for name in drawn for post in drawn[name])


@functools.cache
def pictures():
    """All first pictures of matching posts with one mention [n, 60, 60, 3] and the types of what they show [n]."""
    shown = [d for d in posts() if d.image_matches and len(d.post.entities) == 1]
    pixels = [np.asarray(decoded(d.post.images[0]).resize((60, 60))) for d in shown]
    return np.stack(pixels) / 255, np.array([d.post.entities[0].type for d in shown])


def decoded(image):
    return Image.open(io.BytesIO(image["bytes"]))


def surface(drawn):
    return [" ".join(drawn.post.tokens[e.start : e.end]).casefold() for e in drawn.post.entities]


def accuracy(features, types):
    """The best cross-validated accuracy of a linear probe over two strengths of regularisation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probes = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)) for c in (1e-3, 1e-2)]
    return max(cross_val_score(probe, features, types, cv=5).mean() for probe in probes)


# ---------------------------------------------------------------- frozen


def test_the_drawing_is_frozen():
    texts, pixels = hashlib.sha256(), hashlib.sha256()
    for drawn in posts():
        tags = spans_to_bio([(e.start, e.end, e.type) for e in drawn.post.entities], len(drawn.post.tokens))
        texts.update(f"{drawn.post.id} {drawn.post.tokens} {tags} {drawn.image_matches}\n".encode())
        for image in drawn.post.images:
            pixels.update(decoded(image).tobytes())
    assert (texts.hexdigest(), pixels.hexdigest()) == (TEXTS, PIXELS)


def test_drawing_again_gives_the_same_bytes():
    again = sample._draw_split("validation", sample.SIZES["validation"], set())
    first = [next(again) for _ in range(20)]
    assert [d.post.tokens for d in first] == [d.post.tokens for d in posts("validation")[:20]]
    assert [d.post.images for d in first] == [d.post.images for d in posts("validation")[:20]]


# ---------------------------------------------------------------- columns


def encoded(dataset):
    from datasets import Image as ImageFeature
    from datasets import List

    if "images" in dataset.features:
        return dataset.cast_column("images", List(ImageFeature(decode=False)))
    return dataset.cast_column("image", ImageFeature(decode=False))


@pytest.mark.parametrize("name", sample.NAMES)
def test_all_sets_hold_the_same_posts(name):
    for split, dataset in sample.load_sample(name).items():
        codec = Codec(dataset.features)
        drawn = {d.post.id: d for d in posts(split) if name != "mre" or d.post.relation is not None}
        assert list(dataset["id"]) == list(drawn)
        for row in encoded(dataset).select(range(20)):
            post, truth = codec.to_post(row), drawn[row["id"]]
            assert list(post.tokens) == list(truth.post.tokens)
            assert post.images == (truth.post.images if name == "multi_image" else truth.post.images[:1])
            assert (row["image_matches"], row["ambiguous"]) == (truth.image_matches, truth.ambiguous)
            if name == "mre":
                assert post.relation == truth.post.relation
            else:
                assert [e[:3] for e in map(spread, post.entities)] == [e[:3] for e in map(spread, truth.post.entities)]
            if name == "gmner":
                assert post.entities == truth.post.entities


def spread(entity):
    return entity.start, entity.end, entity.type, entity.boxes


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'gmner'"):
        sample.load_sample("gmnr")


def test_pictures_tell_nothing_by_their_format():
    images = [image for d in posts() for image in d.post.images]
    assert {decoded(image).format for image in images} == {"PNG"}
    assert {decoded(image).mode for image in images} == {"RGB"}
    # Stored without compression, so that bytes follow from width and height.
    assert len({(decoded(image).size, len(image["bytes"])) for image in images}) == 3


# ---------------------------------------------------------------- what the posts are


def test_sizes_and_shares():
    sizes = {split: len(drawn) for split, drawn in sample.draw_posts().items()}
    assert all(sizes[split] >= least for split, least in (("train", 600), ("validation", 120), ("test", 200)))
    for split in sizes:
        drawn = posts(split)
        mentions = sum(len(d.post.entities) for d in drawn)
        unsettled = sum(d.contexts[0].count("{X}") for d in drawn if d.ambiguous)
        assert 0.3 <= unsettled / mentions <= 0.4
        pairs = [d.image_matches for d in drawn if d.post.images]
        assert 0.19 <= pairs.count(False) / len(pairs) <= 0.21
        counts = Counter(len(d.post.images) for d in drawn)
        assert min(counts[0], counts[2]) >= 0.08 * len(drawn)
        assert 0.07 <= sum(not d.post.entities for d in drawn) / len(drawn) <= 0.09
        assert 0.15 <= sum(len(d.post.entities) > 1 for d in drawn) / len(drawn) <= 0.3
        assert all((d.image_matches is None) == (not d.post.images) for d in drawn)


def test_relations_cover_pairs_and_none():
    for split in ("train", "test"):
        found = Counter(d.post.relation.type for d in posts(split) if d.post.relation is not None)
        assert set(found) == set(sample.RELATIONS)
    for d in posts():
        if d.post.relation is not None and d.post.relation.type != "None":
            spans = {(e.start, e.end): e.type for e in d.post.entities}
            types = sorted(spans[side].lower() for side in (d.post.relation.head, d.post.relation.tail))
            assert types == sorted(d.post.relation.type.split("/")[1:3])


def test_words_are_those_of_tweets():
    tokens = [d.post.tokens for d in posts("train")]
    for share, found in (
        (0.1, [words[0].upper() == "RT" and words[1][0] == "@" and words[2] == ":" for words in tokens]),
        (0.2, [any(word.startswith("@") for word in words) for words in tokens]),
        (0.2, [any(word.startswith("#") for word in words) for words in tokens]),
        (0.2, [words[-1].startswith("http://t.co/") for words in tokens]),
        (0.1, [any(ord(word[0]) > 0x2000 for word in words) for words in tokens]),
    ):
        assert np.mean(found) >= share
    names = [name.split() for d in posts() for name in surface(d)]
    raw = [d.post.tokens[e.start] for d in posts() for e in d.post.entities]
    assert 0.05 <= np.mean([word.islower() for word in raw]) <= 0.2
    assert sum(name[0] == "the" for name in names) >= 20
    assert all(word and word == word.strip() for words in tokens for word in words)
    # "a" stands before no vowel and no name that begins with "The" follows a determiner.
    pairs = Counter((a.lower(), b.lower()) for words in tokens for a, b in itertools.pairwise(words))
    assert not [pair for pair in pairs if pair[0] == "a" and pair[1][0] in "aeio"]
    assert ("the", "the") not in pairs


def test_no_text_is_drawn_twice():
    texts = [tuple(d.post.tokens) for d in posts()]
    assert len(set(texts)) == len(texts)


def test_half_of_test_names_and_contexts_are_unseen():
    names = {name for d in posts("train") for name in surface(d)}
    test_names = {name for d in posts("test") for name in surface(d)}
    assert 0.4 <= len(test_names - names) / len(test_names) <= 0.6
    contexts = {context for d in posts("train") for context in d.contexts}
    test_contexts = {context for d in posts("test") for context in d.contexts}
    assert 0.4 <= len(test_contexts - contexts) / len(test_contexts) <= 0.6


def test_ambiguous_posts_are_those_with_a_name_of_two_types_in_words_that_do_not_tell():
    senses = {name.casefold(): types for types, names in sample_words.AMBIGUOUS.items() for name in names}
    assert len(senses) >= 100
    used = {}
    for d in posts():
        assert d.ambiguous == ("{X}" in " ".join(d.contexts))
        if not d.ambiguous:
            continue
        assert d.post.images
        n_open = d.contexts[0].count("{X}")
        types = senses[surface(d)[0]]
        for entity, name in list(zip(d.post.entities, surface(d), strict=True))[:n_open]:
            assert senses[name] == types
            assert entity.type in types
        # A companion must not hint at one of the two.
        assert not any(e.type in types for e in d.post.entities[n_open:])
        used.setdefault(types, Counter())[d.post.entities[0].type] += 1
    for types, counts in used.items():
        assert min(counts[kind] for kind in types) >= 0.42 * sum(counts.values())


# ---------------------------------------------------------------- what the pictures show


def test_boxes_stand_where_the_picture_shows_the_mentions():
    for d in posts():
        boxes = [box for e in d.post.entities for box in e.boxes]
        assert len(boxes) == (len(d.post.entities) if d.image_matches else 0)
        for x1, y1, x2, y2 in boxes:
            width, height = decoded(d.post.images[0]).size
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            assert (x2 - x1) * (y2 - y1) >= 900


def test_a_box_holds_what_the_picture_adds_to_its_background():
    from hf_mner_aug.draw import draw
    from hf_mner_aug.sample.drawing import picture

    for kind in FOUR_TYPES:
        for copy in range(5):
            root = draw(1, "test", 1, kind, copy)
            thing, [(x1, y1, x2, y2)] = picture(root, [(kind, "Red Bull")])
            empty, none = picture(root, [])
            assert none == []
            changed = np.abs(np.asarray(thing, int) - np.asarray(empty, int)).sum(2) > 30
            rows, columns = np.nonzero(changed)
            extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(np.subtract(extent, [x1, y1, x2, y2])).max() <= 3


def test_colour_place_and_size_do_not_tell_the_type():
    pixels, types = pictures()
    thumbnails = pixels[:, 2:58, 2:58].reshape(-1, 8, 7, 8, 7, 3).mean((2, 4)).reshape(len(pixels), -1)
    assert accuracy(thumbnails, types) <= 0.40
    shown = [d for d in posts() if d.image_matches and len(d.post.entities) == 1]
    boxes = [[*decoded(d.post.images[0]).size, *d.post.entities[0].boxes[0]] for d in shown]
    assert accuracy(np.array(boxes), types) <= 0.40


def test_edges_tell_the_type():
    pixels, types = pictures()
    down, across = np.gradient(pixels, axis=(1, 2))
    strength = np.hypot(down, across)
    strongest = strength.argmax(-1)[..., None]
    down, across, strength = (np.take_along_axis(a, strongest, -1)[..., 0] for a in (down, across, strength))
    angle = (np.arctan2(down, across) % np.pi / np.pi * 9).astype(int) % 9
    histograms = np.stack([strength * (angle == i) for i in range(9)], -1)
    cells = histograms.reshape(-1, 4, 15, 4, 15, 9).sum((2, 4)).reshape(len(pixels), -1)
    features = np.sqrt(cells / cells.sum(1, keepdims=True))
    assert accuracy(features, types) >= 0.85


def test_a_mismatched_picture_shows_types_that_the_text_cannot_mean(monkeypatch):
    drawn = []

    def picture(draw, shown):
        drawn.append([kind for kind, _ in shown])
        return Image.new("RGB", (4, 4)), [(0, 0, 1, 1) for _ in shown]

    monkeypatch.setattr("hf_mner_aug.sample.drawing.picture", picture)
    for d in sample._draw_split("test", 150, set()):
        shown, drawn = drawn, []
        kinds = [e.type for e in d.post.entities]
        if d.image_matches:
            assert shown[0] == kinds
        elif d.post.images:
            senses = (
                {types for types, names in sample_words.AMBIGUOUS.items() if surface(d)[0] in map(str.casefold, names)}
                if d.ambiguous
                else set()
            )
            assert len(shown[0]) == max(1, len(kinds))
            assert not set(shown[0]) & set(kinds).union(*senses)


# ---------------------------------------------------------------- difficulty


def test_a_feature_crf_on_the_text_stays_below_its_bound():
    import sklearn_crfsuite

    def features(tokens):
        rows = []
        for i in range(len(tokens)):
            row = {"bias"}
            for offset in range(-2, 3):
                word = tokens[i + offset] if 0 <= i + offset < len(tokens) else "</s>"
                shape = "".join("X" if c.isupper() else "d" if c.isdigit() else "x" if c.isalpha() else c for c in word)
                row |= {f"{offset} word {word.lower()}", f"{offset} shape {shape[:6]}"}
                if not offset:
                    row |= {f"prefix {word[:n].lower()}" for n in (1, 2, 3)}
                    row |= {f"suffix {word[-n:].lower()}" for n in (1, 2, 3)}
            rows.append(dict.fromkeys(sorted(row), 1.0))
        return rows

    def tagged(split):
        return [
            (features(d.post.tokens), spans_to_bio([spread(e)[:3] for e in d.post.entities], len(d.post.tokens)))
            for d in posts(split)
        ]

    def micro_f1(crf, rows):
        found = right = gold = 0
        for (_, tags), predicted in zip(rows, crf.predict([x for x, _ in rows]), strict=True):
            spans, guesses = set(bio_to_spans(tags)), set(bio_to_spans(predicted))
            found, right, gold = found + len(guesses), right + len(spans & guesses), gold + len(spans)
        return 2 * right / (found + gold)

    train, validation, test = map(tagged, ("train", "validation", "test"))
    crfs = []
    for c1, c2 in ((0.0, 0.3), (0.1, 0.03)):
        crf = sklearn_crfsuite.CRF(algorithm="lbfgs", c1=c1, c2=c2, max_iterations=60)
        crf.fit([x for x, _ in train], [tags for _, tags in train])
        crfs.append(crf)
    best = max(crfs, key=lambda crf: micro_f1(crf, validation))
    assert 0.5 <= micro_f1(best, test) <= 0.75
