"""Collages: pieces of train pictures that belong to what a sentence mentions."""

import io
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from drawn_pictures import draws_for, noise_picture, pixels, same
from PIL import Image, ImageDraw
from places import DATA

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import NotFitted, UsageError
from hf_mner_aug.models.image import collage, composition
from hf_mner_aug.models.image.collage import Collage, GroundedSentence, Label, Region
from hf_mner_aug.models.image.composition import Opened
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.schema import Entity, Post, bio_to_spans
from hf_mner_aug.storage.posts import open_posts, save_posts

# ---------------------------------------------------------------- collages: what train posts say

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 210), "yellow": (230, 220, 40)}


def encoded(picture, kind="PNG"):
    file = io.BytesIO()
    picture.save(file, kind)
    return {"bytes": file.getvalue(), "path": None}


def tweet(text, *entities, image=None, boxes=()):
    """Return a post; an entity is ``(words, type)``, a picture a colour or an image."""
    tokens = text.split()
    spans = []
    for words, kind in entities:
        first = next(i for i in range(len(tokens)) if tokens[i : i + len(words.split())] == words.split())
        spans.append(Entity(first, first + len(words.split()), kind, None, tuple(boxes)))
    images = ()
    if image:
        plain = encoded(Image.new("RGB", (120, 100), COLOURS[image])) if isinstance(image, str) else image
        images = (plain,)
    return Post(text, tokens, tuple(spans), images)


TRAIN = [
    tweet("we love Paris in the spring", ("Paris", "LOC"), image="red"),
    tweet("New York marathon today", ("New York", "LOC"), image="green"),
    tweet("New York Times prints it", ("New York Times", "ORG"), image="blue"),
    tweet("Adele sings again tonight", ("Adele", "PER"), image="yellow"),
    tweet("Lionel Messi scores", ("Lionel Messi", "PER")),
    tweet("they told us so", ("us", "LOC")),
    tweet("come with us now"),
    tweet("give us a break"),
]


def reading(train, sentence):
    return GroundedSentence(sentence, collage._knowledge(Collage(posts=save_posts(train)).posts))


def rows_of(choices):
    return [([region.row for region in choice.named], [region.row for region in choice.others]) for choice in choices]


def test_the_longest_known_mention_counts():
    known = {("new", "york"): 1, ("new", "york", "times"): 1, ("times",): 1}
    words = collage.words_of("RT @x : New York TIMES , #Times and new-york ! http://t.co/x")
    assert words == ["new", "york", "times", "times", "and", "new", "york"]
    assert collage.longest_matches(words, known, 3) == [("new", "york", "times"), ("times",), ("new", "york")]
    assert collage.longest_matches([], known, 3) == collage.longest_matches(["new"], known, 3) == []
    assert collage.words_of("我爱 New York ！") == ["我", "爱", "new", "york"]


def test_mentions_bring_pictures_of_posts_that_mention_them():
    found = rows_of(reading(TRAIN, "ADELE moves to new york").choices(Draw(b"1")))
    assert [named for named, _ in found] == [[3], [1]]
    # Messi's post has no picture: another person's stands in.
    assert rows_of(reading(TRAIN, "Lionel Messi sings").choices(Draw(b"1"))) == [([], [3])]
    # What train labels less often than not is no mention, and like posts stand in; those without a picture do not.
    asked = reading(TRAIN, "us again")
    assert list(asked.choices(Draw(b"1"))) == []
    assert asked.alike(Draw(b"1")) == [Region(3, ())]
    assert reading(TRAIN, "xyz ??").alike(Draw(b"1")) == []


def test_a_posts_own_text_and_picture_take_no_part():
    twin = tweet("Paris again", ("Paris", "LOC"), image="red")
    train = [*TRAIN, twin, tweet("Paris at night", ("Paris", "LOC"), image="blue")]
    asked = reading(train, "RT @fan : We love PARIS , in the spring ! http://t.co/x")
    assert asked.own == {0, 8}
    assert [named for named, _ in rows_of(asked.choices(Draw(b"1")))] == [[9]]
    # Only its own post knows this mention, so its type is not known either, and nothing else is like it.
    train = [*TRAIN, tweet("Bono here", ("Bono", "PER"), image="blue")]
    asked = reading(train, "Adele sings again tonight")
    assert list(asked.choices(Draw(b"1"))) == asked.alike(Draw(b"1")) == []
    assert rows_of(reading(train, "Adele sings again and again").choices(Draw(b"1"))) == [([3], [3, 8])]


def test_like_words_settle_which_sense_is_shown():
    train = [tweet(f"Jordan dunks again {i}", ("Jordan", "PER"), image="red") for i in range(6)]
    train += [tweet(f"the desert of Jordan {i}", ("Jordan", "LOC"), image="blue") for i in range(3)]
    seen = set()
    for i in range(10):
        [choice] = reading(train, "walking the desert in Jordan").choices(Draw(bytes([i])))
        assert {region.row for region in choice.named[:3]} == {6, 7, 8}
        seen.add(choice.named[0].row)
    assert seen == {6, 7, 8}


def test_where_train_has_boxes_only_they_are_shown():
    train = [
        tweet("Adele sings", ("Adele", "PER"), image="red", boxes=[(1.0, 2.0, 30.0, 40.0)]),
        tweet("Adele laughs", ("Adele", "PER"), image="green"),
    ]
    [choice] = reading(train, "where is Adele").choices(Draw(b"1"))
    assert choice.named == [Region(0, ((1.0, 2.0, 30.0, 40.0),))]
    labels = collage._knowledge(Collage(posts=save_posts(train)).posts).mentions[("adele",)].labels
    assert labels == [Label(0, "PER", choice.named[0]), Label(1, "PER", None)]


# ---------------------------------------------------------------- collages: pictures


def test_a_collage_shows_the_mention_in_focus():
    engine = Collage(posts=save_posts(TRAIN), size=128)
    [made] = engine.generate(["Adele dreams of Paris"], draws_for(["x"]))
    assert made.size == (128, 128)
    assert made.mode == "RGB"
    # Two regions side by side, in the order of the sentence; next to the frame they have their own colours.
    assert np.abs(pixels(made)[90, 4] - COLOURS["yellow"]).max() <= 3
    assert np.abs(pixels(made)[90, -4] - COLOURS["red"]).max() <= 3


def test_draws_make_other_pictures_and_company_does_not():
    engine = Collage(posts=save_posts(TRAIN), size=96)
    sentences = ["Adele dreams of Paris", "the spring in New York", "sings again", "qqq"]
    made = engine.generate(sentences, draws_for(sentences))
    assert made[3] == Refused("no_region", "no other train post with a picture has a word of the sentence")
    back = pickle.loads(pickle.dumps(engine)).generate(sentences[2::-1], draws_for(sentences)[2::-1])
    assert same(made[:3], back[::-1])
    assert not same(made[:1], engine.generate(sentences[:1], draws_for(sentences[:1], copy=1)))


def test_a_collage_knows_the_train_posts_and_nothing_else():
    engine = Collage(posts=save_posts(TRAIN), size=64)
    assert open_posts(engine.posts).ids == [post.id for post in TRAIN]
    assert engine == Collage(posts=engine.posts, size=64)
    with pytest.raises(NotFitted, match="0000"):
        Collage(posts="0" * 64).generate(["x"], draws_for(["x"]))
    with pytest.raises(UsageError, match="at least 32"):
        Collage(posts="0" * 64, size=16)


def test_the_labels_of_the_post_at_hand_change_nothing():
    """A test post's sentence is all that is read of it: any labels make the same picture."""
    engine = Collage(posts=save_posts(TRAIN), size=64)
    tests = [
        tweet("Adele in Paris", ("Adele", "PER"), ("Paris", "LOC")),
        tweet("New York and Adele", ("New York", "LOC")),
    ]
    swapped = [replace(a, entities=b.entities) for a, b in zip(tests, tests[::-1], strict=True)]
    made = [
        engine.generate([" ".join(post.tokens) for post in posts], draws_for([post.id for post in posts]))
        for posts in (tests, swapped)
    ]
    assert same(*made)


def test_sizes_are_kept_and_an_original_shows_where_nothing_is_put():
    engine = Collage(posts=save_posts(TRAIN), size=64)
    sentences = ["Adele", "Adele in Paris", "New York"]
    sizes = [(33, 21), (640, 300), (1, 7)]
    assert [made.size for made in engine.generate(sentences, draws_for(sentences), sizes=sizes)] == sizes
    start = Image.new("RGB", (60, 60), "white")
    ImageDraw.Draw(start).line([(i, 0 if i % 2 else 29) for i in range(60)], fill="black")
    [made] = engine.generate(["Adele"], draws_for(["x"]), originals=[start])
    assert made.size == (60, 60)
    assert np.array_equal(pixels(made)[:28], pixels(start)[:28])
    corners = [pixels(made)[-3, x] for x in (2, -3)]
    assert min(np.abs(corner - COLOURS["yellow"]).max() for corner in corners) <= 3


def test_a_picture_that_does_not_open_is_passed_over():
    broken = {"bytes": b"\xff\xd8\xff no jpeg", "path": None}
    train = [
        tweet("Adele sings", ("Adele", "PER"), image=broken),
        tweet("Adele Adele Adele", ("Adele", "PER"), image="blue"),
        tweet("Adele missing", ("Adele", "PER"), image={"bytes": b"GIF89a", "path": None}),
    ]
    [made] = Collage(posts=save_posts(train), size=64).generate(["Adele sings missing"], draws_for(["x"]))
    assert np.abs(pixels(made)[-2, 32] - COLOURS["blue"]).max() <= 3


def test_where_no_picture_shows_a_type_a_like_post_stands_in():
    train = [
        tweet("Oslo wins again", ("Oslo", "ORG")),
        tweet("it rains again", image="green"),
        tweet("😂", image="red"),
    ]
    [made] = Collage(posts=save_posts(train), size=64).generate(["Oslo again"], draws_for(["x"]))
    assert np.abs(pixels(made)[-2, 32] - COLOURS["green"]).max() <= 3
    assert (
        Collage(posts=save_posts(train[2:]), size=64).generate(["Oslo 😂"], draws_for(["x"]))[0].reason == "no_region"
    )
    assert Collage(posts=save_posts([]), size=64).generate(["Oslo"], draws_for(["x"]))[0].reason == "no_region"


def test_no_seam_is_seen():
    """White before black: colours rise over half of the region, so neighbours differ by few levels."""
    white = Opened(Image.new("RGB", (80, 80), "white"), ())
    made = pixels(composition.compose(Image.new("RGB", (256, 256)), [white], [(0.1, 0.1, 0.8, 1.0)]))
    steps = max(np.abs(np.diff(made, axis=axis)).max() for axis in (0, 1))
    assert made[:, :, 0].max() == 255
    assert made[0].max() == made[:, 0].max() == 0
    assert steps <= 6  # 255 over 90 pixels, 1.5 times as steep in the middle


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_slots_lie_in_the_picture_and_on_the_ground(n):
    for i in range(50):
        slots = composition.draw_slots(n, Draw(bytes([i])))
        assert len(slots) == n
        assert all(0 <= left < right <= 1 + 1e-9 and 0 <= top < bottom <= 1 for left, top, right, bottom in slots)
        assert sum(bottom == 1 for *_, bottom in slots) == (2 if n == 4 else n)


def test_the_busiest_part_is_found_and_a_box_is_kept_whole():
    picture = Image.new("RGB", (300, 200), "grey")
    noise = noise_picture(0, (100, 100))
    picture.paste(noise, (180, 60))
    left, top, right, bottom = composition.busiest_window(picture, 1.0)
    assert max(left - 180, top - 60, 280 - right, 160 - bottom) <= 5
    assert (right - left) / (bottom - top) == pytest.approx(1, abs=0.05)
    # 60 x 80 with its margin is 69.6 x 92.8; a ratio of 2 widens it to 185.6, and the frame pushes it left.
    window = composition.window_around([(230.0, 50.0, 290.0, 130.0)], picture, 2.0)
    assert window == pytest.approx((300 - 185.6, 90 - 46.4, 300, 90 + 46.4))


def test_a_large_jpeg_is_opened_small_and_its_boxes_follow():
    picture = Image.new("RGB", (1600, 1200), "white")
    picture.paste((20, 30, 200), (400, 200, 1200, 1000))
    opened = composition.open_reduced(encoded(picture, "JPEG"), ((400.0, 200.0, 1200.0, 1000.0),), 150)
    assert opened.picture.size == (400, 300)
    assert opened.boxes == ((100.0, 50.0, 300.0, 250.0),)
    assert opened.picture.getpixel((150, 150))[2] > 150 > opened.picture.getpixel((150, 150))[0]
    assert composition.open_reduced(encoded(picture, "JPEG"), (), 150).picture.size == (200, 150)
    assert composition.open_reduced(encoded(picture), (), 150).picture.size == (1600, 1200)


@pytest.mark.skipif(not (DATA / "tweets_with_images").is_dir(), reason=f"no real data in {DATA} ($MNER_DATA)")
def test_real_tweets_get_pictures_that_are_not_their_own():
    folder = DATA / "tweets_with_images"
    rows = [json.loads(line) for line in (folder / "real36.jsonl").read_text().splitlines()]
    posts = [
        Post(
            row["img_id"],
            row["tokens"],
            tuple(Entity(*span) for span in bio_to_spans(row["labels"])),
            ({"bytes": (folder / row["image"]).read_bytes(), "path": row["image"]},),
        )
        for row in rows
    ]
    engine = Collage(posts=save_posts(posts), size=96)
    sentences = [" ".join(post.tokens) for post in posts]
    made = engine.generate(sentences, draws_for(sentences), sizes=[tuple(row["size"]) for row in rows])
    refused = [result for result in made if isinstance(result, Refused)]
    assert len(refused) <= 2
    for row, result in zip(rows, made, strict=True):
        if not isinstance(result, Refused):
            assert result.size == tuple(row["size"])
            assert pixels(result).std() > 5
    known = collage._knowledge(engine.posts)
    for i, sentence in enumerate(sentences):
        assert GroundedSentence(sentence, known).own == {i}
