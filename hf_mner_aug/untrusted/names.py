"""Names that come with data: of configs, splits, columns and files, and digests used as file names.

A dataset, a repo or an augmentation.json of somebody else names its own parts, and some of these names become paths
here. A name that passes cannot lead out of its folder, hide a file, or match other files as a pattern.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import Corrupt, DataError

LONGEST = 128  # characters: hidden and temporary names add to a name, and file systems take 255 bytes
LONGEST_PATH = 1_000  # characters of a path or pattern: fsspec's time is quadratic in its brackets
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Also found in column names of public sets, besides letters, digits and "_.-": no path, pattern, Markdown or HTML.
_IN_COLUMNS = " :()+,=#%&@'?"
_GIT_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
STUBS = "retrieved"  # the stem of the files of stubs: no split may have this name
RESERVED = ("data", "README.md")  # the Hub refuses a config of the first name, the card has the second


def is_name(name: Any) -> bool:
    """Return whether a value is one component of a path: letters, digits and ``_.-``, no dot first."""
    return isinstance(name, str) and len(name) <= LONGEST and bool(_NAME.fullmatch(name))


def check_name(kind: str, name: Any, where: str = "") -> None:
    """Check that the name of a config, split or file can be one component of a path.

    Raises:
        DataError: it cannot.
    """
    if not is_name(name):
        raise DataError(
            f"{_at(where)}{kind} name {_spelt(name)}: expected letters, digits, '_', '.' and '-', no dot first"
        )


def check_columns(names: Iterable[Any], where: str = "") -> None:
    """Check that no column name is a path, a pattern or markup.

    Column names never become paths, so letters and digits of any script are accepted, and some signs of public sets.

    Raises:
        DataError: a name is invalid.
    """
    for name in names:
        fits = isinstance(name, str) and 0 < len(name) <= LONGEST and not name.startswith((".", " "))
        if not fits or not all(_in_column(sign) for sign in name):
            raise DataError(
                f"{_at(where)}column name {_spelt(name)}: expected letters, digits, '_', '.' and '-': "
                "rename it with ds.rename_column"
            )


def check_names(note: Mapping[str, Any], folder: Path) -> None:
    """Check that a config's augmentation.json belongs to its folder, and that its splits have valid names.

    Raises:
        DataError: it is for another config, or a name is invalid.
    """
    where = f"{folder}/augmentation.json"
    recipe, splits = note.get("recipe"), note.get("splits")
    config = recipe.get("config") if isinstance(recipe, Mapping) else None
    check_name("config", config, where)
    if config != folder.name:
        raise DataError(
            f"{where}: its recipe is for the config {config!r}, but the folder is {_spelt(folder.name)}: "
            "give the folder the config's name"
        )
    for split in splits if isinstance(splits, Mapping) else ():
        check_name("split", split, where)


def check_digest(digest: Any, where: str = "") -> str:
    """Return a sha256, as 64 hexadecimal digits.

    Raises:
        Corrupt: it is something else.
    """
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Corrupt(f"{_at(where)}expected a sha256 (64 hexadecimal digits), found {_spelt(digest)}")
    return digest


def check_repo_path(path: Any, where: str = "") -> None:
    """Check that the path or pattern of data files stays inside the repo or folder that names them.

    Raises:
        DataError: it is absolute, contains ``..``, is a URL, cannot be printed, or is too long.
    """
    bad = (
        not isinstance(path, str) or len(path) > LONGEST_PATH or path.startswith(("/", "~")) or ".." in path.split("/")
    )
    if bad or any(sign in path for sign in ("://", "::", "\\")) or not path.isprintable():
        raise DataError(f"{_at(where)}data files {_spelt(path)}: expected a path inside the repo")


def check_repo(repo: Any, revision: Any, config: Any, where: str = "") -> None:
    """Check that the source that data names is a Hub dataset: ``name`` or ``org/name``, revision and config optional.

    Raises:
        DataError: it names something else, such as a folder of this machine.
    """
    parts = repo.split("/") if isinstance(repo, str) else []
    fits = 0 < len(parts) <= 2 and all(map(is_name, parts))
    if revision is not None:
        fits = fits and bool(_GIT_REVISION.fullmatch(revision)) and ".." not in revision
    if config is not None:
        fits = fits and is_name(config)
    if not fits:
        spelt = "".join([str(repo), f"@{revision}" if revision else "", f":{config}" if config else ""])
        raise DataError(
            f"{_at(where)}source {_spelt(spelt)}: expected a Hub dataset: name the folder with --source DIR"
        )


def _in_column(sign: str) -> bool:
    return sign in "_.-" or sign in _IN_COLUMNS or unicodedata.category(sign)[0] in "LNM"


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _spelt(name: Any) -> str:
    """Return a value as one short printable line."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:77]}…"
