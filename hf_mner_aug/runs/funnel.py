"""The outcome of the posts requested from a method, counted once for the command line, cards and pages."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.reasons import DROPPED
from hf_mner_aug.runs.recipe import parse_params
from hf_mner_aug.transform import Method


class Funnel(TypedDict):
    """Posts requested are ``posts`` times the copies: rejected, with nothing to do (``idle``), dropped, or kept.

    ``made`` are those dropped or kept. ``rejected`` and ``dropped`` are by reason. Older notes lack ``idle``.
    """

    posts: int
    made: int
    rejected: Mapping[str, int]
    dropped: Mapping[str, int]
    kept: int
    idle: NotRequired[int]
    usage: NotRequired[Mapping[str, float]]
    limits: NotRequired[Mapping[str, int | float]]


def outcomes(funnel: Mapping[str, Any], copies: int) -> dict[str, int]:
    """Return how many posts were rejected, had nothing to do, were dropped and were kept; they add up to all asked."""
    idle = funnel.get("idle", funnel["posts"] * copies - funnel["made"] - sum(funnel["rejected"].values()))
    return {
        **{f"rejected: {reason}": count for reason, count in funnel["rejected"].items()},
        **({"nothing to do": idle} if idle else {}),
        **{f"dropped: {reason}": count for reason, count in funnel["dropped"].items()},
        "kept": funnel["kept"],
    }


def asked_for(funnel: Mapping[str, Any], copies: int) -> tuple[str, int]:
    """Return how many posts were asked for, in words and as a number."""
    return f"asked for ({funnel['posts']} posts × {copies})", funnel["posts"] * copies


def nothing_made(funnel: Mapping[str, Any], method: Method) -> str:
    """Return a line with the most frequent reason why no post was made, and what to do."""
    asked = asked_for(funnel, method.copies)[1]
    if not asked:
        return "no post was made: there is none to make it of"
    found = {**outcomes({**funnel, "dropped": funnel.get("dropped", {}), "kept": 0}, method.copies), "kept": 0}
    name, count = max(found.items(), key=lambda item: item[1])
    kind, _, reason = name.partition(": ")
    table = {"rejected": method.rejects, "dropped": {**DROPPED, **method.drops}}.get(kind)
    entry = method.facts.idle if table is None else dict(table).get(reason)
    told = {"rejected": reason, "dropped": f"dropped as {reason}"}.get(kind, f"with {kind}")
    advice = entry.advise([text for text in entry.settings if _is_set(method, text)]) if entry else ""
    return f"no post was made: {count:,} of {asked:,} {told}" + (f"; {advice}" if advice else "")


def _is_set(method: Method, setting: str) -> bool:
    """Return whether a parameter already has the value of a setting (NAME=VALUE)."""
    name, _, value = setting.partition("=")
    try:
        return bool(parse_params(type(method), {name: value})[name] == getattr(method, name))
    except UsageError:  # of another method
        return True
