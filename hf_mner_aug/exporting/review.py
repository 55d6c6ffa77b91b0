"""A reviewed config: the posts of a config as people accepted, corrected or rejected them in another tool."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from hf_mner_aug.exceptions import Corrupt, UnknownName, UsageError
from hf_mner_aug.exporting.answers import OWN_UNITS, Answer, read_answers
from hf_mner_aug.exporting.corrections import Decided, decide
from hf_mner_aug.exporting.layout import label_of, reject_label
from hf_mner_aug.exporting.placing import SNAPPED, Placed, labels_of, unit_of
from hf_mner_aug.exporting.rows import config_rows, texts
from hf_mner_aug.publishing.cards import Review, Verdicts, mark_entities
from hf_mner_aug.publishing.folder import (
    check_free,
    place_config,
    read_features,
    read_note,
    split_files,
    write_split,
    writing,
)
from hf_mner_aug.publishing.remaining import Remaining, tables_of
from hf_mner_aug.publishing.rows import EXAMPLES
from hf_mner_aug.publishing.stubs import Retrieved, check_retrieved, stub_features, to_stubs
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.readers.corrections import is_corrections
from hf_mner_aug.readers.spans.annotated import Offsets
from hf_mner_aug.readers.spans.offsets import Unit
from hf_mner_aug.runs.ledger import beside
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import IMAGE_COLUMNS, Codec, Entity, Post, canonical_json, read_provenance
from hf_mner_aug.storage.locks import stage
from hf_mner_aug.transform import Retrieval
from hf_mner_aug.untrusted.names import STUBS

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

Untouched = Literal["drop", "keep"]
REJECTED, NOT_REVIEWED = "rejected_in_review", "not_reviewed"  # reasons why made posts are gone


@dataclass(frozen=True)
class Reviewed:
    """A reviewed config: its folder, what became of its posts, and what was found in the reviewed file."""

    folder: Path
    config: str
    review: Review
    content_fingerprint: str
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)  # posts by trouble

    def __str__(self) -> str:
        """Return the counts, and examples of what was found."""
        review = self.review
        fate = "kept" if review.keeps_untouched else "left out"
        lines = [f"{review.of}, reviewed in {review.tool}: {_spell(review.made)} (untouched posts are {fate})"]
        if review.originals != Verdicts(untouched=review.originals.untouched):
            lines.append(f"posts that no method made: {_spell(review.originals)} (untouched ones are kept)")
        lines += [f"{what}: {len(posts):,}, as {'; '.join(posts[:EXAMPLES])}" for what, posts in self.notes.items()]
        return "\n".join([*lines, f"content fingerprint {self.content_fingerprint}"])


def _spell(verdicts: Verdicts) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in asdict(verdicts).items())


def import_review(
    folder: str | Path,
    config: str,
    file: str | Path,
    *,
    config_name: str | None = None,
    untouched: Untouched = "drop",
    types: Mapping[str, str] = MappingProxyType({}),
    offsets: Offsets = "auto",
    reviewers: Sequence[str] = (),
    retrieved: Retrieved = "whole",
    overwrite: bool = False,
) -> Reviewed | Decided:
    """Write the posts of a config as people reviewed them, as a config of its own beside it.

    Words stay as they are; labels are those of the review. Each row keeps its ``source_id``, ``method`` and
    ``provenance``, which also says what the review changed. Posts that no method made stay unless they were reviewed.

    Args:
        folder: the repo folder; or a file of corrections that was exported, which then gets the decisions.
        config: the config that ``export`` wrote out.
        file: what Label Studio (JSON) or Doccano (JSONL) exported.
        config_name: the name of the new config (default: ``CONFIG_reviewed``).
        untouched: what becomes of made posts without a decision in the file: ``drop`` leaves them out, ``keep``.
        types: renames labels of the tool, as ``{"Person": "PER"}``.
        offsets: the unit of the tool's offsets: ``chars``, ``utf16`` or ``bytes``; ``auto`` finds it.
        reviewers: names that the card gives; the file's are never taken over.
        retrieved: publish retrieved posts ``whole``, or ``ids-only`` as ``publish`` does.
        overwrite: replace another config of that name.

    Raises:
        UsageError: there is no such config, it holds the retrieved posts by id only, or the file is no review of it.
        UnknownName: there is no such value of an option, or the config has no such label.
        DataError: the file cannot be read.
        Corrupt: the config does not match its augmentation.json.
        RecipeMismatch: another config has the new name and ``overwrite`` is not set.
        TimeoutError: another process did not release the folder in time.
        OSError: the disk is full.
    """
    for option, value, known in (
        ("untouched", untouched, Untouched),
        ("offsets", offsets, Offsets),
        ("retrieved", retrieved, Retrieved),
    ):
        if value not in get_args(known):
            raise UnknownName(option, value, get_args(known))
    out = Path(folder)
    if is_corrections(out):
        return decide(
            out, config, Path(file), config_name=config_name, types=types, offsets=offsets, overwrite=overwrite
        )
    note = read_note(out / config)
    recipe = replace(Recipe.from_dict(note["recipe"]), config=config_name or f"{config}_reviewed")
    if recipe.config == config:
        raise UsageError(f"{config} is the config that was reviewed: name another one with --config-name")
    retrieval = None
    if note.get("retrieved") or retrieved == "ids-only":
        method = recipe.build()
        check_retrieved(method, retrieved)
        retrieval = method.content.retrieval
    if not (checked := verify_folder(out, config)).ok:
        raise Corrupt(f"{out / config} does not match its augmentation.json: {checked.difference}")
    features, about = read_features(out / config), config_rows(out, config).about
    tool, answers = read_answers(Path(file), reject_label(about.types))
    decider = _Decider(config, about.joiner, Codec(features), answers, types, retrieval)
    decider.read(out / config, note, OWN_UNITS[tool] if offsets == "auto" else offsets, find=offsets == "auto")
    writer = _Writer(out / config, note, features, decider, keep=untouched == "keep", stubs=retrieved == "ids-only")
    facts = {"of": config, "tool": tool, "reviewers": list(reviewers)}
    return writer.write(out, recipe, Path(file), facts, overwrite=overwrite)


# ---------------------------------------------------------------- decisions


class _Decider:
    """Says what becomes of each row of a config, and keeps what is to be told of the file."""

    def __init__(
        self,
        config: str,
        joiner: str,
        codec: Codec,
        answers: Mapping[str, Answer],
        types: Mapping[str, str],
        retrieval: Retrieval | None,
    ) -> None:
        self.codec = codec
        self.notes: dict[str, list[str]] = {}
        self._config = config
        self._joiner = joiner
        self._answers = answers
        self._types = types
        self._retrieval = retrieval
        self._labels = {kind: (kind, None) for kind in codec.types} | {
            f"{kind}/{fine}": (kind, fine) for kind in codec.types for fine in codec.fine_types
        }
        self._unit: Unit = "chars"

    def note(self, what: str, post: str) -> None:
        """Keep a post to be told of."""
        self.notes.setdefault(what, []).append(post)

    def read(self, folder: Path, note: Mapping[str, Any], unit: Unit, *, find: bool) -> None:
        """Check the file against the posts of the config, and find the unit of its offsets.

        Raises:
            UsageError: it has none of the config's posts.
            UnknownName: a label is none of the config's.
        """
        left = dict(self._answers)
        shown = []
        for files in split_files(folder, note["splits"]).values():
            for post in texts(files, self.codec):
                answer = left.pop(post.id, None)
                if answer is not None and answer.spans and max(answer.text, default="") > "\uffff":
                    shown.append((post.tokens, answer.spans))
        if len(left) == len(self._answers):
            raise UsageError(f"the file has none of the posts of {self._config}: is it the review of another config?")
        self._unit, told = unit_of(shown, self._joiner, unit) if find else (unit, "")
        if told:
            self.note(told, "--offsets NAME sets the unit")
        for name in left:
            self.note(f"records of posts that {self._config} does not have", name)
        for answer in self._answers.values():
            if answer.several:
                self.note(
                    "posts with several annotations, of which the ground truth or the latest counts", answer.post_id
                )
            for marked in answer.spans:
                label = self._types.get(marked.type, marked.type)
                if label not in self._labels:
                    raise UnknownName(f"label (post {answer.post_id}; --types OLD=NEW renames it)", label, self._labels)

    def decide(self, post: Post) -> tuple[str, Post]:
        """Return the decision on a post, a field of ``Verdicts``, and the post with the labels that it has then."""
        answer = self._answers.get(post.id)
        if answer is None or answer.state == "untouched":
            return "untouched", post
        if answer.state == "rejected":
            return "rejected", post
        kept = labels_of(answer, post.tokens, self._joiner, self._unit, self.note, "count as untouched")
        if kept is None:
            return "untouched", post
        entities = self._entities(post, kept)
        if entities == post.entities:
            return "accepted", post
        changed = replace(post, entities=entities)
        if self._retrieval is not None:  # a word that is no entity any more is masked as others are
            changed = replace(changed, tokens=self._retrieval.mask(changed).tokens)
        return "corrected", changed

    def _entities(self, post: Post, kept: Sequence[Placed]) -> tuple[Entity, ...]:
        boxes = {(e.start, e.end): e.boxes for e in post.entities}
        found = []
        for start, end, label, _ in kept:
            kind, fine = self._labels[self._types.get(label, label)]
            found.append(Entity(start, end, kind, fine, boxes.get((start, end), ())))
        return tuple(found)


# ---------------------------------------------------------------- rows


class _Writer:
    """Writes the rows of the reviewed config, with its augmentation.json kept in step."""

    def __init__(
        self, folder: Path, note: dict[str, Any], features: "Features", decider: _Decider, *, keep: bool, stubs: bool
    ) -> None:
        self._folder = folder
        self._note = note
        self._features = features
        self._decider = decider
        self._keep = keep
        self._stubs: list[pa.Table] | None = [] if stubs else None
        self._remaining = Remaining(note, features)
        self._made: Counter[str] = Counter()
        self._originals: Counter[str] = Counter()
        self._examples: list[str] = []

    def write(self, out: Path, recipe: Recipe, file: Path, facts: Mapping[str, Any], *, overwrite: bool) -> Reviewed:
        """Write the config in a staging folder, then move it into place if that is still free."""
        note = self._note
        before = {name: note[name] for name in ("content_fingerprint", "recipe_fingerprint")}
        hidden = beside(out, recipe.config)
        with stage(hidden.parent, hidden.name) as room:
            place = room / recipe.config
            for split, files in split_files(self._folder, note["splits"]).items():
                size = write_split(self._rows(files, split), place, split, self._features)
                note["splits"][split]["num_bytes"] = size
            self._write_stubs(place)
            self._check(file)
            made = Verdicts(**self._made)
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            review = Review(
                **facts,
                **before,
                file=digest,
                made=made,
                originals=Verdicts(**self._originals),
                keeps_untouched=self._keep,
                snapped=len(self._decider.notes.get(SNAPPED, ())),
            )
            self._remaining.settle(place, {REJECTED: made.rejected, NOT_REVIEWED: 0 if self._keep else made.untouched})
            note |= {"recipe": recipe.to_dict(), "recipe_fingerprint": recipe.fingerprint, "review": asdict(review)}
            note["examples"] = self._examples if self._stubs is None else []
            note.pop("hydrated_from", None)
            free = partial(check_free, out, recipe, overwrite=overwrite, into_existing=True, review=note["review"])
            free()
            with writing(out, "import-review"):
                free()
                place_config(place, out, note, self._features)
        return Reviewed(out, recipe.config, review, note["content_fingerprint"], self._decider.notes)

    def _rows(self, files: Sequence[Path], split: str) -> "Iterator[pa.Table]":
        """Yield the rows of a split that stay, as they are after the review; stubs are kept for later."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for table in tables_of(files):
            own = self._remaining.own(table, split)
            table, bad = self._decided(table, own, split)
            left = self._remaining.keep(table, own, bad, split)
            if self._stubs is not None and split == "train":
                made = pa.array([is_own for is_own, is_bad in zip(own, bad, strict=True) if not is_bad], pa.bool_())
                self._stubs.append(to_stubs(left.filter(made), self._features))
                left = left.filter(pc.invert(made))
            yield left

    def _decided(self, table: "pa.Table", own: Sequence[bool], split: str) -> "tuple[pa.Table, list[bool]]":
        """Return rows with the labels of the review, and which of them go [n_rows]."""
        codec = self._decider.codec
        columns = [name for name in (*codec.columns, "provenance") if name not in IMAGE_COLUMNS]
        rows = table.select(columns).to_pylist()
        blank = dict.fromkeys(codec.columns)
        bad, changed = [], []
        for i, (row, is_own) in enumerate(zip(rows, own, strict=True)):
            before = codec.to_post({**blank, **row})
            verdict, post = self._decider.decide(before)
            (self._made if is_own else self._originals)[verdict] += 1
            bad.append(verdict == "rejected" or (verdict == "untouched" and is_own and not self._keep))
            if verdict == "corrected":
                row |= {name: value for name, value in codec.to_row(post).items() if name in row}
                changed.append(i)
            if verdict == "corrected" or (verdict == "accepted" and is_own):
                row["provenance"] = _reviewed(row["provenance"], verdict, before)
            if is_own and not bad[-1] and split == "train" and post.entities and len(self._examples) < EXAMPLES:
                self._examples.append(mark_entities(post))
        return self._relabelled(table, rows, columns, changed, own, split), bad

    def _relabelled(
        self,
        table: "pa.Table",
        rows: Sequence[Mapping[str, Any]],
        columns: Sequence[str],
        changed: Sequence[int],
        own: Sequence[bool],
        split: str,
    ) -> "pa.Table":
        """Return a table with the values of some columns in ``rows``; entities of ``changed`` rows are counted anew."""
        import pyarrow as pa

        new = table
        for name in columns:
            at = table.schema.get_field_index(name)
            values = pa.array([row[name] for row in rows], self._features.arrow_schema.field(name).type)
            new = new.set_column(at, table.schema.field(at), values)
        for is_own in (True, False) if split == "train" else ():
            there = pa.array([i for i in changed if own[i] == is_own], pa.int64())
            gold = not is_own or self._remaining.replaces
            self._remaining.count_entities(table.take(there), -1, gold=gold)
            self._remaining.count_entities(new.take(there), 1, gold=gold)
        return new

    def _write_stubs(self, place: Path) -> None:
        """Write the made posts of train as stubs, if only their ids are published."""
        if self._stubs is None:
            return
        train = self._note["splits"]["train"]
        size = write_split(self._stubs, place, STUBS, stub_features(self._features))
        self._note["splits"][STUBS] = {"gold": 0, "made": train["made"], "num_bytes": size}
        train["made"] = 0
        self._note["retrieved"] = "ids-only"

    def _check(self, file: Path) -> None:
        """Raise UsageError if the file decides on no post, or leaves none that was made."""
        decided = self._made + self._originals
        if not any(decided[name] for name in ("accepted", "corrected", "rejected")):
            told = "; ".join(f"{what}: {len(posts)}" for what, posts in self._decider.notes.items())
            raise UsageError(f"{file} decides on no post ({told or 'all are untouched'}): export it after the review")
        if not sum(counts["made"] for counts in self._note["splits"].values()):
            raise UsageError(f"{file} leaves no made post: all are rejected, or untouched (--untouched keep)")


def _reviewed(text: str | None, verdict: str, before: Post) -> str:
    """Return the provenance of a row with the decision on it, and the labels before: spans, never words."""
    found = read_provenance(text, f"post {before.id}")
    said: dict[str, Any] = {"verdict": verdict}
    if verdict == "corrected":
        said["before"] = [[entity.start, entity.end, label_of(entity)] for entity in before.entities]
    if "review" in found:
        said["earlier"] = found["review"]
    return canonical_json({**found, "review": said})
