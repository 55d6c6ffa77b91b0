"""A user's list of names, kept as an artifact: a recipe names it by its content, a fitted method has it as fitted.

``mentions=FILE`` of a method becomes ``mentions=sha256:…``, the digest of the names sorted and added up: the order and
layout of the file do not matter, and its path stays on this machine.
"""

import functools
import warnings
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from hf_mner_aug.exceptions import Corrupt, NotFitted, UsageError
from hf_mner_aug.posts.listed_mentions import Names, Writing, fit_names
from hf_mner_aug.posts.name_lists import ListedName, add_up, read_lines
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.names import check_digest
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.untrusted.shapes import parse_json
from hf_mner_aug.values import ByContent

PINNED = "sha256:"
MOST = 1_000_000  # names of a list: they are held in memory
ADVICE = (
    "name the list's file: mentions=FILE, for verify with `hf-mner-aug augment SOURCE --recipe augmentation.json "
    "--set mentions=FILE --out DIR` beforehand"
)


class _Place(NamedTuple):
    """Where this process read a list: its path, and the first line of each type."""

    path: str
    lines: Mapping[str, int]


_places: dict[str, _Place] = {}  # by pin, for messages


def pinned_list(mentions: str) -> str:
    """Return the value of ``mentions`` with the content of the list for its file; empty for none.

    Raises:
        UsageError: the file cannot be read, has no name or more than ``MOST``.
        DataError: a line is not a type and a name.
    """
    if not mentions or mentions.startswith(PINNED):
        return mentions
    names: list[ListedName] = []
    lines: dict[str, int] = {}
    for number, name in read_lines(mentions):
        lines.setdefault(name.type, number)
        names.append(name)
        if len(names) > MOST:
            raise UsageError(
                f"{mentions} line {number}: expected at most {MOST:,} names: keep the heaviest with `hf-mner-aug names "
                f"{mentions} --most {MOST // 10} --out FILE`"
            )
    if not names:
        raise UsageError(f"mentions={mentions}: expected names in the file, found none")
    pin = PINNED + artifacts.save_json([[name.type, name.text, name.weight] for name in add_up(names)])
    _places[pin] = _Place(mentions, lines)
    return pin


def read_list(pin: str) -> list[ListedName]:
    """Return the names of a list that ``pinned_list`` named.

    Raises:
        UsageError: the list is not on this machine.
        Corrupt: the artifact is no list of names, or is damaged.
    """
    digest = check_digest(pin.removeprefix(PINNED), "mentions")
    try:
        data = artifacts.load(digest)
    except NotFitted as error:
        raise UsageError(f"no list of names {digest[:12]} is known on this machine: {ADVICE}") from error
    rows = parse_json(data, list[tuple[str | float, ...]], f"list of names {digest[:12]}", error=Corrupt, advice=ADVICE)
    if not all(list(map(type, row)) == [str, str, float] for row in rows):
        raise Corrupt(f"list of names {digest[:12]}: expected a type, a name and a weight in each row: {ADVICE}")
    return [ListedName(kind, tuple(text.split()), weight) for kind, text, weight in rows]


def fit_list(mentions: str, writing: Writing) -> dict[str, str]:
    """Return a pinned list as a set writes it, as one of a method's files; no file for an empty ``mentions``.

    Types of the set that the list has no name of are told in a warning.

    Raises:
        UsageError: the list has a type that the set lacks, or is not on this machine.
    """
    if not mentions:
        return {}
    names = read_list(mentions)
    kinds = sorted({name.type for name in names})
    if unknown := [kind for kind in kinds if kind not in writing.keys]:
        raise UsageError(
            f"{_where(mentions, unknown[0])}: expected a type of train ({', '.join(sorted(writing.keys)) or 'none'}), "
            f"found {excerpt(unknown[0], 80)}: rename it with `hf-mner-aug names FILE --types OLD=NEW --out FILE`"
        )
    fitted = fit_names(names, writing)
    if missing := sorted(writing.keys - set(fitted["names"])):
        warnings.warn(
            f"{_where(mentions)} has no name of {', '.join(missing)}: these mentions come from train alone",
            stacklevel=4,
        )
    return {"names": artifacts.save_json(fitted)}


NameList = Annotated[str, ByContent(lambda mentions, where: pinned_list(mentions))]  # the parameter ``mentions``


@functools.lru_cache(maxsize=4)
def open_names(digest: str) -> Names:
    """Return the names that ``fit_list`` stored; raises as ``artifacts.load``."""
    return Names.of(artifacts.load_json(digest))


def names_of(files: Mapping[str, str] | None) -> Names | None:
    """Return the fitted names among a method's files, None without any."""
    return open_names(files["names"]) if files and "names" in files else None


def told_list(mentions: str) -> tuple[str, ...]:
    """Return a sentence for the card on a pinned list; none without one."""
    if not mentions:
        return ()
    digest = mentions.removeprefix(PINNED)[:12] if mentions.startswith(PINNED) else "not read yet"
    return (
        f"Some mentions come from a list of names that the user gave (sha256 {digest}): what the texts say of them is "
        "made up, and the list's licence is not known here. The column provenance names them as listed.",
    )


def _where(pin: str, kind: str = "") -> str:
    """Return where a list's names, or its first one of a type, stand, for messages."""
    place = _places.get(pin)
    if place is None:
        return f"the list of names {pin.removeprefix(PINNED)[:12]}"
    return f"{place.path} line {place.lines[kind]}" if kind in place.lines else place.path
