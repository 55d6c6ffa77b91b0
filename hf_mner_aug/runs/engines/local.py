"""Parts made one after another in this process."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_mner_aug.runs.engines.work import Work
from hf_mner_aug.runs.parts import Part, make_part, send_part
from hf_mner_aug.runs.ranks import fit_once
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.storage.shared import Store
from hf_mner_aug.transform import Method

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True)
class Local:
    """This process."""

    name: ClassVar[str] = "local"
    told: ClassVar[Mapping[str, Any]] = {}

    def session(self) -> "contextlib.nullcontext[Local]":
        """Start nothing."""
        return contextlib.nullcontext(self)

    def fit(
        self, place: Store, recipe: Recipe, gold: "DatasetDict", *, learned: str | None = None, progress: bool = False
    ) -> Method:
        """Return the method, fitted here."""
        return fit_once(place, recipe, gold, learned=learned, progress=progress)

    def make(self, work: Work, parts: list[Part]) -> Iterator[Part]:
        """Make parts in order."""
        for part in parts:
            make_part(work.folder, work.recipe, work.method, work.gold, part)
            send_part(work.place, work.folder, part)
            yield part
