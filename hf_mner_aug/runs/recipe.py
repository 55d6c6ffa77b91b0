"""The inputs of a config: a source, a subset of it, a method and its parameters, hashed by their content."""

import contextlib
import dataclasses
import hashlib
import logging
import re
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hf_mner_aug.columns.labels import read_parquet, same_labels
from hf_mner_aug.columns.mapping import map_columns
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.methods import METHODS, check_renamed, installed, method_class
from hf_mner_aug.outside import is_class_name, name_of, named_by_recipe, named_by_user
from hf_mner_aug.schema import NUMBERED, canonical_json, column_faults
from hf_mner_aug.sources.places import apart, at_home, is_json_lines, locate, read_local
from hf_mner_aug.storage.parquet import find_damaged
from hf_mner_aug.storage.picture_columns import embed
from hf_mner_aug.storage.picture_files import Allowed, is_inside, own_folders, shown
from hf_mner_aug.transform import Method
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
from hf_mner_aug.untrusted.names import RESERVED, STUBS, check_columns, check_digest, check_repo, is_name
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.untrusted.shapes import checked, read_yaml
from hf_mner_aug.values import Positive, Share, check_ranges, convert_values, parse_spec

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

NOTHING: Mapping[str, Any] = MappingProxyType({})
SHARED = ("seed", "copies", "artifact", "keep")  # fields of every method, which are a recipe's own
SPLITS = ("train", "validation", "test")  # those of most sets; others are held out, too, and follow in their order
_SPLIT = re.compile(r"\w+(\.\w+)*")  # as datasets has it
ALSO_VALIDATION = ("valid", "val", "dev")  # names of validation, the first of which a set without that split has for it


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the rows of an augmented config.

    The fingerprint covers all fields but ``source``: the place of the data does not matter. Ids, where given,
    name the gold posts of train and validation; else ``fraction`` of both is drawn with ``subset_seed``. ``keep`` names
    columns that made posts have from their gold posts (``columns.unknown``); ``columns`` are the source's names for
    columns of ours (``map_columns``). ``code`` is the class of a method outside this package (``outside``), and
    ``code_digest`` the sha256 of its source.
    """

    method: str
    code: str = ""
    code_digest: str = ""
    version: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    copies: int = 1
    artifact: str | None = None
    keep: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    fraction: Share = 1.0
    subset_seed: int = 0
    ids_train: tuple[str, ...] | None = None
    ids_validation: tuple[str, ...] | None = None
    config: str = ""
    preset: str = "embedded"
    models: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "float32"
    part_size: Positive = 250
    source_fingerprint: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("ids_train", "ids_validation"):
            ids = getattr(self, name)
            if ids is not None:
                object.__setattr__(self, name, tuple(sorted(set(ids))))
        object.__setattr__(self, "keep", tuple(sorted(set(self.keep))))
        check_ranges(self)
        if self.config and (not is_name(self.config) or self.config in RESERVED):
            raise UsageError(
                f"config name {self.config!r}: the Hub takes letters, digits, '_', '.' and '-', no dot first, "
                f"and not {' or '.join(map(repr, RESERVED))}"
            )
        if self.artifact is not None:
            check_digest(self.artifact, "artifact of a recipe")

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON-like data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Recipe":
        """Return the recipe written by ``to_dict`` or by hand.

        Raises:
            UnknownName: a key is no field of a recipe.
            DataError: a value has another type than its field.
        """
        check_keys(data)
        recipe: Recipe = checked(data, cls, "recipe")
        return recipe

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        preset: str | None = None,
        params: Mapping[str, Any] = NOTHING,
        **instead: Any,
    ) -> "Recipe":
        """Return the recipe of a YAML file or of a config's augmentation.json, every parameter spelled out.

        Args:
            path: the file.
            preset: whose parameters replace those of the file.
            params: parameters that replace both, typed or as text.
            instead: fields that replace those of the file; ``method`` may be a class, ``package.module:Class``.

        Raises:
            UnknownName: there is no such key, method, preset or parameter.
            DataError: the file cannot be read, or a value has another type than its field.
            UsageError: no method is named, or a value is out of range.
        """
        data, where = read_yaml(Path(path), dict[str, Any]), str(path)
        if "recipe" in data:
            where = f"{path}: recipe"
            data = checked(data["recipe"], dict[str, Any], where)
        check_keys(data, where)
        return _complete({**data, **_chosen(instead)}, where, preset, params)

    @classmethod
    def of(cls, *, preset: str | None = None, params: Mapping[str, Any] = NOTHING, **chosen: Any) -> "Recipe":
        """Return the recipe of the fields that a user chose; arguments and errors as of ``from_file``."""
        return _complete(_chosen(chosen), "recipe", preset, params)

    @property
    def fingerprint(self) -> str:
        """The sha256 of the recipe's canonical JSON, without ``source``, and what is optional where empty."""
        optional = ("keep", "columns", "code", "code_digest")
        left_out = {"source", *(name for name in optional if not getattr(self, name))}
        data = {name: value for name, value in self.to_dict().items() if name not in left_out}
        return hashlib.sha256(canonical_json(data).encode()).hexdigest()

    def method_class(self) -> type[Method]:
        """Return the class of the method.

        Raises:
            UnknownName: there is no such method.
            CodeNotAllowed: it is a class outside this package that the user has not allowed.
            UsageError: that has another name or source than the recipe says.
        """
        if not self.code:
            return method_class(self.method)
        offer = installed().get(self.method)
        cls = method_class(self.method) if offer and offer.spec == self.code else named_by_recipe(self.code)
        if cls.name != self.method or cls.source_digest() != self.code_digest:
            raise UsageError(
                f"the recipe is for {self.method} as {self.code} was ({self.code_digest[:12]}), now that is {cls.name} "
                f"({cls.source_digest()[:12]}): make the config again with the code of today"
            )
        return cls

    def build(self) -> Method:
        """Return the method this recipe names, with its parameters; a host among these is not allowed by that.

        Raises:
            UnknownName: there is no such method or parameter.
            UsageError: a value is out of range, or the recipe was made for another version of the method.
        """
        cls = self.method_class()
        if self.version != cls.version:
            raise UsageError(
                f"the recipe is for version {self.version} of {self.method}, installed is version {cls.version}"
            )
        params = parse_params(cls, self.params)
        shared: dict[str, Any] = {name: getattr(self, name) for name in SHARED}
        return cls(**shared, from_recipe=True, **params)


def check_keys(data: Mapping[str, Any], where: str = "a recipe") -> None:
    """Raise UnknownName unless every key is a field of a recipe."""
    known = [f.name for f in fields(Recipe)]
    for name in data:
        if name not in known:
            raise UnknownName(f"key of {where}", str(name), known)


def _chosen(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields that a user chose, a class of another package with its name and digest."""
    if "method" not in fields:
        return dict(fields)
    code = fields["method"]
    if not is_class_name(code):
        return {**fields, "code": "", "code_digest": ""}
    named = named_by_user(code)
    return {**fields, "method": named.name, "code": code, "code_digest": named.source_digest()}


def _complete(data: Mapping[str, Any], where: str, preset: str | None, params: Mapping[str, Any]) -> Recipe:
    """Return a recipe with the method's every parameter spelled out, so that the same choice has one fingerprint."""
    if "method" not in data:
        raise UsageError("name a method with --method, or a recipe with --recipe")
    named = {name: data[name] for name in ("method", "code", "code_digest") if name in data}
    method = checked(named, Recipe, where).method_class()
    shared = {name: method.__dataclass_fields__[name].default for name in ("copies", "seed")}
    recipe: Recipe = checked({"version": method.version, **shared, **data}, Recipe, where)
    given = parse_params(method, recipe.params, f"{where}: ")
    given |= (preset_params(method, preset) if preset else {}) | parse_params(method, params)
    kept = recipe.to_dict()
    for name in ("method", "code", "code_digest", "version", "params", *SHARED, "models", "preset"):
        kept.pop(name)
    return recipe_for(replace(recipe, params=given).build(), **kept)


def recipe_for(method: Method, **chosen: Any) -> Recipe:
    """Return the recipe of a method, its models pinned; ``chosen`` are the fields that the method does not know."""
    method.allow_hosts()
    method = method.pinned()
    cls = type(method)
    code = _code_of(cls)
    return Recipe(
        code=code,
        code_digest=cls.source_digest() if code else "",
        models={model.role: model.id for model in method.models},
        preset=_preset_of(method),
        method=method.name,
        version=method.version,
        params=_plain(method.params),
        seed=method.seed,
        copies=method.copies,
        artifact=method.artifact,
        keep=method.keep,
        **chosen,
    )


def _code_of(cls: type[Method]) -> str:
    """Return the fields that name a method's class outside this package; empty for our own methods.

    Raises:
        UsageError: another method has the class's name.
    """
    try:
        known = method_class(cls.name)
    except UnknownName:
        return name_of(cls)
    offer = installed().get(cls.name)
    if known is not cls:
        raise UsageError(f"{cls.__name__} has the name of {offer or cls.name}: give your class a name of its own")
    return offer.spec if offer else ""


def named_method(spec: str) -> Method:
    """Return the method that a user names: ``lsms``, ``rmda:corpus=corpus.db,copies=5`` or ``package.module:Class``.

    Raises:
        UnknownName: there is no such method or parameter.
        UsageError: a parameter is not NAME=VALUE, or its value does not convert or is out of range; no such class.
    """
    if spec.partition(":")[0] not in METHODS and is_class_name(spec):
        return named_by_user(spec)()
    name, params = parse_spec(spec, lambda name: parameters(method_class(name)) | {"copies": int}, "parameter")
    cls = method_class(name)
    copies = {"copies": params.pop("copies")} if "copies" in params else {}
    return cls(**parse_params(cls, params), **convert_values(copies, {"copies": int}, name, "parameter"))


def _preset_of(method: Method) -> str:
    """Return the name of a method's parameters: a preset's, ``embedded`` without any model, else ``own``."""
    for name, params in method.presets.items():
        if all(str(method.params[key]).partition("@")[0] == str(value) for key, value in params.items()):
            return name
    return "own" if method.models else "embedded"


def preset_params(cls: type[Method], preset: str) -> dict[str, Any]:
    """Return the parameters that a preset sets.

    Raises:
        UnknownName: the method has no such preset.
    """
    if preset != "embedded" and preset not in cls.presets:
        raise UnknownName(f"preset of {cls.name}", preset, {"embedded", *cls.presets})
    return dict(cls.presets.get(preset, {}))


def parse_params(cls: type[Method], params: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return parameters of a method with the types of its fields; text, as typed on a command line, is converted.

    Raises:
        UnknownName: the method has no such parameter; the message gives the valid ones.
        UsageError: a value does not convert, or a parameter has the name that it had before.
    """
    check_renamed(cls.name, params, where)
    return convert_values(params, parameters(cls), where + cls.name, "parameter")


def parameters(cls: type[Method]) -> dict[str, Any]:
    """Return the types of a method's parameters, without the fields that all methods share."""
    base = {f.name for f in fields(Method)}
    return {
        name: kind for name, kind in typing.get_type_hints(cls).items() if name in {f.name for f in fields(cls)} - base
    }


def _plain(value: Any) -> Any:
    """Return parameters as JSON keeps them, so that a recipe read back is equal."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


# ---------------------------------------------------------------- the source


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
    """Return a source as it is, or its splits where a folder of pictures is named for it.

    Raises:
        UsageError: there is no source to read pictures for; else as ``load_source``.
    """
    if images is not None and source is None:
        raise UsageError(f"--images {images} is for the pictures of a source: name it with --source")
    if images is None:
        return source
    if isinstance(source, str | Path):
        return load_source(str(source), images=images)
    return embed(named_splits(source), Allowed.of(images), stacklevel=2)


def open_source(
    name: str,
    *,
    images: str | Path | None = None,
    as_numbered: bool = False,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> tuple["DatasetDict", Allowed]:
    """Return the splits of ``load_source`` as they are, and where the pictures that they name may be read.

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
            rows.data.table.validate(full=True)  # text that is no UTF-8 would be met only when it is read
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
    """Return the splits that ``load_dataset`` gives, each label by its name."""
    from datasets import load_dataset_builder

    revision = _check_data_files(path, revision)
    # Of a folder with a card, datasets takes what it has of an earlier time, whatever its files are now: it tells
    # copies apart by the settings of the reader, and the description is one that changes nothing else.
    has_card = any((Path(path) / card).is_file() for card in CARDS)
    chosen = {"description": _state_of(Path(path))} if has_card else {}
    builder = load_dataset_builder(path, config, revision=revision, **chosen)
    files = builder.config.data_files or {}
    _check_links(path, files)
    by_name = _by_name(path, revision, files)
    if by_name != {str(split): list(map(str, paths)) for split, paths in files.items()}:
        files = by_name
        builder = load_dataset_builder("parquet", data_files=files, features=builder.info.features)
    splits = read_parquet(files, builder.info.features, path)
    if splits is None:
        with _quiet():
            builder.download_and_prepare()
        splits = builder.as_dataset()
    return splits


def _by_name(path: str, revision: str | None, files: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the data files by split: as a card says, else each split apart that has a name of its own.

    Raises:
        UsageError: they are apart, and no Parquet files.
    """
    from datasets.data_files import SPLIT_KEYWORDS
    from huggingface_hub import try_to_load_from_cache

    found = {str(split): list(map(str, paths)) for split, paths in files.items()}
    if Path(path).is_dir():
        root, cards = str(Path(path).resolve()), [place for card in CARDS if (place := Path(path) / card).is_file()]
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep datasets from logging what is raised as well."""
    logger = logging.getLogger("datasets")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _state_of(folder: Path) -> str:
    """Return a digest of the names, sizes and times of a folder's files, which changes when a file does."""
    files = sorted((path.relative_to(folder).as_posix(), path.stat()) for path in folder.rglob("*") if path.is_file())
    state = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return hashlib.sha256(repr(state).encode("utf-8", "surrogateescape")).hexdigest()


def _check_links(source: str, files: Mapping[str, Sequence[str]]) -> None:
    """Check that no data file of a folder is a link out of it; for sets of the Hub, datasets does so.

    Raises:
        UsageError: one does.
    """
    folders = own_folders(source) if Path(source).is_dir() else ()
    for file in (file for of_split in files.values() for file in of_split) if folders else ():
        if not any(is_inside(file, folder) for folder in folders):
            raise UsageError(f"{source}: its data file {shown(file)} lies outside of it: name the folder of that file")


def _unloadable(name: str, error: BaseException) -> Exception:
    """Return an error that says why a dataset cannot be loaded; errors of the machine are returned unchanged."""
    path, _, _ = split_source(name)
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause
    damaged = find_damaged(Path(path).rglob("*.parquet")) if Path(path).is_dir() else None
    if damaged:
        return DataError(damaged)
    said = excerpt(f"{cause}" if type(cause) is ValueError else f"{type(cause).__name__}: {cause}")
    hint = f"; name a config as {path}:CONFIG" if type(error) is ValueError else ""
    return DataError(f"{name}: expected a dataset that datasets loads, found {said}{hint}")


def named_splits(
    splits: Any, *, as_numbered: bool = False, columns: Mapping[str, str] = MappingProxyType({})
) -> "DatasetDict":
    """Return a dataset or dict of splits as a DatasetDict of train, validation, test, others; labels numbered alike.

    The first of ``valid``, ``val``, ``dev`` is validation where no split has that name. Every other split, as ``dev``
    beside validation or ``test_2021``, keeps its name: it is held out, whole, as test is. With ``as_numbered``, each
    split keeps its own lists of labels; with ``columns``, they are renamed and cast as by ``map_columns``.

    Raises:
        UsageError: there is no train split, or a column has label names in one split and none in another.
        DataError: a column or split has a name that is refused.
    """
    from datasets import DatasetDict

    if not isinstance(splits, Mapping):
        splits = {"train": splits}
    for split, data in splits.items():
        check_columns(data.column_names or (), f"split {split}")
    if columns:
        splits = map_columns(splits, columns)
    found = {str(split): data for split, data in splits.items()}
    if "validation" not in found and (others := [name for name in ALSO_VALIDATION if name in found]):
        found["validation"] = found.pop(others[0])
    if "train" not in found:
        raise UsageError(f"expected a train split, found {', '.join(found) or 'none'}")
    for split in found:
        if not is_name(split) or not _SPLIT.fullmatch(split) or split == STUBS:
            raise DataError(f"split name {split!r}: expected letters, digits and '_', and not {STUBS!r}: rename it")
    named = DatasetDict({split: found[split] for split in (*SPLITS, *found) if split in found})
    return named if as_numbered else same_labels(named)


def source_posts(recipe: Recipe, source: Any = None) -> tuple[Recipe, "DatasetDict"]:
    """Return a published recipe with its gold posts, from ``source`` (a folder, Hub id or splits) or its Hub dataset.

    Raises:
        UsageError: the source was no Hub dataset, and is not named; else as ``load_source``.
        DataError: the source has another content than the one the config was made from.
    """
    if source is None and (not recipe.source or recipe.source.startswith("local:")):
        where = f"the local folder {recipe.source[6:]!r}" if recipe.source else "a dataset in memory"
        raise UsageError(f"{recipe.config} was made from {where}: name it with --source DIR")
    if source is None:
        repo, config, revision = split_source(recipe.source)
        check_repo(repo, revision, config, f"{recipe.config}'s recipe")
    source = recipe.source if source is None else source
    if isinstance(source, str | Path):
        return resolve(recipe, load_source(str(source), columns=recipe.columns))
    return resolve(recipe, named_splits(source, columns=recipe.columns))


def _check_data_files(path: str, revision: str | None) -> str | None:
    """Check that the data files of a dataset's card lie in the dataset; return the revision that was checked, if any.

    ``load_dataset`` takes any path and address that a card names, be it a file of this machine or anybody's host.

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
    found: list[Path] = []
    if Path(path).is_dir():
        found = [place for card in CARDS if (place := Path(path) / card).is_file()]
    else:
        try:
            revision = HfApi().dataset_info(path, revision=revision).sha
        except (*absent, HFValidationError, OfflineModeIsEnabled, httpx2.TransportError):
            return revision  # load_dataset says so, or takes what it keeps of an earlier time
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
    """Return the name of a source that is a folder, or a config in one, without its path; else an empty text."""
    path, config, _ = split_source(source)
    return ":".join(filter(None, [Path(path).resolve().name, config])) if source and Path(path).exists() else ""


# ---------------------------------------------------------------- the subset


def choose_subset(splits: "DatasetDict", recipe: Recipe) -> "DatasetDict":
    """Return the gold posts of a recipe: parts of train and validation, all other splits whole.

    A post is in a subset by its id and the subset's seed alone, and 10% is a part of 20%.

    Raises:
        UsageError: an id names no post, or the subset is empty.
    """
    from datasets import DatasetDict

    chosen = {}
    for split, dataset in splits.items():
        ids = {"train": recipe.ids_train, "validation": recipe.ids_validation}.get(split)
        if split not in ("train", "validation"):
            chosen[split] = dataset
        elif ids is not None:
            chosen[split] = _select_ids(dataset, ids, split)
        elif recipe.fraction < 1:
            chosen[split] = _select_fraction(dataset, recipe.fraction, recipe.subset_seed)
        else:
            chosen[split] = dataset
    if len(chosen["train"]) == 0:
        raise UsageError(f"{recipe.fraction:%} of {len(splits['train'])} posts is none: take a larger fraction")
    return DatasetDict(chosen)


def read_ids(path: Path) -> tuple[str, ...]:
    """Return the ids of a file: one a line, or those of an ``IMGID:`` file, whose words and tags do not count.

    Raises:
        UsageError: the file is not there or holds no id.
        DataError: it is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = f"the byte {error.object[error.start]:#04x}"
        raise DataError(f"{path} line {line}: expected UTF-8 text, found {found}") from error
    marked = [line[6:].strip() for line in lines if line.startswith("IMGID:")]
    ids = marked or [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UsageError(f"{path} holds no id: expected one a line, or an IMGID file")
    return tuple(ids)


def percent_name(recipe: Recipe, splits: "DatasetDict", gold: "DatasetDict") -> str:
    """Return the config's name: method and percent of the train split, as in ``gmda_10pct``."""
    percent = 100 * len(gold["train"]) / len(splits["train"]) if recipe.ids_train else 100 * recipe.fraction
    return f"{recipe.method}_{percent:.3g}pct"


def _find_ids(names: Sequence[str], ids: Sequence[str], split: str) -> tuple[str, ...]:
    """Return the ids, of a split's ``names``, of the posts that a list of ids means.

    Raw files have one id for several posts, which ``convert`` numbers: 12, 12~2, 12~3. So 12 in a list means all of
    these that are in the split, and that is said; a list that holds a numbered id itself means just what it holds.

    Raises:
        UsageError: an id means no post.
    """
    posts: dict[str, list[str]] = {name: [name] for name in names}
    if not any(NUMBERED.fullmatch(name) and name in posts for name in ids):
        for name in sorted(posts):
            if numbered := NUMBERED.fullmatch(name):
                posts.setdefault(numbered[1], []).append(name)
    if unknown := sorted({name for name in ids if name not in posts}):
        some = ", ".join(unknown[:3])
        raise UsageError(
            f"{len(unknown)} of {len(set(ids))} ids are not in {split} ({some}): check the file and the source"
        )
    if others := sorted({name for name in ids if posts[name] != [name]}):
        warnings.warn(
            f"ids of {split}: {len(others)} of {len(set(ids))} are of posts that convert numbered, and mean all: "
            f"{others[0]} means {', '.join(posts[others[0]])}; list numbered ids to name single posts",
            stacklevel=2,
        )
    return tuple(sorted({post for name in ids for post in posts[name]}))


def _select_ids(dataset: "Dataset", ids: Sequence[str], split: str) -> "Dataset":
    """Return the posts that ids mean, in the dataset's order."""
    wanted = set(_find_ids(dataset["id"], ids, split))
    return dataset.select([i for i, name in enumerate(dataset["id"]) if name in wanted])


def check_ids(splits: "DatasetDict") -> None:
    """Check that the ids of a split are unique; warn if two splits share ids.

    Raises:
        DataError: two posts of one split have the same id.
    """
    owners: dict[str, tuple[str, int]] = {}
    shared = []
    for split, rows in splits.items():
        told = "id" not in rows.features or "id" in column_faults(rows.features)  # by whoever checks columns
        for i, name in enumerate(() if told else rows["id"]):
            first, row = owners.setdefault(name, (split, i)) if name else (split, i)
            if first == split and row != i:
                raise DataError(
                    f"post {name}: rows {row} and {i} of {split} have this id, and so would posts made of them: leave "
                    "repeated ones out, or number the ids with ds.map(lambda name, i: {'id': f'{name}~{i}'}, "
                    "input_columns='id', with_indices=True)"
                )
            if first != split:
                shared.append(f"{name} in {first} and {split}")
    if shared:
        warnings.warn(
            f"{len(shared)} ids are in two splits, as {shared[0]}: validate calls that an error", stacklevel=2
        )


def _select_fraction(dataset: "Dataset", fraction: float, seed: int) -> "Dataset":
    """Return the posts whose hashed ids come first, in the dataset's order."""
    keys = [hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest() for name in dataset["id"]]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return dataset.select(sorted(order[: round(fraction * len(keys))]))


def resolve(recipe: Recipe, splits: "DatasetDict") -> tuple[Recipe, "DatasetDict"]:
    """Return the recipe with the source's fingerprint, the ids of its posts and a config name, and its gold posts.

    Raises:
        DataError: the recipe names a source of another content, or two posts of a split have one id.
        UsageError: as ``choose_subset``.
    """
    from hf_mner_aug.storage.fingerprint import content_fingerprint

    found = content_fingerprint(splits)
    if recipe.source_fingerprint and recipe.source_fingerprint != found:
        raise DataError(
            f"the recipe was made for a source with fingerprint {recipe.source_fingerprint[:12]}, "
            f"{recipe.source or 'this one'} has {found[:12]}"
        )
    check_ids(splits)
    listed: dict[str, Any] = {}
    for split in ("train", "validation"):
        ids = getattr(recipe, f"ids_{split}")
        if ids is not None and split in splits:
            listed[f"ids_{split}"] = _find_ids(splits[split]["id"], ids, split)
    recipe = replace(recipe, **listed)
    gold = choose_subset(splits, recipe)
    config = recipe.config or percent_name(recipe, splits, gold)
    return replace(recipe, source_fingerprint=found, config=config), gold
