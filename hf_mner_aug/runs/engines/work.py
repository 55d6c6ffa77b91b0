"""What every engine is given, and what it promises."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hf_mner_aug.runs.parts import Part
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.storage.shared import Store
from hf_mner_aug.transform import Method

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True)
class Work:
    """A run whose parts are made: its folder here, its place in the storage, the fitted method and the gold posts.

    Without a storage, the place is the folder.
    """

    folder: Path
    place: Store
    recipe: Recipe
    method: Method
    gold: "DatasetDict"


class Session(Protocol):
    """An engine at work. ``told`` is what ``run.json`` says of it."""

    @property
    def told(self) -> Mapping[str, Any]:
        """What ``run.json`` says of the engine; nothing of this machine's own."""
        ...

    def fit(
        self, place: Store, recipe: Recipe, gold: "DatasetDict", *, learned: str | None = None, progress: bool = False
    ) -> Method:
        """Return the fitted method, as ``ranks.fit_once``."""
        ...

    def make(self, work: Work, parts: list[Part]) -> Iterator[Part]:
        """Make parts and yield each, in any order, once its files are in the run's folder and in the storage."""
        ...


class Engine(Protocol):
    """What makes the parts of a run; its rows are the same with each engine."""

    name: ClassVar[str]

    def session(self) -> AbstractContextManager[Session]:
        """Start what the engine needs, and stop it at the end."""
        ...
