"""A method: a frozen dataclass that is itself the function given to ``Dataset.map``."""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import hf_mner_aug
from hf_mner_aug.columns.labels import same_labels, spell_labels, translators
from hf_mner_aug.columns.mapping import map_columns
from hf_mner_aug.columns.unknown import OtherColumns, save_words
from hf_mner_aug.draw import Draw, draw
from hf_mner_aug.exceptions import NotFitted, UsageError
from hf_mner_aug.progress import progress_bar
from hf_mner_aug.reasons import Reason
from hf_mner_aug.schema import (
    AUGMENTED,
    Codec,
    Post,
    augmented_features,
    canonical_json,
    read_provenance,
)
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.picture_columns import embed
from hf_mner_aug.storage.picture_files import Allowed
from hf_mner_aug.transform.columns import (
    added_columns,
    artifact_codec,
    artifact_of,
    by_word_columns,
    free_suffix,
    id_suffix,
    keep_columns,
    unknown_columns,
)
from hf_mner_aug.transform.content import Content as Content
from hf_mner_aug.transform.content import Exhibits as Exhibits
from hf_mner_aug.transform.content import Retrieval as Retrieval
from hf_mner_aug.transform.costs import CallPrice as CallPrice
from hf_mner_aug.transform.costs import Costs as Costs
from hf_mner_aug.transform.costs import allow_hosts
from hf_mner_aug.transform.naming import at_commits, by_content, used
from hf_mner_aug.transform.rows import (
    check_encoded,
    columns_of,
    features_of,
    rows_of,
    without_named,
)
from hf_mner_aug.transform.rows import iterate_posts as iterate_posts
from hf_mner_aug.transform.rows import iterate_rows as iterate_rows
from hf_mner_aug.transform.source_code import source_of
from hf_mner_aug.transform.weights import (
    WEIGHT,
    Weight,
    check_own_column,
    earlier_weights,
    parse_weight,
    weigh,
    weight_parameter,
)
from hf_mner_aug.values import LATER, Positive, check_ranges, later

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict

    AnyDataset = Dataset | IterableDataset
    AnyDatasetDict = DatasetDict | IterableDatasetDict

_KNOW = "pass features= when you make or map it"
NOTHING_TO_DO = Reason("there is nothing to do")
NSFW = "nsfw"  # the role of a classifier of unsafe pictures


@dataclass(frozen=True, slots=True)
class Reject:
    """A post that could not be rewritten, and why: ``reason`` is a key of the method's ``rejects``."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a user asks before choosing a method; ``idle`` is why there may be nothing to do for a post.

    ``embedded`` is what the method uses by default in the place of models, ``paper_uses`` what its paper uses: the card
    of each config names both.
    """

    does: str
    paper: str
    learns: str
    images: str
    boxes: str
    embedded: str = ""
    paper_uses: str = ""
    extra: str = "core"
    key: str = "none"
    idle: Reason = NOTHING_TO_DO


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that a method uses: its role, its id with the revision, its licence.

    ``checked`` is false if it makes pictures without a safety checker.
    """

    role: str
    id: str
    license: str = "other"
    checked: bool = True


class Made(NamedTuple):
    """The result of a batch: columns of new rows, the rejects, and the number of posts with nothing to do."""

    columns: dict[str, list[Any]]
    rejects: list[dict[str, Any]]
    idle: int = 0


@dataclass(frozen=True, kw_only=True)
class Method:
    """The base of every augmentation method.

    A subclass sets the class variables, adds its parameters as fields and implements ``rewrite``, and ``learn`` if it
    learns more than the columns. ``fit`` returns a copy that holds the digest of the learned state. ``presets`` are
    parameters under one name (``paper``: the models of its paper); the defaults are the preset ``embedded``.
    ``rejects`` is the table of its reasons to reject posts: what each means, and what to do where it takes too many;
    ``drops`` those of ``reduce``. A class may have ``scores``: names in ``Post.details`` with a number from 0 to 1, and
    the meaning of each, of which ``weight`` may name one; ``weighs``: the parameter that does what ``weight``
    does here, where it has an older parameter of that name; and ``needs``: by preset, the parameters whose default is
    not the preset's, with what to do.

    ``Dataset.map`` finds cached rows by the hash of the method's pickle. The pickle holds the fields, including the
    digest of the learned state, and ``_code``: ``version``, the package's version and, for a class outside the package,
    its module's source when the class was made.

    ``version`` is raised when the same recipe gives different rows; if most rows stay, a class variable
    ``drawn_as`` names the earlier version whose random choices are kept. A method
    that draws nothing is ``deterministic``.

    Args:
        seed: of all random choices.
        copies: new posts for each post.
        keep: columns that made posts have from their gold posts; others that the method does not know are null
            there, or follow the words. Lists of numbers for each word follow only if they are named here, since they
            may be places of words.
        weight: the weight of made posts in training, as a column of that name: a number from 0 to 10, or the name of
            one of the method's scores; times the weight of the post that it is made from.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    mode: ClassVar[Literal["append", "replace"]] = "append"
    deterministic: ClassVar[bool] = False
    rejects: ClassVar[Mapping[str, Reason]] = {}
    drops: ClassVar[Mapping[str, Reason]] = {}
    reads_images: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    facts: ClassVar[Facts]

    seed: int = 0
    copies: Positive = 1
    artifact: str | None = None
    keep: tuple[str, ...] = ()
    weight: Weight = later(None)
    # True of a method that a recipe describes: whoever wrote that may not be the user, so his yes to a host counts.
    from_recipe: bool = field(default=False, repr=False, compare=False)

    _source: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._source = source_of(cls)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_code": (self.version, hf_mner_aug.__version__, self._source)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update({name: value for name, value in state.items() if name != "_code"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", tuple(sorted({self.keep} if isinstance(self.keep, str) else set(self.keep))))
        object.__setattr__(self, weight_parameter(self), parse_weight(self))
        check_ranges(self, self.name)
        if self.mode == "replace" and self.copies != 1:
            raise UsageError(f"{self.name} replaces posts: copies must be 1, found {self.copies}")
        if self.deterministic and self.copies != 1:
            raise UsageError(f"{self.name} draws nothing, so copies would be equal: expected 1, found {self.copies}")

    # ------------------------------------------------------------ for subclasses

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the state that the method learns from its train split, as JSON.

        Anything that is not JSON (``storage.posts``) is a separate artifact, listed by its digest under ``files``.
        """
        return None

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return, for each post and its draw, a new post, a ``Reject``, or None if there is nothing to do."""
        raise NotImplementedError

    def reduce(self) -> Callable[[Post], str | None]:
        """Return a check, called in row order for each split: the reason to drop a made post, or None.

        Publishing drops and counts such posts; ``map`` may return them, since no row depends on another.
        """
        return lambda post: None

    @property
    def content(self) -> Content:
        """What made posts consist of."""
        return Content()

    def exhibits(self) -> Exhibits | None:
        """Return pictures that show how the fitted method works, if there are any."""
        return None

    @property
    def costs(self) -> Costs | None:
        """The calls that may cost money, before which the user is asked; None without such calls."""
        facts = getattr(self, "facts", None)  # which a class in a notebook need not have
        return Costs() if facts and facts.key != "none" else None

    @property
    def _uses(self) -> Mapping[str, str]:
        """The parameters in use that may name models, and what their models do: the role on the card."""
        return {}

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that make or check the rows, except for this package's own.

        A classifier of unsafe pictures checks those of every other model.
        """
        values = used(self)
        guarded = any(value.role == NSFW for value in values)
        return tuple(
            Model(
                role=f"{value.role} {named.part}".rstrip(),
                id=named.id,
                license=named.license,
                checked=named.checked or guarded,
            )
            for value in values
            for named in value.models
        )

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences for the card that users of the rows must know."""
        return ()

    def pinned(self) -> Self:
        """Return a copy whose models are pinned to today's revisions, and files of this machine to their content."""
        return at_commits(self)

    @property
    def learned(self) -> Any:
        """The result of ``learn``."""
        return artifact_of(self._fitted())["learned"]

    # ------------------------------------------------------------ for users

    def fit(
        self,
        train: Any,
        *,
        validation: Any = None,
        images: str | Path | None = None,
        trust_image_paths: bool = False,
        progress: bool = True,
        columns: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Return a fitted copy, which names files of this machine by their content; the posts are read once.

        Args:
            train: a dataset, streamed or not, or a dict of splits of which ``train`` (and ``validation``) are taken.
            validation: a dataset with the same columns; its labels count by their names.
            images: the folder of the files that pictures are named by, where the dataset holds names instead of bytes.
            trust_image_paths: read such files wherever they lie.
            progress: show a bar, where it takes more than two seconds.
            columns: the dataset's names for columns of ours, which are cast then, as by ``map_columns``.

        Raises:
            UsageError: the columns are not those of an MNER or MRE set, ``keep`` names none of them, or there is no
                train split or image folder; or a file that a parameter names cannot be read.
            DataError: a row is not what its columns promise.
        """
        self = by_content(self)
        splits = dict(train) if isinstance(train, Mapping) else {"train": train}
        if "train" not in splits:
            raise UsageError(f"fit needs a train split, found {', '.join(splits)}")
        if validation is not None:
            splits["validation"] = validation
        if any(data.features is None for data in (splits["train"], splits.get("validation")) if data is not None):
            raise UsageError(f"fit needs a dataset that knows its features: {_KNOW}")
        splits = same_labels(map_columns(splits, columns) if columns else splits)
        train, validation = splits["train"], splits.get("validation")
        features = train.features
        allow_hosts(self)
        codec = Codec(features)
        check_own_column(self, features)
        if self.content.pictures_only and codec.image_column is None:
            raise UsageError(
                f"{self.name} works on pictures: expected a column image or images, found {', '.join(features)}"
            )
        beside: dict[str, Any] = {"by_word": by_word} if (by_word := by_word_columns(self, train, codec)) else {}
        if self.keep and self.content.foreign:
            why = (
                "makes posts of no single gold post" if self.content.sourceless else "keeps nothing of retrieved posts"
            )
            warnings.warn(f"{self.name} {why}: {', '.join(self.keep)} is null", stacklevel=2)
        if by_word and self.content.joined:
            beside["words"] = save_words(train, features, by_word)
        if self.reads_images and codec.image_column:
            allowed = Allowed.of(images, trust_image_paths=trust_image_paths)
            train = embed(train, allowed, stacklevel=2)
            validation = validation if validation is None else embed(validation, allowed, stacklevel=2)
        posts = iterate_posts(train, codec, images=self.reads_images)
        learned = self.learn(
            _watched(posts, f"{self.name} reads train", getattr(train, "num_rows", None), progress),
            iterate_posts(validation, codec, images=self.reads_images) if validation is not None else iter(()),
        )
        # Features as text: an artifact's keys are sorted, and the order of columns means something.
        found = {"features": json.dumps(features.to_dict()), "learned": learned, "method": self.name, **beside}
        if (suffix := free_suffix(self.name, splits.values())) != self.name:
            found["suffix"] = suffix
        return replace(self, artifact=artifacts.save_json(found))

    @property
    def features(self) -> "Features":
        """The columns of the rows this method makes."""
        return augmented_features(self._codec().features, added_columns(self))

    @property
    def params(self) -> dict[str, Any]:
        """The method's own parameters; those that came ``later`` only if they are set."""
        found = {}
        for parameter in parameter_fields(type(self)):
            value = getattr(self, parameter.name)
            if not (LATER in parameter.metadata and value == parameter.default):
                found[parameter.name] = value
        return found

    def __call__(
        self, batch: Any, rank: int | None = None, *, features: Mapping[str, Any] | None = None
    ) -> dict[str, list[Any]]:
        """Return the rows made from a batch, for ``Dataset.map(method, batched=True, features=method.features)``.

        Args:
            batch: columns of rows.
            rank: of the process.
            features: the columns of the dataset, where its batches do not know them, as those of a stream; labels of
                the rows are numbered as ``method.features`` says then.

        Raises:
            NotFitted: ``fit`` was not called.
            UsageError: the batch is a single row, formatted, holds decoded images, or labels without names.
            DataError: a row is not what its columns promise.
        """
        columns = self._make(batch, features, stays=self.mode == "replace").columns
        if features_of(batch)[0] is None:
            return columns
        for name in self._by_name(batch):  # map may write them with the list of the batch, or with that of features=
            columns[name] = [spell_labels(value, self.features[name]) for value in columns[name]]
        return columns

    def map(
        self,
        dataset: Any,
        *,
        images: str | Path | None = None,
        trust_image_paths: bool = False,
        keep: Iterable[str] = (),
        columns: Mapping[str, str] = MappingProxyType({}),
        **kwargs: Any,
    ) -> Any:
        """Return ``dataset.map`` of this method with the arguments it needs set; ``kwargs`` are map's own.

        Pictures that the dataset only names are read in the folder ``images``, or with ``trust_image_paths`` anywhere;
        else they are missing, and a warning counts them. ``keep`` names columns as the field does. The rows of a stream
        are not formatted, and their pictures not decoded.

        Raises:
            UsageError: a label is none of the set that the method was fitted on, or there is no such folder or column.
        """
        if columns:
            dataset = map_columns(dataset, columns)
        if keep:
            return keep_columns(self, keep).map(dataset, images=images, trust_image_paths=trust_image_paths, **kwargs)
        dataset = embed(dataset, Allowed.of(images, trust_image_paths=trust_image_paths), stacklevel=2)
        return self._map(dataset, kwargs)

    def _map(self, dataset: Any, kwargs: Mapping[str, Any]) -> Any:
        if isinstance(dataset, Mapping):
            splits: Any = type(dataset)
            return splits({split: self._map(part, kwargs) for split, part in dataset.items()})
        features = features_for(self, dataset.features or {})
        unknown_columns(self, dataset.features or self.features)
        if getattr(dataset, "num_rows", None) == 0:  # map gives such a dataset back as it is
            return type(dataset).from_dict({name: [] for name in features}, features=features)
        arguments: dict[str, Any] = {"batched": True, "features": features}
        if self.reads_images:
            arguments["batch_size"] = 16
        if not hasattr(dataset, "cleanup_cache_files"):
            if dataset.features is None:
                raise UsageError(f"{self.name} needs a stream that knows its features: {_KNOW}")
            arguments["fn_kwargs"] = {"features": dataset.features}  # which batches of a stream do not know
            dataset = dataset.with_format(None).decode(False)
        return dataset.map(self, **{**arguments, **kwargs})

    def make(self, batch: Any, *, features: Mapping[str, Any] | None = None) -> Made:
        """Return the rows made from a batch and the rejects; takes ``features`` and raises as ``__call__``.

        If a method that replaces posts has nothing to do, ``map`` returns the post unchanged; here it is no row.
        """
        return self._make(batch, features)

    def _make(self, batch: Any, features: Mapping[str, Any] | None, *, stays: bool = False) -> Made:
        allow_hosts(self)
        codec = self._codec()
        columns = columns_of(batch)
        missing = [name for name in codec.columns if name not in columns]
        if missing:
            raise UsageError(f"{self.name} was fitted on a set with the column {missing[0]}, which this batch lacks")
        if isinstance(columns["id"], str):
            raise UsageError(f"{self.name} works on batches: pass batched=True to map")
        for column in columns.values():
            if not isinstance(column, list):
                raise UsageError(
                    f"expected lists, found {type(column).__module__}.{type(column).__qualname__}: "
                    "call ds.with_format(None) before map"
                )
        others = unknown_columns(self, columns)
        for name, change in self._by_name(batch, features).items():
            columns[name] = [change(value) for value in columns[name]]
        if codec.image_column:
            check_encoded(columns[codec.image_column])
            columns[codec.image_column] = self._pictures(columns[codec.image_column], codec)
        rows = rows_of(columns, codec.columns)
        posts = [codec.to_post(row) for row in rows]
        expanded = [post for post in posts for _ in range(self.copies)]
        draws = [self._draw(post.id, copy) for post in posts for copy in range(self.copies)]
        results = self.rewrite(expanded, draws) if posts else []
        if len(results) != len(expanded):
            raise RuntimeError(f"{self.name}.rewrite gave {len(results)} results for {len(expanded)} posts")
        return self._encode(codec, columns, others, posts, results, stays=stays)

    # ------------------------------------------------------------ inside

    def _encode(
        self,
        codec: Codec,
        columns: dict[str, list[Any]],
        others: OtherColumns,
        posts: list[Post],
        results: list[Post | Reject | None],
        *,
        stays: bool = False,
    ) -> Made:
        added = self.content.columns
        names = [*columns, *(name for name in (*AUGMENTED, *added_columns(self)) if name not in columns)]
        weights = earlier_weights(columns) if WEIGHT in added_columns(self) else None
        origins = columns.get("source_id")
        befores = columns.get("provenance") if "method" in columns else None
        suffix = id_suffix(self)
        provenance = canonical_json({"params": self.params, "seed": self.seed, "version": self.version})[:-1]
        made: dict[str, list[Any]] = {name: [] for name in names}
        rejects: list[dict[str, Any]] = []
        for i, result in enumerate(results):
            source, copy = divmod(i, self.copies)
            before = posts[source]
            if result is None:
                if not stays:
                    continue
                result = replace(before, details={**dict.fromkeys(added), "synthetic": False})
            if isinstance(result, Reject):
                if result.reason not in self.rejects:
                    raise RuntimeError(f"{self.name} rejects with {result.reason!r}, which its class does not declare")
                rejects.append({"source_id": before.id, "copy": copy, "reason": result.reason, "detail": result.detail})
                continue
            row = codec.to_row(result)
            row["id"] = before.id if self.mode == "replace" else f"{before.id}+{suffix}.{copy}"
            of_gold = not self.content.sourceless
            row["source_id"] = (origins[source] if origins else None) or before.id if of_gold else None
            row["method"] = self.name
            details = f',"details":{canonical_json(result.details)}' if result.details else ""
            replaced = befores[source] if befores and self.mode == "replace" else None
            if replaced not in (None, "{}"):  # else the row would not tell whose post it is made of
                read_provenance(replaced, f"post {before.id}")
                details += f',"of":{{"method":{canonical_json(columns["method"][source])},"provenance":{replaced}}}'
            row["provenance"] = f'{provenance},"copy":{copy}{details}}}'
            for name in added:
                row[name] = result.details[name]
            if weights:
                row[WEIGHT] = weights[source] if results[i] is None else weigh(self, result, weights[source])
            row |= others.values(columns, source, before, result)
            for name in names:
                made[name].append(row[name])
        return Made(made, rejects, results.count(None))

    def _pictures(self, values: list[Any], codec: Codec) -> list[Any]:
        """Return a batch's pictures; pictures that are only named are missing, with one warning per process."""
        column = str(codec.image_column)
        found, refused = without_named(values, codec.features[column])
        if refused.refused and self.artifact not in _told:
            _told.add(self.artifact)
            warnings.warn(f"{self.name}: in this batch {refused}; later batches are not counted", stacklevel=5)
        return found

    def _by_name(self, batch: Any, features: Mapping[str, Any] | None = None) -> dict[str, Callable[[Any], Any]]:
        """Return functions, by column, that translate a batch's labels into those of the fitted set, by name.

        Raises:
            UsageError: a label is none of the fitted set's, or an Arrow table says that it numbers them otherwise, or
                neither the batch nor ``features`` says what its numbers are.
        """
        found, certain = features_of(batch)
        if features is not None and not certain:
            found, certain = features, True
        if found is None:
            raise UsageError(
                f"{self.name}: this batch holds labels without their names, as of a stream or a formatted set: "
                "call method.map(stream), or ds.with_format(None) before map"
            )
        changes = _changes(self, found)
        if changes and not certain:
            raise UsageError(
                f"{self.name} was fitted on a set that numbers the labels of {next(iter(changes))} otherwise than this "
                "Arrow table: call method.map(ds), or ds.with_format(None) before map"
            )
        return changes

    def _draw(self, post: str, copy: int = 0) -> Draw:
        """Return the randomness of a post's copy."""
        return draw(self.seed, self.name, getattr(self, "drawn_as", self.version), post, copy)

    def _fitted(self) -> str:
        if self.artifact is None:
            name = type(self).__name__
            raise NotFitted(f"{name} is not fitted: call method = {name}(…).fit(train) and map that")
        return self.artifact

    def _codec(self) -> Codec:
        return artifact_codec(self._fitted())


def parameter_fields(cls: type[Method]) -> "list[Field[Any]]":
    """Return the fields that are parameters of a method, not of a recipe: its own, and ``weight``."""
    shared = {field.name for field in fields(Method) if LATER not in field.metadata}
    return [field for field in fields(cls) if field.name not in shared]


def features_for(method: Method, found: Mapping[str, Any]) -> "Features":
    """Return the columns of the rows that a method makes from a dataset, which may have columns unknown at ``fit``.

    Raises:
        UsageError: a label of the dataset is none of those that the method was fitted on.
    """
    from datasets import Features

    fitted = method.features
    check_own_column(method, found)
    _changes(method, found)
    return Features({**{name: feature for name, feature in found.items() if name not in fitted}, **fitted})


def _changes(method: Method, found: Mapping[str, Any]) -> dict[str, Callable[[Any], Any]]:
    """Return functions, by column, that translate a dataset's labels into the fitted ones, by name."""
    try:
        return translators(found, method.features, "this set")
    except UsageError as error:
        raise UsageError(f"{method.name} was fitted on another set: {error}: fit it on this set") from error


def _watched(posts: Iterable[Post], told: str, total: int | None, progress: bool) -> Iterator[Post]:
    """Yield posts under a progress bar, which stays visible while the posts are processed."""
    with progress_bar(shown=progress, desc=told, total=total) as bar:
        for post in posts:
            yield post
            bar.update()
        bar.set_postfix_str("learning from them", refresh=False)


_told: set[str | None] = set()  # artifacts of methods that said in this process that pictures are not read
