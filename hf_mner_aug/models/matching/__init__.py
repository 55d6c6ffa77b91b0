"""Engines that embed texts and pictures as comparable vectors, by name: cca, open_clip."""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.models.device import model_licence, pinned_model
from hf_mner_aug.models.matching.cca import CCA, read_histograms
from hf_mner_aug.models.matching.pairs import Read
from hf_mner_aug.storage.pinned_files import checked_file, pinned_path
from hf_mner_aug.values import ByContent, Computing, Named

ENGINES = ("cca", "open_clip")
HUB = "hf-hub:"  # before an id, for open_clip


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


def committed_matcher(matcher: str) -> str:
    """Return a matcher's name with the commit of a model of the Hub (``open_clip:hf-hub:ID``)."""
    engine, _, model = matcher.partition(":")
    return f"{engine}:{HUB}{pinned_model(model.removeprefix(HUB))}" if model.startswith(HUB) else matcher


def named_models(matcher: str) -> tuple[Named, ...]:
    """Return the pretrained model of a matcher; one that is trained on the split has none."""
    model = matcher.partition(":")[2]
    licence = "mit" if model.endswith("/openai") else model_licence(model.removeprefix(HUB))
    return (Named(model, license=licence),) if model else ()


MatcherName = Annotated[  # a parameter that ``split_name`` takes
    str,
    ByContent(
        named_engine,
        committed_matcher,
        named_models,
        lambda matcher: Computing() if matcher.partition(":")[0] == "open_clip" else None,
    ),
]


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
