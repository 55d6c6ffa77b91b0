"""The files of a repo folder that a push sends: those of the configs that its card names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.publishing import croissant
from hf_mner_aug.publishing.folder import NOTE, pages_of, read_note
from hf_mner_aug.untrusted.cards import CARD, check_card, read_card

_TEMPORARY = (".tmp", "~", ".swp", ".swo", ".bak", ".orig", ".part", ".incomplete", ".old")


@dataclass(frozen=True)
class Selection:
    """The part of a repo folder that is sent: the notes of configs that its card names, and their files by path."""

    path: Path
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    card: str | None = None


def choose(folder: Path) -> Selection:
    """Return the part of a repo folder that a push sends.

    Raises:
        UsageError: there is no such folder.
        DataError: a file of a split is a link, or a config's recipe names another folder.
        Corrupt: a split has no file.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    path = folder / CARD
    card = read_card(path) if path.is_file() and not path.is_symlink() else None
    named = None if card is None else _config_names(card)
    notes: dict[str, dict[str, Any]] = {}
    files: dict[str, Path] = {}
    left_out: list[str] = []
    for path in sorted(folder.iterdir()):
        if (reason := _unfit(path)) is None and path.is_dir():
            if not (path / NOTE).is_file() or (path / NOTE).is_symlink():
                reason = f"it has no {NOTE}"
            elif named is not None and path.name not in named:
                reason = "the card names no such config: publish it again"
            else:
                notes[path.name] = read_note(path)
                files |= _config_files(path, notes[path.name], left_out)
        elif reason is None and path.name != CARD:
            reason = "no config names it"
        if reason is not None:
            left_out.append(f"{path.name}{'/' if path.is_dir() else ''} ({reason})")
    return Selection(folder, notes, files, tuple(left_out), card)


def is_data(name: str, splits: Sequence[str] | Mapping[str, Any]) -> bool:
    """Return whether a config's file belongs to one of some splits, as the card's pattern ``<split>-*`` does."""
    return name.endswith(".parquet") and any(name.startswith(f"{split}-") for split in splits)


def _config_files(folder: Path, note: Mapping[str, Any], left_out: list[str]) -> dict[str, Path]:
    """Return the files of a config that are sent, by their path in the repo; add the others to ``left_out``."""
    files: dict[str, Path] = {}
    pages = [] if note.get("retrieved") == "ids-only" else pages_of(folder.name)
    for path in sorted(folder.iterdir()):
        name, reason = f"{folder.name}/{path.name}", _unfit(path)
        if reason is not None and is_data(path.name, note["splits"]):
            raise DataError(f"{path}: expected a file, found {reason}: put the file itself there")
        if (
            reason is None
            and path.is_file()
            and (path.name in (NOTE, croissant.NAME, *pages) or is_data(path.name, note["splits"]))
        ):
            files[name] = path
        else:
            left_out.append(f"{name}{'/' if path.is_dir() else ''} ({reason or 'the config does not name it'})")
    for split in note["splits"]:
        if not any(is_data(path.name, [split]) for path in files.values()):
            raise Corrupt(f"{folder} has no {split}-*.parquet, though its {NOTE} names that split: publish it again")
    return files


def _unfit(path: Path) -> str | None:
    """Return the reason why a file or folder is never sent, or None."""
    if path.is_symlink():
        return "a link"
    if path.name.startswith("."):
        return "hidden"
    if path.name.endswith(_TEMPORARY) or path.name.startswith("#"):
        return "temporary"
    return None if path.is_file() or path.is_dir() else "no file"


def _config_names(card: str) -> set[str]:
    """Return the configs that a card's YAML names.

    Raises:
        DataError: it does not parse.
    """
    from huggingface_hub import DatasetCard

    check_card(card, "the folder's README.md")
    configs = DatasetCard(card, ignore_metadata_errors=True).data.get("configs")
    return {str(entry.get("config_name")) for entry in configs or () if isinstance(entry, dict)}
