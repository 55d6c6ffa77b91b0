"""The quality measures of configs as a table: for a terminal, as Markdown, as plain data, and on a card."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hf_mner_aug.publishing.cards import put_section
from hf_mner_aug.studies.page import measured_here
from hf_mner_aug.studies.page import put_section as put_page_section
from hf_mner_aug.studies.tables import table
from hf_mner_aug.untrusted.printable import for_markdown, for_terminal

SIZES = (1, 2, 3)  # of the n-grams that are counted
ABSENT = "–"
FAULTS = ("duplicate", "same_text", "leak_id", "leak_text", "leak_image")


@dataclass(frozen=True, kw_only=True)
class Column:
    """The measures of some posts; missing ones are None or absent.

    Attributes:
        name: the config, or the kind of gold posts.
        posts: their number.
        words: the number of their words.
        similarity: the mean cosine of a post and its source, by engine.
        ngrams: for n = 1, 2, 3 the numbers of different and of all n-grams.
        diversity: the mean over n of the share of different n-grams.
        sampled_diversity: the diversity of a sample with the same number of words in every column.
        perplexity: under the language model.
        text_image: the mean cosine of texts and pictures.
        consistency: the share of posts whose labels the backbone predicts.
        label_scores: the F1 of its predictions of grounded entities, and of their parts, by name.
        faults: posts that publishing would drop (repetitions, leaks, limits of the method), by reason.
    """

    name: str
    posts: int | None = None
    words: int | None = None
    similarity: Mapping[str, float] = field(default_factory=dict)
    ngrams: Sequence[tuple[int, int]] = ()
    diversity: float | None = None
    sampled_diversity: float | None = None
    perplexity: float | None = None
    text_image: float | None = None
    consistency: float | None = None
    label_scores: Mapping[str, float] = field(default_factory=dict)
    faults: Mapping[str, int] | None = None


@dataclass(frozen=True)
class QualityReport:
    """The measures of some configs: gold posts first, then each config; ``gold_of`` has a config's gold columns."""

    columns: tuple[Column, ...]
    gold_of: Mapping[str, tuple[str, ...]]
    fingerprints: Mapping[str, str]
    labels: Mapping[str, str]
    notes: tuple[str, ...]
    command: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "columns": [_plain(column) for column in self.columns],
            "fingerprints": dict(self.fingerprints),
            "measured_with": dict(self.labels),
            "notes": list(self.notes),
        }

    @property
    def other_faults(self) -> list[str]:
        """Further reasons for which publishing would drop posts, beside repetitions and leaks."""
        return sorted({reason for column in self.columns for reason in column.faults or ()} - {*FAULTS})

    def column(self, name: str) -> Column:
        """Return the column of a config or of gold posts."""
        return next(column for column in self.columns if column.name == name)

    def rows(self, columns: Sequence[Column]) -> list[list[str]]:
        """Return the table of some columns: a row for each measure that at least one of them has."""
        engines = list(dict.fromkeys(engine for column in self.columns for engine in column.similarity))
        scores = list(dict.fromkeys(name for column in self.columns for name in column.label_scores))
        measures: list[tuple[str, Callable[[Column], str]]] = [
            ("posts", lambda c: _number(c.posts)),
            ("words", lambda c: _number(c.words)),
            *((f"similarity, {engine}", lambda c, e=engine: _share(c.similarity.get(e))) for engine in engines),
            *((f"unique {n}-grams", lambda c, i=i: _ngrams(c, i)) for i, n in enumerate(SIZES)),
            ("diversity, their mean", lambda c: _share(c.diversity)),
            (f"diversity of {self.labels['sampled']} words", lambda c: _share(c.sampled_diversity)),
            (
                f"perplexity, {self.labels['language_model']}",
                lambda c: ABSENT if c.perplexity is None else f"{c.perplexity:.2f}",
            ),
            (f"text and picture, {self.labels['matcher']}", lambda c: _share(c.text_image)),
            (f"labels as predicted, {self.labels['backbone']}", lambda c: _share(c.consistency)),
            *((f"labels as predicted, {name}", lambda c, n=name: _share(c.label_scores.get(n))) for name in scores),
            ("duplicates (words and labels)", lambda c: _fault(c, "duplicate")),
            ("repeated texts", lambda c: _fault(c, "same_text")),
            *(
                (f"in validation or test: {what}", lambda c, k=f"leak_{what}": _fault(c, k))
                for what in ("id", "text", "image")
            ),
            *((f"publishing would drop: {reason}", lambda c, k=reason: _fault(c, k)) for reason in self.other_faults),
        ]
        rows = [[label, *map(spell, columns)] for label, spell in measures]
        return [row for row in rows if set(row[1:]) != {ABSENT}]

    def to_markdown(self, config: str | None = None) -> str:
        """Return the table as Markdown with notes; with a name, only that config and its gold posts."""
        columns = self.columns if config is None else [self.column(name) for name in (*self.gold_of[config], config)]
        head = ["", *(column.name for column in columns)]
        notes = "\n".join(f"- {note}" for note in self.notes)
        return f"{table(head, self.rows(columns))}\n\n{notes}\n"

    def to_table(self) -> Any:
        """Return the table for a terminal, drawn by rich."""
        from rich.table import Table

        drawn = Table("", *(for_terminal(column.name) for column in self.columns))
        for row in self.rows(self.columns):
            drawn.add_row(*map(for_terminal, row))
        return drawn

    def write_card(self, repo: str | Path) -> None:
        """Put each config's table under the config on the card of a repo folder; an older one is replaced.

        Raises:
            UsageError: there is no card.
            DataError: the card has YAML that does not parse.
        """
        for config, fingerprint in self.fingerprints.items():
            head = f"### What is in {for_markdown(config)}"
            section = f"{head}\n\n{self.to_markdown(config)}- Measured on content `{fingerprint[:16]}`."
            put_section(repo, "quality --write-card", f"quality of {config}", section, after=f"config {config}")

    def write_page(self, path: str | Path) -> None:
        """Put the table into a page of results; raises as ``studies.page.write_page``."""
        facts = [measured_here(), *(f"Content of {name}: {digest[:16]}" for name, digest in self.fingerprints.items())]
        put_page_section(path, f"quality of {', '.join(self.fingerprints)}", self.to_markdown(), self.command, facts)


def meanings(columns: Sequence[Column], labels: Mapping[str, str], one_copy: bool) -> Iterator[str]:
    """Yield the meaning of the numbers that are present."""
    yield (
        "Posts of train"
        + (", one made post of each gold post" if one_copy else "")
        + ". Similarity is the mean cosine "
        "of a made post and its gold post; *two gold posts* are unrelated ones, for comparison."
    )
    yield (
        "Unique n-grams: the share of different n-grams among all of the posts together, words as they are written. "
        f"It falls with more text: compare the diversity of {labels['sampled']} words, drawn at random."
    )
    if any(column.perplexity is not None for column in columns):
        yield "Perplexity: e to the mean loss of a token, for each post alone, with spaces between its words."
    if any(column.text_image is not None for column in columns):
        how = "gold posts and posts made from them are scored by a CCA that was not fitted on them; "
        yield (
            "Text and picture: the mean cosine, "
            + (how if labels["matcher"] == "CCA" else "")
            + "*two gold posts* has the text of one and the picture of another."
        )
    if any(column.consistency is not None for column in columns):
        yield (
            f"Labels as predicted: the share of posts whose labels {for_markdown(labels['backbone'])} predicts "
            "exactly. It was fitted on the gold posts of train, so it has seen these but not those of validation."
        )
    yield (
        "Duplicates have the words and labels of a gold or earlier made post, repeated texts its normalised text. "
        "A post in validation or test counts once: by its id, else its text, else a new picture that is equal or looks "
        "alike. Publishing uses the same code to drop posts, but keeps repeated texts."
    )


# ---------------------------------------------------------------- inside


def _plain(column: Column) -> dict[str, Any]:
    """Return a column as plain data; scores of labels only if there are some."""
    found = asdict(column)
    if not column.label_scores:
        del found["label_scores"]
    return found


def _number(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"


def _ngrams(column: Column, i: int) -> str:
    if not column.ngrams or not column.ngrams[i][1]:
        return ABSENT
    unique, total = column.ngrams[i]
    return f"{unique / total:.4f} of {total:,}"


def _fault(column: Column, kind: str) -> str:
    return str((column.faults or {}).get(kind, ABSENT))
