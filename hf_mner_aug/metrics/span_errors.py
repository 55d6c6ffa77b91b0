"""Errors of predicted spans, confusions of types, and the errors that two backbones share.

An error is ``missed`` or ``spurious``, or a predicted span that overlaps an entity and differs in its ``boundary``, its
``type``, or ``both``; spans with a region may differ in this alone. Each entity and each predicted span is part of at
most one error.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_mner_aug.metrics.spans import Labelled, PlainSpan

KINDS = ("missed", "spurious", "boundary", "type", "both")
REGION = "region"
NOTHING = "O"


@dataclass(frozen=True, slots=True)
class Error:
    """One error in the post with that index: the entity (None if spurious) and the predicted span (None if missed)."""

    post: int
    kind: str
    gold: PlainSpan | None
    predicted: PlainSpan | None
    regions: tuple[str, str] = ("", "")  # of grounded spans: that of the entity and that predicted

    @property
    def words(self) -> tuple[int, int]:
        """The words of the error: the entity's, or the predicted ones if there is no entity."""
        span = self.gold or self.predicted
        assert span is not None
        return span[:2]

    @property
    def confusion(self) -> tuple[str, str]:
        """The type of the entity and the type predicted, ``O`` for none; the regions if these alone differ."""
        if self.kind == REGION:
            return self.regions
        return (self.gold or (0, 0, NOTHING))[2], (self.predicted or (0, 0, NOTHING))[2]


def find_errors(predictions: Sequence[Sequence[Labelled]], references: Sequence[Sequence[Labelled]]) -> list[Error]:
    """Return the errors of predicted spans ``[n_posts][n_spans]`` against gold ones, post by post, in word order."""
    errors = []
    for i, (predicted, gold) in enumerate(zip(predictions, references, strict=True)):
        found = _errors_of_post(i, {*map(_plain, predicted)}, {*map(_plain, gold)})
        errors += sorted(found, key=lambda error: error.words)
    return errors


def same_place(error: Error, others: Sequence[Error]) -> bool:
    """Return whether one of another backbone's errors is in the same post and shares a word."""
    start, end = error.words
    return any(other.post == error.post and other.words[0] < end and start < other.words[1] for other in others)


def model_specific(errors: Sequence[Error], references: Mapping[str, Sequence[Error]]) -> dict[str, float | None]:
    """Return the share of a backbone's errors that others do not make, by two definitions; None without errors.

    ``right_somewhere``: at least one reference backbone is correct there. ``wrong_nowhere_else``: all of them are.
    """
    if not errors or not references:
        return {"right_somewhere": None, "wrong_nowhere_else": None}
    by_post = {name: _by_post(found) for name, found in references.items()}
    right = [[not same_place(error, found.get(error.post, ())) for found in by_post.values()] for error in errors]
    return {
        "right_somewhere": sum(map(any, right)) / len(errors),
        "wrong_nowhere_else": sum(map(all, right)) / len(errors),
    }


def overlap(errors: Sequence[Error], others: Sequence[Error]) -> float | None:
    """Return the share of a backbone's errors where another backbone errs too; None without errors."""
    theirs = _by_post(others)
    shared = sum(same_place(error, theirs.get(error.post, ())) for error in errors)
    return shared / len(errors) if errors else None


# ---------------------------------------------------------------- inside


def _errors_of_post(post: int, predicted: set[Labelled], gold: set[Labelled]) -> list[Error]:
    """Return the errors of one post: overlapping spans are paired, best overlap first, then those of one type."""
    missed, spurious = gold - predicted, predicted - gold
    fits = [(_fit(entity, span), entity, span) for entity, span in itertools.product(missed, spurious)]
    pairs = sorted((-fit, entity[2] != span[2], entity, span) for fit, entity, span in fits if fit)
    errors = []
    for *_, entity, span in pairs:
        if entity in missed and span in spurious:
            missed.remove(entity)
            spurious.remove(span)
            if entity[:2] == span[:2]:
                kind = REGION if entity[2] == span[2] else "type"
            else:
                kind = "boundary" if entity[2] == span[2] else "both"
            errors.append(_error(post, kind, entity, span))
    errors += [_error(post, "missed", entity, None) for entity in missed]
    errors += [_error(post, "spurious", None, span) for span in spurious]
    return errors


def _error(post: int, kind: str, entity: Labelled | None, span: Labelled | None) -> Error:
    gold, predicted = ((found[0], found[1], found[2]) if found else None for found in (entity, span))
    first, second = (found[3] if found and len(found) == 4 else "" for found in (entity, span))
    return Error(post, kind, gold, predicted, (first, second))


def _fit(one: Labelled, other: Labelled) -> float:
    """Return the share of the words of two spans that they have in common."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return max(0, shared) / (max(one[1], other[1]) - min(one[0], other[0]))


def _plain(span: Sequence[Any]) -> Labelled:
    start, end, kind, *region = span
    return (start, end, kind, *region)


def _by_post(errors: Sequence[Error]) -> dict[int, list[Error]]:
    found: dict[int, list[Error]] = {}
    for error in errors:
        found.setdefault(error.post, []).append(error)
    return found
