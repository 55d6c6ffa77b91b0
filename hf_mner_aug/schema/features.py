"""The columns of a set: their features, their faults, and advice to repair them."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.schema.tags import bio_names, split_tag

if TYPE_CHECKING:
    from datasets import Features

FOUR_TYPES = ("PER", "LOC", "ORG", "MISC")
IMAGE_COLUMNS = ("image", "images")
COLUMNS = ("id", "tokens", "ner_tags", "fine_tags", "image", "images", "entities", "head", "tail", "relation")
AUGMENTED = ("source_id", "method", "provenance")
_ENCODED = "{bytes: binary, path: string}"  # an image's storage
_CASTS = {
    "id": "Value('string')",
    "tokens": "List(Value('string'))",
    "ner_tags": "List(ClassLabel(names=['O', 'B-PER', 'I-PER', …]))",
    "fine_tags": "List(ClassLabel(names=['O', 'B-actor', 'I-actor', …]))",
    "image": "Image()",
    "images": "List(Image())",
    "relation": "ClassLabel(names=['None', …])",
}
_OTHER_NAMES = {
    "id": ("img_id", "image_id", "tweet_id", "post_id", "guid", "idx", "index"),
    "tokens": ("words", "token", "word", "sentence", "text"),
    "ner_tags": ("labels", "tags", "ner", "ner_labels", "bio_tags", "ner_tag", "label"),
}


def mner_features(
    types: Sequence[str] = FOUR_TYPES,
    *,
    images: Literal["one", "many", "none"] = "one",
    boxes: bool = False,
    fine_types: Sequence[str] = (),
    relations: Sequence[str] = (),
) -> "Features":
    """Return the columns of a set: MNER by default, GMNER with ``boxes``, FMNERG with ``fine_types`` too.

    MRE is ``types=(), relations=…``. Images stay encoded when rows are read through ``Image(decode=False)``.
    """
    from datasets import ClassLabel, Features, Image, List, Value

    columns: dict[str, Any] = {"id": Value("string"), "tokens": List(Value("string"))}
    if types:
        columns["ner_tags"] = List(ClassLabel(names=bio_names(types)))
    if fine_types:
        columns["fine_tags"] = List(ClassLabel(names=bio_names(fine_types)))
    if images == "one":
        columns["image"] = Image()
    elif images == "many":
        columns["images"] = List(Image())
    if boxes:
        span = {"start": Value("int32"), "end": Value("int32"), "type": Value("string")}
        columns["entities"] = List({**span, "boxes": List(List(Value("float32")))})
    if relations:
        columns["head"] = {"start": Value("int32"), "end": Value("int32")}
        columns["tail"] = {"start": Value("int32"), "end": Value("int32")}
        columns["relation"] = ClassLabel(names=list(relations))
    return Features(columns)


def augmented_features(features: "Features", columns: Mapping[str, str] = MappingProxyType({})) -> "Features":
    """Return the columns of an augmented config: those of its source, ``source_id``, ``method``, ``provenance``.

    ``columns`` are those that a method adds, with their dtypes.
    """
    from datasets import Features, Value

    added = {**dict.fromkeys(AUGMENTED, "string"), **columns}
    return Features({**features, **{name: Value(dtype) for name, dtype in added.items()}})


def in_order(types: Iterable[str]) -> tuple[str, ...]:
    """Return types in a fixed order, the usual four first."""
    return tuple(sorted(types, key=lambda kind: (FOUR_TYPES.index(kind) if kind in FOUR_TYPES else 4, kind)))


def tag_names(features: "Features", column: str) -> list[str]:
    """Return the tag names of a column, or an empty list if it is absent."""
    if column not in features:
        return []
    label = getattr(features[column], "feature", None)
    names = getattr(label, "names", None)
    if not names:
        raise UsageError(
            f"column {column}: expected List(ClassLabel(names=['O', 'B-PER', 'I-PER', …])), found {features[column]}: "
            f"{repair_advice(column, features[column])}"
        )
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"column {column}: expected ClassLabel names that are text, found {names}")
    try:
        kinds = [split_tag(name) for name in names]
    except DataError as error:
        raise UsageError(f"column {column}: {error}; the ClassLabel names must be BIO tags") from error
    missing = {f"{prefix}-{kind}" for _, kind in kinds if kind for prefix in "BI"} - set(names)
    if "O" not in names or missing:
        raise UsageError(f"column {column}: the ClassLabel names lack {', '.join(sorted(missing)) or 'O'}")
    return list(names)


def column_faults(features: "Features") -> dict[str, str]:
    """Return the fault of each known column that has a wrong type; unknown columns may have any type."""
    faults = {}
    for name, expected in _column_kinds().items():
        if name not in features:
            continue
        found = _kind(features[name])
        if found not in (expected, expected.replace("Image", _ENCODED)):
            faults[name] = f"column {name}: expected {expected}, found {found}"
        elif name == "relation" and not all(isinstance(kind, str) for kind in features[name].names or ()):
            faults[name] = f"column {name}: expected ClassLabel names that are text, found {features[name].names}"
    return faults


def repair_advice(name: str, feature: Any) -> str:
    """Return the advice that gives a column its type: numbers alone do not tell the label names."""
    found = _kind(feature)
    mapped = f"columns={{{name!r}: {name!r}}} (--columns {name}={name})"
    if name not in _CASTS:
        fields = [re.findall(r"\b(\w+):", kind) for kind in (found, _column_kinds()[name])]
        return f"pass {mapped}" if fields[0] == fields[1] else "give it these fields with ds.map"
    cast = f"cast it with ds.cast_column({name!r}, {_CASTS[name]})"
    return cast if "ClassLabel" in _CASTS[name] and "int" in found else f"{cast}, or pass {mapped}"


def other_names(features: Mapping[str, Any]) -> str:
    """Return the advice to map columns that a set has under other common names, or an empty text."""
    found = {
        ours: name
        for ours, others in _OTHER_NAMES.items()
        for name in reversed(others)
        if ours not in features and name in features and hasattr(features[name], "feature") == (ours != "id")
    }
    typed = ",".join(f"{ours}={theirs}" for ours, theirs in found.items())
    return f", or pass columns={found} (--columns {typed})" if found else ""


@functools.cache
def _column_kinds() -> dict[str, str]:
    """Return the types of the columns that sets have, by name."""
    many, boxed = mner_features(images="many"), mner_features(boxes=True, fine_types=("X",), relations=("X",))
    return {name: _kind(feature) for name, feature in {**many, **boxed}.items()}


def _kind(feature: Any) -> str:
    """Return a feature's type without details that make no difference here: bits, lengths, label names."""
    if isinstance(feature, dict):
        return "{" + ", ".join(f"{name}: {_kind(feature[name])}" for name in sorted(feature)) + "}"
    if hasattr(feature, "feature"):
        return f"List({_kind(feature.feature)})"
    if type(feature).__name__ != "Value":
        return type(feature).__name__
    return str(feature.dtype.removeprefix("large_").rstrip("0123456789"))
