"""The files of a raw set: the text of each split, the XML files with boxes."""

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.texts import normalise_unicode
from hf_mner_aug.readers.layout import ANY_PREFIX, RawSet
from hf_mner_aug.readers.lines import as_read
from hf_mner_aug.storage.picture_files import is_inside

# Files of further splits, which are not read.
_FURTHER = re.compile(r"(train|valid|val|validation|dev|test)[-_. \d].*")


def find_files(raw: RawSet, raw_dir: Path) -> dict[str, Path]:
    """Return the file of each split that exists (or the folder); a space before the file's suffix is ignored.

    Raises:
        UsageError: the path does not exist.
        DataError: no split is found, or a split has two files.
    """
    is_split, endings = (Path.is_dir, ("",)) if raw.split_folders else (Path.is_file, raw.endings)
    if raw_dir.is_file():
        return {"train": raw_dir}
    if not raw_dir.is_dir():
        raise UsageError(f"{raw_dir}: no such folder or file")
    for folder in (raw_dir, *(raw_dir / name for name in raw.folders if (raw_dir / name).is_dir())):
        inside = [(f"{path.stem.strip()}{path.suffix}", path) for path in sorted(folder.iterdir()) if is_split(path)]
        for prefix in _prefixes(raw, folder, [spelt for spelt, _ in inside]):
            files: dict[str, Path] = {}
            for split, names in raw.split_names.items():
                spellings = [f"{prefix}{name}{ending}" for ending in endings for name in names]
                found = [path for spelling in spellings for spelt, path in inside if spelt == spelling]
                if len(found) > 1:
                    both = " and ".join(map(str, found))
                    raise DataError(f"expected one file for {split}, found {both}: keep one of them")
                if found:
                    files[split] = found[0]
                    if not is_inside(found[0], folder.resolve()):
                        raise DataError(f"{found[0]} is a link that leads out of {folder}: name the file itself")
            if files:
                _warn_of_others(endings, prefix, [path for _, path in inside if path not in files.values()])
                return files
    if raw.split_folders:
        return {"train": raw_dir}
    others = sorted(path for path in raw_dir.iterdir() if not path.name.startswith("."))
    texts = [path for path in others if path.suffix in raw.endings and path.is_file()]
    if raw.lone_file and len(texts) == 1 and _is_train(raw, texts[0]):
        return {"train": texts[0]}
    first, *more = [ending for ending in raw.endings if ending] or [""]
    tried = ", ".join(f"{name}{first}" for names in raw.split_names.values() for name in names)
    tried += f" (or {', '.join(more)})" * bool(more)
    if prefixes := [prefix for prefix in raw.prefixes if prefix not in ("", ANY_PREFIX)]:
        tried += f" with {' or '.join(prefixes)} before them{' or nothing' * ('' in raw.prefixes)}"
    held = ", ".join(path.name for path in others[:10]) or "nothing"
    raise DataError(
        f"{raw_dir}: tried {tried}; found {held}: give the folder of the splits, or one file to read as train"
        + (as_read(texts[0]) if texts else "")
    )


def _is_train(raw: RawSet, path: Path) -> bool:
    """Return whether a file may be read as train: its name has no word for another split, and it is no link outside."""
    held_out = {name for split, names in raw.split_names.items() if split != "train" for name in names}
    words = re.split(r"[\W_\d]+", path.stem.lower())
    return held_out.isdisjoint(words) and is_inside(path, path.parent.resolve())


def _prefixes(raw: RawSet, folder: Path, names: Sequence[str]) -> Sequence[str]:
    """Return what may stand before a split's name in a folder's files.

    Raises:
        DataError: any text may, and there are several.
    """
    if ANY_PREFIX not in raw.prefixes:
        return raw.prefixes
    ends = [name + ending for names in raw.split_names.values() for name in names for ending in raw.endings]
    found: dict[str, str] = {}
    for name, end in ((name, end) for name in names for end in ends if name.endswith(end)):
        if (prefix := name.removesuffix(end)) and not prefix[-1].isalpha():
            found.setdefault(prefix, name)
    fixed = [prefix for prefix in raw.prefixes if prefix != ANY_PREFIX]
    if len(found) > 1 and not any(f"{prefix}{end}" in names for prefix in fixed for end in ends):
        raise DataError(
            f"{folder}: found files of several sets, {' and '.join(sorted(found.values())[:5])}: give one file, or the "
            "folder of one set"
        )
    return [*fixed, *found]


def find_drawings(raw: RawSet, raw_dir: Path, xml: str | Path | None) -> dict[str, list[Path]]:
    """Return the XML files with boxes by the id of their post; there may be none.

    Raises:
        UsageError: they are required but missing, or the set has no place for boxes.
    """
    if xml is not None and not raw.takes_boxes:
        raise UsageError(f"{raw.name} has no place for boxes: they belong to entities of a set with one image per post")
    folder = raw_dir / "xml" if xml is None else Path(xml)
    if xml is not None or (raw.takes_boxes and folder.is_dir()):
        return _drawings_in(folder)
    if raw.needs_boxes:
        raise UsageError(f"{folder}: no such folder: name the XML files' folder with --xml DIR, or read as conll")
    return {}


def _warn_of_others(endings: Sequence[str], prefix: str, left: Iterable[Path]) -> None:
    """Warn of files whose names look like further splits, as ``test_2021.txt``."""
    ours = (path.name for path in left if path.name.startswith(prefix) and path.suffix in endings)
    if names := [name for name in ours if _FURTHER.fullmatch(name.removeprefix(prefix))]:
        warnings.warn(
            f"left unread: {', '.join(names)}: a folder has train, validation and test; convert each of these by "
            "itself, and name it as a split to hold it out",
            stacklevel=5,
        )


def _drawings_in(folder: Path) -> dict[str, list[Path]]:
    """Return the XML files of a folder by the id of their post; the first of each is used.

    Raises:
        UsageError: the folder does not exist or has no XML file.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of XML files")
    drawings: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (path.suffix != ".xml", path)):
        if path.suffix.lower() == ".xml":
            drawings.setdefault(normalise_unicode("NFC", path.stem), []).append(path)
    if not drawings:
        raise UsageError(f"{folder}: expected XML files named <id>.xml, found none")
    return drawings
