"""Suspected labels in a tool where people decide on them: a file of corrections goes out, and comes back decided."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.exporting.answers import OWN_UNITS, Answer, read_answers
from hf_mner_aug.exporting.layout import About, Outgoing, reject_label
from hf_mner_aug.exporting.placing import labels_of, unit_of
from hf_mner_aug.exporting.rows import Rows
from hf_mner_aug.posts.tokenising import word_style
from hf_mner_aug.publishing.rows import EXAMPLES
from hf_mner_aug.readers.corrections import Correction, read_corrections
from hf_mner_aug.readers.spans.annotated import Offsets
from hf_mner_aug.readers.spans.offsets import Unit
from hf_mner_aug.schema import Entity, Post, bio_to_spans, in_order, spans_to_bio
from hf_mner_aug.storage.artifacts import write_atomically
from hf_mner_aug.untrusted.names import check_name

CAUTIONS = (
    "the labels are suggestions: the field method of a post says what was suspected",
    "a rejected post keeps the labels that it had before",
)
Decision = Literal["accepted", "changed", "declined", "undecided"]


@dataclass(frozen=True)
class Decided:
    """A file of corrections that people decided on: the posts by decision, and what was found in the reviewed file."""

    file: Path
    decisions: Mapping[Decision, Sequence[str]]
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the counts, and examples of what was found."""
        counts = ", ".join(f"{len(ids):,} {decision}" for decision, ids in self.decisions.items())
        lines = [f"{self.file}: {counts}"]
        lines += [f"{what}: {len(ids):,}, as {'; '.join(ids[:EXAMPLES])}" for what, ids in self.notes.items()]
        return "\n".join([*lines, f"hf-mner-aug convert … --corrections {self.file}"])


# ---------------------------------------------------------------- out


def corrections_rows(path: Path) -> Rows:
    """Return the posts of a file of corrections, with the labels after; raises as ``read_corrections``."""
    corrections = list(read_corrections(path).values())

    def posts(keep: bool, most: int | None) -> Iterator[Outgoing]:
        for correction in corrections:
            told = {"before": list(correction.before), "note": correction.note}
            yield Outgoing(_post(correction), "", "train", correction.id, f"suspected: {correction.note}", told)

    return Rows(path.stem, _about(path, corrections), "", CAUTIONS, posts, original=True)


def _about(path: Path, corrections: Sequence[Correction]) -> About:
    kinds = in_order({tag[2:] for c in corrections for tag in (*c.before, *c.after) if tag != "O"})
    joiner = "" if word_style(map(_post, corrections)) == "characters" else " "
    return About(config=path.stem, types=kinds, joiner=joiner, several=False, folder="")


def _post(correction: Correction) -> Post:
    entities = tuple(Entity(start, end, kind) for start, end, kind in bio_to_spans(correction.after))
    return Post(correction.id, correction.tokens, entities)


# ---------------------------------------------------------------- back


def decide(
    path: Path,
    config: str,
    file: Path,
    *,
    config_name: str | None,
    types: Mapping[str, str],
    offsets: Offsets,
    overwrite: bool,
) -> Decided:
    """Write a file of corrections with people's decisions, beside it.

    A post that was submitted is accepted with the labels that it has then; a rejected one is declined.

    Args:
        path: the file of corrections.
        config: the name under which ``export`` wrote it, that of the file.
        file: what Label Studio (JSON) or Doccano (JSONL) exported.
        config_name: the name of the new file (default: ``CONFIG_reviewed``).
        types: renames labels of the tool.
        offsets: the unit of the tool's offsets.
        overwrite: replace another file of that name.

    Raises:
        UsageError: there is another file of that name, or ``file`` is no review of the corrections.
        DataError: a file cannot be read, or the name is a path.
    """
    if config != path.stem:
        raise UsageError(f"{path} is exported as {path.stem}, found {config}: name the file that was reviewed")
    if config_name is not None:
        check_name("file", config_name)
    out = path.with_name(f"{config_name or f'{config}_reviewed'}.jsonl")
    if out.exists() and (not overwrite or out.resolve() == path.resolve()):
        raise UsageError(f"{out} is there already: name another file with --config-name, or --overwrite")
    corrections = read_corrections(path)
    about = _about(path, list(corrections.values()))
    tool, answers = read_answers(file, reject_label(about.types))
    notes: dict[str, list[str]] = {}
    if strangers := [name for name in answers if name not in corrections]:
        if len(strangers) == len(answers):
            raise UsageError(f"{file} has none of the posts of {path}: is it another review?")
        notes["records of posts that have no correction"] = strangers
    unit: Unit = OWN_UNITS[tool] if offsets == "auto" else offsets
    if offsets == "auto":
        shown = [(corrections[name].tokens, a.spans) for name, a in answers.items() if name in corrections]
        unit, told = unit_of(shown, about.joiner, unit)
        notes |= {told: ["--offsets NAME sets the unit"]} if told else {}
    decisions: dict[Decision, list[str]] = {"accepted": [], "changed": [], "declined": [], "undecided": []}
    lines = []
    for correction in corrections.values():
        decision, decided = _decided(correction, answers.get(correction.id), about.joiner, unit, types, notes)
        decisions[decision].append(correction.id)
        lines.append(decided.to_json())
    write_atomically(out, "".join(lines).encode())
    return Decided(out, decisions, notes)


def _decided(
    correction: Correction,
    answer: Answer | None,
    joiner: str,
    unit: Unit,
    types: Mapping[str, str],
    notes: dict[str, list[str]],
) -> tuple[Decision, Correction]:
    """Return what people decided on a correction, and the correction with that decision."""
    if answer is None or answer.state == "untouched":
        return "undecided", correction
    if answer.state == "rejected":
        return "declined", replace(correction, accept=False)

    def note(what: str, post: str) -> None:
        notes.setdefault(what, []).append(post)

    kept = labels_of(answer, correction.tokens, joiner, unit, note, "stay undecided")
    if kept is None:
        return "undecided", correction
    spans = [(one.start, one.end, types.get(one.label, one.label)) for one in kept]
    after = spans_to_bio(spans, len(correction.tokens))
    decision: Decision = "accepted" if after == list(correction.after) else "changed"
    return decision, replace(correction, after=after, accept=True)
