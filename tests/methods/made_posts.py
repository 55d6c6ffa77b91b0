"""A post of the paper, engines of a script, and what is read of made rows."""

import json
from collections import Counter

from PIL import Image

from hf_mner_aug import GMDA
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.schema import Entity, Post

TYPES = ("PER", "LOC", "ORG", "MISC")
CURRY = Post("p", ["Stephen", "Curry", "Makes", "NBA", "History"], (Entity(0, 2, "PER"), Entity(3, 4, "ORG")))


def rows(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


def details(row):
    return json.loads(row["provenance"])["details"]


def reasons(method, dataset):
    return Counter(reject["reason"] for reject in method.make(dataset.with_format("arrow")[:]).rejects)


class Painter:
    """An image engine that paints one colour from its draw, in its own size, and notes what it got."""

    source = "trainedAlgorithmicMedia"
    restyles = False

    def __init__(self, refuse=None):
        self.refuse, self.calls = refuse, []

    def generate(self, sentences, draws, *, sizes=None, originals=None):
        self.calls += zip(sentences, draws, originals, strict=True)
        if self.refuse:
            return [Refused(self.refuse) for _ in sentences]
        return [Image.new("RGB", (8, 24), tuple(draw.integer(256) for _ in range(3))) for draw in draws]


def with_painter(monkeypatch, **options):
    painter = Painter(**options)
    monkeypatch.setattr(GMDA, "_image_engine", lambda self: painter)
    return painter


class Writer:
    """A text engine that says what it is told to."""

    def __init__(self, say):
        self.say, self.requests = say, []

    def generate(self, requests, draws):
        self.requests += requests
        return [self.say(request) for request in requests]


def with_writer(monkeypatch, say):
    writer = Writer(say)
    monkeypatch.setattr(GMDA, "_text_engine", lambda self: writer)
    return writer
