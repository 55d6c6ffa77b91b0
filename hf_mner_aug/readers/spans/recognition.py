"""What the texts of a set tell: the unit of their offsets, and whether their script has blanks between words."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_mner_aug.posts.scripts import count_unspaced
from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.readers.spans.annotated import Annotated
from hf_mner_aug.readers.spans.offsets import UNITS, Unit, units_that_fit
from hf_mner_aug.readers.spans.posts import TOKENISER

OPTIONS = ("tokeniser", "misaligned", "nested", "offsets")  # of ``posts_of``


def recognise(
    reader: Callable[..., Iterator[Annotated | BadLine]],
    usual: Unit,
    files: Mapping[str, Path],
    given: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
    """Return the options found in the files of a set that the user did not give, and a line on each.

    ``usual`` is the unit of offsets where no text of a span tells.
    """
    own = {name: value for name, value in given.items() if name not in OPTIONS}
    return recognise_in((text for path in files.values() for text in reader(path, **own)), given, usual)


def recognise_in(
    texts: Iterable[Annotated | BadLine], given: Mapping[str, Any], usual: Unit = "chars"
) -> tuple[dict[str, Any], list[str]]:
    """Return the options found in texts that the user did not give, and a line on each; as ``recognise``."""
    seen = Seen()
    for found in texts:
        if isinstance(found, Annotated):
            seen.add(found)
    options: dict[str, Any] = {}
    said: list[str] = []
    if given.get("offsets", "auto") == "auto":
        options["offsets"], lines = seen.unit(usual)
        said += lines
    if given.get("tokeniser") is None:
        options["tokeniser"], lines = seen.tokeniser()
        said += lines
    return options, said


@dataclass
class Seen:
    """Counts of some texts: spans that fit in each unit, by their texts or by the edges of words, and letters.

    ``at_words`` and ``silent`` are of spans without texts behind emoji, ``beyond_ascii`` and ``beyond`` of those behind
    any sign that is not ASCII.
    """

    fits: Counter[Unit] = field(default_factory=Counter)
    telling: int = 0
    at_words: Counter[Unit] = field(default_factory=Counter)
    silent: int = 0
    beyond_ascii: Counter[Unit] = field(default_factory=Counter)
    beyond: int = 0
    letters: int = 0
    unspaced: int = 0
    own_words: int = 0

    def add(self, found: Annotated) -> None:
        """Count a text."""
        self.own_words += found.words is not None
        self.letters += sum(map(str.isalpha, found.text))
        self.unspaced += count_unspaced(found.text)
        for fit in units_that_fit(found.text, found.spans):
            self.telling += fit.told
            self.silent += not fit.told and fit.behind_emoji
            self.beyond += not fit.told
            if fit.told:
                self.fits.update(fit.units)
            else:
                self.beyond_ascii.update(fit.units)
                self.at_words.update(unit for unit in fit.units if fit.behind_emoji and unit != "bytes")

    def unit(self, usual: Unit) -> tuple[Unit, list[str]]:
        """Return the unit that most spans fit, and what to say of it."""
        found = self.fits if any(self.fits.values()) else self.at_words
        unit = max((usual, *UNITS), key=lambda unit: found[unit])  # the first of several
        if self.fits[unit]:
            counts = f"{self.fits[unit]} of {self.telling} spans behind other signs have their text there"
            return unit, [f"offsets count {UNITS[unit]}: {counts} (--offsets {unit})"]
        n_bytes = self.beyond_ascii["bytes"]
        if n_bytes > self.beyond / 2 and n_bytes > 2 * max(self.beyond_ascii[other] for other in ("chars", "utf16")):
            counts = f"{n_bytes} of {self.beyond} spans behind signs beyond ASCII begin and end with words"
            return "bytes", [f"offsets count {UNITS['bytes']}: {counts} (--offsets bytes)"]
        if self.at_words[unit] > min(self.at_words[other] for other in ("chars", "utf16")):
            counts = f"{self.at_words[unit]} of {self.silent} spans behind emoji or the like begin and end with words"
            return unit, [f"offsets count {UNITS[unit]}: {counts} (--offsets {unit})"]
        if self.silent:
            where = f"{self.silent} spans are behind emoji or the like, and no text of them tells"
            other = "JavaScript counts --offsets utf16" if unit == "chars" else "as is usual; else --offsets chars"
            return unit, [f"offsets count {UNITS[unit]}: {where} ({other})"]
        return unit, []

    def tokeniser(self) -> tuple[str | None, list[str]]:
        """Return the tokeniser for the scripts of the texts, and what to say of it; None for words of their own."""
        if self.own_words:
            return None, ["words are those of the file (--tokeniser NAME makes others)"]
        if 2 * self.unspaced > self.letters:
            share = f"{self.unspaced} of {self.letters} letters are of scripts without blanks"
            return "char", [f"each sign is a word: {share} (--tokeniser char)"]
        return TOKENISER, [f"words are made by --tokeniser {TOKENISER}"]
