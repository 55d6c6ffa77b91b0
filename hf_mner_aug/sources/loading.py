"""The splits of a folder, a file or a dataset on the Hub, checked before they are read."""

import csv
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hf_mner_aug.columns.labels import read_parquet, same_labels
from hf_mner_aug.columns.mapping import map_columns
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.progress import muted
from hf_mner_aug.sources.places import at_home, is_json_lines, locate, read_local, split_source
from hf_mner_aug.sources.splits import apart, named_splits
from hf_mner_aug.storage.parquet import find_damaged
from hf_mner_aug.storage.picture_columns import embed
from hf_mner_aug.storage.picture_files import Allowed, is_inside, own_folders, shown
from hf_mner_aug.untrusted.cards import (
    CARDS,
    Structure,
    check_card,
    check_card_yaml,
    check_mark,
    names_files,
    read_card,
    reader_errors,
)
from hf_mner_aug.untrusted.printable import excerpt

if TYPE_CHECKING:
    from datasets import DatasetDict

ROWS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv"}
_HEADER = 1 << 16  # characters


def load_source(
    name: str, *, images: str | Path | None = None, columns: Mapping[str, str] = MappingProxyType({})
) -> "DatasetDict":
    """Return the splits of a folder or a Hub dataset (``org/name``), optionally with ``@revision`` and ``:config``.

    A folder holds Parquet, JSON Lines or what ``save_to_disk`` wrote; a file of the first two is a train split. With
    ``columns``, columns are renamed and cast as by ``map_columns``; JSON Lines are cast in any case. Splits are named
    as ``named_splits`` says; labels are numbered alike in all. Pictures that it only names are read in its own folder,
    or in the folder ``images``; others are missing, and a warning counts them.

    Raises:
        UsageError: there is no such dataset, config or folder, it has no train split, or its columns are not an MNER
            set's.
        DataError: its card names data files outside of it, or a column or split has a name that is refused.
    """
    return embed(*open_source(name, images=images, columns=columns), stacklevel=2)


def with_pictures(source: Any, images: str | Path | None) -> Any:
    """Return a source unchanged, or its splits with the pictures of a folder where one is named.

    Raises:
        UsageError: there is no source to read pictures for; otherwise as ``load_source``.
    """
    if images is not None and source is None:
        raise UsageError(f"--images {images} is for the pictures of a source: name it with --source")
    if images is None:
        return source
    if isinstance(source, str | Path):
        return load_source(str(source), images=images)
    return embed(named_splits(source), Allowed.of(images), stacklevel=2)


def open_rows(name: str, *, images: str | Path | None = None) -> tuple["DatasetDict", Allowed]:
    """Return the splits of a source as they are: no column is cast, and a file may also be JSON, CSV or TSV.

    Raises:
        UsageError: as ``load_source``.
        DataError: the file cannot be read.
    """
    from datasets import load_dataset

    place = at_home(split_source(name)[0])
    kind = ROWS.get(place.suffix.lower()) if place.is_file() else None
    if kind is None and not (place.is_dir() and is_json_lines(place)):
        return open_source(name, images=images)
    try:
        if kind is None:
            splits: Any = read_local(place)
        else:
            options = {"delimiter": _separator(place)} if kind == "csv" else {}
            with muted("datasets", logging.CRITICAL):  # it raises these errors as well
                splits = load_dataset(kind, data_files={"train": str(place)}, **options)
    except reader_errors() as error:
        raise _unloadable(name, error) from error
    return named_splits(splits), Allowed.of(place if place.is_dir() else place.parent, images)


def _separator(place: Path) -> str:
    """Return what is between the columns of a CSV or TSV file, by its first line; Excel may write semicolons."""
    with place.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(_HEADER)
    usual = ("\t", ",", ";") if place.suffix.lower() == ".tsv" else (",", ";", "\t")
    return max(usual, key=lambda sign: len(next(csv.reader([first], delimiter=sign), ())))


def open_source(
    name: str,
    *,
    images: str | Path | None = None,
    as_numbered: bool = False,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> tuple["DatasetDict", Allowed]:
    """Return the splits of ``load_source`` before pictures are read into them, and where these may be read from.

    With ``as_numbered``, each split keeps its own lists of labels.

    Raises:
        UsageError: as ``load_source``.
    """
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError

    path, config, revision = split_source(name)
    place = locate(path, on_hub=revision is not None)
    try:
        splits = None if place is None else read_local(place)
        if splits is None:
            splits = _from_builder(path, config, revision)
        elif config is not None:
            raise UsageError(f"{name}: {path} has no configs: name it without :{config}")
        if columns or (place is not None and is_json_lines(place)):
            splits = map_columns(splits, columns)
        whole = named_splits(splits, as_numbered=True)
        for rows in whole.values():
            rows.data.table.validate(full=True)  # invalid UTF-8 would be found only when it is read
        whole = whole if as_numbered else same_labels(whole)
    except UsageError:
        raise
    except DatasetNotFoundError as error:
        raise UsageError(f"{name} is neither a folder nor a dataset on the Hub that this token may read") from error
    except HfHubHTTPError as error:
        raise UsageError(f"{path}: {excerpt(str(error))}") from error
    except FileNotFoundError as error:
        raise UsageError(f"{name}: {excerpt(str(error))}") from error
    except reader_errors() as error:
        raise _unloadable(name, error) from error
    own = own_folders(path) if place is None or place.is_dir() else (place.parent,)
    return whole, Allowed.of(*own, images)


def _from_builder(path: str, config: str | None, revision: str | None) -> Any:
    """Return the splits that ``load_dataset`` gives, with labels matched by name."""
    from datasets import load_dataset_builder

    revision = _check_data_files(path, revision)
    # For a folder with a card, datasets reuses its cache, whatever the files are now: it tells copies apart by the
    # reader's settings, of which the description changes nothing else.
    chosen = {"description": _state_of(Path(path))} if _cards_in(path) else {}
    builder = load_dataset_builder(path, config, revision=revision, **chosen)
    files = builder.config.data_files or {}
    _check_links(path, files)
    by_name = _by_name(path, revision, files)
    if by_name != {str(split): list(map(str, paths)) for split, paths in files.items()}:
        files = by_name
        builder = load_dataset_builder("parquet", data_files=files, features=builder.info.features)
    splits = read_parquet(files, builder.info.features, path)
    if splits is None:
        with muted("datasets", logging.CRITICAL):  # it raises these errors as well
            builder.download_and_prepare()
        splits = builder.as_dataset()
    return splits


def _by_name(path: str, revision: str | None, files: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the data files by split, as a card says or as they are named, where datasets would merge some of them.

    Raises:
        UsageError: it would, and they are not Parquet files.
    """
    from datasets.data_files import SPLIT_KEYWORDS
    from huggingface_hub import try_to_load_from_cache

    found = {str(split): list(map(str, paths)) for split, paths in files.items()}
    if Path(path).is_dir():
        root, cards = str(Path(path).resolve()), _cards_in(path)
    else:
        kept = [try_to_load_from_cache(path, card, revision=revision, repo_type="dataset") for card in CARDS]
        root, cards = f"hf://datasets/{path}@{revision}", [Path(place) for place in kept if isinstance(place, str)]
    if any(map(names_files, cards)):
        return found
    by_name = apart(found, {str(split): words for split, words in SPLIT_KEYWORDS.items()}, root)
    if by_name.keys() != found.keys() and not all(name.endswith(".parquet") for of in found.values() for name in of):
        raise UsageError(
            f"{path}: datasets would read the splits {', '.join(by_name)} as {', '.join(found)}: "
            "name the files of each split in its card's configs"
        )
    return by_name if by_name.keys() != found.keys() else found


def _cards_in(path: str) -> list[Path]:
    """Return the files of a folder from which datasets reads its configs."""
    return [place for card in CARDS if (place := Path(path) / card).is_file()]


def _state_of(folder: Path) -> str:
    """Return a digest of the names, sizes and times of a folder's files, which changes when a file does."""
    files = sorted((path.relative_to(folder).as_posix(), path.stat()) for path in folder.rglob("*") if path.is_file())
    state = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return hashlib.sha256(repr(state).encode("utf-8", "surrogateescape")).hexdigest()


def _check_links(source: str, files: Mapping[str, Sequence[str]]) -> None:
    """Check that no data file of a folder is a link out of it; for datasets on the Hub, datasets does so.

    Raises:
        UsageError: one is.
    """
    folders = own_folders(source) if Path(source).is_dir() else ()
    for file in (file for of_split in files.values() for file in of_split) if folders else ():
        if not any(is_inside(file, folder) for folder in folders):
            raise UsageError(f"{source}: its data file {shown(file)} lies outside of it: name the folder of that file")


def _check_data_files(path: str, revision: str | None) -> str | None:
    """Check that the data files of a dataset's card lie in the dataset; return the revision that was checked, if any.

    ``load_dataset`` reads any path or URL that a card names, even another file of this machine or an untrusted host.

    Raises:
        DataError: one lies elsewhere, or the YAML does not parse.
    """
    import httpx2
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    absent = (RepositoryNotFoundError, RevisionNotFoundError)
    found = _cards_in(path)
    if not Path(path).is_dir():
        try:
            revision = HfApi().dataset_info(path, revision=revision).sha
        except (*absent, HFValidationError, OfflineModeIsEnabled, httpx2.TransportError):
            return revision  # load_dataset reports it, or uses its cache
        for card in CARDS:
            try:
                found.append(Path(hf_hub_download(path, card, repo_type="dataset", revision=revision)))
            except LocalEntryNotFoundError as error:
                raise ConnectionError(f"{path}: the Hub did not send {card}") from error
            except EntryNotFoundError:
                continue
    for place in found:
        check_mark(place)
        check = check_card if place.suffix == ".md" else check_card_yaml
        check(read_card(place), f"{path}: {place.name}", Structure)
    return revision


def _unloadable(name: str, error: BaseException) -> Exception:
    """Return an error that says why a dataset cannot be loaded; an error of the machine is returned unchanged."""
    path, _, _ = split_source(name)
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause
    if isinstance(cause, UnicodeDecodeError):
        found = f"the bytes {cause.object[cause.start : cause.start + 8]!r}"
        return DataError(f"{name}: expected UTF-8 text, found {found}: save it as UTF-8 (in Excel: CSV UTF-8)")
    damaged = find_damaged(Path(path).rglob("*.parquet")) if Path(path).is_dir() else None
    if damaged:
        return DataError(damaged)
    said = excerpt(f"{cause}" if type(cause) is ValueError else f"{type(cause).__name__}: {cause}")
    hint = f"; name a config as {path}:CONFIG" if type(error) is ValueError else ""
    return DataError(f"{name}: expected a dataset that datasets loads, found {said}{hint}")
