"""A method and the set that it was fitted on: columns that the method does not know, and a name for new ids."""

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from hf_mner_aug.columns.unknown import OtherColumns, number_columns, word_columns
from hf_mner_aug.schema import AUGMENTED, Codec, codec_of, made_by
from hf_mner_aug.storage import artifacts
from hf_mner_aug.transform.rows import iterate_rows
from hf_mner_aug.transform.weights import weight_columns

if TYPE_CHECKING:
    from hf_mner_aug.transform import Method

M = TypeVar("M", bound="Method")


@functools.lru_cache(maxsize=16)
def artifact_of(digest: str) -> Any:
    """Return a method's artifact: what it learned, and the features of the set."""
    return artifacts.load_json(digest)


@functools.lru_cache(maxsize=16)
def artifact_codec(digest: str) -> Codec:
    """Return the codec of the set that a method was fitted on."""
    return codec_of(artifact_of(digest)["features"])


# ---------------------------------------------------------------- columns that a method does not know


def keep_columns(method: M, names: Iterable[str]) -> M:
    """Return a copy of a method that also keeps these columns (see ``Method.keep``)."""
    return replace(method, keep=(*method.keep, *([names] if isinstance(names, str) else names)))


def check_keep(method: "Method", train: Any) -> None:
    """Raise UsageError unless ``keep`` of a method names columns of a train split that can be kept."""
    if method.keep:
        by_word_columns(method, train, Codec(train.features))


def by_word_columns(method: "Method", train: Any, codec: Codec) -> list[str]:
    """Return the columns of a train split that have a value for each word; raises as ``columns.unknown``."""
    unknown = _unknown(method, codec.features, codec)
    by_word = word_columns([train], codec.features, unknown)
    OtherColumns.of(unknown, keep=method.keep, by_word=by_word, numbers=number_columns(codec.features))
    return by_word


def unknown_columns(method: "Method", features: Iterable[str]) -> OtherColumns:
    """Return the fate of a set's columns that a fitted method does not know.

    Raises:
        NotFitted: the method is not fitted.
        UsageError: ``keep`` names none of them.
    """
    found, codec = artifact_of(method._fitted()), method._codec()
    return OtherColumns.of(
        _unknown(method, features, codec),
        keep=method.keep,
        by_word=found.get("by_word", ()),
        numbers=number_columns(codec.features),
        words=found.get("words"),
        foreign=method.content.foreign,
    )


def _unknown(method: "Method", features: Iterable[str], codec: Codec) -> list[str]:
    known = {*codec.columns, *AUGMENTED, *method.content.columns, *weight_columns(method, codec.features)}
    return [name for name in features if name not in known]


def added_columns(method: "Method") -> dict[str, str]:
    """Return the columns that a fitted method adds, with their dtypes, except for those that all made rows have."""
    return {**method.content.columns, **weight_columns(method, method._codec().features)}


# ---------------------------------------------------------------- ids of made posts


def id_suffix(method: "Method") -> str:
    """Return a method's name in ids of made posts (``12+eda.0``): ``eda~2`` if the set already holds some."""
    suffix: str = artifact_of(method._fitted()).get("suffix", method.name)
    return suffix


def free_suffix(name: str, splits: Iterable[Any]) -> str:
    """Return a method's name for use in new ids: ``eda~2`` if ids of the posts already end in ``+eda.0``.

    A stream that may hold made posts is read once more for this.
    """
    rounds = {
        int(found[2] or 1)
        for data in splits
        if data is not None and (hasattr(data, "cleanup_cache_files") or "source_id" in data.features)
        for row in iterate_rows(data, ["id"])
        if row["id"] and (found := made_by(row["id"])) and found[1] == name
    }
    return f"{name}~{max(rounds) + 1}" if rounds else name
