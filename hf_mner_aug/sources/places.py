"""The path or Hub id that a user types, and the reading of files that are not a folder of Parquet files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.sources.splits import split_names
from hf_mner_aug.storage.picture_files import is_inside
from hf_mner_aug.untrusted.names import is_name
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    from datasets import DatasetDict

FILES = {".parquet": "parquet", ".jsonl": "json"}
SAVED, SAVED_SPLITS = ("state.json", "dataset_info.json"), "dataset_dict.json"


class State(TypedDict):
    """The files that ``state.json`` of a saved dataset lists."""

    _data_files: list["StateFile"]


class StateFile(TypedDict):
    """A file of a saved dataset."""

    filename: str


class SavedSplits(TypedDict):
    """The content of ``dataset_dict.json``."""

    splits: list[str]


def at_home(name: str) -> Path:
    """Return a path with ``~`` expanded to the user's home folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~name of an unknown user
        return Path(name)


def split_source(name: str) -> tuple[str, str | None, str | None]:
    """Return the path or repo, the config and the revision of a source."""
    if at_home(name).exists():
        return (str(at_home(name)) if name.startswith("~") else name), None, None
    head, colon, config = name.rpartition(":")
    if not colon:
        head, config = name, ""
    path, _, revision = head.partition("@")
    return path, config or None, revision or None


def local_name(source: str) -> str:
    """Return the name of a local folder, or of a config in one, without its path; empty for a dataset on the Hub."""
    path, config, _ = split_source(source)
    return ":".join(filter(None, [Path(path).resolve().name, config])) if source and Path(path).exists() else ""


def locate(name: str, *, on_hub: bool = False) -> Path | None:
    """Return the folder or file that a source names, or None if it can only be a dataset on the Hub.

    ``on_hub`` says that the name had a revision. The Hub is not asked: only the form of the name decides.

    Raises:
        UsageError: there is no such folder, or a file of an unsupported type.
    """
    place = at_home(name)
    if place.is_dir():
        return place
    if place.is_file() and place.suffix.lower() in FILES:
        return place
    if place.exists():
        raise UsageError(
            f"{name} is a file, expected a dataset's folder, {' or '.join(FILES)}: make a dataset of raw files with "
            "hf-mner-aug convert"
        )
    parts = name.split("/")
    if not on_hub and len(parts) == 2 and all(map(is_name, parts)) and Path(parts[0]).is_dir():
        raise UsageError(
            f"there is no {name}: {_held(Path(parts[0]))}; if a dataset on the Hub is meant, name its revision, as "
            f"{name}@main"
        )
    if len(parts) != 2 or not all(map(is_name, parts)):
        hub = ", and a dataset on the Hub would be ORG/NAME" if len(parts) == 1 else ""
        raise UsageError(f"there is no folder {name}{hub}")
    return None


def read_local(place: Path) -> "DatasetDict | None":
    """Return the splits of a file, a folder of JSON Lines or one that ``save_to_disk`` wrote; None for another folder.

    Raises:
        UsageError: a folder has no file of a supported type, or a file is empty.
        DataError: a saved dataset names files outside its folder, or its description is damaged.
    """
    from datasets import DatasetDict, load_dataset, load_from_disk

    if place.is_file():
        files: Mapping[str, Sequence[str]] = {"train": [str(place)]}
        kind = FILES[place.suffix.lower()]
    elif (place / SAVED_SPLITS).is_file() or all((place / file).is_file() for file in SAVED):
        _check_saved(place)
        found = load_from_disk(str(place))
        return found if isinstance(found, DatasetDict) else DatasetDict(train=found)
    elif any(place.rglob("*.parquet")):
        return None
    else:
        files, kind = _json_lines(place), "json"
    if empty := next((file for of_split in files.values() for file in of_split if not Path(file).stat().st_size), None):
        raise UsageError(f"{empty} is empty: expected a post on each line")
    return DatasetDict(load_dataset(kind, data_files=dict(files)))


def is_json_lines(place: Path) -> bool:
    """Return whether a source holds JSON Lines and no Parquet; JSON Lines declare neither labels nor pictures."""
    return place.suffix.lower() == ".jsonl" if place.is_file() else not any(place.rglob("*.parquet"))


def _json_lines(folder: Path) -> dict[str, list[str]]:
    """Return the JSON Lines of a folder by split: ``train.jsonl``, ``data/test-00000-of-00002.jsonl``."""
    inside = [path for where in (folder, folder / "data") if where.is_dir() for path in sorted(where.glob("*.jsonl"))]
    files: dict[str, list[str]] = {}
    splits = split_names(path.stem for path in inside)
    for path in inside:
        if not is_inside(path, folder.resolve()):
            raise UsageError(f"{folder}: its data file {path} lies outside of it: name the folder of that file")
        files.setdefault(splits[path.stem], []).append(str(path))
    if not files:
        raise UsageError(
            f"{folder} holds no Parquet file: make a dataset of raw files with hf-mner-aug convert"
            + (
                f" ({_held(folder)}; JSON Lines and save_to_disk folders are read, too)"
                if any(folder.iterdir())
                else ""
            )
        )
    return files if len(inside) > 1 or "train" in files else {"train": [str(inside[0])]}


def _held(folder: Path) -> str:
    """Return a short description of a folder's content."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{folder.name or folder} holds {', '.join(names[:5])}{more}" if names else f"{folder} is empty"


def _check_saved(folder: Path) -> None:
    """Check that a saved dataset, or each split of one, reads only files in its own folder."""
    folders = [folder]
    if (path := folder / SAVED_SPLITS).is_file():
        splits: dict[str, Any] = read_json(path, SavedSplits, error=DataError)
        folders = [folder / split for split in splits["splits"] if is_name(split)]
        if len(folders) < len(splits["splits"]):
            raise DataError(f"{path}: expected names of splits, found {splits['splits']}")
    for part in folders:
        path = part / SAVED[0]
        if not path.is_file():
            raise DataError(f"{path}: no such file: expected what save_to_disk wrote")
        state: dict[str, Any] = read_json(path, State, error=DataError)
        for file in state["_data_files"]:
            if not is_name(file["filename"]) or not is_inside(part / file["filename"], folder.resolve()):
                raise DataError(
                    f"{path}: its data file {file['filename']!r} lies outside of it: save the dataset again"
                )
