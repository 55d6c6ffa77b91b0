"""What a method's page says of its code: facts, parameters, presets, deviations, reasons, columns."""

import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from from_code.markdown import code, prose, table
from hf_mner_aug.cli.parameters import parameters_of
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.reasons import DROPPED, Reason
from hf_mner_aug.transform import Method
from hf_mner_aug.values import Range

DATA = (
    "`twitter2015` stands for your dataset: a folder that [`convert`](../datasets.md) wrote, or `ORG/NAME` on the Hub. "
    "Without one, `hf-mner-aug sample --out twitter2015` writes a drawn set under this name."
)
SHARED = tuple(field.name for field in fields(Method))
_DEVIATES = re.compile(r"\bDeviates: (.+?)(?=\nRejects:|\Z)", re.DOTALL)
_CLAUSE = re.compile(r";\s+(?![^(]*\))")  # not within parentheses


def facts(name: str) -> str:
    """Return what a user asks before choosing a method."""
    found = method_class(name).facts
    told = {
        "Paper": paper(found.paper),
        "Learns from train": found.learns,
        "Pictures": found.images,
        "Boxes": found.boxes,
        "Models": f"by default: {found.embedded}; in the paper: {found.paper_uses}",
        "Install": found.extra,
        "Key": found.key,
        "In Python": f"[`hf_mner_aug.{METHODS[name]}`](../reference/python.md#hf_mner_aug.{METHODS[name]})",
        "Made posts": "replace the gold posts in all splits"
        if replaces(name)
        else "are added to the gold posts of train",
    }
    head, *rows = told.items()
    return f"{DATA}\n\n{table(head, ([f'**{label}**', text] for label, text in rows))}"


def replaces(name: str) -> bool:
    """Say whether made posts take the place of the gold posts."""
    return method_class(name).mode == "replace"


def parameters(name: str) -> str:
    """Return the parameters of a method: its own first, then those of all methods."""
    cls = method_class(name)
    kinds = get_type_hints(cls, include_extras=True)
    found = sorted(parameters_of(cls), key=lambda p: p.name in SHARED)
    rows = (
        [f"`{p.name}`", prose(p.explained), _whole(spell_kind(kinds[p.name])), bounds(kinds[p.name]), code(p.default)]
        for p in found
    )
    return table(["parameter", "meaning", "type", "range", "default"], rows)


def spell_kind(kind: Any) -> str:
    """Return a field's type as its user writes it: ``list of str or none``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return spell_kind(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(spell_kind, arguments))
    if origin is tuple:
        return "choices" if (item := spell_kind(arguments[0])) == "choice" else f"list of {item}"
    if origin is typing.Literal:
        return "choice"
    return "none" if kind is type(None) else str(kind.__name__)


def _whole(text: str) -> str:
    """Return a few words that stay on one line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def bounds(kind: Any) -> str:
    """Return the values that a field's type allows: a range or a choice; empty where the type does not say."""
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(map(code, typing.get_args(kind)))
    ranges = [_whole(str(bound)) for bound in getattr(kind, "__metadata__", ()) if isinstance(bound, Range)]
    inside = [bounds(argument) for argument in typing.get_args(kind)]
    return ", ".join(filter(None, ranges or inside))


def presets(name: str) -> str:
    """Return the settings of each preset; the defaults are the preset ``embedded``."""
    parts = ["`embedded`, the default: no download, no key; the defaults of the table above."]
    for preset, params in method_class(name).presets.items():
        settings = "\n".join(f"    {key}={_typed(value)}" for key, value in params.items())
        parts.append(f"`--preset {preset}` sets\n\n{settings}")
    return "\n\n".join(parts)


def _typed(value: object) -> str:
    """Return a value as ``--set`` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def deviations(name: str) -> str:
    """Return how a method differs from its paper, as the header of its module says, or nothing."""
    header = inspect.cleandoc(sys.modules[method_class(name).__module__].__doc__ or "")
    found = _DEVIATES.search(header)
    if not found:
        return ""
    listed, _, rest = prose(found[1]).partition(". ")
    points = "\n".join(f"- {clause.removesuffix('.')}" for clause in _CLAUSE.split(listed))
    return "\n\n".join(filter(None, [points, rest]))


def reasons(name: str) -> str:
    """Return the reasons to reject posts, to drop made ones, and to have nothing to do, each with what to do."""
    cls = method_class(name)
    parts = [
        "Posts that could not be rewritten; `OUT.runs` keeps each with its reason and detail.",
        reason_table(cls.rejects),
        "Made posts that publishing drops.",
        reason_table({**cls.drops, **DROPPED}),
    ]
    idle = cls.facts.idle
    if idle.settings or idle.advice:
        parts.append(f"Posts with nothing to do: {prose(str(idle))}.")
    return "\n\n".join(parts)


def reason_table(found: Mapping[str, Reason]) -> str:
    """Return what each reason means and what to do where it takes too many posts."""
    rows = ([f"`{key}`", prose(reason.meaning), prose(reason.advise())] for key, reason in found.items())
    return table(["reason", "meaning", "what to do"], rows)


def overview() -> str:
    """Return the table of all methods."""
    rows = (
        [f"[`{name}`]({name}.md)", found.does, found.extra, paper(found.paper)]
        for name in METHODS
        for found in [method_class(name).facts]
    )
    return table(["method", "what it does", "install", "paper"], rows)


def paper(text: str) -> str:
    """Return a paper's authors and year as a link to it, or what is said of it where there is no address."""
    authors, _, address = text.partition(", ")
    return f"[{authors}]({address})" if address.startswith("https://") else prose(text)
