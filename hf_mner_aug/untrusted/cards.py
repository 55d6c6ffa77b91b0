"""The YAML of a dataset's card, which tells ``datasets`` what to read: checked before anything acts on it.

A card is untrusted: its ``data_files`` may name a file of this machine or any URL, and its values may have any type.
"""

from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.untrusted.names import check_repo_path
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.untrusted.shapes import checked, parse_yaml

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard

CARD = "README.md"
CARDS = (CARD, ".huggingface.yaml")  # the files that declare a dataset's configs
MEND = "correct it first"


class DataFiles(TypedDict):
    """The data files of a split."""

    split: str
    path: str | list[str]


class ConfigEntry(TypedDict):
    """A config of a card, without the settings of its reader."""

    config_name: str
    data_files: NotRequired[str | list[str | DataFiles] | None]
    data_dir: NotRequired[str | None]


class SplitEntry(TypedDict):
    """The size of a split, as a card states it."""

    name: str
    num_bytes: NotRequired[int | float | None]
    num_examples: NotRequired[int | None]


class InfoEntry(TypedDict):
    """The columns and sizes of a config, as a card states them."""

    config_name: NotRequired[str]
    features: NotRequired[list[Mapping[str, Any]]]
    splits: NotRequired[list[SplitEntry]]
    download_size: NotRequired[int | float | None]
    dataset_size: NotRequired[int | float | None]


class Structure(TypedDict):
    """The part of a card that ``datasets`` reads."""

    configs: NotRequired[list[ConfigEntry] | None]
    dataset_info: NotRequired[InfoEntry | list[InfoEntry] | None]


class Described(Structure):
    """The part of a card that ``datasets``, people and the Hub read."""

    annotations_creators: NotRequired[str | list[str] | None]
    language: NotRequired[str | list[str] | None]
    license: NotRequired[str | list[str] | None]
    pretty_name: NotRequired[str | None]
    size_categories: NotRequired[str | list[str] | None]
    source_datasets: NotRequired[str | list[str] | None]
    tags: NotRequired[str | list[str] | None]
    task_categories: NotRequired[str | list[str] | None]


def check_card(text: str, where: str, shape: Any = Described) -> None:
    """Check that ``datasets`` and this package can use the YAML of a card.

    Raises:
        DataError: it does not parse, a value has the wrong type, or files lie outside the dataset.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    found = REGEX_YAML_BLOCK.search(text)
    if found:
        check_card_yaml(found[2], where, shape)


def check_card_yaml(text: str, where: str, shape: Any = Described) -> None:
    """Check the YAML of a card, given without the card's body; raises as ``check_card``."""
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    data = parse_yaml(text, where)
    if data is None:
        return
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise DataError(f"{where}: expected a mapping with text keys, found {excerpt(repr(data), 60)}: {MEND}")
    known = {key: data[key] for key in shape.__annotations__.keys() | Structure.__annotations__.keys() if key in data}
    structure = checked(known, shape, where, advice=MEND)
    for entry in structure.get("configs") or ():
        for place in _places(entry):
            check_repo_path(place, where)
    try:
        card = DatasetCardData(**data)
        MetadataConfigs.from_dataset_card_data(card)
        DatasetInfosDict.from_dataset_card_data(card)
    except reader_errors() as error:
        said = excerpt(f"{type(error).__name__}: {error}", 120)
        raise DataError(f"{where}: expected configs and dataset_info as datasets reads them, found {said}") from error


def reader_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that ``datasets`` and ``pyarrow`` raise on malformed data.

    OSError is one of them: Arrow raises it, without an errno, for damaged pages.
    """
    import pyarrow as pa
    from datasets.exceptions import DatasetsError

    wrong = (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RecursionError)
    return (pa.ArrowException, DatasetsError, OSError, TypeError, ValueError, *wrong)


def read_card(path: Path) -> str:
    """Return the text of a card, without the byte order mark that some editors write.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"the byte {error.object[error.start]:#04x}"
        raise DataError(f"{path}: expected UTF-8 text, found {found}: {MEND}") from error


def names_files(path: Path) -> bool:
    """Return whether a card, or a YAML file of one, declares the data files of its splits."""
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    text = read_card(path)
    if path.suffix == ".md":
        found = REGEX_YAML_BLOCK.search(text)
        text = found[2] if found else ""
    data = parse_yaml(text, str(path))
    configs = data.get("configs") or () if isinstance(data, dict) else ()
    return any(entry.get("data_files") or entry.get("data_dir") for entry in configs)


def check_mark(path: Path) -> None:
    """Check that no byte order mark hides the YAML of a card: ``datasets`` would ignore it.

    Raises:
        DataError: one does.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    if path.read_bytes().startswith(BOM_UTF8) and (path.name != CARD or REGEX_YAML_BLOCK.search(read_card(path))):
        raise DataError(
            f"{path} begins with a byte order mark, so datasets reads none of its YAML: save it as UTF-8 without one"
        )


def load_card(path: str | Path, shape: Any = Described) -> "DatasetCard":
    """Return a dataset card from a file or a Hub repo.

    Raises:
        DataError: its YAML block is not valid.
    """
    import yaml
    from huggingface_hub import DatasetCard, hf_hub_download

    place = path if isinstance(path, Path) else Path(hf_hub_download(path, CARD, repo_type="dataset"))
    text = read_card(place)
    if isinstance(path, Path):
        check_card(text, f"the card {path}", shape)
    try:
        return DatasetCard(text, ignore_metadata_errors=True)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        said = excerpt(str(error), 120)
        raise DataError(f"the card {path} has a YAML block that does not parse ({said}): {MEND}") from error


def _places(entry: Mapping[str, Any]) -> list[str]:
    """Return the files and folders that a config names."""
    found = [entry["data_dir"]] if entry.get("data_dir") else []
    files = entry.get("data_files") or []
    for item in [files] if isinstance(files, str) else files:
        paths = item["path"] if isinstance(item, Mapping) else item
        found += [paths] if isinstance(paths, str) else paths
    return found
