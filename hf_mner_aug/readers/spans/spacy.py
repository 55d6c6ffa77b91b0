"""spaCy: ``.spacy`` files (DocBin), and the JSON that spaCy and the scripts around it have written since version 1.

A ``.spacy`` file is read by spaCy; its words and ``doc.ents`` are taken, with or without blanks between the words.
Span groups (``doc.spans``) are left out. JSON, or JSON Lines, is one of:

- ``["text", {"entities": [[start, end, "PER"]]}]``, as in spaCy's examples of training;
- ``{"classes": […], "annotations": [["text", {"entities": […]}], null]}``, of the annotator at
  tecoholic.github.io/ner-annotator;
- ``{"text", "ents": [{"start", "end", "label"}], "tokens": [{"start", "end"}]}``, of ``Doc.to_json``;
- ``{"doc_annotation": {"entities": ["U-PER", "O"]}, "token_annotation": {"ORTH": […]}}``, of ``Example.to_dict``;
- ``{"id", "paragraphs": [{"raw", "sentences": [{"tokens": [{"orth", "ner"}]}]}]}``, of spaCy 1 and 2: a paragraph is a
  post, its tags are BILUO, and ``-`` (missing) is O.

Offsets are code points. Source: ``spacy/tokens/_serialize.py`` and ``spacy/training/gold_io.pyx`` of spaCy 3.8, its
example data of version 2. A doc none of whose words has been annotated is left out and counted.
"""

import gc
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.need import need
from hf_mner_aug.readers.lines import BadLine, as_read
from hf_mner_aug.readers.spans.annotated import Annotated, Marked
from hf_mner_aug.readers.spans.json_records import (
    built,
    json_records,
    list_of,
    mark,
    object_of,
    objects_of,
    offset_of,
    spelt,
    text_of,
)
from hf_mner_aug.readers.spans.tool_fields import Columns, checked_columns, own_id, own_pictures
from hf_mner_aug.schema.schemes import Tagging

MAX_BYTES = 2_000_000_000  # of a DocBin in memory
_INSIDE, _BEGIN = 1, 3  # spaCy's IOB codes; 0 is missing, 2 is outside
_FOREIGN = (
    *(zlib.error, ArithmeticError, AssertionError, AttributeError, DataError),
    *(LookupError, RecursionError, TypeError, ValueError),
)
_BILUO = Tagging("bilou")


def read_spacy(
    path: Path, columns: Columns = MappingProxyType({}), encoding: str = "utf-8"
) -> Iterator[Annotated | BadLine]:
    """Yield the texts of a ``.spacy`` file or a JSON file.

    Raises:
        UnknownName: ``columns`` names a field that is none of ``tool_fields.NAMES``.
        MissingExtra: spaCy is not installed, and the file is not JSON.
        DataError: the file is neither, or no record could be read.
    """
    named = checked_columns(columns)
    if path.suffix == ".spacy":
        yield from _docs(path, named)
    else:
        records = _records(json_records(path, encoding, inside=("annotations",)))
        yield from built(records, lambda record, number: _of_record(record, number, named))


# ---------------------------------------------------------------- DocBin


def _docs(path: Path, columns: Mapping[str, str]) -> Iterator[Annotated | BadLine]:
    found, strings = _docbin(path)
    for number in range(1, len(found) + 1):
        try:
            yield _doc(found, strings, number, columns)
        except _FOREIGN as error:  # DataError, too
            told = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {str(error)[:100]}"
            yield BadLine(number, f"doc {number} cannot be read ({told})")


def _docbin(path: Path) -> tuple[Any, Any]:
    """Return the DocBin of a file, and its strings by their hashes.

    Raises:
        DataError: the file is none.
    """
    tokens = need("spacy.tokens", extra="formats")
    data = path.read_bytes()
    try:
        unpacker = zlib.decompressobj()
        unpacker.decompress(data, MAX_BYTES)
        if unpacker.unconsumed_tail:
            raise DataError(f"{path}: expected at most {MAX_BYTES:,} bytes, unpacked, found more")
        found = tokens.DocBin().from_bytes(data)
        return found, need("spacy.strings", extra="formats").StringStore(found.strings)
    except _FOREIGN as error:
        if isinstance(error, DataError):
            raise
        told = f"{type(error).__name__}: {str(error)[:100]}"
        raise DataError(f"{path}: expected a DocBin of spaCy, found other bytes ({told}){as_read(path)}") from error
    finally:
        gc.enable()  # srsly leaves it disabled when it fails


def _doc(found: Any, strings: Any, number: int, columns: Mapping[str, str]) -> Annotated | BadLine:
    """Return the text of a doc; raises what reading foreign values does."""
    attrs = need("spacy.attrs", extra="formats")
    doc, blanks = found.tokens[number - 1], found.spaces[number - 1]
    orth, codes, kinds = (
        doc[:, found.attrs.index(attr)].tolist() for attr in (attrs.ORTH, attrs.ENT_IOB, attrs.ENT_TYPE)
    )
    if codes and not any(codes):
        return BadLine(number, f"doc {number} has no entities set", "unlabelled")
    unknown = found.flags[number - 1].get("has_unknown_spaces")
    text, ranges = _spaced([strings[word] for word in orth], [True] * len(orth) if unknown else blanks[:, 0].tolist())
    entities = _entities(codes, [strings[kind] if kind else "" for kind in kinds], ranges)
    data = _user_data(found.user_data[number - 1])
    return Annotated(own_id(data, columns), number, text, entities, own_pictures(data, columns), ranges)


def _user_data(packed: bytes | None) -> Mapping[str, Any]:
    """Return the fields in a doc's user data, and its extension attributes (``("._.", name, None, None)``)."""
    if not packed:
        return {}
    data = need("srsly", extra="formats").msgpack_loads(packed, use_list=False)
    names = {key: key[1] if isinstance(key, tuple) and len(key) > 1 else key for key in object_of(data)}
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}
    return {name: lists[key] for key, name in names.items() if isinstance(name, str)}


def _spaced(words: Sequence[str], spaces: Sequence[bool]) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of words, and where in it they are (start, end)."""
    parts, ranges, at = [], [], 0
    for word, space in zip(words, spaces, strict=True):
        parts += [word, " " * space]
        ranges.append((at, at + len(word)))
        at += len(word) + space
    return "".join(parts), ranges


def _entities(codes: Sequence[int], kinds: Sequence[str], ranges: Sequence[tuple[int, int]]) -> list[Marked]:
    """Return the entities of words from spaCy's IOB codes [n_words] and types [n_words]."""
    spans: list[Marked] = []
    for i, (code, kind) in enumerate(zip(codes, kinds, strict=True)):
        if code == _BEGIN or (code == _INSIDE and not (i and codes[i - 1] in (_BEGIN, _INSIDE))):
            spans.append(mark(*ranges[i], kind))
        elif code == _INSIDE:
            spans[-1] = spans[-1]._replace(end=ranges[i][1])
    return spans


# ---------------------------------------------------------------- JSON


def _records(records: Iterable[tuple[int, Any] | BadLine]) -> Iterator[tuple[int, Any] | BadLine]:
    """Yield the texts of records, numbered from 1: some have several."""
    count = 0
    for record in records:
        if isinstance(record, BadLine):
            yield record
            continue
        for part in _parts(record[1]):
            count += 1
            yield count, part


def _parts(record: Any) -> list[Any]:
    """Return the paragraphs of a document, or the record; none for null."""
    if isinstance(record, dict) and isinstance(record.get("paragraphs"), list):
        return record["paragraphs"]
    return [] if record is None else [record]


def _of_record(record: Any, number: int, columns: Mapping[str, str]) -> Annotated | BadLine:
    if isinstance(record, list):
        if len(record) != 2 or not isinstance(record[0], str):
            raise DataError(f"expected [text, {{'entities': […]}}], found {spelt(record)}")
        record = {"text": record[0], **object_of(record[1], "[text, {'entities': […]}]")}
    object_of(record)
    if "token_annotation" in record:
        return _of_example(record, number)
    if "sentences" in record:
        return _of_paragraph(record, number)
    field = columns.get("spans") or next((name for name in ("entities", "ents", "spans") if name in record), None)
    if field is None:
        return BadLine(number, "expected entities or ents, found none", "unlabelled")
    tokens = [token for token in objects_of(record, "tokens") if "start" in token]
    return Annotated(
        own_id(record, columns),
        number,
        text_of(record, columns.get("text", "text"), "raw"),
        [_span(span) for span in list_of(record, field)],
        own_pictures(record, columns),
        [(offset_of(token["start"]), offset_of(token.get("end"))) for token in tokens] or None,
    )


def _span(span: Any) -> Marked:
    if isinstance(span, dict):
        return mark(span.get("start"), span.get("end"), span.get("label"))
    if not isinstance(span, list) or len(span) not in (3, 4):  # the fourth is the id of an entity
        raise DataError(f"expected a span [start, end, type], found {spelt(span)}")
    return mark(*span[:3])


def _of_example(record: Mapping[str, Any], number: int) -> Annotated | BadLine:
    """Return the text of ``Example.to_dict``."""
    words = list_of(record, "token_annotation.ORTH")
    spaces = list_of(record, "token_annotation.SPACY") or [True] * len(words)
    return _tagged(words, spaces, list_of(record, "doc_annotation.entities"), number)


def _of_paragraph(record: Mapping[str, Any], number: int) -> Annotated | BadLine:
    """Return the text of a paragraph of spaCy 2."""
    tokens = [token for sentence in objects_of(record, "sentences") for token in objects_of(sentence, "tokens")]
    words = [token.get("orth") for token in tokens]
    return _tagged(words, [True] * len(words), [token.get("ner", "-") for token in tokens], number)


def _tagged(words: Sequence[Any], spaces: Sequence[Any], tags: Sequence[Any], number: int) -> Annotated | BadLine:
    """Return a text of words with BILUO tags."""
    if not all(isinstance(word, str) for word in words) or not len(words) == len(tags) == len(spaces):
        raise DataError(f"expected words with a tag each, found {len(words)} words and {len(tags)} tags")
    names = ["O" if tag in ("-", None) else str(tag) for tag in tags]
    if words and all(tag in ("-", None) for tag in tags):
        return BadLine(number, "a text whose entities are missing", "unlabelled")
    text, ranges = _spaced(words, [bool(space) for space in spaces])
    spans = [mark(ranges[start][0], ranges[end - 1][1], kind) for start, end, kind in _BILUO.spans(names)]
    return Annotated(None, number, text, spans, words=ranges)
