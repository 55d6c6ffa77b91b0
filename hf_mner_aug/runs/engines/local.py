"""Parts made one after another in this process."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_mner_aug.runs.engines.work import Work
from hf_mner_aug.runs.parts import Part, make_part, send_part
from hf_mner_aug.runs.ranks import fit_once

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Local:
    """This process."""

    name: ClassVar[str] = "local"
    told: ClassVar[Mapping[str, Any]] = {}

    def session(self) -> "contextlib.nullcontext[Local]":
        """Start nothing."""
        return contextlib.nullcontext(self)

    fit = staticmethod(fit_once)

    def make(self, work: Work, parts: list[Part]) -> Iterator[Part]:
        """Make parts in order."""
        for part in parts:
            make_part(work.folder, work.recipe, work.method, work.gold, part)
            send_part(work.place, work.folder, part)
            yield part
