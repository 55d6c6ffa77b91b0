"""Engines that embed texts and pictures as comparable vectors, by name: cca, open_clip."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.models.matching.cca import CCA, read_histograms
from hf_mner_aug.models.matching.pairs import Read

ENGINES = ("cca", "open_clip")


def split_name(matcher: str) -> tuple[str, str]:
    """Return the engine of a matcher and its pretrained model; the model is empty if the engine is trained on a split.

    Raises:
        UnknownName: there is no such matcher.
    """
    engine, _, model = matcher.partition(":")
    if engine not in ENGINES or (model and engine == "cca"):
        raise UnknownName("matcher", matcher, (*ENGINES, "open_clip:NAME/WEIGHTS", "open_clip:FOLDER"))
    return engine, model


def open_engine(matcher: str, files: Mapping[str, str]) -> Any:
    """Return a pretrained encoder, or one restored from the digests of what it learned (a ``PairEncoder``).

    Raises:
        MissingExtra: open_clip is not installed.
        NotFitted: what it learned is not on this machine.
        UsageError: there is no such model.
    """
    engine, model = split_name(matcher)
    if engine == "cca":
        return CCA.restore(files)
    from hf_mner_aug.models.matching import clip

    return clip.load(model) if model else clip.restore(files)


def trainer(engine: str, seed: int) -> tuple[Read, Callable[..., Any]]:
    """Return an engine's functions to read pictures, and to learn from texts and picture features."""
    if engine == "cca":
        return read_histograms, CCA.fit
    from hf_mner_aug.models.matching.clip import read_squares, train

    return read_squares, functools.partial(train, seed=seed)
