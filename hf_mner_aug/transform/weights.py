"""The weight of a post in training: the column ``weight`` of made rows, which backbones read (``weight=weight``).

A made post weighs what its method's parameter ``weight`` says, times the weight of the post that it is made from: 1 for
gold posts, and for posts that were made earlier what their row says. So a set that has such weights keeps them.
"""

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.schema import AUGMENTED, Post
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.values import Range, convert_value

if TYPE_CHECKING:
    from hf_mner_aug.transform import Method

WEIGHT = "weight"  # the column
DTYPE = "float32"
HEAVIEST = 10  # the largest weight of a post
Weight = Annotated[float, Range(0, HEAVIEST)] | str | None
_SINGLE = struct.Struct("f")


def weight_parameter(method: "Method | type[Method]") -> str:
    """Return the name of the parameter that weighs made posts, where a class has an older one named ``weight``."""
    found: str = getattr(method, "weighs", WEIGHT)
    return found


def scores_of(method: "Method | type[Method]") -> Mapping[str, str]:
    """Return the scores that a class gives made posts, with their meanings; empty for most classes."""
    found: Mapping[str, str] = getattr(method, "scores", {})
    return found


def weight_of(method: "Method") -> float | str | None:
    """Return the weight that a method gives its posts: a number, the name of a score, or None."""
    found: float | str | None = getattr(method, weight_parameter(method))
    return found


def parse_weight(method: "Method") -> float | str | None:
    """Return a method's weight as a number, or as the name of one of its ``scores``.

    Raises:
        UsageError: it is neither, or the number is not from 0 to 10.
    """
    found, scores = weight_of(method), scores_of(method)
    try:
        weight: float | str | None = convert_value(found, float | str | None)
    except (ValueError, OverflowError):
        weight = ""
    if weight is None or weight in scores or (isinstance(weight, float) and 0 <= weight <= HEAVIEST):
        return weight
    others = f", or one of {', '.join(sorted(scores))}" if scores else ""
    shown = excerpt(str(found), 80)
    name = weight_parameter(method)
    raise UsageError(f"{method.name}: {name} must be a number from 0 to {HEAVIEST}{others}, found {shown}")


def check_score(method: "Method", given: Collection[str]) -> None:
    """Raise UsageError unless made posts have the score that a method's weight names: one of those ``given``."""
    weight = weight_of(method)
    if isinstance(weight, str) and weight not in given:
        others = f"name one of {', '.join(sorted(given))}, or a number" if given else "name a number"
        raise UsageError(f"{method.name}: {_told(method)}, but with these parameters posts have no {weight}: {others}")


def has_weights(features: Mapping[str, Any]) -> bool:
    """Return whether the column ``weight`` of a set is that of an augmented config."""
    return {*AUGMENTED} <= {*features} and getattr(features.get(WEIGHT), "dtype", None) == DTYPE


def check_own_column(method: "Method", features: Mapping[str, Any]) -> None:
    """Raise UsageError if a method adds a column ``weight`` to a set that has another one of that name."""
    if weight_of(method) is not None and WEIGHT in features and not has_weights(features):
        raise UsageError(
            f"{method.name}: {_told(method)}, but the set has a column weight of its own ({features[WEIGHT]}): "
            "rename it with ds.rename_column('weight', 'own_weight'), or leave the parameter out"
        )


def weight_columns(method: "Method", features: Mapping[str, Any]) -> dict[str, str]:
    """Return the column that a method adds to a set with these features, with its dtype; empty without weights."""
    return {WEIGHT: DTYPE} if weight_of(method) is not None or has_weights(features) else {}


def earlier_weights(columns: Mapping[str, Sequence[Any]]) -> list[float]:
    """Return the weights [n_rows] of the posts of a batch; null is 1, as is a post of a set without weights.

    Raises:
        DataError: a weight is not a number from 0 to 10.
    """
    ids = columns["id"]
    return [read_weight(value, post) for value, post in zip(columns.get(WEIGHT, [None] * len(ids)), ids, strict=True)]


def read_weight(value: Any, post: str, column: str = WEIGHT) -> float:
    """Return the weight in a row; null, as in gold posts, is 1.

    Raises:
        DataError: it is not a number from 0 to 10.
    """
    weight = 1.0 if value is None else value
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= HEAVIEST:
        found = excerpt(repr(weight), 80)
        raise DataError(f"post {post}: column {column}: expected a number from 0 to {HEAVIEST}, found {found}")
    return float(weight)


def weigh(method: "Method", made: Post, earlier: float) -> float:
    """Return the weight of a made post as a float32, given that of the post that it is made from.

    Raises:
        UsageError: the method's parameters are such that its posts lack the score that ``weight`` names.
    """
    own = weight_of(method)
    own = 1.0 if own is None else own
    if isinstance(own, str):
        check_score(method, [name for name in scores_of(method) if name in made.details])
        score, own = own, float(made.details[own])
        if not 0 <= own <= 1:
            raise RuntimeError(f"{method.name}: post {made.id}: the score {score} must be in [0, 1], found {own}")
    found: float = _SINGLE.unpack(_SINGLE.pack(min(own * earlier, HEAVIEST)))[0]
    return found


def told_weight(method: "Method") -> str:
    """Return what the weight of a fitted method's posts is, as a phrase."""
    whose = "by whose draw it is made" if method.content.sourceless else "it is made from"
    source = f"the weight of the post {whose}"
    if (weight := weight_of(method)) is None:
        return source
    own = _told(method)
    if isinstance(weight, str):
        own += f": {scores_of(method)[weight]}"
    return f"{own}, times {source}" if has_weights(method._codec().features) else own


def _told(method: "Method") -> str:
    return f"{weight_parameter(method)}={weight_of(method)}"
