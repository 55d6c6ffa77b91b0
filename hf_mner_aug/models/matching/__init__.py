"""Engines that embed texts and pictures as comparable vectors, by name: cca, open_clip."""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.models.matching.cca import CCA, read_histograms
from hf_mner_aug.models.matching.pairs import Read
from hf_mner_aug.storage.pinned_files import checked_file, pinned_path
from hf_mner_aug.values import ByContent

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


def named_engine(matcher: str, where: str) -> str:
    """Return a matcher's name with the content of its folder instead of the path.

    Raises:
        UnknownName: there is no such matcher.
        UsageError: the folder cannot be read.
    """
    engine, model = split_name(matcher)
    return f"{engine}:{pinned_path(model, where)}" if model else matcher


MatcherName = Annotated[str, ByContent(named_engine)]  # a parameter that ``split_name`` takes


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

    return clip.load(checked_file(model, "matcher open_clip:")) if model else clip.restore(files)


def trainer(engine: str, seed: int) -> tuple[Read, Callable[..., Any]]:
    """Return an engine's functions to read pictures, and to learn from texts and picture features."""
    if engine == "cca":
        return read_histograms, CCA.fit
    from hf_mner_aug.models.matching.clip import read_squares, train

    return read_squares, functools.partial(train, seed=seed)
