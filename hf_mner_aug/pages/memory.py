"""The memory that a run of memory_hard has learnt, as text and as an HTML page."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from hf_mner_aug.exceptions import Corrupt, UnknownName, UsageError
from hf_mner_aug.methods.memory_hard.tree import Node, Tree
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.pages import fill
from hf_mner_aug.pages.posts import direction
from hf_mner_aug.publishing.cards import ConfigFacts
from hf_mner_aug.publishing.folder import NOTE, read_note
from hf_mner_aug.readers.corrections import Correction
from hf_mner_aug.runs.ledger import beside, run_folder
from hf_mner_aug.schema import spans_to_bio
from hf_mner_aug.untrusted.names import check_digest
from hf_mner_aug.untrusted.printable import for_terminal
from hf_mner_aug.untrusted.shapes import checked, parse_json

NAME = "memory_hard"
EXAMPLES = 3
AROUND = 5  # words of context that an example shows on each side of a mention


class Fitted(TypedDict):
    """The content of ``fit/artifact.json``: the digest of the method's artifact."""

    artifact: str


class Artifact(TypedDict):
    """The part of a method's artifact that is read here."""

    method: str
    learned: Any


class Files(TypedDict):
    """The further artifacts of memory_hard, by their digests."""

    tree: str


class Learned(TypedDict):
    """The learnt state of memory_hard."""

    files: Files


class Stubborn(TypedDict):
    """A failure for which every draft was rejected."""

    failure: str
    reason: str
    detail: str
    attempts: int


class Step(TypedDict):
    """The drafts of one attempt, by outcome."""

    stage: str
    attempt: int
    kept: int
    drafts: int
    caught: Mapping[str, int]


class TreeNote(TypedDict):
    """The content of a tree's artifact."""

    tree: Mapping[str, Any]
    posts: int
    specific: Mapping[str, float | None]
    stubborn: list[Stubborn]
    suspects: list[Mapping[str, Any]]
    notes: list[str]
    funnel: NotRequired[list[Step]]


@dataclass(frozen=True)
class ShownFailure:
    """A failure as it is shown: its words in context, with the gold and the predicted label."""

    post: str
    before: str
    words: str
    after: str
    told: str

    @property
    def direction(self) -> str:
        """The direction of the text: ``ltr`` or ``rtl``."""
        return direction(f"{self.before} {self.words} {self.after}")


@dataclass(frozen=True)
class MemoryPage:
    """The tree of a fitted memory_hard, with failures that no draft fits and posts with suspected label errors."""

    tree: Tree
    posts: int
    specific: Mapping[str, float | None]
    stubborn: list[Mapping[str, Any]]
    suspects: list[Failure]
    notes: list[str]
    funnel: list[Mapping[str, Any]]

    def summary(self) -> str:
        """Return the counts in a sentence."""
        hard = len({failure.post for failure in self.tree.failures.values()})
        nodes = sum(len(branch.nodes) for branch in self.tree.branches)
        inside = sum(len(node.members) for branch in self.tree.branches for node in branch.nodes)
        return (
            f"{self.tree.target}: {len(self.tree.failures)} failures in {hard} of {self.posts} posts, "
            f"{nodes} patterns of {inside} failures, {len(self.stubborn)} stubborn, "
            f"{len(self.suspects)} suspected label errors"
        )

    def shares(self) -> list[str]:
        """Return the share of failures that only this model makes, in sentences; empty without reference models."""
        told = {
            "right_somewhere": "some reference model is right there",
            "wrong_nowhere_else": "every reference model is right there",
        }
        return [f"{told[name]}: {share:.1%}" for name, share in self.specific.items() if share is not None]

    def named(self) -> list[str]:
        """Return the rounds in which patterns were found, and the faults of rejected answers, in sentences."""
        nodes = [node for branch in self.tree.branches for node in branch.nodes]
        if not nodes:
            return []
        good = Counter(node.rounds for node in nodes if node.accuracy is None or node.told_apart)
        told = [f"{n} in round {round_}" for round_, n in sorted(good.items())]
        told += [f"{n} never told apart"] if (n := len(nodes) - good.total()) else []
        wrong = Counter(_reason(critique) for node in nodes for critique in node.critiques)
        sentences = [f"patterns: {', '.join(told)}"]
        return sentences + ([f"rejected answers: {_counted(wrong)}"] if wrong else [])

    def drafts(self) -> list[str]:
        """Return the outcome of each attempt's drafts, and the number of posts that later attempts recovered."""
        if not self.funnel:
            return []
        told = []
        for step in self.funnel:
            caught = f", {_counted(step['caught'])}" if step["caught"] else ""
            name = f"{step['stage']}, attempt {step['attempt']}"
            told.append(f"{name}: {step['kept']} of {step['drafts']} drafts kept{caught}")
        later = {f"{step['stage']}, attempt {step['attempt']}": step["kept"] for step in self.funnel[1:]}
        recovered = f" ({'; '.join(f'{name}: {n}' for name, n in later.items())})" if later else ""
        return [*told, f"recovered after the first attempt: {sum(later.values())} posts{recovered}"]

    def asked(self, key: str) -> str:
        """Return the outcome of the posts requested for a pattern."""
        tried, kept = self.tree.counts.get(key, (0, 0))
        return f"{kept} of {tried} posts kept" if tried else "no post requested"

    def examples(self, names: tuple[str, ...]) -> list[ShownFailure]:
        """Return the first failures of a list of ids, as examples."""
        return [example_of(self.tree.failures[name]) for name in names[:EXAMPLES]]

    def shown_stubborn(self) -> list[tuple[ShownFailure, str]]:
        """Return the failures for which every draft was rejected, with the last reason."""
        return [
            (example_of(self.tree.failures[s["failure"]]), f"{s['reason']} after {s['attempts']} drafts: {s['detail']}")
            for s in self.stubborn
        ]

    def to_text(self) -> str:
        """Return the tree as text for a terminal; control characters are spelt out."""
        return "".join(f"{for_terminal(line)}\n" for line in self._lines())

    def to_html(self) -> str:
        """Return the tree as one self-contained HTML file; text from posts and models is escaped."""
        suspects = [example_of(failure) for failure in self.suspects]
        return fill("memory.html.jinja", memory=self, suspects=suspects, describe=describe)

    def to_corrections(self) -> str:
        """Return the suspected label errors as a file for ``convert``, with the model's labels as correction.

        Each line has one post, and nothing is applied until its ``accept`` is set to true.
        """
        posts: dict[str, list[Failure]] = {}
        for failure in self.suspects:
            posts.setdefault(failure.post, []).append(failure)
        return "".join(_correction(failures).to_json() for failures in posts.values())

    def _lines(self) -> Iterator[str]:
        yield self.summary()
        yield from (f"  {share}" for share in self.shares())
        yield from (f"  {told}" for told in self.named())
        yield from (f"  note: {note}" for note in self.notes)
        for branch in self.tree.branches:
            yield f"├─ {branch.title}: {len(branch.members)} failures, {self.asked(branch.title)}"
            for node in branch.nodes:
                yield f"│  ├─ {node.pattern.name}: {describe(node)}, {self.asked(node.key)}"
                yield f"│  │    why: {node.pattern.why}"
                yield f"│  │    how: {node.pattern.how}"
                yield from (f"│  │    {_spelled(example)}" for example in self.examples(node.members))
            if branch.rest:
                yield f"│  └─ without a pattern: {len(branch.rest)}"
                yield from (f"│       {_spelled(example)}" for example in self.examples(branch.rest))
        if self.funnel:
            yield "├─ drafts of the first rounds"
            yield from (f"│    {told}" for told in self.drafts())
        yield f"├─ stubborn: {len(self.stubborn)}"
        yield from (f"│    {_spelled(example)} | {why}" for example, why in self.shown_stubborn())
        yield f"└─ suspected label errors: {len(self.suspects)}"
        yield from (f"     {_spelled(example_of(failure))}" for failure in self.suspects)


def describe(node: Node) -> str:
    """Return the number of a pattern's failures and how well it separates them from others, as text."""
    told = "no others to tell it from" if node.accuracy is None else f"told apart with {node.accuracy:.2f}"
    told += "" if node.told_apart or node.accuracy is None else ", not well enough"
    if node.critiques:
        asked = len(node.critiques) + (node.accuracy is None or node.told_apart)
        wrong = _counted(Counter(map(_reason, node.critiques)))
        told += f", from round {node.rounds} of {asked} (rejected: {wrong})"
    return f"{len(node.members)} failures, {told}"


def example_of(failure: Failure) -> ShownFailure:
    """Return a failure as it is shown."""
    start, end = failure.words
    gold, predicted = failure.confusion
    said = predicted
    if failure.predicted and failure.predicted[:2] != (start, end):
        said = f"{' '.join(failure.tokens[slice(*failure.predicted[:2])])} as {predicted}"
    return ShownFailure(
        failure.post,
        " ".join(failure.tokens[max(0, start - AROUND) : start]),
        failure.text,
        " ".join(failure.tokens[end : end + AROUND]),
        f"{gold}, predicted {said}, confidence {failure.confidence:.2f}"
        + ("" if failure.similarity is None else f", text and picture {failure.similarity:.2f}"),
    )


def _correction(failures: Sequence[Failure]) -> Correction:
    """Return the correction of a post to what was predicted instead of its suspected labels; nobody decided on it."""
    first = failures[0]
    after = list(first.entities)
    for failure in failures:
        for span in filter(None, (failure.gold, failure.predicted)):
            after = [other for other in after if other[1] <= span[0] or span[1] <= other[0]]
        after += [failure.predicted] if failure.predicted else []
    n_words = len(first.tokens)
    note = "; ".join(f"{failure.text}: {example_of(failure).told}" for failure in failures)
    before = spans_to_bio(first.entities, n_words)
    return Correction(first.post, first.tokens, before, spans_to_bio(after, n_words), note, None)


def _reason(critique: str) -> str:
    return critique.partition(":")[0]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _spelled(example: ShownFailure) -> str:
    return f"{example.post}: {example.before} [{example.words}] {example.after} ({example.told})"


# ---------------------------------------------------------------- reading


def memory(folder: str | Path, config: str = "") -> MemoryPage:
    """Return what memory_hard has learnt for a config of a repo folder, or in a run folder.

    Args:
        folder: a repo folder, or a run of memory_hard. If no config is published yet, the only run beside it is read.
        config: its name; the only config of memory_hard need not be named.

    Raises:
        UnknownName: the folder has no such config of memory_hard.
        UsageError: there are several such configs or runs and none is named, or there is no run.
        Corrupt: a file of the run or of a config is damaged.
    """
    place, learned = _chosen(Path(folder), config)
    note = _artifact(place, learned["files"]["tree"], TreeNote)
    tree = Tree.from_dict(note["tree"])
    unknown = next((s["failure"] for s in note["stubborn"] if s["failure"] not in tree.failures), None)
    if unknown is not None:
        raise Corrupt(f"{place}/fit: stubborn: expected known failures, found {unknown!r}")
    return MemoryPage(
        tree,
        note["posts"],
        note["specific"],
        note["stubborn"],
        [Failure.from_dict(failure) for failure in note["suspects"]],
        note["notes"],
        note.get("funnel", []),
    )


def _chosen(folder: Path, config: str) -> tuple[Path, Any]:
    """Return the run to show and the learnt state of its method."""
    facts = [ConfigFacts.from_note(read_note(path.parent)) for path in sorted(folder.glob(f"*/{NOTE}"))]
    runs = {fact.recipe.config: run_folder(fact.recipe, folder) for fact in facts if fact.recipe.method == NAME}
    if config and config not in runs:
        raise UnknownName(f"config of {NAME} in {folder}", config, runs)
    if len(runs) > 1 and not config:
        raise UsageError(f"{folder} has several configs of {NAME}, name one of {', '.join(runs)}")
    runs_folder = beside(folder, "runs")
    if runs:
        places = [runs[config] if config else next(iter(runs.values()))]
    else:
        places = [folder] if (folder / "fit").is_dir() else sorted([*folder.glob("*/"), *runs_folder.glob("*/")])
    found = {place: learned for place in places if (learned := _learned(place)) is not None}
    if len(found) > 1:
        raise UsageError(f"{folder}: several runs of {NAME}, name one of {', '.join(map(str, found))}")
    if not found:
        where = f"at {places[0]}" if runs else f"here or in {runs_folder}"
        raise UsageError(f"{folder}: no run of {NAME} {where}: expected the folder that augment wrote")
    return found.popitem()


def _learned(place: Path) -> Any:
    """Return the learnt state of a run; None if the run is of another method, or there is none."""
    note = place / "fit" / "artifact.json"
    if not note.is_file():
        return None
    artifact = _artifact(place, _read(note, Fitted)["artifact"], Artifact)
    if artifact["method"] != NAME:
        return None
    where = f"{place}/fit: learned"
    return checked(artifact["learned"], Learned, where, error=Corrupt, halves=True)


def _read(path: Path, shape: Any) -> Any:
    """Return the content of a file in a run's ``fit`` folder; an artifact's name is its digest."""
    advice = "delete the run and augment again"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Corrupt(f"{path} is damaged or not there: {advice}") from error
    if path.name != "artifact.json" and hashlib.sha256(data).hexdigest() != path.name:
        raise Corrupt(f"{path} is damaged: {advice}")
    return parse_json(data, shape, str(path), error=Corrupt, advice=advice, halves=True)


def _artifact(place: Path, digest: str, shape: Any) -> Any:
    """Return the content of an artifact in a run."""
    return _read(place / "fit" / check_digest(digest, f"{place}/fit"), shape)
