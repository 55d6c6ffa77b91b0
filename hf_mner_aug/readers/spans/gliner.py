"""GLiNER's training data: a JSON array, or JSON Lines, of words and spans of words.

``{"tokenized_text": ["Adele", "in", "Los", "Angeles"], "ner": [[0, 0, "person"], [2, 3, "location"]]}``: the end of a
span is the last word, **inclusive**. Source: ``gliner/data_processing`` of the package gliner 0.2.29, and the data of
its repository. Words are kept as they are. Other fields (``ner_labels``, ``relations``, …) are left out.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated
from hf_mner_aug.readers.spans.json_records import annotated_records, list_of, mark, object_of, spelt
from hf_mner_aug.readers.spans.tool_fields import Columns, checked_columns, own_id, own_pictures


def read_gliner(
    path: Path, columns: Columns = MappingProxyType({}), encoding: str = "utf-8"
) -> Iterator[Annotated | BadLine]:
    """Yield the texts of a file.

    Raises:
        UnknownName: ``columns`` names a field that is none of ``tool_fields.NAMES``.
        DataError: the file is not JSON, or no record could be read.
    """
    named = checked_columns(columns)
    yield from annotated_records(path, lambda record, line: _annotated(object_of(record), line, named), encoding)


def _annotated(record: Mapping[str, Any], line: int, columns: Mapping[str, str]) -> Annotated:
    field = columns.get("text", "tokenized_text")
    words = list_of(record, field)
    if not words or not all(isinstance(word, str) for word in words):
        raise DataError(f"expected {field!r} with a list of words, found {spelt(record.get(field))}")
    text, ranges = joined(words)
    spans = []
    for span in list_of(record, columns.get("spans", "ner")):
        if not isinstance(span, list) or len(span) != 3:
            raise DataError(f"expected a span [first word, last word, type], found {spelt(span)}")
        first, last, kind, _ = mark(*span)
        if not 0 <= first <= last < len(words):
            raise DataError(f"words {first} to {last} of {kind[:60]!a} do not fit {len(words)} words")
        spans.append(mark(ranges[first][0], ranges[last][1], kind))
    return Annotated(own_id(record, columns), line, text, spans, own_pictures(record, columns), ranges)


def joined(words: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """Return a text of words with a blank between two, and where in it they are (start, end)."""
    starts = accumulate((len(word) + 1 for word in words), initial=0)
    return " ".join(words), [(start, start + len(word)) for start, word in zip(starts, words, strict=False)]
