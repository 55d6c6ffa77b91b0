"""Datasets with a column of texts and one of spans, as posts.

    dataset = from_spans(load_dataset("org/name"), text="sentence", spans="entities")

What is common with datasets of tags is in ``mapped``.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from hf_mner_aug import __version__
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.formats import RawPost
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.mapped import (
    is_whole,
    made,
    of_types,
    other_columns,
    splits_of,
    table_of_posts,
    tell,
    with_names,
)
from hf_mner_aug.readers.spans.annotated import Annotated, Misaligned, Nested, Offsets
from hf_mner_aug.readers.spans.generic import annotated_of, fields_of
from hf_mner_aug.readers.spans.posts import posts_of
from hf_mner_aug.readers.spans.recognition import recognise_in
from hf_mner_aug.schema import in_order, mner_features

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features


def from_spans(
    dataset: Any,
    *,
    text: str = "text",
    spans: str = "spans",
    id: str | None = None,
    image: str | None = None,
    start: str | None = None,
    end: str | None = None,
    type: str | None = None,
    surface: str | None = None,
    types: Sequence[str] | None = None,
    tokeniser: str | None = None,
    misaligned: Misaligned = "snap",
    nested: Nested = "outermost",
    offsets: Offsets = "auto",
) -> Any:
    """Return a dataset of texts with spans as posts, with the columns ``id``, ``tokens`` and ``ner_tags``.

    Other columns stay, but for the texts and spans, and for those that have one of our names and another meaning. A row
    that cannot be read is left out, as ``convert`` does: one warning counts them. A streamed dataset is read once for
    its types and offsets, unless ``types`` names them, and warns of each batch as it is read.

    Args:
        dataset: a dataset, streamed or not, or a dict of splits.
        text: the column of texts.
        spans: the column of spans; in each row a list, of ``[start, end, type]`` or of dicts, or its JSON.
        id: the column of ids; without one, and without a column ``id``, they are made of the split and the row.
        image: the column of pictures, or of their paths, or of lists of them (then it is ``images``); without it, a
            column ``image`` or ``images``.
        start: the name of that field of a span; without it, the usual names are tried.
        end: the same for its end, exclusive.
        type: the same for its type.
        surface: the same for its text, by which offsets are recognised and checked.
        types: the types, if they are known.
        tokeniser: ``whitespace``, ``tweet``, ``char`` or ``spacy:MODEL``; None is ``tweet``, or ``char`` where most
            letters are of scripts without blanks.
        misaligned: a span that starts or ends inside a word is extended to it (``snap``) or its row is left out
            (``refuse``).
        nested: of spans that share a word the longest is kept (``outermost``), or their row is left out (``refuse``).
        offsets: ``chars``, ``utf16`` (as in JavaScript), ``bytes``; ``auto`` recognises it by the texts of spans.

    Raises:
        UnknownName: there is no such column, or an option has another value.
        UsageError: a streamed dataset does not know its columns.
        DataError: no row can be read, or none has an entity.
    """
    options = {"tokeniser": tokeniser, "misaligned": misaligned, "nested": nested, "offsets": offsets}
    posts_of((), **options)  # type: ignore[arg-type]  # checks them
    names = {"text": text, "spans": spans, "id": id, "start": start, "end": end, "type": type, "surface": surface}
    splits = splits_of(dataset, (text, spans, id, image))
    makers = {split: Maker.of(rows, split, names, options) for split, rows in splits.items()}
    kinds = tuple(types or ())
    if not kinds or all(map(is_whole, splits.values())):
        found, kinds = _recognised(splits, makers, kinds)
        makers = {split: replace(maker, options={**options, **found}) for split, maker in makers.items()}
    makers = {split: replace(maker, types=kinds) for split, maker in makers.items()}
    if all(map(is_whole, splits.values())):
        tell(splits, makers)
    return made(dataset, splits, makers, image)


@dataclass(frozen=True)
class Maker:
    """Makes posts of rows: a function for ``map`` with tables of Arrow, so that pictures are not decoded.

    ``columns`` are those to read and ``others`` those that stay, each with its feature; ``fields`` are as in
    ``generic.FIELDS``.
    """

    name: ClassVar[str] = "from_spans"

    split: str
    columns: Mapping[str, Any]
    others: Mapping[str, Any]
    fields: Mapping[str, Sequence[str]]
    options: Mapping[str, Any]
    warns: bool
    types: tuple[str, ...] = ()
    version: str = __version__  # a cached result of other code is not taken

    @classmethod
    def of(cls, rows: Any, split: str, names: Mapping[str, str | None], options: Mapping[str, Any]) -> "Maker":
        """Return what makes posts of a split."""
        fields = fields_of({ours: theirs for ours, theirs in names.items() if theirs is not None})
        key = names["id"] or ("id" if "id" in rows.features else None)
        read = [name for name in (names["text"], names["spans"], key) if name is not None]
        others = other_columns(rows, read)
        fields = {**fields, "id": (key,) if key else (), "images": ()}
        return cls(split, {name: rows.features[name] for name in read}, others, fields, options, not is_whole(rows))

    def annotated(self, rows: Iterable[Mapping[str, Any]], numbers: Iterable[int]) -> Iterator[Annotated | BadLine]:
        """Yield the texts of rows, given their numbers from 0."""
        for row, number in zip(rows, numbers, strict=False):
            try:
                named = {name: with_names(row[name], feature) for name, feature in self.columns.items()}
                found = annotated_of(named, number + 1, self.fields)
                yield replace(found, id=f"{self.split}-{number + 1}" if found.id is None else found.id)
            except DataError as error:
                yield BadLine(number + 1, str(error))

    def posts(self, rows: Iterable[Mapping[str, Any]], numbers: Iterable[int]) -> Iterator[RawPost | BadLine]:
        """Yield the posts of rows, given their numbers from 0."""
        for post in posts_of(self.annotated(rows, numbers), **self.options):
            yield post if isinstance(post, BadLine) or not self.types else of_types(post, self.types)

    @property
    def features(self) -> "Features":
        """The columns of posts, and those that stay."""
        from datasets import Features

        return Features({**mner_features(self.types, images="none"), **self.others})

    def __call__(self, table: "pa.Table", numbers: Sequence[int]) -> "pa.Table":
        """Return the table of the posts that rows make."""
        return table_of_posts(self, table, numbers)


def _recognised(
    splits: Mapping[str, Any], makers: Mapping[str, Maker], types: tuple[str, ...]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the options that rows tell, and their types unless they are given.

    Raises:
        DataError: there is no span.
    """
    kinds: set[str] = set()
    bad: list[BadLine] = []

    def texts() -> Iterator[Annotated]:
        for split, maker in makers.items():
            for found in maker.annotated(splits[split].select_columns(list(maker.columns)), itertools.count()):
                if isinstance(found, Annotated):
                    kinds.update(span.type.strip() for span in found.spans)
                    yield found
                elif not bad:
                    bad.append(found)

    found, _ = recognise_in(texts(), next(iter(makers.values())).options)
    if not kinds:
        hint = "; name the fields of a span as start='from', end='to', type='kind'" if bad else ""
        raise DataError(
            "expected rows with spans, found none" + "".join(f"; row {b.line}: {b.reason}{hint}" for b in bad)
        )
    return found, types or in_order(kinds)
