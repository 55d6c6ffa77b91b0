"""Eight posts that the multimodal backbones' tests learn: four texts, each with two pictures that settle its name."""

import io

from PIL import Image, ImageDraw

from hf_mner_aug.schema import Entity, Post, Relation

NAMES = ("Jordan", "Amazon")
TEXTS = ("I love Jordan", "seeing Jordan today", "Amazon is great", "we met Amazon last night")


def picture(colour, size=(90, 64)):
    """Return a plain picture with a white disc, as an encoded image."""
    file = io.BytesIO()
    image = Image.new("RGB", size, colour)
    ImageDraw.Draw(image).ellipse((20, 20, 60, 50), fill="white")
    image.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def eight_posts():
    """Return the posts: those with a red picture name a person, those with a blue one a place."""
    posts = []
    for i, text in enumerate(TEXTS):
        words = text.split()
        at = next(n for n, word in enumerate(words) if word in NAMES)
        for colour, kind in (("red", "PER"), ("blue", "LOC")):
            posts.append(Post(f"{i}-{colour}", words, (Entity(at, at + 1, kind),), (picture(colour),)))
    return posts


def eight_pairs():
    """Return posts with head and tail: those with a red picture have no relation, those with a blue one are members."""
    texts = ["Curry plays for the Warriors", "Drake saw Toronto today", "Adele lives in London", "Messi met Adele here"]
    names = [((0, 1), (4, 5)), ((0, 1), (2, 3)), ((0, 1), (3, 4)), ((0, 1), (2, 3))]
    kinds = {"red": "None", "blue": "/per/org/member_of"}
    return [
        Post(f"{i}-{colour}", text.split(), images=(picture(colour),), relation=Relation(head, tail, kind))
        for i, (text, (head, tail)) in enumerate(zip(texts, names, strict=True))
        for colour, kind in kinds.items()
    ]
