"""Which columns of a file, or fields of a record, have the words of posts, and which the tags of their entities.

The values of each column tell. Tags are a letter and a type (``B-PER``, ``PER-B``, ``B``) or ``O``. Chunks are spelt
like them and known by their types; parts of speech have no letter. If no column has letters, the one with most ``O``
beside a few other values has the types of IO. Of two columns the second has the tags if nothing tells.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from operator import eq
from typing import NamedTuple

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.report import EXAMPLES
from hf_mner_aug.schema import schemes

OUTSIDE = schemes.OUTSIDE | {""}
_LETTERS = frozenset("BIESLUMW")
# Of the shared tasks CoNLL-2000 and CoNLL-2003 in English and German.
_CHUNKS = frozenset(
    [
        "ADJP",
        "ADVP",
        "AP",
        "CONJP",
        "CP",
        "INTJ",
        "LST",
        "NC",
        "NP",
        "PC",
        "PNC",
        "PP",
        "PRT",
        "SBAR",
        "UCP",
        "VC",
        "VP",
    ]
)
_MOST = 0.9  # the share of a column's values that have to be tags: the others are faults
MAX_VALUES = 20_000  # different values of a column that are counted
_ODD = 0.01  # the share of words with only one of a coarse and a fine tag: the conversion then names the first
_MAX_PAIRED = 4
MAX_FIELDS = 1_000  # fields of records, keys of MISC
_MAX_TAGS = 2_000  # different tags of a column: fine-grained sets have some hundreds


class Chosen(NamedTuple):
    """The columns of words, of tags and of fine tags; the others with what they have, in words."""

    tokens: str
    ner_tags: str
    fine_tags: str | None
    unread: Mapping[str, str]

    def columns(self) -> dict[str, str]:
        """Return the columns by our names."""
        found = {"tokens": self.tokens, "ner_tags": self.ner_tags}
        return found if self.fine_tags is None else {**found, "fine_tags": self.fine_tags}

    def __str__(self) -> str:
        fine = f", {self.fine_tags} has fine tags" if self.fine_tags is not None else ""
        unread = "".join(f"; {name} is not read ({what})" for name, what in self.unread.items())
        return f"columns recognised: {self.tokens} has words, {self.ner_tags} has tags of entities{fine}{unread}"


@dataclass
class Column:
    """How often a column has each of its values; ``n_values`` in all, the later ones uncounted if there are many.

    ``n_repeated`` of them are those of the word before, as the numbers of sentences and documents are.
    """

    values: Counter[str] = field(default_factory=Counter)
    n_values: int = 0
    n_repeated: int = 0

    def add(self, values: Sequence[str]) -> None:
        """Count the values of some words in their order."""
        self.n_values += len(values)
        self.n_repeated += sum(map(eq, values, values[1:]))
        if len(self.values) < MAX_VALUES:
            self.values.update(values)

    def merge(self, other: "Column") -> None:
        """Count the values of another column, too."""
        self.values += other.values
        self.n_values += other.n_values
        self.n_repeated += other.n_repeated

    def types(self) -> Counter[str]:
        """Return the types of the tags in the column, with counts."""
        found: Counter[str] = Counter()
        for value, count in self.values.items():
            if (kind := type_of(value)) is not None:
                found[kind] += count
        return found

    def are_tags(self) -> bool:
        """Return whether the values are tags with letters, or O."""
        n_marked = self.types().total()
        return n_marked > 0 and n_marked + self._outside() >= _MOST * self.n_values and self._are_few()

    def are_chunks(self) -> bool:
        """Return whether the values are tags of chunks, such as noun phrases."""
        kinds = self.types()
        return self.are_tags() and sum(kinds[kind] for kind in _CHUNKS) >= _MOST * kinds.total()

    def may_be_tags(self) -> bool:
        """Return whether the values are tags with letters, or types without."""
        return self.are_tags() or self.n_outside() > 0

    def n_outside(self) -> int:
        """Return how many values are O, if the others are few and may be types without letters, else 0."""
        outside = self.values["O"] + self.values["o"]
        n_types = sum(count for value, count in self.values.items() if value not in OUTSIDE and len(value) > 1)
        return outside if n_types > 0 and outside + n_types >= _MOST * self.n_values and self._are_few() else 0

    def are_words(self) -> bool:
        """Return whether the values may be words: not numbers, nor mostly one value or that of the word before."""
        numbers = sum(count for value, count in self.values.items() if value.isdecimal())
        return (
            len(self.values) > 1
            and numbers < _MOST * self.values.total()
            and 2 * max(self.values.values()) <= self.values.total()
            and 2 * self.n_repeated < self.n_values
            and self.values[""] + self.values["_"] < (1 - _MOST) * self.values.total()
        )

    def examples(self) -> str:
        """Return some values, as text for a message."""
        found = [value[:30] for value, _ in self.values.most_common(EXAMPLES) if value not in OUTSIDE]
        return ", ".join(found[:2]) or "nothing"

    def _outside(self) -> int:
        return sum(self.values[value] for value in OUTSIDE)

    def _are_few(self) -> bool:
        return len(self.values) <= _MAX_TAGS


def type_of(value: str) -> str | None:
    """Return the type of a tag with a letter, or None for O and for anything else: ``B-PER`` and ``PER-B`` give PER."""
    if value[:1] in _LETTERS and (len(value) == 1 or (len(value) > 2 and value[1] in schemes.SIGNS)):
        return value[2:]
    if len(value) > 2 and value[-1] in _LETTERS and value[-2] in schemes.SIGNS:
        return value[:-2]
    return None


def is_tag(value: str) -> bool:
    """Return whether a value is a tag with a letter, or O."""
    return value in OUTSIDE or type_of(value) is not None


def choose(columns: Mapping[str, Column], values: Callable[[str, str], Iterable[tuple[str, str]]]) -> Chosen:
    """Return which columns have words and tags.

    Two columns that may be tags, and have one on the same words, are coarse and fine tags of the same mentions.

    Args:
        columns: their values, by position or name, in their order.
        values: gives the values of each word in two columns.

    Raises:
        DataError: none or several columns may have the tags, or none the words.
    """
    chunks = {name for name, column in columns.items() if column.are_chunks()}
    others = {name: column for name, column in columns.items() if name not in chunks}
    tags = [name for name, column in others.items() if column.are_tags()] or _types(others, len(columns))
    likely = [name for name, column in others.items() if column.may_be_tags()][:_MAX_PAIRED]
    pairs = [pair for pair in combinations(likely, 2) if {*tags} <= {*pair} and _mark_the_same(values(*pair))]
    about = {name: _what(column, name in chunks) for name, column in columns.items()}
    if not tags or len(tags) > 1 + bool(pairs) or len(pairs) > 1:
        which = f"{' and '.join(tags)} may have tags of entities" if tags else "none has tags of entities"
        raise DataError(f"of the columns {_listed(about)}, {which}")
    coarse, fine = pairs[0] if pairs else (tags[0], None)
    words = _words(columns, {*tags, *chunks, coarse})
    if words is None:
        raise DataError(f"of the columns {_listed(about)}, none has words")
    unread = {name: what for name, what in about.items() if name not in (words, coarse, fine)}
    return Chosen(words, coarse, fine, unread)


def unlike(columns: Mapping[str, Column], chosen: Chosen) -> str | None:
    """Return why the columns of one file are others than those chosen for all files, or None.

    A file that does not tell by itself, as one without entities, is taken to be like the others.

    Args:
        columns: the values of the file's columns, by position.
        chosen: the columns of all files together.
    """
    if columns[chosen.ner_tags].are_chunks():
        return f"{chosen.ner_tags} has chunks"
    try:
        own = choose(columns, lambda *_: [("B", "O")])
    except DataError:
        return None
    if columns[own.ner_tags].may_be_tags() and own.ner_tags not in (chosen.ner_tags, chosen.fine_tags):
        return f"{own.ner_tags} has tags of entities, as {columns[own.ner_tags].examples()}"
    n_words, n_others = (len(columns[name].values) for name in (chosen.tokens, own.tokens))
    return f"{own.tokens} has words, as {columns[own.tokens].examples()}" if 2 * n_words < n_others else None


def _mark_the_same(values: Iterable[tuple[str, str]]) -> bool:
    """Return whether a word has a tag in both columns or in none; a few words may have one in only one of them."""
    n_marked = n_odd = 0
    for value, other in values:
        if value not in OUTSIDE or other not in OUTSIDE:
            n_marked += 1
            n_odd += value in OUTSIDE or other in OUTSIDE
    return n_odd <= _ODD * n_marked


def _types(columns: Mapping[str, Column], n_columns: int) -> list[str]:
    """Return the columns that have most O beside types without letters, or the second of two columns."""
    outside = {name: column.n_outside() for name, column in columns.items()}
    most = max(outside.values(), default=0)
    if most == 0:
        return [*columns][1:] if len(columns) == n_columns == 2 else []
    return [name for name, count in outside.items() if count == most]


def _words(columns: Mapping[str, Column], tags: set[str]) -> str | None:
    """Return the first column with about as many different values as any other, which is that of the words."""
    others = {name: column for name, column in columns.items() if name not in tags and {*column.values} - OUTSIDE}
    likely = {name: column for name, column in others.items() if column.are_words()} or others
    most = max((len(column.values) for column in likely.values()), default=0)
    return next((name for name, column in likely.items() if 2 * len(column.values) >= most), None)


def _what(column: Column, is_chunks: bool) -> str:
    return f"chunks, as {column.examples()}" if is_chunks else f"as {column.examples()}"


def _listed(about: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({what})" for name, what in about.items())
