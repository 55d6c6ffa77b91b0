"""The candidates of a race: methods with an amount and a weight, and recipes as they are."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import CodeNotAllowed, HostNotAllowed, UsageError
from hf_mner_aug.methods import METHODS, installed, method_class
from hf_mner_aug.runs.recipe import Recipe, named_method, recipe_for
from hf_mner_aug.transform import Method
from hf_mner_aug.transform.weights import weight_of, weight_parameter

COPIES = (1, 4)
WEIGHTS = (1.0, 0.5)
OF_THE_USER = (CodeNotAllowed, HostNotAllowed)  # errors that are never a candidate's alone


@dataclass(frozen=True)
class Candidate:
    """A recipe in the race; its name is the recipe's config."""

    recipe: Recipe
    method: Method

    @property
    def name(self) -> str:
        """The name in tables and files, as ``lsms_x4_w0.5``."""
        return self.recipe.config

    @property
    def weighted(self) -> bool:
        """Whether its posts have a weight that the backbone must read."""
        return weight_of(self.method) is not None

    @property
    def replaces(self) -> bool:
        """Whether its posts take the places of gold posts."""
        return self.method.mode == "replace"


@dataclass(frozen=True)
class LeftOut:
    """A method that cannot take part, and why."""

    name: str
    why: str


def list_candidates(
    methods: Sequence[str] = (),
    recipes: Sequence[str | Path] = (),
    *,
    copies: Sequence[int] = COPIES,
    weights: Sequence[float] = WEIGHTS,
    weighs: bool = True,
    images: bool = False,
) -> tuple[list[Candidate], list[LeftOut]]:
    """Return the candidates, in the order in which they are tried, and the methods that are left out.

    Methods make no pictures where the backbone reads none, unless a spec asks for them (``image=true``).

    Args:
        methods: as ``lsms`` or ``lsms:ratio=0.2,copies=4``; by default all that need no payment. Each is tried with
            each amount and weight, or with those that it names itself.
        recipes: YAML recipes or augmentation.json, tried as they are.
        copies: amounts, as new posts for each post.
        weights: of made posts in training; 1 is none.
        weighs: whether the backbone reads weights.
        images: whether the backbone reads pictures.

    Raises:
        UsageError: a method or recipe that the user names cannot take part; an amount or a weight is out of range.
    """
    check_amounts(copies, weights)
    found: list[tuple[tuple[Any, ...], Method]] = []
    left_out = []
    asked = methods or ([] if recipes else default_methods())
    for place, spec in enumerate(asked):
        try:
            method = named_method(spec)
            method = method if images or "image=" in spec else without_pictures(method)
            check_seen(method, images)
            variants = vary(method, copies, weights if weighs else (1.0,), own="copies" in spec.partition(":")[2])
            recipe_for(method)  # what is missing for it is told now
        except OF_THE_USER:
            raise
        except UsageError as error:
            if methods:
                raise
            left_out.append(LeftOut(spec, str(error)))
            continue
        small = method_class(method.name).facts.extra.startswith("core") if method.name in METHODS else True
        found += [((not small, *rank, place), variant) for rank, variant in variants]
    built = [recipe_for(method) for _, method in sorted(found, key=lambda pair: pair[0])]
    built += [own_recipe(path, weighs=weighs, images=images) for path in recipes]
    named: dict[str, Candidate] = {}
    for recipe in built:
        method = recipe.build()
        name = free_name(method, named)
        named[name] = Candidate(replace(recipe, config=name), method)
    if not named:
        raise UsageError("no method can take part: " + "; ".join(f"{out.name}: {out.why}" for out in left_out))
    return [*named.values()], left_out


def default_methods() -> list[str]:
    """Return the names of all methods, those that installed packages offer included."""
    return [*METHODS, *installed()]


def check_amounts(copies: Sequence[int], weights: Sequence[float]) -> None:
    """Raise UsageError unless amounts and weights are different and in range."""
    for what, values, least in (("copies", copies, 1), ("weights", weights, 0)):
        if not values or len(set(values)) < len(values) or not all(least <= value <= 100 for value in values):
            told = ", ".join(f"{value:g}" for value in values) or "none"
            raise UsageError(f"expected different {what} from {least} to 100, found {told}")


def check_seen(method: Method, images: bool) -> None:
    """Raise UsageError if a method changes nothing that the backbone reads."""
    if (method.mode == "replace" or method.content.pictures_only) and not images:
        raise UsageError(f"{method.name} changes pictures alone, and this backbone reads none with these settings")


def without_pictures(method: Method) -> Method:
    """Return a method that makes no pictures, if it has the choice (``image``)."""
    text: dict[str, Any] = {"image": False} if getattr(method, "image", None) is True else {}
    return replace(method, **text)


def vary(
    method: Method, copies: Sequence[int], weights: Sequence[float], *, own: bool = False
) -> list[tuple[tuple[int, int], Method]]:
    """Return a method with each weight and amount, each with its rank; ``own`` if it names its amount itself."""
    fixed = own or method.deterministic or method.mode == "replace"
    amounts: Sequence[int] = (method.copies,) if fixed else copies
    if method.mode == "replace" or weight_of(method) is not None:
        weights = ()
    if not weights:
        return [((0, i), replace(method, copies=amount)) for i, amount in enumerate(amounts)]
    found = []
    for (i, amount), (j, weight) in itertools.product(enumerate(amounts), enumerate(weights)):
        own_weight: dict[str, Any] = {} if weight == 1 else {weight_parameter(method): weight}
        found.append(((j, i), replace(method, copies=amount, **own_weight)))
    return found


def own_recipe(path: str | Path, *, weighs: bool, images: bool) -> Recipe:
    """Return the recipe of a file, without the posts that it was made for.

    Raises:
        UsageError: it cannot take part; otherwise as ``Recipe.from_file``.
    """
    recipe = Recipe.from_file(Path(path))
    method = recipe.build()
    check_seen(method, images)
    if weight_of(method) is not None and not weighs:
        raise UsageError(f"{path}: its posts have weights, and this backbone reads none")
    return replace(
        recipe, artifact=None, fraction=1.0, ids_train=None, ids_validation=None, source="", source_fingerprint=""
    )


def free_name(method: Method, taken: Any) -> str:
    """Return a candidate's name that no other one has."""
    weight = weight_of(method)
    name = f"{method.name}_x{method.copies}" + (
        "" if weight is None else f"_w{weight:g}" if isinstance(weight, float) else f"_w-{weight}"
    )
    return next(n for n in itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2))) if n not in taken)
