"""Columns unknown to a method, in the rows that it makes: one rule for every method.

A list with a value for each word is re-aligned with the words if the made post says where each of them comes from
(``Post.origins``); a new word has no value, and without origins the list is null. Any other column is null, unless the
user names it: then it is the gold post's. If made posts are other people's, nothing is kept.

A number without a label's name may be the place of another word, as the heads of a dependency tree are, and no longer
points to it after a word has moved. So a list with numbers in it is null unless all words are still the gold post's, or
the user names it: then it is re-aligned as the others are.

The lists with a value for each word are determined once, when a method is fitted, from the whole train split: so a list
that has the length of some post by chance does not count, and a row does not depend on the batch that it is made in.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.schema import Origin, Post
from hf_mner_aug.storage import artifacts

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

BATCH = 1000
FATES = ("kept", "realigned", "emptied")


@dataclass(frozen=True)
class OtherColumns:
    """The fate of columns in made rows: ``kept``, ``by_word`` (re-aligned with the words), ``emptied`` (null).

    ``places`` have numbers for each word, which may be places of words: they are null where a word has changed.
    ``words`` is the digest of ``save_words``, for methods whose made posts contain words of other train posts.
    """

    kept: tuple[str, ...] = ()
    by_word: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    words: str | None = None

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        *,
        keep: Iterable[str] = (),
        by_word: Iterable[str] = (),
        numbers: Iterable[str] = (),
        words: str | None = None,
        foreign: bool = False,
    ) -> "OtherColumns":
        """Return the fate of some columns.

        Args:
            names: the columns.
            keep: those that the user names.
            by_word: those that have a value for each word, as ``word_columns`` finds them.
            numbers: those with numbers in them, as ``number_columns`` finds them.
            words: the digest of ``save_words``.
            foreign: made posts are other people's.

        Raises:
            UnknownName: ``keep`` names another column.
            UsageError: it names one that is re-aligned with the words.
        """
        keep, by_word, numbers = set(keep), set(by_word), set(numbers)
        following = tuple(name for name in names if name in by_word)
        for name in sorted(keep):
            if name in following and name not in numbers:
                raise UsageError(
                    f"keep: {name} has a value for each word, which follows the words whose origin is known: "
                    "leave it out"
                )
            if name not in names:
                others = [other for other in names if other not in following or other in numbers]
                raise UnknownName("column to keep", name, others)
        if foreign:
            return cls(emptied=tuple(names))
        places = tuple(name for name in following if name in numbers - keep)
        kept = tuple(name for name in names if name in keep - by_word)
        emptied = tuple(name for name in names if name not in keep | by_word)
        return cls(kept, tuple(name for name in following if name not in places), emptied, places, words)

    def values(self, columns: Mapping[str, Sequence[Any]], row: int, gold: Post, made: Post) -> dict[str, Any]:
        """Return the values of these columns for a post made from a row."""
        values: dict[str, Any] = dict.fromkeys(self.emptied)
        for name in self.kept:
            values[name] = columns[name][row]
        if self.by_word or self.places:
            origins = _origins(gold, made)
            moved = list(made.tokens) != list(gold.tokens) or list(origins) != list(range(len(gold.tokens)))
            for name in (*self.by_word, *self.places):
                null = moved and name in self.places
                values[name] = None if null else self._follow(name, columns[name][row], gold, made, origins)
        return values

    def told(self, made: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
        """Return the columns by their fate in made rows; those without any value there count as emptied."""
        by_word = (*self.by_word, *self.places)
        aligned = [name for name in by_word if any(value is not None for value in made[name])]
        return _told({"kept": self.kept, "realigned": aligned, "emptied": (*by_word, *self.emptied)})

    def _follow(
        self, name: str, own: Sequence[Any] | None, gold: Post, made: Post, origins: Sequence[Origin]
    ) -> list[Any] | None:
        """Return a column's values [n_words] for a made post, or None if there are none."""
        found: list[Any] = []
        for word, origin in zip(made.tokens, origins, strict=True):
            tokens, values, place = gold.tokens, own, origin
            if isinstance(origin, tuple):
                (tokens, values), place = _words_of(self.words, origin[0], name), origin[1]
            found.append(_value_of(word, tokens, values, place))  # type: ignore[arg-type]
        return found if any(value is not None for value in found) else None


def merged(told: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Return the fate of columns in all parts of a run, from the result of ``told`` for each."""
    parts = list(told)
    return _told({fate: [name for part in parts for name in part.get(fate, ())] for fate in FATES})


def spell(columns: Mapping[str, Sequence[str]]) -> str:
    """Return the fate of columns in one line: ``kept: author; re-aligned: pos_tags; emptied: text``."""
    shown = {"realigned": "re-aligned"}
    return "; ".join(f"{shown.get(fate, fate)}: {', '.join(names)}" for fate, names in columns.items() if names)


def word_columns(splits: Iterable[Any], features: "Features", names: Iterable[str]) -> list[str]:
    """Return the columns with a value for each word: lists as long as ``tokens`` in most rows that have them.

    Args:
        splits: datasets, streamed or not, with these features.
        features: their columns.
        names: the columns to consider.
    """
    import pyarrow.compute as pc

    lists = [name for name in names if _is_list(features[name])]
    same, there = dict.fromkeys(lists, 0), dict.fromkeys(lists, 0)
    for table in _tables(splits, ["tokens", *lists]) if lists else ():
        n_words = pc.list_value_length(table["tokens"])
        for name in lists:
            lengths = pc.list_value_length(table[name])
            there[name] += len(lengths) - lengths.null_count
            same[name] += pc.sum(pc.equal(lengths, n_words)).as_py() or 0
    return [name for name in lists if 2 * same[name] > there[name]]


def number_columns(features: Mapping[str, Any]) -> list[str]:
    """Return the columns that hold whole numbers without names, also in lists or dicts."""
    return [name for name, feature in features.items() if _has_numbers(feature)]


def save_words(dataset: Any, features: "Features", names: Sequence[str]) -> str:
    """Store the words and some columns of a dataset as an artifact, and return its digest."""
    import pyarrow as pa
    from datasets import Features

    columns = ["id", "tokens", *names]
    schema = Features({name: features[name] for name in columns}).arrow_schema.remove_metadata()
    values = ({name: table.column(name).to_pylist() for name in columns} for table in _tables([dataset], columns))
    return artifacts.save_arrow(schema, (pa.Table.from_pydict(batch, schema=schema) for batch in values))


def _origins(gold: Post, made: Post) -> Sequence[Origin]:
    """Return the origin of each word [n_words] of a made post; unchanged words come from the gold post."""
    n_words = len(made.tokens)
    if made.origins is not None and len(made.origins) == n_words:
        return made.origins
    return range(n_words) if list(made.tokens) == list(gold.tokens) else [None] * n_words


def _value_of(word: str, tokens: Sequence[str], values: Sequence[Any] | None, place: int | None) -> Any:
    """Return the value for the word at a place of ``tokens`` [n_words], or None, also if another word is there."""
    if place is None or values is None or len(values) != len(tokens):
        return None
    return values[place] if 0 <= place < len(tokens) and tokens[place] == word else None


def _words_of(digest: str | None, post: str, name: str) -> tuple[Sequence[str], Sequence[Any] | None]:
    """Return the words of a train post, and a column's values for them."""
    return _words(digest).of(post, name) if digest is not None else ((), None)


class _Words:
    """The output of ``save_words``, read post by post; of several posts with one id the first counts."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._table: pa.Table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        ids = self._table.column("id").to_pylist()
        self._places = {name: len(ids) - 1 - i for i, name in enumerate(reversed(ids))}
        self._row = functools.lru_cache(maxsize=256)(self._read)

    def of(self, post: str, name: str) -> tuple[Sequence[str], Sequence[Any] | None]:
        """Return a post's words and a column's values for them."""
        row = self._row(post)
        return row.get("tokens") or (), row.get(name)

    def _read(self, post: str) -> dict[str, Any]:
        if post not in self._places:
            return {}
        found: dict[str, Any] = self._table.slice(self._places[post], 1).to_pylist()[0]
        return found


@functools.lru_cache(maxsize=4)
def _words(digest: str) -> _Words:
    return _Words(artifacts.path_of(digest))


def _tables(splits: Iterable[Any], columns: list[str]) -> "Iterator[pa.Table]":
    """Yield some columns of datasets, streamed or not, batch by batch."""
    for rows in splits:
        yield from rows.select_columns(columns).with_format("arrow").iter(BATCH)


def _has_numbers(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return any(map(_has_numbers, feature.values()))
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    if inner is not None:
        return _has_numbers(inner)
    return type(feature).__name__ == "Value" and feature.dtype.startswith(("int", "uint"))


def _is_list(feature: Any) -> bool:
    """Return whether a feature is that of lists of any length."""
    return isinstance(feature, list) or (hasattr(feature, "feature") and getattr(feature, "length", -1) == -1)


def _told(columns: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return columns by their fate, each once: the first one given counts."""
    told: dict[str, list[str]] = {}
    seen: set[str] = set()
    for fate, names in columns.items():
        told[fate] = sorted(set(names) - seen)
        seen.update(told[fate])
    return {fate: names for fate, names in told.items() if names}
