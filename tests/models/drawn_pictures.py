"""Pictures and draws for tests of image engines."""

import numpy as np
from PIL import Image

from hf_mner_aug.draw import draw


def draws_for(sentences, copy=0):
    return [draw(0, "test", 1, sentence, copy) for sentence in sentences]


def pixels(picture):
    return np.asarray(picture, dtype=int)


def same(first, second):
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def noise_picture(i, size=(64, 64)):
    return Image.fromarray(np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
